"""Class activation maps of any network: one for each image input, also where inputs share an encoder.

Which calls of which layers see an image input is found by asking: a layer that is called once for each of two images
has two values, and the one that belongs to an image is the one that depends on it. Values are read by forward hooks,
which are taken off again whatever happens.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from threading import get_ident
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from permgrad._checks import check_choice
from permgrad._errors import InputError, warn_user
from permgrad._progress import Progress
from permgrad.attribution.cam_maps import KEPT_NUMBERS, check_cam_options, weighted_maps
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.gradients import differentiating, network_gradients
from permgrad.attribution.method import Request
from permgrad.attribution.network.segments import image_shape
from permgrad.attribution.network.slopes import Tensors, batch_size, constant_sum, copied_rows, differentiable
from permgrad.attribution.players import PlayerSpace
from permgrad.attribution.result import describe, refuse_nonsense
from permgrad.models.batches import in_batches
from permgrad.models.blocks import ACTIVATIONS

Floats = npt.NDArray[np.float64]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_NORMALISATIONS: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.Identity,
    nn.Dropout,
)
_ACTIVATIONS: tuple[Any, ...] = (
    *ACTIVATIONS.values(),
    *(nn.CELU, nn.ELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6),
    *(nn.Sigmoid, nn.Softplus, nn.Softsign),
)
#: The same as functions, which networks may call themselves: in ``torch``, as methods, and in ``torch.nn.functional``.
_FUNCTIONS: frozenset[Any] = frozenset(
    found
    for name in ("leaky_relu", *(activation.__name__.lower() for activation in _ACTIVATIONS))
    for place in (torch, Tensor, functional)
    for own in (name, f"{name}_")
    if (found := getattr(place, own, None)) is not None
)
#: Rows on which it is found out which calls see which input.
_PROBE_ROWS = 2


# ---- listening to layers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One call of a layer, or of the function that takes up what the layer returned.

    Attributes:
        layer: its name as in ``named_modules``.
        number: how many calls of it came before.
        function: name of an activation such as ``"relu"`` that the network calls on the value; empty: the layer itself.
    """

    layer: str
    number: int
    function: str = ""

    def __str__(self) -> str:
        """Return the name, with the number of the call where it is not the first, and the function."""
        name = self.layer if not self.number else f"{self.layer} (call {self.number + 1})"
        return f"{name}, {self.function}" if self.function else name


@dataclass
class _Heard:
    """One call that was listened to: what went in, what came out, and what was handed on in its place."""

    call: Call
    given: tuple[Any, ...]
    value: Tensor
    handed_on: Tensor


class _Listener(TorchFunctionMode):
    """Hears what layers return, and what activation functions make of it while the mode is on."""

    def __init__(self, wanted: Callable[[Call], bool] | None) -> None:
        super().__init__()
        self.heard: list[_Heard] = []
        self._wanted = wanted
        self._counts: Counter[str] = Counter()
        #: What the network goes on with behind each call of a layer.
        self._returned: dict[Call, Any] = {}
        self._taken_up: set[Call] = set()
        self._thread = get_ident()

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        """Return the forward hook for a layer."""

        def hear(_: nn.Module, given: tuple[Any, ...], value: Any) -> Any:
            if get_ident() != self._thread:
                return None  # another thread calls the layer for itself
            call = Call(name, self._counts[name])
            self._counts[name] += 1
            self._returned[call] = self._handed_on(call, given, value)
            return self._returned[call]

        return hear

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        value = func(*args, **options)
        if func not in _FUNCTIONS:
            return value
        given = args[0] if args else options.get("input")
        layer = next((call for call, own in self._returned.items() if own is given), None)
        if layer is None:
            return value
        call = replace(layer, function=func.__name__)
        if call in self._taken_up:
            return value
        self._taken_up.add(call)
        return self._handed_on(call, (given,), value)

    def _handed_on(self, call: Call, given: tuple[Any, ...], value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or (self._wanted and not self._wanted(call)):
            return value
        if torch.is_grad_enabled() and not value.requires_grad:
            value.requires_grad_()
        copy = value.clone()
        self.heard.append(_Heard(call, given, value, copy))
        return copy


@contextmanager
def listening(
    layers: dict[str, nn.Module], wanted: Callable[[Call], bool] | None = None, *, functions: bool = True
) -> Iterator[list[_Heard]]:
    """Listen to calls of layers, and of activation functions on what these return; all hooks are gone afterwards.

    The network goes on with a copy of each value, so that a layer that works in place leaves the value as it was.

    Args:
        layers: by name.
        wanted: which calls; None: all.
        functions: whether functions are listened to.

    Yields:
        The calls, in order, as they come.
    """
    listener, handles = _Listener(wanted), []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(listener.hook(name)))
        with listener if functions else nullcontext():
            yield listener.heard
    finally:
        for handle in handles:
            handle.remove()


# ---- which call belongs to which image -------------------------------------------------------------------------------


def image_calls(request: Request, layer: str | None, *, before_activation: bool) -> tuple[dict[int, Call], int]:
    """Return, for each image input that a layer sees, the call whose value is its map; and numbers held for each row.

    It is the last call of the layer, or of any convolution, that depends on the input. The three papers read rectified
    maps, so that an activation which takes up the convolution's result (a normalisation may lie between), a module or
    a function, belongs to it, unless ``before_activation``. The subject is open.

    Raises:
        InputError: no layer of this name, or none that sees an image input.
    """
    subject: Any = request.subject
    modules = {name: module for name, module in subject.module.named_modules() if name}
    if layer is not None:
        check_choice("layer", layer, modules)
    images = [place for place, tensor in enumerate(request.inputs) if tensor.ndim in (3, 4)]
    listened = modules if layer is None else {layer: modules[layer]} | modules
    listened = {
        name: module
        for name, module in listened.items()
        if name == layer or isinstance(module, (*_CONVOLUTIONS, *_NORMALISATIONS, *_ACTIVATIONS))
    }
    if layer is None and isinstance(subject.module, _CONVOLUTIONS):
        listened[""] = subject.module
    rows = copied_rows(subject.device, request.inputs, slice(0, _PROBE_ROWS))
    found: dict[int, Call] = {}
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaves = tuple(row.requires_grad_() if place in images and row.is_floating_point() else row
                       for place, row in enumerate(rows))  # fmt: skip
        with listening(listened) as heard:
            subject.forward(leaves)
        candidates = [own for own in heard if _may_have_map(own, listened, layer)]
        for place in images:
            own = _last_that_sees(request, leaves, place, candidates, listened)
            if own is not None:
                found[place] = own.call if before_activation else _rectified(own, heard, listened).call
    if not found:
        raise _nothing_to_read(request, images, layer)
    numbers = sum(own.value.numel() for own in heard if not own.call.function) + sum(row.numel() for row in rows)
    return found, -(-numbers // len(rows[0]))


def _may_have_map(heard: _Heard, modules: dict[str, nn.Module], layer: str | None) -> bool:
    if heard.call.function:
        return False
    if layer is not None:
        return heard.call.layer == layer
    return isinstance(modules[heard.call.layer], _CONVOLUTIONS) and heard.value.ndim in (3, 4)


def _last_that_sees(
    request: Request, rows: Tensors, place: int, candidates: list[_Heard], modules: dict[str, nn.Module]
) -> _Heard | None:
    """Return the last call that depends on an input: by its gradient, or by changing an input that has none."""
    if rows[place].is_floating_point():
        for own in reversed(candidates):
            with differentiating():
                (gradient,) = torch.autograd.grad(own.value.sum(), rows[place], retain_graph=True, allow_unused=True)
            if gradient is not None:
                return own
        return None
    other = list(rows)
    low, high = rows[place].amin(), rows[place].amax()
    other[place] = low + high - rows[place] if bool(low < high) else (rows[place] == 0).to(rows[place].dtype)
    with torch.no_grad(), listening(modules, functions=False) as changed:
        request.subject.forward(other)
    values = {own.call: own.value for own in changed}
    return next((own for own in reversed(candidates) if not torch.equal(values[own.call], own.value)), None)


def _rectified(heard: _Heard, every: list[_Heard], modules: dict[str, nn.Module]) -> _Heard:
    """Return the call of the activation that takes up a convolution's value; the convolution's where there is none."""
    if not isinstance(modules[heard.call.layer], _CONVOLUTIONS):
        return heard
    current = heard
    while True:
        takers = [own for own in every if any(given is current.handed_on for given in own.given)]
        after = next((own for own in takers if not own.call.function), None)
        if after is None or not isinstance(modules[after.call.layer], (*_NORMALISATIONS, *_ACTIVATIONS)):
            return next((own for own in takers if own.call.function), heard)
        if isinstance(modules[after.call.layer], _ACTIVATIONS):
            return after
        current = after


def _nothing_to_read(request: Request, images: list[int], layer: str | None) -> InputError:
    names = request.subject.input_names
    shapes = ", ".join(f"{name} {tuple(own.shape)}" for name, own in zip(names, request.inputs, strict=True))
    if not images:
        return InputError(
            "gradcam needs an image input that a convolution sees, (rows, height, width) or (rows, channels, height, "
            f"width), however: the inputs are {shapes}; choose method='integrated_gradients', 'deeplift' or "
            "'permutation'"
        )
    if layer is not None:
        return InputError(
            f"gradcam reads a layer that sees an image input, however: layer {layer!r} does not depend on "
            f"{' or '.join(repr(names[place]) for place in images)}; name a layer of its encoder"
        )
    return InputError(
        "gradcam reads the last convolution that sees an image input, however: the network calls no Conv1d or Conv2d "
        f"layer on {' or '.join(repr(names[place]) for place in images)}; pass layer= with the name of a layer whose "
        "value is (rows, channels, height, width), or choose method='integrated_gradients', 'deeplift' or 'permutation'"
    )


# ---- maps of a batch -------------------------------------------------------------------------------------------------


def call_maps(
    request: Request, rows: Tensors, calls: Sequence[Call], variant: str, *, relu: bool
) -> tuple[list[Tensor], Tensor]:
    """Return one map for each call, ``(rows, targets, *cells)``, and all outputs; the subject is open."""
    subject: Any = request.subject
    layers = {call.layer: subject.module.get_submodule(call.layer) for call in calls}
    count = len(rows[0])
    with torch.inference_mode(mode=False), torch.enable_grad():
        with listening(layers, lambda call: call in calls, functions=any(call.function for call in calls)) as heard:
            outputs = subject.readout(subject.forward(rows), request.output)
        values = {own.call: own.value for own in heard}
        activations = [values[call] for call in calls]
        for call, value in zip(calls, activations, strict=True):
            if value.ndim not in (3, 4) or len(value) != count:
                raise InputError(
                    "a class activation map needs a layer whose value is (rows, channels, height, width) or (rows, "
                    f"channels, length), however: layer {call.layer!r} gives {tuple(value.shape)} for {count} rows; "
                    "pass layer= with the name of a convolution"
                )
        gradients = network_gradients(outputs, request.targets, activations, constant_sum=constant_sum(request))
    with torch.no_grad():
        maps = [
            weighted_maps(value.detach(), own, variant, relu=relu)
            for value, own in zip(activations, gradients, strict=True)
        ]
    return maps, outputs.detach()


def enlarged(maps: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """Return maps ``(rows, targets, *cells)`` at an image's size; maps of one dimension run along its width.

    Examples:
        >>> enlarged(torch.tensor([[[1.0, 2.0]]]), (2, 4), "nearest").tolist()
        [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """
    cells = maps if maps.ndim == 4 else maps.unsqueeze(2)
    if how == "bilinear":
        return functional.interpolate(cells, size=size, mode="bilinear", align_corners=False)
    return functional.interpolate(cells, size=size, mode="nearest")


# ---- the method ------------------------------------------------------------------------------------------------------


@dataclass
class _Image:
    """One image input with a map, and what is kept of it."""

    name: str
    call: Call
    size: tuple[int, int]
    channels: int | None
    rows: Tensor
    maps: npt.NDArray[np.float32] | None = None
    empty: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def spread(self, large: Tensor) -> Tensor:
        """Return a map for every position of the input: all channels of a pixel share its value."""
        if self.channels is None:
            return large
        shape = (*large.shape[:2], *self.rows.shape[1:])
        return large.unsqueeze(2 + self.channels).expand(shape)


def network_maps(request: Request) -> Explanation:
    """Return class activation maps for the image inputs of any network; options as of ``GradCam``."""
    started = time.perf_counter()
    variant, upsample, relu, keep = check_cam_options(request.options)
    before = bool(request.options.get("before_activation", False))
    with request.subject.open(), differentiable(request.subject):
        calls, numbers = image_calls(request, request.options.get("layer"), before_activation=before)
        images = {place: _image(request, place, call) for place, call in calls.items()}
        space, chosen = _players(request, list(images))
        values = np.zeros((request.count, len(chosen), len(request.targets)))
        predictions = np.zeros((request.count, len(request.targets)))
        sizes = torch.as_tensor(space.sizes()[chosen], device=request.subject.device)

        def work(part: slice) -> None:
            rows = copied_rows(request.subject.device, request.inputs, part)
            small, outputs = call_maps(request, rows, list(calls.values()), variant, relu=relu)
            wide = []
            for own, maps in zip(images.values(), small, strict=True):
                large = enlarged(maps.float(), own.size, upsample)
                _keep_map(own, part, large if upsample != "none" else maps, keep, request)
                wide.append(own.spread(large).flatten(0, 1))
            sums = space.sums(wide)[:, chosen] / sizes
            values[part] = sums.unflatten(0, (part.stop - part.start, -1)).transpose(1, 2).cpu().numpy()
            predictions[part] = outputs[:, list(request.targets)].double().cpu().numpy()
            progress.advance(part.stop - part.start)

        with Progress(request.count, "gradcam", request.progress) as progress:
            in_batches(request.count, batch_size(request, numbers), work)
    _warn_of_empty_maps(images, request.count * len(request.targets))
    explanation = Explanation(
        values=values,
        names=tuple(space.names[place] for place in chosen),
        modality=tuple(space.modality[place] for place in chosen),
        outputs=tuple(request.subject.output_names[target] for target in request.targets),
        method="gradcam",
        scope="local",
        level=request.level,
        additive=False,
        groups=request.groups,
        predictions=predictions,
        maps=_kept_maps(images),
        meta=describe(
            request,
            quantity="mean of the class activation map over the player's pixels",
            unit="map",
            output=request.output,
            variant=variant,
            layer={own.name: str(own.call) for own in images.values()},
            upsample=upsample,
            rectified=relu,
            without_map=[name for place, name in enumerate(request.subject.input_names) if place not in images],
            empty_maps={own.name: int(own.empty.sum()) for own in images.values()},
            model_rows=request.count,
            seconds=time.perf_counter() - started,
        ),
    )
    refuse_nonsense(explanation)
    return explanation


def _image(request: Request, place: int, call: Call) -> _Image:
    rows = request.inputs[place]
    shape = image_shape(tuple(rows.shape[1:]))
    assert shape is not None  # image inputs have two or three dimensions
    return _Image(
        request.subject.input_names[place],
        call,
        (shape.height, shape.width),
        shape.channels,
        rows,
        empty=np.zeros(len(request.targets), dtype=np.int64),
    )


def _players(request: Request, places: list[int]) -> tuple[PlayerSpace, list[int]]:
    """Return the space over the inputs with maps alone, and the players that own positions there."""
    space = request.space
    own = PlayerSpace(
        space.names,
        space.modality,
        tuple(space.inputs[place] for place in places),
        tuple(space.segments[place] for place in places),
    )
    return own, np.flatnonzero(own.sizes()).tolist()


def _keep_map(own: _Image, part: slice, maps: Tensor, keep: bool | str, request: Request) -> None:
    own.empty += (maps.flatten(2).abs().amax(dim=2) == 0).sum(dim=0).cpu().numpy()
    shape = (request.count, *maps.shape[1:])
    if own.maps is None and (keep is True or (keep == "auto" and np.prod(shape) + own.rows.numel() <= KEPT_NUMBERS)):
        own.maps = np.zeros(shape, dtype=np.float32)
    if own.maps is not None:
        own.maps[part] = maps.float().cpu().numpy()


def _kept_maps(images: dict[int, _Image]) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    for own in images.values():
        if own.maps is not None:
            found[f"maps:{own.name}"] = own.maps
            found[f"images:{own.name}"] = own.rows.detach().float().cpu().numpy()
    return found


def _warn_of_empty_maps(images: dict[int, _Image], total: int) -> None:
    for own in images.values():
        empty = int(own.empty.sum())
        if empty:
            warn_user(
                f"a class activation map should have cells above zero, however: {empty} of {total} maps of "
                f"{own.name!r} at layer {str(own.call)!r} are all zero, and so are their players' values; "
                "try variant='hirescam' or another layer"
            )
