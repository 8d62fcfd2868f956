"""What ``Model.describe`` says, and ``Model.predict`` returns: both read the model as
an explanation does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from permgrad.attribution.players.segments import ImageShape
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.related_rows import signs_of_dependence
from permgrad.attribution.request.request import Request
from permgrad.attribution.request.takes import is_estimator
from permgrad.attribution.subject.answers import most_asked
from permgrad.attribution.subject.examples import gathered
from permgrad.attribution.subject.functions import (
    FunctionOfTensors,
    is_exported_program,
)
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.places import Layout
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.reasons import Because
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Floats
from permgrad.base.errors import counted, keeping_warnings, listed
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

if TYPE_CHECKING:
    from permgrad.attribution.model import Model

#: Names that are listed before the rest is counted.
_SHOWN = 8
#: Kinds of outputs in words.
_KINDS = {
    "logits": "logits",
    "probabilities": "probabilities",
    "log_probabilities": "logarithms of probabilities",
    "values": "numbers",
}


def description(model: Model, X: Any, y: Any = None) -> str:
    """Return what is taken for inputs, features, outputs, classes and rows that depend
    on each other, in lines.
    """
    with sparing(), full_float32(), keeping_warnings():
        arguments = Arguments(model, X, y)
        request = build_request(arguments, None, "describe")
        subject = request.subject
        y = arguments.y
        lines = [
            f"{_kind(model.model, subject)}, {(subject.place or subject.outputs).task}",
            f"inputs: {_inputs(request)}",
        ]
        if arguments.gathered is not None:
            lines.append(f"rows: {arguments.gathered.in_words}")
        held_inputs = subject.facts.get("held") or []
        if held_inputs:
            lines.append(f"held, and no features: {', '.join(held_inputs)}")
        special = subject.facts.get("tokens", {}).get("special") or []
        if special:
            lines.append(f"ids that stay where they are: {listed(special, _SHOWN)}")
        starts = subject.facts.get("tokens", {}).get("starts") or []
        if starts:
            lines.append(
                f"held, as it starts each row: the first of {', '.join(starts)}"
            )
        lines.append(f"features: {_names(request.space.names)}")
        if len(dict.fromkeys(request.space.modality)) > 1:
            lines.append(
                f"modalities: {', '.join(dict.fromkeys(request.space.modality))}"
            )
        lines.append(f"outputs: {_outputs(request)}")
        if request.positive is not None:
            lines[-1] += f" (positive: {request.positive})"
        because = subject.outputs.because
        if because is not Because.STATED:
            lines.append(f"outputs are read so because: {because}")
        signs = signs_of_dependence(
            request, outputs_of(subject, request.inputs) if y is not None else None
        )
        if isinstance(subject, PredictorSubject):
            edited = len(request.space.names) * request.n_repeats
            row_limit = most_asked(request.inputs[0].numpy(), edited)
            lines.append(f"rows that an explanation asks for: up to {row_limit:,}")
        lines.append(
            f"rows that depend on each other: {signs or 'no sign in the columns'}"
        )
    return "\n".join(lines)


def explained_outputs(model: Model, X: Any) -> Floats:
    """Return the outputs that local explanations explain by default, float64 ``(rows,
    outputs)``.
    """
    with sparing(), full_float32(), keeping_warnings():
        gather_options = {"seed": 0, "tokenizer": model.tokenizer}
        gathered_rows = gathered(model.model, X, None, most=None, **gather_options)
        if gathered_rows is not None:
            X = gathered_rows.X
        request = build_request(Arguments(model, X, scope="local"), None, "predict")
        outputs = outputs_of(request.subject, request.inputs)
        scaled_outputs: Floats = (
            request.scale.read(request.subject.outputs, outputs).double().cpu().numpy()
        )
    return scaled_outputs


def _kind(model: Any, subject: Subject) -> str:
    if isinstance(subject.module, FunctionOfTensors) and not hasattr(model, "predict"):
        return "function of tensors"
    if is_exported_program(model):
        return "exported network"
    if isinstance(model, nn.Module):
        return f"torch network {type(model).__name__}"
    if is_estimator(model) or hasattr(model, "predict") or hasattr(model, "of_encoded"):
        return str(getattr(model, "label", type(model).__name__))
    return "function of a table"


def _inputs(request: Request) -> str:
    """Say what each input is read as."""
    words = list[str]()
    shapes = [*request.shapes, *[None] * len(request.inputs)]
    of_tokens = request.subject.facts.get("tokens") or {}
    tokens = of_tokens.get("input")
    for input_name, tensor, shape in zip(
        request.space.inputs, request.inputs, shapes, strict=False
    ):
        shape_words = " × ".join(map(str, tensor.shape[1:]))
        if input_name.endswith(".own"):  # which places hold a row's own tokens
            continue
        if input_name == tokens:
            input_words = f"tokens, {shape_words} places"
        elif input_name in of_tokens.get("boxes", ()):
            count = counted(tensor.shape[2], "number")
            input_words = f"{count} for each token, which go with it"
        elif shape is not None:
            input_words = _shape_in_words(shape, tensor)
        elif tensor.ndim == 2:
            if request.raw is not None:
                columns = request.raw.shape[1]
            else:
                columns = tensor.shape[1]
            input_words = counted(columns, "column")
        else:
            input_words = shape_words or "one number"
        if not words:
            row_words = f"{counted(len(tensor), 'row')}, "
        else:
            row_words = ""
        words.append(f"{input_name} ({row_words}{input_words})")
    return ", ".join(words)


def _places(place_form: OutputForm, layout: Layout, counts: Mapping[str, int]) -> str:
    """Say what outputs are at each of a row's places."""
    sizes = " × ".join(map(str, layout.places))
    if place_form.task.has_classes:
        names = place_form.class_names
    else:
        names = place_form.output_names
    if len(names) > 1:
        class_words = f" of {_names(names)}"
    else:
        class_words = ""
    unlabelled_words = f", {counts['void']:,} of {counts['of']:,} without a label in y"
    if counts["void"]:
        left_out = unlabelled_words
    else:
        left_out = ""
    return f"{_KINDS[place_form.kind]}{class_words} at each of {sizes} places{left_out}"


def _shape_in_words(shape: ImageShape, tensor: Tensor) -> str:
    """Say what a series, an image, a volume, a video or the places of a sequence
    are.
    """
    sides = tensor.shape[1:]
    if shape.series is not None:
        time_points = sides.numel() // sides[shape.series]
        return f"{sides[shape.series]} channels × {time_points} in time"
    if shape.vectors and sides[1] > 1:
        return f"{sides[0]} places of {counted(sides[1], 'number')}"
    shape_words = " × ".join(map(str, shape.size))
    if shape.frames is not None:
        colours = counted(shape.size[0] // shape.frames, "channel")
        picture = " × ".join(map(str, shape.size[1:]))
        return f"video of {shape.frames} frames of {colours} in a row, {picture}"
    if len(shape.size) == 3 and shape.channels == 1:
        picture = " × ".join(map(str, shape.size[1:]))
        return f"video of {counted(shape.size[0], 'frame')}, {picture}"
    if shape.in_doubt:
        mask = ", ".join(map(str, sides))
        return (
            f"volume {shape_words}, or a video, frames first: if so, pass segments= a "
            f"mask ({mask})"
        )
    return f"{shape.noun} {shape_words}"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    if len(names) <= _SHOWN:
        return shown
    return f"{shown} and {len(names) - _SHOWN:,} more ({len(names):,})"


def _outputs(request: Request) -> str:
    subject = request.subject
    if subject.layout is not None and subject.place is not None:
        return _places(subject.place, subject.layout, subject.facts["places"])
    if subject.outputs.of_labels:
        output_kind = "labels"
    else:
        output_kind = _KINDS[subject.outputs.kind]
    head_name = subject.facts.get("head")
    if head_name is None:
        of_head = ""
    else:
        of_head = f" of head {head_name!r}"
    if subject.task.has_classes:
        classes = _names(tuple(map(str, subject.outputs.class_names)))
        if subject.outputs.count == 1 and getattr(subject, "column", None) is None:
            column_words = " in one column"
        else:
            column_words = ""
        return f"{output_kind}{of_head} of the classes {classes}{column_words}"
    names = tuple(map(str, subject.outputs.output_names))
    if len(names) == 1:
        return f"{output_kind}{of_head}"
    return f"{output_kind}{of_head}: {_names(names)}"
