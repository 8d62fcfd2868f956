"""``same_orders=True``: every row is explained by the same orders, which the report's
*What if* stores.
"""

from __future__ import annotations

import numpy as np
import pytest
from explaining import explain_with

from permgrad.attribution.method.shapley.sampled import shared_orders
from permgrad.base.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:After")
OPTIONS = {
    "method": "shapley",
    "exact": 0,
    "tolerance": 0,
    "same_orders": True,
    "random_state": 3,
}


def product(rows):
    return rows[:, 0] * rows[:, 1] * rows[:, 2] + rows[:, 3]


@pytest.fixture(name="table")
def _table():
    return np.random.default_rng(0).normal(size=(6, 5))


def test_values_are_the_steps_along_the_stored_orders_and_back(table):
    row = table[:1]
    background = table[1:4]
    explanation = explain_with(
        product, row, background=background, max_permutations=6, **OPTIONS
    )
    ranks = shared_orders(3, 5, 3)
    steps = np.zeros((3, 5))
    for walk, donor in enumerate(background):
        for player_ranks in (ranks[walk], 4 - ranks[walk]):
            mixed = donor.copy()
            for player in np.argsort(player_ranks):
                before = product(mixed[None])[0]
                mixed[player] = row[0, player]
                steps[walk, player] += (product(mixed[None])[0] - before) / 2
    assert steps.std(axis=0).max() > 0.1  # walks differ
    np.testing.assert_allclose(
        explanation.values[0, :, 0], steps.mean(axis=0), atol=1e-12
    )
    assert explanation.meta["permutations"] == 6


def test_what_does_not_change_between_two_rows_keeps_its_value(table):
    two = np.stack([table[0], table[0]])
    two[1, 3] += 1.0  # an additive feature
    same = explain_with(
        product, two, background=table[1:5], max_permutations=8, **OPTIONS
    )
    np.testing.assert_allclose(same.values[0, :3], same.values[1, :3], atol=1e-12)
    independent = explain_with(
        product,
        two,
        background=table[1:5],
        max_permutations=8,
        **OPTIONS | {"same_orders": False},
    )
    assert np.abs(independent.values[0, :3] - independent.values[1, :3]).max() > 1e-3


def test_same_orders_is_true_or_false(table):
    with pytest.raises(InputError, match="same_orders must be True or False"):
        explain_with(product, table, **OPTIONS | {"same_orders": "yes"})
