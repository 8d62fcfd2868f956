"""Trace a network without disturbing threads that call networks meanwhile, and without
changing it.
"""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import attrgetter
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from permgrad.base.threads import turn
from permgrad.models.undisturbed import attributes_of, put_back

#: A layer by name, and which of its calls.
Site = tuple[str, int]

#: Functions that move numbers and make no new ones.
MOVING = frozenset(
    {
        "reshape",
        "view",
        "view_as",
        "reshape_as",
        "flatten",
        "unflatten",
        "permute",
        "transpose",
        "swapaxes",
        "swapdims",
        "movedim",
        "moveaxis",
        "t",
        "T",
        "mT",
        "H",
        "mH",
        "getitem",
        "cat",
        "concat",
        "concatenate",
        "stack",
        "hstack",
        "vstack",
        "chunk",
        "split",
        "tensor_split",
        "split_with_sizes",
        "unbind",
        "select",
        "narrow",
        "index_select",
        "gather",
        "take_along_dim",
        "squeeze",
        "unsqueeze",
        "expand",
        "expand_as",
        "repeat",
        "tile",
        "repeat_interleave",
        "broadcast_to",
        "roll",
        "flip",
        "unfold",
        "pack_padded_sequence",
    }
)

#: Properties of tensors that turn them.
_VIEWS = frozenset(("T", "mT", "H", "mH"))
_one_traces = turn()


def name_of(func: Any) -> str:
    """Return a function's name without the signs of methods and of work in place, and
    that of a property that turns.
    """
    function_name = str(
        getattr(func, "__name__", func if isinstance(func, str) else "")
    )
    if function_name == "__get__":
        property_name = getattr(getattr(func, "__self__", None), "__name__", "")
    else:
        property_name = ""
    if property_name in _VIEWS:
        return property_name
    return function_name.partition(".")[0].strip("_")


def tensors_in(*values: Any) -> Iterator[Tensor]:
    """Yield the tensors in arguments or results, at any depth."""
    return (
        tree_leaf
        for tree_leaf in pytree.tree_leaves(values)
        if isinstance(tree_leaf, Tensor)
    )


@contextmanager
def listening(
    layers: Mapping[str, nn.Module],
    leave: Callable[[Site, tuple[Any, ...], dict[str, Any], Any], Any],
    enter: Callable[[Site], None] = lambda _: None,
) -> Iterator[None]:
    """Pass each call of layers by this thread to ``enter`` and, with arguments and
    output, to ``leave``.

    What ``leave`` returns takes the place of the output, unless it is None. All hooks
    are removed afterwards.
    """
    own_thread = get_ident()
    calls = Counter[str]()
    inside = list[Site]()

    def before(name: str, *_: Any) -> None:
        if get_ident() == own_thread:
            inside.append((name, calls[name]))
            calls[name] += 1
            enter(inside[-1])

    def after(
        name: str, _: nn.Module, args: tuple[Any, ...], *hook_arguments: Any
    ) -> Any:
        if (
            get_ident() != own_thread
        ):  # it may call a hook before torch has noted that it takes options, too
            return None
        options, output = hook_arguments
        while inside[-1][0] != name:  # it raised, and the network goes on
            inside.pop()
        return leave(inside.pop(), args, options, output)

    with ExitStack() as stack:
        for layer_name, layer in layers.items():
            if not isinstance(layer, torch.jit.ScriptModule):  # which takes no hooks
                stack.callback(
                    layer.register_forward_pre_hook(partial(before, layer_name)).remove
                )
                stack.callback(
                    layer.register_forward_hook(
                        partial(after, layer_name), with_kwargs=True
                    ).remove
                )
        yield


class OwnThreadTracer(fx.Tracer):
    """Trace only the calls of the current thread, one tracer at a time: torch calls it
    from every module and thread.

    Modules named in ``leaves`` are called as they are. After an error ``failed`` names
    the innermost module that raised it, empty where the network itself did. A forward
    may store results, here stand-ins for tensors, as attributes, and torch adds
    constants of the graph to the network. All attributes are restored.
    """

    leaves: frozenset[str] = frozenset()
    failed = ""

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Return the graph of a network."""
        self._thread = get_ident()
        self._constants: dict[str, Tensor] = {}
        with _one_traces:
            before = attributes_of(root)
            try:
                return super().trace(root, concrete_args)
            finally:
                names = getattr(self, "tensor_attrs", {}).values()
                constants = {}
                for constant_name in names:
                    if constant_name in vars(root):
                        constants[constant_name] = vars(root)[constant_name]
                self._constants = constants
                put_back(before)

    def as_module(self, graph: fx.Graph) -> fx.GraphModule:
        """Return a graph, the traced one or a part of it, as a module with the parts of
        the network.

        For messages, torch stores the source of every such module as long as the
        process lives. It is removed here. Call its ``forward``: the module itself
        prints to stderr what a part of the network raises.
        """
        names = set()
        for graph_node in graph.nodes:
            if graph_node.op in ("call_module", "get_attr"):
                names.add(str(graph_node.target))
        module_parts = {}
        for part_name in names:
            if part_name in self._constants:
                module_parts[part_name] = self._constants[part_name]
            else:
                module_parts[part_name] = attrgetter(part_name)(self.root)
        new_module = fx.GraphModule(module_parts, graph)
        source = new_module.forward.__code__.co_filename
        linecache.cache.pop(source, None)
        getattr(getattr(fx.graph_module, "_loader", None), "eval_cache", {}).pop(
            source, None
        )
        return new_module

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Note the call of a module, or let another thread's call pass."""
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is called as it is."""
        return module_qualified_name in self.leaves or super().is_leaf_module(
            m, module_qualified_name
        )

    def getattr(
        self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]
    ) -> Any:
        """Note what is read of a module, or let another thread's reading pass."""
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def erase_unused(graph: fx.Graph, keep: Callable[[fx.Node], bool]) -> None:
    """Erase nodes whose result is not used, but the output and what is kept: in eval
    mode they have no other effect.
    """
    for graph_node in reversed(list(graph.nodes)):
        if graph_node.op != "output" and not graph_node.users and not keep(graph_node):
            graph.erase_node(graph_node)
