"""Which few test rows decide a score: with a tenth of the loss each, or predicted far
outside what training holds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from permgrad.base.arrays import Booleans, Integers
from permgrad.evaluation.skill import Predicted

#: A row decides a score with this share of the loss, among so many rows. Of fewer rows
#: each has much of it.
_SHARE = 0.1
_FEWEST = 100
#: Predictions are far outside from this part of the range of training targets on.
_FAR = 0.1
#: Most rows, as a share of all, that are few, and most that are named.
_FEW = 0.02
NAMED = 3


def rows_that_decide(
    predicted: Predicted,
    numbers: Integers,
    target_range: tuple[float, float] | None = None,
) -> dict[str, Any] | None:
    """Return the few rows that decide the RMSE or log loss, or None where there are
    none.

    Args:
        predicted: truth and predictions of the rows. Of counts there are none.
        numbers: the rows' numbers in their file ``(rows,)``.
        target_range: the least and the largest training target.

    Returns:
        How many ``rows`` of all (``of``), their ``numbers`` and ``predicted`` values
        (None for classes), the largest part of the loss first, their ``share`` of the
        loss, the ``metric`` with its ``value`` and what it is ``without`` them, the
        ends of the training targets ``low, high``, and how many predictions are
        ``outside``.

    Examples:
        >>> truth = np.linspace(-1, 1, 200)
        >>> guess = np.where(np.arange(200) == 7, -30.0, truth + 0.1)
        >>> predicted = Predicted(truth, guess)
        >>> found = rows_that_decide(predicted, np.arange(200), (-1.0, 1.0))
        >>> found["numbers"], found["predicted"], round(found["without"], 3)
        ([7], [-30.0], 0.1)
    """
    if (
        predicted.counts
        or len(predicted.truth) < _FEWEST
        or predicted.weights is not None
    ):
        return None
    losses, has_loss = predicted.losses
    total = float(losses.sum())
    count = float(has_loss.sum())
    if not (math.isfinite(total) and total > 0):
        return None
    far = _far_outside(predicted, target_range)
    deciding_rows = np.flatnonzero((losses >= _SHARE * total) | far)
    if not 0 < len(deciding_rows) <= _FEW * len(losses):
        return None
    deciding_rows = deciding_rows[np.argsort(-losses[deciding_rows], kind="stable")]
    share = float(losses[deciding_rows].sum() / total)
    remaining_score = (total - float(losses[deciding_rows].sum())) / max(
        count - float(has_loss[deciding_rows].sum()), 1.0
    )
    value = total / count
    metric = "log_loss"
    if not predicted.classes:
        value = math.sqrt(value)
        remaining_score = math.sqrt(max(remaining_score, 0.0))
        metric = "rmse"
    if predicted.classes:
        guess = None
    else:
        guess = predicted.guess[deciding_rows].tolist()
    return {
        "rows": len(deciding_rows),
        "of": len(losses),
        "numbers": numbers[deciding_rows].tolist(),
        "predicted": guess,
        "share": share,
        "metric": metric,
        "value": value,
        "without": remaining_score,
        "low": None if target_range is None else target_range[0],
        "high": None if target_range is None else target_range[1],
        "outside": int(far.sum()),
    }


def _far_outside(predicted: Predicted, learned: tuple[float, float] | None) -> Booleans:
    """Return which predictions lie far outside the range of the training targets."""
    if learned is None or predicted.classes:
        return np.zeros(len(predicted.truth), dtype=bool)
    low, high = learned
    margin = _FAR * (high - low)
    guess = predicted.guess
    far: Booleans = (guess < low - margin) | (guess > high + margin)
    return far
