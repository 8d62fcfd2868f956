"""Raw values of the features that a model relies on most, kept for the report: residuals are drawn by them."""

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

FILE = Path("explanations") / "strongest.csv"
#: How many features are kept.
MOST = 3


def write(
    folder: Path,
    explanation: Explanation,
    X: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    na_codes: Sequence[str | int | float] = (),
) -> None:
    """Write ``explanations/strongest.csv``: the row's number in the file, then its values of the strongest features.

    Features that are several columns have no single value and are passed over.

    Args:
        folder: The run's folder.
        explanation: A global one of these rows.
        X: The explained rows.
        rows: Their numbers in the file.
        na_codes: Codes that mean missing; they are left empty.
    """
    names = [name for name in explanation.ranking() if name in X.columns][:MOST]
    table = blank_codes(X[names], list(na_codes)).reset_index(drop=True)
    table.insert(0, "row", rows, allow_duplicates=True)
    with atomic_path(folder / FILE) as temporary:
        write_csv(table, temporary)


def stored(folder: Path, rows: npt.NDArray[Any]) -> pd.DataFrame | None:
    """Return the values for rows of the file, or None if an older permgrad left none."""
    path = folder / FILE
    if not path.is_file():
        return None
    names = read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
    table = read_csv(path, header=None, skiprows=1, index_col=0)
    table.columns = pd.Index(names[1:])
    return table.reindex(rows).reset_index(drop=True)
