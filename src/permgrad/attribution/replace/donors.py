"""Draw donors, the rows that replacement values come from, by counters keyed by seed, player, repeat and row number.

The draw for one row does not depend on any other row, on the batch, the thread or the order of players.
"""

from __future__ import annotations

from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError
from permgrad.base.random import uniform_integers


def donor_rows(seed: int, player: str, repeat: int, rows: Integers, donors: int, *, shared: bool) -> Integers:
    """Return each receiver's donor, uniform over the background, but never the row itself if both are one sample."""
    if not shared:
        return uniform_integers(seed, ("donor", player, repeat), rows, donors)
    drawn = uniform_integers(seed, ("donor", player, repeat), rows, donors - 1)
    return drawn + (drawn >= rows)


def need_background(rows: int, *, shared: bool) -> None:
    """Refuse a background without rows, or that would replace a row by itself."""
    if not rows:
        raise InputError("The background has no rows", hint="Pass background= with at least one", code="PG038")
    if shared and rows < 2:
        raise InputError(
            "A single row has no other row to take replacement values from",
            hint="Pass background= with further rows",
            code="PG038",
        )
