"""Dropout whose random numbers cost a fifth of torch's on a processor; everywhere else it is torch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: One random number of 64 bits decides over four values, with 16 bits each.
_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """Sets values to zero at random while training, and scales the others so that the mean stays.

    The share of values that vanish is a multiple of 1/65,536, the one nearest to ``p``; the others are scaled by what
    this share, not ``p``, asks for, so that expectations are exact. Torch draws 32 bits and one number for each value,
    which in a small network on a processor costs as much as a convolution. The numbers come from torch's global
    generator, as torch's own do: ``torch.manual_seed`` decides them, but they are others than torch's.

    Shape:
        any, to the same.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> dropped = Dropout(0.25)(torch.ones(100_000))
        >>> round(float((dropped == 0).float().mean()), 2), round(float(dropped.max()), 4)
        (0.25, 1.3333)
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 — the parameter's name in torch
        """Drop while training, else return the input itself."""
        dropped = round(self.p * _LEVELS)
        if not self.training or dropped == 0:
            return input
        plain = input.device.type == "cpu" and input.dtype == torch.float32 and not self.inplace
        if not plain or dropped == _LEVELS:
            out: Tensor = super().forward(input)
            return out
        mixed: Tensor = _Drop.apply(input, dropped)  # type: ignore[no-untyped-call]
        return mixed


class _Drop(torch.autograd.Function):
    """Multiplies with a mask of 0 and the scale; the mask is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped: int) -> Tensor:
        mask = draw_mask(values, dropped)
        ctx.save_for_backward(mask)
        return values * mask

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        # The mask stands first: the product has its memory format, whatever the slopes come in.
        return mask * slopes[0], None


def draw_mask(values: Tensor, dropped: int) -> Tensor:
    """Return a mask as large as ``values``, with their memory format: 0 for ``dropped`` of 65,536, else the scale."""
    count = values.numel()
    # The whole range of the type: without bounds, torch leaves the sign bit alone.
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    mask = torch.empty_like(values)
    flat = mask.as_strided((count,), (1,)) if _dense(mask) else torch.empty(count)
    torch.ge(bits.view(torch.int16)[:count], dropped - _LEVELS // 2, out=flat)
    flat.mul_(_LEVELS / (_LEVELS - dropped))
    return mask if _dense(mask) else flat.view(values.shape)


def _dense(values: Tensor) -> bool:
    """Whether the values fill one piece of memory, in whatever order."""
    return values.is_contiguous() or (values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last))
