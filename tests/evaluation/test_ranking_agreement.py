"""Agreement of importances: measures against slow twins and closed forms, ceilings and
intervals against draws.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import (
    MEASURES,
    agreement,
    agreement_table,
    strongest,
    top_overlap,
    usual_k,
    weighted_overlap,
)

lists = st.lists(st.integers(-3, 6).map(float), min_size=4, max_size=7)


def averaged_over_ties(values, k):
    """Membership of the k strongest, averaged over every order that ties may be
    put in.
    """
    positive = [i for i, value in enumerate(values) if value > 0]
    if len(positive) <= k:
        return np.array([float(i in positive) for i in range(len(values))])
    top_counts = np.zeros(len(values))
    orders = [
        order
        for order in itertools.permutations(range(len(values)))
        if all(values[a] >= values[b] for a, b in itertools.pairwise(order))
    ]
    for order in orders:
        top_counts[list(order[:k])] += 1
    return top_counts / len(orders)


@given(lists, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_strongest_is_the_mean_over_all_ways_of_breaking_ties(values, k):
    np.testing.assert_allclose(strongest(values, k), averaged_over_ties(values, k))


@given(lists, st.integers(1, 4), st.randoms())
@settings(max_examples=80, deadline=None)
def test_every_measure_is_symmetric_and_knows_no_order_and_no_scale(values, k, random):
    reversed_values = values[::-1]
    order = list(range(len(values)))
    random.shuffle(order)
    for name, compute in MEASURES.items():
        agreement_value = compute(values, reversed_values, k)
        low, high = (-1.0, 1.0) if name in ("kendall", "spearman") else (0.0, 1.0)
        if math.isnan(agreement_value):
            continue
        assert low - 1e-12 <= agreement_value <= high + 1e-12
        assert compute(reversed_values, values, k) == pytest.approx(agreement_value)
        shuffled = [values[i] for i in order], [reversed_values[i] for i in order]
        assert compute(*shuffled, k) == pytest.approx(agreement_value)
        assert compute(
            [3 * value for value in values], reversed_values, k
        ) == pytest.approx(agreement_value)
        assert compute(values, values, k) == pytest.approx(1.0)


def test_overlap_of_shares_is_one_minus_the_total_variation_distance():
    left = np.array([5.0, 3, 2, 0.5, 0.1])
    right = np.array([1.0, 6, 0.2, 3, 0.1])
    p = left[:3] / left[:3].sum()
    q = np.array([1, 6, 0, 3, 0]) / 10
    p = np.append(p, [0, 0])
    assert weighted_overlap(left, right, 3) == pytest.approx(
        1 - 0.5 * np.abs(p - q).sum()
    )
    assert top_overlap(left, right, 3) == pytest.approx(2 / 3)


def test_a_list_of_one_feature_does_not_agree_with_a_list_of_many():
    assert top_overlap([1, 0, 0, 0], [4, 3, 2, 1], 4) == 0.25
    assert math.isnan(top_overlap([0, 0], [1, 2], 1))
    assert math.isnan(weighted_overlap([-1, -2], [1, 2], 1))


def draws(rng, centre, splits, noise):
    return centre + noise * rng.normal(size=(splits, len(centre)))


@pytest.mark.slow
def test_noise_alone_does_not_make_models_differ_and_another_model_does():
    """The gap of the same model with noise covers 0 nearly always; models that rely on
    other features are told.
    """
    rng = np.random.default_rng(0)
    centre = np.linspace(3, 0.1, 12)
    other_centre = rng.permutation(centre)
    assert weighted_overlap(centre, other_centre, 6) < 0.8, (
        "the other model must rely on other features"
    )
    false = 0
    true = 0
    gaps = []
    for _ in range(100):
        first_draws = draws(rng, centre, 6, 0.4)
        same = draws(rng, centre, 6, 0.4)
        draws_agreement = agreement(first_draws, same, "weighted_overlap")
        gaps.append(draws_agreement.gap)
        false += bool(draws_agreement.differs)
        true += bool(
            agreement(
                first_draws, draws(rng, other_centre, 6, 0.4), "weighted_overlap"
            ).differs
        )
        assert draws_agreement.value < 0.97, (
            "noise must be felt, or the ceiling has nothing to correct"
        )
    assert abs(np.mean(gaps)) < 0.01, "the ceiling must be what the same model reaches"
    assert false <= 8
    assert true >= 95


def test_the_ceiling_is_that_of_unequal_reliability():
    """Of two models with the same truth, one of them noisy, correlations fall by the
    root of both reliabilities.
    """
    rng = np.random.default_rng(1)
    centre = rng.normal(size=400)
    precise = draws(rng, centre, 4, 0.05)
    noisy = draws(rng, centre, 4, 1.0)
    noisy_agreement = agreement(precise, noisy, "spearman")
    assert noisy_agreement.within[0] > 0.97
    assert noisy_agreement.within[1] < 0.6
    assert noisy_agreement.value == pytest.approx(noisy_agreement.ceiling, abs=0.02)
    assert noisy_agreement.value > noisy_agreement.within[1] + 0.1, (
        "the noisy one's own agreement would be no ceiling"
    )


def test_pairs_of_the_same_split_are_not_compared():
    """Rows and donors of a split are common to all models; what they share by that must
    not count as agreement.
    """
    rng = np.random.default_rng(2)
    common = rng.normal(size=(5, 30))
    split_agreement = agreement(common, common.copy(), "spearman")
    assert abs(split_agreement.value) < 0.2
    assert np.corrcoef(common[0], common[0])[0, 1] == pytest.approx(1.0)


def test_overlapping_splits_widen_the_interval():
    rng = np.random.default_rng(3)
    first_draws = draws(rng, np.arange(8.0), 5, 1.0)
    second_draws = draws(rng, np.arange(8.0), 5, 1.0)
    independent = agreement(first_draws, second_draws)
    overlapping = agreement(first_draws, second_draws, train_rows=80, test_rows=20)
    ratio = (overlapping.high - overlapping.low) / (independent.high - independent.low)
    assert ratio == pytest.approx(math.sqrt(1 + 5 * 20 / 80))
    assert overlapping.gap == independent.gap


def test_few_splits_leave_open_what_they_cannot_tell():
    single = agreement([[3, 2, 1]], [[1, 2, 3]])
    assert single.value == -1
    assert single.differs is None
    assert math.isnan(single.ceiling)
    two = agreement([[3, 2, 1]] * 2, [[1, 2, 3]] * 2)
    assert two.ceiling == 1
    assert two.differs is None
    hopeless = agreement([[3, 2, 1], [1, 2, 3], [3, 2, 1]], [[1, 2, 3]] * 3)
    assert hopeless.within[0] < 0
    assert math.isnan(hopeless.ceiling)
    assert hopeless.differs is None


def test_the_table_has_every_pair_and_measure():
    rng = np.random.default_rng(4)
    frame = agreement_table({name: rng.normal(size=(3, 6)) for name in "abc"})
    assert len(frame) == 3 * len(MEASURES)
    assert set(zip(frame["first"], frame["second"], strict=True)) == {
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    }
    assert agreement_table({}).empty
    assert [usual_k(n) for n in (1, 2, 9, 100)] == [1, 1, 4, 10]


def test_bad_input():
    with pytest.raises(InputError, match="1 of 2 importances are not finite"):
        strongest([1, np.nan], 1)
