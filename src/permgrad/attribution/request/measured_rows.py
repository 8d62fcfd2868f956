"""What is measured of a row: outputs and a loss, with y as the loss takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from permgrad.attribution.request.asked_outputs import AskedOutputs, resolve_targets
from permgrad.attribution.request.class_scores import check_classes
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.subject.outputs import as_target
from permgrad.attribution.subject.row_target import (
    RowTarget,
    each_row_by_itself,
    outputs_of,
)
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import InputError
from permgrad.data.tasks import REGRESSION
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.models.losses import Loss, TargetRows

#: Outputs that are explained one by one where nobody asks for them.
_MOST_OUTPUTS = 100
#: Rows on which a callable loss is tried out before any work starts.
_TRIED = 256


class ReadY(NamedTuple):
    """The user's y.

    Attributes:
        y: As the loss takes it, rows first. None: there is none.
        classes: The class of each row, ``(rows,)``. None: there are no classes.
    """

    y: Any
    classes: Integers | None


@dataclass(frozen=True)
class MeasuredRows:
    """What is measured of the rows.

    Attributes:
        rows: The model with its rows and features. Where each row has an output of its
            own, a model of this output.
        targets: The positions of the outputs explained, among the names of the scale.
        row_target: Which output is each row's. None: the same for all rows.
        loss: The loss of a row.
        y: y as the loss takes it, or None.
        classes: The class of each row, ``(rows,)``, where y holds something else.
        labels: The classes as the user's y holds them, for those who read labels.
        positive: The positive one of two classes, or None.
        positive_by_y: Whether the rows of this call alone say which it is.
    """

    rows: SubjectRows
    targets: tuple[int, ...]
    row_target: RowTarget | None
    loss: Loss
    y: Any
    classes: Integers | None
    labels: Array | None
    positive: str | None
    positive_by_y: bool


def read_measured(
    call: MethodCall, rows: SubjectRows, requested: AskedOutputs
) -> MeasuredRows:
    """Return what is measured of the rows.

    Args:
        call: The call.
        rows: Its model with the rows and features.
        requested: What it asks of the outputs.

    Raises:
        InputError: y does not fit the rows, the outputs or the loss.
    """
    subject = requested.subject
    rows = replace(rows, subject=subject)
    asked_target = requested.arguments.target
    if requested.row_target is not None:
        asked_target = None
    targets = resolve_targets(requested.names, asked_target)
    read = read_y(subject, requested, rows.inputs, targets)
    reads_by_loss = not (requested.loss.returned or requested.by_scorers)
    if reads_by_loss and not call.scope.by_row:
        check_classes(subject, rows.inputs, read.classes)
    loss = requested.loss
    if subject.outputs.count > 1:
        loss = _loss_of(subject, loss, targets)
    declared = call.arguments.model.positive
    positive = resolve_positive(subject, declared, read.classes)
    by_rows_alone = declared is None and subject.background_classes is None
    positive_by_y = by_rows_alone and read.classes is not None
    if requested.arguments.target is None and call.explains_outputs:
        usual_class = positive
        if positive_by_y:
            usual_class = None
        targets = requested.scale.usual(subject.outputs, usual_class)
        _refuse_many_outputs(call, subject, len(targets))
    row_target = None
    if requested.row_target is not None:
        call.refuse("row target", "a target for each row")
        rows, targets, row_target = each_row_by_itself(
            rows, requested.row_target, read.classes, requested.scale
        )
    return MeasuredRows(
        rows,
        targets,
        row_target,
        loss,
        read.y,
        _other_classes(read),
        _labels(call, requested, read.classes),
        positive,
        positive_by_y,
    )


def _other_classes(read: ReadY) -> Integers | None:
    """Return the classes, unless y holds them."""
    if read.classes is read.y:
        return None
    return read.classes


def _labels(
    call: MethodCall, requested: AskedOutputs, classes: Integers | None
) -> Array | None:
    """Return the classes as the user's y holds them, for scorers."""
    # ``missing_modalities``, which has no method, has scorers besides.
    read_by_scorers = requested.by_scorers or call.method is None
    if classes is None or not read_by_scorers:
        return None
    return requested.subject.outputs.labels_in(requested.arguments.y, classes)


def _refuse_many_outputs(call: MethodCall, subject: Subject, count: int) -> None:
    """Refuse more outputs than anybody looks at, each of which takes as long as one."""
    if count <= _MOST_OUTPUTS or not getattr(call.method, "by_output", False):
        return
    target_words = "target= one of them, or a few"
    classes = subject.outputs.kind != "values"
    if classes:
        hint = f'Pass target="predicted", or {target_words}'
    else:
        hint = f"Pass {target_words}"
    problem = f"{call.name} would explain {count:,} outputs one by one"
    raise InputError(problem, hint=hint, code="PG005")


def _loss_of(subject: Subject, loss: Loss, targets: tuple[int, ...]) -> Loss:
    """Return the loss of some of several outputs.

    Of numbers it is the mean over these.
    """
    if not subject.task.has_classes:
        subject.outputs = replace(subject.outputs, loss_columns=targets)
    if len(targets) == 1:
        return loss.of_output(targets[0])
    return loss


def resolve_positive(subject: Subject, positive: Any, y: Array | None) -> str | None:
    """Return the name of the positive one of two classes, or None where there are not
    two.

    The default is that of a model's decision, else the rarer class: among the training
    rows that an estimator keeps, or in ``y`` for a network.
    """
    names = subject.outputs.class_names
    if positive is not None:
        return names[find_positive(names, positive)]
    if len(names) != 2:
        return None
    if subject.decision is not None:
        return names[subject.decision.positive]
    if subject.background_classes is None:
        codes = y
    else:
        codes = subject.background_classes
    return names[1 if codes is None else usual_positive(names, codes)]


def read_y(
    subject: Subject,
    requested: AskedOutputs,
    inputs: tuple[Tensor, ...],
    picked: tuple[int, ...] = (),
) -> ReadY:
    """Return y as the loss takes it.

    One number per row is the target of the one output ``picked``, and of all outputs
    that are its quantiles. If only scorers read y, it may have other columns than the
    output.

    Args:
        subject: The model, whose classes lose their names if only the loss knows them.
        requested: What is asked of its outputs.
        inputs: The rows, ``(rows, *)`` for each input.
        picked: The positions of the outputs asked for.

    Raises:
        InputError: y does not fit the rows, the outputs or the loss.
    """
    y = requested.arguments.y
    loss = requested.loss
    if y is None:
        return ReadY(None, None)
    count = len(inputs[0])
    output_form = subject.outputs
    is_of_several = output_form.task.numeric and output_form.count > 1
    read_by_scorers = (
        requested.by_scorers and loss.registered and REGRESSION in loss.tasks
    )
    if is_of_several and _is_of_one(loss, picked) and as_target(y).ndim == 1:
        y = np.stack([as_target(y)] * output_form.count, axis=1)
    elif read_by_scorers:
        values = _of_scorers(subject, y, count)
        if values is not None:
            return ReadY(values, None)
    if not loss.returned:
        encoded = output_form.encode_target(y, count)
        refused = loss.refused_y(encoded)
        if len(refused):
            problem = f"loss={loss.name!r} needs y {loss.needs}, got {refused.min():g}"
            raise InputError(problem, hint="Pass another loss.", code="PG036")
        if output_form.task.has_classes:
            return ReadY(encoded, encoded)
        return ReadY(encoded, None)
    targets = TargetRows(y, count)
    classes = None
    if output_form.task.has_classes:
        try:
            classes = output_form.encode_target(y, count)
        except InputError:
            # Only the loss knows what y means.
            subject.outputs = replace(output_form, class_names=())
    tried_inputs = [tensor[:_TRIED] for tensor in inputs]
    output_form.loss_rows(
        outputs_of(subject, tried_inputs), targets[: len(tried_inputs[0])], loss
    )
    return ReadY(targets, classes)


def _is_of_one(loss: Loss, picked: tuple[int, ...]) -> bool:
    """Return whether y is the target of one output, or of outputs that are all its
    quantiles.
    """
    return len(loss.by_output) > 0 or (len(picked) == 1 and not loss.returned)


def _of_scorers(subject: Subject, y: Any, count: int) -> Floats | None:
    """Return y if it is numbers in other columns than the output's, which only scorers
    can read.
    """
    values = as_target(y)
    is_readable = (
        values.ndim == 2 and len(values) == count and values.dtype.kind in "fiub"
    )
    if (
        not subject.task.numeric
        or not is_readable
        or values.shape[1] == subject.outputs.count
    ):
        return None
    return values.astype(np.float64)
