"""What gradient methods share: gradients of the outputs asked for, and batches that fit in cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.subject.subject import Subject
from permgrad.base.errors import InputError, PermgradError, error_in_words, is_out_of_memory

#: Rows per backward pass: on a processor a batch's activations should stay in its cache.
_BATCH_CPU, _BATCH_ACCELERATOR = 128, 4096


def gradient_batch_size(request: Request) -> int:
    """Return the rows per backward pass, ``"auto"`` resolved."""
    if request.batch_size != "auto":
        return int(request.batch_size)
    return _BATCH_CPU if request.subject.device.type == "cpu" else _BATCH_ACCELERATOR


def outputs_sum_constant(subject: Subject, output: str) -> bool:
    """Return whether the outputs of every row have the same sum: probabilities, or the two sides of a single logit."""
    classes = len(subject.output_names)
    return subject.task == "classification" and classes > 1 and (output == "probability" or subject.module.outputs == 1)


def output_gradients(
    outputs: Tensor, targets: Sequence[int], leaves: Sequence[Tensor], *, constant_sum: bool = False
) -> list[Tensor]:
    """Return the gradients of the outputs asked for with respect to each leaf; 0 where an output does not use a leaf.

    One forward pass serves all targets. Where all outputs are asked for and their sum is constant, the last gradient
    is minus the sum of the others: a binary classifier's probabilities cost one backward pass, not two.

    Args:
        outputs: ``(rows, outputs)``; row i depends on row i of the leaves alone.
        targets: positions of the outputs.
        leaves: tensors of shape ``(rows, *)`` that require a gradient.
        constant_sum: whether the outputs of every row have the same sum.

    Returns:
        For each leaf a tensor ``(targets, rows, *)``.

    Examples:
        >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> output_gradients(x**2, [1, 0], [x])[0].tolist()
        [[[0.0, 4.0]], [[2.0, 0.0]]]
    """
    wanted = list(dict.fromkeys(targets))
    complement = constant_sum and len(wanted) == outputs.shape[1] > 1
    asked = wanted[:-1] if complement else wanted
    found: dict[int, list[Tensor]] = {}
    for target in asked:
        column = outputs[:, target].sum()
        gradients: tuple[Tensor | None, ...] = (None,) * len(leaves)
        if column.requires_grad:
            gradients = torch.autograd.grad(column, leaves, retain_graph=target != asked[-1], allow_unused=True)
        found[target] = [
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
    if complement:
        # Minus the sum, written as 0 − sum: an unused column keeps the plain zero, not a negative one.
        found[wanted[-1]] = [0 - sum(own) for own in zip(*found.values(), strict=True)]
    return [torch.stack([found[target][position] for target in targets]) for position in range(len(leaves))]


def network_gradients(
    outputs: Tensor, targets: Sequence[int], leaves: Sequence[Tensor], *, constant_sum: bool = False
) -> list[Tensor]:
    """Return ``output_gradients`` of a user's network, which may refuse to be differentiated.

    Raises:
        InputError: torch cannot go back through the network, or a hook or a backward of the user's own raises.
    """
    with differentiating():
        return output_gradients(outputs, targets, leaves, constant_sum=constant_sum)


@contextmanager
def differentiating() -> Iterator[None]:
    """Go back through a user's network in the body: what is raised there becomes a sentence, with it as the cause.

    Memory that does not suffice passes as it is: the batch is halved then.
    """
    try:
        yield
    except PermgradError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            "gradient methods need a network that torch can differentiate, however: it raised "
            f"{error_in_words(error)}; mend that, or choose method='permutation', 'shapley' or 'lime'"
        ) from error
