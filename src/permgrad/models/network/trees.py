"""Boosted trees as a branch of a network: a sum over leaves, whose slope is 0 wherever
it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.models.trees import LARGEST, Trees

#: Pairs of rows and trees that are walked together: what a processor's cache holds, and
#: what fills an accelerator.
_PAIRS = 16_384
_PAIRS_OF_ACCELERATORS = 1 << 24
#: Rows that are walked together, at most.
_ROWS = 4_096
#: Cells of rows at most, which are numbered by int32.
_CELLS = 1 << 30


class TreeBranch(nn.Module):
    """Sums of trees (:class:`permgrad.models.trees.Trees`) of encoded rows: ``(rows,
    encoded)`` to ``(rows, outputs)``.

    A new one has the sizes of trees, and none of their numbers: :meth:`of` makes one of
    trees. Leaves are float32 and added up in float64, so that sums do not depend on how
    many rows are walked at once. Trees stand in the order of their depth, and
    ``output`` says of which output each is.

    Examples:
        >>> tree = ([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])
        >>> stump = Trees.of([tree], base=[10.0])
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
        """Make room for trees, as the buffers of ``Trees`` (the right child of a node
        is next to its left one).

        Args:
            encoded: number of encoded columns.
            nodes: of all trees.
            trees: how many there are.
            width: numbers that a leaf adds: ``outputs``, or 1 where each tree is of one
                output.
            outputs: of the network.
        """
        super().__init__()
        self.encoded = encoded
        self.outputs = outputs
        for buffer_name, count in (
            ("feature", nodes),
            ("left", nodes),
            ("roots", trees),
            ("output", trees),
        ):
            self.register_buffer(buffer_name, torch.zeros(count, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(nodes))
        self.register_buffer("values", torch.zeros(nodes, width))
        self.register_buffer("base", torch.zeros(outputs))
        self._depths: list[int] | None = None
        self._walked: Trees | None = None

    @classmethod
    def of(cls, trees: Trees, encoded: int) -> Self:
        """Return the branch of trees."""
        width = trees.values.shape[1]
        outputs = len(trees.base)
        branch = cls(
            encoded,
            nodes=len(trees.feature),
            trees=len(trees.roots),
            width=width,
            outputs=outputs,
        )
        order = np.argsort(trees.depths, kind="stable")
        output = order % outputs if width == 1 else np.zeros(len(order))
        tree_arrays = {
            array_name: getattr(trees, array_name)
            for array_name in ("feature", "threshold", "left", "values", "base")
        }
        for buffer_name, numbers in (
            tree_arrays | {"roots": trees.roots[order], "output": output}
        ).items():
            getattr(branch, buffer_name).copy_(torch.from_numpy(np.asarray(numbers)))
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
        arrays: dict[str, Any] = {}
        for array_name in (
            "feature",
            "threshold",
            "left",
            "values",
            "roots",
            "base",
        ):
            arrays[array_name] = getattr(self, array_name).detach().cpu().numpy()
        arrays |= {
            array_name: arrays[array_name].astype(np.float64)
            for array_name in ("values", "base")
        }
        arrays["threshold"] = arrays["threshold"].astype(np.float32)
        if (
            self.values.shape[1] == 1 and self.outputs > 1
        ):  # rounds again: an output after the other
            output = self.output.cpu().numpy()
            sorted_trees = np.argsort(output, kind="stable")
            tree_ranks = np.empty(len(output), dtype=np.int64)
            counts = np.bincount(output, minlength=self.outputs)
            tree_ranks[sorted_trees] = np.arange(len(output)) - np.repeat(
                np.cumsum(counts) - counts, counts
            )
            arrays["roots"] = arrays["roots"][np.lexsort([output, tree_ranks])]
        return Trees(**arrays)

    def check(self) -> None:
        """Refuse, with a ValueError, buffers of a file that are no trees."""
        trees = self.trees()
        output = self.output.cpu().numpy()
        trees.check(self.encoded)
        counts = np.bincount(
            np.clip(output, 0, self.outputs - 1), minlength=self.outputs
        )
        are_valid = ((output >= 0) & (output < self.outputs)).all() and (
            self.values.shape[1] > 1 or np.ptp(counts) == 0
        )
        if not are_valid:
            raise ValueError("trees of outputs that do not exist")

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Multiply what the trees say by a number."""
        self.values.mul_(factor)
        self.base.mul_(factor)
        self._walked = None

    @torch.no_grad()
    def raise_(self, shift: float) -> None:
        """Add a number to what the trees say."""
        self.base.add_(shift)
        self._walked = None

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._depths = None
        self._walked = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_walked": None}

    @property
    def _as_arrays(self) -> Trees:
        """The trees as arrays, which stand ready for rows."""
        if self._walked is None:
            self._walked = self.trees()
        return self._walked

    @torch.no_grad()
    def changes(
        self,
        encoded: Tensor,
        columns: Sequence[int],
        values: Tensor,
        pairs: Tensor | None,
    ) -> Tensor | None:
        """Return how the sums change where columns of rows get other values, ``(pairs,
        outputs)``, or None where walking whole rows is the only way.

        ``pairs``: the row of each line of values, rising; None: each row has one.
        """
        if not (_is_of_numpy(encoded) and _is_of_numpy(values)):
            return None
        if pairs is None:
            row_numbers = np.arange(len(encoded))
        else:
            row_numbers = pairs.numpy()
        changes = self._as_arrays.changes(
            encoded.detach().numpy(), columns, values.detach().numpy(), row_numbers
        )
        if changes is None:
            return None
        return torch.from_numpy(changes).float()

    @torch.no_grad()
    def forward(self, encoded: Tensor) -> Tensor:
        """Return the sums ``(rows, outputs)`` in the rows' dtype."""
        if _is_of_numpy(encoded):
            return torch.from_numpy(self._as_arrays(encoded.detach().numpy())).float()
        if self._depths is None:
            depths = self.trees().depths
            self._depths = np.sort(depths).tolist()
        cells = encoded.detach().clamp_max(LARGEST.item())
        output_sums = self.base.double().expand(len(encoded), -1).clone()
        rows_per_batch = _ROWS
        pairs = _PAIRS
        if encoded.device.type != "cpu":
            rows_per_batch = min(_PAIRS_OF_ACCELERATORS, _CELLS // self.encoded)
            pairs = _PAIRS_OF_ACCELERATORS
        for start in range(0, len(encoded), rows_per_batch):
            row_slice = slice(start, start + rows_per_batch)
            self._add(cells[row_slice], output_sums[row_slice], pairs)
        return output_sums.to(encoded.dtype)

    def _add(self, rows: Tensor, sums: Tensor, pairs: int) -> None:
        """Add to the sums ``(rows, outputs)`` of a few rows what all trees say."""
        assert self._depths is not None
        count = len(rows)
        width = self.values.shape[1]
        cells = rows.reshape(-1)
        together = max(1, pairs // max(1, count))
        first = torch.arange(
            0, cells.numel(), self.encoded, dtype=torch.int32, device=rows.device
        )
        for start in range(0, len(self.roots), together):
            tree_slice = slice(start, start + together)
            roots = self.roots[tree_slice]
            depths = self._depths[tree_slice]
            current_nodes = roots.repeat_interleave(count)
            cell_offsets = first.repeat(len(roots))
            for _ in range(depths[-1]):
                value = cells.index_select(
                    0, self.feature.index_select(0, current_nodes).add_(cell_offsets)
                )
                right = value > self.threshold.index_select(0, current_nodes)
                current_nodes = self.left.index_select(0, current_nodes).add_(right)
            leaf_values = (
                self.values.index_select(0, current_nodes)
                .double()
                .reshape(len(roots), count, width)
            )
            if width == 1:
                sums.t().index_add_(0, self.output[tree_slice], leaf_values[:, :, 0])
            else:
                sums.add_(leaf_values.sum(0))


def _is_of_numpy(rows: Tensor) -> bool:
    """Return whether rows are of the processor, and of float32 as trees are."""
    return rows.device.type == "cpu" and rows.dtype == torch.float32
