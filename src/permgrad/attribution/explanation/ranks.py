"""Ranks with simultaneous intervals: which players clearly stand above which others.

All pairs of players are tested at once. A statement "a stands above b" is made where
their difference is larger than chance explains in any pair, so with the wanted
certainty not one statement is false. The rank of a player lies between 1 + the number
of players clearly above it, and the number of players that are not clearly below it
(Mogstad, Romano, Shaikh & Wilhelm 2024, section 3; the steps are those of Romano & Wolf
2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from permgrad.attribution.explanation.numbers import Numbers
from permgrad.attribution.explanation.orders import sizes_of
from permgrad.attribution.explanation.statistics import root_of_covariance
from permgrad.base.arrays import Booleans, Floats, Floats32, Integers
from permgrad.base.late import pd
from permgrad.base.sequences import values_at
from permgrad.base.significance import holm, t_quantile, t_two_sided

#: Draws of the largest error, those of them beyond the quantile at least, and how many
#: numbers are in memory at once.
_DRAWS = 4000
_BEYOND = 20
_NUMBERS = 4_000_000
#: Most draws. Where a certainty near 1 needs more, each pair has an equal share of the
#: errors allowed instead.
_MOST_DRAWS = 40_000


class Ranks(NamedTuple):
    """Names in falling order with the intervals of their ranks, and the sets that can
    be told apart.
    """

    names: list[str]
    low: Integers
    high: Integers
    sets: Integers

    def to_frame(self) -> pd.DataFrame:
        """Return ``feature, rank, rank_low, rank_high, set``."""
        ranks = np.arange(1, len(self.names) + 1)
        return pd.DataFrame(
            {
                "feature": self.names,
                "rank": ranks,
                "rank_low": self.low,
                "rank_high": self.high,
                "set": self.sets,
            }
        )


def certain_ranks(
    explanation: Numbers, name_order: Sequence[int], output: int, certain: float
) -> Ranks:
    """Return the ranks of a global explanation, for names in the order of these
    places.
    """
    name_order = list(name_order)
    values = sizes_of(explanation, output)[name_order]
    if explanation.std_error is None:
        std_errors = None
    else:
        std_errors = explanation.std_error[name_order, output]
    if explanation.order[name_order].max(initial=1) > 1:
        correlation = None
    else:
        correlation = explanation.correlation
    if correlation is not None:
        correlation = correlation[output][np.ix_(name_order, name_order)]
    freedom = np.inf
    if (
        std_errors is not None
        and explanation.high is not None
        and explanation.low is not None
    ):
        lower_ends = explanation.low[name_order, output]
        upper_ends = explanation.high[name_order, output]
        # Behind the narrower ends of intervals, the smallest of all names. A low end
        # cut off at 0 says nothing.
        raw_values = explanation.values[name_order, output]
        widths = np.where(
            lower_ends == 0,
            upper_ends - raw_values,
            np.minimum(upper_ends - raw_values, raw_values - lower_ends),
        )
        confidence = float(explanation.meta.get("confidence", 0.95))
        freedom = float(freedoms_of(widths, std_errors, confidence).min(initial=np.inf))
    above = np.zeros((len(values), len(values)), dtype=bool)
    if std_errors is not None and len(values) > 1:
        above = compared(values, std_errors, correlation, freedom, certain).above
    # What has no importance takes nobody's place, and may have any itself.
    nothing = np.isnan(values)
    above[np.ix_(~nothing, nothing)] = True
    first, last_ranks, rank_sets = ranks_of(above)
    first[nothing] = 1
    last_ranks[nothing] = len(values)
    return Ranks(
        values_at(explanation.names, name_order),
        first,
        last_ranks,
        rank_sets,
    )


class RanksOfPlayers(NamedTuple):
    """Ranks that players may have, each ``(players,)``."""

    lowest: Integers
    highest: Integers
    sets: Integers  # all players of a set clearly stand above those of later sets


def ranks_of(above: Booleans) -> RanksOfPlayers:
    """Return the lowest and highest rank of each player, and its set, from which
    players stand above which others.

    Sets are numbered from 1: all players of a set clearly stand above all players of
    later sets.
    """
    count = len(above)
    lowest_ranks = 1 + above.sum(axis=0)
    highest_ranks = count - above.sum(axis=1)
    # A set ends where each player so far is above each one that follows.
    set_ends = []
    for player_index in range(1, count):
        set_ends.append(bool(above[:player_index, player_index:].all()))
    rank_sets = np.cumsum([1, *set_ends])[:count]
    return RanksOfPlayers(lowest_ranks, highest_ranks, rank_sets)


class Compared(NamedTuple):
    """All pairs of players: which clearly stand above which others, and the bound."""

    above: Booleans  # ``(players, players)``
    critical: float  # how many errors a difference had to exceed in the last step


def _errors_of_differences(first: Floats, second: Floats, shared: Floats) -> Floats:
    """Return the errors of differences of values whose errors are so correlated."""
    squares = first**2 + second**2 - 2 * shared * first * second
    return np.sqrt(np.maximum(squares, 0.0))


def _sizes_in_errors(difference: Floats, error: Floats) -> Floats:
    """Return how many errors differences are, 0 where that is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(difference == 0, 0.0, difference / error)
    return np.nan_to_num(size, nan=0.0, posinf=np.inf)


def _largest_errors(
    errors: Floats32, first: Integers, second: Integers, scale: Floats32
) -> Floats:
    """Return the largest error that chance makes in pairs, in each draw."""
    draws = len(errors)
    largest = np.zeros(draws)
    step = max(1, _NUMBERS // len(first))
    for start in range(0, draws, step):
        draw_errors = errors[start : start + step]
        scaled = np.abs((draw_errors[:, first] - draw_errors[:, second]) * scale)
        largest[start : start + step] = scaled.max(axis=1)
    return largest


def compared(
    values: Floats,
    std: Floats,
    correlation: Floats | None,
    freedom: float,
    certain: float,
) -> Compared:
    """Return which players (rows) clearly stand above which others (columns).

    Values are in falling order, NaN last.

    ``correlation`` is that of the errors (None: it can be anything, so the error of a
    difference is at most the sum of both).
    """
    first, second = np.triu_indices(len(values), 1)
    if correlation is None:
        shared = np.zeros(len(first))
    else:
        shared = correlation[first, second]
    error = std[first] + std[second]
    if correlation is not None:
        error = _errors_of_differences(std[first], std[second], shared)
    size = _sizes_in_errors(values[first] - values[second], error)
    passed = np.isposinf(size)  # both values are certain
    tested = (size > 0) & ~passed
    critical = np.inf
    if correlation is None or _BEYOND / (1 - certain) > _MOST_DRAWS:
        freedom = max(freedom, 1.0)
        allowed = 1 - certain
        chances = np.where(tested, t_two_sided(size, freedom), 1.0)
        passed |= tested & (holm(chances) < allowed)
        remaining_count = max(int((~passed).sum()), 1)
        critical = -float(t_quantile(allowed / 2 / remaining_count, freedom))
    elif tested.any():
        errors = _chances(std, correlation, freedom, certain)
        scale = np.divide(1.0, error, out=np.zeros_like(error), where=error > 0).astype(
            np.float32
        )
        waiting = np.flatnonzero(tested)
        while len(waiting):
            largest = _largest_errors(
                errors, first[waiting], second[waiting], scale[waiting]
            )
            critical = float(np.quantile(largest, certain))
            passes = size[waiting] > critical
            if not passes.any():
                break
            passed[waiting[passes]] = True
            waiting = waiting[~passes]
    above = np.zeros((len(values), len(values)), dtype=bool)
    above[first, second] = passed
    return Compared(above, critical)


def _chances(
    std: Floats, correlation: Floats, freedom: float, certain: float
) -> Floats32:
    """Return errors of the players by chance, ``(draws, players)``."""
    random_generator = np.random.default_rng(0)  # the same numbers give the same ranks
    count = max(_DRAWS, int(np.ceil(_BEYOND / (1 - certain))))
    covariance_root = root_of_covariance(correlation, std)
    spread = (
        np.sqrt(random_generator.chisquare(freedom, (count, 1)) / freedom)
        if np.isfinite(freedom)
        else 1.0
    )
    errors = (
        random_generator.standard_normal((count, len(std))) @ covariance_root / spread
    )
    return np.asarray(errors, dtype=np.float32)


def freedoms_of(widths: Floats, std: Floats, confidence: float) -> Floats:
    """Return the degrees of freedom behind ends of intervals, ``(*)``: infinite without
    any.

    Args:
        widths: From a value to an end of its interval, ``(*)``.
        std: Standard errors, ``(*)``.
        confidence: The level of the intervals.
    """
    from scipy import special

    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.asarray(widths / std)
    quantile = 0.5 + confidence / 2
    freedom = np.full(sizes.shape, np.inf)
    exceeding_mask = np.isfinite(sizes) & (sizes > special.ndtri(quantile) * (1 + 1e-9))
    freedom[exceeding_mask] = np.maximum(
        special.stdtridf(quantile, sizes[exceeding_mask]), 1.0
    )
    return freedom
