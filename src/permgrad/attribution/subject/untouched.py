"""A user's network and the process stay as they were, whatever its forward does beside computing.

A forward may count its calls in a buffer, go on averaging in eval mode, hold a weight's norm below a bound, freeze a
layer or draw from NumPy's generator. What it draws from is seeded, so that an explanation can be had again, and all of
it is put back afterwards, also after an error.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from permgrad.base.errors import InputError
from permgrad.base.random import forked_torch
from permgrad.base.threads import Change, Undo, together
from permgrad.models.fast.replacement import evaluation_mode

#: Weights above so many numbers are not copied: what a forward writes into them stays.
_MOST_COPIED = 2**27


def check_initialised(module: nn.Module) -> None:
    """Refuse a network whose weights are not there yet."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                f"a network must have its weights, however: {name!r} is lazy and has none yet; call the network once "
                "on some rows, train it or load its weights"
            )
        if tensor.is_meta:
            raise InputError(
                f"a network must have its weights, however: {name!r} is on the meta device, where there are no "
                "numbers; load its weights"
            )


@contextmanager
def kept(module: nn.Module) -> Iterator[None]:
    """Run the body with a network in eval mode and seeded generators; put back all of both afterwards.

    Threads may do so at the same time: who leaves last puts back what the first had found.
    """
    changes: dict[Hashable, Change] = {
        "Python's generator": lambda: partial(random.setstate, random.getstate()),
        "NumPy's generator": lambda: partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002 — the user's
        ("network", id(module)): partial(_kept_network, module),
    }
    # A forward may switch gradients: what is switched on here is what they are already, and is put back at the end.
    followed = torch.set_grad_enabled(torch.is_grad_enabled())
    with followed, evaluation_mode(module), forked_torch(0), together(changes):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 — it is the user's that is kept
        yield


def _kept_network(module: nn.Module) -> Undo:
    """Return what puts back a network's buffers, weights and which of them are trained."""
    gradients = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    buffers = [(part, dict(part.named_buffers(recurse=False))) for part in module.modules()]
    copies = _copies(module)

    def put_back() -> None:
        for part, wanted in buffers:
            current = dict(part.named_buffers(recurse=False))
            for name in current.keys() - wanted.keys():
                delattr(part, name)
            for name, buffer in wanted.items():
                if name not in current or current[name].data_ptr() != buffer.data_ptr():
                    setattr(part, name, buffer)
        for tensor, alias, copy in copies:
            if tensor.data_ptr() != alias.data_ptr():
                tensor.data = alias
            if not _same(alias, copy):
                alias.copy_(copy)
        for parameter, trained in gradients:
            parameter.requires_grad_(trained)

    return put_back


@contextmanager
def as_written(module: nn.Module) -> Iterator[None]:
    """Run the body with parts that the user has compiled as they were written: each batch size would compile anew."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None or not any(hasattr(part, "_orig_mod") for part in module.modules()):
        yield
        return
    with stance("force_eager"):
        yield


def _copies(module: nn.Module) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return each buffer and weight, its numbers where they are, and a copy of them."""
    tensors = [*module.buffers(), *module.parameters()]
    if sum(tensor.numel() for tensor in tensors) > _MOST_COPIED:
        tensors = list(module.buffers())
    with torch.inference_mode(mode=False):
        return [(tensor, tensor.data, tensor.detach().clone()) for tensor in tensors if tensor.layout == torch.strided]


def copied_weights(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return each weight and a copy of its numbers; none of a network so large that nothing is copied of it."""
    return [(tensor, copy) for tensor, _, copy in _copies(module) if isinstance(tensor, nn.Parameter)]


def are_rewritten(copied: list[tuple[Tensor, Tensor]]) -> bool:
    """Whether a forward has written other numbers into weights since they were copied."""
    return any(weight.shape != copy.shape or not _same(weight.detach(), copy) for weight, copy in copied)


def _same(one: Tensor, two: Tensor) -> bool:
    """Return whether numbers are the same, NaN too: writing them once more would disturb a graph of the user's."""
    if torch.equal(one, two):
        return True
    return bool(((one == two) | ((one != one) & (two != two))).all())  # noqa: PLR0124 — NaN alone is not itself
