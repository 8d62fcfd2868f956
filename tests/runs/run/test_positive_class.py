"""The positive class, in every command: the rarer one unless ``--positive`` says
otherwise; no explanation changes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call, working_in
from sklearn.metrics import average_precision_score

import permgrad as pg
from permgrad.runs.compare.comparison_plan import CompareRequest, from_request
from permgrad.runs.requests import RunRequest, TuneRequest
from permgrad.runs.run.run_inputs import load_inputs

WORDS = ("--target", "risk", "--preset", "preset.json")


def table(rows: int = 300, seed: int = 0, push: float = 2.0) -> pd.DataFrame:
    """Credits of which about a quarter are bad, a class that comes first in the
    alphabet.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"amount": rng.normal(size=rows), "months": rng.integers(6, 60, rows)}
    )
    chance = 1 / (1 + np.exp(1.6 - push * frame["amount"]))
    return frame.assign(risk=np.where(rng.random(rows) < chance, "bad", "good"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("positive")
    with working_in(folder):
        table().to_csv("table.csv", index=False)
        call("run", "table.csv", *WORDS, "--out", "usual", "--baselines", "linear")
        call(
            "run",
            "table.csv",
            *WORDS,
            "--out",
            "other",
            "--baselines",
            "linear",
            "--positive",
            "good",
        )
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def metrics_of(run: str) -> dict:
    return json.loads(Path(run, "metrics.json").read_text())


@pytest.mark.parametrize(("run", "positive"), [("usual", "bad"), ("other", "good")])
def test_metrics_are_of_the_positive_class(run, positive):
    metrics = metrics_of(run)
    assert (
        metrics["positive"]
        == json.loads(Path(run, "data.json").read_text())["positive"]
        == positive
    )
    rows = pd.read_csv(Path(run, "predictions.csv"))
    assert 0.1 < (rows["truth"] == "bad").mean() < 0.4, (
        "a precondition: 'bad' is the rarer one"
    )
    expected = average_precision_score(
        rows["truth"] == positive, rows[f"probability_{positive}"]
    )
    assert metrics["test"]["average_precision"] == pytest.approx(expected)
    assert metrics["test"]["labels"] == ["bad", "good"], (
        "the order of the classes is that of the model"
    )


def test_the_choice_reaches_baselines_page_and_terminal_but_no_explanation():
    usual = metrics_of("usual")
    other_metrics = metrics_of("other")
    assert (
        usual["baselines"]["linear"]["average_precision"]
        < other_metrics["baselines"]["linear"]["average_precision"]
    )
    assert usual["test"]["accuracy"] == other_metrics["test"]["accuracy"]
    bad_explanation, two = (
        pg.Explanation.load(f"{run}/explanations/permgrad")
        for run in ("usual", "other")
    )
    np.testing.assert_array_equal(bad_explanation.values, two.values)
    assert (bad_explanation.meta["positive"], two.meta["positive"]) == ("bad", "good")
    assert (
        Path("usual/importance.csv").read_text()
        == Path("other/importance.csv").read_text()
    )
    for run, positive in (("usual", "bad"), ("other", "good")):
        page = Path(run, "report.html").read_text()
        assert (
            f"Average precision, lift and curves are for the positive class {positive}."
            in page
        )
        assert f"Observed share of {positive} by predicted probability" in page
        words = [
            *WORDS,
            "--out",
            run,
            "--baselines",
            "linear",
            *(["--positive", "good"] if run == "other" else []),
        ]
        printed_output = call("run", "table.csv", *words)
        assert (
            f"Average precision and lift are for the positive class '{positive}' "
            "(change it" in printed_output
        )


def test_explain_follows_the_run():
    for run, positive in (("usual", "bad"), ("other", "good")):
        call("explain", run, "table.csv", "--method", "gradient", "--out", positive)
        assert pg.Explanation.load(positive).meta["positive"] == positive
    bad_explanation = pg.Explanation.load("bad")
    two = pg.Explanation.load("good")
    assert (
        "bad"
        in bad_explanation.plot.beeswarm().axes[0].get_xlabel()
        + bad_explanation.plot.beeswarm().description
    )
    assert (
        "good"
        in two.plot.beeswarm().axes[0].get_xlabel() + two.plot.beeswarm().description
    )


def test_every_command_that_trains_takes_it():
    for request in (RunRequest, TuneRequest, CompareRequest):
        run_request = request(table="table.csv", target=("risk",), positive="good")
        assert "--positive good" in run_request.command
        if request is not CompareRequest:
            run = (
                run_request
                if request is RunRequest
                else run_request.run_request("fast")
            )
            assert load_inputs(run).positive == "good"
    assert (
        from_request(CompareRequest(table="table.csv", target=("risk",))).positive
        == "bad"
    )
    assert (
        from_request(
            CompareRequest(table="table.csv", target=("risk",), positive="good")
        ).positive
        == "good"
    )


def test_a_level_that_is_none_is_refused_before_anything_is_written():
    expected_message = (
        "Positive class 'bda' not found. Did you mean 'bad'? The "
        "classes are 'bad' and 'good'."
    )
    for words in (
        ("run", "table.csv", *WORDS, "--out", "none"),
        (
            "compare",
            "table.csv",
            "--target",
            "risk",
            "--models",
            "linear,extra_trees",
            "--out",
            "none",
        ),
    ):
        assert expected_message in call(*words, "--positive", "bda", code=2)
    assert not Path("none").exists()
    numbers = (
        "run",
        "table.csv",
        "--target",
        "amount",
        "--out",
        "none",
        "--positive",
        "1",
    )
    assert (
        "A positive class is one of two, but a number is predicted here. Leave "
        "--positive" in call(*numbers, code=2)
    )
    model = pg.load("usual/model")
    with pytest.raises(pg.InputError, match="Positive class 'bda' not found"):
        pg.explain(
            pg.Model(model, positive="bda"),
            table()[["amount", "months"]],
            method="gradient",
        )


def test_a_class_that_is_never_predicted_is_a_sentence():
    table(400, seed=1, push=0.1).to_csv("vague.csv", index=False)
    printed_output = call("run", "vague.csv", *WORDS, "--out", "vague")
    rows = pd.read_csv("vague/predictions.csv")
    assert set(rows["prediction"]) == {"good"}, "a precondition"
    sentence = (
        f"It never predicts bad, the class of {(rows['truth'] == 'bad').sum()} "
        "test rows. With a thres"
    )
    assert sentence in printed_output
    assert sentence in Path("vague/report.html").read_text().replace(
        "&#39;", "'"
    ).replace("&#x27;", "'")
    (facts,) = metrics_of("vague")["never_predicted"]
    assert (
        facts["found"]
        == (
            (rows["truth"] == "bad") & (rows["probability_bad"] >= facts["threshold"])
        ).sum()
        > 0
    )
    assert metrics_of("usual")["never_predicted"] == []
