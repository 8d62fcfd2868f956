"""The encoded columns of a table, and what each kind of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from permgrad.base.arrays import Booleans
from permgrad.base.registry import Registry

OTHER = -1
"""Key of the level that takes rare and unseen texts."""
#: The time since the start, at most that of the latest training row: what no model
#: learned of later times is not asked.
HELD = "held"
#: Details of encoded columns that hold the cell itself, scaled.
_SCALED = (None, "time", HELD)


@dataclass(frozen=True)
class PartKind:
    """What encoded columns of a kind are.

    ``is_number``: they are continuous, and ``on_scale``: half of a step is a value, as
    it is of scores, too. ``is_part``: the kind of the raw column computes them, several
    of one cell, which change together. The others say what they hold: a level, a score,
    yes or no, or that the cell is missing.
    """

    name: str
    is_number: bool = False
    on_scale: bool = False
    is_part: bool = False
    is_level: bool = False
    is_score: bool = False
    is_switch: bool = False
    is_missing: bool = False


#: The kinds of encoded columns by the names that models are stored with.
part_kinds: Registry[PartKind] = Registry("kind of encoded column")
for _part_kind in (
    PartKind("numeric", is_number=True, on_scale=True),
    PartKind("boolean", is_switch=True),
    PartKind("level", is_level=True),
    PartKind("missing", is_missing=True),
    PartKind("date_part", is_number=True, on_scale=True, is_part=True),
    PartKind("part", is_number=True, on_scale=True, is_part=True),
    PartKind("score", on_scale=True, is_score=True),
    # Of a table that permgrad does not encode: whether a cell is missing.
    PartKind("flag"),
):
    part_kinds.register(_part_kind.name)(_part_kind)


@dataclass(frozen=True)
class Slot:
    """One encoded column: index of its raw column, its name, and its extremes over
    training rows.

    Its ``kind`` is one of ``part_kinds``. ``detail`` is the level's text, the kind of
    missingness, the output of a score, or what the kind of the raw column calls the
    part, such as ``"month sin"`` or, of kind "level", ``"month 0"``.
    """

    column: int
    name: str
    kind: str
    detail: str | int | None = None
    minimum: float = 0.0
    maximum: float = 1.0

    @property
    def of(self) -> PartKind:
        """What encoded columns of its kind are."""
        return part_kinds.get(self.kind)

    @property
    def is_scaled(self) -> bool:
        """Whether it holds the cell itself, scaled."""
        return self.of.is_number and self.detail in _SCALED

    @property
    def is_held(self) -> bool:
        """Whether later rows keep the end that it had in training."""
        return self.is_scaled and self.detail == HELD


def where(names: Iterable[str], holds: Callable[[PartKind], bool]) -> Booleans:
    """Return of which encoded columns, by the names of their kinds, something holds.

    Examples:
        >>> where(["numeric", "level"], lambda kind: kind.is_number).tolist()
        [True, False]
    """
    return np.array([holds(part_kinds.get(name)) for name in names], dtype=bool)
