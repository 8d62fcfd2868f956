"""Rows that have what no training row had: levels, words, missing cells, and numbers
and dates outside the range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.errors import by_count, counted, printable
from permgrad.base.late import pd
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.slots import OTHER
from permgrad.data.kinds.column import ColumnKind, ColumnType
from permgrad.data.read.cells import PRESENT, Distinct, as_frame, native_names
from permgrad.data.read.dates import is_moment
from permgrad.data.read.header import some_names

#: Shares of its range, and of its size, by which the end of a column is not known: it
#: is kept as float32.
_OF_RANGE = 1e-5
_OF_SIZE = 1e-6
#: Rows that show another unit, how many times smaller that is, and how far below the
#: median all of them are.
_FEWEST_SMALLER = 10
_TIMES = 100
_FAR_BELOW = 20


@dataclass(frozen=True)
class Unlike:
    """Which ``rows`` ``(rows,)`` have a cell of a ``column`` that no training row had.

    The first one is an ``example``.

    ``kind``: a level, one of those that training had rarely or never, which share an
    encoded column, a word beside the two of training, a number or date outside the
    ``range`` of training, whose ends are ``ends``, numbers of another ``scale``, or a
    missing cell.
    """

    column: str
    kind: Literal["level", "rare", "word", "range", "scale", "missing"]
    rows: Booleans
    example: str = ""
    ends: tuple[str, str] | None = None

    @classmethod
    def of_texts(
        cls,
        name: str,
        kind: Literal["level", "rare", "word"],
        rows: Booleans,
        distinct: Distinct,
    ) -> Self:
        """Return which rows of a column have texts that are unlike those of
        training.
        """
        first = distinct.index[rows][:1].tolist()
        return cls(name, kind, rows, distinct.texts[first[0]] if first else "")


def unlike_training(encoder: TableEncoder, X: Any) -> list[Unlike]:
    """Return what rows ``(rows, features)`` have that training did not have, in the
    order of the columns.

    Examples:
        >>> import pandas as pd
        >>> town, dose = ["Ulm", "Bonn"] * 9, np.arange(18.0)
        >>> encoder = TableEncoder().fit(pd.DataFrame({"town": town, "dose": dose}))
        >>> new = pd.DataFrame({"town": ["Ulm", "Kiel"], "dose": [-3.0, 17.0]})
        >>> [
        ...     (one.column, one.kind, one.rows.tolist(), one.example)
        ...     for one in unlike_training(encoder, new)
        ... ]
        [('town', 'level', [False, True], 'Kiel'),
         ('dose', 'range', [True, False], '-3')]
    """
    values, kinds_of_cells = encoder.numbers_of(X)
    frame = as_frame(X, allow_empty=True)
    unlike_cells = list[Unlike]()
    as_numbers = _held_as_numbers(frame, encoder)
    numbers = {}
    are_present = {}
    for stored_index, stored_column in enumerate(encoder.schema_.stored):
        numbers[stored_column.name] = values[:, stored_index]
        if stored_column.name in as_numbers:
            is_present = kinds_of_cells[:, stored_index] == PRESENT
            are_present[stored_column.name] = is_present
    for column_type in encoder.schema_:
        name = column_type.name
        if not column_type.of.varies:
            continue
        if name not in are_present:
            unlike_texts, are_present[name] = _unlike_texts(
                encoder, column_type, frame[name], numbers.get(name)
            )
            unlike_cells += unlike_texts
        if column_type.n_missing == 0:
            unlike_cells.append(Unlike(name, "missing", ~are_present[name]))
    column_order = {}
    for position, column_name in enumerate(encoder.feature_names_in_):
        column_order[column_name] = position
    unlike_cells += _outside(encoder, values)
    return sorted(
        (unlike_column for unlike_column in unlike_cells if unlike_column.rows.any()),
        key=lambda unlike_entry: column_order[unlike_entry.column],
    )


def _unlike_texts(
    encoder: TableEncoder,
    column_type: ColumnType,
    cells: pd.Series[Any],
    numbers: Floats | None,
) -> tuple[list[Unlike], Booleans]:
    """Return what cells of a column ``(rows,)``, read as texts, have that training did
    not have, and which are not missing.

    ``numbers``: what they are as numbers, if the column has some.
    """
    name = column_type.name
    unlike_texts = []
    distinct = Distinct.of(cells, name)
    # Codes for missing are no levels.
    kinds = []
    for cell_text in distinct.texts:
        kinds.append(encoder.codes_.kind_of(cell_text, name))
    there = np.array([missing_kind == PRESENT for missing_kind in kinds], dtype=bool)
    present = distinct.spread(there, False)
    if column_type.of.is_levels:
        level_kind, is_new_level = _new_levels(encoder, name, distinct.texts)
        is_new = distinct.spread(is_new_level & there, False)
        unlike_texts.append(Unlike.of_texts(name, level_kind, is_new, distinct))
    if not column_type.reader.refuses_odd and numbers is not None:
        is_word = present & np.isnan(numbers)
        unlike_texts.append(Unlike.of_texts(name, "word", is_word, distinct))
    return unlike_texts, present


def _held_as_numbers(frame: pd.DataFrame, encoder: TableEncoder) -> set[str]:
    """Return the columns of numbers, dates and times that hold no texts, so that no
    cell is to be read.
    """
    numeric_dtypes = set(native_names(frame))
    columns = set[str]()
    for column_type in encoder.schema_.stored:
        name = column_type.name
        is_number = column_type.reader.is_amount and name in numeric_dtypes
        # Codes for missing are read in texts of dates alone.
        is_date = is_moment(frame[name]) and not encoder.codes_.holds_for(name)
        if not column_type.of.is_levels and (is_number or is_date):
            columns.add(name)
    return columns


def _new_levels(
    encoder: TableEncoder, name: str, texts: list[str]
) -> tuple[Literal["level", "rare"], Booleans]:
    """Return which texts of a column are levels that training did not have, or that
    share an encoded column.
    """
    slots = [
        encoded_slot
        for encoded_slot in encoder.slots_
        if encoder.feature_names_in_[encoded_slot.column] == name
    ]
    if any(level_slot.of.is_score for level_slot in slots):
        return "level", ~encoder.scores_.knows(name, texts) if texts else np.zeros(
            0, dtype=bool
        )
    known_levels = {
        OTHER if level_slot.detail is None else level_slot.detail
        for level_slot in slots
    }
    return "rare" if OTHER in known_levels else "level", np.array(
        [level_text not in known_levels for level_text in texts], dtype=bool
    )


def _outside(encoder: TableEncoder, values: Floats) -> Iterator[Unlike]:
    """Yield which numbers and dates ``(rows, stored columns)`` are outside those of
    training.
    """
    names = [stored_column.name for stored_column in encoder.schema_.stored]
    slot_ranges = np.zeros((2, values.shape[1]))
    slots = {}
    for encoded_slot in encoder.slots_:
        if encoded_slot.is_scaled and not encoded_slot.is_held:
            slots[encoder.feature_names_in_[encoded_slot.column]] = encoded_slot
    for column_name, amount_slot in slots.items():
        slot_ranges[:, names.index(column_name)] = (
            amount_slot.minimum,
            amount_slot.maximum,
        )
    training_minimum, training_maximum = encoder.scaling_.undone(slot_ranges)
    for column_name in slots:
        column_index = names.index(column_name)
        first = float(training_minimum[column_index])
        last_value = float(training_maximum[column_index])
        cells = values[:, column_index]
        tolerance = _OF_RANGE * (last_value - first) + _OF_SIZE * max(
            abs(first), abs(last_value)
        )
        unlike_rows = (cells > last_value + tolerance) | (cells < first - tolerance)
        if last_value > first and unlike_rows.any():
            column_kind = encoder.schema_[column_name].of
            example = column_kind.write(float(cells[unlike_rows][0]))
            ends = _written_ends(column_kind, first, last_value)
            yield Unlike(column_name, "range", unlike_rows, example, ends)
        elif encoder.schema_[column_name].of.is_amount and _are_hundredths(
            cells, float(encoder.scaling_.fill[column_index]), first, last_value
        ):
            unlike_rows = ~np.isnan(cells) & (cells != 0)
            shown = [f"{scale_end:.6g}" for scale_end in (first, last_value)]
            example = f"{float(cells[unlike_rows][0]):.10g}"
            yield Unlike(
                column_name, "scale", unlike_rows, example, (shown[0], shown[1])
            )


def _written_ends(
    column_kind: type[ColumnKind], first: float, last_value: float
) -> tuple[str, str]:
    """Return the ends of a range: of numbers in as many digits as tell them apart."""
    if not column_kind.is_amount:
        return column_kind.write(first), column_kind.write(last_value)
    unit = 10.0 ** np.floor(np.log10(last_value - first) - 4)
    low = f"{round(first / unit) * unit:.6g}"
    high = f"{round(last_value / unit) * unit:.6g}"
    return low, high


def _are_hundredths(cells: Floats, median: float, low: float, high: float) -> bool:
    """Whether numbers are as small as if another unit was meant, such as shares instead
    of per cent.

    A row is below the training ``median`` by chance half of the time: ten rows in a row
    are not. A hundred times as large they are numbers ``low`` to ``high`` of training.
    """
    present = np.abs(cells[~np.isnan(cells)])
    if len(present) < _FEWEST_SMALLER or not present.any():
        return False
    usual = _TIMES * float(np.median(present))
    is_small = bool((present < abs(median) / _FAR_BELOW).all())
    absolute_ends = sorted((abs(low), abs(high)))
    return (
        is_small and low * high >= 0 and absolute_ends[0] <= usual <= absolute_ends[1]
    )


# ---- counted over parts of a table ---------------------------------------------------
#: Columns that are named.
_NAMED = 5
#: What is said of each kind, behind "3 of 5 rows have".
_WORDS = {
    "level": "a level of {column} that training did not have, such as {example}",
    "rare": "a level of {column} that training had rarely or never, such as {example}",
    "word": "a word in {column} beside the two of training, such as {example}, which "
    "counts as missing",
    "range": "{column} outside the training range of {low} to {high}, such as "
    "{example}",
    "scale": (
        "{column} about a hundred times smaller than in training ({low} to {high}), "
        "such as {example}: another unit, or a share instead of per cent?"
    ),
    "missing": "no {column}, which every training row had",
}


@dataclass
class UnlikeRows:
    """Rows with cells that no training row had, counted over parts of a table.

    ``rows``: all of them. ``unlike``: those with such a cell, of which ``first`` is the
    first one's number.
    """

    rows: int = 0
    unlike: int = 0
    first: int | None = None
    columns: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, unlike_columns: Sequence[Unlike], rows: int) -> None:
        """Add the next rows of the table."""
        member: Booleans = np.zeros(rows, dtype=bool)
        for unlike_column in unlike_columns:
            member |= unlike_column.rows
            facts: dict[str, Any] = {
                "column": unlike_column.column,
                "kind": unlike_column.kind,
                "rows": int(unlike_column.rows.sum()),
            }
            if unlike_column.example:
                facts |= {"example": unlike_column.example}
            if unlike_column.ends is not None:
                facts |= dict(zip(("low", "high"), unlike_column.ends, strict=True))
            self._count(facts)
        if self.first is None and member.any():
            self.first = self.rows + int(np.argmax(member))
        self.rows = self.rows + rows
        self.unlike = self.unlike + int(member.sum())

    def _count(self, facts: Mapping[str, Any]) -> None:
        column_facts = self.columns.setdefault(
            (facts["column"], facts["kind"]), {**facts, "rows": 0}
        )
        column_facts["rows"] += facts["rows"]

    @classmethod
    def of_parts(cls, row_counts: Sequence[UnlikeRows]) -> UnlikeRows:
        """Return the counts of parts of a table together."""
        total_counts = cls()
        for partial_counts in row_counts:
            for facts in partial_counts.columns.values():
                total_counts._count(facts)
            if total_counts.first is None and partial_counts.first is not None:
                total_counts.first = total_counts.rows + partial_counts.first
            total_counts.rows = total_counts.rows + partial_counts.rows
            total_counts.unlike = total_counts.unlike + partial_counts.unlike
        return total_counts

    @property
    def facts(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {
            "rows": self.unlike,
            "first": self.first,
            "columns": list(self.columns.values()),
        }

    @property
    def lines(self) -> list[str]:
        """The counts as sentences. None where all rows are like those of training."""
        row_total = counted(self.rows, "row")
        lines = list[str]()
        for facts in list(self.columns.values())[:_NAMED]:
            printable_facts = {}
            for fact_name, value in facts.items():
                printable_facts[fact_name] = printable(str(value))
            if facts["kind"] in ("level", "rare", "word"):
                printable_facts |= {"example": some_names([printable_facts["example"]])}
            verb_form = by_count(facts["rows"], "has", "have")
            lines.append(
                f"{facts['rows']:,} of {row_total} {verb_form} "
                f"{_WORDS[facts['kind']].format_map(printable_facts)}."
            )
        if len(self.columns) > _NAMED:
            lines.append(
                f"Likewise in {counted(len(self.columns) - _NAMED, 'more column')}."
            )
        if len(self.columns) > 1:
            verb_form = by_count(self.unlike, "has", "have")
            lines.append(
                f"{self.unlike:,} of {row_total} {verb_form} such a cell. The first is "
                f"row {self.first}."
            )
        return lines
