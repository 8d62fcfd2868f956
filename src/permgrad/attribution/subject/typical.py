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
    """Return a row that could stand in the table: medians of numbers, most frequent levels of categories.

    The levels of one feature (a one-hot block, a flag for missing values) are kept together, so that no half levels
    appear.

    Args:
        rows: ``(rows, encoded)``.
        kinds: of each encoded column, as in ``TableEncoder.kinds_``.
        features: the encoded columns of each feature.

    Examples:
        >>> rows = np.array([[1, 0, 1], [2, 0, 1], [9, 1, 0]], dtype=np.float32)
        >>> median_row(rows, ["numeric", "level", "level"], [np.array([0]), np.array([1, 2])]).tolist()
        [2.0, 0.0, 1.0]
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
    """Return the median of real numbers, the most frequent value of whole ones, position by position.

    Of an even number of rows the median is the mean of the two in the middle; where one is no number, neither is it.

    Shape:
        rows ``(n, *)``; result ``(1, *)`` of the same type.

    Examples:
        >>> typical_row(torch.tensor([[1, 5], [1, 7], [2, 7]])).tolist()
        [[1, 7]]
        >>> typical_row(torch.tensor([1.0, 9.0, 4.0, 2.0])).tolist()
        [3.0]
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
    if rows.dtype is torch.bool:
        return rows.byte().mode(dim=0).values.bool()
    return rows.mode(dim=0).values
