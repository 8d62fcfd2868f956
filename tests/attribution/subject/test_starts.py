"""The token that starts a decoder's ids is held, and a single row's needed ids cause no
warning.
"""

from __future__ import annotations

import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

START = 7
END = 9
ROWS = 10


class Translates(nn.Module):
    """Reads ids and what was written so far, with settings in a network inside."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Embedding(12, 4)
        self.inner.config = types.SimpleNamespace(**settings)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: Tensor, written: Tensor) -> Tensor:
        weights = torch.linspace(1, 2, written.shape[1])[:, None]
        both = [self.inner(ids).mean(1), (self.inner(written) * weights).mean(1)]
        return self.head(torch.tanh(torch.cat(both, 1)))


def rows(first: int = START, count: int = ROWS) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(1)
    ids, written = torch.randint(0, 7, (2, count, 4), generator=chance)
    written[:, 0] = first
    return {"ids": ids, "written": written}


def explained(net: nn.Module, X: Any, method: str, **options: Any) -> pg.Explanation:
    model = pg.Model(net.eval(), returns="values")
    return pg.explain(model, X, method=method, scope="local", progress=False, **options)


@pytest.mark.parametrize(
    "method", ["shapley", "permutation", "integrated_gradients", "gradient"]
)
def test_the_token_that_starts_a_decoder_is_held(method):
    net = Translates(decoder_start_token_id=START)
    found = explained(net, rows(), method)
    assert "written[0]" not in found.names
    assert {"written[1]", "ids[0]"} <= set(found.names)
    assert np.abs(found.values).max() > 0.01
    assert found.meta["tokens"]["starts"] == ["written"]
    said = pg.Model(net, returns="values").describe(rows())
    assert "held, as it starts each row: the first of written\n" in said


@pytest.mark.parametrize(
    ("settings", "first"), [({}, START), ({"decoder_start_token_id": START}, 3)]
)
def test_what_no_setting_names_is_a_feature(settings, first):
    found = explained(Translates(**settings), rows(first), "shapley")
    assert "written[0]" in found.names


class AtTheEnd(nn.Module):
    """Reads the vector where the only end of a row is."""

    def __init__(self, *, told: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(12, 4)
        self.head = nn.Linear(4, 2)
        self.mix = nn.GRU(4, 4, batch_first=True)
        if told:
            self.config = types.SimpleNamespace(eos_token_id=END)
        self.told = told

    def forward(self, ids: Tensor) -> Tensor:
        ends = ids.eq(END)
        if not self.told and bool((ends.sum(1) != 1).any()):
            raise ValueError("each row needs one end")
        mixed = self.mix(self.words(ids))[0]
        return self.head((mixed * ends[..., None]).sum(1))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_a_single_row_with_an_end_is_not_warned_of(method, told):
    ids = torch.tensor([[1, 2, 3, 4, END]])
    with warnings.catch_warnings():
        warnings.simplefilter("error", pg.PermgradWarning)
        found = explained(AtTheEnd(told=told), ids, method)
    assert np.abs(found.values).max() > 1e-3


def test_a_single_row_whose_ids_do_more_is_still_warned_of():
    class Counts(AtTheEnd):
        def forward(self, ids: Tensor) -> Tensor:
            places = torch.linspace(0, 1, ids.shape[1])
            return super().forward(ids) + (ids * places).sum(1, keepdim=True)

    with pytest.warns(pg.PermgradWarning, match="gradient misses a part"):
        explained(Counts(told=True), torch.tensor([[1, 2, 3, 4, END]]), "gradient")
