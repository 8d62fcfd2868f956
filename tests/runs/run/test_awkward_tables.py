"""Tables as other programs write them, through the commands: what is noted, what is
stored, what errors name.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from permgrad.assess.encoder_form import encoder_form
from permgrad.base.errors import InputError
from permgrad.cli import app
from permgrad.data.encode.encoding import TableEncoder
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import CompareRequest, RunRequest, TuneRequest
from permgrad.runs.run.run import run_table
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run_documents import read_like

ROWS = 120
ASKED = RunRequest(table="t.csv", target=("y",))


def table() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "kg": draw.normal(70, 9, ROWS).round(1),
            "pay": draw.integers(900, 90_000, ROWS),
        }
    )
    frame["pay"] = [f"£{pay:,}" for pay in frame["pay"]]
    frame["garage"] = np.resize(["None", "None", "None", "brick", "wood"], ROWS)
    return frame.assign(y=np.resize(["a", "b", "b"], ROWS))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().sample(frac=1, random_state=0).to_csv("t.csv")
    return tmp_path


def test_what_is_unusual_of_columns_is_noted(here):
    inputs = load_inputs(ASKED)
    assert list(inputs.parts["train"].frame.columns) == ["kg", "pay", "garage"]
    assert inputs.notes[:3] == [
        "left out, because it has no name and only numbers the rows: column 1",
        (
            'taken as missing: "None" in garage (60 %); if a text is a level, keep it '
            "with --not-na None (in Python: "
            'not_na=["None"])'
        ),
        (
            "Read as numbers with a sign or unit: pay (£). For categories, pass --kind "
            "pay=categorical"
        ),
    ]
    assert {line["name"]: line["reason"] for line in inputs.described[1]}[
        "pay"
    ] == "numbers in £"
    assert inputs.schema["garage"].n_levels == 2
    named = load_inputs(
        replace(
            ASKED, identifier=("column 1",), drop=("garage",), kind=("pay=categorical",)
        )
    )
    assert named.parts["train"].identifiers.columns.tolist() == ["column 1"]
    assert named.notes[:1] != inputs.notes[:1], "what an option names is not told"
    assert not any(
        "taken as missing" in note or "with a sign" in note for note in named.notes
    )


def test_texts_that_are_kept_are_a_level(here):
    run_request = replace(ASKED, not_na=("None,NA",))
    inputs = load_inputs(run_request)
    assert inputs.schema["garage"].n_levels == 3
    assert not any("taken as missing" in note for note in inputs.notes)
    assert configuration(run_request)["not_na"] == ["None", "NA"]
    assert "not_na" not in configuration(ASKED)
    for request in (run_request, TuneRequest(table="t.csv", not_na=("None",))):
        assert "--not-na=None" in request.command
    compared = CompareRequest(table="t.csv", target=("y",), not_na=("None",))
    assert "--not-na=None" in compared.command
    assert configuration(compared)["not_na"] == ["None"]
    for not_na, na, message_pattern in (
        (("none",), (), "is not read as missing"),
        (("NA",), ("NA",), "as missing and as not"),
    ):
        with pytest.raises(InputError, match=message_pattern):
            replace(run_request, not_na=not_na, na=na).check()


@pytest.mark.parametrize("command", ["run", "compare", "tune"])
def test_each_command_takes_them(here, command):
    command_result = CliRunner().invoke(
        app, [command, "t.csv", "--target", "y", "--not-na", "nothing"]
    )
    assert command_result.exit_code == 2
    assert "Text 'nothing' is not read as missing" in command_result.stderr


def encoder_of(inputs) -> TableEncoder:
    return TableEncoder(**inputs.encoder_options).fit(inputs.parts["train"].frame)


def test_later_tables_are_read_in_the_same_way(here):
    inputs = load_inputs(replace(ASKED, not_na=("None",)))
    data = {
        "texts": inputs.texts,
        "decimal": inputs.decimal,
        "units": inputs.units,
        "not_na": ["None"],
    }
    encoder = encoder_of(inputs)
    frame = table().head(5).assign(pay=["£7", "£1,000", "£2k", "5", "£3k"], more="None")
    frame.to_csv("later.csv")
    written = read_like(Path("later.csv"), data)
    message_pattern = (
        r"Column 'pay' must be numeric, but holds '£2k' in line 4 of 'later\.csv'"
    )
    with pytest.raises(InputError, match=message_pattern), written.lines.named():
        encoder.check_cells(written.frame[encoder.feature_names_in_])
    table().head(2).assign(pay=["£7", "8"]).to_csv("later.csv")
    later = read_like(Path("later.csv"), data, encoder.feature_names_in_).frame
    assert later["pay"].tolist() == [7, 8]
    assert later["garage"].tolist() == ["None", "None"]
    assert (
        read_like(Path("later.csv"), data | {"not_na": []}).frame["garage"].isna().all()
    )
    assert list(later.columns) == ["kg", "pay", "garage", "y"]


def test_a_column_without_a_name_that_was_learned_from_is_kept(here):
    frame = table()
    frame.insert(0, "", np.resize([4, 4, 9, 1], ROWS))
    frame.to_csv("t.csv", index=False)
    inputs = load_inputs(ASKED)
    assert "column 1" in inputs.parts["train"].frame
    # In two rows the numbers are all different, and might count them.
    frame.iloc[2:4].to_csv("later.csv", index=False)
    assert read_like(Path("later.csv"), {}, ["column 1"]).frame[
        "column 1"
    ].tolist() == [9, 1]
    assert "column 1" not in read_like(Path("later.csv"), {}).frame


@pytest.mark.parametrize("part", ["table", "test"])
def test_a_cell_that_is_no_number_is_named_by_its_line(here, part):
    frame = table().astype(object)
    frame.loc[1, "garage"] = "two\nlines"
    frame.loc[30, "kg"] = np.inf
    frame.to_csv("bad.csv", index=False)
    run_request = (
        replace(ASKED, table="bad.csv")
        if part == "table"
        else replace(ASKED, test=Path("bad.csv"))
    )
    with pytest.raises(
        InputError,
        match=r"Column 'kg' holds an infinite value \(inf\) in line 33 of 'bad\.csv'\. "
        r"Repl",
    ):
        load_inputs(run_request)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "how",
    [
        {"drop": ("kg",)},
        {"identifier": ("kg",)},
        {"na": ("inf,-inf",)},
        {"time": "day"},
    ],
)
def test_infinite_cells_go_with_their_column_or_are_missing(here, how, sign):
    frame = table().assign(
        day=pd.date_range("2020-01-01", periods=ROWS), pay=np.arange(ROWS) % 7
    )
    frame.loc[::6, "kg"] = sign * np.inf
    frame.to_csv("t.csv", index=False)
    if "time" in how:
        with pytest.raises(
            InputError, match=f"missing: --na={'-' * (sign < 0)}inf, or na="
        ):
            load_inputs(replace(ASKED, **how))
        how = how | {"na": ("inf" if sign > 0 else "-inf",)}  # as the hint says
    inputs = load_inputs(replace(ASKED, **how))
    is_kept = "kg" in inputs.parts["train"].frame
    assert is_kept == ("na" in how)
    if is_kept:
        encoder = encoder_of(inputs)
        shown = json.dumps(encoder_form(encoder), allow_nan=False)
        assert "<missing" in " ".join(encoder.encoded_names_)
        assert "inf" in shown
        assert np.isfinite(encoder.transform(inputs.parts["test"].frame)).all()


def test_classes_that_differ_in_capitals_and_blanks_are_one(here):
    spelled = np.resize(["Yes", "Yes", "yes ", "YES", "No", "no", "No", "n o"], ROWS)
    table().assign(y=spelled).to_csv("t.csv", index=False)
    inputs = load_inputs(ASKED)
    assert set(np.unique(inputs.parts["train"].y)) == {"Yes", "No", "n o"}
    class_notes = [note for note in inputs.notes if "capitals or blanks" in note]
    named = (
        "'yes ' is 'Yes', 'YES' is 'Yes', 'no' is 'No'; if they differ, pass "
        "--kind y=categorical."
    )
    assert class_notes == [
        f"classes of 'y' that differ only in capitals or blanks are one: {named}"
    ]
    apart = load_inputs(replace(ASKED, kind=("y=categorical",)))
    assert len(np.unique(apart.parts["train"].y)) == 6
    table().assign(y=np.resize(["Aa", "aa", "AA"], ROWS)).to_csv("t.csv", index=False)
    inputs = load_inputs(ASKED)
    assert len(np.unique(inputs.parts["train"].y)) == 3, "genotypes"
    assert not any("capitals or blanks" in note for note in inputs.notes)


def test_the_terminal_lists_the_classes(here):
    table().to_csv("t.csv", index=False)
    progress_lines: list[str] = []

    def say(line: str) -> None:
        progress_lines.append(line)
        if line.startswith("[2/5]"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_table(replace(ASKED, preset="fast", out=Path("run")), say=say)
    assert "  classes of 'y': b (80), a (40)" in progress_lines


def test_codes_for_missing_are_proposed(here):
    draw = np.random.default_rng(5)
    frame = table().assign(
        pay=draw.integers(0, 90_000, ROWS),
        score=draw.integers(0, 11, ROWS),
        colder=draw.integers(-120, -50, ROWS),
    )
    frame["age"] = draw.integers(60, 101, ROWS)  # up to 100, with 97, 98 and 99
    frame.loc[::9, "pay"] = 9_999_999
    frame.loc[::7, "score"] = -8
    frame.loc[::5, "kg"] = -99
    frame.loc[::11, "score"] = -9
    frame.loc[3, "colder"] = -99
    assert {97, 98, 99} <= set(frame["age"])
    assert -99 in set(frame["colder"])
    frame.to_csv("t.csv", index=False)
    notes = [note for note in load_inputs(ASKED).notes if "Maybe codes" in note]
    # In another column, -99 is a temperature.
    expected_note = (
        "Maybe codes for missing cells: kg (-99), score (-9, -8), pay (9999999). "
    )
    expected_note += "If so, pass --na kg=-99 --na score=-9,-8 --na pay=9999999"
    assert notes == [expected_note]
    after = load_inputs(replace(ASKED, na=("kg=-99", "score=-9,-8", "pay=9999999")))
    assert after.schema["colder"].n_missing == 0
    assert not any("Maybe codes" in note for note in after.notes)
    assert after.schema["score"].n_missing > 15


def test_categories_with_thousands_of_values_are_named(here):
    draw = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "weight": draw.normal(size=2400),
            "tail": [f"N{k}" for k in draw.integers(0, 2500, 2400)],
        }
    )
    frame.assign(y=np.resize(["a", "b", "b"], len(frame))).to_csv(
        "codes.csv", index=False
    )
    run_request = replace(ASKED, table="codes.csv")
    inputs = load_inputs(run_request)
    levels = frame["tail"].iloc[inputs.parts["train"].numbers].nunique()
    assert inputs.notes == [
        (
            f"Categories with thousands of values: tail ({levels:,}). Pass --kind "
            "tail=identifier if they only name "
            "rows, or --kind tail=categorical to use them as they are."
        )
    ]
    assert load_inputs(replace(run_request, kind=("tail=categorical",))).notes == []


def test_lists_and_records_of_parquet_files_are_left_out_unread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = table().assign(tags=[[("a", 1.0)]] * ROWS, words=[["x", "y"]] * ROWS)
    kinds = {
        "tags": pa.map_(pa.string(), pa.float64()),
        "words": pa.large_list(pa.string()),
    }
    schema = pa.Schema.from_pandas(
        frame.drop(columns=list(kinds)), preserve_index=False
    )
    for name, kind in kinds.items():
        schema = schema.append(pa.field(name, kind))
    pq.write_table(
        pa.Table.from_pandas(frame, schema, preserve_index=False), "t.parquet"
    )
    run_request = replace(ASKED, table="t.parquet", drop=("tags",))
    with pytest.raises(
        InputError,
        match=r"column 'words' holds a ndarray\. Turn it into .* or drop the column",
    ):
        load_inputs(run_request)
    inputs = load_inputs(replace(run_request, kind=("words=identifier",)))
    assert list(inputs.parts["train"].frame.columns) == ["kg", "pay", "garage"]
    expected_note = (
        "left out without being read, because their cells are lists or "
        "records: tags, words"
    )
    assert expected_note in inputs.notes
    with pytest.raises(InputError, match=r"--drop word: no such column"):
        load_inputs(replace(run_request, drop=("word",)))
