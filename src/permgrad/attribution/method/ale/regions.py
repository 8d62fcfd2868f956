"""Regions: the split of the rows that explains most of how the local effects of a column differ, if any does.

Within a bin, local effects differ only by the other columns. A split at a threshold of another column, or by one of its
levels, explains the sum of squares between both sides within bins. Whether any split explains more than chance is
tested on halves of the rows, groups or times: the best split of one half, and how the effects differ there, predict
those of the other half. Both halves are tested at half the level, and columns by Holm (1979), so that of tables without
regions at most one in twenty shows any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from permgrad.attribution.explanation.statistics import spread, too_few
from permgrad.attribution.method.ale.effects import Axis, Column, Sampled
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.random import uniform
from permgrad.base.significance import holm, t_two_sided

#: Most thresholds of a number, splits of all columns together if possible, and rows that are looked at.
_THRESHOLDS, _SPLITS, _ROWS = 9, 500, 5000
#: Parts of an axis between which effects may differ in the test: more of them would be too noisy in a half.
_TOGETHER = 6
#: Least share of the rows on each side. Of tables without regions, so many may show one.
_LEAST_SHARE, _LEVEL = 0.05, 0.05


class _Split(NamedTuple):
    """A split: the column, which rows are on its second side ``(rows,)``, and both sides in words."""

    column: Column
    within: Booleans
    sides: list[str]


class _Part:
    """The local effects of some rows, around the means of their bins. ``of``: so many bins are looked at together."""

    def __init__(self, moves: tuple[Integers, Integers, Floats], member: Booleans, sampled: Sampled, of: int) -> None:
        some = member[moves[0]]
        self.rows, self.steps = moves[0][some], moves[1][some]
        self.sampled, self._weights = sampled, sampled.weights[self.rows]
        self._into, self._sizes = self._summed(moves)
        self.effects = self._centred(moves[2][some])
        self.steps = self.steps // of
        self._into, self._sizes = self._summed(moves)
        self.total = float((self._into @ self.effects**2).sum())

    def _summed(self, moves: tuple[Integers, Integers, Floats]) -> tuple[sparse.csr_matrix, Floats]:
        """Return what adds up values of moves by step, and the weight of each ``(steps, 1)``."""
        cells = (self._weights, (self.steps, np.arange(len(self.rows))))
        into = sparse.csr_matrix(cells, shape=(moves[1].max(initial=0) + 1, len(self.rows)))
        return into, np.asarray(into.sum(axis=1))

    def _centred(self, values: Floats) -> Floats:
        return values - ((self._into @ values) / np.maximum(self._sizes, 1e-300))[self.steps]

    def explained(self, within: Booleans) -> tuple[Floats, Floats]:
        """Return the sums of squares between both sides of splits ``(rows, splits)``, and their differences.

        These are ``(outputs, steps, splits)``.
        """
        inside = within[self.rows].astype(np.float64)
        size = self._into @ inside
        shares = size * (self._sizes - size)
        each = np.divide(self._sizes, shares, out=np.zeros_like(size), where=shares > 1e-9 * self._sizes**2)
        sums = np.array([self._into @ (inside * effects[:, None]) for effects in self.effects.T])
        return (sums**2 * each).sum(axis=(0, 1)), sums * each

    def p_value(self, within: Booleans, other: _Part) -> float:
        """Return how likely effects follow a split ``(rows, 1)`` as in another part of the rows by chance alone."""
        difference = other.explained(within)[1][:, self.steps, 0].T
        side = self._centred(within[self.rows].astype(np.float64))
        rows, place = np.unique(self.rows, return_inverse=True)
        scores = np.bincount(place, self._weights * (side * self.effects * difference).sum(axis=1))
        weights, units, total = self.sampled.weights[rows], self.sampled.units, scores.sum()
        units = None if units is None else units.take(rows)
        if too_few(weights, units) or total <= 0:
            return 1.0
        variance, correction, freedom = spread((scores - weights * total / weights.sum())[None], weights, units)
        with np.errstate(divide="ignore"):
            return float(t_two_sided(total / np.sqrt(variance[0] * correction), freedom[0, 0])) / 2


def _halves(sampled: Sampled, seed: int) -> tuple[Integers, Booleans]:
    """Return the rows that are looked at, and which of them are in the first half."""
    drawn = np.where(sampled.weights > 0, uniform(seed, ("regions",), np.arange(len(sampled.weights))), np.inf)
    places = np.sort(np.argsort(drawn, kind="stable")[: min(_ROWS, int(np.isfinite(drawn).sum()))])
    if sampled.units is None:
        return places, uniform(seed, ("halves of regions",), places) < 0.5
    units = sampled.units.take(places)
    if units.timed:
        return places, units.codes < np.median(units.codes)
    return places, uniform(seed, ("halves of regions",), units.codes) < 0.5


def find_regions(
    columns: Mapping[int, Column], found: Mapping[int, tuple[Axis, Floats]], sampled: Sampled, seed: int
) -> dict[str, dict[str, Any]]:
    """Return the split of each column whose local effects ``found`` differ between regions, by name.

    ``by``: the other column. ``sides``: both sides in words, rows without a value on the first. ``explained``: the
    share of the variance of the local effects within bins. ``p_adjusted``: after Holm. ``rows``: of both sides.
    """
    places, first = _halves(sampled, seed)
    position = np.full(len(sampled.weights), -1)
    position[places] = np.arange(len(places))
    units = None if sampled.units is None else sampled.units.take(places)
    sampled = Sampled(sampled.weights[places], units, sampled.confidence)
    thresholds = max(1, min(_THRESHOLDS, _SPLITS // len(columns)))
    each = [replace(column, values=column.values[places]) for column in columns.values()]
    splits = [split for column in each for split in _splits(column, sampled.weights, thresholds)]
    tested: dict[str, tuple[_Split, float, float]] = {}
    for axis, effects in found.values():
        rows, steps = axis.moves
        some = position[rows] >= 0
        moves = position[rows[some]], steps[some], effects[some]
        elsewhere = [split for split in splits if split.column.name != axis.column.name]
        together = 1 if axis.levels else -(-(len(axis.at) - 1) // _TOGETHER)
        parts = [_Part(moves, half, sampled, together) for half in (first, ~first)]
        parts.append(_Part(moves, np.ones_like(first), sampled, 1))
        # Rounding is no difference.
        if not elsewhere or min(part.total for part in parts) <= 1e-20 * np.square(effects).sum():
            continue
        within = np.stack([split.within for split in elsewhere], axis=1)
        explained = [part.explained(within)[0] for part in parts]
        best = [int(np.argmax(squares)) for squares in explained]
        p_values = [parts[1 - half].p_value(within[:, [place]], parts[half]) for half, place in enumerate(best[:2])]
        share = float(explained[2][best[2]]) / parts[2].total
        tested[axis.column.name] = elsewhere[best[2]], share, min(1.0, 2 * min(p_values))
    adjusted = holm([p_value for _, _, p_value in tested.values()]).tolist() if tested else []
    return {
        name: {
            "by": split.column.name,
            "sides": split.sides,
            "explained": share,
            "p_adjusted": p_value,
            "rows": [int((split.within == side).sum()) for side in (False, True)],
        }
        for (name, (split, share, _)), p_value in zip(tested.items(), adjusted, strict=True)
        if p_value <= _LEVEL
    }


def _splits(column: Column, weights: Floats, thresholds: int) -> Iterator[_Split]:
    """Yield the splits by a column: at quantiles of a number, or by one level."""
    known = column.values[np.isfinite(column.values)]
    at, words = np.unique(known), "≠="
    if column.nominal:
        at = at[: 1 if len(at) == 2 else None]
    elif len(at):
        shares = np.linspace(0, 1, thresholds + 2)[1:-1]
        at, words = np.unique(np.quantile(known, shares, method="inverted_cdf")), "≤>"
    for value in at:
        within = column.values == value if column.nominal else column.values > value
        if _LEAST_SHARE <= weights[within].sum() / weights.sum() <= 1 - _LEAST_SHARE:
            yield _Split(column, within, [f"{column.name} {word} {column.written(value)}" for word in words])
