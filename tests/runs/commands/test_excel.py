"""``permgrad excel``: numbers are numbers, texts are never formulas, and codes stay as they are."""

from __future__ import annotations

import pandas as pd
import pytest
from invoking import call

from permgrad.base.csv_files import write_csv

openpyxl = pytest.importorskip("openpyxl")


def cells(file, sheet):
    book = openpyxl.load_workbook(file)
    return [[cell.value for cell in row] for row in book[sheet].iter_rows()], book


def test_each_csv_file_is_a_sheet_whose_cells_excel_cannot_misread(tmp_path):
    folder = tmp_path / "run.0"
    folder.mkdir()
    frame = pd.DataFrame({"feature": ["Größe (€)", "=1+1", "007"], "importance": [0.477943, -1e-7, 12.0]})
    assert write_csv(frame.assign(empty=None), folder / "importance.csv") == 1, "the precondition: a quoted formula"
    (folder / "raw.csv").write_text("a\n=HYPERLINK(1)\n12345678901234567\nx\x07y\n", encoding="utf-8")
    said = call("excel", folder)
    assert said == f"{tmp_path / 'run.0.xlsx'}: importance, raw\n"
    rows, book = cells(tmp_path / "run.0.xlsx", "importance")
    assert rows == [
        ["feature", "importance", "empty"],
        ["Größe (€)", 0.477943, None],
        ["=1+1", -1e-7, None],
        ["007", 12.0, None],
    ]
    assert book["importance"]["A3"].data_type == "s", "not a formula"
    assert book["importance"].freeze_panes == "A2"
    raw = cells(tmp_path / "run.0.xlsx", "raw")[0]
    assert raw == [["a"], ["=HYPERLINK(1)"], ["12345678901234567"], ["x\ufffdy"]]
    assert "already exists. Add --overwrite" in call("excel", folder, code=2)
    call("excel", folder / "raw.csv", "--out", tmp_path / "run.0.xlsx", "--overwrite")
    assert cells(tmp_path / "run.0.xlsx", "raw")[1].sheetnames == ["raw"]


def test_what_is_no_result_is_refused(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"a\n\xff\n")
    for words, message in (
        ((tmp_path / "none",), "does not exist"),
        ((tmp_path / "table.csv", "--out", tmp_path / "x.xls"), "ends in .xlsx"),
        ((tmp_path / "table.csv",), "was not written by permgrad"),
    ):
        assert message in call("excel", *words, code=2)
    (tmp_path / "empty").mkdir()
    assert "holds no CSV file" in call("excel", tmp_path / "empty", code=2)
    assert not list(tmp_path.glob("*.xlsx"))
