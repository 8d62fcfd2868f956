"""Fitted models in ONNX files, which hold no code: read as functions of a table, and
the tables that they take.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.base.checks import check_path
from permgrad.base.errors import (
    Fault,
    InputError,
    counted,
    error_in_words,
    listed,
    refusing,
    turned,
    two_sentences,
    warn_user,
)
from permgrad.base.late import optional
from permgrad.data.encode.encoding import align_columns
from permgrad.data.read.cells import canonical

#: How the names of tables end, which are taken for models where the order of arguments
#: is wrong.
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".xlsx", ".xlsm", ".gz")
#: What stands for a missing cell of text: what ``astype(str)`` makes of it.
_MISSING_TEXT = "nan"
#: Dimensions of a table.
_MATRIX = 2


def is_onnx(path: Path) -> bool:
    """Whether a path names an ONNX file."""
    return path.suffix.lower() == ".onnx" and path.is_file()


@refusing
def check_onnx(path: Path) -> Iterator[Fault]:
    """Refuse a file that is named as none of ONNX, before anything is read."""
    ending = path.suffix.lower()
    if ending in _TABLES:
        table_hint = (
            "Name a model's file or a run's folder. A table comes after it "
            "(permgrad explain MODEL TABLE)."
        )
        yield f"{path.name} is a table, not a model", table_hint, "PG031"
    if ending != ".onnx":
        problem = f"A model file must be ONNX (.onnx), got {path.name}"
        yield (
            problem,
            "Load the model in Python, and call pg.explain or pg.report.",
            "PG031",
        )


def read_onnx(path: str | os.PathLike[str]) -> OnnxPredictor:
    """Return the model in an ONNX file as a function of a table, for ``pg.explain``.

    Its file holds no code.

    Args:
        path: the file.

    Raises:
        InputError: the file holds no model.
        EnvironmentProblem: onnxruntime is not installed.

    Examples:
        >>> import permgrad as pg
        >>> pg.integrations.read_onnx("model.pkl")
        Traceback (most recent call last):
        permgrad.InputError: A model file must be ONNX (.onnx), got model.pkl...
    """
    path = check_path("path", path, "pass the name of a file")
    check_onnx(path)
    runtime = optional("onnxruntime")
    which = f"{path.name} cannot be read as a model"
    with turned(
        lambda error: InputError(
            f"{which}: {error_in_words(error)}", "Save it as ONNX again.", "PG031"
        )
    ):
        return OnnxPredictor(
            runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        )


class OnnxPredictor:
    """An ONNX model as a function of a table: one input for the whole table, or one for
    each column.

    Arrays of images, and dicts of several inputs, are passed on as they are.

    Columns of ``texts`` are read as text even where their cells are digits: 007 is not
    7 there.
    """

    _TYPES: Mapping[str, Any] = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
    }

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs = session.get_inputs()
        #: probabilities stand behind the labels, where there are any
        self.output = session.get_outputs()[-1].name
        facts = session.get_modelmeta().custom_metadata_map
        #: what a file of ``pg.integrations.export_onnx`` says of itself
        columns, self.classes = (
            tuple(json.loads(facts[fact_name]))
            if "permgrad" in facts and fact_name in facts
            else None
            for fact_name in ("columns", "classes")
        )
        self.names: tuple[str, ...] | None = columns
        self.texts: tuple[str, ...] = ()
        if len(self.inputs) > 1:
            self.names = tuple(model_input.name for model_input in self.inputs)
            self.texts = tuple(
                model_input.name
                for model_input in self.inputs
                if model_input.type == "tensor(string)"
            )

    def __call__(self, rows: Any, /) -> Any:
        """Return the last output, ``(rows,)`` or ``(rows, outputs)``.

        A map from classes becomes its values.

        Of images and several inputs all outputs ``(rows, *)`` by name.
        """
        if isinstance(rows, Mapping) or np.ndim(rows) > _MATRIX:
            return self._of_tensors(rows)
        if isinstance(rows, pd.DataFrame):
            frame = rows
        else:
            frame = pd.DataFrame(np.asarray(rows))
        (returned,) = self.session.run([self.output], self._feed(frame))
        if isinstance(returned, list):
            return np.array([list(class_values.values()) for class_values in returned])
        return np.asarray(returned)

    def _of_tensors(self, inputs: Any) -> dict[str, Array]:
        """Return all outputs for one array, or for a dict of arrays by the inputs'
        names.
        """
        if isinstance(inputs, Mapping):
            named = inputs
        else:
            named = {self.inputs[0].name: inputs}
        names = [model_input.name for model_input in self.inputs]
        if set(named) != set(names):
            problem = f"The model takes the inputs {listed(names, 5, show=repr)}"
            input_hint = "Pass X as a dict of arrays by these names"
            raise InputError(problem, hint=input_hint, code="PG012")
        input_arrays = {}
        for model_input in self.inputs:
            input_arrays[model_input.name] = np.asarray(
                named[model_input.name], dtype=self._TYPES.get(model_input.type)
            )
        outputs = [model_output.name for model_output in self.session.get_outputs()]
        return dict(zip(outputs, self.session.run(outputs, input_arrays), strict=True))

    def _feed(self, frame: pd.DataFrame) -> dict[str, Array]:
        if len(self.inputs) == 1:
            return {
                self.inputs[0].name: frame.to_numpy(
                    dtype=self._TYPES.get(self.inputs[0].type, object)
                )
            }
        columns = {}
        for column_name in frame.columns:
            columns[str(column_name)] = frame[column_name]
        missing = []
        for model_input in self.inputs:
            if model_input.name not in columns:
                missing.append(model_input.name)
        if missing:
            raise InputError(
                f"Column {missing[0]!r} of the model is not in the table",
                "Rename or add it.",
                "PG012",
            )
        types = {}
        for model_input in self.inputs:
            types[model_input.name] = self._TYPES.get(model_input.type, object)
        feed: dict[str, Array] = {}
        for input_name, input_type in types.items():
            feed[input_name] = columns[input_name].to_numpy(input_type).reshape(-1, 1)
        return feed

    def classes_of(self, table: pd.DataFrame) -> tuple[Any, ...] | None:
        """Return the classes of a row's probabilities, or None if the file has none."""
        if not self.session.get_outputs()[-1].type.startswith("seq(map"):
            return self.classes
        (returned,) = self.session.run([self.output], self._feed(table))
        return tuple(returned[0])

    def table_for(self, table: pd.DataFrame, target: str | None = None) -> pd.DataFrame:
        """Return a table's columns as the model takes them, in its order.

        ``target`` is none of them.

        Raises:
            InputError: columns are missing, or hold what the model cannot take.
        """
        frame = table.drop(columns=[target] if target in table.columns else [])
        if len(set(self.names or ())) < len(self.names or ()):
            raise InputError(
                "The model's file names a feature twice",
                "Train it on columns of different names.",
                "PG031",
            )
        frame = self._in_order(frame)
        if len(self.inputs) == 1 and self.inputs[0].type == "tensor(string)":
            return frame
        return pd.DataFrame(
            {
                column_name: (_texts if column_name in self.texts else _numbers)(
                    frame[column_name]
                )
                for column_name in frame.columns
            }
        )

    def _in_order(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.names is not None:
            return align_columns(frame, list(self.names))
        shape = self.inputs[0].shape
        if len(shape) == 2 and isinstance(shape[1], int) and shape[1] != frame.shape[1]:
            problem = (
                f"The model takes {counted(shape[1], 'column')} without names, "
                f"and the table has {frame.shape[1]}"
            )
            if frame.shape[1] > shape[1]:
                width_hint = "Leave the others out, also the target."
            else:
                width_hint = "Add the others."
            raise InputError(problem, hint=width_hint, code="PG017")
        names = listed(list(frame.columns), show=repr)
        warn_user(
            "The model has no column names, so the table's columns are used in their "
            f"order ({names})."
        )
        return frame


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return cells as texts."""
    if missing := int(column.isna().sum()):
        blank = counted(missing, "missing cell")
        missing_sentence = (
            f"Column {str(column.name)!r} has {blank}, read as the text "
            f"{_MISSING_TEXT!r}"
        )
        warn_user(two_sentences(missing_sentence, "Write the text that training had."))
    cells = column.astype(object).where(column.notna(), None)
    return cells.map(
        lambda cell: _MISSING_TEXT if cell is None else canonical(cell)
    ).astype(object)


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return cells as numbers. Truths are 0 and 1."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiu":
        return column
    try:
        return column.astype(
            "boolean" if column.dtype == object else column.dtype
        ).astype("float64")
    except (TypeError, ValueError):
        first_values = column.dropna().tolist()[:1]
        problem = (
            f"Column {str(column.name)!r} must hold numbers for this model, got "
            f"{first_values}"
        )
        raise InputError(
            problem, hint="Write it as in training.", code="PG014"
        ) from None
