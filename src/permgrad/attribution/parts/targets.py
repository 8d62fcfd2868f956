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

    Raises:
        InputError: a target is no finite number (regression) or no class of the model.
    """
    if hasattr(model, "classes_"):
        return _match_classes(values, model.classes_)
    name, own = str(values.name), values
    if MissingCodes.of(na_codes).labels and not pd.api.types.is_numeric_dtype(values.dtype):
        # A code such as "?" kept the column from being numbers; the rows that have it are gone.
        own = pd.to_numeric(values.astype(object), errors="coerce")
        own = values if own.isna().any() else own
    if own.dtype == object and all(isinstance(cell, Decimal) for cell in own):
        own = own.astype(np.float64)
    if not pd.api.types.is_numeric_dtype(own.dtype):
        cell = own.iloc[0]
        what = "text" if isinstance(cell, str) else "dates" if isinstance(cell, dt.date) else type(cell).__name__
        raise InputError(
            f"y must hold numbers as in training, however: column {name!r} holds {what}; correct it, or leave y out"
        )
    found = own.to_numpy(dtype=np.float64)
    infinite = np.flatnonzero(~np.isfinite(found))
    if len(infinite):
        raise CellError.at(
            int(infinite[0]),
            values.index,
            f"y must hold finite numbers, however: column {name!r} holds {found[infinite[0]]} in ",
            "; correct it, or leave such rows out",
        )
    return found


def _match_classes(values: pd.Series[Any], classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    labels = {canonical(label): place for place, label in enumerate(classes.tolist())}
    codes, distinct = pd.factorize(values)
    places = np.array([labels.get(canonical(cell), -1) for cell in distinct.tolist()], dtype=np.int64)
    strange = np.flatnonzero(places[codes] < 0)
    if len(strange):
        cell = values.iloc[int(strange[0])]
        shown = cell.item() if isinstance(cell, np.generic) else cell
        raise CellError.at(
            int(strange[0]),
            values.index,
            f"y must hold classes of the model ({', '.join(map(str, classes.tolist()[:10]))}), however: ",
            f" has {shown!r} in {str(values.name)!r}; leave such rows out, or leave y out",
        )
    return np.asarray(classes)[places[codes]]
