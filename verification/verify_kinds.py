"""Are the shares of table, text and photo right, are their intervals honest, and do
planted parts come first?

Three made sets whose rows have two numbers, a text and an image (issue 45, check 5):
the parts are added, the word multiplies a number, or the image repeats the word. One
network is fitted on each. The truth is the population value under its own function, by
plain loops over 20,000 rows. Then samples of 200 rows are explained: shares of the
kinds, intervals of kinds, of words and of places of the image. ``--quick`` takes fewer
samples and rows.

    OMP_NUM_THREADS=1 python -m verification.verify_kinds
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from itertools import combinations
from math import factorial
from typing import Any

from benchmarks._results import parser

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import pandas as pd
import torch
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution import wide
from permgrad.models.estimators.prepared import EncodedRows

KINDS, WORD, PLACE, SIDE, SEED = ("table", "text", "photo"), "alpha", 9, 16, 45
WORDS = np.array(
    [WORD, "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta", "zeta", "iota"]
)
TRAINED, POPULATION, SAMPLE, SAMPLES, DONORS, PICTURES, DRAWN = (
    4000,
    20_000,
    200,
    300,
    8,
    1200,
    30,
)
SHARE, COVERED = 0.02, (0.92, 0.97)
#: y from a word that is there or not, how bright a place is (0 … 1), and a number.
LOST = {
    "sum": 0.0,
    "product": 0.0,
    "copy": 0.1,
}  # share of texts that lack the word although its effect is there
SETS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sum": lambda word, bright, x: 2 * word + 3 * bright + x,
    "product": lambda word, bright, x: 2 * word * (1 + x) + 3 * bright,
    "copy": lambda word, _bright, x: 2 * word + x,
}


def thumbnail(images: Any) -> Any:
    """Return the mean brightness of the 4 × 4 patches of images."""
    return torch.nn.functional.avg_pool2d(
        images.mean(dim=1), images.shape[-1] // 4
    ).flatten(1)


def draw(name: str, rows: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """Return rows and their outcomes with some noise."""
    rng = np.random.default_rng([SEED, seed])
    texts = [
        " ".join(rng.permutation(WORDS)[: rng.integers(3, 8)]) for _ in range(rows)
    ]
    word = np.array([WORD in text.split() for text in texts], dtype=np.float64)
    bright, x = rng.random(rows), rng.normal(size=(rows, 2))
    # The copy is blurred: where one of two says all, the other gets no score.
    level = (
        np.clip(0.2 + 0.6 * word + 0.25 * rng.normal(size=rows), 0, 1)
        if name == "copy"
        else bright
    )
    lost = rng.random(rows) < LOST[name]
    texts = [
        text.replace(WORD, "beta") if gone else text
        for text, gone in zip(texts, lost, strict=True)
    ]
    scans = rng.integers(60, 120, (rows, SIDE, SIDE)).astype(np.uint8)
    down, across = (4 * (PLACE // 4), 4 * (PLACE % 4))
    scans[:, down : down + 4, across : across + 4] = (
        100 + 150 * level[:, None, None]
    ).astype(np.uint8)
    table = pd.DataFrame(
        {"x": x[:, 0], "note": texts, "z": x[:, 1], "scan": list(scans)}
    )
    return table, SETS[name](word, bright, x[:, 0]) + 0.3 * rng.normal(size=rows)


def shapley(loss: Callable[[tuple[str, ...]], Any]) -> dict[str, Any]:
    """Return the Shapley value of each kind from the losses with a set of kinds
    replaced, by its definition.
    """
    losses = {
        some: loss(some) for size in range(4) for some in combinations(KINDS, size)
    }
    values = {}
    for kind in KINDS:
        others = [name for name in KINDS if name != kind]
        values[kind] = sum(
            factorial(size) * factorial(2 - size) / 6
            * (losses[tuple(name for name in KINDS if name in (*some, kind))] - losses[some])
            for size in range(3) for some in combinations(others, size)
        )  # fmt: skip
    return values


def of_model(model: Any, rows: EncodedRows, y: Any) -> dict[str, float]:
    """Return the population value of each kind under a model, each row with several
    donors.
    """
    encoder, rng = model.preprocessor_, np.random.default_rng(SEED)
    kinds = np.array(
        [
            {"note": "text", "scan": "photo"}.get(name, "table")
            for name in encoder.feature_names_in_
        ]
    )
    donors = [rng.permutation(len(rows)) for _ in range(DONORS)]

    def loss(replaced: tuple[str, ...]) -> Any:
        columns, sums = (
            np.flatnonzero(np.isin(kinds[encoder.feature_of_], replaced)),
            0.0,
        )
        for other in donors if replaced else donors[:1]:
            mixed = rows.encoded.copy()
            mixed[:, columns] = rows.encoded[other][:, columns]
            predicted = (
                model.predict_encoded(mixed).ravel() * model.target_scale_
                + model.target_mean_
            )
            sums = sums + float(np.mean((predicted - y) ** 2))
        return sums / (len(donors) if replaced else 1)

    return shapley(loss)


def of_function(name: str) -> dict[str, float]:
    """Return the population value of each kind under the made function itself, where
    the kinds are independent.
    """
    rng = np.random.default_rng(SEED)
    parts = {kind: rng.random((2, 1_000_000)) for kind in ("text", "photo")} | {
        "table": rng.normal(size=(2, 10**6))
    }
    # A text has 3 to 7 of 10 words.
    parts["text"] = (parts["text"] < 0.5).astype(np.float64)

    def loss(replaced: tuple[str, ...]) -> Any:
        made = (SETS[name](*(parts[kind][int(kind in some)] for kind in ("text", "photo", "table")))
                for some in ((), replaced))  # fmt: skip
        return float(np.mean(np.subtract(*made) ** 2))

    return shapley(loss)


def check_kinds(
    record: Record, name: str, model: Any, rows: EncodedRows, y: Any, samples: int
) -> list[Any]:
    """Compare shares of the kinds in all rows with the truth, and count intervals of
    samples that hold it.
    """
    truth = of_model(model, rows, y)
    options = {"groups": "modality", "direction": False, "progress": False}
    whole = explain_with(model, rows, y, n_repeats=2, random_state=0, **options)
    shares = {kind: truth[kind] / sum(truth.values()) for kind in KINDS}
    apart = max(abs(whole.branches[kind]["share"] - shares[kind]) for kind in KINDS)
    record.floor(f"{name}: largest error of a share", apart, 0.0, SHARE)
    made = None if name == "copy" else of_function(name)
    if made is not None:
        far = max(
            abs(whole.branches[kind]["share"] - made[kind] / sum(made.values()))
            for kind in KINDS
        )
        record.floor(
            f"{name}: largest distance of a share from that of the made function",
            far,
            0.0,
            SHARE,
        )
    inside = []
    rng = np.random.default_rng([SEED, 1])
    for sample in range(samples):
        at = rng.choice(len(rows), SAMPLE, replace=False)
        one = explain_with(
            model, rows.take(at), y[at], n_repeats=4, random_state=sample, **options
        )
        inside.append(
            [
                one.low[k, 0] <= truth[kind] <= one.high[k, 0]
                for k, kind in enumerate(one.names)
            ]
        )
    covered = np.mean(inside, axis=0)
    record.floor(
        f"{name}: intervals of kinds that hold the truth",
        float(covered.mean()),
        *COVERED,
    )
    fit = 1 - np.mean((model.predict(rows) - y) ** 2) / np.var(y)
    return [
        [name, f"{fit:.3f}", kind, f"{truth[kind]:.3f}", f"{shares[kind]:.3f}", f"{whole.branches[kind]['share']:.3f}",
         "" if made is None else f"{made[kind] / sum(made.values()):.3f}", f"{covered[k]:.3f}"]
        for k, kind in enumerate(KINDS)
    ]  # fmt: skip


def effects(
    record: Record,
    name: str,
    what: str,
    population: Any,
    sample: Callable[[int], Any],
    samples: int,
) -> None:
    """Say whether the planted part comes first, and how often intervals of samples hold
    the population's effects.
    """
    planted = {"word": WORD, "place": PLACE}[what]
    truth, first, inside = population.set_index(what)["effect"], [], []
    for seed in range(samples):
        one = sample(seed).set_index(what)
        known = one[one.index.isin(truth.index)]
        inside += (
            (known["ci_low"] <= truth[known.index])
            & (truth[known.index] <= known["ci_high"])
        ).tolist()
        first.append(one["effect"].abs().idxmax() == planted)
    record.floor(
        f"{name}: intervals of {what}s that hold the truth",
        float(np.mean(inside)),
        *COVERED,
    )
    record.floor(
        f"{name}: samples in which the planted {what} comes first",
        float(np.mean(first)),
        0.99,
    )


def check_parts(
    record: Record,
    name: str,
    model: Any,
    rows: EncodedRows,
    samples: int,
    pictures: int,
) -> None:
    """Check words, and in the sum places, whose effects in many rows are the truth."""
    rng = np.random.default_rng([SEED, 2])
    chosen = [rng.choice(len(rows), SAMPLE, replace=False) for _ in range(samples)]
    usual, wide._MOST_ROWS = wide._MOST_ROWS, len(rows)  # of each word all rows
    whole = wide.word_effects(
        model, rows.take(np.arange(min(len(rows), 4000))), "note", random_state=0
    )
    wide._MOST_ROWS = usual
    whole = whole[~whole["word"].str.contains(" ")]

    def words(seed: int) -> pd.DataFrame:
        return wide.word_effects(
            model, rows.take(chosen[seed]), "note", random_state=seed
        )

    effects(record, name, "word", whole, words, len(chosen))
    if name != "sum":
        return
    images, some = model.preprocessor_.images_, rows.take(np.arange(pictures))
    covered, known = images.covered, dict[str, Any]()

    def once(column: str, cell: str, kept: Any) -> Any:
        if cell not in known:
            known[cell] = covered(column, cell, kept)
        return known[cell]

    images.covered = once

    def places(seed: int) -> pd.DataFrame:
        return wide.place_effects(model, some, "scan", rows=DRAWN, random_state=seed)

    whole = wide.place_effects(model, some, "scan", rows=pictures, random_state=0)
    effects(record, name, "place", whole, places, 5 * samples)


def main() -> int:
    """Check all sets."""
    arguments = parser(__doc__).parse_args()
    warnings.simplefilter("ignore")
    samples, population = (20, 2000) if arguments.quick else (SAMPLES, POPULATION)
    words, pictures = (4, 200) if arguments.quick else (60, PICTURES)
    record, lines = Record("Kinds, words and places against known truth", SEED), []
    for name in SETS:
        options = {
            "preset": "default" if name == "product" else "fast",
            "branches": ("tabular",),
            "random_state": SEED,
            "progress": False,
        }
        model = pg.HyNNRegressor(**options, image_encoder=thumbnail).fit(
            *draw(name, TRAINED, 0)
        )
        table, y = draw(name, population, 1)
        rows = model.encode_rows(table)
        lines += check_kinds(record, name, model, rows, y, samples)
        if name != "product":  # where a word has one effect
            check_parts(record, name, model, rows, words, pictures)
    head = [
        "set",
        "R²",
        "kind",
        "value",
        "share",
        "share found",
        "share in the made function",
        "covered",
    ]
    record.write(markdown_table(head, lines))
    return record.close(
        None if arguments.quick or arguments.no_record else RESULTS / "verify_kinds.md"
    )


if __name__ == "__main__":
    sys.exit(main())
