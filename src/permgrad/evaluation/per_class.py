"""How good a classifier is for each class: what it finds, what it calls so, and whether its probabilities hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.evaluation.calibration import reliability

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "class",
    "rows",
    "predicted",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "average_precision",
    "calibration_error",
)


def per_class(
    y: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[Any] | npt.NDArray[Any],
    predictions: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Compute every measure of single classes.

    Args:
        y: The truth ``(rows,)``; rows of a class that the model does not know count as missed by all others.
        probabilities: ``(rows, classes)`` in the order of ``classes``.
        classes: The classes that the model knows.
        predictions: Predicted classes ``(rows,)``; None: the most probable ones.

    Returns:
        One row per class: ``class, rows`` (that are of it), ``predicted`` (that are called so), ``precision`` (share of
        those called so that are of it), ``recall`` (share of its rows that are called so), ``f1``, and, one versus the
        rest, ``roc_auc, average_precision, calibration_error``. What the rows do not define is NaN.

    Raises:
        InputError: Shapes do not fit together.

    Examples:
        >>> found = per_class(["a", "a", "b"], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], ["a", "b"])
        >>> found[["class", "precision", "recall"]].values.tolist()
        [['a', 1.0, 0.5], ['b', 0.5, 1.0]]
    """
    import pandas as pd
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, table = np.asarray(y), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or table.shape != (len(truth), len(classes)):
        raise InputError(
            "probabilities must have one row per row of y and one column per class, however: "
            f"the shape is {table.shape} and ({len(truth)}, {len(classes)}) is needed"
        )
    known = pd.Index(np.asarray(classes))
    codes = known.get_indexer(pd.Index(truth))
    if predictions is None:
        called = table.argmax(axis=1) if len(truth) else np.zeros(0, dtype=np.int64)
    else:
        called = known.get_indexer(pd.Index(np.asarray(predictions)))
    lines = []
    for place, name in enumerate(classes):
        own, said, scores = codes == place, called == place, table[:, place]
        hits = int(np.sum(own & said))
        rows, predicted = int(own.sum()), int(said.sum())
        both = 0 < rows < len(truth) and bool(np.all(np.isfinite(scores)))
        lines.append(
            (
                name,
                rows,
                predicted,
                hits / predicted if predicted else math.nan,
                hits / rows if rows else math.nan,
                2 * hits / (rows + predicted) if rows + predicted else math.nan,
                float(roc_auc_score(own, scores)) if both else math.nan,
                float(average_precision_score(own, scores)) if both else math.nan,
                reliability(own, np.clip(scores, 0, 1)).error if np.isfinite(scores).any() else math.nan,
            )
        )
    return pd.DataFrame(lines, columns=list(COLUMNS))
