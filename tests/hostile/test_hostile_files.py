"""Tables in files as people have them: every encoding, delimiter and line end, and
files that are no table at all.

Each is read as it was written, or refused in one sentence; what cannot be known from
the bytes is said in a warning.
"""

from __future__ import annotations

import bz2
import codecs
import collections
import csv
import gzip
import io
import lzma
import os
import warnings
import zipfile
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_checks import refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from permgrad import InputError, PermgradWarning, read_table
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.reading import Reading
from permgrad.data.read.table import read_written

ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "latin-1",
    "cp1252",
    "ascii",
)
#: One fixed sequence of cases, as for hostile tables.
FIXED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
WORDS = "a b,c;d|e\tf'ghi\nj\rk\r\nl m-n_o.p:q/r#s%t"


def packed(content: bytes) -> bytes:
    """Return what gzip makes of it, the same at any time: processes that share the
    tests must see the same cases.
    """
    return gzip.compress(content, mtime=0)


def read(
    path: Any, content: bytes, name: str = "t.csv"
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of some bytes, and what was warned of."""
    (path / name).write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_table(path / name)
    assert all(issubclass(warning.category, PermgradWarning) for warning in caught)
    return table, [str(warning.message) for warning in caught]


def refused(path: Any, content: bytes, name: str = "t.csv") -> str:
    (path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(path / name)
    return refusal(caught.value)


# ---- any table, written in any way ---------------------------------------------------


def texts(encoding: str) -> st.SearchStrategy[str]:
    """Return cells of text that the encoding has, and that no reader would take for a
    number or a missing value.
    """
    wide = {"ascii": "z", "latin-1": "éßÿ¡", "cp1252": "€“”–é"}.get(
        encoding, "é日本👩\u2028€"
    )
    return st.lists(st.sampled_from([*WORDS, '"', *wide]), max_size=8).map(
        lambda signs: "x" + "".join(signs) + "x"
    )


@st.composite
def written(draw: Any, encoding: str) -> tuple[pd.DataFrame, bytes]:
    rows = draw(st.integers(1, 6))
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
    columns: dict[str, Any] = {
        "text": draw(st.lists(texts(encoding), min_size=rows, max_size=rows)),
        "number": draw(st.lists(numbers, min_size=rows, max_size=rows)),
        "whole": draw(
            st.lists(st.integers(-(2**53), 2**53), min_size=rows, max_size=rows)
        ),
        "gaps": draw(
            st.lists(st.none() | st.integers(0, 9), min_size=rows, max_size=rows)
        ),
    }
    selected_columns = draw(
        st.lists(st.sampled_from(sorted(columns)), min_size=2, unique=True)
    )
    frame = pd.DataFrame({name: columns[name] for name in selected_columns})
    if draw(st.booleans()):
        names = (
            st.text(st.sampled_from("abco xyz,;|\"'"), min_size=1, max_size=6)
            .map(str.strip)
            .filter(bool)
        )
        unlike = st.lists(
            names,
            min_size=len(selected_columns),
            max_size=len(selected_columns),
            unique=True,
        )
        frame.columns = draw(unlike)
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoting = draw(
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    )
    ends = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    if "text" in selected_columns and any(
        "\r" in cell or "\n" in cell for cell in columns["text"]
    ):
        # The writer leaves line ends unquoted that are not its own, and then nobody can
        # read them.
        quoting = csv.QUOTE_NONNUMERIC
    text = frame.to_csv(
        index=False, sep=delimiter, quoting=quoting, lineterminator=ends
    )
    content = text.encode(encoding)
    return frame, packed(content) if draw(st.booleans()) else content


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_was_written_is_read(tmp_path, encoding):
    ends = collections.Counter()

    @settings(FIXED, max_examples=20)
    @given(written(encoding))
    def check(case):
        frame, content = case
        try:
            table_read, warning_texts = read(tmp_path, content, "t.dat")
        except InputError as error:
            # A name of signs alone, on few lines, leaves open what the delimiter is.
            ends[refusal(error).partition(", however")[0]] += 1
            return
        western = encoding in ("latin-1", "cp1252") and not is_utf8(content)
        assert [("Windows-1252" in words) for words in warning_texts] == [
            True
        ] * western
        assert list(table_read.columns) == list(frame.columns)
        for name in frame.columns:
            expected_column = frame[name]
            read_column = table_read[name]
            if (
                pd.api.types.is_numeric_dtype(expected_column)
                or expected_column.isna().any()
            ):
                np.testing.assert_allclose(
                    read_column.to_numpy(float),
                    expected_column.to_numpy(float),
                    rtol=1e-15,
                    atol=0,
                )
            else:
                assert read_column.tolist() == expected_column.tolist()
        ends["read"] += 1

    check()
    assert ends["read"] >= 19, ends


def is_utf8(content: bytes) -> bool:
    try:
        (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except UnicodeDecodeError:
        return False
    return True


# ---- encodings -----------------------------------------------------------------------

TOWNS = "name,größe\nJosé,1.5\nZoë,2.5\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode_is_told_by_its_bytes(tmp_path, encoding):
    table, warning_texts = read(tmp_path, TOWNS.encode(encoding))
    assert (list(table.columns), table["name"].tolist(), warning_texts) == (
        ["name", "größe"],
        ["José", "Zoë"],
        [],
    )


def test_two_marks_are_no_part_of_a_name(tmp_path):
    assert read(tmp_path, codecs.BOM_UTF8 * 2 + TOWNS.encode())[0].columns[0] == "name"


def test_old_encodings_are_read_as_the_usual_one_and_named(tmp_path):
    table, warning_texts = read(
        tmp_path, "name,price\n“x” – €,1\nné,2\n".encode("cp1252")
    )
    assert table["name"].tolist() == ["“x” – €", "né"]
    assert len(warning_texts) == 1
    assert (
        "is read as Windows-1252 (Western European). If names or levels look wrong"
        in warning_texts[0]
    )
    assert "a byte (0x81) that is neither UTF-8" in refused(
        tmp_path, "größe,a\n1,2\n".encode("gb18030")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            TOWNS.encode() + b"\xff,1\n",
            "is UTF-8 except for 1 byte, the first in line 4 (0xff). Save it as UTF-8",
        ),
        (
            (TOWNS + "日").encode()[:-1],
            "is UTF-8 except for 2 bytes, the first in line 4 (0xe6). Save it as UTF-8",
        ),
        (
            TOWNS.encode("utf-16") + b"x",
            "is UTF-16 text that is cut off or damaged. Copy it again",
        ),
        (b"a,b\n1,\x002\n", "Line 2 of "),
        (
            b"a,b\n" + b"1,2\n" * 20_000 + b"3,\x00\n",
            "holds a NUL byte. Write the file again",
        ),
        (bytes(range(256)) * 30, "is a binary file of another kind"),
    ],
)
def test_damaged_text_is_refused(tmp_path, content, message):
    assert message in refused(tmp_path, content)


def test_signs_in_the_place_of_lost_letters_are_text(tmp_path):
    content = "note,a\n" + "".join(
        f"member\x1a\x1a\x1a{row}s vehicle,{row}\n" for row in range(30)
    )
    assert (
        read(tmp_path, content.encode())[0]["note"][2] == "member\x1a\x1a\x1a2s vehicle"
    )


# ---- lines ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ends", [("\n", "\n"), ("\r\n", "\n"), ("\r", "\r"), ("\r\n", "\r"), ("\n", "\r\n")]
)
def test_line_ends_of_every_kind_and_mixed(tmp_path, ends):
    first_end, two = ends
    table, _ = read(tmp_path, f'a,b{first_end}1,"x{two}y"{two}2,z{first_end}'.encode())
    assert table["a"].tolist() == [1, 2]
    assert table["b"].tolist() == [f"x{two}y", "z"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2,\n3,4,\n", "Line 2 of {} has 3 fields where the header has 2"),
        (
            b"# made by x\na,b\n1,2\n",
            "{} begins with the comment '# made by x' instead of",
        ),
        (b"% x\n% y\na\n1\n2\n", "{} begins with the comment '% x'"),
        (b"a,b\n1,2\n# note\n3,4\n", "Line 3 of {} has 1 field where the header has 2"),
        (b"a,b,c\n1,2,3\n4,5\n", "Line 3 of {} has 2 fields where the header has 3"),
        (b"a,b\n", "{} has a header (2 columns) but no rows"),
        (b"a", "{} has a header (1 column) but no rows"),
        (b'a,b\n1,"x\n2,y\n', "is not well-formed CSV"),
        (
            b'a,b\n1,"x\n' + b"2,y\n" * 60_000,
            "Check its quotes (one may not be closed)",
        ),
        (b"a,b\n1," + b"x" * 200_000 + b"\n", "has more than 131,072 characters"),
        (b"a;b\n1;2\n3;4\n5;" + b"x" * 200_000 + b"\n", "A field in line 4 of "),
        (
            b"sep=;\na;b\n1;2\n" + b'3;"' + b"x\ny" * 90_000 + b'"\n',
            "A field in line 4 of ",
        ),
        (
            b"a,b\n1,2\n" + 4096 * b"\0",
            "holds a NUL byte, the first of 4,096. Write the file again, or remove them",
        ),
        (
            b"a,b\n" + 60 * b"1,x\0\0\0\0\n",
            "holds a NUL byte, the first of 240. Write the file again, or remove them",
        ),
        (b"a\0\0\0,b\0\0\n" + 60 * b"1,x\0\0\n", "is a binary file of another kind"),
        (
            b'a,b\n1,"x \\"y\\" z"\n2,z\n',
            'Line 2 of {} escapes a quote with a backslash. Write "" instead',
        ),
        (b"a/b/c\n1/2/3\n4/5/6\n", "seems to use '/'"),
        ("a§b§c\n1§2§3\n4§5§6\n".encode(), "seems to use '§'"),
        (b"a||b\n1||2\n", "Column 2 of {} has no name"),
    ],
)
def test_lines_that_do_not_fit_are_refused(tmp_path, content, message):
    assert message.format(repr(str(tmp_path / "t.csv"))) in refused(tmp_path, content)


def test_a_line_that_names_the_separator_is_understood(tmp_path):
    assert read(tmp_path, b"sep=;\na;b\n1;2\n")[0].to_dict("list") == {
        "a": [1],
        "b": [2],
    }
    assert read(tmp_path, b"sep=|\r\na,x|b\r\n1|2\r\n")[0].to_dict("list") == {
        "a,x": [1],
        "b": [2],
    }


@pytest.mark.parametrize(
    ("header", "warned"),
    [
        ("5.1,3.5,1.4,0.2,setosa", True),
        ("1.5,2,3", True),
        ("0,0,1", None),
        ("0,0,a", True),
        ("2019,2020,2021", False),
        ("400.5,401.0,401.5", False),
        ("a,b,1", False),
    ],
)
def test_a_first_line_that_looks_like_a_row_is_named(tmp_path, header, warned):
    content = f"{header}\n{','.join(['1'] * len(header.split(',')))}\n".encode()
    if warned is None:
        assert "Column names must be unique" in refused(tmp_path, content)
        return
    warning_texts = read(tmp_path, content)[1]
    assert [
        words for words in warning_texts if "looks like a row" in words
    ] == warning_texts[:warned]


# ---- numbers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delimiter", "cells", "numbers"),
    [
        (";", ["1,5", "2,25", "-3"], [1.5, 2.25, -3]),
        ("\t", ["1,5e3", ",5", ""], [1500, 0.5, np.nan]),
        (",", ["1,5", "2,25"], [1.5, 2.25]),
        (";", ["1.234,5", "2.345.678,25", "7"], [1234.5, 2345678.25, 7]),
        (",", ["1,234.5", "2,345,678", "7.25"], [1234.5, 2345678, 7.25]),
        (";", ["1 234", "12 345,5", "7"], [1234, 12345.5, 7]),
        (";", ["1\u00a0234.5", "-2\u202f345"], [1234.5, -2345]),
        (";", ["1'234", "22'345.5"], [1234, 22345.5]),
        (",", ["−5", "6"], [-5, 6]),
        (";", ["0,123", "0,456"], [0.123, 0.456]),
    ],
)
def test_numbers_as_written_in_other_countries(tmp_path, delimiter, cells, numbers):
    frame = pd.DataFrame({"a": cells, "b": "x", "c": [2.5] * len(cells)})
    table, warning_texts = read(
        tmp_path, frame.to_csv(index=False, sep=delimiter).encode()
    )
    np.testing.assert_array_equal(table["a"].to_numpy(float), numbers)
    # A decimal comma in one column says nothing about the others.
    assert table["c"].tolist() == [2.5] * len(cells)
    assert warning_texts == []


@pytest.mark.parametrize(
    "cells",
    [["1,5", "2.5"], ["1,234", "x"], ["5%", "6"], ["5%", "x%"], ["5%%", "6%"],
     ["01.02.2020", "03.04.2021"], ["110 00", "120 00"], ["030 123", "1"],
     ["1.2.3", "1.2.4"], ["1,23,4", "1"], ["0x10", "0x11"], ["1-2", "3-4"]],
)  # fmt: skip
def test_what_is_no_number_stays_text(tmp_path, cells):
    table, _ = read(
        tmp_path,
        pd.DataFrame({"a": cells, "b": 1}).to_csv(index=False, sep=";").encode(),
    )
    assert table["a"].tolist() == cells


@pytest.mark.parametrize(("delimiter", "first"), [(";", 1.234), (",", 1234.0)])
def test_numbers_with_two_readings_are_named(tmp_path, delimiter, first):
    frame = pd.DataFrame({"price": ["1,234", "22,345"], "b": 1})
    table, warning_texts = read(
        tmp_path, frame.to_csv(index=False, sep=delimiter).encode()
    )
    assert table["price"][0] == first
    assert len(warning_texts) == 1
    assert (
        f"Column 'price' may hold thousands or decimals: '1,234' is read as {first:g}"
        in warning_texts[0]
    )


GERMAN = ["1.575", "7.456", "238", "1.000"]


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_points_between_thousands_are_told_by_the_decimal_commas_of_other_columns(
    tmp_path, delimiter
):
    frame = pd.DataFrame(
        {
            "price": GERMAN,
            "share": ["0,13", "-0,36", "0,5", "2,25"],
            "few": ["1.000", "", "2", "3"],
        }
    )
    table, warning_texts = read(
        tmp_path, frame.to_csv(index=False, sep=delimiter).encode()
    )
    assert table["price"].tolist() == [1575, 7456, 238, 1000]
    assert table["price"].dtype == np.int64
    assert table["share"].tolist() == [0.13, -0.36, 0.5, 2.25]
    np.testing.assert_array_equal(table["few"], [1000, np.nan, 2, 3])
    assert warning_texts == []


@pytest.mark.parametrize(
    ("other", "delimiter", "price", "why"),
    [
        (["x"] * 4, ";", 1.575, "as is usual with such delimiters"),
        (["0.13", "0.5", "1", "2"], ";", 1.575, None),
        (["1.5", "2.500", "1", "2"], ";", 1.575, None),
        (["x"] * 4, ",", 1.575, None),
        (["0.13", "0.5", "1", "2"], ",", 1.575, None),
        (["1.234.567", "1", "2", "3"], ";", 1575, None),
    ],
)
def test_points_that_may_stand_between_thousands_are_named(
    tmp_path, other, delimiter, price, why
):
    frame = pd.DataFrame({"price": GERMAN, "other": other})
    table, warning_texts = read(
        tmp_path, frame.to_csv(index=False, sep=delimiter).encode()
    )
    assert table["price"][0] == price
    assert len(warning_texts) == (why is not None)
    if why is not None:
        assert (
            f"'price' may hold thousands or decimals: '1.575' is read as 1.575, {why}"
            in warning_texts[0]
        )


@pytest.mark.parametrize(
    "other", [["6.2", "6,9", "7.1", "7"], ["1.2.3", "6,9", "7.1", "7"]]
)
def test_a_column_of_mixed_spelling_tells_no_decimal_sign(tmp_path, other):
    frame = pd.DataFrame(
        {"price": GERMAN, "comma": ["0,13", "1", "2", "3"], "other": other}
    )
    table, warning_texts = read(tmp_path, frame.to_csv(index=False, sep=";").encode())
    assert table["price"][0] == 1575
    assert table["other"].tolist() == other
    assert warning_texts == []


def test_files_with_both_signs_are_named(tmp_path):
    frame = pd.DataFrame(
        {"price": GERMAN, "comma": ["0,13", "1", "2", "3"], "point": [0.13, 1, 2, 3]}
    )
    table, warning_texts = read(tmp_path, frame.to_csv(index=False, sep=";").encode())
    assert table["price"][0] == 1.575
    assert len(warning_texts) == 1
    assert "although other columns have decimal commas" in warning_texts[0]


def test_decimals_of_three_digits_stay_decimals(tmp_path):
    for cells in (
        ["0.575", "7.456"],
        ["1.575", "7.45"],
        ["1.575", "1234.567"],
        ["01.575", "2"],
    ):
        frame = pd.DataFrame({"a": cells, "share": ["0,13", "0,2"]})
        table, _ = read(tmp_path, frame.to_csv(index=False, sep=";").encode())
        assert table["a"].tolist() == [float(cell) for cell in cells]


def test_numbers_with_per_cent_signs_are_read_as_written(tmp_path):
    (tmp_path / "t.csv").write_text("a;b;c;d\n7,4 %;1.575%;5%;x%\n-0,25%;7.456 %;;5%\n")
    written = read_written(tmp_path / "t.csv")
    assert written.frame[["a", "b"]].to_numpy().tolist() == [[7.4, 1575], [-0.25, 7456]]
    np.testing.assert_array_equal(written.frame["c"], [5, np.nan])
    assert written.frame["d"].tolist() == ["x%", "5%"]
    assert (written.units, written.decimal) == (dict.fromkeys("abc", "%"), ",")
    (tmp_path / "t.csv").write_text("a;b\n1.575 %;x\n")
    with pytest.warns(
        PermgradWarning,
        match=r"may hold thousands or decimals: '1.575' is read as 1.575,",
    ):
        assert read_table(tmp_path / "t.csv")["a"].tolist() == [1.575]


def test_the_decimal_sign_can_be_named(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1.575;6,096\n2;7\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comma = read_table(tmp_path / "t.csv", decimal=",")
        point = read_table(tmp_path / "t.csv", decimal=".")
    assert comma.to_numpy().tolist() == [[1575, 6.096], [2, 7]]
    assert point.to_numpy().tolist() == [[1.575, 6096], [2, 7]]
    with pytest.raises(
        InputError,
        match=r"decimal must be ',' or '.', got ';'. Pass one of them, or None",
    ):
        read_table(tmp_path / "t.csv", decimal=";")


def test_a_table_is_read_like_the_one_that_was_learned_from(tmp_path):
    learned = tmp_path / "learned.csv"
    new = tmp_path / "new.csv"
    learned.write_text("a;b;c\n1.234,5;2;x\n2;3;y\n")
    like = {"later": True, "like": read_written(learned).decimal}
    assert like["like"] == ","
    new.write_text("a;b;c\n1.235;1.000;x\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_written(new, Reading(**like)).frame
    assert table[["a", "b"]].to_numpy().tolist() == [[1235, 1000]]
    with pytest.warns(
        PermgradWarning, match="is read as 1.235, as is usual with such delimiters"
    ):
        assert read_written(new).frame["a"][0] == 1.235
    new.write_text("a;b;c\n1.235;0.5;x\n")
    assert read_written(new, Reading(**like)).frame["a"][0] == 1.235, (
        "what the table itself shows goes before"
    )


def test_proven_points_hold_for_later_tables(tmp_path):
    learned = tmp_path / "learned.csv"
    new = tmp_path / "new.csv"
    learned.write_text("p;q\n1,234.5;1\n2,000;2\n")
    like = {"later": True, "like": read_written(learned).decimal}
    assert like["like"] == "."
    new.write_text("p;q\n2,000;1\n")
    with pytest.warns(
        PermgradWarning, match="is read as 2, as is usual with such delimiters"
    ):
        assert read_table(new)["p"].tolist() == [2]
    assert read_written(new, Reading(**like)).frame["p"].tolist() == [2000]
    new.write_text("p;q\n1.575;1\n")
    assert read_written(new, Reading(**like)).frame["p"].tolist() == [1.575]
    # What the table itself shows goes before.
    new.write_text("p;q\n2,000;0,5\n")
    assert read_written(new, Reading(**like)).frame.to_numpy().tolist() == [[2, 0.5]]
    new.write_text("p;q\n2,000;1\nx;007\n")
    later = read_written(new, Reading(**like)).frame
    assert later["p"].tolist() == ["2000", "x"], "x is what is wrong with it"


def test_a_file_with_both_signs_has_none(tmp_path):
    (tmp_path / "t.csv").write_text("a;b;c;d\n0,13;0.25;x;1.575\n1;7;y;2\n")
    with pytest.warns(
        PermgradWarning, match="although other columns have decimal commas"
    ):
        written = read_written(tmp_path / "t.csv")
    assert written.decimal is None
    assert written.frame[["a", "b", "d"]].to_numpy().tolist() == [
        [0.13, 0.25, 1.575],
        [1, 7, 2],
    ]


def test_columns_kept_as_text_are_left_alone(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1,5;x\n2,5;y\n")
    assert read_table(tmp_path / "t.csv", kinds={"a": "text"})["a"].tolist() == [
        "1,5",
        "2,5",
    ]
    (tmp_path / "t.csv").write_text("a;b\n1,5;x\n?;y\n")
    assert read_table(tmp_path / "t.csv", na=["?"])["a"].tolist()[0] == 1.5


def test_columns_that_were_text_are_read_as_text(tmp_path):
    learned = tmp_path / "learned.csv"
    new = tmp_path / "new.csv"
    # g: truth values and a gap, which a reader of CSV takes for truth values.
    learned.write_text(
        "a,b,c,d,e,f,g\n01,TRUE,1.50,3,x,07,TRUE\n02,FALSE,2.00,4,y,?,\nA1,unknown,x,5,z,08,FALSE\n"
    )
    written = read_written(learned, Reading(codes=MissingCodes.of("?")))
    assert written.texts == ("a", "b", "c", "e")
    new.write_text("b,a,c,d,g\nTRUE,01,1.50,3,TRUE\nFALSE,,2.00,4,FALSE\n")
    usual = read_table(new)
    assert [usual[name].dtype.kind for name in "abc"] == ["f", "b", "f"], (
        "the precondition: cells alone do not tell"
    )
    table = read_written(new, Reading(later=True, texts=written.texts)).frame
    assert table["a"].tolist()[0] == "01"
    assert table["a"].isna().tolist() == [False, True]
    assert (table["b"].tolist(), table["c"].tolist()) == (
        ["TRUE", "FALSE"],
        ["1.50", "2.00"],
    )
    assert table["d"].tolist() == [3, 4]
    assert table["g"].tolist() == usual["g"].tolist()


# ---- files of other kinds ------------------------------------------------------------


def zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


PLAIN = b"a,b\n1,2\n3,4\n"
PARQUET = parquet(a=[1, 2], b=["x", "y"])


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (packed(PLAIN * 100)[:30], "t.csv.gz", "is cut off or damaged"),
        (packed(PLAIN * 99)[:20] + b"zz" + packed(PLAIN * 99)[22:], "t.csv.gz", "is cut off or damaged"),
        (packed(PLAIN)[:-8] + bytes(8), "t.csv.gz", "is cut off or damaged"),
        (packed(b""), "t.csv.gz", "is empty"),
        (packed(packed(PLAIN)), "t.csv.gz", "is compressed by gzip twice"),
        (zipped("t.csv", "a,b\n1,2\n"), "t.csv", "is a zip or Excel file"),
        (zipped("t.csv", "a,b\n1,2\n"), "t.csv.gz", "is a zip or Excel file"),
        (zipped("a.npy", "no array"), "t.csv", ("is a file of NumPy arrays (.npz). "
                                                "Save "
                                               "its table as CSV, and images")),
        (zipped("a.npy", "no array")[:40], "t.npz", "is a file of NumPy arrays (.npz)"),
        (b"PK\x05\x06" + bytes(18), "t.csv", "is an empty zip file"),
        (bz2.compress(PLAIN), "t.csv", "is compressed by bzip2"),
        (lzma.compress(PLAIN), "t.csv", "is compressed by xz"),
        (PARQUET[:-20], "t.parquet", "is cut off, damaged or no Parquet"),
        (PARQUET[:20], "t.csv", "is cut off, damaged or no Parquet"),
        (PARQUET[:60] + b"\xff" * 20 + PARQUET[80:], "t.parquet", ("is cut off, "
                                                                   "damaged "
                                                                  "or no Parquet")),
        (PLAIN, "t.parquet", "is named as Parquet but holds text. Rename it to '.csv'"),
        (bytes(100), "t.parquet", "is cut off, damaged or no Parquet"),
        (parquet(a=[]), "t.parquet", "no rows"),
        (b'{"a": [1, 2]}', "t.csv", "is JSON"),
        (b'[{"a": 1}, {"a": 2}]', "t.csv", "is JSON"),
        (b"<!DOCTYPE html>\n<p>not found, sorry</p>\n", "t.csv", "is HTML or XML"),
        (b"%PDF-1.4\n1 0 obj\n", "t.csv", "is a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 1\n", "t.csv", "is a pointer of Git LFS"),
    ],
)  # fmt: skip
def test_files_of_other_kinds_are_refused(tmp_path, content, name, message):
    assert message in refused(tmp_path, content, name)


def test_a_damaged_database_is_refused(tmp_path):
    assert refused(tmp_path, b"SQLite format 3\x00" + bytes(99), "t.csv") == (
        f"The SQLite database {str(tmp_path / 't.csv')!r} cannot be read "
        "(DatabaseError: "
        "file is not a database). Write it again, or save it as Parquet or CSV. [PG011]"
    )


def test_what_is_inside_counts_and_not_the_name(tmp_path):
    expected_table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for name, content in (
        ("t.csv", PARQUET),
        ("t.gz", PARQUET),
        ("t", packed(PARQUET)),
        ("t.txt.gz", b"a,b\n1,x\n2,y\n"),
    ):
        table, warning_texts = read(tmp_path, content, name)
        assert table.to_dict("list") == expected_table.to_dict("list")
        assert warning_texts == []
    gzip_members = packed(b"a,b\n1,x\n") + packed(b"2,y\n")
    assert read(tmp_path, gzip_members)[0].to_dict("list") == expected_table.to_dict(
        "list"
    )


def test_devices_and_folders_are_refused(tmp_path):
    for device_path in (tmp_path, os.devnull):
        with pytest.raises(InputError) as caught:
            read_table(device_path)
        assert refusal(caught.value)
