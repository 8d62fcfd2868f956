"""Exact values of the trees inside a hybrid network, beside those of all else in it.

What trees say is added to the outputs. Where what is explained is linear in these, as
numbers and logits are, Shapley values of the sum are sums of Shapley values: those of
the trees by their leaves, and those of the network without them by its predictions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.method.shapley.tree_models import (
    cells_of,
    mean_over,
    owner_of,
    tree_groups_of,
    values_by,
)
from permgrad.attribution.request import Request
from permgrad.base.arrays import Floats, Integers


class AddedTrees(NamedTuple):
    """The game of a network without its trees, and what these add to the values.

    Attributes:
        game: of the network without its trees.
        values: of the trees ``(rows, players, V)``.
        std: their errors, of drawing background rows.
    """

    game: ShapleyGame
    values: Floats
    std: Floats


def split_trees(
    game: ShapleyGame, references: Integers, of_rows: float
) -> AddedTrees | None:
    """Return the trees of a network apart from all else in it, or None where it has
    none, or where what is explained is not linear in what they say.

    Args:
        game: of outputs.
        references: the background rows that replace players.
        of_rows: see ``error_of_rows``.
    """
    request = game.request
    subject = request.subject
    added = subject.added_trees()
    is_linear = request.scale.linear or subject.outputs.kind == "values"
    if added is None or not is_linear or len(request.inputs) != 1 or not game.covered:
        return None
    rows = cells_of(request.inputs, added.trees)
    background = cells_of(request.donors, added.trees)
    tree_groups = tree_groups_of(
        added.trees, owner_of(game), game.players, rows, background, len(references)
    )
    if tree_groups is None:
        return None

    def explained(numbers: Integers, donors: Integers) -> Floats:
        return _as_explained(request, values_by(tree_groups, numbers, donors))

    every_row = np.arange(request.count, dtype=np.int64)
    averaged = mean_over(explained, every_row, references, drawn=of_rows > 0)
    remaining_game = game.same(replace(request, subject=added.rest), "output")
    return AddedTrees(remaining_game, averaged.values, of_rows * averaged.std)


def _as_explained(request: Request, values: Floats) -> Floats:
    """Return values of a network's outputs ``(rows, players, K)`` as those of what is
    explained ``(rows, players, V)``, which is linear in the outputs.
    """
    form = request.subject.outputs
    flat = torch.from_numpy(values.reshape(-1, values.shape[2]))
    scaled = request.scale.read(form, flat)
    scaled = scaled - request.scale.read(form, torch.zeros_like(flat[:1]))
    target_values = scaled[:, list(request.targets)].numpy()
    explained: Floats = target_values.reshape(*values.shape[:2], -1)
    return explained
