"""Restore a user's network and the process, whatever its forward does besides computing.

A forward may count its calls in a buffer, keep averaging in eval mode, hold a weight's norm below a bound, freeze a
layer or draw from NumPy's generator. Generators are seeded, so that an explanation can be repeated. Everything is
restored afterwards, also after an error.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import register_optimizer_step_post_hook

from permgrad.base.errors import Fault, InputError, refusing
from permgrad.base.random import forked_torch
from permgrad.base.threads import Change, Undo, together
from permgrad.models.modes import evaluation_mode

#: Weights above so many numbers are not copied: what a forward writes into them stays.
_MOST_COPIED = 2**27


@refusing
def check_initialised(module: nn.Module) -> Iterator[Fault]:
    """Refuse a network without weights."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            hint = "Call the network once on some rows, train it or load its weights"
            yield f"The lazy parameter {name!r} of the network has no values yet", hint, "PG031"
        if tensor.is_meta:
            problem = f"The parameter {name!r} of the network is on the meta device and has no values"
            yield problem, "Load its weights", "PG031"


@contextmanager
def kept(module: nn.Module) -> Iterator[None]:
    """Run the body with a network in eval mode and seeded generators, and restore both afterwards.

    Threads may do so at the same time: the last to leave restores the state from before the first. A network that
    another thread trains keeps what that thread changes, and the explanation is refused.
    """
    # A forward may switch gradients. This sets them to their present state, which is restored at the end.
    followed = torch.set_grad_enabled(torch.is_grad_enabled())
    weights, steps, training = set(map(id, module.parameters())), list[Any](), list[nn.Module]()

    def note(optimizer: Any, *_: Any) -> None:
        steps.extend(one for group in optimizer.param_groups for one in group["params"] if id(one) in weights)

    handle = register_optimizer_step_post_hook(note)
    # Weights above the limit are not copied, and those that parts share are copied once.
    owners = {id(one): part for part in module.modules() for one in part.parameters(recurse=False)}
    few = sum(one.numel() for one in (*module.buffers(), *module.parameters())) <= _MOST_COPIED
    # Part by part: another thread may explain a part of the network.
    undo: dict[Hashable, Change] = {
        ("network", id(part)): partial(
            _kept_part,
            part,
            [one for one in part.parameters(recurse=False) if few and owners[id(one)] is part],
            steps,
        )
        for part in module.modules()
    }
    try:
        # What its own eval adds to a weight is taken out by its own train, and the last bit by what is kept around it.
        with followed, seeded(undo), evaluation_mode(module):
            yield
            training = [part for part in module.modules() if part.training]
    finally:
        handle.remove()
        for part in training if steps else ():
            part.training = True
    if steps:
        problem = "The network was trained while it was explained, by another thread"
        raise InputError(problem, hint="Explain a copy, made between two steps: copy.deepcopy(network)", code="PG031")


@contextmanager
def seeded(changes: Mapping[Hashable, Change] = MappingProxyType({})) -> Iterator[None]:
    """Run the body with seeded generators of Python, NumPy and torch, and what is compiled as it was written.

    Everything is restored, as are the other changes listed.
    """
    generators: dict[Hashable, Change] = {
        "Python's generator": lambda: partial(random.setstate, random.getstate()),
        "NumPy's generator": lambda: partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002 — the user's
    }
    if "torch._dynamo" in sys.modules:  # only what has loaded the compiler can have compiled anything
        generators["compiler"] = _as_written
    with forked_torch(0), together({**generators, **changes}):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 — it is the user's that is kept
        yield


def _ordinary(part: nn.Module) -> list[tuple[str, Tensor]]:
    """Put copies in the place of weights made in inference mode, which have no gradients. Return the weights."""
    if isinstance(part, torch.jit.ScriptModule):
        return []
    named = (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    taken = [(name, one) for name, one in named if one.is_inference()]
    with torch.inference_mode(mode=False), torch.no_grad():
        for name, one in taken:
            copied = one.clone()
            trained = isinstance(one, nn.Parameter)
            setattr(part, name, nn.Parameter(copied, requires_grad=one.requires_grad) if trained else copied)
    return taken


def _kept_part(part: nn.Module, copied: Sequence[Tensor], steps: Sequence[Any]) -> Undo:
    """Return a function that restores weights, buffers, which are trained, and what calling a part leaves in it.

    Of the weights, the numbers of those ``copied`` are kept.
    """
    with ExitStack() as undone:
        if "forward" not in vars(part):  # where TorchScript stores the method that was asked for
            undone.callback(vars(part).pop, "forward", None)
        for name, tensor in _ordinary(part):
            undone.callback(setattr, part, name, tensor)
        for parameter in (one for one in part.parameters(recurse=False) if not one.is_inference()):
            undone.callback(parameter.requires_grad_, parameter.requires_grad)
        for buffer in (one for one in part.buffers(recurse=False) if one.is_leaf and not one.is_inference()):
            undone.callback(_cut_off, buffer, buffer.requires_grad)
        undone.callback(_kept_numbers(part, copied, steps))
        return undone.pop_all().close


#: The attributes of a part, and a copy of them.
Attributes = tuple[dict[str, Any], dict[str, Any]]


def attributes_of(module: nn.Module) -> list[Attributes]:
    """Return the attributes of each part, where a forward may keep a flag or what it has seen."""
    parts = (part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule))
    return [(vars(part), dict(vars(part))) for part in parts]


def put_back(attributes: Sequence[Attributes]) -> None:
    """Put the attributes of parts back, and remove those that are new."""
    for own, before in attributes:
        for name in own.keys() - before.keys():
            del own[name]
        own.update({name: value for name, value in before.items() if own.get(name, own) is not value})


def _cut_off(buffer: Tensor, trained: bool) -> None:
    """Cut an average, which a forward with gradients has updated in place, off from what it was computed from."""
    if not buffer.is_leaf:
        buffer.detach_().requires_grad_(trained)


def _kept_numbers(part: nn.Module, copied: Sequence[Tensor], steps: Sequence[Any]) -> Undo:
    """Return a function that restores a part's buffers and some weights, if nobody made ``steps`` of training."""
    wanted = dict(part.named_buffers(recurse=False))
    # Each weight and buffer, its numbers and a copy of them.
    with torch.inference_mode(mode=False):
        copies = [(one, one.data, one.detach().clone()) for one in (*wanted.values(), *copied) if is_plain(one)]

    def put_back() -> None:
        current = dict(part.named_buffers(recurse=False))
        for name in current.keys() - wanted.keys():
            delattr(part, name)
        for name, buffer in wanted.items():
            if current.get(name) is not buffer:
                setattr(part, name, buffer)
        for tensor, alias, copy in copies:
            # What was resized has the same place, but other numbers.
            if tensor.data_ptr() != alias.data_ptr() or tensor.shape != alias.shape:
                tensor.data = alias
            if not same_numbers(alias, copy):
                alias.copy_(copy)

    return lambda: None if steps else put_back()


def _as_written() -> Undo:
    """Have all that is compiled run as it was written: every batch size and mode would be compiled anew."""
    stance = torch.compiler.set_stance("force_eager")
    return partial(stance.__exit__, None, None, None)


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor holds its numbers itself.

    Others, quantised or divided over processes, do little else than multiply: they are neither copied nor compared.
    """
    return tensor.layout == torch.strided and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__


def sums_of_weights(module: nn.Module) -> list[int]:
    """Return a checksum of each weight, which changes if a forward writes into it. Large networks have none."""
    weights = [weight.detach() for weight in module.parameters() if is_plain(weight)]
    if sum(weight.numel() for weight in weights) > _MOST_COPIED:
        return []
    # Sums, not copies: the weights of a network that is explained are in memory once more than they are without this.
    return [crc32(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().data) for weight in weights]


def same_numbers(one: Tensor, two: Tensor) -> bool:
    """Return whether numbers are the same, NaN too: writing them once more would disturb a graph of the user's."""
    if torch.equal(one, two):
        return True
    return bool(((one == two) | ((one != one) & (two != two))).all())  # noqa: PLR0124 — NaN alone is not itself
