"""A registry is a dict with a decorator: the one way new methods, layouts, data sets and metrics join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from permgrad.base.errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Named objects of one kind, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its argument as ``name``. Each name can be used once."""

        def enter(entry: T) -> T:
            if name in self._entries:
                raise KeyError(f"a {self.kind} named {name!r} is registered already")
            self._entries[name] = entry
            return entry

        return enter

    def get(self, name: str) -> T:
        """Return the entry, or raise ``InputError`` that lists the names and guesses."""
        if isinstance(name, str) and name in self._entries:
            return self._entries[name]
        raise unknown(self.kind, name, self._entries)

    def names(self) -> list[str]:
        """Return all names in order of registration."""
        return list(self._entries)

    def values(self) -> Iterable[T]:
        """Return all entries in order of registration."""
        return self._entries.values()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
