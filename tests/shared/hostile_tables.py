# ruff: noqa: DTZ001 — dates without a time zone, as tables hold them
"""Tables, targets and names as people really bring them, and worse: hypothesis
strategies.

Every kind of column is one function of ``(draw, rows)`` and one registration; whoever
meets a new kind adds it here and every hostile test meets it too.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import fractions
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Maker = Callable[[Draw, int], Any]

#: Text that is markup, a formula, a path, a format, a terminator, another direction, or
#: nothing at all.
TEXTS = (
    "", " ", "a", "b", "A ", "nan", "NaN", "None", "NA", "null", "?", "-", "inf", "-inf", "1", "1.0", "1,5", "1e400", "0x10",
    "true", "False", "yes", "no", "<b>bold</b>", "<script>alert(1)</script>", "</script><script>alert(1)</script>", "&lt;",
    '"', "'", "`", "\\", "\\n", "\n", "\r\n", "\t", "\x00", "\x1b[31m", "=1+1", "+1", "@SUM(A1)", "-2+3", "$x^2$", "$",
    "{x}", "{0}", "%s", "%(x)s", "${x}", "../../etc/passwd", "C:\\x", "a;b", "a,b", "a|b", "é", "e\u0301", "ß", "İ", "日本",
    "مرحبا", "\u202eabc", "\ufeff", "\u200b", "👩‍👩‍👧", "x" * 300, "2020-01-01", "01/02/2020", "12:30", "1 day",
    "feature", "target", "index", "prediction", "constructor", "__proto__", "a=b", "a=<missing>", "other",
)  # fmt: skip
#: Numbers at the edges of what a float, and a float of 32 bits, can say.
NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 0.1, 1e-45, 5e-324, 2.2e-308, 1e-30, 1e-8, 1e8, 16777217.0, 1e16, 1e30, 3.4e38, 3.5e38, 1e300,
    1.7e308, -1.7e308,
)  # fmt: skip

columns: dict[str, Maker] = {}


def kind(maker: Maker) -> Maker:
    """Enrol a kind of column under its function's name."""
    columns[maker.__name__] = maker
    return maker


def _rows(draw: Draw, rows: int, values: st.SearchStrategy[Any]) -> list[Any]:
    """Return one value for each row, out of few, so that values repeat as they do in
    tables.
    """
    distinct_values = draw(st.lists(values, min_size=1, max_size=6))
    picks = draw(
        st.lists(st.integers(0, len(distinct_values) - 1), min_size=rows, max_size=rows)
    )
    return [distinct_values[pick] for pick in picks]


def _noise(draw: Draw, rows: int) -> np.ndarray:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=rows)


@kind
def plain_floats(draw: Draw, rows: int) -> Any:
    return pd.Series(_noise(draw, rows))


@kind
def floats_with_gaps(draw: Draw, rows: int) -> Any:
    values = _noise(draw, rows)
    values[:: draw(st.integers(1, 4))] = np.nan
    return pd.Series(values)


@kind
def edge_floats(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.sampled_from(NUMBERS) | st.floats(allow_infinity=False)),
        dtype=float,
    )


@kind
def infinite_floats(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.sampled_from([np.inf, -np.inf, 1.0, np.nan])), dtype=float
    )


@kind
def large_scale(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _noise(draw, rows)
        * draw(st.sampled_from([1e-300, 1e-38, 1e-12, 1e12, 1e37, 1e300]))
    )


@kind
def far_from_zero(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _noise(draw, rows) + draw(st.sampled_from([1e6, 1e9, 1e15, -1e20]))
    )


@kind
def half_floats(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _noise(draw, rows).astype(draw(st.sampled_from([np.float16, np.float32])))
    )


@kind
def integers(draw: Draw, rows: int) -> Any:
    dtype = draw(
        st.sampled_from(["int8", "uint8", "int16", "int32", "int64", "uint64"])
    )
    info = np.iinfo(dtype)
    return pd.Series(
        _rows(draw, rows, st.integers(int(info.min), int(info.max))), dtype=dtype
    )


@kind
def huge_integers(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.integers(-(10**30), 10**30)), dtype=object)


@kind
def nullable_integers(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.none() | st.integers(-5, 5)), dtype="Int64")


@kind
def nullable_floats(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.none() | st.floats(-5, 5)), dtype="Float64")


@kind
def booleans(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.booleans()), dtype=bool)


@kind
def nullable_booleans(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.none() | st.booleans()), dtype="boolean")


@kind
def boolean_objects(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.sampled_from([True, False, None, np.nan])), dtype=object
    )


@kind
def strings(draw: Draw, rows: int) -> Any:
    values = _rows(
        draw, rows, st.sampled_from([*TEXTS, "\ud800"]) | st.text(max_size=8)
    )
    return pd.Series(values, dtype=object)


@kind
def nullable_strings(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.none() | st.sampled_from(TEXTS)), dtype="string"
    )


@kind
def distinct_strings(draw: Draw, rows: int) -> Any:
    start = draw(st.integers(0, 9))
    return pd.Series([f"row {start + number}" for number in range(rows)], dtype=object)


@kind
def numbers_as_text(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(
            draw,
            rows,
            st.sampled_from(["1", "2.5", " 3 ", "-4", "1e3", "", "NA", "1,000", "½"]),
        ),
        dtype=object,
    )


@kind
def categories(draw: Draw, rows: int) -> Any:
    levels = draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6, unique=True))
    values = _rows(draw, rows, st.none() | st.sampled_from(levels))
    unused = [level for level in ("unused", "<i>unused</i>") if level not in levels]
    return pd.Series(
        pd.Categorical(
            values, categories=[*levels, *unused], ordered=draw(st.booleans())
        )
    )


@kind
def number_categories(draw: Draw, rows: int) -> Any:
    return pd.Series(
        pd.Categorical(
            _rows(draw, rows, st.none() | st.integers(-2, 3)), categories=range(-2, 5)
        )
    )


@kind
def dates(draw: Draw, rows: int) -> Any:
    moments = st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
    zone = draw(st.sampled_from([None, "UTC", "Europe/Madrid"]))
    return pd.Series(
        pd.to_datetime(_rows(draw, rows, moments), utc=zone is not None)
    ).pipe(
        lambda date_series: (
            date_series if zone is None else date_series.dt.tz_convert(zone)
        )
    )


@kind
def far_dates(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(
            draw, rows, st.sampled_from([dt.date(1, 1, 1), dt.date(9999, 12, 31), None])
        ),
        dtype=object,
    )


@kind
def date_objects(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.dates() | st.none() | st.just(pd.NaT)), dtype=object
    )


@kind
def clock_times(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.times()), dtype=object)


@kind
def durations(draw: Draw, rows: int) -> Any:
    return pd.Series(
        pd.to_timedelta(
            _rows(draw, rows, st.none() | st.integers(-(10**6), 10**9)), unit="s"
        )
    )


@kind
def periods(draw: Draw, rows: int) -> Any:
    start = draw(st.sampled_from(["1990", "2020-01", "2020-01-31"]))
    return pd.Series(
        pd.period_range(
            start, periods=rows, freq=draw(st.sampled_from(["D", "M", "Y"]))
        )
    )


@kind
def intervals(draw: Draw, rows: int) -> Any:
    return pd.Series(pd.cut(_noise(draw, rows), bins=[-9, -1, 0, 1, 9]))


@kind
def decimals(draw: Draw, rows: int) -> Any:
    values = st.sampled_from(
        [
            decimal.Decimal("1.10"),
            decimal.Decimal("NaN"),
            decimal.Decimal("1e400"),
            None,
        ]
    )
    return pd.Series(
        _rows(draw, rows, values | st.decimals(-5, 5, allow_nan=False)), dtype=object
    )


@kind
def ratios(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.fractions().map(fractions.Fraction)), dtype=object
    )


@kind
def complex_numbers(draw: Draw, rows: int) -> Any:
    return pd.Series(_noise(draw, rows) + 1j)


@kind
def all_missing(draw: Draw, rows: int) -> Any:
    return draw(
        st.sampled_from(
            [
                pd.Series(np.full(rows, np.nan)),
                pd.Series([None] * rows, dtype=object),
                pd.Series([pd.NA] * rows, dtype="Int64"),
                pd.Series([pd.NA] * rows, dtype="string"),
                pd.Series([pd.NaT] * rows),
                pd.Series(pd.Categorical([None] * rows)),
            ]
        )
    )


@kind
def constant(draw: Draw, rows: int) -> Any:
    return pd.Series(
        [
            draw(
                st.sampled_from(
                    [0, 1.5, "same", True, pd.Timestamp("2020-01-01"), -1e300]
                )
            )
        ]
        * rows
    )


@kind
def nearly_constant(draw: Draw, rows: int) -> Any:
    values = np.full(rows, draw(st.sampled_from([0.0, 1e9, 1.0])))
    values[draw(st.integers(0, rows - 1))] += draw(st.sampled_from([1e-12, 1.0, 1e12]))
    return pd.Series(values)


@kind
def mixed_objects(draw: Draw, rows: int) -> Any:
    mixed_values = [
        1,
        2.5,
        "a",
        "1",
        True,
        None,
        np.nan,
        dt.date(2020, 1, 1),
        b"bytes",
        uuid.UUID(int=7),
        (1, 2),
        float("inf"),
    ]
    return pd.Series(_rows(draw, rows, st.sampled_from(mixed_values)), dtype=object)


@kind
def unhashable_objects(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(draw, rows, st.sampled_from([[1], [1, 2], {}, {"a": 1}, {2}, None])),
        dtype=object,
    )


@kind
def numpy_scalars(draw: Draw, rows: int) -> Any:
    return pd.Series(
        _rows(
            draw,
            rows,
            st.sampled_from(
                [np.float32(1.5), np.int8(3), np.bool_(True), np.str_("a")]
            ),
        ),
        dtype=object,
    )


@kind
def sparse(draw: Draw, rows: int) -> Any:
    return pd.Series(pd.arrays.SparseArray(np.where(_noise(draw, rows) > 1, 1.0, 0.0)))


@kind
def arrow(draw: Draw, rows: int) -> Any:
    dtype = draw(
        st.sampled_from(
            ["int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]", "string[pyarrow]"]
        )
    )
    values: st.SearchStrategy[Any] = (
        st.sampled_from(["a", "<b>", None])
        if "string" in dtype
        else st.sampled_from([0, 1, None])
    )
    return pd.Series(_rows(draw, rows, values), dtype=dtype)


#: Kinds that are refused, always or mostly: a table of them says nothing about the
#: others.
REFUSED = ("complex_numbers", "infinite_floats", "unhashable_objects", "mixed_objects")


# ---- names ---------------------------------------------------------------------------

names: st.SearchStrategy[Any] = (
    st.sampled_from(TEXTS)
    | st.text(max_size=12)
    | st.integers(-3, 3)
    | st.floats(allow_nan=True)
    | st.none()
    | st.booleans()
    | st.tuples(st.sampled_from("ab"), st.integers(0, 2))
    | st.dates()
)


@st.composite
def frames(draw: Draw, least: int = 1, most: int = 40, widest: int = 5) -> pd.DataFrame:
    """Return a table of any kinds of columns; names are mostly usable, and sometimes
    not.
    """
    rows = draw(st.integers(least, most))
    usable = sorted(set(columns) - set(REFUSED))
    kinds = usable if draw(st.integers(0, 3)) else sorted(columns)
    column_kinds = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=widest))
    series = [columns[name](draw, rows) for name in column_kinds]
    if draw(st.integers(0, 4)) == 0:
        series.append(series[0].copy())  # identical columns
    index = draw(st.sampled_from(["range", "reversed", "text", "repeated"]))
    table = pd.concat(
        [pd.Series(column_series).reset_index(drop=True) for column_series in series],
        axis=1,
    )
    count = len(series)
    named = draw(st.integers(0, 9))
    if named < 5:
        table.columns = pd.Index([f"c{number}" for number in range(count)])
    elif named < 9:
        texts = st.sampled_from(TEXTS) | st.text(max_size=12)
        table.columns = pd.Index(
            draw(st.lists(texts, min_size=count, max_size=count, unique=True)),
            dtype=object,
        )
    else:
        table.columns = pd.Index(
            draw(st.lists(names, min_size=count, max_size=count)), tupleize_cols=False
        )
    if index == "reversed":
        table.index = pd.RangeIndex(rows)[::-1]
    elif index == "text":
        table.index = pd.Index([f"row {number}" for number in range(rows)])
    elif index == "repeated":
        table.index = pd.Index([0] * rows)
    return table


@st.composite
def tables_of(draw: Draw, kind: str, rows: int) -> pd.DataFrame:
    """Return a table with one column of a kind, beside a plain one."""
    return pd.DataFrame(
        {
            "own": pd.Series(columns[kind](draw, rows)).reset_index(drop=True),
            "plain": np.arange(rows),
        }
    )


# ---- targets -------------------------------------------------------------------------

targets: dict[str, Maker] = {}


def target(maker: Maker) -> Maker:
    """Enrol a kind of target under its function's name."""
    targets[maker.__name__] = maker
    return maker


@target
def two_classes(draw: Draw, rows: int) -> Any:
    return np.array(_rows(draw, rows, st.sampled_from(["no", "yes"])), dtype=object)


@target
def one_class(draw: Draw, rows: int) -> Any:
    return [draw(st.sampled_from(["only", 1, 0.0, True]))] * rows


@target
def all_different(draw: Draw, rows: int) -> Any:
    return draw(
        st.sampled_from(
            [
                list(range(rows)),
                [f"label {number}" for number in range(rows)],
                np.linspace(0, 1, rows),
            ]
        )
    )


@target
def lonely_class(draw: Draw, rows: int) -> Any:
    return np.array(["rare", *["often"] * (rows - 1)], dtype=object)


@target
def float_classes(draw: Draw, rows: int) -> Any:
    return np.array(_rows(draw, rows, st.sampled_from([0.0, 1.0, 2.0, -0.0, 0.5])))


@target
def boolean_classes(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.booleans()))


@target
def nullable_classes(draw: Draw, rows: int) -> Any:
    return pd.Series(_rows(draw, rows, st.none() | st.integers(0, 2)), dtype="Int64")


@target
def missing_classes(draw: Draw, rows: int) -> Any:
    return _rows(draw, rows, st.sampled_from(["a", "b", None, np.nan]))


@target
def unused_categories(draw: Draw, rows: int) -> Any:
    return pd.Series(
        pd.Categorical(
            _rows(draw, rows, st.sampled_from("ab")), categories=list("zab<")
        )
    )


@target
def hostile_labels(draw: Draw, rows: int) -> Any:
    return np.array(_rows(draw, rows, st.sampled_from(TEXTS)), dtype=object)


@target
def mixed_labels(draw: Draw, rows: int) -> Any:
    return _rows(draw, rows, st.sampled_from([1, "1", True, 1.5, (1, 2), None]))


@target
def real_numbers(draw: Draw, rows: int) -> Any:
    return _noise(draw, rows) * draw(st.sampled_from([1.0, 1e-20, 1e20, 1e300])) + draw(
        st.sampled_from([0.0, 1e6, -1e12])
    )


@target
def numbers_with_gaps(draw: Draw, rows: int) -> Any:
    return np.where(_noise(draw, rows) > 0, np.nan, 1.0) * _noise(draw, rows)


@target
def infinite_numbers(draw: Draw, rows: int) -> Any:
    return np.array(_rows(draw, rows, st.sampled_from([np.inf, -np.inf, 0.0, 1.0])))


@target
def numbers_in_text(draw: Draw, rows: int) -> Any:
    return _rows(draw, rows, st.sampled_from(["1.5", "2", "-3", "x"]))


@target
def complex_targets(draw: Draw, rows: int) -> Any:
    return _noise(draw, rows) + 1j


@target
def dates_as_targets(draw: Draw, rows: int) -> Any:
    return pd.Series(pd.date_range("2020-01-01", periods=rows))


@target
def two_columns(draw: Draw, rows: int) -> Any:
    return np.stack([_noise(draw, rows), _noise(draw, rows)], axis=1)


@target
def one_column(draw: Draw, rows: int) -> Any:
    return _noise(draw, rows)[:, None]


@target
def too_short(draw: Draw, rows: int) -> Any:
    return _noise(draw, rows)[: rows // 2]


NUMBERS_ASKED = (
    "real_numbers", "numbers_with_gaps", "infinite_numbers", "numbers_in_text", "complex_targets", "dates_as_targets",
    "two_columns", "one_column", "too_short",
)  # fmt: skip


@dataclasses.dataclass
class Problem:
    """A table with a target, the target's kind, and the task that is asked for."""

    table: pd.DataFrame
    y: Any
    target: str
    task: str


@st.composite
def problems(draw: Draw, least: int = 1, most: int = 40) -> Problem:
    """Return a table with a target for training; the task mostly suits the target."""
    table = draw(frames(least, most))
    name = draw(st.sampled_from(sorted(targets)))
    suits = "regression" if name in NUMBERS_ASKED else "classification"
    task = draw(st.sampled_from([suits, suits, suits, "classification", "regression"]))
    return Problem(table, targets[name](draw, len(table)), name, task)
