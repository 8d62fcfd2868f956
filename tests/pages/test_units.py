"""Importances as the loss without a feature: exact, and only where the loss is the
metric's.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from tests.pages.conftest import NAMES, global_explanation

from permgrad.assess.assessment import Assessment
from permgrad.base.numerals import number
from permgrad.pages.tabs import trust
from permgrad.pages.units import in_plain_units, loss_without
from permgrad.pages.views import SectionView

SQUARED = {"test": {"mse": 4.0}, "constant": {"mse": 10.0, "learnt": True}}


def explained(loss: str, quantity: str = "increase of the loss"):
    explanation = global_explanation(NAMES[:4])
    return dataclasses.replace(
        explanation, meta={**explanation.meta, "loss": loss, "quantity": quantity}
    )


def test_the_error_without_a_feature_is_that_of_the_added_loss():
    rng = np.random.default_rng(0)
    truth, guess, other_guess = rng.normal(size=(3, 500))
    base, without = (
        float(np.mean((truth - predictions) ** 2))
        for predictions in (guess, other_guess)
    )
    measured = {"test": {"mse": base}, "constant": {"mse": 2 * base, "learnt": True}}
    loss = loss_without(explained("squared_error").meta, measured)
    assert loss.without(without - base) == pytest.approx(math.sqrt(without))
    assert (loss.model, loss.constant) == pytest.approx(
        (math.sqrt(base), math.sqrt(2 * base))
    )
    assert math.isnan(loss.without(math.nan))
    table = np.array([[0.0, without - base], [base, 3.0]])
    assert np.allclose(loss.model + loss.growth(table), np.sqrt(base + table))
    assert loss.without(-2 * base) == 0
    logs = {"test": {"log_loss": 1.78}, "constant": {"log_loss": 2.17, "learnt": True}}
    assert loss_without(explained("cross_entropy").meta, logs).without(
        0.91
    ) == pytest.approx(2.69)


@pytest.mark.parametrize(
    ("explanation", "measured"),
    [
        (explained("absolute_error"), SQUARED),
        (explained("squared_error", "decrease of the score"), SQUARED),
        (
            explained("squared_error"),
            {**SQUARED, "constant": {"mse": 10.0, "learnt": False}},
        ),
        (
            explained("squared_error"),
            {**SQUARED, "constant": {"mse": 3.0, "learnt": True}},
        ),
        (explained("cross_entropy"), SQUARED),
        (explained("squared_error"), {}),
    ],
)
def test_no_loss_without_a_feature_where_losses_do_not_compare_or_nothing_was_learned(
    explanation, measured
):
    assert loss_without(explanation.meta, measured) is None


@pytest.mark.parametrize("measured", [SQUARED, {}])
def test_refits_are_in_the_unit_of_the_page_which_is_named(measured):
    refits = explained("squared_error")
    about = {"first": 2, "shares": dict.fromkeys(refits.names, 0.5)}
    facts = {"fits": 8, "folds": 4, "rows": 90, "trained": [60, 70]}
    meta = {**refits.meta, "unit": "y²", "refits": facts, "another_training": about}
    spread = {"between": np.abs(refits.values) / 3}
    refits = dataclasses.replace(refits, meta=meta, part_std=spread)
    content = Assessment(
        title="t",
        target="y",
        task="regression",
        explanation=refits,
        refits=refits,
        metrics=measured,
    )
    shown = in_plain_units(content).refits
    assert np.abs(refits.values).max() > 0
    assert np.array_equal(shown.values, refits.values)
    section = SectionView("trainings", "Would another training say the same?")
    trust.trainings(section, content, shown)
    unit = (
        "growth of the RMSE when it is shuffled"
        if measured
        else "increase of the loss (squared error)"
    )
    assert f"Mean importance over trainings: {unit}." in str(section.blocks)
    first = float(refits.values[:, 0].max())
    assert number(math.sqrt(4 + first) - 2 if measured else first) in str(
        section.blocks
    )
