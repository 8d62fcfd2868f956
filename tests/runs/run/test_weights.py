"""``permgrad run --weight COLUMN``: the column is no feature, and training, scores and
explanations weigh rows.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

import permgrad as pg
from permgrad.base.errors import InputError, PermgradWarning
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.runs.commands.explain_command import explain_table
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.commands.report_command import FinishedRun, rebuild_report
from permgrad.runs.requests import (
    ExplainRequest,
    PredictRequest,
    ReportRequest,
    RunRequest,
)
from permgrad.runs.run.run import run_table
from permgrad.runs.run_folder import finished_record


def survey(rows: int = 400) -> pd.DataFrame:
    """Return answers of men and women.

    Women are asked less often, and answer the other way round.
    """
    rng = np.random.default_rng(0)
    woman = rng.random(rows) < 0.25
    table = pd.DataFrame(
        {
            "age": rng.normal(50, 15, rows).round(),
            "noise": rng.normal(size=rows).round(3),
        }
    )
    lean = (table["age"] - 50) / 10 * np.where(woman, -1, 1) + rng.normal(size=rows)
    table["vote"] = np.where(lean > 0, "yes", "no")
    table["factor"] = np.where(woman, 8.0, 0.5)
    table.loc[::40, "factor"] = 0
    return table


def run(folder: Path, name: str = "out", **options) -> Path:
    path = folder / "table.csv"
    if not path.exists():
        survey().to_csv(path, index=False)
    usual = {"target": ("vote",), "preset": "fast", "out": folder / name}
    run_table(RunRequest(table=str(path), **usual | options), say=lambda _: None)
    return folder / name


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("weighed"), weight="factor")


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_scores_are_weighted_and_the_page_says_so_once(weighed):
    lines = pd.read_csv(weighed / "predictions.csv")
    data = read(weighed, "data.json")
    scores = read(weighed, "metrics.json")
    weights = survey()["factor"].to_numpy()[lines["row"]]
    assert (weights > 0).all()
    assert len(np.unique(weights)) == 2
    assert {
        column_data["name"]: column_data["role"] for column_data in data["columns"]
    }["factor"] == "left out: --weight"
    assert "10 rows of weight 0 are left out" in data["notes"]
    member = lines["truth"] == scores["positive"]
    chance = lines[f"probability_{scores['positive']}"]
    expected = {
        "roc_auc": reference.roc_auc_score(member, chance, sample_weight=weights),
        "log_loss": reference.log_loss(member, chance, sample_weight=weights),
        "accuracy": reference.accuracy_score(
            lines["truth"], lines["prediction"], sample_weight=weights
        ),
    }
    for name, value in expected.items():
        assert scores["test"][name] == pytest.approx(value, abs=1e-6)
    assert abs(expected["roc_auc"] - reference.roc_auc_score(member, chance)) > 0.05, (
        "weights matter here"
    )
    share = np.average(member, weights=weights)
    assert scores["constant"]["average_precision"] == pytest.approx(share)
    assert "cuts" not in scores
    assert "intervals" not in scores
    assert not (weighed / "segments.json").exists()
    assert not list((weighed / "explanations").glob("permgrad_paper*"))
    for name in ("report.md", "report.html"):
        page = (weighed / name).read_text(encoding="utf-8")
        assert "weigh the test rows by factor: they are worth" in page
        assert "Where to set the threshold" not in page
        assert "Calibration on the validation rows" not in page


def test_training_follows_the_weights(weighed, tmp_path):
    plain = run(tmp_path, drop=("factor",))
    old = pd.DataFrame({"age": [20.0, 80.0], "noise": [0.0, 0.0]})
    chances = [
        pg.load(folder / "model").predict_proba(old)[:, 1]
        for folder in (weighed, plain)
    ]
    assert chances[1][1] - chances[1][0] > 0.2, "most rows are of men"
    assert chances[0][1] - chances[0][0] < 0, "most of the weight is of women"


def test_explaining_the_run_and_its_report_keep_to_the_weights(
    weighed, tmp_path, monkeypatch
):
    run_explanation = pg.Explanation.load(weighed / "explanations" / "permgrad")
    assert (
        run_explanation.meta["equal_rows"]
        < 0.8 * run_explanation.meta["rows_explained"]
    )
    explain_table(ExplainRequest(model_folder=weighed, out=tmp_path / "again"))
    again = pg.Explanation.load(tmp_path / "again")
    np.testing.assert_array_equal(again.values, run_explanation.values)
    assert again.meta["equal_rows"] == run_explanation.meta["equal_rows"]
    # The page that is written again is the same page.
    page = (weighed / "report.html").read_bytes()
    rebuild_report(ReportRequest(folder=weighed))
    assert (weighed / "report.html").read_bytes() == page
    # A long table is read in parts, and gives the weights too.
    table = survey().iloc[:100]
    table.to_parquet(tmp_path / "rows.parquet")
    stream_explanations = {}
    for stream in (True, False):
        monkeypatch.setattr(
            "permgrad.runs.commands.predict.LARGE_BYTES", 1 if stream else 2**30
        )
        request = ExplainRequest(
            model_folder=weighed,
            table=tmp_path / "rows.parquet",
            out=tmp_path / str(stream),
        )
        explain_table(request)
        stream_explanations[stream] = pg.Explanation.load(tmp_path / str(stream))
    kept_mask = table["factor"].to_numpy() > 0
    assert kept_mask.sum() < len(table)
    weights = table["factor"].to_numpy()
    for explanation in stream_explanations.values():
        assert explanation.meta["equal_rows"] == pytest.approx(
            weights.sum() ** 2 / (weights**2).sum()
        )
    np.testing.assert_allclose(
        stream_explanations[True].values,
        stream_explanations[False].values,
        rtol=0.5,
        atol=0.1,
    )
    table.drop(columns="factor").to_csv(tmp_path / "now.csv", index=False)
    with pytest.warns(
        PermgradWarning,
        match=r"The run weighs rows by 'factor', which .*now.csv lacks. Each of its "
        r"rows",
    ):
        explain_table(
            ExplainRequest(
                model_folder=weighed, table=tmp_path / "now.csv", out=tmp_path / "now"
            )
        )
    explain_table(
        ExplainRequest(
            model_folder=weighed,
            row=int(pd.read_csv(weighed / "predictions.csv")["row"][0]),
            method="integrated_gradients",
            out=tmp_path / "row",
        )
    )


def test_what_counts_rows_once_is_refused(weighed, tmp_path):
    copy = shutil.copytree(weighed, tmp_path / "copy")
    with pytest.raises(
        InputError,
        match=r"--coverage counts each held-out row once, and the run weighs rows by "
        r"'factor'",
    ):
        predict_table(
            PredictRequest(
                model_folder=weighed,
                table=weighed.parent / "table.csv",
                coverage=0.9,
                out=tmp_path / "p.csv",
            )
        )
    with pytest.raises(
        InputError,
        match=r"is a run with --weight factor, and a comparison of runs counts each "
        r"row once",
    ):
        FinishedRun.read(copy, finished_record(copy))
    table = str(weighed.parent / "table.csv")
    for options, words in (
        (
            {"cost": (1.0, 5.0)},
            "--weight and --cost cannot be combined. Leave one of them out",
        ),
        ({"refits": 5}, "--weight and --refits cannot be combined"),
        ({"sensitive": ("age",)}, "--weight and --sensitive cannot be combined"),
        (
            {"model": "auto"},
            (
                "--weight and the model auto cannot be combined: it is not trained "
                "with weights"
            ),
        ),
        ({"baselines": ("mlp",)}, "--weight and the model mlp cannot be combined"),
    ):
        with pytest.raises(InputError, match=words):
            RunRequest(
                table=table, target=("vote",), weight="factor", **options
            ).check()
    names = RunRequest(
        table=table, target=("vote",), weight="factor", baselines=("usual",)
    ).wanted_baselines
    assert "linear" in names
    assert "mlp" not in names
    for column, words in (
        ("vote", "Column 'vote' is the target and also named by --weight"),
        ("factors", r"--weight factors: no such column. Did you mean 'factor'"),
        (
            "noise",
            (
                r"sample_weight must be finite and at least 0, but column 'noise' "
                r"holds "
                r"'-.*in line"
            ),
        ),
    ):
        with pytest.raises(InputError, match=words):
            run(weighed.parent, "refused", weight=column)
    survey().assign(factor=0).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(
        InputError,
        match=r"Column 'factor' \(weight\) is above 0 in none of the train rows",
    ):
        run(tmp_path, weight="factor")
    survey().drop(columns="factor").to_csv(tmp_path / "held.csv", index=False)
    with pytest.raises(InputError, match="factor"):
        run(weighed.parent, "refused", weight="factor", test=tmp_path / "held.csv")


def test_an_estimator_is_trained_with_weights_or_refused():
    from sklearn.linear_model import LinearRegression
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=80)})
    weights = np.where(X["a"] > 0, 4.0, 1.0)
    y = X["a"].to_numpy() ** 2
    pipeline = make_pipeline(StandardScaler(), LinearRegression())
    slopes = [
        np.ptp(
            table_model("regression", pipeline)
            .fit(X, y, weights=fit_weights)
            .predict(pd.DataFrame({"a": [0.0, 1.0]}))
        )
        for fit_weights in (weights, None)
    ]
    expected = LinearRegression().fit(X, y, weights).coef_[0]
    assert slopes[0] == pytest.approx(abs(expected))
    assert slopes[0] != pytest.approx(slopes[1], rel=0.1)
    with pytest.raises(
        InputError,
        match=r"KNeighborsRegressor cannot be fitted: .*'sample_weight'. Leave the "
        r"weights out, or choose",
    ):
        table_model("regression", KNeighborsRegressor()).fit(X, y, weights=weights)
