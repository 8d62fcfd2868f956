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
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import check_choice, check_kind, check_names, is_number
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.late import pd
from permgrad.base.numerals import number
from permgrad.data.read.cells import PRESENT, MissingCodes, canonical

#: Values of a column that are tried one by one.
_TRIED = 32
#: Donors that lend cells, rows predicted for one change more, changes tried value by value, rows that are refined.
_DONORS, _BUDGET, _LEVELS, _REFINED = 48, 2000, 6, 16
#: With how many sets of changed columns for each result no further change is tried.
_ENOUGH = 2
#: Values between a cell and its own that are tried at a time.
_BETWEEN = 32
#: How many changes more a row may have for being wholly unlike the other results.
_UNLIKE = 0.5
#: As how many changes more it counts that a row goes further than another one, and again for each such result before:
#: more than ranks of distances can make up for.
_BEYOND = 0.4
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
    ``ordered``: whether a column holds numbers or dates. ``only``: where a column is, bool ``(columns, columns)``.
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
    ) -> None:
        self.names = form.names
        self._pools = {k: form.library.series(each.cells) for k, each in enumerate(form.columns) if not each.numeric}
        self._scales = {place: _scale(cells) for place, cells in self._pools.items()}
        self.ordered = np.array([k not in self._pools or _are_dates(self._pools[k]) for k in range(len(self.names))])
        self._row_codes, self.row, self.rows = row, self._scaled(row[None])[0], self._scaled(rows)
        infinite = np.isinf(self.rows).any(axis=0) | np.isinf(self.row)
        for name in [name for name, broken in zip(self.names, infinite, strict=True) if broken]:
            problem = f"Counterfactuals have no distance in column {name!r}, which holds infinity"
            raise InputError(problem, hint="Replace infinity by NaN or by a large number.", code="PG014")
        self._codes = {
            place: self._missing(place, codes) for place, name in enumerate(self.names) if codes.holds_for(name)
        }
        self._spreads = [
            _spread(column[np.isfinite(column)]) if ordered else np.nan
            for column, ordered in zip(self.known(self.rows).T, self.ordered, strict=True)
        ]
        for name, value in (("ranges", ranges), ("direction", direction)):
            check_kind(name, value, Mapping, "a mapping", f"Pass for example {name}={{'age': …}}.")
        self.only = np.eye(len(self.names), dtype=bool)
        self._limits = {self._place(name, "ranges"): limit for name, limit in ranges.items()}
        self._ways = {self._place(name, "direction"): way for name, way in direction.items()}
        fixed_places = [self._place(name, "fixed") for name in check_names("fixed", fixed, "Pass a list of columns.")]
        values = [self._on_scale(k) if self.ordered[k] else self._listed(k) for k in range(len(self.names))]
        self.values = [each[:0] if place in fixed_places else each for place, each in enumerate(values)]

    # ---- arguments ---------------------------------------------------------------------------------------------------
    def _place(self, name: Any, argument: str) -> int:
        if name not in self.names:
            raise unknown(f"A column in {argument}=", name, self.names)
        return self.names.index(name)

    def _missing(self, place: int, codes: MissingCodes) -> Floats:
        """Return the codes of missing cells, on the scale of a column."""
        if (cells := self._pools.get(place)) is None:
            return codes.numbers[np.isin(codes.labels, codes.holds_for(self.names[place]))]
        texts = map(canonical, cells)
        return np.flatnonzero([codes.kind_of(text, self.names[place]) != PRESENT for text in texts]).astype(np.float64)

    def known(self, rows: Any, place: int | None = None) -> Floats:
        """Return rows, or cells of one column, with NaN for the model's codes of missing cells."""
        coded = {column: codes for column, codes in self._codes.items() if place in (None, column)}
        rows = np.array(rows) if coded else np.asarray(rows)
        for column, codes in coded.items():
            cells = rows if place is not None else rows[:, column]
            cells[np.isin(cells, codes)] = np.nan
        return rows

    def _on_scale(self, place: int) -> Floats:
        """Return the numbers or dates that a column may take: those of the table, and the ends of a range."""
        known, own = self.known(self.rows[:, place], place), self.known(self.row[place], place)
        values = np.unique(known[~np.isnan(known)])
        limit = self._limits.get(place, (None, None))
        low, high = _ends(f"ranges[{self.names[place]!r}]", limit, dates=place in self._pools)
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
        name, cells, listed = self.names[place], self._pools[place], self._limits.get(place)
        if place in self._ways:
            problem = f"direction needs numbers or dates, and {name!r} has other cells"
            raise InputError(problem, hint="List the values that it may take in ranges=.", code="PG006")
        known = np.unique(self.known(self.rows[:, place], place))
        if listed is None:
            return known[~np.isnan(known)]
        if isinstance(listed, (str, bytes, Mapping)) or not isinstance(listed, Iterable):
            problem = f"ranges[{name!r}] must list values, got {shown(listed)}"
            raise InputError(problem, hint=f"Pass ranges={{{name!r}: ['…', '…']}}.", code="PG001")
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
            nearest = order[np.searchsorted(scale[order], rows[:, place]).clip(0, len(order) - 1)]
            absent = self._row_codes[place] if np.isnan(self.row[place]) else np.isnan(scale).argmax()
            rows[:, place] = np.where(missing, absent, nearest)
        return rows

    def distances(self, rows: Floats, others: Floats) -> Floats:
        """Return how far rows are apart, ``(rows, others)``, summed over columns."""
        from scipy.spatial.distance import cdist

        rows, others = self.known(rows), self.known(others)
        gaps = np.isnan(rows).any(axis=0) | np.isnan(others).any(axis=0)
        numbers, codes = self.ordered & ~gaps, ~(self.ordered | gaps)
        unit, total = np.array(self._spreads)[numbers], np.zeros((len(rows), len(others)))
        total += cdist(rows[:, numbers] / unit, others[:, numbers] / unit, "cityblock")
        if codes.any():
            total += codes.sum() * cdist(rows[:, codes], others[:, codes], "hamming")
        for place in np.flatnonzero(gaps):
            total += self._apart(int(place), rows[:, None, place], others[None, :, place])
        return total

    def _apart(self, place: int, one: Floats, other: Floats) -> Floats:
        """Return distances of cells: in median absolute deviations, and 1 between categories and to a missing cell."""
        one, other = self.known(one, place), self.known(other, place)
        missing = np.isnan(one) | np.isnan(other)
        apart = np.abs(one - other) / self._spreads[place] if self.ordered[place] else one != other
        return np.where(missing, np.isnan(one) != np.isnan(other), apart)

    def moved(self, rows: Floats) -> Floats:
        """Return how far each cell of rows is from the row's. Unchanged cells have 0."""
        apart = [self._apart(place, rows[:, place], own) for place, own in enumerate(self.row)]
        return np.stack(apart, axis=1)

    def offered(self, donors: Floats) -> Floats:
        """Return the row with what it may take from donors: on a scale the nearest allowed value."""
        rows = np.repeat(self.row[None], len(donors), axis=0)
        for place, values in enumerate(self.values):
            theirs = self.known(donors[:, place], place)
            if len(values):
                taken = theirs.clip(values[0], values[-1]) if self.ordered[place] else theirs
                allowed = np.isin(taken, values)
                rows[allowed, place] = taken[allowed]
        return rows

    def options(self, donors: Floats) -> tuple[Floats, Integers]:
        """Return the row with one cell changed to each of the values to try, and the place of that cell."""
        offered, rows, places = self.offered(donors), [self.row[None][:0]], list[int]()
        for place, allowed in enumerate(self.values):
            few = np.linspace(0, len(allowed) - 1, min(len(allowed), _TRIED)).astype(np.int64)
            values = allowed[few] if self.ordered[place] else pd.unique(offered[:, place])
            tried = np.repeat(self.row[None], len(values), axis=0)
            tried[:, place] = values
            tried = tried[~same(tried, self.row).all(axis=1)][:_TRIED]
            rows.append(tried)
            places += [place] * len(tried)
        return np.concatenate(rows), np.array(places, dtype=np.int64)


def same(rows: Floats, others: Floats) -> Booleans:
    """Return where cells are equal. Missing cells are."""
    return np.asarray((rows == others) | (np.isnan(rows) & np.isnan(others)))


def distinct(rows: Floats) -> Floats:
    """Return different rows once, in their order."""
    return rows[np.sort(_first_of(rows)[0])]


def _first_of(rows: Floats) -> tuple[Integers, Integers]:
    """Return the place of the first of each set of equal rows, and which set each row is in."""
    known = np.where(np.isnan(rows), np.inf, rows)
    _, first, each = np.unique(known, axis=0, return_index=True, return_inverse=True)
    return first, each.reshape(-1)


def _are_dates(cells: pd.Series[Any]) -> bool:
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    return kind in ("datetime64", "datetime", "date") and bool(cells.notna().any())


def _scale(cells: pd.Series[Any]) -> Floats:
    """Return what the codes of a pool stand for: seconds of dates, else the codes, NaN where missing."""
    scale = _seconds(cells) if _are_dates(cells) else np.arange(len(cells), dtype=np.float64)
    return np.where(cells.isna(), np.nan, scale)


def _seconds(dates: Sequence[Any] | pd.Series[Any]) -> Floats:
    stamps = pd.to_datetime(pd.Series(dates), utc=True)
    return np.asarray((stamps - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64)


def _spread(values: Floats) -> float:
    """Return the unit of distances: the median absolute deviation, where it is 0 the mean one, else 1.

    Of two values it is their difference, so that they are as far apart as two categories.
    """
    levels = np.unique(values)
    if len(levels) < 3:
        return float(levels[-1] - levels[0]) or 1.0 if len(levels) else 1.0
    apart = np.abs(values - np.median(values))
    return float(np.median(apart)) or float(apart.mean())


class Goal:
    """The outcome wanted for the row: a class, any other class, or an output between two ends.

    ``want`` is the argument of ``pg.counterfactuals``, and ``words`` say it, such as ``"predict 'yes'"``. ``valid``:
    which rows of the table the model predicts so, of the ``looked`` nearest ones that it was asked for. ``already``:
    whether it predicts the row so. ``asks``: whether the model's own decision is asked for in the search, too, which is
    so anyway if it is seen to differ from the largest output. ``misled``: whether that was seen of results alone.
    """

    def __init__(self, subject: PredictorSubject, cells: RowCells, want: Any, *, asks: bool = False) -> None:
        self.subject, self.cells = subject, cells
        self.ends: tuple[float, float] | None = None
        self.classes = subject.task == "classification"
        self.names = subject.class_names if self.classes else subject.output_names
        self._decides = subject.deciding()
        rows = np.concatenate([cells.row[None], cells.rows[:_NEAR]])
        outputs = self._outputs(rows)
        first = self._decides.first.argmax(dim=1) != subject.first.argmax(dim=1)
        self._asks, self.misled = asks or bool(first.any()), False
        seen = outputs, self._outputs(rows, self._decides) if self._asks else outputs
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
            self.ends = _ends("want", limit if isinstance(limit, (tuple, list)) else (limit, None))
        elif not self.classes:
            if len(self.names) > 1:
                hint = f"Pass want={{{self.names[0]!r}: (low, high)}}."
                raise InputError("want must name one of several outputs", hint=hint, code="PG005")
            name, self.ends = self.names[0], _ends("want", want)
        if self.ends is not None:
            what = "a number" if subject.task == "regression" else f"{shown(name)} with a probability"
            words = ("at least", "at most")
            ends = [f"{how} {number(end)}" for how, end in zip(words, self.ends, strict=True) if np.isfinite(end)]
            self.words = f"predict {what} of {' and '.join(ends)}"
        elif not self.other:
            self.words = f"predict {shown(want)}"
        self.column = label_place(name, {known: place for place, known in enumerate(self.names)})
        if self.column < 0:
            raise unknown("want", want, self.names)
        valid = self.judged(*seen)[0]
        self.already, self.valid = bool(valid[0]), self._reached(valid[1:])

    def decides_otherwise(self) -> bool:
        """Return whether the model decides for another class of the row than that of the largest output."""
        return bool(self._outputs(self.cells.row[None], self._decides).argmax() != self.own[0].argmax())

    def _reached(self, valid: Booleans) -> Booleans:
        """Return which rows of the table are known to reach the goal. Those far away are predicted only if few do."""
        rows = self.cells.rows
        if valid.sum() < _USUAL:
            valid = np.concatenate([valid, self(rows[_NEAR:])[0]])
        self.looked = len(valid)
        return np.append(valid, np.zeros(len(rows) - len(valid), dtype=bool))

    def _outputs(self, rows: Floats, subject: PredictorSubject | None = None) -> Floats:
        subject, numbers = subject or self.subject, torch.from_numpy(self.cells.written(rows))
        return subject.predicted(outputs_of(subject, (numbers,), subject.table_batch))

    def predicted(self, rows: Floats, *, asks: bool = False) -> Seen:
        """Return outputs of rows, and outputs of which the largest is the class that the model decides for."""
        outputs = self._outputs(rows)
        asks = self._decides is not self.subject and (asks or self._asks)
        return outputs, self._outputs(rows, self._decides) if asks else outputs

    def again(self, rows: Floats) -> Seen:
        """Predict results and let the model decide, in one table, or one by one if its rows act on each other."""
        outputs, decided = self.predicted(np.concatenate([self.cells.row[None], rows]), asks=True)
        self.misled |= not self._asks and bool((outputs.argmax(axis=1) != decided.argmax(axis=1)).any())
        if np.allclose(outputs[:1], self.own[0]) and np.array_equal(decided[:1].argmax(1), self.own[1].argmax(1)):
            return outputs[1:], decided[1:]
        first, second = zip(*(self.predicted(row[None], asks=True) for row in rows), strict=True)
        return np.concatenate(first), np.concatenate(second)

    def __call__(self, rows: Floats) -> tuple[Booleans, Floats]:
        """Return which rows reach the goal, and by how much they do, or fall short of it (negative)."""
        return self.judged(*self.predicted(rows)) if len(rows) else (np.zeros(0, dtype=bool), np.zeros(0))

    def judged(self, outputs: Floats, decided: Floats) -> tuple[Booleans, Floats]:
        """Return the same of rows that were predicted."""
        own = outputs[:, self.column]
        if self.ends is not None:
            margin = np.minimum(own - self.ends[0], self.ends[1] - own)
            return margin >= 0, np.nan_to_num(margin, nan=-np.inf)
        margin = own - np.delete(outputs, self.column, axis=1).max(axis=1)
        return (decided.argmax(axis=1) == self.column) != self.other, -margin if self.other else margin

    def described(self, outputs: Floats, decided: Floats) -> dict[str, Any]:
        """Return predictions in words of the model: numbers, or classes with the probability that is asked for."""
        if not self.classes:
            return {"prediction": outputs[:, self.column].tolist()}
        labels = decided.argmax(axis=1)
        known = self.subject.call.classes or self.names
        said: dict[str, Any] = {"prediction": [known[label] for label in labels]}
        if not self.subject.call.one_hot:
            said["probability"] = outputs[np.arange(len(outputs)), labels if self.other else self.column]
        return said


def _ends(name: str, limit: Any, *, dates: bool = False) -> tuple[float, float]:
    """Return both ends of a range, infinity where it is open."""
    try:
        low, high = (None if end is None else _seconds([end])[0] if dates else end for end in limit)
    except (TypeError, ValueError):
        low = high = np.nan
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    if not (is_number(low) and is_number(high) and low <= high):
        problem = f"{name} must be a pair of {'dates' if dates else 'numbers'} that rises, got {shown(limit)}"
        raise InputError(problem, hint="Pass (low, high), with None for an open end.", code="PG002")
    return float(low), float(high)


class Search:
    """The search for rows that reach a goal, ``most`` of whose cells differ from one row."""

    def __init__(self, cells: RowCells, goal: Goal, most: int) -> None:
        self.cells, self.goal, self.most = cells, goal, most
        self._donors = cells.offered(cells.rows[goal.valid][:_DONORS])
        self._options, self._places = cells.options(np.concatenate([cells.rows[goal.valid], cells.rows[~goal.valid]]))

    def run(self, count: int) -> Floats:
        """Return different rows that reach the goal, of which ``count`` will be chosen."""
        rows = self._from_donors(count)
        rows = distinct(np.concatenate([rows, self._by_value(rows, count)]))
        moved = self.cells.moved(rows)
        order = np.lexsort([moved.sum(axis=1), (moved > 0).sum(axis=1)])
        few = rows[_in_turn(order, moved > 0)][: max(_REFINED, 2 * count)]
        # As they were found, too, in case there are not enough ways to reach the goal.
        return distinct(np.concatenate([self._nearer(distinct(self._pruned(few))), few]))

    def _from_donors(self, count: int) -> Floats:
        """Let each donor lend the cell that helps most, again and again, and return all rows that reach the goal.

        It goes on by one change beyond the fewest ones if few sets of columns reach the goal.
        """
        rows = np.repeat(self.cells.row[None], len(self._donors), axis=0)
        open_, found = self.cells.moved(self._donors) > 0, list[Floats]()
        for step in range(self.most):
            donor, place = np.nonzero(open_)
            lent = np.where(self.cells.only[place], self._donors[donor], rows[donor])
            # Single changes by value are predicted with the first ones. Many of those are equal.
            tried = lent if step else np.concatenate([lent, self._options])
            first, each = _first_of(tried)
            reached, by = self.goal(tried[first])
            valid, margin = reached[each], by[each]
            found.append(tried[valid])
            if not step:
                self._singles = valid[len(lent) :], margin[len(lent) :]
            sets = len(np.unique(self.cells.moved(tried[valid]) > 0, axis=0))
            if any(map(len, found[:-1])) or sets >= _ENOUGH * count:
                break
            # A cell that reaches the goal is left out of further changes, so that others do without it.
            open_[donor, place] = ~valid[: len(lent)]
            score = np.full(open_.shape, -np.inf)
            score[donor, place] = margin[: len(lent)]
            best, going = np.where(open_, score, -np.inf).argmax(axis=1), open_.any(axis=1, keepdims=True)
            rows = np.where(self.cells.only[best] & going, self._donors, rows)
            open_[np.arange(len(best)), best] = False
        return np.concatenate(found)

    def _by_value(self, known: Floats, count: int) -> Floats:
        """Change one cell more at a time to each of its values, and go on from the rows that came nearest to the goal.

        Where all rows can be kept, this visits every combination of values. It ends with the first changes that reach
        the goal if there are enough results with one change more.
        """
        states, found, options = self.cells.row[None], [known], np.arange(len(self._places))
        for step in range(min(self.most, _LEVELS)):
            state, option = np.nonzero(self.cells.moved(states)[:, self._places[options]] == 0)
            option = options[option]
            rows = np.where(self.cells.only[self._places[option]], self._options[option], states[state])
            valid, margin = self.goal(rows) if step else self._singles
            found.append(rows[valid])
            changes = np.unique(self.cells.moved(np.concatenate(found)) > 0, axis=0).sum(axis=1)
            if not len(rows) or ((changes <= step + 1).any() and (changes <= step + 2).sum() >= count):
                break
            # What reaches the goal alone needs no further change.
            options = options if step else options[~valid]
            rows, margin = rows[~valid], margin[~valid]
            order = _in_turn(np.argsort(-margin, kind="stable"), self.cells.moved(rows) > 0)
            states = distinct(rows[order])[: max(1, _BUDGET // max(1, len(options)))]
        return np.concatenate(found[1:])

    def _pruned(self, rows: Floats) -> Floats:
        """Undo changes that are not needed, the largest first."""
        while True:
            moved = self.cells.moved(rows)
            # Single changes were tried: none of two is superfluous.
            of, place = np.nonzero((moved > 0) & ((moved > 0).sum(axis=1) > 2)[:, None])
            valid, _ = self.goal(np.where(self.cells.only[place], self.cells.row, rows[of]))
            if not valid.any():
                return rows
            saved = np.zeros(moved.shape)
            saved[of[valid], place[valid]] = moved[of[valid], place[valid]]
            undone = self.cells.only[saved.argmax(axis=1)] & (saved.max(axis=1) > 0)[:, None]
            rows = np.where(undone, self.cells.row, rows)

    def _nearer(self, rows: Floats) -> Floats:
        """Bring changed numbers as near to the row as the goal allows, the largest change first."""
        moved = self.cells.moved(rows) * self.cells.ordered
        for turn in range(int((moved > 0).sum(axis=1).max(initial=0))):
            place = np.argsort(-moved, axis=1, kind="stable")[:, turn]
            of = np.flatnonzero(moved[np.arange(len(rows)), place] > 0)
            columns = place[of]
            steps = [self._steps(rows[row, column], column) for row, column in zip(of, columns, strict=True)]
            low, high = np.zeros(len(of), dtype=np.int64), np.array([len(step) - 1 for step in steps])
            while (live := np.flatnonzero(low < high)).size:
                between = low[live, None] + (high - low)[live, None] * np.arange(_BETWEEN) // _BETWEEN
                tried = np.repeat(rows[of[live]], _BETWEEN, axis=0)
                values = [steps[k][step] for k, step in zip(live, between, strict=True)]
                tried[np.arange(len(tried)), np.repeat(columns[live], _BETWEEN)] = np.concatenate(values)
                valid = self.goal(tried)[0].reshape(between.shape)
                first = np.where(valid.any(axis=1), valid.argmax(axis=1), _BETWEEN)
                ends = np.column_stack([low[live] - 1, between, high[live]])
                each = np.arange(len(live))
                low[live], high[live] = ends[each, first] + 1, ends[each, first + 1]
            rows[of, columns] = [step[k] for step, k in zip(steps, high, strict=True)]
        return rows

    def _steps(self, value: float, column: int) -> Floats:
        """Return the values between a cell of the row and a changed one, from the row's own on."""
        own, values = float(self.cells.known(self.cells.row[column], column)), self.cells.values[column]
        # Nothing is between a missing cell and a number.
        inside = values[(values > min(own, value)) & (values < max(own, value))]
        return np.array([*(inside if value > own else inside[::-1]), value])

    # ---- choosing ----------------------------------------------------------------------------------------------------
    def chosen(self, rows: Floats, near: Booleans, count: int) -> tuple[Floats, dict[str, Any], Seen]:
        """Return up to so many rows, their measures and predictions: few changes first, each unlike those before.

        ``near``: which rows of the table have that outcome.
        """
        moved = self.cells.moved(rows)
        changed, distance = moved > 0, moved.sum(axis=1)
        to_data, plausibility = self._near_data(rows, np.flatnonzero(near)[:_NEAR])
        apart = self.cells.distances(rows, rows)
        both, either = ((how(changed[:, None], changed)).sum(axis=2) for how in (np.logical_and, np.logical_or))
        typical = np.median(apart[apart > 0]) if (apart > 0).any() else 1.0
        unlike = 1 - both / np.maximum(either, 1) + np.minimum(apart / typical, 1) / 2
        shares = pd.DataFrame([distance, np.nan_to_num(to_data)]).rank(axis=1, pct=True)
        # A row beyond another one, seen from the row itself, only changes more. It is left out unless it is nearer to
        # the data.
        beyond = np.isclose(distance[:, None], apart + distance) & (apart > 0)
        further = beyond & ~(to_data[:, None] < to_data)
        more = beyond.any(axis=1)
        cost = changed.sum(axis=1) + _BEYOND * (shares.sum().to_numpy() + more)
        order, left = list[int](), ~further.any(axis=1)
        seen = self.goal.own[0][:0], self.goal.own[1][:0]
        while len(order) < count and left.any():
            while len(order) < count and left.any():
                gain = unlike[:, order].min(axis=1, initial=2)
                each = cost + _BEYOND * more * more[order].sum() - _UNLIKE * gain
                order.append(int(np.where(left, each, np.inf).argmin()))
                left[order[-1]] = False
            order.sort(key=lambda place: cost[place])
            seen = self.goal.again(rows[order])
            valid, _ = self.goal.judged(*seen)
            order, seen = list(np.array(order)[valid]), (seen[0][valid], seen[1][valid])
        measures = {
            "changes": changed.sum(axis=1),
            "distance": distance,
            "to_data": to_data,
            "plausibility": plausibility,
        }
        return rows[order], {name: each[order] for name, each in measures.items()}, seen

    def _near_data(self, rows: Floats, places: Integers) -> tuple[Floats, Floats]:
        """Return how far rows are from the nearest row of the outcome, and how many of those are as far from theirs."""
        near = self.cells.rows[places]
        if len(near) < 2:
            return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        distances = self.cells.distances(near[:_USUAL], near)
        np.fill_diagonal(distances, np.inf)
        usual, to_data = distances.min(axis=1), self.cells.distances(rows, near).min(axis=1)
        return to_data, (1 + (usual >= to_data[:, None]).sum(axis=1)) / (len(usual) + 1)


def _in_turn(order: Integers, changed: Booleans) -> Integers:
    """Return an order of rows by changes. Each turn that the same columns had before counts as one change more."""
    keys = pd.Series([changed[place].tobytes() for place in order], dtype=object)
    turns = keys.groupby(keys).cumcount().to_numpy() + changed[order].sum(axis=1)
    return order[np.argsort(turns, kind="stable")]
