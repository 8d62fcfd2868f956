"""Which pixels cells see, beside what changes them in truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.maps.fields import Field, changed_cells, joined, slid

#: Functions that slide over cells, and their arguments behind the map.
SLIDING = [
    (nn.functional.conv2d, {"stride": 2, "padding": (1, 0)}),
    (nn.functional.conv2d, {"padding": "same"}),
    (nn.functional.conv2d, {"padding": "valid", "dilation": (1, 3)}),
    (nn.functional.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
    (nn.functional.avg_pool2d, {"kernel_size": (2, 4)}),
    (nn.functional.max_pool2d, {"kernel_size": 3, "stride": (2, 1), "padding": 1}),
]


@pytest.mark.parametrize(("function", "options"), SLIDING)
def test_cells_see_the_pixels_that_change_them(function: Any, options: dict[str, Any]):
    pixels = torch.arange(1.0, 15 * 17 + 1).reshape(1, 1, 15, 17).double()
    args = [pixels]
    if function is nn.functional.conv2d:
        args.append(torch.ones(1, 1, 3, 3).double())
    # Two of them one after the other.
    ones = torch.ones(1, 1, 2, 2).double()
    first = function(*args, **options)
    second = nn.functional.conv2d(first, ones, stride=2)
    fields = slid((Field(), Field()), function.__name__.strip("_"), args, options)
    if fields is None:  # a function of two forms has no name
        fields = slid((Field(), Field()), "max_pool2d", args, options)
    assert fields is not None
    fields = slid(fields, "conv2d", (first, ones), {"stride": 2})
    assert fields is not None
    for dim, size in enumerate((15, 17)):
        changed, seen = [], []
        for line in range(size):
            block = torch.arange(size).eq(line)
            block = block.reshape((-1, 1) if dim == 0 else (1, -1))
            moved = torch.where(block, pixels + 1000, pixels)
            again = function(moved, *args[1:], **options)
            truth = nn.functional.conv2d(again, ones, stride=2)
            changed.append((truth != second)[0, 0])
            (cells,) = changed_cells(fields, second.shape[2:], (15, 17), [block])
            assert cells is not None
            seen.append(cells[0] > 0)
        # From the first to the last pixel that changes a cell, with gaps or without.
        truths = torch.stack(changed)
        assert 0 < int(truths.sum()) < truths.numel()
        behind = truths.cummax(0).values & truths.flip(0).cummax(0).values.flip(0)
        np.testing.assert_array_equal(torch.stack(seen), behind)


def test_branches_are_joined_where_they_lie_on_the_same_cells():
    wide = (Field(2, -3, 3),)
    narrow = (Field(2, 0, 0),)
    assert joined([wide, narrow]) == (Field(2, -3, 3),)
    assert joined([wide, None]) is None
    assert joined([wide, (Field(1, 0, 0),)]) is None
    assert slid(wide, "interpolate", (torch.ones(1, 1, 4),), {}) is None


class Residual(nn.Module):
    """A stem, a block with a short cut of one cell, and a head: counts its rows."""

    def __init__(self, *, turned: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.turned = turned
        self.rows = 0
        self.stem = nn.Conv2d(3, 6, 5, stride=2, padding=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.block = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.short = nn.Conv2d(6, 8, 1, stride=2)
        self.head = nn.Linear(8, 2)

    def forward(self, scan: Tensor) -> Tensor:
        self.rows += len(scan)
        if self.turned:  # so that nobody knows where cells lie
            scan = scan.flip(3).flip(3)
        stem = self.pool(torch.relu(self.stem(scan)))
        stage = torch.relu(self.block(stem) + self.short(stem))
        return self.head(stage.mean((2, 3)))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_map_lies_where_measuring_says_with_a_third_of_the_rows(rows):
    images = torch.randn(rows, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    told, measured = Residual(turned=False).eval(), Residual(turned=True).eval()
    maps = []
    for net in (told, measured):
        model = pg.Model(net, returns="logits")
        explanation = pg.explain(
            model, images, method="gradcam", target=1, progress=False
        )
        assert explanation.meta["layer"] == {"scan": "short, relu"}
        maps.append(explanation.maps["maps:scan"])
    assert np.abs(maps[0]).max() > 0
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)
    if rows == 1:
        assert told.rows <= 22
    assert 2 * told.rows < measured.rows
