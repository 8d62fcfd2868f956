"""The commands as a user types them, on a small table: run, go on, predict, explain,
report, datasets.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rounding import as_many_threads
from typer.testing import CliRunner

import permgrad as pg
from permgrad.cli import app
from permgrad.evaluation.baselines.fitting import baselines
from permgrad.runs.run_folder import STAGES

FILES = {
    "run.json", "report.html", "metrics.json", "effects.csv",
    "importance.csv", "branches.json", "model", "explanations",
    ".explanations", "data.json", "columns.json", "training.json", "segments.json", "split.npz", "layout.json", "layout.svg",
    "history.csv", "predictions.csv", "report.md", "report.svg",
}  # fmt: skip


def table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 10, rows),
            "dose": rng.normal(size=rows),
            "noise": rng.normal(size=rows),
        }
    )
    frame["town"] = rng.choice(["Bonn", "Ulm", "Köln"], rows)
    frame["dose"] = frame["dose"].mask(rng.random(rows) < 0.05)
    frame["code"] = [f"case {i}" for i in range(rows)]
    signal_ = (
        (frame["age"] - 50) / 10
        + (frame["town"] == "Ulm")
        + 0.3 * rng.normal(size=rows)
    )
    frame["outcome"] = np.where(signal_ > 0.3, "ill", "well")
    frame["score"] = 10 * signal_
    return frame


def call(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    table().to_csv(folder / "table.csv", index=False)
    table(40, seed=1).to_csv(folder / "new.csv", index=False)
    return folder


WORDS = (
    "--target",
    "outcome",
    "--drop",
    "score",
    "--id",
    "code",
    "--preset",
    "fast:tabular+image",
)


REGRESSED = ("--target", "score", "--drop", "outcome", "--preset", "fast")


@pytest.fixture(scope="module")
def classified(place):
    """A finished run of a classification."""
    call("run", place / "table.csv", *WORDS, "--out", place / "ill")
    return place / "ill"


@pytest.fixture(scope="module")
def regressed(place):
    """A finished run of a regression."""
    call("run", place / "table.csv", *REGRESSED, "--out", place / "score")
    return place / "score"


# --- run ------------------------------------------------------------------------------
def test_a_run_writes_every_file_of_the_contract(classified):
    assert {path.name for path in classified.iterdir()} == FILES
    record = json.loads((classified / "run.json").read_text())
    assert record["finished_stages"] == list(STAGES)
    assert record["command"].startswith("permgrad run ")
    assert record["facts"]["versions"]["permgrad"] == pg.__version__


def test_metrics_follow_the_contract(classified, regressed):
    metrics = json.loads((classified / "metrics.json").read_text())
    assert metrics["task"] == "classification"
    assert metrics["rows"] == {"train": 144, "validation": 48, "test": 48}
    assert metrics["baselines"] == {}
    for part_name in ("validation", "test"):
        part_metrics = metrics[part_name]
        expected_names = {
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "roc_auc",
            "average_precision",
            "log_loss",
        }
        assert expected_names | {"confusion_matrix", "labels"} <= set(part_metrics)
        assert np.sum(part_metrics["confusion_matrix"]) == 48
        assert part_metrics["labels"] == ["ill", "well"]
    predictions = pd.read_csv(classified / "predictions.csv")
    assert metrics["test"]["accuracy"] == pytest.approx(
        (predictions["truth"] == predictions["prediction"]).mean()
    )
    assert metrics["test"]["accuracy"] > 0.7, (
        "the precondition of all that is explained"
    )
    assert list(predictions.columns[-2:]) == ["in_set_ill", "in_set_well"]
    truth_inside = np.where(
        predictions["truth"] == "ill",
        predictions["in_set_ill"],
        predictions["in_set_well"],
    )
    assert metrics["intervals"]["covered"] == pytest.approx(truth_inside.mean())
    metrics = json.loads((regressed / "metrics.json").read_text())
    predictions = pd.read_csv(regressed / "predictions.csv")
    assert list(predictions.columns[-2:]) == ["interval_low", "interval_high"]
    inside = predictions["truth"].between(
        predictions["interval_low"], predictions["interval_high"]
    )
    assert metrics["intervals"]["covered"] == pytest.approx(inside.mean())
    assert metrics["intervals"]["coverage"] == 0.9
    assert set(metrics["test"]) == {"rmse", "mae", "mse", "mape", "r2"}
    assert "MAPE (fraction)" in call(
        "run", regressed.parent / "table.csv", *REGRESSED, "--out", regressed
    )
    assert metrics["test"]["r2"] > 0.5


def test_importance_and_branches_follow_the_contract(classified, regressed):
    frame = pd.read_csv(classified / "importance.csv")
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
    assert list(frame.columns) == [*first, "tabular", "image", "interaction"]
    assert set(frame["feature"]) == {"age", "dose", "noise", "town"}, (
        "raw columns; no identifier"
    )
    assert set(frame["class"]) == {"all", "ill", "well"}
    assert set(pd.read_csv(regressed / "importance.csv")["class"]) == {"all"}
    overall = frame[frame["class"] == "all"].set_index("feature")
    assert frame["class"].tolist() == ["all"] * 4 + ["ill"] * 4 + ["well"] * 4
    assert all(
        (class_rows["importance"].diff().dropna() <= 0).all()
        for _, class_rows in frame.groupby("class")
    )
    loaded = pg.Explanation.load(classified / "explanations" / "permgrad").to_frame()
    assert loaded["feature"].tolist() != frame["feature"].tolist(), (
        "the frame keeps its own order, by feature"
    )
    assert overall["importance"].idxmax() == "age"
    np.testing.assert_allclose(
        overall["tabular"] + overall["image"], overall["importance"], atol=1e-9
    )
    branches = json.loads((classified / "branches.json").read_text())
    for path in ("tabular", "image"):
        assert {
            "importance",
            "std_error",
            "ci_low",
            "ci_high",
            "share",
            "alone",
            "last",
        } <= set(branches[path])
    assert isinstance(branches["interaction"], float)
    assert branches["paper"] is not None


def test_what_is_saved_can_be_loaded(classified):
    model = pg.load(classified / "model")
    predictions = pd.read_csv(classified / "predictions.csv")
    rows = table().iloc[predictions["row"]]
    np.testing.assert_allclose(
        model.predict_proba(rows[["age", "dose", "noise", "town"]])[:, 0],
        predictions["probability_ill"],
        atol=1e-6,
    )
    assert (rows["code"].to_numpy() == predictions["code"]).all(), (
        "the identifier stands beside its row"
    )
    for folder in (classified / "explanations").iterdir():
        if folder.is_dir():
            assert pg.Explanation.load(folder).method == folder.name
    with np.load(classified / "split.npz") as split:
        assert sorted(
            np.concatenate([split[part_name] for part_name in split.files])
        ) == list(range(240))


def test_the_run_equals_a_fit_in_python(place, classified):
    """A run is no other training than the one a person would do by hand."""
    with np.load(classified / "split.npz") as split:
        rows = {part_name: table().iloc[split[part_name]] for part_name in split.files}
    names = ["age", "dose", "noise", "town"]
    model = pg.HyNNClassifier(preset="fast", image="always", random_state=0)
    model.fit(
        rows["train"][names],
        rows["train"]["outcome"],
        eval_set=(rows["validation"][names], rows["validation"]["outcome"]),
    )
    loaded_chances = pg.load(classified / "model").predict_proba(rows["test"][names])
    np.testing.assert_allclose(
        model.predict_proba(rows["test"][names]), loaded_chances, atol=1e-5
    )


def test_a_finished_run_says_so_and_writes_nothing(place, classified):
    before = tree(classified)
    printed_output = call("run", place / "table.csv", *WORDS, "--out", classified)
    assert printed_output.startswith("This run is already finished (")
    assert tree(classified) == before


def test_the_summary_and_json(place, classified):
    printed_output = call("run", place / "table.csv", *WORDS, "--out", classified)
    assert "accuracy" in printed_output
    assert "1. age" in printed_output
    assert printed_output.rstrip().endswith(f"Report: {classified / 'report.html'}")
    facts = json.loads(
        call("run", place / "table.csv", *WORDS, "--out", classified, "--json")
    )
    assert facts["already_finished"] is True
    assert facts["top_features"][0]["feature"] == "age"
    assert (
        facts["test"]["accuracy"]
        == json.loads((classified / "metrics.json").read_text())["test"]["accuracy"]
    )


def test_a_run_explains_at_most_so_many_rows(place, tmp_path):
    words = (
        "run",
        place / "table.csv",
        *REGRESSED,
        "--max-rows",
        20,
        "--out",
        tmp_path / "run",
    )
    call(*words)
    assert (
        pg.Explanation.load(tmp_path / "run" / "explanations" / "permgrad").meta[
            "rows_explained"
        ]
        == 20
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["configuration"]["max_rows"] == "20"
    assert "--max-rows 20" in record["command"]
    assert call(*words).startswith("This run is already finished")


def test_another_configuration_is_refused(place, classified):
    before = tree(classified)
    result = CliRunner().invoke(
        app,
        [
            "run",
            str(place / "table.csv"),
            *WORDS,
            "--out",
            str(classified),
            "--seed",
            "1",
        ],
    )
    assert result.exit_code == 2
    assert (
        "differs in seed (0 there, 1 now). Replace it with --overwrite, or choose "
        "another folder with --out." in result.stderr
    )
    assert tree(classified) == before


def test_from_a_stage(place, classified, tmp_path):
    shutil.copytree(classified, tmp_path / "run")
    model = (tmp_path / "run" / "model" / "weights.safetensors").stat().st_mtime_ns
    importance = (tmp_path / "run" / "importance.csv").read_text()
    call(
        "run",
        place / "table.csv",
        *WORDS,
        "--out",
        tmp_path / "run",
        "--from",
        "explanation",
    )
    assert (tmp_path / "run" / "importance.csv").read_text() == importance, (
        "the same seed, the same explanation"
    )
    assert (
        tmp_path / "run" / "model" / "weights.safetensors"
    ).stat().st_mtime_ns == model
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_progress_and_notes_go_to_stderr(place, tmp_path):
    words = [
        "run",
        str(place / "table.csv"),
        "--target",
        "score",
        "--drop",
        "outcome",
        "--preset",
        "fast",
    ]
    result = CliRunner().invoke(
        app, [*words, "--out", str(tmp_path / "run"), "--json", "--baselines"]
    )
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert "look like identifiers are left out: code" in result.stderr
    assert "categorical" in result.stderr, "column types are shown"
    trees = [
        "random_forest",
        "extra_trees",
        "bagging",
        "lightgbm",
        "xgboost",
        "catboost",
        "histogram_boosting",
    ]
    installed = [name for name in trees if baselines.get(name).available()]
    assert list(facts["baselines"]) == [*installed, "linear", "mlp"], (
        "TabM and RealMLP are trained when they are named"
    )
    for name in set(trees) - {*installed}:
        assert (
            f"note: {name} is left out, because {name} is not installed"
            in result.stderr
        )


@pytest.mark.slow
def test_notes_on_columns_are_said_once(place, tmp_path):
    """By the run alone, not by each training in it once more, in the words for
    Python.
    """
    pytest.importorskip("optuna")
    frame = pd.read_csv(place / "table.csv").head(80)
    rows = np.arange(len(frame))
    odd = frame.assign(
        copied=frame["score"],
        patient_id=np.random.default_rng(0).permutation(rows) + 100,
    )
    odd["price"] = [f"{row},5" if row % 10 else f"{row}.25" for row in rows]
    odd.to_csv(tmp_path / "table.csv", index=False)
    words = [str(tmp_path / "table.csv"), "--target", "outcome", "--seed", "1"]
    (tmp_path / "space.json").write_text(
        json.dumps({"base": "fast", "parameters": {"max_epochs": {"choices": [1, 2]}}})
    )
    commands = {
        "run": ["--preset", "fast"],
        "compare": ["--models", "fast,linear", "--cv", "2"],
        "tune": ["--space", str(tmp_path / "space.json"), "--trials", "1"],
    }
    for command, command_options in commands.items():
        result = CliRunner().invoke(
            app, [command, *words, *command_options, "--out", str(tmp_path / command)]
        )
        assert result.exit_code == 0, result.stderr
        lines = [
            line
            for line in result.stderr.splitlines()
            if line.startswith(("note:", "warning:"))
        ]
        for note_text in (
            "score (score, copied)",
            "left out: code, patient_id",
            "'price' looks like numbers",
        ):
            assert len([line for line in lines if note_text in line]) == 1, (
                command,
                note_text,
                lines,
            )


def test_baselines_by_name(place, tmp_path, monkeypatch):
    words = [
        "run",
        str(place / "table.csv"),
        "--target",
        "score",
        "--drop",
        "outcome",
        "--preset",
        "fast",
    ]
    folder = ["--out", str(tmp_path / "run")]
    result = CliRunner().invoke(
        app, [*words, *folder, "--json", "--baselines", "linear"]
    )
    assert result.exit_code == 0, result.stderr
    assert re.search(
        r"^ +outcome .* left out: --drop$", result.stderr, flags=re.MULTILINE
    )
    facts = json.loads(result.stdout)
    assert list(facts["baselines"]) == ["linear"]
    assert facts["baselines"]["linear"]["fit_processor_seconds"] > 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"].endswith(
        "--baselines linear"
    )
    again = CliRunner().invoke(app, [*words, *folder, "--baselines", "linear"])
    assert again.exit_code == 0
    command_result = CliRunner().invoke(
        app, [*words, *folder, "--baselines", "bagging"]
    )
    assert command_result.exit_code == 2, "another configuration"
    unknown = CliRunner().invoke(app, [*words, *folder, "--baselines", "tabn"])
    assert unknown.exit_code == 2
    assert "Did you mean 'tabm'" in unknown.stderr
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "pytabkit" else find(name),
    )
    missing = CliRunner().invoke(app, [*words, *folder, "--baselines", "tabm"])
    assert missing.exit_code == 3
    assert "pip install 'permgrad[tabular-peers]'" in missing.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_run_killed_while_training_goes_on_and_ends_the_same(
    place, classified, tmp_path
):
    folder = tmp_path / "run"
    words = [
        sys.executable,
        "-m",
        "permgrad",
        "run",
        str(place / "table.csv"),
        *WORDS,
        "--out",
        str(folder),
    ]
    process = subprocess.Popen(
        words,
        env=as_many_threads(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while (
        not any((folder / ".checkpoint").glob("*"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL, (
        "the precondition: it was killed at work"
    )
    assert json.loads((folder / "run.json").read_text())["finished_stages"] == [
        "data",
        "layout",
    ]
    call("run", place / "table.csv", *WORDS, "--out", folder)
    assert {path.name for path in folder.iterdir()} == FILES
    ours, theirs = (
        pd.read_csv(run / "predictions.csv") for run in (folder, classified)
    )
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    ours, theirs = (pd.read_csv(run / "importance.csv") for run in (folder, classified))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c_counts")
def test_interrupting_ends_with_130_and_one_sentence(place, tmp_path):
    folder = tmp_path / "run"
    words = [
        sys.executable,
        "-m",
        "permgrad",
        "run",
        str(place / "table.csv"),
        *WORDS,
        "--out",
        str(folder),
    ]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while (
        not any((folder / ".checkpoint").glob("*"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert (
        errors.splitlines()[-1]
        == "error: Interrupted. Run the same command to resume after the last finished "
        "stage."
    )
    assert "Traceback" not in errors
    assert not (folder / ".lock").exists()


# --- predict --------------------------------------------------------------------------
def test_predict_aligns_by_name(place, classified, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed_lines = call("predict", classified, place / "new.csv").splitlines()
    assert printed_lines[0] == "40 rows predicted: new-predictions.csv"
    assert printed_lines[1].startswith(
        "2 of 40 rows have age outside the training range of "
    )
    assert re.match(
        r"Scores on 40 rows with outcome: accuracy 0\.\d+, ", printed_lines[2]
    )
    facts = json.loads(call("predict", classified, place / "new.csv", "--json"))
    assert (
        facts["unlike"]["columns"][0].items()
        >= {"column": "age", "kind": "range", "rows": 2}.items()
    )
    assert (facts["unlike"]["rows"], facts["scores"]["rows"]) == (2, 40)
    predictions = pd.read_csv("new-predictions.csv")
    assert list(predictions.columns) == [
        "row",
        "code",
        "prediction",
        "probability_ill",
        "probability_well",
    ]
    model = pg.load(classified / "model")
    rows = table(40, seed=1)
    np.testing.assert_allclose(
        predictions["probability_ill"],
        model.predict_proba(rows[["age", "dose", "noise", "town"]])[:, 0],
        atol=1e-6,
    )
    rows[["town", "noise", "dose", "age"]].to_parquet("shuffled.parquet")
    call("predict", classified / "model", "shuffled.parquet", "--out", "again.csv")
    np.testing.assert_allclose(
        pd.read_csv("again.csv")["probability_ill"],
        predictions["probability_ill"],
        atol=1e-6,
    )


def test_a_file_is_replaced_without_asking_but_never_a_table_or_a_file_of_the_run(
    place, classified, tmp_path
):
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    call("predict", classified, place / "new.csv", "--out", out)
    assert out.read_text().startswith("row,code,prediction")
    for kept_file in (place / "new.csv", classified / "importance.csv"):
        before = kept_file.read_bytes()
        call("predict", classified, place / "new.csv", "--out", kept_file, code=2)
        assert kept_file.read_bytes() == before
    (tmp_path / "page.html").write_text("mine")
    call("report", classified, "--out", tmp_path / "page.html", "--title", "Ours")
    assert "Ours" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_predict_to_stdout_and_json(place, regressed):
    lines = call("predict", regressed, place / "new.csv", "--out", "-").splitlines()
    assert lines[0] == "row,prediction"
    assert len(lines) == 41
    lines = call(
        "predict", regressed, place / "new.csv", "--out", "-", "--coverage", "0.8"
    ).splitlines()
    assert lines[0] == "row,prediction,interval_low,interval_high"
    expected = pg.load(regressed / "model").predict_interval(
        table(40, seed=1)[["age", "dose", "noise", "town"]], 0.8
    )
    np.testing.assert_allclose(
        [float(cell) for cell in lines[1].split(",")[2:]], expected[0]
    )
    refused = CliRunner().invoke(
        app, ["predict", str(regressed), str(place / "new.csv"), "--coverage", "2"]
    )
    assert refused.exit_code == 2
    assert "--coverage must be between 0 and 1, got 2.0" in refused.stderr
    facts = json.loads(
        call("predict", regressed, place / "new.csv", "--out", "-", "--json")
    )
    assert len(facts["predictions"]) == facts["rows"] == 40


def test_predict_names_what_is_wrong_with_the_columns(place, classified, tmp_path):
    rows = table(10, seed=1)
    rows.drop(columns=["age", "town"]).to_csv(tmp_path / "less.csv", index=False)
    result = CliRunner().invoke(
        app,
        [
            "predict",
            str(classified),
            str(tmp_path / "less.csv"),
            "--out",
            str(tmp_path / "o.csv"),
        ],
    )
    assert result.exit_code == 2
    assert "2 columns of training are missing: 'age', 'town'" in result.stderr
    assert not (tmp_path / "o.csv").exists()
    rows.assign(shoe_size=40).to_csv(tmp_path / "more.csv", index=False)
    result = CliRunner().invoke(
        app,
        [
            "predict",
            str(classified),
            str(tmp_path / "more.csv"),
            "--out",
            str(tmp_path / "o.csv"),
        ],
    )
    assert result.exit_code == 0
    assert (
        result.stderr.strip()
        == "warning: 1 column is not used, because training did not have it: "
        "'shoe_size'"
    )


# --- explain, report, datasets --------------------------------------------------------
def test_explain_a_table(place, classified, tmp_path):
    printed_output = call(
        "explain",
        classified,
        place / "new.csv",
        "--out",
        tmp_path / "why",
        "--repeats",
        "3",
    )
    assert printed_output.rstrip().endswith(f"Written: {tmp_path / 'why'}")
    explanation = pg.Explanation.load(tmp_path / "why")
    assert explanation.scope == "global"
    assert "loss" in explanation.meta["quantity"], "the target stands in the table"
    assert (tmp_path / "why" / "importance.csv").is_file()
    assert "<text" in (tmp_path / "why" / "plots" / "bar.png").read_text(
        encoding="utf-8"
    ), "undrawn"
    result = CliRunner().invoke(
        app,
        [
            "explain",
            str(classified),
            str(place / "new.csv"),
            "--out",
            str(tmp_path / "why"),
        ],
    )
    assert result.exit_code == 2
    assert "Add --overwrite, or choose another folder with --out." in result.stderr


def test_explain_one_row(place, classified, tmp_path):
    words = (
        "explain",
        classified,
        place / "new.csv",
        "--method",
        "integrated_gradients",
    )
    call(
        *words,
        "--row",
        "7",
        "--target",
        "ill",
        "--option",
        "scale=logit",
        "--out",
        tmp_path / "one",
    )
    row_explanation = pg.Explanation.load(tmp_path / "one")
    assert row_explanation.values.shape == (1, 4, 1)
    assert row_explanation.outputs == ("ill",)
    logit = ("--target", "ill", "--option", "scale=logit")
    call(*words, *logit, "--out", tmp_path / "all")
    np.testing.assert_allclose(
        row_explanation.values[0, :, 0],
        pg.Explanation.load(tmp_path / "all").values[7, :, 0],
        atol=1e-5,
    )
    call(*words, "--row", "7", "--target", "ill", "--out", tmp_path / "told")
    probability_explanation = pg.Explanation.load(tmp_path / "told")
    assert probability_explanation.meta["scale"] == "probability", "as on the page"
    assert np.abs(probability_explanation.values).max() <= 1
    result = CliRunner().invoke(
        app, [str(word) for word in (*words, "--row", "40", "--out", tmp_path / "none")]
    )
    assert result.exit_code == 2
    assert "--row must be below the number of rows, got 40" in result.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "method",
    [
        "permgrad",
        "permutation",
        "ablation",
        "gradcam",
        "integrated_gradients",
        "permgrad_paper",
    ],
)
def test_every_method_on_the_command_line(place, classified, tmp_path, method):
    call(
        "explain",
        classified,
        place / "new.csv",
        "--method",
        method,
        "--repeats",
        "2",
        "--out",
        tmp_path / "why",
        "--json",
    )
    assert pg.Explanation.load(tmp_path / "why").method == method


def test_explain_without_the_target_measures_divergence(place, regressed, tmp_path):
    table(30, seed=2).drop(columns=["score", "outcome"]).to_csv(
        tmp_path / "blind.csv", index=False
    )
    call(
        "explain",
        regressed,
        tmp_path / "blind.csv",
        "--repeats",
        "2",
        "--out",
        tmp_path / "why",
    )
    assert "divergence" in pg.Explanation.load(tmp_path / "why").meta["quantity"]


def test_report_is_made_again_from_the_folder(classified, tmp_path):
    shutil.copytree(classified, tmp_path / "moved")
    (tmp_path / "moved" / "report.html").unlink()
    printed_output = call("report", tmp_path / "moved")
    assert printed_output == f"Report: {tmp_path / 'moved' / 'report.html'}\n"
    text = (tmp_path / "moved" / "report.html").read_text(encoding="utf-8")
    assert "outcome" in text
    assert "<script src" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path))
    printed_output = call("datasets", "list")
    for name in (
        "heloc",
        "dengue",
        "covertype",
        "gas",
        "puma",
        "bank",
        "breast_cancer",
    ):
        assert name in printed_output
    facts = json.loads(call("datasets", "list", "--json"))["datasets"]
    assert next(fact for fact in facts if fact["name"] == "heloc")["na"] == [-9, -8, -7]
    assert call("datasets", "fetch", "breast_cancer") == "breast_cancer: scikit-learn\n"


# --- wide and awkward tables ----------------------------------------------------------
@pytest.mark.slow
def test_many_more_columns_than_rows_and_pixels(tmp_path):
    """In full, with 10,000 columns, this is verification/verify_wide.py."""
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(
        rng.normal(size=(40, 150)).round(3), columns=[f"gene {i}" for i in range(150)]
    )
    wide.assign(y=np.where(wide["gene 3"] > 0, "a", "b")).to_csv(
        tmp_path / "wide.csv", index=False
    )
    options = ("--preset", "fast:tabular+image", "--out", tmp_path / "run")
    call("run", tmp_path / "wide.csv", "--target", "y", *options)
    assert len(pd.read_csv(tmp_path / "run" / "importance.csv")) == 3 * 150
    assert json.loads((tmp_path / "run" / "layout.json").read_text())["pixels"] >= 13


def test_an_all_missing_column_and_hostile_names(tmp_path):
    frame = table(120).drop(columns=["score", "code"]).assign(nothing=np.nan, one=1)
    frame = frame.rename(
        columns={"age": "age, <b>in</b> $years$", "town": 'the "town"\'s näme'}
    )
    frame.to_csv(tmp_path / "odd.csv", index=False)
    call(
        "run",
        tmp_path / "odd.csv",
        "--target",
        "outcome",
        "--preset",
        "fast",
        "--out",
        tmp_path / "run",
    )
    importance = pd.read_csv(tmp_path / "run" / "importance.csv").set_index(
        ["feature", "class"]
    )
    for name in ("nothing", "one"):
        assert importance.loc[
            (name, "all"), ["importance", "std_error", "p_value"]
        ].tolist() == [0, 0, 1]
    assert "<b>in</b>" not in (tmp_path / "run" / "report.html").read_text(
        encoding="utf-8"
    )


def test_explain_refuses_classes_that_the_model_does_not_know(
    place, classified, tmp_path
):
    frame = pd.read_csv(place / "new.csv")
    target = next(
        name for name in frame.columns if "ill" in set(frame[name].astype(str))
    )
    frame.loc[[1, 4], target] = "flu"
    frame.to_csv(tmp_path / "flu.csv", index=False)
    result = CliRunner().invoke(
        app,
        [
            "explain",
            str(classified),
            str(tmp_path / "flu.csv"),
            "--out",
            str(tmp_path / "why"),
        ],
    )
    assert result.exit_code == 2
    assert "2 of 40 rows" in result.stderr
    assert "'flu'" in result.stderr
    assert not (tmp_path / "why").exists()
    frame[target] = frame[target].replace("flu", None)
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    words = [
        "explain",
        str(classified),
        str(tmp_path / "gaps.csv"),
        "--repeats",
        "1",
        "--out",
        str(tmp_path / "why"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert "2 of 40 rows" in result.stderr
    assert pg.Explanation.load(tmp_path / "why").meta["rows_explained"] == 38
