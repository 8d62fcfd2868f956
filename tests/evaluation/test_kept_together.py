"""Rows of one person, incident or storm are found by their outcomes, and what only
tells the outcome is not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from permgrad.evaluation import kept_together
from permgrad.evaluation.kept_together import rows_together


def found(frame, target, named=()):
    y = frame[target].to_numpy()
    X = frame.drop(columns=target)
    task = "classification" if y.dtype.kind in "OU" else "regression"
    learned = np.random.default_rng(0).random(len(X)) < 0.6
    return rows_together(X, y, task, learned, ~learned, list(X.columns), named)


def visits(seed=0):
    """Visits in unknown order: each of 400 has a time, three rows and an outcome of its
    own.
    """
    rng = np.random.default_rng(seed)
    visit = np.repeat(np.arange(400), 3)
    outcome = rng.integers(0, 3, 400)
    when = pd.Timestamp("2019-05-01") + pd.to_timedelta(
        rng.choice(10**7, 400, replace=False), unit="s"
    )
    noisy = np.where(rng.random(1200) < 0.15, rng.integers(0, 3, 1200), outcome[visit])
    frame = pd.DataFrame({"when": when[visit].astype(str), "x": rng.normal(size=1200)})
    return frame.assign(out=np.array(list("abc"))[noisy].astype(object)).sample(
        frac=1, random_state=0
    )


def test_a_date_is_found_and_what_the_score_becomes():
    date_finding = found(visits(), "out")
    assert date_finding.columns == ["when"]
    assert date_finding.each == 3
    assert date_finding.clear
    assert date_finding.metric == "accuracy"
    assert date_finding.apart > date_finding.together + 0.1
    assert abs(date_finding.together - 1 / 3) < 0.1


@pytest.mark.slow
def test_a_column_to_learn_from_is_not_taken_for_the_rows_of_one_visit():
    rng = np.random.default_rng(0)
    of_visit = np.repeat(np.arange(1500), 2)
    offence = rng.integers(0, 150, 1500)
    usual = rng.integers(0, 6, 150)[offence]
    outcome = np.where(rng.random(1500) < 0.6, usual, rng.integers(0, 6, 1500))[
        of_visit
    ]
    when = pd.Timestamp("2019-05-01") + pd.to_timedelta(
        rng.choice(10**7, 1500, replace=False), unit="s"
    )
    frame = pd.DataFrame(
        {
            "when": when[of_visit].astype(str),
            "offence": [f"o{k}" for k in offence[of_visit]],
        }
    )
    frame["x"] = rng.normal(size=3000)
    frame["out"] = np.array(list("abcdef"))[outcome].astype(object)
    without = found(frame.drop(columns="when"), "out")
    assert without.columns == ["offence"], (
        "its score falls, too, as of every column of many levels that says much"
    )
    assert found(frame, "out").columns == ["when"]


def test_a_pair_is_found_where_neither_column_says_it():
    rng = np.random.default_rng(0)
    herd = np.repeat(np.arange(300), 12)
    owner = rng.integers(0, 60, 300)
    year = rng.integers(1990, 2010, 300)
    level = rng.normal(size=300)
    frame = pd.DataFrame(
        {"owner": [f"owner {k}" for k in owner[herd]], "year": year[herd]}
    )
    frame["weight"] = (level[herd] + 0.3 * rng.normal(size=len(herd))).round(2)
    frame["yield"] = (
        2 * level[herd] + rng.normal(size=300)[herd] + 0.2 * rng.normal(size=len(herd))
    )
    pair_finding = found(frame, "yield")
    assert sorted(pair_finding.columns) == ["owner", "year"]
    assert pair_finding.clear
    assert pair_finding.metric == "r2_of_ranks"


@pytest.mark.parametrize("seed", range(10))
def test_columns_that_a_model_may_learn_from_are_no_groups(seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(300, 3000))
    frame = pd.DataFrame(
        {"age": rng.integers(18, 90, rows), "school": rng.integers(0, 17, rows)}
    )
    frame["income"] = rng.lognormal(size=rows).round(1)
    frame["x"] = rng.normal(size=rows)
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        rng.integers(0, 365, rows), unit="D"
    )
    frame["town"] = [f"town {k}" for k in rng.integers(0, 60, rows)]
    signal = (
        frame["age"] / 20
        + frame["school"] / 4
        + np.log(frame["income"] + 0.1)
        + frame["x"]
    )
    signal += frame["age"] * frame["school"] / 200 + rng.normal(size=rows)
    frame["y"] = signal if seed % 2 else np.where(signal > signal.median(), "yes", "no")
    assert found(frame, "y") is None


def test_a_name_is_noted_without_a_fall_and_copies_of_rows_are_none():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"patient": np.repeat(np.arange(150), 4) + 1000, "x": rng.normal(size=600)}
    )
    frame["y"] = np.where(frame["x"] + 0.5 * rng.normal(size=600) > 0, "yes", "no")
    name_finding = found(frame, "y", ["patient"])
    assert (name_finding.columns, name_finding.each, name_finding.clear) == (
        ["patient"],
        4.0,
        False,
    )
    assert abs(name_finding.apart - name_finding.together) < 0.1
    assert found(frame, "y") is None
    twice = pd.concat([frame.drop(columns="patient")] * 2)
    assert found(twice, "y") is None


def test_where_the_first_fold_shows_that_nothing_is_learned_no_other_is_tried(
    monkeypatch,
):
    rng = np.random.default_rng(0)
    fitted = []
    fit = RandomForestClassifier.fit
    monkeypatch.setattr(
        RandomForestClassifier, "fit", lambda *args: (fitted.append(1), fit(*args))[1]
    )
    y = (rng.random(600) < 0.1).astype(int)
    codes = np.repeat(np.arange(200), 3)
    visit_finding = kept_together._Trial(rng.normal(size=(600, 3)), y, 2).of(
        ["visit"], codes
    )
    assert (visit_finding.apart, visit_finding.together, visit_finding.clear) == (
        None,
        None,
        False,
    )
    assert len(fitted) == 1
