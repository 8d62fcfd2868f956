"""Sums that merge: split into parts in any way, they give what the moments of all pairs
give.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import permgrad as pg
from permgrad.attribution.parts.sums import RowSums, SummedMoments, pack, unpack
from permgrad.attribution.replace.game import loss_scale
from permgrad.attribution.replace.moments import NO_DONOR, PairMoments
from permgrad.data.tasks import CLASSIFICATION, REGRESSION


def filled(
    rng: np.random.Generator,
    rows: int,
    donors: int,
    classes: int,
    repeats: int,
    *,
    offset: float,
    weighted: bool,
) -> list[tuple[np.ndarray, ...]]:
    """Return pairs: rows, donors, effects of three quantities, classes, weights; one
    entry for each repeat.
    """
    group = rng.integers(0, classes, rows)
    weights = rng.choice([0.0, 0.5, 2.0], rows) if weighted else np.ones(rows)
    receiver_effects = rng.normal(size=(rows, 3))
    given_ = rng.normal(size=(donors, 3))
    pair_effects: list[tuple[np.ndarray, ...]] = []
    for _ in range(repeats):
        drawn = rng.integers(0, donors, rows)
        effects = (
            offset + receiver_effects + given_[drawn] + 0.1 * rng.normal(size=(rows, 3))
        )
        effects[:, 2] = 0.0 if offset == 0 else offset
        pair_effects.append((np.arange(rows), drawn, effects, group, weights))
    return pair_effects


def moments_of(
    pairs: list[tuple[np.ndarray, ...]],
    receivers: np.ndarray,
    donors: int,
    classes: int,
) -> PairMoments:
    """Return the moments of the chosen receivers, numbered anew."""
    moments = PairMoments(
        len(receivers), donors, shared=False, classes=classes, quantities=3
    )
    for _, drawn, effects, group, weights in pairs:
        moments.add(
            np.arange(len(receivers)),
            drawn[receivers],
            effects[receivers],
            classes=group[receivers],
            weights=weights[receivers],
        )
    return moments


@settings(max_examples=80, deadline=None)
@example(
    seed=207,
    sizes=[1, 1, 20, 30, 30],
    donors=8,
    classes=1,
    repeats=3,
    offset=0.0,
    weighted=True,
)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    donors=st.integers(1, 12),
    classes=st.integers(1, 4),
    repeats=st.integers(1, 4),
    offset=st.sampled_from([0.0, 1.0, -1e6]),
    weighted=st.booleans(),
)
def test_merged_parts_estimate_what_the_whole_estimates(
    seed: int,
    sizes: list[int],
    donors: int,
    classes: int,
    repeats: int,
    offset: float,
    *,
    weighted: bool,
) -> None:
    rng = np.random.default_rng(seed)
    rows = sum(sizes)
    pairs = filled(
        rng, rows, donors, classes, repeats, offset=offset, weighted=weighted
    )
    full_moments = moments_of(pairs, np.arange(rows), donors, classes)
    # Parts of any rows: of one class alone, of a class that is missing elsewhere.
    order = (
        np.argsort(pairs[0][3], kind="stable") if seed % 2 else rng.permutation(rows)
    )
    row_parts = np.split(order, np.cumsum(sizes)[:-1])
    merged = SummedMoments.of([moments_of(pairs, row_parts[0], donors, classes)])
    for row_part in row_parts[1:]:
        merged = merged.merge(
            SummedMoments.of([moments_of(pairs, row_part, donors, classes)])
        )
    scale = max(1.0, abs(offset))
    for group in (None, *range(classes)):
        expected = full_moments.estimate(group)
        estimated = merged.player(0).estimate(group)
        np.testing.assert_allclose(
            estimated[0], expected[0], rtol=1e-12, atol=1e-12 * scale
        )
        # The whole's own sums over donors round at the size of the effects: a spread
        # cannot be known better.
        np.testing.assert_allclose(
            estimated[1], expected[1], rtol=1e-7, atol=2e-9 * scale
        )
        if offset == 0:
            np.testing.assert_allclose(estimated[2], expected[2], rtol=1e-7)


def test_a_small_spread_of_large_effects_is_kept() -> None:
    """Sums of squares about 0 would lose it: 1e8² has no digits left for 1."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=4000)
    summed = None
    for noise_part in np.split(noise, 8):
        moments = PairMoments(len(noise_part), 1, shared=False, classes=1, quantities=1)
        moments.add(
            np.arange(len(noise_part)),
            np.full(len(noise_part), NO_DONOR),
            1e8 + noise_part[:, None],
        )
        part_moments = SummedMoments.of([moments])
        summed = part_moments if summed is None else summed.merge(part_moments)
    assert summed is not None
    mean, std, count = summed.player(0).estimate()
    assert mean[0] == pytest.approx(1e8 + noise.mean(), rel=1e-15)
    assert std[0] == pytest.approx(noise.std(ddof=1) / np.sqrt(4000), rel=1e-6)
    assert count.max() == pytest.approx(4000)


def test_fixed_values_have_no_donors() -> None:
    """Ablation's moments are shared, but no pair has a donor: the estimate is that of a
    mean over rows.
    """
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(50, 1))
    moments = PairMoments(50, 50, shared=True, classes=1, quantities=1)
    moments.add(np.arange(50), np.full(50, NO_DONOR), effects)
    summed = SummedMoments.of([moments]).player(0)
    assert summed.donor_sum.shape == (1, 1, 0)
    for estimated, expected in zip(summed.estimate(), moments.estimate(), strict=True):
        np.testing.assert_allclose(estimated, expected, rtol=1e-12)


def test_rows_that_are_their_own_background_are_refused() -> None:
    moments = PairMoments(4, 4, shared=True, classes=1, quantities=1)
    moments.add(np.arange(4), np.array([1, 2, 3, 0]), np.ones((4, 1)))
    with pytest.raises(
        pg.InputError,
        match=r"need donors from a separate background\. Pass background=",
    ):
        SummedMoments.of([moments])


def test_parts_of_different_explanations_are_not_merged() -> None:
    rng = np.random.default_rng(5)

    def summed(donors: int, classes: int) -> SummedMoments:
        pairs = filled(rng, 20, donors, classes, 2, offset=1.0, weighted=False)
        return SummedMoments.of([moments_of(pairs, np.arange(20), donors, classes)])

    assert summed(5, 2).merge(summed(5, 2)).count.sum() == 40
    with pytest.raises(
        pg.InputError,
        match=r"their donor_sum are \(1, 2, 3, 5\) and \(1, 2, 3, 6\)\. Start again",
    ):
        summed(5, 2).merge(summed(6, 2))
    with pytest.raises(
        pg.InputError, match=r"their count are \(1, 2\) and \(1, 1\)\. Start again"
    ):
        summed(5, 2).merge(summed(5, 1))


def test_packing_keeps_every_number() -> None:
    pairs = filled(np.random.default_rng(3), 20, 5, 2, 2, offset=1.0, weighted=True)
    players = [moments_of(pairs, np.arange(rows), 5, 2) for rows in (20, 10)]
    sums = {
        "effects": SummedMoments.of(players),
        "values": RowSums.of(np.arange(6.0).reshape(2, 3)),
    }
    unpacked_sums = unpack(pack(sums))
    for player_index, player in enumerate(players):
        expected = SummedMoments.of([player]).player(0).estimate()
        for estimated, expected_estimate in zip(
            unpacked_sums["effects"].player(player_index).estimate(),
            expected,
            strict=True,
        ):
            np.testing.assert_array_equal(estimated, expected_estimate)
    np.testing.assert_array_equal(unpacked_sums["values"].mean, [1.5, 2.5, 3.5])
    assert unpack(pack({})) == {}


class _Request:
    """What ``loss_scale`` reads of a request."""

    def __init__(self, y: np.ndarray, weights: np.ndarray | None, loss: str) -> None:
        self.y = y
        self.sample_weight = weights
        self.loss = loss
        self.subject = self
        self.outputs = self
        self.loss_columns = ()
        self.task = REGRESSION if loss == "squared_error" else CLASSIFICATION


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "loss", ["cross_entropy", "brier", "zero_one", "squared_error"]
)
def test_the_loss_scale_merges(loss: str, *, weighted: bool) -> None:
    rng = np.random.default_rng(5)
    classes = 0 if loss == "squared_error" else 3
    y = rng.normal(size=90) * 3 + 1e4 if classes == 0 else rng.integers(0, 3, 90)
    weights = rng.random(90) + 0.1 if weighted else None
    expected = loss_scale(_Request(y, weights, loss))  # type: ignore[arg-type]
    merged = None
    for rows in np.split(np.arange(90), [20, 21, 60]):
        part_sums = RowSums.of_targets(
            y[rows], classes, None if weights is None else weights[rows]
        )
        merged = part_sums if merged is None else merged.merge(part_sums)
    assert merged is not None
    assert expected > 0
    assert merged.scale(loss) == pytest.approx(expected, rel=1e-10)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_absolute_values_merge(sizes: list[int]) -> None:
    values = np.random.default_rng(7).normal(size=(sum(sizes), 3, 2))
    merged = None
    for values_part in np.split(values, np.cumsum(sizes)[:-1]):
        part_sums = RowSums.of(np.abs(values_part))
        merged = part_sums if merged is None else merged.merge(part_sums)
    assert merged is not None
    np.testing.assert_allclose(merged.mean, np.abs(values).mean(axis=0), rtol=1e-12)
    if len(values) > 1:
        expected = np.abs(values).std(axis=0, ddof=1) / np.sqrt(len(values))
        np.testing.assert_allclose(merged.std(), expected, rtol=1e-9)
    else:
        assert np.isnan(merged.std()).all()
