"""Mean slopes of any network between two points, without hooks.

For an elementwise function this is the secant, the Rescale rule of DeepLIFT (Shrikumar
et al. 2017, arXiv 1704.02685, section 3.5.1). The other rules, which also add up to the
output's change, are permgrad's own.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from permgrad.attribution.slopes.gradients import Tensors, output_gradients
from permgrad.base.sequences import values_at

Calls = list[Tensors]

#: Elementwise functions made of straight pieces: their secant is exact however close
#: the ends are.
STRAIGHT = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "rrelu",
        "hardtanh",
        "hardsigmoid",
        "threshold",
        "_threshold",
        "hardshrink",
        "softshrink",
        "clamp",
        "clamp_min",
        "clamp_max",
        "clip",
        "abs",
        "absolute",
        "sign",
        "sgn",
        "round",
        "floor",
        "ceil",
        "trunc",
        "fix",
        "heaviside",
    }
)
#: Curved elementwise functions whose shape is of size one, such as activations.
CURVED = frozenset(
    {
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "sigmoid",
        "special_expit",
        "log_sigmoid",
        "logsigmoid",
        "hardswish",
        "softplus",
        "tanh",
        "exp",
        "exp2",
        "expm1",
        "sin",
        "cos",
        "tan",
        "atan",
        "arctan",
        "sinh",
        "cosh",
        "asinh",
        "arcsinh",
        "asin",
        "acos",
        "erf",
        "special_erf",
        "erfc",
        "special_erfc",
        "sinc",
        "special_sinc",
        "__rpow__",
    }
)
#: Curved elementwise functions without a scale: what counts as close depends on where
#: one is.
SCALE_FREE = frozenset(
    {
        "log",
        "log2",
        "log10",
        "log1p",
        "sqrt",
        "rsqrt",
        "reciprocal",
        "square",
        "pow",
        "float_power",
        "atanh",
        "acosh",
    }
)


_OPERATORS = {
    "__mul__": "mul",
    "__rmul__": "mul",
    "__imul__": "mul_",
    "__truediv__": "div",
    "__itruediv__": "div_",
    "__matmul__": "matmul",
    "__pow__": "pow",
    "__ipow__": "pow_",
    "__abs__": "abs",
    "multiply": "mul",
    "multiply_": "mul_",
    "divide": "div",
    "divide_": "div_",
    "true_divide": "div",
    "true_divide_": "div_",
}
_PRODUCTS = frozenset(
    {"mul", "matmul", "mm", "bmm", "mv", "dot", "inner", "outer", "bilinear", "linear"}
)
#: Python functions of torch that ask whether a mode is on: a copy that hears no shows
#: what they call.
_QUESTIONS = (
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
)


# ---- the slope of one function between two points ------------------------------------
def secant(
    ends: Tensors, outputs: Tensors, slope_at: Callable[[Tensor], Tensor], kind: str
) -> Tensor:
    """Return the mean slope of an elementwise function between two ends, of which the
    outputs are given.

    ``slope_at`` is asked where they are near each other.
    """
    start, stop = ends
    change = stop - start
    slope: Tensor = (outputs[1] - outputs[0]).div_(change)
    if kind == "straight":
        is_near = change == 0
    else:
        # Dividing loses eps/|change| to rounding, the slope in the middle change²/24 to
        # curvature: equal here.
        reach = (24 * torch.finfo(change.dtype).eps) ** (1 / 3)
        if kind == "scale-free":
            is_near = change.abs() <= reach * torch.lerp(start, stop, 0.5).abs()
        else:
            is_near = change.abs() <= reach
    # Infinite ends, as in masks, have no change either. One number tells of all.
    if not bool(torch.isfinite(slope.sum())):
        is_near |= ~torch.isfinite(slope)
    if not bool(is_near.any()):
        return slope
    if kind == "straight":
        middle = stop
    else:
        middle = torch.lerp(start, stop, 0.5)
    return torch.where(is_near, slope_at(middle), slope)


def derivative(function: Callable[..., Any], points: Tensor) -> Tensor:
    """Return the slope of an elementwise function at points."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = points.detach().clone().requires_grad_()
        slope: Tensor
        (slope,) = torch.autograd.grad(
            function(leaf).sum(), leaf, allow_unused=True, materialize_grads=True
        )
    return slope


#: A function's output, and what carries slopes towards it back to each of its
#: arguments.
Ruled = tuple[Tensor, Callable[[Tensor], Sequence[Tensor]]]


class MeanSlopes(torch.autograd.Function):
    """A function whose backward pass takes mean slopes: ``rule`` gives its output and
    what carries slopes back.
    """

    @staticmethod
    def forward(ctx: Any, rule: Callable[..., Ruled], *values: Tensor) -> Tensor:
        """Return the output."""
        output, ctx.back = rule(*values)
        return output

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return slopes towards the values, of which the rule has none."""
        return None, *ctx.back(slopes)


def elementwise(
    function: Callable[..., Any],
    kind: str,
    output: Tensor,
    starts: Tensors,
    values: Tensor,
) -> Ruled:
    """Return the output of a function of each number alone, with its secant from
    ``starts``: other values and their output.
    """
    start, start_output = starts
    mean_slope = secant(
        (start, values),
        (start_output, output),
        functools.partial(derivative, function),
        kind,
    )
    return output, lambda slopes: (slopes * mean_slope,)


def in_the_middle(
    function: Callable[..., Any], starts: Tensors, *values: Tensor
) -> Ruled:
    """Return a function with its gradient half-way: exact for squares, and what is
    linear in each of two factors.
    """
    middles = []
    for start, value in zip(starts, values, strict=True):
        middles.append(torch.lerp(start, value, 0.5))

    def back(slopes: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [middle.detach().requires_grad_() for middle in middles]
            # A sum, because slopes given to torch.autograd.grad make it load a library
            # of symbols, which takes half a second and changes the process's warning
            # filters.
            return torch.autograd.grad((function(*leaves) * slopes).sum(), leaves)

    return function(*values), back


def softmax(dim: int, logarithm: bool, starts: Tensors, values: Tensor) -> Ruled:
    """Return softmax or its logarithm: ``Δp_i = l_i (Δx_i − Σ_j l_j Δx_j / Σ_j l_j)``
    with ``l = Δp / Δ log p``.
    """
    stop_log = torch.log_softmax(values, dim)
    start_log = torch.log_softmax(starts[0], dim)
    half_difference = (stop_log - start_log) / 2
    # The logarithmic mean l, near each other as e^middle · sinh(half) / half, which is
    # exact.
    safe_half = torch.where(
        half_difference == 0, torch.ones_like(half_difference), half_difference
    )
    sinh_ratio = torch.where(
        half_difference == 0,
        torch.ones_like(half_difference),
        torch.sinh(safe_half) / safe_half,
    )
    near_mean = ((start_log + stop_log) / 2).exp() * sinh_ratio
    far_mean = (stop_log.exp() - start_log.exp()) / (2 * safe_half)
    logarithmic_mean = torch.where(half_difference.abs() < 1, near_mean, far_mean)
    logarithmic_mean = torch.where(
        torch.isfinite(half_difference),
        logarithmic_mean,
        torch.zeros_like(logarithmic_mean),
    )
    share = logarithmic_mean / logarithmic_mean.sum(dim=dim, keepdim=True)
    if logarithm:
        return stop_log, lambda slopes: (
            slopes - share * slopes.sum(dim=dim, keepdim=True),
        )
    return stop_log.exp(), lambda slopes: (
        logarithmic_mean * (slopes - (slopes * share).sum(dim=dim, keepdim=True)),
    )


def choice(condition: Tensor, starts: Tensors, first: Tensor, second: Tensor) -> Ruled:
    """Return ``where(condition, first, second)``, with each side's slope in the share
    of the way for which it is taken.

    For differences d0 and d1 of the sides at both ends the side taken last has ``d1 /
    (d1 − d0)``, as in a rectifier's secant, if they are equal where one follows the
    other. A choice that jumps misses the jump.
    """
    before = starts[1] - starts[2]
    after = first - second
    share = (after / (after - before)).clamp(0, 1)
    share = torch.where(torch.isfinite(share), share, torch.ones_like(share))
    share = torch.where(condition, share, 1 - share)
    share = torch.where(starts[0] == condition, condition.to(share.dtype), share)
    return torch.where(condition, first, second), lambda slopes: (
        slopes * share,
        slopes * (1 - share),
    )


def leaders(
    start: Tensor, stop: Tensor, first: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the slopes of a maximum towards the places that lead at its start and at
    its stop, ``(…, windows)``.

    With leads d0 and d1 the last has ``d1 / (d0 + d1)``, exact if no third leads in
    between. NOTE[DIFF]: the paper has no rule for maxima. Captum and shap assign the
    complete change to one of the two.
    """
    lead_at_stop = stop.gather(-1, last) - stop.gather(-1, first)
    lead_at_start = start.gather(-1, first) - start.gather(-1, last)
    total = lead_at_stop + lead_at_start
    share = torch.where(
        total > 0, lead_at_stop / total, torch.ones_like(total)
    ).nan_to_num(1.0)  # of an infinite lead
    return 1 - share, share


def maximum(
    output: Tensor,
    last_index: Tensor,
    window_dimensions: int,
    starts: Tensors,
    values: Tensor,
) -> Ruled:
    """Return the largest values of windows, found with their places in the last
    dimensions; ``starts`` are other values with theirs.
    """
    start, first = starts
    kept_dimensions = values.ndim - window_dimensions
    shape = values.shape
    first = first.flatten(kept_dimensions)
    last_index = last_index.flatten(kept_dimensions)
    to_first, to_last = leaders(
        start.flatten(kept_dimensions),
        values.flatten(kept_dimensions),
        first,
        last_index,
    )

    def back(slopes: Tensor) -> tuple[Tensor]:
        flat_slopes = slopes.flatten(kept_dimensions)
        input_slopes = flat_slopes.new_zeros(
            (*flat_slopes.shape[:-1], shape[kept_dimensions:].numel())
        )
        input_slopes.scatter_add_(-1, first, flat_slopes * to_first).scatter_add_(
            -1, last_index, flat_slopes * to_last
        )
        return (input_slopes.reshape(shape),)

    return output, back


def tied_maximum(starts: Tensors, values: Tensor) -> Ruled:
    """Return the largest values along the last dimension.

    Several that lead share the slope, as their gradient does.
    """

    def leads(rows: Tensor) -> tuple[Tensor, Tensor]:
        best_values = rows.amax(dim=-1, keepdim=True)
        leading = (rows == best_values).to(rows.dtype)
        return best_values, leading / leading.sum(dim=-1, keepdim=True)

    (output, last_leads), (before, first) = leads(values), leads(starts[0])
    lead_at_stop = output - torch.where(first > 0, first * values, 0).sum(
        dim=-1, keepdim=True
    )
    lead_at_start = before - torch.where(last_leads > 0, last_leads * starts[0], 0).sum(
        dim=-1, keepdim=True
    )
    share = torch.where(
        lead_at_stop + lead_at_start > 0,
        lead_at_stop / (lead_at_stop + lead_at_start),
        1,
    ).nan_to_num(1.0)  # of an infinite lead
    return output, lambda slopes: (slopes * (first * (1 - share) + last_leads * share),)


# ---- meeting the functions that a network calls --------------------------------------
class Rescale(TorchFunctionMode):
    """Records the inputs of nonlinear functions, and computes their slopes from a run
    ``before``.
    """

    def __init__(self, before: Calls | None, *, keep: bool = True) -> None:
        super().__init__()
        self.before = before
        self.keep = keep
        self.calls: Calls = []
        self.matched = True
        self._opened: list[Any] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile."""
        kwargs = kwargs or {}
        function_name = getattr(func, "__name__", "").partition(".")[
            0
        ]  # torch.export calls tanh.default
        function_name = _OPERATORS.get(function_name, function_name)
        in_place = function_name.endswith("_") and not function_name.endswith("__")
        answer = _ANSWERS.get(
            function_name.removesuffix("_") if in_place else function_name
        )
        if answer is not None and "out" not in kwargs:
            args, kwargs = _in_order(func, args, kwargs)
            result = answer(
                self,
                functools.partial(_on_copy, func) if in_place else func,
                args,
                kwargs,
            )
            if result is not NotImplemented:
                if in_place:
                    return args[0].copy_(result)
                return result
        if func in self._opened:
            opened = None
        else:
            opened = _in_sight(func)
        if opened is None:
            return func(*args, **kwargs)
        # Methods of tensors call the method of the same name below them, which arrives
        # here as the same function.
        self._opened.append(func)
        try:
            with self:
                return opened(*args, **kwargs)
        finally:
            self._opened.pop()

    def answer(
        self,
        plain: Callable[[], Any],
        rule: Callable[..., Any],
        *values: Tensor,
        recorded: Sequence[Tensor] | None = None,
        needed: Callable[[Iterable[bool]], bool] = any,
        bilinear: bool = False,
    ) -> Any:
        """Record the inputs of a function.

        Return its output by a rule if values need slopes, else plain. What is
        ``bilinear`` needs none where a factor is as before, such as a slice of weights:
        it is linear in the other.
        """
        if recorded is None:
            recorded = values
        call_index = len(self.calls)
        # A run without slopes may hold values in oneDNN's layout, in which there is no
        # way between two of them.
        self.calls.append(
            tuple(value.detach().to_dense().clone() for value in recorded)
            if self.keep
            else ()
        )
        if self.before is None:
            return plain()
        if call_index < len(self.before):
            starts = self.before[call_index]
        else:
            starts = ()
        if [value.shape for value in starts] != [value.shape for value in recorded]:
            self.matched = False
            return plain()
        if not needed(value.requires_grad for value in values):
            return plain()
        if bilinear and any(map(torch.equal, starts, values)):
            return plain()
        function: Any = MeanSlopes
        return function.apply(functools.partial(rule, starts), *values)


def _on_copy(
    func: Callable[..., Any], first: Tensor, *further: Any, **named: Any
) -> Any:
    return func(first.clone(), *further, **named)


def _in_order(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the tensors that were given by their usual names in
    front.
    """
    names = (
        ("condition", "input", "other") if func is torch.where else ("input", "other")
    )
    if func is Tensor.where:
        names = ("input", "condition", "other")
    for argument_index, argument_name in enumerate(names):
        if len(args) == argument_index and argument_name in kwargs:
            args = (*args, kwargs[argument_name])
            kwargs = {
                keyword_name: value
                for keyword_name, value in kwargs.items()
                if keyword_name != argument_name
            }
    return args, kwargs


@functools.cache
def _in_sight(func: Any) -> Any:
    """Return a copy of a function written in Python whose calls are visible, or None
    for other functions.
    """
    if not isinstance(func, types.FunctionType) or not any(
        question_name in func.__globals__ for question_name in _QUESTIONS
    ):
        return None
    space = {**func.__globals__, **dict.fromkeys(_QUESTIONS, lambda *_: False)}
    opened = types.FunctionType(
        func.__code__, space, func.__name__, func.__defaults__, func.__closure__
    )
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


def _varies(value: Any) -> bool:
    """Return whether an argument may depend on the rows: weights do not."""
    return (
        isinstance(value, Tensor)
        and not isinstance(value, nn.Parameter)
        and value.is_floating_point()
    )


def _fits(value: Tensor, first: Tensor) -> bool:
    """Return whether a function of both is as large as the first."""
    sizes = zip(value.shape[::-1], first.shape[::-1], strict=False)
    return value.ndim <= first.ndim and all(
        value_size in (1, first_size) for value_size, first_size in sizes
    )


# ---- answers to calls ----------------------------------------------------------------
def _elementwise(kind: str, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer a function that acts on each number of its first argument alone."""
    companions = []
    for value in (*args[1:], *kwargs.values()):
        if _varies(value) and value.ndim:
            companions.append(value)
    if (
        not args
        or not _varies(args[0])
        or not all(_fits(value, args[0]) for value in companions)
    ):
        return NotImplemented
    if isinstance(func, types.FunctionType) and func.__name__ != "__rpow__":
        # Written in Python, it calls another, which says whether it works in place.
        return NotImplemented
    # The secant is that of the first argument alone: where others depend on the inputs
    # too, all keep their gradients.
    alone = not any(value.requires_grad for value in companions)
    output = func(*args, **kwargs)
    secant_rule = functools.partial(
        elementwise,
        lambda values: func(values, *args[1:], **kwargs),
        kind,
        output.detach(),
    )
    return mode.answer(
        lambda: output,
        secant_rule,
        args[0],
        recorded=(args[0], output),
        needed=lambda needs: alone and all(needs),
    )


def _product(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer a function that is linear in each of its two first arguments."""
    if (
        kwargs
        or len(args) < 2
        or not (_varies(args[0]) and _varies(args[1]))
        or any(map(_varies, args[2:]))
    ):
        return NotImplemented
    secant_rule = functools.partial(
        in_the_middle, lambda first, second: func(first, second, *args[2:])
    )
    return mode.answer(
        lambda: func(*args), secant_rule, *args[:2], needed=all, bilinear=True
    )


def _einsum(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 2 and isinstance(args[1], (list, tuple)):
        operands = args[1]
    else:
        operands = args[1:]
    if not isinstance(args[0], str) or len(operands) != 2:
        return NotImplemented
    return _product(
        mode,
        lambda first, second: func(args[0], first, second),
        tuple(operands),
        kwargs,
    )


def _softmax(logarithm: bool, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    dimension = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if (
        isinstance(func, types.FunctionType)
        or not _varies(args[0])
        or not isinstance(dimension, int)
    ):
        # The function in Python chooses a dimension and calls the other.
        return NotImplemented
    dtype = kwargs.get("dtype", args[2] if len(args) > 2 else None)
    if dtype is None:
        values = args[0]
    else:
        values = args[0].to(dtype)
    return mode.answer(
        lambda: func(*args, **kwargs),
        functools.partial(softmax, dimension, logarithm),
        values,
    )


def _maximum_of(
    mode: Rescale,
    values: Tensor,
    search: Callable[[Tensor], tuple[Tensor, Tensor]],
    window_dimensions: int,
) -> tuple[Tensor, Tensor]:
    """Return the largest values and their indexes."""
    best_values, index = search(values)
    return mode.answer(
        lambda: best_values,
        functools.partial(maximum, best_values.detach(), index, window_dimensions),
        values,
        recorded=(values, index),
    ), index


def _pooling(
    name: str,
    returns_indices: bool,
    mode: Rescale,
    func: Any,  # noqa: ARG001 — an answer
    args: Any,
    kwargs: Any,
) -> Any:
    """Answer max pooling, in all its forms.

    ``returns_indices``: the function also returns places.
    """
    arguments = {}
    for keyword_name, value in kwargs.items():
        if keyword_name not in ("input", "return_indices"):
            arguments[keyword_name] = value
    if args:
        values = args[0]
    else:
        values = kwargs["input"]
    further = list(args[1:])
    # The last argument says whether places are wanted as well.
    if name.startswith("adaptive"):
        full_length = 2
    else:
        full_length = 6
    if len(further) == full_length:
        wants_indices = further.pop()
    else:
        wants_indices = kwargs.get("return_indices", False)
    search = functools.partial(getattr(functional, f"{name}_with_indices"), **arguments)
    if not _varies(values):
        return NotImplemented
    pooled_values = _maximum_of(
        mode, values, lambda maps: search(maps, *further), int(name[-2])
    )
    if wants_indices or returns_indices:
        return pooled_values
    return pooled_values[0]


def _largest(name: str, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer ``max``, ``min``, ``amax`` and ``amin`` over one dimension, and of two
    tensors.
    """
    call_arguments = dict(zip(("input", "dim", "keepdim"), args, strict=False)) | kwargs
    dimension = call_arguments.get("dim")
    if isinstance(dimension, Tensor) or "other" in call_arguments:
        return _larger(f"a{name}", mode, func, args, kwargs)
    if isinstance(dimension, (list, tuple)) and len(dimension) == 1:
        dimension = dimension[0]
    if not isinstance(dimension, int) or not _varies(call_arguments["input"]):
        return NotImplemented
    if name.endswith("min"):
        sign = -1
    else:
        sign = 1
    values = sign * call_arguments["input"].movedim(dimension, -1)
    best_values, index = values.max(dim=-1, keepdim=True)
    if name.startswith("a"):
        best_values = mode.answer(
            lambda: values.amax(dim=-1, keepdim=True), tied_maximum, values
        )
    else:
        best_values, index = _maximum_of(
            mode, values, lambda rows: rows.max(dim=-1, keepdim=True), 1
        )
    best_values = sign * best_values.movedim(-1, dimension)
    index = index.movedim(-1, dimension)
    if not call_arguments.get("keepdim", False):
        best_values = best_values.squeeze(dimension)
        index = index.squeeze(dimension)
    if name.startswith("a"):
        return best_values
    result_type = torch.return_types.max if name == "max" else torch.return_types.min
    return result_type((best_values, index))


def _larger(name: str, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer a function of two tensors as ``amax`` or ``amin`` of both."""
    if kwargs or len(args) != 2 or not (_varies(args[0]) and _varies(args[1])):
        return NotImplemented
    dtype = torch.result_type(*args)
    stacked_sides = torch.stack(
        torch.broadcast_tensors(*(side_tensor.to(dtype) for side_tensor in args)),
        dim=-1,
    )
    return _largest(name, mode, func, (stacked_sides, -1), {})


def _where(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if kwargs or len(args) != 3:
        return NotImplemented
    condition, first, second = (
        args
        if isinstance(args[0], Tensor) and args[0].dtype is torch.bool
        else (args[1], *args[::2])
    )
    if not (isinstance(condition, Tensor) and (_varies(first) or _varies(second))):
        return NotImplemented
    dtype = torch.result_type(first, second)
    device = condition.device
    sides = []
    for side_tensor in (first, second):
        sides.append(torch.as_tensor(side_tensor, dtype=dtype, device=device))
    broadcast_inputs = torch.broadcast_tensors(condition, *sides)
    return mode.answer(
        lambda: func(*args),
        functools.partial(choice, broadcast_inputs[0]),
        *broadcast_inputs[1:],
        recorded=broadcast_inputs,
    )


# ---- functions written as steps that have answers ------------------------------------
def _formula(
    names: str,
    formula: Callable[[dict[str, Any]], Any],
    mode: Rescale,
    func: Any,
    args: Any,
    kwargs: Any,
) -> Any:
    """Answer a function by its formula, which is given the arguments by name."""
    if isinstance(func, types.FunctionType):
        return NotImplemented  # Written in Python, it calls another.
    with mode:
        return formula(dict(zip(names.split(), args, strict=False)) | kwargs)


def _quotient(call: dict[str, Any]) -> Any:
    has_rule = (
        len(call) == 2
        and isinstance(call["input"], Tensor)
        and _varies(call.get("other"))
    )
    if has_rule:
        return call["input"] * torch.reciprocal(call["other"])
    return NotImplemented


def _glu(call: dict[str, Any]) -> Any:
    first, second = call["input"].chunk(2, dim=call.get("dim", -1))
    return first * torch.sigmoid(second)


def _norm(call: dict[str, Any]) -> Any:
    """Return the Euclidean length of vectors: the root of a sum of squares."""
    values: Any = call.get("x", call.get("input"))
    dimension = call.get("dim")
    if not _varies(values) or call.get("ord", 2) != 2 or call.get("dtype") is not None:
        return NotImplemented
    if dimension is None:
        dimensions = tuple(range(values.ndim))
    else:
        dimensions = dimension
    return _root(
        torch.square(values).sum(dim=dimensions, keepdim=call.get("keepdim", False))
    )


def _root(squares: Tensor) -> Tensor:
    """Return the root of a sum of squares, whose slope at 0 is 0: as that of its
    gradient in torch.
    """
    return torch.sqrt(squares.clamp_min(torch.finfo(squares.dtype).tiny))


def _variance(root: bool, call: dict[str, Any]) -> Any:
    """Return the variance over dimensions, or its root."""
    values = call["input"]
    requested_dimension = call.get("dim")
    if not _varies(values) or isinstance(requested_dimension, bool):
        return NotImplemented
    if requested_dimension is None:
        dimensions = tuple(range(values.ndim))
    elif isinstance(requested_dimension, int):
        dimensions = (requested_dimension,)
    else:
        dimensions = tuple(requested_dimension)
    correction = call.get("correction")
    if correction is None:
        correction = int(call.get("unbiased", True))
    count = math.prod(values_at(values.shape, dimensions))
    centred = values - values.mean(dim=dimensions, keepdim=True)
    variance = torch.square(centred).sum(
        dim=dimensions, keepdim=call.get("keepdim", False)
    ) / (count - correction)
    if root:
        return _root(variance)
    return variance


def _logsumexp(call: dict[str, Any]) -> Any:
    """Return log Σ exp(x) as x₀ − log softmax(x)₀, whichever number comes first."""
    values = call["input"]
    dimension = call.get("dim")
    if isinstance(dimension, (list, tuple)) and len(dimension) == 1:
        dimension = dimension[0]
    if (
        not isinstance(dimension, int)
        or not _varies(values)
        or not bool(torch.isfinite(values).all())
    ):
        return NotImplemented
    total = (values - torch.log_softmax(values, dimension)).narrow(dimension, 0, 1)
    if call.get("keepdim", False):
        return total
    return total.squeeze(dimension)


def _scaled(
    call: dict[str, Any],
    values: Tensor,
    dims: tuple[int, ...],
    shape: tuple[int, ...] | None,
    *,
    centred: bool = True,
) -> Tensor:
    """Return values over their spread, times the call's weight plus its bias, where
    there are such.
    """
    epsilon = call.get("eps", 1e-5 if centred else None)
    if centred:
        middle = values - values.mean(dim=dims, keepdim=True)
    else:
        middle = values
    spread = torch.square(middle).mean(dim=dims, keepdim=True)
    scaled = middle * torch.rsqrt(
        spread + (torch.finfo(values.dtype).eps if epsilon is None else epsilon)
    )
    scaled = scaled.reshape(call["input"].shape)
    for parameter_name, combine in (("weight", torch.mul), ("bias", torch.add)):
        if call.get(parameter_name) is not None:
            scaled = combine(
                scaled,
                call[parameter_name]
                if shape is None
                else call[parameter_name].reshape(shape),
            )
    return scaled


def _row_norm(centred: bool, call: dict[str, Any]) -> Tensor:
    """Return ``layer_norm``, or ``rms_norm``, which does not centre."""
    return _scaled(
        call,
        call["input"],
        tuple(range(-len(call["normalized_shape"]), 0)),
        None,
        centred=centred,
    )


def _group_norm(call: dict[str, Any]) -> Any:
    """Return values over the spread of their group of channels (``instance_norm``: of
    each channel).

    Each channel has a weight and a bias. With running statistics the function is
    linear.
    """
    values = call["input"]
    if not call.get("use_input_stats", True):
        return NotImplemented
    grouped_values = values.reshape(
        len(values), call.get("num_groups", values.shape[1]), -1
    )
    return _scaled(call, grouped_values, (2,), (1, -1, *[1] * (values.ndim - 2)))


def _attention(call: dict[str, Any]) -> Any:
    """Return scaled dot-product attention."""
    if call.get("dropout_p") or call.get("enable_gqa"):
        return NotImplemented
    query = call["query"]
    mask = call.get("attn_mask")
    scale = call.get("scale")
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ call[
        "key"
    ].transpose(-2, -1)
    if call.get("is_causal"):
        mask = torch.ones(
            scores.shape[-2:], dtype=torch.bool, device=scores.device
        ).tril()
    if mask is not None:
        if mask.dtype is torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        else:
            scores = scores + mask
    return torch.softmax(scores, -1) @ call["value"]


_FORMULAS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "div": ("input other", _quotient),
    "glu": ("input dim", _glu),
    "linalg_vector_norm": ("x ord dim keepdim", _norm),
    "std": ("input dim unbiased keepdim", functools.partial(_variance, True)),
    "var": ("input dim unbiased keepdim", functools.partial(_variance, False)),
    "logsumexp": ("input dim keepdim", _logsumexp),
    "layer_norm": (
        "input normalized_shape weight bias eps",
        functools.partial(_row_norm, True),
    ),
    "rms_norm": (
        "input normalized_shape weight eps",
        functools.partial(_row_norm, False),
    ),
    "group_norm": ("input num_groups weight bias eps", _group_norm),
    "instance_norm": (
        "input weight bias running_mean running_var use_input_stats momentum eps",
        _group_norm,
    ),
    "scaled_dot_product_attention": (
        "query key value attn_mask dropout_p is_causal",
        _attention,
    ),
}

Answer = Callable[[Rescale, Any, Any, Any], Any]

_ANSWERS: dict[str, Answer] = {
    **{
        function_name: functools.partial(_elementwise, "straight")
        for function_name in STRAIGHT
    },
    **{
        function_name: functools.partial(_elementwise, "curved")
        for function_name in CURVED
    },
    **{
        function_name: functools.partial(_elementwise, "scale-free")
        for function_name in SCALE_FREE
    },
    **dict.fromkeys(_PRODUCTS, _product),
    **{
        f"{pooling_name}{ending}": functools.partial(
            _pooling, pooling_name, bool(ending)
        )
        for pooling_name in (
            f"{name_prefix}max_pool{dimension_count}d"
            for name_prefix in ("", "adaptive_")
            for dimension_count in (1, 2, 3)
        )
        for ending in ("", "_with_indices")
    },
    **{
        function_name: functools.partial(_largest, function_name)
        for function_name in ("max", "min", "amax", "amin")
    },
    **dict.fromkeys(("maximum", "fmax"), functools.partial(_larger, "amax")),
    **dict.fromkeys(("minimum", "fmin"), functools.partial(_larger, "amin")),
    "einsum": _einsum,
    "where": _where,
    "softmax": functools.partial(_softmax, False),
    "log_softmax": functools.partial(_softmax, True),
    **{
        function_name: functools.partial(_formula, *formula)
        for function_name, formula in _FORMULAS.items()
    },
}


# ---- walking from point to point -----------------------------------------------------
class SecantWalk:
    """Runs a network, from leaves to ``(rows, outputs)``, at point after point, and
    returns each step's slopes.
    """

    def __init__(self, forward: Callable[[Sequence[Tensor]], Tensor]) -> None:
        self.forward = forward
        self.matched = True
        self.calls: Calls = []

    def stand(self, points: Sequence[Tensor]) -> Tensor:
        """Start at points and return the outputs there."""
        rescale_mode = Rescale(None)
        with torch.inference_mode(mode=False), torch.no_grad(), rescale_mode:
            outputs = self.forward(points)
        self.calls = rescale_mode.calls
        return outputs

    def step(
        self,
        points: Sequence[Tensor],
        targets: Sequence[int],
        *,
        constant_sum: bool = False,
        last: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Continue to points.

        Return the outputs there and the mean slopes ``(targets, rows, *)`` towards each
        leaf.
        """
        rescale_mode = Rescale(self.calls, keep=not last)
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaves = [point.detach().clone().requires_grad_() for point in points]
            with rescale_mode:
                outputs = self.forward(leaves)
            slopes = output_gradients(
                outputs, targets, leaves, constant_sum=constant_sum
            )
        self.matched &= rescale_mode.matched and len(rescale_mode.calls) == len(
            self.calls
        )
        self.calls = rescale_mode.calls
        return outputs.detach(), slopes
