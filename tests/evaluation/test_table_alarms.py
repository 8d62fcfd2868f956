"""A table is looked at in one place: for runs, comparisons, studies and reports."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from assessing import assessed
from sklearn.linear_model import LinearRegression

import permgrad as pg
from permgrad.evaluation.table_alarms import shared_on_both_sides, table_alarms
from permgrad.pages.alarms import alarm_sentences
from permgrad.pages.verdict import verdict


def pens(of_a_pen: int = 4, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Animals of 120 pens: what they eat is that of their pen, by its exact area."""
    rng = np.random.default_rng(seed)
    pen = np.repeat(np.arange(120), of_a_pen)
    area = np.round(rng.uniform(20, 90, 120), 2)
    eaten = rng.normal(size=120)[pen] + rng.normal(0, 0.3, len(pen))
    table = pd.DataFrame({"area": area[pen], "weight": rng.normal(60, 8, len(pen))})
    order = rng.permutation(len(pen))
    return table.iloc[order].reset_index(drop=True), eaten[order]


def test_rows_that_share_a_value_alarm_where_they_are_on_both_sides():
    table, eaten = pens()
    half = len(table) // 2
    sides = (table[:half], eaten[:half]), (table[half:], eaten[half:])
    found = shared_on_both_sides(*sides, "regression", ())
    assert found is not None
    assert found["columns"] == ["area"]
    assert found["clear"]
    small = table["area"] < table["area"].median()
    apart = (table[small], eaten[small]), (table[~small], eaten[~small])
    assert shared_on_both_sides(*apart, "regression", ()) is None, "no pen is in both"


def test_a_report_says_what_a_run_says_and_how_to_mend_it_in_python():
    table, eaten = pens()
    half = len(table) // 2
    model = LinearRegression().fit(table[:half], eaten[:half])
    train = (table[:half], eaten[:half])
    content = assessed(model, table[half:], eaten[half:], train=train)
    spoken = verdict(content)
    assert spoken[0]["facts"]["kind"] == "together"
    sides = (table[:half], eaten[:half]), (table[half:], eaten[half:])
    alarms = table_alarms(
        *sides,
        "regression",
        (),
        together=shared_on_both_sides(*sides, "regression", ()),
    )
    assert alarm_sentences("y", alarms) == [spoken[0]["sentence"]]
    assert spoken[-1]["sentence"] == (
        "If such rows belong together, keep them on one side when you divide rows, "
        "and pass row_groups=."
    )
    assert "command" not in spoken[-1]["facts"]


@pytest.mark.slow
def test_a_report_of_rows_with_groups_looks_for_no_others():
    table, eaten = pens()
    half = len(table) // 2
    model = LinearRegression().fit(table[:half], eaten[:half])
    groups = table["area"]
    train = (table[:half], eaten[:half], groups[:half])
    page = pg.report(
        model,
        table[half:],
        eaten[half:],
        train=train,
        row_groups=groups[half:],
        progress=False,
    )
    assert "Rows share" not in page.markdown
