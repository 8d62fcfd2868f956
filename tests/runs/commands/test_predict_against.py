"""``permgrad predict --against``: how new rows differ from those of training, or of
another table.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from invoking import call, train_run


def table(rows: int, seed: int, factor: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "price": rng.lognormal(4, 0.5, rows).round(2) * factor,
            "size": rng.normal(80, 15, rows).round(1),
            "shop": rng.choice(["Oslo", "Lund", "Turku"], rows),
            "code": rng.choice([11, 12, 13, 14], rows),
        }
    )
    bought = rng.random(rows) < 1 / (1 + np.exp(2 * np.log(frame["price"]) - 8))
    return frame.assign(outcome=np.where(bought, "yes", "no"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    frame = table(600, 0).assign(case=np.arange(600))
    return train_run(folder, frame, identifier="case", epochs=3)


@pytest.fixture
def new(tmp_path):
    """Prices are a quarter higher, and some rows are of a shop that training did not
    have.
    """
    frame = table(300, 1, factor=1.25)
    frame.loc[:17, "shop"] = "Riga"
    frame.drop(columns="outcome").to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


def test_drift_is_said_first_and_written_beside_the_predictions(run, new, tmp_path):
    out = tmp_path / "predicted.csv"
    said = call("predict", run, new, "--out", out, "--against").splitlines()
    assert said[0].startswith(
        "2 of 4 columns differ clearly between the training and the new rows. price: "
    )
    assert said[0].endswith("; shop: 6 % of the new rows are Riga, a new level.")
    assert said[2] == f"300 rows predicted: {out}"
    file = tmp_path / "predicted-drift.json"
    assert said[-1] == f"Drift: {file}"
    facts = json.loads(file.read_text())
    assert facts["sentences"] == said[:2]
    assert [one["column"] for one in facts["drift"] if one["clear"]] == [
        "price",
        "shop",
    ]
    (line,) = facts["outputs"]
    assert said[1].startswith(f"On average, {line['name']} ")
    column = line["name"].replace(" of ", "_")
    for side, predictions in (("new", out), ("old", run / "predictions.csv")):
        mean = pd.read_csv(predictions)[column].mean()
        assert line[side] == pytest.approx(mean, rel=1e-6)


def test_another_table_can_be_named_and_rows_of_one_law_do_not_differ(
    run, new, tmp_path
):
    table(300, 2).drop(columns="outcome").to_csv(tmp_path / "old.csv", index=False)
    out = tmp_path / "predicted.csv"
    words = ("predict", run, new, "--against", tmp_path / "old.csv", "--out", out)
    facts = json.loads(call(*words, "--json"))
    assert facts["drift"]["against"] == str(tmp_path / "old.csv")
    names = [one["column"] for one in facts["drift"]["drift"] if one["clear"]]
    assert names == ["price", "shop"]
    same = call("predict", run, tmp_path / "old.csv", "--out", out, "--against")
    assert same.startswith(
        "No column differs clearly between the training and the new rows.\n"
    )


def test_a_model_without_its_run_and_a_table_in_parts_are_refused(run, new, tmp_path):
    (run / "training.json").rename(run / "aside.json")
    try:
        said = call("predict", run, new, "--against", code=2)
    finally:
        (run / "aside.json").rename(run / "training.json")
    assert "keeps nothing of its training rows to compare with" in said
    assert "Name a table of earlier rows: --against TABLE." in said
    rows = pd.read_csv(new)
    rows.to_parquet(tmp_path / "new.parquet")
    said = call(
        "predict", run, tmp_path / "new.parquet", "--stream", "--against", code=2
    )
    assert "--against compares a table in memory" in said
