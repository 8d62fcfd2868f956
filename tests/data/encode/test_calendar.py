"""Dates: each part by Python's calendar, which parts there are, and dates without time
and year.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from benchmarks.quality._natural import natural_table

from permgrad.data.encode.calendar import PERIODS, calendar_parts, date_part
from permgrad.data.encode.encoding import TableEncoder

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 — dates have no zone
MOMENTS = [
    *(
        "1600-02-29 23:59:59",
        "1900-02-28 00:00:00",
        "1900-03-01 00:00:00",
        "1969-12-31 23:59:59",
        "1970-01-01 00:00:00",
    ),
    *(
        "2000-02-29 12:00:00",
        "2023-12-31 23:59:59",
        "2024-12-31 00:00:00",
        "2024-02-29 06:30:00",
        "2100-03-01 00:00:00",
    ),
]


def days(start: str, count: int) -> pd.DataFrame:
    return pd.DataFrame({"d": pd.date_range(start, periods=count)})


def names(frame: pd.DataFrame, kind: str = "date", **options) -> list[str]:
    encoder = TableEncoder(kinds={"d": kind}, **options).fit(frame)
    return [name.removeprefix("d=") for name in encoder.encoded_names_]


def test_parts_are_those_of_the_calendar():
    rng = np.random.default_rng(0)
    moments = [datetime.fromisoformat(text) for text in MOMENTS]
    moments += [
        EPOCH + timedelta(seconds=int(second_offset))
        for second_offset in rng.integers(-(10**10), 10**10, 500)
    ]
    calendar_columns = calendar_parts(
        np.array([(moment - EPOCH) / timedelta(seconds=1) for moment in moments])
    )
    for row, row_moment in enumerate(moments):
        row_parts = {
            part_name: int(values[row])
            for part_name, values in calendar_columns.items()
        }
        assert row_parts == {
            "day_number": (row_moment.date() - date(1970, 1, 1)).days,
            "year": row_moment.year,
            "month": row_moment.month - 1,
            "yearday": row_moment.timetuple().tm_yday - 1,
            "day": row_moment.day - 1,
            "weekday": row_moment.weekday(),
            "hour": row_moment.hour,
            "minute": 60 * row_moment.hour + row_moment.minute,
        }
        assert all(row_parts[part_name] < size for part_name, size in PERIODS.items())


def test_cycles_categories_and_flags():
    saturday = calendar_parts(
        np.array([(datetime(2024, 3, 2, 18) - EPOCH).total_seconds()])  # noqa: DTZ001
    )
    expected = {
        "month sin": np.sin(2 * np.pi * 2 / 12), "yearday cos": np.cos(2 * np.pi * 61 / 366),
        "day sin": np.sin(2 * np.pi / 31), "weekday cos": np.cos(2 * np.pi * 5 / 7), "hour sin": -1.0,
        "weekday 5": 1, "weekday 6": 0, "month 2": 1, "day 1": 1, "hour 18": 1, "weekend": 1,
        "year": 0.25,
    }  # fmt: skip
    for part_name, value in expected.items():
        assert date_part(part_name, saturday, (2023, 2027))[0] == pytest.approx(
            value, abs=1e-12
        ), part_name


def test_parts_that_do_not_vary_are_not_made():
    column_names = names(days("2024-05-06", 4))  # Monday to Thursday of one month
    assert set(column_names) == {
        f"{part_name} {wave}"
        for part_name in ("yearday", "day", "weekday")
        for wave in ("sin", "cos")
    } | {"time"}
    months = pd.DataFrame({"d": pd.date_range("2020-01-01", periods=30, freq="MS")})
    assert {name.split()[0] for name in names(months)} == {
        "time",
        "year",
        "month",
        "weekday",
    }
    # The first of a month has a weekday, but none of its own: it is a cycle only.
    assert "Monday" not in names(
        pd.DataFrame({"d": pd.date_range("1990-01-01", periods=300, freq="MS")})
    )
    hours = pd.DataFrame({"d": pd.date_range("2024-05-06", periods=20, freq="h")})
    assert names(hours) == ["time", "hour sin", "hour cos"]


def test_a_category_needs_twenty_rows_for_each_value():
    assert "Monday" not in names(days("2020-01-01", 139))
    column_names = names(days("2020-01-01", 140))
    assert [name for name in column_names if name.endswith("day") and name != "yearday"] == [
        "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
    ]  # fmt: skip
    assert "January" in column_names
    assert "day 1" not in column_names
    assert "day 31" in names(days("2020-01-01", 620))
    frame = days("2020-01-01", 730)
    encoder = TableEncoder().fit(frame)
    encoded = pd.DataFrame(encoder.transform(frame), columns=encoder.encoded_names_)
    np.testing.assert_array_equal(
        encoded["d=Friday"], frame["d"].dt.day_name() == "Friday"
    )
    np.testing.assert_array_equal(encoded["d=October"], frame["d"].dt.month == 10)
    np.testing.assert_array_equal(encoded["d=day 31"], frame["d"].dt.day == 31)
    np.testing.assert_array_equal(encoded["d=weekend"], frame["d"].dt.dayofweek > 4)
    again = TableEncoder.from_dict(encoder.to_dict())
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))


def test_a_calendar_has_only_what_returns():
    frame = days("2020-01-01", 800)
    encoder = TableEncoder(kinds={"d": "calendar"}).fit(frame)
    assert "d=year" not in encoder.encoded_names_
    assert encoder.schema_["d"].kind == "date"
    assert encoder.parts_of("d") == [
        "time",
        "month",
        "day of the year",
        "day of the month",
        "weekday",
        "weekend",
    ]
    # After 400 years the Gregorian calendar begins again.
    later = pd.DataFrame(
        {
            "d": frame["d"].to_numpy().astype("datetime64[s]")
            + np.timedelta64(146_097, "D")
        }
    )
    encoded_later = encoder.transform(later)
    before = encoder.transform(frame)
    np.testing.assert_array_equal(encoded_later[:, 1:], before[:, 1:])
    # In time, later rows count as the latest training row, and earlier ones as the
    # earliest.
    assert (encoded_later[:, 0] == before[-1, 0]).all()
    assert (np.diff(before[:, 0]) > 0).all()
    assert encoder.transform(days("1850-01-01", 2))[:, 0].tolist() == [before[0, 0]] * 2
    assert not np.array_equal(
        *(
            TableEncoder().fit(frame).transform(date_frame)
            for date_frame in (later, frame)
        )
    )
    # Of half a year the season has not returned.
    assert {name.split()[0] for name in names(days("2020-01-01", 130), "calendar")} == {
        "time",
        "day",
        "weekday",
        "weekend",
    }
    assert names(days("2020-01-01", 3), "calendar") == ["time"]


def test_a_stored_encoder_has_the_parts_it_was_stored_with():
    frame = days("2019-05-01", 500)
    content = TableEncoder("minmax").fit(frame).to_dict()
    part_names = (
        "time",
        "year",
        "month sin",
        "month cos",
        "weekday sin",
        "weekday cos",
    )
    encoder = TableEncoder.from_dict(
        {
            **content,
            "slots": [slot for slot in content["slots"] if slot[3] in part_names],
        }
    )
    assert encoder.encoded_names_ == [f"d={part_name}" for part_name in part_names]
    d, (time, year, month, _, _, weekday) = frame["d"].dt, encoder.transform(frame).T
    np.testing.assert_allclose(time, np.arange(500) / 499, atol=1e-6)
    np.testing.assert_array_equal(year, d.year - 2019)
    np.testing.assert_allclose(month, np.sin(2 * np.pi * (d.month - 1) / 12), atol=1e-6)
    np.testing.assert_allclose(weekday, np.cos(2 * np.pi * d.dayofweek / 7), atol=1e-6)


def test_models_that_read_categories_get_one_for_each_part():
    frame = days("2020-01-01", 730)
    encoder = TableEncoder("standard").fit(frame)
    table = natural_table(encoder, encoder.transform(frame))
    categories = [
        name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)
    ]
    assert categories == ["d=?month", "d=?day", "d=?weekday", "d=?weekend"]
    np.testing.assert_array_equal(
        table["d=?weekday"].to_numpy(), frame["d"].dt.dayofweek + 1
    )
    np.testing.assert_array_equal(table["d=?month"].to_numpy(), frame["d"].dt.month)
