"""Functions with known feature importances, on which attribution methods are tested.

Each states four truths (``ESTIMANDS``), computed from the true function: the *total
permutation effect*, which the ``permgrad`` method estimates,

    effect_j = E[(f(x with x_j redrawn from its own distribution, apart from the rest) −
    f(x))²]

(with independent features twice Sobol's total index times the variance, Jansen 1999),
the *SAGE value*, the *mean absolute Shapley value* and the *conditional effect*. They
answer different questions. A method is wrong only about its own.

A new function is a class with ``@truths.register(name)`` in one of the modules imported
here.
"""

from permgrad_benchmark.truth import dependent, independent
from permgrad_benchmark.truth.base import ESTIMANDS, Truth, make_truth, truths

__all__ = ["ESTIMANDS", "Truth", "dependent", "independent", "make_truth", "truths"]
