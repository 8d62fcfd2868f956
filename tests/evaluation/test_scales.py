"""Labels that stand on a scale, by their numbers or by their words, and labels that do
not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.evaluation.class_order import classes_in_order, kappa_of
from permgrad.evaluation.class_scales import SCALES, places_on_scale


@pytest.mark.parametrize(
    ("labels", "places", "by_words"),
    [
        (["fair", "poor", "good", "excellent"], [1, 0, 2, 3], True),
        (["Often", "never", "always", "SOMETIMES", "rarely"], [3, 0, 4, 2, 1], True),
        (["very_low", "high", "medium"], [0, 2, 1], True),
        (["1 - very bad", "2 - bad", "5 - very good"], [0, 1, 2], True),
        (["5: never", "1: always", "3: sometimes"], [2, 0, 1], True),
        (["10 - west", "2 - north", "3 - south"], [2, 0, 1], False),
        ([30, 10, 20.0], [2, 0, 1], False),
    ],
)
def test_places_on_a_scale(labels, places, by_words):
    assert places_on_scale(labels) == (places, by_words)


@pytest.mark.parametrize(
    "labels",
    [
        ["red", "green", "blue"],
        ["good", "bad", "ugly"],
        ["01", "02", "03"],
        ["1 - a", "1 - b", "2 - c"],
        ["medium", "average", "high"],
        ["often", "seldom", "excellent"],
        ["1.5", "2", "3"],
        [True, 2, 3],
        ["setosa", "versicolor", "virginica"],
        ["3 stars", "b", "c"],
    ],
)
def test_names_stand_on_no_scale(labels):
    assert places_on_scale(labels) is None


def test_numbers_that_contradict_their_words_are_codes():
    assert places_on_scale(["1 - good", "2 - poor", "3 - excellent"]) == (
        [0, 1, 2],
        False,
    )


def test_each_scale_goes_up_and_no_word_stands_on_it_twice():
    for scale in SCALES:
        words = [word for same in scale for word in same.split("|")]
        assert len(words) == len(set(words))
        assert places_on_scale([same.split("|")[0] for same in scale]) == (
            list(range(len(scale))),
            True,
        )


def on_a_line(names: list[str], seed: int) -> object:
    """What is said of classes along a line that have these names, in this order."""
    rng = np.random.default_rng(seed)
    count = len(names)
    x = rng.uniform(0, count, 600)
    kinds = np.clip(np.floor(x + 0.4 * rng.normal(size=600)), 0, count - 1).astype(int)
    chances = np.exp(-2 * (x[:, None] - np.arange(count) - 0.5) ** 2)
    chances /= chances.sum(axis=1, keepdims=True)
    return classes_in_order(names, (kinds, chances), (pd.DataFrame({"x": x}), kinds))


def test_words_of_a_scale_are_in_order_also_where_there_are_three():
    found = on_a_line(["fair", "good", "excellent"], 0)
    assert found["scale"] == ["fair", "good", "excellent"]
    assert on_a_line(["Ulm", "Bonn", "Kiel"], 0) is None


def test_numbered_names_are_in_order_as_seldom_as_codes_at_random():
    rng = np.random.default_rng(1)
    said = 0
    names = ["north", "south", "east", "west", "sea"]
    assert on_a_line([f"{k} - {name}" for k, name in enumerate(names)], 0) is not None
    for seed in range(40):
        codes = rng.permutation(5)
        labels = [f"{k} - {name}" for k, name in zip(codes, names, strict=True)]
        said += on_a_line(labels, seed) is not None
    assert said <= 5, "5 % of 40 is 2"


def test_the_kappa_of_words_is_that_of_their_places():
    counts = [[5, 1, 0], [0, 5, 1], [0, 0, 6]]
    by_numbers = kappa_of({"labels": [1, 2, 3], "confusion_matrix": counts})
    words = {"labels": ["poor", "fair", "good"], "confusion_matrix": counts}
    assert kappa_of(words) == by_numbers
    other = np.array(counts)[np.ix_([2, 0, 1], [2, 0, 1])].tolist()
    words = {"labels": ["good", "poor", "fair"], "confusion_matrix": other}
    assert kappa_of(words) == by_numbers
