"""The attribution methods with their options, for ``method=``:
``pg.methods.Shapley(max_permutations=200)``.

``method="shapley"`` is ``pg.methods.Shapley()``. Each class describes its method and
its options.

Examples:
    >>> import numpy as np, permgrad as pg
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> method = pg.methods.Shapley(max_permutations=200)
    >>> method
    Shapley(max_permutations=200)
    >>> pg.explain(lambda rows: rows @ [2.0, 1.0, 0.0], X, method=method).values.shape
    (50, 3, 1)
"""

from __future__ import annotations

from permgrad.attribution.method import *  # noqa: F403 — their one list
from permgrad.attribution.method import __all__


def __dir__() -> list[str]:
    return __all__
