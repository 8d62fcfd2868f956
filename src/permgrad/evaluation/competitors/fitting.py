"""Fit baselines by name and score them: same rows, same metrics, time of the fit beside them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from permgrad.base.errors import EnvironmentProblem, InputError, keeping_warnings
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import derive_seed, generator
from permgrad.evaluation.competitors.base import Array, Baseline, FittedBaseline, Job, Part, baselines
from permgrad.evaluation.metrics import Task, metrics


def fit_baseline(
    name: str,
    task: Task,
    train: Part,
    validation: Part | None = None,
    *,
    classes: Sequence[Any] | Array = (),
    seed: int = 0,
    threads: int = 1,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> FittedBaseline:
    """Fit one baseline and time it.

    Args:
        name: A registered name.
        task: ``"classification"`` or ``"regression"``.
        train: Training rows; missing values must be encoded already.
        validation: Rows for early stopping, used by boosting and networks (histogram boosting: with scikit-learn 1.7 or
            newer); None: a fixed number of rounds (TabM and RealMLP then hold rows of their own out).
        classes: All classes of the task, in the order of the metrics; left out: those of the training rows, sorted.
        seed: Seed of everything random.
        threads: Number of threads.
        options: Keywords for the library's model, in the place of what the baseline would pass.

    Raises:
        InputError: Unknown name, or rows that do not fit together.
        EnvironmentProblem: The library is not installed; the message names the extra.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> fitted = fit_baseline("extra_trees", "regression", Part(rows, rows[:, 0]))
        >>> fitted.predict(rows).shape
        (60,)
    """
    check_available([name])
    baseline = baselines.get(name)
    known, seen, rows, held = _encode_classes(task, train, validation, classes)
    natural = baseline.takes_natural and rows.natural is not None
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
        model = baseline.fit(job)
    took, used = time.perf_counter() - started, time.process_time() - worked
    return FittedBaseline(name, model, took, known, seen, used, natural)


def run_baselines(
    task: Task,
    train: Part,
    validation: Part | None,
    test: Part,
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
    """Fit and score baselines: the entry ``baselines`` of ``metrics.json``.

    Args:
        task: ``"classification"`` or ``"regression"``.
        train: Training rows.
        validation: Rows for early stopping, or None.
        test: The rows to score, never fitted on.
        classes: All classes of the task; left out: those of the training rows, sorted.
        names: Which baselines; None: all that take seconds, which leaves out TabM and RealMLP.
        seed: Seed of everything random.
        threads: Number of threads.
        on_missing: ``"report"`` enters a library that is not installed with null metrics and a ``"problem"``;
            ``"raise"`` raises ``EnvironmentProblem`` before anything is fitted.
        progress: Show a progress bar.
        positive: Of two classes the one that average precision and lift are of; None: the second.
        guesses: Filled with what each baseline says of the test rows: predicted values ``(rows,)``, or probabilities
            ``(rows, classes)``.

    Returns:
        ``{name: {metric: value on the test rows, …, "validation": {…} or None, "fit_seconds": …,
        "fit_processor_seconds": …}}``; the latter counts all threads and no other work on the machine.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(90, 2))
        >>> part = lambda keep: Part(rows[keep], (rows[keep, 0] > 0).astype(int))
        >>> result = run_baselines("classification", part(slice(60)), None, part(slice(60, 90)), names=["extra_trees"])
        >>> result["extra_trees"]["accuracy"] > 0.8
        True
    """
    if on_missing not in ("report", "raise"):
        raise InputError(f"on_missing must be 'report' or 'raise', however: on_missing={on_missing!r}")
    cheap = [name for name in baselines if not baselines.get(name).costly]
    chosen = [baselines.get(name) for name in (cheap if names is None else names)]
    if on_missing == "raise":
        check_available([baseline.name for baseline in chosen])
    absent = [baseline for baseline in chosen if not baseline.available()]
    if not len(classes) and task == "classification":
        classes = np.unique(np.asarray(train.y))
    result: dict[str, dict[str, Any]] = {}
    with Progress(len(chosen), "baselines", progress, lines=False) as bar:
        for baseline in chosen:
            bar.note(baseline.label)
            if baseline in absent:
                empty: dict[str, Any] = {name: None for name in metrics if metrics.get(name).task == task}
                times = {"fit_seconds": None, "fit_processor_seconds": None}
                result[baseline.name] = {**empty, **times, "problem": _missing(baseline)}
            else:
                fitted = fit_baseline(
                    baseline.name, task, train, validation, classes=classes, seed=seed, threads=threads
                )
                guess = fitted.guess(test)
                if guesses is not None:
                    guesses[baseline.name] = guess
                result[baseline.name] = {
                    **fitted.evaluate(test, positive, guess),
                    "validation": None if validation is None else fitted.evaluate(validation, positive),
                    "fit_seconds": fitted.seconds,
                    "fit_processor_seconds": fitted.processor_seconds,
                }
            bar.advance()
    return result


#: Rows that the time of a baseline is measured on: this part of them, at least and at most so many.
_MEASURED_PART, _FEWEST_MEASURED, _MOST_MEASURED = 0.1, 60, 500


def estimate_seconds(task: Task, train: Part, names: Sequence[str], *, seed: int = 0, threads: int = 1) -> float:
    """Return about how long baselines will take, from fits on a part of the rows.

    Args:
        task: ``"classification"`` or ``"regression"``.
        train: The rows that they will be fitted on.
        names: Which baselines; all are installed.
        seed: Which rows are drawn.
        threads: Number of threads.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(300, 2))
        >>> estimate_seconds("regression", Part(rows, rows[:, 0]), ["linear"]) > 0
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
        import_module(baselines.get(name).package)  # a library is loaded once, however many rows there are
    with keeping_warnings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = [fit_baseline(name, task, part, seed=seed, threads=threads).seconds for name in names]
    return sum(seconds) * count / len(drawn)


def why_absent(name: str) -> str | None:
    """Return why a baseline cannot be fitted here, and how to install it; None: it can.

    Examples:
        >>> why_absent("extra_trees") is None
        True
    """
    baseline = baselines.get(name)
    if baseline.available():
        return None
    return f"{baseline.package} is not installed: pip install 'permgrad[{baseline.extra}]'"


def check_available(names: Iterable[str]) -> None:
    """Raise where a baseline is unknown or its library is not installed.

    Raises:
        InputError: An unknown name; the known ones are listed.
        EnvironmentProblem: A library is missing; the message names the extra.

    Examples:
        >>> check_available(["extra_trees", "linear"])
    """
    if absent := [baseline for baseline in map(baselines.get, names) if not baseline.available()]:
        raise EnvironmentProblem(_missing(*absent))


def _missing(*absent: Baseline) -> str:
    packages = ", ".join(dict.fromkeys(baseline.package for baseline in absent))
    names = ", ".join(repr(baseline.name) for baseline in absent)
    extras = ",".join(dict.fromkeys(baseline.extra for baseline in absent if baseline.extra))
    return (
        f"baselines need their libraries, however: {packages} for {names} cannot be imported; "
        f"install the extra with: pip install 'permgrad[{extras}]'"
    )


def _encode_classes(
    task: Task, train: Part, validation: Part | None, classes: Sequence[Any] | Array
) -> tuple[Array, Array, Part, Part | None]:
    """Number the classes of the training rows 0 … n − 1 without gaps, as XGBoost wants them."""
    if task == "regression":
        empty = np.asarray([])
        return empty, empty.astype(np.int64), _numbers(train), None if validation is None else _numbers(validation)
    import pandas as pd

    known = np.asarray(classes) if len(classes) else np.unique(np.asarray(train.y))
    index = pd.Index(known)
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
    return known, seen, train.with_y(numbers), held


def _numbers(part: Part) -> Part:
    return part.with_y(np.asarray(part.y, dtype=np.float64))
