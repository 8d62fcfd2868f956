"""What a column is taken for."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from permgrad import InputError
from permgrad.data.kinds.column import Schema
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.dates import find_date_format
from permgrad.data.types.column_types import (
    infer_schema,
    read_numbers,
    several_ways,
    with_categories,
)
from permgrad.data.types.findings import findings_of
from permgrad.data.types.identifiers import maybe_missing
from permgrad.evaluation.levels import cells_of


def kind_of(values, name="a", **options):
    return infer_schema(pd.DataFrame({name: values}), **options)[name].kind


NUMBERS = np.arange(40) % 7


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NUMBERS, "numeric"),
        (NUMBERS.astype(np.uint8), "numeric"),
        (NUMBERS * 0.5, "numeric"),
        (NUMBERS.astype(str), "numeric"),
        ([decimal.Decimal("1.5"), decimal.Decimal(2), None, 7], "numeric"),
        (pd.array([1, 2, None, 5], dtype="Int64"), "numeric"),
        (pd.array([1.5, 2, None, 5], dtype="Float32"), "numeric"),
        (pd.to_timedelta(NUMBERS, unit="h"), "numeric"),
        ([1, 2] * 20, "numeric"),
        ([0, 1] * 20, "boolean"),
        ([0.0, 1.0, np.nan, 1.0], "boolean"),
        ([True, False, True], "boolean"),
        ([True, None, False], "boolean"),
        (pd.array([True, None, False], dtype="boolean"), "boolean"),
        (["yes", "no", "no"], "boolean"),
        (["True", "FALSE"], "boolean"),
        (["a", "b", "a"], "categorical"),
        (pd.Categorical(["a", "b", "a"]), "categorical"),
        (pd.array(["a", "b", None], dtype="string"), "categorical"),
        (["a", 1, 2.5, None], "categorical"),
        ([5, 5, 5], "constant"),
        (["x", "x"], "constant"),
        ([None, None], "constant"),
        ([np.nan, np.nan], "constant"),
        (pd.Categorical(["a", "a"], categories=["a", "b"]), "constant"),
        ([1.0, np.nan, 1.0], "numeric"),
        (pd.date_range("2020-01-01", periods=40), "date"),
        (pd.date_range("2020-01-01", periods=40, tz="Europe/Berlin"), "date"),
        (pd.period_range("2020-01", periods=40, freq="M"), "date"),
        ([dt.date(2020, 1, 1), dt.date(2021, 1, 1)], "date"),
        (pd.date_range("2020-01-01", periods=40).strftime("%Y-%m-%d"), "date"),
        (pd.date_range("2020-01-01", periods=40).strftime("%d.%m.%Y"), "date"),
        (pd.date_range("2020-01-01", periods=40).strftime("%m/%d/%Y"), "date"),
        (pd.date_range("2020-01-01", periods=40).strftime("%d/%m/%Y"), "date"),
        (
            pd.date_range("2020-01-01", periods=40, freq="h").strftime(
                "%Y-%m-%d %H:%M:%S"
            ),
            "date",
        ),
        ([f"name {i}" for i in range(40)], "identifier"),
    ],
)
def test_kinds(values, kind):
    assert kind_of(values) == kind


def test_identifiers_need_name_or_order():
    running = np.arange(100, 150)
    assert kind_of(running, "patient_id") == "identifier"
    assert kind_of(running, "PatientId") == "identifier"
    assert kind_of(running, "index") == "identifier"
    assert kind_of(running, "age") == "numeric"
    assert kind_of(2 * running, "humid") == "numeric"
    assert kind_of(2 * running, "kundennr") == "identifier"
    assert kind_of(running.astype(float), "id") == "numeric"
    assert kind_of(np.random.default_rng(0).permutation(running), "id") == "identifier"
    assert kind_of(np.random.default_rng(0).permutation(running), "weight") == "numeric"
    assert kind_of(running[:5], "id") == "numeric"


def test_whole_numbers_that_count_the_rows_are_identifiers_whatever_their_name():
    rows = np.arange(60)
    assert kind_of(rows + 1, "a") == kind_of(rows + 700, "humid") == "identifier"
    assert kind_of([str(number) for number in rows + 1], "a") == "identifier"
    assert kind_of(rows[:29], "a") == "numeric"
    drawn = pd.DataFrame({"a": rows + 5}).sample(frac=0.6, random_state=0)
    assert not drawn["a"].is_monotonic_increasing
    assert infer_schema(drawn)["a"].kind == "identifier", (
        "drawn rows keep their numbers"
    )
    assert infer_schema(drawn.reset_index(drop=True))["a"].kind == "numeric"
    assert infer_schema(drawn, kinds={"a": "numeric"})["a"].kind == "numeric"
    drawn.loc[drawn.index[0], "a"] += 1000
    assert infer_schema(drawn)["a"].kind == "numeric"
    for name in ("year", "day", "time", "t", "age", "week_of_year"):
        assert kind_of(rows + 1, name) == "numeric"
    assert kind_of(rows + 1960, "a") == "numeric", "years by their values"
    assert kind_of(rows + 1960, "case_no") == "identifier"
    assert kind_of(rows.astype(float), "a") == "numeric"


@pytest.mark.parametrize("whole", ["Int64", "float64", "object"])
def test_cells_that_are_missing_do_not_hide_an_identifier(whole):
    rows = np.arange(60)
    gaps = np.array([3, 17, 18])

    def kind(values, name):
        column = pd.Series(values, dtype="Int64")
        column[gaps] = pd.NA
        column = column.astype(float) if whole == "float64" else column.astype(whole)
        assert column.isna().sum() == 3
        return kind_of(column, name)

    assert kind(2 * rows + 7, "patient_id") == "identifier"
    assert kind(rows + 7, "a") == "identifier"
    assert (
        kind(2 * rows + 7, "a")
        == kind(rows + 7, "age")
        == kind(rows // 2, "patient_id")
        == "numeric"
    )
    assert kind_of(np.where(rows == 3, np.nan, rows + 0.5), "patient_id") == "numeric"
    assert kind_of(np.where(rows < 41, np.nan, rows), "patient_id") == "numeric", (
        "too few to tell"
    )


def said_of(schema, but_for=(), **text_options):
    return [finding.text(**text_options) for finding in findings_of(schema, but_for)]


def test_whole_numbers_in_no_order_are_identifiers_by_their_name():
    frame = pd.DataFrame(
        {
            "rand_id": np.random.default_rng(0).permutation(60),
            "size": np.arange(60) ** 2 % 61,
        }
    )
    schema = infer_schema(frame.assign(case=np.arange(60)))
    assert [column.kind for column in schema] == ["identifier", "numeric", "identifier"]
    assert said_of(schema) == [
        (
            "Columns that look like identifiers are left out: rand_id, case. To use "
            "one, pass kinds={'rand_id': 'numeric'}."
        )
    ]
    assert said_of(schema, command=True) == [
        (
            "Columns that look like identifiers are left out: rand_id, case. To use "
            "one, pass --kind rand_id=numeric or, "
            "to keep them in the predictions, --id rand_id"
        )
    ]
    assert said_of(infer_schema(frame, kinds={"rand_id": "identifier"})) == []
    assert said_of(infer_schema(frame, kinds={"rand_id": "numeric"})) == []


NUMBERS_WRITTEN = [f"{i},{i % 7}5" for i in range(240)]
DAYS_WRITTEN = [f"{i % 28 + 1:02}.{i % 12 + 1:02}.{1990 + i // 12}" for i in range(240)]


@pytest.mark.parametrize(
    ("cells", "odd", "what", "first"),
    [
        (
            NUMBERS_WRITTEN,
            {17: "17.35", **{i: f"{i}.5" for i in range(40, 46)}},
            "numbers",
            "17.35",
        ),
        (
            NUMBERS_WRITTEN,
            {17: "(17,35)", **{i: f"about {i}" for i in range(40, 46)}},
            "numbers",
            "(17,35)",
        ),
        (
            NUMBERS_WRITTEN,
            {i: f"unknown {i}" for i in range(20)},
            "numbers",
            "unknown 0",
        ),
        (
            DAYS_WRITTEN,
            {
                17: "2001-05-03",
                40: "05/31/2002",
                **{i: f"in {i} days" for i in range(60, 65)},
            },
            "dates",
            "2001-05-03",
        ),
    ],
)
def test_numbers_and_dates_written_in_several_ways_are_told(cells, odd, what, first):
    cells = [odd.get(i, cell) for i, cell in enumerate(cells)]
    frame = pd.DataFrame({"a": cells, "b": cells[:120] * 2})
    schema = infer_schema(frame)
    message_part = (
        f"looks like {what} written in several ways, first odd cell {first!r}"
    )
    # Numbers with decimal commas are told as those with decimal points are.
    kind = {"numbers": "categorical", "dates": "identifier"}[what]
    assert (schema["a"].kind, schema["b"].kind) == (kind, "categorical")
    share = {7: 97, 20: 92}.get(len(odd))
    counted = {
        "numbers": f"text; {share}% are numbers, {first!r} is not (if it means "
        "missing, declare it as a code)"
    }
    assert (
        schema["a"].reason
        == f"{counted.get(what, 'text, 240 different values in 240 rows')}; "
        f"{message_part}"
    )
    assert message_part in schema["b"].reason
    fate = {
        "categorical": "read as categories",
        "identifier": "left out like an identifier",
    }[kind]
    (message_part,) = [text for text in said_of(schema, {"b"}) if "looks like" in text]
    assert re.match(rf"Column 'a' looks like .* {fate}. Write all its", message_part)
    assert sum("looks like" in text for text in said_of(schema)) == 2


@pytest.mark.parametrize(
    ("cells", "odd", "what"),
    [
        (NUMBERS_WRITTEN, "17.35", "numbers"),
        ([str(number % 90 + 9) for number in range(240)], "ninety", "numbers"),
        ([str(number % 5) for number in range(240)], "5 or more", "numbers"),
        (DAYS_WRITTEN, "in May", "dates"),
        ([f"{i % 24}:{i % 60:02}" for i in range(240)], "7.45", "times"),
        ([f"${i},{i % 1000:03}.00" for i in range(1, 241)], "$ 8o", "numbers"),
        ([f"{i % 77 + 9} kg" for i in range(240)], "9 stone?", "numbers"),
    ],
)
def test_a_few_odd_cells_are_missing_and_told(cells, odd, what):
    """Of 240, four may be odd, and what the column is, is what the others are."""
    others = infer_schema(pd.DataFrame({"a": cells}))["a"]
    assert others.kind in ("numeric", "date")
    frame = pd.DataFrame({"a": [*cells[:236], *[odd] * 4]})
    column = infer_schema(frame)["a"]
    same = ("kind", "storage", "unit", "decimal", "date_format")
    assert [getattr(column, name) for name in same] == [
        getattr(others, name) for name in same
    ]
    assert (column.n_missing, column.facts["unread"]) == (4, [odd])
    values, _ = read_numbers(frame["a"], column, MissingCodes())
    np.testing.assert_array_equal(np.isnan(values), frame["a"] == odd)
    (said,) = [text for text in said_of(Schema((column,))) if "missing" in text]
    assert said == (
        f"Column 'a' holds {what}, and 4 cells that are none count as missing: "
        f"{odd!r}. To read it as categories, pass kinds={{'a': 'categorical'}}."
    )
    declared = infer_schema(frame, kinds={"a": "categorical"})["a"]
    assert (declared.storage, declared.n_missing, declared.facts) == ("text", 0, {})
    more = infer_schema(pd.DataFrame({"a": [*cells[:235], *[odd] * 5]}))["a"]
    assert "unread" not in more.facts


def test_an_odd_cell_among_names_of_things_is_one_of_them():
    zones = [f"{number % 20:04d}" for number in range(240)]
    schema = infer_schema(pd.DataFrame({"zone": ["K1A", *zones[1:]], "x": zones}))
    assert (schema["zone"].kind, schema["zone"].storage) == ("categorical", "text")
    assert schema["zone"].flags == schema["x"].flags
    assert (schema["zone"].n_levels, schema["zone"].n_missing) == (21, 0)


def test_amounts_with_an_odd_cell_are_told_and_codes_are_not():
    amounts = [f"{20 + i % 60} kg" if i % 30 else "-" for i in range(240)]
    codes = [f"{20 + i % 60}{'abcdefgh'[i % 8]}{'xyz'[i % 3]}" for i in range(240)]
    schema = infer_schema(pd.DataFrame({"amount": amounts, "code": codes}))
    assert (
        "looks like numbers written in several ways, first odd cell '-'"
        in schema["amount"].reason
    )
    (message,), (python,) = said_of(schema, command=True), said_of(schema)
    assert message.endswith(
        "but for '-', and is read as categories. If it means missing, pass --na "
        "amount=-"
    )
    assert python.endswith(
        "but for '-', and is read as categories. If it means missing, pass "
        "na=[{'amount': ['-']}]."
    )
    assert schema["code"].reason == "text"


def test_dates_whose_day_and_month_could_be_swapped_are_told():
    days = [f"{1 + row % 12:02d}/{1 + row % 9:02d}/2020" for row in range(60)]
    schema = infer_schema(pd.DataFrame({"a": days, "b": [*days[:59], "25/03/2020"]}))
    assert (schema["a"].kind, schema["a"].date_format) == ("date", "%m/%d/%Y")
    assert (schema["b"].kind, schema["b"].date_format) == ("date", "%d/%m/%Y")
    (message,) = said_of(schema)
    assert message == (
        "Column 'a' is read as %m/%d/%Y, but day and month could be swapped in all its "
        "cells. If that is wrong, write them as 2024-01-31."
    )
    assert said_of(schema, {"a"}) == []


def test_text_that_is_neither_number_nor_date_is_no_matter_of_spelling():
    codes = [f"{i:08x}-aaaa" for i in range(0, 240_000, 1000)]
    for cells in (
        codes,
        [f"name {i}" for i in range(240)],
        [f"{i}-{i % 9}" for i in range(240)],
    ):
        assert several_ways(cells) is None
    mostly = [f"{i},5" if i % 4 else f"name {i}" for i in range(240)]
    assert several_ways(mostly) is None, "three quarters are not enough"
    assert several_ways([f"{i},5 €" for i in range(240)]) == {
        "what": "numbers", "how": "with other signs, such as", "example": "0,5 €"
    }  # fmt: skip


def test_texts_of_one_number_are_as_many_declared_categories():
    frame = pd.DataFrame(
        {
            "a": ["007", "7", "07", "8"] * 5,
            "b": ["7", "07"] * 10,
            "c": ["0", "00", "1", "?"] * 5,
        }
    )
    schema = infer_schema(frame, kinds=dict.fromkeys("abc", "categorical"), na="?")
    assert [(column.kind, column.n_levels) for column in schema] == [
        ("categorical", 4),
        ("categorical", 2),
        ("categorical", 3),
    ]
    assert infer_schema(frame)["a"].n_levels == 2, (
        "numbers, where nobody says otherwise"
    )


def test_declared_codes_are_drawn_as_levels_in_their_order():
    frame = pd.DataFrame(
        {"a": ["10", "007", "7", "2"] * 5, "b": ["x", "1", "2", "3"] * 5}
    )
    schema = infer_schema(frame, kinds=dict.fromkeys("ab", "categorical"))
    drawn = with_categories(frame, schema)
    assert drawn["a"].cat.categories.tolist() == ["2", "007", "7", "10"]
    assert drawn["b"].dtype == frame["b"].dtype
    drawn_levels = cells_of(drawn["a"], "a")
    assert (drawn_levels.kind, drawn_levels.names) == (
        "levels",
        ["10", "007", "7", "2"],
    )


def test_declared_kinds_win():
    assert kind_of(NUMBERS, kinds={"a": "categorical"}) == "categorical"
    assert kind_of(["a", "b"], kinds={"a": "identifier"}) == "identifier"
    assert kind_of([1, 2, 1], kinds={"a": "boolean"}) == "boolean"
    with pytest.raises(
        InputError,
        match=(
            r"Column 'a' is declared numeric but is categorical \(text\). Declare it "
            r"categorical, or declare "
            "the texts that mean missing as codes"
        ),
    ):
        kind_of(["a", "b", "c"], kinds={"a": "numeric"})
    with pytest.raises(
        InputError, match="Column 'a' is declared boolean but holds 3 values"
    ):
        kind_of(["a", "b", "c"], kinds={"a": "boolean"})
    with pytest.raises(
        InputError,
        match=r"Column 'a' is declared date but has 'a'\. Write all dates in one way, "
        r"like 2024-01-31, or declare",
    ):
        kind_of(["a", "b", "c"], kinds={"a": "date"})
    with pytest.raises(InputError, match=r"Did you mean 'categorical'\?"):
        kind_of(["a", "b", "c"], kinds={"a": "categorial"})
    with pytest.raises(
        InputError, match=r"column in kinds must be one of 'a', got 'b'"
    ):
        kind_of(["a", "b", "c"], kinds={"b": "date"})
    with pytest.raises(InputError, match=r"column in na must be one of 'a', got 'b'"):
        kind_of(["a", "b", "c"], na={"b": -9})


def test_a_declared_boolean_with_one_value_is_what_it_would_be_undeclared():
    columns = (
        [0, 0, 0],
        [1.0, 1.0, None],
        ["no", "no"],
        ["no", None],
        [True, True],
        ["1", "1.0"],
        ["0", "0"],
    )
    for cells in columns:
        frame = pd.DataFrame({"a": pd.Series(cells)})
        undeclared = infer_schema(frame)["a"]
        assert undeclared.n_levels == 1
        assert infer_schema(frame, kinds={"a": "boolean"})["a"] == undeclared
    assert kind_of(["no", "no"], kinds={"a": "boolean"}) == "constant"
    assert kind_of(["no", "yes"], kinds={"a": "boolean"}) == "boolean"


def test_running_numbers_are_whole_and_differ_where_they_are_there():
    running = np.arange(20.0)
    assert kind_of(np.append(running, np.nan), "id") == "identifier"
    for spoiled in (running / 2, np.append(running, 3.0), running[1:]):
        assert kind_of(np.append(spoiled, np.nan), "id") == "numeric"


@pytest.mark.parametrize(
    ("values", "kind", "storage"),
    [
        (pd.date_range("2020-01-01", periods=40), "date", "date"),
        (
            pd.Categorical(["2020-01-01", "2021-02-01", "2022-03-01"] * 9),
            "date",
            "date",
        ),
        (["yes", "no", "no"], "boolean", "pair"),
        (pd.Categorical(["9", "10", "9"]), "boolean", "pair"),
    ],
)
def test_declared_dates_and_pairs_are_read_as_such(values, kind, storage):
    declared_column = infer_schema(pd.DataFrame({"a": values}), kinds={"a": kind})["a"]
    assert (declared_column.kind, declared_column.storage) == (kind, storage)
    if storage == "pair":
        assert (declared_column.true_level, declared_column.false_level) in (
            ("yes", "no"),
            ("10", "9"),
        )


@pytest.mark.parametrize("kind", ["date32", "date64"])
def test_days_of_arrow_are_dates(kind):
    days = [dt.date(2020, 1, 1), None, dt.date(2021, 5, 1), dt.date(1969, 12, 31)] * 10
    column = pd.Series(pd.array(days, dtype=pd.ArrowDtype(getattr(pa, kind)())))
    schema = infer_schema(column.to_frame("day"))
    assert (schema["day"].kind, schema["day"].n_levels, schema["day"].n_missing) == (
        "date",
        3,
        10,
    )
    expected = [
        (day - dt.date(1970, 1, 1)).days * 86400 if day else None for day in days[:4]
    ]
    values, _ = read_numbers(column, schema["day"], MissingCodes())
    assert [None if np.isnan(value) else value for value in values[:4]] == expected


def test_texts_that_look_like_dates_and_are_none():
    values = [f"2020-{month}-{day}" for month in range(13, 19) for day in range(32, 38)]
    assert find_date_format(values) is None
    assert kind_of(values) != "date"


def test_bytes_are_text():
    bytes_column = infer_schema(
        pd.DataFrame({"a": [b"red", b"green", b"red", b"\xff"]})
    )["a"]
    assert (bytes_column.kind, bytes_column.n_levels) == ("categorical", 3)


def test_a_code_is_a_number_however_it_is_written():
    codes = ["1.5", "-9.0", "red", "2", "-9.0"]
    assert infer_schema(pd.DataFrame({"a": codes}), na="-9")["a"].n_missing == 2
    assert infer_schema(pd.DataFrame({"a": codes}), na="-8")["a"].n_missing == 0


def test_codes_are_missing_not_values():
    schema = infer_schema(
        pd.DataFrame({"n": [-9, 0, 1, 1], "t": ["-9", "a", "b", None]}), na=[-9]
    )
    assert schema["n"].kind == "boolean"
    assert [column.n_missing for column in schema] == [1, 2]
    assert schema["t"].n_levels == 2
    # A text that spoils a column of numbers is named.
    spoiled = infer_schema(pd.DataFrame({"n": ["1", "2", "?", "4"]}))["n"]
    assert spoiled.kind == "categorical"
    assert "'?' is not (if it means missing, declare it as a code)" in spoiled.reason
    assert kind_of(["1", "2", "?", "4"], na="?") == "numeric"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [1.0, np.inf, -np.inf],
            (
                "Column 'a' holds 2 infinite values (inf), the first in row 1. Replace "
                "inf by NaN (missing) or by a large number, or declare it as a code "
                "for missing: --na=inf,-inf, or na=['inf', '-inf'] in Python."
            ),
        ),
        (
            ["1", "inf", "3"],
            (
                "Column 'a' holds 1 infinite value (inf) in row 1. Replace inf by NaN "
                "(missing) or by a large number, or declare it as a code for missing: "
                "--na=inf, or na=['inf'] in Python."
            ),
        ),
        (
            [1 + 1j, 2],
            (
                "Complex data not supported: column 'a' is complex. Split it into its "
                "real and imaginary part."
            ),
        ),
        (
            [{"b": 1}, {"b": 2}],
            (
                "Cells must be numbers, text, booleans or dates, but column 'a' holds "
                "a dict. Turn it into separate columns or drop the column."
            ),
        ),
        (
            [(1, 2), (3, 4)],
            (
                "Cells must be numbers, text, booleans or dates, but column 'a' holds "
                "a tuple. Turn it into separate columns or drop the column."
            ),
        ),
    ],
)
def test_impossible_cells_are_refused(values, message):
    with pytest.raises(InputError) as caught:
        infer_schema(pd.DataFrame({"a": values}))
    assert caught.value.message == message


def test_schema_is_shown_and_stored():
    frame = pd.DataFrame({"age": [1.0, None, 3.0], "town": ["a", "b", "a"]})
    schema = infer_schema(frame)
    assert Schema.from_dict(asdict(schema)) == schema
    assert [column.n_missing for column in schema] == [1, 0]
    assert schema.to_text().splitlines()[1].split() == [
        "age",
        "numeric",
        "2",
        "1",
        "(33.3%)",
        "numbers",
    ]
    assert schema.of_kind("categorical") == ["town"]
    with pytest.raises(InputError, match="Did you mean 'town'"):
        schema["twon"]


def test_input_is_unchanged():
    frame = pd.DataFrame({"a": pd.Series(["1", "?", "3"]), 7: [1, -9, 3]})
    before = frame.copy(deep=True)
    infer_schema(frame, na=["?", -9])
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("cells", "codes"),
    [
        ([0, 1, 4, 2, 88, 99], [88, 99]),
        ([31.5, 40.25, 12.0, -999.25], [-999.25]),
        ([3, 5, 9, -32768], [-32768]),
        ([20.5, 31.0, 25.5, 9999.99], [9999.99]),
        ([3, 8, 5, 2147483647], [2147483647]),
        ([20.5, 31.0, 25.5, -99.9], [-99.9]),
        ([77, 78, 85, 88, 91], []),
        ([60.5, 75.0, 99.99, 98.0, 88.0], []),
    ],
)
def test_codes_for_missing_of_surveys_and_devices(cells, codes):
    assert maybe_missing(np.array(cells, dtype=float)) == codes


# ---- a type that the user gave -------------------------------------------------------
NAMED = np.random.default_rng(0).integers(1, 60, 500)


@pytest.mark.parametrize(
    "cells",
    [
        NAMED,
        NAMED / 2,
        NAMED.astype(str),
        [f"{number % 24:02d}:30" for number in NAMED],
        np.arange(500),
        pd.to_timedelta(NAMED, "h"),
    ],
    ids=["whole", "halves", "text", "times", "all different", "durations"],
)
@pytest.mark.parametrize("gap", [False, True])
def test_a_categorical_type_decides(cells, gap):
    series = pd.Series(cells)
    series = series.mask(np.arange(500) % 11 == 0) if gap else series
    assert kind_of(series) != "categorical"
    column_schema = infer_schema(pd.DataFrame({"cell": series.astype("category")}))[
        "cell"
    ]
    assert (column_schema.kind, column_schema.storage, column_schema.n_levels) == (
        "categorical",
        "text",
        series.nunique(),
    )
    # So it does for amounts in an order that is not theirs.
    levels = list(series.dropna().unique())
    order = pd.CategoricalDtype(levels[1::2] + levels[::2], ordered=True)
    assert kind_of(series.astype(order)) == "categorical"


def test_a_categorical_type_leaves_dates_pairs_and_ordered_numbers():
    dates = pd.Series(pd.to_datetime("2020-01-01") + pd.to_timedelta(NAMED, "D"))
    assert (
        kind_of(dates.astype("category"))
        == kind_of(dates.dt.strftime("%Y%m%d").astype("category"))
        == "date"
    )
    assert kind_of(pd.Series(NAMED % 2).astype("category")) == "boolean"
    assert kind_of(pd.Series(np.ones(500)).astype("category")) == "constant"
    ordered = infer_schema(
        pd.DataFrame({"cell": pd.Categorical(NAMED % 5, ordered=True)})
    )["cell"]
    assert (ordered.kind, ordered.reason) == ("numeric", "numbers of an ordered type")


def test_declared_kinds_win_over_a_categorical_type():
    frame = pd.DataFrame({"cell": pd.Series(NAMED).astype("category"), "other": NAMED})
    for kind, expected in (("numeric", "number"), ("categorical", "text")):
        declared_column = infer_schema(frame, kinds={"cell": kind})["cell"]
        assert (
            declared_column.kind,
            declared_column.storage,
            declared_column.reason,
        ) == (kind, expected, "declared")


def test_whole_numbers_stored_as_text_are_told_and_leading_zeros_are_names():
    frame = pd.DataFrame(
        {"part": NAMED.astype(str), "zone": [f"{number:04d}" for number in NAMED]}
    )
    schema = infer_schema(frame)
    assert schema["part"].kind == "numeric"
    assert (schema["zone"].kind, schema["zone"].n_levels) == (
        "categorical",
        len(np.unique(NAMED)),
    )
    warning_pattern = (
        r"stored as text are read as amounts: part\. .*pass "
        r"kinds=\{'part': 'categorical'\}"
    )
    names, texts = said_of(schema)
    assert re.search(warning_pattern, texts)
    assert re.search(r"names of things, .*: zone", names)
    # Halves, pairs and amounts that hardly repeat are numbers without a word.
    for cells in (
        NAMED / 2,
        NAMED % 2 + 1,
        np.random.default_rng(1).permutation(500) ** 2,
    ):
        assert infer_schema(pd.DataFrame({"a": pd.Series(cells).astype(str)}))[
            "a"
        ].flags != ("whole_texts",)


@pytest.mark.parametrize(
    ("cells", "is_said"),
    [(["71 kg", "80 kg", "93 kg"], True), (["71 kg", "80 lb", "93 kg"], False)],
)
def test_few_numbers_with_one_unit_are_noted_too(cells, is_said):
    column = infer_schema(pd.DataFrame({"weight": cells * 10}))["weight"]
    assert column.kind == "categorical"
    assert (
        "looks like numbers with other signs, such as '71 kg'" in column.reason
    ) == is_said
