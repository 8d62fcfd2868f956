"""What each column is: numeric, categorical, boolean, constant, identifier-like or a date, and why we think so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, counted, shown, unknown
from permgrad.data.read.cells import (
    BLANK,
    PRESENT,
    CellError,
    CodesArgument,
    Distinct,
    Floats,
    Kinds,
    MissingCodes,
    as_float32,
    as_frame,
    find_date_format,
    is_native_number,
    native_matrix,
    read_dates,
    refuse_infinite,
    series_seconds,
    text_numbers,
)
from permgrad.data.read.spellings import SWAPPED, numbers_in_one_way, several_ways
from permgrad.data.read.whole_numbers import FUSED, fused_reason, fused_reason_of_texts
from permgrad.data.types.identifiers import (
    FEWEST_FOR_IDENTIFIER,
    are_whole,
    codes_reason,
    kind_of_distinct,
    row_numbers,
)

Kind: TypeAlias = Literal["numeric", "categorical", "boolean", "constant", "identifier", "date"]
Storage: TypeAlias = Literal["number", "date", "pair", "text"]

_PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
_EVIDENT_PAIRS = (*_PAIRS, ("1", "0"))
#: What the words of these pairs mean, whichever of them a column had in training.
_TRUTH = {yes: 1.0 for yes, _ in _EVIDENT_PAIRS} | {no: 0.0 for _, no in _EVIDENT_PAIRS}
_NEARLY_UNIQUE = 0.95
#: Fewer different cells say little of how most of them are written; they may well be categories.
_FEWEST_SPELLED = 10


@dataclass(frozen=True)
class ColumnType:
    """One column: what it is, why, and what was seen in it.

    Attributes:
        name: the column's name.
        kind: how the column is treated.
        storage: how its cells are read: as numbers, as dates (seconds), as a pair such as yes/no, or as text.
        reason: why this kind was chosen, one clause for people.
        n_rows: rows looked at.
        n_missing: blank cells and cells with a declared code.
        n_levels: different values, missing not counted.
        date_format: format of a date that is stored as text, None for a date type.
        true_level: for a pair, the text that counts as 1.
        false_level: for a pair, the text that counts as 0.
        n_unreadable: for dates stored as text, different texts that no format read; they count as missing. Where
            there were none, a text that cannot be read is refused later on.
    """

    name: str
    kind: Kind
    storage: Storage
    reason: str
    n_rows: int
    n_missing: int
    n_levels: int
    date_format: str | None = None
    true_level: str | None = None
    false_level: str | None = None
    n_unreadable: int = 0


@dataclass(frozen=True)
class Schema:
    """The types of all columns of a table, in the table's order.

    Examples:
        >>> schema = infer_schema({"age": [31, 40, 25], "town": ["Bonn", "Ulm", "Bonn"]})
        >>> [(column.name, column.kind) for column in schema]
        [('age', 'numeric'), ('town', 'categorical')]
    """

    columns: tuple[ColumnType, ...]

    @property
    def names(self) -> list[str]:
        """Names of the columns in order."""
        return [column.name for column in self.columns]

    def __iter__(self) -> Iterator[ColumnType]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> ColumnType:
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown("column", name, self.names)

    def of_kind(self, kind: Kind) -> list[str]:
        """Return the names of all columns of one kind."""
        return [column.name for column in self.columns if column.kind == kind]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per column: column, kind, levels, missing, missing_share, reason."""
        return pd.DataFrame(
            {
                "column": self.names,
                "kind": [column.kind for column in self.columns],
                "levels": [column.n_levels for column in self.columns],
                "missing": [column.n_missing for column in self.columns],
                "missing_share": [column.n_missing / max(column.n_rows, 1) for column in self.columns],
                "reason": [column.reason for column in self.columns],
            }
        )

    def to_text(self, most: int = 60) -> str:
        """Return a table for the terminal, at most ``most`` columns long."""
        frame = self.to_frame().head(most)
        frame["missing"] = [
            f"{n} ({share:.1%})" if n else "0"
            for n, share in zip(frame["missing"], frame["missing_share"], strict=True)
        ]
        frame = frame.drop(columns="missing_share")
        cells = [list(frame.columns), *([str(cell) for cell in row] for row in frame.itertuples(index=False))]
        widths = [max(len(row[j]) for row in cells) for j in range(frame.shape[1])]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        if len(self) > most:
            lines.append(f"… and {counted(len(self) - most, 'more column')}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {"columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Read back what ``to_dict`` wrote."""
        return cls(tuple(ColumnType(**column) for column in content["columns"]))


def infer_schema(
    X: Any, *, na_codes: CodesArgument | MissingCodes = None, kinds: Mapping[str, Kind] | None = None
) -> Schema:
    """Say what each column of a table is.

    The rules, in this order: what is declared in ``kinds``; no value or one value: constant; 0 and 1 only, booleans,
    yes/no: boolean; numbers, also as text, and durations (in seconds): numeric, however few values there are; dates,
    also as text: date; nearly unique text: identifier, as is a rising or falling whole number that is named like one
    (``id``, ``index``), or that counts the rows one by one and is no year or time; the rest: categorical. The order of
    rows is that of the frame's row numbers, where it has some.

    Args:
        X: the table, training rows only.
        na_codes: values that stand for missing: one, a list, or a mapping from column to list.
        kinds: columns whose kind is known, for example ``{"postcode": "categorical"}``.

    Raises:
        InputError: infinite or complex numbers, cells that hold containers, a kind that the column cannot have, kinds
            or codes for a column that is not there.

    Examples:
        >>> infer_schema({"a": [1, 1, 1], "b": ["x", "y", "x"]}).to_frame()["kind"].tolist()
        ['constant', 'categorical']
    """
    frame = as_frame(X)
    codes = MissingCodes.of(na_codes)
    for name in codes.columns or ():
        check_choice("column in na_codes", name, list(frame.columns))
    declared = checked_kinds(kinds, list(frame.columns))
    native = [name for name, dtype in zip(frame.columns, frame.dtypes, strict=True) if is_native_number(dtype)]
    types: dict[str, ColumnType] = _native_types(frame, native, codes)
    for name in frame.columns:
        if name in declared:
            types[name] = _declared_type(frame[name], name, declared[name], codes, types.get(name))
        elif name not in types:
            types[name] = _other_type(frame[name], name, codes)
    return Schema(tuple(types[name] for name in frame.columns))


def checked_kinds(kinds: Mapping[str, Kind] | None, names: Sequence[str]) -> dict[str, Kind]:
    """Return the kinds that were declared, names as text; refuse what is no mapping, kind or column."""
    if kinds is not None and not isinstance(kinds, Mapping):
        raise InputError(
            f"kinds must be None or a mapping of column to kind, however: kinds={shown(kinds)}; pass for example "
            "kinds={'postcode': 'categorical'}"
        )
    declared = {str(name): kind for name, kind in (kinds or {}).items()}
    for name, kind in declared.items():
        if not isinstance(kind, str) or kind not in get_args(Kind):
            raise unknown(f"kind of column {name!r}", kind, get_args(Kind))
        check_choice("column in kinds", name, names)
    return declared


# ---- numbers --------------------------------------------------------------------------------------------------------
def missing_kinds(matrix: Floats, names: Sequence[str], codes: MissingCodes) -> Kinds:
    """Say for each cell of ``(rows, columns)`` whether it is present, blank or which code it has.

    Coded cells become NaN in ``matrix``.
    """
    kinds = np.where(np.isnan(matrix), np.int16(BLANK), np.int16(PRESENT)).astype(np.int16)
    applies = codes.applies(names)
    for i, number in enumerate(codes.numbers):
        if np.isfinite(number):
            hit = ((matrix == number) | (matrix == as_float32(number))) & applies[i]
            kinds[hit] = 2 + i
            matrix[hit] = np.nan
    return kinds


def _native_types(frame: pd.DataFrame, names: list[str], codes: MissingCodes) -> dict[str, ColumnType]:
    if not names:
        return {}
    matrix = native_matrix(frame, names)
    missing_kinds(matrix, names, codes)
    n_rows = len(frame)
    present = ~np.isnan(matrix)
    n_missing = n_rows - present.sum(axis=0)
    binary = ((matrix == 0) | (matrix == 1) | ~present).all(axis=0)
    ordered = np.sort(matrix, axis=0)
    with np.errstate(invalid="ignore"):
        n_levels = (np.diff(ordered, axis=0) > 0).sum(axis=0) + (n_missing < n_rows)
    integer = [dtype.kind in "iu" for dtype in frame[names].dtypes]
    rows = row_numbers(frame.index)
    types = {}
    for j, name in enumerate(names):
        # Fewer levels than cells may be fewer than there are numbers.
        fused = fused_reason(frame[name][present[:, j]]) if integer[j] and n_levels[j] < n_rows - n_missing[j] else None
        reason = fused or "numbers"
        base = ColumnType(name, "numeric", "number", reason, n_rows, int(n_missing[j]), int(n_levels[j]))
        types[name] = _number_type(base, matrix[:, j], rows, binary=bool(binary[j]), integer=integer[j])
    return types


def _number_type(
    base: ColumnType, values: Floats, rows: npt.NDArray[np.int64], *, binary: bool, integer: bool
) -> ColumnType:
    if base.n_levels <= 1:
        return _constant(base)
    if binary:
        return replace(base, kind="boolean", reason="only 0 and 1")
    n_known = base.n_rows - base.n_missing
    # One missing cell, and whole numbers are stored as others.
    if n_known < FEWEST_FOR_IDENTIFIER or not (integer or (base.n_missing and are_whole(values))):
        return base
    kind, reason = ("numeric", None) if base.n_levels < n_known else kind_of_distinct(base.name, values, rows)
    if reason is None and not base.reason.endswith(FUSED):
        reason = codes_reason(base.name, values)
    return replace(base, kind=kind, reason=reason or base.reason)


def _constant(base: ColumnType) -> ColumnType:
    """One value and nothing missing, or nothing at all; one value with gaps still says who has one.

    Of numbers that are one value only as float64 the reason says so already.
    """
    if base.n_levels == 0:
        return replace(base, kind="constant", reason="no value at all")
    if base.reason.endswith(FUSED):
        return base if base.n_missing else replace(base, kind="constant")
    if base.n_missing == 0:
        return replace(base, kind="constant", reason="one value only")
    return replace(base, reason="one value, and missing")


# ---- everything else ------------------------------------------------------------------------------------------------
def _other_type(series: pd.Series[Any], name: str, codes: MissingCodes) -> ColumnType:
    """Type of a column that is not stored as numbers."""
    if _is_moment(series):
        return _moment_type(series, name)
    distinct = Distinct.of(series, name)
    texts, counts, n_missing = _without_codes(distinct, name, codes)
    base = ColumnType(name, "categorical", "text", "text", len(series), n_missing, len(texts))
    numbers = text_numbers(texts)
    if texts and not np.isnan(numbers).any():
        return _text_number_type(base, series, codes, fused_reason_of_texts(texts))
    if base.n_levels <= 1:
        return _constant(base)
    return _pair_type(base, texts) or _date_type(base, texts) or _text_type(base, series, texts, counts)


def _is_moment(series: pd.Series[Any]) -> bool:
    """Whether the column holds dates or durations by its type."""
    return series.dtype.kind in "mM" or isinstance(series.dtype, (pd.DatetimeTZDtype, pd.PeriodDtype))


def _pair_type(base: ColumnType, texts: Sequence[str]) -> ColumnType | None:
    """Find a yes/no pair, whatever the capitals."""
    by_form = {_plain(text): text for text in texts}
    for yes, no in _PAIRS:
        if len(texts) == 2 and yes in by_form and no in by_form:
            one, zero = by_form[yes], by_form[no]
            reason = f"{one} or {zero}"
            return replace(base, kind="boolean", storage="pair", reason=reason, true_level=one, false_level=zero)
    return None


def _date_type(base: ColumnType, texts: Sequence[str]) -> ColumnType | None:
    read = find_date_format(texts)
    if read is None:
        return None
    form, share, ambiguous = read
    partly = f", {share:.1%} readable" if share < 1 else ""
    order = f" ({SWAPPED})" if ambiguous else ""
    reason = f"dates as text, read as {form}{partly}{order}"
    return replace(
        base,
        kind="date",
        storage="date",
        reason=reason,
        date_format=form,
        n_unreadable=int(np.isnan(read_dates(texts, form)).sum()),
    )


def _text_type(
    base: ColumnType, series: pd.Series[Any], texts: Sequence[str], counts: npt.NDArray[np.int64]
) -> ColumnType:
    """Tell identifiers from categories, and say when a text spoils a column of numbers."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return replace(base, reason="categorical type")
    numbers = numbers_in_one_way(texts)
    n_present = int(counts.sum())
    share_numbers = float(counts[numbers].sum() / max(n_present, 1))
    spelled = several_ways(texts) if len(texts) >= _FEWEST_SPELLED else None
    if share_numbers >= 0.5 and not numbers.all():
        odd = texts[int(np.argmin(numbers))]
        reason = f"text; {share_numbers:.0%} are numbers, {odd!r} is not (if it means missing, declare it as a code)"
        return replace(base, reason=f"{reason}; {spelled}" if spelled else reason)
    if n_present >= FEWEST_FOR_IDENTIFIER and len(texts) >= _NEARLY_UNIQUE * n_present:
        reason = f"text, {len(texts)} different values in {n_present} rows"
        return replace(base, kind="identifier", reason=f"{reason}; {spelled}" if spelled else reason)
    return replace(base, reason=f"text; {spelled}") if spelled else base


def _without_codes(distinct: Distinct, name: str, codes: MissingCodes) -> tuple[list[str], npt.NDArray[np.int64], int]:
    counts = distinct.counts()
    keep = np.array([codes.kind_of(text, name) == PRESENT for text in distinct.texts], dtype=bool) & (counts > 0)
    texts = [text for text, is_kept in zip(distinct.texts, keep, strict=True) if is_kept]
    return texts, counts[keep], int(len(distinct.index) - counts[keep].sum())


def _moment_type(series: pd.Series[Any], name: str) -> ColumnType:
    seconds = series_seconds(series)
    n_missing = int(np.isnan(seconds).sum())
    n_levels = len(np.unique(seconds[~np.isnan(seconds)]))
    if series.dtype.kind == "m":
        base = ColumnType(name, "numeric", "number", "durations, in seconds", len(series), n_missing, n_levels)
    else:
        base = ColumnType(name, "date", "date", "date type", len(series), n_missing, n_levels)
    return _constant(base) if n_levels <= 1 else base


def _text_number_type(base: ColumnType, series: pd.Series[Any], codes: MissingCodes, fused: str | None) -> ColumnType:
    base = replace(base, kind="numeric", storage="number", reason=fused or "numbers stored as text")
    values, _ = read_numbers(series, base, codes)
    seen = values[~np.isnan(values)]
    is_whole = bool((seen == np.floor(seen)).all())
    base = replace(base, n_levels=len(np.unique(seen)))
    binary = bool(np.isin(seen, (0.0, 1.0)).all())
    return _number_type(base, values, row_numbers(series.index), binary=binary, integer=is_whole)


# ---- declared kinds -------------------------------------------------------------------------------------------------
def _declared_type(
    series: pd.Series[Any], name: str, kind: Kind, codes: MissingCodes, guessed: ColumnType | None
) -> ColumnType:
    guess = guessed if guessed is not None else _other_type(series, name, codes)
    fused = guess.reason.endswith(FUSED)
    # The texts 007 and 7 are two categories, though one number.
    spelled = kind == "categorical" and guess.storage == "number" and guessed is None and not _is_moment(series)
    if spelled or (fused and kind != "numeric"):
        # As numbers they are fewer than they are.
        guess = replace(guess, n_levels=len(_without_codes(Distinct.of(series, name), name, codes)[0]))
    declared = replace(guess, kind=kind, reason=guess.reason if fused and kind == "numeric" else "declared")
    if guess.n_levels == 0 or kind in ("constant", "identifier"):
        return replace(declared, kind=kind if guess.n_levels else "constant")
    if kind == "categorical":
        return replace(declared, storage="text", date_format=None, true_level=None, false_level=None)
    if kind == "date":
        return _declared_date(series, declared, codes)
    if kind == "boolean":
        # Training rows may lack a rare value; the other alone says as little as in a column that is not declared.
        return guess if guess.n_levels == 1 else _declared_boolean(series, declared, codes)
    if guess.storage == "number":
        return declared
    raise InputError(
        f"a column declared numeric must hold numbers, however column {name!r} is {guess.kind} ({guess.reason}); "
        "declare it categorical, or declare the texts that mean missing as codes"
    )


def _declared_date(series: pd.Series[Any], column: ColumnType, codes: MissingCodes) -> ColumnType:
    if column.storage == "date":
        return column
    texts, _, _ = _without_codes(Distinct.of(series, column.name), column.name, codes)
    read = find_date_format(texts)
    if read is None:
        raise InputError(
            f"a column declared date must hold dates such as 2024-01-31, however column {column.name!r} has "
            f"{texts[0]!r}; write the dates in ISO form or declare another kind"
        )
    unreadable = int(np.isnan(read_dates(texts, read[0])).sum())
    return replace(column, storage="date", date_format=read[0], n_unreadable=unreadable)


def _declared_boolean(series: pd.Series[Any], column: ColumnType, codes: MissingCodes) -> ColumnType:
    if column.storage == "pair":
        return column
    texts, _, _ = _without_codes(Distinct.of(series, column.name), column.name, codes)
    if len(texts) != 2:
        raise InputError(
            f"a column declared boolean must hold at most two values, however column {column.name!r} holds {len(texts)}"
            "; declare it categorical"
        )
    if set(texts) == {"0", "1"} and column.storage == "number":
        return column
    numbers = text_numbers(texts)
    # By their texts, too: two numbers of 19 digits may be one as float64.
    low, high = sorted(texts) if np.isnan(numbers).any() else [texts[i] for i in np.lexsort((np.array(texts), numbers))]
    return replace(column, storage="pair", true_level=high, false_level=low, date_format=None)


# ---- reading cells by type ------------------------------------------------------------------------------------------
def read_numbers(series: pd.Series[Any], column: ColumnType, codes: MissingCodes) -> tuple[Floats, Kinds]:
    """Read one column as float64 by its type: numbers, seconds for dates, 1 and 0 for pairs.

    Returns:
        Values ``(rows,)``, NaN where missing, and the kind of missingness ``(rows,)``.

    Raises:
        InputError: text in a numeric column, text that is no date in a column of dates, or an infinite value.
    """
    name = column.name
    if _is_moment(series) and column.storage in ("number", "date"):
        values = series_seconds(series)
        _refuse_other_moments(series, column, values)
        return values, np.where(np.isnan(values), BLANK, PRESENT).astype(np.int16)
    if column.storage == "number" and is_native_number(series.dtype):
        matrix = native_matrix(series.to_frame(name), [name])
        kinds = missing_kinds(matrix, [name], codes)
        return matrix[:, 0], kinds[:, 0]
    distinct = Distinct.of(series, name)
    kinds = np.array([codes.kind_of(text, name) for text in distinct.texts], dtype=np.int16)
    row_kinds = distinct.spread(kinds, BLANK)
    numbers = _numbers_of_texts(distinct, column, kinds, series.index)
    numbers[kinds != PRESENT] = np.nan
    refuse_infinite(numbers[:, None], [name], series.index, distinct.index)
    values = distinct.spread(numbers, np.nan)
    if column.storage == "number":
        return values, row_kinds
    # A third value in a pair counts as blank, as does an unreadable date where the training rows had such texts too.
    row_kinds[np.isnan(values) & (row_kinds == PRESENT)] = BLANK
    return values, row_kinds


def _refuse_other_moments(series: pd.Series[Any], column: ColumnType, seconds: Floats) -> None:
    """Refuse dates in a column of numbers, and durations in one of dates: their seconds count from elsewhere."""
    is_duration = series.dtype.kind == "m"
    present = ~np.isnan(seconds)
    if column.kind == "constant" or is_duration == (column.storage == "number") or not present.any():
        return
    row = int(np.argmax(present))
    wanted, odd = ("dates", "a duration") if is_duration else ("numbers", "a date")
    raise CellError.at(
        row,
        series.index,
        f"column {column.name!r} must hold {wanted}, as in training, however ",
        f" has {odd}, {series.iloc[row]}; write it as in training",
    )


def _numbers_of_texts(distinct: Distinct, column: ColumnType, kinds: Kinds, index: pd.Index[Any]) -> Floats:
    if column.storage == "date":
        return _dates_of_texts(distinct, column, kinds, index)
    if column.storage == "pair":
        return _pair_of_texts(distinct.texts, column.true_level or "", column.false_level or "")
    is_truth = column.kind == "boolean"
    words = _TRUTH if is_truth else {"true": 1.0, "false": 0.0}
    numbers = text_numbers([str(words.get(_plain(text), text)) for text in distinct.texts])
    bad = np.flatnonzero(np.isnan(numbers) & (kinds == PRESENT))
    if len(bad):
        row = int(np.argmax(distinct.index == bad[0]))
        raise CellError.at(
            row,
            index,
            f"column {column.name!r} must be {'0 or 1, or true or false' if is_truth else 'numeric'}, however ",
            f" has {distinct.texts[bad[0]]!r}; correct the cell, leave it empty, or declare it as a code for missing",
        )
    return numbers


def _dates_of_texts(distinct: Distinct, column: ColumnType, kinds: Kinds, index: pd.Index[Any]) -> Floats:
    form = column.date_format or "ISO8601"
    seconds = read_dates(distinct.texts, form)
    bad = np.flatnonzero(np.isnan(seconds) & (kinds == PRESENT))
    if len(bad) and not column.n_unreadable:
        row = int(np.argmax(distinct.index == bad[0]))
        raise CellError.at(
            row,
            index,
            f"column {column.name!r} must hold dates, as {form} or in another form that leaves no doubt, however ",
            f" has {distinct.texts[bad[0]]!r}; write it such as 2024-01-31, leave it empty, or declare it as a code for"
            " missing",
        )
    return seconds


def _pair_of_texts(texts: Sequence[str], yes: str, no: str) -> Floats:
    """Read texts as 1 and 0 whatever their capitals and surrounding blanks; also y, true, 1, … for a pair such as yes.

    Of another pair, such as left and right, nobody knows which is true.
    """
    forms = _plain(yes), _plain(no)
    if forms[0] == forms[1]:
        # A declared pair may differ by nothing else than its capitals.
        values = {yes: 1.0, no: 0.0}
        return np.array([values.get(text, np.nan) for text in texts], dtype=np.float64)
    values = dict(_TRUTH) if forms in _EVIDENT_PAIRS else {}
    values |= {forms[0]: 1.0, forms[1]: 0.0}
    return np.array([values.get(_plain(text), np.nan) for text in texts], dtype=np.float64)


def _plain(text: str) -> str:
    return text.strip().lower()
