"""Local effects beside mean curves, against functions whose effects are known, and
where mean curves leave the data.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.base.dependence import Dependence
from permgrad.evaluation.cards import Sample, feature_cards
from permgrad.evaluation.local_effects import (
    add_local_effects,
    local_effects,
    table_of_changes,
)


def cards_of(raw, function, **facts):
    """Return the cards of a function of the table, by feature, with what was predicted
    for them.
    """
    outcome = np.zeros((len(raw), 1))
    predict_calls = []

    def predict(row_positions, changed):
        predict_calls.append((row_positions, changed))
        return function(changed)

    sample = Sample(
        **{
            "raw": raw,
            "table": raw,
            "outcome": outcome,
            "predicted": outcome,
            "numbers": {},
            **facts,
        }
    )
    curve_cards, curves = feature_cards(
        sample, list(raw.columns), np.arange(len(raw)), predict
    )
    predict_calls.clear()
    effects = local_effects(sample, list(raw.columns), predict)
    add_local_effects(sample, curve_cards, curves, effects)
    return {card["feature"]: card for card in curve_cards}, predict_calls


def pair(rows=1500, noise=0.5, seed=0):
    """Return two columns that nearly agree, one that is independent, and a category of
    the first one's sign.
    """
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    table = pd.DataFrame(
        {"a": a, "b": a + noise * rng.normal(size=rows), "c": rng.normal(size=rows)}
    )
    return table.assign(sign=np.where(a > 0, "up", "down"))


def beyond(table):
    """Twice c, plus 5 wherever a and b are so far apart as they never are in the
    data.
    """
    a, b, c = (table[name].to_numpy(float) for name in "abc")
    return np.stack([2 * c, a + 5 * (np.abs(a - b) > 2.8)], axis=1)


def test_the_local_effect_of_a_line_is_the_line_with_a_band_of_no_width():
    cards, _ = cards_of(pair(), beyond)
    grid_points, mean, low, high = (
        np.array(cards["c"]["ale"][key]) for key in ("at", "mean", "low", "high")
    )
    assert len(grid_points) > 8, "the case is not trivial"
    assert np.diff(mean[:, 0]) == pytest.approx(2 * np.diff(grid_points))
    assert mean[:, 1] == pytest.approx(np.full(len(grid_points), mean[0, 1]), abs=1e-12)
    assert np.all(low <= mean + 1e-12)
    assert np.all(mean <= high + 1e-12)
    mean_at_point = np.interp(0.3, cards["c"]["at"], np.array(cards["c"]["mean"])[:, 0])
    assert np.interp(0.3, grid_points, mean[:, 0]) == pytest.approx(
        mean_at_point, abs=0.05
    )
    edges = cards["c"]["values"]["edges"]
    assert edges[0] <= grid_points[0] < grid_points[-1] <= edges[-1]


def test_a_mean_curve_leaves_the_data_where_another_column_never_goes_along():
    cards, predict_calls = cards_of(pair(), beyond)
    left = cards["a"]["leaves"]
    assert left["other"] == "b"
    assert 0.5 < left["share"] < 1
    assert float(left["to"]) < 0 < float(left["from"])
    assert left["clear"] == [False, True], (
        "only of the output that has an edge outside the data"
    )
    assert 0.5 < left["apart"][1] < 5
    assert left["apart"][0] == 0
    # It is what the mean curve says there, and the local effect does not.
    assert np.ptp(np.array(cards["a"]["ale"]["mean"])[:, 1]) == pytest.approx(
        np.ptp(cards["a"]["ale"]["at"]), rel=0.05
    )
    # The rows really are unlike: of those with a value from there on, so many have
    # another b.
    table = pair()[:1000]
    value = float(left["from"])
    like = table["b"][(table["a"] - value).abs().nsmallest(50).index]
    assert ((table["b"] < like.min()) | (table["b"] > like.max())).mean() > 0.5
    assert "leaves" not in cards["c"]
    assert "ale" not in cards["sign"], "levels have no local effect here"
    assert sum(len(row_positions) for row_positions, _ in predict_calls) <= 8000 + 10


@pytest.mark.slow
def test_no_curve_leaves_the_data_where_columns_are_independent():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame(rng.standard_t(4, size=(600, 8)), columns=list("abcdefgh"))
        table["h"] = rng.choice(["x", "y", "z"], 600, p=[0.1, 0.2, 0.7])
        cards, _ = cards_of(table, lambda rows: rows[["a"]].to_numpy(float))
        assert not any("leaves" in card for card in cards.values())
        assert "ale" in cards["a"]


def test_few_values_stand_at_their_labels_and_dates_on_their_axis():
    table = pair().assign(count=np.tile([3, 1, 7], 500))
    table["when"] = pd.date_range("2020-01-01", periods=1500, freq="D")[
        np.random.default_rng(1).permutation(1500)
    ]
    numbers = {"when": table["when"].astype("int64").to_numpy(dtype=float) / 1e9}
    cards, predict_calls = cards_of(
        table,
        lambda rows: (rows["count"] ** 2 + rows["when"].dt.year).to_numpy(float)[
            :, None
        ],
        numbers=numbers,
        dependence=Dependence(np.repeat(np.arange(300), 5)),
    )
    assert cards["count"]["label"] == ["1", "3", "7"]
    assert cards["count"]["ale"]["at"] == [0, 1, 2]
    assert np.diff(np.array(cards["count"]["ale"]["mean"])[:, 0]) == pytest.approx(
        [8, 40]
    )
    assert np.ptp(np.array(cards["when"]["ale"]["mean"])) == pytest.approx(
        np.ptp(cards["when"]["mean"]), abs=1.5
    )
    assert cards["when"]["numeric"]
    assert all(
        changed["count"].dtype == table["count"].dtype for _, changed in predict_calls
    )


def test_too_few_rows_have_no_warning_and_a_constant_no_effect():
    cards, _ = cards_of(pair(150).assign(same=1.0), beyond)
    assert "ale" in cards["a"]
    assert "leaves" not in cards["a"]
    assert "ale" not in cards["same"]


def test_a_curve_of_copies_leaves_the_data_at_all_values():
    cards, _ = cards_of(pair(noise=0.01), beyond)
    left = cards["a"]["leaves"]
    assert {"to", "from"}.isdisjoint(left)
    assert left["share"] > 0.8


def test_changes_of_all_columns_are_those_of_the_function():
    """A line, a category whose levels have constants, and a column without effect."""
    rng = np.random.default_rng(2)
    raw = pd.DataFrame(
        {
            "x": rng.normal(size=400),
            "town": rng.choice(["Ulm", "Bonn", "Trier"], 400, p=[0.6, 0.3, 0.1]),
            "noise": rng.normal(size=400),
        }
    )
    constants = {"Ulm": 0.0, "Bonn": 2.0, "Trier": -1.0}
    outcome = np.zeros((400, 1))
    patients = Dependence(np.repeat(np.arange(100), 4), name="patient")
    sample = Sample(raw, raw, outcome, outcome, {}, dependence=patients)

    def predict(_, changed):
        of_town = changed["town"].map(constants).to_numpy(float)
        return (3 * changed["x"].to_numpy(float) + of_town)[:, None]

    effects = local_effects(sample, list(raw.columns), predict)
    changes = table_of_changes(effects, ("all",), "y")
    assert changes["unit"].unique().tolist() == ["y"]
    by_feature = dict(iter(changes.groupby("feature")))
    (line,) = by_feature["x"].to_dict("records")
    assert line["to"] - line["from"] > 1, "the precondition"
    assert line["change"] == pytest.approx(3 * (line["to"] - line["from"]))
    low, high = np.quantile(raw["x"], [0.25, 0.75])
    assert [line["from"], line["to"]] == pytest.approx([low, high], abs=0.02)
    assert line["rows"] == pytest.approx(200, abs=2)
    assert 0 < line["groups"] <= 100
    town = by_feature["town"].set_index("to")
    assert town["from"].unique().tolist() == ["Ulm"]
    assert town["change"].to_dict() == pytest.approx({"Bonn": 2.0, "Trier": -1.0})
    counts = raw["town"].value_counts()
    assert town["rows"].to_dict() == {
        name: counts["Ulm"] + counts[name] for name in ("Bonn", "Trier")
    }
    (noise,) = by_feature["noise"].to_dict("records")
    assert [noise[key] for key in ("change", "ci_low", "ci_high")] == [0, 0, 0]
