"""Captum objects as ``method=``: their numbers, by the players of the call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from strangers import STRANGERS
from torch import nn

import permgrad as pg

attr = pytest.importorskip("captum.attr")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def case():
    net, inputs, _ = STRANGERS["images_first"]()
    return net.eval(), {
        "image": inputs["image"][:5],
        "clinical": torch.as_tensor(inputs["clinical"][:5]),
    }


def test_gradient_methods_are_added_up_over_players(case):
    net, inputs = case
    explanation = pg.explain(
        pg.Model(net, segments=("grid", 3)),
        inputs,
        method=(attr.IntegratedGradients(net), {"n_steps": 20}),
        target=1,
    )
    image, table = attr.IntegratedGradients(net).attribute(
        tuple(inputs.values()), target=1, n_steps=20
    )
    np.testing.assert_allclose(
        explanation.values[:, -4:, 0], table.detach().numpy(), atol=1e-6
    )
    patch = (
        image.detach().sum(dim=1).reshape(5, 3, 4, 3, 4).sum(dim=(2, 4)).reshape(5, 9)
    )
    np.testing.assert_allclose(explanation.values[:, :9, 0], patch.numpy(), atol=1e-5)
    assert np.abs(explanation.values).max() > 1e-3
    assert explanation.method == "captum.IntegratedGradients"
    assert explanation.outputs == ("1",)


def test_perturbation_methods_move_players_as_one(case):
    net, inputs = case
    explanation = pg.explain(
        pg.Model(net, segments=("grid", 2)), inputs, method=attr.FeatureAblation(net)
    )
    with torch.no_grad():
        base = net(**inputs)
        edited = inputs["image"].clone()
        edited[:, :, :6, :6] = 0
        expected_change = base - net(edited, inputs["clinical"])
    np.testing.assert_allclose(
        explanation.values[:, 0], expected_change.numpy(), atol=1e-6
    )


def test_baselines_are_given_like_the_inputs(case):
    net, inputs = case
    baselines = {
        "clinical": inputs["clinical"][:1] + 1,
        "image": inputs["image"][:1] * 0,
    }
    explanation = pg.explain(
        net,
        inputs,
        method=(attr.IntegratedGradients(net), {"baselines": baselines}),
        target=0,
    )
    with torch.no_grad():
        difference = (net(**inputs) - net(**baselines))[:, 0].numpy()
    np.testing.assert_allclose(
        explanation.values[:, :, 0].sum(axis=1), difference, atol=0.02
    )


def test_options_with_an_entry_for_each_row_go_with_their_rows():
    """More rows than go into one call: each meets its own baseline, as in one call of
    Captum.
    """
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)

    net = Net()
    rows = torch.randn(300, 3)
    baselines = torch.randn(300, 3)
    explanation = pg.explain(
        net,
        rows,
        method=(attr.IntegratedGradients(net), {"baselines": baselines, "n_steps": 8}),
        target=0,
    )
    expected_values = attr.IntegratedGradients(net).attribute(
        rows, baselines=baselines, target=0, n_steps=8
    )
    np.testing.assert_allclose(
        explanation.values[:, :, 0], expected_values.detach().numpy(), atol=1e-6
    )
    small = pg.explain(
        pg.Model(net, batch_size=7),
        rows,
        method=(attr.IntegratedGradients(net), {"baselines": baselines, "n_steps": 8}),
        target=0,
    )
    np.testing.assert_allclose(small.values, explanation.values, atol=1e-6)
    assert not np.allclose(
        explanation.values[256:, :, 0],
        attr.IntegratedGradients(net)
        .attribute(
            rows[256:],
            baselines=baselines[:44],
            target=0,
            n_steps=8,
        )
        .detach()
        .numpy(),
        atol=1e-2,
    )
    # A sample of baselines is whole for every row, also where it has as many rows.
    rows = rows[:40]
    baselines = baselines[:40]
    sample = pg.explain(
        pg.Model(net, batch_size=15),
        rows,
        method=(attr.DeepLiftShap(net), {"baselines": baselines}),
        target=1,
    )
    plain = attr.DeepLiftShap(net).attribute(rows[:5], baselines=baselines, target=1)
    np.testing.assert_allclose(
        sample.values[:5, :, 0], plain.detach().numpy(), atol=1e-5
    )


def test_a_layers_map_is_spread_over_the_one_image():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 4, 3)
            self.head = nn.Linear(4 * 64, 2)

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.convolution(picture)).flatten(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net()
        images = torch.randn(3, 1, 10, 10)
    explanation = pg.explain(
        pg.Model(net, segments="pixels"),
        images,
        method=attr.LayerGradCam(net, net.convolution),
    )
    assert explanation.values.shape == (3, 100, 2)
    heat = attr.LayerGradCam(net, net.convolution).attribute(images, target=0)
    expected_map = attr.LayerAttribution.interpolate(
        heat, (10, 10), interpolate_mode="bilinear"
    )
    np.testing.assert_allclose(
        explanation.values[:, :, 0],
        expected_map.detach().reshape(3, 100).numpy(),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "name",
    [
        "ShapleyValueSampling",
        "KernelShap",
        "Lime",
        "FeaturePermutation",
        "Saliency",
        "DeepLift",
    ],
)
def test_the_usual_ones_run(name, case):
    net, inputs = case
    if name == "DeepLift":
        # Captum cannot follow a rectifier that is no module of its own; it has none
        # here but in the encoder.
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        inputs = inputs["clinical"]
    segments = {"segments": ("grid", 2)} if isinstance(inputs, dict) else {}
    explanation = explain_with(
        net, inputs, method=getattr(attr, name)(net), target=2, **segments
    )
    assert np.isfinite(explanation.values).all()
    assert np.abs(explanation.values).max() > 0


def test_what_cannot_be_used_is_said(case):
    net, inputs = case
    with pytest.raises(
        pg.InputError, match=r"method must be a name.*got int\. Pass for example"
    ):
        pg.explain(net, inputs, method=3)
    with pytest.raises(
        pg.InputError, match=r"got IntegratedGradients\. Pass for example"
    ):
        pg.explain(net, inputs, method=attr.IntegratedGradients)
    with pytest.raises(pg.InputError, match=r"call .to_global\(\) on the result"):
        pg.explain(net, inputs, method=attr.Saliency(net), scope="global")
    with pytest.raises(
        pg.InputError,
        match=r"captum.Occlusion failed on these inputs with .*Pass what it needs "
        r"beside it",
    ):
        pg.explain(net, inputs, method=attr.Occlusion(net))
    views, pair, _ = STRANGERS["list_of_images"]()
    with pytest.raises(
        pg.InputError,
        match="Wrap it in a module whose forward has one parameter for each",
    ):
        pg.explain(views, pair, method=attr.Saliency(views))
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model.fit(rows, rows[:, 0])
    with pytest.raises(pg.InputError, match="does not take an estimator of permgrad"):
        pg.explain(model, rows, method=attr.Saliency(net))


def test_keyword_only_networks_are_refused_by_captum_in_a_sentence():
    net, inputs, _ = STRANGERS["keyword_only"]()
    with pytest.raises(pg.InputError, match=r"captum.Saliency failed on these inputs"):
        pg.explain(net, inputs, method=attr.Saliency(net))


def test_a_captum_object_beside_a_method_of_ours(case):
    net, inputs = case
    explanation = pg.explain(
        net,
        inputs,
        method={"image": attr.Saliency(net), "clinical": "permutation"},
        random_state=0,
        n_repeats=2,
        progress=False,
    )
    assert explanation.meta["methods"] == {
        "image": "captum.Saliency",
        "clinical": "permutation",
    }


def test_an_object_made_for_another_network_is_refused(case):
    net, inputs = case
    stranger, _, _ = STRANGERS["images_first"]()
    with pytest.raises(pg.InputError, match=r"created for another network \(a Net\)"):
        pg.explain(net, inputs, method=attr.Saliency(stranger))
    # The network inside data parallelism is the same network.
    assert (
        pg.explain(
            nn.DataParallel(net), inputs, method=attr.Saliency(net)
        ).values.shape[0]
        == 5
    )


def test_zeros_of_captum_are_not_blamed_on_the_network():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 2, 3)
            self.head = nn.Linear(2 * 16 + 3, 2)

        def forward(self, image: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
            return self.head(
                torch.cat(
                    [torch.relu(self.convolution(image)).flatten(1), table], dim=1
                )
            )

    net = Net()
    inputs = {"image": torch.rand(4, 1, 6, 6), "table": torch.randn(4, 3)}
    with pytest.warns(
        pg.PermgradWarning,
        match="returns nothing for them, even if the model uses them",
    ):
        pg.explain(net, inputs, method=attr.LayerGradCam(net, net.convolution))


# ---- objects that need a sample, or that look at a layer -----------------------------


class Sentences(nn.Module):
    """Looks words up, and needs a number beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 3)
        self.dense = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.dense(self.words(ids)).sum(dim=1)) * age)


def sentences() -> tuple[Sentences, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Sentences(), {"ids": torch.randint(0, 9, (6, 5)), "age": torch.randn(6, 1)}


@pytest.mark.parametrize("given", ["background", "baselines", "rows"])
@pytest.mark.parametrize("kind", [attr.GradientShap, attr.DeepLiftShap])
def test_a_sample_of_baselines_is_the_background(kind, given):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 1))
    rows = 3 * torch.randn(7, 4)
    baseline_rows = torch.randn(5, 4)
    options = {} if given == "rows" else {given: baseline_rows}
    explanation = explain_with(net, rows, method=kind(net), **options)
    sample = rows if given == "rows" else baseline_rows
    expected_sums = (net(rows) - net(sample).mean(dim=0)).detach().numpy()[:, 0]
    assert np.abs(expected_sums).max() > 0.1
    tolerance = 1e-5 if kind is attr.DeepLiftShap else 3 * np.abs(expected_sums).max()
    np.testing.assert_allclose(
        explanation.values.sum(axis=(1, 2)), expected_sums, atol=tolerance
    )


def test_what_an_embedding_gives_each_token_is_added_up():
    net, inputs = sentences()
    inputs = {"ids": inputs["ids"], "age": torch.ones(6, 1)}
    net.forward = lambda ids: Sentences.forward(net, ids, torch.ones(len(ids), 1))  # type: ignore[method-assign]
    layer_method = attr.LayerIntegratedGradients(net, net.words)
    explanation = explain_with(
        net, inputs["ids"], method=layer_method, baselines=0, n_steps=200
    )
    assert explanation.names[0] == "ids[0]"
    zeros = torch.zeros(6, 5, dtype=torch.int64)
    expected_sums = (net(inputs["ids"]) - net(zeros)).detach().numpy()[:, 0]
    assert np.abs(expected_sums).max() > 0.05
    np.testing.assert_allclose(
        explanation.values.sum(axis=(1, 2)), expected_sums, atol=1e-3
    )


def test_a_layers_attributions_are_its_units():
    net, inputs = sentences()
    layer_method = attr.LayerIntegratedGradients(net, net.dense)
    zeros = torch.zeros(1, 5, dtype=torch.int64)
    # The embedding takes no steps between words: what Captum walks along is the dense
    # layer's output.
    with pytest.raises(
        pg.InputError,
        match=r"To explain the units of a layer, also pass layer= with its name",
    ):
        explain_with(
            net,
            inputs,
            method=layer_method,
            baselines={"ids": zeros, "age": torch.ones(1, 1)},
        )
    with pytest.raises(
        pg.InputError, match=r"layer='head' is not the layer .*\. Leave layer= out"
    ):
        pg.explain(pg.Model(net, layer="head"), inputs, method=layer_method)
    with pytest.raises(
        pg.InputError, match=r"layer='dense' is not the layer .*\. Leave layer= out"
    ):
        pg.explain(pg.Model(net, layer="dense"), inputs, method=attr.Saliency(net))
    plain = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    rows = torch.randn(7, 4)
    explanation = pg.explain(
        pg.Model(plain, layer="0"),
        rows,
        method=(attr.LayerIntegratedGradients(plain, plain[0]), {"n_steps": 200}),
    )
    direct = (
        attr.LayerIntegratedGradients(plain, plain[0])
        .attribute(rows, target=0, n_steps=200)
        .detach()
        .numpy()
    )
    assert explanation.names == ("0[0]", "0[1]", "0[2]")
    assert np.abs(direct).max() > 0.01
    np.testing.assert_allclose(explanation.values[:, :, 0], direct, atol=1e-6)


@pytest.mark.parametrize("form", ["halves", "both inputs", "each position", "none"])
def test_the_values_of_a_mask_of_the_users_own_add_up(form):
    from captum.attr import FeatureAblation, ShapleyValues

    torch.manual_seed(0)
    net = nn.Sequential()
    net.score = nn.Linear(16 + 3, 2)
    net.forward = lambda picture, table: net.score(
        torch.cat([picture.flatten(1), table], 1)
    ).tanh()
    inputs = {"picture": torch.rand(3, 1, 4, 4), "table": torch.randn(3, 3)}
    pixels = torch.arange(16).reshape(1, 1, 4, 4)
    columns = torch.arange(3)[None]
    mask = {
        "halves": (pixels // 8, columns + 2),
        "both inputs": (
            torch.zeros_like(pixels),
            torch.tensor([[0, 1, 1]]),
        ),  # a group with a column of the table
        "each position": (pixels, columns + 16),
        "none": None,
    }[form]
    method = (
        FeatureAblation(net)
        if form in ("each position", "none")
        else ShapleyValues(net)
    )
    torch.manual_seed(0)
    explanation = explain_with(
        net, inputs, method=method, progress=False, returns="values", feature_mask=mask
    )
    torch.manual_seed(0)
    theirs = type(method)(net).attribute(
        tuple(inputs.values()), feature_mask=mask, target=1
    )
    flat = torch.cat([tensor.flatten(1) for tensor in theirs], 1)
    ids = (
        torch.arange(19)
        if mask is None
        else torch.cat([input_mask.flatten() for input_mask in mask])
    )
    groups = torch.stack(
        [flat[:, torch.nonzero(ids == group_id)[0, 0]] for group_id in ids.unique()], 1
    )
    assert groups.abs().sum() > 0.5
    np.testing.assert_allclose(
        explanation.values[:, :, 1].sum(axis=1), groups.sum(1).numpy(), atol=1e-5
    )
    if form == "halves":
        with torch.no_grad():
            zeros = net.forward(*(0 * tensor for tensor in inputs.values()))
            total_change = (net.forward(*inputs.values()) - zeros)[:, 1]
        np.testing.assert_allclose(
            explanation.values[:, :, 1].sum(axis=1), total_change.numpy(), atol=1e-5
        )
