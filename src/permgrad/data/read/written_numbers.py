r"""Numbers as they are written in different countries: decimal commas, and signs between thousands.

A column is read as numbers only where all of its cells are written in one way. Where that leaves two readings (1,234
may be a thousand or a little more than one, and so may 1.234), the other columns of the file decide; where they do not
tell, the usual reading is taken, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import warn_user
from permgrad.data.read.cells import CodesArgument, MissingCodes, canonical
from permgrad.data.read.row_lines import RowLines
from permgrad.data.read.units import is_money, without_units

_SIGN, _POWER, _GROUP = r"[+\-−]?", r"(?:[eE][+-]?\d+)?", r"[1-9]\d{0,2}"
_SPACES = " \u00a0\u2009\u202f'’"


class _Way(NamedTuple):
    """A way to write a number: its cells, what stands between thousands, and the decimal sign."""

    cells: re.Pattern[str]
    between: str
    point: str


class Written(NamedTuple):
    """A table whose columns of numbers are numbers, and how they were written.

    Attributes:
        frame: the table.
        decimals: the decimal sign of columns of numbers, where it is known: ``{"price": ","}``; later tables are to be
            read alike.
        units: how numbers are written beside their digits, ``{"rate": "%", "price": "$", "views": "k"}``: ``7,4 %`` is
            7.4, and 1.2k is 1200.
        texts: columns of text, their cells as they are written; later tables are to be read alike, also those in which
            such a column happens to hold numbers alone.
        coded: columns of text that hold nothing but numbers and codes, as they are written.
        padded: columns of numbers that are written like codes: digits alone, all of one length, some with zeros in
            front.
        alike: two cells that are one number, though zeros in front differ, ``{"y": ("001", "1")}``; of the columns that
            this was asked for.
        missing: the share of cells with each text that was taken as missing, by column: ``{"pool": {"None": 0.6}}``.
        lines: the line of the file that each row begins in.
        notes: what a user should know of the columns' names.
    """

    frame: pd.DataFrame
    decimals: dict[str, str]
    units: Mapping[str, str]
    texts: tuple[str, ...] = ()
    coded: tuple[str, ...] = ()
    padded: tuple[str, ...] = ()
    alike: Mapping[str, tuple[str, str]] = MappingProxyType({})
    missing: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    lines: RowLines = RowLines()
    notes: tuple[str, ...] = ()

    @property
    def percents(self) -> tuple[str, ...]:
        """Columns of numbers whose cells have a per cent sign."""
        return tuple(name for name, unit in self.units.items() if unit == "%")

    @classmethod
    def typed(cls, frame: pd.DataFrame, codes: CodesArgument = ()) -> Written:
        """Return a table whose file says itself which columns are numbers.

        Examples:
            >>> Written.typed(pd.DataFrame({"a": ["01", "A1"], "b": ["01", "?"], "c": [1, 2]}), "?")[3:5]
            (('a',), ('b',))
        """
        texts = {str(name): own for name, own in frame.items() if _holds_text(own)}
        cells = _code_cells(texts, MissingCodes.of(codes))
        coded = [name for name, own in texts.items() if _ways_of(own.mask(cells[name]) if name in cells else own)]
        return cls(frame, {}, {}, tuple(name for name in texts if name not in coded), tuple(coded))


_WAYS = tuple(
    _Way(
        re.compile(
            rf"{_SIGN}(?:(?:\d+{own}?\d*|{own}\d+){_POWER}|{_GROUP}(?:[{between}]\d{{3}})+(?:{own}\d*)?(?:E\+\d)?)"
        ),
        between,
        point,
    )
    for own, between, point in ((r"\.", ",", "."), (",", r"\.", ","), (r"\.", _SPACES, "."), (",", _SPACES, ","))
)
_PLAIN = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?")
#: A sign that may stand between thousands, or before decimals.
_MARKED = re.compile(r"[.,]")
_NUMBER_BEGINS = re.compile(r"\s*[+\-−]?[.,]?\d")
#: Cells of a column of thousands, written with points, that any reader of CSV takes for decimals.
_WHOLE = re.compile(r"[+-]?\d+")
_DOTTED = re.compile(rf"[+-]?{_GROUP}(?:\.\d{{3}})+")


def with_numbers(
    frame: pd.DataFrame,
    as_written: Callable[[list[str]], pd.DataFrame],
    *,
    comma_parts: bool,
    as_text: set[str],
    decimal: str | None,
    like: Mapping[str, str],
    units: Mapping[str, str] = MappingProxyType({}),
    codes: CodesArgument = (),
) -> Written:
    """Return a frame whose columns of numbers, written as in some country, are numbers, and how they were written.

    Args:
        frame: as a reader of CSV gives it: numbers where all cells are written with a decimal point, else text.
        as_written: returns the text of the columns that are named, missing cells missing.
        comma_parts: whether commas part the fields of the file: decimals are then usually written with a point.
        as_text: columns that are left alone.
        decimal: the decimal sign of the file, None: told by its cells.
        like: decimal signs of another table, by column: where the cells of this one do not tell, those hold, with a
            warning.
        units: those of another table, by column, in which this one is read too.
        codes: texts that stand for missing and are kept: a column of numbers and codes stays text, with its numbers as
            Python writes them.

    Examples:
        >>> frame = pd.DataFrame({"a": ["1.234,5", "7"], "b": ["1,5", "2.5"], "c": ["5,5 %", "6%"]})
        >>> options = {"comma_parts": False, "as_text": set(), "decimal": None, "like": {}}
        >>> written = with_numbers(frame, lambda names: frame[names], **options)
        >>> written.frame.to_numpy().tolist(), written.decimals, written.units
        ([[1234.5, '1,5', 5.5], [7.0, '2.5', 6.0]], {'a': ',', 'c': ','}, {'c': '%'})
        >>> frame = pd.DataFrame({"a": ["1,5", "?", "7"]})
        >>> with_numbers(frame, lambda names: frame[names], **options, codes="?").frame["a"].tolist()
        ['1.5', '?', '7']
    """
    own = [str(name) for name in frame.columns if name not in as_text]
    cells = _Texts.of({name: frame[name] for name in own if _is_text(frame[name])}, codes, units)
    proven = cells.proven_signs()
    dotted, pointed = _with_points_between(
        frame, own, as_written, lambda name: not comma_parts or "," in (*proven, decimal, like.get(name))
    )
    proven |= {"."} if pointed else set()
    sole = decimal or (next(iter(proven)) if len(proven) == 1 else None)
    found: dict[str, str | None] = dict.fromkeys(frame[own].select_dtypes("number").columns, sole)
    found |= {} if decimal else dict.fromkeys(pointed, ".")
    changed: dict[str, Any] = {}
    for name, fitting in cells.ways.items():
        choice = _Choice(sole, like.get(name), comma_parts, is_money(cells.units.get(name)))
        changed[name], found[name] = _read_text(cells.texts[name], name, fitting, choice)
        if name in cells.coded:
            changed[name] = _beside_codes(changed[name], frame[name], cells.coded[name])
    for name, written in dotted.items():
        found[name] = sole or like.get(name)
        if found[name] == ",":
            changed[name] = _thousands(written, frame[name])
        if decimal is None and sole != ",":
            _warn_of_points(name, written, proven, found[name])
    for name in (set(like) | set(cells.units)).intersection(cells.texts).difference(cells.ways):
        # So that what is said of a cell that is no number names that cell.
        changed[name] = _as_python_reads(cells.texts[name], frame[name], like.get(name, "."))
    return Written(
        frame.assign(**changed) if changed else frame,
        {str(name): point for name, point in found.items() if point is not None},
        {name: unit for name, unit in cells.units.items() if name in changed},
        tuple(name for name in cells.texts if name not in changed and _holds_text(frame[name])),
        tuple(name for name in cells.coded if name in cells.ways and changed[name].equals(frame[name])),
    )


class _Texts(NamedTuple):
    """The columns of text of a table.

    Attributes:
        texts: their cells, missing where they are codes, and without their units.
        coded: which cells are codes, of the columns that have such cells.
        units: of the columns that have one.
        ways: how the cells of the columns of numbers may be written.
    """

    texts: dict[str, pd.Series[Any]]
    coded: dict[str, npt.NDArray[np.bool_]]
    units: dict[str, str]
    ways: dict[str, list[_Way]]

    @classmethod
    def of(cls, texts: dict[str, pd.Series[Any]], codes: CodesArgument, like: Mapping[str, str]) -> _Texts:
        coded = _code_cells(texts, MissingCodes.of(codes))
        texts = texts | {name: texts[name].mask(cells) for name, cells in coded.items()}
        bare, units = without_units(texts, like)
        texts |= bare
        ways = {name: _ways_of(series) for name, series in texts.items()}
        return cls(texts, coded, units, {name: fitting for name, fitting in ways.items() if fitting})

    def proven_signs(self) -> set[str]:
        """Return the decimal signs that some column is written with for certain."""
        signs = [{way.point for way in fitting} for fitting in self.ways.values()]
        proven = {next(iter(points)) for points in signs if len(points) == 1}
        return proven.union(*(_signs_in(series) for name, series in self.texts.items() if name not in self.ways))


class _Choice(NamedTuple):
    """What decides between two readings of a column.

    Attributes:
        sign: the decimal sign of the file; None: in doubt.
        like: that of the same column in the table that was learned from.
        comma_parts: whether commas part the fields.
        is_money: whether the numbers are of a currency.
    """

    sign: str | None
    like: str | None
    comma_parts: bool
    is_money: bool


def _with_points_between(
    frame: pd.DataFrame,
    names: Sequence[str],
    as_written: Callable[[list[str]], pd.DataFrame],
    may_be_commas: Callable[[str], bool],
) -> tuple[dict[str, pd.Series[Any]], list[str]]:
    """Return columns whose points may stand between thousands, as written, and those with decimal points."""
    floats = [name for name in names if frame[name].dtype == np.float64]
    unclear = [name for name in floats if _may_be_thousands(frame[name])]
    # Another look at the file is needed only where a decimal comma may be in use.
    looked_at = [name for name in unclear if may_be_commas(name)]
    written = as_written(looked_at) if looked_at else frame[[]]
    dotted = {name: written[name] for name in looked_at if _is_dotted(written[name])}
    pointed = sorted(set(floats) - set(unclear))
    return dotted, pointed + [name for name in looked_at if name not in dotted and _has_points(written[name])]


def _code_cells(texts: Mapping[str, pd.Series[Any]], codes: MissingCodes) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which cells hold a code that is no number, for the columns that have such cells."""
    words = [label for label, number in zip(codes.labels, codes.numbers, strict=True) if np.isnan(number)]
    found = {}
    for name, series in texts.items() if words else ():
        own = set(words).intersection(codes.holds_for(name))
        cells = series.isin([text for text in pd.unique(series.dropna()) if str(text).strip() in own]).to_numpy(bool)
        if cells.any():
            found[name] = cells
    return found


def _beside_codes(read: pd.Series[Any], written: pd.Series[Any], codes: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    """Return a column with its codes as they are, and its numbers in the one form that is read later on."""
    plain = pd.to_numeric(written.mask(codes), errors="coerce")
    if plain.equals(read):
        return written
    texts = {number: canonical(number) for number in read.dropna().unique()}
    return written.mask(read.notna(), read.map(texts).astype(object))


def _as_python_reads(series: pd.Series[Any], written: pd.Series[Any], sign: str) -> pd.Series[Any]:
    """Return a column whose numbers, written with a decimal sign, are written as Python reads them; codes stay."""
    fitting = [way for way in _WAYS if way.point == sign]
    texts = {}
    for text in pd.unique(series.dropna()):
        way = next((way for way in fitting if way.cells.fullmatch(str(text).strip())), None)
        # Plain numbers stay as they are: 007 may be a name.
        is_plain = way is None or (way.point == "." and _PLAIN.fullmatch(str(text).strip()))
        texts[text] = text if way is None or is_plain else canonical(_value(str(text).strip(), way))
    return series.map(texts).astype(object).where(series.notna(), written)


def ways_to_read(text: str) -> list[int]:
    """Return in which of the known ways a number may be written, by their places; none where it is no number.

    Examples:
        >>> ways_to_read("1.5") == ways_to_read("1,5"), bool(ways_to_read("1.5")), ways_to_read("one")
        (False, True, [])
    """
    return [place for place, way in enumerate(_WAYS) if way.cells.fullmatch(text)]


def _is_text(series: pd.Series[Any]) -> bool:
    return series.dtype == object or isinstance(series.dtype, pd.StringDtype)


def _holds_text(series: pd.Series[Any]) -> bool:
    """Return whether cells are texts, also those of a categorical column; a reader of CSV gives truth values, too."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return any(isinstance(level, str) for level in series.cat.categories)
    return _is_text(series) and any(isinstance(cell, str) for cell in series.dropna().head(1))


def _ways_of(series: pd.Series[Any]) -> list[_Way]:
    """Return the ways in which all cells of a column may be written; none where it is no column of numbers."""
    known = series.dropna()
    # Most columns of text are told by their first cell.
    if not len(known) or not isinstance(known.iloc[0], str) or not _NUMBER_BEGINS.match(known.iloc[0]):
        return []
    distinct = [text.strip() for text in pd.unique(known) if isinstance(text, str)]
    return [way for way in _WAYS if all(way.cells.fullmatch(text) for text in distinct)]


def _signs_in(series: pd.Series[Any]) -> set[str]:
    """Return the decimal signs that single cells of a column prove, which as a whole is written in no one way.

    Only of a column of nothing but numbers: dates, versions and addresses hold points that are no decimal signs.
    """
    known = series.dropna()
    if not len(known) or not isinstance(known.iloc[0], str) or not _NUMBER_BEGINS.match(known.iloc[0]):
        return set()
    signs: set[str] = set()
    for text in pd.unique(known):
        fitting = [_WAYS[place] for place in ways_to_read(text.strip())] if isinstance(text, str) else []
        if not fitting:
            return set()
        points = {way.point for way in fitting}
        signs |= points if len(points) == 1 else set()
    return signs


def _read_text(
    series: pd.Series[Any], name: str, fitting: Sequence[_Way], choice: _Choice
) -> tuple[pd.Series[Any], str | None]:
    """Return the numbers of a column of text and its decimal sign; None where no cell tells it."""
    known = series.dropna()
    distinct = {text: text.strip() for text in pd.unique(known) if isinstance(text, str)}
    way, point = fitting[0], fitting[0].point if len({way.point for way in fitting}) == 1 else None
    if point is None and _differ(distinct.values(), fitting):
        points_only = not any("," in text for text in distinct.values())
        usual = "." if choice.comma_parts or points_only else ","
        # Of money three digits behind a sign are thousands, unless all cells have them, as the prices of fuel do.
        grouped = [bool(_MARKED.search(text)) for text in distinct.values()]
        is_clear = choice.is_money and not all(grouped)
        if is_clear:
            usual = "," if points_only else "."
        point = choice.sign or choice.like or usual
        way = next(way for way in fitting if way.point == point)
        if choice.sign is None and not is_clear:
            example = next(text for text in distinct.values() if "," in text or "." in text)
            why = "as in the table that was learned from" if choice.like else "as is usual with such delimiters"
            _warn(name, example, _value(example, way), why)
    numbers = {text: _value(stripped, way) for text, stripped in distinct.items()}
    found = pd.Series(np.nan, index=series.index, name=series.name, dtype=np.float64)
    found[known.index] = known.map(numbers).to_numpy(np.float64)
    return found, point


def _differ(texts: Iterable[str], ways: Sequence[_Way]) -> bool:
    """Return whether cells are other numbers if they are read in another way."""
    return any(len({_value(text, way) for way in ways}) > 1 for text in texts)


def _value(text: str, way: _Way) -> float:
    for sign in way.between.removeprefix("\\"):
        text = text.replace(sign, "")
    return float(text.replace(way.point, ".").replace("−", "-"))


def _warn(name: str, example: str, value: float, why: str) -> None:
    warn_user(
        f"numbers should be written in one way, however column {name!r} may hold thousands or decimals ({example!r}), "
        f"and is read as {value:g}, {why}; write decimals with a point and thousands with nothing, or name the decimal "
        "sign in Python: permgrad.read_table(…, decimal=',')"
    )


# ---- points between thousands ---------------------------------------------------------------------------------------
def _may_be_thousands(series: pd.Series[Any]) -> bool:
    """Return whether decimals, as a reader of CSV took them, may be thousands: all have up to three digits each side.

    Only what is written can tell: 1.500 and 1.5 are the same number.
    """
    values = series.to_numpy(np.float64)
    broken = np.abs(values[np.isfinite(values) & (values != np.floor(values))])
    return bool(((broken >= 1) & (broken < 1000) & (np.abs(np.rint(1000 * broken) - 1000 * broken) < 1e-6)).all())


def _is_dotted(series: pd.Series[Any]) -> bool:
    """Return whether all cells are whole numbers or have three digits behind a point, and some do."""
    distinct = [str(text).strip() for text in pd.unique(series.dropna())]
    dotted = [text for text in distinct if not _WHOLE.fullmatch(text)]
    return bool(dotted) and all(_DOTTED.fullmatch(text) for text in dotted)


def _has_points(series: pd.Series[Any]) -> bool:
    return any("." in str(text) for text in pd.unique(series.dropna()))


def _thousands(written: pd.Series[Any], read: pd.Series[Any]) -> pd.Series[Any]:
    """Return cells without their points as numbers, whole ones where none is missing."""
    numbers = pd.to_numeric(written.str.replace(".", "", regex=False)).where(read.notna())
    return numbers if numbers.isna().any() else numbers.astype(np.int64)


def _warn_of_points(name: str, written: pd.Series[Any], proven: set[str], sign: str | None) -> None:
    example = next(text for text in (str(cell).strip() for cell in written.dropna()) if "." in text)
    if sign is not None and proven != {sign}:
        value = float(example.replace(".", "") if sign == "," else example)
        _warn(name, example, value, "as in the table that was learned from")
        return
    why = "as other columns have decimal points" if "." in proven else "as no other column shows a decimal comma"
    _warn(name, example, float(example), "although other columns have decimal commas" if len(proven) == 2 else why)
