"""How the values of columns are distributed in training and test rows, on common bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Floats
from permgrad.evaluation.cells import FEW_VALUES, ColumnCells, cells_of

#: Bars of a distribution, and levels that get one of their own.
BARS, LEVELS = 24, 10
#: The share of values at each end that the outermost bars take in.
_BEYOND = 0.005


def describe_columns(both: pd.DataFrame, count: int) -> list[dict[str, Any]]:
    """Describe each column of the first ``count`` rows, those of training, and of the others, the test rows.

    Returns for each column ``column, kind`` and ``missing``, a pair of shares. ``shares`` are two lists, of training
    and of test rows: the share of rows with each of the ``levels``, or between each two ``edges``. Numbers and dates
    have ``typical``, the pair of medians, else the pair of most frequent levels.

    Examples:
        >>> both = pd.DataFrame({"town": ["a", "a", "b", "b"]})
        >>> (facts,) = describe_columns(both, 2)
        >>> facts["levels"], facts["shares"], facts["typical"]
        (['a', 'b'], [[1.0, 0.0], [0.0, 1.0]], ['a', 'b'])
    """
    return [_described(cells_of(both.iloc[:, at], str(name)), str(name), count) for at, name in enumerate(both.columns)]


def _described(cells: ColumnCells, name: str, count: int) -> dict[str, Any]:
    sides = cells.codes[:count], cells.codes[count:]
    facts: dict[str, Any] = {
        "column": name,
        "kind": cells.kind,
        "missing": [float(np.mean(side < 0)) if len(side) else None for side in sides],
    }
    values = cells.values
    if values is None or (cells.kind == "number" and cells.count <= FEW_VALUES):
        return facts | _levels(cells, sides)
    present = values[np.isfinite(values)]
    if not len(present):
        return facts
    edges = bar_edges(present)
    shares, medians = [], []
    for side in (values[:count], values[count:]):
        numbers = side[np.isfinite(side)]
        counts = np.histogram(np.clip(numbers, edges[0], edges[-1]), edges)[0]
        shares.append((counts / max(len(side), 1)).tolist())
        medians.append(float(np.median(numbers)) if len(numbers) else None)
    return facts | {"edges": edges.tolist(), "shares": shares, "typical": medians}


def bar_edges(present: Floats) -> Floats:
    """Return the edges of the bars of numbers. The outermost bars take in the few values far out."""
    low, high = np.quantile(present, [_BEYOND, 1 - _BEYOND], method="inverted_cdf").tolist()
    low, high = (float(present.min()), float(present.max())) if low == high else (low, high)
    return np.linspace(low, high, BARS + 1) if high > low else np.array([low - 0.5, low + 0.5])


def _levels(cells: ColumnCells, sides: Sequence[Array]) -> dict[str, Any]:
    """Return the shares of the most frequent levels, and of all others."""
    counts = np.stack([np.bincount(side[side >= 0], minlength=cells.count) for side in sides])
    order = np.argsort(-counts.sum(axis=0), kind="stable")
    shown = order if len(order) <= LEVELS else order[: LEVELS - 1]
    others = order[len(shown) :]
    if cells.numbers is not None:
        shown = shown[np.argsort(cells.numbers[shown], kind="stable")]
    sizes = np.array([max(len(side), 1) for side in sides])[:, None]
    shares = counts[:, shown] / sizes
    names = [cells.names[place] for place in shown.tolist()]
    if len(others):
        shares = np.column_stack([shares, counts[:, others].sum(axis=1) / sizes[:, 0]])
        names.append(f"{len(others):,} others")
    typical = [cells.names[int(side.argmax())] if side.any() else None for side in counts]
    return {"levels": names, "shares": shares.tolist(), "typical": typical}
