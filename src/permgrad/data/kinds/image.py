"""Columns of images, and of paths of image files."""

from __future__ import annotations

from collections.abc import Iterator

from permgrad.data.encode.slots import Slot
from permgrad.data.kinds.column import ColumnKind, PageForm, kinds
from permgrad.data.kinds.training import TrainingCells


@kinds.register("image")
class Image(ColumnKind):
    """Images, whose vectors get scores where ``learn`` is told the target."""

    keeps_text = True
    is_own = True
    as_written = False
    modality = "photo"
    content = ("holds images", "images")
    form = PageForm("image")

    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield nothing: scores are learned later."""
        del cells
        yield from ()
