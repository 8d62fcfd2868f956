"""Rows' truth, and what a model predicts for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.evaluation.skill import Predicted
from permgrad.models.decision import Decision

#: Share of rows whose truth the intervals and sets of an assessment hold.
COVERAGE = 0.9


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Rows' truth, and what a model predicts for them.

    Attributes:
        truth: names of classes, or numbers ``(rows,)``.
        guess: probabilities ``(rows, classes)``, or numbers ``(rows,)``.
        classes: names of the classes, in the order of the probabilities. Empty for
            regression.
        positive: the positive one of two classes.
        inside: the ends of intervals ``(rows, 2)``, or whether each class is in the
            row's set ``(rows, classes)``.
        labels_only: the model returns classes without probabilities.
        training_mean: the number that a constant predicts.
        before_calibration: the probabilities before they were calibrated.
        called: positions of the classes that the model decides for, where these are not
            the most probable ones.
        decision: the threshold of two classes that ``called`` follow, where that is
            known.
        weights: how much each row counts ``(rows,)``. None: all alike.
        counts: the numbers are counts or rates.

    Examples:
        >>> chances = np.array([[0.9, 0.1], [0.4, 0.6]])
        >>> truth = np.array(["no", "no"])
        >>> rows = Predictions(truth=truth, guess=chances, classes=("no", "yes"))
        >>> rows.codes, rows.best
        (array([0, 0]), array(['no', 'yes'], dtype=object))
    """

    truth: npt.NDArray[Any]
    guess: npt.NDArray[np.float64]
    classes: tuple[str, ...] = ()
    positive: str | None = None
    inside: npt.NDArray[Any] | None = None
    labels_only: bool = False
    training_mean: float | None = None
    before_calibration: npt.NDArray[np.floating] | None = None
    called: npt.NDArray[np.integer] | None = None
    decision: Decision | None = None
    weights: npt.NDArray[np.float64] | None = None
    counts: bool = False

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def codes(self) -> npt.NDArray[Any]:
        """The truth ``(rows,)`` as numbers, or positions of classes. -1: a class that
        the model does not know.
        """
        if not self.classes:
            return np.asarray(self.truth, dtype=np.float64)
        return pd.Index(self.classes).get_indexer(pd.Index(self.truth))

    @property
    def columns(self) -> npt.NDArray[np.float64]:
        """The predictions, one column for each output ``(rows, outputs)``."""
        if self.classes:
            return self.guess
        return self.guess[:, None]

    @property
    def best(self) -> npt.NDArray[Any]:
        """The predicted class, or number, of each row."""
        if self.classes:
            return np.asarray(self.classes, dtype=object)[self.scored.decided]
        return self.guess

    @property
    def scored(self) -> Predicted:
        """The predictions as tests of differences take them."""
        return Predicted(self.codes, self.guess, self.called, self.weights, self.counts)

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """The probabilities, or None for regression and for models that return classes
        alone.
        """
        if self.classes and not self.labels_only:
            return self.guess
        return None

    @property
    def predictions(self) -> npt.NDArray[np.float64] | None:
        """The predicted numbers, or None for classes."""
        if self.classes:
            return None
        return self.guess

    def take(self, positions: npt.NDArray[np.integer]) -> Predictions:
        """Return the predictions for some of the rows."""
        if self.inside is None:
            inside = None
        else:
            inside = self.inside[positions]
        called, weights = (
            None if row_values is None else row_values[positions]
            for row_values in (self.called, self.weights)
        )
        taken_fields = {
            "truth": self.truth[positions],
            "guess": self.guess[positions],
            "inside": inside,
            "called": called,
        }
        return replace(self, **taken_fields, weights=weights, before_calibration=None)


def before_calibration(
    calibrated: Any, probabilities: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """Return the probabilities before a calibration that can be undone, else None.

    ``p ∝ exp((z − shift) / temperature)`` determines the logits up to a constant, which
    does not change the softmax.
    """
    if calibrated is None or calibrated.method not in ("prior", "temperature"):
        return None
    from scipy.special import softmax

    logits = (
        np.log(np.clip(probabilities, np.finfo(np.float64).tiny, None))
        * calibrated.temperature
    )
    uncalibrated = softmax(
        logits + (np.asarray(calibrated.shift) if calibrated.shift else 0.0), axis=1
    )
    if np.allclose(uncalibrated, probabilities, atol=1e-6):
        return None
    return uncalibrated
