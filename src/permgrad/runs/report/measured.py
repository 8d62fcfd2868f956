"""A model's predictions for rows with known targets, and how good they are. All kinds of models are read alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from permgrad.attribution.method import Request
from permgrad.attribution.replace.scoring import stored_predictions
from permgrad.attribution.request import Arguments, NoMethod, build_request
from permgrad.attribution.subject.outputs import as_target
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.errors import InputError, listed, shown
from permgrad.base.frames import as_library
from permgrad.evaluation.metrics import Task, evaluate
from permgrad.evaluation.skill import Predicted, skill
from permgrad.runs.run.predicting import coverage_of, predictions_of

Floats = npt.NDArray[np.float64]
#: Arguments of ``pg.explain`` that a report takes too. All further ones describe a network or predictor.
_ARGUMENTS = (
    *("target", "groups", "background", "sampling", "loss", "confidence", "n_repeats", "batch_size"),
    *("random_state", "progress", "positive"),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model and its predictions for some rows.

    Attributes:
        name: the model's name for people.
        model, inputs, y: as the user passed them. Of several outputs, ``y`` is complete.
        options: further arguments of ``pg.explain``.
        request: the arguments as permgrad reads them.
        task: ``"classification"`` or ``"regression"``.
        classes: names of the classes, empty for regression.
        truth: names of classes, or numbers ``(rows,)``.
        guess: probabilities ``(rows, classes)``, or numbers ``(rows,)``.
        labels_only: the model returns classes without probabilities.
        output: the position of the output that was picked of several, else None.
    """

    name: str
    model: Any
    inputs: Any
    y: Any
    options: Mapping[str, Any]
    request: Request
    task: Task
    classes: tuple[str, ...]
    truth: npt.NDArray[Any]
    guess: Floats
    labels_only: bool = False
    output: int | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.truth)

    @property
    def positive(self) -> str | None:
        """The positive one of two classes."""
        return self.request.positive if len(self.classes) == 2 else None

    @property
    def predicted(self) -> npt.NDArray[Any]:
        """The predicted class or number of each row."""
        return np.asarray(self.classes, dtype=object)[self.guess.argmax(axis=1)] if self.classes else self.guess

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Every metric of the task."""
        return self.measure(self.guess)

    def measure(self, guess: Floats) -> dict[str, Any]:
        """Return every metric of predictions for the same rows."""
        if self.task == "regression":
            return evaluate("regression", self.truth, predictions=guess)
        options: dict[str, Any] = {"classes": self.classes, "positive": self.positive}
        if self.labels_only:
            options["predictions"] = np.asarray(self.classes, dtype=object)[guess.argmax(axis=1)]
        else:
            options["probabilities"] = guess
        return evaluate("classification", self.truth, **options)

    def predict_table(self, table: pd.DataFrame) -> Floats:
        """Return the predictions of a pandas table of further rows like those reported, in the form of ``guess``."""
        subject = self.request.subject
        rows: Any = table
        if isinstance(self.model, nn.Module):
            rows = (torch.as_tensor(table.to_numpy(dtype=np.float64), dtype=self.request.inputs[0].dtype),)
        elif subject.model is not None:
            rows = subject.read(table)
        else:
            library: Any = type(self.inputs).__module__.partition(".")[0]
            known = ("pandas", "polars", "pyarrow")
            rows = subject.read(as_library(table, library) if library in known else table.to_numpy())
        guess = np.asarray(stored_predictions(self.request, outputs_of(subject, rows)), dtype=np.float64)
        if self.output is not None:
            guess = _column(guess, self.output)
        if subject.task == "multilabel":
            return np.column_stack([1 - guess, guess])
        return guess if self.classes else guess.reshape(-1)

    def codes_of(self, y: Any, rows: int) -> npt.NDArray[Any]:
        """Return further targets as positions of classes, or as numbers."""
        codes = self.request.subject.encode_target(y, rows)
        return codes if self.output is None else codes[:, self.output]

    def constant(self, learned: npt.NDArray[Any] | None, *, seed: int) -> tuple[dict[str, Any], float | None]:
        """Compare the model with a constant that ignores the features.

        Args:
            learned: targets of the training rows, see ``codes_of``. None: of the rows themselves, which makes the
                constant a little better than it could be.
            seed: seed of the drawn rows.

        Returns:
            The constant's metrics with ``learnt`` and ``ahead``, and the number that it predicts (None for classes).
        """
        codes = self.codes
        source = codes if learned is None else learned
        mean = None
        if self.task == "regression":
            mean = float(np.mean(source, dtype=np.float64))
            guess = np.full(self.rows, mean)
        else:
            shares = np.bincount(source.astype(np.int64), minlength=len(self.classes)) / len(source)
            guess = np.tile(shares, (self.rows, 1))
        names = ("accuracy",) if self.labels_only else ()
        ahead = skill(self.task, Predicted(codes, self.guess), Predicted(codes, guess), seed=seed, names=names)
        return self.measure(guess) | (ahead or {}), mean

    @cached_property
    def places(self) -> npt.NDArray[np.int64]:
        """The position of each row's class."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.truth))

    @property
    def codes(self) -> npt.NDArray[Any]:
        """The target ``(rows,)``: numbers, or the positions of the classes."""
        return self.places if self.classes else self.truth.astype(np.float64)

    @cached_property
    def inside(self) -> npt.NDArray[Any] | None:
        """The ends of intervals ``(rows, 2)``, or the sets ``(rows, classes)``, of estimators of permgrad."""
        coverage = coverage_of(self.model)
        if coverage is None:
            return None
        inside = predictions_of(self.model, self.inputs, coverage)["inside"]
        labels = [str(label) for label in getattr(self.model, "classes_", ())]
        return inside[:, [labels.index(name) for name in self.classes]] if labels else inside


@dataclass(frozen=True)
class Train:
    """The training rows: the table ``(rows, columns)`` if there is one, and the targets as codes or numbers."""

    table: pd.DataFrame | None
    codes: npt.NDArray[Any]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.codes)


def measure_model(model: Any, inputs: Any, y: Any, *, name: str = "", **options: Any) -> Measured:
    """Check a model with rows and targets, and predict the rows. ``options`` are further arguments of ``explain``.

    Raises:
        InputError: An argument cannot be used, or the model predicts neither classes nor one number for each row.
    """
    if y is None:
        raise InputError("report needs y: a page says how good the model is", hint="Pass the targets.", code="PG005")
    named = {key: value for key, value in options.items() if key in _ARGUMENTS}
    further = {key: value for key, value in options.items() if key not in named}
    arguments = Arguments(model, inputs, y, **named, options=further)
    request = build_request(arguments, NoMethod(), "report")
    subject = request.subject
    guess = np.asarray(stored_predictions(request, outputs_of(subject, request.inputs)), dtype=np.float64)
    if not np.isfinite(guess).all():
        raise InputError(
            "The model predicts NaN or infinity for some rows",
            hint="Look for missing values in the inputs.",
            code="PG040",
        )
    facts: dict[str, Any] = {"name": name or label_of(model), "model": model, "inputs": inputs, "y": y}
    facts |= {"options": dict(options), "request": request}
    if subject.task == "classification":
        codes = request.y if request.classes is None else request.classes
        names = np.asarray(subject.class_names, dtype=object)
        return Measured(
            **facts,
            task="classification",
            classes=tuple(names),
            truth=names[np.asarray(codes)],
            guess=guess,
            labels_only=bool(getattr(getattr(subject, "call", None), "one_hot", False)),
        )
    truth, output = np.asarray(as_target(y)), None
    if subject.count > 1 or truth.ndim != 1:
        truth, guess, output = _one_output(request, options.get("target"), guess)
    if subject.task == "multilabel":
        chances = np.column_stack([1 - guess, guess])
        label = subject.output_names[output or 0]
        classes = (f"not {label}", label)
        labels = np.asarray(classes, dtype=object)[truth.astype(np.int64)]
        return Measured(**facts, task="classification", classes=classes, truth=labels, guess=chances, output=output)
    truth = truth.astype(np.float64)
    return Measured(**facts, task="regression", classes=(), truth=truth, guess=guess.reshape(-1), output=output)


def _one_output(request: Request, target: Any, guess: Floats) -> tuple[npt.NDArray[Any], Floats, int]:
    """Return truth and predictions of the output that is reported, and its position."""
    names, chosen = request.subject.output_names, request.targets
    if isinstance(request.loss, str) and request.loss == "cox":
        raise InputError(
            "report needs classes or numbers, and y holds times and events",
            hint="Call pg.explain with loss='cox' instead.",
            code="PG004",
        )
    if len(chosen) != 1:
        few = listed(list(names)[:5], show=repr)
        raise InputError(
            f"A report is of one output, and the model has {len(names)} ({few})",
            hint=f"Pass target={shown(names[0])}, for example." if target is None else "Name one in target=.",
            code="PG005",
        )
    position = chosen[0]
    return np.asarray(request.y)[:, position], _column(guess, position), position


def _column(guess: Floats, position: int) -> Floats:
    """Return the predictions of one output ``(rows,)``."""
    columns = guess if guess.ndim == 2 else guess[:, None]
    return np.asarray(columns[:, 0 if columns.shape[1] == 1 else position])


def label_of(model: Any) -> str:
    """Return what a model is called: by its class, by the last step of a pipeline, or by a function's name."""
    last = model[-1] if hasattr(model, "steps") and not isinstance(model, nn.Module) else model
    owner = getattr(last, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        return label_of(owner)
    name = getattr(last, "__name__", "")
    return "function" if name == "<lambda>" else name or type(last).__name__
