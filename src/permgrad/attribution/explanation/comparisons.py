"""Which values of a feature an effect is told between: from the lower to the upper
quartile of a number, from the most frequent level to every other one.

Curves of mean predictions and of local effects ask here, so that tables of effects
compare the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.dependence import Dependence

#: Digits of a quartile that are not rounding.
_DIGITS = 12
#: What a change has beside its ends, in the order of its numbers.
NUMBERS = ("change", "std_error", "low", "high")


class Comparisons(NamedTuple):
    """Pairs of values between which a curve changes.

    ``start`` and ``end`` are written values ``(pairs,)``. ``weights`` are those of the
    curve's points in each difference ``(pairs, points)``. ``rows`` are those whose
    value is one of both levels, or from one number to the other ``(pairs, rows)``.
    """

    start: list[Any]
    end: list[Any]
    weights: Floats
    rows: Booleans

    def entry(
        self, numbers: Floats, unit: str, units: Dependence | None
    ) -> dict[str, Any]:
        """Return what is stored of changes in a ``unit``, with their errors and both
        ends of their intervals ``(4, pairs, outputs)``.

        Groups of rows that belong together are counted.
        """
        stored: dict[str, Any] = {"from": self.start, "to": self.end, "unit": unit}
        if unit == "probability":
            numbers = np.concatenate([numbers[:2], np.clip(numbers[2:], -1.0, 1.0)])
        stored |= zip(NUMBERS, numbers.tolist(), strict=True)
        stored["rows"] = self.rows.sum(axis=1).tolist()
        if units is not None and not units.timed:
            counts = []
            for pair_rows in self.rows:
                counts.append(len(np.unique(units.codes[pair_rows])))
            stored["groups"] = counts
        return stored


def comparisons(
    positions: Floats, points: Sequence[Any], weights: Floats, *, levels: bool
) -> Comparisons:
    """Return what is compared on a curve.

    Args:
        positions: where each row lies, in points from the first ``(rows,)``. NaN:
            nowhere.
        points: numbers, or written levels ``(points,)``.
        weights: how much each row counts ``(rows,)``.
        levels: whether points are levels.

    Examples:
        >>> places = np.array([0.0, 1.0, 1.0, 2.0])
        >>> compared = comparisons(places, ["a", "b", "c"], np.ones(4), levels=True)
        >>> compared.start, compared.end, compared.rows.sum(axis=1).tolist()
        (['b', 'b'], ['a', 'c'], [3, 3])
    """
    inside = np.flatnonzero(np.isfinite(positions) & (weights > 0))
    count = len(points)
    if len(inside) < 2 or count < 2:
        nowhere = np.zeros((0, len(positions)), dtype=bool)
        return Comparisons([], [], np.zeros((0, count)), nowhere)
    if levels:
        nearest = np.rint(positions[inside]).astype(np.int64)
        first = int(np.bincount(nearest, weights[inside], count).argmax())
        ends = np.delete(np.arange(count, dtype=np.float64), first)
        starts = np.full(count - 1, float(first))
    else:
        ends_of_range = np.array(_quartiles(positions[inside], weights[inside]))
        if not isinstance(points[0], (int, float)):
            ends_of_range = np.rint(ends_of_range)  # what is written is a point
        starts = ends_of_range[:1]
        ends = ends_of_range[1:]
    rows = []
    for start, end in zip(starts, ends, strict=True):
        if levels:
            rows.append((positions == start) | (positions == end))
        else:
            rows.append((positions >= start) & (positions <= end))
    return Comparisons(
        [_value(position, points, levels=levels) for position in starts],
        [_value(position, points, levels=levels) for position in ends],
        _hats(ends, count) - _hats(starts, count),
        np.array(rows) & (weights > 0),
    )


def _quartiles(positions: Floats, weights: Floats) -> tuple[float, float]:
    """Return the quartiles, or both ends where most rows have one value."""
    order = np.argsort(positions, kind="stable")
    along = np.cumsum(weights[order])
    ranks = np.searchsorted(along, np.array([0.25, 0.75]) * along[-1] * (1 - 1e-12))
    low, high = positions[order][ranks].tolist()
    if low == high:
        return float(positions.min()), float(positions.max())
    return low, high


def _hats(positions: Floats, count: int) -> Floats:
    """Return the weights of the points between which places lie ``(places,
    points)``.
    """
    apart = np.abs(positions[:, None] - np.arange(count))
    return np.maximum(1 - apart, 0.0)


def _value(position: float, points: Sequence[Any], *, levels: bool) -> Any:
    """Return the number at a place, or the level."""
    if levels or not isinstance(points[0], (int, float)):
        return points[round(position)]
    number = float(np.interp(position, np.arange(len(points)), points))
    return float(f"{number:.{_DIGITS}g}")
