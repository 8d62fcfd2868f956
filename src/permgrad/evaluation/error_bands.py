"""The errors of predicted numbers: how large they are along the predictions, and how many are within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Ranges of the predictions, and the fewest rows of each.
BANDS, FEWEST_ROWS = 12, 20
#: Quantiles of the error in each range.
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Quantiles of the absolute error, of all rows and of each range.
STEPS, BAND_STEPS = 101, 21


def error_bands(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, Any]:
    """Divide rows into ranges of the prediction with equal numbers of rows, and describe the errors in each.

    Args:
        truth: The target ``(rows,)``.
        predicted: The predictions ``(rows,)``. Rows with an undefined value are left out.

    Returns:
        ``rows``, ``within``: 101 rising quantiles of the absolute error of all rows, and ``bands``. A band has its
        ``rows``, the ends ``low, high`` and ``centre`` (median) of its predictions, ``errors``: the quantiles 5, 25,
        50, 75 and 95 % of truth − prediction, and ``within``: 21 quantiles of the absolute error.

    Examples:
        >>> result = error_bands([1.0, 2.0, 4.0], [1.0, 2.5, 3.0])
        >>> result["within"][50], [band["rows"] for band in result["bands"]]
        (0.5, [3])
    """
    actual, guess = (np.asarray(values, dtype=np.float64).ravel() for values in (truth, predicted))
    defined = np.isfinite(actual) & np.isfinite(guess)
    actual, guess = actual[defined], guess[defined]
    if not len(guess):
        return {"rows": 0, "within": [], "bands": []}
    order = np.argsort(guess, kind="stable")
    error = actual - guess
    bands = []
    for members in np.array_split(order, max(1, min(BANDS, len(order) // FEWEST_ROWS))):
        inside = guess[members]
        bands.append(
            {
                "rows": len(members),
                "low": float(inside[0]),
                "high": float(inside[-1]),
                "centre": float(np.median(inside)),
                "errors": np.quantile(error[members], LEVELS).tolist(),
                "within": _quantiles(error[members], BAND_STEPS),
            }
        )
    return {"rows": len(guess), "within": _quantiles(error, STEPS), "bands": bands}


def _quantiles(error: Floats, steps: int) -> list[float]:
    """Return evenly spread quantiles of the absolute error, the smallest first."""
    return [float(value) for value in np.quantile(np.abs(error), np.linspace(0, 1, steps))]
