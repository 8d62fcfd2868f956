"""Test whether a model predicts the same rows better than another model or a constant,
or other rows than before.

To first order, a metric is a mean of parts, one for each row. ROC-AUC is a mean over
the rows of one class plus a mean over the rows of the other (Hanley & McNeil 1982,
DeLong et al. 1988): each has its own variance and degrees of freedom, so that a class
with one row leaves it undefined, and a few rows of a class are known to be few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from permgrad.attribution.explanation.statistics import (
    FEWEST_UNITS,
    interval,
    mean_over_rows,
)
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.significance import LEVEL, NORMAL_95, holm
from permgrad.data.tasks import CLASSIFICATION, REGRESSION, tasks
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.metrics import deviances, metrics, primary_metric


@dataclass(frozen=True)
class Predicted:
    """Truth and predictions of the test rows.

    Attributes:
        truth: Of numbers the target ``(rows,)``, of classes the column of each row's
            class. Positions outside are classes that the model does not know.
        guess: Predictions ``(rows,)``, or probabilities ``(rows, classes)``.
        called: The columns that the model decides for, ``(rows,)``. None: the most
            probable ones.
        weights: Of the rows, ``(rows,)``. None: alike.
        counts: Whether the numbers are counts or rates, judged by their deviance.
    """

    truth: Array
    guess: Floats
    called: Array | None = None
    weights: Floats | None = None
    counts: bool = False

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return primary_metric(
            CLASSIFICATION if self.classes else REGRESSION,
            self.classes,
            counts=self.counts,
        ).name

    @property
    def classes(self) -> int:
        """Number of classes, 0 for regression."""
        if self.guess.ndim == 2:
            return self.guess.shape[1]
        return 0

    @property
    def strata(self) -> Array:
        """The class that each row counts in for the error of a score ``(rows,)``.

        A class that the model does not know may have one row, of which no variance is
        known. Its rows count in the most frequent class, whose variance they widen.
        """
        if self.classes:
            known_mask = self.losses[1] > 0
        else:
            known_mask = np.ones(0, dtype=bool)
        if known_mask.all() or not known_mask.any():
            return self.truth
        return np.where(
            known_mask, self.truth, np.bincount(self.truth[known_mask]).argmax()
        )

    @property
    def decided(self) -> Array:
        """Column of each row's predicted class ``(rows,)``."""
        if self.called is None:
            return self.guess.argmax(axis=1)
        return self.called

    @property
    def losses(self) -> tuple[Floats, Floats]:
        """Squared error, deviance or log loss of each row, and 1 for rows of a known
        class, else 0 ``(rows,)``.
        """
        if self.counts:
            return deviances(self.truth, self.guess), np.ones(len(self.truth))
        if not self.classes:
            return (self.truth - self.guess) ** 2, np.ones(len(self.truth))
        has_class = ((self.truth >= 0) & (self.truth < self.classes)).astype(np.float64)
        class_codes = np.where(has_class > 0, self.truth, 0)
        true_probabilities = self.guess[
            np.arange(len(class_codes)), class_codes
        ] / self.guess.sum(axis=1)
        return -np.log(
            np.clip(true_probabilities, np.finfo(np.float64).eps, 1.0)
        ) * has_class, has_class

    def take(self, places: Integers) -> Predicted:
        """Return the predictions for some of the rows."""
        called, weights = (
            None if row_values is None else row_values[places]
            for row_values in (self.called, self.weights)
        )
        return Predicted(
            self.truth[places], self.guess[places], called, weights, self.counts
        )

    def independent(self, rows: Booleans) -> float:
        """Return how many rows of equal weight say as much on a mean as some rows do
        (Kish 1965).
        """
        if self.weights is None:
            weights = rows.astype(np.float64)
        else:
            weights = self.weights * rows
        return float(
            weights.sum() ** 2 / max((weights**2).sum(), np.finfo(np.float64).tiny)
        )


# ---- contributions of rows to a metric -----------------------------------------------
def _contributions(metric: str, model: Predicted) -> tuple[Floats, Floats]:
    """Return a matrix ``(rows, columns)`` from whose sums ``_values`` computes a
    metric, and the areas of all rows.

    Of ROC-AUC there are four columns for each class that occurs, or for the second one
    of two.
    """
    no_areas = np.zeros(0)
    if model.weights is None:
        weights = np.ones(len(model.truth))
    else:
        weights = model.weights
    weights = weights / weights.mean()
    if metric == "rmse":
        return np.column_stack(
            [(model.truth - model.guess) ** 2, np.ones(len(weights))]
        ) * weights[:, None], no_areas
    if metric in ("log_loss", "poisson_deviance"):
        return np.column_stack(model.losses) * weights[:, None], no_areas
    if metric == "accuracy":
        return np.column_stack(
            [(model.decided == model.truth) * weights, weights]
        ), no_areas
    columns: list[Floats] = []
    for k in [1] if model.classes == 2 else range(model.classes):
        members = model.truth == k
        if members.any() and not members.all():
            scores = model.guess[:, k]
            for side_mask in (members, ~members):
                columns += _area_columns(scores, side_mask, weights)
    if not columns:
        return np.full((len(model.truth), 1), np.nan), no_areas
    table = np.column_stack(columns)
    total = table.sum(axis=0)
    return table, total[0::4] / total[1::4]


def _area_columns(scores: Floats, side: Booleans, weights: Floats) -> list[Floats]:
    """Return for each row of one side the share of the other side's rows below it.

    It is 0 elsewhere. The second column has the weights of the side.
    """
    order = np.argsort(scores[~side])
    placed = np.zeros(len(scores))
    rivals = scores[~side][order]
    below = np.append(0.0, np.cumsum(weights[~side][order]))
    above = sum(
        below[np.searchsorted(rivals, scores[side], edge)] for edge in ("left", "right")
    )
    placed[side] = above / (2 * below[-1])
    return [placed * weights, side * weights]


def _values(metric: str, sums: Floats, centre: Floats) -> Floats:
    """Return a metric ``(draws,)`` from the sums of a model's columns ``(draws,
    columns)``.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric != "roc_auc":
            return np.asarray(
                (sums[:, 0] / sums[:, 1]) ** (0.5 if metric == "rmse" else 1.0)
            )
        if not len(centre):
            return sums[:, 0]
        # The rows of the other class give the probability that a row of the class is
        # above them.
        class_areas = (
            sums[:, 0::4] / sums[:, 1::4] + 1 - sums[:, 2::4] / sums[:, 3::4] - centre
        )
    # To first order in the rows drawn, an area near 1 can exceed it.
    areas: Floats = np.ma.masked_invalid(class_areas).mean(axis=1).filled(np.nan)
    return np.clip(areas, 0.0, 1.0)


# ---- the difference of two scores ----------------------------------------------------
@dataclass(frozen=True, eq=False)
class ScoreError:
    """What the error of a score is made of: independent means over strata of the rows,
    or of all rows.

    Attributes:
        variances: of each mean ``(strata,)``, NaN where it has too few rows.
        sizes: effective number of rows at both ends of the interval ``(2, strata)``.
        rows: in each stratum ``(strata,)``.
        strata: the classes that they are of ``(strata,)``. Empty: one, of all rows.
    """

    variances: Floats
    sizes: Floats
    rows: Integers
    strata: Array

    @classmethod
    def of_rows(
        cls, metric: str, row_parts: Floats, truth: Array, units: Dependence | None
    ) -> ScoreError:
        """Read it from the rows' parts in a score, or in a difference of scores
        ``(rows,)``.
        """
        labels = np.unique(truth)[: None if metric == "roc_auc" else 0]
        strata = [truth == label for label in labels]
        row_counts = np.array([len(row_parts)])
        if units is not None or not strata:
            _, std_error, sizes = mean_over_rows(row_parts[:, None], units=units)
            # Classes share their groups or times.
            groups = []
            for stratum_mask in strata:
                if units:
                    groups.append(len(np.unique(units.codes[stratum_mask])))
            if groups:
                sizes = np.minimum(sizes, min(groups))
                if not (min(groups) >= FEWEST_UNITS):
                    std_error = np.full(1, math.nan)
            return cls(std_error**2, sizes, row_counts, labels)
        variances = []
        stratum_rows = np.array([int(stratum_mask.sum()) for stratum_mask in strata])
        for class_rows, count in zip(strata, stratum_rows.tolist(), strict=True):
            scaled = row_parts[class_rows] * count / len(row_parts)
            variances.append(np.var(scaled, ddof=1) / count if count > 1 else math.nan)
        sizes = np.stack([stratum_rows, stratum_rows]).astype(np.float64)
        return cls(np.array(variances), sizes, stratum_rows, labels)

    def total(self) -> tuple[Floats, Floats]:
        """Return the variance ``(1,)`` and the effective number of rows ``(2, 1)``:
        that of the rarer class.
        """
        return self.variances.sum(keepdims=True), self.sizes.min(axis=1, keepdims=True)

    def pooled(self, other_error: ScoreError, difference: float) -> tuple[float, float]:
        """Return the variance of a difference between independent samples, if nothing
        differs, and its rows.

        Each stratum then has one variance, which both samples show. That of a single
        mean is about the common mean.
        """
        own_rows = self.rows.astype(np.float64)
        theirs = other_error.rows.astype(np.float64)
        total_rows = own_rows + theirs
        spread = (
            self.variances * own_rows**2 + other_error.variances * theirs**2
        ) / total_rows
        if len(self.rows) == 1:
            spread = spread + difference**2 * own_rows * theirs / total_rows**2
        sizes = self.sizes.max(axis=0) + other_error.sizes.max(axis=0) - 1
        return float((spread * (1 / own_rows + 1 / theirs)).sum()), float(sizes.min())


def paired(
    metric: str,
    first_model: Predicted,
    second_model: Predicted,
    *,
    seed: int = 0,  # noqa: ARG001 — nothing is drawn any more, and callers need not know
    dependence: Dependence | None = None,
) -> dict[str, Any] | None:
    """Compare two models on the same rows. None where the metric is undefined.

    Returns ``metric, difference``, above 0 if the first is better, its 95 % interval
    ``ci_low, ci_high``, ``p_value``. Metrics are rmse, poisson_deviance, accuracy,
    log_loss and roc_auc (of several classes: mean of one versus the rest, as they
    occur, undefined where one has a single row). Intervals and p-values agree. Where
    rows depend on each other, both count their groups.
    """
    if len(first_model.truth) < 2:
        return None
    (own_score, first), (theirs, second) = (
        metric_by_rows(metric, model) for model in (first_model, second_model)
    )
    if metrics.get(metric).direction == "higher":
        direction_sign = 1.0
    else:
        direction_sign = -1.0
    difference = direction_sign * (own_score - theirs)
    error = ScoreError.of_rows(
        metric, direction_sign * (first - second), first_model.strata, dependence
    )
    variance, sizes = error.total()
    if not math.isfinite(difference) or not np.isfinite(variance).all():
        return None
    lower_ends, upper_ends, p_value = interval(
        np.array([difference]), np.sqrt(variance), sizes, 1 - LEVEL
    )
    interval_ends = {"ci_low": float(lower_ends[0]), "ci_high": float(upper_ends[0])}
    return {
        "metric": metric,
        "difference": difference,
        **interval_ends,
        "p_value": float(p_value[0]),
    }


def metric_by_rows(metric: str, model: Predicted) -> tuple[float, Floats]:
    """Return a metric, of those of ``paired``, and how far each row moves it
    ``(rows,)``, to first order.

    The standard error of the metric is that of the mean of the rows' parts.

    Examples:
        >>> chances = np.array([[0.9, 0.1], [0.8, 0.2]])
        >>> predicted = Predicted(np.array([0, 1]), chances)
        >>> value, rows = metric_by_rows("accuracy", predicted)
        >>> value, rows.round(6).tolist()
        (0.5, [0.5, -0.5])
    """
    table, centre = _contributions(metric, model)
    value = float(_values(metric, table.sum(axis=0)[None], centre)[0])
    return value, _parts_of_rows(metric, [table], [centre])[0] * len(table)


#: Scores from 0 to 1, whose intervals are computed as log-odds. Those of others, which
#: are above 0, are computed as logarithms.
_SHARES = ("accuracy", "roc_auc")


def score_interval(
    metric: str, model: Predicted, dependence: Dependence | None = None
) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric of those of ``paired``, by groups where rows
    belong together.

    None where it is undefined: too few rows or groups, or no error at all. Where a
    share is 0 or 1, it is Wilson's (1927), for the rows or groups of the rarer class.

    Examples:
        >>> chances = np.repeat([[0.9, 0.1], [0.2, 0.8]], 50, axis=0)
        >>> truth = np.repeat([0, 1, 1], [40, 30, 30])
        >>> np.round(score_interval("accuracy", Predicted(truth, chances)), 2).tolist()
        [0.8, 0.95]
    """
    if len(model.truth) < FEWEST_UNITS:
        return None
    value, row_parts = metric_by_rows(metric, model)
    error = ScoreError.of_rows(metric, row_parts, model.strata, dependence)
    variance, sizes = error.total()
    std_error = np.sqrt(variance)
    if not (math.isfinite(value) and np.isfinite(std_error).all()):
        return None
    if metric in _SHARES and (value in (0.0, 1.0) or not std_error.any()):
        low, high = wilson(value, sizes.min())
        return float(low), float(high)
    if value <= 0 or not std_error.any():
        return None
    if metric in _SHARES:
        centre = special.logit(value)
        slope = 1 / (value * (1 - value))
        back = special.expit
    else:
        centre = np.log(value)
        slope = 1 / value
        back = np.exp
    ends = interval(np.array([centre]), std_error * slope, sizes, 1 - LEVEL)[:2]
    return float(back(ends[0][0])), float(back(ends[1][0]))


def _parts_of_rows(
    metric: str, tables: Sequence[Floats], centres: Sequence[Floats]
) -> list[Floats]:
    """Return each row's part in the metric of each model ``(rows,)``, to first
    order.
    """
    row_parts = []
    for table, centre in zip(tables, centres, strict=True):
        column_sums = table.sum(axis=0)
        steps = np.diag(1e-4 * np.maximum(np.abs(column_sums), 1e-9))
        stepped_values = []
        for step_sign in (1.0, -1.0):
            stepped_values.append(
                _values(metric, column_sums + step_sign * steps, centre)
            )
        row_parts.append(
            table
            @ np.nan_to_num(
                (stepped_values[0] - stepped_values[1]) / (2 * np.diag(steps))
            )
        )
    return row_parts


# ---- compared with a constant, compared with other models ----------------------------
def skill(
    task: str,
    ours: Predicted,
    constant: Predicted,
    *,
    seed: int,
    names: Sequence[str] = (),
    dependence: Dependence | None = None,
) -> dict[str, Any] | None:
    """Return whether a model is better than a constant, and by how much.

    None where nothing can be compared.

    Classifiers are compared by the main metric, the log loss and the ROC-AUC. If one
    class is frequent, a model may order the rows well and still predict that class in
    every row. Overconfident probabilities have a bad log loss, whatever their order.
    The model has learnt something if it is better in one of them at 5 % divided by
    their number. This takes noise for knowledge in few tables (0 to 4 % in
    simulations).

    Rows of one class or value measure no skill: the constant of these rows is always
    right. Rows that lack a class of the model have no ROC-AUC.

    ``names`` are other metrics to compare, for models that return classes without
    probabilities.
    """
    if len(np.unique(ours.truth)) < 2:
        return None
    first = ours.metric
    names = names or (
        [first]
        if tasks.get(task).numeric
        else list(dict.fromkeys([first, "log_loss", "roc_auc"]))
    )
    if not np.isin(np.arange(ours.classes), ours.truth).all():
        names = [metric_name for metric_name in names if metric_name != "roc_auc"]
    tests = {
        metric_name: paired(
            metric_name, ours, constant, seed=seed, dependence=dependence
        )
        for metric_name in names
    }
    measures = {
        metric_name: paired_test
        for metric_name, paired_test in tests.items()
        if paired_test is not None
    }
    if not measures:
        return None
    better = [
        paired_test
        for paired_test in measures.values()
        if paired_test["difference"] > 0
        and paired_test["p_value"] * len(measures) < LEVEL
    ]
    # Without any order, the area of one class versus the rest has variance (n + 1) /
    # (12 n₁ n₀) (the rank sum's). For a mean over classes, the mean of their deviations
    # is an upper bound. This counts also where a class has few rows.
    members = [
        class_mask
        for k in range(ours.classes)
        if (class_mask := ours.truth == k).any() and not class_mask.all()
    ]
    counts = [
        (ours.independent(class_mask), ours.independent(~class_mask))
        for class_mask in members[: 1 if ours.classes == 2 else None]
    ]
    errors = [
        math.sqrt((inside + outside + 1) / (12 * inside * outside))
        for inside, outside in counts
    ]
    chance = NORMAL_95 * float(np.mean(errors)) if errors else math.inf
    learnt = any(
        paired_test["metric"] != "roc_auc"
        or (paired_test["ci_low"] > 0 and paired_test["difference"] > chance)
        for paired_test in better
    )
    return {"learnt": learnt, "ahead": measures}


def against_others(
    ours: Predicted,
    rivals: Mapping[str, Predicted],
    *,
    seed: int,
    dependence: Dependence | None = None,
) -> dict[str, dict[str, Any]]:
    """Compare a model with others by the main metric.

    ``p_holm`` is adjusted for their number.

    All numbers are NaN where the metric's error is undefined, such as with one row of a
    class.

    Args:
        ours: The model's predictions.
        rivals: Those of others, by their names.
        seed: Of the draws.
        dependence: Which rows depend on each other. None: none do.
    """
    metric = ours.metric
    undefined = dict.fromkeys(("difference", "ci_low", "ci_high", "p_value"), math.nan)
    tests = {}
    for rival_name, rival in rivals.items():
        tests[rival_name] = paired(
            metric, ours, rival, seed=seed, dependence=dependence
        ) or {"metric": metric, **undefined}
    adjusted = holm([paired_test["p_value"] for paired_test in tests.values()]).tolist()
    return {
        rival_name: {**paired_test, "p_holm": p}
        for (rival_name, paired_test), p in zip(tests.items(), adjusted, strict=True)
    }
