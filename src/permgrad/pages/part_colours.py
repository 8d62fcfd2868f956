"""The colours of branches, and of what an effect is split into beside them."""

from __future__ import annotations

from permgrad.models.branches import branches
from permgrad.models.branches.head_branches import TABLE

#: A table of another network has the colour of the branch that reads one.
_OTHERS = {"table": TABLE.colour, "interaction": "interaction"}


def part_colour(name: str, otherwise: str) -> str:
    """Return the name of the colour, in ``style.TOKENS``, of a branch or another part.

    Examples:
        >>> part_colour("trees", "neutral"), part_colour("xray", "neutral")
        ('series-3', 'neutral')
    """
    if name in branches:
        return branches[name].colour
    return _OTHERS.get(name, otherwise)
