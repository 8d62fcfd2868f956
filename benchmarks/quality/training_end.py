"""Accuracy of a training that ends when its loss has risen, which is the default,
against patience alone.

    python -m benchmarks.quality.training_end  # what is missing is trained, then the
    tables; an hour python -m benchmarks.quality.training_end --splits 42 --sets heloc
    puma python -m benchmarks.quality.training_end --splits --sets      # train nothing,
    only the tables

Each cell is one fit of preset ``default`` by patience alone, with the validation loss
of each epoch. The rule is then applied to these losses. Where the best epoch before the
end is the same, so are the weights. Where it is not, the network is trained with the
rule: a cell of ``benchmarks.quality.comparison``. Six named sets, and four tables of
scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._results import markdown_table, record
from benchmarks.quality._cells import (
    CACHE,
    METRICS,
    SEED,
    SPLITS,
    Cells,
    contenders,
    load,
    run,
)
from permgrad import HyNNClassifier, HyNNRegressor
from permgrad.data.splitting import split_rows
from permgrad.evaluation.comparison import corrected_paired_test
from permgrad.evaluation.metrics import evaluate, metrics
from permgrad.models.estimators.presets import get_preset
from permgrad.models.train.ending import rises
from permgrad.runs.run.clock import ROWS_SEEN


def fit_by_patience(name: str, split: int) -> dict[str, Any]:
    """Train on one split by patience alone, and return the cell: losses, seconds, and
    the metric on test rows.
    """
    X, y, task, facts = load(name)
    rows, losses = split_rows(len(X), y, task=task, seed=split), list[float]()
    kind, patience = (
        HyNNRegressor if task == "regression" else HyNNClassifier,
        get_preset("default").training["patience"],
    )
    preset = {"base": "default", "patience": math.inf}
    model = kind(preset=preset, random_state=SEED, progress=False, **facts)

    def watch(line: Mapping[str, float]) -> bool:
        losses.append(line["validation_loss"])
        return len(losses) - 1 - losses.index(min(losses)) >= patience

    held, started = (
        (X.iloc[rows.validation], y.iloc[rows.validation]),
        time.process_time(),
    )
    model.fit(X.iloc[rows.train], y.iloc[rows.train], eval_set=held, on_epoch=watch)
    seconds = time.process_time() - started
    truth, test = y.iloc[rows.test].to_numpy(), X.iloc[rows.test]
    if task == "regression":
        scores = evaluate(task, truth, predictions=model.predict(test))
    else:
        scores = evaluate(
            task,
            truth,
            probabilities=model.predict_proba(test),
            classes=list(model.classes_),
        )
    sizes = {part: len(getattr(rows, part)) for part in ("train", "validation", "test")}
    value = float(scores[METRICS[name]])
    return {
        "set": name,
        "split": split,
        "losses": losses,
        "value": value,
        "rows": sizes,
        "seconds": seconds,
    }


def ended(losses: list[float]) -> tuple[int, int]:
    """Return the last epoch by the rule, and the best epoch until then."""
    last = next(
        (epoch for epoch in range(1, len(losses) + 1) if rises(losses[:epoch])),
        len(losses),
    )
    return last, int(np.argmin(losses[:last])) + 1


def measure(cells: Cells, name: str, split: int) -> dict[str, Any]:
    """Return a cell: the training by patience alone, and what the rule changes, which
    is the comparison's cell.
    """
    cell = fit_by_patience(name, split)
    if ended(cell["losses"])[1] == int(np.argmin(cell["losses"])) + 1:
        return cell
    key = ("default", name, split)
    run(
        cells,
        [(contenders()["default"], name, split)],
        refresh=[] if "losses" in cells.found.get(key, {}) else key,
    )
    return {**cell, "value_now": cells.found[key]["metrics"]["test"][METRICS[name]]}


def rows_of(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line of the table for each set."""
    lines = []
    for name in [
        name for name in METRICS if any(cell["set"] == name for cell in cells)
    ]:
        own = sorted(
            (cell for cell in cells if cell["set"] == name),
            key=lambda cell: cell["split"],
        )
        before = np.array([cell["value"] for cell in own])
        now = np.array([cell.get("value_now", cell["value"]) for cell in own])
        sign = 1 if metrics.get(METRICS[name]).direction == "higher" else -1
        difference, p = sign * (now - before), None
        if len(own) > 1 and difference.any():
            rows = own[0]["rows"]
            p = float(
                corrected_paired_test(
                    difference, train_rows=rows["train"], test_rows=rows["test"]
                ).p_value
            )
        epochs = [(len(cell["losses"]), ended(cell["losses"])[0]) for cell in own]
        shares = [last / first for first, last in epochs]
        lines.append({
            "table": name, "metric": METRICS[name], "splits": ", ".join(str(cell["split"]) for cell in own),
            "epochs before": float(np.mean([first for first, _ in epochs])),
            "epochs now": float(np.mean([last for _, last in epochs])),
            "processor seconds before": float(np.mean([cell["seconds"] for cell in own])),
            "processor seconds now": float(np.mean(np.multiply(shares, [cell["seconds"] for cell in own]))),
            "same weights": f"{sum('value_now' not in cell for cell in own)} of "
                            f"{len(own)}",
            "before": float(before.mean()), "now": float(now.mean()),
            "better by": float(difference.mean()), "p": "identical" if not difference.any() else p,
        })  # fmt: skip
    return lines


def main() -> int:
    """Train what is missing, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="folder of finished cells"
    )
    parser.add_argument("--sets", nargs="*", default=list(METRICS), choices=METRICS)
    parser.add_argument("--splits", nargs="*", type=int, default=list(SPLITS))
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    found = Cells.read(arguments.cache)
    file = arguments.cache / "training_end.jsonl"
    cells = (
        [json.loads(line) for line in file.read_text().splitlines()]
        if file.exists()
        else []
    )
    for split in arguments.splits:
        for name in arguments.sets:
            if any((cell["set"], cell["split"]) == (name, split) for cell in cells):
                continue
            cells.append(measure(found, name, split))
            with file.open("a") as lines:
                lines.write(json.dumps(cells[-1]) + "\n")
    table = rows_of(cells)
    behind = [
        line["table"]
        for line in table
        if isinstance(line["p"], float) and line["p"] < 0.05 and line["better by"] < 0
    ]
    same = sum("value_now" not in cell for cell in cells)
    text = (
        f"Measured: {len(cells)} of {len(METRICS) * len(SPLITS)} trainings. In {same} "
        "of them the rule ends after the best epoch, so that weights are the same to "
        "the last bit, and ranks among other models stay as in comparison.md for "
        "these. Processor seconds now are those of the whole training by its share of "
        f"epochs. Significantly worse: {', '.join(behind) or 'no table'}. All of these "
        f"tables have fewer than {ROWS_SEEN // 60:,} training rows, so that the number "
        f"of epochs is not reduced.\n\n{markdown_table(table)}"
    )
    arguments.quick = False
    return record(
        arguments, "The end of a training: when the loss rises, or by patience alone", text, table,
        passed=None if len(cells) < len(METRICS) * len(SPLITS) else not behind, seeds=SEED, name="training_end",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
