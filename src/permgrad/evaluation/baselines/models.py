"""Forests, bagging, boosted trees, a linear model and networks, untuned.

Boosting and networks stop early.

TabM (Gorishniy, Kotelnikov & Babenko 2025, arXiv 2410.24210) and RealMLP (Holzmüller,
Grinsztajn & Steinwart 2024, arXiv 2407.04491) are those of ``pytabkit``. Both choose
their best epoch by accuracy. For ROC-AUC the library recommends
``options={"val_metric_name": "cross_entropy"}``, and for RealMLP also ``"use_ls":
False``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from permgrad.evaluation.baselines import fitting
from permgrad.evaluation.baselines.fitting import Baseline
from permgrad.models.libraries.boosting import LIBRARIES, common
from permgrad.models.libraries.job import Job
from permgrad.models.libraries.linear import linear, linear_label


def _ensemble(job: Job, **choices: Any) -> Any:
    return job.kind(**common(job, **choices)).fit(
        job.train.encoded, job.train.y, sample_weight=job.train.weights
    )


def _random_forest(job: Job) -> Any:
    # A third of the columns per split is Breiman's choice for regression;
    # scikit-learn's default is plain bagging.
    return _ensemble(
        job, n_estimators=300, **({} if job.classify else {"max_features": 1 / 3})
    )


def _mlp(job: Job) -> Any:
    from permgrad.evaluation.baselines.network_baselines import MLPOptions, PlainMLP
    from permgrad.models.devices import torch_threads
    from permgrad.models.train.guard import sheltered

    model = PlainMLP(job.n_classes if job.classify else 0, MLPOptions(**job.options))
    if job.validation is None:
        held_out = None
    else:
        held_out = (job.validation.encoded, job.validation.y)
    with sheltered(job.seed), torch_threads(job.threads):
        return model.fit(job.train.encoded, job.train.y, held_out)


def _peer(job: Job) -> Any:
    from permgrad.evaluation.baselines.network_baselines import fit_peer

    return fit_peer(job)


def _boosted(name: str) -> Baseline:
    library = next(
        library_entry for library_entry in LIBRARIES if library_entry.name == name
    )
    if library.package == "sklearn":
        extra = ""
    else:
        extra = "boost"
    return Baseline(
        name,
        library.label,
        library.package,
        library.fit,
        library.estimator,
        extra=extra,
        file="npz",
    )


_PEER: dict[str, Any] = {"extra": "tabular-peers", "costly": True}
# The order of every table: trees first, as in the published comparison.
for _baseline in (
    Baseline(
        "random_forest",
        "random forest",
        "sklearn",
        _random_forest,
        "sklearn.ensemble:RandomForest",
        file="skops",
    ),
    Baseline(
        "extra_trees",
        "extra trees",
        "sklearn",
        partial(_ensemble, n_estimators=300),
        "sklearn.ensemble:ExtraTrees",
        file="skops",
    ),
    Baseline(
        "bagging",
        "bagging",
        "sklearn",
        partial(_ensemble, n_estimators=50),
        "sklearn.ensemble:Bagging",
        file="skops",
    ),
    *map(_boosted, ("lightgbm", "xgboost", "catboost", "histogram_boosting")),
    Baseline(
        "linear",
        "linear model",
        "sklearn",
        linear,
        file="skops",
        fitted_label=linear_label,
        # A line is of the numbers themselves, not of clipped ones.
        numeric="standard",
    ),
    Baseline("mlp", "plain MLP", "torch", _mlp),
    Baseline("tabm", "TabM", "pytabkit", _peer, "pytabkit:TabM_D_", **_PEER),
    Baseline("realmlp", "RealMLP", "pytabkit", _peer, "pytabkit:RealMLP_TD_", **_PEER),
):
    fitting.baselines.register(_baseline.name)(_baseline)
