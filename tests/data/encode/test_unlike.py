"""Rows that have what no training row had are told, with an example and the range of
training.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from permgrad.data.encode import unlike
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scaling import ScalingMode
from permgrad.data.encode.scores import Target
from permgrad.data.encode.unlike import UnlikeRows, unlike_training


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "dose": np.append(rng.uniform(10, 20, 498), [10.0, 20.0]),
            "calls": rng.choice([0, 0, 0, 7], 500),
            "town": rng.choice(["Ulm", "Bonn"], 500),
            "ill": rng.choice(["yes", "no"], 500),
            "sold": pd.date_range("2020-01-01", periods=500),
        }
    )


def told(encoder: TableEncoder, rows: pd.DataFrame) -> list[tuple]:
    return [
        (
            unlike_cells.column,
            unlike_cells.kind,
            unlike_cells.rows.tolist(),
            unlike_cells.example,
            unlike_cells.ends,
        )
        for unlike_cells in unlike_training(encoder, rows)
    ]


@pytest.mark.parametrize("mode", get_args(ScalingMode))
def test_numbers_and_dates_outside_those_of_training_are_told_with_their_range(
    table, mode
):
    encoder = TableEncoder(numeric=mode).fit(table)
    assert told(encoder, table) == [], "rows of training are like training"
    far = table[:3].assign(
        dose=[9.5, 15.0, 1e6],
        sold=pd.to_datetime(["2019-12-31", "2020-02-01", "2020-03-01"]),
    )
    assert told(encoder, far) == [
        ("dose", "range", [True, False, True], "9.5", ("10", "20")),
        (
            "sold",
            "range",
            [True, False, False],
            "2019-12-31",
            ("2020-01-01", "2021-05-14"),
        ),
    ]


def test_levels_words_and_missing_cells_that_training_did_not_have_are_told(table):
    encoder = TableEncoder(na=["?"]).fit(table)
    new = table[:4].assign(
        town=["Kiel", "?", "Ulm", None],
        ill=["maybe", "yes", "no", "no"],
        dose=[12, None, 11, 12],
    )
    assert told(encoder, new) == [
        ("dose", "missing", [False, True, False, False], "", None),
        ("town", "level", [True, False, False, False], "Kiel", None),
        ("town", "missing", [False, True, False, True], "", None),
        ("ill", "word", [True, False, False, False], "maybe", None),
    ]


def test_levels_with_scores_are_known_and_those_of_one_encoded_column_are_not():
    frame = pd.DataFrame(
        {"shop": np.repeat([f"s{shop_number}" for shop_number in range(120)], 10)}
    )
    y = np.random.default_rng(0).normal(size=120).repeat(10)
    new = pd.DataFrame({"shop": ["s3", "s999"]})
    encoder = TableEncoder(max_levels=50).fit(frame)
    assert told(encoder, new.assign(shop="s3")) == []
    assert told(encoder, new.assign(shop="s99")) == [
        ("shop", "rare", [True, True], "s99", None)
    ], "it is not known"
    encoder.learn(frame, Target.of(y, "regression", 0))
    assert told(encoder, new) == [("shop", "level", [False, True], "s999", None)]


def test_a_constant_column_has_no_range():
    frame = pd.DataFrame({"x": np.arange(50.0), "same": 3.0})
    assert told(TableEncoder().fit(frame), frame.assign(same=1e9)) == []


def test_a_column_a_hundred_times_smaller_than_in_training_is_told():
    rates = np.random.default_rng(5).uniform(0, 80, 300)
    encoder = TableEncoder().fit(pd.DataFrame({"rate": rates, "x": -rates}))
    new = pd.DataFrame({"rate": rates[:30] / 100, "x": -rates[:30]})
    (scale_change,) = unlike_training(encoder, new)
    assert (scale_change.column, scale_change.kind, scale_change.rows.all()) == (
        "rate",
        "scale",
        True,
    )
    counts = UnlikeRows()
    counts.add([scale_change], 30)
    assert "have rate about a hundred times smaller than in training" in counts.lines[0]
    assert unlike_training(encoder, new[:9]) == [], "nine small rows may be chance"
    assert unlike_training(encoder, new.assign(rate=rates[:30])) == []


@pytest.mark.parametrize("na", [(), (-9, "?"), ({"calls": -9},)])
def test_numbers_and_dates_are_told_as_their_texts_are(table, monkeypatch, na):
    """Columns that hold numbers are compared without reading texts, with the result of
    reading them.
    """
    training = table.assign(
        flag=table["calls"] > 0,
        whole=pd.array(np.arange(500) * 7 % 113, dtype="Int64"),
        part=np.float32(table["dose"]),
    )
    encoder = TableEncoder(na=list(na)).fit(training)
    rows = training[:6].copy()
    rows["dose"] = [np.nan, -9.0, 1e6, 15.0, 15.5, -3.25]
    rows["calls"] = [-9, 0, 7, 8, 0, 7]
    rows["whole"] = pd.array([None, -9, 3, 10**6, 4, 5], dtype="Int64")
    rows["part"] = np.array([15.0, np.nan, -9.0, 1e9, 12.5, 11.0], dtype=np.float32)
    rows["town"] = ["Ulm", "Kiel", "?", None, "Bonn", "Kiel"]
    rows.loc[rows.index[2], "sold"] = pd.NaT
    rows.loc[rows.index[3], "sold"] = pd.Timestamp("1990-05-05 10:30")
    by_numbers = told(encoder, rows)
    assert len(by_numbers) > 6, "many kinds of cells are unlike training"

    read = []
    with monkeypatch.context() as patched:
        original = unlike.Distinct.of
        patched.setattr(
            unlike.Distinct,
            "of",
            lambda cells, name: (read.append(name), original(cells, name))[1],
        )
        unlike_training(encoder, rows)
    assert not {"dose", "whole", "part"} & {*read}
    with monkeypatch.context() as patched:
        patched.setattr(unlike, "_held_as_numbers", lambda *_: set())
        assert told(encoder, rows) == by_numbers
