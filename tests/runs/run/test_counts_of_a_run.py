"""``permgrad run --task counts``: trained and judged by the Poisson loss, with an
offset that is no feature.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_poisson_deviance
from typer.testing import CliRunner

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.cli import app
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run import run_table
from permgrad.runs.run.run_inputs import load_inputs

ASKED = RunRequest(table="t.csv", target=("visits",), preset="fast", out=Path("run"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"age": rng.normal(size=400).round(3), "badge": rng.integers(0, 2, 400)}
    )
    years = rng.uniform(0.3, 3, 400)
    visits = rng.poisson(
        years * np.exp(0.6 * table["age"] + 0.6 * table["badge"] - 0.7)
    )
    table.assign(log_years=np.log(years), visits=visits).to_csv("t.csv", index=False)
    return tmp_path


def quiet(request):
    return run_table(request, say=lambda text: None)


@pytest.mark.slow
def test_a_run_of_counts_trains_and_judges_rates(here):
    quiet(replace(ASKED, task="counts", offset="log_years", baselines=("lightgbm",)))
    metrics = json.loads(Path("run/metrics.json").read_text())
    model = pg.load("run/model")
    rows = pd.read_csv("run/predictions.csv")
    table = pd.read_csv("t.csv")
    test_table = table.iloc[rows["row"]].reset_index(drop=True)
    years = np.exp(test_table["log_years"])
    assert model.training_options_["loss"] == "poisson"
    assert list(model.feature_names_in_) == ["age", "badge"]
    np.testing.assert_allclose(rows["truth"], test_table["visits"] / years, rtol=1e-9)
    np.testing.assert_allclose(
        rows["prediction"], model.predict(test_table[["age", "badge"]]), rtol=1e-9
    )
    deviance = mean_poisson_deviance(
        rows["truth"], rows["prediction"], sample_weight=years
    )
    assert metrics["test"]["poisson_deviance"] == pytest.approx(deviance, rel=1e-6)
    assert metrics["constant"]["ahead"].keys() == {"poisson_deviance"}
    assert metrics["baselines"]["lightgbm"]["ahead"]["metric"] == "poisson_deviance"
    page = Path("run/report.md").read_text()
    assert "predicts visits with Poisson deviance " in page
    assert "by exp(log\\_years)" in page
    notes = json.loads(Path("run/data.json").read_text())["notes"]
    assert any(
        note.startswith("'log_years' is the logarithm of each row's exposure")
        for note in notes
    )
    explain = CliRunner().invoke(app, ["explain", "run", "t.csv", "--out", "e", "-q"])
    assert explain.exit_code == 0, explain.output
    explanation = pg.Explanation.load("e")
    assert (explanation.meta["loss"], explanation.meta["offset"]) == ("poisson", 0.0)
    all_years = np.exp(table["log_years"])
    whole_deviance = mean_poisson_deviance(
        table["visits"] / all_years,
        model.predict(table[["age", "badge"]]),
        sample_weight=all_years,
    )
    assert explanation.meta["model_loss"] == pytest.approx(whole_deviance, rel=1e-4)
    command_result = CliRunner().invoke(
        app, ["predict", "run", "t.csv", "--out", "p.csv"]
    )
    assert "400 rows predicted, as rates of an exposure of 1" in command_result.output


def test_counts_with_many_zeros_are_named(here):
    note_start = "the target 'visits' looks like a count: whole numbers"
    notes = load_inputs(replace(ASKED, drop=("log_years",))).notes
    assert (
        sum(note.startswith(note_start) and "--task counts" in note for note in notes)
        == 1
    )
    for changed in (
        {"task": "counts"},
        {"task": "regression"},
        {"target": ("badge",)},
        {"target": ("age",)},
    ):
        assert not any(
            "looks like a count" in note
            for note in load_inputs(replace(ASKED, **changed)).notes
        )
    table = pd.read_csv("t.csv")
    table.assign(visits=table["visits"].clip(upper=4)).to_csv("few.csv", index=False)
    notes = load_inputs(replace(ASKED, table="few.csv")).notes
    assert any("It is predicted as classes" in note for note in notes)
    table.assign(visits=np.resize([0, 1, 2, 3, 4], 400)).to_csv(
        "codes.csv", index=False
    )
    assert not any(
        "looks like a count" in note
        for note in load_inputs(replace(ASKED, table="codes.csv")).notes
    )


def test_what_does_not_go_with_counts_is_refused(here):
    table = pd.read_csv("t.csv")
    table.assign(visits=table["visits"] - 1).to_csv("low.csv", index=False)
    table.assign(log_years=table["log_years"].where(table.index != 7)).to_csv(
        "gap.csv", index=False
    )
    counts = replace(ASKED, task="counts")
    with pytest.raises(
        InputError,
        match="Counts must be numbers of at least 0, but column 'visits' holds -1",
    ):
        load_inputs(replace(counts, table="low.csv"))
    with pytest.raises(
        InputError, match=r"column 'log_years' holds 'nan' in line 9 of 'gap\.csv'"
    ):
        load_inputs(replace(counts, table="gap.csv", offset="log_years"))
    with pytest.raises(InputError, match=r"--offset years: no such column"):
        load_inputs(replace(counts, offset="years"))
    with pytest.raises(InputError, match="--offset is for --task counts"):
        replace(ASKED, offset="log_years").check()
    with pytest.raises(
        InputError, match="--offset and the model auto cannot be combined"
    ):
        replace(counts, offset="log_years", model="auto").check()
