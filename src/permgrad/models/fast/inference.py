"""Networks that only predict: a hybrid network's branches and head, and dense chains, with all folded that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.models.fast.folding import DenseStack, channels_first_to_last, flat_near, hooked, is_plain
from permgrad.models.fast.image_chain import ImageChain
from permgrad.models.network.branches import LevelEmbeddingLinear, TableBranch
from permgrad.models.network.members import MemberLinear, MemberScale
from permgrad.models.network.network import HybridNetwork

#: What a network of our own computes with; dimensions of a map.
_METHODS, _MAP = ("forward", "embed", "embed_image", "fuse"), 4
#: Where a replacement reaches more than this share of what the table's first layer reads, the layer is computed whole.
_MOST = 0.5
#: Layers of a chain that act on each row's numbers alone.
_OF_A_CHAIN = (
    nn.Linear, nn.BatchNorm1d, nn.LayerNorm, nn.Dropout, nn.Identity,
    nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.Hardswish,
)  # fmt: skip


class TableEntry:
    """The table branch up to its first dense layer, and how a replaced column moves that layer's output; see ``read``.

    The layer is affine in the embedded columns, and a column's embedding depends on that column alone: the change of
    the output is a product with the few columns of the matrix that read it.
    """

    def __init__(
        self, branch: TableBranch, scale: MemberScale | None, first: nn.Linear, later: Sequence[nn.Module]
    ) -> None:
        self.branch, self.scale, self.first, self._rest = branch, scale, first, DenseStack(later)
        # A layer with embedded categories composes its matrix at every look.
        self._weight = first.weight.detach()
        size = 0 if branch.embedding is None else branch.embedding.size
        numeric = [] if branch.embedding is None else branch.numeric.tolist()
        other = range(int(first.in_features)) if branch.embedding is None else branch.other.tolist()
        self._numeric = {column: at for at, column in enumerate(numeric)}
        #: for each encoded column, where the first layer reads it
        self._places = {column: range(at * size, (at + 1) * size) for column, at in self._numeric.items()}
        start = len(numeric) * size
        self._places |= {column: range(start + at, start + at + 1) for at, column in enumerate(other)}

    @classmethod
    def read(cls, branch: nn.Module | None) -> TableEntry | None:
        """Return the entry, or None where the branch is not the one that is known here."""
        if type(branch) is not TableBranch or any(hooked(part) for part in branch.modules()):
            return None
        layers = list(branch.layers)
        scale = layers.pop(0) if layers and isinstance(layers[0], MemberScale) else None
        if not layers or type(layers[0]) not in (nn.Linear, LevelEmbeddingLinear):
            return None
        return cls(branch, scale, layers[0], layers[1:])  # type: ignore[arg-type]

    @property
    def numbers(self) -> int:
        """How many numbers the first layer puts out for a row."""
        return int(self.first.out_features) * (1 if self.scale is None else len(self.scale.weight))

    def enter(self, encoded: Tensor) -> Tensor:
        """Return the first layer's output ``(rows, [members,] units)``."""
        values = self.branch.embed(encoded)
        return functional.linear(values if self.scale is None else self.scale(values), self._weight, self.first.bias)

    def leave(self, entered: Tensor) -> Tensor:
        """Return the branch's embedding from the first layer's output."""
        return self._rest(entered)

    def moved(self, entered: Tensor, columns: Sequence[int], old: Tensor, new: Tensor) -> Tensor | None:
        """Return the first layer's output after a replacement, or None where computing it whole is cheaper."""
        numeric = [k for k, column in enumerate(columns) if column in self._numeric]
        other = [k for k, column in enumerate(columns) if column not in self._numeric]
        places = [place for k in (*numeric, *other) for place in self._places[columns[k]]]
        if len(places) > _MOST * self.first.in_features:
            return None
        read = self._weight[:, places]
        if self.scale is not None:
            read = (read * self.scale.weight.detach()[:, None, places]).flatten(0, 1)
        change = new[:, other] - old[:, other]
        if numeric:
            assert self.branch.embedding is not None
            index = torch.tensor([self._numeric[columns[k]] for k in numeric], device=new.device)
            after, before = (self.branch.embedding.embed_some(values[:, numeric], index) for values in (new, old))
            change = torch.cat([after - before, change], dim=1)
        return entered + (change @ read.T).reshape(entered.shape)


class HeadEntry:
    """The head up to its first layer, affine in the joined embeddings: a path that did not change keeps its share."""

    def __init__(self, first: nn.Linear | MemberLinear, widths: dict[str, int], later: Sequence[nn.Module]) -> None:
        self.first, self._rest = first, DenseStack(later)
        self.units = int(first.out_features)
        #: per path its matrix ``(units, width)`` on one vector, or on the vector of each member
        self.columns: dict[str, Tensor] = {}
        self._of_members: dict[str, Tensor] = {}
        self._near: dict[tuple[str, torch.Size], Tensor] = {}
        start = 0
        for path, width in widths.items():
            if isinstance(first, nn.Linear):
                self.columns[path] = first.weight.detach()[:, start : start + width].contiguous()
            elif path not in first.per_member:
                self.columns[path] = first.columns(path).detach().contiguous()
            elif first.shared:
                self._of_members[path] = first.shared_matrix(path).detach().contiguous()
            start += width

    @classmethod
    def read(cls, module: HybridNetwork) -> HeadEntry | None:
        """Return the entry, or None where the head does not begin with a layer over all embeddings."""
        head = module.head
        if not isinstance(head, nn.Sequential) or not len(head) or hooked(head):
            return None
        first = head[0]
        if not (is_plain(first, nn.Linear) or (type(first) is MemberLinear and not hooked(first))):
            return None
        if first.in_features != sum(module.widths.values()):
            return None
        return cls(first, {path: module.widths[path] for path in module.paths}, list(head)[1:])  # type: ignore[arg-type]

    def share(self, path: str, embedding: Tensor) -> Tensor:
        """Return what a path, a vector or a map, adds to the first layer's output before the bias ``(rows, units)``."""
        if embedding.ndim == _MAP:  # channels last: to flatten it otherwise would cost more than half of the product
            shape = embedding.shape[1:]
            if (path, shape) not in self._near:
                self._near[path, shape] = channels_first_to_last(self.columns[path], shape)
            return functional.linear(flat_near(embedding), self._near[path, shape])
        if path in self.columns:
            return functional.linear(embedding, self.columns[path])
        assert isinstance(self.first, MemberLinear)
        if path not in self._of_members:
            return self.first.share(path, embedding)
        vectors = embedding.unflatten(-1, (self.first.members, -1))
        return functional.linear(vectors, self._of_members[path]).flatten(-2)

    def finish(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the head's output from the shares of all paths."""
        if isinstance(self.first, MemberLinear):
            return self._rest(self.first.join(list(shares)))
        total = shares[0] if self.first.bias is None else shares[0] + self.first.bias
        for share in shares[1:]:
            total = total + share
        return self._rest(total)


class FoldedNetwork:
    """Predicts what the network in eval mode predicts, up to rounding, in about half of its time.

    Parts that cannot be read are called as they are. Numbers are taken when this is made: make it anew after training.
    """

    def __init__(self, module: HybridNetwork) -> None:
        self.module = module
        # A subclass may embed and fuse in another way, and hooks want to be called.
        unchanged = all(getattr(type(module), name) is getattr(HybridNetwork, name) for name in _METHODS)
        self._as_it_is = hooked(module) or not unchanged
        self.head = None if self._as_it_is else HeadEntry.read(module)
        self.table = None if self._as_it_is else TableEntry.read(module.table_branch)
        self.image = None if self._as_it_is else ImageChain.read(module)

    def embed(self, path: str, encoded: Tensor) -> Tensor:
        """Return one path's embedding ``(rows, widths[path])``, or the map that it is before it is flattened."""
        if path == "tabular" and self.table is not None:
            return self.table.leave(self.table.enter(encoded))
        if path == "image" and self.image is not None:
            return self.image(encoded)
        return self.module.embed(path, encoded)

    def fuse(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Return outputs from the embeddings of all paths."""
        if self.head is not None:
            return self.head.finish([self.head.share(path, embeddings[path]) for path in self.module.paths])
        flat = {path: rows.flatten(1) if rows.ndim == _MAP else rows for path, rows in embeddings.items()}
        return self.module.fuse(embeddings if self.image is None else flat)

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return logits, or the standardised prediction, ``(rows, outputs)``."""
        if self._as_it_is:
            out: Tensor = self.module(encoded)
            return out
        return self.fuse({path: self.embed(path, encoded) for path in self.module.paths})


def fold(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return a function that predicts what a network in eval mode predicts, faster; None for unknown networks."""
    if type(module) is HybridNetwork:
        return FoldedNetwork(module)
    if type(module) is nn.Sequential and not hooked(module):
        layers = list(module)
        dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
        suits = all(type(layer) in _OF_A_CHAIN and not hooked(layer) for layer in layers)
        if suits and all(is_plain(layer, nn.Linear) for layer in dense):
            return DenseStack(layers)
    return None
