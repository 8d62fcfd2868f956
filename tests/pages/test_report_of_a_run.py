"""``pg.report`` of a network of permgrad, on the rows that its run held back, is the
page of the run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import data_of
from invoking import call
from PIL import Image

import permgrad as pg


def table(folder: Path, *, images: bool) -> pd.DataFrame:
    """Rows with two classes, the rarer one first: half of what tells them apart is in
    the images, if there are any.
    """
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(160, 3)), columns=["age", "dose", "noise"])
    frame["site"] = rng.choice(list("ABC"), len(frame))
    bright = rng.uniform(size=len(frame)) < 0.5
    if not images:
        frame["cost"] = (
            20 * frame["age"] - 5 * frame["dose"] + rng.normal(size=len(frame))
        ).round(2)
        return frame
    frame["outcome"] = np.where(frame["age"] + 2 * bright > 1.4, "ill", "well")
    for image_number, brightness in enumerate(bright):
        pixels = rng.integers(0, 90, (16, 16)).astype(np.uint8)
        pixels[4:9, 4:9] += np.uint8(120 * brightness)
        Image.fromarray(pixels).save(folder / f"{image_number}.png")
    return frame.assign(scan=[f"{row_number}.png" for row_number in range(len(frame))])


def headings(page: str) -> list[str]:
    """The headings of a page without its title, rows by what is said of them: a run
    counts rows as its file does.
    """
    heading_matches = re.findall(r"<h[1-6][^>]*>(.*?)</h[1-6]>", page, re.DOTALL)[1:]
    return [
        re.sub(r"^Row \d+", "Row", re.sub(r"<[^>]+>", "", heading_match).strip())
        for heading_match in heading_matches
    ]


@pytest.mark.parametrize(
    "images",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["numbers", "images"],
)
def test_the_page_of_a_run_in_python(tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    frame = table(tmp_path, images=images)
    target = "outcome" if images else "cost"
    frame.to_csv("rows.csv", index=False)
    call(
        "run",
        "rows.csv",
        "--target",
        target,
        "--preset",
        "fast",
        "--seed",
        0,
        "--out",
        "run",
        *(["--kind", "scan=image"] * images),
    )
    model = pg.load("run/model")
    split = np.load("run/split.npz")
    written = pg.read_table("rows.csv")

    def rows(part: str) -> tuple[Any, Any]:
        part_table = written.iloc[split[part]]
        return part_table.drop(columns=target), part_table[target]

    page = pg.report(model, *rows("test"), train=rows("train"), progress=False).html
    of_run = Path("run/report.html").read_text()
    assert len(headings(of_run)) > 25
    assert headings(page) == headings(of_run)
    figures = data_of(of_run)["figures"]
    assert len(figures) > 5
    assert data_of(page)["figures"] == figures
