"""What each column is: numbers, categories, yes or no, constant, identifier, date, free
text or image, and why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, compress
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_choice, check_kind
from permgrad.base.late import pd
from permgrad.base.sequences import values_at
from permgrad.data.kinds.column import ColumnKind, ColumnType, Kind, Schema
from permgrad.data.kinds.column import kinds as column_kinds
from permgrad.data.read import cells, dates
from permgrad.data.read.amounts import find_notation, notations_of_most
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
from permgrad.data.read.paired_numbers import find_pair, is_pair, is_triple
from permgrad.data.read.whole_numbers import different_and_left, masked
from permgrad.data.read.written_numbers import (
    CURRENCY,
    MEASURE,
    NUMBERS,
    is_dot,
)
from permgrad.data.types import identifiers
from permgrad.data.types.flags import Flag
from permgrad.data.types.identifiers import (
    FEWEST_FOR_IDENTIFIER,
    LONGEST_READ,
    flag_by_target,
    is_free_text,
)

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
    return Schema(tuple(values_at(types, frame.columns)))


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
    if not column.is_stored:
        cells = _without_codes(Distinct.of(series, column.name), column.name, codes)
        n_levels = len(cells.texts)
        n_missing = cells.n_missing
    else:
        values, _ = read_numbers(series, column, codes)
        is_present = ~np.isnan(values)
        n_levels = len(np.unique(values[is_present]))
        n_missing = int((~is_present).sum())
    here = replace(column, n_rows=len(series), n_missing=n_missing, n_levels=n_levels)
    if n_levels > 1 or "declared" in column.flags or not column.of.varies:
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
        check_choice(f"kind of column {column_name!r}", column_kind, column_kinds)
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
    if not column.is_number:
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
    if "mistakes" not in column.flags or changed.reader.keeps_text:
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
    for column_kind in column_kinds.values():
        kind_type = None
        if column_kind.final is None:
            kind_type = column_kind.find(base_type, starts)
        if kind_type is not None:
            return kind_type
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
    for what, is_read in _readings(base, texts, counts):
        odd = [text for text, read in zip(texts, is_read, strict=True) if not read]
        cells_odd = int(counts[~is_read].sum())
        if not cells.are_mistakes(cells_odd, len(odd), base.n_known):
            continue
        clean = masked(series, _cells_with(series, base.name, odd))
        clean_type = _other_type(clean, base.name, codes, is_whole=True)
        if not clean_type.of.is_read or "names" in clean_type.flags:
            return base.flagged(
                *clean_type.flags, kind=clean_type.kind
            )  # so are the others
        is_refused_odd = clean_type.of.is_encoded and clean_type.of.refuses_odd
        if is_refused_odd and clean_type.is_stored:
            flags = [_PLAIN_NUMBERS.get(flag, flag) for flag in clean_type.flags]
            facts = {**clean_type.facts, "unread": odd, "cells_unread": cells_odd}
            facts |= {"what": what, "example": odd[0][:_LONGEST_SHORT]}
            return replace(clean_type, flags=(*flags, "mistakes"), facts=facts)
    return None


def _readings(
    base: ColumnType, texts: Sequence[str], counts: Integers
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
    for column_kind in column_kinds.values():
        if column_kind.plural is not None:
            readers.append((column_kind.plural, partial(column_kind.read, column=base)))
    for what, read in readers:
        # The first tell most columns that are something else.
        if 2 * np.isnan(read(few)).sum() < len(few):
            yield what, ~np.isnan(read(starts))
    for notation in notations_of_most(starts, counts.tolist()):
        # 0.05 beside 5 % may be the same share.
        has_unit = np.array(list(map(notation.has_unit, starts)), dtype=bool)
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
    is_amount = found_type.of.is_amount or not found_type.of.is_read
    dtype = series.dtype
    if not isinstance(dtype, pd.CategoricalDtype):
        return found_type
    if not is_amount or found_type.n_levels <= 1:
        return found_type
    levels = cells.text_numbers(list(map(cells.canonical, series.cat.categories)))
    if dtype.ordered and found_type.date_format is None and (np.diff(levels) > 0).all():
        return found_type.flagged("ordered_type")
    return found_type.flagged(
        "categorical_type", **_AS_LEVELS, n_levels=len(texts), date_format=None
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
    spelled = _several_numbers(texts) or spelled
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


def _several_numbers(texts: Sequence[str]) -> dict[str, Any] | None:
    """Return, as ``several_ways``, that most different cells hold two numbers, such as
    120/80, or three, or None.
    """
    sampled_texts = [cell_text[:_LONGEST_SHORT] for cell_text in texts[:_LOOKED_AT]]
    for count, holds in (("two", is_pair), ("three", is_triple)):
        holding = list(filter(holds, sampled_texts))
        if len(holding) < max(_FEWEST_SPELLED, _SHARE_SPELLED * len(sampled_texts)):
            continue
        if count == "two" and find_pair(holding) is None:
            continue
        facts = {
            "what": f"{count} numbers",
            "how": "in each cell, such as",
            "example": holding[0],
        }
        if odd_texts := [text for text in sampled_texts if not holds(text)]:
            return {**facts, "odd_cells": odd_texts}
        return facts
    return None


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
        every = list(chain.from_iterable(ways_of_texts))
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


class _TextCells(NamedTuple):
    """The distinct texts of a column, but for codes of missing values.

    Attributes:
        texts: Each once.
        counts: How often each stands there, ``(texts,)``.
        n_missing: The number of missing cells.
    """

    texts: list[str]
    counts: Integers
    n_missing: int


def _without_codes(distinct: Distinct, name: str, codes: MissingCodes) -> _TextCells:
    counts = distinct.counts()
    keep_mask = np.array(
        [codes.kind_of(cell_text, name) == PRESENT for cell_text in distinct.texts],
        dtype=bool,
    ) & (counts > 0)
    return _TextCells(
        list(compress(distinct.texts, keep_mask)),
        counts[keep_mask],
        int(len(distinct.index) - counts[keep_mask].sum()),
    )


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
    column_kind = column_kinds.get(column_kinds.get(kind).final or kind)
    # As text, no cell is odd.
    as_text = column_kind.keeps_text
    if guessed is None:
        guessed_now = _other_type(series, name, codes, is_whole=as_text)
    else:
        guessed_now = guessed
    guess = _as_numbers(guessed_now, column_kind)
    fused = "fused" in guess.flags

    def texts() -> list[str]:
        return _without_codes(Distinct.of(series, name), name, codes).texts

    # The texts 007 and 7 are two categories, though one number.
    spelled = (
        as_text
        and guess.reader.is_amount
        and guessed is None
        and not dates.is_moment(series)
    )
    if spelled or (fused and not column_kind.is_amount):
        # As numbers they are fewer than they are.
        guess = replace(guess, n_levels=len(texts()))
    if fused and column_kind.is_amount:
        declared = replace(guess, kind=column_kind.name)
    else:
        declared = guess.flagged("declared", kind=column_kind.name)
        declared = _with_mistakes_of(guess, declared)
    if guess.n_levels == 0:
        return replace(declared, kind="constant")
    if as_text:
        return replace(
            declared,
            storage="text",
            date_format=None,
            true_level=None,
            false_level=None,
        )
    if not column_kind.is_encoded:
        return declared
    return column_kind.declared(declared, guess, texts)


def _as_numbers(guess: ColumnType, column_kind: type[ColumnKind]) -> ColumnType:
    """Return whole numbers that were taken for names, or are declared to be no dates,
    as the numbers that they are.
    """
    if "names" in guess.flags:
        return guess.flagged("numbers", kind="numeric", storage="number")
    if column_kind.is_amount and "whole_dates" in guess.flags:
        return replace(guess, storage="number", date_format=None)
    return guess


def with_categories(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return a frame in which numbers that are categories, also as text, are texts of a
    categorical type.

    What is then drawn and said of their cells is drawn and said of levels. ``frame``
    stays as it is.
    """
    changed = dict[str, Any]()
    for column_name in schema.where(lambda kind: kind.is_levels):
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
    reader = column.reader
    if dates.is_moment(series) and (reader.is_amount or reader.is_moment):
        values = dates.series_seconds(series)
        _refuse_other_moments(series, column, values)
        return values, np.where(np.isnan(values), BLANK, PRESENT).astype(np.int16)
    if reader.is_amount and cells.is_native_number(series.dtype):
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
    if reader.is_amount:
        is_dot_text = np.array(list(map(is_dot, distinct.texts)), dtype=bool)
        kinds[is_dot_text & (kinds == PRESENT)] = BLANK
    row_kinds = distinct.spread(kinds, BLANK)
    numbers = _numbers_of_texts(distinct, column, kinds, series.index)
    numbers[kinds != PRESENT] = np.nan
    cells.refuse_infinite(numbers[:, None], [column_name], series.index, distinct.index)
    values = distinct.spread(numbers, np.nan)
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
    is_usual = is_duration == column.reader.is_amount
    if is_usual or not column.of.varies or not present.any():
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
    reader = column.reader
    numbers = reader.read(distinct.texts, column)
    bad_positions = np.flatnonzero(np.isnan(numbers) & (kinds == PRESENT))
    if len(bad_positions) and reader.refuses_odd:
        raise CellError.at(
            int(np.argmax(distinct.index == bad_positions[0])),
            index,
            f"Column {column.name!r} must {reader.required(column)}, but holds "
            f"{distinct.texts[bad_positions[0]]!r}",
            f"{reader.correction}, leave it empty, or declare it as a code for missing "
            "values.",
        )
    return numbers
