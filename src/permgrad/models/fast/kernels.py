"""Products and poolings for networks that only predict: the fastest of what torch has for the same numbers.

The fast ones are taken where no gradient is followed, and everything falls back to the ordinary functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce

import torch
from torch import Tensor
from torch.nn import functional

#: Rows from which a product is worth the call of another library.
_FEW_ROWS = 16
#: Numbers of rows that oneDNN is given: multiples of the first up to the second, and smaller powers of two.
_UNIT, _MOST_ROWS = 256, 4096


def linear(values: Tensor, weight: Tensor, bias: Tensor | None = None, *, rectify: bool = False) -> Tensor:
    """Return ``values @ weight.T + bias``, negative results set to 0 if ``rectify``.

    On processors torch multiplies matrices with MKL, which on some of them uses half of the vector width; its
    convolutions go through oneDNN, which does not (measured: 105 against 235 GFLOP/s). oneDNN's product is taken where
    torch has it.

    Shape:
        values ``(rows, [members,] width)``, weight ``(units, width)``, bias ``(units,)``; result
        ``(rows, [members,] units)``.

    Examples:
        >>> linear(torch.ones(2, 3), torch.ones(1, 3), torch.tensor([-4.0]), rectify=True).tolist()
        [[0.0], [0.0]]
    """
    if values.ndim > 2:
        flat = linear(values.flatten(0, -2), weight, bias, rectify=rectify)
        shaped: Tensor = flat.unflatten(0, values.shape[:-1])
        return shaped
    if len(values) < _FEW_ROWS or torch.is_grad_enabled() or not (_plain(values) and _plain(weight) and _found()):
        out: Tensor = functional.linear(values, weight, bias)
        return out.relu_() if rectify else out
    sizes = pieces(len(values))
    values, weight = values.contiguous(), weight.contiguous()
    if len(sizes) == 1:
        return _product(values, weight, bias, rectify)
    return torch.cat([_product(piece, weight, bias, rectify) for piece in values.split(sizes)])


def _product(values: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
    if len(values) < _FEW_ROWS:
        out = functional.linear(values, weight, bias)
        return out.relu_() if rectify else out
    made: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 — the operation behind torch.compile's own
        values, weight, bias, "relu" if rectify else "none", [], ""
    )
    return made


def pieces(rows: int) -> list[int]:
    """Return how rows are divided so that oneDNN meets few different numbers of them.

    It keeps compiled code for every number of rows that it has met, up to a thousand: half a megabyte each, and
    0.7 ms to make. Multiples of 256 up to 4,096 and powers of two are twenty in all.

    Examples:
        >>> pieces(256), pieces(5_000), pieces(90)
        ([256], [4096, 768, 128, 8], [64, 16, 10])
    """
    sizes = [_MOST_ROWS] * (rows // _MOST_ROWS)
    rows %= _MOST_ROWS
    if rows >= _UNIT:
        sizes.append(rows // _UNIT * _UNIT)
        rows %= _UNIT
    while rows >= _FEW_ROWS:
        sizes.append(1 << (rows.bit_length() - 1))
        rows -= sizes[-1]
    return [*sizes, rows] if rows else sizes


def _plain(tensor: Tensor) -> bool:
    """Return whether a tensor is of single precision, on a processor."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


@cache
def _found() -> bool:
    """Return whether torch has oneDNN's product, and it gives what the ordinary one gives."""
    try:
        with torch.inference_mode():
            values, weight, bias = torch.arange(48.0).reshape(16, 3), torch.arange(-3.0, 3).reshape(2, 3), torch.ones(2)
            found = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "relu", [], "")  # noqa: SLF001 — as above
            return bool(torch.allclose(found, functional.linear(values, weight, bias).relu()))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def channels_last(maps: Tensor) -> Tensor:
    """Return maps ``(rows, channels, height, width)`` with channels next to each other in memory.

    A single channel lies first and last at once, and torch decides by its stride, which is 1 here: otherwise the
    results of a convolution would come with their many channels first.

    Examples:
        >>> channels_last(torch.zeros(2, 1, 3, 4)).stride()
        (12, 1, 4, 1)
    """
    if maps.shape[1] != 1:
        return maps.contiguous(memory_format=torch.channels_last)
    return maps[:, 0].contiguous().unsqueeze(-1).permute(0, 3, 1, 2)


def channels_first_to_last(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a matrix over flat maps for maps that are flattened with their channels last.

    Shape:
        matrix ``(units, channels × height × width)``, shape ``(channels, height, width)``.
    """
    return matrix.reshape(len(matrix), *shape).permute(0, 2, 3, 1).flatten(1).contiguous()


def max_pool(values: Tensor, window: int) -> Tensor:
    """Return the maximum of each ``window × window`` square, squares side by side; odd rows and columns are dropped.

    Equal to ``torch.nn.functional.max_pool2d``, in half its time where channels are next to each other in memory.

    Shape:
        ``(rows, channels, height, width)`` with channels last in memory, to ``(rows, channels, height // window,
        width // window)``, channels last.

    Examples:
        >>> max_pool(torch.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    rows, channels, height, width = values.shape
    high, wide = height // window, width // window
    near = values.permute(0, 2, 3, 1)
    if (high * window, wide * window) != (height, width):
        near = near[:, : high * window, : wide * window]
    # Long contiguous pieces first, then the short ones on what is left.
    lines = near.reshape(rows, high, window, wide * window * channels).unbind(2)
    across = reduce(torch.maximum, lines).view(rows, high, wide, window, channels)
    return reduce(torch.maximum, across.unbind(3)).permute(0, 3, 1, 2)
