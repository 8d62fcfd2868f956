"""Explain one output of each row: ``target="predicted"``, ``"true"`` or a class per
row.

The number of a row's output travels with the row, as an input that nobody owns, and one
gather after the readout takes it. Methods see a network of one output: a network with
1,000 classes costs no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.players.space import NOBODY
from permgrad.attribution.subject.outputs import as_target, label_place
from permgrad.attribution.subject.scales import RAW, Scale
from permgrad.attribution.subject.subject import Subject, mean_row
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.base.arrays import Array, Indexes
from permgrad.base.checks import check_rows
from permgrad.base.errors import InputError, did_you_mean, shown
from permgrad.base.sequences import values_at
from permgrad.models.batches import gathered, in_batches

#: The name of the input that carries the number of each row's output.
CARRIER = "row target"
#: Rows that are predicted together.
_BATCH = 256
#: Fields of an explanation that are shaped like its values.
_LIKE_VALUES = ("values", "std_error", "low", "high", "p_values")


def outputs_of(
    subject: Subject, inputs: Sequence[Tensor], batch: int = _BATCH
) -> Tensor:
    """Return the raw outputs of rows, ``(rows, K)``.

    Args:
        subject: The model.
        inputs: Rows, ``(rows, *)`` for each input.
        batch: Rows that go through it together, at most.
    """
    count = len(inputs[0])
    with torch.no_grad(), subject.open():
        run_batches = partial(in_batches, count, min(batch, subject.most_rows()))
        return gathered(
            count,
            lambda row_slice: [
                subject.predict([tensor[row_slice] for tensor in inputs])
            ],
            run_batches,
        )[0]


def predicted(subject: Subject, inputs: Sequence[Tensor]) -> Tensor:
    """Return the output of each row that the model decides for, ``(rows,)``."""
    deciding_subject = subject.deciding()
    return torch.from_numpy(
        deciding_subject.decided(outputs_of(deciding_subject, inputs))
    )


class AskedOutputs(NamedTuple):
    """The output asked for of each row, int64 ``(rows,)``, and the name of the one
    output there is then.
    """

    numbers: Tensor
    name: str


def resolve_row_target(
    subject: Subject, row_target: Any, y: Array | None, inputs: Sequence[Tensor]
) -> AskedOutputs:
    """Return which output of each row is asked for.

    Args:
        subject: The model.
        row_target: ``"predicted"``, ``"true"`` or an output for each row, ``(rows,)``.
        y: The class of each row, ``(rows,)``, or None.
        inputs: The rows, ``(rows, *)`` for each input.

    Raises:
        InputError: The model has no such output, or y is needed.
    """
    names = subject.outputs.output_names
    count = len(inputs[0])
    if isinstance(row_target, str):
        if row_target not in ("predicted", "true"):
            problem = (
                "target must be 'predicted', 'true' or one class per row, got "
                f"{row_target!r}"
            )
            raise InputError(
                problem,
                hint=did_you_mean(row_target, ("predicted", "true")),
                code="PG003",
            )
        if not subject.task.has_classes:
            problem = (
                f"target={row_target!r} needs a classifier, and the task is "
                f"{subject.task}"
            )
            raise InputError(
                problem,
                hint="Pass the number of an output for each row, or one output for all",
                code="PG006",
            )
        if row_target == "predicted":
            return AskedOutputs(predicted(subject, inputs), "predicted")
        if y is None:
            problem = "target='true' explains each row's own class, and y is missing"
            raise InputError(problem, hint="Pass y", code="PG005")
        own_classes = np.array(y, dtype=np.int64)
        return AskedOutputs(torch.from_numpy(own_classes), "true")
    labels = as_target(row_target)
    check_rows("target", labels, count, "Pass an array (rows,)")
    if subject.outputs.class_labels is None:
        class_labels = names
    else:
        class_labels = subject.outputs.class_labels.tolist()
    class_positions = {}
    for class_position, class_name in enumerate(class_labels):
        class_positions[str(class_name)] = class_position
    numbers = [_place(label, class_positions, len(names)) for label in labels.tolist()]
    if NOBODY in numbers:
        label = labels.tolist()[numbers.index(NOBODY)]
        problem = (
            f"target must hold outputs of the model ({', '.join(map(str, names[:7]))}"
            f"{', …' * (len(names) > 7)}), got {shown(label)}"
        )
        raise InputError(
            problem,
            hint=f"Pass names of classes, or numbers from 0 to {len(names) - 1}",
            code="PG035",
        )
    return AskedOutputs(torch.tensor(numbers, dtype=torch.int64), "row target")


def _place(label: Any, class_positions: dict[str, int], count: int) -> int:
    """Return the output with a name, else with a number, or −1."""
    is_number = (
        isinstance(label, (int, float))
        and not isinstance(label, bool)
        and float(label).is_integer()
    )
    named = label_place(label, class_positions)
    if named == NOBODY and is_number and 0 <= label < count:
        return int(label)
    return named


class EachRowsOutput(NamedTuple):
    """What is explained where each row has an output of its own.

    Attributes:
        rows: The model, its rows and features, so that one output is left, or as they
            were where the model gives all of them together.
        targets: The numbers of the outputs explained.
        row_target: Which of them is each row's.
    """

    rows: SubjectRows
    targets: tuple[int, ...]
    row_target: RowTarget


def each_row_by_itself(
    rows: SubjectRows, row_target: Any, y: Array | None, scale: Scale
) -> EachRowsOutput:
    """Return what is explained for one output of each row.

    Args:
        rows: The model with its rows, of all outputs.
        row_target: ``"predicted"``, ``"true"`` or an output for each row, ``(rows,)``.
        y: The class of each row, ``(rows,)``, or None.
        scale: The scale of the outputs explained.

    Raises:
        InputError: No row has such an output, or the scale has one output alone.
    """
    subject = rows.subject
    if scale is RAW and subject.outputs.one_column:
        raise InputError(
            "scale='raw' has one output, and target names one of each row",
            hint="Leave scale out, or pass scale='logit'.",
            code="PG006",
        )
    asked_outputs = resolve_row_target(subject, row_target, y, rows.inputs)
    numbers = asked_outputs.numbers
    output_names = subject.outputs.output_names
    target = RowTarget(
        asked_outputs.name, tuple(values_at(output_names, numbers.tolist()))
    )
    if subject.paths:
        # Its replacement engine and its paths give all outputs together.
        targets, target_positions = np.unique(numbers.numpy(), return_inverse=True)
        placed_target = replace(target, places=target_positions)
        return EachRowsOutput(rows, tuple(targets.tolist()), placed_target)
    carried = (*rows.inputs, numbers[:, None].to(rows.inputs[0].device))
    background = carried
    if rows.donors is not rows.inputs:
        # A background row stands for itself where the outputs' range is looked at, and
        # nowhere else.
        donor_outputs = predicted(subject, rows.donors)[:, None]
        background = (*rows.donors, donor_outputs.to(rows.donors[0].device))
    nobody = torch.full((1,), NOBODY, dtype=torch.int64)
    space = rows.space
    widened = replace(
        space, inputs=(*space.inputs, CARRIER), segments=(*space.segments, nobody)
    )
    one_output: Any = _RowTargetSubject(subject, asked_outputs.name, scale)
    shapes = rows.shapes
    if shapes:
        shapes = (*shapes, None)
    carried_rows = SubjectRows(one_output, carried, background, widened, shapes)
    return EachRowsOutput(carried_rows, (0,), target)


class _RowTargetSubject:
    """A subject with one output: for each row the one whose number is in the last
    input. All else is the outer's.
    """

    def __init__(self, subject: Subject, name: str, scale: Scale) -> None:
        self.outer = subject
        self._scale = scale
        self.input_names = (*subject.input_names, CARRIER)
        self.real = (*subject.real, True)
        # They are read before one is taken.
        self.outputs = replace(
            subject.outputs,
            kind="values",
            count=1,
            output_names=(name,),
            by_values=False,
            of_labels=False,
            both=False,
            target_mean=0.0,
            target_scale=1.0,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying asks for
            raise AttributeError(name)
        return getattr(self.outer, name)

    def _taken(self, outputs: Tensor, numbers: Tensor) -> Tensor:
        """Return the output of each row, ``(b, 1)``."""
        scaled_outputs = self._scale.read(self.outer.outputs, outputs)
        # Methods that watch every function of torch must not take this for a part of
        # the network.
        with torch._C.DisableTorchFunction():  # noqa: SLF001 — the documented way
            return scaled_outputs.gather(1, numbers.to(scaled_outputs.device))

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        return self._taken(self.outer.forward(tensors[:-1]), tensors[-1])

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        return self._taken(self.outer.predict(tensors[:-1]), tensors[-1])

    def steady(self, inputs: Sequence[Tensor]) -> Any:
        return self.outer.steady(inputs[:-1])

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows. Their output is never used."""
        tensors = self.outer.read(inputs)
        return (
            *tensors,
            torch.zeros(
                len(tensors[0]), 1, dtype=torch.int64, device=tensors[0].device
            ),
        )

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (*self.outer.typical(rows[:-1]), rows[-1][:1])

    def mean(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (*self.outer.mean(rows[:-1]), mean_row(rows[-1]))

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:
        is_carrier = position == len(self.input_names) - 1
        if is_carrier:
            return torch.zeros(shape, dtype=torch.bool)
        return self.outer.on_a_scale(position, shape)

    def branches(self, inputs: Sequence[Tensor], followers: frozenset[int]) -> Any:
        """Return the network cut into branches, which takes the output of each row."""
        branch_cut = self.outer.branches(inputs[:-1], followers)
        if branch_cut is None:
            return None
        return _Cut(branch_cut, self, inputs[-1])

    def theirs(
        self, tensors: Sequence[Tensor], names: Sequence[str] | None = None
    ) -> Any:
        outer: Any = self.outer
        return outer.theirs(tensors[:-1], names)


class _Cut:
    """A network cut into branches, which returns the chosen output of each row."""

    def __init__(self, cut: Any, subject: _RowTargetSubject, numbers: Tensor) -> None:
        self.cut = cut
        self.subject = subject
        self.numbers = numbers

    def remember(
        self,
        inputs: Sequence[Tensor],
        donors: Sequence[Tensor],
        run: Callable[[int, Callable[[slice], None]], None],
    ) -> None:
        input_rows = inputs[:-1]
        self.cut.remember(
            input_rows, input_rows if donors is inputs else donors[:-1], run
        )

    def predict(
        self,
        receivers: Tensor,
        donors: Tensor,
        blended: Callable[[int, Tensor], Tensor],
        *players: Any,
    ) -> Tensor:
        outputs = self.cut.predict(receivers, donors, blended, *players)
        return self.subject._taken(  # noqa: SLF001
            outputs, self.numbers[receivers.to(self.numbers.device)]
        )


@dataclass(frozen=True)
class RowTarget:
    """The output explained for each row.

    Attributes:
        name: Of the only output that there is in the explanation.
        outputs: The name of each row's output.
        places: Its position among several outputs explained, ``(rows,)``. None: there
            is one.
    """

    name: str  # of the only output there is in the explanation
    outputs: tuple[str, ...]  # of each row
    places: Indexes | None = None

    def taken(self, explanation: Explanation) -> Explanation:
        """Return a local explanation with each row's own output only."""
        target_meta = {**explanation.meta, "row_target": list(self.outputs)}
        if self.places is None:
            return replace(explanation, meta=target_meta)

        def own(array: Any, axis: int = 2) -> Any:
            assert self.places is not None
            output_positions = self.places.reshape(-1, *[1] * (array.ndim - 1))
            return np.take_along_axis(array, output_positions, axis=axis)

        base_outputs = explanation.base_values
        drawn_maps = dict(explanation.maps)
        fields = {}
        for field_name in _LIKE_VALUES:
            fields[field_name] = getattr(explanation, field_name)
        if base_outputs is not None:
            fields["base_values"] = own(
                np.broadcast_to(
                    base_outputs, (len(self.places), len(explanation.outputs))
                ),
                1,
            )
        if "cam" in drawn_maps:
            drawn_maps["cam"] = own(drawn_maps["cam"], 1)
        return replace(
            explanation,
            **{
                field_name: array if array is None or array.ndim < 3 else own(array)
                for field_name, array in fields.items()
            },
            outputs=(self.name,),
            parts={
                part_name: own(array) for part_name, array in explanation.parts.items()
            },
            part_std={
                part_name: own(array)
                for part_name, array in explanation.part_std.items()
            },
            predictions=None
            if explanation.predictions is None
            else own(explanation.predictions, 1),
            maps=drawn_maps,
            meta={
                fact_name: own(np.array(fact_value), 1).tolist()
                if fact_name == "local_r2"
                else fact_value
                for fact_name, fact_value in target_meta.items()
            },
        )
