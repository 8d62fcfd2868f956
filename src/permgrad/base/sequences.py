"""Values by their keys or positions, and positions by values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Protocol, TypeVar

_Key = TypeVar("_Key", contravariant=True)
_Value = TypeVar("_Value", covariant=True)
_Name = TypeVar("_Name", bound=Hashable)


class _Lookup(Protocol[_Key, _Value]):
    """A sequence or a mapping."""

    def __getitem__(self, key: _Key, /) -> _Value: ...


def values_at(values: _Lookup[_Key, _Value], keys: Iterable[_Key]) -> list[_Value]:
    """Return some values of a sequence or a mapping, in the order of ``keys``.

    Args:
        values: A sequence, or a mapping.
        keys: Positions in the sequence, or keys of the mapping.

    Examples:
        >>> values_at(["a", "b", "c"], (2, 0))
        ['c', 'a']
    """
    return [values[key] for key in keys]


def positions_of(names: Iterable[_Name]) -> dict[_Name, int]:
    """Return the position of each name, the last one of a name that repeats.

    Examples:
        >>> positions_of(["a", "b"])
        {'a': 0, 'b': 1}
    """
    return {name: position for position, name in enumerate(names)}
