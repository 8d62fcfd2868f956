"""Shapley values of rows whose background is a single row, and players that are the
same in both.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

PLAYERS = 15
ROWS = 5


def explain(
    net: nn.Module, rows: torch.Tensor, background: torch.Tensor, **options: object
) -> pg.Explanation:
    return explain_with(
        net, rows, method="shapley", background=background, progress=False, **options
    )


def smooth() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(PLAYERS, 40), nn.Tanh(), nn.Linear(40, 1)).double()
    return (
        net,
        2 * torch.randn(ROWS, PLAYERS, dtype=torch.float64),
        torch.full((1, PLAYERS), 0.5, dtype=torch.float64),
    )


def test_one_background_row_is_played_in_balanced_coalitions():
    net, rows, background = smooth()
    truth = explain(net, rows, background, exact=PLAYERS).values
    errors = []
    reported_errors = []
    for seed in range(6):
        explanation = explain(
            net, rows, background, random_state=seed, tolerance=0, max_permutations=100
        )
        assert explanation.meta["estimator"].startswith("balanced coalitions")
        errors.append(explanation.values - truth)
        reported_errors.append(explanation.std_error)
    owen = [
        explain(
            net,
            rows,
            background,
            random_state=seed,
            tolerance=0,
            max_permutations=100,
            blocks="modality",
        )
        for seed in range(6)
    ]
    assert {owen_explanation.meta["estimator"] for owen_explanation in owen} == {
        "pairs of an order and its reverse"
    }
    of_designs, of_orders = (
        np.sqrt(np.mean(np.square(deviations)))
        for deviations in (
            errors,
            [owen_explanation.values - truth for owen_explanation in owen],
        )
    )
    assert of_orders > 1e-4
    assert of_designs < 0.85 * of_orders
    assert 0.6 < np.sqrt(np.mean(np.square(reported_errors))) / of_designs < 1.6, (
        "the error that is told is the one there is"
    )
    assert np.abs(np.mean(errors)) < 4 * of_designs / np.sqrt(6 * ROWS * PLAYERS)


class Unused(nn.Module):
    """A smooth function of all inputs but the last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x[:, :-1].sum(dim=1)) + x[:, 0] * x[:, 1]


def test_unused_inputs_have_exactly_nothing():
    torch.manual_seed(1)
    rows = torch.randn(3, PLAYERS, dtype=torch.float64)
    background = torch.zeros(1, PLAYERS, dtype=torch.float64)
    explanation = explain(Unused(), rows, background, random_state=0)
    assert np.abs(explanation.values[:, :-1]).max() > 0.1
    assert (explanation.values[:, -1] == 0).all()
    assert (explanation.std_error[:, -1] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [None, "modality"])
@pytest.mark.parametrize("references", [1, 3])
def test_players_that_cannot_differ_do_not_count(blocks, references):
    net, rows, _ = smooth()
    draw = torch.Generator().manual_seed(3)
    background = torch.randn(references, PLAYERS, generator=draw, dtype=torch.float64)
    background[:, :4] = torch.tensor([1.0, -1.0, 0.5, 2.0])
    rows[:2, :4] = background[0, :4]
    rows[3, 1:4] = background[0, 1:4]
    call_options = {"random_state": 0, "blocks": blocks, "max_permutations": 8}
    explanation = explain(net, rows, background, **call_options)
    few = [0, 1, 3]
    truth = explain(net, rows[few], background, exact=PLAYERS, blocks=blocks)
    assert np.abs(truth.values).max() > 0.05
    np.testing.assert_allclose(
        explanation.values[few], truth.values, rtol=0, atol=1e-12
    )
    assert (explanation.std_error[few] == 0).all()
    assert (explanation.values[:2, :4] == 0).all()
    assert explanation.std_error[[2, 4]].min() > 0
    alone = explain(net, rows[3:], background, **call_options)
    np.testing.assert_allclose(alone.values, explanation.values[3:], rtol=0, atol=1e-12)


def test_players_that_change_nothing_end_the_question_whether_all_do():
    """Of a function of three columns among many, the pilot costs less than the
    values.
    """
    columns = 300
    orders = 20
    rows = np.random.default_rng(0).normal(size=(2, columns))

    def few(table: np.ndarray) -> np.ndarray:
        return table[:, 0] * table[:, 5] + table[:, 9]

    explanation = pg.explain(
        pg.Model(few, returns="values"),
        rows,
        method=pg.methods.Shapley(max_permutations=orders),
        background=rows[:1] * 0,
        random_state=0,
        progress=False,
    )
    assert explanation.meta["estimator"] == "pairs of an order and its reverse"
    assert explanation.meta["model_rows"] < len(rows) * columns * (orders + 4) + 1000
    np.testing.assert_allclose(explanation.values[:, 9, 0], rows[:, 9], atol=1e-12)
    np.testing.assert_allclose(
        explanation.values[:, 0, 0], rows[:, 0] * rows[:, 5] / 2, atol=1e-12
    )
