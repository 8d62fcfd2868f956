"""The players of an explanation: each owns positions of a network's inputs, and a
coalition is blended into a row.

One class serves the columns of a table, the groups they form, the segments of an image
and modalities. Only the map from position to owner differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from permgrad.base.arrays import Indexes, Integers
from permgrad.base.errors import InputError, did_you_mean, listed, shown
from permgrad.base.sequences import positions_of, values_at

NOBODY = -1


@dataclass(frozen=True)
class PlayerSpace:
    """The players of one explanation.

    Attributes:
        names: Of each player.
        modality: Of each player the names of its inputs, joined by ``+``.
        inputs: The names of the model's inputs.
        segments: For each input the player of each position, −1 of nobody's, in the
            shape of one row.
        groups: The columns of each player that stands for several.
    """

    names: tuple[str, ...]  # of the players
    modality: tuple[str, ...]  # of each player, the input that it belongs to
    inputs: tuple[str, ...]  # one name for each input tensor of the network
    #: for each input an int64 tensor with the input's shape without rows. Every
    #: position holds the index of the player that owns it, or −1: such a position
    #: always keeps the row's own value
    segments: tuple[Tensor, ...]
    groups: dict[str, list[str]] = field(
        default_factory=dict
    )  # for each group its members, if any were declared

    def __len__(self) -> int:
        """Return the number of players."""
        return len(self.names)

    def owners(self, device: torch.device) -> list[Tensor]:
        """Return the player of each position of each input, flat.

        Nobody's number is one above the last player's.
        """
        return [
            segments.to(device).reshape(-1).remainder(len(self.names) + 1)
            for segments in self.segments
        ]

    def sums(self, values: Sequence[Tensor]) -> Tensor:
        """Add up values over each player's positions."""
        count = len(values[0])
        total = torch.zeros(
            count, len(self.names) + 1, dtype=torch.float64, device=values[0].device
        )
        for value, segments in zip(values, self.segments, strict=True):
            flat_segments = (
                segments.to(value.device).reshape(-1).remainder(len(self.names) + 1)
            )
            if len(flat_segments):
                total.index_add_(1, flat_segments, value.reshape(count, -1).to(total))
        return total[:, :-1]

    def sizes(self) -> Integers:
        """Return how many positions each player owns, ``(players,)``."""
        counts = np.zeros(len(self.names) + 1, dtype=np.int64)
        for segments in self.segments:
            counts += np.bincount(
                segments.cpu().numpy().ravel() % (len(self.names) + 1),
                minlength=len(counts),
            )
        return counts[:-1]

    @cached_property
    def columns(self) -> dict[str, Indexes]:
        """The positions of each player in the first input, in rising order."""
        owner = self.segments[0].cpu().numpy().ravel()
        order = np.argsort(owner, kind="stable")
        edges = np.searchsorted(owner[order], np.arange(len(self.names) + 1))
        return {
            player_name: order[edges[index] : edges[index + 1]]
            for index, player_name in enumerate(self.names)
        }

    def member(self, upper: PlayerSpace) -> Indexes:
        """Return, for each player, the index of the player of ``upper`` that it belongs
        to, or −1.
        """
        owner = np.full(len(self.names), NOBODY, dtype=np.intp)
        for own_segments, theirs in zip(self.segments, upper.segments, strict=True):
            lower = own_segments.cpu().numpy().ravel()
            higher = theirs.cpu().numpy().ravel()
            for player in np.unique(lower[lower >= 0]):
                above = np.unique(higher[lower == player])
                if len(above) != 1 or owner[player] not in (NOBODY, above[0]):
                    problem = (
                        f"{self.names[player]!r} spans several players of the "
                        "upper level"
                    )
                    raise InputError(
                        problem,
                        hint="Make its group part of one modality",
                        code="PG039",
                    )
                owner[player] = above[0]
        return owner

    def coarse(
        self,
        owners: Mapping[str, str],
        groups: Mapping[str, list[str]] | None = None,
        first: Sequence[str] = (),
    ) -> PlayerSpace:
        """Join players: each goes to the player named by ``owners``.

        Those not named stay separate.

        A joined player whose members belong to several modalities has these modalities'
        names joined by ``+``. Players named in ``first`` come first, the others follow
        in their order.
        """
        joined = [owners.get(player_name, player_name) for player_name in self.names]
        names = tuple(dict.fromkeys([*first, *joined]))
        index_by_name = positions_of(names)
        table = torch.tensor([*values_at(index_by_name, joined), NOBODY])
        modality: dict[str, dict[str, None]] = {}
        for joined_name in names:
            modality[joined_name] = {}
        for owner_name, player_modality in zip(joined, self.modality, strict=True):
            modality[owner_name][player_modality] = None
        segments = tuple(table[owners_of.cpu()] for owners_of in self.segments)
        return PlayerSpace(
            names,
            tuple(map("+".join, modality.values())),
            self.inputs,
            segments,
            dict(groups or {}),
        )

    def only(self, modality: str) -> PlayerSpace:
        """Return the space of one modality's players.

        All other positions belong to nobody.
        """
        return self.without(
            [
                player_name
                for player_name, player_modality in zip(
                    self.names, self.modality, strict=True
                )
                if player_modality != modality
            ]
        )

    def without(self, held_names: Iterable[str]) -> PlayerSpace:
        """Return the space without some players, whose positions then belong to
        nobody.
        """
        left_out = set(held_names)
        remaining_players = []
        for index, player_name in enumerate(self.names):
            if player_name not in left_out:
                remaining_players.append(index)
        target = torch.full((len(self.names) + 1,), NOBODY, dtype=torch.int64)
        target[torch.as_tensor(remaining_players, dtype=torch.int64)] = torch.arange(
            len(remaining_players)
        )
        segments = tuple(
            target[input_segments.cpu()] for input_segments in self.segments
        )
        names = tuple(values_at(self.names, remaining_players))
        groups = {}
        for group_name, members in self.groups.items():
            if group_name in names:
                groups[group_name] = members
        return PlayerSpace(
            names,
            tuple(values_at(self.modality, remaining_players)),
            self.inputs,
            segments,
            groups,
        )

    def modalities(self) -> PlayerSpace:
        """Return the space whose players are whole modalities."""
        return self.coarse(dict(zip(self.names, self.modality, strict=True)))

    def grouped(
        self,
        groups: Mapping[str, Iterable[str]],
        declared: Mapping[str, str] | None = None,
    ) -> PlayerSpace:
        """Return the space in which every group acts as one player, or refuse the
        groups.

        If players are columns of ``declared`` groups, a member may be either. If a
        group has some columns of a declared one, this one stands for the rest, so that
        no column belongs to two players.
        """
        group_of = (
            dict(zip(self.names, self.names, strict=True))
            if declared is None
            else declared
        )
        member_players = self._parts(group_of)
        remedy = (
            f"Name features: {listed(self.names, show=repr)}"
            if declared is None
            else "Name columns of the table"
        )
        owners: dict[str, str] = {}
        member_groups: dict[str, str] = {}
        members: dict[str, list[str]] = {}
        for group_name, features in groups.items():
            group = str(group_name)
            if not isinstance(features, Iterable):
                problem = (
                    f"Group {group!r} must be a list of features, got {shown(features)}"
                )
                raise InputError(problem, hint="Pass a list of names", code="PG001")
            members[group] = (
                [features] if isinstance(features, str) else list(map(str, features))
            )
            if not members[group]:
                raise InputError(
                    f"Group {group!r} is empty",
                    hint="Name its features, or leave it out",
                    code="PG039",
                )
            for member in members[group]:
                if member not in member_players:
                    problem = (
                        f"Group {group!r} names {member!r}, which is not a "
                        "feature of the model"
                    )
                    raise InputError(
                        problem,
                        hint=_of_joined(member, member_players)
                        or did_you_mean(member, list(member_players), remedy),
                        code="PG039",
                    )
                if (
                    member_groups.setdefault(member, group) != group
                    or members[group].count(member) > 1
                ):
                    problem = (
                        f"Feature {member!r} is in the groups "
                        f"{member_groups[member]!r} and {group!r}"
                    )
                    raise InputError(
                        problem,
                        hint="Name each feature in one group only",
                        code="PG039",
                    )
                for player in member_players[member]:
                    if owners.setdefault(player, group) != group:
                        problem = (
                            f"Columns of {member!r} are in the groups "
                            f"{owners[player]!r} and {group!r}"
                        )
                        raise InputError(
                            problem,
                            hint="Name each feature in one group only",
                            code="PG039",
                        )
        outside = [
            group
            for player, group in group_of.items()
            if player not in owners and group in members
        ]
        if outside:
            problem = f"Group {outside[0]!r} has the name of a feature outside it"
            raise InputError(problem, hint="Rename the group", code="PG008")
        return self.coarse(
            {**group_of, **owners}, members, () if declared is None else tuple(members)
        )

    def in_blocks(self, groups: Mapping[str, Iterable[str]]) -> PlayerSpace:
        """Return the same players with groups as their blocks (Owen 1977).

        Refuses what ``grouped`` refuses.
        """
        upper = self.grouped(groups)
        names = values_at(upper.names, self.member(upper))
        blocks = {}
        for group in upper.groups:
            blocks[group] = [
                player_name
                for player_name, owner_name in zip(self.names, names, strict=True)
                if owner_name == group
            ]
        return replace(self, groups=blocks)

    def _parts(self, group_of: Mapping[str, str]) -> dict[str, list[str]]:
        """Return the players behind each name that a group's member may be: a player, a
        declared group or an input.
        """
        players_by_member = {
            player_name: [player_name] for player_name in self.names
        } | {group: [] for group in group_of.values()}
        for player, group in group_of.items():
            players_by_member[group].append(player)
        inputs: dict[str, list[str]] = {}
        for input_player, modality in zip(self.names, self.modality, strict=True):
            inputs.setdefault(modality, []).append(input_player)
        return inputs | players_by_member


def _of_joined(member: str, names: Iterable[str]) -> str:
    """Return what helps where a group names one input's part of a feature of
    several.
    """
    joined = next((name for name in names if member in name.split("+")), "")
    if not joined:
        return ""
    box = joined.split("+")[0].partition("[")[0]
    cut = f'pg.Model(..., segments={{"{box}": "tokens"}})'
    return f"Name {joined!r}, which changes as one, or pass {cut}, which parts it"
