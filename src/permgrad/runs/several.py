"""``permgrad report RUN RUN ...``: several finished runs of one table, on the test rows that all of them have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from permgrad.base.errors import InputError, listed
from permgrad.base.files import write_text_atomic, writing
from permgrad.evaluation.side_by_side import SideBySide, side_by_side
from permgrad.pages.changes import changes_facts, since_words
from permgrad.pages.report import check_path
from permgrad.pages.runs import runs_page
from permgrad.pages.side_by_side import standing_words
from permgrad.runs.finished import FinishedRun, changed, check_alike, common_rows, labels_of_runs
from permgrad.runs.requests import Outcome, ReportRequest


def compared(runs: Sequence[FinishedRun]) -> tuple[SideBySide, list[str]]:
    """Return the runs side by side on their common test rows, and notes on these rows."""
    first = runs[0]
    for other in runs[1:]:
        check_alike([first.folder, other.folder], first.kind | {"columns": ()}, other.kind | {"columns": ()})
        if first.rows_of != other.rows_of:
            problem = f"{first.folder} and {other.folder} are runs of different tables"
            raise InputError(problem, hint="Compare runs of one table, or two runs.", code="PG051")
    rows, tables = common_rows(runs)
    truth = tables[0]["truth"].to_numpy()
    labels = labels_of_runs([run.folder for run in runs])
    classes = first.classes
    guesses = {label: first.guess(table) for label, table in zip(labels, tables, strict=True)}
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


def report_runs(request: ReportRequest, runs: Sequence[FinishedRun]) -> Outcome:
    """Write the page of several runs."""
    labels = labels_of_runs([run.folder for run in runs])
    path = request.out or Path(f"{'-and-'.join(labels[:2])}{f'-and-{len(labels) - 2}-more' * (len(labels) > 2)}.html")
    target = check_path(path, overwrite=request.overwrite, flag="--overwrite")
    facts: dict[str, Any] = {"report": os.fspath(target)}
    words: list[str] = []
    notes: list[str] = []
    models, changes = None, changed(runs[0], runs[1]) if len(runs) == 2 else None
    if changes is not None:
        facts["changes"] = changes_facts(changes)
        words.append(since_words(changes))
    if changes is None or changes.meta["same_rows"]:
        models, notes = compared(runs)
        lines = {name: models.measured[name][models.metric.name] for name in models.names}
        facts |= {"metric": models.metric.name, "models": lines, "rows": models.rows}
        words.insert(0, standing_words(models))
    page = runs_page(
        models,
        changes,
        title=request.title or f"{runs[0].data['table']}: {listed(labels, 3)}",
        target=runs[0].data["target"],
        commands=[(label, run.record.get("command", "")) for label, run in zip(labels, runs, strict=True)],
        notes=notes,
        theme=request.theme or "auto",
    )
    with writing(target, "Choose another --out."):
        write_text_atomic(target, page)
    return Outcome(facts, "\n".join([*words, f"Report: {target}"]))
