"""Integrated gradients of hybrid networks by secants, against their plain gradients."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg
from permgrad.attribution.slopes.lines import SecantIntegral
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.network.network import HybridNetwork

NETWORK = {"dense_units": [8, 6], "conv_filters": [3, 4], "fusion_units": [8]}
SMALL = {
    "preset": "fast",
    "image": "always",
    "pixels": 8,
    "random_state": 0,
    "progress": False,
}


# ---- whole networks ------------------------------------------------------------------


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=["a", "b", "c", "d"])
    frame["kind"] = rng.choice(["p", "q", "r"], rows, p=[0.2, 0.5, 0.3])
    score = np.stack(
        [frame["a"], frame["b"] * frame["c"], (frame["kind"] == "q") * 1.0], axis=1
    )
    return frame, np.array(["blue", "green", "red"])[score.argmax(axis=1)]


def explained(model, rows, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            model,
            rows,
            method="integrated_gradients",
            progress=False,
            random_state=0,
            players="encoded",
            **options,
        )


CASES = {
    "rectifiers": {},
    "curved": {
        "activation": "silu",
        "normalization": "batch",
        "conv_normalization": "batch",
        "dropout": 0.2,
    },
    "embedded": {
        "numeric_embedding": "periodic",
        "activation": "gelu",
        "embedding_scale": 0.5,
        "image_units": [5],
    },
    "normalised by rows": {
        "normalization": "layer",
        "conv_normalization": "layer",
        "activation": "tanh",
    },
    "selu, no pooling, no head": {
        "activation": "selu",
        "pooling": [1],
        "fusion_units": [],
    },
    "random kernels": {"random_kernels": 30},
}


@pytest.fixture(scope="module", params=list(CASES))
def model(request) -> pg.HyNNClassifier:
    X, y = table(300)
    estimator = pg.HyNNClassifier(
        network={**NETWORK, **CASES[request.param]}, max_epochs=8, **SMALL
    ).fit(X, y)
    estimator.module_.double()
    kernels = estimator.module_.kernels
    assert (kernels is not None) == (request.param == "random kernels")
    if (
        kernels is not None
    ):  # the columns have no order: what kernels say of them is next to nothing
        estimator.module_.divide_outputs(0.04)
        torch.nn.init.zeros_(kernels.readout.bias)
        torch.nn.init.normal_(
            kernels.readout.weight, std=0.05, generator=torch.Generator().manual_seed(0)
        )
    return estimator


@pytest.mark.parametrize(
    ("output", "baseline"), [("raw", "median"), ("probability", "background")]
)
def test_equals_plain_gradients(model, monkeypatch, output, baseline):
    rows = table(2, seed=1)[0]
    options = {"scale": output, "baseline": baseline, "references": 3, "tolerance": 0}
    secant_explanation = explained(model, rows, **options, max_steps=128)
    assert secant_explanation.meta["rule"] == "secants of each function"
    monkeypatch.setattr(SecantIntegral, "complete", lambda *_: False)
    plain = explained(model, rows, **options, max_steps=512)
    assert plain.meta["rule"] == "midpoint rule over gradients"
    scale = max(secant_explanation.meta["output_range"])
    for path in ("tabular", "image"):
        assert (
            np.abs(secant_explanation.parts[path]).max() > 0.02 * scale
        )  # precondition: the path matters
        np.testing.assert_allclose(
            secant_explanation.parts[path], plain.parts[path], atol=0.004 * scale
        )
    assert secant_explanation.meta["completeness_gap"] < (
        1e-9 if output == "raw" else 1e-4
    )


@pytest.mark.slow
def test_the_sum_is_right_from_the_first_step_on(model):
    """Nothing is corrected: the products of secants telescope.

    Single values need the steps.
    """
    rows = table(6, seed=2)[0]
    rough, fine = (
        explained(model, rows, tolerance=0, max_steps=steps) for steps in (2, 256)
    )
    assert rough.meta["completeness_gap"] < 1e-9
    assert rough.meta["quadrature_error"] > 10 * fine.meta["quadrature_error"]


@pytest.mark.slow
def test_errors_fall_with_the_square_of_the_steps(model):
    rows = table(12, seed=3)[0]
    exact = explained(model, rows, tolerance=0, max_steps=256).values
    error = [
        np.sqrt(
            np.mean(
                (explained(model, rows, tolerance=0, max_steps=steps).values - exact)
                ** 2
            )
        )
        for steps in (4, 32)
    ]
    assert error[0] > 1e-6
    # Eight times the steps: 1/64 by the square, an eighth by rules over gradients;
    # pooling's kinks cost some of it.
    assert error[1] < error[0] / 12


def test_one_logit():
    """A binary classifier with one output: the other side is its mirror image, and
    costs nothing.
    """
    X, y = table(200)
    estimator = pg.HyNNClassifier(
        branches=("tabular",), network=NETWORK, max_epochs=1, **SMALL
    ).fit(X, y == "blue")
    torch.manual_seed(0)
    estimator.module_ = (
        HybridNetwork(
            len(estimator.preprocessor_.encoded_names_), 1, NETWORK, paths=("tabular",)
        )
        .double()
        .eval()
    )
    two_sided = explained(estimator, X[:5], scale="logit", target=[0, 1])
    assert two_sided.meta["rule"] == "secants of each function"
    np.testing.assert_array_equal(two_sided.values[:, :, 0], -two_sided.values[:, :, 1])
    one_sided = explained(estimator, X[:5], scale="logit", target=1)
    np.testing.assert_allclose(
        one_sided.values[:, :, 0], two_sided.values[:, :, 1], atol=1e-12
    )
    chance = explained(estimator, X[:5], scale="probability", tolerance=1e-5)
    total = chance.base_values + chance.values.sum(axis=1)
    np.testing.assert_allclose(total, chance.predictions, atol=1e-4)
    np.testing.assert_allclose(chance.predictions.sum(axis=1), 1)


@pytest.mark.parametrize("change", ["overlap", "layer", "members"])
def test_other_networks_fall_back(change):
    X, y = table(120)
    # Of several members, each is normalised by its own rows.
    further = {"members": 2, "normalization": "layer"} if change == "members" else {}
    estimator = pg.HyNNClassifier(
        network={**NETWORK, **further}, max_epochs=1, **SMALL
    ).fit(X, y)
    if change == "overlap":
        # The largest of several columns on one pixel is not affine in the row.
        estimator.module_.renderer = estimator.renderer_ = Renderer(
            StoredLayout(
                estimator.renderer_.positions // 4, pixels=8, overlap="maximum"
            ),
            estimator.preprocessor_.minimum_,
            estimator.preprocessor_.maximum_,
        )
    elif change == "layer":
        estimator.module_.head[1] = nn.PReLU()
    estimator.module_.double()
    explanation = explained(estimator, X[:5])
    rule = (
        "midpoint rule over gradients"
        if change == "overlap"
        else "secants of each function"
    )
    assert explanation.meta["rule"] == rule
    assert explanation.meta["completeness_gap"] <= 0.01


def test_a_changed_way_of_fusing_is_followed(model):
    class Doubled(HybridNetwork):
        def fuse(self, embeddings):
            return 2 * super().fuse(embeddings)

    rows = table(3, seed=4)[0]
    doubled_model = copy.deepcopy(model)
    doubled_model.module_.__class__ = Doubled
    explanation = explained(doubled_model, rows)
    assert explanation.meta["rule"] == "secants of each function"
    np.testing.assert_allclose(
        explanation.values, 2 * explained(model, rows).values, atol=0.02
    )


@pytest.mark.slow
def test_memory_that_does_not_suffice_is_halved(model, monkeypatch):
    rows = table(8, seed=5)[0]
    full_explanation = explained(model, rows)
    batch_sizes = []
    plain = SecantIntegral.line_values

    def small(self, rows, line, intervals):
        batch_sizes.append(len(line))
        if len(line) > 2:
            raise MemoryError
        return plain(self, rows, line, intervals)

    monkeypatch.setattr(SecantIntegral, "line_values", small)
    np.testing.assert_allclose(
        explained(model, rows).values, full_explanation.values, atol=1e-12
    )
    assert max(batch_sizes) > 2
    # A batch smaller than one line cuts the line.
    monkeypatch.setattr(SecantIntegral, "line_values", plain)
    np.testing.assert_allclose(
        explained(model, rows, batch_size=3).values, full_explanation.values, atol=1e-10
    )


def test_a_rectifier_that_writes_in_place_is_left_alone():
    X, y = table(120)
    estimator = pg.HyNNClassifier(network=NETWORK, max_epochs=1, **SMALL).fit(X, y)
    twin = copy.deepcopy(estimator)
    layers = [layer for layer in twin.module_.modules() if isinstance(layer, nn.ReLU)]
    for layer in layers:
        layer.inplace = True
    np.testing.assert_allclose(
        explained(twin, X[:4]).values, explained(estimator, X[:4]).values, atol=1e-6
    )
    assert layers
    assert all(layer.inplace for layer in layers)
