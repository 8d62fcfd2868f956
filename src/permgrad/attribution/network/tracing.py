"""Tracing a network without disturbing threads that call networks meanwhile."""

from __future__ import annotations

from threading import get_ident
from typing import Any

from torch import fx, nn

from permgrad._threads import Turn

_one_traces = Turn()


class OwnThreadTracer(fx.Tracer):
    """Traces the calls of its own thread alone, one tracer at a time.

    While torch traces, every module of the process calls the tracer, in whatever thread, and two tracers at once leave
    the first one's hold on all modules behind.
    """

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Return the graph of a network."""
        self._thread = get_ident()
        with _one_traces:
            return super().trace(root, concrete_args)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note the call of a module, or let another thread's call pass."""
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Note what is read of a module, or let another thread's reading pass."""
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)
