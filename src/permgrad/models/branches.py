"""The two ways a row is read: as a table by a multilayer perceptron, as an image by a convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from permgrad._errors import InputError
from permgrad.models.blocks import convolution_block, dense_stack

if TYPE_CHECKING:
    from permgrad.models.network_options import NetworkOptions


class PeriodicDenseEmbedding(nn.Module):
    """Each number becomes a short vector: the number itself beside a learned mix of its cosines.

    ``x_j ↦ (x_j, V_j cos(2π(w_j x_j + b_j)) + c_j)``: the "PBLD" embedding of Holzmüller et al. 2024 (RealMLP,
    arXiv 2407.04491, section 3), after the periodic embeddings of Gorishniy et al. 2022 (arXiv 2203.05556, equation 8).

    Shape:
        ``(rows, columns)`` to ``(rows, columns × size)``; neighbours in the result belong to one column.

    Examples:
        >>> PeriodicDenseEmbedding(3, size=4)(torch.zeros(5, 3)).shape
        torch.Size([5, 12])
    """

    def __init__(self, columns: int, *, size: int = 4, frequencies: int = 16, scale: float = 0.1) -> None:
        if size < 2:
            raise InputError(f"embedding_size must be at least 2, however: embedding_size={size}; pass for example 4")
        super().__init__()
        self.columns = columns
        self.size = size
        self.frequency = nn.Parameter(torch.randn(columns, frequencies) * scale)
        self.phase = nn.Parameter(torch.rand(columns, frequencies) - 0.5)
        bound = frequencies**-0.5
        self.weight = nn.Parameter((torch.rand(columns, frequencies, size - 1) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(columns, size - 1) * 2 - 1) * bound)

    def forward(self, numbers: Tensor) -> Tensor:
        """Embed every column."""
        waves = torch.cos(2 * torch.pi * (numbers.unsqueeze(-1) * self.frequency + self.phase))
        mixed = torch.einsum("ncf,cfs->ncs", waves, self.weight) + self.bias
        return torch.cat([numbers.unsqueeze(-1), mixed], dim=-1).flatten(1)


class TableBranch(nn.Module):
    """Encoded rows to a vector: the numeric columns are embedded, the rest enters as it is, dense blocks follow.

    Shape:
        ``(rows, encoded)`` to ``(rows, out_features)``.
    """

    numeric: Tensor
    other: Tensor

    def __init__(self, encoded: int, options: NetworkOptions, numeric_columns: Sequence[int]) -> None:
        super().__init__()
        self.embedding: PeriodicDenseEmbedding | None = None
        width = encoded
        numeric = sorted({int(column) for column in numeric_columns})
        if options.numeric_embedding == "periodic" and numeric:
            self.embedding = PeriodicDenseEmbedding(
                len(numeric),
                size=options.embedding_size,
                frequencies=options.embedding_frequencies,
                scale=options.embedding_scale,
            )
            width = len(numeric) * options.embedding_size + (encoded - len(numeric))
        other = sorted(set(range(encoded)) - set(numeric))
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.long), persistent=False)
        self.register_buffer("other", torch.tensor(other, dtype=torch.long), persistent=False)
        layers, self.out_features = dense_stack(
            width,
            options.dense_units,
            activation=options.activation,
            normalization=options.normalization,
            dropout=options.dropout,
            initializer=options.initializer,
        )
        self.layers = nn.Sequential(*layers)

    def forward(self, encoded: Tensor) -> Tensor:
        """Embed, then apply the dense blocks."""
        if self.embedding is not None:
            embedded = self.embedding(encoded[:, self.numeric])
            encoded = torch.cat([embedded, encoded[:, self.other]], dim=1) if len(self.other) else embedded
        out: Tensor = self.layers(encoded)
        return out


def image_branch(shape: tuple[int, int, int], options: NetworkOptions) -> tuple[nn.Sequential, int]:
    """Return the convolutional network for images of ``shape`` (channels, height, width), and its output's width.

    A plain chain of layers that ends in ``Flatten`` and, if asked for, dense blocks: anyone can walk through it.
    A map that is smaller than the pooling window is not pooled.
    """
    channels, height, width = shape
    layers: list[nn.Module] = []
    for number, filters in enumerate(options.conv_filters):
        window = options.pooling[min(number, len(options.pooling) - 1)]
        if min(height, width) < window:
            window = 1
        layers += convolution_block(
            channels,
            filters,
            kernel_size=options.kernel_size,
            pooling=window,
            activation=options.activation,
            normalization=options.conv_normalization,
            dropout=options.dropout,
            initializer=options.initializer,
        )
        channels, height, width = filters, height // window, width // window
    layers.append(nn.Flatten())
    dense, out_features = dense_stack(
        channels * height * width,
        options.image_units,
        activation=options.activation,
        normalization=options.normalization,
        dropout=options.dropout,
        initializer=options.initializer,
    )
    return nn.Sequential(*layers, *dense), out_features
