"""Cache and tables of ``benchmarks/quality/comparison.py``, on cells whose answer is
known, and two real ones.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality import _cell_tables as tables
from benchmarks.quality import comparison, image_question
from benchmarks.quality._cells import SETS, SPLITS, Cells, Contender
from sklearn.ensemble import HistGradientBoostingRegressor

LABELS = {"default": "ours", "linear": "a line", "tabm": "TabM"}


def made_up(values: dict[str, dict[str, list[float]]], folder: Path) -> Cells:
    """Cells with these test values; training values are 0.05 better."""
    cells = Cells(folder)
    for model, set_values in values.items():
        for name, tests in set_values.items():
            sign = 1 if tables.higher(name) else -1
            for split, value in zip(SPLITS, tests, strict=False):
                metric = SETS[name]
                cells.found[model, name, split] = {
                    "model": model, "set": name, "split": split, "processor_seconds": 2.0, "fingerprint": "0",
                    "rows": {"train": 600, "validation": 200, "test": 200}, "matmul": "highest",
                    "versions": {"permgrad": "1"}, "date": "2026-01-01T00:00:00",
                    "metrics": {"train": {metric: value + sign * 0.05}, "validation": {metric: value},
                                "test": {metric: value}},
                }  # fmt: skip
    return cells


STEPS = np.array([0.0, 0.003, -0.002, 0.001, 0.004])


@pytest.fixture
def cells(tmp_path):
    high = 0.8 + STEPS
    low = 3.0 - STEPS
    return made_up(
        {
            "default": {"heloc": list(high), "puma": list(low)},
            "linear": {
                "heloc": list(high - 0.02 + STEPS[::-1] / 5),
                "puma": list(low + 0.5 + STEPS[::-1]),
            },
            # Ahead on one set, whose errors are the smaller the better; two cells are
            # not finished.
            "tabm": {
                "heloc": list(high - 0.01 - STEPS[::-1] / 5),
                "puma": list(low - 0.3 + STEPS[::-1])[:3],
            },
        },
        tmp_path,
    )


def test_ranks_know_which_way_is_good(cells):
    ranks, count = tables.ranks(
        cells, ["default", "linear", "tabm"], ["heloc", "puma"], SPLITS
    )
    assert count == 8, "cells that all three have"
    assert ranks == pytest.approx(
        {"default": (5 * 1 + 3 * 2) / 8, "tabm": (5 * 2 + 3 * 1) / 8, "linear": 3.0}
    )
    rows = tables.rank_table(cells, LABELS, ["heloc", "puma"], SPLITS)
    by_model = {row["model"]: row for row in rows}
    assert by_model["ours"]["mean rank"] == "1.00"
    assert by_model["TabM"]["mean rank"] == "–", (
        "what is unfinished has no rank among the finished"
    )
    assert by_model["TabM"]["cells"] == "8 of 10"
    assert by_model["TabM"]["mean rank over the 8 cells that all have"] == "1.62"


def test_differences_are_positive_where_ours_is_better(cells):
    _, set_differences = tables.against_best(
        cells, "default", LABELS, ["heloc", "puma"], SPLITS
    )
    heloc, puma = set_differences
    assert (heloc["best other"], puma["best other"]) == ("tabm", "linear"), (
        "unfinished models are no reference"
    )
    assert heloc["difference"] == pytest.approx(0.01 + np.mean(STEPS) / 5)
    assert puma["difference"] == pytest.approx(0.5 + np.mean(STEPS))
    assert heloc["p_value"] < 0.05
    assert heloc["p_holm"] >= heloc["p_value"]
    _, every = tables.against_all(cells, "default", LABELS, ["puma"], SPLITS)
    behind = next(entry for entry in every if entry["other"] == "tabm")
    assert behind["difference"] < 0
    assert behind["splits"] == 3


def test_gaps_are_positive_where_training_rows_are_better(cells):
    for name in ("heloc", "puma"):
        assert tables.gaps(cells, "default", name, SPLITS) == pytest.approx([0.05] * 5)


def test_the_verdict(cells, tmp_path):
    text, data, met = comparison.page(cells, LABELS, ["heloc", "puma"], SPLITS)
    assert met
    assert (
        "has the best mean rank; significantly behind the best other on: no set; its "
        "longest fit took 2" in text
    )
    assert len(data["cells"]) == 28
    # Finish the other's cells: it is ahead on one of the two sets.
    for split in SPLITS[3:]:
        cells.found["tabm", "puma", split] = json.loads(
            json.dumps(cells.found["tabm", "puma", SPLITS[0]])
        )
    text, _, met = comparison.page(cells, LABELS, ["heloc", "puma"], SPLITS)
    assert not met
    assert "significantly behind the best other on: puma" in text
    assert "ours is BEHIND" in text


def test_the_default_is_compared_with_its_earlier_cells_which_have_no_rank(cells):
    for split, step in zip(SPLITS, STEPS, strict=True):
        for name, sign in (("heloc", 1), ("puma", -1)):
            worse = json.loads(json.dumps(cells.found["default", name, split]))
            metric = SETS[name]
            worse["metrics"]["test"][metric] -= sign * (0.01 + step)
            cells.found["default_before", name, split] = {
                **worse,
                "processor_seconds": 5.0,
            }
    labels = {**LABELS, "default_before": "ours, earlier"}
    text, data, met = comparison.page(cells, labels, ["heloc", "puma"], SPLITS)
    assert met
    assert [entry["set"] for entry in data["against itself before"]] == [
        "heloc",
        "puma",
    ]
    assert all(
        entry["difference"] == pytest.approx(0.01 + np.mean(STEPS))
        for entry in data["against itself before"]
    )
    assert {row["model"] for row in data["mean rank"]} == set(LABELS.values())
    assert {entry["other"] for entry in data["against all"]} == {"linear", "tabm"}
    assert "| 5.0 | 2.0 |" in text


def test_cells_of_a_record_are_not_trained_again(cells, tmp_path):
    _, data, _ = comparison.page(cells, LABELS, ["heloc", "puma"], SPLITS)
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"results": data}))
    read = Cells.read(tmp_path / "cache", record)
    assert {key: cell["metrics"] for key, cell in read.found.items()} == {
        key: cell["metrics"] for key, cell in cells.found.items()
    }
    newer = {**cells.found["linear", "heloc", 42], "processor_seconds": 9.0}
    (tmp_path / "cache").mkdir()
    read.add(newer, {"test": np.zeros(3, dtype=np.float32)})
    again = Cells.read(tmp_path / "cache", record)
    assert again.found["linear", "heloc", 42]["processor_seconds"] == 9.0, (
        "the cache is newer than the record"
    )


def test_peers_settings_for_roc_auc_take_the_place_of_the_defaults(cells):
    for split in SPLITS:
        better = json.loads(json.dumps(cells.found["tabm", "heloc", split]))
        better["metrics"]["test"]["roc_auc"] += 0.05
        cells.found["tabm_logloss", "heloc", split] = better
    text, data, _ = comparison.page(
        cells, {**LABELS, "tabm_logloss": "TabM, log-loss"}, ["heloc"], SPLITS
    )
    plain = data["against best"]
    strict = data["against best, peers stopped on log-loss"]
    assert plain[0]["difference"] > 0 > strict[0]["difference"]
    assert "TabM, log-loss" in text


def test_the_image_question_counts_sides(tmp_path):
    high = 0.8 + STEPS
    cells = made_up(
        {
            "tabular_only": {"heloc": list(high)},
            "image_only": {"heloc": list(high - 0.05 + STEPS[::-1] / 5)},
            "hybrid": {"heloc": list(high + 0.01 + STEPS[::-1] / 5)},
        },
        tmp_path,
    )
    tests = image_question.tests(cells, ["heloc"], SPLITS, of_gaps=False)
    assert {entry["form"]: entry["difference"] > 0 for entry in tests} == {
        "image_only": False,
        "hybrid": True,
    }
    answer = image_question.answer(
        tests, image_question.tests(cells, ["heloc"], SPLITS, of_gaps=True)
    )
    assert (
        "image alone: better than the table alone on no set, worse on heloc" in answer
    )
    assert (
        "table and image: better than the table alone on heloc, worse on no set; a "
        "smaller" in answer
    )
    sides = {
        row["form"]: row for row in image_question.overall(cells, ["heloc"], SPLITS)
    }
    assert sides["table and image"]["ahead of the table alone"] == 5
    assert sides["image alone"]["behind"] == 5


def test_a_cut_off_line_is_no_cell_and_hides_none(tmp_path):
    cells = made_up({"linear": {"heloc": [0.8, 0.7]}}, tmp_path)
    first, second = cells.found.values()
    fresh = Cells(tmp_path)
    fresh.add(first, {"test": np.zeros(3, dtype=np.float32)})
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write('{"model": "linear", "se')
    assert len(Cells.read(tmp_path).found) == 1
    cells_again = Cells.read(tmp_path)
    cells_again.add(second, {"test": np.ones(3, dtype=np.float32)})
    assert set(Cells.read(tmp_path).found) == {
        ("linear", "heloc", 42),
        ("linear", "heloc", 43),
    }
    fresh.update()
    assert len(fresh.found) == 2, "what another process added is seen"
    assert np.load(fresh.predictions("linear", "heloc", 43))["test"].tolist() == [
        1,
        1,
        1,
    ]
    newer = {**first, "processor_seconds": 9.0}
    cells_again.add(newer, {"test": np.zeros(3, dtype=np.float32)})
    assert (
        Cells.read(tmp_path).found["linear", "heloc", 42]["processor_seconds"] == 9.0
    ), "the last line counts"


def test_fingerprints_tell_configurations_apart():
    plain = Contender("a", "a", preset="default")
    assert plain.fingerprint() == Contender("b", "b", preset="default").fingerprint()
    assert plain.fingerprint() != Contender("a", "a", preset="fast").fingerprint()
    assert (
        plain.fingerprint()
        != Contender(
            "a", "a", preset="default", options={"layout": "random"}
        ).fingerprint()
    )


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(
    not Path(os.environ.get("PERMGRAD_DATA", "/none")).is_dir(),
    reason="PERMGRAD_DATA names no folder",
)
def test_real_cells_are_measured_once_and_again_when_asked(
    tmp_path, monkeypatch, capsys
):
    words = ["comparison.py", "--cache", str(tmp_path), "--no-record"]
    words += [
        "--sets",
        "puma",
        "--splits",
        "42",
        "43",
        "--models",
        "linear",
        "histogram_boosting",
    ]
    monkeypatch.setattr(sys, "argv", words)
    assert comparison.main() == 1, "without the default model the floor is not met"
    assert "linear" in capsys.readouterr().out
    first = (tmp_path / "cells.jsonl").read_text()
    assert len(first.splitlines()) == 4
    assert comparison.main() == 1
    assert (tmp_path / "cells.jsonl").read_text() == first, (
        "what is there is not measured again"
    )
    # What LightGBM reaches on split 42 is 3.09; least squares cannot see the waves.
    # scikit-learn takes validation rows, and so stops in time, from 1.7 on.
    stops = "X_val" in inspect.signature(HistGradientBoostingRegressor.fit).parameters
    boosted, line = (
        Cells.read(tmp_path).value(m, "puma", 42)
        for m in ("histogram_boosting", "linear")
    )
    assert boosted == pytest.approx(3.10 if stops else 3.20, abs=0.05)
    assert line > 4
    with np.load(
        Cells.read(tmp_path).predictions("linear", "puma", 42)
    ) as stored_arrays:
        assert stored_arrays["test"].shape == (1639,)
        assert stored_arrays["test"].std() > 1
    monkeypatch.setattr(sys, "argv", [*words, "--refresh", "linear"])
    comparison.main()
    again = [
        json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()
    ]
    assert [cell["model"] for cell in again[4:]] == ["linear", "linear"]
    assert again[4]["metrics"] == again[0]["metrics"]
