"""Rows with a target, of any kind (a table, images with a table, the inputs of a network), and their predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.dependence import Dependence
from permgrad.base.frames import taken
from permgrad.evaluation.skill import Predicted

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows as a model reads them, with their targets.

    Attributes:
        inputs: a frame, encoded rows, records with images, or the inputs of a network.
        y: the targets as given, ``(rows,)`` or ``(rows, outputs)``.
        numbers: the rows' numbers in their file ``(rows,)``.
        table: the raw values of their features ``(rows, columns)``, or None where the inputs are no table.
        identifiers: columns that name the rows, or None.
        sensitive: columns by whose levels the model is judged, or None. They need not be features.
        truth: names of classes, or numbers ``(rows,)``, where ``y`` has another form.
        dependence: which rows depend on each other, where that is known.
        cut: how some of the inputs are taken, where they are of no usual kind.

    Examples:
        >>> table = pd.DataFrame({"age": [31, 40, 52]})
        >>> rows = Rows(inputs=table, y=np.array([0, 1, 1]), numbers=np.arange(3), table=table)
        >>> rows.take(np.array([2])).table["age"].tolist()
        [52]
    """

    inputs: Any
    y: Any
    numbers: Places
    table: pd.DataFrame | None = None
    identifiers: pd.DataFrame | None = None
    sensitive: pd.DataFrame | None = None
    truth: npt.NDArray[Any] | None = None
    dependence: Dependence | None = None
    cut: Callable[[Places], Any] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def frame(self) -> pd.DataFrame:
        """The table of rows that have one."""
        assert self.table is not None
        return self.table

    def take(self, places: Places) -> Rows:
        """Return some of the rows, by position."""
        if len(places) == len(self) and np.array_equal(places, np.arange(len(self))):
            return self
        cut, y = self.cut, self.y
        if not (hasattr(y, "iloc") or isinstance(y, np.ndarray)):
            from permgrad.attribution.subject.outputs import as_target  # loads torch

            y = as_target(y)
        return Rows(
            inputs=taken(self.inputs, places, len(self)) if cut is None else cut(places),
            y=y.iloc[places] if hasattr(y, "iloc") else y[places],
            numbers=self.numbers[places],
            table=None if self.table is None else self.table.iloc[places],
            identifiers=None if self.identifiers is None else self.identifiers.iloc[places],
            sensitive=None if self.sensitive is None else self.sensitive.iloc[places],
            truth=None if self.truth is None else self.truth[places],
            dependence=None if self.dependence is None else self.dependence.take(places),
            cut=None if cut is None else lambda further: cut(places[further]),
        )


#: Share of rows whose truth the intervals and sets of an assessment hold.
COVERAGE = 0.9


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Rows' truth, and what a model predicts for them.

    Attributes:
        truth: names of classes, or numbers ``(rows,)``.
        guess: probabilities ``(rows, classes)``, or numbers ``(rows,)``.
        classes: names of the classes, in the order of the probabilities. Empty for regression.
        positive: the positive one of two classes.
        inside: the ends of intervals ``(rows, 2)``, or whether each class is in the row's set ``(rows, classes)``.
        labels_only: the model returns classes without probabilities.
        training_mean: the number that a constant predicts.
        before_calibration: the probabilities before they were calibrated.
        called: positions of the classes that the model decides for, where these are not the most probable ones.

    Examples:
        >>> chances = np.array([[0.9, 0.1], [0.4, 0.6]])
        >>> rows = Predictions(truth=np.array(["no", "no"]), guess=chances, classes=("no", "yes"))
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

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def codes(self) -> npt.NDArray[Any]:
        """The truth ``(rows,)`` as numbers, or positions of classes. -1: a class that the model does not know."""
        if not self.classes:
            return np.asarray(self.truth, dtype=np.float64)
        return pd.Index(self.classes).get_indexer(pd.Index(self.truth))

    @property
    def columns(self) -> npt.NDArray[np.float64]:
        """The predictions, one column for each output ``(rows, outputs)``."""
        return self.guess if self.classes else self.guess[:, None]

    @property
    def best(self) -> npt.NDArray[Any]:
        """The predicted class, or number, of each row."""
        return np.asarray(self.classes, dtype=object)[self.scored.decided] if self.classes else self.guess

    @property
    def scored(self) -> Predicted:
        """The predictions as tests of differences take them."""
        return Predicted(self.codes, self.guess, self.called)

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """The probabilities, or None for regression and for models that return classes alone."""
        return self.guess if self.classes and not self.labels_only else None

    @property
    def predictions(self) -> npt.NDArray[np.float64] | None:
        """The predicted numbers, or None for classes."""
        return None if self.classes else self.guess

    def take(self, places: npt.NDArray[np.integer]) -> Predictions:
        """Return the predictions for some of the rows."""
        inside = None if self.inside is None else self.inside[places]
        called = None if self.called is None else self.called[places]
        some = {"truth": self.truth[places], "guess": self.guess[places], "inside": inside, "called": called}
        return replace(self, **some, before_calibration=None)


def before_calibration(calibrated: Any, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the probabilities before a calibration that can be undone, else None.

    ``p ∝ exp((z − shift) / temperature)`` determines the logits up to a constant, which does not change the softmax.
    """
    if calibrated is None or calibrated.method not in ("prior", "temperature"):
        return None
    from scipy.special import softmax

    logits = np.log(np.clip(probabilities, np.finfo(np.float64).tiny, None)) * calibrated.temperature
    uncalibrated = softmax(logits + (np.asarray(calibrated.shift) if calibrated.shift else 0.0), axis=1)
    return None if np.allclose(uncalibrated, probabilities, atol=1e-6) else uncalibrated
