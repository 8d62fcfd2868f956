"""Warnings of parts: hundreds of them would say the same, so they are kept as text and said once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from permgrad._errors import PermgradWarning, warn_user


@contextmanager
def quietly() -> Iterator[list[str]]:
    """Collect permgrad's own warnings of the body as text, in the list that is given; others are dropped.

    Examples:
        >>> with quietly() as said:
        ...     warn_user("mind the gap")
        >>> said
        ['mind the gap']
    """
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PermgradWarning)
        yield said
    said += [str(warning.message) for warning in caught if issubclass(warning.category, PermgradWarning)]


def say_once(said: Mapping[str, int]) -> None:
    """Warn of the first of several notes, and say how many more there were.

    Args:
        said: each note with the number of the part that first gave rise to it.
    """
    if said:
        text, number = next(iter(said.items()))
        more = f"; and {len(said) - 1} more such notes" if len(said) > 1 else ""
        warn_user(f"in part {number} of the table: {text}{more}")
