"""Layouts of columns that have an order: a curve or a picture whose order is lost, and
one that is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.imaging import assignment
from permgrad.imaging.layout import (
    GridLayout,
    PlacedLayout,
    Positions,
    layouts,
    named_places,
)

#: Of more columns no matrix of all pairs is made: they stand in the order of their
#: loadings.
_MOST_COLUMNS = 4096
#: Pairs of columns between which a piece of the path may be turned, looked at together.
_PIECES = 100_000
_MOST_PASSES = 100
_LEAST_GAIN = 1e-9
#: Columns that a column may be joined to at first.
_NEAREST = 10


class _OrderedLayout(PlacedLayout):
    """Base of layouts with one place for each column, in one row of the grid if they
    are a curve.
    """

    ordered = True

    def _pixels_needed(self, columns: int) -> int:  # noqa: ARG002 — the grid is as large as there are columns
        return 1

    def _set(self, positions: Positions, shape: tuple[int, ...]) -> Positions:
        self.shape = shape
        self.pixels = max(shape[:2])
        return positions


@layouts.register("path")
class PathLayout(_OrderedLayout):
    """Puts the columns in a row, each beside those that it resembles: finds the order
    of a curve that was shuffled.

    The similarity of two columns is the absolute correlation. The order is that of the
    Fiedler vector of its normalised Laplacian (spectral seriation, Atkins et al. 1998),
    then pieces are turned while that makes neighbours more alike.

    Examples:
        >>> place, rng = np.arange(12), np.random.default_rng(0)
        >>> curves = np.cumsum(rng.normal(size=(200, 12)), axis=1)
        >>> shuffled = rng.permutation(12)
        >>> layout = PathLayout().fit(curves[:, shuffled])
        >>> along = shuffled[layout.positions[:, 1].argsort()]
        >>> layout.shape, bool((np.abs(np.diff(along)) == 1).all())
        ((1, 12), True)
    """

    name: ClassVar[str] = "path"

    def _place(self, encoded: Floats, seed: int) -> Positions:
        return self._set(*path_positions(encoded, seed))


@layouts.register("lattice")
class LatticeLayout(_OrderedLayout):
    """Puts the columns on a compact grid, each beside those that it resembles: finds
    the places of shuffled pixels.

    The plane is that of the second and third vector of the normalised Laplacian
    (spectral embedding, Belkin & Niyogi 2003, section 3), its cells are assigned by the
    Hungarian method, and of up to 400 columns swaps make neighbours more alike.

    Examples:
        >>> pixels = np.random.default_rng(0).normal(size=(400, 9, 9))
        >>> blurred = pixels[:, 1:, 1:] + pixels[:, :-1, 1:]
        >>> blurred = blurred + pixels[:, 1:, :-1] + pixels[:, :-1, :-1]
        >>> layout = LatticeLayout().fit(blurred[:, :6, :6].reshape(400, 36))
        >>> layout.shape
        (6, 6)
    """

    name: ClassVar[str] = "lattice"

    def _place(self, encoded: Floats, seed: int) -> Positions:
        return self._set(*lattice_positions(encoded, seed))


@layouts.register("given")
class GivenLayout(_OrderedLayout):
    """Leaves the columns in their order, or in that of the numbers in their names:
    ``850nm``, ``t01``, ``px_3_17``.

    Two numbers in each name are a row and a column of a grid. Where names with the same
    numbers differ in their letters (``acc_x_t01``, ``px_3_17_r``), the letters are a
    channel.

    Examples:
        >>> layout = GivenLayout().fit(np.eye(3), ["900nm", "850nm", "1000nm"])
        >>> layout.positions.tolist()
        [[0, 1], [0, 0], [0, 2]]
        >>> GivenLayout().fit(np.eye(4), ["px_0_0", "px_0_1", "px_1_0", "px_1_1"]).shape
        (2, 2)
        >>> GivenLayout().fit(np.eye(4), ["x_t1", "x_t2", "y_t1", "y_t2"]).shape
        (1, 2, 2)
    """

    name: ClassVar[str] = "given"

    def _place(self, encoded: Floats, seed: int) -> Positions:  # noqa: ARG002 — nothing is drawn
        return self._set(
            *(named_places(self.names or ()) or in_a_row(np.arange(encoded.shape[1])))
        )


def is_ordered(layout: Any) -> bool:
    """Return whether a layout, as estimators take it, says that columns have an
    order.
    """
    if isinstance(layout, str):
        layout = layouts.get(layout, None)
    return isinstance(layout, (tuple, list)) or bool(getattr(layout, "ordered", False))


def has_channels(layout: Any, names: Sequence[str]) -> bool:
    """Return whether a layout, as estimators take it, gives columns of these names
    channels.
    """
    if "given" in (layout, getattr(layout, "name", None)):
        named = named_places(names)
        return named is not None and len(named[1]) > 2
    if isinstance(layout, GridLayout):
        grid_shape = layout.shape
    else:
        grid_shape = layout
    return isinstance(grid_shape, (tuple, list)) and len(grid_shape) > 2


def in_a_row(order: Integers) -> tuple[Positions, tuple[int, int]]:
    """Return the places of columns in a row, in this order, with its height and
    width.
    """
    positions = np.zeros((len(order), 2), dtype=np.int64)
    positions[order, 1] = np.arange(len(order))
    return positions, (1, len(order))


def path_positions(encoded: Floats, seed: int) -> tuple[Positions, tuple[int, int]]:
    """Return places of columns in a row in which neighbours are alike, with its height
    and width.
    """
    standardised = assignment.standardised_sample(encoded, seed)
    order = np.arange(columns := standardised.shape[1])
    if columns > _MOST_COLUMNS:
        order = np.argsort(
            np.round(assignment.principal_plane(standardised, seed)[:, 0], 9),
            kind="stable",
        )
    elif columns > 2:
        similarity = assignment.likeness(standardised)
        order = turn_pieces(similarity, _seriated(similarity))
    return in_a_row(order)


def lattice_positions(encoded: Floats, seed: int) -> tuple[Positions, tuple[int, int]]:
    """Return places of columns on a compact grid in which neighbours are alike, with
    its height and width.
    """
    standardised = assignment.standardised_sample(encoded, seed)
    columns = encoded.shape[1]
    width = math.isqrt(columns - 1) + 1
    cells = assignment.block_cells(columns, width)
    cells -= cells.min(axis=0)
    if columns > assignment.EXACT_COLUMNS or columns < 4:
        cell_indices = assignment.split_by_rank(
            assignment.principal_plane(standardised, seed), cells
        )
    else:
        similarity = assignment.likeness(standardised)
        cell_indices = assignment.assign(_spectral(similarity, 2), cells)
        if columns <= assignment.REFINED_COLUMNS:
            cell_indices = assignment.improve_by_swaps(similarity, cells, cell_indices)
    return cells[cell_indices], (-(-columns // width), width)


def _spectral(similarity: Floats, dimensions: int) -> Floats:
    """Return the vectors of a graph's normalised Laplacian behind its first,
    ``(columns, dimensions)``.
    """
    from scipy.linalg import eigh

    weights = similarity**2
    degree_roots = np.sqrt(weights.sum(axis=0) + 1e-9)
    last_index = len(weights) - 1
    # The second largest of the normalised matrix is the second smallest of its
    # Laplacian.
    _, vectors = eigh(
        weights / degree_roots[:, None] / degree_roots,
        subset_by_index=[last_index - dimensions, last_index],
    )
    rounded: Floats = np.round(vectors[:, -2::-1] / degree_roots[:, None], 9)
    return rounded


def _seriated(similarity: Floats) -> Integers:
    """Return the order of chains of columns that are each other's most alike, chains in
    the Fiedler vector's order.
    """
    fiedler = _spectral(similarity, 1)[:, 0]
    # The sign of an eigenvector is arbitrary: the first column stands in the first
    # half.
    seriation_rank = np.argsort(
        np.argsort(
            fiedler if fiedler[0] <= np.median(fiedler) else -fiedler, kind="stable"
        )
    )
    chains = [
        chain if seriation_rank[chain[0]] <= seriation_rank[chain[-1]] else chain[::-1]
        for chain in _chains(similarity)
    ]
    chains.sort(key=lambda chain: float(seriation_rank[chain].mean()))
    return np.concatenate(chains)


def _chains(similarity: Floats) -> list[Integers]:
    """Join columns to chains, those most alike first, each to at most two others of its
    most alike.
    """
    count = len(similarity)
    nearest = np.argsort(-np.round(similarity, 9), axis=1, kind="stable")[:, :_NEAREST]
    first = np.repeat(np.arange(count), nearest.shape[1])
    second = nearest.ravel()
    ranked = np.argsort(-np.round(similarity[first, second], 9), kind="stable")
    chain_of = {
        column: [column] for column in range(count)
    }  # of both ends of each chain
    inner: set[int] = set()
    for first_column, second_column in zip(
        first[ranked].tolist(), second[ranked].tolist(), strict=True
    ):
        if (
            first_column in inner
            or second_column in inner
            or chain_of[first_column] is chain_of[second_column]
        ):
            continue
        left_chain = chain_of[first_column]
        right = chain_of[second_column]
        if left_chain[-1] != first_column:
            left_chain = left_chain[::-1]
        if right[0] != second_column:
            right = right[::-1]
        inner |= {
            column
            for column, chain in ((first_column, left_chain), (second_column, right))
            if len(chain) > 1
        }
        joined = left_chain + right
        chain_of[joined[0]] = chain_of[joined[-1]] = joined
    chain_ends = [column for column in range(count) if column not in inner]
    return [
        np.array(chain)
        for column in chain_ends
        if (chain := chain_of[column])[0] == column
    ]


def turn_pieces(similarity: Floats, order: Integers) -> Integers:
    """Turn pieces of a path whose turning makes neighbours more alike, until none does
    (2-opt).
    """
    count = len(order)
    longest = min(count - 1, max(2, _PIECES // count))
    padded = np.zeros(
        (count + 1, count + 1)
    )  # beyond both ends there is a column that resembles nobody
    padded[:count, :count] = similarity
    start = np.arange(count)[:, None]
    length = np.arange(longest + 1)
    stop_positions = np.minimum(start + length, count)
    for _ in range(_MOST_PASSES):
        around = np.concatenate([order, [count]])  # its place −1 is that column, too
        first = around[start]
        last_columns = around[np.minimum(stop_positions, count - 1)]
        before = around[start - 1]
        behind = around[np.minimum(stop_positions + 1, count)]
        turn_gains = (
            padded[before, last_columns]
            + padded[first, behind]
            - padded[before, first]
            - padded[last_columns, behind]
        )
        turn_gains[stop_positions >= count] = 0.0
        best_lengths = turn_gains.argmax(axis=1)
        best_gains = turn_gains.max(axis=1)
        order = order.copy()
        is_turned = np.zeros(count + 2, dtype=bool)
        for start_position in np.argsort(-best_gains, kind="stable")[
            : int((best_gains > _LEAST_GAIN).sum())
        ].tolist():
            end_position = start_position + int(best_lengths[start_position])
            if not is_turned[
                start_position : end_position + 3
            ].any():  # with a neighbour on each side, one place on
                is_turned[start_position : end_position + 3] = True
                order[start_position : end_position + 1] = order[
                    start_position : end_position + 1
                ][::-1]
        if not is_turned.any():
            break
    return order
