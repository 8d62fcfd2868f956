"""A column that alone gives nearly all of the skill, and dates that a model relies on
most.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.data import DataSection
from permgrad.evaluation.leaks import columns_that_tell, told_by
from permgrad.pages.content import PageContent
from permgrad.pages.facts import column_facts, feature_facts
from permgrad.pages.facts.column_facts import leak_facts
from permgrad.pages.findings import ADVICE, Writer, say


def content(alone, test, task="regression", drift=(), leaks=()):
    made = Assessment(title="t", target="y", task=task)
    made.metrics = {"test": test, "constant": {"learnt": True}}
    made.reading = {"alone": alone}
    made.data = DataSection(rows={}, drift=drift, leaks=leaks)
    return made


def column(name, score, *, metric="r2", date=False):
    return {
        "feature": name,
        "column": name,
        "date": date,
        "metric": metric,
        "score": score,
    }


@pytest.mark.parametrize(
    ("score", "value", "said"),
    [(0.9, 0.93, True), (0.72, 0.7, True), (0.8, 0.93, False), (0.5, 0.5, False)],
)
def test_nearly_all_of_much_skill_is_said(score, value, said):
    found = feature_facts.nearly_all(
        PageContent.of(content(column("days", score), {"r2": value}))
    )
    assert (found is not None) == said
    if found is not None:
        assert say("nearly_all", found).startswith(
            "It relies most on days, which alone gives nearly all of its skill (R² "
        )
        assert Writer(found).sentence(ADVICE["nearly_all"]) == (
            "Find out when days is known. If only after the outcome, train without it"
        )
        assert found["options"] == ["--drop", "days"]


def test_what_an_alarm_says_is_not_said_again():
    leak = {"column": "days", "metric": "r2", "score": 0.99, "rows": 100}
    made = content(column("days", 0.9), {"r2": 0.93}, leaks=[leak])
    assert feature_facts.nearly_all(PageContent.of(made)) is None


def test_a_date_names_the_option_of_a_split_in_time():
    same = {"column": "day", "clear": False}
    made = content(column("day", 0.9, date=True), {"r2": 0.93}, drift=[same])
    found = column_facts.dated(PageContent.of(made))
    assert found["options"] == ["--time", "day"]
    assert feature_facts.nearly_all(PageContent.of(made)) is None
    later = content(
        column("day", 0.9, date=True), {"r2": 0.93}, drift=[{**same, "clear": True}]
    )
    assert column_facts.dated(PageContent.of(later)) is None, (
        "test rows are later already"
    )


def test_a_column_alone_is_looked_up_on_rows_held_out():
    rng = np.random.default_rng(0)
    days = rng.uniform(0, 1000, 600)
    noise = rng.normal(size=600)
    event = (days < 600) ^ (rng.random(600) < 0.05)
    for values, least, most in ((days, 0.9, 0.98), (noise, 0.4, 0.6)):
        series = pd.Series(values)
        halves = (series[:300], event[:300]), (series[300:], event[300:])
        told = told_by(*halves, "classification")
        assert told["metric"] == "balanced_accuracy"
        assert least < told["score"] < most


def test_an_alarm_on_dates_advises_a_split_in_time():
    rng = np.random.default_rng(1)
    day = pd.Series(pd.date_range("2022-01-01", periods=800).astype(str))
    level = np.cumsum(rng.normal(size=800))
    chosen = rng.random(800) < 0.6
    table = pd.DataFrame({"day": day, "x": rng.normal(size=800)})
    parts = [(table[rows], level[rows]) for rows in (chosen, ~chosen)]
    (leak,) = columns_that_tell(*parts, "regression")
    assert leak["date"]
    found = leak_facts("level", [leak])
    assert found["options"] == ["--time", "day"]
    assert "rows of near dates are alike, and are on both sides." in say("leak", found)
    assert Writer(found).sentence(ADVICE["leak"]) == (
        "Train again with the latest rows by 'day' as test rows"
    )
