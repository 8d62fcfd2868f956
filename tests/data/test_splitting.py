"""Splits: the published one exactly, no row twice, no group and no moment in two
parts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from permgrad import InputError, PermgradWarning
from permgrad.data.splitting import are_expected, count_shared_rows, split_rows


def assert_partition(split, n):
    rows = np.concatenate([split.train, split.validation, split.test])
    assert sorted(rows.tolist()) == list(range(n))
    assert min(len(split.train), len(split.validation), len(split.test)) > 0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_default_is_the_published_split(task):
    rng = np.random.default_rng(0)
    n = 1003
    y = (
        rng.choice(["a", "b", "c"], n)
        if task == "classification"
        else rng.normal(size=n)
    )
    stratify = y if task == "classification" else None
    train, remaining_rows = train_test_split(
        np.arange(n), test_size=0.4, random_state=42, stratify=stratify
    )
    stratify = None if stratify is None else y[remaining_rows]
    validation, test = train_test_split(
        remaining_rows, test_size=0.5, random_state=42, stratify=stratify
    )
    split = split_rows(n, y, task=task)
    np.testing.assert_array_equal(split.train, train)
    np.testing.assert_array_equal(split.validation, validation)
    np.testing.assert_array_equal(split.test, test)
    assert split.kind == ("stratified" if task == "classification" else "random")
    assert_partition(split, n)
    assert not np.array_equal(split_rows(n, y, task=task, seed=1).train, train)


def test_a_rare_class_falls_back_with_a_warning():
    y = np.repeat(np.arange(30), 2)
    with pytest.warns(
        PermgradWarning,
        match="The parts are drawn without stratification, because the smallest class "
        "has 2 of 60",
    ):
        split = split_rows(60, y)
    assert split.kind == "random"
    assert_partition(split, 60)


@pytest.mark.parametrize("alone", [1, 4])
def test_classes_of_one_row_train_and_the_others_stay_stratified(alone):
    y = np.concatenate(
        [
            np.repeat(["a", "b", "c"], [70, 25, 5]),
            [f"only {class_number}" for class_number in range(alone)],
        ]
    )
    y = np.random.default_rng(alone).permutation(y)
    with pytest.warns(
        PermgradWarning, match=f"{alone} class.* a single row, which trains"
    ):
        split = split_rows(len(y), y)
    assert split.kind == "stratified"
    assert_partition(split, len(y))
    assert {f"only {class_number}" for class_number in range(alone)} <= set(
        y[split.train]
    )
    for label, rows in (("a", 70), ("b", 25), ("c", 5)):
        assert abs(np.sum(y[split.train] == label) - 0.6 * rows) <= 2.5
        assert all(
            abs(np.sum(y[split_rows] == label) - 0.2 * rows) <= 1.5
            for split_rows in (split.validation, split.test)
        )


def test_a_class_of_three_rows_leaves_the_parts_stratified():
    y = np.array(["a"] * 50 + ["b"] * 50 + ["c"] * 3)
    split = split_rows(103, y)
    assert split.kind == "stratified"
    assert_partition(split, 103)
    assert "c" in y[split.train]


@given(n=st.integers(3, 60), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_size_gives_a_partition(n, seed):
    assert_partition(split_rows(n, None, task="regression", seed=seed), n)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=40),
    seed=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_groups_stay_together(sizes, seed):
    groups = np.repeat([f"patient {i}" for i in range(len(sizes))], sizes)
    groups = np.random.default_rng(seed).permutation(groups)
    split = split_rows(len(groups), None, groups=groups, seed=seed)
    assert_partition(split, len(groups))
    split_groups = [
        set(groups[split_rows])
        for split_rows in (split.train, split.validation, split.test)
    ]
    assert sum(map(len, split_groups)) == len(set(groups))
    assert len(split_groups[2]) >= (
        2 if len(sizes) > 3 else 1
    )  # rows of one group cannot be explained by other groups
    again = split_rows(len(groups), None, groups=groups, seed=seed)
    np.testing.assert_array_equal(split.train, again.train)


def test_grouped_shares_are_near():
    groups = np.repeat(np.arange(300), 4)
    split = split_rows(1200, None, groups=groups)
    assert abs(len(split.train) / 1200 - 0.6) < 0.02
    assert split.kind == "grouped"


@pytest.mark.parametrize("form", ["number", "date", "text"])
def test_time_goes_forward_and_moments_stay_together(form):
    rng = np.random.default_rng(0)
    day = rng.integers(0, 40, 500)
    stamps = pd.Timestamp("2020-01-01") + pd.to_timedelta(day, unit="D")
    time = {
        "number": day,
        "date": stamps,
        "text": pd.Series(stamps).dt.strftime("%d.%m.%Y"),
    }[form]
    split = split_rows(500, None, time=time)
    assert_partition(split, 500)
    assert split.kind == "temporal"
    assert day[split.train].max() < day[split.validation].min()
    assert day[split.validation].max() < day[split.test].min()
    assert abs(len(split.train) / 500 - 0.6) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"n": 1},
            (
                "Splitting a table in three needs at least 3 rows, got 1. Add rows, or "
                "pass test and validation files."
            ),
        ),
        (
            {"n": 9, "groups": [1, 1, 1, 2, 2, 2, 2, 2, 2]},
            (
                "A grouped split needs at least 3 groups, got 2. Choose another "
                "column, or split at random."
            ),
        ),
        (
            {"n": 4, "time": [1, 1, 2, 2]},
            (
                "A temporal split needs at least 3 different times, got 2. Choose "
                "another column, or split at random."
            ),
        ),
        (
            {"n": 4, "time": [1, None, 2, 3]},
            (
                "time must be a number or a date in every row, but 1 of 4 rows has "
                "none. Drop this row or split at random."
            ),
        ),
        (
            {"n": 4, "time": ["1990", "1991", "?", "1992"]},
            (
                "time must be a number or a date in every row, but it holds text such "
                "as '?'. Choose another column, or split at random."
            ),
        ),
        (
            {"n": 4, "time": ["1990", "early", "spring", "late"]},
            (
                "time must be a number or a date in every row, but it holds text such "
                "as 'early'. Choose another column, or split at random."
            ),
        ),
        (
            {"n": 3, "time": pd.Series(["Ulm", "Bonn", "Ulm"], name="town")},
            (
                "time must be a number or a date in every row, but column 'town' holds "
                "text such as 'Ulm'. Choose another column, or split at random."
            ),
        ),
    ],
)
def test_bad_splits(arguments, message):
    with pytest.raises(InputError) as caught:
        split_rows(arguments.pop("n"), **arguments)
    assert caught.value.message == message


def test_shared_rows_are_counted():
    train = pd.DataFrame(
        {"a": [1, 2, 3, 3], "b": ["x", None, "y", "y"], "c": [0.5, np.nan, 1.0, 1.0]}
    )
    test = pd.DataFrame(
        {
            "a": [3.0, 2.0, 3.0, 1.0],
            "b": ["y", None, "z", "x"],
            "c": [1.0, np.nan, 1.0, -0.5],
        }
    )
    assert count_shared_rows(train, test) == 2
    assert count_shared_rows(train, train) == 4
    assert count_shared_rows(train, test[:0]) == 0
    # Types may differ between two files that mean the same.
    assert (
        count_shared_rows(train.astype({"b": "category"}), test.astype({"b": object}))
        == 2
    )
    # Columns are not interchangeable.
    swapped = pd.DataFrame({"a": [1, 2], "b": [2, 1]})
    assert count_shared_rows(swapped[:1], swapped[1:]) == 0
    assert count_shared_rows(train, test[["b", "a", "c"]]) == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=2, max_size=30
    ),
    st.integers(1, 29),
)
@settings(max_examples=40, deadline=None)
def test_shared_rows_equal_a_plain_loop(rows, cut):
    train = rows[: min(cut, len(rows) - 1)]
    test = rows[min(cut, len(rows) - 1) :]
    expected = sum(row in train for row in test)
    assert (
        count_shared_rows([list(row) for row in train], [list(row) for row in test])
        == expected
    )


def test_copies_beside_rows_without_a_value_are_no_chance():
    rng = np.random.default_rng(0)
    train, test = (
        pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc")) for _ in range(2)
    )
    train["y"] = rng.integers(0, 2, 200)
    test["y"] = rng.integers(0, 2, 200)
    for table in (train, test):
        table.loc[:39, ["a", "b", "c"]] = np.nan
    blank = count_shared_rows(train, test)
    assert blank == 40, "the precondition"
    assert are_expected(train, test, blank), "they are told of by themselves"
    test.loc[100:109] = train.loc[100:109].to_numpy()
    assert not are_expected(train, test, count_shared_rows(train, test))
