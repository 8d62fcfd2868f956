"""The record of the suite ``rows``, made of its cells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._results import RESULTS
from benchmarks.quality import _cell_tables as tables
from benchmarks.quality._cells import METRICS, Cells
from benchmarks.quality._row_models import CONTESTANTS
from benchmarks.quality._row_sets import SETS, RowSet
from permgrad.evaluation.metrics import metrics

# Where tables look up what decides on a set.
METRICS.update({one.name: one.metric for one in SETS.values()})
OURS = "permgrad"
PARTS = {"text": "the texts", "photo": "the images", "table": "the table"}
PEERS = ("onehot", "lightgbm", "catboost")
SHOWN = {
    "accuracy": "accuracy", "log_loss": "log loss", "roc_auc": "AUC", "rmse": "RMSE", "r2": "R²", "mae": "mean error"
}  # fmt: skip
MORE = {
    "accuracy": ("log_loss",),
    "roc_auc": ("log_loss",),
    "rmse": ("r2",),
    "r2": ("rmse",),
}
#: What may be lost against tf-idf in AUC, and against the best peer as a share of its
#: error.
MOST_BEHIND, MOST_ABOVE = 0.003, 1.02
COUNTS = {"folds of groups": 5, "three times five folds": 15, "twelve": 12}


def splits(one: RowSet) -> range:
    return range(COUNTS.get(one.division, 3))


def values(
    cells: Cells, model: str, one: RowSet, metric: str | None = None
) -> list[float]:
    """Return a contestant's test values on the splits of a set that are there."""
    own = (cells.found.get((model, one.name, split)) for split in splits(one))
    return [
        cell["metrics"]["test"][metric or one.metric]
        for cell in own
        if cell is not None
    ]


def mean(
    cells: Cells, model: str, one: RowSet, metric: str | None = None
) -> float | None:
    """Return the mean over all splits of a set, None where one is missing."""
    found = values(cells, model, one, metric)
    return float(np.mean(found)) if len(found) == len(splits(one)) else None


def _is_higher(metric: str) -> bool:
    return metrics.get(metric).direction == "higher"


# ---- the checks ----------------------------------------------------------------------
def checks(cells: Cells) -> list[dict[str, Any]]:
    """Return what must hold, what was seen, and whether it does (None: not
    measured).
    """
    made: list[dict[str, Any]] = []

    def add(name: str, floor: str, seen: str | None, met: bool | None) -> None:
        made.append(
            {
                "check": name,
                "floor": floor,
                "seen": "not measured" if seen is None else seen,
                "met": met,
            }
        )

    for one in SETS.values():
        for metric, floor in one.floors:
            seen, sign = (
                mean(cells, OURS, one, metric),
                "at least" if _is_higher(metric) else "at most",
            )
            met = (
                None
                if seen is None
                else (seen >= floor) == _is_higher(metric) or seen == floor
            )
            add(
                f"{one.name}, {SHOWN[metric]}",
                f"{sign} {floor:g}",
                None if seen is None else f"{seen:.4f}",
                met,
            )
    for one in (one for one in SETS.values() if one.texts and one.metric == "roc_auc"):
        ours, words = mean(cells, OURS, one), mean(cells, "tfidf", one)
        both = ours is not None and words is not None
        seen = f"{ours:.4f} against {words:.4f}" if both else None
        floor = f"AUC at most {MOST_BEHIND} behind tf-idf"
        add(one.name, floor, seen, ours >= words - MOST_BEHIND if both else None)  # type: ignore[operator]
    for one in (one for one in SETS.values() if one.metric == "rmse"):
        ours = mean(cells, OURS, one)
        others = {
            model: found
            for model in PEERS
            if (found := mean(cells, model, one)) is not None
        }
        floor = (
            f"RMSE at most {MOST_ABOVE - 1:.0%} above the best of "
            f"{', '.join(CONTESTANTS[m].label for m in PEERS)}"
        )
        if ours is None or not others:
            add(one.name, floor, None, None)
            continue
        best = min(others, key=others.__getitem__)
        lacking = [CONTESTANTS[model].label for model in PEERS if model not in others]
        text = (
            f"{ours:.4f} against {others[best]:.4f} ({CONTESTANTS[best].label}), "
            f"{ours / others[best] - 1:+.1%}"
        )
        add(one.name, floor, text + (f"; {', '.join(lacking)} not measured" if lacking else ""),
            ours <= MOST_ABOVE * others[best])  # fmt: skip
    for one in (one for one in SETS.values() if CONTESTANTS["without"].on(one)):
        ours, less = mean(cells, OURS, one), mean(cells, "without", one)
        floor = "RMSE at most 1% above the one without the column"
        known = ours is not None and less is not None
        text = f"{ours:.4f} with, {less:.4f} without" if known else None
        add(one.name, floor, text, ours <= 1.01 * less if known else None)  # type: ignore[operator]
    ahead = by_fold(cells, SETS["cards"])
    met = all(row["p"] < tables.LEVEL and row["gain"] > 0 for row in ahead)
    complete = len(ahead) == len(PARTS) * len(splits(SETS["cards"]))
    behind = sum(not (row["p"] < tables.LEVEL and row["gain"] > 0) for row in ahead)
    text = (
        f"ahead in {len(ahead) - behind} of {len(ahead)} pairs of fold and part, "
        "smallest gain " + (f"{min(row['gain'] for row in ahead):.3f}" if ahead else "")
    )
    add("cards, all together against each part", "log loss lower in each fold, p < .05", text if complete else None,
        met if complete else None)  # fmt: skip
    return made


def by_fold(cells: Cells, one: RowSet) -> list[dict[str, Any]]:
    """Return for each split and part how much lower the loss of all kinds together is,
    by rows or groups of them.

    Cells of a record have no losses of rows: what the record says of them is taken
    over.
    """
    made, known = [], {}
    if (RESULTS / "rows.json").exists():
        told = json.loads((RESULTS / "rows.json").read_bytes())["results"][
            "cards, fold by fold"
        ]
        known = {(row["split"], row["part"]): row for row in told}
    for split in splits(one):
        for part, shown in PARTS.items():
            ours, other = (
                cells.found.get((model, one.name, split)) for model in (OURS, part)
            )
            if ours is None or other is None:
                continue
            if "losses" not in ours or "losses" not in other:
                made += [known[split, shown]] if (split, shown) in known else []
                continue
            gains = np.array(other["losses"]) - np.array(ours["losses"])
            groups = ours["groups"] or range(len(gains))
            # Rows of one group are one observation of the mean.
            sums = np.bincount(groups, weights=gains - gains.mean())
            error = math.sqrt(float((sums**2).sum())) / len(gains)
            p = math.erfc(abs(gains.mean()) / error / math.sqrt(2)) if error else 1.0
            made.append(
                {
                    "split": split,
                    "part": shown,
                    "gain": float(gains.mean()),
                    "error": error,
                    "p": p,
                }
            )
    return made


# ---- the page ------------------------------------------------------------------------
def _table(cells: Cells, one: RowSet) -> list[dict[str, str]]:
    """Return the contestants of a set, the best first."""
    rows = []
    for model, contestant in CONTESTANTS.items():
        own = values(cells, model, one)
        if not own:
            continue
        row = {"model": contestant.label}
        for metric in (one.metric, *MORE[one.metric]):
            found = values(cells, model, one, metric)
            spread = f" ± {np.std(found, ddof=1):.4f}" if len(found) > 1 else ""
            row[SHOWN[metric]] = f"{np.mean(found):.4f}{spread}"
        if len(own) < len(splits(one)):
            row["model"] += f" ({len(own)} of {len(splits(one))})"
        test = (
            None
            if model == OURS
            else tables.paired(cells, OURS, model, one.name, splits(one))
        )
        row["permgrad is better by"] = f"{test['difference']:+.4f}" if test else ""
        row["p"] = f"{test['p_value']:.3f}" if test else ""
        seconds = [
            cell["processor_seconds"]
            for split in splits(one)
            if (cell := cells.found.get((model, one.name, split)))
        ]
        row["processor seconds"] = f"{np.mean(seconds):.0f}"
        rows.append((float(np.mean(own)) * (-1 if _is_higher(one.metric) else 1), row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _about(one: RowSet) -> str:
    count = {
        "folds of groups": f"five folds, rows of one {one.group} in one fold",
        "latest fifth": "the latest fifth is tested, three seeds",
        "three times five folds": "three times five folds",
        "twelve": "twelve splits 80/20",
        "three of groups": f"three splits 80/20, rows of one {one.group} in one part",
    }
    parts = [
        f"{one.about} ({one.source}).",
        count.get(one.division, "three splits 80/20").capitalize() + ".",
    ]
    parts += [f"Texts: {', '.join(one.texts)}."] if one.texts else []
    parts += [f"Images: {', '.join(one.images)}."] if one.images else []
    parts += [f"Many levels: {', '.join(one.levels)}."] if one.levels else []
    parts += [f"Left out: {one.left_out}."] if one.left_out else []
    return " ".join(parts)


def page(cells: Cells, found: list[dict[str, Any]]) -> str:
    """Return the record's text."""
    shown = [
        {**row, "met": "not measured" if row["met"] is None else "yes" if row["met"] else "NO"} for row in found
    ]  # fmt: skip
    how = (
        "Targets, columns and what is left out were settled by looking at the columns. "
        "Of cards, birds, wages, ratings, rides and flights, test rows were seen while "
        "permgrad was developed, and that postcodes are categories was found on "
        "training rows of houses. The other sets had not been used before their first "
        "record; then films, inspections and baseball were improved by their training "
        "rows. permgrad is the default, once per split. Penalties and numbers of trees "
        "of the others are chosen on a fifth of the training rows, then they are "
        "fitted on all of them. Images are vectors of EfficientNet-Lite0 for all "
        "models, computed once (half precision). p: corrected resampled t-test over "
        "the splits (Nadeau & Bengio 2003). AutoGluon's multimodal recipe was not run."
    )
    parts = [how, "## What must hold\n\n" + tables.markdown(shown)]
    parts += [
        f"## {one.name.capitalize()}\n\n{_about(one)}\n\n" + tables.markdown(rows)
        for one in SETS.values()
        if (rows := _table(cells, one))
    ]
    if ahead := by_fold(cells, SETS["cards"]):
        rows = [
            {"fold": row["split"] + 1, "against": row["part"], "log loss lower by": f"{row['gain']:.3f}",
             "standard error": f"{row['error']:.3f}", "p": f"{row['p']:.2g}"} for row in ahead
        ]  # fmt: skip
        text = (
            "All kinds together against permgrad on one kind, test rows of each "
            "fold; cards of one name count once."
        )
        parts.append(f"## Cards, fold by fold\n\n{text}\n\n" + tables.markdown(rows))
    return "\n\n".join(parts)


def in_brief(cells: Cells) -> list[dict[str, str]]:
    """Return one line for each set."""
    rows = []
    for one in SETS.values():
        ours = mean(cells, OURS, one)
        if ours is None:
            continue
        skipped = (OURS, *PARTS, "without")
        others = {
            model: value
            for model in CONTESTANTS
            if model not in skipped and (value := mean(cells, model, one)) is not None
        }
        best: Callable[..., str] = max if _is_higher(one.metric) else min
        other = best(others, key=others.__getitem__) if others else None
        alone = {
            f"{shown} {value:.3f}": value
            for part, shown in PARTS.items()
            if (value := mean(cells, part, one)) is not None and SETS[one.name].columns
        }
        rows.append({
            "rows": one.about, "measure": SHOWN[one.metric], "permgrad": f"{ours:.3f}",
            "best other": f"{others[other]:.3f}, {CONTESTANTS[other].label}" if other else "",
            "permgrad on one kind alone": ", ".join(alone),
        })  # fmt: skip
    return rows


def write(cells: Cells, *, keep: bool) -> int:
    """Print the record, write it, and return the exit code."""
    found = checks(cells)
    labels = {model: contestant.label for model, contestant in CONTESTANTS.items()}
    kept = [key for key in cells.found if key[1] in SETS and key[0] in CONTESTANTS]
    dated = tables.dated_versions(cells, labels, list(SETS), range(15))
    head = {
        "floors": "met" if all(row["met"] for row in found) else "NOT met or not "
                                                                 "measured, see below",
        "cells": f"{len(kept)}", "seed": 0, **dated,
    }  # fmt: skip
    data = {
        "checks": found,
        "in brief": in_brief(cells),
        "cards, fold by fold": by_fold(cells, SETS["cards"]),
        "cells": [{**cell, "said": cells.found[cell["model"], cell["set"], cell["split"]]["said"]}
                  for cell in tables.flat(cells, labels, list(SETS), range(15))],
    }  # fmt: skip
    tables.write("rows", "Rows of any kind: numbers, categories, dates, texts, images", head, page(cells, found), data,
                 keep=keep)  # fmt: skip
    return 0 if all(row["met"] for row in found) else 1
