"""Why a column is what it is: flags and facts that are stored, and sentences that are
made of them.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from permgrad import InputError
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.kinds.column import Schema
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import _TEXTS, Finding, findings_of
from permgrad.data.types.flags import FLAGS, reason_of

ROWS = 60
COUNTED = np.arange(ROWS)


def table() -> pd.DataFrame:
    """Return a column for each of most flags."""
    draw = np.random.default_rng(0)
    return pd.DataFrame({
        "numbers": draw.normal(size=ROWS), "flag": COUNTED % 2, "day": 20_180_101 + COUNTED % 28, "same": 1.0,
        "gaps": np.where(COUNTED % 3, 1.0, np.nan), "none": np.nan, "big": 2**62 + COUNTED % 7,
        "customer_id": draw.permutation(ROWS), "row": COUNTED + 5, "shop": COUNTED % 12 + 1,
        "zone": [f"{number % 20:04d}" for number in COUNTED], "part": [str(number % 20) for number in COUNTED],
        "when": pd.date_range("2020-01-01", periods=ROWS), "took": pd.to_timedelta(COUNTED, unit="h"),
        "kind": pd.Categorical(COUNTED % 5), "order": pd.Categorical(COUNTED % 5, ordered=True),
        "clock": [f"{number % 24}:15" for number in COUNTED], "lasted": [f"{number + 1}:00:30" for number in COUNTED],
        "yes": np.where(COUNTED % 2, "yes", "no"),
        "written": [f"{number % 12 + 1}/{number % 9 + 1}/62" for number in COUNTED],
        "word": np.resize(list("abc"), ROWS), "odd": ["?", "??", *map(str, COUNTED[2:])],
        "slip": ["9.30", *(f"{number % 24}:15" for number in COUNTED[1:])],
        "code": [f"A-{number}" for number in COUNTED],
        "weight": [f"{number % 20} kg" for number in COUNTED], "pay": [f"{number % 20}k" for number in COUNTED],
    })  # fmt: skip


def test_types_are_the_same_when_they_are_read_back():
    schema = infer_schema(table(), kinds={"word": "categorical"})
    assert len({flag for column in schema for flag in column.flags}) > 25, (
        "the case is not trivial"
    )
    again = Schema.from_dict(json.loads(json.dumps(asdict(schema))))
    assert again == schema
    assert [column.reason for column in again] == [column.reason for column in schema]
    assert all("{" not in column.reason for column in schema)


@pytest.mark.parametrize("flags", [["other"], ["fused"], ["spelled"], "numbers"])
def test_damaged_flags_are_refused(flags):
    stored = TableEncoder().fit(table()[["numbers"]]).to_dict()
    stored["schema"]["columns"][0]["flags"] = flags
    with pytest.raises(
        InputError, match="Part of a stored encoder is missing or damaged"
    ):
        TableEncoder.from_dict(stored)


def test_every_flag_has_a_clause():
    facts = dict.fromkeys(
        (
            "date_format",
            "true_level",
            "false_level",
            "odd",
            "what",
            "how",
            "example",
            "unit_said",
        ),
        "x",
    )
    numbers = dict.fromkeys(
        ("n_levels", "n_known", "different", "left", "share", "cells_unread"), 3
    )
    assert all(reason_of([flag], facts | numbers) for flag in FLAGS)


@pytest.mark.parametrize("kind", _TEXTS)
def test_a_finding_has_one_text_and_names_what_its_reader_may_pass(kind):
    facts = dict.fromkeys(
        ("date_format", "what", "how", "example", "used", "reader", "rows", "alike",
         "words", "these", "count", "that", "cells"), "x",
    )  # fmt: skip
    finding = Finding(
        kind, ("a b",), {**facts, "codes": [-9], "groups": {"a b": ["a b", "c"]}}
    )
    python = finding.text()
    command = finding.text(command=True)
    assert "--" not in python
    assert "kinds=" not in command
    option = "--id 'a b'" if kind == "maybe_rows" else "--kind 'a b'="
    assert ("kinds=" in python) == (option in command)


def test_findings_leave_out_columns_of_which_the_user_decided():
    found_columns = {
        finding.kind: finding.columns for finding in findings_of(infer_schema(table()))
    }
    assert found_columns["identifiers"] == ("customer_id", "row", "code")
    assert (
        found_columns["names"],
        found_columns["whole_texts"],
        found_columns["fused"],
    ) == (
        ("shop", "zone"),
        ("part",),
        ("big",),
    )
    assert {"swapped", "spelled"} <= set(found_columns)
    declared = infer_schema(
        table(),
        kinds=dict.fromkeys(("customer_id", "shop", "pay", "part"), "categorical"),
    )
    found_columns = {
        finding.kind: finding.columns
        for finding in findings_of(declared, {"row", "code", "big"})
    }
    assert found_columns["names"] == ("zone",)
    assert not {"identifiers", "whole_texts", "fused", "spelled"}.intersection(
        found_columns
    )


@pytest.mark.parametrize("kind", _TEXTS)
def test_no_full_stop_stands_behind_a_command(kind):
    facts = dict.fromkeys(
        ("date_format", "what", "how", "example", "used", "reader", "rows", "alike",
         "words", "these", "count", "that", "cells"), "x",
    )  # fmt: skip
    facts |= {"codes": [-9], "groups": {"a": ["a", "c"]}}
    command_text = Finding(kind, ("a",), facts).text(command=True)
    assert (
        re.search(
            r"(--kind a=\w+|--na\S* ?[^\s)]+|--id a|--row-group a)\.(\s|$)",
            command_text,
        )
        is None
    )
