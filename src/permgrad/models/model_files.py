"""Models of other libraries, read from files that hold numbers and no code: never a pickle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.base.checks import check_path
from permgrad.base.errors import EnvironmentProblem, InputError, error_in_words, listed, option_of
from permgrad.base.optional import optional
from permgrad.models.file_checks import check_catboost, check_lightgbm, check_xgboost, read_ubj

#: How a file's name ends where reading it would run whatever it holds.
_RUNS_CODE = (".pkl", ".pickle", ".joblib", ".sav", ".dill", ".cloudpickle", ".pt", ".pth")
#: How the names of tables end, which are taken for models where the order of arguments is wrong.
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".xlsx", ".xlsm", ".gz")
#: What stands at the top of a JSON file of XGBoost or CatBoost.
_WRITTEN = frozenset(("learner", "oblivious_trees", "trees"))
_WAYS = "ONNX (.onnx), LightGBM (.txt), XGBoost (.json, .ubj), CatBoost (.cbm, .json) or skops (.skops)"


def is_model_file(path: Path) -> bool:
    """Whether a path names a file that may hold a model, also one of a kind that is refused."""
    ending = path.suffix.lower()
    if ending not in (*_READERS, ".skops", *_RUNS_CODE) or not path.is_file():
        return False
    if ending != ".json":
        return True
    try:
        return bool(_WRITTEN & set(json.loads(path.read_bytes())))
    except (ValueError, TypeError):
        return False


def read_model_file(path: str | os.PathLike[str], trust: Sequence[str] = ()) -> Any:
    """Return the predictor in a file of LightGBM, XGBoost, CatBoost, skops or ONNX, for ``pg.explain``.

    Reading executes no code in the file. Pickles are refused.

    Args:
        path: the file. Its ending tells the library.
        trust: types in a skops file that are loaded although skops does not trust them.

    Raises:
        InputError: the file could run code, holds no model, or holds what its library does not trust.
        EnvironmentProblem: the library that wrote it is not installed.

    Examples:
        >>> import permgrad as pg
        >>> pg.read_model_file("model.pkl")
        Traceback (most recent call last):
        permgrad.InputError: Reading model.pkl would run any code that it holds...
    """
    path = check_path("path", path, "pass the name of a file")
    check_model_file(path, trust)
    try:
        return _skops(path, trust) if path.suffix.lower() == ".skops" else _READERS[path.suffix.lower()](path)
    except (InputError, EnvironmentProblem):
        raise
    except Exception as error:
        problem = f"{path.name} cannot be read as a model: {error_in_words(error)}"
        raise InputError(problem, hint=f"Save it as {_WAYS}.", code="PG031") from error


def check_model_file(path: Path, trust: Sequence[str] = ()) -> None:
    """Refuse a file that could run code, or is of no kind that holds models, before anything is read."""
    ending = path.suffix.lower()
    if ending in _RUNS_CODE:
        hint = f"Save the model as {_WAYS}, or call pg.explain in Python if you trust the file."
        raise InputError(f"Reading {path.name} would run any code that it holds", hint=hint, code="PG031")
    if ending in _TABLES:
        hint = "Name a model's file or a run's folder. A table comes after it (permgrad explain MODEL TABLE)."
        raise InputError(f"{path.name} is a table, not a model", hint=hint, code="PG031")
    if ending not in (*_READERS, ".skops"):
        raise InputError(f"{path.name} is not a readable model file", hint=f"Save the model as {_WAYS}.", code="PG031")
    if trust and ending != ".skops":
        raise InputError(f"--trust is about types in a skops file, got {path.name}", hint="Leave it out.", code="PG004")


def _lightgbm(path: Path) -> Any:
    with path.open("rb") as file:
        if not file.read(16).split():
            raise InputError(f"{path.name} is empty", hint=f"Save the model as {_WAYS}.", code="PG031")
        file.seek(0)
        if file.readline().strip() != b"tree":
            hint = "Write it by booster.save_model. A table comes after the model (permgrad explain MODEL TABLE)."
            raise InputError(f"{path.name} holds no model of LightGBM", hint=hint, code="PG031")
    library = optional("lightgbm")
    check_lightgbm(path.read_bytes())
    return library.Booster(model_file=str(path))


def _xgboost(path: Path) -> Any:
    xgboost, data = optional("xgboost"), path.read_bytes()
    check_xgboost(json.loads(data) if path.suffix.lower() == ".json" else read_ubj(data)[0])
    model = xgboost.Booster()
    model.load_model(path)
    # An estimator's file says so, and its own predict stops at the best round.
    kind = json.loads(model.attr("scikit_learn") or "{}").get("_estimator_type")
    if kind not in ("classifier", "regressor"):
        return model
    estimator = (xgboost.XGBClassifier if kind == "classifier" else xgboost.XGBRegressor)(enable_categorical=True)
    estimator.load_model(path)
    return estimator


#: Writes a file of CatBoost as JSON, and says how many numbers its leaves have.
_TO_JSON = """
import sys, catboost
model = catboost.CatBoost().load_model(sys.argv[1], format="cbm")
model.save_model(sys.argv[2], format="json")
print(len(model.get_leaf_values()))
"""


def _catboost(path: Path) -> Any:
    catboost, form = optional("catboost"), path.suffix.lower().lstrip(".")
    if form == "json":
        check_catboost(json.loads(path.read_bytes()))
    else:  # what is wrong in a file that is no text may end the process that reads it
        with TemporaryDirectory() as folder:
            words = [sys.executable, "-c", _TO_JSON, str(path), f"{folder}/model.json"]
            places = {"PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(words, env=os.environ | places, capture_output=True, timeout=300, check=False)  # noqa: S603
            if done.returncode:
                problem = f"{path.name} is damaged, or holds no model of CatBoost"
                raise InputError(problem, hint=f"Save the model as {_WAYS}.", code="PG031")
            check_catboost(json.loads(Path(folder, "model.json").read_bytes()), int(done.stdout))
    model = catboost.CatBoostClassifier().load_model(str(path), format=form)
    return model if len(model.classes_) else catboost.CatBoostRegressor().load_model(str(path), format=form)


def _json(path: Path) -> Any:
    """Return the model of whoever wrote the file: XGBoost and CatBoost both write JSON."""
    with path.open(encoding="utf8") as file:
        content = json.load(file)
    if not isinstance(content, dict) or not _WRITTEN & set(content):
        raise InputError(f"{path.name} holds no model of XGBoost or CatBoost", f"Save the model as {_WAYS}.", "PG031")
    return _xgboost(path) if "learner" in content else _catboost(path)


def _skops(path: Path, trust: Sequence[str]) -> Any:
    io = optional("skops.io")
    strange = [name for name in io.get_untrusted_types(file=path) if name not in trust]
    if strange:
        options = " ".join(option_of("--trust", name) for name in strange)
        problem = f"{path.name} holds types that skops does not trust by itself: {listed(strange, show=str)}"
        raise InputError(problem, hint=f"If you know who made the file, add {options}.", code="PG031")
    return io.load(path, trusted=list(trust))


def _onnx(path: Path) -> Any:
    return OnnxPredictor(optional("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"]))


class OnnxPredictor:
    """An ONNX model as a function of a table: one input for the whole table, or one for each column."""

    _TYPES: Mapping[str, Any] = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs = session.get_inputs()
        #: probabilities stand behind the labels, where there are any
        self.output = session.get_outputs()[-1].name
        facts = session.get_modelmeta().custom_metadata_map
        #: what a file of ``pg.export_onnx`` says of itself
        self.columns, self.classes = (
            tuple(json.loads(facts[name])) if "permgrad" in facts and name in facts else None
            for name in ("columns", "classes")
        )

    def __call__(self, table: Any) -> Array:
        """Return the last output, ``(rows,)`` or ``(rows, outputs)``. A map from classes becomes its values."""
        frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(np.asarray(table))
        (returned,) = self.session.run([self.output], self._feed(frame))
        if isinstance(returned, list):
            return np.array([list(row.values()) for row in returned])
        return np.asarray(returned)

    def _feed(self, frame: pd.DataFrame) -> dict[str, Array]:
        if len(self.inputs) == 1:
            return {self.inputs[0].name: frame.to_numpy(dtype=self._TYPES.get(self.inputs[0].type, object))}
        columns = {str(name): frame[name] for name in frame.columns}
        missing = [one.name for one in self.inputs if one.name not in columns]
        if missing:
            raise InputError(f"Column {missing[0]!r} of the model is not in the table", "Rename or add it.", "PG012")
        types = {one.name: self._TYPES.get(one.type, object) for one in self.inputs}
        return {name: columns[name].to_numpy(kind).reshape(-1, 1) for name, kind in types.items()}

    def classes_of(self, table: pd.DataFrame) -> tuple[Any, ...] | None:
        """Return the classes of a row's probabilities, or None if the file has none."""
        if not self.session.get_outputs()[-1].type.startswith("seq(map"):
            return self.classes
        (returned,) = self.session.run([self.output], self._feed(table))
        return tuple(returned[0])


_READERS: dict[str, Callable[[Path], Any]] = {
    ".onnx": _onnx,
    ".txt": _lightgbm,
    ".json": _json,
    ".ubj": _xgboost,
    ".cbm": _catboost,
}
