"""A registry is a dict with a decorator: the one way new methods, layouts, data sets
and metrics join.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from permgrad.base.errors import unknown

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class Named(str):  # noqa: SLOT000 — the facts are attributes
    """A name that carries facts: the parent of records that arguments, files and
    messages show by their name alone.

    It equals its name, so that it can stand wherever the name did. Code asks the facts,
    and never compares the name.
    """

    name: str

    def __new__(cls, name: str, **_: Any) -> Self:
        """Return the string ``name``."""
        return super().__new__(cls, name)


class Registry(dict[str, T]):
    """Named objects of one kind, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        of_kind.setdefault(kind, self)

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its argument as ``name``.

        Each name can be used once.
        """

        def enter(entry: T) -> T:
            if name in self:
                raise KeyError(f"a {self.kind} named {name!r} is registered already")
            self[name] = entry
            return entry

        return enter

    def get(self, name: str, *otherwise: Any) -> T:
        """Return the entry or, unlike a dict, raise ``InputError`` that lists the names
        and guesses.
        """
        if (
            isinstance(name, str)
            and (registered_name := registered(name, self)) in self
        ):
            return self[registered_name]
        if otherwise:
            return otherwise[0]
        raise unknown(self.kind, name, self)


#: The registry of each kind, for those that its own module needs: the words of its
#: messages.
of_kind: dict[str, Registry[Any]] = {}


def registered(name: str, names: Container[str]) -> str:
    """Return a name as it is registered: who writes a hyphen for an underscore means
    the same.

    Examples:
        >>> registered("permgrad-paper", ["permgrad", "permgrad_paper"])
        'permgrad_paper'
    """
    if name in names or (joined := name.replace("-", "_")) not in names:
        return name
    return joined
