"""Texts whose lengths the network counts itself: it does not run on the row of padding that they are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

PAD, LENGTHS = 2, (4, 1, 6, 3)


class Counting(nn.Module):
    """The last token's state, of a network that refuses what has none, or does otherwise."""

    def __init__(self, empty: str, shift: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.layer, self.head = (
            nn.Embedding(15, 4, padding_idx=PAD),
            nn.Linear(4, 4),
            nn.Linear(4, 2),
        )
        self.empty, self.shift = empty, shift
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
    lengths, stop = (ids != PAD).sum(1), net.words(ids).detach()
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
    net, ids = Counting(empty).double().eval(), texts()
    given: Any = "auto" if baseline == "auto" else torch.full((1, 6), PAD)
    found = pg.explain(
        pg.Model(net, returns="logits"),
        ids,
        method=pg.methods.IntegratedGradients(baseline=given),
        progress=False,
        scale="raw",
    )
    wanted = by_hand(net, ids)
    np.testing.assert_allclose(
        found.values, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max()
    )
    assert found.meta["completeness_gap"] < 1e-3


def test_deeplift_compares_with_it_too():
    net, ids = Counting("raises").double().eval(), texts()
    with torch.no_grad():
        lengths, padding = (ids != PAD).sum(1), net.words(torch.full_like(ids, PAD))
        wanted = net.after(padding, lengths)
    found = pg.explain(
        pg.Model(net, returns="logits"),
        ids,
        method="deeplift",
        progress=False,
        scale="raw",
    )
    np.testing.assert_allclose(found.base_values, wanted, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        found.base_values + found.values.sum(axis=1),
        found.predictions,
        rtol=0,
        atol=1e-9,
    )


def test_ids_that_are_changed_before_they_are_looked_up_need_a_baseline():
    net, ids = Counting("raises", shift=3).double().eval(), texts()
    with pytest.raises(
        pg.InputError,
        match=r"rows compared with: ValueError: a text without a word.*Pass baseline=",
    ):
        pg.explain(
            pg.Model(net, returns="logits"),
            ids,
            method="integrated_gradients",
            progress=False,
        )
    given = {"baseline": ids[:1], "returns": "logits", "progress": False}
    assert (
        explain_with(net, ids, method="integrated_gradients", **given).meta[
            "completeness_gap"
        ]
        < 1e-3
    )


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
@pytest.mark.parametrize("empty", ["raises", "returns"])
@pytest.mark.parametrize("target", ["predicted", "true"])
def test_a_reference_is_read_from_the_layer_for_an_output_of_each_row(
    empty, method, target
):
    net, ids = Counting(empty).double().eval(), texts()
    own = np.array([1, 0, 1, 1])
    if target == "predicted":
        own = net(ids).argmax(dim=1).numpy()
    options = {"method": method, "returns": "logits", "progress": False}
    every = explain_with(net, ids, **options)
    y = own if target == "true" else None
    found = explain_with(net, ids, y, target=target, **options)
    values = found.values[:, :, 0]
    wanted = every.values[np.arange(len(ids)), :, own]
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(values, wanted, atol=2e-3 * np.abs(wanted).max())
