"""Devices that have no numbers of 64 bits, such as Apple's ``mps``: there float32 takes the place of float64."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

#: Kinds of devices without float64.
WITHOUT_FLOAT64 = {"mps"}


def _lies_there(value: Any) -> bool:
    """Whether a value is such a device, or a tensor on one."""
    if isinstance(value, Tensor):
        value = value.device
    if isinstance(value, torch.device):
        return value.type in WITHOUT_FLOAT64
    return isinstance(value, str) and value.partition(":")[0] in WITHOUT_FLOAT64


def _narrowed(value: Any) -> Any:
    """Return float32 for float64, and a tensor or array of it for one of float64."""
    if isinstance(value, Tensor) and value.dtype == torch.float64:
        return value.to(torch.float32)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    return torch.float32 if value is torch.float64 else value


class _Narrow(TorchFunctionMode):
    """Asks for float32 wherever float64 is asked for on such a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(map(_lies_there, tree_flatten((args, kwargs))[0])):
            func = Tensor.float if func is Tensor.double else func
            args, kwargs = tree_map(_narrowed, (args, kwargs))
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_float64() -> Iterator[None]:
    """Let the body compute in float32 on devices that have no float64; other devices are not touched."""
    if not torch.backends.mps.is_available() and {"mps"} == WITHOUT_FLOAT64:
        yield
        return
    with _Narrow():
        yield
