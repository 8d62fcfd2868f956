"""Where the time of a training step goes: the `paper` network, 32 rows, one thread,
layer by layer.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/tables python -m
    benchmarks.speed.training_step_parts

Each part is timed twice: *in the step*, one after the other as they stand in it, so
that each finds the caches as the others left them; and *alone*, the same part again and
again, its code and its numbers in the nearest cache. The sum of the first is the step;
the difference is what the machine's caches cost, which no other order of the same
operations saves.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._results import markdown_table, parser, record
from permgrad.data.datasets import load_dataset
from permgrad.data.splitting import split_rows
from permgrad.imaging import Renderer, fit_layout, make_layout
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.train.learner import (
    Learner,
    TrainingJob,
    TrainingOptions,
    training_loss,
)
from permgrad.models.train.training_rows import Rows

BATCH = 32
Clock = Callable[[str, Callable[[], Any]], Any]


def make_learner(name: str) -> Learner:
    """Return a learner of the `paper` network on a named table's training rows, in its
    first epoch.
    """
    data = load_dataset(name)
    y = data.y.to_numpy()
    split = split_rows(len(y), y, task=data.task)
    X = data.X.to_numpy(np.float32)[split.train]
    low, high = X.min(axis=0), X.max(axis=0)
    X = (X - low) / np.where(high > low, high - low, 1)
    layout = fit_layout(make_layout("tinto", 20, 0), X, None, 0)
    renderer = Renderer(layout, X.min(axis=0), X.max(axis=0), channels=3, scale=255)
    number = data.task == "regression"
    target = (
        ((y - y.mean()) / y.std()).astype(np.float32)
        if number
        else np.unique(y, return_inverse=True)[1]
    )
    torch.manual_seed(0)
    network = HybridNetwork(
        X.shape[1], 1 if number else 2, renderer=renderer, options=NetworkOptions()
    )
    rows = Rows(
        torch.from_numpy(X), torch.from_numpy(target[split.train]), torch.ones(len(X))
    )
    options = TrainingOptions(
        batch_size=BATCH, loss="squared_error" if number else "cross_entropy"
    )
    learner = Learner(TrainingJob(network, rows, None, options, 0))
    learner.start_epoch()
    return learner


def one_step(learner: Learner, batch: Any, clock: Clock) -> None:
    """Take a step in parts; each part is handed to ``clock`` with its name."""
    network, optimizer = learner.network, learner.optimizer
    rows = clock("rows of the batch", lambda: learner.train_rows.take(batch))
    table = clock("table branch, forward", lambda: network.table_branch(rows.x))
    values = clock("picture", lambda: network.renderer(rows.x))
    passed = []
    for layer in network.image_branch:
        given = values.detach().requires_grad_()
        name = f"image branch {type(layer).__name__}"
        values = clock(
            f"{name}, forward", lambda layer=layer, given=given: layer(given)
        )
        passed.append((name, given, values))
    joined = torch.cat([table.detach(), values.detach()], dim=1).requires_grad_()
    outputs = clock("head, forward", lambda: network.head(joined))
    loss = clock(
        "loss", lambda: training_loss(outputs, rows.y, rows.weight, learner.options)
    )
    clock("gradients thrown away", lambda: network.zero_grad(set_to_none=True))
    slope = clock("loss and head, backward", lambda: _backward(loss, None, joined))
    width = table.shape[1]
    own = slope[:, width:].contiguous()
    for name, given, result in reversed(passed):
        own = clock(
            f"{name}, backward", lambda r=result, s=own, g=given: _backward(r, s, g)
        )
    clock(
        "table branch, backward",
        lambda: table.backward(slope[:, :width], retain_graph=True),
    )
    clock("optimizer", optimizer.step)


def _backward(result: Tensor, slope: Tensor | None, given: Tensor) -> Tensor:
    given.grad = None
    result.backward(slope, retain_graph=True)
    assert given.grad is not None
    return given.grad


def measure(name: str, steps: int, again: int) -> list[dict[str, Any]]:
    """Return each part's microseconds in the step and alone; medians."""
    learner = make_learner(name)
    order = torch.randperm(
        len(learner.train_rows), generator=torch.Generator().manual_seed(0)
    )
    batches = order.split(BATCH)[:100]
    inside: dict[str, list[float]] = defaultdict(list)
    alone: dict[str, list[float]] = defaultdict(list)

    def in_the_step(part: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = work()
        inside[part].append(time.perf_counter() - started)
        return found

    def again_and_again(part: str, work: Callable[[], Any]) -> Any:
        found = work()
        for _ in range(again):
            started = time.perf_counter()
            work()
            alone[part].append(time.perf_counter() - started)
        return found

    for number in range(20):
        learner.step(learner.train_rows.take(batches[number % len(batches)]), number)
    for number in range(steps):
        one_step(learner, batches[number % len(batches)], in_the_step)
    for number in range(3):
        one_step(learner, batches[number], again_and_again)
    lines = [
        {"table": name, "part": part, "in the step": 1e6 * statistics.median(taken),
         "alone": 1e6 * statistics.median(alone[part])}
        for part, taken in inside.items()
    ]  # fmt: skip
    total = {key: sum(line[key] for line in lines) for key in ("in the step", "alone")}
    return [*lines, {"table": name, "part": "together", **total}]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--sets", nargs="+", default=["puma", "heloc"])
    asked = options.parse_args()
    torch.set_num_threads(1)
    steps, again = (20, 3) if asked.quick else (400, 60)
    lines = [line for name in asked.sets for line in measure(name, steps, again)]
    text = "Microseconds, medians.\n\n" + markdown_table(
        {
            **line,
            "in the step": round(line["in the step"]),
            "alone": round(line["alone"]),
        }
        for line in lines
    )
    return record(
        asked, "The parts of a training step", text, lines, passed=True, seeds=[0]
    )


if __name__ == "__main__":
    raise SystemExit(main())
