"""The picture beside ``report.md``: the same bars as those of the page, in a file that
stands by itself.
"""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import permgrad as pg
from permgrad.pages.charts.chart import Chart
from permgrad.pages.charts.picture_chart import bars_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text):
    root = ET.fromstring(text)
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.get("x")]
    return (
        root,
        bars,
        list(root.iter(f"{SVG}line")),
        [text.text for text in root.iter(f"{SVG}text")],
    )


def test_lengths_are_in_proportion_and_whiskers_at_their_ends():
    data = {
        "names": ["<a> & b", "c", "d"], "values": np.array([30.0, 15.0, 12.0]), "low": np.array([28.0, 9.0, np.nan]),
        "high": np.array([34.0, 16.0, np.nan]), "quiet": [False, True, True], "texts": ["30", "15", "12"],
        "label": "RMSE without the feature", "start": 10.0,
    }  # fmt: skip
    root, bars, lines, texts = drawn(bars_svg(Chart("bars", "Bars of <all>.", data)))
    long, short, least = (float(bar.get("width")) for bar in bars)
    assert long / short == pytest.approx(20 / 5, rel=0.01)
    assert long / least == pytest.approx(20 / 2, rel=0.05)
    unit = long / 20
    origin = float(bars[0].get("x"))
    ends = [(float(line.get("x1")), float(line.get("x2"))) for line in lines]
    assert ends == [
        pytest.approx((origin + unit * (a - 10), origin + unit * (b - 10)), abs=0.2)
        for a, b in [(28, 34), (9, 16)]
    ]
    assert texts[0] == "RMSE without the feature (with all: 10.0)"
    assert texts[1::2] == ["<a> & b", "c", "d"]
    assert texts[2::2] == ["30", "15", "12"]
    assert len({bar.get("fill") for bar in bars}) == 2, "what is certain has the colour"
    assert root.find(f"{SVG}title").text == "Bars of <all>."
    assert all(0 <= float(bar.get("x")) <= float(root.get("width")) for bar in bars)


def test_it_stands_beside_the_text_under_its_name(tmp_path):
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(200, 3)), columns=list("abc")
    )
    y = 3 * X["a"] - X["b"] + np.random.default_rng(1).normal(size=200)
    page = pg.report(
        LinearRegression().fit(X, y), X, y, path=tmp_path / "my page.md", progress=False
    )
    linked = re.search(
        r"!\[(.*)\]\(my%20page\.svg\)", (tmp_path / "my page.md").read_text()
    )
    root, bars, _, texts = drawn((tmp_path / "my page.svg").read_text())
    assert linked.group(1).replace("\\", "") == root.find(f"{SVG}title").text
    assert texts[1] == "a" and float(bars[0].get("width")) > float(bars[1].get("width"))  # noqa: PT018
    page.save(tmp_path / "page.html")
    assert not (tmp_path / "page.svg").exists(), "the page draws its own"
