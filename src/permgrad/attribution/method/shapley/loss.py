"""Shapley values of the loss (SAGE: Covert, Lundberg & Lee 2020): means of rows'
values, errors from their spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from permgrad.attribution.explanation.statistics import shared_errors
from permgrad.attribution.method.shapley.balanced import solve
from permgrad.attribution.method.shapley.indices import InteractionIndex
from permgrad.attribution.method.shapley.sampled import GOLDEN, SILVER, walk
from permgrad.attribution.method.shapley.shapley_game import (
    Enumeration,
    ShapleyGame,
    slices,
)
from permgrad.attribution.players.tree import Tree
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.game import receiver_classes
from permgrad.attribution.replace.moments import (
    NO_DONOR,
    PairMoments,
    estimated,
    row_scores,
)
from permgrad.attribution.request import Request
from permgrad.base.arrays import Floats, Integers
from permgrad.base.random import generator, uniform, uniform_integers

#: Sampling stops when the walks cause less than this share of the variance, summed over
#: all players.
_SMALL_SHARE = 0.2
#: Samples computed at once.
_WALKS = 4096
#: Row numbers are taken modulo this number, so that a product with a fraction keeps its
#: digits.
_TURN = np.uint64(2**32)


@dataclass(frozen=True)
class LossPlan:
    """How a loss game is played.

    With ``expected``, losses of single predictions are averaged, not predictions.
    """

    expected: bool
    references: int
    exact: bool
    designs: bool
    tolerance: float
    most: int
    interactions: InteractionIndex | None = None


class PlayedLoss(NamedTuple):
    """The Shapley values of a loss. Output 0 is all rows.

    Attributes:
        fields: Fields of the explanation, each ``(players, shown)``.
        walks: Walks per row.
        gap: By how much the values do not add up.
    """

    fields: dict[str, Any]
    walks: int
    gap: float


def play_loss(
    game: ShapleyGame, tree: Tree, plan: LossPlan, shown: Sequence[int]
) -> PlayedLoss:
    """Return fields of the explanation ``(players, shown)``, walks per row, and the
    gap. Output 0 is all rows.
    """
    walks = _Walks(game, tree, plan)
    count = walks.enumerate() if plan.exact else walks.sample()
    groups = [output_index - 1 if output_index else None for output_index in shown]
    numbers = np.stack(
        [estimated(walks.moments, game.request.confidence, group) for group in groups],
        axis=2,
    )
    fields = dict(
        zip(("values", "std_error", "low", "high", "p_values"), numbers, strict=True)
    )
    fields["correlation"] = shared_errors(
        tree.players,
        shown,
        lambda group: row_scores(walks.moments, group, by_unit=True)[: tree.players],
    )
    return PlayedLoss(fields, count, walks.gap())


class _Walks:
    """Plays rows and collects their values."""

    def __init__(self, game: ShapleyGame, tree: Tree, plan: LossPlan) -> None:
        self.game = game
        self.tree = tree
        self.plan = plan
        self.request = game.request
        request = game.request
        background = len(game.request.donors[0])
        self.classes, _ = receiver_classes(request, game.row_outputs)
        # Pairs with one donor each, so that the error includes the choice of donors. A
        # mean over donors shared by all rows would hide it, and intervals would be too
        # narrow.
        single = plan.expected
        names = max(1, len(request.subject.outputs.class_names))
        shared = request.shared and single
        if plan.interactions is None:
            numbers = tree.players
        else:
            numbers = plan.interactions.numbers
        self.moments = PairMoments(
            request.count,
            background if single else 1,
            shared,
            names,
            numbers,
            request.units,
        )
        self.lenders = Lenders.of(request)
        self.sums, self.squares = np.zeros((2, request.count, numbers))
        #: Sums over plays: loss without information, its reduction by all players, the
        #: sum of values, number of plays.
        self._totals = np.zeros(4)
        self.order = generator(request.seed, "references").permutation(background)

    def enumerate(self) -> int:
        """Play every coalition of every row once."""
        exact = Enumeration(self.game, self.tree, interactions=self.plan.interactions)
        request = self.request
        with request.bar(request.count, "shapley", by_player=True) as progress:
            for row_slice in exact.blocks(request.count):
                receiver_rows = np.arange(
                    row_slice.start, row_slice.stop, dtype=np.int64
                )
                donors = self._donors(receiver_rows, 0)
                for column in donors.T if self.plan.expected else ():
                    # Never the row itself, where rows are their own background.
                    is_other_row = (column != receiver_rows + request.row_offset) | (
                        not request.shared
                    )
                    if is_other_row.any():
                        self._add(
                            receiver_rows[is_other_row],
                            column[is_other_row, None],
                            exact(
                                receiver_rows[is_other_row], column[is_other_row, None]
                            ),
                        )
                if not self.plan.expected:
                    self._add(receiver_rows, donors, exact(receiver_rows, donors))
                progress.advance(len(receiver_rows))
        return 0

    def sample(self) -> int:
        """Play all rows in turn, repeatedly, until errors are small or more samples no
        longer help.
        """
        receiver_rows = np.arange(self.request.count, dtype=np.int64)
        shifted = (receiver_rows + self.request.row_offset).astype(np.uint64)
        start = uniform(
            self.request.seed, ("design size",), np.zeros(1, dtype=np.uint64)
        )
        with self.request.bar(
            len(receiver_rows) * self.plan.most, "shapley", by_player=True
        ) as progress:
            for number in range(self.plan.most):
                for row_slice in slices(len(receiver_rows), _WALKS):
                    drawn = (
                        receiver_rows[row_slice],
                        self._donors(receiver_rows[row_slice], number),
                        shifted[row_slice] + np.uint64(number << 32),
                    )
                    if self.plan.designs:
                        # Sizes lie evenly over neighbouring rows, and over the samples
                        # of a row.
                        turned = (shifted[row_slice] % _TURN).astype(
                            np.float64
                        ) * GOLDEN
                        played = solve(
                            self.game, *drawn, (start + turned + number * SILVER) % 1.0
                        )
                    else:
                        played = walk(self.game, self.tree, *drawn)
                    self._add(*drawn[:2], played)
                    progress.advance(len(drawn[0]))
                if self._settled(number + 1):
                    break
        return number + 1

    def gap(self) -> float:
        """Return the gap of the sum of the values, relative to the loss without any
        information.
        """
        return float(
            abs(self._totals[2] - self._totals[1]) / self._totals[3] / self._scale()
        )

    def _donors(self, rows: Integers, number: int) -> Integers:
        """Return the donors of each row, ``(rows, donors)``: all, a systematic sample
        for the row, or a single one.
        """
        request = self.request
        background = len(self.order)
        shifted = rows + request.row_offset
        count = min(self.plan.references, background)
        if len(self.lenders.order):
            # Evenly along those who lend to the row, from a start of its own.
            if self.plan.expected and not self.plan.exact:
                count = 1
            start = uniform(request.seed, ("donor", number), shifted)
            return self.lenders.at(
                rows, (start[:, None] + np.arange(count) / count) % 1.0
            )
        if self.plan.expected and not self.plan.exact:
            # Never the row itself, where rows are their own background.
            return _other_rows(request, self.order, shifted, rows, number, count)[
                :, None
            ]
        if count == background:
            return np.broadcast_to(np.sort(self.order), (len(rows), background))
        start = uniform(request.seed, ("references", number), shifted)
        donor_positions = (
            (start[:, None] + np.arange(count)) * (background / count)
        ).astype(np.int64)
        return self.order[donor_positions % background]

    def _add(self, rows: Integers, donors: Integers, played: Floats) -> None:
        request = self.request
        effects = played[:, :, 0]
        if request.sample_weight is None:
            weights = None
        else:
            weights = request.sample_weight[rows]
        if self.plan.expected:
            numbers = donors[:, 0]
        else:
            numbers = np.full(len(rows), NO_DONOR, dtype=np.int64)
        if self.classes is None:
            groups = None
        else:
            groups = self.classes[rows]
        self.moments.add(rows, numbers, effects, classes=groups, weights=weights)
        self.sums[rows] += effects
        self.squares[rows] += effects**2
        nobody = self.game.empty(rows, donors)
        worth = (self.game.full(rows) - nobody).sum()
        self._totals += (
            -nobody.sum(),
            worth,
            effects[:, : self.tree.players].sum(),
            len(rows),
        )

    def _scale(self) -> float:
        """Return the mean loss without any information, the natural size of all
        values.
        """
        return max(
            float(self._totals[0] / self._totals[3]), float(np.finfo(np.float64).tiny)
        )

    def _of_samples(self, walks: int) -> Floats:
        """Return the part of each variance that comes from samples."""
        spread = np.maximum(self.squares - self.sums**2 / walks, 0).sum(axis=0) / (
            walks - 1
        )
        return spread / (walks * self.request.count**2)

    def _settled(self, walks: int) -> bool:
        if self.plan.tolerance == 0:
            return False
        _, std_errors, _ = self.moments.estimate()
        if (std_errors <= self.plan.tolerance * self._scale()).all():
            return True
        if walks < 2:
            return False
        return bool(
            self._of_samples(walks).sum() <= _SMALL_SHARE * (std_errors**2).sum()
        )


def _other_rows(
    request: Request,
    order: Integers,
    shifted: Integers,
    rows: Integers,
    number: int,
    count: int,
) -> Integers:
    if request.shared:
        drawn = uniform_integers(
            request.seed, ("donor", number), shifted, max(count - 1, 1)
        )
        drawn_rows = order[drawn]
        # The last one replaces a row that would be its own donor.
        return np.where(drawn_rows == rows, order[count - 1], drawn_rows)
    return order[uniform_integers(request.seed, ("donor", number), shifted, count)]
