"""Along the curve: how good a model is at each of its points, and which features lead where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from permgrad.assess.curves import Curve
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL, holm

#: Points that are measured at most: no curve on a page shows more.
_MOST_POINTS = 40


@storable
@dataclass(kw_only=True)
class CurveSection:
    """What is known along a curve, of which the rest of the page shows the point ``shown``.

    ``kind``, ``chosen`` and ``left_out`` are those of ``Curve``. ``scores`` has a line for each point: the share of a
    constant's loss that the model saves with its 95 % interval, its p-value after Holm's correction, and of quantiles
    the share of rows ``below``. ``explanation`` has the attributions of some rows at all points. ``leaders`` are the
    first, the middle and the last of them: its feature of the largest mean size, and whether it is ``clear`` that all
    others are smaller.
    """

    kind: str
    shown: str
    chosen: bool
    points: int
    scores: pd.DataFrame
    explanation: Explanation
    leaders: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, int] | None = None


def along_curve(work: Work) -> None:
    """Fill ``curve``."""
    curve = work.model.curve
    assert curve is not None
    count, rows = len(curve.names), curve.whole.rows
    places = np.unique([*np.linspace(0, count - 1, min(count, _MOST_POINTS)).round(), curve.place]).astype(np.int64)
    drawn = generator(work.budget.seed, "rows of curves").permutation(len(rows))
    some = rows.take(np.sort(drawn[: work.budget.swarm_rows(0)]))
    related = {} if some.dependence is None else dict([some.dependence.argument])
    explanation = curve.whole.attribute(some, target=places.tolist(), **related)
    explanation = replace(explanation, outputs=tuple(curve.names[place] for place in places))
    work.put(
        curve=CurveSection(
            kind=curve.kind,
            shown=curve.names[curve.place],
            chosen=curve.chosen,
            points=count,
            scores=_scores(curve, places, rows.dependence),
            explanation=explanation,
            leaders=_leaders(explanation),
            left_out=curve.left_out,
        )
    )


def _scores(curve: Curve, places: Integers, units: Dependence | None) -> pd.DataFrame:
    """Return what the model saves of a constant's loss at some points."""
    lines = []
    for place in places.tolist():
        ours, constant, weights = curve.losses(place)
        line = dict.fromkeys(("score", "low", "high", "p_value", "below"), np.nan)
        if (whole := float((weights * constant).sum())) > 0:
            ratio = float((weights * ours).sum()) / whole
            # A ratio of means is to first order a mean over rows.
            parts = weights * (constant - ours - (1 - ratio) * constant) * len(weights) / whole
            _, error, freedom = mean_over_rows(parts[:, None], None, units)
            low, high, p_value = interval(np.array([1 - ratio]), error, freedom, 0.95)
            line |= {"score": 1 - ratio, "low": low[0], "high": high[0], "p_value": p_value[0]}
        if curve.kind == "quantiles":
            line["below"] = float((curve.truth[:, 0] <= curve.guess[:, place]).mean())
        lines.append(line)
    frame = pd.DataFrame(lines)
    frame.insert(0, "point", [curve.names[place] for place in places])
    frame["p_value"] = holm(frame["p_value"].to_numpy())
    return frame


def _leaders(explanation: Explanation) -> list[dict[str, Any]]:
    """Return the feature of the largest mean size at the first, the middle and the last point.

    It is clear if it is larger than each other feature on the same rows, by the largest of these two-sided p-values,
    which holds although the rows chose it (Hung & Fithian 2019), after Holm's correction for the points.
    """
    sizes: Floats = np.abs(np.asarray(explanation.values, dtype=np.float64))
    count, units = len(explanation.outputs), Dependence.of_rows(explanation.meta)
    found = []
    for place in dict.fromkeys((0, count // 2, count - 1)):
        at = sizes[:, :, place]
        first = int(at.mean(axis=0).argmax())
        mean, error, freedom = mean_over_rows(at[:, [first]] - np.delete(at, first, axis=1), None, units)
        p_values = interval(mean, error, freedom, 0.95)[2]
        worst = float(np.max(p_values, initial=0.0)) if np.isfinite(p_values).all() else 1.0
        found.append({"point": explanation.outputs[place], "feature": explanation.names[first], "p": worst})
    adjusted = holm(np.array([one["p"] for one in found])).tolist()
    return [{**one, "p_adjusted": p, "clear": p < LEVEL} for one, p in zip(found, adjusted, strict=True)]
