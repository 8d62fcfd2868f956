"""Where nothing is to be found, 5 % of tests find something (the short form of
``verification/verify_null.py``).
"""

from __future__ import annotations

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.request import tuned


@pytest.mark.slow
def test_one_seed_of_the_null_checks(script, capsys):
    faults = script("verification.verify_null").main(["--quick"])
    printed = capsys.readouterr().out
    assert faults == 0, printed
    assert printed.count(": met") == 12


@pytest.mark.parametrize("batch_size", ["auto", 100, 1])
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_constants_and_unused_inputs_get_exactly_zero(preset, batch_size):
    # Rounding differs between batches, and between a patch of a picture and the whole:
    # none of it may show.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(210, 6))
    y = x[:, 0] + 0.1 * rng.normal(size=210)
    settings = {"max_epochs": 2, "random_state": 0, "device": "cpu", "progress": False}
    model = pg.HyNNRegressor(preset=preset, image="always", **settings).fit(x, y)
    columns = model.preprocessor_.columns_of("x4")
    import torch

    with torch.no_grad():
        first = next(
            layer
            for layer in model.module_.table_branch.modules()
            if isinstance(layer, torch.nn.Linear)
        )
        first.weight[:, columns] = 0
        model.module_.head[0].weight[:, model.module_.widths["tabular"] :] = 0
    x[:, 3] = 0.7
    explanation = pg.explain(
        pg.Model(model, batch_size=batch_size),
        x,
        y,
        method=tuned(pg.methods.PermGrad(), direction=False),
        n_repeats=2,
        random_state=0,
        progress=False,
    )
    assert explanation.values[0, 0] != 0
    for position in (
        3,
        4,
    ):  # constant in these rows; not used by the one branch that counts
        assert (
            explanation.values[position, 0] == explanation.std_error[position, 0] == 0
        )
        assert explanation.low[position, 0] == explanation.high[position, 0] == 0
        assert explanation.p_values[position, 0] == 1
    np.testing.assert_array_equal(explanation.parts["image"], 0)
    assert (
        explanation.branches["image"]["importance"]
        == explanation.branches["image"]["std_error"]
        == 0
    )
    assert explanation.branches["image"]["p_value"] == 1
