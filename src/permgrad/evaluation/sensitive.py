"""For whom a model is right: its rates and errors by the levels of a column, tested, and what features tell of it.

Differences and ratios are named and defined as in fairlearn (Bird et al. 2020): between the levels with the largest and
the smallest rate, of equalized odds the worse of true and false positive rates. Intervals and tests hold for all pairs
of levels at once, by a parametric bootstrap of their largest standardised difference. Shares have one success and one
failure more, as in the interval of Agresti & Caffo (2000).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL, NORMAL_95, holm, t_quantile
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.cells import cells_of
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import Levels
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.segments import FEWEST_ROWS, groups_of_rows
from permgrad.evaluation.skill import Predicted, skill

#: What is compared between levels. The other measures describe them.
TESTED = (
    *("selection_rate", "true_positive_rate", "false_positive_rate", "excess", "accuracy", "log_loss"),
    *("mean_error", "rmse"),
)
#: A difference of shares deserves a sentence from here on, one of other measures as such a part of the larger one.
LEAST_DIFFERENCE, LEAST_PART = 0.01, 0.05
#: Draws of the bootstrap.
_DRAWS = 9999
#: Folds in which the column is predicted from the features, features that are shuffled, and the least part of what the
#: features tell that one of them must carry to be named.
_FOLDS, _MOST_SHUFFLED, _LEAST_CARRIED = 5, 50, 0.1


@dataclass(frozen=True, eq=False)
class ByLevel:
    """Estimates by level ``(levels,)`` with standard errors, and what is compared: estimates as the bootstrap uses them.

    ``rows`` are those that an estimate is of, and ``widening`` ``(levels, levels)`` says by how much the error of each
    difference is larger because rows depend on each other. Levels without a finite error, or with fewer than 20 rows,
    are not ``compared``.
    """

    estimate: Floats
    centre: Floats
    error: Floats
    rows: Floats
    low: Floats = field(default_factory=lambda: np.zeros(0))
    high: Floats = field(default_factory=lambda: np.zeros(0))
    widening: Any = 1.0

    @property
    def compared(self) -> Integers:
        """The levels that are compared."""
        return np.flatnonzero((self.rows >= FEWEST_ROWS) & np.isfinite(self.error) & np.isfinite(self.centre))


# ---- the audit -------------------------------------------------------------------------------------------------------
def audit(
    columns: pd.DataFrame,
    predicted: Predicted,
    *,
    positive: int = 1,
    labels_only: bool = False,
    na_codes: Sequence[str | int | float] = (),
    dependence: Dependence | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compare a model's rates and errors between the levels of columns, which need not be features.

    Args:
        columns: The columns ``(rows, columns)``. Numbers are cut into quarters.
        predicted: Truth and predictions of the rows.
        positive: The position of the positive one of two classes.
        labels_only: The model returns classes without probabilities.
        na_codes: Codes of missing cells, which are a level of their own.
        dependence: Which rows depend on each other. Intervals and p-values then allow for it.
        seed: Seed of the bootstrap.

    Returns:
        For each column its ``column``, ``levels``, the ``merged`` ones with fewer than 20 rows, which are one level
        ``other``, ``tests`` and ``fairness``. A level has its ``level``, ``rows``, and for each measure ``value, low,
        high``: two classes have ``selection_rate, true_positive_rate, false_positive_rate, mean_prediction,
        observed_rate, excess`` (mean prediction − observed rate), all classes ``accuracy, log_loss``, numbers
        ``mean_prediction, observed_mean, mean_error`` (truth − prediction) and ``rmse``. A test has its ``measure``,
        the ``difference`` between the levels ``highest`` and ``lowest`` with its 95 % interval ``low, high``,
        ``p_value``, ``p_holm`` (of all tests of all columns) and whether it is ``clear``. ``fairness`` has the
        ``name, value, low, high`` of each difference and ratio.

    Examples:
        >>> sex, truth = pd.DataFrame({"sex": ["f"] * 100 + ["m"] * 100}), np.tile([0, 1], 100)
        >>> chance = np.where(sex["sex"] == "m", 0.9, np.where(truth == 1, 0.8, 0.2))
        >>> (told,) = audit(sex, Predicted(truth, np.column_stack([1 - chance, chance])))
        >>> [(one["name"], one["value"]) for one in told["fairness"]][:2]
        [('demographic_parity_difference', 0.5), ('demographic_parity_ratio', 0.5)]
    """
    told, measures = [], _measures(predicted, positive, labels_only)
    for name in map(str, columns):
        codes, levels, merged = merged_levels(columns, name, na_codes)
        facts = {key: _by_level(codes, len(levels), key, *one, dependence) for key, one in measures.items()}
        stream = generator(seed, f"levels of {name}")
        tests = [{"measure": key, **largest([facts[key]], stream, levels)} for key in facts if key in TESTED]
        rows = np.bincount(codes, minlength=len(levels))
        lines = [
            {"level": level, "rows": int(rows[place])}
            | {
                key: {end: float(getattr(one, end)[place]) for end in ("estimate", "low", "high")}
                for key, one in facts.items()
            }
            for place, level in enumerate(levels)
        ]
        told.append(
            {
                "column": name,
                "levels": lines,
                "merged": merged,
                "tests": [test for test in tests if "p_value" in test],
                "fairness": _fairness(facts, stream, levels),
            }
        )
    clear_ones([test for one in told for test in one["tests"]])
    return told


def clear_ones(tests: Sequence[dict[str, Any]]) -> None:
    """Adjust the p-values of all tests together, and mark those that deserve a sentence as ``clear``."""
    for test, p in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        is_share = test.get("measure", "log_loss") not in ("log_loss", "mean_error", "rmse")
        least = LEAST_DIFFERENCE if is_share else LEAST_PART * test["largest"]
        test["p_holm"], test["clear"] = float(p), bool(p < LEVEL and test["difference"] >= least)


def merged_levels(columns: pd.DataFrame, name: str, na_codes: Sequence[Any]) -> tuple[Integers, list[str], list[str]]:
    """Return each row's level, the levels' names, and those with few rows, which are one level."""
    codes, names = groups_of_rows(columns, np.arange(len(columns)), [name], na_codes).get(
        name, (np.zeros(len(columns), dtype=np.int64), ["all"])
    )
    counts = np.bincount(codes, minlength=len(names))
    small = [at for at, count in enumerate(counts) if 0 < count < FEWEST_ROWS]
    kept = [at for at, count in enumerate(counts) if count >= FEWEST_ROWS]
    if len(small) < 2:  # a single one stays as it is, and is too small to be compared
        kept, small = [at for at, count in enumerate(counts) if count], []
    places = np.full(len(names), len(kept))
    places[kept] = np.arange(len(kept))
    levels = [names[at] for at in kept]
    if small:
        levels.append("all other" if "other" in levels else "other")
    return places[codes], levels, [names[at] for at in small]


def _measures(predicted: Predicted, positive: int, labels_only: bool) -> dict[str, tuple[Floats, Booleans]]:
    """Return the values whose means are the measures ``(rows,)``, and which rows they are of."""
    truth, guess, every = predicted.truth, predicted.guess, np.ones(len(predicted.truth), dtype=bool)
    if not predicted.classes:
        error = truth - guess
        values = {"mean_prediction": guess, "observed_mean": truth, "mean_error": error, "rmse": error**2}
        return {key: (np.asarray(one, dtype=np.float64), every) for key, one in values.items()}
    known = (truth >= 0) & (truth < predicted.classes)
    chosen = guess[np.arange(len(truth)), np.where(known, truth, 0)] / guess.sum(axis=1)
    loss = -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0))
    measures = {}
    if predicted.classes == 2:
        observed, called = truth == positive, (predicted.decided == positive) + 0.0
        measures = {"selection_rate": (called, every), "true_positive_rate": (called, observed)}
        measures |= {"false_positive_rate": (called, ~observed), "mean_prediction": (guess[:, positive], every)}
        measures |= {"observed_rate": (observed + 0.0, every), "excess": (guess[:, positive] - observed, every)}
    measures |= {"accuracy": ((predicted.decided == truth) + 0.0, every), "log_loss": (loss, known)}
    return {
        key: one
        for key, one in measures.items()
        if not labels_only or key not in ("mean_prediction", "excess", "log_loss")
    }


def _by_level(
    codes: Integers, count: int, key: str, values: Floats, member: Booleans, dependence: Dependence | None
) -> ByLevel:
    """Return the mean of values by level with its 95 % interval, the root of it for the RMSE."""
    at, x = codes[member], values[member]
    rows = np.bincount(at, minlength=count).astype(np.float64)
    wider, pairs = np.ones(count), np.ones((count, count))
    if dependence is not None and len(x):
        among = dependence.take(np.flatnonzero(member))
        related, inside = among.correlation(x), (at == np.arange(count)[:, None]) / np.maximum(rows, 1)[:, None]
        for one in np.flatnonzero(rows):
            wider[one] = among.widening(inside[one], related)
            for other in np.flatnonzero(rows[:one]):
                pairs[one, other] = pairs[other, one] = among.widening(inside[one] - inside[other], related)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(at, x, count) / rows
        if key.endswith("_rate") or key == "accuracy":
            low, high = wilson(mean, rows / wider**2)
            centre = (mean * rows + 1) / (rows + 2)
            return ByLevel(mean, centre, np.sqrt(centre * (1 - centre) / (rows + 2)), rows, low, high, pairs)
        error = np.sqrt(np.bincount(at, (x - mean[at]) ** 2, count) / (rows - 1) / rows)
        # As wide as Student's t, although the draws are normal.
        error *= t_quantile((1 + 0.95) / 2, rows - 1) / NORMAL_95
        low, high = (mean + side * NORMAL_95 * wider * error for side in (-1, 1))
        if key == "rmse":
            mean, low, high = (np.sqrt(np.maximum(one, 0)) for one in (mean, low, high))
            error = np.where(mean > 0, error / (2 * mean), 0.0)
    return ByLevel(mean, mean, error, rows, low, high, pairs)


# ---- differences of levels -------------------------------------------------------------------------------------------
def largest(
    several: Sequence[ByLevel], stream: np.random.Generator, levels: Sequence[str], *, ratio: bool = False
) -> dict[str, Any]:
    """Return the largest difference between two levels, or the smallest ``ratio``, of one or several measures.

    It has its 95 % interval ``low, high`` and the ``p_value`` of no difference, both for all pairs of levels at once.
    ``highest`` and ``lowest`` are its levels. Empty where fewer than two levels can be compared.
    """
    draws, gaps, errors, found = [], [], [], list[tuple[float, float, int, int]]()
    for one in several:
        used = one.compared
        if len(used) < 2:
            return {}
        first, second = np.triu_indices(len(used), 1)
        centre, error, estimate = one.centre[used], one.error[used], one.estimate[used]
        if ratio:
            centre, error = np.log(centre), error / centre
        both = np.maximum(np.hypot(error[first], error[second]), 1e-300)
        noise = stream.normal(size=(_DRAWS, len(used))) * error
        draws.append(np.abs(noise[:, first] - noise[:, second]) / both)
        gaps.append(np.abs(centre[first] - centre[second]))
        errors.append(both * np.broadcast_to(one.widening, (len(one.rows),) * 2)[used[first], used[second]])
        low, high = int(estimate.argmin()), int(estimate.argmax())
        if ratio and not estimate[high] > 0:  # undefined, as in fairlearn
            continue
        value = estimate[low] / estimate[high] if ratio else estimate[high] - estimate[low]
        found.append((-value if ratio else value, value, int(used[high]), int(used[low])))
    if not found:
        return {}
    most, sizes, wide = np.hstack(draws).max(axis=1), np.concatenate(gaps), np.concatenate(errors)
    limit = float(np.quantile(most, 1 - LEVEL))
    low, high = max(float((sizes - limit * wide).max()), 0.0), float((sizes + limit * wide).max())
    _, value, top, bottom = max(found)
    if ratio:
        low, high = np.exp(-high), np.exp(-low)
    p_value = (1 + int(np.sum(most >= (sizes / wide).max()))) / (_DRAWS + 1)
    return {
        "difference": float(value),
        "low": float(min(low, value)),
        "high": float(max(high, value)),
        "p_value": p_value,
        "highest": levels[top],
        "lowest": levels[bottom],
        "largest": float(max(np.abs(one.estimate[one.compared]).max() for one in several)),
    }


def _fairness(facts: Mapping[str, ByLevel], stream: np.random.Generator, levels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the differences and ratios that fairlearn names."""
    lines = []
    for name, keys in (
        ("demographic_parity", ("selection_rate",)),
        ("equalized_odds", ("true_positive_rate", "false_positive_rate")),
    ):
        for kind in ("difference", "ratio"):
            several = [facts[key] for key in keys if key in facts]
            if several and (one := largest(several, stream, levels, ratio=kind == "ratio")):
                lines.append(
                    {"name": f"{name}_{kind}", "value": one["difference"], "low": one["low"], "high": one["high"]}
                )
    return lines


# ---- what the features tell of it ------------------------------------------------------------------------------------
def told_by(
    table: pd.DataFrame,
    column: pd.Series[Any],
    levels: Levels,
    dependence: Dependence | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Predict a column from features by cross-fitted boosted trees: how much they tell of it, and which do.

    Args:
        table: The features ``(rows, features)`` without the column, missing codes blanked. Long ones are sampled.
        column: The column ``(rows,)``. Many numbers are predicted as such, all else by its levels.
        levels: The level of each row, and the levels' names.
        dependence: Which rows depend on each other: groups stay in one fold, and times in order.
        seed: Seed of folds and trees.

    Returns:
        ``metric`` (``r2`` or ``roc_auc``, the mean of one level versus the rest) and its ``value``, what is ``told``:
        R², or 2 AUC − 1 (0: nothing, 1: all), ``learnt``: whether it is more than chance, and ``features``: those that
        carry at least a tenth of it, with ``carried``, by which it falls when the feature is shuffled. None: a level
        has too few rows for the folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    cells, places = cells_of(column, str(column.name)), looked_at(len(table), table.shape[1])
    numeric = cells.values is not None and cells.names is None
    y = cells.values if numeric and cells.values is not None else levels[0].astype(np.float64)
    places = places[np.isfinite(y[places])]
    y = y[places] if numeric else np.unique(y[places], return_inverse=True)[1]
    classes = 0 if numeric else int(y.max(initial=-1)) + 1
    among = None if dependence is None else dependence.take(places)
    fewest = len(y) if numeric else int(np.bincount(y).min(initial=0))
    if classes == 1 or fewest < FEWEST_ROWS or not table.shape[1] or (among is not None and among.count < _FOLDS):
        return None
    read = [cells_of(table.iloc[:, at], str(name)) for at, name in enumerate(table)]
    x = np.column_stack(
        [np.where(one.codes >= 0, one.codes, np.nan) if one.values is None else one.values for one in read]
    )[places]
    division: Any = (KFold if numeric else StratifiedKFold)(_FOLDS, shuffle=True, random_state=seed)
    if among is not None:
        division = KFold(_FOLDS) if among.timed else GroupKFold(_FOLDS)
    order = np.argsort(among.codes, kind="stable") if among is not None and among.timed else np.arange(len(y))
    x, y, among = x[order], y[order], None if among is None else among.take(order)
    guess = np.zeros(len(y)) if numeric else np.zeros((len(y), classes))
    shuffled = np.repeat(guess[None], min(x.shape[1], _MOST_SHUFFLED), axis=0)
    stream = generator(seed, "features that tell")
    for fit, held in division.split(x, y, None if among is None else among.codes):
        kind = HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier
        model = kind(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed).fit(x[fit], y[fit])
        columns = slice(None) if numeric else model.classes_
        for at, into in enumerate((guess, *shuffled)):
            changed = x[held].copy()
            if at:
                changed[:, at - 1] = stream.permutation(changed[:, at - 1])
            into[(held,) if numeric else np.ix_(held, columns)] = (
                model.predict(changed) if numeric else model.predict_proba(changed)
            )
    task: Any = "regression" if numeric else "classification"

    def told(guess: Floats) -> tuple[float, float]:
        options = {"predictions": guess} if numeric else {"probabilities": guess, "classes": list(range(classes))}
        value = evaluate(task, y, **options)["r2" if numeric else "roc_auc"]
        return value, max(value if numeric else 2 * value - 1, 0.0)

    constant = np.full(len(y), y.mean()) if numeric else np.tile(np.bincount(y) / len(y), (len(y), 1))
    tested = skill(task, Predicted(y, guess), Predicted(y, constant), seed=seed, dependence=among)
    value, share = told(guess)
    carried = {str(name): share - told(one)[1] for name, one in zip(table, shuffled, strict=False)}
    features = sorted(
        (name for name in carried if carried[name] >= _LEAST_CARRIED * share), key=lambda name: -carried[name]
    )
    return {
        "metric": "r2" if numeric else "roc_auc",
        "value": value,
        "told": share,
        "rows": len(y),
        "learnt": bool(tested and tested["learnt"]),
        "features": [{"feature": name, "carried": carried[name]} for name in features],
    }
