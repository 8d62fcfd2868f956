"""The frames of an explanation: its tidy one, that of its files, and that of its
curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.attribution.explanation.comparisons import NUMBERS
from permgrad.attribution.explanation.numbers import Numbers
from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.late import pd

#: Columns of changes, in the order of their stored numbers.
_CHANGES = ("change", "std_error", "ci_low", "ci_high")
#: Parts of a direction, and the columns that they become.
_NUMBERS = {
    "mean": "effect",
    "std_error": "std_error",
    "low": "ci_low",
    "high": "ci_high",
}


def is_numeric(axis: Mapping[str, Any]) -> bool:
    """Whether an axis of a curve has numbers, and no levels."""
    return bool(axis.get("kind") == "numeric")


def changes_frame(explanation: Numbers) -> pd.DataFrame:
    """Return the frame of ``Explanation.effects``: changes of the prediction."""
    frames = []
    for feature_name, entry in directions_of(explanation).items():
        if "changes" in entry:
            outputs = explanation.outputs
            frames.append(frame_of_changes(feature_name, entry["changes"], outputs))
    if not frames:
        problem = "This explanation was saved without changes of the prediction"
        hint = "Explain again, or pass curves=True."
        raise InputError(problem, hint=hint, code="PG004")
    return stacked_changes(frames)


def frame_of_changes(
    feature: str, changes: Mapping[str, Any], outputs: Sequence[str]
) -> pd.DataFrame:
    """Return one line for each output and pair of values of a feature.

    Args:
        feature: Its name.
        changes: As ``Comparisons.entry`` stores them.
        outputs: Their names. Of more names than there are numbers, the last ones have
            them.
    """
    numbers = {}
    for title, key in zip(_CHANGES, NUMBERS, strict=True):
        numbers[title] = np.array(changes[key], float).reshape(len(changes["from"]), -1)
    frames = []
    for output in range(numbers["change"].shape[1]):
        columns: dict[str, Any] = {
            "feature": feature,
            "class": outputs[output - numbers["change"].shape[1]],
            "from": pd.Series(changes["from"], dtype=object),
            "to": pd.Series(changes["to"], dtype=object),
        }
        columns |= {title: of[:, output] for title, of in numbers.items()}
        columns |= {"unit": changes["unit"], "rows": changes["rows"]}
        if "groups" in changes:
            columns["groups"] = changes["groups"]
        frames.append(pd.DataFrame(columns))
    return stacked_changes(frames)


def stacked_changes(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames of changes, one below the other.

    Ends are numbers where all are, so that they can be subtracted.
    """
    frame = pd.concat(frames, ignore_index=True)
    for end in ("from", "to"):
        frame[end] = frame[end].infer_objects()
    return frame


def directions_of(explanation: Numbers) -> Mapping[str, Mapping[str, Any]]:
    """Return the curves of an explanation. Refuse one without."""
    if not explanation.direction:
        hint = "Explain with method='ale'. A run has pg.load_run(folder).effects."
        raise InputError(
            f"method={explanation.method!r} has no curves of this model",
            hint=hint,
            code="PG004",
        )
    return explanation.direction


def effects_frame(explanation: Numbers) -> pd.DataFrame:
    """Return the frame of ``Explanation.effects`` with all points of curves."""
    effect_frames = []
    for feature_name, entry in directions_of(explanation).items():
        curve_axes = entry.get("axes", [entry])
        cells = []
        for axis in curve_axes:
            if is_numeric(axis):
                cells.append(axis["at"])
            else:
                cells.append(axis["label"])
        first, *second = (
            grid_values.ravel()
            for grid_values in np.meshgrid(
                *(np.array(axis_cells, object) for axis_cells in cells), indexing="ij"
            )
        )
        numbers = {}
        for entry_key, title in _NUMBERS.items():
            if entry_key in entry:
                numbers[title] = np.array(entry[entry_key], float)
        for output, label in enumerate(
            explanation.outputs[-numbers["effect"].shape[1] :]
        ):
            columns: dict[str, Any] = {
                "feature": feature_name,
                "class": label,
                "value": first,
            }
            columns |= {"value_2": second[0] if second else None}
            columns |= {
                title: numbers[title][:, output] if title in numbers else np.nan
                for title in _NUMBERS.values()
            }
            effect_frames.append(
                pd.DataFrame(columns | {"rows": entry.get("rows", np.nan)})
            )
    frame = pd.concat(effect_frames, ignore_index=True)
    if frame["value_2"].isna().all():
        return frame.drop(columns="value_2")
    return frame


def tidy_frame(explanation: Numbers) -> pd.DataFrame:
    """Return the frame of ``Explanation.to_frame``."""
    if explanation.scope.by_row:
        row_count = explanation.values.shape[0]
    else:
        row_count = 1
    row_indices, name_indices, output = (
        axis.ravel()
        for axis in np.indices(
            (row_count, len(explanation.names), len(explanation.outputs))
        )
    )
    columns: dict[str, Any] = {}
    if explanation.scope.by_row:
        columns["row"] = np.asarray(explanation.meta.get("rows", range(row_count)))[
            row_indices
        ]
    for title, texts, label_indices in (
        ("feature", explanation.names, name_indices),
        ("modality", explanation.modality, name_indices),
        ("class", explanation.outputs, output),
    ):
        cells = np.array(texts, dtype=object)[label_indices]
        try:
            columns[title] = pd.Series(cells)
        except UnicodeEncodeError:
            # pandas' text type refuses half a character.
            columns[title] = pd.Series(cells, dtype=object)
    columns |= frame_numbers(explanation)
    if explanation.members:
        columns["order"] = explanation.order[name_indices]
    return pd.DataFrame(columns)


def frame_numbers(explanation: Numbers) -> dict[str, Floats]:
    """Return the tidy frame's columns of numbers."""
    lower_ends, upper_ends = explanation.ci()
    numbers = {
        "importance": explanation.values,
        "std_error": explanation.std_error,
        "ci_low": lower_ends,
        "ci_high": upper_ends,
    }
    if not explanation.scope.by_row:
        numbers["p_value"] = explanation.p_values
        numbers["p_adjusted"] = explanation.p_adjusted
    else:  # intervals of the error of sampling have none
        numbers |= dict.fromkeys(("p_value", "p_adjusted"))
    numbers |= explanation.parts
    # Of refits: both parts of the standard error.
    for part_name, part_errors in explanation.part_std.items():
        if part_name not in explanation.parts:
            numbers[part_name] = part_errors
    missing = np.full(explanation.values.shape, np.nan)
    return {
        title: (missing if array is None else array).ravel()
        for title, array in numbers.items()
    }


def file_frame(explanation: Numbers) -> pd.DataFrame:
    """Return the tidy frame in the order of ``importance.csv``: (row by row,) class by
    class, by falling importance.

    For rows, there are no p-values, and the last column is the row's value of the
    feature.
    """
    frame = tidy_frame(explanation)
    if explanation.scope.by_row:
        frame = frame.drop(columns=["p_value", "p_adjusted"])
    if explanation.feature_values is not None:
        cells = (
            explanation.feature_values.reindex(columns=list(explanation.names))
            .astype(object)
            .to_numpy()
        )
        frame["value"] = np.repeat(cells.ravel(), len(explanation.outputs))
    sort_keys = [
        -frame["importance"].to_numpy(),
        pd.factorize(frame["class"])[0],
    ]  # undefined values come last
    if "row" in frame:
        sort_keys.append(pd.factorize(frame["row"])[0])
    return frame.iloc[np.lexsort(sort_keys)].reset_index(drop=True)
