"""Calibration of predicted probabilities: reliability per bin, and metrics of single
classes.

The expected calibration error (Naeini, Cooper & Hauskrecht 2015) is never 0 on a finite
number of rows. It is therefore reported together with its mean for a perfectly
calibrated model. NOTE[DIFF]: bins have equal Σ p (1 − p), the uncertainty in them, so
that the many rows that clearly do not belong to a rare class share one bin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.dependence import Dependence, mean_widening
from permgrad.base.significance import NORMAL_95

#: Largest number of bins, and the fewest rows and least sum of p (1 − p) that a bin
#: should have.
MOST_BINS = 10
FEWEST_ROWS = 25
LEAST_DOUBT = 2.0


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probability and observed share of the positive class in each bin.

    Attributes:
        predicted: The mean probability of each bin, ``(bins,)``, rising.
        observed: The share of the positive class, ``(bins,)``.
        low: The low end of its 95 % interval (Wilson 1927), ``(bins,)``.
        high: The high end, ``(bins,)``.
        rows: The rows of each bin, ``(bins,)``.
        error: The expected calibration error.
        chance: Its mean for a perfectly calibrated model on as many rows.
        widening: By how much rows that depend on each other widen errors.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    rows: Integers
    error: float
    chance: float
    widening: float = 1.0


class ClassCurve(NamedTuple):
    """The curve of a class, from its probabilities ``(rows,)``, and the ``earlier`` one
    of those before they were calibrated, if they were.
    """

    label: str
    probabilities: Floats
    curve: Reliability
    earlier: Reliability | None = None

    @property
    def size(self) -> float:
        """How many rows have the class."""
        return float(self.curve.observed @ self.curve.rows)


def reliability(
    positive: npt.ArrayLike,
    probability: npt.ArrayLike,
    dependence: Dependence | None = None,
) -> Reliability:
    """Compare probabilities with whether each row is positive.

    There are ten bins, or fewer if rows are few or nearly certain. Equal probabilities
    always share a bin.

    Args:
        positive: Whether each row is positive, ``(rows,)``.
        probability: ``(rows,)``. Undefined ones are left out.
        dependence: Which rows depend on each other. None: none do.
    """
    truth = np.asarray(positive, dtype=np.float64).ravel()
    scores = np.asarray(probability, dtype=np.float64).ravel()
    defined = np.isfinite(scores)
    wider = mean_widening(dependence, truth - np.clip(scores, 0, 1))
    truth = truth[defined]
    scores = np.clip(scores[defined], 0, 1)
    doubt = scores * (1 - scores)
    member = _bins_of(scores, doubt)
    bin_rows = np.bincount(member)
    predicted = np.bincount(member, weights=scores) / bin_rows
    observed = np.bincount(member, weights=truth) / bin_rows
    lower_ends, upper_ends = wilson(observed, bin_rows / wider**2)
    noise = np.bincount(member, weights=doubt)
    share = bin_rows / len(scores)
    # |mean of independent draws − its expectation| is about √(2/π) standard deviations
    # on average.
    chance = (
        float(np.sum(share * np.sqrt(2 / math.pi * np.maximum(noise, 0)) / bin_rows))
        * wider
    )
    error = float(np.sum(share * np.abs(observed - predicted)))
    return Reliability(
        predicted,
        observed,
        lower_ends,
        upper_ends,
        bin_rows.astype(np.int64),
        error,
        chance,
        wider,
    )


def _bins_of(scores: Floats, doubt: Floats) -> Integers:
    """Return each row's bin, from 0 without gaps, by rising probability."""
    bins = max(
        1,
        min(
            MOST_BINS,
            len(scores) // FEWEST_ROWS,
            int(float(np.sum(doubt)) / LEAST_DOUBT),
        ),
    )
    # Where everything is certain, rows are counted.
    level = np.unique(scores, return_inverse=True)[1]
    sizes = np.bincount(level, weights=doubt)
    if not (sizes.sum() > 0):
        sizes = np.bincount(level).astype(np.float64)
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    member = np.minimum((middle * bins).astype(np.int64), bins - 1)
    return np.unique(member[level], return_inverse=True)[1].astype(np.int64)


def wilson(share: npt.ArrayLike, rows: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the 95 % interval of a share observed in so many rows (Wilson 1927).

    Both can be arrays.
    """
    observed = np.asarray(share, dtype=np.float64)
    counts = np.asarray(rows, dtype=np.float64)
    square = NORMAL_95**2
    centre = (observed + square / (2 * counts)) / (1 + square / counts)
    half_width = (
        NORMAL_95
        * np.sqrt(observed * (1 - observed) / counts + square / (4 * counts**2))
        / (1 + square / counts)
    )
    # Rounding must not move an end beyond the share itself.
    lower_ends = np.clip(np.minimum(centre - half_width, observed), 0, 1)
    return lower_ends, np.clip(np.maximum(centre + half_width, observed), 0, 1)


def per_class(
    y: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[Any] | Array,
    decided: Array | None = None,
) -> pd.DataFrame:
    """Return the metrics of each class, one line per class.

    Undefined metrics are NaN. Rows of a class that the model does not know count as
    errors for every class.

    Args:
        y: The class of each row, ``(rows,)``.
        probabilities: ``(rows, classes)``.
        classes: In the order of the probabilities.
        decided: The positions of the predicted classes, ``(rows,)``. None: the most
            probable ones.
    """
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_fscore_support,
        roc_auc_score,
    )

    truth = np.asarray(y)
    table = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(classes)
    if decided is None:
        called = table.argmax(axis=1)
    else:
        called = decided
    scores_of = precision_recall_fscore_support(
        truth, labels[called], labels=labels, zero_division=np.nan
    )
    precision, recall, f1_scores, class_rows = scores_of
    frame = pd.DataFrame(
        {
            "class": list(classes),
            "rows": class_rows,
            "predicted": np.bincount(called, minlength=len(labels)),
        }
    )
    frame = frame.assign(precision=precision, recall=recall, f1=f1_scores)
    areas = []
    for label, scores in zip(labels, table.T, strict=True):
        is_label = truth == label
        has_both = (
            is_label.any() and not is_label.all() and bool(np.all(np.isfinite(scores)))
        )
        ranked = []
        for score in (roc_auc_score, average_precision_score):
            if has_both:
                ranked.append(score(is_label, scores))
            else:
                ranked.append(math.nan)
        defined = np.isfinite(scores).any()
        areas.append(
            [
                *ranked,
                reliability(is_label, np.clip(scores, 0, 1)).error
                if defined
                else math.nan,
            ]
        )
    frame[["roc_auc", "average_precision", "calibration_error"]] = np.asarray(
        areas, dtype=np.float64
    )
    return frame


def holds(truth: Array, inside: Array) -> Booleans:
    """Return whether each row's truth is inside ``(rows,)``.

    Args:
        truth: Numbers, or positions of classes ``(rows,)``. A class that the model does
            not know is −1.
        inside: The ends of intervals ``(rows, 2)``, or booleans, whether each class is
            in the set ``(rows, classes)``.
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

    ``coverage`` (asked for), ``covered``: the share of the ``rows`` whose truth is
    inside, with its 95 % interval ``low, high`` (Wilson), and the mean ``width``. Of
    sets the mean ``size``, the share that is ``empty``, and with the names of
    ``classes`` the same ``by_class``, for those with rows. ``dependence``: which rows
    depend on each other.

    Examples:
        >>> bounds = np.array([[0.0, 2.0], [0.0, 4.0]])
        >>> score_intervals(np.array([1.0, 5.0]), bounds, 0.9)["covered"]
        0.5
    """
    is_covered = holds(truth, inside)
    if dependence is None:
        related = 0.0
    else:
        related = dependence.correlation(is_covered.astype(np.float64))

    def share(member: Booleans) -> dict[str, Any]:
        covered = float(is_covered[member].mean())
        row_count = int(member.sum())
        if dependence is None:
            wider = 1.0
        else:
            wider = dependence.widening(member.astype(np.float64), related)
        lower_end, upper_end = wilson(covered, row_count / wider**2)
        return {
            "covered": covered,
            "low": float(lower_end),
            "high": float(upper_end),
            "rows": row_count,
        }

    facts = {"coverage": coverage, **share(np.ones(len(truth), dtype=bool))}
    if inside.dtype != np.bool_:
        return facts | {"width": float((inside[:, 1] - inside[:, 0]).mean())}
    sizes = inside.sum(axis=1)
    facts |= {"size": float(sizes.mean()), "empty": float((sizes == 0).mean())}
    counts = np.bincount(truth[truth >= 0], minlength=len(classes))
    by_class = {}
    for class_code, class_name in enumerate(classes):
        if counts[class_code]:
            by_class[class_name] = share(truth == class_code)
    return facts | ({"by_class": by_class} if by_class else {})


# ---- errors of numbers ---------------------------------------------------------------
#: Ranges of the predictions, and the fewest rows of each.
BANDS = 12
FEWEST_OF_A_BAND = 20
#: Quantiles of the error in each range.
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Up to this many rows, every error is kept. Of more, as many of each range.
MOST_ROWS = 5000
KEPT = 400


def error_bands(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, Any]:
    """Divide rows into ranges of the prediction with equal numbers of rows, and
    describe the errors in each.

    Rows with the same prediction are in one range, so there are fewer ranges where many
    rows have the same.

    Args:
        truth: The target ``(rows,)``.
        predicted: The predictions ``(rows,)``. Rows with an undefined value are left
            out.

    Returns:
        ``rows``, ``sizes``: the absolute errors of all rows, rising, and ``bands``. A
        band has its ``rows``, the ends ``low, high`` and ``centre`` (median) of its
        predictions, ``errors``: the quantiles 5, 25, 50, 75 and 95 % of truth −
        prediction, and ``sizes``: its absolute errors, rising. Of many rows they are
        evenly spread ones, and ``exact`` is false.

    Examples:
        >>> result = error_bands([1.0, 2.0, 4.0], [1.0, 2.5, 3.0])
        >>> rows = [band["rows"] for band in result["bands"]]
        >>> result["sizes"].tolist(), rows, result["exact"]
        ([0.0, 0.5, 1.0], [3], True)
    """
    actual = np.asarray(truth, dtype=np.float64).ravel()
    guess = np.asarray(predicted, dtype=np.float64).ravel()
    defined = np.isfinite(actual) & np.isfinite(guess)
    actual = actual[defined]
    guess = guess[defined]
    if not len(guess):
        return {"rows": 0, "exact": True, "sizes": np.zeros(0), "bands": []}
    error = actual - guess
    exact = len(guess) <= MOST_ROWS
    count = max(1, min(BANDS, len(guess) // FEWEST_OF_A_BAND))
    range_ends = np.quantile(guess, np.arange(1, count) / count, method="inverted_cdf")
    band_codes = np.searchsorted(np.unique(range_ends), guess, side="left")
    bands = []
    for band_code in np.unique(band_codes):
        inside = guess[band_codes == band_code]
        errors = error[band_codes == band_code]
        sizes = np.sort(np.abs(errors))
        positions = (
            np.arange(len(sizes))
            if exact
            else np.linspace(0, len(sizes) - 1, min(KEPT, len(sizes))).round()
        )
        bands.append(
            {
                "rows": len(inside),
                "low": float(inside.min()),
                "high": float(inside.max()),
                "centre": float(np.median(inside)),
                "errors": np.quantile(errors, LEVELS).tolist(),
                "sizes": sizes[positions.astype(np.intp)],
            }
        )
    return {
        "rows": len(guess),
        "exact": exact,
        "sizes": np.sort(np.abs(error)),
        "bands": bands,
    }


def covering(sizes: Floats, share: float) -> float:
    """Return the smallest of some rising absolute errors that at least a share of them
    does not exceed.

    Args:
        sizes: Rising, ``(rows,)``.
        share: Between 0 and 1.
    """
    return float(np.quantile(sizes, share, method="inverted_cdf"))
