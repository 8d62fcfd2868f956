"""Outputs by place, such as maps and a label for each token, compared with ``y``.

A layout says which dimension of the output holds the labels, and whether ``y`` names
one label at each place or has a number for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.subject.outputs import (
    OutputForm,
    as_target,
    resolve_outputs,
)
from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.errors import InputError, by_count, counted
from permgrad.data.tasks import OF_OUTPUTS
from permgrad.models.losses import Loss

#: Labels of places that have none, by the conventions of losses and of image files.
_VOID = (-100, 255)
#: Dimensions of one row's output that is a sequence of places with labels.
_SEQUENCE = 2

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How ``y`` lies on the output of one row.

    Attributes:
        shape: that of one row's output.
        axis: the dimension of its labels (None: one number at each place).
        several: whether ``y`` has a number for each label, not one label a place.
        size: how many labels there are.
    """

    shape: Shape
    axis: int | None
    several: bool

    @property
    def size(self) -> int:
        """Return the number of labels of a place."""
        if self.axis is None:
            return 1
        return self.shape[self.axis]

    @property
    def places(self) -> Shape:
        """Return the shape of one row's places."""
        return tuple(
            dimension_size
            for dimension, dimension_size in enumerate(self.shape)
            if dimension != self.axis
        )

    def of(self, numbers: Tensor) -> Tensor:
        """Return the numbers of each place, ``(rows, places, labels)``."""
        output_maps = numbers.reshape(len(numbers), *self.shape)
        if self.axis is not None:
            output_maps = output_maps.movedim(1 + self.axis, -1)
        return output_maps.reshape(len(numbers), -1, self.size)

    def targets(self, y: Array) -> Array:
        """Return ``y`` at each place, ``(rows, places)``, with several ``(…,
        labels)``.
        """
        if not self.several:
            return y.reshape(len(y), -1)
        shaped = y.reshape(len(y), *self.shape)
        moved = np.moveaxis(shaped, 1 + (self.axis or 0), -1)
        return moved.reshape(len(y), -1, self.size)


def layout_of(shape: Sequence[int], y: Any, sizes: Iterable[int] = ()) -> Layout | None:
    """Return how ``y`` lies on outputs, or None where it does not.

    Args:
        shape: that of one row's output.
        y: targets of all rows.
        sizes: those of one row's inputs. A dimension of an output that is none of them
            holds the labels.
    """
    shape = tuple(shape)
    masks = as_target(y)
    mask_shape = tuple(masks.shape[1:])
    if len(shape) == 1:
        has_void = bool(_unnamed(masks).any()) and _are_switches(masks)
        fits_outputs = mask_shape == shape and has_void
        if fits_outputs:
            return Layout(shape, None, several=False)
        return None
    if not mask_shape:
        return None
    labels = _labels_axis(shape, sizes)
    if mask_shape == shape:
        alone = labels is None or shape[labels] == 1
        return Layout(shape, labels, several=not alone)
    first = mask_shape in (shape[1:], (1, *shape[1:]))
    labels_last = mask_shape == shape[:-1]
    if len(shape) > _SEQUENCE:  # as of images whose channels come last
        labels_last = labels_last and set(mask_shape) <= set(sizes)
    if first and labels_last:
        labels_last = len(shape) == _SEQUENCE and labels == 1
        first = not labels_last
    if first:
        axis = 0
    else:
        axis = len(shape) - 1
    if first or labels_last:
        return Layout(shape, axis, several=False)
    return None


def _labels_axis(shape: Shape, sizes: Iterable[int]) -> int | None:
    """Return which dimension holds labels: of maps the first, else one of no input."""
    if len(shape) > _SEQUENCE:
        return 0
    input_sizes = set(sizes)
    strange = []
    for axis, dimension_size in enumerate(shape):
        if dimension_size not in input_sizes:
            strange.append(axis)
    if len(strange) == 1:
        return strange[0]
    return None


# ---- places that have no label -------------------------------------------------------
def _unnamed(y: Array) -> Booleans:
    """Return where ``y`` has a number that conventions leave out of a loss."""
    unnamed = np.zeros(y.shape, dtype=bool)
    if y.dtype.kind == "f":
        unnamed[np.isnan(y)] = True
    unnamed[np.isin(y, _VOID)] = True
    return unnamed


def _are_switches(y: Array) -> bool:
    """Return whether ``y`` holds 0 and 1, apart from places without a label."""
    if y.dtype.kind not in "fiub":
        return False
    return bool(np.isin(y[~_unnamed(y)], (0, 1)).all())


def void_places(y: Array, layout: Layout, class_names: Iterable[str] = ()) -> Booleans:
    """Return which places of ``y`` have no label, ``(rows, places)``.

    They hold −100 or 255 where labels are classes or switches, or no number.
    """
    targets = layout.targets(y)
    if targets.dtype.kind not in "fiu":
        return np.zeros(targets.shape[:2], dtype=bool)
    void_mask = np.zeros(targets.shape, dtype=bool)
    classes = layout.size > 1 and not layout.several
    if classes or _are_switches(y):
        names = set(class_names)
        codes = []
        for void_code in _VOID:
            if str(void_code) not in names and not 0 <= void_code < layout.size:
                codes.append(void_code)
        void_mask[np.isin(targets, codes)] = True
    if targets.dtype.kind == "f":
        void_mask[np.isnan(targets)] = True
    if not layout.several:
        return void_mask
    place_mask: Booleans = np.any(void_mask, axis=2)
    return place_mask


# ---- what outputs mean at one place, and their loss ----------------------------------
def form_of_places(
    outputs: Tensor, layout: Layout, y: Any, **described: Any
) -> tuple[OutputForm, dict[str, int]]:
    """Return the meaning of outputs at one place, and how many places there are.

    Args:
        outputs: of the first rows, ``(rows, K)``, as they are flattened.
        layout: how ``y`` lies on them.
        y: the targets of all rows.
        described: what is said of outputs, for ``resolve_outputs``.

    Raises:
        InputError: A row has no place with a label.
    """
    masks = as_target(y)
    names = described.get("class_names") or ()
    names = list(map(str, names))
    void_mask = void_places(masks, layout, names)
    empty = int(void_mask.all(axis=1).sum())
    if empty:
        has = by_count(empty, "has", "have")
        problem = f"{counted(empty, 'row')} of y {has} no place with a label"
        hint = f"Leave {by_count(empty, 'that row', 'those rows')} out"
        raise InputError(problem, hint=hint, code="PG015")
    targets = layout.targets(masks)[~void_mask]
    numbers = layout.of(outputs).flatten(0, 1)
    place_form = resolve_outputs(numbers, targets, **described)
    return place_form, {"void": int(void_mask.sum()), "of": int(void_mask.size)}


def loss_of_places(
    form: OutputForm, layout: Layout, loss: Loss, label: int | None = None
) -> Loss:
    """Return the mean of a place's loss over a row's places that have a label.

    Args:
        form: The meaning of outputs at one place.
        layout: How y lies on them.
        loss: Of a place.
        label: The label that is told from the others. None: all are.
    """
    words = f"{loss}, mean over places"
    if label is not None:
        words = f"{loss} of {form.output_names[label]}, mean over places"

    def mean(outputs: Floats, y: Any) -> Floats:
        masks = as_target(y)
        void_mask = void_places(masks, layout, form.class_names)
        targets = _encoded(form, layout.targets(masks)[~void_mask])
        place_outputs = layout.of(torch.from_numpy(outputs))[
            torch.from_numpy(~void_mask)
        ]
        if label is None:
            losses = form.loss_rows(place_outputs, targets, loss)
        else:
            losses = _of_label(form, place_outputs, targets, loss, label)
        row_indices = np.nonzero(~void_mask)[0]
        total = np.bincount(row_indices, weights=losses, minlength=len(masks))
        return total / (~void_mask).sum(axis=1)

    return Loss(words, mean, OF_OUTPUTS, returned=True, trains=False)


def _encoded(form: OutputForm, targets: Array) -> Array:
    """Return targets as a loss takes them. Of classes each is looked up once."""
    if targets.ndim > 1:
        return form.encode_target(targets, len(targets))
    levels, level = np.unique(targets, return_inverse=True)
    return form.encode_target(levels, len(levels))[level.reshape(-1)]


def _of_label(
    form: OutputForm,
    place_outputs: Tensor,
    targets: Array,
    loss: Loss,
    label: int,
) -> Floats:
    """Return the loss of one label at each place: of a class against all others."""
    if not form.task.has_classes:
        return replace(form, loss_columns=(label,)).loss_rows(
            place_outputs, targets, loss
        )
    if form.count == 1:
        return form.loss_rows(place_outputs, targets, loss)
    names = ("others", form.class_names[label])
    alone = replace(
        form, kind="probabilities", count=1, class_names=names, output_names=names[1:]
    )
    chance = form.probabilities(place_outputs.double())[:, [label]]
    return alone.loss_rows(chance, (targets == label).astype(np.int64), loss)


# ---- y that does not fit -------------------------------------------------------------
def in_words(sizes: Iterable[Any]) -> str:
    """Return a shape whose first size is that of the rows."""
    return f"(rows, {', '.join(map(str, sizes))})"


def taken_in_words(shape: Sequence[int]) -> str:
    """Say which targets are compared with outputs of a shape, place by place."""
    shape = tuple(shape)
    if len(shape) == _SEQUENCE:
        return (
            f"{in_words(shape[:-1])} or {in_words(shape[1:])} with a label at each "
            f"place, or {in_words(shape)} with 0 or 1 for each label"
        )
    return (
        f"{in_words(shape[1:])} with a label at each place, or {in_words(shape)} with "
        "0 or 1 for each label"
    )


def unfit(shape: Sequence[int], y: Any) -> InputError:
    """Return the error of targets that do not lie on outputs by place.

    Args:
        shape: Of one row's outputs.
        y: The targets.
    """
    shape_words = in_words(np.shape(as_target(y))[1:])
    return InputError(
        f"y {shape_words} does not fit the network's output {in_words(shape)}",
        hint=f"Pass y {taken_in_words(shape)}: pg.explain(net, X, y). To compare "
        "others, pass loss= a function (outputs, y) -> (rows,)",
        code="PG007",
    )
