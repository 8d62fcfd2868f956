"""Discoveries, coverage, stability, bias and variance, curves: closed forms, slow twins
and metamorphic relations.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import kendall
from permgrad_benchmark import benchmark_metrics, metric_named
from permgrad_benchmark.metrics import (
    bias_and_variance,
    discoveries,
    faithfulness_curves,
    false_discovery_rate,
    interval_coverage,
    mean_kendall,
    power,
    relevance_auc,
    share_spread,
)

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)
flag_lists = st.lists(st.booleans(), min_size=1, max_size=10)


# ---- calling features relevant -------------------------------------------------------
@settings(max_examples=100, deadline=None)
@given(p=p_lists, level=st.sampled_from([0.01, 0.05, 0.3]))
def test_discoveries_equal_scipys_adjusted_p_values(p, level):
    adjusted = stats.false_discovery_control(p)
    clear = np.abs(adjusted - level) > 1e-12
    assert np.array_equal(discoveries(p, level)[clear], (adjusted <= level)[clear])


@settings(max_examples=60, deadline=None)
@given(p=p_lists, data=st.data())
def test_discoveries_do_not_depend_on_the_order_and_grow_with_the_level(p, data):
    order = data.draw(st.permutations(range(len(p))))
    called = discoveries(p)
    assert np.array_equal(discoveries([p[i] for i in order]), called[list(order)])
    assert not (called & ~discoveries(p, 0.2)).any()
    assert (called <= (np.array(p) <= 0.05)).all()


def test_the_procedure_controls_false_discoveries():
    """20 irrelevant, 10 relevant features: the mean rate stays at the level times the
    share of irrelevant ones.
    """
    rng = np.random.default_rng(0)
    relevant = np.arange(30) < 10
    rates = []
    powers = []
    for _ in range(2000):
        z = rng.standard_normal(30) + np.where(relevant, 3.0, 0.0)
        called = discoveries(2 * stats.norm.sf(np.abs(z)))
        rates.append(false_discovery_rate(relevant, called))
        powers.append(power(relevant, called))
    assert np.mean(rates) == pytest.approx(0.05 * 20 / 30, abs=0.006)
    assert 0.4 < np.mean(powers) < 0.9


@settings(max_examples=60, deadline=None)
@given(flags=flag_lists, data=st.data())
def test_rates_by_counting(flags, data):
    called = data.draw(
        st.lists(st.booleans(), min_size=len(flags), max_size=len(flags))
    )
    wrong = sum(
        is_called and not true for is_called, true in zip(called, flags, strict=True)
    )
    right = sum(
        is_called and true for is_called, true in zip(called, flags, strict=True)
    )
    relevant = np.array(flags)
    called_flags = np.array(called)
    assert false_discovery_rate(relevant, called_flags) == (
        wrong / sum(called) if any(called) else 0.0
    )
    if any(flags):
        assert power(relevant, called_flags) == right / sum(flags)
        assert power(relevant, relevant) == 1.0
        assert power(relevant, ~relevant) == 0.0
        assert false_discovery_rate(relevant, relevant) == 0.0
    else:
        assert math.isnan(power(relevant, called_flags))
    if not all(flags):
        assert false_discovery_rate(relevant, ~relevant) == 1.0


def test_an_undefined_p_value_is_never_called():
    assert discoveries([math.nan, 0.001]).tolist() == [False, True]
    assert not discoveries([math.nan]).any()


def test_coverage():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(4000)
    centre = truth + rng.standard_normal(4000)
    assert interval_coverage(truth, centre - 1.96, centre + 1.96) == pytest.approx(
        0.95, abs=0.012
    )
    assert interval_coverage([0.0], [0.0], [0.0]) == 1.0
    assert interval_coverage([0.0, 1.0], [math.nan, 0.5], [math.nan, 2.0]) == 1.0
    assert math.isnan(interval_coverage([0.0], [math.nan], [math.nan]))
    # Wider intervals never cover less; moving all three together changes nothing.
    narrow = interval_coverage(truth, centre - 1, centre + 1)
    assert narrow < interval_coverage(truth, centre - 2, centre + 2)
    assert interval_coverage(truth + 8, centre + 7, centre + 9) == narrow


# ---- AUC -----------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(flags=flag_lists, data=st.data())
def test_auc_by_pairs_and_its_relations(flags, data):
    estimate = data.draw(
        st.lists(
            st.integers(-2, 3).map(float), min_size=len(flags), max_size=len(flags)
        )
    )
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for (a, relevant), (b, other_relevant) in itertools.product(
            zip(estimate, flags, strict=True), repeat=2
        )
        if relevant and not other_relevant
    ]
    auc_value = relevance_auc(np.array(flags, dtype=float), estimate)
    if not pairs:
        assert math.isnan(auc_value)
        return
    assert auc_value == pytest.approx(np.mean(pairs))
    assert relevance_auc(
        np.array(flags, dtype=float), [-value for value in estimate]
    ) == pytest.approx(1 - auc_value)
    # Rising transformations of the estimate, and how important a relevant feature is,
    # do not matter.
    assert relevance_auc(np.array(flags) * 7.5, np.exp(estimate)) == pytest.approx(
        auc_value
    )


# ---- stability -----------------------------------------------------------------------
def test_stability_by_pairs():
    values = np.random.default_rng(2).random((5, 7))
    kendall_of = mean_kendall(values)
    spread = share_spread(values)
    taus = [
        kendall(values[i], values[j]) for i, j in itertools.combinations(range(5), 2)
    ]
    shares = values / values.sum(axis=1, keepdims=True)
    assert kendall_of == pytest.approx(np.mean(taus))
    assert spread == pytest.approx(math.sqrt(np.mean(shares.var(axis=0, ddof=1))))
    assert 0 < abs(kendall_of) < 1
    # Units of each repetition and the order of features do not matter; identical
    # repetitions are perfectly stable.
    scaled = values * np.array([[1], [10], [100], [0.1], [3]])
    assert mean_kendall(scaled) == pytest.approx(kendall_of)
    assert share_spread(scaled) == pytest.approx(spread)
    assert mean_kendall(values[:, ::-1]) == pytest.approx(kendall_of)
    assert share_spread(np.tile(values[0], (3, 1))) == pytest.approx(0, abs=1e-12)
    assert math.isnan(mean_kendall(np.ones((2, 3))))


def test_mean_square_error_is_bias_squared_plus_variance():
    rng = np.random.default_rng(3)
    truth = rng.dirichlet(np.ones(4))
    shares = rng.dirichlet(np.ones(4), size=6)
    bias, variance = bias_and_variance(truth, shares)
    np.testing.assert_allclose(
        bias**2 + variance, np.mean((shares - truth) ** 2, axis=0)
    )
    assert np.abs(bias).max() > 0.01


# ---- curves --------------------------------------------------------------------------
def curves_of(ranking, loss=lambda x: x @ np.array([3.0, 2.0, 0.0])):
    columns = {
        name: np.array([column_index]) for column_index, name in enumerate("abc")
    }
    return faithfulness_curves(
        loss, np.zeros((4, 3)), np.ones((4, 3)), columns, ranking
    )


def test_the_true_order_has_the_best_areas_of_all():
    areas = {order: curves_of(order) for order in itertools.permutations("abc")}
    best = areas[tuple("abc")]
    assert best.deletion_area == max(curve.deletion_area for curve in areas.values())
    assert best.insertion_area == min(curve.insertion_area for curve in areas.values())
    worst = areas[tuple("cba")]
    assert best.deletion_area > 0.5 > worst.deletion_area
    assert best.deletion.tolist() == [0, 3, 5, 5]
    assert best.insertion.tolist() == [5, 2, 0, 0]
    # For an additive loss, deleting in one order is inserting in the other, upside
    # down.
    assert worst.deletion_area == pytest.approx(1 - best.deletion_area)


def test_curves_leave_the_rows_alone():
    rows = np.zeros((2, 2))
    donors = np.ones((2, 2))
    columns = {"a": np.array([0]), "b": np.array([1])}
    faithfulness_curves(lambda x: x.sum(axis=1), rows, donors, columns, ["a", "b"])
    assert not rows.any()
    assert donors.all()
    assert math.isnan(curves_of("abc", lambda x: np.zeros(len(x))).deletion_area)


# ---- the registry --------------------------------------------------------------------
@pytest.mark.parametrize("name", list(benchmark_metrics))
def test_every_metric_states_direction_and_range(name):
    metric = benchmark_metrics.get(name)
    low, high = metric.range
    assert low < high
    assert metric.direction in ("higher", "lower", "none", "nominal")
    assert (metric.nominal is not None) == (metric.direction == "nominal")
    assert metric_named(f"{name}:of something") is metric
    assert set(metric.facts()) == {
        "label",
        "direction",
        "range",
        "ranks_across",
        "nominal",
        "note",
    }
    first_value = 0.2
    second_value = 0.6
    if metric.direction == "none":
        assert not metric.better(first_value, second_value)
        assert not metric.better(second_value, first_value)
    else:
        assert metric.better(first_value, second_value) != metric.better(
            second_value, first_value
        )
        assert not metric.better(first_value, first_value)


def test_only_relevance_and_cost_rank_across_estimands():
    for name in ("share_error", "spearman", "kendall", "interval_coverage"):
        assert not benchmark_metrics.get(name).ranks_across
    for name in (
        "top_k",
        "auc",
        "false_discovery_rate",
        "power",
        "seconds",
        "model_rows",
    ):
        assert benchmark_metrics.get(name).ranks_across
    assert benchmark_metrics.get("interval_coverage").better(0.94, 1.0)
    with pytest.raises(
        InputError,
        match=r"benchmark metric cannot be 'share_eror'. Did you mean 'share_error'",
    ):
        metric_named("share_eror")
