"""The steps of ``fit`` one by one: fit_encoder, prepare, train.

Encoded rows in the place of a table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.exceptions import NotFittedError
from tests.models.estimators.test_estimators import mixed_table, small

from permgrad import HyNNClassifier, HyNNRegressor, InputError
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_types import infer_schema
from permgrad.models.estimators.prepared import EncodedRows


def same_networks(first_model, second_model):
    states = first_model.module_.state_dict(), second_model.module_.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.fixture(name="counted")
def _counted(monkeypatch):
    """The number of rows of each call of an encoder."""
    rows = []
    transform = TableEncoder.transform
    monkeypatch.setattr(
        TableEncoder,
        "transform",
        lambda self, X: (rows.append(len(X)), transform(self, X))[1],
    )
    return rows


@pytest.mark.parametrize("kind", [HyNNClassifier, HyNNRegressor])
@pytest.mark.parametrize("typed", [False, True])
def test_the_steps_make_the_model_that_fit_makes(kind, typed, counted):
    X, y = mixed_table()
    y = np.asarray(y if kind is HyNNClassifier else X["income"])
    whole_model = small(kind).fit(X[:90], y[:90], eval_set=(X[90:], y[90:]))
    counted.clear()
    model = small(kind)
    rows = model.fit_encoder(X[:90], infer_schema(X[:90]) if typed else None)
    encoded_validation = model.encode_rows(X[90:])
    prepared = model.prepare(rows, y[:90], eval_set=(encoded_validation, y[90:]))
    seen_epochs = []
    assert (
        model.train(prepared, on_epoch=lambda line: seen_epochs.append(line["epoch"]))
        is model
    )
    assert counted == [90, 30], "each part once"
    assert seen_epochs == [1, 2, 3]
    assert same_networks(whole_model, model)
    assert whole_model.history_.drop(columns="seconds").equals(
        model.history_.drop(columns="seconds")
    )
    assert list(model.feature_names_in_) == list(X.columns)
    np.testing.assert_array_equal(whole_model.background_, model.background_)
    np.testing.assert_array_equal(whole_model.predict(X), model.predict(X))
    if kind is HyNNClassifier:
        assert whole_model.calibration_ == model.calibration_
        np.testing.assert_array_equal(
            whole_model.predict_set(X, 0.5), model.predict_set(X, 0.5)
        )
    else:
        np.testing.assert_array_equal(
            whole_model.predict_interval(X, 0.5), model.predict_interval(X, 0.5)
        )


def test_another_model_takes_the_encoder_over_and_some_of_the_rows():
    X, y = mixed_table()
    rows = small().fit_encoder(X)
    model = small()
    prepared = model.prepare(
        rows.take(np.arange(60)), y[:60], eval_set=(X[60:], y[60:])
    )
    assert model.preprocessor_ is rows.encoder
    assert (len(prepared.job.train_rows), len(prepared.job.validation_rows)) == (60, 60)
    np.testing.assert_array_equal(prepared.job.train_rows.x.numpy(), rows.encoded[:60])


def test_rows_of_weight_0_and_held_out_rows_are_divided_as_in_fit():
    X, y = mixed_table()
    weights = np.r_[np.zeros(20), np.ones(100)]
    whole_model = small().fit(X[20:], y[20:])
    model = small()
    model.train(model.prepare(X, y, sample_weight=weights))
    assert same_networks(whole_model, model)


def test_a_model_predicts_nothing_between_prepare_and_train():
    X, y = mixed_table()
    model = small().fit(X, y)
    prepared = model.prepare(X, y)
    for method in (
        model.predict,
        model.predict_proba,
        model.predict_set,
        model.predict_parts,
    ):
        with pytest.raises(NotFittedError):
            method(X)
    with pytest.raises(NotFittedError):
        model.save("never")
    assert "table branch" in model.summary()
    model.train(prepared.with_epochs(2))
    assert len(model.history_) == 2
    assert model.training_options_["max_epochs"] == 2
    assert model.max_epochs == 3, "the argument is the user's"


def test_what_another_call_prepared_is_refused():
    X, y = mixed_table()
    model = small()
    first = model.prepare(X, y)
    model.prepare(X, y)
    for trained in (model, small(), small().fit(X, y)):
        with pytest.raises(
            InputError, match="prepared by another model, or by an earlier call"
        ):
            trained.train(first)
    with pytest.raises(InputError, match="on_epoch must be a function"):
        model.train(first, on_epoch=3)


# ---- encoded rows --------------------------------------------------------------------
def test_parts_of_encoded_rows_keep_their_encoding(counted):
    X, y = mixed_table()
    model = small().fit(X, y)
    counted.clear()
    rows = model.encode_rows(X)
    row_positions = np.array([7, 0, 99, 7])
    selected_rows = rows.take(row_positions)
    assert model.encode_rows(selected_rows) is selected_rows
    frame = X.iloc[row_positions]
    pd.testing.assert_frame_equal(selected_rows.table, frame)
    results = [
        (
            model.encode_rows(selected_rows).encoded,
            model.predict_proba(selected_rows),
            model.predict_set(selected_rows, 0.5),
            model.predict(selected_rows),
        ),
        (
            model.encode_rows(frame).encoded,
            model.predict_proba(frame),
            model.predict_set(frame, 0.5),
            model.predict(frame),
        ),
    ]
    for encoded_result, frame_result in zip(*results, strict=True):
        np.testing.assert_array_equal(encoded_result, frame_result)
    assert counted == [120, *[4] * 4], "the frame's own"
    selected_rows.encoded[:] = 9
    assert rows.encoded.max() < 9


def test_predictions_and_what_belongs_to_them_come_together(monkeypatch):
    X, y = mixed_table()
    calls = []
    predict = HyNNClassifier.predict_encoded
    model = small().fit(X, y)
    monkeypatch.setattr(
        HyNNClassifier,
        "predict_encoded",
        lambda *given: (calls.append(1), predict(*given))[1],
    )
    prediction_parts = model.predict_parts(X, 0.5, by="town")
    assert len(calls) == 1
    assert list(prediction_parts) == ["prediction", "probabilities", "inside"]
    np.testing.assert_array_equal(
        prediction_parts["inside"], model.predict_set(X, 0.5, by="town")
    )
    np.testing.assert_array_equal(prediction_parts["prediction"], model.predict(X))
    assert list(model.predict_parts(X)) == ["prediction", "probabilities"]
    with pytest.raises(InputError, match="coverage must be"):
        model.predict_parts(X, 1.5)


def test_rows_of_another_encoder_are_encoded_again():
    X, y = mixed_table()
    model = small().fit(X, y)
    other_model = small(preset={"base": "fast", "numeric": "minmax"}).fit(X, y)
    rows = other_model.encode_rows(X)
    assert model.encode_rows(rows) is not rows
    np.testing.assert_array_equal(model.predict_proba(rows), model.predict_proba(X))
    with pytest.raises(InputError, match="feature names should match"):
        model.predict(EncodedRows(X[["age"]], rows.encoder, rows.encoded))


def test_encoded_rows_are_explained_as_their_table_is():
    X, y = mixed_table()
    model = small().fit(X, y)
    rows = model.encode_rows(X)
    row_positions = np.arange(10, 40)
    for method, target in (
        ("permgrad", y[row_positions]),
        ("integrated_gradients", None),
    ):
        options = {"method": method, "random_state": 0, "progress": False}
        explanation = explain_with(
            model, rows.take(row_positions), target, background=rows, **options
        )
        plain = explain_with(
            model, X.iloc[row_positions], target, background=X, **options
        )
        np.testing.assert_array_equal(explanation.values, plain.values)
        assert explanation.names == plain.names
        if plain.feature_values is not None:
            pd.testing.assert_frame_equal(
                explanation.feature_values, plain.feature_values
            )
