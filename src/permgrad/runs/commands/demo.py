"""``permgrad demo``: a run on a small table that comes with permgrad."""

from __future__ import annotations

from collections.abc import Callable

from permgrad.runs.requests import DemoRequest, Outcome, RunRequest
from permgrad.runs.run.run import run_table


def run_demo(request: DemoRequest, *, say: Callable[[str], None] = print) -> Outcome:
    """Run the demonstration; the same command shows a finished one again."""
    run = RunRequest(table="diabetes", out=request.out, threads=request.threads, overwrite=request.overwrite)
    say(f"This is the same as: {run.command}")
    outcome = run_table(run, say=say)
    return Outcome({**outcome.facts, "command": run.command}, outcome.text)
