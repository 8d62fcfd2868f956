"""A table whose rows name image files: finding them, reading them into arrays of one size, and their faults."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.base.checks import check_path, is_whole
from permgrad.base.errors import InputError, by_count, listed, shown, warn_user
from permgrad.data.read.image_cells import source_of

#: Longest side of an image that nobody gave a size: enough for shapes, and training stays minutes on a processor.
LONGEST_SIDE = 64
#: Sides of the square that images are brought to, in pixels.
_FEWEST_PIXELS, _MOST_SIDE = 8, 4096
#: Pixels of one image. Where Pillow begins to warn, a process takes nearly 1 GB to read it.
MOST_PIXELS = 89_478_485
#: Formats that Pillow may try, by its names. The readers of others are rarely used, and many of its holes are in them.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF")
#: Image modes of Pillow without colour.
GREY_MODES = frozenset({"1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L"})
#: Formats of several pictures of which the first is the whole: a photograph with its preview, a picture and its layers.
_WHOLE_FIRST = frozenset({"MPO"})
#: What real numbers may lie outside 0 … 1, in which rescaled images end up by rounding.
_ROUNDING = 1e-6
#: The brightest of 0 … 255 where an image is likely to have fewer levels than its file: 12 bits written as 16.
_DARK = 16
#: What is around an image that is brought into a frame of other proportions.
_GREY = 127
_MOST_NAMED = 4
#: Training images that size and mode are read from. The headers of more say nothing new.
_LOOKED_AT = 2000

Pixels = npt.NDArray[np.uint8]
#: Rule, what files do that break it, and how to mend them.
_RULES = {
    "whole": ("cannot be read", "Replace them or leave their rows out."),
    "real": (
        "hold real numbers outside 0 … 1",
        "Rescale all images of the column to 0 … 1 in the same way, or save them with 8 or 16 bits.",
    ),
    "integer": (
        "hold integers outside 0 … 65,535",
        "Rescale all images of the column to 0 … 65,535 in the same way, or save them with 8 or 16 bits.",
    ),
}


class _LevelsError(ValueError):
    """Grey levels lie outside what their storage type stands for: the rule, and the fact."""


@dataclass(frozen=True)
class ImageColumn:
    """A column of image paths, fitted: size, channels (1 or 3), and of each the mean and spread of pixels in 0 … 1."""

    name: str
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def fit(cls, name: str, files: Sequence[Path], *, size: int | None = None) -> tuple[ImageColumn, Pixels]:
        """Choose size (None: the median, at most 64) and channels from training images, and read them, see ``read``."""
        if size is not None and not (is_whole(size) and _FEWEST_PIXELS <= size <= _MOST_SIDE):
            problem = f"The size of images must be from {_FEWEST_PIXELS} to {_MOST_SIDE:,} pixels, got {shown(size)}"
            raise InputError(problem, hint="Pass for example size=64.", code="PG002")
        distinct = list(dict.fromkeys(files))
        looked_at = distinct[:: max(1, len(distinct) // _LOOKED_AT)]
        shapes: list[tuple[int, int]] = []
        modes: set[str] = set()

        def look(file: Path) -> None:
            with opened_image(file) as image:
                shapes.append((image.height, image.width))
                modes.add(image.mode)

        each_image(name, looked_at, look, len(files))
        sides = np.median(np.array(shapes, dtype=np.float64), axis=0)
        usual = (sides * min(1.0, LONGEST_SIDE / sides.max())).tolist()
        height, width = (max(_FEWEST_PIXELS, round(side)) if size is None else size for side in usual)
        channels = 1 if modes <= GREY_MODES else 3
        pixels = cls(name, height, width, channels, (), ()).read(files)
        if any(map(_is_deep, modes)) and (top := int(pixels.max(initial=0))) <= _DARK:
            warn_user(
                f"The training images of column {name!r} reach level {top} of 255 at most, after scaling from "
                "0 … 65,535 (integers) or 0 … 1 (real numbers)",
                "Rescale all images of the column by one factor.",
            )
        by_channel = [pixels[:, channel] for channel in range(channels)]
        mean = tuple(float(values.mean(dtype=np.float64)) / 255 for values in by_channel)
        # Images that are all alike have no spread. Dividing by 1 leaves them as they are.
        spread = tuple(float(values.std(dtype=np.float64)) / 255 or 1.0 for values in by_channel)
        return cls(name, height, width, channels, mean, spread), pixels

    def read(self, files: Sequence[Path]) -> Pixels:
        """Read images in this column's size and channels: uint8 ``(rows, channels, height, width)``."""
        places = {file: place for place, file in enumerate(dict.fromkeys(files))}
        pixels = np.empty((len(places), self.channels, self.height, self.width), dtype=np.uint8)

        def read_one(file: Path) -> None:
            pixels[places[file]] = read_image(file, self.channels, self.height, self.width)

        each_image(self.name, list(places), read_one, len(files))
        return pixels if len(places) == len(files) else pixels[[places[file] for file in files]]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {**asdict(self), "mean": list(self.mean), "spread": list(self.spread)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ImageColumn:
        """Read back what ``to_dict`` wrote."""
        sizes = (int(content["height"]), int(content["width"]), int(content["channels"]))
        mean, spread = (tuple(float(value) for value in content[key]) for key in ("mean", "spread"))
        if min(sizes) < 1 or sizes[2] not in (1, 3) or not len(mean) == len(spread) == sizes[2]:
            problem = f"The stored image column is incomplete or damaged: {dict(content)}"
            raise InputError(problem, hint="Save the model again.", code="PG052")
        return cls(str(content["name"]), *sizes, mean, spread)


def locate_images(cells: pd.Series[Any], folder: str | os.PathLike[str], table: str = "the table") -> list[Path]:
    """Return each row's image file.

    Args:
        cells: column of paths, relative to ``folder`` or absolute.
        folder: the folder of the table.
        table: what messages call the table.

    Raises:
        InputError: Cells without a path, or files that do not exist, named up to a few.

    Examples:
        >>> locate_images(pd.Series(["a.png"], name="scan"), "/nowhere")
        Traceback (most recent call last):
        permgrad.InputError: 1 of 1 image files in column 'scan' of the table does not exist...
    """
    if not isinstance(cells, pd.Series):
        raise InputError(
            f"cells must be a column of a table, got {shown(cells)}", hint="Pass frame['scan'].", code="PG001"
        )
    base = check_path("folder", folder, "pass the folder of the table")
    name = str(cells.name)
    empty = cells.isna().to_numpy() | np.array([not str(cell).strip() for cell in cells], dtype=bool)
    if empty.any():
        rows = ", ".join(map(str, cells.index[empty][:_MOST_NAMED])) + (", …" if empty.sum() > _MOST_NAMED else "")
        raise InputError(
            f"Column {name!r} of {table} names no image in {int(empty.sum())} of {len(cells)} rows "
            f"(row {rows}, counted from 0)",
            hint="Fill these cells or leave the rows out.",
            code="PG019",
        )
    files = [base / str(cell).strip() for cell in cells.tolist()]
    # Not Path.is_file, which raises for names that are too long to be one.
    missing = [file for file in dict.fromkeys(files) if not os.path.isfile(file)]  # noqa: PTH113
    if missing:
        raise InputError(
            f"{len(missing)} of {len(set(files))} image files in column {name!r} of {table} "
            f"{by_count(len(missing), 'does', 'do')} not exist ({_named(missing)})",
            hint=f"Paths start from the table's folder, {os.fspath(base)}.",
            code="PG019",
        )
    return files


def check_images(name: str, files: Sequence[Path]) -> None:
    """Decode every file once, so that one that cannot be used is found before hours of work and not after."""
    each_image(name, files, lambda file: read_image(file, 1, 1, 1), len(files))


def check_image_cells(name: str, cells: Sequence[str]) -> None:
    """Decode the image of every cell of a column once, as ``check_images`` does."""
    each_image(name, cells, lambda cell: read_image(source_of(cell), 1, 1, 1), len(cells))


def shared_images(train: Sequence[Path], test: Sequence[Path]) -> int:
    """Count test rows whose image file a training row shows as well: figures on them are too good."""
    seen = set(train)
    return sum(file in seen for file in test)


def pages_said(name: str, files: Sequence[Path]) -> list[str]:
    """Return what is to be said of files with several frames or pages, none or one sentence. Pixels are not decoded."""
    distinct = list(dict.fromkeys(files))
    several = [file for file in distinct if _has_pages(file)]
    if not several:
        return []
    more = ", …" if len(several) > 1 else ""
    sentence = (
        f"{len(several):,} of {len(distinct):,} image files of column {name!r} have several frames or pages "
        f"({_named(several[:1])}{more}): the first of each is read and the others are not"
    )
    return [sentence]


# ---- files -----------------------------------------------------------------------------------------------------------
def each_image(name: str, files: Sequence[Any], look: Callable[[Any], object], count: int) -> None:
    """Look at each file, or cell, of a column. Raise for the first rule that is broken, naming a few files."""
    faults: dict[str, list[str]] = {rule: [] for rule in _RULES}
    for file in files:
        try:
            look(file)
        except _LevelsError as error:
            rule, fact = error.args
            faults[rule].append(f"{os.fspath(file)}: {fact}")
        except Exception as error:  # noqa: BLE001 — decoders raise almost anything on damaged files
            text = " ".join(str(error).split()) or type(error).__name__
            unknown = f"not an image that Pillow can read as one of {', '.join(FORMATS)}"
            why = unknown if "cannot identify" in text else text
            faults["whole"].append(f"{os.fspath(file)}: {why}")
    for rule, broken in faults.items():
        if broken:
            fact, hint = _RULES[rule]
            more = f"; and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
            raise InputError(
                f"{len(broken)} of {count} image files in column {name!r} {fact} "
                f"({'; '.join(broken[:_MOST_NAMED])}{more})",
                hint=hint,
                code="PG019",
            )


def opened_image(source: Any) -> Any:
    """Open an image: a path, encoded bytes, an array, or a PIL image, which is copied.

    Programs (PostScript) and images that are too large are refused by their header.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        plain = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
        image = Image.fromarray(_eight_bits(plain) if plain.ndim == 3 and plain.dtype != np.uint8 else plain)
    elif isinstance(source, Image.Image):
        image = source.copy()
    else:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as stream:
            if stream.read(4) in (b"%!PS", b"\xc5\xd0\xd3\xc6"):
                raise ValueError("it is PostScript, a program and not an image: save it as PNG")
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        size = f"{image.width:,} × {image.height:,}"
        raise ValueError(f"it has {size} pixels, more than {MOST_PIXELS:,}: make it smaller")
    return image


def _is_deep(mode: str) -> bool:
    """Whether images of a mode have grey levels of more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def _has_pages(file: Path) -> bool:
    """Whether a file has several frames or pages of which the first is not the whole image."""
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.format not in _WHOLE_FIRST and bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 — decoders raise almost anything on damaged files, which are refused elsewhere
        return False


def read_image(source: Any, channels: int, height: int, width: int, *, framed: bool = False) -> Pixels:
    """Return an image ``(channels, height, width)``. ``framed``: in its own proportions, with grey around it."""
    from PIL import Image, ImageOps

    mode = "RGB" if channels == 3 else "L"
    with opened_image(source) as image:
        # In place: a second copy of a large image is as large.
        ImageOps.exif_transpose(image, in_place=True)
        brought = Image.fromarray(_eight_bits(np.asarray(image))) if _is_deep(image.mode) else image
        if "transparency" in brought.info:  # Pillow warns of what palettes lose
            brought = brought.convert("RGBA")
        brought = brought if brought.mode == mode else brought.convert(mode)
        if framed:
            brought = ImageOps.pad(brought, (width, height), Image.Resampling.BILINEAR, (_GREY,) * channels)
        elif brought.size != (width, height):
            brought = brought.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        array = np.asarray(brought, dtype=np.uint8)
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)


def _eight_bits(values: Array) -> Pixels:
    """Bring grey levels of more than 8 bits to 0 … 255: real numbers by 1, integers by 65,535, alike for all images."""
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite numbers")
    rule, top, slack = ("real", 1.0, _ROUNDING) if values.dtype.kind == "f" else ("integer", 65535.0, 0.0)
    low, high = values.min(initial=0), values.max(initial=0)
    if low < -slack or high > top + slack:
        # Numbers of NumPy as text have as many digits as tell them from their neighbours.
        ends = [str(end) if rule == "real" else f"{int(end):,}" for end in (values.min(), values.max())]
        raise _LevelsError(rule, " … ".join(ends))
    brought = np.empty(values.shape, dtype=np.uint8)
    # Row by row of a large image: in float64 it would take eight times the memory that the result does.
    for row, levels in enumerate(values):
        brought[row] = np.clip(np.round(levels.astype(np.float64) * (255.0 / top)), 0, 255)
    return brought


def _named(files: Sequence[Path]) -> str:
    return listed(files, _MOST_NAMED, lambda file: repr(os.fspath(file)))
