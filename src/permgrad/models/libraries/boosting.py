"""Boosted trees of four libraries, which stop early by validation rows."""

from __future__ import annotations

import importlib.util
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from permgrad.models.libraries import job as job_module
from permgrad.models.libraries.boosted import BoostedTrees
from permgrad.models.libraries.job import PATIENCE, Job


def common(job: Job, **choices: Any) -> dict[str, Any]:
    """Return the arguments of every model. The job's options replace the others."""
    return {"n_jobs": job.threads, "random_state": job.seed, **choices, **job.options}


def _objective(job: Job, name: str, argument: str = "objective") -> dict[str, Any]:
    """Return the argument by which a library minimises the Poisson loss, where the job is about counts."""
    return {argument: name} if job.counts else {}


def _as_trees(job: Job, model: Any) -> BoostedTrees:
    return BoostedTrees.of(
        model, job.train.encoded, classify=job.classify, counts=job.counts
    )


class Deadline:
    """When boosting ends that has a limit of seconds: it has at least one round."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def __bool__(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self.seconds)

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


def _lightgbm_deadline(deadline: Deadline) -> Callable[[Any], None]:
    """Return what ends LightGBM's training in time, at the best round so far."""
    from lightgbm.callback import EarlyStopException

    best: list[tuple[float, int, Any]] = []

    def after_round(env: Any) -> None:
        results = env.evaluation_result_list
        loss = float(results[0][2]) if results else -float(env.iteration)
        if not best or loss < best[0][0]:
            best[:] = [(loss, env.iteration, results)]
        if deadline.is_over:
            raise EarlyStopException(best[0][1], best[0][2])

    return after_round


def _xgboost_deadline(deadline: Deadline) -> Any:
    """Return what ends XGBoost's training in time."""
    from xgboost.callback import TrainingCallback

    class Ends(TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 — XGBoost's names
            return deadline.is_over

    return Ends()


class _CatboostDeadline:
    """What ends CatBoost's training in time."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline

    def after_iteration(self, info: Any) -> bool:  # noqa: ARG002 — CatBoost's name
        """Return whether there is a next round."""
        return not self.deadline.is_over


def lightgbm(job: Job) -> BoostedTrees:
    """Fit LightGBM."""
    from lightgbm import early_stopping

    choices = {"learning_rate": 0.1, "verbosity": -1, **_objective(job, "poisson")}
    model = job.kind(**common(job, n_estimators=job.rounds, **choices))
    held: dict[str, Any] = {}
    if job.validation is not None:
        held = {"eval_set": [(job.validation.encoded, job.validation.y)]}
        if (
            "eval_X" in inspect.signature(model.fit).parameters
        ):  # LightGBM 4.7 renamed it and warns of the old name
            held = {"eval_X": job.validation.encoded, "eval_y": job.validation.y}
        held["callbacks"] = [early_stopping(PATIENCE, verbose=False)]
        held |= (
            {}
            if job.validation.weights is None
            else {"eval_sample_weight": [job.validation.weights]}
        )
    if deadline := Deadline(job.seconds):
        held["callbacks"] = [*held.get("callbacks", ()), _lightgbm_deadline(deadline)]
    model.fit(job.train.encoded, job.train.y, job.train.weights, **held)
    return _as_trees(job, model)


def xgboost(job: Job) -> BoostedTrees:
    """Fit XGBoost."""
    stop = {"early_stopping_rounds": PATIENCE if job.validation else None}
    choices = {
        "learning_rate": 0.1,
        "max_depth": 6,
        "tree_method": "hist",
        "verbosity": 0,
    }
    choices |= _objective(job, "count:poisson")
    ends = Deadline(job.seconds)
    stop |= {"callbacks": [_xgboost_deadline(ends)]} if ends else {}
    model = job.kind(**common(job, n_estimators=job.rounds, **choices, **stop))
    held: dict[str, Any] = {}
    if job.validation is not None:
        held = {
            "eval_set": [(job.validation.encoded, job.validation.y)],
            "verbose": False,
        }
        held |= (
            {}
            if job.validation.weights is None
            else {"sample_weight_eval_set": [job.validation.weights]}
        )
    return _as_trees(
        job,
        model.fit(
            job.train.encoded, job.train.y, sample_weight=job.train.weights, **held
        ),
    )


def catboost(job: Job) -> BoostedTrees:
    """Fit CatBoost."""
    from catboost import Pool

    choices = {"iterations": job.rounds, "verbose": False, "allow_writing_files": False}
    choices |= _objective(job, "Poisson", "loss_function") | dict(job.options)
    model = job.kind(thread_count=job.threads, random_seed=job.seed, **choices)
    rows, stop = job.validation, PATIENCE if job.validation else None
    held = None if rows is None else Pool(rows.encoded, rows.y, weight=rows.weights)
    fitted = job.train.encoded, job.train.y
    weights, options = job.train.weights, {"early_stopping_rounds": stop}
    if deadline := Deadline(job.seconds):
        options["callbacks"] = [_CatboostDeadline(deadline)]
    return _as_trees(
        job, model.fit(*fitted, sample_weight=weights, eval_set=held, **options)
    )


def histogram_boosting(job: Job) -> BoostedTrees:
    """Fit scikit-learn's histogram boosting."""
    kind, rows, y, weights = job.kind, job.train.encoded, job.train.y, job.train.weights
    # XGBoost's default of 1: without it the loss of rare classes diverges, on Covertype's validation rows from 0.93 at
    # best, where 0.50 is reached with it.
    options = {
        "l2_regularization": 1.0,
        "random_state": job.seed,
        "early_stopping": False,
    }
    options |= _objective(job, "poisson", "loss") | dict(job.options)
    most = _rounds_in_time(job, lambda: kind(max_iter=_TIMED, **options).fit(rows, y))
    # scikit-learn accepts validation rows since 1.7.
    if job.validation is None or "X_val" not in inspect.signature(kind.fit).parameters:
        usual = min(job_module.ROUNDS_WITHOUT_VALIDATION, most)
        choices = {"max_iter": usual, **options}
        return _as_trees(job, kind(**choices).fit(rows, y, weights))
    stop = {
        "max_iter": min(job_module.ROUNDS, most),
        "early_stopping": True,
        "n_iter_no_change": PATIENCE,
        **job.options,
    }
    held = {
        "X_val": job.validation.encoded,
        "y_val": job.validation.y,
        "sample_weight_val": job.validation.weights,
    }
    first = kind(**{**options, **stop}).fit(rows, y, weights, **held)
    # scikit-learn keeps the trees after the best round, unlike the other libraries.
    best = int(np.argmax(first.validation_score_))
    return _as_trees(job, first).first(max(best, 1))


#: Rounds whose seconds say how many fit into a limit, where a library cannot be stopped.
_TIMED = 3


def _rounds_in_time(job: Job, fit: Callable[[], Any]) -> int:
    """Return how many rounds there is time for, by a fit of ``_TIMED`` ones."""
    if math.isinf(job.seconds):
        return job_module.ROUNDS
    started = time.monotonic()
    fit()
    each = (time.monotonic() - started) / _TIMED
    return int(max(_TIMED, job.seconds / each - _TIMED))


@dataclass(frozen=True)
class Library:
    """A library of boosted trees: its package, how it is fitted, and its class of estimators."""

    name: str
    label: str
    package: str
    fit: Callable[[Job], BoostedTrees]
    estimator: str

    def available(self) -> bool:
        """Return whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None

    def train(self, job: Job) -> BoostedTrees:
        """Return its fitted trees."""
        return self.fit(replace(job, estimator=self.estimator))


#: The best ones first.
LIBRARIES = (
    Library("catboost", "CatBoost", "catboost", catboost, "catboost:CatBoost"),
    Library("lightgbm", "LightGBM", "lightgbm", lightgbm, "lightgbm:LGBM"),
    Library("xgboost", "XGBoost", "xgboost", xgboost, "xgboost:XGB"),
    Library(
        "histogram_boosting",
        "histogram boosting",
        "sklearn",
        histogram_boosting,
        "sklearn.ensemble:HistGradientBoosting",
    ),
)


def best_library() -> Library:
    """Return the first library that is installed. Scikit-learn's always is."""
    return next(one for one in LIBRARIES if one.available())
