"""Ranking measures: metamorphic relations and scikit-free twins."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import importance_shares, kendall, spearman
from permgrad_benchmark.metrics import relevance_auc, share_error, top_k_recovery

CORRELATIONS = [spearman, kendall]
#: What is worst, and what is best.
LIMITS = {
    share_error: (math.sqrt(2), 0.0),
    spearman: (-1.0, 1.0),
    kendall: (-1.0, 1.0),
    top_k_recovery: (0.0, 1.0),
    relevance_auc: (0.0, 1.0),
}
with_ties = st.lists(st.integers(-3, 6).map(float), min_size=2, max_size=8)


@pytest.mark.parametrize("measure", CORRELATIONS)
@settings(max_examples=40, deadline=None)
@given(values=with_ties)
def test_identity_is_one_and_reversal_minus_one(measure, values):
    assume(len(set(values)) > 1)
    assert measure(values, values) == pytest.approx(1.0)
    assert measure(values, [-value for value in values]) == pytest.approx(-1.0)


@pytest.mark.parametrize("compute", list(LIMITS))
@settings(max_examples=40, deadline=None)
@given(truth=with_ties, data=st.data())
def test_relabelling_features_changes_nothing(compute, truth, data):
    estimate = data.draw(
        st.lists(
            st.integers(-3, 6).map(float), min_size=len(truth), max_size=len(truth)
        )
    )
    order = data.draw(st.permutations(range(len(truth))))
    before = compute(truth, estimate)
    after = compute([truth[i] for i in order], [estimate[i] for i in order])
    assert after == pytest.approx(before, nan_ok=True)
    low, high = sorted(LIMITS[compute])
    assert math.isnan(before) or low - 1e-12 <= before <= high + 1e-12


@pytest.mark.parametrize("compute", list(LIMITS))
def test_the_truth_itself_gets_the_best_value(compute):
    worst, highest = LIMITS[compute]
    best = compute([4.0, 2.0, 1.0, 0.0, 0.0], [4.0, 2.0, 1.0, 0.0, 0.0])
    other_value = compute([4.0, 2.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 3.0, 2.0])
    assert best == pytest.approx(highest)
    assert abs(other_value - worst) < abs(best - worst)


@settings(max_examples=60, deadline=None)
@given(truth=with_ties, data=st.data())
def test_correlations_equal_scipy(truth, data):
    estimate = data.draw(
        st.lists(
            st.integers(-3, 6).map(float), min_size=len(truth), max_size=len(truth)
        )
    )
    assume(len(set(truth)) > 1 and len(set(estimate)) > 1)
    assert spearman(truth, estimate) == pytest.approx(
        stats.spearmanr(truth, estimate).statistic
    )
    assert kendall(truth, estimate) == pytest.approx(
        stats.kendalltau(truth, estimate).statistic
    )


def test_constant_sides_are_undefined():
    assert math.isnan(spearman([1, 1], [1, 2]))
    assert math.isnan(kendall([1, 2], [3, 3]))
    assert math.isnan(top_k_recovery([0, 0], [1, 2]))


def test_top_k_is_the_largest_not_the_first():
    assert top_k_recovery([0, 0, 9, 8], [0.1, 0.2, 5, 4]) == 1.0
    assert top_k_recovery([0, 0, 9, 8], [5, 4, 0.2, 0.1]) == 0.0
    assert top_k_recovery([0, 0, 9, 8], [0, 5, 6, 0], k=1) == 1.0


@settings(max_examples=60, deadline=None)
@given(truth=with_ties, data=st.data())
def test_top_k_averages_over_every_way_to_break_ties(truth, data):
    estimate = data.draw(
        st.lists(st.integers(0, 3).map(float), min_size=len(truth), max_size=len(truth))
    )
    k = data.draw(st.integers(1, len(truth)))
    belongs = {i for i, value in enumerate(truth) if value >= sorted(truth)[-k]}
    scores = []
    for top_indices in itertools.combinations(range(len(truth)), k):
        remaining_estimates = [
            estimate[i] for i in range(len(truth)) if i not in top_indices
        ]
        if not remaining_estimates or min(estimate[i] for i in top_indices) >= max(
            remaining_estimates
        ):
            scores.append(len(belongs & set(top_indices)) / k)
    assert scores
    assert top_k_recovery(truth, estimate, k) == pytest.approx(np.mean(scores))
    assert top_k_recovery(truth, truth, k) == pytest.approx(1.0)


def test_shares_clip_and_normalise_and_keep_scale_out():
    assert importance_shares([2, -1, 2]).tolist() == [0.5, 0.0, 0.5]
    assert importance_shares([-2, 0]).tolist() == [0.0, 0.0]
    assert importance_shares([1e308, 1e308]).tolist() == [0.5, 0.5]
    assert share_error([3, 1, 0], [3000, 1000, -5]) == 0.0
    assert share_error([1, 0], [0, 1]) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: share_error([1, np.nan], [1, 2]),
            (
                "truth or estimate holds missing or infinite values. Leave those "
                "features out. [PG002]"
            ),
        ),
        (
            lambda: importance_shares([np.inf, 1]),
            "1 of 2 importances are not finite. Leave those features out. [PG002]",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
