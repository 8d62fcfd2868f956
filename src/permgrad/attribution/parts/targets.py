"""Targets of rows, as they stand in a column of a file."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.data.read.cells import CellError, CodesArgument, MissingCodes, canonical


def read_targets(values: pd.Series[Any], model: Any, na_codes: CodesArgument = ()) -> npt.NDArray[Any]:
    """Return known targets as ``pg.explain`` takes them; classes are compared as text, as a file may hold 1 for 1.0.

    ``InputError``: a target is no finite number (regression) or no class of the model.
    """
    if hasattr(model, "classes_"):
        return _match_classes(values, model.classes_)
    name, numbers = str(values.name), values
    if MissingCodes.of(na_codes).labels and not pd.api.types.is_numeric_dtype(values.dtype):
        # A code such as "?" kept the column from being numbers; the rows that have it are gone.
        numbers = pd.to_numeric(values.astype(object), errors="coerce")
        numbers = values if numbers.isna().any() else numbers
    if numbers.dtype == object and all(isinstance(cell, Decimal) for cell in numbers):
        numbers = numbers.astype(np.float64)
    if not pd.api.types.is_numeric_dtype(numbers.dtype):
        cell = numbers.iloc[0]
        what = "text" if isinstance(cell, str) else "dates" if isinstance(cell, dt.date) else type(cell).__name__
        raise InputError(
            f"y must hold numbers as in training, however: column {name!r} holds {what}; correct it, or leave y out"
        )
    targets = numbers.to_numpy(dtype=np.float64)
    if not np.isfinite(targets).all():
        row = int(np.argmin(np.isfinite(targets)))
        fact = f"y must hold finite numbers, however: column {name!r} holds {targets[row]} in "
        raise CellError.at(row, values.index, fact, "; correct it, or leave such rows out")
    return targets


def _match_classes(values: pd.Series[Any], classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    labels = {canonical(label): place for place, label in enumerate(classes.tolist())}
    codes, distinct = pd.factorize(values)
    places = np.array([labels.get(canonical(cell), -1) for cell in distinct.tolist()], dtype=np.int64)[codes]
    if (places < 0).any():
        row = int(np.argmax(places < 0))
        cell = values.iloc[row]
        shown = cell.item() if isinstance(cell, np.generic) else cell
        fact = f"y must hold classes of the model ({', '.join(map(str, classes.tolist()[:10]))}), however: "
        fix = f" has {shown!r} in {str(values.name)!r}; leave such rows out, or leave y out"
        raise CellError.at(row, values.index, fact, fix)
    return np.asarray(classes)[places]
