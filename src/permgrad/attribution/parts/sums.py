"""What is left of a loss game over one part of a table: sums that merge, of a size that does not grow with rows.

``PairMoments`` keeps a number for each receiver, because a receiver may be a donor too. Where donors come from a
separate background it need not: the estimate asks only for sums over receivers, which are kept here class by class.
Sums of squares are kept about each class's own mean and moved when parts merge (Chan, Golub & LeVeque 1983), so that
a small spread of large effects is not lost in the rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.attribution.replace.importance import scale_of_shares
from permgrad.attribution.replace.moments import Floats, PairMoments, pair_noise, with_separate_donors
from permgrad.base.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class SummedMoments:
    """``PairMoments`` of a separate background, summed over the receivers of each class.

    Attributes:
        count: receivers ``(classes,)``.
        nonzero: receivers whose effects do not sum to exactly 0, ``(classes, quantities)``.
        weight, weight_squares: Σ w and Σ w² of receivers, where w is a receiver's weight over all its pairs.
        total: Σ of the receivers' sums of effects, ``(classes, quantities)``.
        spread: Σ (received − m w)², where m is the mean effect of the class.
        lean: Σ (received − m w) w.
        donor_sum ``(classes, quantities, donors)``, donor_weight ``(classes, donors)``; square_sum, square_cross
            ``(classes, quantities)`` and pair_weights ``(classes,)``: as in ``PairMoments``.
    """

    count: npt.NDArray[np.int64]
    nonzero: npt.NDArray[np.int64]
    weight: Floats
    weight_squares: Floats
    total: Floats
    spread: Floats
    lean: Floats
    donor_sum: Floats
    donor_weight: Floats
    square_sum: Floats
    square_cross: Floats
    pair_weights: Floats

    @classmethod
    def of(cls, moments: PairMoments) -> SummedMoments:
        """Sum over receivers.

        Raises:
            InputError: receivers are donors too, so that a receiver's own number is needed.
        """
        if moments.shared and moments.donor_weight.any():
            raise InputError(
                "sums over receivers need donors from a separate background, however: the rows explained are their own "
                "background; pass background="
            )
        member = moments.receiver_weight > 0
        group, weight = moments.receiver_class[member], moments.receiver_weight[member]
        received = moments.receiver_sum[:, member]
        donors = slice(0, 0) if moments.shared else slice(None)

        def by_class(values: npt.NDArray[Any]) -> Floats:
            return np.bincount(group, weights=values, minlength=moments.classes).astype(np.float64)

        def by_class_each(values: npt.NDArray[Any]) -> Floats:
            return np.stack([by_class(row) for row in values], axis=1)

        total, whole = by_class_each(received), by_class(weight)
        centred = received - _mean(total, whole)[group].T * weight
        return cls(
            count=by_class(np.ones(len(group))).astype(np.int64),
            nonzero=by_class_each(received != 0).astype(np.int64),
            weight=whole,
            weight_squares=by_class(weight**2),
            total=total,
            spread=by_class_each(centred**2),
            lean=by_class_each(centred * weight),
            donor_sum=moments.donor_sum[:, :, donors].copy(),
            donor_weight=moments.donor_weight[:, donors].copy(),
            square_sum=moments.square_sum.copy(),
            square_cross=moments.square_cross.copy(),
            pair_weights=moments.weight_squares.copy(),
        )

    def merge(self, other: SummedMoments) -> SummedMoments:
        """Add another part's sums to these, in place, and return self.

        Raises:
            InputError: the parts are not of one explanation.
        """
        for name in _ALL:
            own, more = getattr(self, name).shape, getattr(other, name).shape
            if own != more:
                raise InputError(
                    "the sums of two parts must describe the same donors, classes and quantities, however: their "
                    f"{name} are {own} and {more}; begin anew with --overwrite (overwrite=True)"
                )
        mean = _mean(self.total + other.total, self.weight + other.weight)
        spread, lean = self._about(mean)
        more_spread, more_lean = other._about(mean)
        self.spread[...], self.lean[...] = spread + more_spread, lean + more_lean
        for name in _ADDED:
            getattr(self, name)[...] += getattr(other, name)
        return self

    def _about(self, mean: Floats) -> tuple[Floats, Floats]:
        """Return spread and lean about another mean of each class, ``(classes, quantities)``."""
        squares = self.weight_squares[:, None]
        moved = np.where(squares > 0, mean - _mean(self.total, self.weight), 0.0)
        return self.spread - 2 * moved * self.lean + moved**2 * squares, self.lean - moved * squares

    def estimate(self, group: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Return mean, standard error and effective number of rows: what ``PairMoments.estimate`` returns."""
        chosen = slice(None) if group is None else slice(group, group + 1)
        quantities = self.total.shape[1]
        weight, count = float(self.weight[chosen].sum()), int(self.count[chosen].sum())
        if weight <= 0:
            missing = np.full(quantities, np.nan)
            return missing, missing.copy(), np.zeros(quantities)
        size = weight**2 / float(self.weight_squares[chosen].sum())
        mean: Floats = self.total[chosen].sum(axis=0) / weight
        if count < 2 or size <= 1:
            zero = (self.square_sum[chosen].sum(axis=0) == 0) & (self.nonzero[chosen].sum(axis=0) == 0)
            return mean, np.where(zero, 0.0, np.nan), np.full(quantities, size)
        spread = self._about(np.broadcast_to(mean, self.total.shape))[0][chosen].sum(axis=0)
        of_receivers = np.maximum(spread, 0.0) * size / (size - 1)
        by_donor = self.donor_sum[chosen].sum(axis=0) - mean[:, None] * self.donor_weight[chosen].sum(axis=0)
        noise = pair_noise(
            mean,
            self.square_sum[chosen].sum(axis=0),
            self.square_cross[chosen].sum(axis=0),
            self.pair_weights[chosen].sum(),
        )
        variance, effective = with_separate_donors(of_receivers, size, by_donor, noise)
        return mean, np.sqrt(variance) / weight, effective


_ADDED = (
    "count",
    "nonzero",
    "weight",
    "weight_squares",
    "total",
    "donor_sum",
    "donor_weight",
    "square_sum",
    "square_cross",
    "pair_weights",
)
_ALL = (*_ADDED, "spread", "lean")


def _mean(total: Floats, weight: Floats) -> Floats:
    """Return the mean of each class, 0 where it has no rows, ``(classes, quantities)``."""
    return np.divide(total, weight[:, None], out=np.zeros_like(total), where=weight[:, None] > 0)


def pack(moments: Mapping[str, SummedMoments], prefix: str) -> Arrays:
    """Return the sums of several players as arrays, players first; nothing for no players."""
    if not moments:
        return {}
    return {f"{prefix}/{name}": np.stack([getattr(one, name) for one in moments.values()]) for name in _ALL}


def merge_all(into: dict[str, SummedMoments], more: Mapping[str, SummedMoments]) -> None:
    """Add the sums of several players to those that are there, in place."""
    for name, own in more.items():
        into[name] = into[name].merge(own) if name in into else own


def unpack(arrays: Mapping[str, npt.NDArray[Any]], players: Sequence[str], prefix: str) -> dict[str, SummedMoments]:
    """Return what ``pack`` was given: the sums of ``players`` in their order."""
    if f"{prefix}/count" not in arrays:
        return {}
    return {
        player: SummedMoments(**{name: arrays[f"{prefix}/{name}"][place].copy() for name in _ALL})
        for place, player in enumerate(players)
    }


def _merged(
    weight: Any, mean: Floats, spread: Floats, other_weight: Any, other_mean: Floats, other_spread: Floats
) -> tuple[Any, Floats, Floats]:
    """Return weight, mean and Σ w (value − mean)² of two samples together (Chan, Golub & LeVeque 1983)."""
    whole = weight + other_weight
    apart = other_mean - mean
    return (
        whole,
        mean + apart * (other_weight / whole),
        spread + other_spread + apart**2 * (weight * other_weight / whole),
    )


@dataclass
class TargetSums:
    """Sums over the targets of the rows explained, from which the loss scale follows.

    Attributes:
        weight: of the rows of each class ``(classes,)``; for a regression of all rows ``(1,)``.
        mean, spread: of a regression's target: Σ w y / Σ w and Σ w (y − mean)², ``(1,)``; zeros for classes.
    """

    weight: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, y: npt.NDArray[Any], classes: int, weights: Floats | None = None) -> TargetSums:
        """Sum over rows; ``classes`` is 0 for a regression."""
        if classes:
            counted = np.bincount(np.asarray(y, dtype=np.int64), weights=weights, minlength=classes)
            return cls(counted.astype(np.float64), np.zeros(1), np.zeros(1))
        weight = np.ones(len(y)) if weights is None else weights
        mean = np.average(y, weights=weight)
        return cls(np.array([weight.sum()]), np.array([mean]), np.array([(weight * (y - mean) ** 2).sum()]))

    def merge(self, other: TargetSums) -> TargetSums:
        """Add another part's sums to these, in place, and return self."""
        if len(self.weight) > 1:
            self.weight = self.weight + other.weight
        else:
            self.weight, self.mean, self.spread = _merged(
                self.weight, self.mean, self.spread, other.weight, other.mean, other.spread
            )
        return self

    def scale(self, loss: str) -> float:
        """Return the mean loss of the constant predictor; NaN for the absolute error, which needs a median."""
        if loss == "squared_error":
            return float(self.spread[0] / self.weight[0])
        if loss == "absolute_error":
            return float("nan")
        return scale_of_shares(self.weight / self.weight.sum(), loss)


@dataclass
class ValueSums:
    """Sums over rows of the absolute values of a local explanation: their mean and its standard error follow.

    Attributes:
        count: rows ``(1,)``.
        mean, spread: of each player and output: mean |value|, and Σ (|value| − mean)².
    """

    count: npt.NDArray[np.int64]
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats) -> ValueSums:
        """Sum over rows; ``values`` is ``(rows, players, outputs)`` with at least one row."""
        size = np.abs(values)
        mean = size.mean(axis=0)
        return cls(np.array([len(values)]), mean, ((size - mean) ** 2).sum(axis=0))

    def merge(self, other: ValueSums) -> ValueSums:
        """Add another part's sums to these, in place, and return self."""
        self.count, self.mean, self.spread = _merged(
            self.count, self.mean, self.spread, other.count, other.mean, other.spread
        )
        return self

    def std(self) -> Floats:
        """Return the standard error of the mean over rows, NaN for a single row."""
        count = int(self.count[0])
        if count < 2:
            return np.full(self.mean.shape, np.nan)
        return np.sqrt(self.spread / (count - 1) / count)
