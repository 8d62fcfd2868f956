"""The two ways a row is read: as a table by a multilayer perceptron, as an image by a
convolutional network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.base.sequences import values_at
from permgrad.models.network.blocks import Dropout, dense_stack, drawn, initialize_
from permgrad.models.network.members import MemberScale, PooledScale
from permgrad.models.network.options import ACTIVATIONS, NetworkOptions

# So small that no level means anything before training, as behind a one-hot block: with
# 240 levels in 3,600 rows R² is 0.820, of one-hot columns 0.820, and with the usual
# N(0, 1) 0.807.
_TABLE_SCALE = 0.05


class PeriodicDenseEmbedding(nn.Module):
    """Each number becomes a short vector, the number itself beside a learned mix of its
    cosines.

    ``x_j ↦ (x_j, V_j cos(2π(w_j x_j + b_j)) + c_j)``, neighbours belonging to one
    column: the "PBLD" embedding of Holzmüller et al. 2024 (RealMLP, arXiv 2407.04491,
    section 3), after Gorishniy et al. 2022 (arXiv 2203.05556).
    """

    def __init__(
        self, columns: int, *, size: int = 4, frequencies: int = 16, scale: float = 0.1
    ) -> None:
        super().__init__()
        self.columns = columns
        self.size = size
        self.frequency = nn.Parameter(
            drawn(lambda new: new.normal_() * scale, columns, frequencies)
        )
        self.phase = nn.Parameter(
            drawn(lambda new: new.uniform_() - 0.5, columns, frequencies)
        )
        bound = frequencies**-0.5
        sizes = (columns, frequencies, size - 1), (columns, size - 1)
        self.weight, self.bias = (
            nn.Parameter(
                drawn(lambda new: (new.uniform_() * 2 - 1) * bound, *weight_shape)
            )
            for weight_shape in sizes
        )

    def forward(self, numbers: Tensor) -> Tensor:
        """Embed every column."""
        return _periodic(numbers, self.frequency, self.phase, self.weight, self.bias)

    def embed_some(self, numbers: Tensor, columns: Tensor) -> Tensor:
        """Embed ``numbers (rows, len(columns))`` of some columns, given by their
        places.
        """
        return _periodic(
            numbers,
            self.frequency[columns],
            self.phase[columns],
            self.weight[columns],
            self.bias[columns],
        )


def _periodic(
    numbers: Tensor, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    waves = torch.cos(2 * torch.pi * (numbers.unsqueeze(-1) * frequency + phase))
    mixed = torch.einsum("ncf,cfs->ncs", waves, weight) + bias
    return torch.cat([numbers.unsqueeze(-1), mixed], dim=-1).flatten(1)


def embed_columns(
    embedding: PeriodicDenseEmbedding,
    encoded: Tensor,
    numeric: Tensor,
    other_columns: Tensor,
) -> Tensor:
    """Return the embedded numeric columns and, behind them, the other columns as they
    are.
    """
    embedded: Tensor = embedding(encoded[:, numeric])
    if len(other_columns):
        return torch.cat([embedded, encoded[:, other_columns]], dim=1)
    return embedded


class LevelEmbeddingLinear(nn.Linear):
    """A dense layer that reads blocks of level columns through learned embeddings, and
    the other columns as they are.

    ``y = W [x_rest, x_block1 e_1, x_block2 e_2, …] + b`` (entity embeddings, Guo &
    Berkhahn 2016, arXiv 1604.06737) is linear in x: one layer, whose ``weight`` has
    rank ``size`` within a block, for whoever reads networks by layers. ``pooled``:
    groups of blocks of one length, whose columns are summed, first to first, before
    they enter.
    """

    order: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        blocks: Sequence[Sequence[int]],
        *,
        size: int,
        initializer: str,
        pooled: Sequence[Sequence[Sequence[int]]] = (),
    ) -> None:
        nn.Module.__init__(
            self
        )  # not Linear's own, whose weight is a parameter. Here it is composed
        self.in_features = in_features
        self.out_features = out_features
        self.size = size
        embedded = []
        for block in (*blocks, *chain(*pooled)):
            for column in block:
                embedded.append(int(column))
        plain = sorted(set(range(in_features)) - set(embedded))
        order = sorted(range(in_features), key=[*plain, *embedded].__getitem__)
        self.register_buffer(
            "order", torch.tensor(order, dtype=torch.long), persistent=False
        )
        self.rest = len(plain)
        self.pools = [(len(group), len(group[0])) for group in pooled]
        mixing = nn.Linear(
            self.rest + size * len(blocks) + sum(width for _, width in self.pools),
            out_features,
        )
        initialize_(mixing, initializer)
        self.mixing = mixing.weight
        self.bias = mixing.bias
        self.tables = nn.ParameterList(
            nn.Parameter(
                drawn(lambda new: _TABLE_SCALE * new.normal_(), len(block), size)
            )
            for block in blocks
        )

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The layer's matrix ``(out_features, in_features)``, composed of mixing and
        tables.
        """
        widths = [
            self.rest,
            *[self.size] * len(self.tables),
            *(width for _, width in self.pools),
        ]
        plain, *mixes = self.mixing.split(widths, dim=1)
        table_weights = []
        for mixing_matrix, table in zip(mixes, self.tables, strict=False):
            table_weights.append(mixing_matrix @ table.T)
        pooled_weights = []
        for pool_mix, (blocks, _) in zip(
            mixes[len(table_weights) :], self.pools, strict=True
        ):
            for _ in range(blocks):
                pooled_weights.append(pool_mix)
        # The slopes of an index are put in place number by number, those of a selection
        # column by column.
        return torch.cat([plain, *table_weights, *pooled_weights], dim=1).index_select(
            1, self.order
        )


def _behind_embedding(
    blocks: list[list[int]], plain_columns: Sequence[int], width: int
) -> list[list[int]]:
    """Return blocks of columns by where these stand behind embedded numbers."""
    first = width - len(plain_columns)
    position_of = {}
    for position, column in enumerate(plain_columns):
        position_of[column] = first + position
    return [values_at(position_of, block) for block in blocks]


class TableBranch(nn.Module):
    """Encoded rows to a vector: numbers and large categories are embedded, scores are
    summed, the rest enters as it is.

    Shape: ``(rows, encoded)`` to ``(rows, out_features)``. Of several members the
    vectors lie one behind the other. ``products``: slopes of levels, each with the
    column that it is multiplied by, and perhaps one to which it is added.
    """

    numeric: Tensor
    other: Tensor
    factors: Tensor
    sources: Tensor

    def __init__(
        self,
        encoded: int,
        options: NetworkOptions,
        numbers: Sequence[int],
        level_blocks: Sequence[Sequence[int]],
        score_blocks: Sequence[Sequence[Sequence[int]]] = (),
        products: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.products = [list(map(int, column_product)) for column_product in products]
        self._read_products(encoded)
        self.embedding: PeriodicDenseEmbedding | None = None
        width = encoded
        column_size = options.embedding_size
        numeric = sorted(set(numbers))
        if options.numeric_embedding == "periodic" and numeric:
            self.embedding = PeriodicDenseEmbedding(
                len(numeric),
                size=column_size,
                frequencies=options.embedding_frequencies,
                scale=options.embedding_scale,
            )
            width = len(numeric) * column_size + (encoded - len(numeric))
        other_columns = sorted(set(range(encoded)) - set(numeric))
        self.register_buffer(
            "numeric", torch.tensor(numeric, dtype=torch.long), persistent=False
        )
        self.register_buffer(
            "other", torch.tensor(other_columns, dtype=torch.long), persistent=False
        )
        layers, self.out_features = dense_stack(width, options.dense_units, options)
        blocks = [list(block) for block in level_blocks if options.level_embedding_size]
        pooled = [list(map(list, group)) for group in score_blocks]
        if blocks or pooled:
            if self.embedding is not None:
                blocks = _behind_embedding(blocks, other_columns, width)
                pooled = [
                    _behind_embedding(group, other_columns, width) for group in pooled
                ]
            level_options: dict[str, Any] = {
                "size": options.level_embedding_size,
                "initializer": options.initializer,
            }
            layers[0] = LevelEmbeddingLinear(
                width, options.dense_units[0], blocks, pooled=pooled, **level_options
            )
        if options.members > 1:
            scale = (
                PooledScale(options.members, width, pooled)
                if pooled
                else MemberScale(options.members, width)
            )
            layers = [scale, *layers, nn.Flatten()]
            self.out_features *= options.members
        self.layers = nn.Sequential(*layers)

    def _read_products(self, encoded: int) -> None:
        """Keep which columns are multiplied, and by which, of so many."""
        # Behind the columns stands a 1 to multiply by, and a 0 to add.
        # Made of lists: on the meta device, on which shapes are compared, torch.arange
        # would load the compiler.
        factors = torch.full((encoded,), encoded)
        sources = torch.tensor([[*range(encoded)], [encoded] * encoded])
        for slope, number, *into in self.products:
            factors[slope] = number
            if into:
                sources[1, into[0]] = slope
                sources[0, slope] = encoded
        self.sums = any(len(product_columns) > 2 for product_columns in self.products)
        self.register_buffer("factors", factors, persistent=False)
        self.register_buffer("sources", sources, persistent=False)

    def forward(self, encoded: Tensor) -> Tensor:
        """Embed, then apply the dense blocks."""
        table_embedding: Tensor = self.layers(self.embed(encoded))
        return table_embedding

    def embed(self, encoded: Tensor) -> Tensor:
        """Return what the first layer reads: embedded numbers and, behind them, the
        other columns.
        """
        encoded = self.multiplied(encoded)
        if self.embedding is None:
            return encoded
        return embed_columns(self.embedding, encoded, self.numeric, self.other)

    def multiplied(self, encoded: Tensor) -> Tensor:
        """Return rows in which each slope of a level is multiplied by the number that
        it is on, or added, too.
        """
        if not self.products:
            return encoded
        products = (
            encoded
            * torch.cat([encoded, torch.ones_like(encoded[:, :1])], dim=1)[
                :, self.factors
            ]
        )
        if not self.sums:
            return products
        extended_products = torch.cat(
            [products, torch.zeros_like(encoded[:, :1])], dim=1
        )
        return (
            extended_products[:, self.sources[0]]
            + extended_products[:, self.sources[1]]
        )


def image_branch(
    shape: tuple[int, int, int], options: NetworkOptions
) -> tuple[nn.Sequential, int]:
    """Return the network, one chain of layers, for images ``(channels, height,
    width)``, and its output's width.
    """
    channels, height, width = shape
    layers: list[nn.Module] = []
    means = options.image_readout == "mean"
    for number, filters in enumerate(options.conv_filters):
        # A curve has no rows above and below that a square kernel could read.
        kernel = []
        for side_length in (height, width):
            if side_length > 1 or not means:
                kernel.append(options.kernel_size)
            else:
                kernel.append(1)
        reach = (kernel[0] // 2, kernel[1] // 2)
        convolution = nn.Conv2d(
            channels, filters, (kernel[0], kernel[1]), padding=reach
        )
        initialize_(convolution, options.initializer)
        # Channels next to each other in memory: on processors the convolutions run
        # twice as fast.
        convolution.weight.data = convolution.weight.data.contiguous(
            memory_format=torch.channels_last
        )
        layers += [convolution, ACTIVATIONS[options.activation]()]
        if options.conv_normalization == "batch":
            layers.append(nn.BatchNorm2d(filters))
        elif options.conv_normalization == "layer":
            # One group over all channels and pixels: layer normalisation for maps.
            layers.append(nn.GroupNorm(1, filters))
        window = options.pooling[min(number, len(options.pooling) - 1)]
        window_height, window_width = (
            window if window <= (pooled_side if means else min(height, width)) else 1
            for pooled_side in (height, width)
        )
        if window_height > 1 or window_width > 1:
            layers.append(
                nn.MaxPool2d(
                    window_height
                    if window_height == window_width
                    else (window_height, window_width)
                )
            )
        if options.dropout:
            layers.append(Dropout(options.dropout))
        channels = filters
        height = height // window_height
        width = width // window_width
    if means:
        layers.append(nn.AvgPool2d((height, width)))
        height = width = 1
    layers.append(nn.Flatten())
    dense, out_features = dense_stack(
        channels * height * width, options.image_units, options
    )
    return nn.Sequential(*layers, *dense), out_features


def shift_images(images: Tensor, share: float) -> Tensor:
    """Move each image ``(channels, height, width)`` at random by up to a share of its
    sides. The edges are repeated.
    """
    for side_axis, shape in (
        (2, (-1, 1, images.shape[2], 1)),
        (3, (-1, 1, 1, images.shape[3])),
    ):
        length = images.shape[side_axis]
        if length > 1:
            most_moved = max(1, round(share * length))
            moves = torch.randint(
                -most_moved, most_moved + 1, (len(images), 1), device=images.device
            )
            shifted_pixels = (
                torch.arange(length, device=images.device) + moves
            ).clamp_(0, length - 1)
            images = images.gather(
                side_axis, shifted_pixels.view(shape).expand(images.shape)
            )
    return images
