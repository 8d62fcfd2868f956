"""Columns that act as one: groups that the user declares, and one-hot blocks that look
like one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from permgrad.base.errors import InputError, did_you_mean, shown
from permgrad.base.sequences import positions_of
from permgrad.base.stored import read_user_json

#: Where a run proposes groups, in its folder.
PROPOSED = "explanations/groups.json"


def check_groups(
    groups: Mapping[str, Sequence[str]] | None, names: Sequence[str]
) -> dict[str, list[str]]:
    """Return the declared groups with their raw columns in order."""
    if groups is not None and not is_blocks(groups):
        problem = (
            "groups must be a mapping of group to a list of columns, got "
            f"{shown(groups)}"
        )
        raise InputError(
            problem,
            hint="Pass for example groups={'size': ['width', 'height']}.",
            code="PG001",
        )
    column_positions = positions_of(names)
    spelled: dict[str, list[str]] = {}
    for group, members in (
        (str(group_name), members) for group_name, members in (groups or {}).items()
    ):
        if isinstance(members, str):
            columns = [members]
        else:
            columns = list(map(str, members))
        if unknown_columns := [
            column for column in columns if column not in column_positions
        ]:
            problem = f"Column {unknown_columns[0]!r} of group {group!r} not found"
            raise InputError(
                problem,
                hint=did_you_mean(unknown_columns[0], names, "Correct the name."),
                code="PG012",
            )
        if not columns:
            raise InputError(
                f"Group {group!r} is empty",
                hint="Add columns or remove it.",
                code="PG039",
            )
        if group in column_positions and group not in columns:
            problem = f"Group {group!r} has the name of a column outside it"
            raise InputError(problem, hint="Rename the group.", code="PG008")
        spelled[group] = sorted(columns, key=column_positions.__getitem__)
    _check_owners(spelled)
    return spelled


def is_blocks(value: Any) -> bool:
    """Return whether a value maps names to columns.

    Sets (no order) and iterators (used once) are refused.
    """
    return isinstance(value, Mapping) and all(
        isinstance(columns, Iterable)
        and not isinstance(columns, (bytes, AbstractSet, Mapping, Iterator))
        for columns in value.values()
    )


def _check_owners(groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse a column in two groups, or twice in one."""
    owner: dict[str, str] = {}
    for group, columns in groups.items():
        for column in columns:
            if column in owner:
                problem = (
                    f"Column {column!r} is listed in two groups, "
                    f"{owner[column]!r} and {group!r}"
                )
                raise InputError(problem, hint="List it once.", code="PG039")
            owner[column] = group


def read_groups(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read groups from a JSON file, ``{"group": ["column", …]}``."""
    groups = read_user_json(path, "the groups file")
    if not isinstance(groups, dict) or not all(
        isinstance(columns, list)
        and all(isinstance(column_name, str) for column_name in columns)
        for columns in groups.values()
    ):
        raise InputError(
            f"The groups file {path} must be a mapping",
            'Write {"group": ["column", …]}.',
            "PG011",
        )
    _check_owners(groups)
    if not groups:
        raise InputError(
            f"The groups file {path} names no group",
            hint="Add one, or leave --groups out.",
            code="PG039",
        )
    return groups
