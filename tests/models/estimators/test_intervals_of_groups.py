"""``fit(row_groups=, row_time=)``: whole groups or the latest rows are held out, and
intervals count them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import permgrad as pg

FAST = {
    "preset": "fast",
    "max_epochs": 2,
    "random_state": 0,
    "progress": False,
    "branches": ("tabular",),
}


def shops(count: int = 40, shop_rows: int = 10):
    draw = np.random.default_rng(0)
    shop = np.repeat(np.arange(count), shop_rows)
    X = draw.normal(size=(len(shop), 2))
    return (
        X,
        X[:, 0] + 3 * draw.normal(size=count)[shop],
        np.array([f"shop {shop_code}" for shop_code in shop]),
    )


@pytest.mark.slow
def test_whole_groups_are_held_out_and_counted():
    X, y, shop = shops(200)
    model = pg.HyNNRegressor(**FAST).fit(X, y, row_groups=shop)
    between = model.held_out_.dependence
    assert between.count == 20
    assert set(np.bincount(between.codes)) == {10}, "whole shops"
    widths = np.diff(model.predict_interval(X, 0.8), axis=1)
    model.held_out_ = replace(model.held_out_, dependence=None)
    assert np.median(widths) > 1.05 * np.median(
        np.diff(model.predict_interval(X, 0.8), axis=1)
    )
    assert pg.HyNNRegressor(**FAST).fit(X, y).held_out_.dependence is None


@pytest.mark.parametrize("kind", ["groups", "time"])
def test_sets_of_classes_know_them_too_and_every_class_is_trained(kind, tmp_path):
    X, y, shop = shops()
    labels = np.where(y > np.quantile(y, 0.97), "high", "low")
    dependence_options = (
        {"row_groups": shop}
        if kind == "groups"
        else {"row_time": np.arange(len(y))[::-1]}
    )
    model = pg.HyNNClassifier(**FAST).fit(X, labels, **dependence_options)
    assert list(model.classes_) == ["high", "low"]
    assert model.held_out_.dependence.timed == (kind == "time")
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.held_out_.dependence.codes, model.held_out_.dependence.codes
    )


def test_the_latest_rows_are_held_out():
    X, y, _ = shops()
    when = np.random.default_rng(1).permutation(len(y))
    prepared = pg.HyNNRegressor(**FAST).prepare(X, y, row_time=when)
    validation_rows = prepared.job.validation_rows
    assert len(validation_rows) == len(prepared.dependence.codes)
    latest = X[np.sort(np.argsort(when)[len(y) - len(validation_rows) :])]
    assert len(np.unique(latest[:, 0])) == len(validation_rows)
    order = np.argsort(np.argsort(latest[:, 0]))
    np.testing.assert_array_equal(
        np.argsort(np.argsort(validation_rows.x[:, 0].numpy())), order
    )


def test_what_does_not_go_together_is_refused():
    X, y, shop = shops()
    for fit_options, message in (
        (
            {"row_groups": shop, "row_time": shop},
            "row_groups and row_time cannot be combined",
        ),
        (
            {"row_groups": shop, "eval_set": (X, y)},
            "row_groups and eval_set cannot be combined",
        ),
        (
            {"row_groups": shop[:5]},
            r"one value for each of the 400 rows, got the shape \(5,\)",
        ),
        ({"row_time": shop}, "date|number"),
    ):
        with pytest.raises(pg.InputError, match=message):
            pg.HyNNRegressor(**FAST).fit(X, y, **fit_options)
