"""Columns of text that would be numbers or dates if they were written in one way: not passed over in silence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import warn_user
from permgrad.data.read.cells import DATE_FORMATS, date_seconds, text_numbers
from permgrad.data.read.written_numbers import ways_to_read

if TYPE_CHECKING:
    from permgrad.data.types.column_types import Schema

#: What the reason of such a column says.
_MARK = "looks like "
#: What the reason of a column of dates says that fit two forms.
SWAPPED = "the day and the month could be swapped"
_SHARE, _LOOKED_AT = 0.8, 2000
#: What may stand around a number: a currency, a per cent sign, the brackets or the last minus of accountants.
_UNIT = r"[€$£¥%]|EUR|USD|GBP|CHF"
_AROUND = re.compile(rf"\(?\s*(?P<before>{_UNIT})?\s*(?P<number>[^()]*?)\s*(?P<after>{_UNIT}|-)?\s*\)?")
#: A day with all its parts, so that neither plain numbers nor codes such as 20-1 are dates.
_DAY = re.compile(r"\s*(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{2,4}|.*[A-Za-z]{3,9}.*\d{4})")


def numbers_in_one_way(texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Say which texts are numbers if all are written as most of them are: in points, in commas, with thousands.

    Examples:
        >>> numbers_in_one_way(["1,5", "1.234,5", "2.5", "n/a"]).tolist()
        [True, True, False, False]
    """
    plain = ~np.isnan(text_numbers(texts))
    looked_at = [ways_to_read(text.strip()) for text in texts[:_LOOKED_AT]]
    every = [way for ways in looked_at for way in ways]
    if not every or 2 * plain[:_LOOKED_AT].sum() >= len(looked_at):
        return plain
    usual = max(dict.fromkeys(every), key=every.count)
    if len(texts) > _LOOKED_AT and 2 * every.count(usual) >= len(looked_at):
        looked_at = [ways_to_read(text.strip()) for text in texts]
    written = np.zeros(len(texts), dtype=bool)
    written[: len(looked_at)] = [usual in ways for ways in looked_at]
    return written if written.sum() > plain.sum() else plain


def several_ways(texts: Sequence[str]) -> str | None:
    """Say that most of a column's different cells are numbers, or dates, in whatever spelling; None: they are not.

    Examples:
        >>> several_ways(["1,5", "2,5", "3.5", "4,5"])
        "looks like numbers written in several ways, first odd cell '3.5'"
        >>> several_ways(["red", "green"]) is None
        True
    """
    looked_at = list(texts[:_LOOKED_AT])
    if not looked_at:
        return None
    for what, ways_of_texts in (("numbers", _number_ways(looked_at)), ("dates", _date_ways(looked_at))):
        if sum(map(bool, ways_of_texts)) >= _SHARE * len(ways_of_texts):
            every = [way for ways in ways_of_texts for way in ways]
            usual = max(dict.fromkeys(every), key=every.count)
            odd = [text for text, ways in zip(looked_at, ways_of_texts, strict=True) if usual not in ways]
            if odd:
                return f"{_MARK}{what} written in several ways, first odd cell {odd[0]!r}"
            return f"{_MARK}{what} with other signs, such as {looked_at[0]!r}"
    return None


def tell_of_several_ways(schema: Schema, kinds: Mapping[str, Any]) -> None:
    """Warn of columns that would be numbers or dates if all their cells were written alike."""
    for sentence in several_ways_said(schema, kinds):
        warn_user(sentence)


def several_ways_said(schema: Schema, kinds: Mapping[str, Any]) -> list[str]:
    """Return for each such column the sentence that names it, its first odd cell and what to do.

    And for each column of dates of which nobody can tell the day from the month.
    """
    swapped = [
        f"dates should tell the day from the month, however column {column.name!r} is read as {column.date_format} "
        "and in all its cells the two could be swapped; if that is wrong write them as 2024-01-31"
        for column in schema
        if SWAPPED in column.reason and kinds.get(column.name, "date") == "date"
    ]
    return swapped + [
        "numbers and dates should be written plainly and in one way, however column "
        f"{column.name!r} {column.reason[column.reason.index(_MARK) :]}, and is "
        f"{'left out like an identifier' if column.kind == 'identifier' else 'taken for categories'}; write all "
        "its cells alike (1234.5, 2024-01-31), or declare a cell that means missing as a code"
        for column in schema
        if _MARK in column.reason and column.name not in kinds
    ]


def _number_ways(texts: Sequence[str]) -> list[list[str]]:
    ways = []
    for text in texts:
        parts = _AROUND.fullmatch(text.strip())
        around = "" if parts is None else f"{parts['before'] or ''} {parts['after'] or ''} {text.strip()[:1] == '('}"
        ways.append([] if parts is None else [f"{way} {around}" for way in ways_to_read(parts["number"])])
    return ways


def _date_ways(texts: Sequence[str]) -> list[list[str]]:
    days = [text.strip() if _DAY.match(text) else "" for text in texts]
    if sum(map(bool, days)) < _SHARE * len(texts):
        return [[] for _ in texts]
    read = np.stack([~np.isnan(date_seconds(days, form)) for form in DATE_FORMATS])
    return [[form for form, hit in zip(DATE_FORMATS, hits, strict=True) if hit] for hits in read.T.tolist()]
