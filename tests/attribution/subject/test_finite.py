"""Outputs as numbers: what is refused, and what differs by rounding only."""

from __future__ import annotations

import pytest
import torch

import permgrad as pg
from permgrad.attribution.subject.soundness import HALF, finite, settle


def test_what_differs_by_rounding_is_the_row_itself():
    settled = settle(torch.tensor([[1.0 + 2e-7], [1.1]]), torch.tensor([[1.0], [1.0]]))
    assert settled.flatten().tolist() == [1.0, pytest.approx(1.1)]
    assert settle(torch.tensor([[1.1]]), torch.tensor([[1.0]]), noise=0.2).item() == 1.0
    assert torch.bfloat16 in HALF
    assert torch.float32 not in HALF


@pytest.mark.parametrize(
    ("outputs", "contents"),
    [
        ([[1.0, 2.0], [torch.nan, 1.0]], "NaN or infinity"),
        ([[1.0, 2.0], [1e200, 0.0]], "numbers above 1e"),
        ([[1.0, 2.0]], ""),
    ],
)
def test_numbers_that_cannot_be_worked_with_are_refused(outputs, contents):
    numbers = torch.tensor(outputs, dtype=torch.float64)
    if not contents:
        assert finite(numbers) is numbers
        return
    with pytest.raises(pg.InputError, match=f"1 of 2 rows got {contents}"):
        finite(numbers)
    with pytest.raises(pg.InputError, match=f"1 of 2 such rows got {contents}"):
        finite(numbers, "between")
