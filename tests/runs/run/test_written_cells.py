"""Codes that are declared as categories, and identifiers, stay as they are written in a
CSV file.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest
from invoking import call

from permgrad.base.csv_files import csv_text
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.predicting import prediction_table
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_splitting import PARTS
from permgrad.runs.run_documents import read_like


def table(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(size=rows), "patient": rng.integers(0, 40, rows)}
    )
    return frame.assign(
        year=rng.integers(2000, 2020, rows), y=np.where(frame["age"] > 0, "yes", "no")
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().to_csv("table.csv", index=False)
    return tmp_path


def load(**options):
    return load_inputs(RunRequest(table="table.csv", target=("y",), **options))


def coded(cells, rows: int = 200) -> None:
    table(rows).assign(town=np.resize(cells, rows)).to_csv("table.csv", index=False)


@pytest.mark.parametrize(
    ("cells", "levels"),
    [
        (["007", "7", "07", "8"], {"007", "7", "07", "8"}),
        (["007", "008", ""], {"007", "008"}),
        (["7.10", "7.1", "8"], {"7.10", "7.1", "8"}),
        (["7.10", "8.2"], {"7.10", "8.2"}),
        (["7,10", "7,1"], {"7,10", "7,1"}),
        (["1e3", "1000"], {"1e3", "1000"}),
        (["-9", "07", "8"], {"-9", "07", "8"}),
        (["1", "2", ""], {"1", "2"}),
        (["1.0", "2.0", ""], {"1.0", "2.0"}),
        (["1.500,25", "20,50"], {"1.500,25", "20,50"}),
        (["5 %", "7 %"], {"5 %", "7 %"}),
    ],
)
def test_declared_codes_stay_as_they_are_written(here, cells, levels):
    coded(cells)
    inputs = load(kind=("town=categorical",), na=("-9",), test=Path("table.csv"))
    for part_name in PARTS:
        assert set(inputs.parts[part_name].frame["town"].dropna()) == levels
    assert inputs.schema["town"].n_levels == len(levels - {"-9"})
    assert "town" in inputs.texts
    later = read_like(
        Path("table.csv"), {"texts": inputs.texts, "decimal": inputs.decimal}
    ).frame
    assert set(later["town"].dropna()) == levels
    undeclared = load(na=("-9",)).parts["train"].frame
    assert "town" not in undeclared or pd.api.types.is_numeric_dtype(
        undeclared["town"]
    ), "nobody said so"


@pytest.mark.parametrize(
    "cells",
    [
        ["00036", "36", "7"],
        ["7.10", "7.1", ""],
        ["+49170", "49170"],
        ["7,10", "8"],
        ["17.0", "18.0"],
        ["TRUE", "True"],
        ["17", "", "18"],
        ["17", "18", "19"],
        ["a07", "7"],
    ],
)
def test_identifiers_stay_as_they_are_written(here, cells):
    coded(cells)
    inputs = load(identifier=("town",), test=Path("table.csv"))
    for part_name in PARTS:
        part_rows = inputs.parts[part_name]
        assert shown(part_rows.numbers, part_rows.identifiers) == [
            np.resize(cells, 200)[row] for row in part_rows.numbers
        ]
    later = read_like(Path("table.csv"), {"identifiers": ["town"]}).frame[["town"]]
    assert shown(np.arange(200), later) == np.resize(cells, 200).tolist()


def shown(rows, identifiers: pd.DataFrame) -> list[str]:
    """Return the identifiers among predictions as they are written."""
    text, _ = csv_text(
        prediction_table(rows, identifiers, {"prediction": np.zeros(len(rows))}, None)
    )
    return [row["town"] for row in csv.DictReader(io.StringIO(text))]


def test_a_file_is_read_once(here, monkeypatch):
    coded(["007", "7", "07", "8"])
    read = []
    parsed = pyarrow.csv.read_csv
    monkeypatch.setattr(
        pyarrow.csv,
        "read_csv",
        lambda *parts, **options: read.append(1) or parsed(*parts, **options),
    )
    load(identifier=("patient",), kind=("year=categorical", "town=categorical"))
    assert len(read) == 1


def test_run_predict_and_explain_tell_codes_apart(here):
    cells = np.resize(["007", "7", "07", "8"], 200)
    rows = table().assign(
        code=cells, nr=[f"{i:05}" for i in range(200)], y=np.isin(cells, ["007", "8"])
    )
    rows.drop(columns=["patient", "year"]).to_csv("codes.csv", index=False)
    words = [
        "--target",
        "y",
        "--preset",
        "fast",
        "--kind",
        "code=categorical",
        "--id",
        "nr",
    ]
    call("run", "codes.csv", *words, "--out", "run")
    predictions = pd.read_csv("run/predictions.csv", dtype=str)
    assert predictions["nr"].tolist() == [
        f"{int(row):05}" for row in predictions["row"]
    ]
    call("predict", "run", "codes.csv", "--out", "all.csv")
    all_predictions = pd.read_csv("all.csv", dtype=str)
    assert all_predictions["nr"].tolist() == rows["nr"].tolist()
    assert (
        all_predictions["prediction"]
        == all_predictions["prediction"].iloc[:4].tolist() * 50
    ).all()
    assert all_predictions["prediction"].iloc[:4].tolist() == [
        "True",
        "False",
        "False",
        "True",
    ]
    assert "\n50 rows explained." in call(
        "explain",
        "run",
        "codes.csv",
        "--method",
        "gradient",
        "--max-rows",
        50,
        "--out",
        "explained",
    )
