"""Whether one model is really better than another when both were measured on the same random splits.

Splits share most of their training rows, so the usual paired t-test finds differences that are not there. The variance
is widened accordingly: Nadeau & Bengio, Machine Learning 52 (2003), 239-281, section 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from permgrad.base.checks import as_numbers, check_number
from permgrad.base.errors import InputError

_ROWS = "pass the number of rows of a split"
#: Differences that are alike up to this share are the same.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedTest:
    """Mean difference in the unit of the score, its 95 % interval, two-sided p-value, number of splits."""

    difference: float
    low: float
    high: float
    p_value: float
    splits: int


def corrected_paired_test(differences: npt.ArrayLike, *, train_rows: int, test_rows: int) -> PairedTest:
    """Test whether the mean difference of two models' scores ``(splits,)`` is 0; p < 0.05 iff the interval excludes it.

    With J splits, differences d_1 … d_J and their sample variance s², the standard error of the mean is
    √((1/J + test_rows / train_rows) · s²), with J − 1 degrees of freedom (Nadeau & Bengio 2003, equation 12 ff.).
    Differences that are all equal say nothing of their spread: the p-value is that of their signs, 2 · 2^−J, and the
    interval is the one that belongs to it; if they are all 0, the p-value is 1 and the interval is 0.
    """
    values = as_numbers("differences", differences, "pass one for each split")
    if values.ndim != 1 or len(values) < 2:
        raise InputError(
            "a paired test needs the differences of at least two splits, however: their shape is "
            f"{values.shape}; measure both models on more splits"
        )
    if not np.all(np.isfinite(values)):
        raise InputError(
            f"differences must be finite, however: {int(np.sum(~np.isfinite(values)))} of {len(values)} are not; "
            "leave out the splits on which a model has no score"
        )
    for name, rows in (("train_rows", train_rows), ("test_rows", test_rows)):
        if check_number(name, rows, _ROWS) < 1:
            raise InputError(f"{name} must be at least 1, however: {name}={rows!r}; {_ROWS}")
    splits = len(values)
    # Scores near 1 round at 1e-16, and so do their differences, however small these are.
    largest = _ROUNDING * float(np.abs(values).max())
    mean = float(values.mean())
    mean = 0.0 if abs(mean) <= largest else mean
    error = math.sqrt(float(values.var(ddof=1)) * (1 / splits + test_rows / train_rows))
    if error <= largest:
        # NOTE[DIFF]: the paper's variance is 0 here, and any difference certain.
        if mean == 0:
            return PairedTest(0.0, 0.0, 0.0, 1.0, splits)
        error = -abs(mean) / float(special.stdtrit(splits - 1, 0.5**splits))
    half = float(special.stdtrit(splits - 1, 0.975)) * error
    p_value = float(2 * special.stdtr(splits - 1, -abs(mean) / error))
    return PairedTest(mean, mean - half, mean + half, p_value, splits)
