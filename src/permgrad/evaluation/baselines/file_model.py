"""A fitted model in an ONNX file, with the interface of permgrad's own models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError, keeping_warnings, listed
from permgrad.data.read.cells import canonical
from permgrad.data.tasks import CLASSIFICATION, REGRESSION, tasks
from permgrad.models.onnx_model import OnnxPredictor, read_onnx


class _Read(BaseEstimator):
    """What is known once a file is read, see ``FileModel``."""

    predictor: OnnxPredictor
    classes_: Array


@dataclass(eq=False, repr=False)
class FileModel(_Read):
    """A model of a file as an estimator: it is fitted already, and ``fit`` only reads
    it and compares it with rows.

    Args:
        path: the file, see ``pg.integrations.read_onnx``.
        task: ``"classification"`` or ``"regression"``.
        target: the name of the column of targets.

    Attributes:
        predictor: the model itself.
        classes_: the classes ``(classes,)``, those of ``fit`` sorted. Classification
            only.
    """

    path: str = ""
    task: str = ""
    target: str = "y"

    @property
    def label(self) -> str:
        """The file's name."""
        return Path(self.path).name

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``pg.Model`` for the predictor."""
        return {"task": self.task, "class_names": self._names or None}

    def fit(self, X: pd.DataFrame, y: Array) -> Self:
        """Read the file. The rows stay unknown to the model.

        Raises:
            InputError: the model has other columns than the rows, another task, or
                lacks one of their classes.
        """
        predictor = read_onnx(self.path)
        encoded_table = predictor.table_for(X.reset_index(drop=True))
        model = make_file_model(
            predictor, encoded_table, pd.Series(y, name=self.target)
        )
        if model.task != self.task:
            problem = (
                f"{self.label} is a model for {model.task}, and this is a {self.task}"
            )
            raise InputError(problem, hint=f"Pass --task {model.task}.", code="PG006")
        self.take(predictor)
        if tasks.get(model.task).has_classes:
            label_by_name = {canonical(label): label for label in np.unique(y).tolist()}
            self._names = list(map(canonical, model.classes_.tolist()))
            if strange := [
                label_by_name[class_name]
                for class_name in label_by_name
                if class_name not in self._names
            ]:
                problem = (
                    f"{self.label} has no class {listed(strange, show=repr)}, "
                    "which the target holds"
                )
                raise InputError(
                    problem,
                    hint=f"Its classes are {listed(self._names, show=repr)}.",
                    code="PG035",
                )
            labels = np.array(
                [
                    label_by_name.get(class_name, class_name)
                    for class_name in self._names
                ],
                dtype=np.asarray(y).dtype,
            )
            self.classes_, self._places = np.unique(labels, return_inverse=True)
        return self

    def take(
        self, predictor: OnnxPredictor, names: Sequence[str] = (), positions: Any = ()
    ) -> Self:
        """Take a predictor, its classes' names in the order of its outputs, and their
        places. Return the model.
        """
        self.predictor = predictor
        self._names = list(names)
        self._places = np.asarray(positions, dtype=np.int64)
        return self

    @classmethod
    def restored(cls, path: Path, task: str, facts: Mapping[str, Any]) -> Self:
        """Return the estimator of a saved file and of what ``facts`` said.

        It has no ``classes_``.
        """
        return cls(str(path), task).take(
            read_onnx(path), facts["names"], facts["places"]
        )

    def facts(self) -> dict[str, Any]:
        """Return what a saved file is read with: its classes' names, in the order of
        its outputs, and their places.
        """
        return {"names": self._names, "places": self._places.tolist()}

    def _numbers(self, X: pd.DataFrame) -> Floats:
        from permgrad.attribution.subject.predictor import (
            PredictorSubject,
        )  # loads torch

        options: dict[str, Any]
        if self._names:
            options = {"class_names": self._names}
        else:
            options = {}
        with (
            keeping_warnings()
        ):  # reading has shown them, and has seen that rows do not depend on each other
            table_rows = self.predictor.table_for(X.reset_index(drop=True))
            subject = PredictorSubject(
                self.predictor, table_rows, task=self.task, alone=False, **options
            )
            numbers = []
            with subject.open():
                for batch in subject.inputs[0].split(subject.most_rows()):
                    outputs = subject.forward([batch])
                    output_form = subject.outputs
                    numbers.append(
                        (
                            output_form.probabilities(outputs)
                            if output_form.class_names
                            else outputs
                        ).numpy()
                    )
        return np.concatenate(numbers)

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        numbers = self._numbers(X)
        table = np.empty_like(numbers)
        table[:, self._places] = numbers
        return table

    def predict(self, X: pd.DataFrame) -> Array:
        """Return predicted numbers, or the most probable classes, ``(rows,)``."""
        return self.predict_parts(X)["prediction"]

    def predict_parts(self, X: pd.DataFrame) -> dict[str, Array]:
        """Return predictions ``(rows,)``, of classes also ``probabilities``, as
        estimators of permgrad do.
        """
        if tasks.get(self.task).numeric:
            return {"prediction": self._numbers(X)[:, 0]}
        table = self.predict_proba(X)
        return {
            "prediction": np.asarray(self.classes_[table.argmax(axis=1)]),
            "probabilities": table,
        }


def make_file_model(
    predictor: OnnxPredictor, rows: pd.DataFrame, y: pd.Series[Any] | None
) -> FileModel:
    """Return a predictor with its classes: those that the file names, or numbers, in
    the order of its outputs.

    Args:
        predictor: What the file holds.
        rows: Some rows, as it reads them.
        y: Their targets, or None.
    """
    from permgrad.attribution.subject.predictor import PredictorSubject  # loads torch

    names = predictor.classes_of(rows[:1])
    # Numbers from 0 on are positions of classes, not names.
    if names is not None and names != tuple(range(len(names))):
        first_subject = PredictorSubject(
            predictor, rows[:1], task=CLASSIFICATION, class_names=None
        )
        count = len(first_subject.outputs.class_names)
        if count != len(names) or len(set(map(str, names))) != count:
            problem = f"The model has {count} classes, got {listed(names)}"
            raise InputError(
                problem,
                hint=f"Name {count} different ones, in the order of its outputs.",
                code="PG035",
            )
        PredictorSubject(
            predictor, rows, task=CLASSIFICATION, class_names=list(map(str, names))
        )
        return _with_classes(predictor, np.asarray(names), list(map(str, names)))
    if y is None:
        target = None
    else:
        target = y.dropna()
    # If the model does not say whether it classifies, the target decides how one number
    # per row is read.
    subject = PredictorSubject(
        predictor, rows, None if target is None else _told(target)
    )
    if subject.task.numeric:
        return FileModel(task=REGRESSION).take(predictor)
    count = len(subject.outputs.class_names)
    if target is None:
        strange = set()
    else:
        strange = set(map(canonical, target.unique())) - set(map(str, range(count)))
    if strange:
        raise InputError(
            f"The file does not name the model's {count} classes, and column "
            f"{y.name!r} holds "  # type: ignore[union-attr]
            f"{listed(sorted(strange), show=repr)}",
            hint="Write them as 0, 1, … in the order of its outputs (scikit-learn "
            "sorts classes), or pass class_names= in Python.",
            code="PG035",
        )
    return _with_classes(predictor, np.arange(count), list(subject.outputs.class_names))


def _told(target: pd.Series[Any]) -> Array | None:
    """Return a target that shows whether a model classifies. None: it is empty."""
    if target.empty:
        return None
    numbers = pd.api.types.is_numeric_dtype(
        target.dtype
    ) and not pd.api.types.is_bool_dtype(target.dtype)
    if numbers:
        return target.to_numpy(dtype=np.float64)
    return np.asarray(target.map(canonical), dtype=object)


def _with_classes(
    predictor: OnnxPredictor, classes: Array, names: list[str]
) -> FileModel:
    model = FileModel(task=CLASSIFICATION).take(predictor, names, np.arange(len(names)))
    model.classes_ = classes
    return model
