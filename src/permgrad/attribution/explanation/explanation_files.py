"""The files of an ``Explanation``: ``explanation.json``, ``values.npz`` and its times.

Reading them runs no code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from permgrad.attribution.explanation.numbers import Numbers, arrays_like_values
from permgrad.attribution.scopes import is_by_row, levels, scopes
from permgrad.base.arrays import Array
from permgrad.base.checks import is_number, is_whole
from permgrad.base.errors import InputError, must, turned
from permgrad.base.files import atomic_path, json_text, plain, writing
from permgrad.base.folders import DAMAGE
from permgrad.base.late import pd
from permgrad.base.stored import (
    is_intact,
    read_json,
    read_npz,
    read_times,
    sealed,
    without_times,
    write_npz,
    write_times,
)
from permgrad.data.weights import are_weights

E = TypeVar("E", bound=Numbers)
SCHEMA_VERSION = 3
#: Facts of a local explanation with one value per row: its number, weight, the output
#: explained, its group, its time.
OF_ROWS = ("rows", "sample_weight", "row_target", "row_groups", "row_time")
#: Fields stored unchanged.
_PLAIN = (
    "method",
    "scope",
    "level",
    "additive",
    "groups",
    "branches",
    "direction",
    "meta",
)
_NAMES = ("names", "modality", "outputs")
#: Types that the fields of a stored explanation may have.
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("method", "scope", "level"), (str,)),
    "additive": (bool,),
    **dict.fromkeys(_NAMES, (list,)),
    **dict.fromkeys(
        ("groups", "branches", "direction", "feature_values"), (dict, type(None))
    ),
    "meta": (dict,),
}


def write_explanation(explanation: Numbers, folder: Path) -> None:
    """Write an explanation into a folder, in one step.

    A folder that exists is replaced.
    """
    arrays: dict[str, Array] = {
        "values": explanation.values,
        **arrays_like_values(explanation),
    }
    for map_name, array in explanation.maps.items():
        arrays[f"maps/{map_name}"] = array
    for field_name in ("base_values", "predictions", "correlation"):
        if getattr(explanation, field_name) is not None:
            arrays[field_name] = getattr(explanation, field_name)
    header = {}
    for header_field in (*_PLAIN, *_NAMES, "members"):
        header[header_field] = getattr(explanation, header_field)
    header |= {"schema_version": SCHEMA_VERSION, "feature_values": None}
    if (frame := explanation.feature_values) is not None:
        cells = plain(frame.astype(object).where(frame.notna(), None).to_numpy())
        header["feature_values"] = {
            "columns": list(map(str, frame.columns)),
            "data": cells,
        }
    header["meta"] = without_times(explanation.meta)
    with (
        writing(folder, "choose another folder"),
        atomic_path(folder, folder=True) as temporary,
    ):
        write_npz(temporary / "values.npz", arrays, packed=True)
        header_text = json_text(sealed(plain(header)), indent=1)
        (temporary / "explanation.json").write_text(
            header_text + "\n", encoding="utf-8"
        )
        write_times(temporary, explanation.meta.get("seconds"))


def read_explanation(source: Path, create: Callable[..., E]) -> E:
    """Return ``create(**fields)`` of the files in a folder.

    Damaged files and other formats are refused.
    """
    with turned(partial(_damaged, source), ValueError, OSError):
        header = read_json(source / "explanation.json")
        arrays = read_npz(source / "values.npz")
        version: Any
        if isinstance(header, dict):
            version = header.get("schema_version")
        else:
            version = None
        must(isinstance(version, int), "explanation.json has no schema_version")
    if version != SCHEMA_VERSION:
        problem = (
            f"{source} has format {version}, and this permgrad reads "
            f"explanations of format {SCHEMA_VERSION}"
        )
        if version > SCHEMA_VERSION:
            remedy_words = "Install a newer permgrad."
        else:
            remedy_words = "Create it again."
        raise InputError(problem, hint=remedy_words, code="PG053")
    with turned(
        lambda error: _damaged(source, f"{error} is missing or wrong"), *DAMAGE
    ):
        explanation = create(**_fields_from_file(header, arrays))
    if not is_intact(header):
        raise _damaged(source, "explanation.json does not match its checksum")
    if is_number(seconds := read_times(source)):
        explanation.meta["seconds"] = seconds
    return explanation


def _damaged(source: Path, why: str | Exception) -> InputError:
    if isinstance(why, FileNotFoundError):
        problem = f"{why.filename} not found"
        return InputError(
            problem, hint="Pass a folder that Explanation.save() wrote.", code="PG010"
        )
    return InputError(
        f"The explanation in {source} is damaged ({why})",
        hint="Create it again.",
        code="PG052",
    )


def _are_weights(weights: Any) -> bool:
    """Return whether stored weights are None or valid weights of rows."""
    if weights is None:
        return True
    return (
        any(weights)
        and all(map(is_number, weights))
        and bool(are_weights(np.array(weights)).all())
    )


def _are_members(members: Any) -> bool:
    """Return whether members are lists of positions of players."""
    return isinstance(members, list) and all(
        isinstance(player_positions, list)
        and player_positions
        and all(
            is_whole(player_index) and player_index >= 0
            for player_index in player_positions
        )
        for player_positions in members
    )


def _check_stored(header: Mapping[str, Any], count: int) -> None:
    """Refuse a file whose fields have wrong types or sizes, before they cause an
    unclear error later.
    """
    wrong = []
    for field_name, types in _TYPES.items():
        if field_name == "feature_values":
            value = header.get(field_name)
        else:
            value = header[field_name]
        if not isinstance(value, types):
            wrong.append(f"{field_name} (a {type(value).__name__})")
        elif field_name in _NAMES and not all(
            isinstance(list_item, str) for list_item in header[field_name]
        ):
            wrong.append(f"{field_name} (not all text)")
    must(not wrong, "".join(wrong[:1]))
    players = len(header["names"])
    meta = header["meta"]
    frame = header.get("feature_values")
    weights = meta.get("sample_weight")
    confidence = meta.get("confidence", 0.95)
    faults = {
        "members (not lists of positions)": not _are_members(header.get("members", [])),
        f"scope ({header['scope']!r})": header["scope"] not in scopes,
        f"level ({header['level']!r})": header["level"] not in levels,
        f"modality (of {len(header['modality'])} for {players} names)": len(
            header["modality"]
        )
        != players,
        f"meta (a confidence of {confidence!r})": not (
            is_number(confidence) and 0 < confidence < 1
        ),
        "feature_values (rows of other lengths)": frame is not None
        and any(len(data_row) != len(frame["columns"]) for data_row in frame["data"]),
        "meta (an invalid sample_weight)": not _are_weights(weights),
    }
    for fact_name in OF_ROWS if is_by_row(header["scope"]) else ():
        row_facts = meta.get(fact_name) or ()
        faults[f"meta ({fact_name}: {len(row_facts)} for {count} rows of values)"] = (
            meta.get(fact_name) is not None and len(row_facts) != count
        )
        faults[f"meta ({fact_name} that are not numbers)"] = any(
            isinstance(row_fact, (list, dict)) for row_fact in row_facts
        )
    for fault_words, holds in faults.items():
        must(not holds, fault_words)


def _fields_from_file(
    header: Mapping[str, Any], arrays: Mapping[str, Array]
) -> dict[str, Any]:
    for array_name, array in arrays.items():
        must(
            array_name.startswith("maps/") or array.dtype.kind in "fiu",
            f"{array_name} (of {array.dtype})",
        )
    _check_stored(header, len(arrays["values"]))
    frame = header.get("feature_values")
    if frame is not None:
        frame = pd.DataFrame(
            frame["data"], columns=frame["columns"], dtype=object
        ).infer_objects()
    fields = {field_name: header[field_name] for field_name in _PLAIN} | {
        field_name: tuple(header[field_name]) for field_name in _NAMES
    }
    for optional_field in (
        "std_error",
        "low",
        "high",
        "p_values",
        "correlation",
        "base_values",
        "predictions",
    ):
        fields[optional_field] = arrays.get(optional_field)
    for group in ("parts/", "part_std/", "maps/"):
        stored = {
            stored_name: array
            for stored_name, array in arrays.items()
            if stored_name.startswith(group)
        }
        fields[group[:-1]] = {
            stored_name.removeprefix(group): array
            for stored_name, array in stored.items()
        }
    members = tuple(map(tuple, header.get("members", ())))
    return fields | {
        "values": arrays["values"],
        "feature_values": frame,
        "members": members,
    }
