"""Importances as a share of the advantage and as an error: exact, and only where the loss is the metric's."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from tests.pages.conftest import NAMES, global_explanation

from permgrad.pages.units import advantage, error_without, in_shares

SQUARED = {"test": {"mse": 4.0}, "constant": {"mse": 10.0, "learnt": True}}


def explained(loss: str, quantity: str = "increase of the loss"):
    explanation = global_explanation(NAMES[:4])
    return dataclasses.replace(explanation, meta={**explanation.meta, "loss": loss, "quantity": quantity})


def test_a_feature_that_carries_everything_has_100_per_cent():
    explanation = explained("squared_error")
    whole = advantage(explanation.meta, SQUARED)
    assert whole == 6.0
    shares = in_shares(explanation, whole)
    assert np.allclose(shares.values, explanation.values / 6 * 100)
    assert np.allclose(shares.ci()[0], explanation.ci()[0] / 6 * 100)
    assert shares.ranking() == explanation.ranking()
    assert np.allclose(shares.parts["tabular"] + shares.parts["image"], shares.values)


def test_the_error_without_a_feature_is_that_of_the_added_loss():
    rng = np.random.default_rng(0)
    truth, guess, other = rng.normal(size=(3, 500))
    base, without = (float(np.mean((truth - one) ** 2)) for one in (guess, other))
    write = error_without(explained("squared_error"), {"test": {"mse": base}})
    assert write(without - base) == pytest.approx(math.sqrt(without))
    assert math.isnan(write(math.nan))
    assert write(-2 * base) == 0


@pytest.mark.parametrize(
    ("explanation", "measured"),
    [
        (explained("absolute_error"), SQUARED),
        (explained("squared_error", "decrease of the score"), SQUARED),
        (explained("squared_error"), {**SQUARED, "constant": {"mse": 10.0, "learnt": False}}),
        (explained("squared_error"), {**SQUARED, "constant": {"mse": 3.0, "learnt": True}}),
        (explained("cross_entropy"), SQUARED),
        (explained("squared_error"), {}),
    ],
)
def test_no_share_where_losses_do_not_compare_or_nothing_was_learned(explanation, measured):
    assert advantage(explanation.meta, measured) is None
