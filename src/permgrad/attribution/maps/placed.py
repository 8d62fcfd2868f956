"""Where the map of a layer lies in its image: parts of the image are disturbed, and the cells that change are noted."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.maps.drawn import enlarged
from permgrad.attribution.players.segments import ImageShape
from permgrad.base.arrays import Floats

#: Strips of an image that are disturbed one after the other along each dimension, and lines of pixels.
_STRIPS, _PIXELS = 8, 10
#: Cells lie along a dimension of the image where it tells so much of which change, in nats, and other dimensions less
#: than so much of that; and where a straight line tells so much of where they look, with no cell further beside it.
#: They reach across so much of it, and so much is told where they lie along one dimension alone.
_TOLD, _ACROSS, _STRAIGHT, _BESIDE, _REACH, _PLAIN = 0.02, 0.5, 0.6, 0.35, 0.3, 0.5
#: Where the centres of what cells see are so much further apart than the cells themselves, these lie elsewhere.
_FURTHER = 1.5
#: Tokens of a network's own, before or behind those of an image.
_OWN_TOKENS = 8
#: Pixels by which a line of cells may be off, and the share of a value that is rounding.
_SAME, ROUNDING = 0.05, 1e-5

Lines = tuple[Tensor, ...]
#: Returns how much cells ``(rows, *cells)`` change where each part of the image is disturbed, or None if unknown.
Changes = Callable[[Sequence[Tensor]], Sequence[Tensor | None]]
#: A strip of an image: the dimension that it lies across, its first pixel and the one behind it.
Strip = tuple[int, int, int]


# ---- how a value is read as a map ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Layout:
    """How one row's value is read as a map: which of its dimensions runs along which of the image's.

    ``along`` names them (None: the value has no cells along it, or they are tokens), ``turned`` those that run
    backwards. ``steps`` are the pixels between the centres of what cells see, 0 without cells. Tokens lie along the
    dimension ``token`` row by row of a ``grid``, from ``first`` on.
    """

    along: tuple[int | None, ...]
    turned: tuple[bool, ...]
    steps: tuple[float, ...]
    grid: tuple[int, ...] = ()
    token: int = 0
    first: int = 0

    def take(self, values: Tensor, dims: int) -> Tensor:
        """Return values ``(*, *dims)`` as ``(*, features, *cells)``, with a line of cells along every dimension."""
        before = values.ndim - dims
        along: Sequence[int | None] = self.along
        if self.grid:
            place = before + self.token
            values = values.narrow(place, self.first, math.prod(self.grid)).unflatten(
                place, self.grid
            )
            along = range(self.token, self.token + len(self.grid))
        spatial = [before + dim for dim in along if dim is not None]
        moved = values.movedim(spatial, list(range(-len(spatial), 0)))
        features = moved.shape[before : moved.ndim - len(spatial)]
        moved = moved.reshape(
            *moved.shape[:before],
            math.prod(features),
            *moved.shape[moved.ndim - len(spatial) :],
        )
        for axis, dim in enumerate(along):
            moved = moved.unsqueeze(before + 1 + axis) if dim is None else moved
        return moved.flip(
            [before + 1 + axis for axis, turned in enumerate(self.turned) if turned]
        )


def strips(first: int, last: int) -> list[tuple[int, int]]:
    """Return where strips of an image begin and end along a dimension, between two of its pixels."""
    edges = (
        np.linspace(first, last + 1, min(_STRIPS, last + 1 - first) + 1)
        .round()
        .astype(int)
        .tolist()
    )
    return list(itertools.pairwise(edges))


@dataclass(frozen=True)
class _Sight:
    """What the places along one dimension of a value see along one of the image: the middle, and how much it tells."""

    middle: Floats  # of what a place sees more than others do (NaN: nothing)
    whole: Floats  # of all that it sees
    reach: float  # between the middles of the first strip and the last
    told: float  # information in nats: 0 if every place sees the same


def _sight(middles: Sequence[float], change: Floats) -> _Sight:
    """Return what places see along a dimension, whose strips change them by ``(strips, places)``."""
    total = change.sum(axis=1)
    middle, share = (
        np.array(middles)[total > 0],
        change[total > 0] / total[total > 0, None],
    )
    if not len(share):
        none = np.full(change.shape[1], np.nan)
        return _Sight(none, none, 0.0, 0.0)
    # Every cell changes a little where all look at all: what counts is where it changes more than others do.
    more = np.divide(
        share, share.mean(axis=0), out=np.ones_like(share), where=share > 0
    )
    told = float((share * np.log(more)).sum() / len(share))
    return _Sight(
        _middles(middle, (more - 1).clip(0) * (share > 0)),
        _middles(middle, share),
        float(np.ptp(middles)),
        told,
    )


def _middles(middle: Floats, weights: Floats) -> Floats:
    """Return the middle of strips for each place, weighted ``(strips, places)``, NaN without any weight."""
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

    ``changes``: for each dimension of the image, and each of a row's value, how much its places change with each strip,
    ``(strips, places)``. ``middles``: of the strips. ``made_of``: shapes of a row of
    what the value is made of, which tell the grid of an image's tokens.
    """
    if not changes or len(changes[0]) < 2:
        return None
    sights = [
        [_sight(middle, change) for change in by_dim]
        for middle, by_dim in zip(middles, changes, strict=True)
    ]
    return _tokens(sights, made_of) or _apart(sights)


def _fitted(places: Floats, middles: Floats, reach: float) -> tuple[float, float]:
    """Return by how much middles move from one place to the next, and how well a straight line tells it (0: not)."""
    known = np.isfinite(middles)
    places, middles = places[known], middles[known]
    if len(places) < 2 or np.ptp(places) == 0 or np.ptp(middles) == 0:
        return 0.0, 0.0
    apart = places - places.mean()
    slope = float(apart @ middles / (apart @ apart))
    beside = middles - middles.mean() - slope * apart
    told = 1 - float(beside.var() / middles.var())
    far = abs(slope) * np.ptp(places) >= _REACH * reach
    return float(slope), told if far and told >= _STRAIGHT and np.abs(
        beside
    ).max() <= _BESIDE * reach else 0.0


def _apart(sights: Sequence[Sequence[_Sight]]) -> Layout | None:
    """Return the layout of a value with a dimension for each of the image, or for some."""
    along: list[int | None] = []
    steps: list[float] = []
    told: list[float] = []
    untold = [0.0]
    for by_dim in sights:
        dim = int(np.argmax([one.told for one in by_dim]))
        sight, places = by_dim[dim], np.arange(len(by_dim[dim].middle), dtype=float)
        # A map that is turned by an angle moves along both dimensions.
        across = max(
            (other[dim].told for other in sights if other is not by_dim), default=0.0
        )
        straight = _fitted(places, sight.middle, sight.reach)[1] > 0
        carried = straight and sight.told >= _TOLD and across < _ACROSS * sight.told
        along.append(dim if carried else None)
        steps.append(_fitted(places, sight.whole, sight.reach)[0] if carried else 0.0)
        (told if carried else untold).append(sight.told)
    known = [dim for dim in along if dim is not None]
    if not known or len(set(known)) < len(known) or max(untold) > _ACROSS * min(told):
        return None
    # A value may hold one frame of a film, or a line of cells across all channels of a series.
    if len(known) < min(len(sights), 2) and min(told) < _PLAIN:
        return None
    return Layout(
        tuple(along), tuple(step < 0 for step in steps), tuple(map(abs, steps))
    )


def _tokens(
    sights: Sequence[Sequence[_Sight]], made_of: Collection[tuple[int, ...]]
) -> Layout | None:
    """Return the layout of a value with one dimension for all of the image's, as patches one after the other."""
    best: tuple[float, Layout | None] = (0.0, None)
    for token, size in enumerate(len(sight.middle) for sight in sights[0]):
        own = [by_dim[token] for by_dim in sights]
        tell = all(
            one.told >= max(_TOLD, *(other.told for other in by_dim))
            for one, by_dim in zip(own, sights, strict=True)
        )
        if len(sights) < 2 or not tell:
            continue
        shapes = [shape for shape in made_of if len(shape) == len(sights[0])]
        for grid in _grids_of_tokens(size, token, shapes, made_of, len(sights)):
            extra = size - math.prod(grid)
            index = np.indices(grid).reshape(len(grid), -1).astype(float)
            for first in {0, extra}:
                part = slice(first, first + size - extra)
                fits = [
                    _fitted(line, sight.middle[part], sight.reach)
                    for line, sight in zip(index, own, strict=True)
                ]
                steps, told = zip(*fits, strict=True)
                if min(told) > 0 < min(steps) and sum(told) > best[0]:
                    steps = tuple(
                        _fitted(line, sight.whole[part], sight.reach)[0]
                        for line, sight in zip(index, own, strict=True)
                    )
                    none = (None,) * len(sights), (False,) * len(sights)
                    best = sum(told), Layout(*none, steps, grid, token, first)
    return best[1]


def _grids_of_tokens(
    size: int,
    token: int,
    shapes: Sequence[tuple[int, ...]],
    made_of: Collection[tuple[int, ...]],
    dims: int,
) -> Iterator[tuple[int, ...]]:
    """Yield the grids that so many tokens may lie on, some of which are the network's own.

    A map that they are made of tells the grid, and fewer tokens that they are made of tell
    how many there are of the image. Else all that multiply out are tried.

    Args:
        size: how many tokens there are.
        token: the dimension that lists them.
        shapes: of what they are made of, with as many dimensions as they have.
        made_of: shapes of all that they are made of.
        dims: of the image.
    """
    least = max(4, size - _OWN_TOKENS)
    maps = {
        cells
        for shape in made_of
        for cells in (shape[1:], shape[:-1])
        if len(shape) == dims + 1 and min(cells) > 1
    }
    known = sorted(cells for cells in maps if least <= math.prod(cells) <= size)
    if known:
        yield from known
        return
    counts = [shape[token] for shape in shapes if least <= shape[token] <= size]
    own = [size - min(counts)] if counts else range(size - least + 1)
    for extra in own:
        yield from _grids(size - extra, dims)


def _grids(places: int, dims: int) -> Iterator[tuple[int, ...]]:
    """Yield the grids of so many cells, with at least two along every dimension."""
    if dims == 1:
        if places > 1:
            yield (places,)
        return
    for lines in range(2, places // 2 + 1):
        if places % lines == 0:
            yield from (
                (lines, *behind) for behind in _grids(places // lines, dims - 1)
            )


# ---- where its cells lie ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Lie:
    """Where the lines of a map's cells lie in an image, by dimension, and the first and last pixel that it sees."""

    lines: Lines
    seen: tuple[tuple[int, int], ...]

    def enlarged(self, maps: Tensor, size: tuple[int, ...], how: str) -> Tensor:
        """Return maps ``(rows, targets, *cells)`` at an image's size, with 0 where the layer does not look."""
        even = even_lines(maps.shape[2:], size)
        whole = all(
            first <= 0 and last >= pixels - 1
            for (first, last), pixels in zip(self.seen, size, strict=True)
        )
        if whole and all(
            bool((a - b).abs().max() < _SAME)
            for a, b in zip(self.lines, even, strict=True)
        ):
            return enlarged(maps, size, how)
        large = maps.reshape(*maps.shape[:2], *map(len, self.lines))
        for dim, (line, seen, pixels) in enumerate(
            zip(self.lines, self.seen, size, strict=True), start=2
        ):
            large = (
                large.movedim(dim, -1) @ _weights(line, seen, pixels, how).to(large)
            ).movedim(-1, dim)
        return large


def even_lines(cells: Sequence[int], size: Sequence[int]) -> Lines:
    """Return where lines of cells lie that cover an image evenly. Maps of one dimension run along its width."""
    cells = (*[1] * (len(size) - len(cells)), *cells)
    return tuple(
        (torch.arange(n) + 0.5) * pixels / n - 0.5
        for n, pixels in zip(cells, size, strict=True)
    )


def _weights(line: Tensor, seen: tuple[int, int], pixels: int, how: str) -> Tensor:
    """Return what each line of cells counts for each pixel along a dimension, ``(lines, pixels)``."""
    at, last = torch.arange(pixels, dtype=line.dtype), len(line) - 1
    low = (torch.searchsorted(line, at, right=True) - 1).clamp(0, max(last - 1, 0))
    high = (low + 1).clamp(max=last)
    share = ((at - line[low]) / (line[high] - line[low]).clamp_min(_SAME)).clamp(0, 1)
    share = share if how == "bilinear" else share.round()
    weights = torch.zeros(len(line), pixels, dtype=line.dtype)
    weights.scatter_add_(0, torch.stack([low, high]), torch.stack([1 - share, share]))
    return weights * ((at >= seen[0]) & (at <= seen[1]))


def measured(shape: ImageShape, layout: Layout | None, changes: Changes) -> Lie | None:
    """Return where the cells lie that ``changes`` tells of, or None if what they see lies further apart."""
    cells = _Cells(shape, changes)
    cells.ask(
        [
            (dim, at, at + 1)
            for dim, pixels in enumerate(shape.size)
            for at in {0, pixels - 1}
        ]
    )
    pairs = [_line(shape, dim, cells) for dim in range(len(shape.size))]
    steps = layout.steps if layout is not None else (0.0,) * len(pairs)
    apart = [
        float(line[1] - line[0]) if len(line) > 1 else math.inf for line, _ in pairs
    ]
    if any(one > _FURTHER * other for one, other in zip(steps, apart, strict=True)):
        return None
    return Lie(tuple(line for line, _ in pairs), tuple(seen for _, seen in pairs))


class _Cells:
    """How much the cells along a dimension change with strips across it, each asked for once."""

    def __init__(self, shape: ImageShape, changes: Changes) -> None:
        self._shape, self._changes = shape, changes
        self._found: dict[Strip, Tensor] = {}

    def ask(self, strips: Sequence[Strip]) -> None:
        """Disturb several strips of the image at once."""
        new = [one for one in strips if one not in self._found]
        blocks = [strip(self._shape, *one) for one in new]
        for one, change in zip(new, self._changes(blocks) if new else (), strict=True):
            cells = torch.zeros(1)
            if change is not None:
                cells = change.movedim(one[0] + 1, -1).flatten(0, -2).sum(dim=0)
            self._found[one] = cells

    def of(self, dim: int, start: int, end: int) -> Tensor:
        """Return the change of each line of cells along a dimension."""
        self.ask([(dim, start, end)])
        return self._found[dim, start, end]


def _line(
    shape: ImageShape, dim: int, all_cells: _Cells
) -> tuple[Tensor, tuple[int, int]]:
    """Return where the lines of cells lie along a dimension, and the pixels that they see.

    They cover what they see evenly, or by whole pixels, and around its middle, unless the cells that a line of pixels
    changes say otherwise by more than half a cell, as those do of an image that is padded.
    """
    cells = partial(all_cells.of, dim)
    pixels, count = shape.size[dim], len(cells(0, 1))
    first, last = seen_along(pixels, lambda start, end: bool(cells(start, end).any()))
    # Steps leave out pixels at the edge, which lie on the last cell all the same.
    cell = (last - first + 1) / count - _SAME
    first, last = (
        0 if first < cell else first,
        pixels - 1 if pixels - 1 - last < cell else last,
    )
    step, middle = (last - first + 1) / count, (first + last) / 2
    ends: list[
        tuple[int, int, int]
    ] = []  # a line of pixels, the first and the last cell that it changes
    # Where the outer pixels change all cells, those between them do.
    if count > 1 and not all(bool(cells(at, at + 1).all()) for at in (first, last)):
        wanted = np.linspace(first, last, min(_PIXELS, last - first + 1))
        lines = np.unique(wanted.round().astype(int)).tolist()
        all_cells.ask([(dim, at, at + 1) for at in lines])
        for at in lines:
            changed = torch.nonzero(cells(at, at + 1)).flatten().tolist()
            ends += [(at, changed[0], changed[-1])] if changed else []
    low = [(at, cell) for at, cell, _ in ends if cell > 0]
    high = [(at, cell) for at, _, cell in ends if cell < count - 1]
    steps = [step, *_whole_steps(low, high)]
    drift = [max(_drift(low, one), _drift(high, one)) for one in steps]
    if len(steps) > 1 and min(drift[1:]) < drift[0] - 0.3:
        step = steps[int(np.argmin(drift))]
    line = middle + (torch.arange(count) - (count - 1) / 2) * step
    if low and high:
        behind = (
            sum(
                float(np.mean([at / step - cell for at, cell in side]))
                for side in (low, high)
            )
            / 2
        )
        off = step * (behind + (count - 1) / 2) - middle
        if abs(off) > step / 2 + _SAME:
            line = line + round(2 * off) / 2
    return line.float(), (first, last)


def seen_along(pixels: int, changed: Callable[[int, int], bool]) -> tuple[int, int]:
    """Return the first and the last pixel along a dimension that change anything."""
    first, last = 0, pixels - 1
    if not changed(0, 1):
        if not changed(0, pixels):
            return first, last
        first = bisect_left(range(last), True, key=lambda at: changed(0, at + 1))
    if not changed(pixels - 1, pixels):
        last -= bisect_left(
            range(last - first), True, key=lambda at: changed(pixels - 1 - at, pixels)
        )
    return first, last


def _whole_steps(*sides: list[tuple[int, int]]) -> list[float]:
    """Return the whole numbers of pixels for a cell, or of cells for a pixel, that are next to what was measured."""
    slopes = [
        (side[-1][0] - side[0][0]) / (side[-1][1] - side[0][1])
        for side in sides
        if side and side[-1][1] > side[0][1]
    ]
    if not slopes:
        return []
    slope = sum(slopes) / len(slopes)
    near = [max(1, math.floor(max(slope, 1 / slope))), math.ceil(max(slope, 1 / slope))]
    return [float(one) if slope >= 1 else 1 / one for one in near]


def _drift(side: list[tuple[int, int]], step: float) -> float:
    """Return by how many cells the ends of what pixels change move away from lines so far apart."""
    return float(np.ptp([cell - at / step for at, cell in side])) if side else 0.0


def strip(shape: ImageShape, dim: int, start: int, end: int) -> Tensor:
    """Return a strip across an image, true between two pixels of a dimension."""
    at = torch.arange(shape.size[dim])
    return ((at >= start) & (at < end)).reshape(
        [-1 if each == dim else 1 for each in range(len(shape.size))]
    )
