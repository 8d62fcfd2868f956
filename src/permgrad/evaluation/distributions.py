"""How the values of columns are distributed in training and test rows, on common bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.evaluation.cells import ColumnCells

#: Bars of a distribution, and levels that get one of their own.
BARS, LEVELS = 24, 10
#: The share of values at each end that the outermost bars take in.
_BEYOND = 0.005


def describe_column(cells: ColumnCells, name: str, count: int) -> dict[str, Any]:
    """Describe the first ``count`` rows of a column, those of training, and the others, the test rows.

    Returns ``column, kind`` and ``missing``, a pair of shares. ``shares`` are two lists, of training and of test rows:
    the share of rows with each of the ``levels``, of which the last can be all others, or between each two ``edges``.
    ``typical`` is the pair of medians of numbers and dates, else of most frequent levels.

    Examples:
        >>> import pandas as pd
        >>> from permgrad.evaluation.cells import cells_of
        >>> facts = describe_column(cells_of(pd.Series(["a", "a", "b", "b"]), "town"), "town", 2)
        >>> facts["levels"], facts["shares"], facts["typical"]
        (['a', 'b'], [[1.0, 0.0], [0.0, 1.0]], ['a', 'b'])
    """
    sides, values = (cells.codes[:count], cells.codes[count:]), cells.values
    missing = [float(np.mean(side < 0)) if len(side) else None for side in sides]
    facts: dict[str, Any] = {"column": name, "kind": cells.kind, "missing": missing}
    if cells.names is None:
        assert values is not None
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
    rows = np.stack([np.bincount(side[side >= 0], minlength=len(cells.names)) for side in sides])
    if len(cells.names) > max(LEVELS, 0.5 * rows.sum()):
        return facts  # texts that hardly repeat: none is typical
    order = np.argsort(-rows.sum(axis=0), kind="stable")
    shown = order if len(order) <= LEVELS else order[: LEVELS - 1]
    rare = order[len(shown) :]
    if cells.numbers is not None:
        shown = shown[np.argsort(cells.numbers[shown], kind="stable")]
    sizes = np.array([max(len(side), 1) for side in sides])[:, None]
    of_levels = rows[:, shown] / sizes
    names = [cells.names[place] for place in shown.tolist()]
    if len(rare):
        of_levels = np.column_stack([of_levels, rows[:, rare].sum(axis=1) / sizes[:, 0]])
        names.append(f"{len(rare):,} others")
    typical = [cells.names[int(side.argmax())] if side.any() else None for side in rows]
    return facts | {"levels": names, "shares": of_levels.tolist(), "typical": typical}


def bar_edges(present: Floats) -> Floats:
    """Return the edges of the bars of numbers. The outermost bars take in the few values far out."""
    low, high = np.quantile(present, [_BEYOND, 1 - _BEYOND], method="inverted_cdf").tolist()
    low, high = (float(present.min()), float(present.max())) if low == high else (low, high)
    return np.linspace(low, high, BARS + 1) if high > low else np.array([low - 0.5, low + 0.5])
