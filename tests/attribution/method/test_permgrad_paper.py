"""The method as published: every step of its notebooks again, slowly, in float64; its
faults only when asked for.
"""

from __future__ import annotations

import copy
import json
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st
from replicates import replicates

import permgrad as pg
from permgrad.attribution.explain import explain
from permgrad.attribution.method.permgrad_paper import (
    nearest_cells,
    scale_to_unit,
)
from permgrad.base.errors import InputError
from permgrad.base.random import generator
from permgrad.imaging import ForeignRenderer

NETWORK = {"dense_units": [8], "conv_filters": [4, 6], "fusion_units": [8]}
FEATURES = ("a", "b", "c", "d", "e")
CLASSES = ("blue", "green", "red")


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 5)), columns=list(FEATURES))
    score = np.stack([frame["a"], frame["b"] * frame["c"], frame["d"] - 0.5], axis=1)
    return frame, np.array(CLASSES)[score.argmax(axis=1)]


def amount(frame: pd.DataFrame) -> np.ndarray:
    return (5 + 3 * frame["a"] + frame["b"] * frame["c"]).to_numpy()


@pytest.fixture(scope="module")
def model() -> pg.HyNNClassifier:
    """A small trained classifier in float64; the image has an odd number of pixels, so
    that pooling drops some.
    """
    X, y = table(300)
    fitted = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=NETWORK,
        pixels=9,
        max_epochs=12,
        random_state=0,
        progress=False,
    ).fit(X, y)
    fitted.module_.double()
    return fitted


@pytest.fixture(scope="module")
def regressor() -> pg.HyNNRegressor:
    X, _ = table(300)
    fitted = pg.HyNNRegressor(
        preset="fast",
        image="always",
        network=NETWORK,
        pixels=9,
        max_epochs=12,
        random_state=1,
        progress=False,
    ).fit(X, amount(X))
    fitted.module_.double()
    return fitted


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, np.ndarray]:
    return table(40, seed=1)


def explained(model, X, y, **options):
    return explain_with(
        model, X, y, method="permgrad_paper", progress=False, random_state=7, **options
    )


# ---- the notebooks again -------------------------------------------------------------


def predict(model, as_table, as_image, zeroed=None) -> torch.Tensor:
    """What the notebooks call ``model.predict``: class probabilities, or the prediction
    in the units of y.
    """
    net = model.module_
    embedded = {
        "tabular": net.table_branch(as_table),
        "image": net.image_branch(net.renderer(as_image)),
    }
    if zeroed is not None:
        embedded[zeroed] = torch.zeros_like(embedded[zeroed])
    raw = net.head(torch.cat([embedded["tabular"], embedded["image"]], dim=1))
    if hasattr(model, "classes_"):
        return torch.softmax(raw, dim=1)
    return raw * model.target_scale_ + model.target_mean_


def row_losses(model, probabilities: torch.Tensor, y: np.ndarray) -> np.ndarray:
    if hasattr(model, "classes_"):
        class_indices = [list(model.classes_).index(label) for label in y]
        return np.array(
            [
                -math.log(float(row[k]))
                for row, k in zip(probabilities, class_indices, strict=True)
            ]
        )
    return np.array(
        [(float(row[0]) - t) ** 2 for row, t in zip(probabilities, y, strict=True)]
    )


@replicates("permgrad_paper")
def slow_permutation(
    model, X, y, seed: int, repeats: int = 5
) -> dict[str, dict[str, float]]:
    """Notebook section 6.1."""
    with torch.no_grad():
        test = torch.as_tensor(model.encode_rows(X).encoded).double()
        before = row_losses(model, predict(model, test, test), y)
        classes = list(model.classes_) if hasattr(model, "classes_") else ["all"]
        mean_deltas: dict[str, dict[str, float]] = {label: {} for label in classes}
        for column, feature in enumerate(X.columns):
            deltas: dict[str, list[float]] = {label: [] for label in classes}
            for repeat in range(repeats):
                permuted = test.clone()
                permuted[:, column] = test[
                    generator(seed, "permgrad-paper", feature, repeat).permutation(
                        len(X)
                    ),
                    column,
                ]
                after = row_losses(model, predict(model, permuted, test), y)
                for label in classes:
                    index = (
                        np.where(y == label)[0] if label != "all" else np.arange(len(y))
                    )
                    deltas[label].append(np.mean(after[index]) - np.mean(before[index]))
            for label in classes:
                mean_deltas[label][feature] = float(np.mean(deltas[label]))
    return mean_deltas


def slow_heatmap(
    model, row: torch.Tensor, index: int, *, overwritten: bool
) -> np.ndarray:
    """Notebook section 6.2, ``make_gradcam_heatmap``: one row, the convolution's
    rectified output.
    """
    net = model.module_
    chain = list(net.image_branch)
    last = (
        max(i for i, layer in enumerate(chain) if isinstance(layer, torch.nn.Conv2d))
        + 1
    )
    values = net.renderer(row[None])
    for step in chain[: last + 1]:
        values = step(values)
    values.retain_grad()
    maps = values
    for step in chain[last + 1 :]:
        values = step(values)
    raw = net.head(torch.cat([net.table_branch(row[None]), values], dim=1))
    preds = torch.softmax(raw, dim=1) if hasattr(model, "classes_") else raw
    if overwritten:
        index = int(preds[0].argmax())
    preds[0, index].backward()
    pooled = maps.grad.mean(dim=(0, 2, 3))
    net.zero_grad()
    heat = sum(pooled[k] * maps[0, k] for k in range(len(pooled))).detach().numpy()
    heat = np.maximum(heat, 0)
    return heat / heat.max() if heat.max() > 0 else heat


def slow_gradcam(
    model, X, *, overwritten=False, transposed=False
) -> dict[str, dict[str, float]]:
    """Notebook section 6.2, ``get_normalized_heatmap_metrics``: mean over all rows for
    each class.
    """
    classes = list(model.classes_) if hasattr(model, "classes_") else ["all"]
    pixels = model.module_.renderer.height
    positions = model.module_.renderer.positions
    cell_values: dict[str, dict[str, list[float]]] = {
        label: {feature: [] for feature in X.columns} for label in classes
    }
    for row in torch.as_tensor(model.encode_rows(X).encoded).double():
        for index, label in enumerate(classes):
            heat = slow_heatmap(model, row, index, overwritten=overwritten)
            height, width = heat.shape
            for feature, pixel_position in zip(X.columns, positions, strict=True):
                i, j = pixel_position[::-1] if transposed else pixel_position
                cell = (
                    min(i * height // pixels, height - 1),
                    min(j * width // pixels, width - 1),
                )
                cell_values[label][feature].append(heat[cell])
    return {
        label: {f: float(np.mean(v)) for f, v in feature_values.items()}
        for label, feature_values in cell_values.items()
    }


def slow_weights(model, X, y) -> dict[str, float]:
    """Notebook section 6.3: softmax of the loss differences when one branch's output is
    zeroed.
    """
    with torch.no_grad():
        test = torch.as_tensor(model.encode_rows(X).encoded).double()
        base = row_losses(model, predict(model, test, test), y).mean()
        delta = {
            path: row_losses(model, predict(model, test, test, zeroed=path), y).mean()
            - base
            for path in ("tabular", "image")
        }
    total = sum(math.exp(value) for value in delta.values())
    return {path: math.exp(value) / total for path, value in delta.items()}


def min_max(lists: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    every = [
        value for feature_values in lists.values() for value in feature_values.values()
    ]
    low = min(every)
    high = max(every)
    return {
        label: {f: (v - low) / (high - low) for f, v in feature_values.items()}
        for label, feature_values in lists.items()
    }


def array(lists: dict[str, dict[str, float]]) -> np.ndarray:
    return np.array(
        [list(feature_values.values()) for feature_values in lists.values()]
    ).T


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_every_published_step(kind, model, regressor, rows):
    X, y = rows
    if kind == "regression":
        model = regressor
        y = amount(X)
    explanation = explained(model, X, y)
    permutation = slow_permutation(model, X, y, 7)
    cam = slow_gradcam(model, X)
    weights = slow_weights(model, X, y)
    # Preconditions: something to compare, and no weight is decided already.
    assert np.ptp(array(permutation)) > 0.05
    assert np.ptp(array(cam)) > 0.05
    if kind == "classes":
        assert 0.01 < weights["image"] < 0.99
    np.testing.assert_allclose(
        array(explanation.meta["permutation"]), array(permutation), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(
        array(explanation.meta["gradcam"]), array(cam), rtol=1e-6, atol=1e-9
    )
    assert explanation.meta["branch_weights"] == pytest.approx(weights, rel=1e-6)
    assert explanation.branches is not None
    assert explanation.branches["image"]["weight"] == pytest.approx(
        weights["image"], rel=1e-6
    )
    table_part = weights["tabular"] * array(min_max(permutation))
    image_part = weights["image"] * array(min_max(cam))
    skip = 1 if kind == "classes" else 0
    np.testing.assert_allclose(
        explanation.parts["tabular"][:, skip:], table_part, atol=1e-7
    )
    np.testing.assert_allclose(
        explanation.parts["image"][:, skip:], image_part, atol=1e-7
    )
    np.testing.assert_allclose(
        explanation.values[:, skip:], table_part + image_part, atol=1e-7
    )
    # The published overall figure stacks the classes' bars: the same ranking as their
    # mean.
    np.testing.assert_allclose(
        explanation.values[:, 0], (table_part + image_part).mean(axis=1), atol=1e-7
    )
    assert explanation.outputs == (("all", *CLASSES) if kind == "classes" else ("all",))
    assert not explanation.additive
    assert explanation.std_error is None


def test_the_argmax_fault_only_on_request(model, rows):
    X, y = rows
    faulty = array(explained(model, X, y, argmax_class=True).meta["gradcam"])
    np.testing.assert_allclose(
        faulty, array(slow_gradcam(model, X, overwritten=True)), rtol=1e-6, atol=1e-9
    )
    assert np.ptp(faulty, axis=1).max() == pytest.approx(
        0, abs=1e-12
    )  # one map for all classes
    assert np.ptp(array(explained(model, X, y).meta["gradcam"]), axis=1).max() > 0.05


def test_the_transposed_read_only_on_request(model, rows):
    X, y = rows
    faulty = array(explained(model, X, y, transposed=True).meta["gradcam"])
    np.testing.assert_allclose(
        faulty, array(slow_gradcam(model, X, transposed=True)), rtol=1e-6, atol=1e-9
    )
    positions = model.module_.renderer.positions
    assert (positions[:, 0] != positions[:, 1]).any()
    assert np.abs(faulty - array(explained(model, X, y).meta["gradcam"])).max() > 0.01


# ---- what breaks the published method does not crash this one ------------------------


def test_weights_saturate_with_the_units_of_y(regressor, rows):
    """Published fault: the weights depend on the units.

    Only numbers change here, the network is the same.
    """
    X, _ = rows
    shares = {}
    for unit in (0.01, 1.0, 1000.0):
        scaled = copy.deepcopy(regressor)
        scaled.target_mean_ = unit * regressor.target_mean_
        scaled.target_scale_ = unit * regressor.target_scale_
        explanation = explained(scaled, X, unit * amount(X))
        shares[unit] = explanation.meta["branch_weights"]
        assert np.isfinite(explanation.values).all()
    assert shares[0.01]["tabular"] == pytest.approx(0.5, abs=0.01)
    assert sorted(shares[1000.0].values()) == [0.0, 1.0]
    with pytest.raises(OverflowError):  # what the published code does
        math.exp(
            max(
                explanation.branches[path]["importance"]
                for path in ("tabular", "image")
            )
        )


def test_constant_lists_become_zeros(model, rows):
    X, y = rows
    blind = copy.deepcopy(model)
    with torch.no_grad():
        blind.module_.head[0].weight[:, blind.module_.widths["tabular"] :] = 0
    explanation = explained(blind, X, y)
    assert not explanation.parts["image"].any()
    assert explanation.meta["empty_maps"] == 3 * len(X)
    assert explanation.parts["tabular"].max() > 0
    deaf = copy.deepcopy(model)
    with torch.no_grad():
        deaf.module_.head[0].weight[:] = 0
    assert not explained(deaf, X, y).values.any()
    assert explained(deaf, X, y).meta["branch_weights"] == {
        "tabular": 0.5,
        "image": 0.5,
    }


def test_a_class_without_rows_is_undefined(model, rows):
    X, y = rows
    kept_mask = y != "green"
    explanation = explained(model, X[kept_mask], y[kept_mask])
    assert np.isnan(explanation.values[:, explanation.outputs.index("green")]).all()
    class_values = explanation.values[
        :, [explanation.outputs.index("blue"), explanation.outputs.index("red")]
    ]
    assert np.isfinite(class_values).all()
    np.testing.assert_allclose(explanation.values[:, 0], class_values.mean(axis=1))


def test_a_constant_column_gets_exactly_zero():
    X, y = table(120)
    X["e"] = 3.0
    model = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=NETWORK,
        pixels=8,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(X, y)
    assert model.preprocessor_.columns_of("e").size == 0
    explanation = explained(model, X, y)
    assert not explanation.values[explanation.names.index("e")].any()
    assert np.isfinite(explanation.values).all()
    assert explanation.meta["gradcam"]["red"]["e"] is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=12
    )
)
def test_scaling_stays_in_the_unit_interval(values):
    given_values = np.array(values)
    scaled = scale_to_unit(given_values)
    is_finite = np.isfinite(given_values)
    assert np.isnan(scaled[~is_finite]).all()
    assert ((scaled[is_finite] >= 0) & (scaled[is_finite] <= 1)).all()
    if is_finite.any() and np.ptp(given_values[is_finite]) > 0:
        assert scaled[is_finite].max() == 1
        assert scaled[is_finite].min() == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10_000))
def test_nearest_cells_are_those_that_cover_the_pixel(pixels, cells, seed):
    pixel_positions = np.random.default_rng(seed).integers(0, pixels, (1, 2))
    nearest = nearest_cells(pixel_positions, (pixels, pixels), (cells, cells))[0]
    for position, cell in zip(pixel_positions[0], nearest, strict=True):
        assert cell <= position * cells / pixels < cell + 1


# ---- how the work is cut, seeds, bad input -------------------------------------------


def test_batches_and_order_do_not_matter(model, rows):
    X, y = rows
    full_explanation = explained(model, X, y, batch_size=1000)
    for size in (1, 7):
        np.testing.assert_allclose(
            explained(model, X, y, batch_size=size).values,
            full_explanation.values,
            atol=1e-10,
        )


def test_seeds(model, rows):
    X, y = rows
    first = explained(model, X, y)
    again = explained(model, X, y)
    np.testing.assert_array_equal(first.values, again.values)
    reseeded = explain(
        model, X, y, method="permgrad_paper", progress=False, random_state=8
    )
    assert np.abs(reseeded.parts["tabular"] - first.parts["tabular"]).max() > 1e-6
    np.testing.assert_allclose(
        array(reseeded.meta["gradcam"]), array(first.meta["gradcam"])
    )


def test_targets_pick_classes_and_change_no_number(model, rows):
    X, y = rows
    every = explained(model, X, y)
    red_explanation = explained(model, X, y, target="red")
    assert red_explanation.outputs == ("all", "red")
    np.testing.assert_array_equal(red_explanation.values, every.values[:, [0, 3]])


def test_more_shuffles(model, rows):
    X, y = rows
    explanation = explained(model, X, y, shuffles=2)
    np.testing.assert_allclose(
        array(explanation.meta["permutation"]),
        array(slow_permutation(model, X, y, 7, repeats=2)),
        rtol=1e-6,
        atol=1e-9,
    )
    assert explanation.meta["n_repeats"] == 2
    assert explained(model, X, y).meta["n_repeats"] == 5


def test_bad_input(model, rows):
    X, y = rows
    with pytest.raises(InputError) as error:
        explained(model, X, None)
    assert str(error.value) == (
        "permgrad_paper needs y to measure the loss. Pass y, or choose "
        "method='permgrad', which works without. [PG005]"
    )
    with pytest.raises(
        InputError, match=r"shuffles must be an integer of at least 1, got 0"
    ):
        explained(model, X, y, shuffles=0)
    with pytest.raises(InputError, match="does not take sample_weight="):
        explained(model, X, y, sample_weight=np.ones(len(X)))
    foreign = copy.deepcopy(model)
    foreign.module_.renderer = ForeignRenderer(
        lambda E: np.zeros((len(E), 1, 9, 9)), channels_last=False
    )
    with pytest.raises(InputError, match="needs the pixel of each feature"):
        explained(foreign, X, y)
    single = pg.HyNNClassifier(
        branches=("tabular",),
        preset="fast",
        network=NETWORK,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(X, y)
    with pytest.raises(
        InputError,
        match=r"needs a model with two branches, table and image, got "
        r"branches=\('tabular',\)",
    ):
        explained(single, X, y)


@pytest.mark.data
def test_the_form_of_the_published_arrays_on_heloc():
    """Same features, classes and lists as published; and the published map of HELOC is
    one map for both classes.
    """
    folder = os.environ.get("PERMGRAD_DATA")
    if not folder or not (Path(folder) / "published_permgrad.json").is_file():
        pytest.skip("PERMGRAD_DATA names no folder with published_permgrad.json")
    published = json.loads((Path(folder) / "published_permgrad.json").read_text())[
        "heloc"
    ]
    assert published["gradcam"]["Bad"] == published["gradcam"]["Good"]
    frame = pd.read_csv(Path(folder) / "heloc.csv").sample(600, random_state=0)
    y = frame.pop("RiskPerformance").to_numpy()
    model = pg.HyNNClassifier(
        preset="fast",
        layout="tinto",
        max_epochs=2,
        random_state=0,
        progress=False,
        na=[-9, -8, -7],
    ).fit(frame[:400], y[:400])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = explained(
            model, frame[400:], y[400:], argmax_class=True, groups={}
        )
    for name in ("permutation", "gradcam"):
        assert (
            explanation.meta[name].keys() == published[name].keys() == {"Bad", "Good"}
        )
        assert explanation.meta[name]["Bad"].keys() == published[name]["Bad"].keys()
    assert explanation.meta["gradcam"]["Bad"] == pytest.approx(
        explanation.meta["gradcam"]["Good"]
    )


def test_the_raw_list_of_a_regression_is_that_of_all_rows():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    table = pd.DataFrame(rows, columns=["a", "b"])
    model = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=1, random_state=0, progress=False
    ).fit(table, rows[:, 0])
    meta = explained(model, table, rows[:, 0]).meta
    for name in ("permutation", "gradcam"):
        assert list(meta[name]) == ["all"]
        assert list(meta[name]["all"]) == ["a", "b"]
        assert all(isinstance(value, float) for value in meta[name]["all"].values())
