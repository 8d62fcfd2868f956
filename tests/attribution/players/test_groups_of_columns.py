"""Groups that take some columns of a declared group: no encoded column is two
players'.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg


@pytest.fixture(name="case", scope="module")
def _case():
    rng = np.random.default_rng(0)
    soil = rng.integers(0, 3, 200)
    rows = pd.DataFrame(
        {f"S{level}": (soil == level).astype(int) for level in range(3)}
        | {"x": rng.normal(size=200)}
    )
    model = pg.HyNNRegressor(
        preset="fast", branches=("tabular",), max_epochs=10, random_state=0, progress=False,
        groups={"Soil": ["S0", "S1", "S2"]},
    )  # fmt: skip
    return model.fit(rows, 2.0 * rows["S0"] - rows["S1"] + rows["x"]), rows


@pytest.mark.parametrize("method", ["integrated_gradients", "shapley"])
def test_the_rest_of_a_variable_is_a_player_of_its_own(case, method):
    model, rows = case
    call_options = {
        "method": method,
        "background": rows[100:140],
        "random_state": 0,
        "progress": False,
    }
    explanation = explain_with(
        model, rows[:6], groups={"some": ["S0", "x"]}, **call_options
    )
    assert explanation.names == ("some", "Soil")
    sums = explanation.values.sum(axis=1) + explanation.base_values
    np.testing.assert_allclose(sums, explanation.predictions, atol=1e-4)
    # The group's own column is in it.
    columns = explain_with(
        model,
        rows[:6],
        groups={"some": ["S0", "x"], "rest": ["S1", "S2"]},
        **call_options,
    )
    assert columns.names == ("some", "rest")
    np.testing.assert_allclose(explanation.values, columns.values, atol=1e-6)
    assert (
        np.abs(
            explanation.values[:, 0]
            - explain_with(
                model, rows[:6], groups={"some": ["x"]}, **call_options
            ).values[:, 0]
        ).max()
        > 0.1
    )


def test_a_variable_and_a_column_of_it_are_not_in_two_groups(case):
    model, rows = case
    message = (
        r"Columns of 'S0' are in the groups 'all' and 'some'\. Name each "
        r"feature "
        r"in one group only"
    )
    with pytest.raises(pg.InputError, match=message):
        pg.explain(
            model,
            rows[:6],
            method="permutation",
            groups={"all": ["Soil"], "some": ["S0", "x"]},
        )
