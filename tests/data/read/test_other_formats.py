"""One table in the files of several programs is one table."""

from __future__ import annotations

import gzip
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, orc

import permgrad as pg
from permgrad.data.types.column_types import infer_schema


def table():
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "weight": draw.normal(70, 9, 60).round(2),
            "visits": draw.integers(0, 9, 60),
            "town": draw.choice(["Bonn", "Ulm"], 60),
        }
    )
    frame.loc[::7, "weight"] = np.nan
    return frame


def as_sqlite(frame, path):
    with sqlite3.connect(path) as connection:
        frame.to_sql("visits", connection, index=False)


WRITERS = {
    "t.csv": lambda frame, path: frame.to_csv(path, index=False),
    "t.parquet": lambda frame, path: frame.to_parquet(path),
    "t.feather": feather.write_feather,
    "t.orc": lambda frame, path: orc.write_table(pa.Table.from_pandas(frame), path),
    "t.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "t.dta": lambda frame, path: frame.to_stata(path, write_index=False),
    "t.db": as_sqlite,
}


@pytest.mark.parametrize("name", WRITERS)
def test_kinds_and_cells_are_those_of_the_csv(tmp_path, name):
    WRITERS["t.csv"](table(), tmp_path / "plain.csv")
    WRITERS[name](table(), tmp_path / name)
    expected = pg.read_table(tmp_path / "plain.csv")
    frame = pg.read_table(tmp_path / name)
    assert list(frame.columns) == list(expected.columns)
    kinds = {column.name: column.kind for column in infer_schema(frame)}
    assert kinds == {column.name: column.kind for column in infer_schema(expected)}
    for column in ("weight", "visits"):
        values = frame[column].to_numpy(dtype=float, na_value=np.nan)
        np.testing.assert_allclose(values, expected[column].to_numpy(dtype=float))
    assert frame["town"].astype(str).tolist() == expected["town"].tolist()


def test_labels_of_a_stata_file_are_categories_in_the_order_of_their_codes(tmp_path):
    order = ["never", "sometimes", "daily"]
    codes = np.random.default_rng(0).integers(0, 3, 60)
    frame = table().assign(smokes=pd.Categorical.from_codes(codes, order, ordered=True))
    frame.to_stata(tmp_path / "t.dta", write_index=False)
    read = pg.read_table(tmp_path / "t.dta")["smokes"]
    assert read.astype(str).tolist() == frame["smokes"].astype(str).tolist()
    assert list(read.cat.categories) == order


def test_a_database_of_several_tables_is_asked_by_name(tmp_path):
    path = tmp_path / "clinic.sqlite"
    as_sqlite(table(), path)
    with sqlite3.connect(path) as connection:
        table().head(9).to_sql('odd "name"', connection, index=False)
    with pytest.raises(pg.InputError, match=r"holds the tables visits, odd .*--sheet"):
        pg.read_table(path)
    assert len(pg.read_table(path, sheet="visits")) == 60
    assert len(pg.read_table(path, sheet='odd "name"')) == 9
    with pytest.raises(pg.InputError, match="holds no table 'visit'"):
        pg.read_table(path, sheet="visit")


@pytest.mark.parametrize("name", ["t.feather", "t.dta", "t.jsonl", "t.orc"])
def test_a_damaged_file_is_named(tmp_path, name):
    WRITERS[name](table(), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2] + b"\x00")
    with pytest.raises(pg.InputError, match=rf"{name}' cannot be read"):
        pg.read_table(tmp_path / name)


def test_a_packed_damaged_parquet_file_has_the_users_name(tmp_path):
    table().to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    path = tmp_path / "t.parquet.gz"
    path.write_bytes(gzip.compress(content[:-30]))
    with pytest.raises(pg.InputError) as caught:
        pg.read_table(path)
    assert str(caught.value).startswith(f"{str(path)!r} is cut off, damaged")
