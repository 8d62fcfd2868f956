"""Layers of a network that only predicts, with less to do.

Results differ from the layers' by rounding.

Normalisation is an affine map in eval mode. An activation that never falls may come
after a maximum, on fewer numbers. Maps are ``(rows, height, width, channels)``:
flattened without a copy, and channels are last everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.models.network.members import MemberLinear, MemberMean
from permgrad.models.network.products import linear

Step = Callable[[Tensor], Tensor]

#: Layers that do nothing in eval mode.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
#: What torch's layers compute, as it was when this was loaded: who patches a class
#: wants to be called.
_FORWARDS: dict[type[nn.Module], Any] = {
    layer_class: layer_class.forward
    for layer_class in (
        nn.Linear,
        nn.Conv2d,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.ReLU,
        nn.SiLU,
        nn.MaxPool2d,
        nn.AvgPool2d,
    )
}
#: Activations, which act on each number alone.
POINTWISE = (
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.SELU,
    nn.Tanh,
    nn.ELU,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardswish,
)
#: Activations that never fall, so that they and a maximum may change places.
_RISING = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SELU)


def pair(value: Any) -> tuple[int, int]:
    """Return the size along both axes of what torch takes as one number or two."""
    if isinstance(value, int):
        return (int(value), int(value))
    return (int(value[0]), int(value[1]))


def hooked(module: nn.Module) -> bool:
    """Return whether somebody watches a module's calls, which a folded layer would not
    make, or has replaced them.
    """
    # A forward set on the object itself is that of this layer alone.
    return bool(
        module._forward_hooks or module._forward_pre_hooks  # noqa: SLF001 — torch has no other way to ask
    ) or "forward" in vars(module)


def watched(module: nn.Module) -> bool:
    """Return whether somebody watches any part of a network, or has patched the classes
    of torch's layers.
    """
    patched = any(
        layer_class.forward is not forward for layer_class, forward in _FORWARDS.items()
    )
    return patched or any(map(hooked, module.modules()))


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer computes what its torch class computes.

    Its weight may be composed of others.
    """
    return isinstance(layer, kind) and type(layer).forward is kind.forward


def max_pool(maps: Tensor, window: int) -> Tensor:
    """Return the maximum of each square of maps. Odd rows and columns are dropped."""
    row_count, height, width, channels = maps.shape
    pooled_height = height // window
    pooled_width = width // window
    cropped_maps = maps[:, : pooled_height * window, : pooled_width * window]
    # Long contiguous pieces first, then the short ones on what is left.
    lines = cropped_maps.reshape(
        row_count, pooled_height, window, pooled_width * window * channels
    ).unbind(2)
    across = reduce(torch.maximum, lines).view(
        row_count, pooled_height, pooled_width, window, channels
    )
    return reduce(torch.maximum, across.unbind(3))


class Affine:
    """``x ↦ scale · x + shift`` per channel: batch normalisation in eval mode.

    The numbers are float64.
    """

    def __init__(self, layer: Any) -> None:
        self.scale = (layer.running_var.detach().double() + layer.eps).rsqrt()
        if layer.weight is not None:
            self.scale = self.scale * layer.weight.detach().double()
        self.shift = -layer.running_mean.detach().double() * self.scale
        if layer.bias is not None:
            self.shift = self.shift + layer.bias.detach().double()
        self._narrow = (
            self.shift.to(layer.running_mean.dtype),
            self.scale.to(layer.running_mean.dtype),
        )

    def __call__(self, values: Tensor) -> Tensor:
        """Apply it, in the precision of the network."""
        shift, scale = self._narrow
        return torch.addcmul(shift, values, scale)

    def bound(self) -> Step:
        """Return the step that bounds maps by the shift: from below, or from above in
        channels that the map inverts.
        """
        shift = self._narrow[0]
        turned = self.scale < 0
        lower_limits = shift.masked_fill(turned, -torch.inf)
        upper_limits = shift.masked_fill(~turned, torch.inf)
        if bool(turned.any()):
            return partial(torch.clamp, min=lower_limits, max=upper_limits)
        return partial(torch.maximum, lower_limits)


def folded(layers: Sequence[nn.Module]) -> list[Any]:
    """Return the layers that do something in eval mode, batch normalisation as an
    affine map, a mean as one layer.
    """
    normalises = (nn.BatchNorm1d, nn.BatchNorm2d)
    steps: list[Any] = []
    for layer in layers:
        if steps:
            last_step = steps[-1]
        else:
            last_step = None
        if (
            isinstance(layer, MemberMean)
            and isinstance(last_step, MemberLinear)
            and last_step.is_last
        ):
            weight, mean_bias = last_step.mean()
            steps[-1] = partial(linear, weight=weight.detach(), bias=mean_bias.detach())
        elif isinstance(layer, normalises) and layer.running_mean is not None:
            steps.append(Affine(layer))
        elif not isinstance(layer, _NOTHING):
            steps.append(layer)
    return steps


class Stack:
    """Steps one after the other. The tensor given is not changed."""

    steps: list[Step]

    def __call__(self, values: Tensor) -> Tensor:
        """Apply the steps."""
        for layer_step in self.steps:
            values = layer_step(values)
        return values


class DenseStack(Stack):
    """Layers one after the other on the last dimension, batch normalisation folded into
    the dense layer behind it.

    ``fresh``: nobody else reads the tensors that it is given, so they may be
    overwritten.
    """

    def __init__(self, layers: Sequence[nn.Module], *, fresh: bool = False) -> None:
        self.steps = []
        for number, layer in enumerate(folded(layers)):
            before = self.steps[-1] if self.steps else None
            owns_values = getattr(before, "func", None) is linear or (
                fresh and number == 0
            )
            if is_plain(layer, nn.Linear):
                weight = layer.weight.detach()
                layer_bias = None if layer.bias is None else layer.bias.detach()
                if isinstance(before, Affine):
                    self.steps.pop()
                    double_weight = weight.double()
                    total = (
                        double_weight @ before.shift
                        if layer_bias is None
                        else double_weight @ before.shift + layer_bias.double()
                    )
                    weight, layer_bias = (
                        (double_weight * before.scale).to(weight.dtype),
                        total.to(weight.dtype),
                    )
                self.steps.append(partial(linear, weight=weight, bias=layer_bias))
            elif owns_values and is_plain(layer, nn.ReLU):
                self.steps.append(torch.relu_)
            elif owns_values and is_plain(layer, nn.SiLU):
                self.steps.append(partial(functional.silu, inplace=True))
            elif getattr(layer, "inplace", False):
                # What it is given may be somebody's rows, or a cache.
                self.steps.append(partial(_of_a_copy, layer))
            else:
                self.steps.append(layer)


def _of_a_copy(layer: nn.Module, values: Tensor) -> Tensor:
    layer_output: Tensor = layer(values.clone())
    return layer_output


class MapTail(Stack):
    """What follows a convolution up to the next: activations, normalisation and pooling
    of its maps.

    ``before``: an affine map that the convolution must apply itself.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        steps = folded(layers)
        self.before: Affine | None = None
        first: Any
        if steps:
            first = steps[0]
        else:
            first = None
        if len(steps) > 1 and is_plain(first, nn.ReLU) and isinstance(steps[1], Affine):
            self.before = steps.pop(1)
        pool_index = next(
            (
                step_index
                for step_index, tail_step in enumerate(steps)
                if isinstance(tail_step, nn.MaxPool2d)
            ),
            0,
        )
        # Steps that never fall and a maximum may change places.
        if pool_index and all(
            bool((rising_step.scale >= 0).all())
            if isinstance(rising_step, Affine)
            else type(rising_step) in _RISING
            for rising_step in steps[:pool_index]
        ):
            steps.insert(0, steps.pop(pool_index))
        self.steps = []
        for layer_step in steps:
            if layer_step is first and self.before is not None:
                self.steps.append(self.before.bound())
            elif isinstance(layer_step, (nn.MaxPool2d, nn.AvgPool2d)):
                sizes = {*pair(layer_step.kernel_size), *pair(layer_step.stride)}
                plain = (
                    is_plain(layer_step, nn.MaxPool2d)
                    and not layer_step.ceil_mode
                    and layer_step.padding in (0, (0, 0))
                )
                squares = plain and len(sizes) == 1
                self.steps.append(
                    partial(max_pool, window=sizes.pop())
                    if squares
                    else partial(_channels_first, layer_step)
                )
            else:
                self.steps.append(layer_step)


def _channels_first(layer: nn.Module, maps: Tensor) -> Tensor:
    layer_output: Tensor = layer(maps.permute(0, 3, 1, 2))
    return layer_output.permute(0, 2, 3, 1)
