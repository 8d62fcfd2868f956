"""Lines of a table that are no rows: the header again, units or questions below it, and
totals of other rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.errors import by_count, counted, listed
from permgrad.base.late import pd
from permgrad.base.sequences import values_at
from permgrad.data.read import written_numbers
from permgrad.data.read.cells import is_native_number
from permgrad.data.read.reading import MISSING_ANYWAY

#: Lines below the header that may hold units or questions, and rows that tell what a
#: column holds.
_MOST_BELOW = 3
_LOOKED_AT = 1000
#: A column is one of numbers if so many of its cells are, and a line is odd in so many
#: of these columns.
_SHARE_OF_CELLS = 0.9
_SHARE_OF_COLUMNS = 0.6
_FEWEST_COLUMNS = 2
#: Rows at the end that may be totals or a source, and rows up to which subtotals are
#: searched for.
_LAST = 6
_MOST_ROWS = 50_000
#: No chance makes sums agree whose numbers have at least so many ways for each row that
#: is tried, of rows that are added up. Rows that tell how many ways a column has.
_WAYS = 1000.0
_FEWEST_ADDED = 3
_SAMPLE = 10_000
_MOST_WAYS = 1e6
TOTAL = re.compile(
    r"(?:grand |sub)?-?total(?:s|e|en|es)?|sums?|summe|gesamt(?:summe)?|insgesamt|"
    r"suma|so[m]{2}e|totaal|averages?|mean|"
    r"mittelwert|durchschnitt|moyenne|media|gemiddelde",
    re.IGNORECASE,
)


# ---- lines of text -------------------------------------------------------------------
@dataclass(frozen=True)
class OddLines:
    """Which rows of a table of text are no rows ``(rows,)``, and sentences on them.

    ``notes`` are for the record, ``cautions`` also for the page.
    """

    rows: Booleans
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def odd_lines(
    cells: Mapping[str, pa.ChunkedArray],
    written: Sequence[str],
    lines: Integers | None,
    rows: int,
) -> OddLines:
    """Find the header again, and lines below it whose cells are odd in most columns of
    numbers at once.

    Args:
        cells: the text of each column.
        written: the names as the header has them.
        lines: the line of each row, if they are known.
        rows: how many there are.
    """
    again = _headers_again(cells, written, rows)
    notes = list[str]()
    cautions = list[str]()
    if again.any():
        which = _lines_said(again, lines)
        repeat = by_count(
            int(again.sum()), "repeats the header and is", "repeat the header and are"
        )
        notes.append(f"{which} {repeat} left out")
    below = _lines_below(cells, again, rows)
    if below.is_below.any():
        is_one = int(below.is_below.sum())
        cautions.append(
            f"{_lines_said(below.is_below, lines)} {by_count(is_one, 'is', 'are')} "
            f"left out, because {below.share} hold no number there but "
            f"{listed(below.examples, 3, show=repr)}"
        )
    return OddLines(again | below.is_below, tuple(notes), tuple(cautions))


def _lines_said(hit: Booleans, lines: Integers | None) -> str:
    line_positions = np.flatnonzero(hit)
    if lines is None:
        return counted(len(line_positions), "line")
    numbers = [f"{line_number:,}" for line_number in lines[line_positions].tolist()]
    return f"{by_count(len(line_positions), 'line', 'lines')} {listed(numbers)}"


def _headers_again(
    cells: Mapping[str, pa.ChunkedArray], written: Sequence[str], rows: int
) -> Booleans:
    """Return which rows have the name of its column in each cell.

    One column alone may hold its own name.
    """
    is_header = np.ones(rows, dtype=bool)
    if len(written) < 2 or not any(written):
        return np.zeros(rows, dtype=bool)
    for column, column_name in zip(cells.values(), written, strict=True):
        if not is_header.any():
            break
        equals_name = pc.equal(pc.utf8_trim_whitespace(column), column_name)
        is_header &= equals_name.to_numpy(zero_copy_only=False)
    return is_header


class _Below(NamedTuple):
    """Lines of units or questions below a header.

    Attributes:
        is_below: Which rows they are, ``(rows,)``.
        examples: Some of their cells.
        share: In how many columns they are odd, in words. Empty: there are none.
    """

    is_below: Booleans
    examples: list[str]
    share: str


def _lines_below(
    cells: Mapping[str, pa.ChunkedArray], again: Booleans, rows: int
) -> _Below:
    """Return which of the first rows are units or questions."""
    is_below = np.zeros(rows, dtype=bool)
    first = np.flatnonzero(~again)[:_MOST_BELOW]
    if rows < 2 * _MOST_BELOW:
        return _Below(is_below, [], "")
    odd_texts = list[list[str]]()
    filled_in = list[list[bool]]()
    for column in cells.values():
        column_texts = [
            cell_text.strip() for cell_text in column.slice(0, _LOOKED_AT).to_pylist()
        ]
        first_texts = values_at(column_texts, first.tolist())
        other_texts = [
            column_text
            for text_position, column_text in enumerate(column_texts)
            if text_position not in first
        ]
        filled = [
            other_text
            for other_text in other_texts
            if other_text and other_text not in MISSING_ANYWAY
        ]
        numbers = sum(map(_is_written, filled))
        if filled and numbers >= _SHARE_OF_CELLS * len(filled):
            # A word that other rows have, too, means something there.
            words = set(filled)
            odd_texts.append(
                [
                    first_text if _is_odd(first_text, words) else ""
                    for first_text in first_texts
                ]
            )
            filled_in.append(list(map(bool, first_texts)))
    if len(odd_texts) < _FEWEST_COLUMNS:
        return _Below(is_below, [], "")
    examples = list[str]()
    share = ""
    for row_position, below_row in enumerate(first.tolist()):
        odd_here = [texts[row_position] for texts in odd_texts if texts[row_position]]
        filled_count = sum(filled[row_position] for filled in filled_in)
        if len(odd_here) < max(_FEWEST_COLUMNS, _SHARE_OF_COLUMNS * filled_count):
            break
        is_below[below_row] = True
        examples += [
            example_text if len(example_text) <= 40 else f"{example_text[:40]}…"
            for example_text in odd_here[:3]
        ]
        share = f"{len(odd_here)} of {counted(len(odd_texts), 'column')} of numbers"
    return _Below(is_below, examples, share)


def _is_written(text: str) -> bool:
    return written_numbers.may_be_number(text)


def _is_odd(text: str, words: set[str]) -> bool:
    is_missing = not text or text in MISSING_ANYWAY or written_numbers.is_dot(text)
    return not is_missing and not _is_written(text) and text not in words


# ---- totals --------------------------------------------------------------------------
@dataclass(frozen=True)
class TotalRows:
    """Rows that are sums or means of other rows: their numbers in the frame, and what
    they are called.
    """

    rows: tuple[int, ...]
    label: str
    how: Literal["sums", "means", "named"] = "sums"

    def said(self, lines: Integers | None) -> str:
        """Return a sentence on the rows, without a full stop.

        ``lines``: where each row of the table begins.
        """
        if self.how == "named":
            return (
                f"the last row is called {self.label!r} and may be a row of totals: if "
                "it is, delete it"
            )
        is_total = np.zeros(self.rows[-1] + 1, dtype=bool)
        is_total[list(self.rows)] = True
        where = f"{counted(len(self.rows), 'row')} of the table"
        if lines is not None:
            where = _lines_said(is_total, lines)
        called = f" ({self.label!r})" * bool(self.label)
        verb_form = by_count(len(self.rows), "holds", "hold")
        return (
            f"{where}{called} {verb_form} totals: the numbers are {self.how} of "
            "other rows"
        )


def _number_columns(frame: pd.DataFrame) -> list[Any]:
    """Return the columns that are stored as numbers, but for flags."""
    number_columns: list[Any] = []
    for name in frame:
        if is_native_number(frame[name].dtype) and not pd.api.types.is_bool_dtype(
            frame[name].dtype
        ):
            number_columns.append(name)
    return number_columns


def _numbers_of(frame: pd.DataFrame, names: Sequence[Any]) -> Floats:
    """Return columns of numbers as float64 ``(rows, columns)``."""
    return frame[names].to_numpy(dtype=np.float64, na_value=np.nan)


class _AddedUp(NamedTuple):
    """Columns over some rows.

    Attributes:
        sums: The sum of each, ``(columns,)``.
        counts: How many numbers each has, ``(columns,)``.
        several: Whether several of them are not 0, ``(columns,)``.
    """

    sums: Floats
    counts: Integers
    several: Booleans


def _added_up(frame: pd.DataFrame, names: Sequence[Any], is_row: Booleans) -> _AddedUp:
    """Return the columns of a frame, added up over some rows."""
    sums = np.zeros(len(names))
    counts = np.zeros(len(names), dtype=np.int64)
    several = np.zeros(len(names), dtype=bool)
    # One column at a time: all of them at once take the table's memory again.
    for column_index, name in enumerate(names):
        added = _numbers_of(frame, [name])[is_row, 0]
        counts[column_index] = np.count_nonzero(~np.isnan(added))
        np.nan_to_num(added, copy=False)
        sums[column_index] = added.sum()
        several[column_index] = np.count_nonzero(added) > 1
    return _AddedUp(sums, counts, several)


def find_totals(frame: pd.DataFrame) -> TotalRows | None:
    """Find rows of totals among the last rows, and subtotals of groups, by their sums.

    A row is one if its numbers are the sums, or the means, of the rows above it in most
    columns of numbers, which no chance explains.

    Examples:
        >>> rows = [[f"town {k}", 7 * k % 11 + 0.5, 37 * k % 101] for k in range(12)]
        >>> table = pd.DataFrame(rows, columns=["town", "a", "b"])
        >>> table.loc[12] = ["", table["a"].sum(), table["b"].sum()]
        >>> find_totals(table)
        TotalRows(rows=(12,), label='', how='sums')
    """
    names = _number_columns(frame)
    if not names or len(frame) <= _FEWEST_ADDED:
        return None
    row_count = len(frame)
    sampled_values = _numbers_of(frame.iloc[:: max(row_count // _SAMPLE, 1)], names)
    different_counts = np.array(
        [_ways(column[np.isfinite(column)]) for column in sampled_values.T]
    )
    total_rows = list[int]()
    if 2 * _FEWEST_ADDED <= row_count <= _MOST_ROWS:
        total_rows = _subtotals(_numbers_of(frame, names), different_counts)
    is_mean = False
    first = max(row_count - _LAST, _FEWEST_ADDED)
    is_row = np.ones(first, dtype=bool)
    is_row[[total_row for total_row in total_rows if total_row < first]] = False
    column_sums, counts, several = _added_up(frame.iloc[:first], names, is_row)
    last_values = _numbers_of(frame.iloc[first:], names)
    for row_index in range(first, row_count):
        row_values = last_values[row_index - first]
        means = column_sums / np.maximum(counts, 1)
        cells = np.where(several, row_values, np.nan)
        if row_index in total_rows:
            continue
        if _agrees(cells, column_sums, different_counts, _LAST):
            total_rows.append(row_index)
        elif _agrees(cells, means, different_counts, _LAST):
            total_rows.append(row_index)
            is_mean = True
        else:
            column_sums = column_sums + np.nan_to_num(row_values)
            counts = counts + ~np.isnan(row_values)
    if not total_rows:
        return _named_total(frame)
    sorted_rows = tuple(sorted(total_rows))
    return TotalRows(
        sorted_rows,
        _label(frame, sorted_rows[-1], names),
        "means" if is_mean else "sums",
    )


def _named_total(frame: pd.DataFrame) -> TotalRows | None:
    """Return the last row that is not blank if it is called as totals are, and no other
    row is.
    """
    first = frame.iloc[:, 0]
    last_rows = frame.tail(_LAST)
    filled = last_rows[last_rows.notna().any(axis=1).to_numpy()]
    if len(frame.columns) < 2 or not len(filled) or is_native_number(first.dtype):
        return None
    row_name = filled.iloc[-1, 0]
    if not isinstance(row_name, str) or not TOTAL.fullmatch(
        row_name.strip().rstrip(": ")
    ):
        return None
    if (first.astype(str).str.strip() == row_name.strip()).sum() > 1:
        return None
    total_row = (
        len(frame)
        - len(last_rows)
        + int(np.flatnonzero(last_rows.notna().any(axis=1))[-1])
    )
    return TotalRows((total_row,), row_name.strip(), "named")


def _ways(numbers: Floats) -> float:
    """Return how many different numbers a column could have between its ends, as
    exactly as it has them.
    """
    levels = np.unique(numbers)
    if len(levels) < 2:
        return 1.0
    with np.errstate(over="ignore"):
        steps = np.ptp(levels) / np.diff(levels).min()
    return float(min(steps, _MOST_WAYS))


def _agrees(cells: Floats, expected: Floats, ways: Floats, tried: int) -> bool:
    """Whether a row's numbers are what is expected of a total, in most columns and by
    no chance.
    """
    filled = ~np.isnan(cells)
    tolerance = np.maximum(1e-6 * np.abs(expected), _rounding(cells))
    is_same = filled & (np.abs(cells - expected) <= tolerance) & (expected != 0)
    # One number is the sum of others in many ways, if it is of few.
    chance = float(np.prod(np.maximum(ways[is_same], 1.0)))
    return bool(2 * is_same.sum() > filled.sum() and chance >= _WAYS * tried)


def _rounding(cells: Floats) -> Floats:
    """Return half of the last digit that each number is written with."""
    decimals = []
    for cell_number in cells.tolist():
        if np.isfinite(cell_number):
            decimals.append(
                len(f"{cell_number:.10g}".partition(".")[2].partition("e")[0])
            )
        else:
            decimals.append(0)
    return (
        np.where(np.array(decimals) > 0, 0.5 * 10.0 ** -np.array(decimals), 0.0) + 1e-9
    )


def _subtotals(values: Floats, ways: Floats) -> list[int]:
    """Return rows whose numbers are the sums of the rows since the one before.

    There are several of them.
    """
    subtotal_rows = list[int]()
    begin = 0
    cumulative_sums = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum(np.nan_to_num(values), axis=0)]
    )
    # The column of most different numbers tells most rows.
    main_column = int(np.argmax(ways))
    cells = values[:, main_column].tolist()
    added = cumulative_sums[:, main_column].tolist()
    for row_index in range(2, len(values)):
        expected = added[row_index] - added[begin]
        if row_index - begin < 2 or not abs(cells[row_index] - expected) <= 1e-5 * abs(
            expected
        ):
            continue
        filled = np.nan_to_num(values[begin:row_index])
        candidate = np.where((filled != 0).sum(axis=0) > 1, values[row_index], np.nan)
        if _agrees(
            candidate,
            cumulative_sums[row_index] - cumulative_sums[begin],
            ways,
            len(values),
        ):
            subtotal_rows.append(row_index)
            begin = row_index + 1
    if len(subtotal_rows) > 1:
        return subtotal_rows
    return []


def _label(frame: pd.DataFrame, row: int, numbers: Sequence[object]) -> str:
    """Return the first text of a row."""
    for column_name in frame:
        row_cell = frame[column_name].iloc[row]
        if (
            column_name not in numbers
            and isinstance(row_cell, str)
            and row_cell.strip()
        ):
            return row_cell.strip()
    return ""
