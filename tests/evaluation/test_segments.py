"""Groups of rows are scored as counted by hand; those with larger errors are named, and
chance raises few alarms.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from permgrad.evaluation.between_levels import FEWEST_ROWS
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.segments import find_segments, groups_of_rows, worse_groups
from permgrad.evaluation.skill import Predicted


def rows(count: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 10, count).round(1),
            "town": rng.choice(["a", "b", "c", "d"], count, p=[0.4, 0.3, 0.25, 0.05]),
            "day": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 365, count), unit="D"),
            "dose": np.where(rng.random(count) < 0.3, -9, rng.integers(1, 4, count)),
            "name": [f"p{number}" for number in range(count)],
        }
    )
    return frame.assign(written=frame["day"].dt.strftime("%Y-%m-%d"))


def classified(frame: pd.DataFrame, seed: int = 0) -> Predicted:
    """Predictions that are wrong in 10 % of the rows, and in 40 % of those of
    town c.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, len(frame))
    wrong = rng.random(len(frame)) < np.where(frame["town"] == "c", 0.4, 0.1)
    chance = np.where(wrong, 1 - truth, truth) * 0.6 + 0.2
    return Predicted(truth, np.column_stack([1 - chance, chance]))


def groups_of(result: dict, feature: str) -> dict[str, dict]:
    return {
        group["group"]: group
        for feature_entry in result["features"]
        if feature_entry["feature"] == feature
        for group in feature_entry["groups"]
    }


def test_classes_are_scored_as_by_hand_and_the_worse_town_is_named():
    frame = rows()
    predicted = classified(frame)
    result = find_segments(frame, predicted, na=[-9])
    assert [feature_entry["feature"] for feature_entry in result["features"]] == [
        "age",
        "town",
        "day",
        "dose",
        "written",
    ]
    (worse,) = worse_groups(result)
    assert (worse["feature"], worse["group"]) == ("town", "c")
    member = (frame["town"] == "c").to_numpy()
    measured = evaluate(
        "classification",
        predicted.truth[member],
        probabilities=predicted.guess[member],
        classes=[0, 1],
    )
    assert (worse["rows"], worse["score"]) == (
        member.sum(),
        pytest.approx(measured["accuracy"]),
    )
    (right, alarms), (missed, hits) = measured["confusion_matrix"]
    assert worse["recall"] == pytest.approx(hits / (hits + missed))
    assert worse["false_alarms"] == pytest.approx(alarms / (right + alarms))
    assert worse["observed"] == pytest.approx(predicted.truth[member].mean())
    assert worse["predicted"] == pytest.approx(predicted.guess[member, 1].mean())
    assert worse["low"] < worse["score"] < worse["high"] < worse["rest"]
    groups = [
        group
        for feature_entry in result["features"]
        for group in feature_entry["groups"]
        if "same_as" not in group
    ]
    tested = [group for group in groups if group["p_adjusted"] is not None]
    assert result["tests"] == len(tested) > 10
    assert worse["measured"]["accuracy"]["expected"] == pytest.approx(0.8)
    assert worse["events"] == predicted.truth[member].sum()
    dates, texts = (groups_of(result, name) for name in ("day", "written"))
    assert list(dates) == list(texts), (
        "dates are quarters of the rows, whatever they are written in"
    )
    assert next(iter(dates)).startswith("up to 2020-0")
    assert list(groups_of(result, "dose"))[-1] == "missing"


def test_numbers_are_scored_by_the_mean_error_beside_what_is_usual():
    frame = rows(seed=1)
    rng = np.random.default_rng(2)
    truth = rng.normal(100, 20, len(frame))
    error = rng.normal(0, 1, len(frame)) * np.where(
        frame["age"] > frame["age"].quantile(0.75), 3, 1
    )
    result = find_segments(frame, Predicted(truth, truth + error))
    (worse,) = worse_groups(result)
    assert worse["feature"] == "age"
    assert worse["group"].startswith("above ")
    member = (frame["age"] > float(worse["group"].removeprefix("above "))).to_numpy()
    left = np.abs(error[member])
    right = np.abs(error[~member])
    assert worse["score"] == pytest.approx(left.mean())
    assert worse["rest"] == pytest.approx(right.mean())
    assert worse["by"] == "mae"
    expected = worse["measured"]["mae"]["expected"]
    assert 0.9 < expected / np.abs(error).mean() < 1.1, (
        "errors have nothing to do with predictions"
    )
    interval = stats.ttest_1samp(left, 0).confidence_interval()
    assert (worse["low"], worse["high"]) == (
        pytest.approx(interval.low),
        pytest.approx(interval.high),
    )


@pytest.mark.slow
def test_chance_names_few_groups_and_small_ones_are_not_tested():
    named = 0
    groups = []
    for seed in range(40):
        frame = rows(300, seed)
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 300)
        chance = np.where(rng.random(300) < 0.2, 1 - truth, truth) * 0.6 + 0.2
        result = find_segments(
            frame, Predicted(truth, np.column_stack([1 - chance, chance]))
        )
        named += bool(worse_groups(result))
        groups += list(groups_of(result, "town").values())
    small = [group for group in groups if group["rows"] < FEWEST_ROWS]
    assert small, "the precondition: town d has few rows"
    assert all(group["p_adjusted"] is None for group in small)
    assert named <= 6, "5 % of 40 is 2"


def test_three_classes_one_unknown_and_a_table_without_groups():
    frame = rows(200)
    truth = np.arange(200) % 3
    guess = np.eye(3)[truth]
    truth[:5] = -1
    result = find_segments(frame, Predicted(truth, guess))
    assert result["overall"] == pytest.approx(195 / 200)
    assert "recall" not in result["features"][0]["groups"][0]
    assert find_segments(frame[["name"]], Predicted(truth, guess))["features"] == []
    assert find_segments(frame[:0], Predicted(truth[:0], guess[:0]))["overall"] is None


def test_single_rows_are_in_the_groups_that_were_scored_and_codes_are_never_low():
    rng = np.random.default_rng(0)
    score = rng.integers(40, 95, 300)
    score[::7] = -9
    X = pd.DataFrame({"score": score, "town": rng.choice(["Ulm", "Bonn", None], 300)})
    scored = find_segments(
        X, Predicted(score * 1.0, score + rng.normal(size=300)), na=[-9]
    )
    row_positions = np.arange(300)
    for feature in scored["features"]:
        codes, names = groups_of_rows(X, row_positions, ["score", "town"], [-9])[
            feature["feature"]
        ]
        counted = {names[code]: int((codes == code).sum()) for code in np.unique(codes)}
        assert counted == {group["group"]: group["rows"] for group in feature["groups"]}
    codes, names = groups_of_rows(X, row_positions[::7], ["score"], [-9])["score"]
    assert {names[code] for code in codes} == {"missing"}


def test_durations_dates_and_flags_are_named_as_rows_show_them():
    count = np.arange(120)
    first = pd.Timestamp("2020-01-01", tz="Europe/Berlin")
    X = pd.DataFrame(
        {
            "wait": pd.to_timedelta(count, unit="h"),
            "often": pd.to_timedelta(np.where(count % 3, 30, 2), unit="h"),
            "when": pd.date_range(first, periods=120, freq="D"),
            "month": np.where(count % 2, first, first + pd.DateOffset(months=7)),
            "ok": count % 2 == 0,
        }
    )
    X["month"] = pd.to_datetime(X["month"])
    segments = find_segments(X, Predicted(count * 1.0, count + 1.0))
    names = {feature: list(groups_of(segments, feature)) for feature in X}
    assert names["wait"][::3] == ["up to 1 days 05:00:00", "above 3 days 17:00:00"]
    assert names["often"] == ["0 days 02:00:00", "1 days 06:00:00"]
    assert names["when"][::3] == ["up to 2020-01-30", "above 2020-03-30"]
    assert names["month"] == ["2020-01-01", "2020-08-01"]
    assert sorted(names["ok"]) == ["False", "True"]


def test_a_group_with_the_rows_of_another_one_is_tested_and_named_once():
    frame = rows()
    alone = find_segments(frame[["town"]], classified(frame))
    both_segments = find_segments(
        frame.assign(city="in " + frame["town"])[["town", "city"]], classified(frame)
    )
    assert both_segments["tests"] == alone["tests"] > 1
    assert [
        (worse_group["feature"], worse_group["group"])
        for worse_group in worse_groups(both_segments)
    ] == [("town", "c")]
    copy = groups_of(both_segments, "city")["in c"]
    assert copy["same_as"] == ["town", "c"]
    assert copy["worse"]
    assert copy["p_adjusted"] == groups_of(both_segments, "town")["c"]["p_adjusted"]


def test_a_model_that_is_right_is_not_worse_where_outcomes_are_uncertain():
    rng = np.random.default_rng(5)
    dose = rng.uniform(-3, 3, 3000)
    chance = np.where(np.abs(dose) < 1, 0.5 + dose / 20, np.where(dose > 0, 0.97, 0.03))
    truth = (rng.random(3000) < chance).astype(int)
    result = find_segments(
        pd.DataFrame({"dose": dose}),
        Predicted(truth, np.column_stack([1 - chance, chance])),
    )
    scores = [
        group_entry["score"] for group_entry in groups_of(result, "dose").values()
    ]
    assert max(scores) - min(scores) > 0.25, "precondition: accuracies are far apart"
    assert worse_groups(result) == []
    # The same outcomes and a model that is surer than it should be between -1 and 1.
    sure = np.where(np.abs(dose) < 1, np.where(dose > 0, 0.95, 0.05), chance)
    result = find_segments(
        pd.DataFrame({"dose": dose}),
        Predicted(truth, np.column_stack([1 - sure, sure])),
    )
    assert len(worse_groups(result)) == 2


def test_labels_without_probabilities_are_judged_by_their_accuracy():
    frame = rows(seed=3)
    predicted = classified(frame, 3)
    labels = Predicted(predicted.truth, np.eye(2)[predicted.decided])
    result = find_segments(frame[["town"]], labels, labels_only=True)
    (worse,) = worse_groups(result)
    assert (worse["group"], worse["by"]) == ("c", "accuracy")
    assert "expected" not in worse["measured"]["accuracy"]
