"""What a run says of the columns of its table before it learns from them: one sentence
for each kind of finding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import by_count, listed
from permgrad.base.numerals import percent
from permgrad.data.kinds.column import Kind, Schema, kinds
from permgrad.data.read.cells import (
    MissingCodes,
    canonical,
    is_native_number,
    text_numbers,
)
from permgrad.data.read.reading import Written
from permgrad.data.read.table import blank_codes, unused_codes
from permgrad.data.tasks import of_counts
from permgrad.data.types.column_types import open_ends
from permgrad.data.types.findings import (
    Finding,
    as_one_found,
    column_codes,
    duplicates_found,
    findings_of,
    fused_columns,
    odd_words,
    roles_found,
)
from permgrad.data.types.identifiers import maybe_missing, names_things
from permgrad.evaluation.kept_together import rows_together
from permgrad.evaluation.target_signs import Sign, target_signs
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_splitting import AS_TEXT, SplitTable
from permgrad.runs.run.run_table import LeftOut, ReadTable

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard

#: So many levels make a category a burden.
_MANY_LEVELS = 1000
#: Whole numbers of which this share is 0, and with more levels than so many, look like
#: counts.
_ZEROS = 0.1
_LEAST_COUNT = 3
#: Features whose values may name persons, rather than shops: so many values, and this
#: share of the rows.
_FEWEST_NAMED = 20
_SHARE_NAMED = 0.1


def notes_on_cells(
    request: RunRequest,
    target: str,
    rows: SplitTable,
    written: Written,
    codes: Sequence[Any],
) -> list[str]:
    """Note codes for missing values that never occur, and a target that is written like
    codes.
    """
    notes = []
    if request.na:
        missing_codes = list(codes)
        first, *further = [
            unused_codes(table, missing_codes)
            for table in (written.frame, *rows.files.values())
        ]
        unused = []
        for missing_code in first:
            if all(missing_code in codes for codes in further):
                unused.append(missing_code)
        if unused:
            notes += [
                f"--na codes that never occur: {listed(unused, show=repr)}. Check --na."
            ]
    if rows.task.has_classes:
        alike = written.alike.get(target)
    else:
        alike = None
    if alike is not None:
        notes.append(
            f"classes of {target!r} that differ only in leading zeros, such as "
            f"{alike[0]!r} and {alike[1]!r}, are read "
            f"as one number. If they differ, {AS_TEXT}."
        )
    elif target in written.padded:
        notes.append(
            f"the target {target!r} has leading zeros like a code, but is read as "
            f"numbers. If it holds codes, {AS_TEXT}."
        )
    return notes


def notes_on_counts(request: RunRequest, target: str, rows: SplitTable) -> list[str]:
    """Name ``--task counts`` for a target that looks like counts with many zeros, and
    say what an offset does.
    """
    if request.offset is not None:
        offset_words = (
            f"{request.offset!r} is the logarithm of each row's exposure, "
            f"and {target!r} is divided by the exposure"
        )
        return [
            (
                f"{offset_words}: predictions, errors and importances are those of "
                "rates. Rows count by their exposure."
            )
        ]
    y = rows.truths["train"]
    if (
        request.task != "auto"
        or y.dtype.kind not in "if"
        or (y < 0).any()
        or (y != np.rint(y)).any()
    ):
        return []
    zeros = float((y == 0).mean())
    largest_share = float((y == y.max()).mean())
    # Codes of classes have no zeros, or few levels, or as many rows in the last as in
    # the first.
    if zeros < _ZEROS or len(np.unique(y)) <= _LEAST_COUNT or largest_share > zeros / 2:
        return []
    looks = (
        f"the target {target!r} looks like a count: whole numbers, "
        f"{percent(zeros)} of them 0"
    )
    if rows.task.has_classes:
        training_words = "predicted as classes"
    else:
        training_words = "trained and judged by squared error"
    counts_advice = (
        "--task counts takes the Poisson loss, and --offset COLUMN the "
        "logarithm of an exposure"
    )
    return [f"{looks}. It is {training_words}; {counts_advice}."]


def notes_on_columns(
    request: RunRequest,
    card: DataCard | None,
    written: Written,
    schema: Schema,
    left_out: Mapping[str, LeftOut],
    together: Mapping[str, Any] | None = None,
) -> list[str]:
    """Note columns that may not be what they are taken for, and those without effect.

    ``together``: what may say that rows belong together, which has a note of its own.
    """
    undecided = []
    for column_type in schema:
        if column_type.name not in {*left_out, *request.kinds}:
            undecided.append(column_type)
    # One note has one advice on a column: the first of these that there is.
    told_columns = set[str]() if together is None else {*together["columns"]}
    level_counts = {}
    for column_type in undecided:
        is_untold = column_type.of.is_levels and column_type.name not in told_columns
        if is_untold and column_type.n_levels >= _MANY_LEVELS:
            level_counts[column_type.name] = column_type.n_levels
    told_columns |= level_counts.keys()
    column_findings = _findings_of_cells(request, schema, left_out, told_columns)
    column_findings += _findings_of_amounts(
        written,
        {column_type.name for column_type in undecided if column_type.of.is_amount},
    )
    also_levels = []
    for column_type in undecided:
        if "also_levels" in column_type.flags:
            also_levels.append(column_type.name)
    counts_shown = []
    for column_name, level_count in level_counts.items():
        counts_shown.append(f"{column_name} ({level_count:,})")
    # Columns that are constant only as float64 are already noted.
    noted_columns = {*left_out, *fused_columns(schema)}
    column_findings += [
        Finding("also_levels", _but(also_levels, told_columns)),
        Finding("many_levels", tuple(level_counts), {"shown": counts_shown}),
        Finding(
            "constant", _but(schema.where(lambda kind: not kind.varies), noted_columns)
        ),
    ]
    if card is None:
        return _texts(column_findings)
    story = [] if card.story is None or card.target in left_out else [card.story]
    return story + _texts(
        [*column_findings, Finding("not_features", tuple(card.not_features))]
    )


def _findings_of_cells(
    request: RunRequest,
    schema: Schema,
    left_out: Mapping[str, LeftOut],
    told_columns: Collection[str],
) -> list[Finding]:
    """Return what is found of columns by their cells, but for odd ones: these have a
    note that says where they stand. Of ``told_columns`` nobody says that they may name
    things.
    """
    by_user = set()
    for column_name, reason in left_out.items():
        if reason is not LeftOut.LIKE_AN_IDENTIFIER:
            by_user.add(column_name)
    column_findings = []
    # The order of the rows hangs on how its dates are read.
    for column_finding in findings_of(schema, by_user - {request.time}):
        if column_finding.kind == "free_text" and ":" in request.model:
            reader_facts = {"reader": "which your estimator gets as it is"}
            column_findings.append(replace(column_finding, facts=reader_facts))
        elif column_finding.kind == "names":
            untold_columns = _but(column_finding.columns, told_columns)
            column_findings.append(replace(column_finding, columns=untold_columns))
        elif column_finding.kind != "mistakes":
            column_findings.append(column_finding)
    return column_findings


def notes_on_roles(
    request: RunRequest,
    features: pd.DataFrame,
    types: Schema,
    codes: Sequence[Any],
    together: Mapping[str, Any] | None,
) -> list[str]:
    """Note numbers that may be no features.

    Those that may say that rows belong together have a note of their own.
    """
    if together is None:
        noted_columns = {*request.kinds}
    else:
        noted_columns = {*request.kinds, *together["columns"]}
    untold = []
    for column_type in types:
        if column_type.name not in noted_columns:
            untold.append(column_type)
    role_findings = roles_found(features, untold, MissingCodes.of(codes))
    is_weighted = request.weight is not None
    return _texts(
        role_finding
        for role_finding in role_findings
        if not is_weighted or role_finding.kind != "maybe_weight"
    )


def _findings_of_amounts(written: Written, amounts: Collection[str]) -> list[Finding]:
    """Return what is noted on how amounts are written."""
    units = {}
    for column_name, unit_text in written.units.items():
        if column_name in amounts:
            units[column_name] = unit_text
    return [
        Finding(
            "units",
            tuple(units),
            {
                "shown": [
                    f"{column_name} ({unit_text})"
                    for column_name, unit_text in units.items()
                ]
            },
        ),
        Finding(
            "padded",
            tuple(
                column_name for column_name in written.padded if column_name in amounts
            ),
        ),
    ]


def _but(columns: Iterable[str], told_columns: Collection[str]) -> tuple[str, ...]:
    return tuple(
        column_name for column_name in columns if column_name not in told_columns
    )


def _texts(findings: Iterable[Finding]) -> list[str]:
    return [finding.text(command=True) for finding in findings if finding.columns]


# ---- what the page says of cells -----------------------------------------------------
def cell_facts(read: ReadTable, types: Schema) -> list[dict[str, Any]]:
    """Return what the page says of how cells were read: the words, the advice, and the
    options that follow it.

    Totals among the rows are an alarm: one decides the errors. The others are cautions.
    """
    facts_found = list[dict[str, Any]]()
    if read.totals is not None and read.totals.how != "named":
        facts_found += _totals_facts(read)
    for caution in read.written.cautions:
        advice = "Check the table: delete the line, or correct its cells if it is a row"
        facts_found.append({"words": f"{sentence_of(caution)}.", "advice": advice})
    spelled = [column_type for column_type in types if "spelled" in column_type.flags]
    words = {column_type.name: odd_words(column_type) for column_type in spelled}
    words = {column_name: cells for column_name, cells in words.items() if cells}
    if words:
        shown = [
            f"{column_name} ({listed(cells, 3, show=repr)})"
            for column_name, cells in words.items()
        ]
        options = list[str]()
        for odd_column, cells in words.items():
            for code_text in column_codes(odd_column, cells):
                options += ["--na", code_text]
        columns_look = by_count(len(words), "this column looks", "these columns look")
        cell_words = (
            f"But for some cells {columns_look} like numbers, and is read as "
            "categories: "
        )
        cell_words = cell_words.replace(
            "and is", by_count(len(words), "and is", "and are")
        )
        advice = "If these cells mean missing, declare them"
        facts = {"words": f"{cell_words}{listed(shown)}.", "advice": advice}
        facts_found.append({**facts, "options": options})
    other_columns = []
    for column_type in spelled:
        if column_type.name not in words:
            other_columns.append(column_type)
    if other_columns:
        every = findings_of(Schema(tuple(other_columns)))
        first = next(finding for finding in every if finding.kind == "spelled")
        alike = first.facts["alike"]
        advice = f"Write all cells of {other_columns[0].name} alike, such as {alike}"
        shown = []
        for column_type in other_columns:
            shown.append(f"{column_type.name} ({column_type.facts['example']!r})")
        cell_words = (
            "Cells that are written in several ways keep columns from being read as "
        )
        cell_words += f"{first.facts['what']}: {listed(shown)}."
        facts_found.append({"words": cell_words, "advice": advice})
    return facts_found


def _totals_facts(read: ReadTable) -> list[dict[str, Any]]:
    """Return the alarm on rows of totals with a target: the code of their targets
    leaves them out.
    """
    assert read.totals is not None, "there are totals"
    frame = read.written.frame
    lines = read.written.lines.lines
    cells = frame[read.target]
    total_rows = [
        row_index
        for row_index in read.totals.rows
        if not pd.isna(cells.iloc[row_index])
    ]
    if not total_rows:
        return []
    texts = [canonical(cells.iloc[row_index]) for row_index in total_rows]
    words = (
        f"{sentence_of(read.totals.said(lines))}. One such row can decide the "
        "errors and the effects."
    )
    facts = {"words": words, "part": "alarm"}
    if int(
        cells.astype(str)
        .isin({str(cells.iloc[row_index]) for row_index in total_rows})
        .sum()
    ) > len(total_rows):
        return [facts | {"advice": "Delete them from the table, and run again"}]
    options = [
        option_word
        for code_text in column_codes(read.target, texts)
        for option_word in ("--na", code_text)
    ]
    return [facts | {"advice": "Leave them out", "options": options}]


def sentence_of(words: str) -> str:
    """Return words with a capital in front."""
    return words[:1].upper() + words[1:]


def find_target_signs(rows: SplitTable, task: str) -> tuple[Sign, ...]:
    """Return what is odd about a target of numbers, in the rows of all parts."""
    if not rows.task.numeric:
        return ()
    values = [np.asarray(truth, dtype=np.float64) for truth in rows.truths.values()]
    row_places = [
        (rows.lines[part_name], number)
        for part_name in rows.truths
        for number in rows.tables[part_name].index
    ]

    def where(position: int) -> str:
        lines, number = row_places[position]
        return lines.where(number)

    return tuple(target_signs(np.concatenate(values), where, counts=of_counts(task)))


def find_together(
    request: RunRequest,
    read: ReadTable,
    rows: SplitTable,
    types: Schema,
    left_out: Mapping[str, LeftOut],
) -> dict[str, Any] | None:
    """Return facts on what may say that rows belong together.

    None: nothing does, or the user said how they do.
    """
    if request.row_group is not None or request.time is not None:
        return None
    tables = [table for table in rows.tables.values() if len(table)]
    sizes = list(map(len, rows.tables.values()))
    unasked = (read.target, request.weight)
    common_columns = []
    for column_name in tables[0]:
        if all(column_name in table for table in tables) and column_name not in unasked:
            common_columns.append(column_name)
    table = blank_codes(
        pd.concat([table[common_columns] for table in tables]), read.codes
    )
    table = _with_odd_amounts(table, types)
    named = _that_name(request, types, left_out, table)
    together_rows = rows_together(
        table,
        np.concatenate(
            [
                rows.truths[part_name]
                for part_name, table in rows.tables.items()
                if len(table)
            ]
        ),
        rows.task,
        np.repeat([part_name == "train" for part_name in rows.tables], sizes),
        np.repeat([part_name == "test" for part_name in rows.tables], sizes),
        [
            feature_name
            for feature_name in types.names
            if feature_name in common_columns
        ],
        [column_name for column_name in named if column_name in common_columns],
        types.of_modality("photo"),
    )
    if together_rows is None:
        return None
    return together_rows.facts()


def _with_odd_amounts(table: pd.DataFrame, types: Schema) -> pd.DataFrame:
    """Return a table in which amounts with an odd cell are amounts, which name
    nobody.
    """
    for column_type in types:
        is_spoiled = {"spelled", "mistakes"}.intersection(column_type.flags)
        if (
            is_spoiled
            and column_type.facts["what"] == "numbers"
            and column_type.name in table
        ):
            numbers = text_numbers(table[column_type.name].astype(str).tolist())
            table = table.assign(**{column_type.name: numbers})
    return table


def _that_name(
    request: RunRequest,
    types: Schema,
    left_out: Mapping[str, LeftOut],
    table: pd.DataFrame,
) -> list[str]:
    """Return the columns that name things: left out by the user or as identifiers, or
    called so.
    """
    by_user = {*request.identifier, *filter(names_things, request.drop)}
    for column_name, column_kind in request.kinds.items():
        if not kinds.get(column_kind).is_read:
            by_user.add(column_name)
    named = []
    for column_name, reason in left_out.items():
        if reason is LeftOut.LIKE_AN_IDENTIFIER or column_name in by_user:
            named.append(column_name)
    for column_type in types:
        may_name = column_type.of.is_amount or column_type.of.is_levels
        if may_name and _names_many(column_type.name, table):
            named.append(column_type.name)
    return named


def _names_many(name: str, table: pd.DataFrame) -> bool:
    """Return whether a column is called like an identifier, and has many values, none
    with decimals.

    Of a feature with few values, such as shops, new rows have the same ones. A number
    with decimals measures, whatever it is called: a body mass index.
    """
    if not names_things(name) or table[name].nunique() < max(
        _FEWEST_NAMED, _SHARE_NAMED * len(table)
    ):
        return False
    return not (
        is_native_number(table[name].dtype) and (table[name].dropna() % 1 != 0).any()
    )


def notes_on_codes(
    features: pd.DataFrame, types: Schema, kinds: Mapping[str, Kind]
) -> list[str]:
    """Propose codes for missing: of single columns where others hold them as values,
    and open ends of dates.
    """
    names = [
        column_type.name
        for column_type in types
        if column_type.of.is_amount
        and is_native_number(features[column_type.name].dtype)
    ]
    cells = {
        column_name: features[column_name].to_numpy(dtype=np.float64, na_value=np.nan)
        for column_name in names
    }
    candidates = {
        column_name: maybe_missing(values)
        for column_name, values in cells.items()
        if column_name not in kinds
    }
    proposed: dict[str, list[Any]] = {}
    is_of_all = True
    for missing_code in sorted(set(chain.from_iterable(candidates.values()))):
        holders = [
            holder_name
            for holder_name in names
            if (cells[holder_name] == missing_code).any()
        ]
        for holding_column in holders:
            if missing_code in candidates.get(holding_column, ()):
                proposed.setdefault(holding_column, []).append(missing_code)
            else:
                is_of_all = False  # there it is a value
    for date_column in types.where(lambda kind: kind.is_moment):
        open_dates = (
            []
            if date_column in kinds
            else open_ends(features[date_column], types[date_column])
        )
        if open_dates:
            proposed[date_column] = open_dates
            is_of_all = False
    if not proposed:
        return []
    codes = list(dict.fromkeys(chain.from_iterable(proposed.values())))
    shown = [
        f"{column_name} ({', '.join(map(str, codes))})"
        for column_name, codes in proposed.items()
    ]
    facts: dict[str, Any] = {"shown": shown}
    facts["codes"] = sorted(codes) if is_of_all else codes
    if not is_of_all:
        facts["by_column"] = proposed
    return _texts([Finding("maybe_missing", tuple(proposed), facts)])


def notes_on_blocks(
    features: pd.DataFrame,
    types: Schema,
    groups: Mapping[str, Sequence[str]],
    found_groups: Mapping[str, Sequence[str]],
) -> list[str]:
    """Note columns that were ``found_groups`` to be one feature, and others that
    duplicate each other.
    """
    # Columns of one group may duplicate each other.
    return _texts(
        [
            *as_one_found(found_groups),
            *duplicates_found(features, types, groups.values()),
        ]
    )
