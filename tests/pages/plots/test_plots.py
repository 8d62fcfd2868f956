"""Plots: every one draws every kind of content, quietly, and leaves the user's
matplotlib alone.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path
from urllib.parse import unquote, urlparse

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tests.pages.conftest import HOSTILE, NAMES, global_explanation, local_explanation

import permgrad as pg
from permgrad.base import style
from permgrad.base.errors import InputError
from permgrad.base.numerals import number, numbers
from permgrad.pages import plots
from permgrad.pages.plots import _base as base
from permgrad.pages.plots.image import overlay
from permgrad.pages.plots.modality import branches
from permgrad.pages.words import labels_of, shorten, value_text

MANY = [f"class {k}" for k in range(30)]


def drawn(figure: Figure) -> str:
    """Draw the figure and return all its text."""
    assert isinstance(figure, plots.PlotFigure)
    return figure.to_svg()


def everything(names, classes):
    """Each plot of each explanation, by name."""
    whole_explanation = global_explanation(names, classes)
    local = local_explanation(names, classes, rows=40)
    return {
        "bar": whole_explanation.plot.bar,
        "bar of rows": local.plot.bar,
        "classes": whole_explanation.plot.classes,
        "classes of rows": local.plot.classes,
        "beeswarm": local.plot.beeswarm,
        "waterfall": lambda **ax: local.plot.waterfall(row=1, **ax),
        "image": lambda **ax: local.plot.image(row=1, **ax),
        "modality": whole_explanation.plot.modality,
        "modality of rows": local.plot.modality,
        "direction": whole_explanation.plot.direction,
        "scatter": lambda **ax: local.plot.scatter(0, colour=len(names) - 1, **ax),
    }


@pytest.mark.parametrize("name", list(everything(NAMES, ("Bad", "Good"))))
@pytest.mark.parametrize(
    ("names", "classes"),
    [(NAMES, ("Bad", "Good")), (["only"], ("a", "b")), (HOSTILE, HOSTILE[:5])],
    ids=["ordinary", "one feature", "hostile names"],
)
def test_every_plot_draws_every_content_without_a_warning(name, names, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = everything(names, classes)[name]()
        assert "<svg" in drawn(figure)
    assert figure.description


@pytest.mark.parametrize("name", ["bar", "classes", "direction"])
def test_many_classes(name):
    assert "<svg" in drawn(everything(NAMES, MANY)[name]())


def test_names_are_never_read_as_mathematics_or_markup():
    text = drawn(global_explanation(HOSTILE).plot.bar())
    assert "$\\frac{a}{b}$ price_of_$x$" in text
    assert "&lt;script&gt;alert(" in text
    assert "<script" not in text
    assert "_^_$" in text


def test_the_users_settings_figures_and_filters_stay(explanation, local, tmp_path):
    import matplotlib.pyplot as plt

    with mpl.rc_context():
        mpl.rcParams["font.size"] = 31
        mpl.rcParams["axes.facecolor"] = "pink"
        mpl.rcParams["text.parse_math"] = True
        before = mpl.rcParams.copy()
        filters = list(warnings.filters)
        open_figures = plt.get_fignums()
        explanation.plot.bar().save(tmp_path / "a.png")
        local.plot.beeswarm().save(tmp_path / "b.svg")
        # Compared below the dict, because reading "backend" would choose one.
        assert {key: dict.__getitem__(mpl.rcParams, key) for key in before} == {
            key: dict.__getitem__(before, key) for key in before
        }
        assert warnings.filters == filters
        assert plt.get_fignums() == open_figures
        wild = explanation.plot.bar().to_svg()
    assert wild == explanation.plot.bar().to_svg(), (
        "the user's settings must not show in the figure"
    )


def test_settings_are_put_back_after_an_error():
    before = dict(mpl.rcParams)
    with pytest.raises(RuntimeError), style.house_style():
        raise RuntimeError
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_save(explanation, tmp_path, ending, magic):
    path = explanation.plot.bar().save(tmp_path / f"figure.{ending}")
    assert path.read_bytes().startswith(magic)
    with pytest.raises(
        InputError, match=r"A plot is saved as \.png, \.svg, \.pdf, got 'x\.jpg'"
    ):
        explanation.plot.bar().save("x.jpg")


@pytest.mark.parametrize("name", list(everything(NAMES, ("Bad", "Good"))))
def test_plots_of_explanations_draw_into_axes_of_the_user(explanation, name):
    figure = Figure(figsize=(9, 4))
    axes, other_axes = figure.subplots(1, 2)
    before = dict(mpl.rcParams)
    box = axes.get_position()
    assert everything(NAMES, ("Bad", "Good"))[name](ax=axes) is axes
    inside = [panel for panel in figure.axes if panel is not other_axes]
    assert (
        sum(len(panel.get_children()) for panel in inside) > 11
    )  # what empty axes have
    assert not other_axes.has_data()
    assert dict(mpl.rcParams) == before
    for shown_panel in inside:  # several panels share the room
        assert (
            box.x0 - 1e-6
            <= shown_panel.get_position().x0
            < shown_panel.get_position().x1
            <= box.x1 + 1e-6
        )
    figure.canvas.draw()
    # The next figure is its own again.
    assert isinstance(explanation.plot.bar(), plots.PlotFigure)


def test_axes_without_a_grid_hold_panels_and_other_things_are_refused(explanation):
    figure = Figure()
    axes = figure.add_axes((0.1, 0.1, 0.5, 0.5))
    explanation.plot.direction(ax=axes)
    assert len(figure.axes) > 2
    assert max(panel.get_position().x1 for panel in figure.axes) <= 0.6 + 1e-6
    with pytest.raises(
        InputError, match="ax must be the axes of one plot, got ndarray"
    ):
        explanation.plot.bar(ax=figure.subplots(1, 2))


def test_show_opens_a_picture_in_the_browser(explanation, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "webbrowser.open", lambda address: opened.append(address) or True
    )
    explanation.plot.bar().show()
    assert Path(unquote(urlparse(opened[0]).path)).read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    with pytest.raises(pg.EnvironmentProblem, match="No browser could be opened"):
        explanation.plot.bar().show()


def test_bars_show_the_numbers(explanation):
    axes = explanation.plot.bar(top_n=5).axes[0]
    totals = np.zeros(5)
    for container in axes.containers:
        for bar_index, rectangle in enumerate(container):
            totals[bar_index] += rectangle.get_width()
    order = [explanation.names.index(name) for name in explanation.ranking()[:5]]
    np.testing.assert_allclose(totals, explanation.values[order, 0])
    assert [label.get_text() for label in axes.get_yticklabels()] == labels_of(
        [explanation.names[i] for i in order]
    )
    segments = axes.collections[0].get_segments()
    low, high = explanation.ci()
    np.testing.assert_allclose(
        [segment[:, 0] for segment in segments], np.c_[low[order, 0], high[order, 0]]
    )


def test_parts_below_zero_stand_on_the_other_side():
    values = np.array([[0.2], [0.1]])
    path_parts = {
        "tabular": np.array([[0.5], [0.1]]),
        "image": np.array([[-0.3], [0.0]]),
    }
    changes = {
        "std_error": None,
        "low": None,
        "high": None,
        "p_values": None,
        "direction": None,
    }
    axes = (
        global_explanation(
            ["a", "b"], task="regression", values=values, parts=path_parts, **changes
        )
        .plot.bar()
        .axes[0]
    )
    first = [container[0].get_extents for container in axes.containers]
    assert len(first) == 2
    ends = [
        (bar.get_x(), bar.get_x() + bar.get_width())
        for bar in (container[0] for container in axes.containers)
    ]
    np.testing.assert_allclose(ends, [(0, 0.5), (0, -0.3)])


def test_bars_that_do_not_clearly_matter_are_grey_with_paths_too():
    values = np.array([[0.5], [0.2]])
    p_values = np.array([[1e-6], [0.7]])
    path_parts = {
        "tabular": np.array([[0.3], [0.1]]),
        "image": np.array([[0.2], [0.1]]),
    }
    changes = {
        "values": values,
        "parts": path_parts,
        "p_values": p_values,
        "direction": None,
    }
    figure = global_explanation(["a", "b"], task="regression", **changes).plot.bar()
    bar_colours = [
        [mpl.colors.to_hex(bar.get_facecolor()) for bar in container]
        for container in figure.axes[0].containers
    ]
    assert bar_colours == [[style.TABULAR, style.NEUTRAL], [style.IMAGE, style.NEUTRAL]]
    keys = [
        mpl.colors.to_hex(handle.get_facecolor())
        for handle in figure.axes[0].get_legend().legend_handles
    ]
    assert keys == [style.TABULAR, style.IMAGE]


def test_waterfall_steps_end_at_the_prediction(local):
    axes = local.plot.waterfall(row=4, top_n=6, target="Good").axes[0]
    bars = axes.containers[0]
    assert len(bars) == 7, "six features and the rest"
    top = bars[0]
    bottom = bars[-1]
    assert bottom.get_x() == pytest.approx(local.base_values[1])
    assert top.get_x() + top.get_width() == pytest.approx(local.predictions[4, 1])
    assert sum(bar.get_width() for bar in bars) == pytest.approx(
        local.predictions[4, 1] - local.base_values[1]
    )


def test_waterfall_shows_what_is_not_attributed(local):
    from dataclasses import replace

    gap = replace(local, predictions=local.predictions + 1.0)
    assert "not attributed" in drawn(gap.plot.waterfall())
    assert "not attributed" not in drawn(local.plot.waterfall())


def test_all_zero_and_undefined_values(explanation):
    from dataclasses import replace

    nothing = np.zeros_like(explanation.values)
    zero = replace(
        explanation,
        values=nothing,
        parts={},
        std_error=nothing,
        low=nothing,
        high=nothing,
    )
    undefined = replace(
        explanation,
        low=nothing * np.nan,
        high=nothing * np.nan,
        values=explanation.values.copy(),
    )
    undefined.values[3] = np.nan
    for case_explanation in (zero, undefined):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "<svg" in drawn(case_explanation.plot.bar())
            assert "<svg" in drawn(case_explanation.plot.classes())
    local = local_explanation(rows=3)
    flat = replace(
        local,
        values=local.values * 0,
        predictions=None,
        base_values=None,
        feature_values=None,
    )
    for plot in (flat.plot.beeswarm, flat.plot.waterfall, flat.plot.bar):
        assert "<svg" in drawn(plot())
    assert (
        "zero everywhere" in overlay(None, np.zeros((4, 4)), signed=False).description
    )


def test_plotting_by_itself_picks_what_suits(explanation, local):
    assert len(explanation.plot().axes) == 1
    assert len(local.plot().axes) == 2, "a beeswarm has a colour bar"
    assert "Steps from" in local_explanation(rows=1).plot().description


def test_a_beeswarm_without_any_order_has_no_bar_of_colours():
    local = local_explanation(rows=20)
    words = pd.DataFrame(dict.fromkeys(local.names, ["a", "b"] * 10))
    figure = dataclasses.replace(local, feature_values=words).plot.beeswarm()
    assert len(figure.axes) == 1


def test_beeswarm_of_many_rows_is_thinned_and_says_so():
    figure = local_explanation(rows=4000).plot.beeswarm(top_n=2)
    assert figure.get_suptitle().endswith(": 1,500 of 4,000 rows")
    assert "4,000 rows, 1,500 drawn" in figure.description
    assert (
        sum(len(points.get_offsets()) for points in figure.axes[0].collections)
        == 2 * 1500
    )


def test_branches_without_share_and_interval():
    stored = {
        "tabular": {"importance": 0.1, "share": None, "ci_low": None},
        "interaction": {"importance": 0.1},
        "paper": {},
    }
    text = drawn(branches(stored))
    assert "undefined" in text
    assert "interaction" not in text
    with pytest.raises(InputError, match="branches needs at least one branch"):
        branches({"paper": {}})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda g, _: g.plot.beeswarm(),
            "beeswarm shows single rows, but this explanation is global",
        ),
        (
            lambda g, _: g.plot.waterfall(),
            "waterfall shows single rows, but this explanation is global",
        ),
        (
            lambda _, rows: rows.plot.waterfall(row=300),
            "row must be a position from 0 to 299, got 300",
        ),
        (
            lambda g, _: g.plot.bar(top_n=0),
            "top_n must be an integer of at least 1, got 0",
        ),
        (lambda g, _: g.plot.bar(target="Godo"), "Did you mean 'Good'"),
        (
            lambda _, rows: rows.plot.direction(),
            "has no mean predictions by quantile or level",
        ),
        (
            lambda _, rows: local_explanation(maps={}).plot.image(),
            "image() needs activation maps or segments, but method='integrated",
        ),
        (
            lambda *_: branches({"paper": {}}),
            "got none. Pass explanation.branches of a model with",
        ),
        (
            lambda *_: branches({}),
            "got none. Pass explanation.branches of a model with several",
        ),
        (
            lambda *_: overlay([1.0, 2.0], [[1.0]]),
            (
                "An image must have shape (height, width), with or without channels, "
                "got (2,)"
            ),
        ),
    ],
)
def test_messages(call, message, explanation, local):
    with pytest.raises(InputError) as caught:
        call(explanation, local)
    assert message in str(caught.value)


def test_every_feature_is_shown_where_none_is_left_out(explanation):
    few = explanation.plot.bar(top_n=3)
    every = explanation.plot.bar(top_n=None)
    counts = [len(figure.axes[0].get_yticks()) for figure in (few, every)]
    assert counts == [3, len(explanation.names)]


def test_a_map_without_its_image_is_drawn_alone():
    alone = overlay(None, [[1.0, -2.0]])
    map_with_image = overlay(np.zeros((4, 4)), [[1.0, -2.0]])
    panels = [
        sum(bool(axes.images) for axes in figure.axes)
        for figure in (alone, map_with_image)
    ]
    assert panels == [1, 2]
    assert (
        alone.axes[-1].get_ylim() == map_with_image.axes[-1].get_ylim() == (-2.0, 2.0)
    )


def test_undefined_importances_of_a_class_are_drawn_without_a_colour():
    explanation = global_explanation(classes=("a", "b", "c"))
    values = explanation.values.copy()
    values[0, 2] = np.nan
    figure = plots.classes(dataclasses.replace(explanation, values=values), top_n=4)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "<svg" in figure.to_svg()
    assert sum("–" in text or "nan" in text for text in texts) == 1


def test_the_ticks_of_tiny_and_huge_numbers_are_short():
    assert [base._tick_text(value) for value in (0.0, 0.25, -12.5, 12345.0)] == [
        "0",
        "0.25",
        "−12.5",
        "12,345",
    ]
    assert [base._tick_text(value) for value in (2e-7, -3e8)] == ["2e−7", "−300\xa0M"]


def test_the_ticks_and_ends_of_a_narrow_range_far_from_zero_differ():
    explanation = pg.Explanation(
        np.array([[[2e-4], [5e-5]]]),
        ("a", "b"),
        ("table",) * 2,
        ("y",),
        "shapley",
        "local",
        additive=True,
        base_values=np.array([[1000.0]]),
        feature_values=pd.DataFrame({"a": [1.0], "b": [2.0]}),
    )
    axes = explanation.plot.waterfall().axes[0]
    ticks = axes.xaxis.get_major_formatter().format_ticks(list(axes.get_xticks()))
    assert len(set(ticks)) == len(ticks) > 1
    words = [text.get_text() for text in axes.texts]
    ends = [text.split()[-1] for text in words if text.startswith(("this", "baseline"))]
    assert ends == ["1,000.00025", "1,000.00000"]


def test_words():
    assert shorten("x" * 50, 11) == "xxxxxx…xxxx"
    assert (
        len(set(labels_of([f"{'a' * 40}{k}{'b' * 40}" for k in range(12)], 12))) == 12
    )
    assert number(1234567.0) == "1.23\N{NO-BREAK SPACE}M"
    assert numbers([0.5, -0.0001]) == ["0.500", "0.000"]
    assert value_text(float("inf")) == "inf"
    assert value_text(pd.NaT) == "missing"
    assert value_text(pd.Timestamp("2022-07-03")) == "2022-07-03"
    assert value_text(np.datetime64("2022-07-03T14:05")) == "2022-07-03 14:05"
    assert value_text("2022-07-03 00:00:00") == "2022-07-0…:00:00"


def test_modality_sums_the_paths_of_an_additive_explanation(local):
    from dataclasses import replace

    path_parts = {"tabular": 0.75 * local.values, "image": 0.25 * local.values}
    figure = replace(local, parts=path_parts).plot.modality(target="Good")
    widths = [
        bar.get_width() for container in figure.axes[0].containers for bar in container
    ]
    total = np.abs(local.values[:, :, 1].sum(axis=1)).mean()
    np.testing.assert_allclose(widths, [0.75 * total, 0.25 * total])
    assert "table branch" in drawn(figure)


def test_svg_is_what_savefig_writes_though_it_is_drawn_once(monkeypatch):
    def figure():
        drawn = overlay(
            np.linspace(0, 1, 64).reshape(1, 8, 8),
            np.linspace(0, 1, 16).reshape(4, 4),
            signed=False,
        )
        drawn.suptitle("a title")
        return drawn

    buffer = io.StringIO()
    figure().savefig(
        buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
    )
    assert "image/png" in buffer.getvalue(), (
        "pictures inside the drawing must be of the same resolution too"
    )
    drawings = []
    draw = plots.PlotFigure.draw
    monkeypatch.setattr(
        plots.PlotFigure,
        "draw",
        lambda self, renderer: drawings.append(draw(self, renderer)),
    )
    own_figure = figure()
    before = (
        own_figure.dpi,
        own_figure.canvas,
        own_figure.patch.get_facecolor(),
        own_figure.axes[0].patch.get_facecolor(),
    )
    assert own_figure.to_svg() == buffer.getvalue()
    assert len(drawings) == 1
    assert (
        own_figure.dpi,
        own_figure.canvas,
        own_figure.patch.get_facecolor(),
        own_figure.axes[0].patch.get_facecolor(),
    ) == before
