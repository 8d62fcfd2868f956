"""Networks that sort, cut or repeat rows inside their forward: values stay with their
rows, or are refused.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

from permgrad.base.errors import InputError

_GRADIENTS = ("gradient", "integrated_gradients", "deeplift", "smoothgrad")


def _explained(
    net: nn.Module, rows: Any, method: str, **options: Any
) -> np.ndarray[Any, Any]:
    drawn = {"samples": 3, "random_state": 0} if method == "smoothgrad" else {}
    explained = explain_with(
        net.eval(),
        rows,
        method=method,
        progress=False,
        returns="logits",
        **drawn,
        **options,
    )
    return explained.values


class _Reader(nn.Module):
    """Reads codes whose first ``count`` are filled, after moving rows or places in one
    of several ways.
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.codes = nn.Embedding(15, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.way = way

    def forward(self, codes: Tensor, count: Tensor) -> Tensor:
        rows = len(codes)
        order = torch.arange(len(codes))
        if self.way == "ascending":
            order = count.argsort(stable=True)
        moved = codes.index_select(0, order)
        if self.way == "cut":
            moved = moved.narrow(1, 0, int(count.max()))
        if self.way == "filled up":
            moved = nn.functional.pad(moved, (1, 3))
        if self.way == "transposed":
            vectors = self.codes(moved.T).mT.mT.transpose(0, 1)
        elif self.way == "places first":
            vectors = self.codes(moved.t().contiguous()).transpose(0, 1)
        elif self.way == "only filled":
            filled = torch.arange(codes.shape[1]) < count[:, None]
            vectors = torch.zeros(*codes.shape, 4)
            vectors[filled] = self.codes(codes[filled])
        elif self.way == "twice":
            vectors = self.codes(torch.cat([moved, moved.flip(0)]))[:rows]
        else:
            vectors = self.codes(moved)
        vectors = vectors[:, 1:] if self.way == "filled up" else vectors
        is_inside = (torch.arange(vectors.shape[1]) < count[order][:, None])[..., None]
        sums = (torch.tanh(self.mix(vectors)) * is_inside).sum(dim=1) / count[order][
            :, None
        ]
        return self.head(sums).index_select(0, order.argsort())


def _codes() -> dict[str, Tensor]:
    count = torch.tensor([4, 2, 6, 3, 1, 5, 2, 4])
    codes = torch.randint(1, 15, (8, 6), generator=torch.Generator().manual_seed(3))
    return {
        "codes": torch.where(torch.arange(6) < count[:, None], codes, 0),
        "count": count,
    }


@cache
def _in_batches(way: str, method: str) -> np.ndarray[Any, Any]:
    # Few steps: both networks take the same ones.
    steps = {"max_steps": 4} if method == "integrated_gradients" else {}
    return _explained(_Reader(way), _codes(), method, batch_size=3, **steps)


@pytest.mark.parametrize("method", _GRADIENTS)
@pytest.mark.parametrize(
    "way",
    [
        "ascending",
        "cut",
        "places first",
        "transposed",
        "only filled",
        "twice",
        "filled up",
    ],
)
def test_slopes_of_codes_follow_their_rows_and_places(way: str, method: str) -> None:
    rows = _codes()
    torch.testing.assert_close(_Reader(way)(**rows), _Reader("plain")(**rows))
    expected_values = _in_batches("plain", method)
    assert np.ptp(expected_values, axis=0).max() > 0.01  # rows differ
    np.testing.assert_allclose(_in_batches(way, method), expected_values, atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"baseline": "background"}])
def test_secants_do_not_mix_rows_that_are_sorted_inside_by_what_is_explained(
    options: dict[str, Any],
) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.body = nn.Linear(5, 8)
            self.head = nn.Linear(8, 2)
            self.sorts = True

        def forward(self, rows: Tensor) -> Tensor:
            order = (
                rows.mean(dim=1).argsort() if self.sorts else torch.arange(len(rows))
            )
            return self.head(torch.tanh(self.body(rows[order])))[order.argsort()]

    net = Sorted()
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(4)) * 2
    sorted_values = _explained(
        net, rows, "integrated_gradients", tolerance=1e-5, **options
    )
    net.sorts = False
    expected_values = _explained(
        net, rows, "integrated_gradients", tolerance=1e-5, **options
    )
    assert np.ptp(expected_values, axis=0).max() > 0.1  # rows differ
    np.testing.assert_allclose(sorted_values, expected_values, atol=1e-4)


def test_codes_that_are_changed_and_cut_off_are_refused() -> None:
    class Shifted(_Reader):
        def forward(self, codes: Tensor, count: Tensor) -> Tensor:
            return super().forward((codes + 2) % 15, count)

    rows = _codes()
    expected_values = _explained(Shifted("plain"), rows, "gradient")
    np.testing.assert_allclose(
        _explained(Shifted("ascending"), rows, "gradient"), expected_values, atol=1e-6
    )
    with pytest.raises(
        InputError, match="with other rows or places in some batches"
    ) as caught:
        _explained(Shifted("cut"), rows, "gradient", batch_size=1)
    assert "permutation" in str(caught.value)
    np.testing.assert_allclose(
        *(
            _explained(Shifted(way), rows, "permutation", random_state=0)
            for way in ("cut", "plain")
        ),
        atol=1e-6,
    )


class _Ranked(nn.Module):
    """Sorts images by their brightness, and restores the order of its outputs."""

    def __init__(self, *, ranks: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.encode = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
        self.head = nn.Linear(3, 2)
        self.ranks = ranks

    def forward(self, image: Tensor) -> Tensor:
        order = (
            image.mean(dim=(1, 2, 3)).argsort()
            if self.ranks
            else torch.arange(len(image))
        )
        return self.head(self.encode(image[order]).mean(dim=(2, 3)))[order.argsort()]


@pytest.mark.parametrize(
    ("method", "options"),
    [("gradcam", {}), ("integrated_gradients", {"layer": "encode"})],
)
def test_values_of_a_layer_in_another_order_are_refused(
    method: str, options: dict[str, Any]
) -> None:
    image = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(_Ranked(ranks=True)(image), _Ranked(ranks=False)(image))
    assert (
        np.ptp(_explained(_Ranked(ranks=False), image, method, **options), axis=0).max()
        > 0
    )
    with pytest.raises(InputError, match="rows have another order than in its inputs"):
        _explained(_Ranked(ranks=True), image, method, **options)
    # Rows that are in order already are no others, and a single one has no order.
    alone = [
        _explained(_Ranked(ranks=True), image[:1], method, **options) for _ in range(2)
    ]
    np.testing.assert_array_equal(*alone)
    # What the message advises.
    assert (
        _explained(_Ranked(ranks=True), image, "shapley", random_state=0).shape[0] == 9
    )
