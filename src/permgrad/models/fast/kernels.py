"""Random kernels of a network that only predicts: a few rows at a time, whose maps stay
in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from permgrad.base.arrays import Integers
from permgrad.models.network.blocks import SHARPNESS, RandomKernels

#: Numbers of the maps of one dilation that are held together. At 2¹⁸, 427 places and
#: 512 kernels take .26 ms a row, as convolutions of all rows at once 1.4 ms.
_NUMBERS = 2**18
#: Where more of the places than this share are near a changed pixel, all are looked at.
_MOST_NEAR = 0.5
_Group = tuple[Tensor, Tensor, int]


class FoldedKernels:
    """Says what the kernels say, up to rounding."""

    def __init__(self, kernels: RandomKernels) -> None:
        self.kernels = kernels
        self.readout = kernels.readout
        layers: list[Any] = list(kernels.convolutions)
        #: whether kernels are the same on all channels, which are then added up
        self.alike = all(
            bool((layer.weight == layer.weight[:, :1]).all()) for layer in layers
        )
        #: kernels as a matrix, their biases and dilation
        self.groups: list[_Group] = []
        for layer in layers:
            if self.alike:
                weight = layer.weight[:, :1]
            else:
                weight = layer.weight
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
        """Return what they say of ``images`` that differ from those ``before`` in
        ``pixels`` alone.

        ``rows``: the row of ``before`` that each image was. None: the same row. Of a
        curve only places near the pixels are looked at anew.
        """
        image_height, image_width = images.shape[2:]
        if not pixels or min(image_height, image_width) > 1:
            return self(images)
        old_pictures = self._pictures(before)
        new_pictures = self._pictures(images)
        changed = np.array(
            [pixel_row * image_width + column for pixel_row, column in pixels]
        )
        kernel_features: list[Tensor] = []
        for group in self.groups:
            half_kernel = max(self.kernels.kernel) // 2
            reach = group[2] * np.arange(-half_kernel, half_kernel + 1)
            near_pixels = np.unique(np.add.outer(changed, reach))
            near_pixels = near_pixels[
                (near_pixels >= 0) & (near_pixels < image_height * image_width)
            ]
            if len(near_pixels) > _MOST_NEAR * image_height * image_width:
                kernel_features.append(self._see(new_pictures, group))
                continue
            statistics = []
            for batch_statistics in zip(
                *self._elsewhere(old_pictures, group, torch.from_numpy(near_pixels)),
                strict=True,
            ):
                statistic = torch.cat(batch_statistics)
                if rows is not None:
                    statistic = statistic.index_select(0, rows)
                statistics.append(statistic)
            often, largest_values = statistics
            kernel_maps = _maps_near(new_pictures, group, reach, near_pixels)
            largest_values = torch.maximum(largest_values, kernel_maps.amax(dim=2))
            often = (often + kernel_maps.mul_(SHARPNESS).sigmoid_().sum(dim=2)) / (
                image_height * image_width
            )
            kernel_features.append(torch.cat([often, largest_values], dim=1))
        return self._read(torch.cat(kernel_features, dim=1))

    def _elsewhere(
        self, pictures: Tensor, group: _Group, pixel_indices: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield of a few rows at a time the sum over all but some places of each map,
        and the largest.
        """
        for picture_batch in self._few(pictures, group):
            kernel_maps = self._maps(picture_batch, *group)
            kernel_maps[:, :, pixel_indices] = -torch.inf  # where the sigmoid is 0
            largest_values = kernel_maps.amax(dim=2)
            yield kernel_maps.mul_(SHARPNESS).sigmoid_().sum(dim=2), largest_values

    def _pictures(self, images: Tensor) -> Tensor:
        pictures = images - self.kernels.centre
        if self.alike:
            return pictures.sum(dim=1, keepdim=True)
        return pictures

    def _few(self, pictures: Tensor, group: _Group) -> Sequence[Tensor]:
        return pictures.split(
            max(1, _NUMBERS // (group[0].shape[1] * pictures[0, 0].numel()))
        )

    def _read(self, kernel_features: Tensor) -> Tensor:
        if self.readout is None:
            return kernel_features
        # A thousand terms cancel. Added up in float32, they had most of the rounding of
        # such a network's predictions.
        terms = (
            numbers.double()
            for numbers in (kernel_features, self.readout.weight, self.readout.bias)
        )
        return functional.linear(*terms).to(kernel_features.dtype)

    def _maps(
        self, pictures: Tensor, weight: Tensor, bias: Tensor, step: int
    ) -> Tensor:
        """Return the maps ``(rows, kernels, places)``."""
        (count, channels, picture_height, picture_width), (kernel_height, broad) = (
            pictures.shape,
            self.kernels.kernel,
        )
        vertical_padding = step * (kernel_height // 2)
        along = step * (broad // 2)
        padded = functional.pad(
            pictures, (along, along, vertical_padding, vertical_padding)
        )
        row_stride, layer, line_stride, pixel = padded.stride()
        window_shape = (
            count,
            channels,
            kernel_height,
            broad,
            picture_height,
            picture_width,
        )
        stride = (
            row_stride,
            layer,
            step * line_stride,
            step * pixel,
            line_stride,
            pixel,
        )
        windows = padded.as_strided(window_shape, stride).reshape(
            count, -1, picture_height * picture_width
        )
        return torch.baddbmm(bias, weight.expand(count, -1, -1), windows)

    def _see(self, pictures: Tensor, group: _Group) -> Tensor:
        """Return what the kernels of one dilation see."""
        return torch.cat(
            [
                self._pooled(self._maps(picture_batch, *group), picture_batch)
                for picture_batch in self._few(pictures, group)
            ]
        )

    def _pooled(self, maps: Tensor, pictures: Tensor) -> Tensor:
        pooling_parts = self.kernels.parts
        if pooling_parts > 1:
            maps = maps.unflatten(2, pictures.shape[2:])
            largest_values = functional.adaptive_max_pool2d(
                maps, pooling_parts
            ).flatten(1)
            often = functional.adaptive_avg_pool2d(
                torch.sigmoid(SHARPNESS * maps), pooling_parts
            ).flatten(1)
            return torch.cat([often, largest_values], dim=1)
        largest_values = maps.amax(dim=2)
        return torch.cat(
            [maps.mul_(SHARPNESS).sigmoid_().mean(dim=2), largest_values], dim=1
        )


def _maps_near(
    pictures: Tensor, group: _Group, reach: Integers, pixels: Integers
) -> Tensor:
    """Return the maps of a group of kernels at some pixels of curves, ``(rows, kernels,
    pixels)``. ``reach``: where their weights lie around a pixel.
    """
    weight, bias, _ = group
    windows = torch.from_numpy(np.add.outer(reach, pixels - reach[0]))
    padded = functional.pad(pictures.flatten(2), (-int(reach[0]), int(reach[-1])))
    return torch.baddbmm(
        bias,
        weight.expand(len(pictures), -1, -1),
        padded[:, :, windows].flatten(1, 2),
    )
