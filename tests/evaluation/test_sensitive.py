"""Rates and errors by level are as by hand and as fairlearn defines them; no difference
raises few false sentences.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.base.dependence import Dependence
from permgrad.evaluation import sensitive
from permgrad.evaluation.sensitive import audit, by_threshold, levels_by, told_by
from permgrad.evaluation.skill import Predicted


def made(
    rows: int = 900, seed: int = 0, levels: int = 3, gap: float = 0.0
) -> tuple[pd.DataFrame, Predicted]:
    """Rows of equal levels, of which the last one has probabilities that are larger by
    ``gap``.
    """
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, levels, rows)
    chance = rng.uniform(0.05, 0.95, rows)
    truth = (rng.random(rows) < chance).astype(int)
    chance = np.clip(chance + gap * (codes == levels - 1), 0.01, 0.99)
    return pd.DataFrame({"sex": np.array(list("abcdefgh"))[codes]}), Predicted(
        truth, np.column_stack([1 - chance, chance])
    )


def measure(facts: dict, name: str) -> dict:
    return next(
        measure_entry
        for measure_entry in facts["measures"]
        if measure_entry["measure"] == name
    )


def fairlearn_metrics(
    truth: np.ndarray, called: np.ndarray, levels: np.ndarray
) -> dict[str, float]:
    """The definitions of fairlearn.metrics, with its defaults: between groups, and the
    worst case of equalized odds.
    """
    selected = []
    hit_rates = []
    alarms = []
    for level in np.unique(levels):
        member = levels == level
        selected.append(called[member].mean())
        hit_rates.append(called[member & (truth == 1)].mean())
        alarms.append(called[member & (truth == 0)].mean())

    def ratio(rates: list[float]) -> float:
        return min(rates) / max(rates) if max(rates) else np.nan

    return {
        "demographic_parity_difference": max(selected) - min(selected),
        "demographic_parity_ratio": ratio(selected),
        "equalized_odds_difference": max(
            max(hit_rates) - min(hit_rates), max(alarms) - min(alarms)
        ),
        "equalized_odds_ratio": np.nanmin([ratio(hit_rates), ratio(alarms)]),
    }


@pytest.mark.parametrize("seed", range(6))
def test_differences_and_ratios_are_those_of_fairlearn(seed):
    frame, predicted = made(seed=seed, levels=2 + seed % 3, gap=0.05 * seed)
    (facts,) = audit(frame, predicted)
    called = predicted.guess.argmax(axis=1)
    expected = fairlearn_metrics(predicted.truth, called, frame["sex"].to_numpy())
    assert {
        name: fairness_entry["value"]
        for name, fairness_entry in facts["fairness"].items()
    } == pytest.approx(expected)
    assert all(
        fairness_entry["low"] <= fairness_entry["value"] <= fairness_entry["high"]
        for fairness_entry in facts["fairness"].values()
    )


def test_ratios_of_a_model_that_never_says_yes_are_undefined():
    frame, predicted = made()
    (facts,) = audit(
        frame, Predicted(predicted.truth, np.tile([0.9, 0.1], (len(frame), 1)))
    )
    assert facts["fairness"]["demographic_parity_ratio"] == {}
    assert facts["fairness"]["demographic_parity_difference"]["value"] == 0
    assert "clear" not in measure(facts, "selection_rate"), "all are alike"


def test_measures_of_a_level_are_as_by_hand():
    frame, predicted = made(gap=0.3)
    (facts,) = audit(frame, predicted)
    member = (frame["sex"] == "c").to_numpy()
    called = predicted.guess.argmax(axis=1)
    truth = predicted.truth[member]
    chance = predicted.guess[member, 1]
    hand = {
        "selection_rate": called[member].mean(),
        "true_positive_rate": called[member][truth == 1].mean(),
        "false_positive_rate": called[member][truth == 0].mean(),
        "observed_rate": truth.mean(),
        "mean_prediction": chance.mean(),
        "predicted_minus_observed": chance.mean() - truth.mean(),
        "accuracy": (called[member] == truth).mean(),
        "log_loss": -np.log(np.where(truth == 1, chance, 1 - chance)).mean(),
    }
    assert {
        measure_entry["measure"]: measure_entry["levels"]["c"][0]
        for measure_entry in facts["measures"]
    } == pytest.approx(hand)
    assert all(
        low <= value <= high
        for measure_entry in facts["measures"]
        for value, low, high in measure_entry["levels"].values()
    )
    line = measure(facts, "selection_rate")
    assert (line["level"], line["clear"]) == ("c", True)
    assert line["low"] > 0
    assert line["value"] == pytest.approx(
        called[member].mean() - called[~member].mean()
    )
    assert line["rows"] == [member.sum(), (~member).sum()]
    assert line["events"] == [truth.sum(), predicted.truth[~member].sum()]
    loss = measure(facts, "log_loss")
    surprise = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance))
    assert loss["expected"][0] == pytest.approx(surprise.mean())
    assert "p_adjusted" not in measure(facts, "observed_rate"), (
        "which is no matter of the model"
    )


def test_numbers_have_their_error_and_models_without_probabilities_no_calibration():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": ["a", "b"] * 200})
    truth = rng.normal(size=400)
    guess = truth + rng.normal(size=400) + np.where(frame["town"] == "b", 1.0, 0.0)
    (facts,) = audit(frame, Predicted(truth, guess))
    error = (truth - guess)[1::2]
    lines = {
        measure_entry["measure"]: measure_entry for measure_entry in facts["measures"]
    }
    assert list(lines) == ["mean_prediction", "observed_mean", "mean_error", "rmse"]
    assert lines["mean_error"]["levels"]["b"][0] == pytest.approx(error.mean())
    assert lines["rmse"]["levels"]["b"][0] == pytest.approx(np.sqrt((error**2).mean()))
    assert lines["mean_error"]["clear"]
    values = lines["mean_error"]["estimates"]
    first = lines["mean_error"]["level"]
    order = [first, *({"a", "b"} - {first})]
    by_level = lines["mean_error"]["levels"]
    assert values == pytest.approx([by_level[level_name][0] for level_name in order])
    assert facts["fairness"] == {}
    frame, predicted = made()
    (facts,) = audit(frame, predicted, labels_only=True)
    assert not {"mean_prediction", "predicted_minus_observed", "log_loss"} & {
        measure_entry["measure"] for measure_entry in facts["measures"]
    }
    several = Predicted(
        predicted.truth, np.column_stack([predicted.guess, np.full(len(frame), 0.01)])
    )
    assert [
        measure_entry["measure"]
        for measure_entry in audit(frame, several)[0]["measures"]
    ] == [
        "accuracy",
        "log_loss",
    ]


def test_missing_cells_are_a_level_and_small_levels_are_one():
    column = pd.Series(
        ["a"] * 50 + ["b"] * 40 + ["c"] * 5 + ["d"] * 3 + [None] * 30, name="x"
    )
    codes, levels, merged = levels_by(column.to_frame(), "x", [])
    assert (levels, merged) == (["a", "b", "missing", "other"], ["c", "d"])
    assert np.bincount(codes).tolist() == [50, 40, 30, 8]
    coded = column.fillna("-9").to_frame()
    assert levels_by(coded, "x", ["-9"])[1] == levels
    assert levels_by(pd.DataFrame({"x": np.arange(100.0)}), "x", [])[1][0] == "up to 24"
    assert levels_by(pd.DataFrame({"x": ["only"] * 30}), "x", [])[1:] == (["all"], [])
    rng = np.random.default_rng(0)
    guess = rng.random(128)
    (facts,) = audit(
        column.to_frame(),
        Predicted(rng.integers(0, 2, 128), np.column_stack([1 - guess, guess])),
    )
    assert "other" not in facts["judged"], "too few rows"
    assert {"a", "b", "missing"} == set(facts["judged"])
    (facts,) = audit(
        pd.DataFrame({"x": ["only"] * 128}),
        Predicted(rng.integers(0, 2, 128), np.column_stack([1 - guess, guess])),
    )
    assert not any(
        "p_adjusted" in measure_entry for measure_entry in facts["measures"]
    ), "one level has nothing to be compared with"


@pytest.fixture(name="few_draws")
def _few_draws(monkeypatch):
    monkeypatch.setattr(sensitive, "_DRAWS", 1999)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("levels", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_without_differences_sentences_are_rare(levels):
    """At most one in twenty audits of two columns has any false sentence, for 50 of
    them (with its chance).
    """
    false = 0
    for seed in range(50):
        frame, predicted = made(400, seed, levels)
        frame["other"] = np.random.default_rng(seed + 1000).choice(
            ["x", "y", "z"], len(frame)
        )
        audit_facts = audit(frame, predicted, seed=seed)
        false += any(
            measure_entry.get("clear")
            for facts in audit_facts
            for measure_entry in facts["measures"]
        )
    assert false <= 50 * 0.05 + 2 * np.sqrt(50 * 0.05 * 0.95)


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_intervals_hold_the_true_difference():
    true_differences = {"selection_rate": 0.2, "predicted_minus_observed": 0.12}
    covered = dict.fromkeys(true_differences, 0)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"sex": rng.choice(["a", "b"], 300)})
        called = rng.random(300) < np.where(frame["sex"] == "a", 0.3, 0.5)
        guess = np.where(called, 0.8, 0.2)
        truth = (rng.random(300) < 0.4).astype(int)
        (facts,) = audit(
            frame, Predicted(truth, np.column_stack([1 - guess, guess])), seed=seed
        )
        for name, true in true_differences.items():
            line = measure(facts, name)
            sign = -1 if line["level"] == "a" else 1
            covered[name] += line["low"] <= sign * true <= line["high"]
    # They hold for all levels and measures at once.
    assert min(covered.values()) >= 0.92 * 50


@pytest.mark.slow
def test_rows_of_a_group_do_not_count_as_independent():
    """The level, the truth and the prediction are those of a group of ten rows: without
    groups, much differs.
    """
    false = {True: 0, False: 0}
    for seed in range(20):
        frame, predicted = made(40, seed, levels=2)
        group_codes = np.repeat(np.arange(40), 10)
        frame = frame.iloc[group_codes].reset_index(drop=True)
        groups = Dependence(group_codes)
        for groups_known in false:
            audit_facts = audit(
                frame,
                predicted.take(group_codes),
                dependence=groups if groups_known else None,
                seed=seed,
            )
            false[groups_known] += any(
                measure_entry.get("clear")
                for measure_entry in audit_facts[0]["measures"]
            )
    assert false[True] <= 3 < 8 < false[False]


def test_the_features_that_tell_a_column_are_named():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 600)
    job = np.where(rng.random(600) < 0.8, codes, 1 - codes)
    table = pd.DataFrame(
        {"job": np.array(["nurse", "driver"])[job], "noise": rng.normal(size=600)}
    )
    telling_facts = told_by(table, codes)
    assert 0.2 < telling_facts["low"] < 0.6 < telling_facts["high"] < 0.95, (
        "the true 2 AUC − 1 is 0.6"
    )
    assert telling_facts["roc_auc"] == pytest.approx((1 + telling_facts["told"]) / 2)
    assert list(telling_facts["features"]) == ["job"]
    assert told_by(table, np.zeros(600, dtype=int)) is None, (
        "one level is nothing to tell"
    )
    assert told_by(table, codes, Dependence(np.arange(600) % 4)) is None, (
        "four groups are too few for five folds"
    )
    timed = told_by(table, codes, Dependence(np.arange(600), timed=True))
    assert timed["told"] == pytest.approx(telling_facts["told"], abs=0.1)


@pytest.mark.slow
def test_noise_seldom_tells_a_column():
    """Two-sided at 5 %, features of no use are said to tell something in at most about
    2.5 % of tables.
    """
    false = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        false += (
            told_by(
                pd.DataFrame(rng.normal(size=(150, 2))),
                rng.integers(0, 2, 150),
                seed=seed,
            )["low"]
            > 0
        )
    assert false <= 2


def test_rates_at_other_thresholds_are_counted():
    frame, predicted = made(rows=600, levels=2)
    codes, levels, _ = levels_by(frame, "sex", ())
    lines = by_threshold(codes, levels, predicted, 1, 0.31)
    thresholds = sorted({line["threshold"] for line in lines})
    assert 0.31 in thresholds
    assert len(thresholds) >= 5, "the case is not trivial"
    assert {line["threshold"] for line in lines if line["chosen"]} == {0.31}
    chance = predicted.guess[:, 1]
    for line in lines:
        member = frame["sex"].to_numpy() == line["level"]
        called = chance >= line["threshold"]
        rates = {
            "selection_rate": called[member].mean(),
            "true_positive_rate": called[member & (predicted.truth == 1)].mean(),
            "false_positive_rate": called[member & (predicted.truth == 0)].mean(),
        }
        for name, rate in rates.items():
            value, low, high = line[name]
            assert value == pytest.approx(rate)
            assert low <= value <= high
    shares = [
        np.mean(chance >= threshold) for threshold in thresholds if threshold != 0.31
    ]
    assert shares == pytest.approx([0.7, 0.5, 0.3, 0.2, 0.1, 0.05], abs=0.02)


def test_the_intervals_of_rates_at_thresholds_allow_for_groups():
    frame, predicted = made(rows=400, levels=2)
    codes, levels, _ = levels_by(frame, "sex", ())
    patients = Dependence(np.argsort(np.argsort(predicted.guess[:, 1])) // 10)
    alone = by_threshold(codes, levels, predicted, 1, 0.5)
    grouped = by_threshold(codes, levels, predicted, 1, 0.5, patients)
    widths = [
        [line["selection_rate"][2] - line["selection_rate"][1] for line in lines]
        for lines in (alone, grouped)
    ]
    assert np.mean(widths[1]) > 1.5 * np.mean(widths[0])
