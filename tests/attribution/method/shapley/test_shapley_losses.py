"""Shapley values of losses from balanced coalitions: their sums, their mean, their
errors, and who is left out.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg
from permgrad.attribution.players.tree import Tree

PLAYERS = 8
ROWS = 40
DESIGNS = "balanced coalitions and their complements"
ORDERS = "pairs of an order and its reverse"


def network(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(PLAYERS, 20),
        nn.Tanh(),
        nn.Linear(20, 20),
        nn.Tanh(),
        nn.Linear(20, outputs),
    ).double()


def drawn(rows: int, seed: int) -> torch.Tensor:
    return 2 * torch.randn(
        rows,
        PLAYERS,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )


NET = network()
X = drawn(ROWS, 1)
BACKGROUND = drawn(12, 2)
Y = np.random.default_rng(0).integers(0, 3, ROWS)


def explain(
    net: nn.Module = NET, rows: torch.Tensor = X, y=Y, **options
) -> pg.Explanation:
    call_options = {
        "exact": 0,
        "tolerance": 0,
        "n_repeats": 1,
        "background": BACKGROUND,
        "random_state": 0,
        **options,
    }
    return explain_with(
        net, rows, y, method="shapley", scope="global", progress=False, **call_options
    )


@pytest.mark.slow
@pytest.mark.parametrize("game", ["prediction", "expected"])
@pytest.mark.parametrize("y", [Y, None], ids=["loss", "divergence"])
def test_the_mean_over_many_samples_is_the_enumerated_value(game, y):
    exact = explain(y=y, game=game, exact=PLAYERS, references=12)
    explanations = [
        explain(y=y, game=game, n_repeats=25, random_state=seed) for seed in range(8)
    ]
    assert {explanation.meta["estimator"] for explanation in explanations} == {DESIGNS}
    values = np.stack([explanation.values for explanation in explanations])
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert np.nanmax(exact.std_error) > 0
    off = np.abs(values.mean(axis=0) - exact.values) / error
    # Of 32 values, each a mean of 8 seeds: the t distribution of 7 degrees of freedom
    # is beyond 7 once in 4,700.
    assert off.max() < 7
    assert np.sqrt((off**2).mean()) < 1.8


def test_sums_are_exact_after_a_single_sample():
    exact = explain(exact=PLAYERS)
    explanation = explain()
    assert explanation.meta["permutations"] == 2
    assert exact.meta["permutations"] == 0, "all coalitions, no order"
    assert np.abs(explanation.values - exact.values).max() > 1e-4
    np.testing.assert_allclose(
        explanation.values.sum(axis=0), exact.values.sum(axis=0), atol=1e-12
    )
    assert explanation.meta["completeness_gap"] < 1e-12


@pytest.mark.slow
def test_they_vary_less_than_orders_and_the_error_told_is_right(monkeypatch):
    population = drawn(4000, 3)
    y = NET(population).detach().argmax(dim=1).numpy()
    picked = [
        np.random.default_rng(seed).choice(4000, 100, replace=False)
        for seed in range(20)
    ]

    def spread() -> tuple[float, float]:
        alike = [explain(random_state=seed).values[:, 0] for seed in range(20)]
        explanations = [
            explain(rows=population[row_indices], y=y[row_indices], random_state=seed)
            for seed, row_indices in enumerate(picked)
        ]
        estimated_variance = np.mean(
            [(explanation.std_error[:, 0] ** 2).sum() for explanation in explanations]
        )
        return float(np.var(alike, axis=0, ddof=1).sum()), float(
            estimated_variance
            / np.var(
                [explanation.values[:, 0] for explanation in explanations],
                axis=0,
                ddof=1,
            ).sum()
        )

    designs, error_ratio = spread()
    monkeypatch.setattr(Tree, "free", property(lambda self: False))
    assert explain().meta["estimator"] == ORDERS
    orders, _ = spread()
    assert designs < 0.8 * orders
    assert 0.65 < error_ratio < 1.5


def test_a_row_has_the_same_sample_whoever_stands_beside_it():
    """How its players are shuffled and how large its coalitions are depends on its
    number alone.
    """

    def of_the_third(rows: torch.Tensor, y: np.ndarray) -> np.ndarray:
        assert explain(rows=rows, y=y).meta["estimator"] == DESIGNS
        return (
            3 * explain(rows=rows, y=y).values[:, 0]
            - 2 * explain(rows=rows[:2], y=y[:2]).values[:, 0]
        )

    other_rows = torch.cat([X[20:22], X[2:3]])
    theirs = np.append(Y[20:22], Y[2])
    np.testing.assert_allclose(
        of_the_third(other_rows, theirs), of_the_third(X[:3], Y[:3]), atol=1e-12
    )
    moved = of_the_third(
        torch.cat([X[:1], X[2:3], X[2:3]]), np.array([Y[0], Y[2], Y[2]])
    )
    np.testing.assert_allclose(moved, of_the_third(X[:3], Y[:3]), atol=1e-12)
    assert not np.allclose(of_the_third(X[1:4], Y[1:4]), of_the_third(X[:3], Y[:3]))


def test_the_outputs_asked_for_change_nothing():
    every = explain()
    single_output = explain(target=1)
    np.testing.assert_array_equal(single_output.values[:, 0], every.values[:, 0])
    np.testing.assert_array_equal(single_output.values[:, 1], every.values[:, 2])


def test_players_that_change_nothing_have_exactly_zero():
    net = network()
    with torch.no_grad():
        net[0].weight[:, 5] = 0
    explanation = explain(net)
    assert explanation.meta["estimator"] == ORDERS
    np.testing.assert_array_equal(explanation.values[5], 0)
    assert np.abs(np.delete(explanation.values[:, 0], 5)).min() > 0


def test_a_tree_is_played_in_orders():
    assert explain(blocks="modality").meta["estimator"] == ORDERS
