"""Rows to predict as a model can read them, and what is unlike training in them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.unlike import Unlike, unlike_training
from permgrad.data.read.cells import CellError
from permgrad.data.types.odd_cells import without_odd_cells


@dataclass(frozen=True)
class ReadableRows:
    """Rows to predict.

    ``unlike`` says what training did not have in them. ``odd_cells`` are those that its
    types cannot read, which are missing in ``rows``.
    """

    rows: pd.DataFrame
    unlike: list[Unlike]
    odd_cells: list[CellError]

    @classmethod
    def of(
        cls, rows: pd.DataFrame, encoder: TableEncoder, *, strict: bool
    ) -> ReadableRows:
        """Compare rows with those of training. ``strict``: an odd cell is refused."""
        names, odd_cells = list(encoder.feature_names_in_), list[CellError]()
        try:
            unlike = unlike_training(encoder, rows[names])
        except CellError:
            if strict:
                raise
            rows, odd_cells = without_odd_cells(
                rows, encoder.schema_, encoder.codes_, infinite=True
            )
            unlike = unlike_training(encoder, rows[names])
        return cls(rows, unlike, odd_cells)
