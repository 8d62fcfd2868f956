"""Inputs of a network that its outputs are not made of: they need not be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from permgrad.attribution.subject.tracing import name_of, tensors_in
from permgrad.base.errors import PermgradError

#: Rows whose inputs are exchanged.
_SWAPPED = 256
#: Rows of the forward that is followed.
_FOLLOWED = 2
#: What asks for a tensor's form, and for none of its numbers.
_OF_FORM = frozenset(
    {
        *("size", "dim", "numel", "len", "stride", "type", "is_floating_point", "get"),
        *("is_contiguous", "is_complex", "data_ptr", "get_device", "element_size", ""),
    }
)


class _Origins(TorchFunctionMode):
    """Follows which inputs each tensor of a forward is made of."""

    def __init__(self) -> None:
        super().__init__()
        self._made_of: dict[int, frozenset[int]] = {}
        #: held, so that no other tensor takes over a number
        self._tensors: list[Tensor] = []
        #: inputs of which numbers left for Python or NumPy, which may decide by them
        self.escaped = frozenset[int]()

    def follow(self, tensor: Tensor, origins: frozenset[int]) -> None:
        """Note that a tensor is made of inputs, beside others that it was made of."""
        self._tensors.append(tensor)
        self._made_of[id(tensor)] = origins | self.of(tensor)

    def of(self, tensor: Tensor) -> frozenset[int]:
        """Return the inputs that a tensor is made of."""
        return self._made_of.get(id(tensor), frozenset())

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile."""
        options = dict(kwargs or {})
        value = func(*args, **options)
        arguments = list(tensors_in(args, options))
        origins = frozenset[int]().union(*map(self.of, arguments))
        if not origins:
            return value
        results = list(tensors_in(value))
        for result in results:
            self.follow(result, origins)
        if results:
            # What is written into another tensor changes that too.
            for argument in arguments:
                if any(argument is result for result in results):
                    self.follow(argument, origins)
        elif value is None:
            for argument in arguments:
                self.follow(argument, origins)
        elif name_of(func) not in _OF_FORM:
            self.escaped |= origins
        return value


class Unread(NamedTuple):
    """Inputs that a network's outputs are not made of.

    Attributes:
        positions: of these inputs.
        decided_by: the positions of inputs by whose numbers Python decides. Where these
            change, others may be read.
    """

    positions: frozenset[int] = frozenset()
    decided_by: frozenset[int] = frozenset()

    def in_rows(self, *rows_of_inputs: Sequence[Tensor]) -> frozenset[int]:
        """Return the positions of inputs that no output is made of, in mixtures of
        these rows ``(rows, *)``, one tensor for each input: none where Python may
        decide in another way.
        """
        for position in self.decided_by:
            first_row = rows_of_inputs[0][position][:1]
            for tensors in rows_of_inputs:
                if not bool((tensors[position] == first_row.to(tensors[0])).all()):
                    return frozenset()
        return self.positions


def unread_inputs(subject: Any, rows: Sequence[Tensor]) -> Unread:
    """Return the inputs that a network's outputs are not made of.

    One forward is followed. As code that nobody sees may read an input, the outputs of
    rows must stay the same to the last digit where all these inputs are exchanged.

    Args:
        subject: the network, open.
        rows: the rows explained, one tensor for each input.
    """
    with suppress(PermgradError, RuntimeError, TypeError), torch.no_grad():
        origins = _Origins()
        made_of = _followed(subject, rows, origins)
        candidates = frozenset(range(len(rows))) - made_of
        count = min(_SWAPPED, len(rows[0]), subject.most_rows())
        if not made_of or not candidates or count < _FOLLOWED:
            return Unread()
        first_rows = [tensor[:count] for tensor in rows]
        swapped = list(first_rows)
        for input_index in candidates:
            swapped[input_index] = first_rows[input_index].roll(1, 0)
        if torch.equal(subject.forward(first_rows), subject.forward(swapped)):
            return Unread(candidates, origins.escaped)
    return Unread()


def _followed(
    subject: Any, rows: Sequence[Tensor], origins: _Origins
) -> frozenset[int]:
    """Return the inputs that the outputs of a forward are made of, as far as torch's
    functions tell: none where code that nobody sees may read any of them.
    """
    few_rows = [tensor[:_FOLLOWED].clone() for tensor in rows]
    for input_index, tensor in enumerate(few_rows):
        origins.follow(tensor, frozenset((input_index,)))
    with origins:
        outputs = subject.forward(few_rows)
    return origins.of(outputs)
