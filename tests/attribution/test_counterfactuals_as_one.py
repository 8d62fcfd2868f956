"""Counterfactuals change columns that are one feature together, and combine only what
some row combines.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import permgrad as pg
from permgrad.attribution.units_of_change import Combinations, units_of

ROWS = 400
ASKED = 8


def houses(seed: int = 4) -> tuple[pd.DataFrame, np.ndarray]:
    """Return dummies without their first level, complete dummies, an amount in two
    units, and a class.
    """
    rng = np.random.default_rng(seed)
    heating = rng.choice(["gas", "oil", "pump", "wood"], ROWS)
    state = rng.choice(["new", "old", "worn"], ROWS)
    raw = pd.DataFrame({"heating": heating, "state": state})
    X = pd.get_dummies(raw).drop(columns="heating_gas")
    X["area"] = rng.integers(30, 200, ROWS)
    X["feet"] = X["area"] * 10
    score = (X["area"] - 110) / 30 + 1.4 * X["heating_pump"] - 1.2 * X["state_worn"]
    return X, (score + rng.normal(size=ROWS) > 0).to_numpy().astype(int)


def faults(rows: pd.DataFrame) -> int:
    """Return how many rows are in two groups at once or in none, or say two areas."""
    names = list(rows.columns)
    flags = rows.astype(float)
    heating = flags[names[:3]].sum(axis=1)
    state = flags[names[3:6]].sum(axis=1)
    apart = flags[names[7]] != 10 * flags[names[6]]
    return int(((heating > 1) | (state != 1) | apart).sum())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["booleans", "numbers", "other names", "array"])
def test_no_suggestion_is_in_two_groups_or_none(form):
    X, y = houses()
    assert faults(X) == 0, "the precondition"
    if form == "numbers":
        X = X.astype(int)
    if form == "other names":
        X.columns = ["owl", "fox", "elk", "ant", "bee", "cat", "metres", "feet"]
    model = LogisticRegression(max_iter=2000)
    rows = X.astype(float).to_numpy() if form == "array" else X
    model.fit(rows, y)
    suggested = []
    for row_index in range(ASKED):
        row = rows[[row_index]] if form == "array" else rows.iloc[[row_index]]
        counterfactuals = pg.counterfactuals(model, row, rows)
        suggested.append(pd.DataFrame(counterfactuals.cells.iloc[1:]))
        assert (counterfactuals.measures["changes"] <= 4).all(), (
            "two dummies are one change"
        )
    every = pd.concat(suggested)
    assert len(every) > 2 * ASKED, "the precondition: there are suggestions"
    assert faults(every) == 0


def test_categories_that_no_row_combines_are_not_suggested():
    rng = np.random.default_rng(2)
    crop = rng.choice(["rye", "rice"], ROWS)
    wet = rng.choice(["ditch", "pond"], ROWS)
    water = np.where(crop == "rice", wet, "rain")
    X = pd.DataFrame({"crop": crop, "water": water, "sun": rng.normal(size=ROWS)})
    seen_pairs = set(zip(crop, water, strict=True))

    def model(table):
        wish = 2.0 * (table["crop"] == "rye") + 2.0 * (table["water"] == "pond")
        return (wish + table["sun"]).to_numpy(dtype=float)

    suggestion_count = 0
    for row_index in range(ASKED):
        row = X.iloc[[row_index]]
        counterfactuals = pg.counterfactuals(model, row, X, want=(2.2, None))
        suggestion_count += len(counterfactuals)
        pairs = zip(
            counterfactuals.cells["crop"], counterfactuals.cells["water"], strict=True
        )
        assert set(pairs) <= seen_pairs
    assert suggestion_count > ASKED, "the precondition: there are suggestions"


@pytest.mark.parametrize("form", ["free text", "identifier"])
def test_a_cell_that_no_other_row_has_locks_no_category(form):
    rng = np.random.default_rng(3)
    words = np.array(["old", "small", "near", "far", "cheap", "round", "thin", "dark"])
    notes = [" ".join([*rng.choice(words, 4), str(k)]) for k in range(ROWS)]
    if form == "identifier":
        notes = [f"N{k:04}" for k in range(ROWS)]
    wood = rng.choice(["oak", "ash", "elm"], ROWS)
    stain = np.where(wood == "elm", "none", rng.choice(["red", "blue"], ROWS))
    X = pd.DataFrame({"note": notes, "wood": wood, "stain": stain})
    assert X["note"].is_unique, "the precondition"

    def model(table):
        return (table["wood"] == "ash").to_numpy(dtype=float)

    row = X[X["wood"] == "oak"].iloc[:1]
    counterfactuals = pg.counterfactuals(model, row, X, want=(1, None), fixed=["note"])
    assert counterfactuals.rows["wood"].tolist() == ["ash"]
    assert counterfactuals.measures["changes"].tolist() == [1]
    row = X[X["wood"] == "elm"].iloc[:1]
    counterfactuals = pg.counterfactuals(model, row, X, want=(1, None), fixed=["note"])
    assert counterfactuals.measures["changes"].tolist() == [2], "no ash has no stain"


def test_a_row_that_differs_from_every_row_of_the_table_is_changed_column_by_column():
    X = np.arange(12.0)[:, None] * [1, 2]
    counterfactuals = pg.counterfactuals(lambda t: t[:, 0], [1.0, 7], X, want=(6, None))
    assert counterfactuals.rows.tolist() == [[6, 7]]


def test_a_block_with_a_fixed_column_keeps_it():
    rows = np.eye(3)[np.arange(30) % 3]
    values = [np.array([0.0, 1.0]), np.zeros(0), np.array([0.0, 1.0])]
    row_values = np.array([1.0, 0, 0])
    (unit,) = units_of(values, np.ones(3, dtype=bool), [[0, 1, 2]], rows, row_values)
    assert unit.patterns.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert not unit.ordered


def test_a_level_of_the_row_that_no_row_has_goes_with_all_others():
    rows = np.array([[0.0, 0], [0, 0], [1, 1], [1, 1]])
    row_values = np.array([5.0, 0])
    values = [np.array([0.0, 1]), np.array([0.0, 1])]
    units = units_of(values, np.zeros(2, dtype=bool), [], rows, row_values)
    tried = np.array([[5.0, 1], [0, 1], [1, 1], [0, 0], [5, 0]])
    occurring = Combinations(units, rows, row_values).occur(tried)
    assert occurring.tolist() == [True, False, True, True, True]
