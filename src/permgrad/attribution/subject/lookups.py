"""Find where a network looks up an input's numbers in an embedding, where token ids and codes have slopes."""

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
from permgrad.attribution.subject.tracing import Site, listening, name_of, tensors_in
from permgrad.base.checks import is_whole

#: Functions that make a new number of each number by itself.
ALONE = frozenset({
    "clone", "contiguous", "to", "long", "int", "short", "type", "type_as", "detach", "alias", "add", "radd", "iadd",
    "sub", "isub", "mul", "imul", "clamp", "clamp_min", "clamp_max", "clip", "minimum", "maximum", "remainder", "mod",
    "masked_fill", "where", "round", "floor", "nan_to_num",
})  # fmt: skip
#: Functions that move numbers, which are called on the numbers' places as well.
_MOVING = frozenset({
    "reshape", "view", "view_as", "reshape_as", "flatten", "unflatten", "permute", "transpose", "swapaxes", "swapdims",
    "movedim", "moveaxis", "t", "T", "mT", "H", "mH", "getitem", "cat", "concat", "concatenate", "stack", "hstack",
    "vstack", "chunk", "split", "tensor_split", "split_with_sizes", "unbind", "select", "narrow", "index_select",
    "gather", "take_along_dim", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "tile", "repeat_interleave",
    "broadcast_to", "roll", "flip", "unfold", "pack_padded_sequence",
})  # fmt: skip
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
    """One call of an embedding that reads an input. ``site`` is None if it is not the complete output of a layer.

    ``positions`` are those of the input's numbers that are read in some row, flat within a row. ``pad`` is the id of
    padding, if there is one.
    """

    site: Site | None
    place: int
    positions: Tensor
    pad: int | None

    def reads(self, count: int) -> bool:
        """Return whether every number of a row, of which there are ``count``, is looked up."""
        return len(self.positions) == count


class Copying(TorchFunctionMode):
    """Follows the numbers of a forward's inputs where they are moved (sorted, cut, packed, written) or changed."""

    def __init__(self, rows: Sequence[Tensor]) -> None:
        super().__init__()
        # For each input the place that each number has in it, flat over rows, NaN for
        # what is none of it: of the inputs, and beside each memory that holds followed
        # numbers. The tensors are held as long as this lives, so that no other one
        # takes over their memory.
        self._inputs: dict[int, tuple[Tensor, dict[int, Tensor]]] = {}
        self._followed: dict[int | None, tuple[Tensor, dict[int, Tensor]]] = {}
        for place, tensor in enumerate(rows):
            number = torch.arange(
                tensor.numel(), dtype=torch.float64, device=tensor.device
            )
            _, places = self._inputs.setdefault(id(tensor), (tensor, {}))
            places[place] = number.reshape(tensor.shape)

    def sources(self, value: Any) -> dict[int, Tensor]:
        """Return for each input that a tensor copies which of its numbers each one is, flat over rows (-1: none)."""
        return {
            place: numbers.nan_to_num(NOBODY).long()
            for place, numbers in self._of(value).items()
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
        """Answer one call of torch, with the mode off meanwhile, and follow what it moves."""
        options, name = kwargs or {}, name_of(func)
        value = func(*args, **options)
        self.look(name, args, options, value)
        places = dict.fromkeys(
            place for tensor in tensors_in(args, options) for place in self._of(tensor)
        )
        written = args[0] if args and _writes(func, value, args[0]) else None
        results = [written] if written is not None else list(tensors_in(value))
        options = {key: one for key, one in options.items() if key != "out"}
        for place in places:
            with torch.no_grad():
                there = self._where(func, args, options, place, results, written)
                if written is not None:
                    there = there or [None]
                for result, numbers in zip(results, there, strict=False):
                    self._note_result(result, place, numbers, written, name)
        return value

    def _note_result(
        self,
        result: Tensor,
        place: int,
        numbers: Tensor | None,
        written: Tensor | None,
        name: str,
    ) -> None:
        """Note where the numbers of a call's result come from."""
        if written is None:
            # A view has the places of its memory.
            if numbers is not None and place not in self._of(result):
                self._follow(result, place, numbers)
        elif name not in _SAME_NUMBERS:
            self._follow(
                result, place, _nowhere(result) if numbers is None else numbers
            )

    def _where(
        self,
        func: Any,
        args: Sequence[Any],
        options: Mapping[str, Any],
        place: int,
        results: Sequence[Tensor],
        written: Tensor | None,
    ) -> Sequence[Tensor | None]:
        """Return the places of the numbers of a call's results, None for no place."""
        name = name_of(func)
        if name in _MOVING and written is not None:  # it is turned in its memory
            return [self._of(written).get(place)]
        if name in _MOVING or name in _WRITING:
            return self._moved(func, args, options, place, written)
        sources = [
            self._of(tensor)[place]
            for tensor in tensors_in(args, options)
            if place in self._of(tensor)
        ]
        there = [_alone(name, args, sources, result) for result in results]
        if name == "where" and None in there:  # it chooses between two orders
            return self._moved(func, args, options, place)
        return there

    def _of(self, value: Any) -> dict[int, Tensor]:
        """Return the places of a tensor's numbers: an input's, or those of its memory."""
        if id(value) in self._inputs:
            return self._inputs[id(value)][1]
        _, places = self._followed.get(_memory_of(value), (None, {}))
        return {
            place: numbers.as_strided(
                value.size(), value.stride(), value.storage_offset()
            )
            for place, numbers in places.items()
            if _reach(value) <= len(numbers)
        }

    def _follow(self, tensor: Tensor, place: int, numbers: Tensor) -> None:
        """Note the places of a tensor's numbers beside its memory."""
        memory = _memory_of(tensor)
        if memory is None or numbers.shape != tensor.shape or _overlaps(tensor):
            return
        _, places = self._followed.setdefault(memory, (tensor, {}))
        if place not in places:
            length = tensor.untyped_storage().nbytes() // tensor.element_size()
            places[place] = torch.full(
                (length,), math.nan, device=tensor.device, dtype=torch.float64
            )
        layout = tensor.size(), tensor.stride(), tensor.storage_offset()
        places[place].as_strided(*layout).copy_(numbers)

    def _moved(
        self,
        func: Any,
        args: Sequence[Any],
        options: Mapping[str, Any],
        place: int,
        written: Tensor | None = None,
    ) -> list[Tensor | None]:
        """Call a function that moves numbers on their places."""
        name = name_of(func)

        def stand_in(leaf: Any) -> Any:
            return self._stand_in(leaf, place, name)

        replaced, named = pytree.tree_map(stand_in, (list(args), dict(options)))
        for at in _values(name, args):
            replaced[at] = self._written(args[at], place)
        for key in _NAMED_VALUES & options.keys() if name in _WRITING else ():
            named[key] = self._written(options[key], place)
        if written is not None:
            replaced[0] = replaced[0].clone()
        try:
            moved = func(*replaced, **named)
        except (RuntimeError, TypeError, IndexError):
            return []  # a function that takes other arguments than numbers and shapes
        if written is not None:
            return [replaced[0]]
        # Places are no whole numbers, as sizes of batches are.
        return [one if one.is_floating_point() else None for one in tensors_in(moved)]

    def _stand_in(self, leaf: Any, place: int, name: str) -> Any:
        """Return the places of an argument's numbers. Whole numbers may be indexes."""
        if not isinstance(leaf, Tensor):
            return leaf
        numbers = self._of(leaf).get(place)
        if numbers is not None:
            return numbers.contiguous() if name == "view" else numbers
        if leaf.is_floating_point() or name in _JOINING:
            return _nowhere(leaf)
        return leaf

    def _written(self, value: Any, place: int) -> Any:
        """Return the places of what is written, NaN for a number that is none of it."""
        if not isinstance(value, Tensor):
            return math.nan
        numbers = self._of(value).get(place)
        return _nowhere(value) if numbers is None else numbers


def _nowhere(tensor: Tensor) -> Tensor:
    """Return places of numbers that come from no input."""
    return torch.full(tensor.shape, math.nan, device=tensor.device, dtype=torch.float64)


def _values(name: str, args: Sequence[Any]) -> list[int]:
    """Return the positions of a function's arguments that are numbers to write, not indexes."""
    if name == "where":
        return [at for at, one in enumerate(args) if not _is_switch(one)]
    if name not in _WRITING:
        return []
    return [at for at in (0, *_WRITING[name]) if at < len(args)]


def _is_switch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.bool


def _writes(func: Any, value: Any, into: Any) -> bool:
    """Return whether a call writes into its first argument."""
    name = str(getattr(func, "__name__", ""))
    if not isinstance(into, Tensor):
        return False
    return name == "__setitem__" or (value is into and name.endswith("_"))


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
    reach = sum((size - 1) * step for size, step in steps)
    return int(tensor.storage_offset()) + 1 + reach


def _overlaps(tensor: Tensor) -> bool:
    """Return whether a tensor has more numbers than its memory."""
    return tensor.numel() > _reach(tensor) - tensor.storage_offset()


def _alone(
    name: str, args: Sequence[Any], sources: Sequence[Tensor], result: Tensor
) -> Tensor | None:
    """Return where each number of a result comes from, if it is made of that number alone."""
    table = sources[0].to(result.device)
    if name == "pad":
        return (
            functional.pad(table, list(args[1]), value=math.nan)
            if len(args) > 1
            else None
        )
    same = all(
        one.shape == result.shape
        and torch.equal(one.nan_to_num(-1), table.nan_to_num(-1))
        for one in sources
    )
    return table if name in ALONE and same else None


class _Watch(Copying):
    """Notes the calls of ``functional.embedding``, and the layers in which they happen."""

    def __init__(
        self,
        network: nn.Module,
        layers: Mapping[str, nn.Embedding],
        rows: Sequence[Tensor],
    ) -> None:
        super().__init__(rows)
        self._network, self._layers, self._rows = network, layers, rows
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
            asked = (
                args[1]
                if args and args[0] is not None and args[0].is_floating_point()
                else (args or [None])[0]
            )
            self._note(options.get("input") if asked is None else asked)

    def _note(self, ids: Any) -> None:
        # Ids that are masked come from the mask too, which has fewer values.
        sources = sorted(
            self.sources(ids).items(),
            key=lambda pair: -len(self._rows[pair[0]].unique()),
        )
        for place, numbers in sources:
            # The id of padding: the embedding's own, or that of the network's configuration.
            pad = None
            if self._layer is not None:
                pad = self._layer.padding_idx
                pad = configured_pad(self._network) if pad is None else pad
                pad = (
                    pad
                    if pad is not None and pad < self._layer.num_embeddings
                    else None
                )
            read = numbers[numbers >= 0].cpu() % max(1, self._rows[place][0].numel())
            self._shape = ids.shape
            self.lookups.append(Lookup(self._site, place, read.unique(), pad))

    def enter(self, site: Site) -> None:
        """Note that a layer is called."""
        self._site, self._layer = site, self._layers[site[0]]

    def leave(self, _site: Site, _args: Any, _options: Any, output: Any) -> None:
        """Note that the layer returned. Look-ups for places other than its output's get no site."""
        for number, lookup in enumerate(self.lookups):
            if lookup.site == self._site and not (
                isinstance(output, Tensor) and output.shape[:-1] == self._shape
            ):
                self.lookups[number] = replace(lookup, site=None)
        self._site = self._layer = None


def find_lookups(subject: Any) -> list[Lookup]:
    """Return the calls of embeddings that read an input of a network, without those of positions, for example.

    A call that reads several inputs, for example if masks choose between two of them, is listed once for each.
    """
    modules = {
        name: part
        for name, part in subject.module.named_modules()
        if isinstance(part, nn.Embedding)
    }
    if not modules and all(subject.real):
        return []
    # Rows from everywhere, and the largest of each input: a network may look at no more places than its rows have.
    count = len(subject.inputs[0])
    some = torch.arange(
        0, count, max(1, -(-count // max(2, min(_PROBE_ROWS, subject.most_rows()))))
    )
    small = [
        tensor
        for tensor in subject.inputs
        if not tensor.is_floating_point() or tensor.ndim < 3
    ]
    largest = [
        tensor.reshape(count, -1).sum(dim=1).argmax().cpu()[None] for tensor in small
    ]
    chosen = torch.cat([some, *largest]).unique()
    rows = [tensor[chosen.to(tensor.device)] for tensor in subject.inputs]
    watch = _Watch(subject.module, modules, rows)
    with listening(modules, watch.leave, watch.enter), watch:
        subject.forward(rows)
    return watch.lookups


def with_embeddings(module: nn.Module) -> nn.Module:
    """Return a graph, as ``torch.export`` makes it, whose look-ups are calls of layers, else the network itself.

    Slopes of whole numbers are found at layers. The weights are those of the network.
    """
    old = module.graph if isinstance(module, fx.GraphModule) else fx.Graph()
    calls = [
        node
        for node in old.nodes
        if node.op == "call_function" and name_of(node.target) == "embedding"
    ]
    if not calls:
        return module
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.output(graph.graph_copy(old, copies))
    graph.set_codegen(old._codegen)  # noqa: SLF001 — how it takes its inputs
    made = fx.GraphModule(module, graph)
    for node in calls:
        # Ids and weights, in either order.
        both = sorted(node.all_input_nodes, key=lambda one: one.op == "get_attr")
        if [one.op == "get_attr" for one in both] != [False, True]:
            continue
        ids, weight = both
        name = f"{str(weight.target).removesuffix('.weight').replace('.', '_')}_rows"
        pad = node.args[2] if len(node.args) > 2 else node.kwargs.get("padding_idx")
        pad = pad if pad is not None and pad >= 0 else None
        made.add_module(
            name,
            nn.Embedding.from_pretrained(
                attrgetter(str(weight.target))(module), padding_idx=pad
            ),
        )
        with graph.inserting_before(copies[node]):
            copies[node].replace_all_uses_with(graph.call_module(name, (copies[ids],)))
        graph.erase_node(copies[node])
    made.recompile()
    return made


def configured_pad(network: nn.Module) -> int | None:
    """Return the id of padding that a network's configuration names."""
    pad = getattr(getattr(network, "config", None), "pad_token_id", None)
    return int(pad) if is_whole(pad) and pad >= 0 else None
