"""Shapley values of rows from balanced coalitions (``designs``), whose players are shuffled in each sample.

A player that is the same in the row and in all its donors takes no part, which makes the design smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from permgrad.attribution.method.shapley.designs import drawn_size, make_design
from permgrad.attribution.method.shapley.game import ShapleyGame, slices
from permgrad.attribution.method.shapley.grid import CoalitionGrid
from permgrad.attribution.method.shapley.owen import Booleans, Counters, Floats, Integers, places
from permgrad.base.random import generator, uniform

#: Numbers of the matrices that are held at once.
_NUMBERS = 2**22
#: Trials for each player, first of all and then of those who changed nothing yet.
_TRIALS = (2, 14)


def solve(game: ShapleyGame, rows: Integers, donors: Integers, counters: Counters, place: Floats) -> Floats:
    """Return each player's value from one design, ``(samples, players, V)``; their sum is exact.

    A sample has a receiver, donors ``(samples, donors)`` and a number, on which and on the seed alone depends how it
    shuffles the players; the sizes of its coalitions follow from ``place`` in [0, 1).
    """
    values = np.empty((len(rows), game.players, game.width))
    for part in slices(len(rows), max(1, _NUMBERS // max(1, game.players**2))):
        values[part] = _solve(game, rows[part], donors[part], counters[part], place[part])
    return values


def _solve(game: ShapleyGame, rows: Integers, donors: Integers, counters: Counters, place: Floats) -> Floats:
    players, active = game.players, game.differs(rows, donors)
    count = active.sum(axis=1)
    total = game.full(rows) - game.empty(rows, donors)
    with np.errstate(over="ignore"):
        numbered = counters[:, None] * np.uint64(players) + np.arange(players, dtype=np.uint64)
    # Those who take no part come last.
    ranks = places(np.where(active, uniform(game.request.seed, ("design",), numbered), 2.0))
    values = np.where(active[..., None], (total / np.maximum(count, 1)[:, None])[:, None], 0.0)
    # Samples with equally many players that take part, at least two, are laid out together, and all of them played at
    # once.
    laid: list[tuple[Integers, Integers, Floats, Booleans]] = []
    for number in np.unique(count[count > 1]).tolist():
        samples = np.flatnonzero(count == number)
        sizes, which = np.unique(drawn_size(number, place[samples]), return_inverse=True)
        designs = [make_design(number, int(size)) for size in sizes]
        # Whose place is the last one takes no part: in no coalition, where nothing depends on it.
        table = np.zeros((len(designs), number + 1, 2 * len(designs[0].sets)), dtype=bool)
        table[:, :number] = [np.concatenate([design.sets, ~design.sets]).T for design in designs]
        whose = np.minimum(ranks[samples], number)
        held = table.reshape(-1, table.shape[2]).take((whose + which[:, None] * (number + 1)).reshape(-1), axis=0)
        keeps = held.reshape(len(samples), players, -1).transpose(0, 2, 1)
        laid.append((samples, whose, np.stack([design.weights for design in designs])[which], keeps))
    if not laid:
        return values
    repeated = np.concatenate([np.repeat(samples, keeps.shape[1]) for samples, _, _, keeps in laid])
    together = np.concatenate([keeps.reshape(-1, players) for *_, keeps in laid])
    worth = game.values(rows[repeated], donors[repeated], together[:, None])[:, 0]
    ends = np.cumsum([keeps.shape[0] * keeps.shape[1] for *_, keeps in laid])
    for (samples, whose, weights, _), part in zip(laid, np.split(worth, ends[:-1]), strict=True):
        sides = part.reshape(len(samples), 2, weights.shape[2], -1)
        # What each player has beyond an equal share; nobody whose place is beyond the last takes part.
        solved = weights @ ((sides[:, 0] - sides[:, 1]) / 2)
        padded = np.concatenate([solved, np.zeros_like(solved[:, :1])], axis=1)
        values[samples] += np.take_along_axis(padded, whose[..., None], axis=1)
    return values


# ---- players that change nothing -------------------------------------------------------------------------------------


def all_used(game: ShapleyGame) -> bool:
    """Return whether every player was seen to change every output, in a few trials between two or more background rows.

    A design mixes the players' contributions, so that one who adds nothing to any coalition would have a value near 0
    and not 0, where a step of an order is 0 exactly.
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
    game.elsewhere += grid.evaluations
    return bool(used[0])


def all_used_in(game: ShapleyGame, rows: Integers, keys: Counters, donors: Integers) -> Booleans:
    """Return ``all_used`` for each row, where there is a single donor: draws are counted from one key for each row."""

    def play(row: Integers, player: Integers, trials: int) -> Floats:
        with np.errstate(over="ignore"):
            start = keys[row] + (player * trials + np.arange(len(player)) % trials).astype(np.uint64)
            numbered = start[:, None] * np.uint64(game.players + 1) + np.arange(game.players + 1, dtype=np.uint64)
        drawn = uniform(game.request.seed, ("used", trials), numbered)
        return game.values(rows[row], donors[row], _with_and_without(player, drawn[:, 0], drawn[:, 1:]))

    return _seen(game.differs(rows, donors), game.rounding(rows, 1), play)


def _seen(doubted: Booleans, rounding: Floats, play: Callable[[Integers, Integers, int], Floats]) -> Booleans:
    """Return for each row whether every player in doubt ``(rows, players)`` moved more than ``rounding`` ``(rows, V)``.

    ``play`` gives what a coalition without and with a player is worth, ``(trials, 2, V)``, each in so many trials.
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
