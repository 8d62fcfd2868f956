"""The demonstration on rows of all kinds: its truth, and that its page shows it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from browsing import data_of

from permgrad.base.errors import InputError
from permgrad.runs.commands import demo
from permgrad.runs.requests import DemoRequest


def test_the_drawn_flats_have_the_truth_that_is_told(tmp_path):
    table = pd.read_csv(demo.draw_flats(tmp_path / "table"), parse_dates=["listed"])
    assert len(table) == demo._FLATS
    phrases = np.column_stack([table["description"].str.contains(name) for name in demo._PHRASES])
    assert (phrases.sum(axis=1) == 5).all()
    known = {
        "size": table["size"],
        "description": phrases @ list(demo._PHRASES.values()),
        "listed": np.cos(2 * np.pi * (table["listed"].dt.day_of_year - 200) / 366),
        "floor": table["floor"],
        "district": table["district"].map({"harbour": 1.5, "centre": 0.5, "hill": -0.5, "park": -1.5}),
        "photo": _gardens(tmp_path / "table", table["photo"]),
    }
    parts = np.column_stack([(part - np.mean(part)) / np.std(part) for part in known.values()])
    weights = np.linalg.lstsq(np.column_stack([np.ones(len(parts)), parts]), table["rent"], rcond=None)[0][1:]
    wanted = [demo._PARTS[name] for name in known]
    assert max(wanted) == 200
    np.testing.assert_allclose(weights, wanted, atol=12)


def _gardens(folder, names):
    """Return how much green there is at the right edge of each photo."""
    from PIL import Image

    pixels = np.stack([np.asarray(Image.open(folder / name), dtype=float) for name in names])
    right = pixels[:, 12:28, 22:]
    return ((right[..., 1] > 100) & (right[..., 0] < 100)).mean(axis=(1, 2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_demonstration_of_rows_shows_texts_and_photos(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_FLATS", 300)
    said = []
    outcome = demo.run_demo(DemoRequest(rows=True, out=tmp_path / "rows"), say=said.append)
    assert "--target rent" in outcome.facts["command"]
    assert any("size 43%" in line for line in said)
    kinds = {one["name"]: one["kind"] for one in json.loads((tmp_path / "rows" / "data.json").read_text())["columns"]}
    assert kinds | {"photo": "image", "description": "text", "listed": "date", "district": "categorical"} == kinds
    rows = data_of((tmp_path / "rows" / "report.html").read_text(encoding="utf-8"))["rows"]
    assert set(rows["whatIf"]["texts"]) == {"description"}
    assert set(rows["whatIf"]["photos"]) == {"photo"}
    assert {one["name"] for one in rows["texts"]} == {"description"}
    assert [one["name"] for one in rows["patches"]] == ["photo"] * 4


def test_two_demonstrations_at_once_are_refused():
    with pytest.raises(InputError, match="--images and --rows cannot be combined"):
        demo.run_demo(DemoRequest(rows=True, images=True))
