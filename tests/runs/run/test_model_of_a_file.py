"""``permgrad run --model FILE``: a fitted model of a file has the page of any other
model, and is not trained.
"""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from invoking import call
from onnx_models import Linear

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.models.save.saving import load
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.requests import PredictRequest, RunRequest
from permgrad.runs.run.run import run_table

NAMES = ("no", "perhaps", "yes")
BONN = {"Bonn": [0, 2.0, 5.0], "Ulm": [0.1, 0, 0]}
MODELS = {
    "numbers": Linear(
        {"age": [0.033], "income": [0.0]}, {"town": {"Bonn": [1.0]}}, [0.0]
    ),
    "two": Linear(
        {"age": [0, 0.15], "income": [0, 0.01]},
        {"town": {"Bonn": [0, 5.0]}},
        [0, -10.0],
    ),
    "three": Linear(
        {"age": [0, 0.1, 0.25], "income": [0, 0.01, 0]},
        {"town": BONN},
        [0, -5.0, -16.0],
    ),
}


def rows(count=300, seed=0):
    rng = np.random.default_rng(seed)
    towns = ["Ulm", "Bonn", "Kiel"]
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, count),
            "income": rng.normal(40, 9, count).round(2),
        }
    )
    frame.loc[::9, "income"] = None
    frame["town"] = rng.choice(towns, count)
    score = frame["age"] / 30 + (frame["town"] == "Bonn") + rng.normal(0, 0.2, count)
    return frame, score


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with models and tables."""
    folder = tmp_path_factory.mktemp("files")
    for name, model in MODELS.items():
        model.write(
            folder / f"{name}.onnx",
            classes={"two": ("no", "yes"), "three": NAMES}.get(name),
        )
    MODELS["two"].write(folder / "unnamed.onnx")
    MODELS["two"].write(folder / "others.onnx", classes=("no", "si"))
    X, score = rows()
    X.assign(y=score.round(3)).to_csv(folder / "numbers.csv", index=False)
    X.assign(y=np.where(score > 2.2, "yes", "no")).to_csv(
        folder / "two.csv", index=False
    )
    X.assign(y=np.array(NAMES)[np.digitize(score, [1.5, 2.5])]).to_csv(
        folder / "three.csv", index=False
    )
    return folder, MODELS


def request(folder, name, out, **options):
    defaults = {"target": ("y",), "model": str(folder / f"{name}.onnx"), "out": out}
    return RunRequest(table=str(folder / f"{name}.csv"), **{**defaults, **options})


@pytest.mark.parametrize("name", ["numbers", "two", "three"])
def test_its_predictions_are_those_of_the_file(files, tmp_path, name):
    folder, models = files
    progress_lines = []
    run_table(request(folder, name, tmp_path / "run"), say=progress_lines.append)
    assert any(f"{name}.onnx was fitted before" in line for line in progress_lines)
    assert not any("was fitted in" in line for line in progress_lines)
    assert "was fitted before" in (tmp_path / "run" / "report.html").read_text(
        encoding="utf8"
    )
    stored = pd.read_csv(tmp_path / "run" / "predictions.csv")
    X = rows()[0].iloc[stored["row"]]
    if name == "numbers":
        np.testing.assert_allclose(stored["prediction"], models[name](X), atol=1e-6)
        assert stored["prediction"].std() > 0.3
    else:
        classes = ("no", "yes") if name == "two" else NAMES
        chances = stored[[f"probability_{label}" for label in classes]]
        np.testing.assert_allclose(chances, models[name](X), atol=1e-6)
        assert stored["prediction"].nunique() == len(classes)
    # The folder has the file: it is predicted from and explained without the one that
    # was named.
    answer = tmp_path / "new.csv"
    predict_table(
        PredictRequest(
            model_folder=tmp_path / "run", table=folder / f"{name}.csv", out=answer
        )
    )
    again = pd.read_csv(answer).iloc[stored["row"]].reset_index(drop=True)
    assert {"row", "prediction"} <= set(again)
    pd.testing.assert_frame_equal(again, stored[list(again)])
    explained = pg.Explanation.load(tmp_path / "run" / "explanations" / "permgrad")
    assert explained.ranking(explained.outputs[0])[0] == "age"


@pytest.mark.slow
def test_a_stopped_run_resumes_with_the_same_file_only(files, tmp_path):
    folder, models = files
    shutil.copytree(folder, tmp_path / "own")
    run_request = request(tmp_path / "own", "two", tmp_path / "run")
    run_table(run_request, say=lambda _: None)
    before = (tmp_path / "run" / "importance.csv").read_bytes()
    run_table(
        request(tmp_path / "own", "two", tmp_path / "run", from_stage="explanation"),
        say=lambda _: None,
    )
    assert (tmp_path / "run" / "importance.csv").read_bytes() == before
    models["three"].write(tmp_path / "own" / "two.onnx")
    with pytest.raises(
        InputError, match="another configuration, which differs in model"
    ):
        run_table(run_request, say=lambda _: None)


def test_a_class_that_no_training_row_has_keeps_its_probability(files):
    folder, models = files
    X, _ = rows()
    y = np.where(rows()[1] > 2.5, "yes", "perhaps")
    model = FileModel(str(folder / "three.onnx"), "classification").fit(X, y)
    assert model.classes_.tolist() == list(NAMES)
    expected = models["three"](X)
    assert expected[:, 0].max() > 0.5
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)
    assert (model.predict(X) == np.array(NAMES)[expected.argmax(axis=1)]).all()


def test_places_of_classes_follow_the_order_of_the_outputs(files, tmp_path):
    models = files[1]
    X, score = rows()
    names = ("c", "a", "b")
    y = np.array(names)[np.digitize(score, [1.5, 2.5])]
    models["three"].write(tmp_path / "swapped.onnx", classes=names)
    model = FileModel(str(tmp_path / "swapped.onnx"), "classification").fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(
        model.predict_proba(X), models["three"](X)[:, [1, 2, 0]], atol=1e-6
    )


def test_what_does_not_fit_is_refused_before_anything_is_written(files, tmp_path):
    folder = files[0]
    (tmp_path / "broken.onnx").write_text("no model")
    cases = [
        (
            {"model": "model.pkl"},
            r"A model file must be ONNX \(\.onnx\), got model\.pkl",
        ),
        (
            {"model": "model.txt"},
            r"A model file must be ONNX \(\.onnx\), got model\.txt",
        ),
        (
            {"model": str(tmp_path / "broken.onnx")},
            r"broken\.onnx cannot be read as a model",
        ),
        ({"model": str(tmp_path / "none.onnx")}, "there is no such file"),
        ({"model": "file.csv"}, "is a table"),
        (
            {"model": str(folder / "unnamed.onnx")},
            (
                "does not name the model's 2 classes, and column 'y' holds 'no', "
                "'yes'. Write them as 0, 1"
            ),
        ),
        (
            {"model": str(folder / "others.onnx")},
            "has no class 'yes', which the target holds",
        ),
        ({"drop": ("town",)}, "'town'"),
        ({"refits": 5}, "is fitted already"),
        ({"preset": "fast"}, "--preset fast is for permgrad's network"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            run_table(
                request(folder, "two", tmp_path / "run", **options), say=lambda _: None
            )
        assert not (tmp_path / "run").exists(), options
    X, score = rows()
    with pytest.raises(InputError, match=r"numbers\.onnx is a model for regression"):
        FileModel(str(folder / "numbers.onnx"), "classification").fit(
            X, np.digitize(score, [1.5, 2.5])
        )


@pytest.mark.slow
def test_the_command_takes_it_and_a_damaged_copy_is_refused(files, tmp_path):
    folder = files[0]
    printed_output = call(
        *("run", folder / "two.csv", "--target", "y", "-m", folder / "two.onnx"),
        *("--out", tmp_path / "run", "-q"),
    )
    assert "The model two.onnx predicts y with ROC" in printed_output
    printed_output = call(
        "run",
        folder / "two.csv",
        "-m",
        "model.txt",
        "--out",
        tmp_path / "other",
        code=2,
    )
    assert "MODULE:FUNCTION, FILE.onnx, got 'model.txt'" in " ".join(
        printed_output.split()
    )
    copy = tmp_path / "run" / "model" / "fitted.onnx"
    copy.write_bytes(copy.read_bytes().replace(b"linear", b"changed", 1))
    with pytest.raises(InputError, match=r"fitted\.onnx"):
        _ = load(tmp_path / "run" / "model").predict(rows()[0])
