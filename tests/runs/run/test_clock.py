"""Tests for permgrad.runs.run.clock: what is planned in which time, and how long a
training is expected to go on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from permgrad.assess import budget
from permgrad.assess.budget import Clock
from permgrad.assess.sections import ranking
from permgrad.base.errors import InputError
from permgrad.data.tasks import REGRESSION
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.train.learner import TrainingOptions
from permgrad.runs.commands.report_command import rebuild_report
from permgrad.runs.requests import ReportRequest, RunRequest
from permgrad.runs.run import clock as clock_module
from permgrad.runs.run import run_training as training
from permgrad.runs.run.clock import (
    EPOCH_ROWS,
    FEWER_MEMBERS,
    ROWS_SEEN,
    expected_epochs,
    plan_training,
    watch_epochs,
)
from permgrad.runs.run.run import run_table

with_epochs = Prepared.with_epochs
OPTIONS = TrainingOptions(max_epochs=60, patience=12)


@pytest.mark.parametrize(
    ("rows", "multiplications", "plan"),
    [
        (6_000, 10**6, (60, 1)),
        (27_126, 10**6, (60, 1)),
        (202_000, 10**6, (25, 3)),
        (1_000_000, 10**6, (17, 10)),
        (6_000, 10**9, (4, 1)),
        (6_000, 10**8, (12, 1)),
    ],
    ids=[
        "small",
        "the largest named set",
        "large",
        "huge",
        "a huge network",
        "a large network",
    ],
)
def test_rows_and_the_network_decide_the_epochs(rows, multiplications, plan):
    assert plan_training(OPTIONS, rows, multiplications, most_seen=ROWS_SEEN) == plan
    assert rows / plan[1] <= EPOCH_ROWS


def test_of_a_preset_that_sees_all_rows_every_epoch_is_trained():
    assert plan_training(OPTIONS, 150_000, 10**6) == (94, 2)


@pytest.mark.parametrize(
    ("rows", "options", "members"),
    [
        (EPOCH_ROWS, {}, None),
        (EPOCH_ROWS + 1, {}, FEWER_MEMBERS),
        (EPOCH_ROWS + 1, {"max_rows": "all"}, None),
        (EPOCH_ROWS + 1, {"preset": "fast"}, None),
    ],
)
def test_a_large_table_is_trained_on_by_fewer_members(rows, options, members):
    inputs = SimpleNamespace(
        parts={"train": range(rows)},
        task=REGRESSION,
        encoder_options={},
        counts=False,
        positive=None,
    )
    network = training.make_estimator(
        RunRequest(table="t.csv", **options), inputs
    ).network
    assert network == (None if members is None else {"members": members})


def test_a_run_on_a_large_table_takes_another_part_in_each_epoch(folder, monkeypatch):
    for module in (clock_module, training):
        monkeypatch.setattr(module, "EPOCH_ROWS", 100)
    planned = []
    monkeypatch.setattr(
        Prepared,
        "with_epochs",
        lambda ready, most, parts=1: (
            planned.append((most, parts)) or with_epochs(ready, 6, parts)
        ),
    )
    request = RunRequest(
        table=str(folder / "t.csv"), target=("y",), out=folder / "parts"
    )
    run_table(request, say=lambda _: None)
    assert planned == [(180, 3)]  # 240 rows: 60 times three epochs of 80
    model_folder = request.folder / "model"
    assert (
        json.loads((model_folder / "model.json").read_text())["network"]["options"][
            "members"
        ]
        == FEWER_MEMBERS
    )
    assert len(np.load(model_folder / "arrays.npz")["history.epoch"]) == 6


def falling(epochs: int, then: int) -> list[float]:
    return [1 / epoch for epoch in range(1, epochs + 1)] + [2.0] * then


@pytest.mark.parametrize(("best", "since"), [(2, 5), (7, 8), (20, 11)])
def test_a_training_that_no_longer_improves_ends_by_its_patience(best, since):
    assert expected_epochs(falling(best, since), 60, 12, 2.0) == max(
        best + 9, best + since + 1
    )
    assert expected_epochs(falling(best, since), 60, 5, 2.0) == max(
        best + 5, best + since + 1
    )


# Validation losses of runs: 44 epochs of Covertype, 20 of Bank. A constant prediction
# has 1.21 and 0.36.
COVERTYPE = [
    0.679,
    0.655,
    0.637,
    0.622,
    0.614,
    0.598,
    0.585,
    0.574,
    0.562,
    0.551,
    0.538,
    0.528,
    0.518,
    0.509,
    0.501,
]
BANK = [
    0.230,
    0.225,
    0.219,
    0.215,
    0.212,
    0.210,
    0.208,
    0.207,
    0.2066,
    0.2062,
    0.2061,
    0.206,
    0.2062,
    0.2064,
    0.2063,
]


def test_a_loss_that_falls_for_long_is_told_from_one_that_flattens():
    long, short = (
        [expected_epochs(losses[:epochs], 60, 12, constant) for epochs in range(1, 16)]
        for losses, constant in ((COVERTYPE, 1.21), (BANK, 0.36))
    )
    assert 20 <= min(long[:5]) <= max(long[:5]) <= 30, "nothing is known yet"
    assert min(long[6:]) >= 35
    assert max(short[5:8]) <= 30
    assert 18 <= min(short[8:]) <= max(short[8:]) <= 27


def test_the_more_noise_a_target_has_the_sooner_a_training_ends():
    left = [
        expected_epochs(BANK[:8], 60, 12, constant)
        for constant in (0.25, 0.36, 1.0, 9.0)
    ]
    assert left == sorted(left)
    assert left[0] == 8 + 9, "nearly all of the loss is noise"
    assert left[-1] > 1.5 * left[1]


def test_a_training_that_still_improves_is_expected_to_go_on():
    assert expected_epochs(falling(15, 0), 60, 12, 2.0) > 40
    assert expected_epochs(falling(30, 0), 60, 12, 2.0) == 60
    assert expected_epochs(falling(15, 0), 60, None, 2.0) == 60
    assert expected_epochs(falling(15, 2), 60, 12, 2.0) > 35, (
        "a loss that pauses may fall again"
    )


def test_before_a_training_tells_its_end_a_usual_one_is_expected():
    assert expected_epochs([], 60, 12, 2.0) == 28
    # Validation rows of one class, as the latest rows of a table may be: a constant has
    # no loss to be reduced.
    assert 9 <= expected_epochs(falling(15, 0), 60, 12, 0.0) <= 60
    assert expected_epochs([], 8, 12, 2.0) == 8
    assert 20 <= expected_epochs([1.0, 0.98, 0.97], 60, 12, 2.0) <= 35


@pytest.mark.parametrize(
    "losses",
    [[0.0] * 5, [math.inf, 0.5, 0.4, 0.3], [0.5, math.nan], [math.inf] * 3, [3.0, 2.9]],
)
def test_losses_of_any_size_give_a_number_of_epochs(losses):
    assert len(losses) < expected_epochs(losses, 60, 12, 1.0) <= 60


class Machine:
    """A clock that only ``work`` moves, in the place of time.monotonic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(budget.time, "monotonic", lambda: self.now)

    def epochs(
        self,
        limit: float,
        pace: Callable[[int], float],
        *,
        first: float = 1.0,
        reserved: float = 0.0,
    ) -> Any:
        """Train epochs whose seconds are a function of their number until the watcher
        ends them.
        """
        clock = Clock(limit=limit, started=self.now)
        answers = list[int]()
        clock.per_row = first / 500
        watch = watch_epochs(clock, OPTIONS, 500, lambda: reserved, 2.0)
        most = OPTIONS.max_epochs
        for loss in falling(60, 0):
            self.now += (seconds := pace(len(answers)))
            answer = watch({"validation_loss": loss, "seconds": seconds})
            assert answer is not None
            most = len(answers) + 1 if answer is True else answer
            answers.append(most)
            if len(answers) >= most:
                break
        return clock, answers


def test_a_training_ends_when_its_time_is_over(monkeypatch):
    clock, answers = Machine(monkeypatch).epochs(
        100.0, lambda epoch: 4.0, reserved=20.0
    )
    assert answers == [20] * 20
    assert clock.cut == ["training after 20 of 60 epochs"]
    assert clock.left() == 20.0
    assert clock.facts() == {"limit": 100.0, "thorough": False, "cut": clock.cut}


def test_a_machine_that_is_busy_at_first_cuts_no_epoch_in_advance(monkeypatch):
    clock, answers = Machine(monkeypatch).epochs(
        300.0, lambda epoch: 20.0 if epoch < 5 else 2.0, first=20.0
    )
    assert answers[0] == 15
    assert answers[-1] == len(answers) == 60
    assert clock.cut == []
    assert clock.per_row == 2.0 / 500


def test_a_machine_that_becomes_busy_ends_in_time(monkeypatch):
    clock, answers = Machine(monkeypatch).epochs(
        100.0, lambda epoch: 2.0 if epoch < 10 else 8.0
    )
    assert 16 <= len(answers) <= 21
    assert 0 <= clock.left() < 8
    assert clock.cut == [f"training after {len(answers)} of 60 epochs"]


def test_without_a_limit_the_pace_changes_nothing(monkeypatch):
    paces = (lambda epoch: 0.1, lambda epoch: 1e5 if epoch % 2 else 1.0)
    for clock, answers in (
        Machine(monkeypatch).epochs(math.inf, pace) for pace in paces
    ):
        assert answers == [60] * 60
        assert clock.cut == []


def test_branches_beside_the_network_are_in_the_time_left():
    clock = Clock()
    seen = watch_epochs(clock, OPTIONS, 500, lambda: 0.0, 2.0, extra_epochs=4)
    for loss in falling(60, 0):
        seen({"validation_loss": loss, "seconds": 2.0})
    assert clock.whole._left[0] == 8.0


def test_one_slow_epoch_does_not_change_the_time_left():
    clock = Clock()
    epoch_watcher = watch_epochs(clock, OPTIONS, 500, lambda: 0.0, 2.0)
    left = []
    for loss, seconds in zip(falling(8, 0), [1, 1, 1, 1, 1, 9, 1, 1], strict=True):
        epoch_watcher({"validation_loss": loss, "seconds": seconds})
        left.append(clock.whole._left[0])
    assert max(left) < 60


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2 h", 7200)]
)
def test_times_that_are_written(text, seconds):
    assert RunRequest(table="t.csv", time_limit=text).seconds_at_most == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "soon", "5 parsecs", "1e3", "nan"])
def test_times_that_are_none(text):
    with pytest.raises(
        InputError, match="--time-limit must be a time of at least a second"
    ):
        RunRequest(table="t.csv", time_limit=text).check()


def test_thorough_and_a_limit():
    assert RunRequest(table="t.csv").seconds_at_most == math.inf
    with pytest.raises(
        InputError, match="--max-rows all and --time-limit cannot be combined"
    ):
        RunRequest(table="t.csv", max_rows="all", time_limit="5m").check()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, and a file of more test rows than are explained."""
    draw = np.random.default_rng(0)
    base_folder = tmp_path_factory.mktemp("clock")
    for name, rows in (("t.csv", 400), ("test.csv", 2300)):
        frame = pd.DataFrame(draw.normal(size=(rows, 3)), columns=list("abc"))
        frame.assign(
            y=frame["a"] + frame["b"] * frame["c"] + draw.normal(size=rows)
        ).to_csv(base_folder / name, index=False)
    return base_folder


@pytest.mark.slow
def test_the_plan_is_said_and_the_limit_is_recorded(folder, monkeypatch):
    monkeypatch.setattr(budget, "AT_ONCE", 1500)
    monkeypatch.setattr(ranking, "AT_ONCE", 1500)
    progress_lines: list[str] = []
    request = RunRequest(
        table=str(folder / "t.csv"),
        test=folder / "test.csv",
        target=("y",),
        preset="fast",
        out=folder / "out",
    )
    facts = run_table(request, say=progress_lines.append).facts
    assert facts["time"] == {"limit": None, "thorough": False, "cut": []}
    (plan,) = [line for line in progress_lines if "plan: " in line]
    assert all(word in plan for word in ("training", "explanation", "report"))
    meta = json.loads(
        (request.folder / "explanations" / "permgrad" / "explanation.json").read_text()
    )["meta"]
    assert meta["rows_explained"] == budget.FIRST_ROWS
    assert "  importances are computed on 1,000 of 2,300 test rows" in progress_lines

    # A fast network of so few rows has learned all within a second.
    limited = replace(
        request, preset="default", time_limit="1s", out=folder / "limited"
    )
    facts = run_table(limited, say=progress_lines.append).facts
    assert facts["time"]["limit"] == 1.0
    assert facts["time"]["cut"], "one second is too little for this table"
    assert all(
        f"note: the time limit cut the {words}" in progress_lines
        for words in facts["time"]["cut"]
    )
    assert len(pd.read_csv(Path(facts["folder"]) / "history.csv")) < 20
    # The page says so, too, also when it is written again.
    assert any(words.startswith("training") for words in facts["time"]["cut"])
    rebuild_report(ReportRequest(folder=limited.folder))
    for name in ("report.html", "report.md"):
        written = (limited.folder / name).read_text().replace("&#39;", "'")
        assert all(
            f"The time limit cut the {words}." in written
            for words in facts["time"]["cut"]
        )
    assert "The time limit cut" not in (request.folder / "report.md").read_text()
