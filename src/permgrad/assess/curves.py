"""Models whose outputs are a curve: which point of it a report shows, and what is known of all points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.request import Request
from permgrad.attribution.request.arguments import are_times, check_chances, resolve_targets, survival
from permgrad.attribution.subject.calls import find_call
from permgrad.attribution.subject.outputs import are_points, as_target, point_name
from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.random import generator
from permgrad.models.losses import OtherLoss, outcomes, read_loss, staying

Kind = Literal["numbers", "quantiles", "survival"]
#: Arguments that are about a single output.
_OF_ONE = ("target", "loss", "positive")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The points of a model's curve, of which a report shows one.

    Attributes:
        kind: numbers with a target each, quantiles of one target, or chances to survive beyond times.
        names: the points ``(points,)``, numbers in rising order.
        place: the position of the point shown, which ``target=`` has ``chosen`` or is the middle one.
        truth: targets ``(rows, points)``, ``(rows, 1)`` of quantiles, or times and events ``(rows, 2)``.
        guess: predictions ``(rows, points)``.
        whole: the model of all points, with all rows.
        learned: the truth of training rows, if they are known.
        left_out: how many rows have no known outcome at the point shown (``censored``), and how many of all with an
            outcome before (``ended``) are left out for their sake (``thinned``).
    """

    kind: Kind
    names: tuple[str, ...]
    place: int
    chosen: bool
    truth: Floats
    guess: Floats
    whole: Any = None
    learned: Floats | None = None
    left_out: Mapping[str, int] | None = None

    def losses(self, place: int) -> tuple[Floats, Floats, Floats]:
        """Return the loss of each row at a point, that of the best constant, and the rows' weights ``(rows,)``.

        Squared errors, the loss of the quantile, or Brier's, where rows count by the inverse of the chance that they
        are still followed (Graf et al. 1999). Weights are 0 where too few are.
        """
        point, guess = float(self.names[place]), self.guess[:, place]
        learned = self.truth if self.learned is None else self.learned
        if self.kind == "survival":
            beyond, weights = outcomes(self.truth, point)
            constant = staying(learned[:, 0], learned[:, 1] > 0)(point, "right")
            return (beyond - guess) ** 2, (beyond - constant) ** 2, weights
        column = place if self.kind == "numbers" else 0
        truth, before, even = self.truth[:, column], learned[:, column], np.ones(len(guess))
        if self.kind == "numbers":
            return (truth - guess) ** 2, (truth - before.mean()) ** 2, even
        above = [truth - guess, truth - np.quantile(before, point)]
        ours, constant = (np.maximum(point * one, (point - 1) * one) for one in above)
        return ours, constant, even


class AtPoint:
    """The chance to survive beyond one point, of a model that returns survival functions."""

    def __init__(self, model: Any, curve: Curve) -> None:
        self.curve, self.place, self.point = find_call(model).function, curve.place, curve.names[curve.place]
        self.names = [f"until {self.point}", f"beyond {self.point}"]

    def __call__(self, table: Any) -> pd.DataFrame:
        """Return the chances to end until the point and to survive beyond it."""
        chance = np.asarray(self.curve(table), dtype=np.float64)[:, self.place]
        return pd.DataFrame(np.column_stack([1 - chance, chance]), columns=self.names)

    def kept(self, y: Any, seed: int) -> tuple[Integers, pd.Series[Any], dict[str, int]]:
        """Return which rows are shown, their outcomes, and how many are not.

        Rows without a known outcome are left out. So that outcomes stay as frequent as they are, a row that ended is
        then kept with the chance with which others like it are still followed at the point. All kept rows count once.
        """
        truth = as_target(y).astype(np.float64)
        beyond, weights = outcomes(truth, float(self.point))
        if not weights.any():
            problem = f"Too few rows are followed until {self.point} for a report of it"
            raise InputError(problem, hint="Name an earlier point in target=.", code="PG035")
        drawn = weights > weights.max() * generator(seed, "censored rows").random(len(weights))
        places, known = np.flatnonzero(drawn).astype(np.int64), weights > 0
        labels = np.where(beyond[places], self.names[1], self.names[0])
        counts = {"rows": len(truth), "censored": int((~known).sum()), "ended": int((known & ~beyond).sum())}
        counts["thinned"] = int((known & ~drawn).sum())
        return places, pd.Series(labels, index=getattr(y, "index", pd.RangeIndex(len(truth)))[places]), counts


# ---- what a user passes ----------------------------------------------------------------------------------------------
def read_curve(
    build: Callable[[Any, Mapping[str, Any]], Request], request: Request | None, y: Any, options: Mapping[str, Any]
) -> tuple[Curve, Request, dict[str, Any]] | None:
    """Return the curve of a model, its request for all points and its options, or None if its outputs are no curve.

    ``build`` makes a request of targets and options, and ``request`` is that of all arguments if they fit.
    """
    asked = {name: value for name, value in options.items() if name not in _OF_ONE}
    try:
        asked |= {} if request is None else {"task": request.subject.task}
        with keeping_warnings():  # those of the point shown are told
            whole, values = build(None, asked), as_target(y)
    except InputError:
        return None
    subject, count, loss = whole.subject, whole.subject.count, options.get("loss", "auto")
    read = read_loss(subject.usual_loss if loss == "auto" else loss)
    levels = read.levels if isinstance(read, OtherLoss) else ()
    columns = tuple(map(str, getattr(y, "columns", ())))
    names = tuple(f"{level:g}" for level in levels) or (columns if len(columns) == count else subject.output_names)
    if subject.task != "regression" or len(names) != count or not are_points(names):
        return None
    names = tuple(map(point_name, names))
    kind = _kind_of(values, y, names, whole, stated=bool(levels))
    if kind is None:
        return None
    if kind == "quantiles" and loss == "auto":
        loss = ("quantile", tuple(map(float, names)))
    subject.output_names = names
    target = options.get("target")
    places = (count // 2,) if target is None else resolve_targets(subject, target)
    if len(places) != 1:
        return None
    truth = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    further = {"target": places[0]} if kind == "numbers" else {"target": places[0], "loss": loss}
    if kind == "survival":
        survival(whole.subject, y, len(truth), "survival_brier")
        check_chances(cast("Any", whole.subject).first)
        of_curve = ("target", "task", "class_names")  # the point shown is one chance
        options, further = {name: value for name, value in options.items() if name not in of_curve}, {}
    facts: dict[str, Any] = {
        "kind": kind,
        "names": names,
        "place": places[0],
        "chosen": target is not None,
        "truth": truth,
    }
    return Curve(**facts, guess=np.zeros((0, count))), whole, {**options, **further}


def _kind_of(values: npt.NDArray[Any], y: Any, names: Sequence[str], whole: Request, *, stated: bool) -> Kind | None:
    """Return what the points of a curve are, by targets and names, or None if they are none of these.

    ``stated``: the names are levels of a loss.
    """
    numbers, count = values.dtype.kind in "fiubO", len(names)
    if are_times(y, count):  # a network cannot be called for the table of one point
        return "survival" if hasattr(whole.subject, "call") else None
    if numbers and values.ndim == 1 and (stated or 0 < float(names[0]) < float(names[-1]) < 1):
        return "quantiles"
    return "numbers" if values.shape == (len(whole.inputs[0]), count) else None
