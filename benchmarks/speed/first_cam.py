"""A first Grad-CAM call on a network that permgrad has not seen, beside a hook, a
forward and a backward, as pytorch-grad-cam makes them.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.first_cam

The network is a residual network of 18 layers as torchvision's, with random weights.
permgrad finds out how it is read, checks that its rows are independent, that it
remembers nothing and that its gradients are the slopes of its outputs, and where the
layer lies. Both take turns, in processor time; the least of the rounds counts.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

#: A first call should take at most so many times the peer's.
FLOOR = 10
#: Pixels along each side, and images explained.
SIZES = ((64, 1), (96, 1), (224, 1), (64, 8), (64, 32))


class Block(nn.Module):
    """Two convolutions and a short cut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.short: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.short = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps."""
        inner = self.relu(self.first_norm(self.first(maps)))
        inner = self.second_norm(self.second(inner))
        return self.relu(inner + self.short(maps))


def residual(widths: tuple[int, ...] = (64, 128, 256, 512)) -> nn.Sequential:
    """Return a residual network of ten classes, with two blocks in each stage."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])]
    net = nn.Sequential(*stem, nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    before = widths[0]
    for number, width in enumerate(widths):
        stride = 1 if number == 0 else 2
        stage = nn.Sequential(Block(before, width, stride), Block(width, width, 1))
        net.add_module(f"layer{number + 1}", stage)
        before = width
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(before, 10))
    return net.eval()


def hooked(net: nn.Sequential, images: Tensor) -> Tensor:
    """Return maps ``(rows, 1, height, width)`` of class 1 at the last stage."""
    values = dict[str, Tensor]()

    def keep(_: nn.Module, __: object, value: Tensor) -> None:
        value.retain_grad()
        values["maps"] = value

    handle = net.layer4.register_forward_hook(keep)
    net.zero_grad()
    net(images)[:, 1].sum().backward()
    handle.remove()
    maps = values["maps"]
    weights = maps.grad.mean((2, 3), keepdim=True)
    cam = torch.relu((weights * maps).sum(1, keepdim=True)).detach()
    return nn.functional.interpolate(cam, size=images.shape[2:], mode="bilinear")


def timed(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(size: int, count: int, rounds: int) -> dict[str, object]:
    """Return a line of the table."""
    net = residual()
    images = torch.randn(count, 3, size, size)
    rows = list[int]()

    def ours() -> pg.Explanation:
        model = pg.Model(net, returns="logits")
        method = pg.methods.GradCam(layer="layer4")
        return pg.explain(model, images, method=method, target=1, progress=False)

    handle = net.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    maps = torch.as_tensor(ours().maps["maps:input"])[:, 0]
    handle.remove()
    wanted = hooked(net, images)[:, 0]
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        seconds["ours"].append(timed(ours))
        seconds["peer"].append(timed(lambda: hooked(net, images)))
    net.zero_grad()
    return {
        "pixels": size,
        "images": count,
        "calls": len(rows),
        "rows that they take": sum(rows),
        "ms": 1000 * min(seconds["ours"]),
        "ms of the peer": 1000 * min(seconds["peer"]),
        "times": min(seconds["ours"]) / min(seconds["peer"]),
        "maps differ by": float((maps - wanted).abs().max() / wanted.max()),
    }


def main() -> int:
    """Measure, print and record."""
    options = parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sizes = SIZES[:1] if options.quick else SIZES
    lines = [measure(*pair, rounds=2 if options.quick else 5) for pair in sizes]
    return record(
        options,
        "A first Grad-CAM call beside a hook, a forward and a backward",
        markdown_table(lines),
        lines,
        passed=max(float(line["times"]) for line in lines) <= FLOOR,
        seeds=0,
        name="first_cam",
    )


if __name__ == "__main__":
    raise SystemExit(main())
