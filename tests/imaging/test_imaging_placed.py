"""What those who draw without the renderer are told: which columns stand where, in
which range, and in which box.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from permgrad.imaging import Blur, Renderer, StoredLayout, make_layout


def table(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns)) * 3 + 1


def made(kind: str, scale: float = 1.0, **options) -> tuple[Renderer, torch.Tensor]:
    rows = table(30, 9)
    layouts = {
        "alone": lambda: make_layout("assignment", 5, 0).fit(rows),
        "over each other": lambda: StoredLayout(
            np.array([[c % 2, c % 3] for c in range(9)]), 4, "last"
        ),
        "mean": lambda: StoredLayout(
            np.array([[c % 2, c % 3] for c in range(9)]), 4, "mean"
        ),
        "maximum": lambda: StoredLayout(
            np.array([[c % 2, c % 3] for c in range(9)]), 4, "maximum"
        ),
        "blurred": lambda: StoredLayout(
            np.array([[c, 8 - c] for c in range(9)]), 9, "mean", Blur(1, 2)
        ),
        "blurred maximum": lambda: StoredLayout(
            np.array([[c, 8 - c] for c in range(9)]), 9, "maximum", Blur(1, 2)
        ),
    }
    renderer = Renderer(
        layouts[kind](), rows.min(axis=0), rows.max(axis=0), scale=scale, **options
    )
    return renderer, torch.from_numpy(rows[:7])


KINDS = ["alone", "over each other", "mean", "maximum", "blurred", "blurred maximum"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 255.0])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_picture_is_its_columns_on_their_pixels(kind, scale, dtype):
    renderer, rows = made(kind, scale)
    rows = rows.to(dtype)
    placed = renderer.placed()
    columns = [column for column, *_ in placed]
    assert columns == sorted(set(columns))
    assert len(columns) == (9 if kind == "alone" else 6), (
        "of columns on one pixel the last is seen"
    )
    low, factor = renderer.ranges(columns, rows)
    assert (low.dtype, factor.dtype) == (dtype, dtype)
    expected = torch.zeros(len(rows), renderer.height * renderer.width, dtype=dtype)
    for column_position, (column, channel, row, pixel_column) in enumerate(placed):
        assert channel == 0
        expected[:, row * renderer.width + pixel_column] = (
            rows[:, column] - low[column_position]
        ) * factor[column_position]
    torch.testing.assert_close(renderer(rows).flatten(1), expected)
    assert expected.max() > 0.5 * scale
    np.testing.assert_allclose(low.numpy(), renderer.minimum[columns], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS[2:])
def test_other_pictures_are_more_than_columns_on_pixels(kind):
    assert made(kind)[0].placed() is None


@pytest.mark.parametrize(
    "box", [(0, 4, 0, 4), (1, 3, 0, 2), (0, 1, 3, 4), (2, 2, 1, 3)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_drawn_from_the_columns_near_it_alone(kind, box):
    renderer, rows = made(kind, 2.0)
    near = renderer.columns_near(box)
    top, bottom, left, right = box
    whole_region = renderer(rows)[:, :, top:bottom, left:right]
    torch.testing.assert_close(renderer.draw_region(rows[:, near], box), whole_region)
    other_columns = [column for column in range(9) if column not in near]
    changed = rows.clone()
    changed[:, other_columns] += 10
    torch.testing.assert_close(
        renderer(changed)[:, :, top:bottom, left:right], whole_region, rtol=0, atol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scale_multiplies_and_clipping_bounds_the_whole_picture(kind):
    (plain, rows), (large, _) = made(kind), made(kind, 255.0)
    torch.testing.assert_close(large(rows), 255 * plain(rows))
    torch.testing.assert_close(large.influence(), 255 * plain.influence())
    outside = 3 * rows
    clipped, _ = made(kind, 255.0, clip=True)
    inside = torch.minimum(
        torch.maximum(outside, torch.from_numpy(clipped.minimum)),
        torch.from_numpy(clipped.maximum),
    )
    torch.testing.assert_close(clipped(outside), large(inside))
    assert (large(outside) - large(inside)).abs().max() > 1


@pytest.mark.parametrize("columns", [9, 30])
def test_that_a_grid_grew_is_still_known_after_saving(columns):
    rows = table(40, columns)
    layout = make_layout("random", 4, 0).fit(rows)
    assert layout.grown == (columns > 16)
    renderer = Renderer(layout, rows.min(axis=0), rows.max(axis=0))
    assert renderer.layout.grown == layout.grown
    assert Renderer.from_dict(renderer.to_dict()).layout.grown == layout.grown


def test_a_layout_of_ones_own_has_not_grown():
    class Own:
        positions, pixels, overlap, blur = np.array([[0, 0], [1, 1]]), 2, "last", None

        def fit(self, encoded, names=None, random_state=None):
            return self

    renderer = Renderer(Own(), [0.0, 0.0], [1.0, 1.0])
    assert renderer.layout.grown is False
    assert renderer.placed() == [(0, 0, 0, 0), (1, 0, 1, 1)]


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_alike(channels):
    renderer, rows = made("alone", channels=channels)
    pictures = renderer(rows)
    assert pictures.shape == (7, channels, renderer.height, renderer.width)
    for channel in range(channels):
        assert torch.equal(pictures[:, channel], made("alone")[0](rows)[:, 0])


def test_a_layout_says_what_it_is():
    assert repr(make_layout("random", 6, 0)) == "RandomLayout(pixels=6, not fitted)"
    assert (
        repr(make_layout("random", 6, 0).fit(table(30, 9)))
        == "RandomLayout(pixels=6, 9 columns)"
    )
