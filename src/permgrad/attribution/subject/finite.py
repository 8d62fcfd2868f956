"""Check that outputs are finite, and recognise differences that are rounding only."""

from __future__ import annotations

import torch
from torch import Tensor

from permgrad.base.errors import InputError

#: The squares of larger numbers, of which errors are made, are no numbers in double precision.
LARGEST = 1e150
#: Roundings of one number that a sum in a network may be off by.
_ROUNDING = 16
#: Types of numbers so coarse that their rounding may be as large as an effect.
HALF = (torch.float16, torch.bfloat16)


#: Of which rows: where they are named, what the broken ones are called, and what can be done.
_ROWS = {
    "explained": ("", "", "check those rows"),
    "background": (" for the background", "", "check the rows of background="),
    "between": (
        " also for rows that take values from others",
        "such ",
        "pass background= rows whose values go with any row, or join features that belong together with groups=",
    ),
}


def finite(outputs: Tensor, rows: str = "explained") -> Tensor:
    """Return outputs ``(rows, K)``. Refuse NaN, infinity, and numbers whose square overflows. ``rows``: ``_ROWS``."""
    # One pass where all is well: a sum is finite unless a number is not, or unless it overflows.
    if outputs.dtype != torch.float64 and bool(torch.isfinite(outputs.sum())):
        return outputs
    fine = torch.isfinite(outputs) if outputs.dtype != torch.float64 else outputs.abs() <= LARGEST
    broken = int((~fine.all(dim=1)).sum())
    if broken:
        where, such, remedy = _ROWS[rows]
        contents = "NaN or infinity" if not bool(torch.isfinite(outputs).all()) else f"numbers above {LARGEST:g}"
        problem = (
            f"The model must predict finite numbers{where}, but {broken:,} of {len(outputs):,} {such}rows got "
            f"{contents}"
        )
        raise InputError(problem, hint=remedy, code="PG040")
    return outputs


def rounding_size(outputs: Tensor, noise: float | None) -> Tensor:
    """Return the difference of an output ``(*, rows, K)`` below which it is the network's rounding, ``(*, rows, 1)``.

    ``noise``: how far rounding moved outputs (None: as for outputs around 1, logits or standardised).
    """
    precision = torch.finfo(outputs.dtype).eps
    times = 1 if outputs.dtype in HALF else _ROUNDING
    least = times * precision if noise is None else noise
    return (times * precision * outputs.abs().amax(dim=-1, keepdim=True)).clamp_min(least)


def settle(outputs: Tensor, base: Tensor, noise: float | None = None) -> Tensor:
    """Return outputs ``(*, rows, K)``, with a row's ``base`` itself where the two differ by rounding only.

    Computing a part of a network anew, or in a batch of another size, changes last digits: without this an input that
    is not used would get an importance of 1e-9 instead of exactly 0, with a p-value that means nothing.
    """
    unchanged = ((outputs - base).abs() <= rounding_size(base, noise)).all(dim=-1, keepdim=True)
    return torch.where(unchanged, base, outputs)
