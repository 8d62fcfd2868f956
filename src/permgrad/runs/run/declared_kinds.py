"""``--kind COL=KIND``: what a column is, where its cells or its name would be taken for something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from permgrad.base.errors import InputError
from permgrad.data.types.column_types import Kind
from permgrad.runs.run.target import find_column

#: What a target's kind says of the task.
_TASK_OF: Mapping[str, str] = {"categorical": "classification", "boolean": "classification", "numeric": "regression"}


def task_of_target(kinds: dict[str, Kind], target: str, task: str) -> str:
    """Take the target's kind from the kinds and return the task that it asks for; without one the ``task`` as it is.

    Args:
        kinds: What was given; the target's kind is removed.
        target: The column to predict.
        task: As asked for.

    Raises:
        InputError: A kind that no target has, or another one than the task's.

    Examples:
        >>> kinds = {"school": "categorical", "ward": "numeric"}
        >>> task_of_target(kinds, "school", "auto"), kinds
        ('classification', {'ward': 'numeric'})
    """
    kind = kinds.pop(target, None)
    if kind is None:
        return task
    found = _TASK_OF.get(kind)
    if found is None:
        raise InputError(
            f"The target {target!r} cannot be of kind {kind}. Say --kind {target}=categorical to predict classes, or "
            f"--kind {target}=numeric to predict a number."
        )
    if task not in ("auto", found):
        raise InputError(f"--kind {target}={kind} asks for a {found}, --task {task} does not. Leave one of them out.")
    return found


def check_kinds(kinds: Mapping[str, Kind], columns: Sequence[str], left_out: Mapping[str, str]) -> None:
    """Refuse kinds for columns that are not there or are no features.

    Args:
        kinds: What was given.
        columns: Of the table.
        left_out: Columns that are no features, with the reason.

    Raises:
        InputError: There is such a kind.
    """
    for name, kind in kinds.items():
        find_column(name, list(columns), "--kind")
        if name in left_out:
            raise InputError(
                f"--kind is for columns to predict from, however: --kind {name}={kind} and {name!r} is "
                f"{left_out[name]}; leave one of them out"
            )
