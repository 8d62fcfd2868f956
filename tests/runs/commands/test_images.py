"""``permgrad images``: one picture for each row, as the network's own renderer draws
it.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from invoking import call
from PIL import Image
from typer.testing import CliRunner

import permgrad as pg
from permgrad.cli import app


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        rng.normal(size=(70, 5)).round(3),
        columns=[f"c{column_number}" for column_number in range(5)],
    )
    frame["town"] = rng.choice(["Bonn", "Ulm"], 70)
    frame.loc[::9, "c1"] = None
    frame["label"] = np.where(frame["c0"] > 0, "yes", "no")
    path = tmp_path_factory.mktemp("images") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def folder(table):
    call("images", table, "--target", "label", "--out", table.parent / "out")
    return table.parent / "out"


def read(folder, files):
    return np.stack([np.asarray(Image.open(folder / name)) for name in files])


def test_pictures_are_those_of_the_published_network(table, folder):
    listed = pd.read_csv(folder / "images.csv")
    frame = pd.read_csv(table)
    assert listed.columns.tolist() == ["row", "image", "label"]
    assert (listed["label"] == frame["label"].iloc[listed["row"]].to_numpy()).all()
    pictures = read(folder, listed["image"])
    assert pictures.shape == (70, 20, 20)
    assert pictures.dtype == np.uint8
    X = frame.drop(columns="label")
    y = frame["label"]
    model = pg.HyNNClassifier(
        preset="paper",
        max_epochs=1,
        validation_fraction=0,
        random_state=0,
        progress=False,
    )
    model.fit(X, y)
    drawn = model.renderer_(torch.as_tensor(model.encode_rows(X).encoded))
    np.testing.assert_array_equal(
        pictures, drawn[:, 0].round().byte().numpy()[listed["row"]]
    )
    assert len(np.unique(pictures.reshape(70, -1), axis=0)) == 70


@pytest.mark.slow
def test_an_interrupted_command_draws_what_is_missing(table, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "part")
    before = {
        path.name: path.read_bytes()
        for path in (tmp_path / "part" / "images").iterdir()
    }
    record = json.loads((tmp_path / "part" / "images.json").read_text())
    (tmp_path / "part" / "images.json").write_text(
        json.dumps(record | {"finished": None})
    )
    lost = sorted(before)[10:30]
    for name in lost:
        (tmp_path / "part" / "images" / name).unlink()
    call("images", table, "--target", "label", "--out", tmp_path / "part")
    after = {
        path.name: path.read_bytes()
        for path in (tmp_path / "part" / "images").iterdir()
    }
    assert after == before
    assert "Nothing was changed" in call(
        "images", table, "--target", "label", "--out", tmp_path / "part"
    )
    (tmp_path / "part" / "images" / lost[0]).write_bytes(b"damaged")
    assert "Nothing was changed" not in call(
        "images", table, "--target", "label", "--out", tmp_path / "part"
    )
    assert (tmp_path / "part" / "images" / lost[0]).read_bytes() == before[lost[0]]


@pytest.mark.parametrize(
    ("layout", "shape"), [("path", (1, 8)), ("assignment", (9, 9))]
)
def test_other_layouts_have_their_own_grid(table, tmp_path, layout, shape):
    printed_facts = call(
        "images",
        table,
        "--target",
        "label",
        "--layout",
        layout,
        "--pixels",
        9,
        "--out",
        tmp_path / "out",
        "--json",
    )
    facts = json.loads(printed_facts)
    assert tuple(facts["pixels"]) == shape
    pictures = read(
        tmp_path / "out", pd.read_csv(tmp_path / "out" / "images.csv")["image"]
    )
    assert pictures.shape[1:] == shape
    assert "town" in (tmp_path / "out" / "layout.svg").read_text(encoding="utf8")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target", "lable"), "Did you mean 'label'"),
        (("--target", "label", "--layout", "tint"), "Did you mean 'tinto'"),
        (("--target", "label", "--pixels", "0"), "pixels"),
    ],
)
def test_wrong_words_are_refused(table, tmp_path, more, message):
    result = CliRunner().invoke(
        app, ["images", str(table), *more, "--out", str(tmp_path / "out")]
    )
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_other_files_stay(table, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    result = CliRunner().invoke(
        app, ["images", str(table), "--target", "label", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code != 0
    assert "holds other files" in result.output
