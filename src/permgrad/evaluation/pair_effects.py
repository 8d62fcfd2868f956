"""Two features at a time: the mean prediction where both are set to a few values, and the rows' own values of them.

The mean over rows with two features set, all else unchanged, is the joint partial dependence (Friedman 2001). What it
has beyond the sum of both single ones is what the pair does only together (the numerator of Friedman & Popescu's H).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats, Integers
from permgrad.evaluation.cards import Predict, Sample, as_numbers, points_of, written

#: Pairs whose effects are computed, values of each feature, rows that are set, and rows whose values are shown.
MOST_PAIRS, VALUES, MOST_ROWS, MOST_DOTS = 8, 8, 40, 200
#: Predictions for all pairs together.
_MOST_PREDICTIONS = 12_000


def pair_effects(
    sample: Sample, pairs: Sequence[tuple[str, str]], rows: Integers, predict: Predict
) -> list[dict[str, Any]]:
    """Return the effect of each pair of columns, of the first ``MOST_PAIRS`` that can be set.

    Each has ``pair``; ``axes``: for both features ``numeric, at, label``; ``mean`` ``(first, second, outputs)``;
    ``dots``: both features' places ``(rows,)`` of some rows, NaN where missing or not on the axis; and ``rounding``:
    differences up to it are rounding of the predictions.
    """
    known = set(sample.table.columns) - set(sample.texts)
    usable = [pair for pair in pairs if known.issuperset(pair)][:MOST_PAIRS]
    rows = rows[: max(5, min(MOST_ROWS, _MOST_PREDICTIONS // (VALUES**2 * max(len(usable), 1))))]
    effects = (_effect(sample, pair, rows, predict) for pair in usable)
    return [one for one in effects if one is not None]


def _effect(sample: Sample, pair: tuple[str, str], rows: Integers, predict: Predict) -> dict[str, Any] | None:
    points = [_points(sample, name) for name in pair]
    shape = tuple(len(donors) for donors, _ in points)
    if min(shape) < 2 or not len(rows):
        return None
    first, second = (donors.ravel() for donors in np.meshgrid(*(donors for donors, _ in points), indexing="ij"))
    donors = {name: np.tile(each, len(rows)) for name, each in zip(pair, (first, second), strict=True)}
    outputs = sample.predicted_with(predict, np.repeat(rows, len(first)), donors)
    mean = outputs.reshape(len(rows), *shape, -1).mean(axis=0)
    # Numbers that float32 can hold may come from a network.
    eps = np.finfo(np.float32 if np.array_equal(outputs, outputs.astype(np.float32)) else np.float64).eps
    rounding = 8 * float(eps) * float(np.abs(outputs).max(initial=0.0))
    dots = [_places(sample, name, axis)[:MOST_DOTS].tolist() for name, (_, axis) in zip(pair, points, strict=True)]
    kept = ("numeric", "at", "label", "dates", "circle")
    axes = [{key: axis[key] for key in kept if key in axis} for _, axis in points]
    facts = {"pair": list(pair), "axes": axes, "mean": mean.tolist(), "dots": dots}
    return {**facts, "rows": len(rows), "rounding": rounding}


def _points(sample: Sample, name: str) -> tuple[Integers, dict[str, Any]]:
    """Return the points of a feature. On a circle the first is not the last one, too."""
    donors, axis = points_of(sample.table[name], sample.numbers.get(name), VALUES, period=sample.period(name))
    if not axis.get("circle"):
        return donors, axis
    return donors[:-1], axis | {key: axis[key][:-1] for key in ("at", "label")}


def beyond_each(mean: Floats, rounding: float = 0.0) -> Floats:
    """Return what a joint effect ``(first, second, outputs)`` has beyond the sum of both single ones."""
    alone = mean.mean(axis=1, keepdims=True) + mean.mean(axis=0, keepdims=True)
    beyond: Floats = mean - alone + mean.mean(axis=(0, 1), keepdims=True)
    return np.where(np.abs(beyond) <= rounding, 0.0, beyond)


def _places(sample: Sample, name: str, axis: Mapping[str, Any]) -> Floats:
    """Return where each row is on the axis of a feature."""
    column, places = sample.table[name], axis["at"]
    if axis["numeric"]:
        numbers = as_numbers(column, sample.numbers.get(name))
        assert numbers is not None
        return np.clip(numbers, min(places), max(places))
    place = dict(zip(axis["label"], places, strict=True))
    return np.array([place.get(written(value), np.nan) if pd.notna(value) else np.nan for value in column.tolist()])
