"""Common strong models on the same rows, the same split and the same metrics, all untuned.

Forests, bagging, boosting (LightGBM and XGBoost with the extra ``permgrad[boost]``), a linear model and a plain
network. TabM and RealMLP use ``pytabkit`` (extra ``permgrad[tabular-peers]``), take minutes, and are fitted only when
they are named. A new competitor is one function and one ``register``.
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
