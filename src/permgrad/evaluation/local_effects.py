"""Accumulated local effects beside the mean curves of cards, and where these curves leave the data.

A mean curve sets a column to one value in all rows, which makes rows that do not exist where columns depend on each
other. Accumulated local effects only move rows between values near their own (Apley & Zhu 2020, ``method="ale"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.attribution.method.ale.effects import Axis, Column, Sampled, accumulated, make_axes
from permgrad.base.arrays import Floats, Integers
from permgrad.evaluation.cards import LEVELS, Predict, Sample, as_numbers, written

#: Cards that get a local effect, and predictions for all of them together: a row is moved to both ends of its bin.
_CARDS, _PREDICTIONS, _FEWEST = 10, 6000, 200
#: Most bins, and the rows that each has at least.
_BINS, _LEAST = 12, 10
#: Rows that are compared with those nearest to a value: so many, and at least this share of all.
_COMPARED, _NEAREST, _SHARE = 1000, 50, 0.05
#: A curve leaves the data where more than this share of its rows is unlike all those nearest to the value.
_OUTSIDE = 0.5
#: Standard errors beyond which two curves differ (95 % for ten points together). Less than this share of the range of
#: the curves is not worth a word.
_APART, _LITTLE = 2.8, 0.02


def add_local_effects(
    sample: Sample, cards: Sequence[dict[str, Any]], curves: Mapping[str, Floats], predict: Predict
) -> None:
    """Add ``ale`` to the first cards of numbers and dates, and ``leaves`` to those whose mean curve leaves the data.

    ``ale`` has places ``at`` on the card's axis, and ``mean``, ``low`` and ``high`` ``(places, outputs)``: the effect
    with 95 % intervals, moved to the mean of the other curve. ``leaves`` is what ``_left`` returns, with how far the
    curves are ``apart`` there in each output, and whether that is ``clear``.
    """
    columns = {card["feature"]: _column(sample, card["feature"]) for card in cards if card["feature"] in sample.table}
    shown = [card for card in cards if card["feature"] in curves and not columns[card["feature"]].labels][:_CARDS]
    count = min(len(sample.raw), max(_FEWEST, _PREDICTIONS // max(2 * len(shown), 1)))
    units = None if sample.dependence is None else sample.dependence.take(np.arange(count))
    sampled = Sampled(np.ones(count), units, 0.95)
    for card in shown:
        name, values = card["feature"], columns[card["feature"]].values
        axis = make_axes([0], {0: Column(name, values[:count])}, sampled, _BINS, _LEAST).get(0)
        if axis is None or len(axis.at) < 2:
            continue
        rows, steps = axis.moves
        places, donors = np.tile(rows, 2), np.concatenate([axis.donors[steps], axis.donors[steps + 1]])
        outputs = sample.predicted_with(predict, places, {name: donors})
        effects = outputs[len(rows) :] - outputs[: len(rows)]
        mean, error, low, high = accumulated([axis], rows, [steps], effects, sampled).effects
        at = np.asarray(card["at"], dtype=np.float64)  # the numbers at which the card's curve was computed
        if not card["numeric"]:
            labels = map(written, sample.table[name].tolist())
            of_label = {label: one for label, one in zip(labels, values.tolist(), strict=True) if np.isfinite(one)}
            at = np.array([of_label[label] for label in card["label"]])
        single = curves[name]  # (rows, points, outputs)
        located = np.array([np.interp(values[:count], at, np.eye(len(at))[k]) for k in range(len(at))])
        weights = located[:, np.isfinite(values[:count])].mean(axis=1)
        level = weights @ single.mean(axis=0)
        edges = card["values"].get("edges", at)
        spots = np.unique(np.clip(axis.at, edges[0], edges[-1]))  # what the chart shows of them
        card["ale"] = {"at": (spots if card["numeric"] else np.interp(spots, at, np.arange(len(at)))).tolist()}
        for key, each in (("mean", mean), ("low", low), ("high", high)):
            card["ale"][key] = (_along(axis, each, spots) + level).tolist()
        # What one date says belongs together.
        date = sample.parts.get(name, (name,))[0]
        others = {one: each for one, each in columns.items() if one == name or date != sample.parts.get(one, (one,))[0]}
        left = _left(name, others, at)
        if left is not None:
            centred = single - np.einsum("p,rpo->ro", weights, single)[:, None]
            apart = _apart(centred, [_along(axis, each, at) for each in (mean, error)], left.pop("points"))
            card["leaves"] = left | {key: card["label"][at] for key, at in left["ends"].items()} | apart


def _column(sample: Sample, name: str) -> Column:
    """Return a column of numbers or dates, or the codes of levels, all NaN of those too many to compare."""
    cells = sample.table[name]
    numbers = as_numbers(cells, sample.numbers.get(name))
    if numbers is not None:
        return Column(name, np.asarray(numbers, dtype=np.float64))
    codes, levels = cells.astype(object).factorize()
    few = len(levels) <= LEVELS and name not in sample.texts
    return Column(name, np.where(codes < 0, np.nan, codes) if few else np.full(len(cells), np.nan), (name,))


def _along(axis: Axis, numbers: Floats, at: Floats) -> Floats:
    """Return numbers at points of an axis ``(points, outputs)`` at other values."""
    return np.stack([np.interp(at, axis.at, each) for each in numbers.T], axis=1)


def _apart(centred: Floats, local: Sequence[Floats], points: Integers) -> dict[str, Any]:
    """Return how far the mean of centred curves is from the local effect at some points, and whether that is clear."""
    mean, (effect, error) = centred.mean(axis=0), local
    chance = np.hypot(centred.std(axis=0, ddof=1) / np.sqrt(len(centred)), np.nan_to_num(error, nan=np.inf))
    apart = np.abs(effect - mean)[points]
    least = np.maximum(_APART * chance[points], _LITTLE * max(np.ptp(mean), np.ptp(effect)))
    clear = np.where(apart > least, apart, 0.0)
    return {"apart": clear.max(axis=0).tolist(), "clear": clear.any(axis=0).tolist()}


def _left(name: str, columns: Mapping[str, Column], at: Floats) -> dict[str, Any] | None:
    """Return where rows that have another value of a column are unlike all rows with such values, or None.

    A row is unlike them if its value of one ``other`` column is outside the range of the rows nearest to the value, or
    a level that none of these has. ``ends``: the last of the first ``points`` of which more than half of the rows are
    so (``to``), and the first of the last ones (``from``). ``share``: of the rows at all of these points. ``near``: how
    many rows are nearest.
    """
    own = columns[name].values[:_COMPARED]
    order = np.argsort(own, kind="stable")[: np.isfinite(own).sum()]
    near = max(_NEAREST, round(_SHARE * len(order)))
    others = {other: column for other, column in columns.items() if other != name}
    if len(order) < 4 * near or not others:
        return None
    first, last = (np.searchsorted(own[order], at, side) for side in ("left", "right"))
    start = np.clip((first + last - near) // 2, 0, len(order) - near)
    ends = zip(np.minimum(start, first), np.maximum(start + near, last), strict=True)
    shares = np.array([_outside(order, order[low:high], others) for low, high in ends])  # (points, others)
    beyond = shares > _OUTSIDE
    lower, upper = np.logical_and.accumulate(beyond), np.logical_and.accumulate(beyond[::-1])[::-1]
    chosen = lower | upper
    best = int(np.argmax(((shares - _OUTSIDE) * chosen).sum(axis=0)))
    points = np.flatnonzero(chosen[:, best])
    if not len(points):
        return None
    sides = {"to": np.flatnonzero(lower[:, best])[-1:], "from": np.flatnonzero(upper[:, best])[:1]}
    found = {side: int(spots[0]) for side, spots in sides.items() if len(spots) and len(points) < len(at)}
    share = float(shares[points, best].mean())
    return {"ends": found, "other": list(others)[best], "share": share, "near": near, "points": points}


def _outside(rows: Integers, near: Integers, others: Mapping[str, Column]) -> list[float]:
    """Return the shares of rows whose value of each other column is outside that of the rows nearest to a value."""
    shares = []
    for column in others.values():
        values = column.values[rows]
        known, like = values[np.isfinite(values)], column.values[near]
        like = like[np.isfinite(like)]
        if len(like) < _NEAREST // 2:
            shares.append(0.0)
        elif column.labels:
            shares.append(float(1 - np.isin(known, like).mean()))
        else:
            shares.append(float(((known < like.min()) | (known > like.max())).mean()))
    return shares
