"""A call of ``pg.explain``: its arguments, the ``Request`` made of them, the methods that answer it, and the result."""

from permgrad.attribution.request.registry import (
    Configured,
    Method,
    PairedMethod,
    PlayedMethod,
    methods,
    refuse_conditional,
    refuse_interactions,
    with_options,
)
from permgrad.attribution.request.request import Request, Scope

__all__ = [
    "Configured",
    "Method",
    "PairedMethod",
    "PlayedMethod",
    "Request",
    "Scope",
    "methods",
    "refuse_conditional",
    "refuse_interactions",
    "with_options",
]
