"""Whether what is explained is a sum of trees, so that values are exact without a
prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.method.shapley.tree_values import TreeValues
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.random import generator

LEAVES = "leaves of the trees, which stand for all coalitions"
#: How far the sums of trees may be from what is explained, as a share of its range:
#: some libraries round what they return to float32.
_APART = 1e-5
#: Mixtures of rows and background rows that show it, too.
_MIXTURES = 64


class LinearInTrees:
    """Values of outputs that are linear in the sums of trees, called as ``Enumeration``
    is.
    """

    def __init__(self, tree_values: TreeValues, factors: Floats) -> None:
        """Take ``factors (sums, outputs)``, of which the outputs are made but for a
        constant.
        """
        self._tree_values = tree_values
        self._factors = factors

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values ``(n, players, outputs)`` of rows, all of which have the
        donors of the first.
        """
        values: Floats = self._tree_values(rows, donors) @ self._factors
        return values


def find_trees(
    game: ShapleyGame, references: Integers, reference_worths: Floats
) -> LinearInTrees | None:
    """Return the values of an output game by trees, or None where its outputs are no
    sums of trees.

    That they are is shown by all rows, the background rows that replace players, and
    mixtures of both, as rows alone could have equal outputs: the sums of the trees that
    were read differ from what is explained by a constant alone. Probabilities of
    boosted trees are no sums, their logits are.

    Args:
        game: of outputs.
        references: the background rows that replace players.
        reference_worths: what is explained of each of them ``(references, V)``.
    """
    request = game.request
    if len(request.inputs) != 1 or not game.covered:
        return None
    trees = request.subject.trees()
    if trees is None:
        return None
    cells = [_cells_of(request.inputs), _cells_of(request.donors)]
    if not all(np.isfinite(rows).all() for rows in cells):
        return None
    rows, background = map(trees.as_library_reads, cells)
    owner = request.space.segments[0].cpu().numpy().ravel().astype(np.int64)
    try:
        tree_values = TreeValues(trees.trees, owner, game.players, rows, background)
        tree_values.check_size(len(references))
    except NotImplementedError:
        return None
    mixed = _mixtures(game, references)
    own_cells = rows[mixed.rows]
    mixed_cells = np.where(mixed.keeps[:, owner], own_cells, background[mixed.donors])
    sums = tree_values.sums(np.concatenate([rows, background[references], mixed_cells]))
    own_worths = game.full(np.arange(request.count, dtype=np.int64))
    factors = _factors_of(
        sums, np.concatenate([own_worths, reference_worths, mixed.worths])
    )
    if factors is None:
        return None
    return LinearInTrees(tree_values, factors)


class _Mixtures(NamedTuple):
    """Rows of which players are replaced by those of donors ``(mixtures,)``: who is not
    ``(mixtures, players)``, and what is explained of them ``(mixtures, V)``.
    """

    rows: Integers
    donors: Integers
    keeps: Booleans
    worths: Floats


def _mixtures(game: ShapleyGame, references: Integers) -> _Mixtures:
    """Return mixtures of drawn rows and background rows, which the model predicts."""
    draws = generator(game.request.seed, "mixtures")
    rows = draws.integers(game.request.count, size=_MIXTURES)
    donors = references[draws.integers(len(references), size=_MIXTURES)]
    keeps = draws.random((_MIXTURES, game.players)) < 0.5
    worths = game.values(rows, donors[:, None], keeps[:, None])
    return _Mixtures(rows, donors, keeps, worths[:, 0])


def _cells_of(tensors: Sequence[Tensor]) -> Floats:
    cells: Floats = tensors[0].detach().cpu().double().numpy()
    return cells


def _factors_of(sums: Floats, worths: Floats) -> Floats | None:
    """Return the factors ``(sums, V)`` by which outputs are made of sums, or None.

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
        if not apart[nearest] <= _APART * size:
            return None
        factors.append(candidates[nearest])
    return np.stack(factors, axis=1)
