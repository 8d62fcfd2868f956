"""Networks whose ``squeeze()`` also removes the dimension of rows if there is a single
one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg


class _Fused(nn.Module):
    """A series through a recurrent layer, an image through a convolution, and a
    table.
    """

    def __init__(self, *, squeezes: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.pixels = nn.Conv2d(1, 4, 3)
        self.mix = nn.Linear(2, 4)
        self.head = nn.Linear(12, 3)
        self.squeezes = squeezes

    def forward(self, series: Tensor, image: Tensor, table: Tensor) -> Tensor:
        last = self.gru(series)[1]
        pixels = torch.relu(self.pixels(image)).mean(dim=(2, 3), keepdim=True)
        branch_outputs = (
            [last.squeeze(), pixels.squeeze()]
            if self.squeezes
            else [last[0], pixels.flatten(1)]
        )
        return self.head(torch.cat([*branch_outputs, self.mix(table)], dim=1))


def _rows(count: int = 9) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(4)
    sizes = {"series": (5, 3), "image": (1, 6, 6), "table": (2,)}
    return {
        name: torch.randn(count, *size, generator=drawn) for name, size in sizes.items()
    }


def _both(rows: Any, method: str, **options: Any) -> list[pg.Explanation]:
    return [
        explain_with(
            _Fused(squeezes=squeezes).eval(),
            rows,
            method=method,
            progress=False,
            **options,
        )
        for squeezes in (True, False)
    ]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("permgrad", {"groups": "modality", "n_repeats": 3}),
        ("permutation", {"n_repeats": 2, "batch_size": 1}),
        ("shapley", {"groups": "modality"}),
        ("integrated_gradients", {"batch_size": 1, "max_steps": 8}),
        ("deeplift", {}),
        ("gradient", {"batch_size": 1}),
        ("gradcam", {"batch_size": 1}),
        ("integrated_gradients", {"layer": "mix", "max_steps": 8}),
    ],
)
@pytest.mark.parametrize("count", [9, 1])
def test_a_network_that_takes_no_single_row_is_explained_as_its_equal(
    count: int, method: str, options: dict[str, Any]
) -> None:
    if count == 1 and method in ("permgrad", "permutation", "shapley"):
        options = {**options, "background": _rows()}
    rows = {name: tensor[:count] for name, tensor in _rows().items()}
    with pytest.raises((IndexError, RuntimeError)):
        _Fused(squeezes=True)(**{name: tensor[:1] for name, tensor in rows.items()})
    got, expected_explanation = _both(
        rows, method, random_state=0, returns="logits", **options
    )
    assert float(np.nanmax(np.abs(expected_explanation.values))) > 1e-3
    np.testing.assert_allclose(got.values, expected_explanation.values, atol=1e-6)


def test_batches_are_as_large_as_those_of_its_equal() -> None:
    sizes: dict[bool, int] = {}
    for squeezes in (True, False):
        net = _Fused(squeezes=squeezes).eval()
        batch_sizes = []
        net.register_forward_pre_hook(
            lambda _, args, kwargs, seen=batch_sizes: seen.append(len(kwargs["table"])),
            with_kwargs=True,
        )
        rows = {
            name: tensor.repeat(2000, *[1] * (tensor.ndim - 1))
            for name, tensor in _rows().items()
        }
        options = {
            "method": "ablation",
            "groups": "modality",
            "returns": "logits",
            "progress": False,
        }
        explain_with(net, rows, torch.arange(18_000) % 3, **options)
        sizes[squeezes] = max(batch_sizes)
    assert sizes[True] <= 2 * sizes[False]


def test_a_message_names_the_shapes_of_the_call_that_failed() -> None:
    class Wrong(_Fused):
        def forward(self, series: Tensor, image: Tensor, table: Tensor) -> Tensor:
            calls.append(len(table))
            return super().forward(series, image, table[:, :1])

    calls: list[
        int
    ] = []  # every call fails; later ones ask whether rows alone would do
    net = Wrong(squeezes=True).eval()
    with pytest.raises(
        pg.InputError, match=r"called with .*table \((\d+), 2\)"
    ) as caught:
        pg.explain(pg.Model(net, returns="logits"), _rows(), method="shapley")
    assert f"table ({max(calls)}, 2)" in str(caught.value)
