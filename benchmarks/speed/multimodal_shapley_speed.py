"""Shapley values of text, image and table in one network: processor time to equal
error, permgrad and its peers.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.multimodal_shapley_speed

A small BERT (two layers of 128), a CNN and an MLP into one head, trained briefly on a
target in which words, image and table interact. 17 players: 7 tokens, 4 blocks of the
image, 6 columns. The truth are all 2^17 coalitions in float64. All explain the same
output of the same rows, against one background row and against many (the mean over
them).

shapiq: the approximators of Shapley values that the installed version has run once; the
two most exact run for all seeds, on a game that is evaluated in batches, and the least
time of both counts at each error. Captum: ``ShapleyValueSampling`` and ``KernelShap``
with as many perturbations in a forward as was found fastest; of several background rows
one after the other is its baseline. Contestants take turns within a seed; time is the
processor's, the network's evaluations included. The ratio is their time over ours at
equal error, read from log-log curves where both reach it; geometric mean over errors,
for each seed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from torch import Tensor, nn

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from permgrad.attribution.request import tuned

TOKENS, BLOCKS, COLUMNS = 7, 4, 6
PLAYERS = TOKENS + BLOCKS + COLUMNS
WORDS, PIXELS, HIDDEN = 200, 32, 128
FLOOR = 1.3
#: So many of shapiq's approximators, the most exact with middling budgets, run for all
#: seeds.
BEST = 2
#: Rows of the network in one forward of the peers' games, found to be the fastest here.
BATCH = 256
ORDERS = {
    1: (6, 12, 24, 50, 100, 200, 400, 2000),
    20: (6, 12, 20, 40, 80, 160, 400, 2000),
}
BUDGETS = {1: (50, 100, 200, 400, 800, 1600, 3200), 20: (50, 100, 200, 400)}
SAMPLES = {1: (2, 5, 10, 20, 40, 80, 160), 20: (1, 2, 5)}

Work = Callable[[int], np.ndarray]


#: Operators that torchvision's import asks for where it was built for CUDA and torch
#: was not; transformers imports it.
_stand_ins: list[torch.library.Library] = []


def declare_operators() -> None:
    """Declare torchvision's operators where they are not."""
    if not _stand_ins and not hasattr(torch.ops.torchvision, "nms"):
        _stand_ins.append(torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            _stand_ins[0].define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


class Multimodal(nn.Module):
    """BERT, a CNN and an MLP, joined by a head of two layers."""

    def __init__(self) -> None:
        super().__init__()
        declare_operators()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=WORDS, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=4 * HIDDEN, max_position_embeddings=16, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.text = BertModel(config)
        self.image = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(),
        )  # fmt: skip
        self.table = nn.Sequential(
            nn.Linear(COLUMNS, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.Linear(HIDDEN + 96, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def branches(
        self, input_ids: Tensor, attention_mask: Tensor, image: Tensor, table: Tensor
    ) -> list[Tensor]:
        """Return the embedding of each input."""
        text = self.text(
            input_ids=input_ids, attention_mask=attention_mask
        ).pooler_output
        return [text, self.image(image), self.table(table)]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, image: Tensor, table: Tensor
    ) -> Tensor:
        return self.head(
            torch.cat(self.branches(input_ids, attention_mask, image, table), dim=1)
        )


@dataclass
class Case:
    """The network, rows to explain and background rows."""

    net: Multimodal
    rows: dict[str, Tensor]
    background: dict[str, Tensor]

    @property
    def count(self) -> int:
        """Return how many rows are explained."""
        return len(self.rows["table"])


def drawn(rows: int, seed: int) -> dict[str, Tensor]:
    """Return rows of all inputs."""
    random = torch.Generator().manual_seed(seed)
    level = nn.functional.interpolate(
        torch.randn(rows, 3, 2, 2, generator=random), size=(PIXELS, PIXELS)
    )
    return {
        "input_ids": torch.randint(5, WORDS, (rows, TOKENS), generator=random),
        "attention_mask": torch.ones(rows, TOKENS, dtype=torch.long),
        "image": level + 0.5 * torch.randn(rows, 3, PIXELS, PIXELS, generator=random),
        "table": torch.randn(rows, COLUMNS, generator=random),
    }


def target(inputs: dict[str, Tensor]) -> Tensor:
    """Return what the network learns: words times words, blocks and columns, each also
    by itself.
    """
    words = torch.sin(inputs["input_ids"] * 1.7)
    blocks = (
        inputs["image"]
        .mean(dim=1)
        .unflatten(1, (2, -1))
        .unflatten(3, (2, -1))
        .mean(dim=(2, 4))
        .flatten(1)
    )
    table = inputs["table"]
    within = (
        words[:, 0] * words[:, 1] * 2 + words[:, 2:5].prod(dim=1) * 3 + words.sum(dim=1)
    )
    across = words[:, 5] * table[:, 0] + blocks[:, 0] * table[:, 1] * words[:, 6] * 2
    return (
        within
        + across
        + torch.relu(table[:, 2] + blocks[:, 1])
        + blocks.sum(dim=1)
        + table[:, 3:].sum(dim=1).tanh() * 2
    )


def trained(steps: int) -> Multimodal:
    """Return the network after a brief training on the processor."""
    torch.manual_seed(0)
    net = Multimodal()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps):
        inputs = drawn(64, 1000 + step)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(**inputs)[:, 0], target(inputs)).backward()
        optimizer.step()
    return net.eval()


# ---- the truth -----------------------------------------------------------------------


def owners() -> dict[str, Tensor]:
    """Return for each input who owns its positions."""
    blocks = (
        torch.arange(BLOCKS)
        .reshape(2, 2)
        .repeat_interleave(PIXELS // 2, 0)
        .repeat_interleave(PIXELS // 2, 1)
    )
    return {
        "input_ids": torch.arange(TOKENS),
        "image": TOKENS + blocks.expand(3, -1, -1),
        "table": TOKENS + BLOCKS + torch.arange(COLUMNS),
    }


def blend(case: Case, row: int, donor: int, keeps: Tensor) -> dict[str, Tensor]:
    """Return the inputs of coalitions ``(coalitions, players)`` of one row, the others
    taken from one donor.
    """
    made = {
        name: torch.where(
            keeps[:, owner], case.rows[name][row], case.background[name][donor]
        )
        for name, owner in owners().items()
    }
    return {**made, "attention_mask": torch.ones_like(made["input_ids"])}


def doubled(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs in float64."""
    return {
        name: rows.double() if rows.is_floating_point() else rows
        for name, rows in inputs.items()
    }


def worth_of_all(case: Case, row: int, donor: int) -> np.ndarray:
    """Return what each of the 2^17 coalitions is worth, in float64; player i is
    bit i.
    """
    net, parts, first = case.net.double(), [], 0
    precise = Case(net, doubled(case.rows), doubled(case.background))
    with torch.no_grad():
        for position, count in enumerate((TOKENS, BLOCKS, COLUMNS)):
            keeps = torch.zeros(2**count, PLAYERS, dtype=torch.bool)
            keeps[:, first : first + count] = (
                torch.arange(2**count)[:, None] >> torch.arange(count)
            ) & 1 == 1
            parts.append(net.branches(**blend(precise, row, donor, keeps))[position])
            first += count
        text, image, table = parts
        worths = []
        for one in table:
            both = [text.repeat(len(image), 1), image.repeat_interleave(len(text), 0)]
            worths.append(
                net.head(torch.cat([*both, one.expand(len(both[0]), -1)], dim=1))[:, 0]
            )
    net.float()
    return torch.cat(worths).numpy()


def shapley(worth: np.ndarray) -> np.ndarray:
    """Return the Shapley values of a game given by the worth of every coalition."""
    codes = np.arange(len(worth))
    players = int(np.log2(len(worth)))
    sizes = sum((codes >> player) & 1 for player in range(players))
    weight = np.array(
        [1 / (players * comb(players - 1, size)) for size in range(players)]
    )
    values = np.empty(players)
    for player in range(players):
        without = codes[(codes >> player) & 1 == 0]
        values[player] = (
            weight[sizes[without]] * (worth[without | (1 << player)] - worth[without])
        ).sum()
    return values


def truth(case: Case) -> np.ndarray:
    """Return exact values ``(rows, players)``, the mean over the background."""
    count = len(case.background["table"])
    check = torch.rand(64, PLAYERS, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        direct = case.net(**blend(case, 0, 0, check))[:, 0].numpy()
    worth = worth_of_all(case, 0, 0)
    codes = (check.numpy() * (1 << np.arange(PLAYERS))).sum(axis=1)
    np.testing.assert_allclose(worth[codes], direct, atol=1e-3)
    values = [
        [shapley(worth_of_all(case, row, donor)) for donor in range(count)]
        for row in range(case.count)
    ]
    return np.mean(values, axis=1)


# ---- contestants ---------------------------------------------------------------------


def ours(case: Case, most: int) -> Work:
    """Return permgrad through its public call, with so many orders."""

    def work(seed: int) -> np.ndarray:
        explanation = pg.explain(
            pg.Model(
                case.net,
                segments=("grid", 2),
                task="regression",
                hold=("attention_mask",),
            ),
            case.rows,
            method=tuned(
                pg.methods.Shapley(tolerance=0, max_permutations=most),
                min_permutations=2,
            ),
            background=case.background,
            random_state=seed,
            progress=False,
        )
        return explanation.values[:, :, 0]

    return work


class Game:
    """What coalitions of one row are worth: the mean output over the background rows,
    in batches.
    """

    def __init__(self, case: Case, row: int) -> None:
        self.case, self.row, self.owners = case, row, owners()
        self.nobody = 0.0
        self.nobody = float(self(np.zeros((1, PLAYERS), dtype=bool))[0])

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """Return the worth of each coalition, less that of nobody: shapiq's games are
        normalized.
        """
        keeps = torch.from_numpy(np.atleast_2d(np.asarray(coalitions, dtype=bool)))
        donors = len(self.case.background["table"])
        size, parts = max(1, BATCH // donors), []
        with torch.no_grad():
            for some in keeps.split(size):
                made = {}
                for name, owner in self.owners.items():
                    row, others = (
                        self.case.rows[name][self.row],
                        self.case.background[name],
                    )
                    made[name] = torch.where(
                        some[:, owner][:, None], row, others
                    ).flatten(0, 1)
                mask = torch.ones_like(made["input_ids"])
                outputs = self.case.net(
                    made["input_ids"], mask, made["image"], made["table"]
                )
                parts.append(outputs[:, 0].unflatten(0, (-1, donors)).mean(dim=1))
        return torch.cat(parts).double().numpy() - self.nobody


def shapiq_approximators() -> dict[str, Callable[[int], object]]:
    """Return constructors of shapiq's approximators of Shapley values, by name; each
    takes a seed.
    """
    from shapiq import approximator as made

    named: dict[str, Callable[[int], object]] = {
        "KernelSHAP": lambda seed: made.KernelSHAP(n=PLAYERS, random_state=seed),
        "KernelSHAP, pairs": lambda seed: made.KernelSHAP(
            n=PLAYERS, pairing_trick=True, random_state=seed
        ),
        "kADDSHAP 2": lambda seed: made.kADDSHAP(
            n=PLAYERS, max_order=2, random_state=seed
        ),
        "UnbiasedKernelSHAP": lambda seed: made.UnbiasedKernelSHAP(
            n=PLAYERS, random_state=seed
        ),
        "SVARM": lambda seed: made.SVARM(n=PLAYERS, random_state=seed),
        "PermutationSamplingSV": lambda seed: made.PermutationSamplingSV(
            n=PLAYERS, random_state=seed
        ),
        "StratifiedSamplingSV": lambda seed: made.StratifiedSamplingSV(
            n=PLAYERS, random_state=seed
        ),
        "OwenSamplingSV": lambda seed: made.OwenSamplingSV(
            n=PLAYERS, random_state=seed
        ),
        "ProxySPEX": lambda seed: made.ProxySPEX(
            n=PLAYERS, index="SV", max_order=1, random_state=seed
        ),
    }
    return named


def by_shapiq(case: Case, make: Callable[[int], object], budget: int) -> Work:
    """Return an approximator of shapiq with so many coalitions for each row."""

    def work(seed: int) -> np.ndarray:
        values = []
        for row in range(case.count):
            result = make(1000 * seed + row).approximate(budget, Game(case, row))  # type: ignore[attr-defined]
            values.append([result[(player,)] for player in range(PLAYERS)])
        return np.array(values)

    return work


def by_captum(case: Case, name: str, samples: int, per_forward: int) -> Work:
    """Return a method of Captum, one background row after the other as its baseline,
    all rows at once where it can.
    """
    import captum.attr

    order = ("input_ids", "image", "table")
    masks = tuple(owners()[key][None] for key in order)
    mask = case.rows["attention_mask"]

    def forward(input_ids: Tensor, image: Tensor, table: Tensor) -> Tensor:
        return case.net(input_ids, mask[:1].expand(len(table), -1), image, table)[:, 0]

    explainer = getattr(captum.attr, name)(forward)
    rows = (
        [slice(None)]
        if name == "ShapleyValueSampling"
        else [slice(row, row + 1) for row in range(case.count)]
    )

    def work(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        values = np.zeros((case.count, PLAYERS))
        with torch.no_grad():
            for donor in range(len(case.background["table"])):
                base = tuple(case.background[key][donor : donor + 1] for key in order)
                for part in rows:
                    parts = explainer.attribute(
                        tuple(case.rows[key][part] for key in order), baselines=base, feature_mask=masks,
                        n_samples=samples, perturbations_per_eval=per_forward,
                    )  # fmt: skip
                    picked = [
                        parts[0],
                        parts[1][:, 0, :: PIXELS // 2, :: PIXELS // 2].flatten(1),
                        parts[2],
                    ]
                    values[part] += torch.cat(
                        [one.double() for one in picked], dim=1
                    ).numpy()
        return values / len(case.background["table"])

    return work


# ---- measuring -----------------------------------------------------------------------


def screened(
    case: Case, exact: np.ndarray, donors: int, quick: bool
) -> list[dict[str, object]]:
    """Return the time and error of each of shapiq's approximators, once, with a
    middling number of coalitions.
    """
    lines = []
    for name, make in shapiq_approximators().items():
        budget = 100 if quick else 400 // donors**0.5
        seconds, error = timed(by_shapiq(case, make, int(budget)), 0, exact)
        lines.append(
            {
                "approximator": name,
                "coalitions": int(budget),
                "s per row": seconds,
                "error": error,
            }
        )
    return sorted(lines, key=lambda line: float(line["error"]))  # type: ignore[arg-type]


def contestants(
    case: Case, donors: int, best: Sequence[str], quick: bool
) -> dict[tuple[str, str], Work]:
    """Return who runs, by name and setting."""
    runs: dict[tuple[str, str], Work] = {}
    for most in ORDERS[donors][: 4 if quick else None]:
        runs["permgrad", f"{most} orders"] = ours(case, most)
    for name, make in shapiq_approximators().items():
        if name in best:
            for budget in BUDGETS[donors][: 2 if quick else None]:
                runs[f"shapiq {name}", f"{budget} coalitions"] = by_shapiq(
                    case, make, budget
                )
    for name, scale in (("ShapleyValueSampling", 1), ("KernelShap", PLAYERS)):
        fastest = fastest_captum(case, name)
        for samples in SAMPLES[donors][: 3 if quick else None]:
            setting = f"{samples * scale} samples, {fastest} in a forward"
            runs[f"captum {name}", setting] = by_captum(
                case, name, samples * scale, fastest
            )
    return runs


def fastest_captum(case: Case, name: str) -> int:
    """Return how many perturbations in a forward a method of Captum is fastest with."""
    few = Case(
        case.net, case.rows, {key: rows[:1] for key, rows in case.background.items()}
    )
    taken = {}
    for size in (4, 16, 64):
        work = by_captum(few, name, 3 if name == "ShapleyValueSampling" else 51, size)
        work(0)
        started = time.process_time()
        work(1)
        taken[size] = time.process_time() - started
    return min(taken, key=taken.__getitem__)


def timed(work: Work, seed: int, exact: np.ndarray) -> tuple[float, float]:
    """Return processor seconds per row and the root mean square error, as a share of
    the values' own.
    """
    started = time.process_time()
    values = work(seed)
    seconds = time.process_time() - started
    error = np.sqrt(np.mean((values - exact) ** 2) / np.mean(exact**2))
    return seconds / len(exact), max(float(error), 1e-9)


def seconds_at(curve: Sequence[tuple[float, float]], error: float) -> float:
    """Return the least seconds of a curve of (seconds, error) that reach an error;
    infinite where nothing does.
    """
    front: list[tuple[float, float]] = []
    for point in sorted(curve):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    for first, second in zip([None, *front], front, strict=False):
        if second[1] <= error:
            if first is None:
                return second[0]
            share = np.log(error / first[1]) / np.log(second[1] / first[1])
            return float(first[0] * (second[0] / first[0]) ** share)
    return float("inf")


def ratio(
    own: Sequence[tuple[float, float]], peers: Sequence[Sequence[tuple[float, float]]]
) -> float:
    """Return how many times as long the best of the peers takes, the geometric mean
    over the errors that it reaches.
    """
    theirs = [error for curve in peers for _, error in curve]
    # From the largest error that both have, where the cheapest runs stand, down to the
    # least that both reach.
    largest = min(max(error for _, error in own), max(theirs))
    errors = np.geomspace(largest, max(min(theirs), min(error for _, error in own)), 12)
    best = [
        min(seconds_at(curve, error) for curve in peers) / seconds_at(own, error)
        for error in errors
    ]
    return float(np.exp(np.mean(np.log(best))))


def compare(
    case: Case, donors: int, seeds: range, quick: bool
) -> tuple[list[dict[str, object]], list[dict[str, object]], dict[str, list[float]]]:
    """Return lines of the screening and of each run, and each seed's ratio to the best
    of shapiq and of Captum.
    """
    exact = truth(case)
    ranked = screened(case, exact, donors, quick)
    runs = contestants(
        case, donors, [str(line["approximator"]) for line in ranked[:BEST]], quick
    )
    # Once before the clock runs, so that nobody pays for loading.
    for work in {name: work for (name, _), work in reversed(runs.items())}.values():
        work(0)
    points: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for seed in seeds:
        for key, work in runs.items():
            points[key].append(timed(work, seed, exact))
    ratios: dict[str, list[float]] = {"shapiq": [], "captum": []}
    names = list(dict.fromkeys(name for name, _ in runs))
    for number in range(len(seeds)):
        curves = {
            name: [points[key][number] for key in runs if key[0] == name]
            for name in names
        }
        for peer, measured in ratios.items():
            measured.append(
                ratio(
                    curves["permgrad"],
                    [curves[name] for name in names if name.startswith(peer)],
                )
            )
    lines = [
        {
            "background rows": donors,
            "method": name,
            "setting": setting,
            "s per row": statistics.median(
                seconds for seconds, _ in points[name, setting]
            ),
            "error": float(
                np.sqrt(np.mean([error**2 for _, error in points[name, setting]]))
            ),
        }
        for name, setting in runs
    ]
    return [{"background rows": donors, **line} for line in ranked], lines, ratios


def main() -> int:
    """Measure and print."""
    options: argparse.ArgumentParser = parser(__doc__)
    options.add_argument("--seeds", type=int, default=8)
    options.add_argument("--rows", type=int, default=3)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    net = trained(10 if arguments.quick else 400)
    count, seeds = (
        1 if arguments.quick else arguments.rows,
        range(1, 2 if arguments.quick else 1 + arguments.seeds),
    )
    screening, lines, summary = [], [], []
    for donors in (1, 20):
        case = Case(net, drawn(count, 7), drawn(donors, 8))
        ranked, measured, ratios = compare(case, donors, seeds, arguments.quick)
        screening += ranked
        lines += measured
        summary += [
            {
                "background rows": donors,
                "peer": peer,
                "times as fast": float(np.exp(np.mean(np.log(own)))),
                "least of the seeds": min(own),
                "most": max(own),
            }
            for peer, own in ratios.items()
        ]
    passed = all(line["times as fast"] >= FLOOR for line in summary)
    tables = [summary, screening, lines]
    text = "\n\n".join(markdown_table(table) for table in tables)
    title = "Shapley values of text, image and table: time to equal error"
    return record(
        arguments,
        title,
        text,
        {"ratios": summary, "screening": screening, "runs": lines},
        passed=passed,
        seeds=list(seeds),
    )


if __name__ == "__main__":
    sys.exit(main())
