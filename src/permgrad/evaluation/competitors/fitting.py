"""Fit competitors by name and score them: same rows, same metrics, time of the fit beside them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from permgrad.base.errors import EnvironmentProblem, InputError, keeping_warnings
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import derive_seed, generator
from permgrad.evaluation.competitors.base import Array, Competitor, EncodedRows, FittedCompetitor, Job, competitors
from permgrad.evaluation.metrics import Task, metrics


def fit_competitor(
    name: str,
    task: Task,
    train: EncodedRows,
    validation: EncodedRows | None = None,
    *,
    classes: Sequence[Any] | Array = (),
    seed: int = 0,
    threads: int = 1,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> FittedCompetitor:
    """Fit one competitor and time it.

    Validation rows say when boosting and networks stop; without them the number of rounds is fixed (TabM and RealMLP
    then hold rows of their own out). ``classes`` are all classes in the order of the metrics, those of the training
    rows if left out; ``options`` replace what is passed to the library's model.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> fitted = fit_competitor("extra_trees", "regression", EncodedRows(rows, rows[:, 0]))
        >>> fitted.predict(rows).shape
        (60,)
    """
    check_available([name])
    competitor = competitors.get(name)
    labels, seen, rows, held = _encode_classes(task, train, validation, classes)
    natural = competitor.takes_natural and rows.natural is not None
    if natural and held is not None and held.natural is None:
        raise InputError(
            "all parts must have a natural table or none, however: the validation rows have none; "
            "pass natural=natural_table(encoder, encoded) for them too"
        )
    job = Job(task, rows, held, len(seen), derive_seed(seed, "baseline", name) % 2**31, threads, options)
    if task == "classification" and len(seen) < 2:
        raise InputError("a classifier needs rows of at least two classes, however: the training rows have one")
    from threadpoolctl import threadpool_limits

    started, worked = time.perf_counter(), time.process_time()
    # Boosting libraries change the process's OpenMP thread count; the limit puts the caller's back afterwards.
    with threadpool_limits(limits=threads):
        model = competitor.fit(job)
    took, used = time.perf_counter() - started, time.process_time() - worked
    return FittedCompetitor(name, model, took, labels, seen, used, natural)


def run_competitors(
    task: Task,
    train: EncodedRows,
    validation: EncodedRows | None,
    test: EncodedRows,
    *,
    classes: Sequence[Any] | Array = (),
    names: Iterable[str] | None = None,
    seed: int = 0,
    threads: int = 1,
    on_missing: Literal["report", "raise"] = "report",
    progress: ProgressMode = False,
    positive: Any = None,
    guesses: dict[str, Array] | None = None,
) -> dict[str, dict[str, Any]]:
    """Fit and score competitors: the entry ``baselines`` of ``metrics.json``.

    Without names all are fitted that take seconds, which leaves out TabM and RealMLP. ``on_missing="report"`` enters a
    library that is not installed with null metrics and a ``"problem"``, ``"raise"`` raises before anything is fitted.
    ``guesses`` is filled with what each says of the test rows: values ``(rows,)`` or probabilities ``(rows, classes)``.

    Returns:
        ``{name: {metric: value on the test rows, …, "validation": {…} or None, "fit_seconds": …,
        "fit_processor_seconds": …}}``; the latter counts all threads and no other work on the machine.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(90, 2))
        >>> y = (rows[:, 0] > 0).astype(int)
        >>> train, test = (EncodedRows(rows[part], y[part]) for part in (slice(60), slice(60, 90)))
        >>> result = run_competitors("classification", train, None, test, names=["extra_trees"])
        >>> result["extra_trees"]["accuracy"] > 0.8
        True
    """
    if on_missing not in ("report", "raise"):
        raise InputError(f"on_missing must be 'report' or 'raise', however: on_missing={on_missing!r}")
    cheap = [name for name in competitors if not competitors.get(name).costly]
    chosen = [competitors.get(name) for name in (cheap if names is None else names)]
    if on_missing == "raise":
        check_available([one.name for one in chosen])
    absent = [one for one in chosen if not one.available()]
    if not len(classes) and task == "classification":
        classes = np.unique(np.asarray(train.y))
    result: dict[str, dict[str, Any]] = {}
    with Progress(len(chosen), "baselines", progress, lines=False) as bar:
        for competitor in chosen:
            bar.note(competitor.label)
            if competitor in absent:
                empty: dict[str, Any] = {name: None for name in metrics if metrics.get(name).task == task}
                times = {"fit_seconds": None, "fit_processor_seconds": None}
                result[competitor.name] = {**empty, **times, "problem": _missing(competitor)}
            else:
                fitted = fit_competitor(
                    competitor.name, task, train, validation, classes=classes, seed=seed, threads=threads
                )
                guess = fitted.guess(test)
                if guesses is not None:
                    guesses[competitor.name] = guess
                result[competitor.name] = {
                    **fitted.evaluate(test, positive, guess),
                    "validation": None if validation is None else fitted.evaluate(validation, positive),
                    "fit_seconds": fitted.seconds,
                    "fit_processor_seconds": fitted.processor_seconds,
                }
            bar.advance()
    return result


#: Rows that the time of a baseline is measured on: this part of them, at least and at most so many.
_MEASURED_PART, _FEWEST_MEASURED, _MOST_MEASURED = 0.1, 60, 500


def estimate_seconds(task: Task, train: EncodedRows, names: Sequence[str], *, seed: int = 0, threads: int = 1) -> float:
    """Return about how long baselines will take, from fits on a part of the rows.

    Args:
        task: ``"classification"`` or ``"regression"``.
        train: The rows that they will be fitted on.
        names: Which competitors; all are installed.
        seed: Which rows are drawn.
        threads: Number of threads.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(300, 2))
        >>> estimate_seconds("regression", EncodedRows(rows, rows[:, 0]), ["linear"]) > 0
        True
    """
    count = len(train.y)
    size = min(count, _MOST_MEASURED, max(_FEWEST_MEASURED, round(_MEASURED_PART * count)))
    drawn = generator(seed, "baseline times").permutation(count)[:size]
    if task == "classification":
        # A fit needs two classes.
        drawn = np.union1d(drawn, np.unique(np.asarray(train.y), return_index=True)[1])
    part = train.take(np.sort(drawn))
    for name in names:
        import_module(competitors.get(name).package)  # a library is loaded once, however many rows there are
    with keeping_warnings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = [fit_competitor(name, task, part, seed=seed, threads=threads).seconds for name in names]
    return sum(seconds) * count / len(drawn)


def why_absent(name: str) -> str | None:
    """Return why a competitor cannot be fitted here, and how to install it; None: it can."""
    competitor = competitors.get(name)
    if competitor.available():
        return None
    return f"{competitor.package} is not installed: pip install 'permgrad[{competitor.extra}]'"


def check_available(names: Iterable[str]) -> None:
    """Raise where a competitor is unknown or its library is not installed; the message names the extra."""
    if absent := [one for one in map(competitors.get, names) if not one.available()]:
        raise EnvironmentProblem(_missing(*absent))


def _missing(*absent: Competitor) -> str:
    packages = ", ".join(dict.fromkeys(one.package for one in absent))
    names = ", ".join(repr(one.name) for one in absent)
    extras = ",".join(dict.fromkeys(one.extra for one in absent if one.extra))
    return (
        f"baselines need their libraries, however: {packages} for {names} cannot be imported; "
        f"install the extra with: pip install 'permgrad[{extras}]'"
    )


def _encode_classes(
    task: Task, train: EncodedRows, validation: EncodedRows | None, classes: Sequence[Any] | Array
) -> tuple[Array, Array, EncodedRows, EncodedRows | None]:
    """Number the classes of the training rows 0 … n − 1 without gaps, as XGBoost wants them."""
    if task == "regression":
        empty = np.asarray([])
        return empty, empty.astype(np.int64), _numbers(train), None if validation is None else _numbers(validation)
    labels = np.asarray(classes) if len(classes) else np.unique(np.asarray(train.y))
    index = pd.Index(labels)
    at = index.get_indexer(pd.Index(np.asarray(train.y)))
    if np.any(at < 0):
        raise InputError("classes must contain every class of the training rows, however: some rows have another")
    seen, numbers = np.unique(at, return_inverse=True)
    held = None
    if validation is not None:
        # Rows of a class without training rows cannot say when to stop.
        place = pd.Index(seen).get_indexer(pd.Index(index.get_indexer(pd.Index(np.asarray(validation.y)))))
        if np.any(place >= 0):
            held = validation.with_y(place).take(place >= 0)
    return labels, seen, train.with_y(numbers), held


def _numbers(part: EncodedRows) -> EncodedRows:
    return part.with_y(np.asarray(part.y, dtype=np.float64))
