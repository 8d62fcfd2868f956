"""Conditional replacement: a new value of a feature that fits the rest of the row.

Marginal replacement makes impossible rows if features depend on each other. Here x_j is
drawn given the others, after Chamma et al. 2023 (arXiv 2309.07593). A number is its
prediction from the other columns plus a residual of another row, in units of the
predicted spread (cross-fitted, so that residuals are out of sample). A category, or a
number with few values, is drawn from its predicted probabilities.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from permgrad.attribution.replace.conditional_models import (
    DISTINCT,
    FOLDS,
    Fitted,
    Fitting,
    codes_of,
)
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.moments import NO_DONOR
from permgrad.attribution.request import Request
from permgrad.attribution.request.request import RowNumbers
from permgrad.attribution.subject.design import CellDesign
from permgrad.base.arrays import Array, Booleans, Floats, Indexes, Integers
from permgrad.base.errors import InputError, warn_user
from permgrad.base.random import uniform, uniform_integers
from permgrad.base.sequences import values_at
from permgrad.data.encode.slots import where

Encoded = Array  # float32, or float64 where the model takes that


@dataclass
class _Conditional:
    """How one feature (a block of encoded columns) is drawn given the rest of the
    row.
    """

    predictors: list[int]
    level_columns: Indexes
    level: Fitted | None
    #: the number that is drawn, if any. Other continuous columns come from the
    #: background row nearest in it
    main: int | None = None
    companions: Sequence[int] = ()
    numeric: Fitted | None = None
    #: background rows that have a number (not a missing value), and for each level
    #: whether it has one
    numeric_rows: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    level_has_number: Booleans | None = None
    constant: float = 0.0

    @property
    def parts(self) -> list[Fitted]:
        """The models of the feature."""
        return [
            fitted_part
            for fitted_part in (self.level, self.numeric)
            if fitted_part is not None
        ]

    def for_others(self, encoded: Encoded) -> _Conditional:
        """Return the same with predictions for other receivers, none of which the
        models have seen.
        """
        columns = encoded[:, self.predictors].astype(np.float64)
        level = self.level and self.level.for_others(columns)
        numeric = self.numeric and self.numeric.for_others(columns)
        return replace(self, level=level, numeric=numeric)


class ConditionalSampler:
    """Draws each player given all columns that are not the player's.

    Of a table that has no encoder, columns of a ``design`` are drawn, and collapsed to
    cells.
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
        lenders: Lenders | None = None,
        design: CellDesign | None = None,
    ) -> None:
        if len(background) < 4 * FOLDS:
            problem = (
                f"sampling='conditional' needs at least {4 * FOLDS} background "
                f"rows, got {len(background)}"
            )
            raise InputError(
                problem,
                hint="Pass background= with more rows, or leave sampling= out",
                code="PG038",
            )
        if design is not None:
            encoded = design.expand(encoded)
            background = design.expand(background)
        self.preprocessor = preprocessor
        self.encoded = encoded
        self.background = background
        self.design = design
        self.seed = seed
        self.shared = shared
        self.donors = len(background)
        self.row_offset = row_offset
        self.lenders = lenders or Lenders(len(background), shared)
        self.not_identifiable: list[str] = []
        self.residuals_dependent: list[str] = []
        # Dates first: what they say is drawn together where all of it is.
        dates = dict.fromkeys(
            date_part.column
            for date_part in getattr(preprocessor, "date_parts_", {}).values()
        )
        self._features = {
            date_name: preprocessor.columns_of(date_name) for date_name in dates
        } | preprocessor.features("feature")
        numeric = set()
        for column in np.asarray(preprocessor.numeric_columns_):
            numeric.add(int(column))
        self._numeric = numeric
        self._models: dict[str, list[_Conditional]] = {}
        self._fitting = Fitting(background, encoded, seed, shared)

    def moved_to(
        self, encoded: Encoded, row_offset: int | RowNumbers
    ) -> ConditionalSampler:
        """Return a sampler for other receivers by the same fitted models, with donors
        from a separate background.
        """
        if self.design is not None:
            encoded = self.design.expand(encoded)
        moved_sampler = copy.copy(self)
        moved_sampler.encoded = encoded
        moved_sampler.row_offset = row_offset
        models = {}
        for player, fitted in self._models.items():
            models[player] = [model.for_others(encoded) for model in fitted]
        moved_sampler._models = models  # noqa: SLF001 — a copy of this very sampler
        return moved_sampler

    def draw(
        self, player: str, columns: Indexes, rows: Integers, repeat: int
    ) -> tuple[Integers, Encoded]:
        """Return donor numbers (of residuals, −1 where none is used) and new values of
        ``columns``.
        """
        cells = columns
        if self.design is not None:
            columns = self.design.columns_of(columns)
        if player not in self._models:
            self._models[player] = self._fit_player(player, columns)
        donors = self.lenders.draw(self.seed, player, repeat, rows + self.row_offset)
        used_mask = np.zeros(len(rows), dtype=bool)
        drawn: dict[int, Encoded] = {}
        for number, model in enumerate(self._models[player]):
            self._draw_one(
                model, (player, number, repeat), rows, donors, drawn, used_mask
            )
        present = {int(column): self.encoded[rows, column] for column in columns}
        values = np.stack(
            [drawn.get(column, value) for column, value in present.items()], axis=1
        )
        if self.design is not None:
            values = self.design.collapse(cells, values)
        return np.where(used_mask, donors, NO_DONOR), values

    def _draw_one(
        self,
        model: _Conditional,
        key: tuple[str, int, int],
        rows: Integers,
        donors: Integers,
        drawn: dict[int, Encoded],
        used: Booleans,
    ) -> None:
        has_number = np.ones(len(rows), dtype=bool)
        conditions = self._conditions(model, rows, drawn)
        if model.level is not None:
            chance = uniform(self.seed, ("level", *key), rows + self.row_offset)
            level_indices = _chosen_level(model.level, conditions, rows, chance)
            for position, column in enumerate(model.level_columns):
                drawn[int(column)] = model.level.draws[level_indices, position].astype(
                    self.encoded.dtype
                )
            if model.level_has_number is not None:
                has_number = model.level_has_number[level_indices]
        if model.main is None:
            return
        values = np.full(len(rows), model.constant)
        if model.numeric is not None:
            source = self._residual_rows(model, key, rows, donors)
            of_rows = (
                model.numeric.values[rows]
                if conditions is None
                else model.numeric.at(conditions, rows)
            )
            values = np.where(
                has_number,
                of_rows[:, 0] + of_rows[:, 1] * model.numeric.draws[source],
                values,
            )
            used |= has_number
        drawn[model.main] = values.astype(self.encoded.dtype)
        if len(model.companions):
            numbers = self.background[:, model.main]
            nearest = _nearest(numbers, values)
            drawn[model.main] = numbers[nearest]
            for column in model.companions:
                drawn[column] = self.background[nearest, column]

    def _conditions(
        self, model: _Conditional, rows: Integers, drawn: dict[int, Encoded]
    ) -> Floats | None:
        """Return the predictors of rows where earlier members of its group are new
        already.
        """
        if not any(column in drawn for column in model.predictors):
            return None
        columns = []
        for column in model.predictors:
            columns.append(drawn.get(column, self.encoded[rows, column]))
        return np.stack(columns, axis=1).astype(np.float64)

    def _residual_rows(
        self,
        model: _Conditional,
        key: tuple[str, int, int],
        rows: Integers,
        donors: Integers,
    ) -> Integers:
        """Return positions in ``residuals``: the donor's own, or another row's where
        not every row has a number.
        """
        lenders = model.numeric_rows
        if len(lenders) == self.donors:
            return donors
        lender_index = np.minimum(np.searchsorted(lenders, rows), len(lenders) - 1)
        # A row does not lend to itself.
        self_lending = self.shared & (lenders[lender_index] == rows)
        counters = rows + self.row_offset
        source = uniform_integers(self.seed, ("residual", *key), counters, len(lenders))
        other_lender = uniform_integers(
            self.seed, ("residual", *key), counters, len(lenders) - 1
        )
        source = np.where(
            self_lending, other_lender + (other_lender >= lender_index), source
        )
        # The row that lends the residual is the donor.
        donors[:] = lenders[source]
        return source

    def facts(self) -> dict[str, Any]:
        """Return facts about features, for ``meta``, and warn if their numbers are
        unreliable.
        """
        determined = list(self.not_identifiable)
        dependent = list(self.residuals_dependent)
        if determined:
            warn_user(
                "The other features determine these, so that sampling='conditional' "
                "cannot identify their own effect: "
                f"{', '.join(determined[:10])}. Declare them as one group with groups=."
            )
        if dependent:
            warn_user(
                "The values that sampling='conditional' draws for these features do "
                "not fit the other columns, so their importances are not reliable: "
                f"{', '.join(dependent[:10])}. Pass more rows, or groups= of features "
                "that depend on each other."
            )
        return {"not_identifiable": determined, "residuals_dependent": dependent}

    # ---- fitting ---------------------------------------------------------------------
    def _fit_player(self, player: str, columns: Indexes) -> list[_Conditional]:
        owned = set(map(int, columns))
        feature_blocks = list[Indexes]()
        covered = set[int]()
        for block in self._features.values():
            if (
                len(block)
                and owned.issuperset(block.tolist())
                and covered.isdisjoint(block.tolist())
            ):
                feature_blocks.append(block)
                covered.update(block.tolist())
        feature_blocks.sort(key=lambda block: int(block[0]))
        uncovered = np.array(sorted(owned - covered), dtype=np.intp)
        predictors = [
            column for column in range(self.background.shape[1]) if column not in owned
        ]
        models = []
        for block in [*feature_blocks, *([uncovered] if len(uncovered) else [])]:
            models.append(self._fit_block(block, predictors))
            predictors = [*predictors, *block.tolist()]
        fitted = [fitted_part for model in models for fitted_part in model.parts]
        if (
            len(models) == 1
            and fitted
            and all(fitted_part.determined for fitted_part in fitted)
        ):
            self.not_identifiable.append(player)
        if any(fitted_part.dependent for fitted_part in fitted):
            self.residuals_dependent.append(player)
        return models

    def _fit_block(self, block: Indexes, predictors: list[int]) -> _Conditional:
        continuous = self._continuous(block)
        level_columns = np.array(
            [c for c in block if int(c) not in continuous], dtype=np.intp
        )
        level = self._fitting.levels(level_columns, predictors)
        model = _Conditional(predictors, level_columns, level)
        if not continuous:
            return model
        spread = self.background[:, continuous].std(axis=0)
        model.main = continuous[int(np.argmax(spread))]
        model.companions = [column for column in continuous if column != model.main]
        background_rows = np.arange(self.donors)
        if level is not None:
            background_rows = self._rows_with_number(model, level)
        model.numeric_rows = background_rows.astype(np.int64)
        if len(background_rows) >= 2 * FOLDS:
            model.numeric = self._fitting.number(
                model.main, predictors, background_rows
            )
        return model

    def _continuous(self, block: Indexes) -> list[int]:
        """Return the columns of a block that vary and hold numbers of many values."""
        varying = np.zeros(0, dtype=bool)
        if len(block):
            varying = np.ptp(self.background[:, block], axis=0) > 0
        kinds = values_at(self.preprocessor.kinds_, block)
        on_a_scale = where(kinds, lambda part_kind: part_kind.is_number)
        if where(kinds, lambda part_kind: part_kind.is_part).any():
            # The weekday of a date comes with its other parts.
            on_a_scale |= where(kinds, lambda part_kind: part_kind.is_level)
        continuous = []
        for column, is_scaled in zip(block[varying], on_a_scale[varying], strict=True):
            if is_scaled or column in self._numeric:
                continuous.append(int(column))
        if (
            len(continuous) == 1
            and len(np.unique(self.background[:, continuous[0]])) < DISTINCT
        ):
            # A number of few values is drawn as one of them.
            return []
        return continuous

    def _rows_with_number(self, model: _Conditional, level: Fitted) -> Integers:
        """Return the rows whose level has a number, and tell the model which have.

        A level without spread in the number is a missing value: its number is the
        imputed one.
        """
        codes = codes_of(self.background[:, model.level_columns], level.draws)
        numbers = self.background[:, model.main]
        spans = [
            np.ptp(numbers[codes == level_code])
            for level_code in range(len(level.draws))
        ]
        model.level_has_number = np.array(spans) > 0
        without = numbers[~model.level_has_number[codes]]
        model.constant = float(without[0]) if len(without) else 0.0
        return np.flatnonzero(model.level_has_number[codes])


def conditional_sampler(request: Request) -> ConditionalSampler:
    """Return the sampler of a request's table, which may be fitted already on the
    background of a longer table.
    """
    if request.kept is None or request.shared:
        earlier = None
    else:
        earlier = request.kept.get("sampler")
    if earlier is not None:
        return earlier.moved_to(request.encoded, request.row_offset)
    encoder = request.subject.preprocessor
    encoded_rows = request.encoded
    if request.shared:
        background = encoded_rows
    else:
        background = request.donors[0].detach().cpu().numpy()
    sampler_arguments: dict[str, Any] = {
        "seed": request.seed,
        "shared": request.shared,
        "row_offset": request.row_offset,
    }
    sampler_arguments["lenders"] = Lenders.of(request)
    design = request.subject.design(background)
    column_form: Any = design or encoder or PlainColumns(encoded_rows.shape[1])
    sampler = ConditionalSampler(
        column_form, encoded_rows, background, design=design, **sampler_arguments
    )
    if request.kept is not None:
        request.kept["sampler"] = sampler
    return sampler


# ---- torch networks whose input is one table -----------------------------------------
class PlainColumns:
    """The encoder of a sampler for a table of numbers: each column is its own feature,
    and drawn as a number.
    """

    def __init__(self, count: int) -> None:
        self.numeric_columns_ = np.arange(count)
        self.kinds_ = ["numeric"] * count

    def features(self, level: str) -> dict[str, Indexes]:  # noqa: ARG002 — the encoder's form
        """Return each column as its own feature."""
        return {str(column): np.array([column]) for column in self.numeric_columns_}


def _nearest(numbers: Encoded, values: Floats) -> Integers:
    """Return the place of a number that stands next to each value."""
    order = np.argsort(numbers, kind="stable")
    insert_positions = np.searchsorted(numbers[order], values)
    return order[np.clip(insert_positions, 0, len(order) - 1)]


def _chosen_level(
    level: Fitted, conditions: Floats | None, rows: Integers, chance: Floats
) -> Integers:
    """Return the place of the level that chance draws in each row."""
    if conditions is None:
        cumulative = level.values[rows]
    else:
        cumulative = level.at(conditions, rows)
    level_indices = (chance[:, None] >= cumulative).sum(axis=1)
    return np.minimum(level_indices, len(level.draws) - 1)
