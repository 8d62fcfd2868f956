"""Encoded columns that have no pixel: scores of texts, of levels and of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from permgrad.imaging import (
    Blur,
    Renderer,
    StoredLayout,
    draw_layout,
    fit_layout,
    make_layout,
)


def test_columns_without_a_pixel():
    rows = np.random.default_rng(0).normal(size=(60, 5))
    placed = np.array([True, False, True, True, False])
    layout = fit_layout(
        make_layout("assignment", 4, 0), rows, list("abcde"), 0, placed=placed
    )
    alone = fit_layout(make_layout("assignment", 4, 0), rows[:, placed], list("acd"), 0)
    assert layout.positions[placed].tolist() == alone.positions.tolist()
    assert layout.positions[~placed].tolist() == [[-1, -1]] * 2
    assert (layout.name, layout.collisions) == ("assignment", 0)
    renderer = Renderer(layout, rows.min(axis=0), rows.max(axis=0))
    renderer_of_placed = Renderer(
        alone, rows[:, placed].min(axis=0), rows[:, placed].max(axis=0)
    )
    drawn = torch.from_numpy(rows)
    assert torch.equal(renderer(drawn), renderer_of_placed(drawn[:, placed]))
    assert renderer.region_of([1, 4]) == (0, 0, 0, 0)
    assert renderer.pixels_of([1]) == []
    assert not renderer.influence()[[1, 4]].any()
    assert renderer.influence()[0].any()
    again = Renderer.from_dict(renderer.to_dict())
    assert torch.equal(again(drawn), renderer(drawn))
    assert "3 columns on" in draw_layout(layout, list("abcde")).axes[0].get_title(
        loc="left"
    )
    # What is known already says itself where each column is.
    assert fit_layout(layout, rows, None, 0, placed=np.ones(5, bool)) is layout


@pytest.mark.parametrize("blur", [None, Blur()])
@pytest.mark.parametrize("overlap", ["last", "mean", "maximum"])
def test_a_column_without_a_pixel_is_not_drawn(blur, overlap):
    layout = StoredLayout([[0, 0], [-1, -1], [0, 0], [3, 3]], 4, overlap, blur)
    without = StoredLayout([[0, 0], [0, 0], [3, 3]], 4, overlap, blur)
    rows = torch.rand(6, 4, dtype=torch.float64)
    drawn = Renderer(layout, [0] * 4, [1] * 4)(rows)
    assert drawn.any()
    assert torch.equal(drawn, Renderer(without, [0] * 3, [1] * 3)(rows[:, [0, 2, 3]]))
