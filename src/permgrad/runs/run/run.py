"""``permgrad run`` and ``permgrad demo``: train a network on a table, explain it, and
write a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

from permgrad.assess.budget import Clock, Say
from permgrad.base.startup import loading
from permgrad.data.encode.encoding import surprises_told_once
from permgrad.models.vectors import vectors_kept_in
from permgrad.runs.configuration import configuration
from permgrad.runs.options import is_file
from permgrad.runs.requests import DemoRequest, Outcome, RunRequest
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.run_inputs import Inputs, load_inputs
from permgrad.runs.run.run_summary import read_summary
from permgrad.runs.run_folder import (
    FEATURES,
    NAMES,
    RUN,
    STAGES,
    open_run,
    read_record,
    refuse_input,
    whole_stages,
)


def run_table(request: RunRequest, *, say: Say = print) -> Outcome:
    """Do a run, or the stages that are not finished.

    ``say`` takes lines on the progress.

    If the options, the table or the folder cannot be used, nothing is written.
    """
    request.check()
    clock = Clock(limit=request.seconds_at_most, thorough=request.thorough)
    if request.from_stage == "explain":  # a short word for it
        request = replace(request, from_stage="explanation")
    settings = configuration(request)
    refuse_input(request.folder, request.files, names=NAMES)
    again = request.from_stage is not None or request.overwrite
    if not again and RUN.finished(request.folder, settings):
        return read_summary(request.folder, already=True)
    started = time.perf_counter()
    # Before torch is loaded: a column that does not exist is refused within a second.
    inputs = load_inputs(request)
    reading = time.perf_counter() - started
    settings |= (
        inputs.images
    )  # which columns hold images, and what these show, is known once the table is read
    if not again and inputs.images and RUN.finished(request.folder, settings):
        return read_summary(request.folder, already=True)
    with loading():
        from permgrad.runs.run.run_training import check_options, dry_run
        from permgrad.runs.run.run_work import RunWork, do_stages
        from permgrad.runs.run.stages import STAGE_WORK
    check_options(request, inputs.task)
    # Only after the table is checked: a wrong target must not lead to the advice to
    # overwrite another run.
    if not request.overwrite:
        RUN.find(request.folder, settings)
    keep_vectors = partial(
        vectors_kept_in, request.folder / FEATURES if request.keep_rows else None
    )
    if replaces_a_model(request) or is_file(request.model):
        with keep_vectors():
            dry_run(request, inputs)
    say(headline(inputs))

    def tell(
        text: str,
    ) -> None:  # in the place of the line of progress, which comes again below it
        clock.whole.clear()
        say(text)

    with (
        closing(clock.whole),
        open_run(
            request.folder,
            settings,
            command=request.command,
            overwrite=request.overwrite,
            from_stage=request.from_stage,
        ) as folder,
        surprises_told_once(),
        keep_vectors(),
    ):
        # A resumed run computes with as many threads as before, so that its result is
        # the same.
        use_threads(request.threads or folder.record["facts"].get("threads"))
        if folder.lost:
            say(folder.lost)
        run_work = RunWork(request, inputs, folder, tell, clock)
        do_stages(run_work, STAGE_WORK, reading)
    return run_work.summary()


def replaces_a_model(request: RunRequest) -> bool:
    """Whether a run would replace a trained model."""
    record = read_record(request.folder)
    if record is None or "model" not in record["finished_stages"]:
        return False
    if request.from_stage is not None:
        return list(STAGES).index(request.from_stage) <= list(STAGES).index("model")
    return request.overwrite or "model" not in whole_stages(request.folder, record)


def headline(inputs: Inputs) -> str:
    """Return a line on the table, the task and the split."""
    row_words = ", ".join(
        f"{len(part_rows):,} {part_name}"
        for part_name, part_rows in inputs.parts.items()
    )
    if inputs.card is None:
        source = "table"
    else:
        source = "data set"
    task_words = f"{inputs.task} of {inputs.target!r} ({inputs.task_reason})"
    return f"{source} {inputs.name}: {task_words}; rows: {row_words} ({inputs.split})"


def run_demo(request: DemoRequest, *, say: Callable[[str], None] = print) -> Outcome:
    """Run the demonstration; the same command shows a finished one again."""
    demo_request = RunRequest(
        table="diabetes",
        out=request.out,
        threads=request.threads,
        overwrite=request.overwrite,
    )
    say(f"This is the same as: {demo_request.command}")
    outcome = run_table(demo_request, say=say)
    return Outcome({**outcome.facts, "command": demo_request.command}, outcome.text)
