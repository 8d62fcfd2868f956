"""Cells that are images: encoded bytes, arrays, PIL images, and names of files with the
folder that they lie in.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

import numpy as np

from permgrad.base.late import pd

#: Endings of files that may be images, and what encoded images begin with.
_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".ppm",
    ".pgm",
    ".jp2",
    ".avif",
)
_MAGIC = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"P5",
    b"P6",
    b"\0\0\0",
)


class ImageCell(str):
    """A cell that is an image: a text that tells it from other images, read as any
    text, and where its pixels are.

    ``source`` is a path, encoded bytes, a uint8 or uint16 array ``(height, width)`` or
    ``(height, width, channels)``, or a PIL image.

    Examples:
        >>> frame = pd.DataFrame({"photo": [np.zeros((8, 8), np.uint8), None]})
        >>> cells = with_image_cells(frame)["photo"]
        >>> cells[0][:6], cells[0].source.shape, cells[1] is None
        ('image ', (8, 8), True)
    """

    __slots__ = ("source",)
    source: Any

    def __new__(cls, text: str, source: Any = None) -> Self:
        """Make the text of an image."""
        image_cell = super().__new__(cls, text)
        image_cell.source = source
        return image_cell

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep where the pixels are."""
        return ImageCell, (str(self), self.source)


def source_of(cell: str) -> Any:
    """Return where the pixels of a cell are.

    A text is a path, from the working directory or absolute.
    """
    if isinstance(cell, ImageCell):
        return cell.source
    return Path(str(cell).strip())


def stamp_of(cell: str) -> tuple[int, ...]:
    """Return what tells whether the file of a cell has changed."""
    source = source_of(cell)
    if not isinstance(source, os.PathLike) or not os.path.exists(source):  # noqa: PTH110 — a path may be too long
        return ()
    facts = os.stat(source)  # noqa: PTH116 — likewise
    return facts.st_mtime_ns, facts.st_size


def is_image(cell: str) -> bool:
    """Say whether a cell is an image, or the path of a file that exists and has the
    ending of one.
    """
    if isinstance(cell, ImageCell) and not isinstance(cell.source, Path):
        return True
    # Not Path.is_file, which raises for names that are too long to be one.
    return _is_named(cell) and os.path.isfile(source_of(cell))  # noqa: PTH113


def _is_named(cell: str) -> bool:
    return cell.strip().lower().endswith(_SUFFIXES)


def with_image_cells(
    frame: pd.DataFrame, folder: Path | None = None, declared: Collection[str] = ()
) -> pd.DataFrame:
    """Return the frame with images among its cells as ``ImageCell``.

    The frame itself if it has none.

    ``folder``: that of the table, in which files are that its cells name. None: texts
    stay as they are. ``declared`` are columns of images, also where names of files have
    no usual ending.
    """
    columns: dict[Any, Any] = {}
    for column_name, dtype in frame.dtypes.items():
        if dtype.kind == "O" and not isinstance(dtype, pd.CategoricalDtype):
            cells = frame[column_name].array
            present = (
                column_cell
                for column_cell in cells
                if column_cell is not None and column_cell is not pd.NA
            )
            first = next(
                (
                    present_cell
                    for present_cell in present
                    if not (
                        isinstance(present_cell, float) and math.isnan(present_cell)
                    )
                ),
                None,
            )
            if folder is None and _is_image(first):
                image_cells = [
                    _as_cell(cell_value) if _is_image(cell_value) else cell_value
                    for cell_value in cells
                ]
            elif (
                folder is not None
                and isinstance(first, str)
                and (column_name in declared or _is_named(first))
            ):
                image_cells = [
                    ImageCell(file_cell, folder / file_cell.strip())
                    if isinstance(file_cell, str)
                    else file_cell
                    for file_cell in cells
                ]
            else:
                continue
            # As objects: a column of strings would keep their text alone.
            columns[column_name] = pd.Series(
                image_cells, index=frame.index, dtype=object
            )
    frame = frame.copy(deep=False) if columns else frame
    for image_column, cells in columns.items():
        frame[image_column] = cells
    return frame


def _is_image(cell: Any) -> bool:
    if isinstance(cell, bytes):
        return cell.startswith(_MAGIC)
    if isinstance(cell, np.ndarray):
        is_image_shape = cell.ndim == 2 or (
            cell.ndim == 3 and cell.shape[2] in (1, 3, 4)
        )
        return cell.dtype in (np.uint8, np.uint16) and is_image_shape and cell.size > 0
    pillow_image = sys.modules.get("PIL.Image")
    return pillow_image is not None and isinstance(cell, pillow_image.Image)


def _as_cell(cell: Any) -> ImageCell:
    """Return the cell with a text of its pixels' hash.

    Those of a PIL image and of an array are hashed alike.
    """
    if isinstance(cell, bytes):
        return ImageCell(
            f"image {hashlib.blake2b(cell, digest_size=12).hexdigest()}", cell
        )
    pixels = np.asarray(
        cell.convert("RGBA") if getattr(cell, "mode", "") in ("P", "PA") else cell
    )
    total = hashlib.blake2b(
        f"{pixels.dtype.str} {pixels.shape}".encode(), digest_size=12
    )
    total.update(pixels.tobytes())
    return ImageCell(f"image {total.hexdigest()}", cell)
