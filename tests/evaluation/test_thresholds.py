"""Cuts of a score: all of them, exactly, against slow loops and closed forms; and
lift.
"""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from permgrad import InputError
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.thresholds import (
    CRITERIA,
    OUTCOMES,
    choose_threshold,
    metrics_at,
    top_rows,
)

COST = {"false_positive": 1.0, "false_negative": 3.0, "true_positive": -0.5}


def by_hand(y, called, criterion, cost):
    """One criterion of one cut, by scikit-learn or from its definition; larger is
    better.
    """
    if criterion == "f1":
        return f1_score(y, called, zero_division=0)
    if criterion == "balanced_accuracy":
        return balanced_accuracy_score(y, called)
    (tn, fp), (fn, tp) = confusion_matrix(y, called, labels=[0, 1])
    counts = {
        "false_positive": fp,
        "false_negative": fn,
        "true_positive": tp,
        "true_negative": tn,
    }
    return -sum(price * counts[outcome] for outcome, price in cost.items())


def random_case(rows=60, seed=0, levels=15):
    """Scores with many ties."""
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.3).astype(int)
    y[:2] = 0, 1
    return y, rng.integers(levels, size=rows) / levels + 0.02 * np.round(
        y * rng.random(rows), 1
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.sampled_from(CRITERIA),
)
def test_no_cut_is_better(rows, seed, levels, by):
    y, scores = random_case(rows, seed, levels)
    cost = COST if by == "cost" else None
    threshold = choose_threshold(y, scores, by=by, cost=cost)
    cuts = [-math.inf, *np.unique(scores), math.inf]
    goodness = [by_hand(y, scores >= cut, by, COST) for cut in cuts]
    score = -threshold.score if by == "cost" else threshold.score
    assert score == pytest.approx(max(goodness), abs=1e-12)
    assert by_hand(y, threshold.apply(scores), by, COST) == pytest.approx(
        max(goodness), abs=1e-12
    )
    # Of equally good cuts the one with the fewest positives.
    equal = [
        cut
        for cut, value in zip(cuts, goodness, strict=True)
        if value > max(goodness) - 1e-12
    ]
    assert threshold.apply(scores).sum() == (scores >= max(equal)).sum()


def test_the_cases_are_not_trivial():
    y, scores = random_case()
    assert len(np.unique(scores)) < len(scores), "ties are needed"
    values = [
        choose_threshold(
            y, scores, by=criterion, cost=COST if criterion == "cost" else None
        ).value
        for criterion in CRITERIA
    ]
    assert np.isfinite(values).all()
    assert len(set(values)) > 1, "the criteria must differ"


def test_closed_forms():
    # Perfect scores: every criterion cuts half way between the classes.
    y = [0, 0, 0, 1, 1]
    scores = [0.0, 0.1, 0.2, 0.8, 1.0]
    for criterion in ("f1", "balanced_accuracy"):
        threshold = choose_threshold(y, scores, by=criterion)
        assert (threshold.value, threshold.score) == (0.5, 1.0)
    # One useless score: F1 calls all positive, 2p / (1 + p); balanced accuracy is one
    # half wherever.
    useless = choose_threshold([0, 0, 0, 1], [0.3] * 4, by="f1")
    assert (useless.value, useless.score, useless.metrics["called"]) == (
        -math.inf,
        2 * 0.25 / 1.25,
        1.0,
    )
    half = choose_threshold([0, 0, 0, 1], [0.3] * 4, by="balanced_accuracy")
    assert (half.value, half.score, half.metrics["precision"]) == (math.inf, 0.5, None)
    assert not half.apply([1e300]).any()


def test_true_probabilities_are_cut_where_decision_theory_says():
    # Calling is right where p · C_fn > (1 − p) · C_fp, that is p > C_fp / (C_fp + C_fn)
    # (Elkan 2001, equation 1).
    p = np.repeat(np.arange(1, 20) / 20, 400)
    y = np.concatenate([np.arange(400) < 20 * k for k in range(1, 20)])
    threshold = choose_threshold(
        y, p, by="cost", cost={"false_positive": 1, "false_negative": 3}
    )
    assert 0.2 < threshold.value <= 0.3, "p = 0.25 is a draw"
    best = sum(min(400 * s * 3, 400 * (1 - s)) for s in np.arange(1, 20) / 20)
    assert threshold.score == pytest.approx(best)
    accurate = choose_threshold(
        y, p, by="cost", cost={"false_positive": 1, "false_negative": 1}
    )
    assert 0.5 <= accurate.value <= 0.55


def test_rising_transformations_change_nothing():
    y, scores = random_case(200, 3)
    for criterion in ("f1", "balanced_accuracy"):
        plain = choose_threshold(y, scores, by=criterion)
        bent = choose_threshold(y, np.exp(3 * scores), by=criterion)
        np.testing.assert_array_equal(
            plain.apply(scores), bent.apply(np.exp(3 * scores))
        )
        assert plain.score == bent.score


@pytest.mark.parametrize(
    "scores",
    [
        [1.0, np.nextafter(1.0, 2.0)],
        [-1.7e308, 1.7e308],
        [5e-324, 1e-323],
        [0.0, 5e-324],
        [-0.0, 1.0],
    ],
    ids=["neighbours", "overflow", "subnormal", "smallest", "zeros"],
)
def test_the_middle_of_extreme_numbers_still_parts_them(scores):
    threshold = choose_threshold([0, 1], scores, by="f1")
    assert threshold.score == 1.0
    assert threshold.apply(scores).tolist() == [False, True]


def test_metrics_at_the_cut_equal_scikit_learn():
    from sklearn import metrics as reference

    y, scores = random_case(300, 1)
    for value in (-math.inf, 0.35, 0.6, math.inf):
        metrics_at_cut = metrics_at(y, scores, value, COST)
        called = scores >= value
        assert metrics_at_cut["accuracy"] == pytest.approx(
            reference.accuracy_score(y, called)
        )
        assert metrics_at_cut["balanced_accuracy"] == pytest.approx(
            reference.balanced_accuracy_score(y, called)
        )
        assert metrics_at_cut["recall"] == pytest.approx(
            reference.recall_score(y, called)
        )
        assert metrics_at_cut["specificity"] == pytest.approx(
            reference.recall_score(y, called, pos_label=0)
        )
        assert metrics_at_cut["f1"] == pytest.approx(
            reference.f1_score(y, called, zero_division=0)
        )
        precision = reference.precision_score(y, called) if called.any() else None
        assert metrics_at_cut["precision"] == (
            None if precision is None else pytest.approx(precision)
        )
        assert (
            metrics_at_cut["confusion_matrix"] == confusion_matrix(y, called).tolist()
        )
        assert metrics_at_cut["cost"] == pytest.approx(
            -by_hand(y, called, "cost", COST)
        )
        assert metrics_at_cut["called"] == called.mean()
    cost_threshold = choose_threshold(y, scores, by="cost", cost=COST)
    assert cost_threshold.metrics == metrics_at(y, scores, cost_threshold.value, COST)


def test_labels_of_every_kind_and_the_other_class_as_positive():
    y, scores = random_case(80, 2)
    expected = choose_threshold(y, scores)
    for labels in (
        np.array(["no", "yes"]),
        np.array([False, True]),
        np.array(["no", "yes"], dtype=object),
    ):
        threshold = choose_threshold(labels[y], scores)
        assert (threshold.value, threshold.score, threshold.positive) == (
            expected.value,
            expected.score,
            labels[1],
        )
        json.dumps(threshold.to_dict())
    turned = choose_threshold(1 - y, scores, positive=0)
    assert (turned.value, turned.score) == (expected.value, expected.score)


def test_inputs_stay_as_they_are():
    y, scores = random_case()
    before = y.copy(), scores.copy()
    choose_threshold(y, scores)
    np.testing.assert_array_equal(before[0], y)
    np.testing.assert_array_equal(before[1], scores)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ([0, 0], [0.1, 0.2]),
            {},
            (
                r"y must hold two labels of one type, got 1 \(\[0\]\)\. Pass rows of "
                r"both "
                r"classes"
            ),
        ),
        (
            ([0, 1, 2], [0.1, 0.2, 0.3]),
            {},
            r"y must hold two labels of one type, got 3 \(\[0, 1, 2\]\)",
        ),
        (
            (np.array([0, "a"], dtype=object), [0.1, 0.2]),
            {},
            "y must hold two labels of one type, got 2",
        ),
        (
            (["c", "a"], [0.1, 0.2]),
            {"positive": "b"},
            "positive must be one of 'a', 'c', got 'b'",
        ),
        (
            ([0, 1], [0.1, math.nan]),
            {},
            "1 of 2 scores are not finite. Leave those rows out",
        ),
        (
            ([0, 1], [[0.1, 0.9], [0.2, 0.8]]),
            {},
            r"got \(2,\) and \(2, 2\)\. Pass one label and one score",
        ),
        (
            ([[0], [1]], [0.1, 0.2]),
            {},
            r"y and scores must have shape \(rows,\), got \(2, 1\) and \(2,\)",
        ),
        (
            ([0, 1], [0.1, 0.2, 0.3]),
            {},
            r"y and scores must have shape \(rows,\), got \(2,\) and \(3,\)",
        ),
        (
            ([0, 1], [0.1, 0.2]),
            {"by": "costs"},
            r"by cannot be 'costs'. Did you mean 'cost'\?",
        ),
        (
            ([0, 1], [0.1, 0.2]),
            {"by": "cost"},
            "by='cost' needs the costs of outcomes, got cost=None",
        ),
        (([0, 1], [0.1, 0.2]), {"cost": COST}, "cost= needs by='cost', got by='f1'"),
        (
            ([0, 1], [0.1, 0.2]),
            {"by": "cost", "cost": {"false_alarm": 1}},
            "outcome in cost must be one of",
        ),
        (
            ([0, 1], [0.1, 0.2]),
            {"by": "cost", "cost": {"false_positive": math.inf}},
            r"cost\['false_positive'\] must be a finite number, got inf",
        ),
    ],
)
def test_wrong_input(arguments, options, message):
    with pytest.raises(InputError, match=message):
        choose_threshold(*arguments, **options)


def test_outcomes_are_named_in_full():
    assert len(OUTCOMES) == 4
    with pytest.raises(InputError, match="The threshold must be a number"):
        metrics_at([0, 1], [0.1, 0.2], math.nan)


# ---- lift ----------------------------------------------------------------------------


def lift(y, scores):
    table = np.column_stack([1 - np.asarray(scores), scores])
    return evaluate("classification", y, probabilities=table, classes=[0, 1])["lift"]


def test_lift_closed_forms():
    y = np.zeros(100, dtype=int)
    y[:20] = 1
    scores = np.linspace(1, 0, 100)
    assert lift(y, scores) == pytest.approx(5.0), "all of the tenth, 20 % of all"
    assert lift(y, scores[::-1]) == 0.0
    assert lift(y, np.full(100, 0.5)) == pytest.approx(1.0), "ties: expected value"
    y[:] = 0
    y[:5] = 1
    assert lift(y, scores) == pytest.approx(10.0), "the most there can be"
    assert lift(np.zeros(100, dtype=int), scores) is None


def test_lift_of_ties_is_the_mean_over_every_way_of_breaking_them():
    rng = np.random.default_rng(4)
    y = (rng.random(95) < 0.3).astype(int)
    scores = rng.integers(6, size=95) / 6
    called_count = math.ceil(9.5)
    assert 0 < y[scores == np.sort(scores)[-called_count]].mean() < 1, (
        "the edge must be tied, between both classes"
    )
    draws = []
    for _ in range(4000):
        order = np.lexsort([rng.random(len(y)), -scores])
        draws.append(y[order[:called_count]].mean() / y.mean())
    assert np.std(draws) > 0
    assert lift(y, scores) == pytest.approx(
        np.mean(draws), abs=5 * np.std(draws) / np.sqrt(len(draws))
    )


def test_top_rows_are_the_lift_and_every_row_at_last():
    rng = np.random.default_rng(5)
    y = (rng.random(95) < 0.3).astype(int)
    scores = rng.integers(6, size=95) / 6
    tenth, half, everyone = top_rows(y, scores, [10, 50, 100])
    assert tenth["rows"] == math.ceil(9.5)
    assert tenth["precision"] / y.mean() == pytest.approx(lift(y, scores))
    assert half["recall"] == pytest.approx(half["hits"] / y.sum())
    assert (everyone["rows"], everyone["hits"]) == (95, y.sum())
    assert everyone["recall"] == 1
    # 7 % of 100 rows are 7, which floating point would take for a little more.
    assert top_rows(np.arange(100) < 9, -np.arange(100.0), [7])[0]["rows"] == 7
