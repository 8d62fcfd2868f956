"""What must hold of any table: it is refused in one sentence, or encoded, trained on
and explained rightly.

Used by the quick set in the tests and by the long run,
``verification/verify_hostile.py``.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
from docs.error_codes import CODES
from explaining import donor_rows

import permgrad as pg
from permgrad.attribution.request import tuned
from permgrad.base.errors import PermgradError
from permgrad.data.encode.encoding import TableEncoder

#: Small enough to train in a moment.
SMALL = {"dense_units": [8], "conv_filters": [4], "fusion_units": [8]}
SCALINGS = ("robust", "standard", "minmax", "quantile")
#: Effects of float32 networks, in units of the loss scale, against the slow
#: recomputation.
TOLERANCE = 1e-5


class BrokenError(AssertionError):
    """A table that was neither refused nor answered rightly."""


def refusal(error: PermgradError) -> str:
    """Return what was said, if it states the problem and then a hint, as two sentences
    (or as rule, fact and fix).

    Raises:
        BrokenError: One of them is missing.
    """
    text = str(error)
    rule, fact_separator, remaining_text = text.partition(", however")
    sentences = re.fullmatch(r"[A-Z].*[.:)] [A-Z].*[.?]", text, flags=re.DOTALL)
    if (
        error.code not in CODES
        and not sentences
        and (not fact_separator or not rule.strip() or ";" not in remaining_text)
    ):
        raise BrokenError(f"a refusal states the problem and a hint, but: {text!r}")
    return text


def holds(condition: Any, what: str) -> None:
    """Raise ``BrokenError`` where a property does not hold; also under ``python
    -O``.
    """
    if not bool(condition):
        raise BrokenError(what)


def check_encoding(table: pd.DataFrame) -> str:
    """Encode a table; return "encoded", or the refusal.

    Encoded cells are finite; a row alone is encoded as among others; the table stays as
    it was.
    """
    before = table.copy(deep=True)
    encoder = TableEncoder(numeric=SCALINGS[len(table) % len(SCALINGS)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoded = encoder.fit(table).transform(table)
            alone = [
                encoder.transform(table.iloc[[row]])[0]
                for row in {0, len(table) // 2, len(table) - 1}
            ]
    except PermgradError as error:
        return refusal(error)
    holds(
        encoded.shape == (len(table), len(encoder.encoded_names_)),
        "one encoded row for each row",
    )
    holds(np.isfinite(encoded).all(), "encoded cells are finite")
    rows = encoded[list({0, len(table) // 2, len(table) - 1})]
    holds(
        np.array_equal(np.stack(alone), rows), "a row is encoded alone as among others"
    )
    pd.testing.assert_frame_equal(table, before)
    return "encoded"


def check_training(table: pd.DataFrame, y: Any, task: str) -> str:
    """Train for an epoch, predict and explain; return how far it came, or the refusal.

    Predictions are finite, probabilities add up to 1, and every effect is that of
    editing the table and predicting.
    """
    estimator = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = estimator(
                preset="fast",
                network=SMALL,
                max_epochs=1,
                random_state=0,
                progress=False,
            ).fit(table, y)
        except PermgradError as error:
            return refusal(error)
        _check_predictions(model, table)
        try:
            explained = pg.explain(
                model,
                table,
                y,
                method=tuned(pg.methods.PermGrad(), branches=False),
                background=table,
                n_repeats=1,
                random_state=0,
                progress=False,
            )
        except PermgradError as error:
            return "trained; " + refusal(error)
        _check_effects(model, table, y, explained)
    return "explained"


def _check_predictions(model: Any, table: pd.DataFrame) -> None:
    if not hasattr(model, "classes_"):
        holds(np.isfinite(model.predict(table)).all(), "predictions are finite")
        return
    shares = model.predict_proba(table)
    holds(
        shares.shape == (len(table), len(model.classes_)),
        "a probability for each row and class",
    )
    holds(np.allclose(shares.sum(axis=1), 1), "probabilities add up to 1")
    holds(
        set(model.predict(table).tolist()) <= set(model.classes_.tolist()),
        "predictions are classes",
    )


def _losses(model: Any, table: pd.DataFrame, y: Any) -> Any:
    if not hasattr(model, "classes_"):
        return (np.asarray(y, dtype=float).reshape(-1) - model.predict(table)) ** 2
    # Both by way of pandas: NumPy itself turns dates in nanoseconds, which pandas
    # before 3 gives, into whole numbers.
    class_positions = {
        label: number for number, label in enumerate(pd.Series(model.classes_).tolist())
    }
    class_codes = [class_positions[label] for label in pd.Series(y).tolist()]
    return -np.log(model.predict_proba(table)[np.arange(len(table)), class_codes])


def _check_effects(model: Any, table: pd.DataFrame, y: Any, explained: Any) -> None:
    """Compare with the slow way: the donors' cells are written into a copy of the
    table.
    """
    donors = table
    before = _losses(model, table, y)
    for position, name in enumerate(explained.names):
        # The rows are their own background: none is its own donor.
        donor_positions = donor_rows(
            0, name, 0, np.arange(len(table)), len(donors), shared=True
        )
        edited = table.copy()
        date_parts = model.preprocessor_.date_parts_
        for column in (
            [date_parts[name].column]
            if name in date_parts
            else model.preprocessor_.raw_columns_of(name)
        ):
            column_position = [
                str(column_label) for column_label in table.columns
            ].index(column)
            cells = donors.iloc[donor_positions, column_position].set_axis(edited.index)
            edited.isetitem(column_position, cells)
        if name in date_parts:  # of the other dates only what they say is taken
            donor_codes = model.encode_rows(edited).encoded[:, date_parts[name].places]
            edited = model.encode_rows(table.copy())
            edited.encoded[:, date_parts[name].places] = donor_codes
        after = _losses(model, edited, y)
        slow = float(np.mean(after - before))
        explained_effect = float(explained.values[position, 0])
        # What rounding does to a difference is a share of what it is the difference of.
        scale = max(
            float(explained.meta["loss_scale"]),
            float(np.abs(before).mean()),
            float(np.abs(after).mean()),
        )
        holds(np.isfinite(explained_effect), f"the effect of {name!r} is finite")
        holds(
            abs(explained_effect - slow) <= TOLERANCE * max(scale, 1e-300),
            f"the effect of {name!r} is {slow!r}, not {explained_effect!r}",
        )
