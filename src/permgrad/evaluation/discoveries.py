"""Calling features relevant, and how often that is wrong: false discoveries, power, and what intervals cover.

An importance says how much; a *discovery* says that there is anything at all. Methods with p-values call features by
Benjamini and Hochberg's procedure, at 5 % false discoveries; methods without have no rule of their own, and a common
one, a share above a fixed part of the whole, can be applied to every method alike.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError

Booleans = npt.NDArray[np.bool_]


def discoveries(p_values: npt.ArrayLike, level: float = 0.05) -> Booleans:
    """Call features relevant at a controlled rate of false discoveries (Benjamini & Hochberg 1995).

    Shape:
        p_values ``(features,)``, NaN where there is none, which is never called; result bool ``(features,)``.

    Examples:
        >>> discoveries([0.001, 0.02, 0.03, 0.5]).tolist()
        [True, True, True, False]
        >>> discoveries([0.03, 0.5, 0.6, 0.7]).tolist()
        [False, False, False, False]
    """
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, however: level={level!r}; pass for example 0.05")
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any((p < 0) | (p > 1)):
        raise InputError(f"p_values must be of shape (features,) and between 0 and 1, however: they are {p_values!r}")
    p = np.where(np.isnan(p), 1.0, p)
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / max(len(p), 1))
    return np.asarray(p <= ordered[passed[-1]]) if len(passed) else np.zeros(len(p), dtype=bool)


def false_discovery_rate(relevant: npt.ArrayLike, called: npt.ArrayLike) -> float:
    """Return the share of irrelevant features among those called relevant: lower is better, 0 … 1; 0 if none is called.

    Examples:
        >>> false_discovery_rate([True, True, False], [True, False, True])
        0.5
    """
    truth, flags = _flags(relevant, called)
    return float(np.sum(flags & ~truth) / flags.sum()) if flags.any() else 0.0


def power(relevant: npt.ArrayLike, called: npt.ArrayLike) -> float:
    """Return the share of relevant features that are called: higher is better, 0 … 1; NaN if none is relevant.

    Examples:
        >>> power([True, True, False], [True, False, True])
        0.5
    """
    truth, flags = _flags(relevant, called)
    return float(np.sum(flags & truth) / truth.sum()) if truth.any() else math.nan


def interval_coverage(truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Return the share of intervals, of those that are defined, which hold the truth: 0.95 is right for 95 %.

    Ends count as held, so that an effect of exactly 0 with the interval [0, 0] is covered. NaN if none is defined.

    Examples:
        >>> interval_coverage([1.0, 2.0], [0.5, 2.1], [1.5, 2.9])
        0.5
    """
    true, lower, upper = (np.asarray(values, dtype=np.float64) for values in (truth, low, high))
    if true.ndim != 1 or true.shape != lower.shape or true.shape != upper.shape:
        raise InputError(
            "truth, low and high must all have shape (features,), however: "
            f"their shapes are {true.shape}, {lower.shape} and {upper.shape}"
        )
    defined = np.isfinite(lower) & np.isfinite(upper)
    if not defined.any():
        return math.nan
    return float(np.mean((lower <= true)[defined] & (true <= upper)[defined]))


def _flags(relevant: npt.ArrayLike, called: npt.ArrayLike) -> tuple[Booleans, Booleans]:
    truth, flags = np.asarray(relevant), np.asarray(called)
    if truth.ndim != 1 or truth.shape != flags.shape or truth.dtype != bool or flags.dtype != bool:
        raise InputError(
            "relevant and called must be true or false for each feature, both of shape (features,), however: "
            f"their shapes are {truth.shape} and {flags.shape}, their types {truth.dtype} and {flags.dtype}"
        )
    return truth, flags
