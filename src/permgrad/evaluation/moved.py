"""Split the change of a mean loss between two samples of rows into what moved, with parts that add up to it.

The loss that the old rows would have with the new rows' columns, ``E_new[E_old[loss | x]]``, is estimated from the old
rows, weighted by how much more frequent rows like them are in the new sample, and from a regression of the old loss on
the columns, so that the errors of weights and regression cancel to first order (Cai, Namkoong & Yadlowsky 2023). Both
are fitted to other rows than those they are used for. What is beyond is the relation of target and columns. For the
share of each moved column, the same is estimated for every subset of them (the new distribution of the subset, and the
old one of all others given it), and shared by Shapley values (Zhang, Singh, Ghassemi & Joshi 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.frames import stacked
from permgrad.base.random import derive_seed, generator
from permgrad.evaluation.levels import cells_of

#: Most moved columns, or groups of them, that get a share of their own: each more doubles the time.
MOST_MOVED = 6
#: Rows of each sample that models are fitted to, at most, levels of a column with a weight of their own, and folds.
_FITTED, _LEVELS, _FOLDS = 6000, 10, 3
#: The largest standardised number, and the largest ratio of densities.
_FARTHEST, _LARGEST = 5.0, 50.0
#: Up to so many columns get products of every two.
_CROSSED = 12
#: Names of what is not a column.
OTHERS, RELATION = "other columns", "relation to the target"


def split_change(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    losses: tuple[Floats, Floats],
    moved: Mapping[str, Sequence[str]],
    units: tuple[Dependence | None, Dependence | None],
    seed: int,
    weights: Sequence[Floats | None] = (None, None),
) -> tuple[tuple[str, ...], tuple[Floats, Floats], float]:
    """Split the change of the mean loss from the old to the new rows.

    Args:
        tables: the columns of the old and of the new rows.
        losses: their losses ``(rows,)``.
        moved: names of moved columns or groups, up to ``MOST_MOVED``, and the columns of each.
        units: which rows depend on each other. They are in one fold.
        seed: seed of folds and fits.
        weights: weights of the rows of both, with a mean of 1, or None for both.

    Returns:
        The names of the parts: moved columns or groups, ``OTHERS`` and ``RELATION``. Scores of the old and of the new
        rows ``(parts, rows)``: a part is the sum of its (weighted) mean in both. And the overlap, the share of the old
        rows that says as much, evenly weighted, as all of them do with their weights.
    """
    both = stacked(tables)
    columns = {str(name): _numbers(both[name], str(name)) for name in both.columns}
    changed = [[columns[name] for name in members] for members in moved.values()]
    taken = {name for members in moved.values() for name in members}
    others = [values for name, values in columns.items() if name not in taken]
    folds = np.concatenate([_folds(len(loss), unit, seed) for loss, unit in zip(losses, units, strict=True)])
    count, full = len(changed), 2 ** len(changed) - 1
    chosen = [[changed[place] for place in range(count) if subset >> place & 1] for subset in range(1, full + 1)]
    subsets = [_crossed(list(chain.from_iterable(each))) for each in chosen]
    fitted = [*subsets]
    if others:
        subsets.append(np.hstack([*subsets[-1:], *others]))
        # The loss can depend on any two columns together. Weights by so many products would be noisy.
        every = [*chain.from_iterable(changed), *others]
        fitted.append(_crossed(every) if len(every) <= _CROSSED else subsets[-1])
    given = None if weights[0] is None else np.concatenate([each for each in weights if each is not None])
    pairs = zip(subsets, fitted, strict=True)
    scores = [_with_new(subset, smooth, losses[0], folds, given, seed) for subset, smooth in pairs]
    old = np.stack([losses[0], *(each[0] for each in scores)])
    new = np.stack([np.zeros(len(losses[1])), *(each[1] for each in scores)])
    shares = np.zeros((count + len(others[:1]) + 1, len(scores) + 1))
    shares[:count, : full + 1] = _shapley(count)
    if others:
        shares[count, [full, full + 1]] = -1, 1
    shares[-1, -1] = -1
    of_new = shares @ new
    of_new[-1] += losses[1]
    names = (*moved, *([OTHERS] if others else []), RELATION)
    return names, (shares @ old, of_new), scores[-1][2]


def _shapley(count: int) -> Floats:
    """Return how much each subset, a number with a bit for each player, counts for each of ``count`` players."""
    shares = np.zeros((count, 2**count))
    for subset in range(2**count):
        for place in range(count):
            inside = subset >> place & 1
            before = subset.bit_count() - inside
            weight = 1 / (count * math.comb(count - 1, before))
            shares[place, subset] = weight if inside else -weight
    return shares


def _numbers(series: pd.Series, name: str) -> Floats:
    """Return a column of both samples as numbers ``(rows, *)`` whose weighted sum can be the log ratio of densities."""
    cells = cells_of(series, name)
    if cells.names is not None or cells.values is None:
        often = np.unique(cells.codes, return_counts=True)
        levels = often[0][np.argsort(-often[1], kind="stable")][: min(_LEVELS, len(often[0]) - 1)]
        return (cells.codes[:, None] == levels).astype(np.float64)
    missing = np.isnan(cells.values)
    finite = cells.values[np.isfinite(cells.values)]
    finite = finite if len(finite) else np.zeros(1)  # infinite cells are as far as cells can be
    centred = (cells.values - finite.mean()) / (float(finite.std()) or 1.0)
    value = np.clip(np.where(missing, 0.0, centred), -_FARTHEST, _FARTHEST)
    return np.column_stack([value, value**2, *([missing] if missing.any() else [])]).astype(np.float64)


def _crossed(columns: Sequence[Floats]) -> Floats:
    """Return columns ``(rows, *)`` side by side, with the products of the first number of every two."""
    pairs = combinations([each[:, :1] for each in columns if each.shape[1]], 2)
    return np.hstack([*columns, *(one * other for one, other in pairs if len(columns) <= _CROSSED)])


def _folds(rows: int, units: Dependence | None, seed: int) -> Integers:
    """Deal rows, whole groups or stretches of time to folds ``(rows,)``."""
    if units is not None and units.timed:
        return np.asarray(units.codes * _FOLDS // (units.codes.max() + 1))
    codes = np.arange(rows) if units is None else units.codes
    dealt = generator(seed, "folds", rows).permutation(int(codes.max()) + 1) % _FOLDS
    return np.asarray(dealt[codes])


def _with_new(
    inputs: Floats, of_loss: Floats, loss: Floats, folds: Integers, given: Floats | None, seed: int
) -> tuple[Floats, Floats, float]:
    """Return scores of old and new rows whose means add up to the old loss with new ``inputs``, and the overlap.

    ``of_loss`` are the inputs of the regression of the loss.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # as it takes seconds to import
    from sklearn.linear_model import LogisticRegression, Ridge

    rows, count = len(folds), len(loss)
    if not inputs.shape[1]:
        return loss, np.zeros(rows - count), 1.0
    is_new = np.arange(rows) >= count
    order = generator(seed, "rows fitted", rows).permutation(rows)
    fitted = np.zeros(rows, dtype=bool)
    for side in (order[~is_new[order]], order[is_new[order]]):
        fitted[side[:_FITTED]] = True
    ratio, expected, counts = np.empty(rows), np.empty(rows), np.ones(rows) if given is None else given
    for fold in range(_FOLDS):
        used, asked = fitted & (folds != fold), folds == fold
        own = None if given is None else given[used]
        odds = LogisticRegression(max_iter=1000).fit(inputs[used], is_new[used], own).decision_function(inputs[asked])
        odds = odds - math.log(counts[used & is_new].sum() / counts[used & ~is_new].sum())
        ratio[asked] = np.exp(np.minimum(odds, math.log(_LARGEST)))
        old = np.flatnonzero(used[:count])
        own = None if given is None else given[old]
        # Trees are flat where old rows are few, so that they only say what is beyond a polynomial.
        smooth = Ridge().fit(of_loss[old], loss[old], own)
        trees = HistGradientBoostingRegressor(
            max_iter=40, max_leaf_nodes=6, early_stopping=False, random_state=derive_seed(seed, "trees") % 2**32
        ).fit(of_loss[old], loss[old] - smooth.predict(of_loss[old]), own)
        expected[asked] = smooth.predict(of_loss[asked]) + trees.predict(of_loss[asked])
    weight = ratio[:count] / np.average(ratio[:count], weights=counts[:count])
    overlap = float(1 / np.average(weight**2, weights=counts[:count]))
    return weight * (loss - expected[:count]), expected[count:], overlap
