"""Effects of two features: closed forms, levels, dates and what cannot be set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.evaluation.cards import (
    MOST_DOTS,
    VALUES,
    Sample,
    beyond_each,
    pair_effects,
)


def sample_of(rows: int = 300) -> Sample:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    table["kind"] = rng.choice(["u", "v", "w"], rows)
    table["same"] = 1.0
    table["day"] = pd.date_range("2020-01-01", periods=rows)
    table.loc[0, "a"] = np.nan
    days = (table["day"] - table["day"].iloc[0]).dt.days.to_numpy(dtype=float)
    return Sample(
        raw=table,
        table=table,
        outcome=np.zeros((0, 0)),
        predicted=np.zeros((0, 0)),
        numbers={"day": days},
    )


def effect_of(pair, function, **changes):
    sample = sample_of()
    (effect,) = pair_effects(
        sample, [pair], np.arange(1, 31), lambda _, table: function(table)[:, None]
    )
    return effect | changes


def test_a_product_is_the_product_of_both_values_and_a_sum_has_nothing_beyond():
    effect = effect_of(("a", "b"), lambda t: (t["a"] * t["b"]).to_numpy())
    first, second = (np.array(axis["at"]) for axis in effect["axes"])
    assert len(first) == len(second) == VALUES
    np.testing.assert_allclose(
        np.array(effect["mean"])[:, :, 0], np.outer(first, second), atol=1e-12
    )
    beyond = beyond_each(np.array(effect["mean"]))[:, :, 0]
    centred = np.outer(first - first.mean(), second - second.mean())
    np.testing.assert_allclose(beyond, centred, atol=1e-12)
    assert np.abs(beyond).max() > 1
    added = effect_of(("a", "b"), lambda t: (t["a"] + 2 * t["b"]).to_numpy())
    assert np.abs(beyond_each(np.array(added["mean"]))).max() < 1e-12


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_rounding_of_a_sum_is_no_effect_and_a_small_product_is_one(precision):
    added = effect_of(
        ("a", "b"), lambda t: (100 + t["a"] / 3 + 0.1 * t["b"]).to_numpy(precision)
    )
    assert not beyond_each(np.array(added["mean"]), added["rounding"]).any()
    product = effect_of(
        ("a", "b"), lambda t: (100 + 0.01 * t["a"] * t["b"]).to_numpy(precision)
    )
    assert (
        np.abs(beyond_each(np.array(product["mean"]), product["rounding"])).max() > 0.01
    )


def test_other_features_stay_and_are_averaged():
    effect = effect_of(
        ("a", "kind"), lambda t: t["b"].to_numpy() + (t["kind"] == "u").to_numpy()
    )
    labels = effect["axes"][1]["label"]
    expected = sample_of().raw["b"].iloc[1:31].mean() + np.array(
        [label == "u" for label in labels]
    )
    np.testing.assert_allclose(np.array(effect["mean"])[3, :, 0], expected)
    assert effect["rows"] == 30


def test_rows_are_at_their_own_values():
    effect = effect_of(("a", "kind"), lambda t: np.zeros(len(t)))
    sample = sample_of()
    row_values, levels = np.array(effect["dots"])
    assert len(row_values) == MOST_DOTS
    assert np.isnan(row_values[0])
    axis_points = effect["axes"][0]["at"]
    labels = effect["axes"][1]["label"]
    np.testing.assert_allclose(
        row_values[1:],
        np.clip(sample.raw["a"][1:MOST_DOTS], axis_points[0], axis_points[-1]),
    )
    assert [labels[int(level)] for level in levels] == sample.raw["kind"][
        :MOST_DOTS
    ].tolist()


def test_dates_have_labels_and_one_value_has_no_effect():
    effect = effect_of(("day", "kind"), lambda t: np.zeros(len(t)))
    assert effect["axes"][0]["dates"]
    assert effect["axes"][0]["label"][0].startswith("2020-01-0")
    sample = sample_of()
    nothing = [("same", "a"), ("a", "unknown"), ("a group", "b")]
    assert (
        pair_effects(sample, nothing, np.arange(5), lambda _, t: np.zeros((len(t), 1)))
        == []
    )


@pytest.mark.parametrize("pairs", [1, 8])
def test_more_pairs_take_fewer_rows(pairs):
    table_lengths = []

    def predict(places, table):
        table_lengths.append(len(table))
        return np.zeros((len(table), 1))

    pair_effects(sample_of(), [("a", "b")] * pairs, np.arange(300), predict)
    assert len(table_lengths) == pairs
    assert 10_000 / 4 < sum(table_lengths) <= 20_480
