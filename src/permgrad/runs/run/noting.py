"""What a run says of the columns of its table before it learns from them: one sentence for each kind of finding."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import by_count, listed
from permgrad.base.numerals import percent
from permgrad.data.read.cells import (
    MissingCodes,
    canonical,
    is_native_number,
    text_numbers,
)
from permgrad.data.read.reading import Written
from permgrad.data.read.table import blank_codes, unused_codes
from permgrad.data.types.column_types import Kind, Schema, open_ends
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
from permgrad.runs.run.splitting import AS_TEXT, SplitTable
from permgrad.runs.run.table import LeftOut, ReadTable

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard

#: So many levels make a category a burden.
_MANY_LEVELS = 1000
#: Whole numbers of which this share is 0, and with more levels than so many, look like counts.
_ZEROS, _LEAST_COUNT = 0.1, 3
#: Features whose values may name persons, rather than shops: so many values, and this share of the rows.
_KINDS_NAMED, _FEWEST_NAMED, _SHARE_NAMED = ("numeric", "categorical"), 20, 0.1


def notes_on_cells(
    request: RunRequest,
    target: str,
    rows: SplitTable,
    written: Written,
    codes: Sequence[Any],
) -> list[str]:
    """Note codes for missing values that never occur, and a target that is written like codes."""
    notes = []
    if request.na:
        na = list(codes)
        first, *further = [
            unused_codes(table, na) for table in (written.frame, *rows.files.values())
        ]
        unused = [code for code in first if all(code in codes for codes in further)]
        notes += (
            [f"--na codes that never occur: {listed(unused, show=repr)}. Check --na."]
            if unused
            else []
        )
    alike = written.alike.get(target) if rows.task == "classification" else None
    if alike is not None:
        notes.append(
            f"classes of {target!r} that differ only in leading zeros, such as {alike[0]!r} and {alike[1]!r}, are read "
            f"as one number. If they differ, {AS_TEXT}."
        )
    elif target in written.padded:
        notes.append(
            f"the target {target!r} has leading zeros like a code, but is read as numbers. If it holds codes, "
            f"{AS_TEXT}."
        )
    return notes


def notes_on_counts(request: RunRequest, target: str, rows: SplitTable) -> list[str]:
    """Name ``--task counts`` for a target that looks like counts with many zeros, and say what an offset does."""
    if request.offset is not None:
        said = f"{request.offset!r} is the logarithm of each row's exposure, and {target!r} is divided by the exposure"
        return [
            f"{said}: predictions, errors and importances are those of rates. Rows count by their exposure."
        ]
    y = rows.truths["train"]
    if (
        request.task != "auto"
        or y.dtype.kind not in "if"
        or (y < 0).any()
        or (y != np.rint(y)).any()
    ):
        return []
    zeros, most = float((y == 0).mean()), float((y == y.max()).mean())
    # Codes of classes have no zeros, or few levels, or as many rows in the last as in the first.
    if zeros < _ZEROS or len(np.unique(y)) <= _LEAST_COUNT or most > zeros / 2:
        return []
    looks = f"the target {target!r} looks like a count: whole numbers, {percent(zeros)} of them 0"
    how = (
        "predicted as classes"
        if rows.task == "classification"
        else "trained and judged by squared error"
    )
    fix = "--task counts takes the Poisson loss, and --offset COLUMN the logarithm of an exposure"
    return [f"{looks}. It is {how}; {fix}."]


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
    by_user = {
        name for name, why in left_out.items() if why is not LeftOut.LIKE_AN_IDENTIFIER
    }
    # The order of the rows hangs on how its dates are read.
    found = findings_of(schema, by_user - {request.time})
    # Odd cells have a note that says where they stand.
    found = [one for one in found if one.kind != "mistakes"]
    if ":" in request.model:
        own = {"reader": "which your estimator gets as it is"}
        found = [
            replace(one, facts=own) if one.kind == "free_text" else one for one in found
        ]
    undecided = [one for one in schema if one.name not in {*left_out, *request.kinds}]
    # One note has one advice on a column: the first of these that there is.
    told = set[str]() if together is None else {*together["columns"]}
    many = {
        one.name: one.n_levels
        for one in undecided
        if one.kind == "categorical" and one.name not in told
    }
    many = {name: count for name, count in many.items() if count >= _MANY_LEVELS}
    told |= many.keys()
    found = [
        replace(one, columns=_but(one.columns, told)) if one.kind == "names" else one
        for one in found
    ]
    # Columns that are constant only as float64 are already noted.
    constant = set(schema.of_kind("constant")).difference(
        left_out, fused_columns(schema)
    )
    found += _findings_of_amounts(
        written, {one.name for one in undecided if one.kind == "numeric"}
    )
    found += [
        Finding(
            "also_levels",
            _but((one.name for one in undecided if "also_levels" in one.flags), told),
        ),
        Finding(
            "many_levels",
            tuple(many),
            {"shown": [f"{name} ({count:,})" for name, count in many.items()]},
        ),
        Finding("constant", tuple(name for name in schema.names if name in constant)),
    ]
    if card is None:
        return _texts(found)
    story = [] if card.story is None or card.target in left_out else [card.story]
    return story + _texts([*found, Finding("not_features", tuple(card.not_features))])


def notes_on_roles(
    request: RunRequest,
    features: pd.DataFrame,
    types: Schema,
    codes: Sequence[Any],
    together: Mapping[str, Any] | None,
) -> list[str]:
    """Note numbers that may be no features. Those that may say that rows belong together have a note of their own."""
    told = (
        {*request.kinds} if together is None else {*request.kinds, *together["columns"]}
    )
    untold = [one for one in types if one.name not in told]
    found = roles_found(features, untold, MissingCodes.of(codes))
    is_weighted = request.weight is not None
    return _texts(one for one in found if not is_weighted or one.kind != "maybe_weight")


def _findings_of_amounts(written: Written, amounts: Collection[str]) -> list[Finding]:
    """Return what is noted on how amounts are written."""
    units = {name: unit for name, unit in written.units.items() if name in amounts}
    return [
        Finding(
            "units",
            tuple(units),
            {"shown": [f"{name} ({unit})" for name, unit in units.items()]},
        ),
        Finding("padded", tuple(name for name in written.padded if name in amounts)),
    ]


def _but(columns: Iterable[str], told: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if name not in told)


def _texts(found: Iterable[Finding]) -> list[str]:
    return [finding.text(command=True) for finding in found if finding.columns]


# ---- what the page says of cells -------------------------------------------------------------------------------------
def cell_facts(read: ReadTable, types: Schema) -> list[dict[str, Any]]:
    """Return what the page says of how cells were read: the words, the advice, and the options that follow it.

    Totals among the rows are an alarm: one decides the errors. The others are cautions.
    """
    found = list[dict[str, Any]]()
    if read.totals is not None and read.totals.how != "named":
        found += _totals_facts(read)
    for caution in read.written.cautions:
        advice = "Check the table: delete the line, or correct its cells if it is a row"
        found.append({"words": f"{sentence_of(caution)}.", "advice": advice})
    spelled = [one for one in types if "spelled" in one.flags]
    words = {one.name: odd_words(one) for one in spelled}
    words = {name: cells for name, cells in words.items() if cells}
    if words:
        shown = [
            f"{name} ({listed(cells, 3, show=repr)})" for name, cells in words.items()
        ]
        options = list[str]()
        for name, cells in words.items():
            for text in column_codes(name, cells):
                options += ["--na", text]
        one = by_count(len(words), "this column looks", "these columns look")
        said = f"But for some cells {one} like numbers, and is read as categories: "
        said = said.replace("and is", by_count(len(words), "and is", "and are"))
        advice = "If these cells mean missing, declare them"
        facts = {"words": f"{said}{listed(shown)}.", "advice": advice}
        found.append({**facts, "options": options})
    others = [one for one in spelled if one.name not in words]
    if others:
        every = findings_of(Schema(tuple(others)))
        first = next(finding for finding in every if finding.kind == "spelled")
        alike = first.facts["alike"]
        advice = f"Write all cells of {others[0].name} alike, such as {alike}"
        shown = [f"{one.name} ({one.facts['example']!r})" for one in others]
        said = "Cells that are written in several ways keep columns from being read as "
        said += f"{first.facts['what']}: {listed(shown)}."
        found.append({"words": said, "advice": advice})
    return found


def _totals_facts(read: ReadTable) -> list[dict[str, Any]]:
    """Return the alarm on rows of totals with a target: the code of their targets leaves them out."""
    assert read.totals is not None, "there are totals"
    frame, lines = read.written.frame, read.written.lines.lines
    cells = frame[read.target]
    rows = [row for row in read.totals.rows if not pd.isna(cells.iloc[row])]
    if not rows:
        return []
    texts = [canonical(cells.iloc[row]) for row in rows]
    words = f"{sentence_of(read.totals.said(lines))}. One such row can decide the errors and the effects."
    facts = {"words": words, "part": "alarm"}
    if int(cells.astype(str).isin({str(cells.iloc[row]) for row in rows}).sum()) > len(
        rows
    ):
        return [facts | {"advice": "Delete them from the table, and run again"}]
    options = [
        word for text in column_codes(read.target, texts) for word in ("--na", text)
    ]
    return [facts | {"advice": "Leave them out", "options": options}]


def sentence_of(words: str) -> str:
    """Return words with a capital in front."""
    return words[:1].upper() + words[1:]


def find_target_signs(rows: SplitTable, task: str) -> tuple[Sign, ...]:
    """Return what is odd about a target of numbers, in the rows of all parts."""
    if rows.task != "regression":
        return ()
    values = [np.asarray(truth, dtype=np.float64) for truth in rows.truths.values()]
    places = [
        (rows.lines[part], number)
        for part in rows.truths
        for number in rows.tables[part].index
    ]

    def where(position: int) -> str:
        lines, number = places[position]
        return lines.where(number)

    return tuple(target_signs(np.concatenate(values), where, counts=task == "counts"))


def find_together(
    request: RunRequest,
    read: ReadTable,
    rows: SplitTable,
    types: Schema,
    left_out: Mapping[str, LeftOut],
) -> dict[str, Any] | None:
    """Return facts on what may say that rows belong together. None: nothing does, or the user said how they do."""
    if request.row_group is not None or request.time is not None:
        return None
    tables, sizes = (
        [table for table in rows.tables.values() if len(table)],
        list(map(len, rows.tables.values())),
    )
    unasked = (read.target, request.weight)
    both = [
        name
        for name in tables[0]
        if all(name in table for table in tables) and name not in unasked
    ]
    table = blank_codes(pd.concat([table[both] for table in tables]), read.codes)
    # Amounts with an odd cell are amounts, which name nobody.
    for one in types:
        is_spoiled = {"spelled", "mistakes"}.intersection(one.flags)
        if is_spoiled and one.facts["what"] == "numbers" and one.name in table:
            numbers = text_numbers(table[one.name].astype(str).tolist())
            table = table.assign(**{one.name: numbers})
    by_user = {
        *request.identifier,
        *(name for name, kind in request.kinds.items() if kind == "identifier"),
    }
    by_user |= set(filter(names_things, request.drop))
    named = [
        name
        for name, why in left_out.items()
        if why is LeftOut.LIKE_AN_IDENTIFIER or name in by_user
    ]
    named += [
        one.name
        for one in types
        if one.kind in _KINDS_NAMED and _names_many(one.name, table)
    ]
    found = rows_together(
        table,
        np.concatenate(
            [rows.truths[part] for part, table in rows.tables.items() if len(table)]
        ),
        rows.task,
        np.repeat([part == "train" for part in rows.tables], sizes),
        np.repeat([part == "test" for part in rows.tables], sizes),
        [name for name in types.names if name in both],
        [name for name in named if name in both],
        types.of_kind("image"),
    )
    return None if found is None else found.facts()


def _names_many(name: str, table: pd.DataFrame) -> bool:
    """Return whether a column is called like an identifier, and has many values, none with decimals.

    Of a feature with few values, such as shops, new rows have the same ones. A number with decimals measures, whatever
    it is called: a body mass index.
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
    """Propose codes for missing: of single columns where others hold them as values, and open ends of dates."""
    names = [
        one.name
        for one in types
        if one.kind == "numeric" and is_native_number(features[one.name].dtype)
    ]
    cells = {
        name: features[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in names
    }
    candidates = {
        name: maybe_missing(values)
        for name, values in cells.items()
        if name not in kinds
    }
    proposed: dict[str, list[Any]] = {}
    is_of_all = True
    for code in sorted({code for codes in candidates.values() for code in codes}):
        holders = [name for name in names if (cells[name] == code).any()]
        for name in holders:
            if code in candidates.get(name, ()):
                proposed.setdefault(name, []).append(code)
            else:
                is_of_all = False  # there it is a value
    for name in types.of_kind("date"):
        ends = [] if name in kinds else open_ends(features[name], types[name])
        if ends:
            proposed[name], is_of_all = ends, False
    if not proposed:
        return []
    codes = list(dict.fromkeys(code for codes in proposed.values() for code in codes))
    shown = [
        f"{name} ({', '.join(map(str, codes))})" for name, codes in proposed.items()
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
    found: Mapping[str, Sequence[str]],
) -> list[str]:
    """Note columns that were ``found`` to be one feature, and others that duplicate each other."""
    # Columns of one group may duplicate each other.
    return _texts(
        [*as_one_found(found), *duplicates_found(features, types, groups.values())]
    )
