"""The one test between levels: exact if levels mean nothing, whatever the law, and
blind to uncertain outcomes.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from permgrad.base.dependence import Dependence
from permgrad.evaluation import between_levels
from permgrad.evaluation.between_levels import (
    Measure,
    beyond_expected,
    compare_levels,
    events_of,
    usual_errors,
)


def least(compared: list) -> float:
    """The smallest p-value of one column, 1 where nothing is judged."""
    values = np.concatenate(
        [level_measure.p_value for level_measure in compared[0].values()]
    )
    return float(np.nanmin(np.append(values, 1.0)))


def test_p_values_are_those_of_all_permutations(monkeypatch):
    monkeypatch.setattr(between_levels, "FEWEST_ROWS", 2)
    monkeypatch.setattr(between_levels, "_NEAR", (0.0, 1.1))
    values = np.array([0.1, 2.0, -1.0, 0.4, 3.0, 2.5, -0.7])
    levels = np.array([0, 0, 0, 0, 1, 1, 1])
    gap = lambda some: abs(values[some == 1].mean() - values[some == 0].mean())  # noqa: E731 — one line of the slow twin
    gaps = [
        gap(np.array(permuted_levels))
        for permuted_levels in set(permutations(levels.tolist()))
    ]
    exact = np.mean(np.array(gaps) >= gap(levels) - 1e-12)
    assert 0.02 < exact < 0.6
    (compared,) = compare_levels({"x": Measure(values)}, [levels])
    assert compared["x"].p_value == pytest.approx([exact, exact], abs=0.03)
    assert compared["x"].difference[1] == pytest.approx(gap(levels))


def test_a_level_without_five_events_and_five_others_is_not_judged():
    rng = np.random.default_rng(0)
    levels = np.repeat([0, 1, 2, 3], 40)
    event = np.zeros(160, dtype=bool)
    event[[0, 1, 2, 3]] = event[40:45] = event[80:116] = event[120:140] = True
    (compared,) = compare_levels(
        {"x": Measure(rng.normal(size=160))}, [levels], events=event
    )
    assert np.isfinite(compared["x"].p_value).tolist() == [False, True, False, True]
    few = np.repeat([0, 1], [19, 141])
    assert (
        compare_levels({"x": Measure(rng.normal(size=160))}, [few])[0]["x"].most is None
    )


@pytest.mark.parametrize(
    "law", [pytest.param("rare", marks=pytest.mark.slow), "lognormal"]
)
def test_chance_is_seldom_clear_and_a_worse_level_is_found(law):
    false = true_findings = 0
    for seed in range(36):
        rng = np.random.default_rng(seed)
        town = rng.integers(0, 6, 300)
        if law == "rare":
            chance = 1 / (1 + np.exp(-rng.normal(-2.5, 1, 300)))
            luck = rng.random(300)
            for bad, share in (
                (False, chance),
                (True, np.where(town == 2, 0.45, chance)),
            ):
                truth = (luck < share).astype(int)
                both_chances = np.column_stack([1 - chance, chance])
                measures = {
                    name: level_measure
                    for name, (_, level_measure) in beyond_expected(
                        both_chances, truth, both_chances.argmax(axis=1)
                    ).items()
                }
                small = least(
                    compare_levels(measures, [town], events=truth == 1, seed=seed)
                )
                true_findings = true_findings + (bad and small < 0.05)
                false = false + (not bad and small < 0.05)
        else:
            guess = rng.normal(size=300)
            noise = rng.lognormal(size=300)
            for factor in (1.0, np.where(town == 2, 4.0, 1.0)):
                truth = guess + factor * (noise - np.exp(0.5))
                units = (truth - guess) / usual_errors(truth, guess)
                small = least(
                    compare_levels({"size": Measure(np.abs(units))}, [town], seed=seed)
                )
                bad = np.ndim(factor) > 0
                true_findings = true_findings + (bad and small < 0.05)
                false = false + (not bad and small < 0.05)
    assert false <= 36 * 0.05 + 2 * np.sqrt(36 * 0.05 * 0.95)
    assert true_findings >= 28


@pytest.mark.slow
def test_groups_exchange_their_levels_as_wholes_also_where_sizes_differ():
    false = {True: 0, False: 0}
    for seed in range(24):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(50), rng.integers(2, 9, 50))
        town = rng.integers(0, 3, 50)[group]
        values = rng.standard_t(3, 50)[group]
        for related in false:
            between = Dependence(group) if related else None
            small = least(
                compare_levels(
                    {"x": Measure(values)}, [town], dependence=between, seed=seed
                )
            )
            false[related] += small < 0.05
    assert false[True] <= 4 < 8 < false[False]


def test_results_depend_on_no_order_of_draws_and_events_are_the_rarer_side():
    rng = np.random.default_rng(1)
    town = rng.integers(0, 3, 90)
    values = rng.normal(size=90)
    first_draw, again = (
        compare_levels({"x": Measure(values)}, [town], seed=4) for _ in range(2)
    )
    assert np.array_equal(first_draw[0]["x"].p_value, again[0]["x"].p_value)
    truth = np.array([0, 1, 2, 2, 2, -1])
    assert events_of(truth, 3, 1).tolist() == [True, True, False, False, False, True]
    assert events_of(truth, 2, 1).tolist() == [False, True, False, False, False, False]
    assert compare_levels({}, [town]) == [{}]


def test_what_is_expected_is_as_by_hand():
    chances = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    expected_scores = beyond_expected(chances, np.array([1, -1]), np.array([0, 2]))
    sure, accuracy = expected_scores["accuracy"]
    assert sure.tolist() == [0.5, 0.8]
    assert accuracy.values.tolist() == [-0.5, -0.8]
    assert accuracy.variance == pytest.approx([0.25, 0.16])
    expected, loss = expected_scores["log_loss"]
    entropy = -(chances * np.log(chances)).sum(axis=1)
    assert expected == pytest.approx(entropy)
    assert loss.values[0] == pytest.approx(-np.log(0.3) - entropy[0])
    assert loss.member.tolist() == [True, False]
    assert loss.variance[0] == pytest.approx(
        (chances[0] * np.log(chances[0]) ** 2).sum() - entropy[0] ** 2
    )


def test_errors_are_in_units_of_what_is_usual_at_the_prediction():
    rng = np.random.default_rng(2)
    guess = np.linspace(0, 10, 2000)
    truth = guess + rng.normal(size=2000) * (1 + guess)
    usual = usual_errors(truth, guess)
    true = (1 + guess) * np.sqrt(2 / np.pi)
    assert np.abs(usual / true - 1)[100:-100].max() < 0.35
    assert usual_errors(guess, guess).tolist() == [1.0] * 2000, "no error is any size"


def test_a_difference_that_is_another_one_in_each_group_counts_groups():
    """Six farms of 40 rows.

    Half of each farm has the level, whose rows differ by so much.
    """
    draw = np.random.default_rng(0)
    farm = np.repeat(np.arange(6), 40)
    level = np.concatenate([draw.permutation(np.tile([0, 1], 20)) for _ in range(6)])
    noise = 0.5 * draw.normal(size=240)
    p_values = {}
    for name, apart in (("alike", [0.8] * 6), ("other", [3.0, 3, 3, -1.4, -1.4, -1.4])):
        values = noise + level * np.array(apart)[farm]
        for units in (None, Dependence(farm)):
            measure = {"error": Measure(values)}
            (compared,) = compare_levels(measure, [level], dependence=units)
            p_values[name, units is None] = float(compared["error"].p_value[1])
        assert compared["error"].difference[1] == pytest.approx(0.8, abs=0.15)
    assert p_values["other", True] < 0.01, "as independent rows it would be clear"
    assert p_values["other", False] > 0.2
    assert p_values["alike", False] < 0.02


def test_errors_of_groups_are_those_of_their_sums():
    draw = np.random.default_rng(3)
    farm = draw.integers(8, size=200)
    level = draw.integers(3, size=200)
    values = draw.normal(size=200) + 0.3 * farm
    expected_errors = []
    for code in range(3):
        inside = level == code
        apart = np.where(inside, values - values[inside].mean(), 0) / inside.sum()
        apart -= np.where(inside, 0, values - values[~inside].mean()) / (~inside).sum()
        expected_errors.append(np.sqrt(np.sum(np.bincount(farm, weights=apart) ** 2)))
    groups = between_levels._Groups.of(Dependence(farm), [level], np.array([0, 3]))
    table = between_levels._table({"error": Measure(values)}, None, 200)
    sums = np.stack([table[level == code].sum(axis=0) for code in range(3)])
    errors = groups.errors(table[:, None], sums[:, None], table.sum(axis=0))
    np.testing.assert_allclose(errors[:, 0, 0], expected_errors, rtol=1e-9)


def test_a_few_large_groups_are_not_judged():
    """Of twelve groups two have nearly all rows: what differs between them is no matter
    of levels.
    """
    sizes = np.array([200, 200, *[4] * 10])
    groups = Dependence(np.repeat(np.arange(12), sizes))
    rng = np.random.default_rng(0)
    level = rng.integers(0, 2, sizes.sum())
    values = rng.normal(size=len(level)) + level
    measures = {"error": Measure(values)}
    (few,) = compare_levels(measures, [level], dependence=groups)
    assert np.isnan(few["error"].p_value).all()
    assert few["error"].most is None
    even = Dependence(np.arange(len(level)) % 12)
    (many,) = compare_levels(measures, [level], dependence=even)
    assert (many["error"].p_value < 0.05).all()


def test_groups_of_other_sizes_widen_the_errors():
    rng = np.random.default_rng(3)
    level = rng.integers(0, 2, 600)
    values = rng.normal(size=600)
    even = np.arange(600) % 20
    uneven = np.repeat(np.arange(20), [150, 120, 100, 50, *[12] * 10, *[10] * 6])
    for codes, wider in ((even, 1.0), (uneven, 1.1)):
        groups = between_levels._Groups.of(Dependence(codes), [level], np.array([0, 2]))
        assert (groups.widening() >= wider - 1e-9).all()
        assert (groups.widening() < 1.02).all() == (wider == 1.0)
        (found,) = compare_levels(
            {"error": Measure(values)}, [level], dependence=Dependence(codes)
        )
        assert np.isfinite(found["error"].p_value).all()
