"""The row that stands for a background: its mean, or medians of numbers and most frequent levels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: Encoded columns of these kinds lie on a scale; all others switch between levels.
_ON_A_SCALE = ("numeric", "date_part")


def median_row(
    rows: npt.NDArray[np.float32], kinds: Iterable[str], features: Iterable[npt.NDArray[np.intp]]
) -> npt.NDArray[np.float32]:
    """Return a row that could stand in the encoded table: medians of numbers, most frequent levels of categories.

    Levels of one feature (a one-hot block, a flag for missing values) are kept together: no half levels appear.
    """
    row = np.median(rows, axis=0).astype(np.float32)
    switches = ~np.isin(np.asarray(list(kinds), dtype=object), _ON_A_SCALE)
    for columns in features:
        levels = np.asarray(columns, dtype=np.intp)
        levels = levels[switches[levels]]
        if levels.size:
            patterns, counts = np.unique(rows[:, levels], axis=0, return_counts=True)
            row[levels] = patterns[int(np.argmax(counts))]
    return row


def typical_row(rows: Tensor) -> Tensor:
    """Return the median of real numbers, the most frequent value of whole ones, position by position, ``(1, *)``.

    Of an even number of rows the median is the mean of the two in the middle; where one is no number, neither is it.
    """
    if not rows.is_floating_point():
        return _most_frequent(rows)[None]
    ordered = rows.double().sort(dim=0).values  # what is no number comes last
    low, high, last = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2], ordered[-1]
    middle = torch.where(low == high, low, low / 2 + high / 2)
    return torch.where(last.isnan(), last, middle).to(rows.dtype)[None]


def mean_row(rows: Tensor) -> Tensor:
    """Return the mean of real numbers; half a level or half a word is none, so of whole numbers the most frequent."""
    if not rows.is_floating_point():
        return _most_frequent(rows)[None]
    return rows.double().mean(dim=0, keepdim=True).to(rows.dtype)


def _most_frequent(rows: Tensor) -> Tensor:
    modes = rows.byte().mode(dim=0) if rows.dtype is torch.bool else rows.mode(dim=0)
    return modes.values.to(rows.dtype)
