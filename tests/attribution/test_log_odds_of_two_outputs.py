"""A row of a network of two outputs on the logit scale: the log-odds of a class, not
one output's number.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import permgrad as pg

WEIGHTS = torch.tensor([[10.0, 1.0, 0.0], [10.0, -2.0, 1.0]])


class TwoOutputs(torch.nn.Module):
    """Both outputs rise with the first column, which therefore changes no
    probability.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ WEIGHTS.T


@pytest.fixture(name="rows", scope="module")
def _rows():
    return torch.randn(80, 3, generator=torch.Generator().manual_seed(0))


def explained(rows, method, **options):
    model = pg.Model(TwoOutputs(), task="classification")
    return pg.explain(
        model,
        rows[:6],
        method=method,
        scope="local",
        scale="logit",
        background=rows,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("method", ["shapley", "permgrad"])
def test_without_a_target_it_is_the_log_odds_of_the_second_class(rows, method):
    found = explained(rows, method)
    assert found.outputs == ("1",)
    assert found.meta["unit"] == "log-odds"
    slopes = (WEIGHTS[1] - WEIGHTS[0]).numpy()
    wanted = slopes * (rows[:6] - rows.mean(dim=0)).numpy()
    assert np.abs(wanted).max() > 1
    slack = 1e-4 if method == "shapley" else 6 * np.abs(slopes).max() / 10**0.5
    np.testing.assert_allclose(found.values[..., 0], wanted, atol=slack)
    np.testing.assert_allclose(found.values[:, 0, 0], 0.0, atol=1e-4)


def test_of_the_predicted_class_it_is_that_ones(rows):
    found = explained(rows, "shapley", target="predicted")
    called = TwoOutputs()(rows[:6]).argmax(dim=1).numpy()
    assert len(set(called.tolist())) == 2, "the precondition: both are predicted"
    slopes = (WEIGHTS[1] - WEIGHTS[0]).numpy() * np.where(called == 1, 1, -1)[:, None]
    wanted = slopes * (rows[:6] - rows.mean(dim=0)).numpy()
    np.testing.assert_allclose(found.values[..., 0], wanted, atol=1e-4)
