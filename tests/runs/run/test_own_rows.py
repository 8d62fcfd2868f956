"""``permgrad explain RUN`` without a table explains the run's test rows; data sets are
named wherever a TABLE is.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from invoking import call, working_in
from sklearn.datasets import load_iris

import permgrad as pg


def table(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"dose": rng.normal(size=rows), "site": rng.choice(["a", "b"], rows)}
    )
    return frame.assign(
        outcome=(
            frame["dose"] * 2 + (frame["site"] == "a") + rng.normal(0, 0.3, rows)
        ).round(2)
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    with working_in(folder):
        table().to_csv("table.csv", index=False)
        table(30, seed=1).to_csv("later.csv", index=False)
        words = ("--target", "outcome", "--preset", "preset.json")
        call("run", "table.csv", *words, "--out", "run")
        call("run", "diabetes", "--preset", "preset.json", "--out", "named")
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch, tmp_path):
    # Wherever the command is called, the run's table is found.
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["run", "run/model", "tested", "named"])
def test_the_test_rows_are_explained_as_the_run_explained_them(place, run):
    if run == "tested":
        words = (
            "--target",
            "outcome",
            "--preset",
            place / "preset.json",
            "--test",
            place / "later.csv",
        )
        call("run", place / "table.csv", *words, "--out", place / "tested")
    call("explain", place / run, "--out", "why")
    run_explanation, explanation_again = (
        pg.Explanation.load(path)
        for path in (place / run.partition("/")[0] / "explanations/permgrad", "why")
    )
    np.testing.assert_array_equal(run_explanation.values, explanation_again.values)
    rows = pd.read_csv(place / run.partition("/")[0] / "predictions.csv")
    assert explanation_again.meta["rows_explained"] == len(rows) < 120


def test_a_row_is_named_by_its_number_in_the_table(place):
    rows = pd.read_csv(place / "run" / "predictions.csv")["row"].tolist()
    assert rows[3] != 3, "a precondition: its number is not its place"
    printed_output = call(
        "explain", place / "run", "--method", "gradient", "--row", rows[3]
    )
    assert f"row {rows[3]}, truth {table()['outcome'][rows[3]]:g}" in printed_output
    row_explanation = pg.Explanation.load(f"run-gradient-row{rows[3]}")
    every = "all"
    call("explain", place / "run", "--method", "gradient", "--out", every)
    every = pg.Explanation.load(every)
    assert every.meta["rows"] == rows
    np.testing.assert_allclose(row_explanation.values[0], every.values[3], rtol=1e-5)
    training_row = next(row for row in range(120) if row not in rows)
    assert f"Row {training_row} is not a test row of this run" in call(
        "explain", place / "run", "--row", training_row, code=2
    )
    call(
        "explain",
        place / "run",
        "--method",
        "gradient",
        "--max-rows",
        5,
        "--out",
        "five",
    )
    five = pg.Explanation.load("five")
    assert len(five.values) == 5
    assert set(five.meta["rows"]) < set(rows)


def test_a_table_that_is_gone_or_changed_is_told(place):
    record = json.loads((place / "run" / "run.json").read_text())
    assert record["facts"]["sources"] == {"table": str(place / "table.csv")}
    table_file = place / "table.csv"
    content = table_file.read_text()
    table_file.write_text(content.replace("a", "b"))
    message = call("explain", place / "run", "--out", "none", code=2)
    assert (
        "table.csv, has changed since the run. Put the file back. To explain other "
        "rows, name a TABLE" in message
    )
    table_file.unlink()
    message = call("explain", place / "run", "--out", "none", code=2)
    assert (
        "table.csv, no longer exists. Put the file back. To explain other rows, name a "
        "TABLE" in message
    )
    table_file.write_text(content)


def test_a_model_without_a_run_has_no_test_rows():
    X, y = load_iris(return_X_y=True)
    pg.HyNNClassifier(preset="fast", max_epochs=1, random_state=0).fit(X, y).save(
        "alone"
    )
    assert "alone is not a run, so it has no test rows." in call(
        "explain", "alone", code=2
    )


@pytest.mark.slow
def test_a_named_data_set_is_a_table(place):
    call("predict", place / "named", "diabetes", "--out", "all.csv")
    predicted = pd.read_csv("all.csv")
    known_predictions = pd.read_csv(place / "named" / "predictions.csv")
    assert len(predicted) == 442
    np.testing.assert_allclose(
        predicted["prediction"].to_numpy()[known_predictions["row"]],
        known_predictions["prediction"],
        atol=1e-6,
    )
    call(
        "explain",
        place / "named",
        "diabetes",
        "--method",
        "gradient",
        "--out",
        "why",
    )
    assert pg.Explanation.load("why").meta["rows_explained"] == 442
    assert "columns of training are missing: 'dose', 'site'" in call(
        "predict", place / "run", "diabetes", code=2
    )
    pd.DataFrame(pg.load_dataset("diabetes").X).head(5).to_csv("diabetes", index=False)
    call("predict", place / "named", "./diabetes", "--out", "five.csv")
    assert len(pd.read_csv("five.csv")) == 5, "with ./ it is a file"
