"""Cells that look like formulas are quoted and come back as they were."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

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
