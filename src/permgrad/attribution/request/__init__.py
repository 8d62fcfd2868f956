"""A call of ``pg.explain``: its arguments, the ``Request`` made of them, the methods
that answer it, and the result.
"""

from permgrad.attribution.request.method_registry import (
    Configured,
    Method,
    OfSlopes,
    PairedMethod,
    PlayedMethod,
    changed,
    configured,
    methods,
    name_of,
    setting,
    tuned,
)
from permgrad.attribution.request.request import Request
from permgrad.attribution.scopes import GLOBAL, LOCAL, Scope

__all__ = [
    "GLOBAL",
    "LOCAL",
    "Configured",
    "Method",
    "OfSlopes",
    "PairedMethod",
    "PlayedMethod",
    "Request",
    "Scope",
    "changed",
    "configured",
    "methods",
    "name_of",
    "setting",
    "tuned",
]
