"""The cells of a comparison: what one model does on one fold (fit, scores, explanations), and where it is stored.

The comparison's folder: ``comparison.json`` says what was asked and, when all is done, what came out; ``cells/`` holds
one file per finished model and fold, so that a killed comparison goes on with the next one.
"""

from __future__ import annotations

import hashlib
import os
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
from permgrad.evaluation.encoded_importance import loss_of, predictor_importance
from permgrad.evaluation.metrics import metrics
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.presets import get_preset
from permgrad.runs.compare.plan import ComparedTable, ComparisonPlan, Fold, Model
from permgrad.runs.folder.folder import FolderKind, writable_folder

Array = npt.NDArray[Any]

#: Rows from which on the explained rows serve as their own donors, as in ``permgrad.explain``.
OWN_DONORS = 200
#: Training rows that donors come from where fewer rows are explained.
DONORS = 1000


# ---- where cells are -------------------------------------------------------------------------------------------------
CELLS = "cells"
#: What a comparison writes beside its record and its cells.
RESULTS = (SCORES, IMPORTANCES, AGREEMENT, PAGE)
FOLDER = FolderKind("comparison", (RECORD, *RESULTS, CELLS))


@dataclass
class ComparisonCell:
    """What one model did on one fold: rows by part, metrics (empty if it failed), seconds, and why it failed, if so.

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
    """Return a finished cell; None if there is none, or one that failed or is damaged, which is tried again."""
    try:
        cell = ComparisonCell(**parse_json(cell_path(folder, model, fold).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return None if cell.problem or (cell.model, cell.fold) != (model, fold) else cell


def write_cell(folder: Path, cell: ComparisonCell) -> None:
    """Keep a cell."""
    with writable_folder(folder):
        write_json_atomic(cell_path(folder, cell.model, cell.fold), asdict(cell))


def cell_path(folder: Path, model: str, fold: str) -> Path:
    """Return a cell's file; names that no file may have are shortened, with a digest: ``default-image-…``."""
    plainly = re.sub(r"[^A-Za-z0-9_]+", "-", model)[-40:]
    digest = "" if plainly == model else f"-{hashlib.blake2b(model.encode(), digest_size=3).hexdigest()}"
    return folder / CELLS / f"{plainly}{digest}-{fold}.json"


# ---- what a cell is --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Fitted:
    """A fitted model in the classes of the whole task, the rows of a table as it takes them, and its explanations."""

    model: FittedCompetitor
    rows_of: Callable[[pd.DataFrame], Any]
    explain: Callable[[str, pd.DataFrame, Array, ComparisonPlan], Any]


def do_cell(
    model: Model, table: ComparedTable, fold: Fold, plan: ComparisonPlan, *, device: str, threads: int | None
) -> ComparisonCell:
    """Fit a model on a fold's training rows, score and explain it on its test rows; the cell of a failure says why."""
    rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}
    cell = ComparisonCell(model.name, fold.name, rows)
    seed = derive_seed(plan.seed, "fold", fold.name) % 2**31
    try:
        if model.kind == "network":
            fitted = _fit_network(model, table, fold, seed, device)
        elif model.estimator is not None:
            fitted = _fit_estimator(model, table, fold, seed)
        else:
            fitted = _fit_competitor(model, table, fold, seed, threads or os.cpu_count() or 1)
        cell.fit_seconds, cell.processor_seconds = fitted.model.seconds, fitted.model.processor_seconds
        guess = fitted.model.guess(fitted.rows_of(table.X.iloc[fold.test]))
        values = fitted.model.score(table.y[fold.test], guess, table.positive)
        cell.metrics = {name: value for name, value in values.items() if name in metrics}
    except Exception as error:  # noqa: BLE001 — whatever a peer's library raises must not lose the other models
        cell.problem = _reason(error)
        return cell
    started = time.perf_counter()
    try:
        if plan.methods:
            cell.importances = _explanations(model, fitted, table, fold, plan, seed)
            cell.explain_seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 — as above; its scores stay
        cell.problem = f"it could not be explained: {_reason(error)}"
    return cell


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


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
    # Models that take categories as they are get the table back from its encoding, as natural_table wants it.
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

    def unlabelled(encoded: Array) -> CompetitorRows:
        return part_of(encoded, np.zeros(len(encoded)))

    def explain(method: str, rows: pd.DataFrame, y: Array, plan: ComparisonPlan) -> Any:
        assert method == "permutation", "a predictor that is no network has one method"
        background = None
        if len(rows) < OWN_DONORS:
            chosen = generator(seed, "background").permutation(len(fold.train))[:DONORS]
            background = encode(table.X.iloc[fold.train[np.sort(chosen)]])
        return predictor_importance(
            lambda encoded: fitted.guess(unlabelled(encoded)),
            encode(rows),
            np.searchsorted(classes, y).astype(np.int64) if len(classes) else y,
            encoder.features("feature"),
            background,
            loss=loss_of(table.task, plan.loss),
            seed=seed,
            class_names=[str(label) for label in classes.tolist()],
            n_repeats=plan.n_repeats,
        )

    return _Fitted(fitted, lambda rows: unlabelled(encode(rows)), explain)


def _fit_estimator(model: Model, table: ComparedTable, fold: Fold, seed: int) -> _Fitted:
    """Fit a copy of a user's estimator on the columns as they are, and on the rows that all models are fitted on."""
    estimator: Any = clone(model.estimator)
    seeds = [name for name, value in estimator.get_params().items() if name.endswith("random_state") and value is None]
    estimator.set_params(**dict.fromkeys(seeds, seed))
    X = blank_codes(table.X, table.na_codes)
    started, worked = time.perf_counter(), time.process_time()
    estimator.fit(X.iloc[fold.train], table.y[fold.train])
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    seen = np.flatnonzero(np.isin(table.classes, table.y[fold.train]))
    fitted = FittedCompetitor(model.name, estimator, seconds, table.classes, seen, worked, natural=False)

    def explain(method: str, rows: pd.DataFrame, y: Array, plan: ComparisonPlan) -> Any:
        background = None
        if len(rows) < OWN_DONORS:
            chosen = generator(seed, "background").permutation(len(fold.train))[:DONORS]
            background = X.iloc[fold.train[np.sort(chosen)]]
        options: dict[str, Any] = {"n_repeats": plan.n_repeats, "groups": dict(table.variables) or None}
        options |= {"loss": loss_of(table.task, plan.loss), "random_state": seed, "task": table.task}
        rows = X.loc[rows.index]
        return explain_network(estimator, rows, y, method=method, background=background, progress=False, **options)

    return _Fitted(fitted, lambda rows: X.loc[rows.index], explain)


# ---- explanations ----------------------------------------------------------------------------------------------------
def _explanations(
    model: Model, fitted: _Fitted, table: ComparedTable, fold: Fold, plan: ComparisonPlan, seed: int
) -> dict[str, dict[str, Any]]:
    """Explain a fitted model by every method that it can be explained by; the same rows and donors for all models."""
    # All test rows, or as many as asked for, of classes that were trained on.
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
        # The total effect of the path game is permutation importance, by the same donors: it is computed once.
        same = ("importance", "std", "ci_low", "ci_high", "p_value", "names")
        importances["permutation"] = (
            {name: importances["permgrad"][name] for name in same}
            if "permgrad" in importances
            else _numbers(fitted.explain("permutation", X, y, plan))
        )
    for method, numbers in importances.items():
        if not np.all(np.isfinite(numbers["importance"])):
            raise InputError(f"importances must be finite, however: {method} gives missing or infinite ones")
    return importances


def _numbers(explanation: Any) -> dict[str, Any]:
    """Return an explanation's numbers over all rows, or summed over the outputs where it has none for all rows."""
    low, high = explanation.ci()
    missing = np.full(explanation.values.shape, np.nan)
    uncertain = {
        "std": missing if explanation.std is None else explanation.std,
        "ci_low": low,
        "ci_high": high,
        "p_value": missing if explanation.p_values is None else explanation.p_values,
    }
    # Attributions to several outputs have no column for all: of two that of the positive class is taken, and of more
    # the mean over the outputs stands for all.
    outputs = explanation.outputs
    column: Any = 0 if outputs[0] == "all" else (positive_output(explanation) if len(outputs) == 2 else None)
    numbers: dict[str, Any] = {"names": list(explanation.names)}
    for name, array in {"importance": explanation.values, **uncertain, **explanation.parts}.items():
        if column is not None:
            numbers[name] = array[:, column].astype(float).tolist()
        else:
            numbers[name] = (missing if name in uncertain else array).mean(axis=1).astype(float).tolist()
    return numbers
