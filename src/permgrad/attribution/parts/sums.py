"""Sums over one part of a table, which merge and whose size does not grow with rows.

Sums of squares are kept about the mean and moved when parts merge (Chan, Golub &
LeVeque 1983): a small spread of large effects is not lost in rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import comb
from typing import Any

import numpy as np

from permgrad.attribution.explanation.statistics import (
    FEWEST_UNITS,
    Estimate,
    freedom_of_ends,
    with_donors,
)
from permgrad.attribution.replace.moments import PairMoments, within_rows
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import InputError
from permgrad.models.losses import named_loss

Arrays = dict[str, Array]


@dataclass(frozen=True)
class SummedMoments:
    """``PairMoments`` of a separate background, summed over the receivers of each class
    (players first if several).

    For receivers ``(classes,)``: their count, Σ w and Σ w², where w is a receiver's
    weight over all its pairs. For their sums of effects ``(classes, quantities)``: how
    many are not 0, Σ, spread Σ (received − m w)² and lean Σ (received − m w) w, where m
    is the mean effect of the class. ``cubes (classes, quantities, 4)`` are Σ (received
    − m w)^(3 − k) w^k for k = 0 … 3, and ``powers (classes, quantities, 5)`` those of
    degree 4. The others are as in ``PairMoments``.
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
        """Return sums over receivers.

        ``InputError``: they are donors too, so that each one's number is needed.
        """
        return cls.stacked([cls(*_over_receivers(player)) for player in players])

    @classmethod
    def stacked(cls, players: Sequence[SummedMoments]) -> SummedMoments:
        """Return the sums of several players."""
        names = [sum_field.name for sum_field in fields(cls)]
        return cls(
            **{
                field_name: np.stack(
                    [getattr(player, field_name) for player in players]
                )
                for field_name in names
            }
        )

    def player(self, player_index: int) -> SummedMoments:
        """Return the sums of one of several players."""
        return SummedMoments(
            **{
                field_name: array[player_index]
                for field_name, array in vars(self).items()
            }
        )

    def merge(self, other_sums: SummedMoments) -> SummedMoments:
        """Return the sums over two parts.

        ``InputError``: they belong to different explanations.
        """
        for field_name, array in vars(self).items():
            if array.shape != (further := getattr(other_sums, field_name)).shape:
                problem = (
                    "Two parts have different donors, classes or quantities: their "
                    f"{field_name} are {array.shape} and {further.shape}"
                )
                raise InputError(
                    problem,
                    hint="Start again with --overwrite, or remove the folder",
                    code="PG052",
                )
        common_mean = _mean(
            self.total + other_sums.total, self.weight + other_sums.weight
        )
        first_sums = self.about(common_mean)
        second_sums = other_sums.about(common_mean)
        return SummedMoments(
            **{
                sum_name: array + getattr(second_sums, sum_name)
                for sum_name, array in vars(first_sums).items()
            }
        )

    def about(self, mean: Floats) -> SummedMoments:
        """Return the sums with spread and lean about another mean of each class,
        ``(classes, quantities)``.
        """
        squares = self.weight_squares[..., None]
        moved = np.where(squares > 0, mean - _mean(self.total, self.weight), 0.0)
        spread = self.spread - 2 * moved * self.lean + moved**2 * squares
        cubes = _moved(self.cubes, moved)
        powers = _moved(self.powers, moved)
        return replace(
            self,
            spread=spread,
            lean=self.lean - moved * squares,
            cubes=cubes,
            powers=powers,
        )

    def estimate(self, group: int | None = None) -> Estimate:
        """Return one player's mean, standard error and effective number of rows, as
        ``PairMoments.estimate`` does.
        """
        if group is None:
            group_slice = slice(None)
        else:
            group_slice = slice(group, group + 1)
        group_sums = {}
        for field_name, array in vars(self).items():
            group_sums[field_name] = array[group_slice].sum(axis=0)
        weight = float(group_sums["weight"])
        quantities = self.total.shape[1]
        if weight <= 0:
            missing = np.full(quantities, np.nan)
            return Estimate(missing, missing.copy(), np.ones((2, quantities)))
        effective_size = weight**2 / float(group_sums["weight_squares"])
        mean_effect: Floats = group_sums["total"] / weight
        if group_sums["count"] < FEWEST_UNITS or effective_size <= 1 + 1e-9:
            is_zero = (group_sums["square_sum"] == 0) & (group_sums["nonzero"] == 0)
            std_error = np.where(is_zero, 0.0, np.nan)
            return Estimate(mean_effect, std_error, np.ones((2, quantities)))
        about = self.about(np.broadcast_to(mean_effect, self.total.shape))
        spread = about.spread[group_slice].sum(axis=0)
        cubes = about.cubes[..., 0][group_slice].sum(axis=0)
        fourths = about.powers[..., 0][group_slice].sum(axis=0)
        by_donor = (
            group_sums["donor_sum"] - mean_effect[:, None] * group_sums["donor_weight"]
        )
        noise = np.maximum(
            group_sums["square_sum"]
            - 2 * mean_effect * group_sums["square_cross"]
            + mean_effect**2 * group_sums["pair_weights"],
            0.0,
        )
        of_receivers = np.maximum(spread, 0.0) * effective_size / (effective_size - 1)
        received = (
            freedom_of_ends(
                np.maximum(spread, 0.0), cubes, np.maximum(fourths, 0.0), effective_size
            )
            + 1
        )
        variance, effective = with_donors(of_receivers, received, by_donor, noise)
        return Estimate(mean_effect, np.sqrt(variance) / weight, effective)

    def noise_of_draws(self, repeats: int) -> Floats:
        """Return the part of each mean's variance that further donors make smaller, as
        ``PairMoments`` does.
        """
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
    group = moments.receiver_class[member]
    weight = moments.receiver_weight[member]
    received = moments.receiver_sum[:, member]
    if moments.shared:
        donors = slice(0, 0)
    else:
        donors = slice(None)

    def by_class(values: Array) -> Floats:
        class_sums = []
        for value_row in np.atleast_2d(values):
            class_sums.append(
                np.bincount(group, weights=value_row, minlength=moments.classes)
            )
        return np.stack(class_sums, axis=1).astype(np.float64)

    lent_sums = list(map(moments.of_donors, range(moments.classes)))
    total = by_class(received)
    by_weight = by_class(weight)[:, 0]
    counts = by_class(np.ones(len(group)))[:, 0]
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
        np.stack([donor_sums for donor_sums, _ in lent_sums])[:, :, donors],
        np.stack([weights for _, weights in lent_sums])[:, donors],
        moments.square_sum,
        moments.square_cross,
        moments.weight_squares,
        moments.squares,
    )


def _moved(sums: Floats, moved: Floats) -> Floats:
    """Return Σ (score − moved w)^(n − k) w^k for k = 0 … n from the same sums with
    moved 0, ``(*, n + 1)``.
    """
    result = sums.copy()
    degree = sums.shape[-1] - 1
    for k in range(degree):
        for j in range(1, degree + 1 - k):
            result[..., k] += comb(degree - k, j) * (-moved) ** j * sums[..., k + j]
    return result


def _mean(total: Floats, weight: Floats) -> Floats:
    """Return the mean of each class, 0 where it has no rows, ``(classes,
    quantities)``.
    """
    return np.divide(
        total, weight[..., None], out=np.zeros_like(total), where=weight[..., None] > 0
    )


@dataclass(frozen=True)
class RowSums:
    """Numbers of rows: their weight ``(1,)``, mean ``(*)`` and Σ w (value − mean)²
    ``(*)``.
    """

    weight: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats | None = None) -> RowSums:
        """Sum over at least one row, ``values (rows, *)``."""
        if weights is None:
            weight = float(len(values))
        else:
            weight = float(weights.sum())
        mean_values = np.average(values, axis=0, weights=weights)
        spread = (
            np.average((values - mean_values) ** 2, axis=0, weights=weights) * weight
        )
        return cls(np.array([weight]), mean_values, spread)

    @classmethod
    def of_targets(cls, y: Array, classes: int, weights: Floats | None) -> RowSums:
        """Sum over targets, of which ``scale`` needs the moments, or (``classes`` above
        0) the share of each class.
        """
        if not classes:
            return cls.of(np.asarray(y, dtype=np.float64)[:, None], weights)
        counts = np.bincount(
            np.asarray(y, dtype=np.int64), weights=weights, minlength=classes
        )
        return cls(
            np.array([float(counts.sum())]), counts / counts.sum(), np.zeros(classes)
        )

    def merge(self, other_sums: RowSums) -> RowSums:
        """Return the sums over two parts (Chan, Golub & LeVeque 1983)."""
        weight = self.weight + other_sums.weight
        apart = other_sums.mean - self.mean
        spread = (
            self.spread
            + other_sums.spread
            + apart**2 * (self.weight * other_sums.weight / weight)
        )
        return RowSums(weight, self.mean + apart * (other_sums.weight / weight), spread)

    def scale(self, loss: str) -> float:
        """Return the mean loss of the constant predictor, or NaN if that needs more
        than a mean and a variance.
        """
        record = named_loss(loss)
        if record is not None and record.of_shares is not None:
            return record.of_shares(self.mean)
        if record is not None and record.of_variance:
            return float(self.spread[0] / self.weight[0])
        return float("nan")

    def std(self) -> Floats:
        """Return the standard error of the mean over rows of weight 1, NaN for a single
        row.
        """
        count = float(self.weight[0])
        if count > 1:
            return np.sqrt(self.spread / (count - 1) / count)
        return np.full(self.mean.shape, np.nan)


Sums = dict[str, SummedMoments | RowSums]
#: Names of the sums over pairs: of every player, and of whole branches, which are one.
EFFECTS = "effects"
BRANCHES = "branches"


def merge_sums(first_sums: Sums, second_sums: Sums) -> Sums:
    """Return the sums over two parts, either of which may lack some."""
    merged_sums: dict[str, Any] = {
        sum_name: common_sums.merge(second_sums[sum_name])  # type: ignore[arg-type]
        for sum_name, common_sums in first_sums.items()
        if sum_name in second_sums
    }
    return {**first_sums, **second_sums, **merged_sums}


def pack(sums: Sums) -> Arrays:
    """Return sums as named arrays."""
    return {
        f"{sum_name}/{field}": array
        for sum_name, part_sums in sums.items()
        for field, array in vars(part_sums).items()
    }


def unpack(arrays: Mapping[str, Array]) -> Sums:
    """Return the sums from the arrays of ``pack``."""
    field_arrays: dict[str, Arrays] = {}
    for array_path, array in arrays.items():
        sum_name, _, field = array_path.partition("/")
        field_arrays.setdefault(sum_name, {})[field] = array
    return {
        entry_name: (SummedMoments if entry_name in (EFFECTS, BRANCHES) else RowSums)(
            **entry_arrays
        )
        for entry_name, entry_arrays in field_arrays.items()
    }
