"""permgrad's own methods as contestants: every entry of the registry
``permgrad.attribution.methods`` takes part.

A method not named here enters in its defaults and without an estimand, so that a new
one is in every table at once.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from permgrad import methods
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import tuned
from permgrad.base.arrays import Floats
from permgrad_benchmark.contestants import Contestant, Scores, enrol
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.suite import Entry, enrol_methods, timed_explanation
from permgrad_benchmark.suites.tabular.case import TabularCase

#: Shapley values at a moderate price: orders instead of all coalitions.
SAMPLED = tuned(
    methods.Shapley(max_permutations=40, tolerance=0.02), exact=0, min_permutations=20
)


def _effects(name: str, conditional: Any) -> tuple[Entry, Entry]:
    """A method that measures effects on the loss, with marginal and with conditional
    draws.
    """
    return (
        Entry(
            name,
            name,
            "total_effect",
            "all",
            lambda case: {"n_repeats": case.sizes.repeats},
        ),
        Entry(
            f"{name}:conditional",
            f"{name}, conditional",
            "conditional_effect",
            "all",
            lambda case: {"n_repeats": case.sizes.repeats, "method": conditional},
        ),
    )


#: The ways in which methods with an estimand, or with a price, are called. The rest is
#: called in its defaults.
ENTRIES: dict[str, tuple[Entry, ...]] = {
    "permgrad": _effects("permgrad", methods.PermGrad(sampling="conditional")),
    "permutation": _effects("permutation", methods.Permutation(sampling="conditional")),
    "shapley": (
        Entry(
            "shapley",
            "Shapley values",
            "shapley",
            "few",
            lambda case: {
                "background": case.X_train.iloc[: case.sizes.references],
                "method": SAMPLED,
            },
            note="of the output; mean absolute value over the rows",
        ),
        Entry(
            "shapley:loss",
            "Shapley values of the loss",
            "sage",
            "some",
            lambda case: {
                "scope": "global",
                "n_repeats": 2,
                "method": tuned(
                    methods.Shapley(references=case.sizes.references), exact=0
                ),
            },
            note="SAGE's game, orders in pairs",
        ),
    ),
    "permgrad_paper": (Entry("permgrad_paper", "permgrad as published", ANY, "all"),),
    "ablation": (
        Entry("ablation", "ablation", ANY, "all", note="replaces by a fixed value"),
    ),
    "lime": (Entry("lime", "LIME", ANY, "few"),),
    "aggregate": (
        Entry(
            "aggregate",
            "mean of normalised methods",
            ANY,
            "few",
            lambda case: {
                "background": case.X_train.iloc[: case.sizes.references],
                "method": methods.Aggregate(
                    members=("gradient", "permutation", "lime", SAMPLED)
                ),
            },
            note="few rows and few background rows for all its members, because of the "
            "Shapley values among them",
        ),
    ),
}


def score(case: TabularCase, method: str, entry: Entry) -> Scores:
    """Call a method and bring its answer to one number per feature.

    A local answer is summed up as the mean absolute value over rows, of two classes in
    log-odds.
    """
    count = case.sizes.rows(entry.rows)
    X, y = case.X.iloc[:count], case.y[:count]
    target = y.astype(np.int64) if case.classify else y
    before = case.meter.rows
    arguments: dict[str, Any] = {
        "method": method,
        "scale": "logit",
        "random_state": case.seed,
        **entry.options(case),
    }
    explanation, cost = timed_explanation(case.model, X, target, **arguments)
    if cost["model_rows"] is None and case.meter.rows > before:
        cost["model_rows"] = case.meter.rows - before
    parts = (
        _local(explanation) if explanation.scope == "local" else _global(explanation)
    )
    order = [explanation.names.index(name) for name in case.names]
    placed: dict[str, Any] = {name: array[order] for name, array in parts.items()}
    return Scores(**placed, **cost)


def _local(explanation: Explanation) -> dict[str, Floats]:
    sizes = np.abs(np.nan_to_num(explanation.values)).mean(axis=2)
    mean = sizes.mean(axis=0)
    if len(sizes) < 2:
        return {"values": mean}
    margin = 1.96 * sizes.std(axis=0, ddof=1) / np.sqrt(len(sizes))
    return {"values": mean, "low": mean - margin, "high": mean + margin}


def _global(explanation: Explanation) -> dict[str, Floats]:
    parts = {"values": np.nan_to_num(explanation.values[:, 0])}
    for name, array in (
        ("low", explanation.low),
        ("high", explanation.high),
        ("p_values", explanation.p_values),
    ):
        if array is not None and np.isfinite(array[:, 0]).any():
            parts[name] = array[:, 0]
    return parts


enrol_methods("tabular", ENTRIES, score)


def random_scores(case: TabularCase) -> Scores:
    """Draw importances uniformly between 0 and 1."""
    return Scores(
        case.stream("random").random(len(case.names)), seconds=0.0, model_rows=0
    )


def lightgbm_gain(case: TabularCase) -> Scores:
    """Train LightGBM on the same rows and sum the gain of its splits by feature."""
    import lightgbm

    started = time.perf_counter()
    encoded = case.model.encode_rows(case.X_train).encoded
    kind = lightgbm.LGBMClassifier if case.classify else lightgbm.LGBMRegressor
    seed = case.integer_seed("lightgbm")
    trees = kind(
        n_estimators=200,
        importance_type="gain",
        random_state=seed,
        n_jobs=1,
        verbose=-1,
    )
    trees.fit(encoded, case.y_train)
    gain = np.asarray(trees.feature_importances_, dtype=np.float64)
    values = np.asarray(
        np.bincount(case.owner, gain, len(case.names)), dtype=np.float64
    )
    return Scores(values, seconds=time.perf_counter() - started, model_rows=0)


enrol("tabular", Contestant("random", "random ranking", ANY, "baseline", random_scores))
enrol(
    "tabular",
    Contestant(
        "lightgbm_gain",
        "LightGBM gain",
        ANY,
        "baseline",
        lightgbm_gain,
        needs=("lightgbm",),
        note="of trees trained on the same rows; it explains another model",
    ),
)
