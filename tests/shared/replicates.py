"""Slow twins: what writes a method again, from its paper or row by row, says of which
method it is, so that no method is without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Twin = TypeVar("Twin", bound=Callable[..., Any])


def replicates(method: str) -> Callable[[Twin], Twin]:
    """Mark a function, or a test, that computes what a registered method does."""

    def mark(function: Twin) -> Twin:
        function.replicates = method  # type: ignore[attr-defined]
        return function

    return mark


def twins_of(owner: type) -> dict[str, Callable[..., Any]]:
    """Return the functions of a class that are slow twins, by method."""
    twins = {}
    for function in vars(owner).values():
        method = getattr(function, "replicates", None)
        if method is not None:
            twins[method] = function
    return twins
