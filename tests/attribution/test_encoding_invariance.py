"""A categorical variable's importance is that of the raw column: neither names nor the
encoding of levels matter.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.models.estimators.presets import Preset, get_preset

ROWS = 240
LEVEL_EFFECT = np.array([-1.0, 2.0, 0.5])


def table(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A category as the numbers 0, 1, 2 with frequencies that differ, and two
    numbers.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "kind": rng.choice([0, 1, 2], ROWS, p=[0.5, 0.3, 0.2]),
            "a": rng.normal(size=ROWS),
            "b": rng.normal(size=ROWS),
        }
    )
    return frame, LEVEL_EFFECT[frame["kind"]] * (1 + (frame["a"] > 0)) + frame[
        "a"
    ].to_numpy()


# ---- one function, two encodings -----------------------------------------------------


def model_of(frame: pd.DataFrame, y: np.ndarray, kind: str) -> pg.HyNNRegressor:
    """A network whose weights are set by hand: the same function of the raw row
    whatever the encoding of ``kind``.

    With g = LEVEL_EFFECT[kind]: the table path gives ``(g + 5, a + 9)``, the picture
    ``(g + 5)`` again, and the head ``relu(0.7 g_table + 0.4 g_image + a) + 0.3
    relu(g_image)``: paths and features interact.
    """
    network = {
        "dense_units": [4, 2], "conv_filters": [3], "kernel_size": 1, "pooling": [1], "fusion_units": [2],
        "activation": "relu", "normalization": "none", "conv_normalization": "none", "dropout": 0.0,
    }  # fmt: skip
    base = get_preset("fast")
    preset = Preset(base.layout, "standard", base.network, base.training)
    model = pg.HyNNRegressor(
        preset=preset,
        network=network,
        kinds={"kind": kind},
        pixels=4,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(frame, y)
    model.target_mean_ = 0.0
    model.target_scale_ = 1.0
    with torch.no_grad():
        for parameter in model.module_.parameters():
            parameter.zero_()
        set_weights(model, kind)
    return model


def steps_of(values: np.ndarray) -> tuple[float, float]:
    """Slopes of ``relu(x − v0)`` and ``relu(x − v1)`` that give LEVEL_EFFECT −
    LEVEL_EFFECT[0] at the three values.
    """
    first = (LEVEL_EFFECT[1] - LEVEL_EFFECT[0]) / (values[1] - values[0])
    return first, (LEVEL_EFFECT[2] - LEVEL_EFFECT[1]) / (values[2] - values[1]) - first


def set_weights(model: pg.HyNNRegressor, kind: str) -> None:
    net = model.module_
    encoder = model.preprocessor_
    one_each = pd.DataFrame({"kind": [0, 1, 2], "a": [0.0, 1.0, 0.0], "b": 0.0})
    encoded = encoder.transform(one_each).astype(np.float64)
    number = int(encoder.columns_of("a")[0])
    columns = encoder.columns_of("kind")
    first = net.table_branch.layers[0]
    second = net.table_branch.layers[2]
    convolution = net.image_branch[0]
    head = net.head[0]
    last = net.head[2]
    # a, from its standardised value.
    scale = encoded[1, number] - encoded[0, number]
    first.weight[3, number] = 1 / scale
    first.bias[3] = 9 - encoded[0, number] / scale
    second.weight[1, 3] = 1
    # The head reads pixel p of channel c at widths[tabular] + c · pixels² + p.
    pixel_positions = net.renderer.positions
    pixels = net.renderer.height
    flat = [
        2 + int(pixel_positions[column][0]) * pixels + int(pixel_positions[column][1])
        for column in columns
    ]
    by_picture = torch.zeros(head.weight.shape[1], dtype=torch.float32)
    convolution.weight[0] = 1
    if kind == "categorical":
        for column_index, column in enumerate(columns):
            level = int(np.flatnonzero(encoded[:, column])[0])
            first.weight[column_index, column] = 1
            second.weight[0, column_index] = LEVEL_EFFECT[level]
            by_picture[flat[column_index]] = LEVEL_EFFECT[level]
        second.bias[0] = 5
        offset = 0.0
    else:
        (column,) = columns
        values = encoded[:, column]
        slopes = steps_of(values)
        for unit in range(2):
            first.weight[unit, column] = 1
            first.bias[unit] = -values[unit]
            second.weight[0, unit] = slopes[unit]
        second.bias[0] = 5 + LEVEL_EFFECT[0]
        drawn = (values - float(encoder.minimum_[column])) / float(
            encoder.maximum_[column] - encoder.minimum_[column]
        )
        convolution.weight[1] = 1
        convolution.bias[1] = -drawn[1]
        by_picture[flat[0]], by_picture[flat[0] + pixels**2] = steps_of(drawn)
        offset = LEVEL_EFFECT[0]
    head.weight[0] = 0.4 * by_picture
    head.weight[0, 0] = 0.7
    head.weight[0, 1] = 1
    head.bias[0] = -0.7 * 5 - 9 + 0.4 * offset
    head.weight[1] = by_picture
    head.bias[1] = offset
    last.weight[0, 0] = 1
    last.weight[0, 1] = 0.3


def raw_function(frame: pd.DataFrame) -> np.ndarray:
    effect = LEVEL_EFFECT[frame["kind"]]
    return np.maximum(1.1 * effect + frame["a"], 0) + 0.3 * np.maximum(effect, 0)


@pytest.fixture(scope="module")
def twins() -> tuple[pg.HyNNRegressor, pg.HyNNRegressor, pd.DataFrame, np.ndarray]:
    frame, y = table()
    return model_of(frame, y, "categorical"), model_of(frame, y, "numeric"), frame, y


def test_the_networks_are_one_function(twins):
    one_hot, number, frame, _ = twins
    assert len(one_hot.preprocessor_.columns_of("kind")) == 3
    assert len(number.preprocessor_.columns_of("kind")) == 1
    want = raw_function(frame)
    assert want.std() > 0.5
    np.testing.assert_allclose(one_hot.predict(frame), want, atol=1e-5)
    np.testing.assert_allclose(number.predict(frame), want, atol=1e-5)


@pytest.mark.parametrize("with_y", [True, False])
def test_the_path_game_does_not_see_the_encoding(twins, with_y):
    one_hot, number, frame, y = twins
    target = y if with_y else None
    one_hot_explanation, number_explanation = (
        pg.explain(model, frame, target, random_state=0, n_repeats=5, progress=False)
        for model in (one_hot, number)
    )
    kind = one_hot_explanation.names.index("kind")
    assert one_hot_explanation.values[kind, 0] > 0.1
    assert (
        min(
            one_hot_explanation.parts["tabular"][kind, 0],
            one_hot_explanation.parts["image"][kind, 0],
        )
        > 0.02
    )
    scale = float(np.var(raw_function(frame)))
    for mine, its in [
        (one_hot_explanation.values, number_explanation.values),
        (one_hot_explanation.std_error, number_explanation.std_error),
    ]:
        np.testing.assert_allclose(mine, its, atol=1e-5 * scale)
    for name, part_values in one_hot_explanation.parts.items():
        np.testing.assert_allclose(
            part_values, number_explanation.parts[name], atol=1e-5 * scale
        )
    assert one_hot_explanation.values[one_hot_explanation.names.index("b"), 0] == 0


def test_one_row_does_not_see_the_encoding(twins):
    one_hot, number, frame, _ = twins
    # Which rows a row is compared with follows from the encoded columns.
    number = copy.copy(number)
    number.rows_compared_ = one_hot.rows_compared_
    one_hot_explanation, number_explanation = (
        pg.explain(model, frame[:20], scope="local", random_state=0, progress=False)
        for model in (one_hot, number)
    )
    assert np.abs(one_hot_explanation.values[:, 0]).max() > 0.1
    np.testing.assert_allclose(
        one_hot_explanation.values, number_explanation.values, atol=1e-5
    )


# ---- names of levels -----------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "integrated_gradients", "ablation"]
)
def test_renaming_levels_changes_nothing(method):
    frame, y = table(seed=1)
    frame["kind"] = frame["kind"].map({0: "zebra", 1: "ant", 2: "mole"})
    renamed = frame.assign(
        kind=frame["kind"].map({"zebra": "A 1", "ant": "Ω", "mole": "no=yes"})
    )
    explanations = []
    for level_frame in (frame, renamed):
        model = pg.HyNNRegressor(
            preset="fast", pixels=6, max_epochs=3, random_state=0, progress=False
        ).fit(level_frame, y)
        explanations.append(
            pg.explain(
                model, level_frame, y, method=method, random_state=0, progress=False
            )
        )
    assert (
        len(set(frame["kind"].value_counts())) == 3
    )  # precondition: levels are ordered by frequency, not by name
    assert np.abs(explanations[0].values).max() > 0.01
    np.testing.assert_array_equal(explanations[0].values, explanations[1].values)
    for name, part_values in explanations[0].parts.items():
        np.testing.assert_array_equal(part_values, explanations[1].parts[name])
