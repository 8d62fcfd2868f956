"""The cells of a comparison: one model on one fold (fit, scores, explanations), and its
file.

The comparison's folder: ``comparison.json`` holds the request and, at the end, the
results. ``cells/`` holds one file for each finished model and fold, so that an
interrupted comparison resumes with the next one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation.explanation import positive_output
from permgrad.attribution.model import Model as ReadModel
from permgrad.attribution.request import methods, tuned
from permgrad.base.arrays import Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, one_line
from permgrad.base.folders import FolderKind
from permgrad.base.random import derive_seed, generator
from permgrad.base.stored import read_json
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.baselines.fitting import FittedBaseline, fit_estimator
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.evaluation.comparison import AGREEMENT, IMPORTANCES, PAGE, RECORD, SCORES
from permgrad.evaluation.metrics import metrics, scores_of
from permgrad.models.decision import Decision, choose_decision
from permgrad.models.estimators.folds import units_of_folds
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.runs.compare.comparison_plan import (
    MOST_ROWS,
    ComparedTable,
    ComparisonPlan,
    Fold,
    Model,
    loss_of,
)

#: From this many rows on, the explained rows are their own donors, as in
#: ``permgrad.explain``.
OWN_DONORS = 200
#: Number of training rows that serve as donors for fewer rows.
DONORS = 1000


# ---- where cells are -----------------------------------------------------------------
CELLS = "cells"
FOLDER = FolderKind("comparison", (RECORD, SCORES, IMPORTANCES, AGREEMENT, PAGE, CELLS))


@dataclass
class ComparisonCell:
    """The result of a model on a fold: rows by part, metrics (empty if it failed),
    seconds, and why it failed.

    ``importances`` has by method ``names`` and, for each name, ``importance, std,
    ci_low, ci_high, p_value`` and parts.
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
    """Return a finished cell, or None if there is none or it failed or is damaged.

    Such cells are tried again.
    """
    try:
        stored_cell = ComparisonCell(**read_json(cell_path(folder, model, fold)))
    except (OSError, ValueError, TypeError):
        return None
    if stored_cell.problem or (stored_cell.model, stored_cell.fold) != (model, fold):
        return None
    return stored_cell


def cell_path(folder: Path, model: str, fold: str) -> Path:
    """Return a cell's file.

    Characters that its name cannot have are written as in addresses:
    ``default%3Aimage``.
    """
    return folder / CELLS / f"{quote(model, safe='')}-{fold}.json"


# ---- what a cell is ------------------------------------------------------------------
def do_cell(
    model: Model,
    table: ComparedTable,
    fold: Fold,
    plan: ComparisonPlan,
    *,
    device: str,
    threads: int | None,
) -> ComparisonCell:
    """Fit a model on a fold's training rows, score and explain it on its test rows.

    A failure is noted in the cell.
    """
    row_counts = {
        "train": len(fold.train),
        "validation": len(fold.validation),
        "test": len(fold.test),
    }
    new_cell = ComparisonCell(model.name, fold.name, row_counts)
    fold_seed = derive_seed(plan.seed, "fold", fold.name) % 2**31
    try:
        # A user's estimator gets raw columns.
        X: Any
        if model.estimator is None:
            X = table.X
        else:
            X = blank_codes(table.X, table.na)
        fitted = _fit(
            model, table, X, fold, fold_seed, device, threads or torch.get_num_threads()
        )
        new_cell.fit_seconds = fitted.seconds
        new_cell.processor_seconds = fitted.processor_seconds
        guess = fitted.guess(X.iloc[fold.test])
        values = scores_of(
            table.task,
            table.y[fold.test],
            guess,
            classes=fitted.classes,
            positive=table.positive,
            called=_called(fitted, guess, table, X, fold),
        )
        new_cell.metrics = {
            metric_name: value
            for metric_name, value in values.items()
            if metric_name in metrics
        }
    except Exception as error:  # noqa: BLE001 — an error of one library must not lose the other models
        new_cell.problem = one_line(error)
        return new_cell
    started = time.perf_counter()
    try:
        if plan.methods:
            new_cell.importances = _explanations(
                model, fitted.model, table, X, fold, plan, fold_seed
            )
            new_cell.explain_seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 — as above. Its scores stay
        new_cell.problem = f"It could not be explained: {one_line(error)}"
    return new_cell


def _called(
    fitted: FittedBaseline, guess: Any, table: ComparedTable, X: Any, fold: Fold
) -> Any:
    """Return the classes that a fitted model decides for, or None for the most probable
    ones.

    An estimator of the user's has the threshold of least cost on the fold's validation
    rows, as the other models do.
    """
    if not table.decides:
        return None
    decision: Decision | None = getattr(fitted.model, "decision_", None)
    if decision is None:
        counts = []
        for class_label in table.classes:
            counts.append(int(np.sum(table.y[fold.train] == class_label)))
        decision = choose_decision(table.classes, np.array(counts), **table.decides)
        if decision is None:
            return None
        validation_rows = fold.validation
        codes = np.searchsorted(table.classes, table.y[validation_rows])
        decision = decision.on_held_out(codes, fitted.guess(X.iloc[validation_rows]))
    return table.classes[decision.codes(guess)]


def _fit(
    model: Model,
    table: ComparedTable,
    X: Any,
    fold: Fold,
    seed: int,
    device: str,
    threads: int,
) -> FittedBaseline:
    """Fit a model on a fold's training rows, and time it."""
    y = table.y
    is_network = model.kind == "network"
    learned = y[fold.train]
    if model.estimator is not None:
        training_rows = X.iloc[fold.train]
        return fit_estimator(
            model.estimator,
            model.name,
            training_rows,
            learned,
            classes=table.classes,
            seed=seed,
        )
    estimator_type: Any
    if table.task.has_classes:
        estimator_type = HyNNClassifier
    else:
        estimator_type = HyNNRegressor
    if is_network:
        settings = {
            "preset": model.preset,
            "branches": model.branches or "auto",
            "progress": False,
        }
        settings |= {**table.encoding, **table.decides}
        estimator = estimator_type(random_state=seed, device=device, **settings)
    else:
        estimator = table_model(
            table.task,
            model.name,
            encoding=table.encoding,
            random_state=seed,
            threads=threads,
            **table.decides,
        )
    # Rows of a class that no training row has cannot stop the training.
    stopping_rows = fold.validation
    if not table.task.numeric:
        stopping_rows = stopping_rows[np.isin(y[stopping_rows], learned)]
    if len(stopping_rows) or not is_network:
        stopping = (X.iloc[stopping_rows], y[stopping_rows])
    else:
        stopping = None
    started = time.perf_counter()
    worked = time.process_time()
    if is_network and stopping is not None:
        prepared = estimator.prepare(X.iloc[fold.train], learned, eval_set=stopping)
        units = _units(estimator, table, fold.train, stopping_rows)
        estimator.train(replace(prepared, units=units))
    else:
        estimator.fit(X.iloc[fold.train], learned, eval_set=stopping)
    seconds = time.perf_counter() - started
    worked = time.process_time() - worked
    learned_codes = np.flatnonzero(np.isin(table.classes, learned))
    return FittedBaseline(
        model.name, estimator, seconds, table.classes, learned_codes, worked
    )


def _units(
    estimator: Any, table: ComparedTable, training: Integers, stopping: Integers
) -> Integers | None:
    """Return which training and then stopping rows of a fold belong together. As in a
    run both may teach branches.
    """
    related = None
    if table.row_groups is not None:
        related = Dependence(table.row_groups)
    return units_of_folds(estimator.preprocessor_, related, training, stopping)


# ---- explanations --------------------------------------------------------------------
def _explanations(
    model: Model,
    fitted: Any,
    table: ComparedTable,
    X: Any,
    fold: Fold,
    plan: ComparisonPlan,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Explain a fitted model by every method that applies, with the same rows and
    donors for all models.
    """
    rows = _rows_to_explain(table, fold, seed)
    explained = X.iloc[rows]
    y = table.y[rows]
    background = None
    is_network = model.kind == "network"
    if not is_network and len(rows) < OWN_DONORS:  # a network has donors
        background = _background(X, fold, seed)
    options: dict[str, Any] = {"background": background, "loss": loss_of(table.task)}
    options |= {"random_state": seed, "progress": False}
    read_model = ReadModel(fitted, positive=table.positive)
    if model.read is not None:
        task: Any = model.read.task or table.task
        read_model = replace(model.read, model=fitted, task=task)
        options |= {"groups": dict(table.groups)}
    options |= (
        {} if table.row_groups is None else {"row_groups": table.row_groups[rows]}
    )

    def numbers_of(method: str) -> dict[str, Any]:
        chosen_method: Any = methods.get(method)()
        options_off = {}
        for option_name in ("branches", "direction"):
            if option_name in chosen_method.inner and is_network:
                options_off[option_name] = False
        explanation = explain(
            read_model,
            explained,
            y,
            method=tuned(chosen_method, **options_off),
            **options,
        )
        return _numbers(
            explanation.to_global("mean_abs")
            if explanation.scope.by_row
            else explanation
        )

    of_networks = [
        method for method in plan.methods if method != "permutation" and is_network
    ]
    importances = {method: numbers_of(method) for method in of_networks}
    # The total effect of the path game is permutation importance with the same donors.
    # It is computed once.
    total = _total_effects(importances.get("permgrad", {}))
    importances["permutation"] = total or numbers_of("permutation")
    _check_finite(importances)
    return importances


def _total_effects(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the total effects among the numbers of the path game."""
    same = ("importance", "std_error", "ci_low", "ci_high", "p_value", "names")
    return {name: value for name, value in numbers.items() if name in same}


def _background(X: Any, fold: Fold, seed: int) -> Any:
    """Return training rows that replacement values come from."""
    donor_positions = generator(seed, "background").permutation(len(fold.train))[
        :DONORS
    ]
    return X.iloc[fold.train[np.sort(donor_positions)]]


def _rows_to_explain(table: ComparedTable, fold: Fold, seed: int) -> Integers:
    """Return all test rows of classes in training, or as many as are explained."""
    rows = fold.test
    if table.task.has_classes:
        rows = rows[np.isin(table.y[rows], table.y[fold.train])]
    if len(rows) > MOST_ROWS:
        rows = np.sort(
            rows[generator(seed, "rows explained").permutation(len(rows))[:MOST_ROWS]]
        )
    return rows


def _check_finite(importances: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse importances that are no numbers."""
    for method, numbers in importances.items():
        if not np.all(np.isfinite(numbers["importance"])):
            problem = f"{method} gives missing or infinite importances"
            raise InputError(
                problem, hint="Check the model's predictions.", code="PG040"
            )


def _numbers(explanation: Any) -> dict[str, Any]:
    """Return an explanation's numbers over all rows, or summed over the outputs if it
    has none for all rows.
    """
    lower_ends, upper_ends = explanation.ci()
    missing = np.full(explanation.values.shape, np.nan)
    uncertain = {
        "std_error": missing
        if explanation.std_error is None
        else explanation.std_error,
        "ci_low": lower_ends,
        "ci_high": upper_ends,
        "p_value": missing if explanation.p_values is None else explanation.p_values,
    }
    # Attributions to several outputs have no column "all": of two the positive class is
    # used, of more the mean over the outputs.
    outputs = explanation.outputs
    column: Any
    if outputs[0] == "all":
        column = 0
    elif len(outputs) == 2:
        column = positive_output(explanation)
    else:
        column = None
    numbers: dict[str, Any] = {"names": list(explanation.names)}
    for array_name, array in {
        "importance": explanation.values,
        **uncertain,
        **explanation.parts,
    }.items():
        if column is not None:
            numbers[array_name] = array[:, column].astype(float).tolist()
        else:
            numbers[array_name] = (
                (missing if array_name in uncertain else array)
                .mean(axis=1)
                .astype(float)
                .tolist()
            )
    return numbers
