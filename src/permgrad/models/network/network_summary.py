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
from permgrad.models.branches import added_branches, title_of
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import Learner, TrainingJob, predict
from permgrad.models.undisturbed import undisturbed

#: Training steps that are measured, the first of which sets things up.
_STEPS = 8
_BESIDE = "RandomKernels"


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer: the part it belongs to, its name, the shape of its output for one row,
    and its numbers.
    """

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
        for buffer_name, b in module.named_buffers()
        if buffer_name.endswith(("running_mean", "running_var"))
    )
    return sum(p.numel() for p in module.parameters()) + sum(
        b.numel() for b in statistics
    )


def layer_rows(network: HybridNetwork) -> list[LayerRow]:
    """Return all layers in the order of computation, with shapes found by sending one
    row of zeros through.
    """
    parameter = next(network.parameters())
    encoded = torch.zeros(
        1, network.encoded, device=parameter.device, dtype=parameter.dtype
    )
    summary_rows: list[LayerRow] = []
    with undisturbed(network), torch.no_grad():
        branch_entries = _parts_before_head(network, encoded)
        branch_entries.append(
            (
                "head",
                "input",
                0,
                network.head,
                encoded.new_zeros(1, sum(network.widths.values())),
            )
        )
        for part_name, first, numbers, layers, entered in branch_entries:
            values = entered
            summary_rows.append(
                LayerRow(part_name, first, tuple(values.shape[1:]), numbers)
            )
            for layer in layers:
                values = layer(values)
                summary_rows.append(
                    LayerRow(
                        part_name,
                        type(layer).__name__,
                        tuple(values.shape[1:]),
                        count_numbers(layer),
                    )
                )
            if layers is network.image_branch and network.kernels is not None:
                summary_rows.append(
                    LayerRow(
                        part_name,
                        _BESIDE,
                        (network.outputs,),
                        count_numbers(network.kernels),
                    )
                )
        for name, branch in network.additive.items():
            layer_name = added_branches()[name].layer(branch)
            summary_rows.append(
                LayerRow(name, layer_name, (network.outputs,), count_numbers(branch))
            )
    return summary_rows


def _parts_before_head(
    network: HybridNetwork, encoded: Tensor
) -> list[tuple[str, str, int, Iterable[nn.Module], Tensor]]:
    """Return the branches that the head joins, and what enters their layers."""
    branch_entries: list[tuple[str, str, int, Iterable[nn.Module], Tensor]] = []
    if network.table_branch is not None:
        name = "input"
        count = 0
        embedding = network.table_branch.embedding
        if embedding is not None:
            # The embedding is one line. What reaches the dense layers is its output
            # beside the other columns.
            name = type(embedding).__name__
            count = count_numbers(embedding)
        branch_entries.append(
            (
                TABLE.name,
                name,
                count,
                network.table_branch.layers,
                network.table_branch.embed(encoded),
            )
        )
    if network.image_branch is not None and network.renderer is not None:
        branch_entries.append(
            (IMAGE.name, "input", 0, network.image_branch, network.renderer(encoded))
        )
    return branch_entries


def multiplications(network: HybridNetwork) -> int:
    """Return about how many multiplications a prediction takes: a layer's numbers for
    each of its pixels or members.
    """
    summary_rows = layer_rows(network)
    return sum(
        layer_row.parameters
        * math.prod(
            layer_row.shape[1:] if len(layer_row.shape) > 2 else layer_row.shape[:-1]
        )
        for layer_row in summary_rows
    )


def summarize(network: HybridNetwork) -> str:
    """Return a table of parts, layers, shapes per row and parameter counts."""
    summary_rows = []
    for layer_row in layer_rows(network):
        summary_rows.append((layer_row, " × ".join(map(str, layer_row.shape))))
    names = max(len(summary_row.layer) for summary_row, _ in summary_rows)
    shapes = max(len(shape) for _, shape in summary_rows)
    lines: list[str] = []
    for number, (table_row, shape) in enumerate(summary_rows):
        if number == 0 or table_row.part != summary_rows[number - 1][0].part:
            if table_row.part in network.shares:
                share = f", {network.shares[table_row.part]:.0%} of the outputs"
            else:
                share = ""
            lines.append(f"{title_of(table_row.part)}{share}")
        if table_row.parameters:
            count = f"{table_row.parameters:,}"
        else:
            count = "–"
        lines.append(f"  {table_row.layer:<{names}}  {shape:>{shapes}}  {count:>10}")
    total = count_numbers(network)
    if network.kernels is None:
        fixed = 0
    else:
        fixed = sum(map(torch.numel, network.kernels.convolutions.parameters()))
    trained = sum(parameter.numel() for parameter in network.parameters()) - fixed
    if fixed:
        drawn = f", {fixed:,} drawn"
    else:
        drawn = ""
    lines.append(
        f"{network.encoded} encoded columns to {network.outputs} "
        f"output{'s' * (network.outputs != 1)}, {total:,} parameters ({trained:,} "
        f"trained, {total - trained - fixed:,} running statistics{drawn})"
    )
    return "\n".join(lines)


def measure_training_time(job: TrainingJob, device: torch.device) -> TrainingTime:
    """Take a few steps on a copy of the network and estimate from their median.

    The network itself is unchanged.
    """
    options = job.options
    validation_rows = job.validation_rows
    with sheltered(0):
        trial_job = dataclasses.replace(
            job, network=copy.deepcopy(job.network), validation_rows=None, seed=0
        )
        learner = Learner(trial_job, device)
        batches = itertools.islice(enumerate(learner.start_epoch()), _STEPS)
        works: Iterable[Callable[[], Any]] = (
            partial(learner.step, batch_rows, number) for number, batch_rows in batches
        )
        if validation_rows is not None:
            validation_part = validation_rows.take(slice(512)).to(device)
            works = itertools.chain(
                works, [partial(predict, learner.network, validation_part)] * 2
            )
        step_seconds: list[float] = []
        for timed_work in works:
            started = time.perf_counter()
            timed_work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            step_seconds.append(time.perf_counter() - started)
    judging = 0.0
    if validation_rows is not None:
        judging = step_seconds[-1] * math.ceil(
            len(validation_rows) / max(len(validation_part), 1)
        )
        step_seconds = step_seconds[:-2]
    usual = sorted(step_seconds[1:] or step_seconds)
    per_epoch = usual[len(usual) // 2] * learner.steps_per_epoch + judging
    return TrainingTime(per_epoch, per_epoch * options.max_epochs, options.max_epochs)
