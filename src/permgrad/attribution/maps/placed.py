"""Where the map of a layer lies in its image: parts of the image are disturbed, and the
cells that change are noted.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.maps.drawn import enlarged
from permgrad.attribution.players.segments import ImageShape
from permgrad.base.arrays import Floats

#: Strips of an image that are disturbed one after the other along each dimension, and
#: lines of pixels.
_STRIPS = 8
_PIXELS = 10
#: Cells lie along a dimension of the image where it tells so much of which change, in
#: nats, and other dimensions less than so much of that; and where a straight line tells
#: so much of where they look, with no cell further beside it. They reach across so much
#: of it, and so much is told where they lie along one dimension alone.
_TOLD = 0.02
_ACROSS = 0.5
_STRAIGHT = 0.6
_BESIDE = 0.35
_REACH = 0.3
_PLAIN = 0.5
#: Where the centres of what cells see are so much further apart than the cells
#: themselves, these lie elsewhere.
_FURTHER = 1.5
#: Tokens of a network's own, before or behind those of an image.
_OWN_TOKENS = 8
#: Pixels by which a line of cells may be off, and the share of a value that is
#: rounding.
_SAME = 0.05
ROUNDING = 1e-5

Lines = tuple[Tensor, ...]
#: Returns how much cells ``(rows, *cells)`` change where each part of the image is
#: disturbed, or None if unknown.
Changes = Callable[[Sequence[Tensor]], Sequence[Tensor | None]]
#: A strip of an image: the dimension that it lies across, its first pixel and the one
#: behind it.
Strip = tuple[int, int, int]


# ---- how a value is read as a map ----------------------------------------------------
@dataclass(frozen=True)
class Layout:
    """How one row's value is read as a map: which of its dimensions runs along which of
    the image's.

    ``along`` names them (None: the value has no cells along it, or they are tokens),
    ``turned`` those that run backwards. ``steps`` are the pixels between the centres of
    what cells see, 0 without cells or where they were not looked at. Tokens lie along
    the dimension ``token`` row by row of a ``grid``, from ``first`` on.
    """

    along: tuple[int | None, ...]
    turned: tuple[bool, ...]
    steps: tuple[float, ...]
    grid: tuple[int, ...] = ()
    token: int = 0
    first: int = 0

    def take(self, values: Tensor, dims: int) -> Tensor:
        """Return values ``(*, *dims)`` as ``(*, features, *cells)``, with a line of
        cells along every dimension.
        """
        before = values.ndim - dims
        along: Sequence[int | None] = self.along
        if self.grid:
            token_axis = before + self.token
            values = values.narrow(
                token_axis, self.first, math.prod(self.grid)
            ).unflatten(token_axis, self.grid)
            along = range(self.token, self.token + len(self.grid))
        spatial = [before + dimension for dimension in along if dimension is not None]
        moved = values.movedim(spatial, list(range(-len(spatial), 0)))
        features = moved.shape[before : moved.ndim - len(spatial)]
        moved = moved.reshape(
            *moved.shape[:before],
            math.prod(features),
            *moved.shape[moved.ndim - len(spatial) :],
        )
        for axis, cell_dimension in enumerate(along):
            if cell_dimension is None:
                moved = moved.unsqueeze(before + 1 + axis)
        return moved.flip(
            [before + 1 + axis for axis, turned in enumerate(self.turned) if turned]
        )


def in_order(dims: int) -> Layout:
    """Return the layout of channels, then cells in the order of an image's pixels."""
    return Layout(tuple(range(1, dims + 1)), (False,) * dims, (0.0,) * dims)


def strips(first: int, last: int) -> list[tuple[int, int]]:
    """Return where strips of an image begin and end along a dimension, between two of
    its pixels.
    """
    edges = (
        np.linspace(first, last + 1, min(_STRIPS, last + 1 - first) + 1)
        .round()
        .astype(int)
        .tolist()
    )
    return list(itertools.pairwise(edges))


@dataclass(frozen=True)
class _Sight:
    """What the places along one dimension of a value see along one of the image: the
    middle, and how much it tells.
    """

    middle: Floats  # of what a place sees more than others do (NaN: nothing)
    outer_middle: Floats  # of all that it sees
    reach: float  # between the middles of the first strip and the last
    information: float  # in nats: 0 if every place sees the same


def _sight(middles: Sequence[float], change: Floats) -> _Sight:
    """Return what places see along a dimension, whose strips change them by ``(strips,
    places)``.
    """
    total = change.sum(axis=1)
    middle = np.array(middles)[total > 0]
    share = change[total > 0] / total[total > 0, None]
    if not len(share):
        undefined = np.full(change.shape[1], np.nan)
        return _Sight(undefined, undefined, 0.0, 0.0)
    # Every cell changes a little where all look at all: what counts is where it changes
    # more than others do.
    relative_share = np.divide(
        share, share.mean(axis=0), out=np.ones_like(share), where=share > 0
    )
    information = float((share * np.log(relative_share)).sum() / len(share))
    return _Sight(
        _middles(middle, (relative_share - 1).clip(0) * (share > 0)),
        _middles(middle, share),
        float(np.ptp(middles)),
        information,
    )


def _middles(middle: Floats, weights: Floats) -> Floats:
    """Return the middle of strips for each place, weighted ``(strips, places)``, NaN
    without any weight.
    """
    total = weights.sum(axis=0)
    return np.divide(
        middle @ weights, total, out=np.full(len(total), np.nan), where=total > 0
    )


def layout_of(
    middles: Sequence[Sequence[float]],
    changes: Sequence[Sequence[Floats]],
    made_of: Collection[tuple[int, ...]] = (),
) -> Layout | None:
    """Return how a value is read as a map, or None if its cells lie on no grid.

    ``changes``: for each dimension of the image, and each of a row's value, how much
    its places change with each strip, ``(strips, places)``. ``middles``: of the strips.
    ``made_of``: shapes of a row of what the value is made of, which tell the grid of an
    image's tokens.
    """
    if not changes or len(changes[0]) < 2:
        return None
    sights = []
    for middle, by_dim in zip(middles, changes, strict=True):
        sights.append([_sight(middle, change) for change in by_dim])
    return _tokens(sights, made_of) or _apart(sights)


def _fitted(positions: Floats, middles: Floats, reach: float) -> tuple[float, float]:
    """Return by how much middles move from one place to the next, and how well a
    straight line tells it (0: not).
    """
    finite_mask = np.isfinite(middles)
    positions = positions[finite_mask]
    middles = middles[finite_mask]
    if len(positions) < 2 or np.ptp(positions) == 0 or np.ptp(middles) == 0:
        return 0.0, 0.0
    apart = positions - positions.mean()
    slope = float(apart @ middles / (apart @ apart))
    residuals = middles - middles.mean() - slope * apart
    explained_share = 1 - float(residuals.var() / middles.var())
    is_far = abs(slope) * np.ptp(positions) >= _REACH * reach
    return float(
        slope
    ), explained_share if is_far and explained_share >= _STRAIGHT and np.abs(
        residuals
    ).max() <= _BESIDE * reach else 0.0


def _apart(sights: Sequence[Sequence[_Sight]]) -> Layout | None:
    """Return the layout of a value with a dimension for each of the image, or for
    some.
    """
    along: list[int | None] = []
    steps: list[float] = []
    carried_information: list[float] = []
    untold = [0.0]
    for by_dim in sights:
        best_dimension = int(
            np.argmax([candidate_sight.information for candidate_sight in by_dim])
        )
        sight = by_dim[best_dimension]
        positions = np.arange(len(by_dim[best_dimension].middle), dtype=float)
        # A map that is turned by an angle moves along both dimensions.
        across = max(
            (
                other_sights[best_dimension].information
                for other_sights in sights
                if other_sights is not by_dim
            ),
            default=0.0,
        )
        straight = _fitted(positions, sight.middle, sight.reach)[1] > 0
        carried = (
            straight
            and sight.information >= _TOLD
            and across < _ACROSS * sight.information
        )
        along.append(best_dimension if carried else None)
        steps.append(
            _fitted(positions, sight.outer_middle, sight.reach)[0] if carried else 0.0
        )
        (carried_information if carried else untold).append(sight.information)
    carried_dimensions = [dimension for dimension in along if dimension is not None]
    if (
        not carried_dimensions
        or len(set(carried_dimensions)) < len(carried_dimensions)
        or max(untold) > _ACROSS * min(carried_information)
    ):
        return None
    # A value may hold one frame of a film, or a line of cells across all channels of a
    # series.
    if (
        len(carried_dimensions) < min(len(sights), 2)
        and min(carried_information) < _PLAIN
    ):
        return None
    return Layout(
        tuple(along),
        tuple(cell_step < 0 for cell_step in steps),
        tuple(map(abs, steps)),
    )


def _tokens(
    sights: Sequence[Sequence[_Sight]], made_of: Collection[tuple[int, ...]]
) -> Layout | None:
    """Return the layout of a value with one dimension for all of the image's, as
    patches one after the other.
    """
    best_layout: tuple[float, Layout | None] = (0.0, None)
    for token, token_count in enumerate(len(sight.middle) for sight in sights[0]):
        token_sights = [by_dim[token] for by_dim in sights]
        is_located = all(
            token_sight.information
            >= max(_TOLD, *(other_sight.information for other_sight in by_dim))
            for token_sight, by_dim in zip(token_sights, sights, strict=True)
        )
        if len(sights) < 2 or not is_located:
            continue
        shapes = [shape for shape in made_of if len(shape) == len(sights[0])]
        for grid in _grids_of_tokens(token_count, token, shapes, made_of, len(sights)):
            extra = token_count - math.prod(grid)
            index = np.indices(grid).reshape(len(grid), -1).astype(float)
            for first in {0, extra}:
                token_slice = slice(first, first + token_count - extra)
                line_fits = []
                for grid_line, sight in zip(index, token_sights, strict=True):
                    line_fits.append(
                        _fitted(grid_line, sight.middle[token_slice], sight.reach)
                    )
                steps, explained_shares = zip(*line_fits, strict=True)
                if (
                    min(explained_shares) > 0 < min(steps)
                    and sum(explained_shares) > best_layout[0]
                ):
                    steps = tuple(
                        _fitted(
                            grid_line, sight.outer_middle[token_slice], sight.reach
                        )[0]
                        for grid_line, sight in zip(index, token_sights, strict=True)
                    )
                    no_axes = (None,) * len(sights), (False,) * len(sights)
                    best_layout = (
                        sum(explained_shares),
                        Layout(*no_axes, steps, grid, token, first),
                    )
    return best_layout[1]


def _grids_of_tokens(
    size: int,
    token: int,
    shapes: Sequence[tuple[int, ...]],
    made_of: Collection[tuple[int, ...]],
    dims: int,
) -> Iterator[tuple[int, ...]]:
    """Yield the grids that so many tokens may lie on, some of which are the network's
    own.

    A map that they are made of tells the grid, and fewer tokens that they are made of
    tell how many there are of the image. Else all that multiply out are tried.

    Args:
        size: how many tokens there are.
        token: the dimension that lists them.
        shapes: of what they are made of, with as many dimensions as they have.
        made_of: shapes of all that they are made of.
        dims: of the image.
    """
    least = max(4, size - _OWN_TOKENS)
    maps = set()
    for shape in made_of:
        if len(shape) != dims + 1:
            continue
        # Heads of attention hold the tokens beside two short sides, and no map.
        if size in shape:
            fewest = size
        else:
            fewest = least
        for cells in (shape[1:], shape[:-1]):
            if min(cells) > 1 and fewest <= math.prod(cells) <= size:
                maps.add(cells)
    known_grids = sorted(maps)
    if known_grids:
        yield from known_grids
        return
    counts = [shape[token] for shape in shapes if least <= shape[token] <= size]
    extra_counts = [size - min(counts)] if counts else range(size - least + 1)
    for extra in extra_counts:
        yield from _grids(size - extra, dims)


def _grids(cell_count: int, dims: int) -> Iterator[tuple[int, ...]]:
    """Yield the grids of so many cells, with at least two along every dimension."""
    if dims == 1:
        if cell_count > 1:
            yield (cell_count,)
        return
    for lines in range(2, cell_count // 2 + 1):
        if cell_count % lines == 0:
            yield from (
                (lines, *behind) for behind in _grids(cell_count // lines, dims - 1)
            )


# ---- where its cells lie -------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Lie:
    """Where the lines of a map's cells lie in an image, by dimension, and the first and
    last pixel that it sees.
    """

    lines: Lines
    seen: tuple[tuple[int, int], ...]

    def enlarged(self, maps: Tensor, size: tuple[int, ...], how: str) -> Tensor:
        """Return maps ``(rows, targets, *cells)`` at an image's size, with 0 where the
        layer does not look.
        """
        regular_lines = even_lines(maps.shape[2:], size)
        covers_image = all(
            first <= 0 and last_pixel >= pixels - 1
            for (first, last_pixel), pixels in zip(self.seen, size, strict=True)
        )
        if covers_image and all(
            bool((a - b).abs().max() < _SAME)
            for a, b in zip(self.lines, regular_lines, strict=True)
        ):
            return enlarged(maps, size, how)
        large = maps.reshape(*maps.shape[:2], *map(len, self.lines))
        for dimension, (cell_line, seen_range, pixels) in enumerate(
            zip(self.lines, self.seen, size, strict=True), start=2
        ):
            large = (
                large.movedim(dimension, -1)
                @ _weights(cell_line, seen_range, pixels, how).to(large)
            ).movedim(-1, dimension)
        return large


def even_lines(cells: Sequence[int], size: Sequence[int]) -> Lines:
    """Return where lines of cells lie that cover an image evenly.

    Maps of one dimension run along its width.
    """
    cells = (*[1] * (len(size) - len(cells)), *cells)
    return tuple(
        (torch.arange(n) + 0.5) * pixels / n - 0.5
        for n, pixels in zip(cells, size, strict=True)
    )


def _weights(
    line: Tensor, seen_pixels: tuple[int, int], pixels: int, how: str
) -> Tensor:
    """Return what each line of cells counts for each pixel along a dimension, ``(lines,
    pixels)``.
    """
    pixel_positions = torch.arange(pixels, dtype=line.dtype)
    last_line = len(line) - 1
    lower_line = (torch.searchsorted(line, pixel_positions, right=True) - 1).clamp(
        0, max(last_line - 1, 0)
    )
    upper_line = (lower_line + 1).clamp(max=last_line)
    share = (
        (pixel_positions - line[lower_line])
        / (line[upper_line] - line[lower_line]).clamp_min(_SAME)
    ).clamp(0, 1)
    if how != "bilinear":
        share = share.round()
    weights = torch.zeros(len(line), pixels, dtype=line.dtype)
    weights.scatter_add_(
        0, torch.stack([lower_line, upper_line]), torch.stack([1 - share, share])
    )
    return weights * (
        (pixel_positions >= seen_pixels[0]) & (pixel_positions <= seen_pixels[1])
    )


def measured(shape: ImageShape, layout: Layout | None, changes: Changes) -> Lie | None:
    """Return where the cells lie that ``changes`` tells of, or None if what they see
    lies further apart.
    """
    cells = _Cells(shape, changes)
    cells.ask(
        [
            (dim, edge_pixel, edge_pixel + 1)
            for dim, pixels in enumerate(shape.size)
            for edge_pixel in {0, pixels - 1}
        ]
    )
    pairs = [_line(shape, dim, cells) for dim in range(len(shape.size))]
    if layout is not None:
        steps = layout.steps
    else:
        steps = (0.0,) * len(pairs)
    apart = []
    for cell_line, _ in pairs:
        if len(cell_line) > 1:
            apart.append(float(cell_line[1] - cell_line[0]))
        else:
            apart.append(math.inf)
    if any(
        expected_step > _FURTHER * measured_step
        for expected_step, measured_step in zip(steps, apart, strict=True)
    ):
        return None
    return Lie(
        tuple(cell_line for cell_line, _ in pairs),
        tuple(seen_pixels for _, seen_pixels in pairs),
    )


class _Cells:
    """How much the cells along a dimension change with strips across it, each asked for
    once.
    """

    def __init__(self, shape: ImageShape, changes: Changes) -> None:
        self._shape = shape
        self._changes = changes
        self._found: dict[Strip, Tensor] = {}

    def ask(self, strips: Sequence[Strip]) -> None:
        """Disturb several strips of the image at once."""
        new = []
        for candidate_strip in strips:
            if candidate_strip not in self._found:
                new.append(candidate_strip)
        blocks = [strip(self._shape, *new_strip) for new_strip in new]
        for measured_strip, change in zip(
            new, self._changes(blocks) if new else (), strict=True
        ):
            cells = torch.zeros(1)
            if change is not None:
                cells = (
                    change.movedim(measured_strip[0] + 1, -1).flatten(0, -2).sum(dim=0)
                )
            self._found[measured_strip] = cells

    def of(self, dim: int, start: int, end: int) -> Tensor:
        """Return the change of each line of cells along a dimension."""
        self.ask([(dim, start, end)])
        return self._found[dim, start, end]


def _line(
    shape: ImageShape, dim: int, all_cells: _Cells
) -> tuple[Tensor, tuple[int, int]]:
    """Return where the lines of cells lie along a dimension, and the pixels that they
    see.

    They cover what they see evenly, or by whole pixels, and around its middle, unless
    the cells that a line of pixels changes say otherwise by more than half a cell, as
    those do of an image that is padded.
    """
    cells = partial(all_cells.of, dim)
    count = len(cells(0, 1))
    seen_pixels = _seen_but_steps(cells, shape.size[dim], count)
    first, last_pixel = seen_pixels
    ends = _ends_of_changes(all_cells, dim, seen_pixels, count)
    cell_step = _step_of(ends, (last_pixel - first + 1) / count)
    middle = (first + last_pixel) / 2
    cell_line = middle + (torch.arange(count) - (count - 1) / 2) * cell_step
    if ends.lower and ends.upper:
        behind = (_behind(ends.lower, cell_step) + _behind(ends.upper, cell_step)) / 2
        line_offset = cell_step * (behind + (count - 1) / 2) - middle
        if abs(line_offset) > cell_step / 2 + _SAME:
            cell_line = cell_line + round(2 * line_offset) / 2
    return cell_line.float(), seen_pixels


def _seen_but_steps(
    cells: Callable[[int, int], Tensor], pixels: int, count: int
) -> tuple[int, int]:
    """Return the first and the last pixel that ``count`` lines of cells see.

    Steps leave out pixels at the edge, which lie on the last cell all the same.
    """
    first, last_pixel = seen_along(
        pixels, lambda start, end: bool(cells(start, end).any())
    )
    cell_size = (last_pixel - first + 1) / count - _SAME
    if first < cell_size:
        first = 0
    if pixels - 1 - last_pixel < cell_size:
        last_pixel = pixels - 1
    return first, last_pixel


class _Ends(NamedTuple):
    """Where the change of a line of pixels ends, with more cells beyond, as ``(pixel,
    cell)``: before the first cell, and after the last one.
    """

    lower: list[tuple[int, int]]
    upper: list[tuple[int, int]]


def _ends_of_changes(
    all_cells: _Cells, dim: int, seen_pixels: tuple[int, int], count: int
) -> _Ends:
    """Return which of ``count`` lines of cells some lines of pixels change."""
    ends = _Ends([], [])
    cells = partial(all_cells.of, dim)
    if count == 1 or all(bool(cells(pixel, pixel + 1).all()) for pixel in seen_pixels):
        # Where the outer pixels change all cells, those between them do.
        return ends
    first, last_pixel = seen_pixels
    pixel_positions = np.linspace(
        first, last_pixel, min(_PIXELS, last_pixel - first + 1)
    )
    lines = np.unique(pixel_positions.round().astype(int)).tolist()
    all_cells.ask([(dim, line_pixel, line_pixel + 1) for line_pixel in lines])
    for line_pixel in lines:
        changed = torch.nonzero(cells(line_pixel, line_pixel + 1)).flatten().tolist()
        if changed and changed[0] > 0:
            ends.lower.append((line_pixel, changed[0]))
        if changed and changed[-1] < count - 1:
            ends.upper.append((line_pixel, changed[-1]))
    return ends


def _step_of(ends: _Ends, even_step: float) -> float:
    """Return the pixels from cell to cell: by whole pixels where the changes follow
    those clearly better than an even step.
    """
    steps = [even_step, *_whole_steps(ends.lower, ends.upper)]
    drift = [max(_drift(ends.lower, step), _drift(ends.upper, step)) for step in steps]
    if len(steps) > 1 and min(drift[1:]) < drift[0] - 0.3:
        return steps[int(np.argmin(drift))]
    return even_step


def _behind(side_ends: list[tuple[int, int]], cell_step: float) -> float:
    """Return by how many cells the pixels of one side lie behind their cells."""
    return float(
        np.mean([pixel / cell_step - cell_index for pixel, cell_index in side_ends])
    )


def seen_along(pixels: int, changed: Callable[[int, int], bool]) -> tuple[int, int]:
    """Return the first and the last pixel along a dimension that change anything."""
    first = 0
    last_pixel = pixels - 1
    if not changed(0, 1):
        if not changed(0, pixels):
            return first, last_pixel
        first = bisect_left(
            range(last_pixel), True, key=lambda pixel: changed(0, pixel + 1)
        )
    if not changed(pixels - 1, pixels):
        last_pixel -= bisect_left(
            range(last_pixel - first),
            True,
            key=lambda edge_distance: changed(pixels - 1 - edge_distance, pixels),
        )
    return first, last_pixel


def _whole_steps(*sides: list[tuple[int, int]]) -> list[float]:
    """Return the whole numbers of pixels for a cell, or of cells for a pixel, that are
    next to what was measured.
    """
    slopes = []
    for side_ends in sides:
        if side_ends and side_ends[-1][1] > side_ends[0][1]:
            slopes.append(
                (side_ends[-1][0] - side_ends[0][0])
                / (side_ends[-1][1] - side_ends[0][1])
            )
    if not slopes:
        return []
    slope = sum(slopes) / len(slopes)
    nearest_steps = [
        max(1, math.floor(max(slope, 1 / slope))),
        math.ceil(max(slope, 1 / slope)),
    ]
    return [
        float(whole_step) if slope >= 1 else 1 / whole_step
        for whole_step in nearest_steps
    ]


def _drift(side: list[tuple[int, int]], step: float) -> float:
    """Return by how many cells the ends of what pixels change move away from lines so
    far apart.
    """
    if side:
        return float(np.ptp([cell_index - pixel / step for pixel, cell_index in side]))
    return 0.0


def strip(shape: ImageShape, dim: int, start: int, end: int) -> Tensor:
    """Return a strip across an image, true between two pixels of a dimension."""
    pixel_positions = torch.arange(shape.size[dim])
    return ((pixel_positions >= start) & (pixel_positions < end)).reshape(
        [-1 if dimension == dim else 1 for dimension in range(len(shape.size))]
    )
