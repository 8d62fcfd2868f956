"""Balanced coalitions: designs give back additive games, and on average over shuffled
names the Shapley value.
"""

from __future__ import annotations

from itertools import combinations, permutations
from math import comb

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.method.shapley.balanced import drawn_size, make_design
from permgrad.attribution.players.tree import Tree
from permgrad.attribution.request import tuned


def sizes_of(players: int) -> list[int]:
    return drawn_size(players, (np.arange(players - 1) + 0.5) / (players - 1)).tolist()


@pytest.mark.parametrize(
    "players", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 16, 23, 65, 100]
)
def test_designs_are_balanced_and_exact_for_additive_games(players):
    values = np.random.default_rng(0).normal(size=players)
    for size in range(1, players // 2 + 1):
        design = make_design(players, size)
        if players > 4:
            assert (design.sets.sum(axis=1) == size).all()
            assert (design.sets.sum(axis=0) == size).all()
        odd = (design.sets - 0.5) @ values
        np.testing.assert_allclose(
            design.weights @ odd, values - values.mean(), atol=1e-9
        )
        # What is the same for all coalitions is nobody's.
        np.testing.assert_allclose(design.weights.sum(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("players", [3, 4, 5, 6, 7])
def test_the_mean_over_shuffled_names_is_the_shapley_value(players):
    """All names and all sizes: no chance is left, so that a game of any kind must come
    out exactly.
    """
    worth = np.random.default_rng(players).normal(size=2**players)
    bit = 1 << np.arange(players)
    slow = np.zeros(players)
    for player in range(players):
        other_players = [
            candidate for candidate in range(players) if candidate != player
        ]
        for size in range(players):
            for coalition in combinations(other_players, size):
                code = int(bit[list(coalition)].sum())
                step = worth[code | bit[player]] - worth[code]
                slow[player] += step / (players * comb(players - 1, size))
    total = np.zeros(players)
    count = 0
    names = np.array(list(permutations(range(players))))
    for size in sizes_of(players):
        design = make_design(players, size)
        # Whose place in the design each name has: (orders, coalitions).
        code = (design.sets[None, :, :] * bit[names][:, None]).sum(axis=2)
        odd = (worth[code] - worth[bit.sum() - code]) / 2
        contrast = odd @ design.weights.T
        np.add.at(total, names.reshape(-1), contrast.reshape(-1))
        count += len(names)
    fast = total / count + (worth[-1] - worth[0]) / players
    assert np.ptp(slow) > 0.1
    np.testing.assert_allclose(fast, slow, atol=1e-10)


def test_sizes_are_even():
    counts = np.bincount(sizes_of(23))
    assert counts[1:].tolist() == [2] * 11
    assert np.bincount(sizes_of(8))[1:].tolist() == [2, 2, 2, 1]


class Game(nn.Module):
    """Interactions of a given order among ten inputs: products of all triples, or the
    sign of a product.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        torch.manual_seed(1)
        self.first = nn.Linear(14, 60)
        self.last = nn.Linear(60, 1)

    def forward(self, table: Tensor) -> Tensor:
        if self.kind == "parity":
            return torch.sign(table[:, :7]).prod(dim=1, keepdim=True) + table[
                :, 7:
            ].sum(dim=1, keepdim=True)
        if self.kind == "triples":
            return (
                table[:, :3].prod(1, True)
                + table[:, 3:6].prod(1, True)
                + table[:, 6:9].prod(1, True)
            )
        if self.kind == "all":
            return (table > -1.5).all(dim=1, keepdim=True).double()
        return (
            self.last(torch.sign(self.first.double()(table))).double()
            if self.kind == "steps"
            else table
        )


@pytest.mark.parametrize("kind", ["parity", "triples", "all", "steps"])
def test_strong_interactions_are_no_worse_than_by_orders(monkeypatch, kind):
    """Where a step of an order tells more than a coalition does, orders are played."""
    net = Game(kind).double()
    drawn = torch.Generator().manual_seed(0)
    rows, background = (
        torch.randn(count, 14, generator=drawn, dtype=torch.float64)
        for count in (6, 20)
    )

    def errors() -> tuple[float, float]:
        method = tuned(pg.methods.Shapley(tolerance=0, max_permutations=200), exact=0)
        call_options = {"method": method, "background": background, "progress": False}
        model = pg.Model(net, task="regression")
        explanations = [
            explain_with(model, rows, random_state=seed, **call_options)
            for seed in range(6)
        ]
        values = np.stack([explanation.values for explanation in explanations])
        estimated_variance = np.mean(
            [(explanation.std_error**2).mean() for explanation in explanations]
        )
        return float(values.var(axis=0, ddof=1).mean()), float(estimated_variance)

    balanced, reported_variance = errors()
    monkeypatch.setattr(Tree, "free", property(lambda self: False))
    by_orders, _ = errors()
    assert by_orders > 1e-8
    # In the game of all, most pairs of background rows leave so few players that both
    # are exact: the choice is chance.
    assert balanced < (6 if kind == "all" else 1.1) * by_orders
    assert 0.75 < reported_variance / balanced < 3


def test_players_one_output_does_not_use_are_zero_there():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(14, 30), nn.ReLU(), nn.Linear(30, 2)).double()
    with torch.no_grad():
        net[0].weight[:15, 4] = 0
        net[2].weight[0, 15:] = 0
        net[0].weight[:, 9] = 0
    rows = torch.randn(5, 14).double()
    background = torch.randn(20, 14).double()
    explanation = pg.explain(
        net,
        rows,
        method=tuned(pg.methods.Shapley(), exact=0),
        background=background,
        random_state=0,
        progress=False,
        scale="raw",
    )
    np.testing.assert_array_equal(explanation.values[:, 4, 0], 0)
    np.testing.assert_array_equal(explanation.values[:, 9], 0)
    np.testing.assert_array_equal(explanation.std_error[:, 9], 0)
    assert np.abs(explanation.values[:, 4, 1]).min() > 0
    assert explanation.meta["completeness_gap"] < 1e-12


def test_a_player_that_only_some_rows_use_is_used_there():
    """The background never shows it: each row is asked."""

    class Gated(nn.Module):
        def forward(self, table: Tensor) -> Tensor:
            return (
                table[:, :13].sum(dim=1, keepdim=True)
                + (table[:, :1] > 50) * table[:, 13:]
            )

    rows = torch.randn(4, 14).double()
    background = torch.randn(20, 14).double()
    rows[1, 0] = 100.0
    explanation = pg.explain(
        pg.Model(Gated(), task="regression"),
        rows,
        method=tuned(pg.methods.Shapley(), exact=0),
        background=background,
        random_state=0,
        progress=False,
    )
    np.testing.assert_array_equal(explanation.values[[0, 2, 3], 13], 0)
    # With the gate, half of it is the gate's.
    mean = float(rows[1, 13] - background[:, 13].mean())
    np.testing.assert_allclose(explanation.values[1, 13, 0], mean / 2, atol=1e-10)
