"""Accumulated local effects of one column or two, and their errors.

Everything is a function of the weights of the rows, whose derivative towards a row's weight is that row's part in the
error (Jaeckel 1972): by its own local effect, and by where it lies, because means over rows are taken off. Sums of
these over rows, groups or times that are independent have the covariance over bins in them.

The importance is the standard deviation of the curve over the rows. Its square is ``G' D G``, with the covariance ``D``
of the rows' places. The error ``C`` of the curve ``G`` adds ``tr(D C)`` to it, which is taken off. A quadratic form has
the variance ``4 G' D C D G + 2 tr(D C)²``, where the estimated curve adds ``4 tr(D C)²`` to the first term.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from permgrad.attribution.explanation.statistics import independent, interval, most_waves, spread, too_few
from permgrad.attribution.method.ale.axes import Axis, Sampled
from permgrad.base.arrays import Floats, Integers
from permgrad.base.significance import t_quantile, t_two_sided


class Curve(NamedTuple):
    """Accumulated effects, with their errors.

    ``effects``: at the points, effect, standard error and ends of the interval ``(4, points, outputs)``.
    ``importance``: the same of the standard deviation over the rows, and its p-value ``(5, outputs)``.
    ``scores``: each row's part in its error ``(outputs, rows)``.
    """

    effects: Floats
    importance: Floats
    scores: Floats


def accumulated(
    axes: Sequence[Axis], rows: Integers, steps: Sequence[Integers], effects: Floats, sampled: Sampled
) -> Curve:
    """Return the curve of one column, or what two do only together, from the effects of moves ``(moves, outputs)``.

    The ``rows`` move over ``steps`` of each axis. Second differences are added up along both axes, and the first-order
    effects of this sum are taken off. A cell of fewer than two independent rows has the effect of the nearest one.
    """
    shape = [len(axis.at) - 1 for axis in axes]
    count, cells = int(np.prod(shape)), sum((each * shape[-1] for each in steps[:-1]), steps[-1])
    means, nearest = _means(rows, cells, effects, count, sampled), np.arange(count)
    known = np.flatnonzero(_sizes(rows, cells, count, sampled) > 2 - 1e-9)
    firsts = []
    inside = np.flatnonzero(np.all([np.isfinite(axis.places) for axis in axes], axis=0))
    located = axes[0].located(inside)
    if len(axes) == 2:
        middles = [(axis.scale[1:] + axis.scale[:-1]) / (2 * max(np.ptp(axis.scale), 1e-300)) for axis in axes]
        places = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(count, 2)
        if len(known):
            nearest = known[((places[:, None] - places[known]) ** 2).sum(axis=2).argmin(axis=1)]
        for axis, other in (axes, axes[::-1]):
            moved, step = axis.moves
            both = np.isfinite(other.places[moved])
            lying = other.located(moved[both])
            firsts.append(_means(moved[both], step[both], lying, len(axis.at) - 1, sampled, widen=False))
        located = (located[:, :, None] * axes[1].located(inside)[:, None]).reshape(len(inside), -1)

    def together(weights: Tensor) -> Tensor:
        whole = means(weights)[nearest].reshape(*shape, effects.shape[1])
        for way in range(len(shape)):
            whole = _added_up(whole, way)
        rest = whole
        for way, lying in enumerate(firsts):
            # The mean step of the sum along one axis, of rows at their own places on the other.
            step = torch.einsum("sp,spo->so", lying(weights), whole.diff(dim=way).movedim(way, 0))
            rest = rest - _added_up(step, 0).unsqueeze(1 - way)
        return rest.flatten(0, -2)

    return _measured(together, located, inside, sampled)


def _added_up(steps: Tensor, way: int) -> Tensor:
    """Return sums of steps along an axis, from 0 at its first point."""
    return torch.cat([steps.sum(way, keepdim=True) * 0, steps.cumsum(way)], dim=way)


def _sizes(rows: Integers, which: Integers, count: int, sampled: Sampled) -> Floats:
    """Return how many independent rows of equal weight each step has (Kish 1965). Those near in time count as one."""
    units = sampled.units
    codes = rows if units is None else units.codes[rows]
    if units is not None and units.timed:
        codes = codes * most_waves(units) // units.count
    pairs, place = np.unique(np.stack([which, codes]), axis=1, return_inverse=True)
    weights = np.bincount(place.ravel(), sampled.weights[rows])
    sums, squares = (np.bincount(pairs[0], weights**power, count) for power in (1, 2))
    return np.divide(sums**2, squares, out=np.zeros(count), where=squares > 0)


def _means(
    rows: Integers, which: Integers, values: Floats, count: int, sampled: Sampled, *, widen: bool = True
) -> Callable[[Tensor], Tensor]:
    """Return a function from the rows' weights to the means of values ``(moves, *)`` by step, ``(count, *)``.

    Its derivatives are larger by what the estimated means take of the spread in steps of few rows.
    """
    # Rows of one stretch of time say more than nothing about their spread.
    timed = sampled.units is not None and sampled.units.timed
    size = np.maximum(_sizes(rows, which, count, sampled), 2 if timed else 1 + 1e-9)
    factor = torch.from_numpy(np.sqrt(size / (size - 1)) if widen else np.ones(count))[:, None]
    moved, of, held = torch.from_numpy(rows), torch.from_numpy(which), torch.from_numpy(values)

    def means(weights: Tensor) -> Tensor:
        own = weights[moved]
        total = torch.zeros(count, dtype=torch.float64).index_add(0, of, own).clamp_min(1e-300)
        sums = torch.zeros(count, values.shape[1], dtype=torch.float64).index_add(0, of, own[:, None] * held)
        mean = sums / total[:, None]
        return mean.detach() + factor * (mean - mean.detach())

    return means


def _measured(effects: Callable[[Tensor], Tensor], located: Floats, rows: Integers, sampled: Sampled) -> Curve:
    """Return effects, centred over rows that lie at ``located`` ``(rows, points)``, with their errors."""
    places, chosen = torch.from_numpy(located), torch.from_numpy(rows)

    def centred(weights: Tensor) -> Tensor:
        found, own = effects(weights), weights[chosen]
        return found - own @ (places @ found) / own.sum()

    def squares(weights: Tensor) -> Tensor:
        own = weights[chosen]
        return own @ (places @ centred(weights)) ** 2 / own.sum()

    weights, units = sampled.weights, sampled.units
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        given = torch.from_numpy(weights)
        found, squared = centred(given).numpy(), squares(given).numpy()
        parts, by_row = ((jacobian(of, given) * given).numpy() for of in (centred, squares))
    own = np.zeros_like(weights)
    own[rows] = weights[rows]
    numbers = np.stack([found, *np.full((3, *found.shape), np.nan)])
    importance = np.stack([np.sqrt(squared), *np.full((4, len(squared)), np.nan)])
    quiet = ~found.any(axis=0)  # in no row anything changes
    numbers[1:, :, quiet], importance[:, quiet] = 0.0, np.array([0.0, 0, 0, 0, 1])[:, None]
    if too_few(own, units):
        return Curve(numbers, importance, by_row)
    apart = located - own[rows] @ located / own.sum()
    covariance = (apart * own[rows, None]).T @ apart / own.sum()
    for output in np.flatnonzero(~quiet):
        scores = np.ascontiguousarray(parts[:, output])
        variance, correction, freedom = spread(scores, own, units)
        std = np.sqrt(variance * correction)
        numbers[1:, :, output] = std, *interval(found[:, output], std, freedom + 1, sampled.confidence)[:2]
        split = independent(scores, units)
        if units is not None and units.timed:  # a mean over as few waves as any point asks for
            split = split[:, : int(freedom.min())] / freedom.min() ** 0.5
        by_chance = covariance @ (split @ split.T)
        variance, correction, freedom = spread(by_row[None, output], own, units)
        chance = 2 * (by_chance * by_chance.T).sum()
        value = max(squared[output] - np.trace(by_chance), 0.0)
        own_part = max(float(variance[0] * correction) - 2 * chance, 0.0) if value else 0.0
        importance[:, output] = _root(value, chance, own_part, freedom[:, 0], sampled.confidence)
    return Curve(numbers, importance, by_row)


def _root(value: float, chance: float, own: float, freedom: Floats, confidence: float) -> list[float]:
    """Return the root of a square, its error, both ends of its interval and p-value.

    The square has the variance ``chance`` if it is 0, and ``own`` beside it if it is ``value``, in proportion between.
    Ends are those values from which the estimate is as far as chance allows there (as Wilson 1927 for shares).
    """
    quantiles, slope = t_quantile(0.5 + confidence / 2, freedom), own / value if value else 0.0
    apart = quantiles * np.sqrt(chance + own + quantiles**2 * slope**2 / 4) * (-1, 1)
    low, high = np.maximum(value + quantiles**2 * slope / 2 + apart, 0.0)
    p_value = 1.0 if not value else float(t_two_sided(value / max(chance, 1e-300) ** 0.5, freedom[0]))
    error = (value + (chance + own) ** 0.5) ** 0.5 - value**0.5
    return [value**0.5, error, low**0.5, high**0.5, p_value]
