"""Where a map lies in its image: what its layer sees is measured, and the map is enlarged to where its cells lie."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.maps.drawn import enlarged
from permgrad.attribution.players.segments import ImageShape

#: Blocks of an image that are disturbed, and by how many strips the block moves along each dimension from one to the
#: next: no two share a strip, and where a block lies along one dimension says little of the others.
_BLOCKS, _MOVES = 8, (1, 3, 5)
#: Where the changed cells lie should go along with where the blocks lie at least so much, but move no further: deep
#: networks blur, so that it moves less, and cells said to lie in all of an image of which a part is seen move more.
_AGREES, _FURTHER = 0.5, 1.4
#: Pixels by which a line of cells may be off, and the share of a value that is rounding.
_SAME, ROUNDING = 0.05, 1e-5

Lines = tuple[Tensor, ...]
#: Returns how much a layer's cells change ``(rows, *cells)`` if a block of the image is disturbed, or None if unknown.
Changes = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, eq=False)
class Lie:
    """Where the lines of a map's cells lie in an image, by dimension, and the first and last pixel that it sees."""

    lines: Lines
    seen: tuple[tuple[int, int], ...]

    def enlarged(self, maps: Tensor, size: tuple[int, ...], how: str) -> Tensor:
        """Return maps ``(rows, targets, *cells)`` at an image's size, with 0 where the layer does not look."""
        even = even_lines(maps.shape[2:], size)
        whole = all(first <= 0 and last >= pixels - 1 for (first, last), pixels in zip(self.seen, size, strict=True))
        if whole and all(bool((a - b).abs().max() < _SAME) for a, b in zip(self.lines, even, strict=True)):
            return enlarged(maps, size, how)
        large = maps.reshape(*maps.shape[:2], *map(len, self.lines))
        for dim, (line, seen, pixels) in enumerate(zip(self.lines, self.seen, size, strict=True), start=2):
            large = (large.movedim(dim, -1) @ _weights(line, seen, pixels, how).to(large)).movedim(-1, dim)
        return large


def even_lines(cells: Sequence[int], size: Sequence[int]) -> Lines:
    """Return where lines of cells lie that cover an image evenly. Maps of one dimension run along its width."""
    cells = (*[1] * (len(size) - len(cells)), *cells)
    return tuple((torch.arange(n) + 0.5) * pixels / n - 0.5 for n, pixels in zip(cells, size, strict=True))


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


# ---- measured --------------------------------------------------------------------------------------------------------
def measured(shape: ImageShape, lines: Lines, changes: Changes) -> Lie | None:
    """Return where a map lies whose lines are said to lie there, or None if other cells change with their pixels."""
    if not _agree(shape, lines, changes):
        return None
    return Lie(lines, tuple(_seen(shape, dim, line, changes) for dim, line in enumerate(lines)))


def _agree(shape: ImageShape, lines: Lines, changes: Changes) -> bool:
    """Return whether the cells that change with a block lie where it lies. If few blocks change any, it is so."""
    blocks, centres = [], []
    for number in range(_BLOCKS):
        block, middle = torch.ones((1,) * len(shape.size), dtype=torch.bool), []
        for dim, (pixels, move) in enumerate(zip(shape.size, _MOVES, strict=False)):
            strips = min(_BLOCKS, pixels)
            strip = move * number % strips
            start, end = strip * pixels // strips, (strip + 1) * pixels // strips
            block = block & _strip(shape, dim, start, end)
            middle.append((start + end - 1) / 2)
        change = changes(block)
        if change is None:
            return True
        # Every cell changes a little where all look at all.
        change = change.sum(dim=0).double().reshape(tuple(map(len, lines)))
        change = (change - change.median()).clamp_min(0)
        if float(change.sum()) > 0:
            shares = (change / change.sum()).movedim
            centres.append(
                [
                    float(shares(dim, -1).reshape(-1, len(line)).sum(dim=0) @ line.double())
                    for dim, line in enumerate(lines)
                ]
            )
            blocks.append(middle)
    if len(blocks) < _BLOCKS // 2:
        return True
    for dim, line in enumerate(lines):
        there, found = np.array(blocks)[:, dim], np.array(centres)[:, dim]
        if len(line) > 1 and there.std() > 0:
            slope = float(((there - there.mean()) * (found - found.mean())).mean()) / float(there.var())
            if not (slope * there.std() >= _AGREES * found.std() and slope <= _FURTHER and found.std() > 0):
                return False
    return True


def _seen(shape: ImageShape, dim: int, line: Tensor, changes: Changes) -> tuple[int, int]:
    """Return the first and last pixel along a dimension that lie on a cell, or change one."""
    pixels = shape.size[dim]
    reach = float(line.diff().median()) / 2 + _SAME if len(line) > 1 else 0.0
    first, last = int(np.ceil(float(line[0]) - reach)), int(np.floor(float(line[-1]) + reach))

    def changed(count: int, *, behind: bool) -> bool:
        change = changes(_strip(shape, dim, pixels - 1 - count if behind else 0, pixels if behind else count + 1))
        return change is None or bool(change.any())

    if first > 0:
        first = bisect_left(range(first), True, key=partial(changed, behind=False))
    if last < pixels - 1:
        last = pixels - 1 - bisect_left(range(pixels - 1 - last), True, key=partial(changed, behind=True))
    return first, last


def _strip(shape: ImageShape, dim: int, start: int, end: int) -> Tensor:
    """Return a strip across an image, true between two pixels of a dimension."""
    at = torch.arange(shape.size[dim])
    return ((at >= start) & (at < end)).reshape([-1 if each == dim else 1 for each in range(len(shape.size))])
