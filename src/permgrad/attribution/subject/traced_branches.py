"""Run each branch of a network once per row, and combine coalitions behind the
branches.

The network is traced. A node that depends on the inputs of one branch alone, and whose
result joins others, is that branch's *frontier*. A branch is an input, with what
follows it (the mask of its tokens, lengths). Modules that cannot be traced are called
as they are. A network that cannot be traced, or gives other numbers this way, is not
cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from permgrad.attribution.subject.tracing import OwnThreadTracer, erase_unused
from permgrad.base.sequences import positions_of, values_at
from permgrad.models.batches import gathered, with_fewer

Embedding = tuple[Tensor, ...]

#: Rows on which the branches are compared with the whole network.
_PROBE_ROWS = 64
#: Bytes that all rows' embeddings may take.
_MOST_BYTES = 512 * 2**20
_SAME = 1e-5
#: Embeddings of rows with some players replaced are kept for branches of at most so
#: many players, in so many bytes.
_MOST_PLAYERS = 16
_STORED_BYTES = 64 * 2**20
#: From so many asked for on nothing is stored where nearly all were new: pairs of rows
#: drawn at random come once.
_TRIED = 1024
_NEARLY_ALL = 0.95
#: Modules that are left as they are, at most, because they cannot be traced.
_MOST_LEAVES = 8


class Store:
    """Embeddings by number, all dropped when there are too many."""

    def __init__(self, *, cheap: bool = False) -> None:
        self._cheap = cheap  # whether a row costs less than to look it up
        self._places: dict[int, int] = {}
        self._tables: list[Tensor] = []
        self._asked = self._made = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is stored, as it would not pay."""
        return self._cheap or (
            self._asked >= _TRIED and self._made > _NEARLY_ALL * self._asked
        )

    def taken(self, numbers: Tensor, embed: Callable[[Tensor], Embedding]) -> Embedding:
        """Return the embedding of each number.

        ``embed(places)`` makes those of new places in ``numbers``.
        """
        unique, first, which = np.unique(
            numbers.numpy(), return_index=True, return_inverse=True
        )
        unmet = []
        for unique_index, number in enumerate(unique.tolist()):
            if number not in self._places:
                unmet.append(unique_index)
        self._asked += len(numbers)
        self._made += len(unmet)
        if unmet:
            new_embedding = embed(torch.from_numpy(first[unmet]))
            row_bytes = sum(
                embedding_part.element_size() * embedding_part[0].numel()
                for embedding_part in new_embedding
            )
            if row_bytes * (len(self._places) + len(unmet)) > _STORED_BYTES and len(
                unmet
            ) < len(unique):
                # All anew, so that what this call asks for is there together.
                self._places = {}
                self._tables = []
                unmet = list(range(len(unique)))
                new_embedding = embed(torch.from_numpy(first))
            self._add(unique[unmet].tolist(), new_embedding, row_bytes)
        index = torch.tensor(values_at(self._places, unique.tolist()))[
            torch.from_numpy(which.reshape(-1))
        ]
        return tuple(table[index.to(table.device)] for table in self._tables)

    def _add(self, numbers: list[int], new_embedding: Embedding, size: int) -> None:
        start = len(self._places)
        if size * (start + len(numbers)) > _STORED_BYTES:
            start = 0
            self._places = {}
            self._tables = []
        end_index = start + len(numbers)
        if not self._tables or len(self._tables[0]) < end_index:
            larger = []
            for embedding_part in new_embedding:
                larger.append(
                    embedding_part.new_empty((2 * end_index, *embedding_part.shape[1:]))
                )
            for table, old_table in zip(larger, self._tables, strict=False):
                table[:start] = old_table[:start]
            self._tables = larger
        for table, new_table in zip(self._tables, new_embedding, strict=True):
            table[start:end_index] = new_table
        self._places.update(zip(numbers, range(start, end_index), strict=True))


@dataclass
class BranchCut:
    """A network cut into branches and the trunk that joins them.

    The user's code runs inside ``theirs``.
    """

    subject: Any  # the whole network, a ``NetworkSubject``
    groups: tuple[tuple[int, ...], ...]  # the inputs of each branch
    branches: tuple[
        fx.GraphModule, ...
    ]  # the layers before each frontier: ``*tensors -> embedding``
    trunk: fx.GraphModule  # what lies behind: takes all embeddings, one after the other
    row_bytes: int = 0  # of all embeddings of one row
    rows: list[Embedding] = field(
        default_factory=list
    )  # the embeddings of the rows explained, of each branch
    donor_rows: list[Embedding] = field(default_factory=list)  # and of the background
    stores: list[Store] = field(
        default_factory=list
    )  # and of rows in which some players are replaced

    def afresh(self, rows: int) -> BranchCut | None:
        """Return the cut without embeddings, for other rows, or None if they would take
        too much memory.
        """
        fits_memory = self.row_bytes * rows <= _MOST_BYTES
        if fits_memory:
            return BranchCut(
                self.subject, self.groups, self.branches, self.trunk, self.row_bytes
            )
        return None

    def embed(self, branch: int, tensors: Sequence[Tensor]) -> Embedding:
        """Return the embedding of rows of the inputs of one branch."""
        device = self.subject.device
        copies = [tensor.to(device, copy=tensor.device == device) for tensor in tensors]
        branch_rows = self.subject.in_company(copies)
        embedding = self.branches[branch].forward(*branch_rows)
        if len(branch_rows[0]) > len(copies[0]):
            return tuple(embedding_part[:1] for embedding_part in embedding)
        return tuple(embedding)

    def of_inputs(self, branch: int, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return those of the network's inputs that a branch takes."""
        return values_at(inputs, self.groups[branch])

    def fuse(self, embeddings: Sequence[Embedding]) -> Tensor:
        """Return the network's output for embeddings of the same rows."""
        joined_tensors = self.subject.in_company(list(chain.from_iterable(embeddings)))
        returned = self.trunk.forward(*joined_tensors)
        # What was traced returns the same for every batch.
        plain = (
            isinstance(returned, Tensor)
            and returned.ndim == 2
            and len(returned) == len(joined_tensors[0])
        )
        return (
            returned if plain else self.subject.taken(returned, len(joined_tensors[0]))
        )[: len(embeddings[0][0])]

    def remember(
        self,
        inputs: Sequence[Tensor],
        donors: Sequence[Tensor],
        run: Callable[[int, Callable[[slice], None]], None],
    ) -> None:
        """Store the embeddings of all rows.

        ``run(count, work)`` works through slices of rows that fit in memory.
        """

        def embedded(source: Sequence[Tensor], branch: int) -> Embedding:
            tensors = self.of_inputs(branch, source)
            count = len(source[0])
            return tuple(
                gathered(
                    count,
                    lambda row_slice: self.embed(
                        branch, [branch_tensor[row_slice] for branch_tensor in tensors]
                    ),
                    partial(run, count),
                )
            )

        every = range(len(self.groups))
        # Rows of a table of numbers are soon run.
        branch_inputs = [self.of_inputs(branch, inputs) for branch in every]
        stores = []
        for branch_tensors in branch_inputs:
            stores.append(
                Store(
                    cheap=all(
                        branch_tensor.ndim == 2 and branch_tensor.is_floating_point()
                        for branch_tensor in branch_tensors
                    )
                )
            )
        self.stores = stores
        with self.subject.theirs(inputs), torch.no_grad():
            self.rows = [embedded(inputs, branch) for branch in every]
            if donors is inputs:
                self.donor_rows = self.rows
            else:
                self.donor_rows = [embedded(donors, branch) for branch in every]

    def predict(
        self,
        receivers: Tensor,
        donors: Tensor,
        blended: Callable[[int, Tensor], Tensor],
        replaced: Tensor,
        owners: Sequence[Tensor],
    ) -> Tensor:
        """Return outputs for pairs ``(b,)`` of which players are replaced, bool ``(b,
        players)``.

        ``blended(input, pairs)`` gives rows of one input with its replaced players'
        values, for some pairs. ``owners`` are the players of each input.
        """
        embeddings = []
        for branch, (receiver_tables, lenders) in enumerate(
            zip(self.rows, self.donor_rows, strict=True)
        ):
            players = set()
            for position in self.groups[branch]:
                for player in owners[position]:
                    players.add(int(player))
            replaced_players = replaced[:, sorted(players)]
            is_replaced = replaced_players.all(dim=1) & replaced_players.any(dim=1)
            partly = torch.nonzero(replaced_players.any(dim=1) & ~is_replaced).flatten()
            if len(partly):
                partial_embedding = self._partly(
                    branch, receivers, donors, replaced_players, partly, blended
                )
            else:
                partial_embedding = None
            joined_parts = []
            for index, (receiver_table, donor_table) in enumerate(
                zip(receiver_tables, lenders, strict=True)
            ):
                joined = receiver_table[receivers.to(receiver_table.device)]
                if bool(is_replaced.any()):
                    where = is_replaced.to(receiver_table.device).reshape(
                        -1, *[1] * (receiver_table.ndim - 1)
                    )
                    joined = torch.where(
                        where, donor_table[donors.to(receiver_table.device)], joined
                    )
                if partial_embedding is not None:
                    joined[partly.to(receiver_table.device)] = partial_embedding[index]
                joined_parts.append(joined)
            embeddings.append(tuple(joined_parts))
        return self.fuse(embeddings)

    def _partly(
        self,
        branch: int,
        receivers: Tensor,
        donors: Tensor,
        replaced_players: Tensor,
        partly: Tensor,
        blended: Callable[[int, Tensor], Tensor],
    ) -> Embedding:
        """Return the embeddings of pairs ``partly`` replaced.

        Each row, donor and set of players runs once.
        """

        def embed(pairs: Tensor) -> Embedding:
            return self.embed(
                branch, [blended(position, pairs) for position in self.groups[branch]]
            )

        players = replaced_players.shape[1]
        if players > _MOST_PLAYERS or self.stores[branch].idle:
            return embed(partly)
        player_bits = (
            replaced_players[partly].cpu() * (1 << torch.arange(players))
        ).sum(dim=1)
        pair_positions = partly.cpu()
        pairs = (
            receivers.cpu()[pair_positions] * len(self.donor_rows[branch][0])
            + donors.cpu()[pair_positions]
        )
        return self.stores[branch].taken(
            (pairs << players) + player_bits,
            lambda few: embed(partly[few.to(partly.device)]),
        )


def cut_into_branches(
    subject: Any, inputs: Sequence[Tensor], followers: frozenset[int] = frozenset()
) -> BranchCut | None:
    """Return the cut, or None if it would not help, or would not give the same numbers.

    ``followers`` are inputs without own players: they belong to the branch of the input
    that they join first.
    """
    input_form = subject.form
    if (
        subject.rewrites
        or len(inputs) < 2
        or input_form.whole
        or len(inputs) != len(input_form.leaves)
    ):
        return None
    if any(len(form_leaf.place) > 1 for form_leaf in input_form.leaves):
        return None
    try:
        branch_cut = _trace(subject, len(inputs), followers)
        probe_rows = min(_PROBE_ROWS, len(inputs[0]), max(2, subject.most_rows()))
        if branch_cut is None or not with_fewer(
            probe_rows, partial(_agrees, branch_cut, inputs)
        ):
            return None
    except Exception:  # noqa: BLE001 — whatever the user's code does under tracing, the whole network still runs
        return None
    sample_rows = [tensor[:2] for tensor in inputs]
    embedded: list[Tensor] = []
    for branch in range(len(branch_cut.groups)):
        embedded.extend(
            branch_cut.embed(branch, branch_cut.of_inputs(branch, sample_rows))
        )
    branch_cut.row_bytes = sum(
        embedding_part.element_size() * embedding_part[0].numel()
        for embedding_part in embedded
    )
    return branch_cut


def _graph(subject: Any) -> tuple[OwnThreadTracer, fx.Graph]:
    """Return the network's graph, in which modules that cannot be traced are called as
    they are.
    """
    leaves: frozenset[str] = frozenset()
    while True:
        tracer = OwnThreadTracer()
        tracer.leaves = leaves
        try:
            return tracer, tracer.trace(subject.module)
        except Exception:
            if (
                not tracer.failed
                or tracer.failed in leaves
                or len(leaves) == _MOST_LEAVES
            ):
                raise
            leaves |= {tracer.failed}


def _trace(subject: Any, count: int, followers: frozenset[int]) -> BranchCut | None:
    tracer, graph = _graph(subject)
    placeholders = []
    for graph_node in graph.nodes:
        if graph_node.op == "placeholder":
            placeholders.append(graph_node)
    names = placeholder_names(
        subject, [str(graph_node.target) for graph_node in placeholders]
    )
    position = positions_of(names)
    inputs_of_nodes = _dependences(graph, position)
    group_of = _groups(inputs_of_nodes.values(), count, followers)
    # Inputs that no output depends on go with one that it does: they have no branch.
    read = inputs_of_nodes[next(reversed(graph.nodes))]
    for input_index in set(range(count)) - read:
        group_of[input_index] = group_of[min(read, default=input_index)]
    groups = sorted(set(group_of))
    depends = {
        graph_node: frozenset(values_at(group_of, inputs))
        for graph_node, inputs in inputs_of_nodes.items()
    }
    frontier = [_frontier(depends, group) for group in groups]
    if (
        len(groups) < 2
        or not all(frontier)
        or all(
            graph_node.op == "placeholder" for nodes in frontier for graph_node in nodes
        )
    ):
        return None
    # Inputs in the order of the forward's arguments, as a part of the graph takes them.
    # Those that no branch reads are left out: one would run again for their values.
    frontier_inputs = values_at(inputs_of_nodes, chain.from_iterable(frontier))
    read_by_branches = frozenset().union(*frontier_inputs)
    order = []
    for graph_node in placeholders:
        if position.get(str(graph_node.target)) in read_by_branches:
            order.append(position[str(graph_node.target)])
    members = tuple(
        tuple(input_index for input_index in order if group_of[input_index] == group)
        for group in groups
    )
    branch_names = []
    for input_indices in members:
        branch_names.append(values_at(names, input_indices))
    branches = tuple(
        _part(tracer, graph, nodes, part_names)
        for nodes, part_names in zip(frontier, branch_names, strict=True)
    )
    trunk = _part(tracer, graph, list(chain.from_iterable(frontier)))
    return BranchCut(subject, members, branches, trunk)


def _dependences(
    graph: fx.Graph, position: dict[str, int]
) -> dict[fx.Node, frozenset[int]]:
    """Return the inputs that each node depends on."""
    depends: dict[fx.Node, frozenset[int]] = {}
    for graph_node in graph.nodes:
        if graph_node.op == "placeholder":
            if graph_node.target in position:
                depends[graph_node] = frozenset({position[graph_node.target]})
            else:
                depends[graph_node] = frozenset()
        else:
            depends[graph_node] = frozenset().union(
                *values_at(depends, graph_node.all_input_nodes)
            )
    return depends


def _groups(
    depends: Iterable[frozenset[int]], count: int, followers: frozenset[int]
) -> list[int]:
    """Return the group of each input: its own number, or for a follower that of the
    only input that it joins first.
    """
    group_of = list(range(count))
    for inputs in depends:
        leaders = inputs - followers
        if len(leaders) == 1:
            for follower_input in inputs & followers:
                if group_of[follower_input] == follower_input:
                    group_of[follower_input] = min(leaders)
                else:
                    group_of[follower_input] = group_of[follower_input]
    return group_of


def _frontier(depends: dict[fx.Node, frozenset[int]], group: int) -> list[fx.Node]:
    """Return the nodes that depend on one group alone and are used by nodes that depend
    on others too.
    """
    alone = frozenset({group})
    frontier: list[fx.Node] = []
    for graph_node, groups in depends.items():
        if (
            groups == alone
            and graph_node.op != "output"
            and any(
                depends[user_node] != alone or user_node.op == "output"
                for user_node in graph_node.users
            )
        ):
            frontier.append(graph_node)
    return frontier


def placeholder_names(subject: Any, parameters: list[str]) -> list[str]:
    """Return for each input tensor the parameter of the forward that it belongs to."""
    if subject.form.passing == "keywords":
        return [str(form_leaf.place[0]) for form_leaf in subject.form.leaves]
    argument_keys = subject.form.arguments
    return [
        parameters[argument_keys.index(form_leaf.place[0])]
        for form_leaf in subject.form.leaves
    ]


def _part(
    tracer: OwnThreadTracer,
    graph: fx.Graph,
    frontier: Sequence[fx.Node],
    names: Sequence[str] = (),
) -> fx.GraphModule:
    """Return the graph before the frontier, given the inputs ``names``, or without
    names the graph behind it.
    """
    part_graph = fx.Graph()
    mapped: dict[fx.Node, fx.Node] = {}
    result = part_graph.graph_copy(graph, mapped)
    output = part_graph.output(result)
    if names:
        output.args = (tuple(values_at(mapped, frontier)),)
    else:
        first = next(iter(part_graph.nodes))
        for index, frontier_node in enumerate(frontier):
            with part_graph.inserting_before(first):
                embedding_placeholder = part_graph.placeholder(f"embedding_{index}")
            mapped[frontier_node].replace_all_uses_with(embedding_placeholder)
    # What is not used goes, inputs too, except those that are passed.
    erase_unused(
        part_graph,
        lambda node: (
            node.op == "placeholder"
            and (node.target in names or str(node.target).startswith("embedding_"))
        ),
    )
    part_graph.lint()
    return tracer.as_module(part_graph)


def _agrees(cut: BranchCut, inputs: Sequence[Tensor], count: int) -> bool:
    """Return whether every input from other rows, embedded by itself, gives what the
    whole network gives.
    """
    if count < 2:
        return False
    with torch.no_grad():
        shifts = {}
        for shift, group_inputs in enumerate(cut.groups, start=1):
            for input_index in group_inputs:
                shifts[input_index] = shift
        mixed = []
        for input_index, tensor in enumerate(inputs):
            # What no branch reads comes from rows of its own.
            shift = shifts.get(input_index, len(cut.groups) + 1)
            mixed.append(tensor[:count].roll(shift, dims=0))
        embeddings = []
        for branch in range(len(cut.groups)):
            embedding = cut.embed(
                branch, [tensor[:count] for tensor in cut.of_inputs(branch, inputs)]
            )
            if any(
                not isinstance(embedding_part, Tensor)
                or embedding_part.ndim == 0
                or len(embedding_part) != count
                for embedding_part in embedding
            ):
                return False
            embeddings.append(
                tuple(
                    embedding_part.roll(branch + 1, dims=0)
                    for embedding_part in embedding
                )
            )
        expected = cut.subject.forward(mixed)
        joined = cut.fuse(embeddings)
    scale = max(1.0, float(expected.abs().max()))
    if expected.dtype in (torch.float32, torch.float64):
        tolerance = _SAME
    else:
        tolerance = 1e-2
    return (
        expected.shape == joined.shape
        and float((expected - joined).abs().max()) <= tolerance * scale
    )
