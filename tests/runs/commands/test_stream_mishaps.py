"""What goes wrong around tables in parts: names that clash, files that vanish, folders
in the wrong place.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from invoking import call, train_run

import permgrad as pg
from permgrad.base.locks import hold_folder
from permgrad.runs.run.predicting import prediction_table


def table(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, rows), "dose": rng.normal(size=rows)}
    )
    frame["prediction"] = [f"case {number}" for number in range(rows)]
    frame["outcome"] = np.where(
        frame["age"] + 5 * rng.normal(size=rows) > 50, "ill", "well"
    )
    return frame


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    frame = table()
    for start in (0, 120):
        frame.iloc[start : start + 120].to_parquet(
            folder / f"{start:03d}.parquet", index=False
        )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(
        tmp_path_factory.mktemp("run"), table(), identifier="prediction", epochs=3
    )


def test_identifiers_named_like_predictions_replace_nothing(
    tmp_path: Path, run: Path, rows: Path
) -> None:
    call("predict", run, rows, "--out", tmp_path / "parts")
    table().to_csv(tmp_path / "rows.csv", index=False)
    call("predict", run, tmp_path / "rows.csv", "--out", tmp_path / "memory.csv")
    streamed_parts = pd.read_parquet(tmp_path / "parts")
    memory = pd.read_csv(tmp_path / "memory.csv")
    assert streamed_parts.columns.tolist() == memory.columns.tolist()
    for found in (streamed_parts, memory):
        assert set(found["prediction"]) == {"ill", "well"}
        assert found["prediction_"].tolist() == table()["prediction"].tolist()


def test_a_name_stays_free_of_another_identifier() -> None:
    names = pd.DataFrame({"row": [7], "row_": [8], "town": [9]})
    predicted = prediction_table(
        np.zeros(1, dtype=np.int64), names, {"prediction": np.zeros(1)}, None
    )
    assert predicted.iloc[0].to_dict() == {
        "row": 0,
        "row__": 7,
        "row_": 8,
        "town": 9,
        "prediction": 0,
    }


@pytest.mark.parametrize(
    "lost", ["local/part-00001.parquet", "importance.csv", "values.npz"]
)
def test_a_finished_explanation_that_lost_files_is_made_again(
    tmp_path: Path, run: Path, rows: Path, lost: str
) -> None:
    out = tmp_path / "out"
    words = ("explain", run, rows, "--method", "gradient", "--out", out)
    call(*words)
    expected = pd.read_parquet(out / "local")
    assert "already finished" in call(*words)
    (out / lost).unlink()
    assert "already finished" not in call(*words)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "local"), expected)
    assert (out / lost).is_file()


def test_a_damaged_file_of_rows_is_made_again(
    tmp_path: Path, run: Path, rows: Path
) -> None:
    words = ("explain", run, rows, "--method", "gradient", "--out", tmp_path / "out")
    call(*words)
    path = tmp_path / "out" / "local" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert "already finished" not in call(*words)
    assert pq.read_metadata(path).num_rows > 0


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_nothing_is_written_into_the_table(
    tmp_path: Path, run: Path, rows: Path, command: str
) -> None:
    before = sorted(path.name for path in rows.iterdir())
    for out in (rows, rows / "out"):
        message = call(command, run, rows, "--out", out, code=2)
        assert "which the command reads" in message
    assert sorted(path.name for path in rows.iterdir()) == before
    with pytest.raises(pg.InputError, match="would become part of it"):
        pg.explain_stream(pg.load(run / "model"), rows, "outcome", out=rows / "why")


def test_a_repeated_column_name_is_refused(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "twice"
    folder.mkdir()
    columns = [pa.array([1.0, 2.0])] * 3
    pq.write_table(
        pa.table(columns, names=["age", "dose", "age"]), folder / "a.parquet"
    )
    message = call("predict", run, folder, "--out", tmp_path / "out", code=2)
    assert "Column names must be unique" in message
    assert "'age'" in message
    assert "a.parquet" in message


def test_rows_without_a_target_hinder_no_explanation_of_outputs(
    tmp_path: Path, run: Path
) -> None:
    folder = tmp_path / "missing"
    folder.mkdir()
    frame = table(60)
    frame.loc[3, "outcome"] = None
    frame.to_parquet(folder / "a.parquet", index=False)
    call("explain", run, folder, "--method", "gradient", "--out", tmp_path / "rows")
    assert call("explain", run, folder, "--out", tmp_path / "loss").startswith(
        "59 rows in 1 part.\n"
    )


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_a_refusal_half_way_leaves_nothing_and_a_mended_table_begins_anew(
    tmp_path: Path, run: Path, command: str
) -> None:
    """A bad cell in the second part: the first is finished by then, and of no use once
    the file is mended.
    """
    frame = table(120)
    frame.loc[110, "dose"] = -np.inf
    folder = tmp_path / "rows"
    folder.mkdir()
    for start in (0, 60):
        frame[start : start + 60].to_parquet(
            folder / f"{start:03d}.parquet", index=False
        )
    options = {"predict": ["--strict"], "explain": []}[command]
    out = ["--out", tmp_path / "deep" / "out"]
    message = call(command, run, folder, *options, *out, code=2)
    assert "in row 50 of " in message
    assert "(row 110 in all)" in message
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    frame[60:].assign(dose=0.0).to_parquet(folder / "060.parquet", index=False)
    call(command, run, folder, *options, *out)


def test_a_file_that_is_gone_for_now_keeps_what_is_finished(
    tmp_path: Path, run: Path, rows: Path
) -> None:
    from permgrad.attribution.parts.engines import LocalEngine

    class Interrupted(LocalEngine):
        def run(self, tasks, work):
            for number, result in enumerate(super().run(tasks, work)):
                yield result
                if number == 0:
                    away.rename(tmp_path / "away")

    folder = tmp_path / "rows"
    folder.mkdir()
    for path in sorted(rows.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    away = folder / "120.parquet"
    stream_options = {"out": tmp_path / "out", "n_repeats": 1, "random_state": 0}
    model = pg.load(run / "model")
    with pytest.raises(
        pg.InputError,
        match=r"120\.parquet' disappeared while the table was read. Bring it back",
    ):
        pg.explain_stream(model, folder, **stream_options, engine=Interrupted())
    assert (tmp_path / "out" / "parts" / "part-00000.npz").is_file()
    (tmp_path / "away").rename(away)
    assert (
        pg.explain_stream(model, folder, **stream_options).meta["rows_explained"] == 200
    )


@pytest.mark.parametrize("finished", [False, True])
def test_two_at_once_in_one_folder_are_noticed(
    tmp_path: Path, run: Path, rows: Path, finished: bool
) -> None:
    out = tmp_path / "out"
    stream_options = {"out": out, "n_repeats": 1, "random_state": 0}
    model = pg.load(run / "model")
    if finished:
        pg.explain_stream(model, rows, **stream_options)
        (out / "importance.csv").unlink()
    out.mkdir(exist_ok=True)
    with (
        hold_folder(out),
        pytest.raises(
            pg.InputError,
            match=rf"one process at a time .* process {os.getpid()} is at work in .*out",
        ),
    ):
        pg.explain_stream(model, rows, **stream_options)
    # A lock file that a killed process left does not block, and goes.
    (out / ".lock").write_text("4194305\n")
    assert (
        pg.explain_stream(model, rows, **stream_options).meta["rows_explained"] == 200
    )
    assert not (out / ".lock").exists()


@pytest.mark.slow
def test_a_folder_that_fits_in_memory_is_trained_on(
    tmp_path: Path, run: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one file of the same rows: the same split, model and scores."""
    words = (
        "--target",
        "outcome",
        "--id",
        "prediction",
        "--preset",
        run.parent / "preset.json",
    )
    call("run", rows, *words, "--test", rows, "--out", tmp_path / "run")
    table().to_parquet(tmp_path / "one.parquet", index=False)
    call(
        "run",
        tmp_path / "one.parquet",
        *words,
        "--test",
        tmp_path / "one.parquet",
        "--out",
        tmp_path / "one",
    )
    folder_predictions, expected = (
        (tmp_path / name / "predictions.csv").read_text() for name in ("run", "one")
    )
    assert folder_predictions == expected
    # Another file is another table; one that does not fit is refused before anything is
    # read or written.
    assert "finished" in call(
        "run", rows, *words, "--test", rows, "--out", tmp_path / "run"
    )
    monkeypatch.setattr("permgrad.data.read.text_files.free_memory", lambda: 1000)
    message = call("run", rows, *words, "--out", tmp_path / "large", code=2)
    assert "in memory, and " in message
    assert "HyNNClassifier().fit_stream(folder, target)" in message
    assert not (tmp_path / "large").exists()


def test_levels_of_files_that_list_others_are_put_together(tmp_path: Path) -> None:
    for number, names in enumerate((["a", "b"], ["c", "b"])):
        pd.DataFrame({"level": pd.Categorical(names * 3)}).to_parquet(
            tmp_path / f"{number}.parquet"
        )
    level_column = pg.read_table(tmp_path)["level"]
    assert isinstance(level_column.dtype, pd.CategoricalDtype)
    assert level_column.tolist() == ["a", "b"] * 3 + ["c", "b"] * 3
