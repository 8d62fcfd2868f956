"""The decision functions and what they are worth: closed forms against Monte Carlo, and
against pencil and paper.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import importance_shares
from permgrad_benchmark.suites.multimodal.functions import (
    FEATURES,
    DecisionFunction,
    Population,
    draw_clinical,
    functions,
    linear,
    published_covariance,
    register_function,
    sampled_importance,
    true_importance,
)

PUBLISHED = ("F0", "F1", "F2", "F3", "F4", "F5", "F6", "F7")
LINEAR = [name for name in functions if functions.get(name).weights is not None]


def population(function: DecisionFunction, seed: int = 0) -> Population:
    """Return images whose features are correlated and skew, and differ between X1 and
    X2.
    """
    rng = np.random.default_rng(seed)
    mixed = [
        rng.exponential(size=(400, 10)) @ rng.normal(size=(10, 10)) for _ in range(2)
    ]
    first, second = (
        (modality_rows - modality_rows.mean(0)) / modality_rows.std(0)
        for modality_rows in mixed
    )
    return Population(first, second, function.covariance)


def test_the_published_functions_are_there():
    assert (
        tuple(name for name in functions if functions.get(name).published) == PUBLISHED
    )
    assert set(functions) >= {"xor", "redundant", "unused", "suppressor"}
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(50, FEATURES)))
    expected_scores = [
        rows[:, :10].sum(1), rows[:, 10:20].sum(1), rows[:, 20:30].sum(1), rows[:, 30:].sum(1), rows[:, :20].sum(1),
        rows[:, 20:].sum(1), rows.sum(1), (rows[:, 0] + rows[:, 1]) ** 2,
    ]  # fmt: skip
    for name, values in zip(PUBLISHED, expected_scores, strict=True):
        assert torch.allclose(functions.get(name).score(rows), values), name


def test_the_correlated_block_makes_the_two_truths_differ():
    five = functions.get("F5")
    rows = population(five)
    assert importance_shares(true_importance(five, rows, "published")).tolist() == [
        0,
        0,
        0.5,
        0.5,
    ]
    assert np.allclose(
        importance_shares(true_importance(five, rows, "effect")),
        [0, 0, 13 / 23, 10 / 23],
    )


@pytest.mark.parametrize("estimand", ["published", "effect"])
@pytest.mark.parametrize("name", LINEAR)
def test_closed_forms_agree_with_monte_carlo(name, estimand):
    function = functions.get(name)
    rows = population(function)
    closed = true_importance(function, rows, estimand)
    sampled = sampled_importance(function, rows, estimand, rows=60_000)
    assert closed.max() > 0, "a function that nothing changes would say nothing"
    assert np.allclose(sampled, closed, rtol=0.06, atol=1e-12)
    assert np.array_equal(sampled == 0, closed == 0), "what is not read is exactly 0"


def test_the_square_has_its_truth():
    """E[(s² − s'²)²] = 2 Var(s²) for independent draws s, s'; both slopes are 2|s|."""
    seven = functions.get("F7")
    rows = population(seven)
    s = rows.first[:, 0] + rows.first[:, 1]
    effect = true_importance(seven, rows, "effect")
    assert np.allclose(effect, [2 * np.var(s**2), 0, 0, 0], rtol=0.05)
    slopes = true_importance(seven, rows, "published")
    assert np.allclose(slopes, [4 * np.abs(s).mean(), 0, 0, 0], rtol=0.02)


def test_the_exclusive_or_has_its_truth():
    """F = a b: permuting a gives E[(a − a')²] E[b²], and |∂F/∂a| = |b|."""
    xor = functions.get("xor")
    rows = population(xor)
    a = rows.first[:, 0]
    effect = true_importance(xor, rows, "effect")
    assert np.allclose(effect, [2 * np.var(a) * 1, 0, 2 * np.mean(a**2), 0], rtol=0.05)
    published = true_importance(xor, rows, "published")
    assert np.allclose(
        published, [np.sqrt(2 / np.pi), 0, np.abs(a).mean(), 0], rtol=0.02
    )


def test_the_further_functions_are_what_they_are_named_for():
    rng = np.random.default_rng(1)
    redundant = draw_clinical(1000, rng, functions.get("redundant").covariance)
    assert np.allclose(redundant[:, 0], redundant[:, 10], atol=1e-5)
    suppressor = functions.get("suppressor")
    clinical = draw_clinical(100_000, rng, suppressor.covariance).astype(np.float64)
    rows = torch.from_numpy(
        np.concatenate([np.zeros((len(clinical), 20)), clinical], axis=1)
    )
    score = suppressor.score(rows).numpy()
    assert abs(np.corrcoef(score, clinical[:, 10])[0, 1]) < 0.01, (
        "alone it says nothing about F"
    )
    assert abs(np.corrcoef(score, clinical[:, 0])[0, 1]) == pytest.approx(
        np.sqrt(0.5), abs=0.01
    )
    effect = importance_shares(
        true_importance(suppressor, population(suppressor), "effect")
    )
    assert np.allclose(effect, [0, 0, 2 / 3, 1 / 3])
    unused = importance_shares(
        true_importance(functions.get("unused"), population(suppressor), "effect")
    )
    assert unused[1] == unused[3] == 0
    assert min(unused[0], unused[2]) > 0


def test_the_published_covariance():
    drawn = draw_clinical(
        200_000, np.random.default_rng(0), published_covariance()
    ).astype(np.float64)
    assert np.allclose(np.cov(drawn.T), published_covariance(), atol=0.02)
    expected_covariance = np.eye(20)
    for column in (3, 4, 5):
        expected_covariance[9 - 1, column - 1] = expected_covariance[
            column - 1, 9 - 1
        ] = 0.5
    assert np.array_equal(published_covariance(), expected_covariance)


@given(
    weights=st.dictionaries(
        st.integers(0, FEATURES - 1),
        st.floats(0.1, 3).map(lambda x: round(x, 3)),
        min_size=1,
    ),
    factor=st.floats(0.2, 5),
)
@settings(max_examples=20, deadline=None)
def test_shares_do_not_depend_on_the_scale_of_a_function(weights, factor):
    linear_function = linear("one", "", weights)
    scaled = linear(
        "scaled",
        "",
        {position: -factor * weight for position, weight in weights.items()},
    )
    rows = population(linear_function)
    for estimand in ("published", "effect"):
        shares = [
            importance_shares(true_importance(case_function, rows, estimand))
            for case_function in (linear_function, scaled)
        ]
        assert np.allclose(*shares)
        assert shares[0].sum() == pytest.approx(1.0)


def test_a_function_must_say_what_it_reads():
    wrong = DecisionFunction(
        "wrong", "x1 + x2", lambda rows: rows[:, 0] + rows[:, 1], (0,)
    )
    with pytest.raises(
        InputError,
        match=r"'wrong' reads the features \(0, 1\), but relevant is \(0,\)\. Correct "
        r"one of them",
    ):
        register_function(wrong)
    assert "wrong" not in functions


def test_bad_input_is_refused():
    five = functions.get("F5")
    rows = population(five)
    with pytest.raises(
        InputError, match="estimand must be one of 'published', 'effect'"
    ):
        true_importance(five, rows, "sage")
