"""A separate background is a sample, too: errors of scores hold its part, and small
falls have small errors.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

RUNS = 40
MSE = "neg_mean_squared_error"
ROWS = 200
DONORS = 20


class Linear(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (2 * x[:, 0] + 0.02 * x[:, 1])[:, None]


def run(
    seed: int, donors: int | None, repeats: int, *, scoring: str | None = None
) -> pg.Explanation:
    """Return the loss game, or the falls of a score, with new rows and a new
    background.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, 3, generator=generator, dtype=torch.float64)
    y = Linear()(x)[:, 0].numpy() + np.random.default_rng(seed).normal(size=ROWS)
    background = (
        None
        if donors is None
        else torch.randn(donors, 3, generator=generator, dtype=torch.float64)
    )
    call = {
        "method": "permutation",
        "n_repeats": repeats,
        "background": background,
        "random_state": seed,
        "progress": False,
        "scoring": scoring,
    }
    return explain_with(Linear(), x, y, **call)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The importance of these inputs")
def test_errors_hold_the_part_of_a_small_background():
    explanations = [run(seed, DONORS, 10, scoring=MSE) for seed in range(RUNS)]
    values = np.array([f.values[:, 0] for f in explanations])
    errors = np.array([f.std_error[:, 0] for f in explanations])
    # With donors that are drawn at random from the same law, the fall of the score is 2
    # · 2² · Var(x) = 8.
    covered = [f.low[0, 0] <= 8 <= f.high[0, 0] for f in explanations]
    assert np.mean(covered) > 0.8, "without the background's part it is about one half"
    ratio = errors[:, :2].mean(axis=0) / values[:, :2].std(axis=0, ddof=1)
    assert (ratio > 0.7).all(), "without the background's part it is about a third"
    assert (ratio < 1.6).all()
    # Intervals count the groups of the background as far as it matters: t with between
    # 19 and 38 degrees of freedom.
    half = np.array(
        [(f.high - f.low)[0, 0] / 2 / f.std_error[0, 0] for f in explanations]
    )
    assert (half > 2.02).all()
    assert np.median(half) < 2.6, "few rows of the background are behind them"


@pytest.mark.filterwarnings("ignore:The importance of these inputs")
@pytest.mark.parametrize("donors", [None, DONORS, 2000])
@pytest.mark.parametrize("repeats", [1, 10])
def test_errors_of_strong_and_weak_columns_are_those_of_the_loss_game(donors, repeats):
    by_loss, by_score = (
        np.mean(
            [
                run(seed, donors, repeats, scoring=scoring).std_error[:, 0]
                for seed in range(4)
            ],
            axis=0,
        )
        for scoring in (None, MSE)
    )
    assert by_loss[0] > 100 * by_loss[1] > 0, "the second column must be weak"
    ratio = by_score[:2] / by_loss[:2]
    assert (ratio > 0.75).all()
    assert (ratio < 1.5).all()
    assert by_score[2] == 0
