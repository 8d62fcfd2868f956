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
from permgrad.base.sequences import values_at

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
    probe_rows = [tensor[:_FEW] for tensor in rows]
    with torch.no_grad(), inner.open():
        vectors, output = inner.captured(probe_rows)
        for input_index in dict.fromkeys(lookup.place for lookup in lookups):
            padding_ids = set()
            for lookup in lookups:
                if lookup.place == input_index:
                    padding_ids.add(lookup.pad)
            if len(probe_rows[input_index]) == 1 and probe_rows[input_index].ndim == 2:
                # Other rows do not tell which ids stand where a network needs them.
                nowhere = torch.zeros_like(probe_rows[input_index], dtype=torch.bool)
                padding_ids |= needed_ids(inner.outer, input_index, nowhere)
                padding_ids |= named_ids(inner.outer.module)
            for exchanged_ids in _exchanged(
                probe_rows[input_index], owners[input_index], padding_ids
            ):
                tensors = [
                    *probe_rows[:input_index],
                    exchanged_ids,
                    *probe_rows[input_index + 1 :],
                ]
                # A network may refuse such numbers.
                with suppress(InputError, RuntimeError):
                    needed = values_at(tensors, inner.needed)
                    if changed(output, inner.forward([*vectors, *needed])):
                        _warn(method, inner, input_index)
                    break


def _warn(method: str, inner: InnerSubject, input_index: int) -> None:
    input_name = inner.outer.input_names[input_index]
    layers = listed(list(inner.layers))
    warn_user(
        f"{method} misses a part of what {input_name} does: its numbers change the "
        f"output also where the vectors of {layers} stay. Choose method='permutation', "
        "'shapley' or 'lime'."
    )


def _exchanged(ids: Tensor, owners: Tensor, pads: set[int | None]) -> Iterator[Tensor]:
    """Yield ids in which others of their column, else of all columns, take their place.

    Equal ids stay equal. Padding stays, and what stands at one place in every row, as
    special tokens do.
    """
    flat = numbers_by_row(ids)
    free = (owners.flatten() >= 0).to(ids.device)
    columns = [flat[:, position] for position in torch.nonzero(free).flatten().tolist()]
    fixed = {padding_id for padding_id in pads if padding_id is not None}
    if len(flat) > 1:
        for id_column in columns:
            if bool((id_column == id_column[0]).all()):
                fixed.add(int(id_column[0]))
    by_column = flat.clone()
    for column_index in torch.nonzero(free).flatten().tolist():
        by_column[:, column_index] = _turned(fixed, flat[:, column_index])(
            flat[:, column_index]
        )
    everywhere = torch.where(free, _turned(fixed, *columns)(flat), flat)
    for exchanged_ids in (by_column, everywhere):
        if not torch.equal(exchanged_ids, flat):
            yield exchanged_ids.reshape(ids.shape)


def _turned(fixed: set[int], *columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that gives each id of columns the place of the next one."""
    sorted_ids = sorted(set(torch.cat(columns).unique().tolist()) - fixed)
    following = dict(zip(sorted_ids, [*sorted_ids[1:], *sorted_ids[:1]], strict=True))

    def turn(values: Tensor) -> Tensor:
        turned = []
        for token_id in values.flatten().tolist():
            turned.append(following.get(token_id, token_id))
        return torch.tensor(turned, dtype=values.dtype, device=values.device).reshape(
            values.shape
        )

    return turn
