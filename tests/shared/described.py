"""A model with what is said of how it is read. Tests say it here, in one place."""

from __future__ import annotations

from typing import Any

from permgrad.attribution.described import Described


def described(model: Any, **facts: Any) -> Described:
    """Return a model as it is passed to functions that read it, such as ``pg.report`` and ``pg.counterfactuals``."""
    return Described(model, facts)
