"""Probabilities of rare events that are off by a factor are told, and right ones are
not.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.evaluation.calibration import reliability
from permgrad.pages.facts.calibration_facts import how_far_off, times_too_many
from permgrad.pages.findings import CALIBRATION, Writer


def drawn(seed: int, rows: int = 4000, factor: float = 1.0) -> object:
    """Events of about 2 %, and probabilities that are so many times too large."""
    rng = np.random.default_rng(seed)
    chance = 0.02 * np.exp(0.8 * rng.normal(size=rows) - 0.32)
    return reliability(rng.random(rows) < chance, np.clip(factor * chance, 0, 1))


@pytest.mark.parametrize("factor", [2.0, 0.4])
def test_a_factor_is_found_though_the_error_is_a_few_points(factor):
    curves = [drawn(seed, factor=factor) for seed in range(20)]
    assert max(curve.error for curve in curves) < 0.03, "precondition"
    assert sum(how_far_off([curve]) == "clearly" for curve in curves) >= 18
    times = [times_too_many(curve) for curve in curves]
    assert np.median(
        [found_factor for found_factor in times if found_factor]
    ) == pytest.approx(factor, rel=0.15)


def test_right_probabilities_and_frequent_classes_have_no_ratio():
    ratio_words = [how_far_off([drawn(seed)]) for seed in range(60)]
    assert ratio_words.count("clearly") <= 1
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.2, 0.9, 3000)
    assert times_too_many(reliability(rng.random(3000) < chance, chance / 2)) is None


def test_the_sentence_says_how_many_times():
    facts = {"form": "ratio", "class": "ill", "all": 4000, "there": 81}
    sentence = Writer({**facts, "times": 2.03, "expected": 164}).sentence(CALIBRATION)
    assert sentence == (
        "It predicts twice as many ill as there are: its probabilities add up to 164 "
        "of 4,000 rows, and 81 are."
    )
    sentence = Writer({**facts, "times": 3.21, "expected": 260}).sentence(CALIBRATION)
    assert sentence.startswith("It predicts 3.2 times as many ill as there are")
