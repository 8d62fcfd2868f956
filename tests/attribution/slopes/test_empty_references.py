"""Texts whose lengths the network counts itself: it does not run on the row of padding
that they are compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

PAD = 2
LENGTHS = (4, 1, 6, 3)


class Counting(nn.Module):
    """The last token's state, of a network that refuses what has none, or does
    otherwise.
    """

    def __init__(self, empty: str, shift: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(15, 4, padding_idx=PAD)
        self.layer = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.empty = empty
        self.shift = shift
        with torch.no_grad():
            self.words.weight[PAD] = 0.3

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != PAD).sum(1)
        if self.empty == "raises" and bool((lengths == 0).any()):
            raise ValueError("a text without a word")
        if self.empty == "returns" and not bool(lengths.any()):
            return torch.zeros(len(ids), 2, dtype=torch.float64)
        if self.empty == "cuts":
            ids = ids[:, : int(lengths.max())]
        return self.after(self.words(ids + self.shift), lengths)

    def after(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        hidden = torch.tanh(self.layer(vectors)).cumsum(1)
        last = hidden.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, 4))
        return self.head(torch.sin(last[:, 0]))


def texts() -> Tensor:
    ids = torch.randint(
        3, 12, (len(LENGTHS), 6), generator=torch.Generator().manual_seed(1)
    )
    for row, length in enumerate(LENGTHS):
        ids[row, length:] = PAD
    return ids


def by_hand(net: Counting, ids: Tensor, steps: int = 400) -> np.ndarray:
    lengths = (ids != PAD).sum(1)
    stop = net.words(ids).detach()
    start = net.words(torch.full_like(ids, PAD)).detach()
    values = torch.zeros(*ids.shape, 2, dtype=torch.float64)
    for step in range(steps):
        point = (start + (stop - start) * (step + 0.5) / steps).requires_grad_()
        outputs = net.after(point, lengths)
        for target in (0, 1):
            (slope,) = torch.autograd.grad(
                outputs[:, target].sum(), point, retain_graph=True
            )
            values[..., target] += (slope * (stop - start)).sum(2) / steps
    return values.numpy()


@pytest.mark.parametrize("empty", ["raises", "gathers", "cuts", "returns"])
@pytest.mark.parametrize("baseline", ["auto", "given"])
def test_a_reference_is_read_from_the_layer_where_the_network_does_not_run_on_it(
    empty, baseline
):
    net = Counting(empty).double().eval()
    ids = texts()
    baseline_argument: Any = "auto" if baseline == "auto" else torch.full((1, 6), PAD)
    explanation = pg.explain(
        pg.Model(net, returns="logits"),
        ids,
        method=pg.methods.IntegratedGradients(baseline=baseline_argument),
        progress=False,
        scale="raw",
    )
    expected_values = by_hand(net, ids)
    np.testing.assert_allclose(
        explanation.values,
        expected_values,
        rtol=0,
        atol=2e-3 * np.abs(expected_values).max(),
    )
    assert explanation.meta["completeness_gap"] < 1e-3


def test_deeplift_compares_with_it_too():
    net = Counting("raises").double().eval()
    ids = texts()
    with torch.no_grad():
        lengths = (ids != PAD).sum(1)
        padding = net.words(torch.full_like(ids, PAD))
        expected_base = net.after(padding, lengths)
    explanation = pg.explain(
        pg.Model(net, returns="logits"),
        ids,
        method="deeplift",
        progress=False,
        scale="raw",
    )
    np.testing.assert_allclose(
        explanation.base_values, expected_base, rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(
        explanation.base_values + explanation.values.sum(axis=1),
        explanation.predictions,
        rtol=0,
        atol=1e-9,
    )


def test_ids_that_are_changed_before_they_are_looked_up_need_a_baseline():
    net = Counting("raises", shift=3).double().eval()
    ids = texts()
    with pytest.raises(
        pg.InputError,
        match=r"rows compared with: ValueError: a text without a word.*baseline=\.\.\.\) with rows",
    ):
        pg.explain(
            pg.Model(net, returns="logits"),
            ids,
            method="integrated_gradients",
            progress=False,
        )
    call_options = {"baseline": ids[:1], "returns": "logits", "progress": False}
    assert (
        explain_with(net, ids, method="integrated_gradients", **call_options).meta[
            "completeness_gap"
        ]
        < 1e-3
    )


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
def test_a_baseline_that_is_in_no_table_is_refused_in_words(method):
    net = Counting("raises").double().eval()
    with pytest.raises(
        pg.InputError,
        match=r"rows compared with: IndexError: index out of range.*baseline=\.\.\.\) with rows",
    ):
        explain_with(
            net,
            texts(),
            method=method,
            baseline=torch.full((1, 6), 40),
            returns="logits",
            progress=False,
        )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
@pytest.mark.parametrize("empty", ["raises", "returns"])
@pytest.mark.parametrize("target", ["predicted", "true"])
def test_a_reference_is_read_from_the_layer_for_an_output_of_each_row(
    empty, method, target
):
    net = Counting(empty).double().eval()
    ids = texts()
    row_classes = np.array([1, 0, 1, 1])
    if target == "predicted":
        row_classes = net(ids).argmax(dim=1).numpy()
    options = {"method": method, "returns": "logits", "progress": False}
    every = explain_with(net, ids, **options)
    y = row_classes if target == "true" else None
    explanation = explain_with(net, ids, y, target=target, **options)
    values = explanation.values[:, :, 0]
    expected_values = every.values[np.arange(len(ids)), :, row_classes]
    assert np.abs(expected_values).max() > 0.01
    np.testing.assert_allclose(
        values, expected_values, atol=2e-3 * np.abs(expected_values).max()
    )
