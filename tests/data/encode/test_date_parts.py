"""What a date says as features of its own: which there are, their cells, and minutes
where they return.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.assess.assessed_model import Network
from permgrad.attribution.replace.direction import around
from permgrad.data.encode.encoding import TableEncoder
from permgrad.evaluation.cards import points_of

SAID = ["trend", "season", "day of the month", "weekday", "time of day"]


def quarters(
    days: int = 400, start: str = "2021-02-01", freq: str = "15min"
) -> pd.Series:
    """Return quarters of hours from nine to five, on all days."""
    moments = pd.Series(pd.date_range(start, periods=days * 96, freq=freq))
    return moments[moments.dt.hour.between(9, 16)].reset_index(drop=True)


@pytest.fixture(scope="module")
def encoder() -> TableEncoder:
    return TableEncoder().fit(table())


def table() -> pd.DataFrame:
    moments = quarters()
    return pd.DataFrame(
        {"at": moments, "x": np.random.default_rng(0).normal(size=len(moments))}
    )


def test_every_encoded_column_of_a_date_is_part_of_what_it_says(encoder):
    features = encoder.features()
    assert list(features) == [*(f"at: {part_name}" for part_name in SAID), "x"]
    np.testing.assert_array_equal(
        np.sort(np.concatenate(list(features.values()))), np.arange(len(encoder.slots_))
    )
    assert list(encoder.features("column")) == ["at", "x"]
    grouped = TableEncoder(groups={"all": ["x", "at"]}).fit(table())
    assert list(grouped.features()) == ["all"], (
        "a group that names the date has all that it says"
    )
    assert encoder.raw_columns_of("at: weekday") == ["at"]
    again = TableEncoder.from_dict(encoder.to_dict())
    assert {
        name: encoded_columns.tolist()
        for name, encoded_columns in again.features().items()
    } == {name: encoded_columns.tolist() for name, encoded_columns in features.items()}


def test_cells_are_words_in_their_order(encoder):
    date_rows = pd.DataFrame(
        {"at": pd.to_datetime(["2024-02-29 14:35", None]), "x": [0.0, 1.0]}
    )
    shown = encoder.cells_of_parts(date_rows)
    assert shown.iloc[0].tolist() == [
        date_rows["at"][0],
        "29 February",
        "29",
        "Thursday",
        "14:35",
    ]
    assert shown.iloc[1].isna().all()
    weekdays = encoder.cells_of_parts(table())["at: weekday"]
    assert weekdays.min() == "Monday" and weekdays.max() == "Sunday"  # noqa: PT018 — an order, not letters
    np.testing.assert_array_equal(weekdays.astype(str), table()["at"].dt.day_name())


def test_only_what_varies_is_a_feature():
    days = pd.DataFrame({"at": pd.date_range("2021-01-01", periods=800)})
    assert list(TableEncoder().fit(days).features()) == [
        f"at: {part_name}" for part_name in SAID[:-1]
    ]
    # One thing alone is the date itself, and so is a date whose parts have the names of
    # columns.
    assert list(TableEncoder(kinds={"at": "calendar"}).fit(days[:3]).features()) == [
        "at"
    ]
    colliding_frame = days.assign(**{"at: weekday": np.arange(800.0) % 5})
    assert list(TableEncoder().fit(colliding_frame).features()) == ["at", "at: weekday"]
    gaps = days.mask(np.arange(800)[:, None] % 9 == 0)
    assert list(TableEncoder().fit(gaps).features())[-1] == "at: missing"


@pytest.mark.parametrize(
    ("moments", "read"),
    [
        (quarters(), True),
        (pd.Series(pd.date_range("2021-01-01", periods=5000, freq="h")), False),
        (
            pd.Series(pd.date_range("2021-01-01", periods=3000, freq="s")),
            False,
        ),  # of one day alone
        (
            pd.Series(pd.date_range("2021-01-01", periods=900, freq="7h13min")),
            False,
        ),  # hardly any comes twice
    ],
)
def test_minutes_are_read_where_they_return(moments, read):
    encoder = TableEncoder().fit(pd.DataFrame({"at": moments}))
    assert any("=minute" in name for name in encoder.encoded_names_) == read


def test_points_on_a_circle_are_evenly_spread_and_close_it():
    round_the_clock = np.repeat(np.arange(0.0, 1440, 30), 3)
    picked, grid_minutes, closed = around(
        round_the_clock, np.zeros(144, dtype=bool), 8, 1440
    )
    assert closed
    assert grid_minutes == list(range(0, 1440, 180))
    assert round_the_clock[picked].tolist() == grid_minutes
    open_hours = round_the_clock[(round_the_clock >= 540) & (round_the_clock < 1020)]
    _, grid_minutes, closed = around(
        open_hours, np.zeros(len(open_hours), dtype=bool), 8, 1440
    )
    assert not closed
    assert (grid_minutes[0], grid_minutes[-1]) == (540, 990)
    encoder = TableEncoder().fit(
        pd.DataFrame({"at": pd.date_range("2021-01-01", periods=8000, freq="h")})
    )
    cells = encoder.cells_of_parts(
        pd.DataFrame({"at": pd.date_range("2021-03-01", periods=2000, freq="h")})
    )
    hours = cells["at: time of day"]
    donors, axis = points_of(hours, hours.cat.codes.to_numpy(float), period=1440)
    assert axis["circle"]
    assert axis["label"][0] == axis["label"][-1] == "00:00"
    assert (axis["at"][0], axis["at"][-1], donors[0]) == (0, 1440, donors[-1])
    weekdays = cells["at: weekday"]
    assert points_of(weekdays, weekdays.cat.codes.to_numpy(float), period=7)[1]["label"] == [
        *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    ]  # fmt: skip


@pytest.mark.slow
def test_a_model_relies_on_the_part_that_tells():
    X = table()[:6000]
    minute = X["at"].dt.hour * 60 + X["at"].dt.minute
    y = np.sin(minute / 80.0) + 0.5 * (X["at"].dt.dayofweek == 2) + 0.1 * X["x"]
    model = pg.HyNNRegressor(preset="fast", random_state=0, progress=False).fit(X, y)
    rows = X.sample(300, random_state=0)
    explanation = pg.explain(model, rows, y[rows.index], random_state=0, progress=False)
    assert explanation.ranking()[:2] == ["at: time of day", "at: weekday"]
    assert "Wednesday" in explanation.direction["at: weekday"]["label"]
    assert explanation.direction["at: time of day"]["label"][0] == "09:00"
    common = {"random_state": 0, "progress": False, "method": "permutation"}
    grouped_explanation = explain_with(
        model, rows, y[rows.index], groups={"time": ["at"]}, **common
    )
    assert set(grouped_explanation.names) == {"time", "x"}
    feature_groups = {"when": ["at: weekday", "x"]}
    assert (
        "at: time of day"
        in explain_with(
            model, rows, y[rows.index], groups=feature_groups, **common
        ).names
    )
    local = pg.explain(
        model, rows[:3], scope="local", method="shapley", random_state=0, progress=False
    )
    assert (
        local.feature_values["at: weekday"].tolist()
        == rows["at"][:3].dt.day_name().tolist()
    )
    # A card sets one of the parts: all of them together are the other date.
    trained = Network.of(model)
    changed = rows[:50].reset_index(drop=True)
    other_dates = pd.Series(X["at"][-50:].to_numpy())
    every = changed.assign(
        **dict.fromkeys(
            (name for name in explanation.names if name != "x"), other_dates
        )
    )
    moved = trained.predict_changed(None, None, every)[:, 0]
    np.testing.assert_allclose(
        moved, model.predict(changed.assign(at=other_dates)), rtol=1e-6
    )
    week = changed.assign(**{"at: weekday": changed["at"] + pd.Timedelta(days=7)})
    np.testing.assert_allclose(
        trained.predict_changed(None, None, week)[:, 0],
        model.predict(changed),
        rtol=1e-6,
    )
    assert np.abs(moved - model.predict(changed)).max() > 0.1
