"""Features that move with those that clearly matter, so that importance may be shared between them.

Numbers are compared by the correlation of their ranks (Spearman 1904); categories by Cramér's V, corrected for its bias
(Bergsma, Journal of the Korean Statistical Society 42, 2013); of a number and a category V is the root of the share of
the ranks' variance that lies between levels. 0: nothing to do with each other; 1: one gives the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.runs.run.reading import levels_of

Floats = npt.NDArray[np.float64]

FILE = "related.json"
#: From here on a feature is said to move with another. At 0.5 they have a quarter of their variance in common, and
#: regression coefficients begin to suffer (correlations of 0.5 to 0.7: Dormann et al., Ecography 36, 2013).
LEAST = 0.5
#: Features that are compared with all others, rows that are looked at, and columns that are no numbers, at most.
FEATURES, ROWS, CATEGORIES = 8, 2000, 500


def related_features(frame: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns that move with some of the features, for each feature the closest first."""
    if len(frame) > ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, ROWS).astype(np.int64)]
    bases = _bases(frame, names)
    chosen = [name for name in names if name in bases][:FEATURES]
    rows = len(frame)
    if rows < 4 or not chosen:
        return []
    from scipy.stats import t

    # What none of so many pairs of unrelated columns reaches, at 5 %.
    chance = float(t.isf(0.025 / max(len(chosen) * (len(bases) - 1), 1), rows - 2))
    least = max(LEAST, chance / math.sqrt(rows - 2 + chance**2))
    numbers = [name for name, basis in bases.items() if basis.shape[1] == 1]
    stacked = np.column_stack([bases[name] for name in numbers]) if numbers else np.zeros((rows, 0))
    pairs = []
    for name in chosen:
        strengths = dict(zip(numbers, _with_numbers(bases[name], stacked), strict=True))
        strengths |= {other: _corrected(bases[name], basis) for other, basis in bases.items() if basis.shape[1] > 1}
        related = [
            (other, strength) for other, strength in strengths.items() if other != name and abs(strength) >= least
        ]
        for other, strength in sorted(related, key=lambda pair: -abs(pair[1])):
            both = bases[name].shape[1] == bases[other].shape[1] == 1
            kind = "correlation" if both else "association"
            pairs.append({"feature": name, "other": other, "strength": float(strength), "kind": kind})
    return pairs


def _bases(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Floats]:
    """Return for each column an orthonormal basis of what it says ``(rows, 1 or levels)``: its ranks, or its levels."""
    bases: dict[str, Floats] = {}
    numeric = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    cells = frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan)
    places = pd.DataFrame(cells).rank()
    ranks: Floats = (places - places.mean()).fillna(0.0).to_numpy()
    sizes = np.sqrt((ranks**2).sum(axis=0))
    bases |= {name: (ranks[:, [at]] / sizes[at]) for at, name in enumerate(numeric) if sizes[at] > 0}
    categories = [name for name in frame.columns if name not in set(numeric)]
    wanted = [name for name in names if name in categories]
    for name in [*wanted, *(other for other in categories if other not in wanted)][:CATEGORIES]:
        levels = levels_of(frame[name])
        # A column of which each row has a value of its own says nothing that could come again.
        if levels is None or len(levels[1]) < 2 or frame[name].nunique() > len(frame) / 2:
            continue
        indicators = np.eye(len(levels[1]))[levels[0]]
        indicators = indicators[:, indicators.any(axis=0)]
        if indicators.shape[1] > 1:
            bases[name] = indicators / np.sqrt(indicators.sum(axis=0))
    return bases


def _with_numbers(basis: Floats, numbers: Floats) -> Floats:
    """Return how a column goes with each of many numbers ``(numbers,)``."""
    products: Floats = basis.T @ numbers
    chance = (basis.shape[1] - 1) / (len(basis) - 1)
    strengths: Floats = np.sqrt(np.clip((products**2).sum(axis=0) - chance, 0.0, 1.0))
    return products.ravel() if basis.shape[1] == 1 else strengths


def _corrected(first: Floats, second: Floats) -> float:
    """Return the corrected V of two columns, of which the second has levels."""
    rows, freedom = len(first), [max(basis.shape[1] - 1, 1) for basis in (first, second)]
    squared = float(((first.T @ second) ** 2).sum()) - (first.shape[1] > 1)
    smallest = min(count - count**2 / (rows - 1) for count in freedom) if first.shape[1] > 1 else 1.0
    return math.sqrt(min(max(squared - freedom[0] * freedom[1] / (rows - 1), 0.0) / max(smallest, 1e-9), 1.0))
