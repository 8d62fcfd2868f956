"""The usual strong models on the same rows, the same split and the same metrics, none of them tuned.

Forests, bagging, boosting (LightGBM and XGBoost with the extra ``permgrad[baselines]``), linear models, a plain
network; TabM and RealMLP through ``pytabkit`` (extra ``permgrad[tabular-peers]``), which take minutes and are fitted
only when they are named. Boosting and networks stop early on the validation rows. Where a library is missing,
``run_baselines`` says so in its place or raises, as asked. A new baseline is one function and one ``register``.
"""

# The order of registration is the order of every table: trees first, as in the published comparison.
# isort: off
from permgrad.evaluation.competitors import trees, linear, mlp, peers

# isort: on
from permgrad.evaluation.competitors.base import (
    PATIENCE,
    ROUNDS,
    ROUNDS_WITHOUT_VALIDATION,
    Baseline,
    FittedBaseline,
    Job,
    Part,
    baselines,
    register,
)
from permgrad.evaluation.competitors.fitting import (
    check_available,
    estimate_seconds,
    fit_baseline,
    run_baselines,
    why_absent,
)
from permgrad.evaluation.competitors.peers import natural_table

__all__ = [
    "PATIENCE",
    "ROUNDS",
    "ROUNDS_WITHOUT_VALIDATION",
    "Baseline",
    "FittedBaseline",
    "Job",
    "Part",
    "baselines",
    "check_available",
    "estimate_seconds",
    "fit_baseline",
    "linear",
    "mlp",
    "natural_table",
    "peers",
    "register",
    "run_baselines",
    "trees",
    "why_absent",
]
