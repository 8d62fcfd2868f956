"""Shapley values of the loss (SAGE): how much each player takes off the model's loss over the rows explained.

Each row has its own values, which add up to the loss without any information minus the row's loss. Their mean over the
rows is the importance (Covert, Lundberg & Lee 2020), and their spread over the rows, which holds the spread of the
samples as well, gives the interval. A sample of a row is an order of its players with its reverse, or a design of
balanced coalitions (``designs``): both are unbiased for any loss, and their sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from permgrad.attribution.method import Request
from permgrad.attribution.method.shapley.balanced import solve
from permgrad.attribution.method.shapley.exact import Enumeration
from permgrad.attribution.method.shapley.game import ShapleyGame, slices
from permgrad.attribution.method.shapley.owen import Tree
from permgrad.attribution.method.shapley.sampled import GOLDEN, SILVER, walk
from permgrad.attribution.replace.importance import receiver_classes
from permgrad.attribution.replace.moments import NO_DONOR, PairMoments, interval
from permgrad.base.progress import Progress
from permgrad.base.random import generator, uniform, uniform_integers

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Counters = npt.NDArray[np.uint64]

#: More walks per row stop to pay when what differs between them is below this share of the variance, over all players.
_SMALL_SHARE = 0.2
#: Samples that are under way at once.
_WALKS = 4096
#: Row numbers are turned into places modulo this one, so that a product with a fraction keeps its digits.
_TURN = np.uint64(2**32)


@dataclass(frozen=True)
class LossPlan:
    """How a loss game is played.

    Attributes:
        expected: whether the loss of every prediction is averaged, not the loss of the averaged prediction taken.
        references: background rows that each row's predictions are averaged over.
        exact: whether all coalitions are enumerated.
        designs: whether designs are played, not orders.
        tolerance: standard error to stop at, as a share of the loss without any information.
        most: largest number of walks per row.
    """

    expected: bool
    references: int
    exact: bool
    designs: bool
    tolerance: float
    most: int


@dataclass(frozen=True)
class LossValues:
    """Importance, error, interval ends and p-values ``(players, outputs)``; walks per row; the gap of the sums."""

    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    p_values: Floats
    outputs: tuple[str, ...]
    walks: int
    gap: float


def play_loss(game: ShapleyGame, tree: Tree, plan: LossPlan) -> LossValues:
    """Play the loss game over all rows and return the importance of every player, overall and by class."""
    request = game.request
    classes, _ = receiver_classes(request, game.base)
    names = request.subject.class_names
    # Pairs with one donor each, so that the error holds the choice of donors: a mean over donors that all rows share
    # would hide it, and intervals would be too narrow.
    single = plan.expected
    moments = PairMoments(
        request.count,
        len(request.donors[0]) if single else 1,
        request.shared and single,
        max(1, len(names)),
        tree.players,
    )
    player = _Walks(game, tree, plan, moments, classes)
    walks = player.enumerate() if plan.exact else player.sample()
    return _tabulate(request, moments, names, walks, player.gap())


class _Walks:
    """Plays rows and collects what they give."""

    def __init__(
        self,
        game: ShapleyGame,
        tree: Tree,
        plan: LossPlan,
        moments: PairMoments,
        classes: npt.NDArray[np.int64] | None,
    ) -> None:
        self.game, self.tree, self.plan, self.moments, self.classes = game, tree, plan, moments, classes
        self.request = game.request
        self.sums = np.zeros((self.request.count, tree.players))
        self.squares = np.zeros_like(self.sums)
        self._nothing, self._worth, self._values, self._plays = 0.0, 0.0, 0.0, 0
        background = len(self.request.donors[0])
        self.order = generator(self.request.seed, "references").permutation(background)

    def enumerate(self) -> int:
        """Play every coalition of every row once."""
        exact, rows = Enumeration(self.game, self.tree), self.request.count
        with Progress(rows, "shapley", self.request.progress) as progress:
            for part in exact.blocks(rows):
                receivers = np.arange(part.start, part.stop, dtype=np.int64)
                donors = self._donors(receivers, 0)
                if self.plan.expected:
                    for column in donors.T:
                        self._enumerate_pairs(exact, receivers, column)
                else:
                    self._add(receivers, donors, exact(receivers, donors)[:, :, 0], single=False)
                progress.advance(len(receivers))
        return 0

    def _enumerate_pairs(self, exact: Enumeration, rows: Integers, donors: Integers) -> None:
        """Play every coalition of rows with one donor each; never the row itself, where rows are their background."""
        if self.request.shared:
            other = donors != rows + self.request.row_offset
            rows, donors = rows[other], donors[other]
        if len(rows):
            single = donors[:, None]
            self._add(rows, single, exact(rows, single)[:, :, 0], single=True)

    def sample(self) -> int:
        """Play each row one after the other, again and again, until errors are small or samples no longer matter."""
        rows = np.arange(self.request.count, dtype=np.int64)
        shifted = (rows + self.request.row_offset).astype(np.uint64)
        with Progress(len(rows) * self.plan.most, "shapley", self.request.progress) as progress:
            for number in range(self.plan.most):
                for part in slices(len(rows), _WALKS):
                    receivers, donors = rows[part], self._donors(rows[part], number)
                    effects = self._play(receivers, donors, shifted[part], number)
                    self._add(receivers, donors, effects, single=self.plan.expected)
                    progress.advance(len(receivers))
                if self._settled(number + 1):
                    break
        return number + 1

    def _play(self, rows: Integers, donors: Integers, shifted: Counters, number: int) -> Floats:
        """Return each player's value from the sample ``number`` of rows, ``(rows, players)``."""
        counters = shifted + np.uint64(number << 32)
        if not self.plan.designs:
            return walk(self.game, self.tree, rows, donors, counters)[:, :, 0]
        # Sizes lie evenly over neighbouring rows, and over the samples of a row.
        start = uniform(self.request.seed, ("design size",), np.zeros(1, dtype=np.uint64))
        place = (start + (shifted % _TURN).astype(np.float64) * GOLDEN + number * SILVER) % 1.0
        return solve(self.game, rows, donors, counters, place)[:, :, 0]

    def gap(self) -> float:
        """Return how far the values are from adding up, relative to the loss without any information."""
        return abs(self._values - self._worth) / self._plays / self._scale()

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

    def _add(self, rows: Integers, donors: Integers, effects: Floats, *, single: bool) -> None:
        request = self.request
        weights = None if request.sample_weight is None else request.sample_weight[rows]
        numbers = donors[:, 0] if single else np.full(len(rows), NO_DONOR, dtype=np.int64)
        groups = None if self.classes is None else self.classes[rows]
        self.moments.add(rows, numbers, effects, classes=groups, weights=weights)
        self.sums[rows] += effects
        self.squares[rows] += effects**2
        nobody = self.game.empty(rows, donors)
        self._nothing -= float(nobody.sum())
        self._worth += float((self.game.full(rows) - nobody).sum())
        self._values += float(effects.sum())
        self._plays += len(rows)

    def _scale(self) -> float:
        """Return the mean loss without any information, the natural size of all values."""
        return max(self._nothing / self._plays, float(np.finfo(np.float64).tiny))

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


def _tabulate(request: Request, moments: PairMoments, names: tuple[str, ...], walks: int, gap: float) -> LossValues:
    groups = [None, *range(len(names))]
    columns = []
    for group in groups:
        mean, std, count = moments.estimate(group)
        columns.append((mean, std, *interval(mean, std, count, request.confidence)))
    mean, std, low, high, p_values = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    return LossValues(mean, std, low, high, p_values, ("all", *names), walks, gap)
