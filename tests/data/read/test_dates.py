"""Dates, times of day and durations as people write them."""

from __future__ import annotations

import locale

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.read import dates
from permgrad.data.read.cells import MissingCodes
from permgrad.data.splitting import split_rows
from permgrad.data.types.column_types import infer_schema, read_numbers
from permgrad.evaluation.levels import cells_of

#: From 1958 to 1999, so that a fixed century before 2000 would be as wrong as
#: strptime's, which begins in 1969.
DAYS = pd.Series(
    pd.to_datetime("1958-03-04") + pd.to_timedelta(np.arange(0, 15_000, 37), unit="D")
)
LATER = pd.Series(pd.date_range("1999-11-20 06:05:00", periods=90, freq="131h"))


def seconds(days, unit="D"):
    return (
        days.to_numpy()
        .astype(f"datetime64[{unit}]")
        .astype("datetime64[s]")
        .astype(float)
    )


def read(cells, **declared):
    """Return the type of a column, and its cells as numbers."""
    frame = pd.DataFrame({"a": cells})
    column = infer_schema(frame, **declared)["a"]
    return column, read_numbers(frame["a"], column, MissingCodes())[0]


@pytest.mark.parametrize(
    "form",
    [
        *(
            "%m/%d/%y",
            "%d/%m/%y",
            "%m-%d-%Y",
            "%d.%m.%y",
            "%Y.%m.%d",
            "%d-%b-%y",
            "%d%b%y",
            "%d %B %y",
            "%d. %b. %Y",
        ),
        *(
            "%A, %d %b %Y",
            "%b %d, %Y",
            "%a %b %d %Y",
            "%B %d %Y",
            "%Y-%b-%d",
            "%d/%m/%Y",
            "%dth %B %Y",
        ),
    ],
)
def test_days_are_dates_however_they_are_written(form):
    column, values = read(DAYS.dt.strftime(form))
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(DAYS))
    assert ("years 1930 to 2029" in column.reason) == ("%y" in form)


@pytest.mark.parametrize(
    "form",
    [
        "%y-%m-%d",
        "%d-%m-%y",
        "%b %Y",
        "%Y %b",
        "%b-%y",
        "%m/%Y",
        "%Y M%m",
        "{y}Q{q}",
        "{q}Q{y}",
    ],
)
def test_what_is_in_doubt_or_incomplete_is_text_with_a_note(form):
    written = [
        day.strftime(form).format(y=day.year, q=day.quarter) for day in (*DAYS, *LATER)
    ]
    column = infer_schema(pd.DataFrame({"a": written}))["a"]
    assert column.storage == "text"
    assert f"looks like dates with other signs, such as {written[0]!r}" in column.reason


def test_months_have_their_names_in_the_language_of_the_machine(monkeypatch):
    monkeypatch.setattr(dates, "_months_of_machine", lambda: {"mai": 5, "märz": 3})
    _, values = read(["3. Mai 1962", "4. März 2004", "5 June 2004"] * 3)
    np.testing.assert_array_equal(
        values[:3],
        seconds(pd.Series(pd.to_datetime(["1962-05-03", "2004-03-04", "2004-06-05"]))),
    )
    monkeypatch.setattr(dates, "_months_of_machine", dict)
    assert (
        infer_schema(pd.DataFrame({"a": ["3. Mai 1962", "4. März 2004"] * 3}))["a"].kind
        == "categorical"
    )


def test_asking_for_the_language_leaves_the_locale_alone():
    before = locale.setlocale(locale.LC_ALL)
    assert set(dates._months_of_machine().values()) <= set(range(1, 13))
    assert locale.setlocale(locale.LC_ALL) == before


@pytest.mark.parametrize("clock", ["%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S %p"])
@pytest.mark.parametrize(
    "form",
    ["%m/%d/%y {}", "%d-%b-%y {}", "%Y-%m-%d {}", "%d.%m.%Y, {}", "%Y/%m/%dT{} +0000"],
)
def test_a_time_of_day_may_stand_beside_them(form, clock):
    column, values = read(LATER.dt.strftime(form.format(clock)))
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(LATER, "s"))


@pytest.mark.parametrize("form", ["%Y-%m-%d %H", "%Y-%m-%dT%H"])
def test_an_hour_may_stand_beside_them_alone(form):
    column, values = read(LATER.dt.strftime(form))
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(LATER.dt.floor("h"), "s"))


def test_months_of_iso_are_dates():
    days = pd.concat([DAYS, LATER])
    column, values = read(days.dt.strftime("%Y-%m"))
    assert column.kind == "date"
    np.testing.assert_array_equal(
        values, seconds(days.dt.to_period("M").dt.to_timestamp())
    )


@pytest.mark.parametrize("whole", [np.int64, np.float64, str])
def test_whole_numbers_may_be_dates(whole):
    numbers = LATER.dt.strftime("%Y%m%d").astype(np.int64)
    column, values = read(numbers.astype(whole))
    assert (column.kind, column.storage) == ("date", "date")
    np.testing.assert_array_equal(values, seconds(LATER))
    column, values = read(numbers, kinds={"a": "numeric"})
    assert column.kind == "numeric"
    np.testing.assert_array_equal(values, numbers)
    assert cells_of(numbers, "a").kind == "date"


@pytest.mark.parametrize("form", ["%m%d%Y", "%d%m%Y", "%Y%m%d%H%M%S", "%Y%m"])
def test_other_whole_numbers_stay_numbers(form):
    assert (
        infer_schema(pd.DataFrame({"a": LATER.dt.strftime(form).astype(np.int64)}))[
            "a"
        ].storage
        == "number"
    )


@given(st.lists(st.integers(0, 10**9), min_size=5, unique=True))
def test_ordinary_whole_numbers_are_no_dates(numbers):
    values = np.array(numbers, dtype=np.float64)
    assert not dates.are_whole_dates(values) or all(
        len(str(number)) == 8 for number in numbers
    )
    assert not dates.are_whole_dates(np.round(values, -3)), "amounts"


def test_what_looks_like_dates_and_is_something_else():
    rng = np.random.default_rng(0)
    for cells in (
        rng.integers(0, 10**8, 3000),
        190_100 + np.arange(12),  # numbers that follow each other
        [f"{year}-{(year + 1) % 100:02}" for year in range(2001, 2011)] * 3,  # seasons
        [
            f"{month}-{day}" for month in ("Jan", "May") for day in range(10, 32)
        ],  # days of a year
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
        (
            ["0 days 00:00:01", "1 days 02:03:04", "-1 days +23:00:00"],
            [1, 93_784, -3600],
        ),
        (
            [
                pd.Timedelta("1h").to_pytimedelta(),
                pd.Timestamp("2020-01-01 10:00").time(),
                None,
            ],
            [3600, 36_000, np.nan],
        ),
    ],
)
def test_times_of_day_and_durations_are_seconds(cells, expected):
    cells = [*cells, "7:00", "8:00"]
    column, values = read(pd.Series(cells, dtype=object))
    assert (column.kind, column.storage) == ("numeric", "number")
    np.testing.assert_array_equal(values, [*expected, 25_200, 28_800])
    encoder = TableEncoder("minmax").fit(
        pd.DataFrame({"a": pd.Series(cells, dtype=object)})
    )
    stored = TableEncoder.from_dict(encoder.to_dict())
    np.testing.assert_array_equal(
        stored.transform(pd.DataFrame({"a": ["7:00:00"]})),
        encoder.transform(pd.DataFrame({"a": ["7:00"]})),
    )
    with pytest.raises(
        InputError,
        match="must hold times such as 10:30, or durations, but holds 'soon'",
    ):
        encoder.transform(pd.DataFrame({"a": ["soon"]}))


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["31st July 1962", "1 May 2004"], ["1962-07-31", "2004-05-01"]),
        ([2004, 2005], ["2004-01-01", "2005-01-01"]),
        (["20180131", "20180201"], ["2018-01-31", "2018-02-01"]),
        (["2004-05", "2005-06"], ["2004-05-01", "2005-06-01"]),
    ],
)
def test_declared_dates_may_be_digits_alone(cells, days):
    column, values = read(cells, kinds={"a": "date"})
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(pd.Series(pd.to_datetime(days))))
    assert np.isnan(dates.read_dates(["10:30"], column.date_format)).all(), (
        "no date is taken from today's"
    )
    with pytest.raises(
        InputError,
        match=f"is declared date but has 'soon' beside '{cells[0]}'. Write all dates "
        "in one way",
    ):
        read([*map(str, cells), "soon"], kinds={"a": "date"})


@pytest.mark.parametrize(
    "cells",
    [["2001-05-03", "05/31/2002"], ["25.04.2001", "04/26/2001"], ["620731", "990101"]],
)
def test_declared_dates_of_several_ways_are_refused(cells):
    with pytest.raises(
        InputError,
        match="is declared date but has "
        f"'{cells[1] if '-' in cells[0] or '.' in cells[0] else cells[0]}'",
    ):
        read(cells, kinds={"a": "date"})


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%m/%d/%y", "%d-%b-%y %H:%M", "%Y%m%d"])
def test_time_is_ordered_by_what_it_says(form):
    cells = LATER.sample(frac=1, random_state=0).dt.strftime(form)
    cells = cells.astype(int) if form == "%Y%m%d" else cells
    split = split_rows(len(cells), time=cells)
    moments = cells.index.to_numpy()
    assert (
        moments[split.train].max()
        < moments[split.validation].min()
        < moments[split.test].min()
    )


@pytest.mark.parametrize(
    ("form", "clock"),
    [
        ("%Y%m%dT101112", 36_672),
        ("%d/%m/%Y 10:15:00,250", 36_900.25),
    ],
)
def test_dates_of_other_programs(form, clock):
    column, values = read(DAYS.dt.strftime(form))
    assert column.kind == "date"
    np.testing.assert_array_equal(values, seconds(DAYS) + clock)


@pytest.mark.parametrize(
    "texts",
    [
        ["PT{}M3S", "PT{}H"],
        ["{}:23.456", "{}:59.1"],
        ["{}h05", "{}h30"],
    ],
)
def test_durations_of_other_programs_are_text_with_a_note(texts):
    written = [text.format(number) for number in range(20) for text in texts]
    column = infer_schema(pd.DataFrame({"took": written * 2}))["took"]
    assert column.storage == "text"
    assert f"looks like times with other signs, such as {written[0]!r}" in column.reason


@pytest.mark.parametrize(
    "texts", [["P1D", "P2D", "P3D"], ["5 m", "3 m", "7 m"], ["1h5x", "2h7x", "3h8x"]]
)
def test_codes_and_lengths_are_no_durations(texts):
    assert infer_schema(pd.DataFrame({"code": texts * 5}))["code"].kind == "categorical"


def test_a_word_among_durations_is_named():
    column = infer_schema(
        pd.DataFrame(
            {"took": [*(f"{minutes}:30" for minutes in range(1, 40)), "unknown"]}
        )
    )["took"]
    assert (
        "looks like times written in several ways, first odd cell 'unknown'"
        in column.reason
    )
