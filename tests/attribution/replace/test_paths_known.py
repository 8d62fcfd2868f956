"""Functions of which the network knows one half and trees and a line the other: the
shares are known.
"""

from __future__ import annotations

import numpy as np
import pytest

import permgrad as pg
from permgrad.models.network.additive import LinearBranch
from permgrad.models.network.trees import TreeBranch
from permgrad.models.trees import Trees

ROWS = 3000


def trained(X, half):
    """Return a network of the table that has learnt a half."""
    network = {
        "dense_units": [48, 48],
        "dropout": 0.0,
        "fusion_units": [],
        "numeric_embedding": "none",
    }
    settings = {
        "branches": ("tabular",),
        "max_epochs": 60,
        "learning_rate": 0.01,
        "random_state": 0,
        "progress": False,
    }
    return pg.HyNNRegressor(
        preset={"base": "fast", "numeric": "standard"}, network=network, **settings
    ).fit(X, half)


def beside(model, name, branch):
    """Add a branch, in units of y, to what the network says."""
    module = model.module_
    branch.scale_(2 / model.target_scale_)
    module.divide_outputs(0.5)
    module.add_path(name, branch, 0.5)


def cells(model, values):
    """Return encoded rows of values ``(rows, columns)``."""
    return model.encode_rows(np.asarray(values)).encoded.astype(np.float64)


def steps(model, X, column, function, bins=128):
    """Return one tree of equal bins of a column, which says a function at their
    middle.
    """
    low = X[:, column].min()
    high = X[:, column].max()
    edges = np.linspace(low, high, bins + 1)
    row = np.tile(X.mean(axis=0), (bins + 1, 1))
    row[:, column] = edges
    limits = cells(model, row)[:, column]
    inner = bins - 1
    leaves = function((edges[:-1] + edges[1:]) / 2)
    # Nodes of a complete tree, level by level: node k leads to 2k + 1 and 2k + 2.
    below = np.arange(inner)
    limit = np.zeros(inner)
    order = []

    def fill(node, first, last):
        if node >= inner:
            order.append(first)
            return
        middle = (first + last) // 2
        limit[node] = limits[middle]
        fill(2 * node + 1, first, middle)
        fill(2 * node + 2, middle, last)

    fill(0, 0, bins)
    values = np.concatenate([np.zeros(inner), leaves[np.array(order)]])[:, None]
    tree = (np.full(inner, column), limit, 2 * below + 1, 2 * below + 2, values)
    return TreeBranch.of(Trees.of([tree], base=[0.0]), len(cells(model, X[:1])[0]))


def line(model, X, slopes):
    """Return Σ slopes · x as a branch."""
    start = cells(model, X[:1])
    width = X.shape[1]
    moved = np.tile(X[:1], (width, 1)) + np.eye(width)
    scale = np.diag(
        cells(model, moved) - start
    )  # an encoded number is a multiple of it
    weight = np.asarray(slopes) / scale
    return LinearBranch(width, 1).fill(
        weight[None], [float(X[0] @ slopes - start[0] @ weight)]
    )


def explained(model, X, y):
    return pg.explain(model, X, y, random_state=0, n_repeats=10, progress=False)


def check(explanation, expected):
    """Compare the shares of branches with those of the truth, and their intervals."""
    total = sum(expected.values())
    for path, variance in expected.items():
        entry = explanation.branches[path]
        share = variance / total
        assert entry["share"] == pytest.approx(share, abs=0.02)
        assert (
            entry["share_low"] - 0.005 < share < entry["share_high"] + 0.005
        )  # the network is not quite its half


def test_a_sum_of_features():
    """f = 2 x₀ (network) + sin 3x₁ (trees) + x₂ (line)."""
    X = np.random.default_rng(0).normal(size=(ROWS, 3))
    model = trained(X, 2 * X[:, 0])
    beside(model, "trees", steps(model, X, 1, lambda x: np.sin(3 * x)))
    beside(model, "linear", line(model, X, [0.0, 0.0, 1.0]))
    y = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2]
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.999
    explanation = explained(model, X, y)
    check(explanation, {"tabular": 4.0, "linear": 1.0, "trees": (1 - np.exp(-18)) / 2})
    shares = np.stack(
        [explanation.parts[path][:, 0] for path in ("tabular", "trees", "linear")],
        axis=1,
    )
    halves = [2 * X[:, 0], np.sin(3 * X[:, 1]), X[:, 2]]
    truth = 2 * np.diag(
        np.var(halves, axis=1)
    )  # each feature has its variance twice, in its own path
    np.testing.assert_allclose(shares, truth, atol=0.02 * truth.sum())
    np.testing.assert_allclose(
        explanation.parts["interaction"], 0, atol=0.02 * truth.sum()
    )


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_an_exclusive_or_that_both_know_in_part(share):
    """f = x₀x₁ of signs, ``share`` of it the network's: φ = 2a(a + b) and 2b(a + b),
    interaction 4ab, of features.
    """
    X = np.random.default_rng(0).choice([-1.0, 1.0], size=(ROWS, 2))
    product = X[:, 0] * X[:, 1]
    model = trained(X, share * product)
    points = cells(model, [[-1, -1], [1, 1]])
    between = points.mean(axis=0)
    leaves = (1 - share) * np.array([0, 0, 0, 1, -1, -1, 1.0])[:, None]
    tree = (
        [0, 1, 1],
        [between[0], between[1], between[1]],
        [1, 3, 5],
        [2, 4, 6],
        leaves,
    )
    beside(model, "trees", TreeBranch.of(Trees.of([tree], base=[0.0]), 2))
    np.testing.assert_allclose(model.predict(X), product, atol=0.05)
    explanation = explained(model, X, product)
    a = share
    b = 1 - share
    for feature_index in range(2):
        assert explanation.values[feature_index, 0] == pytest.approx(2, abs=0.05)
        assert explanation.parts["tabular"][feature_index, 0] == pytest.approx(
            2 * a, abs=0.05
        )
        assert explanation.parts["trees"][feature_index, 0] == pytest.approx(
            2 * b, abs=0.05
        )
        assert explanation.parts["interaction"][feature_index, 0] == pytest.approx(
            4 * a * b, abs=0.05
        )
    for path, expected_share in (("tabular", a), ("trees", b)):
        assert explanation.branches[path]["share"] == pytest.approx(
            expected_share, abs=0.02
        )


@pytest.mark.slow
def test_friedman_s_function():
    """10 sin(πx₀x₁) (network) + 20 (x₂ − ½)² (trees) + 10x₃ + 5x₄ (line), of columns
    spread evenly over 0 … 1.
    """
    X = np.random.default_rng(0).random(size=(ROWS, 5))
    wave = 10 * np.sin(np.pi * X[:, 0] * X[:, 1])
    model = trained(X, wave)
    beside(model, "trees", steps(model, X, 2, lambda x: 20 * (x - 0.5) ** 2))
    beside(model, "linear", line(model, X, [0.0, 0.0, 0.0, 10.0, 5.0]))
    y = wave + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    assert np.corrcoef(model.predict(X), y)[0, 1] ** 2 > 0.995
    grid = (np.arange(2000) + 0.5) / 2000
    variance = np.var(10 * np.sin(np.pi * np.outer(grid, grid)))
    check(
        explained(model, X, y),
        {"tabular": variance, "linear": 125 / 12, "trees": 400 * (1 / 80 - 1 / 144)},
    )
