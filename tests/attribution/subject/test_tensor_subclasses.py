"""Tensors of another library's class are read as plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.inputs import as_plain

ROWS = 24


class Annotated(Tensor):
    """A tensor with notes, which is strict about how others are made of it, as MONAI's
    is.
    """

    notes: dict[str, Any]

    def new_empty(self, size: Any, dtype: Any = None, device: Any = None) -> Tensor:  # type: ignore[override]
        """Take a size as one argument only."""
        assert not isinstance(size, int)
        empty_tensor = super().new_empty(tuple(size), dtype=dtype, device=device)
        return empty_tensor.as_subclass(Annotated)

    def new_zeros(self, size: Any, **options: Any) -> Tensor:  # type: ignore[override]
        """Take a size as one argument only."""
        assert not isinstance(size, int)
        return super().new_zeros(tuple(size), **options)


def annotated(rows: Tensor) -> Annotated:
    annotated_rows = rows.as_subclass(Annotated)
    annotated_rows.notes = {"spacing": 1.5}
    return annotated_rows


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def scanner(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2))
    return nn.Sequential(*layers).to(**options) if options else nn.Sequential(*layers)


METHODS = (
    "permgrad", "permutation", "ablation", "shapley", "lime", "gradient", "smoothgrad",
    "integrated_gradients", "deeplift", "gradcam", "ale",
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_them_as_plain_tensors(method):
    table = method == "ale"
    net = nn.Sequential(nn.Linear(4, 2)) if table else scanner()
    rows, background_rows = (drawn(ROWS, 4), drawn(8, 4)) if table else (
        drawn(ROWS, 1, 8, 8), drawn(8, 1, 8, 8),
    )  # fmt: skip
    explanations = []
    for kind in (Tensor, annotated):
        as_kind = (lambda rows: rows) if kind is Tensor else annotated
        explanations.append(
            pg.explain(
                pg.Model(net, returns="logits"),
                as_kind(rows.clone()),
                method=method,
                background=as_kind(background_rows.clone()),
                max_rows=None,
                progress=False,
            )
        )
    assert np.abs(explanations[0].values).max() > 0
    np.testing.assert_array_equal(explanations[1].values, explanations[0].values)
    assert explanations[1].names == explanations[0].names


class Scans(nn.Module):
    """May wrap what it computes in the class of its library."""

    def __init__(self, *, wraps: bool) -> None:
        super().__init__()
        self.inner = scanner()
        self.wraps = wraps

    def forward(self, scan: Tensor) -> Tensor:
        assert type(scan) is Tensor
        outputs = self.inner(scan)
        return annotated(outputs) if self.wraps else outputs


def explain(net: nn.Module, rows: Any, y: Any = None, **options: Any) -> pg.Explanation:
    model = pg.Model(net, returns="logits")
    return pg.explain(model, rows, y, progress=False, **options)


@pytest.mark.parametrize(
    "method", ["permgrad", "shapley", "integrated_gradients", "gradcam"]
)
def test_rows_targets_and_what_a_network_returns(method):
    rows = drawn(ROWS, 1, 8, 8)
    y = torch.arange(ROWS) % 2
    annotated_rows = annotated(rows.clone())
    explanation = explain(
        Scans(wraps=True), {"scan": annotated_rows}, annotated(y), method=method
    )
    plain = explain(Scans(wraps=False), {"scan": rows}, y, method=method)
    np.testing.assert_array_equal(explanation.values, plain.values)
    # The user's own is what it was.
    assert type(annotated_rows) is Annotated
    assert annotated_rows.notes == {"spacing": 1.5}
    assert torch.equal(as_plain(annotated_rows), rows)


def test_a_list_of_examples_may_hold_some():
    rows = drawn(ROWS, 1, 8, 8)
    examples = [annotated(rows[0].clone()), *rows[1:]]
    explanation = explain(scanner(), examples, method="gradient")
    plain = explain(scanner(), rows, method="gradient")
    np.testing.assert_array_equal(explanation.values, plain.values)


def test_a_plain_tensor_shares_numbers_and_slopes():
    annotated_tensor = annotated(drawn(3, 2)).requires_grad_()
    plain = as_plain(annotated_tensor)
    assert type(plain) is Tensor
    assert plain.data_ptr() == annotated_tensor.data_ptr()
    (slope,) = torch.autograd.grad((2 * plain).sum(), annotated_tensor)
    assert bool((slope == 2).all())
    assert type(as_plain(nn.Parameter(drawn(2)))) is Tensor
    unchanged = drawn(2)
    assert as_plain(unchanged) is unchanged
