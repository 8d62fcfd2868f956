"""Explanations of a network that reads images and a table, row by row as it was trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.base.arrays import Array
from permgrad.models.estimators.kept_rows import rows_in
from permgrad.models.images.features import PATCHES

if TYPE_CHECKING:
    from permgrad.models.estimators.image_table import ImageTableModel, Records
    from permgrad.models.estimators.prepared import EncodedRows


def explain_records(
    model: ImageTableModel, records: Records | EncodedRows, y: Array | None = None, **options: Any
) -> Explanation:
    """Explain a network of images and a table. Players are raw columns and segments of the images."""
    inputs, y, arguments = _arguments(model, records, y)
    if options.get("level") != "modality":
        # One grid for all methods: a patch always has the same name and place.
        arguments |= {"groups": model.groups_, "segments": ("grid", PATCHES)}
    explanation = explain(model.module_, inputs, y, **{**arguments, **options})
    if explanation.scope == "global":
        # Values over all rows are drawn on the mean image.
        means = {f"images:{image.name}": inputs[image.name].mean(axis=0, keepdims=True) for image in model.images_}
        explanation = replace(explanation, maps=means | explanation.maps)
    if explanation.scope == "local" and explanation.level != "modality":
        names = [name for name in explanation.names if name in records.table.columns]
        values = records.table[names].reset_index(drop=True) if names else None
        explanation = replace(explanation, feature_values=values)
    # The encoded columns of one raw column form one group, which is called by the raw column.
    return replace(explanation, level="feature", groups={}) if explanation.level == "group" else explanation


def _arguments(
    model: ImageTableModel, records: Records | EncodedRows, y: Any
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Return the inputs of the network, the targets in its form, and the arguments that describe it."""
    arguments: dict[str, Any] = {"task": model.task, "progress": "auto"}
    arguments |= {"background": model.background()} if rows_in(model)[0] else {}
    if model.task == "classification":
        arguments |= {"output_kind": "logits", "class_names": [str(label) for label in model.classes_.tolist()]}
        # By name: if classes are 1, 2, 3, a position would be taken for a name.
        y = None if y is None else np.array([str(label) for label in np.asarray(y).astype(model.classes_.dtype)])
    return model.inputs(records), y, arguments
