"""``--cost`` and ``--threshold``: one threshold in model, metrics, page, predictions
and comparisons of levels.
"""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.evaluation.thresholds import choose_threshold
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.requests import PredictRequest, RunRequest
from permgrad.runs.run.run import run_table

SKOPS = pytest.mark.skipif(find_spec("skops") is None, reason="skops saves them")
MODELS = (
    "network",
    "lightgbm",
    pytest.param("random_forest", marks=SKOPS),
    pytest.param("linear", marks=SKOPS),
)


def machines(rows: int = 420) -> pd.DataFrame:
    """Return machines of which few fail, by heat and age, in two halls."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "heat": rng.normal(60, 9, rows).round(1),
            "age": rng.normal(10, 3, rows).round(1),
            "hall": rng.choice(["north", "south"], rows),
        }
    )
    score = (table["heat"] - 60) / 4 + (table["age"] - 10) / 3 - 3.6
    fails = rng.random(rows) < 1 / (1 + np.exp(-score))
    return table.assign(state=np.where(fails, "fails", "works"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machines")
    machines().to_csv(folder / "table.csv", index=False)
    machines(80).drop(columns="state").to_csv(folder / "new.csv", index=False)
    return folder


def run(base_folder, name, **options):
    usual = {"target": ("state",), "preset": "default", "out": base_folder / name}
    if options.get("model", "network") == "network":
        usual["preset"] = "fast"
    table = str(base_folder / "table.csv")
    progress_lines = []
    run_table(RunRequest(table=table, **usual | options), say=progress_lines.append)
    return json.loads((base_folder / name / "metrics.json").read_text())


@pytest.mark.parametrize("model", MODELS)
def test_one_threshold_everywhere(place, model):
    name = f"run-{model}"
    metrics = run(place, name, model=model, cost=(1, 8), sensitive=("hall",))
    fitted = pg.load(place / name / "model")
    threshold = fitted.decision_threshold_
    assert metrics["decision"] == {
        "positive": "fails",
        "threshold": threshold,
        "cost": [1.0, 8.0],
        "rows": metrics["rows"]["validation"],
    }
    lines = {line["cut"]: line for line in metrics["cuts"]["test"]}
    threshold_name = "this model: least cost (1 for a false fails, 8 for a missed one)"
    assert lines[threshold_name]["threshold"] == threshold != 0.5
    assert "as published" not in lines
    assert not any("logit" in name for name in lines)
    test = pd.read_csv(place / name / "predictions.csv")
    called = np.where(test["probability_fails"] >= threshold, "fails", "works")
    assert (called == "fails").sum() > (test["probability_fails"] >= 0.5).sum()
    assert (test["prediction"] == called).all()
    assert metrics["test"]["accuracy"] == pytest.approx(
        (called == test["truth"]).mean()
    )
    assert lines[threshold_name]["accuracy"] == pytest.approx(
        metrics["test"]["accuracy"]
    )
    expected_matrix = confusion_matrix(test["truth"], called, labels=["fails", "works"])
    assert metrics["test"]["confusion_matrix"] == expected_matrix.tolist()
    page = (place / name / "report.html").read_text()
    assert re.search(r"threshold, which is 0?\.\d+ in this model: the cheapest", page)
    out = place / f"{name}.csv"
    folder = place / name
    new = place / "new.csv"
    predict_table(PredictRequest(model_folder=folder, table=new, out=out))
    new_rows = pd.read_csv(out)
    expected = np.where(new_rows["probability_fails"] >= threshold, "fails", "works")
    assert (new_rows["prediction"] == expected).all()
    assert len(np.unique(expected)) == 2, "the precondition: both are predicted"
    other_request = PredictRequest(
        model_folder=folder, table=new, out=out, threshold=0.01
    )
    predict_table(other_request)
    assert (pd.read_csv(out)["prediction"] == "fails").sum() > (
        expected == "fails"
    ).sum()
    stored = json.loads((place / name / "explanations" / "sensitive.json").read_text())
    text = json.dumps(stored)
    assert "selection_rate" in text, "the precondition: rates are compared"


def test_the_threshold_is_the_cheapest_on_the_validation_rows(place):
    metrics = run(place, "cheapest", model="lightgbm", cost=(2, 10))
    fitted = pg.load(place / "cheapest" / "model")
    table = machines()
    with np.load(place / "cheapest" / "split.npz") as file:
        validation_rows = table.iloc[file["validation"]]
    chances = fitted.predict_proba(validation_rows[["heat", "age", "hall"]])[:, 0]
    cost = {"false_positive": 2, "false_negative": 10}
    best = choose_threshold(
        validation_rows["state"], chances, "cost", cost, positive="fails"
    )
    assert metrics["decision"]["threshold"] == pytest.approx(best.value)


@pytest.mark.slow
def test_a_class_that_is_never_predicted_leads_to_the_threshold(place):
    metrics = run(place, "never", model="lightgbm", threshold=0.99, sensitive=("hall",))
    assert metrics["decision"]["threshold"] == 0.99
    kinds = {
        verdict_entry["facts"]["kind"]: verdict_entry
        for verdict_entry in metrics["verdict"]
    }
    assert kinds["levels"]["sentence"].startswith(
        "At a threshold of 99\u00a0% it predicts no row as fails, so its rates by "
        "level of hall say nothing."
    )
    assert kinds["next"]["facts"]["reason"] == "levels"
    command = kinds["next"]["facts"]["command"]
    value = re.findall(r"--threshold (\S+)", command)
    assert len(value) == 1, "the command of the run, with another threshold"
    assert command.endswith("never-threshold")
    again = run(place, "again", model="lightgbm", threshold=float(value[0]))
    assert again["never_predicted"] == [], "the advice works when it is followed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 1.2}, r"--threshold must be a number from 0 to 1, got 1\.2"),
        ({"cost": (1, 2), "threshold": 0.0}, "--cost and --threshold cannot be comb"),
        ({"target": ("heat",), "threshold": 0.2}, "--threshold needs a target of two"),
    ],
)
def test_thresholds_that_are_none(place, options, words):
    with pytest.raises(InputError, match=words):
        run(place, "refused", **options)


def test_a_threshold_of_predict_needs_two_classes(place):
    run(place, "heat", target=("heat",), model="lightgbm")
    request = {"model_folder": place / "heat", "table": place / "new.csv"}
    with pytest.raises(InputError, match="and this one predicts numbers"):
        predict_table(PredictRequest(**request, threshold=0.3))
