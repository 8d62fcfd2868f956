"""The effect of two features in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, product
from typing import Any

import numpy as np

from permgrad.base.numerals import number
from permgrad.pages.words import clean


def effect_words(effect: Mapping[str, Any], output: int = 0, say: Callable[[float], str] = number) -> str:
    """Return what an effect says: what the first feature changes, where the second has one value or another.

    Of numbers these are the first and last value, of levels the two where the changes differ most.
    """
    mean = np.asarray(effect["mean"], dtype=np.float64)[:, :, output]
    sides = [
        [(0, len(axis["at"]) - 1)]
        if axis["numeric"] and not axis.get("circle")
        else list(combinations(range(len(axis["at"])), 2))
        for axis in effect["axes"]
    ]

    def apart(four: Any) -> float:
        (top, bottom), (left, right) = four
        return abs(float(mean[bottom, right] - mean[top, right] - mean[bottom, left] + mean[top, left]))

    rows, columns = max(product(*sides), key=apart)
    (first, second), (one, other) = effect["axes"], (clean(name) for name in effect["pair"])

    def value(axis: Mapping[str, Any], at: int) -> str:
        label = clean(axis["label"][at])
        return label.replace("-", "−") if axis["numeric"] and not axis["dates"] else label

    start, end = (value(first, row) for row in rows)
    moved = [float(mean[rows[1], at] - mean[rows[0], at]) for at in columns]
    changes = [say(0.0 if abs(each) <= effect.get("rounding", 0.0) else each) for each in moved]
    parts = [f"{change} where {other} is {value(second, at)}" for change, at in zip(changes, columns, strict=True)]
    return f"From {start} to {end}, {one} changes the mean prediction by {parts[0]}, and by {parts[1]}."
