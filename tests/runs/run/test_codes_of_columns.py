"""``--na``: a cell's whole text first, and codes of single columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs


@pytest.fixture
def table(tmp_path):
    draw = np.random.default_rng(6)
    frame = pd.DataFrame(
        {"age": draw.integers(18, 90, 200), "pay": draw.integers(-9, 90, 200)}
    )
    frame["owner"] = draw.choice(["No", "Yes", "Perhaps"], 200)
    frame["y"] = (frame["age"] / 10 + draw.normal(size=200)).round(3)
    frame["age"] = frame["age"].astype(str)
    frame.loc[:7, "age"] = "No, refused"
    frame.loc[8:11, "age"] = "Don't know"
    frame.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


def load(table, *na):
    return load_inputs(RunRequest(table=table, target=("y",), na=na))


def test_all_words_among_numbers_are_proposed_at_once(table):
    inputs = load(table)
    assert inputs.schema["age"].kind == "categorical"
    (facts,) = inputs.cells
    assert facts["options"] == ["--na", "age=Don't know", "--na", "age=No, refused"]
    assert (
        "age ('No, refused', \"Don't know\")" in facts["words"]
        or "Don't know" in facts["words"]
    )
    # What it proposes works, and touches no other column.
    inputs = load(table, *facts["options"][1::2])
    assert inputs.schema["age"].kind == "numeric"
    assert inputs.schema["owner"].n_missing == 0
    assert inputs.cells == []


def test_a_text_with_a_comma_is_one_code_where_a_cell_is_it(table):
    inputs = load(table, "No, refused", "Don't know")
    assert inputs.schema["age"].kind == "numeric"
    assert inputs.schema["owner"].n_missing == 0
    assert load(table, "No,Don't know").schema["owner"].n_missing > 0


def test_codes_of_one_column_are_values_of_another(table):
    inputs = load(table, "age=No, refused", "age=Don't know", "pay=-9,-8")
    assert inputs.schema["pay"].n_missing > 0
    assert list(inputs.na) == [
        {"age": ("No, refused", "Don't know"), "pay": ("-9", "-8")}
    ]
    with pytest.raises(InputError, match="Did you mean 'pay'"):
        load(table, "payy=-9")


def test_a_target_that_stands_in_a_later_line_is_said(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("A,B,C\nage,pay,town\n" + "31,2,x\n40,3,y\n" * 20)
    with pytest.raises(InputError) as refused:
        load_inputs(RunRequest(table=str(file), target=("pay",)))
    assert f"It stands in line 2 of {file}: delete the lines above" in str(
        refused.value
    )
    with pytest.raises(InputError, match="Columns: A, B, C"):
        load_inputs(RunRequest(table=str(file), target=("weight",)))
