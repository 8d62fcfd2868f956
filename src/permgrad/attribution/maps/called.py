"""Class activation maps of any network, read where a layer or function is called: one for each image input."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from permgrad.attribution.maps.drawn import Picture, Read, weighted_maps
from permgrad.attribution.maps.placed import ROUNDING, Lie, Lines, even_lines, measured
from permgrad.attribution.players.segments import ImageShape
from permgrad.attribution.request import Request
from permgrad.attribution.slopes.gradients import Tensors, batch_size, copied_rows, differentiating, output_gradients
from permgrad.attribution.subject.positions import (
    Cells,
    Follower,
    cells_of,
    coordinates,
    hands_on,
    mixes,
    name_of,
    tensors_in,
)
from permgrad.attribution.subject.subject import twice
from permgrad.attribution.subject.tracing import Site, listening
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, counted
from permgrad.models.network.options import ACTIVATIONS

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS: tuple[Any, ...] = (
    *ACTIVATIONS.values(),
    *(nn.CELU, nn.ELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6),
    *(nn.Sigmoid, nn.Softplus, nn.Softsign),
)
#: The functions behind them and behind normalisations, as ``name_of`` gives them.
_RECTIFYING = frozenset(("leaky_relu", "threshold", *(activation.__name__.lower() for activation in _ACTIVATIONS)))
_NORMALISING = frozenset(("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"))
#: What helps where a network makes an image inside, such as a spectrogram.
MADE_INSIDE = "To see a map of an image that the network makes inside, pass that image to a module of what follows it"
#: Rows on which it is found out which calls see which input.
_PROBE_ROWS = 2


# ---- listening to a network ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Call:
    """A layer's call (empty: the network's), or a function's after it. ``number`` and ``again`` count those before."""

    layer: str
    number: int
    function: str = ""
    again: int = 0

    def __str__(self) -> str:
        """Return the name, with the number of the call where it is not the first, and the function."""
        name = self.layer if not self.number else f"{self.layer} (call {self.number + 1})"
        function = self.function if not self.again else f"{self.function} (call {self.again + 1})"
        return ", ".join(part for part in (name, function) if part) or "the network"


@dataclass
class _Heard:
    """One result of a function: its inputs, its outputs, and the layer that it belongs to."""

    call: Call
    function: str
    sources: list[_Heard]
    value: Tensor
    version: int
    #: Whether it was made on the way into an attention, as queries, keys and values are.
    inward: bool = False


class _Listener(TorchFunctionMode):
    """Records the results of layers and functions and traces them to inputs, or stores those of ``wanted`` calls."""

    def __init__(self, wanted: Collection[Call] | None = None) -> None:
        super().__init__()
        self.wanted = wanted
        self.values: dict[Call, Tensor] = {}
        self.heard: list[_Heard] = []
        self.returned: list[tuple[Call, Any]] = []
        self.follower = Follower()
        self.functions: set[str] = set()
        self._counts: Counter[Call] = Counter()
        self._last = Call("", 0)
        self._inside: list[tuple[str, int]] = []
        self._made: dict[tuple[int, int], _Heard] = {}

    def enter(self, site: Site) -> None:
        """Note that a layer is called."""
        self._inside.append((site[0], len(self.heard)))

    def leave(self, site: Site, arguments: tuple[Any, ...], _: Any, value: Any) -> Any:
        """Note the result of a layer. Return the result that the network continues with, or None for the same."""
        self._inside.pop()
        self._last = call = Call(*site)
        if self.wanted is not None:
            return self._handed_on(call, value)
        if isinstance(value, Tensor):
            if not self.follower.of(value):
                # A layer of code that calls no torch functions, such as a compiled one.
                self._hear(call, None, arguments, {}, [], value)
            made = self.maker(value)
            if made is not None and made.call.function:
                made.call = call
            self.returned.append((call, value))
        return None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        name = name_of(func)
        if not name or name in ("get", "set"):
            return func(*args, **options)  # properties of tensors, such as their shape
        call = replace(self._last, function=name)
        self._counts[call] += 1
        call = replace(call, again=self._counts[call] - 1)
        if self.wanted is not None:
            return self._handed_on(call, func(*args, **options))
        # Who made what goes in is asked before it is written into.
        sources = [maker for maker in map(self.maker, tensors_in(args, options)) if maker is not None]
        return self._hear(call, func, args, options, sources, func(*args, **options))

    def maker(self, value: Tensor) -> _Heard | None:
        """Return what made a value."""
        return self._made.get((id(value), _version(value)))

    def _handed_on(self, call: Call, value: Any) -> Any:
        if call not in (self.wanted or ()) or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if torch.is_grad_enabled() and not value.requires_grad:
            value.requires_grad_()
        self.values[call] = value
        return value.clone()

    def _hear(
        self, call: Call, func: Any, args: Sequence[Any], options: Mapping[str, Any], sources: list[_Heard], value: Any
    ) -> Any:
        """Follow and store the results of a function. Return those that the network continues with."""
        followed = [tensor for tensor in tensors_in(args, options) if self.follower.of(tensor)]
        if not followed:
            return value
        name = name_of(func)
        self.functions.add(name)
        if mixes(name, len(followed)) and self._inside and self._inside[-1][0]:
            for heard in self.heard[self._inside[-1][1] :]:
                heard.inward = True
        self.follower.follow(func, args, options, value)
        for result in tensors_in(value):
            if result.is_floating_point() and self.follower.of(result) and self.maker(result) is None:
                if torch.is_grad_enabled() and not result.requires_grad:
                    result.requires_grad_()  # whole numbers that become real ones, or frozen weights
                heard = _Heard(call, name, sources, result, _version(result))
                self._made[id(result), heard.version] = heard
                self.heard.append(heard)
                if result is value and not hands_on(name):
                    # A copy, so that what works in place behind it leaves the value as it was.
                    value = value.clone()
                    self.follower.keep(value, self.follower.of(result))
                    self._made[id(value), _version(value)] = heard
        return value


def _version(value: Tensor) -> int:
    """Return how often a tensor was changed in place."""
    return 0 if value.is_inference() else int(value._version)  # noqa: SLF001 — torch has no other word for it


# ---- which call belongs to which image -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Place:
    """Where a map is read: whose value, how it is laid out (None: channels, then cells), and its size."""

    call: Call
    cells: Cells | None
    shape: tuple[int, ...]
    copies: int = 1  # entries for each row, such as frames, and whether they come before the rows
    before: bool = False
    views: tuple[tuple[Call, Cells], ...] = ()  # of the same function for each view of the image, if several
    along: int | None = None  # the image's dimension along which these lie (None: on the same cells)

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls whose maps are read."""
        return tuple(call for call, _ in self.views) or (self.call,)

    def taken(self, values: Sequence[Tensor], rows: int, at: int = 0) -> Tensor:
        """Return the values of all calls, with rows at dimension ``at``, as one map."""
        maps = [self.by_row(value, rows, at) for value in values]
        if self.cells is None:
            return maps[0]
        taken = [
            cells.take(one) for cells, one in zip([own for _, own in self.views] or [self.cells], maps, strict=True)
        ]
        return torch.cat(taken, dim=at + (1 if self.along is None else 2 + self.along))

    def lines(self, size: tuple[int, ...]) -> Lines:
        """Return where the lines of cells lie in an image, by dimension. Where it is not known, they cover it."""
        if self.cells is None:
            return even_lines(self.shape[1:], size)
        lines = list(self.cells.lines)
        if self.along is not None:
            lines[self.along] = torch.cat([own.lines[self.along] for _, own in self.views])
        return (*even_lines((), size[: len(size) - len(lines)]), *lines)

    def __str__(self) -> str:
        """Return the name of the call, or of the function whose calls are read."""
        alone = replace(self.call, number=0, again=0)
        return str(self.call) if len(self.calls) == 1 else f"{alone} ({len(self.calls)} calls)"

    def by_row(self, value: Tensor, rows: int, at: int = 0) -> Tensor:
        """Return a value with the dimension ``at`` split into rows and copies, if there are several."""
        if self.copies == 1:
            return value
        sizes = (self.copies, rows) if self.before else (rows, self.copies)
        return value.unflatten(at, sizes).transpose(at, at + int(self.before))


def image_calls(
    request: Request, layer: str | None, shapes: Mapping[int, ImageShape], *, before_activation: bool
) -> tuple[dict[int, Place], int]:
    """Return where the map of each image is read, and numbers held for each row.

    It is the last value with spatial extent whose cells the output uses. Functions that only move, copy or pool a map
    do not count, nor do queries, keys and values. A named convolution is read after its activation, as in the papers.
    """
    subject: Any = request.subject
    modules = dict(subject.module.named_modules())
    if layer is not None:
        check_choice("layer", layer, [name for name in modules if name])
    rows = copied_rows(subject, request.inputs, slice(0, _PROBE_ROWS))
    # Two rows tell which dimension is theirs.
    rows = rows if len(rows[0]) > 1 else twice(rows)
    listener = _Listener()
    with torch.inference_mode(mode=False), torch.enable_grad():
        for place, shape in shapes.items():
            listener.follower.enter(rows[place], place, coordinates(rows[place], shape.dimensions))
            if rows[place].is_floating_point():
                rows[place].requires_grad_()
        with listening(modules, listener.leave, listener.enter), listener:
            outputs = subject.forward(rows)
        if layer is None:
            read = _last_maps(listener, outputs, shapes, before_activation=before_activation)
            # A convolution that sees the whole image at once leaves a single cell, which has no extent.
            convolutions = {name for name, module in modules.items() if isinstance(module, _CONVOLUTIONS)}
            read |= _named(listener, convolutions, rows, [place for place in shapes if place not in read])
        else:
            read = _named(listener, {layer}, rows, list(shapes))
            if not before_activation and isinstance(modules[layer], _CONVOLUTIONS):
                read = {place: _rectified(call, value, listener.heard) for place, (call, value) in read.items()}
        places = {}
        for place, (call, value) in read.items():
            places[place] = _read_at(listener, call, value, place, len(outputs), subject.input_names[place])
    for place, read_at in places.items():
        _refuse_other_axes(listener, read_at, shapes[place].size, subject.input_names[place])
    if not places:
        raise _nothing_to_read(request, list(shapes), layer)
    numbers = sum(heard.value.numel() for heard in listener.heard) + sum(row.numel() for row in rows)
    return places, -(-numbers // len(rows[0]))


def _read_at(listener: _Listener, call: Call, value: Tensor, place: int, rows: int, name: str) -> Place:
    """Return how a value is read as maps of an image, with the shape of one row's. Refuse one that lies elsewhere."""
    read = _place(listener, call, value, place, rows)
    if read.cells is not None:
        read = _with_views(listener, read, value, place, rows, name)
    elif place in listener.follower.of(value) and value.ndim in (3, 4, 5) and value[0, 0].numel() > 1:
        raise _lies_elsewhere(name, read)
    return replace(read, shape=tuple(read.taken([value] * len(read.calls), rows).shape[1:]))


def _place(listener: _Listener, call: Call, value: Tensor, place: int, rows: int) -> Place:
    """Return how a value is read as maps of an image, without cells if it cannot be."""
    axes, several = listener.follower.of(value).get(place), len(value) // rows
    if axes is None or len(value) % rows or not several:
        return Place(call, None, ())
    for before in (False, True):
        layout = Place(call, None, (), several, before)
        cells = cells_of(tuple(layout.by_row(axis, rows) for axis in axes))
        if cells is not None or several == 1:
            return replace(layout, cells=cells)
    return Place(call, None, ())


def _refuse_other_axes(listener: _Listener, read: Place, size: tuple[int, ...], name: str) -> None:
    """Refuse a map whose sides are not those of the input, such as that of a spectrogram made inside."""
    back = {function for function in listener.functions if "ifft" in function or "irfft" in function}
    turned = not back and any("fft" in function for function in listener.functions)
    sides = zip(read.shape[1:], size, strict=True) if len(read.shape) == 1 + len(size) else ()
    if turned or any(cells > 1 == side for cells, side in sides):
        raise InputError(
            f"The network makes another image of {name!r} (a spectrogram, frequencies), and a map {read.shape[1:]} of "
            f"it has no places in {name!r} {size}",
            hint=MADE_INSIDE,
            code="PG034",
        )


def _with_views(listener: _Listener, read: Place, value: Tensor, place: int, rows: int, name: str) -> Place:
    """Return a place with all calls that read views of an input, where a network runs its encoder once for each.

    Their maps lie one behind the other along a dimension of the image, or on the same cells.
    """
    views, ends = dict[Call, Any](), dict[Call, list[tuple[float, float]]]()
    for call, one in _views(listener, read.call, value, place):
        views[call] = _place(listener, call, one, place, rows).cells
        there = (axis[~axis.isnan()] for axis in listener.follower.of(one).get(place, ()))
        ends[call] = [(round(float(line.min()), 2), round(float(line.max()), 2)) for line in there]
    along = [dim for dim, lines in enumerate(zip(*ends.values(), strict=True)) if len(set(lines)) > 1]
    ordered = sorted(views, key=lambda call: ends[call][along[0]] if along else 0)
    pairs = itertools.pairwise(ends[call][along[0]] for call in ordered) if along else ()
    sizes = {cells and cells.size for cells in views.values()}
    if len(along) > 1 or any(one[1] >= other[0] for one, other in pairs) or len(sizes) > 1:
        raise InputError(
            f"The network runs layer {read.call.layer!r} for parts of {name!r} that overlap, or differ in several "
            "directions, and a class activation map would show the last one alone",
            hint="Choose method='integrated_gradients', or pass all parts through it at once",
            code="PG034",
        )
    return replace(read, views=tuple((call, views[call]) for call in ordered), along=along[0] if along else None)


def _views(listener: _Listener, read: Call, value: Tensor, place: int) -> Iterator[tuple[Call, Tensor]]:
    """Yield a call that reads an input, and those like it that it is not made of."""
    own, before = set[int](), [listener.maker(value)]
    while before:
        heard = before.pop()
        if heard is not None and id(heard) not in own:
            own.add(id(heard))
            before += heard.sources
    for call, one in (*((heard.call, heard.value) for heard in listener.heard), *listener.returned, (read, value)):
        maker, axes = listener.maker(one), listener.follower.of(one).get(place, ())
        like = (call.layer, call.function, one.shape) == (read.layer, read.function, value.shape)
        if call == read or (like and one.requires_grad and axes and maker is not None and id(maker) not in own):
            yield call, one


def _last_maps(
    listener: _Listener, outputs: Tensor, shapes: Mapping[int, ImageShape], *, before_activation: bool
) -> dict[int, tuple[Call, Tensor]]:
    """Return for each image the last value with spatial extent whose cells the output uses."""
    candidates = _candidates(listener, len(outputs), before_activation=before_activation)
    total: Any = None
    if outputs.requires_grad and candidates:
        weights = 1 + torch.arange(outputs.numel(), dtype=outputs.dtype, device=outputs.device).reshape(outputs.shape)
        total = (outputs * weights.sqrt()).sum()
    last: dict[int, tuple[Call, Tensor]] = {}
    pending, behind, size = list(shapes), len(candidates), 1
    # From the last backwards, ever more at a time: the slopes of all would take as much memory as all values.
    while pending and behind:
        some = candidates[max(0, behind - size) : behind][::-1]
        behind, size = max(0, behind - size), 2 * size
        slopes: Sequence[Tensor | None] = [None] * len(some)
        if total is not None:
            with differentiating():
                values = [heard.value for heard in some]
                slopes = torch.autograd.grad(total, values, retain_graph=True, allow_unused=True)
        for place in list(pending):
            for heard, slope in zip(some, slopes, strict=True):
                layout = _place(listener, heard.call, heard.value, place, len(outputs))
                if layout.cells is None or heard.inward or (slope is None and outputs.requires_grad):
                    continue
                used = slope is not None and bool((layout.cells.take(layout.by_row(slope, len(outputs))) != 0).any())
                # If no map has cells that the output uses, the first one.
                if used or place not in last:
                    last[place] = (heard.call, heard.value)
                if used:
                    pending.remove(place)
                    break
    return last


def _candidates(listener: _Listener, rows: int, *, before_activation: bool) -> list[_Heard]:
    """Return the values that may be maps of rows: with slopes, unchanged since, and not merely passed on."""
    skipped = _RECTIFYING | _NORMALISING if before_activation else frozenset()
    return [
        heard
        for heard in listener.heard
        if heard.version == _version(heard.value) and heard.value.requires_grad
        and heard.value.ndim and len(heard.value) % rows == 0
        and not hands_on(heard.function) and heard.function not in skipped
    ]  # fmt: skip


def _named(
    listener: _Listener, layers: set[str], rows: Tensors, places: Sequence[int]
) -> dict[int, tuple[Call, Tensor]]:
    """Return the last call of some layers that depends on each image: seen from where its value is, or by gradient."""

    def depends(value: Tensor, place: int) -> bool:
        sources = listener.follower.of(value)
        if sources or not (value.requires_grad and rows[place].requires_grad):
            return place in sources
        with differentiating():
            return torch.autograd.grad(value.sum(), rows[place], retain_graph=True, allow_unused=True)[0] is not None

    calls = [(call, value) for call, value in listener.returned if call.layer in layers and value.is_floating_point()]
    last = {place: next((made for made in reversed(calls) if depends(made[1], place)), None) for place in places}
    return {place: made for place, made in last.items() if made is not None}


def _rectified(call: Call, value: Tensor, heard: list[_Heard]) -> tuple[Call, Tensor]:
    """Return the call of the activation of a convolution's value, or the convolution's own if there is none."""
    current = next((candidate for candidate in heard if candidate.call == call), None)
    while current is not None and (current.call == call or current.function in _NORMALISING):
        source = current
        current = next((behind for behind in heard if any(made is source for made in behind.sources)), None)
    rectified = current is not None and current.function in _RECTIFYING
    return (current.call, current.value) if rectified and current is not None else (call, value)


def _lie(request: Request, place: int, read: Place, shape: ImageShape) -> Lie | None:
    """Return where a map lies in its image, or None where its value is none of a map, which is refused when read."""
    subject: Any = request.subject
    if not 2 <= len(read.shape) <= 1 + len(shape.size):
        return None
    modules = dict(subject.module.named_modules())
    rows = copied_rows(subject, request.inputs, slice(0, _PROBE_ROWS))
    rows = rows if len(rows[0]) > 1 else twice(rows)
    image, low, high = rows[place], rows[place].amin(), rows[place].amax()

    def cells(disturbed: Tensor) -> Tensor | None:
        listener = _Listener(read.calls)
        with torch.no_grad(), listening(modules, listener.leave, listener.enter), listener:
            count = len(subject.forward([*rows[:place], disturbed, *rows[place + 1 :]]))
        values = [listener.values[call] for call in read.calls if call in listener.values]
        whole = len(values) == len(read.calls) and all(len(value) == read.copies * count for value in values)
        return read.taken(values, count) if whole else None

    def changes(block: Tensor) -> Tensor | None:
        block = block.to(image.device)
        block = block if shape.channels is None else block.unsqueeze(shape.channels)
        after = None if before is None else cells(torch.where(block, high + low - image, image))
        if before is None or after is None:
            return None
        change = (before - after).abs().nan_to_num(0, 0, 0)
        return (change * (change > ROUNDING * before.abs().amax())).sum(dim=1).cpu()

    before = cells(image)
    found = measured(shape, read.lines(shape.size), changes)
    if found is None:
        raise _lies_elsewhere(subject.input_names[place], read)
    return found


def _lies_elsewhere(name: str, read: Place) -> InputError:
    return InputError(
        f"Cannot tell where in {name!r} a class activation map of layer {str(read)!r} lies: its cells are not a grid "
        "over the input, or parts of the input change cells in other places",
        hint="Pass layer= with the name of an earlier layer, or choose method='integrated_gradients'",
        code="PG034",
    )


def _nothing_to_read(request: Request, images: list[int], layer: str | None) -> InputError:
    subject: Any = request.subject
    names = subject.form.names  # what keeps the row's tokens follows the user's inputs
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in zip(names, request.inputs, strict=False))
    if not images:
        return InputError(
            "There is no image: gradcam needs an image input that enters a convolution or is cut into patches, (rows, "
            f"height, width) or (rows, channels, height, width), got {shapes}",
            hint=f"Choose method='integrated_gradients', 'deeplift' or 'permutation'. {MADE_INSIDE}",
            code="PG034",
        )
    inputs = " or ".join(repr(names[place]) for place in images)
    if layer is not None:
        problem = f"gradcam reads a layer of an image encoder, and layer {layer!r} does not depend on {inputs}"
        return InputError(problem, hint="Name a layer of its encoder", code="PG037")
    return InputError(
        "There is no map: gradcam reads the last value with spatial extent, and the network calls no Conv1d or Conv2d "
        f"layer on {inputs} and makes no tokens of its patches",
        hint="Pass layer= with the name of a layer whose value is (rows, channels, height, width), or choose "
        "method='integrated_gradients', 'deeplift' or 'permutation'",
        code="PG034",
    )


# ---- maps of a batch -------------------------------------------------------------------------------------------------
class CalledMaps:
    """Maps of the image inputs of any network, read at calls of a layer or a function, with the subject open."""

    quantity = "mean of the class activation map over the player's pixels"

    def __init__(self, request: Request, options: Mapping[str, Any]) -> None:
        self.request, self.options = request, options
        subject, inputs = request.subject, request.subject.input_names
        self._shapes = {place: one for place, one in enumerate(request.shapes) if one is not None and not one.vectors}
        self._places, numbers = image_calls(
            request, options["layer"], self._shapes, before_activation=options["before_activation"]
        )
        self._lies = {place: _lie(request, place, read, self._shapes[place]) for place, read in self._places.items()}
        self.pictures = []
        for place, read in self._places.items():
            name, empty = inputs[place], np.zeros((request.count, len(request.targets)), dtype=bool)
            words = f"of {name!r} at layer {str(read)!r} are all zero, and so are their players' values"
            self.pictures.append(Picture(f"maps:{name}", f"images:{name}", words, empty, options["maps"]))
        space = request.space
        segments = tuple(space.segments[place] for place in self._places)
        self._space = replace(space, inputs=tuple(space.inputs[place] for place in self._places), segments=segments)
        # The players that own positions of inputs with maps.
        self._owners = np.flatnonzero(self._space.sizes()).tolist()
        self._sizes = torch.as_tensor(self._space.sizes()[self._owners], device=subject.device)
        self.names = tuple(space.names[owner] for owner in self._owners)
        self.modality = tuple(space.modality[owner] for owner in self._owners)
        self.batch = batch_size(request, numbers)

    def read(self, part: slice) -> Read:
        """Return the maps, and their means over each player's positions. All channels of a pixel share its value."""
        request, options, places = self.request, self.options, list(self._places.values())
        subject: Any = request.subject
        rows, asked = subject.in_company(copied_rows(subject, request.inputs, part)), part.stop - part.start
        calls = [(place, call) for place in places for call in place.calls]
        listener = _Listener({call for _, call in calls})
        with torch.inference_mode(mode=False), torch.enable_grad():
            with listening(dict(subject.module.named_modules()), listener.leave, listener.enter), listener:
                outputs = subject.readout(subject.forward(rows), request.scale)
            for place, call in calls:
                if call not in listener.values:
                    problem = f"The network does not call {str(call)!r} for every batch of rows"
                    hint = "Pass layer= with the name of a layer that it always calls"
                    raise InputError(problem, hint=hint, code="PG037")
                value, count = listener.values[call], len(outputs)
                if len(value) != place.copies * count or (place.cells is None and value.ndim not in (3, 4, 5)):
                    raise InputError(
                        "A class activation map needs a layer whose value is (rows, channels, height, width) or (rows, "
                        f"channels, length), got {tuple(value.shape)} from layer {place.call.layer!r} for "
                        f"{counted(count, 'row')}",
                        hint="Pass layer= with the name of a convolution that sees all rows at once, or of a block "
                        "whose values are tokens, or choose method='integrated_gradients'",
                        code="PG037",
                    )
            activations = [listener.values[call] for _, call in calls]
            constant_sum = subject.sum_is_constant(request.scale)
            by_row = lambda one, number: calls[number][0].by_row(one, len(outputs))  # noqa: E731
            gradients = output_gradients(
                outputs, request.targets, activations, constant_sum=constant_sum, by_row=by_row
            )
        maps, large, spread = [], [], []
        pairs = iter(zip(activations, gradients, strict=True))
        for number, place in self._places.items():
            shape, own = self._shapes[number], zip(*itertools.islice(pairs, len(place.calls)), strict=True)
            with torch.no_grad():
                value, gradient = (place.taken(each, len(outputs), at) for at, each in enumerate(own))
                cells = weighted_maps(value, gradient, options["variant"], relu=options["relu"])
            maps.append(cells.float())
            lie = self._lies[number] or Lie(even_lines(cells.shape[2:], shape.size), ())
            wide = lie.enlarged(maps[-1], shape.size, options["upsample"])
            large.append(wide)
            if shape.channels is not None:
                wide = wide.unsqueeze(2 + shape.channels).expand(*wide.shape[:2], *request.inputs[number].shape[1:])
            spread.append(wide.flatten(0, 1))
        means = self._space.sums(spread)[:, self._owners] / self._sizes
        values = means.unflatten(0, (len(outputs), -1)).transpose(1, 2).cpu().numpy()
        images = [rows[number] for number in self._places]
        maps, large, images = ([one[:asked] for one in each] for each in (maps, large, images))
        return Read(maps, large, images, values[:asked], outputs[:asked].detach())

    def facts(self) -> dict[str, Any]:
        """Return the layers, which inputs have no map, and how many maps are all zero."""
        inputs, empty = self.request.subject.input_names, [int(picture.empty.sum()) for picture in self.pictures]
        segments = self.request.space.segments
        without = [place for place, owners in enumerate(segments) if place not in self._places and (owners >= 0).any()]
        return {
            "layer": {inputs[place]: str(read) for place, read in self._places.items()},
            "layer_shape": {inputs[place]: list(read.shape) for place, read in self._places.items()},
            "without_map": [inputs[place] for place in without],
            "empty_maps": dict(zip(map(inputs.__getitem__, self._places), empty, strict=True)),
            "model_rows": self.request.count,
        }
