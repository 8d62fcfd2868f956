"""What each column is: numbers, categories, yes or no, constant, identifier, date, free
text or image, and why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import NoneType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_choice, check_kind
from permgrad.base.errors import InputError, counted, must, printable
from permgrad.base.late import pd
from permgrad.data.read import cells, dates
from permgrad.data.read.amounts import Notation, find_notation, notations_of_most
from permgrad.data.read.cells import (
    BLANK,
    PRESENT,
    CellError,
    CodesArgument,
    Distinct,
    Kinds,
    MissingCodes,
)
from permgrad.data.read.image_cells import is_image
from permgrad.data.read.pairs import find_pair, is_pair
from permgrad.data.read.whole_numbers import different_and_left, masked
from permgrad.data.read.written_numbers import (
    CURRENCY,
    MEASURE,
    NUMBERS,
    is_dot,
    unit_said,
)
from permgrad.data.types import identifiers
from permgrad.data.types.flags import FLAGS, Flag, reason_of
from permgrad.data.types.identifiers import (
    FEWEST_FOR_IDENTIFIER,
    LONGEST_READ,
    flag_by_target,
    is_free_text,
)

Kind: TypeAlias = Literal[
    "numeric",
    "categorical",
    "boolean",
    "constant",
    "identifier",
    "date",
    "calendar",
    "text",
    "image",
]
"""What a column is, or is declared to be: ``"calendar"`` is a date of which later ones
will be predicted.
"""
Storage: TypeAlias = Literal["number", "date", "pair", "text"]

_PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
_EVIDENT_PAIRS = (*_PAIRS, ("1", "0"))
#: What the words of these pairs mean, whichever of them a column had in training.
_TRUTH = {true_word: 1.0 for true_word, _ in _EVIDENT_PAIRS} | {
    false_word: 0.0 for _, false_word in _EVIDENT_PAIRS
}
_NEARLY_UNIQUE = 0.95
_SHARE_OF_IMAGES = 0.9
#: Fewer different cells say little of how most of them are written. They may well be
#: categories.
_FEWEST_SPELLED = 10
#: So many columns may say whose rows these are.
_MOST_GROUPINGS = 200
#: The fields of whole numbers that are categories.
_AS_LEVELS: dict[str, Any] = {"kind": "categorical", "storage": "text"}
_SHARE_SPELLED = 0.8
_LOOKED_AT = 2000
_LONGEST_SHORT = 500
#: What may stand around a number: a currency, a per cent sign, the brackets or the last
#: minus of accountants.
_UNIT = rf"%|{CURRENCY}"
_NUMBERS = {
    decimal_sign: re.compile(pattern) for decimal_sign, pattern in NUMBERS.items()
}
_AROUND = re.compile(
    rf"\(?\s*(?P<before>{_UNIT})?\s*(?P<number>[^()]*?)\s*(?:(?P<after>{_UNIT}|-|/-)|(?P<measure>{MEASURE}))?\s*\)?"
)


@dataclass(frozen=True)
class ColumnType:
    """One column: its type, the ``flags`` that say why, with their ``facts``, and its
    statistics.

    ``storage`` says how its cells are read: as numbers, dates (seconds), a pair such as
    yes/no, or text. Of a date that is stored as text or as whole numbers there is the
    format and how many different texts no format read: they count as missing, and where
    there were none, a text that cannot be read is refused later on. Numbers with a
    format are times of day or durations, those with a ``decimal`` sign are text with
    signs or a ``unit``. Of a pair the ``true_level`` counts as 1.
    """

    name: str
    kind: Kind
    storage: Storage
    flags: tuple[Flag, ...]
    n_rows: int
    n_missing: int
    n_levels: int
    date_format: str | None = None
    true_level: str | None = None
    false_level: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    unit: str | None = None
    decimal: str | None = None

    @property
    def notation(self) -> Notation | None:
        """How numbers are written that are stored as text, if not in the usual way."""
        if self.decimal is None:
            return None
        return Notation(self.unit, self.decimal)

    @property
    def n_known(self) -> int:
        """Number of cells that are not missing."""
        return self.n_rows - self.n_missing

    @property
    def reason(self) -> str:
        """Why the column is what it is, in one clause for people.

        Nothing reads it back.
        """
        return reason_of(
            self.flags,
            {
                **vars(self),
                "n_known": self.n_known,
                "unit_said": unit_said(self.unit),
                **self.facts,
            },
        )

    def flagged(self, *flags: Flag, **changes: Any) -> ColumnType:
        """Return the column with other flags and their facts, and other fields."""
        return replace(self, **{"flags": flags, "facts": {}, **changes})


@dataclass(frozen=True)
class Schema:
    """The types of all columns of a table, in the table's order."""

    columns: tuple[ColumnType, ...]

    @property
    def names(self) -> list[str]:
        """Names of the columns in order."""
        return [column.name for column in self.columns]

    @property
    def stored(self) -> list[ColumnType]:
        """The columns that are read as numbers, dates or pairs, but for identifiers."""
        return [
            column
            for column in self.columns
            if column.kind != "identifier" and column.storage != "text"
        ]

    def __iter__(self) -> Iterator[ColumnType]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> ColumnType:
        check_choice("column", name, self.names)
        return next(column for column in self.columns if column.name == name)

    def of_kind(self, kind: Kind) -> list[str]:
        """Return the names of all columns of one kind."""
        return [column.name for column in self.columns if column.kind == kind]

    def to_text(self, most: int = 60, reasons: Mapping[str, str] | None = None) -> str:
        """Return a table for the terminal, at most ``most`` columns long.

        ``reasons``: those that differ.
        """
        table_rows = [("column", "kind", "levels", "missing", "reason")]
        for c in self.columns[:most]:
            if c.n_missing:
                missing = f"{c.n_missing} ({c.n_missing / max(c.n_rows, 1):.1%})"
            else:
                missing = "0"
            table_rows.append(
                (
                    c.name,
                    c.kind,
                    str(c.n_levels),
                    missing,
                    (reasons or {}).get(c.name, c.reason),
                )
            )
        shown = [tuple(map(printable, table_row)) for table_row in table_rows]
        widths = []
        for column_cells in zip(*shown, strict=True):
            widths.append(max(map(len, column_cells)))
        lines = []
        for shown_row in shown:
            lines.append("  ".join(map(str.ljust, shown_row, widths)).rstrip())
        if len(self.columns) > most:
            lines.append(f"… and {counted(len(self.columns) - most, 'more column')}")
        return "\n".join(lines)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Read back what ``dataclasses.asdict`` made."""
        columns = tuple(
            ColumnType(**{**column, "flags": tuple(column["flags"])})
            for column in content["columns"]
        )
        for column in columns:
            must(set(column.flags) <= set(FLAGS), f"unknown flags {column.flags}")
            _ = column.reason  # that no fact is missing
        return cls(columns)


def infer_schema(
    X: Any,
    *,
    na: CodesArgument | MissingCodes = None,
    kinds: Mapping[str, Kind] | None = None,
    target: tuple[Array, int] | None = None,
) -> Schema:
    """Say what each column of training rows is, from its cells, its name, the user and,
    last, the target.

    The rules, in this order: what ``kinds`` declares. No value or one: constant. 0 and
    1, booleans, yes/no: boolean. Numbers, also as text, times of day and durations (in
    seconds): numeric. Dates, also as text or whole numbers: date. Images, and paths of
    image files that exist: image. Text of several words that rarely repeats: text.
    Other nearly unique text: identifier, as are whole numbers that are all different
    and named like one, or that rise with the frame's row numbers and are no years or
    times. The rest: categorical, as are repeated whole numbers that are named like
    things, and numbers in a column of categorical type (``astype("category")``), but
    for an ordered one whose order is theirs.

    Of numbers that are left the ``target`` (class indexes or numbers ``(rows,)``, and
    how many classes, 0 of a number) may say that they are names, or levels beside
    amounts, see ``flag_by_target``.
    """
    frame = cells.as_frame(X)
    codes = MissingCodes.of(na)
    for column_name in na if isinstance(na, Mapping) else ():
        check_choice("column in na", column_name, list(frame.columns))
    declared = checked_kinds(kinds, list(frame.columns))
    types = _types_of_numbers(frame, codes)
    for frame_name in frame.columns:
        if frame_name in declared:
            types[frame_name] = _declared_type(
                frame[frame_name],
                frame_name,
                declared[frame_name],
                codes,
                types.get(frame_name),
            )
        elif frame_name not in types:
            types[frame_name] = _other_type(frame[frame_name], frame_name, codes)
        if target is not None and frame_name not in declared:
            types[frame_name] = _asked(types[frame_name], frame, codes, *target)
    return Schema(tuple(types[schema_name] for schema_name in frame.columns))


def _types_of_numbers(
    frame: pd.DataFrame, codes: MissingCodes
) -> dict[str, ColumnType]:
    """Return the types of the columns that are stored as numbers."""
    names = cells.native_names(frame)
    n_rows = len(frame)
    types = dict[str, ColumnType]()
    if not names:
        return types
    matrix, _ = cells.native_cells(frame, names, codes)
    present = ~np.isnan(matrix)
    n_missing = n_rows - present.sum(axis=0)
    binary = ((matrix == 0) | (matrix == 1) | ~present).all(axis=0)
    with np.errstate(invalid="ignore"):
        n_levels = (np.diff(np.sort(matrix, axis=0), axis=0) > 0).sum(axis=0) + (
            n_missing < n_rows
        )
    for j, name in enumerate(names):
        integer = frame[name].dtype.kind in "iu"
        # Fewer levels than cells may be fewer than there are numbers.
        base = ColumnType(
            name,
            "numeric",
            "number",
            ("numbers",),
            n_rows,
            int(n_missing[j]),
            int(n_levels[j]),
        )
        if integer and base.n_levels < base.n_known:
            base = _fused(base, frame[name][present[:, j]])
        types[name] = _number_type(
            base, matrix[:, j], frame.index, binary=bool(binary[j]), integer=integer
        )
    return types


def typed_as(
    types: Schema,
    X: Any,
    *,
    na: CodesArgument | MissingCodes = None,
    kinds: Mapping[str, Kind] | None = None,
    target: tuple[Array, int] | None = None,
) -> Schema:
    """Return types that other rows, too, decided, with the counts of these rows.

    A column with one value here is constant. ``na``, ``kinds`` and ``target`` are as
    for ``infer_schema``, ``target`` of these rows.
    """
    frame = cells.as_frame(X)
    codes = MissingCodes.of(na)
    columns = list[ColumnType]()
    for column in types:
        here = _counted_in(frame[column.name], column, codes)
        if target is not None and column.name not in (kinds or {}):
            here = _asked(here, frame, codes, *target)
        columns.append(here)
    return Schema(tuple(columns))


def _counted_in(
    series: pd.Series[Any], column: ColumnType, codes: MissingCodes
) -> ColumnType:
    """Return the type of a column with the counts of some rows."""
    if column.storage == "text" or column.kind == "identifier":
        texts, _, n_missing = _without_codes(
            Distinct.of(series, column.name), column.name, codes
        )
        n_levels = len(texts)
    else:
        values, _ = read_numbers(series, column, codes)
        is_present = ~np.isnan(values)
        n_levels = len(np.unique(values[is_present]))
        n_missing = int((~is_present).sum())
    here = replace(column, n_rows=len(series), n_missing=n_missing, n_levels=n_levels)
    if n_levels > 1 or "declared" in column.flags or column.kind == "constant":
        return here
    return _constant(here)


def checked_kinds(
    kinds: Mapping[str, Kind] | None, names: Sequence[str] | None = None
) -> dict[str, Kind]:
    """Return the declared kinds with names as text.

    Refuse anything but a mapping of columns (``names``) to kinds.
    """
    kinds_hint = "Pass for example kinds={'postcode': 'categorical'}."
    check_kind(
        "kinds",
        kinds,
        (Mapping, NoneType),
        "None or a mapping of column to kind",
        kinds_hint,
    )
    declared = {}
    for declared_name, declared_kind in (kinds or {}).items():
        declared[str(declared_name)] = declared_kind
    for column_name, column_kind in declared.items():
        check_choice(f"kind of column {column_name!r}", column_kind, get_args(Kind))
        if names is not None:
            check_choice("column in kinds", column_name, names)
    return declared


# ---- numbers -------------------------------------------------------------------------
def _fused(base: ColumnType, numbers: Iterable[Any]) -> ColumnType:
    """Return a column with the flag that float64 makes some of its integers equal, if
    it does.
    """
    different, distinct_floats = different_and_left(numbers)
    if distinct_floats < different:
        return replace(
            base,
            flags=("fused",),
            facts={"different": different, "left": distinct_floats},
        )
    return base


def _number_type(
    base: ColumnType,
    values: Floats,
    index: pd.Index[Any],
    *,
    binary: bool,
    integer: bool,
) -> ColumnType:
    if base.n_levels <= 1:
        return _constant(base)
    if binary:
        return base.flagged("binary", kind="boolean")
    if dates.are_whole_dates(values):
        return base.flagged(
            "whole_dates", kind="date", storage="date", date_format=dates.WHOLE
        )
    # One missing cell, and whole numbers are stored as others.
    is_whole = integer or (base.n_missing > 0 and identifiers.are_whole(values))
    if base.n_known < FEWEST_FOR_IDENTIFIER or not is_whole or "fused" in base.flags:
        return base
    number_flag = identifiers.flag_of_whole_numbers(base.name, values, index)
    if number_flag is None:
        return base
    return (
        base.flagged(number_flag, **_AS_LEVELS)
        if number_flag == "names"
        else base.flagged(number_flag, kind="identifier")
    )


def _asked(
    column: ColumnType,
    frame: pd.DataFrame,
    codes: MissingCodes,
    y: Array,
    classes: int,
) -> ColumnType:
    """Return the type that the target says of numbers that are no durations."""
    if column.kind != "numeric" or column.date_format is not None:
        return column
    numbers, _ = read_numbers(frame[column.name], column, codes)
    other_groupings = _groupings(frame, column.name)
    target_flag = flag_by_target(column.name, numbers, y, classes, other_groupings)
    if target_flag == "names":
        # As levels, odd cells are some of them.
        odd = column.facts.get("unread", ()), column.facts.get("cells_unread", 0)
        counts = {"n_levels": column.n_levels + len(odd[0])}
        counts["n_missing"] = column.n_missing - odd[1]
        return column.flagged("names", "by_target", **_AS_LEVELS, **counts)
    if target_flag is None or "fused" in column.flags:
        return column
    return _with_mistakes_of(column, column.flagged(target_flag))


def _with_mistakes_of(column: ColumnType, changed: ColumnType) -> ColumnType:
    """Return a type that was made of another with the cells that this one cannot
    read.
    """
    if "mistakes" not in column.flags or changed.storage == "text":
        return changed
    flags = tuple(flag for flag in changed.flags if flag != "mistakes")
    facts = {**changed.facts, **column.facts}
    return replace(changed, flags=(*flags, "mistakes"), facts=facts)


def _groupings(frame: pd.DataFrame, name: str) -> Iterator[Integers]:
    """Yield which rows have the same cell of each other column, −1 where it is
    missing.
    """
    for other_column in list(frame.columns)[:_MOST_GROUPINGS]:
        if other_column == name:
            continue
        try:
            codes, _ = pd.factorize(frame[other_column], use_na_sentinel=True)
        except (TypeError, NotImplementedError):  # lists, also as Arrow types
            continue
        yield np.asarray(codes, dtype=np.int64)


def _constant(base: ColumnType) -> ColumnType:
    """Return whether a column has one value and nothing missing, or no value.

    One value with gaps is informative.
    """
    if base.n_levels == 0:
        return base.flagged("no_value", kind="constant")
    if base.n_missing:
        constant_kind = base.kind
    else:
        constant_kind = "constant"
    # Of numbers that are one value only as float64 the flag says so already.
    if "fused" in base.flags:
        return replace(base, kind=constant_kind)
    return base.flagged(
        "value_and_missing" if base.n_missing else "one_value", kind=constant_kind
    )


# ---- everything else -----------------------------------------------------------------
def _moment_type(series: pd.Series[Any], name: str) -> ColumnType:
    """Type of a column that is stored as dates or durations."""
    seconds = dates.series_seconds(series)
    n_missing = int(np.isnan(seconds).sum())
    n_levels = len(np.unique(seconds[~np.isnan(seconds)]))
    base = ColumnType(
        name, "date", "date", ("date_type",), len(series), n_missing, n_levels
    )
    if series.dtype.kind == "m":
        base = base.flagged("duration_type", kind="numeric", storage="number")
    if n_levels <= 1:
        return _constant(base)
    return base


def _other_type(
    series: pd.Series[Any], name: str, codes: MissingCodes, *, is_whole: bool = False
) -> ColumnType:
    """Type of a column that is not stored as numbers. ``is_whole``: no cell is odd."""
    if dates.is_moment(series):
        return _moment_type(series, name)
    distinct = Distinct.of(series, name)
    texts, counts, n_missing = _without_codes(distinct, name, codes)
    if _are_dots_missing(texts):
        is_kept = np.array(
            [not is_dot(dotted_text) for dotted_text in texts], dtype=bool
        )
        n_missing += int(counts[~is_kept].sum())
        texts = [kept_text for kept_text in texts if not is_dot(kept_text)]
        counts = counts[is_kept]
    base_type = ColumnType(
        name, "categorical", "text", ("text",), len(series), n_missing, len(texts)
    )
    numbers = cells.text_numbers(texts)
    if texts and not np.isnan(numbers).any():
        base_type = _fused(
            base_type.flagged("number_texts", kind="numeric", storage="number"), texts
        )
        values, _ = read_numbers(series, base_type, codes)
        return _decided_by_type(
            series, texts, _text_number_type(base_type, values, series.index, texts)
        )
    if base_type.n_levels <= 1:
        return _constant(base_type)
    starts = [
        cell_text[:_LONGEST_SHORT] for cell_text in texts
    ]  # no date or time is longer, and a text may have megabytes
    if found_type := _pair_type(base_type, starts) or _date_type(base_type, starts):
        return found_type
    found_type = _written_type(base_type, series, starts, counts)
    if found_type is None and not is_whole:
        found_type = _type_but_for_mistakes(series, base_type, codes, texts, counts)
    return found_type or _text_type(base_type, series, texts, counts)


#: Beside cells of other kinds numbers are text in any file.
_PLAIN_NUMBERS: dict[Flag, Flag] = {"whole_texts": "number_texts"}


def _type_but_for_mistakes(
    series: pd.Series[Any],
    base: ColumnType,
    codes: MissingCodes,
    texts: Sequence[str],
    counts: Integers,
) -> ColumnType | None:
    """Return the type that a column of numbers or times has without a few odd cells.

    They count as missing, also in later rows. None: it has no such type, or too many.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        return None
    for what, is_read in _readings(texts, counts):
        odd = [text for text, read in zip(texts, is_read, strict=True) if not read]
        cells_odd = int(counts[~is_read].sum())
        if not cells.are_mistakes(cells_odd, len(odd), base.n_known):
            continue
        clean = masked(series, _cells_with(series, base.name, odd))
        clean_type = _other_type(clean, base.name, codes, is_whole=True)
        if clean_type.kind == "identifier" or "names" in clean_type.flags:
            return base.flagged(
                *clean_type.flags, kind=clean_type.kind
            )  # so are the others
        if clean_type.kind in ("numeric", "date") and clean_type.storage != "text":
            flags = [_PLAIN_NUMBERS.get(flag, flag) for flag in clean_type.flags]
            facts = {**clean_type.facts, "unread": odd, "cells_unread": cells_odd}
            facts |= {"what": what, "example": odd[0][:_LONGEST_SHORT]}
            return replace(clean_type, flags=(*flags, "mistakes"), facts=facts)
    return None


def _readings(
    texts: Sequence[str], counts: Integers
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield what different texts may be, and which of them can be read so
    ``(texts,)``.
    """
    starts = [text[:_LONGEST_SHORT] for text in texts]
    few = starts[:_LOOKED_AT]
    readers: list[tuple[str, Callable[[Sequence[str]], Floats]]] = [
        ("numbers", cells.text_numbers),
        ("times", dates.duration_seconds),
    ]
    dated = [partial(dates.date_seconds, form=form) for form in dates.FORMS]
    readers += [("dates", read) for read in dated]
    for what, read in readers:
        # The first tell most columns that are something else.
        if 2 * np.isnan(read(few)).sum() < len(few):
            yield what, ~np.isnan(read(starts))
    for notation in notations_of_most(starts, counts.tolist()):
        # 0.05 beside 5 % may be the same share.
        has_unit = np.array([notation.has_unit(text) for text in starts], dtype=bool)
        yield "numbers", has_unit & ~np.isnan(notation.read(starts))


def _cells_with(
    series: pd.Series[Any], name: str, texts: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Return which cells hold one of some texts ``(rows,)``."""
    distinct = Distinct.of(series, name)
    return np.asarray(distinct.spread(np.isin(distinct.texts, texts), False))


def _written_type(
    base: ColumnType, series: pd.Series[Any], texts: Sequence[str], counts: Integers
) -> ColumnType | None:
    """Find times, durations, and numbers with signs or units.

    None: most texts are something else.
    """
    if dates.are_durations(texts):
        durations = base.flagged(
            "durations", kind="numeric", storage="number", date_format=dates.DURATION
        )
        return _decided_by_type(series, texts, durations)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return None
    notation = find_notation(texts, counts.tolist())
    if notation is None:
        return None
    return base.flagged(
        "written",
        kind="numeric",
        storage="number",
        unit=notation.unit,
        decimal=notation.decimal,
    )


def _are_dots_missing(texts: Sequence[str]) -> bool:
    """Whether the texts of a column are numbers but for those with which Stata and SAS
    write missing ones.
    """
    other_texts = [cell_text for cell_text in texts if not is_dot(cell_text)]
    if not other_texts or len(other_texts) == len(texts):
        return False
    return (
        not np.isnan(cells.text_numbers(other_texts)).any()
        or find_notation(other_texts, [1] * len(other_texts)) is not None
    )


def _text_number_type(
    base: ColumnType, values: Floats, index: pd.Index[Any], texts: Sequence[str]
) -> ColumnType:
    """Type of a column whose texts all are numbers.

    Repeated ones with leading zeros are names: 007, 02134.
    """
    levels = np.unique(values[~np.isnan(values)])
    integer = identifiers.are_whole(values)
    binary = bool(np.isin(levels, (0.0, 1.0)).all())
    number_type = _number_type(
        replace(base, n_levels=len(levels)),
        values,
        index,
        binary=binary,
        integer=integer,
    )
    if (
        number_type.flags != ("number_texts",)
        or not integer
        or not 2 < len(levels) <= base.n_known / 2
    ):
        return number_type
    if any(
        level_text[:1] == "0" and level_text.isdecimal() and len(level_text) > 1
        for level_text in texts
    ):
        return number_type.flagged(
            "names", "leading_zeros", **_AS_LEVELS, n_levels=len(texts)
        )
    return number_type.flagged("whole_texts")


def _decided_by_type(
    series: pd.Series[Any], texts: Sequence[str], found_type: ColumnType
) -> ColumnType:
    """Leave a column of categorical type its categories, though they could be read as
    amounts.

    Its dates and pairs stay what they are. So do numbers that an ordered type has in
    their order.
    """
    is_amount = found_type.kind in ("numeric", "identifier") and found_type.n_levels > 1
    if not isinstance(series.dtype, pd.CategoricalDtype) or not is_amount:
        return found_type
    levels = cells.text_numbers(
        [cells.canonical(level) for level in series.cat.categories]
    )
    if (
        series.dtype.ordered
        and found_type.date_format is None
        and (np.diff(levels) > 0).all()
    ):
        return found_type.flagged("ordered_type")
    return found_type.flagged(
        "categorical_type", **_AS_LEVELS, n_levels=len(texts), date_format=None
    )


def _pair_type(base: ColumnType, texts: Sequence[str]) -> ColumnType | None:
    """Find a yes/no pair, whatever the capitals."""
    by_form = {_plain(cell_text): cell_text for cell_text in texts}
    known_pair = next(
        (word_pair for word_pair in _PAIRS if set(word_pair) == set(by_form)), None
    )
    if known_pair is None:
        return None
    true_text = by_form[known_pair[0]]
    false_text = by_form[known_pair[1]]
    return base.flagged(
        "pair",
        kind="boolean",
        storage="pair",
        n_levels=2,
        true_level=true_text,
        false_level=false_text,
    )


def _date_type(
    base: ColumnType, texts: Sequence[str], *, declared: bool = False
) -> ColumnType | None:
    format_and_swap = dates.find_date_format(texts, declared=declared)
    if format_and_swap is None:
        return None
    date_form, is_swapped = format_and_swap
    possible_flags: dict[Flag, bool] = {
        "two_digit_years": dates.has_short_years(texts),
        "swapped": is_swapped,
    }
    flags = [date_flag for date_flag, holds in possible_flags.items() if holds]
    return base.flagged(
        "text_dates", *flags, kind="date", storage="date", date_format=date_form
    )


def _text_type(
    base: ColumnType, series: pd.Series[Any], texts: Sequence[str], counts: Integers
) -> ColumnType:
    """Tell free text and identifiers from categories, and say when a text spoils a
    column of numbers.
    """
    if len(texts) >= _FEWEST_SPELLED:
        spelled = several_ways(texts)
    else:
        spelled = _with_unit(texts)
    spelled = _two_numbers(texts) or spelled
    is_free = spelled is None and is_free_text(texts, counts, FEWEST_FOR_IDENTIFIER)
    if isinstance(series.dtype, pd.CategoricalDtype) and not is_free:
        return base.flagged("categorical_type")
    odd_text = odd_among_numbers(texts, counts)
    facts = dict[str, Any]()
    text_kind = base.kind
    flags = base.flags
    if _are_images(texts):
        text_kind = "image"
        flags = ("images",)
    elif odd_text:
        flags = ("odd_among_numbers",)
        facts = {"odd": odd_text[0], "share": min(odd_text[1], 0.99)}
    elif is_free:
        text_kind = "text"
        if max(map(len, texts)) > LONGEST_READ:
            flags = ("free_text", "long_texts")
        else:
            flags = ("free_text",)
    elif (
        base.n_known >= FEWEST_FOR_IDENTIFIER
        and len(texts) >= _NEARLY_UNIQUE * base.n_known
    ):
        text_kind = "identifier"
        flags = ("unique_texts",)
    if spelled:
        flags = (*flags, "spelled")
        facts = facts | spelled
    return replace(base, kind=text_kind, flags=flags, facts=facts)


def _two_numbers(texts: Sequence[str]) -> dict[str, Any] | None:
    """Return, as ``several_ways``, that most different cells hold two numbers, such as
    120/80, or None.
    """
    sampled_texts = [cell_text[:_LONGEST_SHORT] for cell_text in texts[:_LOOKED_AT]]
    pairs = [pair_text for pair_text in sampled_texts if is_pair(pair_text)]
    if len(pairs) < _SHARE_SPELLED * len(sampled_texts) or find_pair(pairs) is None:
        return None
    odd_texts = [other_text for other_text in sampled_texts if not is_pair(other_text)]
    facts = {"what": "two numbers", "how": "in each cell, such as", "example": pairs[0]}
    if odd_texts:
        return {**facts, "odd_cells": odd_texts}
    return facts


def _are_images(texts: Sequence[str]) -> bool:
    """Say whether nearly all of the cells, of which a few are looked at first, are
    images or files of images.
    """
    first_texts = texts[:_FEWEST_SPELLED]
    return all(
        sum(map(is_image, some_texts)) >= _SHARE_OF_IMAGES * len(some_texts)
        for some_texts in (first_texts, texts[:_LOOKED_AT])
        if len(some_texts)
    )


def odd_among_numbers(texts: Sequence[str], counts: Array) -> tuple[str, float] | None:
    """Return the first text that is no number and the share of the cells that are, if
    that is a half or more.
    """
    numbers = ~np.isnan(cells.text_numbers(texts))
    if 2 * numbers[:_LOOKED_AT].sum() < len(texts[:_LOOKED_AT]):
        # All may be written as most of them are: in commas, with thousands.
        for number in _NUMBERS.values():
            written = np.array(
                [
                    number.fullmatch(cell_text.strip()) is not None
                    for cell_text in texts
                ],
                dtype=bool,
            )
            if written.sum() > numbers.sum():
                numbers = written
    share = float(counts[numbers].sum() / max(counts.sum(), 1))
    if share >= 0.5 and not numbers.all():
        return (texts[int(np.argmin(numbers))], share)
    return None


def several_ways(texts: Sequence[str]) -> dict[str, Any] | None:
    """Return what most of a column's different cells look like, and a cell that is
    written otherwise, or None.

    Looks like numbers or dates in any notation: ``what`` they are, ``how`` they are
    written, an ``example``, and the ``odd_cells`` that are written otherwise.
    """
    looked_at = [cell_text[:_LONGEST_SHORT] for cell_text in texts[:_LOOKED_AT]]
    for quantity, ways_of in (
        ("times", dates.duration_ways),
        ("numbers", _number_ways),
        ("dates", dates.date_ways),
    ):
        ways_of_texts = ways_of(looked_at)
        every = [
            written_way for text_forms in ways_of_texts for written_way in text_forms
        ]
        if every and sum(map(bool, ways_of_texts)) >= _SHARE_SPELLED * len(
            ways_of_texts
        ):
            usual = max(dict.fromkeys(every), key=every.count)
            odd_texts = [
                viewed_text
                for viewed_text, viewed_ways in zip(
                    looked_at, ways_of_texts, strict=True
                )
                if usual not in viewed_ways
            ]
            if odd_texts:
                return {
                    "what": quantity,
                    "how": "written in several ways, first odd cell",
                    "example": odd_texts[0],
                    "odd_cells": odd_texts,
                }
            return {
                "what": quantity,
                "how": "with other signs, such as",
                "example": looked_at[0],
            }
    return None


def _with_unit(texts: Sequence[str]) -> dict[str, str] | None:
    """Return, as ``several_ways``, that a few different cells are all numbers with one
    unit, such as 71 kg, or None.
    """
    unit_matches = [_AROUND.fullmatch(cell_text.strip()) for cell_text in texts]
    units = set()
    for unit_match in unit_matches:
        if unit_match is not None:
            units.add(unit_match["measure"])
        else:
            units.add(None)
    if None in units or len(units) != 1 or not all(_number_ways(texts)):
        return None
    return {"what": "numbers", "how": "with other signs, such as", "example": texts[0]}


def _number_ways(texts: Sequence[str]) -> list[list[str]]:
    ways_of_texts = list[list[str]]()
    unit_matches = [_AROUND.fullmatch(cell_text.strip()) for cell_text in texts]
    # Numbers with letters of many kinds behind them are codes.
    measures = Counter(
        unit_match["measure"]
        for unit_match in unit_matches
        if unit_match is not None and unit_match["measure"]
    )
    usual = [None, *(measure for measure, _ in measures.most_common(1))]
    for stripped_text, number_match in zip(
        map(str.strip, texts), unit_matches, strict=True
    ):
        fitting = list[str]()
        around = ""
        if number_match is not None and number_match["measure"] in usual:
            around = (
                f"{number_match['before'] or ''} "
                f"{number_match['after'] or number_match['measure'] or ''} "
                f"{stripped_text[:1] == '('}"
            )
            fitting = []
            for decimal_sign, number in _NUMBERS.items():
                if number.fullmatch(number_match["number"]):
                    fitting.append(decimal_sign)
        ways_of_texts.append([f"{fitting_sign} {around}" for fitting_sign in fitting])
    return ways_of_texts


def _without_codes(
    distinct: Distinct, name: str, codes: MissingCodes
) -> tuple[list[str], Integers, int]:
    counts = distinct.counts()
    keep_mask = np.array(
        [codes.kind_of(cell_text, name) == PRESENT for cell_text in distinct.texts],
        dtype=bool,
    ) & (counts > 0)
    texts = []
    for kept_text, is_kept in zip(distinct.texts, keep_mask, strict=True):
        if is_kept:
            texts.append(kept_text)
    return texts, counts[keep_mask], int(len(distinct.index) - counts[keep_mask].sum())


# ---- declared kinds ------------------------------------------------------------------
def _declared_type(
    series: pd.Series[Any],
    name: str,
    kind: Kind,
    codes: MissingCodes,
    guessed: ColumnType | None,
) -> ColumnType:
    if isinstance(series.dtype, pd.CategoricalDtype):
        # The declared kind decides, not the type.
        series = series.astype(object)
    # As text, no cell is odd.
    as_text = kind in ("categorical", "text", "image")
    if guessed is None:
        guessed_now = _other_type(series, name, codes, is_whole=as_text)
    else:
        guessed_now = guessed
    guess = _as_numbers(guessed_now, kind)
    fused = "fused" in guess.flags
    kind = "date" if kind == "calendar" else kind

    def texts() -> list[str]:
        return _without_codes(Distinct.of(series, name), name, codes)[0]

    # The texts 007 and 7 are two categories, though one number.
    spelled = (
        as_text
        and guess.storage == "number"
        and guessed is None
        and not dates.is_moment(series)
    )
    if spelled or (fused and kind != "numeric"):
        # As numbers they are fewer than they are.
        guess = replace(guess, n_levels=len(texts()))
    declared = (
        replace(guess, kind=kind)
        if fused and kind == "numeric"
        else _with_mistakes_of(guess, guess.flagged("declared", kind=kind))
    )
    if guess.n_levels == 0 or kind in ("constant", "identifier"):
        return replace(declared, kind=kind if guess.n_levels else "constant")
    if as_text:
        return replace(
            declared,
            storage="text",
            date_format=None,
            true_level=None,
            false_level=None,
        )
    if kind == "date":
        return (
            declared if guess.storage == "date" else _declared_date(declared, texts())
        )
    if kind == "boolean":
        return _declared_boolean(declared, guess, texts)
    if guess.storage != "number":
        problem = (
            f"Column {name!r} is declared numeric but is {guess.kind} ({guess.reason})"
        )
        declare_hint = (
            "Declare it categorical, or declare the texts that mean missing as codes."
        )
        raise InputError(problem, hint=declare_hint, code="PG014")
    return declared


def _as_numbers(guess: ColumnType, kind: Kind) -> ColumnType:
    """Return whole numbers that were taken for names, or are declared to be no dates,
    as the numbers that they are.
    """
    if "names" in guess.flags:
        return guess.flagged("numbers", kind="numeric", storage="number")
    if kind == "numeric" and "whole_dates" in guess.flags:
        return replace(guess, storage="number", date_format=None)
    return guess


def _declared_date(column: ColumnType, texts: list[str]) -> ColumnType:
    date_type = _date_type(column, texts, declared=True)
    if date_type is None:
        first = dates.find_date_format(texts[:1], declared=True)
        if first is None:
            odd_index = 0
        else:
            odd_index = int(np.argmax(np.isnan(dates.date_seconds(texts, first[0]))))
        problem = (
            f"Column {column.name!r} is declared date but has {texts[odd_index]!r}"
        )
        if odd_index:
            problem += f" beside {texts[0]!r}"
        date_hint = (
            "Write all dates in one way, like 2024-01-31, or declare another kind."
        )
        raise InputError(problem, hint=date_hint, code="PG014")
    return date_type.flagged(*column.flags)


def _declared_boolean(
    column: ColumnType, guess: ColumnType, texts_of: Callable[[], list[str]]
) -> ColumnType:
    # Training rows may lack a rare value. The other alone says as little as in a column
    # that is not declared.
    if guess.n_levels == 1 or column.storage == "pair":
        if guess.n_levels == 1:
            return guess
        return column
    texts = texts_of()
    if len(texts) != 2:
        problem = (
            f"Column {column.name!r} is declared boolean but holds {len(texts)} values"
        )
        raise InputError(problem, hint="Declare it categorical.", code="PG014")
    if set(texts) == {"0", "1"} and column.storage == "number":
        return column
    numbers = cells.text_numbers(texts)
    # By their texts, too: two numbers of 19 digits may be one as float64.
    low_text, high_text = (
        sorted(texts)
        if np.isnan(numbers).any()
        else [texts[i] for i in np.lexsort((np.array(texts), numbers))]
    )
    return replace(
        column,
        storage="pair",
        true_level=high_text,
        false_level=low_text,
        date_format=None,
    )


def with_categories(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return a frame in which numbers that are categories, also as text, are texts of a
    categorical type.

    What is then drawn and said of their cells is drawn and said of levels. ``frame``
    stays as it is.
    """
    changed = dict[str, Any]()
    for column_name in schema.of_kind("categorical"):
        if column_name not in frame or isinstance(
            frame[column_name].dtype, pd.CategoricalDtype
        ):
            continue
        distinct = Distinct.of(frame[column_name], column_name)
        numbers = cells.text_numbers(distinct.texts)
        if distinct.texts and not np.isnan(numbers).any():
            in_order = []
            for sorted_index in np.argsort(numbers, kind="stable"):
                in_order.append(distinct.texts[sorted_index])
            texts = distinct.spread(np.array(distinct.texts, dtype=object), None)
            changed[column_name] = pd.Categorical(texts, categories=in_order)
    if changed:
        return frame.assign(**changed)
    return frame


# ---- reading cells by type -----------------------------------------------------------
def read_numbers(
    series: pd.Series[Any], column: ColumnType, codes: MissingCodes
) -> tuple[Floats, Kinds]:
    """Read a column ``(rows,)`` by its type: numbers, seconds, 1 and 0, NaN where
    missing, and the kinds of missing.
    """
    column_name = column.name
    if dates.is_moment(series) and column.storage in ("number", "date"):
        values = dates.series_seconds(series)
        _refuse_other_moments(series, column, values)
        return values, np.where(np.isnan(values), BLANK, PRESENT).astype(np.int16)
    if column.storage == "number" and cells.is_native_number(series.dtype):
        matrix, kinds = cells.native_cells(
            series.to_frame(column_name), [column_name], codes
        )
        return matrix[:, 0], kinds[:, 0]
    distinct = Distinct.of(series, column_name)
    kinds = np.array(
        [codes.kind_of(cell_text, column_name) for cell_text in distinct.texts],
        dtype=np.int16,
    )
    unread = column.facts.get("unread", ())
    if unread:
        kinds[np.isin(distinct.texts, unread) & (kinds == PRESENT)] = BLANK
    if column.storage == "number":
        is_dot_text = np.array(
            [is_dot(distinct_text) for distinct_text in distinct.texts], dtype=bool
        )
        kinds[is_dot_text & (kinds == PRESENT)] = BLANK
    row_kinds = distinct.spread(kinds, BLANK)
    numbers = _numbers_of_texts(distinct, column, kinds, series.index)
    numbers[kinds != PRESENT] = np.nan
    cells.refuse_infinite(numbers[:, None], [column_name], series.index, distinct.index)
    values = distinct.spread(numbers, np.nan)
    if column.storage != "number":
        # A third value in a pair counts as blank.
        row_kinds[np.isnan(values) & (row_kinds == PRESENT)] = BLANK
    return values, row_kinds


#: Dates that stand for no end or no begin are round, and so many seconds apart from all
#: others.
_ROUND_DAYS = ("01-01", "12-30", "12-31")
_FAR = 30 * 365 * 86_400.0


def open_ends(series: pd.Series[Any], column: ColumnType) -> list[str]:
    """Return dates that may stand for none, as they are written: 9999-12-31 or
    1900-01-01, far from all others.

    Examples:
        >>> days = [f"2021-0{month}-15" for month in range(1, 9)]
        >>> cells = pd.Series([*days, "9999-12-31"])
        >>> open_ends(cells, infer_schema(pd.DataFrame({"end": cells}))["end"])
        ['9999-12-31']
    """
    if dates.is_moment(series):
        return []
    seconds, _ = read_numbers(series, column, MissingCodes())
    levels = np.unique(seconds[~np.isnan(seconds)])
    if len(levels) < 3:
        return []
    open_dates = list[str]()
    for end_level, other_levels in ((levels[0], levels[1:]), (levels[-1], levels[:-1])):
        smallest_gap = float(np.abs(other_levels - end_level).min())
        is_far = smallest_gap > max(float(np.ptp(other_levels)), _FAR)
        if is_far and dates.date_text(float(end_level))[5:10] in _ROUND_DAYS:
            row_index = int(np.flatnonzero(seconds == end_level)[0])
            open_dates.append(cells.canonical(series.iloc[row_index]).strip())
    return open_dates


def _refuse_other_moments(
    series: pd.Series[Any], column: ColumnType, seconds: Floats
) -> None:
    """Refuse dates in a column of numbers, and durations in one of dates: their seconds
    count from elsewhere.
    """
    is_duration = series.dtype.kind == "m"
    present = ~np.isnan(seconds)
    if (
        column.kind == "constant"
        or is_duration == (column.storage == "number")
        or not present.any()
    ):
        return
    row_index = int(np.argmax(present))
    expected_cells, odd_moment = (
        ("dates", "a duration") if is_duration else ("numbers", "a date")
    )
    cell_problem = (
        f"Column {column.name!r} must hold {expected_cells} as in training, but holds "
        f"{odd_moment} ({series.iloc[row_index]})"
    )
    raise CellError.at(
        row_index, series.index, cell_problem, "Write it as in training."
    )


def _numbers_of_texts(
    distinct: Distinct, column: ColumnType, kinds: Kinds, index: pd.Index[Any]
) -> Floats:
    """Read different texts by a column's type. Unreadable ones are refused."""
    texts = distinct.texts
    if column.storage == "pair":
        return _pair_of_texts(texts, column.true_level or "", column.false_level or "")
    correction = "Correct the cell"
    if column.storage == "date":
        date_form = column.date_format or dates.ISO
        correction = "Write it like 2024-01-31"
        numbers = dates.read_dates(texts, date_form)
        requirement = f"hold dates, as {date_form}" + " or ISO 8601" * (
            date_form != dates.ISO
        )
    elif column.date_format:
        numbers = dates.duration_seconds(texts)
        requirement = "hold times such as 10:30, or durations"
    elif column.notation is not None:
        numbers = column.notation.read(texts)
        requirement = f"be {unit_said(column.unit)}"
    else:
        is_truth = column.kind == "boolean"
        if is_truth:
            words = _TRUTH
        else:
            words = {"true": 1.0, "false": 0.0}
        numbers = cells.text_numbers(
            [str(words.get(_plain(cell_text), cell_text)) for cell_text in texts]
        )
        requirement = f"be {'0 or 1, or true or false' if is_truth else 'numeric'}"
    bad_positions = np.flatnonzero(np.isnan(numbers) & (kinds == PRESENT))
    if len(bad_positions):
        raise CellError.at(
            int(np.argmax(distinct.index == bad_positions[0])),
            index,
            f"Column {column.name!r} must {requirement}, but holds "
            f"{texts[bad_positions[0]]!r}",
            f"{correction}, leave it empty, or declare it as a code for missing "
            "values.",
        )
    return numbers


def _pair_of_texts(texts: Sequence[str], yes: str, no: str) -> Floats:
    """Read texts as 1 and 0 in any case.

    For pairs such as yes and no, also y, true and 1.
    """
    forms = _plain(yes), _plain(no)
    # A declared pair may differ by nothing else than its capitals.
    form_of = str if forms[0] == forms[1] else _plain
    values = {
        **(_TRUTH if forms in _EVIDENT_PAIRS else {}),
        form_of(yes): 1.0,
        form_of(no): 0.0,
    }
    return np.array(
        [values.get(form_of(cell_text), np.nan) for cell_text in texts],
        dtype=np.float64,
    )


def _plain(text: str) -> str:
    return text.strip().lower()
