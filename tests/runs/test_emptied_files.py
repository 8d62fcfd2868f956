"""Files of a finished run that are empty, one at a time: each is written again, or the
command refuses in words.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from permgrad.base.folders import files_of
from permgrad.cli import app
from permgrad.runs import run_folder as folders
from permgrad.runs.run import stages
from permgrad.runs.run_folder import NAMES, STAGES, losses


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(size=80),
            "dose": rng.normal(size=80),
            "town": rng.choice(["x", "y"], 80),
        }
    )
    return frame.assign(
        outcome=np.where(frame["age"] + frame["dose"] > 0, "ill", "well")
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of preset fast."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "preset.json").write_text(json.dumps({"base": "fast", "max_epochs": 1}))
    table().to_csv(folder / "table.csv", index=False)
    assert command(folder, folder / "run").exit_code == 0
    return folder / "run"


def command(base_folder: Path, out: Path) -> Result:
    """Run the command that made the run."""
    words = [
        "run",
        base_folder / "table.csv",
        "--target",
        "outcome",
        "--preset",
        base_folder / "preset.json",
        "--out",
        out,
    ]
    return in_words(CliRunner().invoke(app, list(map(str, words))))


def in_words(result: Result) -> Result:
    """See that a command ended with a sentence, if it failed."""
    assert result.exit_code in (0, 2), result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit | None)
    assert result.exit_code == 0 or "[PG052]" in result.stderr
    return result


def recorded(run: Path) -> dict[str, list[str]]:
    """Return the recorded files by stage."""
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    return {stage: [*facts[stage]["sums"]] for stage in STAGES}


def contents(run: Path) -> dict[str, bytes]:
    return {
        name: (run / name).read_bytes()
        for name in files_of(run, NAMES)
        if name != "run.json"
    }


@pytest.mark.slow
def test_every_emptied_file_is_seen_and_written_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated stage copies what it wrote the first time, so that only the first run
    trains and explains.
    """

    def copying(stage: str):
        def work(run) -> None:
            for stage_path in [whole / name for name in STAGES[stage]]:
                if stage_path.is_dir():
                    shutil.copytree(stage_path, run.folder.path / stage_path.name)
                elif stage_path.exists():
                    shutil.copy(stage_path, run.folder.path)

        return work

    monkeypatch.setattr(
        stages, "STAGE_WORK", {stage: copying(stage) for stage in STAGES}
    )
    run = tmp_path / "run"
    before = contents(whole)
    shutil.copytree(whole, run)
    assert "Nothing was changed" in command(whole.parent, run).stdout, (
        "the precondition: it is finished"
    )
    assert all(before.values()), "the precondition: no file is empty"
    files = recorded(whole)
    assert sorted(name for names in files.values() for name in names) == sorted(before)
    for stage, name in [
        (stage, name) for stage, names in files.items() for name in names
    ]:
        (run / name).write_bytes(b"")
        report = in_words(CliRunner().invoke(app, ["report", str(run)]))
        if stage == "report":
            assert report.exit_code == 0
        else:
            assert (
                f"{name} of stage {stage!r} is damaged or changed. Write it again"
                in report.stderr
            )
            again = command(whole.parent, run)
            assert (
                f"{name} of stage {stage!r} is damaged or changed. The stage that"
                in again.stderr
            )
            assert contents(run) == before
        assert (run / name).stat().st_size, name
    assert "Nothing was changed" in command(whole.parent, run).stdout


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report.html", b""),
        ("report.html", b"\n"),
        ("report.md", None),
        ("predictions.csv", None),
        ("history.csv", b"epoch,train_loss\n1,0.5\n"),
        ("explanations/cards.json", None),
        ("metrics.json", None),
    ],
)
def test_a_changed_file_is_seen_whatever_it_holds(
    whole: Path, tmp_path: Path, name: str, change: bytes | None
) -> None:
    """None: the second half of the file is lost."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2] if change is None else change)
    stage = next(stage for stage, names in recorded(run).items() if name in names)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    lost = next(losses(run, record))
    assert lost[:2] == (stage, f"{name} of stage {stage!r} is damaged or changed")
    if stage == "report":  # the other stages take long to repeat
        again = command(whole.parent, run)
        assert (
            f"{name} of stage 'report' is damaged or changed. The stage that"
            in again.stderr
        )
        assert len((run / name).read_bytes()) > 0.9 * len(content)
        assert "Nothing was changed" in command(whole.parent, run).stdout


def test_a_page_that_is_written_again_is_no_damage(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = (run / "report.html").read_bytes()
    assert (
        CliRunner()
        .invoke(app, ["report", str(run), "--title", "Another one"])
        .exit_code
        == 0
    )
    assert (run / "report.html").read_bytes() != before, "the precondition"
    assert "Nothing was changed" in command(whole.parent, run).stdout
    (run / "segments.json").write_bytes((run / "segments.json").read_bytes() + b" ")
    command_result = CliRunner().invoke(app, ["report", str(run)])
    assert command_result.exit_code == 2
    assert (
        "segments.json of stage 'model' is damaged or changed. Write it again with "
        "`permgrad run" in command_result.stderr
    )


def test_files_and_folders_are_on_the_disk_before_the_record_names_them(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, int] = {}
    named: list[str] = []
    real = os.fsync
    note = folders.note_files

    def sync(number: int) -> None:
        synced[os.fstat(number).st_ino] = os.fstat(number).st_mtime_ns
        real(number)

    def record(folder: Path, content: dict) -> None:
        for file in content["stages"][content["finished_stages"][-1]]["sums"]:
            named.append(file)
            # What is written later would have another time.
            assert (
                synced.get((folder / file).stat().st_ino)
                == (folder / file).stat().st_mtime_ns
            ), file
            assert (folder / file).parent.stat().st_ino in synced
        note(folder, content)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(folders, "note_files", record)
    assert command(whole.parent, tmp_path / "run").exit_code == 0
    assert {
        "report.html",
        "predictions.csv",
        "model/weights.safetensors",
        "explanations/cards.npz",
    } <= set(named)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["layout", "report"])
def test_an_emptied_file_of_a_stage_is_written_as_before(
    whole: Path, tmp_path: Path, stage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    name = recorded(whole)[stage][-1]
    (run / name).write_bytes(b"")
    result = command(whole.parent, run)
    assert result.exit_code == 0
    assert result.stderr.count("finished before") == list(STAGES).index(stage)
    assert (run / name).stat().st_size
    assert (run / "importance.csv").read_bytes() == (
        whole / "importance.csv"
    ).read_bytes()
    assert in_words(CliRunner().invoke(app, ["report", str(run)])).exit_code == 0


def test_an_emptied_record_is_refused(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "run.json").write_bytes(b"")
    for result in (
        command(whole.parent, run),
        in_words(CliRunner().invoke(app, ["report", str(run)])),
    ):
        assert result.exit_code == 2
        assert "run.json is damaged" in result.stderr


def test_a_record_without_checksums_is_damaged(whole: Path) -> None:
    record = json.loads((whole / "run.json").read_text(encoding="utf-8"))
    del record["stages"]["model"]["sums"]
    (lost,) = losses(whole, record)
    assert lost.words == "run.json of stage 'model' is damaged"
