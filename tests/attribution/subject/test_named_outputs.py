"""Networks of several numbers whose outputs are named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

QUIET = {"progress": False, "random_state": 0}
NAMES = ["price", "rent", 2]


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    return (
        nn.Linear(3, 3).double(),
        pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")),
        rng.normal(size=(60, 3)),
    )


def test_names_are_those_of_numbers_where_y_holds_numbers(case):
    net, X, y = case
    call_options = {"class_names": NAMES, "task": "regression", **QUIET}
    assert explain_with(net, X[:2], method="gradient", **call_options).outputs == (
        "price",
        "rent",
        "2",
    )
    expected_explanation = explain_with(net, X, y, target="rent", **call_options)
    for model in (
        net,
        lambda rows: net(torch.tensor(rows.to_numpy())).detach().numpy(),
    ):
        explanation = pg.explain(
            pg.Model(model, class_names=NAMES), X, y, target="rent", **QUIET
        )
        assert explanation.meta["loss"] == "squared_error"
        np.testing.assert_allclose(
            explanation.values, expected_explanation.values, atol=1e-9
        )


def test_too_few_names_are_refused(case):
    net, X, y = case
    with pytest.raises(
        pg.InputError,
        match="class_names must be 3 different names in the order of the outputs",
    ):
        pg.explain(pg.Model(net, class_names=[1, 2], task="regression"), X, y, **QUIET)
