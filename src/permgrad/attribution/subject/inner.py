"""Looking inside a network: the output of a named layer takes the place of the inputs.

It is computed once for all rows; what follows runs on it alone where the network can be cut there. Every unit belongs
to the inputs on which it depends, which is found out by exchanging them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn

from permgrad.attribution.players.segments import build_space
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.branches import placeholder_names
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.tracing import OwnThreadTracer, erase_unused
from permgrad.base.errors import InputError, shown, unknown
from permgrad.models.batches import in_batches, with_fewer
from permgrad.models.devices import rows_at_once

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
    subject: NetworkSubject,
    inputs: tuple[Tensor, ...],
    donors: tuple[Tensor, ...],
    layer: str,
    segments: Any = None,
) -> tuple[InnerSubject, tuple[Tensor, ...], tuple[Tensor, ...], PlayerSpace]:
    """Return subject, rows, background and players at the output of a layer."""
    inner = InnerSubject(subject, layer, inputs)
    rows = inner.lift(inputs)
    background = rows if donors is inputs else inner.lift(donors)
    space = build_space(inner.names, rows[: inner.calls], (None,) * inner.calls, segments, inner.readings())
    modality = _modalities(inner, inputs, donors, space)
    further = tuple(torch.full(tuple(tensor.shape[1:]), NOBODY, dtype=torch.int64) for tensor in rows[inner.calls :])
    everything = PlayerSpace(space.names, modality, inner.input_names, (*space.segments, *further))
    return inner, rows, background, everything


class InnerSubject(NetworkSubject):
    """A network from the output of one of its layers on."""

    def __init__(self, outer: NetworkSubject, layer: str, inputs: tuple[Tensor, ...]) -> None:
        modules = dict(outer.module.named_modules())
        if not isinstance(layer, str) or layer not in modules or layer == "":
            named = [name for name in modules if name]
            if not named:
                kind = type(outer.module).__name__
                raise InputError(
                    f"layer names a part of the network, however: layer={shown(layer)} and {kind} has no parts; "
                    "leave it out"
                )
            raise unknown("layer", layer, named)
        vars(self).update(vars(outer))  # it is the same network
        self.outer, self.layer, self._most_rows = outer, modules[layer], outer.most_rows()
        # What is left of a network that is cut is not folded.
        self._folded, self._looked = None, True
        few = min(_PROBE_ROWS, len(inputs[0]), max(2, outer.most_rows()))
        self.inputs = with_fewer(few, partial(self._look, layer, inputs))
        # The activations, then the network's own inputs that the layers behind still need.
        self.input_names = (*self.names, *(outer.input_names[position] for position in self._kept))
        self.real = tuple(tensor.is_floating_point() for tensor in self.inputs)

    def _look(self, layer: str, inputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
        """Find out with the first rows how the layer is called and where it can be cut; return what is explained."""
        few = tuple(tensor[:count] for tensor in inputs)
        with torch.no_grad(), self.open():
            captured, wanted = self.captured(few)
            self.calls = len(captured)
            if not captured:
                raise InputError(
                    f"a layer must be used by the network, however: {layer!r} is not called for these inputs; "
                    "choose another"
                )
            for one in captured:
                if not isinstance(one, Tensor) or one.ndim < 1 or len(one) != count:
                    shape = shapes_in_words([layer], [one]) if isinstance(one, Tensor) else type(one).__name__
                    raise InputError(
                        "a layer's output must be a tensor with one entry per row, however: it is "
                        f"{shape} for {count} rows; choose another layer"
                    )
            self.names = (layer,) if self.calls == 1 else tuple(f"{layer}#{call}" for call in range(self.calls))
            self._suffix, needed = (None, None) if self.outer.rewrites else _cut(self.outer, layer, self.calls)
            self.cut = self._suffix is not None
            self._kept = tuple(range(len(inputs))) if needed is None else needed
            if self._suffix is not None and not self._same(captured, few, wanted):
                self._suffix, self.cut, self._kept = None, False, tuple(range(len(inputs)))
            if not self._same(captured, few, wanted):
                raise InputError(
                    f"the network must give the same output for the same output of the layer {layer!r}, however: it "
                    "does not; choose a layer whose output is a tensor that is not changed in place"
                )
        return (*captured, *(few[position] for position in self._kept))

    def readings(self) -> dict[int, str]:
        """Return what the layers behind take the activations for; embeddings and their like are sequences."""
        sequences = dict.fromkeys(range(self.calls), "tokens") if isinstance(self.layer, _VECTORS) else {}
        return sequences | super().readings()

    def branches(self, inputs: Sequence[Tensor]) -> None:
        """Return None: what is left behind a layer runs whole."""

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return rows given in the user's form at the layer."""
        return self.lift(self.outer.read(inputs))

    def lift(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the layer's output for rows, one tensor per call, and the inputs that are still needed."""
        count = len(inputs[0])
        lifted: list[Tensor] = []

        def work(part: slice) -> None:
            with torch.no_grad():
                captured, _ = self.captured(tuple(tensor[part] for tensor in inputs))
            if not lifted:
                lifted.extend(one.new_empty(count, *one.shape[1:]) for one in captured)
            for target, one in zip(lifted, captured, strict=True):
                target[part] = one

        with self.open():
            size = rows_at_once(self.device, on_processor=_BATCH, on_accelerator=_BATCH_ACCELERATOR)
            in_batches(count, min(size, self.outer.most_rows()), work)
        return (*lifted, *(inputs[position] for position in self._kept))

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the output, given the layer's output and the inputs that are still needed."""
        activations, inputs = tensors[: self.calls], dict(zip(self._kept, tensors[self.calls :], strict=True))
        activations = [tensor.to(self.device, copy=tensor.device == self.device) for tensor in activations]
        names = self.outer.input_names
        if self._suffix is not None:
            values = [inputs[k].to(self.device).clone() if k in inputs else None for k in range(len(names))]
            extra = {f"{_PLACE}{call}": activation for call, activation in enumerate(activations)}
            with self.theirs(activations, ["activation"] * len(activations)):
                # The module itself would print to stderr what a part of the network raises.
                returned = self.outer.form.call(partial(self._suffix.forward, **extra), values)  # type: ignore[arg-type]
            return self.taken(returned, len(activations[0]))
        pending = iter(activations)
        me = get_ident()
        # Other threads may be calling the layer for themselves.
        handle = self.layer.register_forward_hook(lambda *_: next(pending) if get_ident() == me else None)
        try:
            return self.outer.forward([inputs[position] for position in range(len(names))])
        finally:
            handle.remove()

    # ---- finding out -------------------------------------------------------------------------------------------------

    def captured(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return what the layer gave in each of its calls, and the network's output."""
        seen: list[Any] = []
        me = get_ident()

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            if get_ident() == me:
                # A copy: the next layer may work in place.
                seen.append(output.detach().clone() if isinstance(output, Tensor) else output)

        handle = self.layer.register_forward_hook(keep)
        try:
            output = self.outer.forward(inputs)
        finally:
            handle.remove()
        return seen, output

    def _same(self, captured: Sequence[Tensor], few: Sequence[Tensor], wanted: Tensor) -> bool:
        try:
            again = self.forward((*captured, *(few[position] for position in self._kept)))
        except Exception:
            if self._suffix is not None:
                return False
            raise
        scale = max(1.0, float(wanted.abs().max()))
        return again.shape == wanted.shape and float((again - wanted).abs().max()) <= 1e-4 * scale


# ---- cutting ---------------------------------------------------------------------------------------------------------

_PLACE = "permgrad_activation_"


def _cut(outer: NetworkSubject, layer: str, calls: int) -> tuple[fx.GraphModule | None, tuple[int, ...] | None]:
    """Return the network behind the layer, and the positions of the inputs it still needs; None where it has no cut.

    The trace is of the network in eval mode. Networks whose forward branches on values, or unpacks what they are given,
    cannot be traced; they run whole.
    """

    class Tracer(OwnThreadTracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return name == layer or super().is_leaf_module(module, name)

    try:
        tracer = Tracer()
        graph = tracer.trace(outer.module)
        nodes = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
        if len(nodes) != calls:
            return None, None
        last = [node for node in graph.nodes if node.op == "placeholder"][-1]
        for call, node in enumerate(nodes):
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

    Rounding goes by the unit's own size, since its neighbours may be measured in other units: an income beside a yes or
    no. What is below the last digit of the largest of all is rounding too, of sums in which much cancels.
    """
    size = before.abs().amax(dim=0)
    last = min(torch.finfo(before.dtype).eps, _SAME) if before.is_floating_point() else 0.0
    rounding = (_SAME * size).clamp_min(max(last * float(size.max()), 1e-30))
    return ((after - before).abs().amax(dim=0) > rounding).double()
