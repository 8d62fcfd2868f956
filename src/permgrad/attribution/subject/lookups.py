"""Find where a network looks up an input's numbers in an embedding, where token ids and codes have slopes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from permgrad.attribution.players.space import NOBODY
from permgrad.attribution.subject.positions import MOVING, Follower, coordinates, name_of, tensors_in
from permgrad.base.checks import is_whole

#: A layer by name, and which of its calls.
Site = tuple[str, int]

#: Functions that make a new number of each number by itself.
_ALONE = frozenset({
    "clone", "contiguous", "to", "long", "int", "short", "type", "type_as", "detach", "alias", "add", "radd", "iadd",
    "sub", "isub", "mul", "imul", "clamp", "clamp_min", "clamp_max", "clip", "minimum", "maximum", "remainder", "mod",
    "masked_fill", "where", "round", "floor", "nan_to_num",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Lookup:
    """One call of an embedding that reads an input. ``site`` is None if it is not the complete output of a layer.

    ``positions`` are those of the input's numbers, flat within a row, in the shape of the call's argument without rows.
    −1 marks a number that is not the input's. Rows lie along ``dimension`` of the call's output. ``pad`` is the id of
    padding, if there is one.
    """

    site: Site | None
    place: int
    positions: Tensor
    dimension: int
    pad: int | None

    def reads(self, count: int) -> bool:
        """Return whether every number of a row, of which there are ``count``, is looked up."""
        return bool(torch.isin(torch.arange(count), self.positions).all())


class _Copies(Follower):
    """Knows which numbers are an input's own, moved or changed one by one."""

    def follow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], value: Any) -> None:
        name = name_of(func)
        if name in MOVING:
            super().follow(func, args, kwargs, value)
        elif name in _ALONE and isinstance(value, Tensor):
            seen = [self.of(tensor) for tensor in tensors_in(args, kwargs) if self.of(tensor)]
            sizes = [tensor.shape for tensor in tensors_in(args, kwargs) if self.of(tensor)]
            if any(size != value.shape for size in sizes):
                return
            places = {place for axes in seen for place in axes}
            for place in places:
                every = [axes[place] for axes in seen if place in axes]
                if all(torch.equal(a, b) for axes in every[1:] for a, b in zip(axes, every[0], strict=True)):
                    self.keep(value, {**self.of(value), place: every[0]})


class _Watch(TorchFunctionMode):
    """Notes the calls of ``functional.embedding``, and the layers in which they happen."""

    def __init__(self, network: nn.Module, rows: Sequence[Tensor]) -> None:
        super().__init__()
        self._network, self._rows, self._follower = network, rows, _Copies()
        self._calls, self._thread = Counter[str](), get_ident()
        self._site: Site | None = None
        self._layer: nn.Embedding | None = None
        self.lookups: list[Lookup] = []
        for place, tensor in enumerate(rows):
            self._follower.enter(tensor, place, coordinates(tensor, range(tensor.ndim)))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        value = func(*args, **options)
        if name_of(func) == "embedding" and isinstance(value, Tensor):
            self._note(args[0] if args else options.get("input"))
        self._follower.follow(func, args, options, value)
        return value

    def _note(self, ids: Any) -> None:
        # Ids that are masked come from the mask too, which has fewer values.
        sources = sorted(self._follower.of(ids).items(), key=lambda pair: -len(self._rows[pair[0]].unique()))
        for place, axes in sources:
            where = _positions(self._rows[place], axes)
            if where is None:
                continue
            # The id of padding: the embedding's own, or that of the network's configuration.
            pad = None
            if self._layer is not None:
                pad = self._layer.padding_idx
                pad = configured_pad(self._network) if pad is None else pad
                pad = pad if pad is not None and pad < self._layer.num_embeddings else None
            self.lookups.append(Lookup(self._site, place, *where, pad))

    def enter(self, layer: str, module: nn.Embedding, _args: Any) -> None:
        """Note that a layer is called."""
        if get_ident() == self._thread:
            self._site, self._layer = (layer, self._calls[layer]), module
            self._calls[layer] += 1

    def leave(self, _module: nn.Embedding, _args: Any, output: Any) -> None:
        """Note that the layer returned. Look-ups for places other than its output's get no site."""
        if get_ident() != self._thread:
            return
        for number, lookup in enumerate(self.lookups):
            shape = [*lookup.positions.shape]
            shape.insert(lookup.dimension, len(self._rows[0]))
            if lookup.site == self._site and not (isinstance(output, Tensor) and [*output.shape[:-1]] == shape):
                self.lookups[number] = replace(lookup, site=None)
        self._site = self._layer = None


def find_lookups(subject: Any) -> list[Lookup]:
    """Return the calls of embeddings that read an input of a network, without those of positions, for example.

    A call that reads several inputs, for example if masks choose between two of them, is listed once for each.
    """
    modules = {name: part for name, part in subject.module.named_modules() if isinstance(part, nn.Embedding)}
    if not modules and all(subject.real):
        return []
    # Two rows tell along which dimension they lie.
    rows = [torch.cat([tensor[:1], tensor[:1]]) for tensor in subject.inputs]
    watch = _Watch(subject.module, rows)
    with ExitStack() as stack:
        for layer, module in modules.items():
            stack.callback(module.register_forward_pre_hook(partial(watch.enter, layer)).remove)
            stack.callback(module.register_forward_hook(watch.leave).remove)
        with watch:
            subject.forward(rows)
    return watch.lookups


def _positions(rows: Tensor, axes: Sequence[Tensor]) -> tuple[Tensor, int] | None:
    """Return which number of a row each number is, and along which dimension rows lie, or None if rows are mixed."""
    for dimension in range(axes[0].ndim):
        moved = [axis.movedim(dimension, 0) for axis in axes]
        if len(moved[0]) != len(rows) or not all(
            ((axis[0] == axis[1]) | (axis[0].isnan() & axis[1].isnan())).all() for axis in moved[1:]
        ):
            continue
        number = torch.arange(len(rows), dtype=moved[0].dtype, device=moved[0].device)
        wanted = number.reshape(-1, *[1] * (moved[0].ndim - 1))
        if bool(((moved[0] == wanted) | moved[0].isnan()).all()):
            flat = torch.zeros_like(moved[0][0], dtype=torch.float64)
            for axis, size in zip(moved[1:], rows.shape[1:], strict=True):
                flat = flat * size + axis[0]
            flat = torch.where(moved[0][0].isnan(), NOBODY, flat)
            return flat.nan_to_num(NOBODY).long().cpu(), dimension
    return None


def configured_pad(network: nn.Module) -> int | None:
    """Return the id of padding that a network's configuration names."""
    pad = getattr(getattr(network, "config", None), "pad_token_id", None)
    return int(pad) if is_whole(pad) and pad >= 0 else None
