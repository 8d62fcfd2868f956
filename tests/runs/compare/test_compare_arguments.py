"""``permgrad.compare``: arguments mean what they mean elsewhere, and wrong ones are
refused beforehand.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.cli import app
from permgrad.data.splitting import split_rows
from permgrad.runs.compare.compare import compare_table
from permgrad.runs.compare.comparison_plan import CompareRequest, from_request
from permgrad.runs.run.run_inputs import load_inputs

QUICK = {"models": ["linear", "bagging"], "cv": 2, "explain": False, "progress": False}


@pytest.fixture
def frame():
    """``a`` is missing where it is -9, which says much of the label; 9 and the letter a
    are ordinary values.
    """
    rng = np.random.default_rng(0)
    a = rng.choice([-9, 1, 9], 200)
    b = rng.choice([-9, 9, 4, 5], 200)
    label = np.where((a == -9) ^ (rng.random(200) < 0.1), "yes", "no")
    return pd.DataFrame(
        {"a": a, "b": b, "c": rng.choice(["a", "b"], 200), "label": label}
    )


def compared(frame, **options):
    options = {**QUICK, **options}
    return pg.compare(
        options.pop("models"), frame.drop(columns="label"), frame["label"], **options
    )


# ---- refused before anything is computed ---------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": {"b": "boolean"}}, "Column 'b'"),
        ({"kinds": {"c": "numeric"}}, "Column 'c'"),
        (
            {"cv": 2.0},
            "cv must be at least 2 folds, as in 5 or 5x3, got 2.0. 5x3 divides",
        ),
        ({"cv": "3x"}, "cv must be at least 2 folds"),
        ({"cv": True}, "cv must be at least 2 folds"),
        ({"cv": 1}, "cv must be at least 2 folds, .*, got 1"),
        ({"cv": "5x0"}, "cv must be at least 2 folds, .*, got '5x0'"),
        ({"row_groups": [1, 2]}, "row_groups"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(frame, options, message):
    with pytest.raises(InputError, match=message):
        compared(frame, **options)


@pytest.mark.parametrize(
    "name", ["groups", "folds", "repeats", "splits", "na_codes", "out", "device"]
)
def test_what_is_said_elsewhere_is_no_argument(frame, name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        compared(frame, **{name: 2})


@pytest.mark.slow
def test_folds_are_a_number_or_a_number_with_repeats(frame):
    assert compared(frame, cv=np.int64(2)).scores["fold"].tolist() == [
        "1",
        "1",
        "2",
        "2",
    ]
    assert compared(frame, cv="2x2").scores["fold"].tolist() == [
        f"{r}.{k}" for r in "12" for k in "12" for _ in "ab"
    ]


@pytest.mark.slow
def test_codes_for_missing_are_said_where_the_table_is_read(frame, tmp_path):
    frame.to_csv(tmp_path / "table.csv", index=False)
    read = pg.read_table(tmp_path / "table.csv", na=[-9])
    blank = frame.assign(
        **{name: frame[name].astype(float).mask(frame[name] == -9) for name in "ab"}
    )
    read_losses, expected, plain = (
        compared(table_form).scores["log_loss"].to_numpy()
        for table_form in (read, blank, frame)
    )
    np.testing.assert_allclose(read_losses, expected, rtol=1e-6)
    assert not np.allclose(read_losses, plain, rtol=1e-3), "the code matters"


# ---- devices -------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["compare", "tune", "run"])
@pytest.mark.parametrize("device", ["foo", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_the_users_fault(
    frame, tmp_path, command, device
):
    if command == "tune":
        pytest.importorskip("optuna")
    table = tmp_path / "table.csv"
    frame.to_csv(table, index=False)
    words = [
        command,
        str(table),
        "--target",
        "label",
        "--out",
        str(tmp_path / "out"),
        "--device",
        device,
    ]
    result = CliRunner().invoke(
        app, [*words, *(["--models", "fast,linear"] if command == "compare" else [])]
    )
    assert result.exit_code == 2, result.output
    message = " ".join(result.output.split())
    assert "device must be one of 'auto', 'cpu'" in message
    assert message.count("mps") == (device == "mps"), "only where the user names it"
    assert not (tmp_path / "out").exists()


# ---- presets of the other task -------------------------------------------------------
@pytest.mark.parametrize(
    ("loss", "target", "task"),
    [
        ("squared_error", "label", "classification"),
        ("cross_entropy", "b", "regression"),
    ],
)
def test_a_preset_for_the_other_task_is_refused_before_work(
    frame, tmp_path, loss, target, task
):
    preset = tmp_path / "mine.json"
    preset.write_text(json.dumps({"base": "fast", "loss": loss}))
    models = ["linear", f"{preset}:tabular"]
    table = tmp_path / "table.csv"
    frame.to_csv(table, index=False)
    words = [
        "compare",
        str(table),
        "--target",
        target,
        "--task",
        task,
        "--models",
        ",".join(models),
    ]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert f"The loss of a {task} must be" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_the_help_names_the_devices():
    help_text = re.sub(
        r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, ["compare", "--help"]).output
    )
    assert all(name in help_text for name in ("auto", "cpu", "cuda", "mps"))


# ---- what the command says of columns ------------------------------------------------
@pytest.fixture
def flagged(frame, tmp_path):
    """``flag`` has one value in all rows that a run would train on, and tells the label
    in the others.
    """
    label = frame["label"].to_numpy()
    train = split_rows(len(frame), label, task="classification", seed=42).train
    flag = np.where(label == "yes", 1, 0)
    flag[train] = 0
    frame.assign(flag=flag).to_csv(tmp_path / "flagged.csv", index=False)
    return tmp_path / "flagged.csv"


def request(table, **options):
    request_options = {
        "models": ("linear", "bagging"),
        "cv": "2",
        "target": ("label",),
        "threads": 1,
        **options,
    }
    return CompareRequest(table=str(table), out=table.parent / "out", **request_options)


@pytest.mark.slow
def test_notes_are_on_all_rows_not_on_a_split_that_is_not_made(flagged):
    compare_request = request(flagged)
    progress_lines = []
    constant = "Constant in the training rows, hence without effect: flag."
    assert constant in load_inputs(compare_request.run_request()).notes, (
        "a run's own training rows"
    )
    compare_table(compare_request, say=progress_lines.append)
    assert not any("onstant" in line for line in progress_lines)
    assert progress_lines[-1].startswith("[4/4]")
    record = json.loads((flagged.parent / "out" / "comparison.json").read_text())
    assert not any("onstant" in note for note in record["notes"])
    shown = pd.read_csv(flagged).assign(flag=5)
    shown.to_csv(flagged, index=False)
    compare_table(request(flagged, overwrite=True), say=progress_lines.append)
    assert f"note: {constant}" in progress_lines, "what is constant in all rows is said"


def test_a_table_is_not_refused_for_a_split_that_is_not_made(flagged):
    compare_request = request(flagged, drop=("a", "b", "c"))
    with pytest.raises(InputError, match="No feature varies: "):
        load_inputs(compare_request.run_request())
    compare_table(compare_request, say=lambda text: None)
    assert set(pd.read_csv(flagged.parent / "out" / "importances.csv")["feature"]) == {
        "flag"
    }


def test_the_rows_of_a_comparison_are_those_of_its_file(flagged):
    read = pd.read_csv(flagged)
    read.assign(label=read["label"].mask(read.index % 9 == 0)).to_csv(
        flagged, index=False
    )
    kept_rows = read[read.index % 9 != 0].reset_index(drop=True)
    compare_arguments = from_request(request(flagged, row_group="c"))
    assert compare_arguments.y.tolist() == kept_rows["label"].tolist()
    pd.testing.assert_frame_equal(
        compare_arguments.X, kept_rows[["a", "b", "flag"]], check_dtype=False
    )
    assert (
        compare_arguments.row_groups.tolist()
        == pd.factorize(kept_rows["c"])[0].tolist()
    )
