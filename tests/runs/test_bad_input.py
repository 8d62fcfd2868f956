"""Whatever is wrong with the input: exit code 2 or 3, one clear sentence with the fix,
nothing half-written.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from permgrad.cli import app
from permgrad.runs.run.run_splitting import choose_task


def table(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        rng.normal(size=(rows, 3)), columns=["age", "weight", "height"]
    )
    return frame.assign(
        town=rng.choice(["Bonn", "Ulm"], rows),
        y=np.where(frame["age"] > 0, "yes", "no"),
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().to_csv("table.csv", index=False)
    return tmp_path


def refused(folder: Path, *words: str, code: int = 2) -> str:
    """Run the command; check that it refused in one sentence and left the disk as it
    was; return the sentence.
    """
    before = tree(folder)
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == errors[0], "the error is the last word"
    assert tree(folder) == before, "nothing is half-written"
    assert not (folder / "permgrad-runs").exists()
    return errors[0].removeprefix("error: ")


def test_missing_file(here):
    message = refused(here, "run", "tabel.csv", "--target", "y")
    fact = "The table file 'tabel.csv' does not exist. Did you mean 'table.csv'? ["
    assert message.startswith(fact)
    assert message.endswith(" [PG010]")


def test_a_folder_in_the_place_of_the_table(here):
    assert "is a folder" in refused(here, "run", ".", "--target", "y")


def test_misspelt_data_set(here):
    assert "Did you mean 'heloc'?" in refused(here, "run", "helok")


def test_no_target(here):
    message = refused(here, "run", "table.csv")
    assert message == (
        "Missing --target. Which column should be predicted? Columns: age, weight, "
        "height, town, y. [PG005]"
    )


def test_no_such_target(here):
    message = refused(here, "run", "table.csv", "--target", "heigth")
    assert message == (
        "--target heigth: no such column. Did you mean 'height'? [PG012]"
    )


def test_several_targets(here):
    message = refused(here, "run", "table.csv", "--target", "y", "--target", "age")
    assert (
        message
        == "A run predicts one column, got --target y --target age. Run once for each "
        "target. [PG006]"
    )


def test_target_with_one_class(here):
    table().assign(y="yes").to_csv("one.csv", index=False)
    message = refused(here, "run", "one.csv", "--target", "y")
    assert message == (
        "Column 'y' has only one class: 'yes'. Choose another target. [PG015]"
    )


@pytest.mark.parametrize("value", ["yes", 1.5])
def test_a_test_file_with_one_value_of_the_target_is_named(here, value):
    rows = table()
    if value == 1.5:
        rows = rows.assign(y=rows["height"])
    rows.to_csv("train.csv", index=False)
    rows.assign(y=value).to_csv("one.csv", index=False)
    command = ["run", "train.csv", "--target", "y", "--test", "one.csv"]
    message = refused(here, *command)
    assert "'y' of the test file" in message
    assert message.endswith("Add rows with other values, or leave --test out. [PG015]")


def test_constant_target_of_a_regression(here):
    table().assign(y=1.5).to_csv("one.csv", index=False)
    message = refused(here, "run", "one.csv", "--target", "y", "--task", "regression")
    assert (
        message
        == "Column 'y' cannot be the target: it is 1.5 in every row. Choose another "
        "target. [PG015]"
    )


def test_text_target_for_regression(here):
    message = refused(
        here, "run", "table.csv", "--target", "town", "--task", "regression"
    )
    assert message.startswith(
        "A regression target must be numeric, but column 'town' holds text such as "
    )
    assert message.endswith(
        ". Choose another target, or --task classification. [PG015]"
    )


def test_a_text_target_shows_a_cell_that_is_no_number(here):
    frame = table()
    frame["sold"] = np.resize(["12.5", "on request", "7", "later", "ask"], len(frame))
    frame.to_csv("sold.csv", index=False)
    message = refused(
        here, "run", "sold.csv", "--target", "sold", "--task", "regression"
    )
    assert "column 'sold' holds text such as 'on request'" in message


@pytest.mark.parametrize("task", ["auto", "regression"])
def test_a_target_of_numbers_with_a_cell_that_is_none(here, task):
    frame = table()
    numbers = [f"{20 + row}" if row % 20 else "Total" for row in range(len(frame))]
    frame.assign(y=numbers).to_csv("total.csv", index=False)
    message = refused(here, "run", "total.csv", "--target", "y", "--task", task)
    assert "'Total'" in message
    assert "Pass --na Total if it means missing, or correct the cell." in message
    assert ". ." not in message
    few = ["Total" if row < 20 else f"{row % 5}" for row in range(len(frame))]
    assert choose_task(pd.Series(few), "auto", "y")[0] == "classification", (
        "codes of few classes"
    )


@pytest.mark.parametrize("task", ["auto", "regression"])
@pytest.mark.parametrize("cell", ["{}:05:30", "2024-01-{:02d}"])
def test_a_target_of_times_is_to_be_made_a_number(here, task, cell):
    frame = table(28)
    frame.assign(y=[cell.format(1 + row) for row in range(len(frame))]).to_csv(
        "times.csv", index=False
    )
    message = refused(here, "run", "times.csv", "--target", "y", "--task", task)
    assert "Column 'y' holds dates or times, and these cannot be predicted" in message
    assert "make it a number, such as days" in message


def test_target_missing_in_every_row(here):
    table().assign(y=np.nan).to_csv("none.csv", index=False)
    assert "Column 'y' of the table is missing in every row" in refused(
        here, "run", "none.csv", "--target", "y"
    )


def test_infinite_target(here):
    frame = table()
    frame.loc[3, "age"] = np.inf
    frame.to_csv("infinite.csv", index=False)
    message = refused(here, "run", "infinite.csv", "--target", "age")
    assert message == (
        "A regression target must be finite, but column 'age' holds inf in line 5 of "
        "'infinite.csv'. Correct the cell or leave it empty. [PG014]"
    )


def test_a_target_too_large_to_be_squared(here):
    for row in range(0, 60, 10):
        frame = table()
        frame.loc[row, "age"] = 1e300
        frame.to_csv("huge.csv", index=False)
        message = refused(here, "run", "huge.csv", "--target", "age")
        assert message == (
            "y's squares do not fit into float64: its largest value is 1e+300 in size "
            "and its values span 1e+300. Give y in another unit. [PG015]"
        )


@pytest.mark.parametrize("row", range(0, 60, 5))
def test_infinite_values_in_whichever_part(here, row):
    frame = table()
    frame.loc[row, "weight"] = -np.inf
    frame.to_csv("infinite.csv", index=False)
    message = refused(here, "run", "infinite.csv", "--target", "y")
    assert message == (
        f"Column 'weight' holds an infinite value (-inf) in line {row + 2} of "
        "'infinite.csv'. Replace inf by NaN (missing) or by a large number, or declare "
        "it as a code for missing: --na=-inf, or na=['-inf'] in Python. [PG014]"
    )


def test_cells_of_a_test_file_that_are_no_numbers(here):
    table().assign(weight="heavy").to_csv("test.csv", index=False)
    message = refused(here, "run", "table.csv", "--target", "y", "--test", "test.csv")
    assert message.startswith(
        "Column 'weight' must be numeric, but holds 'heavy' in line 2 of 'test.csv'. "
        "Correct the ce"
    )


def test_one_class_written_in_two_ways(here):
    table().assign(y=np.resize(["001", "1"], 60)).to_csv("one.csv", index=False)
    message = refused(here, "run", "one.csv", "--target", "y")
    assert message == (
        "Column 'y' has only one class: 1 ('001' and '1' are both read as it). Write "
        "them as text, for example with "
        "a letter in front, or choose another target. [PG015]"
    )


@pytest.mark.parametrize(
    ("content", "fact"),
    [("", "is empty"), ("a,y\n", "but no rows"), ("\n\n\n", "is empty")],
    ids=["no byte", "header only", "blank lines"],
)
def test_empty_table(here, content, fact):
    Path("empty.csv").write_text(content)
    assert fact in refused(here, "run", "empty.csv", "--target", "y")


def test_one_row(here):
    table(1).to_csv("one.csv", index=False)
    message = refused(here, "run", "one.csv", "--target", "age")
    assert message.startswith(
        "The table needs at least 10 rows with a target to be split, got 1. Add rows."
    )


def test_nine_rows(here):
    table(9).to_csv("nine.csv", index=False)
    message = refused(here, "run", "nine.csv", "--target", "y")
    assert message.startswith(
        "The table needs at least 10 rows with a target to be split, got 9."
    )


def test_nothing_to_predict_from(here):
    table()[["y"]].to_csv("bare.csv", index=False)
    assert "No column is left to predict 'y' from. Add columns." in refused(
        here, "run", "bare.csv", "--target", "y"
    )
    table()[["y"]].assign(a=1, b=np.nan).to_csv("constant.csv", index=False)
    assert (
        "No feature varies: 'a', 'b' have one value each in the training rows. Add "
        "columns" in refused(here, "run", "constant.csv", "--target", "y")
    )


def test_the_target_stands_once(here):
    Path("twice.csv").write_text("y,a,y\n" + "x,2,x\nz,3,z\n" * 30)
    message = refused(here, "run", "twice.csv", "--target", "y")
    assert message == (
        "Column 'y' is in the header of 'twice.csv' 2 times, so the target is unclear. "
        "Rename or delete the others. [PG008]"
    )
    assert "--target b: no such column" in refused(
        here, "run", "twice.csv", "--target", "b"
    ), "others are numbered"


def test_wrong_delimiter(here):
    Path("carets.csv").write_text("a^b^y\n" + "1^2^x\n2^3^z\n" * 30)
    message = refused(here, "run", "carets.csv", "--target", "y")
    assert "delimiter" in message
    assert "'^'" in message


def test_unquoted_delimiter_in_the_data(here):
    Path("ragged.csv").write_text("a,b,y\n" + "1,2,x\n" * 20 + "1,2,3,x\n")
    assert "Line 22" in refused(here, "run", "ragged.csv", "--target", "y")


def test_binary_file(here):
    Path("picture.csv").write_bytes(bytes(range(256)) * 20)
    assert "binary" in refused(here, "run", "picture.csv", "--target", "y")
    Path("cut.parquet").write_bytes(b"PAR1" + bytes(100))
    assert "cut off, damaged or no Parquet" in refused(
        here, "run", "cut.parquet", "--target", "y"
    )


def test_no_place_to_write(here):
    message = refused(
        here,
        "run",
        "table.csv",
        "--target",
        "y",
        "--preset",
        "fast",
        "--out",
        "table.csv/run",
        code=3,
    )
    fact = "Cannot write table.csv/run: Not a directory"
    assert message == f"{fact}. Choose another folder with --out. [PG062]"
    if Path("/proc/self").is_dir():
        message = refused(
            here,
            "run",
            "table.csv",
            "--target",
            "y",
            "--preset",
            "fast",
            "--out",
            "/proc/run",
            code=3,
        )
        assert "Cannot write" in message


def test_read_only_folder(here, monkeypatch):
    def refuse(*_args, **_keywords):
        raise PermissionError(13, "Permission denied", "runs/x")

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = refused(
        here,
        "run",
        "table.csv",
        "--target",
        "y",
        "--preset",
        "fast",
        "--out",
        "runs/x",
        code=3,
    )
    assert (
        message
        == "Cannot write runs/x: Permission denied. Choose another folder with --out. "
        "[PG062]"
    )


def test_full_disk_while_writing(here, monkeypatch):
    import permgrad.runs.run.run_work

    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device", "run/data.json")

    monkeypatch.setattr(permgrad.runs.run.run_work, "write_json_atomic", full)
    result = CliRunner().invoke(
        app, ["run", "table.csv", "--target", "y", "--preset", "fast", "--out", "run"]
    )
    assert result.exit_code == 3
    assert "run/data.json: No space left on device" in result.stderr
    assert set(tree(here / "run")) == {"run.json"}, (
        "the stage left nothing; the record says that none is finished"
    )


def test_folder_of_other_files(here):
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    message = refused(
        here, "run", "table.csv", "--target", "y", "--preset", "fast", "--out", "thesis"
    )
    assert "holds other files (chapter.tex)" in message
    assert "--out" in message
    assert "--overwrite" in message


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["--threads", "0"], "--threads must be from 1 to 1024, got 0. [PG002]"),
        (
            ["--threads", "99999999999999999999"],
            "--threads must be from 1 to 1024, got 99999999999999999999.",
        ),
        (
            ["--task", "ranking"],
            (
                "task must be one of 'auto', 'classification', 'regression', 'counts', "
                "got 'ranking'"
            ),
        ),
        (["--preset", "defualt"], "Did you mean 'default'?"),
        (["--device", "tpu"], "device must be one of"),
        (["--device", "cuda:99"], "device must be one of"),
        (
            ["--from", "modell"],
            "from cannot be 'modell'. Did you mean 'model'?",
        ),
        (["--from", "explan"], "Did you mean 'explanation'?"),
        (["--from", "explanation"], "is not finished"),
        (
            ["--cost", "1e308", "1e308"],
            "two finite numbers of at least 0, not both 0, got 1e+308 1e+308",
        ),
        (
            ["--max-rows", "one"],
            "--max-rows must be a whole number of at least 2, or all, got 'one'",
        ),
        (
            ["--encoder", "efficientnet"],
            "--encoder cannot be 'efficientnet'. Did you mean 'efficientnet-lite0'?",
        ),
        (
            ["--encoder", ".", "--encoder", "all-minilm-l6-v2"],
            "read the same columns. Leave one of them out",
        ),
        (["--baselines", "linaer"], "Did you mean 'linear'?"),
        (["--preset", "default:tabluar"], "Did you mean 'tabular'?"),
        (["--from", "report"], "is not finished"),
        (
            ["--drop", "agee"],
            "--drop agee: no such column. Did you mean 'age'?",
        ),
        (
            ["--drop", "age,weight"],
            "--drop age,weight: no such column. Name one column in each --drop.",
        ),
        (["--id", "number"], "--id number: no such column. Columns: age, weight,"),
        (["--row-group", "clinic"], "--row-group clinic: no such column"),
        (["--time", "date"], "--time date: no such column"),
        (["--time", "town"], "time must be a number or a date"),
        (["--row-group", "town"], "A grouped split needs at least 3 groups"),
        (
            ["--row-group", "town", "--time", "age"],
            "--row-group and --time cannot be combined",
        ),
        (
            ["--drop", "y"],
            "Column 'y' is the target and also named by --drop. Leave one of them out.",
        ),
        (["--groups", "nowhere.json"], "The groups file 'nowhere.json' does not exist"),
        (
            ["--groups", "town"],
            "It is a column. If its rows belong together, pass --row-group town.",
        ),
        (
            ["--cost", "3"],
            "requires 2 arguments. Write --cost A B, with a blank between them.",
        ),
        (["--test", "nowhere.csv"], "The test file 'nowhere.csv' does not exist"),
        (["--preset", "nowhere.json"], "The preset file 'nowhere.json' does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_used(here, words, fact):
    assert fact in refused(here, "run", "table.csv", "--target", "y", *words)


def test_a_group_of_a_column_that_is_no_feature(here):
    Path("groups.json").write_text('{"body": ["weight", "hieght"]}')
    message = refused(
        here, "run", "table.csv", "--target", "y", "--groups", "groups.json"
    )
    assert message == (
        "Group 'body' lists 'hieght', which is not a feature. Did you mean 'height'? "
        "[PG039]"
    )


def test_own_test_file_without_a_column_of_training(here):
    table(20, seed=1).drop(columns="weight").to_csv("test.csv", index=False)
    message = refused(here, "run", "table.csv", "--target", "y", "--test", "test.csv")
    assert "1 column of training is missing: 'weight'" in message


def test_usage_errors_name_the_option(here):
    result = CliRunner().invoke(app, ["run", "table.csv", "--targt", "y"])
    assert result.exit_code == 2
    # Versions of Click word it differently.
    assert re.search(
        r"error: No such option:? '?--targt'?\. Did you mean '--target'\? .*\[PG003\]$",
        result.stderr,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["run", ""],
        ["run", "table.csv", "--target", "y", "--out", ""],
        ["run", "table.csv", "--target", "y", "--test", ""],
        ["run", "table.csv", "--target", "y", "--groups", ""],
        ["predict", "", "table.csv"],
        ["predict", ".", ""],
        ["predict", ".", "table.csv", "--out", ""],
        ["explain", ".", ""],
        ["explain", ".", "table.csv", "--out", ""],
        ["report", ""],
        ["tune", "table.csv", "--out", ""],
        ["compare", "table.csv", "--out", ""],
        ["benchmark", "tabular", "--out", ""],
    ],
    ids=" ".join,
)
def test_names_of_files_and_folders_are_not_empty(here, words):
    before = tree(here)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "the name is empty." in result.stderr
    assert tree(here) == before


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (
            ["predict", "nowhere", "table.csv"],
            "The model folder nowhere does not exist",
        ),
        (["predict", "table.csv", "table.csv"], "The model folder table.csv is a file"),
        (
            ["explain", "nowhere", "table.csv"],
            "The model folder nowhere does not exist",
        ),
        (
            ["explain", ".", "table.csv", "--method", "gradcan"],
            "Did you mean 'gradcam'?",
        ),
        (["report", "nowhere"], "nowhere does not exist, so it is not a run's folder"),
        (["report", "."], "has no run.json"),
        (["datasets", "fetch", "helok"], "Did you mean 'heloc'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_commands(here, words, fact):
    assert fact in refused(here, *words)


@pytest.mark.parametrize("command", ["predict", "explain"])
@pytest.mark.parametrize("model", ["nowhere", "table.csv"])
def test_the_model_is_looked_at_before_the_place_to_write(here, command, model):
    Path("table-predictions.csv").write_text("of another day")
    Path("table-permgrad").mkdir()
    Path("table-permgrad/explanation.json").write_text("{}")
    fault = f"The model folder {model} "
    if (command, model) == ("explain", "table.csv"):
        fault = "table.csv is a table, not a model"
    assert fault in refused(here, command, model, "table.csv")


def test_named_set_that_is_nowhere(here, monkeypatch):
    monkeypatch.setenv("PERMGRAD_DATA", str(here / "none"))
    monkeypatch.setenv("PERMGRAD_CACHE", str(here / "cache"))
    message = refused(here, "run", "heloc", code=3)
    assert "ut the file heloc.csv" in message
    assert "PERMGRAD_DATA" in message


def test_the_program_itself_in_a_process_of_its_own(here):
    """What the runner inside pytest cannot show: the exit code of the process and what
    really reaches stderr.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "permgrad", "run", "tabel.csv", "--target", "y"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: The table file 'tabel.csv' does not exist. ")
    process_result = subprocess.run(
        [sys.executable, "-m", "permgrad", "--help"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert process_result.stdout.startswith("Usage: permgrad [OPTIONS]")


def test_debug_shows_the_traceback(here):
    result = CliRunner().invoke(app, ["run", "tabel.csv", "--target", "y", "--debug"])
    assert result.exit_code == 2


def test_an_internal_fault_says_so(here, monkeypatch):
    import permgrad.runs.run.run

    def broken(*_args, **_keywords):
        raise RuntimeError("two plus two is five")

    monkeypatch.setattr(permgrad.runs.run.run, "load_inputs", broken)
    message = refused(here, "run", "table.csv", "--target", "y", code=1)
    assert (
        message
        == "A fault in permgrad: RuntimeError: two plus two is five. Run again with "
        "--debug and report it."
    )


def test_interrupted(here, monkeypatch):
    import permgrad.runs.run.run

    def interrupt(*_args, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(permgrad.runs.run.run, "load_inputs", interrupt)
    message = refused(here, "run", "table.csv", "--target", "y", code=130)
    assert (
        message
        == "Interrupted. Run the same command to resume after the last finished stage."
    )


def test_costs_need_two_classes(here):
    words = ("run", "table.csv", "--cost", "1", "5", "--target")
    message = refused(here, *words, "age")
    fix = "Leave --cost out, or choose another --target. [PG004]"
    assert (
        message == f"--cost needs a target of two classes, but 'age' is a number. {fix}"
    )
    table().assign(y=np.arange(60) % 3).to_csv("table.csv", index=False)
    message = refused(here, *words, "y", "--task", "classification")
    fact = "the training rows of 'y' hold 3 classes"
    assert message == f"--cost needs a target of two classes, but {fact}. {fix}"


def test_a_folder_that_is_nearly_named_is_proposed(here):
    Path("runs", "patients-0").mkdir(parents=True)
    for words in (
        ["predict", "runs/patients", "table.csv"],
        ["report", "runs/patients"],
    ):
        assert "Did you mean 'patients-0'?" in refused(here, *words)
