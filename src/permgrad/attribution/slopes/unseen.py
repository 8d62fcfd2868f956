"""Notice what an output takes from whole numbers beside the vectors of look-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.lookups import Lookup
from permgrad.attribution.subject.soundness import changed
from permgrad.attribution.subject.special import named_ids, needed_ids
from permgrad.attribution.subject.subject import numbers_by_row
from permgrad.base.errors import InputError, listed, warn_user

#: Rows that are asked.
_FEW = 8


def warn_of_unseen(
    method: str,
    inner: InnerSubject,
    rows: Sequence[Tensor],
    owners: Sequence[Tensor],
    lookups: Sequence[Lookup],
) -> None:
    """Warn where other numbers change the output though the vectors of look-ups stay.

    A forward may look ids up once more in a way that cannot be followed. ``owners`` are
    the players of each number of a row.
    """
    few = [tensor[:_FEW] for tensor in rows]
    with torch.no_grad(), inner.open():
        vectors, output = inner.captured(few)
        for place in dict.fromkeys(lookup.place for lookup in lookups):
            pads = {lookup.pad for lookup in lookups if lookup.place == place}
            if len(few[place]) == 1 and few[place].ndim == 2:
                # Other rows do not tell which ids stand where a network needs them.
                nowhere = torch.zeros_like(few[place], dtype=torch.bool)
                pads |= needed_ids(inner.outer, place, nowhere)
                pads |= named_ids(inner.outer.module)
            for others in _exchanged(few[place], owners[place], pads):
                tensors = [*few[:place], others, *few[place + 1 :]]
                # A network may refuse such numbers.
                with suppress(InputError, RuntimeError):
                    needed = [tensors[position] for position in inner.needed]
                    if changed(output, inner.forward([*vectors, *needed])):
                        _warn(method, inner, place)
                    break


def _warn(method: str, inner: InnerSubject, place: int) -> None:
    name, layers = inner.outer.input_names[place], listed(list(inner.layers))
    warn_user(
        f"{method} misses a part of what {name} does: its numbers change the output "
        f"also where the vectors of {layers} stay. Choose method='permutation', "
        "'shapley' or 'lime'."
    )


def _exchanged(ids: Tensor, owners: Tensor, pads: set[int | None]) -> Iterator[Tensor]:
    """Yield ids in which others of their column, else of all columns, take their place.

    Equal ids stay equal. Padding stays, and what stands at one place in every row, as
    special tokens do.
    """
    flat = numbers_by_row(ids)
    free = (owners.flatten() >= 0).to(ids.device)
    columns = [flat[:, at] for at in torch.nonzero(free).flatten().tolist()]
    fixed = {pad for pad in pads if pad is not None}
    if len(flat) > 1:
        fixed |= {int(one[0]) for one in columns if bool((one == one[0]).all())}
    by_column = flat.clone()
    for at in torch.nonzero(free).flatten().tolist():
        by_column[:, at] = _turned(fixed, flat[:, at])(flat[:, at])
    everywhere = torch.where(free, _turned(fixed, *columns)(flat), flat)
    for others in (by_column, everywhere):
        if not torch.equal(others, flat):
            yield others.reshape(ids.shape)


def _turned(fixed: set[int], *columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that gives each id of columns the place of the next one."""
    ids = sorted(set(torch.cat(columns).unique().tolist()) - fixed)
    following = dict(zip(ids, [*ids[1:], *ids[:1]], strict=True))

    def turn(values: Tensor) -> Tensor:
        turned = [following.get(one, one) for one in values.flatten().tolist()]
        return torch.tensor(turned, dtype=values.dtype, device=values.device).reshape(
            values.shape
        )

    return turn
