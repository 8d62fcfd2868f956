"""Our training against a bare PyTorch loop: the same network, batches, optimizer,
schedule and validation.

    python -m benchmarks.speed.training_speed

Runs alternate, so that other work on the machine meets both alike; the medians of
wall-clock and processor time of whole trainings are compared, one thread. The floor is
a ratio of at most 1.15.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time

import numpy as np
import torch

from benchmarks.speed._speed import Line, line
from permgrad.base.random import forked_torch
from permgrad.imaging import Renderer, fit_layout, make_layout
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.train.learner import TrainingJob, TrainingOptions, train
from permgrad.models.train.training_rows import Rows

COLUMNS = 23


def bare_loop(
    network: HybridNetwork, rows: Rows, validation: Rows, options: TrainingOptions
) -> None:
    """What a careful user would write by hand, with the published schedule, early
    stopping and best weights.
    """
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=True,
    )
    best, best_state = math.inf, {}
    for epoch in range(options.max_epochs):
        done = epoch / options.max_epochs
        rate = (
            1e-5 + (options.learning_rate - 1e-5) * done * 4
            if done < 0.25
            else options.learning_rate
            * 0.5
            * (1 + math.cos(math.pi * (done - 0.25) / 0.75))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        order = torch.randperm(len(rows))
        total = 0.0
        for start in range(0, len(rows), options.batch_size):
            batch = order[start : start + options.batch_size]
            loss = torch.nn.functional.mse_loss(
                network(rows.x[batch])[:, 0], rows.y[batch]
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        network.eval()
        with torch.no_grad():
            score = sum(
                torch.nn.functional.mse_loss(
                    network(validation.x[start : start + 512])[:, 0],
                    validation.y[start : start + 512],
                    reduction="sum",
                ).item()
                for start in range(0, len(validation), 512)
            )
        if score < best:
            best, best_state = score, copy.deepcopy(network.state_dict())
    network.load_state_dict(best_state)


def compare(
    paths: tuple[str, ...], n_rows: int, epochs: int, repeats: int
) -> dict[str, list[tuple[float, float]]]:
    rng = np.random.default_rng(0)
    x = rng.random((n_rows + n_rows // 4, COLUMNS)).astype(np.float32)
    y = torch.from_numpy(x @ rng.normal(size=COLUMNS).astype(np.float32))
    layout = fit_layout(make_layout("tinto", 20, 0), x[:1000], None, 0)
    renderer = Renderer(layout, x.min(axis=0), x.max(axis=0), channels=3, scale=255)
    x = torch.from_numpy(x)
    everything = Rows(x, y, torch.ones(len(y)))
    rows, validation = (
        Rows(everything.x[part], everything.y[part], everything.weight[part])
        for part in (slice(n_rows), slice(n_rows, None))
    )
    options = TrainingOptions(loss="squared_error", max_epochs=epochs, patience=None)
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "permgrad": []}
    for repeat in range(repeats + 1):
        for name in ("bare", "permgrad") if repeat % 2 else ("permgrad", "bare"):
            with forked_torch(repeat):
                network = HybridNetwork(
                    COLUMNS, 1, NetworkOptions(), renderer=renderer, paths=paths
                )
                wall, processor = time.perf_counter(), time.process_time()
                if name == "bare":
                    bare_loop(network, rows, validation, options)
                else:
                    train(
                        TrainingJob(
                            network,
                            rows,
                            validation,
                            options,
                            seed=repeat,
                            progress=False,
                        )
                    )
                if repeat:  # the first of each is a warm-up: it loads oneDNN's kernels
                    times[name].append(
                        (time.perf_counter() - wall, time.process_time() - processor)
                    )
    for kind, title in ((0, "wall clock"), (1, "processor time")):
        bare, ours = (
            statistics.median(taken[kind] for taken in times[name])
            for name in ("bare", "permgrad")
        )
        steps = epochs * math.ceil(n_rows / options.batch_size)
        print(
            f"{'+'.join(paths):14} {n_rows} rows, {epochs} epochs, {title:14}: bare "
            f"{bare:.3f} s ({bare / steps * 1e3:.2f} ms per step), permgrad {ours:.3f} "
            f"s, ratio {ours / bare:.3f} (floor 1.15)",
            flush=True,
        )
    return times


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    torch.set_num_threads(1)
    lines = []
    for paths, rows, epochs in (
        (("tabular", "image"), 2_000, 2),
        (("tabular",), 10_000, 5),
    ):
        times = compare(
            paths, 200 if quick else rows, 1 if quick else epochs, 1 if quick else 3
        )
        ours, bare = (
            [taken[1] for taken in times[name]] for name in ("permgrad", "bare")
        )
        which = "both branches" if len(paths) == 2 else "the table alone"
        what = f"{epochs} epochs of the paper network, {which}, {rows:,} rows"
        note = "the same module: what the training engine costs; batches of 128"
        lines.append(line(what, "a bare PyTorch loop", ours, bare, note=note))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    compare(("tabular", "image"), 2_000, 2, given.repeats)
    compare(("tabular",), 10_000, 5, given.repeats)


if __name__ == "__main__":
    main()
