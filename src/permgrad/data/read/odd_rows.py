"""Lines of a table that are no rows: the header again, units or questions below it, and totals of other rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.errors import by_count, counted, listed
from permgrad.base.late import pd
from permgrad.data.read import written_numbers
from permgrad.data.read.cells import is_native_number
from permgrad.data.read.reading import MISSING_ANYWAY

#: Lines below the header that may hold units or questions, and rows that tell what a column holds.
_MOST_BELOW, _LOOKED_AT = 3, 1000
#: A column is one of numbers if so many of its cells are, and a line is odd in so many of these columns.
_SHARE_OF_CELLS, _SHARE_OF_COLUMNS, _FEWEST_COLUMNS = 0.9, 0.6, 2
#: Rows at the end that may be totals or a source, and rows up to which subtotals are searched for.
_LAST, _MOST_ROWS = 6, 50_000
#: No chance makes sums agree whose numbers have at least so many ways for each row that is tried, of rows that are added
#: up. Rows that tell how many ways a column has.
_WAYS, _FEWEST_ADDED, _SAMPLE, _MOST_WAYS = 1000.0, 3, 10_000, 1e6
TOTAL = re.compile(
    r"(?:grand |sub)?-?total(?:s|e|en|es)?|sums?|summe|gesamt(?:summe)?|insgesamt|suma|so[m]{2}e|totaal|averages?|mean|"
    r"mittelwert|durchschnitt|moyenne|media|gemiddelde",
    re.IGNORECASE,
)


# ---- lines of text ---------------------------------------------------------------------------------------------------
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
    """Find the header again, and lines below it whose cells are odd in most columns of numbers at once.

    Args:
        cells: the text of each column.
        written: the names as the header has them.
        lines: the line of each row, if they are known.
        rows: how many there are.
    """
    again = _headers_again(cells, written, rows)
    notes, cautions = list[str](), list[str]()
    if again.any():
        which = _lines_said(again, lines)
        notes.append(
            f"{which} {by_count(int(again.sum()), 'repeats the header and is', 'repeat the header and are')} left out"
        )
    below, examples, share = _lines_below(cells, again, rows)
    if below.any():
        is_one = int(below.sum())
        cautions.append(
            f"{_lines_said(below, lines)} {by_count(is_one, 'is', 'are')} left out, because {share} hold no number there "
            f"but {listed(examples, 3, show=repr)}"
        )
    return OddLines(again | below, tuple(notes), tuple(cautions))


def _lines_said(hit: Booleans, lines: Integers | None) -> str:
    places = np.flatnonzero(hit)
    if lines is None:
        return counted(len(places), "line")
    numbers = [f"{line:,}" for line in lines[places].tolist()]
    return f"{by_count(len(places), 'line', 'lines')} {listed(numbers)}"


def _headers_again(
    cells: Mapping[str, pa.ChunkedArray], written: Sequence[str], rows: int
) -> Booleans:
    """Return which rows have the name of its column in each cell. One column alone may hold its own name."""
    hit = np.ones(rows, dtype=bool)
    if len(written) < 2 or not any(written):
        return np.zeros(rows, dtype=bool)
    for column, name in zip(cells.values(), written, strict=True):
        if not hit.any():
            break
        same = pc.equal(pc.utf8_trim_whitespace(column), name)
        hit &= same.to_numpy(zero_copy_only=False)
    return hit


def _lines_below(
    cells: Mapping[str, pa.ChunkedArray], again: Booleans, rows: int
) -> tuple[Booleans, list[str], str]:
    """Return which of the first rows are units or questions, examples of their cells, and in how many columns."""
    found = np.zeros(rows, dtype=bool)
    first = np.flatnonzero(~again)[:_MOST_BELOW]
    if rows < 2 * _MOST_BELOW:
        return found, [], ""
    odd, filled_in = list[list[str]](), list[list[bool]]()
    for column in cells.values():
        some = [text.strip() for text in column.slice(0, _LOOKED_AT).to_pylist()]
        head = [some[place] for place in first.tolist()]
        rest = [text for place, text in enumerate(some) if place not in first]
        filled = [text for text in rest if text and text not in MISSING_ANYWAY]
        numbers = sum(map(_is_written, filled))
        if filled and numbers >= _SHARE_OF_CELLS * len(filled):
            # A word that other rows have, too, means something there.
            words = set(filled)
            odd.append([text if _is_odd(text, words) else "" for text in head])
            filled_in.append([bool(text) for text in head])
    if len(odd) < _FEWEST_COLUMNS:
        return found, [], ""
    examples = list[str]()
    share = ""
    for place, row in enumerate(first.tolist()):
        here = [texts[place] for texts in odd if texts[place]]
        most = sum(filled[place] for filled in filled_in)
        if len(here) < max(_FEWEST_COLUMNS, _SHARE_OF_COLUMNS * most):
            break
        found[row] = True
        examples += [text if len(text) <= 40 else f"{text[:40]}…" for text in here[:3]]
        share = f"{len(here)} of {counted(len(odd), 'column')} of numbers"
    return found, examples, share


def _is_written(text: str) -> bool:
    return written_numbers.may_be_number(text)


def _is_odd(text: str, words: set[str]) -> bool:
    is_missing = not text or text in MISSING_ANYWAY or written_numbers.is_dot(text)
    return not is_missing and not _is_written(text) and text not in words


# ---- totals ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class TotalRows:
    """Rows that are sums or means of other rows: their numbers in the frame, and what they are called."""

    rows: tuple[int, ...]
    label: str
    how: Literal["sums", "means", "named"] = "sums"

    def said(self, lines: Integers | None) -> str:
        """Return a sentence on the rows, without a full stop. ``lines``: where each row of the table begins."""
        if self.how == "named":
            return f"the last row is called {self.label!r} and may be a row of totals: if it is, delete it"
        hit = np.zeros(self.rows[-1] + 1, dtype=bool)
        hit[list(self.rows)] = True
        where = f"{counted(len(self.rows), 'row')} of the table"
        if lines is not None:
            where = _lines_said(hit, lines)
        called = f" ({self.label!r})" * bool(self.label)
        verb = by_count(len(self.rows), "holds", "hold")
        return (
            f"{where}{called} {verb} totals: the numbers are {self.how} of other rows"
        )


def _number_columns(frame: pd.DataFrame) -> list[Any]:
    """Return the columns that are stored as numbers, but for flags."""
    return [
        name
        for name in frame
        if is_native_number(frame[name].dtype)
        and not pd.api.types.is_bool_dtype(frame[name].dtype)
    ]


def find_totals(frame: pd.DataFrame) -> TotalRows | None:
    """Find rows of totals among the last rows, and subtotals of groups, by their sums.

    A row is one if its numbers are the sums, or the means, of the rows above it in most columns of numbers, which no
    chance explains.

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
    values = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
    some = values[:: max(len(values) // _SAMPLE, 1)]
    ways = np.array([_ways(column[np.isfinite(column)]) for column in some.T])
    found, is_mean = _subtotals(values, ways), False
    first = max(len(values) - _LAST, _FEWEST_ADDED)
    is_row = np.ones(first, dtype=bool)
    is_row[[row for row in found if row < first]] = False
    filled = np.nan_to_num(values[:first][is_row])
    sums = filled.sum(axis=0)
    counts = (~np.isnan(values[:first][is_row])).sum(axis=0)
    several = (filled != 0).sum(axis=0) > 1
    for row in range(first, len(values)):
        means = sums / np.maximum(counts, 1)
        cells = np.where(several, values[row], np.nan)
        if row in found:
            continue
        if _agrees(cells, sums, ways, _LAST):
            found.append(row)
        elif _agrees(cells, means, ways, _LAST):
            found.append(row)
            is_mean = True
        else:
            sums = sums + np.nan_to_num(values[row])
            counts = counts + ~np.isnan(values[row])
    if not found:
        return _named_total(frame)
    rows = tuple(sorted(found))
    return TotalRows(
        rows, _label(frame, rows[-1], names), "means" if is_mean else "sums"
    )


def _named_total(frame: pd.DataFrame) -> TotalRows | None:
    """Return the last row that is not blank if it is called as totals are, and no other row is."""
    first = frame.iloc[:, 0]
    tail = frame.tail(_LAST)
    filled = tail[tail.notna().any(axis=1).to_numpy()]
    if len(frame.columns) < 2 or not len(filled) or is_native_number(first.dtype):
        return None
    name = filled.iloc[-1, 0]
    if not isinstance(name, str) or not TOTAL.fullmatch(name.strip().rstrip(": ")):
        return None
    if (first.astype(str).str.strip() == name.strip()).sum() > 1:
        return None
    row = len(frame) - len(tail) + int(np.flatnonzero(tail.notna().any(axis=1))[-1])
    return TotalRows((row,), name.strip(), "named")


def _ways(numbers: Floats) -> float:
    """Return how many different numbers a column could have between its ends, as exactly as it has them."""
    levels = np.unique(numbers)
    if len(levels) < 2:
        return 1.0
    with np.errstate(over="ignore"):
        steps = np.ptp(levels) / np.diff(levels).min()
    return float(min(steps, _MOST_WAYS))


def _agrees(cells: Floats, expected: Floats, ways: Floats, tried: int) -> bool:
    """Whether a row's numbers are what is expected of a total, in most columns and by no chance."""
    filled = ~np.isnan(cells)
    near = np.maximum(1e-6 * np.abs(expected), _rounding(cells))
    same = filled & (np.abs(cells - expected) <= near) & (expected != 0)
    # One number is the sum of others in many ways, if it is of few.
    chance = float(np.prod(np.maximum(ways[same], 1.0)))
    return bool(2 * same.sum() > filled.sum() and chance >= _WAYS * tried)


def _rounding(cells: Floats) -> Floats:
    """Return half of the last digit that each number is written with."""
    decimals = [
        len(f"{cell:.10g}".partition(".")[2].partition("e")[0])
        if np.isfinite(cell)
        else 0
        for cell in cells.tolist()
    ]
    return (
        np.where(np.array(decimals) > 0, 0.5 * 10.0 ** -np.array(decimals), 0.0) + 1e-9
    )


def _subtotals(values: Floats, ways: Floats) -> list[int]:
    """Return rows whose numbers are the sums of the rows since the one before. There are several of them."""
    if not 2 * _FEWEST_ADDED <= len(values) <= _MOST_ROWS:
        return []
    found, begin = list[int](), 0
    sums = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum(np.nan_to_num(values), axis=0)]
    )
    # The column of most different numbers tells most rows.
    main = int(np.argmax(ways))
    cells, added = values[:, main].tolist(), sums[:, main].tolist()
    for row in range(2, len(values)):
        expected = added[row] - added[begin]
        if row - begin < 2 or not abs(cells[row] - expected) <= 1e-5 * abs(expected):
            continue
        filled = np.nan_to_num(values[begin:row])
        one = np.where((filled != 0).sum(axis=0) > 1, values[row], np.nan)
        if _agrees(one, sums[row] - sums[begin], ways, len(values)):
            found.append(row)
            begin = row + 1
    return found if len(found) > 1 else []


def _label(frame: pd.DataFrame, row: int, numbers: Sequence[object]) -> str:
    """Return the first text of a row."""
    for name in frame:
        cell = frame[name].iloc[row]
        if name not in numbers and isinstance(cell, str) and cell.strip():
            return cell.strip()
    return ""
