"""The work of a comparison: all its cells, fold by fold, and the ``Comparison`` that they make.

Cells, one for each model and fold, are what can be done again alone: each is written as soon as it is done, so that a
killed comparison goes on with the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.files import plain
from permgrad.base.progress import Progress, ProgressMode
from permgrad.evaluation.comparison import Comparison
from permgrad.evaluation.metrics import metrics
from permgrad.evaluation.predictor import loss_of
from permgrad.runs.compare.folder import ComparisonFolder
from permgrad.runs.compare.folds import Fold
from permgrad.runs.compare.inputs import Given
from permgrad.runs.compare.models import Cell, Explaining, do_cell
from permgrad.runs.compare.plan import Plan

Say = Callable[[str], None]


def do_cells(
    given: Given,
    plan: Plan,
    folds: Sequence[Fold],
    folder: ComparisonFolder | None,
    *,
    device: str,
    threads: int | None,
    say: Say,
    progress: ProgressMode,
    metric: str,
) -> list[Cell]:
    """Do all cells, fold by fold, so that a comparison cut short has every model on the first folds."""
    from permgrad.models.devices import torch_threads

    table = given.table
    how = Explaining(
        methods=plan.methods,
        loss=loss_of(table.task, plan.loss) if plan.methods else "",
        n_repeats=plan.n_repeats,
        most_rows=plan.most_rows,
    )
    done: list[Cell] = []
    total = len(folds) * len(plan.models)
    with Progress(total, "comparison", progress, lines=False) as bar, torch_threads(threads):
        for fold in folds:
            for model in plan.models:
                words = f"[{len(done) + 1}/{total}] {model.label}, {'split' if plan.splits else 'fold'} {fold.name}"
                cell = None if folder is None else folder.read_cell(model.name, fold.name)
                if cell is not None:
                    say(f"{words}: finished before")
                else:
                    cell = do_cell(
                        model, table, fold, how, seed=plan.seed, device=device, threads=threads or os.cpu_count() or 1
                    )
                    if folder is not None:
                        folder.write_cell(cell)
                    say(f"{words}: {_words_of(cell, metric)}")
                done.append(cell)
                bar.advance()
    return done


def _words_of(cell: Cell, metric: str) -> str:
    if not cell.metrics:
        return f"failed: {cell.problem}"
    value = cell.metrics.get(metric)
    shown = "undefined" if value is None else f"{value:.4g}"
    explained = "" if cell.explain_seconds is None else f", explained in {cell.explain_seconds:.1f} s"
    explained = f"; {cell.problem}" if cell.problem else explained
    return f"{metrics.get(metric).label} {shown}, fitted in {cell.fit_seconds or 0:.1f} s{explained}"


def put_together(
    given: Given, plan: Plan, folds: Sequence[Fold], cells: Sequence[Cell], metric: str, **facts: Any
) -> Comparison:
    """Put the cells together.

    Raises:
        InputError: Every model failed.
    """
    if not any(cell.metrics for cell in cells):
        raise InputError(
            f"a comparison must have a model that can be fitted, however: all {len(plan.models)} failed on every fold; "
            f"the first, {cells[0].model!r}: {cells[0].problem}"
        )
    names = [name for name in metrics if metrics.get(name).task == given.table.task]
    scores = pd.DataFrame(
        [
            {
                "model": cell.model,
                "fold": cell.fold,
                **{name: _number(cell.metrics.get(name)) for name in names},
                "fit_seconds": _number(cell.fit_seconds),
                "processor_seconds": _number(cell.processor_seconds),
                "explain_seconds": _number(cell.explain_seconds),
                **{f"{part}_rows": count for part, count in cell.rows.items()},
                "problem": cell.problem,
            }
            for cell in cells
        ]
    )
    return Comparison(
        table=given.name,
        target=given.target,
        task=given.table.task,
        metric=metric,
        contestants=plan.models,
        scores=scores,
        importances=_importance_frame(cells) if plan.methods else pd.DataFrame(),
        facts={**_facts(given, plan, folds, cells), **facts},
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _importance_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "model": cell.model,
                "fold": cell.fold,
                "method": method,
                "feature": numbers["names"],
                **{name: np.array(column, dtype=np.float64) for name, column in numbers.items() if name != "names"},
            }
        )
        for cell in cells
        for method, numbers in cell.importances.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _facts(given: Given, plan: Plan, folds: Sequence[Fold], cells: Sequence[Cell]) -> dict[str, Any]:
    from permgrad.runs.run.stages import versions

    table = given.table
    sizes = {part: [len(getattr(fold, part)) for fold in folds] for part in ("train", "validation", "test")}
    classes = None
    if table.task == "classification":
        labels, counts = np.unique(table.y, return_counts=True)
        classes = {str(label): int(count) for label, count in zip(labels.tolist(), counts, strict=True)}
    return {
        "rows": len(table.y),
        "columns": table.X.shape[1],
        "classes": classes,
        "positive": plain(table.positive),
        "divided": division(plan, table.task, given.groups is not None),
        "fold_word": "split" if plan.splits else "fold",
        "fold_rows": {part: round(float(np.mean(counts))) for part, counts in sizes.items()},
        "explained": {
            "methods": [name for name in plan.methods if any(name in cell.importances for cell in cells)],
            "loss": loss_of(table.task, plan.loss),
            "donors": plan.n_repeats,
            "most_rows": plan.most_rows,
        }
        if plan.methods
        else None,
        "seed": plan.seed,
        "notes": [*given.notes, *plan.notes],
        "versions": versions(),
    }


def division(plan: Plan, task: str, grouped: bool) -> str:
    """Return in words how rows are divided."""
    how = "groups kept together" if grouped else "stratified by class" if task == "classification" else "at random"
    if plan.splits:
        seeds = ", ".join(map(str, plan.splits))
        return f"{len(plan.splits)} splits of 60 % training, 20 % validation, 20 % test, {how}, seeds {seeds}"
    times = "" if plan.repeats == 1 else f", {plan.repeats} times over"
    return f"{plan.folds} folds{times}, {how}; 15 % of each training part held out to stop the training"
