"""Weights of rows: only their ratios count, from the smallest to the largest that are
taken; others are refused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.data.read.cells import CellError
from permgrad.data.weights import LEAST, MOST, check_weights, read_weights

ROWS = 120
X = np.random.default_rng(0).normal(size=(ROWS, 3))
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)
WEIGHTS = np.random.default_rng(1).uniform(1, 2, ROWS)


@pytest.fixture(scope="module")
def model():
    return pg.HyNNClassifier(preset="fast", max_epochs=2, random_state=0).fit(X, Y)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [LEAST, MOST / 2])
@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "ablation", "shapley", "aggregate"]
)
def test_only_ratios_count_where_losses_are_explained(model, method, scale):
    explain_options = {
        "method": method,
        "scope": "global",
        "random_state": 0,
        "progress": False,
    }
    if method == "aggregate":
        explain_options["members"] = ("permgrad", "permutation")
    plain = explain_with(model, X, Y, sample_weight=WEIGHTS, **explain_options)
    scaled = explain_with(model, X, Y, sample_weight=WEIGHTS * scale, **explain_options)
    np.testing.assert_allclose(scaled.values, plain.values, rtol=1e-9, atol=1e-12)
    if plain.std_error is not None:
        np.testing.assert_allclose(scaled.std_error, plain.std_error, rtol=1e-9)
    assert not np.allclose(
        plain.values, explain_with(model, X, Y, **explain_options).values, rtol=1e-3
    )


@pytest.mark.parametrize("scale", [LEAST, MOST / 2])
def test_only_ratios_count_in_training(scale):
    def trained(weights, class_weight=None):
        model = pg.HyNNClassifier(
            preset="fast", max_epochs=1, random_state=0, class_weight=class_weight
        )
        return model.fit(X, Y, sample_weight=weights).predict_proba(X)

    plain = trained(WEIGHTS)
    np.testing.assert_allclose(trained(WEIGHTS * scale), plain, atol=1e-6)
    assert not np.allclose(trained(WEIGHTS**4), plain, atol=1e-4)
    # Those of classes scale the loss, which the optimiser all but undoes.
    both_weighted = trained(WEIGHTS, {0: 1, 1: 3})
    np.testing.assert_allclose(
        trained(WEIGHTS * scale, {0: 1, 1: 3}), both_weighted, atol=1e-6
    )
    np.testing.assert_allclose(
        trained(WEIGHTS * scale, {0: 3e5, 1: 9e5}), both_weighted, atol=1e-3
    )


def test_weights_of_all_sizes_at_once_are_those_of_the_largest(model):
    """What is 1e100 times smaller says nothing beside the rest, and breaks nothing."""
    mixed = np.where(np.arange(ROWS) < 60, WEIGHTS, WEIGHTS * LEAST)
    zeros = np.where(np.arange(ROWS) < 60, WEIGHTS, 0.0)
    explain_options = {"method": "permutation", "random_state": 0, "progress": False}
    mixed_explanation, expected = (
        explain_with(model, X, Y, sample_weight=row_weights, **explain_options)
        for row_weights in (mixed, zeros)
    )
    np.testing.assert_allclose(
        mixed_explanation.values[:, 0], expected.values[:, 0], rtol=1e-9
    )
    assert np.isfinite(mixed_explanation.values).all()


@pytest.mark.parametrize(
    "value", [1e300, 1e-300, 5e-324, float("inf"), float("nan"), -1.0]
)
def test_other_weights_are_refused(model, value):
    weights = WEIGHTS.copy()
    weights[7] = value
    rule = (
        "be 0 or between 1e-100 and"
        if 0 < value < np.inf
        else "be finite and at least 0"
    )
    message = f"sample_weight must {rule}.*, but that of row 7 is "
    with pytest.raises(pg.InputError, match=message):
        pg.explain(model, X, Y, sample_weight=weights)
    with pytest.raises(pg.InputError, match=message):
        pg.HyNNClassifier(preset="fast", max_epochs=1).fit(X, Y, sample_weight=weights)
    with pytest.raises(
        CellError,
        match=rf"sample_weight must {rule}.*, but column 'w' holds '.*' in row 7\. ",
    ):
        read_weights(pd.Series(weights, name="w"))


def test_weights_are_a_new_array():
    own_weights = np.ones(3)
    assert check_weights(own_weights, 3) is not own_weights
    with pytest.raises(
        pg.InputError, match=r"sample_weight must be numbers, got tensor"
    ):
        check_weights(torch.ones(3, requires_grad=True), 3)
    with pytest.raises(
        pg.InputError,
        match=r"sample_weight must have one value for each of the 2 rows, got the "
        r"shape \(2, 1\)\. Pass",
    ):
        check_weights(np.ones((2, 1)), 2)
