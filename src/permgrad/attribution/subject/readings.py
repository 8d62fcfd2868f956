"""What a network takes an input for: which of its dimensions change what, where its
numbers are mixed first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from permgrad.attribution.players.segments import VIDEO
from permgrad.attribution.subject.tracing import name_of, tensors_in
from permgrad.base.random import seeded

_RECURRENT = frozenset(
    f"{layer_name}{cell_suffix}"
    for layer_name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    for cell_suffix in ("", "_cell")
)
_MIXING = frozenset(
    {
        "linear",
        "matmul",
        "rmatmul",
        "bmm",
        "baddbmm",
        "einsum",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        *_RECURRENT,
    }
)
_POOLING = frozenset(
    ("mean", "sum", "amax", "amin", "max", "min", "median", "logsumexp")
)
#: Both halves of a dimension change other places of a value where this is told of
#: which, in nats (at most log 2), and the share of a value that is rounding.
_TOLD = 0.3
_ROUNDING = 1e-6


@dataclass
class _Read:
    """A function that mixes numbers, with what it is called with."""

    name: str
    arguments: list[Tensor]
    pools: tuple[int, ...]  # the shape of what it returns, if it puts numbers together


class _Recorder(TorchFunctionMode):
    """Records the functions of one forward that mix numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[_Read] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile."""
        options = kwargs or {}
        function_name = name_of(func)
        pools = function_name in _POOLING
        if (
            pools
            or function_name in _MIXING
            or function_name.startswith(("conv", "embedding"))
        ):
            value_tensors = []
            for argument_tensor in tensors_in(args, options):
                if (
                    not isinstance(argument_tensor, nn.Parameter)
                    and argument_tensor.ndim
                ):
                    value_tensors.append(argument_tensor)
            function_read = _Read(
                function_name,
                [argument_tensor.detach().clone() for argument_tensor in value_tensors],
                (),
            )
            self.reads.append(function_read)
        value = func(*args, **options)
        if pools and isinstance(value, Tensor):
            function_read.pools = tuple(value.shape)
        return value


class _Seen:
    """How a value changes with both halves of each dimension of an input, counted
    without rows.
    """

    def __init__(self, dims: int) -> None:
        #: for each half that changes it how much its places change, by its dimension;
        #: and how many halves there are
        self._sums: list[list[list[Tensor]]] = [[] for _ in range(dims)]
        self._halves = [0] * dims

    def add(self, dim: int, before: Tensor, after: Tensor) -> None:
        """Note how the value is, and is otherwise where half of a dimension of the
        input is.
        """
        self._halves[dim] += 1
        if before.shape != after.shape:
            return
        change = (after.double() - before.double()).abs().nan_to_num(0, 0, 0)
        change = change * (
            change > _ROUNDING * before.double().abs().nan_to_num(0, 0, 0).amax()
        )
        if bool(change.any()):
            self._sums[dim].append(
                [
                    change.movedim(dimension, 0).reshape(n, -1).sum(dim=1)
                    for dimension, n in enumerate(change.shape)
                ]
            )

    @property
    def changes(self) -> bool:
        """Whether the value changes at all."""
        return any(self._sums)

    def whole(self, dim: int) -> bool:
        """Return whether both halves of a dimension change the value."""
        return len(self._sums[dim]) == self._halves[dim]

    def carries(self, dim: int, value_dimension: int) -> bool:
        """Return whether a dimension of the input lies along one of the value: other
        places change with each half.
        """
        shares = []
        for change_sums in self._sums[dim]:
            shares.append(
                change_sums[value_dimension] / change_sums[value_dimension].sum()
            )
        if len(shares) < 2:
            return False
        stacked = torch.stack(shares)
        relative_change = torch.where(
            stacked > 0, stacked / stacked.mean(dim=0).clamp_min(1e-300), 1
        )
        return float((stacked * relative_change.log()).sum() / len(shares)) >= _TOLD


def find_readings(
    subject: Any, rows: Sequence[Tensor], input_indices: Sequence[int]
) -> dict[int, str]:
    """Return how a network reads some of its inputs, by the first function that mixes
    their numbers.

    A convolution reads ``"series"``, ``"image"``, ``"volume"``, ``"video 4"`` (four
    frames of several channels, one behind the other) or, with its channels in the
    second dimension of a row, ``"image 1"``, a recurrent layer over single numbers
    ``"series"`` too. ``"tokens"`` have a vector for each place in a sequence, also
    where a layer or a look-up reads its numbers one by one. For ids, see
    ``subject.lookups``.
    """

    def reads(values: Sequence[Tensor]) -> list[_Read]:
        recorder = _Recorder()
        with seeded(), recorder:  # what depends on chance is the same each time
            subject.forward(values)
        return recorder.reads

    before = reads(rows)
    input_readings = {
        input_index: "image 0"
        for input_index in input_indices
        if _is_convolved_as_it_is(before, rows[input_index])
    }
    for input_index in set(input_indices).difference(input_readings):
        input_rows = rows[input_index]
        # For each function and what it is called with: by dimension of the input and
        # half of it, what changes.
        seen_changes = [
            [_Seen(input_rows.ndim - 1) for _ in function_read.arguments]
            for function_read in before
        ]
        for dimension in range(1, input_rows.ndim):
            for half_mask in _halves(input_rows, dimension):
                after = reads(
                    [
                        *rows[:input_index],
                        _moved(input_rows, half_mask),
                        *rows[input_index + 1 :],
                    ]
                )
                for read_before, read_after, notes in zip(
                    before, after, seen_changes, strict=False
                ):
                    for old_value, new_value, change_note in zip(
                        read_before.arguments, read_after.arguments, notes, strict=False
                    ):
                        change_note.add(dimension - 1, old_value, new_value)
        for mixing_read, notes in zip(before, seen_changes, strict=True):
            changed = [
                (tensor, tensor_note)
                for tensor, tensor_note in zip(
                    mixing_read.arguments, notes, strict=True
                )
                if tensor_note.changes
            ]
            reading = next(
                filter(
                    None,
                    (
                        _reading(mixing_read, tensor, tensor_note, input_rows)
                        for tensor, tensor_note in changed
                    ),
                ),
                "",
            )
            if reading:
                input_readings[input_index] = reading
            if reading or (
                changed and not _by_itself(mixing_read, changed[0][1], input_rows)
            ):
                break
    return input_readings


def _is_convolved_as_it_is(reads: Sequence[_Read], rows: Tensor) -> bool:
    """Return whether the first convolution of a network reads images themselves.

    They have channels first then, and need not be disturbed to see that.
    """
    convolutions = (
        function_read for function_read in reads if function_read.name[:4] == "conv"
    )
    first = next(convolutions, None)
    if first is None or min(rows.shape[2:], default=0) < 2:
        return False
    dims = {"conv2d": 4, "conv3d": 5}.get(first.name)
    if rows.ndim != dims:
        return False
    for argument in first.arguments:
        # The network's own tensors may lie on a device.
        if argument.shape == rows.shape and torch.equal(argument, rows.to(argument)):
            return True
    return False


def _moved(rows: Tensor, half: Tensor) -> Tensor:
    """Return rows with other numbers in a half.

    0 stays 0 and signs stay, which networks look at and count, unless there is nothing
    but 0.
    """
    if rows.dtype is torch.bool:
        return rows ^ half
    if not bool(((rows != 0) & half).any()):
        return torch.where(half, torch.ones_like(rows), rows)
    if rows.is_floating_point():
        changed_rows = rows * 1.0625
    else:
        changed_rows = rows - (rows > 0).to(rows.dtype)
    return torch.where(half, changed_rows, rows)


def _halves(rows: Tensor, dim: int) -> Iterator[Tensor]:
    """Yield both halves of a dimension, true there, of one with a single place the
    whole.
    """
    dimension_size = rows.shape[dim]
    positions = torch.arange(dimension_size, device=rows.device).reshape(
        [-1 if other_dimension == dim else 1 for other_dimension in range(rows.ndim)]
    )
    yield from (
        (
            (positions < (dimension_size + 1) // 2),
            (positions >= (dimension_size + 1) // 2),
        )
        if dimension_size > 1
        else (positions == 0,)
    )


def _reading(read: _Read, tensor: Tensor, seen_changes: _Seen, rows: Tensor) -> str:
    """Return how a function reads an input that it is called with, empty where that
    says nothing.
    """
    function_name = read.name
    if function_name.startswith("conv") and (
        function_name.endswith(("2d", "3d"))
        or (function_name.endswith("1d") and rows.ndim > 3)
    ):
        return _reading_of_images(function_name, tensor, seen_changes, rows)
    if rows.ndim == 2:
        # Numbers one by one along time, which are no channels.
        if function_name == "conv1d":
            across = 1
        elif function_name in _RECURRENT:
            across = tensor.ndim - 1
        else:
            across = 0
        if across and tensor.ndim in (2, 3) and not seen_changes.carries(0, across):
            return "series"
        return ""
    if rows.ndim == 3:
        return _reading_of_sequences(read, tensor, seen_changes, rows)
    return ""


def _reading_of_sequences(
    read: _Read, tensor: Tensor, seen_changes: _Seen, rows: Tensor
) -> str:
    """Return how a function reads rows that are sequences of vectors, ``(rows, length,
    width)`` or with length last.
    """
    if _is_one_column(read, tensor, seen_changes):
        return "tokens"
    if read.name == "conv1d":
        # Along the sequence, with its vectors as channels. Else the input has channels
        # first, as images do.
        along = []
        for dimension in (0, 1):
            along.append(
                tensor.ndim == 3
                and seen_changes.carries(dimension, 2)
                and not seen_changes.carries(dimension, 1)
            )
        if along[0]:
            return "tokens"
        if along[1]:
            return "series"
        return "image"
    pooled = read.pools == (rows.shape[0], rows.shape[2]) and tensor.ndim == 3
    vectors = read.name in _MIXING and tensor.ndim in (2, 3)
    # A vector holds the numbers of one place: patches of an image, or a flattened one,
    # do not.
    whole_vectors = (
        seen_changes.carries(1, -1) or rows.shape[2] == 1 == tensor.shape[-1]
    )
    if (vectors or pooled) and whole_vectors and not seen_changes.carries(0, -1):
        return "tokens"
    return ""


def _is_one_column(read: _Read, tensor: Tensor, seen_changes: _Seen) -> bool:
    """Return whether one number of each place is looked up, or enters a layer by
    itself, as columns of a table do.
    """
    alone = read.name.startswith("embedding") or (
        read.name in _MIXING and tensor.shape[-1] == 1
    )
    along = any(seen_changes.carries(0, dimension) for dimension in range(tensor.ndim))
    return alone and along and seen_changes.whole(0) and not seen_changes.whole(1)


def _reading_of_images(
    name: str, tensor: Tensor, seen_changes: _Seen, rows: Tensor
) -> str:
    """Return how a convolution reads images: pictures one by one, such as frames or
    slices, are a volume.

    Its channels are the last dimension that lies along them alone, or else that was put
    together before.
    """
    if name.endswith("3d") or rows.ndim == 5:
        usual = "volume"
    else:
        usual = "image"
    across = 1 if tensor.ndim == int(name[-2]) + 2 else 0
    if rows.ndim == 3:
        return usual
    apart = []
    for dimension in range(rows.ndim - 1):
        apart.append(
            [
                seen_changes.carries(dimension, value_dimension)
                for value_dimension in range(tensor.ndim)
                if value_dimension != across
            ]
        )
    fixed = []
    for dimension, carried_dimensions in enumerate(apart):
        if seen_changes.whole(dimension) and not any(carried_dimensions):
            fixed.append(dimension)
    moving = []
    for dimension in fixed:
        if seen_changes.carries(dimension, across):
            moving.append(dimension)
    single = [dimension for dimension in fixed if rows.shape[dimension + 1] == 1]
    if fixed:
        return f"image {(moving or single or fixed)[-1]}"
    if rows.ndim == 4:
        return _reading_of_slices(tensor, across, rows)
    return usual


def _reading_of_slices(tensor: Tensor, across: int, rows: Tensor) -> str:
    """Return how pictures are read that a convolution sees one by one: frames of
    several channels that lay one behind the other in a row, or slices of a volume.
    """
    pictures, left_over = divmod(len(tensor), len(rows))
    channels = tensor.shape[across]
    if across and not left_over and 1 < channels < pictures * channels == rows.shape[1]:
        return f"{VIDEO}{pictures}"
    return "volume"


def _by_itself(read: _Read, seen_changes: _Seen, rows: Tensor) -> bool:
    """Return whether a function takes each number by itself, or may take only the
    channels of a pixel.
    """
    if read.name in _POOLING or rows.ndim > 3:
        return True
    if read.name.startswith("embedding") and rows.ndim == 3:
        return True
    return read.name in _MIXING - _RECURRENT and not any(
        seen_changes.carries(dimension, -1) for dimension in range(rows.ndim - 1)
    )
