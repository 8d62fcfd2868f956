"""Warnings about the columns that a model learns from, each given once, and about rows in another order."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from permgrad.base.errors import counted, listed, option_of, two_sentences, warn_user
from permgrad.base.late import is_frame, pd
from permgrad.data.read.whole_numbers import FUSED
from permgrad.data.types.as_one import as_one_said
from permgrad.data.types.column_types import ODD_SPELLING, SWAPPED, WHOLE_AS_TEXT, Schema
from permgrad.data.types.duplicates import same_columns
from permgrad.data.types.identifiers import NAMES, SUSPECT

#: Groups of columns, and columns of each, that a sentence names.
_MOST = 5
#: A cell among numbers, dates or times that has no digit, and so hardly is one.
_ODD_WORD = re.compile(r"first odd cell ('[^\d',]+'|\"[^\d\"]+\")$")
#: Whether this thread, or the one that it runs in, was told of the columns in other words.
_told: ContextVar[bool] = ContextVar("permgrad_told_of_columns", default=False)


@contextmanager
def told_of_columns() -> Iterator[None]:
    """Leave out what the body would say of columns: a command has said it of the same table, in its own words."""
    token = _told.set(True)
    try:
        yield
    finally:
        _told.reset(token)


def tell_of_columns(
    frame: pd.DataFrame,
    schema: Schema,
    kinds: Mapping[str, Any],
    *,
    together: Iterable[Sequence[str]] = (),
    found: Mapping[str, Sequence[str]] | None = None,
    suspects: Sequence[str] | None = None,
    rows: str = "training row",
) -> None:
    """Warn of identifiers, odd spellings, too many digits, and columns that determine each other one to one.

    Columns act ``together`` as the user said, or as was ``found``, which is told.
    """
    if _told.get():
        return
    sentences = [*_identifiers_said(schema, kinds, suspects), *several_ways_said(schema, kinds)]
    if names := [column.name for column in schema if column.reason.startswith(NAMES)]:
        sentences.append(
            f"Whole numbers are read as names of things, not as amounts: {listed(names)}. If that is wrong, declare "
            f"kinds={{{names[0]!r}: 'numeric'}}."
        )
    if names := [column.name for column in schema if column.reason == WHOLE_AS_TEXT]:
        sentences.append(
            f"Whole numbers that are stored as text are read as amounts: {listed(names)}. If they name things, declare "
            f"kinds={{{names[0]!r}: 'categorical'}}, or give the column the type category."
        )
    if texts := [name for name in schema.of_kind("text") if name not in kinds]:
        sentences.append(
            f"Columns of free text, from whose words the model learns: {listed(texts)}. To leave one out or read its "
            f"cells as categories, declare kinds={{{texts[0]!r}: 'identifier'}} or kinds={{{texts[0]!r}: "
            "'categorical'}."
        )
    if suspects is not None and (images := schema.of_kind("image")):
        sentences.append(
            f"Images are left out of a table that is read in parts: {listed(images)}. To use them, call fit."
        )
    sentences += fused_said(schema, "Declare kinds={{{0!r}: 'categorical'}}")
    sentences += [as_one_said(found, "To read each by itself, pass groups={}.")] if found else []
    if groups := same_columns(frame, schema, together):
        fix = f"Leave out all but one, or explain them together: pg.explain(..., groups={as_groups(groups)!r})"
        sentences.append(duplicates_said(groups, fix, rows=rows))
    for sentence in sentences:
        warn_user(sentence)


def _identifiers_said(schema: Schema, kinds: Mapping[str, Any], suspects: Sequence[str] | None) -> Iterator[str]:
    """Yield a note on columns that are left out because they number the rows, and on those that may number them."""
    left_out = [name for name in schema.of_kind("identifier") if name not in kinds]
    if left_out:
        usual = "numeric" if schema[left_out[0]].storage == "number" else "categorical"
        yield (
            f"Columns that look like identifiers are left out: {listed(left_out)}. To use one, declare its kind, "
            f"such as kinds={{{left_out[0]!r}: {usual!r}}}."
        )
    running = [column.name for column in schema if column.reason == SUSPECT] if suspects is None else suspects
    running = [name for name in running if name not in kinds]
    if running:
        yield (
            f"Column {listed(running)} has a different number in each row and the name of an identifier, but is used. "
            f"If it is an identifier, leave it out, or declare kinds={{{running[0]!r}: 'identifier'}}."
        )


def scores_said(schema: Schema, scoreless: Collection[str], most: int) -> list[str]:
    """Return notes on columns of text or of more than ``most`` levels for which ``learn`` found no score that helps."""
    texts, images = ([name for name in scoreless if schema[name].kind == kind] for kind in ("text", "image"))
    counts = {name: schema[name].n_levels for name in scoreless if name not in (*texts, *images)}
    pooled = [f"{name} ({count - most:,} of {count:,})" for name, count in counts.items()]
    why = "adds nothing on rows left out"
    reasons = {
        f"free text that is not used, because it {why}": texts,
        f"images that are not used, because what describes them {why}": images,
        f"rare levels that are one category, because telling them apart {why}": pooled,
    }
    return [f"{fact}: {listed(names)}." for fact, names in reasons.items() if names]


def tell_of_scores(schema: Schema, scoreless: Collection[str], most: int) -> None:
    """Warn of the columns that ``scores_said`` names."""
    for sentence in () if _told.get() else scores_said(schema, scoreless, most):
        warn_user(sentence[0].upper() + sentence[1:])


def several_ways_said(schema: Schema, kinds: Mapping[str, Any]) -> list[str]:
    """Return notes on dates whose day and month could be swapped, and on columns that are text by spelling."""
    swapped = [
        f"Column {column.name!r} is read as {column.date_format}, but day and month could be swapped in all its "
        "cells. If that is wrong, write them as 2024-01-31."
        for column in schema
        if SWAPPED in column.reason and kinds.get(column.name, "date") == "date"
    ]
    said = []
    for column in schema:
        if ODD_SPELLING in column.reason and column.name not in kinds:
            what = column.reason[column.reason.index(ODD_SPELLING) :]
            word = _ODD_WORD.search(what)
            fix = "declare a cell that means missing as a code (--na, in Python na=)"
            if what.startswith(f"{ODD_SPELLING}dates"):
                fix = f"declare it a date ({option_of('--kind', column.name)}=date, in Python kinds=)"
            fix = f"Write all its cells alike (1234.5, 2024-01-31), or {fix}"
            if word is not None:
                code = option_of("--na", ast.literal_eval(word[1]))
                fix = f"If {word[1]} means missing, pass {code} (in Python na=[{word[1]}])"
            used = "left out like an identifier" if column.kind == "identifier" else "read as categories"
            said.append(f"Column {column.name!r} {what}, and is {used}. {fix}.")
    return swapped + said


def fused_columns(schema: Schema, but_for: Collection[str] = ()) -> dict[str, str]:
    """Return the columns of which different numbers are equal as float64, with a note on each."""
    return {
        column.name: f"{column.name} ({column.reason.partition('; ')[2].removesuffix(FUSED)})"
        for column in schema
        if column.reason.endswith(FUSED) and column.kind in ("numeric", "constant") and column.name not in but_for
    }


def fused_said(schema: Schema, fix: str, but_for: Collection[str] = ()) -> list[str]:
    """Return the sentence that names these columns. ``{0}`` in ``fix`` is the first one's name, ``{1}`` its option."""
    columns = fused_columns(schema, but_for)
    if not columns:
        return []
    fact = f"Some numbers differ only in digits that float64 cannot hold: {listed(list(columns.values()))}"
    first = next(iter(columns))
    fix = fix.format(first, option_of("--kind", first))
    hint = f"{fix}, or subtract a number from all of them, such as the smallest."
    return [two_sentences(fact, hint)]


def duplicates_said(groups: Sequence[Sequence[str]], fix: str, *, rows: str = "training row") -> str:
    """Return the sentence that names groups of such columns. ``fix`` says what to do, ``rows`` which rows they were."""
    shown = "; ".join(
        " = ".join(group[:_MOST]) + (f" and {len(group) - _MOST} more" if len(group) > _MOST else "")
        for group in groups[:_MOST]
    )
    more = f" and {counted(len(groups) - _MOST, 'more group')}" if len(groups) > _MOST else ""
    fact = f"These columns determine each other one to one in every {rows}, so importance is split between them: "
    return two_sentences(f"{fact}{shown}{more}", fix)


def as_groups(groups: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the first group under the name of its first column, as users are shown how to declare it."""
    return {groups[0][0]: list(groups[0])}


# ---- rows -----------------------------------------------------------------------------------------------------------
def tell_of_other_order(X: Any, **beside: Any) -> None:
    """Warn where a pandas object beside a frame ``X`` has the same labels of its rows in another order."""
    if not is_frame(X):
        return
    for name, other in beside.items():
        if not isinstance(other, (pd.DataFrame, pd.Series)) or not _same_in_other_order(X.index, other.index):
            continue
        sort = f"pass {name}.loc[X.index]" if X.index.is_unique else "sort both alike"
        row = int(np.argmax(np.asarray(X.index != other.index)))
        warn_user(
            f"X and {name} are matched by position, but their indexes hold the same labels in another order (row "
            f"{row} is {X.index[row]} in X and {other.index[row]} in {name})",
            f"{sort}, or call reset_index(drop=True) on both if the labels mean nothing.",
        )


def _same_in_other_order(one: pd.Index[Any], other: pd.Index[Any]) -> bool:
    if len(one) != len(other) or one.nlevels != other.nlevels or one.equals(other) or not other.isin(one).all():
        return False
    return (one.is_unique and other.is_unique) or Counter(one) == Counter(other)
