"""What training rows had in each column, in few numbers, and how the columns of later
rows differ from that.

A column is kept as its values with how many rows have each of them. Of many numbers
these are a thousand quantiles. Nothing of a row is kept: which values were in one row
is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.dependence import Dependence
from permgrad.data.read.cells import Distinct
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.drift import Independent, differences, independent_rows
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import FEW_VALUES, ColumnCells, alike, compared_cells

#: Values of a column that are kept. Texts with more of them hardly repeat, and are not
#: kept.
_MOST_VALUES = 1000


def summary_of(
    table: pd.DataFrame,
    *,
    na: Sequence[str | int | float] = (),
    dependence: Dependence | None = None,
) -> dict[str, Any]:
    """Return what the rows of a table ``(rows, columns)`` have in each column.

    Large tables are sampled evenly.

    Args:
        table: the rows.
        na: codes of missing cells.
        dependence: which rows depend on each other.

    Returns:
        ``rows``, and ``columns``: of each the ``column``, its ``kind``, the ``missing``
        cells, its ``values`` with the ``counts`` of rows, and ``independent``: how many
        independent rows there are for each row.

    Examples:
        >>> kept = summary_of(pd.DataFrame({"town": ["a", "a", None]}))
        >>> (column,) = kept["columns"]
        >>> kept["rows"], column["values"], column["counts"], column["missing"]
        (3, ['a'], [2], 1)
    """
    row_indices = looked_at(len(table), len(table.columns))
    rows = blank_codes(pd.DataFrame(table.iloc[row_indices]), list(na))
    if dependence is not None:
        dependence = dependence.take(row_indices)
    columns = []
    for column_index, name in enumerate(map(str, rows.columns)):
        cells = compared_cells(rows.iloc[:, column_index], name)
        facts = _counted(cells)
        if facts is None:
            continue
        share = 1.0
        if dependence is not None:
            share = float(
                independent_rows(dependence, _ranks(cells)) / len(row_indices)
            )
        missing = int((cells.codes < 0).sum())
        columns.append(
            {"column": name, "kind": cells.kind, "missing": missing, **facts}
            | {"independent": share}
        )
    return {"rows": len(row_indices), "columns": columns}


def _counted(cells: ColumnCells) -> dict[str, Any] | None:
    """Return the values of a column and how many rows have each.

    None: they are texts that hardly repeat.
    """
    if cells.values is None:
        names = cells.names or []
        if len(names) > _MOST_VALUES:
            return None
        counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(names))
        return {"values": list(names), "counts": counts.tolist()}
    present = np.sort(cells.values[~np.isnan(cells.values)])
    values, counts = np.unique(present, return_counts=True)
    if len(values) > _MOST_VALUES:
        # Each part of the sorted rows is as its middle one.
        ends = np.linspace(0, len(present), _MOST_VALUES + 1).astype(np.int64)
        values = present[(ends[:-1] + ends[1:]) // 2]
        counts = np.diff(ends)
    return {"values": values.tolist(), "counts": counts.tolist()}


def _ranks(cells: ColumnCells) -> Floats:
    """Return numbers ``(rows, *)`` by which rows of a column are alike: ranks, or which
    level each row has.
    """
    codes = cells.codes + 1
    if cells.values is None:
        frequent = np.argsort(-np.bincount(codes), kind="stable")[:FEW_VALUES]
        return (codes[:, None] == frequent).astype(np.float64)
    ranks = pd.Series(cells.values).rank().fillna(0).to_numpy(dtype=np.float64)
    return np.asarray(ranks, dtype=np.float64)[:, None]


def against_summary(
    summary: Mapping[str, Any],
    table: pd.DataFrame,
    *,
    na: Sequence[str | int | float] = (),
) -> list[dict[str, Any]]:
    """Compare later rows ``(rows, columns)`` with a summary, as ``compare_parts``
    compares two tables: ``drift``.

    Columns that the summary does not have, or that are of another kind in it, are left
    out.

    Examples:
        >>> kept = summary_of(pd.DataFrame({"age": range(100)}))
        >>> (found,) = against_summary(kept, pd.DataFrame({"age": range(50, 150)}))
        >>> found["clear"], found["size"], found["side"], found["value"]
        (True, 0.5, 'above', 49.0)
    """
    row_indices = looked_at(len(table), len(table.columns))
    rows = blank_codes(pd.DataFrame(table.iloc[row_indices]), list(na))
    facts_by_column = {facts["column"]: facts for facts in summary["columns"]}
    shares = dict[str, float]()
    cells = []
    for column_index, name in enumerate(map(str, rows.columns)):
        if name not in facts_by_column:
            continue
        cells_now = compared_cells(rows.iloc[:, column_index], name)
        if facts_by_column[name]["kind"] == "levels":
            cells_now = _as_levels(rows.iloc[:, column_index], name)
        joined_cells = _joined(_cells_in(facts_by_column[name]), cells_now)
        if joined_cells is not None:
            cells.append((name, joined_cells))
            shares[name] = float(facts_by_column[name]["independent"])
    counts = [int(summary["rows"]), len(row_indices)]

    def independent(name: str) -> Independent | None:
        if shares[name] >= 1:
            return None
        return lambda _: np.array(counts, dtype=np.float64) * shares[name]

    return differences(
        cells, counts, independent, sampled=len(row_indices) < len(table)
    )


def _as_levels(series: pd.Series[Any], name: str) -> ColumnCells:
    """Return the cells of a column as levels, also of numbers."""
    distinct = Distinct.of(series, name)
    return alike(ColumnCells("levels", distinct.index, None, None, distinct.texts))


def _cells_in(facts: Mapping[str, Any]) -> ColumnCells:
    """Return the cells of the rows that a summary counts."""
    counts = np.asarray(facts["counts"], dtype=np.int64)
    codes = np.repeat(np.arange(len(counts)), counts)
    codes = np.append(codes, np.full(int(facts["missing"]), -1))
    kind = facts["kind"]
    if kind == "levels":
        return ColumnCells(kind, codes, None, None, list(facts["values"]))
    numbers = np.asarray(facts["values"], dtype=np.float64)
    return _of_numbers(kind, np.append(numbers, np.nan)[codes])


def _of_numbers(kind: Any, values: Floats) -> ColumnCells:
    """Return the cells of numbers or dates ``(rows,)``, NaN where missing."""
    numbers, codes = np.unique(values, return_inverse=True)
    missing = np.isnan(values)
    codes = np.where(missing, -1, codes)
    numbers = numbers[~np.isnan(numbers)]
    names = None
    if kind == "number" and len(numbers) <= FEW_VALUES:
        names = [f"{value:.15g}" for value in numbers]
    return ColumnCells(kind, codes, numbers, values, names)


def _joined(first: ColumnCells, second: ColumnCells) -> ColumnCells | None:
    """Return the cells of one column in both parts, the first ones first.

    None: they cannot be compared.
    """
    empty = (second.codes < 0).all()
    if first.values is not None and (second.values is not None or empty):
        values = np.full(len(second.codes), np.nan)
        if second.values is not None and not empty:
            values = second.values
            if second.kind != first.kind:
                return None
        return _of_numbers(first.kind, np.append(first.values, values))
    if first.names is None or (second.names is None and not empty):
        return None
    names = list(dict.fromkeys([*first.names, *(second.names or ())]))
    level_index = pd.Index(names)
    codes = []
    for column_cells in (first, second):
        codes.append(
            np.append(level_index.get_indexer(pd.Index(column_cells.names or [])), -1)[
                column_cells.codes
            ]
        )
    return ColumnCells("levels", np.concatenate(codes), None, None, names)
