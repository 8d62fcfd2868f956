"""Plays: which players are replaced in which channels, and how outputs of coalitions
become quantities.

A *play* is a mask, coalitions × players × channels, and a matrix: every quantity that
is kept is a fixed linear combination of the effects Δ_S of coalitions. A plain network
has one channel. A hybrid network shows a raw column in two, the table and the image, in
which it can be replaced separately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import comb
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.players.tree import Tree
from permgrad.attribution.request import Request
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.sequences import positions_of

#: Measures predictions: ``(outputs (b, K), rows, outputs as they are (b, K)) -> (b,
#: V)``.
Value = Callable[[Tensor, slice | Integers, Tensor], Floats]

#: Most modalities for which all coalitions are played.
EXACT_PLAYERS = 12
#: The whole game among the names of its players. No input can have this name.
TOTAL = "\0total"


@dataclass(frozen=True)
class Play:
    """The coalitions played for one player, or for all of them at once."""

    key: str  # of the donor stream: players with the same key meet the same donors
    names: tuple[str, ...]  # of the players that the results belong to
    # positions in the space of the players that the mask speaks of, ``(players,)``
    players: Integers
    mask: Booleans  # who is replaced where, bool ``(coalitions, players, channels)``
    #: ``(names, quantities, coalitions)``: how effects of coalitions become quantities.
    #: None: of one name, what is measured of each coalition itself
    combine: Floats | None
    within: tuple[
        tuple[int, ...], ...
    ] = ()  # of each coalition the smaller ones in it, if they are looked at
    #: for each name ``(steps, 2)``: the coalitions with and without the player (−1:
    #: nobody is replaced). A row whose output none of the steps changes has effects of
    #: exactly 0, not sums of rounding
    steps: tuple[Integers, ...] = ()

    @property
    def quantities(self) -> int:
        """How many numbers are kept of each name."""
        if self.combine is None:
            return len(self.mask)
        return self.combine.shape[1]


#: Takes a play, outputs ``(coalitions, b, K)``, unchanged outputs ``(b, K)`` and their
#: rows. Returns their effects.
EffectsOf = Callable[[Play, Tensor, Tensor, Integers], Floats]


@dataclass(frozen=True)
class Plays:
    """All plays of a method."""

    names: tuple[str, ...]  # of the quantities, the importance first
    plays: tuple[Play, ...]  # one for each player that owns a position, or one for all
    fixed: tuple[Tensor, ...] | None = (
        None  # a row that replaces instead of donors, ``(1, *)`` per input
    )
    facts: dict[str, Any] = field(
        default_factory=dict
    )  # for the explanation's ``meta``
    joint: bool = False  # whether some players are replaced beside others that are not

    @property
    def coalitions(self) -> int:
        """Predictions for each pair of a row and a donor."""
        if self.plays:
            return len(self.plays[0].mask)
        return 0


# ---- the plays of the methods --------------------------------------------------------
def single_plays(
    space: PlayerSpace, paths: Sequence[str] = (), through: Sequence[str] | None = None
) -> Plays:
    """Return the plays in which each player is replaced by itself: its total effect.

    Args:
        space: The players.
        paths: The channels that a network shows a column in.
        through: Those in which players are replaced. None: in all.
    """
    channels = np.array(
        [
            [
                path_name in (paths if through is None else through)
                for path_name in paths
            ]
            or [True]
        ]
    )
    return Plays(("total",), _for_each(space, channels, np.ones((1, 1, 1))))


def path_plays(space: PlayerSpace, paths: Sequence[str]) -> Plays:
    """Return the path game of each player: its total effect, the Shapley shares of the
    paths, and their interaction.

    Args:
        space: The players.
        paths: The channels that a network shows a column in.
    """
    if len(paths) == 1:
        return Plays(
            ("total", paths[0]),
            _for_each(space, np.array([[True]]), np.ones((1, 2, 1))),
        )
    path_game = PathGame.of(len(paths))
    return Plays(
        ("total", *paths, "interaction"),
        _for_each(space, path_game.channels, path_game.combine[None], path_game.within),
    )


@dataclass(frozen=True)
class PathGame:
    """The game in which paths are replaced: all coalitions of them, and what becomes of
    their effects Δ.

    φ_p = Σ_S |S|! (n − |S| − 1)! / n! (Δ_{S ∪ p} − Δ_S), of two paths φ_tab = ½[Δ_tab +
    (Δ_both − Δ_img)]. The interaction is Δ_all − Σ_p Δ_p.
    """

    channels: Booleans  # ``(coalitions, paths)``, smaller ones first
    # ``(2 + paths, coalitions)``: the total effect, the shares, the interaction
    combine: Floats
    within: tuple[tuple[int, ...], ...]  # for each coalition those with one path less

    @classmethod
    def of(cls, count: int) -> PathGame:
        """Return the game of so many paths."""
        subsets = [
            subset
            for subset_size in range(1, count + 1)
            for subset in combinations(range(count), subset_size)
        ]
        subset_indices = positions_of(subsets)
        channels = np.array(
            [
                [path_index in subset for path_index in range(count)]
                for subset in subsets
            ]
        )
        combine = np.zeros((2 + count, len(subsets)))
        combine[0, -1] = combine[-1, -1] = 1.0
        for current_subset, index in subset_indices.items():
            for current_path in range(count):
                other_count = len(current_subset) - (current_path in current_subset)
                weight = 1 / (count * comb(count - 1, other_count))
                combine[1 + current_path, index] = (
                    weight if current_path in current_subset else -weight
                )
        combine[-1, :count] -= 1.0
        smaller = [tuple(combinations(subset, len(subset) - 1)) for subset in subsets]
        return cls(
            channels,
            combine,
            tuple(
                tuple(
                    subset_indices[smaller_subset]
                    for smaller_subset in smaller_subsets
                    if smaller_subset
                )
                for smaller_subsets in smaller
            ),
        )


def _for_each(
    space: PlayerSpace,
    channels: Booleans,
    combine: Floats,
    within: tuple[tuple[int, ...], ...] = (),
) -> tuple[Play, ...]:
    """Return the same play for each player that owns a position, in the channels of
    each coalition.
    """
    sizes = space.sizes()
    return tuple(
        Play(
            player_name,
            (player_name,),
            np.array([index]),
            channels[:, None, :],
            combine,
            within,
        )
        for index, player_name in enumerate(space.names)
        if sizes[index]
    )


def plays_beside_others(space: PlayerSpace) -> Plays:
    """Return each player's total effect, and its effect while all *other* modalities
    are replaced as well.
    """
    everyone = np.arange(len(space))
    modality = np.array(space.modality)
    combine = np.array([[[1.0, 0.0, 0.0], [0.0, -1.0, 1.0]]])
    plays = []
    for index, player_name in enumerate(space.names):
        elsewhere = modality != modality[index]
        alone = everyone == index
        mask = np.stack([alone, elsewhere, elsewhere | alone])[..., None]
        plays.append(
            Play(
                player_name,
                (player_name,),
                everyone,
                mask,
                combine,
                within=((), (), (1,)),
            )
        )
    return Plays(("total", "others_replaced"), tuple(plays), joint=len(space) > 1)


def shapley_plays(space: PlayerSpace, paths: Sequence[str] = ()) -> Plays:
    """Return the game of all players at once: the Shapley value of S ↦ Δ_S, and each
    player's effect alone and last.

    φ_j = Σ_S |S|! (n − |S| − 1)! / n! (Δ_{S ∪ j} − Δ_S)

    Args:
        space: The players, up to ``EXACT_PLAYERS``.
        paths: The channels that a network shows a column in.
    """
    count = len(space)
    exact = Tree.flat(count).coalitions()
    somebody = exact.keeps.any(axis=1)
    coalitions = exact.keeps[somebody]
    values = exact.weights[:, somebody]
    combine = np.zeros((count, 3, len(coalitions)))
    combine[:, 0] = values
    sizes = coalitions.sum(axis=1)
    for player in range(count):
        combine[player, 1, coalitions[:, player] & (sizes == 1)] = 1.0
        combine[player, 2, sizes == count] = 1.0
        combine[player, 2, ~coalitions[:, player] & (sizes == count - 1)] = -1.0
    # Every pair of coalitions that differ in one player alone, −1 for none.
    position = {
        coalition_row.tobytes(): index for index, coalition_row in enumerate(coalitions)
    } | {bytes(count): -1}
    steps = tuple(
        np.array(
            [
                (
                    index,
                    position[
                        (coalitions[index] & (np.arange(count) != player)).tobytes()
                    ],
                )
                for index in np.flatnonzero(coalitions[:, player])
            ]
        )
        for player in range(count)
    )
    mask = np.repeat(coalitions[..., None], max(len(paths), 1), axis=2)
    joint_play = Play(
        "modalities", space.names, np.arange(count), mask, combine, steps=steps
    )
    return Plays(("total", "alone", "last"), (joint_play,), joint=count > 1)


def with_total(plays: Plays) -> Plays:
    """Return the game of all players with one more name: ``TOTAL``, the effect of
    replacing all of them.
    """
    (play,) = plays.plays
    assert play.combine is not None
    everybody = play.mask.all(axis=(1, 2))
    total = np.zeros((1, *play.combine.shape[1:]))
    total[0, 0, everybody] = 1.0
    combine = np.concatenate([play.combine, total])
    steps = (*play.steps, np.array([[int(everybody.argmax()), -1]]))
    return replace(
        plays,
        plays=(
            replace(play, names=(*play.names, TOTAL), combine=combine, steps=steps),
        ),
    )


@runtime_checkable
class LossGame(Protocol):
    """A method whose global importance is one game over (row, donor) pairs, so that
    sums of parts can be merged.
    """

    def game(self, request: Request) -> tuple[Request, Plays]:
        """Return the request to play, and its plays.

        Args:
            request: The call, which may get other rows or options for the game.
        """
        ...


def loss_game(method: Any) -> LossGame | None:
    """Return the method if its global importance is a loss game, else None."""
    if isinstance(type(method), LossGame):
        game: LossGame = method
        return game
    return None
