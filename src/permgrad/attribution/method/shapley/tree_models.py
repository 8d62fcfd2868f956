"""Whether what is explained is a sum of trees, so that values are exact without a
prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.method.shapley.tree_values import TreeValues
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.random import generator
from permgrad.models.reading_trees import ReadTrees
from permgrad.models.trees import Trees

LEAVES = "leaves of the trees, which stand for all coalitions"
#: How far the sums of trees may be from what is explained, as a share of its range:
#: some libraries round what they return to float32.
_APART = 1e-5
#: Mixtures of background rows that show it, too.
_MIXTURES = 64
#: Numbers that may be held for each row explained, 1 GB, and about how many of them the
#: tables of a node take.
_MOST_NUMBERS = 2**27
_TABLE_NUMBERS = 2**10
#: Parts of a drawn background between which exact values are compared.
_PARTS = 10


class LinearInTrees:
    """Values of outputs that are linear in the sums of trees, called as ``Enumeration``
    is.

    Attributes:
        agrees: of which rows the output is what the sums say ``(rows,)``. They have
            no missing cell, and no logit that is cut off.
    """

    def __init__(
        self, tree_groups: Sequence[TreeValues], factors: Floats, agrees: Booleans
    ) -> None:
        """Take what values are made of.

        Args:
            tree_groups: of the trees, whose sums add up.
            factors: ``(sums, outputs)``, of which outputs are made but for a constant.
            agrees: of which rows they are ``(rows,)``.
        """
        self._tree_groups = tree_groups
        self._factors = factors
        self.agrees = agrees

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values ``(n, players, outputs)`` of rows, all of which have the
        donors of the first.
        """
        values: Floats = values_by(self._tree_groups, rows, donors) @ self._factors
        return values


def find_trees(game: ShapleyGame, references: Integers) -> LinearInTrees | None:
    """Return the values of an output game by trees, or None where its outputs are no
    sums of trees.

    That they are is shown by the background rows that replace players and by mixtures
    of them: the sums of the trees that were read differ from what is explained by a
    constant alone. Probabilities of boosted trees are no sums, their logits are. Rows
    explained have no part in it, so that a row's values do not depend on the others.

    Args:
        game: of outputs.
        references: the background rows that replace players.
    """
    request = game.request
    if len(request.inputs) != 1 or not game.covered:
        return None
    trees = request.subject.trees()
    if trees is None or not len(trees.trees.roots):
        return None
    background = cells_of(request.donors, trees)
    if not np.isfinite(background[references]).all():
        return None
    rows = cells_of(request.inputs, trees)
    compared = [request.donors[0][torch.from_numpy(references)], request.inputs[0]]
    table = torch.cat(compared).detach().cpu().double().numpy()
    owner = owner_of(game)[trees.sources(table)]
    tree_groups = tree_groups_of(
        trees, owner, game.players, rows, background, len(references)
    )
    if tree_groups is None:
        return None
    played = _played(game, owner, background, references)
    link = _link_of(_sums(tree_groups, played.cells), played.worths)
    if link is None:
        return None
    own_worths = game.full(np.arange(request.count, dtype=np.int64))
    agrees: Booleans = np.asarray(np.isfinite(rows).all(axis=1))
    agrees[agrees] = link.holds(_sums(tree_groups, rows[agrees]), own_worths[agrees])
    return LinearInTrees(tree_groups, link.factors, agrees)


def tree_groups_of(
    trees: ReadTrees,
    owner: Integers,
    players: int,
    rows: Floats,
    background: Floats,
    donors: int,
) -> list[TreeValues] | None:
    """Return the trees in groups that fit in memory, with the rows that they compare.

    None where a single group is too large, or has a leaf of too many players.

    Args:
        trees: as they were read.
        owner: the player of each of their columns ``(columns,)``.
        players: how many there are.
        rows: cells of the rows to explain ``(rows, columns)``.
        background: cells of the background ``(background rows, columns)``.
        donors: how many of them replace players.
    """
    try:
        return [
            TreeValues(trees_of_group, owner, players, rows, background)
            for trees_of_group in _in_parts(trees.trees, donors)
        ]
    except NotImplementedError:
        return None


def owner_of(game: ShapleyGame) -> Integers:
    """Return the player of each column of the table ``(columns,)``."""
    owner: Integers = game.request.space.segments[0].cpu().numpy().ravel()
    return owner.astype(np.int64)


def values_by(
    tree_groups: Sequence[TreeValues], rows: Integers, donors: Integers
) -> Floats:
    """Return exact values ``(n, players, sums)`` of the sums of trees in parts."""
    values: Floats = np.sum([group(rows, donors) for group in tree_groups], axis=0)
    return values


class Averaged(NamedTuple):
    """Exact values of rows ``(n, players, V)``, and their error if the background rows
    are drawn from very many; in how many parts they were looked at.
    """

    values: Floats
    std: Floats
    part_count: int


def mean_over(
    exact: Callable[[Integers, Integers], Floats],
    rows: Integers,
    references: Integers,
    *,
    drawn: bool,
) -> Averaged:
    """Return exact values of some rows, and their error where background rows were
    drawn: it follows from how the values differ between parts of the background, each
    of rows from all over it.
    """
    count = 1
    if drawn:
        count = min(_PARTS, len(references))
    background_parts = [references[first::count] for first in range(count)]
    sizes = np.array(
        [len(rows_of_part) for rows_of_part in background_parts], dtype=np.float64
    )
    part_values = np.stack(
        [
            exact(rows, np.broadcast_to(rows_of_part, (len(rows), len(rows_of_part))))
            for rows_of_part in background_parts
        ]
    )
    values: Floats = np.average(part_values, axis=0, weights=sizes)
    std = np.zeros_like(values)
    if count > 1:
        std = part_values.std(axis=0, ddof=1) / np.sqrt(count)
    return Averaged(values, std, count)


def cells_of(tensors: Sequence[Tensor], trees: ReadTrees) -> Floats:
    """Return the cells of a table as the library of trees reads them."""
    return trees.as_library_reads(tensors[0].detach().cpu().double().numpy())


def _in_parts(trees: Trees, donors: int) -> list[Trees]:
    """Return the trees in parts that take at most 1 GB of memory beside so many donors.

    Raises:
        NotImplementedError: A single round of trees takes more.
    """
    outputs = trees.values.shape[1]
    trees_a_round = len(trees.base) // outputs
    nodes = np.diff(np.append(trees.roots[::trees_a_round], len(trees.left)))
    numbers = nodes * (donors + _TABLE_NUMBERS)
    if numbers.max(initial=0) > _MOST_NUMBERS:
        raise NotImplementedError("a tree would take more memory")
    tree_groups = []
    start = 0
    while start < len(nodes):
        fits = np.cumsum(numbers[start:]) <= _MOST_NUMBERS
        end = start + int(fits.sum())
        tree_groups.append(trees.between(start, end))
        start = end
    return tree_groups


def _sums(tree_groups: Sequence[TreeValues], cells: Floats) -> Floats:
    """Return what the trees add up to in rows ``(rows, sums)``, but for a constant."""
    sums: Floats = np.sum([group.sums(cells) for group in tree_groups], axis=0)
    return sums


class _Played(NamedTuple):
    """Background rows and mixtures of them: their cells ``(rows, columns)``, and what
    is explained of them ``(rows, V)``.
    """

    cells: Floats
    worths: Floats


def _played(
    game: ShapleyGame, owner: Integers, background: Floats, references: Integers
) -> _Played:
    """Return the background rows that replace players, and mixtures of pairs of them,
    which the model predicts.
    """
    request = game.request
    numbers = torch.from_numpy(references)
    tensors = tuple(tensor[numbers.to(tensor.device)] for tensor in request.donors)
    among = game.same(replace(request, inputs=tensors, donors=tensors), "output")
    draws = generator(request.seed, "mixtures")
    rows, donors = draws.integers(len(references), size=(2, _MIXTURES))
    keeps = draws.random((_MIXTURES, game.players)) < 0.5
    mixed_worths = among.values(rows, donors[:, None], keeps[:, None])[:, 0]
    game.evaluations += among.evaluations
    cells = background[references]
    mixed_cells = np.where(keeps[:, owner], cells[rows], cells[donors])
    own_worths = among.full(np.arange(len(references), dtype=np.int64))
    return _Played(
        np.concatenate([cells, mixed_cells]),
        np.concatenate([own_worths, mixed_worths]),
    )


class _Link(NamedTuple):
    """How outputs follow from sums of trees: by factors ``(sums, V)``, but for
    constants ``(V,)``; with the middle of each output over the background, and its
    range ``(V,)``.
    """

    factors: Floats
    constants: Floats
    middles: Floats
    ranges: Floats

    def holds(self, sums: Floats, worths: Floats) -> Booleans:
        """Return in which rows all outputs are what the sums say ``(rows,)``."""
        apart = np.abs(worths - sums @ self.factors - self.constants)
        sizes = np.maximum(self.ranges, np.abs(worths - self.middles))
        are_close: Booleans = np.asarray((apart <= _APART * sizes).all(axis=1))
        return are_close


def _link_of(sums: Floats, worths: Floats) -> _Link | None:
    """Return how outputs ``(rows, V)`` follow from sums of trees, or None where they do
    not, or where an output is the same in all rows, which shows nothing.

    An output is a sum, its opposite (the other one of two classes), or a sum less the
    mean of all of them (the logit of one of several classes).
    """
    count = sums.shape[1]
    alone = np.eye(count)
    candidates = np.concatenate([alone, -alone, alone - 1 / count])
    candidate_worths = sums @ candidates.T
    factors = []
    for output_worths in worths.T:
        size = np.ptp(output_worths)
        apart = np.ptp(candidate_worths - output_worths[:, None], axis=0)
        nearest = int(np.argmin(apart))
        if size == 0 or not apart[nearest] <= _APART * size:
            return None
        factors.append(candidates[nearest])
    chosen_factors = np.stack(factors, axis=1)
    return _Link(
        chosen_factors,
        _middles(worths - sums @ chosen_factors),
        _middles(worths),
        np.ptp(worths, axis=0),
    )


def _middles(numbers: Floats) -> Floats:
    """Return the middle between the smallest and the largest number of each column."""
    middles: Floats = (numbers.min(axis=0) + numbers.max(axis=0)) / 2
    return middles
