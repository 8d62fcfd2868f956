"""The usual strong models on the same rows, the same split and the same metrics, none of them tuned.

Forests, bagging, boosting (LightGBM and XGBoost with the extra ``permgrad[baselines]``), a linear model, a plain
network; TabM and RealMLP through ``pytabkit`` (extra ``permgrad[tabular-peers]``), which take minutes and are fitted
only when they are named. A new competitor is one function and one ``register``.
"""

# The order of registration is the order of every table: trees first, as in the published comparison.
from permgrad.evaluation.competitors.fitting import (
    ROUNDS,
    Competitor,
    CompetitorRows,
    FittedCompetitor,
    check_available,
    competitors,
    estimate_seconds,
    fit_competitor,
    run_competitors,
    why_absent,
)
from permgrad.evaluation.competitors.models import natural_table

__all__ = [
    "ROUNDS",
    "Competitor",
    "CompetitorRows",
    "FittedCompetitor",
    "check_available",
    "competitors",
    "estimate_seconds",
    "fit_competitor",
    "natural_table",
    "run_competitors",
    "why_absent",
]
