"""Places of columns that their names tell: ``850nm``, ``t01``, ``px_3_17``, or with channels ``px_3_17_r``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from permgrad.base.arrays import Integers

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def named_places(names: Sequence[str]) -> tuple[Integers, tuple[int, ...]] | None:
    """Return the places ``(columns, 2)`` that names tell, and the height and width. None: they tell none.

    One number in each name is a place on a curve, two are a row and a column. Where several names have the same
    numbers, the rest of the name is the channel, the third of places and shape: all channels must have the same places.

    Examples:
        >>> places, shape = named_places(["x_t1", "x_t2", "y_t1", "y_t2", "z_t1", "z_t2"])
        >>> shape, places[4].tolist()
        ((1, 2, 3), [0, 0, 2])
    """
    numbers = [tuple(map(float, _NUMBER.findall(name))) for name in names]
    sides, different = {len(found) for found in numbers}, len(set(numbers))
    if sides not in ({1}, {2}):
        return None
    grid = [(0.0, *found)[-2:] for found in numbers]
    (rows, high), (places, wide) = (_ranks([found[side] for found in grid]) for side in range(2))
    if high * wide > 2 * different:  # they are no grid
        return None
    if different == len(names):
        return np.stack([rows, places], axis=1), (high, wide)
    rests = [_NUMBER.sub("", name) for name in names]
    channels = {rest: channel for channel, rest in enumerate(dict.fromkeys(rests))}
    found = np.stack([rows, places, [channels[rest] for rest in rests]], axis=1)
    complete = different > 1 and different * len(channels) == len(names) == len(set(map(tuple, found.tolist())))
    return (found, (high, wide, len(channels))) if complete else None


def _ranks(numbers: Sequence[float]) -> tuple[Integers, int]:
    values, ranks = np.unique(numbers, return_inverse=True)
    return ranks.astype(np.int64), len(values)
