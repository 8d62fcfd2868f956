"""A model in a file of another library, with the interface of permgrad's own models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from permgrad.attribution.subject.calls import find_call
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.base.arrays import Array
from permgrad.base.errors import InputError, listed
from permgrad.base.startup import loading
from permgrad.data.read.cells import canonical
from permgrad.models.model_files import OnnxPredictor, read_model_file
from permgrad.models.model_tables import columns_of, table_for
from permgrad.runs.folder.documents import read_like
from permgrad.runs.requests import ExplainRequest
from permgrad.runs.run.early import find_column


@dataclass(frozen=True)
class FileModel:
    """A predictor from a file, and the form of its table."""

    predictor: Any
    subject: PredictorSubject

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``pg.explain`` for this predictor."""
        return {"task": self.subject.task, "class_names": list(self.subject.class_names) or None}

    def predict_parts(self, rows: pd.DataFrame) -> dict[str, Array]:
        """Return values or the likeliest classes ``(rows,)`` as ``prediction``, of classes also ``probabilities``."""
        subject, parts = self.subject, []
        with subject.open():
            for part in subject.read(rows)[0].split(subject.most_rows()):
                outputs = subject.forward([part])
                parts.append((subject.probabilities(outputs) if subject.class_names else outputs).numpy())
        numbers, classes = np.concatenate(parts), getattr(self, "classes_", None)
        if classes is None:
            return {"prediction": numbers[:, 0]}
        return {"prediction": np.asarray(classes[numbers.argmax(axis=1)]), "probabilities": numbers}


@dataclass(frozen=True)
class FileClassifier(FileModel):
    """A classifier from a file, with its classes ``(classes,)``."""

    classes_: Array


def open_file(request: ExplainRequest) -> tuple[FileModel, pd.DataFrame, pd.DataFrame]:
    """Return the model of a file, the rows of the request's table in its form, and the complete table.

    Raises:
        InputError: a file that could run code or is not a model, a table without the model's columns, or classes
            that do not fit.
        EnvironmentProblem: the model's library is not installed.
    """
    with loading():
        predictor = read_model_file(request.model_folder, request.trust)
    known, y = columns_of(predictor), request.y
    frame = read_like(request.source, {"texts": known.texts, "sheet": request.sheet}, known.names or ())
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if y is not None:
        find_column(y, list(frame.columns), "target")
    rows = table_for(predictor, frame, y)
    return make_file_model(predictor, rows, None if y is None else frame[y], request.class_names), rows, frame


def make_file_model(
    predictor: Any, rows: pd.DataFrame, y: pd.Series[Any] | None, classes: tuple[str, ...]
) -> FileModel:
    """Return a predictor with its classes: those of the model, or ``classes``, in the order of its outputs."""
    names = find_call(predictor).classes
    if isinstance(predictor, OnnxPredictor):
        names = predictor.classes_of(rows[:1])
    # Numbers from 0 on are positions of classes, not names.
    if names is not None and names != tuple(range(len(names))):
        if classes:
            raise InputError(
                f"The model has names for its classes: {listed(names)}", hint="Leave --class-names out.", code="PG004"
            )
        classes = tuple(names)
    target = None if y is None else y.dropna()
    if classes:
        return _with_classes(predictor, rows, classes)
    # If the model does not say whether it classifies, the target decides how one number per row is read.
    subject = PredictorSubject(predictor, rows, None if target is None else _told(target))
    if subject.task == "regression":
        return FileModel(predictor, subject)
    count = len(subject.class_names)
    strange = set() if target is None else {canonical(v) for v in target.unique()} - set(map(str, range(count)))
    if strange:
        raise InputError(
            f"The file does not name the model's {count} classes, and column {y.name!r} holds "  # type: ignore[union-attr]
            f"{listed(sorted(strange), show=repr)}",
            hint="Name them in the order of its outputs, as in --class-names no,yes (scikit-learn sorts them).",
            code="PG035",
        )
    return FileClassifier(predictor, subject, np.arange(count))


def _told(target: pd.Series[Any]) -> Array | None:
    """Return a target that shows whether a model classifies. None: it is empty."""
    if target.empty:
        return None
    numbers = pd.api.types.is_numeric_dtype(target.dtype) and not pd.api.types.is_bool_dtype(target.dtype)
    return target.to_numpy(dtype=np.float64) if numbers else np.asarray(target.map(canonical), dtype=object)


def _with_classes(predictor: Any, rows: pd.DataFrame, classes: tuple[Any, ...]) -> FileModel:
    call = find_call(predictor)
    if call.task == "regression":
        raise InputError(
            "--class-names is for classifiers, but the model predicts numbers", "Leave --class-names out.", "PG004"
        )
    few = PredictorSubject(predictor, rows[:1], task="classification", class_names=None)
    count = len(few.class_names)
    if count != len(classes) or len(set(map(str, classes))) != count:
        problem = f"The model has {count} classes, got {listed(classes)}"
        raise InputError(problem, hint=f"Name {count} different ones, in the order of its outputs.", code="PG035")
    subject = PredictorSubject(predictor, rows, task="classification", class_names=list(map(str, classes)))
    return FileClassifier(predictor, subject, np.asarray(classes))
