"""Find where in an input each number inside a network comes from, by passing positions along with the values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from permgrad.attribution.subject.tracing import name_of, tensors_in

#: For one input: its coordinates, one tensor of the value's shape for each followed dimension (NaN: no coordinate).
Coordinates = tuple[Tensor, ...]
#: The followed tensors among a function's arguments, with their coordinates in one input.
Sources = list[tuple[Tensor, Coordinates]]

MOVING = frozenset({
    "reshape", "view", "view_as", "reshape_as", "flatten", "unflatten", "permute", "transpose", "swapaxes", "swapdims",
    "movedim", "moveaxis", "t", "getitem", "cat", "concat", "concatenate", "stack", "hstack", "vstack", "chunk",
    "split", "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split", "unbind", "select", "narrow",
    "index_select", "gather", "take_along_dim", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "tile",
    "repeat_interleave", "broadcast_to", "roll", "flip", "unfold", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "rot90", "pack_padded_sequence", "T", "mT", "H", "mH",
})  # fmt: skip
_JOINING = frozenset(("cat", "concat", "concatenate", "stack", "hstack", "vstack"))
_COPYING = frozenset({
    "clone", "contiguous", "to", "float", "double", "half", "bfloat16", "type", "type_as", "detach", "alias",
    "requires_grad",
})  # fmt: skip
_REDUCING = frozenset(
    ("mean", "sum", "amax", "amin", "max", "min", "median", "logsumexp", "std", "var", "norm", "prod", "cumsum")
)
_PRODUCTS = frozenset(("matmul", "rmatmul", "bmm", "baddbmm", "einsum"))
_ATTENTION = frozenset(("scaled_dot_product_attention", "multi_head_attention_forward"))
_RECURRENT = frozenset(f"{name}{cell}" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell"))
#: Cells whose positions differ by less than this, in pixels, are one.
_SAME = 0.01


def mixes(name: str, followed: int) -> bool:
    """Return whether a function of so many followed tensors lets positions look at each other, as attention does."""
    return name in _ATTENTION or (name in _PRODUCTS and followed > 1)


def _is_linear(name: str, args: Sequence[Any], followed: int) -> bool:
    """Return whether a function of so many followed tensors multiplies vectors by a matrix of weights."""
    if name == "linear":
        return True
    return name in _PRODUCTS and followed == 1 and isinstance(args[-1], Tensor) and args[-1].ndim == 2


def coordinates(rows: Tensor, dimensions: Sequence[int]) -> Coordinates:
    """Return the coordinates of an input's numbers along some of its dimensions."""
    axes = []
    for dimension in dimensions:
        shape = [-1 if place == dimension else 1 for place in range(rows.ndim)]
        line = torch.arange(rows.shape[dimension], dtype=torch.float32, device=rows.device)
        axes.append(line.reshape(shape).expand(rows.shape))
    return tuple(axes)


class Follower:
    """Knows which tensors of one forward come from which inputs, and from where in them."""

    def __init__(self) -> None:
        # Tensors are held as long as this lives, so that no other one takes over their number.
        self._followed: dict[int, tuple[Tensor, dict[int, Coordinates]]] = {}

    def enter(self, value: Tensor, place: int, axes: Coordinates) -> None:
        """Follow an input from here on."""
        self._followed[id(value)] = (value, {**self.of(value), place: axes})

    def of(self, value: Any) -> dict[int, Coordinates]:
        """Return the coordinates of a tensor for each input that it comes from."""
        return self._followed.get(id(value), (None, {}))[1]

    def keep(self, value: Tensor, coordinates_: dict[int, Coordinates]) -> None:
        """Give a tensor its coordinates."""
        self._followed[id(value)] = (value, coordinates_)

    def follow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], value: Any) -> None:
        """Give the results of a function the coordinates that its arguments have."""
        followed = [tensor for tensor in tensors_in(args, kwargs) if id(tensor) in self._followed]
        results = list(tensors_in(value))
        if not followed or not results:
            return
        name = name_of(func)
        places = dict.fromkeys(place for tensor in followed for place in self.of(tensor))
        by_result: list[dict[int, Coordinates]] = [{} for _ in results]
        with torch.no_grad():
            for place in places:
                sources = [(tensor, self.of(tensor)[place]) for tensor in followed if place in self.of(tensor)]
                there: Sequence[Coordinates | None] = (
                    self._moved(func, args, kwargs, place, len(results))
                    if name in MOVING
                    else [self.handed_on(name, args, kwargs, sources, result) for result in results]
                )
                for axes_of, axes in zip(by_result, there, strict=False):
                    if axes is not None:
                        axes_of[place] = axes
        for axes_of, result in zip(by_result, results, strict=True):
            if axes_of:
                self.keep(result, axes_of)

    def handed_on(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], sources: Sources, result: Tensor
    ) -> Coordinates | None:
        """Return a result's coordinates, where it has a number for each of an argument's or is its map resampled."""
        source, axes = sources[0]
        if result.dtype == torch.int64 and all(
            one.is_floating_point() or one.dtype == torch.bool for one, _ in sources
        ):
            return None  # whole numbers made of real ones are indexes
        if name == "pad":
            return tuple(_padded(axis, args[1]) for axis in axes) if len(args) > 1 else None
        if name == "grid_sample":
            return _sampled(axes, *args, **kwargs) if args and source is args[0] else None
        if name.startswith("conv") or "pool" in name or name in ("interpolate", "upsample", "fold"):
            strides = _strides(name, args, kwargs, result.ndim - 2)
            return _resampled(axes, result, strides) if source.ndim == result.ndim >= 3 else None
        if _is_linear(name, args, len(sources)):
            return _averaged(axes, source.ndim - 1, result) if source.shape[:-1] == result.shape[:-1] else None
        return _of_same_shape(sources, result)

    def _moved(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], place: int, results: int
    ) -> list[Coordinates | None]:
        """Call a function that moves numbers on their coordinates: one tuple for each result, or none of them."""

        def stand_in(dimension: int, leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            axes = self.of(leaf).get(place)
            if axes is not None:
                axis = axes[dimension].detach()
                return axis.contiguous() if name_of(func) == "view" else axis
            # Whole numbers may be indexes.
            number = leaf.is_floating_point() or name_of(func) in _JOINING
            return torch.full(leaf.shape, math.nan, device=leaf.device) if number else leaf

        dimensions = next(len(self.of(leaf)[place]) for leaf in tensors_in(args, kwargs) if place in self.of(leaf))
        axes: list[list[Tensor]] = []
        for dimension in range(dimensions):
            replaced = pytree.tree_map(partial(stand_in, dimension), (args, kwargs))
            try:
                axes.append(list(tensors_in(func(*replaced[0], **replaced[1]))))
            except (RuntimeError, TypeError, IndexError):
                return []  # a function that takes other arguments than numbers and shapes
        # Coordinates are no whole numbers, as sizes of batches are.
        found = zip(*axes, strict=True) if all(len(axis) == results for axis in axes) else ()
        return [each if each[0].is_floating_point() else None for each in found]


def _of_same_shape(sources: Sources, result: Tensor) -> Coordinates | None:
    """Return the coordinates of an argument as large as the result, or as large but for one dimension."""
    fitting = [axes for tensor, axes in sources if tensor.shape == result.shape]
    if fitting:
        return next((axes for axes in fitting if len(fitting) == 1 or _spread(axes)), fitting[0])
    for tensor, axes in sources:
        if tensor.ndim == result.ndim:
            differing = [dim for dim in range(result.ndim) if tensor.shape[dim] != result.shape[dim]]
            if len(differing) == 1:
                return _averaged(axes, differing[0], result)
    return None


def _averaged(axes: Coordinates, dim: int, result: Tensor) -> Coordinates:
    """Return coordinates for a result that puts numbers along a dimension together."""
    return tuple(axis.nanmean(dim=dim, keepdim=True).expand(result.shape) for axis in axes)


def _padded(axis: Tensor, amounts: Sequence[int]) -> Tensor:
    """Return coordinates after padding, from the last dimension backwards, extended in equal steps."""
    for place, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        dim = axis.ndim - 1 - place
        size = axis.shape[dim]
        index = torch.arange(-before, size + after, device=axis.device)
        within = axis.index_select(dim, index.clamp(0, size - 1))
        beyond = (index - index.clamp(0, size - 1)).reshape([-1 if each == dim else 1 for each in range(axis.ndim)])
        step = axis.narrow(dim, 1, 1) - axis.narrow(dim, 0, 1) if size > 1 else 0
        axis = within + beyond * step
    return axis


def _strides(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], dims: int) -> list[float | None]:
    """Return by how many numbers the window of a convolution or pooling moves (None: as many as make it even)."""
    transposed = name.startswith("conv_transpose")
    if name.startswith("conv"):
        stride: Any = kwargs.get("stride", args[3] if len(args) > 3 else 1)
    elif name.startswith(("max_pool", "avg_pool")):
        # Without a stride it is the window's size.
        stride = kwargs.get("stride", args[2] if len(args) > 2 else None)
        stride = stride or kwargs.get("kernel_size", args[1] if len(args) > 1 else None)
    else:
        return [None] * dims
    strides = [stride] * dims if isinstance(stride, int) else list(stride)
    return [1 / one if transposed else one for one in (strides * dims if len(strides) == 1 else strides)]


def _resampled(axes: Coordinates, result: Tensor, strides: Sequence[float | None]) -> Coordinates:
    """Return the coordinates of a map's cells after a convolution or a pooling of ``(rows, channels, *cells)``.

    Cells lie a stride apart, in the middle of what was there before.
    """
    resampled = []
    for axis in axes:
        line = axis.nanmean(dim=1, keepdim=True)
        for dim, stride in enumerate(strides, start=2):
            before, cells = line.shape[dim], result.shape[dim]
            if before in (cells, 1):
                line = line if before == cells else line.expand(*line.shape[:dim], cells, *line.shape[dim + 1 :])
                continue
            step = before / cells if stride is None else stride
            index = (before - 1) / 2 + (torch.arange(cells, device=line.device) - (cells - 1) / 2) * step
            low = index.floor().clamp(0, before - 2).long()
            share = (index - low).reshape([-1 if each == dim else 1 for each in range(line.ndim)]).to(line.dtype)
            left, right = line.index_select(dim, low), line.index_select(dim, low + 1)
            line = left + share * (right - left)
        resampled.append((line if len(line) == len(result) else line[:1]).expand(result.shape))
    return tuple(resampled)


def _sampled(
    axes: Coordinates, image: Tensor, grid: Tensor, mode: str = "bilinear", *more: Any, **options: Any
) -> Coordinates:
    """Return the coordinates of a map whose numbers are read on a grid. Beyond the image they are those of its edge."""
    align = options.get("align_corners", more[1] if len(more) > 1 else None)
    found = []
    for axis in axes:
        line = axis.nanmean(dim=1, keepdim=True).to(grid.dtype)
        read = functional.grid_sample(line, grid, mode, "border", align)
        found.append(read.to(axis.dtype).expand(-1, image.shape[1], *read.shape[2:]))
    return tuple(found)


def _spread(axes: Coordinates) -> bool:
    """Return whether positions differ within a row."""
    ends = ((axis.nan_to_num(math.inf).amin(), axis.nan_to_num(-math.inf).amax()) for axis in axes if axis.numel())
    return any(bool(high > low + _SAME) for low, high in ends)


def _alike(axis: Tensor, dim: int) -> bool:
    """Return whether coordinates are the same all along a dimension."""
    first = axis.narrow(dim, 0, 1)
    return bool((((axis - first).abs() < _SAME) | (axis.isnan() & first.isnan())).all())


# ---- what a network takes an input for -------------------------------------------------------------------------------
class Following(TorchFunctionMode):
    """Follows inputs through a forward, and looks at each call before its results are followed."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile."""
        options = kwargs or {}
        value = func(*args, **options)
        self.look(name_of(func), args, options, value)
        self._follower.follow(func, args, options, value)
        return value

    def look(self, name: str, args: tuple[Any, ...], options: dict[str, Any], value: Any) -> None:
        """Look at a call of the function ``name``."""


class Reader(Following):
    """Records how a network reads its inputs, by the first function that mixes numbers.

    A convolution reads ``"series"``, ``"image"``, ``"volume"`` or, with its channels in the second dimension of a row,
    ``"image 1"``, a recurrent layer over single numbers ``"series"`` too. ``"tokens"`` have a vector for each place in
    a sequence. For whole numbers that are looked up, see ``subject.lookups``.
    """

    def __init__(self, inputs: Mapping[int, Tensor]) -> None:
        super().__init__(Follower())
        self.readings: dict[int, str] = {}
        self._inputs = dict(inputs)
        for place, rows in inputs.items():
            self._follower.enter(rows, place, coordinates(rows, range(1, rows.ndim)))

    def look(self, name: str, args: tuple[Any, ...], options: dict[str, Any], value: Any) -> None:
        """Record how a function reads inputs that are not read yet."""
        for tensor in tensors_in(args, options):
            for place, axes in self._follower.of(tensor).items():
                if place not in self.readings and (reading := _reading(name, tensor, axes, self._inputs[place], value)):
                    self.readings[place] = reading
        if len(self.readings) == len(self._inputs):
            self._follower = Follower()  # there is nothing left to look at


def _reading(name: str, tensor: Tensor, axes: Coordinates, rows: Tensor, value: Any) -> str:
    if name.startswith("conv") and (name.endswith(("2d", "3d")) or (name.endswith("1d") and rows.ndim > 3)):
        return _reading_of_images(name, tensor, axes, rows)
    if rows.ndim == 2:
        # Numbers one by one along time, which are no channels.
        across = 1 if name == "conv1d" else tensor.ndim - 1 if name in _RECURRENT else 0
        return "series" if across and tensor.ndim in (2, 3) and _alike(axes[0], across) else ""
    return _reading_of_vectors(name, tensor, axes, rows, value) if rows.ndim == 3 else ""


def _reading_of_images(name: str, tensor: Tensor, axes: Coordinates, rows: Tensor) -> str:
    """Return how a convolution reads images: pictures one by one, such as frames or slices, are a volume.

    Its channels are the last dimension that changes only along them, or else that was put together before.
    """
    usual = "volume" if name.endswith("3d") or rows.ndim == 5 else "image"
    across = 1 if tensor.ndim == int(name[-2]) + 2 else 0
    there = torch.stack([(~axis.isnan()).transpose(0, across).flatten(1).any(dim=1) for axis in axes]).all(dim=0)
    if rows.ndim == 3 or not there.any():
        return usual
    whole = [axis.transpose(0, across)[there] for axis in axes]
    fixed = [place for place, axis in enumerate(whole) if all(_alike(axis, dim) for dim in range(1, axis.ndim))]
    moving = [place for place in fixed if not _alike(whole[place], 0)]
    # Of one slice after the other, the first is at 0, and a mean of channels in their middle.
    middle = [(rows.shape[place + 1] - 1) / 2 for place in range(len(axes))]
    still = [place for place in fixed if abs(whole[place].nanmean() - middle[place]) < _SAME]
    if moving or still:
        return f"image {(moving or still)[-1]}"
    return "volume" if rows.ndim == 4 else usual


def _reading_of_vectors(name: str, tensor: Tensor, axes: Coordinates, rows: Tensor, value: Any) -> str:
    """Return how a function reads an input of three dimensions."""
    if name == "conv1d":
        # Along the sequence, with its vectors as channels. Else the input has channels first, as images do.
        along = [tensor.ndim == 3 and _alike(axis, 1) and not _alike(axis, 2) for axis in axes]
        return "tokens" if along[0] else "series" if along[1] else "image"
    vectors = name == "linear" or name in _RECURRENT or mixes(name, 2)
    pooled = name in _REDUCING and isinstance(value, Tensor) and value.shape == (rows.shape[0], rows.shape[2])
    # Places one after the other, packed or step by step, and beside numbers of other inputs.
    if not (vectors or pooled) or tensor.ndim not in (2, 3) or (pooled and tensor.ndim == 2):
        return ""
    there = (~axes[1].isnan()).flatten(0, -2).any(dim=0)
    place, number = axes[0][..., there], axes[1][..., there].flatten(0, -2)
    # A vector holds the same numbers of one place, and maybe masks of them: patches of an image, or a flattened one, do
    # not.
    whole = number[~number.isnan().any(dim=1)][:1]
    same = bool(((number == whole) | number.isnan()).all()) if len(whole) else False
    return "tokens" if same and _alike(place, -1) else ""
