"""A full disk, a folder that may not be written, and two processes at once: for every
command that writes.

Each ends with exit code 3 and one sentence, leaves the old files or the new ones and
never a half, and no temporary file; when the disk allows it again, the same command
goes on to the same results.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from invoking import call, train_run
from refusing_disk import FULL, READ_ONLY, refusing_disk, small_files
from tools.diff_runs import differences
from tools.kills._kills import broken_files, is_temporary
from typer.testing import CliRunner

import permgrad as pg
from permgrad.base.locks import hold_folder, hold_name
from permgrad.cli import app
from permgrad.runs.commands import tune

PRESET = {"base": "fast", "branches": ["tabular"], "max_epochs": 1}
SPACE = {
    "base": "fast",
    "parameters": {
        "max_epochs": {"choices": [1]},
        "branches": {"choices": [["tabular"]]},
    },
}
COMMANDS = (
    "run",
    "tune",
    "compare",
    "benchmark",
    "predict",
    "predict parts",
    "explain",
    "explain parts",
    "report",
)
#: The same for pytest: a study needs the extra "tune".
WRITING = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(
                find_spec("optuna") is None, reason="needs Optuna (extra 'tune')"
            )
        ],
    )
    if name == "tune"
    else pytest.param(
        name, marks=pytest.mark.slow if name == "report" else ()
    )  # run writes the page as well
    for name in COMMANDS
]
#: Those that write into a folder that one process at a time works in; the others write
#: one name at the end.
WORKS_IN = ("run", "compare", "benchmark", "predict parts", "explain parts", "report")


def table(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(size=rows),
            "dose": rng.normal(size=rows),
            "id": np.arange(rows),
        }
    )
    return frame.assign(
        outcome=np.where(frame["age"] + frame["dose"] > 0, "ill", "well")
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, a trained run, the settings of a study, and rows in two
    parts.
    """
    folder = tmp_path_factory.mktemp("disk")
    train_run(folder, table(), identifier="id", epochs=1)
    (folder / "space.json").write_text(json.dumps(SPACE))
    (folder / "parts").mkdir()
    table()[:60].to_parquet(folder / "parts" / "0.parquet")
    table()[60:].to_parquet(folder / "parts" / "1.parquet")
    return folder


def words(command: str, base_folder: Path, out: Path) -> list[str]:
    """Return a command that writes ``out``."""
    run = base_folder / "run"
    data = base_folder / "table.csv"
    target = ["--target", "outcome", "--id", "id"]
    listed: dict[str, list[Any]] = {
        "run": ["run", data, *target, "--preset", base_folder / "preset.json"],
        "tune": [
            "tune",
            data,
            *target,
            "--trials",
            2,
            "--space",
            base_folder / "space.json",
        ],
        "compare": [
            "compare",
            data,
            *target,
            "--models",
            "linear,extra_trees",
            "--cv",
            2,
        ],
        "benchmark": [
            "benchmark",
            "tabular",
            "--quick",
            "--no-peers",
            "--functions",
            "xor",
            "--methods",
            "random",
        ],
        "predict": ["predict", run, data],
        "predict parts": ["predict", run, base_folder / "parts"],
        "explain": ["explain", run, data, "--repeats", 1],
        "explain parts": [
            "explain",
            run,
            base_folder / "parts",
            "--method",
            "gradient",
        ],
        "report": ["report", out],
    }
    command_words = listed[command]
    return [
        str(word)
        for word in (
            command_words if command == "report" else [*command_words, "--out", out]
        )
    ]


def out_of(command: str, base_folder: Path, folder: Path) -> Path:
    """Return where a command is to write; a report is made again in a copy of the
    run.
    """
    out = folder / ("out.csv" if command == "predict" else "out")
    if command == "report":
        import shutil

        shutil.copytree(base_folder / "run", out)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(command: str, base_folder: Path, out: Path) -> bool:
    """Do a command on a disk that refuses; return whether it was refused, and see that
    it was in the right way.
    """
    result = CliRunner().invoke(app, words(command, base_folder, out))
    if result.exit_code == 0:
        return False
    assert result.exit_code == 3, f"{result.stderr}\n{result.exception!r}"
    error_lines = [
        line for line in result.stderr.splitlines() if line.startswith("error: ")
    ]
    assert len(error_lines) == 1
    assert any(reason in error_lines[0] for reason in REASONS), error_lines[0]
    assert "Traceback" not in result.stderr
    return True


REASONS = (
    os.strerror(FULL), os.strerror(READ_ONLY), "File too large", "disk is full", "disk I/O error", "No space left",
)  # fmt: skip


def leftovers(folder: Path) -> list[str]:
    """Return temporary files and locks; those of a study's processes and database stay
    with it.
    """
    every = [path.relative_to(folder) for path in folder.rglob("*")]
    return [
        str(path)
        for path in every
        if is_temporary(path)
        and ".workers" not in path.parts
        and path.suffix != ".guard"
    ]


@pytest.fixture(scope="module")
def whole(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give what a command writes when nobody refuses; each is done once."""
    known_folders: dict[str, Path] = {}

    def of(command: str) -> Path:
        if command not in known_folders:
            folder = tmp_path_factory.mktemp("whole")
            known_folders[command] = out_of(command, place, folder)
            call(*words(command, place, known_folders[command]))
        return known_folders[command]

    return of


@pytest.mark.parametrize("command", WRITING)
def test_a_full_disk(command: str, place: Path, tmp_path: Path, whole: Any) -> None:
    """From one new file on there is no room: at the first, and later; then there is
    room again.
    """
    out = out_of(command, place, tmp_path)
    before = files(tmp_path)
    times = 0
    after = 0
    for after in (0, 2, 9, 40):
        with refusing_disk(tmp_path, FULL, after) as disk:
            again = refused(command, place, out)
        assert again == (disk.refused > 0)
        if not again:
            break
        times += 1
        assert not leftovers(tmp_path)
        assert not broken_files(tmp_path)
        if after == 0:
            assert files(tmp_path) == before
    assert times >= 2
    if disk.refused:
        call(*words(command, place, out))
    assert differences(whole(command), out)[0] == []
    assert not leftovers(tmp_path)


@pytest.mark.skipif(
    sys.platform == "win32", reason="the system has no limit for the size of files"
)
@pytest.mark.parametrize("command", WRITING)
def test_a_disk_that_is_full_in_the_middle_of_a_file(
    command: str, place: Path, tmp_path: Path, whole: Any
) -> None:
    out = out_of(command, place, tmp_path)
    times = 0
    for most in (0, 5000, 50_000, 2_000_000):
        with small_files(most):
            again = refused(command, place, out)
        if not again:
            break
        times += 1
        assert not leftovers(tmp_path)
        assert not broken_files(tmp_path)
    assert times >= 1
    assert not again
    assert differences(whole(command), out)[0] == []


@pytest.mark.skipif(find_spec("optuna") is None, reason="needs Optuna (extra 'tune')")
@pytest.mark.slow
@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_trial_that_met_a_full_disk_is_not_lost(
    fails_at: int,
    place: Path,
    tmp_path: Path,
    whole: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its history could not be written: that says nothing of the trial, which is
    repeated where there is room again.
    """
    out = tmp_path / "out"
    calls = 0
    write = tune.write_csv

    def full(frame: pd.DataFrame, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls >= fails_at:
            with refusing_disk(path.parent, FULL):
                write(frame, path)
        write(frame, path)

    with monkeypatch.context() as disk:
        disk.setattr(tune, "write_csv", full)
        assert refused("tune", place, out)
    assert calls == fails_at, "the study stops at once"
    call(*words("tune", place, out))
    assert set(pd.read_csv(out / "trials.csv")["state"]) == {"complete"}
    assert differences(whole("tune"), out)[0] == []


@pytest.mark.parametrize("command", WRITING)
def test_a_folder_that_may_not_be_written(
    command: str, place: Path, tmp_path: Path
) -> None:
    out = out_of(command, place, tmp_path)
    before = files(tmp_path)
    with refusing_disk(tmp_path, READ_ONLY):
        assert refused(command, place, out)
    assert files(tmp_path) == before
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_what_was_there_stays_where_the_disk_is_full(
    command: str, place: Path, tmp_path: Path
) -> None:
    out = out_of(command, place, tmp_path)
    call(*words(command, place, out))
    before = files(tmp_path)
    for after in (0, 1, 2):
        with refusing_disk(tmp_path, FULL, after):
            result = CliRunner().invoke(
                app, [*words(command, place, out), "--overwrite"]
            )
        assert result.exit_code in ((3,) if after == 0 else (0, 3))
    assert {
        name for name in before if before[name] != files(tmp_path).get(name)
    } == set()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "tune"])
def test_two_at_once_are_noticed(command: str, place: Path, tmp_path: Path) -> None:
    """Several processes may tune in one folder; of all else only one works in it."""
    out = out_of(command, place, tmp_path)
    if command in WORKS_IN:
        out.mkdir(exist_ok=True)
    before = files(tmp_path)
    with hold_folder(out) if command in WORKS_IN else hold_name(out):
        message = call(*words(command, place, out), code=2)
    assert (
        f"process {os.getpid()} is "
        f"{'at work in' if command in WORKS_IN else 'writing'} {out}. Wait until it "
        "ends, or" in message
    )
    assert files(tmp_path) == before
    call(*words(command, place, out))
    assert not leftovers(tmp_path)


# ---- what is saved from Python -------------------------------------------------------
@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    return pg.load(place / "run" / "model")


@pytest.fixture(scope="module")
def explanation(model: Any) -> pg.Explanation:
    return pg.explain(
        model, table()[["age", "dose"]], n_repeats=1, random_state=0, progress=False
    )


@pytest.mark.parametrize("what", ["model", "explanation", "plot"])
@pytest.mark.parametrize("code", [FULL, READ_ONLY])
def test_saving(
    what: str, code: int, model: Any, explanation: pg.Explanation, tmp_path: Path
) -> None:
    save = {
        "model": lambda: model.save(tmp_path / "out", overwrite=True),
        "explanation": lambda: explanation.save(tmp_path / "out", overwrite=True),
        "plot": lambda: explanation.plot.bar().save(tmp_path / "out.png"),
    }[what]
    save()
    before = files(tmp_path)
    for after in range(2 if code == FULL else 1):
        with (
            refusing_disk(tmp_path, code, after),
            pytest.raises(pg.EnvironmentProblem, match=os.strerror(code)),
        ):
            save()
        assert files(tmp_path) == before
    if sys.platform != "win32":
        with (
            small_files(100),
            pytest.raises(pg.EnvironmentProblem, match="File too large"),
        ):
            save()
        assert files(tmp_path) == before
    assert not leftovers(tmp_path)


def test_saving_in_threads_leaves_one_whole(
    model: Any, explanation: pg.Explanation, tmp_path: Path
) -> None:
    """A new folder takes the place of the old one in one step, whoever else does the
    same.
    """
    faults: list[BaseException] = []

    def save() -> None:
        try:
            for _ in range(7):
                model.save(tmp_path / "model", overwrite=True)
                explanation.save(tmp_path / "explanation", overwrite=True)
        except BaseException as error:  # noqa: BLE001 — shown below
            faults.append(error)

    save()
    threads = [threading.Thread(target=save) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # There is never a moment without them.
        assert (tmp_path / "model" / "model.json").is_file()
        assert (tmp_path / "explanation" / "values.npz").is_file()
    for thread in threads:
        thread.join()
    assert not faults
    assert np.array_equal(
        pg.load(tmp_path / "model").predict(table()[["age", "dose"]]),
        model.predict(table()[["age", "dose"]]),
    )
    assert np.array_equal(
        pg.Explanation.load(tmp_path / "explanation").values, explanation.values
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explanation", "model"]


def test_files_follow_the_users_mask(
    explanation: pg.Explanation, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        explanation.save(tmp_path / "out")
        explanation.plot.bar().save(tmp_path / "bar.png")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in [*tmp_path.rglob("*")]}
    assert modes == {
        "out": 0o750,
        "bar.png": 0o640,
        "values.npz": 0o640,
        "explanation.json": 0o640,
        "times.json": 0o640,
    }
