"""Networks that only predict: a hybrid network's branches and head, and dense chains,
with all folded that can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.base.sequences import values_at
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.fast.folded_branches import read_beside, summed
from permgrad.models.fast.folding import POINTWISE, DenseStack, is_plain, watched
from permgrad.models.fast.image_chain import ImageChain, near
from permgrad.models.fast.kernels import FoldedKernels
from permgrad.models.network.blocks import Dropout
from permgrad.models.network.members import MemberLinear, MemberScale
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.products import linear
from permgrad.models.network.table_and_image import LevelEmbeddingLinear, TableBranch

#: What a network of our own computes with. Dimensions of a map.
_METHODS = ("forward", "embed", "fuse")
_MAP = 4
#: Where a replacement reaches more than this share of what the table's first layer
#: reads, the layer is computed whole.
_MOST = 0.5
#: Layers of a chain that act on each row's numbers alone.
_OF_A_CHAIN = (
    nn.Linear,
    nn.BatchNorm1d,
    nn.LayerNorm,
    nn.Dropout,
    Dropout,
    nn.Identity,
    *POINTWISE,
)


@dataclass
class TableEntry:
    """The table branch up to its first dense layer, and how a replaced column moves
    that layer's output. See ``read``.

    The layer is affine in the embedded columns, and a column's embedding depends on
    that column alone: the change of the output is a product with the few columns of the
    matrix that read it. Not so of slopes and what they are on.
    """

    branch: TableBranch
    scale: MemberScale | None
    first: nn.Linear
    #: the layers behind the first: from its output to the branch's embedding
    rest: DenseStack
    #: a layer with embedded categories composes its matrix at every look
    weight: Tensor
    #: the embedded columns, each with its place among them
    numeric: dict[int, int]
    #: for each encoded column, where the first layer reads it
    places: dict[int, range]

    @classmethod
    def read(cls, branch: nn.Module | None) -> TableEntry | None:
        """Return the entry, or None where the branch is not the one that is known
        here.
        """
        if type(branch) is not TableBranch:
            return None
        layers: list[Any] = list(branch.layers)
        if layers and isinstance(layers[0], MemberScale):
            scale = layers.pop(0)
        else:
            scale = None
        if not layers or type(layers[0]) not in (nn.Linear, LevelEmbeddingLinear):
            return None
        first = layers[0]
        embedding = branch.embedding
        embedding_size = 0
        numeric = list[int]()
        other_columns = list(range(first.in_features))
        if embedding is not None:
            embedding_size = embedding.size
            numeric = branch.numeric.tolist()
            other_columns = branch.other.tolist()
        input_positions = {}
        for numeric_index, column in enumerate(numeric):
            input_positions[column] = range(
                numeric_index * embedding_size, (numeric_index + 1) * embedding_size
            )
        input_positions |= {
            column: range(other_position, other_position + 1)
            for other_position, column in enumerate(
                other_columns, start=len(numeric) * embedding_size
            )
        }
        remaining_layers = DenseStack(layers[1:])
        at_place = {}
        for numeric_index, column in enumerate(numeric):
            at_place[column] = numeric_index
        return cls(
            branch,
            scale,
            first,
            remaining_layers,
            first.weight.detach(),
            at_place,
            input_positions,
        )

    def enter(self, encoded: Tensor) -> Tensor:
        """Return the first layer's output ``(rows, [members,] units)``."""
        values = self.branch.embed(encoded)
        return linear(
            values if self.scale is None else self.scale(values),
            self.weight,
            self.first.bias,
        )

    def moved(
        self, entered: Tensor, columns: Sequence[int], old: Tensor, new: Tensor
    ) -> Tensor | None:
        """Return the first layer's output after a replacement, or None where computing
        it whole is cheaper.
        """
        numeric = [k for k, column in enumerate(columns) if column in self.numeric]
        other_indices = [
            k for k, column in enumerate(columns) if column not in self.numeric
        ]
        input_positions = [
            input_position
            for k in (*numeric, *other_indices)
            for input_position in self.places[columns[k]]
        ]
        multiplied = set(chain.from_iterable(self.branch.products))
        if len(
            input_positions
        ) > _MOST * self.first.in_features or not multiplied.isdisjoint(columns):
            return None
        read_weights = self.weight[:, input_positions]
        if self.scale is not None:
            read_weights = (
                read_weights * self.scale.weight.detach()[:, None, input_positions]
            ).flatten(0, 1)
        change = new[:, other_indices] - old[:, other_indices]
        if numeric:
            assert self.branch.embedding is not None
            index = torch.tensor(
                [self.numeric[columns[k]] for k in numeric], device=new.device
            )
            after = self.branch.embedding.embed_some(new[:, numeric], index)
            before = self.branch.embedding.embed_some(old[:, numeric], index)
            change = torch.cat([after - before, change], dim=1)
        return torch.addmm(entered.flatten(1), change, read_weights.T).view(
            entered.shape
        )


@dataclass
class HeadEntry:
    """The head up to its first layer, affine in the joined embeddings: a path that did
    not change keeps its share.

    ``columns``: per path with one vector for a row its matrix ``(units, width)``. Of a
    map, channels last. ``bias`` is part of the share of the first of them, and on its
    own where there is none.
    """

    first: nn.Linear | MemberLinear
    rest: DenseStack
    columns: dict[str, Tensor]
    bias: Tensor | None
    #: numbers behind the image's embedding, and behind each share, that are added to
    #: the outputs
    said: int = 0

    @classmethod
    def read(cls, module: HybridNetwork, chain: ImageChain | None) -> HeadEntry | None:
        """Return the entry, or None where the head does not begin with a layer over all
        embeddings.
        """
        head_layers = module.head
        widths = {}
        for head_path in module.head_paths:
            widths[head_path] = module.widths[head_path]
        if not isinstance(head_layers, nn.Sequential) or not len(head_layers):
            return None
        first: Any = head_layers[0]
        members = type(first) is MemberLinear
        if not (members or is_plain(first, nn.Linear)) or first.in_features != sum(
            widths.values()
        ):
            return None
        if members:
            columns = {}
            for shared_path in widths:
                if shared_path not in first.per_member:
                    columns[shared_path] = first.columns(shared_path).detach()
        else:
            columns = dict(
                zip(
                    widths,
                    first.weight.detach().split(list(widths.values()), dim=1),
                    strict=True,
                )
            )
        columns = {
            column_path: matrix.contiguous() for column_path, matrix in columns.items()
        }
        if chain is not None and chain.first is None:
            # A map, channels last: to flatten it otherwise would cost more than half of
            # the product.
            columns[IMAGE.name] = near(
                columns[IMAGE.name],
                chain.segments[-1].channels,
                chain.segments[-1].out_size,
            )
        if first.bias is None:
            first_bias = None
        else:
            first_bias = first.bias.detach().flatten()
        if module.kernels is None:
            kernel_outputs = 0
        else:
            kernel_outputs = module.outputs
        return cls(
            first,
            DenseStack(list(head_layers)[1:], fresh=True),
            columns,
            first_bias,
            kernel_outputs,
        )

    def share(self, path: str, embedding: Tensor) -> Tensor:
        """Return what a path, a vector or a map, adds to the first layer's output
        ``(rows, units)``.
        """
        if self.said:
            inner = embedding
            behind = embedding.new_zeros(len(embedding), self.said)
            if path == IMAGE.name:
                inner = embedding[:, : -self.said]
                behind = embedding[:, -self.said :]
            return torch.cat([replace(self, said=0).share(path, inner), behind], dim=1)
        if path in self.columns:
            if path == next(iter(self.columns)):
                path_bias = self.bias
            else:
                path_bias = None
            return linear(embedding.flatten(1), self.columns[path], path_bias)
        assert isinstance(self.first, MemberLinear)
        return self.first.share(path, embedding)

    @torch.no_grad()
    def finish(self, *coalitions: Sequence[Tensor]) -> Tensor:
        """Return the head's output from the shares of all paths, of several coalitions
        one after the other.
        """
        if self.bias is None or self.columns:
            alone = []
        else:
            alone = [self.bias]
        row_count = len(coalitions[0][0])
        total = coalitions[0][0].new_empty(
            len(coalitions) * row_count, self.first.out_features + self.said
        )
        for output_rows, shares in zip(total.split(row_count), coalitions, strict=True):
            first, *other_shares = [*shares, *alone]
            torch.add(first, other_shares[0] if other_shares else 0, out=output_rows)
            for path_share in other_shares[1:]:
                output_rows.add_(path_share)
        total, kernel_outputs = total.tensor_split([self.first.out_features], dim=1)
        if isinstance(self.first, MemberLinear):
            total = total.unflatten(-1, (self.first.members, self.first.units))
        outputs = self.rest(total)
        if self.said:
            return outputs + kernel_outputs
        return outputs


class FoldedNetwork:
    """Predicts what the network in eval mode predicts, up to rounding, in about half of
    its time.

    Parts that cannot be read are called as they are, and all of them where somebody
    watches one. Numbers are taken when this is made: make it anew after training.
    """

    def __init__(self, module: HybridNetwork) -> None:
        self.module = module
        self.paths = module.paths
        # A subclass may embed and fuse in another way, and hooks want to be called.
        unchanged = all(
            getattr(type(module), method_name) is getattr(HybridNetwork, method_name)
            for method_name in _METHODS
        )
        self._as_it_is = not unchanged or watched(module)
        if self._as_it_is:
            self.table = None
        else:
            self.table = TableEntry.read(module.table_branch)
        if self._as_it_is:
            self.image = None
        else:
            self.image = ImageChain.read(module)
        if self._as_it_is:
            self.head = None
        else:
            self.head = HeadEntry.read(module, self.image)
        if module.kernels is None:
            self.kernels = None
        else:
            self.kernels = FoldedKernels(module.kernels)
        self.beside = read_beside(module)
        if self.head is None and self.kernels is not None:
            self.image = None  # its map is flattened in another way

    def embed(self, path: str, encoded: Tensor) -> Tensor:
        """Return one path's embedding ``(rows, widths[path])``, or the map that it is
        before it is flattened.

        Of a path beside the head it is what is added to the outputs ``(rows,
        outputs)``.
        """
        if path == TABLE.name and self.table is not None:
            return self.table.rest(self.table.enter(encoded))
        if path == IMAGE.name and self.image is not None:
            return self.with_kernels(
                self.image.rest(self.image.enter(encoded)), encoded
            )
        if path in self.beside and not self._as_it_is:
            return self.beside[path].said(self.beside[path].enter(encoded))
        return self.module.embed(path, encoded)

    def with_kernels(self, embedding: Tensor, encoded: Tensor) -> Tensor:
        """Return the image's embedding with what kernels say of the rows behind it."""
        if self.kernels is None or self.image is None:
            return embedding
        return torch.cat(
            [embedding.flatten(1), self.kernels(self.image.renderer(encoded))], dim=1
        )

    def fuse(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Return outputs from the embeddings of all paths."""
        if self.head is not None:
            shares = []
            for head_path in self.module.head_paths:
                shares.append(self.head.share(head_path, embeddings[head_path]))
            return summed(
                self.head.finish(shares),
                values_at(embeddings, self.beside),
            )
        flat_embeddings = {}
        for branch_path, path_embedding in embeddings.items():
            if self.image is not None and path_embedding.ndim == _MAP:
                flat_embeddings[branch_path] = path_embedding.permute(
                    0, 3, 1, 2
                ).flatten(1)
            else:
                flat_embeddings[branch_path] = path_embedding
        return self.module.fuse(flat_embeddings)

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return logits, or the standardised prediction, ``(rows, outputs)``."""
        if self._as_it_is:
            network_outputs: Tensor = self.module(encoded)
            return network_outputs
        return self.fuse(
            {
                branch_path: self.embed(branch_path, encoded)
                for branch_path in self.paths
            }
        )


def fold(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return a function that predicts what a network in eval mode predicts, faster.

    None for unknown networks.
    """
    if type(module) is HybridNetwork:
        return FoldedNetwork(module)
    if type(module) is nn.Sequential and not watched(module):
        layers = list(module)
        dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
        if all(type(layer) in _OF_A_CHAIN for layer in layers) and all(
            is_plain(layer, nn.Linear) for layer in dense
        ):
            return DenseStack(layers)
    return None
