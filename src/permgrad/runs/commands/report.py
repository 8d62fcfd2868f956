"""``permgrad report``: the page of a run again, from the files of its folder, also against an earlier run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from permgrad.base.errors import InputError, as_lines
from permgrad.base.files import writing
from permgrad.base.folders import believed
from permgrad.base.locks import hold_folder
from permgrad.base.startup import loading
from permgrad.runs.folder.documents import METRICS
from permgrad.runs.folder.folder import finished_record, note_files
from permgrad.runs.requests import Outcome, ReportRequest

if TYPE_CHECKING:
    from permgrad.evaluation.changes import Changes


def rebuild_report(request: ReportRequest) -> Outcome:
    """Write a run's ``report.html`` again."""
    path, record = request.folder, finished_record(request.folder)
    earlier = _earlier(request)
    with loading():
        from permgrad.pages.changes import changes_facts, since_words
        from permgrad.pages.report import check_path
        from permgrad.runs.run.assessing import REPORT, SUMMARY_FILE, look_of, rewrite_page

    look = look_of(record, title=request.title, keep_rows=request.keep_rows)
    target = None if request.out is None else check_path(request.out, overwrite=True)
    with believed(path):
        changes = None if earlier is None else _changes(request, earlier, record)
    options: dict[str, Any] = {"out": target, "changes": changes}
    if target is not None:
        with writing(target, "Choose another --out."), believed(path):
            report = rewrite_page(path, record, look, **options)
    else:
        fix = "copy the folder to a place where you may write"
        with writing(path, fix), hold_folder(path, fix), believed(path):
            report = rewrite_page(path, record, look, **options)
            note_files(path, record, among=(REPORT, SUMMARY_FILE, METRICS))
    facts: dict[str, Any] = {"report": os.fspath(report), "folder": os.fspath(path)}
    said = [] if changes is None else [since_words(changes)]
    facts |= {} if changes is None else {"changes": changes_facts(changes)}
    return Outcome(facts, as_lines([*said, f"Report: {report}"]))


def _earlier(request: ReportRequest) -> Mapping[str, Any] | None:
    """Return the record of the earlier run."""
    if request.against is None:
        return None
    if request.against.resolve() == request.folder.resolve():
        raise InputError(f"--against {request.against} is the run itself", hint="Name another run.", code="PG006")
    return finished_record(request.against)


def _changes(request: ReportRequest, earlier: Mapping[str, Any], record: Mapping[str, Any]) -> Changes:
    """Return what changed since the earlier run."""
    from permgrad.runs.finished import changed, read_run  # few reports compare runs

    assert request.against is not None
    with believed(request.against):
        old = read_run(request.against, earlier)
    return changed(old, read_run(request.folder, record))
