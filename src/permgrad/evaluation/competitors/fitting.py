"""Competitors: a registry of other models, fitted by name on the same rows and scored by the same metrics."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from permgrad.base.errors import EnvironmentProblem, InputError, keeping_warnings
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, generator
from permgrad.base.registry import Registry
from permgrad.evaluation.metrics import Task, evaluate, metrics

Array = npt.NDArray[Any]

#: Most boosting rounds when validation rows say when to stop, and rounds where there are none.
ROUNDS, ROUNDS_WITHOUT_VALIDATION = 1000, 200
#: Boosting rounds without a better validation loss before it stops.
PATIENCE = 50
#: Rows that the time of a baseline is measured on: this part of them, at least and at most so many.
_MEASURED_PART, _FEWEST_MEASURED, _MOST_MEASURED = 0.1, 60, 500


@dataclass(frozen=True)
class CompetitorRows:
    """Encoded rows ``(rows, encoded)`` and target; ``natural``: the same with categories, see ``natural_table``."""

    encoded: Array
    y: Array
    natural: pd.DataFrame | None = None

    def take(self, rows: Array) -> CompetitorRows:
        """Return the rows that a mask or row numbers choose."""
        natural = None if self.natural is None else self.natural.iloc[np.arange(len(self.y))[rows]]
        return CompetitorRows(np.asarray(self.encoded)[rows], np.asarray(self.y)[rows], natural)


@dataclass(frozen=True)
class Job:
    """What a competitor is fitted on."""

    task: Task
    train: CompetitorRows
    validation: CompetitorRows | None
    n_classes: int
    seed: int
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classify(self) -> bool:
        """True for classification."""
        return self.task == "classification"

    @property
    def rounds(self) -> int:
        """Most rounds of boosting."""
        return ROUNDS if self.validation else ROUNDS_WITHOUT_VALIDATION


Fit = Callable[[Job], Any]


@dataclass(frozen=True)
class Competitor:
    """A model to compare with: a function of a ``Job`` that returns a fitted model, and what must be installed for it.

    ``costly`` ones take minutes where the others take seconds, so they are fitted only when they are named; those that
    take ``natural`` rows read them where there are any. ``extra`` is empty where permgrad itself needs the package.
    """

    name: str
    label: str
    package: str
    fit: Fit
    extra: str = ""
    costly: bool = False
    takes_natural: bool = False

    def available(self) -> bool:
        """Say whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None


#: Users know competitors as baselines: ``--baselines``, ``metrics.json``.
competitors: Registry[Competitor] = Registry("baseline")


def register(name: str, label: str, package: str, **facts: Any) -> Callable[[Fit], Fit]:
    """Return a decorator that enters a fitting function as a competitor; ``facts`` are further fields of it."""

    def enter(fit: Fit) -> Fit:
        competitors.register(name)(Competitor(name, label, package, fit, **facts))
        return fit

    return enter


def check_available(names: Iterable[str]) -> None:
    """Raise where a competitor is unknown or its library is not installed; the message names the extra."""
    if absent := [one for one in map(competitors.get, names) if not one.available()]:
        raise EnvironmentProblem(_missing(*absent))


def why_absent(name: str) -> str | None:
    """Return why a competitor cannot be fitted here, and how to install it; None: it can."""
    competitor = competitors.get(name)
    if competitor.available():
        return None
    return f"{competitor.package} is not installed: pip install 'permgrad[{competitor.extra}]'"


def _missing(*absent: Competitor) -> str:
    packages = ", ".join(dict.fromkeys(one.package for one in absent))
    names = ", ".join(repr(one.name) for one in absent)
    extras = ",".join(dict.fromkeys(one.extra for one in absent if one.extra))
    return (
        f"baselines need their libraries, however: {packages} for {names} cannot be imported; "
        f"install the extra with: pip install 'permgrad[{extras}]'"
    )


# ---- one -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class FittedCompetitor:
    """A fitted competitor in the classes of the task (none for regression), whatever numbers the library works with.

    ``seen`` are positions of classes in the training rows; the time on the processor is that of all threads together.
    """

    name: str
    model: Any
    seconds: float
    classes: Array
    seen: Array
    processor_seconds: float
    natural: bool

    def predict_proba(self, rows: Array | CompetitorRows) -> npt.NDArray[np.float64]:
        """Return probabilities ``(rows, classes)``; a class without training rows gets 0."""
        readable = self._readable(rows)
        table = np.zeros((len(readable), len(self.classes)))
        table[:, self.seen] = self.model.predict_proba(readable)
        return table

    def predict(self, rows: Array | CompetitorRows) -> Array:
        """Return predicted values, or the most probable classes."""
        if len(self.classes) == 0:
            return np.asarray(self.model.predict(self._readable(rows)), dtype=np.float64)
        return np.asarray(self.classes[np.argmax(self.predict_proba(rows), axis=1)])

    def guess(self, rows: Array | CompetitorRows) -> npt.NDArray[np.float64]:
        """Return predicted values ``(rows,)``, or probabilities ``(rows, classes)``."""
        return self.predict_proba(rows) if len(self.classes) else self.predict(rows)

    def evaluate(self, rows: CompetitorRows, positive: Any = None) -> dict[str, Any]:
        """Compute the metrics on some rows."""
        return self.score(rows.y, self.guess(rows), positive)

    def score(self, y: Array, guess: npt.NDArray[np.float64], positive: Any = None) -> dict[str, Any]:
        """Compute the metrics of what it says of rows, see ``guess``."""
        if len(self.classes) == 0:
            return evaluate("regression", y, predictions=guess)
        return evaluate("classification", y, probabilities=guess, classes=list(self.classes), positive=positive)

    def _readable(self, rows: Array | CompetitorRows) -> Any:
        if self.natural:
            assert isinstance(rows, CompetitorRows), "it was fitted on natural tables"
            return rows.natural
        return rows.encoded if isinstance(rows, CompetitorRows) else rows


def fit_competitor(
    name: str,
    task: Task,
    train: CompetitorRows,
    validation: CompetitorRows | None = None,
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
    """
    check_available([name])
    competitor = competitors.get(name)
    natural = competitor.takes_natural and train.natural is not None
    labels, seen = np.asarray([]), np.asarray([], dtype=np.int64)
    if task == "regression":
        train = replace(train, y=np.asarray(train.y, dtype=np.float64))
        validation = validation and replace(validation, y=np.asarray(validation.y, dtype=np.float64))
    else:
        labels = np.asarray(classes) if len(classes) else np.unique(np.asarray(train.y))
        seen, train, validation = _numbered(labels, train, validation)
    job = Job(task, train, validation, len(seen), derive_seed(seed, "baseline", name) % 2**31, threads, options)
    started, worked = time.perf_counter(), time.process_time()
    # Boosting libraries change the process's OpenMP thread count; the limit puts the caller's back afterwards.
    with threadpool_limits(limits=threads):
        model = competitor.fit(job)
    took, used = time.perf_counter() - started, time.process_time() - worked
    return FittedCompetitor(name, model, took, labels, seen, used, natural)


def _numbered(
    labels: Array, train: CompetitorRows, validation: CompetitorRows | None
) -> tuple[Array, CompetitorRows, CompetitorRows | None]:
    """Number the classes of the training rows 0 … n − 1 without gaps, as XGBoost wants them."""
    index = pd.Index(labels)
    at = index.get_indexer(pd.Index(np.asarray(train.y)))
    if np.any(at < 0):
        raise InputError("classes must contain every class of the training rows, however: some rows have another")
    seen, numbers = np.unique(at, return_inverse=True)
    if len(seen) < 2:
        raise InputError("a classifier needs rows of at least two classes, however: the training rows have one")
    if validation is not None:
        # Rows of a class without training rows cannot say when to stop.
        place = pd.Index(seen).get_indexer(pd.Index(index.get_indexer(pd.Index(np.asarray(validation.y)))))
        held = replace(validation, y=place).take(place >= 0)
        validation = held if len(held.y) else None
    return seen, replace(train, y=numbers), validation


# ---- many ------------------------------------------------------------------------------------------------------------
def run_competitors(
    task: Task,
    parts: Mapping[str, CompetitorRows],
    *,
    classes: Sequence[Any] | Array = (),
    names: Iterable[str] | None = None,
    seed: int = 0,
    threads: int = 1,
    positive: Any = None,
    guesses: dict[str, Array] | None = None,
) -> dict[str, dict[str, Any]]:
    """Fit and score competitors on ``train``, ``validation`` (if any) and ``test``: ``baselines`` of ``metrics.json``.

    Without names all are fitted that take seconds, which leaves out TabM and RealMLP. One whose library is not
    installed has null metrics and a ``"problem"``. ``guesses`` is filled with what each says of the test rows.
    """
    train, validation, test = parts["train"], parts.get("validation"), parts["test"]
    cheap = [one for one in competitors.values() if not one.costly]
    chosen = cheap if names is None else [competitors.get(name) for name in names]
    if not len(classes) and task == "classification":
        classes = np.unique(np.asarray(train.y))
    result: dict[str, dict[str, Any]] = {}
    with Progress(len(chosen), "baselines", lines=False) as bar:
        for competitor in chosen:
            bar.note(competitor.label)
            if not competitor.available():
                names_of_task = (metric.name for metric in metrics.values() if metric.task == task)
                empty: dict[str, Any] = dict.fromkeys([*names_of_task, "fit_seconds", "fit_processor_seconds"])
                result[competitor.name] = {**empty, "problem": _missing(competitor)}
            else:
                fitted = fit_competitor(
                    competitor.name, task, train, validation, classes=classes, seed=seed, threads=threads
                )
                guess = fitted.guess(test)
                if guesses is not None:
                    guesses[competitor.name] = guess
                result[competitor.name] = {
                    **fitted.score(test.y, guess, positive),
                    "validation": None if validation is None else fitted.evaluate(validation, positive),
                    "fit_seconds": fitted.seconds,
                    "fit_processor_seconds": fitted.processor_seconds,
                }
            bar.advance()
    return result


def estimate_seconds(
    task: Task, train: CompetitorRows, names: Sequence[str], *, seed: int = 0, threads: int = 1
) -> float:
    """Return about how long baselines will take, from fits on a part of the rows."""
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
