"""The usual strong models on the same encoded table, the same split and the same metrics.

The five are those of the published comparison: random forest, extra trees, bagging, LightGBM and XGBoost, each with
sensible defaults and not tuned. Boosting stops early on the validation rows. LightGBM and XGBoost come with the extra
``permgrad[baselines]``; where one is missing, ``run_baselines`` says so in its place or raises, as asked.
"""

from __future__ import annotations

import importlib.util
import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad._errors import EnvironmentProblem, InputError
from permgrad._progress import Progress, ProgressMode
from permgrad._random import derive_seed
from permgrad._registry import Registry
from permgrad.evaluation.metrics import Task, evaluate, metrics

Array = npt.NDArray[Any]

ROUNDS = 1000
"""Most boosting rounds when validation rows say when to stop."""
ROUNDS_WITHOUT_VALIDATION = 200
PATIENCE = 50
"""Boosting rounds without a better validation loss before it stops."""


@dataclass(frozen=True)
class Part:
    """Some rows: the encoded table ``(rows, encoded)`` and the target ``(rows,)``."""

    encoded: Array
    y: Array

    def __post_init__(self) -> None:
        if np.ndim(self.encoded) != 2 or len(self.encoded) != len(self.y):
            raise InputError(
                "a part must have encoded rows of shape (rows, encoded) and as many y, however: "
                f"{np.shape(self.encoded)} and {np.shape(self.y)}"
            )


@dataclass(frozen=True)
class Job:
    """What a baseline is fitted on.

    Attributes:
        task: ``"classification"`` (y are integers 0 … classes − 1) or ``"regression"``.
        train: The rows to fit.
        validation: The rows that say when to stop, or None.
        n_classes: Number of classes among the training rows.
        seed: Seed of the model.
        threads: Number of threads it may use.
    """

    task: Task
    train: Part
    validation: Part | None
    n_classes: int
    seed: int
    threads: int

    @property
    def classify(self) -> bool:
        """True for classification."""
        return self.task == "classification"


@dataclass(frozen=True)
class Baseline:
    """A model to compare with.

    Attributes:
        name: Key in ``metrics.json``.
        label: Name for people.
        package: The package that must be importable.
        fit: Function of a ``Job`` that returns a fitted model with ``predict`` or ``predict_proba``.
    """

    name: str
    label: str
    package: str
    fit: Callable[[Job], Any]

    def available(self) -> bool:
        """Say whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None


@dataclass(frozen=True)
class FittedBaseline:
    """A fitted baseline in the classes of the task, whatever numbers the library works with.

    Attributes:
        name: Name of the baseline.
        model: The library's fitted model.
        seconds: Time of the fit.
        classes: All classes of the task (empty for regression).
        seen: Positions in ``classes`` that occur in the training rows.
    """

    name: str
    model: Any
    seconds: float
    classes: Array = field(default_factory=lambda: np.asarray([]))
    seen: Array = field(default_factory=lambda: np.asarray([], dtype=np.int64))

    def predict_proba(self, encoded: Array) -> npt.NDArray[np.float64]:
        """Return probabilities ``(rows, classes)``; a class without training rows gets 0."""
        table = np.zeros((len(encoded), len(self.classes)))
        table[:, self.seen] = self.model.predict_proba(encoded)
        return table

    def predict(self, encoded: Array) -> Array:
        """Return predicted values, or the most probable classes."""
        if len(self.classes) == 0:
            return np.asarray(self.model.predict(encoded), dtype=np.float64)
        return np.asarray(self.classes[np.argmax(self.predict_proba(encoded), axis=1)])

    def evaluate(self, part: Part) -> dict[str, Any]:
        """Compute the metrics on some rows."""
        if len(self.classes) == 0:
            return evaluate("regression", part.y, predictions=self.predict(part.encoded))
        return evaluate(
            "classification", part.y, probabilities=self.predict_proba(part.encoded), classes=list(self.classes)
        )


baselines: Registry[Baseline] = Registry("baseline")


def _baseline(name: str, label: str, package: str) -> Callable[[Callable[[Job], Any]], Callable[[Job], Any]]:
    def enter(fit: Callable[[Job], Any]) -> Callable[[Job], Any]:
        baselines.register(name)(Baseline(name, label, package, fit))
        return fit

    return enter


@_baseline("random_forest", "random forest", "sklearn")
def _random_forest(job: Job) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if job.classify:
        model = RandomForestClassifier(n_estimators=300, n_jobs=job.threads, random_state=job.seed)
    else:
        # A third of the columns per split is Breiman's choice for regression; scikit-learn's default is plain bagging.
        model = RandomForestRegressor(n_estimators=300, max_features=1 / 3, n_jobs=job.threads, random_state=job.seed)
    return model.fit(job.train.encoded, job.train.y)


@_baseline("extra_trees", "extra trees", "sklearn")
def _extra_trees(job: Job) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if job.classify else ExtraTreesRegressor
    model = kind(n_estimators=300, n_jobs=job.threads, random_state=job.seed)
    return model.fit(job.train.encoded, job.train.y)


@_baseline("bagging", "bagging", "sklearn")
def _bagging(job: Job) -> Any:
    from sklearn.ensemble import BaggingClassifier, BaggingRegressor

    kind = BaggingClassifier if job.classify else BaggingRegressor
    return kind(n_estimators=50, n_jobs=job.threads, random_state=job.seed).fit(job.train.encoded, job.train.y)


@_baseline("lightgbm", "LightGBM", "lightgbm")
def _lightgbm(job: Job) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping

    kind = LGBMClassifier if job.classify else LGBMRegressor
    model = kind(
        n_estimators=ROUNDS if job.validation else ROUNDS_WITHOUT_VALIDATION,
        learning_rate=0.1,
        n_jobs=job.threads,
        random_state=job.seed,
        verbosity=-1,
    )
    if job.validation is None:
        return model.fit(job.train.encoded, job.train.y)
    held: dict[str, Any] = {"eval_set": [(job.validation.encoded, job.validation.y)]}
    if "eval_X" in inspect.signature(model.fit).parameters:  # LightGBM 4.7 renamed it and warns of the old name
        held = {"eval_X": job.validation.encoded, "eval_y": job.validation.y}
    stop = early_stopping(PATIENCE, verbose=False)
    return model.fit(job.train.encoded, job.train.y, callbacks=[stop], **held)


@_baseline("xgboost", "XGBoost", "xgboost")
def _xgboost(job: Job) -> Any:
    from xgboost import XGBClassifier, XGBRegressor

    kind = XGBClassifier if job.classify else XGBRegressor
    model = kind(
        n_estimators=ROUNDS if job.validation else ROUNDS_WITHOUT_VALIDATION,
        learning_rate=0.1,
        max_depth=6,
        tree_method="hist",
        early_stopping_rounds=PATIENCE if job.validation else None,
        n_jobs=job.threads,
        random_state=job.seed % 2**31,
        verbosity=0,
    )
    if job.validation is None:
        return model.fit(job.train.encoded, job.train.y)
    return model.fit(
        job.train.encoded, job.train.y, eval_set=[(job.validation.encoded, job.validation.y)], verbose=False
    )


def fit_baseline(
    name: str,
    task: Task,
    train: Part,
    validation: Part | None = None,
    *,
    classes: Sequence[Any] | Array = (),
    seed: int = 0,
    threads: int = 1,
) -> FittedBaseline:
    """Fit one baseline and time it.

    Args:
        name: A registered name.
        task: ``"classification"`` or ``"regression"``.
        train: Training rows; missing values must be encoded already.
        validation: Rows for early stopping, used by the boosting libraries; None: a fixed number of rounds.
        classes: All classes of the task, in the order of the metrics; left out: those of the training rows, sorted.
        seed: Seed of everything random.
        threads: Number of threads.

    Raises:
        InputError: Unknown name, or rows that do not fit together.
        EnvironmentProblem: The library is not installed; the message names the extra.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> fitted = fit_baseline("extra_trees", "regression", Part(rows, rows[:, 0]))
        >>> fitted.predict(rows).shape
        (60,)
    """
    baseline = baselines.get(name)
    if not baseline.available():
        raise EnvironmentProblem(_missing(baseline))
    known, seen, rows, held = _encode_classes(task, train, validation, classes)
    job = Job(task, rows, held, len(seen), derive_seed(seed, "baseline", name) % 2**31, threads)
    if task == "classification" and len(seen) < 2:
        raise InputError("a classifier needs rows of at least two classes, however: the training rows have one")
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    # Boosting libraries change the process's OpenMP thread count; the limit puts the caller's back afterwards.
    with threadpool_limits(limits=threads):
        model = baseline.fit(job)
    return FittedBaseline(name, model, time.perf_counter() - started, known, seen)


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
) -> dict[str, dict[str, Any]]:
    """Fit and score baselines: the entry ``baselines`` of ``metrics.json``.

    Args:
        task: ``"classification"`` or ``"regression"``.
        train: Training rows.
        validation: Rows for early stopping, or None.
        test: The rows to score, never fitted on.
        classes: All classes of the task; left out: those of the training rows, sorted.
        names: Which baselines; None: all that are registered.
        seed: Seed of everything random.
        threads: Number of threads.
        on_missing: ``"report"`` enters a library that is not installed with null metrics and a ``"problem"``;
            ``"raise"`` raises ``EnvironmentProblem`` before anything is fitted.
        progress: Show a progress bar.

    Returns:
        ``{name: {metric: value on the test rows, …, "validation": {…} or None, "fit_seconds": …}}``.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(90, 2))
        >>> part = lambda keep: Part(rows[keep], (rows[keep, 0] > 0).astype(int))
        >>> result = run_baselines("classification", part(slice(60)), None, part(slice(60, 90)), names=["extra_trees"])
        >>> result["extra_trees"]["accuracy"] > 0.8
        True
    """
    if on_missing not in ("report", "raise"):
        raise InputError(f"on_missing must be 'report' or 'raise', however: on_missing={on_missing!r}")
    chosen = [baselines.get(name) for name in (baselines.names() if names is None else names)]
    absent = [baseline for baseline in chosen if not baseline.available()]
    if absent and on_missing == "raise":
        raise EnvironmentProblem(_missing(*absent))
    if not len(classes) and task == "classification":
        classes = np.unique(np.asarray(train.y))
    result: dict[str, dict[str, Any]] = {}
    with Progress(len(chosen), "baselines", mode=progress) as bar:
        for baseline in chosen:
            bar.note(baseline.label)
            if baseline in absent:
                empty: dict[str, Any] = {name: None for name in metrics if metrics.get(name).task == task}
                result[baseline.name] = {**empty, "fit_seconds": None, "problem": _missing(baseline)}
            else:
                fitted = fit_baseline(
                    baseline.name, task, train, validation, classes=classes, seed=seed, threads=threads
                )
                result[baseline.name] = {
                    **fitted.evaluate(test),
                    "validation": None if validation is None else fitted.evaluate(validation),
                    "fit_seconds": fitted.seconds,
                }
            bar.advance()
    return result


def _missing(*absent: Baseline) -> str:
    packages = ", ".join(baseline.package for baseline in absent)
    names = ", ".join(repr(baseline.name) for baseline in absent)
    return (
        f"baselines need their libraries, however: {packages} for {names} cannot be imported; "
        "install the extra with: pip install 'permgrad[baselines]'"
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
            held = Part(np.asarray(validation.encoded)[place >= 0], place[place >= 0])
    return known, seen, Part(np.asarray(train.encoded), numbers), held


def _numbers(part: Part) -> Part:
    return Part(np.asarray(part.encoded), np.asarray(part.y, dtype=np.float64))
