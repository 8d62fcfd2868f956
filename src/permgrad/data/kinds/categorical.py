"""Columns of categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.data.encode.slots import Slot
from permgrad.data.kinds.column import ColumnKind, ColumnType, PageForm, kinds
from permgrad.data.kinds.training import TrainingCells


@kinds.register("categorical")
class Categorical(ColumnKind):
    """One of several things that have no order: a 0/1 column for each."""

    storage = "text"
    is_levels = True
    keeps_text = True
    task = "classification"
    form = PageForm("category", "u2")

    @classmethod
    def read(cls, texts: Sequence[str], column: ColumnType) -> Floats:
        """Return that no text is a number."""
        del column
        return np.full(len(texts), np.nan)

    @classmethod
    def required(cls, column: ColumnType) -> str:
        """Say what is asked of a column of which numbers are wanted."""
        del column
        return "be numeric"

    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield slots of the most frequent levels, and one for the others."""
        if cells.levels is None:
            return
        levels = [text for text, _ in cells.levels.by_frequency()]
        for text in levels[: cells.most_levels]:
            yield Slot(cells.column, f"{cells.name}={text}", "level", text)
        if levels and (len(levels) > cells.most_levels or not cells.levels.complete):
            yield Slot(cells.column, f"{cells.name}=<other>", "level")
