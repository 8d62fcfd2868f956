"""``permgrad report``: the page of a run again, from the files of its folder, also
against an earlier run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError, as_lines, counted, listed
from permgrad.base.files import writing
from permgrad.base.folders import believed
from permgrad.base.locks import hold_folder
from permgrad.base.random import generator
from permgrad.base.startup import loading
from permgrad.base.stored import read_json
from permgrad.runs import run_documents as documents
from permgrad.runs.requests import Outcome, ReportRequest
from permgrad.runs.run_folder import finished_record, note_files

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.base.dependence import Dependence
    from permgrad.evaluation.changes import Changes


#: Fewer common rows than this say nothing about a difference. More of a sample than
#: this are not needed.
_LEAST_ROWS = 10
_MOST_ROWS = 10_000


def methods_of_run(request: ReportRequest) -> Outcome:
    """Return a paragraph on the methods of a run, and BibTeX.

    Nothing is written.
    """
    for flag, value in (
        ("--against", request.against),
        ("--title", request.title),
        ("--out", request.out),
        ("--open", request.open_page or None),
    ):
        if value is not None:
            problem = f"--methods writes no page, so {flag} does not apply"
            raise InputError(problem, hint="Leave one of them out.", code="PG006")
    record = finished_record(request.folder)
    with loading():
        from permgrad.models.save.saving import load
        from permgrad.pages.content import PageContent
        from permgrad.pages.methods_text import BIBTEX, methods_text
        from permgrad.runs.run.assessing import provenance_of, read_assessment
    with believed(request.folder):
        content = read_assessment(request.folder, load(request.folder / "model"))
    content = replace(content, provenance=provenance_of(request.folder, record))
    text = methods_text(PageContent.of(content))
    facts = {"folder": os.fspath(request.folder), "methods": text, "bibtex": BIBTEX}
    return Outcome(facts, f"{text}\n\n{BIBTEX}")


def _record_to_compare(request: ReportRequest) -> dict[str, Any] | None:
    """Return the record of the run of ``--against``, which is another one."""
    if request.against is None:
        return None
    if request.against.resolve() == request.folder.resolve():
        raise InputError(
            f"--against {request.against} is the run itself",
            hint="Name another run.",
            code="PG006",
        )
    return finished_record(request.against)


def rebuild_report(request: ReportRequest) -> Outcome:
    """Write a run's ``report.html`` again."""
    if request.methods:
        return methods_of_run(request)
    run_folder = request.folder
    record = finished_record(request.folder)
    earlier = _record_to_compare(request)
    with loading():
        from permgrad.base.files import write_text_atomic
        from permgrad.models.save.saving import load
        from permgrad.pages.facts import score_facts
        from permgrad.pages.html import render_report
        from permgrad.pages.report import check_path
        from permgrad.runs.run.assessing import (
            REPORT,
            SUMMARY_FILE,
            look_of,
            page_of,
            read_assessment,
            write_page,
        )

    page_look = look_of(record, title=request.title, keep_rows=request.keep_rows)
    target = None if request.out is None else check_path(request.out, overwrite=True)
    changes: Changes | None = None
    with believed(run_folder):
        if request.against is not None and earlier is not None:
            with believed(request.against):
                old_run = FinishedRun.read(request.against, earlier)
            changes = changed(old_run, FinishedRun.read(run_folder, record))
    write_hint = (
        "copy the folder to a place where you may write"
        if target is None
        else "Choose another --out."
    )
    folder_lock = (
        hold_folder(run_folder, write_hint) if target is None else nullcontext()
    )
    with (
        writing(run_folder if target is None else target, write_hint),
        folder_lock,
        believed(run_folder),
    ):
        model = load(run_folder / "model")
        content = replace(read_assessment(run_folder, model), changes=changes)
        page = page_of(run_folder, record, content, model, page_look)
        if target is not None:
            write_text_atomic(target, render_report(page))
        else:
            write_page(run_folder, page)
            note_files(
                run_folder, record, among=(REPORT, SUMMARY_FILE, documents.METRICS)
            )
    report = run_folder / REPORT if target is None else target
    facts: dict[str, Any] = {
        "report": os.fspath(report),
        "folder": os.fspath(run_folder),
    }
    if changes is not None:
        facts["changes"] = page.ask(score_facts.changes)
    sentences = [] if changes is None else [facts["changes"]["sentence"]]
    return Outcome(facts, as_lines([*sentences, f"Report: {report}"]))


@dataclass(frozen=True)
class FinishedRun:
    """A run with a trained model: its record, its data, and its predictions for the
    test rows by their number.

    ``dependence``: which test rows depend on each other, where that is known.
    """

    folder: Path
    record: Mapping[str, Any]
    data: Mapping[str, Any]
    predictions: pd.DataFrame
    explanation: Explanation | None
    dependence: Dependence | None = None

    @classmethod
    def read(cls, folder: Path, record: Mapping[str, Any]) -> Self:
        """Read a finished run."""
        from permgrad.assess.store import Store  # loads torch

        data_facts = read_json(folder / documents.DATA)
        if data_facts.get("weight"):
            problem = (
                f"{folder} is a run with --weight {data_facts['weight']}, and a "
                "comparison of runs counts each row once"
            )
            raise InputError(
                problem,
                hint="Compare runs without --weight, or each run's own report.",
                code="PG006",
            )
        predictions = documents.read_predictions(folder, data_facts)
        explanation = documents.saved_explanation(folder, "permgrad")
        return cls(
            folder,
            record,
            data_facts,
            predictions,
            explanation,
            Store(folder).get("dependence"),
        )

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the columns of probabilities."""
        column_prefix = "probability_"
        return [
            column_name.removeprefix(column_prefix)
            for column_name in self.predictions.columns
            if column_name.startswith(column_prefix)
        ]

    def guess(self, rows: pd.DataFrame) -> Floats:
        """Return the probabilities ``(rows, classes)``, or numbers ``(rows,)``, of some
        rows of the predictions.
        """
        columns: Any
        if self.classes:
            columns = [f"probability_{class_name}" for class_name in self.classes]
        else:
            columns = "prediction"
        return rows[columns].to_numpy(dtype=np.float64)


# ---- what changed --------------------------------------------------------------------
def changed(old: FinishedRun, new: FinishedRun) -> Changes:
    """Return what changed from one run to another.

    Two models on test rows of one file are compared on those that both have. Else the
    old model is applied to both runs' test rows.
    """
    # What identifies the file that the test rows are from: the hash of its content.
    configurations = []
    for finished_run in (old, new):
        configurations.append(finished_run.record["configuration"])
    first, second = (
        configuration.get("test content") or configuration.get("table content")
        for configuration in configurations
    )
    is_same_table = first == second
    _check_alike(old, new, columns=not is_same_table)
    if is_same_table:
        result = _of_models(old, new)
    else:
        result = _of_samples(old, new)
    names = [finished_run.folder.resolve().name for finished_run in (old, new)]
    if names[0] == names[1]:
        run_names = [os.fspath(finished_run.folder) for finished_run in (old, new)]
    else:
        run_names = names
    return replace(result, meta={**result.meta, "runs": run_names})


def _check_alike(old: FinishedRun, new: FinishedRun, *, columns: bool) -> None:
    """Refuse runs that predict something else, or that read other ``columns``, if these
    count.
    """

    def kind(run: FinishedRun) -> dict[str, Any]:
        if columns:
            columns_read = sorted(
                column_facts["name"]
                for column_facts in run.data.get("columns", ())
                if column_facts["used"]
            )
        else:
            columns_read = []
        named = {"target": run.data["target"], "task": run.data["task"]}
        return named | {"classes": sorted(run.classes), "columns": columns_read}

    for fact_name, first in kind(old).items():
        second = kind(new)[fact_name]
        if first == second:
            continue
        problem = (
            f"The runs have another {fact_name}: {old.folder} has {first!r}, "
            f"{new.folder} has {second!r}"
        )
        if isinstance(first, list):
            names_here, there = (
                [
                    fact_entry
                    for fact_entry in first_names
                    if fact_entry not in second_names
                ]
                for first_names, second_names in ((first, second), (second, first))
            )
            folder, names = (
                (old.folder, names_here) if names_here else (new.folder, there)
            )
            problem = (
                f"The runs have other {fact_name}: only {folder} has "
                f"{listed(names, 5, show=repr)}"
            )
        problem_hint = "Compare runs that predict the same column of one table."
        raise InputError(
            problem,
            hint="Leave them out with --drop."
            if fact_name == "columns"
            else problem_hint,
            code="PG051",
        )


def _of_models(old: FinishedRun, new: FinishedRun) -> Changes:
    from permgrad.evaluation.changes import changes_of_models  # loads torch
    from permgrad.evaluation.skill import Predicted

    common_rows, tables = _common_rows(old, new)
    classes = old.classes
    truth = tables[0]["truth"].to_numpy()
    if classes:
        known_mask = np.isin(truth, classes)
    else:
        known_mask = np.ones(len(truth), dtype=bool)
    if classes:
        codes = pd.Index(classes).get_indexer(pd.Index(truth))
    else:
        codes = truth.astype(np.float64)
    old_predicted, new_predicted = (
        Predicted(codes[known_mask], old.guess(table)[known_mask]) for table in tables
    )
    if new.dependence is not None:
        units = new
    else:
        units = old
    related = units.dependence
    if related is not None:
        related = related.take(
            pd.Index(units.predictions["row"]).get_indexer(
                pd.Index(common_rows[known_mask])
            )
        )
    if old.explanation is None or new.explanation is None:
        explained = None
    else:
        explained = (old.explanation, new.explanation)
    return changes_of_models((old_predicted, new_predicted), explained, related)


def _common_rows(old: FinishedRun, new: FinishedRun) -> tuple[Any, list[pd.DataFrame]]:
    """Return the numbers of the test rows that both runs have, and the predictions of
    each run for them.
    """
    first = old.predictions["row"].to_numpy(dtype=np.int64)
    second = new.predictions["row"].to_numpy(dtype=np.int64)
    common_rows = np.intersect1d(first, second)
    if len(common_rows) < _LEAST_ROWS:
        problem = (
            f"The runs have {counted(len(common_rows), 'common test row')}, too "
            "few to compare them"
        )
        raise InputError(
            problem,
            hint="Split both alike, with the same --time and --row-group.",
            code="PG013",
        )
    tables = []
    for finished_run in (old, new):
        tables.append(finished_run.predictions.set_index("row").loc[common_rows])
    truth = tables[0]["truth"].to_numpy()
    if (tables[1]["truth"].to_numpy() != truth).any():
        problem = "The runs have other targets in the same rows"
        raise InputError(problem, hint="Compare runs of one table.", code="PG051")
    return common_rows, tables


def _of_samples(old: FinishedRun, new: FinishedRun) -> Changes:
    from permgrad.attribution.request.arguments import Arguments
    from permgrad.evaluation.changes import changes_between
    from permgrad.runs.run.predicting import open_model, read_rows, test_rows_of

    random_seed = int(new.record["configuration"].get("seed") or 0)
    model = open_model(old.folder)[0]
    labels = {}
    for label in getattr(model, "classes_", np.zeros(0)).tolist():
        labels[str(label)] = label
    samples: list[tuple[pd.DataFrame, Any]] = []
    related: list[dict[str, Any]] = []
    trained: pd.DataFrame | None = None
    for run_index, finished_run in enumerate((old, new)):
        table_path, row_numbers, sheet = test_rows_of(
            finished_run.folder,
            finished_run.record,
            finished_run.predictions["row"].to_numpy(),
        )
        table = read_rows(model, {**finished_run.data, "sheet": sheet}, table_path)[0]
        truth = finished_run.predictions["truth"]
        draws = generator(random_seed, "rows compared", run_index)
        sample_positions = _compared_rows(truth, labels, draws)
        y = truth
        if labels:
            y = truth.map(labels)
        samples.append(
            (
                table.iloc[row_numbers[sample_positions]].reset_index(drop=True),
                y.to_numpy()[sample_positions],
            )
        )
        related.append(_dependence_of(finished_run, sample_positions))
        if trained is None:  # all other rows of the old run's file
            trained = table.drop(index=table.index[row_numbers])
    if not hasattr(model, "module_"):
        groups = old.data.get("groups")
    else:
        groups = {}
    common: dict[str, Any] = {
        "groups": groups,
        "random_state": random_seed,
        "progress": False,
    }
    sample_pairs = zip(samples, related, strict=True)
    sides = (
        Arguments(model, X=X, y=y, scope="global", **common, **argument)
        for (X, y), argument in sample_pairs
    )
    result = changes_between(*sides)
    assert trained is not None
    copies = _copies(trained, samples[1][0])
    return replace(result, meta={**result.meta, "copies": copies})


def _copies(trained: pd.DataFrame, compared: pd.DataFrame) -> int:
    """Return how many of the compared rows are among the trained ones."""
    first = pd.util.hash_pandas_object(trained.astype(str), index=False)
    second = pd.util.hash_pandas_object(compared.astype(str), index=False)
    return int(second.isin(first).sum())


def _compared_rows(
    truth: pd.Series[Any], labels: dict[str, Any], draws: np.random.Generator
) -> Integers:
    """Return the rows that are compared: of some classes those that the model has."""
    rows = np.arange(len(truth))
    if labels:
        rows = np.flatnonzero(truth.isin(list(labels)))
    return np.sort(draws.permutation(rows)[:_MOST_ROWS])


def _dependence_of(run: FinishedRun, rows: Integers) -> dict[str, Any]:
    """Return the argument that says which of some test rows depend on each other."""
    if run.dependence is None:
        return {}
    name, codes = run.dependence.argument
    return {name: codes[rows].tolist()}
