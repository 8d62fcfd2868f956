"""Whether a network's rows are apart from each other and from chance: what every explanation takes for granted.

A row is explained by predicting it again and again with some values replaced, in batches of the package's choosing. If
its output depends on the rows beside it, so does its explanation, and on the batch size as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from permgrad.base.errors import InputError, warn_user

Predict = Callable[[Sequence[Tensor]], Tensor]

#: Rows that are asked again, and rows mixed of them.
_FEW, _FEW_MIXED = 8, 4
#: Larger changes than this share of the outputs' spread, and than rounding, are refused.
_SHARE = 1e-2


def check_apart(predict: Predict, rows: Sequence[Tensor], outputs: Tensor) -> None:
    """Warn of outputs that depend on chance; refuse those that depend on the other rows of a batch."""
    few = [tensor[:_FEW] for tensor in rows]
    count = len(few[0])
    first, rounding = predict(few), _rounding(outputs)
    if _moved(first, predict(few)) > rounding:
        warn_user(
            "a network in eval mode should give a row the same output every time, however: it does not; switch off its "
            "chance, or what it remembers between calls, because it would be taken for an effect"
        )
        return
    alone = _in_batches_of(predict, few, 1)
    backwards, halves = (
        predict([tensor.flip(0) for tensor in few]).flip(0),
        _in_batches_of(predict, few, -(-count // 2)),
    )
    seen = [_moved(other, first) for other in (outputs[:count], backwards, halves, alone)]
    # Explanations are made of rows that take values from others. They are more alike than the rows themselves, so that
    # what mixes rows by how alike they are, as attention does, shows among them first; a single row has zeros beside.
    beside = [_mixed(tensor, place) if count > 1 else torch.zeros_like(tensor) for place, tensor in enumerate(few)]
    with suppress(InputError):  # a network that does not take such rows has its say later
        together = predict([torch.cat(pair) for pair in zip(few, beside, strict=True)])
        every = torch.cat([alone, _in_batches_of(predict, beside, 1)]) if count > 1 else alone
        seen.append(_moved(together[: len(every)], every))
        rounding = max(rounding, _rounding(every))
    moved_by = f"{max(seen):.3g}, where outputs range over {_spread(outputs):.3g}"
    remedy = "or, if it is rounding, pass the network and its inputs in float64"
    if max(seen) > max(rounding, _SHARE * _spread(outputs)):
        raise InputError(
            "a row's output must depend on that row alone, however: it changes with the rows beside it in the batch "
            f"(by {moved_by}); take out what mixes rows (a mean, sort or attention over the first dimension, batch "
            f"normalisation without running statistics), {remedy}"
        )
    if max(seen) > rounding:
        warn_user(
            "a row's output should depend on that row alone, however: it changes with the rows beside it in the "
            f"batch (by {moved_by}), so that values are no more exact than that; take out what mixes rows, {remedy}"
        )


def _in_batches_of(predict: Predict, rows: Sequence[Tensor], size: int) -> Tensor:
    return torch.cat(
        [predict([tensor[begin : begin + size] for tensor in rows]) for begin in range(0, len(rows[0]), size)]
    )


def _mixed(tensor: Tensor, position: int) -> Tensor:
    """Return rows that take every second value, every third and so on from the next row."""
    rows = torch.arange(_FEW_MIXED, device=tensor.device)
    flat = tensor.reshape(len(tensor), -1)
    first, other = (flat[(rows + shift) % len(flat)] for shift in (0, 1))
    taken = (torch.arange(flat.shape[1], device=flat.device) + position) % (rows[:, None] + 2) == 1
    return torch.where(taken, other, first).reshape(_FEW_MIXED, *tensor.shape[1:])


def _spread(outputs: Tensor) -> float:
    finite = outputs[torch.isfinite(outputs).all(dim=1)].double()
    return float((finite.amax(dim=0) - finite.amin(dim=0)).max()) if len(finite) else 0.0


def _rounding(outputs: Tensor) -> float:
    """Return the largest change that may be rounding."""
    finite = outputs[torch.isfinite(outputs)].double()
    largest = float(finite.abs().max()) if len(finite) else 0.0
    return min(1024 * torch.finfo(outputs.dtype).eps, 0.02) * largest


def _moved(one: Tensor, two: Tensor) -> float:
    """Return the largest change; infinity where a number is finite in one of them alone."""
    finite = torch.isfinite(one)
    if bool((finite != torch.isfinite(two)).any()):
        return float("inf")
    change = (one[finite].double() - two[finite].double()).abs()
    return float(change.max()) if len(change) else 0.0
