"""The rows of a report that readers may change: written with the explanations, read for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path
from permgrad.base.stored import read_npz, write_npz
from permgrad.report.page.whatif import ChangeableRows, rows_of, what_if

FILE = "what_if.npz"
#: Rows that are written at most.
MOST_ROWS = 300


def write_rows(store: Path, model: Any, rows: Any, numbers: npt.NDArray[np.int64], ranking: Sequence[str]) -> None:
    """Write rows, a frame or records with images, as the page needs them. Their numbers are those in their file."""
    kept = rows_of(model, rows, numbers, ranking)
    arrays = {one.name: getattr(kept, one.name) for one in fields(kept) if getattr(kept, one.name) is not None}
    with atomic_path(store / FILE) as temporary, temporary.open("wb") as stream:
        write_npz(stream, arrays)


def read_rows(store: Path) -> ChangeableRows | None:
    """Return the rows of a folder of explanations. A run of an older version has none."""
    path = store / FILE
    if not path.is_file():
        return None
    try:
        rows = ChangeableRows(**read_npz(path))
        count = len(rows.numbers)
        consistent = rows.cells.shape == rows.missing.shape == (count, len(rows.columns)) and len(rows.encoded) == count
    except (TypeError, ValueError, AttributeError):
        consistent = False
    if not consistent:
        raise InputError(f"{path} is damaged", hint="Run again with --from explanation.", code="PG052")
    return rows


def page_content(store: Path, model: Any, ranking: Sequence[str], *, large: bool) -> dict[str, Any] | None:
    """Return what the page of a run needs for *What if*, or None where rows were not written."""
    rows = read_rows(store)
    return None if rows is None else what_if(model, rows, ranking, large=large)
