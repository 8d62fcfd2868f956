"""How users type an argument: in Python, or as an option of the command that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from permgrad.base.errors import option_of

#: What commands call the arguments of ``pg.explain``, and how they take all others.
OPTIONS = {
    "explain": {
        "method": "--method",
        "target": "--target",
        "n_repeats": "--repeats",
        "random_state": "--seed",
        "max_rows": "--max-rows",
    },
    "run": {
        "row_groups": "--row-group",
        "row_time": "--time",
        "random_state": "--seed",
        "max_rows": "--max-rows",
    },
}
OTHERS = {"explain": "--option"}
#: Arguments whose option takes a file instead of their value.
FROM_FILES = {"groups": "--groups"}

#: The command that runs, or empty.
_command: ContextVar[str] = ContextVar("command", default="")


@contextmanager
def typed_for(command: str) -> Iterator[None]:
    """For its body, arguments are typed as options of a command, where it has them."""
    token = _command.set(command)
    try:
        yield
    finally:
        _command.reset(token)


def as_option(name: str, value: Any) -> str:
    r"""Return how an argument is an option of the command that runs.

    Empty: none runs, or it has no such option.

    Examples:
        >>> with typed_for("explain"):
        ...     as_option("n_repeats", 20), as_option("pairs", [["a", "b"]])
        ('--repeats 20', '--option \'pairs=[["a", "b"]]\'')
        >>> as_option("n_repeats", 20)
        ''
    """
    command = _command.get()
    if name in FROM_FILES:
        return ""
    if value is ...:
        value = "..."
    elif not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    flag = OPTIONS.get(command, {}).get(name)
    if flag is not None:
        return option_of(flag, value)
    if command in OTHERS:
        return option_of(OTHERS[command], f"{name}={value}")
    return ""


def argument_typed(name: str, value: Any = None, *, example: str = "...") -> str:
    """Return how an argument is typed.

    Args:
        name: Of the argument in Python.
        value: None: users choose it.
        example: What stands for a value that users choose, in an option.

    Examples:
        >>> argument_typed("scope", "local"), argument_typed("row_groups")
        ("scope='local'", 'row_groups=')
        >>> with typed_for("run"):
        ...     argument_typed("row_groups", example="COL"), argument_typed("scope")
        ('--row-group COL', 'scope=')
    """
    if value is None:
        return as_option(name, example) or f"{name}="
    return as_option(name, value) or f"{name}={value!r}"
