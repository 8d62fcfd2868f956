"""``permgrad report RUN RUN ...``: several finished runs of one table, on the test rows that all of them have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import InputError, counted, listed
from permgrad.base.files import write_text_atomic, writing
from permgrad.base.stored import read_times
from permgrad.evaluation.side_by_side import SideBySide, side_by_side
from permgrad.pages.report import check_path
from permgrad.pages.runs import side_by_side_page
from permgrad.pages.side_by_side import standing_words
from permgrad.runs.folder import documents
from permgrad.runs.folder.documents import read_table_of, saved_explanation
from permgrad.runs.requests import Outcome, ReportRequest

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Fewer common rows than this say nothing about a difference.
LEAST_ROWS = 10


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its record, its documents, and its predictions for the test rows by their number in the file.

    ``seconds`` is how long the network was trained.
    """

    folder: Path
    record: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    explanation: Explanation | None
    seconds: float | None = None

    @property
    def table(self) -> Any:
        """What identifies the table: the hash of its content, and of the test file."""
        configuration = self.record["configuration"]
        return configuration.get("table content"), configuration.get("test")

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the columns of probabilities."""
        mark = "probability_"
        return [name.removeprefix(mark) for name in self.predictions.columns if name.startswith(mark)]


def read_run(folder: Path, record: Mapping[str, Any]) -> FinishedRun:
    """Read a finished run."""
    data = documents.read_data(folder / documents.DATA)
    metrics = documents.read_metrics(folder / documents.METRICS, data["task"])
    predictions = documents.read_predictions(folder, data)
    spent = read_times(folder / "model")
    if spent is None:  # which older runs have in their table
        spent = read_table_of(folder / "history.csv", "model", needs=("epoch",), numbers=())
        spent = pd.to_numeric(spent.get("seconds", []), errors="coerce")
    explanation = saved_explanation(folder, "permgrad")
    return FinishedRun(folder, record, data, metrics, predictions, explanation, float(np.sum(spent)))


def compared(runs: Sequence[FinishedRun]) -> tuple[SideBySide, list[str]]:
    """Return the runs side by side on their common test rows, and notes on these rows."""
    first = runs[0]
    for other in runs[1:]:
        _check_alike(first, other)
    common = set(first.predictions["row"])
    for other in runs[1:]:
        common &= set(other.predictions["row"])
    rows = np.sort(np.fromiter(common, dtype=np.int64, count=len(common)))
    if len(rows) < LEAST_ROWS:
        problem = f"The runs have {counted(len(rows), 'common test row')}, too few to compare them"
        raise InputError(problem, hint="Run again with the same --split-seed.", code="PG013")
    tables = [run.predictions.set_index("row").loc[rows] for run in runs]
    truth = tables[0]["truth"].to_numpy()
    if any((table["truth"].to_numpy() != truth).any() for table in tables[1:]):
        raise InputError(
            "The runs have other targets in the same rows", hint="Compare runs of one table.", code="PG051"
        )
    labels = labels_of_runs([run.folder for run in runs])
    classes = first.classes
    columns: Any = [f"probability_{name}" for name in classes] if classes else "prediction"
    guesses = {label: table[columns].to_numpy(dtype=np.float64) for label, table in zip(labels, tables, strict=True)}
    notes = [
        f"{label}: {len(rows):,} of its {len(run.predictions):,} test rows are test rows of all runs."
        for label, run in zip(labels, runs, strict=True)
        if len(rows) < len(run.predictions)
    ]
    positives = {str(run.metrics.get("positive")) for run in runs}
    models = side_by_side(
        first.data["task"],
        truth,
        guesses,
        classes=classes,
        positive=positives.pop() if len(positives) == 1 and len(classes) == 2 else None,
        seed=int(first.record["configuration"].get("seed") or 0),
        seconds={label: run.seconds for label, run in zip(labels, runs, strict=True)},
        explanations={
            label: run.explanation for label, run in zip(labels, runs, strict=True) if run.explanation is not None
        },
    )
    return models, notes


def _check_alike(first: FinishedRun, other: FinishedRun) -> None:
    """Refuse runs that do not predict the same target of the same table."""
    for what, one, two in (
        ("target", first.data["target"], other.data["target"]),
        ("task", first.data["task"], other.data["task"]),
        ("classes", sorted(first.classes), sorted(other.classes)),
    ):
        if one != two:
            shown = [", ".join(each[:5]) if isinstance(each, list) else repr(each) for each in (one, two)]
            problem = f"The runs have another {what}: {first.folder} has {shown[0]}, {other.folder} has {shown[1]}"
            raise InputError(problem, hint="Compare runs that predict the same column of one table.", code="PG051")
    if first.table != other.table:
        problem = f"{first.folder} and {other.folder} are runs of different tables"
        raise InputError(problem, hint="Compare runs of one table.", code="PG051")


def labels_of_runs(folders: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, or the path where two folders have one name."""
    names = [folder.resolve().name for folder in folders]
    return [os.fspath(folder) if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)]


def report_runs(request: ReportRequest, runs: Sequence[FinishedRun]) -> Outcome:
    """Write the page of several runs."""
    labels = labels_of_runs([run.folder for run in runs])
    path = request.out or Path(f"{'-and-'.join(labels[:2])}{f'-and-{len(labels) - 2}-more' * (len(labels) > 2)}.html")
    target = check_path(path, overwrite=request.overwrite, flag="--overwrite")
    models, notes = compared(runs)
    first = runs[0]
    facts = [(label, run.record.get("command", "")) for label, run in zip(labels, runs, strict=True)]
    page = side_by_side_page(
        models,
        title=request.title or f"{first.data['table']}: {listed(labels, 3)}",
        target=first.data["target"],
        commands=facts,
        notes=notes,
        theme=request.theme or "auto",
    )
    with writing(target, "Choose another --out."):
        write_text_atomic(target, page)
    lines = {name: models.measured[name][models.metric.name] for name in models.names}
    return Outcome(
        {"report": os.fspath(target), "metric": models.metric.name, "models": lines, "rows": models.rows},
        f"{standing_words(models)}\nReport: {target}",
    )
