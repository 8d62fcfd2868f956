"""Read an estimator of permgrad: rows and background by its encoder."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.request.arguments import EncodedBackground
from permgrad.attribution.request.encoded_features import table_space
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.request.read_rows import (
    Background,
    ReadRows,
    donors_for,
    passed_background,
)
from permgrad.attribution.subject.encoded import HybridSubject
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.base.arrays import Floats32
from permgrad.base.errors import InputError, listed
from permgrad.base.late import is_frame
from permgrad.models.estimators.kept_rows import (
    TRAINING_ROWS,
    kept_rows,
    rows_compared,
)

#: At least this many explained rows serve as their own background.
_OWN_BACKGROUND = 200


def read_estimator(call: MethodCall) -> ReadRows:
    """Return an estimator with its encoded rows, background and features.

    Raises:
        InputError: The rows are not those of a table like the training rows.
    """
    arguments = call.arguments
    subject = HybridSubject(arguments.model.model)
    inputs = subject.read(arguments.X)
    if len(inputs[0]) == 0:
        raise InputError(
            "X has no rows", hint="Pass the rows to explain.", code="PG013"
        )
    background = _read_background(call, subject, inputs)
    encoder = subject.preprocessor
    space = table_space(encoder, call)
    as_one = {}
    if arguments.level.of_features:
        as_one = encoder.groups_
    explained = SubjectRows(subject, inputs, background.donors, space)
    return ReadRows(explained, background, as_one, subject.table(arguments.X))


def _read_background(
    call: MethodCall, subject: HybridSubject, inputs: tuple[Tensor, ...]
) -> Background:
    """Return the rows to compare with: the user's, else many explained rows
    themselves, else training rows that the estimator keeps.
    """
    by_row = call.scope.by_row
    passed = passed_background(call)
    kind = passed.kind
    donors = inputs
    if isinstance(passed.rows, EncodedBackground):
        donors = (_as_tensor(passed.rows.rows),)
        kind = passed.rows.kind
    elif passed.rows is not None:
        encoded = encode_background(subject.model, passed.rows)
        donors = donors_for(inputs, (_as_tensor(encoded),), call)
    elif len(inputs[0]) < _OWN_BACKGROUND or by_row:
        donors = (_as_tensor(kept_rows(subject.model)),)
        kind = TRAINING_ROWS
    compared = None
    if by_row and kind == TRAINING_ROWS:
        compared = rows_compared(subject.model)
    return Background(donors, kind, passed.drawn_from, compared)


def _as_tensor(encoded: Floats32) -> Tensor:
    """Return encoded rows as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(encoded))


def encode_background(model: Any, background: Any) -> Floats32:
    """Return rows for ``background=`` as a fitted estimator's network sees them.

    Args:
        model: The estimator.
        background: Rows in the user's form.

    Returns:
        ``(donors, encoded)``.

    Raises:
        InputError: They are not rows like the training rows. It speaks of the
            background.
    """
    trained = []
    for column_name in getattr(model, "feature_names_in_", ()):
        trained.append(str(column_name))
    if is_frame(background):
        names = list(map(str, background.columns))
    else:
        names = trained
    if trained and names != trained and len(set(names)) == len(names):
        # Without names in training, only the number of columns is checked.
        missing = [column_name for column_name in trained if column_name not in names]
        further = [column_name for column_name in names if column_name not in trained]
        pairs = (("lacks", missing), ("also has", further))
        faults = []
        for fault_word, columns in pairs:
            if columns:
                faults.append(f"{fault_word} {listed(columns, show=repr)}")
        if missing:
            hint = "Pass rows like X."
        else:
            hint = "Pass background[model.feature_names_in_]."
        raise InputError(
            "background must have the columns of the training data in the same order, "
            f"but it {' and '.join(faults) or 'has them in another order'}",
            hint=hint,
            code="PG038",
        )
    if hasattr(background, "__len__") and len(background) == 0:
        raise InputError(
            "background has no rows", hint="Pass rows like X.", code="PG038"
        )
    try:
        encoded: Floats32 = model.encode_rows(background).encoded
    except InputError as error:
        # The estimator calls these rows X.
        problem = re.sub(r"(?<!['\w])X(?!['\w])", "background", error.problem)
        hint = re.sub(r"(?<!['\w])X(?!['\w])", "background", error.hint)
        problem = " ".join(problem.splitlines())
        if "background" not in problem:
            problem = f"background: {problem}"
        raise InputError(problem, hint=hint, code=error.code) from error
    return encoded
