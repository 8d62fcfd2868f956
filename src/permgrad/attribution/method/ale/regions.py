"""Regions: the split of the rows that explains most of how the local effects of a column differ, if any does.

Within a bin, local effects differ only by the other columns. A split at a threshold of another column, or by one of its
levels, explains the sum of squares between both sides within bins. Whether any split explains more than chance is
tested on halves of the rows, groups or times: the best split of one half, and how the effects differ there, predict
those of the other half. Both halves are tested at half the level, and columns by Holm (1979), so that of tables without
regions at most one in twenty shows any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from permgrad.attribution.explanation.statistics import spread, too_few
from permgrad.attribution.method.ale.axes import Axis, Column, Sampled
from permgrad.base.arrays import Booleans, Floats
from permgrad.base.random import uniform
from permgrad.base.significance import holm, t_two_sided

#: Thresholds of a number, least share of the rows on each side, and rows that are looked at.
_THRESHOLDS, _LEAST_SHARE, _ROWS = 9, 0.05, 5000
#: Of tables without regions, so many may show one.
_LEVEL = 0.05


class _Split(NamedTuple):
    """A split: the column, which rows are on its second side ``(rows,)``, and both sides in words."""

    name: str
    within: Booleans
    sides: tuple[str, str]


class _Part:
    """The local effects of some rows, around the means of their bins."""

    def __init__(self, axis: Axis, effects: Floats, member: Booleans, sampled: Sampled) -> None:
        rows, steps = axis.moves
        some = member[rows]
        self.rows, self.steps, self.sampled = rows[some], steps[some], sampled
        cells = (sampled.weights[self.rows], (self.steps, np.arange(len(self.rows))))
        self._into = sparse.csr_matrix(cells, shape=(len(axis.at) - 1, len(self.rows)))
        self._sizes = np.asarray(self._into.sum(axis=1))
        self.effects = self._centred(effects[some])
        self.total = float((self._into @ self.effects**2).sum())

    def _centred(self, values: Floats) -> Floats:
        return values - ((self._into @ values) / np.maximum(self._sizes, 1e-300))[self.steps]

    def explained(self, within: Booleans) -> tuple[float, Floats]:
        """Return the sum of squares between both sides of a split, and their difference ``(steps, outputs)``."""
        inside = within[self.rows, None].astype(np.float64)
        size, sums = self._into @ inside, self._into @ (inside * self.effects)
        shares = size * (self._sizes - size)
        each = np.divide(self._sizes, shares, out=np.zeros_like(size), where=shares > 1e-9 * self._sizes**2)
        return float((sums**2 * each).sum()), sums * each

    def p_value(self, within: Booleans, difference: Floats) -> float:
        """Return how likely effects follow the split, and the difference seen in other rows, by chance as much."""
        side = self._centred(within[self.rows, None].astype(np.float64))
        agreed = self.sampled.weights[self.rows] * (side * self.effects * difference[self.steps]).sum(axis=1)
        rows, place = np.unique(self.rows, return_inverse=True)
        scores, weights = np.bincount(place, agreed), self.sampled.weights[rows]
        units, total = self.sampled.units, scores.sum()
        units = None if units is None else units.take(rows)
        if too_few(weights, units) or total <= 0:
            return 1.0
        variance, correction, freedom = spread((scores - weights * total / weights.sum())[None], weights, units)
        with np.errstate(divide="ignore"):
            return float(t_two_sided(total / np.sqrt(variance[0] * correction), freedom[0, 0])) / 2


def find_regions(
    columns: Mapping[int, Column], found: Mapping[int, tuple[Axis, Floats]], sampled: Sampled, seed: int
) -> dict[str, dict[str, Any]]:
    """Return the split of each column whose local effects ``found`` differ between regions, by name.

    ``by``: the other column. ``sides``: both sides in words. ``explained``: the share of the variance of the local
    effects within bins. ``p_adjusted``: after Holm. ``rows``: of both sides.
    """
    used = sampled.weights > 0
    drawn = uniform(seed, ("regions",), np.arange(len(used)))
    looked_at = used & (drawn <= np.sort(drawn[used])[:_ROWS][-1])
    if sampled.units is not None:
        codes = sampled.units.codes
        drawn = codes / (2 * np.median(codes) + 1e-9) if sampled.units.timed else uniform(seed, ("regions",), codes)
    halves = (looked_at & (drawn < 0.5), looked_at & (drawn >= 0.5), looked_at)
    splits = [split for column in columns.values() for split in _splits(column, sampled.weights)]
    tested: dict[int, tuple[_Split, float, float]] = {}
    for player, (axis, effects) in found.items():
        parts = [_Part(axis, effects, half, sampled) for half in halves]
        others = [split for split in splits if split.name != columns[player].name]
        # Rounding is no difference.
        if not others or min(part.total for part in parts) <= 1e-20 * np.square(effects).sum():
            continue
        best = [max(others, key=lambda split, part=part: part.explained(split.within)[0]) for part in parts]  # type: ignore[misc]
        first, second = (part.explained(split.within)[1] for part, split in zip(parts[:2], best, strict=False))
        p_values = (parts[1].p_value(best[0].within, first), parts[0].p_value(best[1].within, second))
        tested[player] = best[2], parts[2].explained(best[2].within)[0] / parts[2].total, min(1.0, 2 * min(p_values))
    regions = {}
    adjusted = holm([p_value for _, _, p_value in tested.values()]).tolist() if tested else []
    for (player, (split, explained, _)), p_value in zip(tested.items(), adjusted, strict=True):
        if p_value <= _LEVEL:
            rows = [int((used & side).sum()) for side in (~split.within, split.within)]
            about = {"by": split.name, "sides": list(split.sides), "explained": explained, "p_adjusted": p_value}
            regions[columns[player].name] = {**about, "rows": rows}
    return regions


def _splits(column: Column, weights: Floats) -> list[_Split]:
    """Return the splits by a column: at deciles of a number, or by one level."""
    known = column.values[(weights > 0) & np.isfinite(column.values)]
    at = np.unique(known)
    if column.nominal:
        at, words = at[: 1 if len(at) == 2 else None], "≠="
    elif len(at):
        at, words = np.unique(np.quantile(known, np.linspace(0, 1, _THRESHOLDS + 2)[1:-1], method="inverted_cdf")), "≤>"
    splits = []
    for value in at:
        within = column.values == value if column.nominal else column.values > value
        sides = tuple(f"{column.name} {word} {column.written(value)}" for word in words)
        if _LEAST_SHARE <= weights[within].sum() / weights.sum() <= 1 - _LEAST_SHARE:
            splits.append(_Split(column.name, within, (sides[0], sides[1])))
    return splits
