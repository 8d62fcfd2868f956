"""``--kind COL=KIND``: what a column is, where its cells or its name would be taken for something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from permgrad.base.errors import InputError, unknown
from permgrad.data.types.column_types import Kind
from permgrad.runs.run.target import find_column

#: A constant column is what its cells say; who wants a column without effect leaves it out.
KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "date", "identifier")


def parse_kinds(texts: Sequence[str]) -> dict[str, Kind]:
    """Read what was given with ``--kind``; a name may hold equal signs, a kind does not.

    Raises:
        InputError: Another form, an unknown kind, or two kinds for one column.

    Examples:
        >>> parse_kinds(["postcode=categorical", "a=b=numeric"])
        {'postcode': 'categorical', 'a=b': 'numeric'}
    """
    found: dict[str, Kind] = {}
    for text in texts:
        name, sign, given = (part.strip() for part in text.rpartition("="))
        if not sign or not name:
            raise InputError(
                f"--kind must have the form COL=KIND, however: --kind {text!r}; give for example "
                "--kind postcode=categorical"
            )
        kind = next((known for known in KINDS if known == given), None)
        if kind is None:
            raise unknown(f"kind of column {name!r}", given, KINDS)
        if found.setdefault(name, kind) != kind:
            raise InputError(
                f"a column has one kind, however: --kind {name}={found[name]} and --kind {name}={kind}; leave one out"
            )
    return found


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
