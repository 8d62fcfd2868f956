"""What a prediction should become, and whether rows reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from permgrad.attribution.subject.outputs import label_place
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.checks import is_number
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.numerals import number


class Goal:
    """The outcome wanted for a row: a class, any other class, or an output between two ends.

    Args:
        subject: the model.
        row: the row as numbers, ``(columns,)``.
        want: the argument of ``pg.counterfactuals``.

    Attributes:
        words: what is wanted, such as ``"predict 'yes'"``.
        reached: the output of the row that came nearest without reaching it.
    """

    def __init__(self, subject: PredictorSubject, row: Floats, want: Any) -> None:
        self.subject, self._decides = subject, None
        self.ends: tuple[float, float] | None = None
        self.other = False
        self.reached, self._short = np.nan, -np.inf
        outputs, decided = self._outputs(subject.inputs[0][:2000].numpy()), subject.deciding()
        if decided is not subject:
            chosen = self._outputs(subject.inputs[0][:2000].numpy(), decided).argmax(axis=1)
            # A second call for all rows only where the model decides by another rule, such as its own threshold.
            self._decides = decided if (chosen != outputs.argmax(axis=1)).any() else None
        self.names = subject.class_names if subject.task == "classification" else subject.output_names
        self.of_classes = subject.task == "classification"
        self.own = self.labels(row[None])[0] if self.of_classes else None
        self._read(want, row)

    def _read(self, want: Any, row: Floats) -> None:
        places = {name: place for place, name in enumerate(self.names)}
        if want is None and self.of_classes:
            self.column, self.other = self.own, True
            self.words = f"predict {self.names[1 - self.own]!r}"
            if len(self.names) > 2:
                self.words = f"predict another class than {self.names[self.own]!r}"
            return
        if isinstance(want, Mapping):
            if len(want) != 1:
                problem = f"want must name one output, got {shown(want)}"
                raise InputError(problem, hint=f"Pass want={{{self.names[-1]!r}: 0.7}}.", code="PG001")
            ((name, limit),) = want.items()
            self.column = label_place(name, places)
            if self.column < 0:
                raise unknown("want", name, self.names)
            self.ends = _ends(limit if isinstance(limit, (tuple, list)) else (limit, None))
            what = f"the probability of {self.names[self.column]!r}" if self.subject.task != "regression" else ""
            self.words = f"bring {what or repr(self.names[self.column])} {_ends_in_words(self.ends)}"
        elif self.of_classes:
            self.column = label_place(want, places)
            if self.column < 0:
                raise unknown("want", want, self.names)
            self.words = f"predict {self.names[self.column]!r}"
        else:
            if len(self.names) > 1 or not isinstance(want, (tuple, list)):
                now = f"The row's prediction is {number(float(self._outputs(row[None])[0, 0]))}"
                hint = f"Pass want={{{self.names[0]!r}: (low, high)}}." if len(self.names) > 1 else f"{now}: pass (low, high)."
                raise InputError(f"want must be a range of a predicted number, got {shown(want)}", hint=hint, code="PG001")
            self.column, self.ends = 0, _ends(want)
            self.words = f"predict a number {_ends_in_words(self.ends)}"

    def _outputs(self, rows: Floats, subject: PredictorSubject | None = None) -> Floats:
        subject = subject or self.subject
        return subject.predicted(outputs_of(subject, (torch.from_numpy(rows),), subject.table_batch))

    def labels(self, rows: Floats) -> Array:
        """Return the places of the classes that the model decides for."""
        return self._outputs(rows, self._decides).argmax(axis=1)

    def __call__(self, rows: Floats) -> tuple[Booleans, Floats]:
        """Return which rows reach the goal, and by how much they do, or fall short of it (negative)."""
        if not len(rows):
            return np.zeros(0, dtype=bool), np.zeros(0)
        outputs = self._outputs(rows)
        own = outputs[:, self.column]
        if self.ends is not None:
            margin = np.minimum(own - self.ends[0], self.ends[1] - own)
            valid = margin >= 0
        else:
            margin = own - np.delete(outputs, self.column, axis=1).max(axis=1)
            margin = -margin if self.other else margin
            labels = outputs.argmax(axis=1) if self._decides is None else self.labels(rows)
            valid = (labels == self.column) != self.other
        margin = np.nan_to_num(margin, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        short = np.where(valid, -np.inf, margin)
        if short.max() > self._short:
            self._short, self.reached = float(short.max()), float(own[short.argmax()])
        return valid, margin

    def described(self, rows: Floats) -> tuple[list[Any], Floats | None]:
        """Return the predictions of rows: classes with the probability that was asked for, or numbers."""
        outputs = self._outputs(rows)
        if not self.of_classes:
            return outputs[:, self.column].tolist(), None
        labels = self.labels(rows)
        classes = self.subject.call.classes or self.names
        column = labels if self.other else np.full(len(rows), self.column)
        probability = None if self.subject.call.one_hot else outputs[np.arange(len(rows)), column]
        return [classes[place] for place in labels], probability

    def met_by(self, y: Any, rows: int) -> Booleans:
        """Return which targets are the outcome wanted. A bound on a probability means rows of that class, or others."""
        truth = self.subject.encode_target(y, rows)
        if not self.of_classes:
            truth = truth if truth.ndim == 1 else truth[:, self.column]
        if self.subject.task == "regression":
            assert self.ends is not None
            return np.asarray((truth >= self.ends[0]) & (truth <= self.ends[1]))
        against = self.other or (self.ends is not None and not np.isfinite(self.ends[0]))
        return np.asarray((truth == (self.column if self.of_classes else 1)) != against)


def _ends(limit: Any) -> tuple[float, float]:
    """Return both ends of what is wanted of a number."""
    ends = tuple(otherwise if end is None else end for end, otherwise in zip(limit, (-np.inf, np.inf), strict=False))
    if len(limit) != 2 or not all(map(is_number, ends)) or not ends[0] <= ends[1] or not np.isfinite(ends).any():
        problem = f"want must be a range (low, high) that rises, got {shown(limit)}"
        raise InputError(problem, hint="Pass for example (0.7, None).", code="PG001")
    return float(ends[0]), float(ends[1])


def _ends_in_words(ends: tuple[float, float]) -> str:
    low, high = (number(end) if np.isfinite(end) else "" for end in ends)
    return f"between {low} and {high}" if low and high else f"of at least {low}" if low else f"of at most {high}"
