"""Integrated gradients of text, an image and a table together: do they add up, are they
Captum's, and at what price?

    OMP_NUM_THREADS=1 python -m verification.verify_embedded_gradients

A small BERT beside a convolutional network and a table, joined by a head with
rectifiers; weights are drawn, in float64. permgrad is called with token ids and no
further options, so that the call finds the embedding, holds the mask and chooses its
own steps. Captum is given the network cut behind the word embedding by hand, the
fastest way there is: the vectors, the image and the table are the inputs of one
``IntegratedGradients``, from the vector of the padding id and zeros.

The truth are Captum's attributions at 4,000 steps. At equal error means: Captum takes
the fewest steps of a list whose largest error is not above permgrad's, in batches of
the size that is the fastest for it. They take turns; medians of processor time. Floor:
a gap of at most 1e-6 of the output's range, no value further than 2e-4 of the largest
from the truth, and at least Captum's speed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import take_turns
from torch import Tensor, nn

import permgrad as pg

STEPS, LENGTH, WORDS, OUTPUTS = 4000, 16, 200, 3
BATCHES = (32, 64, 128, 256, 512, 1024)
FEWER = (200, 800, 1600, 2400, 3200)
#: The spread of BERT's weights: as transformers draws them, and ten times as wide,
#: which makes it less of a plane.
SPREADS = {"as drawn by transformers": 0.02, "ten times as wide": 0.2}


class Joint(nn.Module):
    """A BERT of two layers, two convolutions and a table, into one head."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        transformers: Any = importlib.import_module("transformers")
        config = transformers.BertConfig(
            vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=40, initializer_range=spread,
        )  # fmt: skip
        self.bert = transformers.BertModel(config)
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(32 + 64 + 6, 32), nn.ReLU(), nn.Linear(32, OUTPUTS)
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, image: Tensor, table: Tensor
    ) -> Tensor:
        """Return the logits."""
        text = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        return self.joined(text.pooler_output, image, table)

    def behind_words(
        self, words: Tensor, image: Tensor, table: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Return the logits for the vectors of words."""
        text = self.bert(inputs_embeds=words, attention_mask=attention_mask)
        return self.joined(text.pooler_output, image, table)

    def joined(self, text: Tensor, image: Tensor, table: Tensor) -> Tensor:
        """Return the logits for the text's vector, an image and a table."""
        logits: Tensor = self.head(torch.cat([text, self.image(image), table], dim=1))
        return logits


def prepare() -> None:
    """Let transformers be imported beside a torchvision whose operators do not load."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "foreign"))
    importlib.import_module("networks").declare_operators()


def case(spread: float, count: int) -> tuple[Joint, dict[str, Tensor]]:
    """Return the network and rows, half of which end in padding."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Joint(spread).double().eval()
        ids, mask = (
            torch.randint(1, WORDS, (count, LENGTH)),
            torch.ones(count, LENGTH, dtype=torch.int64),
        )
        mask[count // 2 :, -4:] = 0
        image, table = (
            torch.randn(count, 3, 16, 16).double(),
            torch.randn(count, 6).double(),
        )
    return net, {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "image": image,
        "table": table,
    }


def ours(net: Joint, rows: dict[str, Tensor], target: int) -> pg.Explanation:
    """Return permgrad's explanation."""
    return pg.explain(
        pg.Model(net, returns="logits"),
        rows,
        method="integrated_gradients",
        target=target,
        progress=False,
    )


def captum(
    net: Joint, rows: dict[str, Tensor], target: int, steps: int, batch: int
) -> tuple[Tensor, ...]:
    """Return Captum's attributions of vectors, image and table."""
    from captum.attr import IntegratedGradients

    embedding = net.bert.embeddings.word_embeddings
    with torch.no_grad():
        words, empty = (
            embedding(rows["input_ids"]),
            embedding(torch.zeros_like(rows["input_ids"])),
        )
    stop = (words, rows["image"], rows["table"])
    start = (empty, torch.zeros_like(rows["image"]), torch.zeros_like(rows["table"]))
    returned: tuple[Tensor, ...] = IntegratedGradients(net.behind_words).attribute(
        stop,
        start,
        target,
        rows["attention_mask"],
        n_steps=steps,
        internal_batch_size=batch,
    )
    return returned


def by_player(parts: tuple[Tensor, ...], explanation: pg.Explanation) -> np.ndarray:
    """Return Captum's attributions added up as permgrad's players are, ``(rows,
    players)``.
    """
    words, image, table = (part.detach() for part in parts)
    players = torch.from_numpy(explanation.maps["segments:image"]).flatten()
    sums = torch.zeros(len(words), len(explanation.names), dtype=torch.float64)
    sums[:, :LENGTH] = words.sum(dim=2)
    sums.index_add_(1, players, image.flatten(1))
    sums[:, -table.shape[1] :] = table
    return sums.numpy()


def compare(
    label: str, spread: float, target: int, count: int, steps: int, rounds: int
) -> dict[str, Any]:
    """Return one line of the record."""
    net, rows = case(spread, count)
    explanation = ours(net, rows, target)
    truth = by_player(captum(net, rows, target, steps, 256), explanation)
    largest = float(np.abs(truth).max())

    def error(values: np.ndarray) -> float:
        return float(np.abs(values - truth).max()) / largest

    error_here = error(explanation.values[..., 0])
    fewer, error_there = steps, 0.0
    for tried in FEWER:
        there = error(by_player(captum(net, rows, target, tried, 256), explanation))
        if there <= error_here:
            fewer, error_there = tried, there
            break
    taken = {}
    for batch in BATCHES:
        started = time.process_time()
        captum(net, rows, target, min(fewer, 100), batch)
        taken[batch] = time.process_time() - started
    best = min(taken, key=taken.__getitem__)
    turns = take_turns(
        {
            "permgrad": lambda: ours(net, rows, target),
            "captum": lambda: captum(net, rows, target, fewer, best),
        },
        rounds,
    )
    seconds = {name: statistics.median(each) for name, each in turns.items()}
    return {
        "weights of BERT": label,
        "rows": count,
        "players": len(explanation.names),
        "gap, share of the range": explanation.meta["completeness_gap"],
        "largest error, share of the largest": error_here,
        "mean steps": explanation.meta["mean_steps"],
        "Captum's steps": fewer,
        "its largest error": error_there,
        "its best batch": best,
        "seconds": seconds["permgrad"],
        "Captum's seconds": seconds["captum"],
        "times Captum's speed": seconds["captum"] / seconds["permgrad"],
    }


def main(argv: list[str] | None = None) -> int:
    """Compare, write the record and return the exit code."""
    arguments = parser(__doc__).parse_args(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    prepare()
    count, steps, rounds = (2, 400, 1) if arguments.quick else (8, STEPS, 3)
    lines = [
        compare(label, spread, 1, count, steps, rounds)
        for label, spread in SPREADS.items()
    ]
    passed = all(
        line["gap, share of the range"] <= 1e-6
        and line["largest error, share of the largest"] <= 2e-4
        and line["times Captum's speed"] >= 1
        for line in lines
    )
    text = (
        f"The truth are Captum's attributions at {steps:,} steps; the call of permgrad "
        f"has no option that says how to integrate. Medians of {rounds} rounds of "
        f"processor time, one thread.\n\n{markdown_table(lines)}"
    )
    return record(
        arguments, "Integrated gradients of text, image and table together", text, lines,
        passed=None if arguments.quick else passed, seeds=[0], name="verify_embedded_gradients",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
