"""The first block of an image path along a line, computed only where a picture can show something.

Of a sparse picture most windows of the first pooling see no feature. What stands there is the same at both ends of
every line, and nothing flows back through it. The windows that are seen are packed into a small map, one below the
other, on which the block's layers work as on any other; behind the pooling they are put back among the constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from permgrad.attribution.slopes.secant_rules import CURVED, NOTHING, STRAIGHT_PIECES, Affine, Rule
from permgrad.imaging.render import Renderer
from permgrad.models.fast.image_chain import few_seen_windows

#: Layers that treat each place of a map by itself.
_BY_PLACE = (*NOTHING, *STRAIGHT_PIECES, *CURVED, nn.BatchNorm2d)


class PackWindows(Affine):
    """Maps ``(n, channels, height, width)`` to some of their windows, ``(n, channels, windows · size, size)``."""

    def __init__(self, windows: Tensor, size: int) -> None:
        self._windows, self._size = windows, size

    def forward(self, values: Tensor) -> Tensor:
        """Return the windows, channels last in memory."""
        self._shape = values.shape[2:]
        down, along = (length // self._size for length in self._shape)
        places = values.permute(0, 2, 3, 1).unflatten(2, (along, self._size)).unflatten(1, (down, self._size))
        packed = places.transpose(2, 3).flatten(1, 2).index_select(1, self._windows.to(values.device))
        out: Tensor = packed.flatten(1, 2).permute(0, 3, 1, 2)
        return out

    def pull(self, slopes: Tensor) -> Tensor:
        """Return slopes towards the whole maps, 0 where no window is."""
        down, along = (length // self._size for length in self._shape)
        flat = slopes.flatten(0, 1).permute(0, 2, 3, 1).unflatten(1, (-1, self._size))
        wide = flat.new_zeros(len(flat), down * along, *flat.shape[2:])
        wide.index_copy_(1, self._windows.to(slopes.device), flat)
        places = wide.unflatten(1, (down, along)).transpose(2, 3).flatten(1, 2).flatten(2, 3)
        out: Tensor = places.permute(0, 3, 1, 2).unflatten(0, slopes.shape[:2])
        return out


class UnpackWindows(Affine):
    """Pooled windows ``(n, channels, windows, 1)`` among what stands elsewhere, ``(n, channels, height, width)``.

    Args:
        windows: numbers of the windows, in reading order.
        elsewhere: the pooled map of any row, ``(channels, height, width)``.
    """

    def __init__(self, windows: Tensor, elsewhere: Tensor) -> None:
        self._windows, self._elsewhere = windows, elsewhere

    def forward(self, values: Tensor) -> Tensor:
        """Return whole maps, channels last in memory."""
        shape = self._elsewhere.shape[1:]
        still = self._elsewhere.to(values).flatten(1).T
        out = still.expand(len(values), -1, -1).clone()
        out.index_copy_(1, self._windows.to(values.device), values.squeeze(3).transpose(1, 2))
        maps: Tensor = out.unflatten(1, shape).permute(0, 3, 1, 2)
        return maps

    def pull(self, slopes: Tensor) -> Tensor:
        """Return the slopes of the windows alone: nothing else can move."""
        return slopes.flatten(3).index_select(3, self._windows.to(slopes.device)).unsqueeze(4)


def only_seen_windows(renderer: nn.Module, layers: Sequence[nn.Module], rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules of an image branch, with packing around its first block where that pays.

    Args:
        renderer: draws the pictures.
        layers: the branch.
        rules: one for each layer.
    """
    end = next((place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)), 0)
    if type(renderer) is not Renderer or not end or not isinstance(layers[0], nn.Conv2d):
        return list(rules)
    windows = few_seen_windows(renderer, layers[0], layers[end])
    if windows is None or any(type(layer) not in _BY_PLACE for layer in layers[1:end]):
        return list(rules)
    with torch.no_grad():
        weight = layers[0].weight
        maps = renderer(torch.zeros(1, len(renderer.positions), dtype=weight.dtype, device=weight.device))
        for rule in rules[: end + 1]:
            maps = rule.forward(maps)
    before: list[Rule] = [rules[0], PackWindows(windows, int(layers[end].kernel_size))]  # type: ignore[arg-type]
    return [*before, *rules[1 : end + 1], UnpackWindows(windows, maps[0]), *rules[end + 1 :]]
