"""Where a network falls into branches, each branch runs once per row, and coalitions are put together behind them.

The network is traced; a node that depends on one input alone, and whose result meets other inputs, is that input's
*frontier*. A network that cannot be traced, or that does not give the same numbers this way, runs whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from permgrad.attribution.subject.tracing import OwnThreadTracer, erase_unused
from permgrad.models.batches import with_fewer

if TYPE_CHECKING:
    from permgrad.attribution.subject.network import NetworkSubject

Embedding = tuple[Tensor, ...]

#: Rows on which the branches are compared with the whole network.
_PROBE_ROWS = 64
#: Bytes that all rows' embeddings may take.
_MOST_BYTES = 512 * 2**20
_SAME = 1e-5


@dataclass
class BranchCut:
    """A network cut into one branch per input and the trunk that joins them; the user's code is met in ``theirs``."""

    subject: NetworkSubject  # the whole network
    branches: tuple[fx.GraphModule, ...]  # for each input the layers before its frontier: ``tensor -> embedding``
    trunk: fx.GraphModule  # what lies behind: takes all embeddings, one after the other
    rows: list[Embedding] = field(default_factory=list)  # the embeddings of the rows explained, of each input
    donor_rows: list[Embedding] = field(default_factory=list)  # and of the background

    def embed(self, position: int, tensor: Tensor) -> Embedding:
        """Return the embedding of rows of one input."""
        device = self.subject.device
        return tuple(self.branches[position].forward(tensor.to(device, copy=tensor.device == device)))

    def fuse(self, embeddings: Sequence[Embedding]) -> Tensor:
        """Return the network's output for embeddings of the same rows."""
        flat = [tensor for embedding in embeddings for tensor in embedding]
        returned = self.trunk.forward(*flat)
        if isinstance(returned, Tensor) and returned.ndim == 2 and len(returned) == len(flat[0]):
            return returned  # what was traced returns the same for every batch
        return self.subject.taken(returned, len(flat[0]))

    def remember(
        self, inputs: Sequence[Tensor], donors: Sequence[Tensor], run: Callable[[int, Callable[[slice], None]], None]
    ) -> None:
        """Keep the embeddings of all rows; ``run(count, work)`` works through slices of rows that fit in memory."""

        def embeddings(position: int, tensor: Tensor) -> Embedding:
            gathered: list[Tensor] = []

            def work(part: slice) -> None:
                with torch.no_grad():
                    embedding = self.embed(position, tensor[part])
                if not gathered:
                    gathered.extend(one.new_empty(len(tensor), *one.shape[1:]) for one in embedding)
                for target, one in zip(gathered, embedding, strict=True):
                    target[part] = one

            run(len(tensor), work)
            return tuple(gathered)

        with self.subject.theirs(inputs):
            self.rows = [embeddings(position, tensor) for position, tensor in enumerate(inputs)]
            if donors is inputs:
                self.donor_rows = self.rows
            else:
                self.donor_rows = [embeddings(position, tensor) for position, tensor in enumerate(donors)]

    def predict(
        self,
        receivers: Tensor,
        donors: Tensor,
        blended: Callable[[int, Tensor], Tensor],
        untouched: Tensor,
        taken: Tensor,
    ) -> Tensor:
        """Return outputs for pairs ``(b,)``; untouched and taken: of which inputs nothing or all is replaced.

        ``blended(input, pairs)`` gives rows of one input with its replaced players' values, for some pairs.
        """
        embeddings = []
        for position, (rows, lenders) in enumerate(zip(self.rows, self.donor_rows, strict=True)):
            replaced = taken[position]
            partly = torch.nonzero(~(untouched[position] | replaced)).flatten()
            some = self.embed(position, blended(position, partly)) if len(partly) else None
            parts = []
            for index, (row, other) in enumerate(zip(rows, lenders, strict=True)):
                joined = row[receivers.to(row.device)]
                if bool(replaced.any()):
                    where = replaced.to(row.device).reshape(-1, *[1] * (row.ndim - 1))
                    joined = torch.where(where, other[donors.to(row.device)], joined)
                if some is not None:
                    joined[partly.to(row.device)] = some[index]
                parts.append(joined)
            embeddings.append(tuple(parts))
        return self.fuse(embeddings)


def cut_into_branches(subject: NetworkSubject, inputs: Sequence[Tensor]) -> BranchCut | None:
    """Return the cut, or None where it would not help, or not give the same numbers."""
    form = subject.form
    if subject.rewrites or len(inputs) < 2 or form.passing == "whole" or len(inputs) != len(form.leaves):
        return None
    if any(len(leaf.place) > 1 for leaf in form.leaves):
        return None
    try:
        cut = _trace(subject, len(inputs))
        most = min(_PROBE_ROWS, len(inputs[0]), max(2, subject.most_rows()))
        if cut is None or not with_fewer(most, partial(_agrees, cut, inputs)):
            return None
    except Exception:  # noqa: BLE001 — whatever the user's code does under tracing, the whole network still runs
        return None
    few = [tensor[:2] for tensor in inputs]
    per_row = sum(t.element_size() * t[0].numel() for k, row in enumerate(few) for t in cut.embed(k, row))
    return cut if per_row * len(inputs[0]) <= _MOST_BYTES else None


def _trace(subject: NetworkSubject, count: int) -> BranchCut | None:
    tracer = OwnThreadTracer()
    graph = tracer.trace(subject.module)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    names = placeholder_names(subject, [str(node.target) for node in placeholders])
    position = {name: index for index, name in enumerate(names)}
    depends: dict[fx.Node, frozenset[int]] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            depends[node] = frozenset({position[node.target]}) if node.target in position else frozenset()
        else:
            depends[node] = frozenset().union(*(depends[source] for source in node.all_input_nodes))
    frontier = _frontier(depends, count)
    if not all(frontier) or all(node.op == "placeholder" for nodes in frontier for node in nodes):
        return None
    branches = tuple(_part(tracer, graph, frontier[k], names[k]) for k in range(count))
    return BranchCut(subject, branches, _part(tracer, graph, [node for nodes in frontier for node in nodes]))


def _frontier(depends: dict[fx.Node, frozenset[int]], count: int) -> list[list[fx.Node]]:
    """Return for each input the nodes that depend on it alone and are met by what depends on others as well."""
    frontier: list[list[fx.Node]] = [[] for _ in range(count)]
    for node, inputs in depends.items():
        meets = any(depends[user] != inputs or user.op == "output" for user in node.users)
        if len(inputs) == 1 and node.op != "output" and meets:
            frontier[next(iter(inputs))].append(node)
    return frontier


def placeholder_names(subject: NetworkSubject, parameters: list[str]) -> list[str]:
    """Return for each input tensor the parameter of the forward that it belongs to."""
    if subject.form.passing == "keywords":
        return [str(leaf.place[0]) for leaf in subject.form.leaves]
    places = subject.form.arguments
    return [parameters[places.index(leaf.place[0])] for leaf in subject.form.leaves]


def _part(
    tracer: OwnThreadTracer, graph: fx.Graph, frontier: Sequence[fx.Node], name: str | None = None
) -> fx.GraphModule:
    """Return what lies before the frontier, given the input ``name``; without a name what lies behind it."""
    part = fx.Graph()
    mapped: dict[fx.Node, fx.Node] = {}
    result = part.graph_copy(graph, mapped)
    output = part.output(result)
    if name is not None:
        output.args = (tuple(mapped[node] for node in frontier),)
    else:
        first = next(iter(part.nodes))
        for index, node in enumerate(frontier):
            with part.inserting_before(first):
                place = part.placeholder(f"embedding_{index}")
            mapped[node].replace_all_uses_with(place)
    # What is not used goes, inputs too, except those that are passed.
    erase_unused(
        part,
        lambda node: node.op == "placeholder" and (node.target == name or str(node.target).startswith("embedding_")),
    )
    part.lint()
    return tracer.as_module(part)


def _agrees(cut: BranchCut, inputs: Sequence[Tensor], count: int) -> bool:
    """Return whether every input from other rows, embedded by itself, gives what the whole network gives."""
    if count < 2:
        return False
    with torch.no_grad():
        mixed = [tensor[:count].roll(shift, dims=0) for shift, tensor in enumerate(inputs)]
        embeddings = []
        for position, (shift, tensor) in enumerate(zip(range(len(inputs)), inputs, strict=True)):
            embedding = cut.embed(position, tensor[:count])
            if any(not isinstance(one, Tensor) or one.ndim == 0 or len(one) != count for one in embedding):
                return False
            embeddings.append(tuple(one.roll(shift, dims=0) for one in embedding))
        expected, joined = cut.subject.forward(mixed), cut.fuse(embeddings)
    scale = max(1.0, float(expected.abs().max()))
    tolerance = _SAME if expected.dtype in (torch.float32, torch.float64) else 1e-2
    return expected.shape == joined.shape and float((expected - joined).abs().max()) <= tolerance * scale
