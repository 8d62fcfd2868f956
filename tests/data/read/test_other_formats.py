"""One table in the files of several programs is one table."""

from __future__ import annotations

import gzip
import importlib.util
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, orc

import permgrad as pg
from permgrad.data.read.table import read_written
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


def as_spss(frame, path):
    pytest.importorskip("pyreadstat").write_sav(frame, path)


def as_duckdb(frame, path):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.register("stored", frame)
        connection.execute("CREATE TABLE visits AS SELECT * FROM stored")


def as_ods(frame, path):
    pytest.importorskip("odf")
    frame.to_excel(path, index=False, engine="odf")


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
    "t.sav": as_spss,
    "t.duckdb": as_duckdb,
    "t.ods": as_ods,
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


def test_a_table_of_a_database_has_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_sqlite(table(), "clinic.sqlite")
    with sqlite3.connect("clinic.sqlite") as connection:
        table().head(9).to_sql("odd one", connection, index=False)
    assert len(pg.read_table("sqlite:clinic.sqlite?table=visits")) == 60
    assert len(pg.read_table(f"sqlite:{tmp_path}/clinic.sqlite?table=odd one")) == 9
    with pytest.raises(pg.InputError, match=r"holds no table 'visit'\. It holds"):
        pg.read_table("sqlite:clinic.sqlite?table=visit")
    with pytest.raises(pg.InputError, match=r"'clinic\.db' does not exist"):
        pg.read_table("sqlite:clinic.db?table=visits")


@pytest.mark.parametrize(
    ("name", "content", "package", "install"),
    [
        ("t.sav", b"$FL2@(#) SPSS DATA FILE", "pyreadstat", "'permgrad[stats]'"),
        ("t.duckdb", bytes(8) + b"DUCK" + bytes(99), "duckdb", "duckdb"),
        (
            "t.ods",
            b"PK" + bytes(36) + b"application/vnd.oasis.opendocument.spreadsheet",
            "odfpy",
            "odfpy",
        ),
    ],
)
def test_a_file_whose_reader_is_not_installed_says_what_to_install(
    tmp_path, monkeypatch, name, content, package, install
):
    (tmp_path / name).write_bytes(content)
    find = importlib.util.find_spec
    absent = ("pyreadstat", "duckdb", "odf")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n in absent else find(n)
    )
    with pytest.raises(pg.PermgradError) as caught:
        pg.read_table(tmp_path / name)
    assert f"and {package} is not installed" in str(caught.value)
    assert f"pip install {install}, or save" in str(caught.value)


SMOKES = {1: "never", 2: "sometimes", 3: "daily"}


def survey():
    """Answers as codes, of which 9 means that nobody was asked."""
    draw = np.random.default_rng(3)
    frame = table().drop(columns="town")
    frame["smokes"] = draw.choice([1.0, 2.0, 3.0], 60)
    frame["visits"] = frame["visits"].astype(float).mask(draw.random(60) < 0.1, 98.0)
    return frame


def test_labels_and_missing_codes_of_an_spss_file(tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    frame = survey()
    asked = frame.assign(smokes=frame["smokes"].where(np.arange(60) % 9 > 0, 9.0))
    pyreadstat.write_sav(
        asked,
        tmp_path / "t.sav",
        column_labels={"weight": "Weight at the first visit, in kg"},
        variable_value_labels={
            "smokes": {**SMOKES, 9: "not asked"},
            "visits": {98.0: "refused"},
        },
        missing_ranges={"smokes": [9]},
    )
    with pytest.warns(
        pg.PermgradWarning, match=r"visits \(98 is 'refused'\)\. If .* --na visits=98"
    ):
        read = pg.read_table(tmp_path / "t.sav")
    assert list(read["smokes"].cat.categories)[:3] == ["never", "sometimes", "daily"]
    expected = frame["smokes"].map(SMOKES).where(np.arange(60) % 9 > 0, "nan")
    assert read["smokes"].astype(object).fillna("nan").tolist() == expected.tolist()
    assert read["visits"].tolist() == frame["visits"].tolist()
    written = read_written(tmp_path / "t.sav")
    assert written.labels == {"weight": "Weight at the first visit, in kg"}


def test_labels_and_missing_codes_of_a_stata_file(tmp_path):
    """Stata's own codes for missing, ``.a`` to ``.z``, are missing; labelled ones are
    noted.
    """
    frame = survey()
    labels = {"smokes": SMOKES, "visits": {98: "refused"}}
    frame.to_stata(
        tmp_path / "t.dta",
        write_index=False,
        variable_labels={"weight": "Weight in kg"},
        value_labels=labels,
    )
    with pytest.warns(pg.PermgradWarning, match=r"pass --na visits=98"):
        read = pg.read_table(tmp_path / "t.dta")
    assert list(read["smokes"].cat.categories) == list(SMOKES.values())
    assert read["smokes"].astype(str).tolist() == frame["smokes"].map(SMOKES).tolist()
    assert read["visits"].tolist() == frame["visits"].tolist()
    assert read_written(tmp_path / "t.dta").labels == {"weight": "Weight in kg"}


def test_per_cent_and_merged_cells_of_an_opendocument_sheet(tmp_path):
    opendocument = pytest.importorskip("odf.opendocument")
    from odf.table import CoveredTableCell, Table, TableCell, TableRow
    from odf.text import P

    book = opendocument.OpenDocumentSpreadsheet()
    sheet = Table(name="prices")
    head = TableRow()
    for name in ("region", "share"):
        cell = TableCell(valuetype="string")
        cell.addElement(P(text=name))
        head.addElement(cell)
    sheet.addElement(head)
    for row in range(24):
        line = TableRow()
        if row % 8:
            line.addElement(CoveredTableCell())
        else:
            cell = TableCell(valuetype="string", numberrowsspanned=8)
            cell.addElement(P(text="NSW"[row // 8]))
            line.addElement(cell)
        line.addElement(TableCell(valuetype="percentage", value=row / 80))
        sheet.addElement(line)
    book.spreadsheet.addElement(sheet)
    book.save(tmp_path / "t.ods")
    with pytest.warns(pg.PermgradWarning, match="merged over several rows .* region"):
        read = pg.read_table(tmp_path / "t.ods")
    assert read["region"].tolist() == [*["N"] * 8, *["S"] * 8, *["W"] * 8]
    np.testing.assert_allclose(read["share"], [row / 80 * 100 for row in range(24)])
