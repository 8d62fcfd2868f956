"""The numbers of a figure: what was drawn, by name where an axis has names, and nothing of pictures too large."""

from __future__ import annotations

import numpy as np
from tests.report.conftest import NAMES, global_explanation

from permgrad.report import plots
from permgrad.report.plots.points import HEADINGS, MOST_NUMBERS, points


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
