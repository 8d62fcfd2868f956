"""What the comparison of Shapley values of text, image and table reckons with; the run
itself needs transformers.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from benchmarks.speed.multimodal_shapley_speed import ratio, seconds_at, shapley


def test_values_of_all_coalitions_are_those_of_all_orders():
    worth = np.random.default_rng(0).normal(size=16)
    slow = np.zeros(4)
    for order in permutations(range(4)):
        code = 0
        for player in order:
            slow[player] += (worth[code | 1 << player] - worth[code]) / 24
            code |= 1 << player
    assert np.ptp(slow) > 0.1
    np.testing.assert_allclose(shapley(worth), slow, atol=1e-12)


def test_times_are_read_between_runs_and_never_below_the_cheapest():
    curve = [(1.0, 0.1), (4.0, 0.05), (3.0, 0.2), (16.0, 0.025)]
    assert seconds_at(curve, 0.5) == 1.0
    assert seconds_at(curve, 0.05) == pytest.approx(4.0)
    assert seconds_at(curve, np.sqrt(0.1 * 0.05)) == pytest.approx(2.0)
    assert seconds_at(curve, 0.01) == np.inf


def test_the_best_of_the_peers_counts():
    own_times = [(1.0, 0.1), (4.0, 0.05)]
    assert ratio(own_times, [[(2.0, 0.1), (8.0, 0.05)]]) == pytest.approx(2.0)
    assert ratio(
        own_times, [[(2.0, 0.1), (8.0, 0.05)], [(20.0, 0.1), (80.0, 0.05)]]
    ) == pytest.approx(2.0)
    assert ratio(
        own_times, [[(2.0, 0.1), (8.0, 0.05)], [(0.5, 0.1), (2.0, 0.05)]]
    ) == pytest.approx(0.5)
