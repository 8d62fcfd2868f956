"""Cut inputs into players: columns of a table, tokens and windows of a sequence,
segments of an image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.players.neighbours import channels_beside_time
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice, is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.registry import Registry


class Cut(NamedTuple):
    """An image, a volume or a series in players.

    Attributes:
        labels: The player of each place, from 0 on, in the shape of the image.
        names: Of each player what stands behind the input's name, such as ``[0,1]``.
    """

    labels: Integers
    names: list[str]


#: A way to cut an input. It is called with rows ``(n, *shape)``, the size that is cut
#: (``(length,)``, ``(height, width)`` or ``(depth, height, width)``) and the counts
#: that ``segments=`` names behind it, and returns a ``Cut`` of that size.
Cutter = Callable[..., Cut]
#: For an input the names of its channels.
Titles = Mapping[str, Sequence[str]]

#: Ways to cut an image of rows and its height and width, for a volume with its depth
#: first, for a series with its length alone.
cutters: Registry[Cutter] = Registry("segments")

#: Cells on each side of the default grid of an image and of a volume, superpixels and
#: windows, at most.
_GRID = 7
_GRID_VOLUME = 4
#: Parts in which frames one behind the other are cut at most.
_FRAMES = 8
#: How a reading of such frames begins, before their number.
VIDEO = "video "
_SUPERPIXELS = 40
_WINDOWS = 20
#: Players of channels beside time that are aimed at, and the fewest windows of each.
_OF_SERIES = 100
_FEWEST = 4
#: Ways that need no image: a player for each place of a sequence, for each channel, and
#: for each number.
_TOKENS = "tokens"
_CHANNELS = "channels"
_NUMBERS = "numbers"
#: What a sequence is read as: ``(rows, places, numbers)``, or ``(rows, [channels,]
#: time)``.
_LINES = (_TOKENS, "series")


#: What an input is called, by its sides.
_NOUNS = ("", "series", "image", "volume")


@dataclass(frozen=True)
class ImageShape:
    """Where height, width and channels are in an image without its row dimension.

    In a volume, depth comes first, and in a video its frames.

    A series has only a length.
    """

    size: tuple[int, ...]
    channels: (
        int | None
    )  # position of the channels' dimension: first, last, behind frames or None
    #: the dimension of a row whose entries are series of their own, such as electrodes
    #: beside time
    series: int | None = None
    #: frames of several channels each that lie one behind the other along the first
    #: side
    frames: int | None = None
    #: whether its sizes alone may also be those of a video, frames before channels
    in_doubt: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation says of it: ``noun``, where its sides do not say it."""
        facts: dict[str, Any] = {"size": list(self.size), "channels": self.channels}
        if self.series is not None:
            facts["series"] = self.series
        if self.noun != _NOUNS[len(self.size)]:
            facts["noun"] = self.noun
        return facts

    @property
    def noun(self) -> str:
        """What it is called."""
        if self.series is not None:
            return "series"
        return _NOUNS[len(self.size)]

    @property
    def vectors(self) -> bool:
        """Whether it is a vector for each place of a sequence."""
        return len(self.size) == 1 == self.channels

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The dimensions of rows ``(n, *shape)`` along which pixels lie."""
        sides = len(self.size) + (self.channels is not None)
        return tuple(
            side_index + 1 for side_index in range(sides) if side_index != self.channels
        )

    def spread(self, labels: Integers, shape: tuple[int, ...]) -> Tensor:
        """Return labels for every position of the image: all channels of a pixel act as
        one.

        Labels are those of the pixels, ``size``, or of every position already,
        ``shape``.
        """
        label_grid = torch.as_tensor(labels, dtype=torch.int64)
        if self.channels is None or tuple(label_grid.shape) == shape:
            return label_grid
        return label_grid.unsqueeze(self.channels).expand(shape).contiguous()


def image_shape(shape: tuple[int, ...], reading: str = "") -> ImageShape | None:
    """Return how an input's shape reads as a series, an image or a volume, None where
    it is none of them.

    Args:
        shape: Of one row of the input.
        reading: How the network reads it, empty where that is not known.
    """
    if reading in _LINES and len(shape) in (1, 2):
        return _shape_of_line(shape, reading)
    if reading.startswith(VIDEO):
        return ImageShape(shape, None, frames=int(reading.removeprefix(VIDEO)))
    if reading[-1:].isdigit():
        channels = int(reading[-1])
        return ImageShape(
            tuple(
                side_length
                for side_index, side_length in enumerate(shape)
                if side_index != channels
            ),
            channels,
        )
    if (
        len(shape) not in ((3, 4) if reading == "volume" else (2, 3))
        or reading == _TOKENS
    ):
        return None
    if len(shape) == 2 or (len(shape) == 3 and reading == "volume"):
        return ImageShape(shape, None)
    return _shape_by_sizes(shape)


def _shape_of_line(shape: tuple[int, ...], reading: str) -> ImageShape | None:
    """Return how a sequence of vectors or a series lies, None of single tokens."""
    if reading == _TOKENS:
        return ImageShape(shape[:1], 1) if len(shape) == 2 else None
    return ImageShape(shape[-1:], 0 if len(shape) == 2 else None)


def _shape_by_sizes(shape: tuple[int, ...]) -> ImageShape:
    """Return where the channels of an image or a volume are as its sizes say.

    Torch puts channels first. They are last where that alone leaves a square, or where
    there are 1, 3 or 4.
    """
    channels_last = shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    channels_last |= len(set(shape[:-1])) == 1 != len(set(shape)) and shape[0] not in (
        1,
        3,
        4,
    )
    if channels_last:
        return ImageShape(shape[:-1], len(shape) - 1)
    # Of 5-D rows that nothing convolves: frames of one or three colours, or a volume.
    colours = [side_length in (1, 3) for side_length in shape[:2]]
    if len(shape) == 4 and colours == [False, True]:
        return ImageShape((shape[0], *shape[2:]), 1)
    return ImageShape(shape[1:], 0, in_doubt=len(shape) == 4 and all(colours))


@cutters.register("pixels")
def pixels(rows: Tensor, size: tuple[int, ...]) -> Cut:  # noqa: ARG001 — part of the protocol
    """Make every pixel a player."""
    labels = np.arange(math.prod(size), dtype=np.int64).reshape(size)
    return Cut(labels, _places(size))


@cutters.register("grid")
def grid(
    rows: Tensor,  # noqa: ARG001 — part of the protocol
    size: tuple[int, ...],
    *cells: int,
) -> Cut:
    """Cut the image into patches of nearly equal size: so many along each side, one
    number for all sides, or 7 (4).
    """
    if len(cells) > 1 and len(cells) != len(size):
        raise TypeError
    cell_counts = cells or (_GRID if len(size) == 2 else _GRID_VOLUME,)
    side_cells = list(
        map(
            min, cell_counts * len(size) if len(cell_counts) == 1 else cell_counts, size
        )
    )
    labels = np.zeros((), dtype=np.int64)
    for count, length in zip(side_cells, size, strict=True):
        labels = (
            labels[..., None] * count
            + np.arange(length, dtype=np.int64) * count // length
        )
    return Cut(labels, _places(side_cells))


@cutters.register("windows")
def windows(rows: Tensor, size: tuple[int, ...], count: int = _WINDOWS) -> Cut:
    """Cut a series into windows of nearly equal length along time, named by their first
    place and the one behind.
    """
    if len(size) != 1:
        raise InputError(
            "segments='windows' cuts a series along time, but the network reads "
            f"{' × '.join(map(str, size))} pixels",
            hint=f"Cut them with ('grid', {', '.join('1' * (len(size) - 1))}, {count})",
            code="PG039",
        )
    labels, names = grid(rows, size, count)
    edges = np.searchsorted(labels, np.arange(len(names) + 1)).tolist()
    window_names = [_span(start, end) for start, end in itertools.pairwise(edges)]
    return Cut(labels, window_names)


def _span(start: int, end: int) -> str:
    """Return the name of the places from ``start`` to the one before ``end``."""
    if end > start + 1:
        return f"[{start}:{end}]"
    return f"[{start}]"


def _places(size: Sequence[int]) -> list[str]:
    """Return the names of places: ``[row,column]``, of a volume with the depth
    before.
    """
    names: list[str] = []
    for cell_position in np.ndindex(*size):
        names.append("[" + ",".join(map(str, cell_position)) + "]")
    return names


def _nearest_centres(points: Floats, labels: Integers) -> Integers:
    """Return the nearest of the centres of labelled points for each of them."""
    counts = np.bincount(labels)
    used = np.flatnonzero(counts)
    sums = [np.bincount(labels, weights=numbers) for numbers in points.T]
    centres = np.array(sums).T[used] / counts[used, None]
    return ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)


@cutters.register("superpixels")
def superpixels(rows: Tensor, size: tuple[int, ...], count: int = _SUPERPIXELS) -> Cut:
    """Cut the mean image of the rows into connected regions of similar colour.

    This is k-means over colour and position, started on a grid, as in SLIC (Achanta et
    al. 2012, IEEE TPAMI 34(11), section 3), then split into connected parts. Parts
    below a quarter of the usual size join the neighbour that they touch most.

    NOTE[DIFF] every pixel is compared with every centre, not only with those nearby,
    since images here are small.
    """
    from scipy import ndimage

    mean_image = rows.double().mean(dim=0)
    if tuple(mean_image.shape) != size and tuple(mean_image.shape[1:]) != size:
        mean_image = mean_image.movedim(-1, 0)
    colour = mean_image.reshape(-1, math.prod(size)).T.cpu().numpy()
    colour = colour / max(float(colour.std()), 1e-12)
    cell_length = (math.prod(size) / count) ** (1 / len(size))
    other_sides = [max(1, round(length / cell_length)) for length in size[1:]]
    start, _ = grid(
        rows, size, max(1, round(count / math.prod(other_sides))), *other_sides
    )
    where = np.indices(size).reshape(len(size), -1).T / cell_length
    points: Floats = np.concatenate([colour, where], axis=1)
    labels = start.ravel()
    for _ in range(10):
        labels = _nearest_centres(points, labels)
    regions = _connected(
        labels.reshape(size), ndimage.label, int(cell_length ** len(size) / 4)
    )
    region_count = int(regions.max()) + 1
    return Cut(regions, [f"[superpixel {index}]" for index in range(region_count)])


def _connected(labels: Integers, label: Callable[..., Any], least: int) -> Integers:
    """Split labels into connected regions and give small ones to the neighbour with the
    longest common border.
    """
    regions = np.zeros(labels.shape, dtype=np.int64)
    count = 0
    for value in np.unique(labels):
        label_regions, parts_found = label(labels == value)
        regions[label_regions > 0] = label_regions[label_regions > 0] + count - 1
        count += parts_found
    for region in np.argsort(np.bincount(regions.ravel()), kind="stable"):
        mask = regions == region
        if not 0 < mask.sum() < least:
            continue
        border_labels: list[Integers] = []
        for axis in range(labels.ndim):
            ahead = np.moveaxis(regions, axis, 0)
            moved_mask = np.moveaxis(mask, axis, 0)
            border_labels += [
                ahead[1:][moved_mask[:-1] & ~moved_mask[1:]],
                ahead[:-1][moved_mask[1:] & ~moved_mask[:-1]],
            ]
        border = np.concatenate(border_labels)
        # A region without a border would be the whole image, which is larger than the
        # least.
        regions[mask] = np.bincount(border).argmax()
    return (
        np.unique(regions, return_inverse=True)[1]
        .reshape(labels.shape)
        .astype(np.int64)
    )


# ---- the whole space -----------------------------------------------------------------
def shapes_of(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    segments: Any,
    readings: Mapping[int, str],
    titles: Titles = MappingProxyType({}),
) -> tuple[ImageShape | None, ...]:
    """Return how each input is read: as a series, an image or a volume, or None for a
    table or anything else.

    The user's argument comes first: ``"tokens"``, ``"windows"``, any other way to cut
    ``(n, a, b)`` for an image, three counts for a volume ``(n, a, b, c)``. The
    network's use of the input comes next, then its shape.

    Args:
        names: Of the inputs.
        tensors: The rows, ``(rows, *)`` for each input.
        segments: How inputs are cut, as in ``pg.Model``.
        readings: How the network reads each input.
        titles: The names of each input's channels.
    """
    shapes = list[ImageShape | None]()
    for input_index, (input_name, tensor) in enumerate(
        zip(names, tensors, strict=True)
    ):
        by_name = isinstance(segments, Mapping)
        reading = readings.get(input_index, "")
        if by_name:
            input_cut = segments.get(input_name)
        else:
            input_cut = segments
        cut_kind, counts, _ = _read_cut(input_cut)
        if tensor.ndim == 2:
            is_series = (by_name or len(names) == 1) and cut_kind in ("windows", "mask")
            if is_series:
                reading = "series"
        elif cut_kind == _TOKENS or (
            cut_kind == "windows" and not reading and tensor.ndim == 3
        ):
            reading = _TOKENS
        elif reading in _LINES:
            if cut_kind in set(cutters) - {"windows"}:
                reading = "image"
        elif len(counts) == 3 and tensor.ndim != 5:
            reading = "volume"
        shape = image_shape(tuple(tensor.shape[1:]), reading)
        shapes.append(
            shape and _with_series(shape, tensor, input_cut, titles.get(input_name))
        )
    return tuple(shapes)


def _with_series(
    shape: ImageShape, tensor: Tensor, cut: Any, titles: Sequence[str] | None
) -> ImageShape:
    """Return the shape with the dimension that lists channels, each a series, if there
    is one.

    Names of channels say so, the user's way to cut, or numbers that are alike along
    time alone.
    """
    long_dimensions = []
    for dimension in range(1, tensor.ndim):
        if tensor.shape[dimension] > 1:
            long_dimensions.append(dimension)
    if len(long_dimensions) != 2 or len(shape.size) > 2:
        return shape
    cut_kind, _, by_channel = _read_cut(cut)
    series: int | None = None
    if titles is not None:
        series = next(
            (
                dimension
                for dimension in long_dimensions
                if tensor.shape[dimension] == len(titles)
            ),
            None,
        )
    elif cut_kind == "windows" and by_channel and len(shape.size) == 2:
        series = min(long_dimensions, key=lambda dim: tensor.shape[dim])
    elif not shape.vectors:
        picture = len(shape.size) == 2
        series = channels_beside_time(tensor, long_dimensions, strip=picture)
    if series is None:
        return shape
    return replace(shape, series=series - 1)


class _ReadCut(NamedTuple):
    """How an input is cut.

    Attributes:
        kind: The name of a way to cut. ``"mask"``: an array.
        counts: Its counts.
        by_channel: Whether it also tells channels apart.
    """

    kind: str
    counts: tuple[Any, ...]
    by_channel: bool


def _read_cut(cut: Any) -> _ReadCut:
    """Return the name of a way to cut (``"mask"``: an array), its counts, and whether
    it also tells channels apart.
    """
    if cut is None or isinstance(cut, str):
        return _ReadCut(cut or "", (), False)
    if not isinstance(cut, (tuple, list)) or not cut or not isinstance(cut[0], str):
        return _ReadCut("mask", (), False)
    by_channel = len(cut) > 1 and isinstance(cut[-1], str) and cut[-1] == _CHANNELS
    return _ReadCut(cut[0], tuple(cut[1:-1] if by_channel else cut[1:]), by_channel)


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

    Args:
        names: Of the inputs.
        tensors: The rows explained, ``(rows, *)`` for each input.
        columns: The columns of each input that is a frame. None: of others.
        segments: How inputs are cut, as in ``pg.Model``.
        readings: How the network reads each input.
        cuts: Inputs that are cut already, by their names.
        titles: The names of each input's channels.

    Raises:
        InputError: An input cannot be cut as ``segments`` says.
    """
    shapes = shapes_of(names, tensors, segments, readings or {}, titles)
    _check_titles(names, tensors, shapes, titles)
    cuts_by_input = _by_input(names, tensors, segments, shapes)
    players: list[str] = []
    modality: list[str] = []
    player_maps: list[Tensor] = []
    frames = [column for titles in columns if titles is not None for column in titles]
    for input_name, tensor, own_columns, shape in zip(
        names, tensors, columns, shapes, strict=True
    ):
        # Behind the input's name where several frames have a column of that name.
        titled = own_columns and tuple(
            f"{input_name}.{column_name}"
            if frames.count(column_name) > 1
            else column_name
            for column_name in own_columns
        )
        labels, listed = cuts.get(input_name) or _cut_input(
            input_name,
            tensor,
            titled,
            cuts_by_input.get(input_name),
            shape,
            titles.get(input_name),
        )
        player_maps.append(torch.where(labels >= 0, labels + len(players), NOBODY))
        players += listed
        modality += [input_name] * len(listed)
    if len(set(players)) < len(players):
        doubled = set()
        for player_name in players:
            if players.count(player_name) > 1:
                doubled.add(player_name)
    else:
        doubled = set()
    if doubled:
        raise InputError(
            f"Two features have the name {min(doubled)!r}",
            hint="Rename the column",
            code="PG008",
        )
    return PlayerSpace(
        tuple(players), tuple(modality), tuple(names), tuple(player_maps)
    )


def _by_input(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    segments: Any,
    shapes: Sequence[ImageShape | None],
) -> dict[str, Any]:
    if segments is None:
        return {}
    images = []
    for input_name, tensor, shape in zip(names, tensors, shapes, strict=True):
        if tensor.ndim in (3, 4, 5) or shape is not None:
            images.append(input_name)
    if not isinstance(segments, Mapping):
        segments = dict.fromkeys(images, segments)
        if not images:
            problem = "segments= cuts images, and none of the inputs is an image"
            raise InputError(problem, hint="Leave it out", code="PG004")
    for segmented_input in segments:
        check_choice("input in segments", segmented_input, names)
        if segmented_input not in images:
            raise InputError(
                f"segments= cuts images, and {segmented_input!r} is not an image",
                hint="Leave it out",
                code="PG039",
            )
    return dict(segments)


def _cut_input(
    name: str,
    tensor: Tensor,
    columns: tuple[str, ...] | None,
    input_cut: Any,
    image: ImageShape | None,
    titles: Sequence[str] | None = None,
) -> tuple[Tensor, list[str]]:
    shape = tuple(tensor.shape[1:])
    if isinstance(input_cut, str):
        cut_kind = input_cut
    else:
        cut_kind = ""
    if len(shape) == 1 and columns is not None and image is None:
        return torch.arange(shape[0]), list(columns)
    if not shape or (len(shape) > 2 and image is None and input_cut is None):
        return torch.zeros(shape, dtype=torch.int64), [
            name
        ]  # a number, or of many dimensions
    if cut_kind == _NUMBERS:
        return torch.arange(math.prod(shape)).reshape(shape), [
            f"{name}{number_position}" for number_position in _places(shape)
        ]
    if input_cut is None and image is not None:
        input_cut = _usual_cut(image, shape)
        if isinstance(input_cut, str):
            cut_kind = input_cut
        else:
            cut_kind = ""
    if image is None or cut_kind in (_CHANNELS, _TOKENS):
        by_channel = cut_kind == _CHANNELS
        return _along_dimension(name, shape, image, titles, channels=by_channel)
    cut = _read_cut(input_cut)
    is_by_window = cut.kind == "windows" and cut.by_channel
    in_time = image.series is not None and is_by_window
    if in_time:
        cut_function = _cut_series
    else:
        cut_function = _cut_image
    labels_2d, listed = cut_function(name, tensor, input_cut, image, titles)
    return image.spread(labels_2d, shape), [f"{name}{label}" for label in listed]


def _usual_cut(image: ImageShape, shape: tuple[int, ...]) -> Any:
    """Return how an input is cut where the user does not say."""
    if image.series is not None:
        window_count = max(_FEWEST, _OF_SERIES // shape[image.series])
        return "windows", min(window_count, _WINDOWS), _CHANNELS
    if image.vectors and shape[1] > 1:
        return _TOKENS
    if image.frames is not None:  # between frames, not through one
        parts = max(
            count for count in range(1, _FRAMES + 1) if image.frames % count == 0
        )
        return "grid", parts, _GRID_VOLUME, _GRID_VOLUME
    if len(image.size) > 1:
        return "grid"
    return "windows"


def _along_dimension(
    name: str,
    shape: tuple[int, ...],
    image: ImageShape | None,
    titles: Sequence[str] | None = None,
    *,
    channels: bool,
) -> tuple[Tensor, list[str]]:
    """Return a player for each place along a dimension: of the channels, which are a
    sequence's last, or the first.
    """
    if not channels:
        dimension_titles: Sequence[Any] = range(shape[0])
        dimension: int | None = 0
    else:
        if image is None:
            dimension = len(shape) - 1
        else:
            dimension = channels_of(image)
        if dimension is None:
            raise _without_channels(name, shape)
        dimension_titles = _titles(titles, shape[dimension])
    labels = torch.as_tensor(np.indices(shape)[dimension])
    return labels, [
        f"{name}[{dimension_title}]" for dimension_title in dimension_titles
    ]


def channels_of(image: ImageShape) -> int | None:
    """Return the dimension of a row that lists channels, or None."""
    if image.series is None:
        return image.channels
    return image.series


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
    for input_name, listed in titles.items():
        check_choice("input in channel_names", input_name, names)
        input_index = names.index(input_name)
        shape = tuple(tensors[input_index].shape[1:])
        image = shapes[input_index]
        if image is None:
            channels = None
        else:
            channels = channels_of(image)
        if channels is None or shape[channels] != len(listed):
            shape_words = " × ".join(map(str, shape)) or "one number"
            problem = (
                f"channel_names has {len(listed)} names for {input_name!r}, of "
                f"which each row is {shape_words}"
            )
            hint = "Pass one name for each channel of a series or an image"
            raise InputError(problem, hint=hint, code="PG008")


def _cut_series(
    name: str,
    tensor: Tensor,
    input_cut: Any,
    image: ImageShape,
    titles: Sequence[str] | None,
) -> tuple[Integers, list[str]]:
    """Cut each channel along time, ``input_cut`` as ``("windows", count,
    "channels")``.
    """
    shape = tuple(tensor.shape[1:])
    series = image.series
    assert series is not None
    other_dimensions = []
    for dimension in range(len(shape)):
        if dimension != series:
            other_dimensions.append(dimension)
    time_dimension = max(other_dimensions, key=lambda dim: shape[dim])
    along = ImageShape((shape[time_dimension],), None)
    labels, listed = _cut_image(name, tensor, ("windows", *input_cut[1:-1]), along)
    position_grids = np.indices(shape, sparse=True)
    series_labels = (
        labels[position_grids[time_dimension]] * shape[series] + position_grids[series]
    )
    channel_titles = _titles(titles, shape[series])
    return series_labels, [
        f"{label[:-1]}, {channel_title}]"
        for label in listed
        for channel_title in channel_titles
    ]


def _without_channels(name: str, shape: Sequence[int]) -> InputError:
    if len(shape) == 1:
        cut_choices = "'windows'"
    else:
        cut_choices = "'grid', 'pixels' or 'superpixels'"
    shape_words = " × ".join(map(str, shape))
    problem = f"Input {name!r} has no channels: it is {shape_words} for each row"
    return InputError(problem, hint=f"Choose segments={cut_choices}", code="PG039")


def _cut_image(
    name: str,
    tensor: Tensor,
    input_cut: Any,
    image: ImageShape,
    titles: Sequence[str] | None = None,
) -> tuple[Integers, list[str]]:
    cut_kind, counts, by_channel = _read_cut(input_cut)
    if cut_kind == "mask":
        return _mask(name, input_cut, image.size, tuple(tensor.shape[1:]))
    check_choice("segments", cut_kind, (*cutters, _CHANNELS, _NUMBERS, _TOKENS))
    for count in counts:
        if not is_whole(count) or count < 1:
            problem = (
                "The numbers of segments= must be integers of at least 1, got "
                f"{input_cut!r}"
            )
            raise InputError(problem, hint="Pass for example ('grid', 7)", code="PG002")
    try:
        labels, listed = cutters.get(cut_kind)(tensor, image.size, *counts)
    except TypeError as error:
        hint = (
            "Pass ('grid', cells), ('grid', down, across), for a volume ('grid', deep, "
            "down, across), for a series ('windows', count), or ('superpixels', count)"
        )
        raise InputError(
            f"segments={input_cut!r} has too many numbers, or too few",
            hint=hint,
            code="PG001",
        ) from error
    if not by_channel:
        return labels, listed
    shape = tuple(tensor.shape[1:])
    if image.channels is None:
        raise _without_channels(name, shape)
    count = shape[image.channels]
    channel_labels = (
        image.spread(labels, shape).numpy() * count
        + np.indices(shape, sparse=True)[image.channels]
    )
    channel_titles = _titles(titles, count)
    return channel_labels, [
        f"{label[:-1]}, {channel_title}]"
        for label in listed
        for channel_title in channel_titles
    ]


def _mask(
    name: str, given_mask: Any, size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Integers, list[str]]:
    if isinstance(given_mask, Tensor):
        mask = given_mask.detach().cpu().numpy()
    else:
        mask = np.asarray(given_mask)
    if not mask.ndim:
        raise InputError(
            "segments= must be a name, a tuple of a name and its numbers, or a mask "
            f"of {name!r}, got {shown(given_mask)}",
            hint="Pass for example 'superpixels' or "
            f"('{'grid' if len(size) > 1 else 'windows'}', "
            f"{given_mask if is_whole(given_mask) and given_mask > 0 else 7})",
            code="PG039",
        )
    if mask.shape not in (size, shape) or mask.dtype.kind not in "iub":
        if size == shape:
            channels = ""
        else:
            channels = f" (or for each of its {' × '.join(map(str, shape))} numbers)"
        problem = (
            f"The mask of {name!r} must hold one integer for each of its "
            f"{' × '.join(map(str, size))} pixels{channels}"
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
