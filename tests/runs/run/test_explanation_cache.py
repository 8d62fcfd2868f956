"""Explanations kept in a run's folder: read again, computed anew for another model,
mended where damaged.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from typer.testing import CliRunner

import permgrad as pg
from permgrad.base.errors import InputError, PermgradWarning, warn_user
from permgrad.cli import app
from permgrad.data.read.cells import rows_hash
from permgrad.runs.run.predicting import cache_of


def table(rows: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, rows), "town": rng.choice(["Bonn", "Ulm"], rows)}
    )
    frame["outcome"] = np.where(
        frame["age"] + 5 * (frame["town"] == "Ulm") > 52, "ill", "well"
    )
    return frame


def call(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}"
    return result.stderr


class Counter:
    """``pg.explain`` that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *args: object, **options: object) -> pg.Explanation:
        self.calls += 1
        return explain_with(*args, **options)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base_folder = tmp_path_factory.mktemp("cache")
    table().to_csv(base_folder / "table.csv", index=False)
    words = ("--target", "outcome", "--preset", "fast", "--out", base_folder / "run")
    call("run", base_folder / "table.csv", *words)
    return base_folder


@pytest.fixture
def run(origin, tmp_path):
    shutil.copytree(origin / "run", tmp_path / "run")
    return tmp_path / "run"


def ask(
    run: Path, compute: Counter, *, frame: pd.DataFrame | None = None, **options: object
) -> pg.Explanation:
    X = table().drop(columns="outcome").head(50) if frame is None else frame
    options = {"method": "integrated_gradients", "random_state": 0, **options}
    return cache_of(run).explain(compute, pg.load(run / "model"), X, **options)


def test_computing_twice_reads_the_file(run):
    compute = Counter()
    first = ask(run, compute)
    second = ask(run, compute)
    assert compute.calls == 1
    assert (first.meta["cached"], second.meta["cached"]) == (False, True)
    np.testing.assert_array_equal(first.values, second.values)
    assert np.abs(first.values).max() > 0.01, (
        "the precondition: there is something to keep"
    )
    assert cache_of(run / "model") == cache_of(run), (
        "the model folder in the run's folder leads to the same place"
    )


def test_what_is_read_warns_as_what_was_computed(run):
    few = table().drop(columns="outcome").head(30).assign(town=[*["Bonn"] * 29, "Köln"])
    warned = []
    for _ in range(2):
        with pytest.warns(pg.PermgradWarning, match="unseen categor") as messages:
            ask(run, Counter(), frame=few)
        warned.append([str(message.message) for message in messages])
    assert warned[0] == warned[1]


def test_a_refusal_does_not_take_its_warnings_along(run):
    def compute(*args: object, **options: object) -> pg.Explanation:
        warn_user("Rows are few.")
        raise InputError("There is no y.")

    with (
        pytest.warns(pg.PermgradWarning, match="Rows are few"),
        pytest.raises(InputError, match="There is no y"),
    ):
        ask(run, compute)


def test_other_rows_options_and_models_compute_anew(run):
    compute = Counter()
    ask(run, compute)
    ask(run, compute, baseline="zeros")
    ask(run, compute, random_state=1)
    ask(run, compute, frame=table().drop(columns="outcome").iloc[1:51])
    assert compute.calls == 4
    model = pg.load(run / "model")
    model.fit(table().drop(columns="outcome"), table()["outcome"])
    model.save(run / "model", overwrite=True)
    changed = ask(run, compute)
    assert compute.calls == 5
    assert changed.meta["cached"] is False


@pytest.mark.parametrize("name", ["values.npz", "explanation.json", "sums.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
def test_a_damaged_entry_is_rebuilt_with_a_warning(run, name, how):
    compute = Counter()
    first = ask(run, compute)
    entries = sorted(
        (run / ".explanations").glob(f"integrated_gradients-*/{name}"),
        key=lambda p: p.stat().st_mtime,
    )
    entry = entries[-1]  # the youngest is the one just written
    content = entry.read_bytes()
    if how == "gone":
        entry.unlink()
    else:
        middle = len(content) // 2
        flipped = (
            content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        )
        entry.write_bytes(content[:middle] if how == "cut" else flipped)
    with pytest.warns(
        PermgradWarning,
        match=r"The saved explanation .* is damaged\. It is computed again",
    ):
        again = ask(run, compute)
    assert compute.calls == 2
    np.testing.assert_array_equal(first.values, again.values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(run, compute).meta["cached"] is True


def test_a_model_that_stands_alone_keeps_nothing(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "alone")
    compute = Counter()
    ask_alone = cache_of(tmp_path / "alone")
    X = table().drop(columns="outcome").head(5)
    for _ in range(2):
        ask_alone.explain(
            compute,
            pg.load(tmp_path / "alone"),
            X,
            method="integrated_gradients",
            random_state=0,
        )
    assert compute.calls == 2
    assert not list(tmp_path.glob("**/alone/.explanations"))


def test_the_command_reads_what_it_computed_before(origin, run, tmp_path):
    words = ("explain", run, origin / "table.csv", "--method", "integrated_gradients")
    call(*words, "--out", tmp_path / "one")
    call(*words, "--out", tmp_path / "two")
    first_explanation, two = (
        json.loads((tmp_path / name / "explanation.json").read_text())
        for name in ("one", "two")
    )
    assert (first_explanation["meta"]["cached"], two["meta"]["cached"]) == (False, True)
    assert (tmp_path / "one" / "importance.csv").read_text() == (
        tmp_path / "two" / "importance.csv"
    ).read_text()


@pytest.mark.slow
def test_from_explain_starts_there_and_reads_what_is_kept(origin, run):
    weights = (run / "model" / "weights.safetensors").stat().st_mtime_ns
    before = (run / "importance.csv").read_text()
    printed_output = call(
        "run",
        origin / "table.csv",
        "--target",
        "outcome",
        "--preset",
        "fast",
        "--out",
        run,
        "--from",
        "explain",
    )
    assert "model: finished before" in printed_output
    assert (run / "model" / "weights.safetensors").stat().st_mtime_ns == weights
    assert (run / "importance.csv").read_text() == before
    assert pg.Explanation.load(run / "explanations" / "permgrad").meta["cached"] is True
    call(
        "run",
        origin / "table.csv",
        "--target",
        "outcome",
        "--preset",
        "fast",
        "--out",
        run,
        "--from",
        "model",
    )
    assert (
        pg.Explanation.load(run / "explanations" / "permgrad").meta["cached"] is False
    ), "they go with their model"


def test_rows_are_told_apart():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    same = frame.set_axis([5, 6])
    other_frames = [
        frame[["b", "a"]],
        frame.iloc[::-1],
        frame.assign(a=[1.0, 3.0]),
        frame.rename(columns={"a": "c"}),
    ]
    assert rows_hash(frame) == rows_hash(same)
    hashes = {rows_hash(frame_version) for frame_version in [frame, *other_frames]} | {
        rows_hash(frame, np.array([0, 1]))
    }
    assert len(hashes) == 6
