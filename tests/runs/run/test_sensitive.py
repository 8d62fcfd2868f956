"""``--sensitive``: a column is audited also where it is left out, and runs keep, resume
and rebuild what was found.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from sklearn.linear_model import LinearRegression, LogisticRegression

import permgrad as pg
from permgrad.assess.read_model import ReadModel, sensitive_columns
from permgrad.base.errors import InputError
from permgrad.base.stored import parse_json
from permgrad.runs.commands.report_command import rebuild_report
from permgrad.runs.requests import ReportRequest, RunRequest
from permgrad.runs.run.run import run_table


def loans(rows: int = 800, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], rows)
    job = np.where(
        rng.random(rows) < 0.9, np.where(sex == "f", "nurse", "driver"), "clerk"
    )
    income = rng.normal(30, 6, rows) + 8 * (sex == "m")
    paid = np.where(
        rng.random(rows) < 1 / (1 + np.exp(-(income - 34) / 3)), "yes", "no"
    )
    age = rng.integers(20, 70, rows)
    return pd.DataFrame(
        {"income": income.round(1), "job": job, "age": age, "sex": sex, "paid": paid}
    )


def request(folder: Path, **changed) -> RunRequest:
    usual = {
        "target": ("paid",),
        "positive": "yes",
        "preset": "fast",
        "drop": ("sex",),
        "sensitive": ("sex", "age"),
    }
    return RunRequest(
        table=str(folder / "loans.csv"), out=folder / "run", **{**usual, **changed}
    )


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("loans")
    loans().to_csv(folder / "loans.csv", index=False)
    run_table(request(folder))
    return folder


def stored(folder: Path) -> dict:
    return parse_json((folder / "run" / "explanations" / "sensitive.json").read_bytes())


def test_rates_at_other_thresholds_stand_below_those_of_the_model(folder):
    sex = stored(folder)["columns"][0]
    predicted = pd.read_csv(folder / "run" / "predictions.csv")
    is_f = loans()["sex"].to_numpy()[predicted["row"]] == "f"
    chance = predicted["probability_yes"].to_numpy()
    lines = [line for line in sex["thresholds"] if line["level"] == "f"]
    assert len(lines) >= 5
    assert [line["threshold"] for line in lines if line["chosen"]] == [0.5]
    for line in lines:
        rate = (chance[is_f] >= line["threshold"]).mean()
        assert line["selection_rate"][0] == pytest.approx(rate)
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "What another threshold would do" in page
    assert "Rates are at a threshold of 50\u00a0%." in page


def test_a_column_that_is_left_out_is_audited_and_said(folder):
    facts = stored(folder)
    sex, age = facts["columns"]
    assert (facts["positive"], sex["column"], age["column"]) == ("yes", "sex", "age")
    assert (sex["is_feature"], age["is_feature"]) == (False, True)
    predicted = pd.read_csv(folder / "run" / "predictions.csv")
    called = predicted["prediction"].to_numpy() == "yes"
    is_f = loans()["sex"].to_numpy()[predicted["row"]] == "f"
    assert sex["measures"][0]["levels"]["f"][0] == pytest.approx(called[is_f].mean())
    assert sex["measures"][0]["levels"]["m"][0] == pytest.approx(called[~is_f].mean())
    assert {"job", "income"} >= set(sex["told_by"]["features"]) >= {"job"}
    assert {reliance_entry["measure"] for reliance_entry in sex["reliance"]} >= {
        "income"
    }
    assert all(
        set(reliance_entry["levels"]) == {"f", "m"}
        for reliance_entry in sex["reliance"]
    )
    rate = sex["measures"][0]
    assert rate["clear"], "precondition: the rates are far apart"
    named = is_f if rate["level"] == "f" else ~is_f
    share = f"{100 * called[named].mean():.0f} %"
    rows = named.sum()
    words = (
        f"The model predicts yes for {share} of the {rows} rows with sex = "
        f"{rate['level']}"
    )
    page, summary = (
        (folder / "run" / name).read_text(encoding="utf-8")
        for name in ("report.html", "report.md")
    )
    verdict = parse_json((folder / "run" / "metrics.json").read_bytes())["verdict"]
    spoken = [
        verdict_entry["sentence"]
        for verdict_entry in verdict
        if verdict_entry["facts"]["kind"] == "levels"
    ]
    assert len(spoken) == 2
    for text in (page, summary, spoken[0]):
        assert words in text.replace("\u00a0", " ")
    assert "demographic parity difference" in page
    assert "job carries the most" in page or "job and income carry the most" in page


@pytest.mark.slow
def test_the_page_is_rebuilt_and_a_run_resumed_with_the_same_section(folder):
    before = stored(folder)
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    rebuild_report(ReportRequest(folder=folder / "run"))
    assert (folder / "run" / "report.html").read_text(encoding="utf-8") == page
    run_table(request(folder, from_stage="explanation"))
    assert stored(folder) == before
    with pytest.raises(InputError, match="sensitive"):
        run_table(request(folder, sensitive=("sex",)))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sensitive": ("gender",)}, r"--sensitive gender: no such column"),
        ({"sensitive": ("paid",)}, "is the target and also named by --sensitive"),
    ],
)
def test_other_columns_are_refused_before_anything_is_written(
    folder, tmp_path, changed, problem
):
    with pytest.raises(InputError, match=problem):
        run_table(_elsewhere(folder, tmp_path, changed))
    assert not (tmp_path / "run").exists()


def _elsewhere(folder: Path, target_folder: Path, changed: dict) -> RunRequest:
    usual = {
        "table": str(folder / "loans.csv"),
        "target": ("paid",),
        "preset": "fast",
        "out": target_folder / "run",
    }
    return RunRequest(**{**usual, **changed})


@pytest.mark.slow
def test_the_test_file_must_have_the_column(folder, tmp_path):
    files = {"test": loans(300, 1), "lacking": loans(200, 2).drop(columns="sex")}
    for name, frame in files.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    changed = {"sensitive": ("sex",), "drop": ("sex",)}
    run_table(_elsewhere(folder, tmp_path, {**changed, "test": tmp_path / "test.csv"}))
    facts = parse_json(
        (tmp_path / "run" / "explanations" / "sensitive.json").read_bytes()
    )
    assert sum(facts["columns"][0]["rows"].values()) == 300
    with pytest.raises(InputError, match="sex"):
        run_table(
            _elsewhere(
                folder, tmp_path / "b", {**changed, "test": tmp_path / "lacking.csv"}
            )
        )


@needs_browser
@pytest.mark.parametrize("width", [390, pytest.param(1400, marks=pytest.mark.slow)])
def test_the_section_is_shown_in_a_browser(folder, tmp_path, width):
    script = """
    location.hash = "#sensitive";
    await new Promise((done) => setTimeout(done, 300));
    const section = document.getElementById("sensitive").closest("section");
    return [section.querySelector("h2,h3").textContent, section.querySelectorAll("table").length,
      document.documentElement.scrollWidth <= innerWidth];
    """
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    title, tables, fits = visit(page, tmp_path, script, width=width).quiet()
    assert title == "Groups of rows"
    assert tables >= 2
    assert fits


# ---- pg.report -----------------------------------------------------------------------
@pytest.fixture(name="fitted", scope="module")
def _fitted():
    frame = loans(600, 3)
    model = LogisticRegression().fit(
        frame[["income", "age"]][:200], frame["paid"][:200]
    )
    return (
        model,
        frame[["income", "age"]][200:],
        frame["paid"][200:],
        frame["sex"][200:],
    )


def test_a_report_takes_labels_and_names(fitted):
    model, X, y, sex = fitted
    page = pg.report(model, X, y, sensitive=sex).html
    assert "By sex" in page
    assert "tell" in page.partition("By sex")[2]
    rows = ReadModel(model, X, y, seed=0, n_repeats=2).rows
    assert sensitive_columns(sex, rows)["sex"].tolist() == sex.tolist()
    assert sensitive_columns("age", rows)["age"].tolist() == X["age"].tolist()
    assert list(sensitive_columns(["age", "income"], rows)) == ["age", "income"]
    named = sensitive_columns(pd.DataFrame({"a": sex, "b": X["age"]}), rows)
    assert (list(named), named["a"].tolist()) == (["a", "b"], sex.tolist())
    assert 'id="sensitive"' not in pg.report(model, X, y).html


@pytest.mark.slow
def test_a_report_of_numbers_and_dependent_rows(fitted):
    _, X, _, sex = fitted
    y = X["age"] + np.random.default_rng(0).normal(0, 3, len(X)) + 6 * (sex == "f")
    model = LinearRegression().fit(X, X["age"])
    page = pg.report(model, X, y, sensitive=sex, row_groups=np.arange(len(X)) // 2).html
    assert "The mean error (truth − prediction) is" in page
    assert "demographic parity" not in page


@pytest.mark.parametrize(
    ("sensitive", "problem"),
    [
        ("sex", "column in sensitive must be one of 'income', 'age'"),
        (["age", "sex"], "column in sensitive must be one of"),
        (np.zeros(5), "sensitive must have one value for each of the 400 rows"),
        (
            pd.DataFrame({"a": [1, 2]}),
            "sensitive must have one value for each of the 400 rows",
        ),
    ],
)
def test_a_report_refuses_other_columns(fitted, sensitive, problem):
    model, X, y, _ = fitted
    with pytest.raises(InputError, match=problem):
        pg.report(model, X, y, sensitive=sensitive)
