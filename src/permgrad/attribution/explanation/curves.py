"""The curves of an explanation as a frame: one line for each value of a feature and output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import InputError
from permgrad.base.late import pd

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

_NUMBERS = {"mean": "effect", "std": "std", "low": "ci_low", "high": "ci_high"}


def effects_frame(explanation: Explanation) -> pd.DataFrame:
    """Return the frame of ``Explanation.effects``."""
    if not explanation.direction:
        raise InputError(
            f"method={explanation.method!r} has no curves",
            hint="Explain with method='ale' or 'permgrad'.",
            code="PG004",
        )
    parts = []
    for name, entry in explanation.direction.items():
        axes = entry.get("axes", [entry])
        cells = [axis["at"] if axis["kind"] == "numeric" else axis["label"] for axis in axes]
        places = [place.ravel() for place in np.indices([len(some) for some in cells])]
        values = [np.array(some, dtype=object)[place] for some, place in zip(cells, places, strict=True)]
        values.append(np.full(len(values[0]), None))
        rows = entry.get("rows") if len(axes) == 1 else None
        curves = [({key: entry.get(key) for key in _NUMBERS}, rows, "")]
        if regions := entry.get("regions"):
            curves += [
                ({"mean": mean}, None, side)
                for side, mean in zip(*(regions[key] for key in ("sides", "mean")), strict=True)
            ]
        for numbers, counts, region in curves:
            mean = np.array(numbers["mean"], dtype=np.float64)
            classes = explanation.outputs[-mean.shape[1] :]
            for output, label in enumerate(classes):
                columns: dict[str, Any] = {"feature": name, "class": label, "region": region}
                columns |= {"value": values[0], "value_2": values[1]}
                for key, title in _NUMBERS.items():
                    known = numbers.get(key) is not None
                    columns[title] = np.array(numbers[key], dtype=np.float64)[:, output] if known else np.nan
                parts.append(pd.DataFrame({**columns, "rows": counts if counts is not None else np.nan}))
    frame = pd.concat(parts, ignore_index=True)
    needless = [
        column
        for column, empty in (("region", ""), ("value_2", None))
        if (frame[column].isna() | (frame[column] == empty)).all()
    ]
    return frame.drop(columns=needless)
