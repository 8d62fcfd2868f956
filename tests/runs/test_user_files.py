"""Files that a person deletes, keeps or names: none of them is lost, replaced, or said
to be where it is not.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call, train_run
from typer.testing import CliRunner

from permgrad import Explanation, InputError
from permgrad.cli import app


def table(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, rows), "dose": rng.normal(size=rows)}
    )
    frame["noise"] = rng.normal(size=rows)
    frame["case"] = [f"case {row_number}" for row_number in range(rows)]
    frame["outcome"] = np.array(["ill", "so", "well"])[
        np.digitize(frame["age"], (45, 55))
    ]
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
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(*words: object) -> str:
    """Run a command that must be refused and change nothing here; return what it
    says.
    """
    before = contents(Path())
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    assert contents(Path()) == before, "Nothing was changed"
    return result.stderr.splitlines()[-1]


# --- deleted files --------------------------------------------------------------------
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
    before = {
        name: Path("run", name).read_bytes()
        for name in ("importance.csv", "predictions.csv", "data.json")
    }
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = CliRunner().invoke(app, ["run", "table.csv", *RUN])
    assert result.exit_code == 0, result.output
    assert "Nothing was changed" not in result.stdout
    assert (
        result.stderr.count("is missing. The stage that writes")
        + result.stderr.count("are missing. The stage")
        == 1
    )
    assert gone in result.stderr
    assert result.stderr.count("finished before") == kept
    assert path.exists()
    assert {name: Path("run", name).read_bytes() for name in before} == before, (
        "the same result as before"
    )
    assert "Nothing was changed" in call("run", "table.csv", *RUN)


def test_a_report_of_a_run_that_lost_files_says_which(place):
    Path("run", "importance.csv").unlink()
    message = refused("report", "run")
    assert (
        "importance.csv of stage 'explanation' is missing. Write it again with "
        "`permgrad run " in message
    )


def test_the_command_that_mends_a_copied_run_names_the_copy(place):
    shutil.copytree("run", "my copy")
    shutil.rmtree("my copy/explanations")
    message = refused("report", "my copy")
    command = shlex.split(message.split("`")[1])
    assert command[-2:] == ["--out", "my copy"]
    assert command.count("--out") == 1
    assert "Nothing was changed" not in call(*command[1:])
    call("report", "my copy")


# --- overwriting a run ----------------------------------------------------------------
@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"age": ["dose", "noise"]}, "Group 'age' has the name of a column outside it"),
        (
            {"both": ["dose", "noise"], "none": []},
            "Group 'none' is empty",
        ),
    ],
)
@pytest.mark.parametrize("more", [(), ("--overwrite",)], ids=["", "overwrite"])
def test_groups_are_refused_before_a_run_is_replaced(place, groups, said, more):
    Path("g4.json").write_text(json.dumps(groups))
    message = refused("run", "table.csv", *RUN, "--groups", "g4.json", *more)
    assert said in message
    assert "in g4.json" in message
    assert "already finished" in call("run", "table.csv", *RUN), "the run is as it was"


def test_a_test_file_that_cannot_be_encoded_is_refused_before_a_run_is_replaced(place):
    table(30).assign(age="old").to_csv("test.csv", index=False)
    assert "'age'" in refused(
        "run", "table.csv", *RUN, "--test", "test.csv", "--overwrite"
    )


def test_a_loss_of_another_task_is_refused_before_a_run_is_replaced(place):
    Path("other.json").write_text(json.dumps({"base": "fast", "loss": "squared_error"}))
    words = [*RUN[:4], "--preset", "other.json", "--out", "run", "--overwrite"]
    assert "The loss of a classification must be 'cross_entropy'" in refused(
        "run", "table.csv", *words
    )


@pytest.mark.parametrize(
    "content",
    [
        {"learning_rate": -1},
        {"max_epochs": "ten"},
        {"batch_size": 0},
        {"label_smoothing": 5},
        {"schedule": "nope"},
        {"loss": "nope"},
        {"layout": "nope"},
        {"numeric": "nope"},
        {"network": {"members": 4, "normalization": "batch"}},
    ],
    ids=str,
)
def test_values_of_a_preset_are_refused_before_a_run_is_replaced_or_begun(
    place, content
):
    Path("wrong.json").write_text(json.dumps({"base": "fast", **content}))
    words = [*RUN[:4], "--preset", "wrong.json"]
    assert re.search(
        r"Preset wrong.json: |\[PG\d+\]",
        refused("run", "table.csv", *words, "--out", "run", "--overwrite"),
    )
    refused("run", "table.csv", *words, "--out", "fresh")
    assert not Path("fresh").exists()
    if "loss" not in content.get(
        "training", {}
    ):  # models are compared on a table that is read later
        refused(
            "compare",
            "table.csv",
            *RUN[:4],
            "--models",
            "wrong.json,ridge",
            "--out",
            "compared",
        )


def test_a_run_with_all_in_order_is_replaced(place):
    Path("groups.json").write_text(json.dumps({"both": ["dose", "noise"]}))
    call("run", "table.csv", *RUN, "--groups", "groups.json", "--overwrite")
    assert set(pd.read_csv("run/importance.csv")["feature"]) == {"age", "both"}


# --- outputs that are inputs ----------------------------------------------------------
@pytest.mark.parametrize("more", [(), ("--overwrite",)], ids=["", "overwrite"])
def test_predictions_never_replace_their_table(place, more):
    Path("link.csv").symlink_to("table.csv")
    Path("folder").symlink_to(".")
    for out in ("table.csv", "./link.csv", "folder/table.csv"):
        message = refused("predict", "run", "table.csv", "--out", out, *more)
        assert (
            f"{Path(out)} is or contains the table table.csv, which the command reads."
            in message
        )
    assert "is or contains the table link.csv" in refused(
        "predict", "run", "link.csv", "--out", "table.csv", *more
    )


@pytest.mark.parametrize(
    "leads_to", ["nowhere.csv", "link.csv"], ids=["nowhere", "to itself"]
)
def test_a_link_that_leads_nowhere_is_replaced_by_a_file_alone(place, leads_to):
    link = Path("link.csv")
    link.symlink_to(leads_to)
    message = refused(
        "explain",
        "run",
        "table.csv",
        "--method",
        "gradient",
        "--row",
        "3",
        "--out",
        link,
    )
    assert (
        "link.csv is a link that leads nowhere, not a folder. Choose another" in message
    )
    with pytest.raises(InputError, match=r"link\.csv already exists. Choose another"):
        Explanation.load("run/explanations/permgrad").save(link)
    assert link.is_symlink()
    call("predict", "run", "table.csv", "--out", link)
    assert not link.is_symlink()


@pytest.mark.parametrize(
    "name", ["p.parquet", "p.xlsx", "p.json", "p.tsv", "p", "p.csv.zip"]
)
def test_predictions_are_not_written_under_the_name_of_another_format(place, name):
    message = refused("predict", "run", "table.csv", "--out", name)
    assert (
        f"Predictions are written as CSV, got --out {name}. Use a name that ends in "
        ".csv, .csv.gz or .txt" in message
    )


def test_predictions_are_written_under_each_name_of_csv(place):
    for name in ("p.CSV", "p.txt", "p.csv.gz"):
        call("predict", "run", "table.csv", "--out", name)
    pd.testing.assert_frame_equal(pd.read_csv("p.csv.gz"), pd.read_csv("p.txt"))
    assert Path("p.txt").read_bytes() == Path("p.CSV").read_bytes()


def test_predictions_and_explanations_never_replace_a_file_of_the_run(place):
    for out in ("run/predictions.csv", "run/model/model.json", "run/run.json"):
        message = refused("predict", "run", "table.csv", "--out", out, "--overwrite")
        assert f"{out} belongs to the run in run" in message
    for model in ("run", "run/model"):
        message = refused(
            "explain",
            model,
            "table.csv",
            "--out",
            "run/explanations/permgrad",
            "--overwrite",
        )
        assert "run/explanations/permgrad belongs to the run in run" in message
    call("predict", "run", "table.csv", "--out", "run/other.csv")


def test_an_explanation_never_replaces_its_table(place):
    call(
        "explain",
        "run",
        "table.csv",
        "--method",
        "gradient",
        "--row",
        "3",
        "--out",
        "why",
    )
    shutil.copy("table.csv", "why/rows.csv")
    message = refused(
        "explain",
        "run",
        "why/rows.csv",
        "--method",
        "gradient",
        "--out",
        "why",
        "--overwrite",
    )
    assert "why is or contains the table why/rows.csv" in message


def test_explanations_and_predictions_in_parts_never_become_part_of_their_table(place):
    Path("parts").mkdir()
    table().to_parquet("parts/a.parquet")
    for command in ("explain", "predict"):
        assert "is inside the table parts" in refused(
            command, "run", "parts", "--out", "parts/out", "--overwrite"
        )
    where = ("--row", "3", "--method", "gradient")
    assert "is inside the table parts" in refused(
        "explain", "run", "parts", *where, "--out", "parts/out"
    )


def test_a_run_never_replaces_its_table(place):
    words = ("--target", "truth", "--preset", "fast", "--out", "run", "--overwrite")
    message = refused("run", "run/predictions.csv", *words)
    assert "run is or contains the table run/predictions.csv" in message
    message = refused(
        "run",
        "table.csv",
        *RUN[:4],
        "--test",
        "run/predictions.csv",
        "--out",
        "run",
        "--overwrite",
    )
    assert "the test file run/predictions.csv" in message


# --- files of others ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("run", "metrics.json"),
        ("compare", "scores.csv"),
        ("tune", "trials.csv"),
        ("tune", "metrics.json"),
    ],
)
def test_files_of_others_with_our_names_are_never_replaced(place, command, name):
    if command == "tune":
        pytest.importorskip("optuna")
    Path("mine").mkdir()
    Path("mine", name).write_text("mine")
    more = {
        "compare": ("--models", "linear,mlp", "--cv", "2"),
        "tune": ("--trials", "1"),
        "run": ("--preset", "fast"),
    }
    words = (
        command,
        "table.csv",
        "--target",
        "outcome",
        "--id",
        "case",
        *more[command],
        "--out",
        "mine",
    )
    message = refused(*words)
    assert f"holds other files ({name}). Choose another folder with --out" in message
    assert "--overwrite" not in message
    message = refused(*words, "--overwrite")
    assert "mine holds no " in message
    assert (
        f", but other files with its names ({name}). Choose another folder" in message
    )


# --- rows and classes that were asked for ---------------------------------------------
@pytest.mark.parametrize(
    "form", ["csv", pytest.param("parquet", marks=pytest.mark.slow)]
)
def test_rows_have_the_numbers_of_the_table_in_every_file(place, form):
    frame = table()
    frame.to_parquet("table.parquet")
    table_file = Path(f"table.{form}")
    words = ("explain", "run", table_file, "--method", "integrated_gradients")
    call(*words, "--row", "3", "--out", "one")
    assert (
        set(pd.read_csv("one/rows.csv")["row"])
        == set(pd.read_csv("one/importance.csv")["row"])
        == {3}
    )
    call(*words, "--max-rows", 9, "--out", "some")
    sample_importances = pd.read_csv("some/importance.csv")
    sample_rows = sample_importances["row"].drop_duplicates().tolist()
    assert len(sample_rows) == 9
    assert sample_rows == sorted(sample_rows) != list(range(9)), (
        "the precondition: other numbers than their places"
    )
    call(
        "explain", "run", table_file, "--method", "integrated_gradients", "--out", "all"
    )
    whole_importances = pd.read_csv("all/importance.csv")
    assert whole_importances["row"].drop_duplicates().tolist() == list(
        range(len(frame))
    )
    joined = sample_importances.merge(
        whole_importances, on=["row", "feature", "class"], suffixes=("", "_whole")
    )
    assert len(joined) == len(sample_importances)
    np.testing.assert_allclose(
        joined["importance"], joined["importance_whole"], atol=1e-5
    )


def test_rows_without_a_target_stand_among_the_others_where_no_loss_is_explained(place):
    frame = table(20)
    frame.loc[[0, 5], "outcome"] = None
    frame.to_csv("gaps.csv", index=False)
    call(
        "explain",
        "run",
        "gaps.csv",
        "--method",
        "integrated_gradients",
        "--option",
        "scope=local",
        "--out",
        "gaps",
    )
    rows = pd.read_csv("gaps/importance.csv")["row"].drop_duplicates().tolist()
    assert rows == list(range(20))


def test_the_class_that_was_asked_for_is_printed_and_named(place):
    def ranking(*more: str) -> tuple[str, dict[str, float]]:
        lines = (
            call("explain", "run", "table.csv", *more).replace("−", "-").splitlines()
        )
        return "\n".join(lines), {
            line.split()[0]: float(line.split()[1])
            for line in lines
            if line.startswith("  ")
        }

    text, overall = ranking("--out", "overall")
    assert " for ill." not in text
    text, ill = ranking("--target", "ill", "--out", "ill")
    assert "log loss for ill." in text
    frame = pd.read_csv("ill/importance.csv")
    expected_importances = frame[frame["class"] == "ill"].set_index("feature")[
        "importance"
    ]
    assert ill == pytest.approx(expected_importances.to_dict(), abs=5e-3)
    assert ill != overall, "the precondition: they differ"
    text, _ = ranking("--target", "ill", "--target", "well", "--out", "both")
    assert "log loss for ill." in text
    assert "log loss for well." in text


# --- damaged files --------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("model/weights.safetensors", 2),
        ("model/arrays.npz", 2),
        ("model/model.json", 2),
        ("explanations/permgrad/values.npz", 3),
        ("explanations/permgrad/explanation.json", 3),
        ("split.npz", 0),
    ],
)
def test_a_damaged_file_of_a_finished_run_is_made_again(place, name, kept):
    path = Path("run", name)
    same = (
        "importance.csv",
        "predictions.csv",
        "data.json",
        "model/weights.safetensors",
        "explanations/listed.json",
        "explanations/cards.npz",
    )
    before = {file_name: Path("run", file_name).read_bytes() for file_name in same}
    path.write_bytes(path.read_bytes()[:200])
    assert f"{name} of stage " in refused("report", "run"), "nor is a report made of it"
    result = CliRunner().invoke(app, ["run", "table.csv", *RUN])
    assert result.exit_code == 0, result.output
    assert "Nothing was changed" not in result.stdout
    assert (
        result.stderr.count(
            "is damaged or changed. The stage that writes it is repeated, and all "
            "later ones."
        )
        == 1
    )
    assert name in result.stderr
    assert result.stderr.count("finished before") == kept
    assert {
        file_name: Path("run", file_name).read_bytes() for file_name in before
    } == before, "the same result as before"
    assert "Nothing was changed" in call("run", "table.csv", *RUN)
    call("report", "run")


@pytest.mark.parametrize("name", ["history.csv", "predictions.csv", "layout.json"])
def test_a_report_is_not_made_of_half_a_file(place, name):
    path = Path("run", name)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    assert re.search(
        f"In run, {name} of stage '.*' is damaged or changed. Write it",
        refused("report", "run"),
    )


@pytest.mark.slow
def test_a_damaged_record_is_called_damaged(place):
    for content in ("{bad", "[]"):
        Path("run/run.json").write_text(content)
        assert "run/run.json is damaged. Run again with --overwrite" in refused(
            "report", "run"
        )
        assert (
            "run/run.json is damaged. Start again with --overwrite, or choose another"
            in refused("run", "table.csv", *RUN)
        )
    call("run", "table.csv", *RUN, "--overwrite")
    call("report", "run")
