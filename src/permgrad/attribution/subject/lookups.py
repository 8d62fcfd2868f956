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

from permgrad.attribution.players.space import NOBODY
from permgrad.attribution.subject.positions import Coordinates, Follower, Following, Sources
from permgrad.attribution.subject.tracing import Site, listening, name_of
from permgrad.base.checks import is_whole

#: Functions that make a new number of each number by itself.
ALONE = frozenset({
    "clone", "contiguous", "to", "long", "int", "short", "type", "type_as", "detach", "alias", "add", "radd", "iadd",
    "sub", "isub", "mul", "imul", "clamp", "clamp_min", "clamp_max", "clip", "minimum", "maximum", "remainder", "mod",
    "masked_fill", "where", "round", "floor", "nan_to_num",
})  # fmt: skip
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


class _Copies(Follower):
    """Knows which numbers are an input's own, moved or changed one by one."""

    def handed_on(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],  # noqa: ARG002 — numbers that are copied need none
        sources: Sources,
        result: Tensor,
    ) -> Coordinates | None:
        """Return where each number of a result comes from, if it is made of that number alone."""
        table = sources[0][1][0].to(result.device)
        if name == "pad":
            return (functional.pad(table, list(args[1]), value=math.nan),) if len(args) > 1 else None
        same = all(one.shape == result.shape and torch.equal(axes[0].to(table.device), table) for one, axes in sources)
        return (table,) if name in ALONE and same else None


class Copying(Following):
    """Follows the numbers of a forward's inputs where they are moved (sorted, cut, packed) or changed one by one."""

    def __init__(self, rows: Sequence[Tensor]) -> None:
        super().__init__(_Copies())
        for place, tensor in enumerate(rows):
            number = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device)
            self._follower.enter(tensor, place, (number.reshape(tensor.shape),))

    def sources(self, value: Any) -> dict[int, Tensor]:
        """Return for each input that a tensor copies which of its numbers each one is, flat over rows (-1: none)."""
        return {place: axes[0].nan_to_num(NOBODY).long() for place, axes in self._follower.of(value).items()}


class _Watch(Copying):
    """Notes the calls of ``functional.embedding``, and the layers in which they happen."""

    def __init__(self, network: nn.Module, layers: Mapping[str, nn.Embedding], rows: Sequence[Tensor]) -> None:
        super().__init__(rows)
        self._network, self._layers, self._rows = network, layers, rows
        self._site: Site | None = None
        self._layer: nn.Embedding | None = None
        self._shape: torch.Size | None = None
        self.lookups: list[Lookup] = []

    def look(self, name: str, args: tuple[Any, ...], options: dict[str, Any], value: Any) -> None:
        """Note a call that looks numbers of inputs up."""
        if name == "embedding" and isinstance(value, Tensor):
            # In a graph of torch.export the weights come first.
            asked = args[1] if args and args[0] is not None and args[0].is_floating_point() else (args or [None])[0]
            self._note(options.get("input") if asked is None else asked)

    def _note(self, ids: Any) -> None:
        # Ids that are masked come from the mask too, which has fewer values.
        sources = sorted(self.sources(ids).items(), key=lambda pair: -len(self._rows[pair[0]].unique()))
        for place, numbers in sources:
            # The id of padding: the embedding's own, or that of the network's configuration.
            pad = None
            if self._layer is not None:
                pad = self._layer.padding_idx
                pad = configured_pad(self._network) if pad is None else pad
                pad = pad if pad is not None and pad < self._layer.num_embeddings else None
            read = numbers[numbers >= 0].cpu() % max(1, self._rows[place][0].numel())
            self._shape = ids.shape
            self.lookups.append(Lookup(self._site, place, read.unique(), pad))

    def enter(self, site: Site) -> None:
        """Note that a layer is called."""
        self._site, self._layer = site, self._layers[site[0]]

    def leave(self, _site: Site, _args: Any, _options: Any, output: Any) -> None:
        """Note that the layer returned. Look-ups for places other than its output's get no site."""
        for number, lookup in enumerate(self.lookups):
            if lookup.site == self._site and not (isinstance(output, Tensor) and output.shape[:-1] == self._shape):
                self.lookups[number] = replace(lookup, site=None)
        self._site = self._layer = None


def find_lookups(subject: Any) -> list[Lookup]:
    """Return the calls of embeddings that read an input of a network, without those of positions, for example.

    A call that reads several inputs, for example if masks choose between two of them, is listed once for each.
    """
    modules = {name: part for name, part in subject.module.named_modules() if isinstance(part, nn.Embedding)}
    if not modules and all(subject.real):
        return []
    # Rows from everywhere, and the largest of each input: a network may look at no more places than its rows have.
    count = len(subject.inputs[0])
    some = torch.arange(0, count, max(1, -(-count // max(2, min(_PROBE_ROWS, subject.most_rows())))))
    small = [tensor for tensor in subject.inputs if not tensor.is_floating_point() or tensor.ndim < 3]
    largest = [tensor.reshape(count, -1).sum(dim=1).argmax().cpu()[None] for tensor in small]
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
    calls = [node for node in old.nodes if node.op == "call_function" and name_of(node.target) == "embedding"]
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
        made.add_module(name, nn.Embedding.from_pretrained(attrgetter(str(weight.target))(module), padding_idx=pad))
        with graph.inserting_before(copies[node]):
            copies[node].replace_all_uses_with(graph.call_module(name, (copies[ids],)))
        graph.erase_node(copies[node])
    made.recompile()
    return made


def configured_pad(network: nn.Module) -> int | None:
    """Return the id of padding that a network's configuration names."""
    pad = getattr(getattr(network, "config", None), "pad_token_id", None)
    return int(pad) if is_whole(pad) and pad >= 0 else None
