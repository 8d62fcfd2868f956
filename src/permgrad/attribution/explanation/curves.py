"""The curves of an explanation as a frame: one line for each output and value of a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import InputError
from permgrad.base.late import pd

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


def effects_frame(explanation: Explanation) -> pd.DataFrame:
    """Return the frame of ``Explanation.effects``."""
    if not explanation.direction:
        hint = "Explain with method='ale' or 'permgrad'."
        raise InputError(f"method={explanation.method!r} has no curves", hint=hint, code="PG004")
    parts = []
    for name, entry in explanation.direction.items():
        axes = entry.get("axes", [entry])
        cells = [axis["at"] if axis["kind"] == "numeric" else axis["label"] for axis in axes]
        first, *second = (
            each.ravel() for each in np.meshgrid(*(np.array(some, object) for some in cells), indexing="ij")
        )
        numbers = {title: np.array(entry[key], float) for key, title in _NUMBERS.items() if key in entry}
        for output, label in enumerate(explanation.outputs[-numbers["effect"].shape[1] :]):
            columns: dict[str, Any] = {"feature": name, "class": label, "value": first}
            columns |= {"value_2": second[0] if second else None}
            columns |= {title: numbers[title][:, output] if title in numbers else np.nan for title in _NUMBERS.values()}
            parts.append(pd.DataFrame(columns | {"rows": entry.get("rows", np.nan)}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.drop(columns="value_2") if frame["value_2"].isna().all() else frame


#: Parts of a direction, and the columns that they become.
_NUMBERS = {"mean": "effect", "std": "std", "low": "ci_low", "high": "ci_high"}
