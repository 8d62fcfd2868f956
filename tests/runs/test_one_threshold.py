"""One threshold on three uneven tables: page, metrics, predictions, levels, Python, a
comparison and a study.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.commands.tune import tune_table
from permgrad.runs.compare.compare import compare_table
from permgrad.runs.compare.compared_cells import cell_path, do_cell
from permgrad.runs.compare.comparison_plan import from_request, make_folds, make_plan
from permgrad.runs.requests import (
    CompareRequest,
    PredictRequest,
    RunRequest,
    TuneRequest,
)
from permgrad.runs.run.run import run_table

pytest.importorskip("lightgbm")
#: Target, both classes with the rarer one last, and how rare it is.
TABLES = {
    "words": ("loan", ("paid", "defaulted"), 2.6),
    "numbers": ("event", (0, 1), 3.2),
    "signs": ("test", ("neg.", "pos."), 2.9),
}


def table(name: str, rows: int = 500, seed: int = 2) -> pd.DataFrame:
    target, classes, above = TABLES[name]
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "load": rng.normal(40, 8, rows).round(1),
            "width": rng.exponential(2, rows).round(2),
            "site": rng.choice(["east", "west"], rows),
        }
    )
    score = (frame["load"] - 40) / 5 + frame["width"] / 2 - above
    rare = rng.random(rows) < 1 / (1 + np.exp(-score))
    return frame.assign(**{target: np.where(rare, classes[1], classes[0])})


@pytest.mark.parametrize("name", TABLES)
def test_page_metrics_predictions_levels_and_python_have_one_threshold(name, tmp_path):
    target, (_, rare), _ = TABLES[name]
    frame = table(name)
    assert frame[target].eq(rare).mean() < 0.3, "uneven"
    source = tmp_path / "table.csv"
    run = tmp_path / "run"
    frame.to_csv(source, index=False)
    request = RunRequest(
        table=source,
        target=(target,),
        positive=str(rare),
        model="lightgbm",
        cost=(1.0, 9.0),
        sensitive=("site",),
        out=run,
    )
    run_table(request, say=lambda _: None)
    model = pg.load(run / "model")
    threshold = model.decision_threshold_
    assert 0 < threshold < 0.5
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["decision"]["threshold"] == threshold
    stored = json.loads((run / "model" / "model.json").read_text())
    assert stored["decision"]["threshold"] == threshold
    shown = re.search(
        r"threshold, which is (0?\.\d+) in this model",
        (run / "report.html").read_text(encoding="utf-8"),
    )
    assert float(shown[1]) == pytest.approx(threshold, abs=0.005)
    test = pd.read_csv(run / "predictions.csv")
    called = test[f"probability_{rare}"] >= threshold
    assert (test["prediction"] == rare).tolist() == called.tolist()
    assert called.sum() > (test[f"probability_{rare}"] >= 0.5).sum()
    out = tmp_path / "new.csv"
    features = frame.drop(columns=target)
    features.head(60).to_csv(tmp_path / "rows.csv", index=False)
    predict_table(
        PredictRequest(model_folder=run, table=tmp_path / "rows.csv", out=out)
    )
    new = pd.read_csv(out)
    expected = new[f"probability_{rare}"] >= threshold
    assert (new["prediction"] == rare).tolist() == expected.tolist()
    assert (model.predict(features.head(60)) == rare).tolist() == expected.tolist()
    rates = json.loads((run / "explanations" / "sensitive.json").read_text())
    text = json.dumps(rates)
    levels = features["site"].iloc[test["row"]].to_numpy()
    for level in ("east", "west"):
        share = float(called[levels == level].mean())
        assert any(
            abs(float(number) - share) < 1e-6 for number in re.findall(r"0\.\d+", text)
        ), level


@pytest.mark.parametrize(
    "option",
    [
        {"cost": (1.0, 9.0)},
        pytest.param({"threshold": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_a_comparison_decides_by_it(option, tmp_path):
    frame = table("words")
    source = tmp_path / "table.csv"
    frame.to_csv(source, index=False)
    asked = {
        "table": source,
        "target": ("loan",),
        "positive": "defaulted",
        "cv": "2",
        "explain": False,
        "models": ("lightgbm", "histogram_boosting"),
    }
    plain, deciding = (
        CompareRequest(**asked, **more, out=tmp_path / f"out{len(more)}")
        for more in ({}, option)
    )
    for request in (plain, deciding):
        compare_table(request, say=lambda _: None)
    scores = [
        json.loads(cell_path(request.folder, "lightgbm", "1").read_text())["metrics"]
        for request in (plain, deciding)
    ]
    assert scores[0]["roc_auc"] == scores[1]["roc_auc"], "the models are the same"
    assert scores[0]["accuracy"] > scores[1]["accuracy"]
    assert scores[0]["balanced_accuracy"] < scores[1]["balanced_accuracy"]
    # An estimator of the user's decides by it, too.
    compared = from_request(deciding)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), LogisticRegression())
    numbers = pg_table(compared)
    plan = make_plan([("line", line), "lightgbm"], cv=2, explain=False)
    folds = make_folds(compared.y, compared.task, folds=2)
    both = [
        do_cell(plan.models[0], each, folds[0], plan, device="cpu", threads=1)
        for each in (numbers, pg_table(from_request(plain)))
    ]
    assert not both[0].problem
    assert both[0].metrics["accuracy"] < both[1].metrics["accuracy"]


def pg_table(compared):
    """Return a table with its numbers alone."""
    from dataclasses import replace

    return replace(compared, X=compared.X[["load", "width"]])


def test_a_study_makes_a_run_that_decides_by_it(tmp_path):
    pytest.importorskip("optuna")
    table("signs").to_csv(tmp_path / "table.csv", index=False)
    request = TuneRequest(
        table=tmp_path / "table.csv",
        target=("test",),
        positive="pos.",
        model="lightgbm",
        trials=2,
        cost=(1.0, 9.0),
        out=tmp_path / "study",
    )
    tune_table(request, say=lambda _: None)
    decision = pg.load(tmp_path / "study" / "model").decision_
    assert decision.cost == (1.0, 9.0)
    assert 0 < decision.threshold < 0.5


@pytest.mark.parametrize("kind", [CompareRequest, TuneRequest])
def test_costs_that_are_none_are_refused_everywhere(kind, tmp_path):
    table("words").to_csv(tmp_path / "table.csv", index=False)
    request = kind(
        table=tmp_path / "table.csv", target=("loan",), cost=(0.0, 0.0), out=tmp_path
    )
    with pytest.raises(InputError, match="--cost must be two finite numbers"):
        request.run_request().check()
