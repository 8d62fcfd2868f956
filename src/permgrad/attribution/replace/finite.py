"""A network's outputs as numbers: which no explanation can be made of, and which differ by rounding only."""

from __future__ import annotations

import torch
from torch import Tensor

from permgrad.base.errors import InputError

#: The squares of larger numbers, of which errors are made, are no numbers in double precision.
LARGEST = 1e150
#: Roundings of one number that a sum in a network may be off by; precisions coarser than this are half ones.
_ROUNDING, _HALF = 16, 1e-5


def _finite(outputs: Tensor, where: str, such: str, remedy: str) -> Tensor:
    """Return outputs ``(rows, K)``; refuse NaN, infinity, and numbers whose square is none."""
    # One pass where all is well: a sum is finite unless a number is not, or unless it overflows.
    if outputs.dtype != torch.float64 and bool(torch.isfinite(outputs.sum())):
        return outputs
    finite = torch.isfinite(outputs) if outputs.dtype != torch.float64 else outputs.abs() <= LARGEST
    broken = ~finite.all(dim=1)
    if bool(broken.any()):
        contents = "NaN or infinity" if not bool(torch.isfinite(outputs).all()) else f"numbers above {LARGEST:g}"
        raise InputError(
            f"the model must predict finite numbers{where}, however: {int(broken.sum()):,} of {len(outputs):,} {such}"
            f"rows got {contents}; {remedy}"
        )
    return outputs


def finite_rows(outputs: Tensor) -> Tensor:
    """Return the outputs of the rows explained ``(rows, K)``; refuse what is not finite."""
    return _finite(outputs, "", "", "check those rows")


def finite_background(outputs: Tensor) -> Tensor:
    """Return the outputs of the background; refuse what is not finite."""
    return _finite(outputs, " for the background", "", "check the rows of background=")


def finite_between_rows(outputs: Tensor) -> Tensor:
    """Return outputs for rows that took values from others; refuse what is not finite."""
    remedy = "pass background= rows whose values go with any row, or join features that belong together with groups="
    return _finite(outputs, " also for rows that take values from others", "such ", remedy)


def is_half(dtype: torch.dtype) -> bool:
    """Return whether numbers of this type are so coarse that their rounding may be as large as an effect."""
    return torch.finfo(dtype).eps > _HALF


def rounding_size(outputs: Tensor, noise: float | None = None) -> Tensor:
    """Return the difference of an output ``(rows, K)`` below which it is the network's rounding, ``(rows, 1)``.

    ``noise``: how far rounding was seen to move outputs; None: as for outputs around 1, logits or standardised.
    """
    precision = torch.finfo(outputs.dtype).eps
    times = 1 if is_half(outputs.dtype) else _ROUNDING
    least = times * precision if noise is None else noise
    return (times * precision * outputs.abs().amax(dim=1, keepdim=True)).clamp_min(least)


def settle(outputs: Tensor, base: Tensor, noise: float | None = None) -> Tensor:
    """Return ``outputs``, with a row's ``base`` itself where the two differ by rounding only.

    Computing a part of a network anew, or in a batch of another size, changes last digits: without this an input that
    is not used would get an importance of 1e-9 instead of exactly 0, with a p-value that means nothing.
    """
    unchanged = ((outputs - base).abs() <= rounding_size(base, noise)).all(dim=1)
    return torch.where(unchanged[:, None], base, outputs)
