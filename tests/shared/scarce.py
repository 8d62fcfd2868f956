"""Memory that does not suffice for large tensors, without a machine that lacks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: What torch and Python end with, by where it happens.
ERRORS: dict[str, Callable[[int], BaseException]] = {
    "processor": lambda size: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate "
        f"{size} bytes."
    ),
    "accelerator": lambda size: torch.OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {size} bytes."
    ),
    "python": lambda _: MemoryError(),
}


class ScarceMemory(TorchDispatchMode):
    """Refuses every new tensor of more than ``most`` bytes for the body; notes the
    largest and how many it refused.

    Args:
        most: bytes of a tensor that there is memory for; None: of any.
        where: whose error is raised, of ``ERRORS``.
    """

    def __init__(self, most: int | None = None, where: str = "processor") -> None:
        super().__init__()
        self.most = most
        self.error = ERRORS[where]
        self.largest = 0
        self.refused = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result_tree = func(*args, **(kwargs or {}))
        known_places = {
            _place(value)
            for value in tree_leaves((args, kwargs))
            if isinstance(value, Tensor)
        }
        for value in tree_leaves(result_tree):
            if isinstance(value, Tensor) and _place(value) not in known_places:
                size = value.numel() * value.element_size()
                self.largest = max(self.largest, size)
                if self.most is not None and size > self.most:
                    self.refused += 1
                    raise self.error(size)
        return result_tree


def _place(value: Tensor) -> int:
    """Return where a tensor's numbers are, so that views are known; tensors in a layout
    of their own are new ones.
    """
    return (
        value.untyped_storage().data_ptr()
        if value.layout is torch.strided
        else id(value)
    )
