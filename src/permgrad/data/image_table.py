"""A table whose rows name image files: finding them, reading them into arrays of one size, and what is wrong with them.

The layout is a CSV or Parquet file with a column of paths (relative to the table's own folder, or absolute), columns of
numbers and categories, and a label. What depends on data, the size and the number of channels and their mean and
spread, is fitted on training rows only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_path, is_whole
from permgrad.base.errors import InputError, listed, shown, warn_user

#: Longest side of an image that nobody gave a size: enough for shapes, and training stays minutes on a processor.
LONGEST_SIDE = 64
#: Sides of the square that images are brought to, in pixels.
_FEWEST_PIXELS, _MOST_SIDE = 8, 4096
#: Pixels of one image; where Pillow begins to warn, a process takes nearly 1 GB to read it.
MOST_PIXELS = 89_478_485
#: Image modes of Pillow without colour.
_GREY_MODES = frozenset({"1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L"})
#: Formats of several pictures of which the first is the whole: a photograph with its preview, a picture and its layers.
_WHOLE_FIRST = frozenset({"MPO", "PSD"})
#: What real numbers may lie outside 0 … 1, in which rescaled images end up by rounding.
_ROUNDING = 1e-6
#: The brightest of 0 … 255 where an image is likely to have fewer levels than its file: 12 bits written as 16.
_DARK = 16
_MOST_NAMED = 4
#: Training images that size and mode are read from; the headers of more say nothing new.
_LOOKED_AT = 2000

Pixels = npt.NDArray[np.uint8]
#: Why a file is refused: the rule that it breaks, a key of ``_RULES``, and the fact.
_Fault = tuple[str, str]
#: Rule, what files do that break it, and how to mend them.
_RULES = {
    "whole": ("image files must be whole", "cannot be read", "replace them or leave their rows out"),
    "real": (
        "image files of real numbers must hold 0 … 1",
        "do not",
        "rescale all images of the column to 0 … 1 in the same way, or save them with 8 or 16 bits",
    ),
    "integer": (
        "image files of integers with a sign or 32 bits must hold 0 … 65,535",
        "do not",
        "rescale all images of the column to 0 … 65,535 in the same way, or save them with 8 or 16 bits",
    ),
}


class _LevelsError(ValueError):
    """Grey levels lie outside what their storage type stands for."""

    def __init__(self, rule: str, fact: str) -> None:
        super().__init__(fact)
        self.rule = rule


@dataclass(frozen=True)
class ImageColumn:
    """One column of image paths as fitted on training rows: its name, and the size that every image is brought to.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        mean, spread: mean and standard deviation of each channel over the training images, pixels in 0 … 1.
    """

    name: str
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def fit(cls, name: str, files: Sequence[Path], *, size: int | None = None) -> tuple[ImageColumn, Pixels]:
        """Choose size and channels from training images, one file each row, and read them.

        Without a ``size`` in pixels it is the median height and width, at most 64 on the longer side.

        Returns:
            What was fitted, and the pixels, uint8 ``(rows, channels, height, width)``.

        Raises:
            InputError: Files that cannot be read, or whose levels have no scale, all of them named up to a few.
        """
        if size is not None and not (is_whole(size) and _FEWEST_PIXELS <= size <= _MOST_SIDE):
            raise InputError(
                f"the size of images must be from {_FEWEST_PIXELS} to {_MOST_SIDE:,} pixels, however: {shown(size)}; "
                "pass for example size=64"
            )
        shapes, coloured, deep = _headers(name, files)
        height, width = (size, size) if size is not None else _usual_size(shapes)
        blank = cls(name, height, width, 3 if coloured else 1, (), ())
        pixels = blank.read(files)
        if deep and (top := int(pixels.max(initial=0))) <= _DARK:
            warn_user(
                "images are brought to 256 levels (integers from 0 … 65,535, real numbers from 0 … 1), however the "
                f"training images of column {name!r} reach level {top} at most; rescale all images of the column by "
                "one factor"
            )
        by_channel = [pixels[:, channel] for channel in range(blank.channels)]
        mean = tuple(float(values.mean(dtype=np.float64)) / 255 for values in by_channel)
        # Images that are all alike have no spread; dividing by 1 leaves them as they are.
        spread = tuple(float(values.std(dtype=np.float64)) / 255 or 1.0 for values in by_channel)
        return cls(name, height, width, blank.channels, mean, spread), pixels

    def read(self, files: Sequence[Path]) -> Pixels:
        """Read images in this column's size and channels: uint8 ``(rows, channels, height, width)``.

        Raises:
            InputError: Files that cannot be read, or whose levels have no scale, named up to a few.
        """
        pixels = np.empty((len(files), self.channels, self.height, self.width), dtype=np.uint8)
        known: dict[Path, int] = {}
        faults: dict[Path, _Fault] = {}
        for row, file in enumerate(files):
            if file in known:
                pixels[row] = pixels[known[file]]
                continue
            try:
                pixels[row] = _read(file, self.channels, self.height, self.width)
                known[file] = row
            except Exception as error:  # noqa: BLE001 — decoders raise almost anything on damaged files
                faults[file] = _fault(error)
        _refuse(self.name, faults, len(files))
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        facts = {"name": self.name, "height": self.height, "width": self.width, "channels": self.channels}
        return {**facts, "mean": list(self.mean), "spread": list(self.spread)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ImageColumn:
        """Read back what ``to_dict`` wrote."""
        sizes = (int(content["height"]), int(content["width"]), int(content["channels"]))
        mean, spread = (tuple(float(value) for value in content[key]) for key in ("mean", "spread"))
        if min(sizes) < 1 or sizes[2] not in (1, 3) or not len(mean) == len(spread) == sizes[2]:
            raise InputError(f"a stored image column must be whole, however: {dict(content)}; save the model again")
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
        permgrad.InputError: image files must exist, however: 1 of 1 in column 'scan' of the table does not...
    """
    if not isinstance(cells, pd.Series):
        raise InputError(f"cells must be a column of a table, however: cells={shown(cells)}; pass frame['scan']")
    base = check_path("folder", folder, "pass the folder of the table")
    name = str(cells.name)
    empty = cells.isna().to_numpy() | np.array([not str(cell).strip() for cell in cells], dtype=bool)
    if empty.any():
        rows = ", ".join(str(row) for row in cells.index[empty][:_MOST_NAMED]) + (
            ", …" if empty.sum() > _MOST_NAMED else ""
        )
        raise InputError(
            f"every row must name an image, however: column {name!r} of {table} is empty in {int(empty.sum())} of "
            f"{len(cells)} rows (row {rows}, counted from 0); fill these cells or leave the rows out"
        )
    files = [base / str(cell).strip() for cell in cells.tolist()]
    # Not Path.is_file, which raises for names that are too long to be one.
    missing = [file for file in dict.fromkeys(files) if not os.path.isfile(file)]  # noqa: PTH113
    if missing:
        verb = "does not" if len(missing) == 1 else "do not"
        raise InputError(
            f"image files must exist, however: {len(missing)} of {len(set(files))} in column {name!r} of {table} "
            f"{verb} ({_named(missing)}); paths are taken from the table's folder, {os.fspath(base)}"
        )
    return files


def check_images(name: str, files: Sequence[Path]) -> None:
    """Decode every file once, so that one that cannot be used is found before hours of work and not after."""
    faults: dict[Path, _Fault] = {}
    for file in files:
        try:
            _read(file, 1, 1, 1)
        except Exception as error:  # noqa: BLE001 — decoders raise almost anything on damaged files
            faults[file] = _fault(error)
    _refuse(name, faults, len(files))


def shared_images(train: Sequence[Path], test: Sequence[Path]) -> int:
    """Count test rows whose image file a training row shows as well: figures on them are too good."""
    seen = set(train)
    return sum(file in seen for file in test)


def pages_said(name: str, files: Sequence[Path]) -> list[str]:
    """Return what is to be said of files with several frames or pages, none or one sentence; pixels are not decoded."""
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


def _headers(name: str, files: Sequence[Path]) -> tuple[list[tuple[int, int]], bool, bool]:
    """Return heights and widths of the files, whether one has colours, and whether one has grey levels of over 8 bits.

    Pixels are not decoded.
    """
    from PIL import Image

    shapes: list[tuple[int, int]] = []
    coloured = deep = False
    faults: dict[Path, _Fault] = {}
    looked_at = list(dict.fromkeys(files))
    step = max(1, len(looked_at) // _LOOKED_AT)
    for file in looked_at[::step]:
        try:
            with Image.open(file) as image:
                _check_kind(image)
                shapes.append((image.height, image.width))
                coloured = coloured or image.mode not in _GREY_MODES
                deep = deep or _is_deep(image)
        except Exception as error:  # noqa: BLE001 — decoders raise almost anything on damaged files
            faults[file] = _fault(error)
    _refuse(name, faults, len(looked_at))
    return shapes, coloured, deep


def _is_deep(image: Any) -> bool:
    """Whether an image has grey levels of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _has_pages(file: Path) -> bool:
    """Whether a file has several frames or pages of which the first is not the whole image."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.format not in _WHOLE_FIRST and bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 — decoders raise almost anything on damaged files, which are refused elsewhere
        return False


def _usual_size(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    height, width = (float(side) for side in np.median(np.array(shapes, dtype=np.float64), axis=0))
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(_FEWEST_PIXELS, round(height * shrink)), max(_FEWEST_PIXELS, round(width * shrink))


def _read(file: Path, channels: int, height: int, width: int) -> Pixels:
    from PIL import Image, ImageOps

    mode = "RGB" if channels == 3 else "L"
    with Image.open(file) as opened:
        _check_kind(opened)
        image: Any = opened
        # In place: a second copy of a large image is as large.
        ImageOps.exif_transpose(image, in_place=True)
        if _is_deep(image):
            image = Image.fromarray(_eight_bits(np.asarray(image)))
        image = image if image.mode == mode else image.convert(mode)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        array = np.asarray(image, dtype=np.uint8)
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)


def _check_kind(image: Any) -> None:
    """Refuse, by its header, what is a program or takes more memory than a picture is worth."""
    if image.format == "EPS":
        raise ValueError("it is PostScript, which is a program and not an image; save it as PNG")
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width:,} × {image.height:,}"
        raise ValueError(f"it has {size} pixels, of {MOST_PIXELS:,} allowed; make it smaller")


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Bring grey levels of more than 8 bits to 0 … 255: real numbers by 1, integers by 65,535.

    Also those of 32 bits, in which older Pillow opens 16-bit PNG files. A scale from the image's own levels would make
    one brighter than another for what neither file says.
    """
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite numbers")
    real = values.dtype.kind == "f"
    top, slack = (1.0, _ROUNDING) if real else (65535.0, 0.0)
    lowest, highest = values.min(initial=0), values.max(initial=0)
    if lowest < -slack or highest > top + slack:
        raise _LevelsError("real" if real else "integer", f"{_levels(values.min())} … {_levels(values.max())}")
    brought = np.empty(values.shape, dtype=np.uint8)
    # Row by row of a large image: in float64 it would take eight times the memory that the result does.
    for row, levels in enumerate(values):
        brought[row] = np.clip(np.round(levels.astype(np.float64) * (255.0 / top)), 0, 255)
    return brought


def _levels(value: Any) -> str:
    # Numbers of NumPy as text have as many digits as tell them from their neighbours.
    return f"{int(value):,}" if np.issubdtype(type(value), np.integer) else str(value)


def _fault(error: Exception) -> _Fault:
    """Return the rule and the fact of an error as text, which keeps no image in memory as the error does."""
    text = " ".join(str(error).split())
    if isinstance(error, _LevelsError):
        return error.rule, text
    return "whole", "not an image that Pillow can read" if "cannot identify" in text else (text or type(error).__name__)


def _refuse(name: str, faults: Mapping[Path, _Fault], count: int) -> None:
    """Raise if there are faults, for the first rule that is broken."""
    for rule, (rule_said, fact, fix) in _RULES.items():
        broken_by = [f"{os.fspath(file)}: {why}" for file, (broken, why) in faults.items() if broken == rule]
        if broken_by:
            more = f"; and {len(broken_by) - _MOST_NAMED} more" if len(broken_by) > _MOST_NAMED else ""
            raise InputError(
                f"{rule_said}, however: {len(broken_by)} of {count} in column {name!r} {fact} "
                f"({'; '.join(broken_by[:_MOST_NAMED])}{more}); {fix}"
            )


def _named(files: Sequence[Path]) -> str:
    return listed(files, _MOST_NAMED, lambda file: repr(os.fspath(file)))
