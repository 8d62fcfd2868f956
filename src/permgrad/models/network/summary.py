"""What a network is made of, and how long its training will take."""

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
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.trees import TreeBranch
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import Learner, TrainingJob, predict
from permgrad.models.undisturbed import undisturbed

#: Training steps that are measured, the first of which sets things up.
_STEPS = 8
_PART_TITLES = {
    "tabular": "table branch",
    "image": "image branch",
    "head": "head",
    "linear": "linear part",
    "trees": "trees",
}
_BESIDE = "RandomKernels"


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

    def __str__(self) -> str:
        return (
            f"about {readable(self.seconds_per_epoch)} per epoch, "
            f"at most {readable(self.seconds_at_most)} for {self.epochs_at_most} epochs"
        )


def count_numbers(module: nn.Module) -> int:
    """Count trainable numbers and running means and variances."""
    statistics = (
        b
        for name, b in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    )
    return sum(p.numel() for p in module.parameters()) + sum(
        b.numel() for b in statistics
    )


def layer_rows(network: HybridNetwork) -> list[LayerRow]:
    """Return all layers in the order of computation, with shapes found by sending one row of zeros through."""
    parameter = next(network.parameters())
    encoded = torch.zeros(
        1, network.encoded, device=parameter.device, dtype=parameter.dtype
    )
    rows: list[LayerRow] = []
    with undisturbed(network), torch.no_grad():
        parts = _parts_before_head(network, encoded)
        parts.append(
            (
                "head",
                "input",
                0,
                network.head,
                encoded.new_zeros(1, sum(network.widths.values())),
            )
        )
        for part, first, numbers, layers, entered in parts:
            values = entered
            rows.append(LayerRow(part, first, tuple(values.shape[1:]), numbers))
            for layer in layers:
                values = layer(values)
                rows.append(
                    LayerRow(
                        part,
                        type(layer).__name__,
                        tuple(values.shape[1:]),
                        count_numbers(layer),
                    )
                )
            if part == "image" and network.kernels is not None:
                rows.append(
                    LayerRow(
                        part,
                        _BESIDE,
                        (network.outputs,),
                        count_numbers(network.kernels),
                    )
                )
        for name, branch in network.additive.items():
            kind = (
                f"{len(branch.roots)} trees"
                if isinstance(branch, TreeBranch)
                else type(branch).__name__
            )
            rows.append(LayerRow(name, kind, (network.outputs,), count_numbers(branch)))
    return rows


def _parts_before_head(
    network: HybridNetwork, encoded: Tensor
) -> list[tuple[str, str, int, Iterable[nn.Module], Tensor]]:
    """Return the branches that the head joins, and what enters their layers."""
    parts: list[tuple[str, str, int, Iterable[nn.Module], Tensor]] = []
    if network.table_branch is not None:
        name, count, embedding = "input", 0, network.table_branch.embedding
        if embedding is not None:
            # The embedding is one line. What reaches the dense layers is its output beside the other columns.
            name, count = type(embedding).__name__, count_numbers(embedding)
        parts.append(
            (
                "tabular",
                name,
                count,
                network.table_branch.layers,
                network.table_branch.embed(encoded),
            )
        )
    if network.image_branch is not None and network.renderer is not None:
        parts.append(
            ("image", "input", 0, network.image_branch, network.renderer(encoded))
        )
    return parts


def multiplications(network: HybridNetwork) -> int:
    """Return about how many multiplications a prediction takes: a layer's numbers for each of its pixels or members."""
    rows = layer_rows(network)
    return sum(
        row.parameters
        * math.prod(row.shape[1:] if len(row.shape) > 2 else row.shape[:-1])
        for row in rows
    )


def summarize(network: HybridNetwork) -> str:
    """Return a table of parts, layers, shapes per row and parameter counts."""
    rows = [(row, " × ".join(map(str, row.shape))) for row in layer_rows(network)]
    names, shapes = (
        max(len(row.layer) for row, _ in rows),
        max(len(shape) for _, shape in rows),
    )
    lines: list[str] = []
    for number, (row, shape) in enumerate(rows):
        if number == 0 or row.part != rows[number - 1][0].part:
            share = (
                f", {network.shares[row.part]:.0%} of the outputs"
                if row.part in network.shares
                else ""
            )
            lines.append(f"{_PART_TITLES[row.part]}{share}")
        count = f"{row.parameters:,}" if row.parameters else "–"
        lines.append(f"  {row.layer:<{names}}  {shape:>{shapes}}  {count:>10}")
    total = count_numbers(network)
    fixed = (
        0
        if network.kernels is None
        else sum(map(torch.numel, network.kernels.convolutions.parameters()))
    )
    trained = sum(parameter.numel() for parameter in network.parameters()) - fixed
    drawn = f", {fixed:,} drawn" if fixed else ""
    lines.append(
        f"{network.encoded} encoded columns to {network.outputs} output{'s' * (network.outputs != 1)}, "
        f"{total:,} parameters ({trained:,} trained, {total - trained - fixed:,} running statistics{drawn})"
    )
    return "\n".join(lines)


def measure_training_time(job: TrainingJob, device: torch.device) -> TrainingTime:
    """Take a few steps on a copy of the network and estimate from their median. The network itself is unchanged."""
    options, validation_rows = job.options, job.validation_rows
    with sheltered(0):
        twin = dataclasses.replace(
            job, network=copy.deepcopy(job.network), validation_rows=None, seed=0
        )
        learner = Learner(twin, device)
        batches = itertools.islice(enumerate(learner.start_epoch()), _STEPS)
        works: Iterable[Callable[[], Any]] = (
            partial(learner.step, rows, number) for number, rows in batches
        )
        if validation_rows is not None:
            part = validation_rows.take(slice(512)).to(device)
            works = itertools.chain(
                works, [partial(predict, learner.network, part)] * 2
            )
        taken: list[float] = []
        for work in works:
            started = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - started)
    judging = 0.0
    if validation_rows is not None:
        judging = taken[-1] * math.ceil(len(validation_rows) / max(len(part), 1))
        taken = taken[:-2]
    usual = sorted(taken[1:] or taken)
    per_epoch = usual[len(usual) // 2] * learner.steps_per_epoch + judging
    return TrainingTime(per_epoch, per_epoch * options.max_epochs, options.max_epochs)
