"""From explanations of refits to one explanation of the training procedure, and what another training would say.

An estimator is fitted K times on parts of n rows. Each fit is explained on rows that it has not seen. The estimand is
the mean importance over trainings on new samples of n rows. There are two kinds of parts:

- *folds*: each row is left out of one fit, and each fit sees most of the rows;
- *halves*: random halves. Their fits differ about as much as those of new samples (Shao & Wu 1989: a jackknife that
  leaves out half of the rows).

Sums over rows e_ki, the part of row i in the importance by fit k, are divided into r_i + t_k by least squares over the
pairs that there are (row i is not in the training of fit k). t_k is how far fit k is from the others *on the same
rows*. The importance is extrapolated from the means of folds and halves to n rows, as a line in 1/n. Its variance is

    Var(r)/n + Var(t, halves) + 2·ρ·√(both),

the error of measuring, that of the training, and their covariance: noise of a row moves the model and the measurement
together. ρ is the correlation of t with the mean of r over the rows of each half, pooled over features. Var(t), known
from few halves, is moderated by that of the other features. The variance
between refits alone misses what all refits share, their rows, and no estimate from it is unbiased (Nadeau & Bengio
2003; for importances Molnar et al. 2023, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.ranks import MOST_TOGETHER
from permgrad.attribution.explanation.statistics import error_correlation, interval, two_parts
from permgrad.attribution.replace.game import Played, play_losses
from permgrad.attribution.replace.moments import row_scores
from permgrad.attribution.replace.plays import Plays
from permgrad.attribution.request import Request
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.random import generator

#: Places at the top that ``another_training`` is about, and how many trainings are drawn for it.
FIRST, _DRAWS = 3, 10_000
#: The fewest features whose variances are moderated, and the most degrees of freedom that the others add.
_FEWEST, _MOST_PRIOR = 3, 50.0
#: What a refit's ``Explanation.maps`` hold: the rows explained, and each one's part in the values.
_ROWS, _SCORES = "rows", "row_scores"


# ---- the rows of each refit ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RefitDesign:
    """The rows that each refit is trained on, of ``rows`` in all: ``folds`` first, then halves.

    ``groups``: the group of each row ``(rows,)``, where rows of one group depend on each other.
    """

    trained: tuple[Integers, ...]
    folds: int
    rows: int
    groups: Integers | None = None

    @property
    def weights(self) -> Floats:
        """The weight of each refit, ``(refits,)``, by which both sizes are extrapolated to all rows."""
        parts = self.trained[: self.folds], self.trained[self.folds :]
        fold, half = (self.rows / float(np.mean([len(one) for one in part])) for part in parts)
        slope = (fold - 1) / (half - fold)
        return np.repeat([(1 + slope) / len(parts[0]), -slope / len(parts[1])], [len(part) for part in parts])


def draw_design(rows: int, refits: int, seed: int, classes: Array | None, groups: Any = None) -> RefitDesign:
    """Draw the rows of each refit. Classes ``(rows,)`` are divided evenly. Rows of one group stay together."""
    unit = np.arange(rows) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    count, folds = int(unit.max()) + 1, refits - refits // 2
    strata = np.zeros(count) if classes is None or groups is not None else np.unique(classes, return_inverse=True)[1]

    def shuffled(*purpose: object) -> Integers:
        order = generator(seed, "refits", *purpose).permutation(count)
        return order[np.argsort(strata[order], kind="stable")]

    fold = np.empty(count, dtype=np.int64)
    fold[shuffled("folds")] = np.arange(count) % folds
    parts = [fold != number for number in range(folds)]
    for number in range(refits - folds):
        # One of each two neighbours, so that every class is halved.
        side, half = generator(seed, "sides", number).integers(0, 2, -(-count // 2)), np.zeros(count, dtype=bool)
        half[shuffled("half", number)] = np.arange(count) % 2 == np.repeat(side, 2)[:count]
        parts.append(half)
    trained = tuple(np.flatnonzero(part[unit]) for part in parts)
    return RefitDesign(trained, folds, rows, None if groups is None else unit)


# ---- one refit -------------------------------------------------------------------------------------------------------
def explain_refit(request: Request, chosen: Any, rows: Integers) -> Explanation:
    """Explain a fit on rows that it has not seen, which lend to each other. The result holds each row's part."""
    games: list[Played] = []

    def play(request: Request, plays: Plays, label: str) -> Played:
        games.append(play_losses(replace(request, engine=None), plays, label))
        return games[-1]

    request = replace(request, donors=request.inputs, background_kind="rows explained", engine=play)
    explanation: Explanation = chosen(request)
    played = games[-1]
    scores = np.zeros((len(explanation.outputs), len(explanation.names), len(rows)), dtype=np.float32)
    for place, name in enumerate(explanation.names):
        for output, title in enumerate(explanation.outputs if name in played.moments else ()):
            group, moments = played.outputs.index(title) - 1 if output else None, played.moments[name]
            member = moments.receiver_weight * (group is None or moments.receiver_class == group)
            scores[output, place] = row_scores(moments, group)[0] * len(rows) / max(float(member.sum()), 1.0)
    return replace(explanation, maps={_ROWS: rows, _SCORES: scores}, correlation=None, feature_values=None)


# ---- all refits ------------------------------------------------------------------------------------------------------
def _divided(fits: Sequence[Explanation], design: RefitDesign, output: int) -> tuple[Floats, Floats, Floats]:
    """Divide the rows' parts in the importances of one output into effects of rows and of fits, by least squares.

    Effects of rows, or groups of them, are ``r (features, rows)``, centred, those of fits ``t (refits, features)``. The
    last are the means of r over the rows that each fit is trained on, ``(refits, features)``.
    """
    features = len(fits[0].names)
    seen, sums = np.zeros((len(fits), design.rows)), np.zeros((features, design.rows))
    totals = np.zeros((len(fits), features))
    for number, fit in enumerate(fits):
        places = fit.maps[_ROWS]
        parts = fit.maps[_SCORES][output].astype(np.float64) + fit.values[:, [output]]
        seen[number, places] = 1.0
        sums[:, places] += parts
        totals[number] = parts.sum(axis=1)
    measured = np.flatnonzero(seen.any(axis=0))
    seen, sums = seen[:, measured], sums[:, measured]
    count = seen.sum(axis=0)
    matrix = np.diag(seen.sum(axis=1)) - (seen / count) @ seen.T
    of_fits = np.linalg.lstsq(matrix, totals - seen @ (sums / count).T, rcond=None)[0]
    of_rows = (sums - of_fits.T @ seen) / count
    of_rows -= of_rows.mean(axis=1, keepdims=True)
    trained = np.stack([np.isin(measured, rows) for rows in design.trained]).astype(np.float64)
    shares = trained @ of_rows.T / trained.sum(axis=1, keepdims=True)
    if design.groups is not None:
        # Sums within groups take the place of rows, in the unit of a mean over groups.
        member = np.unique(design.groups[measured], return_inverse=True)[1]
        sums = np.stack([np.bincount(member, row) for row in of_rows])
        of_rows = sums * (sums.shape[1] / len(measured))
    return of_rows, of_fits, shares


@dataclass(frozen=True)
class _Estimate:
    """Numbers of the features for one output, each ``(features,)``, and how errors correlate."""

    std: Floats
    count: Floats
    within: Floats
    between: Floats
    correlation: Floats | None
    first: Floats  # the share of new trainings in which a feature is among the first


def _estimate(value: Floats, effects: tuple[Floats, Floats, Floats], design: RefitDesign, seed: int) -> _Estimate:
    of_rows, *of_fits = effects
    halves, shares = (each[design.folds :] - each[design.folds :].mean(axis=0) for each in of_fits)
    rows, others = of_rows.shape[1], len(halves) - 1
    within = (of_rows**2).sum(axis=1) / (rows * (rows - 1))
    variance = (halves**2).sum(axis=0) / others
    moves = (variance > 0) & ((shares**2).sum(axis=0) > 0)
    related = (halves * shares).sum(axis=0)[moves] / np.sqrt((halves**2).sum(axis=0) * (shares**2).sum(axis=0))[moves]
    shared = float(np.clip(related.mean(), 0, 1)) if len(related) else 0.0
    between, freedom = moderated(variance, within, others)
    training = between + 2 * shared * np.sqrt(within * between)
    _, count = two_parts(within, rows, training, freedom + 1)
    std = np.sqrt(within + training)
    trainings = halves * np.sqrt(np.divide(between, (halves**2).sum(axis=0), out=np.zeros_like(std), where=moves))
    correlation = None
    if len(std) <= MOST_TOGETHER:
        correlation = error_correlation(np.hstack([of_rows / rows, trainings.T]))
    # A new training is drawn: the mean over trainings, with its error, and how one training differs from the mean.
    root, draw = np.diag(std), generator(seed, "another training")
    if correlation is not None:
        levels, vectors = np.linalg.eigh(correlation)
        root = (vectors * np.sqrt(np.maximum(levels, 0.0))).T * std
    spread = np.sqrt(draw.chisquare(freedom, (_DRAWS, 1)) / freedom)
    moved = draw.standard_normal((_DRAWS, len(std))) @ root + draw.standard_normal((_DRAWS, others + 1)) @ trainings
    order = np.argsort(-(value + moved / spread), axis=1, kind="stable")[:, : first_places(len(value))]
    first = np.bincount(order.ravel(), minlength=len(value)) / _DRAWS
    return _Estimate(std, count, np.sqrt(within), np.sqrt(between), correlation, first)


def moderated(variance: Floats, scale: Floats, freedom: float) -> tuple[Floats, float]:
    """Return variances moved towards their usual ratio to a ``scale``, and their degrees of freedom (Smyth 2004).

    The less the ratios of the features differ beyond chance, the further they are moved, and the surer they are.
    """
    from scipy import optimize, special

    usable = (variance > 0) & (scale > 0)
    if usable.sum() < _FEWEST:
        return variance, freedom
    # Section 6.2 of the paper: log variances have the mean and the variance of a log F distribution.
    ratios = np.log(variance[usable] / scale[usable]) - special.digamma(freedom / 2) + np.log(freedom / 2)
    beyond = float(ratios.var(ddof=1)) - float(special.polygamma(1, freedom / 2))
    prior = _MOST_PRIOR
    if beyond > special.polygamma(1, _MOST_PRIOR / 2):
        prior = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - beyond, 1e-3, _MOST_PRIOR / 2)
    usual = np.exp(ratios.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return (prior * usual * scale + freedom * variance) / (prior + freedom), freedom + prior


def first_places(features: int) -> int:
    """Return how many places at the top are spoken of."""
    return min(FIRST, max(1, features - 1))


def combine(fits: Sequence[Explanation], design: RefitDesign, seed: int, facts: Mapping[str, Any]) -> Explanation:
    """Return the explanation of the procedure from those of its refits, in the order of the design."""
    first, confidence = fits[0], float(fits[0].meta["confidence"])
    value = np.tensordot(design.weights, np.stack([fit.values for fit in fits]), axes=1)
    # Some refit could not measure an output: a class without rows.
    missing = np.full(len(value), np.nan)
    undefined = _Estimate(missing, missing, missing, missing, None, missing)
    estimates = [
        _estimate(column, _divided(fits, design, output), design, seed) if np.isfinite(column).all() else undefined
        for output, column in enumerate(value.T)
    ]
    columns = zip(*((one.std, one.count, one.within, one.between) for one in estimates), strict=True)
    std, count, within, between = (np.stack(each, axis=1) for each in columns)
    low, high, p_values = interval(value, std, count, confidence)
    together = [one.correlation for one in estimates if one.correlation is not None]
    sizes = [len(rows) for rows in design.trained]
    meta = {name: fact for name, fact in first.meta.items() if name not in ("repeats", "digests", "background")}
    measured = len(np.unique(np.concatenate([fit.maps[_ROWS] for fit in fits])))
    if design.groups is not None:
        counted = len(np.unique(np.concatenate([design.groups[fit.maps[_ROWS]] for fit in fits])))
        meta["independent"] = {"by": "row_groups", "count": counted}
    meta |= {
        "seed": seed,
        "rows_explained": measured,
        "loss_scale": float(np.mean([fit.meta["loss_scale"] for fit in fits])),
        "model_rows": sum(int(fit.meta["model_rows"]) for fit in fits),
        "refits": {"fits": len(fits), "folds": design.folds, "rows": design.rows, "trained": [min(sizes), max(sizes)]},
        "another_training": {
            "first": first_places(len(first.names)),
            "shares": dict(zip(first.names, estimates[0].first.tolist(), strict=True)),
        },
        **facts,
    }
    return replace(
        first,
        values=value,
        std=std,
        low=low,
        high=high,
        p_values=p_values,
        correlation=np.stack(together) if len(together) == len(estimates) else None,
        parts={
            name: np.tensordot(design.weights, np.stack([fit.parts[name] for fit in fits]), axes=1)
            for name in first.parts
        },
        part_std={"within": within, "between": between},
        branches=None,
        direction=None,
        maps={},
        meta=meta,
    )
