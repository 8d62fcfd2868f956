"""What a network is made of, as text, and how long its training will take."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from permgrad.base.progress import readable
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import Learner, TrainingOptions, evaluate
from permgrad.models.train.rows import Rows

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
    rows: list[LayerRow] = []
    modes = [(part, part.training) for part in network.modules()]
    parameter = next(network.parameters())
    network.eval()
    try:
        with torch.no_grad():
            encoded = torch.zeros(1, network.encoded, device=parameter.device, dtype=parameter.dtype)
            for part, module, entry in _parts(network, encoded):
                rows += _walk(part, module, entry)
    finally:
        for part_module, training in modes:
            part_module.training = training
    return rows


def _parts(network: HybridNetwork, encoded: Tensor) -> Iterator[tuple[str, list[tuple[str, nn.Module]], Tensor]]:
    """Yield each part's named layers and the part's input."""
    if network.table_branch is not None:
        entry = encoded
        layers: list[tuple[str, nn.Module]] = []
        if network.table_branch.embedding is not None:
            # The embedding is one line; what reaches the dense layers is its output beside the other columns.
            entry = torch.zeros_like(network.table_branch.embed(encoded))
            layers.append(("PeriodicDenseEmbedding", _Given(network.table_branch.embedding)))
        layers += [(type(layer).__name__, layer) for layer in network.table_branch.layers]
        yield "tabular", layers, entry
    if network.image_branch is not None and network.renderer is not None:
        images = network.renderer(encoded)
        yield "image", [(type(layer).__name__, layer) for layer in network.image_branch], images
    joined = encoded.new_zeros(1, sum(network.widths.values()))
    yield "head", [(type(layer).__name__, layer) for layer in network.head], joined


class _Given(nn.Module):
    """Stands for a module whose output is the part's input already: counts its numbers, passes on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, value: Tensor) -> Tensor:
        return value


def _walk(part: str, layers: list[tuple[str, nn.Module]], entry: Tensor) -> list[LayerRow]:
    rows = [LayerRow(part, "input", tuple(entry.shape[1:]), 0)]
    if layers and isinstance(layers[0][1], _Given):
        rows = []
    for name, layer in layers:
        entry = layer(entry)
        rows.append(LayerRow(part, name, tuple(entry.shape[1:]), count_numbers(layer)))
    return rows


def summarize(network: HybridNetwork) -> str:
    """Return a table of parts, layers, shapes per row and parameter counts.

    Examples:
        >>> net = HybridNetwork(4, 1, {"dense_units": 8, "fusion_units": []}, paths=("tabular",))
        >>> print(summarize(net))  # doctest: +NORMALIZE_WHITESPACE
        table branch
          input          4      –
          Linear         8     40
          ReLU           8      –
          BatchNorm1d    8     32
          Dropout        8      –
        head
          input          8      –
          Linear         1      9
        4 encoded columns to 1 output, 81 parameters (65 trained, 16 running statistics)
    """
    rows = layer_rows(network)
    names = max(len(row.layer) for row in rows)
    shapes = max(len(_shape(row.shape)) for row in rows)
    lines: list[str] = []
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            lines.append(_PART_TITLES[part])
        count = f"{row.parameters:,}" if row.parameters else "–"
        lines.append(f"  {row.layer:<{names}}  {_shape(row.shape):>{shapes}}  {count:>10}")
    total = count_numbers(network)
    trained = sum(parameter.numel() for parameter in network.parameters())
    lines.append(
        f"{network.encoded} encoded columns to {network.outputs} output{'s' * (network.outputs != 1)}, "
        f"{total:,} parameters ({trained:,} trained, {total - trained:,} running statistics)"
    )
    return "\n".join(lines)


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def measure_training_time(
    network: HybridNetwork,
    train_rows: Rows,
    validation_rows: Rows | None,
    options: TrainingOptions,
    device: torch.device,
    *,
    steps: int = 8,
) -> TrainingTime:
    """Take a few steps on a copy of the network and reckon from their median; the network itself is not changed."""
    with sheltered(0):
        learner = Learner(copy.deepcopy(network).to(device), train_rows.to(device), None, options, 0)
        learner.start_epoch()
        taken: list[float] = []
        for number, batch in enumerate(learner.order):
            started = time.perf_counter()
            learner.step(batch, number)
            _wait(device)
            taken.append(time.perf_counter() - started)
            if number + 1 >= steps:
                break
        # The first step sets things up; it is paid once, not per step.
        usual = sorted(taken[1:] or taken)
        per_epoch = usual[len(usual) // 2] * len(learner.order)
        if validation_rows is not None:
            part = Rows(*(getattr(validation_rows, name)[:512] for name in ("x", "y", "weight"))).to(device)
            evaluate(learner.network, part, options.loss)
            started = time.perf_counter()
            evaluate(learner.network, part, options.loss)
            per_epoch += (time.perf_counter() - started) * math.ceil(len(validation_rows) / max(len(part), 1))
    return TrainingTime(per_epoch, per_epoch * options.max_epochs, options.max_epochs)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
