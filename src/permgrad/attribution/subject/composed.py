"""What is said of a batch that permgrad composed and a network refused: which input of
which rows, and what helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.attribution.subject.network import ForwardError, NetworkSubject
from permgrad.attribution.subject.remedies import remedy
from permgrad.base.errors import InputError, PermgradError, counted
from permgrad.base.sequences import values_at

#: Rows with which remedies are tried, and inputs that are named.
_TRIED = 16
_NAMED = 5


@dataclass(frozen=True)
class _Mixed:
    """A row that is none of the user's: the row it is nearest to, and by input the
    other row that values are of.
    """

    row: int
    other_rows: dict[int, int | None]  # None: values of no row


def of_composed(
    error: ForwardError,
    subject: Any,
    inputs: Sequence[Tensor],
    donors: Sequence[Tensor],
) -> InputError:
    """Return what users are told of a batch that the network refused, the error itself
    if nothing more is known.

    Args:
        error: What the network raised.
        subject: The network.
        inputs: The rows explained, ``(rows, *)`` for each input.
        donors: The background, ``(donors, *)`` for each input.
    """
    batch: Sequence[Tensor] = error.tensors
    if type(subject) is not NetworkSubject or len(error.tensors) != len(inputs):
        return error
    if error.hooks:  # of another package, which say what is wrong
        return error
    with torch.no_grad(), subject.open():
        if _takes(subject, batch):  # a part of the network refused its part of the rows
            edited = _by_value(inputs, donors)
            alone = next(
                (
                    edited_rows
                    for edited_rows in edited
                    if not _takes(subject, edited_rows)
                ),
                None,
            )
            if alone is None:
                return error
            batch = alone
        refused_row = _refused(subject, batch)
        if refused_row is None:
            return _refused_together(subject, error, batch) or error
        # What says which places are a row's own is no input of the user's.
        users = slice(len(subject.form.leaves))
        mixed = _mixed(refused_row[users], inputs[users], donors[users])
        if not mixed.other_rows:
            return InputError(
                error.problem,
                hint=remedy(error.words)
                or f"Row {mixed.row} is as you passed it: see that the network takes "
                "it each time it is called",
                code="PG032",
            )
        hint = _remedy(subject, inputs, donors, sorted(mixed.other_rows))
    problem = (
        f"permgrad {_in_words(mixed, subject.input_names, len(inputs[0]))}, and the "
        f"network refused this row: {error.words}"
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
        half_count = len(batch[0]) // 2
        batch_halves = [
            [tensor[:half_count] for tensor in batch],
            [tensor[half_count:] for tensor in batch],
        ]
        refused = []
        for batch_half in batch_halves:
            if not _takes(subject, batch_half):
                refused.append(batch_half)
        if not refused:
            return None
        batch = refused[0]
    if _takes(subject, batch):
        return None
    return list(batch)


def _refused_together(
    subject: Any, error: ForwardError, batch: Sequence[Tensor]
) -> InputError | None:
    """Return the error of rows that are taken one by one alone."""
    sample_rows = [tensor[:_TRIED] for tensor in batch]
    singles = range(len(sample_rows[0]))
    if not all(
        _takes(subject, [input_tensor[[row_index]] for input_tensor in sample_rows])
        for row_index in singles
    ):
        return None
    problem = (
        "The network takes rows one by one, and refused "
        f"{counted(len(batch[0]), 'row')} together: called with "
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
    """Return which rows a row was mixed of.

    Rows of the background follow those explained.
    """
    shared = all(
        donor is input_tensor
        for donor, input_tensor in zip(donors, inputs, strict=True)
    )
    candidate_rows = []
    for input_tensor, donor in zip(inputs, donors, strict=True):
        if shared:
            candidate_rows.append(input_tensor)
        else:
            candidate_rows.append(
                torch.cat([input_tensor, donor.to(input_tensor.device)])
            )
    equal_values = []
    for input_rows, value in zip(candidate_rows, row, strict=True):
        equal_values.append(_same(input_rows, value))
    whole_matches = torch.stack(
        [input_matches.all(dim=1) for input_matches in equal_values]
    ).sum(dim=0)
    values = torch.stack(
        [input_matches.float().mean(dim=1) for input_matches in equal_values]
    ).mean(dim=0)
    nearest = int((whole_matches + values)[: len(inputs[0])].argmax())
    other_rows: dict[int, int | None] = {}
    for input_index, match_mask in enumerate(equal_values):
        changed = ~match_mask[nearest]
        if bool(changed.any()):
            of_them = match_mask[:, changed].sum(dim=1)
            other_row = int(of_them.argmax())
            if bool(of_them[other_row]):
                other_rows[input_index] = other_row
            else:
                other_rows[input_index] = None
    return _Mixed(nearest, other_rows)


def _in_words(mixed: _Mixed, names: Sequence[str], count: int) -> str:
    """Say which inputs of which rows were mixed, never their values."""
    by_other: dict[int | None, list[str]] = {}
    for input_index, other_row in mixed.other_rows.items():
        by_other.setdefault(other_row, []).append(names[input_index])
    phrases = []
    for other_row, inputs in by_other.items():
        more_words = f" and {len(inputs) - _NAMED} more" * (len(inputs) > _NAMED)
        these = (
            f"{' and '.join(map(repr, inputs[:_NAMED]))}{more_words} of row {mixed.row}"
        )
        if other_row is None:
            phrases.append(f"changed {these} to values of no row")
        elif other_row < count:
            phrases.append(f"mixed {these} with row {other_row}")
        else:
            phrases.append(
                f"mixed {these} with row {other_row - count} of the background"
            )
    return " and ".join(phrases[:_NAMED])


# ---- what helps ----------------------------------------------------------------------
def _remedy(
    subject: Any, inputs: Sequence[Tensor], donors: Sequence[Tensor], mixed: list[int]
) -> str:
    """Return a remedy that the network accepts, tried on a few rows."""
    names = subject.input_names
    boxes = [input_index for input_index in mixed if _is_by_place(inputs[input_index])]
    tokens = ", ".join(f'"{names[input_index]}": "tokens"' for input_index in boxes)
    if boxes and _all_taken(subject, _by_place(inputs, donors, boxes)):
        return (
            f"Pass pg.Model(..., segments={{{tokens}}}), so that a place changes as one"
        )
    if len(inputs) > 1 and _all_taken(subject, _by_input(inputs, donors)):
        return 'Pass groups="modality", so that an input changes as one'
    held_names = values_at(names, mixed)
    if len(held_names) < len(inputs) and _all_taken(
        subject, _but(inputs, donors, mixed)
    ):
        return (
            f"Pass pg.Model(..., hold={held_names[:_NAMED]}), so that it is never "
            "replaced"
        )
    if len(held_names) > 1:
        of_inputs = f" of {' and '.join(map(repr, held_names[:_NAMED]))}"
    else:
        of_inputs = ""
    hint = f"Join features{of_inputs} that belong together with groups="
    if _has_slopes(subject):
        hint += ", or choose method='gradient', which mixes no rows"
    return hint


def _has_slopes(subject: Any) -> bool:
    """Return whether a network takes real numbers, or whole ones that it looks up."""
    embeds = any(
        isinstance(submodule, nn.Embedding) for submodule in subject.module.modules()
    )
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
    donor_indices = (torch.arange(count) + 1) % len(donors[0])
    few_rows = [tensor[:count] for tensor in inputs]
    return few_rows, [
        donor[donor_indices.to(donor.device)].to(row_tensor.device)
        for row_tensor, donor in zip(few_rows, donors, strict=True)
    ]


def _by_place(
    inputs: Sequence[Tensor], donors: Sequence[Tensor], boxes: Sequence[int]
) -> Iterator[list[Tensor]]:
    """Yield rows whose every second place, or all others, is another row's in some
    inputs.
    """
    first_rows, other_rows = _pairs(inputs, donors)
    for first in (0, 1):
        mixed = list(first_rows)
        for box_input in boxes:
            position_mask = (torch.arange(first_rows[box_input].shape[1]) % 2 == first)[
                None, :, None
            ]
            mixed[box_input] = torch.where(
                position_mask.to(first_rows[box_input].device),
                other_rows[box_input],
                first_rows[box_input],
            )
        yield mixed


def _by_input(
    inputs: Sequence[Tensor], donors: Sequence[Tensor]
) -> Iterator[list[Tensor]]:
    """Yield rows with one input of other rows, and with all others of them."""
    first_rows, other_rows = _pairs(inputs, donors)
    for input_index in range(len(first_rows)):
        yield [
            *first_rows[:input_index],
            other_rows[input_index],
            *first_rows[input_index + 1 :],
        ]
        yield [
            *other_rows[:input_index],
            first_rows[input_index],
            *other_rows[input_index + 1 :],
        ]


def _but(
    inputs: Sequence[Tensor], donors: Sequence[Tensor], held_inputs: Sequence[int]
) -> Iterator[list[Tensor]]:
    """Yield rows whose every second value, or all others, is another row's, but in some
    inputs.
    """
    first_rows, other_rows = _pairs(inputs, donors)
    free_inputs = []
    for input_number in range(len(first_rows)):
        if input_number not in held_inputs:
            free_inputs.append(input_number)
    for first in (0, 1):
        mixed = list(first_rows)
        for input_index in free_inputs:
            mixed[input_index] = _alternating(
                first_rows[input_index], other_rows[input_index], first
            )
        yield mixed


def _by_value(
    inputs: Sequence[Tensor], donors: Sequence[Tensor]
) -> Iterator[list[Tensor]]:
    """Yield rows of which every second or third value of one input is another row's."""
    first_rows, other_rows = _pairs(inputs, donors)
    for input_index in range(len(first_rows)):
        for period in (2, 3):
            for first in range(period):
                mixed = _alternating(
                    first_rows[input_index], other_rows[input_index], first, period
                )
                yield [*first_rows[:input_index], mixed, *first_rows[input_index + 1 :]]


def _alternating(
    row: Tensor, other_rows: Tensor, first: int, period: int = 2
) -> Tensor:
    """Return rows with every second value of others, or every third."""
    values = torch.arange(row[0].numel(), device=row.device) % period == first
    return torch.where(values.reshape(row.shape[1:]), other_rows, row)
