"""What users are told of the columns that a model learns from; once, by whoever comes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from permgrad.base.errors import warn_user
from permgrad.data.read.spellings import tell_of_several_ways
from permgrad.data.read.whole_numbers import tell_of_fused
from permgrad.data.types.duplicates import as_groups, duplicates_said, same_columns
from permgrad.data.types.identifiers import tell_of_identifiers

if TYPE_CHECKING:
    import pandas as pd

    from permgrad.data.types.column_types import Schema

#: Whether this thread, or the one that it runs in, was told of the columns in other words.
_told: ContextVar[bool] = ContextVar("permgrad_told_of_columns", default=False)


@contextmanager
def told_of_columns() -> Iterator[None]:
    """Leave out what the body would say of columns: a command has said it of the same table, in its own words."""
    token = _told.set(True)
    try:
        yield
    finally:
        _told.reset(token)


def tell_of_columns(
    frame: pd.DataFrame,
    schema: Schema,
    kinds: Mapping[str, Any],
    *,
    together: Iterable[Sequence[str]] = (),
    suspects: Sequence[str] | None = None,
    rows: str = "training row",
) -> None:
    """Warn of identifiers, numbers in several spellings or with too many digits, and columns that determine each other.

    Args:
        frame: training rows, or as many of them as types are read from.
        schema: types of their columns.
        kinds: columns whose kind the user gave.
        together: columns that the user declared to act as one, block by block.
        suspects: columns that may number the rows; None: as the schema says.
        rows: what one of these rows is called.
    """
    if _told.get():
        return
    tell_of_identifiers(schema, kinds, suspects)
    tell_of_several_ways(schema, kinds)
    tell_of_fused(schema)
    if groups := same_columns(frame, schema, together):
        fix = f"leave out all but one, or explain them together: pg.explain(..., groups={as_groups(groups)!r})"
        warn_user(duplicates_said(groups, fix, rows=rows))
