"""Shapley values against everything that is known exactly: other people's numbers,
closed forms, coverage, Owen sums.

    OMP_NUM_THREADS=1 python -m verification.verify_shapley

Float64 networks with a table and a code (an embedding) as inputs, eight players and 20
background rows, so that every coalition can be enumerated:

- exact values against enumeration written out here and against
  ``shapiq.ExactComputer``;
- a linear network against its closed form, w (x − mean of the background);
- Owen values: the sums over modalities against the game of modalities, enumerated;
- coverage: in what share of cases the 95 % interval of sampled values holds the exact
  value, for smooth and for kinked networks, few and many orders, flat and Owen, and for
  a background too large to go round.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from itertools import combinations
from math import comb

import numpy as np
import torch
from benchmarks._results import markdown_table, parser, record
from tests.shared.explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

EXACT, COVERAGE = 1e-8, (0.92, 0.98)


class Coded(nn.Module):
    """A table of five numbers, three codes, and two outputs that make them interact."""

    def __init__(self, activation: type[nn.Module], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(4, 2)
        self.body = nn.Sequential(
            nn.Linear(11, 24),
            activation(),
            nn.Linear(24, 24),
            activation(),
            nn.Linear(24, 2),
        )
        for part in self.body:
            if isinstance(part, nn.Linear):
                part.weight.data *= 2.0
        self.double()

    def forward(self, table: Tensor, codes: Tensor) -> Tensor:
        """Return two logits."""
        return self.body(torch.cat([table, self.embedding(codes).flatten(1)], dim=1))


def draw(rows: int, seed: int) -> dict[str, Tensor]:
    """Return made rows."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "table": torch.randn(rows, 5, generator=generator, dtype=torch.float64),
        "codes": torch.randint(0, 4, (rows, 3), generator=generator),
    }


def worth(
    net: nn.Module,
    row: dict[str, Tensor],
    background: dict[str, Tensor],
    kept: list[int],
) -> np.ndarray:
    """Return what a coalition is worth, written as it is defined: the mean output over
    the background.
    """
    table, codes = background["table"].clone(), background["codes"].clone()
    for player in kept:
        if player < 5:
            table[:, player] = row["table"][player]
        else:
            codes[:, player - 5] = row["codes"][player - 5]
    with torch.no_grad():
        return net(table, codes).mean(dim=0).numpy()


def enumerate_values(
    worths: Callable[[list[int]], np.ndarray], players: list[list[int]]
) -> np.ndarray:
    """Return Shapley values of blocks of players, from the formula."""
    count = len(players)
    known = {
        chosen: worths([player for block in chosen for player in players[block]])
        for size in range(count + 1)
        for chosen in combinations(range(count), size)
    }
    values = []
    for player in range(count):
        total = 0.0
        for chosen, value in known.items():
            if player not in chosen:
                joined = tuple(sorted((*chosen, player)))
                total = total + (known[joined] - value) / (
                    count * comb(count - 1, len(chosen))
                )
        values.append(total)
    return np.array(values)


def shapiq_values(
    worths: Callable[[list[int]], np.ndarray], players: int
) -> np.ndarray:
    """Return shapiq's exact values of both outputs."""
    import shapiq

    found = []
    for output in range(2):

        def game(coalitions: np.ndarray, output: int = output) -> np.ndarray:
            return np.array(
                [
                    worths(np.flatnonzero(own).tolist())[output]
                    for own in np.atleast_2d(coalitions)
                ]
            )

        values = shapiq.ExactComputer(n_players=players, game=game)("SV", order=1)
        found.append([values[(player,)] for player in range(players)])
    return np.array(found).T


def exactness(rows: int) -> list[dict[str, object]]:
    """Compare exact values with everything that gives them."""
    net, inputs, background = Coded(nn.ReLU, 0), draw(rows, 1), draw(20, 2)
    ours = pg.explain(net, inputs, method="shapley", background=background)
    owen = pg.explain(
        net, inputs, method=pg.methods.Shapley(blocks="modality"), background=background
    ).by_modality()
    singles = [
        {name: own[index] for name, own in inputs.items()} for index in range(rows)
    ]
    games = [partial(worth, net, row, background) for row in singles]
    by_hand = np.array(
        [enumerate_values(own, [[player] for player in range(8)]) for own in games]
    )
    peers = np.array([shapiq_values(own, 8) for own in games])
    upper = np.array(
        [enumerate_values(own, [[0, 1, 2, 3, 4], [5, 6, 7]]) for own in games]
    )
    linear = nn.Linear(5, 1).double()
    of_linear = pg.explain(
        pg.Model(linear, task="regression"),
        inputs["table"],
        method="shapley",
        background=background["table"],
    )
    closed = (
        (linear.weight[0] * (inputs["table"] - background["table"].mean(dim=0)))
        .detach()
        .numpy()
    )
    pairs = {
        "enumeration by hand": (ours.values, by_hand),
        "shapiq.ExactComputer": (ours.values, peers),
        "closed form of a linear network": (of_linear.values[:, :, 0], closed),
        "Owen: sums over modalities, game of modalities": (owen.values, upper),
    }
    return [
        {
            "compared with": name,
            "largest difference": float(np.abs(a - b).max()),
            "largest value": float(np.abs(b).max()),
        }
        for name, (a, b) in pairs.items()
    ]


def coverage(seeds: int, rows: int) -> list[dict[str, object]]:
    """Return the share of intervals that hold the exact value, and the error relative
    to its estimate.
    """
    settings: dict[str, dict[str, object]] = {
        "two rounds": {"max_permutations": 80},
        "ten rounds": {"max_permutations": 400},
        "until 1 % of the range": {},
        "Owen, four rounds": {"max_permutations": 160, "blocks": "modality"},
        "background too large to go round": {"max_permutations": 100, "large": True},
    }
    lines = []
    for activation in (nn.Tanh, nn.ReLU):
        net = Coded(activation, 0)
        for name, options in settings.items():
            given = dict(options)
            background = draw(300 if given.pop("large", False) else 20, 2)
            inside, scaled = [], []
            if "max_permutations" in given:
                given |= {"tolerance": 0.0, "min_permutations": 2}
            for seed in range(seeds):
                inputs = draw(rows, 100 + seed)
                method = pg.methods.Shapley(blocks=given.get("blocks"))
                exact = pg.explain(net, inputs, method=method, background=background)
                found = explain_with(
                    net,
                    inputs,
                    method="shapley",
                    background=background,
                    random_state=seed,
                    exact=0,
                    **given,
                )
                inside.append(
                    (found.low <= exact.values) & (exact.values <= found.high)
                )
                scaled.append((found.values - exact.values) ** 2 / found.std_error**2)
            lines.append(
                {
                    "network": activation.__name__,
                    "setting": name,
                    "cases": int(np.size(inside)),
                    "coverage": float(np.mean(inside)),
                    "error / standard error": float(np.sqrt(np.mean(scaled))),
                }
            )
            print(lines[-1], flush=True)
    return lines


def main() -> int:
    """Compare and print."""
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", pg.PermgradWarning)
    exact = exactness(3 if arguments.quick else 20)
    covered = coverage(2 if arguments.quick else 10, 20 if arguments.quick else 40)
    passed = all(line["largest difference"] <= EXACT for line in exact)
    passed &= all(COVERAGE[0] <= line["coverage"] <= COVERAGE[1] for line in covered)
    text = (
        f"{markdown_table(exact)}\n\nCoverage of 95 % "
        f"intervals:\n\n{markdown_table(covered)}"
    )
    results = {"exactness": exact, "coverage": covered}
    return record(
        arguments,
        "Shapley values: exactness and coverage",
        text,
        results,
        passed=passed,
        seeds="0…9",
    )


if __name__ == "__main__":
    sys.exit(main())
