"""The table branch up to its first dense layer, and how a replaced column moves that layer's output.

The layer is affine in the embedded columns, and a column's embedding depends on that column alone: the change of the
output is a product with the few columns of the matrix that read it, however many columns the table has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.models.fast.folding import DenseStack, hooked
from permgrad.models.network.branches import LevelEmbeddingLinear, TableBranch
from permgrad.models.network.members import MemberScale

#: Where a replacement reaches more than this share of what the first layer reads, the layer is computed whole.
_MOST = 0.5


class TableEntry:
    """Reads a table branch in two parts; made by :meth:`read`."""

    def __init__(
        self, branch: TableBranch, scale: MemberScale | None, first: nn.Linear, rest: Sequence[nn.Module]
    ) -> None:
        self.branch, self.scale, self.first, self.rest = branch, scale, first, DenseStack(rest)
        self._numeric = {int(column): at for at, column in enumerate(branch.numeric)}
        self._other = {int(column): at for at, column in enumerate(branch.other)}
        # A layer with embedded categories composes its matrix at every look.
        self._weight = first.weight.detach()

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
        return self.rest(entered)

    def moved(self, entered: Tensor, columns: Sequence[int], old: Tensor, new: Tensor) -> Tensor | None:
        """Return the first layer's output after a replacement, or None where computing it whole is cheaper."""
        read = self._read_by(columns)
        if read is None:
            return None
        change = self._embedded(columns, new) - self._embedded(columns, old)
        return entered + (change @ read.T).reshape(entered.shape)

    def _embedded(self, columns: Sequence[int], values: Tensor) -> Tensor:
        """Return what the first layer reads of some columns, in the order of ``_places``."""
        embedding = self.branch.embedding
        if embedding is None:
            return values
        numeric = [k for k, column in enumerate(columns) if column in self._numeric]
        other = [k for k, column in enumerate(columns) if column not in self._numeric]
        parts = []
        if numeric:
            index = torch.tensor([self._numeric[columns[k]] for k in numeric], device=values.device)
            parts.append(embedding.embed_some(values[:, numeric], index))
        if other:
            parts.append(values[:, other])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _places(self, columns: Sequence[int]) -> list[int]:
        embedding = self.branch.embedding
        if embedding is None:
            return list(columns)
        size, width = embedding.size, embedding.columns * embedding.size
        numeric = [self._numeric[column] for column in columns if column in self._numeric]
        other = [self._other[column] for column in columns if column not in self._numeric]
        return [at * size + k for at in numeric for k in range(size)] + [width + at for at in other]

    def _read_by(self, columns: Sequence[int]) -> Tensor | None:
        """Return the matrix ``([members ×] units, places)`` from embedded columns to the first layer's output."""
        places = self._places(columns)
        if len(places) > _MOST * self.first.in_features:
            return None
        weight = self._weight[:, places]
        if self.scale is not None:
            weight = (weight * self.scale.weight.detach()[:, None, places]).flatten(0, 1)
        return weight
