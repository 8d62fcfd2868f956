"""Options of ``permgrad run`` by the thousand: three at random, with every model and
task.

    python -m verification.verify_options                # 1,000 combinations
    python -m verification.verify_options --cases 60     # a look
    python -m verification.verify_options --log a.jsonl  # what is in the log is not
    repeated

Cases come from ``tests/shared/option_cases.py``. Each command works, or is refused in
words before training begins. What a run trained is then predicted with, explained and
reported. Anything else is a fault. Pages are written with the words of their pictures
alone, and forests are small, as in the tests: ``--drawn`` does both in full.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from benchmarks._results import markdown_table, parser, record

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))

import option_cases
from undrawn import words_alone

from permgrad.evaluation import kept_together
from permgrad.evaluation.baselines import models
from permgrad.models.libraries import linear

_common: Any = vars(models)["common"]


def small_models() -> None:
    """Let forests have fewer trees, and linear models fewer folds."""

    def few_trees(job: Any, **choices: Any) -> dict[str, Any]:
        is_forest = set(choices) <= {"n_estimators", "max_features"}
        return _common(
            job, **(choices | {"n_estimators": 15} if is_forest else choices)
        )

    vars(models)["common"] = few_trees
    linear._FOLDS = 2
    kept_together._TREES = 5


def try_cases(numbers: list[int], log: Path | None) -> dict[int, dict[str, Any]]:
    """Return how each case ended, also those of the log: by command, or the fault."""
    done = dict[int, dict[str, Any]]()
    if log is not None and log.is_file():
        lines = log.read_text(encoding="utf-8").splitlines()
        done = {entry["number"]: entry for entry in map(json.loads, lines)}
    for number in numbers:
        if number in done:
            continue
        case = option_cases.OptionCase.draw(number)
        entry: dict[str, Any] = {"number": number, "model": case.model}
        with tempfile.TemporaryDirectory() as folder:
            try:
                entry["ends"] = option_cases.try_case(case, Path(folder, "case"))
            except AssertionError as error:
                entry |= {"ends": {}, "fault": str(error)[:3000]}
                print("FAULT", entry["fault"], flush=True)
        done[number] = entry
        if log is not None:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
    return done


def main() -> int:
    """Try the cases, and record how they ended."""
    options = parser(__doc__)
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--log", type=Path, default=None)
    options.add_argument("--drawn", action="store_true", help="draw pages in full")
    asked = options.parse_args()
    if asked.quick:
        asked.cases = 20
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    started = time.process_time()
    with contextlib.ExitStack() as stack:
        if not asked.drawn:
            small_models()
            stack.enter_context(words_alone())
        entries = try_cases(list(range(asked.cases)), asked.log)

    counts, refusals = Counter[tuple[str, str]](), Counter[str]()
    for entry in entries.values():
        for command, end in entry["ends"].items():
            counts[command, "works" if end == "works" else "refused"] += 1
            code = re.search(r"\[(PG\d+)\]", end)
            if code is not None:
                refusals[code[1]] += 1
    faults = [entry for entry in entries.values() if "fault" in entry]
    rows = [
        {"command": command, "ended with": end, "cases": count}
        for (command, end), count in sorted(counts.items(), key=lambda item: item[0])
    ]
    codes = ", ".join(f"{code} {count}" for code, count in refusals.most_common())
    text = (
        f"{len(entries):,} combinations of {len(option_cases.MODELS)} models, "
        f"{len(option_cases.TASKS)} tasks and three of {len(option_cases.OPTIONS)} "
        f"options; {len(faults)} faults. Refusals by their code: "
        f"{codes}.\n\n{markdown_table(rows)}"
    )
    data = {"ends": rows, "refusals": dict(refusals), "faults": faults}
    trained = counts["run", "works"]
    passed = not faults and trained >= len(entries) / 5
    print(f"{time.process_time() - started:,.0f} processor seconds")
    title = "Options of runs in combination"
    return record(asked, title, text, data, passed=passed, seeds=[83])


if __name__ == "__main__":
    raise SystemExit(main())
