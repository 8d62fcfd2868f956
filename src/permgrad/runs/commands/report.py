"""``permgrad report``: the page of a run again, from the files of its folder."""

from __future__ import annotations

import os

from permgrad.base.files import writing
from permgrad.base.folders import believed
from permgrad.base.locks import hold_folder
from permgrad.base.startup import loading
from permgrad.runs.folder.documents import METRICS
from permgrad.runs.folder.folder import finished_record, note_files
from permgrad.runs.requests import Outcome, ReportRequest


def rebuild_report(request: ReportRequest) -> Outcome:
    """Write a run's ``report.html`` again."""
    path, record = request.folder, finished_record(request.folder)
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
