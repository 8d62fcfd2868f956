"""How columns differ between two samples of rows, in words of the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from permgrad.base.numerals import percent
from permgrad.data.kinds.column import reader_of
from permgrad.data.read.dates import date_text
from permgrad.pages.words import labels_of, listed, names_apart, value_text

#: Columns that are described of those that moved, and further ones that are named.
_MOVED = 3


def drifted_words(
    column_drift: Mapping[str, Any], sides: tuple[str, str] = ("training", "test")
) -> str:
    """Say, without a full stop, where a column differs most between training and test
    rows, or between ``sides``.
    """
    if column_drift["sampled"]:
        about = "about "
    else:
        about = ""
    first, second = sides
    shares = (
        f"{about}{percent(column_drift['test'])} of the {second} rows and "
        f"{about}{percent(column_drift['train'])} of the {first} rows"
    )
    if column_drift["side"] == "among":
        return f"{shares} are {_any_of(column_drift['levels'])}"
    if column_drift["side"] in ("missing", "present"):
        return (
            f"{shares} have {'no' if column_drift['side'] == 'missing' else 'a'} value"
        )
    if reader_of(column_drift["kind"]).is_moment:
        side = (
            column_drift["side"].replace("at most", "up to").replace("above", "after")
        )
        return f"{shares} are {side} {date_text(column_drift['value'])}"
    boundary = value_text(float(column_drift["value"]))
    return f"{shares} are {column_drift['side']} {boundary}"


def _any_of(levels: Sequence[str]) -> str:
    """Name levels, up to four of them."""
    names = labels_of(levels, 30)
    if len(names) > 4:
        names = [*names[:3], f"one of {len(names) - 3} others"]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def moved_words(
    drift: Sequence[Mapping[str, Any]], sides: tuple[str, str] = ("old", "new")
) -> str:
    """Say which columns differ clearly between two samples of rows, and how far, with
    levels that are new.

    Examples:
        >>> moved_words([])
        'No column differs clearly between the old and the new rows.'
    """
    clear = [column_drift for column_drift in drift if column_drift["clear"]]
    first, second = sides
    between = f"between the {first} and the {second} rows"
    if not clear:
        return f"No column differs clearly {between}."
    show = names_apart(clear_column["column"] for clear_column in clear)
    column_sentences = []
    for shown_column in clear[:_MOVED]:
        column_sentences.append(
            f"{show(shown_column['column'])}: {_moved(shown_column, sides)}"
        )
    names = listed(
        map(show, [further_column["column"] for further_column in clear[_MOVED:]]),
        _MOVED,
    )
    more = f" Also {names}." * bool(names)
    if len(clear) == 1:
        differ = "differs"
    else:
        differ = "differ"
    count = f"{len(clear):,} of {len(drift):,} columns {differ}"
    if len(drift) == 1:
        count = "The column differs"
    return f"{count} clearly {between}. {'; '.join(column_sentences)}.{more}"


def _moved(column_drift: Mapping[str, Any], sides: tuple[str, str]) -> str:
    """Say how a column differs: where most, its medians, and its new levels."""
    words = drifted_words(column_drift, sides)
    new = column_drift.get("new") or ()
    if len(new) == 1:
        are_new = "is new"
    else:
        are_new = "are new"
    if new and set(new) == set(column_drift["levels"]):
        if len(new) == 1:
            levels = "a new level"
        else:
            levels = "new levels"
        return (
            f"{percent(column_drift['test'])} of the {sides[1]} rows are "
            f"{_any_of(new)}, {levels}"
        )
    if new:
        words += f", and {_any_of(new).replace(' or ', ' and ')} {are_new}"
    middle = column_drift.get("typical")
    if column_drift["kind"] == "number" and middle is not None and None not in middle:
        before, after = map(value_text, middle)
        if before != after:
            words += f", and the median is {after} instead of {before}"
    return words
