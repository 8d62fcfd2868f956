"""Boosted trees beside a network, so that its intervals lie where the truth is (Friedman 2001).

On some tables trees err less than the network. Intervals lie around a mean of both, weighted by held-out rows.
``predict`` remains the network's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from permgrad.base import threads
from permgrad.base.arrays import Array, Floats, Integers

#: Trees, and the fewest training and held-out rows for them. Parts of all columns together, which decide the time.
_TREES, _FEWEST, _FEWEST_HELD, _PARTS = 200, 60, 20, 6_000
#: What a node holds: the column and the threshold of its question, both next nodes, its value. A leaf leads to itself.
COLUMN, THRESHOLD, LEFT, RIGHT, VALUE = range(5)


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of trees, and its ``weight`` in the centres of intervals.

    ``nodes``: of all trees ``(nodes, 5)``. ``roots``: the first node of each.
    """

    nodes: Floats
    roots: Integers
    weight: float = 0.0

    def __call__(self, columns: Array) -> Floats:
        """Return the sum of the leaves of each row ``(rows,)``."""
        column, left, right = (self.nodes[:, field].astype(np.int64) for field in (COLUMN, LEFT, RIGHT))
        threshold, every = self.nodes[:, THRESHOLD], np.arange(len(columns))
        total = np.zeros(len(columns))
        for root in self.roots:
            before, place = np.full(len(columns), -1), np.full(len(columns), root)
            while (place > before).any():
                before = place
                place = np.where(columns[every, column[place]] <= threshold[place], left[place], right[place])
            total += self.nodes[place, VALUE]
        return total

    def centre(self, encoded: Array, predicted: Floats) -> Floats:
        """Return where the intervals of rows lie, given the network's predictions ``(rows,)``."""
        return predicted + self.weight * (self(encoded) - predicted) if self.weight else predicted

    def arrays(self) -> dict[str, Array]:
        """Return what a saved model holds."""
        parts = {"nodes": self.nodes, "roots": self.roots, "weight": np.array(self.weight)}
        return {f"held_out.{name}": part for name, part in parts.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], encoded: int) -> Self:
        """Read back what ``arrays`` returned, nothing of older models. ValueError: the parts do not fit together."""
        parts = {**NO_TREES.arrays(), **arrays}
        nodes, roots, weight = (parts[f"held_out.{name}"] for name in ("nodes", "roots", "weight"))
        if nodes.shape != (len(nodes), VALUE + 1) or nodes.dtype != np.float64 or roots.dtype != np.int64:
            raise ValueError(f"trees of {nodes.dtype} {nodes.shape} with roots of {roots.dtype}")
        places = nodes[:, [COLUMN, LEFT, RIGHT]]
        ends = np.array([encoded, len(nodes), len(nodes)])
        if not (np.isfinite(nodes).all() and (places >= 0).all() and (places < ends).all()):
            raise ValueError("trees with a node that does not exist")
        if (places[:, 1:] < np.arange(len(nodes))[:, None]).any():
            raise ValueError("trees that lead in circles")
        if roots.ndim != 1 or not ((roots >= 0) & (roots < len(nodes))).all():
            raise ValueError("trees with a root that does not exist")
        if weight.shape != () or not 0 <= weight <= 1:
            raise ValueError(f"trees with the weight {weight}")
        return cls(nodes, roots, float(weight))


NO_TREES = Trees(np.zeros((0, VALUE + 1)), np.zeros(0, dtype=np.int64))


def fit_trees(
    encoded: Array, y: Floats, held_encoded: Array, held_y: Floats, held_predicted: Floats
) -> tuple[Trees, Floats]:
    """Return trees, and for each training row what those of the other half of the rows predict.

    The weight is that of the least squared error on held-out rows, from 0 to 1.
    """
    if len(y) < _FEWEST or len(held_y) < _FEWEST_HELD:
        return NO_TREES, y
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if threads.forked else torch.get_num_threads(), user_api="openmp"):
        trees = _boost(encoded, y)
        apart = trees(held_encoded) - held_predicted
        size = float(apart @ apart)
        weight = float(np.clip(apart @ (held_y - held_predicted) / size, 0, 1)) if size else 0.0
        across = np.empty(len(y))
        half = np.arange(len(y)) % 2 == 0
        for rows in (half, ~half) if weight else ():
            across[rows] = _boost(encoded[~rows], y[~rows])(encoded[rows])
    return (Trees(trees.nodes, trees.roots, weight), across) if weight else (NO_TREES, y)


def _boost(encoded: Array, y: Floats) -> Trees:
    """Return the trees of scikit-learn's histogram boosting. The mean, with which they begin, is a tree of one leaf."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    bins = int(np.clip(_PARTS // encoded.shape[1], 15, 255))
    model = HistGradientBoostingRegressor(max_iter=_TREES, max_bins=bins, early_stopping=False, random_state=0)
    model.fit(encoded, y)
    parts, roots = [np.array([[0, 0, 0, 0, np.ravel(model._baseline_prediction)[0]]])], [0]  # noqa: SLF001
    for [tree] in model._predictors:  # noqa: SLF001 — scikit-learn has no public way to the nodes
        nodes, leaf, first = tree.nodes, tree.nodes["is_leaf"].astype(bool), roots[-1] + len(parts[-1])
        here = np.arange(len(nodes))
        fields = [np.where(leaf, 0, nodes[name]) for name in ("feature_idx", "num_threshold")]
        fields += [first + np.where(leaf, here, nodes[name]) for name in ("left", "right")]
        parts.append(np.column_stack([*fields, np.where(leaf, nodes["value"], 0.0)]).astype(np.float64))
        roots.append(first)
    return Trees(np.concatenate(parts), np.array(roots))
