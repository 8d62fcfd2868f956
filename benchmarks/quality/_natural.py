"""Tables with one column per number and one per category, for peers that read
categories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.data.encode.encoding import TableEncoder


def natural_table(encoder: TableEncoder, encoded: Array) -> pd.DataFrame:
    """Turn encoded rows back into one column per number and one per category, for
    models that read categories.

    Columns of a feature that are 0 or 1 become one category, from 0 for "none of
    these", and those of a date one for each part: weekday, month. Needs
    ``numeric="standard"``.
    """
    features = {
        name: np.asarray(columns)
        for name, columns in encoder.features("feature").items()
    }
    continuous = np.zeros(np.shape(encoded)[1], dtype=bool)
    continuous[encoder.numeric_columns_] = True
    continuous |= np.array(encoder.kinds_) == "score"
    made: dict[str, Any] = {}
    for name, columns in features.items():
        numbers, flags = columns[continuous[columns]], columns[~continuous[columns]]
        for column in numbers:
            made[encoder.encoded_names_[column]] = np.asarray(encoded)[:, column]
        said = encoder.date_parts_.get(name)
        is_date = said is not None or any(
            encoder.kinds_[column] == "date_part" for column in columns
        )
        source = name if said is None else said.column
        parts: dict[str, list[int]] = {}
        for column in flags.tolist():
            parts.setdefault(
                str(encoder.slots_[column].detail).split()[0] if is_date else "", []
            ).append(column)
        for part, places in parts.items():
            raised = np.asarray(encoded)[:, places] > 0.5
            level = np.where(raised.any(axis=1), raised.argmax(axis=1) + 1, 0)
            # All levels are declared, so that rows that lack some of them have the same
            # categories.
            made[f"{source}=?{part}"] = pd.Categorical(
                level, categories=range(len(places) + 1)
            )
    return pd.DataFrame(made)
