"""``permgrad.compare``: arguments mean what they mean elsewhere, and wrong ones are refused beforehand."""

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
from permgrad.runs.compare.plan import CompareRequest, from_request, loss_of
from permgrad.runs.run.inputs import load_inputs

QUICK = {"models": ["linear", "bagging"], "folds": 2, "explain": False, "progress": False, "threads": 1}


@pytest.fixture
def frame():
    """``a`` is missing where it is -9, which says much of the label; 9 and the letter a are ordinary values."""
    rng = np.random.default_rng(0)
    a = rng.choice([-9, 1, 9], 200)
    b = rng.choice([-9, 9, 4, 5], 200)
    label = np.where((a == -9) ^ (rng.random(200) < 0.1), "yes", "no")
    return pd.DataFrame({"a": a, "b": b, "c": rng.choice(["a", "b"], 200), "label": label})


def compared(frame, **options):
    return pg.compare(frame.drop(columns="label"), frame["label"], **{**QUICK, **options})


def scores(frame, **options):
    return compared(frame, **options).scores["log_loss"].to_numpy()


# ---- codes for missing -----------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_codes_for_missing_are_taken_in_every_form_that_an_encoder_takes(frame):
    coded, plain = scores(frame, na_codes=["-9"]), scores(frame)
    assert not np.allclose(coded, plain, rtol=1e-3), "the code matters"
    assert not np.allclose(coded, scores(frame, na_codes=["-", "9"]), rtol=1e-3)
    for form in ("-9", -9, -9.0, (-9,), np.array([-9]), np.int64(-9), {"a": [-9], "b": "-9"}):
        np.testing.assert_array_equal(scores(frame, na_codes=form), coded, err_msg=repr(form))
    blank = frame.assign(a=frame["a"].astype(float).mask(frame["a"] == -9))
    by_column = scores(frame, na_codes={"a": -9})
    np.testing.assert_allclose(by_column, scores(blank), rtol=1e-6)
    assert not np.allclose(by_column, coded, rtol=1e-3), "in b -9 is a number"
    for nothing in ((), [], {}):
        np.testing.assert_array_equal(scores(frame, na_codes=nothing), plain)


def test_a_folder_tells_comparisons_of_other_codes_apart(frame, tmp_path):
    def entry(name, codes):
        compared(frame, na_codes=codes, out=tmp_path / name)
        return json.loads((tmp_path / name / "comparison.json").read_text())["configuration"]["na"]

    assert entry("none", None) == []
    assert entry("list", (-9, "?", 4.0)) == ["-9", "?", "4"]
    assert entry("one", -9) == ["-9"]
    assert entry("column", {"a": -9}) == {"a": ["-9"]}
    assert entry("column", {"a": ["-9"]}) == {"a": ["-9"]}, "the same comparison goes on"
    for other in ({"b": -9}, [-9], None):
        with pytest.raises(InputError, match="differs in na"):
            compared(frame, na_codes=other, out=tmp_path / "column")


_NO_CODE = "A code for missing values must be a number or text"
_NO_LIST = "Codes for missing values must be one code, a list of codes, or a mapping from column to its codes"


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        *((codes, _NO_CODE) for codes in ([True], {"a": [True]}, [None])),
        # The codes of a set have no order, and an iterator gives them once; encoders refuse them too.
        *((codes, _NO_LIST) for codes in ({"a": None}, 1j, b"-9", {-9}, {"a": {-9}}, iter([-9]))),
        (True, _NO_CODE),
    ],
    ids=lambda own: "" if isinstance(own, str) else type(own).__name__,
)
def test_codes_that_are_none_are_refused(frame, tmp_path, codes, message):
    with pytest.raises(InputError, match=message):
        compared(frame, na_codes=codes, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- refused before the folder is taken ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variables": {"v": ["a", "zz"]}}, "Column 'zz' of variable 'v' not found"),
        ({"variables": {"v": "zz"}}, "Column 'zz' of variable 'v' not found"),
        ({"variables": {"v": []}}, "Variable 'v' is empty"),
        ({"variables": ["a"]}, "variables must be a mapping of variable to a list of columns, got"),
        ({"kinds": {"b": "boolean"}}, "Column 'b'"),
        ({"kinds": {"c": "numeric"}}, "Column 'c'"),
        ({"na_codes": [True]}, "A code for missing values must be a number or text, got True"),
        ({"n_repeats": 1.5}, "n_repeats must be an integer of at least 1, got 1.5. Pass for example 5"),
        ({"n_repeats": 0}, "n_repeats must be an integer of at least 1, got 0"),
        ({"n_repeats": True}, "n_repeats must be an integer of at least 1, got True"),
        ({"most_rows": "a"}, "most_rows must be an integer of at least 1, got 'a'"),
        ({"threads": 0}, "threads must be an integer of at least 1, got 0"),
        ({"threads": "2"}, "threads must be an integer of at least 1, got '2'"),
        ({"folds": 2.0}, "folds must be an integer of at least 2, got 2.0"),
        ({"folds": "3"}, "folds must be an integer of at least 2, got '3'"),
        ({"repeats": 1.5}, "repeats must be an integer of at least 1, got 1.5"),
        (
            {"splits": [1, 2.5], "folds": None},
            "splits must be integers from 0 to 4294967295, got 2.5",
        ),
        (
            {"splits": [1, 2**32], "folds": None},
            "splits must be integers from 0 to 4294967295, got 4294967296",
        ),
        ({"splits": 42, "folds": None}, "splits must be a list of seeds, got 42"),
    ],
    ids=str,
)
def test_wrong_arguments_leave_the_folder_to_the_corrected_call(frame, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        compared(frame, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_corrected_call_has_the_folder(frame, tmp_path):
    with pytest.raises(InputError, match="'zz'"):
        compared(frame, variables={"v": ["a", "zz"]}, out=tmp_path / "out")
    found = compared(frame, variables={"v": ["a", "b"]}, out=tmp_path / "out", explain=True)
    assert set(found.importances["feature"]) == {"v", "c"}
    alone = compared(frame, variables={"v": "a"}, explain=True)
    assert set(alone.importances["feature"]) == {"v", "b", "c"}, "one column may stand without a list"


def test_whole_numbers_of_numpy_and_seeds_in_an_array_are_fine(frame, tmp_path):
    options = {"folds": None, "out": tmp_path / "out", "threads": np.int64(1), "n_repeats": np.int32(2)}
    found = compared(frame, splits=np.array([3, 4]), **options)
    again = compared(frame, splits=[3, 4], **options)
    assert found.scores["fold"].tolist() == again.scores["fold"].tolist() == ["3", "3", "4", "4"]


# ---- devices ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", ["foo", "mps", "cuda:99", "cuda:x", 3.5])
@pytest.mark.parametrize("models", [["fast", "linear"], ["linear", "bagging"]], ids=["a network", "none"])
def test_a_device_that_is_not_there_is_refused_in_python(frame, tmp_path, device, models):
    with pytest.raises(InputError, match=r"device must be one of 'auto', 'cpu'.* on this machine, got "):
        compared(frame, models=models, device=device, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["compare", "tune", "run"])
@pytest.mark.parametrize("device", ["foo", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_the_users_fault(frame, tmp_path, command, device):
    if command == "tune":
        pytest.importorskip("optuna")
    table = tmp_path / "table.csv"
    frame.to_csv(table, index=False)
    words = [command, str(table), "--target", "label", "--out", str(tmp_path / "out"), "--device", device]
    result = CliRunner().invoke(app, [*words, *(["--models", "fast,linear"] if command == "compare" else [])])
    assert result.exit_code == 2, result.output
    said = " ".join(result.output.split())
    assert "device must be one of 'auto', 'cpu'" in said
    assert said.count("mps") == (device == "mps"), "only where the user names it"
    assert not (tmp_path / "out").exists()


# ---- presets of the other task ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("loss", "target", "task"), [("squared_error", "label", "classification"), ("cross_entropy", "b", "regression")]
)
def test_a_preset_for_the_other_task_is_refused_before_work(frame, tmp_path, loss, target, task):
    preset = tmp_path / "mine.json"
    preset.write_text(json.dumps({"base": "fast", "training": {"loss": loss}}))
    models = ["linear", f"{preset}:tabular"]
    with pytest.raises(InputError, match=rf"mine.json: The loss of a {task} must be .+, got .{loss}"):
        pg.compare(
            frame.drop(columns=target), frame[target], **{**QUICK, "models": models}, task=task, out=tmp_path / "out"
        )
    table = tmp_path / "table.csv"
    frame.to_csv(table, index=False)
    words = ["compare", str(table), "--target", target, "--task", task, "--models", ",".join(models)]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert f"The loss of a {task} must be" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_the_help_names_the_devices():
    said = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, ["compare", "--help"]).output)
    assert all(name in said for name in ("auto", "cpu", "cuda", "gpu", "mps"))


# ---- what the command says of columns --------------------------------------------------------------------------------
@pytest.fixture
def flagged(frame, tmp_path):
    """``flag`` has one value in all rows that a run would train on, and tells the label in the others."""
    label = frame["label"].to_numpy()
    train = split_rows(len(frame), label, task="classification", seed=42).train
    flag = np.where(label == "yes", 1, 0)
    flag[train] = 0
    frame.assign(flag=flag).to_csv(tmp_path / "flagged.csv", index=False)
    return tmp_path / "flagged.csv"


def request(table, **options):
    given = {"models": ("linear", "bagging"), "folds": 2, "target": ("label",), "threads": 1, **options}
    return CompareRequest(table=str(table), out=table.parent / "out", **given)


def test_notes_are_on_all_rows_not_on_a_split_that_is_not_made(flagged):
    asked, said = request(flagged), []
    constant = "constant in the training rows, hence without effect: flag"
    assert constant in load_inputs(asked.run_request()).notes, "a run's own training rows"
    compare_table(asked, say=said.append)
    assert not any("constant" in line for line in said)
    assert said[-1].startswith("[4/4]")
    record = json.loads((flagged.parent / "out" / "comparison.json").read_text())
    assert not any("constant" in note for note in record["notes"])
    shown = pd.read_csv(flagged).assign(flag=5)
    shown.to_csv(flagged, index=False)
    compare_table(request(flagged, overwrite=True), say=said.append)
    assert f"note: {constant}" in said, "what is constant in all rows is said"


def test_a_table_is_not_refused_for_a_split_that_is_not_made(flagged):
    asked = request(flagged, drop=("a", "b", "c"))
    with pytest.raises(InputError, match="No feature varies: "):
        load_inputs(asked.run_request())
    compare_table(asked, say=lambda text: None)
    assert set(pd.read_csv(flagged.parent / "out" / "importances.csv")["feature"]) == {"flag"}


def test_the_rows_of_a_comparison_are_those_of_its_file(flagged):
    read = pd.read_csv(flagged)
    read.assign(label=read["label"].mask(read.index % 9 == 0)).to_csv(flagged, index=False)
    kept = read[read.index % 9 != 0].reset_index(drop=True)
    given = from_request(request(flagged, group="c"))
    assert given.y.tolist() == kept["label"].tolist()
    pd.testing.assert_frame_equal(given.X, kept[["a", "b", "flag"]], check_dtype=False)
    assert given.groups.tolist() == pd.factorize(kept["c"])[0].tolist()


def test_a_loss_must_be_one_of_the_task():
    with pytest.raises(InputError, match="loss must be one of 'auto', 'squared_error', 'absolute_error'"):
        loss_of("regression", "brier")
