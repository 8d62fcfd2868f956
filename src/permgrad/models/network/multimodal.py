"""A network for rows that have both images and a table, an ordinary module as ``pg.explain`` takes any other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, shown


@dataclasses.dataclass(frozen=True)
class ImageTableOptions:
    """Sizes of an ``ImageTableNetwork``.

    Attributes:
        filters: channels of the first convolution blocks. Each block halves height and width.
        cells: height and width of the last map, which is flattened, so that places stay apart.
        image_units: numbers that an image becomes.
        table_units: units of the table branch, layer by layer. The last are what the table becomes.
        head_units: units of the hidden layers behind the fusion.
        dropout: share of units left out in training.
    """

    filters: tuple[int, ...] = (16, 32, 64)
    cells: int = 4
    image_units: int = 32
    table_units: tuple[int, ...] = (64, 32)
    head_units: tuple[int, ...] = (64,)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check the sizes. A list becomes a tuple."""
        for name in ("filters", "table_units", "head_units", "cells", "image_units"):
            units = getattr(self, name)
            listed = tuple(units) if isinstance(units, tuple | list) else (units,)
            if isinstance(units, list):
                object.__setattr__(self, name, listed)
            if not listed or not all(is_whole(unit) and unit >= 1 for unit in listed):
                raise InputError(
                    f"{name} must be integers of at least 1, got {shown(units)}",
                    hint="Pass for example (32,).",
                    code="PG002",
                )
        if not 0 <= self.dropout < 1:
            raise InputError(
                f"dropout must be at least 0 and below 1, got {shown(self.dropout)}",
                hint="Pass for example 0.2.",
                code="PG002",
            )


class ImageEncoder(nn.Sequential):
    """From images of one column to numbers: standardise, convolve and halve, flatten, one dense layer."""

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        mean: Sequence[float],
        spread: Sequence[float],
        options: ImageTableOptions,
    ) -> None:
        layers: list[nn.Module] = [Standardise(mean, spread)]
        before = channels
        # Small images are halved fewer times, so that the last map keeps as many cells as are asked for.
        halvings = max(1, min(len(options.filters), int(math.log2(max(min(height, width) / options.cells, 2)))))
        for number, filters in enumerate(options.filters):
            layers += [nn.Conv2d(before, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if number < halvings else []
            before = filters
        cells = options.cells
        layers += [nn.AdaptiveAvgPool2d(cells), nn.Flatten(), nn.Dropout(options.dropout)]
        layers += [nn.Linear(before * cells * cells, options.image_units), nn.ReLU()]
        super().__init__(*layers)


class Standardise(nn.Module):
    """Subtract a mean and divide by a spread, channel by channel. Both are kept with the weights."""

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Sequence[float], spread: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return images ``(rows, channels, height, width)`` in units of the spread."""
        return (images - self.mean) / self.spread


class ImageBranch(nn.Module):
    """One encoder for each image column, side by side. The numbers of all of them stand in one row."""

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.columns = nn.ModuleList(encoders)

    def forward(self, *images: Tensor) -> Tensor:
        """Return ``(rows, columns · image_units)``."""
        return torch.cat([encode(image) for encode, image in zip(self.columns, images, strict=True)], dim=1)


class Fusion(nn.Module):
    """Put the branches' numbers into one row: the layer at which published methods look."""

    def forward(self, *branches: Tensor) -> Tensor:
        """Return ``(rows, numbers of all branches)``."""
        return torch.cat(branches, dim=1)


class ImageTableNetwork(nn.Module):
    """Images and an encoded table in. Logits, or predictions in the target's units, out ``(rows, outputs)``.

    ``images`` says ``(channels, height, width, mean, spread)`` of each image column. ``forward`` takes one tensor
    ``(rows, channels, height, width)`` in 0 … 1 for each, in order, then the encoded table ``(rows, encoded)``.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        images: Sequence[tuple[int, int, int, Sequence[float], Sequence[float]]],
        encoded: int,
        outputs: int,
        options: ImageTableOptions | None = None,
        *,
        centre: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not images or encoded < 1 or outputs < 1:
            raise InputError(
                "A network of images and a table needs an image column, an encoded column and an output, "
                f"got image columns={len(images)}, encoded={encoded}, outputs={outputs}",
                hint="Pass at least one of each.",
                code="PG002",
            )
        chosen = ImageTableOptions() if options is None else options
        self.options = chosen
        self.image_branch = ImageBranch([ImageEncoder(*column, chosen) for column in images])
        self.table_branch = _dense(encoded, chosen.table_units, chosen.dropout)
        self.fusion = Fusion()
        fused = len(images) * chosen.image_units + chosen.table_units[-1]
        last = nn.Linear(chosen.head_units[-1], outputs)
        self.head = nn.Sequential(*_dense(fused, chosen.head_units, chosen.dropout), last)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def standardised(self, *inputs: Tensor) -> Tensor:
        """Return the head's outputs: logits, or predictions of the standardised target."""
        *images, table = inputs
        result: Tensor = self.head(self.fusion(self.image_branch(*images), self.table_branch(table)))
        return result

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits, or predictions in the target's units."""
        return self.standardised(*inputs) * self.scale + self.centre


def _dense(before: int, units: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count in units:
        layers += [nn.Linear(before, count), nn.ReLU(), nn.Dropout(dropout)]
        before = count
    return nn.Sequential(*layers)
