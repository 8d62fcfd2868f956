"""Predictions that no explanation can be made of: what they are, and where they are refused."""

from __future__ import annotations

import torch
from torch import Tensor

from permgrad.base.errors import InputError

#: The squares of larger numbers, of which errors are made, are no numbers in double precision.
LARGEST = 1e150


def broken_rows(outputs: Tensor) -> Tensor:
    """Return which rows hold NaN, infinity, or a number whose square is none, bool ``(rows,)``."""
    if outputs.dtype != torch.float64:
        return ~torch.isfinite(outputs).all(dim=1)
    # Of NaN this is false too.
    return ~(outputs.abs() <= LARGEST).all(dim=1)


def what_is_broken(outputs: Tensor) -> str:
    """Return what broken rows hold, in words."""
    return "NaN or infinity" if not bool(torch.isfinite(outputs).all()) else f"numbers above {LARGEST:g}"


def finite_rows(outputs: Tensor) -> Tensor:
    """Return the outputs of the rows explained."""
    broken = broken_rows(outputs)
    if bool(broken.any()):
        raise InputError(
            f"the model must predict finite numbers, however: {int(broken.sum())} of {len(outputs)} rows got "
            f"{what_is_broken(outputs)}; check those rows"
        )
    return outputs


def finite_background(outputs: Tensor) -> Tensor:
    """Return the outputs of the background; raises ``InputError`` as ``finite_rows`` does."""
    broken = broken_rows(outputs)
    if bool(broken.any()):
        raise InputError(
            f"the model must predict finite numbers for the background, however: {int(broken.sum())} of {len(outputs)} "
            f"rows got {what_is_broken(outputs)}; check the rows of background="
        )
    return outputs


def finite_between_rows(outputs: Tensor) -> Tensor:
    """Return outputs for rows that took values from others; raises ``InputError`` as ``finite_rows`` does."""
    # One pass where all is well: a sum is finite unless a number is not, or unless it overflows.
    if outputs.dtype != torch.float64 and bool(torch.isfinite(outputs.sum())):
        return outputs
    broken = broken_rows(outputs)
    if bool(broken.any()):
        raise InputError(
            "the model must predict finite numbers also for rows that take values from others, however: "
            f"{int(broken.sum()):,} of {len(outputs):,} such rows got {what_is_broken(outputs)}; pass background= rows "
            "whose values go with any row, or join features that belong together with groups="
        )
    return outputs
