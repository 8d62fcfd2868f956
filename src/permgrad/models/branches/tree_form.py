"""Boosted trees as numbers and a short description, which a script in the page walks as
Python does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.models.branches.branch import Store
from permgrad.models.trees import Trees

#: Bytes of trees, as text, above which a page does not have them.
MOST_TREE_BYTES = 3_000_000


def tree_form(trees: Trees, store: Store) -> dict[str, Any]:
    """Return the description of trees, whose arrays are stored.

    ``feature``: the column that each node asks for, −1 of a leaf. ``number``: the
    threshold of a node, of a leaf what it adds, or where its ``values`` are, if a tree
    is of several outputs. The children of the k-th node of a tree that asks are those
    at 1 + 2k and 2 + 2k from its root, as ``Trees.of`` puts them.

    Raises:
        NotImplementedError: They are too many for a page, or in another order. The text
            says so, as a clause.
    """
    nodes, width = trees.values.shape
    is_inner_node = trees.left != np.arange(nodes)
    arrays: dict[str, Any] = {"feature": np.where(is_inner_node, trees.feature, -1)}
    if width == 1:
        arrays["number"] = np.where(is_inner_node, trees.threshold, trees.values[:, 0])
    else:
        arrays["values"] = trees.values[~is_inner_node]
        arrays["number"] = np.where(
            is_inner_node, trees.threshold, np.cumsum(~is_inner_node) - 1
        )
    byte_size = 4 * 4 * sum(array.size for array in arrays.values()) / 3
    if byte_size > MOST_TREE_BYTES:
        raise NotImplementedError(
            f"its trees take {byte_size / 1e6:.1f} MB, more than "
            f"{MOST_TREE_BYTES / 1e6:.0f} MB"
        )
    roots = trees.roots.astype(np.int64)
    starts = np.sort(roots)
    of_node = np.searchsorted(starts, np.arange(nodes), side="right") - 1
    before = np.cumsum(is_inner_node) - is_inner_node  # nodes that ask, of all trees
    if nodes:
        expected = starts[of_node] + 1 + 2 * (before - before[starts[of_node]])
    else:
        expected = trees.left
    if not (trees.left[is_inner_node] == expected[is_inner_node]).all():
        raise NotImplementedError("its trees stand in another order")
    about = {
        "kind": "trees",
        "width": width,
        "roots": roots.tolist(),
        "base": trees.base.tolist(),
    }
    for array_name, array in arrays.items():
        about[array_name] = store(array)
    return about
