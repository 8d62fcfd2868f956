"""Conditional replacement: a new value of a feature that fits the rest of the row.

Marginal replacement makes rows that cannot occur where features depend on each other. Here x_j is drawn given the
others, after Chamma et al. 2023 (arXiv 2309.07593): a number is its prediction from the other columns plus a residual
of another row (cross-fitted, so that residuals are out of sample), a category is drawn from its predicted
probabilities.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError
from permgrad._random import derive_seed, generator, uniform, uniform_integers
from permgrad.attribution.donors import Integers, RowNumbers, donor_rows
from permgrad.attribution.moments import NO_DONOR

Floats = npt.NDArray[np.float64]
Encoded = npt.NDArray[np.float32]
Rows = npt.NDArray[np.bool_]

_FOLDS = 5
#: Share of a number's variance from which on the others are said to determine it.
_DETERMINED = 0.999
#: The same for a category: share of the mistakes of always guessing the commonest level that is avoided.
_DETERMINED_LEVEL = 0.99
#: How much less error (share of the variance, or nats) the more complex model must leave to be taken.
_CLEARLY = 0.01


Predict = Callable[[Floats], Floats]


@dataclass
class _CrossFitted:
    """Predictions for receivers that were not made by a model fitted on that very row.

    Args:
        by_fold: model k was fitted without fold k.
        whole: fitted on all background rows, for receivers outside it.
        fold_of: each receiver's fold, −1 outside the background.
    """

    by_fold: list[Predict]
    whole: Predict | None
    fold_of: Integers

    def __call__(self, x: Floats, rows: Integers) -> Floats:
        """Predict receivers ``rows`` from ``x``, what is known of them: ``(rows, known) -> (rows, …)``."""
        folds = self.fold_of[rows]
        result: Floats | None = None
        for fold in np.unique(folds):
            chosen = folds == fold
            model = self.whole if fold < 0 else self.by_fold[int(fold)]
            assert model is not None
            part = model(x[chosen])
            if result is None:
                result = np.empty((len(rows), *part.shape[1:]))
            result[chosen] = part
        assert result is not None
        return result


@dataclass
class _NumericModel:
    """Prediction of one number for every receiver, and the background's out-of-fold residuals."""

    predicted: Floats  # (receivers,)
    residuals: Floats  # (background rows used,)
    determined: bool
    predict: _CrossFitted | None = None


@dataclass
class _LevelModel:
    """Class probabilities of the discrete part for every receiver."""

    levels: Encoded  # (levels, discrete columns)
    cumulative: Floats  # (receivers, levels)
    determined: bool
    predict: _CrossFitted | None = None


@dataclass
class _Conditional:
    """How one feature (a block of encoded columns) is drawn given the rest of the row."""

    columns: npt.NDArray[np.intp]
    known: list[int]
    level_columns: npt.NDArray[np.intp]
    level: _LevelModel | None
    #: the number that is drawn, if any; other continuous columns follow from the background row nearest in it
    main: int | None = None
    companions: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    numeric: _NumericModel | None = None
    #: background rows that have a number (not a missing value), and for each level whether it has one
    numeric_rows: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    level_has_number: npt.NDArray[np.bool_] | None = None
    constant: float = 0.0

    @property
    def determined(self) -> bool:
        """Whether the rest of the row fixes this feature."""
        parts = [part.determined for part in (self.level, self.numeric) if part is not None]
        return bool(parts) and all(parts)


def _for_others(model: _Conditional, encoded: Encoded) -> _Conditional:
    """Return a fitted model with predictions for other receivers, none of which it has seen."""
    rows = np.arange(len(encoded))
    known = encoded[:, model.known].astype(np.float64)
    level, numeric = model.level, model.numeric
    if level is not None and level.predict is None:
        level = replace(level, cumulative=np.tile(level.cumulative[:1], (len(rows), 1)))
    elif level is not None and level.predict is not None:
        told = replace(level.predict, fold_of=np.full(len(rows), -1, dtype=np.int64))
        level = replace(level, cumulative=np.cumsum(told(known, rows), axis=1), predict=told)
    if numeric is not None and numeric.predict is None:
        numeric = replace(numeric, predicted=np.full(len(rows), numeric.predicted[0]))
    elif numeric is not None and numeric.predict is not None:
        told = replace(numeric.predict, fold_of=np.full(len(rows), -1, dtype=np.int64))
        numeric = replace(numeric, predicted=told(known, rows), predict=told)
    return replace(model, level=level, numeric=numeric)


class ConditionalSampler:
    """Draws each player given all columns that are not the player's.

    Args:
        preprocessor: the fitted encoder; says which columns are numbers and which belong together.
        encoded: receivers ``(rows, encoded)``.
        background: rows the conditional models are fitted on, ``(donors, encoded)``.
        seed: of the whole call.
        shared: whether background and receivers are the same rows.
        row_offset: number of the first receiver.

    A player of several features is drawn by the chain rule: the first given the outside, the next given that too.
    Features that the others determine are listed in ``not_identifiable``.
    """

    def __init__(
        self,
        preprocessor: Any,
        encoded: Encoded,
        background: Encoded,
        *,
        seed: int,
        shared: bool,
        row_offset: int | RowNumbers = 0,
    ) -> None:
        if len(background) < 4 * _FOLDS:
            raise InputError(
                f"sampling='conditional' needs at least {4 * _FOLDS} background rows, however: there are "
                f"{len(background)}; "
                "pass background= with more rows, or sampling='marginal'"
            )
        self.preprocessor = preprocessor
        self.encoded = encoded
        self.background = background
        self.seed = seed
        self.shared = shared
        self.donors = len(background)
        self.row_offset = row_offset
        self.not_identifiable: list[str] = []
        self._features = dict(preprocessor.features("feature"))
        self._numeric = {int(column) for column in np.asarray(preprocessor.numeric_columns_)}
        self._models: dict[str, list[_Conditional]] = {}

    def moved_to(self, encoded: Encoded, row_offset: int | RowNumbers) -> ConditionalSampler:
        """Return a sampler for other receivers by the same fitted models; donors are from a separate background."""
        made = copy.copy(self)
        made.encoded, made.row_offset = encoded, row_offset
        models = {player: [_for_others(model, encoded) for model in own] for player, own in self._models.items()}
        made._models = models  # noqa: SLF001 — a copy of this very sampler
        return made

    def draw(self, player: str, columns: npt.NDArray[np.intp], rows: Integers, repeat: int) -> tuple[Integers, Encoded]:
        """Return donor numbers (of residuals; −1 where none is used) and new values of ``columns``."""
        if player not in self._models:
            self._models[player] = self._fit_player(player, columns)
        donors = donor_rows(self.seed, player, repeat, rows + self.row_offset, self.donors, shared=self.shared)
        used = np.zeros(len(rows), dtype=bool)
        drawn: dict[int, Encoded] = {}
        for number, model in enumerate(self._models[player]):
            self._draw_one(model, (player, number, repeat), rows, donors, drawn, used)
        kept = {int(column): self.encoded[rows, column] for column in columns}
        values = np.stack([drawn.get(column, own) for column, own in kept.items()], axis=1)
        return np.where(used, donors, NO_DONOR), values

    def _draw_one(
        self,
        model: _Conditional,
        key: tuple[str, int, int],
        rows: Integers,
        donors: Integers,
        drawn: dict[int, Encoded],
        used: npt.NDArray[np.bool_],
    ) -> None:
        has_number = np.ones(len(rows), dtype=bool)
        given = self._known_after(model, rows, drawn)
        if model.level is not None:
            chance = uniform(self.seed, ("level", *key), rows + self.row_offset)
            cumulative = model.level.cumulative[rows]
            if given is not None and model.level.predict is not None:
                cumulative = np.cumsum(model.level.predict(given, rows), axis=1)
            chosen = (chance[:, None] >= cumulative).sum(axis=1)
            chosen = np.minimum(chosen, len(model.level.levels) - 1)
            for position, column in enumerate(model.level_columns):
                drawn[int(column)] = model.level.levels[chosen, position].astype(np.float32)
            if model.level_has_number is not None:
                has_number = model.level_has_number[chosen]
        if model.main is None:
            return
        values = np.full(len(rows), model.constant)
        if model.numeric is not None:
            source = self._residual_rows(model, key, rows, donors)
            predicted = model.numeric.predicted[rows]
            if given is not None and model.numeric.predict is not None:
                predicted = model.numeric.predict(given, rows)
            values = np.where(has_number, predicted + model.numeric.residuals[source], values)
            used |= has_number
        drawn[model.main] = values.astype(np.float32)
        if len(model.companions):
            known = self.background[:, model.main]
            order = np.argsort(known, kind="stable")
            nearest = order[np.clip(np.searchsorted(known[order], values), 0, len(order) - 1)]
            drawn[model.main] = known[nearest]
            for column in model.companions:
                drawn[int(column)] = self.background[nearest, column]

    def _known_after(self, model: _Conditional, rows: Integers, drawn: dict[int, Encoded]) -> Floats | None:
        """Return what the feature is drawn from where earlier members of its group are new already, else None."""
        if not any(column in drawn for column in model.known):
            return None
        known = self.encoded[rows][:, model.known].astype(np.float64)
        for position, column in enumerate(model.known):
            if column in drawn:
                known[:, position] = drawn[column]
        return known

    def _residual_rows(
        self, model: _Conditional, key: tuple[str, int, int], rows: Integers, donors: Integers
    ) -> Integers:
        """Return positions in ``residuals``: the donor's own, or another row's where not every row has a number."""
        lenders = model.numeric_rows
        if len(lenders) == self.donors:
            return donors
        place = np.minimum(np.searchsorted(lenders, rows), len(lenders) - 1)
        # A row does not lend to itself.
        self_lending = self.shared & (lenders[place] == rows)
        counters = rows + self.row_offset
        source = uniform_integers(self.seed, ("residual", *key), counters, len(lenders))
        other = uniform_integers(self.seed, ("residual", *key), counters, len(lenders) - 1)
        source = np.where(self_lending, other + (other >= place), source)
        # The row that lends the residual is the donor.
        donors[:] = lenders[source]
        return source

    # ---- fitting -------------------------------------------------------------------------------------------------

    def _fit_player(self, player: str, columns: npt.NDArray[np.intp]) -> list[_Conditional]:
        own = {int(column) for column in columns}
        parts = [block for block in self._features.values() if len(block) and own.issuperset(block.tolist())]
        covered = {int(column) for block in parts for column in block}
        rest = np.array(sorted(own - covered), dtype=np.intp)
        known = [column for column in range(self.background.shape[1]) if column not in own]
        models = []
        for block in [*parts, *([rest] if len(rest) else [])]:
            models.append(self._fit_block(block, known))
            known = [*known, *block.tolist()]
        if models and len(models) == 1 and models[0].determined:
            self.not_identifiable.append(player)
        return models

    def _fit_block(self, block: npt.NDArray[np.intp], known: list[int]) -> _Conditional:
        varying = np.ptp(self.background[:, block], axis=0) > 0 if len(block) else np.zeros(0, dtype=bool)
        continuous = [int(c) for c, moves in zip(block, varying, strict=True) if moves and self._is_number(int(c))]
        level_columns = np.array([c for c in block if int(c) not in continuous], dtype=np.intp)
        level = self._fit_levels(level_columns, known)
        model = _Conditional(block, known, level_columns, level)
        if not continuous:
            return model
        spread = self.background[:, continuous].std(axis=0)
        model.main = continuous[int(np.argmax(spread))]
        model.companions = np.array([c for c in continuous if c != model.main], dtype=np.intp)
        rows = np.arange(self.donors)
        if level is not None:
            # A level without spread in the number is a missing value: its number is the imputed one.
            codes = _codes(self.background[:, level_columns], level.levels)
            numbers = self.background[:, model.main]
            model.level_has_number = np.array(
                [
                    bool(np.ptp(numbers[codes == k]) > 0) if (codes == k).any() else False
                    for k in range(len(level.levels))
                ]
            )
            without = numbers[~model.level_has_number[codes]]
            model.constant = float(without[0]) if len(without) else 0.0
            rows = np.flatnonzero(model.level_has_number[codes])
        model.numeric_rows = rows.astype(np.int64)
        if len(rows) >= 2 * _FOLDS:
            model.numeric = self._fit_number(model.main, known, rows)
        return model

    def _is_number(self, column: int) -> bool:
        return column in self._numeric or self.preprocessor.kinds_[column] in ("numeric", "date_part")

    def _fit_number(self, column: int, known: list[int], rows: Integers) -> _NumericModel:
        """Fit ridge regression, and boosted trees where ridge leaves much; keep the better out of fold."""
        x, target = self.background[rows][:, known].astype(np.float64), self.background[rows, column].astype(np.float64)
        receivers = self.encoded[:, known].astype(np.float64)
        if not known:
            centre = float(target.mean())
            return _NumericModel(np.full(len(receivers), centre), target - centre, determined=False)
        folds = self._folds(len(rows), column)
        variance = max(float(target.var()), 1e-300)
        best: _Candidate | None = None
        for name in ("ridge", "trees"):
            if best is not None and 1 - best.errors.mean() > _DETERMINED:
                break

            def fit(chosen: Rows, name: str = name) -> Predict:
                model = self._regressor(name).fit(x[chosen], target[chosen])
                return lambda wanted: np.asarray(model.predict(wanted), dtype=np.float64)

            def errors(predicted: Floats, held: Rows) -> Floats:
                squared: Floats = (target[held] - predicted) ** 2 / variance
                return squared

            best = _cross_fit(x, folds, fit, errors, best)
        assert best is not None
        predict = self._for_receivers(best, rows, folds)
        predicted = predict(receivers, np.arange(len(receivers)))
        determined = bool(1 - best.errors.mean() > _DETERMINED)
        return _NumericModel(predicted, target - best.out_of_fold, determined, predict)

    def _for_receivers(self, best: _Candidate, rows: Integers, folds: Integers) -> _CrossFitted:
        """Return the predictor that gives each receiver a model that has not seen it."""
        fold_of = np.full(len(self.encoded), -1, dtype=np.int64)
        if self.shared:
            fold_of[rows] = folds
        whole = best.fit(np.ones(len(rows), dtype=bool)) if (fold_of < 0).any() else None
        return _CrossFitted(best.by_fold, whole, fold_of)

    def _fit_levels(self, columns: npt.NDArray[np.intp], known: list[int]) -> _LevelModel | None:
        """Fit class probabilities of the block's discrete part; None if it has one level only."""
        if not len(columns):
            return None
        levels = np.unique(self.background[:, columns], axis=0)
        if len(levels) < 2:
            return None
        codes = _codes(self.background[:, columns], levels)
        receivers = self.encoded[:, known].astype(np.float64)
        counts = np.bincount(codes, minlength=len(levels))
        shares = counts / counts.sum()
        if not known:
            return _LevelModel(levels, np.tile(np.cumsum(shares), (len(receivers), 1)), determined=False)
        x = self.background[:, known].astype(np.float64)
        folds = self._folds(len(x), int(columns[0]))
        best: _Candidate | None = None
        for name in ("logistic", "trees"):

            def fit(chosen: Rows, name: str = name) -> Predict:
                return self._probabilities(name, x[chosen], codes[chosen], len(levels))

            def errors(predicted: Floats, held: Rows) -> Floats:
                chance: Floats = predicted[np.arange(len(predicted)), codes[held]]
                # A level that the fitted rows lack is not infinitely wrong.
                return -np.log(np.maximum(chance, 1e-3))

            best = _cross_fit(x, folds, fit, errors, best)
        assert best is not None
        predict = self._for_receivers(best, np.arange(len(x)), folds)
        chances = predict(receivers, np.arange(len(receivers)))
        mistakes = float((best.out_of_fold.argmax(axis=1) != codes).mean())
        determined = mistakes <= (1 - _DETERMINED_LEVEL) * (1 - float(shares.max()))
        return _LevelModel(levels, np.cumsum(chances, axis=1), determined, predict)

    def _probabilities(self, name: str, x: Floats, codes: Integers, levels: int) -> Predict:
        """Fit a classifier; it gives every level a probability, 0 to those not among ``codes``."""
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        present = np.unique(codes)
        if len(present) < 2:
            return lambda wanted: np.tile(np.eye(levels)[present[0]], (len(wanted), 1))
        if name == "logistic":
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        else:
            classifier = HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=8, early_stopping=False, random_state=self._seed("levels")
            )
        classifier.fit(x, codes)

        def predict(wanted: Floats) -> Floats:
            result = np.zeros((len(wanted), levels))
            result[:, present] = classifier.predict_proba(wanted)
            return result

        return predict

    def _regressor(self, name: str) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if name == "ridge":
            return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 3, 7)))
        return HistGradientBoostingRegressor(
            max_iter=80, max_leaf_nodes=16, early_stopping=False, random_state=self._seed("numbers")
        )

    def _folds(self, rows: int, column: int) -> Integers:
        """Return each row's fold; the folds are of equal size, so that none is empty."""
        return generator(self.seed, "conditional", "folds", column).permutation(rows) % _FOLDS

    def _seed(self, use: str) -> int:
        return derive_seed(self.seed, "conditional", use) % 2**31


@dataclass
class _Candidate:
    """A kind of model, fitted once without each fold."""

    fit: Callable[[Rows], Predict]
    by_fold: list[Predict]
    out_of_fold: Floats
    errors: Floats


def _cross_fit(
    x: Floats,
    folds: Integers,
    fit: Callable[[Rows], Predict],
    errors: Callable[[Floats, Rows], Floats],
    rival: _Candidate | None,
) -> _Candidate:
    """Return the fitted candidate, or its rival where that is not clearly beaten.

    The rival is met on the first fold already, so that a model that does not suit the data costs one fit, not all.
    """
    by_fold: list[Predict] = []
    parts: list[tuple[Rows, Floats]] = []
    error = np.empty(len(folds))
    for fold in range(_FOLDS):
        held = folds == fold
        by_fold.append(fit(~held))
        parts.append((held, by_fold[-1](x[held])))
        error[held] = errors(parts[-1][1], held)
        if fold == 0 and rival is not None and error[held].mean() >= rival.errors[held].mean():
            return rival
    if rival is not None and error.mean() >= rival.errors.mean() - _CLEARLY:
        return rival
    out_of_fold = np.empty((len(folds), *parts[0][1].shape[1:]))
    for held, part in parts:
        out_of_fold[held] = part
    return _Candidate(fit, by_fold, out_of_fold, error)


def _codes(values: Encoded, levels: Encoded) -> Integers:
    """Return for each row the number of its level."""
    joined = np.concatenate([levels, values])
    _, codes = np.unique(joined, axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    return codes[len(levels) :].astype(np.int64)
