"""Predictions: truth and guesses in every form that sections need, and probabilities as
before calibration.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.assess.predictions import Predictions, before_calibration
from permgrad.models.estimators.calibration import Calibration

CHANCES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.4, 0.35, 0.25]]
)


def three_classes(**changes) -> Predictions:
    """Four rows, of which the third has a class that the model does not know."""
    truth = np.array(["a", "c", "z", "b"], dtype=object)
    return Predictions(
        **{"truth": truth, "guess": CHANCES, "classes": ("a", "b", "c"), **changes}
    )


def test_classes_in_every_form():
    rows = three_classes()
    assert len(rows) == 4
    assert rows.codes.tolist() == [0, 2, -1, 1], "-1: unknown"
    assert rows.predictions is None
    assert rows.best.tolist() == ["a", "c", "b", "a"]
    assert rows.columns is rows.probabilities is rows.guess


def test_a_model_of_labels_has_no_probabilities():
    rows = three_classes(guess=np.eye(3)[[0, 2, 1, 0]], labels_only=True)
    assert rows.probabilities is None
    assert rows.best.tolist() == ["a", "c", "b", "a"]


def test_numbers_in_every_form():
    rows = Predictions(
        truth=np.array([1, 2, 4]), guess=np.array([1.5, 2.0, 3.0]), training_mean=2.5
    )
    assert rows.codes.tolist() == [1.0, 2.0, 4.0]
    assert rows.codes.dtype == np.float64
    assert rows.best is rows.predictions is rows.guess
    assert rows.probabilities is None
    assert rows.columns.tolist() == [[1.5], [2.0], [3.0]]


def test_names_of_classes_are_texts_that_are_equal_in_every_letter():
    rows = Predictions(
        truth=np.array(["1", "01", "True", "", "é"], dtype=object),
        guess=np.full((5, 2), 0.5),
        classes=("1", "é"),
    )
    assert rows.codes.tolist() == [0, -1, -1, -1, 1]


def test_some_rows_are_taken_with_all_that_belongs_to_them():
    rows = three_classes(
        inside=CHANCES > 0.3,
        before_calibration=CHANCES[::-1],
        training_mean=1.0,
        positive="a",
    )
    row_positions = np.array([3, 0, 3])
    selected_rows = rows.take(row_positions)
    assert selected_rows.truth.tolist() == ["b", "a", "b"]
    assert selected_rows.guess.tolist() == CHANCES[row_positions].tolist()
    assert selected_rows.inside.tolist() == (CHANCES > 0.3)[row_positions].tolist()
    assert selected_rows.codes.tolist() == [1, 0, 1], "not those of all rows"
    assert selected_rows.before_calibration is None, "it is drawn of all rows alone"
    assert (
        selected_rows.classes,
        selected_rows.positive,
        selected_rows.training_mean,
    ) == (rows.classes, "a", 1.0)
    assert rows.codes.tolist() == [0, 2, -1, 1]
    none = rows.take(np.zeros(0, dtype=np.int64))
    assert (len(none), none.guess.shape) == (0, (0, 3))
    numbers = Predictions(
        truth=np.arange(3.0),
        guess=np.arange(3.0),
        inside=np.array([[0, 1], [1, 2], [2, 3]]),
    )
    assert numbers.take(np.array([2])).inside.tolist() == [[2, 3]]


# ---- calibration ---------------------------------------------------------------------
@pytest.mark.parametrize(
    "calibrated",
    [
        Calibration("temperature", (0.0, 0.7, -0.2), 2.5),
        Calibration("prior", (0.0, 1.0, 2.0)),
    ],
    ids=["temperature", "prior"],
)
def test_calibration_is_undone(calibrated):
    logits = np.random.default_rng(0).normal(0, 2, (50, 3))
    raw = Calibration().probabilities(logits)
    done = calibrated.probabilities(logits)
    assert np.abs(done - raw).max() > 0.05
    np.testing.assert_allclose(before_calibration(calibrated, done), raw, atol=1e-9)


def test_what_cannot_be_undone_or_changed_nothing_is_not_shown():
    even = np.full((4, 2), 0.5)
    assert before_calibration(None, even) is None
    assert before_calibration(Calibration(), even) is None
    assert (
        before_calibration(Calibration("isotonic", curves=(((0.0,), (0.5,)),)), even)
        is None
    )
    assert before_calibration(Calibration("temperature", (0.0, 0.0), 1.0), even) is None
