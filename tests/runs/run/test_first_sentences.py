"""The first sentences of a run, on the page and on the terminal: nothing learnt, a
class never seen, other models.
"""

from __future__ import annotations

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from tools.diff_runs import differences
from typer.testing import CliRunner

from permgrad.cli import app
from permgrad.evaluation.metrics import evaluate

WORDS = ("--target", "grade", "--preset", "fast", "--baselines", "linear")


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def useless(tmp_path_factory):
    """A run on noise, whose test file has a class that no training row has; and what it
    printed.
    """
    folder = tmp_path_factory.mktemp("useless")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(220, 3)), columns=list("abc"))
    frame["grade"] = rng.choice(["low", "middle", "high"], 220, p=[0.3, 0.4, 0.3])
    frame.iloc[:160].to_csv(folder / "table.csv", index=False)
    test = frame.iloc[160:].copy()
    test.iloc[0, 3] = "top"
    test.to_csv(folder / "test.csv", index=False)
    printed_output = call(
        "run",
        folder / "table.csv",
        "--test",
        folder / "test.csv",
        *WORDS,
        "--out",
        folder / "run",
    )
    return folder / "run", printed_output


def test_a_model_that_learnt_nothing_says_so_first(useless):
    folder, printed_output = useless
    lines = printed_output.splitlines()
    assert lines[0].startswith(
        "The network predicts grade not clearly better than a constant"
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    accuracy = metrics["test"]["accuracy"]
    assert accuracy <= metrics["constant"]["accuracy"] + 0.05, (
        "there is nothing to learn"
    )
    assert metrics["constant"]["learnt"] is False
    first = metrics["verdict"][0]
    assert list(first["facts"]["ahead"]) == ["accuracy", "log_loss", "roc_auc"]
    assert lines[0] == first["sentence"]
    assert any(
        line.startswith(
            "Most important of 3 features, of a model that is not clearly better than "
            "a constant"
        )
        for line in lines
    )
    page = (folder / "report.html").read_text()
    heading = page[
        page.index('<p class="headline">') : page.index('<dl class="verdict">')
    ]
    assert first["sentence"] in heading
    assert "It relies most on" not in page


def test_a_class_of_the_test_rows_alone_empties_no_metric(useless):
    folder, printed_output = useless
    test = json.loads((folder / "metrics.json").read_text())["test"]
    assert all(value is not None for value in test.values())
    assert test["unseen"] == {"top": 1}
    words = (
        "1 test row has a class of grade that no training row has (top (1 row)): "
        "it counts as wrong"
    )
    assert words in printed_output
    assert words in (folder / "report.html").read_text()


def test_what_baselines_said_is_kept_and_measured_row_by_row(useless, tmp_path):
    folder, _ = useless
    metrics = json.loads((folder / "metrics.json").read_text())
    kept_predictions = np.load(folder / "baseline_predictions.npz")
    ours = pd.read_csv(folder / "predictions.csv")
    assert kept_predictions["row"].tolist() == ours["row"].tolist()
    classes = kept_predictions["classes"].tolist()
    again = evaluate(
        "classification",
        ours["truth"],
        probabilities=kept_predictions["linear"],
        classes=classes,
    )
    assert {name: metrics["baselines"]["linear"][name] for name in again} == again
    ahead = metrics["baselines"]["linear"]["ahead"]
    assert ahead["difference"] == pytest.approx(
        metrics["test"]["accuracy"] - again["accuracy"]
    )
    assert ahead["ci_low"] < 0 < ahead["ci_high"], "noise: nobody is ahead"
    assert any(
        "There is no significant difference from the best baseline" in v["sentence"]
        for v in metrics["verdict"]
    )
    assert (
        "baseline_predictions.npz"
        in json.loads((folder / "run.json").read_text())["stages"]["model"]["sums"]
    )
    # A copy does not differ; a file that is gone or damaged is noticed.
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    assert differences(folder, copy)[0] == []
    path = copy / "baseline_predictions.npz"
    for content, fact in ((path.read_bytes()[:-40], "damaged"), (None, "missing")):
        path.unlink() if content is None else path.write_bytes(content)
        assert {
            file_difference.file for file_difference in differences(folder, copy)[0]
        } == {path.name}
        result = CliRunner().invoke(app, ["report", str(copy)])
        assert result.exit_code == 2
        assert f"baseline_predictions.npz of stage 'model' is {fact}" in result.stderr


def test_what_is_said_of_one_class_is_said_of_the_rarer_one(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc"))
    frame["weld"] = np.where(rng.random(300) < 0.12, "cracked", "sound")
    frame.to_csv(tmp_path / "table.csv", index=False)
    words = ("--target", "weld", "--preset", "fast", "--out", tmp_path / "run")
    printed_output = call("run", tmp_path / "table.csv", *words)
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    rare = int((rows["truth"] == "cracked").sum())
    assert 0 < rare < 0.2 * len(rows), (
        "a precondition: the class that comes first in the alphabet is the rarer one"
    )
    assert set(rows["prediction"]) == {"sound"}, "a precondition: it is never predicted"
    # Of noise, average precision is about the share of the class that it is of.
    test = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert test["average_precision"] < 0.5
    words = f"It never predicts cracked, the class of {rare} test rows"
    assert words in printed_output
    assert words in (tmp_path / "run" / "report.html").read_text().replace("&#39;", "'")


@pytest.mark.slow
def test_a_column_that_gives_the_target_away_is_an_alarm_first_on_page_and_terminal(
    tmp_path,
):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(160, 3)), columns=list("abc"))
    frame["cost"] = (50 + 10 * frame["a"] + 5 * rng.normal(size=160)).round(2)
    frame["cost in cents"] = (frame["cost"] * 100).round()
    frame["paid"] = -9
    frame.to_csv(tmp_path / "table.csv", index=False)
    words = ("--target", "cost", "--preset", "fast", "--na", "-9")
    printed_output = call(
        "run", tmp_path / "table.csv", *words, "--out", tmp_path / "run"
    )
    alarm = "Column 'cost in cents' alone predicts 'cost' nearly perfectly (R² "
    assert printed_output.splitlines()[0].startswith(f"ALARM: {alarm}")
    page = (tmp_path / "run" / "report.html").read_text()
    text = page.replace("&#39;", "'")
    assert (
        text.index("</h1>")
        < text.index(f"Alarm:</strong> {alarm}")
        < text.index('<section id="scores"')
    )
    assert (
        json.loads((tmp_path / "run" / "metrics.json").read_text())["verdict"][0][
            "facts"
        ]["kind"]
        == "leak"
    )
    advised = json.loads((tmp_path / "run" / "metrics.json").read_text())["verdict"][-1]
    command = advised["facts"]["command"]
    assert (
        advised["sentence"]
        == "Find out when 'cost in cents' is known. If only afterwards, train without "
        f"it: {command}"
    )
    printed_output = call(*shlex.split(command)[1:])
    assert "ALARM" not in printed_output
    assert (
        "Alarm:</strong>" not in (tmp_path / "run-without" / "report.html").read_text()
    )
