"""Whole numbers that differ only in digits float64 does not hold: said of numbers, kept
by categories.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.base.errors import InputError, PermgradWarning
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.splitting import count_shared_rows
from permgrad.data.types.as_one import same_columns
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import findings_of
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs

ROWS = 200
BIG = 2**62


def table() -> pd.DataFrame:
    big = [BIG + i for i in np.random.default_rng(0).permutation(ROWS).tolist()]
    frame = pd.DataFrame({"big": big})
    frame["x"] = np.random.default_rng(1).normal(size=ROWS)
    frame["y"] = np.where(frame["big"] - BIG > ROWS // 2, "yes", "no")
    return frame


def said_of(frame: pd.DataFrame, **kinds: str) -> list[str]:
    return [finding.text() for finding in findings_of(infer_schema(frame, kinds=kinds))]


def test_as_float64_the_numbers_are_one() -> None:
    assert len(set(table()["big"].astype(np.float64))) == 1


@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", object, str])
def test_numbers_that_fall_together_are_said(dtype: object) -> None:
    (message,) = said_of(table()[["big", "x"]].astype({"big": dtype}))
    assert message == (
        "Some numbers differ only in digits that float64 cannot hold: big (200 "
        "different values become 1). Pass kinds={'big': 'categorical'}, or subtract a "
        "number from all of them, such as the smallest."
    )
    assert (
        said_of(table()[["big", "x"]].astype({"big": dtype}), big="categorical") == []
    )


def test_only_what_falls_together_counts() -> None:
    numbers = pd.DataFrame(
        {"nr": [BIG, BIG + 1, BIG + 1, BIG + 4096, 7, -9] * 5, "x": np.arange(30.0)}
    )
    assert (
        "nr (4 different values become 3)"
        in said_of(numbers.replace({"nr": {-9: 7}}))[0]
    )
    column_schema = infer_schema(numbers.astype({"nr": "Int64"}), na=[-9, 7])["nr"]
    assert column_schema.reason == "numbers; 3 different values become 2 in float64", (
        "codes for missing are no numbers"
    )


def test_numbers_that_stay_different_need_no_note() -> None:
    stamps = (
        1_700_000_000_000_000_000
        + np.random.default_rng(0).integers(0, 10**15, ROWS) // 4096 * 4096
    )
    again = np.resize([BIG, BIG + 4096], ROWS)
    shifted = table()["big"] - BIG
    assert (
        said_of(pd.DataFrame({"stamp": stamps, "again": again, "shifted": shifted}))
        == []
    )
    assert (
        infer_schema(pd.DataFrame({"same": np.full(ROWS, BIG)}))["same"].reason
        == "one value only"
    )


@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64"])
def test_categories_keep_all_digits(dtype: str) -> None:
    frame = table()[["big"]].astype(dtype)
    encoder = TableEncoder(max_levels=ROWS, kinds={"big": "categorical"}).fit(frame)
    assert (
        encoder.schema_["big"].n_levels
        == infer_schema(frame, kinds={"big": "categorical"})["big"].n_levels
        == ROWS
    )
    encoded = encoder.transform(frame)
    assert (encoded.sum(axis=0) == 1).all()
    assert encoder.encoded_names_[int(encoded[3].argmax())] == f"big={frame['big'][3]}"


def test_a_declared_pair_keeps_all_digits() -> None:
    frame = pd.DataFrame({"big": np.resize([BIG + 1, BIG], ROWS)})
    column = infer_schema(frame, kinds={"big": "boolean"})["big"]
    assert (column.kind, column.false_level, column.true_level) == (
        "boolean",
        str(BIG),
        str(BIG + 1),
    )
    encoded = TableEncoder(kinds={"big": "boolean"}).fit_transform(frame)
    assert encoded[:2, 0].tolist() == [1.0, 0.0]


def test_a_fit_says_what_is_lost_and_one_of_categories_loses_nothing(
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame({"big": [BIG + i % 4 for i in range(ROWS)]})
    y = np.where(frame["big"] - BIG > 1, "yes", "no")
    with (
        pytest.warns(
            PermgradWarning, match=r"big \(4 different values become 1\)\. Pass kinds="
        ),
        pytest.raises(
            InputError,
            match=r"but none of its 1 feature\(s\) does as float64: big \(4 different "
            r"values become 1\)\. Declare "
            r"kinds={'big': 'categorical'}, or add columns\.",
        ),
    ):
        pg.HyNNClassifier(preset="fast", validation_fraction=0.0).fit(frame, y)
    model = pg.HyNNClassifier(
        preset="fast", kinds={"big": "categorical"}, max_epochs=60, random_state=0
    ).fit(frame, y)
    assert (model.predict(frame[:20]) == y[:20]).all()
    # Beside a missing cell a reader of CSV takes whole numbers for floats.
    new = frame.astype("Int64")
    new.loc[20, "big"] = pd.NA
    new.assign(x=1).to_csv(tmp_path / "new.csv", index=False)
    for rows in (new, pg.read_table(tmp_path / "new.csv")[["big"]]):
        assert (model.predict(rows[:20]) == y[:20]).all()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_says_what_is_lost_and_categories_lose_nothing(here: Path) -> None:
    table().to_csv("table.csv", index=False)
    inputs = load_inputs(RunRequest(table="table.csv", target=("y",)))
    (note,) = inputs.notes
    assert note == (
        "Some numbers differ only in digits that float64 cannot hold: big (120 "
        "different values become 1). Pass --kind big=categorical, or subtract a number "
        "from all of them, such as the smallest."
    )
    inputs = load_inputs(
        RunRequest(table="table.csv", target=("y",), kind=("big=categorical",))
    )
    assert inputs.notes == []
    assert inputs.schema["big"].n_levels == 120
    assert set(inputs.parts["test"].frame["big"]) <= set(table()["big"].astype(str)), (
        "as written"
    )
    assert (
        load_inputs(RunRequest(table="table.csv", target=("y",), drop=("big",))).notes
        == []
    )


def test_a_run_with_nothing_else_is_refused_with_the_reason(here: Path) -> None:
    table()[["big", "y"]].to_csv("table.csv", index=False)
    with pytest.raises(
        InputError,
        match=r"'big' has one value in the training rows as float64: big \(120 "
        r"different values become 1\)\. "
        "Pass --kind big=categorical, or add columns",
    ):
        load_inputs(RunRequest(table="table.csv", target=("y",)))


@pytest.mark.parametrize("dtype", ["int64", "Int64"])
def test_rows_and_columns_that_differ_in_such_digits_are_not_the_same(
    dtype: str,
) -> None:
    first_frame = pd.DataFrame({"a": [BIG, BIG + 2, BIG + 3]}, dtype=dtype)
    second_frame = pd.DataFrame({"a": [BIG + 1, BIG + 2, BIG + 4]}, dtype=dtype)
    assert count_shared_rows(first_frame, second_frame) == 1
    columns = pd.DataFrame(
        {"a": [BIG + i % 5 for i in range(40)], "b": [BIG + i % 4 for i in range(40)]},
        dtype=dtype,
    )
    assert (
        same_columns(
            columns,
            infer_schema(columns, kinds={"a": "categorical", "b": "categorical"}),
        )
        == []
    )
    columns["c"] = columns["a"]
    assert same_columns(
        columns, infer_schema(columns, kinds=dict.fromkeys("abc", "categorical"))
    ) == [("a", "c")]
