"""What a row is compared with in methods that explain the difference to a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad._errors import InputError, unknown
from permgrad._random import generator
from permgrad.attribution.method import Request

Rows = npt.NDArray[np.float32]

BASELINES = ("zeros", "mean", "median", "background")
#: Encoded columns of these kinds lie on a scale; all others switch between levels.
_ON_A_SCALE = ("numeric", "date_part")


def median_row(rows: Rows, kinds: Iterable[str], features: Iterable[npt.NDArray[np.intp]]) -> Rows:
    """Return a row that could stand in the table: medians of numbers, most frequent levels of categories.

    The levels of one feature (a one-hot block, a flag for missing values) are kept together, so that no half levels
    appear.

    Args:
        rows: ``(rows, encoded)``.
        kinds: of each encoded column, as in ``TableEncoder.kinds_``.
        features: the encoded columns of each feature.

    Examples:
        >>> rows = np.array([[1, 0, 1], [2, 0, 1], [9, 1, 0]], dtype=np.float32)
        >>> median_row(rows, ["numeric", "level", "level"], [np.array([0]), np.array([1, 2])]).tolist()
        [2.0, 0.0, 1.0]
    """
    row = np.median(rows, axis=0).astype(np.float32)
    switches = ~np.isin(np.asarray(list(kinds), dtype=object), _ON_A_SCALE)
    for columns in features:
        levels = np.asarray(columns, dtype=np.intp)
        levels = levels[switches[levels]]
        if levels.size:
            patterns, counts = np.unique(rows[:, levels], axis=0, return_counts=True)
            row[levels] = patterns[int(np.argmax(counts))]
    return row


def baseline_rows(request: Request, given: Any, references: int) -> tuple[Rows, str]:
    """Return the encoded rows that the explained rows are compared with, on average, and what to call them.

    They never come from the rows explained, so that a row's explanation does not depend on its neighbours in the call.

    Args:
        request: the call.
        given: ``"zeros"``: every encoded column 0; ``"mean"``; ``"median"``: see ``median_row``; ``"background"``: up
            to ``references`` background rows; or rows like those explained (a frame, a series, an array).
        references: how many background rows.

    Returns:
        ``(baselines, encoded)`` and the name.

    Raises:
        InputError: An unknown name, or a table without rows.
    """
    subject: Any = request.subject
    rows = (
        request.background
        if request.background is not None and request.background_kind == "given"
        else subject.background
    )
    if not isinstance(given, str):
        frame = given
        if isinstance(given, pd.Series):
            frame = given.to_frame().T.infer_objects()
        elif not isinstance(given, pd.DataFrame):
            frame = np.atleast_2d(np.asarray(given))
        if len(frame) == 0:
            raise InputError("baseline must hold at least one row, however: it has none")
        own: Rows = subject.encode(frame)
        return own, "given row" if len(own) == 1 else f"mean over {len(own)} given rows"
    if given not in BASELINES:
        raise unknown("baseline", given, (*BASELINES, "a table of rows"))
    if given == "zeros":
        return np.zeros((1, request.encoded.shape[1]), dtype=np.float32), given
    if given == "mean":
        return rows.mean(axis=0, dtype=np.float64).astype(np.float32)[None], given
    if given == "median":
        encoder = subject.preprocessor
        return median_row(rows, encoder.kinds_, encoder.features("feature").values())[None], given
    if len(rows) > references:
        chosen = generator(request.seed, "baseline references").permutation(len(rows))[:references]
        rows = rows[np.sort(chosen)]
    return np.ascontiguousarray(rows), given
