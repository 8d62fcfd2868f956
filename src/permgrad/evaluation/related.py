"""Columns that move together: pairs, a matrix of some columns, and groups to explain as
one feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from permgrad.base.arrays import Floats
from permgrad.base.checks import is_number
from permgrad.base.errors import InputError, shown
from permgrad.base.near_names import with_near_names
from permgrad.base.sequences import values_at
from permgrad.base.significance import t_quantile
from permgrad.data.read.cells import as_frame
from permgrad.data.read.dates import is_moment, series_seconds

#: From this value on, features are related. At 0.5 they have a quarter of their
#: variance in common, and regression coefficients begin to suffer (correlations of 0.5
#: to 0.7: Dormann et al., Ecography 36, 2013).
LEAST = 0.5
#: The kind of two columns that lack values in the same rows.
MISSING = "missing cells"
#: Features that are compared with all others, rows that are looked at, and columns that
#: are no numbers, at most.
RELATED_FEATURES = 8
ROWS = 2000
CATEGORIES = 500
#: Fewer rows that have a value of both of two columns say nothing.
_FEWEST_BOTH = 20
#: Levels of a category that are told apart. The rarer ones are one.
LEVELS = 40
#: Tables with more columns are not searched for groups of columns that move together.
MOST_RELATED = 1000
#: Features that are compared with each other.
MATRIX_FEATURES = 14


@with_near_names
def related_columns(X: Any, *, strength: float = 0.8) -> dict[str, list[str]]:
    """Propose groups of columns that move together, for ``groups=`` and ``--groups``.

    The importance of such columns is shared between them. A group is explained as one
    feature. Every two columns of a group are related by at least ``strength`` (complete
    linkage): numbers, and dates of such a type, by the correlation of their ranks
    (Spearman 1904), categories by Cramér's V (Bergsma 2013), a number and a category by
    the correlation ratio of the ranks. At most 2,000 rows are read. Check that the
    columns of a group belong together before you use it.

    Args:
        X: the table ``(rows, columns)``: a frame of pandas, polars or pyarrow, or an
            array.
        strength: least strength of each pair in a group, from 0 to 1.

    Returns:
        Name of the group to its columns. Columns without a group are left out.

    Raises:
        InputError: X is no table, has fewer than 4 rows, or ``strength`` is not above 0
            and at most 1.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> age = rng.normal(50, 9, 200)
        >>> X = pd.DataFrame({"age": age, "born": 2026 - age.round()})
        >>> X["dose"] = rng.normal(size=200)
        >>> pg.related_columns(X)
        {'age + born': ['age', 'born']}
    """
    if not is_number(strength) or not 0 < strength <= 1:
        problem = f"strength must be above 0 and at most 1, got {shown(strength)}"
        raise InputError(problem, hint="Pass for example 0.8.", code="PG002")
    frame = as_frame(X)
    if len(frame) < 4:
        raise InputError(
            f"related_columns needs at least 4 rows, got {len(frame)}",
            "Pass the training rows.",
            "PG013",
        )
    matrix = related(frame, [], list(frame.columns))[1]
    names = matrix["names"]
    if len(names) < 2:
        return {}
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    strengths = np.abs(np.asarray(matrix["strengths"], dtype=np.float64))
    apart = 1 - np.clip((strengths + strengths.T) / 2, 0, 1)
    np.fill_diagonal(apart, 0)
    member = fcluster(
        linkage(squareform(apart, checks=False), "complete"),
        1 - strength + 1e-9,
        "distance",
    )
    groups: dict[str, list[str]] = {}
    for cluster in dict.fromkeys(member.tolist()):
        columns = []
        for column_index in np.flatnonzero(member == cluster):
            columns.append(names[column_index])
        if len(columns) > 1:
            if len(columns) > 2:
                more_columns = f" and {len(columns) - 2} more"
            else:
                more_columns = ""
            groups[f"{columns[0]} + {columns[1]}{more_columns}"] = columns
    return groups


def related(
    frame: pd.DataFrame, features: Sequence[str], columns: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the columns that are related to some features, the closest first, and a
    matrix of some columns.

    Numbers are compared by the correlation of their ranks (Spearman 1904), categories
    by Cramér's V, corrected for its bias (Bergsma, Journal of the Korean Statistical
    Society 42, 2013). For a number and a category, V is the root of the share of the
    ranks' variance between levels. 0: unrelated. 1: one determines the other. In the
    matrix, ``strengths`` has a row and a column for each of ``names``, those of the
    ``columns`` that can be compared.

    Cells count where both columns have a value. Columns that lack values in the same
    rows are pairs of the kind ``MISSING`` if they are no others, by the correlation of
    where cells are missing.
    """
    pairs = []
    lacking = _lacking(frame)
    levels, strengths = (
        _strengths(frame, features, RELATED_FEATURES) if len(features) else ({}, {})
    )
    if strengths:
        # The largest value among this many pairs of unrelated columns, at 5 %.
        freedom = min(len(frame), ROWS) - 2
        chance = -float(
            t_quantile(0.025 / max(len(strengths) * (len(levels) - 1), 1), freedom)
        )
        least = max(LEAST, chance / math.sqrt(freedom + chance**2))
        for feature_name, strength_by_column in strengths.items():
            close = []
            for other_name, value in strength_by_column.items():
                if other_name != feature_name and abs(value) >= least:
                    close.append((other_name, value))
            for close_name, strength in sorted(close, key=lambda pair: -abs(pair[1])):
                if levels[feature_name] == levels[close_name] == 1:
                    relation_kind = "correlation"
                else:
                    relation_kind = "association"
                pairs.append(_pair(feature_name, close_name, strength, relation_kind))
            close_columns = {close_column for close_column, _ in close}
            for lacking_name, strength in _lacking_with(feature_name, lacking):
                if lacking_name not in close_columns and strength >= least:
                    pairs.append(_pair(feature_name, lacking_name, strength, MISSING))
    among = _strengths(frame[list(columns)], columns, len(columns))[1]
    return pairs, {
        "names": list(among),
        "strengths": [
            values_at(strength_line, among) for strength_line in among.values()
        ],
    }


def _pair(name: str, other_name: str, strength: float, kind: str) -> dict[str, Any]:
    return {"feature": name, "other": other_name, "strength": strength, "kind": kind}


def _lacking(frame: pd.DataFrame) -> dict[str, Floats]:
    """Return where cells are missing ``(rows,)``, standardised, of columns that have
    some of both.
    """
    if len(frame) > ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, ROWS).astype(np.int64)]
    lacking = dict[str, Floats]()
    for name, column in frame.items():
        is_missing = column.isna().to_numpy().astype(np.float64)
        where: Floats = is_missing - is_missing.mean()
        size = np.sqrt((where**2).sum())
        if size > 0:
            lacking[str(name)] = where / size
    return lacking


def _lacking_with(name: str, lacking: Mapping[str, Floats]) -> list[tuple[str, float]]:
    """Return how closely others lack values in the rows in which a column does, the
    closest first.
    """
    if name not in lacking:
        return []
    lacking_columns = []
    for other_name, where in lacking.items():
        if other_name != name:
            lacking_columns.append((other_name, float(lacking[name] @ where)))
    return sorted(lacking_columns, key=lambda pair: -pair[1])


def _strengths(
    frame: pd.DataFrame, names: Sequence[str], most: int
) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
    """Return the number of levels of each column that can be compared, and how close
    the first of ``names`` are.
    """
    if len(frame) > ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, ROWS).astype(np.int64)]
    row_count = len(frame)
    if row_count < 4:
        return {}, {}
    bases = _bases(frame, names)
    counts = {column_name: basis.shape[1] for column_name, basis in bases.items()}
    numbers = [column_name for column_name, count in counts.items() if count == 1]
    stacked = np.column_stack([np.zeros((row_count, 0)), *values_at(bases, numbers)])
    strengths: dict[str, dict[str, float]] = {}
    for base_name in [
        compared_name for compared_name in names if compared_name in bases
    ][:most]:
        # All numeric columns at once, because a wide table has thousands.
        products = bases[base_name].T @ stacked
        squared = (products**2).sum(axis=0) - (counts[base_name] - 1) / (row_count - 1)
        if counts[base_name] == 1:
            with_numbers = products.ravel()
        else:
            with_numbers = np.sqrt(np.clip(squared, 0.0, 1.0))
        strengths[base_name] = dict(zip(numbers, with_numbers.tolist(), strict=True))
        strengths[base_name] |= {
            other_name: _corrected(bases[base_name], bases[other_name])
            for other_name in bases
            if counts[other_name] > 1
        }
    return counts, strengths


def _bases(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return an orthonormal basis ``(rows, 1 or levels)`` of each column's ranks (one
    level), or of its levels.
    """
    frame = frame.copy(deep=False)
    for column_name, column in list(frame.items()):
        if is_moment(column):
            frame[column_name] = series_seconds(column)
    numeric = [
        numeric_candidate
        for numeric_candidate in frame.columns
        if pd.api.types.is_numeric_dtype(frame[numeric_candidate].dtype)
    ]
    cells = frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan)
    cell_ranks = pd.DataFrame(cells).rank()
    ranks: Floats = (cell_ranks - cell_ranks.mean()).fillna(0.0).to_numpy()
    sizes = np.sqrt((ranks**2).sum(axis=0))
    bases: dict[str, Any] = {
        numeric_name: (ranks[:, [column_index]] / sizes[column_index])
        for column_index, numeric_name in enumerate(numeric)
        if sizes[column_index] > 0
    }
    categories = [
        category_name
        for category_name in frame.columns
        if category_name not in set(numeric)
    ]
    wanted_categories = [
        wanted_name for wanted_name in names if wanted_name in categories
    ]
    for counted_category in list(dict.fromkeys([*wanted_categories, *categories]))[
        :CATEGORIES
    ]:
        basis = _basis_of_levels(frame[counted_category])
        if basis is not None:
            bases[counted_category] = basis
    return bases


def _basis_of_levels(column: pd.Series[Any]) -> Any:
    """Return the basis of a column's frequent levels, or None if it has not two."""
    try:
        different = column.nunique()
    except (TypeError, NotImplementedError):  # lists, also as Arrow types
        return None
    if (
        different > len(column) / 2
    ):  # a column with different values in most rows is skipped
        return None
    frequent = pd.Index(column.value_counts().index[:LEVELS].astype(object))
    codes = frequent.get_indexer(column.astype(object))
    # A missing cell is no level: two columns that lack the same rows need not be
    # related where they have values.
    rows = np.flatnonzero(column.notna().to_numpy())
    levels, codes = np.unique(codes[rows], return_inverse=True)
    if len(levels) < 2:
        return None
    return sparse.csr_array(
        (1 / np.sqrt(np.bincount(codes))[codes], (rows, codes)),
        shape=(len(column), len(levels)),
    )


def _where_both(first: Any, second: Any) -> tuple[Any, Any]:
    """Return two bases of levels in the rows that have a value of both, those levels
    that they have.
    """
    both_mask = np.ones(first.shape[0], dtype=bool)
    for basis in (first, second):
        both_mask &= np.diff(basis.indptr) > 0
    if both_mask.all():
        return first, second
    scaled_bases = []
    for basis in (first, second):
        member = (basis[np.flatnonzero(both_mask)] > 0).astype(np.float64)
        counts = np.asarray(member.sum(axis=0)).ravel()
        scales = sparse.diags_array(1 / np.sqrt(counts[counts > 0]))
        scaled_bases.append(
            sparse.csr_array(member[:, np.flatnonzero(counts)] @ scales)
        )
    return scaled_bases[0], scaled_bases[1]


def _corrected(first: Any, second: Any) -> float:
    """Return the corrected V of two columns, of which the second has levels, where both
    have a value.
    """
    if first.shape[1] > 1:
        first, second = _where_both(first, second)
        if min(first.shape[1], second.shape[1]) < 2 or first.shape[0] < _FEWEST_BOTH:
            return 0.0
    row_count = first.shape[0]
    freedom = [max(basis.shape[1] - 1, 1) for basis in (first, second)]
    squared = float(((first.T @ second) ** 2).sum()) - (first.shape[1] > 1)
    if first.shape[1] > 1:
        smallest = min(count - count**2 / (row_count - 1) for count in freedom)
    else:
        smallest = 1.0
    return math.sqrt(
        min(
            max(squared - freedom[0] * freedom[1] / (row_count - 1), 0.0)
            / max(smallest, 1e-9),
            1.0,
        )
    )
