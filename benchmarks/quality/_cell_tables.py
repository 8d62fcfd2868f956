"""Tables of finished cells: means, ranks, paired tests, times and gaps; shared by the
comparisons.
"""

from __future__ import annotations

import datetime as dt
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import studentized_range, wilcoxon

from benchmarks._results import RESULTS, command, commit, shortened
from benchmarks.quality._cells import METRICS, Cells
from permgrad.base.significance import holm
from permgrad.evaluation.comparison import corrected_paired_test
from permgrad.evaluation.metrics import metrics

Labels = Mapping[str, str]
LEVEL = 0.05
BEFORE = "_before"
"""Behind the name of a model: its cells of an earlier day."""


def higher(name: str) -> bool:
    """Say whether more is better in the metric of a set."""
    return metrics.get(METRICS[name]).direction == "higher"


def scores(
    cells: Cells, model: str, name: str, splits: Sequence[int], part: str = "test"
) -> list[float]:
    """Return what is there of a model's values on a set, in the order of the splits."""
    found = [cells.value(model, name, split, part) for split in splits]
    return [value for value in found if value is not None]


def shown_sets(sets: Sequence[str]) -> dict[str, str]:
    """Return the head of each set's column."""
    return {
        name: f"{name} ({'AUC' if METRICS[name] == 'roc_auc' else METRICS[name]})"
        for name in sets
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "(nothing finished yet)"
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += [
        "| " + " | ".join(str(row.get(head, "")) for head in heads) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def value_table(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """Mean ± standard deviation over splits on the test rows; the best mean of a set in
    bold.
    """
    heads, best = shown_sets(sets), {}
    for name in sets:
        means = [
            np.mean(own)
            for model in labels
            if len(own := scores(cells, model, name, splits)) == len(splits)
        ]
        if means:
            best[name] = max(means) if higher(name) else min(means)
    rows = []
    for model, label in labels.items():
        row: dict[str, Any] = {"model": label}
        for name in sets:
            own = scores(cells, model, name, splits)
            if not own:
                row[heads[name]] = "–"
                continue
            spread = f" ± {np.std(own, ddof=1):.4f}" if len(own) > 1 else ""
            text = f"{np.mean(own):.4f}{spread}"
            if len(own) < len(splits):
                text += f" ({len(own)} of {len(splits)})"
            elif name in best and np.mean(own) == best[name]:
                text = f"**{text}**"
            row[heads[name]] = text
        rows.append(row)
    return rows


def ranks(
    cells: Cells, models: Sequence[str], sets: Sequence[str], splits: Sequence[int]
) -> tuple[dict[str, float], int]:
    """Return mean ranks over the cells that all models have, and the number of these
    cells.
    """
    table: dict[str, list[float]] = {model: [] for model in models}
    for name in sets:
        for split in splits:
            own = [cells.value(model, name, split) for model in models]
            if all(value is not None for value in own):
                for model, value in zip(models, own, strict=True):
                    table[model].append(value if higher(name) else -value)  # type: ignore[operator]
    count = len(next(iter(table.values()), []))
    return pd.DataFrame(table).rank(
        axis=1, ascending=False
    ).mean().to_dict() if count else {}, count


def rank_table(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """Mean ranks among models that have every cell; where others lack some, also over
    the cells that all have.
    """
    wanted = len(sets) * len(splits)
    there = {
        model: sum(len(scores(cells, model, name, splits)) for name in sets)
        for model in labels
    }
    complete = [model for model in labels if there[model] == wanted]
    begun = [model for model in labels if there[model]]
    full, _ = ranks(cells, complete, sets, splits)
    common, count = (
        ranks(cells, begun, sets, splits) if len(begun) > len(complete) else ({}, 0)
    )
    rows = []
    for model in sorted(
        begun, key=lambda model: (full.get(model, 99), common.get(model, 99))
    ):
        row = {"model": labels[model], "cells": f"{there[model]} of {wanted}"}
        row["mean rank"] = f"{full[model]:.2f}" if model in full else "–"
        if count:
            row[f"mean rank over the {count} cells that all have"] = (
                f"{common[model]:.2f}"
            )
        rows.append(row)
    return rows


def paired(
    cells: Cells,
    first: str,
    second: str,
    name: str,
    splits: Sequence[int],
    part: str = "test",
) -> dict[str, Any] | None:
    """Test ``first`` against ``second`` on the splits that both have; a positive
    difference is better for ``first``.
    """
    found = {
        s: (cells.value(first, name, s, part), cells.value(second, name, s, part))
        for s in splits
    }
    shared = {
        s: (a, b) for s, (a, b) in found.items() if a is not None and b is not None
    }
    if len(shared) < 2:
        return None
    sign = 1 if higher(name) else -1
    rows = cells.found[first, name, next(iter(shared))]["rows"]
    differences = [sign * (a - b) for a, b in shared.values()]
    return asdict(
        corrected_paired_test(
            differences, train_rows=rows["train"], test_rows=rows[part]
        )
    )


def against_best(
    cells: Cells, ours: str, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For each set our model against the other with the best mean; Holm's steps over
    the sets.
    """
    found = []
    for name in sets:
        others = {
            model: float(np.mean(own)) * (1 if higher(name) else -1)
            for model in labels
            if model != ours
            and len(own := scores(cells, model, name, splits)) == len(splits)
        }
        if not others or len(scores(cells, ours, name, splits)) < len(splits):
            continue
        best = max(others, key=others.__getitem__)
        test = paired(cells, ours, best, name, splits)
        if test:
            found.append({"set": name, "best other": best, **test})
    tested = _over_sets(found)
    rows = [
        {"set": entry["set"], "best other": labels[entry["best other"]], **row}
        for entry, row in zip(found, tested, strict=True)
    ]
    return rows, found


def against_before(
    cells: Cells, ours: str, sets: Sequence[str], splits: Sequence[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For each set our model against its own cells of an earlier day; Holm's steps over
    the sets.
    """
    before = ours + BEFORE
    found = [
        {"set": name, **test}
        for name in sets
        if (test := paired(cells, ours, before, name, splits))
    ]
    rows = []
    for entry, row in zip(found, _over_sets(found), strict=True):
        name = entry["set"]
        then, now = (
            [cells.found[model, name, split] for split in splits]
            for model in (before, ours)
        )
        seconds = [
            f"{np.mean([cell['processor_seconds'] for cell in own]):.1f}"
            for own in (then, now)
        ]
        means = [
            f"{np.mean(scores(cells, model, name, splits)):.4f}"
            for model in (before, ours)
        ]
        rows.append(
            {
                "set": name,
                "then": means[0],
                "now": means[1],
                **row,
                "processor seconds then": seconds[0],
                "processor seconds now": seconds[1],
            }
        )
    return rows, found


def _over_sets(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adjust the p-values of one test for each set by Holm's steps, and return what is
    shown of the tests.
    """
    for entry, adjusted in zip(
        found, holm([entry["p_value"] for entry in found]), strict=True
    ):
        entry["p_holm"] = float(adjusted)
    return [
        {
            "difference (+: ours is better)": f"{entry['difference']:+.4f}",
            "95 % interval": f"{entry['low']:+.4f} … {entry['high']:+.4f}",
            "p": f"{entry['p_value']:.3f}",
            "p, Holm over the sets": f"{entry['p_holm']:.3f}",
            "verdict": _verdict(entry),
        }
        for entry in found
    ]


def against_all(
    cells: Cells, ours: str, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each set, our model against every other; Holm's steps within a set."""
    found: list[dict[str, Any]] = []
    heads = shown_sets(sets)
    rows: dict[str, dict[str, Any]] = {
        model: {"model": label} for model, label in labels.items() if model != ours
    }
    for name in sets:
        tested = [
            {"set": name, "other": model, **test}
            for model in rows
            if (test := paired(cells, ours, model, name, splits))
        ]
        for entry, adjusted in zip(
            tested, holm([entry["p_value"] for entry in tested]), strict=True
        ):
            entry["p_holm"] = float(adjusted)
            star = "*" if adjusted < LEVEL else ""
            rows[entry["other"]][heads[name]] = f"{entry['difference']:+.4f}{star}"
        found += tested
    return [row for row in rows.values() if len(row) > 1], found


def _verdict(entry: Mapping[str, Any]) -> str:
    if entry["p_value"] >= LEVEL:
        return "level"
    return "ours is ahead" if entry["difference"] > 0 else "ours is BEHIND"


def over_tables(
    cells: Cells, ours: str, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Test a model against every other over tables: Wilcoxon's signed ranks of the mean
    losses' ratios, Holm's steps.

    For tables whose metric is a loss. A table counts once, whatever its unit.
    """
    found: list[dict[str, Any]] = []
    for other in labels:
        both = [
            [scores(cells, model, name, splits) for model in (ours, other)]
            for name in sets
        ]
        if other == ours or not all(
            len(own) == len(splits) for pair in both for own in pair
        ):
            continue
        change = np.array(
            [np.mean(first) / np.mean(second) - 1 for first, second in both]
        )
        entry = {"other": other, "tables": len(sets), "better": int((change < 0).sum())}
        found.append(
            {
                **entry,
                "median": float(np.median(change)),
                "p_value": float(wilcoxon(change).pvalue),
            }
        )
    for entry, adjusted in zip(
        found, holm([entry["p_value"] for entry in found]), strict=True
    ):
        entry["p_holm"] = float(adjusted)
    rows = [
        {
            "other model": labels[entry["other"]],
            "tables with a smaller loss": f"{entry['better']} of {entry['tables']}",
            "median change of the loss": f"{entry['median']:+.2%}",
            "p (Wilcoxon)": f"{entry['p_value']:.3f}",
            "p, Holm": f"{entry['p_holm']:.3f}",
        }
        for entry in found
    ]
    return rows, found


def mean_loss_ranks(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> tuple[dict[str, float], float]:
    """Return mean ranks over tables of the mean losses, the best first, and from which
    difference two are apart.

    Nemenyi's test, see Demšar 2006, "Statistical comparisons of classifiers over
    multiple data sets", section 3.2.2.
    """
    losses = pd.DataFrame(
        {m: [np.mean(scores(cells, m, name, splits)) for name in sets] for m in labels}
    )
    models = len(labels)
    apart = studentized_range.ppf(1 - LEVEL, models, np.inf) / np.sqrt(2)
    found = losses.rank(axis=1).mean().sort_values().to_dict()
    return found, float(apart * np.sqrt(models * (models + 1) / (6 * len(sets))))


def draw_ranks(
    path: Path, cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> None:
    """Draw mean ranks, and a bar over each longest group of models whose ranks do not
    differ significantly.
    """
    found, least = mean_loss_ranks(cells, labels, sets, splits)
    values = np.array(list(found.values()))
    figure = Figure(figsize=(7, 0.32 * len(values) + 1))
    axes = figure.subplots()
    axes.scatter(values, range(len(values)), color="#1f4e79", zorder=3)
    axes.set_yticks(
        range(len(values)),
        [f"{labels[model]}  {rank:.2f}" for model, rank in found.items()],
    )
    last = -1
    for first, value in enumerate(values):
        end = int(np.flatnonzero(values <= value + least)[-1])
        if end > max(last, first):
            axes.plot(
                [value, values[end]], [first - 0.4] * 2, color="#999", linewidth=3
            )
        last = max(last, end)
    axes.set(xlabel="mean rank (1 is best)", xlim=(1, len(values)))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def time_table(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """Processor seconds of a fit, mean over the splits that were trained on a
    processor.
    """
    rows = []
    for model, label in labels.items():
        row: dict[str, Any] = {"model": label}
        for name in sets:
            there = [
                cells.found[key]
                for s in splits
                if (key := (model, name, s)) in cells.found
            ]
            own = [
                cell["processor_seconds"]
                for cell in there
                if "GPU" not in cell["versions"]
            ]
            row[name] = f"{np.mean(own):.1f}" if own else ("on a GPU" if there else "–")
        rows.append(row)
    return rows


def gap_table(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """How much better a model is on its training rows than on the test rows, mean over
    splits.
    """
    heads, rows = shown_sets(sets), []
    for model, label in labels.items():
        row: dict[str, Any] = {"model": label}
        for name in sets:
            own = gaps(cells, model, name, splits)
            row[heads[name]] = f"{np.mean(own):.4f}" if own else "–"
        rows.append(row)
    return rows


def gaps(cells: Cells, model: str, name: str, splits: Sequence[int]) -> list[float]:
    """Return train minus test (errors: test minus train) of each finished split."""
    sign = 1 if higher(name) else -1
    pairs = [
        (cells.value(model, name, s, "train"), cells.value(model, name, s))
        for s in splits
    ]
    return [
        sign * (train - test)
        for train, test in pairs
        if train is not None and test is not None
    ]


def dated_versions(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> dict[str, str]:
    """Return which versions the cells were computed with, and when."""
    used = [
        cells.found[key]
        for m in labels
        for n in sets
        for s in splits
        if (key := (m, n, s)) in cells.found
    ]
    if not used:
        return {}
    packages: dict[str, set[str]] = {}
    for cell in used:
        for package, version in cell["versions"].items():
            packages.setdefault(package, set()).add(version)
    days: dict[str, list[str]] = {}
    for model, label in labels.items():
        for day in sorted(
            {cell["date"][:10] for cell in used if cell["model"] == model}
        ):
            days.setdefault(day, []).append(label)
    return {
        "cells computed": ". ".join(
            f"{day}: {', '.join(own)}" for day, own in sorted(days.items())
        ),
        "versions": ", ".join(
            f"{package} {' and '.join(sorted(own))}"
            for package, own in packages.items()
        ),
    }


def write(
    name: str,
    title: str,
    head: Mapping[str, Any],
    text: str,
    data: Any,
    *,
    keep: bool = True,
) -> None:
    """Print a page and keep it beside the other results."""
    full = {
        "command": command(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "commit": commit(),
        "machine": f"{platform.machine()}, one thread",
        **shortened(head),
    }
    page = (
        f"# {title}\n\n"
        + "\n".join(f"- {key}: {value}" for key, value in full.items())
        + f"\n\n{text}\n"
    )
    print(page)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
        # A cell has a line of its own.
        lines = ",\n   ".join(json.dumps(cell) for cell in data["cells"])
        kept = json.dumps({**full, "results": {**data, "cells": "HERE"}}, indent=1)
        (RESULTS / f"{name}.json").write_text(
            kept.replace('"HERE"', f"[\n   {lines}\n  ]") + "\n", encoding="utf-8"
        )


def flat(
    cells: Cells, labels: Labels, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """Return every finished cell's numbers, for the JSON file."""
    keys = [
        (m, n, s)
        for m in labels
        for n in sets
        for s in splits
        if (m, n, s) in cells.found
    ]
    kept = (
        "model",
        "set",
        "split",
        "metrics",
        "processor_seconds",
        "rows",
        "fingerprint",
        "matmul",
        "versions",
        "date",
        "branches",
    )
    return [
        {key: cell[key] for key in kept if key in cell}
        for cell in map(cells.found.__getitem__, keys)
    ]
