"""The cells of a comparison: one model on one fold (fit, scores, explanations), and its file.

The comparison's folder: ``comparison.json`` holds the request and, at the end, the results. ``cells/`` holds one file
for each finished model and fold, so that an interrupted comparison resumes with the next one.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from permgrad.attribution.explain import explain as explain_network
from permgrad.attribution.explanation import positive_output
from permgrad.attribution.method import methods
from permgrad.base.errors import InputError
from permgrad.base.files import write_json_atomic
from permgrad.base.random import derive_seed, generator
from permgrad.base.stored import parse_json
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.comparison import AGREEMENT, IMPORTANCES, PAGE, RECORD, SCORES
from permgrad.evaluation.competitors import CompetitorRows, FittedCompetitor, competitors, fit_competitor, natural_table
from permgrad.evaluation.metrics import metrics
from permgrad.models.devices import computing_threads
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.presets import get_preset
from permgrad.runs.compare.plan import ComparedTable, ComparisonPlan, Fold, Model, loss_of
from permgrad.runs.folder.folder import FolderKind, writable_folder

Array = npt.NDArray[Any]

#: From this many rows on, the explained rows are their own donors, as in ``permgrad.explain``.
OWN_DONORS = 200
#: Number of training rows that serve as donors for fewer rows.
DONORS = 1000


# ---- where cells are -------------------------------------------------------------------------------------------------
CELLS = "cells"
#: The files of a comparison other than its record and its cells.
RESULTS = (SCORES, IMPORTANCES, AGREEMENT, PAGE)
FOLDER = FolderKind("comparison", (RECORD, *RESULTS, CELLS))


@dataclass
class ComparisonCell:
    """The result of a model on a fold: rows by part, metrics (empty if it failed), seconds, and why it failed.

    ``importances`` has by method ``names`` and, for each name, ``importance, std, ci_low, ci_high, p_value`` and parts.
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


def read_cell(folder: Path, model: str, fold: str) -> ComparisonCell | None:
    """Return a finished cell, or None if there is none or it failed or is damaged. Such cells are tried again."""
    try:
        cell = ComparisonCell(**parse_json(cell_path(folder, model, fold).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return None if cell.problem or (cell.model, cell.fold) != (model, fold) else cell


def write_cell(folder: Path, cell: ComparisonCell) -> None:
    """Write a cell."""
    with writable_folder(folder):
        write_json_atomic(cell_path(folder, cell.model, cell.fold), asdict(cell))


def cell_path(folder: Path, model: str, fold: str) -> Path:
    """Return a cell's file. Names that a file cannot have are shortened, with a digest: ``default-image-…``."""
    plainly = re.sub(r"[^A-Za-z0-9_]+", "-", model)[-40:]
    digest = "" if plainly == model else f"-{hashlib.blake2b(model.encode(), digest_size=3).hexdigest()}"
    return folder / CELLS / f"{plainly}{digest}-{fold}.json"


# ---- what a cell is --------------------------------------------------------------------------------------------------
_Explain = Callable[[str, pd.DataFrame, Array, ComparisonPlan], Any]


@dataclass(frozen=True)
class _Fitted:
    """A fitted model with the classes of the task, a table's rows in its form, and its explanations."""

    model: FittedCompetitor
    rows_of: Callable[[pd.DataFrame], Any]
    explain: _Explain


def do_cell(
    model: Model, table: ComparedTable, fold: Fold, plan: ComparisonPlan, *, device: str, threads: int | None
) -> ComparisonCell:
    """Fit a model on a fold's training rows, score and explain it on its test rows. A failure is noted in the cell."""
    rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}
    cell = ComparisonCell(model.name, fold.name, rows)
    seed = derive_seed(plan.seed, "fold", fold.name) % 2**31
    try:
        if model.kind == "network":
            fitted = _fit_network(model, table, fold, seed, device)
        elif model.estimator is not None:
            fitted = _fit_estimator(model, table, fold, seed)
        else:
            fitted = _fit_competitor(model, table, fold, seed, threads or computing_threads())
        cell.fit_seconds, cell.processor_seconds = fitted.model.seconds, fitted.model.processor_seconds
        guess = fitted.model.guess(fitted.rows_of(table.X.iloc[fold.test]))
        values = fitted.model.score(table.y[fold.test], guess, table.positive)
        cell.metrics = {name: value for name, value in values.items() if name in metrics}
    except Exception as error:  # noqa: BLE001 — an error of one library must not lose the other models
        cell.problem = _reason(error)
        return cell
    started = time.perf_counter()
    try:
        if plan.methods:
            cell.importances = _explanations(model, fitted, table, fold, plan, seed)
            cell.explain_seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 — as above. Its scores stay
        cell.problem = f"It could not be explained: {_reason(error)}"
    return cell


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _stopping_rows(table: ComparedTable, fold: Fold) -> npt.NDArray[np.int64]:
    """Return the validation rows whose class is among the training rows. Others cannot stop the training."""
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
    seen = np.flatnonzero(np.isin(table.classes, getattr(network, "classes_", ())))
    fitted = FittedCompetitor(model.name, network, seconds, table.classes, seen, worked, natural=False)

    def explain(method: str, rows: pd.DataFrame, y: Array, plan: ComparisonPlan) -> Any:
        options: dict[str, Any] = {"n_repeats": plan.n_repeats, "positive": table.positive}
        options |= {name: False for name in ("branches", "direction") if name in methods.get(method).options}
        loss = loss_of(table.task, plan.loss)
        explanation = explain_network(
            network, rows, y, method=method, loss=loss, random_state=seed, progress=False, background=None, **options
        )
        return explanation.to_global("mean_abs") if explanation.scope == "local" else explanation

    return _Fitted(fitted, lambda rows: rows, explain)


def _fit_competitor(model: Model, table: ComparedTable, fold: Fold, seed: int, threads: int) -> _Fitted:
    # Models that read categories get the table back from its encoding, as natural_table needs it.
    natural = competitors.get(model.name).takes_natural
    numeric: Any = "standard" if natural else get_preset("default").numeric
    encoder = TableEncoder(numeric, **table.encoding)
    encoder.fit(table.X.iloc[fold.train])

    def encode(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(encoder.transform(rows), dtype=np.float32)

    def part_of(encoded: Array, y: Array) -> CompetitorRows:
        return CompetitorRows(encoded, y, natural_table(encoder, encoded) if natural else None)

    classes, stop = table.classes, _stopping_rows(table, fold)
    train, stopping = (part_of(encode(table.X.iloc[rows]), table.y[rows]) for rows in (fold.train, stop))
    held = stopping if len(stop) else None
    fitted = fit_competitor(model.name, table.task, train, held, classes=classes, seed=seed, threads=threads)

    def rows_of(rows: pd.DataFrame) -> CompetitorRows:
        return part_of(encode(rows), np.zeros(len(rows)))

    # A feature without columns gets one that is never read.
    features = encoder.features("feature")
    width, empty = len(encoder.kinds_), [name for name, columns in features.items() if not len(columns)]
    features |= {name: np.array([width + place]) for place, name in enumerate(empty)}
    players = {name: [f"x{place}" for place in columns] for name, columns in features.items()}

    def predict(padded: Array) -> Array:
        return fitted.guess(part_of(np.ascontiguousarray(padded[:, :width]), np.zeros(len(padded))))

    explain = _explainer(
        predict, table, lambda rows: np.pad(encode(rows), ((0, 0), (0, len(empty)))), fold, seed, players
    )
    return _Fitted(fitted, rows_of, explain)


def _fit_estimator(model: Model, table: ComparedTable, fold: Fold, seed: int) -> _Fitted:
    """Fit a copy of a user's estimator on the raw columns, and on the rows that all models are fitted on."""
    estimator: Any = clone(model.estimator)
    seeds = [name for name, value in estimator.get_params().items() if name.endswith("random_state") and value is None]
    estimator.set_params(**dict.fromkeys(seeds, seed))
    X = blank_codes(table.X, table.na_codes)
    started, worked = time.perf_counter(), time.process_time()
    estimator.fit(X.iloc[fold.train], table.y[fold.train])
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    seen = np.flatnonzero(np.isin(table.classes, table.y[fold.train]))
    fitted = FittedCompetitor(model.name, estimator, seconds, table.classes, seen, worked, natural=False)

    explain = _explainer(estimator, table, lambda rows: X.loc[rows.index], fold, seed, table.variables)
    return _Fitted(fitted, lambda rows: X.loc[rows.index], explain)


def _explainer(
    predictor: Any, table: ComparedTable, form: Callable[[pd.DataFrame], Any], fold: Fold, seed: int, groups: Any
) -> _Explain:
    """Return the function that explains a predictor with a special form of rows. ``groups``: its columns by feature."""

    def explain(method: str, rows: pd.DataFrame, y: Array, plan: ComparisonPlan) -> Any:
        background = None
        if len(rows) < OWN_DONORS:
            chosen = generator(seed, "background").permutation(len(fold.train))[:DONORS]
            background = form(table.X.iloc[fold.train[np.sort(chosen)]])
        options: dict[str, Any] = {"n_repeats": plan.n_repeats, "groups": dict(groups) or None}
        options |= {"loss": loss_of(table.task, plan.loss), "random_state": seed, "task": table.task}
        if inspect.isfunction(predictor) and len(table.classes):
            options |= {"class_names": table.classes.tolist(), "output_kind": "probabilities"}
        return explain_network(
            predictor, form(rows), y, method=method, background=background, progress=False, **options
        )

    return explain


# ---- explanations ----------------------------------------------------------------------------------------------------
def _explanations(
    model: Model, fitted: _Fitted, table: ComparedTable, fold: Fold, plan: ComparisonPlan, seed: int
) -> dict[str, dict[str, Any]]:
    """Explain a fitted model by every method that applies, with the same rows and donors for all models."""
    # All test rows of classes in training, or as many as requested.
    rows = fold.test
    if table.task == "classification":
        rows = rows[np.isin(table.y[rows], table.y[fold.train])]
    if len(rows) > plan.most_rows:
        rows = np.sort(rows[generator(seed, "rows explained").permutation(len(rows))[: plan.most_rows]])
    X, y = table.X.iloc[rows], table.y[rows]
    importances: dict[str, dict[str, Any]] = {}
    for method in plan.methods:
        if method != "permutation" and model.kind == "network":
            importances[method] = _numbers(fitted.explain(method, X, y, plan))
    if "permutation" in plan.methods:
        # The total effect of the path game is permutation importance with the same donors. It is computed once.
        same = ("importance", "std", "ci_low", "ci_high", "p_value", "names")
        importances["permutation"] = (
            {name: importances["permgrad"][name] for name in same}
            if "permgrad" in importances
            else _numbers(fitted.explain("permutation", X, y, plan))
        )
    for method, numbers in importances.items():
        if not np.all(np.isfinite(numbers["importance"])):
            raise InputError(
                f"{method} gives missing or infinite importances", hint="Check the model's predictions.", code="PG040"
            )
    return importances


def _numbers(explanation: Any) -> dict[str, Any]:
    """Return an explanation's numbers over all rows, or summed over the outputs if it has none for all rows."""
    low, high = explanation.ci()
    missing = np.full(explanation.values.shape, np.nan)
    uncertain = {
        "std": missing if explanation.std is None else explanation.std,
        "ci_low": low,
        "ci_high": high,
        "p_value": missing if explanation.p_values is None else explanation.p_values,
    }
    # Attributions to several outputs have no column "all": of two the positive class is used, of more the mean over
    # the outputs.
    outputs = explanation.outputs
    column: Any = 0 if outputs[0] == "all" else (positive_output(explanation) if len(outputs) == 2 else None)
    numbers: dict[str, Any] = {"names": list(explanation.names)}
    for name, array in {"importance": explanation.values, **uncertain, **explanation.parts}.items():
        if column is not None:
            numbers[name] = array[:, column].astype(float).tolist()
        else:
            numbers[name] = (missing if name in uncertain else array).mean(axis=1).astype(float).tolist()
    return numbers
