"""Class activation maps of any network: the papers' formulas by hand, Captum, shared
encoders, and what is refused.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg
from permgrad.attribution.maps.called import listening
from permgrad.attribution.maps.drawn import enlarged
from permgrad.attribution.maps.heard import Listener

ROWS = 6


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


def explain(net: nn.Module, rows, **options) -> pg.Explanation:
    return explain_with(net, rows, method="gradcam", progress=False, **options)


def chain(channels: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 3),
    )  # fmt: skip


class Shared(nn.Module):
    """Two images through one encoder, called right first, beside a table."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 8),
        )
        self.head = nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 2))

    def forward(self, left: Tensor, right: Tensor, table: Tensor) -> Tensor:
        of_right = self.encoder(right)
        return self.head(torch.cat([self.encoder(left), of_right, table], dim=1))


def shared_inputs() -> dict[str, Tensor]:
    return {
        "left": drawn(ROWS, 1, 8, 8),
        "right": drawn(ROWS, 1, 8, 8, seed=1),
        "table": drawn(ROWS, 4, seed=2),
    }


# ---- the formulas by hand ------------------------------------------------------------


def map_by_hand(values: Tensor, slopes: Tensor, variant: str) -> np.ndarray:
    """Return one row's map from its activations and gradients, ``(channels, h, w)``
    each, cell by cell.
    """
    channels, height, width = values.shape
    cells = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                slope = {
                    "gradcam": float(slopes[channel].mean()),
                    "hirescam": float(slopes[channel, row, column]),
                    "layercam": max(float(slopes[channel, row, column]), 0.0),
                }[variant]
                cells[row, column] += slope * float(values[channel, row, column])
    return cells if variant == "hirescam" else np.maximum(cells, 0)


@pytest.mark.parametrize("output", ["raw", "probability"])
@pytest.mark.parametrize("variant", ["gradcam", "hirescam", "layercam"])
def test_equals_the_formula(variant, output):
    net = seeded(chain)
    images = drawn(ROWS, 1, 14, 14)
    explanation = explain(net, images, variant=variant, scale=output, upsample="none")
    assert explanation.meta["layer"] == {"input": "4"}
    slow = np.zeros((ROWS, 3, 4, 4))
    for row in range(ROWS):
        for target in range(3):
            values = net[:5](images[row : row + 1]).detach().requires_grad_()
            outputs = net[5:](values)
            outputs = (
                torch.softmax(outputs, dim=1) if output == "probability" else outputs
            )
            (slopes,) = torch.autograd.grad(outputs[0, target], values)
            slow[row, target] = map_by_hand(values[0].detach(), slopes[0], variant)
    assert np.abs(slow).max() > 1e-4
    assert np.abs(slow[:, 0] - slow[:, 1]).max() > 1e-5
    np.testing.assert_allclose(
        explanation.maps["maps:input"], slow, rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize(
    ("layer", "before"), [(None, True), (None, False), ("0", False), ("2", False)]
)
def test_equals_captum(layer, before):
    captum = pytest.importorskip("captum.attr")
    net = seeded(chain)
    images = drawn(ROWS, 1, 14, 14)
    explanation = explain(
        net, images, layer=layer, before_activation=before, upsample="none"
    )
    layer_index = {(None, True): 3, (None, False): 4, ("0", False): 1, ("2", False): 2}[
        layer, before
    ]
    for target in range(3):
        theirs = captum.LayerGradCam(net, net[layer_index]).attribute(
            images, target=target, relu_attributions=True
        )
        theirs = theirs[:, 0].detach().numpy()
        assert np.abs(theirs).max() > 1e-4
        np.testing.assert_allclose(
            explanation.maps["maps:input"][:, target], theirs, rtol=1e-5, atol=1e-8
        )


def test_values_are_means_over_the_players_pixels():
    net = seeded(lambda: chain(2))
    images = drawn(ROWS, 2, 14, 14)
    explanation = explain(net, images, segments={"input": ("grid", 2)})
    maps = explanation.maps["maps:input"]
    assert maps.shape == (ROWS, 3, 14, 14)
    assert explanation.maps["images:input"].shape == (ROWS, 2, 14, 14)
    slow = (
        maps.reshape(ROWS, 3, 2, 7, 2, 7)
        .mean(axis=(3, 5))
        .reshape(ROWS, 3, 4)
        .transpose(0, 2, 1)
    )
    assert np.abs(slow).max() > 1e-4
    np.testing.assert_allclose(explanation.values, slow, rtol=1e-5, atol=1e-8)
    modality_explanation = explain(net, images, groups="modality")
    np.testing.assert_allclose(
        modality_explanation.values[:, 0], maps.mean(axis=(2, 3)), rtol=1e-5, atol=1e-8
    )


def test_maps_of_pixels_are_the_values():
    net = seeded(chain)
    images = drawn(ROWS, 1, 14, 14)
    explanation = explain(net, images, segments={"input": "pixels"})
    np.testing.assert_allclose(
        explanation.values.transpose(0, 2, 1).reshape(ROWS, 3, 14, 14),
        explanation.maps["maps:input"],
        rtol=1e-6,
        atol=1e-9,
    )


# ---- which call belongs to which image -----------------------------------------------


def test_a_shared_encoder_has_a_map_for_each_image():
    net = seeded(Shared)
    rows = shared_inputs()
    explanation = explain(net, rows, upsample="none")
    # The activation behind the normalisation, and the second call for the image that
    # comes first.
    assert explanation.meta["layer"] == {
        "left": "encoder.2 (call 2)",
        "right": "encoder.2",
    }
    assert explanation.meta["without_map"] == ["table"]
    assert set(explanation.modality) == {"left", "right"}
    values = {
        name: net.encoder[:3](rows[name]).detach().requires_grad_()
        for name in ("left", "right")
    }
    encoded = {
        name: net.encoder[3:](layer_output) for name, layer_output in values.items()
    }
    outputs = net.head(
        torch.cat([encoded["left"], encoded["right"], rows["table"]], dim=1)
    )
    for target in (0, 1):
        for name, activations in values.items():
            (slopes,) = torch.autograd.grad(
                outputs[:, target].sum(), activations, retain_graph=True
            )
            slow = (
                (slopes.mean(dim=(2, 3), keepdim=True) * activations)
                .sum(dim=1)
                .clamp_min(0)
                .detach()
                .numpy()
            )
            np.testing.assert_allclose(
                explanation.maps[f"maps:{name}"][:, target], slow, rtol=1e-5, atol=1e-8
            )
    assert (
        np.abs(explanation.maps["maps:left"] - explanation.maps["maps:right"]).max()
        > 1e-4
    )


@pytest.mark.parametrize("layer", ["encoder", "encoder.0", "encoder.1"])
def test_named_layers_of_a_shared_encoder(layer):
    net = seeded(Shared)
    rows = shared_inputs()
    if layer == "encoder":
        with pytest.raises(
            pg.InputError,
            match=r"got \(6, 8\) from layer 'encoder' for 6 rows\. Pass method=pg\.methods\.GradCam\(layer=",
        ):
            explain(net, rows, layer=layer)
        return
    explanation = explain(net, rows, layer=layer, before_activation=True)
    assert explanation.meta["layer"] == {"left": f"{layer} (call 2)", "right": layer}


def test_images_of_whole_numbers_are_told_apart_by_changing_them():
    class Bytes(Shared):
        def forward(self, left: Tensor, right: Tensor, table: Tensor) -> Tensor:
            return super().forward(left.double() / 255, right.double() / 255, table)

    generator = torch.Generator().manual_seed(0)
    rows = shared_inputs() | {
        name: torch.randint(
            0, 256, (ROWS, 1, 8, 8), dtype=torch.uint8, generator=generator
        )
        for name in ("left", "right")
    }
    net = seeded(Bytes)
    explanation = explain(net, rows)
    assert explanation.meta["layer"] == {
        "left": "encoder.2 (call 2)",
        "right": "encoder.2",
    }
    same = explain(
        seeded(Shared),
        {
            name: image_values.double() / (255 if name != "table" else 1)
            for name, image_values in rows.items()
        },
    )
    np.testing.assert_allclose(explanation.values, same.values, rtol=1e-6, atol=1e-9)


def test_an_image_without_a_convolution_has_no_map():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 2, 3)
            self.dense = nn.Linear(64, 5)
            self.head = nn.Linear(77, 2)

        def forward(self, seen: Tensor, flat: Tensor) -> Tensor:
            return self.head(
                torch.cat(
                    [self.convolution(seen).flatten(1), self.dense(flat.flatten(1))],
                    dim=1,
                )
            )

    rows = {"seen": drawn(ROWS, 1, 8, 8), "flat": drawn(ROWS, 8, 8, seed=1)}
    explanation = explain(seeded(Half), rows)
    assert explanation.meta["without_map"] == ["flat"]
    assert set(explanation.modality) == {"seen"}


def test_series_and_images_without_channels():
    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv1d(3, 4, 3, stride=2)
            self.head = nn.Linear(4 * 7, 2)

        def forward(self, series: Tensor) -> Tensor:
            return self.head(torch.relu(self.convolution(series)).flatten(1))

    explanation = explain(
        seeded(Series),
        drawn(ROWS, 3, 16),
        upsample="nearest",
        segments={"series": "pixels"},
    )
    maps = explanation.maps["maps:series"]
    assert maps.shape == (ROWS, 2, 3, 16)
    assert np.abs(maps).max() > 1e-4
    np.testing.assert_array_equal(maps[:, :, 0], maps[:, :, 2])

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = chain()

        def forward(self, scan: Tensor) -> Tensor:
            return self.net(scan.unsqueeze(1))

    flat = seeded(Flat)
    images = drawn(ROWS, 14, 14)
    explanation = explain(flat, images)
    np.testing.assert_allclose(
        explanation.maps["maps:scan"],
        explain(flat.net, images[:, None]).maps["maps:input"],
        atol=1e-8,
    )


# ---- what must not change, and what is refused ---------------------------------------


def test_batches_change_nothing():
    net = seeded(Shared)
    rows = shared_inputs()
    full_explanation = explain(net, rows)
    for size in (1, 4):
        np.testing.assert_allclose(
            explain(net, rows, batch_size=size).values,
            full_explanation.values,
            rtol=1e-6,
            atol=1e-9,
        )
    row_explanation = explain(
        net, {name: input_rows[3:4] for name, input_rows in rows.items()}
    )
    np.testing.assert_allclose(
        row_explanation.values[0], full_explanation.values[3], rtol=1e-6, atol=1e-9
    )


class Activated(nn.Module):
    """A convolution, a normalisation or none, and an activation however it is called;
    two images share them.
    """

    def __init__(self, activation, *, normalised: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4) if normalised else nn.Identity()
        self.act = activation
        self.head = nn.Linear(2 * 144, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(
            torch.cat(
                [
                    self.act(self.norm(self.conv(image))).flatten(1)
                    for image in (right, left)
                ],
                dim=1,
            )
        )


def in_place(values: Tensor) -> Tensor:
    values.relu_()
    return values


@pytest.mark.parametrize(("requires", "normalised"), [(True, False), (False, True)])
@pytest.mark.parametrize(
    ("called", "module"),
    [
        (functional.relu, nn.ReLU()),
        (lambda values: functional.relu(values, inplace=True), nn.ReLU()),
        (lambda values: functional.relu(input=values), nn.ReLU()),
        (torch.relu, nn.ReLU()),
        (lambda values: values.relu(), nn.ReLU()),
        (in_place, nn.ReLU()),
        (functional.gelu, nn.GELU()),
        (functional.silu, nn.SiLU()),
        (torch.tanh, nn.Tanh()),
        (lambda values: values.sigmoid(), nn.Sigmoid()),
        (lambda values: functional.leaky_relu(values, 0.1), nn.LeakyReLU(0.1)),
    ],
)
def test_functions_are_activations_as_modules_are(called, module, requires, normalised):
    nets = [
        seeded(lambda own=activation: Activated(own, normalised=normalised))
        for activation in (called, module)
    ]
    rows = {"left": drawn(ROWS, 1, 8, 8), "right": drawn(ROWS, 1, 8, 8, seed=1)}
    behind, twin = (
        explain(net.requires_grad_(requires), rows, segments=("grid", 2))
        for net in nets
    )
    np.testing.assert_array_equal(behind.values, twin.values)
    before = explain(nets[0], rows, segments=("grid", 2), before_activation=True)
    assert not np.allclose(before.values, twin.values), (
        "the precondition: where the map is read matters"
    )
    same = explain(nets[1], rows, segments=("grid", 2), before_activation=True)
    np.testing.assert_array_equal(before.values, same.values)
    assert behind.meta["layer"]["left"].startswith("norm (call 2), ")
    assert twin.meta["layer"] == {"left": "act (call 2)", "right": "act"}


@pytest.mark.parametrize("requires", [True, False])
def test_hooks_are_gone_and_users_hooks_stay(requires):
    net = seeded(Shared).requires_grad_(requires)
    rows = shared_inputs()
    heard = []
    handle = net.encoder[0].register_forward_hook(lambda *_: heard.append(1))
    before = {
        name: len(submodule._forward_hooks) for name, submodule in net.named_modules()
    }
    explain(net, rows)
    assert heard
    assert {
        name: len(submodule._forward_hooks) for name, submodule in net.named_modules()
    } == before
    handle.remove()


def test_hooks_are_gone_after_an_error_while_they_are_set():
    net = seeded(Shared)

    class Refusing(nn.ReLU):
        def register_forward_hook(self, *arguments, **options):
            raise RuntimeError

    layers = {"first": net.encoder[0], "second": Refusing()}
    with pytest.raises(RuntimeError), listening(layers, Listener()):
        pass
    assert not net.encoder[0]._forward_hooks


def test_empty_maps_are_zero_and_told():
    net = seeded(chain)
    with torch.no_grad():
        net[8].weight.zero_()
    with pytest.warns(
        pg.PermgradWarning,
        match=r"18 of 18 class activation maps of 'input' at layer '4' are all zero",
    ):
        explanation = explain(net, drawn(ROWS, 1, 14, 14))
    assert (explanation.values == 0).all()
    assert not np.isnan(explanation.maps["maps:input"]).any()


def test_maps_can_be_left_out():
    net = seeded(chain)
    images = drawn(ROWS, 1, 14, 14)
    without = explain(net, images, maps=False)
    assert not without.maps
    np.testing.assert_array_equal(without.values, explain(net, images).values)


@pytest.mark.parametrize(
    ("build", "rows", "options", "message"),
    [
        (
            lambda: nn.Linear(4, 2),
            (ROWS, 4),
            {},
            r"needs an image that enters a convolution .*, got input \(6, 4\)",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
            (ROWS, 4, 4),
            {},
            "finds no convolution of 'input'",
        ),
        (chain, (ROWS, 1, 14, 14), {"layer": "9"}, "layer must be one of '0', '1'"),
        (chain, (ROWS, 1, 14, 14), {"variant": "gradcan"}, "Did you mean 'gradcam'"),
        (
            chain,
            (ROWS, 1, 14, 14),
            {"upsample": "cubic"},
            "upsample must be one of 'bilinear', 'nearest', 'none'",
        ),
        (
            chain,
            (ROWS, 1, 14, 14),
            {"maps": "some"},
            "maps must be 'auto', True or False, got 'some'",
        ),
    ],
)
def test_refusals(build, rows, options, message):
    with pytest.raises(pg.InputError, match=message):
        explain(seeded(build), drawn(*rows), **options)


def test_a_layer_that_sees_no_image_is_refused():
    class Beside(Shared):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Linear(4, 4)

        def forward(self, left: Tensor, right: Tensor, table: Tensor) -> Tensor:
            return super().forward(left, right, self.table(table))

    with pytest.raises(
        pg.InputError,
        match=r"layer 'table' does not depend on 'left' or 'right'\. Name a layer of "
        r"its",
    ):
        explain(seeded(Beside), shared_inputs(), layer="table")


def test_the_result_can_be_saved_and_drawn(tmp_path):
    net = seeded(Shared)
    rows = shared_inputs()
    explanation = explain(net, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation.save(tmp_path / "maps")
        again = pg.Explanation.load(tmp_path / "maps")
        np.testing.assert_array_equal(
            again.maps["maps:left"], explanation.maps["maps:left"]
        )
        again.plot.image(row=1, input="right", target=1)


def test_cells_lie_in_the_middle_of_what_they_cover_when_maps_are_enlarged():
    cells = torch.tensor([[[0.0, 1.0]]])
    np.testing.assert_allclose(
        enlarged(cells, (1, 4), "bilinear")[0, 0], [[0.0, 0.25, 0.75, 1.0]]
    )
    np.testing.assert_allclose(
        enlarged(cells, (2, 4), "nearest")[0, 0], [[0.0, 0.0, 1.0, 1.0]] * 2
    )


def test_what_keeps_the_padding_of_a_row_is_no_picture():
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 4, padding_idx=0)
            self.head = nn.Linear(4, 2)

        def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.head((self.words(ids) * attention_mask[..., None]).sum(dim=1))

    ids = torch.randint(1, 9, (5, 6))
    ids[2:, 4:] = 0
    rows = {"ids": ids, "attention_mask": (ids > 0).long()}
    with pytest.raises(pg.InputError, match="gradcam needs an image") as refusal:
        pg.explain(
            pg.Model(Text(), returns="logits", hold="attention_mask"),
            rows,
            method="gradcam",
            progress=False,
        )
    assert "ids (5, 6), attention_mask (5, 6). Choose" in str(refusal.value)
