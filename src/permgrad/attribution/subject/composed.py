"""What is said of a batch that permgrad composed and a network refused: which input of which rows, and what helps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.attribution.subject.network import ForwardError, NetworkSubject
from permgrad.attribution.subject.remedies import remedy
from permgrad.base.errors import InputError, PermgradError, counted

#: Rows with which remedies are tried, and inputs that are named.
_TRIED, _NAMED = 16, 5


@dataclass(frozen=True)
class _Mixed:
    """A row that is none of the user's: the row it is nearest to, and by input the other row that values are of."""

    row: int
    others: dict[int, int | None]  # None: values of no row


def of_composed(
    error: ForwardError,
    subject: Any,
    inputs: Sequence[Tensor],
    donors: Sequence[Tensor],
) -> InputError:
    """Return what users are told of a batch that the network refused, the error itself if nothing more is known."""
    batch: Sequence[Tensor] = error.tensors
    if type(subject) is not NetworkSubject or len(error.tensors) != len(inputs):
        return error
    if error.hooks:  # of another package, which say what is wrong
        return error
    with torch.no_grad(), subject.open():
        if _takes(subject, batch):  # a part of the network refused its part of the rows
            edited = _by_value(inputs, donors)
            alone = next((rows for rows in edited if not _takes(subject, rows)), None)
            if alone is None:
                return error
            batch = alone
        row = _refused(subject, batch)
        if row is None:
            return _refused_together(subject, error, batch) or error
        # What says which places are a row's own is no input of the user's.
        users = slice(len(subject.form.leaves))
        mixed = _mixed(row[users], inputs[users], donors[users])
        if not mixed.others:
            return InputError(
                error.problem,
                hint=remedy(error.words)
                or f"Row {mixed.row} is as you passed it: see that the network takes it each time it is called",
                code="PG032",
            )
        hint = _remedy(subject, inputs, donors, sorted(mixed.others))
    problem = (
        f"permgrad {_in_words(mixed, subject.input_names, len(inputs[0]))}, and the network refused this row: "
        f"{error.words}"
    )
    return InputError(problem, hint=hint, code="PG032")


def _takes(subject: Any, rows: Sequence[Tensor]) -> bool:
    """Return whether a network takes rows."""
    try:
        subject.forward(rows)
    except (PermgradError, RuntimeError, MemoryError):
        return False
    return True


def _refused(subject: Any, batch: Sequence[Tensor]) -> list[Tensor] | None:
    """Return a row of a batch that is refused alone, if there is one."""
    while len(batch[0]) > 1:
        half = len(batch[0]) // 2
        parts = [
            [tensor[:half] for tensor in batch],
            [tensor[half:] for tensor in batch],
        ]
        refused = [part for part in parts if not _takes(subject, part)]
        if not refused:
            return None
        batch = refused[0]
    return None if _takes(subject, batch) else list(batch)


def _refused_together(
    subject: Any, error: ForwardError, batch: Sequence[Tensor]
) -> InputError | None:
    """Return the error of rows that are taken one by one alone."""
    few = [tensor[:_TRIED] for tensor in batch]
    singles = range(len(few[0]))
    if not all(_takes(subject, [one[[row]] for one in few]) for row in singles):
        return None
    problem = (
        f"The network takes rows one by one, and refused {counted(len(batch[0]), 'row')} together: called with "
        f"{error.shapes} it raised {error.words}"
    )
    hint = remedy(error.words) or "Pass pg.Model(..., batch_size=1)"
    return InputError(problem, hint=hint, code="PG032")


def _same(rows: Tensor, row: Tensor) -> Tensor:
    """Return which values of rows are those of a row, ``(rows, values)``."""
    return (rows == row.to(rows.device)).reshape(len(rows), -1)


def _mixed(
    row: Sequence[Tensor], inputs: Sequence[Tensor], donors: Sequence[Tensor]
) -> _Mixed:
    """Return which rows a row was mixed of. Rows of the background follow those explained."""
    shared = all(donor is one for donor, one in zip(donors, inputs, strict=True))
    rows = [
        one if shared else torch.cat([one, donor.to(one.device)])
        for one, donor in zip(inputs, donors, strict=True)
    ]
    same = [_same(one, value) for one, value in zip(rows, row, strict=True)]
    whole = torch.stack([one.all(dim=1) for one in same]).sum(dim=0)
    values = torch.stack([one.float().mean(dim=1) for one in same]).mean(dim=0)
    nearest = int((whole + values)[: len(inputs[0])].argmax())
    others: dict[int, int | None] = {}
    for place, one in enumerate(same):
        changed = ~one[nearest]
        if bool(changed.any()):
            of_them = one[:, changed].sum(dim=1)
            other = int(of_them.argmax())
            others[place] = other if bool(of_them[other]) else None
    return _Mixed(nearest, others)


def _in_words(mixed: _Mixed, names: Sequence[str], count: int) -> str:
    """Say which inputs of which rows were mixed, never their values."""
    by_other: dict[int | None, list[str]] = {}
    for place, other in mixed.others.items():
        by_other.setdefault(other, []).append(names[place])
    said = []
    for other, inputs in by_other.items():
        more = f" and {len(inputs) - _NAMED} more" * (len(inputs) > _NAMED)
        these = f"{' and '.join(map(repr, inputs[:_NAMED]))}{more} of row {mixed.row}"
        if other is None:
            said.append(f"changed {these} to values of no row")
        elif other < count:
            said.append(f"mixed {these} with row {other}")
        else:
            said.append(f"mixed {these} with row {other - count} of the background")
    return " and ".join(said[:_NAMED])


# ---- what helps ------------------------------------------------------------------------------------------------------
def _remedy(
    subject: Any, inputs: Sequence[Tensor], donors: Sequence[Tensor], mixed: list[int]
) -> str:
    """Return a remedy that the network accepts, tried on a few rows."""
    names = subject.input_names
    boxes = [place for place in mixed if _is_by_place(inputs[place])]
    tokens = ", ".join(f'"{names[place]}": "tokens"' for place in boxes)
    if boxes and _all_taken(subject, _by_place(inputs, donors, boxes)):
        return (
            f"Pass pg.Model(..., segments={{{tokens}}}), so that a place changes as one"
        )
    if len(inputs) > 1 and _all_taken(subject, _by_input(inputs, donors)):
        return 'Pass groups="modality", so that an input changes as one'
    held = [names[place] for place in mixed]
    if len(held) < len(inputs) and _all_taken(subject, _but(inputs, donors, mixed)):
        return f"Pass pg.Model(..., hold={held[:_NAMED]}), so that it is never replaced"
    of_inputs = f" of {' and '.join(map(repr, held[:_NAMED]))}" if len(held) > 1 else ""
    hint = f"Join features{of_inputs} that belong together with groups="
    if _has_slopes(subject):
        hint += ", or choose method='gradient', which mixes no rows"
    return hint


def _has_slopes(subject: Any) -> bool:
    """Return whether a network takes real numbers, or whole ones that it looks up."""
    embeds = any(isinstance(one, nn.Embedding) for one in subject.module.modules())
    return embeds or any(subject.real)


def _all_taken(subject: Any, batches: Iterator[list[Tensor]]) -> bool:
    return all(_takes(subject, batch) for batch in batches)


def _is_by_place(rows: Tensor) -> bool:
    """Return whether an input has several whole numbers at each place."""
    return rows.ndim == 3 and not rows.is_floating_point()


def _pairs(
    inputs: Sequence[Tensor], donors: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return a few rows, and as many others."""
    count = min(_TRIED, len(inputs[0]))
    other = (torch.arange(count) + 1) % len(donors[0])
    rows = [tensor[:count] for tensor in inputs]
    return rows, [
        donor[other.to(donor.device)].to(row.device)
        for row, donor in zip(rows, donors, strict=True)
    ]


def _by_place(
    inputs: Sequence[Tensor], donors: Sequence[Tensor], boxes: Sequence[int]
) -> Iterator[list[Tensor]]:
    """Yield rows whose every second place, or all others, is another row's in some inputs."""
    rows, others = _pairs(inputs, donors)
    for first in (0, 1):
        mixed = list(rows)
        for box in boxes:
            places = (torch.arange(rows[box].shape[1]) % 2 == first)[None, :, None]
            mixed[box] = torch.where(
                places.to(rows[box].device), others[box], rows[box]
            )
        yield mixed


def _by_input(
    inputs: Sequence[Tensor], donors: Sequence[Tensor]
) -> Iterator[list[Tensor]]:
    """Yield rows with one input of other rows, and with all others of them."""
    rows, others = _pairs(inputs, donors)
    for place in range(len(rows)):
        yield [*rows[:place], others[place], *rows[place + 1 :]]
        yield [*others[:place], rows[place], *others[place + 1 :]]


def _but(
    inputs: Sequence[Tensor], donors: Sequence[Tensor], held: Sequence[int]
) -> Iterator[list[Tensor]]:
    """Yield rows whose every second value, or all others, is another row's, but in some inputs."""
    rows, others = _pairs(inputs, donors)
    free = [place for place in range(len(rows)) if place not in held]
    for first in (0, 1):
        mixed = list(rows)
        for place in free:
            mixed[place] = _alternating(rows[place], others[place], first)
        yield mixed


def _by_value(
    inputs: Sequence[Tensor], donors: Sequence[Tensor]
) -> Iterator[list[Tensor]]:
    """Yield rows of which every second or third value of one input is another row's."""
    rows, others = _pairs(inputs, donors)
    for place in range(len(rows)):
        for period in (2, 3):
            for first in range(period):
                mixed = _alternating(rows[place], others[place], first, period)
                yield [*rows[:place], mixed, *rows[place + 1 :]]


def _alternating(row: Tensor, other: Tensor, first: int, period: int = 2) -> Tensor:
    """Return rows with every second value of others, or every third."""
    values = torch.arange(row[0].numel(), device=row.device) % period == first
    return torch.where(values.reshape(row.shape[1:]), other, row)
