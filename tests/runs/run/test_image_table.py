"""A table of records and a folder of images, as a user types it: run, go on, predict,
explain, report.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.quality.image_table_example import INFORMATIVE, NOISE, write_records
from invoking import call
from PIL import Image

import permgrad as pg
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.requests import PredictRequest, RunRequest
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run_folder import STAGES

SOURCE = Path(os.environ.get("PERMGRAD_DATA", ".")) / "pneumoniamnist.npz"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not SOURCE.is_file(),
        reason="pneumoniamnist.npz is not in the folder that PERMGRAD_DATA names",
    ),
]
WORDS = ("--target", "label", "--kind", "scan=image", "--preset", "fast:tabular+image")


@pytest.fixture(name="table", scope="module")
def _table(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"), SOURCE, 400)


@pytest.fixture(name="finished", scope="module")
def _finished(table):
    """A finished run."""
    folder = table.parent / "run"
    call("run", table, *WORDS, "--out", folder)
    return folder


def test_a_run_writes_the_files_of_the_contract(finished):
    names = {path.name for path in finished.iterdir()}
    assert {
        "run.json",
        "report.html",
        "metrics.json",
        "importance.csv",
        "branches.json",
        "model",
    } <= names
    record = json.loads((finished / "run.json").read_text())
    assert record["finished_stages"] == list(STAGES)
    assert "--kind scan=image" in record["command"]
    assert record["configuration"]["images"] == ["scan"]
    assert len(record["configuration"]["image content"]) == 64
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["rows"] == {"train": 240, "validation": 80, "test": 80}
    assert metrics["test"]["accuracy"] > 0.8, (
        "half are ill: guessing is right half of the time"
    )
    assert {path.name for path in (finished / "model").iterdir()} == {
        "model.json",
        "arrays.npz",
        "weights.safetensors",
        "requirements.txt",
        "times.json",
    }


@pytest.mark.slow
def test_a_time_limit_cuts_training_and_explanation_and_says_so(
    finished, table, tmp_path
):
    time = json.loads((finished / "run.json").read_text())["facts"]["time"]
    assert time == {"limit": None, "thorough": False, "cut": []}
    words = [*WORDS[:-1], "default:tabular+image", "--time-limit", "1s"]
    call("run", table, *words, "--out", tmp_path / "run")
    time = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["time"]
    assert time["limit"] == 1.0
    [training] = [words for words in time["cut"] if words.startswith("training")]
    epochs, most_epochs = map(int, re.findall(r"\d+", training))
    assert epochs < most_epochs
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == epochs


def test_importance_names_raw_columns_and_their_kinds_have_shares(finished):
    frame = pd.read_csv(finished / "importance.csv")
    first = [
        "feature",
        "modality",
        "class",
        "importance",
        "std_error",
        "ci_low",
        "ci_high",
        "p_value",
        "p_adjusted",
    ]
    assert list(frame.columns)[:9] == first
    kinds = frame.groupby("modality")["feature"].unique()
    assert set(kinds["table"]) == {*INFORMATIVE, *NOISE}, (
        "raw columns, however they are encoded"
    )
    assert set(kinds["photo"]) == {"scan"}
    overall = frame[frame["class"] == "all"].set_index("feature")["importance"]
    assert overall[[INFORMATIVE[0], "scan"]].min() > overall[list(NOISE)].max()
    branches = json.loads((finished / "branches.json").read_text())
    for name in ("photo", "table"):
        assert {
            "importance",
            "std_error",
            "ci_low",
            "ci_high",
            "share",
            "alone",
            "last",
        } <= set(branches[name])
        assert branches[name]["ci_low"] > 0, "both kinds carry the label"
    assert branches["photo"]["share"] + branches["table"]["share"] == pytest.approx(1)


def test_the_report_shows_what_the_kinds_of_columns_are_worth(finished):
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert "The network predicts label" in text
    assert "Input by input" in text
    assert "How a row becomes an image" in text
    before = text.split("What was run")[0]
    call("report", finished)
    assert (finished / "report.html").read_text(encoding="utf-8").split("What was run")[
        0
    ] == before


@pytest.mark.slow
def test_a_column_that_is_found_is_trained_on_as_one_that_is_declared(
    finished, table, tmp_path
):
    words = [
        "run",
        table,
        "--target",
        "label",
        "--preset",
        "fast:tabular+image",
        "--out",
        tmp_path / "run",
    ]
    call(*words)
    for name in ("importance.csv", "predictions.csv", "branches.json"):
        assert (tmp_path / "run" / name).read_bytes() == (
            finished / name
        ).read_bytes(), name
    found_configuration, declared = (
        json.loads((run_folder / "run.json").read_text())["configuration"]
        for run_folder in (tmp_path / "run", finished)
    )
    assert {**found_configuration, "kind": ["scan=image"]} == declared
    assert "already finished" in call(*words)


def test_the_same_command_goes_on_and_another_image_is_another_run(
    finished, table, tmp_path
):
    assert "already finished" in call("run", table, *WORDS, "--out", finished)
    moved = tmp_path / "moved"
    shutil.copytree(table.parent / "scans", moved / "scans")
    shutil.copy(table, moved / "records.csv")
    assert "already finished" in call(
        "run", moved / "records.csv", *WORDS, "--out", finished
    ), "content, not place"
    first, second = (moved / "scans" / f"{number:05d}.png" for number in (0, 1))
    shutil.copy(first, second)
    message = call("run", moved / "records.csv", *WORDS, "--out", finished, code=2)
    assert "image content" in message


@pytest.mark.parametrize("absolute", [True, False])
def test_predict_reads_images_beside_another_table(finished, table, tmp_path, absolute):
    frame = pd.read_csv(table).head(12)
    if absolute:
        frame["scan"] = [str(table.parent / path) for path in frame["scan"]]
    else:
        shutil.copytree(table.parent / "scans", tmp_path / "scans")
    frame = frame[["ward", "scan", "cough", "age", "crp"]]
    frame.to_csv(tmp_path / "new.csv", index=False)
    call(
        "predict", finished, tmp_path / "new.csv", "--out", tmp_path / "predictions.csv"
    )
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert list(predictions.columns) == [
        "row",
        "prediction",
        "probability_healthy",
        "probability_pneumonia",
    ]
    stored = pd.read_csv(finished / "predictions.csv").set_index("row")
    common_predictions = predictions[predictions["row"].isin(stored.index)]
    assert len(common_predictions) > 0
    for row in common_predictions.itertuples():
        assert row.probability_pneumonia == pytest.approx(
            stored.loc[row.row, "probability_pneumonia"], abs=1e-6
        )


@pytest.mark.parametrize(
    "words",
    [("--method", "integrated_gradients", "--row", "3"), ("--method", "permutation")],
)
def test_explain_names_the_columns(finished, table, tmp_path, words):
    few = pd.read_csv(table).head(40)
    few["scan"] = [str(table.parent / path) for path in few["scan"]]
    few.to_csv(tmp_path / "few.csv", index=False)
    call(
        "explain",
        finished,
        tmp_path / "few.csv",
        *words,
        "--repeats",
        "1",
        "--out",
        tmp_path / "why",
    )
    explanation = pg.Explanation.load(tmp_path / "why")
    assert set(explanation.names) == {*INFORMATIVE, *NOISE, "scan"}
    if "--row" in words:
        assert "waterfall.png" in {
            path.name for path in (tmp_path / "why" / "plots").iterdir()
        }
        reached = explanation.values.sum(axis=1) + explanation.base_values
        np.testing.assert_allclose(
            reached, explanation.predictions, rtol=1e-4, atol=1e-4
        )


def test_an_explanation_of_a_changed_picture_is_computed_again(
    finished, table, tmp_path
):
    few = pd.read_csv(table).head(30)
    shutil.copytree(table.parent / "scans", tmp_path / "scans")
    few.to_csv(tmp_path / "few.csv", index=False)
    words = (
        finished,
        tmp_path / "few.csv",
        "--method",
        "integrated_gradients",
        "--row",
        "3",
        "--out",
    )
    call("explain", *words, tmp_path / "first")
    few_of = [pg.Explanation.load(tmp_path / "first").values]
    other_image = few.loc[few["label"] != few.loc[3, "label"], "scan"].iloc[0]
    shutil.copy(tmp_path / other_image, tmp_path / few.loc[3, "scan"])
    call("explain", *words, tmp_path / "second")
    few_of.append(pg.Explanation.load(tmp_path / "second").values)
    assert np.abs(few_of[0] - few_of[1]).max() > 0.01


IMAGE = ("--target", "label", "--kind")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*IMAGE, "scn=image"),
            "--kind scn: no such column. Did you mean 'scan'?",
        ),
        (
            ("--target", "scan", "--kind", "scan=image"),
            "The target 'scan' cannot be of kind image",
        ),
        (
            (*IMAGE, "scan=image", "--drop", "scan"),
            "--kind scan=image does not apply to 'scan', which is left out: --drop",
        ),
        ((*IMAGE, "ward=image"), "3 of 3 image files in column 'ward' cannot be found"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    table, tmp_path, words, message
):
    error_text = call("run", table, *words, "--out", tmp_path / "run", code=2)
    assert message in error_text
    assert not (tmp_path / "run").exists()


def test_a_named_data_set_has_no_images(tmp_path):
    message = call(
        "run",
        "breast_cancer",
        "--kind",
        "scan=image",
        "--out",
        tmp_path / "run",
        code=2,
    )
    assert "--kind scan: no such column" in message


def test_images_in_both_parts_are_noted(table, tmp_path):
    frame = pd.read_csv(table).head(80)
    frame["scan"] = [str(table.parent / path) for path in frame["scan"]]
    frame.loc[40:, "scan"] = frame.loc[:39, "scan"].to_numpy()
    frame.to_csv(tmp_path / "doubled.csv", index=False)
    inputs = load_inputs(
        RunRequest(
            table=str(tmp_path / "doubled.csv"), target=("label",), kind=("scan=image",)
        )
    )
    assert any(
        "show the same image of column 'scan' as a training row" in note
        for note in inputs.notes
    )
    grouped = RunRequest(
        table=str(tmp_path / "doubled.csv"),
        target=("label",),
        kind=("scan=image",),
        row_group="scan",
    )
    assert not any("show the same image" in note for note in load_inputs(grouped).notes)


@pytest.mark.parametrize("place", [0, 7, 15, 23, 31])
def test_infinite_cells_are_named_before_anything_is_written(table, tmp_path, place):
    frame = pd.read_csv(table)
    frame[NOISE[0]] = frame[NOISE[0]].astype(float)
    frame.loc[place, NOISE[0]] = np.inf
    infinite_table = table.with_name("infinite.csv")
    frame.to_csv(infinite_table, index=False)
    message = call("run", infinite_table, *WORDS, "--out", tmp_path / "run", code=2)
    assert (
        f"Column {NOISE[0]!r} holds an infinite value (inf) in line {place + 2} of"
        in message
    )
    assert not (tmp_path / "run").exists()


def test_a_damaged_image_is_named_before_anything_is_written(table, tmp_path):
    few = pd.read_csv(table).head(60)
    few["scan"] = [str(table.parent / path) for path in few["scan"]]
    for row, content in (
        (5, b"no image"),
        (40, Path(few.loc[40, "scan"]).read_bytes()[:200]),
    ):
        (tmp_path / f"bad{row}.png").write_bytes(content)
        few.loc[row, "scan"] = str(tmp_path / f"bad{row}.png")
    few.to_csv(tmp_path / "few.csv", index=False)
    message = call(
        "run", tmp_path / "few.csv", *WORDS, "--out", tmp_path / "run", code=2
    )
    assert "2 of 60 image files in column 'scan' cannot be read" in message
    assert not (tmp_path / "run").exists()


def with_image(table, folder, content, rows=60):
    """Write a table of which one row names an image with this content, in another kind
    of file.
    """
    few = pd.read_csv(table).head(rows)
    few["scan"] = [str(table.parent / path) for path in few["scan"]]
    images = [Image.fromarray(array) for array in content]
    images[0].save(folder / "odd.tif", save_all=True, append_images=images[1:])
    few.loc[3, "scan"] = str(folder / "odd.tif")
    few.to_csv(folder / "few.csv", index=False)
    return folder / "few.csv"


def test_levels_without_a_scale_are_named_before_anything_is_written(
    finished, table, tmp_path
):
    few = with_image(
        table,
        tmp_path,
        [np.linspace(-1000, 1000, 144, dtype=np.float32).reshape(12, 12)],
    )
    for words, out in (
        (("run", few, *WORDS), tmp_path / "out"),
        (("predict", finished, few), tmp_path / "out.csv"),
        (
            ("explain", finished, few, "--method", "gradient", "--row", "3"),
            tmp_path / "out",
        ),
    ):
        message = call(*words, "--out", out, code=2)
        assert "in column 'scan' hold real numbers outside" in message
        assert "odd.tif: -1000.0 … 1000.0" in message
        assert not out.exists()


def test_files_of_several_pages_are_told_of(finished, table, tmp_path):
    few = with_image(
        table, tmp_path, [np.full((12, 12), level, np.uint8) for level in (50, 200)]
    )
    page_warning = "1 of 60 image files of column 'scan' have several frames or pages"
    request = RunRequest(table=str(few), target=("label",), kind=("scan=image",))
    assert sum(page_warning in note for note in load_inputs(request).notes) == 1
    with pytest.warns(pg.PermgradWarning, match=page_warning):
        predict_table(
            PredictRequest(
                model_folder=finished, table=few, out=tmp_path / "predictions.csv"
            )
        )
