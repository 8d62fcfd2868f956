"""``permgrad report RUN RUN ...``: several finished runs of one table, on the test rows that all of them have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.base.errors import InputError, listed
from permgrad.base.files import write_text_atomic, writing
from permgrad.evaluation.side_by_side import SideBySide, side_by_side
from permgrad.pages.changes import case_words, changes_facts, since_words, what_changed
from permgrad.pages.html import render_page
from permgrad.pages.report import check_path
from permgrad.pages.side_by_side import agreement_words, measured, reliance, standing_words
from permgrad.pages.views import Builder, Fact, SectionView, built
from permgrad.pages.words import clean
from permgrad.runs.finished import FinishedRun, changed, check_alike, common_rows, labels_of_runs
from permgrad.runs.requests import Outcome, ReportRequest

if TYPE_CHECKING:
    from permgrad.evaluation.changes import Changes
    from permgrad.evaluation.side_by_side import SideBySide

_SAMPLES = ("old test rows", "new test rows")


def runs_page(
    models: SideBySide | None,
    changes: Changes | None = None,
    *,
    title: str,
    target: str,
    commands: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return one page of several runs: their models side by side, what changed between two, and their commands."""

    def run(section: SectionView) -> None:
        for label, command in commands:
            section.add("heading", clean(label))
            section.add("code", command)

    builders: list[Builder] = [("run", "What was run", run)]
    facts, headline, second = [Fact(clean(target), "is predicted")], "", ""
    if changes is not None:
        builders.insert(0, ("what-changed", "What changed", partial(what_changed, changes=changes)))
        headline, second = since_words(changes), case_words(changes)
        if models is None:
            facts[:0] = [Fact(f"{rows:,}", what) for rows, what in zip(changes.meta["rows"], _SAMPLES, strict=True)]
    if models is not None:
        builders[:0] = [
            ("standing", "Which is best", partial(measured, models=models)),
            ("reliance", "Do they rely on the same features?", partial(reliance, models=models)),
        ]
        headline, second = standing_words(models), agreement_words(models)
        same = "test rows, the same for every model"
        facts[:0] = [Fact(str(len(models.names)), "models"), Fact(f"{models.rows:,}", same)]
    return render_page(
        title=clean(title),
        kind="permgrad report",
        headline=headline,
        second=second,
        facts=facts,
        warnings=list(notes),
        sections=built(builders),
    )


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
    )
    with writing(target, "Choose another --out."):
        write_text_atomic(target, page)
    return Outcome(facts, "\n".join([*words, f"Report: {target}"]))
