"""Branches beside the head in networks that only predict: what they add, and how a
replacement moves it.

What is kept of a row is what a replacement starts from. ``said`` makes outputs of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from permgrad.models.fast.folding import watched
from permgrad.models.network.additive import LinearBranch
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.products import linear
from permgrad.models.network.trees import TreeBranch


@dataclass(frozen=True)
class Edit:
    """Rows as they are, ``before (rows, encoded)``, of which ``columns`` get new
    ``values (pairs, columns)``.

    ``rows (pairs,)``: the row that each line of values is for. None: each row has one.
    """

    before: Tensor
    columns: list[int]
    values: Tensor
    rows: Tensor | None

    def of(self, numbers: Tensor) -> Tensor:
        """Return each pair's row of numbers ``(rows, *)``."""
        if self.rows is None:
            return numbers
        return numbers.index_select(0, self.rows)

    def edited(self) -> Tensor:
        """Return whole rows with columns replaced ``(pairs, encoded)``."""
        edited = self.of(self.before)
        if self.rows is None:
            edited = edited.clone()
        edited[:, self.columns] = self.values
        return edited


class Beside:
    """A branch beside the head: it is computed whole.

    What it says is kept, of rates before their exponential.
    """

    def __init__(self, branch: nn.Module, rate: nn.Module | None) -> None:
        self.branch = branch
        self.rate = rate

    def enter(self, encoded: Tensor) -> Tensor:
        """Return what is kept of rows, ``(rows, outputs)``.

        Args:
            encoded: Rows, ``(rows, encoded)``.
        """
        branch_outputs: Tensor = self.branch(encoded)
        return branch_outputs

    def said(self, branch_outputs: Tensor) -> Tensor:
        """Return what the branch adds to the outputs, ``(rows, outputs)``.

        Args:
            branch_outputs: What is kept of the rows, ``(rows, outputs)``.
        """
        if self.rate is None:
            return branch_outputs
        return self.rate(branch_outputs)

    def replaced(self, branch_outputs: Tensor, edit: Edit) -> Tensor:  # noqa: ARG002 — what else is kept of rows as they are
        """Return what would be kept of rows with replaced columns, ``(pairs,
        outputs)``.

        Args:
            branch_outputs: What is kept of the rows as they are, ``(rows, outputs)``.
            edit: The columns, their values, and the row of each pair.
        """
        return self.enter(edit.edited())


class BesideLine(Beside):
    """A line: a column moves it by its weight."""

    def __init__(self, branch: LinearBranch, rate: nn.Module | None) -> None:
        super().__init__(branch, rate)
        self.line = branch

    def enter(self, encoded: Tensor) -> Tensor:
        """Return what the line says."""
        return linear(encoded, self.line.weight, self.line.bias)

    def replaced(self, branch_outputs: Tensor, edit: Edit) -> Tensor:
        """Move the line by W[:, columns] (new − old)."""
        change = edit.values - edit.of(edit.before[:, edit.columns])
        return torch.addmm(
            edit.of(branch_outputs), change, self.line.weight[:, edit.columns].T
        )


class BesideTrees(Beside):
    """Trees: what columns that keep their values answer is computed once a row."""

    def __init__(self, branch: TreeBranch, rate: nn.Module | None) -> None:
        super().__init__(branch, rate)
        self.trees = branch

    def replaced(self, branch_outputs: Tensor, edit: Edit) -> Tensor:
        """Add how the trees change, where that is less than to walk all of them."""
        changes = self.trees.changes(edit.before, edit.columns, edit.values, edit.rows)
        if changes is None:
            return self.enter(edit.edited())
        return edit.of(branch_outputs) + changes


def read_beside(module: HybridNetwork) -> dict[str, Beside]:
    """Return the branches beside a network's head, in their order."""
    beside_branches: dict[str, Beside] = {}
    for branch_name, branch in module.additive.items():
        if isinstance(branch, LinearBranch) and not watched(branch):
            beside_branches[branch_name] = BesideLine(branch, module.rate)
        elif isinstance(branch, TreeBranch) and not watched(branch):
            beside_branches[branch_name] = BesideTrees(branch, module.rate)
        else:
            beside_branches[branch_name] = Beside(branch, module.rate)
    return beside_branches


def summed(outputs: Tensor, added: Sequence[Tensor]) -> Tensor:
    """Return the head's outputs with what the branches beside it add."""
    for branch_output in added:
        outputs = outputs + branch_output
    return outputs
