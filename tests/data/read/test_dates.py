"""Dates, times of day and durations as people write them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.dates import read_dates
from permgrad.data.splitting import split_rows
from permgrad.data.types.column_types import infer_schema, read_numbers
from permgrad.evaluation.levels import cells_of

#: From 1958 to 1999, so that a fixed century before 2000 would be as wrong as strptime's, which begins in 1969.
DAYS = pd.Series(pd.to_datetime("1958-03-04") + pd.to_timedelta(np.arange(0, 15_000, 37), unit="D"))
LATER = pd.Series(pd.date_range("1999-11-20 06:05:00", periods=90, freq="131h"))


def seconds(days, unit="D"):
    return days.to_numpy().astype(f"datetime64[{unit}]").astype("datetime64[s]").astype(float)


def read(cells, **declared):
    """Return the type of a column, and its cells as numbers."""
    frame = pd.DataFrame({"a": cells})
    column = infer_schema(frame, **declared)["a"]
    return column, read_numbers(frame["a"], column, MissingCodes())[0]


@pytest.mark.parametrize(
    "form",
    [
        *("%m/%d/%y", "%d/%m/%y", "%m-%d-%y", "%d.%m.%y", "%y-%m-%d", "%d-%b-%y", "%d%b%y", "%d %B %y"),
        *("%A, %d %b %y", "%b %d, %Y", "%a %b %d %Y", "%B %d %Y", "%Y-%b-%d", "%d/%m/%Y", "%dth %B %Y"),
    ],
)
def test_days_are_dates_however_they_are_written(form):
    column, values = read(DAYS.dt.strftime(form))
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(DAYS))


@pytest.mark.parametrize("clock", ["%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S %p"])
@pytest.mark.parametrize("form", ["%m/%d/%y {}", "%d-%b-%y {}", "%Y-%m-%d {}", "%d/%b/%Y:{} +0000", "%b %d {} %Y"])
def test_a_time_of_day_may_stand_beside_them(form, clock):
    column, values = read(LATER.dt.strftime(form.format(clock)))
    assert (column.kind, column.n_unreadable) == ("date", 0)
    np.testing.assert_array_equal(values, seconds(LATER, "s"))


@pytest.mark.parametrize("form", ["%Y-%m-%d %H", "%Y-%m-%dT%H", "%Y/%m/%d %H"])
def test_an_hour_may_stand_beside_them_alone(form):
    column, values = read(LATER.dt.strftime(form))
    assert (column.kind, column.n_unreadable) == ("date", 0)
    np.testing.assert_array_equal(values, seconds(LATER.dt.floor("h"), "s"))


@pytest.mark.parametrize("form", ["%Y-%m", "%m/%Y", "%b-%y", "%B %Y", "%Y M%m", "{y}Q{q}", "Q{q} {y}", "{q}Q{z}"])
def test_months_and_quarters_are_dates(form):
    written = [day.strftime(form).format(y=day.year, q=day.quarter, z=day.strftime("%y")) for day in (*DAYS, *LATER)]
    column, values = read(written)
    assert column.kind == "date"
    start = pd.concat([DAYS, LATER]).dt.to_period("Q" if "{" in form else "M").dt.to_timestamp()
    np.testing.assert_array_equal(values, seconds(start))


@pytest.mark.parametrize("whole", [np.int64, np.float64, str])
@pytest.mark.parametrize("form", ["%Y%m%d", "%m%d%Y", "%d%m%Y", "%Y%m%d%H%M%S", "%Y%m"])
def test_whole_numbers_may_be_dates(form, whole):
    numbers = [int(text) for text in LATER.dt.strftime(form)]
    assert any(number < 10**7 for number in numbers) or form[1] == "Y", "some have lost the zero in front"
    column, values = read(pd.Series(numbers).astype(whole))
    assert (column.kind, column.storage) == ("date", "date")
    unit = {"%Y%m%d%H%M%S": "s", "%Y%m": "M"}.get(form, "D")
    np.testing.assert_array_equal(values, seconds(LATER, unit))
    column, values = read(numbers, kinds={"a": "numeric"})
    assert column.kind == "numeric"
    np.testing.assert_array_equal(values, numbers)
    assert cells_of(pd.Series(numbers), "a").kind == "date"


@given(st.lists(st.integers(0, 10**9), min_size=5, unique=True))
def test_ordinary_whole_numbers_are_no_dates(numbers):
    from permgrad.data.read.dates import find_whole_format

    values = np.array(numbers, dtype=np.float64)
    fits = all(len(str(number)) in (6, 7, 8) for number in numbers)
    assert find_whole_format(values) is None or fits
    assert find_whole_format(np.round(values, -3)) is None, "amounts"


def test_what_looks_like_dates_and_is_something_else():
    rng = np.random.default_rng(0)
    for cells in (
        rng.integers(0, 10**8, 3000),
        190_100 + np.arange(12),  # numbers that follow each other
        [f"{year}-{(year + 1) % 100:02}" for year in range(2001, 2011)] * 3,  # seasons
        [f"{month}-{day}" for month in ("Jan", "May") for day in range(10, 32)],  # days of a year
        [f"12-{b}" for b in range(2301, 2400)],
        [f"1.{minor}.{patch}" for minor in range(9) for patch in range(9)],
        [f"{a}:{b}" for a in (1, 16, 4) for b in (3, 9, 1)],  # ratios
        ["5 m", "3 m", "2.5 m"] * 9,
    ):
        column = infer_schema(pd.DataFrame({"a": cells}))["a"]
        assert column.kind != "date", cells[:3]
        assert "in seconds" not in column.reason


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["9:30", "10:05", "23:59"], [34_200, 36_300, 86_340]),
        (["12:15 AM", "1:15 PM", "12:00 pm"], [900, 47_700, 43_200]),
        (["0 days 00:00:01", "1 days 02:03:04", "-1 days +23:00:00"], [1, 93_784, -3600]),
        (["90 min", "2h 30m", "45 sec"], [5400, 9000, 45]),
        ([pd.Timedelta("1h").to_pytimedelta(), pd.Timestamp("2020-01-01 10:00").time(), None], [3600, 36_000, np.nan]),
    ],
)
def test_times_of_day_and_durations_are_seconds(cells, expected):
    cells = [*cells, "7:00", "8:00"]
    column, values = read(pd.Series(cells, dtype=object))
    assert (column.kind, column.storage) == ("numeric", "number")
    np.testing.assert_array_equal(values, [*expected, 25_200, 28_800])
    encoder = TableEncoder("minmax").fit(pd.DataFrame({"a": pd.Series(cells, dtype=object)}))
    stored = TableEncoder.from_dict(encoder.to_dict())
    np.testing.assert_array_equal(
        stored.transform(pd.DataFrame({"a": ["7:00:00"]})), encoder.transform(pd.DataFrame({"a": ["7:00"]}))
    )
    with pytest.raises(InputError, match="must hold times such as 10:30, or durations, but holds 'soon'"):
        encoder.transform(pd.DataFrame({"a": ["soon"]}))


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["31st of July 1962", "1 May 2004"], ["1962-07-31", "2004-05-01"]),
        (["2001-05-03", "05/31/2002", "03.04.2001"], ["2001-05-03", "2002-05-31", "2001-04-03"]),
        ([2004, 2005], ["2004-01-01", "2005-01-01"]),
        ([620731, 990101], ["1962-07-31", "1999-01-01"]),
        (["20180131", "20180201"], ["2018-01-31", "2018-02-01"]),
        (["2004-05", "2005-06"], ["2004-05-01", "2005-06-01"]),
    ],
)
def test_declared_dates_are_all_that_a_parser_reads(cells, days):
    column, values = read(cells, kinds={"a": "date"})
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(pd.Series(pd.to_datetime(days))))
    assert np.isnan(read_dates(["10:30"], column.date_format)).all(), "no date is taken from today's"
    with pytest.raises(InputError, match="is declared date but has 'soon'"):
        read([*map(str, cells), "soon"], kinds={"a": "date"})


@pytest.mark.parametrize("form", ["%m%d%Y", "%m/%d/%y", "%d-%b-%y %H:%M", "%Y%m%d", "%d of %B %Y"])
def test_time_is_ordered_by_what_it_says(form):
    cells = LATER.sample(frac=1, random_state=0).dt.strftime(form)
    cells = cells.astype(int) if form[-2:] in ("%Y", "%d") and form.count("%") == 3 and len(form) == 6 else cells
    split = split_rows(len(cells), time=cells)
    moments = cells.index.to_numpy()
    assert moments[split.train].max() < moments[split.validation].min() < moments[split.test].min()


@pytest.mark.parametrize(
    ("form", "clock"),
    [
        ("%G-W%V-%u", 0),
        ("%Y%m%dT101112", 36_672),
        ("%d/%m/%Y 10:15:00,250", 36_900.25),
        ("%d.%m.%Y 10:15 Uhr", 36_900),
        ("%Y年%m月%d日", 0),
    ],
)
def test_dates_of_other_programs_and_countries(form, clock):
    column, values = read(DAYS.dt.strftime(form))
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(DAYS) + clock)


@pytest.mark.parametrize(
    ("texts", "expected", "what"),
    [
        (["PT5M3S", "PT1H", "PT40S"], [303, 3600, 40], "durations"),
        (["P2DT3H", "P1DT1M", "P1DT2S"], [183_600, 86_460, 86_402], "durations"),
        (["1:23.456", "0:59.1", "75:00.0"], [83.456, 59.1, 4500], "durations"),
        (["1h05", "12h30", "0h45"], [3900, 45_000, 2700], "durations"),
        (["5m 3s", "12m 40s", "1m 1s"], [303, 760, 61], "durations"),
        (["1:02:03,5", "0:00:01,5", "2:00:00"], [3723.5, 1.5, 7200], "times of day"),
    ],
)
def test_durations_of_other_programs(texts, expected, what):
    column, values = read(texts * 5)
    assert (column.kind, column.reason) == ("numeric", f"{what} as text, in seconds")
    assert values[:3] == pytest.approx(expected)


@pytest.mark.parametrize("texts", [["P1D", "P2D", "P3D"], ["5 m", "3 m", "7 m"], ["1h5x", "2h7x", "3h8x"]])
def test_codes_and_lengths_are_no_durations(texts):
    assert infer_schema(pd.DataFrame({"code": texts * 5}))["code"].kind == "categorical"


def test_a_word_among_durations_is_named():
    column = infer_schema(pd.DataFrame({"took": [*(f"{place} min" for place in range(1, 40)), "unknown"]}))["took"]
    assert "looks like times written in several ways, first odd cell 'unknown'" in column.reason
