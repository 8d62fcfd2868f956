"""``permgrad compare``: several models on the same folds of one table, and what each of them relies on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.base.checks import check_choice, check_flag, check_path, check_whole
from permgrad.base.errors import warn_user
from permgrad.base.progress import ProgressMode
from permgrad.base.random import resolve_seed
from permgrad.data.read.cells import CodesArgument
from permgrad.data.types.column_notes import told_of_columns
from permgrad.data.types.column_types import Kind
from permgrad.evaluation.comparison import PAGE, RECORD, Comparison
from permgrad.evaluation.metrics import metrics
from permgrad.evaluation.predictor import loss_of
from permgrad.runs.compare.cells import Say, division, do_cells, put_together
from permgrad.runs.compare.folder import NAMES, ComparisonFolder, check_free, is_finished, open_comparison, read_record
from permgrad.runs.compare.folds import Fold, make_folds
from permgrad.runs.compare.inputs import Given, from_arrays, from_request, request_configuration
from permgrad.runs.compare.plan import Plan, check_metric, check_task, make_plan
from permgrad.runs.folder.folder import believed, now, writable_folder
from permgrad.runs.folder.outputs import refuse_input
from permgrad.runs.requests import CompareRequest, Outcome
from permgrad.runs.run.target import positive_words

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CompareRequest", "compare", "compare_table"]


# ---- the command -----------------------------------------------------------------------------------------------------
def compare_table(request: CompareRequest, *, say: Say = print) -> Outcome:
    """Do a comparison, or the part of it that is not done yet: what ``permgrad compare`` does.

    Args:
        request: What is asked.
        say: Takes lines that tell how it goes.

    Returns:
        What came out, in short.

    Raises:
        InputError: The options, the table or the folder cannot be used; nothing was written.
        EnvironmentProblem: A library is missing, or the disk or the network do not allow it.
    """
    plan = make_plan(
        request.models,
        folds=request.folds,
        repeats=request.repeats,
        splits=request.splits,
        explain=request.explain,
        methods=request.methods,
        seed=request.seed,
    )
    if request.metric is not None:
        check_choice("metric", request.metric, metrics)
    _check_device(request.device)
    configuration = {**request_configuration(request), **plan.configuration()}
    folder = request.folder
    presets = {f"preset {model}": Path(model) for model in request.models if model.endswith(".json")}
    refuse_input(folder, {**request.files, **presets}, names=NAMES)
    if not request.overwrite and is_finished(folder, configuration, request.metric):
        for note in plan.notes:
            say(f"note: {note}")
        with believed(folder):
            return _outcome(folder, already=True)
    given = from_request(request)
    check_task(plan, given.table.task)
    metric = check_metric(request.metric, given.table.task, len(set(given.table.y.tolist())))
    if not request.overwrite:
        # Only after the table: a mistyped target must not be answered with "overwrite the other comparison".
        check_free(folder, configuration)
    folds = _divide(plan, given)
    for note in (*given.notes, *plan.notes):
        say(f"note: {note}")
    say(
        f"comparing {len(plan.models)} models of {given.target!r} on {given.name}: {len(given.table.y):,} rows, "
        f"{division(plan, given.table.task, given.groups is not None)}"
    )
    for words in positive_words(given.table.positive):
        say(words)
    with (
        open_comparison(folder, configuration, command=request.command, overwrite=request.overwrite) as store,
        told_of_columns(),
    ):
        cells = do_cells(
            given,
            plan,
            folds,
            store,
            device=request.device,
            threads=request.threads,
            say=say,
            progress=False,
            metric=metric,
        )
        said = {"command": request.command, "started": store.record["started"]}
        found = put_together(given, plan, folds, cells, metric, **said)
        with writable_folder(folder):
            found.save(folder, record={**store.record, "metric_asked": request.metric, "finished": now()})
    return _outcome(folder)


def _divide(plan: Plan, given: Given) -> list[Fold]:
    """Divide the rows into folds, before anything is written."""
    return make_folds(
        given.table.y, given.table.task, folds=plan.folds, repeats=plan.repeats, splits=plan.splits, seed=plan.seed,
        groups=given.groups,
    )  # fmt: skip


def _check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before anything is written.

    Raises:
        InputError: Such a device, also where no model would compute on it.
    """
    from permgrad.models.estimators.settings import device_faults, raise_faults

    raise_faults(device_faults(device))


def _outcome(folder: Path, *, already: bool = False) -> Outcome:
    """Say what came out, read from the folder."""
    record = read_record(folder) or {}
    page = folder / PAGE
    kept = ("task", "metric", "best", "models", "failures", "sentences")
    facts = {
        "folder": os.fspath(folder),
        "page": os.fspath(page),
        "results": os.fspath(folder / RECORD),
        "already_finished": already,
        **{name: record.get(name) for name in kept},
    }
    lines = [f"This comparison is finished already; nothing was changed. ({folder})"] if already else []
    label = metrics.get(record["metric"]).label
    width = max(len(model["label"]) for model in record["models"])
    lines.append(f"{'':<{width + 2}}{label:>14}{'± folds':>10}{'mean rank':>11}{'behind by':>11}{'p':>8}{'fit, s':>9}")
    for model in record["models"]:
        cells = f"{_text(model['mean'], 4):>14}{_text(model['std'], 2):>10}{_text(model['rank'], 3):>11}"
        cells += f"{_text(model['difference'], 2):>11}{_text(model['p_holm'], 2):>8}{_text(model['fit_seconds'], 3):>9}"
        failed = f"  failed on {model['failed']}" if model["failed"] else ""
        lines.append(f"  {model['label']:<{width}}{cells}{failed}")
    lines += [*record["sentences"], f"Page: {page}"]
    return Outcome(facts, "\n".join(lines))


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


# ---- Python ----------------------------------------------------------------------------------------------------------
def compare(
    X: Any,
    y: Any,
    *,
    models: Sequence[str] = (),
    task: str = "auto",
    folds: int | None = None,
    repeats: int = 1,
    splits: Sequence[int] = (),
    groups: npt.ArrayLike | None = None,
    metric: str | None = None,
    explain: bool = True,
    methods: Sequence[str] = (),
    loss: str = "auto",
    n_repeats: int = 5,
    most_rows: int = 1000,
    variables: Mapping[str, Sequence[str]] | None = None,
    na_codes: CodesArgument = (),
    kinds: Mapping[str, Kind] | None = None,
    positive: Any = None,
    random_state: Any = 0,
    device: str = "auto",
    threads: int | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: ProgressMode = "auto",
    name: str = "table",
) -> Comparison:
    """Compare models on the same folds of a table, and what each of them relies on.

    Args:
        X: Table ``(rows, features)``, a frame or an array.
        y: Target ``(rows,)``.
        models: Presets (names, or paths of preset files) and baselines by name; ``"default:tabular"`` and
            ``"default:image"`` are one branch alone. Left out: the default network, LightGBM, a random forest and a
            linear model, as far as they are installed.
        task: ``"auto"``, ``"classification"`` or ``"regression"``.
        folds: Number of folds, stratified by class; left out: 5.
        repeats: How often the rows are divided into folds.
        splits: Seeds of 60/20/20 splits in the place of folds, those of ``permgrad run --split-seed``.
        groups: ``(rows,)``; rows of one group stay in one fold.
        metric: What decides; left out: ROC-AUC for two classes, accuracy for more, RMSE for numbers.
        explain: Whether models are explained.
        methods: How: permutation importance is there for every model; other methods of ``permgrad.explain`` apply to
            networks only, and a warning says which models they are left out for. Left out:
            ``("permutation", "permgrad")``.
        loss: Loss of the explanations; ``"auto"``: Brier score or squared error, finite for every model.
        n_repeats: Donors per row and feature.
        most_rows: Test rows of a fold that are explained at most.
        variables: Columns that act as one feature.
        na_codes: Codes that mean missing: one, a list, or a mapping of column to its codes.
        kinds: Columns whose kind is known, for example ``{"postcode": "categorical"}``.
        positive: Of two classes the one that average precision and lift are of; None: the rarer one.
        random_state: Seed of folds, models and donors.
        device: Where networks compute.
        threads: Threads to compute with; None: as the machine is set.
        out: Folder to keep everything in; there the comparison goes on if it was interrupted. None: nothing is written.
        overwrite: Begin anew in a folder that holds another comparison.
        progress: A bar on stderr.
        name: Name of the table, for the page.

    Returns:
        A ``Comparison``: frames ``scores, standing, pairs, importances, agreement``, and ``to_html()``, ``save(...)``.

    Raises:
        InputError: Something cannot be used; nothing was computed.
        EnvironmentProblem: A model's library is not installed.

    Examples:
        >>> import numpy as np
        >>> import permgrad as pg
        >>> rows = np.random.default_rng(0).normal(size=(120, 3))
        >>> found = pg.compare(rows, rows[:, 0], models=["extra_trees", "random_forest"], folds=2, progress=False)
        >>> sorted(found.standing["model"]), found.shares().idxmax().tolist()
        (['extra_trees', 'random_forest'], ['x0', 'x0'])
    """
    check_flag("overwrite", overwrite)
    folder = None if out is None else check_path("out", out)
    given = from_arrays(
        X,
        y,
        task=task,
        groups=groups,
        variables=variables,
        na_codes=na_codes,
        kinds=kinds,
        name=name,
        positive=positive,
    )
    plan = make_plan(
        models,
        folds=folds,
        repeats=repeats,
        splits=splits,
        explain=explain,
        methods=methods,
        seed=resolve_seed(random_state),
        loss=loss,
        n_repeats=n_repeats,
        most_rows=most_rows,
    )
    check_task(plan, given.table.task)
    loss_of(given.table.task, loss)
    decides = check_metric(metric, given.table.task, len(set(given.table.y.tolist())))
    _check_device(device)
    threads = None if threads is None else check_whole("threads", threads, "pass for example 2")
    for note in plan.notes:
        warn_user(note)
    divided = _divide(plan, given)
    started = time.perf_counter()

    def work(store: ComparisonFolder | None) -> Comparison:
        cells = do_cells(
            given, plan, divided, store, device=device, threads=threads, say=_silent, progress=progress, metric=decides
        )
        return put_together(given, plan, divided, cells, decides, seconds=time.perf_counter() - started)

    if folder is None:
        return work(None)
    configuration = {**given.configuration(), **plan.configuration()}
    if not overwrite:
        check_free(folder, configuration)
    with open_comparison(folder, configuration, command="permgrad.compare(X, y, ...)", overwrite=overwrite) as store:
        found = work(store)
        with writable_folder(folder):
            found.save(folder, record={**store.record, "metric_asked": metric, "finished": now()})
    return found


def _silent(text: str) -> None:
    """Say nothing: in Python the bar tells how it goes."""
