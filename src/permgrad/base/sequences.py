"""Values by their keys or positions, and positions by values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Protocol, TypeVar

_Key_contra = TypeVar("_Key_contra", contravariant=True)
_Value_co = TypeVar("_Value_co", covariant=True)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Name = TypeVar("_Name", bound=Hashable)


class _Lookup(Protocol[_Key_contra, _Value_co]):
    """A sequence or a mapping."""

    def __getitem__(self, key: _Key_contra, /) -> _Value_co: ...


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
