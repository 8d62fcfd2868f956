"""Gradients of the outputs asked for, and what a user's network needs to be
differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from permgrad.attribution.request import Request
from permgrad.attribution.subject.remedies import of_hooks
from permgrad.attribution.subject.soundness import out_of_order
from permgrad.attribution.subject.subject import Subject, numbers_by_row
from permgrad.base.errors import InputError, error_in_words, turned
from permgrad.base.threads import together

Tensors = tuple[Tensor, ...]

#: Numbers that a batch's layers may hold: with fewer, networks of many small functions
#: spend most of their time between them.
_NUMBERS_CPU = 16_000_000
_NUMBERS_ACCELERATOR = 200_000_000
_MOST_CPU = 4096
_MOST_ACCELERATOR = 65_536
#: The golden section, whose multiples lie far apart between whole numbers.
_GOLDEN = 0.6180339887498949


def batch_size(
    request: Request,
    numbers: int,
    cpu: tuple[int, int] | None = None,
    accelerator: tuple[int, int] | None = None,
    *,
    weights: int = 0,
) -> int:
    """Return the rows per pass, if each row's layers hold so many numbers.

    Pairs are a budget and the most rows.

    A pass reads so many ``weights``, and it pays to hold as many numbers of rows.
    """
    if request.batch_size != "auto":
        return int(request.batch_size)
    on_cpu = request.subject.device.type == "cpu"
    if on_cpu:
        usual = (_NUMBERS_CPU, _MOST_CPU)
    else:
        usual = (_NUMBERS_ACCELERATOR, _MOST_ACCELERATOR)
    budget, most_rows = (cpu if on_cpu else accelerator) or usual
    return max(1, min(most_rows, max(budget, weights) // max(numbers, 1)))


def _weighted_gradients(
    output: Tensor, weights: Tensor, leaves: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the gradients of one output's weighted sum over rows, None where it has
    none.
    """
    with differentiating():
        column = (output * weights).sum()
        return list(
            torch.autograd.grad(column, leaves, retain_graph=True, allow_unused=True)
        )


def output_gradients(
    outputs: Tensor,
    targets: Sequence[int],
    leaves: Sequence[Tensor],
    *,
    constant_sum: bool = False,
    by_row: Callable[[Tensor, int], Tensor] | None = None,
) -> list[Tensor]:
    """Return gradients of outputs.

    Args:
        outputs: ``(rows, outputs)``.
        targets: The positions of the outputs whose gradients are asked for.
        leaves: What they are gradients towards, rows first.
        constant_sum: Whether the outputs of a row have a constant sum, so that one
            gradient is free.
        by_row: ``by_row(leaf, position)`` lays leaves out with rows first where they
            are values inside the network. Those of other rows than their positions say
            are refused.

    Returns:
        For each leaf ``(targets, rows, *)``.
    """
    distinct_targets = list(dict.fromkeys(targets))
    weights = _weights(outputs)
    weighted: list[Tensor | None] = []
    if by_row is not None and len(outputs) > 1 and outputs.requires_grad:
        weighted = _weighted_gradients(outputs[:, distinct_targets[0]], weights, leaves)
    complement = constant_sum and len(distinct_targets) == outputs.shape[1] > 1
    if complement:
        computed = distinct_targets[:-1]
    else:
        computed = distinct_targets
    by_target: dict[int, list[Tensor]] = {}
    for target in computed:
        column = outputs[:, target].sum()
        gradients: tuple[Tensor | None, ...] = (None,) * len(leaves)
        if column.requires_grad:
            with differentiating():
                gradients = torch.autograd.grad(
                    column,
                    leaves,
                    retain_graph=target != computed[-1],
                    allow_unused=True,
                )
        by_target[target] = [
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
    for leaf_index, gradient in enumerate(weighted):
        if by_row is not None and gradient is not None:
            plain = by_row(by_target[distinct_targets[0]][leaf_index], leaf_index)
            if not _weighs_as(by_row(gradient, leaf_index), plain, weights):
                raise out_of_order()
    if complement:
        # Minus the sum, written as 0 − sum: an unused column keeps the plain zero, not
        # a negative one.
        by_target[distinct_targets[-1]] = [
            0 - sum(gradients) for gradients in zip(*by_target.values(), strict=True)
        ]
    return [
        torch.stack([by_target[target][leaf_position] for target in targets])
        for leaf_position in range(len(leaves))
    ]


def _weights(outputs: Tensor) -> Tensor:
    """Return a power of two for each row, which multiplies gradients without rounding.

    Neighbours have others.
    """
    number = torch.arange(len(outputs), dtype=torch.float64, device=outputs.device)
    return 2 ** (
        number * _GOLDEN % 1 * (4 if outputs.dtype.itemsize < 4 else 16)
    ).floor().to(outputs.dtype)


def _weighs_as(weighted: Tensor, plain: Tensor, weights: Tensor) -> bool:
    """Return whether gradients of weighted rows ``(rows, *)`` are the plain ones with
    the weight of their own row.
    """
    expected_gradients = numbers_by_row(plain) * weights[:, None].to(plain.dtype)
    off = (numbers_by_row(weighted) - expected_gradients).norm(
        dim=1
    ) > expected_gradients.norm(dim=1) / 4
    return not bool(off.any())


class NoSlopesError(InputError):
    """A network raised where it was differentiated."""


def differentiating() -> AbstractContextManager[None]:
    """Differentiate a user's network in the body.

    Its errors become messages, except for lack of memory.
    """

    def said(error: Exception) -> InputError:
        problem = (
            "Gradient methods need a network that torch can differentiate, but "
            f"it raised {error_in_words(error)}"
        )
        hint = "Fix the network, or choose method='permutation', 'shapley' or 'lime'"
        return NoSlopesError(problem, hint=hint, code="PG034")

    return turned(said, memory=True)


def copied_rows(
    subject: Subject, source: Sequence[Tensor], row_slice: slice
) -> Tensors:
    """Return copies of rows on the network's device, ``(rows, *)`` for each input,
    ready for gradients.

    Args:
        subject: The network.
        source: Rows, ``(rows, *)`` for each input.
        row_slice: Which of them.
    """
    # An encoded table has the precision of the estimator's network. A user's inputs
    # stay as they were read.
    if subject.encoded_names:
        dtype = subject.dtype
    else:
        dtype = None
    with torch.inference_mode(mode=False), torch.no_grad():
        # Cloned also where it moves nothing: what was made in inference mode may not be
        # saved for a backward pass.
        return tuple(
            tensor[row_slice].detach().to(subject.device, dtype).clone()
            for tensor in source
        )


@contextmanager
def differentiable(subject: Subject) -> Iterator[None]:
    """Make every part of a network differentiable and its calls of torch visible, also
    recurrent parts.
    """
    submodules = list(subject.module.modules())
    with ExitStack() as stack:
        if subject.device.type == "cuda" and any(
            isinstance(submodule, nn.RNNBase) for submodule in submodules
        ):
            cudnn = torch.backends.cudnn
            stack.enter_context(together({"cuDNN": (cudnn, "enabled")}))
            cudnn.enabled = False
        try:
            yield
        except NoSlopesError as error:
            hooks = of_hooks(subject.module)
            if hooks is None:
                raise
            raise InputError(
                error.problem, hint=hooks, code=error.code
            ) from error.__cause__
