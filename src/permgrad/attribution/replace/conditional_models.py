"""Models of conditional draws: a number's mean and spread, and a category's probabilities, given other columns.

All are cross-fitted, so that no row is predicted by a model that has seen it. A simple model is kept unless a richer
one leaves clearly less error on rows that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from permgrad.attribution.replace.smooths import TRIPLES, WAVES, Columns, SmoothModel, clearness
from permgrad.base.arrays import Array, Booleans, Floats, Indexes, Integers
from permgrad.base.random import derive_seed, generator

Encoded = Array  # float32, or float64 where the model takes that
Predict = Callable[[Floats], Floats]

FOLDS = 5
#: Least share of a number's variance explained by the others at which they count as determining it.
_DETERMINED = 0.999
#: The same for a category: share of the mistakes of always guessing the commonest level that is avoided.
_DETERMINED_LEVEL = 0.99
#: Share of the error that the more complex model must take away to be used.
_CLEARLY = 0.01
#: Trees that are added up, and for a first look.
_TREES, _FEW_TREES = 80, 15
#: Levels for whose chances curves and surfaces are looked for.
_MODELLED_LEVELS = 4


@dataclass
class Fitted:
    """What a part of a feature is drawn from. No receiver is predicted by a model that was fitted on that row."""

    values: Floats  # of every receiver: mean and spread of a number ``(receivers, 2)``, or levels' cumulative chances
    draws: Array  # a number's out-of-fold residuals ``(rows used,)``, or the levels ``(levels, columns)``
    determined: bool = False  # whether the rest of the row fixes it
    dependent: bool = False  # whether what is left still depends on the other columns: another row's does not fit
    by_fold: Sequence[Predict] = ()  # model k was fitted without fold k (empty: no model)
    whole: Predict | None = None  # fitted on all background rows, for receivers outside it
    fold_of: Integers | None = None  # each receiver's fold, −1 outside the background

    def at(self, predictors: Floats, rows: Integers) -> Floats:
        """Return the values of receivers ``rows``, given ``(rows, predictors)``."""
        result = self.values[rows]
        if self.fold_of is not None:
            folds = self.fold_of[rows]
            for fold in np.unique(folds):
                model = self.whole if fold < 0 else self.by_fold[int(fold)]
                assert model is not None
                result[folds == fold] = model(predictors[folds == fold])
        return result

    def for_others(self, predictors: Floats) -> Fitted:
        """Return the model with values of receivers outside the background, ``(rows, predictors)``."""
        count = len(predictors)
        fold_of = None if self.fold_of is None else np.full(count, -1, dtype=np.int64)
        made = replace(self, values=np.tile(self.values[:1], (count, 1)), fold_of=fold_of)
        made.values = made.at(predictors, np.arange(count))
        return made


@dataclass
class Fitting:
    """Fits the models of one sampler."""

    background: Encoded  # rows that models are fitted on ``(donors, encoded)``
    receivers: Encoded  # rows that values are drawn for ``(rows, encoded)``
    seed: int  # of the whole call
    shared: bool  # whether both are the same rows

    @cached_property
    def columns(self) -> Columns:
        """The background's columns with their curves, made once for all features."""
        return Columns(self.background.astype(np.float64))

    def number(self, column: int, predictors: list[int], rows: Integers) -> Fitted:
        """Fit one number's mean and spread on background ``rows``: smooth functions, with trees where they help."""
        target = self.background[rows, column].astype(np.float64)
        if not predictors:
            centre = float(target.mean())
            return Fitted(np.tile([centre, 1.0], (len(self.receivers), 1)), target - centre)
        x = self.background[rows][:, predictors].astype(np.float64)
        folds = self._folds(len(rows), column)
        best = self._mean(predictors, rows, x, target, folds)
        determined = bool(1 - best.errors.mean() / max(float(target.var()), 1e-300) > _DETERMINED)
        residuals = target - best.out_of_fold
        spread = self._spread(predictors, rows, x, residuals, folds)
        # Where copies of rows are predicted exactly, the spread is nearly 0, and residuals over it have no bound.
        most = 10 * float(np.abs(residuals).max() / spread.out_of_fold.max())
        residuals = np.clip(residuals / spread.out_of_fold, -most, most)

        def pair(mean: Predict, width: Predict) -> Predict:
            return lambda wanted: np.stack([mean(wanted), width(wanted)], axis=1)

        both = replace(
            best,
            fit=lambda chosen: pair(best.fit(chosen), spread.fit(chosen)),
            by_fold=[pair(*each) for each in zip(best.by_fold, spread.by_fold, strict=True)],
        )
        # Rank by rank: how large a residual is, and how far out.
        place = (np.argsort(np.argsort(residuals, kind="stable"), kind="stable") + 0.5) / len(rows)
        signals = np.cos(np.pi * place[:, None] * np.array([1, 2, 3]))
        return self._for_receivers(both, predictors, (rows, folds), residuals, determined, signals)

    def _mean(self, predictors: list[int], rows: Integers, x: Floats, target: Floats, folds: Integers) -> Candidate:
        smooth = SmoothModel(self.columns, predictors, rows, target)

        errors = _squared(target)
        best = _cross_fit(x, folds, smooth.fit, errors, None)
        if best.errors.mean() <= (1 - _DETERMINED) * target.var():
            return best

        def with_trees(chosen: Booleans, rounds: int = _TREES) -> Predict:
            base = smooth.fit(chosen)
            trees = self._trees("Regressor", rounds).fit(x[chosen], target[chosen] - base(x[chosen]))
            return lambda wanted: base(wanted) + np.asarray(trees.predict(wanted), dtype=np.float64)

        return _cross_fit(x, folds, with_trees, errors, best, trial=lambda chosen: with_trees(chosen, _FEW_TREES))

    def _spread(self, predictors: list[int], rows: Integers, x: Floats, left: Floats, folds: Integers) -> Candidate:
        """Return the spread of residuals up to a common factor, or 1 if it does not depend on the other columns."""

        def constant(level: float) -> Predict:
            return lambda wanted: np.full(len(wanted), level)

        one = constant(1.0)
        alike = Candidate(lambda _: one, [one] * FOLDS, np.ones(len(left)), np.zeros(len(left)))
        size = np.abs(left)
        if not size.mean() > 0:
            return alike
        # The logarithm of a residual near 0 says nothing.
        target = np.log(size + 0.02 * np.median(size) + 1e-9 * size.mean())
        same = _cross_fit(x, folds, lambda chosen: constant(float(target[chosen].mean())), _squared(target), None)
        smooth = SmoothModel(self.columns, predictors, rows, target)
        fitted = _cross_fit(x, folds, smooth.fit, _squared(target), same)
        if fitted is same:
            return alike
        low, high = float(fitted.out_of_fold.min()), float(fitted.out_of_fold.max())

        return fitted.mapped(lambda logarithm: np.exp(np.clip(logarithm, low, high)))

    def levels(self, columns: Indexes, predictors: list[int]) -> Fitted | None:
        """Fit probabilities of the levels of discrete columns. Return None if there is only one level."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        levels = np.unique(self.background[:, columns], axis=0) if len(columns) else np.zeros((0, 0), np.float32)
        if len(levels) < 2:
            return None
        codes = codes_of(self.background[:, columns], levels)
        shares = np.bincount(codes, minlength=len(levels)) / len(codes)
        if not predictors:
            return Fitted(np.tile(np.cumsum(shares), (len(self.receivers), 1)), levels)
        x = self.background[:, predictors].astype(np.float64)
        folds = self._folds(len(x), int(columns[0]))

        def errors(predicted: Floats, held: Booleans) -> Floats:
            chance: Floats = predicted[np.arange(len(predicted)), codes[held]]
            # A level that the fitted rows lack is not infinitely wrong.
            return -np.log(np.maximum(chance, 1e-3))

        best: Candidate | None = None
        trees, few = (
            _of_levels(self._trees("Classifier", rounds), x, codes, len(levels)) for rounds in (_TREES, _FEW_TREES)
        )
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        for model in (linear, self._smooth_logistic(predictors, codes, shares)):
            if model is not None:
                best = _cross_fit(x, folds, _of_levels(model, x, codes, len(levels)), errors, best)
        chances = _cross_fit(x, folds, trees, errors, best, trial=few)
        mistakes = float((chances.out_of_fold.argmax(axis=1) != codes).mean())
        determined = mistakes <= (1 - _DETERMINED_LEVEL) * (1 - float(shares.max()))

        summed = chances.mapped(lambda each: np.cumsum(each, axis=1))
        common = _commonest(shares)
        signals = (codes[:, None] == common) - chances.out_of_fold[:, common]
        return self._for_receivers(summed, predictors, (np.arange(len(x)), folds), levels, determined, signals)

    def _smooth_logistic(self, predictors: list[int], codes: Integers, shares: Floats) -> Any:
        """Return logistic regression on the curves and surfaces of the commonest levels, or None if there are none.

        The penalties are those of the level's indicator, whose slopes are the logit's times p (1 − p).
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        common, rows = _commonest(shares), np.arange(len(codes))
        parts = [SmoothModel(self.columns, predictors, rows, (codes == level).astype(np.float64)) for level in common]
        if not any(part.bends for part in parts):
            return None
        strength = float(1 / (shares[common] * (1 - shares[common])).mean())
        design = FunctionTransformer(lambda x: np.concatenate([part.scaled_design(x) for part in parts], axis=1))
        return make_pipeline(design, LogisticRegression(C=strength, max_iter=300))

    def _trees(self, kind: str, rounds: int = _TREES) -> Any:
        """Return boosted trees for a number (``"Regressor"``) or for levels (``"Classifier"``), not fitted yet."""
        from sklearn import ensemble

        numbers = kind == "Regressor"
        seed = derive_seed(self.seed, "conditional", "numbers" if numbers else "levels") % 2**31
        make = getattr(ensemble, f"HistGradientBoosting{kind}")
        leaves = 16 if numbers else 8
        return make(max_iter=rounds, max_leaf_nodes=leaves, early_stopping=False, random_state=seed)

    def _for_receivers(
        self,
        best: Candidate,
        predictors: list[int],
        rows_and_folds: tuple[Integers, Integers],
        draws: Array,
        determined: bool,
        signals: Floats,
    ) -> Fitted:
        """Give each receiver a model that has not seen it. Signals have mean 0 if the model is right."""
        rows, folds = rows_and_folds
        receivers = self.receivers[:, predictors].astype(np.float64)
        fold_of = np.full(len(receivers), -1, dtype=np.int64)
        if self.shared:
            fold_of[rows] = folds
        on_all = best.fit(np.ones(len(rows), dtype=bool)) if (fold_of < 0).any() else None
        width = best.by_fold[0](receivers[:1]).shape[1]
        made = Fitted(np.empty((len(receivers), width)), draws, determined, False, best.by_fold, on_all, fold_of)
        made.values = made.at(receivers, np.arange(len(receivers)))
        made.dependent = not determined and still_depend(signals, self.columns, predictors, rows)
        return made

    def _folds(self, rows: int, column: int) -> Integers:
        """Return each row's fold. Folds are of equal size, so that none is empty."""
        return generator(self.seed, "conditional", "folds", column).permutation(rows) % FOLDS


def _of_levels(model: Any, x: Floats, codes: Integers, levels: int) -> Callable[[Booleans], Predict]:
    """Return a function that fits a classifier on some rows. Levels that it has not seen get probability 0."""
    from sklearn.base import clone

    def fit(chosen: Booleans) -> Predict:
        present = np.unique(codes[chosen])
        if len(present) < 2:
            return lambda wanted: np.tile(np.eye(levels)[present[0]], (len(wanted), 1))
        fitted = clone(model).fit(x[chosen], codes[chosen])

        def predict(wanted: Floats) -> Floats:
            result = np.zeros((len(wanted), levels))
            result[:, present] = fitted.predict_proba(wanted)
            return result

        return predict

    return fit


def _commonest(shares: Floats) -> Integers:
    """Return the levels that are modelled one by one."""
    return np.argsort(-shares, kind="stable")[: 1 if len(shares) == 2 else _MODELLED_LEVELS]


def _squared(target: Floats) -> Callable[[Floats, Booleans], Floats]:
    """Return a function that measures the errors of predictions of some rows."""
    return lambda predicted, held: (target[held] - predicted) ** 2


@dataclass
class Candidate:
    """A kind of model, fitted once without each fold."""

    fit: Callable[[Booleans], Predict]
    by_fold: list[Predict]
    out_of_fold: Floats
    errors: Floats

    def mapped(self, change: Predict) -> Candidate:
        """Return the same with other predictions, made of these."""

        def changed(predict: Predict) -> Predict:
            return lambda wanted: change(predict(wanted))

        by_fold = [changed(predict) for predict in self.by_fold]
        return Candidate(lambda chosen: changed(self.fit(chosen)), by_fold, change(self.out_of_fold), self.errors)


def _cross_fit(
    x: Floats,
    folds: Integers,
    fit: Callable[[Booleans], Predict],
    errors: Callable[[Floats, Booleans], Floats],
    rival: Candidate | None,
    trial: Callable[[Booleans], Predict] | None = None,
) -> Candidate:
    """Return the fitted candidate, or its rival unless that is clearly beaten.

    The two are compared on the first fold already, by a quicker ``trial`` if there is one, so that a model that does
    not suit the data costs one fit, not all.
    """
    if rival is not None and trial is not None:
        held = folds == 0
        if errors(trial(~held)(x[held]), held).mean() >= rival.errors[held].mean():
            return rival
    by_fold: list[Predict] = []
    predicted: list[Floats] = []
    error = np.empty(len(folds))
    for fold in range(FOLDS):
        held = folds == fold
        by_fold.append(fit(~held))
        predicted.append(by_fold[-1](x[held]))
        error[held] = errors(predicted[-1], held)
        if fold == 0 and rival is not None and error[held].mean() >= rival.errors[held].mean():
            return rival
    if rival is not None and error.mean() >= (1 - _CLEARLY) * rival.errors.mean():
        return rival
    # Fold by fold, as the rows lie when they are sorted by fold.
    out_of_fold = np.concatenate(predicted)[np.argsort(np.argsort(folds, kind="stable"))]
    return Candidate(fit, by_fold, out_of_fold, error)


def codes_of(values: Encoded, levels: Encoded) -> Integers:
    """Return for each row the number of its level."""
    codes = np.unique(np.concatenate([levels, values]), axis=0, return_inverse=True)[1]
    return codes.reshape(-1)[len(levels) :].astype(np.int64)


# ---- do residuals still depend on the other columns? Then a residual of another row does not fit --------------------

#: Chance of a warning about any column where all models are right.
_LEVEL = 0.01


def still_depend(signals: Floats, columns: Columns, predictors: list[int], rows: Integers) -> bool:
    """Return whether any signal follows a bounded function of the known columns more than chance does.

    The functions are cosines of the ranks in each column, products of those of two columns, and for few columns of
    three. Each sum of products is divided by its standard error. Bonferroni's bound covers all of them and the columns.
    """
    waves = [wave[rows] for wave in map(columns.waves, predictors) if wave is not None]
    if not waves:
        return False
    waves = [wave - wave.mean(axis=0) for wave in waves]
    signals = signals - signals.mean(axis=0)
    largest, tests = 0.0, 0
    together = np.concatenate(waves, axis=1)
    factors = [(wave, together[:, (at + 1) * WAVES :]) for at, wave in enumerate(waves[:-1])]
    factors.append((np.ones((len(rows), 1)), together))
    if len(waves) <= TRIPLES:
        slowest = together[:, ::WAVES]
        factors += [
            (slowest[:, [one]] * slowest[:, [two]], slowest[:, two + 1 :])
            for one, two in combinations(range(len(waves) - 1), 2)
        ]
    for signal in signals.T:
        for one, other in factors:
            clear = clearness(one * signal[:, None], other)
            largest, tests = max(largest, float(clear.max())), tests + clear.size
    from scipy import stats

    return bool(largest > stats.norm.isf(_LEVEL / (2 * tests * columns.x.shape[1])))
