"""A ridge whose penalty is chosen by errors of rows left out one at a time, in closed form."""

from __future__ import annotations

import math

import numpy as np

from permgrad.base.arrays import Floats


def ridge(features: Floats, truth: Floats, penalties: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Return the matrix ``(features, outputs)``, and what each row is predicted to be by a ridge of all others.

    The closed form of leave-one-out errors is that of Golub, Heath & Wahba 1979.

    Args:
        features: centred columns ``(rows, features)``.
        truth: centred targets ``(rows, outputs)``.
        penalties: that are tried.
        weights: of the rows, ``(rows,)`` with mean 1. Columns and targets are centred by them.
    """
    share = np.full(len(features), 1 / len(features)) if weights is None else weights / weights.sum()
    root = np.sqrt(share * len(features))[:, None]
    near, aim = features * root, truth * root
    narrow = near.shape[1] < len(near)
    values, vectors = np.linalg.eigh(near.T @ near if narrow else near @ near.T)
    usable = values > values[-1] * 1e-9  # without the constant, which is the mean's
    values, vectors = values[usable], vectors[:, usable]
    turned = near @ vectors / np.sqrt(values) if narrow else vectors
    along, squares = turned.T @ aim, turned**2
    best, chosen, others = math.inf, aim, aim
    for penalty in penalties:
        kept = values / (values + penalty)
        left_out = (aim - (turned * kept) @ along) / (1 - share - squares @ kept)[:, None]
        error = float((left_out**2).mean())
        if error < best:
            best, chosen, others = error, (turned / (values + penalty)) @ along, left_out
    return near.T @ chosen, truth - others / np.maximum(root, 1e-12)
