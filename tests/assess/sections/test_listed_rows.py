"""Listed rows: which they are, that their parts add up, and that similar rows are the
nearest.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.assess.sections import rows as single_rows
from permgrad.assess.sections.rows import (
    choose_listed,
    nearest_rows,
    notable_rows,
    strongest_parts,
)


def test_few_rows_are_all_listed():
    row_positions, random = choose_listed(np.random.default_rng(0).permutation(40), [3])
    assert row_positions.tolist() == list(range(40))
    assert random.all()


def test_of_many_rows_the_notable_ones_are_listed_and_the_others_drawn():
    drawn = np.random.default_rng(0).permutation(5000)
    notable = [4999, 17, int(drawn[0])]
    row_positions, random = choose_listed(drawn, notable)
    assert len(row_positions) <= single_rows.MOST_LISTED
    assert set(notable) <= set(row_positions.tolist())
    assert (np.diff(row_positions) > 0).all()
    drawn_ones = set(row_positions[random].tolist())
    assert drawn_ones == set(drawn[: single_rows.MOST_LISTED - 3].tolist()), (
        "a plain random sample, notable or not"
    )


def test_doubtful_rows_come_with_the_clearest_first(monkeypatch):
    probabilities = np.array([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.05, 0.95]])
    truth = np.array([0, 1, 0, 0])
    assert notable_rows(probabilities, truth) == [3, 2, 1, 0], "the wrong ones first"
    monkeypatch.setattr(single_rows, "MOST_WRONG", 0)
    unsure = notable_rows(probabilities, truth)
    assert unsure[0] == 1
    assert unsure[-1] == 3


def test_the_strongest_parts_and_the_rest_add_up():
    values = np.random.default_rng(0).normal(size=(6, 30))
    _, strongest_values, remaining_sum = strongest_parts(values, 4)
    assert strongest_values.sum(axis=1) + remaining_sum == pytest.approx(
        values.sum(axis=1)
    )
    assert (
        np.abs(strongest_values).min(axis=1) >= np.sort(np.abs(values))[:, -5]
    ).all()
    assert (np.diff(np.abs(strongest_values)) <= 0).all()
    assert strongest_parts(values[:, :3], 4)[2] == pytest.approx(0)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_similar_rows_are_the_nearest(offset, monkeypatch):
    monkeypatch.setattr(single_rows, "_AT_ONCE", 700)
    rng = np.random.default_rng(0)
    pool = rng.normal(offset, 1, (300, 6))
    queries = rng.normal(offset, 1, (20, 6))
    pool[40] = queries[3]
    neighbour_rows, distances = nearest_rows(queries, pool)
    exact = np.sqrt(((queries[:, None] - pool) ** 2).sum(axis=2))
    assert (
        neighbour_rows.tolist()
        == np.argsort(exact, axis=1, kind="stable")[:, :3].tolist()
    )
    assert distances == pytest.approx(np.sort(exact, axis=1)[:, :3])
    assert distances[3, 0] == 0, "an equal row has distance 0"


def test_a_row_is_not_like_itself():
    rows = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 2, axis=0)
    neighbour_rows, distances = nearest_rows(rows, rows, 1, same=np.arange(8))
    assert neighbour_rows[:, 0].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert distances == pytest.approx(0)


def test_fewer_rows_than_wanted():
    assert nearest_rows(np.ones((2, 3)), np.ones((2, 3)), 3)[0].shape == (2, 2)
    assert nearest_rows(
        np.ones((1, 3)), np.ones((1, 3)), 3, same=np.zeros(1, dtype=int)
    )[0].shape == (1, 0)
