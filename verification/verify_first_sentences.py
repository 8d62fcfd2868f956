"""Do the first sentences of a run raise no false alarm and miss none?

(Issue 26, check 4.)

Each table goes through the stages of ``permgrad run`` up to the model, with preset
fast. What is known of it is compared with what is said: which columns alone give the
target, whether anything can be learned, which columns determine each other one to one,
and which class is the positive one. The tables come from packages that ship data; their
files are read, nothing of them is imported:

    pip install --no-deps ISLP palmerpenguins statsmodels vega_datasets
    python -m verification.verify_first_sentences            # about 2 minutes of processor time
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _results  # sets threads: before NumPy

# isort: split
import numpy as np
import pandas as pd
from sklearn import datasets

from permgrad.assess.assessment import Assessment
from permgrad.pages.facts.column_facts import leak_facts
from permgrad.pages.findings import say
from permgrad.pages.verdict import first_sentence
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_work import RunWork
from permgrad.runs.run.stages import STAGE_WORK
from permgrad.runs.run_folder import open_run


@dataclass(frozen=True)
class Table:
    """A table and what is known of it.

    Attributes:
        name: What it is called in the record.
        read: Returns it.
        target: Column to predict.
        leaks: Columns that alone give the target.
        learnt: Whether it can be predicted better than by a constant.
        pairs: Columns that determine each other one to one.
        positive: The positive class of two.
        drop: Columns that are left out.
    """

    name: str
    read: Callable[[], pd.DataFrame]
    target: str
    leaks: tuple[str, ...] = ()
    learnt: bool = True
    pairs: tuple[str, ...] = ()
    positive: str | None = None
    drop: tuple[str, ...] = field(default=())


def shipped(package: str, file: str) -> Callable[[], pd.DataFrame]:
    """Return a reader of a CSV file that lies in an installed package."""

    def read() -> pd.DataFrame:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            sys.exit(
                f"The package {package} is not installed. See the head of this script "
                "for the command."
            )
        frame = pd.read_csv(
            Path(spec.submodule_search_locations[0], file), sep=None, engine="python"
        )
        return frame.rename(columns=lambda name: name.strip("'"))

    return read


def bundled(
    name: str, **columns: Callable[[pd.DataFrame], Any]
) -> Callable[[], pd.DataFrame]:
    """Return a reader of one of scikit-learn's tables, with columns planted in it."""
    return lambda: getattr(datasets, f"load_{name}")(as_frame=True).frame.assign(
        **columns
    )


def shuffled(frame: pd.DataFrame) -> Any:
    """Return a target that has nothing to do with the features any more."""
    return np.random.default_rng(0).permutation(frame["target"])


TABLES = (
    Table("iris", bundled("iris"), "target"),
    Table("breast_cancer", bundled("breast_cancer"), "target", positive="0"),
    Table(
        "wine, planted code",
        bundled("wine", grade=lambda f: "g" + f["target"].astype(str)),
        "target",
        ("grade",),
    ),
    Table("diabetes", bundled("diabetes"), "target"),
    Table(
        "diabetes, shuffled",
        bundled("diabetes", target=shuffled),
        "target",
        learnt=False,
    ),
    Table("penguins", shipped("palmerpenguins", "data/penguins.csv"), "species"),
    Table("Wage: wage", shipped("ISLP", "data/Wage.csv"), "wage", ("logwage",)),
    Table(
        "Wage: age", shipped("ISLP", "data/Wage.csv"), "age", pairs=("logwage", "wage")
    ),
    Table(
        "Smarket",
        shipped("ISLP", "data/Smarket.csv"),
        "Direction",
        ("Today",),
        positive="Down",
    ),
    Table(
        "Smarket before",
        shipped("ISLP", "data/Smarket.csv"),
        "Direction",
        (),
        False,
        (),
        "Down",
        ("Today",),
    ),
    Table(
        "OJ",
        shipped("ISLP", "data/OJ.csv"),
        "Purchase",
        pairs=("StoreID", "STORE"),
        positive="MM",
    ),
    Table(
        "anes96",
        shipped("statsmodels", "datasets/anes96/anes96.csv"),
        "vote",
        positive="1",
    ),
    Table(
        "seattle-weather",
        shipped("vega_datasets", "_data/seattle-weather.csv"),
        "weather",
    ),
)


def look_at(table: Table, folder: Path) -> dict[str, Any]:
    """Run one table and return a line of the record."""
    path = folder / "table.csv"
    table.read().to_csv(path, index=False)
    out = folder / table.name.replace(": ", "-").replace(" ", "-").replace(",", "")
    request = RunRequest(
        table=str(path), target=(table.target,), drop=table.drop, preset="fast", out=out
    )
    inputs = load_inputs(request)
    with open_run(out, configuration(request), command=request.command) as run:
        work = RunWork(request, inputs, run, lambda _: None)
        # What stands first is known when the model is; the explanation would take most
        # of the time.
        for name in ("data", "layout", "model"):
            with run.stage(name):
                STAGE_WORK[name](work)
    data, metrics = (
        json.loads((out / name).read_text()) for name in ("data.json", "metrics.json")
    )
    leaks = tuple(one["column"] for one in data["leaks"])
    learnt = metrics["constant"]["learnt"]
    named = [
        note
        for note in data["notes"]
        if "one to one" in note or "repeat another column" in note
    ]
    pairs = all(name in named[0] for name in table.pairs) if named else not table.pairs
    alarm = (
        say("leak", leak_facts(data["target"], data["leaks"])) if data["leaks"] else ""
    )
    content = Assessment(
        title=table.name, target=data["target"], task=data["task"], metrics=metrics
    )
    first = alarm or ("" if content.learnt else first_sentence(content))
    right = (
        leaks == table.leaks
        and learnt == table.learnt
        and pairs
        and bool(named) == bool(table.pairs)
    )
    positive = data["positive"]
    right &= table.positive is None or str(positive) == table.positive
    return {
        "table": table.name,
        "rows": sum(data["rows"].values()),
        "target": f"{table.target} ({data['task']})",
        "alone give it": ", ".join(leaks) or "none",
        "learnt": "yes" if learnt else "nothing",
        "one to one": named[0].partition("between them: ")[2].partition("; leave")[0]
        if named
        else "none",
        "positive": "" if table.positive is None else str(positive),
        "first line": first.partition(" (")[0] or "the metrics",
        "as known": bool(right),
    }


def main() -> int:
    """Run all tables, write the record, and return the exit code."""
    arguments = _results.parser(__doc__).parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for table in TABLES[:2] if arguments.quick else TABLES:
            lines.append(look_at(table, Path(folder)))
            print(lines[-1], flush=True)
    return _results.record(
        arguments,
        "First sentences: leaks, models that learnt nothing, columns one to one, the "
        "positive class",
        f"{(__doc__ or '').partition(chr(10))[0]}\n\n{_results.markdown_table(lines)}",
        lines,
        passed=all(line["as known"] for line in lines),
        seeds=0,
    )


if __name__ == "__main__":
    sys.exit(main())
