"""Records, cells and contestants."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad_benchmark import ANY, COLUMNS, Contestant, Record, Scores, enrolled
from permgrad_benchmark.contestants import enrol
from permgrad_benchmark.records import (
    cell_path,
    frame_of,
    read_cell,
    read_record,
    write_cell,
    write_records,
)


def some_records():
    return [
        Record(
            "tabular",
            "linear20",
            1,
            "permgrad",
            "total_effect",
            "share_error",
            0.1 + 0.2,
        ),
        Record("tabular", "linear20", 1, "permgrad", ANY, "model_rows", math.nan),
    ]


def test_a_cell_comes_back_as_it_was(tmp_path):
    write_cell(tmp_path, "tabular", "linear20", 1, some_records())
    records_read = read_cell(tmp_path, "tabular", "linear20", 1)
    assert records_read[0] == some_records()[0]
    assert math.isnan(records_read[1].value)
    assert read_cell(tmp_path, "tabular", "linear20", 2) is None
    path = cell_path(tmp_path, "tabular", "linear20", 1)
    path.write_text(path.read_text()[:-30])
    assert read_cell(tmp_path, "tabular", "linear20", 1) is None


def test_the_table_round_trips(tmp_path):
    records = some_records()
    records.append(
        Record.of("multimodal", "F0", 0, "truth", "published", "truth_share:X1", None)
    )
    write_records(tmp_path, records, {"command": "permgrad benchmark"})
    frame = pd.read_csv(tmp_path / "results.csv")
    assert tuple(frame.columns) == COLUMNS
    pd.testing.assert_frame_equal(frame, frame_of(records))
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["command"] == "permgrad benchmark"
    assert stored["records"][0][-1] == 0.1 + 0.2
    assert stored["records"][2][-1] is None
    assert len(records) == 3
    assert list(frame_of([]).columns) == list(COLUMNS)


def test_a_record_is_found_below_the_repository_only(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root / "tests")
    assert read_record("comparison")["cells"]
    monkeypatch.chdir(tmp_path)
    assert read_record("comparison") is None
    assert list(tmp_path.iterdir()) == []


def test_contestants():
    with pytest.raises(
        InputError,
        match=r"one finite number per player, got shape \(2,\) with 1 not finite",
    ):
        Scores(np.array([1.0, math.nan]))
    contestant = Contestant(
        "a",
        "A",
        ANY,
        "peer",
        lambda case: Scores(np.ones(2)),
        needs=("surely_not_installed",),
    )
    assert contestant.missing() == ["surely_not_installed"]
    enrol("a suite of the tests", contestant)
    assert enrolled("a suite of the tests").get("a") is contestant
    with pytest.raises(KeyError, match="registered already"):
        enrol("a suite of the tests", contestant)
