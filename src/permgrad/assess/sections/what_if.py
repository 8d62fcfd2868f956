"""Rows that readers of a page may change, as the page needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.encoder_form import cells_of, encoder_form
from permgrad.assess.store import storable
from permgrad.assess.work import Work

if TYPE_CHECKING:
    from permgrad.models.estimators.prepared import EncodedRows

#: Rows that readers may change, at most.
MOST_ROWS = 300
#: Features that have inputs.
MOST_INPUTS = 60
#: Encoded numbers of all these rows together, and rows that are there at least.
_ROW_NUMBERS, _LEAST_ROWS = 60_000, 20


@storable
@dataclass(frozen=True)
class ChangeableRows:
    """Rows that readers may change.

    Attributes:
        numbers: each row's number in its file.
        encoded: the rows as the network sees them, ``(rows, encoded)``.
        columns: positions of the raw columns that have inputs, the strongest first.
        cells: what these columns hold, ``(rows, columns)``: numbers, seconds, 0 and 1, or the position of a level.
        missing: the kind of missing of each of these cells, 0 where there is a value.
        texts: the columns of free text that have scores.
    """

    numbers: npt.NDArray[np.int64]
    encoded: npt.NDArray[np.float32]
    columns: npt.NDArray[np.int64]
    cells: npt.NDArray[np.float64]
    missing: npt.NDArray[np.uint8]
    texts: pd.DataFrame | None = None


def rows_of(model: Any, rows: EncodedRows, numbers: npt.ArrayLike, ranking: Sequence[str] = ()) -> ChangeableRows:
    """Return encoded rows of a model in the form of the page. Of wide tables only the first.

    Columns of the strongest features come first.
    """
    encoder = model.preprocessor_
    most = min(len(rows), max(_LEAST_ROWS, _ROW_NUMBERS // max(len(encoder.slots_), 1)))
    rows = rows.take(np.arange(most))
    names, features = encoder.feature_names_in_, encoder.features("feature")
    place = {name: at for at, name in enumerate(names)}
    ordered = [place[column] for name in ranking if name in features for column in encoder.raw_columns_of(name)]
    seen = set(encoder.feature_of_.tolist())
    columns = [at for at in dict.fromkeys([*ordered, *sorted(seen)]) if at in seen][:MOST_INPUTS]
    values, kinds = np.zeros((most, len(columns))), np.zeros((most, len(columns)), dtype=np.uint8)
    by_name = cells_of(encoder, rows.table)
    forms = {form["name"]: form for form in encoder_form(encoder)["columns"]}
    for at, column in enumerate(columns):
        levels = {level: code for code, (level, _) in enumerate(forms[names[column]].get("levels", ()))}
        for row, cell in enumerate(by_name[names[column]]):
            if isinstance(cell, list):
                kinds[row, at] = cell[0]
            else:
                values[row, at] = levels.get(cell, len(levels)) if isinstance(cell, str) else cell
    shown, texts = np.asarray(numbers)[:most], None
    if free := [name for name in encoder.schema_.of_kind("text") if name in encoder.scores_.columns]:
        texts = rows.table[free].reset_index(drop=True)
    return ChangeableRows(shown, rows.encoded, np.array(columns, dtype=np.int64), values, kinds, texts)


def changeable(work: Work) -> None:
    """Fill ``changeable``: the rows explained, so that a row is divided in one way, and drawn ones."""
    main, notable = work.content.explanation, work.content.notable
    assert main is not None
    noted = np.flatnonzero(np.isin(work.explained.numbers, [] if notable is None else notable.numbers))
    places = pd.unique(np.concatenate([work.explained_places, noted, work.drawn]))
    rows = work.explained.take(places[:MOST_ROWS])
    work.put(changeable=rows_of(work.model.model, rows.inputs, rows.numbers, main.ranking()))
