"""What is odd about the numbers of a target: codes for missing, far cells, many zeros.

Any of these can decide a score, so that it is said before the score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.data.types.identifiers import are_whole, maybe_missing

#: How often a number stands in the target before it may be a code.
_FEWEST_OF_CODE = 2
#: How many times the range of all other numbers a cell is away from them.
_FAR = 20.0
#: The most cells that are called far from all others.
_MOST_FAR = 3
#: Share of zeros from which on they are a question of their own.
_MOST_ZERO = 0.5
#: Numbers that a target needs to be looked at.
_FEWEST = 30

#: A sign: its ``form``, and the numbers of its sentence.
Sign = dict[str, Any]


def target_signs(
    values: Floats, where: Callable[[int], str], *, counts: bool = False
) -> list[Sign]:
    """Return what is odd about a target of numbers.

    Args:
        values: The target of all rows ``(rows,)``, finite.
        where: Names the row at a position, such as "line 12 of 't.csv'".
        counts: Whether the model reads it as counts, so that zeros are expected.

    Returns:
        The signs, that which makes the others doubtful first:

        - ``codes``: ``codes`` that may mean missing, in ``rows`` of the rows; the
          others are ``low`` to ``high``.
        - ``far``: up to three ``cells``, each with its ``value`` and ``where`` it
          stands.
        - ``zeros``: the ``share`` of zeros, and whether all numbers are ``whole``.
    """
    if len(values) < _FEWEST:
        return []
    signs: list[Sign] = []
    # A far cell would widen the range that a code has to be outside of.
    far_positions = _far_from_all(values, np.ones(len(values), dtype=bool))
    candidates = maybe_missing(np.delete(values, far_positions))
    codes = []
    for candidate_code in candidates:
        if _is_repeated(values, candidate_code):
            codes.append(candidate_code)
    is_code = np.isin(values, codes)
    other_values = values[~is_code]
    if codes:
        limits = {"low": float(other_values.min()), "high": float(other_values.max())}
        code_rows = int(is_code.sum())
        share = code_rows / len(values)
        signs.append(
            {
                "form": "codes",
                "codes": codes,
                "rows": code_rows,
                "share": share,
                **limits,
            }
        )

    positions = _far_from_all(values, ~is_code)
    if len(positions):
        remaining_values = np.delete(
            values, np.concatenate([positions, np.flatnonzero(is_code)])
        )
        cells = []
        for position in positions:
            cells.append(
                {"value": float(values[position]), "where": where(int(position))}
            )
        limits = {
            "low": float(remaining_values.min()),
            "high": float(remaining_values.max()),
        }
        signs.append({"form": "far", "cells": cells, **limits})

    zeros = float((other_values == 0).mean())
    if not counts and _MOST_ZERO <= zeros < 1 and (other_values >= 0).all():
        signs.append(
            {"form": "zeros", "share": zeros, "whole": are_whole(other_values)}
        )
    return signs


def _is_repeated(values: Floats, code: float) -> bool:
    return int((values == code).sum()) >= _FEWEST_OF_CODE


def _far_from_all(values: Floats, considered: np.ndarray) -> np.ndarray:
    """Return the positions of the few numbers that are far from all others.

    Their distance is many times the range of the others.
    """
    positions = np.flatnonzero(considered)
    order = positions[np.argsort(values[positions], kind="stable")]
    for low_count in range(_MOST_FAR + 1):
        for high_count in range(_MOST_FAR + 1 - low_count):
            count = low_count + high_count
            if count == 0 or count >= len(order) - 1:
                continue
            inner_values = values[order[low_count : len(order) - high_count]]
            width = float(inner_values[-1] - inner_values[0])
            below = inner_values[0] - values[order[:low_count]]
            above = values[order[len(order) - high_count :]] - inner_values[-1]
            distances = np.concatenate([below, above])
            if width > 0 and (distances > _FAR * width).all():
                end_positions = np.concatenate(
                    [order[:low_count], order[len(order) - high_count :]]
                )
                return np.sort(end_positions)
    return np.zeros(0, dtype=np.int64)
