"""Which rows of a call of ``fit`` teach, and which are held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.models.estimators.fit_inputs import held_out, held_out_units


class Divided(NamedTuple):
    """Rows that teach and rows that are held out, by their numbers in the table.

    Rows without weight are neither. ``all_rows`` are both, those that teach first, and
    ``related`` says which rows with a weight belong together. ``positions``: the number
    of each among these.
    """

    training: Integers
    held_out: Integers
    positions: tuple[Integers, Integers]
    related: Dependence | None

    @property
    def all_rows(self) -> Integers:
        """Rows that teach, and behind them those that are held out."""
        return np.concatenate([self.training, self.held_out])

    @property
    def units(self) -> Integers | None:
        """Which of ``all_rows`` belong together."""
        if self.related is None:
            return None
        return self.related.codes[np.concatenate(self.positions)]

    @property
    def is_later(self) -> bool:
        """Whether held-out rows are those of later times."""
        return self.related is not None and self.related.timed

    def among_held_out(self) -> Dependence | None:
        """Return which held-out rows depend on each other."""
        if self.related is None:
            return None
        return self.related.take(self.positions[1])


def rows_with_weight(weights: Floats) -> Integers:
    """Return the numbers of rows that count.

    Raises:
        InputError: Fewer than two do.
    """
    weighty = np.flatnonzero(weights > 0)
    if len(weighty) < 2:
        problem = (
            "Training needs at least 2 rows with a weight above 0, got "
            f"n_samples={len(weighty)}"
        )
        raise InputError(problem, hint="Add rows.", code="PG013")
    return weighty


def divide(
    weighty: Integers,
    related: Dependence | None,
    fraction: float,
    seed: int,
    strata: Integers | None,
) -> Divided:
    """Hold a fraction of rows out.

    Args:
        weighty: numbers of the rows that count.
        related: which rows of the table belong together, and are held out together.
        fraction: of the rows.
        seed: of the draw.
        strata: the class of each row that counts. None: numbers.
    """
    if related is None:
        positions = held_out(len(weighty), fraction, seed, strata)
    else:
        related = related.take(weighty)
        positions = held_out_units(related, fraction, seed, strata)
    return Divided(weighty[positions[0]], weighty[positions[1]], positions, related)
