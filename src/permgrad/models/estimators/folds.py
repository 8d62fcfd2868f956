"""Branches that are fitted several times, each time without other rows, so that every
row is judged by a fit that has not learned from it.

The branch says the mean of its fits (cross-fitting, as in stacking: Wolpert 1992). All
training and held-out rows teach it, and held-out rows still judge it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from permgrad.base.arrays import Array, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.train.training_rows import Rows

#: Fits of a branch. Of more rows each row says little that others do not say.
FOLDS = 5
MOST_ROWS = 20_000


class Fold(NamedTuple):
    """Rows of one fit: those that teach it and those that it leaves out, which stop it.

    ``judged``: which held-out rows are among those left out, by their position.
    """

    teaching: Rows
    left_out: Rows
    judged: Integers


def units_of_folds(
    encoder: TableEncoder,
    related: Dependence | None,
    training: Integers,
    held_out: Integers,
) -> Integers | None:
    """Return which training and then held-out rows belong together, or None where
    held-out rows must not teach.

    Later rows judge what earlier ones teach. Scores of training rows were made without
    the labels of held-out rows alone.
    """
    if encoder.where(lambda part_kind: part_kind.is_score).any():
        return None
    rows = np.concatenate([training, held_out])
    if related is None:
        return np.arange(len(rows))
    if related.timed:
        return None
    return np.unique(related.codes[rows], return_inverse=True)[1]


def folds_of(
    learned: Rows, held_out: Rows, units: Integers | None, classes: int, seed: int
) -> list[Fold]:
    """Return the rows of each fit, or none where a branch is fitted once.

    Args:
        learned: training rows.
        held_out: rows that judge, none of which is among them.
        units: which of both belong together. None: one fit.
        classes: number of classes, 0 for numbers. Each fit learns from all of them.
        seed: of the folds.
    """
    count = len(learned) + len(held_out)
    if units is None or count > MOST_ROWS or len(np.unique(units)) < 2 * FOLDS:
        return []
    rows = _joined(learned, held_out)
    y = rows.y.cpu().numpy()
    fold_of_rows = _fold_of_rows(units, y if classes else None, seed)
    folds = []
    for number in range(FOLDS):
        is_left_out = fold_of_rows == number
        if classes and len(np.unique(y[~is_left_out])) < classes:
            return []
        folds.append(
            Fold(
                rows.take(torch.from_numpy(np.flatnonzero(~is_left_out))),
                rows.take(torch.from_numpy(np.flatnonzero(is_left_out))),
                np.flatnonzero(is_left_out[len(learned) :]),
            )
        )
    return folds


def _fold_of_rows(units: Integers, classes: Array | None, seed: int) -> Integers:
    """Return the fold that leaves out each row: units are dealt at random, single rows
    class by class.
    """
    unit_count = int(units.max()) + 1
    order = generator(seed, "folds of branches").permutation(unit_count)
    if classes is not None and unit_count == len(units):
        order = order[np.argsort(classes[order], kind="stable")]
    fold_of_units = np.empty(unit_count, dtype=np.int64)
    fold_of_units[order] = np.arange(unit_count) % FOLDS
    return fold_of_units[units]


def _joined(first: Rows, second: Rows) -> Rows:
    """Return the rows of both, on the processor."""
    return Rows(
        torch.cat([first.x.cpu(), second.x.cpu()]),
        torch.cat([first.y.cpu(), second.y.cpu()]),
        torch.cat([first.weight.cpu(), second.weight.cpu()]),
    )
