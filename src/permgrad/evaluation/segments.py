"""Scores of groups of test rows by every feature, and the groups that are clearly worse
than all other rows.

Outcomes are more uncertain in some groups than in others, and a model that is right
errs there more often. So a group is worse only where the model errs more than its own
probabilities expect, or than is usual at its predictions, clearly more so than on all
other rows (``between_levels``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.significance import LEVEL, t_quantile
from permgrad.data.read.dates import date_text
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.between_levels import (
    Compared,
    Measure,
    beyond_expected,
    compare_levels,
    events_of,
    usual_errors,
)
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import Levels, cells_of, levels_of
from permgrad.evaluation.skill import Predicted

#: Ranges that numbers and dates are divided into.
PARTS = 4
#: A group is named as worse if its errors are at least by this share more in excess
#: than those of the other rows.
LEAST_EXCESS = 0.1


def find_segments(
    X: pd.DataFrame,
    predicted: Predicted,
    *,
    positive: int = 1,
    na: Sequence[str | int | float] = (),
    covered: Booleans | None = None,
    dependence: Dependence | None = None,
    labels_only: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the model on groups of rows by every feature: frequent levels, and
    quartiles of numbers and dates.

    Args:
        X: The test rows ``(rows, features)``. Tables of many cells are sampled evenly.
        predicted: Their truth and predictions.
        positive: The position of the positive one of two classes.
        na: Codes of missing cells.
        covered: Whether each row's truth is inside its interval or set.
        dependence: Which rows depend on each other. Intervals and p-values then allow
            for it, and a group of rows from fewer than five groups, or of fewer than
            five independent rows, is not tested.
        labels_only: The model returns classes without probabilities, so that nothing is
            expected of it.
        seed: Of the exchanges that p-values come from.

    Returns:
        ``score`` (``"accuracy"`` or ``"mae"``), its value ``overall``, ``rows`` scored
        of ``all_rows``, of two classes the ``events`` (positive rows), ``tests``: the
        number of groups tested, and ``features``: for each ``feature`` its ``groups``.
        A group has

        - ``group`` (its name), ``rows`` and of two classes ``events``, the positive
          ones
        - ``score`` with its 95 % interval ``low, high``, and ``rest``: the score of all
          other rows
        - ``p_adjusted`` of its excess over what is expected, beside that of the other
          rows, adjusted for all groups (None: too few rows, or fewer than five events
          or five others)
        - ``worse``: whether ``p_adjusted`` is below 5 %, the group is the worse side,
          and its excess is at least 10 % larger, and ``by`` which measure:
          ``"accuracy"``, ``"log_loss"`` or ``"mae"``
        - ``measured``: by measure its ``score, expected`` in the group and ``rest,
          rest_expected`` on the other rows. Expected is what the probabilities say, and
          of numbers the mean error that is usual at their predictions.
        - ``same_as``: the feature and the name of an earlier group that has the same
          rows (left out of others). The two are one test.
        - ``observed, predicted``: mean target and mean prediction (two classes: share
          and mean probability of the positive one, with ``recall`` and
          ``false_alarms``, the share of the other rows predicted as positive)
        - with ``covered`` the share of covered rows, with its 95 % interval
          ``covered_low, covered_high``

    Examples:
        >>> X = pd.DataFrame({"town": ["a"] * 60 + ["b"] * 60})
        >>> truth = np.array([0, 1] * 60)
        >>> sure = np.where(X["town"] == "a", 0.1 + 0.8 * truth, 0.1)
        >>> chances = np.column_stack([1 - sure, sure])
        >>> result = find_segments(X, Predicted(truth, chances))
        >>> groups = result["features"][0]["groups"]
        >>> [(group["group"], group["score"], group["worse"]) for group in groups]
        [('a', 1.0, False), ('b', 0.5, True)]
    """
    row_indices = looked_at(len(X), len(X.columns))
    table = blank_codes(pd.DataFrame(X.iloc[row_indices]), list(na))
    sampled_predictions = predicted.take(row_indices)
    columns = _counted(sampled_predictions, positive)
    if covered is not None:
        columns["covered"] = covered[row_indices].astype(np.float64)
    if dependence is not None:
        dependence = dependence.take(row_indices)
    judged = _judged(sampled_predictions, labels_only=labels_only)
    features = _features_in_groups(table, columns, dependence)
    events = None
    if predicted.classes:
        events = events_of(sampled_predictions.truth, predicted.classes, positive)
    compared = compare_levels(
        {measure_name: measure for measure_name, (_, _, measure) in judged.items()},
        [feature.codes for feature in features],
        events=events,
        dependence=dependence,
        seed=seed,
    )
    tests = 0
    for feature, compared_groups in zip(features, compared, strict=True):
        for group_code, group in enumerate(feature.groups):
            is_member = feature.codes == group_code
            _judge(group, group_code, is_member, compared_groups, judged)
            tests += group["p_adjusted"] is not None and "same_as" not in group
    event_count = None
    if "called" in columns:
        event_count = round(float(columns["observed"].sum()))
    return {
        "score": "accuracy" if predicted.classes else "mae",
        "overall": float(columns["score"].mean()) if len(row_indices) else None,
        "events": event_count,
        "rows": len(row_indices),
        "all_rows": len(X),
        "tests": tests,
        "features": [
            {"feature": feature.name, "groups": feature.groups} for feature in features
        ],
    }


class _FeatureInGroups(NamedTuple):
    """A feature, the number of each row's group ``(rows,)``, and what is said of each
    group.
    """

    name: str
    codes: Integers
    groups: list[dict[str, Any]]


def _features_in_groups(
    table: pd.DataFrame, columns: Mapping[str, Floats], dependence: Dependence | None
) -> list[_FeatureInGroups]:
    """Return the features whose rows fall into groups, with the scores of each.

    A group of the same rows as an earlier one says so.
    """
    features = []
    first: dict[bytes, tuple[str, dict[str, Any]]] = {}
    for column_index, feature_name in enumerate(map(str, table.columns)):
        levels = _groups(table.iloc[:, column_index], feature_name)
        if levels is None:
            continue
        codes = np.unique(levels[0], return_inverse=True)[1]
        groups = _scores(columns, *levels, dependence)
        features.append(_FeatureInGroups(feature_name, codes, groups))
        for group_code, group in enumerate(groups):
            feature, first_group = first.setdefault(
                np.packbits(codes == group_code).tobytes(), (feature_name, group)
            )
            if first_group is not group:
                group["same_as"] = [feature, first_group["group"]]
    return features


#: Of a measure: its values, what is expected of each row, both ``(rows,)``, and what is
#: compared between groups.
_Judged = tuple[Floats, Floats | None, Measure]


def _judged(predicted: Predicted, *, labels_only: bool) -> dict[str, _Judged]:
    """Return what groups are judged by."""
    if not predicted.classes:
        truth = np.asarray(predicted.truth, dtype=np.float64)
        errors = np.abs(truth - predicted.guess)
        usual = usual_errors(truth, predicted.guess)
        return {"mae": (errors, usual, Measure(errors / usual))}
    right = (predicted.decided == predicted.truth).astype(np.float64)
    if labels_only:
        return {"accuracy": (right, None, Measure(right))}
    beyond = beyond_expected(predicted.guess, predicted.truth, predicted.decided)
    values = {"accuracy": right, "log_loss": predicted.losses[0]}
    judged: dict[str, _Judged] = {}
    for measure_name, (expected, measure) in beyond.items():
        judged[measure_name] = (values[measure_name], expected, measure)
    return judged


def _judge(
    group: dict[str, Any],
    code: int,
    inside: Booleans,
    compared: Mapping[str, Compared],
    judged: Mapping[str, _Judged],
) -> None:
    """Write into the facts of a group how far it is from what is expected, and whether
    it is worse.
    """
    p_values = {
        measure_name: float(comparison.p_value[code])
        for measure_name, comparison in compared.items()
    }
    defined = {
        measure_name: p for measure_name, p in p_values.items() if math.isfinite(p)
    }
    group["p_adjusted"] = min(defined.values(), default=None)
    group["worse"] = False
    group["measured"] = {}
    for judged_name, (values, expected, measure) in judged.items():
        sides = [inside, ~inside]
        if measure.member is not None:
            sides = [side_mask & measure.member for side_mask in sides]
        if not all(side_mask.any() for side_mask in sides):
            continue
        scores = [float(values[side_mask].mean()) for side_mask in sides]
        group["measured"][judged_name] = {"score": scores[0], "rest": scores[1]}
        errors = [1 - score if judged_name == "accuracy" else score for score in scores]
        excess = errors
        if expected is not None:
            means = [float(expected[side_mask].mean()) for side_mask in sides]
            group["measured"][judged_name] |= {
                "expected": means[0],
                "rest_expected": means[1],
            }
            smallest_error = np.finfo(np.float64).eps
            excess = [
                error
                / max(
                    1 - expected_mean if judged_name == "accuracy" else expected_mean,
                    smallest_error,
                )
                for error, expected_mean in zip(errors, means, strict=True)
            ]
        if p_values.get(judged_name, 1.0) < LEVEL and not group["worse"]:
            direction_sign = -1.0 if judged_name == "accuracy" else 1.0
            larger = excess[0] >= excess[1] * (1 + LEAST_EXCESS)
            if (
                larger
                and direction_sign * float(compared[judged_name].difference[code]) > 0
            ):
                group["worse"] = True
                group["by"] = judged_name


def worse_groups(segments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the groups that are clearly worse than the other rows, with their feature,
    the largest gap first.

    Of groups with the same rows only the first is listed.
    """
    worse = [
        {"feature": feature["feature"], **group}
        for feature in segments["features"]
        for group in feature["groups"]
        if group["worse"] and "same_as" not in group
    ]
    return sorted(worse, key=lambda group: (group["p_adjusted"], -_gap(group)))


def _gap(group: Mapping[str, Any]) -> float:
    """Return how many times larger than on the other rows the errors of a group are,
    beside what is expected.
    """
    facts = group["measured"][group["by"]]
    smallest_error = np.finfo(np.float64).eps
    sizes = []
    for score, expected in (("score", "expected"), ("rest", "rest_expected")):
        error = facts[score]
        usual = facts.get(expected)
        if group["by"] == "accuracy":
            error = 1 - error
            if usual is None:
                usual = None
            else:
                usual = 1 - usual
        sizes.append(error if usual is None else error / max(usual, smallest_error))
    return float(sizes[0] / max(sizes[1], smallest_error))


def groups_of_rows(
    X: pd.DataFrame,
    row_indices: npt.NDArray[np.integer],
    names: Sequence[str],
    na: Sequence[str | int | float] = (),
) -> dict[str, Levels]:
    """Return the group of the rows at ``row_indices`` by each of some columns, and its
    groups' names, see ``find_segments``.

    Tables of many cells are sampled with these rows: there, the ends of ranges can
    differ a little.

    Examples:
        >>> X = pd.DataFrame({"age": [*range(40), -9]})
        >>> codes, names = groups_of_rows(X, np.array([0, 40]), ["age"], [-9])["age"]
        >>> [names[code] for code in codes]
        ['up to 9', 'missing']
    """
    looked_at_rows = np.union1d(looked_at(len(X), len(X.columns)), row_indices)
    table = blank_codes(X.iloc[looked_at_rows][list(names)], list(na))
    positions = np.searchsorted(looked_at_rows, row_indices)
    groups = {
        column_name: levels
        for column_name in names
        if (levels := _groups(table[column_name], str(column_name))) is not None
    }
    return {
        str(column_name): (codes[positions], words)
        for column_name, (codes, words) in groups.items()
    }


def _groups(series: pd.Series[Any], name: str) -> Levels | None:
    """Return the group of each row, and their names.

    None where rows are all alike, or nearly all different.
    """
    cells = cells_of(series, name)
    if cells.is_moment:
        to_text = (
            (lambda seconds: str(pd.Timedelta(seconds=seconds)))
            if series.dtype.kind == "m"
            else date_text
        )
        levels = levels_of(pd.Series(cells.values), PARTS, to_text)
    elif not cells.is_levels and not pd.api.types.is_bool_dtype(series.dtype):
        levels = levels_of(pd.Series(cells.values), PARTS)
    else:
        if len(cells.names or ()) > max(len(series) / 2, 2):
            return None
        levels = levels_of(series, PARTS)
    if levels is None or len(np.unique(levels[0])) < 2:
        return None
    return levels


def _counted(predicted: Predicted, positive: int) -> dict[str, Floats]:
    """Return what is counted of each row, ``(rows,)`` each.

    Numbers have ``squares``, too.

    ``score``: right (1) or wrong (0), or the absolute error. ``observed``: whether the
    row is positive, or the target. ``called`` are the positives that are predicted so,
    and ``alarms`` the other rows.
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
    decided_codes = predicted.decided
    columns = {"score": (decided_codes == predicted.truth).astype(np.float64)}
    if predicted.classes == 2:
        observed = (predicted.truth == positive).astype(np.float64)
        called = (decided_codes == positive).astype(np.float64)
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
    used_codes = np.flatnonzero(counts)
    sizes = counts[used_codes].astype(np.float64)
    group_sums: dict[str, Any] = {
        column_name: np.bincount(codes, weights=row_values, minlength=len(names))[
            used_codes
        ]
        for column_name, row_values in columns.items()
    }
    other_scores = (columns["score"].sum() - group_sums["score"]) / (len(codes) - sizes)
    facts = _score_facts(group_sums, sizes, other_scores)
    groups = [
        {
            "group": names[group_code],
            "rows": int(counts[group_code]),
            **(
                {"events": round(float(group_sums["observed"][group_index]))}
                if "called" in group_sums
                else {}
            ),
            **{
                fact_name: float(column[group_index])
                if math.isfinite(column[group_index])
                else None
                for fact_name, column in facts.items()
            },
        }
        for group_index, group_code in enumerate(used_codes.tolist())
    ]
    if dependence is not None:
        related = {
            column_name: dependence.correlation(columns[column_name])
            for column_name in ("score", "covered")
            if column_name in columns
        }
        for used_code, group in zip(used_codes, groups, strict=True):
            _allow_for(
                dependence,
                related,
                codes == used_code,
                group,
                shares="squares" not in columns,
            )
    return groups


def _score_facts(
    sums: Mapping[str, Floats], sizes: Floats, other_scores: Floats
) -> dict[str, Floats]:
    """Return the facts of groups by their sums, each ``(groups,)``, and the scores of
    all others.
    """
    score = sums["score"] / sizes
    if "squares" in sums:
        lower_ends, upper_ends = _mean_ends(sums["squares"], score, sizes)
    else:
        lower_ends, upper_ends = wilson(score, sizes)
    facts = {
        "score": score,
        "low": lower_ends,
        "high": upper_ends,
        "rest": other_scores,
    }
    if "observed" in sums:
        facts["observed"] = sums["observed"] / sizes
        facts["predicted"] = sums["predicted"] / sizes
    if "called" in sums:
        with np.errstate(invalid="ignore"):
            facts["recall"] = sums["called"] / sums["observed"]
            facts["false_alarms"] = sums["alarms"] / sums["others"]
    if "covered" in sums:
        facts["covered"] = sums["covered"] / sizes
        facts["covered_low"], facts["covered_high"] = wilson(facts["covered"], sizes)
    return facts


def _allow_for(
    dependence: Dependence,
    related: Mapping[str, float],
    member: Booleans,
    group: dict[str, Any],
    *,
    shares: bool,
) -> None:
    """Widen the intervals of a group with the rows ``member``.

    ``shares``: scores are.
    """
    inside = member.astype(np.float64)
    for value, lower_key, upper_key in (
        ("score", "low", "high"),
        ("covered", "covered_low", "covered_high"),
    ):
        if group.get(lower_key) is not None:
            wider = dependence.widening(inside, related[value])
            if value == "score" and not shares:
                upper_limit = math.inf
            else:
                upper_limit = 1.0
            group[lower_key] = max(
                group[value] - wider * (group[value] - group[lower_key]), 0.0
            )
            group[upper_key] = min(
                group[value] + wider * (group[upper_key] - group[value]), upper_limit
            )


def _mean_ends(squares: Floats, score: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % intervals of means of absolute errors."""
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(squares - sizes * score**2, 0) / (sizes - 1) / sizes
        half_widths = t_quantile((1 + 0.95) / 2, sizes - 1) * np.sqrt(variance)
    return np.maximum(score - half_widths, 0), score + half_widths
