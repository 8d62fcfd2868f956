"""The paired test against its closed form and by simulation of overlapping splits;
ranks and Holm's steps.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from permgrad.base.significance import holm
from permgrad.evaluation.comparison import PairedTest, corrected_paired_test

NUMBERS = st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=2, max_size=12)


def student_tail(t: float, degrees: int) -> float:
    """P(T > t) by integrating Student's density as it stands in the book."""
    scale = special.gamma((degrees + 1) / 2) / (
        np.sqrt(degrees * np.pi) * special.gamma(degrees / 2)
    )
    return integrate.quad(
        lambda x: scale * (1 + x * x / degrees) ** (-(degrees + 1) / 2), t, np.inf
    )[0]


def test_closed_form():
    differences = [0.012, -0.004, 0.009, 0.021, 0.007]
    paired_result = corrected_paired_test(differences, train_rows=600, test_rows=200)
    mean = sum(differences) / 5
    spread = sum((d - mean) ** 2 for d in differences) / 4
    error = np.sqrt((1 / 5 + 200 / 600) * spread)
    assert paired_result.difference == pytest.approx(mean, rel=1e-12)
    assert paired_result.p_value == pytest.approx(
        2 * student_tail(mean / error, 4), rel=1e-9
    )
    half = (
        2.776445105197793 * error
    )  # Student's 97.5 % point at 4 degrees of freedom, from a table
    assert (paired_result.low, paired_result.high) == pytest.approx(
        (mean - half, mean + half), rel=1e-9
    )
    assert paired_result.splits == 5
    assert 0.05 < paired_result.p_value < 0.95, "the case must not be trivial"
    # Uncorrected, the same numbers would look much better.
    assert stats.ttest_1samp(differences, 0).pvalue < 0.1 < paired_result.p_value


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.integers(1, 1000), st.integers(1, 1000))
def test_p_value_and_interval_agree_and_signs_mirror(differences, train, test):
    assume(np.std(differences) > 1e-6)
    forward_result = corrected_paired_test(
        differences, train_rows=train, test_rows=test
    )
    mirrored_result = corrected_paired_test(
        np.negative(differences), train_rows=train, test_rows=test
    )
    assert forward_result.low <= forward_result.difference <= forward_result.high
    assume(abs(forward_result.p_value - 0.05) > 1e-9)
    assert (forward_result.p_value < 0.05) == (
        forward_result.low > 0 or forward_result.high < 0
    )
    assert mirrored_result.p_value == pytest.approx(forward_result.p_value)
    assert (mirrored_result.low, mirrored_result.high) == pytest.approx(
        (-forward_result.high, -forward_result.low)
    )


@pytest.mark.slow
def test_overlapping_splits_of_equal_models_are_seldom_told_apart():
    """Two models that are as good: each row has a difference of its own, so test parts
    that share rows agree.
    """
    rng = np.random.default_rng(0)
    rows = 300
    held_out_rows = 60
    splits = 8
    times = 1500
    wrong = {"corrected": 0, "plain": 0}
    for _ in range(times):
        noise = rng.normal(size=rows)
        differences = [
            noise[rng.permutation(rows)[:held_out_rows]].mean() for _ in range(splits)
        ]
        wrong["corrected"] += (
            corrected_paired_test(
                differences, train_rows=rows - held_out_rows, test_rows=held_out_rows
            ).p_value
            < 0.05
        )
        wrong["plain"] += stats.ttest_1samp(differences, 0).pvalue < 0.05
    assert wrong["plain"] / times > 0.12, (
        "the case must be one that the plain test gets wrong"
    )
    assert wrong["corrected"] / times < 0.07


@pytest.mark.parametrize("splits", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("size", [0.1, -2 / 150, 0.9 - 0.8])
def test_equal_differences_are_as_certain_as_their_signs(splits, size):
    """One more right row in both of two folds is no proof."""
    same = corrected_paired_test(
        [size + 1e-16 * (-1) ** split for split in range(splits)],
        train_rows=3,
        test_rows=1,
    )
    assert same.difference == pytest.approx(size)
    assert same.p_value == pytest.approx(2 * 0.5**splits)
    assert same.low < size < same.high
    assert (same.low > 0 or same.high < 0) == (same.p_value < 0.05) == (splits > 5)
    assert same.high - size == pytest.approx(size - same.low)


def test_differences_that_cancel_are_none():
    assert corrected_paired_test([0.0, 0.0], train_rows=3, test_rows=1) == PairedTest(
        0.0, 0.0, 0.0, 1.0, 2
    )
    scores = np.array([0.98, 0.9666666666666667])
    other_scores = np.array([0.9666666666666667, 0.98])
    paired_result = corrected_paired_test(
        scores - other_scores + [1e-16, 0], train_rows=3, test_rows=1
    )
    assert (scores - other_scores + [1e-16, 0]).mean() != 0, (
        "the precondition: only up to rounding"
    )
    assert (paired_result.difference, paired_result.p_value) == (0.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_step_by_step(p_values):
    adjusted = holm(p_values)
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= 1)
    level = 0.05
    order = np.argsort(p_values, kind="stable")
    rejected = set()
    for step, index in enumerate(order):
        if p_values[index] * (len(p_values) - step) >= level:
            break
        rejected.add(int(index))
    assert {int(i) for i in np.flatnonzero(adjusted < level)} == rejected
