"""What each column of a CSV file is, decided from its texts, and where these leave two readings by other columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from permgrad.base.arrays import Integers
from permgrad.data.read import written_numbers
from permgrad.data.read.cells import PRESENT, MissingCodes, RowLines, canonical
from permgrad.data.read.csv_table import TextTable
from permgrad.data.read.reading import MISSING_ANYWAY, Reading, Written, code_words
from permgrad.data.read.whole_numbers import FIRST_INEXACT, blank_numbers, nullable
from permgrad.data.read.written_numbers import WAYS, Way

_PLAIN = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
#: Whole numbers as they are counted: without zeros in front or a plus.
_COUNTED = re.compile(r"0|-?[1-9]\d*")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DECIMALS = re.compile(r"-?(?:0|[1-9]\d*)\.(\d+)")
_ZEROS = re.compile(r"\.0+$")
_EXCHANGED = str.maketrans(",.", ".,")
#: Cells of a column of thousands, written with points, that any reader of CSV takes for decimals.
_DOTTED = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
#: Numbers with decimal commas and points between thousands, and those among them that can be nothing else.
_WITH_COMMA = r"^-?(?:\d+,?\d*|,\d+|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?)$"
_SURELY_COMMA = r",(?:\d{0,2}|\d{4,})$"
_TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
#: Codes of digits are at least so long. Shorter ones with zeros in front are often hours and months.
_SHORTEST_CODE = 3
#: Floats are whole from here on, and text alone says whether they were written so.
_BEYOND_64_BITS = 2.0**63
#: Rows of which one tells most columns of text, and rows that are looked at in one go.
_LOOKED_AT, _PART_ROWS = 1000, 2**16


# ---- a column on its way ---------------------------------------------------------------------------------------------
@dataclass
class _Column:
    """A column on its way from text, null where it is missing, to ``values``.

    ``numbers`` are its cells where any reader takes them for numbers. Of other texts ``bare`` has those that are no
    codes, without ``unit``, and ``ways`` how all of these may be written. ``dotted`` are decimals that may be thousands
    (1.500). ``proven`` has the decimal signs that its cells prove for the whole file.
    """

    name: str
    cells: pa.ChunkedArray
    numbers: pa.ChunkedArray | None
    values: Any = None
    sign: str | None = None
    unit: str | None = None
    is_text: bool = False
    is_coded: bool = False
    bare: dict[str, str] = field(default_factory=dict)
    ways: list[Way] = field(default_factory=list)
    dotted: list[str] = field(default_factory=list)
    proven: set[str] = field(default_factory=set)

    @cached_property
    def levels(self) -> tuple[Integers, list[str]]:
        """The place of each row's text among the different ones, −1: missing, and these as they first occur."""
        coded = self.cells.combine_chunks().dictionary_encode()
        places = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        return places, coded.dictionary.to_pylist()

    def spread(self, values: Sequence[Any], dtype: Any = object) -> pd.Series[Any]:
        """Return for each row the value of its text, NaN where it is missing."""
        levels = np.empty(len(values) + 1, dtype=dtype)
        levels[:-1], levels[-1] = values, np.nan
        return pd.Series(levels[self.levels[0]])

    @cached_property
    def is_padded(self) -> bool:
        """Whether these are digits of one length, some with zeros in front: maybe codes, such as 01067."""
        lengths = pc.min_max(pc.binary_length(self.cells)).as_py()
        if lengths["min"] is None or not lengths["min"] == lengths["max"] >= _SHORTEST_CODE:
            return False
        return bool(pc.all(pc.utf8_is_digit(self.cells)).as_py() and pc.any(pc.starts_with(self.cells, "0")).as_py())

    def forget(self, reading: Reading, *, is_final: bool = False) -> None:
        """Drop the cells, which are many, where no other column (``is_final``: and none that was asked) needs them."""
        self.numbers = None
        asked_for = {*reading.identifiers, *reading.categories, *reading.classes, *(() if is_final else reading.like)}
        if self.values is None or self.name in asked_for:
            return
        if pd.api.types.is_numeric_dtype(self.values.dtype):
            is_open = self.values.dtype == np.float64 and self.sign is None and not is_final
            if is_open and not _prove_point(self.values):
                return
            if self.cells is not None:
                _ = self.is_padded
        self.cells, self.bare = None, {}
        self.__dict__.pop("levels", None)

    def as_written(self) -> pd.Series[Any]:
        """Return the texts of all rows."""
        series: pd.Series[Any] = self.cells.to_pandas()
        return series.where(series.notna(), np.nan) if series.dtype == object else series


def _cast(cells: pa.ChunkedArray, has_hexadecimal: bool = False) -> pa.ChunkedArray | None:
    """Return cells as numbers of the first type that holds them all. Whole ones with a plus are left to Python."""
    # Arrow reads hexadecimal numbers as whole ones.
    if has_hexadecimal and pc.any(pc.match_substring(cells, "x", ignore_case=True)).as_py():
        return None
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        try:
            # A cast that fails is slow: the first rows tell most texts.
            pc.cast(cells.slice(0, 100), kind)
            numbers = pc.cast(cells, kind)
        except pa.ArrowInvalid:
            continue
        return None if kind == pa.float64() and pc.any(pc.starts_with(cells, "+")).as_py() else numbers
    return None


def _plain_numbers(column: _Column) -> pd.Series[Any] | None:
    """Return the numbers of a column in standard notation, or None."""
    numbers = column.numbers
    if numbers is None:
        places, texts = column.levels
        texts = [text.strip() for text in texts]
        if not all(map(_PLAIN.fullmatch, texts)):
            return None
        levels = _cast(pa.chunked_array([pa.array([text.removeprefix("+") for text in texts], pa.string())]))
        if levels is None:
            return None
        numbers = levels.take(pa.array(places, mask=places < 0))
    if numbers.type == pa.float64():
        ends = pc.min_max(numbers).as_py()
        is_beyond = ends["max"] is not None and _BEYOND_64_BITS <= max(ends["max"], -ends["min"]) < np.inf
        if is_beyond and all(_WHOLE.fullmatch(text.strip()) for text in column.levels[1]):
            return column.spread(list(map(int, column.levels[1])))
    # As pandas reads them: floats where some are missing, unless that would round whole ones.
    elif 0 < numbers.null_count < len(numbers):
        ends = pc.min_max(numbers).as_py()
        if max(ends["max"], -ends["min"]) >= FIRST_INEXACT:
            exact: pd.Series[Any] = numbers.to_pandas(types_mapper=nullable)
            return exact
    if numbers.null_count:
        numbers = pc.cast(numbers, pa.float64(), safe=False)
    return pd.Series(numbers.to_numpy())


def _comma_numbers(column: _Column, reading: Reading) -> pd.Series[Any] | None:
    """Return the numbers of a column that prove their decimal comma, without looking at each text, or None."""
    cells, words = column.cells, code_words(reading.codes, column.name)
    if column.name in reading.units or not pc.all(pc.match_substring_regex(cells.slice(0, 100), _WITH_COMMA)).as_py():
        return None
    if not pc.all(pc.match_substring_regex(cells, _WITH_COMMA)).as_py():
        return None
    is_sure = pc.any(pc.match_substring_regex(cells, _SURELY_COMMA)).as_py()
    if not is_sure or pc.any(pc.is_in(cells, pa.array(sorted(words), pa.string()))).as_py():
        return None
    texts = pc.replace_substring(pc.replace_substring(cells, ".", ""), ",", ".")
    return pd.Series(pc.cast(texts, pa.float64()).to_numpy())


# ---- deciding -------------------------------------------------------------------------------------------------------
def read_columns(table: TextTable, lines: RowLines, reading: Reading) -> Written:
    """Decide what each column of a table is, and return it so."""
    columns: list[_Column] = []
    missing: dict[str, dict[str, float]] = {}
    padded: list[str] = []
    alike: dict[str, tuple[str, str]] = {}
    for name in list(table.cells):
        cells = table.cells.pop(name)
        column = _Column(name, cells, _cast(cells, table.has_hexadecimal))
        del cells
        if words := _take_out_missing(column, reading, table.has_hexadecimal):
            missing[name] = words
        _read_texts(column, reading)
        column.forget(reading)
        columns.append(column)
    _settle_signs(columns, reading, comma_parts=table.delimiter == ",")
    for column in columns:
        if not pd.api.types.is_numeric_dtype(column.values.dtype):
            continue
        if column.name in reading.identifiers or column.name in reading.categories:
            _keep_as_text(column, reading)
        if column.is_text or column.values.dtype == bool:
            continue
        padded += [column.name] if column.is_padded else []
        if column.name in reading.classes and (pair := _alike(column, reading.codes)):
            alike[column.name] = pair
    return Written(
        pd.DataFrame({column.name: column.values for column in columns}, index=pd.RangeIndex(table.rows), copy=False),
        decimals={column.name: column.sign for column in columns if column.sign is not None},
        units={column.name: column.unit for column in columns if column.unit is not None},
        texts=tuple(column.name for column in columns if column.is_text),
        coded=tuple(column.name for column in columns if column.is_coded),
        padded=tuple(padded),
        alike=alike,
        missing=missing,
        lines=lines,
        notes=table.notes,
    )


def _take_out_missing(column: _Column, reading: Reading, has_hexadecimal: bool) -> dict[str, float]:
    """Turn texts that mean missing into missing cells. Return the share of each text that was not declared."""
    numbers, usual = column.numbers, MISSING_ANYWAY.difference(reading.not_na)
    texts = ["", *usual]
    # Where all cells are numbers, none of their texts means missing. Declared codes that are numbers may.
    is_filled = numbers is not None and (numbers.type != pa.float64() or not pc.any(pc.is_nan(numbers)).as_py())
    if reading.na.holds_for(column.name) and (not is_filled or column.name in reading.text):
        texts += [text for text in column.levels[1] if reading.na.kind_of(text, column.name) != PRESENT]
    elif is_filled:
        return {}
    texts = [text.strip() for text in texts]
    hit = pc.is_in(pc.utf8_trim_whitespace(column.cells), pa.array(texts, pa.string()))
    if not pc.any(hit).as_py():
        return {}
    trimmed = pc.utf8_trim_whitespace(column.cells.filter(hit))
    counts = {one["values"]: one["counts"] for one in trimmed.value_counts().to_pylist()}
    column.cells = pc.if_else(hit, pa.scalar(None, pa.string()), column.cells)
    column.numbers = _cast(column.cells, has_hexadecimal)
    column.__dict__.pop("levels", None)
    words = usual.difference(reading.na.labels, reading.codes.labels)
    written = sorted(filter(words.__contains__, counts), key=lambda word: -counts[word])
    return {word: counts[word] / len(hit) for word in written}


def _read_texts(column: _Column, reading: Reading) -> None:
    """Set the values of a column, or how its texts may be written where the other columns tell which way is meant."""
    name = column.name
    if name in reading.text or name in reading.texts:
        column.values = column.as_written()
        return
    if column.cells.null_count == len(column.cells):
        column.values = pd.Series(np.full(len(column.cells), np.nan))
        return
    if column.numbers is None and _is_text(column, reading):
        column.values, column.is_text = column.as_written(), True
        return
    if column.numbers is None and (commas := _comma_numbers(column, reading)) is not None:
        column.values, column.sign, column.proven = commas, ",", {","}
        return
    numbers = _plain_numbers(column)
    if numbers is not None:
        is_coded = numbers.dtype != object and reading.na.holds_for(name)
        column.values = blank_numbers(numbers, reading.na, name) if is_coded else numbers
        return
    _, texts = column.levels
    if all(text in _TRUTHS for text in texts):
        truths = column.spread([_TRUTHS[text] for text in texts])
        column.values = truths if column.cells.null_count else truths.astype(bool)
        return
    words = code_words(reading.codes, name)
    column.bare, column.unit = written_numbers.without_unit(
        [text for text in texts if text.strip() not in words], reading.units.get(name)
    )
    column.ways, column.proven = written_numbers.ways_of(list(column.bare.values()))
    if not column.ways and name not in {*reading.like, *reading.units}:
        column.values, column.is_text, column.unit = column.as_written(), True, None


def _is_text(column: _Column, reading: Reading) -> bool:
    """Whether the first cell that is no code tells that a column is text, which spares looking at all others."""
    words = code_words(reading.codes, column.name)
    some = column.cells.slice(0, _LOOKED_AT).drop_null().unique().to_pylist()
    first = next((text for text in some if text.strip() not in words), "0")
    return column.name not in reading.like and first not in _TRUTHS and not written_numbers.may_be_number(first)


# ---- decimal signs --------------------------------------------------------------------------------------------------
def _settle_signs(columns: Sequence[_Column], reading: Reading, *, comma_parts: bool) -> None:
    """Read the columns that leave it to others which decimal sign is meant. ``comma_parts``: the fields."""
    proven = set[str]().union(*(column.proven for column in columns))
    has_commas = not comma_parts or "," in (*proven, reading.decimal)
    for column in columns:
        _look_at_points(column, has_commas or reading.like.get(column.name) == ",")
    proven = proven.union(*(column.proven for column in columns))
    sole = reading.decimal or (next(iter(proven)) if len(proven) == 1 else None)
    of_unit = _signs_of_units(columns)
    for column in columns:
        like = reading.like.get(column.name)
        if column.ways:
            _settle_ways(column, (sole or of_unit.get(column.unit or ""), like), comma_parts)
        elif column.dotted:
            _settle_points(column, sole or like, proven, reading.decimal)
        elif column.values is None:
            _settle_spoiled(column, like)
        elif column.sign is None and column.values.dtype != bool and pd.api.types.is_numeric_dtype(column.values.dtype):
            column.sign = "." if column.proven and reading.decimal is None else sole
        column.forget(reading, is_final=True)


def _signs_of_units(columns: Sequence[_Column]) -> dict[str, str]:
    """Return the sign of each unit: where columns disagree, amounts are written like others in the same unit."""
    shown = {(column.unit, *column.proven) for column in columns if column.unit and len(column.proven) == 1}
    return {unit: sign for unit, sign in shown if len({other for one, other in shown if one == unit}) == 1}


def _look_at_points(column: _Column, has_commas: bool) -> None:
    """Find out whether points, where the file may have decimal commas, are decimal: thousands are 1.500 as well."""
    if column.values is None or column.values.dtype != np.float64 or column.sign is not None:
        return
    if _prove_point(column.values):
        column.proven = {"."}
    elif has_commas:
        texts = [text.strip() for text in column.levels[1]]
        pointed = [text for text in texts if not _WHOLE.fullmatch(text)]
        if all(map(_DOTTED.fullmatch, pointed)):
            column.dotted = pointed
        elif any("." in text for text in texts):
            column.proven = {"."}


def _prove_point(numbers: pd.Series[Any]) -> bool:
    """Whether a number has decimals that are no thousands. A part is looked at after another."""
    for begin in range(0, len(numbers), _PART_ROWS):
        values = numbers.iloc[begin : begin + _PART_ROWS].to_numpy(np.float64)
        broken = np.abs(values[np.isfinite(values) & (values != np.floor(values))])
        if ((broken < 1) | (broken >= 1000) | (np.abs(np.rint(1000 * broken) - 1000 * broken) >= 1e-6)).any():
            return True
    return False


def _settle_points(column: _Column, sign: str | None, proven: set[str], decimal: str | None) -> None:
    """Read points as thousands if the decimal sign is a comma, else as decimal. Warn if the cells do not prove it."""
    if decimal is None and proven != {","}:
        example, why = column.dotted[0], "as in the table that was learned from"
        if len(proven) == 2 and sign is None:
            why = "although other columns have decimal commas"
        elif sign is None or proven == {sign}:
            why = "as other columns have decimal points" if proven else "as no other column shows a decimal comma"
        written_numbers.warn_of_sign(
            column.name, example, float(example.replace(".", "") if sign == "," else example), why
        )
    column.sign = sign
    if sign == ",":
        thousands = column.spread([int(text.replace(".", "")) for text in column.levels[1]])
        numbers = pd.to_numeric(thousands).where(column.values.notna())
        column.values = numbers if numbers.isna().any() else numbers.astype(np.int64)


def _settle_ways(column: _Column, signs: tuple[str | None, str | None], comma_parts: bool) -> None:
    """Read numbers as some country writes them, all in one way: 1.234,5. Codes stay beside them."""
    bare, texts = list(column.bare.values()), column.levels[1]
    way, column.sign = written_numbers.choose_way(
        column.name, bare, column.ways, signs, column.unit, comma_parts=comma_parts
    )
    numbers = {text: written_numbers.number_in(number, way) for text, number in column.bare.items()}
    if len(numbers) == len(texts):
        column.values = column.spread([numbers[text] for text in texts], np.float64)
    elif all(_PLAIN.fullmatch(text.strip()) and float(text) == number for text, number in numbers.items()):
        column.values, column.is_coded = column.as_written(), True
    else:
        column.values = column.spread([canonical(numbers[text]) if text in numbers else text for text in texts])


def _settle_spoiled(column: _Column, like: str | None) -> None:
    """Keep as text a column that was numbers in the training table: the error names the odd cell."""
    fitting = [way for way in WAYS if way.point == (like or ".")]
    written = []
    for text in column.levels[1]:
        bare = column.bare.get(text, text)
        way = next((way for way in fitting if text in column.bare and way.cells.fullmatch(bare.strip())), None)
        # Plain numbers stay as they are: 007 may be a name.
        is_plain = way is None or (way.point == "." and _PLAIN.fullmatch(bare.strip()))
        written.append(bare if way is None or is_plain else canonical(written_numbers.number_in(bare, way)))
    column.values = column.spread(written)


# ---- what the user declared -----------------------------------------------------------------------------------------
def _keep_as_text(column: _Column, reading: Reading) -> None:
    """Keep a category or identifier that was read as numbers as text, if its numbers lose something.

    Of categories these are zeros in front (007), zeros behind where others have fewer decimals (7.10 beside 7.9), signs
    and exponents, not what other programs write for the same numbers: 1.0, or as many decimals everywhere.
    """
    texts = [text.strip() for text in column.levels[1]]
    if all(map(_COUNTED.fullmatch, texts)):
        return
    if column.name not in reading.identifiers:
        texts = [text for text in texts if reading.codes.kind_of(text, column.name) == PRESENT]
        texts = [text.translate(_EXCHANGED) for text in texts] if column.sign == "," else texts
        # Thousands and per cent signs are ways to write numbers, not codes.
        if not all(map(_NUMBER.fullmatch, texts)):
            return
        decimals = {match and len(match[1]) for match in map(_DECIMALS.fullmatch, texts)}
        # Texts that are what their number is called, but for decimals that are zeros alone.
        are_plain = all(_COUNTED.fullmatch(text) or canonical(float(text)) == _ZEROS.sub("", text) for text in texts)
        if are_plain or (len(decimals) == 1 and None not in decimals):
            return
    column.values, column.is_text, column.sign, column.unit = column.as_written(), True, None, None


def _alike(column: _Column, codes: MissingCodes) -> tuple[str, str] | None:
    """Return two texts of the same number that differ by leading zeros, or None."""
    first: dict[int, str] = {}
    for text in map(str.strip, column.levels[1]):
        if text.isdecimal() and codes.kind_of(text, column.name) == PRESENT:
            other = first.setdefault(int(text), text)
            if other != text:
                return other, text
    return None
