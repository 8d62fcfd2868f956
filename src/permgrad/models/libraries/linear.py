"""A linear model: ridge, logistic or Poisson regression, with a penalty that rows left
out choose.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.threads import warning_filters
from permgrad.data.tasks import tasks
from permgrad.models.libraries.job import Job

#: Penalties of ridge regression that are tried, for columns of variance 1, and
#: strengths of a logistic one.
_PENALTIES = np.logspace(-6, 5, 34)
_STRENGTHS = np.logspace(-2, 2, 9)
#: Rows by which they are chosen at most, and rows of the rarest class at least: with
#: fewer it is the library's own.
_CHOOSING_ROWS = 5000
_FEWEST_OF_A_CLASS = 10
_FOLDS = 5


def linear_label(task: str, *, counts: bool) -> str:
    """Return what a fitted linear model is called.

    Examples:
        >>> linear_label("classification", counts=False)
        'logistic regression'
    """
    if tasks.get(task).has_classes:
        return "logistic regression"
    if counts:
        return "Poisson regression"
    return "ridge regression"


def linear(job: Job) -> Any:
    """Fit a linear model on columns of variance 1.

    Its penalty is chosen by cross-validation on the training rows.
    """
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    training_rows = job.train.encoded
    y = job.train.y
    weights = job.train.weights
    scaled = scaler.fit_transform(training_rows, sample_weight=weights)
    if job.counts:  # shrunk as much as a ridge regression: 1 beside a sum over rows
        model: Any = PoissonRegressor(
            **{"alpha": 1 / len(y), "max_iter": 2000, "tol": 1e-6, **job.options}
        )
    elif job.classify:
        # With many correlated columns lbfgs needs more than its default of 100 steps,
        # but far fewer than these.
        if "C" in job.options:
            strength = {}
        else:
            strength = {"C": _logistic_strength(job, scaled)}
        model = LogisticRegression(**{"max_iter": 2000, **strength, **job.options})
    else:
        if "alpha" in job.options:
            penalty = {}
        else:
            penalty = {"alpha": _ridge_penalty(job, scaled)}
        model = Ridge(**{**penalty, **job.options})
    model.fit(scaled, y, sample_weight=weights)
    return make_pipeline(scaler, model)


class _PenaltyRows(NamedTuple):
    """Rows that the penalty is chosen by.

    Attributes:
        scaled: ``(rows, columns)``.
        y: ``(rows,)``.
        weights: ``(rows,)``. None: all count the same.
    """

    scaled: Floats
    y: Any
    weights: Any


def _some(job: Job, scaled: Floats) -> _PenaltyRows:
    """Return rows that the penalty is chosen by, with their targets and weights."""
    sampled_rows = np.sort(
        np.random.default_rng(job.seed).permutation(len(scaled))[:_CHOOSING_ROWS]
    )
    weights = job.train.weights
    return _PenaltyRows(
        scaled[sampled_rows],
        np.asarray(job.train.y)[sampled_rows],
        None if weights is None else np.asarray(weights)[sampled_rows],
    )


def _ridge_penalty(job: Job, scaled: Floats) -> float:
    """Return the penalty of the least error in rows left out one by one."""
    from sklearn.linear_model import RidgeCV

    sampled_rows, y, weights = _some(job, scaled)
    # As much beside the sum over all rows as beside that over some.
    return float(RidgeCV(_PENALTIES).fit(sampled_rows, y, sample_weight=weights).alpha_)


def _logistic_strength(job: Job, scaled: Floats) -> float:
    """Return the inverse penalty of the least log loss in rows left out, a fold at a
    time.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    sampled_rows, y, weights = _some(job, scaled)
    if np.bincount(y, minlength=job.n_classes).min() < _FEWEST_OF_A_CLASS:
        return 1.0
    if weights is None:
        row_weights = np.ones(len(y))
    else:
        row_weights = weights
    losses = np.zeros(len(_STRENGTHS))
    for train, held_out_rows in StratifiedKFold(
        _FOLDS, shuffle=True, random_state=job.seed
    ).split(sampled_rows, y):
        model = LogisticRegression(max_iter=300, warm_start=True, tol=1e-3)
        for strength_index, strength in enumerate(_STRENGTHS):
            with warning_filters, warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # a weak penalty need not converge to be told from others
                model.set_params(C=strength).fit(
                    sampled_rows[train], y[train], sample_weight=row_weights[train]
                )
            class_probabilities = model.predict_proba(sampled_rows[held_out_rows])[
                np.arange(len(held_out_rows)), y[held_out_rows]
            ]
            losses[strength_index] += float(
                (
                    -np.log(np.maximum(class_probabilities, 1e-12))
                    * row_weights[held_out_rows]
                ).sum()
            )
    return float(_STRENGTHS[int(np.argmin(losses))])


def affine(model: Any) -> tuple[Floats, Floats]:
    """Return the matrix ``(outputs, encoded)`` and the offset ``(outputs,)`` of what
    ``linear`` returned.

    Of two classes there is one output, the log odds of the second.
    """
    scaler = model[0]
    fitted = model[-1]
    matrix = np.atleast_2d(np.asarray(fitted.coef_, dtype=np.float64)) / scaler.scale_
    offset = (
        np.atleast_1d(np.asarray(fitted.intercept_, dtype=np.float64))
        - matrix @ scaler.mean_
    )
    return matrix, offset
