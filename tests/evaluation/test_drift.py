"""Columns that differ between training and test rows are found with the right shares;
equal ones raise no alarm.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from permgrad.evaluation.drift import LARGE, compare_parts
from permgrad.pages.moved import drifted_words, moved_words


def table(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": rng.normal(50, 10, rows),
            "grade": rng.integers(1, 6, rows),
            "town": rng.choice(list("abcdefghijklmnop"), rows),
            "dose": np.where(
                rng.random(rows) < 0.2, np.nan, rng.exponential(size=rows)
            ),
            "seen": rng.choice(["yes", None], rows),
            "day": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 365, rows), unit="D"),
            "note": [f"text {number}" for number in rng.integers(0, 10**8, rows)],
            "constant": 1,
        }
    )


def changed(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A table in which five columns are shifted."""
    rows = len(frame)
    return frame.assign(
        age=frame["age"] + 8,
        town=np.where(rng.random(rows) < 0.3, "b", frame["town"]),
        dose=np.where(rng.random(rows) < 0.4, np.nan, frame["dose"]),
        seen="yes",
        day=frame["day"] + pd.Timedelta(200, "D"),
    )


def share(
    train: pd.DataFrame, test: pd.DataFrame, drift_facts: dict
) -> tuple[float, float]:
    """The shares that an entry speaks of, counted again."""
    sides = {
        "at most": lambda column: column <= drift_facts["value"],
        "missing or at most": lambda column: (
            column.isna() | (column <= drift_facts["value"])
        ),
        "above": lambda column: column > drift_facts["value"],
        "missing": lambda column: column.isna(),
        "present": lambda column: column.notna(),
        "among": lambda column: (
            column.astype(object)
            .where(column.notna(), "missing")
            .astype(str)
            .isin(drift_facts["levels"])
        ),
    }
    values = [frame[drift_facts["column"]] for frame in (train, test)]
    if drift_facts["kind"] == "date":
        values = [
            pd.Series(column.astype("datetime64[us]").astype(np.int64) / 1e6)
            for column in values
        ]
    return tuple(float(sides[drift_facts["side"]](column).mean()) for column in values)


def test_shifted_columns_are_found_and_others_are_not():
    rng = np.random.default_rng(0)
    train = table(900, rng)
    test = changed(table(300, rng), rng)
    compared = compare_parts(train, test)["drift"]
    assert {
        drift_facts["column"] for drift_facts in compared if drift_facts["clear"]
    } == {
        "age",
        "town",
        "dose",
        "seen",
        "day",
    }
    assert {"grade"} == {
        drift_facts["column"] for drift_facts in compared if not drift_facts["clear"]
    }, "unique texts and constants: no test"
    assert [drift_facts["clear"] for drift_facts in compared] == sorted(
        (drift_facts["clear"] for drift_facts in compared), reverse=True
    )
    for drift_line in compared:
        assert (drift_line["train"], drift_line["test"]) == pytest.approx(
            share(train, test, drift_line)
        ), drift_line
        assert drift_line["size"] == pytest.approx(
            drift_line["test"] - drift_line["train"]
        )
        assert drift_line["p_holm"] >= drift_line["p_value"]
    p = stats.ks_2samp(train["age"], test["age"], method="asymp").pvalue
    facts = {column_drift["column"]: column_drift for column_drift in compared}
    assert np.log(facts["age"]["p_value"]) == pytest.approx(np.log(p), rel=0.05)


def test_equal_distributions_raise_no_more_alarms_than_promised():
    rng = np.random.default_rng(1)
    alarms = 0
    sizes = []
    for _ in range(60):
        compared = compare_parts(table(150, rng), table(50, rng))["drift"]
        alarms += any(drift_facts["p_holm"] < 0.05 for drift_facts in compared)
        sizes += [drift_facts["size"] for drift_facts in compared]
    assert np.mean(np.array(sizes) > LARGE) > 0.3, (
        "small samples differ by chance, so size alone is no alarm"
    )
    assert alarms <= 8, "5 % of 60 is 3"


def test_a_difference_that_is_certain_but_small_is_not_clear():
    rng = np.random.default_rng(2)
    train, test = (
        pd.DataFrame({"x": rng.normal(shift, 1, 15_000)}) for shift in (0, 0.15)
    )
    (drift_facts,) = compare_parts(train, test)["drift"]
    assert drift_facts["p_holm"] < 1e-6
    assert 0 < drift_facts["size"] < LARGE
    assert not drift_facts["clear"]


def test_long_tables_are_sampled_and_the_target_is_compared():
    rng = np.random.default_rng(3)
    train, test = (
        pd.DataFrame({"x": rng.normal(size=rows), "code": -9}) for rows in (30_000, 500)
    )
    y = np.repeat(["ill", "well"], 15_000), np.array(["ill"] * 400 + ["well"] * 100)
    compared = compare_parts(train, test, targets=("y", *y), na=[-9])["drift"]
    (target,) = (drift_facts for drift_facts in compared if drift_facts["clear"])
    assert (target["column"], target["rows"], target["sampled"]) == (
        "y",
        [20_000, 500],
        True,
    )
    assert drifted_words(target) == (
        "about 80\u00a0% of the test rows and about 50\u00a0% of the training rows are "
        "ill"
    )


def test_sentences_name_the_rows():
    rng = np.random.default_rng(4)
    train = table(900, rng)
    compared = compare_parts(train, changed(table(300, rng), rng))["drift"]
    words = {
        drift_facts["column"]: drifted_words(drift_facts)
        for drift_facts in compared
        if drift_facts["clear"]
    }
    assert len(words) == 5
    assert words["seen"].startswith("100\u00a0% of the test rows and")
    assert any(
        "of the training rows are after 2020-" in drift_sentence
        for drift_sentence in words.values()
    )
    assert compare_parts(train[:9], train[9:])["drift"] == [], "too few rows"


def test_of_texts_that_hardly_repeat_no_level_is_listed_or_typical():
    texts = [f"a text of row {row}" for row in range(60)] + [None, None]
    train = pd.DataFrame({"text": texts, "x": range(62)})
    test = pd.DataFrame({"text": texts[30:], "x": range(32)})
    text, number = compare_parts(train, test)["columns"]
    assert text == {"column": "text", "kind": "levels", "missing": [2 / 62, 2 / 32]}
    assert "shares" in number


def towns(rows: int, rng: np.random.Generator, new: int = 0) -> pd.DataFrame:
    """Rows of 40 towns, of which the last ones are rare, and some of a new town."""
    chances = 0.8 ** np.arange(40)
    town = rng.choice([f"T{k}" for k in range(40)], rows, p=chances / chances.sum())
    town = np.append(["Mars"] * new, town[new:])
    return pd.DataFrame({"town": town, "x": rng.normal(size=rows)})


def test_a_new_level_is_named_however_few_rows_it_has():
    rng = np.random.default_rng(4)
    train = towns(2000, rng)
    test = towns(500, rng, new=9)
    first = compare_parts(train, test)["drift"][0]
    assert first["size"] < LARGE, "nothing else is clear"
    assert (first["column"], first["clear"], first["new"]) == ("town", True, ("Mars",))
    assert (first["train"], first["test"]) == (0.0, 9 / 500)
    # Were the rows in any order, all nine would be among the last 500 with this chance.
    chance = float(np.prod((500 - np.arange(9)) / (2500 - np.arange(9))))
    assert chance < first["p_value"] < 100 * chance
    other = "2\u00a0% of the new rows are Mars, a new level"
    assert other in moved_words(compare_parts(train, test)["drift"])


def test_a_level_that_came_by_chance_is_not_called_new():
    rng = np.random.default_rng(5)
    called = 0
    alone = 0
    for _ in range(60):
        train = towns(300, rng)
        test = towns(100, rng)
        alone += not set(test["town"]) <= set(train["town"])
        drift = compare_parts(train, test)["drift"]
        called += moved_words(drift) != moved_words([])
    assert alone > 20, "rare towns are often in one part alone"
    assert called <= 6, "5 % of 60 is 3"


def test_columns_that_moved_are_described_in_their_words():
    rng = np.random.default_rng(6)
    income = rng.normal(100, 10, 800).round()
    train = pd.DataFrame({"income": income, "a": rng.normal(size=800)})
    test = train.assign(income=income + 25)
    words = moved_words(compare_parts(train, test)["drift"], ("training", "new"))
    assert words.startswith(
        "1 of 2 columns differs clearly between the training and the new rows. income: "
    )
    before = train["income"].median()
    after = test["income"].median()
    assert f", and the median is {after:g} instead of {before:g}." in words
