"""Shapley values of rows from balanced coalitions; the mathematics stands in ``designs``.

Each sample takes one row and the donors that stand in for players who are not in a coalition, plays a design whose
players are shuffled, and solves it. A player that is the same in the row and in all its donors takes no part, which
makes the design smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from permgrad.attribution.method.shapley.designs import drawn_size, make_design
from permgrad.attribution.method.shapley.game import ShapleyGame, slices
from permgrad.attribution.method.shapley.grid import CoalitionGrid
from permgrad.attribution.method.shapley.owen import places
from permgrad.base.random import generator, uniform

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Counters = npt.NDArray[np.uint64]

#: Numbers of the matrices that are held at once.
_NUMBERS = 2**22
#: Trials for each player, first of all and then of those who changed nothing yet.
_TRIALS = (2, 14)


@dataclass(frozen=True)
class _Laid:
    """Coalitions of samples with equally many players that take part.

    Attributes:
        samples: their numbers.
        active: how many players take part.
        sizes: which of ``weights`` is each sample's, ``(samples,)``.
        weights: of the designs met here, ``(designs, active, coalitions)``.
        kept: ``(samples × 2 × coalitions, players)``: the coalitions of each sample, then their complements.
    """

    samples: Integers
    active: int
    sizes: Integers
    weights: Floats
    kept: Booleans

    @property
    def coalitions(self) -> int:
        """Predictions for each sample and donor."""
        return 2 * int(self.weights.shape[2])


def solve(game: ShapleyGame, rows: Integers, donors: Integers, counters: Counters, place: Floats) -> Floats:
    """Return each player's value from one design, ``(samples, players, V)``; their sum is exact.

    Args:
        game: what coalitions are worth.
        rows: receiver of each sample, ``(samples,)``.
        donors: donors of each sample, ``(samples, donors)``.
        counters: number of each sample; how it shuffles the players depends on the seed and this number alone.
        place: numbers in [0, 1), from which the sizes of the coalitions follow, ``(samples,)``.
    """
    values = np.empty((len(rows), game.players, game.measure.width))
    for part in slices(len(rows), max(1, _NUMBERS // max(1, game.players**2))):
        values[part] = _solve(game, rows[part], donors[part], counters[part], place[part])
    return values


def _solve(game: ShapleyGame, rows: Integers, donors: Integers, counters: Counters, place: Floats) -> Floats:
    players = game.players
    active = game.differs(rows, donors)
    count = active.sum(axis=1)
    total = game.full(rows) - game.empty(rows, donors)
    with np.errstate(over="ignore"):
        numbered = counters[:, None] * np.uint64(players) + np.arange(players, dtype=np.uint64)
    # Those who take no part come last.
    ranks = places(np.where(active, uniform(game.request.seed, ("design",), numbered), 2.0))
    values = np.where(active[..., None], (total / np.maximum(count, 1)[:, None])[:, None], 0.0)
    laid = list(_lay_out(active, ranks, count, place))
    if laid:
        keeps = laid[0].kept if len(laid) == 1 else np.concatenate([some.kept for some in laid])
        repeated = np.concatenate([np.repeat(some.samples, some.coalitions) for some in laid])
        worth = game.values(rows[repeated], donors[repeated], keeps[:, None])[:, 0]
        start = 0
        for some in laid:
            stop = start + len(some.kept)
            _share_out(some, worth[start:stop], ranks, values)
            start = stop
    return values


def _lay_out(active: Booleans, ranks: Integers, count: Integers, place: Floats) -> Iterator[_Laid]:
    """Yield the coalitions of samples with equally many players that take part, at least two."""
    for number in np.unique(count[count > 1]).tolist():
        samples = np.flatnonzero(count == number)
        sizes, which = np.unique(drawn_size(number, place[samples]), return_inverse=True)
        designs = [make_design(number, int(size)) for size in sizes]
        width = designs[0].sets.shape[0]
        # Whose place is the last one takes no part: in no coalition, where nothing depends on it.
        table = np.zeros((len(designs), number + 1, 2 * width), dtype=bool)
        for row, design in zip(table, designs, strict=True):
            row[:number, :width], row[:number, width:] = design.sets.T, ~design.sets.T
        whose = np.minimum(ranks[samples], number) + which[:, None] * (number + 1)
        held = table.reshape(-1, 2 * width).take(whose.reshape(-1), axis=0)
        keeps = held.reshape(len(samples), -1, 2 * width).transpose(0, 2, 1).reshape(-1, active.shape[1])
        yield _Laid(samples, number, which, np.stack([design.weights for design in designs]), keeps)


def _share_out(laid: _Laid, worth: Floats, ranks: Integers, values: Floats) -> None:
    """Add what each player has beyond an equal share."""
    half = laid.coalitions // 2
    sides = worth.reshape(len(laid.samples), 2, half, -1)
    solved = laid.weights[laid.sizes] @ ((sides[:, 0] - sides[:, 1]) / 2)
    # Nobody whose place is beyond the last takes part.
    padded = np.concatenate([solved, np.zeros_like(solved[:, :1])], axis=1)
    places_of = np.minimum(ranks[laid.samples], laid.active)
    values[laid.samples] += np.take_along_axis(padded, places_of[..., None], axis=1)


# ---- players that change nothing -------------------------------------------------------------------------------------


def all_used(game: ShapleyGame) -> bool:
    """Return whether every player was seen to change every output, in a few trials between background rows.

    A design mixes the players' contributions, so that one who adds nothing to any coalition would have a value near 0
    and not 0, where a step of an order is 0 exactly.

    Args:
        game: what coalitions are worth, with two background rows or more; its measure must not depend on the row.
    """
    grid = CoalitionGrid(replace(game.request, inputs=game.request.donors))
    rng, background = generator(game.request.seed, "used"), len(game.request.donors[0])

    def play(row: Integers, player: Integers, _trials: int) -> Floats:
        first = rng.integers(0, background, len(player))
        second = (first + rng.integers(1, background, len(player))) % background
        both = _with_and_without(player, rng.random(len(player)), rng.random((len(player), game.players)))
        outputs = grid.outputs(first, second[:, None], both)
        return game.measure(outputs.flatten(0, 1), np.repeat(row, 2)).reshape(len(player), 2, -1)

    used = _seen(np.ones((1, game.players), dtype=bool), game.rounding(np.zeros(1, dtype=np.int64), 1), play)
    game.count(grid.evaluations)
    return bool(used[0])


def all_used_in(game: ShapleyGame, rows: Integers, keys: Counters, donors: Integers) -> Booleans:
    """Return ``all_used`` for each row, where there is a single donor, so that only the row itself can tell.

    Args:
        game: what coalitions are worth.
        rows: receivers, ``(n,)``.
        keys: one number for each row from which its draws are counted.
        donors: donors of each, ``(n, 1)``.
    """

    def play(row: Integers, player: Integers, trials: int) -> Floats:
        with np.errstate(over="ignore"):
            start = keys[row] + (player * trials + np.arange(len(player)) % trials).astype(np.uint64)
            numbered = start[:, None] * np.uint64(game.players + 1) + np.arange(game.players + 1, dtype=np.uint64)
        drawn = uniform(game.request.seed, ("used", trials), numbered)
        return game.values(rows[row], donors[row], _with_and_without(player, drawn[:, 0], drawn[:, 1:]))

    return _seen(game.differs(rows, donors), game.rounding(rows, 1), play)


def _seen(doubted: Booleans, rounding: Floats, play: Callable[[Integers, Integers, int], Floats]) -> Booleans:
    """Return for each row whether every player in doubt was seen to change every output, ``(rows,)``.

    Args:
        doubted: players that might change nothing, ``(rows, players)``; changed.
        rounding: what a step must exceed, ``(rows, V)``.
        play: what a coalition without and with a player is worth, ``(trials, 2, V)``, for rows and players
            ``(trials,)``, each given in as many trials as its third argument says.
    """
    for trials in _TRIALS:
        row, player = np.nonzero(doubted)
        for part in slices(len(row), max(1, _NUMBERS // (trials * (doubted.shape[1] + 1)))):
            which, whose = np.repeat(row[part], trials), np.repeat(player[part], trials)
            steps = np.abs(np.diff(play(which, whose, trials), axis=1))[:, 0]
            moved = np.asarray(steps > rounding[which]).reshape(-1, trials, steps.shape[1])
            doubted[row[part], player[part]] = ~moved.any(axis=1).all(axis=-1)
    used: Booleans = np.logical_not(doubted.any(axis=1))
    return used


def _with_and_without(player: Integers | int, size: Floats, keys: Floats) -> Booleans:
    """Return a coalition without a player and the same with it, ``(trials, 2, players)``: sizes are spread evenly."""
    both = np.repeat((keys < size[:, None])[:, None], 2, axis=1)
    trials = np.arange(len(both))
    both[trials, 0, player], both[trials, 1, player] = False, True
    return both
