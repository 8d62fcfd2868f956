"""The rows that single rows are compared with: those of all parts of a table, the same
for page, command and Python.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.assess.sections.what_if import rows_of
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.models.estimators.kept_rows import rows_compared
from permgrad.models.row_background import rows_to_compare


def numbers(rows: int, seed: int = 0) -> np.ndarray:
    table = np.random.default_rng(seed).normal(size=(rows, 8))
    table[:, 3] = np.exp(table[:, 3])
    table[:, 4] = table[:, 4] > 1
    return table


def test_rows_stand_for_all_better_than_drawn_ones():
    off = {"chosen": [], "drawn": []}
    for seed in range(10):
        table = numbers(700, seed)
        drawn = np.random.default_rng(seed).permutation(700)[:100]
        for name, places in (("chosen", rows_to_compare(table)), ("drawn", drawn)):
            for function in (lambda x: x @ np.arange(8), lambda x: x[:, 0] ** 2):
                difference = function(table[places]).mean() - function(table).mean()
                off[name].append(difference / function(table).std())
    size = {name: np.sqrt(np.mean(np.square(each))) for name, each in off.items()}
    assert size["drawn"] > 0.05, "a hundred drawn rows are off"
    assert size["chosen"] < 0.2 * size["drawn"]


def test_a_row_that_counts_more_is_there_more_often():
    weights = np.ones(400)
    weights[7] = 400 / 3  # a quarter of all
    places = rows_to_compare(numbers(400), weights)
    assert len(places) == 100
    assert 22 <= (places == 7).sum() <= 28
    weights[:200] = 0.0
    assert rows_to_compare(numbers(400), weights).min() >= 200


@pytest.mark.parametrize("columns", [0, 1, 3000])
def test_few_rows_are_all_and_rows_without_columns_are_any(columns):
    assert rows_to_compare(np.zeros((60, columns))).tolist() == list(range(60))
    table = np.random.default_rng(0).normal(size=(300, columns))
    table[5] = np.nan
    places = rows_to_compare(table)
    assert len(places) == 100
    assert (np.diff(places) >= 0).all()
    assert places[-1] < 300
    assert places.tolist() == rows_to_compare(table).tolist()


@pytest.fixture(name="made", scope="module")
def _made():
    table = pd.DataFrame(numbers(1300), columns=[*"abcdefgh"])
    y = table["a"] * table["b"] + table["c"] > 0
    return table, y.map({True: "yes", False: "no"})


def test_a_network_keeps_them_and_compares_single_rows_with_them(made, tmp_path):
    table, y = made
    model = pg.HyNNClassifier(
        preset="fast", image="never", max_epochs=2, random_state=3, progress=False
    ).fit(table, y)
    assert len(model.background_) == 1000 < len(table) - 100
    compared = model.background_[rows_compared(model)]
    assert len(compared) == 100
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(rows_compared(again), rows_compared(model))
    page = rows_of(again, again.encode_rows(table[:5]), np.arange(5))
    assert {*map(bytes, page.background)} == {*map(bytes, compared)}
    found = [
        pg.explain(each, table[:3], method="shapley", random_state=seed, progress=False)
        for each, seed in ((model, 0), (again, 8))
    ]
    np.testing.assert_allclose(found[0].values, found[1].values, atol=1e-12)
    assert found[0].meta["baseline"] == "mean over 100 background rows"
    # All coalitions are played, and yet the rows were drawn.
    assert found[0].std_error.max() > 0
    chances = model.calibration_.probabilities(model.predict_encoded(compared))
    np.testing.assert_allclose(found[0].base_values, chances.mean(axis=0), atol=1e-6)


def test_a_model_of_another_library_keeps_them(made, tmp_path):
    table, y = made
    model = table_model("classification", "histogram_boosting").fit(table, y)
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(again.compared_.encoded, model.compared_.encoded)
    assert len(again.compared_.encoded) == 100
    found = pg.explain(again, table[:2], method="shapley", progress=False)
    assert found.meta["background"] == {"kind": "training rows", "rows": 100}
    base = again.of_encoded().guess(again.compared_.encoded).mean(axis=0)
    np.testing.assert_allclose(found.base_values, base, atol=1e-6)
    model.save(tmp_path / "lean", keep_rows=False)
    assert pg.load(tmp_path / "lean").compared_ is None


def test_intervals_hold_the_error_of_drawing_the_rows():
    table = numbers(900)[:, :4]

    def function(rows: np.ndarray) -> np.ndarray:
        return rows[:, 0] * rows[:, 1] + rows[:, 2] + rows[:, 3]

    few = pg.explain(function, table, method="shapley", progress=False)
    whole = pg.explain(
        function, table[:40], method="shapley", background=table, progress=False
    )
    assert not whole.std_error.any(), "all rows and all coalitions"
    assert (few.std_error[:40, :3] > 0).all()
    off = few.values[:40] - whole.values
    assert np.abs(off).max() > 1e-3
    inside = (few.low[:40] <= whole.values) & (whole.values <= few.high[:40])
    assert inside.mean() > 0.9
