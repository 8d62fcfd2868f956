"""Models of other libraries, read from files that hold numbers and no code: never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import EnvironmentProblem, InputError, error_in_words, shown

#: How a file's name ends where reading it would run whatever it holds.
_RUNS_CODE = (".pkl", ".pickle", ".joblib", ".sav", ".dill", ".cloudpickle", ".pt", ".pth")
_WAYS = "ONNX (.onnx), LightGBM (.txt), XGBoost (.json, .ubj), CatBoost (.cbm, .json) or skops (.skops)"


def is_model_file(path: Path) -> bool:
    """Whether a path names a file that may hold a model, also one of a kind that is refused."""
    return path.is_file() and path.suffix.lower() in (*_READERS, *_RUNS_CODE)


def read_model_file(path: Path) -> Any:
    """Return the predictor in a file, for ``pg.explain``.

    Raises:
        InputError: the file could run code, holds no model, or holds what its library does not trust.
        EnvironmentProblem: the library that wrote it is not installed.
    """
    ending = path.suffix.lower()
    if ending in _RUNS_CODE:
        raise InputError(
            f"Reading {path.name} would run whatever code it holds. Save the model as {_WAYS}, or call pg.explain in "
            "Python where you trust the file."
        )
    if ending not in _READERS:
        raise InputError(f"{path.name} is no model file that can be read. Save the model as {_WAYS}.")
    try:
        return _READERS[ending](path)
    except (InputError, EnvironmentProblem):
        raise
    except Exception as error:
        raise InputError(
            f"{path.name} cannot be read as a model: {error_in_words(error)}. Save it as {_WAYS}."
        ) from error


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise EnvironmentProblem(
            f"This model needs {package}, which is not installed. Run: pip install {package}"
        ) from None


def _lightgbm(path: Path) -> Any:
    return _library("lightgbm").Booster(model_file=str(path))


def _xgboost(path: Path) -> Any:
    model = _library("xgboost").Booster()
    model.load_model(path)
    return model


def _catboost(path: Path) -> Any:
    catboost, form = _library("catboost"), path.suffix.lower().lstrip(".")
    model = catboost.CatBoostClassifier().load_model(str(path), format=form)
    return model if len(model.classes_) else catboost.CatBoostRegressor().load_model(str(path), format=form)


def _json(path: Path) -> Any:
    """Return the model of whoever wrote the file: XGBoost and CatBoost both write JSON."""
    with path.open(encoding="utf8") as file:
        content = json.load(file)
    if not isinstance(content, dict) or not {"learner", "oblivious_trees", "trees"} & set(content):
        raise InputError(f"{path.name} holds no model of XGBoost or CatBoost. Save the model as {_WAYS}.")
    return _xgboost(path) if "learner" in content else _catboost(path)


def _skops(path: Path) -> Any:
    io = _library("skops.io")
    strange = io.get_untrusted_types(file=path)
    if strange:
        raise InputError(
            f"{path.name} holds types that skops does not trust: {shown(strange[:5])}. Save the model without them, or "
            "load it in Python, where you say which ones you trust, and call pg.explain."
        )
    return io.load(path)


def _onnx(path: Path) -> Any:
    return OnnxPredictor(_library("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"]))


class OnnxPredictor:
    """An ONNX model as a function of a table: one input for the whole table, or one for each column."""

    _TYPES: Mapping[str, Any] = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs = session.get_inputs()
        #: probabilities stand behind the labels, where there are any
        self.output = session.get_outputs()[-1].name

    def __call__(self, table: Any) -> npt.NDArray[Any]:
        """Return the last output, ``(rows,)`` or ``(rows, outputs)``; a map from classes becomes its values."""
        frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(np.asarray(table))
        if len(self.inputs) == 1:
            feed = {self.inputs[0].name: frame.to_numpy(dtype=self._dtype(self.inputs[0]))}
        else:
            columns = {str(name): frame[name] for name in frame.columns}
            missing = [one.name for one in self.inputs if one.name not in columns]
            if missing:
                raise InputError(f"The table lacks the model's column {missing[0]!r}. Rename or add it.")
            feed = {one.name: columns[one.name].to_numpy(self._dtype(one)).reshape(-1, 1) for one in self.inputs}
        (returned,) = self.session.run([self.output], feed)
        if isinstance(returned, list):
            return np.array([list(row.values()) for row in returned])
        return np.asarray(returned)

    def _dtype(self, one: Any) -> Any:
        return self._TYPES.get(one.type, object)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".onnx": _onnx,
    ".txt": _lightgbm,
    ".json": _json,
    ".ubj": _xgboost,
    ".cbm": _catboost,
    ".skops": _skops,
}
