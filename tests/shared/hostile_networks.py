"""Networks as people really bring them, and worse: from a seed to a case.

Every kind of hostile network is one function of ``(rng, seed)`` and one registration; whoever meets a new one adds it
here and every hostile test meets it too.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from network_cases import CODES, SIDE, Case, Net, hand_over, make_case, rows_of, seeded
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution import methods

Maker = Callable[[np.random.Generator, int], Case]
kinds: dict[str, Maker] = {}


class TheirOwnError(Exception):
    """Raised by the user's own code."""


class WordlessError(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        """Raise."""
        raise TheirOwnError


def kind(maker: Maker) -> Maker:
    """Enrol a kind of network under its function's name."""
    kinds[maker.__name__] = maker
    return maker


def make(name: str, seed: int, method: str | None = None) -> Case:
    """Return a case of one kind, asked by a method; by chance where none is named."""

    def from_rng(rng: np.random.Generator) -> Case:
        case = hand_over(kinds[name](rng, seed), rng)
        case.kind, case.seed = name, seed
        return ask(case, rng, method)

    return seeded(zlib.crc32(name.encode()) + seed, from_rng)


def draw(seed: int) -> Case:
    """Return the case of a seed: kind, method and all."""
    names = sorted(kinds)
    return make(names[seed % len(names)], seed // len(names))


# ---- what is asked ---------------------------------------------------------------------------------------------------

#: Fewer draws than usual: answers must be right, not precise.
FEW: dict[str, dict[str, Any]] = {
    "shapley": {"exact": 4, "min_permutations": 24, "max_permutations": 24, "tolerance": 0.5, "references": 6},
    "lime": {"samples": 100},
}
FAST: dict[str, dict[str, Any]] = {**FEW, "aggregate": {"members": {"gradient": {}, "permutation": {}, **FEW}}}


def ask(case: Case, rng: np.random.Generator, method: str | None) -> Case:
    """Choose method, scope, level and the rest."""
    names = [name for name in methods if name != "permgrad-paper" or rng.random() < 0.1]
    method = method or str(rng.choice(names))
    options: dict[str, Any] = {
        "method": method,
        "random_state": int(rng.integers(99)),
        "n_repeats": 2,
        "progress": False,
    }
    options |= FAST.get(method, {})
    options["level"] = str(rng.choice(["feature", "column", "modality", "group"]))
    if "image" in case.parts:
        options["segments"] = ("grid", 2)
    if options["level"] == "group":
        options["groups"] = _groups(case, rng)
        if not options["groups"]:
            options |= {"level": "feature", "groups": None}
    scopes = methods.get(method).scopes
    if len(scopes) > 1:
        options["scope"] = str(rng.choice(scopes))
    if rng.random() < 0.3:
        options["target"] = 0
    if case.last != "values" and rng.random() < 0.3:
        options["output"] = "probability"
    if rng.random() < 0.15 and isinstance(case.net, Net) and method != "gradcam":
        options["layer"] = str(rng.choice(["mix", "head"]))
        options.pop("segments", None)
        options |= {"level": "feature", "groups": None}
    case.options = {**options, **case.options}
    slopes = method in ("gradient", "integrated_gradients", "deeplift") and "codes" in case.parts
    if case.must == "explain" and (slopes or method in ("gradcam", "permgrad-paper")):
        # Of whole numbers, and where no convolution sees an image, this is refused rightly.
        case.must = "either"
    return case


def feature_names(case: Case) -> list[list[str]]:
    """Return the names of the features of each input, as the package should call them."""
    found = []
    for name, part, tensor in zip(case.names, case.parts, case.tensors, strict=True):
        if part == "image":
            found.append([f"{name}[{row},{column}]" for row in range(2) for column in range(2)])
        else:
            found.append([f"{name}[{place}]" for place in range(tensor.shape[1])])
    return found


def _groups(case: Case, rng: np.random.Generator) -> dict[str, list[str]]:
    every = [name for own in feature_names(case) for name in own]
    if len(every) < 2 or isinstance(case.inputs, pd.DataFrame):
        return {}
    chosen = rng.permutation(every)[: int(rng.integers(1, len(every)))].tolist()
    return {"joined": chosen}


# ---- nothing to explain ----------------------------------------------------------------------------------------------


@kind
def plain(rng: np.random.Generator, seed: int) -> Case:
    """Nothing is wrong with it: it must be explained."""
    case = make_case("", seed, rng)
    case.must = "explain"
    return case


@kind
def inputs_that_never_vary(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.tensors = [own[:1].repeat(len(own), *[1] * (own.ndim - 1)) for own in case.tensors]
    case.others = None
    return case


@kind
def rows_that_are_none(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.tensors, case.y, case.must, case.twins = [own[:0] for own in case.tensors], None, "refuse", False
    return case


@kind
def one_row(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, rows=1)
    if rng.random() < 0.3:
        case.others = None
    return case


@kind
def columns_that_are_none(rng: np.random.Generator, seed: int) -> Case:
    """A table without columns or an image without pixels: alone, or beside other inputs."""
    case = make_case("", seed, rng)
    bad = int(rng.integers(len(case.tensors)))
    case.tensors[bad] = case.tensors[bad].reshape(len(case.tensors[0]), -1)[:, :0]
    if rng.random() < 0.5:
        case.tensors[bad] = case.tensors[bad].reshape(len(case.tensors[0]), 0, int(rng.integers(4)))
    case.others, case.must, case.twins = None, "either", False
    net = case.net
    if isinstance(net, Net) and rng.random() < 0.7:
        # The network can do without it.
        spare = torch.zeros(1, *rows_of(case.parts[bad], 1, rng, 1).shape[1:])
        width = net.encoders[bad][0].in_features if case.parts[bad] == "table" else None
        codes = net.encoders[bad][0].num_embeddings if case.parts[bad] == "codes" else None
        if width is not None:
            spare = torch.zeros(1, width)
        if codes is not None:
            return case

        def fill(_: Net, *inputs: Tensor) -> list[Tensor]:
            return [
                spare.expand(len(own), *spare.shape[1:]) if place == bad else own for place, own in enumerate(inputs)
            ]

        net.before = fill
    return case


@kind
def output_without_inputs(rng: np.random.Generator, seed: int) -> Case:
    """The same numbers for every row."""
    case = make_case("", seed, rng, chain=False)
    numbers = torch.randn(case.net.head.out_features)
    if case.last in ("softmax", "log_softmax"):
        numbers = getattr(torch, case.last)(numbers, 0)
    elif case.last == "sigmoid":
        numbers = torch.sigmoid(numbers)
    case.net.after = lambda _net, out, *_: numbers.expand(len(out), -1)
    return case


@kind
def an_input_that_is_not_heard(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, least=2, chain=False)
    case.net.before = lambda _, first, *rest: [first, *[torch.zeros_like(own) for own in rest]]
    return case


@kind
def without_parameters(rng: np.random.Generator, seed: int) -> Case:
    class Sum(nn.Module):
        def forward(self, first: Tensor) -> Tensor:
            return torch.stack([first.sum(dim=1), (first**2).sum(dim=1)], dim=1)

    case = make_case("", seed, rng, chain=False, table=True)
    case.net, case.parts, case.tensors, case.names = Sum(), ("table",), case.tensors[:1], ("first",)
    case.others = None if case.others is None else case.others[:1]
    case.last, case.y, case.options = "values", None, {"task": "regression"}
    return case


# ---- numbers that are none -------------------------------------------------------------------------------------------


def _spoil(case: Case, where: Callable[..., Tensor], value: float) -> Case:
    """Let the output be ``value`` for rows ``where(inputs) -> bool (rows,)``."""

    def after(_net: Net, out: Tensor, *inputs: Tensor) -> Tensor:
        return torch.where(where(*inputs)[:, None], torch.full_like(out, value), out)

    case.net.after = after
    return case


def _bad(rng: np.random.Generator) -> float:
    return float(rng.choice([np.nan, np.inf, -np.inf]))


def _flat(own: Tensor) -> Tensor:
    return own.flatten(1).float()


@kind
def nonsense_everywhere(rng: np.random.Generator, seed: int) -> Case:
    case = _spoil(
        make_case("", seed, rng, chain=False), lambda first, *_: torch.ones(len(first), dtype=torch.bool), _bad(rng)
    )
    case.must, case.twins = "refuse", False
    return case


@kind
def nonsense_for_some_rows(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    marked = case.tensors[0][int(rng.integers(len(case.tensors[0]))), 0].item()
    case.must, case.twins = "refuse", False
    return _spoil(case, lambda first, *_: first[:, 0] == marked, _bad(rng))


@kind
def nonsense_for_the_background(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    if case.others is None:
        case.others = [own.clone() + (own.is_floating_point() * 1) for own in case.tensors]
        case.others = [own.clamp(0, CODES - 1) if not own.is_floating_point() else own for own in case.others]
    marked = case.others[0][0, 0].item()
    case.twins = False
    return _spoil(case, lambda first, *_: first[:, 0] == marked, _bad(rng))


@kind
def nonsense_at_zero(rng: np.random.Generator, seed: int) -> Case:
    """Only a baseline of zeros gets it."""
    case = make_case("", seed, rng, chain=False, table=True)
    case.others = None if rng.random() < 0.7 else case.others
    return _spoil(case, lambda first, *_: (first == 0).all(dim=1), _bad(rng))


@kind
def nonsense_between_rows(rng: np.random.Generator, seed: int) -> Case:
    """Rows and background are fine; what is put together from both is not."""
    case = make_case("", seed, rng, chain=False, table=True)
    case.twins = False

    def doubled(own: Tensor) -> Tensor:
        return torch.cat([own, own], dim=1)

    first = case.net.encoders[0][0]
    case.net.encoders[0][0] = nn.Linear(2 * first.in_features, first.out_features)
    case.tensors[0] = doubled(case.tensors[0])
    case.others = None if case.others is None else [doubled(case.others[0]), *case.others[1:]]
    half = first.in_features
    return _spoil(case, lambda own, *_: (own[:, :half] != own[:, half:]).any(dim=1), _bad(rng))


@kind
def nonsense_in_the_inputs(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, table=True)
    case.tensors[0][int(rng.integers(len(case.tensors[0]))), 0] = _bad(rng)
    case.twins = False
    return case


@kind
def missing_numbers_that_are_read(rng: np.random.Generator, seed: int) -> Case:
    """The network knows what to do with NaN."""
    case = make_case("", seed, rng, table=True, chain=False)
    case.tensors[0][int(rng.integers(len(case.tensors[0]))), 0] = torch.nan
    case.net.before = lambda _, first, *rest: [torch.nan_to_num(first), *rest]
    case.twins = False
    return case


@kind
def nonsense_in_the_weights(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    with torch.no_grad():
        next(case.net.parameters())[0] = _bad(rng)
    case.twins = False
    return case


@kind
def slopes_without_end(rng: np.random.Generator, seed: int) -> Case:
    """Finite outputs whose slopes are not."""
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.after = lambda _net, out, first, *_: out + 0.1 * torch.sqrt((first[:, :1] - first[:, :1].detach()).abs())
    return case


@kind
def outputs_of_any_size(rng: np.random.Generator, seed: int) -> Case:
    """From numbers that are hardly there to numbers whose squares are none."""
    case = make_case("", seed, rng, chain=False)
    size = float(rng.choice([1e-40, 1e-20, 1e10, 1e18, 1e30, 3e37]))
    if case.last in ("logits", "values"):
        case.net.after = lambda _net, out, *_: out * size
    case.twins = False
    return case


@kind
def outputs_whose_squares_are_none(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, real=True)
    case.net.double()
    case.tensors = [own.double() for own in case.tensors]
    case.others = None if case.others is None else [own.double() for own in case.others]
    if case.last in ("logits", "values"):
        case.net.after = lambda _net, out, *_: out * 1e200
    case.twins = False
    return case


# ---- rows that depend on their neighbours ----------------------------------------------------------------------------


def _together(case: Case) -> Case:
    case.rowwise = case.twins = False
    return case


@kind
def batch_mean(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.before = lambda _, first, *rest: [first - first.mean(dim=0), *rest]
    return _together(case)


@kind
def batch_order(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.before = lambda _, first, *rest: [first.sort(dim=0).values, *rest]
    return _together(case)


@kind
def batch_attention(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.before = lambda _, first, *rest: [torch.softmax(first @ first.T, dim=1) @ first, *rest]
    return _together(case)


@kind
def batch_statistics(rng: np.random.Generator, seed: int) -> Case:
    """Batch normalisation that keeps no statistics takes the batch's own, also in eval mode."""
    case = make_case("", seed, rng, chain=False)
    case.net.mix[0] = nn.Sequential(case.net.mix[0], nn.BatchNorm1d(6, track_running_stats=False))
    return _together(case)


@kind
def batch_softmax(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: torch.softmax(out, dim=0)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


@kind
def batch_position(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: out + torch.arange(len(out), device=out.device)[:, None]
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


@kind
def batch_sums(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: out.cumsum(dim=0)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


@kind
def batch_size_in_the_output(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: out * len(out)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


@kind
def batch_neighbours(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.before = lambda _, first, *rest: [first + first.roll(1, dims=0), *rest]
    return _together(case)


# ---- chance ----------------------------------------------------------------------------------------------------------


@kind
def chance_dropout(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.before = lambda _, first, *rest: [functional.dropout(first + 1, 0.5, training=True), *rest]
    return _together(case)


@kind
def chance_noise(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    size = float(rng.choice([1.0, 0.05]))
    case.net.after = lambda _net, out, *_: out + size * torch.randn_like(out)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


@kind
def chance_of_other_generators(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: out + float(np.random.normal()) + random.random()
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


@kind
def chance_of_the_clock(rng: np.random.Generator, seed: int) -> Case:
    """Every call gives something else."""
    calls = iter(range(10**9))
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: out + next(calls)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return _together(case)


# ---- forms of inputs -------------------------------------------------------------------------------------------------


def _formed(case: Case, rng: np.random.Generator, form: Callable[[Tensor], Any]) -> Case:
    """Hand the inputs over in another form, the background in the usual one."""
    made = [form(own) for own in case.tensors]
    case.inputs = dict(zip(case.names, made, strict=True)) if len(made) > 1 or rng.random() < 0.5 else made[0]
    if case.others is not None:
        case.background = (
            dict(zip(case.names, case.others, strict=True)) if isinstance(case.inputs, dict) else case.others[0]
        )
    return case


@kind
def not_contiguous(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.must = "explain"

    def form(own: Tensor) -> Any:
        way = int(rng.integers(5))
        if way == 0:
            return own.repeat_interleave(2, dim=0)[::2]
        if way == 1:
            return own.flatten(1).T.contiguous().T.reshape(own.shape) if own.ndim == 4 else own.T.contiguous().T
        if way == 2:
            return np.asfortranarray(own.numpy())
        if way == 3:
            return np.ascontiguousarray(own.numpy()[::-1])[::-1]
        return own[:, None].expand(len(own), 3, *own.shape[1:])[:, 1]

    return _formed(case, rng, form)


@kind
def expanded_rows(rng: np.random.Generator, seed: int) -> Case:
    """All rows lie at the same place in memory."""
    case = make_case("", seed, rng)
    count = len(case.tensors[0])
    case.tensors = [own[:1].expand(count, *own.shape[1:]) for own in case.tensors]
    return case


@kind
def arrays_of_other_kinds(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.must = "explain"

    def form(own: Tensor) -> Any:
        array = own.numpy()
        if own.is_floating_point():
            return array.astype(rng.choice([">f4", "f8", ">f8", "<f4"]))
        return array.astype(rng.choice(["i4", "u1", ">i8", "u2", "i2"]))

    return _formed(case, rng, form)


@kind
def arrays_that_are_locked(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.must = "explain"

    def form(own: Tensor) -> Any:
        array = own.numpy().copy()
        array.flags.writeable = False
        return array

    return _formed(case, rng, form)


@kind
def tensors_with_gradients(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.must = "explain"

    def form(own: Tensor) -> Any:
        if not own.is_floating_point():
            return own
        leaf = own.clone().requires_grad_()
        return [leaf, leaf * 1, nn.Parameter(own.clone())][int(rng.integers(3))]

    return _formed(case, rng, form)


@kind
def tensors_of_inference_mode(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.must = "explain"
    with torch.inference_mode():
        made = [own.clone() for own in case.tensors]
    return _formed(case, rng, lambda own: made[[one is own for one in case.tensors].index(True)])


@kind
def whole_numbers_for_real_ones(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    dtype = [torch.int64, torch.int32, torch.uint8, torch.bool, torch.int8][int(rng.integers(5))]
    case.tensors = [own.abs().mul(2).round() if own.is_floating_point() else own for own in case.tensors]
    if dtype is torch.bool:
        case.tensors = [(own > 0).to(own.dtype) if own.is_floating_point() else own for own in case.tensors]
    return _formed(case, rng, lambda own: own.to(dtype) if own.is_floating_point() else own)


@kind
def other_precisions(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    dtype = [torch.float64, torch.float16, torch.bfloat16][int(rng.integers(3))]
    case.tensors = [own.to(dtype).float() if own.is_floating_point() else own for own in case.tensors]
    return _formed(case, rng, lambda own: own.to(dtype) if own.is_floating_point() else own)


@kind
def frames_of_every_type(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, table=True)
    count = len(case.tensors[0])
    table = pd.DataFrame(case.tensors[0].numpy())
    way = int(rng.integers(9))
    if way == 0:
        table.columns = ["a"] * table.shape[1]
    elif way == 1:
        table = table.round().astype("Int64")
    elif way == 2:
        table = table.round().astype("Int64").mask(table > 0.5)
    elif way == 3:
        table[0] = pd.Categorical(["x", "y"] * count)[:count]
    elif way == 4:
        table[0] = pd.date_range("2020", periods=count)
    elif way == 5:
        table.index = pd.Index(["same"] * count)
    elif way == 6:
        table = table.astype("float64[pyarrow]")
    elif way == 7:
        table[0] = table[0].astype(object)
    else:
        table = table.astype(pd.SparseDtype("float"))
    case.twins = False
    rest = case.tensors[1:]
    case.inputs = dict(zip(case.names, [table, *rest], strict=True)) if rest else table
    case.others = None
    return case


@kind
def what_is_no_table(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, table=True)
    first = case.tensors[0]
    odd: list[Any] = [
        None, "text", 3.0, object(), {}, [], (), np.array(["a", "b"]), np.array([object()] * 2), first.to_sparse(),
        first + 1j, first.numpy().astype("datetime64[s]"), [[1.0], [1.0, 2.0]], pd.Series(["a"]), {"strange": first},
        {**dict(zip(case.names, case.tensors, strict=True)), "extra": first}, [first] * 5, first[0, 0], np.float32(1),
        lambda: first, iter([first]), first.numpy().tolist(), np.ma.masked_array(first.numpy(), first.numpy() > 0),
    ]  # fmt: skip
    case.inputs = odd[int(rng.integers(len(odd)))]
    case.others, case.twins, case.y = None, False, None
    return case


@kind
def lengths_that_differ(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, least=2, chain=False)
    case.inputs = dict(zip(case.names, [case.tensors[0][:-1], *case.tensors[1:]], strict=True))
    case.others, case.must, case.twins = None, "refuse", False
    return case


@kind
def shapes_that_do_not_fit(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.tensors[0] = torch.cat([case.tensors[0]] * 2, dim=1) if rng.random() < 0.5 else case.tensors[0][..., None]
    case.must, case.twins, case.others = "either", False, None
    return case


@kind
def background_that_does_not_fit(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.must, case.twins = "refuse", False
    first = case.tensors[0]
    odd: list[Any] = [
        first[:0], torch.cat([first, first], dim=1), "text", 3, None, {"strange": first}, [first] * 5, first.to_sparse(),
        first.numpy().astype(str), pd.DataFrame({"a": ["x", "y"]}), [], {},
    ]  # fmt: skip
    case.background = odd[int(rng.integers(len(odd)))]
    if case.background is None:
        case.others, case.must = None, "either"
    return case


# ---- code of the user's that raises ----------------------------------------------------------------------------------


def _error(rng: np.random.Generator) -> Exception:
    found = [
        TheirOwnError("of their own"), ValueError("bad\nvalue; in two lines, however"), RuntimeError("shapes"), KeyError("key"),
        IndexError(), AssertionError(), StopIteration("stop"), WordlessError(), NotImplementedError(), OSError(2, "file"),
        ZeroDivisionError("division by zero"), TypeError("type"), RecursionError("deep"), AttributeError("none"),
    ]  # fmt: skip
    return found[int(rng.integers(len(found)))]


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
    case.own_error, case.twins = True, False
    return case


@kind
def forward_that_raises(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    fuse = Fuse(_error(rng), int(rng.choice([1, 2, 4, 7, 9, 12, 20])))

    def after(_net: Net, out: Tensor, *_: Tensor) -> Tensor:
        fuse()
        return out

    case.net.after = after
    return _raising(case)


@kind
def hooks_that_raise(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    fuse = Fuse(_error(rng), int(rng.choice([1, 2, 4, 7, 9, 12, 20])))
    parts = [part for part in case.net.modules() if not list(part.children())]
    part = parts[int(rng.integers(len(parts)))]
    way = int(rng.integers(4))
    if way == 0:
        part.register_forward_hook(fuse)
    elif way == 1:
        part.register_forward_pre_hook(fuse)
    elif way == 2:
        part.register_full_backward_hook(fuse)
    else:
        next(case.net.parameters()).register_hook(fuse)
    return _raising(case)


@kind
def a_row_that_raises(rng: np.random.Generator, seed: int) -> Case:
    """Values that are no row's own, or of one row alone, are refused by the forward."""
    case = make_case("", seed, rng, chain=False, table=True)
    marked = case.tensors[0][-1, 0].item() if rng.random() < 0.5 else 0.0
    error = _error(rng)

    def after(_net: Net, out: Tensor, first: Tensor, *_: Tensor) -> Tensor:
        if bool((first[:, 0] == marked).any()):
            raise error
        return out

    case.net.after = after
    return _raising(case)


@kind
def a_batch_that_raises(rng: np.random.Generator, seed: int) -> Case:
    """One size of batches alone is taken, or one is not."""
    case = make_case("", seed, rng, chain=False)
    count, way = len(case.tensors[0]), int(rng.integers(3))
    error = _error(rng)

    def after(_net: Net, out: Tensor, *_: Tensor) -> Tensor:
        if (way == 0 and len(out) == 1) or (way == 1 and len(out) != count) or (way == 2 and len(out) > 64):
            raise error
        return out

    case.net.after = after
    return _raising(case)


@kind
def memory_that_does_not_suffice(rng: np.random.Generator, seed: int) -> Case:
    """Batches above a size are too large; where that is 0, every one is."""
    case = make_case("", seed, rng, chain=False)
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
def gradients_that_raise(rng: np.random.Generator, seed: int) -> Case:
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
    case = make_case("", seed, rng, chain=False)
    case.net.after = lambda _net, out, *_: function.apply(out)
    return _raising(case)


# ---- forwards that do more than compute ------------------------------------------------------------------------------


@kind
def writes_into_its_inputs(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.must = "explain"
    way = int(rng.integers(4))

    def before(_net: Net, *inputs: Tensor) -> list[Tensor]:
        for own in inputs:
            with torch.no_grad():
                if way == 0:
                    own.zero_()
                elif way == 1:
                    own[0] = 0
                elif way == 2:
                    own.clamp_(0, 1)
                else:
                    own.copy_(own.flip(-1))
        return list(inputs)

    if way == 1:
        # The first row of a batch is another than the others.
        case.must = "either"
        _together(case)
    if way == 0:
        case.must = "either"
    case.net.before = before
    return case


@kind
def first_layer_in_place(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, real=True, chain=False)
    case.must = "explain"
    case.net.before = lambda _, *inputs: [
        functional.relu(own, inplace=True) if way == 0 else own.mul_(2) for own in inputs
    ]
    way = int(rng.integers(2))
    return case


@kind
def returns_its_input(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    case.net.after = lambda _net, out, first, *_: first
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return case


@kind
def counts_its_calls(rng: np.random.Generator, seed: int) -> Case:
    """A buffer is changed in place, or replaced; the output does not depend on it, or it does."""
    case = make_case("", seed, rng, chain=False)
    case.net.register_buffer("calls", torch.zeros(()))
    replaced, heard = rng.random() < 0.5, rng.random() < 0.4

    def after(net: Net, out: Tensor, *_: Tensor) -> Tensor:
        if replaced:
            net.calls = net.calls + 1
        else:
            net.calls += 1
        return out + net.calls if heard else out

    case.net.after = after
    if heard:
        case.options, case.last, case.y = {"task": "regression"}, "values", None
        return _together(case)
    return case


@kind
def averages_in_a_buffer(rng: np.random.Generator, seed: int) -> Case:
    """Statistics of its own that go on being learnt in eval mode."""
    case = make_case("", seed, rng, chain=False)
    case.net.register_buffer("mean", torch.zeros(case.net.head.out_features))

    def after(net: Net, out: Tensor, *_: Tensor) -> Tensor:
        net.mean.mul_(0.9).add_(0.1 * out.detach().mean(dim=0))
        return out

    case.net.after = after
    return case


@kind
def writes_into_its_weights(rng: np.random.Generator, seed: int) -> Case:
    """As layers with a largest norm do: the same every time."""
    case = make_case("", seed, rng, chain=False)
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
def switches_modes(rng: np.random.Generator, seed: int) -> Case:
    """The forward itself sets train mode, switches gradients, or freezes weights."""
    case = make_case("", seed, rng, chain=False)
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
def differentiates_inside(rng: np.random.Generator, seed: int) -> Case:
    """Forces from energies: the output is a gradient."""
    case = make_case("", seed, rng, chain=False, real=True)
    work = type(case.net).work

    class Forces(type(case.net)):  # type: ignore[misc]
        def forward(self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None) -> Any:
            given = [own for own in (first, second, third) if own is not None]
            with torch.enable_grad():
                leaf = given[0] if given[0].requires_grad else given[0].clone().requires_grad_()
                energy = work(self, leaf, *given[1:]).sum()
                (slope,) = torch.autograd.grad(energy, leaf, create_graph=True)
            return slope.flatten(1).sum(dim=1)

    case.net.__class__ = Forces
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    return case


# ---- what comes out --------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Outputs:
    logits: Any
    hidden: Any


Pair = collections.namedtuple("Pair", "out hidden")


@kind
def outputs_in_a_structure(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.must = "explain"
    forms: list[tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = [
        (lambda out: (out, out * 0), lambda found: found[0]),
        (lambda out: [out, None], lambda found: found[0]),
        (lambda out: {"hidden": out * 0, "logits": out}, lambda found: found["logits"]),
        (lambda out: Pair(out, [out]), lambda found: found[0]),
        (lambda out: Outputs(out, out[:1]), lambda found: found.logits),
        (lambda out: {"loss": out.sum(), "a": out}, lambda found: found["a"]),
    ]
    way, case.read = forms[int(rng.integers(len(forms)))]
    case.net.after = lambda _net, out, *_: way(out)
    return case


@kind
def outputs_that_are_none(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.must, case.twins = "refuse", False
    ways: list[Callable[[Tensor], Any]] = [
        lambda _: None, lambda _: "text", lambda _: 3.0, lambda out: out.detach().numpy(), lambda _: {}, lambda _: (),
        lambda out: out.mean(), lambda out: out.mean(dim=0), lambda out: out[:, :0], lambda out: out[:-1],
        lambda out: torch.cat([out, out]), lambda out: out[:, None, :].expand(-1, 2, -1), lambda out: out + 1j,
        lambda out: out.to_sparse(), lambda out: {"loss": out.sum()}, lambda out: [out.tolist()], lambda out: out[:0],
        lambda out: torch.empty(len(out), 0, 3), lambda out: iter(out), lambda out: {1: out[:-1], "b": out.mean()},
        lambda out: torch.quantize_per_tensor(out.detach(), 0.1, 0, torch.qint8),
    ]  # fmt: skip
    way = ways[int(rng.integers(len(ways)))]
    case.net.after = lambda _net, out, *_: way(out)
    return case


@kind
def outputs_of_other_types(rng: np.random.Generator, seed: int) -> Case:
    """Whole numbers, truths, other precisions, cut from the graph, overlapping in memory."""
    case = make_case("", seed, rng, chain=False)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda out: (out * 10).long(), lambda out: out > 0, lambda out: out.argmax(dim=1), lambda out: out.detach(),
        lambda out: out.double(), lambda out: out.detach().clone().requires_grad_(), lambda out: out[:, :1].expand(-1, 3),
        lambda out: out.T.contiguous().T, lambda out: torch.from_numpy(out.detach().numpy().round(1)),
        lambda out: out[:, :1, None, None], lambda out: out[:, 0], lambda out: (out * 9).to(torch.uint8),
    ]  # fmt: skip
    way = ways[int(rng.integers(len(ways)))]
    case.net.after = lambda _net, out, *_: way(out)
    case.read = lambda found: found.reshape(len(found), -1).double()
    return case


@kind
def outputs_of_half_precision(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    dtype = [torch.float16, torch.bfloat16][int(rng.integers(2))]
    case.net.after = lambda _net, out, *_: out.to(dtype)
    case.twins = False
    return case


@kind
def networks_of_half_precision(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    dtype = [torch.float16, torch.bfloat16][int(rng.integers(2))]
    case.net.to(dtype)
    case.tensors = [own.to(dtype) if own.is_floating_point() else own for own in case.tensors]
    case.others = (
        None if case.others is None else [own.to(dtype) if own.is_floating_point() else own for own in case.others]
    )
    case.twins = False
    return case


@kind
def outputs_made_without_a_graph(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    work, inference = type(case.net).work, rng.random() < 0.5

    class Closed(type(case.net)):  # type: ignore[misc]
        def work(self, *inputs: Tensor) -> Any:
            with torch.inference_mode() if inference else torch.no_grad():
                return work(self, *inputs)

    case.net.__class__ = Closed
    return case


@kind
def outputs_that_change_shape(rng: np.random.Generator, seed: int) -> Case:
    """Their number depends on the batch, or on the values."""
    case = make_case("", seed, rng, chain=False, table=True)
    case.options, case.last, case.y = {"task": "regression"}, "values", None
    ways: list[Callable[[Tensor, Tensor], Any]] = [
        lambda out, _: out[:, :1].expand(-1, min(len(out), 3)),
        lambda out, _: out.squeeze(),
        lambda out, _: out[:, 0].squeeze(),
        lambda out, first: out[:, :1].expand(-1, 1 + int(first[0, 0] > 0)),
        lambda out, _: out if len(out) != 1 else out[0, 0],
        lambda out, _: {"a" if len(out) > 1 else "b": out},
        lambda out, _: out if len(out) < 20 else out[:-1],
        lambda out, _: out[:, :1] if len(out) < 20 else out[:, :1].expand(-1, 2),
    ]
    way = ways[int(rng.integers(len(ways)))]
    case.net.after = lambda _net, out, first, *_: way(out, first)
    case.twins = False
    return case


# ---- modules ---------------------------------------------------------------------------------------------------------


@kind
def in_train_mode(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.mix = nn.Sequential(case.net.mix, nn.BatchNorm1d(6), nn.Dropout(0.5))
    case.net.mix[1].running_var.uniform_(0.5, 2)
    case.net.train()
    case.net.mix[1].eval()
    case.must = "explain"
    return case


@kind
def frozen(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    for place, parameter in enumerate(case.net.parameters()):
        parameter.requires_grad_(place % 3 == 1)
    case.must = "explain"
    return case


@kind
def weights_that_are_not_there_yet(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False)
    case.net.head = nn.LazyLinear(case.net.head.out_features)
    case.must, case.twins = "refuse", False
    return case


@kind
def on_the_meta_device(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    case.net.to("meta")
    case.must, case.twins = "refuse", False
    return case


@kind
def weights_made_of_others(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    layer = case.net.head if isinstance(case.net, Net) else case.net[-1]
    way = int(rng.integers(3))
    if way == 0:
        torch.nn.utils.parametrizations.weight_norm(layer)
    elif way == 1:
        torch.nn.utils.parametrizations.spectral_norm(layer)
    else:
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", nn.Tanh())
    case.must = "explain"
    return case


@kind
def patched_by_hand(rng: np.random.Generator, seed: int) -> Case:
    """A layer's forward is replaced on the object, as quick experiments do."""
    case = make_case("", seed, rng)
    layer = case.net.head if isinstance(case.net, Net) else case.net[-1]
    weight = layer.weight.detach().clone()
    layer.forward = lambda values: functional.linear(values, weight * 2).sin()
    if case.last not in ("logits", "values"):
        case.must = "either"
    return case


@kind
def hooks_that_change_values(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    layer = case.net.head if isinstance(case.net, Net) else case.net[-1]
    if rng.random() < 0.5:
        layer.register_forward_hook(lambda _, __, out: out * 2)
    else:
        layer.register_forward_pre_hook(lambda _, given: (given[0] * 2,))
    case.must = "explain"
    return case


@kind
def scripted(rng: np.random.Generator, seed: int) -> Case:
    class Small(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layer = nn.Linear(width, 2)

        def forward(self, first: Tensor) -> Tensor:
            return torch.tanh(self.layer(first))

    case = make_case("", seed, rng, chain=False, table=True)
    width = case.tensors[0].shape[1]
    net = Small(width).eval()
    case.net = torch.jit.trace(net, torch.zeros(3, width)) if rng.random() < 0.5 else torch.jit.script(net)
    case.parts, case.tensors, case.names = ("table",), case.tensors[:1], ("first",)
    case.others = None if case.others is None else case.others[:1]
    case.last, case.y, case.options = "values", None, {"task": "regression"}
    if not isinstance(case.net, torch.jit.RecursiveScriptModule):
        case.twins = False
    case.inputs = case.tensors[0]
    case.background = None if case.others is None else case.others[0]
    return case


@kind
def signatures_of_every_sort(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng, chain=False, table=True)
    work, way = type(case.net).work, int(rng.integers(6))
    base = type(case.net)
    forwards: list[Any] = [
        lambda self, *inputs: work(self, *inputs),
        lambda self, *inputs, scale=1.0: work(self, *inputs),
        lambda self, first, second=None, third=None, *, flag=False: work(
            self, *[own for own in (first, second, third) if own is not None]
        ),
        lambda self, first, /, second=None, third=None: work(
            self, *[own for own in (first, second, third) if own is not None]
        ),
        lambda self, **named: work(self, *[named[name] for name in ("first", "second", "third") if name in named]),
        lambda self, batch: work(
            self,
            *(batch.values() if isinstance(batch, dict) else batch if isinstance(batch, (list, tuple)) else [batch]),
        ),
    ]
    case.net.__class__ = type("Odd", (base,), {"forward": forwards[way]})
    case.inputs = dict(zip(case.names, case.tensors, strict=True))
    case.background = None if case.others is None else dict(zip(case.names, case.others, strict=True))
    case.twins = False
    return case


@kind
def codes_beyond_the_table(rng: np.random.Generator, seed: int) -> Case:
    """Codes that the network has no entry for: in a row, in the background, or at zero."""
    case = make_case("", seed, rng, chain=False)
    place = next((k for k, part in enumerate(case.parts) if part == "codes"), None)
    if place is None:
        return case
    case.twins, way = False, int(rng.integers(3))
    if way == 0:
        case.tensors[place][-1] = 99
        case.must = "refuse"
    elif way == 1 and case.others is not None:
        case.others[place][0] = -9
    else:
        case.tensors[place] = case.tensors[place].clamp_min(1)
        case.others = None
        case.net.before = lambda _, *inputs: [own - 1 if k == place else own for k, own in enumerate(inputs)]
    return case


@kind
def targets_that_do_not_fit(rng: np.random.Generator, seed: int) -> Case:
    case = make_case("", seed, rng)
    rows = len(case.tensors[0])
    odd: list[Any] = [
        np.zeros(rows + 1), "text", 3, np.full(rows, np.nan), np.full(rows, 99), np.full(rows, -1), ["?"] * rows, [None] * rows,
        np.zeros((rows, 7)), np.full(rows, np.inf), np.zeros((rows, 0)), [], {}, np.array([object()] * rows), torch.zeros(rows, 1, 1),
        np.full(rows, 1 + 1j), pd.Series(pd.date_range("2020", periods=rows)), pd.Series([pd.NA] * rows, dtype="Int64"),
        np.full(rows, 0.5), [[0], [1, 2]], pd.DataFrame({"a": ["x"] * rows}),
    ]  # fmt: skip
    case.y, case.twins = odd[int(rng.integers(len(odd)))], False
    return case


#: Where images are cut; another would not change what is said.
assert SIDE % 2 == 0
