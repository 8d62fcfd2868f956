"""Partial information decomposition: what two sources tell about a target each alone, both of them, and only together.

The measure is BROJA (Bertschinger, Rauh, Olbrich, Jost & Ay 2014, Entropy 16:2161). What two sources tell at least is

    U = min I_Q(Y; A, B) over all Q with Q(y, a) = P(y, a) and Q(y, b) = P(y, b).

Unique to A is U − I(Y; B), unique to B is U − I(Y; A), shared is I(Y; A) + I(Y; B) − U, and synergy is I(Y; A, B) − U.
For a Gaussian target of one variable and Gaussian sources U is the larger of both (Barrett 2015: the measure is MMI).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import gamma

from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.replace.scoring import jackknife_variance
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import as_numbers, check_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.random import generator

#: Rounds of the minimisation at most, and how often its gap is looked at.
_MOST_ROUNDS, _LOOK = 20_000, 10
#: Bits by which the decomposition of an exact distribution, and of sampled rows, may be wrong.
_EXACT, _SAMPLED = 1e-6, 1e-4
#: Levels into which the predictions of classes are grouped, at most with many classes, and rows for each cell of class
#: and level: with fewer, rows are told apart by their levels alone, which looks like information.
_LEVELS, _MOST_LEVELS, _ROWS_OF_CELL = 16, 40, 5
#: Rows below which no shares are given, and orders of y that show what chance tells.
FEWEST_ROWS, _ORDERS = 20, 200


def partial_information(
    joint: npt.ArrayLike | None = None, *, covariance: npt.ArrayLike | None = None, first: int = 1
) -> pd.DataFrame:
    """Divide what two sources tell about a target: unique to each, shared, and synergy (BROJA).

    Args:
        joint: probabilities (or counts) of ``(first, second, target)``, all discrete.
        covariance: instead of ``joint``, the covariance of Gaussian variables in this order: those of the first source,
            those of the second, and one target. The measure then equals MMI (Barrett 2015).
        first: how many variables of ``covariance`` form the first source.

    Returns:
        A frame ``part, share, bits``: ``unique to first``, ``unique to second``, ``shared``, ``synergy``. Shares are of
        the information of both sources together, and NaN if there is none.

    Raises:
        InputError: an argument cannot be used.

    Examples:
        >>> xor = np.zeros((2, 2, 2))
        >>> xor[[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]] = 0.25
        >>> partial_information(xor)["share"].round(3).tolist()
        [0.0, 0.0, 0.0, 1.0]
        >>> partial_information(covariance=[[1, 0, 0.6], [0, 1, 0.6], [0.6, 0.6, 1]])["bits"].round(3).tolist()
        [0.0, 0.0, 0.322, 0.596]
    """
    if (joint is None) == (covariance is None):
        raise InputError("Pass either joint= or covariance=", hint="joint is (first, second, target).", code="PG001")
    bits = _of_joint(joint) if covariance is None else _of_covariance(covariance, first)
    total = bits.sum()
    # Smaller numbers are rounding, or what the minimisation leaves.
    share = bits / total if total > 4 * _EXACT else np.full(4, np.nan)
    return pd.DataFrame({"part": part_names("first", "second"), "share": share, "bits": bits})


def part_names(first: str, second: str) -> list[str]:
    """Return the names of the four parts."""
    return [f"unique to {first}", f"unique to {second}", "shared", "synergy"]


def _of_joint(joint: npt.ArrayLike | None) -> Floats:
    table = as_numbers("joint", joint, "pass probabilities of (first, second, target)")
    if table.ndim != 3 or not table.size or not np.isfinite(table).all() or table.min() < 0 or table.sum() <= 0:
        raise InputError(
            f"joint must hold probabilities of (first, second, target), got an array of shape {table.shape}",
            hint="Pass numbers of at least 0 that are not all 0.",
            code="PG001",
        )
    table = table / table.sum()
    first, second = table.sum(axis=1).T, table.sum(axis=0).T
    both = table.reshape(-1, table.shape[2]).T
    return divided(bits_of(first), bits_of(second), least_together(first, second, _EXACT), bits_of(both))


def _of_covariance(covariance: Any, first: int) -> Floats:
    table = as_numbers("covariance", covariance, "pass a symmetric matrix")
    count = check_whole("first", first, "pass the number of variables of the first source")
    fits = table.ndim == 2 and table.shape[0] == table.shape[1] > count + 1
    if not fits or not np.allclose(table, table.T) or np.linalg.eigvalsh(table).min() <= 0:
        raise InputError(
            f"covariance must be positive definite, with {count} or more variables, a second source and a target; got "
            f"{shown(covariance)}",
            hint="The last row and column are those of the target.",
            code="PG001",
        )
    last = len(table) - 1
    alone, other, both = (
        0.5 * np.log2(table[last, last] / _left(table, sources))
        for sources in (np.arange(count), np.arange(count, last), np.arange(last))
    )
    return divided(alone, other, max(alone, other), both)


def _left(covariance: Floats, sources: Integers) -> float:
    """Return the variance of the last variable given the sources."""
    with_target = covariance[sources, -1]
    inner = covariance[np.ix_(sources, sources)]
    return float(covariance[-1, -1] - with_target @ np.linalg.solve(inner, with_target))


def divided(first: float, second: float, least: float, both: float) -> Floats:
    """Return unique to the first, unique to the second, shared and synergy, ``(4,)``, from the four amounts.

    Neither the least of both together nor both is less than what it contains.
    """
    least = min(max(least, first, second), first + second)
    both = max(both, least)
    return np.array([least - second, least - first, first + second - least, both - least])


def bits_of(table: Floats) -> float:
    """Return the mutual information of rows and columns of a table of probabilities, in bits."""
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    there = table > 0
    return max(0.0, float((table[there] * np.log2(table[there] / expected[there])).sum()))


def least_together(first: Floats, second: Floats, tolerance: float) -> float:
    """Return the least bits that two sources tell together, from their tables with the target ``(target, levels)``.

    Alternates between Q and the product of P(y) and its margin over the sources (Banerjee, Rauh & Montúfar 2018). Q is
    R(a, b) u(y, a) v(y, b). For any u and v, divided by the largest Σ_y u v, Σ P log u + Σ P log v is a lower bound,
    which is what is returned once it is within the tolerance.
    """
    margin = first.sum(axis=1)
    entropy = -float((margin[margin > 0] * np.log(margin[margin > 0])).sum())
    pairs, v = np.outer(first.sum(axis=0), second.sum(axis=0)), np.ones_like(second)
    bound = -entropy
    for done in range(1, _MOST_ROUNDS + 1):
        for _ in range(2):
            u = _ratio(first, v @ pairs.T)
            v = _ratio(second, u @ pairs)
        rise = np.einsum("ya,yb->ab", u, v)
        if done % _LOOK == 0:
            log_u, log_v = (np.log(np.where(factors > 0, factors, 1.0)) for factors in (u, v))
            bound = max(bound, float((first * log_u).sum() + (second * log_v).sum() - np.log(rise.max())))
            # Of Q, whose margins are right but for what the next rounds change.
            value = (u * (v @ pairs.T) * log_u).sum() + (second * log_v).sum()
            value -= (pairs * rise * np.log(np.where(rise > 0, rise, 1.0))).sum()
            if abs(value - bound) < tolerance * np.log(2):
                break
        pairs = pairs * rise
    return (entropy + bound) / float(np.log(2))


def _ratio(table: Floats, divisor: Floats) -> Floats:
    return np.divide(table, divisor, out=np.zeros_like(table), where=divisor > 0)


# ---- from the predictions of a model ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sources:
    """What a model predicts with some of its modalities, and what was true.

    ``y``: codes of classes, or numbers, ``(rows,)``. ``full`` ``(rows, K)`` are the predictions with all modalities,
    ``present`` those with only some, by their names. ``groups`` ``(rows,)`` are those of the jackknife.
    """

    y: Array
    full: Floats
    present: dict[str, Floats]
    groups: Integers
    weights: Floats | None
    classes: int  # 0: the target is a number
    seed: int

    def frame(self, first: str, second: str, confidence: float) -> pd.DataFrame:
        """Return ``part, share, ci_low, ci_high, bits`` for two sets of modalities that are all of them together."""
        if (rows := len(self.y)) < FEWEST_ROWS:
            raise InputError(
                f"information needs at least {FEWEST_ROWS} rows, got {rows}", hint="Explain more rows.", code="PG004"
            )
        predictions = [self.present[first], self.present[second], self.full]
        weights = np.ones(rows) if self.weights is None else self.weights
        told = self._of_classes(predictions) if self.classes else self._of_numbers(predictions)
        every = np.arange(rows)
        groups = range(int(self.groups.max()) + 1)
        amounts = told(every, weights, True)
        left_out = np.stack([divided(*told(every, weights * (self.groups != group), True)) for group in groups])
        frame = _estimated(divided(*amounts), left_out, part_names(first, second), confidence)
        draws = generator(self.seed, "information", "chance")
        chance = np.array([max(told(order, weights, False)) for order in map(draws.permutation, [rows] * _ORDERS)])
        mean, variance = float(chance.mean()), float(chance.var(ddof=1))
        exceeds = max(amounts) > mean
        if variance != 0:
            # Of independent variables, twice the rows times the bits, in nats, is χ²: one of the Gamma family.
            exceeds = gamma.sf(max(amounts), mean**2 / variance, scale=variance / mean) < 1 - confidence
        if not exceeds:  # shares of an information that may be 0 are undefined
            frame[["share", "ci_low", "ci_high"]] = np.nan
        if self.classes:  # no source tells more than the target holds, its entropy
            classes = np.bincount(self.y, weights).astype(np.float64)
            shares = classes[classes > 0] / classes.sum()
            held = max(0.0, -float((shares * np.log2(shares)).sum()))
            frame["bits"] *= min(1.0, held / max(frame["bits"].sum(), held, np.finfo(np.float64).tiny))
        return frame

    def _of_classes(self, predictions: list[Floats]) -> Callable[[Integers, Floats, bool], tuple[float, ...]]:
        """Return what counts the bits: of the first, the second, the least of both, and both.

        Its arguments are the rows whose class, with its weight, each row gets, the weights, and whether the least is
        wanted.
        """
        codes = [_levels(one, self.seed) for one in predictions]

        def told(order: Integers, weights: Floats, least: bool) -> tuple[float, ...]:
            y, weighed = self.y[order], weights[order]
            first, second, both = (self._table(y, code, weighed) for code in codes)
            together = least_together(first, second, _SAMPLED) if least else 0.0
            return bits_of(first), bits_of(second), together, bits_of(both)

        return told

    def _of_numbers(self, predictions: list[Floats]) -> Callable[[Integers, Floats, bool], tuple[float, ...]]:
        numbers = [one[:, 0] for one in predictions]

        def told(order: Integers, weights: Floats, _least: bool) -> tuple[float, ...]:
            covariance = np.cov(np.stack([self.y[order], *numbers]), aweights=weights[order])
            first, second, both = (_gaussian_bits(covariance, place) for place in (1, 2, 3))
            return first, second, max(first, second), both

        return told

    def _table(self, y: Integers, code: Integers, weights: Floats) -> Floats:
        """Return the joint distribution of the classes and the levels of a prediction, ``(classes, levels)``."""
        width = int(code.max()) + 1
        counts = np.bincount(y * width + code, weights, self.classes * width)
        return counts.reshape(self.classes, width) / counts.sum()


def _levels(predictions: Floats, seed: int) -> Integers:
    """Group predicted probabilities ``(rows, classes)`` into few levels, by k-means in their square roots."""
    from sklearn.cluster import KMeans

    rows, classes = predictions.shape
    distinct, codes = np.unique(predictions.round(6), axis=0, return_inverse=True)
    most = int(np.clip(2 * classes, _LEVELS, _MOST_LEVELS))
    most = min(most, max(classes, rows // (_ROWS_OF_CELL * classes)))
    if len(distinct) > most:
        places = np.sqrt(np.clip(predictions, 0.0, None))
        codes = KMeans(most, n_init=1, random_state=seed % 2**32).fit_predict(places)
    return np.asarray(codes, dtype=np.int64).reshape(-1)


def _gaussian_bits(covariance: Floats, place: int) -> float:
    """Return the information of one Gaussian variable about the first, in bits."""
    spread = covariance[0, 0] * covariance[place, place]
    squared = covariance[0, place] ** 2 / spread if spread > 0 else 0.0
    return float(-0.5 * np.log2(1 - squared)) if squared < 1 - 1e-12 else float("inf")


def _estimated(bits: Floats, left_out: Floats, names: list[str], confidence: float) -> pd.DataFrame:
    """Return the parts without the jackknife's estimate of their bias, and intervals of their shares."""
    count = len(left_out)
    size = np.full(4, float(count))
    frame = pd.DataFrame({"part": names, "share": np.nan, "ci_low": np.nan, "ci_high": np.nan, "bits": bits})
    if not np.isfinite(left_out).all():
        return frame
    frame["bits"] = unbiased = np.maximum(count * bits - (count - 1) * left_out.mean(axis=0), 0.0)
    total, totals = unbiased.sum(), left_out.sum(axis=1, keepdims=True)
    if total > 0 and totals.min() > 0:
        share = unbiased / total
        std = np.sqrt(jackknife_variance(left_out / totals)[0])
        low, high = interval(share, std, size, confidence)[:2]
        frame["share"], frame["ci_low"], frame["ci_high"] = share, np.clip(low, 0, 1), np.clip(high, 0, 1)
    return frame
