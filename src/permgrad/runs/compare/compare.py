"""``permgrad compare``: several models on the same folds of one table, and what each of
them relies on.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.assess.budget import Say
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, as_lines, warn_user
from permgrad.base.files import plain, write_json_atomic, writing
from permgrad.base.folders import believed, now
from permgrad.base.near_names import with_near_names
from permgrad.base.numerals import compact
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import resolve_seed
from permgrad.base.versions import versions
from permgrad.data.kinds.column import Kind
from permgrad.data.types.findings import told_of_columns
from permgrad.evaluation.comparison import PAGE, RECORD, Comparison
from permgrad.evaluation.metrics import metrics, primary_metric
from permgrad.models.devices import torch_threads
from permgrad.models.estimators.settings import check_preset, choose_device
from permgrad.pages.words import clean
from permgrad.runs.compare.compared_cells import (
    FOLDER,
    ComparisonCell,
    cell_path,
    do_cell,
    read_cell,
)
from permgrad.runs.compare.comparison_plan import (
    MOST_ROWS,
    USUAL_FOLDS,
    ComparedTable,
    ComparisonPlan,
    Fold,
    from_arrays,
    from_request,
    loss_of,
    make_folds,
    make_plan,
)
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import CompareRequest, Outcome
from permgrad.runs.run.run_splitting import POSITIVE
from permgrad.runs.run_folder import refuse_input

if TYPE_CHECKING:
    import numpy.typing as npt


# ---- the command ---------------------------------------------------------------------
def compare_table(request: CompareRequest, *, say: Say = print) -> Outcome:
    """Do a comparison, or the part of it that is not finished, and report progress:
    ``permgrad compare``.
    """
    comparison_plan = make_plan(
        request.models, cv=request.cv, explain=request.explain, seed=request.seed
    )
    if request.metric is not None:
        check_choice("metric", request.metric, metrics)
    choose_device(request.device)
    request.run_request().check()
    # Those of a list that names none are the usual ones that are installed.
    settings = configuration(
        replace(request, models=tuple(model.name for model in comparison_plan.models))
    )
    folder = request.folder
    refuse_input(folder, request.files, names=FOLDER.names)
    if request.overwrite:
        finished_record = None
    else:
        finished_record = FOLDER.finished(folder, settings)
    if (
        finished_record is not None
        and finished_record.get("metric_asked") == request.metric
    ):
        for plan_note in comparison_plan.notes:
            say(f"note: {plan_note}")
        with believed(folder):
            return _outcome(folder, already=True)
    table = from_request(request)
    comparison_job = _job(
        table, comparison_plan, request.metric, request.device, request.threads
    )
    # Only after the table is checked: a wrong target must not lead to the advice to
    # overwrite another comparison.
    with (
        FOLDER.open(
            folder, settings, command=request.command, overwrite=request.overwrite
        ) as record,
        told_of_columns(),
    ):
        for table_note in (*table.notes, *comparison_plan.notes):
            say(f"note: {table_note}")
        say(
            f"comparing {len(comparison_plan.models)} models of {table.target!r} on "
            f"{table.name}: {len(table.y):,} rows, {_division(table, comparison_plan)}"
        )
        for sentence in comparison_job.alarms:
            say(f"ALARM: {sentence}")
        if table.positive is not None:
            say(POSITIVE.format(str(table.positive)))
        _do_job(comparison_job, folder, record, say, progress=False)
    return _outcome(folder)


# ---- the work ------------------------------------------------------------------------
@dataclass(frozen=True)
class _Job:
    """A checked comparison: table, plan and metric.

    ``metric_asked``: the metric that the user named.
    """

    table: ComparedTable
    plan: ComparisonPlan
    folds: list[Fold]
    metric: str
    metric_asked: str | None
    device: str
    threads: int | None
    alarms: tuple[str, ...]


def _job(
    table: ComparedTable,
    plan: ComparisonPlan,
    asked_metric: str | None,
    device: str,
    threads: int | None,
) -> _Job:
    """Check what depends on the table, and divide its rows, before anything is
    written.
    """
    for model in plan.models:
        if model.kind == "network":
            check_preset(model.preset, table.task)
    if asked_metric is None:
        metric = primary_metric(table.task, len(table.classes)).name
    else:
        metric = asked_metric
    names = [
        metric.name
        for metric in metrics.values()
        if metric.task == table.task and not metric.counts
    ]
    check_choice(f"metric for {table.task}", metric, names)
    divided = {"folds": plan.folds, "repeats": plan.repeats, "seed": plan.seed}
    folds = make_folds(table.y, table.task, row_groups=table.row_groups, **divided)
    alarms = table.alarms(folds[0])
    named_plan = plan.for_task(table.task)
    return _Job(table, named_plan, folds, metric, asked_metric, device, threads, alarms)


def _do_job(
    job: _Job,
    folder: Path | None,
    record: Mapping[str, Any],
    say: Say,
    *,
    progress: ProgressMode,
) -> Comparison:
    """Do all cells, fold by fold, so that an interrupted comparison has every model on
    the first folds.
    """
    comparison_plan = job.plan
    finished_cells = list[ComparisonCell]()
    started = time.perf_counter()
    total = len(job.folds) * len(comparison_plan.models)
    with (
        Progress(total, "comparison", progress, lines=False) as progress_bar,
        torch_threads(job.threads),
    ):
        for row_fold, model in itertools.product(job.folds, comparison_plan.models):
            words = (
                f"[{len(finished_cells) + 1}/{total}] {model.label}, fold "
                f"{row_fold.name}"
            )
            if folder is None:
                fold_cell = None
            else:
                fold_cell = read_cell(folder, model.name, row_fold.name)
            if fold_cell is not None:
                say(f"{words}: finished before")
            else:
                fold_cell = do_cell(
                    model,
                    job.table,
                    row_fold,
                    comparison_plan,
                    device=job.device,
                    threads=job.threads,
                )
                if folder is not None:
                    with writing(folder):
                        write_json_atomic(
                            cell_path(folder, fold_cell.model, fold_cell.fold),
                            asdict(fold_cell),
                        )
                say(f"{words}: {_words_of(fold_cell, job.metric)}")
            finished_cells.append(fold_cell)
            progress_bar.advance()
    if folder is None:
        return _put_together(job, finished_cells, seconds=time.perf_counter() - started)
    comparison = _put_together(
        job, finished_cells, command=record["command"], started=record["started"]
    )
    with writing(folder):
        facts = {**record, "metric_asked": job.metric_asked}
        comparison.save(folder, record=facts)
        FOLDER.finish(folder, {**facts, **comparison.to_dict()}, now())
    return comparison


def _words_of(cell: ComparisonCell, metric: str) -> str:
    if not cell.metrics:
        return f"failed: {cell.problem}"
    value = cell.metrics.get(metric)
    if value is None:
        shown = "undefined"
    else:
        shown = compact(value, 4)
    if cell.explain_seconds is None:
        explained = ""
    else:
        explained = f", explained in {cell.explain_seconds:.1f} s"
    if cell.problem:
        explained = f". {cell.problem}"
    return (
        f"{metrics.get(metric).label} {shown}, fitted in "
        f"{cell.fit_seconds or 0:.1f} s{explained}"
    )


def _put_together(
    job: _Job, cells: Sequence[ComparisonCell], **facts: Any
) -> Comparison:
    """Put the cells together. Refuse if every model failed."""
    table = job.table
    comparison_plan = job.plan
    if not any(fold_cell.metrics for fold_cell in cells):
        problem = (
            f"All {len(comparison_plan.models)} models failed on every fold, the first "
            f"({cells[0].model!r}) with: {cells[0].problem}"
        )
        raise InputError(
            problem,
            hint="Correct the table or the options, or choose other models.",
            code="PG032",
        )
    names = []
    for metric in metrics.values():
        if metric.task == table.task and not metric.counts:
            names.append(metric.name)
    seconds = ["fit_seconds", "processor_seconds", "explain_seconds"]
    lines = []
    frames = []
    for line_cell in cells:
        cell_labels = {"model": line_cell.model, "fold": line_cell.fold}
        lines.append(_line(line_cell, cell_labels, names, seconds))
        frames += _frames(line_cell, cell_labels)
    about = _circumstances(job, cells)
    return Comparison(
        table=table.name,
        target=table.target,
        task=table.task,
        metric=job.metric,
        contestants=comparison_plan.models,
        scores=pd.DataFrame(lines).astype(
            dict.fromkeys([*names, *seconds], np.float64)
        ),
        importances=pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        facts={**about, **facts},
    )


def _line(
    cell: ComparisonCell,
    cell_keys: dict[str, Any],
    names: Sequence[str],
    seconds: Sequence[str],
) -> dict[str, Any]:
    """Return the scores of a model on a fold."""
    numbers = {name: cell.metrics.get(name) for name in names}
    numbers |= {name: getattr(cell, name) for name in seconds}
    rows = {f"{kind}_rows": count for kind, count in cell.rows.items()}
    return {**cell_keys, **numbers, **rows, "problem": cell.problem}


def _frames(cell: ComparisonCell, cell_keys: dict[str, Any]) -> list[pd.DataFrame]:
    """Return the importances of a model on a fold, a table for each method."""
    frames = []
    for method, columns in cell.importances.items():
        frame = pd.DataFrame(
            {**cell_keys, "method": method, "feature": columns["names"], **columns}
        )
        numbers = dict.fromkeys(set(columns) - {"names"}, np.float64)
        frames.append(frame.drop(columns="names").astype(numbers))
    return frames


def _circumstances(job: _Job, cells: Sequence[ComparisonCell]) -> dict[str, Any]:
    """Return what was compared, on which rows and how."""
    table = job.table
    plan = job.plan
    sizes = {}
    for kind in ("train", "validation", "test"):
        sizes[kind] = [len(getattr(fold, kind)) for fold in job.folds]
    explained = {
        "methods": [
            name
            for name in plan.methods
            if any(name in cell.importances for cell in cells)
        ],
        "loss": loss_of(table.task),
        "max_rows": MOST_ROWS,
    }
    counts = {}
    for label in table.classes.tolist():
        counts[str(label)] = int(np.sum(table.y == label))
    return {
        "rows": len(table.y),
        "columns": table.X.shape[1],
        "classes": counts or None,
        "positive": plain(table.positive),
        "divided": _division(table, plan),
        "fold_rows": {
            kind: round(float(np.mean(counts))) for kind, counts in sizes.items()
        },
        "explained": explained if plan.methods else None,
        "seed": plan.seed,
        "notes": [*table.notes, *plan.notes],
        "alarms": list(job.alarms),
        "versions": versions(),
    }


def _division(table: ComparedTable, plan: ComparisonPlan) -> str:
    if table.task.stratified:
        division_words = "stratified by class"
    else:
        division_words = "at random"
    if table.row_groups is not None:
        division_words = "groups kept together"
    if plan.repeats == 1:
        times = ""
    else:
        times = f", repeated {plan.repeats} times"
    return (
        f"{plan.folds} folds{times}, {division_words}; 15 % of each training part "
        "held out to stop the training"
    )


def _outcome(folder: Path, *, already: bool = False) -> Outcome:
    """Return the result, read from the folder."""
    record = FOLDER.read(folder) or {}
    page_path = folder / PAGE
    names = ("task", "metric", "best", "models", "failures", "sentences")
    models = record["models"]
    facts = {
        "folder": os.fspath(folder),
        "page": os.fspath(page_path),
        "results": os.fspath(folder / RECORD),
        "already_finished": already,
        **{fact_name: record.get(fact_name) for fact_name in names},
        "verdict": [
            # With the facts on the models that it names.
            {
                "sentence": sentence,
                "facts": {
                    "kind": "models",
                    "models": [m for m in models if clean(m["label"]) in sentence],
                },
            }
            for sentence in record["sentences"]
        ],
    }
    if already:
        lines = [
            f"This comparison is already finished ({folder}). Nothing was changed."
        ]
    else:
        lines = []
    label = metrics.get(record["metric"]).label
    width = max(len(model["label"]) for model in record["models"])
    lines.append(
        f"{'':<{width + 2}}{label:>14}{'± folds':>10}{'mean rank':>11}"
        f"{'behind by':>11}{'p':>8}{'fit, s':>9}"
    )
    for model in record["models"]:
        cells = f"{_text(model['mean'], 4):>14}{_text(model['std'], 2):>10}"
        cells += f"{_text(model['rank'], 3):>11}"
        cells += f"{_text(model['difference'], 2):>11}{_text(model['p_holm'], 2):>8}"
        cells += f"{_text(model['fit_seconds'], 3):>9}"
        if model["failed"]:
            failed = f"  failed on {model['failed']}"
        else:
            failed = ""
        lines.append(f"  {model['label']:<{width}}{cells}{failed}")
    lines += [*record["sentences"], f"Page: {page_path}"]
    return Outcome(facts, as_lines(lines))


def _text(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}g}"


# ---- Python --------------------------------------------------------------------------
@with_near_names
def compare(
    models: Sequence[Any],
    X: Any,
    y: Any,
    *,
    cv: int | str = USUAL_FOLDS,
    metric: str | None = None,
    explain: bool = True,
    row_groups: npt.ArrayLike | None = None,
    kinds: Mapping[str, Kind] | None = None,
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Comparison:
    """Compare models on the same folds of a table, and show what each of them relies
    on.

    Args:
        models: Presets (names, or paths of preset files) and baselines by name.
            ``"default:tabular"`` and ``"default:image"`` have only one branch. An empty
            list: the default network, LightGBM, a random forest and a linear model, if
            they are installed. Estimators of scikit-learn's kind, fitted or not, a
            ``pg.Model`` of one, or pairs ``(name, estimator)``, are also accepted: a
            copy is fitted on the raw columns of each fold.
        X: Table ``(rows, features)``, a frame or an array. ``pg.read_table`` reads one
            from a file, with codes for missing cells.
        y: Target ``(rows,)``: texts, truths and few whole numbers are classes.
        cv: Number of folds, stratified by class. ``"5x3"`` divides the rows into five
            folds three times.
        metric: The metric that decides. Default: ROC-AUC for two classes, accuracy for
            more, RMSE for numbers.
        explain: Whether models are explained: by permutation importance, and networks
            by permgrad, too.
        row_groups: ``(rows,)``. Rows of one group stay in one fold.
        kinds: Columns whose kind is declared, for example ``{"postcode":
            "categorical"}``.
        random_state: Seed of folds, models and donors.
        progress: A bar on stderr.

    Returns:
        A ``Comparison``: frames ``scores, standing, pairs, importances, agreement``,
        and ``to_html()``, ``save(...)``.

    Raises:
        InputError: An argument cannot be used. Nothing was computed.
        EnvironmentProblem: A model's library is not installed.

    Examples:
        >>> import numpy as np
        >>> import permgrad as pg
        >>> rows = np.random.default_rng(0).normal(size=(120, 3))
        >>> comparison = pg.compare(
        ...     ["extra_trees", "random_forest"], rows, rows[:, 0], cv=2, progress=False
        ... )
        >>> sorted(comparison.standing["model"]), comparison.shares().idxmax().tolist()
        (['extra_trees', 'random_forest'], ['x0', 'x0'])
    """
    table = from_arrays(X, y, row_groups=row_groups, kinds=kinds)
    comparison_plan = make_plan(
        models, cv=cv, explain=explain, seed=resolve_seed(random_state)
    )
    comparison_job = _job(table, comparison_plan, metric, "auto", None)
    for plan_note in comparison_plan.notes:
        warn_user(plan_note)
    return _do_job(comparison_job, None, {}, lambda _: None, progress=progress)
