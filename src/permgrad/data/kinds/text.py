"""Columns of free text."""

from __future__ import annotations

from collections.abc import Iterator

from permgrad.data.encode.slots import Slot
from permgrad.data.kinds.column import ColumnKind, PageForm, kinds
from permgrad.data.kinds.training import TrainingCells


@kinds.register("text")
class Text(ColumnKind):
    """Sentences, whose words get scores where ``learn`` is told the target."""

    keeps_text = True
    is_own = True
    modality = "text"
    content = ("is free text", "words")
    form = PageForm("text")

    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield nothing: scores are learned later."""
        del cells
        yield from ()
