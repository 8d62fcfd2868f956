"""Random kernels of a network that only predicts: a few rows at a time, whose maps stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from permgrad.models.network.blocks import SHARPNESS, RandomKernels

#: Numbers of the maps of one dilation that are held together. At 2¹⁸, 427 places and 512 kernels take .26 ms a row, as
#: convolutions of all rows at once 1.4 ms.
_NUMBERS = 2**18
#: Where more of the places than this share are near a changed pixel, all are looked at.
_MOST_NEAR = 0.5
_Group = tuple[Tensor, Tensor, int]


class FoldedKernels:
    """Says what the kernels say, up to rounding."""

    def __init__(self, kernels: RandomKernels) -> None:
        self.kernels, self.readout = kernels, kernels.readout
        layers: list[Any] = list(kernels.convolutions)
        #: whether kernels are the same on all channels, which are then added up
        self.alike = all(
            bool((layer.weight == layer.weight[:, :1]).all()) for layer in layers
        )
        #: kernels as a matrix, their biases and dilation
        self.groups: list[_Group] = []
        for layer in layers:
            weight = layer.weight[:, :1] if self.alike else layer.weight
            self.groups.append(
                (
                    weight.flatten(1)[None],
                    layer.bias[None, :, None],
                    int(layer.dilation[0]),
                )
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Return what the kernels say of images ``(rows, outputs)``."""
        return self._read(self.see(images))

    def see(self, images: Tensor) -> Tensor:
        """Return what the kernels see ``(rows, features)``."""
        pictures = self._pictures(images)
        return torch.cat([self._see(pictures, group) for group in self.groups], dim=1)

    def replaced(
        self,
        before: Tensor,
        images: Tensor,
        pixels: Sequence[tuple[int, int]],
        rows: Tensor | None,
    ) -> Tensor:
        """Return what they say of ``images`` that differ from those ``before`` in ``pixels`` alone.

        ``rows``: the row of ``before`` that each image was. None: the same row. Of a curve only places near the pixels
        are looked at anew.
        """
        high, wide = images.shape[2:]
        if not pixels or min(high, wide) > 1:
            return self(images)
        old, new = self._pictures(before), self._pictures(images)
        changed = np.array([row * wide + column for row, column in pixels])
        seen: list[Tensor] = []
        for group in self.groups:
            half = max(self.kernels.kernel) // 2
            reach = group[2] * np.arange(-half, half + 1)
            near = np.unique(np.add.outer(changed, reach))
            near = near[(near >= 0) & (near < high * wide)]
            if len(near) > _MOST_NEAR * high * wide:
                seen.append(self._see(new, group))
                continue
            places, windows = (
                torch.from_numpy(near),
                torch.from_numpy(np.add.outer(reach, near - reach[0])),
            )
            kept = [
                torch.cat(each)
                for each in zip(*self._elsewhere(old, group, places), strict=True)
            ]
            often, most = (
                kept if rows is None else (each.index_select(0, rows) for each in kept)
            )
            padded = functional.pad(new.flatten(2), (-int(reach[0]), int(reach[-1])))
            maps = torch.baddbmm(
                group[1],
                group[0].expand(len(new), -1, -1),
                padded[:, :, windows].flatten(1, 2),
            )
            most = torch.maximum(most, maps.amax(dim=2))
            often = (often + maps.mul_(SHARPNESS).sigmoid_().sum(dim=2)) / (high * wide)
            seen.append(torch.cat([often, most], dim=1))
        return self._read(torch.cat(seen, dim=1))

    def _elsewhere(
        self, pictures: Tensor, group: _Group, places: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield of a few rows at a time the sum over all but some places of each map, and the largest."""
        for part in self._few(pictures, group):
            maps = self._maps(part, *group)
            maps[:, :, places] = -torch.inf  # where the sigmoid is 0
            most = maps.amax(dim=2)
            yield maps.mul_(SHARPNESS).sigmoid_().sum(dim=2), most

    def _pictures(self, images: Tensor) -> Tensor:
        pictures = images - self.kernels.centre
        return pictures.sum(dim=1, keepdim=True) if self.alike else pictures

    def _few(self, pictures: Tensor, group: _Group) -> Sequence[Tensor]:
        return pictures.split(
            max(1, _NUMBERS // (group[0].shape[1] * pictures[0, 0].numel()))
        )

    def _read(self, seen: Tensor) -> Tensor:
        if self.readout is None:
            return seen
        # A thousand terms cancel. Added up in float32, they had most of the rounding of such a network's predictions.
        terms = (
            numbers.double()
            for numbers in (seen, self.readout.weight, self.readout.bias)
        )
        return functional.linear(*terms).to(seen.dtype)

    def _maps(
        self, pictures: Tensor, weight: Tensor, bias: Tensor, step: int
    ) -> Tensor:
        """Return the maps ``(rows, kernels, places)``."""
        (count, channels, high, wide), (tall, broad) = (
            pictures.shape,
            self.kernels.kernel,
        )
        down, along = step * (tall // 2), step * (broad // 2)
        padded = functional.pad(pictures, (along, along, down, down))
        rows, layer, line, pixel = padded.stride()
        size, stride = (
            (count, channels, tall, broad, high, wide),
            (rows, layer, step * line, step * pixel, line, pixel),
        )
        windows = padded.as_strided(size, stride).reshape(count, -1, high * wide)
        return torch.baddbmm(bias, weight.expand(count, -1, -1), windows)

    def _see(self, pictures: Tensor, group: _Group) -> Tensor:
        """Return what the kernels of one dilation see."""
        return torch.cat(
            [
                self._pooled(self._maps(part, *group), part)
                for part in self._few(pictures, group)
            ]
        )

    def _pooled(self, maps: Tensor, pictures: Tensor) -> Tensor:
        parts = self.kernels.parts
        if parts > 1:
            maps = maps.unflatten(2, pictures.shape[2:])
            most = functional.adaptive_max_pool2d(maps, parts).flatten(1)
            often = functional.adaptive_avg_pool2d(
                torch.sigmoid(SHARPNESS * maps), parts
            ).flatten(1)
            return torch.cat([often, most], dim=1)
        most = maps.amax(dim=2)
        return torch.cat([maps.mul_(SHARPNESS).sigmoid_().mean(dim=2), most], dim=1)
