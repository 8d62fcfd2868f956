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
        found_changes: Changes = {}
        for (module_name, registry), before in self.registries.items():
            current_entries = vars(self.parts[module_name])[registry]
            if registry not in _NAMED:
                if list(current_entries.items()) != list(before.items()):
                    words = f"hooks of {module_name or 'the network'}"
                    found_changes[module_name, registry, ""] = _replaced(
                        words, current_entries
                    )
                continue
            for entry in {**before, **current_entries}:
                entry_key = (module_name, registry, entry)
                if current_entries.get(entry, self) is not before.get(entry, self):
                    found_changes[entry_key] = _entry(
                        _dotted(module_name, entry), current_entries, entry
                    )
                elif entry_key in self.numbers and not _same(
                    current_entries[entry], self.numbers[entry_key]
                ):
                    found_changes[entry_key] = _written(
                        _dotted(module_name, entry), current_entries[entry]
                    )
        return found_changes


def contents_of(module: nn.Module) -> Contents:
    """Return what the parts of a network hold. Numbers of large ones are left out."""
    modules = {}
    for module_name, submodule in module.named_modules():
        if not isinstance(submodule, torch.jit.ScriptModule):
            modules[module_name] = submodule
    contents = Contents(modules)
    tensors = (*module.parameters(), *module.buffers())
    copied = sum(copied_tensor.numel() for copied_tensor in tensors) <= MOST_COPIED
    for owner_name, owner_module in modules.items():
        for registry in REGISTRIES:
            entries = dict(vars(owner_module)[registry])
            contents.registries[owner_name, registry] = entries
            if registry not in _NAMED[:2] or not copied:
                continue
            for entry, tensor in entries.items():
                if tensor is not None and is_plain(tensor):
                    contents.numbers[owner_name, registry, entry] = (
                        tensor.detach().clone()
                    )
    return contents


def _dotted(name: str, entry: str) -> str:
    if name:
        return f"{name}.{entry}"
    return entry


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
    there = entry in registry
    value = registry.get(entry)

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
