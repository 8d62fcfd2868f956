"""The units of y change nothing, except in the published method: the short form of
``verification/verify_units.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from verification import verify_units as verify

import permgrad as pg


@pytest.fixture(scope="module")
def lines():
    return verify.compare(seed=0, rows=300, preset={"base": "fast", "max_epochs": 8})


@pytest.mark.slow
def test_units_change_nothing(lines):
    ours = [line for line in lines if line["method"] == "permgrad"]
    assert len(ours) == len(verify.UNITS)
    for line in ours:
        assert line["largest change of a share"] <= verify.TOLERANCE, line
        assert line["change of branch shares"] <= verify.TOLERANCE, line
        assert line["same ranking"], line
        assert (
            0.02 < line["image"] < 0.98
        )  # both branches carry something, so there is something to be wrong about


@pytest.mark.slow
def test_the_published_method_saturates_without_a_crash(lines):
    theirs = {
        line["target"]: line for line in lines if line["method"] == "permgrad_paper"
    }
    assert {theirs["1000·y"]["tabular"], theirs["1000·y"]["image"]} == {0.0, 1.0}
    # In small units the weights say nothing: both branches weigh the same.
    assert theirs["y / 1000"]["tabular"] == pytest.approx(0.5, abs=1e-3)
    assert theirs["y / 1000"]["change of branch shares"] > 0.01
    assert all(line["finite"] for line in theirs.values())
    assert verify.holds(lines)


def test_importances_carry_the_unit_of_the_loss():
    """1000·y is 10⁶ times the squared error: importances, errors and the loss scale
    follow, p-values stay.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X[:, 0] + 0.5 * X[:, 1] ** 2
    small, large = (
        pg.explain(
            pg.HyNNRegressor(
                preset="fast", max_epochs=4, random_state=0, progress=False
            ).fit(X, factor * y),
            X,
            factor * y,
            random_state=0,
            n_repeats=3,
            progress=False,
        )
        for factor in (1.0, 1000.0)
    )
    assert small.meta["unit"] == large.meta["unit"] == "y²"
    assert large.meta["loss_scale"] == pytest.approx(1e6 * small.meta["loss_scale"])
    np.testing.assert_allclose(large.values, 1e6 * small.values, rtol=1e-6)
    np.testing.assert_allclose(large.std_error, 1e6 * small.std_error, rtol=1e-6)
    np.testing.assert_allclose(large.p_values, small.p_values, rtol=1e-4, atol=1e-12)
