"""Which outputs a call asks about, on which scale, and which loss measures them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from permgrad.attribution.model import Model
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.request.method_registry import Method
from permgrad.attribution.scopes import LOCAL, Scope
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.places import Layout, loss_of_places, unfit
from permgrad.attribution.subject.scales import (
    LOGIT,
    PROBABILITY,
    RAW,
    SCALES,
    Scale,
)
from permgrad.attribution.subject.subject import Subject
from permgrad.base.checks import is_whole
from permgrad.base.errors import (
    InputError,
    counted,
    did_you_mean,
    listed,
    shown,
    synonym,
    unknown,
)
from permgrad.models.losses import Loss, losses, read_loss


@dataclass(frozen=True)
class AskedOutputs:
    """What a call asks of a model's outputs, before y is read.

    Attributes:
        arguments: The arguments without what the outputs or the loss say already.
        subject: The model, whose outputs are its decisions where errors are counted.
        scale: The scale of the outputs explained.
        names: The names of the outputs on this scale.
        loss: The loss of a row.
        row_target: The output asked for of each row. None: the same for all rows.
    """

    arguments: Arguments
    subject: Subject
    scale: Scale
    names: tuple[str, ...]
    loss: Loss
    row_target: Any = None

    @property
    def by_scorers(self) -> bool:
        """Whether scorers read y, not the loss."""
        return self.arguments.scoring is not None


def read_outputs(
    call: MethodCall, subject: Subject, count: int, *, decided: bool
) -> AskedOutputs:
    """Return what a call asks of the outputs.

    Args:
        call: The call.
        subject: Its model.
        count: The number of rows explained.
        decided: Whether the share of errors is that of the model's decisions.

    Raises:
        InputError: The scale, the loss or the outputs named do not fit the model.
    """
    arguments = call.arguments
    scale = resolve_scale(call.method, call.scope, arguments.scale, subject.outputs)
    names = scale.names(subject.outputs)
    if subject.place is not None:
        call.refuse("masks", "y of masks")
    if subject.outputs.of_labels:  # whose logits are infinite
        arguments = replace(arguments, scale="probability")
    if callable(arguments.loss) or not subject.by_place:
        loss = resolve_loss(subject.outputs, arguments.loss)
    else:
        loss = _loss_of_maps(subject, arguments)
        arguments = replace(arguments, target=None)  # which the loss has taken
    counts_errors = loss.of_decision and decided
    if counts_errors and not call.scope.by_row and arguments.y is not None:
        subject = subject.deciding()
    row_target = None
    if arguments.target is not None:
        row_target = row_target_of(arguments.target, names, count)
    return AskedOutputs(arguments, subject, scale, names, loss, row_target)


def _loss_of_maps(subject: Subject, arguments: Arguments) -> Loss:
    """Return the loss of outputs that are maps: the mean over their places."""
    if subject.place is None or subject.layout is None:
        raise unfit(subject.output_shape, arguments.y)
    return loss_at_places(
        subject.place, subject.layout, arguments.loss, arguments.target
    )


def resolve_scale(
    chosen_method: Method | None, scope: Scope, name: str, form: OutputForm
) -> Scale:
    """Return the scale of the explained outputs: the user's, else the method's.

    Where a method measures a loss, the scale says only what its members and facts read
    besides.
    """
    if form.of_labels:  # whose logits are infinite
        return PROBABILITY
    usual: Mapping[Scope, Scale] = {LOCAL: PROBABILITY}
    if chosen_method is not None:
        usual = chosen_method.scales
    if name == "auto":
        scale = usual.get(scope, LOGIT)
    else:
        scale = SCALES[name]
    if scale is RAW and scope not in usual:
        return LOGIT
    return scale


def row_target_of(target: Any, names: Sequence[str], count: int) -> Any:
    """Return which output of each row is asked for, or None where ``target`` names
    outputs of all rows.
    """
    if isinstance(target, str):
        if target in ("predicted", "true") and target not in names:
            return target
        return None
    if hasattr(target, "shape"):
        shape = tuple(target.shape)
    else:
        shape = ()
    # More values than there are outputs are meant for rows, and are refused where they
    # are not as many.
    if (
        len(shape) == 1
        and count > 1
        and (shape[0] == count or shape[0] > max(len(names), 2))
    ):
        return target
    return None


def resolve_targets(names: Sequence[str], target: Any) -> tuple[int, ...]:
    """Return the positions of the outputs asked for.

    Args:
        names: The names of all outputs.
        target: One or several of them, by name or position. None: all.

    Raises:
        InputError: There is no such output.
    """
    if target is None:
        return tuple(range(len(names)))
    if hasattr(target, "tolist"):  # an array or a tensor, also of one number
        target = target.tolist()
    if isinstance(target, Iterable) and not isinstance(target, str):
        asked_targets = list(target)
    else:
        asked_targets = [target]
    positions = []
    for asked_target in asked_targets:
        positions.append(_position_of(asked_target, names))
    if not positions:
        raise InputError(
            "target names no output",
            hint="Pass None to explain all outputs.",
            code="PG005",
        )
    return tuple(dict.fromkeys(positions))


def _position_of(target: Any, names: Sequence[str]) -> int:
    """Return the position of one output, named or numbered."""
    count = len(names)
    if is_whole(target) and 0 <= int(target) < count:
        return int(target)
    # A number outside the positions may still be the name of a class or of a quantile.
    name_types: tuple[type, ...] = (str, Real)
    if tuple(names) == tuple(map(str, range(count))):
        name_types = (str, int, np.integer)
    is_name = isinstance(target, name_types) and not isinstance(target, bool)
    if is_name and str(target) in names:
        return names.index(str(target))
    if count > 1:
        hint = f"The outputs are {listed(names, 7)}."
    else:
        hint = "There is one output: leave target out."
    raise InputError(
        f"No output {shown(target)}", did_you_mean(target, names, hint), "PG035"
    )


def loss_at_places(
    place_form: OutputForm, layout: Layout, loss: Any, target: Any
) -> Loss:
    """Return the loss of outputs that are compared with y place by place.

    ``target`` names one of a place's labels, whose loss is meant. None: that of all.
    """
    label = None
    if target is not None:
        names = place_form.output_names
        if place_form.task.has_classes and place_form.count > 1:
            names = place_form.class_names
        label_positions = resolve_targets(names, target)
        if len(label_positions) > 1:
            problem = "target names several labels of a place"
            raise InputError(problem, hint="Pass one of them.", code="PG035")
        label = label_positions[0]
    resolved_loss = resolve_loss(place_form, loss)
    return loss_of_places(place_form, layout, resolved_loss, label)


def resolve_loss(outputs: OutputForm, loss: Any) -> Loss:
    """Return the loss: the usual one of the outputs for ``"auto"``.

    A loss of another task is refused.
    """
    usual = outputs.loss or losses.usual(outputs.task)
    if isinstance(loss, str) and loss in ("auto", usual.name):
        return usual
    if isinstance(loss, str) and loss not in losses:
        raise _unknown_loss(loss)
    asked_loss = read_loss(loss)
    levels = len(asked_loss.by_output)
    if levels and levels != outputs.count:
        problem = (
            f"loss={loss!r} names {levels} quantiles, and the "
            f"model has {counted(outputs.count, 'output')}"
        )
        raise InputError(
            problem,
            hint="Pass one level for each output, in their order.",
            code="PG036",
        )
    if outputs.task not in asked_loss.tasks:
        problem = f"loss={loss!r} cannot be used for {outputs.task}"
        fitting = ", ".join(map(str, losses.of_task(outputs.task)))
        raise InputError(
            problem, hint=f"Pass one of {fitting} or 'auto'.", code="PG036"
        )
    return asked_loss


def _unknown_loss(name: str) -> InputError:
    """Return the error of a name that is no loss.

    A score of scikit-learn's is asked for otherwise.
    """
    from sklearn.metrics import get_scorer_names  # slow to load

    scores = get_scorer_names()
    score = name if name in scores else synonym(name, scores)
    if score and not synonym(name, losses):
        problem = f"loss={name!r} is a score, and a loss is of each row"
        return InputError(problem, hint=f"Pass scoring={score!r}.", code="PG003")
    return unknown("loss", name, ("auto", *losses))


def said_of_outputs(
    model: Model, loss: Any = "auto", *, classes: bool = False
) -> dict[str, Any]:
    """Return what a call says about the outputs, as arguments of a subject.

    Args:
        model: The user's, with what it says.
        loss: ``loss=``, which may imply a task.
        classes: Whether the call speaks of classes.
    """
    task: str | None = model.task
    named = not isinstance(loss, str) or loss in losses
    if task is None and named and read_loss(loss).tells_task:
        task = read_loss(loss).tasks[0]
    return {
        "returns": model.returns,
        "task": task,
        "class_names": model.class_names,
        "classes": classes or model.positive is not None,
    }
