"""Identifiers of 17 digits stay themselves where a cell of their column is missing:
floats would round them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from permgrad.data.partitions import open_partitioned
from permgrad.data.read.table import read_table
from permgrad.runs.run.predicting import prediction_table

FIRST = 2**53 + 1
NUMBERS: list[int | None] = [FIRST, None, FIRST + 2, -3]


def test_the_numbers_are_those_that_floats_round() -> None:
    assert int(float(FIRST)) != FIRST


def test_csv_keeps_large_whole_numbers_beside_a_missing_cell(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(
        "nr;x;small\n"
        + "".join(
            f"{'' if nr is None else nr};0,5;{(nr and 1) or ''}\n" for nr in NUMBERS
        )
    )
    read = read_table(file)
    assert [None if nr is pd.NA else nr for nr in read["nr"]] == NUMBERS
    assert read["small"].dtype == np.float64  # as ever: nothing is rounded there
    assert read["x"].tolist() == [0.5] * 4


def test_the_largest_number_of_64_bits_is_exact(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(f"nr,x\n{2**53 + 1},1\n,2\n{2**63 - 1},3\n")
    assert read_table(file)["nr"].dropna().tolist() == [2**53 + 1, 2**63 - 1]


def test_large_numbers_with_decimals_stay_floats(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a,b\n1e20,9007199254740993.0\n,\n3,5\n")
    read = read_table(file)
    assert read.dtypes.tolist() == [np.float64, np.float64]


def test_declared_codes_do_not_round_what_is_left(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(f"nr,x\n{FIRST},1\n-9,2\n")
    assert read_table(file, na=[-9])["nr"].tolist() == [FIRST, pd.NA]


@pytest.mark.parametrize("statistics", [True, False])
def test_parquet_keeps_them_in_memory_and_in_parts(
    tmp_path: Path, statistics: bool
) -> None:
    table = pa.table(
        {"nr": pa.array(NUMBERS), "u": pa.array([2**64 - 1, None, 3, 4], pa.uint64())}
    )
    pq.write_table(
        table, tmp_path / "table.parquet", row_group_size=2, write_statistics=statistics
    )
    whole_table = read_table(tmp_path / "table.parquet")
    partitioned_table = open_partitioned(tmp_path, rows_per_part=2)
    assert len(partitioned_table.parts) == 2
    for read in (whole_table, partitioned_table.read_all(), read_table(tmp_path)):
        assert [None if nr is pd.NA else nr for nr in read["nr"]] == NUMBERS
        assert read["u"].dropna().tolist() == [2**64 - 1, 3, 4]


def test_small_numbers_in_parts_are_floats_as_in_memory(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1, None, 3])}), tmp_path / "table.parquet")
    assert open_partitioned(tmp_path).read_all()["a"].dtype == np.float64
    assert read_table(tmp_path / "table.parquet")["a"].dtype == np.float64


def test_predictions_write_identifiers_as_they_were() -> None:
    predicted = {"prediction": np.zeros(3)}
    identifiers = pd.DataFrame(
        {"nr": pd.array([FIRST, None, 5], dtype="Int64"), "id": [17.0, np.nan, 18.0]}
    )
    lines = (
        prediction_table(np.arange(3), identifiers, predicted, None)
        .to_csv(index=False)
        .splitlines()
    )
    assert lines[1:] == [f"0,{FIRST},17,0.0", "1,,,0.0", "2,5,18,0.0"]
