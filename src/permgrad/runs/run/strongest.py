"""Values of the strongest features in each test row, for the report's lists of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import read_csv, write_csv
from permgrad.base.files import atomic_path
from permgrad.data.read.table import blank_codes

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Number of features whose raw values are stored: residuals are drawn against them.
STRONGEST, MOST_STRONGEST = Path("explanations") / "strongest.csv", 3


def write_strongest(
    folder: Path,
    explanation: Explanation,
    X: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    na_codes: Sequence[str | int | float] = (),
) -> None:
    """Write each row's number in the file, and its values of the strongest features of one column."""
    names = [name for name in explanation.ranking() if name in X.columns][:MOST_STRONGEST]
    table = blank_codes(X[names], list(na_codes)).reset_index(drop=True)
    table.insert(0, "row", rows, allow_duplicates=True)
    with atomic_path(folder / STRONGEST) as temporary:
        write_csv(table, temporary)


def read_strongest(folder: Path, rows: npt.NDArray[Any]) -> pd.DataFrame | None:
    """Return these values for rows of the file, or None if the run has none."""
    path = folder / STRONGEST
    if not path.is_file():
        return None
    names = read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
    table = read_csv(path, header=None, skiprows=1, index_col=0)
    table.columns = pd.Index(names[1:])
    return table.reindex(rows).reset_index(drop=True)
