"""Shapley values of the loss (SAGE: Covert, Lundberg & Lee 2020): means of rows' values, errors from their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from permgrad.attribution.method import Request
from permgrad.attribution.method.shapley.balanced import solve
from permgrad.attribution.method.shapley.game import Enumeration, ShapleyGame, slices
from permgrad.attribution.method.shapley.owen import Floats, Integers, Tree
from permgrad.attribution.method.shapley.sampled import GOLDEN, SILVER, walk
from permgrad.attribution.replace.game import receiver_classes
from permgrad.attribution.replace.moments import NO_DONOR, PairMoments, estimated
from permgrad.base.progress import Progress
from permgrad.base.random import generator, uniform, uniform_integers

#: More walks per row stop to pay when what differs between them is below this share of the variance, over all players.
_SMALL_SHARE = 0.2
#: Samples that are under way at once.
_WALKS = 4096
#: Row numbers are turned into places modulo this one, so that a product with a fraction keeps its digits.
_TURN = np.uint64(2**32)


@dataclass(frozen=True)
class LossPlan:
    """How a loss game is played; ``expected``: losses of single predictions are averaged, not predictions."""

    expected: bool
    references: int
    exact: bool
    designs: bool
    tolerance: float
    most: int


def play_loss(
    game: ShapleyGame, tree: Tree, plan: LossPlan, groups: Sequence[int | None]
) -> tuple[dict[str, Floats], int, float]:
    """Return fields of the explanation ``(players, groups)``, walks per row, and the gap; a group of None is all."""
    walks = _Walks(game, tree, plan)
    count = walks.enumerate() if plan.exact else walks.sample()
    numbers = np.stack([estimated(walks.moments, game.request.confidence, group) for group in groups], axis=2)
    return dict(zip(("values", "std", "low", "high", "p_values"), numbers, strict=True)), count, walks.gap()


class _Walks:
    """Plays rows and collects what they give."""

    def __init__(self, game: ShapleyGame, tree: Tree, plan: LossPlan) -> None:
        self.game, self.tree, self.plan, self.request = game, tree, plan, game.request
        request, background = game.request, len(game.request.donors[0])
        self.classes, _ = receiver_classes(request, game.row_outputs)
        # Pairs with one donor each, so that the error holds the choice of donors: a mean over donors that all rows
        # share would hide it, and intervals would be too narrow.
        single, names = plan.expected, max(1, len(request.subject.class_names))
        shared = request.shared and single
        self.moments = PairMoments(request.count, background if single else 1, shared, names, tree.players)
        self.sums, self.squares = np.zeros((2, request.count, tree.players))
        #: Sums over plays: the loss without information, what all players take off it, what they are given; the plays.
        self._totals = np.zeros(4)
        self.order = generator(request.seed, "references").permutation(background)

    def enumerate(self) -> int:
        """Play every coalition of every row once."""
        exact, request = Enumeration(self.game, self.tree), self.request
        with Progress(request.count, "shapley", request.progress) as progress:
            for part in exact.blocks(request.count):
                rows = np.arange(part.start, part.stop, dtype=np.int64)
                donors = self._donors(rows, 0)
                for column in donors.T if self.plan.expected else ():
                    # Never the row itself, where rows are their own background.
                    other = (column != rows + request.row_offset) | (not request.shared)
                    if other.any():
                        self._add(rows[other], column[other, None], exact(rows[other], column[other, None]))
                if not self.plan.expected:
                    self._add(rows, donors, exact(rows, donors))
                progress.advance(len(rows))
        return 0

    def sample(self) -> int:
        """Play each row one after the other, again and again, until errors are small or samples no longer matter."""
        rows = np.arange(self.request.count, dtype=np.int64)
        shifted = (rows + self.request.row_offset).astype(np.uint64)
        start = uniform(self.request.seed, ("design size",), np.zeros(1, dtype=np.uint64))
        with Progress(len(rows) * self.plan.most, "shapley", self.request.progress) as progress:
            for number in range(self.plan.most):
                for part in slices(len(rows), _WALKS):
                    drawn = rows[part], self._donors(rows[part], number), shifted[part] + np.uint64(number << 32)
                    if self.plan.designs:
                        # Sizes lie evenly over neighbouring rows, and over the samples of a row.
                        turned = (shifted[part] % _TURN).astype(np.float64) * GOLDEN
                        played = solve(self.game, *drawn, (start + turned + number * SILVER) % 1.0)
                    else:
                        played = walk(self.game, self.tree, *drawn)
                    self._add(*drawn[:2], played)
                    progress.advance(len(drawn[0]))
                if self._settled(number + 1):
                    break
        return number + 1

    def gap(self) -> float:
        """Return how far the values are from adding up, relative to the loss without any information."""
        return float(abs(self._totals[2] - self._totals[1]) / self._totals[3] / self._scale())

    def _donors(self, rows: Integers, number: int) -> Integers:
        """Return the donors of each row, ``(rows, donors)``: all, a systematic sample of its own, or a single one."""
        request, background = self.request, len(self.order)
        shifted = rows + request.row_offset
        count = min(self.plan.references, background)
        if self.plan.expected and not self.plan.exact:
            # Never the row itself, where rows are their own background.
            return _other_rows(request, self.order, shifted, rows, number, count)[:, None]
        if count == background:
            return np.broadcast_to(np.sort(self.order), (len(rows), background))
        start = uniform(request.seed, ("references", number), shifted)
        places = ((start[:, None] + np.arange(count)) * (background / count)).astype(np.int64)
        return self.order[places % background]

    def _add(self, rows: Integers, donors: Integers, played: Floats) -> None:
        request, effects = self.request, played[:, :, 0]
        weights = None if request.sample_weight is None else request.sample_weight[rows]
        numbers = donors[:, 0] if self.plan.expected else np.full(len(rows), NO_DONOR, dtype=np.int64)
        groups = None if self.classes is None else self.classes[rows]
        self.moments.add(rows, numbers, effects, classes=groups, weights=weights)
        self.sums[rows] += effects
        self.squares[rows] += effects**2
        nobody = self.game.empty(rows, donors)
        worth = (self.game.full(rows) - nobody).sum()
        self._totals += (-nobody.sum(), worth, effects.sum(), len(rows))

    def _scale(self) -> float:
        """Return the mean loss without any information, the natural size of all values."""
        return max(float(self._totals[0] / self._totals[3]), float(np.finfo(np.float64).tiny))

    def _settled(self, walks: int) -> bool:
        if self.plan.tolerance == 0:
            return False
        _, std, _ = self.moments.estimate()
        if (std <= self.plan.tolerance * self._scale()).all():
            return True
        if walks < 2:
            return False
        spread = np.maximum(self.squares - self.sums**2 / walks, 0).sum(axis=0) / (walks - 1)
        of_orders = spread / (walks * self.request.count**2)
        return bool(of_orders.sum() <= _SMALL_SHARE * (std**2).sum())


def _other_rows(
    request: Request, order: Integers, shifted: Integers, rows: Integers, number: int, count: int
) -> Integers:
    if request.shared:
        drawn = uniform_integers(request.seed, ("donor", number), shifted, max(count - 1, 1))
        chosen = order[drawn]
        # The last one stands in where a row would be its own donor.
        return np.where(chosen == rows, order[count - 1], chosen)
    return order[uniform_integers(request.seed, ("donor", number), shifted, count)]
