"""Small networks of one to three inputs with rows for them: what hostile networks are
made from.

A case is a function of its seed alone. It holds the rows twice: as the user hands them
over, and as plain tensors that the network takes, from which the slow twins compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Sides of images, values of codes.
SIDE = 6
CODES = 5
#: How the network's last numbers are handed out.
LASTS = ("logits", "softmax", "log_softmax", "sigmoid", "values")
INPUTS = ("table", "image", "codes")


class Net(nn.Module):
    """One encoder for each input, joined and read out; ``before`` and ``after`` are
    what is hostile about it.
    """

    def __init__(
        self,
        kinds: tuple[str, ...],
        widths: tuple[int, ...],
        outputs: int,
        last: str,
        act: nn.Module,
    ) -> None:
        super().__init__()
        makers = {
            "table": lambda width: nn.Sequential(nn.Linear(width, 5), act),
            "image": lambda _: nn.Sequential(
                nn.Conv2d(1, 3, 3), act, nn.AdaptiveAvgPool2d(2), nn.Flatten()
            ),
            "codes": lambda _: nn.Sequential(nn.Embedding(CODES, 3), nn.Flatten()),
        }
        sizes = {
            "table": lambda _: 5,
            "image": lambda _: 12,
            "codes": lambda width: 3 * width,
        }
        self.encoders = nn.ModuleList(
            makers[kind](width) for kind, width in zip(kinds, widths, strict=True)
        )
        self.mix = nn.Sequential(
            nn.Linear(sum(sizes[k](w) for k, w in zip(kinds, widths, strict=True)), 6),
            act,
        )
        self.head = nn.Linear(6, outputs)
        self.last = last
        self.before: Callable[..., Any] | None = None
        self.after: Callable[..., Any] | None = None

    def work(self, *inputs: Tensor) -> Any:
        layer_inputs = inputs
        if self.before is not None:
            layer_inputs = self.before(self, *inputs)
        hidden = [
            encoder(input_tensor)
            for encoder, input_tensor in zip(self.encoders, layer_inputs, strict=True)
        ]
        out = self.head(self.mix(torch.cat(hidden, dim=1)))
        if self.last == "softmax":
            out = torch.softmax(out, dim=1)
        elif self.last == "log_softmax":
            out = torch.log_softmax(out, dim=1)
        elif self.last == "sigmoid":
            out = torch.sigmoid(out)
        return out if self.after is None else self.after(self, out, *layer_inputs)


class One(Net):
    def forward(self, first: Tensor) -> Any:
        return self.work(first)


class Two(Net):
    def forward(self, first: Tensor, second: Tensor) -> Any:
        return self.work(first, second)


class Three(Net):
    def forward(self, first: Tensor, second: Tensor, third: Tensor) -> Any:
        return self.work(first, second, third)


NAMES = ("first", "second", "third")
Maker = Callable[[np.random.Generator], "Case"]
kinds: dict[str, Maker] = {}


def kind(maker: Maker) -> Maker:
    """Enrol a kind of network under its function's name."""
    kinds[maker.__name__] = maker
    return maker


@dataclass
class Case:
    """A network, rows for it, and what is asked.

    Attributes:
        net: the network, as the user has it.
        tensors: one for each input, as the network takes them.
        inputs, background: the same rows in the user's form; ``others`` are the tensors
            of the background.
        y: the target, or None.
        options: for ``pg.explain``.
        rowwise: whether a row's output is a function of this row alone; where it is
            not, this must be said.
        read: from what the network returns to ``(rows, outputs)``.
        own_error: whether the user's own code raises, so that the refusal must be
            chained to it.
        must: ``"refuse"``, ``"explain"``, or ``"either"``.
        parts: of the inputs: ``"table"``, ``"image"`` or ``"codes"``.
        twins: whether the slow twins apply.
        fills: whether the first call makes the network's weights, whoever calls it.
        kind, seed: what it was made from.
    """

    net: nn.Module
    parts: tuple[str, ...]
    tensors: list[Tensor]
    last: str
    inputs: Any = None
    y: Any = None
    others: list[Tensor] | None = None
    background: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    rowwise: bool = True
    own_error: bool = False
    must: str = "either"
    twins: bool = True
    fills: bool = False
    read: Callable[[Any], Tensor] = lambda returned: returned
    names: tuple[str, ...] = NAMES
    kind: str = ""
    seed: int = 0

    def __repr__(self) -> str:
        """Return what is needed to make the case again, and what it looks like."""
        shapes = ", ".join(
            f"{tuple(input_tensor.shape)} {input_tensor.dtype}"
            for input_tensor in self.tensors
        )
        shown_options = {
            key: value
            for key, value in self.options.items()
            if key not in ("segments", "groups")
        }
        argument_text = (
            f"y={self.y is not None}, background={self.background is not None}"
        )
        return (
            f"make({self.kind!r}, {self.seed}): {shapes}; {argument_text}, "
            f"{shown_options}"
        )


def seeded(seed: int, make: Callable[[np.random.Generator], Any]) -> Any:
    """Call with a generator of NumPy; torch's own numbers depend on the seed as well,
    and its state is kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(np.random.default_rng(seed))


def rows_of(kind: str, count: int, rng: np.random.Generator, width: int) -> Tensor:
    """Return rows for one input."""
    if kind == "table":
        return torch.from_numpy(rng.normal(size=(count, width)).astype(np.float32))
    if kind == "image":
        return torch.from_numpy(
            rng.normal(size=(count, 1, SIDE, SIDE)).astype(np.float32)
        )
    return torch.from_numpy(rng.integers(0, CODES, (count, width)))


def make_net(
    rng: np.random.Generator,
    *,
    least: int = 1,
    real: bool = False,
    table: bool = False,
    chain: bool = True,
) -> tuple[nn.Module, tuple[str, ...], tuple[int, ...], str]:
    """Return a network, the kinds and widths of its inputs, and what its numbers are.

    Args:
        rng: decides.
        least: at least so many inputs.
        real: no codes, which have no gradient.
        table: the first input is a table.
        chain: it may be a plain chain of layers, which the package reads and folds.
    """
    count = int(rng.integers(least, 4))
    usable = [kind for kind in INPUTS if not (real and kind == "codes")]
    kinds = [str(rng.choice(usable)) for _ in range(count)]
    if table:
        kinds[0] = "table"
    widths = tuple(int(rng.integers(1, 4)) for _ in kinds)
    last = str(rng.choice(LASTS))
    outputs = (
        1
        if last == "sigmoid"
        else int(rng.integers(2, 4))
        if "softmax" in last
        else int(rng.integers(1, 4))
    )
    act: nn.Module = [nn.ReLU(), nn.Tanh(), nn.GELU(), nn.ReLU(inplace=True)][
        int(rng.integers(4))
    ]
    if (
        chain
        and count == 1
        and kinds[0] == "table"
        and last in ("logits", "values")
        and rng.random() < 0.5
    ):
        layers = [
            nn.Linear(widths[0], 6),
            act,
            nn.BatchNorm1d(6),
            nn.Dropout(0.5),
            nn.Linear(6, outputs),
        ]
        net: nn.Module = nn.Sequential(*layers)
        net[2].running_mean.uniform_(-1, 1)
        net[2].running_var.uniform_(0.5, 2)
    else:
        net = (One, Two, Three)[count - 1](tuple(kinds), widths, outputs, last, act)
    if rng.random() < 0.7:
        net.eval()
    return net, tuple(kinds), widths, last


def make_case(
    rng: np.random.Generator, *, rows: int | None = None, **network_options: Any
) -> Case:
    """Return a case with nothing hostile about it yet; ``wanted`` goes to
    ``make_net``.
    """
    net, input_kinds, widths, last = make_net(rng, **network_options)
    count = int(rng.integers(2, 9)) if rows is None else rows
    tensors = [
        rows_of(input_kind, count, rng, width)
        for input_kind, width in zip(input_kinds, widths, strict=True)
    ]
    case = Case(net, input_kinds, tensors, last)
    if rng.random() < 0.5 or count < 2:
        background_count = int(rng.integers(2, 7))
        case.others = [
            rows_of(input_kind, background_count, rng, width)
            for input_kind, width in zip(input_kinds, widths, strict=True)
        ]
    head = net.head if isinstance(net, Net) else net[-1]
    outputs = head.out_features
    case.options = _said(last, outputs)
    if rng.random() < 0.6:
        case.y = _target(rng, count, outputs, last)
    names = ("input",) if isinstance(net, nn.Sequential) else NAMES[: len(input_kinds)]
    case.names = names
    return case


def _said(last: str, outputs: int) -> dict[str, Any]:
    """Return what is said about the outputs: what could be inferred otherwise from a
    few rows is not left open.
    """
    if last == "values":
        return {"task": "regression"}
    kinds = {
        "logits": "logits",
        "softmax": "probabilities",
        "log_softmax": "log_probabilities",
        "sigmoid": "probabilities",
    }
    return {"task": "classification", "returns": kinds[last]}


def _target(rng: np.random.Generator, rows: int, outputs: int, last: str) -> Any:
    if last == "values":
        return (
            rng.normal(size=rows) if outputs == 1 else rng.normal(size=(rows, outputs))
        )
    labels = rng.integers(0, max(outputs, 2), rows)
    return np.zeros_like(labels) if rng.random() < 0.15 else labels


def hand_over(case: Case, rng: np.random.Generator) -> Case:
    """Set ``inputs`` and ``background`` from the tensors, in one of the usual forms,
    unless they are set already.
    """
    form = (
        rng.choice(["dict", "tuple"])
        if len(case.tensors) > 1
        else rng.choice(["dict", "tuple", "alone"])
    )

    def laid_out(tensors: list[Tensor]) -> Any:
        if form == "alone":
            return tensors[0]
        return (
            dict(zip(case.names, tensors, strict=True))
            if form == "dict"
            else tuple(tensors)
        )

    if case.inputs is None:
        case.inputs = laid_out(case.tensors)
    if case.background is None and case.others is not None:
        case.background = laid_out(case.others)
    return case


def together(case: Case) -> Case:
    """Mark a case whose rows are not independent: no slow twin knows their outputs."""
    case.rowwise = case.twins = False
    return case
