"""Columns that move together: pairs, a matrix of some columns, and groups to explain as one feature."""

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
from permgrad.base.significance import t_quantile
from permgrad.data.read.cells import as_frame
from permgrad.data.read.dates import is_moment, series_seconds

#: From this value on, features are related. At 0.5 they have a quarter of their variance in common, and
#: regression coefficients begin to suffer (correlations of 0.5 to 0.7: Dormann et al., Ecography 36, 2013).
LEAST = 0.5
#: The kind of two columns that lack values in the same rows.
MISSING = "missing cells"
#: Features that are compared with all others, rows that are looked at, and columns that are no numbers, at most.
RELATED_FEATURES, ROWS, CATEGORIES = 8, 2000, 500
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

    The importance of such columns is shared between them. A group is explained as one feature. Every two columns of a
    group are related by at least ``strength`` (complete linkage): numbers, and dates of such a type, by the correlation
    of their ranks (Spearman 1904), categories by Cramér's V (Bergsma 2013), a number and a category by the correlation
    ratio of the ranks. At most 2,000 rows are read. Check that the columns of a group belong together before you use
    it.

    Args:
        X: the table ``(rows, columns)``: a frame of pandas, polars or pyarrow, or an array.
        strength: least strength of each pair in a group, from 0 to 1.

    Returns:
        Name of the group to its columns. Columns without a group are left out.

    Raises:
        InputError: X is no table, has fewer than 4 rows, or ``strength`` is not above 0 and at most 1.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> age = rng.normal(50, 9, 200)
        >>> X = pd.DataFrame({"age": age, "born": 2026 - age.round(), "dose": rng.normal(size=200)})
        >>> pg.related_columns(X)
        {'age + born': ['age', 'born']}
    """
    if not is_number(strength) or not 0 < strength <= 1:
        what = f"strength must be above 0 and at most 1, got {shown(strength)}"
        raise InputError(what, hint="Pass for example 0.8.", code="PG002")
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
        columns = [names[place] for place in np.flatnonzero(member == cluster)]
        if len(columns) > 1:
            more = f" and {len(columns) - 2} more" if len(columns) > 2 else ""
            groups[f"{columns[0]} + {columns[1]}{more}"] = columns
    return groups


def related(
    frame: pd.DataFrame, features: Sequence[str], columns: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the columns that are related to some features, the closest first, and a matrix of some columns.

    Numbers are compared by the correlation of their ranks (Spearman 1904), categories by Cramér's V, corrected for its
    bias (Bergsma, Journal of the Korean Statistical Society 42, 2013). For a number and a category, V is the root of
    the share of the ranks' variance between levels. 0: unrelated. 1: one determines the other. In the matrix,
    ``strengths`` has a row and a column for each of ``names``, those of the ``columns`` that can be compared.

    Cells count where both columns have a value. Columns that lack values in the same rows are pairs of the kind
    ``MISSING`` if they are no others, by the correlation of where cells are missing.
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
        for name, line in strengths.items():
            close = [
                (other, value)
                for other, value in line.items()
                if other != name and abs(value) >= least
            ]
            for other, strength in sorted(close, key=lambda pair: -abs(pair[1])):
                kind = (
                    "correlation"
                    if levels[name] == levels[other] == 1
                    else "association"
                )
                pairs.append(_pair(name, other, strength, kind))
            known = {other for other, _ in close}
            for other, strength in _lacking_with(name, lacking):
                if other not in known and strength >= least:
                    pairs.append(_pair(name, other, strength, MISSING))
    among = _strengths(frame[list(columns)], columns, len(columns))[1]
    return pairs, {
        "names": list(among),
        "strengths": [[line[name] for name in among] for line in among.values()],
    }


def _pair(name: str, other: str, strength: float, kind: str) -> dict[str, Any]:
    return {"feature": name, "other": other, "strength": strength, "kind": kind}


def _lacking(frame: pd.DataFrame) -> dict[str, Floats]:
    """Return where cells are missing ``(rows,)``, standardised, of columns that have some of both."""
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
    """Return how closely others lack values in the rows in which a column does, the closest first."""
    if name not in lacking:
        return []
    found = [
        (other, float(lacking[name] @ where))
        for other, where in lacking.items()
        if other != name
    ]
    return sorted(found, key=lambda pair: -pair[1])


def _strengths(
    frame: pd.DataFrame, names: Sequence[str], most: int
) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
    """Return the number of levels of each column that can be compared, and how close the first of ``names`` are."""
    if len(frame) > ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, ROWS).astype(np.int64)]
    rows = len(frame)
    if rows < 4:
        return {}, {}
    bases = _bases(frame, names)
    counts = {name: basis.shape[1] for name, basis in bases.items()}
    numbers = [name for name, count in counts.items() if count == 1]
    stacked = np.column_stack([np.zeros((rows, 0)), *(bases[name] for name in numbers)])
    strengths: dict[str, dict[str, float]] = {}
    for name in [name for name in names if name in bases][:most]:
        # All numeric columns at once, because a wide table has thousands.
        products = bases[name].T @ stacked
        squared = (products**2).sum(axis=0) - (counts[name] - 1) / (rows - 1)
        with_numbers = (
            products.ravel()
            if counts[name] == 1
            else np.sqrt(np.clip(squared, 0.0, 1.0))
        )
        strengths[name] = dict(zip(numbers, with_numbers.tolist(), strict=True))
        strengths[name] |= {
            other: _corrected(bases[name], bases[other])
            for other in bases
            if counts[other] > 1
        }
    return counts, strengths


def _bases(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return an orthonormal basis ``(rows, 1 or levels)`` of each column's ranks (one level), or of its levels."""
    frame = frame.copy(deep=False)
    for name, column in list(frame.items()):
        if is_moment(column):
            frame[name] = series_seconds(column)
    numeric = [
        name
        for name in frame.columns
        if pd.api.types.is_numeric_dtype(frame[name].dtype)
    ]
    cells = frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan)
    places = pd.DataFrame(cells).rank()
    ranks: Floats = (places - places.mean()).fillna(0.0).to_numpy()
    sizes = np.sqrt((ranks**2).sum(axis=0))
    bases: dict[str, Any] = {
        name: (ranks[:, [at]] / sizes[at])
        for at, name in enumerate(numeric)
        if sizes[at] > 0
    }
    categories = [name for name in frame.columns if name not in set(numeric)]
    wanted = [name for name in names if name in categories]
    for name in list(dict.fromkeys([*wanted, *categories]))[:CATEGORIES]:
        basis = _basis_of_levels(frame[name])
        if basis is not None:
            bases[name] = basis
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
    # A missing cell is no level: two columns that lack the same rows need not be related where they have values.
    rows = np.flatnonzero(column.notna().to_numpy())
    levels, codes = np.unique(codes[rows], return_inverse=True)
    if len(levels) < 2:
        return None
    return sparse.csr_array(
        (1 / np.sqrt(np.bincount(codes))[codes], (rows, codes)),
        shape=(len(column), len(levels)),
    )


def _where_both(first: Any, second: Any) -> tuple[Any, Any]:
    """Return two bases of levels in the rows that have a value of both, those levels that they have."""
    both = np.ones(first.shape[0], dtype=bool)
    for basis in (first, second):
        both &= np.diff(basis.indptr) > 0
    if both.all():
        return first, second
    kept = []
    for basis in (first, second):
        member = (basis[np.flatnonzero(both)] > 0).astype(np.float64)
        counts = np.asarray(member.sum(axis=0)).ravel()
        scales = sparse.diags_array(1 / np.sqrt(counts[counts > 0]))
        kept.append(sparse.csr_array(member[:, np.flatnonzero(counts)] @ scales))
    return kept[0], kept[1]


def _corrected(first: Any, second: Any) -> float:
    """Return the corrected V of two columns, of which the second has levels, where both have a value."""
    if first.shape[1] > 1:
        first, second = _where_both(first, second)
        if min(first.shape[1], second.shape[1]) < 2 or first.shape[0] < _FEWEST_BOTH:
            return 0.0
    rows, freedom = (
        first.shape[0],
        [max(basis.shape[1] - 1, 1) for basis in (first, second)],
    )
    squared = float(((first.T @ second) ** 2).sum()) - (first.shape[1] > 1)
    smallest = (
        min(count - count**2 / (rows - 1) for count in freedom)
        if first.shape[1] > 1
        else 1.0
    )
    return math.sqrt(
        min(
            max(squared - freedom[0] * freedom[1] / (rows - 1), 0.0)
            / max(smallest, 1e-9),
            1.0,
        )
    )
