"""What changed between two runs: ``permgrad run --against``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.runs.test_commands import call

from permgrad.assess.assessment import PLACES
from permgrad.assess.store import Store

MODEL = ("--model", "lightgbm", "--target", "end")


def table(seed: int, slope: float = 1.0, rows: int = 3000) -> pd.DataFrame:
    """Return rows, three of each person. ``slope``: what age means."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows // 3, 3)).repeat(3, axis=0)
    chance = 1 / (1 + np.exp(-(1.5 * x[:, 0] + 1.5 * slope * x[:, 1])))
    end = np.where(rng.random(rows) < chance, "bad", "good")
    return pd.DataFrame(x, columns=["income", "age", "noise"]).assign(end=end, person=np.arange(rows) // 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("changed")
    table(0).to_csv(folder / "old.csv", index=False)
    table(1, slope=-1.0).to_csv(folder / "new.csv", index=False)
    call("run", folder / "old.csv", *MODEL, "--row-group", "person", "--out", folder / "old")
    return folder


def lines_of(facts, kind):
    lines = pd.DataFrame(facts["lines"])
    return lines[lines["kind"] == kind].set_index("name")


@pytest.fixture(scope="module")
def later(place):
    options = ("--row-group", "person", "--out", place / "new", "--against", place / "old", "--json")
    return json.loads(call("run", place / "new.csv", *MODEL, *options))


def test_a_run_says_what_changed_since_an_earlier_one(place, later):
    facts = later["changes"]
    assert facts["same_rows"] is False
    assert facts["runs"] == ["old", "new"]
    assert facts["sentence"].startswith("From old to new, the loss (nats) rose by ")
    assert facts["sentence"].endswith(" age clearly matters less.")
    loss = lines_of(facts, "score").loc["loss"]
    told = pd.read_csv(place / "old" / "predictions.csv")
    right = np.where(told["truth"] == "bad", told["probability_bad"], told["probability_good"])
    assert loss["old"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    alone = np.log(right).std(ddof=1) / np.sqrt(len(right))
    assert loss["std"] > alone * np.sqrt(2), "three rows of a person are not three persons"
    assert facts["copies"] == 0
    for text in ((place / "new" / "report.md").read_text(), (place / "new" / "report.html").read_text()):
        assert "the loss (nats) rose by " in text
    stored = Store(place / "new").get(*PLACES["changes"])
    assert stored.lines["change"].tolist() == [line["change"] for line in facts["lines"]]


def test_a_report_reads_the_changes_back(place, later):
    before = (place / "new" / "report.html").read_text()
    call("report", place / "new")
    assert (place / "new" / "report.html").read_text() == before
    assert "What changed" in before
    again = json.loads(call("run", place / "new.csv", *MODEL, "--row-group", "person", "--out", place / "new",
                            "--against", place / "old", "--json"))  # fmt: skip
    assert again["already_finished"]
    assert again["changes"] == later["changes"]


@needs_browser
@pytest.mark.parametrize("width", [390, pytest.param(1400, marks=pytest.mark.slow)])
def test_the_tab_fits_the_screen(later, place, tmp_path, width):
    found = visit(
        (place / "new" / "report.html").read_text(),
        tmp_path,
        "Page.go('changes'); return [document.documentElement.scrollWidth, "
        "document.querySelectorAll('#changes figure svg').length];",
        width=width,
    ).quiet()
    assert found[0] <= width
    assert found[1] >= 2


def test_two_models_on_the_same_rows_are_paired(place):
    other = ("--preset", "fast", "--target", "end", "--row-group", "person", "--out", place / "other")
    facts = json.loads(call("run", place / "old.csv", *other, "--against", place / "old", "--json"))["changes"]
    assert facts["same_rows"] is True
    assert "on the same rows" in facts["sentence"]
    tables = [pd.read_csv(place / name / "predictions.csv") for name in ("old", "other")]
    old, new = (
        -np.log(np.where(one["truth"] == "bad", one["probability_bad"], one["probability_good"])) for one in tables
    )
    loss = lines_of(facts, "score").loc["loss"]
    assert loss["change"] == pytest.approx((new - old).mean(), rel=1e-4)
    people = pd.read_csv(place / "old.csv")["person"].to_numpy()[tables[0]["row"]]
    sums = pd.Series(new - old - (new - old).mean()).groupby(people).sum()
    assert loss["std"] == pytest.approx(np.sqrt((sums**2).sum()) / len(new), rel=0.05)
    assert set(lines_of(facts, "importance").index) == {"income", "age", "noise"}


def refused(place, name, *options, **changed):
    table(1).assign(**changed).to_csv(place / f"{name}.csv", index=False)
    target = () if "--target" in options else ("--target", "end")
    arguments = ("--model", "lightgbm", *target, *options, "--out", place / name, "--against", place / "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("permgrad.runs.run.stages.data_stage", None)
        said = call_refused("run", place / f"{name}.csv", *arguments)
    assert not (place / name).exists(), "refused before work starts"
    return said


def call_refused(*words):
    from typer.testing import CliRunner

    from permgrad.cli import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, result.stdout
    return " ".join(result.stderr.split())


def test_runs_of_another_kind_are_refused_before_work_starts(place):
    assert "has 'debt'" in refused(place, "more", "--drop", "person", debt=np.arange(3000.0) % 7)
    assert "has 'noise'" in refused(place, "fewer", "--drop", "noise", "--drop", "person")
    three = np.resize(["bad", "good", "open"], 3000)
    assert "The runs have other classes: only" in refused(place, "three", "--drop", "person", end=three)
    numbers = np.random.default_rng(0).normal(size=3000)
    assert "The runs have another task" in refused(place, "numbers", "--drop", "person", end=numbers)
    assert "another target" in refused(place, "target", "--target", "noise", "--drop", "person")
    assert "is the run itself" in call_refused("run", place / "old.csv", *MODEL, "--out", place / "old",
                                               "--against", place / "old", "--overwrite")  # fmt: skip
    assert "does not exist" in call_refused("run", place / "old.csv", *MODEL, "--against", place / "none")


def test_runs_that_share_too_few_test_rows_are_refused_before_work_starts(place, monkeypatch):
    monkeypatch.setattr("permgrad.runs.run.stages.data_stage", None)
    monkeypatch.setattr("permgrad.runs.finished.LEAST_ROWS", 500)
    apart = (*MODEL, "--drop", "person", "--split-seed", "7", "--out", place / "apart", "--against", place / "old")
    said = call_refused("run", place / "old.csv", *apart)
    assert "common test rows, too few to compare them. Split both alike" in said
    assert not (place / "apart").exists()
    table(5)[:120].to_csv(place / "short.csv", index=False)
    apart = (*MODEL, "--drop", "person", "--out", place / "apart", "--against", place / "old")
    said = call_refused("run", place / "short.csv", *apart)
    assert "A comparison of the test rows of two tables needs 30 rows of each, got 24" in said
    assert not (place / "apart").exists()


def test_rows_that_the_old_model_may_know_are_told_and_a_table_must_be_as_it_was(place, tmp_path):
    grown = pd.concat([pd.read_csv(place / "old.csv"), table(3, slope=-1.0, rows=300)], ignore_index=True)
    grown.to_csv(tmp_path / "old.csv", index=False)
    options = (*MODEL, "--drop", "person", "--against")
    run = ("run", tmp_path / "old.csv", *options, place / "old", "--out", tmp_path / "grown", "--json")
    found = json.loads(call(*run))
    tested, new = (set(pd.read_csv(run / "predictions.csv")["row"]) for run in (place / "old", tmp_path / "grown"))
    assert found["changes"]["copies"] == len({row for row in new if row < 3000} - tested) > 100
    assert "that it may have been trained on" in (tmp_path / "grown" / "report.html").read_text()
    grown.head(100).to_csv(tmp_path / "old.csv", index=False)
    said = call_refused("run", place / "new.csv", *options, tmp_path / "grown", "--out", tmp_path / "later")
    assert "has changed since the run. Put the file back" in said
