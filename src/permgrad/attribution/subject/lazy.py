"""Lazy parameters, which get their shapes and values at a network's first call."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from permgrad.attribution.subject.inputs import InputForm, first_names
from permgrad.base.errors import warn_user

#: Rows of the call.
_FEW = 2


def lazy_names(module: nn.Module) -> list[str]:
    """Return the parameters and buffers that have no values yet."""
    named = (*module.named_parameters(), *module.named_buffers())
    return [name for name, tensor in named if is_lazy(tensor)]


def fill_lazy(
    module: nn.Module,
    forms: Sequence[InputForm],
    tensors: Sequence[Tensor],
    dtype: torch.dtype,
) -> None:
    """Call a network with lazy parameters once, as its user would, and say so.

    They are drawn as the user's own first call would draw them. A copy is called
    before, so that a call that is refused leaves nothing. ``dtype``: of the network.
    """
    names = lazy_names(module)
    few = [tensor[:_FEW] for tensor in tensors]
    real = []
    for input_tensor in few:
        if input_tensor.is_floating_point():
            real.append(input_tensor)
        else:
            real.append(input_tensor.to(dtype))
    for form in forms:
        for rows in (few, real):
            if _takes(module, form, rows):
                _call(module, form, rows)
                warn_user(
                    "The network changes itself at its first call "
                    f"({first_names(names)}). "
                    "permgrad made that call, and the change stays."
                )
                return


def _takes(module: nn.Module, form: InputForm, rows: Sequence[Tensor]) -> bool:
    """Return whether a copy of a network takes rows and has all its values then."""
    try:
        trial = copy.deepcopy(module, _lazy_buffers(module))
        _call(trial, form, rows)
    except Exception:  # noqa: BLE001 — of the user's code, which is called again below
        return False
    return not lazy_names(trial)


def _lazy_buffers(module: nn.Module) -> dict[int, Any]:
    """Return other buffers without values by the number of each, which torch does not
    copy.
    """
    lazy = [buffer for buffer in module.buffers() if is_lazy(buffer)]
    create: Any = UninitializedBuffer
    lazy_buffers: dict[int, Any] = {}
    for lazy_buffer in lazy:
        lazy_buffers[id(lazy_buffer)] = create(
            device=lazy_buffer.device, dtype=lazy_buffer.dtype
        )
    return lazy_buffers


def _call(module: nn.Module, form: InputForm, rows: Sequence[Tensor]) -> None:
    """Call a network in eval mode. The random state and what has values stay."""
    with torch.no_grad(), torch.random.fork_rng(), _with_its_buffers(module):
        form.call(module, [row.clone() for row in rows])


@contextmanager
def _with_its_buffers(module: nn.Module) -> Iterator[None]:
    """Restore the modes of all parts, and the buffers that have values."""
    modes = [(module_part, module_part.training) for module_part in module.modules()]
    buffers = [
        (buffer, buffer.clone()) for buffer in module.buffers() if not is_lazy(buffer)
    ]
    for submodule, _ in modes:
        submodule.training = False
    try:
        yield
    finally:
        for submodule, training in modes:
            submodule.training = training
        for buffer, numbers in buffers:
            if buffer.shape == numbers.shape:
                buffer.copy_(numbers)
