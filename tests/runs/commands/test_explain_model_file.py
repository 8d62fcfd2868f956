"""``permgrad explain`` of an ONNX file: the same numbers as in Python; one sentence for
what cannot be explained.
"""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from invoking import call
from onnx_models import Linear
from typer.testing import CliRunner

import permgrad as pg
from permgrad.attribution.request.arguments import RowsToCompare
from permgrad.cli import app

MODEL = Linear(
    {"age": [0.0, 0.2], "income": [0.0, 0.002]},
    {"region": {"west": [0.5, 0], "north": [0, 5.0]}},
    [0.0, -13.0],
)
ASKED = {"class_names": ["no", "yes"], "task": "classification", "progress": False}


def table(rows=360, seed=0):
    rng = np.random.default_rng(seed)
    levels = ["west", "north", "south"]
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": np.where(
                rng.random(rows) < 0.1, np.nan, rng.normal(40, 9, rows).round(2)
            ),
            "region": rng.choice(levels, rows),
        }
    )
    late = (
        frame["age"] / 30 + (frame["region"] == "north") + rng.normal(0, 0.2, rows)
        > 2.2
    )
    return frame, pd.Series(np.where(late, "yes", "no"), name="late")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with ``model.onnx`` and ``table.csv``, and the model."""
    folder, (frame, y) = tmp_path_factory.mktemp("files"), table()
    MODEL.write(folder / "model.onnx", classes=("no", "yes"))
    MODEL.write(folder / "unnamed.onnx")
    rows = frame[150:].reset_index(drop=True)
    late = y[150:].reset_index(drop=True)
    pd.concat([late, rows[rows.columns[::-1]]], axis=1).to_csv(
        folder / "table.csv", index=False
    )
    return folder, MODEL, rows, late


@pytest.mark.parametrize("method", ["permgrad", "permutation", "ablation", "shapley"])
def test_the_numbers_are_those_of_python(tmp_path, files, method):
    folder, model, rows, late = files
    explain_words = (
        "--option",
        "y=late",
        "--method",
        method,
        "--seed",
        4,
        "--out",
        tmp_path / "out",
    )
    row_options = ("--row", 7, "--option", "scale=logit") if method == "shapley" else ()
    call(
        "explain",
        folder / "model.onnx",
        folder / "table.csv",
        *explain_words,
        *row_options,
    )
    saved = pg.Explanation.load(tmp_path / "out")
    row_positions = np.array([7]) if row_options else np.arange(len(rows))
    # A single row is compared with the hundred that stand for the table.
    background = {"background": RowsToCompare(rows)} if row_options else {}
    y = None if row_options else late
    explanation = explain_with(
        model,
        rows.take(row_positions),
        y,
        method=method,
        scale="logit",
        random_state=4,
        **ASKED,
        **background,
    )
    assert set(saved.names) == set(explanation.names) == set(rows.columns)
    order = [saved.names.index(name) for name in explanation.names]
    values = saved.values[:, order] if row_options else saved.values[order]
    outputs = [explanation.outputs.index(name) for name in saved.outputs]
    np.testing.assert_allclose(values, explanation.values[..., outputs], atol=1e-4)
    assert np.abs(values).max() > 0.05


def test_further_arguments_are_those_of_python(tmp_path, files):
    folder, model, rows, late = files
    clinic = np.repeat(np.arange(42), 5)
    read = pd.read_csv(folder / "table.csv").assign(clinic=clinic)
    read.to_csv(tmp_path / "table.csv", index=False)
    explain_words = ("--option", "y=late", "--seed", 4, "--out", tmp_path / "out")
    groups = {"person": ["age", "income"]}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    options = (
        "--option",
        "row_groups=clinic",
        "--groups",
        tmp_path / "groups.json",
        "--option",
        "confidence=0.9",
    )
    call(
        "explain",
        folder / "model.onnx",
        tmp_path / "table.csv",
        *explain_words,
        *options,
    )
    saved = pg.Explanation.load(tmp_path / "out")
    python = {"groups": groups, "confidence": 0.9, "random_state": 4, **ASKED}
    expected = explain_with(model, rows, late, row_groups=clinic, **python)
    order = [saved.names.index(name) for name in expected.names]
    np.testing.assert_allclose(saved.low[order], expected.low, atol=1e-4)
    assert not np.allclose(
        explain_with(model, rows, late, **python).low, expected.low
    ), "groups widen intervals"


def test_a_row_stands_with_what_the_model_says_of_it(tmp_path, files):
    folder, model, rows, late = files
    explain_words = (
        "--option",
        "y=late",
        "--method",
        "shapley",
        "--row",
        3,
        "--out",
        tmp_path / "out",
    )
    printed_output = call(
        "explain", folder / "model.onnx", folder / "table.csv", *explain_words
    )
    (line,) = pd.read_csv(tmp_path / "out" / "rows.csv").to_dict(orient="records")
    assert line["row"] == 3
    assert line["truth"] == late[3]
    assert line["probability_yes"] == pytest.approx(model(rows[3:4])[0, 1], abs=1e-6)
    assert f"prediction {line['prediction']}" in printed_output
    assert {file.name for file in (tmp_path / "out").iterdir()} > {
        "explanation.json",
        "values.npz",
        "importance.csv",
    }
    assert (tmp_path / "out" / "plots" / "waterfall.png").is_file()


def test_without_targets_the_divergence_is_explained(tmp_path, files):
    folder = files[0]
    printed_output = call(
        "explain",
        folder / "model.onnx",
        folder / "table.csv",
        "--out",
        tmp_path / "out",
    )
    assert "divergence from the model's own prediction" in printed_output


def test_rows_without_a_target_are_left_out(tmp_path, files):
    folder, _, rows, late = files
    gaps = pd.concat([rows, late.where(late.index > 20)], axis=1)
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    explain_words = ("--option", "y=late", "--out", tmp_path / "out")
    call("explain", folder / "model.onnx", tmp_path / "gaps.csv", *explain_words)
    assert (
        pg.Explanation.load(tmp_path / "out").meta["rows_explained"] == len(rows) - 21
    )


def test_numbers_are_predicted_and_their_target_is_measured(tmp_path):
    frame, _ = table()
    X = frame[["age", "income"]]
    y = 3 * frame["age"] + 1.5
    model = Linear({"age": [2.9], "income": [0.1]}, {}, [1.0])
    model.write(tmp_path / "model.onnx", whole=True)
    X[150:].assign(cost=y[150:]).to_csv(tmp_path / "table.csv", index=False)
    printed_output = call(
        "explain",
        tmp_path / "model.onnx",
        tmp_path / "table.csv",
        "--option",
        "y=cost",
        "--out",
        tmp_path / "out",
    )
    explanation = pg.explain(model, X[150:], y[150:], random_state=0, progress=False)
    saved = pg.Explanation.load(tmp_path / "out")
    np.testing.assert_allclose(saved.values, explanation.values, rtol=1e-6)
    assert saved.ranking() == ["age", "income"]
    assert "loss" in printed_output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--option", "y=lat"), "Did you mean|no column 'lat'"),
        (("--class-names", "no,yes"), "No such option: --class-names"),
        (("--target", "maybe"), "maybe"),
        (("--row", 3, "--max-rows", 5), "--row and --max-rows cannot be combined"),
        (("--engine", "ray"), "--engine applies to models of permgrad"),
        (("--method", "gradient"), "method='gradient' does not take a"),
        (("--option", "y=late", "--row", 1000), "row must be below"),
        (
            ("--option", "tolerance"),
            "--option must have the form NAME=VALUE, got 'tolerance'",
        ),
        (
            ("--option", "max-permutations=9"),
            "--option must be one of .* got 'max_permutations'",
        ),
        (
            ("--option", "n_repeats=9"),
            "--option n_repeats has an option of its own. Use --repeats",
        ),
        (("--option", "background=9"), "--option must be one of .* got 'background'"),
        (("--option", "y=age"), r"Column 'age' \(target\) is a feature of the model"),
        (
            ("--option", "row_groups=clinic"),
            r"Column 'clinic' \(row_groups\): no such column",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, files, words, sentence):
    folder = files[0]
    message = call(
        "explain",
        folder / "model.onnx",
        folder / "table.csv",
        *words,
        "--out",
        tmp_path / "out",
        code=2,
    )
    assert re.search(sentence, " ".join(message.split())), message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "remedy"),
    [
        (
            ("--option", "pairs=2"),
            2,
            r"Pass (--method permgrad --option order=2 --option pairs=2), or leave",
        ),
        (
            ("--method", "lime", "--repeats", 3, "--max-rows", 3),
            0,
            r"Pass (--option samples=)N\.",
        ),
    ],
)
def test_a_remedy_is_typed_as_the_command_takes_it(
    tmp_path, files, words, code, remedy
):
    folder = files[0]
    model_words = ("explain", folder / "model.onnx", folder / "table.csv")
    model_words += ("--option", "y=late", "--out")
    result = CliRunner().invoke(
        app, [*map(str, (*model_words, tmp_path / "out", *words))]
    )
    assert result.exit_code == code
    message = " ".join(result.stderr.split())
    assert "pg.methods" not in message
    [typed] = re.findall(remedy, message)
    again = shlex.split(f"{typed}50" if typed.endswith("=") else typed)
    if "--method" not in again:
        again += ["--method", "lime", "--max-rows", "3"]
    call(*model_words, tmp_path / "again", *again)


def test_a_table_must_be_named_and_other_files_are_refused(tmp_path, files):
    folder = files[0]
    assert "Missing TABLE" in call("explain", folder / "model.onnx", code=2)
    for name in ("model.pkl", "model.txt", "model.skops"):
        (tmp_path / name).write_bytes(b"\x80\x04")
        message = call(
            "explain",
            tmp_path / name,
            folder / "table.csv",
            "--out",
            tmp_path / "out",
            code=2,
        )
        assert (
            f"A model file must be ONNX (.onnx), got {name}. Load the model in Python"
            in " ".join(message.split())
        )
    pd.read_csv(folder / "table.csv").drop(columns="age").to_csv(
        tmp_path / "less.csv", index=False
    )
    message = call(
        "explain",
        folder / "model.onnx",
        tmp_path / "less.csv",
        "--out",
        tmp_path / "out",
        code=2,
    )
    assert "'age'" in message
    message = call(
        "explain",
        folder / "table.csv",
        folder / "model.onnx",
        "--out",
        tmp_path / "out",
        code=2,
    )
    assert "is a table, not a model" in message


def test_a_missing_library_is_a_matter_of_the_environment(tmp_path, files, monkeypatch):
    import sys

    (tmp_path / "model.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = call(
        "explain",
        tmp_path / "model.onnx",
        files[0] / "table.csv",
        "--out",
        tmp_path / "out",
        code=3,
    )
    assert "pip install 'onnxruntime'" in message


def test_classes_that_neither_file_nor_table_tells_are_refused(tmp_path, files):
    words = ("--option", "y=late", "--out", tmp_path / "out")
    message = call(
        "explain", files[0] / "unnamed.onnx", files[0] / "table.csv", *words, code=2
    )
    assert (
        "does not name the model's 2 classes, and column 'late' holds 'no', 'yes'"
        in message
    )
    assert "Write them as 0, 1, … in the order of its outputs" in message
    read = pd.read_csv(files[0] / "table.csv")
    read.assign(late=(read["late"] == "yes").astype(int)).to_csv(
        tmp_path / "numbered.csv", index=False
    )
    call(
        "explain",
        files[0] / "unnamed.onnx",
        tmp_path / "numbered.csv",
        *words,
        "--max-rows",
        50,
    )
    explanation = pg.Explanation.load(tmp_path / "out")
    assert explanation.outputs == ("all", "0", "1")
    assert explanation.meta["rows_explained"] == 50


def test_the_model_file_is_not_replaced(tmp_path, files):
    folder = files[0]
    message = call(
        "explain",
        folder / "model.onnx",
        folder / "table.csv",
        "--out",
        folder / "model.onnx",
        code=2,
    )
    assert "model.onnx" in message
    assert b"linear" in (folder / "model.onnx").read_bytes()
