"""Do residuals still depend on the other columns? Then a residual of another row does not fit."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from permgrad.attribution.replace.smooths import TRIPLES, WAVES, Columns, clearness

Floats = npt.NDArray[np.float64]

#: Chance of a warning about any column where all models are right.
_LEVEL = 0.01


def still_depend(signals: Floats, columns: Columns, known: list[int], rows: npt.NDArray[np.int64]) -> bool:
    """Return whether any signal follows a bounded function of the known columns more than chance does.

    Looked at are cosines of the ranks in each column, products of those of two columns, and for few columns of three.
    Each sum of products is divided by its standard error; Bonferroni's bound is over all of them and the columns.

    Args:
        signals: of mean 0 given the known columns, if the model is right ``(rows, signals)``.
        columns: the background.
        known: columns that the model predicts from.
        rows: numbers of the background rows used.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(500, 2))
        >>> both = Columns(x)
        >>> rows = np.arange(500)
        >>> still_depend(x[:, [1]], both, [0], rows), still_depend(x[:, [0]] ** 2 - 1, both, [0], rows)
        (False, True)
    """
    waves = [own[rows] for own in map(columns.waves, known) if own is not None]
    if not waves:
        return False
    waves = [own - own.mean(axis=0) for own in waves]
    signals = signals - signals.mean(axis=0)
    largest, tests = 0.0, 0
    together = np.concatenate(waves, axis=1)
    factors = [(own, together[:, (at + 1) * WAVES :]) for at, own in enumerate(waves[:-1])]
    factors.append((np.ones((len(rows), 1)), together))
    if len(waves) <= TRIPLES:
        slowest = together[:, ::WAVES]
        factors += [
            (slowest[:, [one]] * slowest[:, [two]], slowest[:, two + 1 :])
            for one, two in combinations(range(len(waves) - 1), 2)
        ]
    for signal in signals.T:
        for one, other in factors:
            clear = clearness(one * signal[:, None], other)
            largest, tests = max(largest, float(clear.max())), tests + clear.size
    from scipy import stats

    return bool(largest > stats.norm.isf(_LEVEL / (2 * tests * columns.x.shape[1])))
