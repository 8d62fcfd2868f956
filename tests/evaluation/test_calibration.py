"""Reliability and single classes: closed forms, scikit-learn's figures, and what chance
gives.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from permgrad.evaluation.calibration import per_class, reliability


def test_bins_hold_what_they_say():
    truth = np.array([0] * 90 + [1] * 10 + [0] * 30 + [1] * 70)
    predicted_chances = np.repeat([0.2, 0.6], 100)
    reliability_curve = reliability(truth, predicted_chances)
    np.testing.assert_allclose(reliability_curve.predicted, [0.2, 0.6])
    np.testing.assert_allclose(reliability_curve.observed, [0.1, 0.7])
    assert reliability_curve.rows.tolist() == [100, 100]
    assert reliability_curve.error == pytest.approx(0.1)
    assert (reliability_curve.low < reliability_curve.observed).all()
    assert (reliability_curve.observed < reliability_curve.high).all()


def test_chance_is_what_a_calibrated_model_shows():
    rng = np.random.default_rng(0)
    errors = []
    chances = []
    for _ in range(150):
        predicted_chances = rng.beta(1, 3, 500)
        reliability_curve = reliability(
            rng.uniform(size=500) < predicted_chances, predicted_chances
        )
        errors.append(reliability_curve.error)
        chances.append(reliability_curve.chance)
    assert np.mean(errors) > 0.02, (
        "the error of a perfect model must not be 0, or there is nothing to compare"
    )
    assert np.mean(errors) == pytest.approx(np.mean(chances), rel=0.05)


def test_the_band_covers():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(100):
        predicted_chances = rng.uniform(size=800)
        reliability_curve = reliability(
            rng.uniform(size=800) < predicted_chances, predicted_chances
        )
        inside += (
            (reliability_curve.low <= reliability_curve.predicted)
            & (reliability_curve.predicted <= reliability_curve.high)
        ).tolist()
    assert 0.92 < np.mean(inside) < 0.99


def test_a_rare_class_has_bins_where_it_is_found():
    rng = np.random.default_rng(2)
    predicted_chances = np.r_[np.full(5000, 1e-4), rng.uniform(0.1, 0.9, 100)]
    reliability_curve = reliability(
        rng.uniform(size=5100) < predicted_chances, predicted_chances
    )
    assert len(reliability_curve.rows) >= 5
    assert np.sum(reliability_curve.predicted > 0.1) >= len(reliability_curve.rows) - 1


def test_edges():
    assert reliability([1], [1.0]).error == 0
    assert reliability([0, 1], [0.5, 0.5]).rows.tolist() == [2]
    assert reliability([0, 1, 1], [0.5, 0.5, math.nan]).rows.sum() == 2


def test_single_classes_are_scikit_learns():
    rng = np.random.default_rng(3)
    classes = ["a", "b", "c"]
    predicted_chances = rng.dirichlet(np.ones(3), 300)
    truth = np.array([classes[rng.choice(3, p=row)] for row in predicted_chances])
    class_metrics = per_class(truth, predicted_chances, classes).set_index("class")
    guess = np.array(classes)[predicted_chances.argmax(axis=1)]
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, guess, labels=classes
    )
    np.testing.assert_allclose(class_metrics["precision"], precision)
    np.testing.assert_allclose(class_metrics["recall"], recall)
    np.testing.assert_allclose(class_metrics["f1"], f1)
    assert class_metrics["rows"].tolist() == support.tolist()
    assert class_metrics["predicted"].sum() == 300
    for k, name in enumerate(classes):
        assert class_metrics.loc[name, "roc_auc"] == pytest.approx(
            roc_auc_score(truth == name, predicted_chances[:, k])
        )
        assert class_metrics.loc[name, "average_precision"] == pytest.approx(
            average_precision_score(truth == name, predicted_chances[:, k])
        )


def test_classes_that_rows_do_not_define():
    class_metrics = per_class(
        ["a", "z"], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"]
    ).set_index("class")
    assert class_metrics.loc["a", ["rows", "predicted"]].tolist() == [1, 2]
    assert class_metrics.loc["a", "precision"] == 0.5
    assert class_metrics.loc["b", ["precision", "recall", "f1", "roc_auc"]].isna().all()
