"""What any method should beat: a random ranking, and the gain of boosted trees, which never saw the network."""

from __future__ import annotations

import time

import numpy as np

from permgrad_benchmark.contestants import Contestant, Scores, enrol
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.tabular.case import TabularCase


def random_scores(case: TabularCase) -> Scores:
    """Draw importances uniformly between 0 and 1."""
    return Scores(case.stream("random").random(len(case.names)), seconds=0.0, model_rows=0)


def lightgbm_gain(case: TabularCase) -> Scores:
    """Train LightGBM on the same rows and sum the gain of its splits by feature."""
    import lightgbm

    started = time.perf_counter()
    encoded = case.model.encode(case.X_train)
    kind = lightgbm.LGBMClassifier if case.classify else lightgbm.LGBMRegressor
    seed = case.integer_seed("lightgbm")
    trees = kind(n_estimators=200, importance_type="gain", random_state=seed, n_jobs=1, verbose=-1)
    trees.fit(encoded, case.y_train)
    gain = np.asarray(trees.feature_importances_, dtype=np.float64)
    values = np.asarray(np.bincount(case.owner, gain, len(case.names)), dtype=np.float64)
    return Scores(values, seconds=time.perf_counter() - started, model_rows=0)


enrol("tabular", Contestant("random", "random ranking", ANY, "baseline", random_scores))
enrol(
    "tabular",
    Contestant(
        "lightgbm_gain", "LightGBM gain", ANY, "baseline", lightgbm_gain, needs=("lightgbm",),
        note="of trees trained on the same rows; it explains another model",
    ),
)  # fmt: skip
