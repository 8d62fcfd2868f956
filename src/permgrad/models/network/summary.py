"""What a network is made of, as text and as a drawing, and how long its training will take."""

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
from permgrad.models.modes import evaluation_mode
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import Learner, TrainingJob, predict

#: Training steps that are measured, the first of which sets things up.
_STEPS = 8
_PART_TITLES = {"tabular": "table branch", "image": "image branch", "head": "head"}
# From Okabe & Ito's palette, light enough for black text. Told apart without colour by their lane.
_COLOURS = {"input": "#E6E6E6", "tabular": "#A9D3F0", "image": "#F6D7A0", "head": "#A8DCC9", "output": "#E6E6E6"}
_LINE = "#555555"
_LABEL: dict[str, Any] = {"fontsize": 9, "color": "#444444", "family": "DejaVu Sans"}
_WIDTH, _HEIGHT, _GAP, _LANE = 1.78, 1.2, 0.45, 1.75
_STEP = _WIDTH + _GAP
#: Letters of a line in a box.
_LONGEST = 24
_TITLES = {"Linear": "Dense", "Conv2d": "Convolution", "PeriodicDenseEmbedding": "Embedding"}
_BESIDE = "RandomKernels"
_SHORT = {"BatchNorm1d": "BatchNorm", "BatchNorm2d": "BatchNorm", "MaxPool2d": "max pool", "Dropout": "dropout"}


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
    statistics = (b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(p.numel() for p in module.parameters()) + sum(b.numel() for b in statistics)


def layer_rows(network: HybridNetwork) -> list[LayerRow]:
    """Return all layers in the order of computation, with shapes found by sending one row of zeros through."""
    parameter = next(network.parameters())
    encoded = torch.zeros(1, network.encoded, device=parameter.device, dtype=parameter.dtype)
    rows: list[LayerRow] = []
    with evaluation_mode(network), torch.no_grad():
        parts: list[tuple[str, str, int, Iterable[nn.Module], Tensor]] = []
        if network.table_branch is not None:
            name, count, embedding = "input", 0, network.table_branch.embedding
            if embedding is not None:
                # The embedding is one line. What reaches the dense layers is its output beside the other columns.
                name, count = type(embedding).__name__, count_numbers(embedding)
            parts.append(("tabular", name, count, network.table_branch.layers, network.table_branch.embed(encoded)))
        if network.image_branch is not None and network.renderer is not None:
            parts.append(("image", "input", 0, network.image_branch, network.renderer(encoded)))
        parts.append(("head", "input", 0, network.head, encoded.new_zeros(1, sum(network.widths.values()))))
        for part, first, numbers, layers, entered in parts:
            values = entered
            rows.append(LayerRow(part, first, tuple(values.shape[1:]), numbers))
            for layer in layers:
                values = layer(values)
                rows.append(LayerRow(part, type(layer).__name__, tuple(values.shape[1:]), count_numbers(layer)))
            if part == "image" and network.kernels is not None:
                rows.append(LayerRow(part, _BESIDE, (network.outputs,), count_numbers(network.kernels)))
    return rows


def multiplications(network: HybridNetwork) -> int:
    """Return about how many multiplications a prediction takes: a layer's numbers for each of its pixels or members."""
    rows = layer_rows(network)
    return sum(row.parameters * math.prod(row.shape[1:] if len(row.shape) > 2 else row.shape[:-1]) for row in rows)


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
    fixed = 0 if network.kernels is None else sum(map(torch.numel, network.kernels.convolutions.parameters()))
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
        twin = dataclasses.replace(job, network=copy.deepcopy(job.network), validation_rows=None, seed=0)
        learner = Learner(twin, device)
        batches = itertools.islice(enumerate(learner.start_epoch()), _STEPS)
        works: Iterable[Callable[[], Any]] = (partial(learner.step, rows, number) for number, rows in batches)
        if validation_rows is not None:
            part = validation_rows.take(slice(512)).to(device)
            works = itertools.chain(works, [partial(predict, learner.network, part)] * 2)
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


# ---- as a drawing ----------------------------------------------------------------------------------------------------
def draw_network(network: HybridNetwork) -> Any:
    """Return a figure of blocks: layers, the shape of what leaves them for one row, and their number of parameters."""
    from matplotlib.figure import Figure

    # A block is a layer under its title, with the names of the layers behind it that have none.
    lanes: dict[str, list[tuple[LayerRow, list[str]]]] = {"tabular": [], "image": [], "head": []}
    for row in layer_rows(network):
        lane = lanes[row.part]
        if row.layer == "input":
            if row.part == "image":
                lane.append((dataclasses.replace(row, layer="Renderer"), ["row to picture"]))
        elif row.layer == "Flatten" and lane:
            lane[-1][1].append(f"flattened to {row.shape[0]:,}")
        elif row.layer == _BESIDE:
            lane[-1][1].append("random kernels beside")
        elif row.layer in _TITLES or not lane:
            lane.append((dataclasses.replace(row, layer=_TITLES.get(row.layer, row.layer)), []))
        else:
            first, extras = lane[-1]
            extras.append(_SHORT.get(row.layer, row.layer))
            numbers = first.parameters + row.parameters
            lane[-1] = dataclasses.replace(first, shape=row.shape, parameters=numbers), extras
    last_layer, extras = lanes["head"][-1]
    lanes["head"][-1] = dataclasses.replace(last_layer, layer="Output"), extras

    # All sizes are in inches, so that text fits its box whatever the network's length.
    longest = max(len(lanes["tabular"]), len(lanes["image"]))
    both = bool(lanes["tabular"]) and bool(lanes["image"])
    head_left = (longest + 1) * _STEP + (_GAP if both else 0)
    wide, high = head_left + len(lanes["head"]) * _STEP - _GAP, _HEIGHT + (_LANE if both else 0)
    margin, heading, middle = 0.25, 0.85, high / 2
    figure = Figure(figsize=(wide + 2 * margin, high + heading + margin), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-margin, wide + margin)
    axes.set_ylim(-margin, high + heading)
    axes.set_axis_off()
    _lane(axes, [(LayerRow("input", "One row", (network.encoded,), 0), ["encoded columns"])], 0.0, middle)
    heights = {"tabular": high - _HEIGHT / 2, "image": _HEIGHT / 2} if both else dict.fromkeys(lanes, middle)
    for part, words in (("tabular", "table branch"), ("image", "image branch")):
        if not lanes[part]:
            continue
        level = heights[part]
        _arrow(axes, (_WIDTH, middle), (_STEP, level))
        end = _lane(axes, lanes[part], _STEP, level)
        # A shorter branch first stays level, so that both reach the head at the same angle.
        last = (longest + 1) * _STEP - _GAP
        axes.plot([end, last], [level, level], color=_LINE, linewidth=0.9, solid_capstyle="butt")
        _arrow(axes, (last, level), (head_left, middle))
        axes.text(_STEP, level + _HEIGHT / 2 + 0.13, words, **_LABEL)
    _lane(axes, lanes["head"], head_left, middle)
    axes.text(head_left, middle + _HEIGHT / 2 + 0.13, "head", **_LABEL)
    paths = " and ".join(network.paths).capitalize()
    outputs = f"{network.outputs} output{'s' * (network.outputs != 1)}, {count_numbers(network):,} parameters"
    title = f"{paths} network: {network.encoded} encoded columns to {outputs}"
    axes.text(0, high + heading - 0.2, title, fontsize=11, fontweight="bold", va="center", family="DejaVu Sans")
    return figure


def _lane(axes: Any, blocks: list[tuple[LayerRow, list[str]]], left: float, level: float) -> float:
    """Draw blocks side by side with arrows between them, and return where the last ends."""
    from matplotlib.patches import FancyBboxPatch

    font: dict[str, Any] = {"ha": "center", "va": "center", "family": "DejaVu Sans"}
    for number, (row, extras) in enumerate(blocks):
        if number:
            _arrow(axes, (left - _GAP, level), (left, level))
        style: dict[str, Any] = {"facecolor": _COLOURS[row.part], "edgecolor": _LINE, "linewidth": 0.8}
        style["boxstyle"] = "round,pad=0,rounding_size=0.08"
        axes.add_patch(FancyBboxPatch((left, level - _HEIGHT / 2), _WIDTH, _HEIGHT, **style))
        lines = [(row.layer, 9.5, "bold"), (" × ".join(map(str, row.shape)), 9.5, "normal")]
        wrapped: list[str] = []
        for word in extras:
            if wrapped and len(wrapped[-1]) + len(word) + 3 <= _LONGEST:
                wrapped[-1] += f" · {word}"
            else:
                wrapped.append(word)
        lines += [(text, 7.2, "normal") for text in wrapped]
        if row.parameters:
            lines.append((f"{row.parameters:,} parameters", 7.2, "normal"))
        heights = [0.21 if size > 8 else 0.155 for _, size, _ in lines]
        top = level + sum(heights) / 2
        for (text, size, weight), height in zip(lines, heights, strict=True):
            axes.text(left + _WIDTH / 2, top - height / 2, text, fontsize=size, fontweight=weight, **font)
            top -= height
        left += _STEP
    return left - _GAP


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 10, "color": _LINE, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
