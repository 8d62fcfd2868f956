"""Does the image help?

The default network with the table alone, the image alone, both, and both with a random
layout.

    python -m benchmarks.quality.image_question                            # what is missing is trained, then the tables
    python -m benchmarks.quality.image_question --sets heloc --splits 42 43
    python -m benchmarks.quality.image_question --refresh tabular_only image_only hybrid
    hybrid_random python -m benchmarks.quality.image_question --models
    # train nothing, only the tables

Six sets, five splits (60 % train, 20 % say when to stop, 20 % test), the same seed
everywhere. Published work on tables as images reports hybrids alone, and reads a
smaller train–test gap as implicit regularisation; here each form is set against the
table alone by a corrected paired test, in its score and in its gap.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import _cell_tables as tables
from benchmarks.quality._cells import (
    CACHE,
    SETS,
    SPLITS,
    Cells,
    Contender,
    out_of_date,
    run,
)
from permgrad.base.significance import holm
from permgrad.evaluation.comparison import corrected_paired_test

REFERENCE = "tabular_only"
HYBRID = "hybrid"
FORMS = {
    REFERENCE: Contender(
        REFERENCE, "table alone", preset="default", options={"branches": ("tabular",)}
    ),
    "image_only": Contender(
        "image_only", "image alone", preset="default", options={"branches": ("image",)}
    ),
    HYBRID: Contender(
        HYBRID,
        "table and image",
        preset="default",
        options={"branches": ("tabular", "image")},
    ),
    "hybrid_random": Contender(
        "hybrid_random",
        "table and image, random layout",
        preset="default",
        options={"layout": "random"},
    ),
}


def tests(
    cells: Cells, sets: Sequence[str], splits: Sequence[int], *, of_gaps: bool
) -> list[dict[str, Any]]:
    """Each form against the table alone on each set; Holm's steps over the sets of one
    form.
    """
    found = []
    for form in FORMS:
        if form == REFERENCE:
            continue
        own = []
        for name in sets:
            test = (
                gap_test(cells, form, name, splits)
                if of_gaps
                else tables.paired(cells, form, REFERENCE, name, splits)
            )
            if test:
                own.append({"form": form, "set": name, **test})
        for entry, adjusted in zip(
            own, holm([entry["p_value"] for entry in own]), strict=True
        ):
            entry["p_holm"] = float(adjusted)
        found += own
    return found


def gap_test(
    cells: Cells, form: str, name: str, splits: Sequence[int]
) -> dict[str, Any] | None:
    """Test the train–test gap of a form against that of the table alone; a negative
    difference is a smaller gap.
    """
    shared = [
        s
        for s in splits
        if (form, name, s) in cells.found and (REFERENCE, name, s) in cells.found
    ]
    if len(shared) < 2:
        return None
    differences = np.subtract(
        tables.gaps(cells, form, name, shared),
        tables.gaps(cells, REFERENCE, name, shared),
    )
    rows = cells.found[form, name, shared[0]]["rows"]
    return asdict(
        corrected_paired_test(
            differences, train_rows=rows["train"], test_rows=rows["test"]
        )
    )


def overall(
    cells: Cells, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """Count the cells and sets on which a form is ahead of the table alone, whatever
    the size of the difference.
    """
    rows = []
    for form, own in FORMS.items():
        if form == REFERENCE:
            continue
        pairs = [
            (cells.value(form, n, s), cells.value(REFERENCE, n, s), tables.higher(n))
            for n in sets
            for s in splits
        ]
        there = [
            (a - b) * (1 if up else -1)
            for a, b, up in pairs
            if a is not None and b is not None
        ]
        rows.append({"form": own.label, "cells": len(there), "ahead of the table alone": sum(d > 0 for d in there),
                     "behind": sum(d < 0 for d in there)})  # fmt: skip
    return rows


def test_table(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "form": FORMS[entry["form"]].label,
            "set": entry["set"],
            "difference": f"{entry['difference']:+.4f}",
            "95 % interval": f"{entry['low']:+.4f} … {entry['high']:+.4f}",
            "p": f"{entry['p_value']:.3f}",
            "p, Holm over the sets": f"{entry['p_holm']:.3f}",
        }
        for entry in found
    ]


def answer(
    found: Sequence[Mapping[str, Any]], gaps: Sequence[Mapping[str, Any]]
) -> str:
    """Say in words what the corrected tests say, for each form."""
    lines = []
    for form, own in FORMS.items():
        mine = [entry for entry in found if entry["form"] == form]
        if not mine:
            continue
        ahead = [
            e["set"] for e in mine if e["p_holm"] < tables.LEVEL and e["difference"] > 0
        ]
        behind = [
            e["set"] for e in mine if e["p_holm"] < tables.LEVEL and e["difference"] < 0
        ]
        smaller = [
            e["set"]
            for e in gaps
            if e["form"] == form and e["p_holm"] < tables.LEVEL and e["difference"] < 0
        ]
        larger = [
            e["set"]
            for e in gaps
            if e["form"] == form and e["p_holm"] < tables.LEVEL and e["difference"] > 0
        ]
        lines.append(
            f"- {own.label}: better than the table alone on "
            f"{', '.join(ahead) or 'no set'}, worse on "
            f"{', '.join(behind) or 'no set'}; a smaller train–test gap on "
            f"{', '.join(smaller) or 'no set'}, a larger "
            f"one on {', '.join(larger) or 'no set'} (of {len(mine)} sets, p < 0.05 "
            "after Holm's steps)."
        )
    return "\n".join(lines) or "(nothing finished yet)"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=CACHE,
        help="folder of finished cells, that of comparison.py",
    )
    parser.add_argument(
        "--models",
        nargs="*",
        default=list(FORMS),
        choices=FORMS,
        metavar="FORM",
        help=", ".join(FORMS),
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument(
        "--refresh",
        nargs="*",
        default=[],
        choices=FORMS,
        metavar="FORM",
        help="train these again",
    )
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    cells = Cells.read(given.cache)
    forms = list(dict.fromkeys([*given.models, *given.refresh]))
    wanted = [
        (FORMS[form], name, split)
        for split in given.splits
        for form in forms
        for name in given.sets
    ]
    run(cells, wanted, refresh=given.refresh)
    stale = out_of_date(cells, FORMS)
    labels = {form: own.label for form, own in FORMS.items()}
    where = (labels, given.sets, given.splits)
    found = tests(cells, given.sets, given.splits, of_gaps=False)
    gap_tests = tests(cells, given.sets, given.splits, of_gaps=True)
    text = "\n\n".join([
        answer(found, gap_tests),
        "## Test rows, mean ± standard deviation over splits\n\n" + tables.markdown(tables.value_table(cells, *where)),
        "## Against the table alone (+: better than the table alone)\n\nCorrected "
        "resampled t-test (Nadeau & Bengio "
        "2003) over the splits.\n\n" + tables.markdown(test_table(found)),
        "## Cells on either side\n\n" + tables.markdown(overall(cells, given.sets, given.splits)),
        "## Train–test gap (how much better on training rows; RMSE: how much "
        "smaller)\n\n"
        + tables.markdown(tables.gap_table(cells, *where)),
        "## The gap against that of the table alone (−: a smaller gap)\n\n" + tables.markdown(test_table(gap_tests)),
        "## Processor seconds of a fit\n\n" + tables.markdown(tables.time_table(cells, *where)),
    ])  # fmt: skip
    head = {
        "splits": ", ".join(map(str, given.splits)),
        "configurations older than this version": ", ".join(stale) or "none",
        **tables.dated_versions(cells, *where),
    }
    data = {
        "cells": tables.flat(cells, *where),
        "against the table alone": found,
        "gaps": gap_tests,
    }
    whole = set(given.sets) == set(SETS) and set(given.splits) == set(SPLITS)
    tables.write(
        "image_question",
        "Does the image help?",
        head,
        text,
        data,
        keep=whole and not given.no_record,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
