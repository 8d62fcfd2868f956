"""Which way a feature pushes: where it is set, in what order, and what is said of what
is left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg


@pytest.fixture(scope="module")
def days():
    rng = np.random.default_rng(0)
    return pd.Series(
        pd.Timestamp("2020-01-01")
        + pd.to_timedelta(rng.integers(0, 900, 300), unit="D")
    )


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%Y-%m-%d", None])
def test_dates_are_set_in_the_order_of_time(days, form):
    rng = np.random.default_rng(1)
    X = pd.DataFrame(
        {
            "day": days if form is None else days.dt.strftime(form),
            "noise": rng.normal(size=len(days)),
        }
    )
    X.loc[:3, "day"] = None
    X["place"] = rng.choice([f"place {number}" for number in range(30)], len(days))
    y = (days - days.min()).dt.days.to_numpy() / 900
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=30, random_state=0, progress=False
    ).fit(X, y)
    explained = pg.explain(model, X, y, n_repeats=2, random_state=0, progress=False)
    day_direction = explained.direction["day: trend"]
    times = pd.to_datetime(pd.Series(day_direction["label"]), format=form or "ISO8601")
    assert len(times) == 8
    assert times.is_monotonic_increasing
    assert times.iloc[0] <= days.quantile(0.05)
    assert times.iloc[-1] >= days.quantile(0.95)
    means = np.array(day_direction["mean"])[:, 0]
    assert np.all(np.diff(means) > 0), "the target rises with time"
    assert np.ptp(means) > 0.5
    assert explained.direction["place"]["levels"] == 30
    drawn = explained.plot.direction().to_svg()
    assert f"{30 - 8} more levels" in drawn
    assert drawn.count("more level") == 1, "no date is left out"
