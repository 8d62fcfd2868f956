"""``permgrad predict`` and ``explain`` on Parquet in parts, as a user types them:
results, kills, refusals.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call, train_run
from rounding import as_many_threads
from typer.testing import CliRunner

import permgrad as pg
from permgrad.base.locks import hold_folder
from permgrad.cli import app
from permgrad.runs.commands.predict import is_streamed
from permgrad.runs.run_folder import note_files


def table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, rows), "dose": rng.normal(size=rows)}
    )
    frame["town"] = rng.choice(["Bonn", "Ulm", "Köln"], rows)
    frame["dose"] = frame["dose"].mask(rng.random(rows) < 0.05)
    frame["case"] = [f"case {i}" for i in range(rows)]
    strength = (
        (frame["age"] - 50) / 10
        + (frame["town"] == "Ulm")
        + 0.3 * rng.normal(size=rows)
    )
    frame["outcome"] = np.where(strength > 0.3, "ill", "well")
    return frame


def write(folder: Path, frame: pd.DataFrame, size: int = 70) -> Path:
    folder.mkdir()
    for start in range(0, len(frame), size):
        frame.iloc[start : start + size].to_parquet(
            folder / f"{start:05d}.parquet", row_group_size=32, index=False
        )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(
        tmp_path_factory.mktemp("run"), table(), identifier="case", epochs=5
    )


def test_predictions_are_those_of_the_table_in_memory(
    tmp_path: Path, run: Path
) -> None:
    frame = table(300, seed=3)
    folder = write(tmp_path / "rows", frame)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    printed_facts = json.loads(
        call("predict", run, folder, "--out", tmp_path / "out", "--json")
    )
    unlike = printed_facts.pop("unlike")
    assert (
        unlike
        == json.loads(
            call(
                "predict",
                run,
                tmp_path / "rows.csv",
                "--out",
                tmp_path / "said.csv",
                "--json",
            )
        )["unlike"]
    )
    assert printed_facts == {
        "rows": 300,
        "out": str(tmp_path / "out"),
        "parts": 5,
        "computed": 5,
        "classes": ["ill", "well"],
    }
    call("predict", run, tmp_path / "rows.csv", "--out", tmp_path / "memory.csv")
    streamed_predictions = pd.read_parquet(tmp_path / "out")
    expected = pd.read_csv(tmp_path / "memory.csv")
    assert streamed_predictions.columns.tolist() == expected.columns.tolist()
    assert streamed_predictions["prediction"].nunique() == 2, (
        "the case must not be trivial"
    )
    for name in ("row", "case", "prediction"):
        assert streamed_predictions[name].tolist() == expected[name].tolist()
    np.testing.assert_allclose(
        streamed_predictions["probability_ill"], expected["probability_ill"], atol=1e-6
    )
    # Once more: nothing is done; after a file was lost: that part alone.
    before = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()
    }
    assert "already finished" in call("predict", run, folder, "--out", tmp_path / "out")
    assert {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()
    } == before
    (tmp_path / "out" / "part-00002.parquet").write_bytes(b"PAR1 half")
    assert (
        json.loads(call("predict", run, folder, "--out", tmp_path / "out", "--json"))[
            "computed"
        ]
        == 1
    )
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out"), streamed_predictions
    )


def test_identifiers_that_are_missing_in_a_whole_part(
    tmp_path: Path, run: Path
) -> None:
    frame = table(140, seed=3)
    frame.loc[:69, "case"] = None
    call("predict", run, write(tmp_path / "rows", frame), "--out", tmp_path / "out")
    case_column = pd.read_parquet(tmp_path / "out")["case"]
    assert case_column.isna().tolist() == [True] * 70 + [False] * 70


def test_a_single_file_streams_if_asked_or_large(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table(50, seed=4)
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    monkeypatch.chdir(tmp_path)
    call("predict", run, "rows.parquet")
    assert (tmp_path / "rows-predictions.csv").is_file()
    call("predict", run, "rows.parquet", "--stream")
    assert (tmp_path / "rows-predictions" / "part-00000.parquet").is_file()
    assert not is_streamed(Path("rows.parquet"), None)
    monkeypatch.setattr("permgrad.runs.commands.predict.LARGE_BYTES", 100)
    assert is_streamed(Path("rows.parquet"), None)
    # A file to write is asked for: the table is read into memory, as large as it is.
    call("predict", run, "rows.parquet", "--out", "named.csv")
    assert (tmp_path / "named.csv").is_file()
    assert not is_streamed(Path("rows.parquet"), wants_stream=False)


def test_an_explanation_is_that_of_the_table_in_memory(
    tmp_path: Path, run: Path
) -> None:
    frame = table(150, seed=5)
    folder = write(tmp_path / "rows", frame)
    printed_output = call(
        "explain", run, folder, "--out", tmp_path / "out", "--repeats", 3, "--seed", 7
    )
    assert printed_output.startswith(
        "150 rows in 3 parts.\npermgrad measures the increase of the log loss.\n150 rows explained."
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "_stream.json", "explanation.json", "values.npz", "importance.csv", "plots", "times.json",
    }  # fmt: skip
    assert (tmp_path / "out" / "plots" / "bar.png").is_file()
    explanation = pg.Explanation.load(tmp_path / "out")
    # Below 200 rows donors come from the model's training rows in memory, too.
    frame.to_csv(tmp_path / "rows.csv", index=False)
    call(
        "explain",
        run,
        tmp_path / "rows.csv",
        "--out",
        tmp_path / "memory",
        "--repeats",
        3,
        "--seed",
        7,
    )
    expected = pg.Explanation.load(tmp_path / "memory")
    assert explanation.outputs == expected.outputs
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-5)
    np.testing.assert_allclose(explanation.std_error, expected.std_error, atol=1e-5)  # type: ignore[arg-type]
    again = call(
        "explain", run, folder, "--out", tmp_path / "out", "--repeats", 3, "--seed", 7
    )
    assert "It was already finished. Nothing was computed." in again
    # Either kind of explanation takes the place of the other if told to.
    words = ("--repeats", 1, "--overwrite")
    call("explain", run, folder, "--out", tmp_path / "memory", *words)
    call("explain", run, tmp_path / "rows.csv", "--out", tmp_path / "out", *words)
    assert (tmp_path / "memory" / "_stream.json").is_file()
    assert not (tmp_path / "out" / "_stream.json").exists()


def test_rows_one_by_one_and_a_sample(tmp_path: Path, run: Path) -> None:
    folder = write(tmp_path / "rows", table(150, seed=5))
    words = ("explain", run, folder, "--method", "gradient", "--max-rows", 40, "--json")
    printed_facts = json.loads(call(*words, "--out", tmp_path / "out"))
    assert printed_facts["rows_explained"] == 40
    lines = pd.read_parquet(tmp_path / "out" / "local")
    assert {"row", "feature", "class"} <= {*lines.columns}
    assert lines["row"].is_monotonic_increasing
    assert lines["row"].nunique() == 40
    assert lines["row"].max() > 75, "the sample must reach the end of the table"


@pytest.mark.slow
def test_killed_half_way_and_gone_on_with(tmp_path: Path, run: Path) -> None:
    """``kill -9`` while parts are computed: the same command does the others, and the
    numbers are those of one go.
    """
    folder = write(tmp_path / "rows", table(300, seed=6), size=20)
    slow = (
        "import sys, time\nimport permgrad.attribution.parts.stream as stream\nown = "
        "stream.explain_part\ndef slowly(*given, **named):\n    time.sleep(0.2)\n    "
        "return own(*given, **named)\nstream.explain_part = slowly\nfrom permgrad.cli "
        "import main\nmain()\n"
    )
    words = [
        "explain",
        str(run),
        str(folder),
        "--out",
        str(tmp_path / "out"),
        "--repeats",
        "2",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *words],
        env=as_many_threads(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parts_folder = tmp_path / "out" / "parts"
    deadline = time.monotonic() + 120
    while (
        len(list(parts_folder.glob("part-*.npz"))) < 3
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {
        path.name: path.stat().st_mtime_ns for path in parts_folder.glob("part-*.npz")
    }
    assert 3 <= len(done) < 15
    stopped = dict(done)
    call(*words)
    call(*words[:3], "--out", tmp_path / "other", "--repeats", 2)
    streamed_explanation, expected = (
        pg.Explanation.load(tmp_path / name) for name in ("out", "other")
    )
    np.testing.assert_array_equal(streamed_explanation.values, expected.values)
    assert streamed_explanation.meta["rows_explained"] == 300
    assert streamed_explanation.meta["streamed"]["parts"] == 15
    assert stopped == done


def test_a_changed_table_another_version_and_foreign_folders_are_refused(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table(100, seed=5)
    folder = write(tmp_path / "rows", frame)
    call("predict", run, folder, "--out", tmp_path / "out")
    frame.iloc[70:].assign(age=40.0).to_parquet(folder / "00070.parquet", index=False)
    message = call("predict", run, folder, "--out", tmp_path / "out", code=2)
    assert message.startswith(
        f"error: {tmp_path / 'out'} holds another prediction, which differs in the "
        "table's files, which have changed since. Replace it with --overwrite, remove "
        "it, or name another folder with --out (out=)."
    )
    call("predict", run, folder, "--out", tmp_path / "out", "--overwrite")
    assert pd.read_parquet(tmp_path / "out")["row"].tolist() == list(range(100))
    with monkeypatch.context() as later:
        later.setattr("permgrad.runs.commands.predict_parts.__version__", "99.0")
        assert "differs in the version of permgrad" in call(
            "predict", run, folder, "--out", tmp_path / "out", code=2
        )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with hold_folder(tmp_path / "out"):
        assert "is at work in" in call(
            "predict", run, folder, "--out", tmp_path / "out", code=2
        )
    for command in ("predict", "explain"):
        assert "holds other files (letter.txt)" in call(
            command, run, folder, "--out", tmp_path / "mine", "--overwrite", code=2
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("predict", "rows", "--out", "p.csv"),
            "need a folder, got the file --out p.csv. Name a folder",
        ),
        (
            ("predict", "rows", "--no-stream"),
            "--no-stream does not apply to a folder, and rows is one",
        ),
        (
            ("predict", "rows.csv", "--stream"),
            "--stream reads Parquet, and rows.csv is not Parquet",
        ),
        (
            ("explain", "rows", "--row", 20),
            "--row must be below the number of rows, got 20 (rows has 20 rows)",
        ),
        (
            ("explain", "rows", "--row", 3, "--max-rows", 5),
            "--row and --max-rows cannot be combined. Leave",
        ),
        (
            ("explain", "rows", "--method", "permgrad_paper"),
            "'permgrad_paper' does not take a table in parts",
        ),
        (
            ("explain", "bad"),
            (
                "an infinite value (inf) in row 5 of 'bad/00000.parquet'. Replace inf "
                "by NaN"
            ),
        ),
        (
            ("explain", "bad", "--method", "gradient"),
            "an infinite value (inf) in row 5 of 'bad/00000.parquet'",
        ),
        (
            ("predict", "bad", "--strict"),
            "an infinite value (inf) in row 5 of 'bad/00000.parquet'",
        ),
        (("predict", "lacking"), "1 column of training is missing: 'age'"),
    ],
)
def test_refusals(
    tmp_path: Path,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    message: str,
) -> None:
    frame = table(20, seed=5)
    monkeypatch.chdir(tmp_path)
    write(Path("rows"), frame)
    write(
        Path("bad"), frame.assign(dose=frame["dose"].where(np.arange(20) != 5, np.inf))
    )
    write(Path("lacking"), frame.drop(columns="age"))
    frame.to_csv("rows.csv", index=False)
    frame.to_parquet("one.parquet")
    before = sorted(path.name for path in tmp_path.iterdir())
    error_text = call(words[0], run, *words[1:], code=2)
    assert message in error_text
    assert error_text.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is left"


def test_an_infinite_number_of_a_part_counts_as_missing(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = table(90, seed=5)
    is_odd = np.arange(90) == 75
    write(Path("bad"), frame.assign(dose=frame["dose"].mask(is_odd, -np.inf)))
    write(Path("empty"), frame.assign(dose=frame["dose"].mask(is_odd)))
    result = CliRunner().invoke(app, ["predict", str(run), "bad", "--out", "odd"])
    assert result.exit_code == 0
    assert (
        "1 cell that cannot be read counts as missing: Column 'dose' holds an infinite "
        "value (-inf) in row 5 of 'bad/00070.parquet' (row 75 in all)."
    ) in result.stderr
    call("predict", run, "empty", "--out", "none")
    pd.testing.assert_frame_equal(pd.read_parquet("odd"), pd.read_parquet("none"))


def test_a_model_without_a_run_is_told_where_targets_stand(
    tmp_path: Path, run: Path
) -> None:
    """As of ``fit_stream``: the table may name its targets otherwise, in parts and in
    memory.
    """
    frame = table(60, seed=5).rename(columns={"outcome": "known"})
    folder = write(tmp_path / "rows", frame)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for name, rows in (("out", folder), ("memory", tmp_path / "rows.csv")):
        words = (
            "explain",
            run / "model",
            rows,
            "--option",
            "y=known",
            "--repeats",
            1,
            "--out",
            tmp_path / name,
        )
        assert "increase of the log loss" in call(*words)
    streamed_explanation, expected = (
        pg.Explanation.load(tmp_path / name) for name in ("out", "memory")
    )
    np.testing.assert_allclose(streamed_explanation.values, expected.values, atol=1e-5)
    assert "Column 'knwn' not found" in call(
        "explain",
        run / "model",
        folder,
        "--option",
        "y=knwn",
        "--out",
        tmp_path / "other",
        code=2,
    )
    assert "--option y=knwn: no such column" in call(
        "explain",
        run / "model",
        tmp_path / "rows.csv",
        "--option",
        "y=knwn",
        "--out",
        tmp_path / "other",
        code=2,
    )


def test_one_row_and_one_part_are_counted_in_the_singular(
    tmp_path: Path, run: Path
) -> None:
    single_row_file = write(tmp_path / "one", table(1, seed=5))
    few = write(tmp_path / "few", table(20, seed=5))
    assert "1 row predicted in 1 part: " in call(
        "predict", run, single_row_file, "--out", tmp_path / "p1"
    )
    assert "20 rows predicted in 1 part: " in call(
        "predict", run, few, "--out", tmp_path / "p20"
    )
    words = ("--out", tmp_path / "out", "--repeats", 1)
    assert call("explain", run, few, *words).startswith("20 rows in 1 part.\n")
    table(1, seed=5).to_csv(tmp_path / "one.csv", index=False)
    assert call(
        "predict", run, tmp_path / "one.csv", "--out", tmp_path / "one-out.csv"
    ).startswith("1 row predicted: ")


def test_rows_without_a_target_are_left_out_as_in_memory(
    tmp_path: Path, run: Path
) -> None:
    frame = table(150, seed=5)
    frame["outcome"] = frame["outcome"].where(
        np.random.default_rng(0).random(150) > 0.3
    )
    missing = int(frame["outcome"].isna().sum())
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = ("--repeats", 2, "--seed", 7)
    for name, rows in (
        ("out", write(tmp_path / "rows", frame)),
        ("memory", tmp_path / "rows.csv"),
    ):
        with pytest.warns(pg.PermgradWarning) as warnings_told:
            explained(run, rows, "--out", tmp_path / name, *words)
        warning_start = (
            f"{missing} of 150 rows of {rows} have no 'outcome' and are "
            "left out where the loss is explained"
        )
        warning_start = (
            warning_start
            if name == "out"
            else f"{missing} of 150 rows of {rows} have no target and are left out. "
        )
        assert [
            str(warning.message).startswith(warning_start) for warning in warnings_told
        ] == [True]
    streamed_explanation, expected = (
        pg.Explanation.load(tmp_path / name) for name in ("out", "memory")
    )
    assert (
        streamed_explanation.meta["rows_explained"]
        == expected.meta["rows_explained"]
        == 150 - missing
    )
    np.testing.assert_allclose(streamed_explanation.values, expected.values, atol=1e-5)
    np.testing.assert_allclose(
        streamed_explanation.std_error, expected.std_error, atol=1e-5
    )


@pytest.mark.parametrize(
    "chosen",
    [
        ("--row", 137, "--method", "integrated_gradients"),
        ("--row", 137),
        ("--row", 12, "--method", "shapley"),
    ],
)
def test_chosen_rows_are_explained_as_in_memory(
    tmp_path: Path, run: Path, chosen: tuple[object, ...]
) -> None:
    frame = table(150, seed=5)
    frame["outcome"] = frame["outcome"].where(np.arange(150) % 7 != 0)
    folder = write(tmp_path / "rows", frame, size=60)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = (*chosen, "--repeats", 2, "--seed", 7, "--json")
    printed_facts = [
        json.loads(call("explain", run, rows, "--out", tmp_path / name, *words))
        for name, rows in (("out", folder), ("memory", tmp_path / "rows.csv"))
    ]
    streamed_explanation, expected = (
        pg.Explanation.load(tmp_path / name) for name in ("out", "memory")
    )
    assert np.abs(expected.values).max() > 0.01, "the case must not be trivial"
    assert streamed_explanation.scope == expected.scope
    np.testing.assert_allclose(streamed_explanation.values, expected.values, atol=1e-6)
    rows = [
        [
            (row_entry["row"], row_entry.get("outcome"), row_entry.get("prediction"))
            for row_entry in command_facts.get("rows", ())
        ]
        for command_facts in printed_facts
    ]
    assert rows[0] == rows[1]


def test_codes_for_missing_alone_are_no_targets(tmp_path: Path, run: Path) -> None:
    """As in memory: the divergence is explained where every target is a code of the
    run.
    """
    facts = json.loads((run / "data.json").read_text())
    frame = table(60, seed=5).assign(outcome="?")
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "data.json").write_text(json.dumps({**facts, "na": ["?"]}))
    note_files(copied, json.loads((copied / "run.json").read_text()))
    printed_output = call(
        "explain",
        copied,
        write(tmp_path / "rows", frame),
        "--out",
        tmp_path / "out",
        "--repeats",
        1,
    )
    assert "divergence from the model's own prediction" in printed_output


def explained(run: Path, table: Path, *words: object) -> None:
    from permgrad.runs.commands.explain_command import ExplainRequest, explain_table

    options = dict(zip(words[::2], words[1::2], strict=True))
    out, repeats, seed = (options[name] for name in ("--out", "--repeats", "--seed"))
    explain_table(
        ExplainRequest(
            model_folder=run, table=table, out=out, donors=repeats, seed=seed
        )
    )


def test_targets_that_all_miss_are_no_targets(tmp_path: Path, run: Path) -> None:
    folder = write(
        tmp_path / "rows",
        table(60, seed=5).assign(outcome=pd.Series([None] * 60, dtype=object)),
    )
    printed_output = call(
        "explain", run, folder, "--out", tmp_path / "out", "--repeats", 1
    )
    assert "divergence from the model's own prediction" in printed_output


@pytest.mark.slow
def test_a_model_of_files_keeps_the_name_of_its_target(tmp_path: Path) -> None:
    """Explained of a table that holds it, it is the loss of this column that is
    measured.
    """
    frame = table().drop(columns="case").dropna()
    source = write(tmp_path / "lake", frame)
    extra = frame.iloc[:40].assign(remark="only here")
    extra.to_parquet(source / "99999.parquet", index=False)
    features = ["age", "dose", "town"]
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    with pytest.raises(pg.InputError, match="features="):
        model.fit_stream(source, "outcome")
    model.fit_stream(source, "outcome", features=features).save(tmp_path / "model")
    assert pg.load(tmp_path / "model").target_name_ == "outcome"
    rows = tmp_path / "rows.parquet"
    frame.iloc[:60].to_parquet(rows)
    for number, data in enumerate((rows, source)):
        out = tmp_path / f"why{number}"
        words = ["explain", tmp_path / "model", data, "--out", out, "--repeats", "1"]
        call(*words)
        assert "loss" in pg.Explanation.load(out).meta["quantity"]
    assert model.fit(frame[features], frame["outcome"]).target_name_ is None
