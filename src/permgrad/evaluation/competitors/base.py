"""What a competitor is: rows, a job, a registry entry, a fitted model in the classes of the task."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.base.registry import Registry
from permgrad.evaluation.metrics import Task, evaluate

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

ROUNDS = 1000
"""Most boosting rounds when validation rows say when to stop."""
ROUNDS_WITHOUT_VALIDATION = 200
PATIENCE = 50
"""Boosting rounds without a better validation loss before it stops."""


@dataclass(frozen=True)
class EncodedRows:
    """Some rows.

    Attributes:
        encoded: The encoded table ``(rows, encoded)``.
        y: The target ``(rows,)``.
        natural: The same rows with numbers as numbers and categories as categories, see ``natural_table``; models
            that take categories as they are use it where it is given, all others never look at it.
    """

    encoded: Array
    y: Array
    natural: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.encoded) != 2 or len(self.encoded) != len(self.y):
            raise InputError(
                "a part must have encoded rows of shape (rows, encoded) and as many y, however: "
                f"{np.shape(self.encoded)} and {np.shape(self.y)}"
            )
        if self.natural is not None and len(self.natural) != len(self.y):
            raise InputError(
                f"a part's natural table must have as many rows as y, however: {len(self.natural)} and {len(self.y)}"
            )

    def take(self, rows: Array) -> EncodedRows:
        """Return the rows that a mask or row numbers choose."""
        natural = None if self.natural is None else self.natural.iloc[np.arange(len(self.y))[rows]]
        return EncodedRows(np.asarray(self.encoded)[rows], np.asarray(self.y)[rows], natural)

    def with_y(self, y: Array) -> EncodedRows:
        """Return the same rows with another target."""
        return EncodedRows(np.asarray(self.encoded), y, self.natural)


@dataclass(frozen=True)
class Job:
    """What a competitor is fitted on."""

    task: Task
    train: EncodedRows
    validation: EncodedRows | None
    n_classes: int
    seed: int
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classify(self) -> bool:
        """True for classification."""
        return self.task == "classification"

    @property
    def rounds(self) -> int:
        """Most rounds of boosting."""
        return ROUNDS if self.validation else ROUNDS_WITHOUT_VALIDATION


@dataclass(frozen=True)
class Competitor:
    """A model to compare with.

    Attributes:
        name: Key in ``metrics.json``.
        label: Name for people.
        package: The package that must be importable.
        fit: Function of a ``Job`` that returns a fitted model with ``predict`` or ``predict_proba``.
        extra: The extra of permgrad that brings the package; empty where permgrad itself needs it.
        costly: Takes minutes where the others take seconds, so it is fitted only when it is named.
        takes_natural: Reads the natural table of rows that have one.
    """

    name: str
    label: str
    package: str
    fit: Callable[[Job], Any]
    extra: str = ""
    costly: bool = False
    takes_natural: bool = False

    def available(self) -> bool:
        """Say whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None


@dataclass(frozen=True)
class FittedCompetitor:
    """A fitted competitor in the classes of the task, whatever numbers the library works with.

    Attributes:
        name: Its name.
        model: The library's fitted model.
        seconds: Time of the fit by the clock on the wall.
        classes: All classes of the task (empty for regression).
        seen: Positions in ``classes`` that occur in the training rows.
        processor_seconds: Time of the fit on the processor, all threads together: other work does not count.
        natural: Whether it was fitted on the natural table, so that it predicts for ``EncodedRows`` that have one.
    """

    name: str
    model: Any
    seconds: float
    classes: Array = field(default_factory=lambda: np.asarray([]))
    seen: Array = field(default_factory=lambda: np.asarray([], dtype=np.int64))
    processor_seconds: float = float("nan")
    natural: bool = False

    def predict_proba(self, rows: Array | EncodedRows) -> npt.NDArray[np.float64]:
        """Return probabilities ``(rows, classes)``; a class without training rows gets 0."""
        readable = self._readable(rows)
        table = np.zeros((len(readable), len(self.classes)))
        table[:, self.seen] = self.model.predict_proba(readable)
        return table

    def predict(self, rows: Array | EncodedRows) -> Array:
        """Return predicted values, or the most probable classes."""
        if len(self.classes) == 0:
            return np.asarray(self.model.predict(self._readable(rows)), dtype=np.float64)
        return np.asarray(self.classes[np.argmax(self.predict_proba(rows), axis=1)])

    def guess(self, rows: Array | EncodedRows) -> npt.NDArray[np.float64]:
        """Return predicted values ``(rows,)``, or probabilities ``(rows, classes)``."""
        return self.predict_proba(rows) if len(self.classes) else self.predict(rows)

    def evaluate(
        self, rows: EncodedRows, positive: Any = None, guess: npt.NDArray[np.float64] | None = None
    ) -> dict[str, Any]:
        """Compute the metrics on some rows; ``guess`` is what the model says of them, if that is there already."""
        guess = self.guess(rows) if guess is None else guess
        if len(self.classes) == 0:
            return evaluate("regression", rows.y, predictions=guess)
        return evaluate("classification", rows.y, probabilities=guess, classes=list(self.classes), positive=positive)

    def _readable(self, rows: Array | EncodedRows) -> Any:
        if not self.natural:
            return rows.encoded if isinstance(rows, EncodedRows) else rows
        if not isinstance(rows, EncodedRows) or rows.natural is None:
            raise InputError(
                f"{self.name!r} was fitted on natural tables and predicts for these, however: the rows have none; "
                "pass EncodedRows with natural=natural_table(encoder, encoded)"
            )
        return rows.natural


competitors: Registry[Competitor] = Registry("baseline")
"""Users know competitors as baselines: ``--baselines``, ``metrics.json``."""


def register(
    name: str, label: str, package: str, **facts: Any
) -> Callable[[Callable[[Job], Any]], Callable[[Job], Any]]:
    """Return a decorator that enters a fitting function as a competitor; ``facts`` are further fields of it."""

    def enter(fit: Callable[[Job], Any]) -> Callable[[Job], Any]:
        competitors.register(name)(Competitor(name, label, package, fit, **facts))
        return fit

    return enter
