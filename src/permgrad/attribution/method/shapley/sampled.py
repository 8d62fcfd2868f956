"""Shapley and Owen values from samples, with their standard errors.

Designs, or walks along an order and its reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from permgrad.attribution.method.shapley.balanced import (
    all_used_in,
    solve,
    used_players,
)
from permgrad.attribution.method.shapley.calibrated import Calibration
from permgrad.attribution.method.shapley.indices import InteractionIndex
from permgrad.attribution.method.shapley.shapley_game import (
    Enumeration,
    ShapleyGame,
    slices,
)
from permgrad.attribution.method.shapley.tree_models import (
    LEAVES,
    LinearInTrees,
    mean_over,
)
from permgrad.attribution.players.tree import Counters, Tree
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.progress import Progress
from permgrad.base.random import content_keys, generator, uniform, uniform_integers

ENUMERATION = "enumeration of all coalitions"
ORDERS = "pairs of an order and its reverse"
DESIGNS = "balanced coalitions and their complements"
#: Bytes of the masks, and numbers of the sums, that are held at once. Larger masks are
#: memory that the system hands out anew each time, which takes longer than the masks.
_MASK_BYTES = 2**23
_BLOCK_NUMBERS = 2**22
#: Bytes that are kept of a player's place in a walk.
_PATH_BYTES = 64
#: Cells of a row's predictions that are too many, walks that are played in full to see
#: which players change an output, and the fewest walks of a row.
_MANY_CELLS = 280_000_000
_WHOLE_WALKS = 3
_FEWEST_WALKS = 20
#: How many times as many players as the first walks show are seen in the end, where not
#: all walks are played.
_SEEN_LATER = 1.5
#: Most players that are seen who are kept apart from those before them.
_FEW_SEEN = 100
#: Share of a row's progress that its least number of rounds makes up.
_BEFORE_SETTLED = 0.9
#: Walks of a round where the background has too many rows for one walk each.
_LOOSE_WALKS = 25
#: Largest number of walks in a single round, which cannot stop early.
_SINGLE_ROUND = 250
#: Pairs of background rows on which designs and orders are compared, the most attempts
#: where they show no difference, and the ratio that is clearly less.
_PILOT_PAIRS = 4
_PILOTS = 4
_CLEARLY_LESS = 0.7
#: Comparisons of both for a row that has a single background row, and the first number
#: of these samples.
_PILOTS_OF_ROW = 2
_PILOT_NUMBERS = 2**40
#: Degrees of freedom that a row's mean variance adds to each player's. With 2,
#: networks' intervals are too wide.
_SHARED_FREEDOM = 1
#: Steps whose multiples lie evenly on [0, 1), also together: (√5 − 1)/2 and √2 − 1.
GOLDEN = 0.6180339887498949
SILVER = 0.41421356237309503
#: An odd number: keeps the walks of one row apart. Walk k of a row has the counter of
#: the row's key plus k times it.
_STRIDE = np.uint64(0xD1B54A32D192ED03)


def walk(
    game: ShapleyGame, tree: Tree, rows: Integers, donors: Integers, counters: Counters
) -> Floats:
    """Return each player's contribution along one order and its reverse, drawn by
    counters, ``(walks, players, V)``.
    """
    return _walk(game, tree, rows, donors, counters, None)[0]


def _walk(
    game: ShapleyGame,
    tree: Tree,
    rows: Integers,
    donors: Integers,
    counters: Counters,
    seen_players: Booleans | None,
) -> tuple[Floats, Booleans]:
    """Return ``walk``, and who changed an output in each walk, ``(walks, players)``.

    ``seen_players``: as of ``_path``.
    """
    players = tree.players
    values = np.empty((len(rows), players, game.width))
    moved = np.empty((len(rows), players), dtype=bool)
    for walk_slice in slices(len(rows), max(1, _MASK_BYTES // (_PATH_BYTES * players))):
        ranks = tree.ranks(game.request.seed, "order", counters[walk_slice])
        receivers = rows[walk_slice]
        theirs = donors[walk_slice]
        reverse = players - 1 - ranks
        rounding = game.rounding(receivers, theirs.shape[1])
        both_ranks = np.stack([ranks, reverse], axis=1)
        path_worths = _path(
            game,
            receivers,
            theirs,
            both_ranks,
            None if seen_players is None else seen_players[walk_slice],
            rounding,
        )
        steps = np.diff(path_worths, axis=2)
        steps[np.abs(steps) <= rounding[:, None, None]] = 0.0
        there = np.take_along_axis(steps[:, 0], ranks[:, :, None], axis=1)
        backward_steps = np.take_along_axis(steps[:, 1], reverse[:, :, None], axis=1)
        values[walk_slice] = (there + backward_steps) / 2
        moved[walk_slice] = ((there != 0) | (backward_steps != 0)).any(axis=-1)
    return values, moved


def _joins(
    differs: Booleans, ranks: Integers, seen_players: Booleans | None
) -> tuple[Booleans, Booleans]:
    """Return where a player that differs joins, and where one that is seen does.

    Both are ``(n, orders, players + 1)``, of which the first is nobody.
    """
    count, orders, players = ranks.shape
    joins = np.broadcast_to(differs[:, None], ranks.shape)
    changed, alone = np.zeros((2, count, orders, players + 1), dtype=bool)
    np.put_along_axis(changed[:, :, 1:], ranks, joins, axis=2)
    if seen_players is not None:
        joins = joins & seen_players[:, None]
    np.put_along_axis(alone[:, :, 1:], ranks, joins, axis=2)
    return changed, alone


@dataclass(frozen=True)
class _Coalitions:
    """Coalitions of walks that differ from the one before them, one walk after the
    other, each from nobody to the row itself.

    Attributes:
        game: Says what they are worth.
        rows: The row of each walk, ``(n,)``.
        donors: Its background rows, ``(n, donors)``.
        ranks: Each player's place, ``(n, orders, players)``, in narrow numbers, because
            this array is the largest one here.
        walks: The walk of each coalition.
        orders: The order of each coalition.
        sizes: How many players are in it.
    """

    game: ShapleyGame
    rows: Integers
    donors: Integers
    ranks: Array
    walks: Integers
    orders: Integers
    sizes: Integers

    def worth(self, positions: Integers) -> Floats:
        """Return what some coalitions are worth, ``(positions, V)``."""
        walks = self.walks[positions]
        ranks = self.ranks[walks, self.orders[positions]]
        keeps = ranks < self.sizes[positions][:, None].astype(ranks.dtype)
        return self.game.values(self.rows[walks], self.donors[walks], keeps[:, None])[
            :, 0
        ]

    def write(self, worth: Floats, positions: Integers) -> None:
        """Write what some coalitions are worth into ``(coalitions, V)``, a few at a
        time.
        """
        players = self.ranks.shape[2]
        at_once = max(1, _MASK_BYTES // (4 * players))
        for position_slice in slices(len(positions), at_once):
            few_positions = positions[position_slice]
            worth[few_positions] = self.worth(few_positions)


def _path(
    game: ShapleyGame,
    rows: Integers,
    donors: Integers,
    ranks: Integers,
    seen_players: Booleans | None,
    rounding: Floats,
) -> Floats:
    """Return the worth of the coalitions along ``ranks``, ``(n, orders, players + 1,
    V)``.

    With ``seen_players`` ``(n, players)``, the players between two that are seen join
    at once. Where this changes the worth by more than ``rounding``, they are halved
    until it is known who did it. Else they are taken to change nothing.
    """
    count, orders, players = ranks.shape
    changed, alone = _joins(game.differs(rows, donors), ranks, seen_players)
    # The last coalition that differs from the one before it.
    source = np.maximum.accumulate(np.where(changed, np.arange(players + 1), 0), axis=2)
    changed[:, :, 0] = True
    narrow_type: Any = np.int16
    if players > np.iinfo(np.int16).max:
        narrow_type = np.int32
    where = np.nonzero(changed)
    coalitions = _Coalitions(game, rows, donors, ranks.astype(narrow_type), *where)
    nobody = coalitions.sizes == 0
    known_mask = nobody | np.append(nobody[1:], True)
    everyone = known_mask & ~nobody
    worth = np.zeros((len(nobody), game.width))
    worth[nobody] = np.repeat(game.empty(rows, donors), orders, axis=0)
    worth[everyone] = game.full(rows)[coalitions.walks[everyone]]
    ends_alone = alone[where]
    asked_mask = _first_asked(coalitions.walks, ends_alone, seen_players) & ~known_mask
    while asked_mask.any():
        coalitions.write(worth, np.flatnonzero(asked_mask))
        known_mask |= asked_mask
        known_positions = np.flatnonzero(known_mask)
        differences = np.abs(np.diff(worth[known_positions], axis=0))
        walks = coalitions.walks[known_positions[:-1]]
        moves: Booleans = np.any(differences > rounding[walks], axis=-1)
        asked_mask = _halves(known_positions, moves, ends_alone)
    path_worths = np.zeros((count, orders, players + 1, game.width))
    last_known = np.where(known_mask, np.arange(len(known_mask)), 0)
    path_worths[where] = worth[np.maximum.accumulate(last_known)]
    return np.take_along_axis(path_worths, source[..., None], axis=2)


def _first_asked(
    walks: Integers, ends_alone: Booleans, seen_players: Booleans | None
) -> Booleans:
    """Return a mask of the coalitions that end with a player who is seen.

    Before each of few that are seen, too, so that nobody hides behind them. Of many,
    only those who move are apart.
    """
    before = np.append(ends_alone[1:], False)
    if seen_players is not None:
        before &= (seen_players.sum(axis=1) <= _FEW_SEEN)[walks]
    return ends_alone | before


def _halves(
    known_positions: Integers, moves: Booleans, ends_alone: Booleans
) -> Booleans:
    """Return a mask of the coalitions to ask next: between two of which the worth is
    known, and which differ by ``moves``.
    """
    before = known_positions[:-1]
    after = known_positions[1:]
    middle = np.where(ends_alone[after], after - 1, (before + after) // 2)
    asked_mask = np.zeros_like(ends_alone)
    asked_mask[middle[moves & (after - before > 1)]] = True
    return asked_mask


def shared_orders(seed: int, players: int, walks: int) -> Integers:
    """Return each player's place in the orders that all rows share, ``(walks,
    players)``, for ``same_orders``.

    Args:
        seed: Of the call.
        players: How many there are.
        walks: How many orders.
    """
    return Tree.flat(players).ranks(
        seed, "order", np.arange(walks, dtype=np.uint64) * _STRIDE
    )


class Rounds(NamedTuple):
    """The walks of a round, and the least and most rounds."""

    size: int
    least: int
    most: int


@dataclass(frozen=True)
class StoppingRule:
    """When to stop: at an error that is a share of the output's range, after a number
    of orders (two per walk).
    """

    tolerance: float
    least: int
    most: int

    def walks(self, references: int) -> Rounds:
        """Return the rounds of a row, with a walk for each background row if
        possible.
        """
        if 2 * references <= self.most < 4 * references and references <= _SINGLE_ROUND:
            return Rounds(references, 1, 1)
        round_size = min(_LOOSE_WALKS, self.most // 4)
        if 4 * references <= self.most:
            # Few background rows are used several times, because many predictions
            # together cost less.
            round_size = references * max(1, round_size // references)
        most_rounds = self.most // (2 * round_size)
        return Rounds(
            round_size,
            min(most_rounds, max(2, -(-self.least // (2 * round_size)))),
            most_rounds,
        )


class SampledValues(NamedTuple):
    """Means over walks.

    Attributes:
        means: ``(rows, players, V)``.
        std_errors: ``(rows, players, V)``, too large after a single round.
        freedom: Degrees of freedom of the errors.
    """

    means: Floats
    std_errors: Floats
    freedom: int


class Strata:
    """Running means and spreads of walks, ``(rows, strata, players, V)``, merged as in
    Chan et al. 1983.
    """

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.mean = np.zeros(shape)
        self.squares = np.zeros((shape[0], *shape[2:]))
        self.count = 0

    def add(self, sample: Floats) -> None:
        """Add ``(rows, strata, walks, players, V)``."""
        walks = sample.shape[2]
        sample_mean = sample.mean(axis=2)
        change = sample_mean - self.mean
        share = self.count * walks / (self.count + walks)
        self.squares += ((sample - sample_mean[:, :, None]) ** 2).sum(axis=(1, 2)) + (
            change**2
        ).sum(axis=1) * share
        self.count += walks
        self.mean += change * (walks / self.count)

    def keep(self, rows: Booleans) -> None:
        """Keep some rows."""
        self.mean = self.mean[rows]
        self.squares = self.squares[rows]

    def moved(self) -> Booleans:
        """Return which players changed an output in any walk, ``(rows, players)``."""
        changed = (self.squares != 0) | (self.mean != 0).any(axis=1)
        return np.asarray(changed.any(axis=-1))

    def estimate(self, calibration: Calibration | None = None) -> SampledValues:
        """Return means and errors ``(rows, players, V)``, too large after a single
        round, and degrees of freedom.
        """
        strata = self.mean.shape[1]
        count = self.count
        if calibration is not None:
            return SampledValues(
                calibration.means(self.mean), calibration.errors(self.mean), strata - 2
            )
        if count == 1 and strata > 1:
            return SampledValues(
                self.mean.mean(axis=1),
                self.mean.std(axis=1, ddof=1) / np.sqrt(strata),
                strata - 1,
            )
        variance = self.squares / (strata**2 * count * max(count - 1, 1))
        return SampledValues(
            self.mean.mean(axis=1), np.sqrt(variance), strata * (count - 1)
        )

    def with_rows(
        self, std: Floats, share: float, calibration: Calibration | None = None
    ) -> Floats:
        """Return errors ``(rows, players, V)`` with that of drawing the background
        rows, one for each stratum.

        Values differ between background rows by chance of the orders, too, so that this
        is all of it. ``share``: of the error of drawn rows, see ``error_of_rows``.
        """
        variance = self.mean.var(axis=1, ddof=1)
        if calibration is not None:
            return np.sqrt(std**2 + share**2 * variance / calibration.count)
        of_rows = variance / self.mean.shape[1]
        return np.sqrt(np.maximum(std**2, share**2 * of_rows))


def moderated(std: Floats, freedom: int, moves: Booleans) -> tuple[Floats, int]:
    """Pull the errors of players that can move an output towards those of their row
    (Smyth 2004).

    A player of a tree can contribute equally in all walks, although it would not in
    others: its variance of 0 is then not certain. Only the row itself is used, so that
    a row's errors do not depend on the others. An error never exceeds the row's
    largest.
    """
    count = np.maximum(moves.sum(axis=1), 1)[:, None, None]
    shared = (std**2 * moves[..., None]).sum(axis=1, keepdims=True) / count
    total = freedom + _SHARED_FREEDOM
    variance = (freedom * std**2 + _SHARED_FREEDOM * shared) / total
    return np.where(moves[..., None], np.sqrt(variance), std), total


@dataclass
class _Rows:
    """Rows whose values are sampled.

    Attributes:
        rows: Their numbers, ``(n,)``.
        keys: What the draws of each are counted from.
        active: Who may change an output, ``(n, players)``.
        movers: Who is known to change an output, ``(n, players)``. None: all may.
    """

    rows: Integers
    keys: Counters
    active: Booleans
    movers: Booleans | None = None

    def take(self, which: Booleans | slice) -> _Rows:
        """Return some of the rows."""
        movers = self.movers
        if movers is not None:
            movers = movers[which]
        return _Rows(self.rows[which], self.keys[which], self.active[which], movers)


class _DrawnSamples(NamedTuple):
    """The samples of a round.

    Attributes:
        rows: The row of each, ``(samples,)``.
        references: Its background row, ``(samples, 1)``.
        counters: The counter of its draws, ``(samples,)``.
    """

    rows: Integers
    references: Integers
    counters: Counters


class RowValues:
    """Values of all rows of an output game ``(rows, players, V)``, enumerated or
    sampled, and their errors.
    """

    def __init__(
        self,
        game: ShapleyGame,
        tree: Tree,
        references: Integers,
        exact: int,
        rule: StoppingRule,
        scale: Floats,
        nobody: Floats,
        *,
        same_orders: bool,
        interactions: InteractionIndex | None,
    ) -> None:
        self.game = game
        self.tree = tree
        self.references = references
        self.rule = rule
        self.scale = scale
        self.nobody = nobody
        self.rounds = rule.walks(len(references))
        self.exact = exact
        self.same_orders = same_orders
        self.interactions = interactions
        self.ways = set[str]()
        count = game.request.count
        if interactions is None:
            numbers = tree.players
        else:
            numbers = interactions.numbers
        #: ``std`` holds the error of drawn background rows, too, ``by_orders`` that of
        #: orders and coalitions alone.
        self.values, self.std, self.by_orders = np.zeros(
            (3, count, numbers, game.width)
        )
        #: Of the error of drawn background rows: 0 where all are used, see
        #: ``error_of_rows``.
        self.of_rows = 0.0
        #: The background rows that are sampled, and how the mean over all of them
        #: follows where they are a few.
        self.sampled = references
        self.calibration: Calibration | None = None
        #: Exact values of rows beside the same background rows, where they need no
        #: prediction, and how they are found.
        self.by_trees: LinearInTrees | None = None
        self.freedom = np.full(count, np.inf)
        self.orders = np.zeros(count, dtype=np.int64)
        self.used = np.zeros(tree.players, dtype=bool)
        #: Whether designs and full walks would need too many predictions.
        self.wide = (
            2 * self.rounds.size * self.rounds.least * tree.players**2 > _MANY_CELLS
        )

    def play_few(self, calibration: Calibration) -> None:
        """Sample a few of the background rows only, each once."""
        sampled = self.references[calibration.played]
        rounds = self.rule.walks(len(sampled))
        if not self.wide and rounds.size == len(sampled):
            self.calibration = calibration
            self.sampled = sampled
            self.rounds = rounds

    def _keys(self, rows: Integers) -> Counters:
        """Return what the draws of rows are counted from."""
        # Keyed by the row's contents, so that its position and the other rows make no
        # difference.
        numbers = torch.from_numpy(rows)
        keys = content_keys(
            [
                row_bytes(tensor[numbers.to(tensor.device)])
                for tensor in self.game.request.inputs
            ]
        )
        if self.same_orders:
            return np.zeros_like(keys)
        return keys

    def fill(self) -> None:
        """Compute the values of all rows.

        ``ways`` names the estimators used.
        """
        request = self.game.request
        # Which estimator pays is asked of the model, too.
        with request.bar(request.count, "shapley", by_player=True) as progress:
            self._fill(progress)

    def _fill(self, progress: Progress) -> None:
        """Compute the values of all rows, in blocks whose sums fit in memory."""
        shapley_game = self.game
        player_tree = self.tree
        references = self.references
        rows = self._rows_to_play()
        if not len(rows):
            return
        background = len(shapley_game.request.donors[0])
        everyone = player_tree.freedom() <= self.exact
        all_by_designs = None
        if self.same_orders or self.wide:
            all_by_designs = False
        elif not everyone and background > 1:
            all_by_designs, self.used = prefers_designs(shapley_game, player_tree)
        walks = max(len(self.sampled), self.rounds.size)
        numbers = max(1, 3 * walks * shapley_game.players * shapley_game.width)
        size = max(1, min(1024, _BLOCK_NUMBERS // numbers))
        for row_slice in slices(len(rows), size):
            block_rows = rows[row_slice]
            active = np.ones((len(block_rows), player_tree.players), dtype=bool)
            if not everyone:
                # Players that are the same in the row and in all background rows
                # change nothing.
                active = shapley_game.differs(
                    block_rows,
                    np.broadcast_to(references, (len(block_rows), len(references))),
                )
            is_enumerated = (active.sum(axis=1) <= self.exact) | everyone
            self._enumerate(block_rows[is_enumerated], active[is_enumerated])
            progress.advance(int(is_enumerated.sum()))
            block_rows = block_rows[~is_enumerated]
            active = active[~is_enumerated]
            if not len(block_rows):
                continue
            unsettled = _Rows(block_rows, self._keys(block_rows), active)
            if self.wide:
                self._sample_wide(unsettled, progress)
                continue
            designs = np.full(len(block_rows), bool(all_by_designs))
            if all_by_designs is None:
                designs = rows_that_prefer_designs(
                    shapley_game,
                    player_tree,
                    block_rows,
                    unsettled.keys,
                    int(references[0]),
                )
            for by_designs in np.unique(designs).tolist():
                self._sample(
                    unsettled.take(designs == by_designs), progress, designs=by_designs
                )

    def add(self, values: Floats, std: Floats) -> None:
        """Add exact values of what was left out of the game, and at most their errors
        ``(rows, players, V)``.
        """
        self.values += values
        # Both errors are of the same background rows.
        self.std += std
        self.ways = {f"{way}, and {LEAVES}" for way in self.ways}

    def _rows_to_play(self) -> Integers:
        """Compute the values of rows by trees, and return the rows whose values they do
        not tell.
        """
        rows = np.arange(self.game.request.count, dtype=np.int64)
        if self.by_trees is None:
            return rows
        agrees = self.by_trees.agrees
        if agrees.any():
            self.ways.add(LEAVES)
            self._enumerate_block(self.by_trees, rows[agrees])
        return rows[~agrees]

    def _enumerate(self, rows: Integers, active: Booleans) -> None:
        """Compute exact values.

        Rows with the same active players are enumerated together.
        """
        if len(rows):
            self.ways |= {ENUMERATION}
        else:
            self.ways |= set()
        patterns, which = np.unique(active, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            if pattern.any():
                exact = Enumeration(
                    self.game,
                    self.tree,
                    None if pattern.all() else pattern,
                    self.interactions,
                )
                receivers = rows[which.reshape(-1) == number]
                for row_slice in exact.blocks(len(receivers)):
                    self._enumerate_block(exact, receivers[row_slice])

    def _enumerate_block(
        self, exact: Callable[[Integers, Integers], Floats], rows: Integers
    ) -> None:
        """Compute the exact values of some rows, and their error where background rows
        were drawn.
        """
        drawn = self.of_rows > 0
        averaged = mean_over(exact, rows, self.references, drawn=drawn)
        self.values[rows] = averaged.values
        if averaged.part_count > 1:
            self.std[rows] = self.of_rows * averaged.std
            self.freedom[rows] = averaged.part_count - 1

    def _sample_wide(self, unsettled: _Rows, progress: Progress) -> None:
        """Sample rows of many players, of which the first walks show who changes an
        output.

        Where these are few, walks are short, and there are as many as with few players.
        Else there are fewer walks.
        """
        usual = self.rounds
        most_walks = self.rule.most // 2
        first_walks = min(_WHOLE_WALKS, most_walks)
        unsettled.movers = np.ones_like(unsettled.active)
        first, unsettled.movers = self._walks(unsettled, 0, first_walks)
        # Predictions of a walk: before and after each player that is seen.
        walk_predictions = 2 * np.clip(
            2 * unsettled.movers.sum(axis=1), 1, unsettled.active.sum(axis=1)
        )
        prediction_limit = _MANY_CELLS // self.tree.players
        short = usual.size * usual.least * walk_predictions <= prediction_limit
        if short.any():
            self._sample(unsettled.take(short), progress)
        of_rows = first.reshape(len(short), first_walks, *first.shape[1:])
        for row_index in np.flatnonzero(~short).tolist():
            walks = int(
                np.clip(
                    prediction_limit / (_SEEN_LATER * walk_predictions[row_index]),
                    _FEWEST_WALKS,
                    usual.size * usual.least,
                )
            )
            # In a few rounds, because many predictions together cost less.
            round_size = max(first_walks, min(walks // 3, _LOOSE_WALKS))
            rounds = Rounds(
                round_size,
                min(1 + walks // round_size, most_walks // round_size),
                most_walks // round_size,
            )
            self._sample(
                unsettled.take(slice(row_index, row_index + 1)),
                progress,
                rounds=rounds,
                first=of_rows[row_index],
            )

    def _walks(
        self, unsettled: _Rows, number: int, size: int
    ) -> tuple[Floats, Booleans]:
        """Return the walks of a round ``(rows * size, players, V)``, and who moved an
        output in those of each row.
        """
        assert unsettled.movers is not None
        values, moved = _walk(
            self.game,
            self.tree,
            *self._drawn(unsettled, number, size),
            np.repeat(unsettled.movers, size, axis=0),
        )
        of_rows = moved.reshape(len(unsettled.rows), size, -1)
        return values, np.asarray(of_rows.any(axis=1))

    def _drawn(self, unsettled: _Rows, number: int, size: int) -> _DrawnSamples:
        """Return the row, the background row and the counter of each sample of a
        round.
        """
        seed = self.game.request.seed
        count = len(self.sampled)
        keys = unsettled.keys
        counters = (
            keys[:, None]
            + (number * size + np.arange(size)).astype(np.uint64) * _STRIDE
        )
        in_turn = np.broadcast_to(np.arange(size) % count, counters.shape)
        if size % count == 0:
            reference_positions = in_turn
        else:
            reference_positions = _spread_donors(seed, keys, number * size, size, count)
        return _DrawnSamples(
            np.repeat(unsettled.rows, size),
            self.sampled[reference_positions].reshape(-1, 1),
            counters.reshape(-1),
        )

    def _by_designs(
        self, unsettled: _Rows, number: int, size: int, around: int
    ) -> Floats:
        """Return the values of one round by designs, each of a drawn size."""
        draws = number * size + np.arange(size)
        sizes = _sizes(self.game.request.seed, unsettled.keys, draws, around)
        drawn = self._drawn(unsettled, number, size)
        return solve(self.game, *drawn, sizes.reshape(-1))

    def _by_orders(self, unsettled: _Rows, number: int, size: int) -> Floats:
        """Return the values of one round by orders.

        Who changes an output in it is seen in the next.
        """
        if unsettled.movers is None:
            return walk(self.game, self.tree, *self._drawn(unsettled, number, size))
        values, moved = self._walks(unsettled, number, size)
        unsettled.movers = unsettled.movers | moved
        return values

    def _sample(
        self,
        unsettled: _Rows,
        progress: Progress,
        *,
        designs: bool = False,
        rounds: Rounds | None = None,
        first: Floats | None = None,
    ) -> None:
        """Sample until the errors of every value of a row are small, by draws counted
        from the row's key.

        ``first``: the walks of the first round.
        """
        self.ways.add(DESIGNS if designs else ORDERS)
        count = len(self.sampled)
        round_size, least, most_rounds = rounds or self.rounds
        around = rounds is None and round_size % count == 0
        is_incomplete = rounds is not None or self.calibration is not None
        backgrounds = count if around else 1
        strata = Strata((len(unsettled.rows), backgrounds, *self.values.shape[1:]))
        for number in range(most_rounds):
            if designs:
                sample = self._by_designs(
                    unsettled, number, round_size, count if around else 0
                )
            elif number == 0 and first is not None:
                sample = first
            else:
                sample = self._by_orders(unsettled, number, round_size)
            row_count = len(unsettled.rows)
            # By row, time round and background row; of each row its walks with each
            # background row.
            laid_out = sample.reshape(row_count, -1, backgrounds, *sample.shape[1:])
            strata.add(laid_out.swapaxes(1, 2))
            # The least number of rounds is most of a row's progress.
            progress.advance(_BEFORE_SETTLED * row_count / least * (number < least))
            if number + 1 < least:
                continue
            settled = self._store_settled(
                unsettled, strata, around=around, is_last=number + 1 == most_rounds
            )
            settled_rows = unsettled.rows[settled]
            if is_incomplete and len(settled_rows):
                self._complete(settled_rows)
            progress.advance((1 - _BEFORE_SETTLED) * len(settled_rows))
            unsettled = unsettled.take(~settled)
            strata.keep(~settled)
            if not len(unsettled.rows):
                break

    def _store_settled(
        self, unsettled: _Rows, strata: Strata, *, around: bool, is_last: bool
    ) -> Booleans:
        """Store the values of rows whose errors are small, or of all after the last
        round, and return which these are.
        """
        mean_values, std_errors, freedom = strata.estimate(self.calibration)
        is_small = (std_errors <= self.rule.tolerance * self.scale).all(axis=(1, 2))
        settled = np.asarray(is_small | is_last)
        settled_rows = unsettled.rows[settled]
        moves = (strata.moved() | (self.used & unsettled.active))[settled]
        self.values[settled_rows] = mean_values[settled]
        self.by_orders[settled_rows], _ = moderated(std_errors[settled], freedom, moves)
        if around and self.of_rows:
            std_errors = strata.with_rows(std_errors, self.of_rows, self.calibration)
            freedom = len(self.sampled) - 1
        self.std[settled_rows], self.freedom[settled_rows] = moderated(
            std_errors[settled], freedom, moves
        )
        self.orders[settled_rows] = 2 * strata.count * strata.mean.shape[1]
        return settled

    def _complete(self, rows: Integers) -> None:
        """Divide what the background rows of few walks leave of a row's sum, by the
        squares of the errors.
        """
        missing_sums = (
            self.game.full(rows) - self.nobody[rows] - self.values[rows].sum(axis=1)
        )
        variance = self.std[rows] ** 2
        total = variance.sum(axis=1, keepdims=True)
        self.values[rows] += missing_sums[:, None] * np.divide(
            variance, total, out=np.zeros_like(variance), where=total > 0
        )


def row_bytes(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return the bytes of each row, ``(rows, bytes)``."""
    # Copy even contiguous tensors: with one column, their strides may be anything.
    flat_rows = (
        tensor.detach()
        .cpu()
        .reshape(len(tensor), -1)
        .clone(memory_format=torch.contiguous_format)
    )
    return flat_rows.view(torch.uint8).numpy()


def _spread_donors(
    seed: int, keys: Counters, first: int, walks: int, references: int
) -> Integers:
    """Return the background row of each walk, ``(rows, walks)``: in golden steps, none
    twice before all once.
    """
    step_size = next(
        candidate_step
        for candidate_step in range(max(1, round(0.618 * references)), references + 1)
        if gcd(candidate_step, references) == 1
    )
    start = uniform_integers(seed, ("reference",), keys, references)
    return (
        start[:, None] + (first + np.arange(walks, dtype=np.int64)) * step_size
    ) % references


def prefers_designs(game: ShapleyGame, tree: Tree) -> tuple[bool, Booleans]:
    """Return whether balanced coalitions have the smaller error, and which players were
    seen to change every output.

    Both are played twice for some pairs of background rows, and orders are taken where
    they vary clearly less, as where a coalition is worth something only if certain
    players are all in it; rows explained have no part in it. Balanced coalitions know
    no tree.
    """
    background = len(game.request.donors[0])
    if not tree.free or background < 2:
        return False, np.zeros(tree.players, dtype=bool)
    used_mask = used_players(game)
    if not used_mask.all():
        return False, used_mask
    pilot_rows = generator(game.request.seed, "pilot").permutation(background)[
        : 2 * _PILOT_PAIRS * _PILOTS
    ]
    row_batches = torch.from_numpy(pilot_rows).split(2 * _PILOT_PAIRS)
    variance_sums = np.zeros(2)
    telling = 0
    for number, row_batch in enumerate(
        piece for piece in row_batches if len(piece) > 1
    ):
        pair_variances = _pilot(game, tree, row_batch, number)
        variance_sums += pair_variances.sum(axis=1)
        telling += int((pair_variances > 0).any(axis=0).sum())
        if telling >= _PILOT_PAIRS - 1:
            break
    return bool(variance_sums[1] >= _CLEARLY_LESS * variance_sums[0]), used_mask


def rows_that_prefer_designs(
    game: ShapleyGame, tree: Tree, rows: Integers, keys: Counters, donor: int
) -> Booleans:
    """Return ``prefers_designs`` for each row where there is one background row, with
    separate draws.
    """
    prefers = np.zeros(len(rows), dtype=bool)
    if not tree.free:
        return prefers
    for row_slice in slices(
        len(rows), max(1, _BLOCK_NUMBERS // (8 * game.players * game.width))
    ):
        used_mask = all_used_in(
            game,
            rows[row_slice],
            keys[row_slice],
            np.full((len(rows[row_slice]), 1), donor, dtype=np.int64),
        )
        if used_mask.any():
            counters = (
                keys[row_slice][used_mask, None]
                + (_PILOT_NUMBERS + np.arange(2 * _PILOTS_OF_ROW)).astype(np.uint64)
                * _STRIDE
            )
            receivers = np.repeat(rows[row_slice][used_mask], counters.shape[1])
            varied = _varied(
                game,
                tree,
                receivers,
                np.full((len(receivers), 1), donor),
                counters.reshape(-1),
            )
            designs, orders = varied.reshape(2, -1, _PILOTS_OF_ROW).sum(axis=2)
            prefers[np.flatnonzero(used_mask) + row_slice.start] = (
                orders >= _CLEARLY_LESS * designs
            )
    return prefers


def _pilot(
    game: ShapleyGame, tree: Tree, pilot_rows: torch.Tensor, number: int
) -> Floats:
    """Return the variance of designs and of orders for pairs of some background rows,
    ``(2, pairs)``.
    """
    donor_tensors = tuple(
        tensor[pilot_rows.to(tensor.device)] for tensor in game.request.donors
    )
    pilot = game.same(
        replace(game.request, inputs=donor_tensors, donors=donor_tensors), "output"
    )
    receivers = np.repeat(np.arange(len(pilot_rows) // 2, dtype=np.int64), 2)
    counters = np.arange(len(receivers), dtype=np.uint64) + np.uint64(
        number * len(receivers)
    )
    varied = _varied(
        pilot, tree, receivers, (len(pilot_rows) - 1 - receivers)[:, None], counters
    )
    game.evaluations += pilot.evaluations
    return varied


def _varied(
    game: ShapleyGame, tree: Tree, rows: Integers, donors: Integers, counters: Counters
) -> Floats:
    """Return the squared differences of neighbouring samples of both kinds, ``(2,
    samples / 2)``: each pair twice.
    """
    uniform_draws = uniform(game.request.seed, ("pilot",), counters)
    samples = np.stack(
        [
            solve(game, rows, donors, counters, uniform_draws),
            walk(game, tree, rows, donors, counters),
        ]
    )
    twice = samples.reshape(2, -1, 2, *samples.shape[2:])
    return ((twice[:, :, 0] - twice[:, :, 1]) ** 2).sum(axis=(2, 3))


def _sizes(seed: int, keys: Counters, numbers: Integers, references: int) -> Floats:
    """Return where on [0, 1) the sizes of designs lie, ``(rows, designs)``: more evenly
    than chance.

    ``references``: how many background rows are used in turn, each with even sizes; 0
    where they are not.
    """
    start = uniform(seed, ("design size",), keys)[:, None]
    if references:
        along = numbers % references * GOLDEN + numbers // references * SILVER
    else:
        along = numbers * GOLDEN
    return (start + along) % 1.0
