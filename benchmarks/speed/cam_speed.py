"""Grad-CAM on one thread: permgrad's batches against Captum's batched layer Grad-CAM
and a loop over rows.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/heloc.csv python -m
    benchmarks.speed.cam_speed

Everything is measured in one run on the same module (preset ``paper``, trained for one
epoch: speed does not depend on the weights), the same encoded test rows of HELOC and
the same layer (the rectified output of the last convolution), for one class, in
processor time. The contestants take turns, so that a slow minute of the machine hits
all; medians over the rounds are printed. permgrad is timed through ``pg.explain``:
checks, encoding, maps at the image's size and the pull-back to features included, which
the others do not do.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

import permgrad as pg
from benchmarks.speed._speed import Heloc, Line, line, take_turns
from permgrad.attribution.maps.drawn import cam_layer
from permgrad.attribution.request import tuned
from permgrad.models.network.network_summary import count_numbers


def timed(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call, so that other work on the machine does
    not count.
    """
    started = time.process_time()
    work()
    return time.process_time() - started


def trained() -> tuple[pg.HyNNClassifier, object]:
    """Return the paper network after one epoch on HELOC's training rows, and the test
    rows.
    """
    heloc = Heloc.read()
    model = pg.HyNNClassifier(
        preset="paper", max_epochs=1, random_state=0, progress=False
    )
    return heloc.fit(model), heloc.tested()


def contestants(
    model: pg.HyNNClassifier, rows, loop_rows: int, batches: list[int]
) -> dict[str, tuple[int, Callable]]:
    """Return for each contestant how many rows it explains and the call."""
    from captum.attr import LayerGradCam

    net = model.module_
    encoded = torch.as_tensor(model.encode_rows(rows).encoded)
    peer = LayerGradCam(net, cam_layer(net).before[-1])

    def ours() -> object:
        return pg.explain(model, rows, method="gradcam", target=1, progress=False)

    def ours_both() -> object:
        return pg.explain(model, rows, method="gradcam", progress=False)

    def captum(size: int, count: int) -> Callable[[], object]:
        def work() -> object:
            return [
                peer.attribute(part, target=1, relu_attributions=True).detach()
                for part in encoded[:count].split(size)
            ]

        return work

    found: dict[str, tuple[int, Callable]] = {
        "permgrad, one class": (len(rows), ours),
        "permgrad, both classes": (len(rows), ours_both),
    }
    for size in batches:
        found[f"captum, batches of {size}"] = (len(rows), captum(size, len(rows)))
    found["captum, one row at a time"] = (loop_rows, captum(1, loop_rows))
    return found


def check_equal(model: pg.HyNNClassifier, rows) -> float:
    """Return the largest difference of the maps, relative to the largest cell."""
    from captum.attr import LayerGradCam

    net = model.module_
    want = (
        LayerGradCam(net, cam_layer(net).before[-1])
        .attribute(
            torch.as_tensor(model.encode_rows(rows).encoded),
            target=1,
            relu_attributions=True,
        )
        .detach()
        .numpy()[:, 0]
    )
    got = pg.explain(
        model,
        rows,
        method=tuned(pg.methods.GradCam(), upsample="none"),
        target=1,
        progress=False,
    ).maps["cam"][:, 0]
    return float(np.abs(got - want).max() / want.max())


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    torch.set_num_threads(1)
    model, rows = trained()
    rows = rows[:200] if quick else rows
    apart = check_equal(model, rows[:200])
    runs = contestants(
        model, rows, 20 if quick else 200, [128] if quick else [32, 128, 512, 2048]
    )
    taken = take_turns(
        {name: work for name, (_, work) in runs.items()}, 1 if quick else 3
    )
    per_row = {
        name: [1000 * own / runs[name][0] for own in taken[name]] for name in runs
    }
    note = (
        f"maps differ by at most {apart:.0e} of the largest cell; permgrad also "
        "reads the maps at the features"
    )
    what = f"Grad-CAM of a row, paper network, {len(rows):,} HELOC rows"
    ours = per_row.pop("permgrad, one class")
    del per_row["permgrad, both classes"]
    return [
        line(what, f"layer Grad-CAM of {name}", ours, own, unit="ms", note=note)
        for name, own in per_row.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="*", default=[32, 128, 512, 2048])
    parser.add_argument("--loop-rows", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, rows = trained()
    print(
        f"Grad-CAM, preset paper ({count_numbers(model.module_):,} numbers), "
        f"{len(rows)} HELOC test rows"
    )
    print(
        f"one thread, {platform.machine()}, torch {torch.__version__}, medians of "
        f"{options.rounds} rounds"
    )
    print(
        f"largest difference to captum's maps: {check_equal(model, rows[:200]):.1e} of "
        "the largest cell"
    )
    runs = contestants(model, rows, options.loop_rows, options.batches)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(options.rounds + 1):
        for name, (_, work) in runs.items():
            taken = timed(work)
            if number:  # the first round warms up
                seconds[name].append(taken)
    rates = {
        name: runs[name][0] / statistics.median(own) for name, own in seconds.items()
    }
    ours = rates["permgrad, one class"]
    print(f"\n{'':32}{'rows/s':>10}{'permgrad is':>16}")
    for name, rate in rates.items():
        print(f"{name:32}{rate:10,.0f}{ours / rate:14.1f} ×")


if __name__ == "__main__":
    main()
