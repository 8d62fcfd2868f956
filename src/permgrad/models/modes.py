"""Put networks into eval mode for a while, and back as they were, also where they define ``train`` and ``eval``."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import nn

from permgrad.base.threads import Change, Undo, together

_REGISTRIES = ("_parameters", "_buffers", "_modules")


class _OwnMode:
    """A part of a network with its own ``train`` or ``eval``, which may merge, fuse or choose more than a flag says."""

    def __init__(self, part: nn.Module) -> None:
        self.part, self.training = part, part.training
        self.before = self.switched = self.held()

    def held(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the part's attributes, and what is registered in it."""
        own = vars(self.part)
        return dict(own), {name: dict(own[name]) for name in _REGISTRIES}

    def undo(self) -> None:
        """Put the part back by its own methods, then what its ``eval`` has replaced and they did not put back."""
        if self.training or self.part.training:
            with suppress(Exception):  # it may refuse to be trained, as what ``torch.export`` made does
                self.part.train(self.training)
        (values, registered), (after, registered_after) = self.before, self.switched
        own = vars(self.part)
        for name in _REGISTRIES:
            # Places count too: an optimizer's state is loaded by them.
            if not _same(registered[name], registered_after[name]) and not _same(registered[name], own[name]):
                own[name].clear()
                own[name].update(registered[name])
        for name in (name for name in {**values, **after} if values.get(name, own) is not after.get(name, own)):
            if name in values:
                own[name] = values[name]
            else:
                own.pop(name, None)


def _same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Return whether the same objects have the same names, in the same order."""
    return list(one) == list(two) and all(one[name] is two[name] for name in one)


def _has_own_mode(part: nn.Module) -> bool:
    if isinstance(part, torch.jit.ScriptModule):
        return False
    kept = type(part).train is nn.Module.train and type(part).eval is nn.Module.eval
    return not kept or not {"train", "eval"}.isdisjoint(vars(part))


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into eval mode for the body, and back into its own mode afterwards, also after an error."""
    parts, fresh = list(module.modules()), list[_OwnMode]()
    modes: dict[Hashable, Change] = {("mode", id(part)): (part, "training") for part in parts}
    for part in parts:
        if not hasattr(part, "training"):  # a frozen module of TorchScript, which is left without
            modes["mode", id(part)] = partial(partial, vars(part).pop, "training", None)

    def noted(part: nn.Module) -> Undo:
        fresh.append(_OwnMode(part))
        return fresh[-1].undo

    def switched() -> Undo:
        _evaluate(module)
        for one in fresh:
            one.switched = one.held()
        return lambda: None

    # The last is undone first: outer parts, which may call inner ones, and then all flags.
    for part in reversed([part for part in parts if _has_own_mode(part)]):
        modes["own mode", id(part)] = partial(noted, part)
    modes["switched", id(module)] = switched
    with together(modes):
        # Another thread may have begun to train it. Else once: an own eval may add to a weight each time.
        if any(getattr(part, "training", True) for part in parts):
            _evaluate(module)
        yield


def _evaluate(module: nn.Module) -> None:
    try:
        module.eval()
    except NotImplementedError:  # what ``torch.export`` made has one mode only, the one it was exported in
        for part in module.modules():
            part.training = False
