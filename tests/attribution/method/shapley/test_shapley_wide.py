"""Shapley values of rows with many players: few that count make short walks, many make
few walks.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.method.shapley import sampled

COLUMNS = 60


def draw(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, COLUMNS))


ROWS = draw(6, 1)
BACKGROUND = draw(20, 2)
MANY = draw(100, 3)


def sparse(table: np.ndarray) -> np.ndarray:
    """Four columns act together, two of them rarely."""
    return (
        table[:, 3] * table[:, 30]
        + 2 * ((table[:, 11] > 1) & (table[:, 50] > 0))
        + table[:, 3]
    )


def labels(table: np.ndarray) -> np.ndarray:
    """Changes along an order often take each other back."""
    return ((table[:, [2, 20, 41]] > 0).sum(axis=1) % 2).astype(float)


def dense(table: np.ndarray) -> np.ndarray:
    """A linear part, and neighbours that act in pairs."""
    weights = np.random.default_rng(7).normal(size=COLUMNS)
    return table @ weights + (table[:, ::2] * table[:, 1::2]) @ weights[::2]


def values_of_dense(rows: np.ndarray) -> np.ndarray:
    """Return the Shapley values of ``dense``, from its formula."""
    weights = np.random.default_rng(7).normal(size=COLUMNS)
    mean = MANY.mean(axis=0)
    values = weights * (rows - mean)
    first_columns = rows[:, ::2]
    second_columns = rows[:, 1::2]
    product_means = (MANY[:, ::2] * MANY[:, 1::2]).mean(axis=0)
    alone = first_columns * mean[1::2] - product_means
    second_alone = second_columns * mean[::2] - product_means
    last = first_columns * second_columns - second_columns * mean[::2]
    before = first_columns * second_columns - first_columns * mean[1::2]
    values[:, ::2] += weights[::2] * (alone + last) / 2
    values[:, 1::2] += weights[::2] * (second_alone + before) / 2
    return values


def explain(
    function, rows: np.ndarray = ROWS, seed: int = 0, **options
) -> pg.Explanation:
    model = pg.Model(function, task="regression")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        call_options = {
            "background": BACKGROUND,
            "random_state": seed,
            "progress": False,
            **options,
        }
        return explain_with(model, rows, method="shapley", **call_options)


@pytest.fixture
def wide(monkeypatch):
    """Sixty players are many."""
    monkeypatch.setattr(sampled, "_MANY_CELLS", 150_000)


@pytest.mark.parametrize("function", [sparse, labels])
def test_players_that_change_nothing_are_not_played_and_values_stay(
    monkeypatch, function
):
    full_explanation = explain(function, tolerance=0, max_permutations=400)
    monkeypatch.setattr(sampled, "_MANY_CELLS", 150_000)
    short = explain(function, tolerance=0, max_permutations=400)
    assert (
        full_explanation.meta["estimator"] == short.meta["estimator"] == sampled.ORDERS
    )
    assert short.meta["permutations"] == full_explanation.meta["permutations"]
    assert short.meta["model_rows"] < 0.35 * full_explanation.meta["model_rows"]
    np.testing.assert_allclose(short.values, full_explanation.values, atol=1e-12)
    np.testing.assert_allclose(short.std_error, full_explanation.std_error, atol=1e-12)


@pytest.mark.usefixtures("wide")
def test_many_players_get_few_walks_whose_values_add_up_and_whose_intervals_cover():
    inside = []
    for seed in range(4):
        explanation = explain(
            dense, draw(10, 10 + seed), seed, background=MANY, tolerance=0.2
        )
        assert explanation.meta["permutations"] == 42
        gap = explanation.values.sum(axis=1) - (
            explanation.predictions - explanation.base_values
        )
        assert np.abs(gap).max() < 1e-10
        exact = values_of_dense(draw(10, 10 + seed))
        inside.append(
            (explanation.low[:, :, 0] <= exact) & (exact <= explanation.high[:, :, 0])
        )
    # Fewer walks than background rows: the error is told too large rather than too
    # small.
    assert 0.93 <= np.mean(inside) <= 0.995


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("function", [sparse, dense])
def test_a_row_is_explained_alike_whoever_stands_beside_it(function):
    explanation = explain(function)
    alone = explain(function, ROWS[[4]])
    np.testing.assert_allclose(alone.values[0], explanation.values[4], atol=1e-12)
    np.testing.assert_allclose(alone.std_error[0], explanation.std_error[4], atol=1e-12)


@pytest.mark.parametrize("orders", [4, 6, 10])
def test_fewer_orders_than_are_played_in_full(monkeypatch, orders):
    monkeypatch.setattr(sampled, "_MANY_CELLS", 10_000)
    explanation = explain(dense, max_permutations=orders)
    assert explanation.meta["permutations"] <= orders
    assert explanation.meta["completeness_gap"] < 1e-10
