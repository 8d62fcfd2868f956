"""The game of Shapley values in which players without the row's value are drawn so that
they fit those with it.

It is the conditional game of Aas et al. 2021 (arXiv 1903.10464): setting a player to
the row's value moves all others as they go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.replace.conditional import PlainColumns
from permgrad.attribution.request import Request
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.errors import InputError
from permgrad.base.random import uniform
from permgrad.base.sequences import values_at
from permgrad.data.encode.slots import where

#: Relative size below which a direction of the columns' covariance counts as none: the
#: column is a sum of others.
_FLAT = 1e-10


@dataclass(frozen=True)
class _Columns:
    """The columns of regressions, and what the background says of them.

    Attributes:
        design: makes them of a table's cells, and cells of them. None: the model's
            inputs are such columns.
        of_player: which of them each player has.
        levels: which of a player's columns are 0 or 1, at most one of them 1.
        mean: over the background ``(columns,)``.
        spread: standard deviation over the background ``(columns,)``, 1 for constant
            columns.
        correlation: over the background ``(columns, columns)``.
        flat: whether some columns are sums of others, or constant.
    """

    design: Any
    of_player: list[Integers]
    levels: list[Integers]
    mean: Floats
    spread: Floats
    correlation: Floats
    flat: bool

    @classmethod
    def fit(cls, request: Request) -> _Columns:
        """Learn from the background of a request."""
        background = _table(request.donors[0])
        design = request.subject.design(background)
        column_form: Any = (
            design or request.subject.preprocessor or PlainColumns(background.shape[1])
        )
        player_columns = []
        for player_name in request.space.names:
            player_columns.append(np.asarray(request.space.columns[player_name]))
        if design is None:
            of_player = player_columns
        else:
            of_player = []
            for column_indices in player_columns:
                of_player.append(np.asarray(design.columns_of(column_indices)))
        if design is None:
            cells = background
        else:
            cells = np.asarray(design.expand(background))
        if request.shared:
            weights = request.sample_weight
        else:
            weights = None
        continuous = set(np.asarray(column_form.numeric_columns_).tolist())
        on_scale = where(column_form.kinds_, lambda part_kind: part_kind.on_scale)
        continuous.update(np.flatnonzero(on_scale).tolist())
        levels = []
        for own_columns in of_player:
            flags = np.flatnonzero(
                [column not in continuous for column in own_columns.tolist()]
            )
            flag_cells = cells[:, own_columns[flags]]
            exclusive = (
                np.isin(flag_cells, (0.0, 1.0)).all()
                and (flag_cells.sum(axis=1) <= 1).all()
            )
            levels.append(flags if exclusive else flags[:0])
        covariance = np.atleast_2d(
            np.cov(cells, rowvar=False, aweights=weights, ddof=0)
        )
        spread = np.sqrt(np.diag(covariance))
        spread = np.where(spread > 0, spread, 1.0)
        correlation = covariance / np.outer(spread, spread)
        sizes = np.linalg.eigvalsh(correlation)
        column_means = np.average(cells, axis=0, weights=weights)
        is_flat = bool(sizes[0] <= _FLAT * sizes[-1])
        return cls(
            design, of_player, levels, column_means, spread, correlation, is_flat
        )

    def expand(self, table: Floats) -> Floats:
        """Return the columns of a table's cells."""
        if self.design is None:
            return table
        return np.asarray(self.design.expand(table))


class _Movement(NamedTuple):
    """By how much columns move as others moved.

    Attributes:
        movement: ``(rows, columns)``.
        given_columns: The columns of the regression.
        matrix: Its coefficients.
    """

    movement: Floats
    given_columns: Integers
    matrix: Floats


class ConditionalGame(ShapleyGame):
    """The conditional game.

    A column is drawn as the donor's cell, moved by a linear regression on the known
    columns by as much as these differ from the donor's: ``x_j = d_j + B (x_known −
    d_known)``. So the donor's own residual stays, the mean of a column is its linear
    prediction, and with nothing known a donor stays as it is. In a Gaussian model these
    draws are from the conditional distribution. A level is the one at the donor's
    quantile of the levels' predicted probabilities.
    """

    def __init__(
        self, request: Request, measured: str, columns: _Columns | None = None
    ) -> None:
        super().__init__(request, measured)
        if not self.covered:
            problem = (
                "Draws that fit the other columns need a table whose every "
                "column has a player"
            )
            raise InputError(problem, hint="Leave sampling= out.", code="PG006")
        self.columns = columns or _Columns.fit(request)
        self._rows, self._lent = (
            self.columns.expand(_table(input_tensors[0]))
            for input_tensors in (request.inputs, request.donors)
        )
        self._solved: dict[
            tuple[tuple[int, ...], tuple[int, ...]], tuple[Integers, Floats]
        ] = {}

    def same(self, request: Request, measured: str) -> ConditionalGame:
        """Return this game on other rows and donors, with the same regressions."""
        return ConditionalGame(request, measured, self.columns)

    def differs(self, rows: Integers, donors: Integers) -> Booleans:  # noqa: ARG002 — equal cells tell of others, too
        """Return that every player counts, ``(n, players)``."""
        return np.ones((len(rows), self.players), dtype=bool)

    def predicted(self, rows: Integers, donors: Integers, keeps: Booleans) -> Tensor:
        """Return raw outputs ``(n, coalitions, donors, K)``."""
        count = keeps.shape[1]
        width = donors.shape[1]
        flat_keeps = keeps.reshape(-1, self.players)
        patterns, which = np.unique(flat_keeps, axis=0, return_inverse=True)
        drawn = np.empty((len(flat_keeps), width, self._rows.shape[1]))
        order = np.argsort(which.reshape(-1), kind="stable")
        edges = np.searchsorted(which.reshape(-1)[order], np.arange(len(patterns) + 1))
        for number, kept_players in enumerate(patterns):
            pattern_rows = order[edges[number] : edges[number + 1]]
            drawn[pattern_rows] = self._drawn(
                kept_players, rows[pattern_rows // count], donors[pattern_rows // count]
            )
        drawn_cells = self._cells(drawn, np.repeat(rows, count), flat_keeps)
        table = torch.from_numpy(drawn_cells.reshape(-1, drawn_cells.shape[2])).to(
            self.request.inputs[0].dtype
        )
        device = self.subject.device
        outputs = self._gather(
            len(table),
            lambda row_slice: self.subject.predict([table[row_slice].to(device)]),
        )
        return outputs.cpu().reshape(len(rows), count, width, -1)

    def _cells(self, drawn: Floats, rows: Integers, keeps: Booleans) -> Floats:
        """Return the cells of drawn columns ``(n, donors, cells)``, those of players
        that are kept from the row.
        """
        source = _table(self.request.inputs[0])
        space = self.request.space
        cells = np.empty((*drawn.shape[:2], source.shape[1]))
        for player, columns in enumerate(self.columns.of_player):
            cell_columns = np.asarray(space.columns[space.names[player]])
            values = drawn[..., columns]
            if self.columns.design is not None:
                flat_values = values.reshape(-1, len(columns))
                values = np.asarray(
                    self.columns.design.collapse(cell_columns, flat_values)
                ).reshape(*drawn.shape[:2], -1)
            kept_mask = keeps[:, player, None, None]
            cells[..., cell_columns] = np.where(
                kept_mask, source[rows][:, None, cell_columns], values
            )
        return cells

    def _drawn(
        self, kept_players: Booleans, rows: Integers, donors: Integers
    ) -> Floats:
        """Return the columns of all players, ``(n, donors, columns)``, those that are
        kept with the row's values.
        """
        values = self._lent[donors]
        known_players = np.flatnonzero(kept_players).tolist()
        for player in known_players:
            own_columns = self.columns.of_player[player]
            values[..., own_columns] = self._rows[rows][:, None, own_columns]
        if known_players:  # else a donor's cells fit each other as they are
            drawn = np.flatnonzero(~kept_players).tolist()
            # Drawn one after the other, numbers are what they are at once: regressions
            # follow from each other.
            numbers = [
                player for player in drawn if not len(self.columns.levels[player])
            ]
            if numbers:
                self._move(numbers, known_players, values, donors)
            known_players += numbers
            for player in drawn:
                if player not in numbers:
                    self._draw(player, known_players, values, donors)
                    known_players = [*known_players, player]
        return values

    def _move(
        self,
        players: Sequence[int],
        known_players: Sequence[int],
        values: Floats,
        donors: Integers,
    ) -> _Movement:
        """Move columns as others moved.

        Return by how much, and the regression: its columns and coefficients.
        """
        given_columns, matrix = self._regression(
            tuple(players), tuple(sorted(known_players))
        )
        own_columns = np.concatenate(values_at(self.columns.of_player, players))
        lent_values = self._lent[donors]
        movement = (
            values[..., given_columns] - lent_values[..., given_columns]
        ) @ matrix
        values[..., own_columns] = lent_values[..., own_columns] + movement
        return _Movement(movement, given_columns, matrix)

    def _draw(
        self,
        player: int,
        known_players: Sequence[int],
        values: Floats,
        donors: Integers,
    ) -> None:
        """Write the columns of a player with levels, given those of
        ``known_players``.
        """
        own_columns = self.columns.of_player[player]
        levels = self.columns.levels[player]
        column_means = self.columns.mean
        movement, given_columns, matrix = self._move(
            [player], known_players, values, donors
        )
        lent_values = self._lent[donors]
        expected = (
            lent_values[..., given_columns] - column_means[given_columns]
        ) @ matrix[:, levels] + column_means[own_columns[levels]]
        theirs = _shares(expected)
        row_shares = _shares(expected + movement[..., levels])
        is_level = lent_values[..., own_columns[levels]]
        level_index = np.where(
            is_level.any(axis=-1), is_level.argmax(axis=-1), len(levels)
        )[..., None]
        # A place within the donor's level that no prediction decides, the same wherever
        # the donor lends.
        chance = uniform(
            self.request.seed,
            ("level within", player),
            np.arange(len(self._lent), dtype=np.uint64),
        )
        share = np.take_along_axis(theirs, level_index, axis=-1)
        quantile = (
            np.take_along_axis(np.cumsum(theirs, axis=-1), level_index, axis=-1)
            - share * chance[donors][..., None]
        )
        drawn_level = (np.cumsum(row_shares, axis=-1) <= quantile).sum(axis=-1)[
            ..., None
        ]
        values[..., own_columns[levels]] = np.arange(len(levels)) == np.minimum(
            drawn_level, len(levels)
        )

    def _regression(
        self, players: tuple[int, ...], known_players: tuple[int, ...]
    ) -> tuple[Integers, Floats]:
        """Return the columns of ``known_players``, and the coefficients ``(those, own
        columns)`` of the players on them.
        """
        if (players, known_players) not in self._solved:
            own_columns, given_columns = (
                np.concatenate(values_at(self.columns.of_player, player_group))
                for player_group in (players, known_players)
            )
            inner = self.columns.correlation[np.ix_(given_columns, given_columns)]
            outer = self.columns.correlation[np.ix_(given_columns, own_columns)]
            if self.columns.flat:
                solved = np.linalg.pinv(inner, rcond=_FLAT, hermitian=True) @ outer
            else:
                solved = np.linalg.solve(inner, outer)
            spread = self.columns.spread
            self._solved[players, known_players] = (
                given_columns,
                solved * spread[own_columns] / spread[given_columns, None],
            )
        return self._solved[players, known_players]


def _table(inputs: Tensor) -> Floats:
    return np.asarray(inputs.detach().cpu().double().numpy())


def _shares(probabilities: Floats) -> Floats:
    """Return linear predictions as probabilities of the levels, and of none of them
    behind.
    """
    clipped = np.clip(probabilities, 0, 1)
    no_level = np.clip(1 - clipped.sum(axis=-1, keepdims=True), 0, 1)
    no_level[no_level < _FLAT] = 0.0
    together: Array = np.concatenate([clipped, no_level], axis=-1)
    return np.asarray(together / together.sum(axis=-1, keepdims=True))
