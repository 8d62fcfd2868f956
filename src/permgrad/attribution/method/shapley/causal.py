"""Games of Shapley values in which players without the row's value are drawn so that they fit those with it.

Columns are divided into blocks in the order in which one causes the next (Heskes et al. 2020, arXiv 2011.01625; R's
shapr calls the same arguments ``causal_ordering`` and ``confounding``). Setting a player to the row's value moves what
comes after it and leaves what comes before it. Within a block it moves the others too, unless they vary together for
an unseen reason. One block without such a reason is the conditional game (Aas et al. 2021, arXiv 1903.10464), one block
with it the marginal game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.game import ShapleyGame
from permgrad.attribution.players.tree import Tree
from permgrad.attribution.replace.conditional import PlainColumns
from permgrad.attribution.request import Request
from permgrad.attribution.subject.finite import finite
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.checks import check_flag
from permgrad.base.errors import InputError, did_you_mean, listed, shown, two_sentences
from permgrad.base.random import uniform

#: Relative size below which a direction of the columns' covariance counts as none: the column is a sum of others.
_FLAT = 1e-10


@dataclass(frozen=True)
class CausalOrder:
    """Blocks of players, causes first, and whether the members of each vary together for an unseen reason."""

    blocks: tuple[tuple[int, ...], ...]
    confounded: tuple[bool, ...]
    names: tuple[tuple[str, ...], ...]

    def tree(self) -> Tree:
        """Return the orders in which causes join first."""
        block_of = np.zeros(sum(map(len, self.blocks)), dtype=np.int64)
        for number, block in enumerate(self.blocks):
            block_of[list(block)] = number
        return Tree(np.stack([block_of, np.arange(len(block_of))]), ordered=True)


def read_order(request: Request, options: dict[str, Any]) -> CausalOrder | None:
    """Return the causal order that a call asks for, or None for the marginal game.

    Raises:
        InputError: a player is in no block or in two, or the inputs are not a table of numbers and levels.
    """
    order, confounding, names = options["causal_order"], options["confounding"], list(request.space.names)
    check_flag("asymmetric", options["asymmetric"])
    if options["asymmetric"] and options["structure"] != "flat":
        problem = f"structure={options['structure']!r} and asymmetric=True both say in which orders players join"
        raise InputError(problem, hint="Leave one of them out.", code="PG006")
    if order is None and request.sampling == "conditional":
        order = [names]
    if order is None:
        for name in ("confounding", "asymmetric"):
            if options[name] is not None and options[name] is not False:
                problem = f"{name} is about the blocks of causal_order, which is not passed"
                raise InputError(problem, hint="Pass causal_order=[[…], […]].", code="PG005")
        return None
    blocks = _blocks(order, names)
    places = {name: place for place, name in enumerate(names)}
    numbered = tuple(tuple(places[name] for name in block) for block in blocks)
    return CausalOrder(numbered, _confounded(confounding, len(blocks)), tuple(map(tuple, blocks)))


def _confounded(confounding: Any, blocks: int) -> tuple[bool, ...]:
    """Return whether each block is confounded."""
    alone = False if confounding is None else confounding
    flags = list(alone) if isinstance(alone, (list, tuple)) else [alone] * blocks
    if len(flags) != blocks or not all(isinstance(flag, (bool, np.bool_)) for flag in flags):
        problem = f"confounding must be true or false for each of {blocks} blocks, got {shown(confounding)}"
        raise InputError(problem, hint=f"Pass for example {[False] * blocks}.", code="PG001")
    return tuple(map(bool, flags))


def _blocks(order: Any, names: Sequence[str]) -> list[list[str]]:
    """Return the blocks of names. Refuse those that do not name every player once."""
    lists = isinstance(order, (list, tuple)) and all(isinstance(block, (list, tuple)) for block in order)
    if not lists or not all(isinstance(name, (str, int, float)) for block in order for name in block):
        problem = f"causal_order must be a list of lists of names, got {shown(order)}"
        raise InputError(problem, hint="Pass for example [['age', 'sex'], ['income']].", code="PG001")
    blocks = [[str(name) for name in block] for block in order]
    flat = [name for block in blocks for name in block]
    faults = [
        two_sentences(f"{name!r} is not one of them", did_you_mean(name, names)) for name in flat if name not in names
    ]
    faults += [f"{name!r} is named twice." for name in dict.fromkeys(flat) if flat.count(name) > 1]
    if lacking := [name for name in names if name not in flat]:
        faults.append(f"{listed(lacking, show=repr)} is in no block." if len(lacking) == 1 else
                      f"{listed(lacking, show=repr)} are in no block.")  # fmt: skip
    if faults or not all(blocks):
        words = " ".join(faults) or "A block is empty."
        problem = f"causal_order must name every feature or group once: {words}"
        raise InputError(problem, hint="Put each of them into one block.", code="PG005")
    return blocks


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
        form: Any = design or request.subject.preprocessor or PlainColumns(background.shape[1])
        places = [np.asarray(request.space.columns[name]) for name in request.space.names]
        of_player = places if design is None else [np.asarray(design.columns_of(one)) for one in places]
        cells = background if design is None else np.asarray(design.expand(background))
        weights = request.sample_weight if request.shared else None
        continuous = set(np.asarray(form.numeric_columns_).tolist())
        continuous |= {at for at, kind in enumerate(form.kinds_) if kind in ("score", "date_part")}
        levels = []
        for own in of_player:
            flags = np.flatnonzero([column not in continuous for column in own.tolist()])
            few = cells[:, own[flags]]
            exclusive = np.isin(few, (0.0, 1.0)).all() and (few.sum(axis=1) <= 1).all()
            levels.append(flags if exclusive else flags[:0])
        covariance = np.atleast_2d(np.cov(cells, rowvar=False, aweights=weights, ddof=0))
        spread = np.sqrt(np.diag(covariance))
        spread = np.where(spread > 0, spread, 1.0)
        correlation = covariance / np.outer(spread, spread)
        sizes = np.linalg.eigvalsh(correlation)
        mean, flat = np.average(cells, axis=0, weights=weights), bool(sizes[0] <= _FLAT * sizes[-1])
        return cls(design, of_player, levels, mean, spread, correlation, flat)

    def expand(self, table: Floats) -> Floats:
        """Return the columns of a table's cells."""
        return table if self.design is None else np.asarray(self.design.expand(table))


class CausalGame(ShapleyGame):
    """The game of a causal order.

    A column is drawn as the donor's cell, moved by a linear regression on the columns before it by as much as these
    differ from the donor's: ``x_j = d_j + B (x_known − d_known)``. So the donor's own residual stays, the mean of a
    column is its linear prediction, and with nothing known a donor stays as it is. In a Gaussian model these draws are
    from the conditional distribution. A level is the one at the donor's quantile of the levels' predicted
    probabilities.
    """

    def __init__(self, request: Request, measured: str, order: CausalOrder, columns: _Columns | None = None) -> None:
        super().__init__(request, measured)
        inputs = request.inputs
        if len(inputs) != 1 or inputs[0].ndim != 2 or not inputs[0].is_floating_point() or not self.covered:
            problem = "Draws that fit the other columns need one table whose every column has a player"
            raise InputError(problem, hint="Leave sampling= and causal_order= out.", code="PG006")
        self.order, self.columns = order, columns or _Columns.fit(request)
        self._rows, self._lent = (self.columns.expand(_table(one[0])) for one in (inputs, request.donors))
        self._solved: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Integers, Floats]] = {}

    def same(self, request: Request, measured: str) -> CausalGame:
        """Return this game on other rows and donors, with the same regressions."""
        return CausalGame(request, measured, self.order, self.columns)

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
        table = torch.from_numpy(made.reshape(-1, made.shape[2])).to(self.request.inputs[0].dtype)
        device = self.subject.device
        outputs = self._gather(len(table), lambda part: self.subject.predict([table[part].to(device)]))
        return finite(outputs, "between").cpu().reshape(len(rows), count, width, -1)

    def _cells(self, drawn: Floats, rows: Integers, keeps: Booleans) -> Floats:
        """Return the cells of drawn columns ``(n, donors, cells)``, those of players that are kept from the row."""
        source, space = _table(self.request.inputs[0]), self.request.space
        cells = np.empty((*drawn.shape[:2], source.shape[1]))
        for player, columns in enumerate(self.columns.of_player):
            places, values = np.asarray(space.columns[space.names[player]]), drawn[..., columns]
            if self.columns.design is not None:
                flat = values.reshape(-1, len(columns))
                values = np.asarray(self.columns.design.collapse(places, flat)).reshape(*drawn.shape[:2], -1)
            kept = keeps[:, player, None, None]
            cells[..., places] = np.where(kept, source[rows][:, None, places], values)
        return cells

    def _drawn(self, kept: Booleans, rows: Integers, donors: Integers) -> Floats:
        """Return the columns of all players, ``(n, donors, columns)``, those that are kept with the row's values."""
        values, known = self._lent[donors], list[int]()
        for player in np.flatnonzero(kept).tolist():
            own = self.columns.of_player[player]
            values[..., own] = self._rows[rows][:, None, own]
        for block, confounded in zip(self.order.blocks, self.order.confounded, strict=True):
            given = known if confounded else known + [player for player in block if kept[player]]
            if kept[given].any():  # else a donor's cells fit each other as they are
                drawn = [player for player in block if not kept[player]]
                # Drawn one after the other, numbers are what they are at once: regressions follow from each other.
                numbers = [player for player in drawn if not len(self.columns.levels[player])]
                if numbers:
                    self._move(numbers, given, values, donors)
                given = given + numbers
                for player in drawn:
                    if player not in numbers:
                        self._draw(player, given, values, donors)
                        given = [*given, player]
            known = known + list(block)
        return values

    def _move(
        self, players: Sequence[int], known: Sequence[int], values: Floats, donors: Integers
    ) -> tuple[Floats, Integers, Floats]:
        """Move columns as others moved. Return by how much, and the regression: its columns and coefficients."""
        given, matrix = self._regression(tuple(players), tuple(sorted(known)))
        own, lent = np.concatenate([self.columns.of_player[one] for one in players]), self._lent[donors]
        move = (values[..., given] - lent[..., given]) @ matrix
        values[..., own] = lent[..., own] + move
        return move, given, matrix

    def _draw(self, player: int, known: Sequence[int], values: Floats, donors: Integers) -> None:
        """Write the columns of a player with levels, given those of ``known``."""
        own, levels, mean = self.columns.of_player[player], self.columns.levels[player], self.columns.mean
        move, given, matrix = self._move([player], known, values, donors)
        lent = self._lent[donors]
        expected = (lent[..., given] - mean[given]) @ matrix[:, levels] + mean[own[levels]]
        theirs, ours = _shares(expected), _shares(expected + move[..., levels])
        is_level = lent[..., own[levels]]
        at = np.where(is_level.any(axis=-1), is_level.argmax(axis=-1), len(levels))[..., None]
        # A place within the donor's level that no prediction decides, the same wherever the donor lends.
        chance = uniform(self.request.seed, ("level within", player), np.arange(len(self._lent), dtype=np.uint64))
        share = np.take_along_axis(theirs, at, axis=-1)
        quantile = np.take_along_axis(np.cumsum(theirs, axis=-1), at, axis=-1) - share * chance[donors][..., None]
        chosen = (np.cumsum(ours, axis=-1) <= quantile).sum(axis=-1)[..., None]
        values[..., own[levels]] = np.arange(len(levels)) == np.minimum(chosen, len(levels))

    def _regression(self, players: tuple[int, ...], known: tuple[int, ...]) -> tuple[Integers, Floats]:
        """Return the columns of ``known``, and the coefficients ``(those, own columns)`` of the players on them."""
        if (players, known) not in self._solved:
            own, given = (np.concatenate([self.columns.of_player[one] for one in some]) for some in (players, known))
            inner, outer = (self.columns.correlation[np.ix_(given, other)] for other in (given, own))
            if self.columns.flat:
                solved = np.linalg.pinv(inner, rcond=_FLAT, hermitian=True) @ outer
            else:
                solved = np.linalg.solve(inner, outer)
            spread = self.columns.spread
            self._solved[players, known] = given, solved * spread[own] / spread[given, None]
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
