"""Files that a person deletes, keeps or names: none of them is lost, replaced, or said to be where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.shared.invoking import call, train_run
from typer.testing import CliRunner

from permgrad.cli import app


def table(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"age": rng.normal(50, 10, rows), "dose": rng.normal(size=rows)})
    frame["noise"] = rng.normal(size=rows)
    frame["case"] = [f"case {place}" for place in range(rows)]
    frame["outcome"] = np.array(["ill", "so", "well"])[np.digitize(frame["age"], (45, 55))]
    return frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table, a preset, and a finished run of them."""
    folder = tmp_path_factory.mktemp("user_files")
    train_run(folder, table(), identifier="case", epochs=3)
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of it, which a test may spoil."""
    shutil.copytree(trained, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


RUN = ("--target", "outcome", "--id", "case", "--preset", "preset.json", "--out", "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(*words: object) -> str:
    """Run a command that must be refused and change nothing here; return what it says."""
    before = contents(Path())
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    assert contents(Path()) == before, "nothing was changed"
    return result.stderr.splitlines()[-1]


# --- deleted files ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("gone", "kept"),
    [
        ("report.html", 4),
        ("explanations", 3),
        ("predictions.csv", 2),
        ("model/weights.safetensors", 2),
        ("layout.json", 1),
        ("split.npz", 0),
    ],
)
def test_what_was_deleted_from_a_finished_run_is_made_again(place, gone, kept):
    path = Path("run", gone)
    before = {name: Path("run", name).read_bytes() for name in ("importance.csv", "predictions.csv", "data.json")}
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = CliRunner().invoke(app, ["run", "table.csv", *RUN])
    assert result.exit_code == 0, result.output
    assert "nothing was changed" not in result.stdout
    assert result.stderr.count("is gone; the stage that writes") + result.stderr.count("are gone; the stage") == 1
    assert gone in result.stderr
    assert result.stderr.count("finished before") == kept
    assert path.exists()
    assert {name: Path("run", name).read_bytes() for name in before} == before, "the same result as before"
    assert "nothing was changed" in call("run", "table.csv", *RUN)


def test_a_report_of_a_run_that_lost_files_says_which(place):
    Path("run", "importance.csv").unlink()
    said = refused("report", "run")
    assert "importance.csv of stage 'explanation' is gone" in said
    assert "write them again with: permgrad run" in said


# --- overwriting a run ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"age": ["dose", "noise"]}, "the name of a group must not be the name of a column outside it, however: 'age'"),
        ({"both": ["dose", "noise"], "none": []}, "a group must list at least one column, however group 'none' is empty"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--overwrite",)], ids=["", "overwrite"])
def test_groups_are_refused_before_a_run_is_replaced(place, groups, said, more):
    Path("g4.json").write_text(json.dumps(groups))
    found = refused("run", "table.csv", *RUN, "--groups", "g4.json", *more)
    assert said in found
    assert found.endswith(" in g4.json")
    assert "finished already" in call("run", "table.csv", *RUN), "the run is as it was"


def test_a_test_file_that_cannot_be_encoded_is_refused_before_a_run_is_replaced(place):
    table(30).assign(age="old").to_csv("test.csv", index=False)
    assert "'age'" in refused("run", "table.csv", *RUN, "--test", "test.csv", "--overwrite")


def test_a_loss_of_another_task_is_refused_before_a_run_is_replaced(place):
    Path("other.json").write_text(json.dumps({"base": "fast", "training": {"loss": "squared_error"}}))
    words = [*RUN[:4], "--preset", "other.json", "--out", "run", "--overwrite"]
    assert "the loss of a classification must be 'cross_entropy'" in refused("run", "table.csv", *words)


def test_a_run_with_all_in_order_is_replaced(place):
    Path("groups.json").write_text(json.dumps({"both": ["dose", "noise"]}))
    call("run", "table.csv", *RUN, "--groups", "groups.json", "--overwrite")
    assert set(pd.read_csv("run/importance.csv")["feature"]) == {"age", "both"}


