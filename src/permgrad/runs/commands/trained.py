"""Trained models that commands open, and tables read as the models take them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError, warn_user
from permgrad.base.startup import loading
from permgrad.base.stored import read_npz
from permgrad.data.encode.encoding import align_columns
from permgrad.data.image_table import locate_images, pages_said
from permgrad.runs.folder.documents import DATA, read_data, read_like
from permgrad.runs.folder.folder import believed, read_record
from permgrad.runs.requests import run_of
from permgrad.runs.run.images import is_image_model
from permgrad.runs.run.inputs import content_of


def check_model(folder: Path) -> None:
    """Refuse what can be no model, without reading one."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(
            f"a model is a folder, however: {folder} {what}; give a run's folder, such as permgrad-runs/heloc-0"
        )
    if read_record(folder) is not None and not (folder / "model").is_dir():
        raise InputError(
            f"a run must have trained its model, however: in {folder} it has not; finish it with permgrad run"
        )


def open_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the model of a run's folder (or of the model folder in it), and what ``data.json`` says, if there."""
    check_model(folder)
    run = run_of(folder)
    with loading():
        from permgrad.models.save.saving import load

        model = load(folder / "model" if (folder / "model").is_dir() else folder)
    data = read_data(run / DATA) if (run / DATA).is_file() and read_record(run) is not None else {}
    return model, data


def own_test_rows(folder: Path) -> tuple[Path, npt.NDArray[np.int64]]:
    """Return the table with a run's test rows, and their numbers in it."""
    run = run_of(folder)
    record = read_record(run)
    if record is None or "data" not in record["finished_stages"]:
        raise InputError(f"The test rows of {folder} are not known, because it is no run. Name the TABLE to explain.")
    with believed(run):
        sources = record["facts"]["sources"]
        role = "test" if "test" in sources else "table"
        wanted = record["configuration"]["test" if role == "test" else "table content"]
        rows = np.asarray(read_npz(run / "split.npz")["test"], dtype=np.int64)
    table = str(sources[role])
    try:
        fact = None if content_of(table, role) == wanted else "has changed since the run"
    except InputError:
        fact = "is not there any more"
    if fact is not None:
        raise InputError(f"The {role} file of this run, {table}, {fact}. Name a TABLE with rows to explain.")
    return Path(table), rows


def read_rows(model: Any, data: Mapping[str, Any], path: Path) -> tuple[Any, pd.DataFrame]:
    """Return a table's rows as the model takes them, and the whole table.

    Columns that the model does not know are left out with a warning, but for the run's target and identifiers.
    """
    features = [str(name) for name in model.preprocessor_.feature_names_in_]
    table = read_like(path, data, features)
    if not is_image_model(model):
        silent = [name for name in known_columns(data) if name in table.columns and name not in features]
        return align_columns(table.drop(columns=silent), features), table
    from permgrad.models.estimators.image_table import Records

    pictures = [column.name for column in model.images_]
    present = [name for name in table.columns if name in features or name in pictures]
    aligned = align_columns(table[present], [*features, *pictures])
    files = {name: locate_images(aligned[name], path.parent, str(path)) for name in pictures}
    for name in pictures:
        for note in pages_said(name, files[name]):
            warn_user(note)
    return Records(files, aligned[features]), table


def table_of(rows: Any) -> pd.DataFrame:
    """Return the table in rows as a model takes them."""
    return rows if isinstance(rows, pd.DataFrame) else rows.table


def known_columns(data: Mapping[str, Any]) -> list[str]:
    """Return the target, the identifiers, and the columns that the run left out: there is nothing to warn of."""
    left_out = ("left out", "identifier")
    named = [row["name"] for row in data.get("columns", ()) if str(row["role"]).startswith(left_out)]
    return [name for name in (data.get("target"), *data.get("identifiers", ()), *named) if name is not None]
