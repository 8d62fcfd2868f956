"""Convolutions of bfloat16 products: near float32, differentiable, only where they pay and only in training."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from permgrad.imaging import Renderer, StoredLayout
from permgrad.models import devices
from permgrad.models.devices import mixed_precision
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.matrix_units import has_matrix_units, matrix_products, run_layers, suits
from permgrad.models.train.rows import Rows
from permgrad.models.train.training import TrainingOptions, train

#: Half a unit of the last of bfloat16's eight bits, next to 1.
ROUNDING = 2.0**-8


def maps(channels: int = 32, *, side: int = 6, rows: int = 5) -> torch.Tensor:
    own = torch.randn(rows, channels, side, side, generator=torch.Generator().manual_seed(0))
    return own.to(memory_format=torch.channels_last)


def convolution(*given: object, **options: object) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Conv2d(*given, **options)


def rounded(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().double()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (3, 0), (1, 0), ((3, 5), (1, 2))])
def test_values_are_those_of_rounded_operands(kernel, padding, bias):
    """The twin: operands rounded to bfloat16, everything after it in float64; the result is rounded once."""
    layer, values = convolution(32, 40, kernel, padding=padding, bias=bias), maps()
    with matrix_products():
        found = run_layers(nn.Sequential(layer), values)
    exact = nn.functional.conv2d(rounded(values), rounded(layer.weight), padding=layer.padding)
    wanted = exact if layer.bias is None else exact + layer.bias.double()[:, None, None]
    assert found.dtype == torch.float32
    # Precondition: the operands are not such that rounding changes nothing.
    assert not torch.allclose(wanted.float(), layer(values), atol=1e-5)
    assert ((found - wanted).abs() <= 1.01 * ROUNDING * exact.abs() + 1e-5).all()


def twin_gradients(values: torch.Tensor, weight: torch.Tensor, slopes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of absolute operands they are the sums of the absolute terms."""
    values, weight = values.clone().requires_grad_(), weight.clone().requires_grad_()
    nn.functional.conv2d(values, weight, padding=1).backward(slopes)
    return values.grad, weight.grad


def rounds_once() -> bool:
    """Whether a sum is rounded when it is done; without instructions for bfloat16 its parts are, too."""
    named = getattr(torch.cpu, "get_capabilities", dict)()
    return "ONEDNN_MAX_CPU_ISA" not in os.environ and bool(named.get("avx512_bf16") or named.get("amx_bf16"))


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_rounded_operands(bias):
    layer, values = convolution(32, 40, 3, padding=1, bias=bias), maps().requires_grad_()
    slopes = torch.randn(5, 40, 6, 6, generator=torch.Generator().manual_seed(2))
    with matrix_products():
        run_layers(nn.Sequential(layer), values).backward(slopes)

    operands = [rounded(own).detach() for own in (values, layer.weight, slopes)]
    wanted, terms = twin_gradients(*operands), twin_gradients(*(own.abs() for own in operands))
    for found, exact, added_up in zip((values.grad, layer.weight.grad), wanted, terms, strict=True):
        assert found.dtype == torch.float32
        largest = exact.abs() if rounds_once() else added_up
        assert ((found - exact).abs() <= 1.01 * ROUNDING * largest + 1e-4).all()
    if bias:
        # The bias takes no product: its gradient is exact.
        torch.testing.assert_close(layer.bias.grad, slopes.sum((0, 2, 3)))


def test_frozen_weights_and_fixed_inputs_get_no_gradient():
    layer, values = convolution(32, 32, 3), maps()
    layer.weight.requires_grad_(False)
    with matrix_products():
        run_layers(nn.Sequential(layer), values).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_nothing_changes_outside():
    layers, values = nn.Sequential(convolution(32, 32, 3)), maps()
    with matrix_products():
        within = run_layers(layers, values)
    assert torch.equal(run_layers(layers, values), layers(values))
    assert not torch.equal(within, layers(values))


class Own(nn.Conv2d):
    """A layer of somebody's own."""


def hooked() -> nn.Conv2d:
    layer = convolution(32, 32, 3)
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (convolution(16, 32, 3), maps(16)),
        (convolution(32, 16, 3), maps()),
        (convolution(32, 32, 3, stride=2), maps()),
        (convolution(32, 32, 3, dilation=2), maps()),
        (convolution(32, 32, 3, groups=2), maps()),
        (convolution(32, 32, 3, padding="same"), maps()),
        (convolution(32, 32, 3, padding=1, padding_mode="circular"), maps()),
        (convolution(32, 32, 3).eval(), maps()),
        (convolution(32, 32, 3).double(), maps().double()),
        (hooked(), maps()),
        (Own(32, 32, 3), maps()),
        (nn.ReLU(), maps()),
    ],
)
def test_every_other_layer_is_called_as_it_is(layer, values):
    assert suits(convolution(32, 32, 3), maps())
    assert not suits(layer, values)
    with matrix_products():
        assert torch.equal(run_layers(nn.Sequential(layer), values), layer(values))


def test_a_watched_chain_is_called_as_it_is():
    layers, seen = nn.Sequential(convolution(32, 32, 3)), []
    layers.register_forward_hook(lambda *_: seen.append(1))
    with matrix_products():
        assert torch.equal(run_layers(layers, maps()), layers[0](maps()))
    assert seen == [1]


def test_mixed_precision_has_the_last_word():
    layers = nn.Sequential(convolution(32, 32, 3))
    with matrix_products(), mixed_precision(torch.device("cpu"), "bfloat16"):
        assert not suits(layers[0], maps())
        assert run_layers(layers, maps()).dtype == torch.bfloat16


@pytest.fixture(params=[True, False], ids=["matrix units", "none"])
def units(request, monkeypatch):
    """A processor that says it has matrix units, or that it has none; the arithmetic is right on either."""
    monkeypatch.setattr(devices, "has_matrix_units", lambda: request.param)
    return request.param


def test_auto_asks_the_processor(units):
    layer = nn.Sequential(convolution(32, 32, 3))
    with mixed_precision(torch.device("cpu"), "auto"):
        assert torch.equal(run_layers(layer, maps()), layer(maps())) != units
    with mixed_precision(torch.device("cuda"), "auto"):
        assert torch.equal(run_layers(layer, maps()), layer(maps()))
    with mixed_precision(torch.device("cpu"), "float32"):
        assert torch.equal(run_layers(layer, maps()), layer(maps()))


def trained(filters: tuple[int, int], precision: str) -> HybridNetwork:
    renderer = Renderer(StoredLayout([[0, 0], [3, 7], [5, 2]], 8), [0.0] * 3, [1.0] * 3, channels=3, scale=255)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = HybridNetwork(3, 2, {"dense_units": [8], "conv_filters": filters}, renderer=renderer)
    X = torch.rand(96, 3, generator=torch.Generator().manual_seed(0))
    rows = Rows(X, (X[:, 0] > X[:, 1]).long(), torch.ones(96))
    options = TrainingOptions(max_epochs=3, batch_size=32, patience=None, precision=precision)
    train(network, rows, rows, options, seed=0, progress=False)
    return network


def distance(one: HybridNetwork, other: HybridNetwork) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_training_takes_it_where_it_pays(units):
    """Weights stay near those of float32 for a few steps; small networks, of presets default and fast, are equal."""
    large, twin = trained((32, 32), "auto"), trained((32, 32), "float32")
    apart = distance(large, twin)
    assert (apart > 0) == units
    assert apart < 0.02
    assert all(parameter.dtype == torch.float32 for parameter in large.parameters())
    assert distance(trained((8, 16), "auto"), trained((8, 16), "float32")) == 0


def test_what_the_processor_has_is_read_once(monkeypatch):
    has_matrix_units.cache_clear()
    for capabilities, wanted in (({"amx_bf16": True}, True), ({"amx_bf16": False}, False), ({}, False)):
        has_matrix_units.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda own=capabilities: own, raising=False)
        assert has_matrix_units() == wanted
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    has_matrix_units.cache_clear()
    assert not has_matrix_units()
    has_matrix_units.cache_clear()
