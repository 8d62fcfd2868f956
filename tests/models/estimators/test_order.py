"""The order test, and what ``image=`` makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import ExtraTreesClassifier

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.models.estimators import order as order_module
from permgrad.models.estimators.order import find_order

_FEW: dict[str, Any] = {"max_epochs": 2, "random_state": 0, "progress": False}


def _bumps(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return curves with a wide or a narrow bump somewhere, shuffled, and which of the
    two: no column tells.
    """
    rng = np.random.default_rng(seed)
    column_positions = np.arange(columns)
    wide = rng.integers(0, 2, rows)
    centre = rng.uniform(6, columns - 6, rows)
    width = np.where(wide == 1, 3.0, 1.5)[:, None]
    bumps = np.exp(
        -0.5 * ((column_positions - centre[:, None]) / width) ** 2
    ) * rng.choice([-1, 1], (rows, 1))
    drift = np.cumsum(rng.normal(size=(rows, columns)), axis=1) * 0.05
    return (bumps + drift)[:, np.random.default_rng(9).permutation(columns)], wide


def _factors(rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 3)) @ rng.normal(
        size=(3, columns)
    ) + 0.5 * rng.normal(size=(rows, columns))
    return table, table[:, 0] * table[:, 1] + table[:, 2] + rng.normal(size=rows)


@pytest.mark.slow
def test_an_order_that_helps_is_found_also_when_the_columns_are_shuffled() -> None:
    curves, wide = _bumps(450, 34)  # too few columns for a picture
    order = find_order(curves, wide, "classification", 0)
    assert order.found
    assert order.gain is not None
    assert order.gain > 0.01
    assert order.p_value < 0.001
    assert order == find_order(curves, wide, "classification", 0)
    assert "form a curve" in order.sentence("classification")
    assert find_order(curves, wide + 0.05 * curves[:, 0], "regression", 0).found


@pytest.mark.slow
def test_few_rows_are_judged_by_squared_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    curves, wide = _bumps(100, 40)
    few = find_order(curves, wide, "classification", 0)
    assert few.found
    monkeypatch.setattr(
        order_module, "_FEW", 0
    )  # as of many rows: wrong rows are counted
    counted = find_order(curves, wide, "classification", 0)
    assert few.p_value < counted.p_value
    assert few.alike == counted.alike


def test_the_second_error_of_a_row_is_the_squared_distance_to_its_class() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3))
    y = np.repeat(["a", "b", "c"], 20)
    learned = np.arange(0, 60, 2)
    held_out = np.arange(1, 60, 2)
    target = order_module._Target.of(y, "classification")
    wrong, squared = target.errors(
        order_module._predicted(features, target, learned, held_out), held_out
    )
    assert set(wrong) == {0.0, 1.0}
    # What is predicted sums to 1, because the indicators of the classes do: (1 - p)² +
    # Σ q² of the others.
    assert ((squared > 0.375) | (wrong == 0)).all(), (
        "a wrong row has p below 1/2 and another class of p or more"
    )
    numbers = order_module._Target.of(features[:, 0], "regression")
    absolute, same = numbers.errors(
        order_module._predicted(features, numbers, learned, held_out), held_out
    )
    assert np.array_equal(absolute, same)


@pytest.mark.slow
def test_trees_are_compared_with_the_order_and_with_the_mean_of_both() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 4))
    y = np.repeat(["a", "b", "c"], 20)
    target = order_module._Target.of(y, "classification")
    row = np.arange(60)
    folds = [
        (row[row % 2 == fold_number], row[row % 2 != fold_number])
        for fold_number in (1, 0)
    ]
    by_trees = [order_module._by_trees(table, target, *fold, 0) for fold in folds]
    for (learned, held_out), ours in zip(folds, by_trees, strict=True):
        trees = ExtraTreesClassifier(100, random_state=0).fit(
            table[learned], y[learned]
        )
        assert np.array_equal(ours, trees.predict_proba(table[held_out]))
    right = [
        np.stack([target.numbers[held_out_fold]] * 2) for _, held_out_fold in folds
    ]  # of two draws
    order, both_errors = order_module._over_trees(table, target, folds, right, 0)
    wrong = np.concatenate(
        [
            target.errors(ours, held_out_rows)[0]
            for ours, (_, held_out_rows) in zip(by_trees, folds, strict=True)
        ]
    )
    assert wrong.mean() > 0.3
    assert np.array_equal(order, wrong)
    assert np.array_equal(both_errors, wrong), (
        "1 beside half a probability: the mean is right"
    )
    alike = order_module._over_trees(
        table, target, folds, [ours[None] for ours in by_trees], 0
    )
    assert not np.any(alike)


@pytest.mark.parametrize(("few", "trees", "both", "found"), [
    (300, -1.0, 0.1, True), (300, -1.0, -0.1, False), (300, 1.0, -0.1, True), (0, -1.0, 0.1, False),
])  # fmt: skip
def test_of_few_rows_the_mean_with_the_trees_may_be_as_good_instead(
    monkeypatch: pytest.MonkeyPatch, few: int, trees: float, both: float, found: bool
) -> None:
    curves, wide = _bumps(200, 30)
    lead = np.resize([0.5, 1.5], 200)
    monkeypatch.setattr(order_module, "_FEW", few)
    monkeypatch.setattr(
        order_module, "_over_trees", lambda *_: (trees * lead, both * lead)
    )
    assert find_order(curves, wide, "classification", 0).found == found


def _pictures(rows: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled black and white pictures of spots that lie or stand, and which of
    the two: no pixel tells.
    """
    rng = np.random.default_rng(seed)
    lie = rng.integers(0, 2, rows)
    noise = rng.normal(size=(rows, side + 4, side + 4))
    spots = [
        gaussian_filter(noise_image, (0.8, 1.6) if flat else (1.6, 0.8))
        for noise_image, flat in zip(noise, lie, strict=True)
    ]
    black = (np.stack(spots)[:, 2:-2, 2:-2] > 0).reshape(rows, -1)
    return black[:, np.random.default_rng(9).permutation(side**2)].astype(float), lie


@pytest.mark.slow
def test_a_shuffled_picture_is_found_and_its_network_sees_it(tmp_path: Any) -> None:
    pictures, lie = _pictures(600, 9)
    model = pg.HyNNClassifier(**_FEW).fit(
        pd.DataFrame(pictures.astype(bool)).add_prefix("p"), lie
    )
    assert model.order_.found
    assert model.order_.layout == "lattice"
    assert "form a picture" in model.order_.sentence("classification")
    assert model.renderer_.layout.shape == (9, 9)
    assert len(set(map(tuple, model.renderer_.positions.tolist()))) == 81
    model.save(tmp_path / "model")
    assert pg.load(tmp_path / "model").order_ == model.order_


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_factors_blocks_and_noise_have_no_order(task: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = 30 + 10 * (seed % 2)  # 40 are looked at as a picture, too
    factors, y = _factors(500, columns, seed)
    blocks = rng.normal(size=(500, 4))[
        :, rng.integers(0, 4, columns)
    ] + 0.4 * rng.normal(size=(500, columns))
    likeness = []
    for table in (factors, blocks, rng.normal(size=(500, columns))):
        target = y if task == "regression" else (y > np.median(y)).astype(int)
        order = find_order(table, target, task, seed)
        assert not order.found
        assert f"no order among these {columns} columns" in order.sentence(task)
        likeness.append(order.alike)
    assert likeness[1] > 0.5 > 0.2 > likeness[2], (
        "blocks pass the first step, noise does not"
    )


def test_a_curve_whose_order_tells_nothing_of_the_target_is_a_table() -> None:
    curves = np.cumsum(np.random.default_rng(0).normal(size=(400, 20)), axis=1)
    order = find_order(curves, curves[:, 3], "regression", 0)
    assert order.alike > 0.8, "it is a curve"
    assert not order.found


def test_few_columns_and_few_rows_are_not_tested() -> None:
    assert find_order(np.zeros((500, 5)), np.zeros(500), "regression", 0).alike is None
    assert find_order(np.zeros((20, 50)), np.zeros(20), "regression", 0).alike is None
    constant = find_order(np.zeros((200, 20)), np.zeros(200), "regression", 0)
    assert not constant.found


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["default", pytest.param("fast", marks=pytest.mark.slow)]
)
def test_an_ordinary_table_gets_no_image_unless_it_is_asked_for(preset: str) -> None:
    few = {**_FEW, "preset": preset}
    table, y = _factors(200, 14, 0)
    by_default = pg.HyNNRegressor(**few).fit(table, y)
    assert by_default.module_.head_paths == ("tabular",)
    assert by_default.order_.found is False
    assert by_default.renderer_ is None
    never = pg.HyNNRegressor(image="never", **few).fit(table, y)
    assert np.array_equal(by_default.predict(table), never.predict(table))
    assert never.order_ is None
    both_paths = ("tabular", "image")
    for asked_options in (
        {"image": "always"},
        {"branches": both_paths},
        {"layout": "random"},
        {"preset": "paper"},
    ):
        model = pg.HyNNRegressor(**{**few, **asked_options}).fit(table, y)
        assert model.module_.head_paths == both_paths
        assert model.order_ is None
        assert model.network_options_["image_readout"] == "flat"


@pytest.mark.slow
def test_a_curve_gets_an_image_which_is_saved(tmp_path: Any) -> None:
    curves, wide = _bumps(150, 40)
    table = pd.DataFrame(
        curves, columns=[f"c{column_number}" for column_number in range(40)]
    ).assign(site=["a", "b", "c"] * 50)
    model = pg.HyNNClassifier(**_FEW).fit(table, wide)
    assert model.order_.found
    assert model.renderer_.layout.shape == (1, 40)
    assert (model.renderer_.positions == -1).all(axis=1).sum() == 3, (
        "categories have no place on a curve"
    )
    assert model.network_options_["conv_filters"] == [32, 64, 128]
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert loaded.order_ == model.order_
    assert np.array_equal(loaded.predict_proba(table), model.predict_proba(table))
    path_model = pg.HyNNClassifier(
        layout="path", network={"conv_filters": (4,)}, **_FEW
    ).fit(table[["c0", "c1", "c2"]], wide)
    assert path_model.network_options_["conv_filters"] == [4]


def test_wrong_values_are_refused() -> None:
    table, y = _factors(60, 5, 0)
    with pytest.raises(InputError, match="sometimes"):
        pg.HyNNRegressor(image="sometimes", **_FEW).fit(table, y)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave nothing to learn from"):
        pg.HyNNRegressor(image="never", branches=("image",), **_FEW).fit(table, y)
