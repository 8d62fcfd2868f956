"""Rows with a target, of any kind: a table, images with a table, the inputs of a
network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.dependence import Dependence
from permgrad.base.frames import taken

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows as a model reads them, with their targets.

    Attributes:
        inputs: a frame, encoded rows, records with images, or the inputs of a network.
        y: the targets as given, ``(rows,)`` or ``(rows, outputs)``.
        numbers: the rows' numbers in their file ``(rows,)``.
        table: the raw values of their features ``(rows, columns)``, or None where the
            inputs are no table.
        identifiers: columns that name the rows, or None.
        sensitive: columns by whose levels the model is judged, or None. They need not
            be features.
        truth: names of classes, or numbers ``(rows,)``, where ``y`` has another form.
        dependence: which rows depend on each other, where that is known.
        weights: how much each row counts, above 0, by the name of its column. None: all
            alike.
        cut: how some of the inputs are taken, where they are of no usual kind.
        outputs: what judges rows that a part of the model has learned from: outputs of
            fits that left them out ``(rows, outputs)``. None: the model's.

    Examples:
        >>> table = pd.DataFrame({"age": [31, 40, 52]})
        >>> y = np.array([0, 1, 1])
        >>> rows = Rows(inputs=table, y=y, numbers=np.arange(3), table=table)
        >>> rows.take(np.array([2])).table["age"].tolist()
        [52]
    """

    inputs: Any
    y: Any
    numbers: Places
    table: pd.DataFrame | None = None
    identifiers: pd.DataFrame | None = None
    sensitive: pd.DataFrame | None = None
    truth: npt.NDArray[Any] | None = None
    dependence: Dependence | None = None
    weights: pd.Series[Any] | None = None
    cut: Callable[[Places], Any] | None = None
    outputs: Floats | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def frame(self) -> pd.DataFrame:
        """The table of rows that have one."""
        assert self.table is not None
        return self.table

    def take(self, positions: Places) -> Rows:
        """Return some of the rows, by position."""
        if len(positions) == len(self) and np.array_equal(
            positions, np.arange(len(self))
        ):
            return self
        cut_rows = self.cut
        y = self.y
        if not (hasattr(y, "iloc") or isinstance(y, np.ndarray)):
            from permgrad.attribution.subject.outputs import as_target  # loads torch

            y = as_target(y)
        frames = {}
        for field_name in ("table", "identifiers", "sensitive", "weights"):
            frames[field_name] = getattr(self, field_name)
        return Rows(
            inputs=taken(self.inputs, positions, len(self))
            if cut_rows is None
            else cut_rows(positions),
            y=y.iloc[positions] if hasattr(y, "iloc") else y[positions],
            numbers=self.numbers[positions],
            **{
                field_name: None if frame is None else frame.iloc[positions]
                for field_name, frame in frames.items()
            },
            truth=None if self.truth is None else self.truth[positions],
            dependence=None
            if self.dependence is None
            else self.dependence.take(positions),
            cut=None
            if cut_rows is None
            else lambda further: cut_rows(positions[further]),
            outputs=None if self.outputs is None else self.outputs[positions],
        )
