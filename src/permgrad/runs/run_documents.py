"""Read the documents of a run's folder, and tables like that of a run.

The record has their checksums (``finished_record``), so that their entries need no
checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from permgrad.base.csv_files import read_csv
from permgrad.data.kinds.column import ColumnKind, kinds
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.reading import Reading, Written
from permgrad.data.read.table import read_written
from permgrad.data.tasks import tasks
from permgrad.runs.options import data_sets

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

DATA = "data.json"
COLUMNS = "columns.json"
TRAINING = "training.json"
METRICS = "metrics.json"
BRANCHES = "branches.json"


def read_like(
    table: Path, data: Mapping[str, Any], features: Sequence[str] = ()
) -> Written:
    """Read a table like the one of a run: the same decimal sign, text columns and codes
    for missing.
    """
    if str(table) in data_sets():
        from permgrad.data.datasets import load_dataset

        return Written(load_dataset(str(table)).frame)
    reading = Reading(
        later=True,
        like=data.get("decimal"),
        texts=frozenset(data.get("texts", ())),
        codes=MissingCodes.of(data.get("na", ())),
        text=data.get("identifiers", ()),
        images=[
            column["name"]
            for column in data.get("columns", ())
            if kinds.get(column.get("kind"), ColumnKind).modality == "photo"
        ],
        named=[*features, *(column["name"] for column in data.get("columns", ()))],
        not_na=data.get("not_na", ()),
        units=data.get("units", {}),
        pairs=data.get("pairs", {}),
        sheet=data.get("sheet"),
    )
    return read_written(table, reading)


def read_predictions(folder: Path, data: Mapping[str, Any]) -> pd.DataFrame:
    """Read a run's ``predictions.csv``, by what ``data.json`` says."""
    if tasks.get(data["task"]).has_classes:
        texts = {"truth": str, "prediction": str}
    else:
        texts = None
    return read_csv(folder / "predictions.csv", dtype=texts, keep_default_na=False)


def saved_explanation(folder: Path, method: str) -> Explanation | None:
    """Return an explanation of a run's folder, or None if it has none by this
    method.
    """
    from permgrad.attribution.explanation import Explanation

    source = folder / "explanations" / method
    if source.is_dir():
        return Explanation.load(source)
    return None
