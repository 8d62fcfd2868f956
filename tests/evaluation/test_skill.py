"""Whether a model is better than another or than a constant: beside closed forms and
slow twins.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from permgrad.base.dependence import Dependence
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.skill import (
    Predicted,
    against_others,
    metric_by_rows,
    paired,
    score_interval,
    skill,
)


def softmax(scores: np.ndarray) -> np.ndarray:
    risen = np.exp(scores - scores.max(axis=1, keepdims=True))
    return risen / risen.sum(axis=1, keepdims=True)


def classified(
    rows: int, strength: float, seed: int, shares=(0.2, 0.3, 0.5)
) -> tuple[Predicted, Predicted]:
    """A model that knows as much as ``strength``, and the constant."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(shares), rows, p=shares)
    scores = (
        np.log(shares)
        + strength * np.eye(len(shares))[truth]
        + 0.5 * rng.normal(size=(rows, len(shares)))
    )
    return Predicted(truth, softmax(scores)), Predicted(
        truth, np.tile(shares, (rows, 1))
    )


def paired_bootstrap(
    metric: str, ours: Predicted, theirs: Predicted, *, seed: int
) -> SimpleNamespace | None:
    paired_facts = paired(metric, ours, theirs, seed=seed)
    return None if paired_facts is None else SimpleNamespace(**paired_facts)


# ---- one difference ------------------------------------------------------------------
@pytest.mark.parametrize("rows", [900, 30_000])
def test_the_interval_of_a_mean_is_that_of_the_normal_distribution(rows):
    """Also where more rows are drawn in groups."""
    ours, theirs = classified(rows, 0.4, 0)
    paired_result = paired_bootstrap("log_loss", ours, theirs, seed=3)
    gain = np.log(
        ours.guess[np.arange(rows), ours.truth]
        / theirs.guess[np.arange(rows), ours.truth]
    )
    error = gain.std() / math.sqrt(rows)
    assert paired_result.difference == pytest.approx(gain.mean())
    assert paired_result.ci_low == pytest.approx(
        gain.mean() - 1.96 * error, abs=0.2 * error
    )
    assert paired_result.ci_high == pytest.approx(
        gain.mean() + 1.96 * error, abs=0.2 * error
    )


def above(first_values: np.ndarray, second_values: np.ndarray) -> float:
    """In how many pairs the first is larger; where both are equal, a half."""
    return float(np.sign(first_values[:, None] - second_values).mean() / 2 + 0.5)


@pytest.mark.parametrize(
    ("metric", "classes"),
    [("roc_auc", 2), ("roc_auc", 3), ("accuracy", 3), ("rmse", 0)],
)
def test_the_interval_is_that_of_measuring_each_draw(metric, classes):
    rng = np.random.default_rng(1)
    if metric == "rmse":
        truth = rng.normal(size=150)
        ours, theirs = (
            Predicted(truth, truth + scale * rng.normal(size=150))
            for scale in (0.5, 0.6)
        )
    else:
        shares = np.ones(classes) / classes
        (ours, _), (_, _) = (classified(150, 1.0, 1, shares) for _ in range(2))
        theirs = Predicted(
            ours.truth, softmax(np.log(ours.guess) + rng.normal(size=ours.guess.shape))
        )

    def measured(own: Predicted, rows: np.ndarray) -> float:
        truth = own.truth[rows]
        guess = own.guess[rows]
        if metric == "rmse":
            return -reference.root_mean_squared_error(truth, guess)
        if metric == "accuracy":
            return reference.accuracy_score(truth, guess.argmax(axis=1))
        ranked = [k for k in range(classes) if classes > 2 or k == 1]
        if len(rows) == len(np.unique(rows)):
            return float(
                np.mean(
                    [reference.roc_auc_score(truth == k, guess[:, k]) for k in ranked]
                )
            )
        # By its definition, in a fiftieth of the time that the reference takes to check
        # its arguments.
        return float(
            np.mean([above(guess[truth == k, k], guess[truth != k, k]) for k in ranked])
        )

    paired_result = paired_bootstrap(metric, ours, theirs, seed=0)
    everything = np.arange(150)
    assert paired_result.difference == pytest.approx(
        measured(ours, everything) - measured(theirs, everything), abs=1e-12
    )
    draws = rng.integers(0, 150, (500, 150))
    slow = np.quantile(
        [measured(ours, rows) - measured(theirs, rows) for rows in draws],
        [0.025, 0.975],
    )
    width = slow[1] - slow[0]
    assert width > 0.01
    assert [paired_result.ci_low, paired_result.ci_high] == pytest.approx(
        slow.tolist(), abs=0.12 * width
    )


def test_p_values_agree_with_intervals_and_the_order_of_the_models_is_a_sign():
    seen_decisions = set()
    for seed in range(25):
        ours, theirs = classified(60, 0.35, seed)
        there, back = (
            paired_bootstrap("log_loss", *pair, seed=seed)
            for pair in ((ours, theirs), (theirs, ours))
        )
        assert (there.p_value < 0.05) == (there.ci_low > 0 or there.ci_high < 0)
        assert (there.difference, there.ci_low, there.p_value) == (
            -back.difference,
            -back.ci_high,
            back.p_value,
        )
        seen_decisions.add(there.p_value < 0.05)
    assert seen_decisions == {True, False}


def test_an_area_is_compared_by_the_parts_of_both_classes():
    """DeLong, DeLong & Clarke-Pearson (1988), written slowly."""
    rng = np.random.default_rng(4)
    truth = np.r_[np.ones(12, dtype=int), np.zeros(60, dtype=int)]
    scores = [rng.normal(size=72) + 1.0 * truth for _ in range(2)]
    both_predictions = [
        Predicted(truth, softmax(np.column_stack([-model_scores, model_scores])))
        for model_scores in scores
    ]
    paired_facts = paired("roc_auc", *both_predictions, seed=0)
    win_shares = []
    for single_scores in scores:
        wins = np.sign(single_scores[:12, None] - single_scores[12:]) / 2 + 0.5
        win_shares.append((wins.mean(axis=1), wins.mean(axis=0)))
    variance = sum(
        np.var(win_shares[0][side] - win_shares[1][side], ddof=1) / count
        for side, count in ((0, 12), (1, 60))
    )
    gap = win_shares[0][0].mean() - win_shares[1][0].mean()
    assert paired_facts["difference"] == pytest.approx(gap)
    half = stats.t.ppf(0.975, 11) * math.sqrt(variance)
    assert paired_facts["ci_low"] == pytest.approx(gap - half, rel=1e-3)
    size = abs(gap) / math.sqrt(variance)
    assert paired_facts["p_value"] == pytest.approx(2 * stats.t.sf(size, 11), rel=1e-3)


@pytest.mark.parametrize("rare", [1, 2, 4])
def test_few_rows_of_a_class_name_no_winner(rare):
    claims = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = (np.arange(150) < rare).astype(int)
        signal = rng.normal(size=150) + truth
        both_predictions = [
            Predicted(truth, softmax(np.column_stack([-model_scores, model_scores])))
            for model_scores in (signal + 0.5 * rng.normal(size=(2, 150)))
        ]
        comparison_facts = against_others(
            both_predictions[0], {"other": both_predictions[1]}, seed=0
        )["other"]
        assert math.isnan(comparison_facts["p_holm"]) == (rare == 1), (
            "one row says nothing"
        )
        claims += comparison_facts["p_holm"] < 0.05
    assert claims <= 9


def test_equal_models_do_not_differ_and_what_is_undefined_is_none():
    ours, theirs = classified(50, 0.3, 0)
    same = paired_bootstrap("accuracy", ours, ours, seed=0)
    assert (same.difference, same.ci_low, same.ci_high, same.p_value) == (0, 0, 0, 1)
    one_class = Predicted(np.zeros(20, dtype=int), np.full((20, 2), 0.5))
    assert paired_bootstrap("roc_auc", one_class, one_class, seed=0) is None
    assert (
        paired_bootstrap(
            "log_loss",
            *(
                Predicted(np.full(50, -1), predictions.guess)
                for predictions in (ours, theirs)
            ),
            seed=0,
        )
        is None
    )
    assert (
        paired_bootstrap(
            "accuracy", Predicted(ours.truth[:1], ours.guess[:1]), theirs, seed=0
        )
        is None
    )


def test_rows_of_a_class_that_no_model_knows_are_left_out_of_the_log_loss():
    ours, theirs = classified(50, 1.0, 0)
    truth = np.concatenate([ours.truth, [3, -1]])
    more = [
        Predicted(truth, np.vstack([predictions.guess, predictions.guess[:2]]))
        for predictions in (ours, theirs)
    ]
    paired_result = paired_bootstrap("log_loss", *more, seed=0)
    assert paired_result.difference == pytest.approx(
        paired_bootstrap("log_loss", ours, theirs, seed=0).difference
    )
    assert paired_result.ci_low > 0


# ---- against a constant --------------------------------------------------------------
def test_noise_is_hardly_ever_taken_for_knowledge_and_knowledge_is_found():
    noise = [
        skill("classification", *classified(60, 0.0, seed), seed=seed)["learnt"]
        for seed in range(100)
    ]
    learnt_flags = [
        skill("classification", *classified(60, 1.5, seed), seed=seed)["learnt"]
        for seed in range(20)
    ]
    assert sum(noise) <= 6
    assert all(learnt_flags)


@pytest.mark.parametrize("rare", [1, 2, 3])
def test_two_rare_rows_in_front_are_no_knowledge(rare):
    """Drawn rows alone would say so: every draw that has them has them in front."""
    truth = np.r_[np.ones(rare, dtype=int), np.zeros(30, dtype=int)]
    score = np.r_[np.linspace(0.8, 0.7, rare), np.linspace(0.95, 0.2, 30)]
    ours = Predicted(truth, np.stack([1 - score, score], axis=1))
    skill_facts = skill(
        "classification",
        ours,
        Predicted(truth, np.tile([0.9, 0.1], (len(truth), 1))),
        seed=0,
    )
    assert ("roc_auc" in skill_facts["ahead"]) == (rare > 1), "one row has no error"
    if rare > 1:
        assert skill_facts["ahead"]["roc_auc"]["difference"] > 0
    assert not skill_facts["learnt"]


def test_rows_of_one_class_measure_no_skill_and_a_class_without_rows_no_order():
    ours, constant = classified(200, 1.5, 0)
    assert list(skill("classification", ours, constant, seed=0)["ahead"]) == [
        "accuracy",
        "log_loss",
        "roc_auc",
    ]
    for rows, measured in (
        (ours.truth != 2, ["accuracy", "log_loss"]),
        (ours.truth == 1, []),
    ):
        selected_predictions = [
            Predicted(predictions.truth[rows], predictions.guess[rows])
            for predictions in (ours, constant)
        ]
        assert (
            list(
                (
                    skill("classification", *selected_predictions, seed=0)
                    or {"ahead": {}}
                )["ahead"]
            )
            == measured
        )


def test_a_frequent_class_does_not_hide_a_good_order():
    rng = np.random.default_rng(0)
    truth = (rng.random(800) < 0.04).astype(int)
    chance = 1 / (1 + np.exp(3.6 - 1.5 * truth - rng.normal(size=800)))
    ours = Predicted(truth, np.stack([1 - chance, chance], axis=1))
    skill_facts = skill(
        "classification",
        ours,
        Predicted(truth, np.tile([0.96, 0.04], (800, 1))),
        seed=0,
    )
    assert np.mean(ours.guess.argmax(axis=1) == truth) <= 1 - truth.mean() + 0.002, (
        "hardly more than the frequent class"
    )
    assert list(skill_facts["ahead"]) == ["roc_auc", "log_loss"]
    assert skill_facts["learnt"]


# ---- against others ------------------------------------------------------------------
def test_p_values_against_several_are_adjusted_for_their_number():
    ours, _ = classified(120, 1.0, 0)
    rng = np.random.default_rng(0)
    other_predictions = {
        str(k): Predicted(
            ours.truth,
            softmax(np.log(ours.guess) + 0.7 * rng.normal(size=ours.guess.shape)),
        )
        for k in range(4)
    }
    comparison_facts = against_others(ours, other_predictions, seed=0)
    assert {
        comparison_line["metric"] for comparison_line in comparison_facts.values()
    } == {"accuracy"}
    plain = sorted(
        comparison_line["p_value"] for comparison_line in comparison_facts.values()
    )
    assert min(
        comparison_line["p_holm"] for comparison_line in comparison_facts.values()
    ) == pytest.approx(min(1, 4 * plain[0]))
    assert against_others(ours, {}, seed=0) == {}


@pytest.mark.parametrize("each", [5, 20])
def test_a_large_difference_is_shown_although_rows_repeat_patients(each):
    rng = np.random.default_rng(0)
    patient = np.arange(400) // each
    truth = rng.normal(size=400 // each)[patient]
    error = rng.normal(size=400 // each)[patient]
    known_dependence = Dependence(patient)
    skill_facts = skill(
        "regression",
        Predicted(truth, truth + 0.3 * error),
        Predicted(truth, np.zeros(400)),
        seed=0,
        dependence=known_dependence,
    )
    measured = skill_facts["ahead"]["rmse"]
    assert measured["ci_low"] > 0
    assert measured["p_value"] < 0.01, "interval and p-value agree"
    assert skill_facts["learnt"]
    bad = skill(
        "regression",
        Predicted(truth, truth + 1.1 * error),
        Predicted(truth, np.zeros(400)),
        seed=0,
        dependence=known_dependence,
    )
    assert not bad["learnt"]


def test_counts_are_judged_by_their_deviance():
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(size=800))
    y = rng.poisson(rate).astype(float)
    ours, constant = (
        Predicted(y, guess, counts=True) for guess in (rate, np.full(800, y.mean()))
    )
    skill_facts = skill("regression", ours, constant, seed=0)
    assert skill_facts["learnt"]
    measured = evaluate("regression", y, predictions=rate, counts=True)[
        "poisson_deviance"
    ]
    assert metric_by_rows("poisson_deviance", ours)[0] == pytest.approx(
        measured, rel=1e-9
    )
    assert metric_by_rows("rmse", ours)[0] == pytest.approx(
        np.sqrt(np.mean((y - rate) ** 2)), rel=1e-9
    )
    assert list(skill_facts["ahead"]) == ["poisson_deviance"]


# ---- the interval of one score -------------------------------------------------------
def test_the_interval_of_a_root_mean_square_is_that_of_its_logarithm():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    predicted = Predicted(truth, truth + rng.normal(size=400))
    squares = (predicted.truth - predicted.guess) ** 2
    value = math.sqrt(squares.mean())
    # Of a root the relative error is half of that of the mean.
    error = squares.std(ddof=1) / math.sqrt(400) / squares.mean() / 2
    low, high = score_interval("rmse", predicted)
    assert low < value < high
    ends = np.log([low / value, high / value])
    assert ends[0] == pytest.approx(-stats.t.ppf(0.975, 399) * error, rel=0.02)
    assert ends[1] >= -ends[0] - 1e-9, "a long tail reaches further up"


def test_the_interval_of_an_area_is_delongs_within_its_bounds():
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1], [150, 50])
    scores = rng.normal(size=200) + 1.5 * truth
    chance = 1 / (1 + np.exp(-scores))
    predicted = Predicted(truth, np.column_stack([1 - chance, chance]))
    area = reference.roc_auc_score(truth, chance)
    inside, outside = scores[truth == 1], scores[truth == 0]
    above = (inside[:, None] > outside).astype(float)
    variance = (
        above.mean(axis=1).var(ddof=1) / 50 + above.mean(axis=0).var(ddof=1) / 150
    )
    error = math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    half = stats.t.ppf(0.975, 49) * error
    expected = 1 / (1 + np.exp(-(logit + np.array([-half, half]))))
    assert score_interval("roc_auc", predicted) == pytest.approx(expected, abs=0.002)


def test_groups_widen_the_interval_and_too_few_have_none():
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random(40) < 0.7, 10)
    truth = np.zeros(400, dtype=int)
    chance = np.where(right, 0.2, 0.8)
    predicted = Predicted(truth, np.column_stack([1 - chance, chance]))
    patients = Dependence(np.repeat(np.arange(40), 10))
    rows = np.diff(score_interval("accuracy", predicted))[0]
    groups = np.diff(score_interval("accuracy", predicted, patients))[0]
    assert 2.5 < groups / rows < 4, "about the root of ten"
    three = Dependence(np.repeat(np.arange(3), [100, 100, 200]))
    assert score_interval("accuracy", predicted, three) is None
    assert score_interval("accuracy", predicted.take(np.arange(3))) is None


@pytest.mark.parametrize("rows", [20, 200])
def test_a_perfect_share_has_the_interval_of_wilson(rows):
    truth = np.tile([0, 1], rows // 2)
    chance = np.where(truth == 1, 0.9, 0.1)
    predicted = Predicted(truth, np.column_stack([1 - chance, chance]))
    square = stats.norm.ppf(0.975) ** 2
    for metric, count in (("accuracy", rows), ("roc_auc", rows // 2)):
        low, high = score_interval(metric, predicted)
        assert high == 1
        assert low == pytest.approx(count / (count + square))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_intervals_of_scores_cover(metric):
    large, _ = classified(400_000, 1.0, 999, shares=(0.7, 0.3))
    truth = metric_by_rows(metric, large)[0]
    covered = []
    for seed in range(300):
        low, high = score_interval(metric, classified(200, 1.0, seed, (0.7, 0.3))[0])
        covered.append(low <= truth <= high)
    assert 0.91 <= np.mean(covered) <= 0.98
