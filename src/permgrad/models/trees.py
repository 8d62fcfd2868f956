"""Boosted trees as arrays, of whatever library: read from files without it, and
predicted by one walk.

All questions are ``x <= threshold`` for numbers of float32 that are not missing, as
encoded rows are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.errors import must
from permgrad.models.tree_masks import TreeMasks

Integers32 = npt.NDArray[np.int32]

#: What a leaf asks: no finite number is above it.
LARGEST = np.finfo(np.float32).max
#: Rows and trees that are walked together: as many pairs as the processor's cache
#: holds, and rows at most.
_PAIRS = 16_384
_ROWS = 8_192


def _nodes_of(
    tree: Sequence[npt.ArrayLike], start: int, *, rounded: bool
) -> tuple[Array, Array, Array, Array]:
    """Return what the nodes of a tree ask, their thresholds, the nodes on their left,
    counted from ``start``, and their values, level by level.
    """
    feature, threshold, left_children, right, values = tree
    sides = np.stack(
        [np.asarray(left_children, dtype=np.int64), np.asarray(right, dtype=np.int64)],
        axis=1,
    )
    order, own_left = _breadth_first(sides)
    is_inner = order < len(sides)
    question = np.zeros(len(order), dtype=np.int32)
    question[is_inner] = np.asarray(feature)[order[is_inner]]
    limit: Array = np.full(len(order), np.inf)
    tree_limits: npt.NDArray[np.floating]
    tree_limits = np.asarray(threshold, dtype=np.float64)[order[is_inner]]
    if rounded:
        limit = np.full(len(order), LARGEST)
        tree_limits = rounded_down(tree_limits)
    limit[is_inner] = tree_limits
    leaves = np.where(
        is_inner[:, None], 0.0, np.asarray(values, dtype=np.float64)[order]
    )
    return question, limit, start + own_left, leaves


@dataclass(frozen=True, eq=False)
class Trees:
    """Sums of trees: the nodes of all of them one behind the other, in a tree from its
    root on.

    Attributes:
        feature, threshold: the question of each node ``(nodes,)``, int32 and float32: a
            row goes left if its value is at most the threshold. A leaf asks what is
            true of every row.
        left: the next node ``(nodes,)``, int32. The right one is next to it. A leaf
            leads to itself.
        values: what each leaf adds, float64 ``(nodes, outputs)``, or ``(nodes, 1)`` if
            a tree is of one output only: of output ``number of the tree % outputs``.
        roots: the first node of each tree, int32 ``(trees,)``.
        base: what the sums begin with, float64 ``(outputs,)``.

    Examples:
        >>> tree = ([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])
        >>> stump = Trees.of([tree], base=[10.0])
        >>> stump(np.array([[0.5], [0.6]], dtype=np.float32)).tolist()
        [[9.0], [11.0]]
    """

    feature: Integers32
    threshold: Floats32
    left: Integers32
    values: Floats
    roots: Integers32
    base: Floats

    @classmethod
    def of(
        cls,
        trees: Iterable[Sequence[npt.ArrayLike]],
        base: npt.ArrayLike,
        *,
        rounded: bool = True,
    ) -> Self:
        """Return trees of which each is given as ``feature, threshold, left, right`` of
        its inner nodes and ``values``.

        Nodes are numbered from 0, the root, and inner nodes come first. Values
        ``(nodes, width)`` of inner nodes do not count. Thresholds may be float64: they
        are rounded down, which is the same question for a row of float32. Those that
        are not ``rounded`` stay float64, for rows of float64.
        """
        base_sums = np.asarray(base, dtype=np.float64)
        node_arrays: tuple[list[Array], ...] = ([], [], [], [])
        roots = []
        start = 0
        for tree_arrays in trees:
            numbers = _nodes_of(tree_arrays, start, rounded=rounded)
            for node_array, tree_array in zip(node_arrays, numbers, strict=True):
                node_array.append(tree_array)
            roots.append(start)
            start += len(numbers[0])
        empty_array = np.zeros(0, dtype=np.int32)
        questions, limits, lefts = (
            np.concatenate([empty_array, *array_list]) for array_list in node_arrays[:3]
        )
        all_values = np.concatenate(node_arrays[3] or [np.zeros((0, 1))])
        thresholds: Any = limits
        if rounded:
            thresholds = limits.astype(np.float32)
        return cls(
            questions.astype(np.int32),
            thresholds,
            lefts.astype(np.int32),
            all_values,
            np.array(roots, dtype=np.int32),
            base_sums,
        )

    @classmethod
    def mean(cls, fits: Sequence[Trees]) -> Self:
        """Return the trees whose sums are the mean of the sums of several.

        Examples:
            >>> tree = ([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])
            >>> stump = Trees.of([tree], base=[10.0])
            >>> constant = Trees.of([], base=[0.0])
            >>> Trees.mean([stump, constant])(np.array([[0.6]], dtype=np.float32))
            array([[5.5]])
        """
        base = np.mean([fit.base for fit in fits], axis=0)
        # A fit without a tree does not say how wide a leaf is.
        growing = [fit for fit in fits if len(fit.roots)]
        if not growing:
            return cls.of([], base)
        counts = [len(fit.feature) for fit in growing]
        starts = np.cumsum([0, *counts[:-1]])
        lefts = []
        roots = []
        for fit, start in zip(growing, starts, strict=True):
            lefts.append(fit.left + start)
            roots.append(fit.roots + start)
        return cls(
            np.concatenate([fit.feature for fit in growing]),
            np.concatenate([fit.threshold for fit in growing]),
            np.concatenate(lefts).astype(np.int32),
            np.concatenate([fit.values for fit in growing]) / len(fits),
            np.concatenate(roots).astype(np.int32),
            base,
        )

    def __call__(self, rows: Array) -> Floats:
        """Return the sums ``(rows, outputs)`` of encoded rows ``(rows, encoded)``.

        They depend on no other row.
        """
        output_sums = np.tile(self.base, (len(rows), 1))
        add = self._add if self._masks is None else self._masks.add
        for start in range(0, len(rows), _ROWS):
            cells = np.asarray(rows[start : start + _ROWS], dtype=np.float32)
            add(np.minimum(cells, LARGEST), output_sums[start : start + _ROWS])
        return output_sums

    def changes(
        self,
        rows: Floats32,
        columns: Sequence[int],
        values: Floats32,
        pairs: npt.NDArray[np.intp],
    ) -> Floats | None:
        """Return how the sums change where columns of rows get other values ``(pairs,
        columns)``, or None where walking whole rows is the only way.

        ``pairs``: the row of each line of values, rising.
        """
        if self._masks is None:
            return None
        changes = np.zeros((len(pairs), len(self.base)))
        self._masks.add_changes(
            np.minimum(rows, LARGEST),
            columns,
            np.minimum(values, LARGEST),
            pairs,
            changes,
        )
        return changes

    def __getstate__(self) -> dict[str, Any]:
        # What is made of the trees is made again.
        return {array_name: getattr(self, array_name) for array_name in _DTYPES}

    @cached_property
    def _masks(self) -> TreeMasks | None:
        """The trees as masks, if they are such."""
        return TreeMasks.of(self)

    def _add(self, rows: Floats32, sums: Floats) -> None:
        """Add to the sums ``(rows, outputs)`` of a few rows what all trees say, always
        in the same order.
        """
        question, left_children, order = self._ready
        cell_count = len(rows) * rows.shape[1]
        cells = rows.ravel()
        first = np.arange(0, cell_count, rows.shape[1])
        width = self.values.shape[1]
        together = max(1, _PAIRS // max(1, len(rows)))
        for start in range(0, len(order), together):
            tree_numbers = order[start : start + together]
            current_nodes = np.repeat(
                self.roots[tree_numbers].astype(np.intp)[:, None], len(rows), axis=1
            )
            for _ in range(int(self.depths[tree_numbers].max(initial=0))):
                value = cells.take(question.take(current_nodes) + first)
                current_nodes = left_children.take(current_nodes) + (
                    value > self.threshold.take(current_nodes)
                )
            for tree_number, leaf_nodes in zip(
                tree_numbers, current_nodes, strict=True
            ):
                if width == 1:
                    sums[:, tree_number % len(self.base)] += self.values[:, 0].take(
                        leaf_nodes
                    )
                else:
                    sums += self.values[leaf_nodes]

    @cached_property
    def _ready(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Integers]:
        """The questions and next nodes as NumPy takes them, and the trees in the order
        of their depth.
        """
        order = np.argsort(self.depths, kind="stable").astype(np.int64)
        return self.feature.astype(np.intp), self.left.astype(np.intp), order

    @cached_property
    def depths(self) -> Integers:
        """Questions on the longest way down each tree ``(trees,)``."""
        depths = np.zeros(len(self.roots), dtype=np.int64)
        for level, (trees, _) in enumerate(self.levels()):
            depths[trees] = level + 1
        return depths

    def levels(self) -> list[tuple[Integers, Integers]]:
        """Return for each level the trees that have inner nodes there, and these
        nodes.
        """
        levels: list[tuple[Integers, Integers]] = []
        trees = np.arange(len(self.roots))
        nodes = self.roots.astype(np.int64)
        while True:
            is_inner = self.left[nodes] != nodes
            trees = trees[is_inner]
            nodes = nodes[is_inner]
            if not len(nodes):
                return levels
            levels.append((trees, nodes))
            trees = np.repeat(trees, 2)
            nodes = (self.left[nodes][:, None] + np.arange(2)).ravel().astype(np.int64)

    def first(self, rounds: int) -> Self:
        """Return the trees of the first rounds, a tree of each output if trees are of
        one only.
        """
        return self.between(0, rounds)

    def between(self, start: int, end: int) -> Self:
        """Return the trees of some rounds in a row, as ``first`` counts them.

        Only those of the first round have the base, so that the sums of all rounds are
        those of consecutive parts.
        """
        trees_a_round = 1
        if self.values.shape[1] == 1:
            trees_a_round = len(self.base)
        first_tree = start * trees_a_round
        end_tree = end * trees_a_round
        if first_tree == 0 and end_tree >= len(self.roots):
            return self
        limits = np.append(self.roots, len(self.left))
        node_slice = slice(
            int(limits[first_tree]), int(limits[min(end_tree, len(self.roots))])
        )
        base = self.base
        if start:
            base = np.zeros_like(base)
        return replace(
            self,
            feature=self.feature[node_slice],
            threshold=self.threshold[node_slice],
            left=self.left[node_slice] - np.int32(node_slice.start),
            values=self.values[node_slice],
            roots=self.roots[first_tree:end_tree] - np.int32(node_slice.start),
            base=base,
        )

    def in_order(self) -> Self:
        """Return the same trees, whose nodes stand in the order of the trees."""
        if (np.diff(self.roots) > 0).all():
            return self
        limits = np.append(np.sort(self.roots), len(self.left))
        ends = limits[np.searchsorted(limits, self.roots, "right")]
        counts = ends - self.roots
        roots = np.cumsum(counts) - counts
        moves = np.repeat(roots - self.roots, counts)
        nodes = np.arange(len(moves)) - moves
        return replace(
            self,
            feature=self.feature[nodes],
            threshold=self.threshold[nodes],
            left=(self.left[nodes] + moves).astype(np.int32),
            values=self.values[nodes],
            roots=roots.astype(np.int32),
        )

    def scaled(self, factor: float) -> Self:
        """Return trees whose sums are a multiple of these, the base included."""
        return replace(self, values=self.values * factor, base=self.base * factor)

    def arrays(self) -> dict[str, Array]:
        """Return what a file holds, by name."""
        return {
            f"trees.{array_name}": getattr(self, array_name) for array_name in _DTYPES
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], encoded: int, prefix: str = ""
    ) -> Self:
        """Read back what ``arrays`` returned, for rows ``(rows, encoded)``.

        ValueError: they are no such trees.

        ``prefix``: what stands before the names.
        """
        trees = cls(
            **{
                array_name: arrays[f"{prefix}trees.{array_name}"]
                for array_name in _DTYPES
            }
        )
        trees.check(encoded)
        return trees

    def check(self, encoded: int) -> None:
        """Refuse, with a ValueError, trees that no rows ``(rows, encoded)`` can
        walk.
        """
        nodes = len(self.feature)
        shapes = (
            (nodes,),
            (nodes,),
            (nodes,),
            (nodes, *self.values.shape[1:]),
            self.roots.shape,
            self.base.shape,
        )
        for (array_name, dtype), shape in zip(_DTYPES.items(), shapes, strict=True):
            stored_array = getattr(self, array_name)
            must(
                stored_array.dtype == dtype and stored_array.shape == shape,
                f"trees whose {array_name} is {stored_array.dtype} "
                f"{stored_array.shape}",
            )
        has_valid_shapes = (
            self.values.ndim == 2
            and self.base.ndim == self.roots.ndim == 1
            and len(self.base) > 0
        )
        must(
            has_valid_shapes and self.values.shape[1] in {1, len(self.base)},
            f"trees of values {self.values.shape}",
        )
        finite = all(
            np.isfinite(float_array).all()
            for float_array in (self.threshold, self.values, self.base)
        )
        must(finite, "trees with numbers that are not finite")
        must(
            ((self.feature >= 0) & (self.feature < encoded)).all(),
            "trees that ask for a column that does not exist",
        )
        node_numbers = np.arange(nodes)
        inner = self.left != node_numbers
        must((self.threshold[~inner] == LARGEST).all(), "trees with a leaf that asks")
        must(
            (self.left[inner] > node_numbers[inner]).all(), "trees that lead in circles"
        )
        must(
            (self.left[inner] < nodes - 1).all(),
            "trees with a node that does not exist",
        )
        must(
            ((self.roots >= 0) & (self.roots < nodes)).all(),
            "trees with a root that does not exist",
        )
        reached = np.concatenate([self.left[inner], self.left[inner] + 1, self.roots])
        must(len(np.unique(reached)) == len(reached), "trees that share a node")


_DTYPES = {
    "feature": np.dtype(np.int32),
    "threshold": np.dtype(np.float32),
    "left": np.dtype(np.int32),
    "values": np.dtype(np.float64),
    "roots": np.dtype(np.int32),
    "base": np.dtype(np.float64),
}


def rounded_down(thresholds: Floats) -> Floats32:
    """Return the largest finite float32 at most each number: no float32 is between
    them.
    """
    nearest_values = np.clip(thresholds, -LARGEST, LARGEST).astype(np.float32)
    return np.where(
        nearest_values > thresholds,
        np.nextafter(nearest_values, -LARGEST),
        nearest_values,
    ).astype(np.float32)


def _breadth_first(sides: Integers) -> tuple[Integers, Integers]:
    """Return the nodes of a tree level by level, and where among them each has its left
    child: a leaf itself.

    ``sides``: both children of each inner node ``(inner, 2)``. All other nodes are
    leaves.
    """
    levels = [np.zeros(1, dtype=np.int64)]
    while len(inner := levels[-1][levels[-1] < len(sides)]):
        levels.append(sides[inner].ravel())
    order = np.concatenate(levels)
    left_children = np.arange(len(order))
    is_inner = order < len(sides)
    left_children[is_inner] = 1 + 2 * np.arange(is_inner.sum())
    return order, left_children
