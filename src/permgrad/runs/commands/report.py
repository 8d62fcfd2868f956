"""``permgrad report``: the page of a run again, from the files of its folder, or one page of several runs."""

from __future__ import annotations

import os
from pathlib import Path

from permgrad.base.errors import InputError
from permgrad.base.files import writing
from permgrad.base.folders import believed
from permgrad.base.locks import hold_folder
from permgrad.base.startup import loading
from permgrad.runs.folder.documents import METRICS
from permgrad.runs.folder.folder import finished_record, note_files
from permgrad.runs.requests import Outcome, ReportRequest


def rebuild_reports(request: ReportRequest) -> Outcome:
    """Write a run's ``report.html`` again, or one page of several runs."""
    folders = [Path(folder) for folder in request.folders]
    records = [finished_record(folder) for folder in folders]
    if len(folders) == 1:
        path, record = folders[0], records[0]
        with loading():
            from permgrad.runs.run.assessing import REPORT, SUMMARY_FILE, look_of, rewrite_page
            from permgrad.runs.run.predicting import use_threads

        use_threads(request.threads)
        look = look_of(record, request)
        if request.out is not None:
            from permgrad.pages.report import check_path

            target = check_path(request.out, overwrite=request.overwrite, flag="--overwrite")
            with writing(target, "Choose another --out."), believed(path):
                report = rewrite_page(path, record, look, positive=request.positive, out=target)
        else:
            fix = "copy the folder to a place where you may write"
            with writing(path, fix), hold_folder(path, fix), believed(path):
                report = rewrite_page(path, record, look, positive=request.positive, out=None)
                note_files(path, record, among=(REPORT, SUMMARY_FILE, METRICS))
        return Outcome({"report": os.fspath(report), "folder": os.fspath(path)}, f"Report: {report}")
    if request.positive is not None:
        raise InputError("--positive does not apply to several runs", hint="Leave it out.", code="PG004")
    doubled = [folder for place, folder in enumerate(folders) if folder.resolve() in map(Path.resolve, folders[:place])]
    if doubled:
        raise InputError(f"{doubled[0]} is named twice", hint="Leave one out.", code="PG008")
    with loading():
        from permgrad.runs.finished import read_run
        from permgrad.runs.several import report_runs
    return report_runs(request, [read_run(*pair) for pair in zip(folders, records, strict=True)])
