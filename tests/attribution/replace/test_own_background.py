"""Rows that are given as their own background: a row in both roles counts once in a
standard error.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

ROWS = np.random.default_rng(0).normal(size=(250, 2))
OTHER = np.random.default_rng(1).normal(size=(250, 2))
GIVEN = {"method": "permutation", "n_repeats": 20, "random_state": 0, "progress": False}


@pytest.fixture(name="cases", scope="module")
def _cases():
    y = ROWS @ [1.0, 2.0]
    net = nn.Linear(2, 1, bias=False).double()
    net.weight.data = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    frame = pd.DataFrame(ROWS, columns=["a", "b"])
    model = pg.HyNNRegressor(
        preset="fast",
        branches=("tabular",),
        max_epochs=8,
        random_state=0,
        progress=False,
    )
    model.fit(frame, y)
    return {
        "network": (net, torch.tensor(ROWS), y, torch.tensor(OTHER)),
        "estimator": (model, frame, y, pd.DataFrame(OTHER, columns=["a", "b"])),
    }


@pytest.mark.parametrize("name", ["network", "estimator"])
def test_they_are_their_own_background(cases, name):
    model, rows, y, separate_rows = cases[name]
    left_out = pg.explain(model, rows, y, **GIVEN)
    explicit_explanation = pg.explain(model, rows, y, background=rows, **GIVEN)
    np.testing.assert_array_equal(explicit_explanation.values, left_out.values)
    np.testing.assert_array_equal(explicit_explanation.std_error, left_out.std_error)
    assert explicit_explanation.meta["background"] == {"kind": "given", "rows": 250}
    # h(i, d) = (a (x_i − x_d))²: both roles have the same projection, so that its
    # variance counts 4 / n, not 2 / n.
    apart = pg.explain(model, rows, y, background=separate_rows, **GIVEN)
    np.testing.assert_allclose(
        explicit_explanation.std_error
        / explicit_explanation.values
        / (apart.std_error / apart.values),
        np.sqrt(2),
        rtol=0.25,
    )


@pytest.mark.filterwarnings("ignore:The importance of these inputs is exactly 0")
@pytest.mark.parametrize("name", ["network", "estimator"])
def test_a_part_of_a_longer_table_and_single_rows_keep_what_is_given(cases, name):
    model, rows, y, _ = cases[name]
    part_explanation = explain_with(
        model, rows, y, row_offset=0, background=rows, **GIVEN
    )
    assert (part_explanation.values != pg.explain(model, rows, y, **GIVEN).values).any()
    row_explanation = pg.explain(model, rows[:1], y[:1], background=rows[:1], **GIVEN)
    assert not row_explanation.values.any()


def test_a_streamed_table_takes_its_background_for_another_sample(cases, tmp_path):
    model, rows, y, _ = cases["estimator"]
    rows.assign(y=y).to_parquet(tmp_path / "t.parquet")
    streamed = pg.explain_stream(
        model, tmp_path / "t.parquet", "y", background=rows, **GIVEN
    )
    in_memory = explain_with(model, rows, y, row_offset=0, background=rows, **GIVEN)
    np.testing.assert_allclose(streamed.values, in_memory.values, rtol=1e-5)
    np.testing.assert_allclose(streamed.std_error, in_memory.std_error, rtol=1e-5)


def test_baselines_are_still_those_of_the_rows_given(cases):
    model, rows, _, _ = cases["estimator"]
    shifted = rows[:60] + 1.0
    options = {
        "method": "aggregate",
        "members": ("integrated_gradients", "gradient"),
        "random_state": 0,
    }
    same = explain_with(model, shifted, background=shifted, progress=False, **options)
    # In another order they are no longer found to be the same rows.
    turned = explain_with(
        model, shifted, background=shifted[::-1], progress=False, **options
    )
    np.testing.assert_allclose(same.values, turned.values, atol=1e-6)
    assert (
        np.abs(
            same.values - explain_with(model, shifted, progress=False, **options).values
        ).max()
        > 1e-4
    )
