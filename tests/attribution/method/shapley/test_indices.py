"""Interaction indices of enumerated games, against definitions written out slowly and
against shapiq.
"""

from __future__ import annotations

from itertools import combinations
from math import comb, factorial

import numpy as np
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.method.shapley.indices import INDICES, InteractionIndex
from permgrad.attribution.players.tree import _subsets

PLAYERS = 5
WORTH = np.random.default_rng(0).normal(size=2**PLAYERS)


def worth(players) -> float:
    return float(WORTH[sum(1 << player for player in players)])


def derivative(of: tuple[int, ...], coalition: tuple[int, ...]) -> float:
    """Return what all of some players bring together to a coalition."""
    return sum(
        (-1) ** (len(of) - size) * worth({*subset, *coalition})
        for size in range(len(of) + 1)
        for subset in combinations(of, size)
    )


def subsets(of):
    return [subset for size in range(len(of) + 1) for subset in combinations(of, size)]


def sii(of: tuple[int, ...]) -> float:
    """Return the Shapley interaction index from its definition by derivatives (Grabisch
    & Roubens 1999).
    """
    other_players = [player for player in range(PLAYERS) if player not in of]
    n = PLAYERS
    s = len(of)
    return sum(
        factorial(n - len(coalition) - s)
        * factorial(len(coalition))
        / factorial(n - s + 1)
        * derivative(of, coalition)
        for coalition in subsets(other_players)
    )


def stii(of: tuple[int, ...], order: int) -> float:
    """Return the Shapley-Taylor index from its definition by derivatives (equation 4 of
    its paper).
    """
    if len(of) < order:
        return derivative(of, ())
    other_players = [player for player in range(PLAYERS) if player not in of]
    return (
        order
        / PLAYERS
        * sum(
            derivative(of, coalition) / comb(PLAYERS - 1, len(coalition))
            for coalition in subsets(other_players)
        )
    )


def fsii(worths: np.ndarray, order: int) -> dict[tuple[int, ...], float]:
    """Return the faithful index from its regression, exact for nobody and for everybody
    (equation 2 of its paper).
    """
    players = len(worths).bit_length() - 1
    names = [
        interaction
        for size in range(1, order + 1)
        for interaction in combinations(range(players), size)
    ]
    codes = np.arange(1, len(worths) - 1)
    holds = np.array(
        [[(code >> np.array(name) & 1).all() for name in names] for code in codes],
        dtype=float,
    )
    sizes = np.bitwise_count(codes)
    weight = np.array(
        [
            (players - 1) / (comb(players, size) * size * (players - size))
            for size in sizes.tolist()
        ]
    )
    # With a multiplier for the sum of all values.
    system = np.ones((len(names) + 1, len(names) + 1))
    system[:-1, :-1] = holds.T @ (weight[:, None] * holds)
    system[-1, -1] = 0.0
    right_side = np.append(
        holds.T @ (weight * (worths[codes] - worths[0])), worths[-1] - worths[0]
    )
    return dict(zip(names, np.linalg.solve(system, right_side)[:-1], strict=True))


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("index", INDICES)
def test_every_index_is_that_of_its_definition(index, order):
    interactions = InteractionIndex(index, order, PLAYERS)
    numbers = interactions.weights(_subsets(PLAYERS)) @ WORTH
    names = len(interactions.members)
    values = dict(
        zip(
            interactions.members,
            [*numbers[names:], *numbers[PLAYERS:names]],
            strict=True,
        )
    )
    assert np.abs(numbers).min() > 1e-3, "the game has no interactions"
    if index == "FSII":
        expected_values = fsii(WORTH, order)
    elif index == "k-SII":
        bernoulli = (1, -1 / 2, 1 / 6)
        expected_values = {
            interaction: sum(
                bernoulli[len(more)] * sii((*interaction, *more))
                for more in subsets(
                    [player for player in range(PLAYERS) if player not in interaction]
                )
                if len(more) + len(interaction) <= order
            )
            for interaction in interactions.members
        }
    else:
        expected_values = {
            interaction: sii(interaction)
            if index == "SII"
            else stii(interaction, order)
            for interaction in interactions.members
        }
    assert [
        values[interaction] for interaction in interactions.members
    ] == pytest.approx(
        [expected_values[interaction] for interaction in interactions.members],
        abs=1e-12,
    )
    assert numbers[:PLAYERS] == pytest.approx(
        [sii((player,)) for player in range(PLAYERS)], abs=1e-12
    )
    if index != "SII":
        assert sum(values.values()) == pytest.approx(WORTH[-1] - WORTH[0], abs=1e-12)


def test_ten_players_agree_with_shapiq():
    shapiq = pytest.importorskip("shapiq")
    worths = np.random.default_rng(1).normal(size=2**10)
    game = shapiq.ExactComputer(
        n_players=10,
        game=lambda some: worths[(some.astype(int) << np.arange(10)).sum(axis=1)],
    )
    for index in INDICES:
        interactions = InteractionIndex(index, 2, 10)
        theirs = game(index, order=2)
        numbers = interactions.weights(_subsets(10)) @ worths
        assert numbers[10:55] == pytest.approx(
            [theirs[interaction] for interaction in interactions.members[10:]], abs=1e-8
        )
        assert numbers[55:] == pytest.approx(
            [theirs[(player,)] for player in range(10)], abs=1e-8
        )
    # The last index is also that of its regression.
    exact = fsii(worths, 2)
    assert numbers[10:55] == pytest.approx(
        [exact[interaction] for interaction in interactions.members[10:]], abs=1e-10
    )


def product(rows):
    return (
        2 * rows[:, 0] * rows[:, 1]
        + rows[:, 2]
        + 3.0 * rows[:, 3] * rows[:, 4] * rows[:, 0]
    )


ROWS = np.random.default_rng(2).normal(size=(8, 6))
CALL = {"method": "shapley", "task": "regression", "random_state": 0}


def test_interactions_of_the_output_follow_the_features():
    plain = explain_with(product, ROWS, **CALL)
    pair_explanation = explain_with(product, ROWS, order=2, **CALL)
    assert pair_explanation.names[:6] == plain.names
    assert pair_explanation.names[6:8] == ("x0 × x1", "x0 × x2")
    assert pair_explanation.values[:, :6] == pytest.approx(plain.values, abs=1e-12)
    moved = (
        ROWS[:, 0, None] - ROWS[:, 0]
    )  # the mean over donors of (x0 − x0')(x1 − x1')
    closed = (2 * moved * (ROWS[:, 1, None] - ROWS[:, 1])).mean(axis=1)
    assert pair_explanation.values[:, 6, 0] == pytest.approx(closed, abs=1e-9)
    assert np.abs(closed).max() > 0.5
    of_x5 = [
        interaction_index
        for interaction_index, players in enumerate(pair_explanation.members)
        if 5 in players
    ]
    assert (pair_explanation.values[:, of_x5] == 0).all()
    assert pair_explanation.values[:, :6].sum(
        axis=1
    ) + pair_explanation.base_values == pytest.approx(
        pair_explanation.predictions, abs=1e-9
    )
    assert pair_explanation.parts["k-SII"].sum(
        axis=1
    ) + pair_explanation.base_values == pytest.approx(
        pair_explanation.predictions, abs=1e-9
    )
    assert pair_explanation.meta["interactions"] == {
        "order": 2, "kind": "output", "index": "k-SII", "candidates": 15, "looked_at": 15, "share": 1.0,
        "left_out": 0, "bound": 0.0,
    }  # fmt: skip


def test_interactions_of_the_loss_divide_its_decrease():
    y = product(ROWS)
    interaction_explanation = explain_with(
        product, ROWS, y, scope="global", order=6, index="STII", **CALL
    )
    plain = explain_with(product, ROWS, y, scope="global", **CALL)
    assert interaction_explanation.values[:6] == pytest.approx(plain.values, abs=1e-12)
    assert interaction_explanation.correlation == pytest.approx(plain.correlation)
    assert interaction_explanation.parts["STII"].sum() == pytest.approx(
        interaction_explanation.values[:6].sum(), abs=1e-9
    )
    assert interaction_explanation.meta["interactions"]["kind"] == "loss"
    assert interaction_explanation.ranking(order=3)[0] == "x0 × x3 × x4"


def test_this_process_computes_what_other_engines_do_not():
    here, plain = (
        explain_with(product, ROWS, **CALL, **engine, order=2)
        for engine in ({"engine": "local"}, {})
    )
    assert max(plain.order) == 2
    np.testing.assert_array_equal(here.values, plain.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 7}, "at most 6"),
        ({"order": 0}, "at least 1"),
        ({"order": 2, "index": "SV"}, "index must be one of"),
    ],
)
def test_what_cannot_be_computed_is_refused(options, message):
    with pytest.raises(pg.InputError, match=message):
        explain_with(product, ROWS, **CALL, **options)
