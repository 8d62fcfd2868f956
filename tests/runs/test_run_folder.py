"""The run folder: nothing half-written, one process at a time, refusal of what belongs
to others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from permgrad import EnvironmentProblem, InputError
from permgrad.base.files import write_text_atomic
from permgrad.base.folders import configuration_hash
from permgrad.runs.run_folder import CHECKPOINT, RUN, STAGES, open_run, read_record

CONFIGURATION = {"table": "abc", "seed": 0, "preset": "fast"}


def fill(run, stages=tuple(STAGES)):
    for stage in stages:
        if stage not in run.record["finished_stages"]:
            with run.stage(stage):
                for name in STAGES[stage]:
                    if name.endswith(".npz"):
                        np.savez(run.path / name, rows=np.arange(3))
                    elif not name.startswith("."):
                        write_text_atomic(run.path / name, stage)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_new_run_records_its_stages_in_order(tmp_path):
    folder = tmp_path / "deep" / "run"
    with open_run(folder, CONFIGURATION, command="permgrad run abc") as run:
        assert run.record["finished_stages"] == []
        fill(run)
        assert run.record["finished_stages"] == list(STAGES)
    record = json.loads((folder / "run.json").read_text())
    assert record["finished_stages"] == [
        "data",
        "layout",
        "model",
        "explanation",
        "report",
    ]
    assert record["configuration_hash"] == configuration_hash(CONFIGURATION)
    assert record["command"] == "permgrad run abc"
    assert all(record["stages"][stage]["seconds"] >= 0 for stage in STAGES)
    assert not [name for name in tree(folder) if name.startswith(".")], (
        "no lock and no temporary file stays"
    )
    assert RUN.finished(folder, CONFIGURATION) == record
    assert RUN.finished(folder, {**CONFIGURATION, "seed": 1}) is None


def test_an_unfinished_run_goes_on_after_its_last_finished_stage(tmp_path):
    def stop_in_model():
        with open_run(tmp_path / "run", CONFIGURATION) as run:
            fill(run, ("data", "layout"))
            with run.stage("model"):
                write_text_atomic(run.path / "metrics.json", "half of the stage")
                (run.path / CHECKPOINT).mkdir()
                ((run.path / CHECKPOINT) / "epoch").write_text("7")
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        stop_in_model()
    assert read_record(tmp_path / "run")["finished_stages"] == ["data", "layout"]
    with open_run(tmp_path / "run", CONFIGURATION) as run:
        assert run.record["finished_stages"] == ["data", "layout"]
        assert not (run.path / "metrics.json").exists(), (
            "what an unfinished stage left is removed"
        )
        assert (run.path / "data.json").read_text() == "data", (
            "what a finished stage wrote stays"
        )
        assert ((run.path / CHECKPOINT) / "epoch").read_text() == "7", (
            "training resumes from its checkpoint"
        )
        fill(run)
        assert run.record["finished_stages"] == list(STAGES)
        assert not (run.path / CHECKPOINT).exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
@pytest.mark.parametrize("moment", ["before the rename", "between two files"])
def test_killed_at_any_time_leaves_no_half_file(tmp_path, moment):
    folder = tmp_path / "run"
    program = textwrap.dedent(f"""
        import os, signal
        import numpy as np
        from permgrad.base.files import atomic_path, write_text_atomic
        from permgrad.runs.run_folder import open_run
        with open_run({str(folder)!r}, {CONFIGURATION!r}) as run:
            with run.stage("data"):
                write_text_atomic(run.path / "data.json", "whole")
                np.savez(run.path / "split.npz", rows=np.arange(3))
            with run.stage("layout"):
                if {moment!r} == "between two files":
                    write_text_atomic(run.path / "layout.json", "whole")
                with atomic_path(run.path / "layout.svg") as temporary:
                    temporary.write_text("hal")
                    os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (folder / "layout.svg").exists(), "half a file never has its name"
    assert (folder / ".lock").exists(), (
        "the precondition: the killed process could not clean up"
    )
    with open_run(folder, CONFIGURATION) as run:
        assert run.record["finished_stages"] == ["data"]
        assert set(tree(folder)) == {"run.json", "data.json", "split.npz", ".lock"}


def test_two_processes_never_work_in_one_folder(tmp_path):
    folder = tmp_path / "run"
    program = f"""
from permgrad.runs.run_folder import open_run
with open_run({str(folder)!r}, {CONFIGURATION!r}) as run:
    pass
"""
    with open_run(folder, CONFIGURATION) as run:
        ended = subprocess.run(
            [sys.executable, "-c", program], check=False, capture_output=True, text=True
        )
        assert ended.returncode == 1
        assert f"process {os.getpid()} is at work in" in ended.stderr
        assert "Wait until it ends, or choose another folder with --out" in ended.stderr
        fill(run)
    with open_run(folder, CONFIGURATION) as run:
        assert run.record["finished_stages"] == list(STAGES)


def test_another_configuration_is_refused_and_nothing_changes(tmp_path):
    with open_run(tmp_path / "run", CONFIGURATION) as run:
        fill(run)
    before = tree(tmp_path)
    with (
        pytest.raises(InputError) as caught,
        open_run(tmp_path / "run", {**CONFIGURATION, "preset": "paper"}),
    ):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'run'} holds a run of another configuration, which "
        "differs in preset (fast there, paper now). Replace it with --overwrite, "
        "or choose another folder with --out. [PG051]"
    )
    assert tree(tmp_path) == before


def test_foreign_files_are_refused_and_survive_overwriting(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(
            InputError,
            match=r"holds other files \(thesis.tex\)\. Choose another folder with --out",
        ),
        open_run(folder, CONFIGURATION),
    ):
        pass
    assert set(tree(folder)) == {"thesis.tex"}
    with open_run(folder, CONFIGURATION, overwrite=True) as run:
        fill(run)
    assert (folder / "thesis.tex").read_text() == "years of work"
    with open_run(folder, {**CONFIGURATION, "seed": 5}, overwrite=True) as run:
        assert run.record["finished_stages"] == []
        assert set(tree(folder)) == {"run.json", "thesis.tex", ".lock"}


@pytest.mark.parametrize(
    "options", [{"overwrite": True}, {"from_stage": "model"}, {"from_stage": "data"}]
)
def test_what_was_laid_beside_a_model_is_not_removed(tmp_path, options):
    with open_run(tmp_path, CONFIGURATION) as run:
        fill(run, ("data", "layout"))
        with run.stage("model"):
            write_text_atomic(run.path / "model" / "model.json", "{}")
        fill(run)
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    (tmp_path / "model" / ".thesis.tex.1-2.tmp").write_text(
        "what a killed process left"
    )
    before = tree(tmp_path)
    with (
        pytest.raises(
            InputError,
            match=r".* holds model/thesis\.tex in folders that "
            r"would be replaced\. Move it away, or choose another folder with --out",
        ),
        open_run(tmp_path, CONFIGURATION, **options),
    ):
        pass
    assert tree(tmp_path) == before
    with open_run(tmp_path, CONFIGURATION, from_stage="explanation") as run:
        assert "model" in run.record["finished_stages"]
    assert (tmp_path / "model" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "model" / "thesis.tex").unlink()
    with open_run(tmp_path, CONFIGURATION, **options) as run:
        assert "model" not in run.record["finished_stages"]
        assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content", ['{"schema', "[]", ""])
def test_a_damaged_record_is_said_and_can_be_replaced(tmp_path, content):
    with open_run(tmp_path, CONFIGURATION) as run:
        fill(run)
    (tmp_path / "run.json").write_text(content)
    with (
        pytest.raises(
            InputError, match=r"run\.json is damaged\. Start again with --overwrite"
        ),
        open_run(tmp_path, CONFIGURATION),
    ):
        pass
    with open_run(tmp_path, CONFIGURATION, overwrite=True) as run:
        assert run.record["finished_stages"] == []
        assert set(tree(tmp_path)) == {"run.json", ".lock"}


@pytest.mark.parametrize("name", ["metrics.json", "model", "run.json"])
def test_files_of_others_with_our_names_are_refused_also_with_overwrite(tmp_path, name):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / name).write_text('{"mine": 1}')
    with (
        pytest.raises(InputError, match="holds other files") as caught,
        open_run(tmp_path, CONFIGURATION),
    ):
        pass
    assert "--overwrite" not in str(caught.value)
    with (
        pytest.raises(
            InputError,
            match=rf"holds no run, but other files with its names \({name}\)\. Choose "
            r"another",
        ),
        open_run(tmp_path, CONFIGURATION, overwrite=True),
    ):
        pass
    assert tree(tmp_path) == {"thesis.tex": b"years of work", name: b'{"mine": 1}'}


@pytest.mark.parametrize(
    ("version", "hint"), [(99, "Update permgrad"), (0, "Run again")]
)
def test_a_record_of_another_format_is_refused(tmp_path, version, hint):
    (tmp_path / "run.json").write_text(
        json.dumps({"configuration_hash": "x", "schema_version": version})
    )
    with (
        pytest.raises(
            InputError,
            match=rf"has format {version}, and this permgrad reads 1\. {hint}, or",
        ),
        open_run(tmp_path, CONFIGURATION),
    ):
        pass


@pytest.mark.parametrize(
    ("gone", "kept"),
    [("report.html", 4), ("importance.csv", 3), ("history.csv", 2), ("split.npz", 0)],
)
def test_a_stage_whose_files_are_gone_is_not_finished(tmp_path, gone, kept):
    with open_run(tmp_path, CONFIGURATION) as run:
        fill(run)
    record = json.loads((tmp_path / "run.json").read_text())
    assert list(record["stages"]["data"]["sums"]) == [
        "data.json",
        "columns.json",
        "training.json",
        "split.npz",
    ]
    assert RUN.finished(tmp_path, CONFIGURATION) is not None, (
        "the precondition: whole it is finished"
    )
    (tmp_path / gone).unlink()
    assert RUN.finished(tmp_path, CONFIGURATION) is None
    if 0 < kept < 4:
        with (
            pytest.raises(InputError, match="Leave --from out"),
            open_run(tmp_path, CONFIGURATION, from_stage="report"),
        ):
            pass
    with open_run(tmp_path, CONFIGURATION) as run:
        assert run.lost.startswith(f"note: {gone} of stage ")
        assert run.lost.endswith(
            "is missing. The stage that writes it is repeated, and all later ones."
        )
        assert run.record["finished_stages"] == list(STAGES)[:kept]
        later = [name for stage in list(STAGES)[kept:] for name in STAGES[stage]]
        assert not any((tmp_path / name).exists() for name in later)
        fill(run)
    assert RUN.finished(tmp_path, CONFIGURATION) is not None


def test_a_file_within_a_folder_of_a_stage_counts(tmp_path):
    with open_run(tmp_path, CONFIGURATION) as run:
        fill(run, ("data", "layout"))
        with run.stage("model"):
            write_text_atomic(run.path / "model" / "weights.safetensors", "numbers")
        fill(run, ("explanation", "report"))
    assert RUN.finished(tmp_path, CONFIGURATION) is not None
    (tmp_path / "model" / "weights.safetensors").unlink()
    with open_run(tmp_path, CONFIGURATION) as run:
        assert run.lost.startswith(
            "note: model/weights.safetensors of stage 'model' is missing. "
        )
        assert run.record["finished_stages"] == ["data", "layout"]


def test_from_a_stage_repeats_it_and_what_follows(tmp_path):
    with open_run(tmp_path, CONFIGURATION) as run:
        fill(run)
    with open_run(tmp_path, CONFIGURATION, from_stage="explanation") as run:
        assert run.record["finished_stages"] == ["data", "layout", "model"]
        assert not (tmp_path / "importance.csv").exists()
        assert (tmp_path / "metrics.json").exists()
    with (
        pytest.raises(InputError, match="'explanation' is not finished"),
        open_run(tmp_path, CONFIGURATION, from_stage="report"),
    ):
        pass
    with (
        pytest.raises(
            InputError, match=r"from cannot be 'modell'. Did you mean 'model'\?"
        ),
        open_run(tmp_path, CONFIGURATION, from_stage="modell"),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_an_environment_problem(
    tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(
            EnvironmentProblem, match=r"Cannot write .*Not a directory. Choose another"
        ),
        open_run(tmp_path / "file" / "run", CONFIGURATION),
    ):
        pass

    def refuse(*_args, **_keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(EnvironmentProblem, match="Permission denied"),
        open_run(tmp_path / "run", CONFIGURATION),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    with (
        pytest.raises(
            InputError, match=r"is a file, not a folder\. Choose another with --out"
        ),
        open_run(tmp_path / "run", CONFIGURATION),
    ):
        pass
    assert (tmp_path / "run").read_text() == "mine"
    (tmp_path / "link").symlink_to("nowhere")
    with (
        pytest.raises(InputError, match="is a link that leads nowhere"),
        open_run(tmp_path / "link", CONFIGURATION),
    ):
        pass


def test_a_run_that_is_refused_at_once_leaves_no_folder(tmp_path):
    with (
        pytest.raises(InputError, match="Leave --from out"),
        open_run(tmp_path / "run", CONFIGURATION, from_stage="model"),
    ):
        pass
    assert not (tmp_path / "run").exists()
