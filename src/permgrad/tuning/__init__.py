"""Searching settings on validation rows: spaces, and studies of Optuna that many
processes may work on.
"""

from __future__ import annotations

from permgrad.tuning.spaces import (
    Parameter,
    Space,
    get_space,
    read_space,
    space_from_dict,
    spaces,
)

__all__ = ["Parameter", "Space", "get_space", "read_space", "space_from_dict", "spaces"]
