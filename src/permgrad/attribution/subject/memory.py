"""How much memory a row takes inside a network, so that a batch's activations are bounded and not its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from permgrad.base.errors import is_out_of_memory

#: Bytes that one operation may write for a batch. Larger batches are no faster on a processor, whose cache they leave;
#: an accelerator has memory of its own. Several such results are alive at once.
_WRITTEN, _WRITTEN_ACCELERATOR = 8 * 2**20, 2**30
#: Of a row where not even two fit in memory.
_TOO_MANY = 2**62


class _Written(TorchDispatchMode):
    """Notes how many bytes each operation of this thread gives back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        strided = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]
        self.sizes += [leaf.untyped_storage().nbytes() for leaf in strided]
        return result


def bytes_per_row(forward: Callable[[list[Tensor]], Any], row: Sequence[Tensor]) -> int:
    """Return the most bytes that one operation of a network writes for one row, ``(1, *shape)`` per input.

    What does not grow with the rows, such as a weight that is transposed, does not count.
    """
    sizes = []
    for count in (1, 2):
        rows = [torch.cat([tensor] * count) for tensor in row]
        try:
            with torch.no_grad(), _Written() as seen:
                forward(rows)
        except (RuntimeError, MemoryError) as error:
            if count == 1 or not is_out_of_memory(error):
                raise
            return _TOO_MANY
        sizes.append(seen.sizes)
    one, two = sizes
    if len(one) != len(two):
        return max(two, default=0) // 2
    return max((more - less for less, more in zip(one, two, strict=True)), default=0)


def rows_within_memory(bytes_of_a_row: int, device: torch.device) -> int:
    """Return how many rows go through a network together, at least one."""
    most = _WRITTEN if device.type == "cpu" else _WRITTEN_ACCELERATOR
    return max(1, most // max(bytes_of_a_row, 1))
