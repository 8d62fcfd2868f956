"""Balanced coalitions: sets of players from which the values of one row and one donor
are solved.

A coalition S and its complement are played together: ``O(S) = (v(S) - v(not S)) / 2``
is free of interactions of two players. A player's value among n is ``(v(all) -
v(nobody)) / n`` plus (n - 1) / n times a mean over the sizes k = 1 … n - 1. For each
size it averages the mean of O over coalitions with the player minus the mean over those
without it. A *design* is n coalitions of one size that hold every player equally often,
and the matrix that solves additive games. With shuffled names and an evenly drawn size,
its mean is the Shapley value of any game. NOTE[DIFF]: KernelSHAP (Covert & Lee 2021,
arXiv 2012.01536) solves one regression over all sizes, which is consistent but biased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from permgrad.attribution.method.shapley.shapley_game import ShapleyGame, slices
from permgrad.attribution.players.tree import Counters, Tree, places
from permgrad.attribution.replace.coalitions import Blend
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.random import generator, uniform

#: Up to this number of players, all coalitions together are the design.
_FEW = 4
#: Designs of up to this number of players are stored. Others are made again from their
#: block.
_KEPT_PLAYERS = 64
#: Blocks that are tried for the best cyclic design of a size.
_CANDIDATES = 300


@dataclass(frozen=True)
class BalancedDesign:
    """Coalitions ``(coalitions, players)``.

    ``weights @ O`` are the values minus the equal share.
    """

    sets: Booleans
    weights: Floats


def make_design(players: int, size: int) -> BalancedDesign:
    """Return the design of a size up to half of the players.

    For two to four players it has every coalition.
    """
    if players <= _KEPT_PLAYERS:
        return _kept(players, size)
    return _made(players, size)


def _made(players: int, size: int) -> BalancedDesign:
    if players <= _FEW:
        exact = Tree.flat(players).coalitions()
        # One of each coalition and its complement: those with the first player, except
        # that of all players.
        one_of_two = np.flatnonzero(exact.keeps[:, 0] & ~exact.keeps.all(axis=1))
        return BalancedDesign(exact.keeps[one_of_two], 2 * exact.weights[:, one_of_two])
    if size == 2:
        pair_sets = _cycles(players)
        return BalancedDesign(pair_sets, np.linalg.pinv(pair_sets - size / players))
    # All shifts of one block of players, the best of several.
    block, solution = _best_block(players, size)
    shifts = np.arange(players)[None] - np.arange(players)[:, None]
    return BalancedDesign(block[shifts % players], solution[-shifts % players])


_kept = lru_cache(maxsize=1024)(_made)


def drawn_size(players: int, uniform_draws: Floats) -> Integers:
    """Return the size of each design, from numbers in [0, 1): even over 1 … players −
    1, larger halves folded back.
    """
    design_size = 1 + np.minimum(
        (uniform_draws * (players - 1)).astype(np.int64), players - 2
    )
    return np.minimum(design_size, players - design_size)


@lru_cache(maxsize=4096)
def _best_block(players: int, size: int) -> tuple[Booleans, Floats]:
    """Return a block, and the first column of the circulant matrix that solves for its
    shifts.
    """
    if size == 1:
        blocks = np.eye(1, players, dtype=bool)
    else:
        # Drawn by the same numbers in every call: a design is a constant of its size.
        blocks = (
            generator(0, "design", players, size)
            .random((_CANDIDATES, players))
            .argsort(axis=1)
            < size
        )
    coefficients = np.fft.fft(blocks, axis=1)
    coefficients[:, 0] = np.inf
    error = (1 / np.maximum(np.abs(coefficients), np.finfo(np.float64).eps) ** 2).sum(
        axis=1
    )
    best_index = int(error.argmin())
    return blocks[best_index], np.fft.ifft(1 / coefficients[best_index].conj()).real


def _cycles(players: int) -> Booleans:
    """Return pairs that form triangles and, for what is left, one or two cycles of five
    or seven.
    """
    odd_lengths = {0: [], 1: [5, 5], 2: [5]}[players % 3]
    if players == 7:
        odd_lengths = [7]
    lengths = [3] * ((players - sum(odd_lengths)) // 3) + odd_lengths
    pair_sets = np.zeros((players, players), dtype=bool)
    start = 0
    for length in lengths:
        along = np.arange(length)
        pair_sets[start + along, start + along] = True
        pair_sets[start + along, start + (along + 1) % length] = True
        start += length
    return pair_sets


#: Numbers of the matrices that are held at once.
_NUMBERS = 2**22
#: Trials for each player, first of all and then of those who changed nothing yet.
_TRIALS = (2, 14)


def solve(
    game: ShapleyGame,
    rows: Integers,
    donors: Integers,
    counters: Counters,
    uniform_draws: Floats,
) -> Floats:
    """Return each player's value from one shuffled design, ``(samples, players, V)``,
    sized by ``uniform_draws`` in [0, 1).
    """
    values = np.empty((len(rows), game.players, game.width))
    for sample_slice in slices(len(rows), max(1, _NUMBERS // max(1, game.players**2))):
        values[sample_slice] = _solve(
            game,
            rows[sample_slice],
            donors[sample_slice],
            counters[sample_slice],
            uniform_draws[sample_slice],
        )
    return values


_Laid = tuple[Integers, Integers, Floats, Booleans]


def _laid_out(
    samples: Integers, number: int, ranks: Integers, uniform_draws: Floats
) -> _Laid:
    """Lay out the coalitions of samples in which so many players take part.

    Returned are the samples, whose place in the design each player has, the weights of
    the designs, and the players of each coalition ``(samples, coalitions, players)``.
    """
    sizes, which = np.unique(
        drawn_size(number, uniform_draws[samples]), return_inverse=True
    )
    designs = [make_design(number, int(size)) for size in sizes]
    # Whose place is the last one takes no part: in no coalition, where nothing depends
    # on it.
    table = np.zeros((len(designs), number + 1, 2 * len(designs[0].sets)), dtype=bool)
    table[:, :number] = [
        np.concatenate([design.sets, ~design.sets]).T for design in designs
    ]
    whose = np.minimum(ranks[samples], number)
    in_table = (whose + which[:, None] * (number + 1)).reshape(-1)
    members = table.reshape(-1, table.shape[2]).take(in_table, axis=0)
    keeps = members.reshape(*whose.shape, -1).transpose(0, 2, 1)
    weights = np.stack([design.weights for design in designs])[which]
    return samples, whose, weights, keeps


def _worths(
    game: ShapleyGame, rows: Integers, donors: Integers, laid: Sequence[_Laid]
) -> list[Floats]:
    """Return the worths of the coalitions of each layout, all of them played at
    once.
    """
    repeated = np.concatenate(
        [np.repeat(samples, keeps.shape[1]) for samples, _, _, keeps in laid]
    )
    together = np.concatenate([keeps.reshape(-1, keeps.shape[2]) for *_, keeps in laid])
    worth = game.values(rows[repeated], donors[repeated], together[:, None])[:, 0]
    ends = np.cumsum([keeps.shape[0] * keeps.shape[1] for *_, keeps in laid])
    return np.split(worth, ends[:-1])


def _solve(
    game: ShapleyGame,
    rows: Integers,
    donors: Integers,
    counters: Counters,
    uniform_draws: Floats,
) -> Floats:
    players = game.players
    active = game.differs(rows, donors)
    count = active.sum(axis=1)
    total = game.full(rows) - game.empty(rows, donors)
    with np.errstate(over="ignore"):
        numbered = counters[:, None] * np.uint64(players) + np.arange(
            players, dtype=np.uint64
        )
    # Players that take no part come last.
    ranks = places(
        np.where(active, uniform(game.request.seed, ("design",), numbered), 2.0)
    )
    values = np.where(
        active[..., None], (total / np.maximum(count, 1)[:, None])[:, None], 0.0
    )
    # Samples with equally many players that take part, at least two, are laid out
    # together, and all of them played at once.
    laid = []
    for number in np.unique(count[count > 1]).tolist():
        laid.append(
            _laid_out(np.flatnonzero(count == number), number, ranks, uniform_draws)
        )
    if not laid:
        return values
    worths = _worths(game, rows, donors, laid)
    for (samples, whose, weights, _), sample_worths in zip(laid, worths, strict=True):
        sides = sample_worths.reshape(len(samples), 2, weights.shape[2], -1)
        # What each player has beyond an equal share; nobody whose place is beyond the
        # last takes part.
        solved = weights @ ((sides[:, 0] - sides[:, 1]) / 2)
        padded = np.concatenate([solved, np.zeros_like(solved[:, :1])], axis=1)
        values[samples] += np.take_along_axis(padded, whose[..., None], axis=1)
    return values


def used_players(game: ShapleyGame) -> Booleans:
    """Return which players were seen to change every output, ``(players,)``.

    Designs give an idle player nearly, not quite 0.
    """
    background_blend = Blend(replace(game.request, inputs=game.request.donors))
    rng = generator(game.request.seed, "used")
    background = len(game.request.donors[0])

    def play(row: Integers, player: Integers, _trials: int) -> Floats:
        first = rng.integers(0, background, len(player))
        second = (first + rng.integers(1, background, len(player))) % background
        coalition_pairs = _with_and_without(
            player, rng.random(len(player)), rng.random((len(player), game.players))
        )
        outputs = background_blend.grid(first, second[:, None], coalition_pairs)
        return game.measure(outputs.flatten(0, 1), np.repeat(row, 2)).reshape(
            len(player), 2, -1
        )

    used_mask = _seen(
        np.ones((1, game.players), dtype=bool),
        game.rounding(np.zeros(1, dtype=np.int64), 1),
        play,
    )
    game.evaluations += background_blend.evaluations
    return used_mask[0]


def all_used_in(
    game: ShapleyGame, rows: Integers, keys: Counters, donors: Integers
) -> Booleans:
    """Return for each row whether all players are used, with a single donor: draws are
    counted from a key for each.
    """

    def play(row: Integers, player: Integers, trials: int) -> Floats:
        with np.errstate(over="ignore"):
            start = keys[row] + (
                player * trials + np.arange(len(player)) % trials
            ).astype(np.uint64)
            numbered = start[:, None] * np.uint64(game.players + 1) + np.arange(
                game.players + 1, dtype=np.uint64
            )
        drawn = uniform(game.request.seed, ("used", trials), numbered)
        return game.values(
            rows[row], donors[row], _with_and_without(player, drawn[:, 0], drawn[:, 1:])
        )

    seen_mask = _seen(
        game.differs(rows, donors), game.rounding(rows, 1), play, all_or_none=True
    )
    return np.asarray(seen_mask.all(axis=1))


def _seen(
    doubted: Booleans,
    rounding: Floats,
    play: Callable[[Integers, Integers, int], Floats],
    *,
    all_or_none: bool = False,
) -> Booleans:
    """Return for each row and player, also if not ``doubted``, whether it was seen to
    move what ``play`` gives.

    ``all_or_none``: of a row in which one player is never seen, the others are not
    asked for to the end.
    """

    def ask(row: Integers, player: Integers, trials: int) -> None:
        for pair_slice in slices(
            len(row), max(1, _NUMBERS // (trials * (doubted.shape[1] + 1)))
        ):
            which = np.repeat(row[pair_slice], trials)
            whose = np.repeat(player[pair_slice], trials)
            steps = np.abs(np.diff(play(which, whose, trials), axis=1))[:, 0]
            moved = np.asarray(steps > rounding[which]).reshape(
                -1, trials, steps.shape[1]
            )
            doubted[row[pair_slice], player[pair_slice]] = ~moved.any(axis=1).all(
                axis=-1
            )

    for trials in _TRIALS:
        row_indices, player = np.nonzero(doubted)
        if not (all_or_none and trials == _TRIALS[-1]):
            ask(row_indices, player, trials)
            continue
        # Of each row one player, then two, four and so on, until one was not seen.
        waves = np.log2(
            np.arange(len(row_indices)) - np.searchsorted(row_indices, row_indices) + 1
        ).astype(np.int64)
        for wave_number in range(int(waves.max(initial=-1)) + 1):
            asked_mask = (waves == wave_number) & ~np.isin(
                row_indices,
                row_indices[(waves < wave_number) & doubted[row_indices, player]],
            )
            ask(row_indices[asked_mask], player[asked_mask], trials)
    return np.logical_not(doubted)


def _with_and_without(player: Integers | int, size: Floats, keys: Floats) -> Booleans:
    """Return a coalition without a player and the same with it, ``(trials, 2,
    players)``: sizes are spread evenly.
    """
    coalition_pairs = np.repeat((keys < size[:, None])[:, None], 2, axis=1)
    trials = np.arange(len(coalition_pairs))
    coalition_pairs[trials, 0, player] = False
    coalition_pairs[trials, 1, player] = True
    return coalition_pairs
