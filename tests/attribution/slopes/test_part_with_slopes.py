"""Networks with branches beside the head: slopes are those of the head and the line,
and say so.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from beside import with_branches

import permgrad as pg

METHODS = {
    "integrated_gradients": pg.methods.IntegratedGradients(),
    "secants of functions": pg.methods.IntegratedGradients(),
    "steps": pg.methods.IntegratedGradients(steps=20),
    "deeplift": pg.methods.DeepLift(),
    "gradient": pg.methods.Gradient(),
    "smoothgrad": pg.methods.SmoothGrad(samples=4),
    "gradcam": pg.methods.GradCam(),
}


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    frame["level"] = rng.choice(["x", "y", "z"], rows)
    return frame, (frame["a"] + (frame["level"] == "x") > 0).to_numpy().astype(int)


@pytest.fixture(scope="module", params=["classes", "members", "rates"])
def model(request):
    X, y = table(200)
    network = {
        "dense_units": [8],
        "conv_filters": [3],
        "fusion_units": [6],
        "random_kernels": 8,
    }
    settings = {
        "preset": "fast",
        "image": "always",
        "pixels": 6,
        "max_epochs": 4,
        "random_state": 0,
    }
    settings |= {"progress": False}
    if request.param == "classes":
        estimator = pg.HyNNClassifier(network=network, **settings).fit(X, y)
    elif request.param == "members":
        network |= {"members": 2, "normalization": "none"}
        estimator = pg.HyNNRegressor(network=network, **settings).fit(X, y + X["b"])
    else:
        estimator = pg.HyNNRegressor(network=network, loss="poisson", **settings).fit(
            X, np.exp(X["a"]).round()
        )
    estimator.module_.double()
    return with_branches(estimator, "linear", "trees")


def without_trees(model):
    reduced_model = copy.copy(model)
    reduced_model.module_ = model.module_.without("trees")
    return reduced_model


@pytest.mark.parametrize("name", METHODS)
def test_slopes_explain_the_model_without_its_trees(model, name):
    rows = table(6, seed=1)[0]
    common = {"method": METHODS[name], "random_state": 0, "progress": False}
    full_explanation, reduced_explanation = (
        pg.explain(explained_model, rows, **common)
        for explained_model in (model, without_trees(model))
    )
    np.testing.assert_array_equal(full_explanation.values, reduced_explanation.values)
    np.testing.assert_array_equal(
        full_explanation.predictions, reduced_explanation.predictions
    )
    assert "trees" in model.module_.paths, "the model stays as it is"
    assert np.abs(full_explanation.values).max() > 1e-4
    assert list(full_explanation.parts) == (
        ["tabular", "image", "linear"]
        if "completeness_gap" in full_explanation.meta
        else []
    )
    encoded = torch.from_numpy(model.encode_rows(rows).encoded).double()
    with torch.no_grad():
        raw_outputs = [
            module(encoded).numpy()
            for module in (model.module_, model.module_.without("trees"))
        ]
    if model.module_.outputs > 1:
        raw_outputs = [
            module_outputs - module_outputs.mean(axis=1, keepdims=True)
            for module_outputs in raw_outputs
        ]
    of_all, of_part = (
        module_outputs - module_outputs.mean(axis=0) for module_outputs in raw_outputs
    )
    share = (of_all * of_part).sum() / (of_all**2).sum()
    assert full_explanation.meta["part"] == {
        "paths": ["tabular", "image", "linear"],
        "without": "trees",
        "share": pytest.approx(share, abs=1e-5),
    }
    assert "part" not in reduced_explanation.meta
    assert (
        "without its tree branch, which has no slopes" in full_explanation._repr_html_()
    )


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift"])
def test_sums_are_complete(model, name):
    rows = table(5, seed=2)[0]
    explanation = pg.explain(
        model, rows, method=METHODS[name], random_state=0, progress=False
    )
    assert explanation.meta["completeness_gap"] < 1e-6
    if name == "integrated_gradients" and not model.module_.rates:
        assert explanation.meta["rule"] == "secants of each function"
    total_change = explanation.predictions - explanation.base_values
    np.testing.assert_allclose(
        explanation.values.sum(axis=1),
        total_change,
        atol=1e-5 * np.abs(total_change).max(),
    )
    np.testing.assert_allclose(
        sum(explanation.parts.values()), explanation.values, atol=1e-9
    )


def test_a_line_has_its_weights_as_slopes(model):
    if model.module_.rates:
        pytest.skip("an exponential follows")
    rows = table(5, seed=2)[0]
    line = model.module_.additive["linear"]
    method = pg.methods.IntegratedGradients(baseline="zeros", players="encoded")
    line_values = pg.explain(
        model, rows, method=method, scale="raw", random_state=0, progress=False
    ).parts["linear"]
    numbers = torch.from_numpy(model.encode_rows(rows).encoded).double()
    weight = line.weight.T * getattr(model, "target_scale_", 1.0)
    np.testing.assert_allclose(
        line_values, (numbers[:, :, None] * weight).numpy(), atol=1e-6
    )
    assert np.abs(line_values).max() > 0.1
