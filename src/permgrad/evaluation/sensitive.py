"""For whom a model is right: its rates and errors by the levels of a column, tested, and what features tell of it.

Differences and ratios are defined as in fairlearn (Bird et al. 2020): between the levels with the largest and the
smallest rate, of equalized odds for the worse of true and false positive rates. Intervals and tests hold for all pairs
of levels at once, by a parametric bootstrap of the largest standardised difference. Shares have a success and a failure
more there (Agresti & Caffo 2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL, NORMAL_95, holm, t_quantile
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.segments import FEWEST_ROWS, groups_of_rows
from permgrad.evaluation.skill import Predicted

#: By level: an estimate, as it is compared, and its standard error, NaN where it is not compared.
Means = tuple[Floats, Floats, Floats]
#: Measures that describe the rows: their differences between levels are not tested.
_DESCRIBING = ("mean_prediction", "observed")
#: What fairlearn takes the worst difference or ratio of.
_FAIRNESS = {
    "demographic_parity": ["selection_rate"],
    "equalized_odds": ["true_positive_rate", "false_positive_rate"],
}
#: A clear difference of shares is at least this, of other measures such a part of the largest value.
_LEAST_DIFFERENCE, _LEAST_PART = 0.01, 0.05
#: Draws of the bootstrap, folds in which a column is predicted, and the part of what is told that a feature must carry.
_DRAWS, _FOLDS, _LEAST_CARRIED = 9999, 5, 0.1


def audit(
    columns: pd.DataFrame,
    predicted: Predicted,
    *,
    positive: int = 1,
    labels_only: bool = False,
    na: Sequence[str | int | float] = (),
    dependence: Dependence | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compare a model's rates and errors between the levels of columns ``(rows, columns)``, which need not be features.

    ``positive`` is the position of the positive one of two classes, ``labels_only`` a model without probabilities.
    Intervals and tests allow for the ``dependence`` of rows.

    Returns:
        For each ``column`` the ``rows`` by level, the names of ``merged`` levels with fewer than 20 rows, and

        - ``measures``: ``selection_rate, true_positive_rate, false_positive_rate, observed_rate, mean_prediction,
          predicted_minus_observed`` of two classes, ``accuracy, log_loss`` of classes, and of numbers
          ``mean_prediction, observed_mean, mean_error`` (truth − prediction), ``rmse``. Each has its ``measure``,
          whether it is a ``share``, and by level its estimate and ends of the 95 % interval. If it is tested, also what
          ``largest`` returns, ``p_holm`` (of all tests of all columns) and whether the difference is ``clear``.
        - ``fairness``: what ``largest`` returns, by the name that fairlearn gives to a difference or ratio.

    Examples:
        >>> sex, truth = pd.DataFrame({"sex": ["f"] * 100 + ["m"] * 100}), np.tile([0, 1], 100)
        >>> chance = np.where(sex["sex"] == "m", 0.9, np.where(truth == 1, 0.8, 0.2))
        >>> (told,) = audit(sex, Predicted(truth, np.column_stack([1 - chance, chance])))
        >>> told["fairness"]["demographic_parity_difference"]["value"], told["rows"]
        (0.5, {'f': 100, 'm': 100})
    """
    told, measures = list[dict[str, Any]](), _measures(predicted, positive, labels_only)
    for name in map(str, columns):
        codes, levels, merged = levels_by(columns, name, na)
        lines, means = list[dict[str, Any]](), dict[str, Means]()
        for key, one in measures.items():
            means[key], ends = _means(codes, len(levels), key, *one, dependence)
            tested = (
                {}
                if key.startswith(_DESCRIBING)
                else largest([means[key]], levels, seed)
            )
            share = bool(predicted.classes) and key != "log_loss"
            by_level = dict(zip(levels, ends.tolist(), strict=True))
            lines.append({"measure": key, "share": share, "levels": by_level, **tested})
        fairness = {
            f"{notion}_{kind}": largest(
                [means[key] for key in keys], levels, seed, ratio=kind == "ratio"
            )
            for notion, keys in _FAIRNESS.items()
            for kind in ("difference", "ratio")
            if means.keys() >= set(keys)
        }
        rows = dict(
            zip(levels, np.bincount(codes, minlength=len(levels)).tolist(), strict=True)
        )
        told.append(
            {
                "column": name,
                "rows": rows,
                "merged": merged,
                "measures": lines,
                "fairness": fairness,
            }
        )
    mark_clear([line for facts in told for line in facts["measures"]])
    return told


def mark_clear(lines: Sequence[dict[str, Any]]) -> None:
    """Adjust the p-values of lines that are tested, and mark the differences that deserve a sentence as ``clear``."""
    tested = [line for line in lines if "p_value" in line]
    for line, p in zip(tested, holm([line["p_value"] for line in tested]), strict=True):
        most = np.nanmax(np.abs([one for one, *_ in line["levels"].values()]))
        least = _LEAST_DIFFERENCE if line["share"] else _LEAST_PART * most
        line["p_holm"], line["clear"] = (
            float(p),
            bool(p < LEVEL and line["value"] >= least),
        )


def levels_by(
    columns: pd.DataFrame, name: str, na: Sequence[Any]
) -> tuple[Integers, list[str], list[str]]:
    """Return each row's level of a column, the levels' names, and those with few rows, which are the last level."""
    one = np.zeros(len(columns), dtype=np.int64), ["all"]
    codes, names = groups_of_rows(columns, np.arange(len(columns)), [name], na).get(
        name, one
    )
    counts = np.bincount(codes, minlength=len(names))
    large, small = (
        np.flatnonzero(counts >= FEWEST_ROWS),
        np.flatnonzero((counts > 0) & (counts < FEWEST_ROWS)),
    )
    places = np.full(len(names), len(large))
    places[large] = np.arange(len(large))
    other = ["all other" if "other" in names else "other"] * bool(len(small))
    return (
        places[codes],
        [*(names[at] for at in large), *other],
        [names[at] for at in small],
    )


def _measures(
    predicted: Predicted, positive: int, labels_only: bool
) -> dict[str, tuple[Array, Booleans]]:
    """Return the values whose means are the measures ``(rows,)``, and which rows they are of."""
    truth, guess, every = (
        predicted.truth,
        predicted.guess,
        np.ones(len(predicted.truth), dtype=bool),
    )
    if not predicted.classes:
        means = {
            "mean_prediction": guess,
            "observed_mean": truth,
            "mean_error": truth - guess,
        }
        return {
            key: (one, every)
            for key, one in {**means, "rmse": (truth - guess) ** 2}.items()
        }
    measures: dict[str, tuple[Array, Booleans]] = {}
    if predicted.classes == 2:
        observed, called, chance = (
            truth == positive,
            predicted.decided == positive,
            guess[:, positive],
        )
        measures |= {
            "selection_rate": (called, every),
            "true_positive_rate": (called, observed),
        }
        measures |= {
            "false_positive_rate": (called, ~observed),
            "observed_rate": (observed, every),
        }
        measures |= {
            "mean_prediction": (chance, every),
            "predicted_minus_observed": (chance - observed, every),
        }
    loss, known = predicted.losses
    measures |= {
        "accuracy": (predicted.decided == truth, every),
        "log_loss": (loss, known > 0),
    }
    probable = (
        {"mean_prediction", "predicted_minus_observed", "log_loss"}
        if labels_only
        else set()
    )
    return {key: one for key, one in measures.items() if key not in probable}


def _means(
    codes: Integers,
    count: int,
    key: str,
    values: Array,
    member: Booleans,
    dependence: Dependence | None,
) -> tuple[Means, Floats]:
    """Return a measure by level, and with its 95 % interval ``(levels, 3)``."""
    at, x = codes[member], values[member].astype(np.float64)
    rows, wider = np.bincount(at, minlength=count), np.ones(count)
    if dependence is not None and len(x):
        among = dependence.take(np.flatnonzero(member))
        related = among.correlation(x)
        for level in np.flatnonzero(rows):
            wider[level] = among.widening((at == level) + 0.0, related)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = centre = np.bincount(at, x, count) / rows
        if values.dtype == np.bool_:
            ends = np.column_stack([mean, *wilson(mean, rows / wider**2)])
            centre = (mean * rows + 1) / (rows + 2)
            error = wider * np.sqrt(centre * (1 - centre) / (rows + 2))
        else:
            # As wide as by Student's t, although the draws are normal.
            wider *= t_quantile((1 + 0.95) / 2, rows - 1) / NORMAL_95
            error = wider * np.sqrt(
                np.bincount(at, (x - mean[at]) ** 2, count) / (rows - 1) / rows
            )
            ends = mean[:, None] + NORMAL_95 * error[:, None] * np.array(
                [0.0, -1.0, 1.0]
            )
        if key == "rmse":
            ends = np.sqrt(np.maximum(ends, 0))
            mean = centre = ends[:, 0]
            error = np.where(mean > 0, error / (2 * mean), error)
    return (mean, centre, np.where(rows >= FEWEST_ROWS, error, np.nan)), ends


def largest(
    several: Sequence[Means], levels: Sequence[str], seed: int, *, ratio: bool = False
) -> dict[str, Any]:
    """Return the largest difference between two levels of any of several measures, or the smallest ratio.

    It has its ``value``, its 95 % interval ``low, high`` and the ``p_value`` of no difference, both for all pairs of
    levels, and the levels ``highest, lowest``. Empty: fewer than two levels are compared.
    """
    stream, parts, values = (
        generator(seed, "levels"),
        list[Any](),
        list[tuple[float, str, str]](),
    )
    for estimate, centre, error in several:
        order = np.flatnonzero(np.isfinite(error))
        order = order[np.argsort(estimate[order], kind="stable")]
        if len(order) < 2 or (
            ratio and not estimate[order[-1]] > 0
        ):  # fairlearn leaves 0 / 0 out, too
            continue
        low, high = estimate[order[[0, -1]]].tolist()
        values.append(
            (low / high if ratio else high - low, levels[order[-1]], levels[order[0]])
        )
        size, spread = (np.log(centre), error / centre) if ratio else (centre, error)
        one, other = (order[places] for places in np.triu_indices(len(order), 1))
        both = np.maximum(np.hypot(spread[one], spread[other]), 1e-300)
        drawn = stream.normal(size=(_DRAWS, len(levels))) * spread
        parts.append(
            (
                np.abs(size[one] - size[other]),
                both,
                np.abs(drawn[:, one] - drawn[:, other]) / both,
            )
        )
    if not values:
        return {}
    sizes, errors, draws = map(np.hstack, zip(*parts, strict=True))
    most, (value, highest, lowest) = draws.max(axis=1), (min if ratio else max)(values)
    limit = np.quantile(most, 1 - LEVEL) * errors
    low, high = max(float((sizes - limit).max()), 0.0), float((sizes + limit).max())
    low, high = (math.exp(-high), math.exp(-low)) if ratio else (low, high)
    facts = {
        "value": value,
        "low": min(low, value),
        "high": max(high, value),
        "highest": highest,
        "lowest": lowest,
    }
    return {
        **facts,
        "p_value": (1 + int(np.sum(most >= (sizes / errors).max()))) / (_DRAWS + 1),
    }


def told_by(
    table: pd.DataFrame,
    codes: Integers,
    dependence: Dependence | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Predict each row's level ``codes`` from the features ``table`` by cross-fitted boosted trees.

    Groups of dependent rows stay in one fold, and neighbours in time, too. Levels with fewer than 20 rows are left out.

    Returns:
        ``roc_auc`` (one level versus the rest) of so many ``rows``, what is ``told``: 2 AUC − 1 (0: nothing, 1: all),
        with its 95 % interval over five folds ``low, high`` (Nadeau & Bengio 2003), and ``features``: those that carry
        at least a tenth of it, by what is lost when one is shuffled. None: too few levels, rows of them or groups.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import KFold, StratifiedGroupKFold

    places = looked_at(len(table), table.shape[1])
    places = places[
        (np.bincount(codes[places], minlength=codes.max() + 1) >= FEWEST_ROWS)[
            codes[places]
        ]
    ]
    units, division = (
        places,
        StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed),
    )
    if dependence is not None:
        places = places[np.argsort(dependence.codes[places], kind="stable")]
        units, division = (
            dependence.codes[places],
            KFold(_FOLDS) if dependence.timed else division,
        )
    y, score = codes[places], get_scorer("roc_auc_ovr")
    levels = len(np.unique(y))
    if levels < 2 or len(np.unique(units)) < _FOLDS:
        return None
    cells = [cells_of(table.iloc[:, at], str(name)) for at, name in enumerate(table)]
    x = np.column_stack(
        [one.codes + 0.0 if one.values is None else one.values for one in cells]
    )[places]
    shares, lost = np.zeros(_FOLDS), np.zeros(x.shape[1])
    for at, (fit, held) in enumerate(
        division.split(x, y, None if isinstance(division, KFold) else units)
    ):
        if min(len(np.unique(y[part])) for part in (fit, held)) < levels:
            return None
        trees = HistGradientBoostingClassifier(
            max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed
        )
        shares[at] = 2 * score(trees.fit(x[fit], y[fit]), x[held], y[held]) - 1
        shuffled = permutation_importance(
            trees, x[held], y[held], scoring=score, n_repeats=2, random_state=seed
        )
        lost += 2 * shuffled.importances_mean / _FOLDS
    told, error = (
        float(shares.mean()),
        float(shares.std(ddof=1)) * math.sqrt(1 / _FOLDS + 1 / (_FOLDS - 1)),
    )
    half, carrying = (
        error * float(t_quantile((1 + 0.95) / 2, _FOLDS - 1)),
        lost >= max(_LEAST_CARRIED * told, 1e-9),
    )
    features = {
        str(table.columns[at]): float(lost[at])
        for at in np.argsort(-lost)
        if carrying[at]
    }
    facts = {
        "roc_auc": (1 + told) / 2,
        "rows": len(y),
        "told": told,
        "low": told - half,
        "high": told + half,
    }
    return {**facts, "features": features}
