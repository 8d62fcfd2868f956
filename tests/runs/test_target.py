"""Which task a target asks for, and how its values are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad import InputError
from permgrad.runs.target import choose_task, target_values


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([True, False] * 20, "classification"),
        (pd.Categorical([1, 2] * 20), "classification"),
        ([1, 2, 3] * 20, "classification"),
        ([1.0, 2.0] * 20, "classification"),
        (list(range(20)) * 5, "classification"),
        (list(range(21)) * 5, "regression"),
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
        "20 integers",
        "21 integers",
        "halves",
        "few",
        "real",
    ],
)
def test_the_task_is_chosen_from_the_values(values, task):
    assert choose_task(pd.Series(values), "auto", "y")[0] == task


def test_what_is_asked_for_wins():
    numbers = pd.Series([1, 2] * 20)
    assert choose_task(numbers, "regression", "y") == ("regression", "asked for")
    assert choose_task(pd.Series(np.linspace(0, 1, 9)), "classification", "y") == ("classification", "asked for")
    with pytest.raises(InputError, match="a regression target must hold numbers"):
        choose_task(pd.Series(["a"] * 4), "regression", "y")


def test_classes_keep_their_type():
    assert target_values(pd.Series([1.0, 2.0] * 9), "classification", "y").dtype == np.int64
    assert target_values(pd.Series([True, False] * 9), "classification", "y").dtype == bool
    assert target_values(pd.Series(["b", "a"] * 9), "classification", "y").tolist()[:2] == ["b", "a"]
    assert target_values(pd.Series([1, 2.5] * 9), "regression", "y").dtype == np.float64


def test_a_target_like_an_identifier_is_refused():
    with pytest.raises(InputError, match="must have several rows for each class, however: column 'y' holds 30 classes"):
        target_values(pd.Series([f"patient {i}" for i in range(30)]), "classification", "y")


def test_few_numbers_with_a_point_are_said_to_be_perhaps_classes():
    task, why = choose_task(pd.Series([1.0, 2.5] * 30), "auto", "y")
    assert task == "regression"
    assert why == "numbers with 2 different values; if these are classes, pass --task classification"
