"""Which pixels the cells of a map see, as the convolutions and pools tell that make
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: Arguments of functions that slide over cells side by side, in their order.
_OF_CONVOLUTIONS = ("input", "weight", "bias", "stride", "padding", "dilation")
_OF_POOLS = ("input", "kernel_size", "stride", "padding", "dilation")
_OF_MEANS = ("input", "kernel_size", "stride", "padding")
_SLIDING = {
    f"{function_name}{dims}d": parameters
    for function_name, parameters in (
        ("conv", _OF_CONVOLUTIONS),
        ("max_pool", _OF_POOLS),
        ("avg_pool", _OF_MEANS),
    )
    for dims in (1, 2, 3)
}


@dataclass(frozen=True)
class Field:
    """What cells see along a dimension of an image: cell i the pixels from ``first`` +
    i · ``step`` to ``last`` + i · ``step``, also beyond its edges.
    """

    step: int = 1
    first: int = 0
    last: int = 0

    def slid(self, kernel: int, stride: int, padding: int, dilation: int) -> Field:
        """Return what the cells see that a convolution or a pool makes of these."""
        reach = dilation * (kernel - 1)
        return Field(
            self.step * stride,
            self.first - padding * self.step,
            self.last + (reach - padding) * self.step,
        )


Fields = tuple[Field, ...]


def slid(
    fields: Fields, function: str, args: Sequence[Any], options: Mapping[str, Any]
) -> Fields | None:
    """Return what cells see after a function that slides over those with ``fields``.

    None for any other function.
    """
    if function not in _SLIDING:
        return None
    argument = {**dict(zip(_SLIDING[function], args, strict=False)), **options}
    kernel = argument.get("kernel_size")
    stride = argument.get("stride")
    if function.startswith("conv"):
        kernel = tuple(argument["weight"].shape[2:])
    elif stride is None or stride == ():
        stride = kernel
    dilations = _by_dim(argument.get("dilation", 1), fields)
    kernels = _by_dim(kernel, fields)
    padding = argument.get("padding", 0)
    if padding == "valid":
        padding = 0
    paddings = _by_dim(0 if padding == "same" else padding, fields)
    if padding == "same":
        paddings = [
            dilation * (size - 1) // 2
            for dilation, size in zip(dilations, kernels, strict=True)
        ]
    strides = _by_dim(1 if stride is None else stride, fields)
    return tuple(
        field.slid(*sizes)
        for field, *sizes in zip(
            fields, kernels, strides, paddings, dilations, strict=True
        )
    )


def _by_dim(size: Any, fields: Fields) -> list[int]:
    """Return a size by dimension, also where it is one number for all."""
    sizes = [int(size)] if isinstance(size, int) else [int(number) for number in size]
    if len(sizes) == 1:
        return sizes * len(fields)
    return sizes


def joined(sources: Sequence[Fields | None]) -> Fields | None:
    """Return what cells see that are made cell by cell of several maps' cells.

    None where that is not known.
    """
    map_fields = [fields for fields in sources if fields is not None]
    if not map_fields or len(map_fields) < len(sources):
        return None
    by_dim = []
    for dim_fields in zip(*map_fields, strict=True):
        if len({field.step for field in dim_fields}) > 1:
            return None
        first = min(field.first for field in dim_fields)
        last = max(field.last for field in dim_fields)
        by_dim.append(Field(dim_fields[0].step, first, last))
    return tuple(by_dim)


def changed_cells(
    fields: Fields,
    cells: Sequence[int],
    size: Sequence[int],
    blocks: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return which cells ``(1, *cells)`` see each of some blocks of an image, 1 or 0.

    Args:
        fields: what they see, by dimension.
        cells: how many there are along each.
        size: pixels along each.
        blocks: true in a strip across the image, with 1 or all pixels along each
            dimension.
    """
    changes = list[Tensor | None]()
    for block in blocks:
        sighted = torch.ones(1, *cells)
        for dim, (field, count, pixels) in enumerate(
            zip(fields, cells, size, strict=True)
        ):
            lines = block.movedim(dim, 0).reshape(block.shape[dim], -1)
            line = lines.any(dim=1).expand(pixels)
            before = torch.cat([torch.zeros(1), line.float().cumsum(0)])
            first_pixels = torch.arange(count) * field.step
            start = (first_pixels + field.first).clamp(0, pixels)
            stop = (first_pixels + field.last + 1).clamp(0, pixels)
            sees = (before[stop.maximum(start)] > before[start]).float()
            sighted = sighted * sees.reshape(
                [-1 if axis == dim else 1 for axis in range(len(cells))]
            )
        changes.append(sighted)
    return changes
