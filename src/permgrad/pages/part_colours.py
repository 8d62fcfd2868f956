"""The colours of branches, and of what an effect is split into beside them."""

from __future__ import annotations

from permgrad.models.branches import branches
from permgrad.models.branches.head_branches import TABLE

#: A table of another network has the colour of the branch that reads one.
_OTHERS = {"table": TABLE.colour, "interaction": "interaction"}
#: Grey says of a bar that its effect is not clear, so it is the colour of no part.
_UNCLEAR = "neutral"


def part_colour(name: str, otherwise: str) -> str:
    """Return the name of the colour, in ``style.TOKENS``, of a branch or another part.

    Examples:
        >>> part_colour("trees", "neutral"), part_colour("photo", "series-1")
        ('series-3', 'series-1')
    """
    if name in branches and branches[name].colour != _UNCLEAR:
        return branches[name].colour
    return _OTHERS.get(name, otherwise)
