"""Networks with branches beside the head: a line and trees, with numbers drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.models.network.additive import LinearBranch
from permgrad.models.network.trees import TreeBranch
from permgrad.models.trees import Trees


def trees(encoded: int, outputs: int, seed: int = 0, *, count: int = 3) -> TreeBranch:
    """Return trees of two levels: the first asks for the first and the last column, all
    others for any two.
    """
    rng = np.random.default_rng(seed)
    tree_nodes = []
    for number in range(count):
        columns = (
            rng.integers(0, encoded, 3) if number else [0, encoded - 1, encoded - 1]
        )
        values = np.concatenate([np.zeros((3, outputs)), rng.normal(size=(4, outputs))])
        tree_nodes.append(
            (columns, rng.normal(size=3) / 2, [1, 3, 5], [2, 4, 6], values)
        )
    return TreeBranch.of(Trees.of(tree_nodes, base=rng.normal(size=outputs)), encoded)


def line(encoded: int, outputs: int, seed: int = 1) -> LinearBranch:
    """Return a line with drawn weights."""
    rng = np.random.default_rng(seed)
    return LinearBranch(encoded, outputs).fill(
        rng.normal(size=(outputs, encoded)), rng.normal(size=outputs)
    )


def with_branches(model: Any, *names: str) -> Any:
    """Give a fitted model's network branches beside the head, and return it."""
    module = model.module_
    for name in names:
        branch = (line if name == "linear" else trees)(module.encoded, module.outputs)
        module.add_path(name, branch.to(next(module.parameters()).dtype), 0.4)
    return model
