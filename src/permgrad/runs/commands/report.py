"""``permgrad report``: the page of a run again, from the files of its folder, or one page of several runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from permgrad.base.errors import InputError, warn_user
from permgrad.base.files import writing
from permgrad.base.folders import believed
from permgrad.base.locks import hold_folder
from permgrad.base.startup import loading
from permgrad.runs.folder.documents import METRICS
from permgrad.runs.folder.folder import RUN, STAGES, losses, note_files, read_record
from permgrad.runs.requests import Outcome, ReportRequest


def rebuild_reports(request: ReportRequest) -> Outcome:
    """Write a run's ``report.html`` again, or one page of several runs."""
    folders = [Path(folder) for folder in request.folders]
    records = [finished_record(folder) for folder in folders]
    if len(folders) == 1:
        return _rebuild(request, folders[0], records[0])
    if request.positive is not None:
        raise InputError("--positive does not apply to several runs", hint="Leave it out.", code="PG004")
    doubled = [folder for place, folder in enumerate(folders) if folder.resolve() in map(Path.resolve, folders[:place])]
    if doubled:
        raise InputError(f"{doubled[0]} is named twice", hint="Leave one out.", code="PG008")
    with loading():
        from permgrad.runs.several import read_run, report_runs
    return report_runs(request, [read_run(*pair) for pair in zip(folders, records, strict=True)])


def finished_record(path: Path) -> dict[str, Any]:
    """Return the record of a run that can be reported, or refuse the folder."""
    RUN.refuse_damaged(path, "Run again with --overwrite.")
    record = read_record(path)
    if record is None:
        what = "has no run.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise InputError(
            f"{path} {what}, so it is not a run's folder", hint="Pass the folder of permgrad run.", code="PG010"
        )
    missing = [stage for stage in STAGES if stage != "report" and stage not in record["finished_stages"]]
    if missing:
        problem = f"Stage {missing[0]!r} is not finished in {path}"
        raise InputError(problem, hint=f"Resume with `{command_for(path, record)}`", code="PG055")
    lost = [one for one in losses(path, record) if one.stage != "report"]
    # What can be read is shown as it is now.
    for one in sorted(lost, key=lambda one: one.is_readable)[:1]:
        fix = f"Write it again with `{command_for(path, record)}`"
        if not one.is_readable:
            raise InputError(f"In {path}, {one.words}", hint=fix, code="PG052")
        warn_user(f"In {path}, {one.words}, or was changed", fix)
    return record


def _rebuild(request: ReportRequest, path: Path, record: dict[str, Any]) -> Outcome:
    """Write one run's page, into its folder or elsewhere."""
    with loading():
        from permgrad.runs.run.assessing import REPORT, SUMMARY_FILE, look_of, rewrite_page
        from permgrad.runs.run.predicting import use_threads

    use_threads(request.threads)
    look = look_of(record, request, request.theme)
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


def command_for(folder: Path, record: Mapping[str, Any]) -> str:
    """Return the command that made a run, for the present place of its folder."""
    try:
        words = shlex.split(str(record.get("command") or ""))
    except ValueError:  # the record was edited
        words = []
    words = words or ["permgrad", "run", "TABLE"]
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    return shlex.join([*words, "--out", os.fspath(folder)])
