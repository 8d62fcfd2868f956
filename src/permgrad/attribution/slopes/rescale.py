"""Mean slopes of any network between two points: DeepLIFT's Rescale rule without hooks.

A network is run at the start and then at the stop. The first run writes down what goes into every function that is not
linear, in the order of the calls; in the second run each of these functions takes its slope between the two (see
``rescale_rules``), and an ordinary backward pass multiplies them. Functions are met where they are called, as
``nn.Module``, in ``torch.nn.functional``, as methods or operators, in place or not; modules that are used twice, which
rules attached to modules cannot serve, are nothing special here.

What is not known keeps its gradient at the stop. The attributions then miss the output's change, and the completeness
gap says so.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from permgrad.attribution.slopes.gradients import output_gradients
from permgrad.attribution.slopes.rescale_rules import (
    CURVED,
    SCALE_FREE,
    STRAIGHT,
    Choice,
    Elementwise,
    InTheMiddle,
    Maximum,
    Softmax,
)

Calls = list[tuple[Tensor, ...]]

_OPERATORS = {
    "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul_", "__truediv__": "div", "__itruediv__": "div_",
    "__matmul__": "matmul", "__pow__": "pow", "__ipow__": "pow_", "__abs__": "abs", "multiply": "mul",
    "multiply_": "mul_", "divide": "div", "divide_": "div_", "true_divide": "div", "true_divide_": "div_",
}  # fmt: skip
_PRODUCTS = frozenset({"mul", "matmul", "mm", "bmm", "mv", "dot", "inner", "outer", "bilinear", "linear"})
#: Python functions of torch that ask whether a mode is on: a copy that is told no shows what they call.
_ASKED = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class Rescale(TorchFunctionMode):
    """Records what goes into functions that are not linear, and gives them their mean slope from an earlier run.

    Args:
        before: what an earlier run wrote down; None: this is the first.
        keep: whether this run's own inputs are written down, for a next one.

    Attributes:
        calls: what went into each function, in order.
        matched: whether every call had its partner in the earlier run.
    """

    def __init__(self, before: Calls | None, *, keep: bool = True) -> None:
        super().__init__()
        self.before, self.keep = before, keep
        self.calls: Calls = []
        self.matched = True
        self._opened: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one call of torch; the mode is off meanwhile."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        name = _OPERATORS.get(name, name)
        in_place = name.endswith("_") and not name.endswith("__")
        answer = _answer(name.removesuffix("_") if in_place else name)
        if answer is not None and "out" not in kwargs:
            args, kwargs = _in_order(func, args, kwargs)
            called = _not_in_place(func) if in_place else func
            result = answer(self, called, args, kwargs)
            if result is not NotImplemented:
                return args[0].copy_(result) if in_place else result
        opened = None if func in self._opened else _opened(func)
        if opened is None:
            return func(*args, **kwargs)
        # Methods of tensors call the method of the same name below them, which arrives here as the same function.
        self._opened.append(func)
        try:
            with self:
                return opened(*args, **kwargs)
        finally:
            self._opened.pop()

    def starts(self, *values: Tensor) -> tuple[Tensor, ...] | None:
        """Write down what goes into a function, and return what went into it in the earlier run."""
        place = len(self.calls)
        self.calls.append(tuple(value.detach().clone() for value in values) if self.keep else ())
        if self.before is None:
            return None
        own = self.before[place] if place < len(self.before) else ()
        if [value.shape for value in own] != [value.shape for value in values]:
            self.matched = False
            return None
        return own


def _not_in_place(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function on a copy of its first argument."""
    return functools.partial(_on_copy, func)


def _on_copy(func: Callable[..., Any], first: Tensor, *rest: Any, **named: Any) -> Any:
    return func(first.clone(), *rest, **named)


def _in_order(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the tensors that were given by their usual names in front."""
    names = ("condition", "input", "other") if func is torch.where else ("input", "other")
    if func is Tensor.where:
        names = ("input", "condition", "other")
    for place, name in enumerate(names):
        if len(args) == place and name in kwargs:
            args, kwargs = (*args, kwargs[name]), {key: value for key, value in kwargs.items() if key != name}
    return args, kwargs


@functools.cache
def _opened(func: Any) -> Any:
    """Return a function written in Python as a copy that makes its calls in sight; None if it is not of that kind."""
    if not isinstance(func, types.FunctionType) or not any(name in func.__globals__ for name in _ASKED):
        return None
    space = {**func.__globals__, **dict.fromkeys(_ASKED, _never)}
    opened = types.FunctionType(func.__code__, space, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


def _never(*_: Any) -> bool:
    return False


def _varies(value: Any) -> bool:
    """Return whether an argument may depend on the rows: weights do not."""
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and value.is_floating_point()


def _fits(value: Tensor, first: Tensor) -> bool:
    """Return whether a function of both is as large as the first."""
    sizes = zip(value.shape[::-1], first.shape[::-1], strict=False)
    return value.ndim <= first.ndim and all(own in (1, wide) for own, wide in sizes)


def _apply(rule: Any, *arguments: Any) -> Any:
    return rule.apply(*arguments)


# ---- answers to calls ------------------------------------------------------------------------------------------------


def _elementwise(kind: str, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer a function that acts on each number of its first argument alone."""
    others = [value for value in (*args[1:], *kwargs.values()) if _varies(value) and value.ndim]
    if not args or not _varies(args[0]) or not all(_fits(value, args[0]) for value in others):
        return NotImplemented
    if isinstance(func, types.FunctionType) and func.__name__ != "__rpow__":
        return NotImplemented  # Written in Python, it calls another, which says whether it works in place.

    def function(values: Tensor) -> Tensor:
        out: Tensor = func(values, *args[1:], **kwargs)
        return out

    own = mode.starts(args[0])
    # The secant is that of the first argument alone: where others depend on the inputs too, all keep their gradients.
    if own is None or not args[0].requires_grad or any(value.requires_grad for value in others):
        return function(args[0])
    return _apply(Elementwise, args[0], function, own[0], kind)


def _product(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer a function that is linear in each of its two first arguments."""
    if kwargs or len(args) < 2 or not (_varies(args[0]) and _varies(args[1])) or any(map(_varies, args[2:])):
        return NotImplemented
    own = mode.starts(*args[:2])
    if own is None or not (args[0].requires_grad and args[1].requires_grad):
        return func(*args)
    return _apply(InTheMiddle, lambda first, second: func(first, second, *args[2:]), own, *args[:2])


def _einsum(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
    if not isinstance(args[0], str) or len(operands) != 2:
        return NotImplemented
    return _product(mode, lambda first, second: func(args[0], first, second), tuple(operands), kwargs)


def _quotient(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    if kwargs or len(args) != 2 or not _varies(args[1]) or not isinstance(args[0], Tensor):
        return NotImplemented
    with mode:
        return args[0] * torch.reciprocal(args[1])


def _softmax(logarithm: bool, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(func, types.FunctionType) or not _varies(args[0]):
        return NotImplemented  # The function in Python chooses a dimension and calls the other.
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    dtype = kwargs.get("dtype", args[2] if len(args) > 2 else None)
    values = args[0] if dtype is None else args[0].to(dtype)
    own = mode.starts(values)
    if own is None or not isinstance(dim, int) or not values.requires_grad:
        return func(*args, **kwargs)
    return _apply(Softmax, values, own[0], dim, logarithm)


def _maximum_of(
    mode: Rescale, values: Tensor, search: Callable[[Tensor], tuple[Tensor, Tensor]], places: int
) -> tuple[Tensor, Tensor]:
    """Return the largest values and their indexes."""
    own = mode.starts(values)
    found = search(values.detach() if own is not None else values)
    if own is None or not values.requires_grad:
        return search(values)
    return _apply(Maximum, values, own[0], search, places), found[1]


def _pooling(name: str, places: bool, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    """Answer max pooling, in all its forms; ``places``: the function itself is one that gives places as well."""
    arguments = {key: value for key, value in kwargs.items() if key not in ("input", "return_indices")}
    values = args[0] if args else kwargs["input"]
    rest = list(args[1:])
    # The last argument says whether places are wanted as well.
    full = 2 if name.startswith("adaptive") else 6
    wanted = bool(rest.pop()) if len(rest) == full else bool(kwargs.get("return_indices", False))
    wanted = wanted or places
    search = functools.partial(getattr(functional, f"{name}_with_indices"), **arguments)
    if not _varies(values):
        return NotImplemented
    found = _maximum_of(mode, values, lambda own: search(own, *rest), int(name[-2]))
    return found if wanted else found[0]


def _largest(name: str, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    """Answer ``max``, ``min``, ``amax`` and ``amin`` over one dimension, and of two tensors."""
    given = dict(zip(("input", "dim", "keepdim"), args, strict=False)) | kwargs
    dim = given.get("dim")
    if isinstance(dim, Tensor) or "other" in given:
        return _larger("maximum" if name == "max" else "minimum", mode, func, args, kwargs)
    if isinstance(dim, (list, tuple)) and len(dim) == 1:
        dim = dim[0]
    if not isinstance(dim, int) or not _varies(given["input"]):
        return NotImplemented
    sign = -1 if name.endswith("min") else 1
    values = sign * given["input"].movedim(dim, -1)
    best, index = _maximum_of(mode, values, lambda own: own.max(dim=-1, keepdim=True), 1)
    best, index = sign * best.movedim(-1, dim), index.movedim(-1, dim)
    if not given.get("keepdim", False):
        best, index = best.squeeze(dim), index.squeeze(dim)
    if name.startswith("a"):
        return best
    pair = torch.return_types.max if name == "max" else torch.return_types.min
    return pair((best, index))


def _larger(name: str, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    """Answer the larger or smaller of two: ``max(a, b) = a + relu(b − a)``."""
    if len(args) != 2 or not (_varies(args[0]) and _varies(args[1])):
        return NotImplemented
    with mode:
        if name == "maximum":
            return args[0] + torch.relu(args[1] - args[0])
        return args[0] - torch.relu(args[0] - args[1])


def _where(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if kwargs or len(args) != 3:
        return NotImplemented
    condition, first, second = (
        args if isinstance(args[0], Tensor) and args[0].dtype is torch.bool else (args[1], *args[::2])
    )
    if not (isinstance(condition, Tensor) and (_varies(first) or _varies(second))):
        return NotImplemented
    dtype, device = torch.result_type(first, second), condition.device
    sides = [torch.as_tensor(side, dtype=dtype, device=device) for side in (first, second)]
    wide = torch.broadcast_tensors(condition, *sides)
    own = mode.starts(*wide)
    if own is None or not (sides[0].requires_grad or sides[1].requires_grad):
        return func(*args)
    return _apply(Choice, own, *wide)


def _glu(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(func, types.FunctionType):
        return NotImplemented
    dim = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    with mode:
        first, second = args[0].chunk(2, dim=dim)
        return first * torch.sigmoid(second)


def _scaled(values: Tensor, dims: tuple[int, ...], epsilon: float, *, centred: bool = True) -> Tensor:
    """Return values over their spread, in steps that have rules."""
    own = values - values.mean(dim=dims, keepdim=True) if centred else values
    return own * torch.rsqrt(torch.square(own).mean(dim=dims, keepdim=True) + epsilon)


def _norm(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    """Answer the Euclidean length of vectors: the root of a sum of squares."""
    given = dict(zip(("x", "ord", "dim", "keepdim"), args, strict=False)) | kwargs
    values, dim = given.get("x", given.get("input")), given.get("dim")
    if not _varies(values) or given.get("ord", 2) != 2 or given.get("dtype") is not None:
        return NotImplemented
    dims = tuple(range(values.ndim)) if dim is None else dim
    with mode:
        return torch.sqrt(torch.square(values).sum(dim=dims, keepdim=given.get("keepdim", False)))


def _variance(root: bool, mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    """Answer the variance over dimensions, or its root."""
    given = dict(zip(("input", "dim", "unbiased", "keepdim"), args, strict=False)) | kwargs
    values, dim = given["input"], given.get("dim")
    if not _varies(values) or isinstance(dim, bool):
        return NotImplemented
    dims = tuple(range(values.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    correction = given.get("correction")
    correction = int(given.get("unbiased", True)) if correction is None else correction
    count = math.prod(values.shape[own] for own in dims)
    with mode:
        centred = values - values.mean(dim=dims, keepdim=True)
        found = torch.square(centred).sum(dim=dims, keepdim=given.get("keepdim", False)) / (count - correction)
        return torch.sqrt(found) if root else found


def _logsumexp(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    """Answer log Σ exp(x) as x₀ − log softmax(x)₀, whichever number comes first."""
    given = dict(zip(("input", "dim", "keepdim"), args, strict=False)) | kwargs
    values, dim = given["input"], given.get("dim")
    dim = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
    if not isinstance(dim, int) or not _varies(values) or not bool(torch.isfinite(values).all()):
        return NotImplemented
    with mode:
        found = (values - torch.log_softmax(values, dim)).narrow(dim, 0, 1)
        return found if given.get("keepdim", False) else found.squeeze(dim)


def _layer_norm(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(func, types.FunctionType):
        return NotImplemented
    given = dict(zip(("input", "normalized_shape", "weight", "bias", "eps"), args, strict=False)) | kwargs
    weight, bias, dims = given.get("weight"), given.get("bias"), tuple(range(-len(given["normalized_shape"]), 0))
    with mode:
        result = _scaled(given["input"], dims, given.get("eps", 1e-5))
        result = result if weight is None else result * weight
        return result if bias is None else result + bias


def _rms_norm(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(func, types.FunctionType):
        return NotImplemented
    given = dict(zip(("input", "normalized_shape", "weight", "eps"), args, strict=False)) | kwargs
    weight, epsilon, dims = given.get("weight"), given.get("eps"), tuple(range(-len(given["normalized_shape"]), 0))
    epsilon = torch.finfo(given["input"].dtype).eps if epsilon is None else epsilon
    with mode:
        result = _scaled(given["input"], dims, epsilon, centred=False)
        return result if weight is None else result * weight


def _group_norm(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(func, types.FunctionType):
        return NotImplemented
    given = dict(zip(("input", "num_groups", "weight", "bias", "eps"), args, strict=False)) | kwargs
    return _normalised_groups(mode, given["num_groups"], given)


def _instance_norm(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(func, types.FunctionType):
        return NotImplemented
    names = ("input", "weight", "bias", "running_mean", "running_var", "use_input_stats", "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    if not given["use_input_stats"]:
        return NotImplemented  # With running statistics it is linear.
    return _normalised_groups(mode, given["input"].shape[1], given)


def _normalised_groups(mode: Rescale, groups: int, given: Mapping[str, Any]) -> Tensor:
    """Return values over the spread of their group of channels, with a weight and a shift for each channel."""
    values, weight, bias = given["input"], given.get("weight"), given.get("bias")
    with mode:
        flat = values.reshape(len(values), groups, -1)
        result = _scaled(flat, (2,), given.get("eps", 1e-5)).reshape(values.shape)
        wide = (1, -1, *[1] * (values.ndim - 2))
        result = result if weight is None else result * weight.reshape(wide)
        return result if bias is None else result + bias.reshape(wide)


def _attention(mode: Rescale, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG001 — an answer
    """Answer scaled dot-product attention by its formula."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args, strict=False)) | kwargs
    query, key, value, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
    if given.get("dropout_p") or given.get("enable_gqa"):
        return NotImplemented
    scale = given.get("scale")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    with mode:
        scores = (query * scale) @ key.transpose(-2, -1)
        if given.get("is_causal"):
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype is torch.bool else scores + mask
        return torch.softmax(scores, -1) @ value


Answer = Callable[[Rescale, Any, Any, Any], Any]

_ANSWERS: dict[str, Answer] = {
    **{name: functools.partial(_elementwise, "straight") for name in STRAIGHT},
    **{name: functools.partial(_elementwise, "curved") for name in CURVED},
    **{name: functools.partial(_elementwise, "scale-free") for name in SCALE_FREE},
    **dict.fromkeys(_PRODUCTS, _product),
    **{
        f"{name}{ending}": functools.partial(_pooling, name, bool(ending))
        for name in (f"{kind}max_pool{dims}d" for kind in ("", "adaptive_") for dims in (1, 2, 3))
        for ending in ("", "_with_indices")
    },
    **{name: functools.partial(_largest, name) for name in ("max", "min", "amax", "amin")},
    **{name: functools.partial(_larger, name) for name in ("maximum", "minimum")},
    "einsum": _einsum,
    "where": _where,
    "linalg_vector_norm": _norm,
    "std": functools.partial(_variance, True),
    "var": functools.partial(_variance, False),
    "logsumexp": _logsumexp,
    "div": _quotient,
    "softmax": functools.partial(_softmax, False),
    "log_softmax": functools.partial(_softmax, True),
    "glu": _glu,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "scaled_dot_product_attention": _attention,
}
_answer = _ANSWERS.get


# ---- walking from point to point -------------------------------------------------------------------------------------


class SecantWalk:
    """Goes with a network from points to points, and gives the mean slopes of each step.

    Args:
        forward: from leaves to what is explained, ``(rows, outputs)``, differentiable.

    Examples:
        >>> walk = SecantWalk(lambda leaves: torch.relu(leaves[0]))
        >>> start = walk.stand([torch.tensor([[-1.0]])])
        >>> outputs, slopes = walk.step([torch.tensor([[3.0]])], [0])
        >>> slopes[0].tolist(), start.tolist(), outputs.tolist()
        ([[[0.75]]], [[0.0]], [[3.0]])
    """

    def __init__(self, forward: Callable[[Sequence[Tensor]], Tensor]) -> None:
        self.forward = forward
        self.matched = True
        self._calls: Calls = []

    def stand(self, points: Sequence[Tensor]) -> Tensor:
        """Start at points; return the outputs there."""
        mode = Rescale(None)
        with torch.inference_mode(mode=False), torch.no_grad(), mode:
            outputs = self.forward(points)
        self._calls = mode.calls
        return outputs

    def step(
        self, points: Sequence[Tensor], targets: Sequence[int], *, constant_sum: bool = False, last: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Go on to points; return the outputs there and, for each leaf, the mean slopes ``(targets, rows, *)``.

        Args:
            points: one tensor for each leaf, as many rows as where the walk stands.
            targets: positions of the outputs.
            constant_sum: whether the outputs of every row have the same sum.
            last: whether the walk ends here, so that nothing need be remembered.
        """
        mode = Rescale(self._calls, keep=not last)
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaves = [point.detach().clone().requires_grad_() for point in points]
            with mode:
                outputs = self.forward(leaves)
            slopes = output_gradients(outputs, targets, leaves, constant_sum=constant_sum)
        self.matched &= mode.matched and len(mode.calls) == len(self._calls)
        self._calls = mode.calls
        return outputs.detach(), slopes

    def numbers(self) -> int:
        """Return how many numbers were written down where the walk stands."""
        return sum(value.numel() for call in self._calls for value in call)
