"""One output for each row equals the column that is picked from the explanation of all
outputs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import permgrad as pg
from permgrad.base.errors import InputError

QUIET = {"progress": False, "random_state": 3}
LOCAL = {
    "gradient": {},
    "integrated_gradients": {"steps": 16},
    "deeplift": {},
    "shapley": {},
    "lime": {"samples": 80},
    "permutation": {"scope": "local", "n_repeats": 3},
    "permgrad": {"scope": "local", "n_repeats": 3},
    "ablation": {"scope": "local"},
}


def columns_of(full, class_indices):
    """Return each row's own column of values, ``(rows, features, 1)``."""
    return np.take_along_axis(
        full.values, np.asarray(class_indices)[:, None, None], axis=2
    )


class Net(nn.Module):
    """A table and an image into four classes."""

    def __init__(self):
        super().__init__()
        self.table = nn.Sequential(nn.Linear(3, 8), nn.Tanh())
        self.image = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 8)
        )
        self.head = nn.Linear(16, 4)

    def forward(self, table, image):
        return self.head(torch.cat([self.table(table), self.image(image)], dim=1))


@pytest.fixture(scope="module")
def one_input():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 5)).double()
    return net, torch.randn(24, 4, dtype=torch.float64)


@pytest.fixture(scope="module")
def two_inputs():
    torch.manual_seed(1)
    rows = {
        "table": torch.randn(20, 3, dtype=torch.float64),
        "image": torch.randn(20, 1, 6, 6, dtype=torch.float64),
    }
    return Net().double(), rows


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("method", LOCAL)
def test_network_of_one_input(one_input, method, output):
    net, rows = one_input
    call_options = {"method": method, "scale": output, **LOCAL[method], **QUIET}
    class_indices = net(rows).argmax(dim=1).numpy()
    assert len(set(class_indices.tolist())) > 2
    full = explain_with(net, rows, **call_options)
    picked = explain_with(net, rows, target="predicted", **call_options)
    assert picked.outputs == ("predicted",)
    assert picked.values.shape == (24, 4, 1)
    np.testing.assert_allclose(
        picked.values, columns_of(full, class_indices), atol=1e-9
    )
    assert np.abs(picked.values).max() > 1e-3
    assert picked.meta["row_target"] == [
        str(class_index) for class_index in class_indices
    ]
    np.testing.assert_allclose(
        picked.predictions[:, 0],
        full.predictions[np.arange(24), class_indices],
        atol=1e-12,
    )
    if full.base_values is not None:
        base = np.broadcast_to(full.base_values, (24, 5))[np.arange(24), class_indices]
        np.testing.assert_allclose(np.ravel(picked.base_values), base, atol=1e-9)


@pytest.mark.parametrize("method", [*LOCAL, "gradcam"])
def test_network_of_two_inputs_and_a_background(two_inputs, method):
    net, rows = two_inputs
    call_options = {
        "method": method,
        **LOCAL.get(method, {}),
        **QUIET,
        "segments": ("grid", 2),
    }
    if method != "gradcam":
        call_options["background"] = {name: tensor[:7] for name, tensor in rows.items()}
    if method == "shapley":
        call_options["exact"] = 8
    class_indices = np.arange(20) % 4
    full = explain_with(net, rows, **call_options)
    picked = explain_with(net, rows, target=class_indices, **call_options)
    assert picked.outputs == ("row target",)
    np.testing.assert_allclose(
        picked.values, columns_of(full, class_indices), atol=1e-9
    )
    assert picked.names == full.names


@pytest.fixture(scope="module")
def estimator():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 4)), columns=list("abcd"))
    y = np.digitize(X["a"] + X["b"] / 2, [-0.5, 0.5]).astype(str)
    return (
        pg.HyNNClassifier(
            preset="fast", image="always", max_epochs=3, random_state=0
        ).fit(X, y),
        X[:15],
        y[:15],
    )


@pytest.mark.parametrize("method", [*LOCAL, "gradcam"])
def test_estimator(estimator, method):
    model, X, y = estimator
    call_options = {"method": method, **LOCAL.get(method, {}), **QUIET}
    full = explain_with(model, X, y, **call_options)
    picked = explain_with(model, X, y, target="true", **call_options)
    class_indices = np.array([full.outputs.index(label) for label in y])
    assert len(set(class_indices.tolist())) == 3
    assert picked.outputs == ("true",)
    np.testing.assert_allclose(
        picked.values, columns_of(full, class_indices), atol=1e-9
    )
    assert picked.parts.keys() == full.parts.keys()


@pytest.mark.parametrize(
    "method", ["shapley", "lime", "permutation", "permgrad", "ablation"]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_predictor(method, classes):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    y = np.array(["low", "mid", "top"])[
        np.digitize(X["a"] + X["b"], [0.0, 0.8][: classes - 1])
    ]
    model = RandomForestClassifier(20, random_state=0).fit(X, y)
    call_options = {"method": method, **LOCAL[method], **QUIET, "scale": "probability"}
    full = explain_with(model, X, y, **call_options)
    picked = explain_with(model, X, y, target="true", **call_options)
    np.testing.assert_allclose(
        picked.values,
        columns_of(full, [full.outputs.index(label) for label in y]),
        atol=1e-9,
    )


@pytest.mark.parametrize("method", ["permgrad", "permutation", "ablation"])
@pytest.mark.parametrize("target", ["predicted", np.arange(24) % 5])
def test_an_output_of_each_row_is_explained_row_by_row(one_input, method, target):
    net, rows = one_input
    call_options = {"method": method, "target": target, **QUIET}
    usual = explain_with(net, rows, **call_options)
    local = explain_with(net, rows, scope="local", **call_options)
    assert (usual.scope, explain_with(net, rows, method=method, **QUIET).scope) == (
        "local",
        "global",
    )
    np.testing.assert_array_equal(usual.values, local.values)


def test_a_class_of_that_name_is_an_output_of_all_rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    y = np.where(X["a"] > 0, "true", "false")
    model = RandomForestClassifier(20, random_state=0).fit(X, y)
    explanation = pg.explain(model, X, y, target="true", **QUIET)
    assert explanation.scope == "global"
    assert "true" in explanation.outputs


def test_one_column_explains_either_class():
    torch.manual_seed(0)
    net = nn.Linear(3, 1).double()
    rows = torch.randn(10, 3, dtype=torch.float64)
    call_options = {
        "method": "gradient",
        "signed": True,
        "task": "classification",
        "returns": "logits",
        "scale": "logit",
        "target": [0, 1],
        **QUIET,
    }
    full = explain_with(net, rows, **call_options)
    picked = explain_with(net, rows, **call_options | {"target": "predicted"})
    sign = np.where(net(rows).detach().numpy() > 0, 1, -1)
    assert len(set(sign.ravel().tolist())) == 2
    assert full.outputs == ("0", "1")
    np.testing.assert_allclose(
        picked.values, full.values[..., 1:] * sign[:, None], atol=1e-12
    )


def test_conditional_sampling(one_input):
    net, rows = one_input
    call_options = {
        "method": "permutation",
        "scope": "local",
        "sampling": "conditional",
        **QUIET,
    }
    class_indices = np.zeros(24, dtype=int)
    full = explain_with(net, rows, **call_options)
    picked = explain_with(net, rows, target=class_indices, **call_options)
    np.testing.assert_allclose(
        picked.values, columns_of(full, class_indices), atol=1e-9
    )


def test_methods_by_input(two_inputs):
    net, rows = two_inputs
    call_options = {
        "method": {"table": "gradient", "image": "gradcam"},
        **QUIET,
        "segments": ("grid", 2),
    }
    full = explain_with(net, rows, **call_options)
    picked = explain_with(net, rows, target=np.ones(20, dtype=int), **call_options)
    np.testing.assert_allclose(
        picked.values, columns_of(full, np.ones(20, dtype=int)), atol=1e-9
    )


def test_one_backward_pass_serves_a_thousand_classes(monkeypatch):
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd,
        "grad",
        lambda *args, **kwargs: calls.append(1) or grad(*args, **kwargs),
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1000))
    rows = torch.randn(30, 4)
    explanation = pg.explain(net, rows, method="gradient", target="predicted", **QUIET)
    assert explanation.values.shape == (30, 4, 1)
    assert len(calls) == 2  # one asks whether gradients are slopes


def test_result_does_not_depend_on_batches_and_is_saved(one_input, tmp_path):
    net, rows = one_input
    call_options = {"method": "shapley", "target": "predicted", **QUIET}
    explanation = explain_with(net, rows, **call_options)
    explanation.save(tmp_path / "why")
    assert (
        pg.Explanation.load(tmp_path / "why").meta["row_target"]
        == explanation.meta["row_target"]
    )
    np.testing.assert_allclose(
        explain_with(net, rows, batch_size=7, **call_options).values,
        explanation.values,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"target": "true"}, "y is missing"),
        ({"target": "best"}, "No output 'best'"),
        ({"target": np.array([0] * 23)}, "one value for each of the 24 rows"),
        ({"target": np.array([7] * 24)}, "got 7"),
        ({"target": np.array(["x"] * 24)}, "got 'x'"),
        ({"target": np.array([0.5] * 24)}, "got 0.5"),
        (
            {"target": "predicted", "method": "permgrad", "scope": "global"},
            "scope='global' does not take a target for",
        ),
        ({"target": "predicted", "task": "regression"}, "needs a classifier"),
        (
            {"target": "predicted", "engine": "ray"},
            "engine= does not take a target for each row",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(one_input, more, message):
    net, rows = one_input
    with pytest.raises(InputError, match=message):
        explain_with(net, rows, **QUIET, **{"method": "gradient", **more})


class Maps(nn.Module):
    """A segmentation network: maps of three classes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)
        )

    def forward(self, image):
        return self.layers(image)


def test_maps_without_masks_are_refused():
    net = Maps()
    rows = torch.randn(6, 1, 4, 4)
    with pytest.raises(InputError, match="of maps for example"):
        pg.explain(net, rows, **QUIET)


class LooksUp(nn.Module):
    """Ids that are looked up, beside numbers, into three classes."""

    def __init__(self):
        super().__init__()
        self.vectors = nn.Embedding(9, 4)
        self.head = nn.Linear(7, 3)

    def forward(self, ids, table):
        return self.head(
            torch.cat([self.vectors(ids).mean(dim=1), torch.tanh(table)], dim=1)
        )


@pytest.mark.parametrize("scale", ["probability", "logit"])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_slopes_at_vectors_are_those_of_each_rows_own_output(method, scale):
    torch.manual_seed(2)
    net = LooksUp().double()
    rows = {
        "ids": torch.randint(0, 9, (20, 5)),
        "table": torch.randn(20, 3, dtype=torch.float64),
    }
    more = {**QUIET, **LOCAL[method], "method": method, "scale": scale}
    picked_explanation, full = (
        explain_with(net, rows, **picked, **more)
        for picked in ({"target": "predicted"}, {})
    )
    with torch.no_grad():
        outputs = net(**rows)
        centred = outputs - outputs.mean(dim=1, keepdim=True)
        outputs = centred if scale == "logit" else outputs.softmax(dim=1)
    class_indices = outputs.argmax(dim=1).numpy()
    np.testing.assert_allclose(
        picked_explanation.predictions[:, 0],
        outputs.max(dim=1).values.numpy(),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        picked_explanation.values, columns_of(full, class_indices), atol=1e-12
    )
