"""Single rows for a reader: which ones are listed, the strongest parts of their predictions, and rows like them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from permgrad.base.arrays import Array, Booleans, Floats, Integers

#: Rows that are listed. Up to so many of them are there as wrong or unsure ones, the others are drawn at random.
MOST_LISTED, MOST_WRONG, MOST_UNSURE = 1000, 24, 16
#: Similar rows shown for each row, rows that are searched for them, and numbers of their encoded table.
NEAREST, MOST_SEARCHED, MOST_NUMBERS = 3, 20_000, 2_000_000
#: Parts of a prediction that are stored. The others are added up.
MOST_PARTS = 20
#: Distances computed at once.
_AT_ONCE = 2**22


def choose_listed(drawn: Integers, notable: Sequence[int] = ()) -> tuple[Integers, Booleans]:
    """Choose rows of a permutation ``drawn``: all if they are few, else the notable ones and a sample.

    Returns their positions, rising, and which of them were drawn at random: those that the sample has.
    """
    if len(drawn) <= MOST_LISTED:
        return np.arange(len(drawn), dtype=np.int64), np.ones(len(drawn), dtype=bool)
    special = np.unique(np.asarray(notable, dtype=np.int64))
    random = drawn[: MOST_LISTED - len(special)]
    places = np.union1d(special, random).astype(np.int64)
    return places, np.isin(places, random)


def notable_rows(predicted: Floats, truth: Array, called: Array | None = None) -> list[int]:
    """Return the rows that deserve an explanation: the clearest errors, and those of which the model is least sure.

    ``predicted``: probabilities ``(rows, classes)`` with the codes of the true classes, or numbers ``(rows,)`` with
    the true ones. ``called``: the predicted classes (None: the most probable ones). The wrongly predicted rows come
    with the surest mistake first, then rows by the lead of the most probable class.
    """
    if predicted.ndim == 1:
        wrong = np.argsort(-np.abs(predicted - truth), kind="stable")
        return wrong[:MOST_WRONG].tolist()
    best, rows = predicted.argmax(axis=1) if called is None else called, np.arange(len(truth))
    wrong = np.flatnonzero(best != truth)
    wrong = wrong[np.argsort((predicted[rows, truth] - predicted[rows, best])[wrong], kind="stable")]
    ordered = np.sort(predicted, axis=1)
    lead = ordered[:, -1] - ordered[:, -2] if predicted.shape[1] > 1 else ordered[:, -1]
    unsure = np.argsort(lead, kind="stable")
    return list(dict.fromkeys([*wrong[:MOST_WRONG].tolist(), *unsure[:MOST_UNSURE].tolist()]))


# ---- parts of a prediction -------------------------------------------------------------------------------------------
def strongest_parts(values: Floats, most: int = MOST_PARTS) -> tuple[Integers, Floats, Floats]:
    """Return the largest attributions of each row ``(rows, features)``, the largest first.

    Returns their features ``(rows, parts)``, their values, and the sum of all others ``(rows,)``.
    """
    count = min(most, values.shape[1])
    order = np.argsort(-np.abs(np.nan_to_num(values)), axis=1, kind="stable")[:, :count]
    taken = np.take_along_axis(values, order, axis=1)
    return order.astype(np.int64), taken, values.sum(axis=1) - taken.sum(axis=1)


# ---- rows like it ----------------------------------------------------------------------------------------------------
def nearest_rows(
    queries: Array, pool: Array, count: int = NEAREST, *, same: Integers | None = None
) -> tuple[Integers, Floats]:
    """Return the positions in ``pool`` of the rows nearest to each query, and their distances, ``(queries, count)``.

    The distance is Euclidean over encoded columns. ``same``: each query's own position in the pool, which is left out.
    Equally near rows come in the order of the pool. There are fewer columns if the pool is smaller.
    """
    count = min(count, len(pool) - (same is not None))
    if count < 1:
        return np.zeros((len(queries), 0), dtype=np.int64), np.zeros((len(queries), 0))
    # In single precision from a common middle: enough to find candidates, whose distances are computed again.
    middle = pool.mean(axis=0, dtype=np.float64)
    short = (pool - middle).astype(np.float32)
    squares = np.einsum("ij,ij->i", short, short)
    places = np.empty((len(queries), count), dtype=np.int64)
    distances = np.empty((len(queries), count))
    step = max(1, _AT_ONCE // len(pool))
    candidates = min(4 * count + 4, len(pool))
    for start in range(0, len(queries), step):
        part = slice(start, min(start + step, len(queries)))
        gaps = squares[None] - 2 * (queries[part] - middle).astype(np.float32) @ short.T
        if same is not None:
            gaps[np.arange(gaps.shape[0]), same[part]] = np.inf
        near = np.sort(np.argpartition(gaps, candidates - 1, axis=1)[:, :candidates], axis=1)
        exact = np.sqrt(((queries[part, None].astype(np.float64) - pool[near]) ** 2).sum(axis=2))
        if same is not None:
            exact[near == same[part, None]] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        places[part], distances[part] = np.take_along_axis(near, order, 1), np.take_along_axis(exact, order, 1)
    return places, distances
