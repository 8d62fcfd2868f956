"""Random kernels beside a trained network: their readout is a ridge, their share follows from held-out rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from permgrad.base.arrays import Array, Floats
from permgrad.base.random import generator
from permgrad.models.estimators.calibration import best_temperature, class_logits
from permgrad.models.estimators.mix import Mix
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.fast.kernels import FoldedKernels
from permgrad.models.network.blocks import RandomKernels
from permgrad.models.train.rows import Rows

#: Training rows that the readout is fitted to, at most, and held-out rows for a share, at least.
_MOST_ROWS, _FEWEST_HELD = 5000, 10
_PENALTIES: Floats = np.logspace(-2, 5, 15)
#: A share of the outputs below which kernels are left out: they would cost more time than they are worth.
_LEAST_SHARE = 0.05
#: Rows whose pixels give the scale.
_SCALED = 128


def add_random_kernels(model: Any, prepared: Prepared) -> None:
    """Fit so many kernels as the settings ask for to the training rows, and let them have a share of the outputs.

    The share is the one nearest to 1/2 that held-out rows allow. Without held-out rows, or where rows do not fit in
    memory, there are none.
    """
    held, learned, network = prepared.job.validation_rows, prepared.job.train_rows, model.module_
    if not prepared.random_kernels or network.image_branch is None or network.kernels is not None:
        return
    if held is None or len(held) < _FEWEST_HELD or not isinstance(learned, Rows):
        return
    rng, device = generator(model.seed_, "random kernels"), next(network.parameters()).device
    rows = learned.take(torch.from_numpy(np.sort(rng.permutation(len(learned))[:_MOST_ROWS])))
    some = network.renderer(rows.x[:_SCALED].to(device))
    kernels = RandomKernels(network.image_shape, prepared.random_kernels, network.outputs).to(device)
    kernels.draw(rng, centre=float(some.mean()), spread=float(some.std()) or 1.0)

    folded = FoldedKernels(kernels)

    @torch.no_grad()
    def seen(x: Tensor) -> Floats:
        return np.asarray(folded.see(network.renderer(x.to(device))).cpu().double().numpy())

    matrix, offset = _readout(seen(rows.x), rows, classes=len(getattr(model, "classes_", ())))
    outputs, said = model.predict_encoded(held.x.numpy()), seen(held.x) @ matrix + offset
    y, between = held.y.numpy(), prepared.dependence
    guesses: tuple[Floats, Floats]
    if model.task == "classification":
        guesses = softmax(class_logits(outputs), axis=1), softmax(said, axis=1)
    else:
        guesses, y = (outputs[:, 0].astype(np.float64), said[:, 0]), y.astype(np.float64)
    share = 1 - Mix.learn(guesses, y, seed=model.seed_, dependence=between).network
    if share < _LEAST_SHARE:
        return
    if said.shape[1] > network.outputs:  # two classes share a logit
        matrix, offset = matrix[:, 1:] - matrix[:, :1], offset[1:] - offset[:1]
    assert kernels.readout is not None
    kernels.readout.weight.data.copy_(torch.from_numpy(matrix.T))
    kernels.readout.bias.data.copy_(torch.from_numpy(offset))
    network.add_kernels(kernels, min(share, 1 - _LEAST_SHARE))
    model.network_options_ = network.options.to_dict()


def _readout(features: Array, rows: Rows, classes: int) -> tuple[Floats, Floats]:
    """Return the matrix and the offset from what kernels see to logits, or to the standardised target."""
    y, weights = rows.y.numpy(), rows.weight.numpy().astype(np.float64)
    truth = np.eye(classes)[y] if classes else y.astype(np.float64)[:, None]
    centre, spread = np.average(features, axis=0, weights=weights), features.std(axis=0) + 1e-6
    mean = np.average(truth, axis=0, weights=weights)
    matrix, left_out = ridge((features - centre) / spread, truth - mean, _PENALTIES, weights)
    # Shares of classes become logits by the temperature that is best for rows left out.
    sharpness = 1 / best_temperature(left_out + mean, y, weights) if classes else 1.0
    matrix = sharpness * matrix / spread[:, None]
    return matrix, sharpness * mean - centre @ matrix


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
