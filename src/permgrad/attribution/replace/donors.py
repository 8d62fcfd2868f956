"""Draw donors, the rows that replacement values come from, by counters keyed by seed,
player, repeat and row number.

The draw for one row does not depend on any other row, on the batch, the thread or the
order of players.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from permgrad.attribution.request import Request
from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError
from permgrad.base.random import uniform

#: Share of the rows, before and after a row in time, that do not lend to it.
_NEAR = 0.1


@dataclass(frozen=True)
class Lenders:
    """The rows that lend to each row: all others, or those of other groups and times,
    in proportion to their weight.

    Attributes:
        donors: The number of donors.
        shared: Whether they are the rows explained.
        order: The donors, such that those who do not lend to a row lie between its
            ends. Empty: all other rows lend alike.
        ends: ``(2, rows)``.
        summed: The donors' weights along the order, ``(donors + 1,)``.
        compared: The donors that lend to single rows, where a model keeps rows for
            that.
    """

    donors: int
    shared: bool
    order: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    ends: Integers = field(default_factory=lambda: np.zeros((2, 0), dtype=np.int64))
    summed: Floats = field(default_factory=lambda: np.zeros(1))
    compared: Integers | None = None

    @classmethod
    def of(cls, request: Request) -> Lenders:
        """Return the lenders.

        A separate background has no weights and groups: all of its rows lend to all.
        """
        donors = len(request.donors[0])
        shared = request.shared
        weights = request.sample_weight
        units = request.units
        need_background(donors, shared=shared)
        if request.compared is not None and request.scope.by_row:
            return cls(donors, shared, compared=request.compared)
        equal_weights = weights is None or bool((weights == weights[0]).all())
        if not shared or (
            equal_weights
            and (units is None or (units.count == donors and not units.timed))
        ):
            return cls(donors, shared)
        if units is None:
            codes = np.arange(donors)
        else:
            codes = units.codes
        order = np.argsort(codes, kind="stable")
        if units is not None and units.timed:
            nearby_units = int(_NEAR * units.count)
        else:
            nearby_units = 0
        start = np.searchsorted(codes[order], codes - nearby_units, side="left")
        stop = np.searchsorted(codes[order], codes + nearby_units, side="right")
        summed = np.append(
            0.0,
            np.cumsum(
                np.ones(donors) if weights is None or equal_weights else weights[order]
            ),
        )
        if (summed[-1] - (summed[stop] - summed[start]) <= 1e-12 * summed[-1]).any():
            if units is not None:
                problem = (
                    "Values must come from rows of another group or time, and "
                    "some row has none"
                )
                hint = (
                    "Pass rows of several groups, or leave row_groups= and "
                    "row_time= out."
                )
                raise InputError(problem, hint=hint, code="PG038")
            summed = np.arange(donors + 1.0)
        return cls(donors, shared, order, np.stack([start, stop]), summed)

    def draw(self, seed: int, player: str, repeat: int, rows: Integers) -> Integers:
        """Return the donor of each row: never the row itself where both are of one
        sample.
        """
        chance = uniform(seed, ("donor", player, repeat), rows)
        if self.compared is not None:
            drawn = self.compared[(chance * len(self.compared)).astype(np.int64)]
            return np.asarray(drawn)
        if len(self.order):
            return self.at(rows, chance)
        drawn = (chance * (self.donors - self.shared)).astype(np.int64)
        if self.shared:
            return drawn + (drawn >= rows)
        return drawn

    def at(self, rows: Integers, chance: Floats) -> Integers:
        """Return the donors of rows ``(n,)`` at places ``(n, *)`` in [0, 1) along those
        who lend to them.
        """
        lower_ends, upper_ends = self.summed[self.ends[:, rows]].reshape(
            2, -1, *[1] * (chance.ndim - 1)
        )
        lender_positions = chance * (self.summed[-1] - (upper_ends - lower_ends))
        lender_positions = lender_positions + np.where(
            lender_positions >= lower_ends, upper_ends - lower_ends, 0.0
        )
        group = np.searchsorted(self.summed, lender_positions, side="right") - 1
        return self.order[np.minimum(group, self.donors - 1)]


def need_background(rows: int, *, shared: bool) -> None:
    """Refuse a background without rows, or one that would replace a row by itself.

    Args:
        rows: Of the background.
        shared: Whether it is the rows explained.

    Raises:
        InputError: There are no rows, or a row would replace itself.
    """
    if not rows:
        raise InputError(
            "The background has no rows",
            hint="Pass background= with at least one",
            code="PG038",
        )
    if shared and rows < 2:
        problem = "A single row has no other row to take replacement values from"
        raise InputError(
            problem, hint="Pass background= with further rows", code="PG038"
        )
