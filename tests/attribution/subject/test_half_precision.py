"""Networks in half precision, or that compute in it inside: what rounding hides is not
said of the network.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

import permgrad as pg


class Net(nn.Module):
    """A table that matters, and one whose effect is far below what bfloat16 can tell
    apart.
    """

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.inside = inside
        self.large = nn.Linear(3, 6)
        self.small = nn.Linear(2, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, large: Tensor, small: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.inside):
            return self.head(torch.tanh(self.large(large) + 1e-6 * self.small(small)))


def explained(net: nn.Module, kind: torch.dtype, method: str) -> list[str]:
    rows = {name: torch.randn(8, width, generator=torch.Generator().manual_seed(width)).to(kind)
            for name, width in (("large", 3), ("small", 2))}  # fmt: skip
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        pg.explain(
            pg.Model(net, returns="logits"),
            rows,
            method=method,
            random_state=0,
            progress=False,
        )
    return [str(warning.message) for warning in caught_warnings]


def net(inside: bool) -> nn.Module:
    torch.manual_seed(0)
    return Net(inside)


@pytest.mark.parametrize("inside", [False, True])
def test_effects_that_are_rounded_off_are_not_called_ignored(inside):
    assert explained(net(inside=False), torch.float32, "permutation") == []
    half = net(inside) if inside else net(inside).bfloat16()
    [words] = explained(
        half, torch.float32 if inside else torch.bfloat16, "permutation"
    )
    assert words == (
        "The importance of these inputs is exactly 0: small. Smaller changes of the "
        "output are rounded off in "
        "bfloat16. Explain the network in float32 to see them."
    )


@pytest.mark.parametrize("method", ["deeplift", "integrated_gradients"])
def test_values_add_up_as_far_as_numbers_are_told_apart(method):
    assert explained(net(inside=True), torch.float32, method) == []
