"""The default layout: one pixel per column, correlated columns side by side, and the
control that leaves it to chance.

A compact block, because a convolution kernel mixes a pixel with its neighbours only.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_flag, check_whole
from permgrad.base.random import generator
from permgrad.imaging.layout import PlacedLayout, Positions, layouts

EXACT_COLUMNS = 1500
"""Up to this many columns the assignment is optimal; the time of the Hungarian method
grows with the cube."""

REFINED_COLUMNS = 400
"""Up to this many columns swaps improve the neighbourhood."""

_SAMPLED_ROWS = 2000
_SAMPLED_VALUES = 5_000_000


@layouts.register("assignment")
class AssignmentLayout(PlacedLayout):
    """Gives every encoded column a separate pixel, with correlated columns as
    neighbours.

    Args:
        pixels: Side of the grid. It grows when there are more columns than pixels.
        random_state: As in scikit-learn.
        spacing: Distance between neighbouring columns in pixels: 1 packs them, 2 leaves
            a pixel between them.
        refine: Whether swaps improve the neighbourhood after the assignment.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(50, 6))
        >>> layout = AssignmentLayout(20, random_state=0).fit(rows)
        >>> layout.collisions, layout.grown
        (0, False)
        >>> AssignmentLayout(2).fit(rows).pixels
        3
    """

    name: ClassVar[str] = "assignment"

    def __init__(
        self,
        pixels: int = 20,
        *,
        random_state: Any = None,
        spacing: int = 1,
        refine: bool = True,
    ) -> None:
        super().__init__(pixels, random_state=random_state)
        self.spacing = check_whole(
            "spacing", spacing, "pass spacing=1 to pack the columns"
        )
        self.refine = check_flag("refine", refine)

    def _pixels_needed(self, columns: int) -> int:
        return (math.isqrt(columns - 1)) * self.spacing + 1

    def _place(self, encoded: Floats, seed: int) -> Positions:
        standardised = standardised_sample(encoded, seed)
        columns = encoded.shape[1]
        cells = block_cells(columns, self.pixels, self.spacing)
        if columns > EXACT_COLUMNS:
            return cells[split_by_rank(principal_plane(standardised, seed), cells)]
        similarity = likeness(standardised)
        cell_indices = assign(_scaled_plane(similarity), cells)
        if self.refine and columns <= REFINED_COLUMNS:
            cell_indices = improve_by_swaps(
                similarity, cells, cell_indices, reach=self.spacing
            )
        return cells[cell_indices]


@layouts.register("random")
class RandomLayout(PlacedLayout):
    """Places columns at random on the compact block that the assignment layout uses.

    It answers the question whether it matters that correlated columns are neighbours,
    so it differs from `AssignmentLayout` in nothing else.
    """

    name: ClassVar[str] = "random"

    def _place(self, encoded: Floats, seed: int) -> Positions:
        columns = encoded.shape[1]
        cells = block_cells(columns, self.pixels)
        return cells[
            generator(seed, "layout", "random").permutation(len(cells))[:columns]
        ]


def block_cells(columns: int, pixels: int, spacing: int = 1) -> Positions:
    """Return the pixels of a compact block in the middle of the grid, row by row,
    ``(columns or a few more, 2)``.
    """
    width = math.isqrt(columns - 1) + 1
    height = -(-columns // width)
    top_row = (pixels - ((height - 1) * spacing + 1)) // 2
    left_column = (pixels - ((width - 1) * spacing + 1)) // 2
    row_indices, column_indices = np.divmod(np.arange(height * width), width)
    return np.stack(
        [top_row + row_indices * spacing, left_column + column_indices * spacing],
        axis=1,
    ).astype(np.int64)


def standardised_sample(encoded: Floats, seed: int) -> Floats:
    """Return a sample of rows with columns of mean 0 and length 1.

    A constant column becomes 0.
    """
    row_count, columns = encoded.shape
    row_limit = min(_SAMPLED_ROWS, max(50, _SAMPLED_VALUES // columns))
    if row_count > row_limit:
        sampled_rows = np.sort(
            generator(seed, "layout", "rows").choice(
                row_count, size=row_limit, replace=False
            )
        )
        encoded = encoded[sampled_rows]
    # Dividing by the largest value first keeps the squares of huge or tiny values
    # finite.
    largest = np.abs(encoded).max(axis=0)
    table = encoded / np.where(largest > 0, largest, 1.0)
    table = table - table.mean(axis=0)
    length = np.sqrt((table**2).sum(axis=0))
    constant = length <= 1e-12 * math.sqrt(len(table))
    return np.where(constant, 0.0, table / np.where(constant, 1.0, length))


def likeness(standardised: Floats) -> Floats:
    """Return the absolute correlations of columns, 0 of each with itself: both signs
    tell a network the same.
    """
    similarity = np.minimum(np.abs(standardised.T @ standardised), 1.0)
    np.fill_diagonal(similarity, 0.0)
    return similarity


def _scaled_plane(similarity: Floats) -> Floats:
    """Put columns on a plane by classical scaling (Torgerson 1952) of the distance 1 −
    |correlation|.
    """
    columns = len(similarity)
    if columns < 3:
        return np.stack([np.arange(columns), np.zeros(columns)], axis=1).astype(
            np.float64
        )
    squared = (1.0 - similarity) ** 2
    np.fill_diagonal(squared, 0.0)
    inner = -0.5 * (
        squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    )
    # All eigenvectors, though two are used: solvers for a few may find none where
    # eigenvalues coincide.
    values, vectors = np.linalg.eigh(inner)
    plane: Floats = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0.0))
    return _with_fixed_signs(plane)


def principal_plane(standardised: Floats, seed: int) -> Floats:
    """Put many columns on a plane by their loadings, signs aligned, without a matrix of
    all pairs.
    """
    from sklearn.utils.extmath import randomized_svd

    state = np.random.RandomState(seed % 2**32)
    _, _, first = randomized_svd(standardised, n_components=1, random_state=state)
    # A column and its negative tell a network the same, so all are turned towards the
    # first component.
    table = (standardised * np.where(first[0] < 0, -1.0, 1.0)).T
    left_vectors, strength, _ = randomized_svd(
        table - table.mean(axis=0), n_components=2, random_state=state
    )
    plane = np.zeros((len(table), 2))  # of a single row there is one axis
    plane[:, : len(strength)] = left_vectors * strength
    return _with_fixed_signs(plane)


def _with_fixed_signs(plane: Floats) -> Floats:
    """Turn each axis so that its largest entry is positive: the sign of an eigenvector
    is arbitrary.
    """
    largest = np.abs(np.round(plane, 9)).argmax(axis=0)
    signs = np.where(plane[largest, np.arange(plane.shape[1])] < 0, -1.0, 1.0)
    fixed: Floats = plane * signs
    return fixed


def assign(plane: Floats, cells: Positions) -> Integers:
    """Give each column a cell so that the squared distances on the plane are least
    (Hungarian method).

    The axes are replaced by ranks first: one far column would push all others into a
    corner.
    """
    from scipy.optimize import linear_sum_assignment

    # Near-equal values keep their order of columns.
    ranks = np.argsort(np.argsort(np.round(plane, 9), axis=0, kind="stable"), axis=0)
    lower_bounds = cells.min(axis=0)
    upper_bounds = cells.max(axis=0)
    targets = lower_bounds + ranks / max(len(plane) - 1, 1) * (
        upper_bounds - lower_bounds
    )
    squared_distances = ((targets[:, None, :] - cells[None, :, :]) ** 2).sum(axis=2)
    _, cell_indices = linear_sum_assignment(squared_distances)
    return np.asarray(cell_indices, dtype=np.int64)


def split_by_rank(plane: Floats, cells: Positions) -> Integers:
    """Give each column a cell by sorting: rows of the block by the first axis, places
    in a row by the second.
    """
    columns = len(plane)
    width = int(np.unique(cells[:, 1]).size)
    order = np.argsort(np.round(plane[:, 0], 9), kind="stable")
    cell_indices = np.empty(columns, dtype=np.int64)
    for block_row, start in enumerate(range(0, columns, width)):
        members = order[start : start + width]
        members = members[np.argsort(np.round(plane[members, 1], 9), kind="stable")]
        cell_indices[members] = block_row * width + np.arange(len(members))
    return cell_indices


def neighbourhood(cells: Positions, reach: int = 1) -> Floats:
    """Return how close cells ``(n, 2)`` are, ``(n, n)``: 1 side by side, 1/√2 across a
    corner, else 0.
    """
    distance = np.abs(cells[:, None, :] - cells[None, :, :])
    touching = (distance.max(axis=2) == reach) & np.isin(distance, (0, reach)).all(
        axis=2
    )
    return np.where(
        touching, 1.0 / np.sqrt(np.maximum((distance > 0).sum(axis=2), 1)), 0.0
    )


def improve_by_swaps(
    similarity: Floats, cells: Positions, cell_indices: Integers, reach: int = 1
) -> Integers:
    """Swap columns (or a column and a free cell) while that raises the summed
    similarity of neighbours.

    Each step takes the best of all swaps, a steepest ascent on the quadratic assignment
    problem.
    """
    columns = len(cell_indices)
    cell_count = len(cells)
    # A free cell stands for a column that resembles nobody, so that a move is a swap
    # like any other.
    padded = np.zeros((cell_count, cell_count))
    padded[:columns, :columns] = similarity
    free_cells = np.setdiff1d(np.arange(cell_count), cell_indices)
    placed_on = np.concatenate([cell_indices, free_cells])
    neighbour_matrix = neighbourhood(cells[placed_on], reach)
    neighbour_pull = padded @ neighbour_matrix
    for _ in range(4 * cell_count):
        pull_of_place = np.diagonal(neighbour_pull)
        swap_gain = (
            neighbour_pull
            + neighbour_pull.T
            - pull_of_place[:, None]
            - pull_of_place[None, :]
            + 2 * padded * neighbour_matrix
        )
        best_index = int(swap_gain.argmax())
        first, second = divmod(best_index, cell_count)
        if swap_gain[first, second] <= 1e-9:
            break
        placed_on[[first, second]] = placed_on[[second, first]]
        swapped = neighbour_matrix.copy()
        swapped[[first, second]] = swapped[[second, first]]
        swapped[:, [first, second]] = swapped[:, [second, first]]
        changed = swapped - neighbour_matrix
        swapped_pair = np.array([first, second])
        neighbour_pull = (
            neighbour_pull + padded[:, swapped_pair] @ changed[swapped_pair]
        )
        # All other rows changed in the two columns only.
        elsewhere = changed[:, swapped_pair]
        elsewhere[swapped_pair] = 0.0
        neighbour_pull[:, swapped_pair] += padded @ elsewhere
        neighbour_matrix = swapped
    return placed_on[:columns]
