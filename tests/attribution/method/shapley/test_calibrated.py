"""Means over all background rows of which a few are played: exact where values follow
from the player's own cells, else within their errors.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.method.shapley import calibrated
from permgrad.attribution.method.shapley.calibrated import Calibration
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.request import tuned

PLAYED = 12


def rows(count: int, seed: int) -> np.ndarray:
    """Return rows of eight numbers."""
    return np.random.default_rng(seed).normal(size=(count, 8))


def method(played: int | None) -> pg.methods.Shapley:
    orders = 2 * (played or 100)
    shapley = pg.methods.Shapley(tolerance=0.0, max_permutations=orders)
    return tuned(shapley, exact=0, played=played)


def explained(model, X, played, **options):
    """Return an explanation beside 100 rows, of which some are played."""
    with pytest.warns(pg.PermgradWarning):  # of the errors of so few
        return explain_with(
            model,
            X,
            method=method(played),
            scope="local",
            background=rows(100, 1),
            **options,
        )


def steep(table):
    """Return outputs that no player decides alone."""
    table = np.asarray(table)
    score = table[:, 0] * table[:, 1] + table[:, 2] - np.sin(2 * table[:, 3])
    return np.tanh(score + 0.5 * table[:, 4] * table[:, 5])


def test_what_follows_from_own_cells_is_that_of_all_background_rows(monkeypatch):
    monkeypatch.setattr(calibrated, "_RIDGE", 1e-8)
    slopes = np.arange(8) - 3.0
    background = rows(100, 1)
    X = rows(5, 2)
    few = explained(lambda table: np.asarray(table) @ slopes, X, PLAYED)
    exact = slopes * (X - background.mean(axis=0))
    played = Calibration.of(
        [torch.from_numpy(background)],
        PlayerSpace(tuple("abcdefgh"), ("table",) * 8, ("table",), (torch.arange(8),)),
        PLAYED,
    ).played
    of_played = slopes * (X - background[played].mean(axis=0))
    assert np.abs(of_played - exact).max() > 0.05, "the rows alone do not say it"
    np.testing.assert_allclose(few.values[:, :, 0], exact, atol=1e-5)
    np.testing.assert_allclose(few.std_error, 0, atol=1e-5)


def test_fewer_rows_are_played_and_errors_hold():
    X = rows(60, 3)
    few = explained(steep, X, PLAYED)
    every = explain_with(
        steep, X, method="shapley", scope="local", background=rows(100, 1)
    )
    assert few.meta["model_rows"] < 0.2 * 100 * 16 * len(X)
    values = every.values[:, :, 0]
    apart = few.values[:, :, 0] - values
    assert 0.001 < np.abs(apart).max() < 0.3 * np.abs(values).max()
    moves = np.abs(values).max(axis=0) > 0.01
    inside = (few.low <= every.values) & (every.values <= few.high)
    assert inside[:, moves].mean() > 0.9
    assert few.meta["completeness_gap"] < 1e-9
    # Errors are no larger than they have to be.
    size = np.sqrt((few.std_error[:, moves, 0] ** 2).mean())
    assert size < 2 * np.sqrt((apart[:, moves] ** 2).mean())


def test_a_row_has_its_values_whatever_is_beside_it():
    X = rows(7, 4)
    together = explained(steep, X, PLAYED)
    alone = explained(steep, X[3:4], PLAYED)
    np.testing.assert_array_equal(together.values[3], alone.values[0])
    np.testing.assert_allclose(together.std_error[3], alone.std_error[0], rtol=1e-12)


def test_all_rows_are_played_where_orders_are_few_or_many():
    X = rows(2, 5)
    for orders in (PLAYED, 8 * PLAYED):
        shapley = pg.methods.Shapley(tolerance=0.0, max_permutations=orders)
        options = {"scope": "local", "background": rows(100, 1)}
        values = []
        for played in (PLAYED, None):
            with pytest.warns(pg.PermgradWarning):
                explanation = explain_with(
                    steep, X, method=tuned(shapley, exact=0, played=played), **options
                )
            values.append(explanation.values)
        np.testing.assert_array_equal(*values)


def test_weights_of_a_player_without_cells_are_even():
    weights, residuals = calibrated._regressed(np.zeros((5, 0)))
    np.testing.assert_allclose(weights, 0.2)
    np.testing.assert_allclose(residuals, np.eye(5) - 0.2)
