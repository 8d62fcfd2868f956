"""The features of an encoder's columns: raw columns, what dates say, groups, or kinds
of columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.scopes import Level
from permgrad.base.sequences import values_at
from permgrad.data.kinds.column import modalities


class _Players(NamedTuple):
    """The encoded columns of each player, and the modality of each."""

    columns: dict[str, Any]
    modality: tuple[str, ...]


def table_space(encoder: Any, call: MethodCall) -> PlayerSpace:
    """Return the players of an encoder's columns.

    Args:
        encoder: A fitted encoder.
        call: What is asked: which level, groups and blocks.

    Raises:
        InputError: A group or block has a column that the table does not have.
    """
    level = call.arguments.level
    players = _table_players(encoder, level)
    groups = None
    if level.of_groups:
        players = _players_of_parts(encoder, players)
        groups = _with_parts(encoder, call.arguments.groups)
    owner = torch.full((len(encoder.encoded_names_),), NOBODY, dtype=torch.int64)
    for player_index, columns in enumerate(players.columns.values()):
        owner[torch.as_tensor(columns, dtype=torch.int64)] = player_index
    space = PlayerSpace(tuple(players.columns), players.modality, ("table",), (owner,))
    blocks = call.options.get("blocks")
    if isinstance(blocks, Mapping):
        return space.in_blocks(blocks)
    if groups is None:
        return space
    group_of_column: dict[str, str] = {}
    for group_name, columns in encoder.groups_.items():
        group_of_column |= dict.fromkeys(columns, group_name)
    declared = {}
    for column in space.names:
        declared[column] = group_of_column.get(column, column)
    return space.grouped(groups, declared)


def _players_of_parts(encoder: Any, players: _Players) -> _Players:
    """Return the players with all that a date says as one player each: those are
    features outside groups, too.
    """
    columns: dict[str, Any] = {}
    modality: list[str] = []
    for (player_name, player_columns), player_modality in zip(
        players.columns.items(), players.modality, strict=True
    ):
        date_parts = encoder.parts_by_name(player_name) or {player_name: player_columns}
        columns |= date_parts
        modality += [player_modality] * len(date_parts)
    return _Players(columns, tuple(modality))


def _with_parts(encoder: Any, groups: Any) -> Any:
    """Return groups in which a date stands for all that it says.

    What is no mapping of lists is refused later.
    """
    if not encoder.date_parts_ or not isinstance(groups, Mapping):
        return groups
    groups_of_parts: dict[str, Any] = {}
    for group_name, members in groups.items():
        if isinstance(members, str):
            groups_of_parts[group_name] = _parts_of(encoder, [members])
        elif isinstance(members, (list, tuple)):
            groups_of_parts[group_name] = _parts_of(encoder, members)
        else:
            groups_of_parts[group_name] = members
    return groups_of_parts


def _parts_of(encoder: Any, members: Iterable[Any]) -> list[Any]:
    """Return the members of a group, and for a date all that it says."""
    group_members = list[Any]()
    for member in members:
        group_members.extend(encoder.parts_by_name(str(member)) or (member,))
    return group_members


def _table_players(encoder: Any, level: Level) -> _Players:
    """Return the players of a level, without groups."""
    kinds = []
    for column_schema in encoder.schema_:
        kinds.append(column_schema.of.modality)
    if level.of_modalities:
        column_modalities = np.array(kinds)[encoder.feature_of_]
        columns_of: dict[str, Any] = {}
        for modality_name in modalities():
            columns = np.flatnonzero(column_modalities == modality_name)
            if len(columns):
                columns_of[modality_name] = columns
        if not columns_of:
            columns_of["table"] = np.arange(0)
        return _Players(columns_of, tuple(columns_of))
    players = dict(encoder.features(level.encoded_as))
    kind_of = dict(zip(encoder.feature_names_in_, kinds, strict=True))
    player_kinds = []
    for player_name in players:
        columns = encoder.raw_columns_of(player_name)
        player_kinds.append("+".join(dict.fromkeys(values_at(kind_of, columns))))
    return _Players(players, tuple(player_kinds))
