"""Integrated gradients of any torch network: memory of a very large call, and gaps
against Captum's.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.network_gradients_memory

Memory: 200,000 rows × 50 steps on a 51–80–30–10–1 network, the highest resident set of
a process of its own, from its start to its end, Python and torch included; once with
``steps=50`` (exactly 50 gradients for each row) and once as by default, refined until
each row has settled. Captum's ``internal_batch_size`` of 4,096 is measured beside them.

Gaps: 2,000 rows of the same network, and a network of two images with a shared encoder,
max pooling and a table. Captum with more and more steps until its largest gap is below
0.5 % of the output's range; permgrad as by default and with eight steps. Sums over
secants are right to rounding by construction, so single values are compared too, with a
midpoint sum of many gradients in float64.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import copy
import itertools
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.shared.explaining import explain_with
from torch import nn

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

WIDTHS = (51, 80, 30, 10, 1)
FLOOR_GB = 1.5
LADDER = (4, 8, 12, 16, 24, 32, 50, 100, 200, 400, 800, 1600)


class TwoImages(nn.Module):
    """Two images through one encoder, with in-place rectifiers, beside a table."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(288, 10),
        )
        self.head = nn.Sequential(nn.Linear(30, 50), nn.ReLU(), nn.Linear(50, 1))

    def forward(
        self, first: torch.Tensor, second: torch.Tensor, table: torch.Tensor
    ) -> torch.Tensor:
        return self.head(
            torch.cat([self.encoder(first), self.encoder(second), table], dim=1)
        )


def table_network(rows: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return a network trained for a moment on a rough function, and rows."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(WIDTHS):
        layers += [nn.Linear(before, after), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    train(
        net,
        lambda: (torch.randn(512, WIDTHS[0]),),
        lambda x: x[:, :1] * x[:, 1:2] + x[:, 2:3].abs() * 2,
    )
    return net.eval(), (torch.randn(rows, WIDTHS[0]),)


def image_network(rows: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return a network of two images and a table, trained for a moment, and rows."""
    torch.manual_seed(0)
    net = TwoImages()

    def draw(count: int) -> tuple[torch.Tensor, ...]:
        return (
            torch.randn(count, 1, 14, 14),
            torch.randn(count, 1, 14, 14),
            torch.randn(count, 10),
        )

    train(
        net,
        lambda: draw(256),
        lambda a, b, t: (
            a[:, 0, :7].amax(dim=(1, 2))[:, None] * t[:, :1]
            + b[:, 0, 7:].amax(dim=(1, 2))[:, None]
        ),
        steps=150,
    )
    return net.eval(), draw(rows)


def train(net: nn.Module, draw: Any, function: Any, steps: int = 300) -> None:
    """Fit ``function`` for some batches."""
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(steps):
        rows = draw()
        optimizer.zero_grad()
        (net(*rows) - function(*rows)).square().mean().backward()
        optimizer.step()


# ---- memory, in a process of its own -------------------------------------------------


def ours(
    net: nn.Module, rows: tuple[torch.Tensor, ...], **options: Any
) -> pg.Explanation:
    """Return permgrad's explanation from zeros, every position a player."""
    inputs = (
        rows[0]
        if len(rows) == 1
        else dict(zip(("first", "second", "table"), rows, strict=True))
    )
    pixels = {
        name: "pixels"
        for name, own in zip(("first", "second"), rows, strict=False)
        if own.ndim == 4
    }
    return explain_with(
        net,
        inputs,
        method="integrated_gradients",
        progress=False,
        task="regression",
        segments=pixels or None,
        baseline="zeros",
        **options,
    )


def captum(
    net: nn.Module,
    rows: tuple[torch.Tensor, ...],
    steps: int,
    method: str = "gausslegendre",
) -> np.ndarray:
    """Return Captum's attributions of every position."""
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(net).attribute(
        rows, tuple(torch.zeros_like(own[:1]) for own in rows), target=0, n_steps=steps, method=method,
        internal_batch_size=max(4096, len(rows[0])),
    )  # fmt: skip
    return torch.cat([own.flatten(1) for own in found], dim=1).detach().numpy()


CALLS = {
    "permgrad, steps=50": lambda net, rows: ours(net, rows, steps=50),
    "permgrad, default": ours,
    "captum, 50 steps": lambda net, rows: captum(net, rows, 50),
}


def measure_memory(name: str, rows: int) -> None:
    """Print the process's highest resident set, in GB, and the processor time of the
    call.
    """
    torch.set_num_threads(1)
    net, inputs = table_network(rows)
    started = time.process_time()
    CALLS[name](net, inputs)
    seconds = time.process_time() - started
    # Not getrusage: what the parent process held would count.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    print(json.dumps({"peak": peak / 2**20, "seconds": seconds}))


def memory(rows: int) -> list[dict[str, Any]]:
    """Return one line for each call, each made in a fresh process."""
    found = []
    for name in CALLS:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            __spec__.name,
            "--measure",
            name,
            "--rows",
            str(rows),
        ]
        output = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        own = json.loads(output)
        found.append(
            {
                "call": name,
                "rows": rows,
                "peak GB, all in all": own["peak"],
                "seconds": own["seconds"],
            }
        )
    return found


# ---- gaps ----------------------------------------------------------------------------


def reference(net: nn.Module, rows: tuple[torch.Tensor, ...], steps: int) -> np.ndarray:
    """Return attributions by a midpoint sum of many gradients in float64."""
    net = copy.deepcopy(net).double()
    wide = tuple(own.double() for own in rows)
    totals = [torch.zeros_like(own) for own in wide]
    for step in range(steps):
        points = tuple((own * ((step + 0.5) / steps)).requires_grad_() for own in wide)
        slopes = torch.autograd.grad(net(*points).sum(), points)
        totals = [total + own for total, own in zip(totals, slopes, strict=True)]
    return torch.cat(
        [(t / steps * own).flatten(1) for t, own in zip(totals, wide, strict=True)],
        dim=1,
    ).numpy()


def gaps(
    label: str,
    subject: tuple[nn.Module, tuple[torch.Tensor, ...]],
    some: int,
    steps: int,
) -> list[dict[str, Any]]:
    """Return one line for each contestant and number of steps."""
    net, rows = subject
    with torch.no_grad():
        output = net(*rows)[:, 0].double().numpy()
        base = float(net(*(torch.zeros_like(own[:1]) for own in rows)))
    spread = float(np.ptp(output))
    truth = reference(net, tuple(own[:some] for own in rows), steps)

    def line(method: str, values: np.ndarray, evaluations: int) -> dict[str, Any]:
        gap = np.abs(values.sum(axis=1, dtype=np.float64) - (output - base)).max()
        error = np.abs(values[:some] - truth).max() / spread
        return {
            "network": label,
            "method": method,
            "gradients per row": evaluations / len(output),
            "largest gap, % of range": 100 * float(gap) / spread,
            "largest error of a value, % of range": 100 * float(error),
        }

    found = []
    for name, options in (
        ("permgrad, default", {}),
        ("permgrad, max_steps=8", {"max_steps": 8}),
    ):
        explanation = ours(net, rows, **options)
        found.append(
            line(
                name,
                explanation.values[:, :, 0],
                explanation.meta["gradient_evaluations"],
            )
        )
    for count in LADDER:
        found.append(
            line(
                f"captum, {count} steps", captum(net, rows, count), count * len(output)
            )
        )
        if found[-1]["largest gap, % of range"] <= 0.5 and count >= 50:
            break
    return found


def meets_floor(lines: list[dict[str, Any]]) -> bool:
    """Return whether the gap is below 0.5 %, and Captum needs more gradients for as
    small a one.
    """
    own = lines[0]
    gap = "largest gap, % of range"
    as_small = [
        line["gradients per row"] for line in lines[2:] if line[gap] <= own[gap]
    ]
    return own[gap] < 0.5 and own["gradients per row"] < min(as_small, default=np.inf)


def main() -> int:
    """Measure, print and record."""
    made: argparse.ArgumentParser = parser(__doc__)
    made.add_argument("--measure", choices=list(CALLS), help=argparse.SUPPRESS)
    made.add_argument("--rows", type=int, default=200_000)
    arguments = made.parse_args()
    warnings.simplefilter("ignore")
    if arguments.measure:
        measure_memory(arguments.measure, arguments.rows)
        return 0
    torch.set_num_threads(1)
    quick = arguments.quick
    rows = 20_000 if quick else arguments.rows
    tables = gaps(
        "51–80–30–10–1",
        table_network(200 if quick else 2000),
        50,
        500 if quick else 4000,
    )
    pictures = gaps(
        "two images and a table",
        image_network(50 if quick else 300),
        20,
        300 if quick else 2000,
    )
    peaks = memory(rows)
    passed = (
        all(line["peak GB, all in all"] < FLOOR_GB for line in peaks[:2])
        and meets_floor(tables)
        and meets_floor(pictures)
    )
    text = (
        f"Floors: permgrad's peaks below {FLOOR_GB} GB; a gap below 0.5 % of the "
        "output's range, and fewer gradients than Captum needs for as small a gap. "
        "Seconds are processor time on one "
        f"thread.\n\n{markdown_table(peaks)}\n\n{markdown_table(tables + pictures)}"
    )
    data = {"memory": peaks, "gaps": tables + pictures}
    return record(
        arguments,
        "Gradients of any network: memory, completeness",
        text,
        data,
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
