"""Rows of X and y are matched by place, as in scikit-learn; where their labels say
another order, that is said.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad import PermgradWarning
from permgrad.data.types.findings import tell_of_other_order

X = pd.DataFrame(
    {
        "a": np.random.default_rng(0).normal(size=60),
        "b": np.random.default_rng(1).normal(size=60),
    }
)
SHUFFLED = np.random.default_rng(2).permutation(60)


def said(X, **row_arguments) -> list[str]:
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        tell_of_other_order(X, **row_arguments)
    assert all(
        issubclass(warning.category, PermgradWarning) for warning in caught_warnings
    )
    return [str(warning.message) for warning in caught_warnings]


def labelled(labels, kind=pd.Series):
    return kind(np.arange(len(labels)), index=labels)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([0, 1, 2], [0, 2, 1]),
        (["a", "b", "c"], ["b", "a", "c"]),
        (["a", "b", "b"], ["b", "a", "b"]),
        ([("a", 1), ("b", 1)], [("b", 1), ("a", 1)]),
        (
            pd.date_range("2024-01-01", periods=3),
            pd.date_range("2024-01-01", periods=3)[::-1],
        ),
    ],
)
def test_the_same_labels_in_another_order_are_told(one, other):
    one, other = (
        pd.MultiIndex.from_tuples(row_labels)
        if isinstance(row_labels[0], tuple)
        else pd.Index(row_labels)
        for row_labels in (one, other)
    )
    position = next(
        first_difference
        for first_difference in range(len(one))
        if one[first_difference] != other[first_difference]
    )
    for kind in (pd.Series, pd.DataFrame):
        (text,) = said(labelled(one, pd.DataFrame), y=labelled(other, kind))
        assert (
            f"(row {position} is {one[position]} in X and {other[position]} in y)"
            in text
        )
        assert (
            "Pass y.loc[X.index], or" if one.is_unique else "Sort both alike, or"
        ) in text


@pytest.mark.parametrize(
    "other",
    [
        [0, 1, 2],
        [0, 1, 3],
        [0, 1],
        [5, 6, 7],
        ["0", "2", "1"],
        [0, 0, 1],
        [0.0, 1.0, 2.0],
    ],
)
def test_nothing_else_is_told(other):
    frame = labelled([0, 1, 2], pd.DataFrame)
    assert said(frame, y=labelled(other)) == []
    # One of them has no labels.
    assert (
        said(frame, y=np.array([2, 1, 0]), sample_weight=[1, 2, 3], groups=None) == []
    )
    assert said(frame.to_numpy(), y=labelled([2, 1, 0])) == []
    assert said(labelled([0, 0, 1], pd.DataFrame), y=labelled([0, 1, 1])) == [], (
        "not as often each"
    )


def fitted(y, sample_weight=None, eval_set=None):
    model = pg.HyNNRegressor(
        preset="fast",
        branches=("tabular",),
        max_epochs=2,
        random_state=0,
        progress=False,
    )
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        model.fit(X, y, sample_weight, eval_set)
    return model, [
        str(warning.message).partition(",")[0]
        for warning in caught_warnings
        if issubclass(warning.category, PermgradWarning)
    ]


def test_fitting_matches_by_place_and_says_so():
    y = pd.Series(X["a"].to_numpy() * 2, index=X.index)
    shuffled_target = y.set_axis(SHUFFLED)
    weights = pd.Series(np.arange(60) + 1.0, index=X.index)
    usual, none = fitted(y, weights)
    model, both_messages = fitted(shuffled_target, weights.set_axis(SHUFFLED))
    assert none == []
    assert both_messages == [
        "X and y are matched by position",
        "X and sample_weight are matched by position",
    ]
    np.testing.assert_array_equal(model.predict(X), usual.predict(X))
    assert fitted(y, None, (X, shuffled_target))[1] == [
        "X and eval_set's y are matched by position"
    ]
    assert fitted(y.to_numpy(), None, (X, y))[1] == []


def test_explaining_and_comparing_match_by_place_and_say_so():
    y = pd.Series(X["a"].to_numpy() * 2, index=X.index)
    model, _ = fitted(y)
    options = {
        "method": "permutation",
        "n_repeats": 1,
        "random_state": 0,
        "progress": False,
    }
    with pytest.warns(PermgradWarning, match="X and y are matched by position"):
        explanation = explain_with(model, X, y.set_axis(SHUFFLED), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PermgradWarning)
        usual = explain_with(model, X, y, **options)
    np.testing.assert_array_equal(explanation.values, usual.values)
    with pytest.warns(
        PermgradWarning, match="X and sample_weight are matched by position"
    ):
        explain_with(
            model, X, y, sample_weight=pd.Series(1.0, index=SHUFFLED), **options
        )
    with pytest.warns(PermgradWarning, match="X and y are matched by position"):
        pg.compare(
            ["linear", "bagging"],
            X,
            y.set_axis(SHUFFLED),
            cv=2,
            explain=False,
            progress=False,
        )
