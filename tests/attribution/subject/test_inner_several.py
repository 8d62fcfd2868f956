"""``layer=[...]``: the outputs of several layers in the place of the inputs, against
closed forms and Captum.
"""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

ROWS = 5


class Product(nn.Module):
    """The product of two branches, unit by unit, beside an input that no layer named
    here reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Linear(2, 4)

    def forward(self, one: Tensor, two: Tensor, three: Tensor) -> Tensor:
        return (self.left(one) * self.right(two) * three).sum(dim=1, keepdim=True)


class Note(nn.Module):
    """Words that are looked up twice, an image and a table."""

    def __init__(self, *, untraceable: bool = False) -> None:
        super().__init__()
        self.untraceable = untraceable
        self.words = nn.Embedding(20, 4)
        self.encoder = nn.Linear(4, 5)
        self.image = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
        )
        self.head = nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 2))

    def forward(self, ids: Tensor, image: Tensor, table: Tensor) -> Tensor:
        words = torch.tanh(self.encoder(self.words(ids))).mean(dim=1)
        if self.untraceable and float(words.sum()) > 1e9:
            words = -words
        return self.head(torch.cat([words, self.image(image), table], dim=1))


@pytest.fixture(scope="module")
def rows() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(1)
    return {
        "ids": torch.randint(0, 20, (ROWS, 6), generator=source),
        "image": torch.randn(ROWS, 1, 6, 6, generator=source).double(),
        "table": torch.randn(ROWS, 3, generator=source).double(),
    }


def seeded(make: type[nn.Module], **options: bool) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(**options).double()


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift", "shapley"])
@pytest.mark.parametrize("background", [False, True])
def test_the_parts_of_a_product_are_halves(method, background):
    """Of ``a · b`` both get half of ``a b − a₀ b₀`` and what one more than the other
    moved: Shapley's values.
    """
    if method == "shapley" and not background:
        pytest.skip("is played against background rows")
    net = seeded(Product)
    source = torch.Generator().manual_seed(2)
    first_input, two, three = (
        torch.randn(ROWS, count, generator=source).double() for count in (3, 2, 4)
    )
    baseline_tensors = tuple(
        torch.randn(1, count, generator=source).double() for count in (3, 2, 4)
    )
    options = {"background": baseline_tensors} if background else {}
    explanation = explain_with(
        net,
        (first_input, two, three),
        method=method,
        progress=False,
        layer=["left", "right"],
        **options,
    )
    with torch.no_grad():
        a = net.left(first_input)
        b = net.right(two)
        a0, b0 = (
            (net.left(baseline_tensors[0]), net.right(baseline_tensors[1]))
            if background
            else (0 * a, 0 * b)
        )
        expected_values = (
            torch.cat([(a - a0) * (b + b0), (b - b0) * (a + a0)], dim=1)
            / 2
            * torch.cat([three, three], dim=1)
        )
    assert explanation.names[:1] + explanation.names[-1:] == ("left[0]", "right[3]")
    assert explanation.modality == ("one",) * 4 + ("two",) * 4
    assert expected_values.abs().max() > 0.1
    np.testing.assert_allclose(
        explanation.values[..., 0], expected_values.numpy(), atol=1e-12
    )


@pytest.mark.parametrize("untraceable", [False, True])
def test_several_layers_as_captum_does(rows, untraceable):
    """Layers of other shapes, one of whole numbers behind it, with and without a cut of
    the network.
    """
    net = seeded(Note, untraceable=untraceable)
    layers = ["image.3", "words"]
    explanation = pg.explain(
        pg.Model(net, layer=layers, returns="logits"),
        rows,
        method=pg.methods.IntegratedGradients(tolerance=1e-7),
        target=1,
        scale="raw",
        progress=False,
    )
    net.eval()
    gradients = captum.attr.LayerIntegratedGradients(net, [net.image[3], net.words])
    # Zeros at the layers, which Captum takes as what the layers give for zeros: there
    # are no ids of a zero vector.
    nodes, node_weights = np.polynomial.legendre.leggauss(40)
    sums = None
    with torch.no_grad():
        image = net.image(rows["image"])
        words = net.words(rows["ids"])
    for node, node_weight in zip((nodes + 1) / 2, node_weights / 2, strict=True):
        points = [(tensor * float(node)).requires_grad_() for tensor in (image, words)]
        hidden = torch.tanh(net.encoder(points[1])).mean(dim=1)
        output = net.head(torch.cat([hidden, points[0], rows["table"]], dim=1))[
            :, 1
        ].sum()
        slopes = [
            slope * float(node_weight) for slope in torch.autograd.grad(output, points)
        ]
        sums = (
            slopes
            if sums is None
            else [total + slope for total, slope in zip(sums, slopes, strict=True)]
        )
    by_hand = [image * sums[0], (words * sums[1]).sum(dim=2)]
    assert min(float(tensor.abs().max()) for tensor in by_hand) > 1e-3
    np.testing.assert_allclose(
        explanation.values[..., 0], torch.cat(by_hand, dim=1).numpy(), atol=1e-7
    )
    # From another row at the layers.
    base = {name: tensor[:1].flip(-1) for name, tensor in rows.items()}
    explanation = pg.explain(
        pg.Model(net, layer=layers, returns="logits"),
        rows,
        method=pg.methods.IntegratedGradients(tolerance=1e-7, baseline=base),
        target=1,
        scale="raw",
        progress=False,
    )
    baselines = tuple(tensor.expand_as(rows[name]) for name, tensor in base.items())
    # What no layer here reads keeps the row's values.
    expected_values = gradients.attribute(
        tuple(rows.values()), baselines, target=1, n_steps=300
    )
    theirs = torch.cat([expected_values[0], expected_values[1].sum(dim=2)], dim=1)
    np.testing.assert_allclose(
        explanation.values[..., 0], theirs.detach().numpy(), atol=1e-6
    )
    same = explain_with(
        net,
        rows,
        method=gradients,
        target=1,
        progress=False,
        layer=layers,
        returns="logits",
        baselines=base,
        n_steps=50,
    )
    assert same.names == explanation.names
    with pytest.raises(
        pg.InputError,
        match=r"is not the layer that .*LayerIntegratedGradients was created for",
    ):
        pg.explain(
            pg.Model(net, layer=layers[::-1]), rows, method=gradients, progress=False
        )


def test_every_method_takes_several_layers(rows):
    net = seeded(Note)
    y = np.arange(ROWS) % 2
    options = {
        "layer": ["words", "image"],
        "returns": "logits",
        "progress": False,
        "random_state": 0,
    }
    for method in (
        "permgrad",
        "permutation",
        "ablation",
        "shapley",
        "gradient",
        "integrated_gradients",
        "deeplift",
    ):
        explanation = explain_with(net, rows, y, method=method, **options)
        units = [
            *(f"words[{position}]" for position in range(6)),
            *(f"image[{unit}]" for unit in range(4)),
        ]
        assert [*explanation.names] == units
        assert set(explanation.modality) == {"ids", "image"}
    joined = explain_with(net, rows, y, groups="modality", **options)
    assert joined.names == ("ids", "image")


def test_a_layer_behind_another_takes_it_all(rows):
    net = seeded(Note)
    explanation = pg.explain(
        pg.Model(net, layer=["words", "encoder"], returns="logits"),
        rows,
        method="gradient",
        progress=False,
    )
    assert (explanation.values[:, :6] == 0).all()
    assert (explanation.values[:, 6:] > 0).all()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["words", "words"], "names the same layer twice"),
        (["words", "imag"], "Did you mean 'image'"),
        ([], "layer must be one of"),
        (["words", 3], "layer must be one of"),
    ],
)
def test_layers_that_cannot_be_explained_together(rows, layers, words):
    with pytest.raises(pg.InputError, match=words):
        pg.explain(
            pg.Model(seeded(Note), layer=layers),
            rows,
            method="gradient",
            progress=False,
        )
