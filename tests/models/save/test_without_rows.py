"""Models, pages and uploads without rows of the table: nothing of them is in the files,
and what needs them says so.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import permgrad as pg
from permgrad.cli import app

pytestmark = pytest.mark.usefixtures("undrawn_file")
ROWS = 500
TYPES = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "|u1", "u2": "<u2"}


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "income": rng.integers(10_000, 900_000, ROWS) + 0.5,
            "age": rng.integers(18, 90, ROWS),
        }
    )
    frame["town"] = rng.choice(["Ulm", "Bonn"], ROWS)
    return frame.assign(
        rent=frame["income"] / 900
        + rng.normal(0, 40, ROWS)
        + 100 * (frame["town"] == "Ulm")
    )


@pytest.fixture(scope="module")
def fitted() -> tuple[Any, pd.DataFrame]:
    X = table()
    y = X.pop("rent")
    model = pg.HyNNRegressor(
        preset="fast",
        max_epochs=2,
        validation_fraction=0.2,
        random_state=0,
        progress=False,
    )
    return model.fit(X, y), X


def numbers_in(value: Any) -> list[np.ndarray]:
    """Return the arrays of numbers in the data of a page."""
    if isinstance(value, dict) and {"type", "shape", "base64"} <= set(value):
        planes = np.frombuffer(base64.b64decode(value["base64"]), np.uint8)
        size = np.dtype(TYPES[value["type"]]).itemsize
        return [
            planes.reshape(size, -1)
            .T.copy()
            .view(TYPES[value["type"]])
            .ravel()
            .astype(float)
        ]
    if isinstance(value, dict):
        return [
            number_array for item in value.values() for number_array in numbers_in(item)
        ]
    if isinstance(value, list):
        own_numbers = [item for item in value if isinstance(item, (int, float))]
        return [
            np.array(own_numbers, dtype=float),
            *(number_array for item in value for number_array in numbers_in(item)),
        ]
    return []


def incomes_in(page: str, X: pd.DataFrame) -> int:
    """Return how many single incomes of a table a page holds.

    Quantiles and ends of bars are few.
    """
    stored = re.search(r'<script type="text/plain" id="page-data">([^<]+)<', page)
    assert stored is not None
    data = json.loads(zlib.decompress(base64.b64decode(stored[1])))
    page_numbers = np.concatenate([np.zeros(0), *numbers_in(data)])
    return int(np.isin(X["income"].to_numpy(), page_numbers).sum())


def test_a_model_without_rows_predicts_the_same_and_says_what_it_cannot_do(
    fitted: Any, tmp_path: Path
) -> None:
    model, X = fitted
    model.save(tmp_path / "with")
    model.save(tmp_path / "without", keep_rows=False)
    codes = model.encode_rows(X).encoded[:, 0]
    sizes = {}
    for name in ("with", "without"):
        arrays = dict(np.load(tmp_path / name / "arrays.npz"))
        sizes[name] = sum(
            np.isin(codes, array).sum()
            for array in arrays.values()
            if array.dtype == np.float32
        )
    assert sizes["with"] > 400, "the precondition: rows are there"
    assert sizes["without"] == 0
    lean = pg.load(tmp_path / "without")
    np.testing.assert_array_equal(lean.predict(X), model.predict(X))
    np.testing.assert_array_equal(
        lean.predict_interval(X[:9]), model.predict_interval(X[:9])
    )
    with pytest.raises(
        pg.InputError, match=r"by= needs the rows held out .* saved without rows"
    ):
        lean.predict_interval(X[:9], by="town")
    with pytest.raises(
        pg.InputError,
        match=r"saved without rows of its training table.*Pass background=",
    ):
        pg.explain(lean, X[:3], method="integrated_gradients")
    explained = pg.explain(
        lean, X[:3], method="integrated_gradients", background=X, random_state=0
    )
    assert np.abs(explained.values).max() > 1
    both_values = [
        pg.explain(
            explained_model, X, method="permgrad", scope="global", random_state=0
        ).values
        for explained_model in (lean, model)
    ]
    np.testing.assert_array_equal(*both_values)
    lean.save(tmp_path / "again")
    assert len(pg.load(tmp_path / "again").background_) == 0


def test_classes_keep_only_how_frequent_they_are(tmp_path: Path) -> None:
    X = table()
    y = np.where(X.pop("rent") > 600, "dear", "cheap")
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, y)
    model.save(tmp_path / "model", keep_rows=False)
    lean = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(
        np.bincount(lean.background_target_), np.bincount(model.background_target_)
    )
    assert (np.diff(lean.background_target_) >= 0).all()
    assert (np.diff(model.background_target_) < 0).any(), (
        "the precondition: in the order of rows they are mixed"
    )
    sets = [
        fitted_model.predict_set(X[:30], coverage=0.5, by_class=True)
        for fitted_model in (model, lean)
    ]
    np.testing.assert_array_equal(*sets)
    page = pg.report(lean, X[:220], y[:220], keep_rows=False).html
    assert "curves are for the positive class cheap" in page


def test_a_model_of_images_without_rows(tmp_path: Path) -> None:
    from PIL import Image

    for row in range(40):
        Image.new("L", (8, 8), 6 * row).save(tmp_path / f"{row}.png")
    frame = pd.DataFrame(
        {
            "dose": np.arange(40.0) % 7,
            "scan": [str(tmp_path / f"{row}.png") for row in range(40)],
        }
    )
    options = {"preset": "fast", "max_epochs": 1, "random_state": 0, "progress": False}
    model = pg.HyNNClassifier(**options).fit(frame, np.arange(40) > 19)
    assert "scan=<score>" in model.preprocessor_.encoded_names_, (
        "the precondition: it reads the images"
    )
    model.save(tmp_path / "model", keep_rows=False)
    assert not len(np.load(tmp_path / "model/arrays.npz")["background"])
    lean = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(lean.predict_proba(frame), model.predict_proba(frame))
    with pytest.raises(pg.InputError, match="saved without rows"):
        pg.explain(lean, frame[:3], method="shapley")


@pytest.mark.slow
def test_a_page_without_rows_shows_no_single_one(fitted: Any) -> None:
    model, X = fitted
    y = table()["rent"]
    pages = {}
    for keep_rows in (True, False):
        pages[keep_rows] = pg.report(model, X, y, keep_rows=keep_rows).html
    assert incomes_in(pages[True], X) > 400, "the precondition"
    assert (
        incomes_in(pages[False], X) < 40
    )  # a histogram's ends and the points of curves
    assert "Predictions against true values" in pages[True]
    assert "Predictions against true values" not in pages[False]
    assert "This page was written without rows" in pages[False]
    for words in ("R²", "relies"):
        assert words in pages[False]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one table: ``with`` and ``without`` rows."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "preset.json").write_text(json.dumps({"base": "fast", "max_epochs": 2}))
    table().to_csv(folder / "table.csv", index=False)
    for name, more in (("with", []), ("without", ["--no-rows"])):
        assert command(folder, name, *more).exit_code == 0
    return folder


def command(folder: Path, name: str, *more: str) -> Any:
    words = [
        "run",
        folder / "table.csv",
        "--target",
        "rent",
        "--preset",
        folder / "preset.json",
        "--out",
        folder / name,
    ]
    result = CliRunner().invoke(app, [*map(str, words), *more])
    assert "Traceback" not in result.output
    return result


def test_a_run_without_rows_finds_the_same_and_can_be_continued(runs: Path) -> None:
    X = table()
    known_models = {
        name: pg.load(runs / name / "model") for name in ("with", "without")
    }
    assert len(known_models["with"].background_) > 200
    assert (
        len(known_models["without"].background_)
        == len(known_models["without"].held_out_.x)
        == 0
    )
    pages = {
        name: (runs / name / "report.html").read_text(encoding="utf-8")
        for name in known_models
    }
    assert incomes_in(pages["with"], X) > 90
    assert incomes_in(pages["without"], X) < 40
    importance = (runs / "with" / "importance.csv").read_bytes()
    assert (runs / "without" / "importance.csv").read_bytes() == importance
    # The rows that the model lacks are drawn again.
    assert command(runs, "without", "--no-rows", "--from", "explanation").exit_code == 0
    assert (runs / "without" / "importance.csv").read_bytes() == importance
    # A page of the run stays without rows, and that of the other one can be written
    # without.
    page = runs / "page.html"
    for name, more in (("without", []), ("with", ["--no-rows"])):
        words = ["report", str(runs / name), "--out", str(page), *more]
        assert CliRunner().invoke(app, words).exit_code == 0
        assert incomes_in(page.read_text(encoding="utf-8"), X) < 40
    # With rows, this is another run.
    assert "--overwrite" in command(runs, "without").stderr
    # Few rows of another table take their donors from that table.
    words = [
        "explain",
        str(runs / "without"),
        str(runs / "table.csv"),
        "--row",
        "3",
        "--out",
        str(runs / "why"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


def test_an_upload_counts_the_rows_that_go_along(
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    class HfApi:
        def __init__(self, token: Any = None) -> None: ...

        def create_repo(self, **options: Any) -> None: ...

        def upload_folder(
            self, *, repo_id: str, folder_path: str, commit_message: str
        ) -> str:
            Path(folder_path).rename(tmp_path / repo_id)
            return repo_id + commit_message

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=HfApi))
    model = pg.load(runs / "with" / "model")
    background_count = len(model.background_)
    held_out_count = len(model.held_out_.x)
    pg.integrations.push_to_hub(model, "rows")
    assert (
        f"{background_count + held_out_count:,} encoded rows of your table go along"
        in " ".join(str(warning.message) for warning in recwarn)
    )
    assert len(pg.load(tmp_path / "rows").background_) == background_count
    recwarn.clear()
    pg.integrations.push_to_hub(model, "none", keep_rows=False)
    assert not any("rows of your table" in str(warning.message) for warning in recwarn)
    assert len(pg.load(tmp_path / "none").background_) == 0
