"""What would have to differ in a row: what its cells may become, what is wanted, and
the search for few changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from permgrad.attribution.subject.frame_tensors import FrameForm
from permgrad.attribution.subject.outputs import label_place
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.attribution.units_of_change import Combinations, Unit, units_of
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import check_choice, check_kind, check_names, is_number
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.late import pd
from permgrad.base.numerals import number
from permgrad.base.sequences import values_at
from permgrad.data.read.cells import PRESENT, MissingCodes, canonical
from permgrad.data.tasks import Task

#: The nearest rows that reach the goal, from which the search starts, values of a
#: column that are tried alone, and values between a cell and its own that are tried at
#: a time.
_STARTS = 64
_TRIED = 32
_BETWEEN = 48
#: The nearest rows are predicted first, and distances are taken to them. All rows are
#: predicted only if fewer than those of which the usual distance is taken have the
#: outcome.
_NEAR = 2000
_USUAL = 100


#: Outputs of rows, and those of which the largest is the class that the model decides
#: for.
Seen = tuple[Floats, Floats]


class RowCells:
    """A row and the rows of a table, each cell on the scale of its column, and what may
    change in the row.

    ``form`` has read ``rows`` and ``row`` as its numbers. On a scale, a date is its
    seconds, another cell that is no number its code, and a missing cell NaN. The
    model's own ``codes`` of missing cells stay in the rows, as it may tell them apart,
    but count as missing. ``values``: what each column may be, in rising order, nothing
    if it stays. ``ordered``: whether a column holds numbers or dates. ``units``: what
    changes together, ``blocks`` of columns that are one feature, and every other column
    by itself. What goes with a cell of ``wordings`` is not asked.
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
        self._pools = {}
        self._scales = {}
        for column_index, frame_column in enumerate(form.columns):
            if not frame_column.numeric:
                cells = form.library.series(frame_column.cells)
                self._pools[column_index] = cells
                self._scales[column_index] = _scale(cells)
        self.ordered = np.array(
            [
                k not in self._pools or _are_dates(self._pools[k])
                for k in range(len(self.names))
            ]
        )
        self._row_codes = row
        self.row = self._scaled(row[None])[0]
        self.rows = self._scaled(rows)
        self._refuse_infinity()
        self._codes = {
            column_index: self._missing(column_index, codes)
            for column_index, column_name in enumerate(self.names)
            if codes.holds_for(column_name)
        }
        known_rows = self.known(self.rows)
        together = [list(map(self.names.index, block)) for block in blocks]
        self._spreads = self._units_of_distance(known_rows, together)
        _check_mapping("ranges", ranges)
        _check_mapping("direction", direction)
        self._limits = self._by_place(ranges, "ranges")
        self._ways = self._by_place(direction, "direction")
        fixed_columns = check_names("fixed", fixed, "Pass a list of columns.")
        fixed_places = [
            self._place(column_name, "fixed") for column_name in fixed_columns
        ]
        self.values = list(map(self._values_of, range(len(self.names))))
        for fixed_index in fixed_places:
            self.values[fixed_index] = self.values[fixed_index][:0]
        own_cells = self.known(self.row[None])[0]
        self.units = units_of(
            self.values, self.ordered, together, known_rows, own_cells
        )
        self._combinations = Combinations(
            self.units, known_rows, own_cells, set(map(self.names.index, wordings))
        )

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

    def _units_of_distance(self, rows: Floats, together: list[list[int]]) -> Floats:
        """Return the unit of distances in each column of numbers or dates, NaN in
        others.
        """
        units = np.full(len(self.names), np.nan)
        for column_index in np.flatnonzero(self.ordered):
            column = rows[:, column_index]
            units[column_index] = _spread(column[np.isfinite(column)])
        for block in together:  # a feature counts once, however many columns it has
            units[block] *= len(block)
        return units

    def _values_of(self, column_index: int) -> Floats:
        """Return the values that the cells of a column may take, before any is
        fixed.
        """
        if self.ordered[column_index]:
            return self._on_scale(column_index)
        return self._listed(column_index)

    # ---- arguments -------------------------------------------------------------------
    def _by_place(self, by_name: Mapping[str, Any], argument: str) -> dict[int, Any]:
        """Return the values of a mapping from names of columns by their positions."""
        by_place = {}
        for column_name, value in by_name.items():
            by_place[self._place(column_name, argument)] = value
        return by_place

    def _place(self, name: Any, argument: str) -> int:
        if name not in self.names:
            raise unknown(f"column in {argument}", name, self.names)
        return self.names.index(name)

    def _missing(self, column_index: int, codes: MissingCodes) -> Floats:
        """Return the codes of missing cells, on the scale of a column."""
        if (cells := self._pools.get(column_index)) is None:
            return codes.numbers[
                np.isin(codes.labels, codes.holds_for(self.names[column_index]))
            ]
        texts = map(canonical, cells)
        return np.flatnonzero(
            [
                codes.kind_of(cell_text, self.names[column_index]) != PRESENT
                for cell_text in texts
            ]
        ).astype(np.float64)

    def known(self, rows: Any, column_index: int | None = None) -> Floats:
        """Return rows, or cells of one column, with NaN for the model's codes of
        missing cells.
        """
        coded = {
            column: codes
            for column, codes in self._codes.items()
            if column_index in (None, column)
        }
        if coded:
            rows = np.array(rows)
        else:
            rows = np.asarray(rows)
        for column, codes in coded.items():
            if column_index is not None:
                cells = rows
            else:
                cells = rows[:, column]
            cells[np.isin(cells, codes)] = np.nan
        return rows

    def _on_scale(self, column_index: int) -> Floats:
        """Return the numbers or dates that a column may take: those of the table, and
        the ends of a range.
        """
        known_cells = self.known(self.rows[:, column_index], column_index)
        own_cell = self.known(self.row[column_index], column_index)
        values = np.unique(known_cells[~np.isnan(known_cells)])
        limit = self._limits.get(column_index, (None, None))
        lower_bound, upper_bound = _ends(
            f"ranges[{self.names[column_index]!r}]",
            limit,
            dates=column_index in self._pools,
        )
        if column_index not in self._pools:
            are_integers = (values == np.rint(values)).all()
            lower_bound, upper_bound = (
                (np.ceil(lower_bound), np.floor(upper_bound))
                if are_integers
                else (lower_bound, upper_bound)
            )
            values = np.append(
                values,
                [
                    range_end
                    for range_end in (lower_bound, upper_bound)
                    if np.isfinite(range_end)
                ],
            )
        values = np.unique(
            values if np.isnan(own_cell) else np.append(values, own_cell)
        )
        allowed_direction = self._ways.get(column_index)
        if allowed_direction is not None:
            check_choice("direction", allowed_direction, ("up", "down"))
            if allowed_direction == "up":
                values = values[values >= own_cell]
            else:
                values = values[values <= own_cell]
        return values[(values >= lower_bound) & (values <= upper_bound)]

    def _listed(self, column_index: int) -> Floats:
        """Return the codes that a column without an order may take: those of the table,
        or those listed.
        """
        column_name = self.names[column_index]
        cells = self._pools[column_index]
        listed = self._limits.get(column_index)
        if column_index in self._ways:
            problem = (
                f"direction needs numbers or dates, and {column_name!r} has other cells"
            )
            raise InputError(
                problem,
                hint="List the values that it may take in ranges=.",
                code="PG006",
            )
        known_codes = np.unique(self.known(self.rows[:, column_index], column_index))
        if listed is None:
            return known_codes[~np.isnan(known_codes)]
        if isinstance(listed, (str, bytes, Mapping)) or not isinstance(
            listed, Iterable
        ):
            problem = f"ranges[{column_name!r}] must list values, got {shown(listed)}"
            raise InputError(
                problem,
                hint=f"Pass ranges={{{column_name!r}: ['…', '…']}}.",
                code="PG001",
            )
        listed = list(listed)
        for value in listed:
            if not cells.isin([value]).any():
                raise unknown(
                    f"ranges[{column_name!r}]", value, map(str, cells.dropna())
                )
        return np.intersect1d(known_codes, np.flatnonzero(cells.isin(listed)))

    # ---- rows ------------------------------------------------------------------------
    def _scaled(self, rows: Floats) -> Floats:
        rows = rows.copy()
        for column_index, scale in self._scales.items():
            rows[:, column_index] = scale[rows[:, column_index].astype(np.int64)]
        return rows

    def written(self, rows: Floats) -> Floats:
        """Return rows as the numbers of the table's form."""
        rows = rows.copy()
        for column_index, scale in self._scales.items():
            order = np.argsort(scale)
            missing = np.isnan(rows[:, column_index])
            nearest = order[
                np.searchsorted(scale[order], rows[:, column_index]).clip(
                    0, len(order) - 1
                )
            ]
            if np.isnan(self.row[column_index]):
                absent = self._row_codes[column_index]
            else:
                absent = np.isnan(scale).argmax()
            rows[:, column_index] = np.where(missing, absent, nearest)
        return rows

    def distances(self, rows: Floats, other_rows: Floats) -> Floats:
        """Return how far rows are apart, ``(rows, others)``, summed over columns."""
        from scipy.spatial.distance import cdist

        rows = self.known(rows)
        other_rows = self.known(other_rows)
        has_gaps = np.isnan(rows).any(axis=0) | np.isnan(other_rows).any(axis=0)
        numbers = self.ordered & ~has_gaps
        codes = ~(self.ordered | has_gaps)
        column_spreads = self._spreads[numbers]
        total = np.zeros((len(rows), len(other_rows)))
        total += cdist(
            rows[:, numbers] / column_spreads,
            other_rows[:, numbers] / column_spreads,
            "cityblock",
        )
        if codes.any():
            total += codes.sum() * cdist(
                rows[:, codes], other_rows[:, codes], "hamming"
            )
        for gap_column in np.flatnonzero(has_gaps):
            total += self._apart(
                int(gap_column),
                rows[:, None, gap_column],
                other_rows[None, :, gap_column],
            )
        return total

    def _apart(
        self, column_index: int, first_cells: Floats, second_cells: Floats
    ) -> Floats:
        """Return distances of cells: in median absolute deviations, and 1 between
        categories and to a missing cell.
        """
        first_cells = self.known(first_cells, column_index)
        second_cells = self.known(second_cells, column_index)
        missing = np.isnan(first_cells) | np.isnan(second_cells)
        if self.ordered[column_index]:
            apart = np.abs(first_cells - second_cells) / self._spreads[column_index]
        else:
            apart = first_cells != second_cells
        return np.where(missing, np.isnan(first_cells) != np.isnan(second_cells), apart)

    def moved(self, rows: Floats) -> Floats:
        """Return how far each cell of rows is from the row's.

        Unchanged cells have 0.
        """
        apart = []
        for column_index, own_cell in enumerate(self.row):
            apart.append(self._apart(column_index, rows[:, column_index], own_cell))
        return np.stack(apart, axis=1)

    def moved_units(self, rows: Floats) -> Floats:
        """Return how far each unit of rows is from the row's ``(rows, units)``.

        Unchanged units have 0.
        """
        moved = self.moved(rows)
        unit_sums = []
        for column_unit in self.units:
            unit_sums.append(moved[:, column_unit.columns].sum(axis=1))
        return np.stack(unit_sums, axis=1)

    def possible(self, rows: Floats) -> Booleans:
        """Return which rows combine what they change with cells that some row of the
        table has beside it.
        """
        return self._combinations.occur(self.known(rows))

    def offered(self, donors: Floats) -> Floats:
        """Return the row with what it may take from donors: on a scale the nearest
        allowed value.
        """
        offered_rows = np.repeat(self.row[None], len(donors), axis=0)
        theirs = self.known(donors)
        for column_unit in self.units:
            if not len(column_unit.patterns):
                continue
            donor_cells = theirs[:, column_unit.columns]
            if column_unit.ordered and len(column_unit.columns) == 1:
                donor_cells = donor_cells.clip(
                    column_unit.patterns[0], column_unit.patterns[-1]
                )
            allowed = np.flatnonzero(column_unit.allowed(donor_cells))
            offered_rows[np.ix_(allowed, column_unit.columns)] = donor_cells[allowed]
        return offered_rows

    def alone(self) -> Floats:
        """Return the row with one unit changed: on a scale to either end, else to each
        of its patterns.
        """
        changed_rows = [self.row[None][:0]]
        for column_unit in self.units:
            tried = column_unit.patterns[:_TRIED]
            if column_unit.ordered and len(column_unit.patterns):
                tried = column_unit.patterns[[0, -1]]
            changed = np.repeat(self.row[None], len(tried), axis=0)
            changed[:, column_unit.columns] = tried
            changed_rows.append(changed)
        return np.concatenate(changed_rows)


def same(rows: Floats, other_rows: Floats) -> Booleans:
    """Return where cells are equal. Missing cells are."""
    return np.asarray((rows == other_rows) | (np.isnan(rows) & np.isnan(other_rows)))


def _are_dates(cells: pd.Series[Any]) -> bool:
    inferred_type = pd.api.types.infer_dtype(cells, skipna=True)
    return inferred_type.startswith("date") and bool(cells.notna().any())


def _scale(cells: pd.Series[Any]) -> Floats:
    """Return what the codes of a pool stand for: seconds of dates, else the codes, NaN
    where missing.
    """
    if _are_dates(cells):
        scale = _seconds(cells)
    else:
        scale = np.arange(len(cells), dtype=np.float64)
    return np.where(cells.isna(), np.nan, scale)


def _seconds(dates: Sequence[Any] | pd.Series[Any]) -> Floats:
    stamps = pd.to_datetime(pd.Series(dates), utc=True)
    return np.asarray(
        (stamps - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64
    )


def _spread(values: Floats) -> float:
    """Return the unit of distances: the median absolute deviation, where it is 0 the
    mean one, else 1.

    Of two values it is their difference, so that they are as far apart as two
    categories.
    """
    levels = np.unique(values)
    if len(levels) < 3:
        if len(levels):
            return float(levels[-1] - levels[0]) or 1.0
        return 1.0
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


def _measured_in_words(task: Task, name: Any) -> str:
    """Return in words what a range is of."""
    if task.numeric:
        return "a number"
    return f"{shown(name)} with a probability"


def _range_in_words(ends: tuple[float, float]) -> str:
    """Return a range in words, without its open end."""
    words = zip(("at least", "at most"), ends, strict=True)
    return " and ".join(
        f"{how} {number(end)}" for how, end in words if np.isfinite(end)
    )


class Goal:
    """The outcome wanted for the row: a class, any other class, or an output between
    two ends.

    ``want`` is the argument of ``pg.counterfactuals``, and ``words`` say it, such as
    ``"predict 'yes'"``. ``valid``: which rows of the table the model predicts so, of
    the ``looked`` nearest ones that it was asked for. ``already``: whether it predicts
    the row so.
    """

    def __init__(self, subject: PredictorSubject, cells: RowCells, want: Any) -> None:
        self.subject = subject
        self.cells = cells
        self.ends: tuple[float, float] | None = None
        self.classes = subject.task.has_classes
        self.names = (
            subject.outputs.class_names
            if self.classes
            else subject.outputs.output_names
        )
        self._decides = subject.deciding()
        nearest_rows = np.concatenate([cells.row[None], cells.rows[:_NEAR]])
        predictions = self._seen(nearest_rows)
        self.own = predictions[0][:1], predictions[1][:1]
        own_decisions = self.own[1]
        if want is None and self.classes and len(self.names) == 2:
            want = self.names[own_decisions[0].argmin()]
        self.other = want is None and self.classes
        target_name = want
        if self.other:
            target_name = self.names[own_decisions[0].argmax()]
            self.words = f"predict another class than {target_name!r}"
        elif isinstance(want, Mapping) and len(want) == 1:
            ((target_name, limit),) = want.items()
            self.ends = _ends(
                "want", limit if isinstance(limit, (tuple, list)) else (limit, None)
            )
        elif not self.classes:
            _refuse_several(self.names)
            target_name = self.names[0]
            self.ends = _ends("want", want)
        if self.ends is not None:
            what = _measured_in_words(subject.task, target_name)
            self.words = f"predict {what} of {_range_in_words(self.ends)}"
        elif not self.other:
            self.words = f"predict {shown(want)}"
        label_positions = dict(zip(self.names, range(len(self.names)), strict=True))
        self.column = label_place(target_name, label_positions)
        if self.column < 0:
            raise unknown("want", want, self.names)
        valid = self.judged(*predictions)
        self.already, self.valid = bool(valid[0]), self._reached(valid[1:])

    def _reached(self, valid: Booleans) -> Booleans:
        """Return which rows of the table are known to reach the goal. Those far away
        are predicted only if few do.
        """
        table_rows = self.cells.rows
        if valid.sum() < _USUAL:
            valid = np.concatenate([valid, self(table_rows[_NEAR:])])
        self.looked = len(valid)
        return np.append(valid, np.zeros(len(table_rows) - len(valid), dtype=bool))

    def _outputs(self, rows: Floats, subject: PredictorSubject | None = None) -> Floats:
        subject = subject or self.subject
        numbers = torch.from_numpy(self.cells.written(rows))
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
        first, second = zip(
            *(self._anew(candidate_row[None]) for candidate_row in rows), strict=True
        )
        return np.concatenate(first), np.concatenate(second)

    def _anew(self, rows: Floats) -> Seen:
        """Predict rows in a table of their own, whatever was answered in other
        tables.
        """
        self.subject.forget()
        self._decides.forget()
        return self._seen(rows)

    def __call__(self, rows: Floats) -> Booleans:
        """Return which rows reach the goal, of those that combine what rows of the
        table do.
        """
        if not len(rows):
            return np.zeros(0, dtype=bool)
        reached = np.zeros(len(rows), dtype=bool)
        possible = self.cells.possible(rows)
        if possible.any():
            if self.ends:
                subject = self.subject
            else:
                subject = self._decides
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
        """Return predictions in words of the model: numbers, or classes with the
        probability that is asked for.
        """
        if not self.classes:
            return {"prediction": outputs[:, self.column].tolist()}
        labels = decided.argmax(axis=1)
        class_labels = self.subject.call.classes or self.names
        prediction_facts: dict[str, Any] = {
            "prediction": values_at(class_labels, labels)
        }
        if not self.subject.call.one_hot:
            prediction_facts["probability"] = outputs[
                np.arange(len(outputs)), labels if self.other else self.column
            ]
        return prediction_facts


def _ends(name: str, limit: Any, *, dates: bool = False) -> tuple[float, float]:
    """Return both ends of a range, infinity where it is open."""
    ends: list[Any] = []
    try:
        for range_end in limit:
            is_date = dates and range_end is not None
            ends.append(_seconds([range_end])[0] if is_date else range_end)
        lower_bound, upper_bound = ends
    except (TypeError, ValueError):
        lower_bound = upper_bound = np.nan
    if lower_bound is None:
        lower_bound = -np.inf
    if upper_bound is None:
        upper_bound = np.inf
    if not (
        is_number(lower_bound) and is_number(upper_bound) and lower_bound <= upper_bound
    ):
        problem = (
            f"{name} must be a pair of {'dates' if dates else 'numbers'} that "
            f"rises, got {shown(limit)}"
        )
        raise InputError(
            problem, hint="Pass (low, high), with None for an open end.", code="PG002"
        )
    return float(lower_bound), float(upper_bound)


def search(cells: RowCells, goal: Goal, most: int, count: int) -> Floats:
    """Return rows that reach the goal, at most ``most`` of whose cells differ from the
    row, the fewest first.

    It starts from the nearest rows that reach the goal and from single changes, undoes
    what is not needed, and brings numbers back towards the row. Of rows that change the
    same columns, the nearest is returned. There are up to twice ``count``, as some may
    be predicted otherwise in another table.
    """
    order = np.argsort(~goal.valid, kind="stable")[:_NEAR]
    donors = cells.rows[order]
    reach = goal.valid[order]
    offered = cells.offered(donors)
    if len(
        differing_positions := np.flatnonzero(~same(offered, donors).all(axis=1))
    ):  # the others were predicted with the table
        reach[differing_positions] = goal(offered[differing_positions])
    nearest = np.argsort(cells.moved(offered).sum(axis=1), kind="stable")
    starts = offered[nearest[reach[nearest]]][:_STARTS]
    alone = cells.alone()
    reaching_rows = _undone(cells, goal, np.concatenate([starts, alone[goal(alone)]]))
    reaching_rows = reaching_rows[
        (cells.moved_units(reaching_rows) > 0).sum(axis=1) <= most
    ]
    return _in_order(
        cells, _nearer(cells, goal, _in_order(cells, reaching_rows)[: 2 * count])
    )


def _in_order(cells: RowCells, rows: Floats) -> Floats:
    """Return the nearest of the rows that change the same units, those with the fewest
    changes first.
    """
    moved = cells.moved_units(rows)
    order = np.lexsort([moved.sum(axis=1), (moved > 0).sum(axis=1)])
    _, first = np.unique(moved[order] > 0, axis=0, return_index=True)
    return rows[order[np.sort(first)]]


def _undone(cells: RowCells, goal: Goal, rows: Floats) -> Floats:
    """Undo changes that are not needed, the largest first."""
    moved = cells.moved_units(rows)
    order = np.argsort(-moved, axis=1, kind="stable")
    changes = (moved > 0).sum(axis=1)
    for change_rank in range(int(changes.max(initial=0))):
        row_positions = np.flatnonzero(changes > max(change_rank, 1))
        tried = rows[row_positions]
        for tried_index, number_of in enumerate(
            order[row_positions, change_rank].tolist()
        ):
            columns = cells.units[number_of].columns
            tried[tried_index, columns] = cells.row[columns]
        valid = goal(tried)
        rows[row_positions[valid]] = tried[valid]
    return rows


def _nearer(cells: RowCells, goal: Goal, rows: Floats) -> Floats:
    """Bring changed numbers as near to the row as the goal allows, the largest change
    first, by bisection.
    """
    moved = cells.moved_units(rows) * [
        column_unit.ordered for column_unit in cells.units
    ]
    order = np.argsort(-moved, axis=1, kind="stable")
    for change_rank in range(int((moved > 0).sum(axis=1).max(initial=0))):
        row_positions = np.flatnonzero((moved > 0).sum(axis=1) > change_rank)
        units = []
        for number_of in order[row_positions, change_rank]:
            units.append(cells.units[number_of])
        steps = []
        for row_number, moved_unit in zip(row_positions, units, strict=True):
            steps.append(
                _steps(cells, rows[row_number, moved_unit.columns], moved_unit)
            )
        upper_steps = _least_steps(goal, rows[row_positions], units, steps)
        for row_index, changed_unit, unit_patterns, k in zip(
            row_positions, units, steps, upper_steps, strict=True
        ):
            rows[row_index, changed_unit.columns] = unit_patterns[k]
    return rows


def _least_steps(
    goal: Goal, rows: Floats, units: Sequence[Unit], steps: Sequence[Floats]
) -> Integers:
    """Return the first of each row's steps with which it reaches the goal, by
    bisection.
    """
    lower_steps = np.zeros(len(rows), dtype=np.int64)
    upper_steps = np.array([len(unit_steps) - 1 for unit_steps in steps])
    while (open_searches := np.flatnonzero(lower_steps < upper_steps)).size:
        # Several values at a time, as a call of a model costs more than a few rows
        # of it.
        between = (
            lower_steps[open_searches, None]
            + (upper_steps - lower_steps)[open_searches, None]
            * np.arange(_BETWEEN)
            // _BETWEEN
        )
        tried = np.repeat(rows[open_searches], _BETWEEN, axis=0)
        for search_position, (k, step_indices) in enumerate(
            zip(open_searches.tolist(), between, strict=True)
        ):
            first_row = search_position * _BETWEEN
            tried[first_row : first_row + _BETWEEN, units[k].columns] = steps[k][
                step_indices
            ]
        valid = goal(tried).reshape(between.shape)
        first = np.where(valid.any(axis=1), valid.argmax(axis=1), _BETWEEN)
        step_bounds = np.c_[between, upper_steps[open_searches]]
        search_indices = np.arange(len(open_searches))
        lower_steps[open_searches] = np.where(
            first > 0,
            step_bounds[search_indices, first - 1] + 1,
            lower_steps[open_searches],
        )
        upper_steps[open_searches] = step_bounds[search_indices, first]
    return upper_steps


def _steps(cells: RowCells, changed: Floats, unit: Unit) -> Floats:
    """Return the patterns between a unit of the row and a changed one, from the row's
    own on ``(steps, columns)``.
    """
    column = int(unit.columns[0])
    value = float(changed[0])
    own_value = float(cells.known(cells.row[column], column))
    values = unit.patterns[:, 0]
    # Nothing is between a missing cell and a number.
    inside = unit.patterns[
        (values > min(own_value, value)) & (values < max(own_value, value))
    ]
    return np.concatenate(
        [inside if value > own_value else inside[::-1], changed[None]]
    )


def near_data(cells: RowCells, goal: Goal, rows: Floats) -> tuple[Floats, Floats]:
    """Return how far rows are from the nearest row of the outcome, and how many of
    those are as far from theirs.
    """
    nearest_rows = cells.rows[np.flatnonzero(goal.valid)[:_NEAR]]
    if len(nearest_rows) < 2:
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    distances = cells.distances(nearest_rows[:_USUAL], nearest_rows)
    np.fill_diagonal(distances, np.inf)
    usual = distances.min(axis=1)
    to_data = cells.distances(rows, nearest_rows).min(axis=1)
    return to_data, (1 + (usual >= to_data[:, None]).sum(axis=1)) / (len(usual) + 1)
