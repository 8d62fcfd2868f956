"""Explain inside a network: the outputs of named layers take the place of the inputs.

They are computed once for all rows. If the network can be cut there, only the layers after them run again. Every unit
belongs to the inputs on which it depends, which is found by exchanging them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn

from permgrad.attribution.players.segments import build_space
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.branches import placeholder_names
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.lookups import Lookup, Site
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.tracing import OwnThreadTracer, erase_unused
from permgrad.base.errors import InputError, shown, unknown
from permgrad.models.batches import gathered, in_batches, with_fewer

#: Rows on which a cut is compared with the whole network, and on which units are traced back to inputs.
_PROBE_ROWS = 64
_BATCH, _BATCH_ACCELERATOR = 256, 4096
#: Part of a unit's size by which rounding may change it.
_SAME = 1e-5
#: Layers that give a vector for each place of a sequence, whatever reads it.
_VECTORS = (nn.Embedding, nn.Linear, nn.LayerNorm)
#: Modality of units that do not depend on any input.
CONSTANT = "constant"


def at_layer(
    subject: NetworkSubject, inputs: tuple[Tensor, ...], donors: tuple[Tensor, ...], layer: Any, segments: Any
) -> tuple[InnerSubject, tuple[Tensor, ...], tuple[Tensor, ...], PlayerSpace]:
    """Return subject, rows, background and players at the output of a layer, or of several."""
    inner = InnerSubject(subject, layer, inputs)
    rows = inner.lift(inputs)
    background = rows if donors is inputs else inner.lift(donors)
    space = build_space(inner.names, rows[: inner.calls], (None,) * inner.calls, segments, inner.readings())
    modality = _modalities(inner, inputs, donors, space)
    further = tuple(torch.full(tuple(tensor.shape[1:]), NOBODY, dtype=torch.int64) for tensor in rows[inner.calls :])
    everything = PlayerSpace(space.names, modality, inner.input_names, (*space.segments, *further))
    return inner, rows, background, everything


class InnerSubject(NetworkSubject):
    """A network from the outputs of some of its layers on: of all their calls, or of those in ``sites``.

    ``sites`` give the dimension of each output along which rows lie. Here it is always the first.
    """

    def __init__(
        self, outer: NetworkSubject, layer: Any, inputs: tuple[Tensor, ...], sites: Mapping[Site, int] | None = None
    ) -> None:
        modules = dict(outer.module.named_modules())
        layers = list(layer) if isinstance(layer, (list, tuple)) and layer else [layer]
        for each in layers:
            _check_layer(outer, each, modules)
        if len(set(layers)) < len(layers):
            raise InputError(
                f"layer= names the same layer twice: {', '.join(map(repr, layers))}",
                hint="Name each layer once",
                code="PG037",
            )
        vars(self).update(vars(outer))  # it is the same network
        self.outer, self._most_rows = outer, outer.most_rows()
        self.layers = {name: modules[name] for name in layers}
        # What is left of a network that is cut is not folded.
        self._folded, self._looked = None, True
        self._sites = None if sites is None else dict(sites)
        few = min(_PROBE_ROWS, len(inputs[0]), max(2, outer.most_rows()))
        self.inputs = with_fewer(few, partial(self._look, inputs))
        # The activations, then the network's own inputs that the layers behind still need.
        self.input_names = (*self.names, *(outer.input_names[position] for position in self.needed))
        self.real = tuple(tensor.is_floating_point() for tensor in self.inputs)

    def _look(self, inputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
        """Find with the first rows how layers are called and where to cut. Return what is explained."""
        few = tuple(tensor[:count] for tensor in inputs)
        with torch.no_grad(), self.open():
            seen, wanted = self._seen(few)
            calls = Counter(layer for layer, _ in seen)
            for layer in self.layers:
                if not calls[layer]:
                    raise InputError(
                        f"The network does not call layer {layer!r} for these inputs",
                        hint="Choose another layer",
                        code="PG037",
                    )
            if self._sites is None:
                self._sites = {(layer, call): 0 for layer in self.layers for call in range(calls[layer])}
            captured = self._rows_first(seen)
            self.calls = len(captured)
            for (layer, _), one in zip(self._sites, captured, strict=True):
                _check_rows(layer, one, count)
            self.names = tuple(layer if calls[layer] == 1 else f"{layer}#{call}" for layer, call in self._sites)
            self._suffix, needed = (None, None) if self.outer.rewrites else _cut(self.outer, list(self._sites), calls)
            self.cut = self._suffix is not None
            #: positions of the network's own inputs that follow the activations
            self.needed = tuple(range(len(inputs))) if needed is None else needed
            if self._suffix is not None and not self._same(captured, few, wanted):
                self._suffix, self.cut, self.needed = None, False, tuple(range(len(inputs)))
            if not self._same(captured, few, wanted):
                which = ", ".join(map(repr, self.layers))
                raise InputError(
                    f"The network gives different outputs for the same output of layer {which}",
                    hint="Choose a layer whose output is a tensor that is not changed in place",
                    code="PG037",
                )
        return (*captured, *(few[position] for position in self.needed))

    def readings(self) -> dict[int, str]:
        """Return how the next layers read the activations. Those of embeddings are sequences."""
        vectors = [isinstance(self.layers[layer], _VECTORS) for layer, _ in self._sites or {}]
        sequences = {place: "tokens" for place, each in enumerate(vectors) if each}
        return sequences | super().readings()

    def lookups(self) -> Sequence[Lookup]:
        """Return nothing: what is explained are activations."""
        return ()

    def branches(self, inputs: Sequence[Tensor], followers: frozenset[int]) -> None:
        """Return None: the rest of the network behind a layer is not cut."""

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return rows given in the user's form at the layer."""
        return self.lift(self.outer.read(inputs))

    def lift(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the layer's output for rows, one tensor per call, and the inputs that are still needed."""
        count = len(inputs[0])
        with self.open(), torch.no_grad():
            size = _BATCH if self.device.type == "cpu" else _BATCH_ACCELERATOR
            run = partial(in_batches, count, min(size, self.outer.most_rows()))
            lifted = gathered(count, lambda part: self.captured(tuple(tensor[part] for tensor in inputs))[0], run)
        return (*lifted, *(inputs[position] for position in self.needed))

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the output, given the layer's output and the inputs that are still needed."""
        activations, inputs = tensors[: self.calls], dict(zip(self.needed, tensors[self.calls :], strict=True))
        where = self._sites or {}
        activations = [
            tensor.to(self.device, copy=tensor.device == self.device).movedim(0, dimension)
            for tensor, dimension in zip(activations, where.values(), strict=True)
        ]
        names = self.outer.input_names
        if self._suffix is not None:
            values = [inputs[k].to(self.device).clone() if k in inputs else None for k in range(len(names))]
            extra = {f"{_PLACE}{call}": activation for call, activation in enumerate(activations)}
            with self.theirs(tensors, self.input_names):
                # The module itself would print to stderr what a part of the network raises.
                returned = self.outer.form.call(partial(self._suffix.forward, **extra), values)
            return self.taken(returned, len(tensors[0]))
        put = dict(zip(where, activations, strict=True))
        with self._listening(lambda site, _: put.get(site)):
            return self.outer.forward([inputs[position] for position in range(len(names))])

    # ---- finding out -------------------------------------------------------------------------------------------------

    def captured(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return what the layers gave in each of their calls, and the network's output."""
        seen, output = self._seen(inputs)
        return self._rows_first(seen), output

    def _rows_first(self, seen: Mapping[Site, Any]) -> list[Any]:
        """Return what is explained of what layers gave, rows first."""
        return [seen[site].movedim(dim, 0) if dim else seen[site] for site, dim in (self._sites or {}).items()]

    def _seen(self, inputs: Sequence[Tensor]) -> tuple[dict[Site, Any], Tensor]:
        """Return what the layers gave in all their calls, and the network's output."""
        seen: dict[Site, Any] = {}

        def keep(site: Site, output: Any) -> None:
            # A copy: the next layer may work in place.
            seen[site] = output.detach().clone() if isinstance(output, Tensor) else output

        with self._listening(keep):
            return seen, self.outer.forward(inputs)

    @contextmanager
    def _listening(self, hear: Callable[[Site, Any], Any]) -> Iterator[None]:
        """Pass each call's output to ``hear``, and replace it by the value returned."""
        me, calls = get_ident(), Counter[str]()

        def hook(layer: str, _module: nn.Module, _args: Any, output: Any) -> Any:
            # Other threads may be calling the layer for themselves.
            if get_ident() != me:
                return None
            calls[layer] += 1
            return hear((layer, calls[layer] - 1), output)

        with ExitStack() as stack:
            for layer, module in self.layers.items():
                stack.callback(module.register_forward_hook(partial(hook, layer)).remove)
            yield

    def _same(self, captured: Sequence[Tensor], few: Sequence[Tensor], wanted: Tensor) -> bool:
        try:
            again = self.forward((*captured, *(few[position] for position in self.needed)))
        except Exception:
            if self._suffix is not None:
                return False
            raise
        scale = max(1.0, float(wanted.abs().max()))
        return again.shape == wanted.shape and float((again - wanted).abs().max()) <= 1e-4 * scale


# ---- cutting ---------------------------------------------------------------------------------------------------------

_PLACE = "permgrad_activation_"


def _check_rows(layer: str, output: Any, count: int) -> None:
    """Refuse a layer's output without one entry for each row."""
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != count:
        shape = shapes_in_words([layer], [output]) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"A layer's output must be a tensor with one entry per row, got {shape} for {count} rows",
            hint="Choose another layer",
            code="PG037",
        )


def _check_layer(outer: NetworkSubject, layer: Any, modules: dict[str, nn.Module]) -> None:
    """Refuse a name that is not a part of the network."""
    if isinstance(layer, str) and layer in modules and layer != "":
        return
    named = [name for name in modules if name]
    if not named:
        kind = type(outer.module).__name__
        raise InputError(
            f"layer={shown(layer)} names a part of the network, but {kind} has no parts",
            hint="Leave layer out",
            code="PG037",
        )
    raise unknown("layer", layer, named)


def _cut(
    outer: NetworkSubject, sites: Sequence[Site], calls: Counter[str]
) -> tuple[fx.GraphModule | None, tuple[int, ...] | None]:
    """Return the network after the layers and the positions of the inputs it still needs, or None if it has no cut.

    The trace is of the network in eval mode. Networks whose forward branches on values, or unpacks its arguments,
    cannot be traced. They run completely each time.
    """

    class Tracer(OwnThreadTracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return name in calls or super().is_leaf_module(module, name)

    try:
        tracer = Tracer()
        graph = tracer.trace(outer.module)
        nodes: dict[Site, fx.Node] = {}
        traced = Counter[str]()
        for node in graph.nodes:
            if node.op == "call_module" and node.target in calls:
                nodes[str(node.target), traced[str(node.target)]] = node
                traced[str(node.target)] += 1
        if traced != calls:
            return None, None
        last = [node for node in graph.nodes if node.op == "placeholder"][-1]
        for call, node in enumerate(nodes[site] for site in sites):
            with graph.inserting_after(last):
                last = graph.placeholder(f"{_PLACE}{call}", default_value=None)
            node.replace_all_uses_with(last)
            graph.erase_node(node)
        erase_unused(graph, keep=lambda node: node.op == "placeholder")
        graph.lint()
        suffix = tracer.as_module(graph)
    except Exception:  # noqa: BLE001 — whatever the user's code does under tracing, the whole network still runs
        return None, None
    passed = [node for node in graph.nodes if node.op == "placeholder" and not node.target.startswith(_PLACE)]
    used = {str(node.target).lstrip("*") for node in passed if node.users}
    if not used:
        return suffix, ()
    if outer.form.passing == "whole" or any(str(node.target).startswith("*") for node in passed):
        return suffix, tuple(range(len(outer.input_names)))
    names = placeholder_names(outer, [str(node.target) for node in passed])
    return suffix, tuple(position for position, name in enumerate(names) if name in used)


# ---- which inputs a unit depends on ----------------------------------------------------------------------------------


def _modalities(
    inner: InnerSubject, inputs: Sequence[Tensor], donors: Sequence[Tensor], space: PlayerSpace
) -> tuple[str, ...]:
    """Return for each player at the layer the inputs on which it depends, joined by ``+``."""
    names = inner.outer.input_names
    if len(names) == 1:
        return (names[0],) * len(space)

    def depends(count: int) -> list[list[str]]:
        """Return for each player the inputs that change it when other rows stand there, tried on the first rows."""
        rows = [tensor[:count] for tensor in inputs]
        # Another row for each: the background's rows backwards, which are others also where both are the same rows.
        exchanged = [donor[-count:].flip(0).to(row.device) for donor, row in zip(donors, rows, strict=True)]
        inputs_of: list[list[str]] = [[] for _ in space.names]
        with torch.no_grad(), inner.open():
            before, _ = inner.captured(rows)
            for position, name in enumerate(names):
                after, _ = inner.captured([*rows[:position], exchanged[position], *rows[position + 1 :]])
                moved = [_changed(one, two)[None] for one, two in zip(before, after, strict=True)]
                for player in torch.nonzero(space.sums(moved)[0]).flatten().tolist():
                    inputs_of[player].append(name)
        return inputs_of

    most = min(_PROBE_ROWS, len(inputs[0]), len(donors[0]))
    return tuple("+".join(each) or CONSTANT for each in with_fewer(most, depends))


def _changed(before: Tensor, after: Tensor) -> Tensor:
    """Return 1 for every unit that differs in some row by more than rounding, else 0.

    Rounding is relative to the unit's own size, since its neighbours may have other units, such as an income beside a
    yes or no. Differences below the last digit of the largest unit are rounding too, of sums in which much cancels.
    """
    size = before.abs().amax(dim=0)
    last = min(torch.finfo(before.dtype).eps, _SAME) if before.is_floating_point() else 0.0
    rounding = (_SAME * size).clamp_min(max(last * float(size.max()), 1e-30))
    return ((after - before).abs().amax(dim=0) > rounding).double()
