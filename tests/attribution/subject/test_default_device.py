"""Another default device of torch holds for the user's code alone: everything of
permgrad's stays on the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

METHODS = (
    "permutation",
    "permgrad",
    "shapley",
    "lime",
    "gradient",
    "smoothgrad",
    "integrated_gradients",
    "deeplift",
)


@pytest.fixture
def elsewhere() -> Iterator[Callable[[], Any]]:
    """Set a device on which nothing can be computed, so that each tensor made there is
    an error.
    """
    torch.set_default_device("meta")
    yield torch.get_default_device
    torch.set_default_device(None)


class Told(nn.Module):
    """Notes which default device its forward meets."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.met = set[str]()

    def forward(self, x: Tensor) -> Tensor:
        self.met.add(torch.get_default_device().type)
        return self.inner(x)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.layer = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.words(ids)).mean(1))


KINDS = {
    "table": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        torch.randn(8, 3),
    ),
    "words": (Words, torch.arange(30).reshape(6, 5) % 9),
    "image": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2)),
        torch.rand(5, 1, 6, 6),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_values_are_those_of_the_usual_device(kind, method, request):
    make, rows = KINDS[kind]
    torch.manual_seed(0)
    net = Told(make()).eval()
    call_options = {"returns": "logits", "random_state": 0, "progress": False}
    expected_values = explain_with(net, rows, method=method, **call_options).values
    net.met.clear()
    now = request.getfixturevalue("elsewhere")
    device_values = explain_with(net, rows, method=method, **call_options).values
    assert now().type == "meta"
    np.testing.assert_allclose(device_values, expected_values, rtol=0, atol=1e-6)
    assert net.met <= {"meta", "cpu"}
    assert "meta" in net.met, "the user's code counts on its own device"


def test_a_context_counts_as_a_default_and_an_error_leaves_it(elsewhere):
    def failing(_: Any) -> Any:
        raise ValueError(torch.get_default_device().type)

    torch.set_default_device(None)
    with torch.device("meta"), pytest.raises(pg.InputError, match="ValueError: meta"):
        pg.explain(failing, np.zeros((4, 2)), method="permutation", progress=False)
    assert elsewhere().type == "cpu"


def test_a_predictor_meets_the_users_device(elsewhere):
    met = set[str]()

    def predict(rows: Any) -> Any:
        met.add(elsewhere().type)
        return np.asarray(rows)[:, 0]

    X = np.random.default_rng(0).normal(size=(12, 2))
    pg.explain(
        predict, X, X[:, 0], method="permutation", random_state=0, progress=False
    )
    assert met == {"meta"}
