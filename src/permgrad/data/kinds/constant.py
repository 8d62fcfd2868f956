"""Columns with one value."""

from __future__ import annotations

from permgrad.data.kinds.column import ColumnKind, kinds


@kinds.register("constant")
class Constant(ColumnKind):
    """One value and nothing missing, or no value: a feature with no encoded column."""

    is_encoded = False
    varies = False
    is_provisional = True
    as_written = False
