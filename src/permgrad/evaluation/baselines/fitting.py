"""Baselines: a registry of other models, fitted by name on the same rows and scored by
the same metrics.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import (
    EnvironmentProblem,
    Fault,
    InputError,
    did_you_mean,
    error_in_words,
    keeping_warnings,
    refusing,
    shown,
    turned,
    two_sentences,
)
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, generator
from permgrad.base.registry import Registry
from permgrad.base.stored import read_user_json
from permgrad.data.tasks import CLASSIFICATION, REGRESSION, tasks
from permgrad.evaluation.metrics import scores_of
from permgrad.models.libraries.boosted import BoostedTrees
from permgrad.models.libraries.job import Job, estimator_class
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.models.reading_trees import AsTrees, ReadTrees, read_questions

#: What is measured by the clock of a baseline's fit.
FIT_TIMES = ("fit_seconds", "fit_processor_seconds")
#: The least mean that a model of counts predicts.
LEAST_MEAN = 1e-9
#: A target's mean is far from 0 from this multiple of its deviation on. Float32 has
#: seven digits.
_FAR = 1000.0
#: Rows that the time of a baseline is measured on: the share, the fewest and the most.
_MEASURED_PART = 0.1
_FEWEST_MEASURED = 60
_MOST_MEASURED = 500
#: What fits a model.
Fit = Callable[[Job], Any]


@dataclass(frozen=True)
class Shifted(AsTrees):
    """A library's regressor of numbers less ``by``, which is added to what it
    predicts.
    """

    model: Any
    by: float

    def questions(self) -> ReadTrees:
        """Return the trees of the library's model."""
        return read_questions(self.model)

    def predict(self, rows: Any) -> Floats:
        """Return predicted numbers ``(rows,)``."""
        return np.asarray(self.model.predict(rows), dtype=np.float64) + self.by


@dataclass(frozen=True)
class Baseline:
    """A model to compare with: a function of a ``Job`` that returns a fitted model, and
    the package it needs.

    ``estimator``: where the package has it, see ``estimator_class``. ``costly`` ones
    take minutes instead of seconds, and are fitted only when they are named. ``extra``
    is empty where permgrad itself needs the package. ``file`` is the ending of the file
    that a fitted one is saved in (npz: of its trees, with other arrays), empty where it
    is only for comparison. ``fitted_label`` names it by the task, and whether that is
    one of counts, where the tasks have different models. ``numeric``: how numbers are
    encoded for it. None: as for a network.
    """

    name: str
    label: str
    package: str
    fit: Fit
    estimator: str = ""
    extra: str = ""
    costly: bool = False
    file: str = ""
    fitted_label: Callable[..., str] | None = None
    numeric: str | None = None

    def label_for(self, task: str, *, counts: bool = False) -> str:
        """Return what the model is called that is fitted in a task."""
        if self.fitted_label is None:
            return self.label
        return self.fitted_label(task, counts=counts)

    def available(self) -> bool:
        """Return whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None

    def train(self, job: Job) -> Any:
        """Return its fitted model.

        A mean that is far larger than the spread is taken off numbers before.

        Libraries that compute in float32 would round the differences between rows away.
        """
        job = replace(job, estimator=self.estimator)
        y = job.train.y
        held_out = job.validation
        if job.classify or job.counts or not 0 < np.std(y) < np.abs(np.mean(y)) / _FAR:
            return self.fit(job)
        target_mean = float(np.mean(y))
        held_out = held_out and replace(held_out, y=held_out.y - target_mean)
        model = self.fit(
            replace(
                job, train=replace(job.train, y=y - target_mean), validation=held_out
            )
        )
        if isinstance(model, BoostedTrees):
            return model.shifted(target_mean)
        return Shifted(model, target_mean)


baselines: Registry[Baseline] = Registry("baseline")


def check_available(names: Iterable[str]) -> None:
    """Raise an error if a baseline is unknown or its library is not installed.

    The message names the extra.
    """
    if absent := [
        baseline for baseline in map(baselines.get, names) if not baseline.available()
    ]:
        packages = ", ".join(dict.fromkeys(baseline.package for baseline in absent))
        problem = (
            f"{packages} is not installed (needed for "
            f"{', '.join(repr(baseline.name) for baseline in absent)})"
        )
        extras = ",".join(
            dict.fromkeys(baseline.extra for baseline in absent if baseline.extra)
        )
        raise EnvironmentProblem(
            problem, hint=f"Run pip install 'permgrad[{extras}]'.", code="PG060"
        )


def check_savable(name: str) -> None:
    """Refuse a baseline that is not installed, or whose file needs a package that is
    missing.
    """
    check_available([name])
    if baselines.get(name).file == "skops":
        check_skops(repr(name))


def check_skops(what: str) -> None:
    """Refuse what needs skops where that is not installed."""
    if importlib.util.find_spec("skops") is None:
        problem = f"skops is not installed (needed to save {what})"
        raise EnvironmentProblem(
            problem, hint="Run pip install 'permgrad[models]'.", code="PG060"
        )


def why_absent(name: str) -> str | None:
    """Return why a baseline cannot be fitted here and how to install it, or None if it
    can.
    """
    baseline = baselines.get(name)
    if baseline.available():
        return None
    return (
        f"{baseline.package} is not installed: pip install 'permgrad[{baseline.extra}]'"
    )


# ---- one -----------------------------------------------------------------------------
@dataclass(frozen=True)
class FittedBaseline(AsTrees):
    """A fitted baseline that predicts the classes of the task (none for regression).

    ``seen`` holds the positions of the classes in the training rows.
    ``processor_seconds`` covers all threads.
    """

    name: str
    model: Any
    seconds: float
    classes: Array
    seen: Array
    processor_seconds: float
    counts: bool = False

    def questions(self) -> ReadTrees:
        """Return the trees of the library's model, of rows as it reads them."""
        return read_questions(self.model)

    def guess(self, rows: Array | BaselineRows) -> Floats:
        """Return predicted values ``(rows,)``, or probabilities ``(rows, classes)``, 0
        for classes not trained on.
        """
        if isinstance(rows, BaselineRows):
            readable = rows.encoded
        else:
            readable = rows
        if len(self.classes) == 0:
            numbers = np.asarray(self.model.predict(readable), dtype=np.float64)
            if self.counts:
                # Leaves without an event say 0, which no deviance can judge.
                return np.maximum(numbers, LEAST_MEAN)
            return numbers
        table = np.zeros((len(readable), len(self.classes)))
        table[:, self.seen] = self.model.predict_proba(readable)
        return table

    def evaluate(
        self, rows: BaselineRows, positive: Any = None, guess: Floats | None = None
    ) -> dict[str, Any]:
        """Compute the metrics on some rows.

        ``guess``: the predictions, where they are known.
        """
        if len(self.classes):
            task = CLASSIFICATION
        else:
            task = REGRESSION
        options: dict[str, Any] = {
            "classes": list(self.classes),
            "positive": positive,
            "weights": rows.weights,
        }
        if self.counts:
            options |= {"counts": True}
        return scores_of(
            task, rows.y, self.guess(rows) if guess is None else guess, **options
        )


def fit_baseline(
    name: str,
    task: str,
    train: BaselineRows,
    validation: BaselineRows | None = None,
    *,
    classes: Sequence[Any] | Array = (),
    seed: int = 0,
    threads: int = 1,
    options: Mapping[str, Any] = MappingProxyType({}),
    counts: bool = False,
) -> FittedBaseline:
    """Fit one baseline and time it.

    Args:
        name: Of the baseline.
        task: What is predicted.
        train: The training rows.
        validation: By these boosting and networks stop early. Without them the number
            of rounds is fixed, and TabM and RealMLP split off their own.
        classes: All classes in the order of the metrics. Empty: those of the training
            rows.
        seed: Of the fit.
        threads: How many it may use.
        options: Replace arguments of the library's model.
        counts: Whether y is counts or rates.
    """
    check_available([name])
    baseline = baselines.get(name)
    labels = np.asarray([])
    class_codes = np.asarray([], dtype=np.int64)
    task = tasks.get(task)
    if task.numeric:
        train = replace(train, y=np.asarray(train.y, dtype=np.float64))
        validation = validation and replace(
            validation, y=np.asarray(validation.y, dtype=np.float64)
        )
    else:
        if len(classes):
            labels = np.asarray(classes)
        else:
            labels = np.unique(np.asarray(train.y))
        class_codes, train, validation = _numbered(labels, train, validation)
    fit_job = Job(
        task,
        train,
        validation,
        len(class_codes),
        derive_seed(seed, "baseline", name) % 2**31,
        threads,
        options,
        counts,
    )
    started = time.perf_counter()
    worked = time.process_time()
    # Boosting libraries change the process's OpenMP thread count. The limit restores
    # the caller's afterwards.
    with threadpool_limits(limits=threads):
        model = baseline.train(fit_job)
    seconds = time.perf_counter() - started
    processor_seconds = time.process_time() - worked
    return FittedBaseline(
        name, model, seconds, labels, class_codes, processor_seconds, counts
    )


def fit_estimator(
    estimator: Any,
    name: str,
    table: Any,
    y: Array,
    weights: Any = None,
    *,
    classes: Any = (),
    seed: int = 0,
) -> FittedBaseline:
    """Fit a copy of an estimator of the user's on raw columns, and time it.

    Its seeds that are None get ``seed``.

    Raises:
        InputError: The estimator fails on the rows, or is a classifier without
            probabilities.
    """
    model = (
        clone(estimator) if hasattr(estimator, "get_params") else deepcopy(estimator)
    )
    if hasattr(model, "get_params"):
        seeds = [
            parameter_name
            for parameter_name, value in model.get_params().items()
            if parameter_name.endswith("random_state") and value is None
        ]
        model.set_params(**dict.fromkeys(seeds, seed))
    labels = np.asarray(classes)
    if len(labels) and not hasattr(model, "predict_proba"):
        problem_hint = "Wrap it, as in CalibratedClassifierCV(model) of scikit-learn."
        raise InputError(
            f"{name} has no predict_proba, which a classifier needs here",
            hint=problem_hint,
            code="PG031",
        )
    step_prefix = f"{model.steps[-1][0]}__" if hasattr(model, "steps") else ""
    weighed = {} if weights is None else {f"{step_prefix}sample_weight": weights}
    started = time.perf_counter()
    worked = time.process_time()

    def said(error: Exception) -> InputError:
        error_advice = (
            "It gets the columns as they are read: put what encodes texts "
            "and missing cells into a pipeline."
        )
        if "sample_weight" in str(error):
            error_advice = "Leave the weights out, or choose another model."
        return InputError(
            f"{name} cannot be fitted: {error_in_words(error)}",
            hint=error_advice,
            code="PG032",
        )

    with turned(said):
        model.fit(table, y, **weighed)
    seconds = time.perf_counter() - started
    worked = time.process_time() - worked
    class_codes = np.zeros(0, dtype=np.int64)
    if len(labels):
        learned_classes = np.asarray(
            getattr(model, "classes_", np.unique(y))
        )  # a model of a file may know others
        labels = np.union1d(labels, learned_classes)
        class_codes = np.flatnonzero(np.isin(labels, learned_classes))
    return FittedBaseline(name, model, seconds, labels, class_codes, worked)


def _numbered(
    labels: Array, train: BaselineRows, validation: BaselineRows | None
) -> tuple[Array, BaselineRows, BaselineRows | None]:
    """Number the classes of the training rows 0 … n − 1 without gaps, as XGBoost
    requires.
    """
    index = pd.Index(labels)
    class_positions = index.get_indexer(pd.Index(np.asarray(train.y)))
    if np.any(class_positions < 0):
        problem = (
            "classes lack a class of the training rows, "
            f"{shown(np.asarray(train.y)[class_positions < 0][0])}"
        )
        raise InputError(problem, hint="Name every class.", code="PG015")
    class_codes, numbers = np.unique(class_positions, return_inverse=True)
    if len(class_codes) < 2:
        raise InputError(
            "The training rows have only one class",
            "Pass rows of at least two classes.",
            "PG015",
        )
    if validation is not None:
        # Rows of a class without training rows cannot be used for early stopping.
        class_numbers = pd.Index(class_codes).get_indexer(
            pd.Index(index.get_indexer(pd.Index(np.asarray(validation.y))))
        )
        held_out_rows = replace(validation, y=class_numbers).take(class_numbers >= 0)
        if len(held_out_rows.y):
            validation = held_out_rows
        else:
            validation = None
    return class_codes, replace(train, y=numbers), validation


# ---- many ----------------------------------------------------------------------------
def run_baselines(
    task: str,
    rows_by_part: Mapping[str, BaselineRows],
    *,
    classes: Sequence[Any] | Array = (),
    names: Iterable[str] | None = None,
    seed: int = 0,
    threads: int = 1,
    positive: Any = None,
    guesses: dict[str, Array] | None = None,
    counts: bool = False,
) -> dict[str, dict[str, Any]]:
    """Fit and score baselines on ``train``, ``validation`` (if any) and ``test``:
    ``baselines`` of ``metrics.json``.

    Without names, all quick ones that are installed are fitted, which leaves out TabM
    and RealMLP. ``guesses`` is filled with the predictions for the test rows.
    """
    train = rows_by_part["train"]
    validation = rows_by_part.get("validation")
    test_rows = rows_by_part["test"]
    quick = []
    for baseline in baselines.values():
        if not baseline.costly and baseline.available():
            quick.append(baseline.name)
    if names is None:
        baseline_names = quick
    else:
        baseline_names = list(names)
    check_available(baseline_names)
    if not len(classes) and tasks.get(task).has_classes:
        classes = np.unique(np.asarray(train.y))
    options: dict[str, Any] = {
        "classes": classes,
        "seed": seed,
        "threads": threads,
        "counts": counts,
    }
    result: dict[str, dict[str, Any]] = {}
    with Progress(len(baseline_names), "baselines", lines=False) as progress_bar:
        for baseline_name in baseline_names:
            progress_bar.note(
                baselines.get(baseline_name).label_for(task, counts=counts)
            )
            fitted = fit_baseline(baseline_name, task, train, validation, **options)
            guess = fitted.guess(test_rows)
            if guesses is not None:
                guesses[baseline_name] = guess
            result[baseline_name] = {
                **fitted.evaluate(test_rows, positive, guess),
                "validation": None
                if validation is None
                else fitted.evaluate(validation, positive),
                **dict(
                    zip(
                        FIT_TIMES,
                        (fitted.seconds, fitted.processor_seconds),
                        strict=True,
                    )
                ),
            }
            progress_bar.advance()
    return result


def estimate_seconds(
    task: str,
    train: BaselineRows,
    names: Sequence[str],
    *,
    seed: int = 0,
    threads: int = 1,
) -> float:
    """Return an estimate of the seconds that baselines take, from fits on a part of the
    rows and on half of it.

    Part of the time does not grow with the rows, such as that of starting a tree. Trees
    of few rows are also smaller. The estimate is half way between the growth seen and
    growth in proportion to the rows.

    Args:
        task: What the baselines predict.
        train: The training rows.
        names: Of the baselines.
        seed: Of the rows drawn and of the fits.
        threads: How many each fit may use.
    """
    count = len(train.y)
    sample_size = min(
        count, _MOST_MEASURED, max(_FEWEST_MEASURED, round(_MEASURED_PART * count))
    )
    drawn = generator(seed, "baseline times").permutation(count)[:sample_size]
    # A fit needs two classes.
    if tasks.get(task).stratified:
        firsts = np.unique(np.asarray(train.y), return_index=True)[1]
    else:
        firsts = drawn[:0]
    samples = []
    for row_indices in (drawn[: sample_size // 2], drawn):
        samples.append(train.take(np.union1d(row_indices, firsts)))
    for baseline_name in names:
        import_module(
            baselines.get(baseline_name).package
        )  # a library is loaded once, however many rows there are
    with keeping_warnings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half_seconds, full_seconds = (
            np.array(
                [
                    fit_baseline(
                        fitted_name, task, sample_rows, seed=seed, threads=threads
                    ).seconds
                    for fitted_name in names
                ]
            )
            for sample_rows in samples
        )
    half_rows, sampled_rows = (len(sample_rows.y) for sample_rows in samples)
    by_row = (
        np.clip(
            (full_seconds - half_seconds) / max(sampled_rows - half_rows, 1),
            0.0,
            full_seconds / sampled_rows,
        )
        + full_seconds / sampled_rows
    ) / 2
    return float((full_seconds + by_row * (count - sampled_rows)).sum())


# ---- settings ------------------------------------------------------------------------
#: Arguments that follow from the run, and those that end the training early.
_TAKEN = (
    "n_jobs",
    "thread_count",
    "random_state",
    "random_seed",
    "class_weight",
    "estimator",
    "early_stopping",
    "early_stopping_rounds",
    "od_type",
    "od_wait",
    "od_pval",
    "callbacks",
    "objective",
    "loss_function",
    "loss",
    "eval_metric",
    "use_best_model",
    "verbose",
    "verbosity",
    "silent",
    "logging_level",
    "warm_start",
    "device",
    "allow_writing_files",
    "train_dir",
)
#: What LightGBM knows beside the arguments of its estimators.
_MORE = {
    "lightgbm": (
        "max_bin",
        "min_gain_to_split",
        "path_smooth",
        "extra_trees",
        "feature_fraction_bynode",
        "cat_smooth",
        "cat_l2",
        "max_cat_threshold",
        "min_data_per_group",
        "max_delta_step",
    )
}


def settings_names(name: str, task: str = CLASSIFICATION) -> list[str]:
    """Return the names of the settings that a model of another library has, without
    those that a run decides.
    """
    estimator_type = estimator_class(baselines.get(name).estimator, task)
    if name != "catboost":
        parameters = estimator_type().get_params()
    else:
        parameters = inspect.signature(estimator_type).parameters
    return [
        parameter_name
        for parameter_name in (*parameters, *_MORE.get(name, ()))
        if parameter_name not in _TAKEN
    ]


def check_settings(content: Any, name: str, source: str) -> dict[str, Any]:
    """Return the settings in what a file holds, for the model of this name.

    Args:
        content: What the file holds.
        name: The model's name.
        source: What messages call the file.

    Raises:
        InputError: It is for another model, or names what is no setting of this one.
    """
    _check_form(content, name, source)
    settings = content["settings"]
    check_available([name])
    names = settings_names(name)
    faults = []
    for setting_name in settings:
        if setting_name not in names:
            faults.append(
                two_sentences(
                    f"{setting_name!r} is no setting", did_you_mean(setting_name, names)
                )
            )
    if faults:
        raise InputError(
            f"{source} does not suit {name}: {' '.join(faults)}", code="PG001"
        )
    return dict(settings)


@refusing
def _check_form(content: Any, name: str, source: str) -> Iterator[Fault]:
    shape = '{"model": NAME, "settings": {NAME: value, …}}'
    if not baselines.get(name).estimator or not baselines.get(name).file:
        yield f"{source} has settings, and {name} takes none", "Leave it out.", "PG006"
    if not isinstance(content, Mapping) or set(content) != {"model", "settings"}:
        yield f"{source} does not hold settings of {name}", f"It is {shape}.", "PG011"
    if content["model"] != name or not isinstance(content["settings"], Mapping):
        problem = (
            f"{source} has settings of {content['model']}, and the model is {name}"
        )
        yield problem, f"It is {shape}.", "PG011"


def try_settings(settings: Mapping[str, Any], name: str, source: str) -> None:
    """Refuse settings with which the library cannot fit a few made rows.

    Args:
        settings: By their names.
        name: The model's name.
        source: What messages call the file.

    Raises:
        InputError: The library refuses them.
    """
    random_features = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    few_rows = BaselineRows(
        random_features, (random_features[:, 0] > 0).astype(np.int64)
    )
    try:
        fit_baseline(name, CLASSIFICATION, few_rows, few_rows, options=settings)
    except Exception as error:  # whatever a library raises
        problem = (
            f"{baselines.get(name).label} refuses the settings in {source}: "
            f"{error_in_words(error)}"
        )
        raise InputError(problem, hint="Correct the file.", code="PG001") from error


def read_settings(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Return the settings in a file such as ``{"model": "lightgbm", "settings":
    {"num_leaves": 40}}``.

    Args:
        path: Of a JSON file.
        name: The model's name.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    return check_settings(read_user_json(path, "the file of settings"), name, str(path))
