"""Networks with branches beside the head: slopes are those of the head and the line, and say so."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from beside import with_branches

import permgrad as pg
from permgrad.attribution.slopes.secants import SecantLines

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
        found = pg.HyNNClassifier(network=network, **settings).fit(X, y)
    elif request.param == "members":
        network |= {"members": 2, "normalization": "none"}
        found = pg.HyNNRegressor(network=network, **settings).fit(X, y + X["b"])
    else:
        found = pg.HyNNRegressor(network=network, loss="poisson", **settings).fit(
            X, np.exp(X["a"]).round()
        )
    found.module_.double()
    return with_branches(found, "linear", "trees")


def without_trees(model):
    part = copy.copy(model)
    part.module_ = model.module_.without("trees")
    return part


@pytest.mark.parametrize("name", METHODS)
def test_slopes_explain_the_model_without_its_trees(model, name, monkeypatch):
    rows = table(6, seed=1)[0]
    if name == "secants of functions":
        monkeypatch.setattr(SecantLines, "fitting", lambda *_: None)
    common = {"method": METHODS[name], "random_state": 0, "progress": False}
    whole, part = (
        pg.explain(each, rows, **common) for each in (model, without_trees(model))
    )
    np.testing.assert_array_equal(whole.values, part.values)
    np.testing.assert_array_equal(whole.predictions, part.predictions)
    assert "trees" in model.module_.paths, "the model stays as it is"
    assert np.abs(whole.values).max() > 1e-4
    assert list(whole.parts) == (
        ["tabular", "image", "linear"] if "completeness_gap" in whole.meta else []
    )
    encoded = torch.from_numpy(model.encode_rows(rows).encoded).double()
    with torch.no_grad():
        said = [
            module(encoded).numpy()
            for module in (model.module_, model.module_.without("trees"))
        ]
    if model.module_.outputs > 1:
        said = [each - each.mean(axis=1, keepdims=True) for each in said]
    of_all, of_part = (each - each.mean(axis=0) for each in said)
    share = (of_all * of_part).sum() / (of_all**2).sum()
    assert whole.meta["part"] == {
        "paths": ["tabular", "image", "linear"],
        "without": "trees",
        "share": pytest.approx(share, abs=1e-5),
    }
    assert "part" not in part.meta
    assert "without its trees, which have no slopes" in whole._repr_html_()


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift"])
def test_sums_are_complete(model, name):
    rows = table(5, seed=2)[0]
    found = pg.explain(
        model, rows, method=METHODS[name], random_state=0, progress=False
    )
    assert found.meta["completeness_gap"] < 1e-6
    if name == "integrated_gradients" and not model.module_.rates:
        assert found.meta["rule"] == "secants of each layer"
    whole = found.predictions - found.base_values
    np.testing.assert_allclose(
        found.values.sum(axis=1), whole, atol=1e-5 * np.abs(whole).max()
    )
    np.testing.assert_allclose(sum(found.parts.values()), found.values, atol=1e-9)


def test_a_line_has_its_weights_as_slopes(model):
    if model.module_.rates:
        pytest.skip("an exponential follows")
    rows, line = table(5, seed=2)[0], model.module_.additive["linear"]
    method = pg.methods.IntegratedGradients(baseline="zeros", players="encoded")
    found = pg.explain(
        model, rows, method=method, scale="raw", random_state=0, progress=False
    ).parts["linear"]
    numbers = torch.from_numpy(model.encode_rows(rows).encoded).double()
    weight = line.weight.T * getattr(model, "target_scale_", 1.0)
    np.testing.assert_allclose(found, (numbers[:, :, None] * weight).numpy(), atol=1e-6)
    assert np.abs(found).max() > 0.1
