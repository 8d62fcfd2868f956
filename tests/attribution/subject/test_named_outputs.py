"""Networks of several numbers whose outputs are named, such as survival functions by their times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

ROWS, TIMES = 60, [0.5, 1, 2]
QUIET = {"progress": False, "random_state": 0, "task": "regression"}


class Survival(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumprod(torch.sigmoid(3 * self.head(x) + 1), dim=1)


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    y = np.stack([rng.exponential(size=ROWS), rng.random(ROWS) > 0.3], axis=1)
    return Survival().double(), pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["a", "b", "c"]), y


def test_survival_functions_of_a_network_are_measured_as_those_of_a_predictor(case):
    net, X, y = case

    def frame(rows):
        with torch.no_grad():
            return pd.DataFrame(net(torch.tensor(rows.to_numpy())).numpy(), columns=TIMES)

    found = pg.explain(net, X, y, class_names=TIMES, **QUIET)
    wanted = pg.explain(frame, X, y, progress=False, random_state=0)
    assert found.meta["unit"] == wanted.meta["unit"] == "Brier score"
    assert np.abs(wanted.values).max() > 0.01
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-9)
    assert pg.explain(net, X[:2], method="gradient", class_names=TIMES, **QUIET).outputs == ("0.5", "1", "2")


def test_times_as_class_names_say_that_outputs_are_numbers(case):
    net, X, y = case

    def chances(rows):
        with torch.no_grad():
            return net(torch.tensor(rows.to_numpy())).numpy()

    wanted = pg.explain(net, X, y, class_names=TIMES, **QUIET)
    for model in (net, chances):
        found = pg.explain(model, X, y, class_names=TIMES, progress=False, random_state=0)
        assert found.meta["loss"] == "survival_brier"
        np.testing.assert_allclose(found.values, wanted.values, atol=1e-9)
    page = pg.report(chances, X, y, class_names=TIMES, progress=False, random_state=0, n_repeats=2)
    assert "survival" in page.html


def test_times_that_are_missing_or_too_few_are_named(case):
    net, X, y = case
    with pytest.raises(pg.InputError, match="Of chances to survive, pass their times as class_names="):
        pg.explain(net, X, y, **QUIET)
    with pytest.raises(
        pg.InputError, match=r"got '0, 1, 2'\. Pass the times of the survival functions as class_names="
    ):
        pg.explain(net, X, y, loss="survival_brier", **QUIET)
    with pytest.raises(pg.InputError, match="class_names must be 3 different names in the order of the outputs"):
        pg.explain(net, X, y, class_names=[1, 2], **QUIET)
