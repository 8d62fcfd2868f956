"""Inputs of kinds of numbers that torch does not know, or does not compute with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows)


@pytest.mark.parametrize("way", ["inputs", "background", "baseline"])
def test_long_numbers_of_numpy_are_doubles(way):
    net = Net()
    rows = np.random.default_rng(0).normal(size=(6, 3))
    call_options = {
        "method": "integrated_gradients",
        "returns": "logits",
        "progress": False,
    }
    explanation, expected_explanation = (
        explain_with(
            net,
            array if way == "inputs" else rows,
            **call_options,
            **{} if way == "inputs" else {way: array[:2]},
        )
        for array in (rows.astype(np.longdouble), rows)
    )
    np.testing.assert_array_equal(explanation.values, expected_explanation.values)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_quantised_inputs_are_told_what_works(axis):
    net = Net()
    rows = torch.linspace(-1, 1, 12).reshape(4, 3)
    quantised = torch.quantize_per_tensor(rows, 0.1, 0, torch.qint8)
    if axis is not None:
        size = rows.shape[axis]
        quantised = torch.quantize_per_channel(
            rows, torch.full((size,), 0.1), torch.zeros(size), axis, torch.qint8
        )
    with pytest.raises(
        pg.InputError, match=r"'rows' is quantised\. Pass rows\.dequantize\(\)\."
    ):
        pg.explain(net, {"rows": quantised}, method="gradient", progress=False)
    pg.explain(
        pg.Model(net, returns="logits"),
        {"rows": quantised.dequantize()},
        method="gradient",
        progress=False,
    )
