"""Common strong models on the same rows, the same split and the same metrics, all untuned.

Forests, bagging, boosting (LightGBM and XGBoost with the extra ``permgrad[boost]``), a linear model and a plain
network. TabM and RealMLP use ``pytabkit`` (extra ``permgrad[tabular-peers]``), take minutes, and are fitted only when
they are named. A new baseline is one function and one line at the end of ``models.py``.
"""

from permgrad.evaluation.baselines.fitting import (
    BLEND,
    FIT_TIMES,
    ROUNDS,
    Baseline,
    BaselineRows,
    FittedBaseline,
    baselines,
    boosted_model,
    check_available,
    check_savable,
    check_skops,
    estimate_seconds,
    fit_baseline,
    run_baselines,
    why_absent,
)
from permgrad.evaluation.baselines.models import natural_table

__all__ = [
    "BLEND",
    "FIT_TIMES",
    "ROUNDS",
    "Baseline",
    "BaselineRows",
    "FittedBaseline",
    "baselines",
    "boosted_model",
    "check_available",
    "check_savable",
    "check_skops",
    "estimate_seconds",
    "fit_baseline",
    "natural_table",
    "run_baselines",
    "why_absent",
]
