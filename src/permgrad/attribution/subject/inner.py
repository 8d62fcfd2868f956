"""Explain inside a network: the outputs of named layers take the place of the inputs.

They are computed once for all rows. If the network can be cut there, only the layers
after them run again. Every unit belongs to the inputs on which it depends, which is
found by exchanging them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from permgrad.attribution.players.segments import build_space
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.lookups import ALONE, Copying, Lookup
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.remedies import BY_IDENTITY, of_unheard
from permgrad.attribution.subject.soundness import check_order
from permgrad.attribution.subject.subject import numbers_by_row
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.attribution.subject.traced_branches import placeholder_names
from permgrad.attribution.subject.tracing import (
    OwnThreadTracer,
    Site,
    erase_unused,
    listening,
    name_of,
)
from permgrad.attribution.subject.unread import Unread
from permgrad.attribution.typed_options import as_typed
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.sequences import values_at
from permgrad.models.batches import gathered, in_batches, with_fewer

#: Rows on which a cut is compared with the whole network, and on which units are traced
#: back to inputs.
_PROBE_ROWS = 64
_BATCH = 256
_BATCH_ACCELERATOR = 4096
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
    layer: Any,
    segments: Any,
) -> SubjectRows:
    """Return what is explained at the output of a layer, or of several.

    Args:
        subject: The network from its inputs on.
        inputs: The rows explained, ``(rows, *)`` for each input.
        donors: The background rows, or ``inputs`` itself.
        layer: The name of a layer, the layer, or several of either.
        segments: How outputs are cut into players, as in ``pg.Model``.

    Returns:
        The network from the layers on, and their outputs as its inputs.
    """
    inner = InnerSubject(subject, layer, inputs)
    lifted_rows = inner.lift(inputs)
    if donors is inputs:
        background = lifted_rows
    else:
        background = inner.lift(donors)
    space = build_space(
        inner.names,
        lifted_rows[: inner.calls],
        (None,) * inner.calls,
        segments,
        inner.readings(),
    )
    modality = _modalities(inner, inputs, donors, space)
    further = tuple(
        torch.full(tuple(tensor.shape[1:]), NOBODY, dtype=torch.int64)
        for tensor in lifted_rows[inner.calls :]
    )
    everything = PlayerSpace(
        space.names, modality, inner.input_names, (*space.segments, *further)
    )
    return SubjectRows(inner, lifted_rows, background, everything)


class InnerSubject(NetworkSubject):
    """A network from the outputs of some of its layers on: of all their calls, or of
    those in ``sites``.

    ``sites`` are calls of embeddings, with the input that each looks up. Its vectors
    are those of every number of the input, ``(rows, *shape, width)``, wherever the
    network looks it up.
    """

    def __init__(
        self,
        outer: NetworkSubject,
        layer: Any,
        inputs: tuple[Tensor, ...],
        sites: Mapping[Site, Lookup] | None = None,
    ) -> None:
        # It is the same network.
        self.module = outer.module
        self.device = outer.device
        # Which values of layers change nothing is not asked.
        self._unread = Unread()
        self.dtype = outer.dtype
        self.coarse = outer.coarse
        self.form = outer.form
        self.outputs = outer.outputs
        self.place = outer.place
        self.words = outer.words
        self.head = outer.head
        self.picked = outer.picked
        self.by_place = outer.by_place
        self.layout = outer.layout
        self.output_shape = outer.output_shape
        self.in_pairs = outer.in_pairs
        self.moved = outer.moved
        self.rewrites = outer.rewrites
        self.makes_images = outer.makes_images
        self.noted = outer.noted
        self.input_names = outer.input_names
        self._width, self._largest_batch = outer._width, outer._largest_batch  # noqa: SLF001 — its own class
        self._uses = {}
        self.outer = outer
        self._most_rows = outer.most_rows()
        self.layers = _layers_of(outer, layer)
        # What is left of a network that is cut is not folded.
        self._folded = None
        self._looked = True
        self._sites: dict[Site, Lookup | None] | None = (
            None if sites is None else dict(sites)
        )
        #: the first rows explained, also with what a subject around the network adds
        self._first_rows = [tensor[:_PROBE_ROWS] for tensor in inputs]
        probe_rows = min(_PROBE_ROWS, len(inputs[0]), max(2, outer.most_rows()))
        self.inputs = with_fewer(probe_rows, partial(self._look, inputs))
        # The activations, then the network's own inputs that the layers behind still
        # need.
        self.input_names = (
            *self.names,
            *values_at(outer.input_names, self.needed),
        )
        self.real = tuple(tensor.is_floating_point() for tensor in self.inputs)

    def _look(self, inputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
        """Find with the first rows how layers are called and where to cut.

        Return what is explained.
        """
        sample_rows = self.in_company([tensor[:count] for tensor in inputs])
        with torch.no_grad(), self.open():
            layer_outputs, expected_output = self._seen(sample_rows)
            calls = Counter(layer for layer, _ in layer_outputs)
            for layer in self.layers:
                if not calls[layer]:
                    problem, hint = of_unheard(self.module, layer)
                    raise InputError(problem, hint=hint, code="PG037")
            if self._sites is None:
                sites: dict[Site, Lookup | None] = {}
                for layer in self.layers:
                    for call_number in range(calls[layer]):
                        sites[(layer, call_number)] = None
                self._sites = sites
            captured = self._of_rows(layer_outputs, sample_rows)
            self.calls = len(captured)
            self.names = tuple(
                layer if calls[layer] == 1 else f"{layer}#{call_number}"
                for layer, call_number in self._sites
            )
            self._suffix, needed = (
                (None, None)
                if self.outer.rewrites
                else _cut(self.outer, self._sites, calls)
            )
            self.cut = self._suffix is not None
            #: positions of the network's own inputs that follow the activations
            if needed is None:
                self.needed = tuple(range(len(inputs)))
            else:
                self.needed = needed
            if self._suffix is not None and not self._same(
                captured, sample_rows, expected_output
            ):
                self._suffix = None
                self.cut = False
                self.needed = tuple(range(len(inputs)))
            if not self._same(captured, sample_rows, expected_output):
                which = ", ".join(map(repr, self.layers))
                problem = (
                    "The network gives different outputs for the same output of "
                    f"layer {which}"
                )
                hint = (
                    "Choose a layer whose output is a tensor that is not changed in "
                    "place"
                )
                raise InputError(problem, hint=hint, code="PG037")
        return (*captured, *values_at(sample_rows, self.needed))

    def readings(self) -> dict[int, str]:
        """Return how the next layers read the activations.

        Those of embeddings are sequences.
        """
        vectors = []
        for layer, _ in self._sites or {}:
            vectors.append(isinstance(self.layers[layer], _VECTORS))
        sequences = {}
        for input_index, is_vector in enumerate(vectors):
            if is_vector:
                sequences[input_index] = "tokens"
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
        """Return what is explained for rows, one tensor per call, and the inputs that
        are still needed.
        """
        count = len(inputs[0])
        batch_rows = min(
            _BATCH if self.device.type == "cpu" else _BATCH_ACCELERATOR,
            self.outer.most_rows(),
        )

        def lifted(rows: Sequence[Tensor]) -> list[Tensor]:
            return gathered(
                count,
                lambda row_slice: self.captured(
                    [input_tensor[row_slice] for input_tensor in rows]
                )[0],
                partial(in_batches, count, batch_rows),
            )

        with self.open(), torch.no_grad():
            activations = lifted(inputs)
            if None in (self._sites or {}).values():
                # In other company: every batch takes rows from everywhere, the last
                # ones first.
                order = torch.arange(count).flip(0)
                order = order[(order % -(-count // batch_rows)).argsort(stable=True)]
                check_order(
                    activations,
                    order,
                    lambda order: lifted(
                        [
                            input_tensor[order.to(input_tensor.device)]
                            for input_tensor in inputs
                        ]
                    ),
                )
        return (*activations, *values_at(inputs, self.needed))

    def lift_references(
        self, inputs: Sequence[Tensor], method: Any
    ) -> tuple[Tensor, ...]:
        """Return what ``lift`` does for rows of which only vectors are read, by a
        method.

        A network that counts the tokens of a text may refuse one of padding alone. The
        vectors are those of the layers.
        """
        try:
            return self.lift(inputs)
        except InputError as error:
            with self.open(), torch.no_grad():
                vectors = self._vectors_alone(inputs)
                if vectors is not None:
                    return (*vectors, *values_at(inputs, self.needed))
            problem = (
                "The network does not run on the rows compared with: "
                f"{getattr(error, 'words', error.problem)}"
            )
            hint = (
                f"Pass {as_typed(method, baseline=...)} with rows that it accepts, or "
                f"{as_typed(method, baseline='background')}"
            )
            raise InputError(problem, hint=hint, code=error.code) from error

    def _vectors_alone(self, inputs: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the vectors of rows that the network refuses, as its layers give them.

        None where a layer refuses them, too, or where the network looks up other ids
        than those it is given, as is seen at the rows explained.
        """
        captured_values = self.captured(self._first_rows)[0]
        try:
            known_vectors = self._by_layers(self._first_rows)
            vectors = self._by_layers(inputs)
        except IndexError:
            return None
        for captured_value, known_vector in zip(
            captured_values, known_vectors, strict=True
        ):
            if not torch.equal(captured_value, known_vector):
                return None
        return vectors

    def _by_layers(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the vectors of each number of an input as its layer gives them,
        without the network.
        """
        values = []
        for (layer, _), lookup in (self._sites or {}).items():
            if lookup is None:
                raise _other_call(layer)
            token_ids = inputs[lookup.place].to(self.device)
            read_positions = lookup.positions.to(self.device)
            layer_vectors = self.layers[layer](
                numbers_by_row(token_ids)[:, read_positions].long()
            )
            vectors = layer_vectors.new_zeros(
                (len(token_ids), token_ids[0].numel(), layer_vectors.shape[-1])
            )
            vectors[:, read_positions] = layer_vectors
            values.append(vectors.reshape(*token_ids.shape, -1))
        return values

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the output, given what is explained and the inputs that are still
        needed.
        """
        count = len(tensors[0])
        tensors = self.in_company(tensors)
        inputs = dict(zip(self.needed, tensors[self.calls :], strict=True))
        activations = [
            layer_activation.to(
                self.device, copy=layer_activation.device == self.device
            )
            for layer_activation in tensors[: self.calls]
        ]
        names = self.outer.input_names
        if self._suffix is not None:
            values = [
                inputs[k].to(self.device).clone() if k in inputs else None
                for k in range(len(names))
            ]
            extra = {
                f"{_PLACE}{call_number}": activation
                for call_number, activation in enumerate(activations)
            }
            with self.theirs(tensors, self.input_names):
                # The module itself would print to stderr what a part of the network
                # raises.
                returned = self.outer.form.call(
                    partial(self._suffix.forward, **extra), values
                )
            return self.taken(returned, len(tensors[0]))[:count]
        replaced_outputs = dict(zip(self._sites or {}, activations, strict=True))

        def hear(site: Site, output: Any, numbers: Tensor | None) -> Any:
            if site in replaced_outputs:
                return self._in_place(site, output, numbers, replaced_outputs[site])
            return None

        network_inputs = values_at(inputs, range(len(names)))
        with self._listening(network_inputs, hear):
            return self.outer.forward(network_inputs)[:count]

    def _in_place(
        self, site: Site, output: Any, numbers: Tensor | None, values: Tensor
    ) -> Tensor:
        """Return what a layer gives in a call, made of the values explained."""
        is_whole_output = (self._sites or {}).get(
            site
        ) is None and output.shape == values.shape
        if is_whole_output or _straight(numbers, values.shape[:-1]):
            return values
        if numbers is None:
            raise _other_call(site[0])
        explained_vectors = values.flatten(0, -2)[numbers.clamp_min(0)]
        explained_mask = (numbers >= 0).unsqueeze(-1)
        if bool(explained_mask.all()):
            return explained_vectors
        return torch.where(explained_mask, explained_vectors, output)

    # ---- finding out -----------------------------------------------------------------
    def captured(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return what is explained, one entry per row, and the network's output."""
        count = len(inputs[0])
        inputs = self.in_company(inputs)
        layer_outputs, output = self._seen(inputs)
        return [
            value[:count] for value in self._of_rows(layer_outputs, inputs)
        ], output[:count]

    def _of_rows(
        self,
        layer_outputs: Mapping[Site, tuple[Any, Tensor | None]],
        inputs: Sequence[Tensor],
    ) -> list[Tensor]:
        """Return what is explained of what layers gave: their values, or a vector for
        each number looked up.
        """
        values = []
        for layer_site, lookup in (self._sites or {}).items():
            output, numbers = layer_outputs.get(layer_site, (None, None))
            if lookup is None:
                _check_rows(layer_site[0], output, len(inputs[0]))
            elif not _straight(numbers, inputs[lookup.place].shape):
                output = self._looked_up(
                    layer_site[0], lookup, output, numbers, inputs[lookup.place]
                )
            values.append(output)
        return values

    def _looked_up(
        self,
        layer: str,
        lookup: Lookup,
        output: Any,
        numbers: Tensor | None,
        ids: Tensor,
    ) -> Tensor:
        """Return the vector of each number of an input, also of those that were cut off
        in this batch of rows.
        """
        if numbers is None:
            raise _other_call(layer)
        ids = ids.to(output.device)
        weight: Any = self.layers[layer].weight
        vectors = output.new_zeros((ids.numel(), output.shape[-1]))
        left_mask = torch.zeros(ids.shape, dtype=torch.bool, device=output.device)
        numbers_by_row(left_mask)[:, lookup.positions.to(output.device)] = True
        known_numbers = numbers[numbers >= 0]
        flat_ids = ids.flatten().long()
        vectors[known_numbers] = output[numbers >= 0]
        left_mask = left_mask.flatten().index_fill(0, known_numbers, False)
        if bool(left_mask.any()):
            # Whether ids are looked up as they are is seen at the others.
            inside = bool((flat_ids[left_mask] >= 0).all()) and bool(
                (flat_ids[left_mask] < len(weight)).all()
            )
            if not inside or not torch.equal(
                vectors[known_numbers],
                functional.embedding(flat_ids[known_numbers], weight),
            ):
                raise _other_call(layer)
            vectors[left_mask] = functional.embedding(flat_ids[left_mask], weight)
        return vectors.reshape(*ids.shape, -1)

    def _seen(
        self, inputs: Sequence[Tensor]
    ) -> tuple[dict[Site, tuple[Any, Tensor | None]], Tensor]:
        """Return what the layers gave in all their calls, of which numbers, and the
        network's output.
        """
        layer_outputs: dict[Site, tuple[Any, Tensor | None]] = {}

        def keep(site: Site, output: Any, numbers: Tensor | None) -> None:
            # A copy: the next layer may work in place.
            layer_outputs[site] = (
                output.detach().clone() if isinstance(output, Tensor) else output,
                numbers,
            )

        with self._listening(inputs, keep):
            return layer_outputs, self.outer.forward(inputs)

    @contextmanager
    def _listening(
        self, inputs: Sequence[Tensor], hear: Callable[[Site, Any, Tensor | None], Any]
    ) -> Iterator[None]:
        """Pass each call's output to ``hear``, with the numbers it looked up, and
        replace it by the value returned.
        """
        lookups = self._sites or {}
        if any(lookups.values()):
            copying = Copying(inputs)
        else:
            copying = None

        def leave(
            site: Site, args: tuple[Any, ...], options: dict[str, Any], output: Any
        ) -> Any:
            lookup = lookups.get(site)
            numbers = None
            if copying is not None and lookup is not None:
                numbers = copying.sources(
                    args[0] if args else options.get("input")
                ).get(lookup.place)
            return hear(site, output, numbers)

        with listening(self.layers, leave), copying or nullcontext():
            yield

    def _same(
        self, captured: Sequence[Tensor], few: Sequence[Tensor], expected_output: Tensor
    ) -> bool:
        try:
            again = self.forward((*captured, *values_at(few, self.needed)))
        except Exception:
            if self._suffix is not None:
                return False
            raise
        scale = max(1.0, float(expected_output.abs().max()))
        return (
            again.shape == expected_output.shape
            and float((again - expected_output).abs().max()) <= 1e-4 * scale
        )


# ---- cutting -------------------------------------------------------------------------

_PLACE = "permgrad_activation_"


def _check_rows(layer: str, output: Any, count: int) -> None:
    """Refuse a layer's output without one entry for each row."""
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != count:
        tensor = isinstance(output, Tensor)
        shape = tuple(output.shape) if tensor else f"a {type(output).__name__}"
        problem = (
            f"The output of layer {layer!r} must be a tensor with one entry per "
            f"row, got {shape} for {count} rows"
        )
        hint = "Choose another layer" if tensor else BY_IDENTITY
        raise InputError(problem, hint=hint, code="PG037")


def _other_call(layer: str) -> InputError:
    problem = (
        f"The network calls layer {layer!r} with other rows or places in some "
        "batches, which cannot be followed"
    )
    return InputError(
        problem,
        hint="Choose method='permutation', 'shapley' or 'lime', without layer=",
        code="PG037",
    )


def _straight(numbers: Tensor | None, shape: Sequence[int]) -> bool:
    """Return whether all numbers of an input are looked up, in their order."""
    if numbers is None or numbers.shape != torch.Size(shape):
        return False
    return torch.equal(
        numbers.flatten(), torch.arange(numbers.numel(), device=numbers.device)
    )


def _layers_of(outer: NetworkSubject, layer: Any) -> dict[str, nn.Module]:
    """Return one layer, or several, by their names."""
    modules = dict(outer.module.named_modules())
    layers = [layer]
    if isinstance(layer, (list, tuple)) and layer:
        layers = list(layer)
    for checked_layer in layers:
        _check_layer(outer, checked_layer, modules)
    if len(set(layers)) < len(layers):
        problem = f"layer= names the same layer twice: {', '.join(map(repr, layers))}"
        raise InputError(problem, hint="Name each layer once", code="PG037")
    return {layer_name: modules[layer_name] for layer_name in layers}


def _check_layer(
    outer: NetworkSubject, layer: Any, modules: dict[str, nn.Module]
) -> None:
    """Refuse a name that is not a part of the network."""
    if isinstance(layer, str) and layer in modules and layer != "":
        return
    named = [layer_name for layer_name in modules if layer_name]
    if not named:
        network_class = type(outer.module).__name__
        problem = (
            f"layer={shown(layer)} names a part of the network, but "
            f"{network_class} has no parts"
        )
        raise InputError(problem, hint="Leave layer out", code="PG037")
    raise unknown("layer", layer, named)


def _cut(
    outer: NetworkSubject, sites: Mapping[Site, Lookup | None], calls: Counter[str]
) -> tuple[fx.GraphModule | None, tuple[int, ...] | None]:
    """Return the network after the layers and the positions of the inputs it still
    needs, or None if it has no cut.

    The trace is of the network in eval mode. Networks whose forward branches on values,
    or unpacks its arguments, cannot be traced. They run completely each time.
    """

    class Tracer(OwnThreadTracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return name in calls or super().is_leaf_module(module, name)

    try:
        tracer = Tracer()
        graph = tracer.trace(outer.module)
        nodes: dict[Site, fx.Node] = {}
        traced = Counter[str]()
        for traced_node in graph.nodes:
            if traced_node.op == "call_module" and traced_node.target in calls:
                nodes[str(traced_node.target), traced[str(traced_node.target)]] = (
                    traced_node
                )
                traced[str(traced_node.target)] += 1
        if traced != calls or not all(
            _as_passed(nodes[layer_site])
            for layer_site, lookup in sites.items()
            if lookup is not None
        ):
            return None, None
        last_placeholder = [
            placeholder
            for placeholder in graph.nodes
            if placeholder.op == "placeholder"
        ][-1]
        for call_number, call_node in enumerate(values_at(nodes, sites)):
            with graph.inserting_after(last_placeholder):
                last_placeholder = graph.placeholder(
                    f"{_PLACE}{call_number}", default_value=None
                )
            call_node.replace_all_uses_with(last_placeholder)
            graph.erase_node(call_node)
        erase_unused(graph, keep=lambda node: node.op == "placeholder")
        graph.lint()
        suffix = tracer.as_module(graph)
    except Exception:  # noqa: BLE001 — whatever the user's code does under tracing, the whole network still runs
        return None, None
    return suffix, _needed_inputs(outer, graph)


def _needed_inputs(outer: NetworkSubject, graph: fx.Graph) -> tuple[int, ...]:
    """Return which of the network's own inputs a cut graph still reads."""
    passed = []
    used_inputs = set()
    for graph_node in graph.nodes:
        target = str(graph_node.target)
        if graph_node.op == "placeholder" and not target.startswith(_PLACE):
            passed.append(target)
            if graph_node.users:
                used_inputs.add(target.lstrip("*"))
    if not used_inputs:
        return ()
    if outer.form.whole or any(target.startswith("*") for target in passed):
        return tuple(range(len(outer.input_names)))
    needed = []
    for position, input_name in enumerate(placeholder_names(outer, passed)):
        if input_name in used_inputs:
            needed.append(position)
    return tuple(needed)


def _as_passed(node: fx.Node) -> bool:
    """Return whether nothing moves the numbers of an input on their way to a node."""
    return all(
        source_node.op in ("placeholder", "get_attr")
        or (
            source_node.op in ("call_function", "call_method")
            and name_of(source_node.target) in ALONE
            and _as_passed(source_node)
        )
        for source_node in node.all_input_nodes
    )


# ---- which inputs a unit depends on --------------------------------------------------
def _modalities(
    inner: InnerSubject,
    inputs: Sequence[Tensor],
    donors: Sequence[Tensor],
    space: PlayerSpace,
) -> tuple[str, ...]:
    """Return for each player at the layer the inputs on which it depends, joined by
    ``+``.
    """
    names = inner.outer.input_names
    if len(names) == 1:
        return (names[0],) * len(space)

    def depends(count: int) -> list[list[str]]:
        """Return for each player the inputs that change it when other rows stand there,
        tried on the first rows.
        """
        first_rows = [tensor[:count] for tensor in inputs]
        # Another row for each: the background's rows backwards, which are others also
        # where both are the same rows.
        exchanged = []
        for donor, row_values in zip(donors, first_rows, strict=True):
            exchanged.append(donor[-count:].flip(0).to(row_values.device))
        inputs_of: list[list[str]] = [[] for _ in space.names]
        with torch.no_grad(), inner.open():
            before, _ = inner.captured(first_rows)
            for position, input_name in enumerate(names):
                after, _ = inner.captured(
                    [
                        *first_rows[:position],
                        exchanged[position],
                        *first_rows[position + 1 :],
                    ]
                )
                moved = []
                for before_values, after_values in zip(before, after, strict=True):
                    moved.append(_changed(before_values, after_values)[None])
                for player in torch.nonzero(space.sums(moved)[0]).flatten().tolist():
                    inputs_of[player].append(input_name)
        return inputs_of

    probe_rows = min(_PROBE_ROWS, len(inputs[0]), len(donors[0]))
    return tuple(
        "+".join(player_inputs) or CONSTANT
        for player_inputs in with_fewer(probe_rows, depends)
    )


def _changed(before: Tensor, after: Tensor) -> Tensor:
    """Return 1 for every unit that differs in some row by more than rounding, else 0.

    Rounding is relative to the unit's own size, since its neighbours may have other
    units, such as an income beside a yes or no. Differences below the last digit of the
    largest unit are rounding too, of sums in which much cancels.
    """
    unit_sizes = before.abs().amax(dim=0)
    if before.is_floating_point():
        last_digit = min(torch.finfo(before.dtype).eps, _SAME)
    else:
        last_digit = 0.0
    rounding = (_SAME * unit_sizes).clamp_min(
        max(last_digit * float(unit_sizes.max()), 1e-30)
    )
    return ((after - before).abs().amax(dim=0) > rounding).double()
