"""Networks with nothing to explain, whose numbers are none, whose rows depend on each
other or on chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from network_cases import CODES, Case, Net, kind, make_case, rows_of, together
from torch import Tensor, nn
from torch.nn import functional

# ---- nothing to explain --------------------------------------------------------------


@kind
def plain(rng: np.random.Generator) -> Case:
    """Nothing is wrong with it: it must be explained."""
    case = make_case(rng)
    case.must = "explain"
    return case


@kind
def inputs_that_never_vary(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.tensors = [
        input_tensor[:1].repeat(len(input_tensor), *[1] * (input_tensor.ndim - 1))
        for input_tensor in case.tensors
    ]
    case.others = None
    return case


@kind
def rows_that_are_none(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.tensors = [input_tensor[:0] for input_tensor in case.tensors]
    case.y = None
    case.must = "refuse"
    case.twins = False
    return case


@kind
def one_row(rng: np.random.Generator) -> Case:
    case = make_case(rng, rows=1)
    if rng.random() < 0.3:
        case.others = None
    return case


@kind
def columns_that_are_none(rng: np.random.Generator) -> Case:
    """A table without columns or an image without pixels: alone, or beside other
    inputs.
    """
    case = make_case(rng)
    bad = int(rng.integers(len(case.tensors)))
    case.tensors[bad] = case.tensors[bad].reshape(len(case.tensors[0]), -1)[:, :0]
    if rng.random() < 0.5:
        case.tensors[bad] = case.tensors[bad].reshape(
            len(case.tensors[0]), 0, int(rng.integers(4))
        )
    case.others = None
    case.must = "either"
    case.twins = False
    net = case.net
    if isinstance(net, Net) and rng.random() < 0.7:
        # The network can do without it.
        spare = torch.zeros(1, *rows_of(case.parts[bad], 1, rng, 1).shape[1:])
        width = net.encoders[bad][0].in_features if case.parts[bad] == "table" else None
        codes = (
            net.encoders[bad][0].num_embeddings if case.parts[bad] == "codes" else None
        )
        if width is not None:
            spare = torch.zeros(1, width)
        if codes is not None:
            return case

        def fill(_: Net, *inputs: Tensor) -> list[Tensor]:
            return [
                spare.expand(len(input_tensor), *spare.shape[1:])
                if input_index == bad
                else input_tensor
                for input_index, input_tensor in enumerate(inputs)
            ]

        net.before = fill
    return case


@kind
def output_without_inputs(rng: np.random.Generator) -> Case:
    """The same numbers for every row."""
    case = make_case(rng, chain=False)
    numbers = torch.randn(case.net.head.out_features)
    if case.last in ("softmax", "log_softmax"):
        numbers = getattr(torch, case.last)(numbers, 0)
    elif case.last == "sigmoid":
        numbers = torch.sigmoid(numbers)
    case.net.after = lambda _net, out, *_: numbers.expand(len(out), -1)
    return case


@kind
def an_input_that_is_not_heard(rng: np.random.Generator) -> Case:
    case = make_case(rng, least=2, chain=False)
    case.net.before = lambda _, first, *other_inputs: [
        first,
        *[torch.zeros_like(input_tensor) for input_tensor in other_inputs],
    ]
    return case


# ---- numbers that are none -----------------------------------------------------------


def _spoil(case: Case, where: Callable[..., Tensor], value: float) -> Case:
    """Let the output be ``value`` for rows ``where(inputs) -> bool (rows,)``."""

    def after(_net: Net, out: Tensor, *inputs: Tensor) -> Tensor:
        return torch.where(where(*inputs)[:, None], torch.full_like(out, value), out)

    case.net.after = after
    return case


def _bad(rng: np.random.Generator) -> float:
    return float(rng.choice([np.nan, np.inf, -np.inf]))


def _flat(input_tensor: Tensor) -> Tensor:
    return input_tensor.flatten(1).float()


@kind
def nonsense_everywhere(rng: np.random.Generator) -> Case:
    case = _spoil(
        make_case(rng, chain=False),
        lambda first, *_: torch.ones(len(first), dtype=torch.bool),
        _bad(rng),
    )
    case.must = "refuse"
    case.twins = False
    return case


@kind
def nonsense_for_some_rows(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    marked = case.tensors[0][int(rng.integers(len(case.tensors[0]))), 0].item()
    case.must = "refuse"
    case.twins = False
    return _spoil(case, lambda first, *_: first[:, 0] == marked, _bad(rng))


@kind
def nonsense_for_the_background(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    if case.others is None:
        case.others = [
            input_tensor.clone() + (input_tensor.is_floating_point() * 1)
            for input_tensor in case.tensors
        ]
        case.others = [
            input_tensor.clamp(0, CODES - 1)
            if not input_tensor.is_floating_point()
            else input_tensor
            for input_tensor in case.others
        ]
    marked = case.others[0][0, 0].item()
    case.twins = False
    return _spoil(case, lambda first, *_: first[:, 0] == marked, _bad(rng))


@kind
def nonsense_at_zero(rng: np.random.Generator) -> Case:
    """Only a baseline of zeros gets it."""
    case = make_case(rng, chain=False, table=True)
    case.others = None if rng.random() < 0.7 else case.others
    return _spoil(case, lambda first, *_: (first == 0).all(dim=1), _bad(rng))


@kind
def nonsense_between_rows(rng: np.random.Generator) -> Case:
    """Rows and background are fine; what is put together from both is not."""
    case = make_case(rng, chain=False, table=True)
    case.twins = False

    def doubled(input_tensor: Tensor) -> Tensor:
        return torch.cat([input_tensor, input_tensor], dim=1)

    first = case.net.encoders[0][0]
    case.net.encoders[0][0] = nn.Linear(2 * first.in_features, first.out_features)
    case.tensors[0] = doubled(case.tensors[0])
    case.others = (
        None if case.others is None else [doubled(case.others[0]), *case.others[1:]]
    )
    half = first.in_features
    return _spoil(
        case,
        lambda input_tensor, *_: (input_tensor[:, :half] != input_tensor[:, half:]).any(
            dim=1
        ),
        _bad(rng),
    )


@kind
def nonsense_in_the_inputs(rng: np.random.Generator) -> Case:
    case = make_case(rng, table=True)
    case.tensors[0][int(rng.integers(len(case.tensors[0]))), 0] = _bad(rng)
    case.twins = False
    return case


@kind
def missing_numbers_that_are_read(rng: np.random.Generator) -> Case:
    """The network knows what to do with NaN."""
    case = make_case(rng, table=True, chain=False)
    case.tensors[0][int(rng.integers(len(case.tensors[0]))), 0] = torch.nan
    case.net.before = lambda _, first, *other_inputs: [
        torch.nan_to_num(first),
        *other_inputs,
    ]
    case.twins = False
    return case


@kind
def nonsense_in_the_weights(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    with torch.no_grad():
        next(case.net.parameters())[0] = _bad(rng)
    case.twins = False
    return case


@kind
def slopes_without_end(rng: np.random.Generator) -> Case:
    """Finite outputs whose slopes are not."""
    case = make_case(rng, chain=False, table=True)
    case.net.after = lambda _net, out, first, *_: (
        out + 0.1 * torch.sqrt((first[:, :1] - first[:, :1].detach()).abs())
    )
    return case


@kind
def outputs_of_any_size(rng: np.random.Generator) -> Case:
    """From numbers that are hardly there to numbers whose squares are none."""
    case = make_case(rng, chain=False)
    size = float(rng.choice([1e-40, 1e-20, 1e10, 1e18, 1e30, 3e37]))
    if case.last in ("logits", "values"):
        case.net.after = lambda _net, out, *_: out * size
    case.twins = False
    return case


@kind
def outputs_whose_squares_are_none(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, real=True)
    case.net.double()
    case.tensors = [input_tensor.double() for input_tensor in case.tensors]
    case.others = (
        None
        if case.others is None
        else [input_tensor.double() for input_tensor in case.others]
    )
    if case.last in ("logits", "values"):
        case.net.after = lambda _net, out, *_: out * 1e200
    case.twins = False
    return case


# ---- rows that depend on their neighbours --------------------------------------------


@kind
def batch_mean(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    case.net.before = lambda _, first, *other_inputs: [
        first - first.mean(dim=0),
        *other_inputs,
    ]
    return together(case)


@kind
def batch_order(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    case.net.before = lambda _, first, *other_inputs: [
        first.sort(dim=0).values,
        *other_inputs,
    ]
    return together(case)


@kind
def batch_attention(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    case.net.before = lambda _, first, *other_inputs: [
        torch.softmax(first @ first.T, dim=1) @ first,
        *other_inputs,
    ]
    return together(case)


@kind
def batch_statistics(rng: np.random.Generator) -> Case:
    """Batch normalisation that keeps no statistics takes the batch's own, also in eval
    mode.
    """
    case = make_case(rng, chain=False)
    case.net.mix[0] = nn.Sequential(
        case.net.mix[0], nn.BatchNorm1d(6, track_running_stats=False)
    )
    return together(case)


@kind
def batch_softmax(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: torch.softmax(out, dim=0)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)


@kind
def batch_position(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: (
        out + torch.arange(len(out), device=out.device)[:, None]
    )
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)


@kind
def batch_sums(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: out.cumsum(dim=0)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)


@kind
def batch_size_in_the_output(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: out * len(out)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)


@kind
def batch_neighbours(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    case.net.before = lambda _, first, *other_inputs: [
        first + first.roll(1, dims=0),
        *other_inputs,
    ]
    return together(case)


# ---- chance --------------------------------------------------------------------------


@kind
def chance_dropout(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    case.net.before = lambda _, first, *other_inputs: [
        functional.dropout(first + 1, 0.5, training=True),
        *other_inputs,
    ]
    return together(case)


@kind
def chance_noise(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    size = float(rng.choice([1.0, 0.05]))
    case.net.after = lambda _net, out, *_: out + size * torch.randn_like(out)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)


@kind
def chance_of_other_generators(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: (
        out + float(np.random.normal()) + random.random()
    )
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)


@kind
def chance_of_the_clock(rng: np.random.Generator) -> Case:
    """Every call gives something else."""
    calls = iter(range(10**9))
    case = make_case(rng, chain=False)
    case.net.after = lambda _net, out, *_: out + next(calls)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    return together(case)
