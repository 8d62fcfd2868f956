"""Cells that look like formulas are quoted and come back as they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from permgrad.base import csv_files
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
