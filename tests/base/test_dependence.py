"""Rows that depend on each other: means keep their level, independent rows lose little,
and what shows it is seen.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from permgrad.base.dependence import (
    Dependence,
    in_blocks,
    is_clock,
    neighbours_alike,
    repeated_rows,
)


def wave(draw: np.random.Generator, rows: int, related: float) -> np.ndarray:
    """Return an autoregressive series of variance 1."""
    step = draw.normal(size=rows)
    series = np.empty(rows)
    series[0] = step[0]
    for step_index in range(1, rows):
        series[step_index] = related * series[step_index - 1] + step[
            step_index
        ] * np.sqrt(1 - related**2)
    return series


def schools(draw: np.random.Generator) -> tuple[np.ndarray, Dependence]:
    """Return values of 30 schools with 4 to 20 pupils."""
    school = np.repeat(np.arange(30), draw.integers(4, 21, 30))
    return draw.normal(size=30)[school] + draw.normal(size=len(school)), Dependence(
        school
    )


def months(draw: np.random.Generator) -> tuple[np.ndarray, Dependence]:
    """Return a series of 240 months, its rows in any order."""
    order = draw.permutation(240)
    return wave(draw, 240, 0.8)[order], Dependence(order, timed=True)


@pytest.mark.parametrize("make", [schools, months])
def test_means_of_dependent_rows_keep_their_level(make):
    plainly = 0
    corrected = 0
    for seed in range(200):
        values, dependence = make(np.random.default_rng(seed))
        size = values.mean() / values.std() * np.sqrt(len(values))
        p_value = float(2 * special.ndtr(-abs(size)))
        even = np.ones(len(values))
        plainly += p_value < 0.05
        corrected += (
            dependence.corrected(p_value, even, dependence.correlation(values)) < 0.05
        )
    assert plainly > 60  # the rows do depend on each other
    assert corrected <= 20


def test_independent_rows_lose_little():
    draw = np.random.default_rng(0)
    values = draw.normal(size=1000)
    even = np.ones(1000)
    for dependence in (
        Dependence(np.repeat(np.arange(200), 5)),
        Dependence(np.arange(1000), timed=True),
    ):
        assert 1 <= dependence.widening(even, dependence.correlation(values)) < 1.25
    alone = Dependence(np.arange(1000))
    assert alone.widening(even, alone.correlation(values)) == pytest.approx(
        1, abs=0.002
    )


def test_two_parts_have_groups_of_their_own():
    first = Dependence(np.array([0, 0, 1]))
    second = Dependence(np.array([0, 1]))
    assert Dependence.of_both(first, second).codes.tolist() == [0, 0, 1, 2, 3]
    assert Dependence.of_both(first, None) is None
    assert first.take(np.array([2, 0])).codes.tolist() == [1, 0]


def test_neighbours_of_independent_rows_are_rarely_alike():
    draw = np.random.default_rng(1)
    tables = [
        draw.standard_t(2, size=(int(draw.integers(40, 400)), 1)) for _ in range(1000)
    ]
    assert sum(neighbours_alike(table) is not None for table in tables) <= 8
    series = [wave(draw, 200, 0.5) for _ in range(50)]
    assert (
        sum(neighbours_alike(single_series) is not None for single_series in series)
        >= 48
    )


def test_sorted_tables_are_no_series():
    draw = np.random.default_rng(2)
    assert in_blocks(np.sort(draw.normal(size=90)))
    assert in_blocks(np.repeat([2, 0, 1], 30))
    assert not in_blocks(draw.normal(size=90))
    assert is_clock(np.arange(50))
    assert is_clock(np.arange(50) * 86_400.0)
    assert not is_clock(np.sort(draw.normal(size=90)))


def test_copies_are_seen_and_chance_is_not():
    draw = np.random.default_rng(3)
    rows = np.column_stack([draw.normal(size=(60, 3)), draw.integers(0, 2, 60)])
    assert repeated_rows(rows) == 0
    assert repeated_rows(np.concatenate([rows, rows[:20]])) == 20
    ages = np.column_stack(
        [draw.integers(20, 60, 2000), draw.integers(0, 2, (2000, 2))]
    )
    assert len(np.unique(ages, axis=0)) < 300  # equal rows, by chance
    assert repeated_rows(ages) == 0


@pytest.mark.parametrize("made", [schools, months])
def test_a_level_that_all_rows_have_is_not_testable(made):
    """There are no others to compare it with."""
    _, dependence = made(np.random.default_rng(3))
    every = np.ones(len(dependence.codes), dtype=bool)
    half = np.arange(len(every)) % 2 > 0
    assert dependence.testable(half, 0.1)
    assert not dependence.testable(every, 0.1)
    assert not dependence.testable(~every, 0.1)
