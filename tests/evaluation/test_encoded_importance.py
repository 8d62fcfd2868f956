"""Permutation importance of any predictor: closed forms, and the same numbers as the networks' own explanation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from permgrad import HyNNClassifier, HyNNRegressor, explain
from permgrad.base.errors import InputError
from permgrad.evaluation import encoded_importance
from permgrad.evaluation.encoded_importance import EncodedSubject, loss_of, predictor_importance


def test_linear_model_is_twice_the_squared_slope_times_the_variance():
    """E (b x' − b x)² − 0 = 2 b² σ² for independent donors, and 0 for a feature that the model does not use."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 3)).astype(np.float32)
    slopes = np.array([1.0, -2.0, 0.0])
    y = rows @ slopes
    found = predictor_importance(
        lambda own: own @ slopes,
        rows,
        y,
        {name: np.array([at]) for at, name in enumerate("abc")},
        loss="squared_error",
    )
    expected = 2 * slopes**2 * rows.var(axis=0)
    assert expected[1] > 7
    np.testing.assert_allclose(found.values[:2, 0], expected[:2], rtol=0.08)
    assert (found.values[2, 0], found.std[2, 0], found.p_values[2, 0]) == (0.0, 0.0, 1.0)
    assert (found.low[:2, 0] < expected[:2]).all()
    assert (found.high[:2, 0] > expected[:2]).all()


@pytest.mark.parametrize("rows", [260, 90], ids=["own donors", "training donors"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_network_has_the_numbers_of_its_own_explanation(task, rows, monkeypatch):
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"a": rng.normal(size=500), "b": rng.choice(["x", "y", "z"], 500), "c": rng.normal(size=500)})
    signal = X["a"] + (X["b"] == "x") * 1.5
    y = (signal > 0.5).to_numpy().astype(int) if task == "classification" else signal.to_numpy()
    kind = HyNNClassifier if task == "classification" else HyNNRegressor
    model = kind(preset="fast", max_epochs=3, random_state=0, progress=False).fit(X, y)
    test = X.iloc[:rows]
    loss = loss_of(task, "auto")
    own = explain(model, test, y[:rows], method="permutation", loss=loss, n_repeats=3, random_state=7, progress=False)
    monkeypatch.setattr(encoded_importance, "BATCH_ROWS", 400)
    encoded = model.encode(test)
    background = encoded if rows >= 200 else np.asarray(model.background_)

    def predict(encoded):
        raw = model.predict_encoded(encoded).astype(np.float64)
        if task == "regression":
            return raw[:, 0] * model.target_scale_ + model.target_mean_
        return model.calibration_.probabilities(raw)

    found = predictor_importance(
        predict,
        encoded,
        y[:rows],
        model.preprocessor_.features("feature"),
        None if background is encoded else background,
        loss=loss,
        seed=7,
        class_names=own.outputs[1:],
        n_repeats=3,
    )
    assert found.names == own.names
    assert found.outputs == own.outputs
    assert own.values[:2, 0].min() > 0.01, "the network must rely on something"
    for mine, theirs in ((found.values, own.values), (found.std, own.std), (found.low, own.low)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_batches_change_nothing_and_seeds_do(monkeypatch):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(50, 2)).astype(np.float32)
    call = {"loss": "squared_error", "n_repeats": 4}
    players = {"a": np.array([0]), "b": np.array([1])}

    def found(seed=0):
        return predictor_importance(
            lambda own: own.sum(axis=1), rows, rows[:, 0].astype(float), players, seed=seed, **call
        ).values

    at_once = found()
    assert (found(seed=1) != found(seed=2)).any()
    monkeypatch.setattr(encoded_importance, "BATCH_ROWS", 7)
    np.testing.assert_allclose(found(), at_once, rtol=1e-12)


def test_a_probability_of_zero_has_a_finite_loss():
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    y = np.array([0, 1])
    subject = EncodedSubject(lambda _: certain, ("no", "yes"))
    outputs = subject.forward([torch.zeros(2, 1)])
    np.testing.assert_allclose(subject.loss_rows(outputs, y, "brier"), [0, 2], atol=1e-9)
    assert np.isfinite(subject.loss_rows(outputs, y, "cross_entropy")).all()
    np.testing.assert_allclose(subject.loss_rows(outputs, y, "zero_one"), [0, 1])


def test_bad_input():
    with pytest.raises(InputError, match="loss must be one of 'auto', 'squared_error', 'absolute_error'"):
        loss_of("regression", "brier")
