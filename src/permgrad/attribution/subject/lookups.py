"""Find where a network looks up an input's numbers in an embedding, where token ids and
codes have slopes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from permgrad.attribution.players.space import NOBODY
from permgrad.attribution.subject.tracing import (
    MOVING,
    Site,
    listening,
    name_of,
    tensors_in,
)
from permgrad.base.checks import is_whole

#: Functions that make a new number of each number by itself.
ALONE = frozenset(
    {
        "clone",
        "contiguous",
        "to",
        "long",
        "int",
        "short",
        "type",
        "type_as",
        "detach",
        "alias",
        "add",
        "radd",
        "iadd",
        "sub",
        "isub",
        "mul",
        "imul",
        "clamp",
        "clamp_min",
        "clamp_max",
        "clip",
        "minimum",
        "maximum",
        "remainder",
        "mod",
        "masked_fill",
        "where",
        "round",
        "floor",
        "nan_to_num",
    }
)
#: Functions that write numbers into others, with the positions of what they write.
_WRITING: dict[str, tuple[int, ...]] = {
    "setitem": (2,),
    "copy": (1,),
    "index_copy": (3,),
    "index_put": (2,),
    "scatter": (3,),
    "masked_scatter": (2,),
    "put": (2,),
    "slice_scatter": (1,),
    "select_scatter": (1,),
    "diagonal_scatter": (1,),
}
#: Names of what such functions write.
_NAMED_VALUES = frozenset(("src", "source", "value", "values"))
#: Functions that change something else of a tensor than its numbers.
_SAME_NUMBERS = frozenset(("requires_grad", "share_memory", "rename"))
_JOINING = frozenset(("cat", "concat", "concatenate", "stack", "hstack", "vstack"))
#: Rows on which it is found out what is looked up, if memory allows.
_PROBE_ROWS = 64


@dataclass(frozen=True, eq=False)
class Lookup:
    """One call of an embedding that reads an input.

    Attributes:
        site: The layer and the number of its call. None: it is not the complete output
            of a layer.
        place: The position of the input.
        positions: Those of the input's numbers that are read in some row, flat within a
            row.
        pad: The id of padding, if there is one.
    """

    site: Site | None
    place: int
    positions: Tensor
    pad: int | None

    def reads(self, count: int) -> bool:
        """Return whether every number of a row, of which there are ``count``, is looked
        up.
        """
        return len(self.positions) == count


class Copying(TorchFunctionMode):
    """Follows the numbers of a forward's inputs where they are moved (sorted, cut,
    packed, written) or changed.
    """

    def __init__(self, rows: Sequence[Tensor]) -> None:
        super().__init__()
        # For each input the place that each number has in it, flat over rows, NaN for
        # what is none of it: of the inputs, and beside each memory that holds followed
        # numbers. The tensors are held as long as this lives, so that no other one
        # takes over their memory.
        self._inputs: dict[int, tuple[Tensor, dict[int, Tensor]]] = {}
        self._followed: dict[int | None, tuple[Tensor, dict[int, Tensor]]] = {}
        for input_index, tensor in enumerate(rows):
            number = torch.arange(
                tensor.numel(), dtype=torch.float64, device=tensor.device
            )
            _, positions_by_input = self._inputs.setdefault(id(tensor), (tensor, {}))
            positions_by_input[input_index] = number.reshape(tensor.shape)

    def sources(self, value: Any) -> dict[int, Tensor]:
        """Return for each input that a tensor copies which of its numbers each one is,
        flat over rows (-1: none).
        """
        return {
            input_index: numbers.nan_to_num(NOBODY).long()
            for input_index, numbers in self._of(value).items()
        }

    def look(
        self, name: str, args: tuple[Any, ...], options: dict[str, Any], value: Any
    ) -> None:
        """Look at a call of the function ``name``."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile, and follow what it
        moves.
        """
        options = kwargs or {}
        function_name = name_of(func)
        value = func(*args, **options)
        self.look(function_name, args, options, value)
        input_indices = dict.fromkeys(
            input_index
            for tensor in tensors_in(args, options)
            for input_index in self._of(tensor)
        )
        if args and _writes(func, value, args[0]):
            written = args[0]
        else:
            written = None
        if written is not None:
            results = [written]
        else:
            results = list(tensors_in(value))
        options = {
            option_name: option_value
            for option_name, option_value in options.items()
            if option_name != "out"
        }
        for followed_input in input_indices:
            with torch.no_grad():
                there = self._where(
                    func, args, options, followed_input, results, written
                )
                if written is not None:
                    there = there or [None]
                for result, numbers in zip(results, there, strict=False):
                    self._note_result(
                        result, followed_input, numbers, written, function_name
                    )
        return value

    def _note_result(
        self,
        result: Tensor,
        input_index: int,
        numbers: Tensor | None,
        written: Tensor | None,
        name: str,
    ) -> None:
        """Note where the numbers of a call's result come from."""
        if written is None:
            # A view has the places of its memory.
            if numbers is not None and input_index not in self._of(result):
                self._follow(result, input_index, numbers)
        elif name not in _SAME_NUMBERS:
            self._follow(
                result, input_index, _nowhere(result) if numbers is None else numbers
            )

    def _where(
        self,
        func: Any,
        args: Sequence[Any],
        options: Mapping[str, Any],
        input_index: int,
        results: Sequence[Tensor],
        written: Tensor | None,
    ) -> Sequence[Tensor | None]:
        """Return the places of the numbers of a call's results, None for no place."""
        function_name = name_of(func)
        if (
            function_name in MOVING and written is not None
        ):  # it is turned in its memory
            return [self._of(written).get(input_index)]
        if function_name in MOVING or function_name in _WRITING:
            return self._moved(func, args, options, input_index, written)
        sources = []
        for tensor in tensors_in(args, options):
            positions_by_input = self._of(tensor)
            if input_index in positions_by_input:
                sources.append(positions_by_input[input_index])
        there = [_alone(function_name, args, sources, result) for result in results]
        if function_name == "where" and None in there:  # it chooses between two orders
            return self._moved(func, args, options, input_index)
        return there

    def _of(self, value: Any) -> dict[int, Tensor]:
        """Return the places of a tensor's numbers: an input's, or those of its
        memory.
        """
        if id(value) in self._inputs:
            return self._inputs[id(value)][1]
        _, positions_by_input = self._followed.get(_memory_of(value), (None, {}))
        of: dict[int, Tensor] = {}
        for input_index, numbers in positions_by_input.items():
            if _reach(value) <= len(numbers):
                of[input_index] = numbers.as_strided(
                    value.size(), value.stride(), value.storage_offset()
                )
        return of

    def _follow(self, tensor: Tensor, input_index: int, numbers: Tensor) -> None:
        """Note the places of a tensor's numbers beside its memory."""
        memory = _memory_of(tensor)
        if memory is None or numbers.shape != tensor.shape or _overlaps(tensor):
            return
        _, positions_by_input = self._followed.setdefault(memory, (tensor, {}))
        if input_index not in positions_by_input:
            length = tensor.untyped_storage().nbytes() // tensor.element_size()
            positions_by_input[input_index] = torch.full(
                (length,), math.nan, device=tensor.device, dtype=torch.float64
            )
        layout = tensor.size(), tensor.stride(), tensor.storage_offset()
        positions_by_input[input_index].as_strided(*layout).copy_(numbers)

    def _moved(
        self,
        func: Any,
        args: Sequence[Any],
        options: Mapping[str, Any],
        input_index: int,
        written: Tensor | None = None,
    ) -> list[Tensor | None]:
        """Call a function that moves numbers on their places."""
        function_name = name_of(func)

        def stand_in(leaf: Any) -> Any:
            return self._stand_in(leaf, input_index, function_name)

        replaced, named = pytree.tree_map(stand_in, (list(args), dict(options)))
        for argument_index in _values(function_name, args):
            replaced[argument_index] = self._written(args[argument_index], input_index)
        for option_name in (
            _NAMED_VALUES & options.keys() if function_name in _WRITING else ()
        ):
            named[option_name] = self._written(options[option_name], input_index)
        if written is not None:
            replaced[0] = replaced[0].clone()
        try:
            moved = func(*replaced, **named)
        except (RuntimeError, TypeError, IndexError):
            return []  # a function that takes other arguments than numbers and shapes
        if written is not None:
            return [replaced[0]]
        # Places are no whole numbers, as sizes of batches are.
        return [
            moved_tensor if moved_tensor.is_floating_point() else None
            for moved_tensor in tensors_in(moved)
        ]

    def _stand_in(self, leaf: Any, input_index: int, name: str) -> Any:
        """Return the places of an argument's numbers. Whole numbers may be indexes."""
        if not isinstance(leaf, Tensor):
            return leaf
        numbers = self._of(leaf).get(input_index)
        if numbers is not None:
            if name == "view":
                return numbers.contiguous()
            return numbers
        if leaf.is_floating_point() or name in _JOINING:
            return _nowhere(leaf)
        return leaf

    def _written(self, value: Any, input_index: int) -> Any:
        """Return the places of what is written, NaN for a number that is none of it."""
        if not isinstance(value, Tensor):
            return math.nan
        numbers = self._of(value).get(input_index)
        if numbers is None:
            return _nowhere(value)
        return numbers


def _nowhere(tensor: Tensor) -> Tensor:
    """Return places of numbers that come from no input."""
    return torch.full(tensor.shape, math.nan, device=tensor.device, dtype=torch.float64)


def _values(name: str, args: Sequence[Any]) -> list[int]:
    """Return the positions of a function's arguments that are numbers to write, not
    indexes.
    """
    if name == "where":
        values: list[int] = []
        for argument_index, argument in enumerate(args):
            if not _is_switch(argument):
                values.append(argument_index)
        return values
    if name not in _WRITING:
        return []
    written: list[int] = []
    for argument_index in (0, *_WRITING[name]):
        if argument_index < len(args):
            written.append(argument_index)
    return written


def _is_switch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.bool


def _writes(func: Any, value: Any, into: Any) -> bool:
    """Return whether a call writes into its first argument."""
    function_name = str(getattr(func, "__name__", ""))
    if not isinstance(into, Tensor):
        return False
    return function_name == "__setitem__" or (
        value is into and function_name.endswith("_")
    )


def _memory_of(value: Any) -> int | None:
    """Return the number of a tensor's memory, None where it has none of its own."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return None
    try:
        return value.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # such as rows under vmap
        return None


def _reach(tensor: Tensor) -> int:
    """Return how many numbers of its memory a tensor reaches over."""
    steps = zip(tensor.size(), tensor.stride(), strict=True)
    reach = sum(
        (dimension_size - 1) * dimension_stride
        for dimension_size, dimension_stride in steps
    )
    return int(tensor.storage_offset()) + 1 + reach


def _overlaps(tensor: Tensor) -> bool:
    """Return whether a tensor has more numbers than its memory."""
    return tensor.numel() > _reach(tensor) - tensor.storage_offset()


def _alone(
    name: str, args: Sequence[Any], sources: Sequence[Tensor], result: Tensor
) -> Tensor | None:
    """Return where each number of a result comes from, if it is made of that number
    alone.
    """
    table = sources[0].to(result.device)
    if name == "pad":
        if len(args) > 1:
            return functional.pad(table, list(args[1]), value=math.nan)
        return None
    same_positions = all(
        source_positions.shape == result.shape
        and torch.equal(source_positions.nan_to_num(-1), table.nan_to_num(-1))
        for source_positions in sources
    )
    if name in ALONE and same_positions:
        return table
    return None


class _Watch(Copying):
    """Notes the calls of ``functional.embedding``, and the layers in which they
    happen.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Mapping[str, nn.Embedding],
        rows: Sequence[Tensor],
    ) -> None:
        super().__init__(rows)
        self._network = network
        self._layers = layers
        self._rows = rows
        self._site: Site | None = None
        self._layer: nn.Embedding | None = None
        self._shape: torch.Size | None = None
        self.lookups: list[Lookup] = []

    def look(
        self, name: str, args: tuple[Any, ...], options: dict[str, Any], value: Any
    ) -> None:
        """Note a call that looks numbers of inputs up."""
        if name == "embedding" and isinstance(value, Tensor):
            # In a graph of torch.export the weights come first.
            if args and args[0] is not None and args[0].is_floating_point():
                looked_up = args[1]
            else:
                looked_up = (args or [None])[0]
            self._note(options.get("input") if looked_up is None else looked_up)

    def _note(self, ids: Any) -> None:
        # Ids that are masked come from the mask too, which has fewer values.
        sources = sorted(
            self.sources(ids).items(),
            key=lambda pair: -len(self._rows[pair[0]].unique()),
        )
        for input_index, numbers in sources:
            # The id of padding: the embedding's own, or that of the network's
            # configuration.
            padding_id = None
            if self._layer is not None:
                padding_id = self._layer.padding_idx
                if padding_id is None:
                    padding_id = configured_pad(self._network)
                if not (
                    padding_id is not None and padding_id < self._layer.num_embeddings
                ):
                    padding_id = None
            read_positions = numbers[numbers >= 0].cpu() % max(
                1, self._rows[input_index][0].numel()
            )
            self._shape = ids.shape
            self.lookups.append(
                Lookup(self._site, input_index, read_positions.unique(), padding_id)
            )

    def enter(self, site: Site) -> None:
        """Note that a layer is called."""
        self._site = site
        self._layer = self._layers[site[0]]

    def leave(self, _site: Site, _args: Any, _options: Any, output: Any) -> None:
        """Note that the layer returned.

        Look-ups for places other than its output's get no site.
        """
        for number, lookup in enumerate(self.lookups):
            if lookup.site == self._site and not (
                isinstance(output, Tensor) and output.shape[:-1] == self._shape
            ):
                self.lookups[number] = replace(lookup, site=None)
        self._site = self._layer = None


def find_lookups(subject: Any) -> list[Lookup]:
    """Return the calls of embeddings that read an input of a network, without those of
    positions, for example.

    A call that reads several inputs, for example if masks choose between two of them,
    is listed once for each.
    """
    modules = {}
    for module_name, submodule in subject.module.named_modules():
        if isinstance(submodule, nn.Embedding):
            modules[module_name] = submodule
    if not modules and all(subject.real):
        return []
    # Rows from everywhere, and the largest of each input: a network may look at no more
    # places than its rows have.
    count = len(subject.inputs[0])
    sample_indices = torch.arange(
        0, count, max(1, -(-count // max(2, min(_PROBE_ROWS, subject.most_rows()))))
    )
    small = []
    for tensor in subject.inputs:
        if not tensor.is_floating_point() or tensor.ndim < 3:
            small.append(tensor)
    largest = []
    for tensor in small:
        largest.append(tensor.reshape(count, -1).sum(dim=1).argmax().cpu()[None])
    row_indices = torch.cat([sample_indices, *largest]).unique()
    sample_rows = [tensor[row_indices.to(tensor.device)] for tensor in subject.inputs]
    watch = _Watch(subject.module, modules, sample_rows)
    with listening(modules, watch.leave, watch.enter), watch:
        subject.forward(sample_rows)
    return watch.lookups


def with_embeddings(module: nn.Module) -> nn.Module:
    """Return a graph, as ``torch.export`` makes it, whose look-ups are calls of layers,
    else the network itself.

    Slopes of whole numbers are found at layers. The weights are those of the network.
    """
    if isinstance(module, fx.GraphModule):
        old_graph = module.graph
    else:
        old_graph = fx.Graph()
    calls = []
    for graph_node in old_graph.nodes:
        if (
            graph_node.op == "call_function"
            and name_of(graph_node.target) == "embedding"
        ):
            calls.append(graph_node)
    if not calls:
        return module
    graph = fx.Graph()
    copies = dict[fx.Node, fx.Node]()
    graph.output(graph.graph_copy(old_graph, copies))
    graph.set_codegen(old_graph._codegen)  # noqa: SLF001 — how it takes its inputs
    new_module = fx.GraphModule(module, graph)
    for lookup_node in calls:
        # Ids and weights, in either order.
        call_arguments = sorted(
            lookup_node.all_input_nodes,
            key=lambda argument_node: argument_node.op == "get_attr",
        )
        if [source_node.op == "get_attr" for source_node in call_arguments] != [
            False,
            True,
        ]:
            continue
        ids_node, weight = call_arguments
        layer_name = (
            f"{str(weight.target).removesuffix('.weight').replace('.', '_')}_rows"
        )
        if len(lookup_node.args) > 2:
            padding_id = lookup_node.args[2]
        else:
            padding_id = lookup_node.kwargs.get("padding_idx")
        if not (padding_id is not None and padding_id >= 0):
            padding_id = None
        new_module.add_module(
            layer_name,
            nn.Embedding.from_pretrained(
                attrgetter(str(weight.target))(module), padding_idx=padding_id
            ),
        )
        with graph.inserting_before(copies[lookup_node]):
            copies[lookup_node].replace_all_uses_with(
                graph.call_module(layer_name, (copies[ids_node],))
            )
        graph.erase_node(copies[lookup_node])
    new_module.recompile()
    return new_module


def configured_pad(network: nn.Module) -> int | None:
    """Return the id of padding that a network's configuration names."""
    padding_id = getattr(getattr(network, "config", None), "pad_token_id", None)
    if is_whole(padding_id) and padding_id >= 0:
        return int(padding_id)
    return None
