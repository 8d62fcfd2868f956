"""Whether outputs are scores of classes, by all that y says: quantiles and thresholds
do not predict y as such.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from permgrad.attribution.subject.row_target import outputs_of
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError, warn_user

#: Rows that are looked at, at most.
_LOOKED_AT = 256
#: Rows of a class, which at least two must have. Of fewer, columns may be in one order
#: by chance, or all be right.
_FEW_OF_CLASS = 5
#: Standard errors by which the loss must exceed that of the classes' frequencies, where
#: columns are in no order.
_ERRORS = 3.0
#: Where all tell their class from others better than this they are scores, too sure of
#: themselves at worst.
_TOLD = 0.51
#: Decimals of the logarithm of a probability. The next may be rounding.
_DECIMALS = 6


def check_classes(
    subject: Subject, inputs: tuple[Tensor, ...], classes: Integers | None
) -> None:
    """Refuse or name outputs that are no scores of classes by all that y says.

    What the user declared is not asked.
    """
    output_form = subject.outputs
    if output_form.count == 1 and classes is not None and output_form.inferred:
        _check_side(subject, inputs, classes)
    numbered = tuple(map(str, range(output_form.count)))
    if (
        classes is None
        or output_form.kind != "logits"
        or not output_form.by_values
        or output_form.count < 2
    ):
        return
    if output_form.class_names != numbered:
        return
    outputs = (
        outputs_of(subject, [tensor[:_LOOKED_AT] for tensor in inputs])
        .double()
        .cpu()
        .numpy()
    )
    y = classes[:_LOOKED_AT]
    finite = np.isfinite(outputs).all(axis=1)
    outputs = outputs[finite]
    y = y[finite]
    counts = np.bincount(y, minlength=output_form.count)
    if (counts >= _FEW_OF_CLASS).sum() < 2:
        return
    score = outputs - outputs.max(axis=1, keepdims=True)
    score = (score - np.log(np.exp(score).sum(axis=1, keepdims=True))).round(_DECIMALS)
    excess = np.log(counts[y] / len(y)) - score[np.arange(len(y)), y]
    if excess.mean() <= 0:
        return
    steps = np.diff(outputs, axis=1)
    directions = []
    for direction_name, is_monotone in (("rise", steps > 0), ("fall", steps < 0)):
        if is_monotone.all():
            directions.append(direction_name)
    if output_form.count > 2 and directions:
        problem = (
            f"The {output_form.count} outputs {directions[0]} from column to column in "
            "every row, and as scores of classes they "
            "predict y worse than its frequencies"
        )
        hint = (
            "Pass loss=('quantile', levels) for quantiles, or returns='values' or "
            "returns='logits' to pg.Model for others"
        )
        raise InputError(problem, hint=hint, code="PG015")
    smallest_chance = min(
        _told(score[:, k], y == k) for k in np.flatnonzero(counts >= _FEW_OF_CLASS)
    )
    if (
        excess.mean() > _ERRORS * excess.std() / len(y) ** 0.5
        and smallest_chance < _TOLD
    ):
        warn_user(
            f"The {output_form.count} outputs are taken for logits of the classes 0 … "
            f"{output_form.count - 1}, but predict y worse "
            "than its frequencies. Pass class_names= in their order to pg.Model, or "
            "returns='values' for other numbers."
        )


def _check_side(
    subject: Subject, inputs: tuple[Tensor, ...], classes: Integers
) -> None:
    """Warn of a column that ranks the rows of its class below those of the other."""
    y = classes[:_LOOKED_AT]
    names = subject.outputs.class_names
    counts = np.bincount(y, minlength=2)
    if counts.min() < _FEW_OF_CLASS:
        return
    tried_inputs = [tensor[:_LOOKED_AT] for tensor in inputs]
    score = outputs_of(subject, tried_inputs).double().cpu().numpy()[:, 0]
    if not np.isfinite(score).all():
        return
    error = ((len(y) + 1) / (12 * counts.prod())) ** 0.5
    if _told(score, y == 1) < 0.5 - _ERRORS * error:
        warn_user(
            f"The output is taken for that of class {names[1]!r}, but is larger in "
            f"rows of {names[0]!r}. If it is the probability of {names[0]!r}, pass "
            f"class_names={[names[1], names[0]]!r} to pg.Model."
        )


def _told(score: Floats, own_class_mask: np.ndarray) -> float:
    """Return the chance that a row of the class has a higher score than another (a tie
    counts half).
    """
    other_scores = np.sort(score[~own_class_mask])
    below = np.searchsorted(other_scores, score[own_class_mask], "left")
    up_to = np.searchsorted(other_scores, score[own_class_mask], "right")
    return float((below + up_to).mean() / 2 / len(other_scores))
