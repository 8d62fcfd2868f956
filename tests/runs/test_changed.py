"""What changed between two runs: ``permgrad report --against``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.runs.test_commands import call

MODEL = ("--model", "lightgbm", "--target", "end")
ROWS = 1800


def table(seed: int, slope: float = 1.0, rows: int = ROWS) -> pd.DataFrame:
    """Return rows, three of each person. ``slope``: what age means."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows // 3, 3)).repeat(3, axis=0)
    chance = 1 / (1 + np.exp(-(1.5 * x[:, 0] + 1.5 * slope * x[:, 1])))
    end = np.where(rng.random(rows) < chance, "bad", "good")
    return pd.DataFrame(x, columns=["income", "age", "noise"]).assign(
        end=end, person=np.arange(rows) // 3
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("changed")
    table(0).to_csv(folder / "old.csv", index=False)
    table(1, slope=-1.0).to_csv(folder / "new.csv", index=False)
    call(
        "run",
        folder / "old.csv",
        *MODEL,
        "--row-group",
        "person",
        "--out",
        folder / "old",
    )
    return folder


def lines_of(facts, kind):
    lines = pd.DataFrame(facts["lines"])
    return lines[lines["kind"] == kind].set_index("name")


@pytest.fixture(scope="module")
def later(place):
    call(
        "run",
        place / "new.csv",
        *MODEL,
        "--row-group",
        "person",
        "--out",
        place / "new",
    )
    return json.loads(
        call("report", place / "new", "--against", place / "old", "--json")
    )


def test_a_run_says_what_changed_since_an_earlier_one(place, later):
    facts = later["changes"]
    assert facts["same_rows"] is False
    assert facts["runs"] == ["old", "new"]
    same = "No column differs clearly between the old and the new rows. "
    loss_first = f"{same}From old to new, the log loss rose by "
    assert facts["sentence"].startswith(loss_first)
    assert facts["sentence"].endswith(" age clearly matters less.")
    loss = lines_of(facts, "score").loc["loss"]
    old_predictions = pd.read_csv(place / "old" / "predictions.csv")
    right = np.where(
        old_predictions["truth"] == "bad",
        old_predictions["probability_bad"],
        old_predictions["probability_good"],
    )
    assert loss["old"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    alone = np.log(right).std(ddof=1) / np.sqrt(len(right))
    assert loss["std_error"] > alone * np.sqrt(2), (
        "three rows of a person are not three persons"
    )
    assert facts["copies"] == 0
    for text in (
        (place / "new" / "report.md").read_text(),
        (place / "new" / "report.html").read_text(),
    ):
        assert "the log loss rose by " in text


def test_the_finished_run_says_it_until_its_report_is_written_again(
    place, later, tmp_path
):
    shutil.copytree(place / "new", tmp_path / "new")
    run = (
        "run",
        place / "new.csv",
        *MODEL,
        "--row-group",
        "person",
        "--out",
        tmp_path / "new",
        "--json",
    )
    again = json.loads(call(*run))
    assert again["already_finished"]
    assert again["changes"]["lines"] == later["changes"]["lines"]
    other_page = tmp_path / "elsewhere.html"
    call("report", tmp_path / "new", "--out", other_page)
    assert "What changed" not in other_page.read_text()
    assert "What changed" in (tmp_path / "new" / "report.html").read_text()
    assert (
        call("report", tmp_path / "new")
        == f"Report: {tmp_path / 'new' / 'report.html'}\n"
    )
    assert "changes" not in json.loads(call(*run))


@needs_browser
@pytest.mark.parametrize("width", [390, pytest.param(1400, marks=pytest.mark.slow)])
def test_the_tab_fits_the_screen(later, place, tmp_path, width):
    visit_facts = visit(
        (place / "new" / "report.html").read_text(),
        tmp_path,
        "Page.go('changes'); return [document.documentElement.scrollWidth, "
        "document.querySelectorAll('#changes figure svg').length];",
        width=width,
    ).quiet()
    assert visit_facts[0] <= width
    assert visit_facts[1] == 1


def test_two_models_on_the_same_rows_are_paired(place):
    other_words = (
        "--preset",
        "fast",
        "--target",
        "end",
        "--row-group",
        "person",
        "--out",
        place / "other",
    )
    call("run", place / "old.csv", *other_words)
    printed_output = call("report", place / "other", "--against", place / "old")
    assert printed_output.startswith("From old to other, the log loss ")
    facts = json.loads(
        call("report", place / "other", "--against", place / "old", "--json")
    )["changes"]
    assert facts["same_rows"] is True
    assert "on the same rows" in facts["sentence"]
    tables = [
        pd.read_csv(place / name / "predictions.csv") for name in ("old", "other")
    ]
    old, new = (
        -np.log(
            np.where(
                one["truth"] == "bad", one["probability_bad"], one["probability_good"]
            )
        )
        for one in tables
    )
    loss = lines_of(facts, "score").loc["loss"]
    assert loss["change"] == pytest.approx((new - old).mean(), rel=1e-4)
    people = pd.read_csv(place / "old.csv")["person"].to_numpy()[tables[0]["row"]]
    sums = pd.Series(new - old - (new - old).mean()).groupby(people).sum()
    assert loss["std_error"] == pytest.approx(
        np.sqrt((sums**2).sum()) / len(new), rel=0.05
    )
    assert set(lines_of(facts, "importance").index) == {"income", "age", "noise"}


def refused(base_folder, name, *options, **changed):
    table(1)[: changed.pop("rows", 300)].assign(**changed).to_csv(
        base_folder / f"{name}.csv", index=False
    )
    target = () if "--target" in options else ("--target", "end")
    call(
        "run",
        base_folder / f"{name}.csv",
        "--model",
        "lightgbm",
        *target,
        *options,
        "--out",
        base_folder / name,
    )
    page = (base_folder / name / "report.html").read_bytes()
    message = call_refused(
        "report", base_folder / name, "--against", base_folder / "old"
    )
    assert (base_folder / name / "report.html").read_bytes() == page
    return message


def call_refused(*words):
    from typer.testing import CliRunner

    from permgrad.cli import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, result.stdout
    return " ".join(result.stderr.split())


def test_runs_of_another_kind_are_refused(place):
    assert "has 'debt'" in refused(
        place, "more", "--drop", "person", debt=np.arange(300.0) % 7
    )
    assert "has 'noise'" in refused(
        place, "fewer", "--drop", "noise", "--drop", "person"
    )
    three = np.resize(["bad", "good", "open"], 300)
    assert "The runs have other classes: only" in refused(
        place, "three", "--drop", "person", end=three
    )
    assert "another target" in refused(
        place, "target", "--target", "noise", "--drop", "person"
    )
    assert "is the run itself" in call_refused(
        "report", place / "old", "--against", place / "old"
    )
    assert "does not exist" in call_refused(
        "report", place / "old", "--against", place / "none"
    )


def test_runs_that_share_too_few_test_rows_are_refused(place, monkeypatch):
    message = refused(place, "short", "--drop", "person", rows=120)
    assert "changes needs 30 rows in each sample" in message
    call("run", place / "old.csv", *MODEL, "--drop", "person", "--out", place / "apart")
    monkeypatch.setattr("permgrad.runs.commands.report_command._LEAST_ROWS", 500)
    message = call_refused("report", place / "apart", "--against", place / "old")
    assert "common test rows, too few to compare them. Split both alike" in message


def test_rows_that_the_old_model_may_know_are_told_and_a_table_must_be_as_it_was(
    place, tmp_path
):
    grown = pd.concat(
        [pd.read_csv(place / "old.csv"), table(3, slope=-1.0, rows=300)],
        ignore_index=True,
    )
    grown.to_csv(tmp_path / "old.csv", index=False)
    options = (*MODEL, "--drop", "person", "--out")
    call("run", tmp_path / "old.csv", *options, tmp_path / "grown")
    report_facts = json.loads(
        call("report", tmp_path / "grown", "--against", place / "old", "--json")
    )
    tested, new = (
        set(pd.read_csv(run / "predictions.csv")["row"])
        for run in (place / "old", tmp_path / "grown")
    )
    assert (
        report_facts["changes"]["copies"]
        == len({row for row in new if row < ROWS} - tested)
        > 100
    )
    assert (
        "that it may have been trained on"
        in (tmp_path / "grown" / "report.html").read_text()
    )
    grown.head(100).to_csv(tmp_path / "old.csv", index=False)
    call("run", place / "new.csv", *options, tmp_path / "later")
    message = call_refused(
        "report", tmp_path / "later", "--against", tmp_path / "grown"
    )
    assert "has changed since the run. Put the file back" in message
