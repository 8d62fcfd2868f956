"""What one model does on one fold of a comparison: fit, scores and explanations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.explain import explain as explain_network
from permgrad.attribution.explanation import positive_output
from permgrad.attribution.method import methods
from permgrad.base.errors import InputError
from permgrad.base.random import derive_seed, generator
from permgrad.data.encode.encoding import TableEncoder
from permgrad.evaluation.competitors import EncodedRows, competitors, fit_competitor, natural_table
from permgrad.evaluation.metrics import evaluate, metrics
from permgrad.evaluation.predictor import loss_of, predictor_importance
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.presets import get_preset
from permgrad.runs.compare.folds import Fold
from permgrad.runs.compare.inputs import ComparedTable
from permgrad.runs.compare.plan import ComparisonPlan, Model

Array = npt.NDArray[Any]

#: Rows from which on the explained rows serve as their own donors, as in ``permgrad.explain``.
OWN_DONORS = 200
#: Training rows that donors come from where fewer rows are explained.
DONORS = 1000


@dataclass
class ComparisonCell:
    """What one model did on one fold.

    Attributes:
        model: Name of the model.
        fold: Name of the fold.
        rows: Number of rows by part.
        metrics: Metrics on the test rows; empty if it failed.
        fit_seconds: Time of the fit by the clock on the wall, and ``processor_seconds`` on the processor.
        processor_seconds: See ``fit_seconds``.
        explain_seconds: Time of the explanations.
        importances: By method: ``names`` and, for each name, ``importance, std, ci_low, ci_high, p_value`` and parts.
        problem: Why it failed; empty if it did not.
    """

    model: str
    fold: str
    rows: dict[str, int]
    metrics: dict[str, float | None] = field(default_factory=dict)
    fit_seconds: float | None = None
    processor_seconds: float | None = None
    explain_seconds: float | None = None
    importances: dict[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class _Fitted:
    """A fitted model behind one face: predictions in the classes of the whole task, and its explanations."""

    predict: Callable[[pd.DataFrame], Array]
    explain: Callable[[str, pd.DataFrame, Array, ComparisonPlan, int], Any]
    seconds: float
    processor_seconds: float


def do_cell(
    model: Model, table: ComparedTable, fold: Fold, plan: ComparisonPlan, *, device: str, threads: int | None
) -> ComparisonCell:
    """Fit a model on a fold's training rows, score it on its test rows and explain it there.

    The cell of a model that fails says why; only an interruption by the user ends the comparison.
    """
    rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}
    cell = ComparisonCell(model.name, fold.name, rows)
    seed = derive_seed(plan.seed, "fold", fold.name) % 2**31
    try:
        if model.kind == "network":
            fitted = _fit_network(model, table, fold, seed, device)
        else:
            fitted = _fit_competitor(model, table, fold, seed, threads or os.cpu_count() or 1)
        cell.fit_seconds, cell.processor_seconds = fitted.seconds, fitted.processor_seconds
        cell.metrics = _measure(table, table.y[fold.test], fitted.predict(table.X.iloc[fold.test]))
    except Exception as error:  # noqa: BLE001 — whatever a peer's library raises must not lose the other models
        cell.problem = _reason(error)
        return cell
    started = time.perf_counter()
    try:
        cell.importances = _explanations(model, fitted, table, fold, plan, seed)
        cell.explain_seconds = time.perf_counter() - started if plan.methods else None
    except Exception as error:  # noqa: BLE001 — as above; its scores stay
        cell.problem = f"it could not be explained: {_reason(error)}"
    return cell


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _measure(table: ComparedTable, y: Array, predicted: Array) -> dict[str, float | None]:
    if table.task == "regression":
        values = evaluate("regression", y, predictions=predicted)
    else:
        values = evaluate("classification", y, probabilities=predicted, classes=table.classes, positive=table.positive)
    return {name: value for name, value in values.items() if name in metrics}


def _stopping_rows(table: ComparedTable, fold: Fold) -> npt.NDArray[np.int64]:
    """Return the validation rows whose class is among the training rows: others cannot say when to stop."""
    if table.task == "regression":
        return fold.validation
    return fold.validation[np.isin(table.y[fold.validation], table.y[fold.train])]


def _fit_network(model: Model, table: ComparedTable, fold: Fold, seed: int, device: str) -> _Fitted:
    kind = HyNNClassifier if table.task == "classification" else HyNNRegressor
    network: Any = kind(
        preset=model.preset,
        branches=model.branches,
        random_state=seed,
        device=device,
        progress=False,
        background_size=DONORS,
        **table.encoding,
    )
    stop = _stopping_rows(table, fold)
    stopping = (table.X.iloc[stop], table.y[stop]) if len(stop) else None
    started, worked = time.perf_counter(), time.process_time()
    network.fit(table.X.iloc[fold.train], table.y[fold.train], eval_set=stopping)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    classes = table.classes

    def predict(rows: pd.DataFrame) -> Array:
        if table.task == "regression":
            return np.asarray(network.predict(rows))
        spread = np.zeros((len(rows), len(classes)))
        spread[:, np.isin(classes, network.classes_)] = network.predict_proba(rows)
        return spread

    def explain(method: str, rows: pd.DataFrame, y: Array, plan: ComparisonPlan, seed: int) -> Any:
        options: dict[str, Any] = {"n_repeats": plan.n_repeats, "positive": table.positive}
        options |= {name: False for name in ("branches", "direction") if name in methods.get(method).options}
        loss = loss_of(table.task, plan.loss)
        explanation = explain_network(
            network, rows, y, method=method, loss=loss, random_state=seed, progress=False, background=None, **options
        )
        return explanation.to_global("mean_abs") if explanation.scope == "local" else explanation

    return _Fitted(predict, explain, seconds, worked)


def _fit_competitor(model: Model, table: ComparedTable, fold: Fold, seed: int, threads: int) -> _Fitted:
    # Models that take categories as they are get the table back from its encoding, as natural_table wants it.
    natural = competitors.get(model.name).takes_natural
    numeric: Any = "standard" if natural else get_preset("default").numeric
    encoder = TableEncoder(numeric, **table.encoding)
    encoder.fit(table.X.iloc[fold.train])

    def encode(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(encoder.transform(rows), dtype=np.float32)

    def part_of(encoded: Array, y: Array) -> EncodedRows:
        return EncodedRows(encoded, y, natural_table(encoder, encoded) if natural else None)

    def part(rows: npt.NDArray[np.int64]) -> EncodedRows:
        return part_of(encode(table.X.iloc[rows]), table.y[rows])

    classes, stop = table.classes, _stopping_rows(table, fold)
    stopping = part(stop) if len(stop) else None
    fitted = fit_competitor(
        model.name, table.task, part(fold.train), stopping, classes=classes, seed=seed, threads=threads
    )

    def of_encoded(encoded: Array) -> Array:
        rows = part_of(encoded, np.zeros(len(encoded)))
        return fitted.predict_proba(rows) if len(classes) else np.asarray(fitted.predict(rows))

    def predict(rows: pd.DataFrame) -> Array:
        return of_encoded(encode(rows))

    def explain(method: str, rows: pd.DataFrame, y: Array, plan: ComparisonPlan, seed: int) -> Any:
        assert method == "permutation", "a predictor that is no network has one method"
        encoded = encode(rows)
        background = None
        if len(rows) < OWN_DONORS:
            chosen = generator(seed, "background").permutation(len(fold.train))[:DONORS]
            background = encode(table.X.iloc[fold.train[np.sort(chosen)]])
        return predictor_importance(
            of_encoded,
            encoded,
            np.searchsorted(classes, y).astype(np.int64) if len(classes) else y,
            encoder.features("feature"),
            loss=loss_of(table.task, plan.loss),
            class_names=[str(label) for label in classes.tolist()],
            background=background,
            n_repeats=plan.n_repeats,
            seed=seed,
        )

    return _Fitted(predict, explain, fitted.seconds, fitted.processor_seconds)


# ---- explanations ----------------------------------------------------------------------------------------------------
def _explanations(
    model: Model, fitted: _Fitted, table: ComparedTable, fold: Fold, plan: ComparisonPlan, seed: int
) -> dict[str, dict[str, Any]]:
    """Explain a fitted model by every method that it can be explained by; the same rows and donors for all models."""
    if not plan.methods:
        return {}
    rows = _explained_rows(table, fold, plan, seed)
    X, y = table.X.iloc[rows], table.y[rows]
    importances: dict[str, dict[str, Any]] = {}
    for method in plan.methods:
        if method != "permutation" and model.kind == "network":
            importances[method] = _numbers(fitted.explain(method, X, y, plan, seed))
    if "permutation" in plan.methods:
        # The total effect of the path game is permutation importance, by the same donors: it is computed once.
        same = ("importance", "std", "ci_low", "ci_high", "p_value", "names")
        importances["permutation"] = (
            {name: importances["permgrad"][name] for name in same}
            if "permgrad" in importances
            else _numbers(fitted.explain("permutation", X, y, plan, seed))
        )
    for method, numbers in importances.items():
        if not np.all(np.isfinite(numbers["importance"])):
            raise InputError(f"importances must be finite, however: {method} gives missing or infinite ones")
    return importances


def _explained_rows(table: ComparedTable, fold: Fold, plan: ComparisonPlan, seed: int) -> npt.NDArray[np.int64]:
    """Choose the test rows that are explained: all, or as many as asked for, of classes that were trained on."""
    test = fold.test
    if table.task == "classification":
        test = test[np.isin(table.y[test], table.y[fold.train])]
    if len(test) <= plan.most_rows:
        return test
    return np.sort(test[generator(seed, "rows explained").permutation(len(test))[: plan.most_rows]])


def _numbers(explanation: Any) -> dict[str, Any]:
    """Return an explanation's numbers over all rows, or summed over the outputs where it has none for all rows."""
    low, high = explanation.ci()
    missing = np.full(explanation.values.shape, np.nan)
    arrays = {
        "importance": explanation.values,
        "std": missing if explanation.std is None else explanation.std,
        "ci_low": low,
        "ci_high": high,
        "p_value": missing if explanation.p_values is None else explanation.p_values,
        **dict(explanation.parts),
    }
    # Attributions to several outputs have no column for all: of two that of the positive class is taken, and of more
    # the mean over the outputs stands for all.
    outputs = explanation.outputs
    column: Any = 0 if outputs[0] == "all" else (positive_output(explanation) if len(outputs) == 2 else None)
    numbers: dict[str, Any] = {"names": list(explanation.names)}
    for name, array in arrays.items():
        values = array[:, column] if column is not None else np.mean(array, axis=1)
        if column is None and name in ("std", "ci_low", "ci_high", "p_value"):
            values = np.full(len(array), np.nan)
        numbers[name] = [float(value) for value in values]
    return numbers
