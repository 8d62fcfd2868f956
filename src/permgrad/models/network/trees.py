"""Boosted trees as a branch of a network: a sum over leaves, whose slope is 0 wherever it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.models.trees import LARGEST, Trees

#: Pairs of rows and trees that are walked together: what a processor's cache holds, and what fills an accelerator.
_PAIRS, _PAIRS_OF_ACCELERATORS = 16_384, 1 << 24
#: Rows that are walked together, at most.
_ROWS = 4_096
#: Cells of rows at most, which are numbered by int32.
_CELLS = 1 << 30


class TreeBranch(nn.Module):
    """Sums of trees (:class:`permgrad.models.trees.Trees`) of encoded rows: ``(rows, encoded)`` to ``(rows, outputs)``.

    A new one has the sizes of trees, and none of their numbers: :meth:`of` makes one of trees. Leaves are float32 and
    added up in float64, so that sums do not depend on how many rows are walked at once. Trees stand in the order of
    their depth, and ``output`` says of which output each is.

    Examples:
        >>> stump = Trees.of([([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])], base=[10.0])
        >>> TreeBranch.of(stump, encoded=1)(torch.tensor([[0.5], [0.6]])).tolist()
        [[9.0], [11.0]]
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    values: Tensor
    roots: Tensor
    output: Tensor
    base: Tensor

    def __init__(
        self, encoded: int, *, nodes: int, trees: int, width: int, outputs: int
    ) -> None:
        super().__init__()
        self.encoded, self.outputs = encoded, outputs
        for name, count in (
            ("feature", nodes),
            ("left", nodes),
            ("roots", trees),
            ("output", trees),
        ):
            self.register_buffer(name, torch.zeros(count, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(nodes))
        self.register_buffer("values", torch.zeros(nodes, width))
        self.register_buffer("base", torch.zeros(outputs))
        self._depths: list[int] | None = None

    @classmethod
    def of(cls, trees: Trees, encoded: int) -> Self:
        """Return the branch of trees."""
        width, outputs = trees.values.shape[1], len(trees.base)
        branch = cls(
            encoded,
            nodes=len(trees.feature),
            trees=len(trees.roots),
            width=width,
            outputs=outputs,
        )
        order = np.argsort(trees.depths, kind="stable")
        output = order % outputs if width == 1 else np.zeros(len(order))
        parts = {
            name: getattr(trees, name)
            for name in ("feature", "threshold", "left", "values", "base")
        }
        for name, numbers in (
            parts | {"roots": trees.roots[order], "output": output}
        ).items():
            getattr(branch, name).copy_(torch.from_numpy(np.asarray(numbers)))
        return branch

    @property
    def sizes(self) -> dict[str, int]:
        """What another branch of these sizes is made with, beside ``encoded``."""
        nodes, width = self.values.shape
        return {
            "nodes": nodes,
            "trees": len(self.roots),
            "width": width,
            "outputs": self.outputs,
        }

    def trees(self) -> Trees:
        """Return the trees as arrays, with the leaves as they are here."""
        arrays: dict[str, Any] = {
            name: getattr(self, name).detach().cpu().numpy()
            for name in ("feature", "threshold", "left", "values", "roots", "base")
        }
        arrays |= {name: arrays[name].astype(np.float64) for name in ("values", "base")}
        arrays["threshold"] = arrays["threshold"].astype(np.float32)
        if (
            self.values.shape[1] == 1 and self.outputs > 1
        ):  # rounds again: an output after the other
            output = self.output.cpu().numpy()
            places = np.argsort(output, kind="stable")
            rank = np.empty(len(output), dtype=np.int64)
            counts = np.bincount(output, minlength=self.outputs)
            rank[places] = np.arange(len(output)) - np.repeat(
                np.cumsum(counts) - counts, counts
            )
            arrays["roots"] = arrays["roots"][np.lexsort([output, rank])]
        return Trees(**arrays)

    def asking_for(self, columns: Sequence[int]) -> TreeBranch:
        """Return the trees that ask for any of some encoded columns, without the base. They share nodes with these."""
        asking = torch.from_numpy(self.trees().splitting_on(columns).roots).to(
            self.roots.device
        )
        kept, width = torch.isin(self.roots, asking), self.values.shape[1]
        some = TreeBranch(
            self.encoded, nodes=0, trees=0, width=width, outputs=self.outputs
        )
        some.feature, some.threshold, some.left, some.values = (
            self.feature,
            self.threshold,
            self.left,
            self.values,
        )
        some.roots, some.output, some.base = (
            self.roots[kept],
            self.output[kept],
            torch.zeros_like(self.base),
        )
        return some

    def check(self) -> None:
        """Refuse, with a ValueError, buffers of a file that are no trees."""
        trees, output = self.trees(), self.output.cpu().numpy()
        trees.check(self.encoded)
        counts = np.bincount(
            np.clip(output, 0, self.outputs - 1), minlength=self.outputs
        )
        fits = ((output >= 0) & (output < self.outputs)).all() and (
            self.values.shape[1] > 1 or np.ptp(counts) == 0
        )
        if not fits:
            raise ValueError("trees of outputs that do not exist")

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Multiply what the trees say by a number."""
        self.values.mul_(factor)
        self.base.mul_(factor)

    @torch.no_grad()
    def raise_(self, shift: float) -> None:
        """Add a number to what the trees say."""
        self.base.add_(shift)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._depths = None

    @torch.no_grad()
    def forward(self, encoded: Tensor) -> Tensor:
        """Return the sums ``(rows, outputs)`` in the rows' dtype."""
        if self._depths is None:
            depths = self.trees().depths
            self._depths = np.sort(depths).tolist()
        cells = encoded.detach().clamp_max(LARGEST.item())
        sums = self.base.double().expand(len(encoded), -1).clone()
        rows, pairs = _ROWS, _PAIRS
        if encoded.device.type != "cpu":
            rows, pairs = (
                min(_PAIRS_OF_ACCELERATORS, _CELLS // self.encoded),
                _PAIRS_OF_ACCELERATORS,
            )
        for start in range(0, len(encoded), rows):
            part = slice(start, start + rows)
            self._add(cells[part], sums[part], pairs)
        return sums.to(encoded.dtype)

    def _add(self, rows: Tensor, sums: Tensor, pairs: int) -> None:
        """Add to the sums ``(rows, outputs)`` of a few rows what all trees say."""
        assert self._depths is not None
        count, width = len(rows), self.values.shape[1]
        cells, together = rows.reshape(-1), max(1, pairs // max(1, count))
        first = torch.arange(
            0, cells.numel(), self.encoded, dtype=torch.int32, device=rows.device
        )
        for start in range(0, len(self.roots), together):
            chosen = slice(start, start + together)
            roots, depths = self.roots[chosen], self._depths[chosen]
            node, own = roots.repeat_interleave(count), first.repeat(len(roots))
            for _ in range(depths[-1]):
                value = cells.index_select(
                    0, self.feature.index_select(0, node).add_(own)
                )
                right = value > self.threshold.index_select(0, node)
                node = self.left.index_select(0, node).add_(right)
            leaf = (
                self.values.index_select(0, node)
                .double()
                .reshape(len(roots), count, width)
            )
            if width == 1:
                sums.t().index_add_(0, self.output[chosen], leaf[:, :, 0])
            else:
                sums.add_(leaf.sum(0))
