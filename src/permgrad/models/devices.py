"""How many threads torch computes with, and in which precision: processors and
accelerators differ.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from permgrad.base import threads
from permgrad.base.threads import Undo, together

#: How numbers may be kept while a network is trained. Weights, losses and everything
#: after training are float32.
PRECISIONS: tuple[str, ...] = ("auto", "float32", "bfloat16")
#: Kinds of devices without numbers of 64 bits: there float32 takes the place of
#: float64.
WITHOUT_FLOAT64 = {"mps"}


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with so many threads for the body, and with as many as before
    afterwards. None: as it is.
    """
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: The device on which the user's own code makes tensors unless told otherwise, where it
#: is another than the processor.
_users_device: ContextVar[torch.device | None] = ContextVar(
    "users_device", default=None
)


def on_users_device() -> Any:
    """Return a context for code of the user's, which counts on the default device that
    the user has set.
    """
    device = _users_device.get()
    if device is None:
        return contextlib.nullcontext()
    return device


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products in float32 for the body, and make tensors on the
    processor unless told otherwise.

    The caller's switches are put back, also after an error.

    torch lets convolutions on NVIDIA GPUs round their inputs to 10 bits (TF32) unless
    told otherwise, which moves predictions by about 1e-3 of their size. Everything that
    computes does so inside this context.
    """
    with contextlib.ExitStack() as undo_stack:
        device = torch.get_default_device()
        if device.type != "cpu":
            undo_stack.callback(_users_device.reset, _users_device.set(device))
            undo_stack.enter_context(torch.device("cpu"))
        if threads.forked:
            # With more than one thread a forked child would wait for its parent's
            # forever.
            from threadpoolctl import threadpool_limits

            undo_stack.enter_context(torch_threads(1))
            undo_stack.enter_context(threadpool_limits(1, user_api="openmp"))
        if torch.backends.mps.is_available() or {"mps"} != WITHOUT_FLOAT64:
            undo_stack.enter_context(WithoutFloat64())
        cudnn = torch.backends.cudnn
        matmul = torch.backends.cuda.matmul
        # Each switch of TF32 with the finer ones that newer versions of torch put in
        # its place.
        finer = tuple(
            getattr(cudnn, switch_name)
            for switch_name in ("conv", "rnn")
            if hasattr(cudnn, switch_name)
        )
        # The switches are the process's, autocast is the thread's.
        switches = {
            ("TF32", "cudnn"): (cudnn, finer),
            ("TF32", "matmul"): (matmul, (matmul,)),
        }
        undo_stack.enter_context(
            together(
                {
                    switch_key: partial(_switch_off, *switch_parts)
                    for switch_key, switch_parts in switches.items()
                }
            )
        )
        for device_kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device_kind):
                undo_stack.enter_context(torch.autocast(device_kind, enabled=False))
        yield


def _switch_off(switch: Any, finer: tuple[Any, ...]) -> Undo:
    """Switch TF32 off and return what puts it back."""
    attribute_name = "allow_tf32"
    off_value = cast("Any", False)
    switches = (switch,)
    try:
        before: list[Any] = [switch.allow_tf32]
    except RuntimeError:
        # The user has set the finer switches. Asked for the coarse one, torch refuses
        # to answer.
        attribute_name = "fp32_precision"
        off_value = "ieee"
        switches = finer
        before = [finer_switch.fp32_precision for finer_switch in finer]

    undo_stack = contextlib.ExitStack()
    for precision_switch, old_value in zip(switches, before, strict=True):
        if old_value != off_value:
            undo_stack.callback(setattr, precision_switch, attribute_name, old_value)
            setattr(precision_switch, attribute_name, off_value)
    return undo_stack.close


def _lies_there(value: Any) -> bool:
    """Return whether a value is a device without float64, a tensor on one, or holds one
    of these.
    """
    if isinstance(value, (list, tuple, dict)):
        return any(
            map(_lies_there, value.values() if isinstance(value, dict) else value)
        )
    if isinstance(value, Tensor):
        value = value.device
    return (
        isinstance(value, (str, torch.device))
        and str(value).partition(":")[0] in WITHOUT_FLOAT64
    )


def _narrowed(value: Any) -> Any:
    """Return float32 for float64, and a tensor or array of it for one of float64."""
    if isinstance(value, Tensor) and value.dtype == torch.float64:
        return value.to(torch.float32)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    if value is torch.float64:
        return torch.float32
    return value


class WithoutFloat64(TorchFunctionMode):
    """Lets the body compute in float32 on devices that have no float64.

    Other devices are not touched.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _lies_there((args, kwargs)):
            if func is Tensor.double:
                func = Tensor.float
            args, kwargs = tree_map(_narrowed, (args, kwargs))
        return func(*args, **kwargs)
