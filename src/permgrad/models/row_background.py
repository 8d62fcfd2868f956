"""The rows that a single row is compared with: at most a hundred that stand for all
training rows, each for as many.

Whoever explains single rows asks here, so that the page, the command and Python compare
a row with the same rows.
"""

from __future__ import annotations

import numpy as np

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.random import generator

#: Rows that a single row is compared with.
MOST_ROWS = 100
#: Numbers of the rows that are chosen from. Of more rows some are drawn first.
_MOST_NUMBERS = 5_000_000
#: Rows of each part at least, so that there is a choice. Wider tables are drawn from at
#: random.
_FEWEST = 10
#: How often the row of each part is chosen anew.
_ROUNDS = 3
#: Shares of the rows that are rounding.
_NO_ROWS = 1e-12


def rows_to_compare(
    columns: Array, weights: Array | None = None, seed: int = 0, most: int = MOST_ROWS
) -> Integers:
    """Return the places of rows that stand for all rows, each for an equal share of
    them.

    The rows are halved again and again along the column in which a part differs most,
    until there are as many parts of equal weight as rows are wanted, so that the rows
    of a part are alike. Of each part one row is drawn, and exchanged for another one of
    its part where this brings the means and spreads of the columns closer to those of
    all rows. A mean over these rows needs no weights. A heavy row that fills several
    parts is there for each of them.

    Args:
        columns: numbers ``(rows, columns)``. What is not finite counts as the column's
            mean.
        weights: how much each row counts ``(rows,)``. None: all alike.
        seed: of the draws.
        most: how many rows are wanted.

    Returns:
        Places ``(min(rows, most),)``, rising, or ``(most,)`` where weights differ.

    Examples:
        >>> columns = np.repeat([[0.0], [1.0]], 500, axis=0)
        >>> places = rows_to_compare(columns)
        >>> len(places), float(columns[places].mean())
        (100, 0.5)
    """
    table = np.asarray(columns).reshape(len(columns), -1)
    if weights is None:
        counted = np.ones(len(table))
    else:
        counted = np.asarray(weights, float)
    even = bool((counted == counted[:1]).all())
    if len(table) <= most and even:
        return np.arange(len(table), dtype=np.int64)
    draws = generator(seed, "rows to compare")
    row_indices = np.flatnonzero(counted > 0)
    enough = max(_FEWEST * most, _MOST_NUMBERS // max(table.shape[1], 1))
    if len(row_indices) > enough:
        row_indices = np.sort(draws.permutation(row_indices)[:enough])
    shares = counted[row_indices] / counted[row_indices].sum()
    if _FEWEST * most * table.shape[1] > _MOST_NUMBERS:
        along = (np.arange(most) + draws.random(most)) / most
        drawn_positions = np.searchsorted(
            np.cumsum(shares), along * shares.sum(), "right"
        )
        return np.sort(row_indices[np.minimum(drawn_positions, len(row_indices) - 1)])
    numbers = _on_one_scale(table[row_indices], shares)
    row_parts = _equal_parts(numbers, shares, most)
    return np.sort(
        row_indices[_closest(numbers, shares, row_parts, draws.random(most))]
    )


def _on_one_scale(table: Array, shares: Floats) -> Floats:
    """Return columns with a mean of 0 and a variance of 1.

    Those that are constant are left out.
    """
    numbers = np.array(table, dtype=np.float64)
    present = np.isfinite(numbers)
    numbers[~present] = 0.0
    total = shares @ present
    numbers -= shares @ numbers / np.where(total > 0, total, 1.0)
    numbers[~present] = 0.0
    spread = np.sqrt(shares @ numbers**2)
    varies = spread > _NO_ROWS * np.abs(numbers).max(axis=0, initial=0.0)
    return np.asarray(numbers[:, varies] / spread[varies])


def _equal_parts(
    numbers: Floats, shares: Floats, most: int
) -> list[tuple[Integers, Floats]]:
    """Return parts of similar rows: their places, and how much of each row is in the
    part.
    """
    done: list[tuple[Integers, Floats]] = []
    waiting = [(np.arange(len(numbers)), shares, most)]
    while waiting:
        rows, row_shares, row_count = waiting.pop()
        if row_count == 1:
            done.append((rows, row_shares))
            continue
        if len(rows) > 1 and numbers.shape[1]:
            widest = int(numbers[rows].std(axis=0).argmax())
            order = np.argsort(numbers[rows, widest], kind="stable")
            rows = rows[order]
            row_shares = row_shares[order]
        first = row_count // 2
        along = np.append(0.0, np.cumsum(row_shares))
        cut = first / row_count * along[-1]
        # The row between both parts may be in both.
        low = np.clip(cut - along[:-1], 0.0, row_shares)
        for side, count in ((row_shares - low, row_count - first), (low, first)):
            inside = side > _NO_ROWS * along[-1]
            waiting.append((rows[inside], side[inside], count))
    return done


def _closest(
    numbers: Floats,
    shares: Floats,
    row_parts: list[tuple[Integers, Floats]],
    chances: Floats,
) -> Integers:
    """Return a row of each part, such that columns have the means and spreads of all
    rows.
    """
    squares = numbers**2 - 1
    size = np.sqrt(shares @ squares**2)
    # A square counts half as much as a number.
    squares /= np.where(size > 0, 2 * size, 1.0)
    moment_values = np.concatenate([numbers, squares], axis=1)
    chosen_rows = np.zeros(len(row_parts), dtype=np.int64)
    for part_index, (rows, row_shares) in enumerate(row_parts):
        along = np.cumsum(row_shares)
        row_position = np.searchsorted(along, chances[part_index] * along[-1], "right")
        chosen_rows[part_index] = rows[min(int(row_position), len(rows) - 1)]
    total = moment_values[chosen_rows].sum(axis=0)
    for _ in range(_ROUNDS):
        for part_index, (rows, _held) in enumerate(row_parts):
            other_sums = total - moment_values[chosen_rows[part_index]]
            off = ((other_sums + moment_values[rows]) ** 2).sum(axis=1)
            best = rows[int(off.argmin())]
            total = other_sums + moment_values[best]
            chosen_rows[part_index] = best
    return chosen_rows
