"""What training rows have in one column, from which encoded columns are planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from permgrad.base.arrays import Integers


class CountedLevels(Protocol):
    """The levels of a column of texts.

    Attributes:
        complete: Whether none was left out.
    """

    complete: bool

    def by_frequency(self) -> list[tuple[str, int]]:
        """Return levels with their rows, the most frequent first."""


@dataclass(frozen=True)
class TrainingCells:
    """The cells of a column in training rows.

    ``column`` and ``name`` say which one. Of numbers there are the ``lowest`` and the
    ``highest``, and the ``ends`` that these become when they are scaled. Of dates there
    are the different ``days`` since 1970 in order, how many rows have each value of
    ``PERIODS``, and whether later rows keep the last time (``returning``). Of texts
    there are the ``levels``, and how many of them have an encoded column.
    """

    column: int
    name: str
    lowest: float = 0.0
    highest: float = 1.0
    ends: tuple[float, float] = (0.0, 1.0)
    days: Integers | None = None
    periods: Mapping[str, Integers] | None = None
    returning: bool = False
    levels: CountedLevels | None = None
    most_levels: int = 0
