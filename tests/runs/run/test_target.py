"""Which task a target asks for, and how its values are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad import InputError
from permgrad.runs.compare.comparison_plan import from_arrays
from permgrad.runs.run.run_splitting import choose_task, doubt_on_task, target_values


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([True, False] * 20, "classification"),
        (pd.Categorical([1, 2] * 20), "classification"),
        ([1, 2, 3] * 20, "classification"),
        ([1.0, 2.0] * 20, "classification"),
        (list(range(10)) * 5, "classification"),
        (list(range(11)) * 50, "regression"),
        ([3, 4, 5, 6] * 50 + [9] * 4, "regression"),
        ([3, 4, 5, 6] * 50 + [9] * 5, "classification"),
        ([0] * 200 + [1] * 3, "classification"),
        ([0.5, 1.5] * 20, "regression"),
        (list(range(12)), "regression"),
        (np.linspace(0, 1, 50), "regression"),
    ],
    ids=[
        "text",
        "booleans",
        "categories",
        "3 integers",
        "whole floats",
        "10 integers",
        "11 integers",
        "a thin class",
        "a class just wide enough",
        "two integers, one rare",
        "halves",
        "few",
        "real",
    ],
)
def test_the_task_is_chosen_from_the_values(values, task):
    assert choose_task(pd.Series(values), "auto", "y")[0] == task


def test_what_is_asked_for_wins():
    numbers = pd.Series([1, 2] * 20)
    assert choose_task(numbers, "regression", "y") == ("regression", "as requested")
    assert choose_task(pd.Series(np.linspace(0, 1, 9)), "classification", "y") == (
        "classification",
        "as requested",
    )
    with pytest.raises(InputError, match="A regression target must be numeric"):
        choose_task(pd.Series(["a"] * 4), "regression", "y")


def test_classes_keep_their_type():
    assert (
        target_values(pd.Series([1.0, 2.0] * 9), "classification", "y").dtype
        == np.int64
    )
    assert (
        target_values(pd.Series([True, False] * 9), "classification", "y").dtype == bool
    )
    assert target_values(pd.Series(["b", "a"] * 9), "classification", "y").tolist()[
        :2
    ] == ["b", "a"]
    assert target_values(pd.Series([1, 2.5] * 9), "regression", "y").dtype == np.float64


def test_a_target_like_an_identifier_is_refused():
    with pytest.raises(
        InputError, match="Column 'y' has a class for nearly every row: 30 classes"
    ):
        target_values(
            pd.Series([f"patient {i}" for i in range(30)]), "classification", "y"
        )


def test_few_numbers_with_a_point_are_said_to_be_perhaps_classes():
    task, why = choose_task(pd.Series([1.0, 2.5] * 30), "auto", "y")
    assert task == "regression"
    assert (
        why == "numbers with 2 different values; if these are classes, pass --task "
        "classification"
    )


def test_whole_numbers_that_may_be_classes_are_told():
    school = pd.Series(np.repeat(np.arange(8, 21), 30))
    flag = "--task classification"
    (message,) = doubt_on_task(school, "school", flag)
    assert message.startswith(
        "target 'school' is predicted as a number: whole numbers with 13 different "
        "values. If these"
    )
    assert message.endswith("are classes, pass --task classification.")
    thin = pd.Series([3, 4, 5] * 40 + [9])
    assert (
        "whole numbers with 4 different values, the rarest in 1 row. If"
        in doubt_on_task(thin, "q", flag)[0]
    )
    prices = pd.Series(np.arange(1000))
    assert doubt_on_task(prices, "price", flag) == []
    assert doubt_on_task(school + 0.5, "school", flag) == []


def test_in_python_the_rule_is_the_same():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=130)})
    y = pd.Series(np.repeat(np.arange(13), 10), name="grade")
    array_inputs = from_arrays(X, y)
    assert array_inputs.task == "regression"
    assert "If these are classes, pass y as text" in array_inputs.notes[0]
    text_inputs = from_arrays(X, y.astype(str))
    assert (text_inputs.task, text_inputs.notes) == ("classification", ())
