"""What each column of a CSV file is, decided from its texts, and where these leave two readings by other columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from permgrad.data.read.cells import PRESENT, MissingCodes, RowLines, canonical
from permgrad.data.read.csv_table import TextTable
from permgrad.data.read.parquet import NULLABLE
from permgrad.data.read.reading import Reading, Written, code_words
from permgrad.data.read.whole_numbers import FIRST_INEXACT, blank_numbers
from permgrad.data.read.written_numbers import (
    WAYS,
    Way,
    choose_way,
    number_in,
    signs_in,
    warn_of_sign,
    ways_of,
    without_unit,
)

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
_TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
#: Codes of digits are at least so long; shorter ones with zeros in front are often hours and months.
_SHORTEST_CODE = 3
#: Floats are whole from here on, and text alone says whether they were written so.
_BEYOND_64_BITS = 2.0**63


@dataclass(frozen=True)
class _TextColumn:
    """The cells of a column as text, null where they are missing."""

    name: str
    cells: pa.ChunkedArray
    has_hexadecimal: bool = False

    @cached_property
    def _levels(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        coded = self.cells.combine_chunks().dictionary_encode()
        places = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return places, coded.dictionary.to_pylist()

    @cached_property
    def _cast(self) -> pa.ChunkedArray | None:
        # Arrow reads hexadecimal numbers as whole ones.
        if self.has_hexadecimal and pc.any(pc.match_substring(self.cells, "x", ignore_case=True)).as_py():
            return None
        return _cast(self.cells)

    @property
    def is_filled(self) -> bool:
        """Whether all cells are numbers, so that none of their texts means missing."""
        numbers = self._cast
        return numbers is not None and (numbers.type != pa.float64() or not pc.any(pc.is_nan(numbers)).as_py())

    @property
    def texts(self) -> list[str]:
        """Different texts, in the order in which they first occur."""
        return self._levels[1]

    def spread(self, values: Sequence[Any], blank: Any, dtype: Any) -> npt.NDArray[Any]:
        """Return for each row the value of its text."""
        levels = np.empty(len(values) + 1, dtype=dtype)
        levels[:-1], levels[-1] = values, blank
        return levels[self._levels[0]]

    def without(self, hit: pa.ChunkedArray) -> _TextColumn:
        """Return the column with some cells missing."""
        return replace(self, cells=pc.if_else(hit, pa.scalar(None, pa.string()), self.cells))

    def series(self) -> pd.Series[Any]:
        """Return the texts as they are written."""
        series: pd.Series[Any] = self.cells.to_pandas()
        return series.where(series.notna(), np.nan) if series.dtype == object else series

    def rewritten(self, texts: Sequence[str]) -> pd.Series[Any]:
        """Return other texts in the place of the different ones."""
        return pd.Series(self.spread(texts, np.nan, object))

    def plain_numbers(self) -> pd.Series[Any] | None:
        """Return the numbers of a column that any reader takes for numbers; None: it is no such column."""
        numbers = self._cast
        if numbers is None:
            texts = [text.strip() for text in self.texts]
            if not all(map(_PLAIN.fullmatch, texts)):
                return None
            levels = _cast(pa.chunked_array([pa.array([text.removeprefix("+") for text in texts], pa.string())]))
            if levels is None:
                return None
            places = self._levels[0]
            numbers = levels.take(pa.array(places, mask=places < 0))
        if numbers.type == pa.float64():
            largest = pc.max(pc.abs(numbers)).as_py()
            is_beyond = largest is not None and _BEYOND_64_BITS <= largest < np.inf
            if is_beyond and all(_WHOLE.fullmatch(text.strip()) for text in self.texts):
                return pd.Series(self.spread(list(map(int, self.texts)), np.nan, object), dtype=object)
        # As pandas reads them: floats where some are missing, unless that would round whole ones.
        elif 0 < numbers.null_count < len(numbers):
            ends = pc.min_max(numbers).as_py()
            if max(ends["max"], -ends["min"]) >= FIRST_INEXACT:
                exact: pd.Series[Any] = numbers.to_pandas(types_mapper=NULLABLE.get)
                return exact
        if numbers.null_count:
            numbers = pc.cast(numbers, pa.float64(), safe=False)
        return pd.Series(numbers.to_numpy())


def _cast(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return cells as numbers of the first type that holds them all; whole ones with a plus are left to Python."""
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        try:
            # A cast that fails is slow: the first rows tell most texts.
            pc.cast(cells.slice(0, 100), kind)
            numbers = pc.cast(cells, kind)
        except pa.ArrowInvalid:
            continue
        return None if kind == pa.float64() and pc.any(pc.starts_with(cells, "+")).as_py() else numbers
    return None


# ---- the forms ------------------------------------------------------------------------------------------------------
@dataclass
class _Signs:
    """The decimal sign that the user named, whether commas part the fields, and the signs that columns prove."""

    decimal: str | None
    comma_parts: bool
    proven: set[str] = field(default_factory=set)

    @property
    def sole(self) -> str | None:
        """The sign of the file; None: in doubt."""
        return self.decimal or (next(iter(self.proven)) if len(self.proven) == 1 else None)


@dataclass
class _Decided:
    """A column as it is read: its rows, decimal sign and unit; texts as written, or nothing but numbers and codes."""

    values: pd.Series[Any]
    sign: str | None = None
    unit: str | None = None
    is_text: bool = False
    is_coded: bool = False

    @property
    def is_number(self) -> bool:
        """Whether the column was read as numbers or truth values."""
        return bool(pd.api.types.is_numeric_dtype(self.values.dtype))


@dataclass
class _Plain:
    """Whole numbers, truth values or text: no sign is in doubt.

    Of this form, as of those below, ``proven`` says which decimal signs its cells prove; ``settle`` makes of the column
    what it is when the signs of the file are known.
    """

    values: pd.Series[Any]
    is_text: bool = False
    proven: frozenset[str] = frozenset()

    def settle(self, file: _Signs) -> _Decided:
        is_number = pd.api.types.is_numeric_dtype(self.values.dtype) and self.values.dtype != bool
        return _Decided(self.values, file.sole if is_number else None, is_text=self.is_text)


@dataclass
class _Pointed:
    """Numbers with decimal points, unless they are points between thousands, which text alone can tell (1.500)."""

    column: _TextColumn
    values: pd.Series[Any]
    like: str | None
    dotted: list[str] = field(default_factory=list)
    is_proven: bool = False

    @property
    def proven(self) -> set[str]:
        return {"."} if self.is_proven else set()

    def look(self, file: _Signs) -> None:
        """Find out what points mean, which the columns with other signs tell."""
        if not _may_be_thousands(self.values.to_numpy(np.float64)):
            self.is_proven = True
        elif not file.comma_parts or "," in (*file.proven, file.decimal, self.like):
            texts = [text.strip() for text in self.column.texts]
            broken = [text for text in texts if not _WHOLE.fullmatch(text)]
            self.dotted = broken if all(map(_DOTTED.fullmatch, broken)) else []
            self.is_proven = not self.dotted and any("." in text for text in texts)

    def settle(self, file: _Signs) -> _Decided:
        if not self.dotted:
            return _Decided(self.values, "." if self.is_proven and file.decimal is None else file.sole)
        sign = file.sole or self.like
        if file.decimal is None and file.sole != ",":
            example, why = self.dotted[0], "as in the table that was learned from"
            if len(file.proven) == 2 and sign is None:
                why = "although other columns have decimal commas"
            elif sign is None or file.proven == {sign}:
                points = "other columns have decimal points" if file.proven else "no other column shows a decimal comma"
                why = f"as {points}"
            warn_of_sign(self.column.name, example, float(example.replace(".", "") if sign == "," else example), why)
        if sign != ",":
            return _Decided(self.values, sign)
        thousands = self.column.spread([int(text.replace(".", "")) for text in self.column.texts], np.nan, object)
        numbers = pd.Series(pd.to_numeric(thousands)).where(self.values.notna())
        return _Decided(numbers if numbers.isna().any() else numbers.astype(np.int64), sign)


@dataclass
class _Country:
    """Numbers as some country writes them, all in one way: 1.234,5, also with a unit (not in ``bare``) or codes."""

    column: _TextColumn
    bare: dict[str, str]
    ways: list[Way]
    like: str | None
    unit: str | None

    @property
    def proven(self) -> set[str]:
        signs = {way.point for way in self.ways}
        return signs if len(signs) == 1 else set()

    def settle(self, file: _Signs) -> _Decided:
        name, texts = self.column.name, list(self.bare.values())
        way, sign = choose_way(name, texts, self.ways, (file.sole, self.like), self.unit, comma_parts=file.comma_parts)
        numbers = {text: number_in(bare, way) for text, bare in self.bare.items()}
        if len(numbers) == len(self.column.texts):
            values = self.column.spread([numbers[text] for text in self.column.texts], np.nan, np.float64)
            return _Decided(pd.Series(values), sign, self.unit)
        if all(_PLAIN.fullmatch(text.strip()) and float(text) == number for text, number in numbers.items()):
            return _Decided(self.column.series(), sign, self.unit, is_coded=True)
        written = [canonical(numbers[text]) if text in numbers else text for text in self.column.texts]
        return _Decided(self.column.rewritten(written), sign, self.unit)


@dataclass
class _Text:
    """Text, of which single cells may prove how the file writes numbers."""

    column: _TextColumn
    bare: dict[str, str]

    @property
    def proven(self) -> set[str]:
        return signs_in(list(self.bare.values()))

    def settle(self, file: _Signs) -> _Decided:
        del file
        return _Decided(self.column.series(), is_text=True)


@dataclass
class _Spoiled(_Text):
    """A column that was numbers in the table that was learned from: what is said of it names the cell that is none."""

    sign: str = "."
    unit: str | None = None

    def settle(self, file: _Signs) -> _Decided:
        del file
        fitting = [way for way in WAYS if way.point == self.sign]
        written = []
        for text in self.column.texts:
            bare = self.bare.get(text, text)
            way = next((way for way in fitting if text in self.bare and way.cells.fullmatch(bare.strip())), None)
            # _Plain numbers stay as they are: 007 may be a name.
            is_plain = way is None or (way.point == "." and _PLAIN.fullmatch(bare.strip()))
            written.append(bare if way is None or is_plain else canonical(number_in(bare, way)))
        return _Decided(self.column.rewritten(written), unit=self.unit)


_Form = _Plain | _Pointed | _Country | _Text


def _may_be_thousands(values: npt.NDArray[np.float64]) -> bool:
    """Return whether decimals may be thousands with a point: all have up to three digits each side."""
    broken = np.abs(values[np.isfinite(values) & (values != np.floor(values))])
    return bool(((broken >= 1) & (broken < 1000) & (np.abs(np.rint(1000 * broken) - 1000 * broken) < 1e-6)).all())


# ---- deciding -------------------------------------------------------------------------------------------------------
def read_columns(table: TextTable, lines: RowLines, reading: Reading) -> Written:
    """Decide what each column of a table is, and return it so."""
    columns, missing = {}, {}
    declared, missing_texts = {*reading.na.labels, *reading.codes.labels}, reading.missing
    for name, cells in table.columns.items():
        columns[name], words = _without_missing(_TextColumn(name, cells, table.has_hexadecimal), missing_texts)
        if words := {word: share for word, share in words.items() if word not in declared}:
            missing[name] = words
    decided = _decide(columns, reading, comma=table.delimiter == ",")
    numbers = [name for name, one in decided.items() if one.is_number and one.values.dtype != bool]
    alike = {name: _alike(columns[name], reading.codes) for name in numbers if name in reading.classes}
    return Written(
        pd.DataFrame({name: one.values for name, one in decided.items()}, index=pd.RangeIndex(table.rows)),
        decimals={name: one.sign for name, one in decided.items() if one.sign is not None},
        units={name: one.unit for name, one in decided.items() if one.unit is not None},
        texts=tuple(name for name, one in decided.items() if one.is_text and not _is_text(name, reading)),
        coded=tuple(name for name, one in decided.items() if one.is_coded),
        padded=tuple(name for name in numbers if _is_padded(columns[name])),
        alike={name: pair for name, pair in alike.items() if pair is not None},
        missing=missing,
        lines=lines,
        notes=table.notes,
    )


def _decide(columns: Mapping[str, _TextColumn], reading: Reading, *, comma: bool) -> dict[str, _Decided]:
    """Return what each column is; what some prove of the file's decimal sign holds for all."""
    forms = {name: _form_of(column, reading) for name, column in columns.items()}
    file = _Signs(reading.decimal, comma)
    file.proven |= set().union(*[form.proven for form in forms.values()])
    pointed = [form for form in forms.values() if isinstance(form, _Pointed)]
    for form in pointed:
        form.look(file)
    file.proven |= set().union(*[form.proven for form in pointed])
    return {name: _as_declared(columns[name], form.settle(file), reading) for name, form in forms.items()}


def _is_text(name: str, reading: Reading) -> bool:
    return name in reading.text or name in reading.texts


def _without_missing(column: _TextColumn, missing: Iterable[str]) -> tuple[_TextColumn, dict[str, float]]:
    """Return a column whose cells are missing where their text means so, and the share of cells with each text."""
    hit = None if column.is_filled else pc.is_in(column.cells, pa.array(["", *missing], pa.string()))
    if hit is None or not pc.any(hit).as_py():
        return column, {}
    words = {one["values"]: one["counts"] for one in column.cells.filter(hit).value_counts().to_pylist()}
    usual = sorted(filter(None, words), key=lambda word: -words[word])
    return column.without(hit), {word: words[word] / len(hit) for word in usual}


def _form_of(column: _TextColumn, reading: Reading) -> _Form:
    """Return the form of a column: the first that fits all of its texts."""
    name, is_text = column.name, _is_text(column.name, reading)
    if column.cells.null_count == len(column.cells) and not is_text:
        return _Plain(pd.Series(np.full(len(column.cells), np.nan)))
    numbers = None if is_text else column.plain_numbers()
    if numbers is None and reading.na.holds_for(name):
        coded = [text for text in column.texts if reading.na.kind_of(text, name) != PRESENT]
        column = column.without(pc.is_in(column.cells, pa.array(coded, pa.string()))) if coded else column
        if coded and not is_text:
            return _form_of(column, replace(reading, na=MissingCodes()))
    if is_text:
        return _Plain(column.series(), is_text=True)
    if numbers is not None:
        numbers = blank_numbers(numbers, reading.na, name) if numbers.dtype != object else numbers
        return _Pointed(column, numbers, reading.like.get(name)) if numbers.dtype == np.float64 else _Plain(numbers)
    return _form_of_texts(column, reading)


def _form_of_texts(column: _TextColumn, reading: Reading) -> _Form:
    """Return the form of a column whose texts are no numbers as a program writes them."""
    name = column.name
    if all(text in _TRUTHS for text in column.texts):
        values = column.spread([_TRUTHS[text] for text in column.texts], np.nan, object)
        return _Plain(pd.Series(values).astype(object if column.cells.null_count else bool))
    # No reader takes it for numbers.
    words = code_words(reading.codes, name)
    texts = [text for text in column.texts if text.strip() not in words]
    bare, unit = without_unit(texts, reading.units.get(name))
    like = reading.like.get(name)
    if ways := ways_of(list(bare.values())):
        return _Country(column, bare, ways, like, unit)
    return _Text(column, bare) if like is None and unit is None else _Spoiled(column, bare, like or ".", unit)


# ---- what the user declared -----------------------------------------------------------------------------------------
def _as_declared(column: _TextColumn, decided: _Decided, reading: Reading) -> _Decided:
    """Return a category or identifier that was read as numbers as text, if its numbers lose something.

    Identifiers are as they are written. Of categories zeros in front count (007), zeros behind where others have fewer
    decimals (7.10 beside 7.9), signs and exponents; what other programs write for the same numbers does not: 1.0, or as
    many decimals everywhere.
    """
    is_name = column.name in reading.identifiers
    if not decided.is_number or not (is_name or column.name in reading.categories):
        return decided
    texts = [text.strip() for text in column.texts]
    if all(map(_COUNTED.fullmatch, texts)):
        return decided
    as_text = _Decided(column.series(), is_text=True)
    if is_name:
        return as_text
    texts = [text for text in texts if reading.codes.kind_of(text, column.name) == PRESENT]
    texts = [text.translate(_EXCHANGED) for text in texts] if decided.sign == "," else texts
    # Thousands and per cent signs are ways to write numbers, not codes.
    if not all(map(_NUMBER.fullmatch, texts)):
        return decided
    decimals = {match and len(match[1]) for match in map(_DECIMALS.fullmatch, texts)}
    # Texts that are what their number is called, but for decimals that are zeros alone.
    are_plain = all(_COUNTED.fullmatch(text) or canonical(float(text)) == _ZEROS.sub("", text) for text in texts)
    return as_text if (None in decimals or len(decimals) > 1) and not are_plain else decided


def _is_padded(column: _TextColumn) -> bool:
    """Return whether cells are digits of one length, some with zeros in front: maybe codes, such as 01067."""
    lengths = pc.min_max(pc.binary_length(column.cells)).as_py()
    if lengths["min"] is None or not lengths["min"] == lengths["max"] >= _SHORTEST_CODE:
        return False
    return bool(pc.all(pc.utf8_is_digit(column.cells)).as_py() and pc.any(pc.starts_with(column.cells, "0")).as_py())


def _alike(column: _TextColumn, codes: MissingCodes) -> tuple[str, str] | None:
    """Return two texts that are one number, though they differ by zeros in front; None where there are none."""
    first: dict[int, str] = {}
    for text in map(str.strip, column.texts):
        if text.isdecimal() and codes.kind_of(text, column.name) == PRESENT:
            other = first.setdefault(int(text), text)
            if other != text:
                return other, text
    return None
