"""From a classifier's outputs to probabilities: as the network says, or corrected by
what is known or was held out.

Class weights ``w`` fit a world in which class k is ``w_k`` times as frequent: odds are
first divided by them (Elkan 2001). NOTE[DIFF]: Guo et al. 2017 scale the logits as they
are. No single temperature could mend weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import is_number
from permgrad.base.errors import Fault, must, refusing


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How outputs become probabilities, by ``method`` None, ``"prior"``,
    ``"temperature"`` or ``"isotonic"``.

    Attributes:
        shift: what is taken off each class's logit ``(classes,)``, the logs of the
            class weights. Empty: nothing.
        temperature: what the shifted logits are divided by (Guo et al. 2017, arXiv
            1706.04599, section 4.2).
        curves: for each class its knots, log odds and rising probabilities. Of two
            classes the second's only.
    """

    method: str | None = None
    shift: tuple[float, ...] = ()
    temperature: float = 1.0
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def probabilities(self, outputs: Array) -> Floats:
        """Return probabilities, rows summing to 1."""
        logits = class_logits(outputs)
        if not self.curves:
            if self.shift:
                shifted = logits - np.asarray(self.shift)
            else:
                shifted = logits
            return np.asarray(softmax(shifted / self.temperature, axis=1))
        log_odds = one_versus_rest(logits)
        is_binary = len(self.curves) == 1
        if is_binary:
            columns = log_odds[:, 1:]
        else:
            columns = log_odds
        curves = []
        for curve in self.curves:
            curves.append([np.array(ends) for ends in curve])
        raw_probabilities = np.column_stack(
            [
                np.interp(columns[:, k], knots, shares)
                for k, (knots, shares) in enumerate(curves)
            ]
        )
        if is_binary:
            return np.column_stack([1 - raw_probabilities, raw_probabilities])
        total = raw_probabilities.sum(axis=1, keepdims=True)
        # Where every class's curve says 0, nothing is known about which it is.
        return np.where(
            total > 0,
            raw_probabilities / np.where(total > 0, total, 1),
            1 / raw_probabilities.shape[1],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types. Numbers are restored bit for bit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read back what ``to_dict`` wrote."""
        curves = tuple(
            (tuple(map(float, x)), tuple(map(float, y))) for x, y in content["curves"]
        )
        must(
            not any(len(x) != len(y) or not x for x, y in curves),
            "the knots of an isotonic curve do not pair up",
        )
        method = content["method"]
        temperature = content["temperature"]
        must(
            method in (None, "prior", "temperature", "isotonic"),
            f"a calibration by {method!r:.40}",
        )
        must(
            is_number(temperature) and temperature > 0,
            f"a temperature of {temperature!r:.40}",
        )
        return cls(
            method, tuple(map(float, content["shift"])), float(temperature), curves
        )


def class_logits(outputs: Array) -> Floats:
    """Return one logit per class in float64.

    A single shared logit is the second class's, the first has 0.
    """
    logits = np.asarray(outputs, dtype=np.float64)
    if logits.shape[1] == 1:
        return np.column_stack([np.zeros(len(logits)), logits[:, 0]])
    return logits


def one_versus_rest(logits: Floats) -> Floats:
    """Return the log odds of each class against all others ``(rows, classes)``, also
    where probabilities are 0 or 1.
    """
    return np.column_stack(
        [
            logits[:, k] - logsumexp(np.delete(logits, k, axis=1), axis=1)
            for k in range(logits.shape[1])
        ]
    )


# ---- fitting -------------------------------------------------------------------------
def fit_calibration(
    method: str,
    class_weights: Floats,
    outputs: Array | None = None,
    y: Integers | None = None,
    weights: Floats | None = None,
) -> Calibration:
    """Learn how outputs become probabilities."""
    if method in ("prior", "temperature"):
        shift = tuple(np.log(class_weights).tolist())
    else:
        shift = ()
    if method == "prior":
        return Calibration("prior", shift)
    assert outputs is not None
    assert y is not None
    if weights is None:
        row_weights = np.ones(len(y))
    else:
        row_weights = weights
    logits = class_logits(outputs)
    if method == "temperature":
        return Calibration(
            "temperature",
            shift,
            best_temperature(logits - np.asarray(shift), y, row_weights),
        )
    from sklearn.isotonic import IsotonicRegression

    # The share of each class as a rising step function of its log odds (Zadrozny &
    # Elkan 2002, section 3).
    log_odds = one_versus_rest(logits)
    curves = []
    for k in [1] if log_odds.shape[1] == 2 else range(log_odds.shape[1]):
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(
            log_odds[:, k], y == k, sample_weight=row_weights
        )
        curves.append(
            (tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))
        )
    return Calibration("isotonic", curves=tuple(curves))


@refusing
def check_calibration(
    method: str, class_weights: Floats, classes: Array, y: Integers
) -> Iterator[Fault]:
    """Refuse, before training, what cannot be calibrated."""
    if method in ("prior", "temperature") and (class_weights == 0).any():
        label = classes[class_weights == 0].tolist()[0]
        problem = (
            f"calibration={method!r} needs class weights above 0, but class "
            f"{label!r} has weight 0"
        )
        yield problem, "Give it a weight, or leave its rows out.", "PG006"
    if method not in ("temperature", "isotonic"):
        return
    if len(y) == 0:
        problem = (
            f"calibration={method!r} needs rows held out of training, but there "
            "are none"
        )
        calibration_hint = (
            "Pass validation_fraction=0.1 or an eval_set, or "
            "calibration='prior', which needs none."
        )
        yield problem, calibration_hint, "PG006"
    missing = np.flatnonzero(np.bincount(y, minlength=len(classes)) == 0)
    if method == "isotonic" and len(missing):
        problem = (
            "calibration='isotonic' needs rows of every class among those held out of "
            f"training, but none is of class {classes[missing].tolist()[0]!r}"
        )
        yield (
            problem,
            "Pass a larger validation_fraction, or calibration='temperature'.",
            "PG013",
        )


def best_temperature(
    logits: Floats, y: Integers, weights: Floats, *, spread: float = math.inf
) -> float:
    """Return the temperature of the least log loss, between exp(−5) and exp(5)."""
    from scipy.optimize import minimize_scalar

    row_numbers = np.arange(len(y))

    def loss(log_temperature: float) -> float:
        losses = -log_softmax(logits * np.exp(-log_temperature), axis=1)[row_numbers, y]
        likelihood = weights @ losses / weights.sum()
        return float(likelihood + (log_temperature / spread) ** 2 / 2 / len(y))

    best_fit = minimize_scalar(
        loss, bounds=(-5.0, 5.0), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(best_fit.x))
