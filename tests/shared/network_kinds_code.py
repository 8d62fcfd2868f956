"""Networks whose code raises, or does more than compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from network_cases import Case, Net, kind, make_case, together
from torch import Tensor
from torch.nn import functional

# ---- code of the user's that raises --------------------------------------------------


class TheirOwnError(Exception):
    """Raised by the user's own code."""


class WordlessError(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        """Raise."""
        raise TheirOwnError


def _error(rng: np.random.Generator) -> Exception:
    possible_errors = [
        TheirOwnError("of their own"), ValueError("bad\nvalue; in two lines, however"), RuntimeError("shapes"),
        KeyError("key"), IndexError(), AssertionError(), StopIteration("stop"), WordlessError(), NotImplementedError(),
        OSError(2, "file"), ZeroDivisionError("division by zero"), TypeError("type"), RecursionError("deep"),
        AttributeError("none"),
    ]  # fmt: skip
    return possible_errors[int(rng.integers(len(possible_errors)))]


class Fuse:
    """Raises at one call."""

    def __init__(self, error: Exception, call: int) -> None:
        self.error, self.call, self.calls = error, call, 0

    def __call__(self, *_: Any) -> None:
        """Count, and raise."""
        self.calls += 1
        if self.calls >= self.call:
            raise self.error


def _raising(case: Case) -> Case:
    case.own_error = True
    case.twins = False
    return case


@kind
def forward_that_raises(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    fuse = Fuse(_error(rng), int(rng.choice([1, 2, 4, 7, 9, 12, 20])))

    def after(_net: Net, out: Tensor, *_: Tensor) -> Tensor:
        fuse()
        return out

    case.net.after = after
    return _raising(case)


@kind
def hooks_that_raise(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    fuse = Fuse(_error(rng), int(rng.choice([1, 2, 4, 7, 9, 12, 20])))
    leaf_modules = [
        submodule for submodule in case.net.modules() if not list(submodule.children())
    ]
    leaf_module = leaf_modules[int(rng.integers(len(leaf_modules)))]
    way = int(rng.integers(4))
    if way == 0:
        leaf_module.register_forward_hook(fuse)
    elif way == 1:
        leaf_module.register_forward_pre_hook(fuse)
    elif way == 2:
        leaf_module.register_full_backward_hook(fuse)
    else:
        next(case.net.parameters()).register_hook(fuse)
    return _raising(case)


@kind
def a_row_that_raises(rng: np.random.Generator) -> Case:
    """Values that are no row's own, or of one row alone, are refused by the forward."""
    case = make_case(rng, chain=False, table=True)
    marked = case.tensors[0][-1, 0].item() if rng.random() < 0.5 else 0.0
    error = _error(rng)

    def after(_net: Net, out: Tensor, first: Tensor, *_: Tensor) -> Tensor:
        if bool((first[:, 0] == marked).any()):
            raise error
        return out

    case.net.after = after
    return _raising(case)


@kind
def a_batch_that_raises(rng: np.random.Generator) -> Case:
    """One size of batches alone is taken, or one is not."""
    case = make_case(rng, chain=False)
    count = len(case.tensors[0])
    way = int(rng.integers(3))
    error = _error(rng)

    def after(_net: Net, out: Tensor, *_: Tensor) -> Tensor:
        if (
            (way == 0 and len(out) == 1)
            or (way == 1 and len(out) != count)
            or (way == 2 and len(out) > 64)
        ):
            raise error
        return out

    case.net.after = after
    return _raising(case)


@kind
def memory_that_does_not_suffice(rng: np.random.Generator) -> Case:
    """Batches above a size are too large; where that is 0, every one is."""
    case = make_case(rng, chain=False)
    most = int(rng.choice([0, 1, 3, 16]))
    error = [torch.OutOfMemoryError, MemoryError, RuntimeError][int(rng.integers(3))]
    words = "[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: not enough memory"

    def after(_net: Net, out: Tensor, *_: Tensor) -> Tensor:
        if len(out) > most:
            raise error(words)
        return out

    case.net.after = after
    case.must = "either"
    return case


@kind
def gradients_that_raise(rng: np.random.Generator) -> Case:
    """A function of the user's own without a backward, or with one that raises."""
    error = _error(rng)

    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            raise error

    class Without(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return values.clone()

    function = Refusing if rng.random() < 0.6 else Without
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: function.apply(out)
    return _raising(case)


# ---- forwards that do more than compute ----------------------------------------------


@kind
def writes_into_its_inputs(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.must = "explain"
    way = int(rng.integers(4))

    def before(_net: Net, *inputs: Tensor) -> list[Tensor]:
        for input_tensor in inputs:
            with torch.no_grad():
                if way == 0:
                    input_tensor.zero_()
                elif way == 1:
                    input_tensor[0] = 0
                elif way == 2:
                    input_tensor.clamp_(0, 1)
                else:
                    input_tensor.copy_(input_tensor.flip(-1))
        return list(inputs)

    if way == 1:
        # The first row of a batch is another than the others.
        case.must = "either"
        together(case)
    if way == 0:
        case.must = "either"
    case.net.before = before
    return case


@kind
def first_layer_in_place(rng: np.random.Generator) -> Case:
    case = make_case(rng, real=True, chain=False)
    case.must = "explain"
    case.net.before = lambda _, *inputs: [
        functional.relu(input_tensor, inplace=True)
        if way == 0
        else input_tensor.mul_(2)
        for input_tensor in inputs
    ]
    way = int(rng.integers(2))
    return case


@kind
def returns_its_input(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    case.net.after = lambda _net, out, first, *_: first
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return case


@kind
def counts_its_calls(rng: np.random.Generator) -> Case:
    """A buffer is changed in place, or replaced; the output does not depend on it, or
    it does.
    """
    case = make_case(rng, chain=False)
    case.net.register_buffer("calls", torch.zeros(()))
    replaced = rng.random() < 0.5
    heard = rng.random() < 0.4

    def after(net: Net, out: Tensor, *_: Tensor) -> Tensor:
        if replaced:
            net.calls = net.calls + 1
        else:
            net.calls += 1
        return out + net.calls if heard else out

    case.net.after = after
    if heard:
        case.options = {"task": "regression"}
        case.last = "values"
        case.y = None
        return together(case)
    return case


@kind
def averages_in_a_buffer(rng: np.random.Generator) -> Case:
    """Statistics of its own that go on being learnt in eval mode."""
    case = make_case(rng, chain=False)
    case.net.register_buffer("mean", torch.zeros(case.net.head.out_features))

    def after(net: Net, out: Tensor, *_: Tensor) -> Tensor:
        net.mean.mul_(0.9).add_(0.1 * out.detach().mean(dim=0))
        return out

    case.net.after = after
    return case


@kind
def writes_into_its_weights(rng: np.random.Generator) -> Case:
    """As layers with a largest norm do: the same every time."""
    case = make_case(rng, chain=False)
    way = int(rng.integers(3))

    def before(net: Net, *inputs: Tensor) -> list[Tensor]:
        weight = net.head.weight
        if way == 0:
            weight.data = torch.renorm(weight.data, p=2, dim=0, maxnorm=0.3)
        elif way == 1:
            weight.data.clamp_(-0.2, 0.2)
        else:
            with torch.no_grad():
                weight.clamp_(-0.2, 0.2)
        return list(inputs)

    case.net.before = before
    if way == 2:
        case.twins = False
    return case


@kind
def switches_modes(rng: np.random.Generator) -> Case:
    """The forward itself sets train mode, switches gradients, or freezes weights."""
    case = make_case(rng, chain=False)
    way = int(rng.integers(4))

    def after(net: Net, out: Tensor, *_: Tensor) -> Tensor:
        if way == 0:
            net.train()
        elif way == 1:
            torch.set_grad_enabled(False)
        elif way == 2:
            net.head.requires_grad_(False)
        else:
            torch.manual_seed(0)
        return out

    case.net.after = after
    case.twins = False
    return case


@kind
def differentiates_inside(rng: np.random.Generator) -> Case:
    """Forces from energies: the output is a gradient."""
    case = make_case(rng, chain=False, real=True)
    work = type(case.net).work

    class Forces(type(case.net)):  # type: ignore[misc]
        def forward(
            self,
            first: Tensor,
            second: Tensor | None = None,
            third: Tensor | None = None,
        ) -> Any:
            given_inputs = [
                input_tensor
                for input_tensor in (first, second, third)
                if input_tensor is not None
            ]
            with torch.enable_grad():
                leaf = (
                    given_inputs[0]
                    if given_inputs[0].requires_grad
                    else given_inputs[0].clone().requires_grad_()
                )
                energy = work(self, leaf, *given_inputs[1:]).sum()
                (slope,) = torch.autograd.grad(energy, leaf, create_graph=True)
            return slope.flatten(1).sum(dim=1)

    case.net.__class__ = Forces
    # The sum of probabilities is the same everywhere, and its slope nothing but
    # rounding.
    case.net.last = "values"
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return case
