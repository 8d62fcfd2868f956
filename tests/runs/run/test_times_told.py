"""What a run says of time: reading counts, training resumes from an epoch, baselines
are estimated or left out.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad.assess.budget import Budget
from permgrad.base.errors import InputError
from permgrad.evaluation.baselines.fitting import Baseline
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import run as module
from permgrad.runs.run import run_work as work
from permgrad.runs.run import stages
from permgrad.runs.run.run import run_table


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(90, 3)), columns=list("abc"))
    frame.assign(y=np.where(frame["a"] > 0, "yes", "no")).to_csv("t.csv", index=False)
    return tmp_path


ASKED = RunRequest(table="t.csv", target=("y",), preset="fast", out=Path("out"))


def stop(*_: object, **__: object) -> None:
    raise InputError("far enough")


def said_by(request: RunRequest, error: type[BaseException] = InputError) -> list[str]:
    progress_lines: list[str] = []
    with pytest.raises(error):
        run_table(request, say=progress_lines.append)
    return progress_lines


def test_reading_is_part_of_the_time_of_the_data_stage(here, monkeypatch):
    load = module.load_inputs

    def slowly(request):
        time.sleep(0.4)
        return load(request)

    monkeypatch.setattr(module, "load_inputs", slowly)
    monkeypatch.setattr(work, "TOLD_SECONDS", 0.4)
    monkeypatch.setitem(stages.STAGE_WORK, "layout", stop)
    progress_lines = said_by(ASKED)
    seconds = json.loads(Path("out/run.json").read_text())["stages"]["data"]["seconds"]
    assert seconds >= 0.4
    assert f"  data took {seconds:.1f} s" in progress_lines


def test_an_interrupted_training_says_from_which_epoch_it_resumes(here, monkeypatch):
    from permgrad.models.train import checkpoint as training_loop

    written: list[int] = []
    write = training_loop.write_checkpoint

    def interrupted(path, state):
        write(path, state)
        written.append(len(state["history"]))
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_loop, "write_checkpoint", interrupted)
    first = said_by(ASKED, KeyboardInterrupt)
    assert written == [1, 2, 3]
    assert not any("resumes" in line for line in first)
    assert any("for 20 epochs" in line for line in first)
    monkeypatch.setattr(work.RunWork, "measure", stop)
    second = said_by(ASKED)
    assert "  training resumes from epoch 4: 3 epochs were done before" in second
    assert any("for 17 epochs" in line for line in second), (
        "the time is that of the rest"
    )
    assert written[3] == 4


def test_the_time_of_baselines_is_estimated_and_one_left_out_is_told(here, monkeypatch):
    monkeypatch.setattr(
        Baseline, "available", lambda self: self.name in ("linear", "extra_trees")
    )
    monkeypatch.setattr(work.RunWork, "measure", stop)
    progress_lines = said_by(replace(ASKED, baselines=("usual",)))
    assert [line for line in progress_lines if "xgboost" in line] == [
        (
            "note: xgboost is left out, because xgboost is not installed: pip install "
            "'permgrad[boost]'"
        )
    ]
    (estimate,) = [
        line for line in progress_lines if line.startswith("  baselines: about ")
    ]
    assert estimate.endswith(" s for extra_trees, linear")
    assert not any(
        "baselines" in line for line in said_by(replace(ASKED, overwrite=True))
    )


def test_a_comparison_says_which_usual_model_is_not_installed(monkeypatch):
    from permgrad.runs.compare.comparison_plan import make_plan

    assert make_plan([]).notes == ()
    monkeypatch.setattr(Baseline, "available", lambda self: self.name != "lightgbm")
    expected_note = (
        "lightgbm is left out, because lightgbm is not installed: pip "
        "install 'permgrad[boost]'"
    )
    assert make_plan([]).notes == (expected_note,)
    assert make_plan(["default", "linear"]).notes == ()


@pytest.mark.parametrize(
    ("features", "repeats", "direction"),
    [(10, "auto", True), (1000, "auto", True), (2001, 2, False), (10_000, 2, False)],
)
def test_wide_tables_get_fewer_donors_and_no_directions(features, repeats, direction):
    progress_lines: list[str] = []
    options = Budget(say=progress_lines.append).ranking_options(features)
    assert options["n_repeats"] == repeats
    assert options["method"].settings()["direction"] is direction
    assert len(progress_lines) == 2 * (features > 2000)


def test_a_run_that_is_repeated_has_the_same_files_but_for_its_times(here):
    files = []
    for number in range(2):
        run_table(
            replace(ASKED, baselines=("linear", "extra_trees")), say=lambda _: None
        )
        folder = Path("out").rename(f"run {number}")
        files.append(
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        )
    first, second = files
    assert set(first) == set(second)
    differing = {name for name in first if first[name] != second[name]}
    assert {Path(name).name for name in differing} == {"times.json", "run.json"}
    assert {"times.json", "model/times.json"} <= differing, (
        "the precondition: the clock differs"
    )
    times = json.loads(second["times.json"])["baselines"]["extra_trees"]
    assert times["fit_seconds"] > 0
    assert times["fit_processor_seconds"] > 0
    assert "seconds" not in second["metrics.json"].decode()
