"""The weights of paths and inputs, as ``branches.json`` holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

NOT_BRANCHES = ("interaction", "paper", "total")


def entries_of(branches: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of ``branches.json`` that are paths."""
    return {name: entry for name, entry in branches.items() if name not in NOT_BRANCHES and isinstance(entry, Mapping)}


def is_hybrid(branches: Mapping[str, Any]) -> bool:
    """Whether the entries are the paths of a hybrid network, and not the inputs of another network."""
    return set(entries_of(branches)) <= {"tabular", "image"}


def value_of(entry: Any, key: str) -> float:
    """Return a number of an entry, or NaN if it is missing, null or not a number."""
    value = entry.get(key) if isinstance(entry, Mapping) else None
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan
