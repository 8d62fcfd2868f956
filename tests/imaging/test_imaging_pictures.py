"""Pictures of a layout and of a row: complete, legible, and without a trace in the
user's Matplotlib.
"""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from permgrad import InputError
from permgrad.imaging import Renderer, StoredLayout, draw_layout, make_layout
from permgrad.imaging.picture import _letters, short_label


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def fitted(kind, columns, **options):
    table = np.random.default_rng(0).normal(size=(60, columns))
    layout = make_layout(kind, 20, 0, **options).fit(table)
    return Renderer(layout, table.min(axis=0), table.max(axis=0)), table


@pytest.mark.parametrize("kind", ["assignment", "tinto"])
@pytest.mark.parametrize("columns", [1, 128, 8, 30, 54])
def test_every_column_is_in_the_legend_and_no_text_leaves_the_picture(kind, columns):
    renderer, _ = fitted(kind, columns)
    names = [f"a rather long name of column {index}" for index in range(columns)]
    figure = draw_layout(renderer, names)
    assert set(names) <= set(texts(figure))
    assert figure.axes[2].texts
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width = figure.bbox.width
    height = figure.bbox.height
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


@pytest.mark.slow
def test_ten_thousand_columns_are_drawn_without_a_label_each():
    layout = StoredLayout(
        np.stack(np.divmod(np.arange(10_000), 100), axis=1), pixels=100
    )
    assert len(texts(draw_layout(layout))) < 500


def test_the_users_matplotlib_is_left_alone():
    import matplotlib.pyplot as plt

    settings = dict(mpl.rcParams)
    open_figures = plt.get_fignums()
    renderer, _ = fitted("assignment", 9)
    draw_layout(renderer)
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == open_figures


def test_pictures_are_written(tmp_path):
    renderer, _ = fitted("assignment", 9)
    for suffix in ("png", "svg", "pdf"):
        path = tmp_path / f"layout.{suffix}"
        draw_layout(renderer).savefig(path)
        assert path.stat().st_size > 1000


# --- what is drawn where --------------------------------------------------------------
def boxes_of(figure, axes):
    """Return the extent of each text in axes, in the axes' own units: left, right,
    bottom, top.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    text_boxes = {}
    for text in axes.texts:
        box = text.get_window_extent(renderer).transformed(axes.transData.inverted())
        text_boxes[text] = (box.x0, box.x1, min(box.y0, box.y1), max(box.y0, box.y1))
    return text_boxes


def test_the_part_in_use_is_shown_with_a_margin_and_its_place_in_the_whole():
    layout = StoredLayout([[4, 11], [4, 12], [6, 12], [6, 12]], pixels=30)
    figure = draw_layout(layout)
    grid, whole_axes, _ = figure.axes
    # Rows 4 to 6 and a margin of one pixel; two columns of pixels are widened to the
    # same five.
    assert (grid.get_xlim(), grid.get_ylim()) == ((8.5, 13.5), (7.5, 2.5))
    assert grid.get_xticks().tolist() == [9, 10, 11, 12, 13]
    assert grid.get_yticks().tolist() == [3, 4, 5, 6, 7]
    (cells,) = grid.images
    assert tuple(cells.get_extent()) == (8.5, 13.5, 7.5, 2.5)
    expected = np.zeros((5, 5), dtype=int)
    expected[1, 2] = expected[1, 3] = 1
    expected[3, 3] = 2
    assert cells.get_array().tolist() == expected.tolist(), "empty, one column, shared"
    assert len({tuple(colour) for colour in cells.cmap(cells.norm([0, 1, 2]))}) == 3
    (small,) = whole_axes.images
    assert np.argwhere(small.get_array()).tolist() == [[4, 11], [4, 12], [6, 12]]
    assert small.get_array().shape == (30, 30)
    (frame,) = whole_axes.patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((8.5, 2.5), 5, 5)
    assert whole_axes.get_title(loc="left") == "whole picture, 30 × 30"
    assert not whole_axes.get_xticks().size
    assert not whole_axes.get_yticks().size


@pytest.mark.parametrize(
    ("positions", "pixels", "expected"),
    [
        ([[0, 0]], 1, ((-0.5, 0.5), (0.5, -0.5))),
        ([[0, 0]], 9, ((-0.5, 1.5), (1.5, -0.5))),
        ([[8, 8]], 9, ((6.5, 8.5), (8.5, 6.5))),
        ([[0, 0], [8, 3]], 9, ((-0.5, 8.5), (8.5, -0.5))),
    ],
)
def test_the_part_in_use_stays_inside_the_picture(positions, pixels, expected):
    grid = draw_layout(StoredLayout(positions, pixels)).axes[0]
    assert (grid.get_xlim(), grid.get_ylim()) == expected


@pytest.mark.slow
def test_marks_stand_on_their_cells_and_fit_into_them():
    for columns in (6, 60, 400):
        renderer, _ = fitted("random", columns)
        figure = draw_layout(renderer)
        grid = figure.axes[0]
        boxes = boxes_of(figure, grid)
        marks = [text for text in boxes if text.get_text().isdecimal()]
        cells = sorted(map(tuple, renderer.positions.tolist()))
        assert [int(text.get_text()) for text in marks] == list(
            range(1, columns + 1)
        ), "numbered in reading order"
        for text, (row, cell_column) in zip(marks, cells, strict=True):
            left, right, top, bottom = boxes[text]
            assert cell_column - 0.5 < left < cell_column < right < cell_column + 0.5
            assert row - 0.5 < top < bottom < row + 0.5


def test_cells_with_room_carry_a_short_name_below_their_mark():
    layout = StoredLayout([[0, 0], [0, 1], [0, 1], [1, 1]], pixels=3)
    figure = draw_layout(
        layout, ["a name that is much longer than a cell is wide", "b", "c", "short"]
    )
    grid = figure.axes[0]
    boxes = boxes_of(figure, grid)
    by_text = {text.get_text(): box for text, box in boxes.items()}
    assert {"1", "A", "2", "× 2", "short"} < set(by_text)
    (long,) = [text for text in by_text if text.startswith("a name")]
    assert "…" in long
    for mark, name in (("1", long), ("A", "× 2"), ("2", "short")):
        left, right, top, bottom = by_text[name]
        assert by_text[mark][3] <= top, "the mark ends above the name"
        assert round(right) == round(left) == round((left + right) / 2)
        assert round(top) == round(bottom)
    weights = {text.get_text(): text.get_fontweight() for text in grid.texts}
    assert (weights["1"], weights["A"]) == ("normal", "bold")


@pytest.mark.parametrize("columns", [3, 60, 192, 193])
def test_the_legend_is_read_from_top_to_bottom_and_its_lines_do_not_touch(columns):
    renderer, _ = fitted("random", columns)
    names = [f"column number {index}" for index in range(columns)]
    figure = draw_layout(renderer, names)
    legend = figure.axes[2]
    boxes = boxes_of(figure, legend)
    marks = [text for text in boxes if text.get_text().isdecimal()]
    listed = [text for text in boxes if text.get_text() and text not in marks]
    # In the order of the marks: of the pixels from top left to bottom right.
    order = np.lexsort(renderer.positions.T[::-1])
    expected = [names[index] for index in order]
    if columns > 192:
        expected = [*expected[:191], "… and 2 more"]
    assert [text.get_text() for text in listed] == expected
    assert [int(text.get_text()) for text in marks] == list(
        range(1, min(columns, 192 if columns < 193 else 191) + 1)
    )
    for mark, name in zip(marks, listed, strict=False):
        assert boxes[mark][1] < boxes[name][0], "the mark ends before the name begins"
        assert mark.get_position()[1] == name.get_position()[1]
    for upper, lower in itertools.pairwise(listed):
        if lower.get_position()[0] == upper.get_position()[0]:
            assert boxes[lower][3] <= boxes[upper][2], "one below the other"
        else:
            assert boxes[upper][1] < boxes[lower][0], "or in the next column"


def test_the_legend_takes_another_column_for_34_lines_and_four_at_most():
    """A picture is as wide as the columns of its legend need."""
    widths = []
    for columns in (1, 34, 35, 69, 136, 144):
        layout = StoredLayout(
            [divmod(column_index, 12) for column_index in range(columns)], pixels=12
        )
        widths.append(
            draw_layout(
                layout, ["a name that is too long for its line"] * columns
            ).get_figwidth()
        )
    column_width = widths[2] - widths[1]
    assert column_width > 1
    assert np.subtract(widths, widths[0]) == pytest.approx(
        [0, 0, column_width, 2 * column_width, 3 * column_width, 3 * column_width]
    )


def test_titles_are_the_users_if_given():
    renderer, _ = fitted("assignment", 3)
    assert draw_layout(renderer, title="Mine").axes[0].get_title(loc="left") == "Mine"
    assert (
        draw_layout(renderer).axes[0].get_title(loc="left")
        == "assignment layout: 3 columns on 20 × 20 pixels"
    )
    shared = StoredLayout([[0, 0], [0, 0]], 2, "mean")
    assert draw_layout(shared).axes[0].get_title(loc="left") == (
        "stored layout: 2 columns on 2 × 2 pixels, 2 share a pixel"
    ), "nothing is overwritten where the mean is drawn"


@pytest.mark.parametrize(("side", "step"), [(20, 1), (21, 2), (40, 2), (41, 3)])
def test_ticks_are_at_most_twenty(side, step):
    grid = draw_layout(StoredLayout([[0, 0], [side - 1, side - 1]], pixels=side)).axes[
        0
    ]
    assert (
        grid.get_xticks().tolist()
        == grid.get_yticks().tolist()
        == list(range(0, side, step))
    )


def test_the_parts_of_a_picture_lie_side_by_side():
    renderer, _ = fitted("random", 30)
    figure = draw_layout(renderer)
    width, height = figure.get_size_inches()
    grid, whole_axes, legend = (axes.get_position() for axes in figure.axes[:3])
    assert grid.width * width == pytest.approx(grid.height * height), (
        "pixels are square"
    )
    assert whole_axes.width * width == pytest.approx(whole_axes.height * height)
    assert 0 < grid.x0 < grid.x1 < legend.x0 == whole_axes.x0 < legend.x1 < 1
    assert 0 < legend.y0 < legend.y1 < whole_axes.y0 < whole_axes.y1 < 1
    assert 0 < grid.y0 < grid.y1 < 1
    assert whole_axes.width < grid.width / 4


def test_letters_count_as_in_spreadsheets():
    assert [_letters(index) for index in (0, 25, 26, 51, 52, 701, 702)] == [
        "A",
        "Z",
        "AA",
        "AZ",
        "BA",
        "ZZ",
        "AAA",
    ]


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
                "names must hold one name for each encoded column, got 2 names for 1 "
                "columns. Pass the encoder's encoded_names_."
            ),
        ),
        (
            lambda: draw_layout(make_layout("random")),
            "RandomLayout is not fitted: it has no positions. Call fit first.",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.message == message
