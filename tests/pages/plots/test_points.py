"""The numbers of a figure: what was drawn, by name where an axis has names, and nothing of pictures too large."""

from __future__ import annotations

import numpy as np
import pandas as pd
from tests.pages.conftest import NAMES, global_explanation

from permgrad.evaluation.cards import Sample
from permgrad.evaluation.pair_effects import pair_effects
from permgrad.pages import plots
from permgrad.pages.plots._base import HEADINGS, MOST_NUMBERS, points


def test_bars_and_whiskers_have_the_names_of_features():
    explanation = global_explanation(NAMES[:4])
    head, *lines = points(plots.bar(explanation, title=""))
    assert head == HEADINGS
    for name, value in zip(explanation.names, explanation.values[:, 0], strict=True):
        beside = [line[3] for line in lines if line[1] == "line" and str(line[4])[:8] == name[:8]]
        assert any(abs(place - value) < 1e-5 * abs(value) for place in beside), name


def test_cells_of_a_table_have_their_value_and_names():
    figure = plots.confusion_matrix(np.array([[8, 2], [1, 9]]), ["no", "yes"])
    cells = {(line[4], line[3]): float(line[2]) for line in points(figure)[1:]}
    assert cells["no", "yes"] == 0.2
    assert cells["yes", "yes"] == 0.9


def test_a_figure_with_too_many_numbers_has_none():
    figure = plots.PlotFigure()
    axes = figure.subplots()
    axes.plot(np.arange(10), np.arange(10))
    assert len(points(figure)) == 11
    axes.plot(np.arange(MOST_NUMBERS), np.arange(MOST_NUMBERS))
    assert points(figure) == []


def test_dates_are_written_as_dates():
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(40), "D")
    table = pd.DataFrame({"day": days, "size": np.arange(40) % 7})
    seconds = np.asarray(days.astype("int64") // 10 ** {"ns": 9, "us": 6, "ms": 3, "s": 0}[days.unit], dtype=np.float64)
    sample = Sample(table, table, np.zeros((40, 1)), np.zeros((40, 1)), {"day": seconds})
    (effect,) = pair_effects(sample, [("day", "size")], np.arange(5), lambda _, changed: changed[["size"]].to_numpy())
    dots = [line for line in points(plots.pair_effect(effect))[1:] if line[2] == "rows"]
    assert [line[3] for line in dots[:2]] == ["2024-01-01", "2024-01-02"]
    assert [line[4] for line in dots[:2]] == [0.0, 1.0]
