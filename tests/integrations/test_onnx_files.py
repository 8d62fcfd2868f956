import contextlib
from dataclasses import replace

import beside
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import permgrad as pg
from permgrad.cli import app
from permgrad.models.network.trees import TreeBranch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 4))
    return X, X[:, 0] + 0.5 * rng.normal(size=160)


def run(path, encoded):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"encoded": encoded})[0]


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "fast"},
        {"preset": "default"},
        {"preset": "fast", "branches": ("tabular",)},
    ],
)
def test_a_regressors_file_predicts_the_same_in_the_units_of_y(
    table, tmp_path, options
):
    X, y = table
    y = 1000 + 100 * y
    model = pg.HyNNRegressor(
        **options, max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    expected_predictions = model.predict(X)
    assert np.ptp(expected_predictions) > 10
    predicted = run(
        pg.integrations.export_onnx(model, tmp_path / "model.onnx"),
        model.encode_rows(X).encoded,
    )
    assert (
        np.abs(predicted - expected_predictions).max()
        <= 1e-5 * np.abs(expected_predictions).max()
    )
    assert (
        np.abs(
            run(tmp_path / "model.onnx", model.encode_rows(X[:1]).encoded)
            - expected_predictions[:1]
        ).max()
        <= 1e-5 * np.abs(expected_predictions).max()
    )


@pytest.mark.parametrize("calibration", [None, "temperature", "isotonic"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifiers_file_predicts_the_same_probabilities(
    table, tmp_path, calibration, classes
):
    X, y = table
    y = np.digitize(y, np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1]))
    model = pg.HyNNClassifier(
        preset="fast",
        max_epochs=2,
        random_state=0,
        progress=False,
        calibration=calibration,
        validation_fraction=0.3,
    ).fit(X, y)
    expected_chances = model.predict_proba(X)
    assert expected_chances.std(axis=0).min() > 0.01
    path = pg.integrations.export_onnx(model, tmp_path / "model.onnx")
    assert (
        np.abs(run(path, model.encode_rows(X).encoded) - expected_chances).max() <= 1e-5
    )


def test_the_command_line_explains_a_file_by_the_names_of_its_columns(table, tmp_path):
    X, y = table
    rows = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    labels = np.where(y > 0, "ill", "well")
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=2, random_state=0, progress=False
    ).fit(rows, labels)
    pg.integrations.export_onnx(model, tmp_path / "model.onnx")
    encoded = pd.DataFrame(
        model.encode_rows(rows).encoded, columns=model.preprocessor_.encoded_names_
    ).assign(y=labels)
    encoded.iloc[:, ::-1].to_csv(
        tmp_path / "encoded.csv", index=False
    )  # in another order
    call = [
        "explain",
        "model.onnx",
        "encoded.csv",
        "--option",
        "y=y",
        "--out",
        "why",
        "--seed",
        "0",
    ]
    with contextlib.chdir(tmp_path):
        ended = CliRunner().invoke(app, call)
    assert ended.exit_code == 0, ended.output
    importance = pd.read_csv(tmp_path / "why" / "importance.csv")
    assert set(importance["class"]) == {"all", "ill", "well"}
    assert importance.loc[importance["class"] == "all", "feature"].iloc[0] == "a"


def test_a_model_of_an_estimator_is_its_estimator(tmp_path):
    X = np.random.default_rng(0).normal(size=(80, 3))
    fitted = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, X[:, 0])
    paths = [
        pg.integrations.export_onnx(fitted_model, tmp_path / f"{model_number}.onnx")
        for model_number, fitted_model in enumerate((fitted, pg.Model(fitted)))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_is_no_estimator_of_permgrad_is_refused(tmp_path):
    with pytest.raises(
        pg.InputError, match="export_onnx writes estimators of permgrad, got function"
    ):
        pg.integrations.export_onnx(lambda rows: rows, tmp_path / "model.onnx")


@pytest.mark.parametrize("width", [1, 3])
def test_trees_and_a_line_are_in_the_file(table, tmp_path, width):
    """Trees of all outputs, and trees of one output each."""
    X, y = table
    y = np.digitize(y, np.quantile(y, [0.3, 0.7]))
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, y)
    module = model.module_
    trees = beside.trees(module.encoded, 3, count=9)
    if width == 1:
        arrays = trees.trees()
        trees = TreeBranch.of(
            replace(arrays, values=arrays.values[:, :1]), module.encoded
        )
    module.add_path("trees", trees, 0.4)
    module.add_path("linear", beside.line(module.encoded, 3), 0.3)
    path = pg.integrations.export_onnx(model, tmp_path / "model.onnx")
    for rows in (X, X[:1], np.tile(X, (40, 1))):
        expected_chances = model.predict_proba(rows)
        assert (
            np.abs(run(path, model.encode_rows(rows).encoded) - expected_chances).max()
            <= 1e-5
        )
