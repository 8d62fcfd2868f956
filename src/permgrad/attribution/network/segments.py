"""How an input is cut into players: columns of a table; pixels, a grid, a mask or superpixels of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad._checks import check_choice, is_whole
from permgrad._errors import InputError, suggest
from permgrad._registry import Registry
from permgrad.attribution.players import NOBODY, PlayerSpace

Integers = npt.NDArray[np.int64]
Cutter = Callable[..., tuple[Integers, list[str]]]

#: Ways to cut an image: ``(rows (n, *shape), (height, width)) -> labels (height, width), names``.
cutters: Registry[Cutter] = Registry("segments")

#: Cells on each side of the default grid, and superpixels, at most.
_GRID, _SUPERPIXELS = 7, 40


@dataclass(frozen=True)
class ImageShape:
    """Where height, width and channels are in an image without its row dimension."""

    height: int
    width: int
    channels: int | None  # position of the channels' dimension: 0, 2 or None

    def spread(self, labels: Integers, shape: tuple[int, ...]) -> Tensor:
        """Return labels ``(height, width)`` for every position of the image: all channels of a pixel act as one."""
        grid = torch.as_tensor(labels, dtype=torch.int64)
        if self.channels is None:
            return grid
        return grid.unsqueeze(self.channels).expand(shape).contiguous()


def image_shape(shape: tuple[int, ...]) -> ImageShape | None:
    """Return how an input's shape reads as an image, None where it is none.

    Examples:
        >>> image_shape((3, 28, 32)), image_shape((28, 32, 3)).channels, image_shape((5,))
        (ImageShape(height=28, width=32, channels=0), 2, None)
    """
    if len(shape) == 2:
        return ImageShape(shape[0], shape[1], None)
    if len(shape) == 3:
        # Torch puts channels first. They are last where that alone leaves a square, or where there are 1, 3 or 4.
        last = shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4)
        last |= shape[0] == shape[1] != shape[2] and shape[0] not in (1, 3, 4)
        return ImageShape(shape[0], shape[1], 2) if last else ImageShape(shape[1], shape[2], 0)
    return None


@cutters.register("pixels")
def pixels(rows: Tensor, size: tuple[int, int]) -> tuple[Integers, list[str]]:  # noqa: ARG001 — part of the protocol
    """Make every pixel a player."""
    height, width = size
    labels = np.arange(height * width, dtype=np.int64).reshape(height, width)
    return labels, [f"[{row},{column}]" for row in range(height) for column in range(width)]


@cutters.register("grid")
def grid(
    rows: Tensor,  # noqa: ARG001 — part of the protocol
    size: tuple[int, int],
    cells: int = _GRID,
    across: int | None = None,
) -> tuple[Integers, list[str]]:
    """Cut the image into ``cells`` × ``across`` patches of nearly equal size (across: as many as down)."""
    height, width = size
    down, right = min(cells, height), min(across or cells, width)
    row = np.arange(height, dtype=np.int64) * down // height
    column = np.arange(width, dtype=np.int64) * right // width
    labels = row[:, None] * right + column[None, :]
    return labels, [f"[{r},{c}]" for r in range(down) for c in range(right)]


@cutters.register("superpixels")
def superpixels(rows: Tensor, size: tuple[int, int], count: int = _SUPERPIXELS) -> tuple[Integers, list[str]]:
    """Cut the mean image of the rows into connected regions of similar colour.

    k-means over colour and position, started on a grid, as in SLIC (Achanta et al. 2012, IEEE TPAMI 34(11), section 3),
    then split into connected parts; parts below a quarter of the usual size go to the neighbour that they touch most.

    NOTE[DIFF] every pixel is compared with every centre, not only with those nearby; images here are small.
    """
    from scipy import ndimage

    height, width = size
    shape = image_shape(tuple(rows.shape[1:]))
    mean = rows.double().mean(dim=0)
    if shape is not None and shape.channels == 2:
        mean = mean.permute(2, 0, 1)
    colour = mean.reshape(-1, height * width).T.cpu().numpy()
    colour = colour / max(float(colour.std()), 1e-12)
    across = max(1, round((count * width / height) ** 0.5))
    start, _ = grid(rows, size, max(1, round(count / across)), across)
    step = (height * width / count) ** 0.5
    where = np.indices((height, width)).reshape(2, -1).T / step
    points: npt.NDArray[np.float64] = np.concatenate([colour, where], axis=1)
    labels = start.ravel()
    for _ in range(10):
        counts = np.bincount(labels)
        kept = np.flatnonzero(counts)
        sums = [np.bincount(labels, weights=points[:, place]) for place in range(points.shape[1])]
        centres = np.array(sums).T[kept] / counts[kept, None]
        labels = ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    regions = _connected(labels.reshape(height, width), ndimage.label, int(step**2 / 4))
    return regions, [f"[superpixel {index}]" for index in range(int(regions.max()) + 1)]


def _connected(labels: Integers, label: Callable[..., Any], least: int) -> Integers:
    """Split labels into connected regions and give small ones to the neighbour with the longest common border."""
    regions = np.zeros(labels.shape, dtype=np.int64)
    count = 0
    for value in np.unique(labels):
        parts, found = label(labels == value)
        regions[parts > 0] = parts[parts > 0] + count - 1
        count += found
    for region in np.argsort(np.bincount(regions.ravel()), kind="stable"):
        mask = regions == region
        if not 0 < mask.sum() < least:
            continue
        border = np.concatenate([
            regions[1:][mask[:-1] & ~mask[1:]], regions[:-1][mask[1:] & ~mask[:-1]],
            regions[:, 1:][mask[:, :-1] & ~mask[:, 1:]], regions[:, :-1][mask[:, 1:] & ~mask[:, :-1]],
        ])  # fmt: skip
        # A region without a border would be the whole image, which is larger than the least.
        regions[mask] = np.bincount(border).argmax()
    return np.unique(regions, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


# ---- the whole space -------------------------------------------------------------------------------------------------


def build_space(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    columns: Sequence[tuple[str, ...] | None],
    segments: Mapping[str, Any] | Any = None,
) -> PlayerSpace:
    """Return the players of a network's inputs at the level of features.

    A table's players are its columns (a frame's names, else ``table[3]``); an image's are segments
    ``image[row,column]``, by default of a 7 × 7 grid; an input of another shape is one player.

    Args:
        names: of the inputs.
        tensors: rows, one tensor per input.
        columns: column names of the inputs that were frames.
        segments: for each image ``"pixels"``, ``"grid"``, ``("grid", cells)``, ``("grid", down, across)``,
            ``"superpixels"``, ``("superpixels", count)`` or an integer mask ``(height, width)`` (−1: nobody); one value
            for all images, or a dict by input.

    Raises:
        InputError: an unknown way to cut, an input that is no image, a mask that does not fit.
    """
    wanted = _by_input(names, tensors, segments)
    players: list[str] = []
    modality: list[str] = []
    maps: list[Tensor] = []
    frames = [column for own in columns if own is not None for column in own]
    for name, tensor, own in zip(names, tensors, columns, strict=True):
        labels, listed = _cut_input(name, tensor, own, wanted.get(name, "grid"), frames)
        maps.append(torch.where(labels >= 0, labels + len(players), NOBODY))
        players += listed
        modality += [name] * len(listed)
    doubled = {name for name in players if players.count(name) > 1} if len(set(players)) < len(players) else set()
    if doubled:
        raise InputError(
            f"players must have different names, however: {min(doubled)!r} occurs twice; rename the column"
        )
    return PlayerSpace(tuple(players), tuple(modality), tuple(names), tuple(maps))


def _by_input(names: Sequence[str], tensors: Sequence[Tensor], segments: Any) -> dict[str, Any]:
    images = [name for name, tensor in zip(names, tensors, strict=True) if image_shape(tuple(tensor.shape[1:]))]
    if segments is None:
        return {}
    if not isinstance(segments, Mapping):
        segments = dict.fromkeys(images, segments)
        if not images:
            raise InputError("segments= cuts images, however: none of the inputs is an image; leave it out")
    for name in segments:
        if name not in names:
            raise InputError(
                f"segments= must name inputs ({', '.join(names)}), however: {name!r} is none"
                f"{suggest(str(name), list(names))}; name one of them"
            )
        if name not in images:
            raise InputError(f"segments= cuts images, however: {name!r} is no image; leave it out")
    return dict(segments)


def _cut_input(
    name: str, tensor: Tensor, columns: tuple[str, ...] | None, wanted: Any, frames: Sequence[str]
) -> tuple[Tensor, list[str]]:
    shape = tuple(tensor.shape[1:])
    if not shape:
        return torch.zeros((), dtype=torch.int64), [name]
    if len(shape) == 1:
        labels = torch.arange(shape[0], dtype=torch.int64)
        if columns is None:
            return labels, [f"{name}[{index}]" for index in range(shape[0])]
        return labels, [f"{name}.{own}" if frames.count(own) > 1 else own for own in columns]
    image = image_shape(shape)
    if image is None:
        return torch.zeros(shape, dtype=torch.int64), [name]
    size = (image.height, image.width)
    if isinstance(wanted, (str, tuple, list)) and wanted and isinstance(wanted[0], str):
        kind, arguments = (wanted, ()) if isinstance(wanted, str) else (wanted[0], tuple(wanted[1:]))
        check_choice("segments", kind, cutters)
        for argument in arguments:
            if not is_whole(argument) or argument < 1:
                raise InputError(
                    f"segments must be counted by integers of at least 1, however: {wanted!r}; pass for example "
                    "('grid', 7)"
                )
        try:
            labels_2d, listed = cutters.get(kind)(tensor, size, *arguments)
        except TypeError as error:
            raise InputError(
                "segments= takes ('grid', cells), ('grid', down, across) or ('superpixels', count), however: "
                f"segments={wanted!r} has too many numbers; leave them out"
            ) from error
    else:
        labels_2d, listed = _mask(name, wanted, size)
    return image.spread(labels_2d, shape), [f"{name}{label}" for label in listed]


def _mask(name: str, wanted: Any, size: tuple[int, int]) -> tuple[Integers, list[str]]:
    mask = wanted.detach().cpu().numpy() if isinstance(wanted, Tensor) else np.asarray(wanted)
    if mask.shape != size or mask.dtype.kind not in "iub":
        raise InputError(
            f"a mask of {name!r} must hold one integer for each of its {size[0]} × {size[1]} pixels, however: it is "
            f"{mask.dtype} of shape {mask.shape}; pass such a mask, or 'grid', 'pixels' or 'superpixels'"
        )
    values = np.unique(mask[mask >= 0])
    if not len(values):
        raise InputError(
            f"a mask of {name!r} must give at least one pixel to a player, however: all are below 0; number the "
            "pixels of each segment from 0"
        )
    labels = np.where(mask >= 0, np.searchsorted(values, mask), NOBODY).astype(np.int64)
    return labels, [f"[{value}]" for value in values.astype(np.int64).tolist()]
