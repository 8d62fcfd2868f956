"""The game of Shapley values in which players without the row's value are drawn so that they fit those with it.

It is the conditional game of Aas et al. 2021 (arXiv 1903.10464): setting a player to the row's value moves all others
as they go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.game import ShapleyGame
from permgrad.attribution.replace.conditional import PlainColumns
from permgrad.attribution.request import Request
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.errors import InputError
from permgrad.base.random import uniform

#: Relative size below which a direction of the columns' covariance counts as none: the column is a sum of others.
_FLAT = 1e-10


@dataclass(frozen=True)
class _Columns:
    """The columns of regressions, and what the background says of them.

    Attributes:
        design: makes them of a table's cells, and cells of them. None: the model's inputs are such columns.
        of_player: which of them each player has.
        levels: which of a player's columns are 0 or 1, at most one of them 1.
        mean: over the background ``(columns,)``.
        spread: standard deviation over the background ``(columns,)``, 1 for constant columns.
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
        form: Any = (
            design or request.subject.preprocessor or PlainColumns(background.shape[1])
        )
        places = [
            np.asarray(request.space.columns[name]) for name in request.space.names
        ]
        of_player = (
            places
            if design is None
            else [np.asarray(design.columns_of(one)) for one in places]
        )
        cells = background if design is None else np.asarray(design.expand(background))
        weights = request.sample_weight if request.shared else None
        continuous = set(np.asarray(form.numeric_columns_).tolist())
        continuous |= {
            at for at, kind in enumerate(form.kinds_) if kind in ("score", "date_part")
        }
        levels = []
        for own in of_player:
            flags = np.flatnonzero(
                [column not in continuous for column in own.tolist()]
            )
            few = cells[:, own[flags]]
            exclusive = np.isin(few, (0.0, 1.0)).all() and (few.sum(axis=1) <= 1).all()
            levels.append(flags if exclusive else flags[:0])
        covariance = np.atleast_2d(
            np.cov(cells, rowvar=False, aweights=weights, ddof=0)
        )
        spread = np.sqrt(np.diag(covariance))
        spread = np.where(spread > 0, spread, 1.0)
        correlation = covariance / np.outer(spread, spread)
        sizes = np.linalg.eigvalsh(correlation)
        mean, flat = (
            np.average(cells, axis=0, weights=weights),
            bool(sizes[0] <= _FLAT * sizes[-1]),
        )
        return cls(design, of_player, levels, mean, spread, correlation, flat)

    def expand(self, table: Floats) -> Floats:
        """Return the columns of a table's cells."""
        return table if self.design is None else np.asarray(self.design.expand(table))


class ConditionalGame(ShapleyGame):
    """The conditional game.

    A column is drawn as the donor's cell, moved by a linear regression on the known columns by as much as these
    differ from the donor's: ``x_j = d_j + B (x_known − d_known)``. So the donor's own residual stays, the mean of a
    column is its linear prediction, and with nothing known a donor stays as it is. In a Gaussian model these draws are
    from the conditional distribution. A level is the one at the donor's quantile of the levels' predicted
    probabilities.
    """

    def __init__(
        self, request: Request, measured: str, columns: _Columns | None = None
    ) -> None:
        super().__init__(request, measured)
        if not self.covered:
            problem = "Draws that fit the other columns need a table whose every column has a player"
            raise InputError(problem, hint="Leave sampling= out.", code="PG006")
        self.columns = columns or _Columns.fit(request)
        self._rows, self._lent = (
            self.columns.expand(_table(one[0]))
            for one in (request.inputs, request.donors)
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
        count, width = keeps.shape[1], donors.shape[1]
        flat = keeps.reshape(-1, self.players)
        patterns, which = np.unique(flat, axis=0, return_inverse=True)
        drawn = np.empty((len(flat), width, self._rows.shape[1]))
        order = np.argsort(which.reshape(-1), kind="stable")
        edges = np.searchsorted(which.reshape(-1)[order], np.arange(len(patterns) + 1))
        for number, kept in enumerate(patterns):
            at = order[edges[number] : edges[number + 1]]
            drawn[at] = self._drawn(kept, rows[at // count], donors[at // count])
        made = self._cells(drawn, np.repeat(rows, count), flat)
        table = torch.from_numpy(made.reshape(-1, made.shape[2])).to(
            self.request.inputs[0].dtype
        )
        device = self.subject.device
        outputs = self._gather(
            len(table), lambda part: self.subject.predict([table[part].to(device)])
        )
        return outputs.cpu().reshape(len(rows), count, width, -1)

    def _cells(self, drawn: Floats, rows: Integers, keeps: Booleans) -> Floats:
        """Return the cells of drawn columns ``(n, donors, cells)``, those of players that are kept from the row."""
        source, space = _table(self.request.inputs[0]), self.request.space
        cells = np.empty((*drawn.shape[:2], source.shape[1]))
        for player, columns in enumerate(self.columns.of_player):
            places, values = (
                np.asarray(space.columns[space.names[player]]),
                drawn[..., columns],
            )
            if self.columns.design is not None:
                flat = values.reshape(-1, len(columns))
                values = np.asarray(self.columns.design.collapse(places, flat)).reshape(
                    *drawn.shape[:2], -1
                )
            kept = keeps[:, player, None, None]
            cells[..., places] = np.where(kept, source[rows][:, None, places], values)
        return cells

    def _drawn(self, kept: Booleans, rows: Integers, donors: Integers) -> Floats:
        """Return the columns of all players, ``(n, donors, columns)``, those that are kept with the row's values."""
        values, known = self._lent[donors], np.flatnonzero(kept).tolist()
        for player in known:
            own = self.columns.of_player[player]
            values[..., own] = self._rows[rows][:, None, own]
        if known:  # else a donor's cells fit each other as they are
            drawn = np.flatnonzero(~kept).tolist()
            # Drawn one after the other, numbers are what they are at once: regressions follow from each other.
            numbers = [
                player for player in drawn if not len(self.columns.levels[player])
            ]
            if numbers:
                self._move(numbers, known, values, donors)
            known += numbers
            for player in drawn:
                if player not in numbers:
                    self._draw(player, known, values, donors)
                    known = [*known, player]
        return values

    def _move(
        self,
        players: Sequence[int],
        known: Sequence[int],
        values: Floats,
        donors: Integers,
    ) -> tuple[Floats, Integers, Floats]:
        """Move columns as others moved. Return by how much, and the regression: its columns and coefficients."""
        given, matrix = self._regression(tuple(players), tuple(sorted(known)))
        own, lent = (
            np.concatenate([self.columns.of_player[one] for one in players]),
            self._lent[donors],
        )
        move = (values[..., given] - lent[..., given]) @ matrix
        values[..., own] = lent[..., own] + move
        return move, given, matrix

    def _draw(
        self, player: int, known: Sequence[int], values: Floats, donors: Integers
    ) -> None:
        """Write the columns of a player with levels, given those of ``known``."""
        own, levels, mean = (
            self.columns.of_player[player],
            self.columns.levels[player],
            self.columns.mean,
        )
        move, given, matrix = self._move([player], known, values, donors)
        lent = self._lent[donors]
        expected = (lent[..., given] - mean[given]) @ matrix[:, levels] + mean[
            own[levels]
        ]
        theirs, ours = _shares(expected), _shares(expected + move[..., levels])
        is_level = lent[..., own[levels]]
        at = np.where(is_level.any(axis=-1), is_level.argmax(axis=-1), len(levels))[
            ..., None
        ]
        # A place within the donor's level that no prediction decides, the same wherever the donor lends.
        chance = uniform(
            self.request.seed,
            ("level within", player),
            np.arange(len(self._lent), dtype=np.uint64),
        )
        share = np.take_along_axis(theirs, at, axis=-1)
        quantile = (
            np.take_along_axis(np.cumsum(theirs, axis=-1), at, axis=-1)
            - share * chance[donors][..., None]
        )
        chosen = (np.cumsum(ours, axis=-1) <= quantile).sum(axis=-1)[..., None]
        values[..., own[levels]] = np.arange(len(levels)) == np.minimum(
            chosen, len(levels)
        )

    def _regression(
        self, players: tuple[int, ...], known: tuple[int, ...]
    ) -> tuple[Integers, Floats]:
        """Return the columns of ``known``, and the coefficients ``(those, own columns)`` of the players on them."""
        if (players, known) not in self._solved:
            own, given = (
                np.concatenate([self.columns.of_player[one] for one in some])
                for some in (players, known)
            )
            inner, outer = (
                self.columns.correlation[np.ix_(given, other)] for other in (given, own)
            )
            if self.columns.flat:
                solved = np.linalg.pinv(inner, rcond=_FLAT, hermitian=True) @ outer
            else:
                solved = np.linalg.solve(inner, outer)
            spread = self.columns.spread
            self._solved[players, known] = (
                given,
                solved * spread[own] / spread[given, None],
            )
        return self._solved[players, known]


def _table(inputs: Tensor) -> Floats:
    return np.asarray(inputs.detach().cpu().double().numpy())


def _shares(probabilities: Floats) -> Floats:
    """Return linear predictions as probabilities of the levels, and of none of them behind."""
    clipped = np.clip(probabilities, 0, 1)
    none = np.clip(1 - clipped.sum(axis=-1, keepdims=True), 0, 1)
    none[none < _FLAT] = 0.0
    together: Array = np.concatenate([clipped, none], axis=-1)
    return np.asarray(together / together.sum(axis=-1, keepdims=True))
