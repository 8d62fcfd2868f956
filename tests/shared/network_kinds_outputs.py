"""Whatever a forward may return, and modules of every sort."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from network_cases import Case, Net, kind, make_case
from torch import Tensor, nn
from torch.nn import functional

# ---- what comes out ------------------------------------------------------------------


@dataclasses.dataclass
class Outputs:
    logits: Any
    hidden: Any


class Pair(NamedTuple):
    out: Any
    hidden: Any


@kind
def outputs_in_a_structure(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.must = "explain"
    forms: list[tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = [
        (lambda out: (out, out * 0), lambda returned_outputs: returned_outputs[0]),
        (lambda out: [out, None], lambda returned_outputs: returned_outputs[0]),
        (
            lambda out: {"hidden": out * 0, "logits": out},
            lambda returned_outputs: returned_outputs["logits"],
        ),
        (lambda out: Pair(out, [out]), lambda returned_outputs: returned_outputs[0]),
        (
            lambda out: Outputs(out, out[:1]),
            lambda returned_outputs: returned_outputs.logits,
        ),
        (
            lambda out: {"loss": out.sum(), "a": out},
            lambda returned_outputs: returned_outputs["a"],
        ),
    ]
    way, case.read = forms[int(rng.integers(len(forms)))]
    case.net.after = lambda _net, out, *_: way(out)
    return case


def _quantized(out: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # torch's own, about what the user does.
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(out.detach(), 0.1, 0, torch.qint8)


@kind
def outputs_that_are_none(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.must = "refuse"
    case.twins = False
    ways: list[Callable[[Tensor], Any]] = [
        lambda _: None, lambda _: "text", lambda _: 3.0, lambda out: out.detach().numpy(), lambda _: {}, lambda _: (),
        lambda out: out.mean(), lambda out: out.mean(dim=0), lambda out: out[:, :0], lambda out: out[:-1],
        lambda out: torch.cat([out, out]), lambda out: out[:, None, :].expand(-1, 2, -1), lambda out: out + 1j,
        lambda out: out.to_sparse(), lambda out: {"loss": out.sum()}, lambda out: [out.tolist()], lambda out: out[:0],
        lambda out: torch.empty(len(out), 0, 3), iter, lambda out: {1: out[:-1], "b": out.mean()},
        _quantized,
    ]  # fmt: skip
    way = ways[int(rng.integers(len(ways)))]
    case.net.after = lambda _net, out, *_: way(out)
    return case


@kind
def outputs_of_other_types(rng: np.random.Generator) -> Case:
    """Whole numbers, truths, other precisions, cut from the graph, overlapping in
    memory.
    """
    case = make_case(rng, chain=False)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda out: (out * 10).long(), lambda out: out > 0, lambda out: out.argmax(dim=1), lambda out: out.detach(),
        lambda out: out.double(), lambda out: out.detach().clone().requires_grad_(),
        lambda out: out[:, :1].expand(-1, 3), lambda out: out.T.contiguous().T,
        lambda out: torch.from_numpy(out.detach().numpy().round(1)),
        lambda out: out[:, :1, None, None], lambda out: out[:, 0], lambda out: (out * 9).to(torch.uint8),
    ]  # fmt: skip
    way = ways[int(rng.integers(len(ways)))]
    case.net.after = lambda _net, out, *_: way(out)
    case.read = lambda returned_outputs: returned_outputs.reshape(
        len(returned_outputs), -1
    ).double()
    return case


@kind
def outputs_of_half_precision(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    dtype = [torch.float16, torch.bfloat16][int(rng.integers(2))]
    case.net.after = lambda _net, out, *_: out.to(dtype)
    case.twins = False
    return case


@kind
def networks_of_half_precision(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    dtype = [torch.float16, torch.bfloat16][int(rng.integers(2))]
    case.net.to(dtype)
    case.tensors = [
        input_tensor.to(dtype) if input_tensor.is_floating_point() else input_tensor
        for input_tensor in case.tensors
    ]
    case.others = (
        None
        if case.others is None
        else [
            input_tensor.to(dtype) if input_tensor.is_floating_point() else input_tensor
            for input_tensor in case.others
        ]
    )
    case.twins = False
    return case


@kind
def outputs_made_without_a_graph(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    work = type(case.net).work
    inference = rng.random() < 0.5

    class Closed(type(case.net)):  # type: ignore[misc]
        def work(self, *inputs: Tensor) -> Any:
            with torch.inference_mode() if inference else torch.no_grad():
                return work(self, *inputs)

    case.net.__class__ = Closed
    # Slopes of codes are those of the layers behind the embedding, which are called
    # alone, and not in this forward.
    case.twins = "codes" not in case.parts
    return case


@kind
def outputs_that_change_shape(rng: np.random.Generator) -> Case:
    """Their number depends on the batch, or on the values."""
    case = make_case(rng, chain=False, table=True)
    case.options = {"task": "regression"}
    case.last = "values"
    case.y = None
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


# ---- modules -------------------------------------------------------------------------
@kind
def without_parameters(rng: np.random.Generator) -> Case:
    class Sum(nn.Module):
        def forward(self, first: Tensor) -> Tensor:
            return torch.stack([first.sum(dim=1), (first**2).sum(dim=1)], dim=1)

    case = make_case(rng, chain=False, table=True)
    case.net = Sum()
    case.parts = ("table",)
    case.tensors = case.tensors[:1]
    case.names = ("first",)
    case.others = None if case.others is None else case.others[:1]
    case.last = "values"
    case.y = None
    case.options = {"task": "regression"}
    return case


@kind
def in_train_mode(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.mix = nn.Sequential(case.net.mix, nn.BatchNorm1d(6), nn.Dropout(0.5))
    case.net.mix[1].running_var.uniform_(0.5, 2)
    case.net.train()
    case.net.mix[1].eval()
    case.must = "explain"
    return case


@kind
def frozen(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    for parameter_index, parameter in enumerate(case.net.parameters()):
        parameter.requires_grad_(parameter_index % 3 == 1)
    case.must = "explain"
    return case


@kind
def weights_that_are_not_there_yet(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False)
    case.net.head = nn.LazyLinear(case.net.head.out_features)
    case.must = "explain"
    case.fills = True
    case.twins = False
    return case


@kind
def on_the_meta_device(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.net.to("meta")
    case.must = "refuse"
    case.twins = False
    return case


@kind
def weights_made_of_others(rng: np.random.Generator) -> Case:
    case = make_case(rng)
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
def patched_by_hand(rng: np.random.Generator) -> Case:
    """A layer's forward is replaced on the object, as quick experiments do."""
    case = make_case(rng)
    layer = case.net.head if isinstance(case.net, Net) else case.net[-1]
    weight = layer.weight.detach().clone()
    layer.forward = lambda values: functional.linear(values, weight * 2).sin()
    if case.last not in ("logits", "values"):
        case.must = "either"
    return case


@kind
def hooks_that_change_values(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    layer = case.net.head if isinstance(case.net, Net) else case.net[-1]
    if rng.random() < 0.5:
        layer.register_forward_hook(lambda _, __, out: out * 2)
    else:
        layer.register_forward_pre_hook(lambda _, hook_inputs: (hook_inputs[0] * 2,))
    case.must = "explain"
    return case


@kind
def scripted(rng: np.random.Generator) -> Case:
    class Small(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layer = nn.Linear(width, 2)

        def forward(self, first: Tensor) -> Tensor:
            return torch.tanh(self.layer(first))

    case = make_case(rng, chain=False, table=True)
    width = case.tensors[0].shape[1]
    net = Small(width).eval()
    case.net = (
        torch.jit.trace(net, torch.zeros(3, width))
        if rng.random() < 0.5
        else torch.jit.script(net)
    )
    case.parts = ("table",)
    case.tensors = case.tensors[:1]
    case.names = ("first",)
    case.others = None if case.others is None else case.others[:1]
    case.last = "values"
    case.y = None
    case.options = {"task": "regression"}
    if not isinstance(case.net, torch.jit.RecursiveScriptModule):
        case.twins = False
    case.inputs = case.tensors[0]
    case.background = None if case.others is None else case.others[0]
    return case
