"""Refuse a network whose calls change what later calls return, as observers of quantisation do that are left on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.attribution.subject.row_independence import changed
from permgrad.base.errors import InputError, listed
from permgrad.models.batches import with_fewer

#: Rows that are asked again.
_FEW = 8
#: Names of what has moved that a message shows.
_SHOWN = 5


@contextmanager
def check_memory(subject: Any, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Ask a network for the first rows before and after the body, in which nothing is restored."""
    if subject.encoded_names or not isinstance(getattr(subject, "module", None), nn.Module):
        yield
        return

    def outputs(count: int) -> Tensor:
        with torch.no_grad(), subject.open():  # which seeds the generators anew
            return subject.forward([tensor[:count] for tensor in inputs]).cpu()

    with subject.open():
        before = state_of(subject.module)
        first = with_fewer(min(_FEW, len(inputs[0]), subject.most_rows()), outputs)
        chance = changed(first, outputs(len(first)))
        refuse_memory(subject.module, before, chance)
        yield
        # Outputs that depend on a chance that no seed decides were warned of.
        if not chance:
            refuse_memory(subject.module, before, changed(first, outputs(len(first))), unseen=True)


def refuse_memory(module: nn.Module, before: Mapping[str, Any], by: float, *, unseen: bool = False) -> None:
    """Refuse outputs that moved by so much with what calls wrote, or, if ``unseen``, with whatever they remember."""
    after = state_of(module) if by else {}
    moved = [name for name in {**before, **after} if not _same(before.get(name), after.get(name))] if by else []
    if not moved and not (by and unseen):
        return
    shown = listed([repr(name) for name in moved[:_SHOWN]] + [f"{len(moved) - _SHOWN} more"] * (len(moved) > _SHOWN))
    what = f"it writes into {shown}" if moved else "what it remembers is no buffer or attribute of its parts"
    problem = (
        f"A call of the network must not change later ones, but the same rows get other outputs later (by {by:.3g}): "
        f"{what}"
    )
    hint = (
        "Switch that off before it is explained (observers of quantisation: "
        "net.apply(torch.ao.quantization.disable_observer))"
    )
    raise InputError(problem, hint=hint, code="PG033")


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return what a forward may write into, by name: buffers, weights by their versions, and plain attributes."""
    state: dict[str, Any] = {}
    for name, part in module.named_modules():
        dot = f"{name}." if name else ""
        for own, value in vars(part).items():
            if isinstance(value, (bool, int, float, str, Tensor)) and own != "training":
                state[dot + own] = value.detach().clone() if isinstance(value, Tensor) else value
            elif isinstance(value, (list, dict)) and not own.startswith("_"):
                state[dot + own] = len(value)
    state |= {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    weights = ((name, weight) for name, weight in module.named_parameters() if not weight.is_inference())
    return state | {name: weight._version for name, weight in weights}  # noqa: SLF001 — how torch counts writes


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and bool(((one == two) | ((one != one) & (two != two))).all())  # noqa: PLR0124
    return type(one) is type(two) and bool(one == two)
