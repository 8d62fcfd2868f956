"""Scores of groups of test rows by every feature, and the groups that are clearly worse than all other rows.

The score of classifiers is the accuracy, tested exactly (Fisher 1935) or by its normal approximation. That of
regression is the mean absolute error, tested by Welch (1947). All tests are adjusted for their number (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.significance import LEVEL, NORMAL_95, holm, t_quantile, t_two_sided
from permgrad.data.read.dates import date_text
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import Levels, cells_of, levels_of
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
    na: Sequence[str | int | float] = (),
    covered: Booleans | None = None,
    dependence: Dependence | None = None,
) -> dict[str, Any]:
    """Score the model on groups of rows by every feature: frequent levels, and quartiles of numbers and dates.

    Args:
        X: The test rows ``(rows, features)``. Tables of many cells are sampled evenly.
        predicted: Their truth and predictions.
        positive: The position of the positive one of two classes.
        na: Codes of missing cells.
        covered: Whether each row's truth is inside its interval or set.
        dependence: Which rows depend on each other. Intervals and p-values then allow for it, and a group with fewer
            than five independent rows is not tested.

    Returns:
        ``score`` (``"accuracy"`` or ``"mae"``), its value ``overall``, ``rows`` scored of ``all_rows``, ``tests``: the
        number of groups tested, and ``features``: for each ``feature`` its ``groups``. A group has

        - ``group`` (its name) and ``rows``
        - ``score`` with its 95 % interval ``low, high``, and ``rest``: the score of all other rows
        - ``p_value`` of the difference, and ``p_holm``, adjusted for all groups (None: too few rows)
        - ``worse``: whether ``p_holm`` is below 5 % and the errors are at least 10 % larger than those of other rows
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
    places = looked_at(len(X), len(X.columns))
    table = blank_codes(pd.DataFrame(X.iloc[places]), list(na))
    columns = _counted(predicted.take(places), positive)
    if covered is not None:
        columns["covered"] = covered[places].astype(np.float64)
    dependence = None if dependence is None else dependence.take(places)
    features: list[dict[str, Any]] = []
    first: dict[bytes, tuple[str, dict[str, Any]]] = {}
    copies: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for at, column in enumerate(table.columns):
        name, levels = str(column), _groups(table.iloc[:, at], str(column))
        if levels is None:
            continue
        groups = _scores(columns, *levels, dependence)
        features.append({"feature": name, "groups": groups})
        for code, group in zip(np.unique(levels[0]), groups, strict=True):
            feature, same = first.setdefault(
                np.packbits(levels[0] == code).tobytes(), (name, group)
            )
            if same is not group:
                group["same_as"] = [feature, same["group"]]
                copies.append((group, same))
    every = [group for feature in features for group in feature["groups"]]
    tested = [
        group
        for group in every
        if group["p_value"] is not None and "same_as" not in group
    ]
    for group, p in zip(
        tested, holm([group["p_value"] for group in tested]), strict=True
    ):
        errors, others = (
            group[key] if "squares" in columns else 1 - group[key]
            for key in ("score", "rest")
        )
        worse = p < LEVEL and errors > others and errors >= others * (1 + LEAST_EXCESS)
        group["p_holm"], group["worse"] = float(p), bool(worse)
    for group, same in copies:
        group["p_holm"], group["worse"] = same["p_holm"], same["worse"]
    return {
        "score": "mae" if "squares" in columns else "accuracy",
        "overall": float(columns["score"].mean()) if len(places) else None,
        "rows": len(places),
        "all_rows": len(X),
        "tests": len(tested),
        "features": features,
    }


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
    X: pd.DataFrame,
    places: npt.NDArray[np.integer],
    names: Sequence[str],
    na: Sequence[str | int | float] = (),
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
    table = blank_codes(X.iloc[seen][list(names)], list(na))
    at = np.searchsorted(seen, places)
    groups = {
        name: levels
        for name in names
        if (levels := _groups(table[name], str(name))) is not None
    }
    return {str(name): (codes[at], words) for name, (codes, words) in groups.items()}


def _groups(series: pd.Series[Any], name: str) -> Levels | None:
    """Return the group of each row, and their names. None where rows are all alike, or nearly all different."""
    cells = cells_of(series, name)
    if cells.kind == "date":
        to_text = (
            (lambda seconds: str(pd.Timedelta(seconds=seconds)))
            if series.dtype.kind == "m"
            else date_text
        )
        levels = levels_of(pd.Series(cells.values), PARTS, to_text)
    elif cells.kind == "number" and not pd.api.types.is_bool_dtype(series.dtype):
        levels = levels_of(pd.Series(cells.values), PARTS)
    else:
        if len(cells.names or ()) > max(len(series) / 2, 2):
            return None
        levels = levels_of(series, PARTS)
    if levels is None or len(np.unique(levels[0])) < 2:
        return None
    return levels


def _counted(predicted: Predicted, positive: int) -> dict[str, Floats]:
    """Return what is counted of each row, ``(rows,)`` each. Numbers have ``squares``, too.

    ``score``: right (1) or wrong (0), or the absolute error. ``observed``: whether the row is positive, or the target.
    ``called`` are the positives that are predicted so, and ``alarms`` the other rows.
    """
    if not predicted.classes:
        truth = np.asarray(predicted.truth, dtype=np.float64)
        errors = np.abs(truth - predicted.guess)
        return {
            "score": errors,
            "squares": errors**2,
            "observed": truth,
            "predicted": predicted.guess,
        }
    best = predicted.decided
    columns = {"score": (best == predicted.truth).astype(np.float64)}
    if predicted.classes == 2:
        observed, called = (
            (codes == positive).astype(np.float64) for codes in (predicted.truth, best)
        )
        columns |= {
            "observed": observed,
            "predicted": predicted.guess[:, positive],
            "called": observed * called,
        }
        columns |= {"others": 1 - observed, "alarms": (1 - observed) * called}
    return columns


def _scores(
    columns: Mapping[str, Floats],
    codes: Integers,
    names: Sequence[str],
    dependence: Dependence | None,
) -> list[dict[str, Any]]:
    """Return the facts of each group with rows."""
    counts = np.bincount(codes, minlength=len(names))
    used = np.flatnonzero(counts)
    sizes, rows = counts[used].astype(np.float64), len(codes)
    sums: dict[str, Any] = {
        key: np.bincount(codes, weights=one, minlength=len(names))[used]
        for key, one in columns.items()
    }
    total, everything = sums["score"], columns["score"].sum()
    score, rest = total / sizes, (everything - total) / (rows - sizes)
    if "squares" in columns:
        squares = columns["squares"].sum()
        low, high, p_values = _mean_test(
            squares, sums["squares"], score, rest, sizes, rows
        )
    else:
        low, high = wilson(score, sizes)
        pairs = zip(total.tolist(), sizes.tolist(), strict=True)
        p_values = np.array(
            [
                _share_test(int(right), int(size), int(everything), rows)
                for right, size in pairs
            ]
        )
    facts = {"score": score, "low": low, "high": high, "rest": rest}
    if "observed" in sums:
        facts |= {key: sums[key] / sizes for key in ("observed", "predicted")}
    if "called" in sums:
        with np.errstate(invalid="ignore"):
            facts["recall"] = sums["called"] / sums["observed"]
            facts["false_alarms"] = sums["alarms"] / sums["others"]
    if "covered" in sums:
        facts["covered"] = sums["covered"] / sizes
        facts["covered_low"], facts["covered_high"] = wilson(facts["covered"], sizes)
    groups = [
        {
            "group": names[place],
            "rows": int(counts[place]),
            **{
                key: float(column[at]) if math.isfinite(column[at]) else None
                for key, column in facts.items()
            },
            "p_value": float(p_values[at])
            if FEWEST_ROWS <= sizes[at] <= rows - FEWEST_ROWS
            else None,
            "p_holm": None,
            "worse": False,
        }
        for at, place in enumerate(used.tolist())
    ]
    if dependence is not None:
        related = {
            key: dependence.correlation(columns[key])
            for key in ("score", "covered")
            if key in columns
        }
        for place, group in zip(used, groups, strict=True):
            _allow_for(
                dependence,
                related,
                codes == place,
                group,
                shares="squares" not in columns,
            )
    return groups


def _allow_for(
    dependence: Dependence,
    related: Mapping[str, float],
    member: Booleans,
    group: dict[str, Any],
    *,
    shares: bool,
) -> None:
    """Widen the intervals and correct the p-value of a group with the rows ``member``. ``shares``: scores are."""
    inside, outside = member.astype(np.float64), (~member).astype(np.float64)
    for value, low, high in (
        ("score", "low", "high"),
        ("covered", "covered_low", "covered_high"),
    ):
        if group.get(low) is not None:
            wider = dependence.widening(inside, related[value])
            most = math.inf if value == "score" and not shares else 1.0
            group[low] = max(group[value] - wider * (group[value] - group[low]), 0.0)
            group[high] = min(group[value] + wider * (group[high] - group[value]), most)
    if group["p_value"] is not None and dependence.testable(member, related["score"]):
        contrast = inside / inside.sum() - outside / outside.sum()
        group["p_value"] = dependence.corrected(
            group["p_value"], contrast, related["score"]
        )
    else:
        group["p_value"] = None


def _mean_test(
    all_squares: float,
    squares: Floats,
    score: Floats,
    rest: Floats,
    sizes: Floats,
    rows: int,
) -> tuple[Floats, Floats, Floats]:
    """Return the intervals of means, and p-values of their differences from those of the other rows."""
    outside = rows - sizes
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.maximum(squares - sizes * score**2, 0) / (sizes - 1) / sizes
        right = (
            np.maximum(all_squares - squares - outside * rest**2, 0)
            / (outside - 1)
            / outside
        )
        freedom = (left + right) ** 2 / (
            left**2 / (sizes - 1) + right**2 / (outside - 1)
        )
        p_values = t_two_sided((score - rest) / np.sqrt(left + right), freedom)
        half = t_quantile(float(special.ndtr(NORMAL_95)), sizes - 1) * np.sqrt(left)
    return (
        np.maximum(score - half, 0),
        score + half,
        np.where(np.isfinite(p_values), p_values, 1.0),
    )


def _share_test(hits: int, size: int, all_hits: int, rows: int) -> float:
    """Return the two-sided p-value of a share among some of the rows, given that among all of them."""
    share = all_hits / rows
    expected = size * share
    deviation = math.sqrt(size * share * (1 - share) * (rows - size) / max(rows - 1, 1))
    if deviation == 0:
        return 1.0
    if min(expected, size - expected) >= _EXACT_BELOW:
        # With a correction for continuity, as the exact test would be.
        return float(
            2 * special.ndtr(-max(abs(hits - expected) - 0.5, 0.0) / deviation)
        )
    possible = np.arange(max(0, size - (rows - all_hits)), min(size, all_hits) + 1)
    pools = (
        (all_hits, possible),
        (rows - all_hits, size - possible),
        (rows, np.asarray(size)),
    )
    logs = [
        special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
        for n, k in pools
    ]
    chances = np.exp(logs[0] + logs[1] - logs[2])
    tail = min(chances[possible <= hits].sum(), chances[possible >= hits].sum())
    return float(min(1.0, 2 * tail))
