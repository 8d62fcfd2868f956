"""Any section to files and back, by its fields: JSON for facts, npz for arrays, a
folder for each explanation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.explanation import Explanation
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, turned
from permgrad.base.files import plain, write_json_atomic
from permgrad.base.folders import DAMAGE
from permgrad.base.stored import read_json, read_npz, write_npz
from permgrad.evaluation.cards import as_numbers

Kind = TypeVar("Kind", bound=type)
Arrays = dict[str, npt.NDArray[Any]]
#: The key that marks what is not plain JSON. Other keys that start with it have it
#: twice.
MARKED = "\0"
_KINDS: dict[str, type] = {"Dependence": Dependence}


def storable(kind: Kind) -> Kind:
    """Register a dataclass, so that a store writes and reads it by its fields."""
    _KINDS[kind.__name__] = kind
    return kind


# ---- values and their parts ----------------------------------------------------------
def taken_apart(  # noqa: PLR0911 — one return for each kind of value
    value: Any, key: str, arrays: Arrays, explanations: dict[str, Explanation]
) -> Any:
    """Return a value as JSON.

    Arrays and explanations in it are added to the mappings, by keys that start with
    ``key``.

    Examples:
        >>> arrays = {}
        >>> facts = taken_apart(
        ...     {"curve": np.arange(3), "table": pd.DataFrame({"a": ["x", None]})},
        ...     "cards",
        ...     arrays,
        ...     {},
        ... )
        >>> list(arrays)
        ['cards/0', 'cards/1/0']
        >>> put_together(facts, arrays, {})["table"]["a"].tolist()
        ['x', None]
    """
    if isinstance(value, str):  # also a name that carries facts
        return str(value)
    if isinstance(value, Explanation):
        explanations[key] = value
        return {MARKED: "explanation", "key": key}
    if isinstance(value, pd.DataFrame):
        return _table_apart(value, key, arrays)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return {MARKED: "texts", "values": plain(value)}
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {MARKED: "array", "key": key}
    if is_dataclass(value) and not isinstance(value, type):
        names = [value_field.name for value_field in fields(value)]
        facts = {
            field_name: taken_apart(
                getattr(value, field_name), f"{key}/{field_name}", arrays, explanations
            )
            for field_name in names
        }
        return {MARKED: type(value).__name__, **facts}
    if isinstance(value, Mapping):
        names = [
            f"{MARKED}{item_name}"
            if str(item_name).startswith(MARKED)
            else str(item_name)
            for item_name in value
        ]
        return {
            item_name: taken_apart(
                item_value, f"{key}/{item_index}", arrays, explanations
            )
            for item_index, (item_name, item_value) in enumerate(
                zip(names, value.values(), strict=True)
            )
        }
    if isinstance(value, (list, tuple)):
        return [
            taken_apart(item_value, f"{key}/{item_index}", arrays, explanations)
            for item_index, item_value in enumerate(value)
        ]
    return plain(value)


def _table_apart(table: pd.DataFrame, key: str, arrays: Arrays) -> dict[str, Any]:
    """Return a table as JSON: numbers as they are, all else as codes of texts."""
    columns: list[dict[str, Any]] = []
    for position, name in enumerate(table.columns):
        column = table.iloc[:, position]
        cells = as_numbers(column)
        levels = None
        if cells is None:
            codes, distinct = pd.factorize(
                np.array(list(map(str, column.astype(object))), dtype=object)
            )
            cells = np.where(column.isna(), -1, codes).astype(np.int64)
            levels = distinct.tolist()
        columns.append({"name": str(name), "levels": levels})
        arrays[f"{key}/{position}"] = cells
    return {MARKED: "table", "key": key, "columns": columns, "rows": len(table)}


def put_together(  # noqa: PLR0911 — as above
    facts: Any, arrays: Mapping[str, Any], explanations: Mapping[str, Explanation]
) -> Any:
    """Return the value that ``taken_apart`` took apart.

    Tuples have become lists, and NaN among the facts None.
    """
    if isinstance(facts, list):
        return [put_together(item_value, arrays, explanations) for item_value in facts]
    if not isinstance(facts, dict):
        return facts
    marked_kind = facts.get(MARKED)
    if marked_kind == "explanation":
        return explanations[facts["key"]]
    if marked_kind == "table":
        # Texts are objects, None where missing.
        columns: list[Any] = []
        for column_index, entry in enumerate(facts["columns"]):
            values = arrays[f"{facts['key']}/{column_index}"]
            levels = entry["levels"]
            if levels is not None:
                values = np.array([*levels, None], dtype=object)[values]
            columns.append(
                pd.Series(values, dtype=np.float64 if levels is None else object)
            )
        table = (
            pd.concat(columns, axis=1)
            if columns
            else pd.DataFrame(index=range(facts["rows"]))
        )
        table.columns = pd.Index(
            [entry["name"] for entry in facts["columns"]], dtype=object
        )
        return table
    if marked_kind == "texts":
        return np.array(facts["values"], dtype=object)
    if marked_kind == "array":
        return arrays[facts["key"]]
    items = {
        item_name.removeprefix(MARKED): put_together(item_value, arrays, explanations)
        for item_name, item_value in facts.items()
        if item_name != MARKED
    }
    if marked_kind is None:
        return items
    return _KINDS[marked_kind](**items)


# ---- files ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Store:
    """The folder of an assessment.

    Without one, nothing is written, and values are the same.
    """

    folder: Path | None = None

    def put(self, location: str, value: Any, explanation: str = "") -> Any:
        """Write a value, and return it as reading it would.

        ``explanation`` names the folder of one inside it.

        Mappings become documents that other programs read: arrays in them are lists.
        """
        if isinstance(value, Explanation):
            if self.folder is not None:
                value.save(self.folder / location, overwrite=True)
            return value
        value_name = location.rpartition("/")[2]
        arrays: Arrays = {}
        explanations: dict[str, Explanation] = {}
        facts = taken_apart(
            plain(value) if isinstance(value, dict) else value,
            value_name,
            arrays,
            explanations,
        )
        assert len(explanations) <= bool(explanation), "it has one folder"
        if self.folder is not None:
            for explanation_value in explanations.values():
                explanation_value.save(
                    (self.folder / location).with_name(explanation), overwrite=True
                )
            if arrays:
                array_path = (self.folder / location).with_suffix(".npz")
                write_npz(array_path, arrays, packed=True)
            write_json_atomic((self.folder / location).with_suffix(".json"), facts)
        return put_together(facts, arrays, explanations)

    def get(self, location: str, explanation: str = "") -> Any:
        """Read a value, or return None where none was written.

        Raises:
            InputError: A file is damaged.
        """
        if self.folder is None:
            return None
        value_path = self.folder / location
        if value_path.is_dir():
            return _read_explanation(value_path)
        json_file = value_path.with_suffix(".json")
        arrays_file = value_path.with_suffix(".npz")
        if not json_file.is_file():
            return None
        read_file = json_file
        if "/" in location:
            stage = "explanation"
        else:
            stage = "model"
        with turned(
            lambda _: InputError(
                f"{read_file} is damaged", f"Run again with --from {stage}.", "PG052"
            ),
            *DAMAGE,
        ):
            facts = read_json(json_file)
            read_file = arrays_file
            if arrays_file.is_file():
                arrays = read_npz(arrays_file)
            else:
                arrays = {}
            read_file = json_file
            explanations: dict[str, Explanation] = defaultdict(
                partial(_read_explanation, value_path.parent / explanation)
            )
            return put_together(facts, arrays, explanations)


def _read_explanation(folder: Path) -> Explanation:
    for file_name in ("explanation.json", "values.npz"):
        if not (folder / file_name).is_file():
            raise InputError(
                f"{folder / file_name} is missing",
                hint="Run again with --from explanation.",
                code="PG052",
            )
    return Explanation.load(folder)
