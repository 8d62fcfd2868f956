"""Kinds of columns: the tables of kinds are whole, in Python, in the command and in
the page's scripts.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad.data.encode.calendar import PERIODS
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.slots import part_kinds
from permgrad.data.kinds.column import (
    ColumnKind,
    PageForm,
    Schema,
    kinds,
    modalities,
    reader_of,
)
from permgrad.data.types.column_types import infer_schema
from permgrad.models.branches.branch import column_branches
from permgrad.runs.requests import KINDS


def script(name: str) -> str:
    place = files("permgrad.pages").joinpath("templates", "scripts", name)
    return place.read_text(encoding="utf-8")


def test_the_page_has_the_forms_that_kinds_name_and_no_others():
    table = re.search(
        r"const FORMS = \{\n(.*?)\n  \};", script("network.js"), re.DOTALL
    )
    in_page = re.findall(r"^    (\w+): \{", table[1], re.MULTILINE)
    forms = {kind.form.name for kind in kinds.values() if kind.form is not None}
    assert len(forms) > 5
    assert set(in_page) == forms
    assert len(in_page) == len(forms)


def test_the_page_has_the_parts_of_dates():
    table = re.search(r"const places = \{(.*?)\};", script("network.js"))
    assert set(re.findall(r"(\w+): \[", table[1])) == set(PERIODS)


@pytest.mark.parametrize("name", ["network.js", "whatif.js", "alternatives.js"])
def test_no_script_of_what_if_asks_for_a_form_by_its_name(name):
    names = "|".join({kind.form.name for kind in kinds.values() if kind.form})
    assert re.findall(rf'\.kind\s*[!=]==\s*"(?:{names})"', script(name)) == []


def test_one_form_has_one_way_to_pack_cells():
    packings = {}
    for kind in kinds.values():
        if kind.form is not None:
            packing = packings.setdefault(kind.form.name, kind.form.packing)
            assert packing == kind.form.packing


def test_the_command_offers_each_kind_but_that_of_one_value():
    varying = [name for name, kind in kinds.items() if kind.varies]
    assert sorted(KINDS) == sorted(varying)


def test_the_page_on_tables_names_each_kind_of_the_command():
    page = Path(__file__).parents[3] / "docs" / "your-own-table.md"
    named = page.read_text(encoding="utf-8")
    assert [name for name in KINDS if f"`{name}`" not in named] == []


@pytest.mark.parametrize("name", list(kinds))
def test_a_kind_has_its_name_and_what_it_leads_to(name):
    kind = kinds[name]
    assert kind.name == name
    assert kind.final is None or kind.final in kinds
    assert kind.__doc__


def test_each_storage_is_read_by_one_kind_that_is_no_other_in_the_end():
    storages = [kind.storage for kind in kinds.values() if kind.storage is not None]
    assert {"date", "number", "pair", "text"} <= {*storages}
    assert len(set(storages)) == len(storages)
    for storage in storages:
        reader = reader_of(storage)
        assert reader.final is None
        assert reader.settled.__name__ == "settled"
    with pytest.raises(InputError, match="No kind of column reads cells that are"):
        reader_of("cube")


def test_parts_of_a_network_are_those_that_branches_name():
    assert modalities() == ["table", *column_branches()]


def test_all_encoded_columns_are_of_a_kind_that_says_what_they_are():
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "dose": generator.normal(size=60),
            "town": generator.choice(["Ulm", "Bonn", None], 60),
            "paid": generator.choice(["yes", "no"], 60),
            "sold": pd.date_range("2021-01-01", periods=60, freq="9D").astype(str),
        }
    )
    encoder = TableEncoder().fit(table)
    assert {"numeric", "level", "boolean", "missing", "date_part"} == {*encoder.kinds_}
    said = {
        name: [
            fact
            for fact, holds in asdict(kind).items()
            if holds is True and fact not in ("is_number", "on_scale")
        ]
        for name, kind in part_kinds.items()
    }
    assert said == {
        "numeric": [],
        "boolean": ["is_switch"],
        "level": ["is_level"],
        "missing": ["is_missing"],
        "date_part": ["is_part"],
        "part": ["is_part"],
        "score": ["is_score"],
        "flag": [],
    }


def test_a_schema_with_a_kind_that_nobody_registered_is_refused_in_words():
    schema = asdict(infer_schema(pd.DataFrame({"a": [1.0, 2.5, 3.0]})))
    schema["columns"][0]["kind"] = "colour"
    with pytest.raises(InputError) as refused:
        Schema.from_dict(schema)
    assert str(refused.value) == (
        "Column 'a' is of kind 'colour', which is not registered. Import the module "
        "that registers it, or update permgrad. [PG053]"
    )


def test_a_kind_that_says_nothing_reads_nothing_and_has_no_form():
    assert ColumnKind.form is None
    assert PageForm("number").packing == "f4"
    with pytest.raises(NotImplementedError):
        next(ColumnKind.encode(np.zeros(1), ["a"], (0, 1)))
