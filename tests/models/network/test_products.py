"""Products of dense layers by oneDNN: the numbers and slopes of torch's, at the sizes
where they are taken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.shared.rounding import rounding
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution.slopes.rescale import Rescale
from permgrad.base import processors
from permgrad.models.network import products
from permgrad.models.network.products import TrainingProducts, linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)
ROWS = (250, 8)
INPUTS = 126
OUTPUTS = 128


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pretend to have such a processor.

    Return the list of how many rows oneDNN was given, call by call.
    """
    row_counts = list[int]()
    copy = Tensor.to_mkldnn

    def counted(values: Tensor) -> Tensor:
        row_counts.append(values.numel() // values.shape[-1])
        return copy(values)

    monkeypatch.setattr(products, "is_wide", lambda: True)
    monkeypatch.setattr(Tensor, "to_mkldnn", counted)
    return row_counts


def drawn(*shape: int) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)
    )


@pytest.mark.parametrize("biased", [True, False])
def test_a_product_is_that_of_float64_up_to_rounding(
    taken: list[int], biased: bool
) -> None:
    values = drawn(*ROWS, INPUTS)
    weight = drawn(OUTPUTS, INPUTS)
    bias = drawn(OUTPUTS) if biased else None
    with torch.inference_mode():
        product_values = linear(values.transpose(0, 1), weight, bias).transpose(0, 1)
    expected = values.double() @ weight.double().T + (
        0 if bias is None else bias.double()
    )
    assert taken == [2000]
    # Of each output 126 products are added up.
    assert np.abs((product_values.double() - expected).numpy()).max() < rounding(
        expected
    )


def test_slopes_in_training_are_those_of_float64_up_to_rounding(
    taken: list[int],
) -> None:
    layer = nn.Linear(INPUTS, OUTPUTS)
    towards = drawn(*ROWS, OUTPUTS)
    values = drawn(*ROWS, INPUTS).requires_grad_()
    with TrainingProducts():
        outputs = layer(values)
    outputs.backward(towards)
    assert taken[0] == 2000
    rows = values.detach().double().flatten(0, 1)
    slopes = towards.double().flatten(0, 1)
    expected = (
        slopes @ layer.weight.detach().double(),
        slopes.T @ rows,
        slopes.sum(dim=0),
    )
    for gradient, exact in zip(
        (values.grad, layer.weight.grad, layer.bias.grad), expected, strict=True
    ):
        assert gradient is not None
        assert np.abs(
            (gradient.double().view(exact.shape) - exact).numpy()
        ).max() < rounding(exact)


@pytest.mark.parametrize(
    ("values", "weight", "bias"),
    [
        (
            drawn(60, 512),
            drawn(1024, 512),
            None,
        ),  # few rows, however much there is to do
        (drawn(100, INPUTS), drawn(OUTPUTS, INPUTS), None),
        (drawn(100_000, 8), drawn(OUTPUTS, 8), None),
        (drawn(2000, INPUTS).double(), drawn(OUTPUTS, INPUTS).double(), None),
        (drawn(2000, INPUTS), drawn(OUTPUTS, INPUTS), drawn(1)),
    ],
)
def test_other_products_are_torchs(
    taken: list[int], values: Tensor, weight: Tensor, bias: Tensor | None
) -> None:
    with torch.inference_mode():
        assert torch.equal(
            linear(values, weight, bias), functional.linear(values, weight, bias)
        )
    assert not taken


def test_what_may_be_differentiated_twice_is_torchs(taken: list[int]) -> None:
    values = drawn(2000, INPUTS).requires_grad_()
    weight = drawn(OUTPUTS, INPUTS)
    [slope] = torch.autograd.grad(
        (linear(values, weight) ** 2).sum(), values, create_graph=True
    )
    [second] = torch.autograd.grad(slope.sum(), values)
    assert second.abs().max() > 1
    assert not taken


def test_mean_slopes_start_from_a_product_of_onednn(taken: list[int]) -> None:
    values = drawn(2000, INPUTS)
    weight = drawn(OUTPUTS, INPUTS)
    with torch.no_grad(), Rescale(None) as before:
        start = linear(values, weight)
    assert taken
    later = [(2 * values).requires_grad_(), (3 * weight).requires_grad_()]
    with Rescale(before.calls) as mode:
        stop = linear(*later)
    slopes = torch.autograd.grad(stop.sum(), later)
    assert mode.matched
    # The slopes times the way add up to the change of the output.
    change = sum(
        (slope.double() * (end - begin).double()).sum()
        for slope, end, begin in zip(slopes, later, (values, weight), strict=True)
    )
    expected = (stop.double() - start.double()).sum()
    assert abs(float((change / expected).detach()) - 1) < 1e-4


def test_one_maker_of_processors_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for maker, expected in (("AuthenticAMD", True), ("GenuineIntel", False)):
        file = tmp_path / maker
        file.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n")
        monkeypatch.setattr(processors, "_PROCESSOR", file)
        products.is_wide.cache_clear()
        assert products.is_wide() is expected
    products.is_wide.cache_clear()
