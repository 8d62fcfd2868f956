"""A residual network that learns from the images of a column alone, where there are many: He et al. 2016, small."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.base.arrays import Integers
from permgrad.base.random import derive_seed, generator
from permgrad.data.encode.scores import Target

#: Channels of the stages, after each of which height and width are halved. A longer side is halved at the start: of 28
#: pixels in a third of the time.
_STAGES, _LONG_SIDE = (16, 32, 64), 20
#: Steps of one training lie between these numbers of epochs. Images are moved by up to a tenth of their side.
_BATCH, _LOOKS, _FEWEST_EPOCHS, _MOST_EPOCHS, _MOVED = 64, 60_000, 6, 20, 0.1
_RATE, _DECAY = 4e-3, 0.05


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))
        self.beside = nn.Conv2d(before, after, 1, stride, bias=False) if (before, stride) != (after, 1) else None

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.norms[1](self.second(functional.relu(self.norms[0](self.first(maps)))))
        return functional.relu(inner + (maps if self.beside is None else self.beside(maps)))


class ResidualNetwork(nn.Sequential):
    """Images ``(n, channels, height, width)`` in 0 … 1 to outputs ``(n, outputs)``.

    ``stride``: that of the first convolution. None: by the longer ``side``.
    """

    def __init__(self, channels: int, side: int, outputs: int, stride: int | None = None) -> None:
        stride = stride or (2 if side > _LONG_SIDE else 1)
        stem = nn.Conv2d(channels, _STAGES[0], 3, stride, 1, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels), stem, nn.BatchNorm2d(_STAGES[0]), nn.ReLU()]
        before = _STAGES[0]
        for width in _STAGES:
            layers += [_Block(before, width, 1 if width == before else 2)]
            before = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(before, outputs))
        self.stride = stride


def train_residual(
    pixels: Tensor, index: Integers, target: Target, rows: Integers, part: int, device: torch.device
) -> ResidualNetwork:
    """Return a network trained on some rows: ``pixels (images, channels, height, width)`` in 0 … 255, uint8.

    ``index (rows,)``: the image of each row of the target. ``rows``: those that it is trained on.
    """
    outputs = max(target.classes, 1)
    network: Any = ResidualNetwork(pixels.shape[1], max(pixels.shape[2:]), outputs).to(device).train()
    network = network.to(memory_format=torch.channels_last)  # a fifth faster on processors
    epochs = int(np.clip(round(_LOOKS / max(len(rows), 1)), _FEWEST_EPOCHS, _MOST_EPOCHS))
    steps = max(len(rows) // _BATCH, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * steps, pct_start=0.2)
    draw = generator(derive_seed(target.seed, "images", part))
    margin = max(round(_MOVED * max(pixels.shape[2:])), 1)
    for _ in range(epochs):
        order = rows[draw.permutation(len(rows))]
        for step in range(steps):
            some = order[step * len(order) // steps : (step + 1) * len(order) // steps]
            if len(some) < 2:  # one image has no spread
                continue
            images = _moved(pixels[torch.from_numpy(index[some])], draw.integers(-margin, margin + 1, (2,)).tolist())
            images = (images.to(device) / 255).contiguous(memory_format=torch.channels_last)
            losses = _losses(network(images), target, some)
            weights = torch.from_numpy(target.weights[some]).float().to(device)
            optimizer.zero_grad()
            ((losses * weights).sum() / weights.sum()).backward()
            optimizer.step()
            schedule.step()
    network = network.to(memory_format=torch.contiguous_format).eval()
    return cast("ResidualNetwork", network)


def _moved(images: Tensor, by: list[int]) -> Tensor:
    down, across = by
    padded = functional.pad(images.float(), (abs(across),) * 2 + (abs(down),) * 2, mode="replicate")
    top, left = abs(down) + down, abs(across) + across
    return padded[..., top : top + images.shape[2], left : left + images.shape[3]]


def _losses(says: Tensor, target: Target, rows: Integers) -> Tensor:
    y = torch.from_numpy(np.asarray(target.y)[rows]).to(says.device)
    if target.classes:
        return functional.cross_entropy(says, y.long(), reduction="none")
    return (says[:, 0] - y.float()) ** 2


def as_scores(says: Tensor, classes: int) -> Tensor:
    """Return what outputs say of each class, or of the number, as a linear model reads it."""
    if classes == 2:
        return (says[:, 1:] - says[:, :1]).clamp(-8, 8)
    return (says - says.mean(dim=1, keepdim=True)).clamp(-8, 8) if classes else says


def divide(count: int, index: Integers, target: Target) -> Integers:
    """Return one of three parts for each image ``(count,)``: images of rows that depend on each other share one."""
    draw = generator(target.seed, "parts of images")
    units = np.arange(len(index)) if target.units is None else target.units
    first = np.full(count, -1, dtype=np.int64)
    seen = index >= 0
    first[index[seen][::-1]] = units[seen][::-1]
    _, place = np.unique(first, return_inverse=True)
    return np.asarray((draw.permutation(place.max() + 1) % 3)[place])
