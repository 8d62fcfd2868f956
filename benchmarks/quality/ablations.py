"""What each choice in the default model is worth: the default with one choice taken
back, on the same cells.

    python -m benchmarks.quality.ablations --cache DIR  # what is missing is trained,
    then the tables python -m benchmarks.quality.ablations --cache DIR --forms
    one_member --sets heloc --splits 42 43 python -m benchmarks.quality.ablations
    --cache DIR --part validation  # what choices are made on python -m
    benchmarks.quality.ablations --cache DIR --forms  # train nothing, only the tables
    python -m benchmarks.quality.ablations --cache DIR --sets bank --into-record  # the
    other sets stay as recorded

Six sets, five splits (60 % train, 20 % say when to stop, 20 % test), the same seed
everywhere. Each form is set against the default by the corrected resampled t-test over
splits, set by set; its cost is the processor time of its training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._results import RESULTS
from benchmarks.quality import _cell_tables as tables
from benchmarks.quality._cells import SETS, SPLITS, Cells, Contender, out_of_date, run
from permgrad.models.estimators.presets import preset_from_dict

DEFAULT = "default"
COST = "time of training"
NOTE = (
    "Differences to the default on the {part} rows: positive is better than the "
    "default, * is p < 0.05 (corrected resampled t-test of Nadeau & Bengio 2003 over "
    "the splits, not corrected for the number of rows of this table), in brackets the "
    "number of splits."
)


def _form(name: str, label: str, **changes: Any) -> Contender:
    """Return the default with changes to its preset file."""
    return Contender(name, label, preset=preset_from_dict({"base": DEFAULT, **changes}))


FORMS: dict[str, Contender] = {
    form.name: form
    for form in (
        Contender(DEFAULT, "default", preset="default"),
        _form(
            "one_member",
            "one network in the place of eight members",
            network={"members": 1},
        ),
        _form(
            "plain_numbers",
            "numbers as they are, no periodic embedding",
            network={"numeric_embedding": "none"},
        ),
        _form(
            "plain_labels",
            "labels not smoothed, epochs judged by the plain loss",
            label_smoothing=0.0,
            refinement=False,
        ),
        _form("slow", "a third of the learning rate", learning_rate=1e-3),
        _form("no_averaging", "no moving average of the weights", averaging=0.0),
        _form("hard_labels", "labels not smoothed", label_smoothing=0.0),
        _form("more_members", "sixteen members", network={"members": 16}),
        _form("no_dropout", "no dropout", network={"dropout": 0.0}),
        _form(
            "minmax",
            "numbers scaled to 0…1 in the place of robust scaling",
            numeric="minmax",
        ),
        # The image itself, and its layout, are the question of image_question.py.
    )
}


def against_default(
    cells: Cells, sets: Sequence[str], splits: Sequence[int], part: str
) -> list[dict[str, Any]]:
    """Return each form minus the default, set by set; a positive difference is better
    than the default.
    """
    return [
        {"form": form.label, "set": own, **test}
        for name, form in FORMS.items()
        for own in sets
        if name != DEFAULT
        and (test := tables.paired(cells, name, DEFAULT, own, splits, part))
    ]


def overview(
    found: Sequence[dict[str, Any]],
    cells: Cells,
    sets: Sequence[str],
    splits: Sequence[int],
) -> list[Any]:
    """Return a row for each form: its mean difference on each set, starred where p <
    0.05, and what it costs.
    """
    rows = []
    for name, form in FORMS.items():
        own = [entry for entry in found if entry["form"] == form.label]
        if not own:
            continue
        row: dict[str, Any] = {"form": form.label}
        for entry in own:
            star = " *" if entry["p_value"] < tables.LEVEL else ""
            row[entry["set"]] = f"{entry['difference']:+.4f}{star} ({entry['splits']})"
        row[COST] = _relative_time(cells, name, sets, splits)
        rows.append(row)
    return rows


def _relative_time(
    cells: Cells, name: str, sets: Sequence[str], splits: Sequence[int]
) -> str:
    """Return the processor time of the trainings as a multiple of the default's, where
    both had the same machine.
    """
    keys = [((name, n, s), (DEFAULT, n, s)) for n in sets for s in splits]
    pairs = [
        (cells.found[a], cells.found[b])
        for a, b in keys
        if a in cells.found and b in cells.found
    ]
    # Versions tell machines apart here.
    seconds = [
        (a["processor_seconds"], b["processor_seconds"])
        for a, b in pairs
        if a["versions"] == b["versions"]
    ]
    if not seconds:
        return "–"
    own, reference = (sum(column) for column in zip(*seconds, strict=True))
    return f"× {own / reference:.2f} ({len(seconds)} cells)"


def merged(
    recorded: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], key: str
) -> list[dict[str, Any]]:
    """Return the recorded rows with the new rows' columns in the place of their own;
    rows that are new come last.
    """
    rows = {row[key]: dict(row) for row in recorded}
    for row in new:
        rows.setdefault(row[key], {}).update(row)
    return list(rows.values())


def into_record(
    results: dict[str, Any], sets: Sequence[str]
) -> tuple[dict[str, Any], str]:
    """Return the recorded results with those of some sets renewed, and when the others
    were computed.

    The cost stays as it was recorded too: it compares trainings on one machine.
    """
    record = json.loads((RESULTS / "ablations.json").read_text(encoding="utf-8"))
    old = record["results"]
    others = {
        name: [entry for entry in old[name] if entry["set"] not in sets]
        for name in ("tests", "cells")
    }
    overview_rows = [
        {k: v for k, v in row.items() if k != COST} for row in results["overview"]
    ]
    together = {
        "tests": others["tests"] + results["tests"],
        "cells": others["cells"] + results["cells"],
        "overview": merged(old["overview"], overview_rows, "form"),
        "values": merged(old["values"], results["values"], "model"),
    }
    return together, str(record.get("sets recorded before", record["cells computed"]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache",
        type=Path,
        required=True,
        help="folder of finished cells, that of comparison.py",
    )
    parser.add_argument(
        "--forms",
        nargs="*",
        default=list(FORMS),
        choices=FORMS,
        metavar="FORM",
        help=", ".join(FORMS),
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument("--part", choices=["test", "validation"], default="test")
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
    parser.add_argument(
        "--into-record",
        action="store_true",
        help="renew these sets in benchmarks/results",
    )
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    cells = Cells.read(given.cache)
    forms = list(dict.fromkeys([*given.forms, *given.refresh]))
    wanted = [
        (FORMS[form], name, split)
        for split in given.splits
        for form in forms
        for name in given.sets
    ]
    run(cells, wanted, refresh=given.refresh)
    measured = {name for name, _, _ in cells.found}
    labels = {name: form.label for name, form in FORMS.items() if name in measured}
    found = against_default(cells, given.sets, given.splits, given.part)
    results: dict[str, Any] = {
        "tests": found,
        "overview": overview(found, cells, given.sets, given.splits),
        "values": tables.value_table(cells, labels, given.sets, given.splits),
        "cells": tables.flat(cells, labels, given.sets, given.splits),
    }
    head = {
        "splits": ", ".join(map(str, given.splits)),
        "configurations older than this version": ", ".join(out_of_date(cells, FORMS))
        or "none",
        **tables.dated_versions(cells, labels, given.sets, given.splits),
    }
    if given.into_record:
        results, before = into_record(results, given.sets)
        head |= {"renewed sets": ", ".join(given.sets), "sets recorded before": before}
    text = "\n\n".join([
        NOTE.format(part=given.part),
        tables.markdown(results["overview"]),
        f"## {given.part.capitalize()} rows, mean ± standard deviation over splits\n\n"
        + tables.markdown(results["values"]),
    ])  # fmt: skip
    whole = (set(given.sets) == set(SETS) or given.into_record) and given.part == "test"
    tables.write("ablations", "What each choice in the default model is worth", head, text, results,
                 keep=whole and not given.no_record)  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
