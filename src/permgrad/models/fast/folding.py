"""Layers of a network that only predicts, with less to do; results differ from the layers' by rounding.

Normalisation is an affine map in eval mode; an activation that never falls may come after a maximum, on fewer numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Step = Callable[[Tensor], Tensor]

#: Layers that do nothing in eval mode.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
#: What torch's layers compute, as it was when this was loaded: who patches a class wants to be called.
_FORWARDS: dict[type[nn.Module], Any] = {
    kind: kind.forward for kind in (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)
}
#: Activations that never fall, so that they and a maximum may change places.
_RISING = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SELU)


def channels_last(maps: Tensor) -> Tensor:
    """Return maps ``(rows, channels, height, width)`` with channels next to each other in memory."""
    if maps.shape[1] != 1:
        return maps.contiguous(memory_format=torch.channels_last)
    return maps[:, 0].contiguous().unsqueeze(-1).permute(0, 3, 1, 2)


def flat_near(maps: Tensor) -> Tensor:
    """Return maps as rows of numbers, channels last; without a copy where memory has them so."""
    return maps.permute(0, 2, 3, 1).flatten(1)


def channels_first_to_last(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a matrix over flat maps of ``shape (channels, height, width)`` for maps flattened by ``flat_near``."""
    return flat_near(matrix.reshape(len(matrix), *shape)).contiguous()


def max_pool(values: Tensor, window: int) -> Tensor:
    """Return the maximum of each square of maps, channels last; odd rows and columns are dropped."""
    rows, channels, height, width = values.shape
    high, wide = height // window, width // window
    near = values.permute(0, 2, 3, 1)[:, : high * window, : wide * window]
    # Long contiguous pieces first, then the short ones on what is left.
    lines = near.reshape(rows, high, window, wide * window * channels).unbind(2)
    across = reduce(torch.maximum, lines).view(rows, high, wide, window, channels)
    return reduce(torch.maximum, across.unbind(3)).permute(0, 3, 1, 2)


def pair(value: Any) -> tuple[int, int]:
    """Return the size along both axes of what torch takes as one number or two."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def hooked(module: nn.Module) -> bool:
    """Return whether somebody watches a module's calls, which a folded layer would not make, or has replaced them."""
    # A forward set on the object itself is that of this layer alone.
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)  # noqa: SLF001 — torch has no other way to ask


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer computes what its torch class computes; its weight may be composed of others."""
    return isinstance(layer, kind) and type(layer).forward is _FORWARDS[kind] and not hooked(layer)


@dataclass(frozen=True)
class ChannelMap:
    """``x ↦ scale · x + shift`` per channel, in float64 until it is used in the precision of the network."""

    scale: Tensor
    shift: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, layer: nn.Module) -> ChannelMap | None:
        """Return what batch normalisation does in eval mode; None for other layers, or where it keeps no statistics."""
        if not isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) or hooked(layer):
            return None
        if layer.running_mean is None or layer.running_var is None:
            return None
        scale = (layer.running_var.detach().double() + layer.eps).rsqrt()
        if layer.weight is not None:
            scale = scale * layer.weight.detach().double()
        shift = -layer.running_mean.detach().double() * scale
        if layer.bias is not None:
            shift = shift + layer.bias.detach().double()
        return cls(scale, shift, layer.running_mean.dtype)

    def then(self, other: ChannelMap) -> ChannelMap:
        """Return both, one after the other."""
        return ChannelMap(self.scale * other.scale, self.shift * other.scale + other.shift, self.dtype)

    def step(self, *, maps: bool) -> Step:
        """Return the map as a function of rows ``(…, channels)``, or of maps ``(rows, channels, height, width)``."""
        scale, shift = self.scale.to(self.dtype), self.shift.to(self.dtype)
        if maps:
            scale, shift = scale[:, None, None], shift[:, None, None]
        return lambda values: torch.addcmul(shift, values, scale)


@dataclass
class _Dense:
    weight: Tensor
    bias: Tensor | None
    rectify: bool = False

    @classmethod
    def of(cls, layer: nn.Linear, before: ChannelMap | None) -> _Dense:
        """Return a dense layer with the affine map of what it reads in its own numbers."""
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        if before is None:
            return cls(weight, bias)
        wide = weight.double()
        total = wide @ before.shift if bias is None else wide @ before.shift + bias.double()
        return cls((wide * before.scale).to(weight.dtype), total.to(weight.dtype))

    def __call__(self, values: Tensor) -> Tensor:
        out = functional.linear(values, self.weight, self.bias)
        return out.relu_() if self.rectify else out


class DenseStack:
    """Layers one after the other on the last dimension, batch normalisation folded into the dense layer behind it.

    Shape: As the layers'.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.steps: list[Step] = []
        waiting: ChannelMap | None = None
        for layer in layers:
            affine = ChannelMap.of(layer) if isinstance(layer, nn.BatchNorm1d) else None
            if affine is not None:
                waiting = affine if waiting is None else waiting.then(affine)
            elif is_plain(layer, nn.Linear):
                self.steps.append(_Dense.of(layer, waiting))  # type: ignore[arg-type]
                waiting = None
            elif not isinstance(layer, _NOTHING) or hooked(layer):
                self._flush(waiting)
                waiting = None
                self._add(layer)
        self._flush(waiting)

    def _flush(self, waiting: ChannelMap | None) -> None:
        if waiting is not None:
            self.steps.append(waiting.step(maps=False))

    def _add(self, layer: nn.Module) -> None:
        last = self.steps[-1] if self.steps else None
        if isinstance(last, _Dense) and not last.rectify and is_plain(layer, nn.ReLU):
            last.rectify = True
        elif getattr(layer, "inplace", False):
            # What it is given may be somebody's rows, or a cache.
            self.steps.append(lambda values: layer(values.clone()))
        else:
            self.steps.append(layer)

    def __call__(self, values: Tensor) -> Tensor:
        """Apply the layers."""
        for step in self.steps:
            values = step(values)
        return values


class MapTail:
    """What follows a convolution up to the next: activations, normalisation and pooling of its maps.

    Shape: ``(rows, channels, height, width)``, channels last in memory, to the pooled maps.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        read = [layer for layer in layers if not isinstance(layer, _NOTHING)]
        steps: list[ChannelMap | _Bound | nn.Module] = [ChannelMap.of(layer) or layer for layer in read]
        self.before: ChannelMap | None = None
        if len(steps) > 1 and is_plain(read[0], nn.ReLU) and isinstance(steps[1], ChannelMap):
            self.before = steps[1]
            steps = [_Bound(steps[1]), *steps[2:]]
        pool = next((at for at, step in enumerate(steps) if isinstance(step, nn.MaxPool2d)), 0)
        # Steps that never fall and a maximum may change places.
        rising = [
            bool((step.scale >= 0).all())
            if isinstance(step, ChannelMap)
            else isinstance(step, _Bound) or (type(step) in _RISING and not hooked(step))
            for step in steps[:pool]
        ]
        if all(rising):
            steps = [*steps[pool : pool + 1], *steps[:pool], *steps[pool + 1 :]]
        self._steps = [_map_step(step) for step in steps]

    def __call__(self, values: Tensor) -> Tensor:
        """Apply the layers; the tensor given is not changed."""
        for step in self._steps:
            values = step(values)
        return values


class _Bound:
    """At least the shift of an affine map, in channels that it turns round at most."""

    def __init__(self, affine: ChannelMap) -> None:
        bound, turned = affine.shift.to(affine.dtype), affine.scale < 0
        infinite = torch.full_like(bound, torch.inf)
        self._low = torch.where(turned, -infinite, bound)[:, None, None]
        self._high = torch.where(turned, bound, infinite)[:, None, None] if bool(turned.any()) else None

    def __call__(self, values: Tensor) -> Tensor:
        above = torch.maximum(values, self._low)
        return above if self._high is None else torch.minimum(above, self._high)


def _map_step(layer: ChannelMap | _Bound | nn.Module) -> Step:
    if isinstance(layer, ChannelMap):
        return layer.step(maps=True)
    if isinstance(layer, _Bound):
        return layer
    if is_plain(layer, nn.MaxPool2d):
        window, stride = pair(layer.kernel_size), pair(layer.stride)
        if window == stride and window[0] == window[1] and not layer.ceil_mode and pair(layer.padding) == (0, 0):
            size = window[0]
            return lambda values: max_pool(values, size) if size > 1 else values
    return layer
