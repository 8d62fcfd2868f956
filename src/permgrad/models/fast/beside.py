"""Branches beside the head in networks that only predict: what they add, and how a replacement moves it.

What is kept of a row is what a replacement starts from. ``said`` makes outputs of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from permgrad.models.fast.folding import watched
from permgrad.models.network.additive import AddedBranch, LinearBranch
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.products import linear


@dataclass(frozen=True)
class Edit:
    """Rows as they are, ``before (rows, encoded)``, of which ``columns`` get new ``values (pairs, columns)``.

    ``rows (pairs,)``: the row that each line of values is for. None: each row has one.
    """

    before: Tensor
    columns: list[int]
    values: Tensor
    rows: Tensor | None

    def of(self, numbers: Tensor) -> Tensor:
        """Return each pair's row of numbers ``(rows, *)``."""
        return numbers if self.rows is None else numbers.index_select(0, self.rows)

    def edited(self) -> Tensor:
        """Return whole rows with columns replaced ``(pairs, encoded)``."""
        edited = self.of(self.before)
        edited = edited.clone() if self.rows is None else edited
        edited[:, self.columns] = self.values
        return edited


class Beside(Protocol):
    """A branch beside the head."""

    def enter(self, encoded: Tensor) -> Tensor:
        """Return what is kept of rows ``(rows, outputs)``."""
        ...

    def said(self, kept: Tensor) -> Tensor:
        """Return what the branch adds to the outputs ``(rows, outputs)``."""
        ...

    def replaced(self, kept: Tensor, edit: Edit) -> Tensor:
        """Return what would be kept of rows with replaced columns ``(pairs, outputs)``."""
        ...


@dataclass(frozen=True)
class Whole:
    """A branch that is not read: every row is computed whole, and what it adds is kept."""

    branch: AddedBranch

    def enter(self, encoded: Tensor) -> Tensor:
        """Return what the branch adds."""
        added: Tensor = self.branch(encoded)
        return added

    def said(self, kept: Tensor) -> Tensor:
        """Return it."""
        return kept

    def replaced(self, kept: Tensor, edit: Edit) -> Tensor:  # noqa: ARG002 — as of a branch that is read
        """Return what the branch adds to edited rows."""
        return self.enter(edit.edited())


@dataclass(frozen=True)
class Line:
    """A linear branch. What the line says is kept, before its exponential: a column moves it by its weight."""

    branch: LinearBranch
    factor: Tensor

    def enter(self, encoded: Tensor) -> Tensor:
        """Return what the line says."""
        return linear(encoded, self.branch.line.weight, self.branch.line.bias)

    def said(self, kept: Tensor) -> Tensor:
        """Return its share of the outputs."""
        return self.factor * (kept if self.branch.rate is None else self.branch.rate(kept))

    def replaced(self, kept: Tensor, edit: Edit) -> Tensor:
        """Move the line by W[:, columns] (new − old)."""
        change = edit.values - edit.of(edit.before[:, edit.columns])
        return torch.addmm(edit.of(kept), change, self.branch.line.weight[:, edit.columns].T)


def read_beside(module: HybridNetwork) -> dict[str, Beside]:
    """Return the branches beside a network's head, in their order."""
    found: dict[str, Beside] = {}
    for name, branch in zip(module.additive, module.added, strict=True):
        inner = branch.branch
        is_line = type(inner) is LinearBranch and not watched(branch)
        found[name] = Line(inner, branch.factor) if is_line and isinstance(inner, LinearBranch) else Whole(branch)
    return found


def summed(outputs: Tensor, added: Sequence[Tensor]) -> Tensor:
    """Return the head's outputs with what the branches beside it add."""
    for each in added:
        outputs = outputs + each
    return outputs
