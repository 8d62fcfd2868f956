"""What a network takes an input for: which of its dimensions change what, where its numbers are mixed first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from permgrad.attribution.subject.tracing import name_of, tensors_in
from permgrad.base.random import seeded

_RECURRENT = frozenset(
    f"{name}{cell}"
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    for cell in ("", "_cell")
)
_MIXING = frozenset({
    "linear", "matmul", "rmatmul", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention",
    "multi_head_attention_forward", *_RECURRENT,
})  # fmt: skip
_POOLING = frozenset(
    ("mean", "sum", "amax", "amin", "max", "min", "median", "logsumexp")
)
#: Both halves of a dimension change other places of a value where this is told of which, in nats (at most log 2), and
#: the share of a value that is rounding.
_TOLD, _ROUNDING = 0.3, 1e-6


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
        options, name = kwargs or {}, name_of(func)
        pools = name in _POOLING
        if pools or name in _MIXING or name.startswith(("conv", "embedding")):
            own = [
                one
                for one in tensors_in(args, options)
                if not isinstance(one, nn.Parameter) and one.ndim
            ]
            read = _Read(name, [one.detach().clone() for one in own], ())
            self.reads.append(read)
        value = func(*args, **options)
        if pools and isinstance(value, Tensor):
            read.pools = tuple(value.shape)
        return value


class _Seen:
    """How a value changes with both halves of each dimension of an input, counted without rows."""

    def __init__(self, dims: int) -> None:
        #: for each half that changes it how much its places change, by its dimension; and how many halves there are
        self._sums: list[list[list[Tensor]]] = [[] for _ in range(dims)]
        self._halves = [0] * dims

    def add(self, dim: int, before: Tensor, after: Tensor) -> None:
        """Note how the value is, and is otherwise where half of a dimension of the input is."""
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
                    change.movedim(at, 0).reshape(n, -1).sum(dim=1)
                    for at, n in enumerate(change.shape)
                ]
            )

    @property
    def changes(self) -> bool:
        """Whether the value changes at all."""
        return any(self._sums)

    def whole(self, dim: int) -> bool:
        """Return whether both halves of a dimension change the value."""
        return len(self._sums[dim]) == self._halves[dim]

    def carries(self, dim: int, place: int) -> bool:
        """Return whether a dimension of the input lies along one of the value: other places change with each half."""
        shares = [sums[place] / sums[place].sum() for sums in self._sums[dim]]
        if len(shares) < 2:
            return False
        stacked = torch.stack(shares)
        more = torch.where(
            stacked > 0, stacked / stacked.mean(dim=0).clamp_min(1e-300), 1
        )
        return float((stacked * more.log()).sum() / len(shares)) >= _TOLD


def find_readings(
    subject: Any, rows: Sequence[Tensor], places: Sequence[int]
) -> dict[int, str]:
    """Return how a network reads some of its inputs, by the first function that mixes their numbers.

    A convolution reads ``"series"``, ``"image"``, ``"volume"`` or, with its channels in the second dimension of a row,
    ``"image 1"``, a recurrent layer over single numbers ``"series"`` too. ``"tokens"`` have a vector for each place in
    a sequence, also where a layer or a look-up reads its numbers one by one. For ids, see ``subject.lookups``.
    """

    def reads(values: Sequence[Tensor]) -> list[_Read]:
        recorder = _Recorder()
        with seeded(), recorder:  # what depends on chance is the same each time
            subject.forward(values)
        return recorder.reads

    before, found = reads(rows), dict[int, str]()
    for place in places:
        own = rows[place]
        # For each function and what it is called with: by dimension of the input and half of it, what changes.
        seen = [[_Seen(own.ndim - 1) for _ in read.arguments] for read in before]
        for dim in range(1, own.ndim):
            for half in _halves(own, dim):
                after = reads([*rows[:place], _moved(own, half), *rows[place + 1 :]])
                for one, two, notes in zip(before, after, seen, strict=False):
                    for old, new, note in zip(
                        one.arguments, two.arguments, notes, strict=False
                    ):
                        note.add(dim - 1, old, new)
        for read, notes in zip(before, seen, strict=True):
            changed = [
                (tensor, note)
                for tensor, note in zip(read.arguments, notes, strict=True)
                if note.changes
            ]
            reading = next(
                filter(
                    None,
                    (_reading(read, tensor, note, own) for tensor, note in changed),
                ),
                "",
            )
            if reading:
                found[place] = reading
            if reading or (changed and not _by_itself(read, changed[0][1], own)):
                break
    return found


def _moved(rows: Tensor, half: Tensor) -> Tensor:
    """Return rows with other numbers in a half.

    0 stays 0 and signs stay, which networks look at and count, unless there is nothing but 0.
    """
    if rows.dtype is torch.bool:
        return rows ^ half
    if not bool(((rows != 0) & half).any()):
        return torch.where(half, torch.ones_like(rows), rows)
    other = (
        rows * 1.0625 if rows.is_floating_point() else rows - (rows > 0).to(rows.dtype)
    )
    return torch.where(half, other, rows)


def _halves(rows: Tensor, dim: int) -> Iterator[Tensor]:
    """Yield both halves of a dimension, true there, of one with a single place the whole."""
    size = rows.shape[dim]
    at = torch.arange(size, device=rows.device).reshape(
        [-1 if each == dim else 1 for each in range(rows.ndim)]
    )
    yield from (
        ((at < (size + 1) // 2), (at >= (size + 1) // 2)) if size > 1 else (at == 0,)
    )


def _reading(read: _Read, tensor: Tensor, seen: _Seen, rows: Tensor) -> str:
    """Return how a function reads an input that it is called with, empty where that says nothing."""
    name = read.name
    if name.startswith("conv") and (
        name.endswith(("2d", "3d")) or (name.endswith("1d") and rows.ndim > 3)
    ):
        return _reading_of_images(name, tensor, seen, rows)
    if rows.ndim == 2:
        # Numbers one by one along time, which are no channels.
        across = 1 if name == "conv1d" else tensor.ndim - 1 if name in _RECURRENT else 0
        return (
            "series"
            if across and tensor.ndim in (2, 3) and not seen.carries(0, across)
            else ""
        )
    return _reading_of_sequences(read, tensor, seen, rows) if rows.ndim == 3 else ""


def _reading_of_sequences(
    read: _Read, tensor: Tensor, seen: _Seen, rows: Tensor
) -> str:
    """Return how a function reads rows that are sequences of vectors, ``(rows, length, width)`` or with length last."""
    if _is_one_column(read, tensor, seen):
        return "tokens"
    if read.name == "conv1d":
        # Along the sequence, with its vectors as channels. Else the input has channels first, as images do.
        along = [
            tensor.ndim == 3 and seen.carries(dim, 2) and not seen.carries(dim, 1)
            for dim in (0, 1)
        ]
        return "tokens" if along[0] else "series" if along[1] else "image"
    pooled = read.pools == (rows.shape[0], rows.shape[2]) and tensor.ndim == 3
    vectors = read.name in _MIXING and tensor.ndim in (2, 3)
    # A vector holds the numbers of one place: patches of an image, or a flattened one, do not.
    whole = seen.carries(1, -1) or rows.shape[2] == 1 == tensor.shape[-1]
    return "tokens" if (vectors or pooled) and whole and not seen.carries(0, -1) else ""


def _is_one_column(read: _Read, tensor: Tensor, seen: _Seen) -> bool:
    """Return whether one number of each place is looked up, or enters a layer by itself, as columns of a table do."""
    alone = read.name.startswith("embedding") or (
        read.name in _MIXING and tensor.shape[-1] == 1
    )
    along = any(seen.carries(0, dim) for dim in range(tensor.ndim))
    return alone and along and seen.whole(0) and not seen.whole(1)


def _reading_of_images(name: str, tensor: Tensor, seen: _Seen, rows: Tensor) -> str:
    """Return how a convolution reads images: pictures one by one, such as frames or slices, are a volume.

    Its channels are the last dimension that lies along them alone, or else that was put together before.
    """
    usual = "volume" if name.endswith("3d") or rows.ndim == 5 else "image"
    across = 1 if tensor.ndim == int(name[-2]) + 2 else 0
    if rows.ndim == 3:
        return usual
    apart = [
        [seen.carries(dim, place) for place in range(tensor.ndim) if place != across]
        for dim in range(rows.ndim - 1)
    ]
    fixed = [
        dim for dim, others in enumerate(apart) if seen.whole(dim) and not any(others)
    ]
    moving = [dim for dim in fixed if seen.carries(dim, across)]
    single = [dim for dim in fixed if rows.shape[dim + 1] == 1]
    if fixed:
        return f"image {(moving or single or fixed)[-1]}"
    return "volume" if rows.ndim == 4 else usual


def _by_itself(read: _Read, seen: _Seen, rows: Tensor) -> bool:
    """Return whether a function takes each number by itself, or may take only the channels of a pixel."""
    if read.name in _POOLING or rows.ndim > 3:
        return True
    if read.name.startswith("embedding") and rows.ndim == 3:
        return True
    return read.name in _MIXING - _RECURRENT and not any(
        seen.carries(dim, -1) for dim in range(rows.ndim - 1)
    )
