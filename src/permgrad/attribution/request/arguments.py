"""The arguments of ``pg.explain``: each is checked once, most before the model is
read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from permgrad.attribution.model import Model, as_model
from permgrad.attribution.request.method_registry import Configured, Method
from permgrad.attribution.scopes import (
    AUTO,
    COLUMN,
    FEATURE,
    GLOBAL,
    GROUP,
    LOCAL,
    MODALITY,
    Level,
    Scope,
    chosen_scope,
    scopes,
)
from permgrad.attribution.subject.examples import (
    MOST,
    Gathered,
    gathered,
    may_be_examples,
    warn_of_rest,
)
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.outputs import OutputForm, as_target
from permgrad.attribution.subject.places import Layout, loss_of_places
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.attribution.subject.scales import (
    LOGIT,
    PROBABILITY,
    RAW,
    SCALE_NAMES,
    SCALES,
    Scale,
)
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.checks import (
    check_choice,
    check_confidence,
    check_kind,
    check_number,
    check_whole,
    is_whole,
)
from permgrad.base.errors import (
    InputError,
    counted,
    did_you_mean,
    listed,
    shown,
    synonym,
    unknown,
)
from permgrad.base.frames import taken
from permgrad.base.late import is_frame
from permgrad.base.random import resolve_seed
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.models.losses import Loss, TargetRows, losses, read_loss

#: Targets that ask for a class.
_OF_CLASSES = ("predicted", "true")
#: Rows on which a callable loss is tried out before any work starts.
_TRIED = 256
#: Donors of each row and feature at most, where the user does not say.
REPEATS = 10


@dataclass(frozen=True)
class Arguments:
    """The user's arguments, unchanged but that ``model`` is a ``Model``.

    ``pg.explain`` says what each means.

    ``row_offset`` is the number of the first row of one part of a longer table.
    """

    model: Any = None
    X: Any = None
    y: Any = None
    method: Any = "permgrad"
    target: Any = None
    scope: Any = "auto"
    scale: Any = "auto"
    groups: Any = None
    background: Any = None
    loss: Any = "auto"
    scoring: Any = None
    sample_weight: Any = None
    row_groups: Any = None
    row_time: Any = None
    max_rows: Any = None
    n_repeats: Any = "auto"
    confidence: float = 0.95
    random_state: Any = 0
    progress: Any = "auto"
    row_offset: int | None = None
    #: what the players are: features, groups, a network's inputs, or raw columns where
    #: ``groups`` is empty
    level: Level = field(init=False)
    #: how many examples of a DataLoader, a Dataset or a list were gathered, and where
    #: they come from (None: X is one batch of rows)
    gathered: Gathered | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Refuse arguments that fit no model, before anything is read."""
        object.__setattr__(self, "model", as_model(self.model))
        if self.background is not None and isinstance(
            self.background, (int, float, str, os.PathLike)
        ):
            problem = f"background must be rows like X, got {shown(self.background)}"
            raise InputError(problem, hint="Pass a table.", code="PG038")
        check_choice("scope", self.scope, (AUTO, *scopes))
        check_choice("scale", self.scale, SCALE_NAMES)
        check_confidence(self.confidence)
        if not (isinstance(self.n_repeats, str) and self.n_repeats == "auto"):
            check_whole("n_repeats", self.n_repeats, "pass for example 10")
        if self.max_rows is not None:
            check_whole("max_rows", self.max_rows, "pass how many to explain")
        if self.groups is not None and not (
            isinstance(self.groups, str) and self.groups == MODALITY
        ):
            self._check_groups()
        if isinstance(self.groups, str):
            level = MODALITY
        elif self.groups:
            level = GROUP
        else:
            level = COLUMN
        object.__setattr__(self, "level", FEATURE if self.groups is None else level)
        self._gather()

    def _gather(self) -> None:
        """Put the rows of a DataLoader, a Dataset or a list of examples in its
        place.
        """
        changes = of_examples(self)
        for field_name, value in changes.items():
            object.__setattr__(self, field_name, value)

    @property
    def speaks_of_classes(self) -> bool:
        """Whether an argument is of classes, which then have the outputs as scores."""
        by_target = isinstance(self.target, str) and self.target in _OF_CLASSES
        loss = None
        if isinstance(self.loss, str):
            loss = losses.get(self.loss, None)
        by_loss = (
            loss is not None
            and CLASSIFICATION in loss.tasks
            and REGRESSION not in loss.tasks
        )
        scale = SCALES.get(self.scale)
        by_scale = scale is not None and scale.of_classes
        return by_target or by_loss or by_scale

    def _check_groups(self) -> None:
        groups = self.groups
        remedy_words = "Pass groups={'name': ['feature', …]} or 'modality'."
        check_kind(
            "groups",
            groups,
            Mapping,
            "a mapping of names to lists of features",
            remedy_words,
        )
        for group_name, members in groups.items():
            if not isinstance(members, Iterable) or isinstance(
                members, (bytes, Mapping)
            ):
                problem = (
                    f"Group {group_name!r} must be a list of features, got "
                    f"{shown(members)}"
                )
                raise InputError(
                    problem,
                    hint=f"Pass groups={{{group_name!r}: ['feature', …]}}.",
                    code="PG001",
                )


@dataclass(frozen=True)
class EncodedBackground:
    """Rows for ``background=`` as the network sees them, encoded once for many calls
    with parts of a longer table.
    """

    rows: Floats32  # ``(donors, encoded)``
    kind: str  # the value of ``meta["background"]["kind"]``


@dataclass(frozen=True)
class RowsToCompare:
    """Rows for ``background=`` that single rows are compared with, or from which such
    rows are chosen.

    ``drawn_from``: how many rows they were chosen of. None: they are all rows.
    """

    rows: Any
    kind: str = "rows of the table"  # the value of ``meta["background"]["kind"]``
    drawn_from: int | None = None


def of_examples(arguments: Arguments) -> dict[str, Any]:
    """Return the fields that change where X or background is a set of examples."""
    model = arguments.model
    changes = dict[str, Any]()
    if not may_be_examples(arguments.X) and not may_be_examples(arguments.background):
        return changes
    if arguments.max_rows is None:
        row_limit = MOST
    else:
        row_limit = int(arguments.max_rows)
    seed = resolve_seed(arguments.random_state)
    gather_options = {"seed": seed, "most": row_limit, "tokenizer": model.tokenizer}
    gathered_rows = gathered(model.model, arguments.X, arguments.y, **gather_options)
    if gathered_rows is not None:
        changes |= {
            "X": gathered_rows.X,
            "y": gathered_rows.y,
            "gathered": gathered_rows,
        }
        changes["random_state"] = seed
        changes |= _of_the_set(arguments, gathered_rows)
        if arguments.max_rows is None:
            warn_of_rest(gathered_rows, row_limit)
    background_rows = gathered(
        model.model, arguments.background, None, **gather_options
    )
    if background_rows is None:
        return changes
    return changes | {"background": background_rows.X}


def _of_the_set(arguments: Arguments, gathered_rows: Gathered) -> dict[str, Any]:
    """Return what says something of each example of a set, of those that are drawn."""
    if gathered_rows.places is None or gathered_rows.count is None:
        return {}
    changes = {}
    for field_name in ("sample_weight", "row_groups", "row_time", "target"):
        value = getattr(arguments, field_name)
        by_row = hasattr(value, "__len__") and not isinstance(value, (str, tuple))
        if by_row and len(value) == gathered_rows.count:
            changes[field_name] = taken(
                value, gathered_rows.places, gathered_rows.count
            )
    return changes


# ---- the method's options ------------------------------------------------------------
def resolve_method(
    chosen_method: Method | None, stated_scope: str
) -> tuple[Scope, dict[str, Any]]:
    """Return the scope, and the options and settings of the method, of which those that
    several share are checked here.

    ``"auto"`` is the method's first scope, and global without a method.
    """
    options = {} if chosen_method is None else chosen_method.settings()
    usual_scope = GLOBAL if chosen_method is None else chosen_method.scopes[0]
    scope = chosen_scope(stated_scope, usual_scope)
    if not isinstance(chosen_method, Configured):  # options of another library
        return scope, options
    chosen_method.check_types()
    if "order" in options:
        check_whole("order", options["order"], "pass 2 for pairs")
        pairs = options.get("pairs", "auto")
        if not (isinstance(pairs, str) and pairs == "auto"):
            _check_pairs(pairs, options["order"])
    if isinstance(options.get("tolerance"), str) and options["tolerance"] == "auto":
        options["tolerance"] = None
    if "incremental" in options and options["tolerance"] is not None:
        check_number(
            "tolerance", options["tolerance"], "pass for example 0.01, or None"
        )
    return scope, options


def fields_of(method: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its method and resolved options decide."""
    return {
        "method": method,
        "sampling": options.get("sampling", "marginal"),
        "tolerance": options.get("tolerance"),
        "incremental": bool(options.get("incremental", True)),
    }


def _check_pairs(pairs: Any, order: int) -> None:
    """Refuse a number of pairs that is none, or beside no pairs or larger sets."""
    if not (isinstance(pairs, str) and pairs == "all"):
        check_whole(
            "pairs",
            pairs,
            "Pass 'auto', 'all' or the number of pairs that are measured on all rows.",
        )
    if order != 2 and not (order > 2 and pairs == "all"):
        problem = f"pairs={pairs!r} needs order=2, got order={order}"
        raise InputError(
            problem, hint="Pass order=2, or leave pairs out.", code="PG006"
        )


def check_conditional(names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> None:
    """Refuse conditional draws unless the network's input is a table of numbers."""
    if len(inputs) != 1 or inputs[0].ndim != 2 or not inputs[0].is_floating_point():
        problem = (
            "sampling='conditional' needs a network with one input of floats (rows, "
            f"columns), got {shapes_in_words(names, inputs)}"
        )
        raise InputError(
            problem,
            hint="Leave sampling out, or pass groups= of dependent features",
            code="PG006",
        )


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


# ---- outputs, loss and y -------------------------------------------------------------
def resolve_targets(names: Sequence[str], target: Any) -> tuple[int, ...]:
    """Return the positions of the outputs asked for, among their names. None: all."""
    count = len(names)
    if target is None:
        return tuple(range(count))
    target = (
        target.tolist() if hasattr(target, "tolist") else target
    )  # an array or a tensor, also of one number
    asked_targets = (
        list(target)
        if isinstance(target, Iterable) and not isinstance(target, str)
        else [target]
    )
    positions: list[int] = []
    takes = (
        (str, int, np.integer)
        if tuple(names) == tuple(map(str, range(count)))
        else (str, Real)
    )
    for asked_target in asked_targets:
        if is_whole(asked_target) and 0 <= int(asked_target) < count:
            positions.append(int(asked_target))
        elif (
            isinstance(asked_target, takes)
            and not isinstance(asked_target, bool)
            and str(asked_target) in names
        ):
            # A number outside the positions may still be the name of a class or of a
            # quantile.
            positions.append(names.index(str(asked_target)))
        else:
            hint = (
                f"The outputs are {listed(names, 7)}."
                if count > 1
                else "There is one output: leave target out."
            )
            raise InputError(
                f"No output {shown(asked_target)}",
                did_you_mean(asked_target, names, hint),
                "PG035",
            )
    if not positions:
        raise InputError(
            "target names no output",
            hint="Pass None to explain all outputs.",
            code="PG005",
        )
    return tuple(dict.fromkeys(positions))


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


def titles_of_channels(channel_names: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of each input's channels, of a frame those of its columns."""
    remedy_words = "Pass for example channel_names={'eeg': ['Fz', 'Cz']}"
    if channel_names is None:
        return {}
    check_kind("channel_names", channel_names, Mapping, "names by input", remedy_words)
    titles = dict[str, tuple[str, ...]]()
    for input_name, channels in channel_names.items():
        if is_frame(channels):
            named = channels.columns
        else:
            named = channels
        if isinstance(named, (str, bytes)) or not isinstance(named, Iterable):
            problem = (
                f"The channels of {input_name!r} must be a list of names, got "
                f"{shown(named)}"
            )
            raise InputError(problem, hint=remedy_words, code="PG001")
        titles[input_name] = tuple(str(channel_name) for channel_name in named)
        if not titles[input_name] or len(set(titles[input_name])) < len(
            titles[input_name]
        ):
            problem = (
                f"channel_names of {input_name!r} must be different names, got "
                f"{list(titles[input_name])}"
            )
            raise InputError(problem, hint="Name each channel once", code="PG008")
    return titles


def said_of_outputs(
    model: Model, loss: Any = "auto", *, classes: bool = False
) -> dict[str, Any]:
    """Return what is said about the outputs, by the model or by the task that a loss
    implies.

    ``classes``: whether the call speaks of classes.
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


def read_y(
    subject: Subject,
    y: Any,
    loss: Loss,
    inputs: tuple[Tensor, ...],
    picked: tuple[int, ...] = (),
    *,
    scored: bool,
) -> tuple[Any, Integers | None]:
    """Return y as the loss takes it, and the class of each row (None where there are no
    classes).

    One number per row is the target of the one output ``picked``, and of all outputs
    that are its quantiles. ``scored``: only scorers read it, so y may have other
    columns than the output.
    """
    if y is None:
        return None, None
    count = len(inputs[0])
    output_form = subject.outputs
    if (
        output_form.task.numeric
        and output_form.count > 1
        and _is_of_one(loss, picked)
        and as_target(y).ndim == 1
    ):
        y = np.stack([as_target(y)] * output_form.count, axis=1)
    elif (
        scored
        and loss.registered
        and REGRESSION in loss.tasks
        and (values := _of_scorers(subject, y, count)) is not None
    ):
        return values, None
    if not loss.returned:
        encoded = output_form.encode_target(y, count)
        refused = loss.refused_y(encoded)
        if len(refused):
            problem = f"loss={loss.name!r} needs y {loss.needs}, got {refused.min():g}"
            raise InputError(problem, hint="Pass another loss.", code="PG036")
        return encoded, encoded if output_form.task.has_classes else None
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
    return targets, classes


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
