"""What would have to differ in a row: what its cells may become, what is wanted, and the search for few changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from permgrad.attribution.subject.frames import FrameForm
from permgrad.attribution.subject.outputs import label_place
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.attribution.units_of_change import Combinations, Unit, units_of
from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import check_choice, check_kind, check_names, is_number
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.late import pd
from permgrad.base.numerals import number
from permgrad.data.read.cells import PRESENT, MissingCodes, canonical

#: The nearest rows that reach the goal, from which the search starts, values of a column that are tried alone, and
#: values between a cell and its own that are tried at a time.
_STARTS, _TRIED, _BETWEEN = 64, 32, 48
#: The nearest rows are predicted first, and distances are taken to them. All rows are predicted only if fewer than
#: those of which the usual distance is taken have the outcome.
_NEAR, _USUAL = 2000, 100


#: Outputs of rows, and those of which the largest is the class that the model decides for.
Seen = tuple[Floats, Floats]


class RowCells:
    """A row and the rows of a table, each cell on the scale of its column, and what may change in the row.

    ``form`` has read ``rows`` and ``row`` as its numbers. On a scale, a date is its seconds, another cell that is no
    number its code, and a missing cell NaN. The model's own ``codes`` of missing cells stay in the rows, as it may tell
    them apart, but count as missing. ``values``: what each column may be, in rising order, nothing if it stays.
    ``ordered``: whether a column holds numbers or dates. ``units``: what changes together, ``blocks`` of columns that
    are one feature, and every other column by itself. What goes with a cell of ``wordings`` is not asked.
    """

    def __init__(
        self,
        form: FrameForm,
        rows: Floats,
        row: Floats,
        *,
        codes: MissingCodes,
        fixed: Any,
        ranges: Any,
        direction: Any,
        blocks: Iterable[Sequence[str]] = (),
        wordings: Iterable[str] = (),
    ) -> None:
        self.names = form.names
        self._pools = {
            k: form.library.series(each.cells)
            for k, each in enumerate(form.columns)
            if not each.numeric
        }
        self._scales = {place: _scale(cells) for place, cells in self._pools.items()}
        self.ordered = np.array(
            [
                k not in self._pools or _are_dates(self._pools[k])
                for k in range(len(self.names))
            ]
        )
        self._row_codes, self.row, self.rows = (
            row,
            self._scaled(row[None])[0],
            self._scaled(rows),
        )
        self._refuse_infinity()
        self._codes = {
            place: self._missing(place, codes)
            for place, name in enumerate(self.names)
            if codes.holds_for(name)
        }
        self._spreads = [
            _spread(column[np.isfinite(column)]) if ordered else np.nan
            for column, ordered in zip(
                self.known(self.rows).T, self.ordered, strict=True
            )
        ]
        _check_mapping("ranges", ranges)
        _check_mapping("direction", direction)
        self._limits = {
            self._place(name, "ranges"): limit for name, limit in ranges.items()
        }
        self._ways = {
            self._place(name, "direction"): way for name, way in direction.items()
        }
        fixed_places = [
            self._place(name, "fixed")
            for name in check_names("fixed", fixed, "Pass a list of columns.")
        ]
        self.values = [self._values_of(k) for k in range(len(self.names))]
        for place in fixed_places:
            self.values[place] = self.values[place][:0]
        together = [[self.names.index(name) for name in block] for block in blocks]
        for block in together:  # a feature counts once, however many columns it has
            for place in block:
                self._spreads[place] *= len(block)
        known, own = self.known(self.rows), self.known(self.row[None])[0]
        self.units = units_of(self.values, self.ordered, together, known, own)
        places = {self.names.index(name) for name in wordings}
        self._combinations = Combinations(self.units, known, own, places)

    def _refuse_infinity(self) -> None:
        """Refuse a column that holds infinity."""
        infinite = np.isinf(self.rows).any(axis=0) | np.isinf(self.row)
        if infinite.any():
            name = self.names[int(infinite.argmax())]
            raise InputError(
                f"Counterfactuals have no distance in column {name!r}, "
                "which holds infinity",
                hint="Replace infinity by NaN or by a large number.",
                code="PG014",
            )

    def _values_of(self, place: int) -> Floats:
        """Return the values that the cells of a column may take, before any is fixed."""
        if self.ordered[place]:
            return self._on_scale(place)
        return self._listed(place)

    # ---- arguments ---------------------------------------------------------------------------------------------------
    def _place(self, name: Any, argument: str) -> int:
        if name not in self.names:
            raise unknown(f"column in {argument}", name, self.names)
        return self.names.index(name)

    def _missing(self, place: int, codes: MissingCodes) -> Floats:
        """Return the codes of missing cells, on the scale of a column."""
        if (cells := self._pools.get(place)) is None:
            return codes.numbers[
                np.isin(codes.labels, codes.holds_for(self.names[place]))
            ]
        texts = map(canonical, cells)
        return np.flatnonzero(
            [codes.kind_of(text, self.names[place]) != PRESENT for text in texts]
        ).astype(np.float64)

    def known(self, rows: Any, place: int | None = None) -> Floats:
        """Return rows, or cells of one column, with NaN for the model's codes of missing cells."""
        coded = {
            column: codes
            for column, codes in self._codes.items()
            if place in (None, column)
        }
        rows = np.array(rows) if coded else np.asarray(rows)
        for column, codes in coded.items():
            cells = rows if place is not None else rows[:, column]
            cells[np.isin(cells, codes)] = np.nan
        return rows

    def _on_scale(self, place: int) -> Floats:
        """Return the numbers or dates that a column may take: those of the table, and the ends of a range."""
        known, own = (
            self.known(self.rows[:, place], place),
            self.known(self.row[place], place),
        )
        values = np.unique(known[~np.isnan(known)])
        limit = self._limits.get(place, (None, None))
        low, high = _ends(
            f"ranges[{self.names[place]!r}]", limit, dates=place in self._pools
        )
        if place not in self._pools:
            whole = (values == np.rint(values)).all()
            low, high = (np.ceil(low), np.floor(high)) if whole else (low, high)
            values = np.append(values, [end for end in (low, high) if np.isfinite(end)])
        values = np.unique(values if np.isnan(own) else np.append(values, own))
        way = self._ways.get(place)
        if way is not None:
            check_choice("direction", way, ("up", "down"))
            values = values[values >= own] if way == "up" else values[values <= own]
        return values[(values >= low) & (values <= high)]

    def _listed(self, place: int) -> Floats:
        """Return the codes that a column without an order may take: those of the table, or those listed."""
        name, cells, listed = (
            self.names[place],
            self._pools[place],
            self._limits.get(place),
        )
        if place in self._ways:
            problem = f"direction needs numbers or dates, and {name!r} has other cells"
            raise InputError(
                problem,
                hint="List the values that it may take in ranges=.",
                code="PG006",
            )
        known = np.unique(self.known(self.rows[:, place], place))
        if listed is None:
            return known[~np.isnan(known)]
        if isinstance(listed, (str, bytes, Mapping)) or not isinstance(
            listed, Iterable
        ):
            problem = f"ranges[{name!r}] must list values, got {shown(listed)}"
            raise InputError(
                problem, hint=f"Pass ranges={{{name!r}: ['…', '…']}}.", code="PG001"
            )
        listed = list(listed)
        for value in listed:
            if not cells.isin([value]).any():
                raise unknown(f"ranges[{name!r}]", value, map(str, cells.dropna()))
        return np.intersect1d(known, np.flatnonzero(cells.isin(listed)))

    # ---- rows --------------------------------------------------------------------------------------------------------
    def _scaled(self, rows: Floats) -> Floats:
        rows = rows.copy()
        for place, scale in self._scales.items():
            rows[:, place] = scale[rows[:, place].astype(np.int64)]
        return rows

    def written(self, rows: Floats) -> Floats:
        """Return rows as the numbers of the table's form."""
        rows = rows.copy()
        for place, scale in self._scales.items():
            order, missing = np.argsort(scale), np.isnan(rows[:, place])
            nearest = order[
                np.searchsorted(scale[order], rows[:, place]).clip(0, len(order) - 1)
            ]
            absent = (
                self._row_codes[place]
                if np.isnan(self.row[place])
                else np.isnan(scale).argmax()
            )
            rows[:, place] = np.where(missing, absent, nearest)
        return rows

    def distances(self, rows: Floats, others: Floats) -> Floats:
        """Return how far rows are apart, ``(rows, others)``, summed over columns."""
        from scipy.spatial.distance import cdist

        rows, others = self.known(rows), self.known(others)
        gaps = np.isnan(rows).any(axis=0) | np.isnan(others).any(axis=0)
        numbers, codes = self.ordered & ~gaps, ~(self.ordered | gaps)
        unit, total = (
            np.array(self._spreads)[numbers],
            np.zeros((len(rows), len(others))),
        )
        total += cdist(rows[:, numbers] / unit, others[:, numbers] / unit, "cityblock")
        if codes.any():
            total += codes.sum() * cdist(rows[:, codes], others[:, codes], "hamming")
        for place in np.flatnonzero(gaps):
            total += self._apart(
                int(place), rows[:, None, place], others[None, :, place]
            )
        return total

    def _apart(self, place: int, one: Floats, other: Floats) -> Floats:
        """Return distances of cells: in median absolute deviations, and 1 between categories and to a missing cell."""
        one, other = self.known(one, place), self.known(other, place)
        missing = np.isnan(one) | np.isnan(other)
        apart = (
            np.abs(one - other) / self._spreads[place]
            if self.ordered[place]
            else one != other
        )
        return np.where(missing, np.isnan(one) != np.isnan(other), apart)

    def moved(self, rows: Floats) -> Floats:
        """Return how far each cell of rows is from the row's. Unchanged cells have 0."""
        apart = [
            self._apart(place, rows[:, place], own)
            for place, own in enumerate(self.row)
        ]
        return np.stack(apart, axis=1)

    def moved_units(self, rows: Floats) -> Floats:
        """Return how far each unit of rows is from the row's ``(rows, units)``. Unchanged units have 0."""
        moved = self.moved(rows)
        sums = [moved[:, unit.columns].sum(axis=1) for unit in self.units]
        return np.stack(sums, axis=1)

    def possible(self, rows: Floats) -> Booleans:
        """Return which rows combine what they change with cells that some row of the table has beside it."""
        return self._combinations.occur(self.known(rows))

    def offered(self, donors: Floats) -> Floats:
        """Return the row with what it may take from donors: on a scale the nearest allowed value."""
        rows, theirs = (
            np.repeat(self.row[None], len(donors), axis=0),
            self.known(donors),
        )
        for unit in self.units:
            if not len(unit.patterns):
                continue
            taken = theirs[:, unit.columns]
            if unit.ordered and len(unit.columns) == 1:
                taken = taken.clip(unit.patterns[0], unit.patterns[-1])
            allowed = np.flatnonzero(unit.allowed(taken))
            rows[np.ix_(allowed, unit.columns)] = taken[allowed]
        return rows

    def alone(self) -> Floats:
        """Return the row with one unit changed: on a scale to either end, else to each of its patterns."""
        rows = [self.row[None][:0]]
        for unit in self.units:
            tried = unit.patterns[:_TRIED]
            if unit.ordered and len(unit.patterns):
                tried = unit.patterns[[0, -1]]
            changed = np.repeat(self.row[None], len(tried), axis=0)
            changed[:, unit.columns] = tried
            rows.append(changed)
        return np.concatenate(rows)


def same(rows: Floats, others: Floats) -> Booleans:
    """Return where cells are equal. Missing cells are."""
    return np.asarray((rows == others) | (np.isnan(rows) & np.isnan(others)))


def _are_dates(cells: pd.Series[Any]) -> bool:
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    return kind in ("datetime64", "datetime", "date") and bool(cells.notna().any())


def _scale(cells: pd.Series[Any]) -> Floats:
    """Return what the codes of a pool stand for: seconds of dates, else the codes, NaN where missing."""
    scale = (
        _seconds(cells)
        if _are_dates(cells)
        else np.arange(len(cells), dtype=np.float64)
    )
    return np.where(cells.isna(), np.nan, scale)


def _seconds(dates: Sequence[Any] | pd.Series[Any]) -> Floats:
    stamps = pd.to_datetime(pd.Series(dates), utc=True)
    return np.asarray(
        (stamps - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64
    )


def _spread(values: Floats) -> float:
    """Return the unit of distances: the median absolute deviation, where it is 0 the mean one, else 1.

    Of two values it is their difference, so that they are as far apart as two categories.
    """
    levels = np.unique(values)
    if len(levels) < 3:
        return float(levels[-1] - levels[0]) or 1.0 if len(levels) else 1.0
    apart = np.abs(values - np.median(values))
    return float(np.median(apart)) or float(apart.mean())


def _check_mapping(name: str, value: Any) -> None:
    """Refuse rules of columns that are no mapping."""
    hint = f"Pass for example {name}={{'age': …}}."
    check_kind(name, value, Mapping, "a mapping", hint)


def _refuse_several(names: Sequence[str]) -> None:
    """Refuse a range alone where there are several outputs."""
    if len(names) > 1:
        hint = f"Pass want={{{names[0]!r}: (low, high)}}."
        raise InputError(
            "want must name one of several outputs", hint=hint, code="PG005"
        )


def _measured_in_words(task: str, name: Any) -> str:
    """Return in words what a range is of."""
    if task == "regression":
        return "a number"
    return f"{shown(name)} with a probability"


def _range_in_words(ends: tuple[float, float]) -> str:
    """Return a range in words, without its open end."""
    words = zip(("at least", "at most"), ends, strict=True)
    return " and ".join(
        f"{how} {number(end)}" for how, end in words if np.isfinite(end)
    )


class Goal:
    """The outcome wanted for the row: a class, any other class, or an output between two ends.

    ``want`` is the argument of ``pg.counterfactuals``, and ``words`` say it, such as ``"predict 'yes'"``. ``valid``:
    which rows of the table the model predicts so, of the ``looked`` nearest ones that it was asked for. ``already``:
    whether it predicts the row so.
    """

    def __init__(self, subject: PredictorSubject, cells: RowCells, want: Any) -> None:
        self.subject, self.cells = subject, cells
        self.ends: tuple[float, float] | None = None
        self.classes = subject.task == "classification"
        self.names = (
            subject.outputs.class_names
            if self.classes
            else subject.outputs.output_names
        )
        self._decides = subject.deciding()
        rows = np.concatenate([cells.row[None], cells.rows[:_NEAR]])
        seen = self._seen(rows)
        self.own = seen[0][:1], seen[1][:1]
        now = self.own[1]
        if want is None and self.classes and len(self.names) == 2:
            want = self.names[now[0].argmin()]
        self.other, name = want is None and self.classes, want
        if self.other:
            name = self.names[now[0].argmax()]
            self.words = f"predict another class than {name!r}"
        elif isinstance(want, Mapping) and len(want) == 1:
            ((name, limit),) = want.items()
            self.ends = _ends(
                "want", limit if isinstance(limit, (tuple, list)) else (limit, None)
            )
        elif not self.classes:
            _refuse_several(self.names)
            name, self.ends = self.names[0], _ends("want", want)
        if self.ends is not None:
            what = _measured_in_words(subject.task, name)
            self.words = f"predict {what} of {_range_in_words(self.ends)}"
        elif not self.other:
            self.words = f"predict {shown(want)}"
        places = dict(zip(self.names, range(len(self.names)), strict=True))
        self.column = label_place(name, places)
        if self.column < 0:
            raise unknown("want", want, self.names)
        valid = self.judged(*seen)
        self.already, self.valid = bool(valid[0]), self._reached(valid[1:])

    def _reached(self, valid: Booleans) -> Booleans:
        """Return which rows of the table are known to reach the goal. Those far away are predicted only if few do."""
        rows = self.cells.rows
        if valid.sum() < _USUAL:
            valid = np.concatenate([valid, self(rows[_NEAR:])])
        self.looked = len(valid)
        return np.append(valid, np.zeros(len(rows) - len(valid), dtype=bool))

    def _outputs(self, rows: Floats, subject: PredictorSubject | None = None) -> Floats:
        subject, numbers = (
            subject or self.subject,
            torch.from_numpy(self.cells.written(rows)),
        )
        return subject.outputs.predicted(
            outputs_of(subject, (numbers,), subject.table_batch)
        )

    def _seen(self, rows: Floats) -> Seen:
        outputs = self._outputs(rows)
        return outputs, outputs if self._decides is self.subject else self._outputs(
            rows, self._decides
        )

    def again(self, rows: Floats) -> Seen:
        """Predict results in one table, or one by one if its rows act on each other."""
        outputs, decided = self._anew(np.concatenate([self.cells.row[None], rows]))
        if np.allclose(outputs[:1], self.own[0]) and np.array_equal(
            decided[:1].argmax(1), self.own[1].argmax(1)
        ):
            return outputs[1:], decided[1:]
        first, second = zip(*(self._anew(row[None]) for row in rows), strict=True)
        return np.concatenate(first), np.concatenate(second)

    def _anew(self, rows: Floats) -> Seen:
        """Predict rows in a table of their own, whatever was answered in other tables."""
        self.subject.forget()
        self._decides.forget()
        return self._seen(rows)

    def __call__(self, rows: Floats) -> Booleans:
        """Return which rows reach the goal, of those that combine what rows of the table do."""
        if not len(rows):
            return np.zeros(0, dtype=bool)
        reached, possible = np.zeros(len(rows), dtype=bool), self.cells.possible(rows)
        if possible.any():
            subject = self.subject if self.ends else self._decides
            outputs = self._outputs(rows[possible], subject)
            reached[possible] = self.judged(outputs, outputs)
        return reached

    def judged(self, outputs: Floats, decided: Floats) -> Booleans:
        """Return the same of rows that were predicted."""
        if self.ends is not None:
            return (outputs[:, self.column] >= self.ends[0]) & (
                outputs[:, self.column] <= self.ends[1]
            )
        return (decided.argmax(axis=1) == self.column) != self.other

    def described(self, outputs: Floats, decided: Floats) -> dict[str, Any]:
        """Return predictions in words of the model: numbers, or classes with the probability that is asked for."""
        if not self.classes:
            return {"prediction": outputs[:, self.column].tolist()}
        labels = decided.argmax(axis=1)
        known = self.subject.call.classes or self.names
        said: dict[str, Any] = {"prediction": [known[label] for label in labels]}
        if not self.subject.call.one_hot:
            said["probability"] = outputs[
                np.arange(len(outputs)), labels if self.other else self.column
            ]
        return said


def _ends(name: str, limit: Any, *, dates: bool = False) -> tuple[float, float]:
    """Return both ends of a range, infinity where it is open."""
    try:
        low, high = (
            None if end is None else _seconds([end])[0] if dates else end
            for end in limit
        )
    except (TypeError, ValueError):
        low = high = np.nan
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    if not (is_number(low) and is_number(high) and low <= high):
        problem = f"{name} must be a pair of {'dates' if dates else 'numbers'} that rises, got {shown(limit)}"
        raise InputError(
            problem, hint="Pass (low, high), with None for an open end.", code="PG002"
        )
    return float(low), float(high)


def search(cells: RowCells, goal: Goal, most: int, count: int) -> Floats:
    """Return rows that reach the goal, at most ``most`` of whose cells differ from the row, the fewest first.

    It starts from the nearest rows that reach the goal and from single changes, undoes what is not needed, and brings
    numbers back towards the row. Of rows that change the same columns, the nearest is returned. There are up to twice
    ``count``, as some may be predicted otherwise in another table.
    """
    order = np.argsort(~goal.valid, kind="stable")[:_NEAR]
    donors, reach = cells.rows[order], goal.valid[order]
    offered = cells.offered(donors)
    if len(
        other := np.flatnonzero(~same(offered, donors).all(axis=1))
    ):  # the others were predicted with the table
        reach[other] = goal(offered[other])
    nearest = np.argsort(cells.moved(offered).sum(axis=1), kind="stable")
    starts = offered[nearest[reach[nearest]]][:_STARTS]
    alone = cells.alone()
    rows = _undone(cells, goal, np.concatenate([starts, alone[goal(alone)]]))
    rows = rows[(cells.moved_units(rows) > 0).sum(axis=1) <= most]
    return _in_order(cells, _nearer(cells, goal, _in_order(cells, rows)[: 2 * count]))


def _in_order(cells: RowCells, rows: Floats) -> Floats:
    """Return the nearest of the rows that change the same units, those with the fewest changes first."""
    moved = cells.moved_units(rows)
    order = np.lexsort([moved.sum(axis=1), (moved > 0).sum(axis=1)])
    _, first = np.unique(moved[order] > 0, axis=0, return_index=True)
    return rows[order[np.sort(first)]]


def _undone(cells: RowCells, goal: Goal, rows: Floats) -> Floats:
    """Undo changes that are not needed, the largest first."""
    moved = cells.moved_units(rows)
    order, changes = np.argsort(-moved, axis=1, kind="stable"), (moved > 0).sum(axis=1)
    for turn in range(int(changes.max(initial=0))):
        of = np.flatnonzero(changes > max(turn, 1))
        tried = rows[of]
        for at, number_of in enumerate(order[of, turn].tolist()):
            columns = cells.units[number_of].columns
            tried[at, columns] = cells.row[columns]
        valid = goal(tried)
        rows[of[valid]] = tried[valid]
    return rows


def _nearer(cells: RowCells, goal: Goal, rows: Floats) -> Floats:
    """Bring changed numbers as near to the row as the goal allows, the largest change first, by bisection."""
    moved = cells.moved_units(rows) * [unit.ordered for unit in cells.units]
    order = np.argsort(-moved, axis=1, kind="stable")
    for turn in range(int((moved > 0).sum(axis=1).max(initial=0))):
        of = np.flatnonzero((moved > 0).sum(axis=1) > turn)
        units = [cells.units[number_of] for number_of in order[of, turn]]
        steps = [
            _steps(cells, rows[row, unit.columns], unit)
            for row, unit in zip(of, units, strict=True)
        ]
        low, high = (
            np.zeros(len(of), dtype=np.int64),
            np.array([len(step) - 1 for step in steps]),
        )
        while (live := np.flatnonzero(low < high)).size:
            # Several values at a time, as a call of a model costs more than a few rows of it.
            between = (
                low[live, None]
                + (high - low)[live, None] * np.arange(_BETWEEN) // _BETWEEN
            )
            tried = np.repeat(rows[of[live]], _BETWEEN, axis=0)
            for at, (k, step) in enumerate(zip(live, between, strict=True)):
                some = slice(at * _BETWEEN, (at + 1) * _BETWEEN)
                tried[some, units[k].columns] = steps[k][step]
            valid = goal(tried).reshape(between.shape)
            first, ends = (
                np.where(valid.any(axis=1), valid.argmax(axis=1), _BETWEEN),
                np.c_[between, high[live]],
            )
            each = np.arange(len(live))
            low[live], high[live] = (
                np.where(first > 0, ends[each, first - 1] + 1, low[live]),
                ends[each, first],
            )
        for row, unit, step, k in zip(of, units, steps, high, strict=True):
            rows[row, unit.columns] = step[k]
    return rows


def _steps(cells: RowCells, changed: Floats, unit: Unit) -> Floats:
    """Return the patterns between a unit of the row and a changed one, from the row's own on ``(steps, columns)``."""
    column, value = int(unit.columns[0]), float(changed[0])
    own, values = float(cells.known(cells.row[column], column)), unit.patterns[:, 0]
    # Nothing is between a missing cell and a number.
    inside = unit.patterns[(values > min(own, value)) & (values < max(own, value))]
    return np.concatenate([inside if value > own else inside[::-1], changed[None]])


def near_data(cells: RowCells, goal: Goal, rows: Floats) -> tuple[Floats, Floats]:
    """Return how far rows are from the nearest row of the outcome, and how many of those are as far from theirs."""
    near = cells.rows[np.flatnonzero(goal.valid)[:_NEAR]]
    if len(near) < 2:
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    distances = cells.distances(near[:_USUAL], near)
    np.fill_diagonal(distances, np.inf)
    usual, to_data = distances.min(axis=1), cells.distances(rows, near).min(axis=1)
    return to_data, (1 + (usual >= to_data[:, None]).sum(axis=1)) / (len(usual) + 1)
