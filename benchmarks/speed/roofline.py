"""Rate of arithmetic of the dense path against the machine's own, on one thread.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/heloc.csv python -m
    benchmarks.speed.roofline

The dense path is ``predict_encoded`` of the `paper` network on HELOC's encoded test
rows, everything in it: drawing the images, convolutions, activations, normalisation,
pooling, products. The floating-point operations of its convolutions and products are
counted at the shapes in which they are computed (three equal image channels are one),
and the same convolutions and products are timed by themselves: torch's own ``conv2d``
and ``linear``, same shapes, same batch, channels last, on inputs that are ready. The
share is the dense path's rate over theirs: what is left for the rest is one minus it.
It is counted a second time against the fastest product that torch has on this machine,
which permgrad takes and ``linear`` does not. Processor time, alternating, the median of
the ratios of each round.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Heloc
from permgrad.models.fast.inference import FoldedNetwork

FLOOR, AIM = 0.60, 0.85
#: Rows of a batch of ``predict_encoded``.
BATCH = 64


def heloc_model(epochs: int = 2) -> tuple[Any, np.ndarray]:
    """Return the `paper` network, shortly trained, and HELOC's encoded test rows."""
    import permgrad as pg

    heloc = Heloc.read()
    model = pg.HyNNClassifier(
        preset="paper", max_epochs=epochs, random_state=0, progress=False
    )
    heloc.fit(model)
    return model, model.encode_rows(heloc.tested()).encoded


class Work:
    """One convolution or product of the dense path: its operations per row, and the
    bare call.
    """

    def __init__(
        self,
        name: str,
        flops: int,
        bare: Callable[[], Tensor],
        fastest: Callable[[], Tensor],
    ) -> None:
        self.name, self.flops, self.bare, self.fastest = name, flops, bare, fastest


def convolution(segment: Any, number: int) -> Work:
    """Return a segment's convolution on random maps."""
    height, width = segment.in_size
    own = segment.convolution
    images = torch.randn(BATCH, height, width, segment.in_channels).permute(0, 3, 1, 2)
    weight, bias = torch.randn_like(segment.weight), torch.randn(own.out_channels)

    def bare() -> Tensor:
        return functional.conv2d(
            images, weight, bias, own.stride, own.padding, own.dilation, own.groups
        )

    per_place = 2 * int(weight[0].numel()) * own.out_channels
    name = (
        f"convolution {number}: {segment.in_channels} → {own.out_channels}, "
        f"{height} × {width}"
    )
    return Work(
        name, per_place * segment.slide.size[0] * segment.slide.size[1], bare, bare
    )


def product(width: int, units: int) -> Work:
    """Return a dense layer on random rows."""
    rows, weight, bias = (
        torch.randn(BATCH, width),
        torch.randn(units, width),
        torch.randn(units),
    )

    def bare() -> Tensor:
        return functional.linear(rows, weight, bias)

    return Work(f"product {width} → {units}", 2 * width * units, bare, bare)


def parts(model: Any) -> list[Work]:
    """Return the convolutions and products of one forward, in order."""
    net = model.module_
    chain = FoldedNetwork(net).image
    assert chain is not None
    found = [
        convolution(segment, number)
        for number, segment in enumerate(chain.segments, start=1)
    ]
    dense = [
        layer
        for layer in net.table_branch.modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    head = [layer for layer in net.head if isinstance(layer, torch.nn.Linear)]
    found += [product(layer.in_features, layer.out_features) for layer in dense]
    # The head's first layer is two products, one for each path.
    found += [product(net.widths[path], head[0].out_features) for path in net.paths]
    return found + [
        product(layer.in_features, layer.out_features) for layer in head[1:]
    ]


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """Return the processor time of some calls; no result outlives its call, as none
    does inside a network.
    """
    started = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - started


def measure(
    *, rounds: int = 15, model: Any = None, encoded: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return one line for the dense path and one for each of its convolutions and
    products.

    Args:
        rounds: how often each is timed.
        model: a fitted `paper` network; None: trained here on HELOC.
        encoded: its rows.
    """
    torch.set_num_threads(1)
    if model is None or encoded is None:
        model, encoded = heloc_model()
    encoded = encoded[: len(encoded) // BATCH * BATCH]
    batches = len(encoded) // BATCH
    works = parts(model)
    took: dict[str, list[float]] = {"dense": []} | {
        f"{kind} {w.name}": [] for w in works for kind in ("bare", "fast")
    }
    with torch.inference_mode():
        for number in range(rounds + 2):  # the first ones warm up
            now = {"dense": seconds(lambda: model.predict_encoded(encoded))}
            for w in works:
                now[f"bare {w.name}"] = seconds(w.bare, batches)
                now[f"fast {w.name}"] = seconds(w.fastest, batches)
            if number >= 2:
                for name, taken in now.items():
                    took[name].append(taken)
    return _lines(works, took, len(encoded))


def _lines(
    works: list[Work], took: dict[str, list[float]], rows: int
) -> list[dict[str, Any]]:
    total = sum(w.flops for w in works)

    def share(kind: str) -> list[float]:
        sums = [
            sum(each)
            for each in zip(*(took[f"{kind} {w.name}"] for w in works), strict=True)
        ]
        return [own / dense for own, dense in zip(sums, took["dense"], strict=True)]

    def line(name: str, flops: int, times: list[float], **more: Any) -> dict[str, Any]:
        median = statistics.median(times)
        return {
            "what": name,
            "MFLOP per row": flops / 1e6,
            "µs per row": median / rows * 1e6,
            "least–most": f"{min(times) / rows * 1e6:.2f}–{max(times) / rows * 1e6:.2f}",
            "GFLOP/s": flops * rows / median / 1e9,
            **more,
        }

    bare, fast = share("bare"), share("fast")
    lines = [
        line(
            "dense path",
            total,
            took["dense"],
            **{
                "share of the bare rate": statistics.median(bare),
                "of the fastest": statistics.median(fast),
            },
        )
    ]
    for w in works:
        lines.append(line(w.name, w.flops, took[f"bare {w.name}"]))
        if w.fastest is not w.bare:
            lines.append(line(f"{w.name}, fastest", w.flops, took[f"fast {w.name}"]))
    return lines


def main() -> int:
    """Measure and print."""
    options: argparse.ArgumentParser = parser(__doc__)
    arguments = options.parse_args()
    lines = measure(rounds=3 if arguments.quick else 15)
    share = lines[0]["share of the bare rate"]
    text = (
        f"`paper` network on HELOC, batches of {BATCH} rows, one thread. The dense "
        f"path reaches {share:.0%} of the rate of torch's bare convolutions and "
        f"products (floor {FLOOR:.0%}, aim {AIM:.0%}), "
        f"{lines[0]['of the fastest']:.0%} of the fastest that torch has "
        f"here.\n\n{markdown_table(lines)}"
    )
    return record(
        arguments,
        "Rate of arithmetic of the dense path",
        text,
        lines,
        passed=share >= FLOOR,
        seeds=[0],
    )


if __name__ == "__main__":
    raise SystemExit(main())
