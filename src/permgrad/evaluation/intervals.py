"""How often intervals and prediction sets hold the truth of test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Booleans
from permgrad.base.dependence import Dependence
from permgrad.evaluation.calibration import wilson


def holds(truth: Array, inside: Array) -> Booleans:
    """Return whether each row's truth is inside ``(rows,)``.

    Args:
        truth: Numbers, or positions of classes ``(rows,)``. A class that the model does not know is −1.
        inside: The ends of intervals ``(rows, 2)``, or booleans, whether each class is in the set ``(rows, classes)``.
    """
    if inside.dtype != np.bool_:
        return np.asarray((inside[:, 0] <= truth) & (truth <= inside[:, 1]))
    return np.asarray(inside[np.arange(len(truth)), truth] & (truth >= 0))


def score_intervals(
    truth: Array,
    inside: Array,
    coverage: float,
    *,
    classes: Sequence[str] = (),
    dependence: Dependence | None = None,
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds of intervals or sets.

    ``coverage`` (asked for), ``covered``: the share of the ``rows`` whose truth is inside, with its 95 % interval
    ``low, high`` (Wilson), and the mean ``width``. Of sets the mean ``size``, the share that is ``empty``, and with the
    names of ``classes`` the same ``by_class``, for those with rows. ``dependence``: which rows depend on each other.

    Examples:
        >>> score_intervals(np.array([1.0, 5.0]), np.array([[0.0, 2.0], [0.0, 4.0]]), 0.9)["covered"]
        0.5
    """
    held = holds(truth, inside)
    related = 0.0 if dependence is None else dependence.correlation(held.astype(np.float64))

    def share(member: Booleans) -> dict[str, Any]:
        covered, rows = float(held[member].mean()), int(member.sum())
        wider = 1.0 if dependence is None else dependence.widening(member.astype(np.float64), related)
        low, high = wilson(covered, rows / wider**2)
        return {"covered": covered, "low": float(low), "high": float(high), "rows": rows}

    facts = {"coverage": coverage, **share(np.ones(len(truth), dtype=bool))}
    if inside.dtype != np.bool_:
        return facts | {"width": float((inside[:, 1] - inside[:, 0]).mean())}
    sizes = inside.sum(axis=1)
    facts |= {"size": float(sizes.mean()), "empty": float((sizes == 0).mean())}
    counts = np.bincount(truth[truth >= 0], minlength=len(classes))
    by_class = {name: share(truth == code) for code, name in enumerate(classes) if counts[code]}
    return facts | ({"by_class": by_class} if by_class else {})
