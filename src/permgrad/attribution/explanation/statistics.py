"""Means over rows, their standard errors and intervals, and how the errors of several
players correlate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats
from permgrad.base.dependence import Dependence
from permgrad.base.significance import t_quantile, t_two_sided

#: Fewer independent rows, groups or times than this have no standard error and no
#: interval.
FEWEST_UNITS = 4
#: Most players for which the errors of all pairs are drawn together.
MOST_TOGETHER = 300
#: Most numbers of a stored correlation of errors.
_STORED = 1_000_000
#: Waves along time for the square root of the number of times, at most, and for each
#: stretch of related times.
_MOST_WAVES = 1.2
_WAVES = 0.7
#: Degrees of freedom where a single row carries a sum.
_LEAST_FREEDOM = 1.5


class Estimate(NamedTuple):
    """What is known of some means of rows ``(*)``.

    Attributes:
        mean: The means ``(*)``.
        std_error: Their standard errors ``(*)``, NaN where there are none.
        size: Effective number of rows ``(2, *)``: 1 more than the degrees of freedom
            of the low and the high end of intervals.
    """

    mean: Floats
    std_error: Floats
    size: Floats


class Interval(NamedTuple):
    """Where some numbers ``(*)`` lie.

    Attributes:
        low: Lower ends of the confidence intervals ``(*)``.
        high: Upper ends ``(*)``.
        p_values: Two-sided p-values of "the number is 0" ``(*)``.
    """

    low: Floats
    high: Floats
    p_values: Floats


class Spread(NamedTuple):
    """How far sums of scores vary.

    Attributes:
        variance: Of the sums ``(quantities,)``.
        correction: What the variance is multiplied by, since the mean is estimated.
        freedom: Degrees of freedom of both ends of intervals ``(2, quantities)``.
    """

    variance: Floats
    correction: float
    freedom: Floats


def independent(scores: Floats, units: Dependence) -> Floats:
    """Return parts of scores that are independent, ``(players, parts)``: sums of
    groups, or waves along time.

    Args:
        scores: ``(players, rows or more)``.
        units: Which rows depend on each other.
    """
    row_count = len(units.codes)
    independent_parts = units.sums(scores[:, :row_count])
    if units.timed:
        independent_parts = _waves(independent_parts)[:, : most_waves(units)]
    return np.concatenate([independent_parts, scores[:, row_count:]], axis=1)


def most_waves(units: Dependence) -> int:
    """Return along how many waves a sum over times is seen at most."""
    return max(FEWEST_UNITS, int(_MOST_WAVES * units.count**0.5))


def _waves(series: Floats) -> Floats:
    """Return sums of ``(series, times)`` along cosine waves of mean square 1, the
    longest first.
    """
    from scipy import fft

    return np.asarray(fft.dct(series, axis=1)[:, 1:]) / 2**0.5


def _related_times(series: Floats) -> int:
    """Return over how many times a series ``(times,)`` of mean 0 is related to itself
    (Geyer 1992).
    """
    spectrum = np.abs(np.fft.rfft(series, 2 * len(series))) ** 2
    along = np.fft.irfft(spectrum)[: len(series) // 2]
    pairs = along[1:-1:2] + along[2::2]
    return 1 + 2 * int(np.argmin(np.append(pairs > 0, False)))


def freedom_of_ends(
    squares: Floats, cubes: Floats, fourths: Floats, size: npt.ArrayLike
) -> Floats:
    """Return the degrees of freedom of the low and the high end of intervals, ``(2,
    quantities)``.

    Where few scores carry the sums, their spread and the estimate are small together,
    so that too many intervals end before the truth on the side of the long tail. There
    the degrees fall with the kurtosis: three times as fast as the variance of a
    variance says, because few scores show too little of a tail. Ends on the other side,
    and p-values, are as usual.

    Args:
        squares: Sums of squares of scores of mean 0, ``(quantities,)``.
        cubes: Of their cubes, ``(quantities,)``.
        fourths: Of their fourth powers, ``(quantities,)``.
        size: How many scores there are, ``(quantities,)`` or a number.
    """
    size = np.asarray(size, dtype=np.float64)
    usual = np.broadcast_to(np.maximum(size - 1, 1.0), squares.shape)
    kurtosis = np.divide(
        size * fourths, squares**2, out=np.full_like(squares, 3.0), where=squares > 0
    )
    longer = np.minimum(
        np.maximum(size / (1 + 3 * np.maximum(kurtosis - 3, 0.0)), _LEAST_FREEDOM),
        usual,
    )
    return np.stack(
        [np.where(cubes < 0, longer, usual), np.where(cubes < 0, usual, longer)]
    )


def spread(
    scores: Floats,
    weight: Floats,
    units: Dependence | None = None,
    *,
    lends: bool = False,
) -> Spread:
    """Return how the sums of scores vary.

    Squares are summed over rows, or over groups, each by its share of the weight (Bell
    & McCaffrey 2002). Along time, they are those of a few slow waves (Lazarus, Lewis,
    Stock & Watson 2018), the fewer the longer scores are related to themselves. Degrees
    of freedom: see ``freedom_of_ends``.

    Args:
        scores: ``(quantities, rows)``, of mean 0.
        weight: Of the rows, ``(rows,)``.
        units: Which rows depend on each other. None: none do.
        lends: Whether rows also lend their values: leaving a group out then changes
            both roles (Efron & Stein 1981), so that its share counts three times.
    """
    if units is not None and units.timed:
        series = units.sums(scores)
        wave_limit = min(most_waves(units), units.count - 1)
        counts = []
        for score_series in series:
            counts.append(
                min(
                    max(
                        round(_WAVES * units.count / _related_times(score_series)),
                        FEWEST_UNITS,
                    ),
                    wave_limit,
                )
            )
        wave_parts = []
        for series_waves, count in zip(_waves(series), counts, strict=True):
            wave_parts.append(series_waves[:count])
        return Spread(
            np.array([(wave_part**2).mean() for wave_part in wave_parts]),
            1.0,
            np.array([counts, counts], dtype=np.float64),
        )
    correction = 1.0
    if units is None:
        effective_size = weight.sum() ** 2 / (weight**2).sum()
        correction = effective_size / (effective_size - 1)
    else:
        scores = units.sums(scores)
        weight = units.sums(weight[None])[0]
        share = weight / weight.sum()
        effective_size = 1 / (share**2).sum()
        scores = scores / np.sqrt(
            np.maximum(1 - share, 0.5 / len(share)) ** (3 if lends else 1)
        )
    squares = (scores**2).sum(axis=1)
    return Spread(
        squares,
        correction,
        freedom_of_ends(
            squares, (scores**3).sum(axis=1), (scores**4).sum(axis=1), effective_size
        ),
    )


def mean_over_rows(
    values: Floats,
    weights: npt.ArrayLike | None = None,
    units: Dependence | None = None,
) -> Estimate:
    """Return the mean over rows with its error.

    With fewer than four rows or ``units``, there is no error.

    Args:
        values: ``(rows, *)``.
        weights: Of the rows, ``(rows,)``. None: all count the same.
        units: Which rows depend on each other. None: none do.

    Returns:
        The mean, its standard error and the effective number of rows, ``(2, *)``: 1
        more than the degrees of freedom of both ends of intervals.
    """
    if weights is None:
        weight = np.ones(len(values))
    else:
        weight = np.asarray(weights, dtype=np.float64)
    total = float(weight.sum())
    if total <= 0:
        missing = np.full(values.shape[1:], np.nan)
        return Estimate(missing, missing.copy(), np.zeros((2, *missing.shape)))
    row_mean = np.asarray(np.tensordot(weight, values, axes=1) / total)
    if too_few(weight, units):
        undefined = np.full(row_mean.shape, np.nan)
        return Estimate(row_mean, undefined, np.ones((2, *row_mean.shape)))
    deviations = (values - row_mean) * weight.reshape(-1, *[1] * (values.ndim - 1))
    variance, correction, freedom = spread(
        deviations.reshape(len(deviations), -1).T, weight, units
    )
    std_errors = np.sqrt(variance * correction) / total
    return Estimate(
        row_mean,
        std_errors.reshape(row_mean.shape),
        (freedom + 1).reshape(2, *row_mean.shape),
    )


def too_few(weight: Floats, units: Dependence | None = None) -> bool:
    """Return whether rows, or the units that they belong to, are fewer than four.

    Args:
        weight: Of the rows, ``(rows,)``. Rows of weight 0 do not count.
        units: Which rows depend on each other. None: none do.
    """
    weighted_rows = np.flatnonzero(weight > 0)
    if units is None:
        count = len(weighted_rows)
    else:
        count = len(np.unique(units.codes[weighted_rows]))
    return bool(
        count < FEWEST_UNITS or weight.sum() ** 2 <= (1 + 1e-9) * (weight**2).sum()
    )


def interval(
    mean: Floats, std: Floats, count: npt.ArrayLike, confidence: float
) -> Interval:
    """Return both ends of the confidence interval and the two-sided p-value that agrees
    with it, each ``(*)``.

    They are Student's with ``count − 1`` degrees of freedom. A mean of exactly 0 with
    standard error 0 gets p = 1.

    Args:
        mean: ``(*)``.
        std: Standard errors, ``(*)``.
        count: The effective number of rows, ``(*)``, or that of the low and of the high
            end, ``(2, *)``.
        confidence: The level, such as .95.
    """
    freedom = np.maximum(np.asarray(count, dtype=np.float64) - 1, 1.0)
    first, last = freedom if freedom.ndim > np.ndim(mean) else (freedom, freedom)
    lower_width = t_quantile(0.5 + confidence / 2, first) * std
    upper_width = t_quantile(0.5 + confidence / 2, last) * std
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = t_two_sided(mean / std, np.where(mean < 0, last, first))
    p_values = np.where((std == 0) & (mean == 0), 1.0, p_values)
    return Interval(mean - lower_width, mean + upper_width, p_values)


def two_parts(
    of_receivers: Floats, size: npt.ArrayLike, of_donors: Floats, donors: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Add the variances of two independent samples.

    Args:
        of_receivers: The variance of the receivers' sample, ``(*)``.
        size: Its effective number of rows, ``(*)``.
        of_donors: The variance of the donors' sample, ``(*)``.
        donors: Its effective number of rows, ``(*)``.

    Returns:
        The sum of the variances, and its effective number of rows by Satterthwaite
        (1946), each ``(*)``.
    """
    variance = of_receivers + of_donors
    share = np.divide(
        of_donors, variance, out=np.zeros_like(variance), where=variance > 0
    )
    first = np.maximum(np.asarray(size, dtype=np.float64) - 1, 1.0)
    donor_freedom = np.maximum(np.asarray(donors, dtype=np.float64) - 1, 1.0)
    freedom = 1 / ((1 - share) ** 2 / first + share**2 / donor_freedom)
    return variance, freedom + 1


def with_donors(
    of_receivers: Floats, size: npt.ArrayLike, by_donor: Floats, noise: Floats
) -> tuple[Floats, Floats]:
    """Add the variance of donors that are a separate sample to that of the receivers,
    as ``two_parts``.

    Args:
        of_receivers: The variance of the receivers' sample, ``(quantities,)``.
        size: Its effective number of rows, ``(quantities,)``.
        by_donor: The scores of donors, ``(quantities, donors)``.
        noise: What single pairs add to the squares of these scores, ``(quantities,)``.

    Returns:
        The sum of the variances, and its effective number of rows, each
        ``(quantities,)``.
    """
    donors = by_donor.shape[1]
    squares = (by_donor**2).sum(axis=1)
    of_donors = np.maximum(squares * donors / max(donors - 1, 1) - noise, 0.0)
    lent_freedom = freedom_of_ends(
        squares, (by_donor**3).sum(axis=1), (by_donor**4).sum(axis=1), donors
    )
    return two_parts(of_receivers, size, of_donors, lent_freedom + 1)


def root_of_covariance(correlation: Floats, std: Floats) -> Floats:
    """Return the matrix ``(players, players)`` that makes independent numbers those
    with a correlation and standard deviations: ``numbers @ root``.
    """
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))).T * std)


def error_correlation(scores: Floats, units: Dependence | None = None) -> Floats:
    """Return how errors correlate, ``(players, players)``.

    Errors are related through the rows that players share. What a pair adds by itself
    is independent between players with separate donors, so their correlation is, if
    anything, too close to 0.

    Args:
        scores: Row scores, ``(players, rows)``.
        units: Which rows depend on each other. None: none do.
    """
    if units is not None:
        scores = independent(scores, units)
    score_norms = np.sqrt((scores**2).sum(axis=1, keepdims=True))
    scaled = np.divide(
        scores, score_norms, out=np.zeros_like(scores), where=score_norms > 0
    )
    correlation: Floats = scaled @ scaled.T
    np.fill_diagonal(correlation, 1.0)
    return correlation


def shared_errors(
    players: int, outputs: Sequence[int], scores: Callable[[int | None], Floats | None]
) -> Floats | None:
    """Return how errors correlate, ``(outputs, players, players)``, or None for many
    players.

    ``scores`` returns ``row_scores`` of all players for all rows (None) or a class.
    None: they are not stored.

    Args:
        players: How many there are.
        outputs: The positions of the outputs explained.
        scores: Returns the row scores of all players, ``(players, rows)``, for all rows
            (None) or those of a class. None: they are not stored.
    """
    if players > MOST_TOGETHER or len(outputs) * players**2 > _STORED:
        return None
    correlations = []
    for (
        output
    ) in outputs:  # one after the other, because the scores of all take much memory
        if (table := scores(output - 1 if output else None)) is None:
            return None
        correlations.append(error_correlation(table))
    return np.stack(correlations)
