"""Columns that name or number the rows."""

from __future__ import annotations

from permgrad.data.kinds.column import ColumnKind, kinds


@kinds.register("identifier")
class Identifier(ColumnKind):
    """Names of rows, which say nothing of others: a feature with no encoded column."""

    is_own = True
    is_read = False
    is_encoded = False
