"""What rows held out of training say of a network: how outputs become probabilities, and how large its errors are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from permgrad.base.arrays import Floats
from permgrad.base.dependence import Dependence, mean_widening
from permgrad.base.random import generator
from permgrad.models.estimators.calibration import Calibration, fit_calibration
from permgrad.models.estimators.intervals import CELLS, MOST_HELD, MOST_LEARNED, HeldOut, Sample
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.estimators.random_kernels import add_random_kernels
from permgrad.models.train.rows import Rows

#: Rates are not multiplied by less where they were too high on the latest rows.
_LEAST_RISE = 0.1


def learn_from_held_out(model: Any, prepared: Prepared) -> None:
    """Learn how outputs become probabilities, and how large errors are."""
    held, learned = prepared.job.validation_rows, prepared.job.train_rows
    add_random_kernels(model, prepared)
    if model.task == "classification":
        model.calibration_ = Calibration()
        if model.calibration is not None:
            outputs = y = None
            if held is not None and model.calibration != "prior":
                outputs, y = model.predict_encoded(held.x.numpy()), held.y.numpy()
            weights = prepared.validation_weight
            model.calibration_ = fit_calibration(model.calibration, model.class_weights_, outputs, y, weights)
    model.held_out_, model.raised_ = None, 0.0
    if held is None or not len(held):
        return
    if model.task == "regression" and prepared.dependence is not None and prepared.dependence.timed:
        model.raised_ = _raise_to(model, held, prepared.validation_weight, prepared.dependence)
    if not isinstance(learned, Rows):  # rows of files are not in memory, but some of them are, for explanations
        kept = torch.from_numpy(model.background_target_)
        learned = Rows(torch.from_numpy(model.background_), kept, weight=kept)
    samples: list[Sample] = []
    between = prepared.dependence
    for rows, most in ((held, MOST_HELD), (learned, MOST_LEARNED)):
        count = min(most, max(CELLS // rows.x.shape[1], 1))
        chosen = np.sort(generator(model.seed_, "rows of errors").permutation(len(rows))[:count])
        if rows is held and between is not None:
            between = between.take(chosen)
        x, y = rows.x.cpu().numpy()[chosen], rows.y.cpu().numpy()[chosen]
        outputs = model.predict_encoded(x)
        if model.task == "classification":
            codes = y.astype(np.int64)
            scores = 1 - model.calibration_.probabilities(outputs)[np.arange(len(y)), codes]
            model.held_out_ = HeldOut(x, scores, codes=codes, dependence=between)
            return
        samples.append((x, y.astype(np.float64), outputs[:, 0].astype(np.float64)))
    model.held_out_ = HeldOut.of_numbers(samples[0], samples[1], between)


def _raise_to(model: Any, held: Rows, weights: Floats, between: Dependence) -> float:
    """Raise predictions by their mean error on held-out rows that are later than those of training.

    The level of many targets drifts, and the next rows are nearest to the latest. What chance may have made of the
    mean is left out: it is multiplied by 1 − (standard error / mean)², at least 0. Returns it in units of y.
    """
    errors = held.y.numpy().astype(np.float64) - model.predict_encoded(held.x.numpy())[:, 0]
    mean = float(np.average(errors, weights=weights))
    doubt = mean_widening(between, errors) * float(errors.std()) / np.sqrt(len(errors))
    shift = mean * max(0.0, 1.0 - (doubt / mean) ** 2) if mean else 0.0
    predicted = np.average(held.y.numpy().astype(np.float64) - errors, weights=weights)
    # Rates are multiplied, so that their mean rises by as much.
    model.module_.raise_outputs(math.log(max(1 + shift / predicted, _LEAST_RISE)) if model.module_.rates else shift)
    return shift * model.target_scale_
