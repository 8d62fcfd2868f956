"""One table in every file and frame that people have it in: one model predicts the
same.
"""

from __future__ import annotations

import sqlite3
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import feather

import permgrad as pg

ROWS = 160
VISITS = [f"2024-{1 + row % 12:02d}-{1 + row % 27:02d}" for row in range(ROWS)]


def patients() -> pd.DataFrame:
    """Numbers with gaps, whole numbers, names of things, money, words and days."""
    draw = np.random.default_rng(5)
    frame = pd.DataFrame({"weight": draw.normal(70, 9, ROWS).round(1)})
    frame["weight"] = frame["weight"].mask(draw.random(ROWS) < 0.1)
    frame["visits"] = draw.integers(0, 9, ROWS)
    frame["ward"] = draw.integers(11, 19, ROWS)
    frame["town"] = draw.choice(["Bonn", "Ulm", "Köln"], ROWS)
    frame["cost"] = draw.lognormal(6, 1, ROWS).round(2)
    frame["seen"] = VISITS
    score = frame["visits"] + 3 * (frame["town"] == "Ulm") + draw.normal(size=ROWS)
    frame["ill"] = np.where(score > 5, "yes", "no")
    return frame


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(seen=pd.to_datetime(frame["seen"]))


def as_excel(frame: pd.DataFrame, path: Path) -> None:
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    dated(frame).to_excel(path, index=False)


def as_ods(frame: pd.DataFrame, path: Path) -> None:
    pytest.importorskip("odf", reason="odfpy is not installed")
    dated(frame).to_excel(path, index=False, engine="odf")


def as_spss(frame: pd.DataFrame, path: Path) -> None:
    pyreadstat = pytest.importorskip("pyreadstat", reason="pyreadstat is not installed")
    pyreadstat.write_sav(dated(frame), str(path))


def as_sqlite(frame: pd.DataFrame, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        frame.to_sql("visits", connection, index=False)


def as_duckdb(frame: pd.DataFrame, path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect(str(path)) as connection:
        connection.register("stored", frame.astype({"town": object, "seen": object}))
        connection.execute("CREATE TABLE visits AS SELECT * FROM stored")


WRITERS = {
    "t.csv": lambda frame, path: frame.to_csv(path, index=False),
    "semicolons.csv": lambda frame, path: frame.to_csv(
        path, index=False, sep=";", decimal=","
    ),
    "t.xlsx": as_excel,
    "t.ods": as_ods,
    "t.parquet": lambda frame, path: dated(frame).to_parquet(path),
    "t.feather": lambda frame, path: feather.write_feather(dated(frame), path),
    "t.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "t.dta": lambda frame, path: dated(frame).to_stata(
        path, write_index=False, convert_dates={"seen": "td"}
    ),
    "t.sav": as_spss,
    "t.db": as_sqlite,
    "t.duckdb": as_duckdb,
}


@pytest.fixture(scope="module", name="trained")
def _trained():
    """A model of the rows of a frame, and its probabilities."""
    frame = patients()
    X = frame.drop(columns="ill")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pg.HyNNClassifier(
            preset={"base": "fast", "branches": ["tabular"]},
            max_epochs=5,
            random_state=0,
            progress=False,
        ).fit(X, frame["ill"])
        probabilities = model.predict_proba(X)
    assert np.ptp(probabilities[:, 1]) > 0.1, "the case is not trivial"
    return model, probabilities


def predicted(model, X) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is unlike training
        return model.predict_proba(X)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_predicted_as_the_frame_is(tmp_path, trained, name):
    model, expected = trained
    WRITERS[name](patients(), tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = pg.read_table(tmp_path / name).drop(columns="ill")
    np.testing.assert_allclose(predicted(model, X), expected, rtol=0, atol=1e-6)


def test_a_frame_of_polars_is_predicted_as_that_of_pandas_is(trained):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    model, expected = trained
    X = patients().drop(columns="ill")
    frame = polars.DataFrame({name: X[name].tolist() for name in X})
    days = frame.with_columns(polars.col("seen").str.to_date())
    for table in (frame, days, dated(X)):
        np.testing.assert_allclose(predicted(model, table), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_teaches_what_the_csv_teaches(tmp_path, name):
    """The kinds of all columns are those of the frame, however whole numbers are
    stored.
    """
    frame = patients()
    WRITERS[name](frame, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = pg.read_table(tmp_path / name).drop(columns="ill")
        model = pg.HyNNClassifier(preset="fast", random_state=0, progress=False)
        types = model.fit_encoder(X, y=frame["ill"]).encoder.schema_
        same = pg.HyNNClassifier(preset="fast", random_state=0, progress=False)
        expected = same.fit_encoder(frame.drop(columns="ill"), y=frame["ill"]).encoder
    kinds = {column.name: column.kind for column in types}
    assert kinds == {column.name: column.kind for column in expected.schema_}


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_a_text_of_blanks_is_missing_in_every_file(tmp_path, ending, categories):
    words = ["cat", "", "dog", "  ", None, "cat"]
    frame = pd.DataFrame({"pet": words, "age": np.arange(6.0)})
    frame.to_csv(tmp_path / "table.csv", index=False)
    if categories:
        frame["pet"] = frame["pet"].astype("category")
    getattr(frame, f"to_{ending}")(tmp_path / f"table.{ending}")
    expected = pg.read_table(tmp_path / "table.csv")
    assert expected["pet"].isna().tolist() == [False, True, False, True, True, False]
    read = pg.read_table(tmp_path / f"table.{ending}")
    assert read["pet"].isna().tolist() == expected["pet"].isna().tolist()
    assert set(read["pet"].dropna()) == {"cat", "dog"}
    if categories:
        assert read["pet"].cat.categories.tolist() == ["cat", "dog"]
