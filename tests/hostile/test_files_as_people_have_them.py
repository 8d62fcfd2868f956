"""Files as people have them: what each column is, is right, or a note names it.

Nothing is silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import Inputs, load_inputs

ROWS = 240
Cells = list[Any]


def table() -> pd.DataFrame:
    """Return a plain table: a town, an amount with decimals, a whole amount, and a
    target that follows both.
    """
    draw = np.random.default_rng(12)
    frame = pd.DataFrame({"town": draw.choice(["Ulm", "Bonn", "Trier"], ROWS)})
    frame["width"] = draw.normal(60, 9, ROWS).round(2)
    frame["staff"] = draw.integers(3, 400, ROWS)
    frame["y"] = (frame["width"] / 9 + frame["staff"] / 90).round(3)
    return frame


def load(tmp_path, text: str, **options: Any) -> Inputs:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return load_inputs(RunRequest(table=str(path), target=("y",), **options))


def numbers(low: int, high: int, seed: int = 3) -> list[int]:
    return np.random.default_rng(seed).integers(low, high, ROWS).tolist()


def halves(first: str = "first", second: str = "second") -> dict[str, str]:
    """Return the kinds of the two columns that one with two numbers in a cell is."""
    return {f"c: {first}": "numeric", f"c: {second}": "numeric"}


def dates(end: str) -> Cells:
    return [
        f"20{10 + n % 12}-0{1 + n % 9}-15" if n % 8 else end for n in numbers(1, 900)
    ]


def dotted(code: Callable[[int], str]) -> Cells:
    return [code(row) if row % 31 == 5 else f"{row / 7:.2f}" for row in range(ROWS)]


#: A column of cells, and the columns that it is, with their kinds; or words of a note
#: on it.
COLUMNS: dict[str, tuple[Cells, dict[str, str] | str]] = {
    "pounds": ([f"£{1000 + 7 * n:,.2f}" for n in numbers(1, 900)], {"c": "numeric"}),
    "francs behind": ([f"{n}.50 CHF" for n in numbers(1, 900)], {"c": "numeric"}),
    "per cent": ([f"{n / 10} %" for n in numbers(1, 900)], {"c": "numeric"}),
    "decimal commas, per cent": ([f"{n},5 %" for n in numbers(1, 90)], {"c": "numeric"}),
    "rupees": ([f"₹{n % 9 + 1},{10 + n % 80},{100 + n}" for n in numbers(1, 800)], {"c": "numeric"}),
    "years and months": ([f"{n // 12} years {n % 12} months" for n in numbers(1, 400)], {"c": "numeric"}),
    "weeks and days": ([f"{n // 7}w {n % 7}d" for n in numbers(7, 400)], {"c": "numeric"}),
    "hours and minutes": ([f"{n // 60} h {n % 60} min" for n in numbers(60, 900)], {"c": "numeric"}),
    "minutes and seconds": ([f"{n // 60}m {n % 60}s" for n in numbers(60, 900)], {"c": "numeric"}),
    "kilobytes": ([f"{n} KB" if n < 700 else f"{n / 1000} MB" for n in numbers(1, 2000)], {"c": "numeric"}),
    "feet and inches": ([f"{n // 12}'{n % 12}\"" for n in numbers(48, 84)], {"c": "numeric"}),
    "grams and kilograms": ([f"{n} g" if n < 900 else f"{n / 1000} kg" for n in numbers(90, 2000)], {"c": "numeric"}),
    "pounds and ounces": ([f"{n // 16} lb {n % 16} oz" for n in numbers(16, 200)], {"c": "numeric"}),
    "one unit": ([f"{n / 4} mmol/l" for n in numbers(9, 200)], {"c": "numeric"}),
    "minutes of another kind": ([f"{n} mins" for n in numbers(9, 200)], {"c": "numeric"}),
    "Stata's full stop": (dotted(lambda _: "."), {"c": "numeric"}),
    "letters of SAS": (dotted(lambda row: f".{'abz'[row % 3]}"), {"c": "numeric"}),
    "full stops among money": ([f"${n}.20" if n % 9 else "." for n in numbers(1, 900)], {"c": "numeric"}),
    "errors of a spreadsheet": (dotted(lambda _: "#DIV/0!"), {"c": "numeric"}),
    "a word for missing": (dotted(lambda _: "not asked"), "--na 'c=not asked'"),
    "several words": (dotted(lambda row: ["Refused", "Skipped", "n. d."][row % 3]), "Skipped"),
    "words with commas": (dotted(lambda _: "No, never"), "--na 'c=No, never'"),
    "a word with a quote": (dotted(lambda _: "don't know"), "don't know"),
    "a dash": (dotted(lambda _: "–"), "–"),
    "a code with decimals": ([-99.9 if n % 17 == 0 else n / 10 for n in numbers(10, 900)], "--na=-99.9"),
    "a code of a device": ([-999.9 if n % 17 == 0 else n / 10 for n in numbers(10, 900)], "--na=-999.9"),
    "an open end": (dates("9999-12-31"), "--na c=9999-12-31"),
    "an open begin": (dates("1900-01-01"), "--na c=1900-01-01"),
    "blood pressure": ([f"{95 + n % 80}/{50 + n % 41}" for n in numbers(1, 9000)], halves()),
    "coordinates": ([f"({40 + n / 999:.4f}, {-n / 77:.4f})" for n in numbers(1, 9000)], halves("latitude", "longitude")),
    "a point": ([f"POINT ({-n / 77:.4f} {40 + n / 999:.4f})" for n in numbers(1, 9000)], halves("longitude", "latitude")),
    "a result": ([f"{n % 6}-{n % 5}" for n in numbers(1, 9000)], halves()),
    "pixels": ([f"{8 * (n % 90 + 9)}x{8 * (n % 70 + 9)}" for n in numbers(1, 9000)], halves()),
    "an odd time": ([f"{n // 60}:{n % 60:02}" if row else "7.45" for row, n in enumerate(numbers(400, 1000))], "'7.45'"),
    "an odd amount": ([f"{n},5" if row else "n. b." for row, n in enumerate(numbers(400, 1000))], "'n. b.'"),
    "an odd pair": ([f"{95 + n % 80}/{50 + n % 41}" if n % 240 else "12O/80" for n in range(ROWS)], halves()),
    "hospital stays": ([f"{n // 24} days {n % 24} hours" for n in numbers(24, 900)], {"c": "numeric"}),
    "stones": ([f"{n // 14} st {n % 14} lb" for n in numbers(98, 240)], {"c": "numeric"}),
    "thousands": ([f"{n % 90 + 1}.5k" for n in numbers(1, 9000)], ("'c' looks like "
                                                                  "numbers")),
    "mixed money": ([f"${n}" if n % 2 else f"€{n}" for n in numbers(1, 9000)], "'c' looks like numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_read_or_noted(tmp_path, name):
    cells, expected = COLUMNS[name]
    assert len(set(map(str, cells))) > 10, "the case is not trivial"
    inputs = load(tmp_path, table().assign(c=cells).to_csv(index=False))
    if isinstance(expected, str):
        assert any(expected in note for note in inputs.notes), inputs.notes
        return
    assert {
        column_name: inputs.schema[column_name].kind for column_name in expected
    } == expected
    if not all(isinstance(cell, (int, float)) for cell in cells):
        assert any("c" in note for note in inputs.notes)


#: Columns by their names: the words of a note on them.
NAMED = {
    "pweight": (np.random.default_rng(4).lognormal(0, 0.5, ROWS).round(3), "--weight pweight"),
    "wgt": (np.random.default_rng(5).uniform(300, 9000, ROWS).round(), "--weight wgt"),
    "caseid": (np.random.default_rng(6).choice(10**7, ROWS, replace=False), "--id caseid"),
    "pidnum": (np.random.default_rng(7).choice(10**5, ROWS, replace=False), "--id pidnum"),
    "ref": (np.random.default_rng(8).permutation(900)[:ROWS], "--id ref"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_column_that_is_no_feature_is_noted(tmp_path, name):
    cells, option = NAMED[name]
    inputs = load(tmp_path, table().assign(**{name: cells}).to_csv(index=False))
    assert inputs.schema[name].kind == "numeric"
    assert [note for note in inputs.notes if note.endswith(option)], inputs.notes


def _header(text: str) -> tuple[str, str]:
    header, rows = text.split("\n", 1)
    return header + "\n", rows


def _with_units(text: str) -> str:
    header, rows = _header(text)
    return f"{header},mm,heads,points\n{rows}"


def _with_questions(text: str) -> str:
    header, rows = _header(text)
    return f'{header}Where?,"How wide, in mm?",How many?,Result\na,b,c,d\n{rows}'


def _joined(text: str) -> str:
    return text + text.replace(",", ",", 1)


def _with_total(text: str) -> str:
    sums = table()[["width", "staff", "y"]].sum()
    return (
        f"{text}all towns,{sums.width:.2f},{sums.staff},{sums.y:.3f}\nOffice of "
        "towns,,,\n"
    )


def _with_subtotals(text: str) -> str:
    lines = [_header(text)[0]]
    for name, rows in table().groupby("town"):
        sums = rows[["width", "staff", "y"]].sum()
        lines.append(rows.to_csv(index=False, header=False))
        lines.append(f"{name} in all,{sums.width:.2f},{sums.staff:.0f},{sums.y:.3f}\n")
    return "".join(lines)


def _with_total_without_label(text: str) -> str:
    sums = table()[["width", "staff", "y"]].sum()
    return f"{text},{sums.width:.2f},{sums.staff},{sums.y:.3f}\n"


def _with_means(text: str) -> str:
    means = table()[["width", "staff", "y"]].mean()
    return f"{text}mean,{means.width:.4f},{means.staff:.4f},{means.y:.4f}\n"


LINES = {
    "a total without a label": (_with_total_without_label, "line 242 holds totals"),
    "means": (_with_means, "the numbers are means of other rows"),
    "units": (_with_units, "line 2 is left out"),
    "questions": (_with_questions, "lines 2, 3 are left out"),
    "header again": (_joined, "repeats the header"),
    "totals and a source": (_with_total, "line 242 ('all towns') holds totals"),
    "subtotals": (_with_subtotals, "hold totals"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_is_no_row_is_found(tmp_path, name):
    change, expected_note = LINES[name]
    inputs = load(tmp_path, change(table().to_csv(index=False)))
    assert any(expected_note in note for note in inputs.notes), inputs.notes
    assert inputs.schema["width"].kind == inputs.schema["staff"].kind == "numeric"
    # The command that the page advises leaves totals out.
    options = [
        cell_facts.get("options", ())
        for cell_facts in inputs.cells
        if cell_facts.get("part")
    ]
    if "total" in expected_note:
        again = load(
            tmp_path, change(table().to_csv(index=False)), na=tuple(options[0][1::2])
        )
        assert sum(len(rows) for rows in again.parts.values()) == ROWS
        assert not again.cells


def test_a_plain_table_has_no_note(tmp_path):
    inputs = load(tmp_path, table().to_csv(index=False))
    assert inputs.notes == []
    assert inputs.cells == []


def workbook(tmp_path, frame: pd.DataFrame) -> Any:
    """Return a workbook, and its sheet, with the rows of a frame."""
    openpyxl = pytest.importorskip("openpyxl")
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    return book, book.active


def loaded(tmp_path, book: Any) -> Inputs:
    path = tmp_path / "t.xlsx"
    book.save(path)
    return load_inputs(RunRequest(table=str(path), target=("y",)))


def test_cells_merged_downwards_have_one_value(tmp_path):
    frame = table().sort_values("town", kind="stable")
    book, sheet = workbook(tmp_path, frame)
    towns = frame["town"].tolist()
    first = 0
    for row in range(1, ROWS + 1):
        if row == ROWS or towns[row] != towns[first]:
            sheet.merge_cells(f"A{first + 2}:A{row + 1}")
            first = row
    inputs = loaded(tmp_path, book)
    assert (inputs.schema["town"].n_levels, inputs.schema["town"].n_missing) == (3, 0)
    assert any("merged over several rows" in note for note in inputs.notes)


def test_a_header_of_merged_cells_is_joined(tmp_path):
    book, sheet = workbook(tmp_path, table())
    sheet.insert_rows(1)
    for cell, name in {"A1": "place", "B1": "measured", "D1": "result"}.items():
        sheet[cell] = name
    sheet.merge_cells("B1:C1")
    book.save(tmp_path / "t.xlsx")
    request = RunRequest(table=str(tmp_path / "t.xlsx"), target=("result y",))
    inputs = load_inputs(request)
    assert inputs.schema.names == ["place town", "measured width", "measured staff"]
    assert any("the names of two header rows are joined" in n for n in inputs.notes)


def test_shares_that_a_sheet_shows_per_cent_are_noted(tmp_path):
    frame = table()
    book, sheet = workbook(tmp_path, frame.assign(width=frame["width"] / 100))
    for (cell,) in sheet["B2" : f"B{ROWS + 1}"]:
        cell.number_format = "0.0%"
    inputs = loaded(tmp_path, book)
    assert inputs.units == {"width": "%"}
    widths = pd.concat([rows.inputs["width"] for rows in inputs.parts.values()])
    np.testing.assert_allclose(widths.sort_index(), frame["width"], rtol=1e-9)
    assert any("width (%)" in note for note in inputs.notes)
