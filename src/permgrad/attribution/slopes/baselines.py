"""What rows are compared with by methods that explain the difference to a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.subject.subject import mean_row
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, shown, text_of, unknown
from permgrad.base.random import generator

BASELINES = ("zeros", "mean", "median", "background")
_CLASS = "class:"
#: Numbers that a mean or a median is taken over, at most: enough for either, and bounded in memory.
_SUMMARISED_NUMBERS = 20_000_000


@dataclass(frozen=True)
class Baseline:
    """What rows are compared with on average, ``(baselines, *)`` per input, as it was asked for, and in words."""

    rows: tuple[Tensor, ...]
    name: str
    words: str


def baseline_rows(request: Request, choice: Any, references: int, reference_class: Any = None) -> Baseline:
    """Return the rows that the explained rows are compared with; ``choice`` is as ``IntegratedGradients`` says."""
    if not isinstance(choice, str):
        return _users_rows(request, choice, reference_class)
    if choice == "auto":
        choice = "median" if request.subject.encoded_names or not request.shared else "zeros"
    named_class = choice.startswith(_CLASS)
    if not named_class and choice not in BASELINES:
        raise _unknown(request, choice)
    if reference_class is not None and (named_class or choice == "zeros"):
        raise InputError(
            "reference_class says whose mean, median or background is the baseline, "
            f"however: reference_class={shown(reference_class)} and baseline={choice!r}; pass one of them"
        )
    if choice == "zeros":
        rows = tuple(torch.zeros_like(tensor[:1]) for tensor in request.inputs)
        return Baseline(rows, choice, f"every {'encoded ' if request.subject.encoded_names else ''}input at 0")
    return _of_background(
        request, choice, label=choice.removeprefix(_CLASS) if named_class else reference_class, most=references
    )


def _of_background(request: Request, choice: str, *, label: Any, most: int) -> Baseline:
    """Return the background rows, or their mean or typical row; ``label``: those of one class."""
    rows = request.donors
    where = "background rows" if request.background_kind == "given" else request.background_kind
    if label is not None:
        position, name = _class_of(request, label)
        rows, where = tuple(tensor[position] for tensor in rows), f"{where} of class {name}"
    count, encoded = len(rows[0]), bool(request.subject.encoded_names)
    widest = max(tensor[:1].numel() for tensor in rows)
    average = choice not in ("mean", "median")
    most = most if average else max(50, _SUMMARISED_NUMBERS // widest)
    few = f"{most:,} of " if count > most else ""
    if few:
        chosen = np.sort(generator(request.seed, "baseline references").permutation(count)[:most])
        rows = tuple(tensor[torch.as_tensor(chosen, device=tensor.device)] for tensor in rows)
    if average:
        words = f"average over {few}{count:,} {where} (expected gradients)"
        return Baseline(tuple(tensor.clone() for tensor in rows), choice, words)
    if choice == "mean":
        row, what = tuple(map(mean_row, rows)), "mean of the encoded inputs" if encoded else "mean of each input"
    else:
        what = "median of numbers and most frequent level" if encoded else "median of each input"
        row = request.subject.typical(rows)
    return Baseline(row, choice, f"{what} over {len(rows[0]):,} {where}")


def _users_rows(request: Request, rows: Any, reference_class: Any) -> Baseline:
    """Read the rows that the user gave."""
    if reference_class is not None:
        raise InputError(
            "reference_class chooses among the model's background rows, "
            f"however: reference_class={shown(reference_class)} and baseline= is a table; leave one of them out"
        )
    if request.subject.encoded_names:
        if isinstance(rows, pd.Series):
            rows = rows.to_frame().T.infer_objects()
        elif not isinstance(rows, pd.DataFrame):
            if not isinstance(rows, (list, tuple)) and np.ndim(rows) == 0:
                raise _unknown(request, rows)
            rows = np.atleast_2d(np.asarray(rows))
        if len(rows) == 0:
            raise InputError("baseline must hold at least one row, however: it has none; pass a row like the inputs")
    tensors = request.subject.read(rows)
    count = len(tensors[0])
    words = "a row given by the user" if count == 1 else f"average over {count:,} rows given by the user"
    return Baseline(tensors, "given", words)


def _unknown(request: Request, choice: Any) -> InputError:
    if request.subject.encoded_names:
        return unknown("baseline", choice, (*BASELINES, "class:<label>", "a table of rows"))
    return unknown("baseline", choice, ("auto", *BASELINES, "rows in the form of the inputs"))


def _class_of(request: Request, label: Any) -> tuple[Tensor, str]:
    """Return the background rows of one class and its name; the class may be given by its value or its text."""
    subject, classes = request.subject, request.subject.background_classes
    if subject.task != "classification":
        raise InputError(
            f"a reference class needs a classifier, however: class {shown(label)} of a regression model; "
            "pass baseline='median', or rows"
        )
    if classes is None:
        raise InputError(
            "a reference class is chosen among the training rows that a permgrad estimator keeps, however: model is a "
            "torch network; pass baseline= with rows of that class instead"
        )
    if request.background_kind == "given":
        raise InputError(
            "a reference class is chosen among the training rows kept in the model, whose classes are known, "
            "however: background= is given; pass baseline= with rows of that class instead"
        )
    names = list(subject.class_names)
    check_choice("reference class", text_of(label), names)
    position = names.index(text_of(label))
    chosen = np.flatnonzero(classes == position)
    if not len(chosen):
        raise InputError(
            f"a reference class must have rows in the background kept in the model, however: class {names[position]!r} "
            "has none; fit with a larger background_size or pass baseline= with rows of that class"
        )
    return torch.as_tensor(chosen), repr(names[position])
