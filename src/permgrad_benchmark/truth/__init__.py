"""Functions with known feature importances, on which attribution methods are tested.

Each states four truths (``ESTIMANDS``), computed from the true function: the *total permutation effect*, which the
``permgrad`` method estimates,

    effect_j = E[(f(x with x_j redrawn from its own distribution, apart from the rest) − f(x))²]

(with independent features twice Sobol's total index times the variance, Jansen 1999), the *SAGE value*, the *mean
absolute Shapley value* and the *conditional effect*. They answer different questions. A method is wrong only about its
own.

A new function is a class with ``@truths.register(name)`` in one of the modules imported here.
"""

from permgrad_benchmark.truth.base import ESTIMANDS, Truth, make_truth, truths
from permgrad_benchmark.truth.dependent import (
    Categorical,
    CorrelatedFriedman,
    Duplicates,
    InteractionsCorrelated,
    LinearCorrelated,
)
from permgrad_benchmark.truth.independent import (
    Friedman1,
    GFunction,
    Interactions,
    Irrelevant40,
    Linear20,
    Logistic,
    Product,
    Xor,
    XorLike,
)
from permgrad_benchmark.truth.values import Known

__all__ = [
    "ESTIMANDS",
    "Categorical",
    "CorrelatedFriedman",
    "Duplicates",
    "Friedman1",
    "GFunction",
    "Interactions",
    "InteractionsCorrelated",
    "Irrelevant40",
    "Known",
    "Linear20",
    "LinearCorrelated",
    "Logistic",
    "Product",
    "Truth",
    "Xor",
    "XorLike",
    "make_truth",
    "truths",
]
