"""Test rows that seem to depend on each other, by all columns of their table."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from permgrad.assess.sections.scores import _tell_of_signs


def work_of(table, seed=0):
    generator = np.random.default_rng(seed)
    numbers = generator.permutation(len(table))
    guess = generator.normal(size=(len(table), 1))
    test = type(
        "Rows",
        (),
        {
            "__len__": lambda _: len(table),
            "dependence": None,
            "numbers": numbers,
            "table": table,
        },
    )()
    return SimpleNamespace(
        test=test, predictions=SimpleNamespace(codes=np.zeros(len(table)), guess=guess)
    )


def smokers(count=300):
    """Hardly a number, and these missing in most rows, beside categories and dates that
    tell rows apart.
    """
    generator = np.random.default_rng(1)
    smokes = generator.random(count) < 0.25
    return pd.DataFrame(
        {
            "age": generator.integers(18, 90, count),
            "weekdays": np.where(smokes, generator.integers(1, 20, count), np.nan),
            "weekends": np.where(smokes, generator.integers(1, 20, count), np.nan),
            "region": generator.choice(list("abcdef"), count),
            "work": generator.choice(list("uvwxyz"), count),
            "when": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(generator.integers(0, 400, count), unit="D"),
        }
    )


def test_rows_that_differ_in_categories_alone_do_not_repeat():
    table = smokers()
    assert table[["age", "weekdays", "weekends"]].duplicated().sum() > 100
    assert not table.duplicated().any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _tell_of_signs(work_of(table))
        _tell_of_signs(work_of(table[[]]))


def test_rows_that_repeat_are_told():
    table = smokers(200)
    table = pd.concat([table, table.iloc[:60]], ignore_index=True)
    with pytest.warns(match="60 rows of 260 repeat another row"):
        _tell_of_signs(work_of(table))
