"""Cut inputs into players: columns of a table, tokens and windows of a sequence, segments of an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.players.neighbours import channels_beside_time
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice, is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.registry import Registry

Cutter = Callable[..., tuple[Integers, list[str]]]
#: For an input the names of its channels.
Titles = Mapping[str, Sequence[str]]

#: Ways to cut an image: ``(rows (n, *shape), (height, width)) -> labels (height, width), names``. For a volume with its
#: depth first, for a series with its length alone.
cutters: Registry[Cutter] = Registry("segments")

#: Cells on each side of the default grid of an image and of a volume, superpixels and windows, at most.
_GRID, _GRID_VOLUME, _SUPERPIXELS, _WINDOWS = 7, 4, 40, 20
#: Players of channels beside time that are aimed at, and the fewest windows of each.
_OF_SERIES, _FEWEST = 100, 4
#: Ways that need no image: a player for each place of a sequence, for each channel, and for each number.
_TOKENS, _CHANNELS, _NUMBERS = "tokens", "channels", "numbers"
#: What a sequence is read as: ``(rows, places, numbers)``, or ``(rows, [channels,] time)``.
_LINES = (_TOKENS, "series")


@dataclass(frozen=True)
class ImageShape:
    """Where height, width and channels are in an image without its row dimension. In a volume, depth comes first.

    A series has only a length.
    """

    size: tuple[int, ...]
    channels: (
        int | None
    )  # position of the channels' dimension: first, last, behind frames or None
    #: the dimension of a row whose entries are series of their own, such as electrodes beside time
    series: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation says of it."""
        series = {} if self.series is None else {"series": self.series}
        return {"size": list(self.size), "channels": self.channels, **series}

    @property
    def vectors(self) -> bool:
        """Whether it is a vector for each place of a sequence."""
        return len(self.size) == 1 == self.channels

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The dimensions of rows ``(n, *shape)`` along which pixels lie."""
        sides = len(self.size) + (self.channels is not None)
        return tuple(place + 1 for place in range(sides) if place != self.channels)

    def spread(self, labels: Integers, shape: tuple[int, ...]) -> Tensor:
        """Return labels for every position of the image: all channels of a pixel act as one.

        Labels are those of the pixels, ``size``, or of every position already, ``shape``.
        """
        grid = torch.as_tensor(labels, dtype=torch.int64)
        if self.channels is None or tuple(grid.shape) == shape:
            return grid
        return grid.unsqueeze(self.channels).expand(shape).contiguous()


def image_shape(shape: tuple[int, ...], reading: str = "") -> ImageShape | None:
    """Return how an input's shape reads as a series, an image or a volume, None where it is none of them."""
    if reading in _LINES and len(shape) in (1, 2):
        if reading == _TOKENS:
            return ImageShape(shape[:1], 1) if len(shape) == 2 else None
        return ImageShape(shape[-1:], 0 if len(shape) == 2 else None)
    if reading[-1:].isdigit():
        channels = int(reading[-1])
        return ImageShape(
            tuple(side for place, side in enumerate(shape) if place != channels),
            channels,
        )
    if (
        len(shape) not in ((3, 4) if reading == "volume" else (2, 3))
        or reading == _TOKENS
    ):
        return None
    if len(shape) == 2 or (len(shape) == 3 and reading == "volume"):
        return ImageShape(shape, None)
    # Torch puts channels first. They are last where that alone leaves a square, or where there are 1, 3 or 4.
    last = shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    last |= len(set(shape[:-1])) == 1 != len(set(shape)) and shape[0] not in (1, 3, 4)
    return ImageShape(shape[:-1], len(shape) - 1) if last else ImageShape(shape[1:], 0)


@cutters.register("pixels")
def pixels(rows: Tensor, size: tuple[int, ...]) -> tuple[Integers, list[str]]:  # noqa: ARG001 — part of the protocol
    """Make every pixel a player."""
    return np.arange(math.prod(size), dtype=np.int64).reshape(size), _places(size)


@cutters.register("grid")
def grid(
    rows: Tensor,  # noqa: ARG001 — part of the protocol
    size: tuple[int, ...],
    *cells: int,
) -> tuple[Integers, list[str]]:
    """Cut the image into patches of nearly equal size: so many along each side, one number for all sides, or 7 (4)."""
    if len(cells) > 1 and len(cells) != len(size):
        raise TypeError
    wanted = cells or (_GRID if len(size) == 2 else _GRID_VOLUME,)
    each = list(map(min, wanted * len(size) if len(wanted) == 1 else wanted, size))
    labels = np.zeros((), dtype=np.int64)
    for count, length in zip(each, size, strict=True):
        labels = (
            labels[..., None] * count
            + np.arange(length, dtype=np.int64) * count // length
        )
    return labels, _places(each)


@cutters.register("windows")
def windows(
    rows: Tensor, size: tuple[int, ...], count: int = _WINDOWS
) -> tuple[Integers, list[str]]:
    """Cut a series into windows of nearly equal length along time, named by their first place and the one behind."""
    if len(size) != 1:
        raise InputError(
            f"segments='windows' cuts a series along time, but the network reads {' × '.join(map(str, size))} pixels",
            hint=f"Cut them with ('grid', {', '.join('1' * (len(size) - 1))}, {count})",
            code="PG039",
        )
    labels, names = grid(rows, size, count)
    edges = np.searchsorted(labels, np.arange(len(names) + 1)).tolist()
    return labels, [_span(start, end) for start, end in itertools.pairwise(edges)]


def _span(start: int, end: int) -> str:
    """Return the name of the places from ``start`` to the one before ``end``."""
    return f"[{start}:{end}]" if end > start + 1 else f"[{start}]"


def _places(size: Sequence[int]) -> list[str]:
    """Return the names of places: ``[row,column]``, of a volume with the depth before."""
    return ["[" + ",".join(map(str, place)) + "]" for place in np.ndindex(*size)]


def _nearest_centres(points: Floats, labels: Integers) -> Integers:
    """Return the nearest of the centres of labelled points for each of them."""
    counts = np.bincount(labels)
    used = np.flatnonzero(counts)
    sums = [np.bincount(labels, weights=numbers) for numbers in points.T]
    centres = np.array(sums).T[used] / counts[used, None]
    return ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)


@cutters.register("superpixels")
def superpixels(
    rows: Tensor, size: tuple[int, ...], count: int = _SUPERPIXELS
) -> tuple[Integers, list[str]]:
    """Cut the mean image of the rows into connected regions of similar colour.

    This is k-means over colour and position, started on a grid, as in SLIC (Achanta et al. 2012, IEEE TPAMI 34(11),
    section 3), then split into connected parts. Parts below a quarter of the usual size join the neighbour that they
    touch most.

    NOTE[DIFF] every pixel is compared with every centre, not only with those nearby, since images here are small.
    """
    from scipy import ndimage

    mean = rows.double().mean(dim=0)
    if tuple(mean.shape) != size and tuple(mean.shape[1:]) != size:
        mean = mean.movedim(-1, 0)
    colour = mean.reshape(-1, math.prod(size)).T.cpu().numpy()
    colour = colour / max(float(colour.std()), 1e-12)
    step = (math.prod(size) / count) ** (1 / len(size))
    down = [max(1, round(length / step)) for length in size[1:]]
    start, _ = grid(rows, size, max(1, round(count / math.prod(down))), *down)
    where = np.indices(size).reshape(len(size), -1).T / step
    points: Floats = np.concatenate([colour, where], axis=1)
    labels = start.ravel()
    for _ in range(10):
        labels = _nearest_centres(points, labels)
    regions = _connected(
        labels.reshape(size), ndimage.label, int(step ** len(size) / 4)
    )
    return regions, [f"[superpixel {index}]" for index in range(int(regions.max()) + 1)]


def _connected(labels: Integers, label: Callable[..., Any], least: int) -> Integers:
    """Split labels into connected regions and give small ones to the neighbour with the longest common border."""
    regions = np.zeros(labels.shape, dtype=np.int64)
    count = 0
    for value in np.unique(labels):
        parts, parts_found = label(labels == value)
        regions[parts > 0] = parts[parts > 0] + count - 1
        count += parts_found
    for region in np.argsort(np.bincount(regions.ravel()), kind="stable"):
        mask = regions == region
        if not 0 < mask.sum() < least:
            continue
        beside: list[Integers] = []
        for axis in range(labels.ndim):
            ahead, its = np.moveaxis(regions, axis, 0), np.moveaxis(mask, axis, 0)
            beside += [ahead[1:][its[:-1] & ~its[1:]], ahead[:-1][its[1:] & ~its[:-1]]]
        border = np.concatenate(beside)
        # A region without a border would be the whole image, which is larger than the least.
        regions[mask] = np.bincount(border).argmax()
    return (
        np.unique(regions, return_inverse=True)[1]
        .reshape(labels.shape)
        .astype(np.int64)
    )


# ---- the whole space -------------------------------------------------------------------------------------------------
def shapes_of(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    segments: Any,
    readings: Mapping[int, str],
    titles: Titles = MappingProxyType({}),
) -> tuple[ImageShape | None, ...]:
    """Return how each input is read: as a series, an image or a volume, or None for a table or anything else.

    ``titles``: names of an input's channels. The user's argument comes first: ``"tokens"``, ``"windows"``,
    any other way to cut ``(n, a, b)`` for an image, three counts for a volume ``(n, a, b, c)``. The
    network's use of the input comes next, then its shape.
    """
    shapes = list[ImageShape | None]()
    for place, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        by_name, reading = isinstance(segments, Mapping), readings.get(place, "")
        cut = segments.get(name) if by_name else segments
        kind, counts, _ = _read_cut(cut)
        if tensor.ndim == 2:
            asked = (by_name or len(names) == 1) and kind in ("windows", "mask")
            reading = "series" if asked else reading
        elif kind == _TOKENS or (
            kind == "windows" and not reading and tensor.ndim == 3
        ):
            reading = _TOKENS
        elif reading in _LINES:
            reading = "image" if kind in set(cutters) - {"windows"} else reading
        elif len(counts) == 3 and tensor.ndim != 5:
            reading = "volume"
        shape = image_shape(tuple(tensor.shape[1:]), reading)
        shapes.append(shape and _with_series(shape, tensor, cut, titles.get(name)))
    return tuple(shapes)


def _with_series(
    shape: ImageShape, tensor: Tensor, cut: Any, titles: Sequence[str] | None
) -> ImageShape:
    """Return the shape with the dimension that lists channels, each a series, if there is one.

    Names of channels say so, the user's way to cut, or numbers that are alike along time alone.
    """
    dims = [dim for dim in range(1, tensor.ndim) if tensor.shape[dim] > 1]
    if len(dims) != 2 or len(shape.size) > 2:
        return shape
    kind, _, by_channel = _read_cut(cut)
    series: int | None = None
    if titles is not None:
        series = next((dim for dim in dims if tensor.shape[dim] == len(titles)), None)
    elif kind == "windows" and by_channel and len(shape.size) == 2:
        series = min(dims, key=lambda dim: tensor.shape[dim])
    elif not shape.vectors:
        picture = len(shape.size) == 2
        series = channels_beside_time(tensor, dims, strip=picture)
    return shape if series is None else replace(shape, series=series - 1)


def _read_cut(cut: Any) -> tuple[str, tuple[Any, ...], bool]:
    """Return the name of a way to cut (``"mask"``: an array), its counts, and whether it also tells channels apart."""
    if cut is None or isinstance(cut, str):
        return cut or "", (), False
    if not isinstance(cut, (tuple, list)) or not cut or not isinstance(cut[0], str):
        return "mask", (), False
    by_channel = len(cut) > 1 and isinstance(cut[-1], str) and cut[-1] == _CHANNELS
    return cut[0], tuple(cut[1:-1] if by_channel else cut[1:]), by_channel


def build_space(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    columns: Sequence[tuple[str, ...] | None],
    segments: Mapping[str, Any] | Any,
    readings: Mapping[int, str] | None = None,
    cuts: Mapping[str, tuple[Tensor, list[str]]] = MappingProxyType({}),
    titles: Titles = MappingProxyType({}),
) -> PlayerSpace:
    """Return the players of a network's inputs at the level of features.

    ``cuts``: inputs that are cut already. ``titles``: names of an input's channels.
    """
    shapes = shapes_of(names, tensors, segments, readings or {}, titles)
    _check_titles(names, tensors, shapes, titles)
    wanted = _by_input(names, tensors, segments, shapes)
    players: list[str] = []
    modality: list[str] = []
    maps: list[Tensor] = []
    frames = [column for titles in columns if titles is not None for column in titles]
    for name, tensor, own_columns, shape in zip(
        names, tensors, columns, shapes, strict=True
    ):
        # Behind the input's name where several frames have a column of that name.
        titled = own_columns and tuple(
            f"{name}.{one}" if frames.count(one) > 1 else one for one in own_columns
        )
        labels, listed = cuts.get(name) or _cut_input(
            name, tensor, titled, wanted.get(name), shape, titles.get(name)
        )
        maps.append(torch.where(labels >= 0, labels + len(players), NOBODY))
        players += listed
        modality += [name] * len(listed)
    doubled = (
        {name for name in players if players.count(name) > 1}
        if len(set(players)) < len(players)
        else set()
    )
    if doubled:
        raise InputError(
            f"Two features have the name {min(doubled)!r}",
            hint="Rename the column",
            code="PG008",
        )
    return PlayerSpace(tuple(players), tuple(modality), tuple(names), tuple(maps))


def _by_input(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    segments: Any,
    shapes: Sequence[ImageShape | None],
) -> dict[str, Any]:
    if segments is None:
        return {}
    images = [
        name
        for name, tensor, shape in zip(names, tensors, shapes, strict=True)
        if tensor.ndim in (3, 4, 5) or shape is not None
    ]
    if not isinstance(segments, Mapping):
        segments = dict.fromkeys(images, segments)
        if not images:
            problem = "segments= cuts images, and none of the inputs is an image"
            raise InputError(problem, hint="Leave it out", code="PG004")
    for name in segments:
        check_choice("input in segments", name, names)
        if name not in images:
            raise InputError(
                f"segments= cuts images, and {name!r} is not an image",
                hint="Leave it out",
                code="PG039",
            )
    return dict(segments)


def _cut_input(
    name: str,
    tensor: Tensor,
    columns: tuple[str, ...] | None,
    wanted: Any,
    image: ImageShape | None,
    titles: Sequence[str] | None = None,
) -> tuple[Tensor, list[str]]:
    shape, kind = tuple(tensor.shape[1:]), wanted if isinstance(wanted, str) else ""
    if len(shape) == 1 and columns is not None and image is None:
        return torch.arange(shape[0]), list(columns)
    if not shape or (len(shape) > 2 and image is None and wanted is None):
        return torch.zeros(shape, dtype=torch.int64), [
            name
        ]  # a number, or of many dimensions
    if kind == _NUMBERS:
        return torch.arange(math.prod(shape)).reshape(shape), [
            f"{name}{place}" for place in _places(shape)
        ]
    if wanted is None and image is not None:
        wanted = _usual_cut(image, shape)
        kind = wanted if isinstance(wanted, str) else ""
    if image is None or kind in (_CHANNELS, _TOKENS):
        by_channel = kind == _CHANNELS
        return _along_dimension(name, shape, image, titles, channels=by_channel)
    in_time = image.series is not None and _read_cut(wanted)[::2] == ("windows", True)
    cut = _cut_series if in_time else _cut_image
    labels_2d, listed = cut(name, tensor, wanted, image, titles)
    return image.spread(labels_2d, shape), [f"{name}{label}" for label in listed]


def _usual_cut(image: ImageShape, shape: tuple[int, ...]) -> Any:
    """Return how an input is cut where the user does not say."""
    if image.series is not None:
        each = max(_FEWEST, _OF_SERIES // shape[image.series])
        return "windows", min(each, _WINDOWS), _CHANNELS
    if image.vectors and shape[1] > 1:
        return _TOKENS
    return "grid" if len(image.size) > 1 else "windows"


def _along_dimension(
    name: str,
    shape: tuple[int, ...],
    image: ImageShape | None,
    titles: Sequence[str] | None = None,
    *,
    channels: bool,
) -> tuple[Tensor, list[str]]:
    """Return a player for each place along a dimension: of the channels, which are a sequence's last, or the first."""
    if not channels:
        ends: Sequence[Any] = range(shape[0])
        dimension: int | None = 0
    else:
        dimension = len(shape) - 1 if image is None else channels_of(image)
        if dimension is None:
            raise _without_channels(name, shape)
        ends = _titles(titles, shape[dimension])
    labels = torch.as_tensor(np.indices(shape)[dimension])
    return labels, [f"{name}[{end}]" for end in ends]


def channels_of(image: ImageShape) -> int | None:
    """Return the dimension of a row that lists channels, or None."""
    return image.channels if image.series is None else image.series


def _titles(titles: Sequence[str] | None, count: int) -> Sequence[str]:
    """Return the names of channels, which are no places."""
    return titles or [f"channel {index}" for index in range(count)]


def _check_titles(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    shapes: Sequence[ImageShape | None],
    titles: Titles,
) -> None:
    """Refuse names of channels that are not those of an input."""
    for name, listed in titles.items():
        check_choice("input in channel_names", name, names)
        place = names.index(name)
        shape, image = tuple(tensors[place].shape[1:]), shapes[place]
        channels = None if image is None else channels_of(image)
        if channels is None or shape[channels] != len(listed):
            size = " × ".join(map(str, shape)) or "one number"
            problem = f"channel_names has {len(listed)} names for {name!r}, of which each row is {size}"
            hint = "Pass one name for each channel of a series or an image"
            raise InputError(problem, hint=hint, code="PG008")


def _cut_series(
    name: str,
    tensor: Tensor,
    wanted: Any,
    image: ImageShape,
    titles: Sequence[str] | None,
) -> tuple[Integers, list[str]]:
    """Cut each channel along time, ``wanted`` as ``("windows", count, "channels")``."""
    shape, series = tuple(tensor.shape[1:]), image.series
    assert series is not None
    others = [dim for dim in range(len(shape)) if dim != series]
    time = max(others, key=lambda dim: shape[dim])
    along = ImageShape((shape[time],), None)
    labels, listed = _cut_image(name, tensor, ("windows", *wanted[1:-1]), along)
    places = np.indices(shape, sparse=True)
    each = labels[places[time]] * shape[series] + places[series]
    ends = _titles(titles, shape[series])
    return each, [f"{label[:-1]}, {end}]" for label in listed for end in ends]


def _without_channels(name: str, shape: Sequence[int]) -> InputError:
    ways = "'windows'" if len(shape) == 1 else "'grid', 'pixels' or 'superpixels'"
    size = " × ".join(map(str, shape))
    problem = f"Input {name!r} has no channels: it is {size} for each row"
    return InputError(problem, hint=f"Choose segments={ways}", code="PG039")


def _cut_image(
    name: str,
    tensor: Tensor,
    wanted: Any,
    image: ImageShape,
    titles: Sequence[str] | None = None,
) -> tuple[Integers, list[str]]:
    kind, counts, by_channel = _read_cut(wanted)
    if kind == "mask":
        return _mask(name, wanted, image.size, tuple(tensor.shape[1:]))
    check_choice("segments", kind, (*cutters, _CHANNELS, _NUMBERS, _TOKENS))
    for count in counts:
        if not is_whole(count) or count < 1:
            problem = f"The numbers of segments= must be integers of at least 1, got {wanted!r}"
            raise InputError(problem, hint="Pass for example ('grid', 7)", code="PG002")
    try:
        labels, listed = cutters.get(kind)(tensor, image.size, *counts)
    except TypeError as error:
        hint = (
            "Pass ('grid', cells), ('grid', down, across), for a volume ('grid', deep, down, across), for a "
            "series ('windows', count), or ('superpixels', count)"
        )
        raise InputError(
            f"segments={wanted!r} has too many numbers, or too few",
            hint=hint,
            code="PG001",
        ) from error
    if not by_channel:
        return labels, listed
    shape = tuple(tensor.shape[1:])
    if image.channels is None:
        raise _without_channels(name, shape)
    count = shape[image.channels]
    each = (
        image.spread(labels, shape).numpy() * count
        + np.indices(shape, sparse=True)[image.channels]
    )
    ends = _titles(titles, count)
    return each, [f"{label[:-1]}, {end}]" for label in listed for end in ends]


def _mask(
    name: str, wanted: Any, size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Integers, list[str]]:
    mask = (
        wanted.detach().cpu().numpy()
        if isinstance(wanted, Tensor)
        else np.asarray(wanted)
    )
    if not mask.ndim:
        raise InputError(
            f"segments= must be a name, a tuple of a name and its numbers, or a mask of {name!r}, got {shown(wanted)}",
            hint=f"Pass for example 'superpixels' or ('{'grid' if len(size) > 1 else 'windows'}', "
            f"{wanted if is_whole(wanted) and wanted > 0 else 7})",
            code="PG039",
        )
    if mask.shape not in (size, shape) or mask.dtype.kind not in "iub":
        channels = (
            ""
            if size == shape
            else f" (or for each of its {' × '.join(map(str, shape))} numbers)"
        )
        problem = (
            f"The mask of {name!r} must hold one integer for each of its {' × '.join(map(str, size))} pixels{channels}"
            f", got {mask.dtype} of shape {mask.shape}"
        )
        raise InputError(
            problem,
            hint="Pass such a mask, or 'grid', 'pixels' or 'superpixels'",
            code="PG039",
        )
    values = np.unique(mask[mask >= 0])
    if not len(values):
        problem = (
            f"All numbers of the mask of {name!r} are below 0, so it has no segment"
        )
        raise InputError(
            problem, hint="Number the pixels of each segment from 0", code="PG039"
        )
    labels = np.where(mask >= 0, np.searchsorted(values, mask), NOBODY).astype(np.int64)
    return labels, [f"[{value}]" for value in values.astype(np.int64).tolist()]
