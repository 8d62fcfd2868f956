"""Mergeable sums over (receiver, donor) pairs, and the mean, standard error and interval they give.

An importance is a two-sample U-statistic: the mean over receivers i and donors d(i, r) of an effect h(i, d). Every row is a
receiver and, unless the background is a separate sample, also a donor. With θ the mean and

    S_i = Σ_r (h(i, d(i, r)) − θ) + Σ_{pairs whose donor is i} (h − θ)

the variance of θ is (Σ_i S_i² − Σ_pairs (h − θ)²) / (number of pairs)²: the first sum holds the projections of a row in both of
its roles with their covariance, and counts each pair's own noise twice, the second takes it off once (the two-way clustered
variance of Cameron, Gelbach & Miller 2011, applied to an incomplete U-statistic, Hoeffding 1948).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError

Floats = npt.NDArray[np.float64]
NO_DONOR = -1


@dataclass
class PairMoments:
    """Sums over pairs for one player; all float64, all additive, so that partitions of the pairs may be merged in any order.

    Args:
        receivers: number of rows explained.
        donors: number of background rows.
        shared: whether donor k and receiver k are the same row.
        classes: number of classes of receivers (1 where there are none).
        quantities: number of effects kept side by side (for example total, tabular, image, interaction).

    Shape:
        receiver_sum ``(quantities, receivers)``, receiver_weight ``(receivers,)``, receiver_class ``(receivers,)``;
        donor_sum ``(classes, quantities, donors)``, donor_weight ``(classes, donors)``;
        squares: per class and quantity Σ w² h², Σ w² h; weight_squares per class Σ w².
    """

    receivers: int
    donors: int
    shared: bool
    classes: int
    quantities: int

    def __post_init__(self) -> None:
        self.receiver_sum = np.zeros((self.quantities, self.receivers))
        self.receiver_weight = np.zeros(self.receivers)
        self.receiver_class = np.zeros(self.receivers, dtype=np.int64)
        self.donor_sum = np.zeros((self.classes, self.quantities, self.donors))
        self.donor_weight = np.zeros((self.classes, self.donors))
        self.square_sum = np.zeros((self.classes, self.quantities))
        self.square_cross = np.zeros((self.classes, self.quantities))
        self.weight_squares = np.zeros(self.classes)
        self.pairs = 0

    def add(
        self,
        rows: npt.NDArray[np.integer],
        donors: npt.NDArray[np.integer],
        effects: Floats,
        *,
        classes: npt.NDArray[np.integer] | None = None,
        weights: Floats | None = None,
    ) -> None:
        """Add pairs.

        Shape:
            rows ``(pairs,)``, donors ``(pairs,)`` (−1: a draw without a donor row), effects ``(pairs, quantities)``,
            classes ``(pairs,)`` of the receivers, weights ``(pairs,)`` of the receivers.
        """
        count = len(rows)
        weight = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
        group = np.zeros(count, dtype=np.int64) if classes is None else np.asarray(classes, dtype=np.int64)
        weighted = effects * weight[:, None]
        self.receiver_class[rows] = group
        self.receiver_weight += np.bincount(rows, weights=weight, minlength=self.receivers)
        has_donor = donors >= 0
        flat = group[has_donor] * self.donors + donors[has_donor]
        size = self.classes * self.donors
        self.donor_weight += np.bincount(flat, weights=weight[has_donor], minlength=size).reshape(self.classes, -1)
        for quantity in range(self.quantities):
            column = weighted[:, quantity]
            self.receiver_sum[quantity] += np.bincount(rows, weights=column, minlength=self.receivers)
            donated = np.bincount(flat, weights=column[has_donor], minlength=size)
            self.donor_sum[:, quantity] += donated.reshape(self.classes, -1)
            # Only pairs with a donor are counted twice in S, so only their noise is taken off again.
            own, own_group = column[has_donor], group[has_donor]
            self.square_sum[:, quantity] += np.bincount(own_group, weights=own * own, minlength=self.classes)
            self.square_cross[:, quantity] += np.bincount(
                own_group, weights=own * weight[has_donor], minlength=self.classes
            )
        self.weight_squares += np.bincount(
            group[has_donor], weights=weight[has_donor] ** 2, minlength=self.classes
        )
        self.pairs += count

    def merge(self, other: PairMoments) -> PairMoments:
        """Add another partition's sums to these, in place, and return self."""
        own = (self.receivers, self.donors, self.shared, self.classes, self.quantities)
        if own != (other.receivers, other.donors, other.shared, other.classes, other.quantities):
            raise InputError("moments can be merged only if they describe the same rows, donors and classes")
        newly_seen = (self.receiver_weight == 0) & (other.receiver_weight > 0)
        self.receiver_class[newly_seen] = other.receiver_class[newly_seen]
        for name in _SUMS:
            getattr(self, name)[...] += getattr(other, name)
        self.pairs += other.pairs
        return self

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as named arrays, to be stored or sent."""
        sizes = np.array([self.receivers, self.donors, int(self.shared), self.classes, self.quantities, self.pairs])
        return {"sizes": sizes, "receiver_class": self.receiver_class, **{name: getattr(self, name) for name in _SUMS}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PairMoments:
        """Build from what ``to_arrays`` gave."""
        receivers, donors, shared, classes, quantities, pairs = (int(size) for size in arrays["sizes"])
        moments = cls(receivers, donors, bool(shared), classes, quantities)
        moments.pairs = pairs
        moments.receiver_class[...] = arrays["receiver_class"]
        for name in _SUMS:
            getattr(moments, name)[...] = arrays[name]
        return moments

    def estimate(self, group: int | None = None) -> tuple[Floats, Floats, int]:
        """Return mean, standard error and number of receivers, over all rows or over one class of receivers.

        Shape:
            mean ``(quantities,)``, standard error ``(quantities,)``; NaN where undefined.
        """
        member = (self.receiver_weight > 0) & (True if group is None else self.receiver_class == group)
        count = int(member.sum())
        total = float(self.receiver_weight[member].sum())
        if count == 0 or total <= 0:
            return np.full(self.quantities, np.nan), np.full(self.quantities, np.nan), count
        chosen = slice(None) if group is None else slice(group, group + 1)
        received = np.where(member, self.receiver_sum, 0.0)
        mean = received.sum(axis=1) / total
        if count < 2:
            return mean, np.where(self._always_zero(chosen, received), 0.0, np.nan), count
        centred_receiver = received - mean[:, None] * np.where(member, self.receiver_weight, 0.0)
        centred_donor = self.donor_sum[chosen].sum(axis=0) - mean[:, None] * self.donor_weight[chosen].sum(axis=0)
        if self.shared:
            score = ((centred_receiver + centred_donor) ** 2).sum(axis=1)
        else:
            score = (centred_receiver**2).sum(axis=1) + (centred_donor**2).sum(axis=1)
        noise = (
            self.square_sum[chosen].sum(axis=0)
            - 2 * mean * self.square_cross[chosen].sum(axis=0)
            + mean**2 * self.weight_squares[chosen].sum()
        )
        # The difference can dip below any honest value in small samples; a tenth of the pair noise is the floor.
        variance = np.maximum(score - noise, 0.1 * noise) / total**2 * (count / (count - 1))
        return mean, np.sqrt(np.maximum(variance, 0.0)), count

    def _always_zero(self, chosen: slice, received: Floats) -> npt.NDArray[np.bool_]:
        return (self.square_sum[chosen].sum(axis=0) == 0) & (received == 0).all(axis=1)


_SUMS = (
    "receiver_sum",
    "receiver_weight",
    "donor_sum",
    "donor_weight",
    "square_sum",
    "square_cross",
    "weight_squares",
)


def interval(
    mean: Floats, std: Floats, count: npt.ArrayLike, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Return both ends of the confidence interval and the two-sided p-value that agrees with it.

    Student's t with ``count − 1`` degrees of freedom. A mean of exactly 0 with standard error 0 gets p = 1.

    Examples:
        >>> low, high, p = interval(np.array([1.0]), np.array([0.5]), 101, 0.95)
        >>> bool(low[0] > 0) == bool(p[0] < 0.05)
        True
    """
    from scipy import stats

    freedom = np.maximum(np.asarray(count, dtype=np.float64) - 1, 1)
    width = stats.t.ppf(0.5 + confidence / 2, freedom) * std
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * stats.t.sf(np.abs(mean) / std, freedom)
    p_values = np.where((std == 0) & (mean == 0), 1.0, p_values)
    return mean - width, mean + width, p_values
