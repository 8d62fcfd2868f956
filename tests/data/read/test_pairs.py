"""Two numbers in a cell are two columns, and later tables are read like the one that
was learned from.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from invoking import QUICK, call

from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.paired_numbers import find_pair
from permgrad.data.read.reading import Reading
from permgrad.data.read.table import read_written
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import findings_of

DRAW = np.random.default_rng(7)
HIGH = DRAW.integers(100, 190, 90)
LOW = DRAW.integers(50, 99, 90)


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ([f"{a}/{b}" for a, b in zip(HIGH, LOW, strict=True)], ("first", "second")),
        ([f"{a} x {b}" for a, b in zip(HIGH, LOW, strict=True)], ("first", "second")),
        ([f"{a % 7}-{b % 5}" for a, b in zip(HIGH, LOW, strict=True)], ("first", "second")),
        ([f"{b} of {a}" for a, b in zip(HIGH, LOW, strict=True)], ("first", "second")),
        ([f"{b / 2}°N, {a / 3:.2f}°W" for a, b in zip(HIGH, LOW, strict=True)], ("latitude", "longitude")),
        ([f"[{b / 2}; {-a / 3}]" for a, b in zip(HIGH, LOW, strict=True)], ("latitude", "longitude")),
        ([f"POINT ({-a / 3:.3f} {b / 2})" for a, b in zip(HIGH, LOW, strict=True)], ("longitude", "latitude")),
    ],
)  # fmt: skip
def test_two_numbers_are_found(texts, names):
    pair = find_pair(list(dict.fromkeys(texts)))
    assert (pair.first, pair.second) == names
    assert not np.isnan(pair.read(texts)).any()


@pytest.mark.parametrize(
    "texts",
    [
        [f"{k}-{k + 9}" for k in range(10, 200, 10)],
        [f"{k}/{k + 1}" for k in range(1980, 2020)],
        [f"{1 + k % 12}/{2000 + k // 12}" for k in range(90)],
        [f"0{k % 10}-{k}" for k in range(90)],
        ["120/80", "130/90"],
    ],
)
def test_ranges_seasons_months_and_codes_are_no_two_numbers(texts):
    assert find_pair(texts) is None


def test_south_and_west_are_below_0():
    texts = [f"{k + 0.5}S {100 + k}E" for k in range(9)] + ["3.5N 70W", "8N 2E"]
    np.testing.assert_array_equal(
        find_pair(texts).read(texts)[[0, 9, 10]], [[-0.5, 100], [3.5, -70], [8, 2]]
    )


def test_three_numbers_in_a_cell_are_told():
    texts = [f"{a}x{b}x{a - b}" for a, b in zip(HIGH, LOW, strict=True)]
    column = infer_schema(pd.DataFrame({"box": texts, "z": LOW}))["box"]
    assert column.facts["what"] == "three numbers"


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_they_are_two_columns_also_in_a_later_table(tmp_path, end):
    cells = [f"{a}/{b}" for a, b in zip(HIGH, LOW, strict=True)]
    frame = pd.DataFrame({"x": LOW, "bp": ["", *cells[1:]], "z": HIGH})
    path = tmp_path / f"a.{end}"
    new = tmp_path / f"b.{end}"
    for table, file in (
        (frame, path),
        (frame[:4].assign(bp=["9/8", "", "odd", "7/6"]), new),
    ):
        if end == "csv":
            table.to_csv(file, index=False)
        else:
            table.to_parquet(file)
    written = read_written(path)
    assert written.frame.columns.tolist() == ["x", "bp: first", "bp: second", "z"]
    assert written.frame["bp: first"].tolist()[1:] == HIGH.tolist()[1:]
    assert np.isnan(written.frame["bp: second"][0])
    assert written.notes[-1].startswith(
        f"cells with two numbers are two columns: bp ({cells[1]!r} is 'bp: first', "
        "'bp: second')"
    )
    later = read_written(new, Reading(later=True, pairs=written.pairs)).frame
    assert later["bp: first"].tolist()[::3] == [9, 7]
    assert later["bp: first"][2] == "odd", "it is to be refused"
    # Who names the column gets it as it is.
    named = read_written(path, Reading(named=["bp"])).frame
    assert named["bp"].tolist()[1:] == cells[1:]


def test_a_frame_with_them_gets_a_note_of_their_kind():
    cells = [f"{a}/{b}" for a, b in zip(HIGH, LOW, strict=True)]
    (pair_finding,) = findings_of(infer_schema(pd.DataFrame({"bp": cells})))[-1:]
    assert "'bp' looks like two numbers in each cell, such as" in pair_finding.text()
    assert "120 and 80 in two columns" in pair_finding.text()


def test_a_word_among_them_is_named_and_its_code_helps(tmp_path):
    cells = [f"{a}/{b}" for a, b in zip(HIGH, LOW, strict=True)]
    cells[5] = cells[9] = "not taken"
    frame = pd.DataFrame({"bp": cells, "x": LOW})
    finding_text = findings_of(infer_schema(frame))[-1].text(command=True)
    assert finding_text.startswith(
        "Column 'bp' looks like two numbers but for 'not taken', and"
    )
    assert finding_text.endswith("If it means missing, pass --na 'bp=not taken'")
    frame.to_csv(tmp_path / "t.csv", index=False)
    codes = MissingCodes.of([{"bp": ["not taken"]}])
    read = read_written(tmp_path / "t.csv", Reading(codes=codes)).frame
    assert read["bp: first"].isna().sum() == 2
    assert read["bp: second"].dropna().tolist() == np.delete(LOW, [5, 9]).tolist()


@pytest.fixture(scope="module", name="pressures")
def _pressures(tmp_path_factory):
    """A folder with a table of pressures, and a run that leaves the first number
    out.
    """
    folder = tmp_path_factory.mktemp("pressures")
    draw = np.random.default_rng(0)
    upper = draw.integers(100, 160, 160)
    lower = draw.integers(60, 99, 160)
    frame = pd.DataFrame(
        {"bp": [f"{a}/{b}" for a, b in zip(upper, lower, strict=True)]}
    )
    frame["kg"] = draw.normal(70, 9, 160).round(1)
    frame["ill"] = np.where(lower + 5 * draw.normal(size=160) > 80, "yes", "no")
    frame.to_csv(folder / "t.csv", index=False)
    (folder / "parts").mkdir()
    frame.to_parquet(folder / "parts" / "0.parquet")
    (folder / "preset.json").write_text(json.dumps(QUICK))
    words = ("run", folder / "t.csv", "--target", "ill", "--out", folder / "run")
    preset = ("--preset", folder / "preset.json")
    call(*words, *preset, "--drop", "bp: first")
    return folder


def test_one_of_two_numbers_of_a_cell_may_be_left_out(pressures):
    """The file that was learned from is predicted, too, though its header has no such
    columns.
    """
    out = pressures / "predicted.csv"
    call("predict", pressures / "run", pressures / "t.csv", "--out", out)
    stored = json.loads((pressures / "run" / "columns.json").read_text())
    assert "bp: second" in json.dumps(stored)
    assert len(pd.read_csv(out)) == 160
    said = call(
        *("run", pressures / "t.csv", "--target", "ill", "--drop", "bp: firs"), code=2
    )
    assert "--drop 'bp: firs': no such column. Did you mean 'bp: first'?" in said


def test_two_numbers_of_a_cell_are_refused_in_a_table_in_parts(pressures):
    words = ("predict", pressures / "run", pressures / "parts")
    said = call(*words, "--out", pressures / "parts-out", code=2)
    assert (
        "Cells of 'bp' hold two numbers, which the model reads as columns. Write 'bp: "
        "second', which a table in parts needs, or read one file with --no-stream."
    ) in said
    one = pressures / "parts" / "0.parquet"
    out = pressures / "one.csv"
    call("predict", pressures / "run", one, "--no-stream", "--out", out)
    assert len(pd.read_csv(out)) == 160
