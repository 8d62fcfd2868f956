"""The search for rows that reach a goal by few changes, near the row and near the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.attribution.alternatives.cells import Cells, distinct
from permgrad.attribution.alternatives.goal import Goal
from permgrad.base.arrays import Booleans, Floats, Integers

#: Donors that lend cells, rows predicted for one more change, most changes tried value by value, candidates refined.
_DONORS, _BUDGET, _LEVELS, _REFINED = 48, 4000, 6, 96
#: Rows at a time whose last change is tried at all values, and how many values.
_FINE, _VALUES = 8, 256
#: Rows of the outcome that distances are taken to, and of which the usual distance is taken.
NEAR, USUAL = 2000, 300


class Search:
    """The search from one row.

    Args:
        cells: the row and what may change in it.
        goal: what is wanted.
        donors: rows that the model predicts as wanted, nearest first.
        others: further rows of the table, nearest first, whose cells may be tried.
        near: rows that count as the data of that outcome.
        most: how many units may change.
    """

    def __init__(self, cells: Cells, goal: Goal, donors: Floats, others: Floats, near: Floats, most: int) -> None:
        self.cells, self.goal, self.most, self.donors = cells, goal, most, donors
        self.near = cells.measured(near)
        self.options = cells.options(np.concatenate([donors, others]))

    def run(self) -> Floats:
        """Return different rows that reach the goal."""
        found = self._from_donors()
        fewest = min(self._counts(found), default=self.most)
        found = np.concatenate([found, self._by_value(int(fewest))])
        found = self._pruned(self._best(distinct(found)))
        return distinct(self._nearer(distinct(found)))

    def _counts(self, rows: Floats) -> Integers:
        return (self.cells.moved(rows) > 0).sum(axis=1) if len(rows) else np.zeros(0, dtype=np.int64)

    def _best(self, rows: Floats) -> Floats:
        """Return the rows to refine: of each set of changed units those with few and small changes first."""
        if len(rows) <= _REFINED:
            return rows
        moved = self.cells.moved(rows)
        order = np.lexsort([moved.sum(axis=1), (moved > 0).sum(axis=1)])
        rank = _ranks(moved[order] > 0)
        return rows[order[np.argsort(rank, kind="stable")[:_REFINED]]]

    def _from_donors(self) -> Floats:
        """Let each donor lend the unit that helps most, again and again, and return all rows that reach the goal."""
        cells, units = self.cells, self.cells.units
        offered = cells.offered(self.donors[:_DONORS])
        rows = np.repeat(cells.row[None], len(offered), axis=0)
        open_, found = cells.moved(offered) > 0, [rows[:0]]
        for _ in range(self.most):
            donor, unit = np.nonzero(open_)
            if not len(donor):
                break
            tried = rows[donor]
            for k, columns in enumerate(units):
                of = np.flatnonzero(unit == k)
                tried[np.ix_(of, columns)] = offered[np.ix_(donor[of], columns)]
            valid, margin = self.goal(tried)
            found.append(tried[valid])
            score = np.full(open_.shape, -np.inf)
            score[donor, unit] = margin
            best = score.argmax(axis=1)
            for k, columns in enumerate(units):
                of = np.flatnonzero((best == k) & open_.any(axis=1))
                rows[np.ix_(of, columns)] = offered[np.ix_(of, columns)]
            open_[np.arange(len(best)), best] = False
            open_[np.unique(donor[valid])] = False
        return np.concatenate(found)

    def _by_value(self, fewest: int) -> Floats:
        """Change one unit more at a time to each of its values and go on from the rows that came nearest to the goal.

        Where all rows can be kept, this visits every combination.
        """
        cells = self.cells
        states, found, width = cells.row[None], [cells.row[None][:0]], max(1, sum(map(len, self.options)))
        for _ in range(min(fewest, self.most, _LEVELS)):
            changed, tried, last = cells.moved(states) > 0, [states[:0]], []
            for k, (columns, values) in enumerate(zip(cells.units, self.options, strict=True)):
                free = states[~changed[:, k]]
                rows = np.repeat(free, len(values), axis=0)
                rows[:, columns] = np.tile(values, (len(free), 1))
                tried.append(rows)
                last += [k] * len(rows)
            rows = np.concatenate(tried)
            valid, margin = self.goal(rows)
            found.append(rows[valid])
            order = np.argsort(-np.where(valid, -np.inf, margin), kind="stable")[: int((~valid).sum())]
            if not valid.any() and len(order):
                found.append(self._finer(rows[order[:_FINE]], np.array(last)[order[:_FINE]]))
            if sum(map(len, found)) or not len(order):
                break
            states = rows[order]
            states = distinct(states[np.argsort(_ranks(cells.moved(states) > 0), kind="stable")])
            states = states[: max(1, _BUDGET // width)]
        return np.concatenate(found)

    def _finer(self, rows: Floats, last: Integers) -> Floats:
        """Return rows that reach the goal by another value of the unit changed last, of all values in the data."""
        tried = [rows[:0]]
        for row, unit in zip(rows, last.tolist(), strict=True):
            columns = self.cells.units[unit]
            if len(columns) == 1 and self.cells.is_on_scale(columns[0]):
                values = self.cells.values[columns[0]]
                values = values[np.unique(np.linspace(0, len(values) - 1, _VALUES).astype(np.int64))]
                tried.append(np.repeat(row[None], len(values), axis=0))
                tried[-1][:, columns[0]] = values
        all_ = np.concatenate(tried)
        return all_[self.goal(all_)[0]]

    def _pruned(self, rows: Floats) -> Floats:
        """Undo changes that are not needed, the largest first."""
        while True:
            moved = self.cells.moved(rows)
            place, unit = np.nonzero((moved > 0) & ((moved > 0).sum(axis=1) > 1)[:, None])
            tried = rows[place]
            for k, columns in enumerate(self.cells.units):
                tried[np.ix_(unit == k, columns)] = self.cells.row[columns]
            valid, _ = self.goal(tried)
            if not valid.any():
                return rows
            saved = np.zeros(moved.shape)
            saved[place[valid], unit[valid]] = moved[place[valid], unit[valid]]
            for k, columns in enumerate(self.cells.units):
                of = (saved.argmax(axis=1) == k) & saved.any(axis=1)
                rows[np.ix_(of, columns)] = self.cells.row[columns]

    def _nearer(self, rows: Floats) -> Floats:
        """Bring changed numbers as near to the row as the goal allows, the largest change first."""
        single = np.array([len(unit) == 1 and self.cells.is_on_scale(unit[0]) for unit in self.cells.units])
        moved = self.cells.moved(rows) * single if len(rows) else np.zeros((0, 1))
        for turn in range(int((moved > 0).sum(axis=1).max(initial=0))):
            unit = np.argsort(-moved, axis=1, kind="stable")[:, turn]
            of = np.flatnonzero(moved[np.arange(len(rows)), unit] > 0)
            steps = [self._steps(rows[place], int(self.cells.units[unit[place]][0])) for place in of]
            columns = np.array([self.cells.units[unit[place]][0] for place in of])
            low, high = np.zeros(len(of), dtype=np.int64), np.array([len(step) - 1 for step in steps])
            while (live := np.flatnonzero(low < high)).size:
                middle = (low + high)[live] // 2
                tried = rows[of[live]]
                tried[np.arange(len(live)), columns[live]] = [
                    steps[k][step] for k, step in zip(live.tolist(), middle.tolist(), strict=True)
                ]
                valid, _ = self.goal(tried)
                high[live] = np.where(valid, middle, high[live])
                low[live] = np.where(valid, low[live], middle + 1)
            rows[of, columns] = [step[k] for step, k in zip(steps, high.tolist(), strict=True)]
        return rows

    def _steps(self, row: Floats, column: int) -> Floats:
        """Return the values between the row's own and a changed one, the nearest to its own first."""
        known, values = self.cells.measured_values(column), self.cells.values[column]
        own, now = self.cells.measured_row[0, column], self.cells.measured(row[None])[0, column]
        if np.isnan(own):  # nothing is between a missing cell and a number
            return np.array([row[column]])
        inside = values[(known > min(own, now)) & (known < max(own, now))]
        return np.array([*(inside if now > own else inside[::-1]), row[column]])

    # ---- choosing ----------------------------------------------------------------------------------------------------
    def chosen(self, rows: Floats, count: int) -> tuple[Floats, dict[str, Any]]:
        """Return up to so many rows: the first has fewest changes, and each further one differs from those before.

        Each is predicted again as a table of one row, as a user calls the model.
        """
        measured, moved = self.cells.measured(rows), self.cells.moved(rows)
        changed, distance = moved > 0, moved.sum(axis=1)
        to_data, plausibility = self._near_data(measured)
        apart = self.cells.distances(measured, measured)
        both = (changed[:, None] & changed).sum(axis=2)
        either = np.maximum((changed[:, None] | changed).sum(axis=2), 1)
        typical = np.median(apart[apart > 0]) if (apart > 0).any() else 1.0
        differ = 1 - both / either + np.minimum(apart / typical, 1) / 2
        cost = changed.sum(axis=1) + (_share(distance) + _share(np.nan_to_num(to_data))) / 2
        order, left = list[int](), np.ones(len(rows), dtype=bool)
        while len(order) < count and left.any():
            gain = differ[:, order].min(axis=1) if order else np.zeros(len(rows))
            best = int(np.where(left & ((gain > 0) | (not order)), cost - 2 * gain, np.inf).argmin())
            left[best] = False
            if self.goal(rows[[best]])[0][0]:
                order.append(best)
        order.sort(key=lambda place: cost[place])
        measures = {"changes": changed.sum(axis=1), "distance": distance, "to_data": to_data, "plausibility": plausibility}
        return rows[order], {name: values[order] for name, values in measures.items()}

    def _near_data(self, measured: Floats) -> tuple[Floats, Floats]:
        """Return the distance of rows to the nearest row of the outcome, and how many of those are as far from theirs."""
        if len(self.near) < 2:
            return np.full(len(measured), np.nan), np.full(len(measured), np.nan)
        own = self.cells.distances(self.near[:USUAL], self.near)
        np.fill_diagonal(own, np.inf)
        usual, to_data = own.min(axis=1), self.cells.distances(measured, self.near).min(axis=1)
        return to_data, (1 + (usual >= to_data[:, None]).sum(axis=1)) / (len(usual) + 1)


def _ranks(changed: Booleans) -> Integers:
    """Return for each row how many rows before it change the same units."""
    seen: dict[bytes, int] = {}
    ranks = []
    for key in np.packbits(changed, axis=1):
        seen[key.tobytes()] = seen.get(key.tobytes(), -1) + 1
        ranks.append(seen[key.tobytes()])
    return np.array(ranks, dtype=np.int64)


def _share(values: Floats) -> Floats:
    """Return the share of values below each."""
    return np.searchsorted(np.sort(values), values) / max(len(values), 1)
