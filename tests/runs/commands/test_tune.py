"""permgrad tune: a study of a few trials, its files, what it refuses, and that killing
changes nothing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call
from typer.testing import CliRunner

from permgrad.base.errors import differences
from permgrad.cli import app
from permgrad.runs.requests import TuneRequest
from permgrad.tuning import get_space
from permgrad.tuning.study import at_work, finished

optuna = pytest.importorskip("optuna")

#: A base preset that learns too slowly, so that something better is found.
BASE = {"base": "fast", "learning_rate": 1e-4, "max_epochs": 3}
SPACE = {
    "parameters": {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "network.dropout": {"low": 0.0, "high": 0.4},
        "network.dense_units.depth": {"low": 1, "high": 2},
        "layout": {"choices": ["assignment", "random"]},
        "max_epochs": {"choices": [2, 3, 20]},
    },
}
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
KILLS = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, 200), "dose": rng.uniform(0, 1, 200)}
    )
    frame["town"] = rng.choice(["Bonn", "Ulm"], 200)
    frame["score"] = (
        frame["age"] / 10 + np.sin(6 * frame["dose"]) + 0.3 * rng.normal(size=200)
    )
    frame["ill"] = np.where(frame["score"] > 5.4, "yes", "no")
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "base.json").write_text(json.dumps(BASE))
    (folder / "space.json").write_text(
        json.dumps(SPACE | {"base": str(folder / "base.json")})
    )
    return folder


def words(base_folder: Path, out: Path, trials: int = 4) -> list[object]:
    study_options = [
        "--target",
        "ill",
        "--drop",
        "score",
        "--space",
        base_folder / "space.json",
    ]
    return [
        "tune",
        base_folder / "table.csv",
        *study_options,
        "--trials",
        trials,
        "--out",
        out,
        "--threads",
        1,
    ]


@pytest.fixture(scope="module")
def tuned(place):
    """A finished study of four trials."""
    call(*words(place, place / "study"))
    return place / "study"


def test_a_changed_byte_of_a_finished_study_is_noticed(place, tuned):
    assert "Nothing was changed" in call(*words(place, tuned))
    for name in ("trials.csv", "preset.json", "tuning.html"):
        content = (tuned / name).read_bytes()
        (tuned / name).write_bytes(content.replace(b"e", b"3", 1))
        assert "Nothing was changed" not in call(*words(place, tuned))
        assert (tuned / name).read_bytes() == content, name
    assert "Nothing was changed" in call(*words(place, tuned))


# ---- what it leaves ------------------------------------------------------------------
def test_the_folder_holds_the_study_and_a_run(tuned):
    names = {path.name for path in tuned.iterdir()}
    assert {
        "trials.csv",
        "preset.json",
        "tuning.html",
        "tune.json",
        "study.db",
        "trials",
    } <= names
    assert {
        "run.json",
        "report.html",
        "metrics.json",
        "model",
        "explanations",
        "predictions.csv",
    } <= names
    table = pd.read_csv(tuned / "trials.csv")
    assert list(table["trial"]) == [0, 1, 2, 3]
    assert set(SPACE["parameters"]) <= set(table.columns)
    for trial in range(4):
        losses = pd.read_csv(tuned / "trials" / str(trial) / "history.csv")[
            "validation_loss"
        ]
        assert (
            losses[table["best_epoch"][trial] - 1]
            == table["validation_loss"][trial]
            == losses.min()
        )
        assert {path.name for path in (tuned / "trials" / str(trial)).iterdir()} == {
            "preset.json",
            "history.csv",
        }
    finished = json.loads((tuned / "tune.json").read_text())["finished"]
    assert finished["best"] == table["validation_loss"].idxmin()
    best = tuned / "trials" / str(finished["best"])
    assert (best / "preset.json").read_text() == (tuned / "preset.json").read_text()
    # It is trained once more, which gives the same epochs.
    assert (best / "history.csv").read_bytes() == (tuned / "history.csv").read_bytes()


def test_trial_0_is_the_base_preset_itself(place, tuned):
    run_options = [
        "--target",
        "ill",
        "--drop",
        "score",
        "--preset",
        place / "base.json",
        "--out",
        place / "base",
    ]
    call("run", place / "table.csv", *run_options)
    assert (tuned / "trials/0/history.csv").read_bytes() == (
        place / "base/history.csv"
    ).read_bytes()


def test_a_run_of_the_preset_is_the_winner_again(place, tuned, tmp_path):
    finished = json.loads((tuned / "tune.json").read_text())["finished"]
    assert finished["best"] != 0, "the precondition: the winner is not the base preset"
    command_words = finished["again"].split()
    assert command_words[:2] == ["permgrad", "run"]
    call(*command_words[1:], "--out", tmp_path / "again")
    for name in ("model/weights.safetensors", "predictions.csv", "importance.csv"):
        assert (tuned / name).read_bytes() == (
            tmp_path / "again" / name
        ).read_bytes(), name


def test_other_commands_take_the_folder(place, tuned, tmp_path):
    assert "Report" in call("report", tuned)
    call("predict", tuned, place / "table.csv", "--out", tmp_path / "p.csv")
    assert len(pd.read_csv(tmp_path / "p.csv")) == 200
    words_ = ["--row", 0, "--method", "integrated_gradients", "--out", tmp_path / "e"]
    call("explain", tuned / "model", place / "table.csv", *words_)


def test_a_finished_study_is_left_alone(place, tuned):
    before = {
        path: path.stat().st_mtime_ns for path in tuned.rglob("*") if path.is_file()
    }
    facts = json.loads(call(*words(place, tuned), "--json"))
    assert facts["already_finished"] is True
    assert facts["trials"] == 4
    assert facts["run"]["test"]["accuracy"] > 0.5
    assert call(*words(place, tuned, trials=2)).startswith(
        "This study is already finished"
    )
    assert before == {
        path: path.stat().st_mtime_ns for path in tuned.rglob("*") if path.is_file()
    }


def test_a_damaged_model_of_a_finished_study_is_made_again(place, tuned, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(tuned, study)
    whole_weights = (study / "model/weights.safetensors").read_bytes()
    (study / "model/weights.safetensors").write_bytes(whole_weights[:500])
    result = CliRunner().invoke(app, [str(word) for word in words(place, study)])
    assert result.exit_code == 0, result.output
    assert "Nothing was changed" not in result.stdout
    assert (
        "model/weights.safetensors of stage 'model' is damaged or changed"
        in result.stderr
    )
    for thread in threading.enumerate():
        if thread.name == "permgrad-progress":
            thread.join(10)
            assert not thread.is_alive(), "nothing is written after the command"
    assert (study / "model/weights.safetensors").read_bytes() == whole_weights
    assert "Nothing was changed" in call(*words(place, study))


@pytest.mark.slow
def test_more_trials_add_to_what_is_there(place, tuned, tmp_path):
    grown = tmp_path / "grown"
    call(*words(place, grown, trials=2))
    first = (grown / "trials.csv").read_text()
    call(*words(place, grown, trials=4))
    assert (
        (grown / "trials.csv").read_text()
        == (tuned / "trials.csv").read_text()
        != first
    )
    assert (grown / "predictions.csv").read_text() == (
        tuned / "predictions.csv"
    ).read_text()


def test_the_page(tuned):
    page = (tuned / "tuning.html").read_text()
    finished = json.loads((tuned / "tune.json").read_text())["finished"]
    assert f"Trial {finished['best']} is the best of 4" in page
    assert 'href="report.html"' in page
    for section_title in (
        "History",
        "Setting by setting",
        "Learning curves",
        "All trials",
        "learning_rate",
    ):
        assert section_title in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_a_winner_of_another_folder_is_trained_again(place, tuned, tmp_path):
    url = f"sqlite:///{tuned / 'study.db'}"
    facts = json.loads(
        call(*words(place, tmp_path / "elsewhere"), "--storage", url, "--json")
    )
    assert facts["trials"] == 4
    assert not (tmp_path / "elsewhere/trials").exists(), "no trial was left to do"
    for name in (
        "trials.csv",
        "preset.json",
        "model/weights.safetensors",
        "predictions.csv",
    ):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (
            tuned / name
        ).read_bytes(), name


# ---- trials that fail or are pruned --------------------------------------------------
@pytest.mark.slow
def test_failed_and_pruned_trials_count(place, tmp_path):
    wild = {
        "base": "fast",
        "parameters": {"learning_rate": {"choices": [2e-3, 1e-9, 1e30]}},
    }
    (tmp_path / "wild.json").write_text(json.dumps(wild))
    tune_words = [
        place / "table.csv",
        "--target",
        "ill",
        "--drop",
        "score",
        "--space",
        tmp_path / "wild.json",
    ]
    facts = json.loads(
        call("tune", *tune_words, "--trials", 14, "--out", tmp_path / "study", "--json")
    )
    table = pd.read_csv(tmp_path / "study/trials.csv")
    assert list(table["trial"]) == list(range(14))
    failed = table[table["state"] == "failed"]
    pruned = table[table["state"] == "pruned"]
    assert len(failed), "the precondition: some diverge"
    assert len(pruned), "the precondition: some do badly"
    assert failed["reason"].str.contains("Training diverged").all()
    assert failed["validation_loss"].isna().all()
    assert (pruned["epochs"] < 20).all()
    assert 1e-9 in set(pruned["learning_rate"]), "the slowest is among them"
    assert facts["states"] == dict(
        table["state"].value_counts().reindex(["complete", "pruned", "failed"])
    )
    assert (tmp_path / f"study/trials/{pruned['trial'].iloc[0]}/history.csv").is_file()
    page = (tmp_path / "study/tuning.html").read_text()
    assert "Training diverged" in page
    assert "failed" in page


def test_a_study_in_which_all_fail(place, tmp_path):
    wild = {"base": "fast", "parameters": {"learning_rate": {"choices": [1e30]}}}
    (tmp_path / "wild.json").write_text(json.dumps(wild))
    tune_words = [
        place / "table.csv",
        "--target",
        "ill",
        "--drop",
        "score",
        "--space",
        tmp_path / "wild.json",
    ]
    # Trial 0 would be the base preset, so a base that diverges itself is needed.
    base = {"base": "fast", "learning_rate": 1e30}
    (tmp_path / "base.json").write_text(json.dumps(base))
    (tmp_path / "wild.json").write_text(
        json.dumps(wild | {"base": str(tmp_path / "base.json")})
    )
    message = call(
        "tune", *tune_words, "--trials", 2, "--out", tmp_path / "study", code=2
    )
    assert "All 2 trials failed, the first with: " in message


# ---- what it refuses -----------------------------------------------------------------
def test_bad_input_is_refused_before_work(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = place / "table.csv"
    folder = tmp_path.parent / f"{tmp_path.name}-parquet"
    folder.mkdir()
    pd.read_csv(table).to_parquet(folder / "rows.parquet")
    cases = [
        (
            (table, "--target", "ill", "--trials", 0),
            2,
            "--trials must be at least 1, got 0",
        ),
        ((table, "--target", "ill", "--space", "papr"), 2, "Did you mean 'paper'?"),
        (
            (table, "--target", "il"),
            2,
            "--target il: no such column. Did you mean 'ill'?",
        ),
        ((table,), 2, "Missing --target. Which column"),
        (
            (folder, "--target", "il"),
            2,
            "--target il: no such column. Did you mean 'ill'?",
        ),
        ((place / "tabl.csv", "--target", "ill"), 2, "does not exist"),
        (
            (table, "--target", "ill", "--storage", "study.db"),
            2,
            "--storage must be a URL, got study.db",
        ),
        (
            (table, "--target", "ill", "--storage", "sqlite://"),
            2,
            "is in memory, so the study would be lost",
        ),
        (
            (table, "--target", "ill", "--storage", "nosuch://host/db"),
            2,
            "Optuna cannot use --storage nosuch",
        ),
        (
            (table, "--target", "ill", "--storage", "sqlite:///no/folder/x.db"),
            3,
            "does not exist",
        ),
        ((table, "--target", "ill", "--device", "tpu"), 2, "device"),
        ((table, "--target", "ill", "--study", "mine"), 2, "No such option: --study"),
    ]
    for tune_words, code, expected_text in cases:
        message = call("tune", *tune_words, "--out", tmp_path / "study", code=code)
        assert expected_text in message.splitlines()[-1], (tune_words, message)
        assert not (tmp_path / "study").exists(), tune_words
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_is_no_database(place, tmp_path):
    (tmp_path / "notes.db").write_text(
        "no database, but a text that is long enough to look at" * 40
    )
    url = f"sqlite:///{tmp_path / 'notes.db'}"
    message = call(
        "tune",
        place / "table.csv",
        "--target",
        "ill",
        "--storage",
        url,
        "--out",
        tmp_path / "s",
        code=3,
    )
    assert "Cannot open --storage " in message
    assert (
        "Delete that file to start again, or choose another --out (or --storage, if "
        "you passed it)." in message
    )
    assert "Traceback" not in message
    assert not (tmp_path / "s").exists()


def test_passwords_are_not_shown(place, tmp_path):
    url = "nosuch://anna:secret@host/db"
    message = call(
        "tune",
        place / "table.csv",
        "--target",
        "ill",
        "--storage",
        url,
        "--out",
        tmp_path / "s",
        code=2,
    )
    assert "secret" not in message
    assert "nosuch://anna:…@host/db" in message


def test_other_studies_and_files_are_refused(place, tuned, tmp_path):
    before = (tuned / "tune.json").read_bytes()
    message = call(*words(place, tuned), "--seed", 7, code=2)
    assert "holds another one, which differs in seed (0 there, 7 now)" in message
    assert (tuned / "tune.json").read_bytes() == before
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    assert "holds other files (thesis.txt)" in call(*words(place, foreign), code=2)
    assert {path.name for path in foreign.iterdir()} == {"thesis.txt"}
    url = f"sqlite:///{tuned / 'study.db'}"
    message = call(
        *words(place, tmp_path / "other"), "--storage", url, "--drop", "town", code=2
    )
    assert "was started with other settings: drop" in message
    assert not (tmp_path / "other").exists()


def test_a_study_of_another_program_is_refused(place, tmp_path):
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    study = optuna.create_study(storage=url, study_name="table-network-0")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    message = call(*words(place, tmp_path / "s"), "--storage", url, code=2)
    assert "holds trials of another program" in message
    call(*words(place, tmp_path / "s", trials=1), "--storage", url, "--seed", 1)
    assert len(study.trials) == 1


@pytest.mark.slow
def test_overwrite_begins_anew(place, tmp_path):
    folder = tmp_path / "study"
    call(*words(place, folder, trials=2))
    (folder / "notes.txt").write_text("mine")
    call(*words(place, folder, trials=1), "--seed", 3, "--overwrite")
    assert list(pd.read_csv(folder / "trials.csv")["trial"]) == [0]
    assert not (folder / "trials/1").exists()
    assert (folder / "notes.txt").read_text() == "mine"


def test_overwrite_removes_nothing_where_the_storage_does_not_open(
    place, tuned, tmp_path
):
    folder = tmp_path / "study"
    shutil.copytree(tuned, folder)
    (folder / "study.db").write_bytes(b"no database, but a text\n" * 300)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    message = call(*words(place, folder), "--overwrite", code=3)
    assert "Cannot open --storage " in message
    assert before == {path: path.read_bytes() for path in before}
    (folder / "study.db").unlink()
    call(*words(place, folder), "--overwrite")
    assert (folder / "trials.csv").read_bytes() == (tuned / "trials.csv").read_bytes()


def test_nobody_overwrites_a_study_at_work(place, tmp_path):
    folder = tmp_path / "study"
    with at_work(folder / ".workers"):
        message = call(*words(place, folder), "--overwrite", code=2)
    assert "1 other process are at work" not in message
    assert "1 other process is at work" in message


def test_without_optuna(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    message = call(
        "tune", place / "table.csv", "--target", "ill", "--out", tmp_path / "s", code=3
    )
    assert "pip install 'permgrad[tune]'" in message
    assert not (tmp_path / "s").exists()


def test_differences_and_command():
    assert (
        differences({"a": 1, "b": "x" * 64}, {"a": 2, "b": "y" * 64})
        == "a (1 there, 2 now), b"
    )
    request = TuneRequest(
        table="t.csv", target=("y",), trials=9, out=Path("d"), space="paper", seed=3
    )
    expected_command = (
        "permgrad tune t.csv --target y --out d --seed 3 --trials 9 --space paper"
    )
    assert request.command == expected_command


def test_the_published_space_prunes_nothing():
    assert get_space("default").pruning
    assert not get_space("paper").pruning


# ---- killed --------------------------------------------------------------------------
def session(base_folder: Path, out: Path, deaths: int | None, trials: int) -> int:
    """Work on a study in a forked process that dies, without any farewell, at its n-th
    write; return the exit code.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        from permgrad.runs.commands import tune

        if deaths is not None:
            _die_after(deaths)
        tune.export_winner = lambda session_: None  # type: ignore[assignment]
        target = {
            "table": str(base_folder / "table.csv"),
            "target": ("ill",),
            "drop": ("score",),
            "threads": 1,
        }
        request = TuneRequest(
            **target, space=str(base_folder / "space.json"), out=out, trials=trials
        )
        tune.tune_table(request, say=lambda line: None)
        code = 0
    finally:
        os._exit(code)


def _die_after(writes: int) -> None:
    """Count writes to the storage and renamed files; the last one is left undone, or
    done and not told.
    """
    left = [writes]
    storage = optuna.storages.RDBStorage

    def doomed(function):
        def inside(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and writes % 2:
                os._exit(9)
            result = function(*args, **kwargs)
            if left[0] == 0:
                os._exit(9)
            return result

        return inside

    for name in [
        name
        for name in vars(storage)
        if name.startswith(("set_trial_", "create_new_", "set_study_"))
    ]:
        setattr(storage, name, doomed(getattr(storage, name)))
    Path.replace = doomed(Path.replace)  # type: ignore[method-assign]


@FORKS
@pytest.mark.slow
def test_a_study_that_dies_at_any_write_is_the_same(place, tuned, tmp_path):
    import torch._dynamo  # noqa: F401 — loaded once, before the forks

    draw = random.Random(0)
    deaths = 0
    for _ in range(200):
        code = session(place, tmp_path / "study", draw.randint(1, 25), trials=4)
        if code == 0:
            break
        assert code == 9, "it ended by the death that was arranged"
        deaths += 1
    assert deaths >= 5, "the precondition: it died several times"
    assert (tmp_path / "study/trials.csv").read_bytes() == (
        tuned / "trials.csv"
    ).read_bytes()
    for trial in range(4):
        for name in ("history.csv", "preset.json"):
            ours, theirs = (
                folder / "trials" / str(trial) / name
                for folder in (tmp_path / "study", tuned)
            )
            assert ours.read_bytes() == theirs.read_bytes(), (trial, name)


def run_session(base_folder: Path, out: Path, deaths: int | None) -> int:
    """Do the stages of a run up to the trained model, likewise."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        from permgrad.runs.requests import RunRequest
        from permgrad.runs.run import run_work as work
        from permgrad.runs.run import stages
        from permgrad.runs.run.run import run_table

        if deaths is not None:
            _die_after(deaths)
        for name in ("explanation", "report"):
            stages.STAGE_WORK[name] = lambda _: None
        target = {
            "table": str(base_folder / "table.csv"),
            "target": ("ill",),
            "drop": ("score",),
            "threads": 1,
        }
        setattr(work.RunWork, "summary", lambda _: None)  # noqa: B010 — it would miss the explanation
        run_table(
            RunRequest(**target, preset="default", out=out), say=lambda line: None
        )
        code = 0
    finally:
        os._exit(code)


@FORKS
@pytest.mark.slow
def test_a_run_that_dies_at_any_write_is_the_same(place, tmp_path):
    draw = random.Random(1)
    deaths = 0
    assert run_session(place, tmp_path / "alone", None) == 0
    for _ in range(100):
        code = run_session(place, tmp_path / "run", draw.randint(2, 12))
        if code == 0:
            break
        assert code == 9, "it ended by the death that was arranged"
        deaths += 1
    assert deaths >= 2, "the precondition: it died more than once"
    for name in ("model/weights.safetensors", "predictions.csv", "metrics.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (
            tmp_path / "run" / name
        ).read_bytes(), name


@KILLS
@pytest.mark.slow
def test_two_processes_one_of_them_killed(place, tmp_path):
    out = tmp_path / "study"
    command = [sys.executable, "-m", "permgrad", *map(str, words(place, out, trials=6))]
    with (tmp_path / "log").open("wb") as log:
        both_processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
            for _ in range(2)
        ]
        deadline = time.monotonic() + 200
        while (
            not any((out / "trials").glob("*/preset.json"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        both_processes[0].kill()
        both_processes[0].wait()
        assert both_processes[1].wait(timeout=300) == 0, (tmp_path / "log").read_text()
    table = pd.read_csv(out / "trials.csv")
    assert list(table["trial"]) == list(range(6))
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'study.db'}")
    assert list(finished(study, 6)) == list(range(6))
    assert all(
        (out / "trials" / str(trial) / "history.csv").is_file() for trial in range(6)
    )
    assert (out / "report.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c_counts")
def test_ctrl_c_says_how_to_go_on(place, tmp_path):
    out = tmp_path / "study"
    command = [
        sys.executable,
        "-m",
        "permgrad",
        *map(str, words(place, out, trials=40)),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while (
        not (out / "trials.csv").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    last = errors.splitlines()[-1]
    assert last.startswith("error: Interrupted after ")
    assert last.endswith("of 40 trials. Run the same command to resume.")
    assert "Traceback" not in errors
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'study.db'}")
    states = {trial.state.name for trial in study.trials}
    assert "RUNNING" not in states, "what was under way is known to have stopped"
    assert (out / "tuning.html").exists()
    assert not list((out / ".workers").glob("*-*.lock"))
