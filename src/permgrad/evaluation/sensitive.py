"""For whom a model is right: its rates and errors by the levels of a column, tested,
and what features tell of it.

Differences and ratios are defined as in fairlearn (Bird et al. 2020): between the
levels with the largest and the smallest rate, of equalized odds for the worse of true
and false positive rates. Their intervals hold for all pairs of levels at once, by a
parametric bootstrap of the largest standardised difference. Shares have a success and a
failure more there (Agresti & Caffo 2000). Whether a measure differs is said by
``between_levels`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.base.sequences import values_at
from permgrad.base.significance import LEVEL, NORMAL_95, t_quantile
from permgrad.evaluation.between_levels import (
    FEWEST_ROWS,
    Compared,
    Measure,
    beyond_expected,
    compare_levels,
    events_of,
    usual_errors,
)
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.segments import groups_of_rows
from permgrad.evaluation.skill import Predicted

#: By level: an estimate, as it is compared, and its standard error, NaN where it is not
#: compared.
Means = tuple[Floats, Floats, Floats]
#: What fairlearn takes the worst difference or ratio of.
_FAIRNESS = {
    "demographic_parity": ["selection_rate"],
    "equalized_odds": ["true_positive_rate", "false_positive_rate"],
}
#: A clear difference is at least this, of shares, nats, or errors in units of what is
#: usual.
_LEAST_DIFFERENCE = 0.01
#: Shares of all rows that other thresholds predict as positive.
_PREDICTED_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
#: Draws of the bootstrap, folds in which a column is predicted, and the part of what is
#: told that a feature must carry.
_DRAWS = 9999
_FOLDS = 5
_LEAST_CARRIED = 0.1


@dataclass(frozen=True, eq=False)
class Shown:
    """A measure as a table has it, and how it is tested.

    Attributes:
        values: its mean over the rows of a level is the measure ``(rows,)``. Booleans
            are shares.
        member: which rows it is of ``(rows,)``.
        tested: what is compared between levels. None: the measure describes the rows.
        expected: what is expected of each row by a model that is right ``(rows,)``.
            None: nothing is.
        bounds: the least and the largest value that the measure can have.
        root: whether the measure is the root of the mean.
        share: whether it is written in per cent.
    """

    values: Array
    member: Booleans
    tested: Measure | None = None
    expected: Floats | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    root: bool = False
    share: bool = False

    def mean(self, rows: Booleans) -> float:
        """Return the measure of some rows."""
        inside = rows & self.member
        if inside.any():
            mean_value = float(self.values[inside].mean())
        else:
            mean_value = math.nan
        if self.root:
            return math.sqrt(mean_value)
        return mean_value


def audit(
    columns: pd.DataFrame,
    predicted: Predicted,
    *,
    positive: int = 1,
    labels_only: bool = False,
    na: Sequence[str | int | float] = (),
    dependence: Dependence | None = None,
    seed: int = 0,
    reliance: Mapping[str, tuple[Floats, Booleans]] | None = None,
) -> list[dict[str, Any]]:
    """Compare a model's rates and errors between the levels of columns ``(rows,
    columns)``, which need not be features.

    ``positive`` is the position of the positive one of two classes, ``labels_only`` a
    model without probabilities. Intervals and tests allow for the ``dependence`` of
    rows. ``reliance``: by feature, how much each row's loss grows without it, and which
    rows that is known of.

    Returns:
        For each ``column`` the ``rows`` by level, with ``events`` those of the positive
        class, the names of ``merged`` levels with fewer than 20 rows, those that are
        ``judged``, and

        - ``measures``: ``selection_rate, true_positive_rate, false_positive_rate,
          observed_rate, mean_prediction, predicted_minus_observed`` of two classes,
          ``accuracy, log_loss`` of classes, and of numbers ``mean_prediction,
          observed_mean, mean_error`` (truth − prediction), ``rmse``. Each has its
          ``measure``, whether it is a ``share``, and by level its estimate and ends of
          the 95 % interval. If it is tested, also the ``level`` that differs most from
          all ``other`` rows, and of both the ``estimates``, the numbers of ``rows`` and
          of ``events``, and what is ``expected`` by the probabilities (of numbers: the
          errors in units of what is usual at their predictions). ``value`` is the
          difference of the two from what is expected, ``low, high`` its 95 % interval,
          ``p_adjusted`` is for all tests of all columns, and ``clear`` says whether it
          is a sentence.
        - ``reliance``: the same of the importances.
        - ``fairness``: what ``largest`` returns, by the name that fairlearn gives to a
          difference or ratio.

    Examples:
        >>> sex = pd.DataFrame({"sex": ["f"] * 100 + ["m"] * 100})
        >>> truth = np.tile([0, 1], 100)
        >>> chance = np.where(sex["sex"] == "m", 0.9, np.where(truth == 1, 0.8, 0.2))
        >>> chances = np.column_stack([1 - chance, chance])
        >>> (told,) = audit(sex, Predicted(truth, chances))
        >>> told["fairness"]["demographic_parity_difference"]["value"], told["rows"]
        (0.5, {'f': 100, 'm': 100})
    """
    relied = {}
    for feature_name, (values, member) in (reliance or {}).items():
        relied[feature_name] = Shown(values, member, Measure(values, member, own=True))
    events = None
    if predicted.classes:
        events = events_of(predicted.truth, predicted.classes, positive)
    question = _Audit(
        {
            "measures": _measures(predicted, positive, labels_only),
            "reliance": relied,
        },
        events if predicted.classes == 2 else None,
        dependence,
        seed,
    )
    levels_of_columns = []
    for column_name in map(str, columns):
        levels_of_columns.append(levels_by(columns, column_name, na))
    compared = compare_levels(
        question.tested(),
        [column_levels.codes for column_levels in levels_of_columns],
        events=events,
        dependence=dependence,
        seed=seed,
    )
    column_facts = []
    for column_name, column_levels, compared_levels in zip(
        map(str, columns), levels_of_columns, compared, strict=True
    ):
        facts = question.of_column(column_levels, compared_levels)
        column_facts.append({"column": column_name, **facts})
    return column_facts


@dataclass(frozen=True)
class _Audit:
    """What is asked of every column.

    Attributes:
        shown: Measures by their names, of the model and of its features. Names of both
            may be the same.
        events: The rows of the positive one of two classes. None: there are others.
        dependence: Of rows on each other.
        seed: Of the bootstrap.
    """

    shown: Mapping[str, Mapping[str, Shown]]
    events: Booleans | None
    dependence: Dependence | None
    seed: int

    def tested(self) -> dict[str, Measure]:
        """Return what is compared between levels."""
        tested = {}
        for shown_kind, group in self.shown.items():
            for shown_name, shown in group.items():
                if shown.tested is not None:
                    tested[repr((shown_kind, shown_name))] = shown.tested
        return tested

    def of_column(
        self,
        column_levels: ColumnLevels,
        compared_levels: Mapping[str, Compared],
    ) -> dict[str, Any]:
        """Return what ``audit`` says of the levels of a column."""
        codes, levels, merged = column_levels
        facts: dict[str, Any] = {
            "rows": _counted(codes, levels, None),
            "merged": merged,
            "judged": _judged(compared_levels, levels),
        }
        if self.events is not None:
            facts["events"] = _counted(codes, levels, self.events)
        means = dict[str, Means]()
        for shown_kind, group in self.shown.items():
            facts[shown_kind] = []
            for measure_name, shown in group.items():
                means[measure_name], level_ends = _means(
                    codes, len(levels), shown, self.dependence
                )
                measure_line = {
                    "measure": measure_name,
                    "share": shown.share,
                    "levels": dict(zip(levels, level_ends.tolist(), strict=True)),
                }
                if shown.tested is not None:
                    result = compared_levels[repr((shown_kind, measure_name))]
                    measure_line |= _against_others(
                        result, shown, codes, levels, self.events
                    )
                facts[shown_kind].append(measure_line)
        measured = self.shown["measures"].keys()
        facts["fairness"] = _fairness(means, measured, levels, self.seed)
        return facts


def _fairness(
    means: Mapping[str, Means],
    measured: AbstractSet[str],
    levels: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Return the largest difference and ratio between levels, of each notion whose
    measures are ``measured``.
    """
    fairness = {}
    for notion, measure_names in _FAIRNESS.items():
        if not measured >= set(measure_names):
            continue
        notion_means = values_at(means, measure_names)
        for compared_by in ("difference", "ratio"):
            fairness[f"{notion}_{compared_by}"] = largest(
                notion_means, levels, seed, ratio=compared_by == "ratio"
            )
    return fairness


def _counted(
    codes: Integers, levels: Sequence[str], rows: Booleans | None
) -> dict[str, int]:
    """Return how many rows, or how many of some, each level has."""
    if rows is None:
        counted_codes = codes
    else:
        counted_codes = codes[rows]
    counts = np.bincount(counted_codes, minlength=len(levels)).tolist()
    return dict(zip(levels, counts, strict=True))


def _judged(compared: Mapping[str, Compared], levels: Sequence[str]) -> list[str]:
    """Return the levels that are compared by any measure."""
    sizes = [result.p_value for result in compared.values()]
    if not sizes:
        return []
    defined = np.isfinite(np.stack(sizes)).any(axis=0)
    return values_at(levels, np.flatnonzero(defined).tolist())


def _against_others(
    result: Compared,
    shown: Shown,
    codes: Integers,
    levels: Sequence[str],
    events: Booleans | None,
) -> dict[str, Any]:
    """Return how the level that differs most compares with all other rows.

    Empty: no level is judged.
    """
    level_index = result.most
    if level_index is None:
        return {}
    sides = codes == level_index, codes != level_index
    value = float(result.difference[level_index])
    half_width = float(result.limit * result.error[level_index])
    lower_end = value - half_width
    upper_end = value + half_width
    if shown.share:
        lower_end = max(lower_end, -1.0)
        upper_end = min(upper_end, 1.0)
    estimates = list(map(shown.mean, sides))
    facts: dict[str, Any] = {
        "level": levels[level_index],
        "estimates": estimates,
        "rows": [int(side_mask.sum()) for side_mask in sides],
        "value": value,
        "low": lower_end,
        "high": upper_end,
        "p_adjusted": float(result.p_value[level_index]),
    }
    if events is not None:
        facts["events"] = [int((side_mask & events).sum()) for side_mask in sides]
    if shown.expected is not None:
        facts["expected"] = [
            float(shown.expected[side_mask & shown.member].mean())
            for side_mask in sides
        ]
    # Where nothing is expected, the sentence shows the estimates alone: they have to
    # differ in the same way.
    agrees = shown.expected is not None or value * (estimates[0] - estimates[1]) > 0
    large = abs(value) >= _LEAST_DIFFERENCE
    facts["clear"] = bool(facts["p_adjusted"] < LEVEL and large and agrees)
    return facts


class ColumnLevels(NamedTuple):
    """The levels of a column.

    Attributes:
        codes: Each row's level, ``(rows,)``.
        names: The levels' names.
        merged: Levels with few rows, which are the last level.
    """

    codes: Integers
    names: list[str]
    merged: list[str]


def levels_by(columns: pd.DataFrame, name: str, na: Sequence[Any]) -> ColumnLevels:
    """Return the levels of a column. Those with few rows are the last level together.

    Args:
        columns: Their cells, ``(rows, columns)``.
        name: The column.
        na: Values that mean missing.
    """
    single_level = np.zeros(len(columns), dtype=np.int64), ["all"]
    codes, names = groups_of_rows(columns, np.arange(len(columns)), [name], na).get(
        name, single_level
    )
    counts = np.bincount(codes, minlength=len(names))
    large = np.flatnonzero(counts >= FEWEST_ROWS)
    small = np.flatnonzero((counts > 0) & (counts < FEWEST_ROWS))
    new_codes = np.full(len(names), len(large))
    new_codes[large] = np.arange(len(large))
    other_level = ["all other" if "other" in names else "other"] * bool(len(small))
    return ColumnLevels(
        new_codes[codes],
        [*values_at(names, large), *other_level],
        values_at(names, small),
    )


def _measures(
    predicted: Predicted, positive: int, labels_only: bool
) -> dict[str, Shown]:
    """Return the measures of a model, in the order of tables."""
    truth = predicted.truth
    guess = predicted.guess
    every = np.ones(len(truth), dtype=bool)
    if not predicted.classes:
        usual = usual_errors(truth, guess)
        in_units = (truth - guess) / usual
        error_sizes = np.abs(in_units)
        return {
            "mean_prediction": Shown(guess, every),
            "observed_mean": Shown(truth, every),
            "mean_error": Shown(truth - guess, every, Measure(in_units, own=True)),
            "rmse": Shown(
                (truth - guess) ** 2,
                every,
                Measure(error_sizes),
                expected=error_sizes,
                bounds=(0.0, math.inf),
                root=True,
            ),
        }
    measures: dict[str, Shown] = {}
    if predicted.classes == 2:
        measures |= _of_two_classes(predicted, positive, labels_only)
    right = predicted.decided == truth
    if labels_only:
        measures["accuracy"] = Shown(right, every, Measure(right + 0.0), share=True)
        return measures
    row_losses, has_known_class = predicted.losses
    beyond = beyond_expected(guess, truth, predicted.decided)
    expected, tested = beyond["accuracy"]
    measures["accuracy"] = Shown(right, every, tested, expected, share=True)
    expected, tested = beyond["log_loss"]
    measures["log_loss"] = Shown(
        row_losses, has_known_class > 0, tested, expected, (0.0, math.inf)
    )
    return measures


def _of_two_classes(
    predicted: Predicted, positive: int, labels_only: bool
) -> dict[str, Shown]:
    """Return the rates of the positive class, and how far its probability is from its
    share.
    """
    truth = predicted.truth
    every = np.ones(len(predicted.truth), dtype=bool)
    observed = truth == positive
    called = predicted.decided == positive
    measures = {}
    for rate_name, rate_rows in (
        ("selection_rate", every),
        ("true_positive_rate", observed),
        ("false_positive_rate", ~observed),
    ):
        measures[rate_name] = Shown(
            called, rate_rows, Measure(called + 0.0, rate_rows), share=True
        )
    measures["observed_rate"] = Shown(observed, every, share=True)
    if labels_only:
        return measures
    chance = predicted.guess[:, positive]
    measures["mean_prediction"] = Shown(chance, every, bounds=(0.0, 1.0), share=True)
    deviation = chance - observed
    tested = Measure(deviation, variance=chance * (1 - chance))
    measures["predicted_minus_observed"] = Shown(
        deviation, every, tested, bounds=(-1.0, 1.0), share=True
    )
    return measures


def by_threshold(
    codes: Integers,
    levels: Sequence[str],
    predicted: Predicted,
    positive: int,
    model_threshold: float,
    dependence: Dependence | None = None,
) -> list[dict[str, Any]]:
    """Return the rates of each level at the model's threshold and at others, which
    predict a few shares of all rows as positive.

    Each line has the ``threshold``, whether it is the ``chosen`` one, the ``level``,
    and its ``selection_rate, true_positive_rate, false_positive_rate``, each with the
    ends of its 95 % interval. Nothing is tested.

    Args:
        codes: each row's level ``(rows,)``.
        levels: their names.
        predicted: truth and probabilities of two classes.
        positive: position of the positive class.
        model_threshold: the threshold of the model.
        dependence: which rows depend on each other.
    """
    chance = predicted.guess[:, positive]
    observed = predicted.truth == positive
    rows_of_rates = {
        "selection_rate": np.ones(len(chance), dtype=bool),
        "true_positive_rate": observed,
        "false_positive_rate": ~observed,
    }
    lines = []
    for threshold in _thresholds(chance, model_threshold):
        called = chance >= threshold
        rates: dict[str, Floats] = {}
        for rate_name, rate_rows in rows_of_rates.items():
            shown = Shown(called, rate_rows, share=True)
            rates[rate_name] = _means(codes, len(levels), shown, dependence)[1]
        for level_index, level in enumerate(levels):
            line: dict[str, Any] = {
                "threshold": threshold,
                "chosen": threshold == model_threshold,
                "level": level,
            }
            for rate_name, ends in rates.items():
                line[rate_name] = ends[level_index].tolist()
            lines.append(line)
    return lines


def _thresholds(chance: Floats, model_threshold: float) -> list[float]:
    """Return the model's threshold among others, rising: two digits of quantiles."""
    thresholds = {model_threshold}
    for quantile in np.quantile(chance, 1 - np.array(_PREDICTED_SHARES)).tolist():
        short = float(f"{quantile:.2g}")
        if 0 < short < 1:
            thresholds.add(short)
    return sorted(thresholds)


def _means(
    codes: Integers, count: int, shown: Shown, dependence: Dependence | None
) -> tuple[Means, Floats]:
    """Return a measure by level, and with its 95 % interval ``(levels, 3)``, within
    what the measure can be.
    """
    member = shown.member
    member_codes = codes[member]
    x = shown.values[member].astype(np.float64)
    level_rows = np.bincount(member_codes, minlength=count)
    wider = np.ones(count)
    if dependence is not None and len(x):
        among = dependence.take(np.flatnonzero(member))
        related = among.correlation(x)
        for level in np.flatnonzero(level_rows):
            wider[level] = among.widening((member_codes == level) + 0.0, related)
    with np.errstate(invalid="ignore", divide="ignore"):
        level_means = centre = np.bincount(member_codes, x, count) / level_rows
        if shown.values.dtype == np.bool_:
            interval_ends = np.column_stack(
                [level_means, *wilson(level_means, level_rows / wider**2)]
            )
            centre = (level_means * level_rows + 1) / (level_rows + 2)
            error = wider * np.sqrt(centre * (1 - centre) / (level_rows + 2))
        else:
            wider *= t_quantile((1 + 0.95) / 2, level_rows - 1) / NORMAL_95
            error = wider * np.sqrt(
                np.bincount(member_codes, (x - level_means[member_codes]) ** 2, count)
                / (level_rows - 1)
                / level_rows
            )
            interval_ends = level_means[:, None] + NORMAL_95 * error[
                :, None
            ] * np.array([0.0, -1.0, 1.0])
            interval_ends = np.clip(interval_ends, *shown.bounds)
        if shown.root:
            interval_ends = np.sqrt(interval_ends)
    return (
        level_means,
        centre,
        np.where(level_rows >= FEWEST_ROWS, error, np.nan),
    ), interval_ends


def largest(
    several: Sequence[Means], levels: Sequence[str], seed: int, *, ratio: bool = False
) -> dict[str, Any]:
    """Return the largest difference between two levels of any of several measures, or
    the smallest ratio.

    It has its ``value``, its 95 % interval ``low, high`` for all pairs of levels, and
    the levels ``highest, lowest``. Empty: fewer than two levels are compared.
    """
    stream = generator(seed, "levels")
    difference_parts = list[Any]()
    values = list[tuple[float, str, str]]()
    for estimate, centre, error in several:
        order = np.flatnonzero(np.isfinite(error))
        order = order[np.argsort(estimate[order], kind="stable")]
        if len(order) < 2 or (
            ratio and not estimate[order[-1]] > 0
        ):  # fairlearn leaves 0 / 0 out, too
            continue
        lowest_value, highest_value = estimate[order[[0, -1]]].tolist()
        values.append(
            (
                lowest_value / highest_value if ratio else highest_value - lowest_value,
                levels[order[-1]],
                levels[order[0]],
            )
        )
        estimate_sizes, spread = (
            (np.log(centre), error / centre) if ratio else (centre, error)
        )
        difference_parts.append(_pairs(estimate_sizes, spread, order, stream))
    if not values:
        return {}
    lowest_value, highest_value = _ends_of_all(difference_parts)
    if ratio:
        lowest_value, highest_value = math.exp(-highest_value), math.exp(-lowest_value)
    value, highest, lowest = (min if ratio else max)(values)
    return {
        "value": value,
        "low": min(lowest_value, value),
        "high": min(max(highest_value, value), 1.0),
        "highest": highest,
        "lowest": lowest,
    }


class _LevelPairs(NamedTuple):
    """All pairs of levels, ``(pairs,)`` each.

    Attributes:
        differences: In size.
        std_errors: Of the differences.
        drawn: Drawn differences, in errors, ``(draws, pairs)``.
    """

    differences: Floats
    std_errors: Floats
    drawn: Floats


def _pairs(
    size: Floats, spread: Floats, order: Integers, stream: np.random.Generator
) -> _LevelPairs:
    """Return the differences of all pairs of levels, with errors and drawn ones."""
    first, second = values_at(order, np.triu_indices(len(order), 1))
    pair_errors = np.maximum(np.hypot(spread[first], spread[second]), 1e-300)
    drawn = stream.normal(size=(_DRAWS, len(spread))) * spread
    return _LevelPairs(
        np.abs(size[first] - size[second]),
        pair_errors,
        np.abs(drawn[:, first] - drawn[:, second]) / pair_errors,
    )


def _ends_of_all(differences: Sequence[Any]) -> tuple[float, float]:
    """Return the interval of the largest difference, for all pairs at once."""
    sizes, errors, draws = map(np.hstack, zip(*differences, strict=True))
    most = draws.max(axis=1)
    limit = np.quantile(most, 1 - LEVEL) * errors
    return max(float((sizes - limit).max()), 0.0), float((sizes + limit).max())


def told_by(
    table: pd.DataFrame,
    codes: Integers,
    dependence: Dependence | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Predict each row's level ``codes`` from the features ``table`` by cross-fitted
    boosted trees.

    Groups of dependent rows stay in one fold, and neighbours in time, too. Levels with
    fewer than 20 rows are left out.

    Returns:
        ``roc_auc`` (one level versus the rest) of so many ``rows``, what is ``told``: 2
        AUC − 1 (0: nothing, 1: all), with its 95 % interval over five folds ``low,
        high`` (Nadeau & Bengio 2003), and ``features``: those that carry at least a
        tenth of it, by what is lost when one is shuffled. None: too few levels, rows of
        them or groups.
    """
    from sklearn.model_selection import KFold, StratifiedGroupKFold

    row_indices = looked_at(len(table), table.shape[1])
    row_indices = row_indices[
        (np.bincount(codes[row_indices], minlength=codes.max() + 1) >= FEWEST_ROWS)[
            codes[row_indices]
        ]
    ]
    units = row_indices
    division = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    if dependence is not None:
        row_indices = row_indices[
            np.argsort(dependence.codes[row_indices], kind="stable")
        ]
        units = dependence.codes[row_indices]
        if dependence.timed:
            division = KFold(_FOLDS)
    y = codes[row_indices]
    levels = len(np.unique(y))
    if levels < 2 or len(np.unique(units)) < _FOLDS:
        return None
    x = _as_numbers(table)[row_indices]
    groups: Integers | None = units
    if isinstance(division, KFold):
        groups = None
    splits = division.split(x, y, groups)
    fitted = _cross_fitted(x, y, splits, seed)
    if fitted is None:
        return None
    shares, lost = fitted
    told_share = float(shares.mean())
    error = float(shares.std(ddof=1)) * math.sqrt(1 / _FOLDS + 1 / (_FOLDS - 1))
    half = error * float(t_quantile((1 + 0.95) / 2, _FOLDS - 1))
    features = _carrying(table, lost, told_share)
    facts = {
        "roc_auc": (1 + told_share) / 2,
        "rows": len(y),
        "told": told_share,
        "low": told_share - half,
        "high": told_share + half,
    }
    return {**facts, "features": features}


def _carrying(
    table: pd.DataFrame, lost: Floats, total_share: float
) -> dict[str, float]:
    """Return the columns that carry at least a tenth of it, the most first."""
    enough = lost >= max(_LEAST_CARRIED * total_share, 1e-9)
    carrying: dict[str, float] = {}
    for position in np.argsort(-lost):
        if enough[position]:
            carrying[str(table.columns[position])] = float(lost[position])
    return carrying


def _as_numbers(table: pd.DataFrame) -> Floats:
    """Return the columns of a table as numbers, or as codes of their levels."""
    cells = []
    for position, name in enumerate(table):
        cells.append(cells_of(table.iloc[:, position], str(name)))
    return np.column_stack(
        [
            column.codes + 0.0 if column.values is None else column.values
            for column in cells
        ]
    )


def _cross_fitted(
    x: Floats, y: Integers, splits: Iterable[tuple[Integers, Integers]], seed: int
) -> tuple[Floats, Floats] | None:
    """Return what trees tell of the levels in each fold, and what each column carries.

    None: a fold lacks a level.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import get_scorer

    score = get_scorer("roc_auc_ovr")
    levels = len(np.unique(y))
    shares = np.zeros(_FOLDS)
    lost = np.zeros(x.shape[1])
    for fold, (fit, held_out_rows) in enumerate(splits):
        if min(len(np.unique(y[rows])) for rows in (fit, held_out_rows)) < levels:
            return None
        trees = HistGradientBoostingClassifier(
            max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed
        )
        shares[fold] = (
            2 * score(trees.fit(x[fit], y[fit]), x[held_out_rows], y[held_out_rows]) - 1
        )
        shuffled = permutation_importance(
            trees,
            x[held_out_rows],
            y[held_out_rows],
            scoring=score,
            n_repeats=2,
            random_state=seed,
        )
        lost += 2 * shuffled.importances_mean / _FOLDS
    return shares, lost
