"""Panels of numbers with few values: the whole range is shown, thin values share a
point with their neighbour.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.pages.conftest import global_explanation

from permgrad.attribution.replace.direction import _points
from permgrad.data.encode.encoding import TableEncoder


def entry(counts: dict[str, int]) -> dict:
    """Return what the method gives of a column: with each value the mean prediction is
    its place times 0.1.
    """
    share = np.array(list(counts.values())) / sum(counts.values())
    mean = [[0.1 * level_index] for level_index in range(len(counts))]
    labels = list(counts)
    return {"kind": "levels", "at": list(range(len(counts))), "label": labels, "mean": mean, "levels": len(counts),
            "share": share.tolist()}  # fmt: skip


def panel(feature_direction: dict) -> tuple[list[str], np.ndarray, str]:
    """Return the words below the points, where the points are, and everything that is
    drawn as text.
    """
    explanation = replace(
        global_explanation(("rooms",), ("all",)), direction={"rooms": feature_direction}
    )
    figure = explanation.plot.direction()
    axes = figure.axes[0]
    words = [tick.get_text() for tick in axes.get_xticklabels()]
    return words, np.asarray(axes.lines[0].get_ydata(), dtype=float), figure.to_svg()


def test_the_whole_range_of_ten_values_is_shown():
    words, points, drawn = panel(entry({str(value): 10 for value in range(3, 13)}))
    assert words == [str(value) for value in range(3, 13)]
    np.testing.assert_allclose(points, 0.1 * np.arange(10))
    assert "more level" not in drawn


def test_thin_values_share_a_point_with_a_neighbour():
    words, points, _ = panel(
        entry(
            {
                "1": 1,
                "2": 2,
                "3": 300,
                "4": 250,
                "6": 200,
                "8": 3,
                "9": 300,
                "10": 1,
                "missing": 1,
            }
        )
    )
    assert words == ["1–3", "4", "6–8", "9–10", "missing"]
    expected = [
        (1 * 0 + 2 * 0.1 + 300 * 0.2) / 303,
        0.3,
        (200 * 0.4 + 3 * 0.5) / 203,
        (300 * 0.6 + 0.7) / 301,
        0.8,
    ]
    np.testing.assert_allclose(points, expected)


def test_older_results_without_shares_and_other_levels_stay_as_they_are():
    old = {
        name: value
        for name, value in entry(dict.fromkeys("0123456789", 1)).items()
        if name != "share"
    }
    assert panel(old)[0] == list("0123456789")
    words, _, drawn = panel(
        entry({f"colour {value}": value for value in range(10, 0, -1)})
    )
    assert len(words) == 8
    assert "2 more levels" in drawn
    cut = entry(dict.fromkeys("0123456789", 1)) | {"levels": 40}
    assert len(panel(cut)[0]) == 8, "of numbers as text only some are known"


@pytest.mark.parametrize("gaps", [False, True])
def test_the_method_gives_each_of_few_values(gaps):
    draw = np.random.default_rng(0)
    chances = [0.005, 0.015, 0.1, 0.2, 0.3, 0.2, 0.1, 0.04, 0.03, 0.01]
    values = draw.choice(np.arange(1.0, 11.0), 600, p=chances)
    assert len(np.unique(values)) == 10
    values[:80] = np.nan if gaps else values[:80]
    X = pd.DataFrame({"quality": values, "other": draw.normal(size=600)})
    encoder = TableEncoder().fit(X)
    request = SimpleNamespace(
        raw=X,
        shown=X,
        encoded=encoder.transform(X),
        subject=SimpleNamespace(preprocessor=encoder),
    )
    value_points = _points(request, "quality", np.ones(600))
    known_values = np.unique(values[~np.isnan(values)])
    assert [
        float(label) for label in value_points["label"][: len(known_values)]
    ] == known_values.tolist()
    assert value_points["label"][len(known_values) :] == ["missing"] * gaps
    np.testing.assert_allclose(
        value_points["share"][0] * 600, (values == known_values[0]).sum()
    )
    assert sum(value_points["share"]) == pytest.approx(1)
