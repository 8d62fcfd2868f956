"""The accumulator behind every global importance, against the same formulas written
slowly, and against simulation.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from explaining import donor_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from permgrad.attribution.explanation.statistics import interval, two_parts
from permgrad.attribution.replace.moments import NO_DONOR, PairMoments


def slow_estimate(rows, donors, effects, weights, members, shared, donor_count):
    """Mean and variance of one quantity, straight from the definition: loops over rows,
    donors and pairs.

    ``members`` are the rows of the class asked for; pairs of other receivers do not
    count.
    """
    pairs = [k for k in range(len(rows)) if rows[k] in members and weights[rows[k]] > 0]
    receivers = sorted({rows[k] for k in pairs})
    total = sum(weights[rows[k]] for k in pairs)
    mean = sum(weights[rows[k]] * effects[k] for k in pairs) / total
    residual = {k: weights[rows[k]] * (effects[k] - mean) for k in pairs}
    by_receiver = {
        i: sum(residual[k] for k in pairs if rows[k] == i) for i in receivers
    }
    by_donor = {
        d: sum(residual[k] for k in pairs if donors[k] == d) for d in range(donor_count)
    }
    noise = sum(residual[k] ** 2 for k in pairs if donors[k] != NO_DONOR)
    per_row = {
        i: sum(weights[rows[k]] for k in pairs if rows[k] == i) for i in receivers
    }
    size = total**2 / sum(w**2 for w in per_row.values())
    if shared:
        everyone = set(receivers) | set(range(donor_count))
        score = sum(
            (by_receiver.get(i, 0.0) + by_donor.get(i, 0.0)) ** 2 for i in everyone
        )
        variance = max(score - noise, 0.1 * noise) * size / (size - 1)
    else:
        of_donors = (
            sum(s**2 for s in by_donor.values()) * donor_count / max(donor_count - 1, 1)
            - noise
        )
        variance = sum(s**2 for s in by_receiver.values()) * size / (size - 1) + max(
            of_donors, 0.0
        )
    return mean, math.sqrt(variance) / total


def random_pairs(
    rng, *, receivers=30, donors=30, repeats=3, classes=3, shared=True, quantities=2
):
    rows = np.tile(np.arange(receivers), repeats)
    drawn = np.concatenate(
        [
            donor_rows(
                int(rng.integers(99)),
                "x",
                r,
                np.arange(receivers),
                donors,
                shared=shared,
            )
            for r in range(repeats)
        ]
    )
    return {
        "rows": rows,
        "donors": drawn,
        "effects": rng.normal(size=(len(rows), quantities))
        + rng.normal(size=receivers)[rows, None]
        + 0.3,
        "classes": rng.integers(0, classes, size=receivers),
        "weights": rng.exponential(size=receivers),
    }


def filled(pairs, *, shared, donors, receivers, classes=3, chosen=slice(None)):
    moments = PairMoments(receivers, donors, shared, classes, pairs["effects"].shape[1])
    rows = pairs["rows"][chosen]
    moments.add(
        rows,
        pairs["donors"][chosen],
        pairs["effects"][chosen],
        classes=pairs["classes"][rows],
        weights=pairs["weights"][rows],
    )
    return moments


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("group", [None, 0, 2])
@pytest.mark.parametrize("equal_weights", [True, False])
def test_equals_the_slow_two_way_formula(shared, group, equal_weights):
    rng = np.random.default_rng(3)
    donors = 30 if shared else 12
    pairs = random_pairs(rng, donors=donors, shared=shared)
    if equal_weights:
        pairs["weights"] = np.ones(30)
    pairs["weights"][4] = 0.0
    pairs["donors"][7] = NO_DONOR
    mean, std, _ = filled(pairs, shared=shared, donors=donors, receivers=30).estimate(
        group
    )
    members = (
        set(range(30))
        if group is None
        else set(np.flatnonzero(pairs["classes"] == group))
    )
    assert len(members) > 5
    for quantity in range(2):
        effects = pairs["effects"][:, quantity]
        slow = slow_estimate(
            pairs["rows"],
            pairs["donors"],
            effects,
            pairs["weights"],
            members,
            shared,
            donors,
        )
        np.testing.assert_allclose((mean[quantity], std[quantity]), slow, rtol=1e-12)


def test_donors_count_as_in_the_textbook_two_sample_u_statistic():
    # All pairs of two samples, h = a_i + b_d: the variance of the mean is known from
    # either sample alone.
    rng = np.random.default_rng(0)
    a = rng.normal(size=40)
    b = rng.normal(size=25)
    rows, donors = (
        grid.ravel()
        for grid in np.meshgrid(np.arange(40), np.arange(25), indexing="ij")
    )
    moments = PairMoments(40, 25, False, 1, 1)
    moments.add(rows, donors, (a[rows] + b[donors])[:, None])
    mean, std, _ = moments.estimate()
    assert mean[0] == pytest.approx(a.mean() + b.mean())
    expected_variance = a.var(ddof=1) / 40 + b.var(ddof=1) / 25
    # The pairs' noise, taken off, is Σ (h − θ)²/(nm)²: of order 1/(nm).
    noise = (a.var() + b.var()) / (40 * 25)
    assert std[0] ** 2 == pytest.approx(expected_variance - noise, rel=1e-9)


def test_one_sided_pairs_give_the_standard_error_of_a_mean():
    effects = np.random.default_rng(1).normal(size=50)
    moments = PairMoments(50, 50, True, 1, 1)
    moments.add(np.arange(50), np.full(50, NO_DONOR), effects[:, None])
    mean, std, count = moments.estimate()
    assert mean[0] == pytest.approx(effects.mean())
    assert std[0] == pytest.approx(effects.std(ddof=1) / np.sqrt(50))
    ends = sorted(count[:, 0])
    assert ends[1] == 50
    assert ends[0] == pytest.approx(1 + 50 / (1 + 3 * max(stats.kurtosis(effects), 0)))


@given(cut=st.integers(0, 90), seed=st.integers(0, 50), shared=st.booleans())
@settings(max_examples=40, deadline=None)
def test_partitions_merge_to_one_pass(cut, seed, shared):
    rng = np.random.default_rng(seed)
    donors = 30 if shared else 11
    pairs = random_pairs(rng, donors=donors, shared=shared)
    full_moments = filled(pairs, shared=shared, donors=donors, receivers=30)
    order = rng.permutation(90)
    piece_moments = [
        filled(pairs, shared=shared, donors=donors, receivers=30, chosen=piece)
        for piece in (order[:cut], order[cut:])
    ]
    merged = piece_moments[1].merge(piece_moments[0])
    again = PairMoments.from_arrays(merged.to_arrays())
    assert merged.pairs == full_moments.pairs == again.pairs == 90
    for group in (None, 0, 1, 2):
        for expected, got, stored in zip(
            full_moments.estimate(group),
            merged.estimate(group),
            again.estimate(group),
            strict=True,
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(stored, got)


@given(seed=st.integers(0, 50), factor=st.floats(1e-6, 1e6), shared=st.booleans())
@settings(max_examples=40, deadline=None)
def test_units_and_weights_scale_through(seed, factor, shared):
    pairs = random_pairs(np.random.default_rng(seed), shared=shared)
    mean, std, size = filled(pairs, shared=shared, donors=30, receivers=30).estimate()
    scaled = {
        **pairs,
        "effects": pairs["effects"] * factor,
        "weights": pairs["weights"] * 7.0,
    }
    new_mean, new_std, new_size = filled(
        scaled, shared=shared, donors=30, receivers=30
    ).estimate()
    np.testing.assert_allclose(new_mean, mean * factor, rtol=1e-8)
    np.testing.assert_allclose(new_std, std * factor, rtol=1e-6)
    np.testing.assert_allclose(new_size, size, rtol=1e-6)


@given(seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_the_overall_mean_is_the_weighted_mean_of_the_classes(seed):
    pairs = random_pairs(np.random.default_rng(seed))
    moments = filled(pairs, shared=True, donors=30, receivers=30)
    shares = np.array([pairs["weights"][pairs["classes"] == k].sum() for k in range(3)])
    means = np.array([moments.estimate(k)[0] for k in range(3)])
    present = shares > 0
    np.testing.assert_allclose(
        moments.estimate()[0],
        (means[present] * shares[present, None]).sum(axis=0) / shares.sum(),
        rtol=1e-9,
    )


def simulated(
    kernel, *, rows=120, repeats=4, donors=None, rare=None, draws=400, seed=0
):
    """Return the spread of the mean over samples and the root mean square of its
    standard error.
    """
    rng = np.random.default_rng(seed)
    means = []
    errors = []
    for draw in range(draws):
        z = rng.normal(size=(rows, 2))
        donor_values = z if donors is None else rng.normal(size=(donors, 2))
        index = np.tile(np.arange(rows), repeats)
        donor_indices = np.concatenate(
            [
                donor_rows(
                    draw,
                    "x",
                    r,
                    np.arange(rows),
                    len(donor_values),
                    shared=donors is None,
                )
                for r in range(repeats)
            ]
        )
        classes = (
            np.zeros(rows, dtype=int)
            if rare is None
            else (rng.random(rows) < rare).astype(int)
        )
        moments = PairMoments(rows, len(donor_values), donors is None, 2, 1)
        moments.add(
            index,
            donor_indices,
            kernel(z[index], donor_values[donor_indices])[:, None],
            classes=classes[index],
        )
        mean, std, _ = moments.estimate(None if rare is None else 1)
        means.append(mean[0])
        errors.append(std[0])
    return np.std(means), np.sqrt(np.mean(np.square(errors)))


KERNELS = {
    "receiver only": lambda a, b: a[:, 0],
    "donor only": lambda a, b: b[:, 0],
    "pair noise only": lambda a, b: a[:, 0] * b[:, 1],
    "a squared difference": lambda a, b: (a[:, 0] - b[:, 0]) ** 2,
    "roles that cancel": lambda a, b: b[:, 0] - a[:, 0] + 0.5 * a[:, 1] * b[:, 1],
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "how",
    [{}, {"repeats": 1}, {"rare": 0.3}, {"donors": 80}, {"donors": 10}],
    ids=["shared", "one", "class", "80", "10"],
)
def test_standard_errors_match_the_spread_over_samples(name, how):
    spread, error = simulated(KERNELS[name], **how)
    # 400 samples fix the spread to 3.5 %; a separate sample of ten donors leaves a
    # little caution.
    assert 0.88 < error / spread < (1.30 if how.get("donors") == 10 else 1.15)


def test_rows_as_donors_matter():
    # The standard error over receivers alone, which this one replaces, misses the
    # donors' part.
    kernel = KERNELS["donor only"]
    spread, error = simulated(kernel, repeats=20, draws=200)
    naive = np.sqrt(1 / (120 * 20))
    assert naive < 0.5 * spread
    assert error == pytest.approx(spread, rel=0.15)


def test_a_single_background_row_is_a_fixed_reference():
    # Every pair has the same donor: what is left is the spread over receivers, not a
    # tenth of it.
    effects = np.random.default_rng(2).normal(size=60)
    moments = PairMoments(60, 1, False, 1, 1)
    for _ in range(3):
        moments.add(np.arange(60), np.zeros(60, dtype=int), effects[:, None])
    mean, std, count = moments.estimate()
    assert std[0] == pytest.approx(effects.std(ddof=1) / np.sqrt(60))
    assert count[0] == pytest.approx(60)
    assert mean[0] == pytest.approx(effects.mean())


def test_few_donors_leave_few_degrees_of_freedom():
    rng = np.random.default_rng(4)
    rows = np.tile(np.arange(500), 4)
    donors = rng.integers(0, 6, size=2000)
    moments = PairMoments(500, 6, False, 1, 2)
    moments.add(
        rows,
        donors,
        np.stack([rng.normal(size=6)[donors], rng.normal(size=500)[rows]], axis=1),
    )
    of_donors, of_receivers = moments.estimate()[2].max(axis=0)
    assert 5.5 < of_donors < 7
    assert of_receivers > 200


def test_exactly_zero_effects_are_certain():
    moments = PairMoments(10, 10, True, 2, 1)
    moments.add(
        np.arange(10),
        (np.arange(10) + 1) % 10,
        np.zeros((10, 1)),
        classes=np.array([0] * 9 + [1]),
    )
    for group in (None, 0, 1):
        mean, std, count = moments.estimate(group)
        low, high, p_value = interval(mean, std, count, 0.95)
        assert (mean[0], std[0], low[0], high[0], p_value[0]) == (0, 0, 0, 0, 1)


def test_undefined_is_nan():
    moments = PairMoments(10, 10, True, 3, 1)
    moments.add(
        np.arange(9), np.arange(1, 10), np.ones((9, 1)), classes=np.array([0] * 8 + [1])
    )
    mean, std, count = moments.estimate(1)  # one row: a mean, no spread
    assert mean[0] == 1
    assert np.isnan(std[0])
    mean, std, count = moments.estimate(2)  # no row
    assert np.isnan(mean[0])
    assert np.isnan(std[0])
    assert np.isnan(interval(mean, std, count, 0.95)[2][0])


@given(
    mean=st.floats(-1e3, 1e3),
    std_error=st.floats(1e-3, 1e3),
    count=st.integers(2, 2000),
    confidence=st.sampled_from([0.9, 0.95, 0.99]),
)
@settings(max_examples=100, deadline=None)
def test_p_values_agree_with_intervals(mean, std_error, count, confidence):
    low, high, p_value = interval(
        np.array([mean]), np.array([std_error]), count, confidence
    )
    assert (p_value[0] < 1 - confidence) == (low[0] > 0 or high[0] < 0)
    width = stats.t.ppf((1 + confidence) / 2, count - 1) * std_error
    np.testing.assert_allclose(
        (low[0], high[0]), (mean - width, mean + width), rtol=1e-12, atol=1e-12
    )


def test_a_single_receiver_or_donor_adds_no_variance_and_no_freedom():
    variance, effective = two_parts(np.array([0.0]), 1, np.array([2.0]), 5)
    assert (variance.tolist(), effective.tolist()) == ([2.0], [5.0])
    variance, effective = two_parts(np.array([2.0]), 5, np.array([0.0]), 1)
    assert (variance.tolist(), effective.tolist()) == ([2.0], [5.0])


def test_many_classes_take_the_memory_of_their_pairs_and_give_the_same_numbers() -> (
    None
):
    rng = np.random.default_rng(8)
    rows = 3000
    classes = 500
    label = rng.integers(0, classes, rows)
    effects = rng.normal(size=(rows, 1))
    round_pairs = []
    for row_order in (np.arange(rows), np.arange(rows)[::-1]):
        lent = rng.integers(0, rows, rows)
        round_pairs.append(
            (row_order, lent, effects + rng.normal(size=(rows, 1)), label[row_order])
        )

    def filled(pairs: list[tuple[np.ndarray, ...]], classes: int) -> PairMoments:
        moments = PairMoments(rows, rows, shared=True, classes=classes, quantities=1)
        for receivers, donors, values, group in pairs:
            moments.add(
                receivers, donors, values, classes=group if classes > 1 else None
            )
        return moments

    class_moments = filled(round_pairs, classes)
    assert (
        sum(array.nbytes for array in class_moments.to_arrays().values()) < 500_000
    )  # all donors of all classes: 24 MB
    for group in (0, 7, 499):
        class_pairs = [
            tuple(pair_array[round_arrays[3] == group] for pair_array in round_arrays)
            for round_arrays in round_pairs
        ]
        for estimated, expected in zip(
            class_moments.estimate(group),
            filled(class_pairs, 1).estimate(),
            strict=True,
        ):
            np.testing.assert_allclose(estimated, expected, rtol=1e-12)
    for estimated, expected in zip(
        class_moments.estimate(), filled(round_pairs, 1).estimate(), strict=True
    ):
        np.testing.assert_allclose(estimated, expected, rtol=1e-12)
    for order in (round_pairs, round_pairs[::-1]):
        merged = filled(order[:1], classes).merge(filled(order[1:], classes))
        again = PairMoments.from_arrays(merged.to_arrays())
        np.testing.assert_allclose(
            again.estimate(7)[1], class_moments.estimate(7)[1], rtol=1e-12
        )
