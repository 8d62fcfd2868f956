"""A sheet of an Excel file is read like the CSV file of the same cells; what cannot be
read is refused with a hint.
"""

from __future__ import annotations

import importlib.util
import re
import zipfile

import pandas as pd
import pytest

import permgrad as pg
from permgrad.data.read.reading import Reading
from permgrad.data.read.table import read_written

ROWS = [
    ["id", "age", "price", "day", "town", "ok", "code", "note"],
    ["007", 31, 1.575, pd.Timestamp(2024, 1, 31), "Bonn", True, 1, "a,b;c"],
    [
        "008",
        40,
        2.25,
        pd.Timestamp(2024, 2, 1),
        "Köln",
        False,
        -9,
        'a "quoted" word\nand a line',
    ],
    [None, None, None, None, "  ", None, None, None],
    ["009", None, 3.5, pd.Timestamp(2024, 3, 1, 14, 30), "Bonn", True, "#N/A", "c"],
]


def workbook(path, **sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_sheet_is_read_like_a_csv_file(tmp_path):
    file = workbook(tmp_path / "a.xlsx", patients=ROWS)
    pd.DataFrame([ROWS[1], ROWS[2], ROWS[4]], columns=ROWS[0]).to_csv(
        tmp_path / "a.csv", index=False
    )
    frame = pg.read_table(file, na=[-9], kinds={"id": "text"})
    assert frame["id"].tolist() == ["007", "008", "009"]
    assert frame["price"].tolist() == [1.575, 2.25, 3.5], (
        "a decimal point, not one between thousands"
    )
    assert frame["code"].isna().tolist() == [False, True, True]
    assert frame["day"].tolist() == ["2024-01-31", "2024-02-01", "2024-03-01 14:30:00"]
    same = [name for name in frame if name != "day"]
    pd.testing.assert_frame_equal(
        frame[same],
        pg.read_table(tmp_path / "a.csv", na=[-9], kinds={"id": "text"})[same],
    )


def test_sheets_are_chosen_by_name(tmp_path):
    file = workbook(
        tmp_path / "a.xlsx",
        first=[["x"], [1], [2]],
        second=[["y", None, "z"], [3, None, 4]],
        none=[],
    )
    with pytest.warns(
        pg.PermgradWarning,
        match=r"has 3 sheets, and the first is read, 'first'\. Choose another",
    ):
        assert pg.read_table(file)["x"].tolist() == [1, 2]
    assert pg.read_table(file, sheet="second").to_dict("list") == {"y": [3], "z": [4]}
    for name, words in (
        ("secnd", r"no sheet 'secnd'\. Did you mean 'second'\?"),
        ("none", "Sheet 'none' .* is empty"),
    ):
        with pytest.raises(pg.InputError, match=words):
            pg.read_table(file, sheet=name)


def test_what_is_no_readable_workbook_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("x\n1\n", encoding="utf-8")
    with pytest.raises(pg.InputError, match="has no sheets"):
        pg.read_table(tmp_path / "a.csv", sheet="first")
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    if importlib.util.find_spec("openpyxl"):
        with pytest.raises(pg.InputError, match="is a damaged Excel file"):
            pg.read_table(tmp_path / "b.xlsx")
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(2**27))
    if importlib.util.find_spec("openpyxl"):
        with pytest.raises(pg.InputError, match="and unpacks to 134,217,728"):
            pg.read_table(tmp_path / "c.xlsx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(pg.EnvironmentProblem, match=r"pip install 'permgrad\[excel\]'"):
        pg.read_table(tmp_path / "b.xlsx")


def test_formulas_without_stored_results_are_named(tmp_path):
    sums = [
        ["kg", "both"],
        *([k, f"=A{k + 2}+1"] for k in range(4)),
        [None, "=SUM(B2:B5)"],
    ]
    file = workbook(tmp_path / "a.xlsx", data=sums, others=[["x"], [1], [2]])
    words = (
        r"'data' of '.*a.xlsx' has 5 formulas whose results are not stored, the "
        r"first in cell B2\. Open it in a"
    )
    with pytest.raises(pg.InputError, match=words):
        pg.read_table(file, sheet="data")
    assert pg.read_table(file, sheet="others")["x"].tolist() == [1, 2]
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for (
            name
        ) in old.namelist():  # as a spreadsheet saves it: one result is an empty text
            text = old.read(name).decode()
            text = re.sub(
                r"(<f>.*?</f>)<v ?/>|(<f>.*?</f>)<v></v>", r"\1\2<v>7</v>", text
            )
            text = re.sub(r'"B3">(<f>.*?</f>)<v>7</v>', r'"B3" t="str">\1<v></v>', text)
            new.writestr(name, text)
    formula_column = pg.read_table(tmp_path / "b.xlsx", sheet="data")["both"]
    assert formula_column.isna().tolist() == [False, True, False, False, False]
    assert formula_column.dropna().tolist() == [7, 7, 7, 7]


def _book(path, rows, merged=(), shares=()):
    """Write a workbook with merged ranges, and with columns that are shown per cent."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for cell_range in merged:
        book.active.merge_cells(cell_range)
    for column in shares:
        for cell in book.active[column][1:]:
            cell.number_format = "0.00%"
    book.save(path)
    return path


def test_cells_merged_downwards_have_one_value_and_headers_are_joined(tmp_path):
    rows = [["Trial of May"], ["site", "dose", None, "y"], [None, "mg", "ml", None]]
    rows += [["north", 1, 2, 3], [None, 2, 3, 4], [None, 3, 4, 5], ["south", 4, 5, 6]]
    merged = ["A1:D1", "A2:A3", "B2:C2", "D2:D3", "A4:A6"]
    written = read_written(_book(tmp_path / "t.xlsx", rows, merged))
    assert written.frame["site"].tolist() == ["north"] * 3 + ["south"]
    assert written.frame.columns.tolist() == ["site", "dose mg", "dose ml", "y"]
    assert written.lines.lines.tolist() == [4, 5, 6, 7]
    assert written.notes == (
        "the names of two header rows are joined: 'dose mg', 'dose ml'",
        (
            "cells that are merged over several rows have the same value in all of "
            "them: site"
        ),
        "1 line above the header is left out: 'Trial of May'",
    )


def test_numbers_shown_per_cent_are_those_of_a_file_with_the_sign(tmp_path):
    rows = [["rate", "x"], [0.123, 1], [0.07, 2], [0, 3], [1.5, 4]]
    path = _book(tmp_path / "t.xlsx", rows, shares=["A"])
    written = read_written(path)
    assert written.units == {"rate": "%"}
    assert written.frame["rate"].tolist() == [12.3, 7, 0, 150]
    later = read_written(path, Reading(later=True, units=written.units))
    assert later.frame["rate"].tolist() == [12.3, 7, 0, 150]
    bare = read_written(path, Reading(later=True))
    assert bare.frame["rate"].tolist() == [0.123, 0.07, 0, 1.5]
