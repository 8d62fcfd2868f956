"""InteractionIndex from some of the coalitions: Gaussian algebra written out, exact ends, coverage, and invariances."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.method.shapley.fitted import _FALLS, Fit, drawn_coalitions
from permgrad.attribution.method.shapley.indices import INDICES, InteractionIndex
from permgrad.attribution.players.tree import _subsets

PLAYERS = 6


def network(sets, seed=0):
    """Return a game of tanh units, in which interactions of all sizes occur."""
    rng = np.random.default_rng(seed)
    return np.tanh(sets @ rng.normal(size=(sets.shape[1], 8)) + rng.normal(size=8)) @ rng.normal(size=8)


@pytest.mark.parametrize("index", INDICES)
def test_the_prediction_is_that_of_a_gaussian_vector(index):
    """Every coalition's worth is one Gaussian vector here, and the numbers are linear in it."""
    every, interactions = _subsets(PLAYERS), InteractionIndex(index, 2, PLAYERS)
    sets = drawn_coalitions(1, PLAYERS, 30)
    worth = network(sets)
    numbers, errors = Fit(interactions, sets)(worth[:, None])
    place = (sets << np.arange(PLAYERS)).sum(axis=1)
    linear, best = interactions.weights(every), (-np.inf, None, None)
    for fall in _FALLS:
        variances = [1e3, 1e3, 1.0, fall, fall**2]
        covariance = fall**3 * np.eye(len(every))
        for size, variance in enumerate(variances):
            walsh = np.array(
                [(-1.0) ** every[:, some].sum(axis=1) for some in map(list, combinations(range(PLAYERS), size))]
            )
            covariance += variance / comb(PLAYERS, size) * walsh.T @ walsh
        seen = covariance[np.ix_(place, place)]
        solved = np.linalg.solve(seen, worth)
        scale = worth @ solved / len(worth)
        likelihood = -len(worth) / 2 * np.log(scale) - np.linalg.slogdet(seen)[1] / 2
        left = covariance - covariance[:, place] @ np.linalg.solve(seen, covariance[place])
        number = linear @ covariance[:, place] @ solved
        prior, unknown = (np.einsum("nc,cd,nd->n", linear, each, linear) for each in (covariance, left))
        # What each coalition is off from its prediction by all others, in their standard deviations.
        others = [np.delete(np.arange(len(worth)), at) for at in range(len(worth))]
        predicted = [seen[at, rest] @ np.linalg.inv(seen[np.ix_(rest, rest)]) for at, rest in enumerate(others)]
        squares = [(worth[at] - predicted[at] @ worth[rest]) ** 2 / (seen[at, at] - predicted[at] @ seen[rest, at])
                   for at, rest in enumerate(others)]  # fmt: skip
        off = max(1.0, np.mean(squares) / scale)
        told = prior - unknown
        far = np.sqrt(np.maximum(number**2 - 4 * told * scale, 0)) * unknown / told
        few = max(1.0, 2.0 * len(interactions.members) / len(worth))
        wanted = number, few * np.sqrt(np.maximum(off * scale * unknown + far**2, 0))
        if likelihood > best[0]:
            best = likelihood, *wanted
    assert numbers[:, 0] == pytest.approx(best[1], abs=1e-6)
    assert errors[:, 0] == pytest.approx(best[2], abs=1e-5)
    assert errors.max() > 0.01


def test_all_coalitions_give_the_exact_numbers():
    every, interactions = _subsets(PLAYERS), InteractionIndex("k-SII", 3, PLAYERS)
    sets = drawn_coalitions(0, PLAYERS, 10_000)
    assert len(sets) == len(np.unique(sets, axis=0)) == 2**PLAYERS
    numbers, errors = Fit(interactions, sets)(network(sets)[:, None])
    assert numbers[:, 0] == pytest.approx(interactions.weights(every) @ network(every), abs=1e-8)
    assert errors.max() < 1e-5


def test_drawn_coalitions_are_distinct_and_begin_with_nobody_and_everybody():
    for players, count in ((5, 20), (12, 300), (40, 100)):
        sets = drawn_coalitions(0, players, count)
        assert len(np.unique(sets, axis=0)) == len(sets) == count
        assert sets[:2].sum(axis=1).tolist() == [0, players]
        assert len({tuple(row) for row in sets} & {tuple(~row) for row in sets}) >= count - 1


ROWS = np.random.default_rng(2).normal(size=(12, 8))
CALL = {
    "method": "shapley", "task": "regression", "random_state": 0, "interactions": 2, "background": ROWS[:4] + 1,
}  # fmt: skip


def tanh(rows):
    return network(np.asarray(rows), seed=3)


def test_intervals_of_rows_cover_the_exact_values():
    exact = pg.explain(tanh, ROWS, **CALL)
    options = {"exact": 0, "tolerance": 0.05, "max_permutations": 60, "min_permutations": 4}
    fitted = pg.explain(tanh, ROWS, **CALL, **options)
    assert fitted.meta["model_rows"] < exact.meta["model_rows"] / 2
    assert fitted.meta["estimator"] == "best linear prediction from coalitions"
    error = np.abs(fitted.values - exact.values)
    assert 0 < error.max() < 0.2 * np.abs(exact.values).max()
    inside = (fitted.low <= exact.values) & (exact.values <= fitted.high)
    assert 0.9 < inside.mean() < 1
    assert fitted.values[:, :8].sum(axis=1) + fitted.base_values == pytest.approx(fitted.predictions, abs=1e-6)
    single = pg.explain(tanh, ROWS[5:6], **CALL, **options)
    assert single.values[0] == pytest.approx(fitted.values[5], abs=1e-9)
    assert (single.values[0] != fitted.values[6]).any()


def test_several_fits_are_averaged(monkeypatch):
    exact = pg.explain(tanh, ROWS[:2], **CALL)
    monkeypatch.setattr("permgrad.attribution.method.shapley.fitted._TOGETHER", 110)
    options = {"exact": 0, "tolerance": 0.0, "max_permutations": 100, "min_permutations": 4}
    with pytest.warns(pg.PermgradWarning, match="standard error"):
        fitted = pg.explain(tanh, ROWS[:2], **CALL, **options)
    assert (np.abs(fitted.values - exact.values) < 5 * fitted.std + 1e-9).all()
    assert fitted.std.max() < np.abs(exact.values).max()


def test_players_that_are_the_same_in_a_row_and_its_background_are_0():
    rows = ROWS.copy()
    rows[:, 3] = CALL["background"][0, 3]
    options = {
        **CALL,
        "background": rows[:1],
        "exact": 0,
        "max_permutations": 60,
        "min_permutations": 4,
        "tolerance": 0.05,
    }
    fitted = pg.explain(tanh, rows[1:3], **options)
    of_it = [place for place, each in enumerate(fitted.members) if 3 in each]
    assert (fitted.values[:, of_it] == 0).all()
    assert (fitted.values[:, 0] != 0).all()
