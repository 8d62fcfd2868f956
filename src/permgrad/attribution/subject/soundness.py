"""Whether outputs can be explained: they are finite, and a row's depend on that row
alone, not on others or on chance.

A row is explained by predicting it again and again with some values replaced, in
batches of the package's choosing. If its output depends on the rows beside it, so does
its explanation, and on the batch size as well. Differences that are rounding only count
as none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from permgrad.base.errors import InputError, warn_user

Predict = Callable[[Sequence[Tensor]], Tensor]
#: Rows that are predicted again, and rows mixed of them.
_FEW = 8
_FEW_MIXED = 4
#: How many times what rounding of the inputs changes may be rounding within the model.
_NUDGES = 16
#: But no more than this share of the outputs.
_OF_OUTPUT = 1e-3
#: Larger changes than this share of the outputs' spread, and than rounding, are
#: refused.
_SHARE = 1e-2


@dataclass(frozen=True)
class Advice:
    """Messages for users of one kind of model, on chance and on rows that are mixed or
    rounded.

    ``alone``: rows, and rows mixed of them, that are predicted one by one.
    """

    chance: str
    mixing: str
    rounding: str
    alone: tuple[int, int]
    #: the precision of a model that is called few times: all checks follow where two
    #: calls find more than rounding
    precision: torch.dtype | None = None


NETWORK = Advice(
    "The network gives a row different outputs each time, also in eval mode, and this "
    "looks like an effect of the "
    "features. Switch off its randomness, or what it remembers between calls.",
    "Take out what mixes rows (a mean, sort or attention over the first dimension, "
    "batch normalisation without running statistics), or, if it is rounding, pass the "
    "network and its inputs in float64, or pg.Model(..., batch_size=1) where a batch "
    "sets scales (dynamic quantisation)",
    "Take out what mixes rows, or, if it is rounding, pass the network and its inputs "
    "in float64",
    (_FEW, _FEW_MIXED),
)
PREDICTOR = Advice(
    "The predictor gives a row different outputs each time, and this looks like an "
    "effect of the features. Give it a "
    "fixed seed and let it remember nothing between calls.",
    "Take out what is computed over the rows of a call (a mean, a rank, a scale, "
    "levels of a column), and compute it when the predictor is fitted",
    "Take out what is computed over the rows of a call, or, if it is rounding, use a "
    "predictor in float64",
    (3, 2),  # a call may take long, however few its rows are
    torch.float32,  # in which many predictors compute: what they round is no dependence
)


def check_row_independence(
    predict: Predict,
    rows: Sequence[Tensor],
    outputs: Tensor,
    advice: Advice = NETWORK,
    compared: tuple[int, int] = (_FEW, _FEW_MIXED),
) -> float | None:
    """Warn of outputs that depend on chance.

    Refuse those that depend on the other rows of a batch.

    ``compared``: how many rows, and rows mixed of them, are predicted again.
    Return by how much outputs moved in other batches, or None after all checks.
    """
    compared_rows = [tensor[: compared[0]] for tensor in rows]
    # Explanations are made of rows that take values from others. They are more alike
    # than the rows themselves, so that what mixes rows by their similarity, as
    # attention does, shows among them first. A single row is padded with zeros.
    mixed_rows = []
    for input_index, input_rows in enumerate(compared_rows):
        if len(input_rows) > 1:
            mixed_rows.append(_mixed(input_rows, input_index)[: compared[1]])
        else:
            mixed_rows.append(torch.zeros_like(input_rows))

    if advice.precision is None:
        _check_thoroughly(predict, compared_rows, mixed_rows, outputs, advice)
        return None
    roughly = outputs.to(advice.precision)
    with suppress(InputError):  # a model that does not take such rows has its say later
        # In another batch and order, and a mixed row alone: two calls say most.
        count = len(compared_rows[0])
        alone = predict([tensor[:1] for tensor in mixed_rows])
        together = predict(
            [
                torch.cat(tensor_pair).flip(0)
                for tensor_pair in zip(compared_rows, mixed_rows, strict=True)
            ]
        ).flip(0)
        moved = max(
            _moved(outputs[:count], together[:count]),
            _moved(alone, together[count : count + 1]),
        )
        if moved <= _rounding(roughly):
            return moved
    _check_thoroughly(
        lambda tensors: predict(tensors).to(advice.precision),
        compared_rows,
        mixed_rows,
        roughly,
        advice,
    )
    return None


def _check_thoroughly(
    predict: Predict,
    few: Sequence[Tensor],
    mixed_rows: Sequence[Tensor],
    outputs: Tensor,
    advice: Advice,
) -> None:
    """Find out whether chance, other rows or rounding moved the outputs of a model, and
    warn or refuse.
    """
    count = len(few[0])
    first = predict(few)
    rounding = _rounding(outputs)
    # Of a single row the outputs were predicted alone, too: that is the second call.
    if len(outputs) == 1:
        second = outputs
    else:
        second = predict(few)
    if _moved(first, second) > rounding:
        warn_user(advice.chance)
        return
    alone, observed_moves = _in_other_batches(predict, few, first, outputs, advice)
    with suppress(
        InputError
    ):  # a network that does not take such rows has its say later
        together = predict(list(map(torch.cat, zip(few, mixed_rows, strict=True))))
        observed_moves.append(_moved(together[: len(alone)], alone))
        rounding = max(rounding, _rounding(alone))
        if count > 1:
            mixed = _in_batches_of(
                predict, [tensor[: advice.alone[1]] for tensor in mixed_rows], 1
            )
            observed_moves.append(_moved(together[count : count + len(mixed)], mixed))
            rounding = max(rounding, _rounding(mixed))
    if max(observed_moves) > rounding and first.dtype == torch.float64:
        # Where large numbers cancel inside a model, its outputs are as far off as
        # rounding of the inputs moves them.
        nudged = []
        for input_tensor in few:
            if input_tensor.is_floating_point():
                nudged.append(input_tensor * (1 + torch.finfo(input_tensor.dtype).eps))
            else:
                nudged.append(input_tensor)
        if bool(torch.isfinite(first).any()):
            largest = float(first[torch.isfinite(first)].abs().max())
        else:
            largest = 0.0
        rounding = max(
            rounding,
            min(_NUDGES * _moved(predict(nudged), first), _OF_OUTPUT * largest),
        )
    moved_by = (
        f"{max(observed_moves):.3g}, where outputs range over {_spread(outputs):.3g}"
    )
    if max(observed_moves) > max(rounding, _SHARE * _spread(outputs)):
        problem = (
            "A row's output must depend on that row alone, but the other rows "
            f"of the batch change it (by {moved_by})"
        )
        raise InputError(problem, hint=advice.mixing, code="PG033")
    if max(observed_moves) > rounding:
        warn_user(
            "A row's output should depend on that row alone, but the other rows of the "
            "batch change it (by "
            f"{moved_by}), so values are no more exact than that. {advice.rounding}."
        )


def _in_other_batches(
    predict: Predict,
    few: Sequence[Tensor],
    first: Tensor,
    outputs: Tensor,
    advice: Advice,
) -> tuple[Tensor, list[float]]:
    """Return outputs of rows that are predicted one by one, and by how much those of
    other batches differ from ``first``.

    A single row has no other batch.
    """
    count = len(first)
    if count == 1:
        return first, [0.0]
    alone = _in_batches_of(predict, [tensor[: advice.alone[0]] for tensor in few], 1)
    backwards = predict([tensor.flip(0) for tensor in few]).flip(0)
    halves = _in_batches_of(predict, few, -(-count // 2))
    moves = []
    for other_outputs in (outputs[:count], backwards, halves, alone):
        moves.append(_moved(other_outputs, first[: len(other_outputs)]))
    return alone, moves


def changed(before: Tensor, after: Tensor) -> float:
    """Return by how much outputs of the same rows differ, 0 if by no more than
    rounding.

    Args:
        before: ``(rows, K)``.
        after: Outputs of the same rows, ``(rows, K)``.
    """
    moved = _moved(before, after)
    if moved > _rounding(before):
        return moved
    return 0.0


def check_order(
    values: Sequence[Tensor], order: Tensor, again: Callable[[Tensor], Sequence[Tensor]]
) -> None:
    """Refuse values inside a network, ``(rows, …)``, of other rows than their places
    say. ``again(order)``: anew.
    """
    reordered_values = []
    for value_tensor in values:
        reordered_values.append(value_tensor[order.to(value_tensor.device)])
    # Values that depend on chance have no order to be seen.
    if not _alike(reordered_values, again(order)) and _alike(
        values, again(torch.arange(len(order)))
    ):
        raise out_of_order()


def out_of_order() -> InputError:
    """Return the error of values that would be given to other rows."""
    return InputError(
        "Inside the network rows have another order than in its inputs, so values "
        "there would be given to other rows",
        hint="Leave rows in their order in its forward (pack_padded_sequence takes "
        "enforce_sorted=False)",
        code="PG033",
    )


def _alike(values: Sequence[Tensor], other_values: Sequence[Tensor]) -> bool:
    """Return whether values are the same but for rounding."""
    for value_tensor, other_tensor in zip(values, other_values, strict=True):
        flat_values = value_tensor.reshape(len(value_tensor), -1).float()
        flat_others = other_tensor.reshape(len(other_tensor), -1).float()
        if flat_values.shape != flat_others.shape or _moved(
            flat_values, flat_others
        ) > max(_rounding(flat_values), _SHARE * _spread(flat_values)):
            return False
    return True


def _in_batches_of(predict: Predict, rows: Sequence[Tensor], size: int) -> Tensor:
    return torch.cat(
        [
            predict([input_rows[start : start + size] for input_rows in rows])
            for start in range(0, len(rows[0]), size)
        ]
    )


def _mixed(tensor: Tensor, position: int) -> Tensor:
    """Return rows that take every second value, every third and so on from the next
    row.
    """
    row_numbers = torch.arange(_FEW_MIXED, device=tensor.device)
    flat_rows = tensor.reshape(len(tensor), -1)
    first = flat_rows[row_numbers % len(flat_rows)]
    next_rows = flat_rows[(row_numbers + 1) % len(flat_rows)]
    swap_mask = (
        torch.arange(flat_rows.shape[1], device=flat_rows.device) + position
    ) % (row_numbers[:, None] + 2) == 1
    return torch.where(swap_mask, next_rows, first).reshape(
        _FEW_MIXED, *tensor.shape[1:]
    )


def _spread(outputs: Tensor) -> float:
    finite = outputs[torch.isfinite(outputs).all(dim=1)].double()
    if len(finite):
        return float((finite.amax(dim=0) - finite.amin(dim=0)).max())
    return 0.0


def _rounding(outputs: Tensor) -> float:
    """Return the largest change that may be rounding."""
    finite = outputs[torch.isfinite(outputs)].double()
    if len(finite):
        largest = float(finite.abs().max())
    else:
        largest = 0.0
    return min(1024 * torch.finfo(outputs.dtype).eps, 0.02) * largest


def _moved(first_values: Tensor, two: Tensor) -> float:
    """Return the largest change, infinity where a number is finite in one of them
    alone.
    """
    finite = torch.isfinite(first_values)
    if bool((finite != torch.isfinite(two)).any()):
        return float("inf")
    change = (first_values[finite].double() - two[finite].double()).abs()
    if len(change):
        return float(change.max())
    return 0.0


# ---- finite outputs, and those that differ by rounding -------------------------------
#: The squares of larger numbers, of which errors are made, are no numbers in double
#: precision.
LARGEST = 1e150
#: Roundings of one number that a sum in a network may be off by.
_ROUNDINGS = 16
#: Types of numbers so coarse that their rounding may be as large as an effect.
HALF = (torch.float16, torch.bfloat16)


#: Of which rows: where they are named, what the broken ones are called, and what can be
#: done.
_ROWS = {
    "explained": ("", "", "check those rows for missing cells"),
    "background": (
        " for the background",
        "",
        "check the rows of background= for missing cells",
    ),
    "between": (
        " also for rows that take values from others",
        "such ",
        (
            "pass background= rows whose values go with any row, or join features that "
            "belong together with groups="
        ),
    ),
}


def finite(outputs: Tensor, rows: str = "explained") -> Tensor:
    """Return outputs that are numbers, or refuse them.

    Args:
        outputs: ``(rows, K)``.
        rows: Which rows they are of, a key of ``_ROWS``.

    Raises:
        InputError: An output is NaN or infinite, or its square overflows.
    """
    # One pass where all is well: a sum is finite unless a number is not, or unless it
    # overflows.
    if outputs.dtype != torch.float64 and bool(torch.isfinite(outputs.sum())):
        return outputs
    if outputs.dtype != torch.float64:
        finite_mask = torch.isfinite(outputs)
    else:
        finite_mask = outputs.abs() <= LARGEST
    broken = int((~finite_mask.all(dim=1)).sum())
    if broken:
        where, row_adjective, remedy = _ROWS[rows]
        if not bool(torch.isfinite(outputs).all()):
            contents = "NaN or infinity"
        else:
            contents = f"numbers above {LARGEST:g}"
        problem = (
            f"The model must predict finite numbers{where}, but {broken:,} of "
            f"{len(outputs):,} {row_adjective}rows got {contents}"
        )
        raise InputError(problem, hint=remedy, code="PG040")
    return outputs


def rounding_size(outputs: Tensor, noise: float | None) -> Tensor:
    """Return the difference of an output below which it is the network's rounding,
    ``(*, rows, 1)``.

    Args:
        outputs: ``(*, rows, K)``.
        noise: How far rounding moved outputs. None: as outputs around 1, logits or
            standardised.
    """
    precision = torch.finfo(outputs.dtype).eps
    if outputs.dtype in HALF:
        times = 1
    else:
        times = _ROUNDINGS
    if noise is None:
        least = times * precision
    else:
        least = noise
    return (times * precision * outputs.abs().amax(dim=-1, keepdim=True)).clamp_min(
        least
    )


def settle(outputs: Tensor, base: Tensor, noise: float | None = None) -> Tensor:
    """Return outputs, with a row's ``base`` itself where the two differ by rounding.

    Computing a part of a network anew, or in a batch of another size, changes last
    digits: without this an input that is not used would get an importance of 1e-9
    instead of exactly 0, with a p-value that means nothing.

    Args:
        outputs: ``(*, rows, K)``.
        base: Of the same rows as they are, ``(rows, K)``.
        noise: By how much rounding moves outputs. None: as outputs around 1.
    """
    unchanged = ((outputs - base).abs() <= rounding_size(base, noise)).all(
        dim=-1, keepdim=True
    )
    return torch.where(unchanged, base, outputs)
