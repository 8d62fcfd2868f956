"""The walk by secants: every rule against its definition, the network's own gradients,
and the general way.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import permgrad as pg
from permgrad.attribution.slopes.lines import SecantIntegral
from permgrad.attribution.slopes.secants import SecantLines, rule_of, table_embedding
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.table_and_image import PeriodicDenseEmbedding

ELEMENTWISE = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.2), nn.ReLU6(), nn.Hardtanh(), nn.GELU(), nn.SiLU(),
    nn.SiLU(inplace=True), nn.Mish(), nn.SELU(inplace=True), nn.ELU(), nn.CELU(), nn.Tanh(), nn.Sigmoid(),
    nn.Softplus(),
]  # fmt: skip
AFFINE = [
    (nn.Linear(6, 4), (6,)),
    (nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    (nn.Conv2d(2, 4, 3, stride=2, groups=2), (2, 7, 6)),
    (nn.Conv2d(2, 3, 3, padding=3), (2, 4, 4)),
    (nn.Conv2d(2, 3, (3, 1), dilation=2), (2, 6, 5)),
    (nn.Flatten(), (2, 3, 4)),
    (nn.BatchNorm1d(6), (6,)),
    (nn.BatchNorm2d(2), (2, 3, 4)),
    (nn.BatchNorm2d(2, affine=False), (2, 3, 4)),
    (nn.Dropout(0.5), (6,)),
    (nn.Identity(), (3, 2)),
]
NETWORK = {"dense_units": [8, 6], "conv_filters": [3, 4], "fusion_units": [8]}
SMALL = {
    "preset": "fast",
    "image": "always",
    "pixels": 8,
    "random_state": 0,
    "progress": False,
}


# ---- one layer at a time -------------------------------------------------------------


def stretch(rule, shape, points=3, lines=4, scale=2.0, seed=0):
    """Values at neighbouring points, the ends of their stretches, and slopes towards
    the output for two targets.
    """
    generator = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(
        points, lines, *shape, generator=generator, dtype=torch.float64
    )
    with torch.no_grad():
        after = rule.forward(values.flatten(0, 1)).unflatten(0, (points, lines))
    slopes = torch.randn(
        (points - 1) * lines,
        2,
        *after.shape[2:],
        generator=generator,
        dtype=torch.float64,
    )
    return values, after, slopes


def prepared(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module).double().eval()
    for name, buffer in module.named_buffers():
        if name.startswith("running"):
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    return module


def changes(values, after, slopes, back):
    """Return slopes times changes at a layer's output and at its input: they must be
    equal.
    """
    output = (
        ((after[1:] - after[:-1]).flatten(0, 1)[:, None] * slopes).flatten(2).sum(2)
    )
    inputs = (
        ((values[1:] - values[:-1]).flatten(0, 1)[:, None] * back).flatten(2).sum(2)
    )
    return output, inputs


@pytest.mark.parametrize("module", ELEMENTWISE, ids=str)
def test_elementwise_rules(module):
    rule = rule_of(prepared(module))
    values, after, slopes = stretch(rule, (5,))
    assert rule.kind != "affine"
    back = rule.back(slopes, values, after)
    np.testing.assert_allclose(*changes(values, after, slopes, back), atol=1e-12)
    # By definition the mean of the derivative over the stretch.
    times = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    points = torch.lerp(values[0, 0], values[1, 0], times[:, None]).requires_grad_()
    plain = copy.deepcopy(module)
    if hasattr(plain, "inplace"):
        plain.inplace = False
    mean = torch.autograd.grad(plain(points).sum(), points)[0].mean(dim=0)
    np.testing.assert_allclose(back[0, 0], slopes[0, 0] * mean, atol=3e-4)
    # Ends that nearly or quite agree: the derivative.
    for close in (0.0, 1e-9):
        near = torch.stack([values[0], values[0] + close])
        back = rule.back(slopes[:4], near, rule.forward(near))
        leaf = values[0].clone().requires_grad_()
        derivative = torch.autograd.grad(plain(leaf).sum(), leaf)[0]
        np.testing.assert_allclose(back, slopes[:4] * derivative[:, None], atol=1e-6)


@pytest.mark.parametrize(("module", "shape"), AFFINE, ids=str)
def test_affine_rules(module, shape):
    module = prepared(module)
    rule = rule_of(module)
    assert rule.kind == "affine"
    values, after, slopes = stretch(rule, shape)
    back = rule.back(slopes, values, after)
    np.testing.assert_allclose(*changes(values, after, slopes, back), atol=1e-10)
    leaf = values[0].clone().requires_grad_()
    for target in range(2):
        want = torch.autograd.grad((module(leaf) * slopes[:4, target]).sum(), leaf)[0]
        np.testing.assert_allclose(back[:4, target], want.detach(), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    window=st.integers(2, 4),
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    seed=st.integers(0, 999),
)
def test_pooling(window, height, width, seed):
    rule = rule_of(nn.MaxPool2d(window))
    values, after, slopes = stretch(rule, (2, height, width), seed=seed)
    back = rule.back(slopes, values, after)
    np.testing.assert_allclose(*changes(values, after, slopes, back), atol=1e-10)
    # On short stretches nobody takes over the lead: torch's own gradient, on ties too.
    still = torch.stack([values[0].round(), values[0].round()])
    back = rule.back(
        slopes[:4], still, rule.forward(still.flatten(0, 1)).unflatten(0, (2, 4))
    )
    leaf = still[0].clone().requires_grad_()
    want = torch.autograd.grad(
        (nn.MaxPool2d(window)(leaf) * slopes[:4, 0]).sum(), leaf
    )[0]
    # Ties go to the first by rows, then by columns; the sum of a window is the same
    # either way.
    pooled = nn.AvgPool2d(window)
    np.testing.assert_allclose(pooled(back[:, 0]), pooled(want), atol=1e-12)


def test_pooling_of_two_is_the_mean_gradient():
    """Two numbers that exchange the lead once: the share of the stretch in which each
    leads.
    """
    rule = rule_of(nn.MaxPool2d(2))
    values = torch.tensor(
        [[[[[0.0, -9.0], [-9.0, 1.0]]]], [[[[3.0, -9.0], [-9.0, 0.0]]]]],
        dtype=torch.float64,
    )
    after = rule.forward(values.flatten(0, 1)).unflatten(0, (2, 1))
    back = rule.back(torch.ones(1, 1, 1, 1, 1, dtype=torch.float64), values, after)
    # 3t overtakes 1 − t at t = 1/4.
    np.testing.assert_allclose(back[0, 0, 0], [[0.75, 0.0], [0.0, 0.25]], atol=1e-12)


def test_embedding():
    torch.manual_seed(0)
    layer = PeriodicDenseEmbedding(3, size=4, scale=1.0).double()
    rule = table_embedding(layer, torch.tensor([0, 2, 3]), torch.tensor([1, 4]))
    values, after, slopes = stretch(rule, (5,))
    back = rule.back(slopes, values, after)
    np.testing.assert_allclose(*changes(values, after, slopes, back), atol=1e-10)
    near = torch.stack([values[0], values[0]])
    leaf = values[0].clone().requires_grad_()
    want = torch.autograd.grad((rule.forward(leaf) * slopes[:4, 1]).sum(), leaf)[0]
    with torch.no_grad():
        still = rule.back(
            slopes[:4], near, rule.forward(near.flatten(0, 1)).unflatten(0, (2, 4))
        )
    np.testing.assert_allclose(still[:, 1], want.detach(), atol=1e-12)


@pytest.mark.parametrize(
    ("module", "shape"), [(nn.LayerNorm(6), (6,)), (nn.GroupNorm(1, 2), (2, 3, 4))]
)
def test_normalisation_of_rows(module, shape):
    module = prepared(module)
    nn.init.normal_(module.weight)
    rule = rule_of(module)
    values, after, slopes = stretch(rule, shape)
    np.testing.assert_allclose(
        *changes(values, after, slopes, rule.back(slopes, values, after)), atol=1e-10
    )
    near = torch.stack([values[0], values[0]])
    with torch.no_grad():
        still = rule.back(slopes[:4], near, near)
    leaf = values[0].clone().requires_grad_()
    want = torch.autograd.grad((module(leaf) * slopes[:4, 1]).sum(), leaf)[0]
    np.testing.assert_allclose(still[:, 1], want.detach(), atol=1e-12)


def test_layers_without_a_rule():
    class Own(nn.ReLU):
        pass

    hooked = nn.ReLU()
    hooked.register_forward_hook(lambda *_: None)
    untracked = nn.BatchNorm1d(3, track_running_stats=False)
    modules = [
        nn.GroupNorm(2, 4),
        nn.LayerNorm((3, 2)),
        nn.Softmax(1),
        Own(),
        hooked,
        untracked,
        nn.MaxPool2d(3, stride=1),
        nn.MaxPool2d(2, padding=1),
    ]
    for module in [
        *modules,
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.PReLU(),
    ]:
        assert rule_of(module) is None, module


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
def test_equals_the_general_way(model, monkeypatch, output, baseline):
    rows = table(2, seed=1)[0]
    options = {"scale": output, "baseline": baseline, "references": 3, "tolerance": 0}
    secant_explanation = explained(model, rows, **options, max_steps=128)
    assert secant_explanation.meta["rule"] == "secants of each layer"
    monkeypatch.setattr(SecantLines, "fitting", lambda *_: None)
    by_function = explained(model, rows, **options, max_steps=128)
    assert by_function.meta["rule"] == "secants of each function"
    monkeypatch.setattr(SecantIntegral, "complete", lambda *_: False)
    plain = explained(model, rows, **options, max_steps=512)
    assert plain.meta["rule"] == "midpoint rule over gradients"
    scale = max(secant_explanation.meta["output_range"])
    for path in ("tabular", "image"):
        assert (
            np.abs(secant_explanation.parts[path]).max() > 0.02 * scale
        )  # precondition: the path matters
        for general in (by_function, plain):
            np.testing.assert_allclose(
                secant_explanation.parts[path], general.parts[path], atol=0.004 * scale
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
    assert two_sided.meta["rule"] == "secants of each layer"
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
    assert explanation.meta["completeness_gap"] <= 0.002


def test_a_forward_pass_that_is_not_the_walk_is_noticed(model):
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
    # Replaced on the object, not by a class: found by comparing outputs.
    changed = copy.deepcopy(model)
    forward = changed.module_.forward
    changed.module_.forward = lambda encoded: forward(encoded) + 1
    assert explained(changed, rows).meta["rule"] != "secants of each layer"


@pytest.mark.slow
def test_memory_that_does_not_suffice_is_halved(model, monkeypatch):
    rows = table(8, seed=5)[0]
    full_explanation = explained(model, rows)
    batch_sizes = []
    plain = SecantLines.line_values

    def small(self, rows, line, intervals):
        batch_sizes.append(len(line))
        if len(line) > 2:
            raise MemoryError
        return plain(self, rows, line, intervals)

    monkeypatch.setattr(SecantLines, "line_values", small)
    np.testing.assert_allclose(
        explained(model, rows).values, full_explanation.values, atol=1e-12
    )
    assert max(batch_sizes) > 2
    # A batch smaller than one line cuts the line.
    monkeypatch.setattr(SecantLines, "line_values", plain)
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
