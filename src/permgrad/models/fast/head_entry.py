"""The head up to its first layer: each path's share of that layer's output, and what follows.

The layer is affine in the joined embeddings, so a path that did not change keeps its share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.models.fast.folding import DenseStack, hooked, is_plain
from permgrad.models.fast.kernels import channels_first_to_last
from permgrad.models.network.members import MemberLinear
from permgrad.models.network.network import HybridNetwork


class HeadEntry:
    """Reads a head in two parts; made by :meth:`read`."""

    def __init__(self, first: nn.Linear | MemberLinear, widths: dict[str, int], rest: Sequence[nn.Module]) -> None:
        self.first, self.rest = first, DenseStack(rest)
        self.units = int(first.out_features)
        #: per path its matrix on one vector, or on the vector of each member
        self._columns: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] = {}
        self._near: dict[tuple[str, torch.Size], Tensor] = {}
        start = 0
        for path, width in widths.items():
            if isinstance(first, nn.Linear):
                self._columns[path] = first.weight.detach()[:, start : start + width].contiguous()
            elif path not in first.per_member:
                self._columns[path] = first.columns(path).detach().contiguous()
            elif first.shared:
                self._own[path] = first.own_matrix(path).detach().contiguous()
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
        """Return what one path adds to the first layer's output, before the bias, ``(rows, units)``."""
        if embedding.ndim == 4:  # a map, channels last: to flatten it would cost more than half of the product
            shape = embedding.shape[1:]
            if (path, shape) not in self._near:
                self._near[path, shape] = channels_first_to_last(self._columns[path], shape)
            return functional.linear(embedding.permute(0, 2, 3, 1).flatten(1), self._near[path, shape])
        columns = self._columns.get(path)
        if columns is not None:
            return functional.linear(embedding, columns)
        assert isinstance(self.first, MemberLinear)
        matrix = self._own.get(path)
        if matrix is None:
            return self.first.share(path, embedding)
        return functional.linear(embedding.unflatten(-1, (self.first.members, -1)), matrix).flatten(-2)

    def columns(self, path: str) -> Tensor:
        """Return the matrix ``(units, width)`` from a path that brings one vector for all members."""
        return self._columns[path]

    def finish(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the head's output from the shares of all paths."""
        if isinstance(self.first, MemberLinear):
            return self.rest(self.first.join(list(shares)))
        total = shares[0] if self.first.bias is None else shares[0] + self.first.bias
        for share in shares[1:]:
            total = total + share
        return self.rest(total)
