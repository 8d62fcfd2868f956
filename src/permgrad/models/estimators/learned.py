"""What is learned after training, mostly from held-out rows.

How outputs become probabilities, how large errors are, and the share of random kernels beside the trained network.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence, mean_widening
from permgrad.base.random import generator
from permgrad.models.estimators.beside import LEAST_SHARE, add_branches
from permgrad.models.estimators.calibration import (
    Calibration,
    best_temperature,
    class_logits,
    fit_calibration,
)
from permgrad.models.estimators.intervals import (
    CELLS,
    MOST_HELD,
    MOST_LEARNED,
    HeldOut,
    Sample,
)
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.estimators.share import FEWEST, Share, row_losses
from permgrad.models.fast.kernels import FoldedKernels
from permgrad.models.network.blocks import RandomKernels
from permgrad.models.train.rows import Rows

#: Rates are not multiplied by less where they were too high on the latest rows.
_LEAST_RISE = 0.1


def learn_from_held_out(model: Any, prepared: Prepared) -> None:
    """Learn how outputs become probabilities, and how large errors are."""
    held, learned = prepared.job.validation_rows, prepared.job.train_rows
    _add_random_kernels(model, prepared)
    add_branches(model, prepared)
    if model.task == "classification":
        _learn_probabilities(model, prepared)
    model.held_out_, model.raised_ = None, 0.0
    if held is None or not len(held):
        return
    _raise_outputs(model, prepared, held)
    if not isinstance(
        learned, Rows
    ):  # rows of files are not in memory, but some of them are, for explanations
        kept = torch.from_numpy(model.background_target_)
        learned = Rows(torch.from_numpy(model.background_), kept, weight=kept)
    samples: list[Sample] = []
    between = prepared.dependence
    for rows, most in ((held, MOST_HELD), (learned, MOST_LEARNED)):
        count = min(most, max(CELLS // rows.x.shape[1], 1))
        chosen = np.sort(
            generator(model.seed_, "rows of errors").permutation(len(rows))[:count]
        )
        if rows is held and between is not None:
            between = between.take(chosen)
        x, y = rows.x.cpu().numpy()[chosen], rows.y.cpu().numpy()[chosen]
        outputs = model.predict_encoded(x)
        if model.task == "classification":
            codes = y.astype(np.int64)
            scores = (
                1 - model.calibration_.probabilities(outputs)[np.arange(len(y)), codes]
            )
            model.held_out_ = HeldOut(x, scores, codes=codes, dependence=between)
            return
        samples.append((x, y.astype(np.float64), outputs[:, 0].astype(np.float64)))
    model.held_out_ = HeldOut.of_numbers(samples[0], samples[1], between)


def _raise_outputs(model: Any, prepared: Prepared, held: Rows) -> None:
    """Raise the numbers of a series to the level of its held-out rows."""
    if (
        model.task == "regression"
        and prepared.dependence is not None
        and prepared.dependence.timed
    ):
        model.raised_ = _raise_to(
            model, held, prepared.validation_weight, prepared.dependence
        )


def _learn_probabilities(model: Any, prepared: Prepared) -> None:
    """Learn how outputs become probabilities and classes."""
    held = prepared.job.validation_rows
    model.calibration_ = Calibration()
    if model.calibration is not None:
        outputs = y = None
        if held is not None and model.calibration != "prior":
            outputs, y = model.predict_encoded(held.x.numpy()), held.y.numpy()
        weights = prepared.validation_weight
        model.calibration_ = fit_calibration(
            model.calibration, model.class_weights_, outputs, y, weights
        )
    _learn_decision(model, held, prepared.validation_weight)


def _learn_decision(model: Any, held: Rows | None, weights: Floats) -> None:
    """Choose the threshold of a model with costs on held-out rows."""
    decision = model.decision_
    if decision is None or decision.cost is None or held is None or not len(held):
        return
    outputs = model.predict_encoded(held.x.cpu().numpy())
    chances = model.calibration_.probabilities(outputs)
    model.decision_ = decision.on_held_out(held.y.cpu().numpy(), chances, weights)


def _raise_to(model: Any, held: Rows, weights: Floats, between: Dependence) -> float:
    """Raise predictions by their mean error on held-out rows that are later than those of training.

    The level of many targets drifts, and the next rows are nearest to the latest. What chance may have made of the
    mean is left out: it is multiplied by 1 − (standard error / mean)², at least 0. Returns it in units of y.
    """
    errors = (
        held.y.numpy().astype(np.float64) - model.predict_encoded(held.x.numpy())[:, 0]
    )
    mean = float(np.average(errors, weights=weights))
    doubt = mean_widening(between, errors) * float(errors.std()) / np.sqrt(len(errors))
    shift = mean * max(0.0, 1.0 - (doubt / mean) ** 2) if mean else 0.0
    predicted = np.average(held.y.numpy().astype(np.float64) - errors, weights=weights)
    # Rates are multiplied, so that their mean rises by as much.
    model.module_.raise_outputs(
        math.log(max(1 + shift / predicted, _LEAST_RISE))
        if model.module_.rates
        else shift
    )
    return shift * model.target_scale_


#: Training rows that the readout is fitted to, at most.
_MOST_ROWS = 5000
_PENALTIES: Floats = np.logspace(-2, 5, 15)
#: Rows whose pixels give the scale.
_SCALED = 128


def _add_random_kernels(model: Any, prepared: Prepared) -> None:
    """Fit so many kernels as the settings ask for to the training rows, and let them have a share of the outputs.

    The share is the one nearest to 1/2 that held-out rows allow. Without held-out rows, or where rows do not fit in
    memory, there are none.
    """
    held, learned, network = (
        prepared.job.validation_rows,
        prepared.job.train_rows,
        model.module_,
    )
    if (
        not prepared.random_kernels
        or network.image_branch is None
        or network.kernels is not None
    ):
        return
    if held is None or len(held) < FEWEST or not isinstance(learned, Rows):
        return
    rng, device = (
        generator(model.seed_, "random kernels"),
        next(network.parameters()).device,
    )
    rows = learned.take(
        torch.from_numpy(np.sort(rng.permutation(len(learned))[:_MOST_ROWS]))
    )
    kernels = _drawn(network, rows, prepared.random_kernels, rng)

    folded = FoldedKernels(kernels)

    @torch.no_grad()
    def seen(x: Tensor) -> Floats:
        return np.asarray(
            folded.see(network.renderer(x.to(device))).cpu().double().numpy()
        )

    matrix, offset = _readout(
        seen(rows.x), rows, classes=len(getattr(model, "classes_", ()))
    )
    said = seen(held.x) @ matrix + offset
    share = _share_of(model, prepared, held, said)
    if share < LEAST_SHARE:
        return
    if said.shape[1] > network.outputs:  # two classes share a logit
        matrix, offset = matrix[:, 1:] - matrix[:, :1], offset[1:] - offset[:1]
    assert kernels.readout is not None
    kernels.readout.weight.data.copy_(torch.from_numpy(matrix.T))
    kernels.readout.bias.data.copy_(torch.from_numpy(offset))
    network.add_kernels(kernels, min(share, 1 - LEAST_SHARE))
    model.network_options_ = network.options.to_dict()


def _drawn(network: Any, rows: Rows, count: int, rng: Any) -> RandomKernels:
    """Return so many kernels, drawn for the images of some rows."""
    device = next(network.parameters()).device
    some = network.renderer(rows.x[:_SCALED].to(device))
    kernels = RandomKernels(network.image_shape, count, network.outputs).to(device)
    kernels.draw(rng, centre=float(some.mean()), spread=float(some.std()) or 1.0)
    return kernels


def _share_of(model: Any, prepared: Prepared, held: Rows, others: Floats) -> float:
    """Return the share of what kernels say that held-out rows allow."""
    outputs = model.predict_encoded(held.x.numpy())
    y = held.y.numpy()
    between = prepared.dependence
    classes = model.task == "classification"
    outputs = class_logits(outputs) if classes else outputs.astype(np.float64)
    losses = row_losses(y if classes else y.astype(np.float64), classes=classes)
    return Share.learn(
        outputs, others, losses, seed=model.seed_, dependence=between
    ).share


def _readout(features: Array, rows: Rows, classes: int) -> tuple[Floats, Floats]:
    """Return the matrix and the offset from what kernels see to logits, or to the standardised target."""
    y, weights = rows.y.numpy(), rows.weight.numpy().astype(np.float64)
    truth = np.eye(classes)[y] if classes else y.astype(np.float64)[:, None]
    centre, spread = (
        np.average(features, axis=0, weights=weights),
        features.std(axis=0) + 1e-6,
    )
    mean = np.average(truth, axis=0, weights=weights)
    matrix, left_out = ridge(
        (features - centre) / spread, truth - mean, _PENALTIES, weights
    )
    # Shares of classes become logits by the temperature that is best for rows left out.
    sharpness = 1 / best_temperature(left_out + mean, y, weights) if classes else 1.0
    matrix = sharpness * matrix / spread[:, None]
    return matrix, sharpness * mean - centre @ matrix


def ridge(
    features: Floats, truth: Floats, penalties: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return the matrix ``(features, outputs)``, and what each row is predicted to be by a ridge of all others.

    The closed form of leave-one-out errors is that of Golub, Heath & Wahba 1979.

    Args:
        features: centred columns ``(rows, features)``.
        truth: centred targets ``(rows, outputs)``.
        penalties: that are tried.
        weights: of the rows, ``(rows,)`` with mean 1. Columns and targets are centred by them.
    """
    share = (
        np.full(len(features), 1 / len(features))
        if weights is None
        else weights / weights.sum()
    )
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
        left_out = (aim - (turned * kept) @ along) / (1 - share - squares @ kept)[
            :, None
        ]
        error = float((left_out**2).mean())
        if error < best:
            best, chosen, others = (
                error,
                (turned / (values + penalty)) @ along,
                left_out,
            )
    return near.T @ chosen, truth - others / np.maximum(root, 1e-12)
