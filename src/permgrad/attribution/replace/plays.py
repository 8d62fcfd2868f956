"""What is played: which players are replaced in which channels, and how effects of coalitions become quantities.

A *play* is a mask, coalitions × players × channels, and a matrix: every quantity that is kept is a fixed linear
combination of the effects Δ_S of coalitions. A network as it is has one channel; a hybrid network shows a raw column in
two, the table and the image, in which it can be replaced apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from permgrad.attribution.method.shapley.owen import Tree
from permgrad.attribution.players.space import PlayerSpace
from permgrad.base.random import generator

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

#: Most modalities for which all coalitions are played.
EXACT_PLAYERS = 12
#: The whole game among the names of its players; no input can have this name.
TOTAL = "\0total"


@dataclass(frozen=True)
class Play:
    """What is played for one player, or for all of them at once."""

    key: str  # of the donor stream: players with the same key meet the same donors
    names: tuple[str, ...]  # of the players that the results belong to
    players: Integers  # positions in the space of the players that the mask speaks of, ``(players,)``
    mask: Booleans  # who is replaced where, bool ``(coalitions, players, channels)``
    combine: Floats  # ``(names, quantities, coalitions)``: how effects of coalitions become quantities
    #: for each coalition the smaller ones that it contains; empty: none is looked at
    within: tuple[tuple[int, ...], ...] = ()
    #: for each name ``(steps, 2)``: the coalitions with and without the player (−1: nobody is replaced). A row whose
    #: output none of the steps changes has effects of exactly 0, not sums of rounding
    steps: tuple[Integers, ...] = ()


@dataclass(frozen=True)
class Plays:
    """All that a method plays."""

    names: tuple[str, ...]  # of the quantities; the first is the importance
    plays: tuple[Play, ...]  # one for each player that owns a position, or one for all
    fixed: tuple[Tensor, ...] | None = None  # what replaces in the place of donors, ``(1, *)`` per input; None: donors
    facts: dict[str, Any] = field(default_factory=dict)  # for the explanation's ``meta``

    @property
    def coalitions(self) -> int:
        """Predictions for each pair of a row and a donor."""
        return len(self.plays[0].mask) if self.plays else 0


def single_plays(space: PlayerSpace, paths: Sequence[str] = (), through: Sequence[str] | None = None) -> Plays:
    """Return the plays in which each player is replaced by itself: its total effect."""
    channels = np.array([[path in (paths if through is None else through) for path in paths] or [True]])
    return Plays(("total",), _for_each(space, channels, np.ones((1, 1, 1))))


def path_plays(space: PlayerSpace, paths: Sequence[str]) -> Plays:
    """Return the path game of each player: its total effect, and the two-player Shapley shares of the paths.

    φ_tab = ½[Δ_tab + (Δ_both − Δ_img)], φ_img alike; interaction = Δ_both − Δ_tab − Δ_img.
    """
    if len(paths) == 1:
        return Plays(("total", paths[0]), _for_each(space, np.array([[True]]), np.ones((1, 2, 1))))
    channels = np.array([[True, False], [False, True], [True, True]])
    return Plays(
        ("total", *paths, "interaction"),
        _for_each(space, channels, SHARES[None], within=((), (), (0, 1))),
    )


#: Total effect, both shares and interaction from Δ_first, Δ_second and Δ_both.
SHARES = np.array([[0.0, 0.0, 1.0], [0.5, -0.5, 0.5], [-0.5, 0.5, 0.5], [-1.0, -1.0, 1.0]])


def _for_each(
    space: PlayerSpace, channels: Booleans, combine: Floats, within: tuple[tuple[int, ...], ...] = ()
) -> tuple[Play, ...]:
    """Return the same play for each player that owns a position, in the channels of each coalition."""
    sizes = space.sizes()
    return tuple(
        Play(name, (name,), np.array([index]), channels[:, None, :], combine, within)
        for index, name in enumerate(space.names)
        if sizes[index]
    )


def plays_beside_others(space: PlayerSpace) -> Plays:
    """Return each player's total effect, and its effect while all *other* modalities are replaced as well."""
    everyone, modality = np.arange(len(space)), np.array(space.modality)
    combine = np.array([[[1.0, 0.0, 0.0], [0.0, -1.0, 1.0]]])
    plays = []
    for index, name in enumerate(space.names):
        elsewhere, alone = modality != modality[index], everyone == index
        mask = np.stack([alone, elsewhere, elsewhere | alone])[..., None]
        plays.append(Play(name, (name,), everyone, mask, combine, within=((), (), (1,))))
    return Plays(("total", "others_replaced"), tuple(plays))


def shapley_plays(space: PlayerSpace, seed: int) -> Plays:
    """Return the game of all players at once: the Shapley value of S ↦ Δ_S, and each player's effect alone and last.

    φ_j = Σ_S |S|! (n − |S| − 1)! / n! (Δ_{S ∪ j} − Δ_S); exact up to ``EXACT_PLAYERS`` players, above them the mean
    over sampled permutations with their reverses.
    """
    count = len(space)
    coalitions, values = _all_coalitions(count) if count <= EXACT_PLAYERS else _sampled_coalitions(seed, count)
    combine = np.zeros((count, 3, len(coalitions)))
    combine[:, 0] = values
    sizes = coalitions.sum(axis=1)
    for player in range(count):
        combine[player, 1, coalitions[:, player] & (sizes == 1)] = 1.0
        combine[player, 2, sizes == count] = 1.0
        combine[player, 2, ~coalitions[:, player] & (sizes == count - 1)] = -1.0
    steps = tuple(_steps(coalitions, player) for player in range(count))
    play = Play("modalities", space.names, np.arange(count), coalitions[..., None], combine, steps=steps)
    return Plays(("total", "alone", "last"), (play,))


def with_total(plays: Plays) -> Plays:
    """Return the game of all players with one more name: ``TOTAL``, the effect of replacing all of them."""
    (play,) = plays.plays
    everybody = play.mask.all(axis=(1, 2))
    total = np.zeros((1, *play.combine.shape[1:]))
    total[0, 0, everybody] = 1.0
    return replace(
        plays,
        plays=(
            replace(
                play,
                names=(*play.names, TOTAL),
                combine=np.concatenate([play.combine, total]),
                steps=(*play.steps, np.array([[int(everybody.argmax()), -1]])),
            ),
        ),
    )


def _all_coalitions(count: int) -> tuple[Booleans, Floats]:
    """Return all coalitions but nobody, and their weights in each player's Shapley value."""
    exact = Tree.flat(count).coalitions()
    somebody = exact.kept.any(axis=1)
    return exact.kept[somebody], exact.weights[:, somebody]


def _sampled_coalitions(seed: int, count: int, permutations: int = 128) -> tuple[Booleans, Floats]:
    """Return the coalitions that sampled permutations and their reverses meet, with their weights; singles too."""
    rng = generator(seed, "modality permutations")
    weights: dict[bytes, Floats] = {}

    def add(row: Booleans, player: int, weight: float) -> None:
        if row.any():
            weights.setdefault(row.tobytes(), np.zeros(count))[player] += weight

    for _ in range(permutations):
        order = rng.permutation(count)
        for walk in (order, order[::-1]):
            row = np.zeros(count, dtype=bool)
            for player in walk.tolist():
                add(row, player, -0.5 / permutations)
                row[player] = True
                add(row, player, 0.5 / permutations)
    for player in range(count):
        for edge in (np.arange(count) == player, np.arange(count) != player):
            weights.setdefault(edge.tobytes(), np.zeros(count))
    return np.stack([np.frombuffer(key, dtype=bool) for key in weights]), np.stack(list(weights.values()), axis=1)


def _steps(coalitions: Booleans, player: int) -> Integers:
    """Return every pair of coalitions that differ in one player alone."""
    position = {row.tobytes(): index for index, row in enumerate(coalitions)}
    steps = []
    for index in np.flatnonzero(coalitions[:, player]):
        without = coalitions[index].copy()
        without[player] = False
        before = position.get(without.tobytes(), None if without.any() else -1)
        if before is not None:
            steps.append((index, before))
    return np.array(steps, dtype=np.int64)
