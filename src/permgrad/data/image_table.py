"""Images that a table names or holds: finding them, reading them into arrays of one
size, and their faults.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array
from permgrad.base.errors import InputError, listed, must, one_line
from permgrad.data.read.image_cells import source_of

#: Pixels of one image. Where Pillow begins to warn, a process takes nearly 1 GB to read
#: it.
MOST_PIXELS = 89_478_485
#: Formats that Pillow may try, by its names. The readers of others are rarely used, and
#: many of its holes are in them.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF")
#: Image modes of Pillow without colour.
GREY_MODES = frozenset({"1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L"})
#: Formats of several pictures of which the first is the whole: a photograph with its
#: preview, a picture and its layers.
_WHOLE_FIRST = frozenset({"MPO"})
#: What real numbers may lie outside 0 … 1, in which rescaled images end up by rounding.
_ROUNDING = 1e-6
#: What is around an image that is brought into a frame of other proportions.
_GREY = 127
_MOST_NAMED = 4

Pixels = npt.NDArray[np.uint8]
#: Rule, what files do that break it, and how to mend them.
_RULES = {
    "missing": (
        "cannot be found",
        (
            "Paths start from the table's folder, those of a frame made in Python from "
            "the working directory. The cell of a row without an image is empty."
        ),
    ),
    "whole": (
        "cannot be read",
        "Replace them or empty their cells: a row may lack its image.",
    ),
    "real": (
        "hold real numbers outside 0 … 1",
        (
            "Rescale all images of the column to 0 … 1 in the same way, or save them "
            "with 8 or 16 bits."
        ),
    ),
    "integer": (
        "hold integers outside 0 … 65,535",
        (
            "Rescale all images of the column to 0 … 65,535 in the same way, or save "
            "them with 8 or 16 bits."
        ),
    ),
}


class _LevelsError(ValueError):
    """Grey levels lie outside what their storage type stands for: the rule, and the
    fact.
    """


def check_image_cells(name: str, cells: Sequence[str]) -> None:
    """Decode the image of every cell once, so that one that cannot be used is found
    before hours of work.
    """
    each_image(
        name, cells, lambda cell: read_image(source_of(cell), 1, 1, 1), len(cells)
    )


def pages_said(name: str, files: Sequence[Path]) -> list[str]:
    """Return what is to be said of files with several frames or pages, none or one
    sentence. Pixels are not decoded.
    """
    distinct = list(dict.fromkeys(files))
    several = [paged_file for paged_file in distinct if _has_pages(paged_file)]
    if not several:
        return []
    if len(several) > 1:
        further_text = ", …"
    else:
        further_text = ""
    sentence = (
        f"{len(several):,} of {len(distinct):,} image files of column {name!r} have "
        f"several frames or pages ({_named(several[:1])}{further_text}): the first of "
        "each is read and the others are not"
    )
    return [sentence]


# ---- files ---------------------------------------------------------------------------
def each_image(
    name: str, files: Sequence[Any], look: Callable[[Any], object], count: int
) -> None:
    """Look at each file, or cell, of a column.

    Raise for the first rule that is broken, naming a few files.
    """
    faults: dict[str, list[str]] = {rule_name: [] for rule_name in _RULES}
    for image_file in files:
        try:
            look(image_file)
        except _LevelsError as error:
            broken_rule, fault_text = error.args
            faults[broken_rule].append(f"{os.fspath(image_file)}: {fault_text}")
        except FileNotFoundError as error:
            faults["missing"].append(str(error.filename))
        except Exception as error:  # noqa: BLE001 — decoders raise almost anything on damaged files
            error_text = one_line(error)
            unknown = (
                f"not an image that Pillow can read as one of {', '.join(FORMATS)}"
            )
            if "cannot identify" in error_text:
                explanation = unknown
            else:
                explanation = error_text
            faults["whole"].append(f"{os.fspath(image_file)}: {explanation}")
    for broken_rule, broken in faults.items():
        if broken:
            fault_text, rule_hint = _RULES[broken_rule]
            if len(broken) > _MOST_NAMED:
                further_text = f"; and {len(broken) - _MOST_NAMED} more"
            else:
                further_text = ""
            problem = (
                f"{len(broken):,} of {count:,} image files in column {name!r} "
                f"{fault_text} ({'; '.join(broken[:_MOST_NAMED])}{further_text})"
            )
            raise InputError(problem, hint=rule_hint, code="PG019")


def opened_image(source: Any) -> Any:
    """Open an image: a path, encoded bytes, an array, or a PIL image, which is copied.

    Programs (PostScript) and images that are too large are refused by their header.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        if source.ndim == 3 and source.shape[2] == 1:
            plain = source[..., 0]
        else:
            plain = source
        image = Image.fromarray(
            _eight_bits(plain) if plain.ndim == 3 and plain.dtype != np.uint8 else plain
        )
    elif isinstance(source, Image.Image):
        image = source.copy()
    else:
        with (
            io.BytesIO(source)
            if isinstance(source, bytes)
            else Path(source).open("rb") as stream
        ):
            must(
                stream.read(4) not in (b"%!PS", b"\xc5\xd0\xd3\xc6"),
                "it is PostScript, a program and not an image: save it as PNG",
            )
        image = Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
        )
    if image.width * image.height > MOST_PIXELS:
        image.close()
        pixel_size = f"{image.width:,} × {image.height:,}"
        raise ValueError(
            f"it has {pixel_size} pixels, more than {MOST_PIXELS:,}: make it smaller"
        )
    return image


def is_deep(mode: str) -> bool:
    """Whether images of a mode have grey levels of more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def _has_pages(file: Path) -> bool:
    """Whether a file has several frames or pages of which the first is not the whole
    image.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.format not in _WHOLE_FIRST and bool(
                getattr(image, "is_animated", False)
            )
    except Exception:  # noqa: BLE001 — decoders raise almost anything on damaged files, which are refused elsewhere
        return False


def read_image(
    source: Any, channels: int, height: int, width: int, *, framed: bool = False
) -> Pixels:
    """Return an image ``(channels, height, width)``.

    ``framed``: in its own proportions, with grey around it.
    """
    from PIL import Image, ImageOps

    if channels == 3:
        image_mode = "RGB"
    else:
        image_mode = "L"
    with opened_image(source) as image:
        # In place: a second copy of a large image is as large.
        ImageOps.exif_transpose(image, in_place=True)
        if is_deep(image.mode):
            brought = Image.fromarray(_eight_bits(np.asarray(image)))
        else:
            brought = image
        if "transparency" in brought.info:  # Pillow warns of what palettes lose
            brought = brought.convert("RGBA")
        if brought.mode != image_mode:
            brought = brought.convert(image_mode)
        if framed:
            brought = ImageOps.pad(
                brought, (width, height), Image.Resampling.BILINEAR, (_GREY,) * channels
            )
        elif brought.size != (width, height):
            brought = brought.resize(
                (width, height), Image.Resampling.BILINEAR, reducing_gap=2.0
            )
        array = np.asarray(brought, dtype=np.uint8)
    if channels == 1:
        return array[None]
    return np.moveaxis(array, -1, 0)


def _eight_bits(values: Array) -> Pixels:
    """Bring grey levels of more than 8 bits to 0 … 255: real numbers by 1, integers by
    65,535, alike for all images.
    """
    must(np.isfinite(values).all(), "it has pixels that are not finite numbers")
    value_rule, highest_level, slack = (
        ("real", 1.0, _ROUNDING)
        if values.dtype.kind == "f"
        else ("integer", 65535.0, 0.0)
    )
    minimum = values.min(initial=0)
    maximum = values.max(initial=0)
    if minimum < -slack or maximum > highest_level + slack:
        # Numbers of NumPy as text have as many digits as tell them from their
        # neighbours.
        range_texts = []
        for range_end in (values.min(), values.max()):
            if value_rule == "real":
                range_texts.append(str(range_end))
            else:
                range_texts.append(f"{int(range_end):,}")
        raise _LevelsError(value_rule, " … ".join(range_texts))
    brought = np.empty(values.shape, dtype=np.uint8)
    # Row by row of a large image: in float64 it would take eight times the memory that
    # the result does.
    for row_index, levels in enumerate(values):
        brought[row_index] = np.clip(
            np.round(levels.astype(np.float64) * (255.0 / highest_level)), 0, 255
        )
    return brought


def _named(files: Sequence[Path]) -> str:
    return listed(files, _MOST_NAMED, lambda file: repr(os.fspath(file)))
