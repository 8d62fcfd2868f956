"""Forests, bagging, boosted trees, a linear model and networks, untuned. Boosting and networks stop early.

TabM (Gorishniy, Kotelnikov & Babenko 2025, arXiv 2410.24210) and RealMLP (Holzmüller, Grinsztajn & Steinwart 2024,
arXiv 2407.04491) are those of ``pytabkit``. Both choose their best epoch by accuracy. For ROC-AUC the library
recommends ``options={"val_metric_name": "cross_entropy"}``, and for RealMLP also ``"use_ls": False``.
"""

from __future__ import annotations

import inspect
import warnings
from functools import partial
from typing import Any

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.threads import warning_filters
from permgrad.evaluation.baselines import fitting
from permgrad.evaluation.baselines.boosted import BoostedTrees
from permgrad.evaluation.baselines.fitting import BLEND, PATIENCE, Baseline, Job


def _common(job: Job, **choices: Any) -> dict[str, Any]:
    """Return the arguments of every model here. The job's options replace the others."""
    return {"n_jobs": job.threads, "random_state": job.seed, **choices, **job.options}


def _objective(job: Job, name: str, argument: str = "objective") -> dict[str, Any]:
    """Return the argument by which a library minimises the Poisson loss, where the job is about counts."""
    return {argument: name} if job.counts else {}


def _ensemble(job: Job, **choices: Any) -> Any:
    return job.kind(**_common(job, **choices)).fit(job.train.encoded, job.train.y, sample_weight=job.train.weights)


def _random_forest(job: Job) -> Any:
    # A third of the columns per split is Breiman's choice for regression; scikit-learn's default is plain bagging.
    return _ensemble(job, n_estimators=300, **({} if job.classify else {"max_features": 1 / 3}))


def _as_trees(job: Job, model: Any) -> BoostedTrees:
    return BoostedTrees.of(model, job.train.encoded, classify=job.classify, counts=job.counts)


def _lightgbm(job: Job) -> BoostedTrees:
    from lightgbm import early_stopping

    choices = {"learning_rate": 0.1, "verbosity": -1, **_objective(job, "poisson")}
    model = job.kind(**_common(job, n_estimators=job.rounds, **choices))
    held: dict[str, Any] = {}
    if job.validation is not None:
        held = {"eval_set": [(job.validation.encoded, job.validation.y)]}
        if "eval_X" in inspect.signature(model.fit).parameters:  # LightGBM 4.7 renamed it and warns of the old name
            held = {"eval_X": job.validation.encoded, "eval_y": job.validation.y}
        held["callbacks"] = [early_stopping(PATIENCE, verbose=False)]
        held |= {} if job.validation.weights is None else {"eval_sample_weight": [job.validation.weights]}
    model.fit(job.train.encoded, job.train.y, job.train.weights, **held)
    return _as_trees(job, model)


def _xgboost(job: Job) -> BoostedTrees:
    stop = {"early_stopping_rounds": PATIENCE if job.validation else None}
    choices = {"learning_rate": 0.1, "max_depth": 6, "tree_method": "hist", "verbosity": 0}
    choices |= _objective(job, "count:poisson")
    model = job.kind(**_common(job, n_estimators=job.rounds, **choices, **stop))
    held: dict[str, Any] = {}
    if job.validation is not None:
        held = {"eval_set": [(job.validation.encoded, job.validation.y)], "verbose": False}
        held |= {} if job.validation.weights is None else {"sample_weight_eval_set": [job.validation.weights]}
    return _as_trees(job, model.fit(job.train.encoded, job.train.y, sample_weight=job.train.weights, **held))


def _catboost(job: Job) -> BoostedTrees:
    from catboost import Pool

    choices = {"iterations": job.rounds, "verbose": False, "allow_writing_files": False}
    choices |= _objective(job, "Poisson", "loss_function") | dict(job.options)
    model = job.kind(thread_count=job.threads, random_seed=job.seed, **choices)
    rows, stop = job.validation, PATIENCE if job.validation else None
    held = None if rows is None else Pool(rows.encoded, rows.y, weight=rows.weights)
    fitted = job.train.encoded, job.train.y
    weights = job.train.weights
    return _as_trees(job, model.fit(*fitted, sample_weight=weights, eval_set=held, early_stopping_rounds=stop))


def _histogram_boosting(job: Job) -> BoostedTrees:
    kind, rows, y, weights = job.kind, job.train.encoded, job.train.y, job.train.weights
    # XGBoost's default of 1: without it the loss of rare classes diverges, on Covertype's validation rows from 0.93 at
    # best, where 0.50 is reached with it.
    options = {"l2_regularization": 1.0, "random_state": job.seed, "early_stopping": False}
    options |= _objective(job, "poisson", "loss") | dict(job.options)
    # scikit-learn accepts validation rows since 1.7.
    if job.validation is None or "X_val" not in inspect.signature(kind.fit).parameters:
        choices = {"max_iter": fitting.ROUNDS_WITHOUT_VALIDATION, **options}
        return _as_trees(job, kind(**choices).fit(rows, y, weights))
    stop = {"max_iter": fitting.ROUNDS, "early_stopping": True, "n_iter_no_change": PATIENCE, **job.options}
    held = {"X_val": job.validation.encoded, "y_val": job.validation.y, "sample_weight_val": job.validation.weights}
    first = kind(**{**options, **stop}).fit(rows, y, weights, **held)
    # scikit-learn keeps the trees after the best round, unlike the other libraries.
    best = int(np.argmax(first.validation_score_))
    return _as_trees(job, first).first(max(best, 1))


#: Penalties of ridge regression that are tried, for columns of variance 1, and strengths of a logistic one.
_PENALTIES, _STRENGTHS = np.logspace(-6, 5, 34), np.logspace(-2, 2, 9)
#: Rows by which they are chosen at most, and rows of the rarest class at least: with fewer it is the library's own.
_CHOOSING_ROWS, _FEWEST_OF_A_CLASS, _FOLDS = 5000, 10, 5


def _linear(job: Job) -> Any:
    """Fit a linear model on columns of variance 1. Its penalty is chosen by cross-validation on the training rows."""
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler, rows, y, weights = StandardScaler(), job.train.encoded, job.train.y, job.train.weights
    scaled = scaler.fit_transform(rows, sample_weight=weights)
    if job.counts:  # shrunk as much as a ridge regression: 1 beside a sum over rows
        model: Any = PoissonRegressor(**{"alpha": 1 / len(y), "max_iter": 2000, "tol": 1e-6, **job.options})
    elif job.classify:
        # With many correlated columns lbfgs needs more than its default of 100 steps, but far fewer than these.
        strength = {} if "C" in job.options else {"C": _logistic_strength(job, scaled)}
        model = LogisticRegression(**{"max_iter": 2000, **strength, **job.options})
    else:
        penalty = {} if "alpha" in job.options else {"alpha": _ridge_penalty(job, scaled)}
        model = Ridge(**{**penalty, **job.options})
    model.fit(scaled, y, sample_weight=weights)
    return make_pipeline(scaler, model)


def _some(job: Job, scaled: Floats) -> tuple[Floats, Any, Any]:
    """Return rows that the penalty is chosen by, with their targets and weights."""
    chosen = np.sort(np.random.default_rng(job.seed).permutation(len(scaled))[:_CHOOSING_ROWS])
    weights = job.train.weights
    return scaled[chosen], np.asarray(job.train.y)[chosen], None if weights is None else np.asarray(weights)[chosen]


def _ridge_penalty(job: Job, scaled: Floats) -> float:
    """Return the penalty of the least error in rows left out one by one."""
    from sklearn.linear_model import RidgeCV

    rows, y, weights = _some(job, scaled)
    # As much beside the sum over all rows as beside that over some.
    return float(RidgeCV(_PENALTIES).fit(rows, y, sample_weight=weights).alpha_)


def _logistic_strength(job: Job, scaled: Floats) -> float:
    """Return the inverse penalty of the least log loss in rows left out, a fold at a time."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    rows, y, weights = _some(job, scaled)
    if np.bincount(y, minlength=job.n_classes).min() < _FEWEST_OF_A_CLASS:
        return 1.0
    given = np.ones(len(y)) if weights is None else weights
    losses = np.zeros(len(_STRENGTHS))
    for train, held in StratifiedKFold(_FOLDS, shuffle=True, random_state=job.seed).split(rows, y):
        model = LogisticRegression(max_iter=300, warm_start=True, tol=1e-3)
        for place, strength in enumerate(_STRENGTHS):
            with warning_filters, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a weak penalty need not converge to be told from others
                model.set_params(C=strength).fit(rows[train], y[train], sample_weight=given[train])
            told = model.predict_proba(rows[held])[np.arange(len(held)), y[held]]
            losses[place] += float((-np.log(np.maximum(told, 1e-12)) * given[held]).sum())
    return float(_STRENGTHS[int(np.argmin(losses))])


def _mlp(job: Job) -> Any:
    from permgrad.evaluation.baselines.networks import MLPOptions, PlainMLP
    from permgrad.models.devices import torch_threads
    from permgrad.models.train.guard import sheltered

    model = PlainMLP(job.n_classes if job.classify else 0, MLPOptions(**job.options))
    held = None if job.validation is None else (job.validation.encoded, job.validation.y)
    with sheltered(job.seed), torch_threads(job.threads):
        return model.fit(job.train.encoded, job.train.y, held)


def _peer(job: Job) -> Any:
    from permgrad.evaluation.baselines.networks import fit_peer

    return fit_peer(job)


def _blend(job: Job) -> Any:
    from permgrad.evaluation.baselines.networks import fit_blend  # it loads torch

    return fit_blend(job)


_PEER: dict[str, Any] = {"extra": "tabular-peers", "costly": True}
# The order of every table: trees first, as in the published comparison.
for _baseline in (
    Baseline(
        "random_forest", "random forest", "sklearn", _random_forest, "sklearn.ensemble:RandomForest", file="skops",
    ),
    Baseline(
        "extra_trees", "extra trees", "sklearn", partial(_ensemble, n_estimators=300),
        "sklearn.ensemble:ExtraTrees", file="skops",
    ),
    Baseline(
        "bagging", "bagging", "sklearn", partial(_ensemble, n_estimators=50), "sklearn.ensemble:Bagging", file="skops",
    ),
    Baseline("lightgbm", "LightGBM", "lightgbm", _lightgbm, "lightgbm:LGBM", extra="boost", file="npz"),
    Baseline("xgboost", "XGBoost", "xgboost", _xgboost, "xgboost:XGB", extra="boost", file="npz"),
    Baseline("catboost", "CatBoost", "catboost", _catboost, "catboost:CatBoost", extra="boost", file="npz"),
    Baseline(
        "histogram_boosting", "histogram boosting", "sklearn", _histogram_boosting,
        "sklearn.ensemble:HistGradientBoosting", file="npz",
    ),
    Baseline("linear", "logistic, ridge or Poisson regression", "sklearn", _linear, file="skops"),
    Baseline(BLEND, "blend of network and boosting", "torch", _blend, costly=True, file="network"),
    Baseline("mlp", "plain MLP", "torch", _mlp),
    Baseline("tabm", "TabM", "pytabkit", _peer, "pytabkit:TabM_D_", **_PEER),
    Baseline("realmlp", "RealMLP", "pytabkit", _peer, "pytabkit:RealMLP_TD_", **_PEER),
):  # fmt: skip
    fitting.baselines.register(_baseline.name)(_baseline)
