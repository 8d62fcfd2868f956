"""Networks whose weights are wrappers, as quantised ones are, which answer to the few
functions that layers call.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

ATEN = torch.ops.aten
COPYING = (ATEN.detach.default, ATEN.alias.default, ATEN.clone.default)
MULTIPLYING = (
    ATEN.t.default,
    ATEN.mm.default,
    ATEN.addmm.default,
    ATEN.embedding.default,
)
CONVOLVING = (ATEN.convolution.default, ATEN.convolution_backward.default)


class Halves(Tensor):
    """Numbers in half precision that count as single."""

    @staticmethod
    def __new__(cls, numbers: Tensor) -> Self:
        return Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=torch.float32)

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers.detach().half()

    def __repr__(self) -> str:
        return "Halves()"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func not in COPYING + MULTIPLYING + CONVOLVING:
            raise NotImplementedError(str(func))
        if func in COPYING:
            return cls(args[0].numbers)
        plain = tree_map(
            lambda argument: (
                argument.numbers.float() if isinstance(argument, cls) else argument
            ),
            (args, kwargs or {}),
        )
        return func(*plain[0], **plain[1])


class Texts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.words(ids).mean(1).tanh())


class Buffered(nn.Module):
    """A weight that is not trained at all."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


KINDS = {
    "texts": (Texts, torch.arange(20).reshape(4, 5) % 9),
    "table": (
        lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)),
        numbers(6, 3),
    ),
    "series": (
        lambda: nn.Sequential(
            nn.Conv1d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 2)
        ),
        numbers(4, 1, 8),
    ),
    "buffer": (Buffered, numbers(6, 3)),
}


def with_weights(net: nn.Module, kind: Any) -> nn.Module:
    for submodule in net.modules():
        for name, weight in list(submodule._parameters.items()):
            if name == "weight":
                submodule._parameters[name] = nn.Parameter(
                    kind(weight), requires_grad=False
                )
        for name, weight in list(submodule._buffers.items()):
            submodule._buffers[name] = kind(weight)
    return net.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "method",
    ["permutation", "shapley", "lime", "gradient", "integrated_gradients", "deeplift"],
)
def test_weights_that_only_multiply_are_explained_as_their_numbers(kind, method):
    make, rows = KINDS[kind]
    attributions = []

    def rounded_weights(weight):
        return weight.detach().half().float()

    for weights in (Halves, rounded_weights):
        torch.manual_seed(0)
        net = with_weights(make(), weights)
        held_tensors = [*net.parameters(), *net.buffers()]
        y = torch.arange(len(rows)) % 2
        call_options = {"returns": "logits", "random_state": 0, "progress": False}
        attributions.append(
            explain_with(net, rows, y, method=method, **call_options).values
        )
        assert all(
            tensor is held_tensor
            for tensor, held_tensor in zip(
                [*net.parameters(), *net.buffers()], held_tensors, strict=True
            )
        )
    np.testing.assert_allclose(*attributions, rtol=0, atol=1e-6)
    assert np.abs(attributions[0]).max() > 1e-3
