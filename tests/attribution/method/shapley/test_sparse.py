"""Interactions of sparse games: sums of trees are found, dense games stay as they were, and errors stay honest."""

from __future__ import annotations

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.method.shapley.fitted import Fit, SparseFit, drawn_coalitions, numbers_of
from permgrad.attribution.method.shapley.indices import INDICES, InteractionIndex
from permgrad.attribution.players.tree import _subsets

PLAYERS, COALITIONS = 12, 400
PAIRS = slice(PLAYERS, PLAYERS + PLAYERS * (PLAYERS - 1) // 2)


def trees(players, seed, count=20):
    """Return a sum of complete trees of four levels, in which all nodes of a level split the same player."""
    rng = np.random.default_rng([players, seed])
    leaves = [(rng.choice(players, 4, replace=False), rng.normal(size=16)) for _ in range(count)]
    return lambda sets: sum(values[(sets[:, cut] << np.arange(4)).sum(axis=1)] for cut, values in leaves)


def smooth(players, seed):
    """Return a network, in which all sets of players interact."""
    rng = np.random.default_rng([players, seed])
    inner, outer = rng.normal(size=(players, 16)) * 2 / np.sqrt(players), rng.normal(size=16)
    return lambda sets: np.tanh(sets @ inner) @ outer


def fitted(make, seed, coalitions=COALITIONS):
    """Return the exact numbers of a game, and the numbers and errors of both fits."""
    interactions, every = InteractionIndex("k-SII", 2, PLAYERS), _subsets(PLAYERS)
    game, sets = make(PLAYERS, seed), drawn_coalitions(seed, PLAYERS, coalitions)
    fit, worth = Fit(interactions, sets), game(sets)[:, None]
    # Numbers of all coalitions are those of their Walsh functions: here by the Möbius transform.
    exact = interactions.weights(every) @ game(every)
    return exact, *(tuple(each[:, 0] for each in one(worth)) for one in (fit, SparseFit(fit)))


def test_rounds_on_all_coalitions_that_end_worse_are_not_taken():
    """Here they miss the game (by 0.03, with errors of 1e-6), which those without the coalitions held out found."""
    exact, (before, _), (after, errors) = fitted(trees, 3, 500)
    assert np.abs(before - exact)[PAIRS].max() > 0.5
    assert np.abs(after - exact)[PAIRS].max() < 1e-4
    assert (np.abs(after - exact) <= 4 * errors + 1e-6).all()


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("order", [2, 3])
def test_numbers_of_walsh_functions_are_those_of_all_coalitions(index, order):
    rng, every, interactions = np.random.default_rng(0), _subsets(6), InteractionIndex(index, order, 6)
    members, coefficients = every[every.sum(axis=1) <= 4], rng.normal(size=57)
    worth = (-1.0) ** (every.astype(int) @ members.T) @ coefficients
    wanted = interactions.weights(every) @ worth
    assert np.abs(wanted).max() > 1
    assert numbers_of(interactions, members, coefficients) == pytest.approx(wanted, abs=1e-10)


def test_a_tree_has_the_interactions_that_its_leaves_tell():
    """``if a: (3 if b else 1) else 0`` is a + 2ab: the pair adds 2."""
    interactions, sets = InteractionIndex("k-SII", 2, PLAYERS), drawn_coalitions(0, PLAYERS, 200)
    worth = np.where(sets[:, 4], np.where(sets[:, 9], 3.0, 1.0), 0.0)[:, None]
    numbers, _ = SparseFit(Fit(interactions, sets))(worth)
    by_name = dict(zip(interactions.members, numbers[:, 0], strict=False))
    assert by_name[4, 9] == pytest.approx(2, abs=1e-4)
    assert (by_name[4,], by_name[9,]) == pytest.approx((2, 1), abs=1e-4)
    assert max(abs(value) for name, value in by_name.items() if not set(name) <= {4, 9}) < 1e-4


@pytest.mark.parametrize("coalitions", [COALITIONS, COALITIONS + 1])
@pytest.mark.parametrize("seed", [1, 2])
def test_sums_of_trees_are_found(seed, coalitions):
    exact, (before, _), (after, errors) = fitted(trees, seed, coalitions)
    wrong, size = np.abs(before - exact)[PAIRS].max(), np.abs(exact[PAIRS]).max()
    assert wrong > 0.03 * size, "the game must not be easy"
    assert np.abs(after - exact)[PAIRS].max() < 0.05 * wrong
    assert (np.abs(after - exact) <= 4 * errors + 1e-6).all()


def test_dense_games_stay_as_they_were():
    for seed in range(3):
        exact, (before, broad), (after, errors) = fitted(smooth, seed)
        roots = [np.sqrt(((each - exact)[PAIRS] ** 2).mean()) for each in (before, after)]
        assert roots[0] > 0.01
        assert roots[1] < 1.1 * roots[0]
        assert (errors >= 0.9 * broad).all()


@pytest.mark.parametrize("make", [trees, pytest.param(smooth, marks=pytest.mark.slow)])
def test_intervals_cover_where_the_game_is_not_found(make):
    inside, share = [], []
    for seed in range(10, 26):
        exact, (before, _), (after, errors) = fitted(make, seed, 250)
        share.append(np.abs(after - exact)[PAIRS].mean() / np.abs(before - exact)[PAIRS].mean())
        inside.append(np.abs(after - exact)[PAIRS] <= 1.96 * errors[PAIRS])
    assert 0.5 < np.mean(share) < 1.02, "partly found"
    assert 0.9 < np.mean(inside) < 0.995


def test_rows_that_are_not_settled_are_improved_each_by_itself():
    rows, players = np.random.default_rng(0).integers(0, 2, size=(3, 13)), 13
    rows[0] = 1
    model = trees(players, 7, count=5)
    call = {
        "method": "shapley", "task": "regression", "random_state": 0, "interactions": 2, "progress": False,
        "background": np.zeros((1, players)), "max_permutations": 30, "min_permutations": 4,
    }  # fmt: skip

    def worth(table):
        return model((np.asarray(table) > 0.5).astype(bool)).astype(float)

    exact = pg.explain(worth, rows[:1], **call, exact=13)
    alone = pg.explain(worth, rows[:1], **call)
    together = pg.explain(worth, rows, **call)
    assert alone.values[0] == pytest.approx(together.values[0], abs=1e-8)
    found = np.abs(alone.values - exact.values).max()
    assert alone.meta["model_rows"] < 500 < exact.meta["model_rows"]
    assert found < 1e-3 * np.abs(exact.values).max()


@pytest.mark.parametrize("features", [13, 30])
def test_one_pair_among_many_is_neither_drawn_to_zero_nor_called_certain(features):
    """``2ab`` and a sum of all others, of several background rows: the pair's numbers are known in closed form."""
    rng = np.random.default_rng(3)
    X, background = rng.normal(size=(6, features)), rng.normal(size=(40, features))
    found = pg.explain(
        lambda rows: 2 * rows[:, 0] * rows[:, 1] + rows[:, 2:].sum(axis=1), X, method="shapley", interactions=2,
        background=background, task="regression", random_state=0, progress=False,
    )  # fmt: skip
    truth = 2 * ((X[:, :1] - background[:, 0]) * (X[:, 1:2] - background[:, 1])).mean(axis=1)
    (low, high), pair = found.ci(), features
    assert found.meta["model_rows"] < 6 * 40 * 2**features, "not all coalitions"
    assert np.abs(truth).max() > 1
    assert found.values[:, pair, 0] == pytest.approx(truth, abs=0.02 * np.abs(truth).max())
    assert ((low[:, pair, 0] <= truth) & (truth <= high[:, pair, 0])).all()


def test_many_players_have_too_many_sets():
    for players, possible in ((20, True), (40, True), (130, False)):
        fit = Fit(InteractionIndex("k-SII", 2, players), drawn_coalitions(0, players, 60))
        assert SparseFit.possible(fit) is possible
    assert not SparseFit.possible(Fit(InteractionIndex("k-SII", 2, 13), drawn_coalitions(0, 13, 30)))
