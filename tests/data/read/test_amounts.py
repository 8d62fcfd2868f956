"""Numbers with signs and units: from CSV, Parquet, Excel and frames they are the same
numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.data.read.amounts import Notation, find_notation
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.reading import Reading
from permgrad.data.read.table import read_written
from permgrad.data.types.column_types import infer_schema, read_numbers

COUNTED = range(24)


@pytest.mark.parametrize(
    ("texts", "unit", "numbers"),
    [
        ([f"£{n},250.75" for n in range(1, 9)], "£", [1250.75, 2250.75]),
        ([f"{n},5 %" for n in COUNTED], "%", [0.5, 1.5]),
        ([f"{n // 12} yr {n % 12} mo" for n in COUNTED], "months", [0, 1]),
        ([f"{n}w {n % 7}d" for n in COUNTED], "days", [0, 8]),
        ([f"{n} min {n} s" for n in COUNTED], "s", [0, 61]),
        ([f"{n}y {n % 12}m" for n in COUNTED], "months", [0, 13]),
        ([f"4'{n % 12}\"" for n in COUNTED], "in", [48, 49]),
        ([f"{n} lbs {n % 16} oz" for n in range(2, 24)], "oz", [34, 51]),
        ([f"{n} mg/dL" for n in COUNTED], "mg/dL", [0, 1]),
        (["0.5 TB", *[f"{n} GB" for n in range(1, 20)]], "GB", [500, 1]),
        ([f"{n} sq. ft." for n in COUNTED], "sq. ft", [0, 1]),
        ([f"{n} kg/m2" for n in COUNTED], "kg/m2", [0, 1]),
        (["1 day ago", *[f"{n} days ago" for n in range(2, 24)]], "days ago", [1, 2]),
        (["0", *[f"{n} kg" for n in range(1, 20)], "250 g"], "kg", [0, 1]),
    ],
)
def test_numbers_with_signs_and_units_are_amounts_in_one_unit(texts, unit, numbers):
    notation = find_notation(texts, [1] * len(texts))
    assert notation is not None
    assert notation.unit == unit
    np.testing.assert_allclose(notation.read(texts)[:2], numbers)
    # A column of a frame is read alike, and the type comes back as it was.
    frame = pd.DataFrame({"a": texts})
    column = infer_schema(frame)["a"]
    assert (column.kind, column.unit) == ("numeric", unit)
    values, _ = read_numbers(frame["a"], column, MissingCodes())
    np.testing.assert_array_equal(values, notation.read(texts))


@pytest.mark.parametrize(
    "texts",
    [
        [f"{n}B" for n in COUNTED],
        [f"{n}th" for n in COUNTED],
        [f"{n}XL" for n in COUNTED],
        [f"{n} kg" if n % 2 else f"{n} GB" for n in COUNTED],
        [f"{n} d {n} d" for n in COUNTED],
        [f"{n} {'Oak Street' if n % 2 else 'Main Road'}" for n in COUNTED],
        [f"{n} s {n} min" for n in COUNTED],
        ["5 kg", "7 kg"],
    ],
)
def test_codes_and_mixed_units_are_no_amounts(texts):
    assert find_notation(texts, [1] * len(texts)) is None


def test_a_later_table_is_read_in_the_unit_that_was_learned(tmp_path):
    learned = tmp_path / "a.csv"
    new = tmp_path / "b.csv"
    pd.DataFrame({"a": [f"{n} GB" for n in COUNTED], "b": 1}).to_csv(learned)
    pd.DataFrame({"a": ["512 MB", "2 TB", "7", "many"], "b": 1}).to_csv(new)
    units = read_written(learned).units
    assert units == {"a": "GB"}
    cells = read_written(new, Reading(later=True, units=units)).frame["a"].tolist()
    assert [float(cell) for cell in cells[:3]] == [0.512, 2000, 7]
    assert cells[3] == "many"
    assert Notation("GB").read(["1.5 TB", "1 kg"])[0] == 1500


def test_texts_of_a_parquet_file_are_the_numbers_of_a_csv_file(tmp_path):
    draw = np.random.default_rng(3)
    frame = pd.DataFrame({
        "pay": [f"€{cell:,.2f}" for cell in draw.lognormal(8, 1, 40)],
        "rate": [f"{cell:.1f} %" for cell in draw.uniform(0, 9, 40)],
        "size": [f"{cell:.2f} km" for cell in draw.uniform(0, 9, 40)],
        "dose": [".b", ".", *[f"{cell:.2f}" for cell in draw.uniform(0, 9, 38)]],
        "code": [f"{number:03d}" for number in range(40)],
    })  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    text, typed = (read_written(tmp_path / f"t.{end}") for end in ("csv", "parquet"))
    assert typed.units == text.units == {"pay": "€", "rate": "%", "size": "km"}
    assert typed.missing == text.missing == {"dose": {".": 1 / 40, ".b": 1 / 40}}
    for name in ("pay", "rate", "size", "dose"):
        assert typed.frame[name].dtype == np.float64
        np.testing.assert_array_equal(typed.frame[name], text.frame[name])
    assert typed.frame["code"].tolist() == frame["code"].tolist(), "stored as text"


def test_full_stops_among_numbers_are_missing_also_in_a_frame():
    cells = ["."] * 3 + [".z"] + [f"{number}.5" for number in range(30)]
    column = infer_schema(pd.DataFrame({"a": cells, "b": ["."] * 17 + ["x"] * 17}))
    assert (column["a"].kind, column["a"].n_missing) == ("numeric", 4)
    assert column["b"].kind == "categorical", "there it is a word"
    values, kinds = read_numbers(pd.Series(cells), column["a"], MissingCodes())
    assert np.isnan(values).sum() == 4
    assert (kinds > 0).sum() == 4
