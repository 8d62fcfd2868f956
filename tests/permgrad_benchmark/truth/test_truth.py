"""Known functions: the closed forms are those of a plain Monte Carlo, and no relevant
effect is negligible.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad import InputError
from permgrad_benchmark.truth import make_truth, truths

CLOSED = ["friedman1", "linear20", "product", "xor_like", "g_function"]


def test_registry():
    assert set(truths) >= {*CLOSED, "friedman1_correlated"}
    with pytest.raises(InputError, match=r"Did you mean 'friedman1'\?"):
        make_truth("friedmann1")


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_equal_a_slow_twin(name):
    """The definition, written again: redraw a column, difference squared, mean; within
    4.5 standard errors.
    """
    truth = make_truth(name)
    closed = dict(
        zip(truth.feature_names, truth.closed_form("total_effect"), strict=True)
    )
    X, _ = truth.sample(60_000, random_state=1)
    donors, _ = truth.sample(60_000, random_state=2)
    for feature in truth.feature_names:
        edited = X.copy()
        edited[feature] = donors[feature]
        squares = (truth.function(edited) - truth.function(X)) ** 2
        if feature not in truth.relevant:
            assert closed[feature] == 0
            assert (squares == 0).all()
            continue
        assert squares.mean() > 0
        assert abs(squares.mean() - closed[feature]) < 4.5 * squares.std() / np.sqrt(
            len(squares)
        )


@pytest.mark.parametrize("name", list(truths))
def test_every_relevant_effect_counts(name):
    truth = make_truth(name)
    effects = dict(
        zip(truth.feature_names, truth.known("total_effect").values, strict=True)
    )
    assert [
        feature for feature in truth.feature_names if effects[feature] > 0
    ] == truth.relevant
    assert min(effects[feature] for feature in truth.relevant) >= 0.005 * sum(
        effects.values()
    )


@pytest.mark.parametrize("name", list(truths))
def test_sampling(name):
    truth = make_truth(name)
    X, y = truth.sample(4000, random_state=0)
    same, y_same = truth.sample(4000, random_state=0)
    assert X.equals(same)
    np.testing.assert_array_equal(y, y_same)
    assert not X.equals(truth.sample(4000, random_state=1)[0])
    assert X.shape == (4000, truth.n_features)
    if truth.task == "classification":
        probability = 1 / (1 + np.exp(-truth.function(X)))
        assert set(np.unique(y)) == {0.0, 1.0}
        # Among rows that are said to be of class 1 with probability p, a share p is.
        assert np.mean(y[probability > 0.8]) == pytest.approx(
            np.mean(probability[probability > 0.8]), abs=0.05
        )
        return
    residual = y - truth.function(X)
    assert residual.std() == pytest.approx(truth.noise, rel=0.05)
    _, clean = make_truth(name, noise=0).sample(50, random_state=0)
    np.testing.assert_allclose(
        clean, truth.function(truth.sample(50, random_state=0)[0])
    )
    generator = np.random.default_rng(0)
    assert not truth.sample(5, generator)[0].equals(truth.sample(5, generator)[0])


def test_correlated_features_are_correlated_and_uniform():
    X, _ = make_truth("friedman1_correlated").sample(20_000, random_state=0)
    assert np.corrcoef(X.T)[0, 1:].min() > 0.4
    np.testing.assert_allclose(X.mean(), 0.5, atol=0.01)
    np.testing.assert_allclose(X.var(), 1 / 12, atol=0.002)
    assert (
        abs(
            np.corrcoef(make_truth("friedman1").sample(20_000, random_state=0)[0].T)[
                0, 1
            ]
        )
        < 0.03
    )


def test_xor_has_no_effect_alone():
    X, y = make_truth("xor_like").sample(20_000, random_state=0)
    assert (
        max(
            abs(np.corrcoef(X[feature], y)[0, 1])
            for feature in ["x1", "x2", "x3", "x4"]
        )
        < 0.03
    )


def test_bad_input():
    with pytest.raises(
        InputError, match="noise must be a finite number of at least 0, got -1"
    ):
        make_truth("product", noise=-1)
    with pytest.raises(InputError, match="n must be an integer of at least 1, got 0"):
        make_truth("product").sample(0)
    with pytest.raises(InputError, match=r"X must have 10 columns, got shape \(3, 2\)"):
        make_truth("product").function(np.zeros((3, 2)))
