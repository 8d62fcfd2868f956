"""Sums over one part of a table, which merge and whose size does not grow with rows.

Sums of squares are kept about the mean and moved when parts merge (Chan, Golub & LeVeque 1983): a small spread of large
effects is not lost in rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import comb
from typing import Any

import numpy as np

from permgrad.attribution.explanation.statistics import (
    FEWEST_UNITS,
    freedom_of_ends,
    with_donors,
)
from permgrad.attribution.replace.game import scale_of_shares
from permgrad.attribution.replace.moments import PairMoments, within_rows
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import InputError
from permgrad.models.losses import FITS

Arrays = dict[str, Array]


@dataclass(frozen=True)
class SummedMoments:
    """``PairMoments`` of a separate background, summed over the receivers of each class (players first if several).

    For receivers ``(classes,)``: their count, Σ w and Σ w², where w is a receiver's weight over all its pairs. For
    their sums of effects ``(classes, quantities)``: how many are not 0, Σ, spread Σ (received − m w)² and lean
    Σ (received − m w) w, where m is the mean effect of the class. ``cubes (classes, quantities, 4)`` are
    Σ (received − m w)^(3 − k) w^k for k = 0 … 3, and ``powers (classes, quantities, 5)`` those of degree 4. The others
    are as in ``PairMoments``.
    """

    count: Integers
    nonzero: Integers
    weight: Floats
    weight_squares: Floats
    total: Floats
    spread: Floats
    lean: Floats
    cubes: Floats
    powers: Floats
    donor_sum: Floats
    donor_weight: Floats
    square_sum: Floats
    square_cross: Floats
    pair_weights: Floats
    squares: Floats

    @classmethod
    def of(cls, players: Iterable[PairMoments]) -> SummedMoments:
        """Return sums over receivers. ``InputError``: they are donors too, so that each one's number is needed."""
        return cls.stacked([cls(*_over_receivers(player)) for player in players])

    @classmethod
    def stacked(cls, players: Sequence[SummedMoments]) -> SummedMoments:
        """Return the sums of several players."""
        names = [one.name for one in fields(cls)]
        return cls(
            **{
                name: np.stack([getattr(player, name) for player in players])
                for name in names
            }
        )

    def player(self, place: int) -> SummedMoments:
        """Return the sums of one of several players."""
        return SummedMoments(
            **{name: array[place] for name, array in vars(self).items()}
        )

    def merge(self, other: SummedMoments) -> SummedMoments:
        """Return the sums over two parts. ``InputError``: they belong to different explanations."""
        for name, array in vars(self).items():
            if array.shape != (further := getattr(other, name)).shape:
                problem = (
                    "Two parts have different donors, classes or quantities: their "
                    f"{name} are {array.shape} and {further.shape}"
                )
                raise InputError(
                    problem,
                    hint="Start again with --overwrite, or remove the folder",
                    code="PG052",
                )
        mean = _mean(self.total + other.total, self.weight + other.weight)
        one, two = self.about(mean), other.about(mean)
        return SummedMoments(
            **{name: array + getattr(two, name) for name, array in vars(one).items()}
        )

    def about(self, mean: Floats) -> SummedMoments:
        """Return the sums with spread and lean about another mean of each class, ``(classes, quantities)``."""
        squares = self.weight_squares[..., None]
        moved = np.where(squares > 0, mean - _mean(self.total, self.weight), 0.0)
        spread = self.spread - 2 * moved * self.lean + moved**2 * squares
        cubes, powers = _moved(self.cubes, moved), _moved(self.powers, moved)
        return replace(
            self,
            spread=spread,
            lean=self.lean - moved * squares,
            cubes=cubes,
            powers=powers,
        )

    def estimate(self, group: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Return one player's mean, standard error and effective number of rows, as ``PairMoments.estimate`` does."""
        chosen = slice(None) if group is None else slice(group, group + 1)
        one = {name: array[chosen].sum(axis=0) for name, array in vars(self).items()}
        weight, quantities = float(one["weight"]), self.total.shape[1]
        if weight <= 0:
            missing = np.full(quantities, np.nan)
            return missing, missing.copy(), np.ones((2, quantities))
        size = weight**2 / float(one["weight_squares"])
        mean: Floats = one["total"] / weight
        if one["count"] < FEWEST_UNITS or size <= 1 + 1e-9:
            zero = (one["square_sum"] == 0) & (one["nonzero"] == 0)
            return mean, np.where(zero, 0.0, np.nan), np.ones((2, quantities))
        about = self.about(np.broadcast_to(mean, self.total.shape))
        spread, cubes, fourths = (
            values[chosen].sum(axis=0)
            for values in (about.spread, about.cubes[..., 0], about.powers[..., 0])
        )
        by_donor = one["donor_sum"] - mean[:, None] * one["donor_weight"]
        noise = np.maximum(
            one["square_sum"]
            - 2 * mean * one["square_cross"]
            + mean**2 * one["pair_weights"],
            0.0,
        )
        of_receivers = np.maximum(spread, 0.0) * size / (size - 1)
        received = (
            freedom_of_ends(
                np.maximum(spread, 0.0), cubes, np.maximum(fourths, 0.0), size
            )
            + 1
        )
        variance, effective = with_donors(of_receivers, received, by_donor, noise)
        return mean, np.sqrt(variance) / weight, effective

    def noise_of_draws(self, repeats: int) -> Floats:
        """Return the part of each mean's variance that further donors make smaller, as ``PairMoments`` does."""
        received = np.maximum(
            self.about(np.zeros_like(self.total)).spread.sum(axis=0), 0.0
        )
        return within_rows(
            self.squares.sum(axis=0), received, float(self.weight.sum()), repeats
        )


def _over_receivers(moments: PairMoments) -> tuple[Array, ...]:
    """Return the fields of ``SummedMoments`` for one player."""
    if moments.shared and moments.donor_weight.any():
        raise InputError(
            "Rows in parts need donors from a separate background",
            hint="Pass background=",
            code="PG038",
        )
    member = moments.receiver_weight > 0
    group, weight = moments.receiver_class[member], moments.receiver_weight[member]
    received = moments.receiver_sum[:, member]
    donors = slice(0, 0) if moments.shared else slice(None)

    def by_class(values: Array) -> Floats:
        rows = [
            np.bincount(group, weights=row, minlength=moments.classes)
            for row in np.atleast_2d(values)
        ]
        return np.stack(rows, axis=1).astype(np.float64)

    lent = [moments.of_donors(group) for group in range(moments.classes)]
    total, by_weight, counts = (
        by_class(received),
        by_class(weight)[:, 0],
        by_class(np.ones(len(group)))[:, 0],
    )
    centred = received - _mean(total, by_weight)[group].T * weight
    return (
        counts.astype(np.int64),
        by_class(received != 0).astype(np.int64),
        by_weight,
        by_class(weight**2)[:, 0],
        total,
        by_class(centred**2),
        by_class(centred * weight),
        *(
            np.stack(
                [by_class(centred ** (n - k) * weight**k) for k in range(n + 1)],
                axis=-1,
            )
            for n in (3, 4)
        ),
        np.stack([sums for sums, _ in lent])[:, :, donors],
        np.stack([weights for _, weights in lent])[:, donors],
        moments.square_sum,
        moments.square_cross,
        moments.weight_squares,
        moments.squares,
    )


def _moved(sums: Floats, moved: Floats) -> Floats:
    """Return Σ (score − moved w)^(n − k) w^k for k = 0 … n from the same sums with moved 0, ``(*, n + 1)``."""
    result, degree = sums.copy(), sums.shape[-1] - 1
    for k in range(degree):
        for j in range(1, degree + 1 - k):
            result[..., k] += comb(degree - k, j) * (-moved) ** j * sums[..., k + j]
    return result


def _mean(total: Floats, weight: Floats) -> Floats:
    """Return the mean of each class, 0 where it has no rows, ``(classes, quantities)``."""
    return np.divide(
        total, weight[..., None], out=np.zeros_like(total), where=weight[..., None] > 0
    )


@dataclass(frozen=True)
class RowSums:
    """Numbers of rows: their weight ``(1,)``, mean ``(*)`` and Σ w (value − mean)² ``(*)``."""

    weight: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats | None = None) -> RowSums:
        """Sum over at least one row, ``values (rows, *)``."""
        weight = float(len(values)) if weights is None else float(weights.sum())
        mean = np.average(values, axis=0, weights=weights)
        spread = np.average((values - mean) ** 2, axis=0, weights=weights) * weight
        return cls(np.array([weight]), mean, spread)

    @classmethod
    def of_targets(cls, y: Array, classes: int, weights: Floats | None) -> RowSums:
        """Sum over targets, of which ``scale`` needs the moments, or (``classes`` above 0) the share of each class."""
        if not classes:
            return cls.of(np.asarray(y, dtype=np.float64)[:, None], weights)
        counts = np.bincount(
            np.asarray(y, dtype=np.int64), weights=weights, minlength=classes
        )
        return cls(
            np.array([float(counts.sum())]), counts / counts.sum(), np.zeros(classes)
        )

    def merge(self, other: RowSums) -> RowSums:
        """Return the sums over two parts (Chan, Golub & LeVeque 1983)."""
        weight, apart = self.weight + other.weight, other.mean - self.mean
        spread = (
            self.spread
            + other.spread
            + apart**2 * (self.weight * other.weight / weight)
        )
        return RowSums(weight, self.mean + apart * (other.weight / weight), spread)

    def scale(self, loss: str) -> float:
        """Return the mean loss of the constant predictor, or NaN if that needs more than a mean and a variance."""
        if loss not in ("squared_error", *FITS["classification"]):
            return float("nan")
        return (
            float(self.spread[0] / self.weight[0])
            if loss == "squared_error"
            else scale_of_shares(self.mean, loss)
        )

    def std(self) -> Floats:
        """Return the standard error of the mean over rows of weight 1, NaN for a single row."""
        count = float(self.weight[0])
        return (
            np.sqrt(self.spread / (count - 1) / count)
            if count > 1
            else np.full(self.mean.shape, np.nan)
        )


Sums = dict[str, SummedMoments | RowSums]
#: Names of the sums over pairs: of every player, and of whole branches, which are one.
EFFECTS, BRANCHES = "effects", "branches"


def merge_sums(one: Sums, other: Sums) -> Sums:
    """Return the sums over two parts, either of which may lack some."""
    both: dict[str, Any] = {
        name: sums.merge(other[name])  # type: ignore[arg-type]
        for name, sums in one.items()
        if name in other
    }
    return {**one, **other, **both}


def pack(sums: Sums) -> Arrays:
    """Return sums as named arrays."""
    return {
        f"{name}/{field}": array
        for name, one in sums.items()
        for field, array in vars(one).items()
    }


def unpack(arrays: Mapping[str, Array]) -> Sums:
    """Return the sums from the arrays of ``pack``."""
    found: dict[str, Arrays] = {}
    for path, array in arrays.items():
        name, _, field = path.partition("/")
        found.setdefault(name, {})[field] = array
    return {
        name: (SummedMoments if name in (EFFECTS, BRANCHES) else RowSums)(**own)
        for name, own in found.items()
    }
