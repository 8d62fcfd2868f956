"""Columns as other programs write them: without a name or with one twice, with units,
with texts that mean missing.
"""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad.base.errors import InputError, PermgradWarning
from permgrad.data.read.cells import CellError, MissingCodes
from permgrad.data.read.csv_table import numbered, parse_csv
from permgrad.data.read.reading import MISSING_ANYWAY, Reading, Written
from permgrad.data.read.table import read_table, read_written
from permgrad.data.read.written_numbers import unit_said
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import findings_of


def read(tmp_path, content, **options):
    file = tmp_path / "t.csv"
    file.write_text(content, encoding="utf-8", newline="")
    if "codes" in options:
        options["codes"] = MissingCodes.of(options["codes"])
    return read_written(file, Reading(**options))


# ---- names ---------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["x", "x.1", "x.2", "y", "y.1"]), min_size=1, max_size=8)
)
def test_names_that_occur_again_are_numbered_as_pandas_does(names):
    twin = pd.read_csv(
        io.StringIO(",".join(names) + "\n" + ",".join("1" for _ in names))
    ).columns.tolist()
    assert numbered(names) == twin
    assert len(set(twin)) == len(names)


def test_a_header_that_occurs_twice_is_numbered_and_told(tmp_path):
    content = "kg,m,kg,y,kg\n1,2,3,a,5\n2,3,4,b,6\n"
    written = read(tmp_path, content)
    assert written.frame.to_dict("list") == {
        "kg": [1, 2],
        "m": [2, 3],
        "kg.1": [3, 4],
        "y": ["a", "b"],
        "kg.2": [5, 6],
    }
    assert written.notes == (
        "columns of the same name are numbered: 'kg' (the second 'kg' is called 'kg.1')",
    )
    with pytest.warns(PermgradWarning, match="columns of the same name are numbered"):
        assert "kg.2" in read_table(tmp_path / "t.csv")
    with pytest.raises(
        InputError, match=r"^Column 'kg' is in the header of .*t\.csv' 3 times, so"
    ):
        read(tmp_path, content, classes=["kg"])
    assert read(tmp_path, content, classes=["m"]).frame.shape == (2, 5)


TABLE = pd.DataFrame({"weight": [71.5, 64, 80.25, 55, 91], "town": list("abcab")})


@pytest.mark.parametrize(
    "index",
    [
        range(5),
        range(1, 6),
        range(4000, 4005),
        [17, 3, 88, 40, 2],
        [1990, 17, 3, 5000, 2],
    ],
    ids=str,
)
def test_row_numbers_that_pandas_writes_are_left_out(tmp_path, index):
    written = read(tmp_path, TABLE.set_axis(pd.Index(index)).to_csv())
    assert written.frame.columns.tolist() == ["weight", "town"]
    assert written.notes == (
        "left out, because it has no name and only numbers the rows: column 1",
    )
    assert written.lines.lines is not None
    assert written.lines.lines.tolist() == [2, 3, 4, 5, 6]
    reading = read(
        tmp_path, TABLE.set_axis(pd.Index(index)).to_csv(), named=["column 1"]
    )
    assert reading.frame["column 1"].tolist() == list(index)


@pytest.mark.parametrize(
    "cells",
    [
        [0, 1, 0, 1, 2],
        [1990, 1991, 1992, 1993, 1994],
        [0.5, 1, 2, 3, 4],
        list("abcde"),
        [-2, -1, 0, 1, 2],
    ],
    ids=str,
)
def test_another_column_without_a_name_is_called_by_its_place(tmp_path, cells):
    written = read(tmp_path, TABLE.set_axis(pd.Index(cells)).to_csv())
    assert written.frame["column 1"].tolist() == cells
    assert written.notes == (
        "columns without a name are called by their place: column 1",
    )


def test_a_column_without_a_name_further_back(tmp_path):
    numbers = read(tmp_path, "a,,b\n7,30,x\n8,12,y\n9,25,z\n")
    assert numbers.frame["column 2"].tolist() == [30, 12, 25], (
        "different, but not one by one"
    )
    counted = read(tmp_path, "a,,b\n7,1,x\n8,2,y\n9,3,z\n")
    assert counted.frame.columns.tolist() == ["a", "b"]
    empty = read(tmp_path, "a,b,,c,d\n7,1,,x,1\n8,2,,y,2\n")
    assert empty.frame.columns.tolist() == ["a", "b", "c", "d"]
    assert empty.notes == ("left out, because it has no name and no values: column 3",)


@pytest.mark.parametrize("padding", [",", ",,", ",,,,"])
def test_lines_that_end_with_delimiters_have_empty_columns(tmp_path, padding):
    padded = read(tmp_path, f"a,b{padding}\n7,x{padding}\n8,y{padding}\n")
    assert padded.frame.to_dict("list") == {"a": [7, 8], "b": ["x", "y"]}
    assert "no values: column 3" in padded.notes[0]


# ---- lines ---------------------------------------------------------------------------

CELL = st.text(alphabet='ab"\n,;é ', max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8),
    st.sets(st.integers(0, 7)),
    st.booleans(),
)
def test_each_row_begins_in_the_line_that_is_named(rows, blank_before, separator):
    """A slow twin: each row is written alone, and its line ends are counted as an
    editor shows them.
    """
    text = "sep=,\na,b\n" if separator else "a,b\n"
    expected = []
    for row_index, row in enumerate(rows):
        text += "\n" * (row_index in blank_before)
        expected.append(text.count("\n") + 1)
        stream = io.StringIO()
        csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(
            ["1", *row][:2]
        )
        text += stream.getvalue()
    read = parse_csv(text, Path("x.csv"), Reading())
    assert read.rows == len(rows)
    assert read.lines is not None
    assert read.lines.tolist() == expected


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_cell_that_cannot_be_read_is_named_by_its_line(tmp_path, ends):
    lines = ["a,b", "1,x", "", '2,"two', 'lines"', "3,y", "4,z"]
    written = read(tmp_path, ends.join(lines) + ends)
    assert written.frame["a"].tolist() == [1, 2, 3, 4]
    assert written.lines.lines is not None
    assert written.lines.lines.tolist() == [2, 4, 6, 7]
    rows = written.frame.index[[3, 1]]
    with (
        pytest.raises(
            InputError, match=r"^a holds c in line 4 of '.*t\.csv'. Write b. \[PG014\]$"
        ),
        written.lines.named(),
    ):
        raise CellError.at(1, rows, "a holds c", "Write b.")
    # Row labels of the user's own say nothing of lines.
    with (
        pytest.raises(CellError, match=r"^a holds c in row 1. Write b. \[PG014\]$"),
        written.lines.named(),
    ):
        raise CellError.at(1, pd.Index(["p", "q"]), "a holds c", "Write b.")


def test_blank_lines_of_a_table_of_one_column_are_no_rows(tmp_path):
    written = read(tmp_path, 'a\n1\n   \n\n""\n3\n')
    assert written.lines.lines.tolist() == [2, 5, 6]
    np.testing.assert_array_equal(written.frame["a"], [1, np.nan, 3])


def test_blanks_before_a_quote_are_left_out_and_those_within_stay(tmp_path):
    text = 'a, b\n 1, "x, ""y"""\n2,  " z"\n\n 3, ""\n4, 5" pipe\n5,"u, "\n'
    written = read(tmp_path, text)
    assert written.frame["a"].tolist() == [1, 2, 3, 4, 5]
    assert written.frame["b"].fillna("").tolist() == [
        'x, "y"',
        " z",
        "",
        '5" pipe',
        "u, ",
    ]
    assert written.lines.lines.tolist() == [2, 3, 5, 6, 7]


def test_a_short_line_of_one_sign_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"Line 3 of .* has 1 field where the header has 2"
    ):
        read(tmp_path, "a,b\n1,2\n7\n3,4\n")


def test_lines_are_counted_from_the_one_that_names_the_delimiter(tmp_path):
    with pytest.raises(
        InputError, match=r"Line 4 of .* has 3 fields where the header has 2"
    ):
        read(tmp_path, "sep=;\na;b\n1;2\n1;2;3\n")


# ---- texts that mean missing ---------------------------------------------------------


def test_the_texts_are_at_least_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES

    assert set(STR_NA_VALUES) - {""} <= MISSING_ANYWAY


def test_how_often_a_text_was_taken_as_missing_is_known_by_column(tmp_path):
    frame = pd.DataFrame(
        {
            "pool": ["NA"] * 7 + ["good", "", "poor"],
            "n": ["1", "null", "NA", *"2345678"],
            "z": "NAME",
        }
    )
    written = read(tmp_path, frame.to_csv(index=False))
    assert written.missing == {"pool": {"NA": 0.7}, "n": {"null": 0.1, "NA": 0.1}}
    with pytest.warns(
        PermgradWarning,
        match=r'taken as missing: "NA" in pool \(70 %\); if a text is a level',
    ) as warnings_told:
        read_table(tmp_path / "t.csv")
    assert len(warnings_told) == 1, "among numbers NA is no level"
    reading_with_levels = read(tmp_path, frame.to_csv(index=False), not_na=["NA"])
    assert reading_with_levels.frame["pool"].tolist() == [
        *frame["pool"][:8],
        *reading_with_levels.frame["pool"][8:9],
        "poor",
    ]
    assert reading_with_levels.frame["pool"].isna().tolist() == [False] * 8 + [
        True,
        False,
    ]
    assert reading_with_levels.missing == {"n": {"null": 0.1}}
    assert read(tmp_path, frame.to_csv(index=False), codes=["NA"]).missing == {
        "n": {"null": 0.1}
    }, "declared"


def test_nothing_is_told_where_nothing_was_taken_as_missing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = pd.DataFrame(
            {
                "a": ["Nathan", "", "nanny"],
                "b": [1.5, np.nan, 2],
                "NA": ["NANCY", "null?", "#"],
            }
        )
        assert read(tmp_path, frame.to_csv(index=False)).missing == {}
        read_table(tmp_path / "t.csv")


# ---- units ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "numbers", "unit"),
    [
        (["$64,000", "$1,250,000", "-$5"], [64000, 1250000, -5], "$"),
        (["$64,000", "$900", "$7.25"], [64000, 900, 7.25], "$"),
        (["€ 1.250,50", "3 €", "€7"], [1250.5, 3, 7], "€"),
        (["12.50 EUR", "3 EUR", ""], [12.5, 3, np.nan], "EUR"),
        (["Rs. 12,34,567", "Rs. 900"], [1234567, 900], "Rs."),
        (["₹ 1,00,00,000.50", "-₹ 2,500"], [10000000.5, -2500], "₹"),
        (["US$5", "US$ 7.5"], [5, 7.5], "US$"),
        (["12 %", "7.4%", "−2 %"], [12, 7.4, -2], "%"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_numbers_with_a_currency_or_per_cent_are_numbers(
    tmp_path, cells, numbers, unit, delimiter
):
    content = pd.DataFrame({"a": cells, "b": list("xyz")[: len(cells)]}).to_csv(
        index=False, sep=delimiter
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = read(tmp_path, content)
    np.testing.assert_array_equal(written.frame["a"].to_numpy(float), numbers)
    assert written.units == {"a": unit}
    # Read like this one, each row alone is the same number, and text stays what it is.
    like = {"later": True, "units": written.units, "like": written.decimal}
    for cell, number in zip(cells, numbers, strict=True):
        alone = read(tmp_path, f'a{delimiter}b\n"{cell}"{delimiter}x\n', **like)
        np.testing.assert_array_equal(alone.frame["a"].to_numpy(float), [number])


@pytest.mark.parametrize(
    "cells",
    [["$5", "€6"], ["$5", "6"], ["$5", "5%"], ["2B", "14B"], ["1.2k", "2.4kg"], ["1.2k", "950", "3M"], ["5k%", "6%"],
     ["$5$", "$6"], ["71 kg", "150 lb"], ["71 kg", "80 kg"], ["1 room", "2 rooms"], ["12A", "14A"], ["$1.2B", "$3m"],
     ["5 m", "7 m"], ["0.png", "1.png"], ["$5 kg", "$6 kg"], ["30 min", "45 min", "90 min"],
     ["£1,2,3", "£45,6", "£7"], ["₹1,23,4567", "₹12,345", "₹9"], ["$", "$5"], ["USD", "USD 5"], ["$-5-", "$5"]],
)  # fmt: skip
def test_other_units_and_signs_in_doubt_stay_text(tmp_path, cells):
    written = read(tmp_path, pd.DataFrame({"a": cells, "b": 1}).to_csv(index=False))
    assert written.frame["a"].tolist() == cells
    assert written.units == {}


@pytest.mark.parametrize("unit", ["k", "M"])
def test_a_note_names_numbers_with_a_unit(tmp_path, unit):
    written = read(
        tmp_path,
        pd.DataFrame({"a": [f"{k % 20 / 4}{unit}" for k in range(60)], "b": 1}).to_csv(
            index=False
        ),
    )
    finding_texts = [
        finding.text() for finding in findings_of(infer_schema(written.frame))
    ]
    assert (
        f"Column 'a' looks like numbers with other signs, such as '0.0{unit}', and is"
        in finding_texts[0]
    )


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_groups_of_two_as_in_india_are_numbers(tmp_path, delimiter):
    cells = ["1,23,456", "12,345", "98,76,543.25", "-5", ""]
    written = read(
        tmp_path, pd.DataFrame({"a": cells, "b": 1}).to_csv(index=False, sep=delimiter)
    )
    np.testing.assert_array_equal(
        written.frame["a"].to_numpy(float), [123456, 12345, 9876543.25, -5, np.nan]
    )
    assert written.decimal == "."
    spoiled = (
        read(tmp_path, 'a;b\n"1,23,456";1\nmany;2\n', later=True, like=".")
        .frame["a"]
        .tolist()
    )
    assert spoiled == ["123456", "many"]


def test_a_later_table_is_read_with_the_signs_that_were_learned(tmp_path):
    units = read(tmp_path, 'p,v,r\n"$1,500",1.5,5 %\n$20,30,6 %\n').units
    assert units == {"p": "$", "r": "%"}
    later = read(tmp_path, "p,v,r\n$7,2,1 %\n9,3,2 %\n", later=True, units=units).frame
    assert later.to_numpy().tolist() == [[7, 2, 1], [9, 3, 2]]
    odd = read(tmp_path, "p,v,r\n$7,$2,1 %\n€9,3,0.02\n", later=True, units=units).frame
    assert odd["p"].tolist() == ["7", "€9"], "€9 is what is wrong with it"
    assert odd["v"].tolist() == ["$2", "3"], "it was no money"
    assert odd["r"].tolist() == ["1 %", "0.02"], "which may be the same share as 2 %"


def test_signs_are_named():
    assert unit_said("$") == "numbers in $"
    assert unit_said("%") == "numbers with a per cent sign, as written: 7.4 % is 7.4"


def test_text_of_a_file_with_types_may_hold_numbers_and_codes_alone():
    written = Written.typed(
        pd.DataFrame({"a": ["01", "A1"], "b": ["01", "?"], "c": [1, 2]}), "?"
    )
    assert written.texts == ("a",)
