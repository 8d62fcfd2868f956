"""Boosted trees walked by masks (Lucchese and others, QuickScorer, SIGIR 2015).

Leaves of a tree are the bits of a word, from left to right. A question whose answer is
no takes the leaves on its left away. The first leaf that all columns leave is the
row's. What a column leaves depends on the interval between thresholds in which its
value lies, so that one table a column answers for many trees at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Floats, Floats32

if TYPE_CHECKING:
    from permgrad.models.trees import Trees

#: Leaves of a tree at most: bits of a word.
_LEAVES = 64
#: Trees whose tables stay in the processor's cache, and rows that are walked together.
_TREES = 64
_ROWS = 1024
#: Bytes of all tables at most.
_BYTES = 1 << 27
#: In which interval between the thresholds of a column its cells lie, by column.
_Intervals = dict[int, npt.NDArray[np.intp]]
#: Exponents of float32 begin here, and stand before this many bits.
_EXPONENT, _FRACTION = 127, 23


@dataclass(frozen=True, eq=False)
class LeafTable:
    """What a column leaves of some trees.

    Attributes:
        column: among the encoded ones.
        interval: in which interval of this table an interval of all thresholds lies.
        remaining: leaves, ``(intervals, trees)``.
    """

    column: int
    interval: npt.NDArray[np.intp]
    remaining: Array

    def of(self, intervals: _Intervals) -> Array:
        """Return the leaves that are left of rows, ``(rows, trees)``."""
        return self.remaining.take(self.interval.take(intervals[self.column]), axis=0)


@dataclass(frozen=True, eq=False)
class TreeGroup:
    """Trees that are walked together, in the order of their outputs.

    Attributes:
        tables: of the columns that they ask for.
        values: of leaves, of one tree behind the other ``(width, leaves)``.
        first: where the leaves of each tree begin.
        outputs: where the trees of each output begin, and end: ``(outputs + 1,)``.
    """

    tables: list[LeafTable]
    values: Floats
    first: npt.NDArray[np.int32]
    outputs: npt.NDArray[np.intp]

    def asking_for(self, columns: Collection[int]) -> TreeGroup | None:
        """Return the trees that ask for any of some columns, or all where those are
        most; None: there are none.
        """
        is_asking = np.zeros(len(self.first), dtype=bool)
        for table in self.tables:
            if table.column in columns:
                is_asking |= table.remaining[-1] != -1
        if not is_asking.any():
            return None
        if 2 * is_asking.sum() > len(is_asking):
            return self
        tables = []
        for table in self.tables:
            remaining = table.remaining.compress(is_asking, axis=1)
            tables.append(LeafTable(table.column, table.interval, remaining))
        tree_counts = np.append(0, np.cumsum(is_asking))
        return TreeGroup(
            tables, self.values, self.first[is_asking], tree_counts[self.outputs]
        )

    def left(self, intervals: _Intervals, columns: Collection[int]) -> Array | None:
        """Return the leaves that some columns leave of rows, ``(rows, trees)``; None:
        all.
        """
        remaining: Array | None = None
        for table in self.tables:
            if table.column not in columns:
                continue
            if remaining is None:
                remaining = table.of(intervals)
                column_leaves = np.empty_like(remaining)
                continue
            # Written where there is room already; all intervals exist.
            row_intervals = table.interval.take(intervals[table.column])
            table.remaining.take(row_intervals, axis=0, out=column_leaves, mode="clip")
            np.bitwise_and(remaining, column_leaves, out=remaining)
        return remaining

    def add(self, remaining: Array | None, sums: Floats) -> None:
        """Add what the first leaves that are left say, None: of trees of one leaf."""
        if remaining is None:
            leaves = np.tile(self.first, (len(sums), 1))
        else:
            # The lowest bit is a power of two, whose exponent a float says.
            lowest_bit = np.negative(remaining)
            np.bitwise_and(remaining, lowest_bit, out=lowest_bit)
            leaves = lowest_bit.astype(np.float32).view(np.int32)
            leaves >>= _FRACTION
            leaves &= 255
            leaves += self.first - np.int32(_EXPONENT)
        if len(self.values) > 1:
            for output, values in enumerate(self.values):
                leaf_values = values.take(leaves)
                sums[:, output] += leaf_values.sum(axis=1)
            return
        tree_values = self.values[0].take(leaves)
        for output, (start, end) in enumerate(pairwise(self.outputs.tolist())):
            sums[:, output] += tree_values[:, start:end].sum(axis=1)


class TreeMasks:
    """Sums of trees by masks.

    Examples:
        >>> from permgrad.models.trees import Trees
        >>> tree = ([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])
        >>> masks = TreeMasks.of(Trees.of([tree], base=[10.0]))
        >>> sums = np.full((2, 1), 10.0)
        >>> masks.add(np.array([[0.5], [0.6]], dtype=np.float32), sums)
        >>> sums.tolist()
        [[9.0], [11.0]]
    """

    def __init__(
        self, thresholds: dict[int, Floats32], groups: list[TreeGroup]
    ) -> None:
        self.thresholds = thresholds
        self.groups = groups

    @classmethod
    def of(cls, trees: Trees) -> TreeMasks | None:
        """Return the masks of trees, or None where a tree has more leaves than a word
        has bits, or the tables would be large.
        """
        questions = TreeQuestions(trees)
        word_type = np.dtype(np.int32 if questions.most_leaves <= 32 else np.int64)
        table_bytes = len(questions.nodes) * _TREES * word_type.itemsize
        if questions.most_leaves > _LEAVES or table_bytes > _BYTES:
            return None
        thresholds = {}
        for column in np.unique(questions.columns).tolist():
            is_asking = questions.columns == column
            thresholds[column] = np.unique(questions.thresholds[is_asking])
        unsigned = questions.masks().astype(f"u{word_type.itemsize}")
        masks = unsigned.view(word_type)
        groups = []
        for start in range(0, len(trees.roots), _TREES):
            groups.append(questions.group(start, masks, thresholds))
        return cls(thresholds, groups)

    def add(self, rows: Floats32, sums: Floats) -> None:
        """Add to the sums ``(rows, outputs)`` what all trees say of rows ``(rows,
        encoded)``, always in the same order.
        """
        for start in range(0, len(rows), _ROWS):
            row_slice = slice(start, start + _ROWS)
            intervals = self._intervals(rows[row_slice])
            for group in self.groups:
                remaining = group.left(intervals, self.thresholds)
                group.add(remaining, sums[row_slice])

    def add_changes(
        self,
        rows: Floats32,
        columns: Sequence[int],
        values: Floats32,
        pairs: npt.NDArray[np.intp],
        sums: Floats,
    ) -> None:
        """Add to the sums ``(pairs, outputs)`` how what the trees say changes where
        columns of rows get other values ``(pairs, columns)``.

        ``pairs``: the row of each line of values, rising. What other columns leave is
        computed once for all pairs of a row.
        """
        new_values = dict(zip(columns, values.T, strict=True))
        unchanged_columns = self.thresholds.keys() - new_values
        asking_groups = []
        for group in self.groups:
            asking_group = group.asking_for(new_values)
            if asking_group is not None:
                asking_groups.append(asking_group)
        for start in range(0, len(rows), _ROWS):
            row_limits = [start, start + _ROWS]
            first_pair, end_pair = np.searchsorted(pairs, row_limits)
            if first_pair == end_pair:
                continue
            row_numbers = pairs[first_pair:end_pair] - start
            intervals_before = self._intervals(rows[start : start + _ROWS])
            intervals_after = {}
            for column in self.thresholds.keys() & new_values:
                intervals_after[column] = self._interval(
                    column, new_values[column][first_pair:end_pair]
                )
            for group in asking_groups:
                unchanged_leaves = group.left(intervals_before, unchanged_columns)
                leaves_before = group.left(intervals_before, new_values)
                leaves_after = group.left(intervals_after, new_values)
                assert leaves_before is not None
                assert leaves_after is not None
                if unchanged_leaves is not None:
                    # Of each row once, and of each pair.
                    np.bitwise_and(leaves_before, unchanged_leaves, out=leaves_before)
                    leaves_after &= unchanged_leaves.take(row_numbers, axis=0)
                row_sums = np.zeros((len(leaves_before), sums.shape[1]))
                group.add(leaves_before, row_sums)
                sums[first_pair:end_pair] -= row_sums.take(row_numbers, axis=0)
                group.add(leaves_after, sums[first_pair:end_pair])

    def _intervals(self, rows: Floats32) -> _Intervals:
        """Return in which interval of thresholds each cell lies."""
        intervals = {}
        for column in self.thresholds:
            intervals[column] = self._interval(column, rows[:, column])
        return intervals

    def _interval(self, column: int, cells: Floats32) -> npt.NDArray[np.intp]:
        """Return in which interval of a column's thresholds cells lie: what is missing
        is above none.
        """
        present = np.where(np.isnan(cells), -np.inf, cells)
        return np.searchsorted(self.thresholds[column], present)


class TreeQuestions:
    """Inner nodes of trees, the tree of each, and leaves numbered from left to right.

    Attributes:
        trees, nodes: of each question, tree by tree.
        columns, thresholds: what they ask.
        counts, first: of all nodes, how many leaves are below and the first of them.
        most_leaves: of a tree.
    """

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        levels = trees.levels()
        empty = np.zeros(0, dtype=np.int64)
        tree_numbers = [empty]
        tree_nodes = [empty]
        for level_trees, level_nodes in levels:
            tree_numbers.append(level_trees)
            tree_nodes.append(level_nodes)
        question_trees = np.concatenate(tree_numbers)
        question_order = np.argsort(question_trees, kind="stable")
        self.trees = question_trees[question_order]
        self.nodes = np.concatenate(tree_nodes)[question_order]
        self.columns = trees.feature[self.nodes]
        self.thresholds = trees.threshold[self.nodes]
        self.counts = np.ones(len(trees.left), dtype=np.int64)
        for _, nodes in reversed(levels):
            children = trees.left[nodes]
            right_counts = self.counts[children + 1]
            self.counts[nodes] = self.counts[children] + right_counts
        self.first = np.zeros(len(trees.left), dtype=np.int64)
        for _, nodes in levels:
            children = trees.left[nodes]
            self.first[children] = self.first[nodes]
            left_counts = self.counts[children]
            self.first[children + 1] = self.first[nodes] + left_counts
        self.most_leaves = int(self.counts[trees.roots].max(initial=1))

    def masks(self) -> npt.NDArray[np.uint64]:
        """Return the leaves that each question leaves where its answer is no."""
        children = self._trees.left[self.nodes]
        leaf_counts = self.counts[children].astype(np.uint64)
        left_leaves = (np.uint64(1) << leaf_counts) - np.uint64(1)
        return ~(left_leaves << self.first[children].astype(np.uint64))

    @cached_property
    def leaf_values(self) -> Floats:
        """What leaves add, ``(trees, leaves, width)``."""
        roots = self._trees.roots
        width = self._trees.values.shape[1]
        values = np.zeros((len(roots), self.most_leaves, width))
        # A tree may be a leaf, and several the same.
        values[:, 0] = self._trees.values[roots]
        for side in (0, 1):
            children = self._trees.left[self.nodes] + side
            is_leaf = self.counts[children] == 1
            leaves = children[is_leaf]
            leaf_numbers = (self.trees[is_leaf], self.first[leaves])
            values[leaf_numbers] = self._trees.values[leaves]
        return values

    def group(
        self, start: int, masks: Array, thresholds: dict[int, Floats32]
    ) -> TreeGroup:
        """Return the trees from a number on, as many as are walked together."""
        values = self.leaf_values[start : start + _TREES]
        outputs = len(self._trees.base)
        stop = start + len(values)
        tree_outputs = np.zeros(len(values), dtype=np.int64)
        if values.shape[-1] == 1:
            tree_outputs = np.arange(start, stop) % outputs
        new_order = np.argsort(tree_outputs, kind="stable")
        positions = np.argsort(new_order)
        first_question, end_question = np.searchsorted(self.trees, [start, stop])
        question_slice = slice(first_question, end_question)
        columns = self.columns[question_slice]
        tables = []
        for column in np.unique(columns).tolist():
            is_asking = columns == column
            column_thresholds, interval = np.unique(
                self.thresholds[question_slice][is_asking], return_inverse=True
            )
            table_shape = (len(column_thresholds) + 1, len(values))
            remaining = np.full(table_shape, -1, dtype=masks.dtype)
            tree_positions = positions[self.trees[question_slice][is_asking] - start]
            table_cells = (interval + 1, tree_positions)
            np.bitwise_and.at(remaining, table_cells, masks[question_slice][is_asking])
            np.bitwise_and.accumulate(remaining, axis=0, out=remaining)
            first_intervals = np.searchsorted(
                column_thresholds, thresholds[column], "right"
            )
            tables.append(LeafTable(column, np.append(0, first_intervals), remaining))
        leaf_values = values[new_order].reshape(-1, values.shape[-1])
        first_leaves = np.arange(len(values), dtype=np.int32) * self.most_leaves
        output_limits = np.searchsorted(tree_outputs[new_order], np.arange(outputs + 1))
        return TreeGroup(
            tables,
            np.ascontiguousarray(leaf_values.T),
            first_leaves.astype(np.int32),
            output_limits,
        )
