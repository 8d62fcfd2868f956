"""Grids with channels: where columns stand, how rows are drawn, and what the layout's
own drawing shows.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from permgrad.base.errors import InputError
from permgrad.imaging import (
    Blur,
    GivenLayout,
    GridLayout,
    Renderer,
    StoredLayout,
    draw_layout,
    fit_layout,
    make_layout,
)

_COLOURS = [
    f"px_{row}_{column}_{colour}"
    for colour in "rgb"
    for row in range(2)
    for column in range(3)
]


@pytest.mark.parametrize(
    ("names", "shape", "last"),
    [
        (_COLOURS, (2, 3, 3), [1, 2, 2]),
        (_COLOURS[::-1], (2, 3, 3), [0, 0, 2]),  # channels in the order of the columns
        (["acc_x_t10", "acc_x_t9", "acc_y_t10", "acc_y_t9"], (1, 2, 2), [0, 0, 1]),
        (["x1", "y1", "z1", "x2", "y2", "z2"], (1, 2, 3), [0, 1, 2]),
        (["x1", "y1", "x2", "y3"], (1, 4), [0, 3]),  # channels with other places
        (["x1", "x1", "y1", "y1"], (1, 4), [0, 3]),
        (["x1", "y1", "z1"], (1, 3), [0, 2]),  # one place makes no curve
    ],
)
def test_letters_beside_the_same_numbers_are_channels(names, shape, last):
    layout = GivenLayout().fit(np.eye(len(names)), names)
    assert (layout.shape, layout.positions[-1].tolist()) == (shape, last)
    assert layout.collisions == 0


def test_columns_of_a_grid_stand_as_in_an_array_channels_last_or_first_or_where_names_say():
    grid = (2, 3, 2)
    rows = np.eye(12)
    array = np.arange(12).reshape(grid)
    for layout, expected_images in (
        (make_layout(grid), array),
        (
            GridLayout(grid, channels_first=True),
            np.moveaxis(array.reshape(2, 2, 3), 0, -1),
        ),
    ):
        row, column_pixels, channel = layout.fit(rows).positions.T
        assert np.array_equal(
            expected_images[row, column_pixels, channel], np.arange(12)
        )
    names = [
        f"px_{row}_{column}_{colour}"
        for colour in "rg"
        for row in range(2)
        for column in range(3)
    ]
    named = make_layout(grid).fit(rows, names).positions
    assert np.array_equal(named, GivenLayout().fit(rows, names).positions)
    assert not np.array_equal(named, make_layout(grid).fit(rows).positions)
    assert make_layout((3, 4, 1)).fit(rows).shape == (3, 4), "one channel is none"


@pytest.mark.parametrize(
    ("positions", "shape", "problem"),
    [
        ([[0, 0]], (2, 2, 3), r"\(encoded columns, 3\), a row, a column and a channel"),
        ([[0, 0, 0]], (2, 2), r"\(encoded columns, 2\), a row and a column"),
        ([[0, 0, 3]], (2, 2, 3), "from 0 to"),
        ([[0, 0, 0]], (2, 2, 0), "height and a width"),
    ],
)
def test_positions_that_do_not_fit_the_grid_are_refused(positions, shape, problem):
    with pytest.raises(InputError, match=problem):
        StoredLayout(positions, shape=shape)


@pytest.mark.parametrize("blur", [None, Blur(1, 1, 1)])
@pytest.mark.parametrize("overlap", ["last", "mean", "maximum"])
def test_each_channel_is_drawn_as_a_picture_of_its_own(overlap, blur):
    rng = np.random.default_rng(0)
    positions = np.stack([rng.integers(0, side, 14) for side in (3, 4, 2)], axis=1)
    positions[5] = -1
    assert len(np.unique(positions, axis=0)) < 14, "columns meet"
    low = np.full(14, -1.0)
    high = np.full(14, 3.0)
    renderer = Renderer(
        StoredLayout(positions, 4, overlap, blur, shape=(3, 4, 2)), low, high
    )
    rows = torch.rand(6, 14, dtype=torch.float64)
    images = renderer(rows)
    assert images.shape == (6, 2, 3, 4)
    for channel in range(2):
        channel_columns = positions[:, 2] == channel
        alone = Renderer(
            StoredLayout(
                positions[channel_columns, :2], 4, overlap, blur, shape=(3, 4)
            ),
            low[channel_columns],
            high[channel_columns],
        )
        torch.testing.assert_close(
            images[:, channel], alone(rows[:, channel_columns])[:, 0]
        )
        torch.testing.assert_close(
            renderer.influence()[channel_columns], alone.influence()
        )
    box = (1, 3, 0, 2)
    torch.testing.assert_close(
        renderer.render_region(rows, box), images[:, :, 1:3, 0:2]
    )
    again = Renderer.from_dict(renderer.to_dict())
    assert torch.equal(again(rows), images)
    assert (renderer.depth, renderer.channels, again.layout.shape) == (2, 2, (3, 4, 2))


def test_the_drawing_shows_channels_beside_each_other():
    rows = np.random.default_rng(0).normal(size=(30, 18))
    placed = np.ones(19, dtype=bool)
    placed[4] = False
    layout = fit_layout(
        make_layout((2, 3, 3)), np.insert(rows, 4, 0, axis=1), None, 0, placed=placed
    )
    assert layout.positions[4].tolist() == [-1, -1, -1]
    axes = draw_layout(layout, list("abcdefghijklmnopqrs")).axes[0]
    assert (
        axes.get_title(loc="left")
        == "grid layout: 18 columns on 2 × 3 pixels in 3 channels"
    )
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "channel 0",
        "channel 1",
        "channel 2",
    ]
    assert axes.get_xticks().tolist() == [1, 5, 9]
    figure = draw_layout(make_layout((1, 6, 3)).fit(rows))
    assert figure.axes[1].images[0].get_array().shape == (3, 6), (
        "curves stand one below another"
    )
