"""A summary of training rows says the same of new rows as the training rows do."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from permgrad.base.dependence import Dependence
from permgrad.evaluation.column_summary import against_summary, summary_of
from permgrad.evaluation.drift import compare_parts


def table(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2021-03-01")
    days = pd.to_timedelta(rng.integers(0, 90, rows) + 20 * shift, unit="D")
    frame = pd.DataFrame(
        {
            "dose": rng.exponential(size=rows) + shift,
            "grade": rng.integers(1, 5, rows),
            "ward": rng.choice(["north", "south", "east"], rows),
            "seen": start + days,
            "note": [f"note {number}" for number in rng.integers(0, 10**8, rows)],
        }
    )
    frame.loc[rng.random(rows) < 0.1 + 0.3 * bool(shift), "ward"] = None
    return frame


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("rows", [400, 3000])
def test_it_says_what_the_rows_say(rows, shift):
    train = table(rows, 0)
    test = table(300, 1, shift)
    kept = json.loads(json.dumps(summary_of(train)))
    by_rows = {one["column"]: one for one in compare_parts(train, test)["drift"]}
    by_summary = {one["column"]: one for one in against_summary(kept, test)}
    assert by_rows.keys() == by_summary.keys() == {"dose", "grade", "ward", "seen"}
    assert any(one["clear"] for one in by_rows.values()) == bool(shift)
    for name, one in by_rows.items():
        other = by_summary[name]
        assert other["clear"] == one["clear"]
        # A thousand quantiles of 3,000 numbers.
        assert other["size"] == pytest.approx(one["size"], abs=0.002)
        assert other["side"] == one["side"]


def test_dates_as_text_and_numbers_that_are_names_are_compared():
    train = table(500, 0)
    test = table(300, 1, shift=0.5)
    train = train.assign(grade=pd.Categorical(train["grade"]))
    kept = summary_of(train)
    changed = np.where(np.arange(300) < 90, 7, test["grade"])
    later = test.assign(seen=test["seen"].astype(str), grade=changed)
    drift = {one["column"]: one for one in against_summary(kept, later)}
    assert drift["seen"]["clear"]
    assert drift["grade"]["new"] == ("7",)


def test_rows_that_belong_together_say_less():
    people = np.repeat(np.arange(40), 10)
    age = np.random.default_rng(0).normal(size=40)
    train = pd.DataFrame({"age": age[people]})
    later = pd.DataFrame({"age": age[people][people < 8]})
    alone = against_summary(summary_of(train), later)[0]
    kept = summary_of(train, dependence=Dependence(people))
    assert kept["columns"][0]["independent"] == pytest.approx(0.1, abs=0.01)
    together = against_summary(kept, later)[0]
    assert alone["p_value"] < 0.05 < together["p_value"]


def test_texts_that_hardly_repeat_are_not_kept():
    notes = pd.DataFrame({"note": [f"note {number}" for number in range(2000)]})
    assert summary_of(notes)["columns"] == []
