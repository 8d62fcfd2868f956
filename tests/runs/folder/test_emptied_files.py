"""Files of a finished run that are empty, one at a time: each is written again, or the command refuses in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from permgrad.base.folders import files_of
from permgrad.cli import app
from permgrad.runs.folder.folder import NAMES, STAGES
from permgrad.runs.run import stages


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=80), "dose": rng.normal(size=80), "town": rng.choice(["x", "y"], 80)})
    return frame.assign(outcome=np.where(frame["age"] + frame["dose"] > 0, "ill", "well"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of preset fast."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "preset.json").write_text(json.dumps({"base": "fast", "training": {"max_epochs": 1}}))
    table().to_csv(folder / "table.csv", index=False)
    assert command(folder, folder / "run").exit_code == 0
    return folder / "run"


def command(place: Path, out: Path) -> Result:
    """Run the command that made the run."""
    words = ["run", place / "table.csv", "--target", "outcome", "--preset", place / "preset.json", "--out", out]
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
    return {stage: facts[stage]["files"] for stage in STAGES}


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in files_of(run, NAMES) if name != "run.json"}


def test_every_emptied_file_is_seen_and_written_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated stage copies what it wrote the first time, so that only the first run trains and explains."""

    def copying(stage: str):
        def work(run) -> None:
            for place in [whole / name for name in STAGES[stage]]:
                if place.is_dir():
                    shutil.copytree(place, run.folder.path / place.name)
                elif place.exists():
                    shutil.copy(place, run.folder.path)

        return work

    monkeypatch.setattr(stages, "STAGE_WORK", {stage: copying(stage) for stage in STAGES})
    run, before = tmp_path / "run", contents(whole)
    shutil.copytree(whole, run)
    assert "Nothing was changed" in command(whole.parent, run).stdout, "the precondition: it is finished"
    assert all(before.values()), "the precondition: no file is empty"
    files = recorded(whole)
    assert sorted(name for names in files.values() for name in names) == sorted(before)
    for stage, name in [(stage, name) for stage, names in files.items() for name in names]:
        (run / name).write_bytes(b"")
        report = in_words(CliRunner().invoke(app, ["report", str(run)]))
        if stage == "report":
            assert report.exit_code == 0
        else:
            assert f"{name} of stage {stage!r} is damaged. Write it again with `permgrad run" in report.stderr
            again = command(whole.parent, run)
            assert f"{name} of stage {stage!r} is damaged. The stage that writes it is repeated" in again.stderr
            assert contents(run) == before
        assert (run / name).stat().st_size, name
    assert "Nothing was changed" in command(whole.parent, run).stdout


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["layout", "report"])
def test_an_emptied_file_of_a_stage_is_written_as_before(whole: Path, tmp_path: Path, stage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    name = recorded(whole)[stage][-1]
    (run / name).write_bytes(b"")
    result = command(whole.parent, run)
    assert result.exit_code == 0
    assert result.stderr.count("finished before") == list(STAGES).index(stage)
    assert (run / name).stat().st_size
    assert (run / "importance.csv").read_bytes() == (whole / "importance.csv").read_bytes()
    assert in_words(CliRunner().invoke(app, ["report", str(run)])).exit_code == 0


def test_an_emptied_record_is_refused(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "run.json").write_bytes(b"")
    for result in (command(whole.parent, run), in_words(CliRunner().invoke(app, ["report", str(run)]))):
        assert result.exit_code == 2
        assert "run.json is damaged" in result.stderr
