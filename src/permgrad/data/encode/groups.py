"""Columns that act as one: one-hot blocks that are a single variable, and groups that the user declares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from permgrad.base.errors import InputError, did_you_mean, shown
from permgrad.base.stored import read_user_json


def check_blocks(
    blocks: Mapping[str, Sequence[str]] | None,
    names: Sequence[str],
    what: str,
    variables: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, list[str]]:
    """Spell out ``what`` was declared (variables, or groups, which may name ``variables``) as raw columns in order."""
    if blocks is not None and not is_blocks(blocks):
        problem = f"{what}s must be a mapping of {what} to a list of columns, got {shown(blocks)}"
        raise InputError(problem, hint=f"Pass for example {what}s={{'size': ['width', 'height']}}.", code="PG001")
    if not blocks:
        return {}
    variables = variables or {}
    place = {name: i for i, name in enumerate(names)}
    spelled: dict[str, list[str]] = {}
    for block, members in ((str(name), members) for name, members in blocks.items()):
        listed = [members] if isinstance(members, str) else map(str, members)
        columns = [
            column for member in listed for column in ([member] if member in place else variables.get(member, [member]))
        ]
        if odd := [column for column in columns if column not in place]:
            problem = f"Column {odd[0]!r} of {what} {block!r} not found"
            raise InputError(problem, hint=did_you_mean(odd[0], names, "Correct the name."), code="PG012")
        if not columns:
            raise InputError(f"{what.capitalize()} {block!r} is empty", hint="Add columns or remove it.", code="PG039")
        if block in place and block not in columns:
            problem = f"{what.capitalize()} {block!r} has the name of a column outside it"
            raise InputError(problem, hint=f"Rename the {what}.", code="PG008")
        spelled[block] = sorted(columns, key=place.__getitem__)
    owner = _owners(spelled, what)
    _check_variables(spelled, owner, variables)
    return spelled


def _check_variables(
    spelled: Mapping[str, list[str]], owner: Mapping[str, str], variables: Mapping[str, Sequence[str]]
) -> None:
    """Refuse groups that split a variable, or have the name of another."""
    for variable, parts in variables.items():
        if len({owner.get(column) for column in parts}) > 1:
            problem = f"A group must hold all columns of variable {variable!r} or none"
            raise InputError(problem, hint=f"List {variable!r} instead of its columns.", code="PG039")
        if variable in spelled and set(spelled[variable]) != set(parts):
            raise InputError(f"Group {variable!r} has the name of a variable", hint="Rename the group.", code="PG008")


def is_blocks(value: Any) -> bool:
    """Return whether a value maps names to columns. Sets (no order) and iterators (used once) are refused."""
    return isinstance(value, Mapping) and all(
        isinstance(columns, Iterable) and not isinstance(columns, (bytes, AbstractSet, Mapping, Iterator))
        for columns in value.values()
    )


def _owners(blocks: Mapping[str, Sequence[str]], what: str) -> dict[str, str]:
    """Return the block of each column. Refuse a column in two of them."""
    owner: dict[str, str] = {}
    for block, columns in blocks.items():
        for column in columns:
            if column in owner:
                problem = f"Column {column!r} is listed in two {what}s, {owner[column]!r} and {block!r}"
                raise InputError(problem, hint="List it once.", code="PG039")
            owner[column] = block
    return owner


def read_groups(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read groups from a JSON file, ``{"group": ["column", …]}``."""
    groups = read_user_json(path, "the groups file")
    if not isinstance(groups, dict) or not all(
        isinstance(columns, list) and all(isinstance(name, str) for name in columns) for columns in groups.values()
    ):
        raise InputError(f"The groups file {path} must be a mapping", 'Write {"group": ["column", …]}.', "PG011")
    _owners(groups, "group")
    if not groups:
        raise InputError(f"The groups file {path} names no group", hint="Add one, or leave --groups out.", code="PG039")
    return groups
