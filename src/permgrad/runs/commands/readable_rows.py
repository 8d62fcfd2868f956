"""Rows to predict as a model can read them, and what is unlike training in them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.unlike import Unlike, unlike_training
from permgrad.data.kinds.column import Schema
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
        names = list(encoder.feature_names_in_)
        types = encoder.schema_
        try:
            unlike = unlike_training(encoder, rows[names])
        except CellError:
            if strict:
                raise
        else:
            # Training had some of these columns' odd cells, too.
            types = Schema(
                tuple(
                    column_type
                    for column_type in types
                    if "mistakes" in column_type.flags
                )
            )
        rows, odd_cells = without_odd_cells(rows, types, encoder.codes_, infinite=True)
        if odd_cells and strict:
            raise odd_cells[0]
        if types is encoder.schema_:
            unlike = unlike_training(encoder, rows[names])
        return cls(rows, unlike, odd_cells)
