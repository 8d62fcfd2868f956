"""Which of a network's outputs is explained, as numbers ``(rows, K)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from permgrad.attribution.subject.inputs import as_plain, first_names
from permgrad.attribution.subject.places import taken_in_words
from permgrad.attribution.subject.reasons import of_each_number
from permgrad.base.errors import InputError, counted, shown, unknown

#: Names under which networks return the output that matters, in the order in which they
#: are looked for.
_USUAL_HEADS = (
    "logits",
    "logit",
    "output",
    "out",
    "prediction",
    "predictions",
    "y",
    "probabilities",
)
#: Whether a row's output of a shape is compared with ``y`` place by place.
Fits = Callable[[tuple[int, ...]], bool]


def never(shape: tuple[int, ...]) -> bool:  # noqa: ARG001 — whatever its shape
    """Compare no output place by place."""
    return False


def pick_head(
    returned: Any, head: int | str | None, rows: int, *, fits_by_place: Fits = never
) -> tuple[Tensor, int | str | None]:
    """Return the output to explain as ``(rows, K)``, and its name or position where the
    network returns several.

    ``fits_by_place``: of which outputs all numbers are explained, because ``y`` is
    compared with them place by place.
    """
    if isinstance(returned, Tensor):
        if head is not None:
            problem = (
                f"head={shown(head)} picks one of several outputs, but the "
                "network returns a single tensor"
            )
            raise InputError(problem, hint="Leave head out", code="PG004")
        return _taken(returned, rows, "The network's output", fits_by_place), None
    tensors = heads(returned)
    if head is not None:
        if head not in tensors:
            raise unknown("head", head, list(map(str, tensors)))
        return _taken(tensors[head], rows, f"Output {head!r}", fits_by_place), head
    usual = [
        name
        for usual_name in _USUAL_HEADS
        for name in tensors
        if _last(name) == usual_name
    ]
    for name in (*usual, *tensors):
        if _may_be_explained(tensors[name], rows, fits_by_place=fits_by_place):
            return _taken(tensors[name], rows, f"Output {name!r}", fits_by_place), name
    shapes = first_names(
        f"{head_name} {tuple(head_output.shape)}"
        for head_name, head_output in tensors.items()
    )
    problem = (
        f"None of the network's outputs ({shapes or 'none is a tensor'}) has the shape "
        "(rows,) or (rows, outputs)"
    )
    hint = (
        "Wrap it in a module that returns such a tensor, of maps (rows, outputs, …) "
        "for example their mean"
    )
    raise InputError(problem, hint=hint, code="PG032")


def other_heads(
    returned: Any, picked: int | str | None, rows: int, *, fits_by_place: Fits
) -> list[str]:
    """Return the outputs that ``pick_head`` could have picked as well, unless the
    picked one has a usual name.
    """
    if picked is None or _last(picked) in _USUAL_HEADS:
        return []
    head_outputs = heads(returned).items()
    return [
        str(head_name)
        for head_name, head_output in head_outputs
        if head_name != picked
        and _may_be_explained(head_output, rows, fits_by_place=fits_by_place)
    ]


def _last(name: int | str) -> str:
    return str(name).rpartition(".")[2]


def heads(returned: Any) -> dict[Any, Tensor]:
    """Return the tensors among several outputs, by their names or positions.

    Those inside others: ``"out.logits"``.
    """
    output_parts: dict[Any, Any] = dict(getattr(returned, "__dict__", {}))
    if isinstance(returned, Distribution):
        number_distribution = of_each_number(returned)
        output_parts = {}
        for parameter_name in number_distribution.arg_constraints:
            output_parts[parameter_name] = getattr(number_distribution, parameter_name)
    elif isinstance(returned, Mapping):
        output_parts = dict(returned)
    elif isinstance(returned, (tuple, list)):
        output_parts = dict(
            zip(
                getattr(returned, "_fields", range(len(returned))),
                returned,
                strict=True,
            )
        )
    elif not hasattr(returned, "__dict__"):
        problem = (
            "The network must return a tensor, or a tuple or dict of tensors, "
            f"got {type(returned).__name__}"
        )
        raise InputError(
            problem, hint="Wrap it in a module that returns a tensor", code="PG032"
        )
    inner = {}
    for output_name, output_part in output_parts.items():
        if isinstance(output_part, (Mapping, tuple, list)):
            inner[output_name] = heads(output_part)
    nested = {}
    for output_name, inner_heads in inner.items():
        for inner_name, inner_output in inner_heads.items():
            nested[f"{output_name}.{inner_name}"] = inner_output
    return {
        output_name: output_part
        for output_name, output_part in output_parts.items()
        if isinstance(output_part, Tensor)
    } | nested


def _may_be_explained(head_output: Tensor, rows: int, *, fits_by_place: Fits) -> bool:
    shaped = head_output.ndim in (1, 2) or (
        head_output.ndim > 2 and fits_by_place(tuple(head_output.shape[1:]))
    )
    return shaped and len(head_output) == rows and head_output.is_floating_point()


def _check_dense(output: Tensor, name: str) -> None:
    if (
        output.is_complex()
        or output.is_nested
        or output.layout != torch.strided
        or output.is_quantized
    ):
        tensor_kind = str(
            output.layout if output.layout != torch.strided else output.dtype
        ).removeprefix("torch.")
        if output.is_nested:
            shown = "nested"
        else:
            shown = tensor_kind
        problem = f"{name} must be a dense tensor of real numbers, got {shown}"
        raise InputError(
            problem,
            hint="Wrap the network in a module that returns real numbers",
            code="PG032",
        )


def _taken(output: Tensor, rows: int, name: str, fits_by_place: Fits) -> Tensor:
    """Return an output as ``(rows, K)``.

    A nested one, whose shape torch does not tell, is refused.
    """
    _check_dense(output, name)
    return _flat(output, rows, name, by_place=fits_by_place(tuple(output.shape[1:])))


def _flat(output: Tensor, rows: int, name: str, *, by_place: bool) -> Tensor:
    output = as_plain(output)
    _check_dense(output, name)
    flat_output = output
    if rows == 1 and output.ndim < 2:
        # A squeeze() takes the row dimension of a single row as well.
        flat_output = output.reshape(1, -1)
    elif output.ndim == 1:
        flat_output = output[:, None]
    elif output.ndim > 2 and (by_place or output.numel() == len(output)):
        flat_output = output.flatten(1)
    if flat_output.ndim != 2 or len(flat_output) != rows or flat_output.shape[1] == 0:
        map_words = ""
        if output.ndim > 2:
            map_words = (
                ", of maps for example output.flatten(2).mean(2), or pass y "
                f"{taken_in_words(output.shape[1:])}"
            )
        raise InputError(
            f"{name} must have the shape (rows,) or (rows, outputs), got "
            f"{tuple(output.shape)} for {counted(rows, 'row')}",
            hint="Wrap the network in a module that takes rows in the first dimension "
            f"and returns one row of numbers for each{map_words}",
            code="PG032",
        )
    if flat_output.is_floating_point():
        return flat_output
    return flat_output.float()
