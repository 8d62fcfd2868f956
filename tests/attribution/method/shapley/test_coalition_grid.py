"""Coalitions laid out by broadcasting: the same outputs as one by one, whatever is cut
where.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.coalitions import Blend, select
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.subject import Subject

KINDS = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.uint8,
    torch.bool,
]
#: Too wide for a whole number of the same width.
KINDS += [torch.complex128]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_select_equals_where(kind):
    generator = torch.Generator().manual_seed(0)
    receiver_values, donor_values = (
        (torch.randn(5, 1, 7, generator=generator) * 50).abs().to(kind)
        for _ in range(2)
    )
    donor_values = (
        donor_values.expand(5, 3, 7) if kind is torch.float64 else donor_values
    )
    kept_mask = torch.rand(5, 3, 7, generator=generator) < 0.5
    before = receiver_values.clone(), donor_values.clone(), kept_mask.clone()
    assert torch.equal(
        select(kept_mask, receiver_values, donor_values),
        torch.where(kept_mask, receiver_values, donor_values),
    )
    assert torch.equal(
        select(kept_mask[:, :1], receiver_values, donor_values),
        torch.where(kept_mask[:, :1], receiver_values, donor_values),
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, (receiver_values, donor_values, kept_mask), strict=True)
    )


def test_select_keeps_every_number_as_it_is():
    strange = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    kept_mask = torch.tensor([True, True, False, True, False])
    selected_values = select(kept_mask, strange, strange.flip(0))
    assert torch.equal(
        selected_values.view(torch.int32),
        torch.where(kept_mask, strange, strange.flip(0)).view(torch.int32),
    )


def asked(batch: int | str, largest: int = 10**9) -> SimpleNamespace:
    """Return a request for a network with a table and codes of which one position is
    nobody's.
    """
    generator = torch.Generator().manual_seed(1)

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        return torch.randn(rows, 3, generator=generator), torch.randint(
            0, 9, (rows, 2, 2), generator=generator
        )

    def forward(tensors: list[Tensor]) -> Tensor:
        if len(tensors[0]) > largest:
            raise torch.OutOfMemoryError
        table, codes = tensors
        return torch.stack(
            [
                (table * torch.tensor([1.0, 3.0, 9.0])).sum(dim=1),
                codes.flatten(1).double().sum(dim=1),
            ],
            1,
        )

    subject = Subject()
    subject.outputs = OutputForm("regression", "values", 2, (), ("0", "1"))
    subject.device = torch.device("cpu")
    subject.predict = forward
    owners = (torch.tensor([0, 1, 2]), torch.tensor([[1, 3], [-1, 3]]))
    space = PlayerSpace(tuple("abcd"), ("t",) * 4, ("table", "codes"), owners)
    return SimpleNamespace(
        subject=subject,
        inputs=draw(6),
        donors=draw(5),
        space=space,
        shared=False,
        batch_size=batch,
        count=6,
        incremental=True,
    )


@given(
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([1, 2, 3, 7, 50, "auto"]),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_equals_predictions_one_by_one(rows, coalitions, donors, batch, seed):
    rng = np.random.default_rng(seed)
    request = asked(batch)
    receivers = rng.integers(0, 6, rows)
    donor_indices = rng.integers(0, 5, (rows, donors))
    kept_mask = rng.random((rows, coalitions, 4)) < 0.5
    grid = Blend(request)
    game = Blend(request)
    grid_outputs = grid.grid(receivers, donor_indices, kept_mask)
    shape = (rows, coalitions, donors)
    want = game.predict(
        np.broadcast_to(receivers[:, None, None], shape).flatten(),
        np.broadcast_to(donor_indices[:, None], shape).flatten(),
        ~np.broadcast_to(kept_mask[:, :, None], (*shape, 4)).reshape(-1, 4),
    )
    assert torch.equal(grid_outputs, want.reshape(*shape, 2))
    assert grid.evaluations == rows * coalitions * donors


def test_out_of_memory_halves_the_batch():
    receivers = np.arange(6)
    donor_indices = np.tile(np.arange(5), (6, 1))
    kept_mask = np.random.default_rng(0).random((6, 7, 4)) < 0.5
    expected_outputs = Blend(asked("auto")).grid(receivers, donor_indices, kept_mask)
    for largest in (1, 10):
        assert torch.equal(
            Blend(asked("auto", largest)).grid(receivers, donor_indices, kept_mask),
            expected_outputs,
        )
    with pytest.raises(torch.OutOfMemoryError):
        Blend(asked("auto", 0)).grid(receivers, donor_indices, kept_mask)
