"""Cells that look like formulas are quoted and come back as they were."""

from __future__ import annotations

import pandas as pd

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
