"""What a row is compared with in methods that explain the difference to a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.method import Request
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, text_of, unknown
from permgrad.base.random import generator

Rows = npt.NDArray[np.float32]

BASELINES = ("zeros", "mean", "median", "background")
_NAMES = (*BASELINES, "class:<label>", "a table of rows")
_CLASS = "class:"
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


@dataclass(frozen=True)
class Baseline:
    """What the explained rows are compared with.

    Attributes:
        rows: encoded, ``(baselines, encoded)``; results are averaged over them.
        name: as it was asked for.
        words: what it is, fit to be shown beside a plot.
    """

    rows: Rows
    name: str
    words: str


def baseline_rows(request: Request, given: Any, references: int, reference_class: Any = None) -> Baseline:
    """Return the rows that the explained rows are compared with, on average, and what to call them.

    They never come from the rows explained, so that a row's explanation does not depend on its neighbours in the call.

    Args:
        request: the call.
        given: ``"zeros"``: every encoded column 0; ``"mean"``; ``"median"``: see ``median_row``; ``"background"``: up
            to ``references`` background rows; ``"class:<label>"``: up to ``references`` background rows of one class;
            or rows like those explained (a frame, a series, an array).
        references: how many background rows.
        reference_class: a class; mean, median and background are then those of its rows.

    Raises:
        InputError: An unknown name or class, a class where there is none, or a table without rows.
    """
    if not isinstance(given, str):
        return _given_rows(request, given, reference_class)
    named_class = given.startswith(_CLASS)
    if not named_class and given not in BASELINES:
        raise unknown("baseline", given, _NAMES)
    if reference_class is not None and (named_class or given == "zeros"):
        raise InputError(
            "reference_class says whose mean, median or background is the baseline, "
            f"however: reference_class={reference_class!r} and baseline={given!r}; pass one of them"
        )
    if given == "zeros":
        return Baseline(np.zeros((1, request.encoded.shape[1]), dtype=np.float32), given, "every encoded input at 0")
    rows, where = background_rows(request)
    label = given.removeprefix(_CLASS) if named_class else reference_class
    if label is not None:
        rows, shown = _of_class(request, rows, label)
        where = f"{where} of class {shown}"
    if given == "mean":
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)[None]
        return Baseline(mean, given, f"mean of the encoded inputs over {len(rows):,} {where}")
    if given == "median":
        encoder: Any = request.subject.preprocessor
        median = median_row(rows, encoder.kinds_, encoder.features("feature").values())[None]
        return Baseline(median, given, f"median of numbers and most frequent level over {len(rows):,} {where}")
    known = len(rows)
    if known > references:
        chosen = generator(request.seed, "baseline references").permutation(known)[:references]
        rows = rows[np.sort(chosen)]
    few = f"{len(rows):,} of {known:,}" if len(rows) < known else f"{known:,}"
    return Baseline(np.ascontiguousarray(rows), given, f"average over {few} {where} (expected gradients)")


def _given_rows(request: Request, given: Any, reference_class: Any) -> Baseline:
    """Encode the rows that the user gave."""
    if reference_class is not None:
        raise InputError(
            "reference_class chooses among the model's background rows, "
            f"however: reference_class={reference_class!r} and baseline= is a table; leave one of them out"
        )
    frame = given
    if isinstance(given, pd.Series):
        frame = given.to_frame().T.infer_objects()
    elif not isinstance(given, pd.DataFrame):
        if not isinstance(given, (list, tuple)) and np.ndim(given) == 0:
            raise unknown("baseline", given, _NAMES)
        frame = np.atleast_2d(np.asarray(given))
    if len(frame) == 0:
        raise InputError("baseline must hold at least one row, however: it has none; pass a row like the inputs")
    subject: Any = request.subject
    rows: Rows = subject.encode(frame)
    words = "a row given by the user" if len(rows) == 1 else f"average over {len(rows):,} rows given by the user"
    return Baseline(rows, "given", words)


def background_rows(request: Request) -> tuple[Rows, str]:
    """Return the rows that baselines are taken from, and what they are."""
    if request.background_kind == "given":
        return request.encoded if request.background is None else request.background, "background rows"
    subject: Any = request.subject
    return subject.background, "training rows"


def _of_class(request: Request, rows: Rows, label: Any) -> tuple[Rows, str]:
    """Return the background rows of one class and the class's name; the class may be given by its value or its text."""
    subject: Any = request.subject
    if subject.task != "classification":
        raise InputError(
            f"a reference class needs a classifier, however: class {label!r} of a regression model; "
            "pass baseline='median', or rows"
        )
    if request.background_kind == "given":
        raise InputError(
            "a reference class is chosen among the training rows kept in the model, whose classes are known, "
            "however: background= is given; pass baseline= with rows of that class instead"
        )
    names = list(subject.class_names)
    check_choice("reference class", text_of(label), names)
    position = names.index(text_of(label))
    chosen = rows[np.asarray(subject.model.background_target_) == position]
    if not len(chosen):
        raise InputError(
            f"a reference class must have rows in the background kept in the model, however: class {names[position]!r} "
            "has none; fit with a larger background_size or pass baseline= with rows of that class"
        )
    return chosen, repr(names[position])
