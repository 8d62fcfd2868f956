"""``permgrad benchmark``: cells, going on after a kill, folders that are refused.

With a suite made for the purpose.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from permgrad.base.errors import InputError
from permgrad.cli import app
from permgrad_benchmark import COLUMNS, Record, Settings, load_suites
from permgrad_benchmark import run as module
from permgrad_benchmark.run import BenchmarkRequest, run_benchmark


class ToySuite:
    """Two functions, two methods, no network; counts what it computed, and can break
    off.
    """

    name = "toy"
    functions = ("sum", "product")
    title = "A toy"

    def __init__(self):
        self.computed = []
        self.fails_at = None

    def check(self, settings):
        pass

    def methods(self, settings):
        return tuple(name for name in ("good", "bad") if settings.wants(name))

    def run(self, function, seed, settings):
        if (function, seed) == self.fails_at:
            raise KeyboardInterrupt
        self.computed.append((function, seed))
        records = [
            Record("toy", function, seed, "truth", "effect", "truth_share:a", 0.25)
        ]
        for method in self.methods(settings):
            right = 0.1 if method == "bad" else 0
            records.append(
                Record("toy", function, seed, method, "effect", "share_error", right)
            )
            records.append(
                Record("toy", function, seed, method, "any", "seconds", math.nan)
            )
        return records

    def facts(self, settings):
        return {"contestants": {}, "estimands": {"effect": "an effect"}}


@pytest.fixture
def toy(monkeypatch):
    registry = load_suites()
    suite = ToySuite()
    monkeypatch.setitem(registry, "toy", suite)
    monkeypatch.setattr(module, "benchmark_page", lambda frame, facts: "the page")
    return suite


def quiet(text):
    pass


def test_results_have_exactly_the_columns_and_every_cell(toy, tmp_path):
    outcome = run_benchmark(
        BenchmarkRequest(suite="toy", out=tmp_path / "out"), say=quiet
    )
    frame = pd.read_csv(tmp_path / "out" / "results.csv")
    assert tuple(frame.columns) == COLUMNS
    assert set(zip(frame["function"], frame["seed"], strict=True)) == {
        (f, s) for f in toy.functions for s in range(3)
    }
    assert frame[frame["metric"] == "seconds"]["value"].isna().all()
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["columns"] == list(COLUMNS)
    assert len(stored["records"]) == len(frame) == 6 * 5
    assert stored["metrics"]["share_error"]["direction"] == "lower"
    assert stored["suites"]["toy"]["title"] == "A toy"
    assert not outcome.facts["already_finished"]


def test_a_killed_run_goes_on_with_the_next_cell(toy, tmp_path):
    toy.fails_at = ("product", 1)
    request = BenchmarkRequest(suite="toy", out=tmp_path, seeds=2)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(request, say=quiet)
    assert toy.computed == [("sum", 0), ("product", 0), ("sum", 1)]
    toy.fails_at = None
    run_benchmark(request, say=quiet)
    assert toy.computed == [("sum", 0), ("product", 0), ("sum", 1), ("product", 1)]
    before = (tmp_path / "results.csv").stat().st_mtime_ns
    again = run_benchmark(request, say=quiet)
    assert again.facts["already_finished"]
    assert "already finished" in again.text
    assert len(toy.computed) == 4
    assert (tmp_path / "results.csv").stat().st_mtime_ns == before


def test_more_seeds_add_to_what_is_there(toy, tmp_path):
    run_benchmark(
        BenchmarkRequest(suite="toy", out=tmp_path, seeds=1, functions=("sum",)),
        say=quiet,
    )
    run_benchmark(BenchmarkRequest(suite="toy", out=tmp_path, seeds=2), say=quiet)
    assert toy.computed == [("sum", 0), ("product", 0), ("sum", 1), ("product", 1)]
    frame = pd.read_csv(tmp_path / "results.csv")
    assert frame[["function", "seed"]].drop_duplicates().values.tolist() == [
        ["sum", 0], ["sum", 1], ["product", 0], ["product", 1],
    ]  # fmt: skip


def test_another_benchmark_and_foreign_files_are_refused(toy, tmp_path):
    run_benchmark(BenchmarkRequest(suite="toy", out=tmp_path, seeds=1), say=quiet)
    other_request = BenchmarkRequest(
        suite="toy", out=tmp_path, seeds=1, methods=("good",)
    )
    with pytest.raises(
        InputError,
        match=r"differs in methods \(all there, good now\)\. Replace it with "
        r"--overwrite",
    ):
        run_benchmark(other_request, say=quiet)
    (tmp_path / "mine.txt").write_text("mine")
    run_benchmark(
        BenchmarkRequest(
            suite="toy", out=tmp_path, seeds=1, methods=("good",), overwrite=True
        ),
        say=quiet,
    )
    assert (tmp_path / "mine.txt").exists()
    assert set(pd.read_csv(tmp_path / "results.csv")["method"]) == {"truth", "good"}
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("do not touch")
    with pytest.raises(
        InputError,
        match=r"holds other files \(thesis.txt\)\. Choose another folder with --out",
    ):
        run_benchmark(BenchmarkRequest(suite="toy", out=foreign), say=quiet)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "tyo"}, r"No suite 'tyo'. Did you mean 'toy'\?"),
        ({"functions": ("summ",)}, r"function cannot be 'summ'. Did you mean 'sum'\?"),
        ({"methods": ("god",)}, r"No method 'god'. Did you mean 'good'\?"),
        (
            {"seeds": 0},
            "seeds must be an integer of at least 1, got 0. For example: --seeds 3.",
        ),
    ],
)
def test_bad_requests_write_nothing(toy, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        run_benchmark(
            BenchmarkRequest(**{"suite": "toy", "out": tmp_path / "out", **change}),
            say=quiet,
        )
    assert not (tmp_path / "out").exists()


def test_the_command_line(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(load_suites(), "tabular", toy)
    words = [
        "benchmark",
        "tabular",
        "--out",
        str(tmp_path / "out"),
        "--quick",
        "--functions",
        "sum,product",
        "--json",
    ]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    facts = json.loads(answer.stdout)
    assert facts["cells"] == 2
    assert not facts["already_finished"]
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0
    assert json.loads(again.stdout)["already_finished"]
    wrong = CliRunner().invoke(
        app, ["benchmark", "nonsense", "--out", str(tmp_path / "other")]
    )
    assert wrong.exit_code == 2
    assert "SUITE must be one of" in wrong.stderr


def test_settings():
    assert Settings().to_dict() == {"scale": "full", "methods": [], "peers": True}
    with pytest.raises(InputError, match=r"scale cannot be 'quik'"):
        Settings(scale="quik")
    with pytest.raises(
        InputError, match="threads must be an integer of at least 1, got 0"
    ):
        Settings(threads=0)


def test_a_list_of_names_must_hold_one(tmp_path):
    from typer.testing import CliRunner

    from permgrad.cli import app

    for option in ("--functions", "--methods"):
        words = [
            "benchmark",
            "tabular",
            "--quick",
            option,
            "",
            "--out",
            str(tmp_path / "out"),
        ]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert "is empty. List at least one name, or leave it out." in result.stderr
        assert not (tmp_path / "out").exists()


def test_data_that_are_not_there_leave_no_folder(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from permgrad.cli import app

    monkeypatch.setenv("PERMGRAD_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = CliRunner().invoke(
        app, ["benchmark", "multimodal", "--quick", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code in (2, 3)
    assert "pneumoniamnist" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_images_of_the_multimodal_suite_are_chosen(tmp_path):
    from permgrad_benchmark.suites.multimodal.suite import MultimodalSuite

    path = tmp_path / "own.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 28, 28), dtype=np.uint8)
    part_slices = {"train": slice(0, 32), "val": slice(32, 40), "test": slice(40, 48)}
    arrays = {
        f"{name}_images": pixels[part_slice] for name, part_slice in part_slices.items()
    }
    labels = {
        f"{name}_labels": np.zeros((len(pixels[part_slice]), 1), dtype=np.uint8)
        for name, part_slice in part_slices.items()
    }
    np.savez(path, **arrays, **labels)
    suite = MultimodalSuite()
    quick_settings = Settings(scale="quick", images=(str(path),))
    suite.check(quick_settings)
    assert suite._images(quick_settings) == (str(path),)
    assert len(suite.design("F1", 0, quick_settings).images[0]) == 48
    assert Settings().to_dict() != quick_settings.to_dict(), (
        "other images are another benchmark"
    )
    assert "images" not in Settings().to_dict(), "folders of before are gone on with"
    request = BenchmarkRequest(
        suite="multimodal", images=("organamnist", "organcmnist"), out=tmp_path / "out"
    )
    assert request.command.endswith("--image-sets organamnist,organcmnist")
    for suite_name, images, message in (
        (
            "tabular",
            "organamnist",
            (
                "The suite 'tabular' has no images. Leave --image-sets out, or choose "
                "multimodal."
            ),
        ),
        (
            "multimodal",
            "a,b,c",
            (
                "images must name 1 or 2 sets, got 3. Name one for both images, or one "
                "for each."
            ),
        ),
        ("multimodal", "no.npz", "Image file 'no.npz' not found"),
    ):
        words = [
            "benchmark",
            suite_name,
            "--image-sets",
            images,
            "--out",
            str(tmp_path / "out"),
        ]
        command_result = CliRunner().invoke(app, words)
        assert (command_result.exit_code, message in command_result.output) == (
            2,
            True,
        ), command_result.output
        assert not (tmp_path / "out").exists()
