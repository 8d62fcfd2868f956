"""What is found of columns, and the one text of each finding, in Python and on the
command line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from permgrad.base.errors import (
    by_count,
    counted,
    listed,
    option_of,
    printable,
    warn_user,
)
from permgrad.base.late import is_frame, pd
from permgrad.data.kinds.categorical import Categorical
from permgrad.data.kinds.column import ColumnType, Schema
from permgrad.data.read.cells import MissingCodes
from permgrad.data.types.as_one import same_columns
from permgrad.data.types.column_types import read_numbers
from permgrad.data.types.identifiers import may_name_rows, may_weigh

#: Groups of columns, and columns of each, that a sentence names.
_MOST = 5
#: A cell among numbers, dates or times that has no digit, and so hardly is one.
_ODD_WORD = re.compile(r"\D+")
#: So many words among numbers may mean missing.
_MOST_WORDS = 12
#: How the cells of a column may be written alike, by what they are.
_ALIKE = {
    "numbers": "1234.5",
    "dates": "2024-01-31",
    "times": "1:30:00",
    "three numbers": "10, 20 and 30 in three columns",
    "two numbers": "120 and 80 in two columns (pg.read_table makes them of a file)",
}
#: Whether this thread, or the one that it runs in, was told of the columns by a
#: command.
_told: ContextVar[bool] = ContextVar("permgrad_told_of_columns", default=False)

#: The text of each kind of finding. ``{columns}`` are its columns, other fields its
#: facts and what ``_Fixes`` says.
_TEXTS = {
    "identifiers": "Columns that look like identifiers are left out: {columns}. To use "
    "one, pass {usual}{kept}",
    "swapped": (
        "Column {column!r} is read as {date_format}, but day and month could be "
        "swapped in all its cells. If that is wrong, write them as 2024-01-31."
    ),
    "spelled": (
        "Column {column!r} looks like {what} {how} {example!r}, and is {used}. Write "
        "all its cells alike, such as "
        "{alike}, or pass a cell that means missing as a code ({na})."
    ),
    "spelled_word": (
        "Column {column!r} looks like {what} but for {words}, and is {used}. If "
        "{these} missing, pass {na}"
    ),
    "mistakes": (
        "Column {column!r} holds {what}, and {count} {that} as missing: {cells}. To "
        "read it as categories, pass {categorical}"
    ),
    "names": (
        "Whole numbers are read as names of things, not as amounts: {columns}. If they "
        "are amounts, pass {numeric}"
    ),
    "also_levels": (
        "Each value is read as a level, too, because equal ones are alike in the "
        "target beyond their neighbours: {columns}. If rows with one value belong "
        "together, pass {row_group} and for amounts alone {numeric}"
    ),
    "whole_texts": (
        "Whole numbers that are stored as text are read as amounts: {columns}. If they "
        "name things, pass {categorical}"
    ),
    "padded": "Read as numbers despite leading zeros: {columns}. If they are codes, "
    "pass {categorical}",
    "units": "Read as numbers with a sign or unit: {columns}. For categories, pass "
    "{categorical}",
    "free_text": (
        "Columns of free text, {reader}: {columns}. Pass {identifier} to leave one "
        "out, or {categorical} to read its cells as categories."
    ),
    "maybe_rows": (
        "Numbers that all differ, and may only name the rows: {columns}. If they do, "
        "pass {names_rows}"
    ),
    "maybe_weight": (
        "Features that may say how many cases a row stands for: {columns}. If one "
        "does, pass {weight}"
    ),
    "many_levels": (
        "Categories with thousands of values: {columns}. Pass {identifier} if they "
        "only name rows, or {categorical} to use them as they are."
    ),
    "unread_images": "Images are left out of a table that is read in parts: {columns}. "
    "To use them, call fit.",
    "unused_texts": "Free text that is not used, because it adds nothing on rows left "
    "out: {columns}.",
    "unused_images": "Images that are not used, because what describes them adds "
    "nothing on rows left out: {columns}.",
    "pooled": "Rare levels that are one category, because telling them apart adds "
    "nothing on rows left out: {columns}.",
    "constant": "Constant in the training rows, hence without effect: {columns}.",
    "not_features": "Not features by the data card: {columns}.",
    "maybe_missing": "Maybe codes for missing cells: {columns}. If so, pass {na}",
    "fused": (
        "Some numbers differ only in digits that float64 cannot hold: {columns}. Pass "
        "{categorical}, or subtract a number from all of them, such as the smallest."
    ),
    "as_one": (
        "Columns that encode one variable, or repeat another column, are one feature: "
        "{columns}. To read each by itself, {apart}"
    ),
    "duplicates": (
        "These columns determine each other one to one in every {rows}, so importance "
        "is split between them: "
        "{columns}. Leave out all but one, or explain them together: {together}."
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something that a user should know of columns.

    Attributes:
        kind: which text it has.
        columns: names of the columns.
        facts: what else its text names. ``shown``: the columns with more than their
            names. ``codes``: for missing.
    """

    kind: str
    columns: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def text(self, *, command: bool = False) -> str:
        """Return the sentences of the finding: of a ``command`` with its options, else
        with arguments of Python.
        """
        shown = self.facts.get("shown", self.columns)
        sentences = _TEXTS[self.kind].format_map(
            {
                "column": self.columns[0],
                "columns": listed(shown, self.facts.get("most", 6)),
                **_fixes(self, command=command),
                **self.facts,
            }
        )
        # A command that is copied has no full stop behind it.
        if not command and not sentences.endswith("."):
            sentences += "."
        return printable(sentences)


def _fixes(finding: Finding, *, command: bool) -> dict[str, str]:
    """Return what a user may pass: options of the command line, or arguments."""
    column_name = finding.columns[0]
    codes = list(finding.facts.get("codes", ()))
    groups = finding.facts.get("groups", {})
    kinds = ("numeric", "categorical", "identifier")
    if command:
        fixes = {}
        for kind_name in kinds:
            fixes[kind_name] = f"{option_of('--kind', column_name)}={kind_name}"
        groups_json = json.dumps(groups, ensure_ascii=False)
        other_fixes = {
            "row_group": option_of("--row-group", column_name),
            "weight": option_of("--weight", column_name),
            "names_rows": option_of("--id", column_name),
            "na": " ".join(na_options(codes, finding)) if codes else "--na",
            "apart": "pass --groups none",
            "kept": " or, to keep them in the predictions, "
            f"{option_of('--id', column_name)}",
            "together": f"put them in a JSON file {groups_json} and pass it with "
            "--groups",
        }
    else:
        fixes = {}
        for argument_kind in kinds:
            fixes[argument_kind] = f"kinds={{{column_name!r}: {argument_kind!r}}}"
        other_fixes = {
            "row_group": f"row_groups={column_name!r}",
            "names_rows": fixes["identifier"],
            "weight": f"sample_weight=X[{column_name!r}], and leave it out of X",
            "na": _na_argument(codes, finding) if codes else "na=",
            "apart": "pass groups={}",
            "kept": "",
            "together": f"pg.explain(..., groups={groups!r})",
        }
    return (
        fixes
        | other_fixes
        | {"usual": fixes[finding.facts.get("usual_kind", "numeric")]}
    )


def na_options(codes: Sequence[Any], finding: Finding) -> list[str]:
    """Return the options that declare codes: of single columns where the finding says
    so.
    """
    codes_by_column: Mapping[str, Sequence[Any]] = finding.facts.get("by_column", {})
    if finding.kind == "spelled_word":
        codes_by_column = {finding.columns[0]: codes}
    if not codes_by_column:
        return [option_of("--na", ",".join(map(str, codes)))]
    return [
        option_of("--na", code_text)
        for column_name in codes_by_column
        for code_text in column_codes(column_name, codes_by_column[column_name])
    ]


def column_codes(name: str, codes: Sequence[Any]) -> list[str]:
    """Return what ``--na`` takes for the codes of one column.

    One with a comma stands alone.

    Examples:
        >>> column_codes("age", ["Refused", "No, never", -9])
        ['age=Refused,-9', 'age=No, never']
    """
    texts = list(map(str, codes))
    short = [plain_text for plain_text in texts if "," not in plain_text]
    if short:
        joined = [f"{name}={','.join(short)}"]
    else:
        joined = []
    return [
        *joined,
        *(f"{name}={comma_text}" for comma_text in texts if "," in comma_text),
    ]


def _na_argument(codes: Sequence[Any], finding: Finding) -> str:
    """Return the argument of Python that declares codes."""
    codes_by_column = finding.facts.get("by_column", {})
    if finding.kind == "spelled_word":
        codes_by_column = {finding.columns[0]: list(codes)}
    if codes_by_column:
        return f"na={[codes_by_column]!r}"
    return f"na={list(codes)!r}"


# ---- what is found -------------------------------------------------------------------
def findings_of(schema: Schema, but_for: Collection[str] = ()) -> list[Finding]:
    """Return what the types of columns say that a user should know, of all columns
    ``but_for`` some.
    """
    columns = [column for column in schema if column.name not in but_for]
    identifiers = []
    for column_type in columns:
        if not column_type.of.is_read and "declared" not in column_type.flags:
            identifiers.append(column_type)
    usual = Categorical.name
    if identifiers:
        usual = identifiers[0].reader.name
    column_findings = [
        Finding("identifiers", _names(identifiers), {"usual_kind": usual})
    ]
    for flagged_column in columns:
        if "swapped" in flagged_column.flags:
            column_findings.append(
                Finding(
                    "swapped",
                    (flagged_column.name,),
                    {"date_format": flagged_column.date_format},
                )
            )
        if "spelled" in flagged_column.flags:
            column_findings.append(_spelled(flagged_column))
        if "mistakes" in flagged_column.flags:
            column_findings.append(_mistakes(flagged_column))
    column_findings += [
        Finding(
            column_flag,
            _names(
                named_column
                for named_column in columns
                if column_flag in named_column.flags
            ),
        )
        for column_flag in ("names", "whole_texts")
    ]
    written = []
    for written_column in columns:
        if "written" in written_column.flags and written_column.unit:
            written.append(written_column)
    column_findings.append(
        Finding(
            "units",
            _names(written),
            {
                "shown": [
                    f"{unit_column.name} ({unit_column.unit})"
                    for unit_column in written
                ]
            },
        )
    )
    texts = _names(
        text_column for text_column in columns if "free_text" in text_column.flags
    )
    column_findings.append(
        Finding(
            "free_text",
            texts,
            {"reader": "whose words the model reads where they help"},
        )
    )
    fused = fused_columns(schema, but_for)
    column_findings.append(
        Finding("fused", tuple(fused), {"shown": list(fused.values())})
    )
    return [finding for finding in column_findings if finding.columns]


def _names(columns: Iterable[ColumnType]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _spelled(column: ColumnType) -> Finding:
    """Return the finding of a column that is text by its spelling."""
    if not column.of.is_read:
        treatment = "left out like an identifier"
    else:
        treatment = "read as categories"
    facts = {**column.facts, "used": treatment, "alike": _ALIKE[column.facts["what"]]}
    words = odd_words(column)
    if not words:
        return Finding("spelled", (column.name,), facts)
    facts["words"] = listed(words, _MOST_WORDS, show=repr)
    facts["these"] = by_count(len(words), "it means", "they mean")
    return Finding("spelled_word", (column.name,), facts | {"codes": words})


def _mistakes(column: ColumnType) -> Finding:
    """Return the finding of a few cells that the type of a column cannot read."""
    count = column.facts["cells_unread"]
    facts = {
        "what": column.facts["what"],
        "count": counted(count, "cell"),
        "that": by_count(count, "that is none counts", "that are none count"),
        "cells": listed(column.facts["unread"], _MOST, show=repr),
    }
    return Finding("mistakes", (column.name,), facts)


def odd_words(column: ColumnType) -> list[str]:
    """Return the cells of a column of numbers, dates or times that are words, if no
    others keep it from being read.
    """
    odd_cells = list(column.facts.get("odd_cells", ()))
    if not 0 < len(odd_cells) <= _MOST_WORDS or not all(
        map(_ODD_WORD.fullmatch, odd_cells)
    ):
        return []
    return odd_cells


def all_findings(
    frame: pd.DataFrame,
    schema: Schema,
    *,
    together: Iterable[Sequence[str]] = (),
    found_groups: Mapping[str, Sequence[str]] | None = None,
    rows: str = "training row",
    codes: MissingCodes | None = None,
) -> Iterator[Finding]:
    """Yield what is found of the columns of ``rows``, of which some act ``together`` or
    were ``found_groups`` to be one.

    ``codes``: those that mean missing.
    """
    yield from findings_of(schema)
    amounts = []
    for column_type in schema:
        if "declared" not in column_type.flags:
            amounts.append(column_type)
    yield from roles_found(frame, amounts, codes)
    yield from as_one_found(found_groups or {})
    yield from duplicates_found(frame, schema, together, rows)


def roles_found(
    frame: pd.DataFrame,
    columns: Iterable[ColumnType],
    codes: MissingCodes | None = None,
) -> list[Finding]:
    """Return which ``columns`` of numbers may be no features: names of rows, and
    weights.

    ``codes``: those that mean missing.
    """
    if codes is None:
        codes = MissingCodes()
    # Columns of a frame may have names that are no text.
    positions = {str(label): index for index, label in enumerate(frame.columns)}
    names = list[str]()
    weights = list[str]()
    for column in columns:
        if not column.is_number:
            continue
        cells = frame.iloc[:, positions[column.name]]
        values, _ = read_numbers(cells, column, codes)
        if may_name_rows(column.name, values):
            names.append(column.name)
        elif may_weigh(column.name, values):
            weights.append(column.name)
    role_findings = [
        Finding("maybe_rows", tuple(names)),
        Finding("maybe_weight", tuple(weights)),
    ]
    return [finding for finding in role_findings if finding.columns]


def fused_columns(schema: Schema, but_for: Collection[str] = ()) -> dict[str, str]:
    """Return the columns of which different numbers are equal as float64, with a note
    on each.
    """
    return {
        column.name: f"{column.name} ({column.facts['different']:,} different values "
        f"become {column.facts['left']:,})"
        for column in schema
        if "fused" in column.flags and column.is_stored and column.name not in but_for
    }


def without_scores(
    schema: Schema, scoreless: Collection[str], most: int
) -> list[Finding]:
    """Return which columns of text or of more than ``most`` levels have no score that
    helps, as ``learn`` found.
    """
    texts, images = (
        tuple(
            scoreless_name
            for scoreless_name in scoreless
            if schema[scoreless_name].of.modality == modality
        )
        for modality in ("text", "photo")
    )
    counts = {}
    for pooled_name in scoreless:
        if pooled_name not in (*texts, *images):
            counts[pooled_name] = schema[pooled_name].n_levels
    pooled = []
    for counted_name, count in counts.items():
        pooled.append(f"{counted_name} ({count - most:,} of {count:,})")
    unused_findings = [Finding("unused_texts", texts), Finding("unused_images", images)]
    unused_findings.append(Finding("pooled", tuple(counts), {"shown": pooled}))
    return [finding for finding in unused_findings if finding.columns]


def as_one_found(groups: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return what ``columns_as_one`` found, if anything."""
    shown = "; ".join(
        f"{feature_name} ({listed(columns, 2 * _MOST)})"
        for feature_name, columns in list(groups.items())[:_MOST]
    )
    if len(groups) > _MOST:
        further_text = f"; and {len(groups) - _MOST} more"
    else:
        further_text = ""
    if groups:
        return [Finding("as_one", tuple(groups), {"columns": f"{shown}{further_text}"})]
    return []


def duplicates_found(
    frame: pd.DataFrame,
    schema: Schema,
    together: Iterable[Sequence[str]],
    rows: str = "training row",
) -> list[Finding]:
    """Return which columns determine each other, as ``same_columns`` says, if any do.

    ``rows``: which these are.
    """
    groups = same_columns(frame, schema, together)
    if groups:
        return [of_duplicates(groups, rows)]
    return []


def of_duplicates(groups: Sequence[tuple[str, ...]], rows: str) -> Finding:
    """Return the finding that names groups of such columns."""
    shown = "; ".join(
        " = ".join(group[:_MOST])
        + (f" and {len(group) - _MOST} more" if len(group) > _MOST else "")
        for group in groups[:_MOST]
    )
    if len(groups) > _MOST:
        further_text = f" and {counted(len(groups) - _MOST, 'more group')}"
    else:
        further_text = ""
    first = {groups[0][0]: list(groups[0])}
    return Finding(
        "duplicates",
        groups[0],
        {"columns": f"{shown}{further_text}", "groups": first, "rows": rows},
    )


# ---- telling -------------------------------------------------------------------------
@contextmanager
def told_of_columns() -> Iterator[None]:
    """Leave out what the body would say of columns: a command has said it of the same
    table.
    """
    token = _told.set(True)
    try:
        yield
    finally:
        _told.reset(token)


def tell_of_columns(findings: Iterable[Finding]) -> None:
    """Warn of what was found of columns, unless a command has said it."""
    for finding in () if _told.get() else findings:
        warn_user(finding.text())


# ---- rows ----------------------------------------------------------------------------
def tell_of_other_order(X: Any, **row_objects: Any) -> None:
    """Warn where a pandas object beside a frame ``X`` has the same labels of its rows
    in another order.
    """
    if not is_frame(X):
        return
    for object_name, other_object in row_objects.items():
        if not isinstance(
            other_object, (pd.DataFrame, pd.Series)
        ) or not _same_in_other_order(X.index, other_object.index):
            continue
        if X.index.is_unique:
            sort_hint = f"pass {object_name}.loc[X.index]"
        else:
            sort_hint = "sort both alike"
        row_position = int(np.argmax(np.asarray(X.index != other_object.index)))
        warn_user(
            f"X and {object_name} are matched by position, but their indexes hold the "
            "same labels in another order (row "
            f"{row_position} is {X.index[row_position]} in X and "
            f"{other_object.index[row_position]} in {object_name})",
            f"{sort_hint}, or call reset_index(drop=True) on both if the labels mean "
            "nothing.",
        )


def _same_in_other_order(
    first_index: pd.Index[Any], second_index: pd.Index[Any]
) -> bool:
    if (
        len(first_index) != len(second_index)
        or first_index.nlevels != second_index.nlevels
        or first_index.equals(second_index)
        or not second_index.isin(first_index).all()
    ):
        return False
    return (first_index.is_unique and second_index.is_unique) or Counter(
        first_index
    ) == Counter(second_index)
