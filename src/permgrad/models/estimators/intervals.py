"""Intervals of numbers and sets of classes that hold the truth at a chosen rate: split
conformal prediction.

Rows that no training step saw are scored by how far the model was off. A new row's
interval ends at the scores' order statistics. If new rows are drawn like those, it
holds the truth with a probability of at least the coverage, whatever the model (Vovk,
Gammerman & Shafer 2005, chapter 4). A number's interval lies around its prediction.
Errors are divided by a scale that depends on the row (Papadopoulos et al. 2002).
Classes are scored by 1 − their probability (Sadinle, Lei & Wasserman 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np

from permgrad.base.arrays import Array, Booleans, Floats, Floats32, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, by_count, counted, must, warn_user

Places: TypeAlias = Integers
#: Encoded rows ``(rows, encoded)``, standardised truth and prediction ``(rows,)``.
Sample: TypeAlias = tuple[Floats32, Floats, Floats]

#: Held-out rows that are stored, and training rows that the scale is learned from, at
#: most. Cells of the latter.
MOST_HELD = 5_000
MOST_LEARNED = 10_000
CELLS = 1_000_000
#: Columns with more values are divided into quarters to form groups.
_MOST_VALUES = 8


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What rows held out of training say of the model's errors.

    Attributes:
        x: the rows as the network sees them, float32 ``(rows, encoded)``. Of a model
            without its rows ``(0, encoded)``.
        scores: of numbers (truth − prediction) / scale, standardised. Of classes 1 −
            the true one's probability.
        scale: of numbers.
        codes: of classes the position of each row's class, int64 ``(rows,)``.
        dependence: which rows depend on each other, where that is known.
    """

    x: Floats32
    scores: Floats
    scale: Scale | None = None
    codes: Integers | None = None
    dependence: Dependence | None = None

    @classmethod
    def of_numbers(
        cls,
        held_out_sample: Sample,
        learned: Sample,
        dependence: Dependence | None = None,
    ) -> Self:
        """Return the scores of held-out rows, with a scale learned from training
        rows.
        """
        (x, y, predicted), (held_x, held_y, held_predicted) = learned, held_out_sample
        residuals = held_y - held_predicted
        sizes = [np.abs(y - predicted), np.abs(residuals)]
        columns = _columns(x, predicted)
        held_columns = _columns(held_x, held_predicted)
        scale = Scale(np.zeros((1, 0)), np.zeros((1, 1)))
        if min(absolute_errors.mean() for absolute_errors in sizes) > 0:
            # Errors of exactly 0 would make the scale of a row 0 as well.
            sizes = [
                absolute_errors + 1e-3 * absolute_errors.mean()
                for absolute_errors in sizes
            ]
            scale = fit_scale(columns, sizes[0], held_columns, sizes[1])
        return cls(
            held_x, residuals / scale(held_columns), scale, dependence=dependence
        )

    def fewest(self, coverage: float) -> int:
        """Return how many held-out rows a coverage needs: sets end on one side,
        intervals on two.
        """
        return (
            math.ceil((1 if self.scale is None else 2) / (1 - coverage) * (1 - 1e-9))
            - 1
        )

    def arrays(self) -> dict[str, Array]:
        """Return what a saved model holds."""
        arrays: dict[str, Array] = {
            "held_out.x": self.x,
            "held_out.scores": self.scores,
        }
        if self.codes is not None:
            arrays["held_out.codes"] = self.codes
        if self.dependence is not None:
            arrays[f"held_out.{self.dependence.argument[0]}"] = self.dependence.codes
        if self.scale is not None:
            arrays |= {
                "held_out.edges": self.scale.edges,
                "held_out.steps": self.scale.steps,
            }
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], encoded: int) -> Self | None:
        """Read back what ``arrays`` returned, if a model holds it.

        ValueError: the parts do not fit together.
        """
        x = arrays.get("held_out.x")
        scores = arrays.get("held_out.scores")
        edges = arrays.get("held_out.edges")
        steps = arrays.get("held_out.steps")
        if x is None or scores is None:
            return None
        scale = None
        if edges is not None and steps is not None:
            scale = Scale(edges, steps)
        has_valid_shape = (
            x.dtype == np.float32
            and x.shape in ((len(scores), encoded), (0, encoded))
            and scores.ndim == 1
        )
        must(
            has_valid_shape,
            f"{len(scores)} scores of held-out rows {x.dtype} {x.shape} of {encoded} "
            "columns",
        )
        if scale is None:
            score_arrays = [scores]
        else:
            score_arrays = [scores, scale.edges, scale.steps]
        finite = all(
            score_array.dtype == np.float64 and np.isfinite(score_array).all()
            for score_array in score_arrays
        )
        must(finite, "scores or a scale that are not finite numbers")
        if scale is not None:
            columns, bin_count = scale.steps.shape
            has_valid_shape = (
                scale.edges.shape == (columns, bin_count - 1) and columns <= encoded + 1
            )
            must(
                has_valid_shape,
                f"a scale of {scale.steps.shape} steps with {scale.edges.shape} edges",
            )
        codes = _codes(arrays, "codes", len(scores))
        dependence = _dependence(arrays, len(scores))
        must(
            scale is not None or codes is not None,
            "held-out rows of classes without their classes",
        )
        return cls(x, scores, scale, codes, dependence)

    def ends(
        self, encoded: Any, predicted: Floats, coverage: float, columns: Places
    ) -> Floats:
        """Return the ends of intervals of standardised predictions ``(rows, 2)``."""
        assert self.scale is not None
        around = np.empty((len(predicted), 2))
        for group_rows, scores, outside, own_count in self._by_group(
            encoded, columns, coverage
        ):
            last_position = len(scores) - 1
            around[group_rows] = scores[
                [
                    max(outside // 2 - own_count, 0),
                    min(last_position + own_count - (outside + 1) // 2, last_position),
                ]
            ]
        return np.asarray(
            predicted[:, None]
            + around * self.scale(_columns(encoded, predicted))[:, None]
        )

    def members(
        self,
        encoded: Any,
        probabilities: Floats,
        coverage: float,
        columns: Places,
        *,
        by_class: bool = False,
    ) -> Booleans:
        """Return whether each class is in the set of a row ``(rows, classes)``.

        ``by_class``: the coverage holds among the rows of each class (Vovk 2012). A
        class of too few held-out rows is in every set.
        """
        if not by_class:
            return np.asarray(
                1 - probabilities <= self.limits(encoded, coverage, columns)
            )
        assert self.codes is not None
        inside = np.ones(probabilities.shape, dtype=bool)
        small_classes = 0
        for class_code in range(probabilities.shape[1]):
            member = np.flatnonzero(self.codes == class_code)
            if self.dependence is None:
                among = None
            else:
                among = self.dependence.take(member)
            if len(self.x):
                x = self.x[member]
            else:
                x = self.x
            class_rows = replace(
                self, x=x, scores=self.scores[member], dependence=among
            )
            if len(class_rows.scores) < self.fewest(coverage):
                small_classes += 1
            else:
                inside[:, [class_code]] = 1 - probabilities[
                    :, [class_code]
                ] <= class_rows.limits(encoded, coverage, columns)
        if small_classes:
            least = self.fewest(coverage)
            possession_verb = by_count(small_classes, "has", "have")
            verb_form = by_count(small_classes, "is", "are")
            warn_user(
                f"{small_classes} of {probabilities.shape[1]} classes "
                f"{possession_verb} fewer than {least} held-out rows, too few for "
                f"coverage={coverage:g} by class, and {verb_form} in every set"
            )
        return inside

    def limits(self, encoded: Any, coverage: float, columns: Places) -> Floats:
        """Return the largest score of a class in the set of each row ``(rows, 1)``."""
        limits = np.empty((len(encoded), 1))
        for group_rows, scores, outside, own_count in self._by_group(
            encoded, columns, coverage
        ):
            limits[group_rows] = scores[
                min(len(scores) - 1 + own_count - outside, len(scores) - 1)
            ]
        return limits

    def _by_group(
        self, encoded: Any, columns: Places, coverage: float
    ) -> Iterator[tuple[Booleans, Floats, int, int]]:
        """Yield which rows are in a group, its sorted scores, how many rows may be
        outside, and those of the new row.

        A group has the same values in its columns, or of many values the same quarter.
        Too few scores are replaced by those of all held-out rows, with a warning. A new
        row is one of so many that depend on each other (1: of none). They are as likely
        anywhere among the scores as other such rows, and may all be beyond them.
        """
        least = self.fewest(coverage)
        self._check_held(columns, coverage, least)
        columns_beside = np.asarray(encoded)[:, columns]
        held_out_columns = (
            self.x[:, columns] if len(columns) else np.zeros((len(self.scores), 0))
        )
        codes = np.zeros(
            (len(held_out_columns) + len(columns_beside), held_out_columns.shape[1]),
            dtype=np.int64,
        )
        for column, values in enumerate(held_out_columns.T):
            levels = np.unique(values)
            bin_edges = (levels[1:] + levels[:-1]) / 2
            if len(levels) > _MOST_VALUES:
                bin_edges = np.quantile(values, [0.25, 0.5, 0.75])
            codes[:, column] = np.searchsorted(
                bin_edges, np.concatenate([values, columns_beside[:, column]])
            )
        groups = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        of_held = groups[: len(held_out_columns)]
        of_others = groups[len(held_out_columns) :]
        is_small_group = (
            np.bincount(of_held, minlength=int(groups.max(initial=0)) + 1) < least
        )
        if fallen := int(is_small_group[of_others].sum()):
            affected_rows = (
                f"{fallen:,} of {counted(len(of_others), 'row')} "
                f"{by_count(fallen, 'is', 'are')}"
            )
            warn_user(
                f"{affected_rows} in groups of fewer than {least} held-out rows, so "
                "the coverage is that of all held-out rows "
                "and may not hold in the group"
            )
        for group_code in np.unique(of_others):
            group_rows = np.flatnonzero(of_held == group_code)
            group_rows = (
                group_rows if len(group_rows) >= least else np.arange(len(self.scores))
            )
            scores = np.sort(self.scores[group_rows])
            own_count = self._together(group_rows, coverage)
            count = len(scores) + own_count
            if len(scores) < least * own_count:
                warn_user(
                    f"The {len(scores):,} held-out rows depend on each other and say "
                    f"as much as {len(scores) // own_count:,} "
                    f"independent ones, fewer than the {least} that "
                    f"coverage={coverage:g} needs, so it may not hold"
                )
            yield (
                of_others == group_code,
                scores,
                count - math.ceil(coverage * count - 1e-9),
                own_count,
            )

    def _check_held(self, columns: Places, coverage: float, least: int) -> None:
        """Refuse too few held-out rows, or groups of rows that were not saved."""
        if len(self.scores) < least:
            raise InputError(
                f"coverage={coverage:g} needs at least {least:,} rows held out of "
                "training, but there "
                f"{by_count(len(self.scores), 'is', 'are')} {len(self.scores):,}",
                hint="Pass a lower coverage, or fit with a larger validation_fraction "
                "or an eval_set.",
                code="PG013",
            )
        if len(columns) and len(self.x) < len(self.scores):
            problem = (
                "by= needs the rows held out of training, and this model was "
                "saved without rows"
            )
            raise InputError(
                problem,
                hint="Leave by out, or save the model with its rows.",
                code="PG055",
            )

    def _together(self, group_rows: Integers, coverage: float) -> int:
        """Return how many of the chosen held-out rows say as much as one independent
        row of what is outside.
        """
        if self.dependence is None:
            return 1
        among = self.dependence.take(group_rows)
        share = 1 - coverage
        sides = [self.scores[group_rows]]
        if self.scale is not None:
            share = share / 2
            sides = [sides[0], -sides[0]]
        outside = np.stack(
            [
                side_scores >= np.quantile(side_scores, 1 - share)
                for side_scores in sides
            ],
            axis=1,
        )
        related = among.correlation(outside.astype(np.float64))
        return math.ceil(among.design(np.ones(len(group_rows)), related)[0] - 1e-9)


def _columns(encoded: Any, predicted: Floats) -> Floats:
    """Return what the scale reads ``(rows, encoded + 1)``: the encoded row and its
    prediction.
    """
    return np.column_stack([np.asarray(encoded, dtype=np.float64), predicted])


def _codes(arrays: Mapping[str, Array], name: str, rows: int) -> Integers | None:
    """Return a number of each held-out row, if a model holds them.

    ValueError: they are no such numbers.
    """
    codes = arrays.get(f"held_out.{name}")
    if codes is not None:
        has_valid_shape = (
            codes.dtype == np.int64
            and codes.shape == (rows,)
            and codes.min(initial=0) >= 0
        )
        must(
            has_valid_shape,
            f"classes or groups of rows {codes.dtype} {codes.shape} for {rows} scores",
        )
    return codes


def _dependence(arrays: Mapping[str, Array], rows: int) -> Dependence | None:
    """Return which held-out rows depend on each other, if a model holds it.

    ValueError: they are no such numbers.
    """
    groups = _codes(arrays, "row_groups", rows)
    times = _codes(arrays, "row_time", rows)
    if groups is None:
        units = times
    else:
        units = groups
    if units is None:
        return None
    return Dependence(units, timed=groups is None)


# ---- how wide an interval is ---------------------------------------------------------
#: Of the scale: parts of a column, steps at most and without a gain, their length, rows
#: that pull a step to 0.
_BINS = 16
_STEPS = 300
_PATIENCE = 25
_RATE = 0.1
_PULL = 20.0


@dataclass(frozen=True, eq=False)
class Scale:
    """How large the errors of a row are: exp of a sum of steps over its columns,
    ``(columns, parts)``.

    ``edges`` ``(columns, parts − 1)`` divide the columns into parts.
    """

    edges: Floats
    steps: Floats

    def __call__(self, columns: Floats) -> Floats:
        """Return the scale of each row ``(rows,)``."""
        total = np.zeros(len(columns))
        for column in np.flatnonzero(self.steps.any(axis=1)):
            total += self.steps[column][
                np.searchsorted(self.edges[column], columns[:, column])
            ]
        return np.exp(total)


class _Stumps:
    """Cuts of the columns of some rows ``(columns, parts − 1)``, of which the steepest
    is found.
    """

    def __init__(self, bins: Integers) -> None:
        """``bins``: the part of each cell, ``(columns, rows)``."""
        count, rows = bins.shape
        self._flat_bins = (bins + _BINS * np.arange(count)[:, None]).ravel()
        self._shape = (count, _BINS)
        rows_below = self._below(None)
        self._sizes = np.stack([rows_below, rows - rows_below]) + _PULL
        self._usable = (rows_below > 0) & (rows_below < rows)
        self.any_usable = bool(self._usable.any())

    def _below(self, numbers: Floats | None) -> Array:
        """Return sums of the rows' numbers below each cut, or how many rows are."""
        bin_sums = np.bincount(
            self._flat_bins, numbers, minlength=math.prod(self._shape)
        )
        return bin_sums.reshape(self._shape).cumsum(axis=1)[:, :-1]

    def steepest(self, slopes: Floats) -> tuple[int, Floats]:
        """Return the column whose cut divides the slopes of the rows best, and the step
        in each of its parts.
        """
        sums_below = self._below(np.tile(slopes, self._shape[0]))
        sides = np.stack([sums_below, slopes.sum() - sums_below])
        gains = np.where(self._usable, (sides**2 / self._sizes).sum(axis=0), -1.0)
        column, best_cut = np.unravel_index(gains.argmax(), gains.shape)
        part_steps = np.repeat(
            _RATE * sides[:, column, best_cut] / self._sizes[:, column, best_cut],
            [best_cut + 1, _BINS - best_cut - 1],
        )
        return int(column), part_steps


def fit_scale(
    columns: Floats, errors: Floats, held_columns: Floats, held_errors: Floats
) -> Scale:
    """Boost stumps for the logarithm of the mean absolute error by the Gamma deviance
    (Friedman 2001).

    ``errors`` are absolute and of training rows, which a network fits better than
    others: only their pattern counts. Held-out rows decide when to stop, by the
    deviance at its best level.
    """
    edges = np.quantile(columns, np.arange(1, _BINS) / _BINS, axis=0).T
    training_bins, held_out_bins = (
        np.stack(
            [
                np.searchsorted(column_edges, cells)
                for column_edges, cells in zip(edges, sample_columns.T, strict=True)
            ]
        )
        for sample_columns in (columns, held_columns)
    )
    stumps = _Stumps(training_bins)
    steps = np.zeros((len(edges), _BINS))
    best_steps = np.zeros_like(steps)
    fitted = np.full(len(errors), math.log(errors.mean()))
    held_out_fit = np.zeros(len(held_errors))
    least = math.log(held_errors.mean())
    waited = 0
    for _ in range(_STEPS * stumps.any_usable):
        column, scale_step = stumps.steepest(errors * np.exp(-fitted) - 1)
        steps[column] += scale_step
        fitted += scale_step[training_bins[column]]
        held_out_fit += scale_step[held_out_bins[column]]
        deviance = held_out_fit.mean() + math.log(
            (held_errors * np.exp(-held_out_fit)).mean()
        )
        waited += 1
        if deviance < least - 1e-4:
            least = deviance
            best_steps = steps.copy()
            waited = 0
        if waited == _PATIENCE:
            break
    return Scale(edges, best_steps)
