"""Pictures of a layout and of a row: complete, legible, and without a trace in the user's Matplotlib."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from permgrad import InputError
from permgrad.imaging import ForeignRenderer, Renderer, StoredLayout, draw_layout, draw_row, make_layout
from permgrad.imaging.picture import short_label


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def fitted(kind, columns, **options):
    table = np.random.default_rng(0).normal(size=(60, columns))
    layout = make_layout(kind, 20, 0, **options).fit(table)
    return Renderer(layout, table.min(axis=0), table.max(axis=0)), table


@pytest.mark.parametrize("kind", ["assignment", "tinto"])
@pytest.mark.parametrize("columns", [1, 8, 30, 54, 128])
def test_every_column_is_in_the_legend_and_no_text_leaves_the_picture(kind, columns):
    renderer, table = fitted(kind, columns)
    names = [f"a rather long name of column {index}" for index in range(columns)]
    for figure in (draw_layout(renderer, names), draw_row(renderer, table[0], names)):
        legend = [text.get_text() for text in figure.axes[1 if len(figure.axes) < 3 else 2].texts]
        assert set(names) <= set(texts(figure))
        assert legend
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        width, height = figure.bbox.width, figure.bbox.height
        for axes in figure.axes:
            for text in axes.texts:
                box = text.get_window_extent(canvas.get_renderer())
                assert box.x0 >= 0
                assert box.x1 <= width + 1
                assert box.y0 >= -1
                assert box.y1 <= height + 1


def test_shared_pixels_carry_letters_and_the_title_counts_them():
    layout = StoredLayout([[0, 0], [0, 0], [1, 1]], pixels=4)
    figure = draw_layout(layout, ["first", "second", "third"])
    assert {"A", "1", "first", "second", "third"} <= set(texts(figure))
    assert figure.axes[0].get_title(loc="left") == (
        "stored layout: 3 columns on 4 × 4 pixels, 2 share a pixel (1 overwritten)"
    )


def test_ten_thousand_columns_are_drawn_without_a_label_each():
    layout = StoredLayout(np.stack(np.divmod(np.arange(10_000), 100), axis=1), pixels=100)
    assert len(texts(draw_layout(layout))) < 500


@pytest.mark.parametrize("options", [{}, {"blur": True}, {"blur": True, "option": "maximum"}])
def test_a_row_shows_the_renderers_values_on_a_scale_common_to_all_rows(options):
    import torch

    renderer, table = fitted("tinto", 12, **options)
    figure = draw_row(renderer, table[3])
    shown = figure.axes[0].images[0]
    drawn = np.ma.filled(shown.get_array(), 0.0)
    expected = renderer(torch.from_numpy(table[3:4]))[0, 0].numpy()
    np.testing.assert_allclose(drawn, expected)
    assert (shown.norm.vmin, shown.norm.vmax) == (0.0, 1.0)
    assert expected.max() > 0, "precondition: not an empty picture"


def test_a_foreign_row_is_shown():
    renderer = ForeignRenderer(
        lambda rows: np.stack([rows, rows * 0.5, rows * 0.1], axis=1)[:, :, None, :], channels_last=False
    )
    assert draw_row(renderer, [0.1, 0.9, 0.5]).axes[0].images
    assert draw_row(ForeignRenderer(lambda rows: rows[:, None, :]), [1.0, 9.0]).axes[0].images


def test_the_users_matplotlib_is_left_alone():
    import matplotlib.pyplot as plt

    settings, open_figures = dict(mpl.rcParams), plt.get_fignums()
    renderer, table = fitted("assignment", 9)
    draw_layout(renderer)
    draw_row(renderer, table[0])
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == open_figures


def test_pictures_are_written(tmp_path):
    renderer, _ = fitted("assignment", 9)
    for suffix in ("png", "svg", "pdf"):
        path = tmp_path / f"layout.{suffix}"
        draw_layout(renderer).savefig(path)
        assert path.stat().st_size > 1000


@pytest.mark.parametrize("width", range(3, 40))
def test_short_labels_fit(width):
    name = "Horizontal_Distance_To_Roadways"
    assert len(short_label(name, width)) <= width or width >= len(name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: draw_layout(StoredLayout([[0, 0]], 2), ["a", "b"]),
            (
                "names must hold one name for each encoded column, however: 2 names, 1 columns; "
                "pass the encoder's encoded_names_"
            ),
        ),
        (
            lambda: draw_layout(make_layout("random")),
            "a layout must be fitted before it is drawn, however: RandomLayout has no positions; call fit first",
        ),
        (
            lambda: draw_row(fitted("random", 3)[0], np.zeros((1, 3))),
            "row must be one encoded row, however: shape (1, 3); pass for example X[0]",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
