"""Whether one model is really better than another when both were measured on the same random splits.

Random splits share most of their training rows, so their scores are not independent and the usual paired t-test
finds differences that are not there. The test here widens the variance accordingly: Nadeau & Bengio, "Inference for
the Generalization Error", Machine Learning 52 (2003), 239-281, section 3.2 (the corrected resampled t-test).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.checks import as_numbers, check_flag, check_number
from permgrad.base.errors import InputError, shown
from permgrad.base.significance import holm

__all__ = ["PairedTest", "corrected_paired_test", "holm", "mean_ranks"]

Array = npt.NDArray[Any]
_ROWS = "pass the number of rows of a split"
#: Differences that are alike up to this share are the same.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedTest:
    """What the corrected test found.

    Attributes:
        difference: Mean difference, in the unit of the score.
        low: Lower end of its 95 % interval; ``p_value < 0.05`` exactly when the interval excludes 0.
        high: Upper end of its 95 % interval.
        p_value: Two-sided p-value of "there is no difference".
        splits: Number of splits.
    """

    difference: float
    low: float
    high: float
    p_value: float
    splits: int

    def to_dict(self) -> dict[str, float | int]:
        """Return the fields as JSON-able numbers."""
        return dict(vars(self))


def corrected_paired_test(differences: npt.ArrayLike, *, train_rows: int, test_rows: int) -> PairedTest:
    """Test whether the mean difference of two models' scores is 0.

    With J splits, differences d_1 … d_J and their sample variance s², the standard error of the mean is
    √((1/J + test_rows / train_rows) · s²), with J − 1 degrees of freedom (Nadeau & Bengio 2003, equation 12 ff.).

    Args:
        differences: ``(splits,)``, score of one model minus score of the other on the same split.
        train_rows: Number of rows that each split trains on.
        test_rows: Number of rows that each split tests on.

    Returns:
        Mean, 95 % interval and p-value. Differences that are all equal, as counts of right rows easily are, say nothing
        of their spread: the p-value is that of their signs, 2 · 2^−J, and the interval is the one that belongs to it;
        if they are all 0, the p-value is 1 and the interval is 0.

    Raises:
        InputError: Fewer than two splits, a difference that is not finite, or numbers of rows below 1.

    Examples:
        >>> test = corrected_paired_test([0.01, 0.02, 0.015, 0.012, 0.018], train_rows=600, test_rows=200)
        >>> round(test.difference, 3), test.p_value < 0.05
        (0.015, True)
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
    variance = float(values.var(ddof=1)) * (1 / splits + test_rows / train_rows)
    from scipy import stats

    error = math.sqrt(variance)
    if error <= largest:
        # NOTE[DIFF]: the paper's variance is 0 here, and any difference certain.
        if mean == 0:
            return PairedTest(0.0, 0.0, 0.0, 1.0, splits)
        error = abs(mean) / float(stats.t.isf(0.5**splits, splits - 1))
    half = float(stats.t.ppf(0.975, splits - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, splits - 1))
    return PairedTest(mean, mean - half, mean + half, p_value, splits)


def mean_ranks(table: Mapping[str, Sequence[float]], higher_is_better: bool) -> dict[str, float]:
    """Return each model's rank averaged over cells: 1 is the best, models that tie share the mean of their ranks.

    Args:
        table: Model to its values, one for each cell, the cells in the same order for all.
        higher_is_better: Whether a larger value is the better one.

    Raises:
        InputError: No models, no cells, lists of different lengths, or a NaN.

    Examples:
        >>> mean_ranks({"a": [0.9, 0.8], "b": [0.7, 0.8], "c": [0.6, 0.1]}, higher_is_better=True)
        {'a': 1.25, 'b': 1.75, 'c': 3.0}
    """
    check_flag("higher_is_better", higher_is_better)
    if not isinstance(table, Mapping):
        raise InputError(
            f"ranks need a mapping of model to its values, however: table={shown(table)}; pass for example "
            "{'a': [0.9, 0.8], 'b': [0.7, 0.8]}"
        )
    rows = {
        name: np.atleast_1d(as_numbers(f"values of {name!r}", cells, "pass a list")) for name, cells in table.items()
    }
    lengths = {name: len(values) for name, values in rows.items()}
    if not lengths or len(set(lengths.values())) != 1 or min(lengths.values()) == 0:
        raise InputError(
            "ranks need at least one model, and as many values of each model as there are cells, however: the numbers "
            f"of values are {lengths}; leave out models or cells that are not complete"
        )
    values = np.array(list(rows.values()))
    if np.isnan(values).any():
        raise InputError(
            f"ranks need a value in every cell, however: {int(np.isnan(values).sum())} of {values.size} are missing; "
            "leave out models or cells that are not complete"
        )
    from scipy.stats import rankdata

    ranks = rankdata(-values if higher_is_better else values, method="average", axis=0)
    return dict(zip(rows, ranks.mean(axis=1).tolist(), strict=True))
