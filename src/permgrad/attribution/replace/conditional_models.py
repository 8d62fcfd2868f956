"""Models of conditional draws: a number's mean and spread, and a category's
probabilities, given other columns.

They are ridge and logistic regressions of scikit-learn on lines, and on splines and
products of columns where these show: what a mean misses stays in the residual, goes to
other rows with it, and looks like an effect. All are cross-fitted, so that no row is
predicted by a model that has seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats, Indexes, Integers
from permgrad.base.random import generator

Encoded = Array  # float32, or float64 where the model takes that
#: Takes predicting columns ``(rows, columns)`` and the fold of each row (−1: outside
#: the background).
Predict = Callable[[Floats, Integers], Floats]

FOLDS = 5
#: A column of fewer distinct values gets a line only, and is drawn as one of its
#: values.
DISTINCT = 8
#: Least share of a number's variance explained by the others at which they count as
#: determining it.
_DETERMINED = 0.999
#: The same for a category: share of the mistakes of always guessing the commonest level
#: that is avoided.
_DETERMINED_LEVEL = 0.99
#: Share of the error that makes a difference: of a spread that follows other columns,
#: and of strengths.
_CLEARLY = 0.01
#: Penalties of ridge regression, and strengths of logistic regression, of which the
#: best is taken.
_PENALTIES = np.logspace(-4, 4, 17)
_STRENGTHS = (0.03, 0.3, 3.0, 30.0, 300.0)
#: Curves and products that are added at most, and the columns up to which products of
#: three are looked at.
_CURVES = 12
_PRODUCTS = 6
_TRIPLES = 12
#: Most knots of a spline by quantiles and by distance, rows per knot, and knots in
#: products.
_KNOTS = 12
_ROWS_PER_KNOT = 30
_FEW_KNOTS = 3
#: Functions of each column's ranks that terms are looked for by, and clearness from
#: which on a curve is tried.
_WAVES = 3
_CURVE_Z = 2.0
#: Levels that terms are looked for, and that are checked.
_COMMONEST = 4
#: Chance of a warning about any column where all models are right.
_LEVEL = 0.01


# ---- which functions of the columns --------------------------------------------------
def _waves(x: Floats) -> Floats:
    """Return cosines of each row's rank in each column, centred ``(rows, columns,
    waves)``: 0 for constant columns.
    """
    from scipy.stats import rankdata

    relative_ranks = (rankdata(x, axis=0) - 0.5) / len(x)
    cosines = np.cos(np.pi * relative_ranks[:, :, None] * np.arange(1, _WAVES + 1))
    return np.where(np.ptp(x, axis=0)[:, None] > 0, cosines - cosines.mean(axis=0), 0.0)


def _clearness(signals: Floats, functions: Floats) -> Floats:
    """Return the sums of products over rows, in their standard errors: ``(signals,
    functions)``.
    """
    squares = (signals**2).T @ functions**2
    return np.abs(signals.T @ functions) / np.sqrt(np.maximum(squares, 1e-300))


def _clear_pairs(left: Floats, waves: Floats) -> Floats:
    """Return how clearly products of the functions of two columns follow any of the
    signals, ``(columns, columns)``.
    """
    count = waves.shape[1]
    flat_waves = waves.reshape(len(waves), -1)
    signal_clearness = []
    for signal in left.T:
        signal_clearness.append(_clearness(flat_waves * signal[:, None], flat_waves))
    return (
        np.max(signal_clearness, axis=0)
        .reshape(count, _WAVES, count, _WAVES)
        .max(axis=(1, 3))
    )


class _Curve:
    """A cubic spline of a column, whose coefficients are changes of its slope:
    penalties keep it straight.
    """

    def __init__(self, values: Floats, most_knots: int) -> None:
        from sklearn.preprocessing import SplineTransformer

        count = int(np.clip(len(values) // _ROWS_PER_KNOT, 3, most_knots))
        lowest_value, first, upper_quantile, highest_value = np.quantile(
            values, [0, 0.01, 0.99, 1]
        )
        # By quantiles and by distance, on a grid, so that no two are close together.
        knot_candidates = np.concatenate(
            [
                np.quantile(values, np.linspace(0, 1, count)),
                np.linspace(first, upper_quantile, count),
            ]
        )
        cells = np.unique(
            np.rint(
                (knot_candidates - lowest_value)
                / (highest_value - lowest_value)
                * 10
                * count
            )
        )
        knots = lowest_value + cells * (highest_value - lowest_value) / (10 * count)
        self._spline = SplineTransformer(
            knots=knots[:, None], extrapolation="linear"
        ).fit(values[:, None])
        knot_vector = self._spline.bsplines_[0].t
        centres = (knot_vector[1:-3] + knot_vector[2:-2] + knot_vector[3:-1]) / 3
        slopes = np.diff(np.eye(len(centres)), axis=0) / np.diff(centres)[:, None]
        self._of_slopes = np.linalg.pinv(np.diff(slopes, axis=0))

    def __call__(self, values: Floats) -> Floats:
        """Return the functions at ``values``, ``(rows, functions)``, straight outside
        the range fitted.
        """
        bends: Floats = self._spline.transform(values[:, None]) @ self._of_slopes
        return bends


class Terms:
    """Functions of columns that a regression adds up: lines of all, splines of some,
    products of two or three.

    They are chosen once, on all rows, by the targets ``(rows, targets)``, and scaled by
    the penalties that suit each alone, as one penalty holds back all. Only coefficients
    are cross-fitted.
    """

    def __init__(self, x: Floats, targets: Floats) -> None:
        from sklearn.preprocessing import StandardScaler

        self._scaler = StandardScaler().fit(x)
        self._targets = targets - targets.mean(axis=0)
        self._z: Floats = self._scaler.transform(x)
        bending = np.array([len(np.unique(column)) >= DISTINCT for column in x.T])
        self._curves, self._few = (
            {
                int(column_index): _Curve(self._z[:, column_index], knots)
                for column_index in np.flatnonzero(bending)
            }
            for knots in (_KNOTS, _FEW_KNOTS)
        )
        #: columns of each term, none for the lines of all, and its scale
        self._terms: list[tuple[tuple[int, ...], float]] = []
        self._add([()], self._targets)
        waves = _waves(x)
        residuals = self._left()
        clear = (
            _clearness(residuals, waves.reshape(len(x), -1))
            .max(axis=0)
            .reshape(-1, _WAVES)
            .max(axis=1)
        )
        curves = []
        for column_index in np.argsort(-clear, kind="stable"):
            if bending[column_index] and clear[column_index] > _CURVE_Z:
                curves.append((int(column_index),))
        self._add(curves[:_CURVES], residuals)
        self._add_products(waves, self._left())
        del self._z, self._targets

    def _add(self, terms: Sequence[tuple[int, ...]], left: Floats) -> None:
        """Add terms, each scaled half way (as a geometric mean) to the penalty that
        suits it alone.
        """
        from sklearn.linear_model import RidgeCV

        penalties = []
        for term in terms:
            penalties.append(
                RidgeCV(_PENALTIES).fit(self._functions(self._z, term), left).alpha_
            )
        self._terms += [
            (term, float(penalty**-0.25))
            for term, penalty in zip(terms, penalties, strict=True)
        ]

    def _left(self) -> Floats:
        """Return what ridge regression on the terms so far leaves of the targets."""
        from sklearn.linear_model import Ridge

        design = self._design(self._z)
        residuals: Floats = self._targets - Ridge().fit(design, self._targets).predict(
            design
        ).reshape(self._targets.shape)
        return residuals

    def _add_products(self, waves: Floats, left: Floats) -> None:
        """Add the products that exceed the largest expected by chance: of pairs, and of
        three of few columns.
        """
        count = waves.shape[1]
        pairs: list[tuple[int, ...]] = list(combinations(range(count), 2))
        together = _clear_pairs(left, waves)
        product_terms = _clearest(
            pairs, np.array([together[pair] for pair in pairs]), _WAVES**2
        )
        if count <= _TRIPLES:
            triples: list[tuple[int, ...]] = list(combinations(range(count), 3))
            slow_waves = waves[:, :, 0]
            clear = []
            for triple in map(list, triples):
                clear.append(
                    _clearness(left, slow_waves[:, triple].prod(axis=1)[:, None]).max()
                )
            product_terms += _clearest(triples, np.array(clear), 1)
        self._add(product_terms, left)

    def _functions(self, z: Floats, term: tuple[int, ...]) -> Floats:
        """Return the functions of a term, ``(rows, functions)``."""
        if not term:
            return z
        if len(term) == 1:
            return self._curves[term[0]](z[:, term[0]])
        values = np.ones((len(z), 1))
        for column_index in term:
            functions = z[:, [column_index]]
            if len(term) == 2 and column_index in self._few:
                functions = np.concatenate(
                    [functions, self._few[column_index](z[:, column_index])], axis=1
                )
            values = (values[:, :, None] * functions[:, None, :]).reshape(len(z), -1)
        return values

    def _design(self, z: Floats) -> Floats:
        return np.concatenate(
            [scale * self._functions(z, term) for term, scale in self._terms], axis=1
        )

    def __call__(self, x: Floats) -> Floats:
        """Return the terms of rows, ``(rows, functions)``.

        Outside the range of the background they are straight.
        """
        return self._design(self._scaler.transform(x))


def _clearest(
    products: list[tuple[int, ...]], clear: Floats, tests: int
) -> list[tuple[int, ...]]:
    """Return the products that exceed the largest expected by chance in ``tests`` tests
    of each, at most a few.
    """
    least = np.sqrt(2 * np.log(max(len(products) * tests, 1))) + 0.3
    clearest: list[tuple[int, ...]] = []
    for product_index in np.argsort(-clear, kind="stable")[:_PRODUCTS]:
        if clear[product_index] > least:
            clearest.append(products[product_index])
    return clearest


# ---- cross-fitted models -------------------------------------------------------------
def _cross_fit(
    terms: Terms,
    x: Floats,
    folds: Integers,
    fit: Callable[[Floats, Any], Callable[[Floats], Floats]],
) -> Predict:
    """Return predictions by models that have not seen a row's fold, or for fold −1 by
    one that has seen all rows.

    ``fit`` takes terms of rows and which rows they are, and returns a function of
    terms.
    """
    design = terms(x)
    models: list[Any] = [
        fit(design[folds != fold], folds != fold) for fold in range(FOLDS)
    ]
    models.append(fit(design, slice(None)))

    def predict(prediction_rows: Floats, of_folds: Integers) -> Floats:
        prediction_rows = terms(prediction_rows)
        fold_predictions = {}
        for fold in np.unique(of_folds):
            fold_predictions[fold] = models[fold](prediction_rows[of_folds == fold])
        result = np.empty(
            (len(prediction_rows), *next(iter(fold_predictions.values())).shape[1:])
        )
        for fold, values in fold_predictions.items():
            result[of_folds == fold] = values
        return result

    return predict


def _mean(x: Floats, target: Floats, folds: Integers) -> Predict:
    """Return cross-fitted predictions of a number ``(rows,)`` by ridge regression, of
    the penalty best on all rows.
    """
    from sklearn.linear_model import Ridge, RidgeCV

    terms = Terms(x, target[:, None])
    penalty = RidgeCV(_PENALTIES).fit(terms(x), target).alpha_

    def fit(design: Floats, rows: Any) -> Any:
        return Ridge(penalty).fit(design, target[rows]).predict

    return _cross_fit(terms, x, folds, fit)


def _chances(x: Floats, codes: Integers, levels: int, folds: Integers) -> Predict:
    """Return cross-fitted probabilities ``(rows, levels)`` by logistic regression."""
    common = np.argsort(-np.bincount(codes), kind="stable")[
        : 1 if levels == 2 else _COMMONEST
    ]
    terms = Terms(x, np.asarray(codes[:, None] == common, dtype=np.float64))

    def tried(strength: float) -> tuple[float, Predict]:
        predict = _cross_fit(
            terms,
            x,
            folds,
            lambda design, rows: of_levels(design, codes[rows], levels, strength),
        )
        chance = predict(x, folds)[np.arange(len(codes)), codes]
        # A level that the fitted rows lack is not infinitely wrong.
        return float(-np.log(np.maximum(chance, 1e-3)).mean()), predict

    tried_models = list(map(tried, _STRENGTHS))
    least = min(error for error, _ in tried_models)
    # What is held back is missed, so that the strongest of those that are as good is
    # taken.
    return [
        predict for error, predict in tried_models if error <= (1 + _CLEARLY) * least
    ][-1]


def of_levels(
    design: Floats, codes: Integers, levels: int, strength: float
) -> Callable[[Floats], Floats]:
    """Fit probabilities ``(rows, levels)`` on some rows.

    Levels that these lack get 0.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression

    several = len(np.unique(codes)) > 1
    model: Any
    if several:
        model = LogisticRegression(C=strength, max_iter=300)
    else:
        model = DummyClassifier()
    model.fit(design, codes)

    def predict(prediction_rows: Floats) -> Floats:
        result = np.zeros((len(prediction_rows), levels))
        result[:, model.classes_] = model.predict_proba(prediction_rows)
        return result

    return predict


# ---- the models of a feature's parts -------------------------------------------------
@dataclass(frozen=True)
class Fitted:
    """What a part of a feature is drawn from.

    No receiver is predicted by a model that was fitted on that row.
    """

    # a number's out-of-fold residuals ``(rows used,)``, or the levels ``(levels,
    # columns)``
    draws: Array
    predict: Predict
    folds: Integers  # of every receiver, −1 outside the background
    # of every receiver: mean and spread of a number ``(receivers, 2)``, or levels'
    # cumulative chances
    values: Floats
    determined: bool = False  # whether the rest of the row fixes it
    # whether what is left still depends on the other columns: another row's does not
    # fit
    dependent: bool = False

    def at(self, predictors: Floats, rows: Integers) -> Floats:
        """Return the values of receivers ``rows``, given ``(rows, predictors)``."""
        return self.predict(predictors, self.folds[rows])

    def for_others(self, predictors: Floats) -> Fitted:
        """Return the model with values of receivers outside the background, ``(rows,
        predictors)``.
        """
        folds = np.full(len(predictors), -1, dtype=np.int64)
        return replace(self, folds=folds, values=self.predict(predictors, folds))


@dataclass(frozen=True)
class Fitting:
    """Fits the models of one sampler."""

    background: Encoded  # rows that models are fitted on ``(donors, encoded)``
    receivers: Encoded  # rows that values are drawn for ``(rows, encoded)``
    seed: int  # of the whole call
    shared: bool  # whether both are the same rows

    def number(self, column: int, predictors: list[int], rows: Integers) -> Fitted:
        """Fit one number's mean and spread on background ``rows``."""
        target = self.background[rows, column].astype(np.float64)
        if not predictors:
            centre = float(target.mean())
            return self._fitted(
                lambda x, _: np.tile([centre, 1.0], (len(x), 1)),
                [],
                rows,
                target - centre,
            )
        x = self.background[rows][:, predictors].astype(np.float64)
        folds = self._folds(len(rows), column)
        mean_model = _mean(x, target, folds)
        residuals = target - mean_model(x, folds)
        determined = bool(
            1 - (residuals**2).mean() / max(float(target.var()), 1e-300) > _DETERMINED
        )
        spread = self._spread(x, residuals, folds)
        widths = spread(x, folds)
        # Where copies of rows are predicted exactly, the spread is nearly 0, and
        # residuals over it have no bound.
        residual_limit = 10 * float(np.abs(residuals).max() / widths.max())
        residuals = np.clip(residuals / widths, -residual_limit, residual_limit)
        # Rank by rank: how large a residual is, and how far out.
        signals = _waves(residuals[:, None])[:, 0]

        def both(prediction_rows: Floats, of_folds: Integers) -> Floats:
            return np.stack(
                [
                    mean_model(prediction_rows, of_folds),
                    spread(prediction_rows, of_folds),
                ],
                axis=1,
            )

        return self._fitted(
            both, predictors, rows, residuals, folds, determined, signals
        )

    @staticmethod
    def _spread(x: Floats, left: Floats, folds: Integers) -> Predict:
        """Return the spread of residuals up to a common factor, or 1 if it does not
        depend on the other columns.
        """
        residual_sizes = np.abs(left)
        # The logarithm of a residual near 0 says nothing.
        target = np.log(
            residual_sizes
            + 0.02 * np.median(residual_sizes)
            + 1e-9 * residual_sizes.mean()
            + 1e-300
        )
        size_model = _mean(x, target, folds)
        fitted_sizes = size_model(x, folds)
        if (
            not residual_sizes.mean() > 0
            or ((target - fitted_sizes) ** 2).mean() >= (1 - _CLEARLY) * target.var()
        ):
            return lambda prediction_rows, _: np.ones(len(prediction_rows))
        lower_bound = float(fitted_sizes.min())
        upper_bound = float(fitted_sizes.max())
        return lambda feature_rows, of_folds: np.exp(
            np.clip(size_model(feature_rows, of_folds), lower_bound, upper_bound)
        )

    def levels(self, columns: Indexes, predictors: list[int]) -> Fitted | None:
        """Fit probabilities of the levels of discrete columns.

        Return None if there is only one level.
        """
        if len(columns):
            levels = np.unique(self.background[:, columns], axis=0)
        else:
            levels = np.zeros((0, 0), np.float32)
        if len(levels) < 2:
            return None
        codes = codes_of(self.background[:, columns], levels)
        every = np.arange(len(self.background))
        shares = np.bincount(codes, minlength=len(levels)) / len(codes)
        if not predictors:
            return self._fitted(
                lambda x, _: np.tile(np.cumsum(shares), (len(x), 1)), [], every, levels
            )
        x = self.background[:, predictors].astype(np.float64)
        folds = self._folds(len(codes), int(columns[0]))
        chances = _chances(x, codes, len(levels), folds)
        fitted_chances = chances(x, folds)
        mistakes = float((fitted_chances.argmax(axis=1) != codes).mean())
        determined = mistakes <= (1 - _DETERMINED_LEVEL) * (1 - float(shares.max()))
        common = np.argsort(-shares, kind="stable")[
            : 1 if len(levels) == 2 else _COMMONEST
        ]
        signals = (codes[:, None] == common) - fitted_chances[:, common]

        def summed(prediction_rows: Floats, of_folds: Integers) -> Floats:
            return np.cumsum(chances(prediction_rows, of_folds), axis=1)

        return self._fitted(
            summed, predictors, every, levels, folds, determined, signals
        )

    def _fitted(
        self,
        predict: Predict,
        predictors: list[int],
        rows: Integers,
        draws: Array,
        folds: Integers | None = None,
        determined: bool = False,
        signals: Floats | None = None,
    ) -> Fitted:
        """Give each receiver a model that has not seen it.

        Signals have mean 0 if the model is right.
        """
        of_receivers = np.full(len(self.receivers), -1, dtype=np.int64)
        if self.shared and folds is not None:
            of_receivers[rows] = folds
        values = predict(self.receivers[:, predictors].astype(np.float64), of_receivers)
        dependent = (
            signals is not None
            and not determined
            and self._still_depend(signals, predictors, rows)
        )
        return Fitted(draws, predict, of_receivers, values, determined, dependent)

    def _still_depend(
        self, signals: Floats, predictors: list[int], rows: Integers
    ) -> bool:
        """Return whether any signal follows a bounded function of the known columns
        more than chance does.

        The functions are cosines of the ranks in each column, and products of those of
        two columns. Bonferroni's bound covers all of them and the columns.
        """
        from scipy.stats import norm

        signals = signals - signals.mean(axis=0)
        waves = _waves(self.background[rows][:, predictors].astype(np.float64))
        pairs = _clear_pairs(signals, waves)[np.triu_indices(len(predictors), 1)]
        alone = _clearness(signals, waves.reshape(len(waves), -1))
        largest = max(float(alone.max()), float(pairs.max(initial=0.0)))
        tests = alone.size + pairs.size * signals.shape[1] * _WAVES**2
        return bool(largest > norm.isf(_LEVEL / (2 * tests * self.background.shape[1])))

    def _folds(self, rows: int, column: int) -> Integers:
        """Return each row's fold. Folds are of equal size, so that none is empty."""
        return (
            generator(self.seed, "conditional", "folds", column).permutation(rows)
            % FOLDS
        )


def codes_of(values: Encoded, levels: Encoded) -> Integers:
    """Return for each row the number of its level."""
    codes = np.unique(np.concatenate([levels, values]), axis=0, return_inverse=True)[1]
    return codes.reshape(-1)[len(levels) :].astype(np.int64)
