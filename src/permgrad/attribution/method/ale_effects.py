"""Accumulated local effects of one column or two, along their axes, and their errors.

An axis has the points that a column is set to, and the steps over which rows move. A
number is cut at quantiles, each of which some row has, and a row is moved over the bin
that it lies in. Anything else has a point for each level, and a row is moved to both
neighbours of its level. Levels without an order are ordered by how alike the other
columns of their rows are (Apley & Zhu 2020, and their R package ALEPlot).

Everything is a function of the weights of the rows, whose derivative towards a row's
weight is that row's part in the error (Jaeckel 1972): by its own local effect, and by
where it lies, because means over rows are taken off. Sums of these over rows, groups or
times that are independent have the covariance over bins in them.

The importance is the standard deviation of the curve over the rows. Its square is ``G'
D G``, with the covariance ``D`` of the rows' places. The error ``C`` of the curve ``G``
adds ``tr(D C)`` to it, which is taken off. A quadratic form has the variance ``4 G' D C
D G + 2 tr(D C)²``, where the estimated curve adds ``4 tr(D C)²`` to the first term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from permgrad.attribution.explanation.comparisons import Comparisons, comparisons
from permgrad.attribution.explanation.statistics import (
    independent,
    interval,
    most_waves,
    spread,
    too_few,
)
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.direction import numbers_and_missing
from permgrad.attribution.request import Request
from permgrad.attribution.request.result import shown_values
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.dependence import FEWEST_GROUPS, Dependence
from permgrad.base.late import pd
from permgrad.base.significance import t_quantile, t_two_sided
from permgrad.data.types.as_one import as_features


class Curve(NamedTuple):
    """Accumulated effects, with their errors.

    ``effects``: at the points, effect, standard error and ends of the interval ``(4,
    points, outputs)``. ``importance``: the same of the standard deviation over the
    rows, and its p-value ``(5, outputs)``. ``scores``: each row's part in its error
    ``(outputs, rows)``. ``changes``: between ``comparisons`` of a single axis, as
    ``effects`` ``(4, pairs, outputs)``.
    """

    effects: Floats
    importance: Floats
    scores: Floats
    changes: Floats


def accumulated(
    axes: Sequence[Axis],
    rows: Integers,
    steps: Sequence[Integers],
    effects: Floats,
    sampled: Sampled,
) -> Curve:
    """Return the curve of one column, or what two do only together.

    Second differences are added up along both axes, and the first-order effects of this
    sum are taken off. A cell of fewer than two independent rows has the effect of the
    nearest one.

    Args:
        axes: Of the column, or of two.
        rows: The row of each move, ``(moves,)``.
        steps: For each axis the step of each move, ``(moves,)``.
        effects: The difference over it, ``(moves, outputs)``.
        sampled: The weights of the rows, and which depend on each other.
    """
    shape = [len(axis.points) - 1 for axis in axes]
    count = int(np.prod(shape))
    cells = sum((axis_steps * shape[-1] for axis_steps in steps[:-1]), steps[-1])
    means = _means(rows, cells, effects, count, sampled)
    nearest = np.arange(count)
    filled_cells = np.flatnonzero(_sizes(rows, cells, count, sampled) > 2 - 1e-9)
    firsts: list[Callable[[Tensor], Tensor]] = []
    inside = np.flatnonzero(
        np.all([np.isfinite(axis.positions) for axis in axes], axis=0)
    )
    located = axes[0].located(inside)
    if len(axes) == 1:
        differences = axes[0].compared(sampled).weights
    else:
        if len(filled_cells):
            nearest = filled_cells[_nearest_of(_middles(axes), filled_cells)]
        firsts = [
            _first_order(axes[0], axes[1], sampled),
            _first_order(axes[1], axes[0], sampled),
        ]
        located = (located[:, :, None] * axes[1].located(inside)[:, None]).reshape(
            len(inside), -1
        )
        differences = np.zeros((0, located.shape[1]))

    def together(weights: Tensor) -> Tensor:
        accumulated_effects = means(weights)[nearest].reshape(*shape, effects.shape[1])
        for axis_index in range(len(shape)):
            accumulated_effects = _added_up(accumulated_effects, axis_index)
        joint_effects = accumulated_effects
        for axis_index, lying in enumerate(firsts):
            # The mean step of the sum along one axis, of rows at their own places on
            # the other.
            mean_step = torch.einsum(
                "sp,spo->so",
                lying(weights),
                accumulated_effects.diff(dim=axis_index).movedim(axis_index, 0),
            )
            joint_effects = joint_effects - _added_up(mean_step, 0).unsqueeze(
                1 - axis_index
            )
        return joint_effects.flatten(0, -2)

    return _measured(together, located, inside, sampled, differences)


def _first_order(
    axis: Axis, other_axis: Axis, sampled: Sampled
) -> Callable[[Tensor], Tensor]:
    """Return a function from the rows' weights to where the rows that are moved over
    each step of one axis lie on the other, ``(steps, points)``.
    """
    moved, axis_step = axis.moves
    located_mask = np.isfinite(other_axis.positions[moved])
    lying = other_axis.located(moved[located_mask])
    return _means(
        moved[located_mask],
        axis_step[located_mask],
        lying,
        len(axis.points) - 1,
        sampled,
        widen=False,
    )


def _middles(axes: Sequence[Axis]) -> Floats:
    """Return the middles of all cells ``(cells, axes)``, in shares of each axis."""
    middles = [
        (axis.scale[1:] + axis.scale[:-1]) / (2 * max(np.ptp(axis.scale), 1e-300))
        for axis in axes
    ]
    return np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(
        -1, len(axes)
    )


def _nearest_of(points: Floats, which: Integers) -> Integers:
    """Return for each of ``points`` ``(points, axes)`` the nearest of some of them, by
    its position among these.
    """
    distances = ((points[:, None] - points[which]) ** 2).sum(axis=2)
    return distances.argmin(axis=1)


def _added_up(steps: Tensor, way: int) -> Tensor:
    """Return sums of steps along an axis, from 0 at its first point."""
    return torch.cat([steps.sum(way, keepdim=True) * 0, steps.cumsum(way)], dim=way)


def _sizes(rows: Integers, which: Integers, count: int, sampled: Sampled) -> Floats:
    """Return how many independent rows of equal weight each step has (Kish 1965).

    Those near in time count as one.
    """
    units = sampled.units
    if units is None:
        codes = rows
    else:
        codes = units.codes[rows]
    if units is not None and units.timed:
        codes = codes * most_waves(units) // units.count
    pairs, pair_indices = np.unique(
        np.stack([which, codes]), axis=1, return_inverse=True
    )
    weights = np.bincount(pair_indices.ravel(), sampled.weights[rows])
    weight_sums = np.bincount(pairs[0], weights, count)
    squares = np.bincount(pairs[0], weights**2, count)
    return np.divide(weight_sums**2, squares, out=np.zeros(count), where=squares > 0)


def _means(
    rows: Integers,
    which: Integers,
    values: Floats,
    count: int,
    sampled: Sampled,
    *,
    widen: bool = True,
) -> Callable[[Tensor], Tensor]:
    """Return a function from the rows' weights to the means of values ``(moves, *)`` by
    step, ``(count, *)``.

    Its derivatives are larger by what the estimated means take of the spread in steps
    of few rows.
    """
    # Rows of one stretch of time say more than nothing about their spread.
    timed = sampled.units is not None and sampled.units.timed
    step_sizes = np.maximum(
        _sizes(rows, which, count, sampled), 2 if timed else 1 + 1e-9
    )
    factor = torch.from_numpy(
        np.sqrt(step_sizes / (step_sizes - 1)) if widen else np.ones(count)
    )[:, None]
    moved = torch.from_numpy(rows)
    step_indices = torch.from_numpy(which)
    value_tensor = torch.from_numpy(values)

    def means(weights: Tensor) -> Tensor:
        row_weights = weights[moved]
        total = (
            torch.zeros(count, dtype=torch.float64)
            .index_add(0, step_indices, row_weights)
            .clamp_min(1e-300)
        )
        weighted_sums = torch.zeros(
            count, values.shape[1], dtype=torch.float64
        ).index_add(0, step_indices, row_weights[:, None] * value_tensor)
        step_means = weighted_sums / total[:, None]
        return step_means.detach() + factor * (step_means - step_means.detach())

    return means


def _without_errors(
    effects: Floats, squares: Floats, quiet: Booleans
) -> tuple[Floats, Floats]:
    """Return effects and their size with errors of NaN, or of 0 where nothing
    changes.
    """
    numbers = np.stack([effects, *np.full((3, *effects.shape), np.nan)])
    importance = np.stack([np.sqrt(squares), *np.full((4, len(squares)), np.nan)])
    numbers[1:, :, quiet] = 0.0
    importance[:, quiet] = np.array([0.0, 0, 0, 0, 1])[:, None]
    return numbers, importance


def _independent_parts(
    scores: Floats, units: Dependence | None, freedom: Floats
) -> Floats:
    """Return the parts of what is independent in the error."""
    if units is None:
        return scores
    split = independent(scores, units)
    if units.timed:  # a mean over as few waves as any point asks for
        return split[:, : int(freedom.min())] / freedom.min() ** 0.5
    return split


class _Influences(NamedTuple):
    """Effects at the points, their mean square over the rows, and each row's part in
    the error of both.

    Attributes:
        effects: Centred over the rows, ``(points, outputs)``.
        squares: ``(outputs,)``.
        of_effects: ``(points, outputs, rows)``.
        of_squares: ``(outputs, rows)``.
    """

    effects: Floats
    squares: Floats
    of_effects: Floats
    of_squares: Floats


def _influences(
    effects: Callable[[Tensor], Tensor],
    located: Floats,
    rows: Integers,
    sampled: Sampled,
) -> _Influences:
    """Differentiate effects, centred over rows that lie at ``located`` ``(rows,
    points)``, by the rows' weights.
    """
    interpolation = torch.from_numpy(located)
    row_indices = torch.from_numpy(rows)

    def centred(weights: Tensor) -> Tensor:
        point_effects = effects(weights)
        row_weights = weights[row_indices]
        return (
            point_effects
            - row_weights @ (interpolation @ point_effects) / row_weights.sum()
        )

    def squares(weights: Tensor) -> Tensor:
        row_weights = weights[row_indices]
        return row_weights @ (interpolation @ centred(weights)) ** 2 / row_weights.sum()

    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        weights = torch.from_numpy(sampled.weights)
        return _Influences(
            centred(weights).numpy(),
            squares(weights).numpy(),
            (jacobian(centred, weights) * weights).numpy(),
            (jacobian(squares, weights) * weights).numpy(),
        )


def _measured(
    effects: Callable[[Tensor], Tensor],
    located: Floats,
    rows: Integers,
    sampled: Sampled,
    differences: Floats,
) -> Curve:
    """Return effects, centred over rows that lie at ``located`` ``(rows, points)``,
    with their errors, and those of ``differences`` of points ``(pairs, points)``.
    """
    weights = sampled.weights
    units = sampled.units
    measured = _influences(effects, located, rows, sampled)
    by_row = measured.of_squares
    curve_weights = np.zeros_like(weights)
    curve_weights[rows] = weights[rows]
    # in no row anything changes
    quiet = ~np.asarray(measured.effects.any(axis=0))
    numbers, importance = _without_errors(measured.effects, measured.squares, quiet)
    changes, _ = _without_errors(
        differences @ measured.effects, measured.squares, quiet
    )
    if too_few(curve_weights, units):
        return Curve(numbers, importance, by_row, changes)
    apart = located - curve_weights[rows] @ located / curve_weights.sum()
    covariance = (apart * curve_weights[rows, None]).T @ apart / curve_weights.sum()
    for output in np.flatnonzero(~quiet):
        scores = np.ascontiguousarray(measured.of_effects[:, output])
        errors, freedom = _errors(numbers[:, :, output], scores, curve_weights, sampled)
        numbers[1:, :, output] = errors
        if len(differences):
            changes[1:, :, output] = _errors(
                changes[:, :, output], differences @ scores, curve_weights, sampled
            )[0]
        split = _independent_parts(scores, units, freedom)
        by_chance = covariance @ (split @ split.T)
        variance, correction, freedom = spread(
            by_row[None, output], curve_weights, units
        )
        chance = 2 * (by_chance * by_chance.T).sum()
        value = max(measured.squares[output] - np.trace(by_chance), 0.0)
        own_part = 0.0
        if value:
            own_part = max(float(variance[0] * correction) - 2 * chance, 0.0)
        importance[:, output] = _root(
            value, chance, own_part, freedom[:, 0], sampled.confidence
        )
    return Curve(numbers, importance, by_row, changes)


def _errors(
    numbers: Floats, scores: Floats, weights: Floats, sampled: Sampled
) -> tuple[Floats, Floats]:
    """Return standard errors and both ends of intervals ``(3, numbers)`` of the first
    of ``numbers``, by each row's part in their errors, and degrees of freedom.
    """
    variance, correction, freedom = spread(scores, weights, sampled.units)
    std_error = np.sqrt(variance * correction)
    low, high, _ = interval(numbers[0], std_error, freedom + 1, sampled.confidence)
    return np.stack([std_error, low, high]), freedom


def _root(
    value: float, chance: float, own_variance: float, freedom: Floats, confidence: float
) -> list[float]:
    """Return the root of a square, its error, both ends of its interval and p-value.

    The square has the variance ``chance`` if it is 0, and ``own_variance`` beside it if
    it is ``value``, in proportion between. Ends are those values from which the
    estimate is as far as chance allows there (as Wilson 1927 for shares).
    """
    quantiles = t_quantile(0.5 + confidence / 2, freedom)
    if value:
        slope = own_variance / value
    else:
        slope = 0.0
    apart = (
        quantiles
        * np.sqrt(chance + own_variance + quantiles**2 * slope**2 / 4)
        * (-1, 1)
    )
    lower_bound, upper_bound = np.maximum(value + quantiles**2 * slope / 2 + apart, 0.0)
    if not value:
        p_value = 1.0
    else:
        p_value = float(t_two_sided(value / max(chance, 1e-300) ** 0.5, freedom[0]))
    error = (value + (chance + own_variance) ** 0.5) ** 0.5 - value**0.5
    return [value**0.5, error, lower_bound**0.5, upper_bound**0.5, p_value]


# ---- the axis of a column ------------------------------------------------------------
#: Most different values of a number that are points of their own, and most points of
#: dates.
_VALUES = 10
_MOMENTS = 8
#: Quantiles at which the distributions of a number in two levels are compared.
_COMPARED = 100


class Sampled(NamedTuple):
    """The weights of the rows explained ``(rows,)``, which of them are related, and the
    confidence of intervals.
    """

    weights: Floats
    units: Dependence | None
    confidence: float


@dataclass(frozen=True)
class Column:
    """A column of the rows explained.

    Attributes:
        name: Of the column.
        values: Numbers, seconds of dates, or the codes of levels, ``(rows,)``.
        labels: The names of levels.
        nominal: Whether its levels have no order.
        dates: Whether values are seconds.
        words: Those that values count in their order, such as minutes of the day.
    """

    name: str
    values: Floats  # NaN: missing
    labels: tuple[str, ...] = ()  # of levels, by their codes
    nominal: bool = False  # whether its levels have no order
    dates: bool = False
    words: tuple[
        str, ...
    ] = ()  # of numbers that count words in their order, such as minutes of the day

    def written(self, value: float) -> str:
        """Write a value as people read it."""
        if self.labels or self.words:
            return (self.labels or self.words)[int(value)]
        if self.dates:
            return str(
                np.datetime64(0, "s") + np.timedelta64(round(value), "s")
            ).removesuffix("T00:00:00")
        return f"{value:.6g}"


def read_columns(request: Request) -> dict[int, Column]:
    """Return the players that are one column of a table, or one number of an input, by
    their positions.
    """
    encoder = request.subject.preprocessor
    space = request.space
    columns = dict[int, Column]()
    frame = (
        shown_values(request)
        if request.shown is None
        else as_features(request.shown, request.as_one)
    )
    for player, (column_name, position_count) in enumerate(
        zip(space.names, space.sizes(), strict=True)
    ):
        if frame is None or column_name not in frame:
            continue
        cells = frame[column_name]
        if request.raw is None:
            modality = space.modality[
                player
            ]  # of a layer's units, that of what they read
            if modality not in space.inputs:
                continue
            is_real = request.subject.real[space.inputs.index(modality)]
            missing = (
                cells.isna().to_numpy()
            )  # whole numbers of a network are mostly codes
            columns[player] = (
                Column(column_name, cells.to_numpy(float))
                if is_real
                else _levels(column_name, cells, missing)
            )
        elif (
            column_name in request.as_one and column_name not in request.raw
        ):  # the category that dummies encode
            columns[player] = _levels(column_name, cells, cells.isna().to_numpy())
        elif (
            position_count == 1 or column_name in request.as_one
            if encoder is None
            else _is_column(space, encoder, column_name)
        ):
            numbers, missing, dates = numbers_and_missing(request, column_name)
            if numbers is None:
                columns[player] = _levels(column_name, cells, missing)
            else:
                numbers = np.where(missing | ~np.isfinite(numbers), np.nan, numbers)
                words = (
                    tuple(cells.cat.categories)
                    if dates and isinstance(cells.dtype, pd.CategoricalDtype)
                    else ()
                )
                columns[player] = Column(
                    column_name, numbers, dates=dates and not words, words=words
                )
    return columns


def _is_column(space: PlayerSpace, encoder: Any, name: str) -> bool:
    """Whether a player is what is encoded of a column, with the columns that
    repeat it.
    """
    return set(space.columns[name]) == set(encoder.columns_of(name))


def _levels(name: str, cells: pd.Series[Any], missing: Booleans) -> Column:
    if isinstance(cells.dtype, pd.CategoricalDtype) and cells.dtype.ordered:
        labels = tuple(map(str, cells.dtype.categories))
        return Column(
            name, np.where(missing, np.nan, cells.cat.codes.to_numpy()), labels
        )
    # One by one, because pandas' text type cannot hold half a character.
    texts = np.array(list(map(str, cells.astype(object))), dtype=object)
    values = np.full(len(texts), np.nan)
    level_labels, values[~missing] = np.unique(texts[~missing], return_inverse=True)
    return Column(name, values, tuple(level_labels), nominal=True)


@dataclass(frozen=True)
class Axis:
    """The points of a column, and where each row is.

    Attributes:
        column: the column.
        points: in their order ``(points,)``, as values of the column.
        donors: a row that has the value of each point ``(points,)``.
        positions: where each row is, in steps from the first point ``(rows,)``. NaN:
            missing, or of a rare level.
        steps: over which steps from point to point each row is moved, ``(rows, 1 or
            2)``. Negative: none.
        levels: whether points are levels.
        left_out: how many cells are missing, and how many of rare levels.
    """

    column: Column
    points: Floats
    donors: Integers
    positions: Floats
    steps: Integers
    levels: bool
    left_out: dict[str, int]

    @property
    def moves(self) -> tuple[Integers, Integers]:
        """Rows, and the step over which each is moved, ``(moves,)``."""
        moved_rows, which = np.nonzero(self.steps >= 0)
        return moved_rows, self.steps[moved_rows, which]

    @property
    def scale(self) -> Floats:
        """Where the points are on a scale: numbers, or one after the other."""
        if self.levels:
            return np.arange(len(self.points), dtype=np.float64)
        return self.points

    def compared(self, sampled: Sampled) -> Comparisons:
        """Return between which values changes are told."""
        plain_numbers = not (self.column.labels or self.column.dates)
        if plain_numbers and not self.column.words:
            points: list[Any] = self.points.tolist()
        else:
            points = list(map(self.column.written, self.points))
        return comparisons(self.positions, points, sampled.weights, levels=self.levels)

    def located(self, rows: Integers) -> Floats:
        """Return the weights of the points between which rows lie, ``(rows,
        points)``.
        """
        return np.maximum(
            1 - np.abs(self.positions[rows, None] - np.arange(len(self.points))), 0.0
        )


def make_axes(
    players: Iterable[int],
    columns: Mapping[int, Column],
    sampled: Sampled,
    bins: int,
    least: int,
) -> dict[int, Axis]:
    """Return the axes of columns, but for those without any value.

    Args:
        players: The positions of the columns' players.
        columns: The column of each player.
        sampled: The weights of the rows, and which depend on each other.
        bins: Of numbers, at most.
        least: The rows of a bin or level, or one row in eight where these are fewer.
    """
    other_columns = {}
    for player in players:
        other_columns[player] = [
            column for other_player, column in columns.items() if other_player != player
        ]
    player_axes = {}
    for player, context_columns in other_columns.items():
        player_axes[player] = _axis(
            columns[player], context_columns, sampled, bins, least
        )
    return {player: axis for player, axis in player_axes.items() if len(axis.points)}


def _axis(
    column: Column,
    other_columns: Sequence[Column],
    sampled: Sampled,
    bins: int,
    least: int,
) -> Axis:
    used_mask = sampled.weights > 0
    valued_mask = used_mask & np.isfinite(column.values)
    values, counts = np.unique(column.values[valued_mask], return_counts=True)
    levels = (
        len(values) < 2
        or bool(column.labels)
        or (len(values) <= _VALUES and counts.min() >= least)
    )
    if levels:
        lying = _at_levels(column, other_columns, valued_mask, least)
    else:
        if column.dates:
            bins = min(bins, _MOMENTS - 1)
        lying = _in_bins(column.values, valued_mask, sampled.units, bins, least)
    donors = np.array(
        [
            np.flatnonzero(used_mask & (column.values == value))[0]
            for value in lying.points
        ],
        dtype=np.int64,
    )
    rare_mask = valued_mask & ~np.isfinite(lying.positions)
    left_out = {
        "missing": int((used_mask & ~valued_mask).sum()),
        "rare": int(rare_mask.sum()),
    }
    return Axis(
        column, lying.points, donors, lying.positions, lying.steps, levels, left_out
    )


class _Lying(NamedTuple):
    """The points of an axis, and where rows lie on it.

    Attributes:
        points: ``(points,)``.
        positions: In points, ``(rows,)``. NaN: nowhere.
        steps: Those of each row, ``(rows, 2)``. -1: none.
    """

    points: Floats
    positions: Floats
    steps: Integers


def _in_bins(
    values: Floats,
    valued_mask: Booleans,
    units: Dependence | None,
    bins: int,
    least: int,
) -> _Lying:
    """Return the bins of numbers."""
    positions = np.full(len(values), np.nan)
    steps = np.full((len(values), 2), -1)
    numbers = values[valued_mask]
    groups = None
    if units is not None:
        groups = units.codes[valued_mask]
    points = _edges(numbers, groups, bins, least)
    row_steps = np.maximum(np.searchsorted(points, numbers) - 1, 0)
    steps[valued_mask, 0] = row_steps
    positions[valued_mask] = (
        row_steps + (numbers - points[row_steps]) / np.diff(points)[row_steps]
    )
    return _Lying(points, positions, steps)


def _at_levels(
    column: Column, other_columns: Sequence[Column], valued_mask: Booleans, least: int
) -> _Lying:
    """Return the levels of a column that enough rows have, those that are alike side by
    side.
    """
    positions = np.full(len(valued_mask), np.nan)
    steps = np.full((len(valued_mask), 2), -1)
    valued_rows = np.flatnonzero(valued_mask)
    values, codes, counts = np.unique(
        column.values[valued_rows], return_inverse=True, return_counts=True
    )
    fewest_rows = min(least, max(2, len(valued_rows) // 8))
    if len(values) < 2:
        fewest_rows = 1
    kept_levels = np.flatnonzero(counts >= fewest_rows)
    among = np.isin(codes, kept_levels)
    codes = np.searchsorted(kept_levels, codes[among])
    valued_rows = valued_rows[among]
    order = np.arange(len(kept_levels))
    if column.nominal and len(kept_levels) > 2:
        order = _alike(codes, len(kept_levels), valued_rows, other_columns)
    positions[valued_rows] = np.argsort(order)[codes]
    steps[valued_rows] = positions[valued_rows, None] + (-1, 0)
    steps[steps == len(order) - 1] = -1
    return _Lying(values[kept_levels[order]], positions, steps)


def _edges(values: Floats, groups: Integers | None, bins: int, least: int) -> Floats:
    """Return the quantiles that cut a number into bins of enough rows, and of enough
    groups.
    """
    bins = max(1, min(bins, len(values) // least))
    # In whole numbers: a share such as 0.3 of the rows may round to one row more.
    edges = np.unique(
        np.sort(values)[
            np.maximum(-(-np.arange(bins + 1) * len(values) // bins) - 1, 0)
        ]
    )
    bin_edges = edges[:1]
    for upper_edge in edges[1:]:
        inside = (values > bin_edges[-1]) | (len(bin_edges) == 1)
        inside &= values <= upper_edge
        if inside.sum() >= least and (
            groups is None or len(np.unique(groups[inside])) >= FEWEST_GROUPS
        ):
            bin_edges = np.append(bin_edges, upper_edge)
    # What is left at the end joins the last bin.
    return np.append(bin_edges[: max(len(bin_edges) - 1, 1)], edges[-1])


def _alike(
    codes: Integers, count: int, rows: Integers, other_columns: Sequence[Column]
) -> Integers:
    """Return levels in an order in which the rows of neighbours are alike, the first in
    writing in its first half.

    The distance of two levels is added up over the other columns: the largest
    difference of the distribution functions of a number, half the sum of the
    differences of the shares of levels. Multidimensional scaling puts the levels on one
    axis (Torgerson 1952).
    """
    from scipy.spatial.distance import cdist

    distance = np.zeros((count, count))
    member = codes == np.arange(count)[:, None]
    for other_column in other_columns:
        values = other_column.values[rows]
        known_members = member & np.isfinite(values)
        if other_column.nominal:
            indicators = values[:, None] == np.arange(len(other_column.labels))
            metric = "cityblock"
            distance_weight = 0.5
        else:
            if known_members.any():
                points = np.quantile(
                    values[known_members.any(axis=0)], np.linspace(0, 1, _COMPARED)
                )
            else:
                points = values[:0]
            indicators = values[:, None] <= points
            metric = "chebyshev"
            distance_weight = 1.0
        shares = (
            known_members
            @ indicators.astype(np.float64)
            / np.maximum(known_members.sum(axis=1, keepdims=True), 1)
        )
        if shares.shape[1]:
            distance += distance_weight * cdist(shares, shares, metric)
        else:
            distance += 0.0
    centring = np.eye(count) - 1 / count
    sizes, vectors = np.linalg.eigh(-centring @ distance**2 @ centring / 2)
    along = vectors[:, -1] * (-1 if vectors[0, -1] > 0 else 1)
    if sizes[-1] > 1e-12:
        return np.argsort(along.round(12), kind="stable")
    return np.arange(count)
