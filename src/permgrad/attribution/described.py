"""What a user says of a model once. ``pg.Model`` takes the place of this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Described:
    """A model with the arguments of ``pg.explain`` that say how it is read, such as ``task`` and ``class_names``."""

    model: Any
    options: Mapping[str, Any]


def read_described(model: Any) -> tuple[Any, dict[str, Any]]:
    """Return a model itself, and what was said of it as arguments of ``pg.explain``."""
    return (model.model, dict(model.options)) if isinstance(model, Described) else (model, {})
