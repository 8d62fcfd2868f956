"""Cells that look like formulas are quoted and come back as they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permgrad.base import csv_files, csv_lines
from permgrad.base.csv_files import csv_text, quoted, unquoted


def test_quoting_formulas():
    texts = ("=1+1", "-2+3", "-2.5", "-", "a=b", "'=x", "'a'")
    assert [quoted(text) for text in texts] == [
        "'=1+1",
        "'-2+3",
        "-2.5",
        "-",
        "a=b",
        "''=x",
        "'a'",
    ]
    assert [unquoted(quoted(text)) for text in texts] == list(texts)
    assert csv_text(pd.DataFrame({"a": ["=1", "b"], "-": [-1.5, 2]})) == (
        "a,-\n'=1,-1.5\nb,2.0\n",
        1,
    )


def test_a_formula_behind_a_semicolon_is_quoted():
    """A spreadsheet that splits lines at semicolons reads what follows as a cell."""
    texts = ("b;=2+3", "b; @x", "b;-2.5", "b;-;c", "b;c=2", "b\n+x", "b\t=1;=2")
    assert [quoted(text) for text in texts] == [
        "b;'=2+3",
        "b; '@x",
        "b;-2.5",
        "b;-;c",
        "b;c=2",
        "b\n'+x",
        "b\t'=1;'=2",
    ]
    assert csv_text(pd.DataFrame({"a;=0": ["b;=2+3"]})) == ("a;'=0\nb;'=2+3\n", 2)


@given(st.text(alphabet="=-+@'; \t\r\n1a."))
def test_quoted_texts_come_back(text):
    assert unquoted(quoted(text)) == text


def test_texts_that_repeat_are_read_once(monkeypatch):
    seen = []
    monkeypatch.setattr(
        csv_files, "quoted", lambda text: (seen.append(text), quoted(text))[1]
    )
    frame = pd.DataFrame(
        {
            "name": ["=1", "b"] * 500,
            "level": pd.Categorical(["c", "+x"] * 500),
            "mixed": pd.Series([["=1"], "@y", None, 2.5] * 250, dtype=object),
            "amount": np.arange(1000) / 3,
        }
    )
    text, count = csv_text(frame)
    assert count == 500 + 500 + 250
    lines = text.splitlines()
    assert lines[1] == "'=1,c,['=1'],0.0"
    assert lines[2] == "b,'+x,'@y,0.3333333333333333"
    assert lines[3] == "'=1,c,,0.6666666666666666"
    assert len(seen) == 9, "five texts and four names"
    assert csv_text(frame.drop(columns="name")[:1])[1] == 0


def test_a_carriage_return_in_any_kind_of_text_puts_texts_in_double_quotes():
    for cells in (
        pd.Series(["a\rb", "c"]),
        pd.Series(["a\rb", ["c"]], dtype=object),
        pd.Series(pd.Categorical(["a\rb", "c"])),
    ):
        assert csv_text(pd.DataFrame({"x": cells}))[0].startswith('"x"\n"a\rb"\n')


def test_many_rows_are_the_bytes_of_pandas(tmp_path, monkeypatch):
    """Columns of integers, numbers and texts are written by column."""
    rng = np.random.default_rng(3)
    count = 3_000
    sizes = 10.0 ** rng.uniform(-30, 30, count)
    texts = ["plain", 'a "b"', "a,b", "line\nend", "", " Köln ", None, "'"]
    numbers = np.concatenate([sizes[:1_000], rng.normal(size=2_000)])
    numbers[:6] = [0.0, -0.0, np.nan, np.inf, 1e-4, 1e16]
    numbers[6:40] = 10.0 ** np.arange(-17, 17)
    frame = pd.DataFrame(
        {
            "row, here": np.arange(count),
            "size": numbers * rng.choice([-1, 1], count),
            "text": rng.choice(np.array(texts, dtype=object), count),
            "last": rng.choice(["yes", "no"], count),
        }
    )
    halves = np.array(["\ud800", "b"], dtype=object)[np.arange(count) % 2]
    frame["half"] = pd.Series(halves, dtype=object)
    monkeypatch.setattr(csv_files, "_MANY", count)
    with (tmp_path / "by_column.csv").open("wb") as stream:
        assert csv_lines.write_lines(frame, stream)
    csv_files.write_csv(frame, tmp_path / "written.csv")
    frame.to_csv(tmp_path / "pandas.csv", index=False, errors="backslashreplace")
    by_pandas = (tmp_path / "pandas.csv").read_bytes()
    assert (tmp_path / "written.csv").read_bytes() == by_pandas
    assert (tmp_path / "by_column.csv").read_bytes() == by_pandas


@pytest.mark.parametrize(
    "cells",
    [
        np.array([1, "a"], dtype=object),
        np.array([[1], "a"], dtype=object),
        np.array([True, False]),
        np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[ns]"),
        np.array([0.1, 0.2], dtype=np.float32),
    ],
)
def test_other_columns_are_left_to_pandas(cells, tmp_path, monkeypatch):
    frame = pd.DataFrame({"row": [0, 1], "cells": cells})
    monkeypatch.setattr(csv_files, "_MANY", 0)
    with (tmp_path / "by_column.csv").open("wb") as stream:
        assert not csv_lines.write_lines(frame, stream)
    csv_files.write_csv(frame, tmp_path / "written.csv")
    assert (tmp_path / "by_column.csv").stat().st_size == 0
    assert (tmp_path / "written.csv").read_text() == frame.to_csv(index=False)
