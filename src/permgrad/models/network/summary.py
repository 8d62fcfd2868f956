"""What a network is made of, as text, and how long its training will take."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.base.progress import readable
from permgrad.models.fast.replacement import evaluation_mode
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import Course, Learner, evaluate
from permgrad.models.train.team import Team

_PART_TITLES = {"tabular": "table branch", "image": "image branch", "head": "head"}


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer: the part it belongs to, its name, the shape of its output for one row, and its numbers."""

    part: str
    layer: str
    shape: tuple[int, ...]
    parameters: int


@dataclasses.dataclass(frozen=True)
class TrainingTime:
    """How long a training will take, from a few measured steps."""

    seconds_per_epoch: float
    seconds_at_most: float
    epochs_at_most: int

    def after(self, epochs: int) -> TrainingTime:
        """Return the time of what is left after some epochs."""
        left = max(self.epochs_at_most - epochs, 0)
        return TrainingTime(self.seconds_per_epoch, self.seconds_per_epoch * left, left)

    def __str__(self) -> str:
        return (
            f"about {readable(self.seconds_per_epoch)} per epoch, "
            f"at most {readable(self.seconds_at_most)} for {self.epochs_at_most} epochs"
        )


def count_numbers(module: nn.Module) -> int:
    """Count trainable numbers and running means and variances."""
    statistics = (b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(p.numel() for p in module.parameters()) + sum(b.numel() for b in statistics)


def layer_rows(network: HybridNetwork) -> list[LayerRow]:
    """Return all layers in the order of computation, with shapes found by sending one row of zeros through."""
    parameter = next(network.parameters())
    encoded = torch.zeros(1, network.encoded, device=parameter.device, dtype=parameter.dtype)
    rows: list[LayerRow] = []

    def walk(part: str, layers: Iterable[nn.Module], values: Tensor, name: str = "input", count: int = 0) -> None:
        rows.append(LayerRow(part, name, tuple(values.shape[1:]), count))
        for layer in layers:
            values = layer(values)
            rows.append(LayerRow(part, type(layer).__name__, tuple(values.shape[1:]), count_numbers(layer)))

    with evaluation_mode(network), torch.no_grad():
        if network.table_branch is not None:
            embedding, values = network.table_branch.embedding, network.table_branch.embed(encoded)
            # The embedding is one line; what reaches the dense layers is its output beside the other columns.
            first = () if embedding is None else (type(embedding).__name__, count_numbers(embedding))
            walk("tabular", network.table_branch.layers, values, *first)
        if network.image_branch is not None and network.renderer is not None:
            walk("image", network.image_branch, network.renderer(encoded))
        walk("head", network.head, encoded.new_zeros(1, sum(network.widths.values())))
    return rows


def summarize(network: HybridNetwork) -> str:
    """Return a table of parts, layers, shapes per row and parameter counts."""
    rows = [(row, " × ".join(map(str, row.shape))) for row in layer_rows(network)]
    names, shapes = max(len(row.layer) for row, _ in rows), max(len(shape) for _, shape in rows)
    lines: list[str] = []
    for number, (row, shape) in enumerate(rows):
        if number == 0 or row.part != rows[number - 1][0].part:
            lines.append(_PART_TITLES[row.part])
        count = f"{row.parameters:,}" if row.parameters else "–"
        lines.append(f"  {row.layer:<{names}}  {shape:>{shapes}}  {count:>10}")
    total = count_numbers(network)
    trained = sum(parameter.numel() for parameter in network.parameters())
    lines.append(
        f"{network.encoded} encoded columns to {network.outputs} output{'s' * (network.outputs != 1)}, "
        f"{total:,} parameters ({trained:,} trained, {total - trained:,} running statistics)"
    )
    return "\n".join(lines)


def measure_training_time(course: Course, device: torch.device, *, steps: int = 8) -> TrainingTime:
    """Take a few steps on a copy of the network and reckon from their median; the network itself is not changed."""
    options, validation_rows = course.options, course.validation_rows
    with sheltered(0):
        twin = dataclasses.replace(course, network=copy.deepcopy(course.network), validation_rows=None, seed=0)
        learner = Learner(twin, Team(device=device))
        learner.start_epoch()
        batches = itertools.islice(enumerate(learner.order), steps)
        taken = [_seconds(partial(learner.step, batch, number), device) for number, batch in batches]
        # The first step sets things up; it is paid once, not per step.
        usual = sorted(taken[1:] or taken)
        per_epoch = usual[len(usual) // 2] * len(learner.order)
        if validation_rows is not None:
            part = validation_rows.take(slice(512)).to(device)
            evaluate(learner.network, part, options.loss)
            once = _seconds(partial(evaluate, learner.network, part, options.loss), device)
            per_epoch += once * math.ceil(len(validation_rows) / max(len(part), 1))
    return TrainingTime(per_epoch, per_epoch * options.max_epochs, options.max_epochs)


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
