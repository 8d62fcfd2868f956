"""Series that a network packs, joins with masks, or steps through are cut along time,
as their layer reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import permgrad as pg


class _Net(nn.Module):
    def __init__(self, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.masked = nn.LSTM(12, 5, batch_first=True)
        self.head_of_four = nn.LSTM(4, 5, batch_first=True)
        self.cell = nn.LSTMCell(6, 5)
        self.rnn = nn.RNN(6, 5)
        self.mlp = nn.Linear(6, 5)
        self.alone = nn.LSTM(1, 5, batch_first=True)
        self.head = nn.Linear(5, 2)
        self.run = run

    def forward(self, vitals: Tensor) -> Tensor:
        return self.head(self.run(self, vitals))


def _cells(net: Any, vitals: Tensor) -> Tensor:
    state = (vitals.new_zeros(len(vitals), 5), vitals.new_zeros(len(vitals), 5))
    for step in range(vitals.shape[1]):
        state = net.cell(vitals[:, step], state)
    return state[0]


def _packed(net: Any, vitals: Tensor) -> Tensor:
    lengths = vitals.shape[1] - (vitals[:, 0, 0] > 0).long()
    return net.lstm(
        pack_padded_sequence(vitals, lengths, batch_first=True, enforce_sorted=False)
    )[1][0][-1]


_RUNS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "packed": _packed,
    "cells": _cells,
    "with its mask": lambda n, v: n.masked(
        torch.cat([v, (v != 0).to(v.dtype)], dim=-1)
    )[1][0][-1],
    "time first": lambda n, v: n.rnn(v.transpose(0, 1))[1][-1],
    "a place in front": lambda n, v: n.lstm(
        torch.cat([torch.zeros(len(v), 1, 6), v], dim=1)
    )[1][0][-1],
    "some of its columns": lambda n, v: n.head_of_four(v[..., :4])[1][0][-1],
    "means of two times": lambda n, v: n.lstm(nn.functional.avg_pool1d(v.mT, 2).mT)[1][
        0
    ][-1],
    "places one after the other": lambda n, v: (
        n.mlp(v.flatten(0, 1)).unflatten(0, v.shape[:2]).amax(dim=1)
    ),
}


@pytest.mark.parametrize("name", list(_RUNS))
def test_a_series_has_one_feature_for_each_time(name: str) -> None:
    vitals = torch.randn(6, 20, 6, generator=torch.Generator().manual_seed(1))
    explanation = pg.explain(
        pg.Model(_Net(_RUNS[name]).eval(), returns="logits"),
        {"vitals": vitals},
        method="gradient",
    )
    assert list(explanation.names) == [f"vitals[{time}]" for time in range(20)]


def test_a_line_that_is_packed_is_a_series_and_an_image_stays_one() -> None:
    line = torch.randn(6, 30, generator=torch.Generator().manual_seed(1))

    def packed(net: Any, line: Tensor) -> Tensor:
        return net.alone(
            pack_padded_sequence(line[..., None], [30] * len(line), batch_first=True)
        )[1][0][-1]

    explanation = pg.explain(
        pg.Model(_Net(packed).eval(), returns="logits"), line, method="gradient"
    )
    assert len(explanation.names) == 20  # windows along time
    assert explanation.names[0] == "vitals[0:2]"

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(120, 2)

        def forward(self, picture: Tensor) -> Tensor:
            return self.head(picture.flatten(1))

    picture = torch.randn(6, 20, 6, generator=torch.Generator().manual_seed(1))
    names = pg.explain(
        pg.Model(Flat().eval(), returns="logits"),
        {"picture": picture},
        method="gradient",
    ).names
    assert names[0] == "picture[0,0]"
