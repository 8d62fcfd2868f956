"""``permgrad compare``: several models on the same folds of one table, and what each of them relies on.

Cells, one for each model and fold, are what can be done again alone: each is written as soon as it is done, so that a
killed comparison goes on with the next one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad import __version__
from permgrad._checks import check_choice, check_flag, check_names, check_path, check_whole
from permgrad._errors import InputError, shown, suggest, warn_user
from permgrad._progress import Progress, ProgressMode
from permgrad._random import resolve_seed
from permgrad.data.cells import CodesArgument
from permgrad.data.column_notes import told_of_columns
from permgrad.data.column_types import Kind
from permgrad.evaluation.comparison import PAGE, RECORD, Comparison
from permgrad.evaluation.metrics import metrics, primary_metric
from permgrad.evaluation.predictor import loss_of
from permgrad.runs.compare_folder import NAMES, ComparisonFolder, check_free, is_finished, open_comparison, read_record
from permgrad.runs.compare_folds import Fold, check_numbers, make_folds
from permgrad.runs.compare_inputs import CompareRequest, Given, from_arrays, from_request, request_configuration
from permgrad.runs.compare_models import Cell, Explaining, Model, do_cell, parse_models, usual_models
from permgrad.runs.folder import believed, now, writable_folder
from permgrad.runs.outputs import refuse_input
from permgrad.runs.request import Outcome

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CompareRequest", "compare", "compare_table", "parse_seeds"]

Say = Callable[[str], None]

#: What models may be explained by; permutation is for all of them, the others for networks.
METHODS = ("permutation", "permgrad", "ablation", "gradient", "integrated_gradients", "deeplift", "shapley")
USUAL_METHODS = ("permutation", "permgrad")
USUAL_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides what cells hold, checked.

    Attributes:
        models: Who takes part.
        folds, repeats, splits: How rows are divided.
        methods: How models are explained; empty: not at all.
        asked: Those of the methods that the user named.
        loss: ``"auto"`` or a registered loss.
        n_repeats: Donors per row and feature.
        most_rows: Test rows of a fold that are explained at most.
        seed: Of everything random but the seeds of ``splits``.
    """

    models: tuple[Model, ...]
    folds: int = USUAL_FOLDS
    repeats: int = 1
    splits: tuple[int, ...] = ()
    methods: tuple[str, ...] = USUAL_METHODS
    asked: tuple[str, ...] = ()
    loss: str = "auto"
    n_repeats: int = 5
    most_rows: int = 1000
    seed: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user: which of the methods that were named some models cannot be explained by.

        Examples:
            >>> make_plan(["linear", "bagging"], methods=["gradient"]).notes
            ('gradient applies to networks only and was left out for logistic or ridge regression, bagging',)
        """
        own = [name for name in self.asked if name != "permutation"]
        others = [model.label for model in self.models if model.kind != "network"]
        if not own or not others:
            return ()
        words = ("applies", "was") if len(own) == 1 else ("apply", "were")
        return (f"{' and '.join(own)} {words[0]} to networks only and {words[1]} left out for {', '.join(others)}",)

    def configuration(self) -> dict[str, Any]:
        """Return it as JSON knows it; the order of models and methods changes nothing."""
        divided = {"splits": list(self.splits)} if self.splits else {"folds": self.folds, "repeats": self.repeats}
        explained = {"loss": self.loss, "donors": self.n_repeats, "rows explained": self.most_rows}
        return {
            "permgrad": __version__,
            "models": sorted((model.identity() for model in self.models), key=str),
            **divided,
            "explain": sorted(self.methods),
            **(explained if self.methods else {}),
            "seed": self.seed,
        }


def make_plan(
    models: Sequence[str],
    *,
    folds: int | None = None,
    repeats: int = 1,
    splits: Sequence[int] = (),
    explain: bool = True,
    methods: Sequence[str] = (),
    seed: int = 0,
    loss: str = "auto",
    n_repeats: int = 5,
    most_rows: int = 1000,
) -> Plan:
    """Check what is asked of a comparison, before any row is read.

    Raises:
        InputError: Unknown or repeated names, too few models or folds, or options that do not go together.
        EnvironmentProblem: A model's library is not installed.
    """
    check_flag("explain", explain)
    if not isinstance(splits, Iterable):
        raise InputError(
            f"splits must list seeds, however: splits={shown(splits)}; pass for example splits=[42, 43, 44]"
        )
    splits = tuple(splits)
    if splits and (folds is not None or repeats != 1):
        other = "folds" if folds is not None else "repeats"
        raise InputError(
            f"rows are divided by folds or by splits, however: splits and {other} are both given; leave one of them out"
        )
    methods = check_names("methods", methods, "pass for example methods=['permutation']")
    models = check_names("models", models, "pass for example models=['default', 'linear']")
    for name in methods:
        check_choice("method", name, METHODS)
    if methods and not explain:
        raise InputError("--method says how to explain, however: --no-explain is given as well; leave one of them out")
    check_numbers(folds=USUAL_FOLDS if folds is None else folds, repeats=repeats, splits=splits)
    return Plan(
        models=parse_models(models or usual_models()),
        folds=USUAL_FOLDS if folds is None else int(folds),
        repeats=int(repeats),
        splits=tuple(int(own) for own in splits),
        # Only permutation importance is defined for every model: agreement is measured on it.
        methods=tuple(dict.fromkeys(("permutation", *(methods or USUAL_METHODS)))) if explain else (),
        asked=tuple(dict.fromkeys(methods)),
        loss=loss,
        n_repeats=check_whole("n_repeats", n_repeats, "pass for example 5"),
        most_rows=check_whole("most_rows", most_rows, "pass for example 1000"),
        seed=seed,
    )


def parse_seeds(texts: Sequence[str]) -> tuple[int, ...]:
    """Return seeds of splits from text.

    Raises:
        InputError: One of them is no whole number.

    Examples:
        >>> parse_seeds(["42", "43"])
        (42, 43)
    """
    for text in texts:
        if not text.isdecimal():
            raise InputError(
                f"seeds of splits must be whole numbers, however: --splits has {text!r}; give for example 42,43,44"
            )
    return tuple(int(text) for text in texts)


def check_metric(metric: str | None, task: str, n_classes: int) -> str:
    """Return the metric that decides: the one asked for, or the task's first.

    Raises:
        InputError: No metric of this task.
    """
    if metric is None:
        return primary_metric("regression" if task == "regression" else "classification", n_classes).name
    known = [name for name in metrics if metrics.get(name).task == task]
    if not isinstance(metric, str) or metric not in known:
        other = isinstance(metric, str) and metric in metrics
        what = f"{metric!r} is one for {metrics.get(metric).task}" if other else f"metric={shown(metric)}"
        raise InputError(
            f"metric must be one of {', '.join(known)} for {task}, however: {what}{suggest(metric, known)}"
        )
    return metric


# ---- the work --------------------------------------------------------------------------------------------------------
def _do_cells(
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
    table = given.table
    how = Explaining(
        methods=plan.methods,
        loss=loss_of(table.task, plan.loss) if plan.methods else "",
        n_repeats=plan.n_repeats,
        most_rows=plan.most_rows,
    )
    done: list[Cell] = []
    total = len(folds) * len(plan.models)
    with Progress(total, "comparison", progress) as bar, _torch_threads(threads):
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


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch compute with so many threads during the body, and with as many as before afterwards."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _result(
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
    from permgrad.runs.stages import versions

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
        "divided": _division(plan, table.task, given.groups is not None),
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


def _division(plan: Plan, task: str, grouped: bool) -> str:
    how = "groups kept together" if grouped else "stratified by class" if task == "classification" else "at random"
    if plan.splits:
        seeds = ", ".join(map(str, plan.splits))
        return f"{len(plan.splits)} splits of 60 % training, 20 % validation, 20 % test, {how}, seeds {seeds}"
    times = "" if plan.repeats == 1 else f", {plan.repeats} times over"
    return f"{plan.folds} folds{times}, {how}; 15 % of each training part held out to stop the training"


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
    _check_device(plan, request.device)
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
    metric = check_metric(request.metric, given.table.task, len(set(given.table.y.tolist())))
    if not request.overwrite:
        # Only after the table: a mistyped target must not be answered with "overwrite the other comparison".
        check_free(folder, configuration)
    folds = make_folds(
        given.table.y,
        given.table.task,
        folds=plan.folds,
        repeats=plan.repeats,
        splits=plan.splits,
        seed=plan.seed,
        groups=given.groups,
    )
    for note in (*given.notes, *plan.notes):
        say(f"note: {note}")
    say(
        f"comparing {len(plan.models)} models of {given.target!r} on {given.name}: {len(given.table.y):,} rows, "
        f"{_division(plan, given.table.task, given.groups is not None)}"
    )
    with (
        open_comparison(folder, configuration, command=request.command, overwrite=request.overwrite) as store,
        told_of_columns(),
    ):
        cells = _do_cells(
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
        found = _result(given, plan, folds, cells, metric, **said)
        with writable_folder(folder):
            found.save(folder, record={**store.record, "metric_asked": request.metric, "finished": now()})
    return _outcome(folder)


def _check_device(plan: Plan, device: str) -> None:
    """Refuse a device that this machine does not have, before anything is written.

    Raises:
        InputError: Such a device.
    """
    from permgrad.models.settings import device_faults, raise_faults

    if any(model.kind == "network" for model in plan.models):
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
        >>> import permgrad as pg
        >>> rows = np.random.default_rng(0).normal(size=(120, 3))
        >>> found = pg.compare(rows, rows[:, 0], models=["extra_trees", "random_forest"], folds=2, progress=False)
        >>> sorted(found.standing["model"]), found.shares().idxmax().tolist()
        (['extra_trees', 'random_forest'], ['x0', 'x0'])
    """
    check_flag("overwrite", overwrite)
    folder = None if out is None else check_path("out", out)
    given = from_arrays(X, y, task=task, groups=groups, variables=variables, na_codes=na_codes, kinds=kinds, name=name)
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
    loss_of(given.table.task, loss)
    decides = check_metric(metric, given.table.task, len(set(given.table.y.tolist())))
    _check_device(plan, device)
    threads = None if threads is None else check_whole("threads", threads, "pass for example 2")
    for note in plan.notes:
        warn_user(note)
    divided = make_folds(
        given.table.y, given.table.task, folds=plan.folds, repeats=plan.repeats, splits=plan.splits, seed=plan.seed,
        groups=given.groups,
    )  # fmt: skip
    started = time.perf_counter()

    def work(store: ComparisonFolder | None) -> Comparison:
        cells = _do_cells(
            given, plan, divided, store, device=device, threads=threads, say=_silent, progress=progress, metric=decides
        )
        return _result(given, plan, divided, cells, decides, seconds=time.perf_counter() - started)

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
