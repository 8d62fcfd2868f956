"""Scores of groups of test rows by every feature, and the groups that are clearly worse than all other rows.

The score of classifiers is the accuracy, tested exactly (Fisher 1935) or by its normal approximation. That of
regression is the mean absolute error, tested by Welch (1947). All tests are adjusted for their number (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.significance import LEVEL, NORMAL_95, holm, t_quantile, t_two_sided
from permgrad.data.read.dates import date_text
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.cells import cells_of
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import Levels, levels_of
from permgrad.evaluation.skill import Predicted

#: Ranges that numbers and dates are divided into.
PARTS = 4
#: Groups with fewer rows are shown, but not tested.
FEWEST_ROWS = 20
#: A group is named as worse if its errors are larger than those of the other rows by at least this share.
LEAST_EXCESS = 0.1
#: With fewer expected errors (or hits) in a group, the exact test is used.
_EXACT_BELOW = 25


def find_segments(
    X: pd.DataFrame,
    predicted: Predicted,
    *,
    positive: int = 1,
    na_codes: Sequence[str | int | float] = (),
    covered: Booleans | None = None,
) -> dict[str, Any]:
    """Score the model on groups of rows by every feature: frequent levels, and quartiles of numbers and dates.

    Args:
        X: The test rows ``(rows, features)``. Tables of many cells are sampled evenly.
        predicted: Their truth and predictions.
        positive: The position of the positive one of two classes.
        na_codes: Codes of missing cells.
        covered: Whether each row's truth is inside its interval or set.

    Returns:
        ``score`` (``"accuracy"`` or ``"mae"``), its value ``overall``, ``rows`` scored of ``all_rows``, ``tests``: the
        number of groups tested, and ``features``: for each ``feature`` its ``groups``. A group has

        - ``group`` (its name) and ``rows``
        - ``score`` with its 95 % interval ``low, high``, and ``rest``: the score of all other rows
        - ``p_value`` of the difference, and ``p_holm``, adjusted for all groups (None: too few rows)
        - ``worse``: whether ``p_holm`` is below 5 % and the errors are at least 10 % larger than those of other rows
        - of classes ``commonest, rest_commonest``: the share of the most frequent class in the group and in the others
        - ``same_as``: the feature and the name of an earlier group that has the same rows (left out of others). The two
          are one test.
        - ``observed, predicted``: mean target and mean prediction (two classes: share and mean probability of the
          positive one, with ``recall`` and ``false_alarms``, the share of the other rows predicted as positive)
        - with ``covered`` the share of covered rows, with its 95 % interval ``covered_low, covered_high``

    Examples:
        >>> X = pd.DataFrame({"town": ["a"] * 60 + ["b"] * 60})
        >>> truth = np.array([0, 1] * 60)
        >>> sure = np.where(X["town"] == "a", truth, 0.3)
        >>> result = find_segments(X, Predicted(truth, np.column_stack([1 - sure, sure])))
        >>> [(one["group"], one["score"], one["worse"]) for one in result["features"][0]["groups"]]
        [('a', 1.0, False), ('b', 0.5, True)]
    """
    places = looked_at(len(X), len(X.columns)) if len(X) else np.zeros(0, dtype=np.int64)
    table = blank_codes(pd.DataFrame(X.iloc[places]), list(na_codes))
    rows = _Rows.of(Predicted(predicted.truth[places], predicted.guess[places]), positive)
    rows = rows if covered is None else replace(rows, covered=covered[places].astype(np.float64))
    features, copies = _scored(table, rows)
    tests = _judge([group for feature in features for group in feature["groups"] if "same_as" not in group], rows)
    for group, same in copies:
        group |= {key: same[key] for key in ("p_holm", "worse")}
    return {
        "score": "accuracy" if rows.shares else "mae",
        "overall": float(rows.values.mean()) if len(places) else None,
        "rows": len(places),
        "all_rows": len(X),
        "tests": tests,
        "features": features,
    }


_Group = dict[str, Any]


def _scored(table: pd.DataFrame, rows: _Rows) -> tuple[list[dict[str, Any]], list[tuple[_Group, _Group]]]:
    """Return the groups of every feature with their scores, and those that are copies of earlier ones, with these."""
    features: list[dict[str, Any]] = []
    first: dict[bytes, tuple[str, _Group]] = {}
    copies: list[tuple[_Group, _Group]] = []
    for at, column in enumerate(table.columns):
        name, levels = str(column), _groups(table.iloc[:, at], str(column))
        if levels is None:
            continue
        groups = rows.scores(*levels)
        features.append({"feature": name, "groups": groups})
        for code, group in zip(np.unique(levels[0]), groups, strict=True):
            feature, same = first.setdefault(np.packbits(levels[0] == code).tobytes(), (name, group))
            if same is not group:
                group["same_as"] = [feature, same["group"]]
                copies.append((group, same))
    return features, copies


def _judge(groups: Sequence[_Group], rows: _Rows) -> int:
    """Add the adjusted p-values of groups, and whether they are clearly worse. Return how many are tested."""
    tested = [group for group in groups if group["p_value"] is not None]
    for group, p in zip(tested, holm([group["p_value"] for group in tested]), strict=True):
        group["p_holm"] = float(p)
        errors, others = (1 - group[key] if rows.shares else group[key] for key in ("score", "rest"))
        group["worse"] = bool(p < LEVEL and errors > others and errors >= others * (1 + LEAST_EXCESS))
    return len(tested)


def worse_groups(segments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the groups that are clearly worse than the other rows, with their feature, the largest gap first.

    Of groups with the same rows only the first is listed.
    """
    worse = [
        {"feature": feature["feature"], **group}
        for feature in segments["features"]
        for group in feature["groups"]
        if group["worse"] and "same_as" not in group
    ]
    return sorted(worse, key=lambda group: -abs(group["score"] - group["rest"]))


def groups_of_rows(
    X: pd.DataFrame, places: npt.NDArray[np.integer], names: Sequence[str], na_codes: Sequence[str | int | float] = ()
) -> dict[str, Levels]:
    """Return the group of the rows at ``places`` by each of some columns, and its groups' names, see ``find_segments``.

    Tables of many cells are sampled with these rows: there, the ends of ranges can differ a little.

    Examples:
        >>> X = pd.DataFrame({"age": [*range(40), -9]})
        >>> codes, names = groups_of_rows(X, np.array([0, 40]), ["age"], [-9])["age"]
        >>> [names[code] for code in codes]
        ['up to 9', 'missing']
    """
    seen = np.union1d(looked_at(len(X), len(X.columns)), places)
    table = blank_codes(X.iloc[seen][list(names)], list(na_codes))
    at = np.searchsorted(seen, places)
    groups = {name: levels for name in names if (levels := _groups(table[name], str(name))) is not None}
    return {str(name): (codes[at], words) for name, (codes, words) in groups.items()}


def _groups(series: pd.Series[Any], name: str) -> Levels | None:
    """Return the group of each row, and their names. None where rows are all alike, or nearly all different."""
    cells = cells_of(series, name)
    if cells.kind == "date":
        values = cells.values
        assert values is not None
        levels = levels_of(pd.Series(values), PARTS, _duration_text if series.dtype.kind == "m" else date_text)
    elif cells.kind == "number" and not pd.api.types.is_bool_dtype(series.dtype):
        levels = levels_of(pd.Series(cells.values), PARTS)
    else:
        if cells.count > max(len(series) / 2, 2):
            return None
        levels = levels_of(series, PARTS)
    if levels is None or len(np.unique(levels[0])) < 2:
        return None
    return levels


def _duration_text(seconds: float) -> str:
    return str(pd.Timedelta(seconds=seconds))


@dataclass(frozen=True)
class _Rows:
    """What is counted of each row, ``(rows,)`` each."""

    values: Floats  # right (1) or wrong (0), or the absolute error
    observed: Floats | None  # the target, or whether the row is positive
    predicted: Floats | None
    called: Floats | None  # whether the row is predicted as positive
    shares: bool
    truth: Integers | None = None  # the class, as a code
    covered: Floats | None = None

    @classmethod
    def of(cls, scored: Predicted, positive: int) -> _Rows:
        """Return what is counted of the rows."""
        if not scored.classes:
            truth = np.asarray(scored.truth, dtype=np.float64)
            return cls(np.abs(truth - scored.guess), truth, scored.guess, None, shares=False)
        best = scored.guess.argmax(axis=1)
        right = (best == scored.truth).astype(np.float64)
        codes: Integers = scored.truth.astype(np.int64)
        if scored.classes != 2:
            return cls(right, None, None, None, shares=True, truth=codes)
        is_positive = (scored.truth == positive).astype(np.float64)
        return cls(
            right,
            is_positive,
            scored.guess[:, positive],
            (best == positive).astype(np.float64),
            shares=True,
            truth=codes,
        )

    def scores(self, codes: Integers, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the facts of each group with rows."""
        counts = np.bincount(codes, minlength=len(names))
        used = np.flatnonzero(counts)
        sizes = counts[used].astype(np.float64)

        def sums(values: Floats) -> Floats:
            return np.asarray(np.bincount(codes, weights=values, minlength=len(names))[used])

        total, rows = sums(self.values), len(codes)
        score, rest = total / sizes, (self.values.sum() - total) / (rows - sizes)
        if self.shares:
            low, high = wilson(score, sizes)
            pairs, hits = zip(total.tolist(), sizes.tolist(), strict=True), int(self.values.sum())
            p_values = np.array([_share_test(int(right), int(size), hits, rows) for right, size in pairs])
        else:
            low, high, p_values = self._mean_test(score, rest, sums(self.values**2), sizes)
        facts: dict[str, Any] = {"score": score, "low": low, "high": high, "rest": rest}
        if self.truth is not None:
            # Classes that no training row has count from −1 downwards.
            classes = self.truth - self.truth.min()
            table = np.bincount(codes * (classes.max() + 1) + classes, minlength=len(names) * int(classes.max() + 1))
            table = table.reshape(len(names), -1)[used]
            facts["commonest"] = table.max(axis=1) / sizes
            facts["rest_commonest"] = (table.sum(axis=0) - table).max(axis=1) / (rows - sizes)
        if self.observed is not None and self.predicted is not None:
            facts |= {"observed": sums(self.observed) / sizes, "predicted": sums(self.predicted) / sizes}
        if self.observed is not None and self.called is not None:
            with np.errstate(invalid="ignore"):
                facts["recall"] = sums(self.observed * self.called) / sums(self.observed)
                facts["false_alarms"] = sums((1 - self.observed) * self.called) / sums(1 - self.observed)
        if self.covered is not None:
            facts["covered"] = sums(self.covered) / sizes
            facts["covered_low"], facts["covered_high"] = wilson(facts["covered"], sizes)
        return [
            {
                "group": names[place],
                "rows": int(counts[place]),
                **{key: float(column[at]) if math.isfinite(column[at]) else None for key, column in facts.items()},
                "p_value": float(p_values[at]) if FEWEST_ROWS <= sizes[at] <= rows - FEWEST_ROWS else None,
                "p_holm": None,
                "worse": False,
            }
            for at, place in enumerate(used.tolist())
        ]

    def _mean_test(self, score: Floats, rest: Floats, squares: Floats, sizes: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the intervals of means, and p-values of their differences from those of the other rows."""
        outside = len(self.values) - sizes
        with np.errstate(invalid="ignore", divide="ignore"):
            left = np.maximum(squares - sizes * score**2, 0) / (sizes - 1) / sizes
            right = np.maximum((self.values**2).sum() - squares - outside * rest**2, 0) / (outside - 1) / outside
            freedom = (left + right) ** 2 / (left**2 / (sizes - 1) + right**2 / (outside - 1))
            p_values = t_two_sided((score - rest) / np.sqrt(left + right), freedom)
            half = t_quantile(float(special.ndtr(NORMAL_95)), sizes - 1) * np.sqrt(left)
        return np.maximum(score - half, 0), score + half, np.where(np.isfinite(p_values), p_values, 1.0)


def _share_test(hits: int, size: int, all_hits: int, rows: int) -> float:
    """Return the two-sided p-value of a share among some of the rows, given that among all of them."""
    share = all_hits / rows
    expected = size * share
    deviation = math.sqrt(size * share * (1 - share) * (rows - size) / max(rows - 1, 1))
    if deviation == 0:
        return 1.0
    if min(expected, size - expected) >= _EXACT_BELOW:
        # With a correction for continuity, as the exact test would be.
        return float(2 * special.ndtr(-max(abs(hits - expected) - 0.5, 0.0) / deviation))
    possible = np.arange(max(0, size - (rows - all_hits)), min(size, all_hits) + 1)
    chances = np.exp(
        _log_choose(all_hits, possible) + _log_choose(rows - all_hits, size - possible) - _log_choose(rows, size)
    )
    tail = min(chances[possible <= hits].sum(), chances[possible >= hits].sum())
    return float(min(1.0, 2 * tail))


def _log_choose(n: int, k: Any) -> Any:
    return special.gammaln(n + 1) - special.gammaln(np.asarray(k) + 1) - special.gammaln(n - np.asarray(k) + 1)
