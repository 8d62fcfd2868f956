"""What a network installs at its first call and never again: hooks, parts, weights.

Many networks do so and remember it in an attribute, as those of transformers do that
return attentions. Where only the attribute stays, they never work again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.models.undisturbed import (
    MOST_COPIED,
    REGISTRIES,
    is_plain,
    same_numbers,
)

#: Registries whose entries have names of their own. Those of others are hooks.
_NAMED = ("_parameters", "_buffers", "_modules")
#: Where a change is: a part, a registry, and an entry with a name.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Change:
    """A change that a call made to a network, in words, and what makes it again."""

    words: str
    make: Callable[[], None]
    of_hooks: bool = False


Changes = dict[Place, Change]


@dataclass(frozen=True)
class Contents:
    """What the parts of a network hold: their registries, and the numbers in them."""

    parts: Mapping[str, nn.Module]
    registries: dict[tuple[str, str], dict[Any, Any]] = field(default_factory=dict)
    numbers: dict[Place, Tensor] = field(default_factory=dict)

    def changes(self) -> Changes:
        """Return what has changed since then, by place."""
        found: Changes = {}
        for (name, registry), before in self.registries.items():
            now = vars(self.parts[name])[registry]
            if registry not in _NAMED:
                if list(now.items()) != list(before.items()):
                    words = f"hooks of {name or 'the network'}"
                    found[name, registry, ""] = _replaced(words, now)
                continue
            for entry in {**before, **now}:
                place = (name, registry, entry)
                if now.get(entry, self) is not before.get(entry, self):
                    found[place] = _entry(_dotted(name, entry), now, entry)
                elif place in self.numbers and not _same(
                    now[entry], self.numbers[place]
                ):
                    found[place] = _written(_dotted(name, entry), now[entry])
        return found


def contents_of(module: nn.Module) -> Contents:
    """Return what the parts of a network hold. Numbers of large ones are left out."""
    parts = {
        name: part
        for name, part in module.named_modules()
        if not isinstance(part, torch.jit.ScriptModule)
    }
    contents = Contents(parts)
    tensors = (*module.parameters(), *module.buffers())
    copied = sum(one.numel() for one in tensors) <= MOST_COPIED
    for name, part in parts.items():
        for registry in REGISTRIES:
            entries = dict(vars(part)[registry])
            contents.registries[name, registry] = entries
            if registry not in _NAMED[:2] or not copied:
                continue
            for entry, tensor in entries.items():
                if tensor is not None and is_plain(tensor):
                    contents.numbers[name, registry, entry] = tensor.detach().clone()
    return contents


def _dotted(name: str, entry: str) -> str:
    return f"{name}.{entry}" if name else entry


def _same(now: Tensor, before: Tensor) -> bool:
    alike = (now.shape, now.dtype) == (before.shape, before.dtype)
    return alike and same_numbers(now.detach(), before)


def _replaced(words: str, registry: dict[Any, Any]) -> Change:
    """Return the change of all entries of a registry."""
    after = dict(registry)

    def make() -> None:
        registry.clear()
        registry.update(after)

    return Change(words, make, of_hooks=True)


def _entry(words: str, registry: dict[str, Any], entry: str) -> Change:
    """Return the change of one entry of a registry, which may be gone."""
    there, value = entry in registry, registry.get(entry)

    def make() -> None:
        if there:
            registry[entry] = value
        else:
            registry.pop(entry, None)

    return Change(words, make)


def _written(words: str, tensor: Tensor) -> Change:
    """Return the change of the numbers of a weight or a buffer."""
    after = tensor.detach().clone()

    def make() -> None:
        if tensor.shape == after.shape:
            tensor.data.copy_(after)
        else:
            tensor.data = after

    return Change(words, make)
