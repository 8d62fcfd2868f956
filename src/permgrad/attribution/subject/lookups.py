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
    """Follows the numbers of a forward's inputs where they are moved (sorted, cut, packed) or changed one by one."""

    def __init__(self, rows: Sequence[Tensor]) -> None:
        super().__init__()
        # The place of each number in its input, flat over rows, NaN for what is none of it. Tensors are held as long
        # as this lives, so that no other one takes over their number.
        self._followed: dict[int, tuple[Tensor, dict[int, Tensor]]] = {}
        for place, tensor in enumerate(rows):
            number = torch.arange(
                tensor.numel(), dtype=torch.float64, device=tensor.device
            )
            self._followed[id(tensor)] = (
                tensor,
                {**self._of(tensor), place: number.reshape(tensor.shape)},
            )

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
        followed = [
            tensor
            for tensor in tensors_in(args, options)
            if id(tensor) in self._followed
        ]
        results = list(tensors_in(value))
        for place in dict.fromkeys(
            place for tensor in followed for place in self._of(tensor)
        ):
            with torch.no_grad():
                if name in _MOVING:
                    there = self._moved(func, args, options, place)
                else:
                    sources = [
                        self._of(tensor)[place]
                        for tensor in followed
                        if place in self._of(tensor)
                    ]
                    there = [_alone(name, args, sources, result) for result in results]
            for result, numbers in zip(results, there, strict=False):
                if numbers is not None:
                    self._followed[id(result)] = (
                        result,
                        {**self._of(result), place: numbers},
                    )
        return value

    def _of(self, value: Any) -> dict[int, Tensor]:
        return self._followed.get(id(value), (None, {}))[1]

    def _moved(
        self, func: Any, args: Sequence[Any], options: Mapping[str, Any], place: int
    ) -> list[Tensor | None]:
        """Call a function that moves numbers on their places."""

        def stand_in(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            numbers = self._of(leaf).get(place)
            if numbers is not None:
                return numbers.contiguous() if name_of(func) == "view" else numbers
            # Whole numbers may be indexes.
            number = leaf.is_floating_point() or name_of(func) in _JOINING
            return (
                torch.full(
                    leaf.shape, math.nan, device=leaf.device, dtype=torch.float64
                )
                if number
                else leaf
            )

        replaced = pytree.tree_map(stand_in, (args, options))
        try:
            found = list(tensors_in(func(*replaced[0], **replaced[1])))
        except (RuntimeError, TypeError, IndexError):
            return []  # a function that takes other arguments than numbers and shapes
        # Places are no whole numbers, as sizes of batches are.
        return [one if one.is_floating_point() else None for one in found]


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
