"""The errors of predicted numbers: how large they are along the predictions, and how many are within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats

#: Ranges of the predictions, and the fewest rows of each.
BANDS, FEWEST_ROWS = 12, 20
#: Quantiles of the error in each range.
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Up to this many rows, every error is kept. Of more, as many of each range.
MOST_ROWS, KEPT = 5000, 400


def error_bands(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, Any]:
    """Divide rows into ranges of the prediction with equal numbers of rows, and describe the errors in each.

    Rows with the same prediction are in one range, so there are fewer ranges where many rows have the same.

    Args:
        truth: The target ``(rows,)``.
        predicted: The predictions ``(rows,)``. Rows with an undefined value are left out.

    Returns:
        ``rows``, ``sizes``: the absolute errors of all rows, rising, and ``bands``. A band has its ``rows``, the ends
        ``low, high`` and ``centre`` (median) of its predictions, ``errors``: the quantiles 5, 25, 50, 75 and 95 % of
        truth − prediction, and ``sizes``: its absolute errors, rising. Of many rows they are evenly spread ones, and
        ``exact`` is false.

    Examples:
        >>> result = error_bands([1.0, 2.0, 4.0], [1.0, 2.5, 3.0])
        >>> result["sizes"].tolist(), [band["rows"] for band in result["bands"]], result["exact"]
        ([0.0, 0.5, 1.0], [3], True)
    """
    actual, guess = (np.asarray(values, dtype=np.float64).ravel() for values in (truth, predicted))
    defined = np.isfinite(actual) & np.isfinite(guess)
    actual, guess = actual[defined], guess[defined]
    if not len(guess):
        return {"rows": 0, "exact": True, "sizes": np.zeros(0), "bands": []}
    error, exact = actual - guess, len(guess) <= MOST_ROWS
    count = max(1, min(BANDS, len(guess) // FEWEST_ROWS))
    ends = np.quantile(guess, np.arange(1, count) / count, method="inverted_cdf")
    places = np.searchsorted(np.unique(ends), guess, side="left")
    bands = []
    for place in np.unique(places):
        inside, errors = guess[places == place], error[places == place]
        sizes = np.sort(np.abs(errors))
        at = np.arange(len(sizes)) if exact else np.linspace(0, len(sizes) - 1, min(KEPT, len(sizes))).round()
        bands.append(
            {
                "rows": len(inside),
                "low": float(inside.min()),
                "high": float(inside.max()),
                "centre": float(np.median(inside)),
                "errors": np.quantile(errors, LEVELS).tolist(),
                "sizes": sizes[at.astype(np.intp)],
            }
        )
    return {"rows": len(guess), "exact": exact, "sizes": np.sort(np.abs(error)), "bands": bands}


def covering(sizes: Floats, share: float) -> float:
    """Return the smallest of some rising absolute errors that at least a share of them does not exceed."""
    return float(np.quantile(sizes, share, method="inverted_cdf"))
