"""Models of ONNX files on tables read from text: they predict what the saved model
predicts on its own frame.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from onnx_models import Linear

import permgrad as pg
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.data.read.table import read_table

MODEL = Linear(
    {"age": [-0.05, 0.05], "income": [0.0, 0.02], "member": [0.0, 1.0]},
    {
        "region": {"west": [0.5, 0.0], "north": [0.0, 2.0]},
        "code": {"7": [0.0, -1.0], "07": [0.0, 1.0]},
    },
    [2.5, -2.5],
)


def table(rows=240, seed=0):
    """Return numbers with missing cells, truths, and levels: of words, and of
    digits.
    """
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(40, 9, rows)),
            "member": rng.random(rows) < 0.5,
            "region": rng.choice(["west", "north", "south"], rows),
            "code": rng.choice(["07", "7", "011"], rows),
        }
    )


def read_as(model, frame, folder):
    """Return the frame as it comes back from a CSV file whose columns are in another
    order.
    """
    frame[frame.columns[::-1]].assign(y=1, more=2).to_csv(
        folder / "table.csv", index=False
    )
    return model.table_for(
        read_table(folder / "table.csv", kinds=dict.fromkeys(model.texts, "text")), "y"
    )


@pytest.mark.parametrize("classes", [None, ("early", "late")])
def test_a_file_predicts_what_its_model_did(tmp_path, classes):
    frame = table()
    expected = MODEL(frame)
    assert expected.std() > 0.05
    model = pg.integrations.read_onnx(
        MODEL.write(tmp_path / "model.onnx", classes=classes)
    )
    rows = read_as(model, frame, tmp_path)
    assert list(rows.columns) == list(frame.columns)
    np.testing.assert_allclose(
        model(rows), expected, atol=1e-12 if classes is None else 1e-6
    )
    assert model.classes_of(rows[:1]) == classes


def test_a_missing_text_is_told_of(tmp_path):
    frame = table()
    frame.loc[3, "region"] = None
    model = pg.integrations.read_onnx(MODEL.write(tmp_path / "model.onnx"))
    with pytest.warns(
        UserWarning, match="'region' has 1 missing cell, read as the text 'nan'"
    ):
        rows = read_as(model, frame, tmp_path)
    assert rows["region"][3] == "nan"
    np.testing.assert_allclose(model(rows), MODEL(frame), atol=1e-12)


def test_models_without_names_take_columns_in_their_order(tmp_path):
    frame = table()[["age", "income"]]
    model = Linear({"age": [0.1], "income": [1.0]}, {}, [3.0])
    path = model.write(tmp_path / "model.onnx", whole=True)
    read = pg.integrations.read_onnx(path)
    with pytest.warns(UserWarning, match="has no column names.*'age', 'income'"):
        rows = read.table_for(frame.assign(y=1), "y")
    np.testing.assert_allclose(np.ravel(read(rows)), model(frame), atol=1e-12)
    with pytest.raises(
        InputError,
        match=r"The model takes 2 columns without names, and the table has 3. Leave "
        r"the others out",
    ):
        read.table_for(frame.assign(more=1, y=1), "y")


def test_a_table_that_does_not_fit_is_refused(tmp_path):
    frame = table()
    model = pg.integrations.read_onnx(MODEL.write(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match="'age'"):
        model.table_for(frame.drop(columns="age"))
    with pytest.raises(InputError, match="'member' must hold numbers for this model"):
        model.table_for(frame.assign(member=[[1]] * len(frame)))
    with pytest.raises(InputError, match="'age' must hold numbers for this model"):
        model.table_for(frame.assign(age="old"))


def test_its_explanation_is_that_of_the_function(tmp_path):
    frame = table()
    rows = pg.integrations.read_onnx(MODEL.write(tmp_path / "model.onnx")).table_for(
        frame
    )
    options = {
        "y": np.where(MODEL(frame)[:, 1] > 0.5, "late", "early"),
        "class_names": ["early", "late"],
    }
    ours, theirs = (
        explain_with(model, rows, random_state=0, progress=False, **options)
        for model in (pg.integrations.read_onnx(tmp_path / "model.onnx"), MODEL)
    )
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-12)
    assert np.abs(ours.values).max() > 0.05


# ---- files ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "ending", ["pkl", "joblib", "pt", "txt", "json", "ubj", "cbm", "skops", "bin"]
)
def test_other_files_are_not_opened(tmp_path, ending):
    path = tmp_path / f"model.{ending}"
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(
        InputError,
        match=rf"must be ONNX \(\.onnx\), got model\.{ending}\. Load the model in "
        r"Python",
    ):
        pg.integrations.read_onnx(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04."])
def test_files_without_a_model_are_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx cannot be read as a model"):
        pg.integrations.read_onnx(tmp_path / "model.onnx")


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentProblem, match="pip install 'onnxruntime'"):
        pg.integrations.read_onnx(tmp_path / "m.onnx")
