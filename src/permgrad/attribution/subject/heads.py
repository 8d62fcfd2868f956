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

#: Names under which networks return the output that matters, in the order in which they are looked for.
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
    returned: Any, head: int | str | None, rows: int, *, places: Fits = never
) -> tuple[Tensor, int | str | None]:
    """Return the output to explain as ``(rows, K)``, and its name or position where the network returns several.

    ``places``: of which outputs all numbers are explained, because ``y`` is compared
    with them place by place.
    """
    if isinstance(returned, Tensor):
        if head is not None:
            problem = f"head={shown(head)} picks one of several outputs, but the network returns a single tensor"
            raise InputError(problem, hint="Leave head out", code="PG004")
        return _taken(returned, rows, "The network's output", places), None
    tensors = heads(returned)
    if head is not None:
        if head not in tensors:
            raise unknown("head", head, [str(name) for name in tensors])
        return _taken(tensors[head], rows, f"Output {head!r}", places), head
    usual = [name for last in _USUAL_HEADS for name in tensors if _last(name) == last]
    for name in (*usual, *tensors):
        if _may_be_explained(tensors[name], rows, places=places):
            return _taken(tensors[name], rows, f"Output {name!r}", places), name
    shapes = first_names(
        f"{name} {tuple(part.shape)}" for name, part in tensors.items()
    )
    problem = f"None of the network's outputs ({shapes or 'none is a tensor'}) has the shape (rows,) or (rows, outputs)"
    hint = "Wrap it in a module that returns such a tensor, of maps (rows, outputs, …) for example their mean"
    raise InputError(problem, hint=hint, code="PG032")


def other_heads(
    returned: Any, picked: int | str | None, rows: int, *, places: Fits
) -> list[str]:
    """Return the outputs that ``pick_head`` could have picked as well, unless the picked one has a usual name."""
    if picked is None or _last(picked) in _USUAL_HEADS:
        return []
    parts = heads(returned).items()
    return [
        str(name)
        for name, part in parts
        if name != picked and _may_be_explained(part, rows, places=places)
    ]


def _last(name: int | str) -> str:
    return str(name).rpartition(".")[2]


def heads(returned: Any) -> dict[Any, Tensor]:
    """Return the tensors among several outputs, by their names or positions. Those inside others: ``"out.logits"``."""
    parts: dict[Any, Any] = dict(getattr(returned, "__dict__", {}))
    if isinstance(returned, Distribution):
        each = of_each_number(returned)
        parts = {name: getattr(each, name) for name in each.arg_constraints}
    elif isinstance(returned, Mapping):
        parts = dict(returned)
    elif isinstance(returned, (tuple, list)):
        parts = dict(
            zip(
                getattr(returned, "_fields", range(len(returned))),
                returned,
                strict=True,
            )
        )
    elif not hasattr(returned, "__dict__"):
        problem = f"The network must return a tensor, or a tuple or dict of tensors, got {type(returned).__name__}"
        raise InputError(
            problem, hint="Wrap it in a module that returns a tensor", code="PG032"
        )
    inner = {
        name: heads(part)
        for name, part in parts.items()
        if isinstance(part, (Mapping, tuple, list))
    }
    nested = {
        f"{name}.{key}": part
        for name, found in inner.items()
        for key, part in found.items()
    }
    return {
        name: part for name, part in parts.items() if isinstance(part, Tensor)
    } | nested


def _may_be_explained(part: Tensor, rows: int, *, places: Fits) -> bool:
    shaped = part.ndim in (1, 2) or (part.ndim > 2 and places(tuple(part.shape[1:])))
    return shaped and len(part) == rows and part.is_floating_point()


def _check_dense(output: Tensor, name: str) -> None:
    if (
        output.is_complex()
        or output.is_nested
        or output.layout != torch.strided
        or output.is_quantized
    ):
        kind = str(
            output.layout if output.layout != torch.strided else output.dtype
        ).removeprefix("torch.")
        shown = "nested" if output.is_nested else kind
        problem = f"{name} must be a dense tensor of real numbers, got {shown}"
        raise InputError(
            problem,
            hint="Wrap the network in a module that returns real numbers",
            code="PG032",
        )


def _taken(output: Tensor, rows: int, name: str, places: Fits) -> Tensor:
    """Return an output as ``(rows, K)``. A nested one, whose shape torch does not tell, is refused."""
    _check_dense(output, name)
    return _flat(output, rows, name, places=places(tuple(output.shape[1:])))


def _flat(output: Tensor, rows: int, name: str, *, places: bool) -> Tensor:
    output = as_plain(output)
    _check_dense(output, name)
    flat = output
    if rows == 1 and output.ndim < 2:
        # A squeeze() takes the row dimension of a single row as well.
        flat = output.reshape(1, -1)
    elif output.ndim == 1:
        flat = output[:, None]
    elif output.ndim > 2 and (places or output.numel() == len(output)):
        flat = output.flatten(1)
    if flat.ndim != 2 or len(flat) != rows or flat.shape[1] == 0:
        maps = ""
        if output.ndim > 2:
            maps = (
                ", of maps for example output.flatten(2).mean(2), or pass y "
                f"{taken_in_words(output.shape[1:])}"
            )
        raise InputError(
            f"{name} must have the shape (rows,) or (rows, outputs), got {tuple(output.shape)} for "
            f"{counted(rows, 'row')}",
            hint="Wrap the network in a module that takes rows in the first dimension and returns one row of numbers "
            f"for each{maps}",
            code="PG032",
        )
    return flat if flat.is_floating_point() else flat.float()
