"""From the options of a run to its tables: roles of columns, parts of the split, what
is counted and said.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from permgrad.base.errors import InputError, PermgradWarning
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.kinds.column import Schema
from permgrad.data.read.image_cells import source_of
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.predicting import read_rows
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_splitting import PARTS
from permgrad.runs.run_folder import RUN, open_run

DATA = os.environ.get("PERMGRAD_DATA", "")


def table(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": rng.normal(size=rows), "weight": rng.normal(size=rows)}
    )
    frame["patient"] = rng.integers(0, 40, rows)
    frame["year"] = rng.integers(2000, 2020, rows)
    frame["code"] = [f"case {i}" for i in range(rows)]
    colour = rng.integers(0, 3, rows)
    for colour_index, name in enumerate(["red", "green", "blue"]):
        frame[f"colour_{name}"] = (colour == colour_index).astype(int)
    frame["y"] = np.where(frame["age"] > 0, "yes", "no")
    return frame


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().to_csv("table.csv", index=False)
    return tmp_path


def load(**options):
    return load_inputs(RunRequest(table="table.csv", target=("y",), **options))


def test_every_row_is_in_one_part_and_the_published_split_is_used(here):
    from sklearn.model_selection import train_test_split

    inputs = load()
    rows = np.concatenate([inputs.parts[part_name].numbers for part_name in PARTS])
    assert sorted(rows) == list(range(200))
    y = table()["y"]
    train, remaining_rows = train_test_split(
        np.arange(200), test_size=0.4, random_state=42, stratify=y
    )
    validation, test = train_test_split(
        remaining_rows, test_size=0.5, random_state=42, stratify=y[remaining_rows]
    )
    for expected_part, expected in zip(PARTS, (train, validation, test), strict=True):
        assert set(inputs.parts[expected_part].numbers) == set(expected)
        assert (
            inputs.parts[expected_part].y == y[inputs.parts[expected_part].numbers]
        ).all()
        np.testing.assert_array_equal(
            inputs.parts[expected_part].frame["age"],
            table()["age"][inputs.parts[expected_part].numbers],
        )


def test_a_sheet_is_read_of_every_excel_file(here):
    pytest.importorskip("openpyxl")
    for name, rows in (("table", table()), ("test", table(50, seed=1))):
        with pd.ExcelWriter(f"{name}.xlsx") as book:
            rows.head(3).to_excel(book, sheet_name="notes", index=False)
            rows.to_excel(book, sheet_name="rows", index=False)
    options = {"target": ("y",), "test": Path("test.xlsx"), "sheet": "rows"}
    inputs = load_inputs(RunRequest(table="table.xlsx", **options))
    assert [len(inputs.parts[part_name].numbers) for part_name in PARTS] == [
        160,
        40,
        50,
    ]


def test_identifiers_are_left_out_and_said(here):
    inputs = load()
    assert "code" not in inputs.parts["train"].frame.columns
    assert any(
        "look like identifiers are left out: code" in note for note in inputs.notes
    )
    roles = {column["name"]: column["role"] for column in inputs.described[1]}
    assert roles["code"] == "left out: like an identifier"
    assert roles["age"] == "feature"


def test_whole_numbers_that_name_rows_are_left_out_or_named(here):
    rows = np.arange(200)
    drawn = np.random.default_rng(3).permutation(200)
    numbered = table().assign(
        patient_id=rows + 1, kundennr=200 - rows, lfd=rows + 11, rand_id=drawn
    )
    numbered.to_csv("table.csv", index=False)
    inputs = load()
    assert not pd.Series(inputs.parts["train"].numbers).is_monotonic_increasing, (
        "rows are drawn"
    )
    note = next(note for note in inputs.notes if "look like identifiers" in note)
    assert (
        "code, patient_id, kundennr, lfd, rand_id. To use one, pass --kind "
        "code=categorical or, to keep" in note
    )
    assert not any("rand_id" in note for note in load(drop=("rand_id",)).notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "said", "delimiter"),
    [
        (["01067", "80331", "10115"], True, ","),
        (["01067", "80331", ""], True, ","),
        (["01067", "80331", ""], True, ";"),
        (["01067", "80331", ""], True, "\t"),
        (["1067", "80331", "10115"], False, ","),  # no zeros in front
        (["01067", "0080331", "10115"], False, ","),  # of several lengths
        (["00", "07", "23"], False, ","),  # hours
        (["0.5", "001", "002"], False, ","),  # a number among them
        (["A1067", "01067", "80331"], False, ","),  # text as it is
    ],
)
def test_numbers_written_like_codes_are_named(here, cells, said, delimiter):
    coded = table().assign(
        town=np.resize(cells, 200), before=np.resize(["0123", "x"], 200)
    )
    coded.to_csv("table.csv", index=False, sep=delimiter)
    loaded = load()
    assert not said or "town" in loaded.schema.of_kind("numeric"), "read as numbers"
    notes = [note for note in loaded.notes if "leading zeros" in note]
    assert [note.partition(". ")[0] for note in notes] == said * [
        "Read as numbers despite leading zeros: town"
    ]
    for declared in ("categorical", "numeric") if said else ():
        assert not any(
            "zeros stand" in note for note in load(kind=(f"town={declared}",)).notes
        )


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["001", "1", "2"],
            "such as '001' and '1', are read as one number. If they differ, ",
        ),
        (
            ["7", "07", "2"],
            "such as '7' and '07', are read as one number. If they differ, ",
        ),
        (
            ["001", "002", "010"],
            "has leading zeros like a code, but is read as numbers. If it holds",
        ),
        (["01", "02"], None),  # nothing falls together, and months are written so
        (["10", "1", "2"], None),
        (["00", "0", "1", "2"], None),  # 0 is declared to be missing
        (["a001", "a1"], None),
    ],
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_zeros_in_front_of_the_target_are_said(here, cells, said, delimiter):
    table().assign(y=np.resize(cells, 200)).to_csv(
        "table.csv", index=False, sep=delimiter
    )
    notes = [
        note
        for note in load(na=("0",)).notes
        if "'y'" in note and "have no target" not in note
    ]
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]
    assert said is None or notes[0].endswith(
        "write them as text, for example with a letter in front."
    )


def test_zeros_in_front_of_numbers_to_predict_are_said_where_they_are_codes(here):
    for width, count in ((5, 1), (1, 0)):
        towns = [f"{i:0{width}}" for i in range(7, 207)]
        table().assign(y=towns).to_csv("table.csv", index=False)
        inputs = load()
        assert inputs.task == "regression"
        zero_notes = [
            note for note in inputs.notes if "the target 'y' has leading zeros" in note
        ]
        assert len(zero_notes) == count
    table().assign(y=["007", "07", "3", "4.5"] * 50).to_csv("table.csv", index=False)
    assert not any("one class" in note for note in load(task="regression").notes)


def test_numbers_written_in_several_ways_are_named(here):
    cells = [f"{i},5" if i % 10 else f"{i}.25" for i in range(200)]
    table().assign(price=cells).to_csv("table.csv", index=False)
    spelling_notes = [
        note
        for note in load().notes
        if "'price' looks like numbers written in several ways" in note
    ]
    assert len(spelling_notes) == 1
    assert "first odd cell '" in spelling_notes[0]
    assert (
        ".25', and is read as categories. Write all its cells alike"
        in spelling_notes[0]
    )
    assert not any("price" in note for note in load(drop=("price",)).notes)


def test_dates_written_in_several_ways_are_named_and_refused_where_they_are_declared(
    here,
):
    cells = [
        f"{1 + i % 28:02d}.0{1 + i % 9}.2023"
        if i % 10
        else f"0{1 + i % 9}/{1 + i % 28:02d}/2023"
        for i in range(200)
    ]
    table().assign(seen=cells).to_csv("table.csv", index=False)
    date_notes = [
        note
        for note in load().notes
        if "'seen' looks like dates written in several ways" in note
    ]
    assert (
        "Write all its cells alike, such as 2024-01-31, or pass a cell that means "
        "missing" in date_notes[0]
    )
    with pytest.raises(
        InputError,
        match=r"Column 'seen' is declared date but has '.*' beside '.*'\. Write all "
        r"dates in",
    ):
        load(kind=("seen=date",))
    table().assign(
        seen=[f"{1 + i % 28:02d}.05.{'20' * (i % 2)}23" for i in range(200)]
    ).to_csv("table.csv", index=False)
    assert load().schema["seen"].kind == "date", "a year of two digits is no other way"


def test_per_cent_signs_are_told_in_the_columns_report(here):
    table().assign(share=[f"{i % 100},5 %" for i in range(200)]).to_csv(
        "table.csv", index=False
    )
    inputs = load()
    assert inputs.parts["train"].frame["share"].dtype == np.float64
    reasons = {line["name"]: line["reason"] for line in inputs.described[1]}
    assert reasons["share"] == "numbers with a per cent sign, as written: 7.4 % is 7.4"


def test_codes_that_never_occur_are_named(here):
    frame = table()
    frame.loc[3, "weight"] = -9
    frame.to_csv("table.csv", index=False)
    code_notes = [
        note for note in load(na=("-9", "foo", "-8")).notes if "never occur" in note
    ]
    assert code_notes == ["--na codes that never occur: 'foo', '-8'. Check --na."]
    assert not any("never occur" in note for note in load(na=("-9",)).notes)
    frame.assign(weight=-8).to_csv("test.csv", index=False)
    code_notes = [
        note
        for note in load(na=("-9", "foo", "-8"), test=Path("test.csv")).notes
        if "never occur" in note
    ]
    assert code_notes == ["--na codes that never occur: 'foo'. Check --na."]


def test_an_identifier_that_is_asked_for_is_kept_beside_the_features(here):
    inputs = load(identifier=("code",), drop=("weight",))
    assert list(inputs.parts["test"].identifiers.columns) == ["code"]
    assert (
        inputs.parts["test"].identifiers["code"]
        == [f"case {row}" for row in inputs.parts["test"].numbers]
    ).all()
    assert not {"code", "weight"} & set(inputs.parts["test"].frame.columns)


def test_dummies_are_one_feature_and_declared_groups_are_variables(here):
    loaded_inputs = load()
    assert loaded_inputs.groups == {
        "colour": ["colour_red", "colour_green", "colour_blue"]
    }
    assert any(
        "are one feature: colour (colour_red" in note and "--groups none" in note
        for note in loaded_inputs.notes
    )
    none = load(groups=Path("none"))
    assert none.groups == none.encoder_options["groups"] == {}
    assert not any("one feature" in note for note in none.notes)
    Path("groups.json").write_text(
        json.dumps({"colour": ["colour_red", "colour_green", "colour_blue"]})
    )
    inputs = load(groups=Path("groups.json"))
    assert inputs.groups == {"colour": ["colour_red", "colour_green", "colour_blue"]}
    assert not any("are one feature" in note for note in inputs.notes)


@pytest.mark.slow
def test_columns_that_say_the_same_are_named(here):
    assert not any("age_copy" in note for note in load().notes)
    blocks = table().assign(
        sex_m=[i % 2 for i in range(200)], sex_f=[1 - i % 2 for i in range(200)]
    )
    blocks.assign(age_copy=blocks["age"]).to_csv("table.csv", index=False)
    loaded_inputs = load()
    assert {name: loaded_inputs.groups[name] for name in ("sex", "age")} == {
        "sex": ["sex_m", "sex_f"],
        "age": ["age", "age_copy"],
    }
    (copy_note,) = [note for note in loaded_inputs.notes if "age_copy" in note]
    assert "sex (sex_m, sex_f)" in copy_note
    (copy_note,) = [
        note for note in load(groups=Path("none")).notes if "one to one" in note
    ]
    assert copy_note == (
        "These columns determine each other one to one in every training row, so "
        "importance is split between them: age = age_copy; sex_m = sex_f. Leave out "
        "all but one, or explain them together: put them in a JSON file "
        '{"age": ["age", "age_copy"]} and pass it with --groups.'
    )
    Path("groups.json").write_text('{"age": ["age", "age_copy"]}')
    assert not any(
        "age_copy" in note for note in load(groups=Path("groups.json")).notes
    )
    assert not any("age_copy" in note for note in load(drop=("age_copy",)).notes)


def test_groups_stay_together_and_are_no_feature(here):
    inputs = load(row_group="patient")
    patients = table()["patient"].to_numpy()
    members = {
        part_name: set(patients[inputs.parts[part_name].numbers]) for part_name in PARTS
    }
    assert all(members.values())
    assert not members["train"] & members["test"]
    assert not members["train"] & members["validation"]
    assert "patient" not in inputs.parts["train"].frame.columns
    assert "by groups of 'patient'" in inputs.split


def test_the_terminal_says_why_a_column_is_left_out(here):
    inputs = load(row_group="patient", drop=("weight",), identifier=("code",))
    lines = {line.split()[0]: line for line in inputs.described[0].splitlines()}
    assert lines["weight"].endswith("left out: --drop")
    assert lines["patient"].endswith("left out: --row-group")
    assert lines["code"].endswith("identifier: --id")
    assert lines["age"].endswith(inputs.schema["age"].reason)
    # A column that nobody named keeps what it was recognised by.
    assert load().schema["code"].reason == "text, 120 different values in 120 rows"


def test_the_latest_rows_are_the_test_rows(here):
    inputs = load(time="year")
    years = table()["year"].to_numpy()
    assert (
        years[inputs.parts["train"].numbers].max()
        < years[inputs.parts["validation"].numbers].min()
    )
    assert (
        years[inputs.parts["validation"].numbers].max()
        < years[inputs.parts["test"].numbers].min()
    )
    assert "year" not in inputs.parts["train"].frame.columns


def test_own_files(here):
    table(50, seed=1)[
        [
            "y",
            "weight",
            "age",
            "patient",
            "year",
            *(f"colour_{n}" for n in ("red", "green", "blue")),
        ]
    ].assign(code="x").to_csv("test.csv", index=False)
    loaded_inputs = load(test=Path("test.csv"))
    assert {
        part_name: len(loaded_inputs.parts[part_name].frame) for part_name in PARTS
    } == {
        "train": 160,
        "validation": 40,
        "test": 50,
    }
    test, train = (
        list(loaded_inputs.parts[part_name].frame.columns)
        for part_name in ("test", "train")
    )
    assert test == train, "columns are matched by name"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left_out", "options"),
    [
        ("code", {}),
        ("code", {"kind": ("code=identifier",)}),
        ("code", {"identifier": ("code",)}),
        ("weight", {"drop": ("weight",)}),
        ("year", {"time": "year"}),
        ("patient", {"row_group": "patient"}),
    ],
)
def test_own_files_need_no_column_that_is_left_out(here, left_out, options):
    own_table = table(50, seed=1)
    own_table.drop(columns=left_out).to_csv("test.csv", index=False)
    inputs = load(test=Path("test.csv"), **options)
    assert left_out in inputs.left_out, "the precondition"
    assert left_out not in inputs.parts["test"].frame.columns
    features = list(inputs.parts["train"].frame.columns)
    pd.testing.assert_frame_equal(
        inputs.parts["test"].frame, own_table[features], check_column_type=False
    )
    # What the file has of them makes no difference, and is not warned of.
    own_table.to_csv("test.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test_frame = load(test=Path("test.csv"), **options).parts["test"].frame
    pd.testing.assert_frame_equal(
        test_frame, own_table[features], check_column_type=False
    )
    own_table.drop(columns="age").to_csv("test.csv", index=False)
    with pytest.raises(InputError, match="1 column of training is missing: 'age'"):
        load(test=Path("test.csv"), **options)
    own_table.rename(columns={"age": "agee"}).to_csv("test.csv", index=False)
    with pytest.raises(
        InputError,
        match=r"1 column of training is missing: 'age'. Rename 'agee' to 'age'\.",
    ):
        load(test=Path("test.csv"), **options)
    own_table.assign(more=1).to_csv("test.csv", index=False)
    with pytest.warns(
        PermgradWarning,
        match="1 column is not used, because training did not have it: 'more'",
    ):
        load(test=Path("test.csv"), **options)


def test_groups_in_training_and_own_files_are_counted(here):
    own_table = table(50, seed=1).assign(patient=lambda own: own["patient"] + 30)
    own_table.to_csv("test.csv", index=False)
    inputs = load(test=Path("test.csv"), row_group="patient")
    learned = set(table()["patient"][inputs.parts["train"].numbers])
    there = set(own_table["patient"])
    assert 0 < len(learned & there) < len(there), "the precondition"
    group_notes = [note for note in inputs.notes if "groups of" in note]
    assert group_notes == [
        (
            f"{len(learned & there)} of {len(there)} groups of 'patient' in the test "
            "file are also in the training rows"
        )
    ]
    # A gap makes the numbers of a column broken ones.
    own_table.assign(patient=own_table["patient"].where(own_table.index > 0)).to_csv(
        "test.csv", index=False
    )
    assert any(
        "groups of 'patient' in the test file" in note
        for note in load(test=Path("test.csv"), row_group="patient").notes
    )
    own_table.assign(patient=own_table["patient"] + 100).to_csv("test.csv", index=False)
    assert not any(
        "groups of" in note
        for note in load(test=Path("test.csv"), row_group="patient").notes
    )
    own_table.drop(columns="patient").to_csv("test.csv", index=False)
    assert not any(
        "groups of" in note
        for note in load(test=Path("test.csv"), row_group="patient").notes
    )


def test_rows_in_training_and_test_are_counted(here):
    table().iloc[:7].to_csv("test.csv", index=False)
    inputs = load(test=Path("test.csv"), drop=("code",))
    assert 0 < inputs.shared_rows <= 7
    assert any(f"{inputs.shared_rows} of 7 test rows" in note for note in inputs.notes)
    table(7, seed=3).to_csv("test.csv", index=False)
    assert load(test=Path("test.csv"), drop=("code",)).shared_rows == 0


@pytest.mark.parametrize(
    "words", [{"identifier": ("visit",)}, {"drop": ("visit",)}, {}]
)
def test_rows_that_differ_in_a_column_that_is_left_out_are_not_equal(here, words):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"sex": rng.choice(["f", "m"], 300), "dose": rng.integers(0, 4, 300)}
    )
    frame["y"] = rng.choice(["ill", "well"], 300)
    frame.insert(0, "visit", [f"v{i:04}" for i in range(300)])
    assert not frame.duplicated().any(), "no row of the file is there twice"
    assert frame[["sex", "dose", "y"]].drop_duplicates().shape[0] <= 16, (
        "few rows differ in features and target"
    )
    frame.to_csv("table.csv", index=False)
    inputs = load(**words)
    assert "visit" in inputs.left_out
    assert inputs.shared_rows == 0
    assert inputs.alike_rows == 60
    assert not any("also in the training rows" in note for note in inputs.notes)
    assert not any("equal to a training row" in note for note in inputs.notes), (
        "of two coarse columns that is expected"
    )
    # The same rows again, a few of them whole.
    pd.concat([frame, frame.iloc[:20]]).to_csv("table.csv", index=False)
    inputs = load(**words)
    whole_table = pd.concat([frame, frame.iloc[:20]], ignore_index=True)
    train, test = (
        whole_table.iloc[inputs.parts[part_name].numbers]
        for part_name in ("train", "test")
    )
    twice = len(test.merge(train.drop_duplicates(), how="inner"))
    assert 0 < twice < 20
    assert (inputs.shared_rows, inputs.alike_rows) == (twice, len(test))
    assert not inputs.shared_expected


def test_equal_rows_are_noted_where_the_columns_do_not_explain_them(here):
    frame = table()
    frame = frame.assign(dose=np.random.default_rng(1).normal(size=200).round(3))
    pd.concat([frame, frame], ignore_index=True).assign(
        visit=[f"v{i:04}" for i in range(400)]
    ).to_csv("table.csv", index=False)
    inputs = load(drop=("visit",))
    (equal_note,) = [note for note in inputs.notes if "equal to a training row" in note]
    assert (
        equal_note
        == f"{inputs.alike_rows} test rows are equal to a training row, apart from "
        "visit"
    )


def test_rows_without_a_target_are_left_out_and_counted(here):
    frame = table()
    frame.loc[[3, 10], "y"] = None
    frame.loc[[20], "y"] = "?"
    frame.to_csv("table.csv", index=False)
    inputs = load(na=("?",))
    assert "3 of 200 rows of the table have no target and are left out" in inputs.notes
    rows = np.concatenate([inputs.parts[part_name].numbers for part_name in PARTS])
    assert sorted(set(range(200)) - set(rows)) == [3, 10, 20]
    assert (inputs.parts["test"].y == frame["y"][inputs.parts["test"].numbers]).all()


def test_types_are_seen_on_training_rows_only(here):
    """A column that varies outside the training rows only must count as constant."""
    frame = table().assign(late=0)
    frame.loc[frame["year"] > 2017, "late"] = 1
    frame.to_csv("table.csv", index=False)
    inputs = load(time="year")
    assert inputs.schema["late"].kind == "constant"
    assert frame["late"].nunique() == 2, "the precondition"


def test_the_configuration_follows_content_and_options(here):
    def of(**options):
        return configuration(RunRequest(table="table.csv", target=("y",), **options))

    base = of()
    assert of() == base
    assert of(out=Path("elsewhere"), threads=1, device="cpu") == base, (
        "what does not change the result is left out"
    )
    assert of(seed=1) != base
    assert of(na=("-9",)) != base
    table(seed=5).to_csv("table.csv", index=False)
    assert of() != base, "another content under the same name is another run"


def test_another_version_is_another_run(here, monkeypatch):
    table().to_csv("table.csv", index=False)
    request = RunRequest(table="table.csv", target=("y",), out=Path("run"))
    with open_run(request.folder, configuration(request)) as run:
        assert run.record["finished_stages"] == []
    monkeypatch.setattr("permgrad.runs.configuration.__version__", "99.0")
    with pytest.raises(
        InputError,
        match=r"differs in permgrad \(.* there, 99\.0 now\)\. Replace it with "
        r"--overwrite",
    ):
        RUN.find(request.folder, configuration(request))


def test_the_command_can_be_typed_again():
    request = RunRequest(
        table="my table.csv",
        target=("y z",),
        na=("-9,-8",),
        seed=3,
        baselines=("usual",),
        drop=("a", "b"),
    )
    assert request.command == (
        "permgrad run 'my table.csv' --target 'y z' --drop a --drop b --na=-9,-8 "
        "--seed 3 --baselines"
    )
    assert str(request.folder) == "permgrad-runs/my table-3"


@pytest.mark.data
@pytest.mark.skipif(
    not DATA, reason="PERMGRAD_DATA does not name the folder of the real data sets"
)
@pytest.mark.parametrize(
    ("name", "features", "rows"),
    [
        ("heloc", 23, 10_459),
        ("covertype", 54, 15_000),
        ("gas", 128, 6_697),
        ("puma", 8, 8_192),
        ("dengue", 26, 11_448),
    ],
)
def test_named_sets(name, features, rows):
    inputs = load_inputs(RunRequest(table=name))
    assert inputs.parts["train"].frame.shape[1] == features
    assert sum(len(table_part.frame) for table_part in inputs.parts.values()) == rows
    if name == "heloc":
        assert inputs.na == (-9, -8, -7)
        assert inputs.shared_rows > 0
    if name == "covertype":
        assert {
            group: len(group_columns) for group, group_columns in inputs.groups.items()
        } == {
            "Wilderness_Area": 4,
            "Soil_Type": 40,
        }


def test_a_code_in_a_german_table_is_known_in_training_and_prediction(here):
    cells = [f"{i},5" for i in range(60)]
    cells[7] = cells[30] = "k.A."
    lines = [f"{cell};{i * 0.5:g}".replace(".5", ",5") for i, cell in enumerate(cells)]
    Path("table.csv").write_text("size;y\n" + "\n".join(lines))
    assert any("numbers but for 'k.A.', and" in note for note in load().notes)
    inputs = load(na=("k.A.,#NV",))
    assert inputs.notes == []
    assert (inputs.schema["size"].kind, inputs.decimal) == ("numeric", ",")
    assert {
        table_part.frame["size"].str.contains(",").sum()
        for table_part in inputs.parts.values()
    } == {0}
    Path("new.csv").write_text("size;y\n3,5;1\nk.A.;2\n")
    model = SimpleNamespace(
        preprocessor_=SimpleNamespace(feature_names_in_=["size"], schema_=Schema(()))
    )
    data = {"decimal": inputs.decimal, "na": ["k.A."], "target": "y"}
    assert read_rows(model, data, Path("new.csv"))[0]["size"].tolist() == [
        "3.5",
        "k.A.",
    ]
    Path("test.csv").write_text("size;y\n3,5;2,5\nk.A.;3,5\n")
    test_part = load(na=("k.A.",), test=Path("test.csv")).parts["test"]
    assert (test_part.frame["size"].tolist(), test_part.y.tolist()) == (
        ["3.5", "k.A."],
        [2.5, 3.5],
    )


def test_thousands_of_a_german_table_are_read_alike_in_training_and_prediction(here):
    rng = np.random.default_rng(0)
    price = rng.integers(1100, 9000, 60)
    frame = pd.DataFrame(
        {"area": [f"{price[i] / 1e4:.4f}".replace(".", ",") for i in range(60)]}
    )
    frame["price"] = [
        f"{number // 1000}.{number % 1000:03}" for number in price.tolist()
    ]
    frame["rent"] = frame["price"]
    frame.to_csv("table.csv", index=False, sep=";")
    inputs = load_inputs(RunRequest(table="table.csv", target=("price",)))
    assert inputs.task == "regression"
    for table_part in inputs.parts.values():
        assert (table_part.y == price[table_part.numbers]).all()
    assert inputs.decimal == ","
    Path("new.csv").write_text("area;rent\n1;1.235\n")
    model = SimpleNamespace(
        preprocessor_=SimpleNamespace(
            feature_names_in_=["area", "rent"], schema_=Schema(())
        )
    )
    assert read_rows(model, {"decimal": inputs.decimal}, Path("new.csv"))[0][
        "rent"
    ].tolist() == [1235]
    Path("test.csv").write_text("area;rent;price\n1;1.235;3.456\n2;1.500;4.321\n")
    own_inputs = load_inputs(
        RunRequest(table="table.csv", target=("price",), test=Path("test.csv"))
    )
    assert own_inputs.parts["test"].y.tolist() == [3456, 4321]


def coded_table(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(size=rows),
            "code": rng.choice(["01", "02", "03", "A1"], rows),
        }
    )
    frame["smoker"] = rng.choice(["TRUE", "FALSE", "unknown"], rows)
    frame["size"] = rng.choice(["1.50", "2.00", "x"], rows)
    frame["ward"] = rng.choice(["07", "08", "?"], rows)
    return frame


CODED = ["code", "smoker", "size", "ward"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_of_text_are_text_in_tables_that_hold_numbers_alone(here, form):
    frame = coded_table()
    name = f"coded.{form}"
    frame.to_csv(name, index=False) if form == "csv" else frame.to_parquet(name)
    options = {
        "table": name,
        "target": ("code",),
        "kind": ("ward=categorical",),
        "na": ("?",),
    }
    inputs = load_inputs(RunRequest(**options))
    assert inputs.texts == CODED
    few = frame[
        (frame["code"] != "A1")
        & (frame["smoker"] != "unknown")
        & (frame["size"] != "x")
    ]
    few = few[few["ward"] != "?"]
    few.to_csv("few.csv", index=False)
    assert len(few) > 5
    assert not any(
        pd.api.types.is_string_dtype(pd.read_csv("few.csv")[name]) for name in CODED
    ), "cells do not tell"
    model = SimpleNamespace(
        preprocessor_=SimpleNamespace(
            feature_names_in_=["age", *CODED[1:]], schema_=Schema(())
        )
    )
    data = {"texts": inputs.texts, "na": ["?"], "target": "code"}
    rows, whole_reading = read_rows(model, data, Path("few.csv"))
    encoder = TableEncoder(**inputs.encoder_options).fit(inputs.parts["train"].frame)
    np.testing.assert_array_equal(
        encoder.transform(rows), encoder.transform(few[rows.columns])
    )
    assert whole_reading.frame["code"].tolist() == few["code"].tolist(), (
        "the target is to be compared with classes"
    )
    # Runs of former versions say nothing of text.
    with pytest.warns(PermgradWarning, match="(?s)'smoker'.*'size'.*'ward'"):
        encoder.transform(read_rows(model, {"target": "code"}, Path("few.csv"))[0])
    test_part = load_inputs(RunRequest(**options, test=Path("few.csv"))).parts["test"]
    assert test_part.y.tolist() == few["code"].tolist()
    np.testing.assert_array_equal(
        encoder.transform(test_part.frame[rows.columns]),
        encoder.transform(few[rows.columns]),
    )


@pytest.mark.slow
def test_images_of_a_column_are_found_in_the_tables_folder_and_checked_before_there_is_work(
    here, monkeypatch
):
    rows = table()
    rows["photo"] = [f"photos/{i}.png" for i in range(200)]
    (here / "photos").mkdir()
    for i, name in enumerate(rows["photo"]):
        Image.fromarray(np.full((5, 5), i, np.uint8)).save(here / name)
    rows.loc[3, "photo"] = None
    rows.to_csv("table.csv", index=False)
    monkeypatch.chdir("/")
    request = RunRequest(table=str(here / "table.csv"), target=("y",))
    inputs = load_inputs(request)
    assert inputs.feature_types["photo"].kind == "image"
    assert inputs.parts["test"].frame["photo"].iloc[0].startswith("photos/")
    (here / "photos" / "7.png").write_bytes(b"no image")
    (here / "photos" / "9.png").unlink()
    with pytest.raises(
        InputError,
        match=r"1 of 199 image files in column .photo. cannot be found .*9\.png\). "
        r"Paths start from",
    ):
        load_inputs(request)
    shutil.copy(here / "photos" / "8.png", here / "photos" / "9.png")
    with pytest.raises(
        InputError,
        match=r"1 of 199 image files in column .photo. cannot be read .*7\.png: not an "
        r"image",
    ):
        load_inputs(request)
    assert (
        "photo"
        not in load_inputs(replace(request, drop=("photo",))).feature_types.names
    )


def test_tables_of_images_are_read_with_the_columns_of_text(here):
    Image.new("L", (4, 4)).save("one.png")
    Path("rows.csv").write_text("code,scan\n01,one.png\n02,one.png\n")
    kinds = {"code": "categorical", "scan": "image"}
    frame = pd.DataFrame({"code": ["01", "02"] * 20, "scan": ["one.png"] * 40})
    model = SimpleNamespace(preprocessor_=TableEncoder(kinds=kinds).fit(frame))
    table = Path("rows.csv").resolve()
    rows, whole_reading = read_rows(model, {"texts": ["code", "scan", "gone"]}, table)
    assert rows["code"].tolist() == whole_reading.frame["code"].tolist() == ["01", "02"]
    assert source_of(rows["scan"][0]) == table.parent / "one.png"
    assert read_rows(model, {}, table)[1].frame["code"].tolist() == [1, 2], (
        "as in runs of former versions"
    )


def test_declared_images_may_have_names_without_an_ending_and_are_in_the_tables_folder(
    here, monkeypatch
):
    rows = table()
    rows["photo"] = [f"photo-{i}" for i in range(200)]
    for i, name in enumerate(rows["photo"]):
        Image.fromarray(np.full((5, 5), i, np.uint8)).save(here / name, "PNG")
    rows.to_csv("table.csv", index=False)
    monkeypatch.chdir("/")
    request = RunRequest(
        table=str(here / "table.csv"), target=("y",), kind=("photo=image",)
    )
    inputs = load_inputs(request)
    assert inputs.feature_types["photo"].kind == "image"
    assert inputs.images["images"] == ["photo"]
    shutil.copy(here / "photo-3", here / "photo-4")
    assert load_inputs(request).images != inputs.images, (
        "another picture is another configuration"
    )
    assert load_inputs(replace(request, kind=())).images == {}
    with pytest.raises(
        InputError,
        match="Column 'photo' has two kinds: --kind photo=text and --kind photo=image",
    ):
        load_inputs(replace(request, kind=("photo=text", "photo=image")))


def test_few_groups_leave_two_for_the_test_rows_or_are_refused_before_anything_is_trained(
    here,
):
    frame = table().assign(site=lambda one: one["patient"] % 4)
    frame.to_csv("table.csv", index=False)
    assert load(row_group="site").parts["test"].dependence.count == 2
    frame[frame["site"] < 3].to_csv("table.csv", index=False)
    with pytest.raises(InputError) as caught:
        load(row_group="site")
    assert caught.value.message == (
        "The test rows have one value of 'site' (--row-group), and an explanation "
        "compares rows of several. Choose a "
        "column with at least 4 values, or leave --row-group out."
    )


def test_a_feature_that_names_persons_with_several_rows_is_told(here):
    frame = table().drop(columns="patient")
    person = np.random.default_rng(0).permutation(np.arange(200) // 3)
    shop = np.arange(200) % 5 + 1
    frame.assign(**{"staff no": person + 1000, "shop no": shop}).to_csv(
        "table.csv", index=False
    )
    inputs = load()
    assert {"staff no", "shop no"} <= {
        column_type.name for column_type in inputs.feature_types
    }
    (group_note,) = [note for note in inputs.notes if "--row-group" in note]
    tested = next(int(count) for count in re.findall(r"of (\d+) test rows", group_note))
    assert group_note.startswith("Rows share 'staff no': 67 values in 200 rows, and ")
    assert tested == 40
    assert group_note.endswith("If so, pass --row-group 'staff no'")
    assert not any("--row-group" in note for note in load(row_group="staff no").notes)
    # What has decimals measures.
    frame.assign(**{"mass index": 20 + person / 10, "shop no": shop}).to_csv(
        "table.csv", index=False
    )
    assert not any("--row-group" in note for note in load().notes)
