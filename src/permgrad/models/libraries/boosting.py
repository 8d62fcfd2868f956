"""Boosted trees of four libraries, which stop early by validation rows."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from permgrad.models.libraries import job as job_module
from permgrad.models.libraries.boosted import BoostedTrees
from permgrad.models.libraries.job import Job


def common(job: Job, **choices: Any) -> dict[str, Any]:
    """Return the arguments of every model. The job's options replace the others."""
    return {"n_jobs": job.threads, "random_state": job.seed, **choices, **job.options}


def _objective(job: Job, name: str, argument: str = "objective") -> dict[str, Any]:
    """Return the argument by which a library minimises the Poisson loss, where the job
    is about counts.
    """
    if job.counts:
        return {argument: name}
    return {}


def _as_trees(job: Job, model: Any) -> BoostedTrees:
    return BoostedTrees.of(
        model, job.train.encoded, classify=job.classify, counts=job.counts
    )


def lightgbm(job: Job) -> BoostedTrees:
    """Fit LightGBM."""
    from lightgbm import early_stopping

    choices = {"learning_rate": 0.1, "verbosity": -1, **_objective(job, "poisson")}
    model = job.kind(**common(job, n_estimators=job.rounds, **choices))
    validation_options: dict[str, Any] = {}
    if job.validation is not None:
        validation_options = {"eval_set": [(job.validation.encoded, job.validation.y)]}
        if (
            "eval_X" in inspect.signature(model.fit).parameters
        ):  # LightGBM 4.7 renamed it and warns of the old name
            validation_options = {
                "eval_X": job.validation.encoded,
                "eval_y": job.validation.y,
            }
        validation_options["callbacks"] = [early_stopping(job.patience, verbose=False)]
        if job.validation.weights is not None:
            validation_options |= {"eval_sample_weight": [job.validation.weights]}
    model.fit(job.train.encoded, job.train.y, job.train.weights, **validation_options)
    return _as_trees(job, model)


def xgboost(job: Job) -> BoostedTrees:
    """Fit XGBoost."""
    stop_options = {"early_stopping_rounds": job.patience if job.validation else None}
    choices = {
        "learning_rate": 0.1,
        "max_depth": 6,
        "tree_method": "hist",
        "verbosity": 0,
    }
    choices |= _objective(job, "count:poisson")
    model = job.kind(**common(job, n_estimators=job.rounds, **choices, **stop_options))
    validation_options: dict[str, Any] = {}
    if job.validation is not None:
        validation_options = {
            "eval_set": [(job.validation.encoded, job.validation.y)],
            "verbose": False,
        }
        if job.validation.weights is not None:
            validation_options |= {"sample_weight_eval_set": [job.validation.weights]}
    return _as_trees(
        job,
        model.fit(
            job.train.encoded,
            job.train.y,
            sample_weight=job.train.weights,
            **validation_options,
        ),
    )


def catboost(job: Job) -> BoostedTrees:
    """Fit CatBoost."""
    from catboost import Pool

    choices = {"iterations": job.rounds, "verbose": False, "allow_writing_files": False}
    choices |= _objective(job, "Poisson", "loss_function") | dict(job.options)
    model = job.kind(thread_count=job.threads, random_seed=job.seed, **choices)
    validation_rows = job.validation
    if job.validation:
        stop_rounds = job.patience
    else:
        stop_rounds = None
    if validation_rows is None:
        validation_pool = None
    else:
        validation_pool = Pool(
            validation_rows.encoded, validation_rows.y, weight=validation_rows.weights
        )
    fitted = job.train.encoded, job.train.y
    weights = job.train.weights
    return _as_trees(
        job,
        model.fit(
            *fitted,
            sample_weight=weights,
            eval_set=validation_pool,
            early_stopping_rounds=stop_rounds,
        ),
    )


def histogram_boosting(job: Job) -> BoostedTrees:
    """Fit scikit-learn's histogram boosting."""
    estimator_kind = job.kind
    training_rows = job.train.encoded
    y = job.train.y
    weights = job.train.weights
    # XGBoost's default of 1: without it the loss of rare classes diverges, on
    # Covertype's validation rows from 0.93 at best, where 0.50 is reached with it.
    options = {
        "l2_regularization": 1.0,
        "random_state": job.seed,
        "early_stopping": False,
    }
    options |= _objective(job, "poisson", "loss") | dict(job.options)
    # scikit-learn accepts validation rows since 1.7.
    if (
        job.validation is None
        or "X_val" not in inspect.signature(estimator_kind.fit).parameters
    ):
        choices = {"max_iter": job_module.ROUNDS_WITHOUT_VALIDATION, **options}
        return _as_trees(job, estimator_kind(**choices).fit(training_rows, y, weights))
    stop_options = {
        "max_iter": job.rounds,
        "early_stopping": True,
        "n_iter_no_change": job.patience,
        **job.options,
    }
    validation_options = {
        "X_val": job.validation.encoded,
        "y_val": job.validation.y,
        "sample_weight_val": job.validation.weights,
    }
    first = estimator_kind(**{**options, **stop_options}).fit(
        training_rows, y, weights, **validation_options
    )
    # scikit-learn keeps the trees after the best round, unlike the other libraries.
    best_round = int(np.argmax(first.validation_score_))
    return _as_trees(job, first).first(max(best_round, 1))


@dataclass(frozen=True)
class Library:
    """A library of boosted trees: its package, how it is fitted, and its class of
    estimators.
    """

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
    return next(library for library in LIBRARIES if library.available())
