"""Whole numbers that name or number the rows: they say nothing of other rows, and are not to be learned from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import listed, warn_user
from permgrad.data.read.cells import Floats

if TYPE_CHECKING:
    from permgrad.data.types.column_types import Schema

_IDENTIFIER_WORD = re.compile(
    r"(?:^|[_\W])(?:id|ids|index|idx|key|uuid|guid|rowid|record|row|nr|no|number|nummer)$|\w(?:nr|nummer|number)$|"
    r"(?:patient|customer|client|user|case|order|item|sample|subject|person)id$|^unnamed",
    re.IGNORECASE,
)
_IDENTIFIER_CAMEL = re.compile(r"[a-z](?:Id|ID)$")
#: Columns that rightly rise by one from row to row: a table of years, days or steps.
_TIME_WORD = re.compile(
    r"(?:^|[_\W])(?:years?|yr|months?|weeks?|days?|hours?|minutes?|seconds?|dates?|time|t|ts|timestamp|quarters?|periods?|"
    r"epochs?|steps?|age|jahr|monat|woche|tag|stunde|datum|zeit|alter)(?:$|[_\W])",
    re.IGNORECASE,
)
YEARS = (1500, 2200)
FEWEST_FOR_IDENTIFIER = 20
#: A column that counts the rows needs no name to be taken for an identifier, but more rows.
_FEWEST_FOR_COUNT = 30
#: Reason of a column that is learned from, though its name and its values are those of an identifier.
SUSPECT = "numbers, all different, with the name of an identifier"
#: How the reason of numbers begins that are learned from as amounts, though they may be codes.
CODES = "numbers, maybe codes: "
#: Whole numbers of which nearly every row has another, in so many rows and of so many digits, are hardly amounts.
_NEARLY_ALL, _FEWEST_NEARLY, _DIGITS = 0.95, 50, 5
#: So many different values make codes a burden, and an order of them without meaning a pity.
MANY_CODES = 1000
_CODE_WORD = re.compile(
    r"(?:^|[_\W])(?:codes?|flights?|flt|parcels?|zip|zipcode|plz|postcode|postal|accounts?|acct|invoices?|tickets?|tracts?|"
    r"serial|sku|ean|isbn|upc|gtin|barcode|phone|tel|fips|naics|sic|route|train|store|product|article|vendor|supplier|"
    r"customer|employee|patient|polic(?:y|ies)|contract|pin|ssn|vin|imo|icao|mmsi)(?:$|[_\W])|(?:code|num)$",
    re.IGNORECASE,
)


def row_numbers(index: pd.Index[Any]) -> npt.NDArray[np.int64]:
    """Return the numbers that a frame's index gives its rows, else 0, 1, …: rows that were drawn keep their numbers."""
    if index.dtype.kind in "iu" and index.is_unique:
        return index.to_numpy(dtype=np.int64)
    return np.arange(len(index), dtype=np.int64)


def kind_of_distinct(
    name: str, values: Floats, rows: npt.NDArray[np.int64]
) -> tuple[Literal["numeric", "identifier"], str | None]:
    """Tell what a column is whose whole numbers are all different, and why; None: nothing to say.

    ``values`` are NaN where missing; ``rows`` are the numbers of the rows in the table, of which some may be lacking.
    """
    values, rows = _known(values, rows)
    named = named_like_identifier(name)
    steps = np.diff(values[np.argsort(rows)])
    if named and ((steps > 0).all() or (steps < 0).all()):
        return "identifier", "a running whole number, all different, with the name of an identifier"
    if counts_rows(name, values, rows):
        return "identifier", "whole numbers that count the rows one by one"
    return "numeric", SUSPECT if named and len(values) >= _FEWEST_FOR_COUNT else None


def codes_reason(name: str, values: Floats) -> str | None:
    """Say why whole numbers, of which some are alike or that are in no order, may be codes; None: nothing says so.

    Nearly all of them differ and have about as many digits, as numbers of parcels do, or they fill a stretch of numbers
    in another order; or there are a thousand different ones, and the name is that of a code, as with flights.

    Examples:
        >>> plots = np.random.default_rng(0).integers(10**8, 10**9, 400).astype(float)
        >>> codes_reason("plot", plots), codes_reason("plot", np.round(plots / 1e7)), codes_reason("plot", plots / 7)
        ('numbers, maybe codes: 400 different whole numbers in 400 rows', None, None)
    """
    present = values[~np.isnan(values)]
    if len(present) < _FEWEST_NEARLY or not are_whole(present) or _TIME_WORD.search(name):
        return None
    different = np.unique(present)
    reason = f"{CODES}{len(different):,} different whole numbers in {len(present):,} rows"
    if len(different) >= MANY_CODES and (_CODE_WORD.search(name) or named_like_identifier(name)):
        return reason
    if len(different) < _NEARLY_ALL * len(present):
        return None
    low, high = np.quantile(different, (0.05, 0.95))
    alike = low > 0 and high >= 10 ** (_DIGITS - 1) and len(str(int(high))) - len(str(int(low))) <= 1
    is_dense = different[-1] - different[0] < len(present) / _NEARLY_ALL
    return reason if alike or is_dense else None


def named_like_identifier(name: str) -> bool:
    """Whether a column has the name of an identifier: ``id``, ``customer_no``, ``Kundennr``."""
    return bool(_IDENTIFIER_WORD.search(name) or _IDENTIFIER_CAMEL.search(name))


def counts_rows(name: str, values: Floats, rows: npt.NDArray[np.int64]) -> bool:
    """Return whether whole numbers rise by one from row to row, whatever their start and name; those of years may."""
    values, rows = _known(values, rows)
    if len(values) < _FEWEST_FOR_COUNT or _TIME_WORD.search(name) or not are_whole(values):
        return False
    if values.min() >= YEARS[0] and values.max() <= YEARS[1] and not named_like_identifier(name):
        return False
    return bool((values - rows == values[0] - rows[0]).all() or (np.diff(values[np.argsort(rows)]) == 1).all())


def are_whole(values: Floats) -> bool:
    """Return whether all numbers that are not missing are whole."""
    present = values[~np.isnan(values)]
    return bool((np.isfinite(present) & (present == np.floor(present))).all())


def _known(values: Floats, rows: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    there = ~np.isnan(values)
    return values[there], rows[there]


def is_running(name: str, pieces: Sequence[Floats]) -> bool | None:
    """Return whether whole numbers in several pieces of a table, in whatever order, number its rows; None: they may.

    They do if the column is named like an identifier, no two values are alike, and they rise, or fall, within each
    piece: files of a folder need not be in the order of their rows. Where they are different but in no order, nobody
    but the user knows. Missing ones, NaN, are passed over.
    """
    pieces = [piece[~np.isnan(piece)] for piece in pieces]
    values = np.concatenate(pieces)
    if len(values) < FEWEST_FOR_IDENTIFIER or not named_like_identifier(name):
        return False
    if not are_whole(values) or len(np.unique(values)) < len(values):
        return False
    steps = [np.diff(piece) for piece in pieces]
    is_ordered = sum(map(len, steps)) >= len(values) / 2
    rise_or_fall = all((step > 0).all() for step in steps) or all((step < 0).all() for step in steps)
    return True if is_ordered and rise_or_fall else None


def tell_of_identifiers(schema: Schema, kinds: Mapping[str, Any], suspects: Sequence[str] | None = None) -> None:
    """Warn of columns that are not learned from because they number the rows, and of those that may number them.

    ``kinds`` has the columns whose kind the user gave; the ``suspects`` are, without them, as the schema says.
    """
    left_out = [name for name in schema.of_kind("identifier") if name not in kinds]
    if left_out:
        usual = "numeric" if schema[left_out[0]].storage == "number" else "categorical"
        warn_user(
            f"left out, because they look like identifiers: {listed(left_out)}; to learn from one declare what it is, "
            f"such as kinds={{{left_out[0]!r}: {usual!r}}}"
        )
    running = [column.name for column in schema if column.reason == SUSPECT] if suspects is None else suspects
    running = [name for name in running if name not in kinds]
    if running:
        warn_user(
            f"learned from, though each row has a number of its own there and the name is that of an identifier: "
            f"{listed(running)}; if it is one leave it out, or declare kinds={{{running[0]!r}: 'identifier'}}"
        )
