"""Titles above a header and totals below a table, as spreadsheets export them."""

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad.data.read.odd_rows import find_totals
from permgrad.data.read.reading import Reading
from permgrad.data.read.table import read_written

ROWS = [
    f"{region};{100 + 3 * k},50;{k % 4};{'hoch' if k % 3 else 'tief'}"
    for k, region in enumerate("NSOWABCDEFGH")
]
HEADER = "Region;Umsatz;Stufe;Note"
TABLE = "\n".join([HEADER, *ROWS]) + "\n"
SUM = sum(100.5 + 3 * k for k in range(12))


def read(tmp_path, text):
    file = tmp_path / "export.csv"
    file.write_text(text)
    return read_written(file)


@pytest.mark.parametrize(
    ("above", "named"),
    [
        (
            "Bericht Q1;;;\nStand;31.03.2018;;\n;;;\n",
            "2 lines above the header are left out: 'Bericht Q1', 'Stand 31",
        ),
        (
            "Bericht Q1, vorläufig\n\n",
            "1 line above the header is left out: 'Bericht Q1, vorläufig'",
        ),
        ("# made by x;y\n", "1 line above the header is left out: '# made by x y'"),
    ],
)
def test_titles_above_the_header_are_left_out(tmp_path, above, named):
    plain = read(tmp_path, TABLE)
    written = read(tmp_path, above + TABLE)
    assert not plain.notes
    pd.testing.assert_frame_equal(written.frame, plain.frame)
    assert written.notes[0].startswith(named)
    assert written.lines.lines[0] == 2 + above.count("\n")  # as an editor counts them


@pytest.mark.parametrize("first", ["x,,\n", "Survey,,\na,1,c\n", "Survey,,\na,b,b\n"])
def test_a_first_line_of_few_names_without_a_header_below_is_refused(tmp_path, first):
    with pytest.raises(InputError, match="has no name"):
        read(tmp_path, f"{first}1,2,3\n4,5,6\n7,8,9\n")


@pytest.mark.parametrize(
    ("below", "name"),
    [
        (f"Summe;{SUM:.2f};;\n".replace(".", ","), "Summe"),
        ("Mittelwert;117,00;1,5;\n", "Mittelwert"),
        ("Total;131,50;2;hoch\n", "Total"),  # a firm may have this name
    ],
)
def test_a_last_row_that_is_named_as_totals_is_told_and_stays(tmp_path, below, name):
    written = read(tmp_path, TABLE + below)
    assert (
        len(written.frame) == len(written.lines.lines) == len(ROWS) + below.count("\n")
    )
    message = (
        f"the last row is called {name!r} and may be a row of totals: if it is, "
        "delete it"
    )
    assert find_totals(written.frame).said(None) == message


@pytest.mark.parametrize(
    "below",
    [
        f";;;\nSumme:;{SUM:.2f};18;\n;;;\n".replace(".", ","),
        f"Summe:;{SUM:.2f};18;\n".replace(".", ","),
    ],
)
def test_a_named_row_of_sums_is_told_with_what_it_sums(tmp_path, below):
    """Also between rows that are blank."""
    written = read(tmp_path, TABLE + below)
    assert len(written.frame) == len(ROWS) + below.count("\n")
    assert find_totals(written.frame).said(None) == (
        "1 row of the table ('Summe:') holds totals: the numbers are sums of other rows"
    )


@pytest.mark.parametrize(
    "below", ["Total;;1;\nN;400,50;2;hoch\n", "Summe der Teile;131,50;;\n"]
)
def test_rows_that_only_look_like_totals_are_no_matter(tmp_path, below):
    assert find_totals(read(tmp_path, TABLE + below).frame) is None


def test_a_level_named_total_that_repeats_is_no_matter(tmp_path):
    body = "".join(
        f"{name},{k},{k}\n" for k in range(9) for name in ("a", "b", "Total")
    )
    reading = read(tmp_path, "kind,x,y\n" + body + "Total,,\n")
    assert find_totals(reading.frame) is None


def test_excel_sheets_have_titles_and_totals_too(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [
        ["Report"],
        [],
        ["id", "x", "y"],
        *([f"r{k}", k, k / 2] for k in range(9)),
        ["Total", 36, 18],
    ]:
        book.active.append(row)
    file = tmp_path / "export.xlsx"
    book.save(file)
    written = read_written(file, Reading())
    assert written.frame["x"].tolist() == [*range(9), 36]
    np.testing.assert_array_equal(written.lines.lines, np.arange(4, 14))
    assert written.notes == ("1 line above the header is left out: 'Report'",)
    total_rows = find_totals(written.frame)
    assert total_rows.said(written.lines.lines).startswith(
        "the last row is called 'Total'"
    )


def test_amounts_that_leave_the_sign_open_in_a_file_with_both_are_told(tmp_path):
    rows = [f"{k}.5;1.{k}00,50 $;{k}.000 $;{k}.000 €" for k in range(1, 9)]
    file = tmp_path / "mixed.csv"
    file.write_text("years;income;amount;other\n" + "\n".join(rows) + "\n")
    with pytest.warns(
        match="may hold thousands or decimals: '1.000' is read as 1, although"
    ) as warnings_told:
        frame = read_written(file).frame
    assert len(warnings_told) == 2
    assert frame.iloc[0].tolist() == [1.5, 1100.5, 1, 1]


@pytest.mark.parametrize("title", ["", "Umsatz 2018;;;\n", '"Bericht,\nvorläufig"\n'])
@pytest.mark.parametrize(
    "first", ['"Region\n(kurz)"', '"Region\r\n(kurz; mit Strichpunkt)"']
)
def test_a_first_name_of_several_lines_is_read(tmp_path, title, first):
    file = tmp_path / "export.csv"
    file.write_bytes((title + first + TABLE.removeprefix("Region")).encode())
    written = read_written(file)
    assert written.frame.columns.tolist() == [
        first.strip('"'),
        "Umsatz",
        "Stufe",
        "Note",
    ]
    assert len(written.frame) == len(ROWS)
    assert written.lines.lines[0] == 3 + title.count("\n")
    assert len(written.notes) == bool(title)
