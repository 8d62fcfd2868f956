"""Inputs of a network that do nothing: what they cost beside the same network without
them.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.unused_inputs [--quick]

A recurrent forecaster takes eleven inputs, as those of pytorch-forecasting do, and
reads three of them: 24 steps of four numbers before, 6 steps of two numbers behind, and
the scale of the target. The same network takes these three alone. Both are explained by
``pg.explain``: steps as features, and whole inputs as features. Contestants take turns;
processor time, and the ratio of each round. The floor is 1.3 times: one look at each
input that does nothing.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import take_turns

BEFORE, BEHIND = 24, 6
FLOOR = 1.3


class Forecaster(nn.Module):
    """Reads numbers before and behind, and the scale of the target."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.GRU(4, 32, batch_first=True)
        self.behind = nn.GRU(2, 32, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(
        self, encoder_cont: Tensor, decoder_cont: Tensor, target_scale: Tensor
    ) -> Tensor:
        """Return a forecast ``(rows, 1)`` in the target's unit."""
        before = self.before(encoder_cont)[1][-1]
        behind = self.behind(decoder_cont)[1][-1]
        forecast = self.head(torch.cat([before, behind], dim=1))
        return forecast * target_scale[:, 1:] + target_scale[:, :1]


class OfEleven(nn.Module):
    """The same with eight more inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.forecaster = Forecaster()

    def forward(
        self,
        encoder_cat: Tensor,  # noqa: ARG002 — this and others do nothing
        encoder_cont: Tensor,
        encoder_target: Tensor,  # noqa: ARG002
        encoder_lengths: Tensor,  # noqa: ARG002
        decoder_cat: Tensor,  # noqa: ARG002
        decoder_cont: Tensor,
        decoder_target: Tensor,  # noqa: ARG002
        decoder_lengths: Tensor,  # noqa: ARG002
        decoder_time: Tensor,  # noqa: ARG002
        groups: Tensor,  # noqa: ARG002
        target_scale: Tensor,
    ) -> Tensor:
        """Return what the forecaster says ``(rows, 1)``."""
        return self.forecaster(encoder_cont, decoder_cont, target_scale)


def inputs_of(rows: int) -> dict[str, Tensor]:
    """Return the eleven inputs of made rows."""
    draws = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=draws)

    def codes(most: int, *shape: int) -> Tensor:
        return torch.randint(0, most, (rows, *shape), generator=draws)

    return {
        "encoder_cat": codes(5, BEFORE, 3),
        "encoder_cont": numbers(BEFORE, 4),
        "encoder_target": numbers(BEFORE),
        "encoder_lengths": BEFORE - codes(4),
        "decoder_cat": codes(5, BEHIND, 3),
        "decoder_cont": numbers(BEHIND, 2),
        "decoder_target": numbers(BEHIND),
        "decoder_lengths": BEHIND - codes(2),
        "decoder_time": codes(100, BEHIND),
        "groups": codes(20, 1),
        "target_scale": numbers(2).abs() + 0.5,
    }


def main() -> int:
    """Measure, print and record."""
    arguments = parser(__doc__).parse_args()
    rows = 40 if arguments.quick else 300
    rounds = 1 if arguments.quick else 5
    X = inputs_of(rows)
    names = ("encoder_cont", "decoder_cont", "target_scale")
    alone = {name: X[name] for name in names}
    eleven, three = OfEleven().eval(), Forecaster().eval()
    y = three(**alone).detach()[:, 0] + 0.1 * torch.randn(rows)
    lines = []
    for features, options in (
        ("steps", {}),
        ("whole inputs", {"groups": "modality"}),
    ):
        settings: dict[str, Any] = {"progress": False, "random_state": 0, **options}

        def explained(
            network: nn.Module, inputs: Any, settings: Any = settings
        ) -> pg.Explanation:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return pg.explain(network, inputs, y, **settings)

        taken = take_turns(
            {
                "eleven": lambda ask=explained: ask(eleven, X),
                "three": lambda ask=explained: ask(three, alone),
            },
            rounds,
        )
        ratios = []
        for of_eleven, of_three in zip(taken["eleven"], taken["three"], strict=True):
            ratios.append(of_eleven / of_three)
        lines.append(
            {
                "features": features,
                "rows": rows,
                "eleven inputs, s": statistics.median(taken["eleven"]),
                "three inputs, s": statistics.median(taken["three"]),
                "ratio": statistics.median(ratios),
                "least": min(ratios),
                "largest": max(ratios),
            }
        )
    passed = None
    if not arguments.quick:
        passed = all(line["ratio"] <= FLOOR for line in lines)
    text = markdown_table(lines) + "\n\nProcessor time, one thread."
    return record(
        arguments,
        "Inputs of a network that do nothing",
        text,
        lines,
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
