"""Networks whose backward is not the slope of their forward, which one warning of every
slope method names.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

ON_TABLES = ("gradient", "smoothgrad", "integrated_gradients", "deeplift")
UNTRUE = "gradients are not the slopes of its outputs.*method='shapley'"


class Doubled(torch.autograd.Function):
    """The identity, whose backward is twice as steep."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        return 2 * slope


class Floored(torch.autograd.Function):
    """Steps, whose backward is that of the identity."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return (x / 2).floor() * 2

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        return slope


def capped(x: Tensor) -> Tensor:
    """The identity, whose gradient a hook bounds."""
    x = x * 1
    if x.requires_grad:
        x.register_hook(lambda slope: slope.clamp(-1e-3, 1e-3))
    return x


def half_detached(x: Tensor) -> Tensor:
    return x + 0.5 * x.detach()


class Net(nn.Module):
    def __init__(self, inside: Callable[[Tensor], Tensor], first: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.inside = inside
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inside(self.first(x))
        return self.last(
            torch.tanh(hidden.flatten(2).mean(2) if hidden.ndim == 4 else hidden)
        )


def network(inside: Callable[[Tensor], Tensor], *, image: bool = False) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(inside, nn.Conv2d(1, 6, 3) if image else nn.Linear(3, 6)).eval()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def said(net: nn.Module, rows: Tensor, method: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pg.explain(
            pg.Model(net, returns="logits"),
            rows,
            method=method,
            random_state=0,
            progress=False,
        )
    return [
        str(warning.message)
        for warning in caught
        if issubclass(warning.category, pg.PermgradWarning)
    ]


@pytest.mark.parametrize(
    "inside", [Doubled.apply, Floored.apply, capped, half_detached]
)
@pytest.mark.parametrize("method", ON_TABLES)
def test_one_warning_names_gradients_that_are_no_slopes(inside, method):
    (message,) = said(network(inside), drawn(9, 3), method)
    assert "gradients are not the slopes of its outputs" in message
    assert "method='shapley'" in message


def test_maps_are_warned_of_too():
    with pytest.warns(pg.PermgradWarning, match=UNTRUE):
        pg.explain(
            network(Doubled.apply, image=True),
            drawn(4, 1, 8, 8),
            method="gradcam",
            progress=False,
        )


def test_what_outputs_and_gradients_say_is_told():
    net = nn.Sequential(nn.Linear(2, 1, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 0.0]])
    net.append(nn.Module())
    net[1].forward = Doubled.apply
    rows = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    with pytest.warns(
        pg.PermgradWarning, match="changes by -?3 where its gradient says -?6[.]"
    ):
        pg.explain(
            pg.Model(net, returns="values"), rows, method="gradient", progress=False
        )


TRUE = {
    "relu": torch.relu,
    "steps": lambda x: torch.where(x > 0, x, x - 1),
    "sorted": lambda x: x.sort(dim=1)[0],
    "largest": lambda x: x.reshape(-1, 3, 2).amax(2).repeat(1, 2),
    "half inside": lambda x: x.half().tanh().to(x.dtype),
    "fractions": lambda x: (9 * x).abs() % 1,
}


@pytest.mark.parametrize("kind", TRUE)
@pytest.mark.parametrize(
    "rows",
    [
        drawn(9, 3),
        (drawn(9, 3) > 0).float(),
        torch.zeros(3, 3),
        1e6 * drawn(9, 3),
        2e7 + drawn(9, 3),
    ],
)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64, torch.bfloat16])
def test_edges_jumps_and_coarse_numbers_are_no_untrue_slopes(kind, rows, precision):
    spacing = torch.finfo(precision).eps * 9 * float(rows.abs().max())
    if kind == "fractions" and spacing > 0.5:
        pytest.skip("such numbers have no fraction: it is rounding, by the processor")
    assert not any(
        "not the slopes" in message
        for message in said(
            network(TRUE[kind]).to(precision), rows.to(precision), "gradient"
        )
    )


def test_black_parts_of_images_are_edges_that_say_nothing():
    layers = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, bias=False),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(torch.relu, layers).eval()
    images = torch.zeros(4, 1, 12, 12)
    images[:, :, 4:8, 5:8] = drawn(4, 1, 4, 3).abs()
    for method in ("gradient", "gradcam"):
        assert not any(
            "not the slopes" in message for message in said(net, images, method)
        )


def test_a_gap_that_more_steps_do_not_close_is_advised_otherwise():
    (message,) = said(
        network(lambda x: torch.where(x[:, :1] > 0, x, 2 - x)),
        drawn(9, 3),
        "integrated_gradients",
    )
    assert "more steps do not close it" in message
    assert "method='shapley'" in message
    assert "Raise max_steps" not in message


def test_counts_of_gradients_are_those_of_the_method():
    explanation = pg.explain(
        pg.Model(network(torch.tanh), returns="logits"),
        drawn(9, 3),
        method="gradient",
        progress=False,
    )
    assert (
        explanation.meta["gradient_evaluations"] == explanation.meta["model_rows"] == 9
    )
    assert np.isfinite(explanation.values).all()
