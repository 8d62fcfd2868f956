"""What each column of a CSV file is, decided from its texts: numbers, truth values or
text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from permgrad.base.errors import listed, option_of
from permgrad.base.sequences import values_at
from permgrad.data.read import written_numbers
from permgrad.data.read.amounts import Notation, find_amounts
from permgrad.data.read.cells import PRESENT, MissingCodes, RowLines, are_mistakes
from permgrad.data.read.csv_table import TextTable
from permgrad.data.read.paired_numbers import Pair, find_pair, is_pair
from permgrad.data.read.reading import (
    MISSING_ANYWAY,
    Reading,
    Written,
    code_words,
    holds_text,
)
from permgrad.data.read.whole_numbers import FIRST_INEXACT, blank_numbers, nullable
from permgrad.data.read.written_numbers import is_dot

#: Cells of thousands, written with points, that any reader of CSV takes for decimals.
_DOTTED = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$"
_TRUTHS = {
    "True": True,
    "TRUE": True,
    "true": True,
    "False": False,
    "FALSE": False,
    "false": False,
}
#: Codes of digits are at least so long. Shorter ones with zeros in front are often
#: hours and months.
_SHORTEST_CODE = 3
#: Floats are whole from here on, and text alone says whether they were written so.
_BEYOND_64_BITS = 2.0**63
#: Rows of which one tells most columns of text, and rows that are looked at in one go.
_LOOKED_AT = 1000
_PART_ROWS = 2**16
#: Different cells that tell most columns whose cells are no two numbers.
_FIRST = 20


@dataclass
class _Column:
    """A column on its way from text, null where it is missing, to ``values``.

    ``bare`` are its cells without codes and ``unit``, kept where the file tells which
    decimal sign is meant. ``proven`` is the decimal sign that its cells show.
    """

    name: str
    cells: pa.ChunkedArray
    values: Any = None
    bare: pa.ChunkedArray | None = None
    unit: str | None = None
    proven: str | None = None
    is_text: bool = False
    is_padded: bool = False
    missing: dict[str, float] = field(default_factory=dict)

    def keep_as_text(self) -> None:
        """Take the texts of all rows as values."""
        series: pd.Series[Any] = self.cells.to_pandas()
        if series.dtype == object:
            self.values = series.where(series.notna(), np.nan)
        else:
            self.values = series
        self.is_text = True


def read_columns(table: TextTable, lines: RowLines, reading: Reading) -> Written:
    """Decide what each column of a table is, and return it so."""
    columns: list[_Column] = []
    alike: dict[str, tuple[str, str]] = {}
    for column_name in list(table.cells):
        column = _Column(column_name, table.cells.pop(column_name))
        _read(column, reading, table.has_hexadecimal)
        if (
            column_name in reading.classes
            and not column.is_text
            and (alike_texts := _alike(column, reading.codes))
        ):
            alike[column_name] = alike_texts
        if column.values is not None and column.bare is None:
            column.cells = None
        columns.append(column)
    decimal = _settle_signs(columns, reading, table.delimiter)
    pairs, notes = _split_pairs(columns, reading)
    cells = dict[str, Any]()
    for column in columns:
        if column.name in pairs:
            cells |= _columns_of_pair(column, pairs[column.name], reading)
        else:
            cells[column.name] = column.values
    return Written(
        pd.DataFrame(
            cells,
            index=pd.RangeIndex(table.rows),
            copy=False,
        ),
        decimal=decimal,
        units={
            column.name: column.unit
            for column in columns
            if column.unit is not None and not column.is_text
        },
        texts=tuple(
            column.name
            for column in columns
            if column.is_text and column.name not in pairs
        ),
        padded=tuple(
            column.name for column in columns if column.is_padded and not column.is_text
        ),
        alike=alike,
        missing={column.name: column.missing for column in columns if column.missing},
        lines=lines,
        notes=(*table.notes, *notes),
        cautions=table.cautions,
        pairs={
            pair_name: tuple(number_pair) for pair_name, number_pair in pairs.items()
        },
    )


# ---- a column ------------------------------------------------------------------------
def _read(column: _Column, reading: Reading, has_hexadecimal: bool) -> None:
    """Set the values of a column, or its ``bare`` cells where the other columns tell
    which decimal sign is meant.
    """
    column_name = column.name
    numbers = _take_out_missing(
        column, reading, _cast(column.cells, has_hexadecimal), has_hexadecimal
    )
    if column_name in reading.text or column_name in reading.texts:
        column.keep_as_text()
        return
    if numbers is None and _take_out_dots(column, reading):
        numbers = _cast(column.cells, has_hexadecimal)
    if column.cells.null_count == len(column.cells):
        column.values = pd.Series(np.full(len(column.cells), np.nan))
    elif numbers is not None:
        _take_standard(column, numbers, reading)
    elif not reading.later and _is_text(column, reading):
        column.keep_as_text()
    elif pc.all(pc.is_in(column.cells.drop_null(), pa.array(list(_TRUTHS)))).as_py():
        truths = pd.Series(
            [_TRUTHS.get(cell_text, np.nan) for cell_text in column.cells.to_pylist()]
        )
        if column.cells.null_count:
            column.values = truths
        else:
            column.values = truths.astype(bool)
    else:
        _take_written(column, reading)


def _take_standard(column: _Column, numbers: pa.ChunkedArray, reading: Reading) -> None:
    """Set numbers that any reader takes for numbers.

    They may be thousands with points: 1.500.
    """
    values = _as_series(numbers, column.cells)
    is_coded = values.dtype != object and reading.na.holds_for(column.name)
    if is_coded:
        column.values = blank_numbers(values, reading.na, column.name)
    else:
        column.values = values
    column.is_padded = _is_padded(column.cells)
    if numbers.type != pa.float64():
        return
    if _prove_point(values):
        column.proven = "."
        return
    texts = pc.utf8_trim_whitespace(column.cells)
    pointed = texts.filter(pc.match_substring(texts, "."))
    if len(pointed) and pc.all(pc.match_substring_regex(pointed, _DOTTED)).as_py():
        column.bare = texts
    elif len(pointed):
        column.proven = "."


def _take_written(column: _Column, reading: Reading) -> None:
    """Set numbers with decimal commas, thousands, codes beside them, or a currency, or
    else texts.
    """
    texts = pc.utf8_trim_whitespace(column.cells)
    words = code_words(reading.codes, column.name)
    bare_cells = pc.if_else(
        pc.is_in(texts, pa.array(sorted(words), pa.string())),
        pa.scalar(None, pa.string()),
        texts,
    )
    first = next(
        (
            bare_text
            for bare_text in bare_cells.slice(0, _LOOKED_AT).to_pylist()
            if bare_text is not None
        ),
        "",
    )
    if reading.later:
        column_unit = reading.units.get(column.name)
    else:
        column_unit = written_numbers.unit_of(first)
    has_sign = column_unit is not None and written_numbers.is_sign(column_unit)
    if not has_sign and _take_amounts(column, bare_cells, column_unit, reading):
        return
    if column_unit is not None:
        without, had_all = written_numbers.without_unit(bare_cells, column_unit)
        # 0.05 beside 5 % may be the same share.
        if had_all or (reading.later and column_unit != "%"):
            column.unit = column_unit
            bare_cells = without
    signs = written_numbers.signs_of(bare_cells)
    if not signs and not reading.later:
        bare_cells = _without_mistakes(bare_cells)
        signs = written_numbers.signs_of(bare_cells)
    if not signs and not reading.later:
        column.unit = None
        column.keep_as_text()
        return
    column.bare = bare_cells
    if len(signs) == 1:
        column.proven = signs.pop()
        _set_numbers(column, column.proven)
    elif signs and not pc.any(pc.match_substring_regex(bare_cells, "[.,]")).as_py():
        _set_numbers(column, ".")


def _without_mistakes(bare: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return cells of which a few that are no numbers are missing. Else as they are."""
    numbers = rf"^(?:{'|'.join(written_numbers.NUMBERS.values())})$"
    is_odd = pc.invert(pc.match_substring_regex(bare, numbers))
    odd = bare.filter(is_odd)
    filled = len(bare) - bare.null_count
    if not are_mistakes(len(odd), len(odd.unique()), filled):
        return bare
    return pc.if_else(pc.fill_null(is_odd, False), pa.scalar(None, pa.string()), bare)


def _take_amounts(
    column: _Column, bare: pa.ChunkedArray, unit: str | None, reading: Reading
) -> bool:
    """Set amounts with units as numbers in one unit, and return whether they are such.

    Codes stay beside them.

    In a later table, a cell that cannot be read stays as it is, to be refused.
    """
    if reading.later and unit is None:
        return False
    counted = bare.drop_null().value_counts()
    texts = counted.field("values").to_pylist()
    if reading.later:
        notation: Notation | None = Notation(unit, reading.like or ".")
    else:
        notation = find_amounts(texts, counted.field("counts").to_pylist())
    if notation is None:
        return False
    numbers = dict(zip(texts, notation.read(texts).tolist(), strict=True))
    values = [numbers.get(bare_text, np.nan) for bare_text in bare.to_pylist()]
    column.unit = notation.unit
    column.bare = None
    are_odd = any(np.isnan(number) for number in numbers.values())
    if bare.null_count == column.cells.null_count and not are_odd:
        column.values = pd.Series(values, dtype=np.float64)
        return True
    cells = column.cells.to_pylist()
    cell_values: list[Any] = []
    for cell_text, number in zip(cells, values, strict=True):
        if cell_text is None:
            cell_values.append(np.nan)
        elif np.isnan(number):
            cell_values.append(cell_text)
        else:
            cell_values.append(repr(number))
    column.values = pd.Series(
        cell_values,
        dtype=object,
    )
    return True


def _set_numbers(column: _Column, sign: str) -> None:
    """Set the numbers of the bare cells, in standard notation.

    Codes stay beside them, as text.
    """
    bare_cells: pa.ChunkedArray = column.bare
    column.bare = None
    plain = written_numbers.standard(bare_cells, sign)
    if bare_cells.null_count > column.cells.null_count:
        numbers = None
    else:
        numbers = _cast(plain)
    if numbers is not None:
        column.values = _as_series(numbers, plain)
        return
    # Plain numbers stay as they are: 007 may be a name.
    if column.unit or _cast(bare_cells) is None:
        column.cells = pc.coalesce(plain, column.cells)
    texts: pd.Series[Any] = column.cells.to_pandas()
    column.values = texts.where(texts.notna(), np.nan)


def _set_spoiled(column: _Column, sign: str) -> None:
    """Set a column that was numbers in the table learned from: the error names the odd
    cell, not the numbers.
    """
    fits_pattern = pc.match_substring_regex(
        column.bare, rf"^{written_numbers.NUMBERS[sign]}$"
    )
    plain = written_numbers.standard(column.bare, sign)
    is_plain = pc.match_substring_regex(column.bare, r"^\d+(?:\.\d*)?$")
    texts = pc.if_else(pc.and_(fits_pattern, pc.invert(is_plain)), plain, column.bare)
    column.bare, column.values = None, pc.coalesce(texts, column.cells).to_pandas()


def _is_text(column: _Column, reading: Reading) -> bool:
    """Whether the first cell that is no code tells that a column is text, which spares
    looking at all others.
    """
    words = code_words(reading.codes, column.name)
    first_texts = column.cells.slice(0, _LOOKED_AT).drop_null().unique().to_pylist()
    first = next(
        (first_text for first_text in first_texts if first_text.strip() not in words),
        "0",
    )
    return first not in _TRUTHS and not written_numbers.may_be_number(first)


# ---- numbers -------------------------------------------------------------------------
def _cast(
    cells: pa.ChunkedArray, has_hexadecimal: bool = False
) -> pa.ChunkedArray | None:
    """Return cells as numbers of the first type that holds them all.

    Whole ones with a plus are no such numbers.
    """
    # Arrow reads hexadecimal numbers as whole ones.
    if (
        has_hexadecimal
        and pc.any(pc.match_substring(cells, "x", ignore_case=True)).as_py()
    ):
        return None
    for number_type in (pa.int64(), pa.uint64(), pa.float64()):
        try:
            # A cast that fails is slow: the first rows tell most texts.
            pc.cast(cells.slice(0, 100), number_type)
            numbers = pc.cast(cells, number_type)
        except pa.ArrowInvalid:
            continue
        if number_type == pa.float64() and pc.any(pc.starts_with(cells, "+")).as_py():
            return None
        return numbers
    return None


def _as_series(numbers: pa.ChunkedArray, texts: pa.ChunkedArray) -> pd.Series[Any]:
    """Return numbers as pandas reads them: floats where some are missing, unless that
    would round whole ones.
    """
    if numbers.type == pa.float64():
        extremes = pc.min_max(numbers).as_py()
        is_beyond = (
            extremes["max"] is not None
            and _BEYOND_64_BITS <= max(extremes["max"], -extremes["min"]) < np.inf
        )
        if (
            is_beyond
            and pc.all(pc.match_substring_regex(texts, r"^\s*[+-]?\d+\s*$")).as_py()
        ):
            whole_numbers = []
            for number_text in texts.to_pylist():
                if number_text is None:
                    whole_numbers.append(np.nan)
                else:
                    whole_numbers.append(int(number_text))
            return pd.Series(whole_numbers, dtype=object)
    elif 0 < numbers.null_count < len(numbers):
        extremes = pc.min_max(numbers).as_py()
        if max(extremes["max"], -extremes["min"]) >= FIRST_INEXACT:
            exact: pd.Series[Any] = numbers.to_pandas(types_mapper=nullable)
            return exact
    if numbers.null_count:
        numbers = pc.cast(numbers, pa.float64(), safe=False)
    return pd.Series(numbers.to_numpy())


def _prove_point(numbers: pd.Series[Any]) -> bool:
    """Whether a number has decimals that are no thousands.

    A part is looked at after another.
    """
    if numbers.dtype != np.float64:
        return False
    for begin in range(0, len(numbers), _PART_ROWS):
        values = numbers.iloc[begin : begin + _PART_ROWS].to_numpy(np.float64)
        broken = np.abs(values[np.isfinite(values) & (values != np.floor(values))])
        if (
            (broken < 1)
            | (broken >= 1000)
            | (np.abs(np.rint(1000 * broken) - 1000 * broken) >= 1e-6)
        ).any():
            return True
    return False


def _is_padded(cells: pa.ChunkedArray) -> bool:
    """Whether these are digits of one length, some with zeros in front: maybe codes,
    such as 01067.
    """
    lengths = pc.min_max(pc.binary_length(cells)).as_py()
    if lengths["min"] is None or not lengths["min"] == lengths["max"] >= _SHORTEST_CODE:
        return False
    return bool(
        pc.all(pc.utf8_is_digit(cells)).as_py()
        and pc.any(pc.starts_with(cells, "0")).as_py()
    )


# ---- the decimal sign of a file ------------------------------------------------------
def _split_pairs(
    columns: Sequence[_Column], reading: Reading
) -> tuple[dict[str, Pair], list[str]]:
    """Find the columns of text whose cells are two numbers each, but for those that the
    user names. Return a note, too.

    In a later table they are those of the table that was learned from.
    """
    pairs = {}
    for pair_name, pair_fields in reading.pairs.items():
        pairs[pair_name] = Pair(*pair_fields)
    asked_for = {*reading.text, *reading.texts, *reading.classes, *reading.named}
    examples = list[str]()
    for column in () if reading.later else columns:
        if not column.is_text or column.name in asked_for:
            continue
        different = Counter(map(str, column.values.dropna()))
        codes = code_words(reading.codes, column.name)
        for text in [text for text in different if not text.strip() or text in codes]:
            del different[text]
        # The first tell most columns that are something else.
        first = list(different)[:_FIRST]
        if 2 * sum(map(is_pair, first)) <= len(first):
            continue
        texts = [text for text in different if is_pair(text)]
        odd = different.total() - sum(values_at(different, texts))
        odd_count = len(different) - len(texts)
        if odd and not are_mistakes(odd, odd_count, different.total()):
            continue
        found_pair = find_pair(texts)
        if found_pair is not None:
            pairs[column.name] = found_pair
            named = listed(found_pair.names(column.name), show=repr)
            examples.append(f"{column.name} ({texts[0]!r} is {named})")
    if not examples:
        return pairs, []
    pair_note = (
        f"cells with two numbers are two columns: {listed(examples)}. To keep "
        "one as text, pass "
    )
    return pairs, [f"{pair_note}{option_of('--kind', next(iter(pairs)))}=categorical"]


def _columns_of_pair(column: _Column, pair: Pair, reading: Reading) -> dict[str, Any]:
    """Return the two columns of one with two numbers in a cell.

    A cell that cannot be read stays, to be refused.

    Declared codes are missing in both.
    """
    codes = code_words(reading.codes, column.name)
    cells = [
        None if pd.isna(cell_value) else str(cell_value) for cell_value in column.values
    ]
    texts = [
        None if cell_text is None or cell_text.strip() in codes else cell_text
        for cell_text in cells
    ]
    numbers = pair.read([pair_text or "" for pair_text in texts])
    first, second = pair.names(column.name)
    halves: dict[str, Any] = {first: pd.Series(numbers[:, 0])}
    halves[second] = pd.Series(numbers[:, 1])
    is_odd = np.isnan(numbers[:, 0])
    odd_rows = [
        row_index
        for row_index, pair_text in enumerate(texts)
        if pair_text and pair_text.strip() and is_odd[row_index]
    ]
    if odd_rows:
        halves[first] = halves[first].astype(object)
        for odd_row in odd_rows:
            halves[first].iloc[odd_row] = texts[odd_row]
    return halves


def _settle_signs(
    columns: Sequence[_Column], reading: Reading, delimiter: str
) -> str | None:
    """Read the columns that leave it to others which decimal sign is meant, and return
    that sign if it is known.

    It is the one that the user named, that other columns prove, or that of the table
    that was learned from.
    """
    proven = {column.proven for column in columns if column.proven is not None}
    decimal_sign = reading.decimal
    if not decimal_sign and not proven:
        decimal_sign = reading.like
    elif not decimal_sign and len(proven) == 1:
        decimal_sign = next(iter(proven))
    for column in columns:
        if column.bare is not None and written_numbers.signs_of(column.bare):
            example = next(
                bare_text
                for bare_text in column.bare.to_pylist()
                if bare_text is not None and re.search("[.,]", bare_text)
            )
            _read_numbers(column, example, decimal_sign, delimiter, proven=bool(proven))
        elif column.bare is not None:
            _set_spoiled(column, decimal_sign or ".")
    return decimal_sign


def _read_numbers(
    column: _Column, example: str, sign: str | None, delimiter: str, *, proven: bool
) -> None:
    """Read numbers such as an example by a decimal sign, or by what is usual.
    ``proven``: other columns prove both.
    """
    if "," in example and delimiter != ",":
        usual = ","
    else:
        usual = "."
    if sign is None and (proven or delimiter != "," or "," in example):
        if proven:
            sign_reason = "although other columns have decimal commas"
        else:
            sign_reason = "as is usual with such delimiters"
        written_numbers.warn_of_sign(column.name, example, usual, sign_reason)
    if column.values is None or (sign or usual) == ",":
        _set_numbers(column, sign or usual)
    column.bare = column.cells = None


def _alike(column: _Column, codes: MissingCodes) -> tuple[str, str] | None:
    """Return two texts of the same number that differ by leading zeros, or None."""
    first: dict[int, str] = {}
    for number_text in map(str.strip, column.cells.unique().drop_null().to_pylist()):
        if (
            number_text.isdecimal()
            and codes.kind_of(number_text, column.name) == PRESENT
        ):
            earlier_text = first.setdefault(int(number_text), number_text)
            if earlier_text != number_text:
                return earlier_text, number_text
    return None


# ---- texts that mean missing ---------------------------------------------------------
def _take_out_missing(
    column: _Column,
    reading: Reading,
    numbers: pa.ChunkedArray | None,
    has_hexadecimal: bool,
) -> pa.ChunkedArray | None:
    """Turn texts that mean missing into missing cells, and return the cells as numbers,
    if they are.

    The column gets the share of each text that was not declared.
    """
    usual = MISSING_ANYWAY.difference(reading.not_na)
    texts = ["", *usual]
    # Where all cells are numbers, none of their texts means missing. Declared codes
    # that are numbers may.
    is_filled = numbers is not None and (
        numbers.type != pa.float64() or not pc.any(pc.is_nan(numbers)).as_py()
    )
    if reading.na.holds_for(column.name) and (
        not is_filled or column.name in reading.text
    ):
        different = column.cells.unique().drop_null().to_pylist()
        for different_text in different:
            if reading.na.kind_of(different_text, column.name) != PRESENT:
                texts.append(different_text)
    elif is_filled:
        return numbers
    is_missing = pc.is_in(
        pc.utf8_trim_whitespace(column.cells),
        pa.array([missing_text.strip() for missing_text in texts], pa.string()),
    )
    if not pc.any(is_missing).as_py():
        return numbers
    trimmed = pc.utf8_trim_whitespace(column.cells.filter(is_missing))
    counts = {}
    for value_count in trimmed.value_counts().to_pylist():
        counts[value_count["values"]] = value_count["counts"]
    column.cells = pc.if_else(is_missing, pa.scalar(None, pa.string()), column.cells)
    words = usual.difference(reading.na.labels, reading.codes.labels)
    written = sorted(filter(words.__contains__, counts), key=lambda word: -counts[word])
    missing = {}
    for missing_word in written:
        missing[missing_word] = counts[missing_word] / len(is_missing)
    column.missing = missing
    return _cast(column.cells, has_hexadecimal)


def _take_out_dots(column: _Column, reading: Reading) -> bool:
    """Turn ``.`` and ``.a`` to ``.z`` among numbers into missing cells.

    Return whether there were any.

    Stata and SAS write missing numbers so.
    """
    different = column.cells.unique().drop_null().to_pylist()
    kept_texts = {*reading.not_na, *reading.na.holds_for(column.name)}
    kept_texts |= {*reading.codes.holds_for(column.name)}
    dot_texts = set()
    for dotted_text in different:
        if is_dot(dotted_text) and dotted_text.strip() not in kept_texts:
            dot_texts.add(dotted_text)
    other_texts = [
        different_text for different_text in different if not is_dot(different_text)
    ][:_LOOKED_AT]
    numbers = []
    for number_text in other_texts:
        if written_numbers.may_be_number(number_text):
            numbers.append(number_text)
    if not dot_texts or not numbers or 2 * len(numbers) < len(other_texts):
        return False
    is_dotted = pc.is_in(column.cells, pa.array(sorted(dot_texts), pa.string()))
    counted = column.cells.filter(is_dotted).value_counts().to_pylist()
    for entry in sorted(counted, key=lambda entry: -entry["counts"]):
        column.missing[entry["values"].strip()] = entry["counts"] / len(is_dotted)
    column.cells = pc.if_else(is_dotted, pa.scalar(None, pa.string()), column.cells)
    return True


# ---- tables that say themselves which columns are numbers ----------------------------
def _text_columns(frame: pd.DataFrame, reading: Reading) -> Iterator[_Column]:
    """Yield the columns of texts alone that may write numbers, read."""
    for name in [str(name) for name in frame if holds_text(frame[name])]:
        is_declared = name in reading.text or name in reading.texts
        if is_declared or isinstance(frame[name].dtype, pd.CategoricalDtype):
            continue
        texts = [cell if isinstance(cell, str) else None for cell in frame[name]]
        if len(frame) - texts.count(None) < frame[name].notna().sum():
            continue  # it holds numbers, too
        column = _Column(name, pa.chunked_array([pa.array(texts, pa.string())]))
        _read_written(column, reading)
        yield column


def _with_halves(
    frame: pd.DataFrame, pairs: Mapping[str, Any], reading: Reading
) -> pd.DataFrame:
    """Return a table with both numbers of each pair in its place."""
    columns = dict[str, Any]()
    for label, series in frame.items():
        name = str(label)
        if name in pairs:
            halves = _columns_of_pair(_Column(name, None, series), pairs[name], reading)
            for half, numbers in halves.items():
                columns[half] = numbers.set_axis(frame.index)
        else:
            columns[name] = series
    return pd.DataFrame(columns, index=frame.index)


def read_typed(frame: pd.DataFrame, reading: Reading) -> Written:
    """Return a table of typed columns in which texts that write numbers are numbers, as
    those of a CSV file are.

    Texts of plain numbers stay: whoever stored them as text may have meant codes.
    """
    columns = list(_text_columns(frame, reading))
    decimal = _settle_signs(columns, reading, ",")
    number_columns = {
        number_column.name: number_column.values
        for number_column in columns
        if number_column.values is not None
    }
    read_names = set(number_columns)
    for values in number_columns.values():
        values.index = frame.index
    of_text = [column for column in columns if column.values is None]
    for column in of_text:
        column.is_text = True
        column.values = frame[column.name]
    pairs, notes = _split_pairs(of_text, reading)
    frame = frame.assign(**number_columns)
    if pairs:
        frame = _with_halves(frame, pairs, reading)
    written = Written.typed(frame, reading.codes)
    units = {
        unit_column.name: unit_column.unit
        for unit_column in columns
        if unit_column.unit is not None
    }
    missing = {
        missing_column.name: missing_column.missing
        for missing_column in columns
        if missing_column.missing
    }
    return written._replace(
        decimal=decimal,
        units={
            unit_name: units[unit_name]
            for unit_name in units
            if unit_name in read_names
        },
        missing={
            missing_name: missing[missing_name]
            for missing_name in missing
            if missing_name in read_names
        },
        notes=tuple(notes),
        pairs={
            pair_name: tuple(number_pair) for pair_name, number_pair in pairs.items()
        },
    )


def _read_written(column: _Column, reading: Reading) -> None:
    """Set the values of a column of texts that write numbers in a way that is not the
    usual one. None: it has others.
    """
    plain = _cast(column.cells)
    if plain is not None:
        return
    stored = column.cells
    numbers = _take_out_missing(column, reading, None, has_hexadecimal=False)
    if numbers is None and _take_out_dots(column, reading):
        numbers = _cast(column.cells)
    is_blank = column.cells.null_count == len(column.cells)
    if is_blank or (
        numbers is None and not reading.later and _is_text(column, reading)
    ):
        column.cells = stored
        column.missing = {}
    elif numbers is None:
        _take_written(column, reading)
    elif pc.any(pc.match_substring_regex(column.cells, r"^\s*0\d")).as_py():
        column.cells, column.missing = stored, {}  # they may be codes
    else:
        column.values = _as_series(numbers, column.cells)
    if column.is_text:
        column.values = None
        column.missing = {}
