"""What is learned after training, mostly from held-out rows.

How outputs become probabilities, how large errors are, and the share of random kernels
beside the trained network.
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
from permgrad.models.losses import losses
from permgrad.models.network.blocks import RandomKernels
from permgrad.models.train.training_rows import Rows

#: Rates are not multiplied by less where they were too high on the latest rows.
_LEAST_RISE = 0.1


def learn_from_held_out(model: Any, prepared: Prepared) -> None:
    """Learn how outputs become probabilities, and how large errors are."""
    held_out_rows = prepared.job.validation_rows
    _add_random_kernels(model, prepared)
    held_out_outputs = add_branches(model, prepared)
    model.held_out_outputs_ = held_out_outputs
    if model.task.has_classes:
        _learn_probabilities(model, prepared, held_out_outputs)
    model.held_out_ = None
    model.raised_ = 0.0
    if held_out_rows is None or not len(held_out_rows):
        return
    _raise_outputs(model, prepared, held_out_rows)
    learned = _rows_in_memory(model, prepared)
    samples: list[Sample] = []
    between = prepared.dependence
    for error_rows, most_rows in ((held_out_rows, MOST_HELD), (learned, MOST_LEARNED)):
        count = min(most_rows, max(CELLS // error_rows.x.shape[1], 1))
        sampled_rows = np.sort(
            generator(model.seed_, "rows of errors").permutation(len(error_rows))[
                :count
            ]
        )
        if error_rows is held_out_rows and between is not None:
            between = between.take(sampled_rows)
        x = error_rows.x.cpu().numpy()[sampled_rows]
        y = error_rows.y.cpu().numpy()[sampled_rows]
        if error_rows is held_out_rows and held_out_outputs is not None:
            outputs = held_out_outputs[sampled_rows]
        else:
            outputs = model.predict_encoded(x)
        if model.task.has_classes:
            codes = y.astype(np.int64)
            scores = (
                1 - model.calibration_.probabilities(outputs)[np.arange(len(y)), codes]
            )
            model.held_out_ = HeldOut(x, scores, codes=codes, dependence=between)
            return
        samples.append((x, y.astype(np.float64), outputs[:, 0].astype(np.float64)))
    model.held_out_ = HeldOut.of_numbers(samples[0], samples[1], between)


def _rows_in_memory(model: Any, prepared: Prepared) -> Rows:
    """Return the training rows, or of rows of files those that are in memory for
    explanations.
    """
    learned = prepared.job.train_rows
    if isinstance(learned, Rows):
        return learned
    background_target = torch.from_numpy(model.background_target_)
    return Rows(
        torch.from_numpy(model.background_),
        background_target,
        weight=background_target,
    )


def _raise_outputs(model: Any, prepared: Prepared, held_out_rows: Rows) -> None:
    """Raise the numbers of a series to the level of its held-out rows."""
    if (
        model.task.numeric
        and losses[prepared.job.options.loss].of_mean
        and prepared.dependence is not None
        and prepared.dependence.timed
    ):
        model.raised_ = _raise_to(
            model, held_out_rows, prepared.validation_weight, prepared.dependence
        )


def _learn_probabilities(
    model: Any, prepared: Prepared, held_out_outputs: Floats | None
) -> None:
    """Learn how outputs become probabilities and classes.

    ``held_out_outputs``: of held-out rows, where the model has learned from them. None:
    what it predicts.
    """
    held_out_rows = prepared.job.validation_rows
    model.calibration_ = Calibration()
    if model.calibration is not None:
        outputs = y = None
        if held_out_rows is not None and model.calibration != "prior":
            outputs = _outputs_of(model, held_out_rows, held_out_outputs)
            y = held_out_rows.y.numpy()
        weights = prepared.validation_weight
        model.calibration_ = fit_calibration(
            model.calibration, model.class_weights_, outputs, y, weights
        )
    _learn_decision(model, held_out_rows, held_out_outputs, prepared.validation_weight)


def _outputs_of(
    model: Any, held_out_rows: Rows, held_out_outputs: Floats | None
) -> Array:
    """Return what judges held-out rows: what fits say that have not learned from them,
    or the model where none has.
    """
    if held_out_outputs is not None:
        return held_out_outputs
    predicted: Array = model.predict_encoded(held_out_rows.x.cpu().numpy())
    return predicted


def _learn_decision(
    model: Any,
    held_out_rows: Rows | None,
    held_out_outputs: Floats | None,
    weights: Floats,
) -> None:
    """Choose the threshold of a model with costs on held-out rows."""
    decision = model.decision_
    if (
        decision is None
        or decision.cost is None
        or held_out_rows is None
        or not len(held_out_rows)
    ):
        return
    outputs = _outputs_of(model, held_out_rows, held_out_outputs)
    chances = model.calibration_.probabilities(outputs)
    model.decision_ = decision.on_held_out(
        held_out_rows.y.cpu().numpy(), chances, weights
    )


def _raise_to(
    model: Any, held_out_rows: Rows, weights: Floats, between: Dependence
) -> float:
    """Raise predictions by their mean error on held-out rows that are later than those
    of training.

    The level of many targets drifts, and the next rows are nearest to the latest. What
    chance may have made of the mean is left out: it is multiplied by 1 − (standard
    error / mean)², at least 0. Returns it in units of y.
    """
    errors = (
        held_out_rows.y.numpy().astype(np.float64)
        - model.predict_encoded(held_out_rows.x.numpy())[:, 0]
    )
    mean_error = float(np.average(errors, weights=weights))
    doubt = mean_widening(between, errors) * float(errors.std()) / np.sqrt(len(errors))
    if mean_error:
        shift = mean_error * max(0.0, 1.0 - (doubt / mean_error) ** 2)
    else:
        shift = 0.0
    predicted = np.average(
        held_out_rows.y.numpy().astype(np.float64) - errors, weights=weights
    )
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
    """Fit so many kernels as the settings ask for to the training rows, and let them
    have a share of the outputs.

    The share is the one nearest to 1/2 that held-out rows allow. Without held-out rows,
    or where rows do not fit in memory, there are none.
    """
    held_out_rows = prepared.job.validation_rows
    learned = prepared.job.train_rows
    network = model.module_
    if (
        not prepared.random_kernels
        or network.image_branch is None
        or network.kernels is not None
    ):
        return
    if (
        held_out_rows is None
        or len(held_out_rows) < FEWEST
        or not isinstance(learned, Rows)
    ):
        return
    random_generator = generator(model.seed_, "random kernels")
    device = next(network.parameters()).device
    sampled_rows = learned.take(
        torch.from_numpy(
            np.sort(random_generator.permutation(len(learned))[:_MOST_ROWS])
        )
    )
    kernels = _drawn(network, sampled_rows, prepared.random_kernels, random_generator)

    folded = FoldedKernels(kernels)

    @torch.no_grad()
    def seen(x: Tensor) -> Floats:
        return np.asarray(
            folded.see(network.renderer(x.to(device))).cpu().double().numpy()
        )

    matrix, offset = _readout(
        seen(sampled_rows.x), sampled_rows, classes=len(getattr(model, "classes_", ()))
    )
    kernel_outputs = seen(held_out_rows.x) @ matrix + offset
    share = _share_of(model, prepared, held_out_rows, kernel_outputs)
    if share < LEAST_SHARE:
        return
    if kernel_outputs.shape[1] > network.outputs:  # two classes share a logit
        matrix = matrix[:, 1:] - matrix[:, :1]
        offset = offset[1:] - offset[:1]
    assert kernels.readout is not None
    kernels.readout.weight.data.copy_(torch.from_numpy(matrix.T))
    kernels.readout.bias.data.copy_(torch.from_numpy(offset))
    network.add_kernels(kernels, min(share, 1 - LEAST_SHARE))
    model.network_options_ = network.options.to_dict()


def _drawn(network: Any, rows: Rows, count: int, rng: Any) -> RandomKernels:
    """Return so many kernels, drawn for the images of some rows."""
    device = next(network.parameters()).device
    sample_images = network.renderer(rows.x[:_SCALED].to(device))
    kernels = RandomKernels(network.image_shape, count, network.outputs).to(device)
    kernels.draw(
        rng,
        centre=float(sample_images.mean()),
        spread=float(sample_images.std()) or 1.0,
    )
    return kernels


def _share_of(
    model: Any, prepared: Prepared, held_out_rows: Rows, kernel_outputs: Floats
) -> float:
    """Return the share of what kernels say that held-out rows allow."""
    outputs = model.predict_encoded(held_out_rows.x.numpy())
    y = held_out_rows.y.numpy()
    between = prepared.dependence
    classes = model.task.has_classes
    if classes:
        outputs = class_logits(outputs)
    else:
        outputs = outputs.astype(np.float64)
    measure = row_losses(y, losses[prepared.job.options.loss], prepared.job.units)
    return Share.learn(
        outputs, kernel_outputs, measure, seed=model.seed_, dependence=between
    ).share


def _readout(features: Array, rows: Rows, classes: int) -> tuple[Floats, Floats]:
    """Return the matrix and the offset from what kernels see to logits, or to the
    standardised target.
    """
    y = rows.y.numpy()
    weights = rows.weight.numpy().astype(np.float64)
    if classes:
        truth = np.eye(classes)[y]
    else:
        truth = y.astype(np.float64)[:, None]
    centre = np.average(features, axis=0, weights=weights)
    spread = features.std(axis=0) + 1e-6
    mean_truth = np.average(truth, axis=0, weights=weights)
    matrix, left_out = ridge(
        (features - centre) / spread, truth - mean_truth, _PENALTIES, weights
    )
    # Shares of classes become logits by the temperature that is best for rows left out.
    if classes:
        sharpness = 1 / best_temperature(left_out + mean_truth, y, weights)
    else:
        sharpness = 1.0
    matrix = sharpness * matrix / spread[:, None]
    return matrix, sharpness * mean_truth - centre @ matrix


def ridge(
    features: Floats, truth: Floats, penalties: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return the matrix ``(features, outputs)``, and what each row is predicted to be
    by a ridge of all others.

    The closed form of leave-one-out errors is that of Golub, Heath & Wahba 1979.

    Args:
        features: centred columns ``(rows, features)``.
        truth: centred targets ``(rows, outputs)``.
        penalties: that are tried.
        weights: of the rows, ``(rows,)`` with mean 1. Columns and targets are centred
            by them.
    """
    if weights is None:
        share = np.full(len(features), 1 / len(features))
    else:
        share = weights / weights.sum()
    weight_roots = np.sqrt(share * len(features))[:, None]
    weighted_features = features * weight_roots
    weighted_truth = truth * weight_roots
    narrow = weighted_features.shape[1] < len(weighted_features)
    values, vectors = np.linalg.eigh(
        weighted_features.T @ weighted_features
        if narrow
        else weighted_features @ weighted_features.T
    )
    usable = values > values[-1] * 1e-9  # without the constant, which is the mean's
    values = values[usable]
    vectors = vectors[:, usable]
    if narrow:
        turned = weighted_features @ vectors / np.sqrt(values)
    else:
        turned = vectors
    along = turned.T @ weighted_truth
    squares = turned**2
    best_error = math.inf
    best_coefficients = weighted_truth
    best_left_out = weighted_truth
    for penalty in penalties:
        kept_shares = values / (values + penalty)
        left_out = (weighted_truth - (turned * kept_shares) @ along) / (
            1 - share - squares @ kept_shares
        )[:, None]
        error = float((left_out**2).mean())
        if error < best_error:
            best_error = error
            best_coefficients = (turned / (values + penalty)) @ along
            best_left_out = left_out
    return weighted_features.T @ best_coefficients, truth - best_left_out / np.maximum(
        weight_roots, 1e-12
    )
