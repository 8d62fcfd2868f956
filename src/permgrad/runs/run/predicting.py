"""What a model says of rows, and the table in which it is written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.data.read.whole_numbers import without_points

#: ``prediction`` ``(rows,)``, for classifiers also ``probabilities`` ``(rows, classes)``.
Predicted = Mapping[str, npt.NDArray[Any]]


def use_threads(threads: int | None) -> None:
    """Limit torch to a number of threads, for the whole process."""
    if threads is not None and "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def predictions_of(model: Any, rows: Any) -> Predicted:
    """Return ``{"prediction": (rows,)}``, for classifiers also ``"probabilities": (rows, classes)``."""
    if not hasattr(model, "classes_"):
        return {"prediction": model.predict(rows)}
    probabilities = model.predict_proba(rows)
    return {"prediction": np.asarray(model.classes_)[probabilities.argmax(axis=1)], "probabilities": probabilities}


def identifier_names(identifiers: Sequence[str], model: Any) -> dict[str, str]:
    """Return the names of identifiers among predictions: their own, with ``_`` behind one that predictions have."""
    taken = {"row", "truth", "prediction", *(f"probability_{label}" for label in getattr(model, "classes_", ()))}
    names: dict[str, str] = {}
    for name in identifiers:
        shown = name
        while shown in taken or (shown != name and shown in identifiers):
            shown += "_"
        names[name] = shown
    return names


def prediction_table(
    rows: npt.NDArray[np.int64],
    identifiers: pd.DataFrame,
    predicted: Predicted,
    model: Any,
    *,
    truth: npt.NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Return one line per row: its number in the file, identifiers, (truth,) prediction, class probabilities."""
    table = pd.DataFrame({"row": rows})
    for name, shown in identifier_names(list(identifiers.columns), model).items():
        table[shown] = without_points(identifiers[name]).array
    if truth is not None:
        table["truth"] = truth
    table["prediction"] = predicted["prediction"]
    if "probabilities" in predicted:
        for place, label in enumerate(model.classes_.tolist()):
            table[f"probability_{label}"] = predicted["probabilities"][:, place]
    return table
