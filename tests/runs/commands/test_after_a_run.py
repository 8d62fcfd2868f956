"""What people do with a finished run: a table of effects and the methods for a paper,
reasons of decisions, and a folder that is given away.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.base.stored import read_json
from permgrad.runs.commands.predict import predict_table
from permgrad.runs.commands.report_command import rebuild_report
from permgrad.runs.requests import PredictRequest, ReportRequest, RunRequest
from permgrad.runs.run.run import run_table

VISITS = 4


def visits(patients: int = 90, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = patients * VISITS
    patient = np.repeat(np.arange(patients), VISITS)
    frailty = np.repeat(rng.normal(size=patients), VISITS)
    dose = rng.normal(size=rows)
    ward = rng.choice(["north", "south", "west"], rows, p=[0.5, 0.3, 0.2])
    chance = 1 / (1 + np.exp(1 - 2 * dose - 0.5 * frailty - (ward == "west")))
    relapse = np.where(rng.random(rows) < chance, "yes", "no")
    table = pd.DataFrame({"patient": patient, "dose": dose.round(3), "ward": ward})
    table["noise"] = rng.normal(size=rows).round(3)
    table.loc[rng.random(rows) < 0.1, "noise"] = np.nan
    return table.assign(relapse=relapse)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("visits")
    visits().to_csv(folder / "visits.csv", index=False)
    request = RunRequest(
        table=str(folder / "visits.csv"),
        target=("relapse",),
        positive="yes",
        row_group="patient",
        model="lightgbm",
        out=folder / "run",
    )
    run_table(request)
    return folder


def test_effects_are_a_file_and_a_table(folder):
    pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    effects = pd.read_csv(folder / "run" / "effects.csv")
    assert list(effects) == [
        *("feature", "class", "from", "to", "change", "std_error"),
        *("ci_low", "ci_high", "unit", "rows", "groups"),
    ]
    assert set(effects["feature"]) == {"dose", "ward", "noise"}
    assert set(effects["class"]) == {"yes"}
    assert set(effects["unit"]) == {"probability"}
    (dose,) = effects[effects["feature"] == "dose"].to_dict("records")
    assert dose["change"] > 0.2, "the precondition"
    assert dose["ci_low"] <= dose["change"] <= dose["ci_high"]
    assert float(dose["from"]) < float(dose["to"])
    test_rows = pd.read_csv(folder / "run" / "predictions.csv")["row"]
    rows = visits().iloc[test_rows]
    assert dose["rows"] < len(rows)
    assert effects["rows"].dtype == effects["groups"].dtype == np.int64
    assert dose["groups"] <= rows["patient"].nunique()
    ward = effects[effects["feature"] == "ward"]
    assert set(ward["from"]) == {rows["ward"].mode()[0]}
    west = ward[ward["to"] == "west"].iloc[0]
    assert west["rows"] == rows["ward"].isin(["west", west["from"]]).sum()
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "How predictions change" in page
    short = (folder / "run" / "report.md").read_text(encoding="utf-8")
    points = f"+{100 * dose['change']:.1f} points"
    assert points in short
    assert points in page
    line = f"| {dose['rows']}, {dose['groups']} by patient |"
    assert line in short


def test_the_headline_says_who_was_scored_and_how_sure_the_score_is(folder):
    stored = read_json(folder / "run" / "metrics.json")
    test_rows = pd.read_csv(folder / "run" / "predictions.csv")
    rows = visits().iloc[test_rows["row"]]
    skill = stored["verdict"][0]
    assert skill["facts"]["kind"] == "skill"
    events = (rows["relapse"] == "yes").sum()
    ending = (
        f"on {len(rows)} test rows ({rows['patient'].nunique()} groups by patient, "
        f"{events} rows with relapse = yes)."
    )
    assert skill["sentence"].endswith(ending)
    interval = stored["score_interval"]
    assert interval["metric"] == "roc_auc"
    assert interval["ci_low"] < stored["test"]["roc_auc"] < interval["ci_high"] <= 1
    assert re.search(
        r"ROC-AUC 0\.\d+ \(95\xa0% interval 0\.\d+ to 0\.\d+\)", skill["sentence"]
    )


def test_methods_are_a_paragraph_with_the_numbers_of_the_run(folder):
    before = sorted(path.name for path in (folder / "run").iterdir())
    outcome = rebuild_report(ReportRequest(folder=folder / "run", methods=True))
    assert sorted(path.name for path in (folder / "run").iterdir()) == before
    text = outcome.facts["methods"]
    split = np.load(folder / "run" / "split.npz")
    table = visits()
    assert f"The data have {len(table)} rows with a value of relapse." in text
    for part, name in (
        ("train", "training"),
        ("validation", "validation"),
        ("test", "test"),
    ):
        rows = table.iloc[split[part]]
        events = (rows["relapse"] == "yes").sum()
        assert (
            f"{len(rows)} {name} rows ({rows['patient'].nunique()} groups by patient, "
            f"{events} with relapse = yes)"
        ) in text
    missing = table.iloc[split["train"]]["noise"].isna().mean()
    assert (
        f"missing in 1 of 3 columns of the training rows: noise ({100 * missing:.1f} %)"
        in text
    )
    assert "The model is LightGBM, trained with seed 0, with permgrad " in text
    assert "by Holm's method [holm1979]" in text
    assert "independent groups of rows are behind the intervals" in text
    cited = set(re.findall(r"\[(\w+)\]", text))
    assert cited == set(re.findall(r"@\w+\{(\w+),", outcome.facts["bibtex"]))
    assert outcome.text == f"{text}\n\n{outcome.facts['bibtex']}"
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert 'class="paste"' in page


@pytest.mark.parametrize(
    "other", [{"title": "t"}, {"open_page": True}, {"out": Path("a.html")}]
)
def test_methods_write_no_page(folder, other):
    with pytest.raises(InputError, match="--methods writes no page, so --"):
        rebuild_report(ReportRequest(folder=folder / "run", methods=True, **other))


def test_reasons_are_those_of_the_page(folder):
    page = pg.Explanation.load(folder / "run/explanations/integrated_gradients")
    numbers = read_json(folder / "run/explanations/explained.json")["numbers"]
    rows = visits().iloc[numbers].drop(columns="relapse").reset_index(drop=True)
    rows.to_csv(folder / "new.csv", index=False)
    request = PredictRequest(
        model_folder=folder / "run",
        table=folder / "new.csv",
        out=folder / "predicted.csv",
        reasons=2,
    )
    predict_table(request)
    predicted = pd.read_csv(folder / "predicted.csv")
    values = page.values[:, :, page.outputs.index("yes")]
    strongest = np.abs(values).argmax(axis=1)
    assert len({*strongest.tolist()}) > 1, "the case is not trivial"
    names = np.array(page.names)
    assert predicted["reason_1"].tolist() == names[strongest].tolist()
    points = 100 * values[np.arange(len(values)), strongest]
    assert predicted["reason_1_points"].to_numpy() == pytest.approx(points, abs=1e-6)
    first = predicted.iloc[0]
    assert str(first["reason_1_value"]) == str(rows[first["reason_1"]].iloc[0])
    model = pg.load(folder / "run")
    pd.testing.assert_frame_equal(
        model.reasons(rows, n=2)[["reason_1", "reason_2"]],
        predicted[["reason_1", "reason_2"]],
        check_dtype=False,
    )


def test_a_folder_says_which_versions_wrote_it(folder):
    lines = (folder / "run/model/requirements.txt").read_text(encoding="utf-8")
    written_with = read_json(folder / "run/model/model.json")["versions"]
    assert lines.startswith(f"# Written with Python {written_with['python']}.\n")
    pinned = dict(line.split("==") for line in lines.splitlines()[1:])
    assert pinned["permgrad"] == pg.__version__
    assert pinned["numpy"] == np.__version__
    assert set(pinned) <= set(written_with)
    assert "+" not in "".join(pinned.values())
    assert json.dumps(written_with)


def test_reasons_of_a_table_in_parts_are_those_of_one_in_memory(folder):
    rows = visits(20, seed=5).drop(columns="relapse")
    (folder / "parts").mkdir()
    rows.head(50).to_parquet(folder / "parts" / "a.parquet", index=False)
    rows.tail(30).to_parquet(folder / "parts" / "b.parquet", index=False)
    rows.to_csv(folder / "all.csv", index=False)
    usual = {"model_folder": folder / "run", "reasons": 2}
    predict_table(
        PredictRequest(table=folder / "parts", out=folder / "streamed", **usual)
    )
    predict_table(
        PredictRequest(table=folder / "all.csv", out=folder / "all-out.csv", **usual)
    )
    streamed = pd.read_parquet(sorted((folder / "streamed").glob("*.parquet")))
    in_memory = pd.read_csv(folder / "all-out.csv")
    assert list(streamed) == list(in_memory)
    names = [name for name in in_memory if name.startswith("reason")]
    assert len(names) == 6
    for name in names:
        if name.endswith("_points"):
            points = streamed[name].to_numpy()
            assert points == pytest.approx(in_memory[name].to_numpy(), abs=1e-6)
        elif not name.endswith("_value"):
            assert streamed[name].tolist() == in_memory[name].tolist()
