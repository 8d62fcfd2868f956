"""Cells that the type of a column cannot read, in rows that did not decide the type."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.data.read.cells import CellError, MissingCodes
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.odd_cells import odd_cells_words, without_odd_cells

CODES = MissingCodes.of(())


@pytest.fixture(scope="module", name="decided")
def _decided():
    """Rows that decide the types: numbers as text, dates, hours and a category."""
    draw = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=40).strftime("%Y-%m-%d")
    return pd.DataFrame(
        {
            "weight": draw.normal(size=40).round(2).astype(str),
            "day": days,
            "hour": [f"{number % 24}:30" for number in range(40)],
            "town": draw.choice(["Bonn", "Ulm"], 40),
        }
    )


@pytest.mark.parametrize(
    ("column", "cell"),
    [("weight", "heavy"), ("weight", "inf"), ("day", "soon"), ("hour", "7.30")],
)
def test_an_odd_cell_is_missing_and_named(decided, column, cell):
    schema = infer_schema(decided)
    later = decided.iloc[:10].copy()
    assert without_odd_cells(later, schema, CODES) == (later, [])
    later.loc[[3, 5], column] = cell
    before = later.copy()
    readable, errors = without_odd_cells(later, schema, CODES, infinite=True)
    pd.testing.assert_frame_equal(later, before)
    assert readable[column].isna().tolist() == [row in (3, 5) for row in range(10)]
    other_columns = readable.drop(columns=column)
    pd.testing.assert_frame_equal(other_columns, later.drop(columns=column))
    assert [error.row for error in errors] == [3, 5]
    words = odd_cells_words(errors)
    assert words.startswith("2 cells that cannot be read count as missing: Column ")
    assert words.count(repr(column)) == 2


def test_a_column_that_holds_something_else_is_refused(decided):
    schema = infer_schema(decided)
    later = decided.assign(weight="heavy")
    with pytest.raises(CellError, match="must be numeric, but holds 'heavy' in row 0"):
        without_odd_cells(later, schema, CODES)


def test_an_infinite_number_is_refused_unless_rows_are_predicted(decided):
    schema = infer_schema(decided)
    later = decided.iloc[:10].copy()
    later.loc[3, "weight"] = "inf"
    with pytest.raises(CellError, match="infinite"):
        without_odd_cells(later, schema, CODES)


def test_a_level_that_training_did_not_have_is_no_odd_cell(decided):
    schema = infer_schema(decided)
    later = decided.assign(town="Kiel")
    assert without_odd_cells(later, schema, CODES)[1] == []


def test_many_odd_cells_are_counted(decided):
    later = decided.copy()
    later.loc[:7, "weight"] = [f"about {number}" for number in range(8)]
    _, errors = without_odd_cells(later, infer_schema(decided), CODES)
    assert odd_cells_words(errors).endswith("; and 3 more.")


@pytest.mark.parametrize("seed", range(6))
def test_the_kind_of_a_column_does_not_hang_on_which_rows_fit_holds_out(seed):
    draw = np.random.default_rng(1)
    X = pd.DataFrame({"when": [f"{hour % 24}:15" for hour in range(240)]})
    X["dose"] = draw.normal(size=240)
    X["site"] = draw.integers(1, 9, 240).astype(str)
    X.loc[[5, 60, 170], "when"] = "noon"
    X.loc[range(0, 240, 20), "site"] = "none of these"
    y = np.where(X["dose"] > 0, "ill", "well")
    model = pg.HyNNClassifier(preset="fast", random_state=seed, progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.prepare(X, y)
    types = model.preprocessor_.schema_
    assert [column.kind for column in types] == ["numeric", "numeric", "categorical"]
    assert types["when"].n_rows < 240, "some rows are held out"
    words = [str(warning.message) for warning in caught]
    assert (
        sum("3 cells that are none count as missing: 'noon'" in w for w in words) == 1
    )
    model.preprocessor_.transform(X)  # the user may predict them all
