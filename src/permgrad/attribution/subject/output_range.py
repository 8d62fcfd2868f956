"""The range of a network's outputs, by which gaps and tolerances of attributions are measured."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["output_range"]

#: What outputs of one and the same row may differ by, as a share of their size: batches of other sizes round otherwise,
#: and large numbers inside the network may cancel.
_OF_ONE_ROW = 1e-3
#: What outputs may differ by in any case, in units of the network's precision.
_OF_ANY_ROW = 4.0


def output_range(seen: Tensor, precision: torch.dtype, *, alike: bool) -> Tensor:
    """Return the range of each output, ``(targets,)``; 1 where it varies by no more than its rounding."""
    spread = seen.amax(dim=0) - seen.amin(dim=0)
    share = max(_OF_ONE_ROW if alike else 0.0, _OF_ANY_ROW * torch.finfo(precision).eps)
    return torch.where(spread > share * seen.abs().amax(dim=0), spread, torch.ones_like(spread))
