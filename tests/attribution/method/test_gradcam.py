"""Class activation maps: the papers' formulas written again row by row in float64,
Captum, and what must not change.
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
from replicates import replicates

import permgrad as pg
from permgrad.attribution.explain import explain
from permgrad.attribution.maps.drawn import VARIANTS, cam_layer, enlarged, pixel_shares
from permgrad.base.errors import InputError, PermgradWarning
from permgrad.imaging import ForeignRenderer

NETWORK = {
    "dense_units": [8],
    "conv_filters": [4, 6],
    "fusion_units": [8],
    "image_channels": 2,
}
CLASSES = ("blue", "green", "red")


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Four numbers and a category; three classes that depend on all but the last
    number.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=["a", "b", "c", "d"])
    frame["kind"] = rng.choice(["p", "q", "r"], rows)
    score = np.stack(
        [frame["a"], frame["b"] * frame["c"], (frame["kind"] == "q") * 1.0], axis=1
    )
    return frame, np.array(CLASSES)[score.argmax(axis=1)]


@pytest.fixture(scope="module")
def model() -> pg.HyNNClassifier:
    """A small trained classifier; its module is float64 so that twins can be compared
    closely.
    """
    X, y = table(300)
    fitted = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=NETWORK,
        pixels=8,
        max_epochs=4,
        random_state=0,
        progress=False,
    ).fit(X, y)
    fitted.module_.double()
    return fitted


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return table(17, seed=1)[0]


def explained(model, rows, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PermgradWarning)
        return explain_with(
            model, rows, method="gradcam", progress=False, random_state=0, **options
        )


# ---- the papers again ----------------------------------------------------------------


@replicates("gradcam")
def twin(
    model,
    row: np.ndarray,
    target: int,
    *,
    variant: str,
    output: str,
    activation: bool,
    relu: bool,
) -> np.ndarray:
    """One row, one class, loops over channels and cells; returns the map at the layer's
    size.
    """
    net = model.module_
    chain = list(net.image_branch)
    last_convolution = (
        max(i for i, layer in enumerate(chain) if isinstance(layer, torch.nn.Conv2d))
        + activation
    )
    row_tensor = torch.as_tensor(row, dtype=torch.float64)[None]
    values = net.renderer(row_tensor)
    for step in chain[: last_convolution + 1]:
        values = step(values)
    layer_output = values
    layer_output.retain_grad()
    for step in chain[last_convolution + 1 :]:
        values = step(values)
    logits = net.head(torch.cat([net.table_branch(row_tensor), values], dim=1))
    score = (
        torch.softmax(logits, dim=1)[0, target]
        if output == "probability"
        else logits[0, target]
    )
    score.backward()
    net.zero_grad()
    A = layer_output.detach().numpy()[0]
    g = layer_output.grad.numpy()[0]
    channels, height, width = A.shape
    result = np.zeros((height, width))
    for k in range(channels):
        alpha = sum(g[k, i, j] for i in range(height) for j in range(width)) / (
            height * width
        )
        for i in range(height):
            for j in range(width):
                weight = {
                    "gradcam": alpha,
                    "hirescam": g[k, i, j],
                    "layercam": max(g[k, i, j], 0.0),
                }[variant]
                result[i, j] += weight * A[k, i, j]
    return np.maximum(result, 0) if relu else result


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("output", "activation"), [("raw", True), ("probability", True), ("raw", False)]
)
def test_maps_equal_the_papers(model, rows, variant, output, activation):
    got = explained(
        model,
        rows[:6],
        variant=variant,
        scale=output,
        upsample="none",
        before_activation=not activation,
    ).maps["cam"]
    encoded = model.encode_rows(rows[:6]).encoded
    want = np.stack(
        [
            [
                twin(
                    model,
                    row,
                    target,
                    variant=variant,
                    output=output,
                    activation=activation,
                    relu=variant != "hirescam",
                )
                for target in range(3)
            ]
            for row in encoded
        ]
    )
    assert (
        np.abs(want) > 1e-6
    ).mean() > 0.2  # precondition: there is something to compare
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


def test_equals_captum(model, rows):
    captum = pytest.importorskip("captum.attr")
    net = model.module_
    encoded = torch.as_tensor(model.encode_rows(rows).encoded).double()
    for before in (False, True):
        layer = cam_layer(net, before_activation=before).before[-1]
        peer = captum.LayerGradCam(net, layer)
        got = explained(model, rows, upsample="none", before_activation=before).maps[
            "cam"
        ]
        for target in range(3):
            want = (
                peer.attribute(encoded, target=target, relu_attributions=True)
                .detach()
                .numpy()[:, 0]
            )
            assert want.max() > 0
            np.testing.assert_allclose(
                got[:, target], want, rtol=1e-5, atol=1e-6 * want.max()
            )


def test_hirescam_before_flatten_is_gradient_times_input(model, rows):
    """The sum of HiResCAM's cells is Σ g·A: exactly what a linear rest of the network
    would compute from the layer.
    """
    got = explained(model, rows, variant="hirescam", upsample="none")
    assert (got.maps["cam"] < 0).any()
    assert not got.meta["rectified"]
    rectified = explained(model, rows, variant="hirescam", upsample="none", relu=True)
    np.testing.assert_allclose(
        rectified.maps["cam"], np.maximum(got.maps["cam"], 0), atol=1e-12
    )


def test_maps_of_different_classes_differ(model, rows):
    maps = explained(model, rows).maps["cam"]
    scaled = maps / maps.max(axis=(2, 3), keepdims=True).clip(1e-12)
    assert np.abs(scaled[:, 0] - scaled[:, 1]).max() > 0.2
    assert np.abs(scaled[:, 1] - scaled[:, 2]).max() > 0.2


# ---- from maps to features -----------------------------------------------------------


def test_values_are_the_maps_mass_on_the_features_pixels(model, rows):
    explanation = explained(model, rows[:4])
    influence = model.module_.renderer.influence().double().numpy()
    features = model.preprocessor_.features("feature")
    total = influence.sum(axis=0)
    assert (total == 0).any()  # precondition: some pixels are background
    for row in range(4):
        for output in range(3):
            grid = explanation.maps["cam"][row, output].astype(float)
            for feature_index, columns in enumerate(features.values()):
                want = 0.0
                for column in columns:
                    for i, j in np.argwhere(influence[column] > 0):
                        want += grid[i, j] * influence[column, i, j] / total[i, j]
                assert explanation.values[row, feature_index, output] == pytest.approx(
                    want, rel=1e-5, abs=1e-7
                )


def test_mass_on_background_is_reported(model, rows):
    explanation = explained(model, rows)
    mass = explanation.maps["cam"].astype(float).sum(axis=(0, 2, 3))
    for class_index, name in enumerate(explanation.outputs):
        share = explanation.meta["background_share"][name]
        assert share == pytest.approx(
            1 - explanation.values[:, :, class_index].sum() / mass[class_index],
            abs=1e-5,
        )
        assert 0 < share < 1


@pytest.mark.parametrize("upsample", ["bilinear", "nearest", "none"])
def test_upsampling(model, rows, upsample):
    explanation = explained(model, rows, upsample=upsample)
    size = (4, 4) if upsample == "none" else (8, 8)
    assert explanation.maps["cam"].shape == (len(rows), 3, *size)
    assert explanation.maps["images"].shape == (len(rows), 8, 8)
    assert np.isfinite(explanation.values).all()
    if upsample == "nearest":
        small = explained(model, rows, upsample="none")
        np.testing.assert_allclose(
            explanation.maps["cam"],
            small.maps["cam"].repeat(2, axis=2).repeat(2, axis=3),
        )
        np.testing.assert_allclose(explanation.values, small.values)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["bilinear", "nearest"]),
)
def test_enlarging_keeps_constants_and_range(height, width, tall, wide, how):
    cells = torch.eye(height * width).reshape(height * width, 1, height, width)
    matrix = enlarged(cells, (tall, wide), how).flatten(1)
    assert matrix.shape == (height * width, tall * wide)
    assert bool((matrix >= 0).all())
    torch.testing.assert_close(matrix.sum(dim=0), torch.ones(tall * wide))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_pixel_shares_share_out_what_is_reached(columns, seed):
    rng = np.random.default_rng(seed)
    influence = torch.as_tensor(
        rng.random((columns, 4, 5)) * (rng.random((columns, 4, 5)) < 0.4)
    )
    cut = rng.integers(0, columns + 1)
    shares = pixel_shares(influence, [np.arange(cut), np.arange(cut, columns)])
    reached = (influence.sum(dim=0) > 0).flatten().double()
    torch.testing.assert_close(shares.sum(dim=0), reached)


def test_maps_can_be_left_out(model, rows):
    explanation = explained(model, rows, maps=False)
    assert explanation.maps == {}
    np.testing.assert_allclose(
        explanation.values, explained(model, rows).values, atol=1e-12
    )


# ---- nothing there, bad input --------------------------------------------------------


def test_an_ignored_image_gives_zeros_and_a_warning(model, rows):
    blind = copy.deepcopy(model)
    with torch.no_grad():
        blind.module_.head[0].weight[:, blind.module_.widths["tabular"] :] = 0
    with pytest.warns(
        PermgradWarning,
        match=r"51 of 51 class activation maps at layer 'conv2' are all zero",
    ):
        explanation = explain(blind, rows, method="gradcam", progress=False)
    assert not explanation.values.any()
    assert not explanation.maps["cam"].any()
    assert explanation.meta["background_share"] == dict.fromkeys(CLASSES)
    assert explanation.meta["empty_maps"] == dict.fromkeys(CLASSES, len(rows))


def test_foreign_pictures_have_maps_but_no_feature_values(model, rows):
    foreign = copy.deepcopy(model)
    model_renderer = foreign.module_.renderer
    foreign.module_.renderer = ForeignRenderer(
        lambda X: model_renderer(torch.as_tensor(X)).numpy(), channels_last=False
    )
    with pytest.warns(
        PermgradWarning,
        match="images are drawn by a function of the user, so gradcam returns maps",
    ):
        explanation = explain(foreign, rows, method="gradcam", progress=False)
    np.testing.assert_allclose(
        explanation.maps["cam"],
        explained(model, rows).maps["cam"],
        rtol=1e-5,
        atol=1e-8,
    )
    assert np.isnan(explanation.values).all()


def test_wrong_options_list_the_known_ones(model, rows):
    with pytest.raises(InputError) as error:
        explained(model, rows, variant="gradcamm")
    assert error.value.message == (
        "variant cannot be 'gradcamm'. Did you mean 'gradcam'?"
    )
    with pytest.raises(InputError, match=r"No layer 'conv3'. Did you mean 'conv2'"):
        explained(model, rows, layer="conv3")
    with pytest.raises(
        InputError, match=r"upsample must be one of 'bilinear', 'nearest', 'none'"
    ):
        explained(model, rows, upsample="cubic")
    with pytest.raises(
        InputError, match=r"relu must be 'auto', True or False, got 'yes'"
    ):
        explained(model, rows, relu="yes")


def test_a_network_without_image_path_is_refused(rows):
    X, y = table(60)
    tabular = pg.HyNNClassifier(
        branches=("tabular",),
        preset="fast",
        network=NETWORK,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(X, y)
    with pytest.raises(
        InputError,
        match="need a network with the image branch, which this one does not have",
    ):
        explained(tabular, rows)


# ---- nothing of the user's changes ---------------------------------------------------


def state(module: torch.nn.Module) -> list[object]:
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    module_state: list[object] = [
        [len(getattr(submodule, name)) for name in hooks]
        for submodule in module.modules()
    ]
    module_state += [submodule.training for submodule in module.modules()]
    module_state += [
        (p.requires_grad, p.grad is None, p.detach().clone().numpy().tobytes())
        for p in module.parameters()
    ]
    return module_state


@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_no_mode_no_gradient_is_left(model, rows, fails, monkeypatch):
    module = copy.deepcopy(model)
    module.module_.train()
    before = state(module.module_)
    if fails:
        monkeypatch.setattr(type(module.module_), "fuse", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            explained(module, rows)
    else:
        explained(module, rows)
    assert state(module.module_) == before


def test_batches_do_not_matter(model, rows):
    full_explanation = explained(model, rows, batch_size=1000)
    for size in (1, 5):
        batched_explanation = explained(model, rows, batch_size=size)
        np.testing.assert_allclose(
            batched_explanation.values, full_explanation.values, atol=1e-10
        )
        np.testing.assert_allclose(
            batched_explanation.maps["cam"], full_explanation.maps["cam"], atol=1e-6
        )


def test_memory_that_does_not_suffice_halves_the_batch(model, rows, monkeypatch):
    real = type(model.module_).fuse
    batch_sizes = []

    def scarce(self, embeddings):
        batch_sizes.append(len(embeddings["image"]))
        if batch_sizes[-1] > 4:
            raise torch.OutOfMemoryError
        return real(self, embeddings)

    full_explanation = explained(model, rows)
    monkeypatch.setattr(type(model.module_), "fuse", scarce)
    batched_explanation = explained(model, rows, batch_size=16)
    assert batch_sizes[:3] == [16, 8, 4]
    np.testing.assert_allclose(
        batched_explanation.values, full_explanation.values, atol=1e-10
    )
    assert batched_explanation.meta["empty_maps"] == full_explanation.meta["empty_maps"]


def test_targets_and_surroundings(model, rows):
    every = explained(model, rows, scale="probability")
    selected_explanation = explained(
        model, rows, scale="probability", target=[2, "blue"]
    )
    assert selected_explanation.outputs == ("red", "blue")
    # The last of all classes is computed as minus the sum of the others; asked for
    # alone, it is computed itself.
    np.testing.assert_allclose(
        selected_explanation.values, every.values[:, :, [2, 0]], rtol=1e-6, atol=1e-10
    )
    with torch.inference_mode():
        inside = explained(model, rows, scale="probability")
    np.testing.assert_allclose(inside.values, every.values, atol=1e-12)
    with torch.no_grad():
        want = torch.softmax(
            model.module_(torch.as_tensor(model.encode_rows(rows).encoded).double()),
            dim=1,
        )
    np.testing.assert_allclose(every.predictions, want, atol=1e-10)


def test_any_layer(model, rows):
    first = explained(model, rows, layer="conv1")
    last = explained(model, rows, layer="conv2")
    assert explained(model, rows).meta["layer"] == "conv2"
    assert explained(model, rows, layer="conv1", upsample="none").maps["cam"].shape[
        2:
    ] == (8, 8)
    assert np.abs(first.values - last.values).max() > 1e-6
