"""Conditional replacement: a new value of a feature that fits the rest of the row.

Marginal replacement makes rows that cannot occur where features depend on each other. Here x_j is drawn given the
others, after Chamma et al. 2023 (arXiv 2309.07593): a number is its prediction from the other columns plus a residual
of another row (cross-fitted, so that residuals are out of sample), a category is drawn from its predicted
probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError
from permgrad._random import derive_seed, generator, uniform, uniform_integers
from permgrad.attribution.donors import Integers, donor_rows
from permgrad.attribution.moments import NO_DONOR

Floats = npt.NDArray[np.float64]
Encoded = npt.NDArray[np.float32]
Rows = npt.NDArray[np.bool_]

_FOLDS = 5
#: Share of a feature's variance (or certainty of its level) from which on the others are said to determine it.
_DETERMINED = 0.999
#: How much less error (share of the variance, or nats) the more complex model must leave to be taken.
_CLEARLY = 0.01


@dataclass
class _NumericModel:
    """Prediction of one number for every receiver, and the background's out-of-fold residuals."""

    predicted: Floats  # (receivers,)
    residuals: Floats  # (background rows used,)
    determined: bool


@dataclass
class _LevelModel:
    """Class probabilities of the discrete part for every receiver."""

    levels: Encoded  # (levels, discrete columns)
    cumulative: Floats  # (receivers, levels)
    determined: bool


@dataclass
class _Conditional:
    """How one feature (a block of encoded columns) is drawn given the rest of the row."""

    columns: npt.NDArray[np.intp]
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
        self, preprocessor: Any, encoded: Encoded, background: Encoded, *, seed: int, shared: bool, row_offset: int = 0
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

    def draw(self, player: str, columns: npt.NDArray[np.intp], rows: Integers, repeat: int) -> tuple[Integers, Encoded]:
        """Return donor numbers (of residuals; −1 where none is used) and new values of ``columns``."""
        if player not in self._models:
            self._models[player] = self._fit_player(player, columns)
        donors = donor_rows(self.seed, player, repeat, rows + self.row_offset, self.donors, shared=self.shared)
        used = np.zeros(len(rows), dtype=bool)
        drawn = {int(column): self.encoded[rows, column].copy() for column in columns}
        for number, model in enumerate(self._models[player]):
            self._draw_one(model, (player, number, repeat), rows, donors, drawn, used)
        values = np.stack([drawn[int(column)] for column in columns], axis=1)
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
        if model.level is not None:
            chance = uniform(self.seed, ("level", *key), rows + self.row_offset)
            chosen = (chance[:, None] >= model.level.cumulative[rows]).sum(axis=1)
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
            values = np.where(has_number, model.numeric.predicted[rows] + model.numeric.residuals[source], values)
            used |= has_number
        drawn[model.main] = values.astype(np.float32)
        if len(model.companions):
            known = self.background[:, model.main]
            order = np.argsort(known, kind="stable")
            nearest = order[np.clip(np.searchsorted(known[order], values), 0, len(order) - 1)]
            drawn[model.main] = known[nearest]
            for column in model.companions:
                drawn[int(column)] = self.background[nearest, column]

    def _residual_rows(
        self, model: _Conditional, key: tuple[str, int, int], rows: Integers, donors: Integers
    ) -> Integers:
        """Return positions in ``residuals``.

        The donor's own where every row has a number, else another row's that has
        one.
        """
        if len(model.numeric_rows) == self.donors:
            return donors
        source = uniform_integers(self.seed, ("residual", *key), rows + self.row_offset, len(model.numeric_rows))
        # The row that lends the residual is the donor.
        donors[:] = model.numeric_rows[source]
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
        model = _Conditional(block, level_columns, level)
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
        best: tuple[str, Floats, Floats] | None = None
        for name in ("ridge", "trees"):
            if best is not None and 1 - best[2].mean() > _DETERMINED:
                break

            def fit_predict(fitted: Rows, held: Rows, name: str = name) -> Floats:
                return np.asarray(self._regressor(name).fit(x[fitted], target[fitted]).predict(x[held]))

            def errors(predicted: Floats, held: Rows) -> Floats:
                squared: Floats = (target[held] - predicted) ** 2 / variance
                return squared

            found = _cross_fit(folds, fit_predict, errors, None if best is None else best[2])
            if found is not None:
                best = name, *found
        assert best is not None
        name, out_of_fold, error = best
        # Each receiver's prediction comes from rows other than itself: out of fold where it is a background row.
        if self.shared and len(rows) == len(receivers):
            predicted = out_of_fold
        else:
            predicted = np.asarray(self._regressor(name).fit(x, target).predict(receivers))
            if self.shared:
                predicted[rows] = out_of_fold
        return _NumericModel(predicted, target - out_of_fold, bool(1 - error.mean() > _DETERMINED))

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
        best: tuple[str, Floats, Floats] | None = None
        for name in ("logistic", "trees"):

            def fit_predict(fitted: Rows, held: Rows, name: str = name) -> Floats:
                return self._probabilities(name, x[fitted], codes[fitted], x[held], shares)

            def errors(predicted: Floats, held: Rows) -> Floats:
                chance: Floats = predicted[np.arange(len(predicted)), codes[held]]
                return -np.log(np.maximum(chance, 1e-12))

            found = _cross_fit(folds, fit_predict, errors, None if best is None else best[2])
            if found is not None:
                best = name, *found
        assert best is not None
        name, out_of_fold, error = best
        chances = out_of_fold if self.shared else self._probabilities(name, x, codes, receivers, shares)
        return _LevelModel(levels, np.cumsum(chances, axis=1), bool(error.mean() < 1 - _DETERMINED))

    def _probabilities(self, name: str, x: Floats, codes: Integers, wanted: Floats, shares: Floats) -> Floats:
        present = np.unique(codes)
        if len(present) < 2:
            return np.tile(shares, (len(wanted), 1))
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if name == "logistic":
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        else:
            classifier = HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=8, early_stopping=False, random_state=self._seed("levels")
            )
        result = np.zeros((len(wanted), len(shares)))
        result[:, present] = classifier.fit(x, codes).predict_proba(wanted)
        # A little of the marginal shares keeps every level possible.
        return 0.99 * result + 0.01 * shares

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


def _cross_fit(
    folds: Integers,
    fit_predict: Callable[[Rows, Rows], Floats],
    errors: Callable[[Floats, Rows], Floats],
    rival: Floats | None,
) -> tuple[Floats, Floats] | None:
    """Return out-of-fold predictions and each row's error, or None if they do not clearly beat the rival's errors.

    The rival is met on the first fold already, so that a model that does not suit the data costs one fit, not all.
    """
    predictions: Floats | None = None
    error = np.empty(len(folds))
    for fold in range(_FOLDS):
        held = folds == fold
        part = fit_predict(~held, held)
        if predictions is None:
            predictions = np.empty((len(folds), *part.shape[1:]))
        predictions[held] = part
        error[held] = errors(part, held)
        if fold == 0 and rival is not None and error[held].mean() >= rival[held].mean():
            return None
    assert predictions is not None
    if rival is not None and error.mean() >= rival.mean() - _CLEARLY:
        return None
    return predictions, error


def _codes(values: Encoded, levels: Encoded) -> Integers:
    """Return for each row the number of its level."""
    joined = np.concatenate([levels, values])
    _, codes = np.unique(joined, axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    return codes[len(levels) :].astype(np.int64)
