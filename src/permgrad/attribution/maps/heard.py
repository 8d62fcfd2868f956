"""What a network computes on its way: the results of layers and functions, by the call
that made them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from permgrad.attribution.maps.fields import Field, Fields, joined, slid
from permgrad.attribution.subject.tracing import MOVING, Site, name_of, tensors_in
from permgrad.models.network.options import ACTIVATIONS

#: Functions that make no new map: they move or copy what another has made, or put it
#: together.
_HANDING_ON = MOVING | {
    "unsafe_chunk",
    "unsafe_split",
    "rot90",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "clone",
    "contiguous",
    "to",
    "float",
    "double",
    "half",
    "bfloat16",
    "type",
    "type_as",
    "detach",
    "alias",
    "requires_grad",
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "median",
    "logsumexp",
    "std",
    "var",
    "norm",
    "prod",
    "cumsum",
    "pad",
    "interpolate",
    "upsample",
    "dropout",
    "",
}
_ACTIVATIONS: tuple[Any, ...] = (
    *ACTIVATIONS.values(),
    *(
        nn.CELU,
        nn.ELU,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Hardtanh,
        nn.LeakyReLU,
        nn.PReLU,
        nn.RReLU,
        nn.ReLU6,
    ),
    *(nn.Sigmoid, nn.Softplus, nn.Softsign),
)
#: The functions behind them and behind normalisations, as ``name_of`` gives them.
RECTIFYING = frozenset(
    (
        "leaky_relu",
        "threshold",
        *(activation.__name__.lower() for activation in _ACTIVATIONS),
    )
)
NORMALISING = frozenset(
    ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm")
)
#: Functions of each cell alone, or of several maps cell by cell.
_CELL_BY_CELL = (
    RECTIFYING
    | NORMALISING
    | {
        *("add", "iadd", "radd", "sub", "isub", "rsub", "mul", "imul", "rmul", "div"),
        *("truediv", "itruediv", "neg", "clamp", "cat", "concat", "dropout", "clone"),
        *("contiguous", "to", "float", "double", "half", "type", "type_as"),
    }
)
#: What a network's input goes through on its way in.
_COPYING = frozenset(("clone", "to"))
_PRODUCTS = frozenset(("matmul", "rmatmul", "bmm", "baddbmm", "einsum"))
_ATTENTION = frozenset(("scaled_dot_product_attention", "multi_head_attention_forward"))


def hands_on(name: str) -> bool:
    """Return whether a function makes no new map: it moves, copies, pools or adds up
    what another has made.
    """
    return name in _HANDING_ON or "pool" in name


@dataclass(frozen=True)
class Call:
    """A layer's call (empty: the network's), or a function's after it.

    ``number`` and ``again`` count those before.
    """

    layer: str
    number: int
    function: str = ""
    again: int = 0

    def __str__(self) -> str:
        """Return the name, with the number of the call where it is not the first, and
        the function.
        """
        if not self.number:
            call_name = self.layer
        else:
            call_name = f"{self.layer} (call {self.number + 1})"
        if not self.again:
            function = self.function
        else:
            function = f"{self.function} (call {self.again + 1})"
        return (
            ", ".join(name_part for name_part in (call_name, function) if name_part)
            or "the network"
        )


@dataclass
class Heard:
    """One result of a function: its inputs, its outputs, and the layer that it belongs
    to.
    """

    call: Call
    function: str
    sources: list[Heard]
    value: Tensor
    version: int
    #: Whether it was made on the way into an attention, as queries, keys and values
    #: are.
    inward: bool = False
    #: The first map whose cells lie in the order of this one's: of a stage, the image's
    #: own first map.
    first: Heard = field(init=False)
    #: Which pixels its cells see along each dimension of an image in whose order they
    #: lie, None if that is not known.
    fields: Fields | None = None

    def __post_init__(self) -> None:
        self.first = self


class Listener(TorchFunctionMode):
    """Records the results of layers and functions made of inputs, or stores those of
    ``requested_calls`` calls.
    """

    def __init__(self, requested_calls: Collection[Call] | None = None) -> None:
        super().__init__()
        self.wanted = requested_calls
        self.values: dict[Call, Tensor] = {}
        self.heard: list[Heard] = []
        self.returned: list[tuple[Call, Any]] = []
        #: What layers returned that is no tensor, such as a tuple: its type by layer.
        self.other_types: dict[str, str] = {}
        #: What is made of the inputs followed, by number. It is held, so that no other
        #: tensor takes over its number.
        self._followed: dict[int, Tensor] = {}
        #: Which input a tensor is, by number, and of which one a first map is a copy.
        self._inputs: dict[int, int] = {}
        self._copies: dict[Call, int] = {}
        self.functions: set[str] = set()
        self._counts: Counter[Call] = Counter()
        self._last = Call("", 0)
        self._inside: list[tuple[str, int]] = []
        self._made: dict[tuple[int, int], Heard] = {}

    def follow(self, value: Tensor, input_index: int | None = None) -> None:
        """Record what is made of a tensor, such as an input, and which it is."""
        self._followed[id(value)] = value
        if input_index is not None:
            self._inputs[id(value)] = input_index

    def follows(self, value: Tensor) -> bool:
        """Return whether a tensor is made of what is followed."""
        return id(value) in self._followed

    def enter(self, site: Site) -> None:
        """Note that a layer is called."""
        self._inside.append((site[0], len(self.heard)))

    def leave(self, site: Site, arguments: tuple[Any, ...], _: Any, value: Any) -> Any:
        """Note the result of a layer.

        Return the result that the network continues with, or None for the same.
        """
        self._inside.pop()
        self._last = layer_call = Call(*site)
        if self.wanted is not None:
            return self._handed_on(layer_call, value)
        if isinstance(value, Tensor):
            if not self.follows(value):
                # A layer of code that calls no torch functions, such as a compiled one.
                self._hear(layer_call, None, arguments, {}, [], value)
            value_maker = self.maker(value)
            if value_maker is not None and value_maker.call.function:
                value_maker.call = layer_call
            self.returned.append((layer_call, value))
        else:
            self.other_types[layer_call.layer] = type(value).__name__
        return None

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        function_name = name_of(func)
        if not function_name or function_name in ("get", "set"):
            return func(*args, **options)  # properties of tensors, such as their shape
        function_call = replace(self._last, function=function_name)
        self._counts[function_call] += 1
        function_call = replace(function_call, again=self._counts[function_call] - 1)
        if self.wanted is not None:
            return self._handed_on(function_call, func(*args, **options))
        # Who made what goes in is asked before it is written into.
        makers = []
        for tensor in tensors_in(args, options):
            if self.follows(tensor):
                makers.append(self.maker(tensor))
        return self._hear(
            function_call, func, args, options, makers, func(*args, **options)
        )

    def maker(self, value: Tensor) -> Heard | None:
        """Return what made a value."""
        return self._made.get((id(value), version(value)))

    def first_map(self, value: Tensor) -> Call | None:
        """Return the first map whose cells a value's lie in the order of, None if it is
        it.
        """
        heard = self.maker(value)
        if heard is None:
            first = None
        else:
            first = heard.first
        if first is None or first is heard:
            return None
        return first.call

    def image_of(self, value: Tensor) -> int | None:
        """Return the input in the order of whose pixels a value's cells lie, None if
        that is not known.
        """
        heard = self.maker(value)
        if heard is None:
            return None
        return self._copies.get(heard.first.call)

    def made_of(self, value: Tensor) -> set[tuple[int, ...]]:
        """Return the shapes of a row of all that a value is made of."""
        shapes = set[tuple[int, ...]]()
        visited_ids = set[int]()
        pending = [self.maker(value)]
        while pending:
            heard = pending.pop()
            if heard is not None and id(heard) not in visited_ids:
                visited_ids.add(id(heard))
                shapes.add(tuple(heard.value.shape[1:]))
                pending += heard.sources
        return shapes

    def _handed_on(self, call: Call, value: Any) -> Any:
        if (
            call not in (self.wanted or ())
            or not isinstance(value, Tensor)
            or not value.is_floating_point()
        ):
            return value
        if torch.is_grad_enabled() and not value.requires_grad:
            value.requires_grad_()
        self.values[call] = value
        return value.clone()

    def _hear(
        self,
        call: Call,
        func: Any,
        args: Sequence[Any],
        options: Mapping[str, Any],
        makers: Sequence[Heard | None],
        value: Any,
    ) -> Any:
        """Follow and store the results of a function.

        Return those that the network continues with.

        ``makers`` of what went in, None for an input.
        """
        followed = [
            tensor for tensor in tensors_in(args, options) if self.follows(tensor)
        ]
        if not followed:
            return value
        function_name = name_of(func)
        self.functions.add(function_name)
        attends = function_name in _ATTENTION or (
            function_name in _PRODUCTS and len(followed) > 1
        )
        if attends and self._inside and self._inside[-1][0]:
            for heard in self.heard[self._inside[-1][1] :]:
                heard.inward = True
        for result in tensors_in(value):
            self.follow(result)
            if result.is_floating_point() and self.maker(result) is None:
                if torch.is_grad_enabled() and not result.requires_grad:
                    # whole numbers that become real ones, or frozen weights
                    result.requires_grad_()
                sources = [maker for maker in makers if maker is not None]
                heard = Heard(call, function_name, sources, result, version(result))
                if len(sources) == len(makers):
                    heard.first = _first_map(function_name, result, sources) or heard
                self._note_fields(heard, followed[0], args, options)
                self._made[id(result), heard.version] = heard
                self.heard.append(heard)
                if result is value and not hands_on(function_name):
                    # A copy, so that what works in place behind it leaves the value as
                    # it was.
                    value = value.clone()
                    self.follow(value)
                    self._made[id(value), version(value)] = heard
        return value

    def _note_fields(
        self,
        heard: Heard,
        source: Tensor,
        args: Sequence[Any],
        options: Mapping[str, Any],
    ) -> None:
        """Note which pixels the cells of a map see, where the functions that make it of
        an image tell.
        """
        if heard.first is not heard:
            heard.fields = _fields(heard, args, options)
        elif heard.function in _COPYING and id(source) in self._inputs:
            self._copies[heard.call] = self._inputs[id(source)]
            heard.fields = (Field(),) * (heard.value.ndim - 2)


def _first_map(name: str, value: Tensor, sources: Sequence[Heard]) -> Heard | None:
    """Return the first map whose cells a value's lie in the order of, if it is one map.

    A convolution sees cells side by side, so that its own are in the same order.
    """
    moves = "conv" in name or "pool" in name
    if not moves and name not in _CELL_BY_CELL:
        return None
    cells = value.shape[2:]
    firsts: dict[int, Heard] = {}
    for source in sources:
        source_cells = source.value.shape[2:]
        alike = len(source_cells) == len(cells) and source_cells.numel() > 1
        if alike and (moves or source_cells == cells):
            firsts[id(source.first)] = source.first
    if len(firsts) == 1:
        return next(iter(firsts.values()))
    return None


def _fields(
    heard: Heard, args: Sequence[Any], options: Mapping[str, Any]
) -> Fields | None:
    """Return which pixels the cells of a map see that is made of others in order."""
    in_order = []
    for source in heard.sources:
        if source.first is heard.first:
            in_order.append(source)
    if heard.function in _CELL_BY_CELL:
        return joined([source.fields for source in in_order])
    if len(in_order) != 1 or in_order[0].fields is None:
        return None
    return slid(in_order[0].fields, heard.function, args, options)


def version(value: Tensor) -> int:
    """Return how often a tensor was changed in place."""
    return 0 if value.is_inference() else int(value._version)  # noqa: SLF001 — torch has no other word for it
