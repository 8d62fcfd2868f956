"""Inputs and layers of the shape ``(rows,)``: one number for each row is as good an
input as a table of one column.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.request import tuned

ROWS = 6
BACKGROUND = 5
NUMBERS = 11


class NumbersAndCodes(nn.Module):
    """Eleven numbers, a code and a table of two columns: a weighted sum, and the
    product of two inputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(
            torch.linspace(-1, 2.1, NUMBERS + 2, dtype=torch.float64)
        )
        self.levels = nn.Parameter(torch.tensor([0.5, -1.0, 3.0], dtype=torch.float64))
        self.squeeze = nn.Flatten(0)

    def forward(self, code: Tensor, table: Tensor, *numbers: Tensor) -> Tensor:
        wide = torch.cat([torch.stack(numbers, dim=1), table], dim=1)
        return (
            self.squeeze(wide @ self.weights[:, None]) + self.levels[code] * numbers[3]
        )


def rows(count: int, seed: int) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.randn(NUMBERS, count, generator=draw, dtype=torch.float64)
    table = torch.randn(count, 2, generator=draw, dtype=torch.float64)
    return torch.randint(0, 3, (count,), generator=draw), table, *numbers


def closed_form(
    net: NumbersAndCodes,
    row_tensors: tuple[Tensor, ...],
    baseline_tensors: tuple[Tensor, ...],
) -> np.ndarray:
    """Return the values: a sum's terms, and of a product half of what each factor does
    beside both of the other's.
    """
    plain = [
        torch.cat([torch.stack(tensors[2:], dim=1), tensors[1]], dim=1)
        for tensors in (row_tensors, baseline_tensors)
    ]
    linear = (plain[0][:, None] - plain[1][None]) * net.weights
    level = [net.levels[tensors[0]] for tensors in (row_tensors, baseline_tensors)]
    number = [tensors[5] for tensors in (row_tensors, baseline_tensors)]
    of_level = (level[0][:, None] - level[1]) * (number[0][:, None] + number[1]) / 2
    linear[:, :, 3] += (
        (number[0][:, None] - number[1]) * (level[0][:, None] + level[1]) / 2
    )
    values = torch.cat(
        [of_level[:, :, None], linear[:, :, NUMBERS:], linear[:, :, :NUMBERS]], dim=2
    )
    return values.mean(dim=1).detach().numpy()


@pytest.mark.parametrize("blocks", [None, "modality"])
def test_shapley_values_of_more_numbers_than_are_enumerated(blocks):
    net = NumbersAndCodes()
    explained_rows = rows(ROWS, 0)
    background_rows = rows(BACKGROUND, 1)
    truth = closed_form(net, explained_rows, background_rows)
    assert truth.shape[1] > 12
    assert np.abs(truth).min(axis=0).max() > 0.05, "nobody is close to zero in all rows"
    explanation = pg.explain(
        net,
        explained_rows,
        method=tuned(pg.methods.Shapley(blocks=blocks), exact=0),
        background=background_rows,
        progress=False,
    )
    np.testing.assert_allclose(explanation.values[:, :, 0], truth, rtol=0, atol=1e-9)


@pytest.mark.parametrize("game", ["prediction", "expected"])
def test_shapley_values_of_losses_add_up(game):
    net = NumbersAndCodes()
    explained_rows = rows(40, 0)
    y = net(*explained_rows).detach().numpy()
    explanation = pg.explain(
        net,
        explained_rows,
        y,
        method=tuned(pg.methods.Shapley(), game=game),
        scope="global",
        random_state=0,
        progress=False,
    )
    assert explanation.values.shape == (NUMBERS + 3, 1)
    assert explanation.values.sum() > 1
    assert explanation.meta["completeness_gap"] < 1e-6


@pytest.mark.parametrize(
    "method",
    ["shapley", "permutation", "gradient", "integrated_gradients", "deeplift", "lime"],
)
def test_a_layer_that_gives_one_number_per_row_is_explained(method):
    net = NumbersAndCodes()
    explained_rows = rows(30, 2)
    explanation = pg.explain(
        pg.Model(net, layer="squeeze"),
        explained_rows,
        method=method,
        scope="local",
        random_state=0,
        progress=False,
    )
    assert explanation.names == ("squeeze",)
    assert np.abs(explanation.values).max() > 0.1


class LookedUp(nn.Module):
    """A code for each row, whose vector is weighted, beside a table: linear in both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.levels = nn.Embedding(5, 3, dtype=torch.float64)
        self.head = nn.Linear(3, 1, dtype=torch.float64)
        self.table = nn.Linear(2, 1, dtype=torch.float64)

    def forward(self, code: Tensor, table: Tensor) -> Tensor:
        return self.head(self.levels(code)) + self.table(table)


@pytest.mark.parametrize(
    "method", ["integrated_gradients", "deeplift", "gradient", "smoothgrad"]
)
def test_slopes_of_a_code_for_each_row_are_those_of_its_vector(method):
    net = LookedUp()
    draw = torch.Generator().manual_seed(1)
    code = torch.randint(0, 5, (12,), generator=draw)
    table = torch.randn(12, 2, generator=draw, dtype=torch.float64)
    model = pg.Model(net, returns="values")
    found = pg.explain(
        model, (code, table), method=method, scope="local", progress=False
    )
    assert found.names[0] == "code"
    with torch.no_grad():
        each = (net.levels(code) * net.head.weight).sum(1).numpy()
    assert np.ptp(each) > 0.2
    if method in ("integrated_gradients", "deeplift"):
        gaps = found.values[:, 0, 0] - each
        np.testing.assert_allclose(gaps, gaps[0], rtol=0, atol=1e-9)
    else:
        assert np.abs(found.values[:, 0, 0]).max() > 0.01


def test_curves_of_a_table_beside_a_number_for_each_row():
    net = NumbersAndCodes()
    own = rows(40, 0)
    found = pg.explain(net, own, method="ale", random_state=0, progress=False)
    assert len(found.names) == NUMBERS + 3
    assert np.nan_to_num(found.values).max() > 0.1
