"""Tracing a network without disturbing threads that call networks meanwhile, and without leaving anything behind."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from operator import attrgetter
from threading import get_ident
from typing import Any

from torch import Tensor, fx, nn

from permgrad.base.threads import Turn

_one_traces = Turn()


class OwnThreadTracer(fx.Tracer):
    """Traces the calls of its own thread alone, one tracer at a time.

    While torch traces, every module of the process calls the tracer, in whatever thread, and two tracers at once leave
    the first one's hold on all modules behind.
    """

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Return the graph of a network."""
        self._thread = get_ident()
        self._constants: dict[str, Tensor] = {}
        with _one_traces:
            before = [(part, dict(vars(part))) for part in root.modules()]
            try:
                return super().trace(root, concrete_args)
            finally:
                attributes_now = vars(root)
                self._constants = {
                    name: attributes_now[name]
                    for name in getattr(self, "tensor_attrs", {}).values()
                    if name in attributes_now
                }
                for part, attributes in before:
                    _put_back(part, attributes)

    def as_module(self, graph: fx.Graph) -> fx.GraphModule:
        """Return a graph, the traced one or a part of it, as a module with the parts of the network.

        For messages, torch keeps the source of every such module as long as the process lives: this one's is taken out.
        Call its ``forward``: the module itself prints to stderr what a part of the network raises.
        """
        names = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
        parts = {name: attrgetter(name)(self.root) for name in names - self._constants.keys()}
        parts |= {name: constant for name, constant in self._constants.items() if name in names}
        made = fx.GraphModule(parts, graph)
        source = made.forward.__code__.co_filename
        linecache.cache.pop(source, None)
        getattr(getattr(fx.graph_module, "_loader", None), "eval_cache", {}).pop(source, None)
        return made

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


def erase_unused(graph: fx.Graph, keep: Callable[[fx.Node], bool]) -> None:
    """Erase nodes whose result is not used, but the output and what is kept.

    A module in eval mode has no effect but its result.
    """
    for node in reversed(list(graph.nodes)):
        if node.op != "output" and not node.users and not keep(node):
            graph.erase_node(node)


def _put_back(part: nn.Module, attributes: dict[str, Any]) -> None:
    """Put back attributes that were replaced, and take away those that came along."""
    current = vars(part)
    for name in [name for name in current if name not in attributes]:
        del current[name]
    for name, value in attributes.items():
        if name not in current or current[name] is not value:
            current[name] = value
