"""Whether several outputs that were taken for scores of classes predict y as such: quantiles and thresholds do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from permgrad.attribution.subject.row_target import outputs_of
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError, warn_user

#: Rows that are looked at, at most.
_ROWS = 256
#: Rows of a class, which at least two must have. Of fewer, columns may be in one order by chance, or all be right.
_FEW_ROWS = 5
#: Standard errors by which the loss must exceed that of the classes' frequencies, where columns are in no order.
_ERRORS = 3.0
#: Where all tell their class from others better than this they are scores, too sure of themselves at worst.
_TOLD = 0.51
#: Decimals of the logarithm of a probability. The next may be rounding.
_DECIMALS = 6


def check_classes(subject: Subject, inputs: Sequence[Tensor], classes: Integers) -> None:
    """Refuse or name outputs that are no scores of classes by all that y says. What the user declared is not asked."""
    form = subject.outputs
    numbered = tuple(map(str, range(form.count)))
    if form.kind != "logits" or not form.by_values or form.count < 2 or form.class_names != numbered:
        return
    outputs = outputs_of(subject, [tensor[:_ROWS] for tensor in inputs]).double().cpu().numpy()
    y = classes[:_ROWS]
    finite = np.isfinite(outputs).all(axis=1)
    outputs, y = outputs[finite], y[finite]
    counts = np.bincount(y, minlength=form.count)
    if (counts >= _FEW_ROWS).sum() < 2:
        return
    score = outputs - outputs.max(axis=1, keepdims=True)
    score = (score - np.log(np.exp(score).sum(axis=1, keepdims=True))).round(_DECIMALS)
    excess = np.log(counts[y] / len(y)) - score[np.arange(len(y)), y]
    if excess.mean() <= 0:
        return
    steps = np.diff(outputs, axis=1)
    ways = [way for way, each in (("rise", steps > 0), ("fall", steps < 0)) if each.all()]
    if form.count > 2 and ways:
        problem = (
            f"The {form.count} outputs {ways[0]} from column to column in every row, as quantiles and thresholds "
            "do, and as scores of classes they predict y worse than its frequencies"
        )
        hint = (
            "Pass loss=('quantile', levels) with a level for each, loss= a function (outputs, y) -> (rows,), "
            "pg.Model(..., returns='values') and target= for one of them, or returns='logits' if they are classes"
        )
        raise InputError(problem, hint=hint, code="PG015")
    told = min(_told(score[:, k], y == k) for k in np.flatnonzero(counts >= _FEW_ROWS))
    if excess.mean() > _ERRORS * excess.std() / len(y) ** 0.5 and told < _TOLD:
        warn_user(
            f"The {form.count} outputs are taken for logits of the classes 0 … {form.count - 1}, but "
            "as such they predict y worse than its frequencies. Pass pg.Model(..., returns='values') and target= for "
            "one of them, or loss= a function (outputs, y) -> (rows,), if they are other numbers (a mean and a "
            "variance, quantiles), class_names= in their order if it is another than that of y, or returns='logits'."
        )


def _told(score: Floats, own: np.ndarray) -> float:
    """Return the chance that a row of the class has a higher score than another (a tie counts half)."""
    others = np.sort(score[~own])
    below, up_to = (np.searchsorted(others, score[own], side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(others))
