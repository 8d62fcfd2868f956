"""Whether predicted probabilities are right: reliability per bin and what a class is worth by itself.

Rows are put into bins by their predicted probability; a calibrated model is right in each bin as often as it says. The
expected calibration error (Naeini, Cooper & Hauskrecht 2015) is the mean distance of the two, weighted by rows. It is
never 0 on a finite number of rows, so that it is given beside what chance alone would make of it.

NOTE[DIFF]: bins are neither equally wide nor of equally many rows, but of equal Σ p (1 − p), what is uncertain in them:
the many rows that are surely not of a rare class share one bin and leave the others for those of which there is
something to learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.significance import NORMAL_95

Floats = npt.NDArray[np.float64]

#: Bins at most; rows, and sum of p (1 − p), that a bin should have at least.
MOST_BINS, FEWEST_ROWS, LEAST_DOUBT = 10, 25, 2.0


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the positive class occurs where the model gives it about a certain probability.

    Attributes:
        predicted: Mean predicted probability of each bin ``(bins,)``, rising.
        observed: Share of positive rows in each bin.
        low, high: 95 % interval of that share (Wilson 1927).
        rows: Rows in each bin.
        error: Expected calibration error: mean of |observed − predicted|, weighted by rows.
        chance: What ``error`` would be on average for a model that is perfectly calibrated, on as many rows.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    rows: npt.NDArray[np.int64]
    error: float
    chance: float


def reliability(positive: npt.ArrayLike, probability: npt.ArrayLike, *, bins: int | None = None) -> Reliability:
    """Compare probabilities ``(rows,)`` with whether each row is positive; undefined probabilities are left out.

    ``bins`` None: ten, fewer where rows are few or nearly certain. Equal probabilities always share a bin.
    """
    truth = np.asarray(positive, dtype=np.float64).ravel()
    scores = np.asarray(probability, dtype=np.float64).ravel()
    if truth.shape != scores.shape:
        raise InputError(f"positive and probability must have as many rows, however: {len(truth)} and {len(scores)}")
    defined = np.isfinite(scores)
    truth, scores = truth[defined], scores[defined]
    if not len(scores):
        raise InputError("reliability needs a row with a probability, however: there is none")
    if scores.min() < -1e-9 or scores.max() > 1 + 1e-9:
        raise InputError(
            f"probabilities must lie between 0 and 1, however: one is {scores[np.argmax(abs(scores - 0.5))]:g}"
        )
    if bins is not None and bins < 1:
        raise InputError(f"bins must be at least 1, however: bins={bins}")
    scores = np.clip(scores, 0, 1)
    doubt = float(np.sum(scores * (1 - scores)))
    usual = max(1, min(MOST_BINS, len(scores) // FEWEST_ROWS, int(doubt / LEAST_DOUBT)))
    member = _bins(scores, usual if bins is None else bins)
    rows = np.bincount(member)
    predicted = np.bincount(member, weights=scores) / rows
    observed = np.bincount(member, weights=truth) / rows
    low, high = _wilson(observed, rows)
    noise = np.bincount(member, weights=scores * (1 - scores))
    share = rows / len(scores)
    # |mean of independent draws − its expectation| is about √(2/π) standard deviations on average.
    chance = float(np.sum(share * np.sqrt(2 / math.pi * np.maximum(noise, 0)) / rows))
    error = float(np.sum(share * np.abs(observed - predicted)))
    return Reliability(predicted, observed, low, high, rows.astype(np.int64), error, chance)


def per_class(
    y: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[Any] | npt.NDArray[Any],
    predictions: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Compute every measure of single classes, one line each, from probabilities ``(rows, classes)``.

    Columns: ``class, rows`` (that are of it), ``predicted`` (that are called so), ``precision, recall, f1``, and, one
    versus the rest, ``roc_auc, average_precision, calibration_error``. What the rows do not define is NaN. Rows of a
    class that the model does not know count as missed by all others.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, table = np.asarray(y), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or table.shape != (len(truth), len(classes)):
        raise InputError(
            "probabilities must have one row per row of y and one column per class, however: "
            f"the shape is {table.shape} and ({len(truth)}, {len(classes)}) is needed"
        )
    labels = pd.Index(np.asarray(classes))
    codes = labels.get_indexer(pd.Index(truth))
    if predictions is None:
        called = table.argmax(axis=1) if len(truth) else np.zeros(0, dtype=np.int64)
    else:
        called = labels.get_indexer(pd.Index(np.asarray(predictions)))
    frame = pd.DataFrame({"class": list(classes)})
    members, predictions_of = (
        np.array([values == place for place in range(len(labels))]) for values in (codes, called)
    )
    rows, predicted = members.sum(axis=1), predictions_of.sum(axis=1)
    hits = (members & predictions_of).sum(axis=1)
    with np.errstate(invalid="ignore"):
        values = [rows, predicted, hits / predicted, hits / rows, 2 * hits / (rows + predicted)]
    frame[["rows", "predicted"]] = np.column_stack(values[:2])
    frame[["precision", "recall", "f1"]] = np.column_stack(values[2:])
    areas = []
    for one, scores in zip(members, table.T, strict=True):
        both = one.any() and not one.all() and bool(np.all(np.isfinite(scores)))
        ranked = [score(one, scores) if both else math.nan for score in (roc_auc_score, average_precision_score)]
        defined = np.isfinite(scores).any()
        areas.append([*ranked, reliability(one, np.clip(scores, 0, 1)).error if defined else math.nan])
    frame[["roc_auc", "average_precision", "calibration_error"]] = np.asarray(areas, dtype=np.float64)
    return frame


def _bins(values: Floats, count: int) -> npt.NDArray[np.int64]:
    """Number each row's bin from 0 without gaps, by rising probability; equal probabilities share one."""
    place = np.unique(values, return_inverse=True)[1]
    doubt = np.bincount(place, weights=values * (1 - values))
    # Where everything is certain, rows are what is left to count by.
    doubt = doubt if doubt.sum() > 0 else np.bincount(place).astype(np.float64)
    middle = (np.cumsum(doubt) - doubt / 2) / doubt.sum()
    member = np.minimum((middle * count).astype(np.int64), count - 1)
    return np.unique(member[place], return_inverse=True)[1].astype(np.int64)


def _wilson(share: Floats, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    square = NORMAL_95**2
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    half = NORMAL_95 * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2)) / (1 + square / rows)
    # Rounding must not push an end past the share itself.
    return np.clip(np.minimum(centre - half, share), 0, 1), np.clip(np.maximum(centre + half, share), 0, 1)
