"""The encoded rows of its training table that a fitted model keeps, and a model without them."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats32
from permgrad.base.errors import InputError
from permgrad.base.random import generator


def draw_background(model: Any, rows: Floats32, target: Array) -> None:
    """Keep some of the encoded training rows, from which explanations draw donors."""
    from permgrad.models.estimators.presets import (
        get_preset,
    )  # trains, and explanations read kept rows alone

    most = get_preset(model.preset).background_size
    chosen = np.sort(
        generator(model.seed_, "background").permutation(len(target))[:most]
    )
    model.background_, model.background_target_ = rows[chosen], target[chosen]


def kept_rows(model: Any) -> Any:
    """Return the training rows that a model keeps, as it encoded them. Refuse a model that was saved without any."""
    if rows_in(model)[0]:
        return model.background_
    problem = "This model was saved without rows of its training table, from which replacement values would come"
    hint = "Pass background= with rows like X, or save the model with its rows."
    raise InputError(problem, hint=hint, code="PG038")


def rows_in(model: Any) -> tuple[int, int]:
    """Return how many encoded rows a model keeps: of training, and those that were held out of it."""
    kept, held = getattr(model, "background_", ()), getattr(model, "held_out_", None)
    return len(kept), 0 if held is None else len(held.x)


def without_rows(model: Any) -> Any:
    """Return a copy that keeps no rows, only how often each class is among those it had."""
    lean, target = copy.copy(model), np.asarray(model.background_target_)
    lean.background_ = model.background_[:0]
    # In the order of the classes, which says nothing of a row.
    lean.background_target_ = (
        target[np.argsort(target.astype(str))]
        if hasattr(model, "classes_")
        else target[:0]
    )
    if (held := getattr(model, "held_out_", None)) is not None:
        lean.held_out_ = dataclasses.replace(held, x=held.x[:0])
    return lean
