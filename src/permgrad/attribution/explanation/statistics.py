"""Means over rows, their standard errors and intervals, and how the errors of several players correlate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats
from permgrad.base.significance import t_quantile, t_two_sided


def mean_over_rows(values: Floats, weights: npt.ArrayLike | None = None) -> tuple[Floats, Floats, float]:
    """Return the mean over rows, its standard error and the effective number of rows (Kish 1965)."""
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float(weight.sum())
    if total <= 0:
        missing = np.full(values.shape[1:], np.nan)
        return missing, missing.copy(), 0.0
    size = total**2 / float((weight**2).sum())
    mean = np.tensordot(weight, values, axes=1) / total
    if size <= 1:
        return mean, np.full(mean.shape, np.nan), size
    off = (values - mean) * weight.reshape(-1, *[1] * (values.ndim - 1))
    return mean, np.sqrt((off**2).sum(axis=0) * size / (size - 1)) / total, size


def interval(mean: Floats, std: Floats, count: npt.ArrayLike, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Return both ends of the confidence interval and the two-sided p-value that agrees with it.

    Student's t with ``count − 1`` degrees of freedom, ``count`` being the effective number of rows. A mean of exactly 0
    with standard error 0 gets p = 1.
    """
    freedom = np.maximum(np.asarray(count, dtype=np.float64) - 1, 1.0)
    width = t_quantile(0.5 + confidence / 2, freedom) * std
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = t_two_sided(mean / std, freedom)
    p_values = np.where((std == 0) & (mean == 0), 1.0, p_values)
    return mean - width, mean + width, p_values


def two_parts(of_receivers: Floats, size: float, of_donors: Floats, donors: float) -> tuple[Floats, Floats]:
    """Add the variances of two independent samples, with Satterthwaite's (1946) effective number of rows."""
    variance = of_receivers + of_donors
    share = np.divide(of_donors, variance, out=np.zeros_like(variance), where=variance > 0)
    freedom = 1 / ((1 - share) ** 2 / max(size - 1, 1) + share**2 / max(donors - 1, 1))
    return variance, freedom + 1


def error_correlation(scores: Floats) -> Floats:
    """Return how errors correlate, ``(players, players)``, from ``row_scores`` ``(players, rows)``.

    Errors are related through the rows that players share. What a pair adds by itself is independent between players
    with separate donors, so their correlation is, if anything, too close to 0.
    """
    norm = np.sqrt((scores**2).sum(axis=1, keepdims=True))
    scaled = np.divide(scores, norm, out=np.zeros_like(scores), where=norm > 0)
    correlation: Floats = scaled @ scaled.T
    np.fill_diagonal(correlation, 1.0)
    return correlation
