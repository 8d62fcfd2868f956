"""The encoded rows of its training table that a fitted model keeps, and a model without
them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats32, Integers
from permgrad.base.errors import InputError, must
from permgrad.base.random import generator
from permgrad.models.row_background import rows_to_compare

#: What the rows that a model keeps are called, and those that a user passes to compare
#: with.
TRAINING_ROWS = "training rows"
PASSED_ROWS = "given"


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedRows:
    """Training rows that a model of another library keeps, because single rows are
    compared with them.

    ``encoded`` ``(rows, encoded)``, drawn from ``drawn_from`` training rows.
    """

    encoded: Floats32
    drawn_from: int

    @classmethod
    def of(
        cls, encoded: Floats32, weights: Array | None = None, seed: int = 0
    ) -> ComparedRows:
        """Choose them of the encoded training rows ``(rows, encoded)``."""
        return cls(encoded[rows_to_compare(encoded, weights, seed)], len(encoded))

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], width: int
    ) -> ComparedRows | None:
        """Read them back, or None where a model keeps none."""
        if "compared" not in arrays:
            return None
        encoded = arrays["compared"]
        count = arrays["compared_of"]
        fits = encoded.dtype == np.float32 and encoded.shape[1:] == (width,)
        must(fits, f"rows to compare with of {encoded.dtype} {encoded.shape}")
        must(len(encoded) and np.isfinite(encoded).all(), "no rows to compare with")
        must(count.shape == () and count.dtype.kind in "iu", "their number")
        return cls(encoded, int(count))

    def arrays(self) -> dict[str, Array]:
        """Return what is saved of them."""
        return {"compared": self.encoded, "compared_of": np.array(self.drawn_from)}


def draw_background(
    model: Any, rows: Floats32, target: Array, weights: Array | None = None
) -> None:
    """Keep some of the encoded training rows, from which explanations draw donors.

    Among them are the rows that single rows are compared with.
    """
    from permgrad.models.estimators.presets import (
        get_preset,
    )  # trains, and explanations read kept rows alone

    most_rows = get_preset(model.preset).background_size
    compared = rows_to_compare(rows, weights, model.seed_)
    first = np.unique(compared)[:most_rows]
    order = generator(model.seed_, "background").permutation(len(target))
    remaining_rows = order[~np.isin(order, first)]
    background_rows = np.sort(
        np.append(first, remaining_rows[: most_rows - len(first)])
    )
    model.background_, model.background_target_ = (
        rows[background_rows],
        target[background_rows],
    )
    compared = compared[np.isin(compared, background_rows)]
    model.rows_compared_ = np.searchsorted(background_rows, compared)


def rows_compared(model: Any) -> Integers:
    """Return which of the rows that a model keeps single rows are compared with,
    ``(rows,)``.

    A model that was saved without them, or trained in parts, has them chosen of the
    rows that it keeps.
    """
    compared_indices: Integers | None = getattr(model, "rows_compared_", None)
    if compared_indices is not None and len(compared_indices):
        return compared_indices
    return rows_to_compare(kept_rows(model), seed=model.seed_)


def kept_rows(model: Any) -> Any:
    """Return the training rows that a model keeps, as it encoded them.

    Refuse a model that was saved without any.
    """
    if rows_in(model)[0]:
        return model.background_
    problem = (
        "This model was saved without rows of its training table, from which "
        "replacement values would come"
    )
    background_hint = (
        "Pass background= with rows like X, or save the model with its rows."
    )
    raise InputError(problem, hint=background_hint, code="PG038")


def rows_in(model: Any) -> tuple[int, int]:
    """Return how many encoded rows a model keeps: of training, and those that were held
    out of it.
    """
    background_rows = getattr(model, "background_", ())
    held_out_rows = getattr(model, "held_out_", None)
    return len(background_rows), 0 if held_out_rows is None else len(held_out_rows.x)


def count_rows(model: Any) -> int:
    """Return how many encoded rows of the table are saved with a model."""
    compared: ComparedRows | None = getattr(model, "compared_", None)
    return sum(rows_in(model)) + (0 if compared is None else len(compared.encoded))


def without_rows(model: Any) -> Any:
    """Return a copy that keeps no rows, only how often each class is among those it
    had.
    """
    lean_model = copy.copy(model)
    target = np.asarray(model.background_target_)
    lean_model.background_ = model.background_[:0]
    lean_model.rows_compared_ = np.zeros(0, dtype=np.int64)
    # In the order of the classes, which says nothing of a row.
    if hasattr(model, "classes_"):
        lean_model.background_target_ = target[np.argsort(target.astype(str))]
    else:
        lean_model.background_target_ = target[:0]
    if (held_out_rows := getattr(model, "held_out_", None)) is not None:
        lean_model.held_out_ = dataclasses.replace(held_out_rows, x=held_out_rows.x[:0])
    return lean_model
