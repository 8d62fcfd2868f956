"""The four truths: closed forms against quasi Monte Carlo, and both against the
definitions written again, slowly.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from permgrad import InputError
from permgrad_benchmark.truth import ESTIMANDS, make_truth, truths
from permgrad_benchmark.truth.base import (
    local_shapley,
    sampled,
    shapley_from_coalitions,
    shapley_of_subsets,
)

CLOSED = [
    (name, estimand)
    for name in truths
    for estimand in ESTIMANDS
    if make_truth(name).closed_form(estimand) is not None
]
REGRESSION = [name for name in truths if make_truth(name).task == "regression"]


def test_there_are_closed_forms_of_each_truth():
    assert {estimand for _, estimand in CLOSED} == set(ESTIMANDS)
    assert len(CLOSED) > 30


@pytest.mark.parametrize(("name", "estimand"), CLOSED)
def test_closed_forms_equal_quasi_monte_carlo(name, estimand):
    truth = make_truth(name)
    closed = truth.known(estimand)
    assert closed.how == "closed form"
    sampled_values = sampled(truth, estimand, sets=8, points=512, averaged=128)
    assert (sampled_values.values[truth.n_relevant :] == 0).all()
    assert (closed.values[truth.n_relevant :] == 0).all()
    # The mean over a finite set of averaged points adds a bias of the order of one over
    # their number.
    allowed = (
        6 * sampled_values.error
        + (0.02 if estimand == "sage" else 0.002) * np.abs(closed.values).max()
    )
    assert (np.abs(sampled_values.values - closed.values) <= allowed).all()
    assert closed.values.max() > 5 * allowed.max()


@pytest.mark.parametrize("name", REGRESSION)
def test_sage_values_add_up_to_the_variance(name):
    truth = make_truth(name)
    rng = np.random.default_rng(0)
    squares = truth.values(truth._draw(200_000, rng))
    error = np.std((squares - squares.mean()) ** 2) / math.sqrt(len(squares))
    known_values = truth.known("sage")
    assert known_values.values.sum() == pytest.approx(
        squares.var(), abs=5 * error + 5 * known_values.error.sum()
    )


@pytest.mark.parametrize(
    "name", ["friedman1", "interactions_correlated", "categorical", "linear_correlated"]
)
def test_local_values_equal_the_formula(name):
    """Shapley's formula over all orders' predecessor sets, the whole function averaged
    at once, in float64.
    """
    truth = make_truth(name)
    rng = np.random.default_rng(1)
    x = truth._draw(3, rng)
    other_rows = truth._draw(40, rng)
    size = truth.n_relevant
    fast = local_shapley(truth, x, other_rows)
    if (
        truth.part_given(0, x[:, list(truth.parts[0])], (False,) * len(truth.parts[0]))
        is not None
    ):
        pytest.skip("absent features are averaged in closed form")

    def value(row, present):
        grid = other_rows.copy()
        grid[:, list(present)] = row[list(present)]
        return truth.values(grid).mean()

    for row, local_values in zip(x, fast, strict=True):
        for j in range(size):
            remaining_features = [k for k in range(size) if k != j]
            expected_value = sum(
                math.factorial(len(s)) * math.factorial(size - 1 - len(s)) / math.factorial(size)
                * (value(row, (*s, j)) - value(row, s))
                for k in range(size)
                for s in itertools.combinations(remaining_features, k)
            )  # fmt: skip
            assert local_values[j] == pytest.approx(expected_value, abs=1e-9)
        assert local_values.sum() == pytest.approx(
            value(row, tuple(range(size))) - value(row, ()), abs=1e-9
        )
    assert (fast[:, size:] == 0).all()
    assert np.abs(fast[:, :size]).max() > 0.1


def test_games():
    weights = {(): 0.0, (0,): 1.0, (1,): 2.0, (0, 1): 5.0}
    assert shapley_of_subsets(2, lambda present: weights[present]).tolist() == [
        2.0,
        3.0,
    ]
    game = np.random.default_rng(0).normal(size=(16, 3))
    values = shapley_from_coalitions(game, 4)
    np.testing.assert_allclose(values.sum(axis=0), game[-1] - game[0])


@pytest.mark.parametrize(
    "name",
    [
        "linear_correlated",
        "duplicates",
        "interactions_correlated",
        "friedman1_correlated",
    ],
)
def test_conditional_effects_by_a_plain_redraw(name):
    """x_j given the rest, by least squares on the latent Gaussians of one sample; the
    definition, written again.
    """
    truth = make_truth(name)
    assert truth.correlated
    rng = np.random.default_rng(2)
    z = truth.correlate(rng.standard_normal((60_000, truth.n_features)))
    known_effects = truth.known("conditional_effect")
    before = truth.values(truth.margin(z))
    for j in range(truth.n_relevant):
        remaining_columns = np.delete(z, j, axis=1)
        weights = np.linalg.lstsq(remaining_columns, z[:, j], rcond=None)[0]
        residual = z[:, j] - remaining_columns @ weights
        edited = z.copy()
        edited[:, j] = remaining_columns @ weights + rng.permutation(residual)
        squares = (truth.values(truth.margin(edited)) - before) ** 2
        error = squares.std() / math.sqrt(len(squares))
        assert squares.mean() == pytest.approx(
            known_effects.values[j], abs=5 * error + 5 * known_effects.error[j]
        )
    total = truth.known("total_effect")
    assert (
        np.abs(shares_of(known_effects) - shares_of(total)).max() > 0.005
        or name == "duplicates"
    )


def shares_of(known_values):
    return known_values.values / known_values.values.sum()


def test_truths_of_correlated_features_differ_and_of_independent_ones_agree():
    chains = make_truth("linear_correlated")
    shares = {estimand: shares_of(chains.known(estimand)) for estimand in ESTIMANDS}
    for first_estimand, second_estimand in itertools.combinations(shares, 2):
        assert np.abs(shares[first_estimand] - shares[second_estimand]).max() > 0.01
    linear = make_truth("linear20")
    assert np.array_equal(
        linear.known("total_effect").values, 2 * linear.known("sage").values
    )
    assert np.array_equal(
        linear.known("total_effect").values, linear.known("conditional_effect").values
    )


def test_class_probabilities_by_hand():
    """The total effect of two classes is a divergence: never negative, 0 where nothing
    changes, as integrated.
    """
    truth = make_truth("logistic")
    before = np.array([0.0, 2.0, -1.0])
    after = np.array([0.0, 0.0, 1.0])
    p = 1 / (1 + np.exp(-before))
    q = 1 / (1 + np.exp(-after))
    expected_rise = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(truth.rise(before, after), expected_rise, atol=1e-12)
    known_effects = truth.known("total_effect")
    x, donors = (
        truth.to_numbers(truth.sample(100_000, random_state=seed)[0]) for seed in (1, 2)
    )
    for j, value in enumerate(known_effects.values):
        edited = x.copy()
        edited[:, j] = donors[:, j]
        effect = truth.rise(truth.values(x), truth.values(edited)).mean()
        assert effect == pytest.approx(value, rel=0.03, abs=1e-12)


def test_errors_are_stated_and_small():
    for name in ("friedman1", "interactions_correlated", "g_function"):
        known_values = make_truth(name).known("shapley")
        assert known_values.how == "quasi Monte Carlo"
        relevant = known_values.error[: make_truth(name).n_relevant]
        assert 0 < relevant.max() < 0.005 * known_values.values.max()
        assert make_truth(name).known("shapley") is known_values
    # E|20 ((u − ½)² − 1/12)| = 40 / (9 √12), E|10 (u − ½)| = 2.5.
    friedman = make_truth("friedman1").known("shapley").values
    np.testing.assert_allclose(
        friedman[2:5], [40 / (9 * math.sqrt(12)), 2.5, 1.25], rtol=1e-4
    )


def test_levels_are_written_out_and_read_back():
    truth = make_truth("categorical")
    X, _ = truth.sample(2000, random_state=0)
    assert X["x1"].nunique() == 40
    assert X["x1"].iloc[0].startswith("L")
    np.testing.assert_allclose(truth.function(X), truth.values(truth.to_numbers(X)))
    with pytest.raises(InputError, match="X must have 8 columns"):
        truth.function(X[["x1", "x2"]])


def test_unknown_estimand():
    with pytest.raises(
        InputError, match=r"estimand cannot be 'sagee'. Did you mean 'sage'\?"
    ):
        make_truth("product").known("sagee")
