"""Cards of features: curves against closed forms, distributions and outcomes against
counts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from permgrad.evaluation import cards
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.cards import (
    Sample,
    distribution,
    feature_cards,
    outcome_table,
    points_of,
)


def sample_of(raw: pd.DataFrame, **changes) -> Sample:
    """Return rows whose outcome is 0."""
    outcome = np.zeros((len(raw), 1))
    return Sample(
        **{
            "raw": raw,
            "table": raw,
            "outcome": outcome,
            "predicted": outcome,
            "numbers": {},
            **changes,
        }
    )


@pytest.fixture(name="table")
def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=400),
            "b": rng.normal(size=400),
            "c": rng.choice(["x", "y"], 400),
        }
    )
    frame["when"] = pd.date_range("2020-01-01", periods=400, freq="D")
    frame.loc[::7, "b"] = np.nan
    return frame


def additive(row_positions, changed):
    """A function whose curves are known: 3 a, plus 1 for the level x, plus a number of
    its own for each row.
    """
    return (3 * changed["a"] + (changed["c"] == "x") + 100 * row_positions).to_numpy()[
        :, None
    ]


def test_curves_of_an_additive_function_are_parallel_lines_of_its_slope(table):
    shown, curves = feature_cards(
        sample_of(table), ["a", "c"], np.array([5, 8, 300]), additive
    )
    numbers, levels = shown
    assert len(numbers["at"]) == cards.POINTS, "the case is not trivial"
    slopes = np.diff(curves["a"][:, :, 0]) / np.diff(numbers["at"])
    assert slopes == pytest.approx(3)
    other_outputs = additive(
        np.array([5, 8, 300]),
        table.iloc[[5, 8, 300]].assign(a=0.0).reset_index(drop=True),
    )
    assert np.diff(curves["a"][:, 0, 0]) == pytest.approx(np.diff(other_outputs[:, 0]))
    assert numbers["mean"] == pytest.approx(curves["a"].mean(axis=0))
    assert levels["label"] in (["x", "y"], ["y", "x"])
    difference = (
        curves["c"][:, levels["label"].index("x"), 0]
        - curves["c"][:, levels["label"].index("y"), 0]
    )
    assert difference == pytest.approx(1)


def test_a_curve_at_a_rows_own_value_is_its_prediction(table):
    rows = points_of(table["a"], None)[0][:4]
    _, curves = feature_cards(sample_of(table), ["a"], rows, additive)
    own_predictions = np.diagonal(curves["a"][:, :4, 0])
    assert own_predictions == pytest.approx(
        additive(rows, table.iloc[rows].reset_index(drop=True))[:, 0]
    )


def test_the_model_gets_the_values_of_the_table_and_missing_codes_are_no_points():
    raw = pd.DataFrame({"a": np.array([-9, 1, 2, 3] * 5)})
    blanked = raw.mask(raw == -9)
    assert blanked["a"].isna().any()
    predicted_tables = []

    def predict(_, changed):
        predicted_tables.append(changed)
        return np.zeros((len(changed), 1))

    shown, _ = feature_cards(
        sample_of(raw, table=blanked), ["a"], np.arange(3), predict
    )
    assert shown[0]["label"] == ["1", "2", "3"]
    assert predicted_tables[0]["a"].dtype == raw["a"].dtype
    assert shown[0]["values"]["missing"] == 5


def test_dates_stand_on_a_line_in_their_order(table):
    seconds = table["when"].astype("int64").to_numpy(dtype=float)
    shown, _ = feature_cards(
        sample_of(table, numbers={"when": seconds}), ["when"], np.arange(3), additive
    )
    (card,) = shown
    assert card["numeric"]
    assert card["label"] == sorted(card["label"])
    assert card["label"][0].startswith("2020-01-")
    assert sum(row["rows"] for row in card["outcome"]) == 400
    assert " to 2020-" in card["outcome"][0]["level"]


def test_many_features_share_the_predictions(table):
    prediction_counts = []

    def predict(places, changed):
        prediction_counts.append(len(places))
        return additive(places, changed)

    wide = pd.DataFrame({f"f{k}": np.arange(300.0) * k for k in range(60)}).assign(
        a=table["a"][:300], c="x"
    )
    shown, curves = feature_cards(
        sample_of(wide), [f"f{k}" for k in range(1, 60)], np.arange(300), predict
    )
    assert len(shown) == cards.MOST_CARDS
    assert sum(prediction_counts) <= cards.MOST_PREDICTIONS
    assert len(next(iter(curves.values()))) > 5, "still several rows"


def test_a_feature_of_several_columns_and_a_constant_have_no_curve(table):
    table["same"] = 1.0
    shown, curves = feature_cards(
        sample_of(table), ["together", "same"], np.arange(3), additive
    )
    assert [set(card) for card in shown] == [
        {"feature"},
        {"feature", "values", "outcome"},
    ]
    assert curves == {}


# ---- values --------------------------------------------------------------------------
def test_a_distribution_counts_every_row_once():
    rng = np.random.default_rng(1)
    column = pd.Series([*rng.normal(size=1000), 1e9, None])
    values = distribution(column)
    assert sum(values["counts"]) == 1001
    assert values["missing"] == 1
    assert values["edges"][-1] < 10, "one far value does not take the whole axis"


def test_a_distribution_of_levels():
    assert distribution(pd.Series(["a", "b", "a", None])) == {
        "levels": ["a", "b"],
        "counts": [2, 1],
        "missing": 1,
    }


def test_outcomes_by_level_with_the_interval_of_a_share():
    outcome = np.array([[1.0], [0.0], [1.0], [1.0]])
    levels = np.array([0, 0, 1, 1]), ["low", "high", "never"]
    low, high = outcome_table(levels, outcome, np.full((4, 1), 0.25))
    assert (low["level"], low["rows"], low["outcome"], low["predicted"]) == (
        "low",
        2,
        [0.5],
        [0.25],
    )
    assert high["outcome"] == [1.0]
    expected = binomtest(2, 2).proportion_ci(method="wilson")
    assert [high["low"][0], high["high"][0]] == pytest.approx(
        [expected.low, expected.high]
    )


@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (3, 7), (40, 41)])
def test_the_interval_of_a_share_is_wilsons(hits, rows):
    low, high = wilson(np.array([hits / rows]), rows)
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    assert [low[0], high[0]] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_a_mean_of_numbers_has_the_interval_of_a_mean_and_one_row_has_none():
    outcome = np.array([[1.0], [3.0], [8.0]])
    first, second = outcome_table((np.array([0, 0, 1]), ["a", "b"]), outcome, outcome)
    assert first["low"][0] == pytest.approx(2 - 1.959964 * np.sqrt(2) / np.sqrt(2))
    assert (second["outcome"], second["low"], second["high"]) == ([8.0], [None], [None])
