"""What a study leaves in its folder: ``tune.json``, trials, their table, the page, and the winner as a finished run.

``.workers`` holds the locks of the processes at work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, differences
from permgrad.base.files import (
    atomic_path,
    file_hash,
    plain,
    sweep,
    write_json_atomic,
    write_text_atomic,
)
from permgrad.base.locks import exclusive
from permgrad.base.stored import parse_json
from permgrad.report.page.tuning import tuning_page
from permgrad.runs.folder.folder import (
    RUN,
    FolderKind,
    believed,
    configuration_hash,
    find_finished,
    is_damaged_model,
    now,
    open_run,
    read_record,
    writable_folder,
)
from permgrad.runs.requests import DATABASE, Outcome, TuneRequest
from permgrad.runs.run import stages
from permgrad.runs.run.inputs import Inputs, configuration
from permgrad.runs.run.run import lost_line, summarise
from permgrad.tuning.spaces import Space
from permgrad.tuning.study import BEST_EPOCH, EPOCHS, PROPOSAL, REASON, SECONDS, STATES, Study, importances

_COLUMNS = ("trial", "state", "validation_loss", "epochs", "best_epoch", "seed")
TUNE_RECORD, WORKERS, TRIALS, TABLE = "tune.json", ".workers", "trials", "trials.csv"
PRESET, PAGE, MODEL = "preset.json", "tuning.html", "model"


@dataclass
class TuneSession:
    """What one process needs while it works on a study that is to have ``total`` trials."""

    request: TuneRequest
    inputs: Inputs
    space: Space
    total: int
    folder: Path
    study: Study
    say: Callable[[str], None]


# ---- whose study it is -----------------------------------------------------------------------------------------------
STUDY = FolderKind(
    "study",
    (TUNE_RECORD, *RUN.names, TRIALS, TABLE, PRESET, PAGE),
    same="study",
    holds={"identity": dict, "identity_hash": str, "study": str, "started": str},
    leftovers=(WORKERS, DATABASE),
)


def new_record(identity: Mapping[str, Any], storage: str | None, study: str, command: str) -> dict[str, Any]:
    """Return the record of a study that begins."""
    return {
        "schema_version": 1,
        "identity_hash": configuration_hash(identity),
        "identity": plain(dict(identity)),
        "storage": storage,
        "study": study,
        "command": command,
        "started": now(),
        "finished": None,
    }


def check_study_folder(folder: Path, identity: Mapping[str, Any], storage: str | None, study: str) -> None:
    """Refuse a folder with another study, with a run or with somebody else's files; nothing is written."""
    STUDY.refuse_file(folder)
    record = STUDY.read(folder)
    if record is None:
        STUDY.refuse_foreign(folder)
        return
    wanted = {**plain(dict(identity)), "storage": storage, "study": study}
    there = {**record["identity"], "storage": record.get("storage"), "study": record["study"]}
    if there != wanted:
        raise STUDY.another(folder, differences(there, wanted))


def write_tune_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``tune.json`` in one step."""
    with writable_folder(folder):
        write_json_atomic(folder / TUNE_RECORD, dict(record))


# ---- the trials ------------------------------------------------------------------------------------------------------
def trial_table(session: TuneSession) -> pd.DataFrame:
    """Return one line per finished trial: number, state, loss, epochs, seed, parameters, reason of a failure.

    Nothing in it depends on the clock: a study that was killed and went on has the same table.
    """
    trials = session.study.finished(session.total)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            trial.number,
            STATES[trial.state.name],
            trial.value,
            *(trial.user_attrs.get(name) for name in (EPOCHS, BEST_EPOCH)),
            trial.user_attrs[PROPOSAL]["seed"],
            *(trial.params.get(name) for name in names),
            trial.user_attrs.get(REASON),
        ]
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=[*_COLUMNS, *names, "reason"], dtype=object)


def write_table(session: TuneSession) -> None:
    """Write ``trials.csv``; of several processes one at a time."""
    with exclusive(session.folder / WORKERS / "table.guard"), writable_folder(session.folder):
        table = trial_table(session)
        with atomic_path(session.folder / TABLE) as temporary:
            write_csv(table, temporary)


def write_page(session: TuneSession) -> None:
    """Write ``tuning.html``."""
    finished = session.study.finished(session.total)
    best = session.study.best(session.total)
    curves = {trial.number: [loss for _, loss in sorted(trial.intermediate_values.items())] for trial in finished}
    ranges = {name: range_ for trial in finished for name, range_ in trial.distributions.items()}
    record = STUDY.read(session.folder) or {}
    facts = {
        "table": session.inputs.name,
        "target": session.inputs.target,
        "task": session.inputs.task,
        "space": session.space.name,
        "space_text": session.space.text,
        "starts_with": session.space.base_name if session.space.base is not None else None,
        "total": session.total,
        "best": None if best is None else best.number,
        "importances": importances(finished),
        "curves": {number: losses for number, losses in curves.items() if losses},
        "seconds": {trial.number: trial.user_attrs.get(SECONDS) for trial in finished},
        "log_scales": [name for name, range_ in ranges.items() if getattr(range_, "log", False)],
        "command": record.get("command", session.request.command),
        "again": _again(session, best) if best is not None else "",
        "study": session.study.name,
        "seed": session.request.seed,
        "split_seed": session.request.split_seed,
        "split": session.inputs.split,
        "test": _metrics(session.folder).get("test") or {},
        "has_report": (session.folder / "report.html").exists(),
    }
    with writable_folder(session.folder):
        write_text_atomic(session.folder / PAGE, tuning_page(trial_table(session), facts))


def _metrics(folder: Path) -> dict[str, Any]:
    """Return the winner's ``metrics.json``; empty where there is none that can be read."""
    try:
        return dict(parse_json((folder / "metrics.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _again(session: TuneSession, best: Any) -> str:
    """Return the command that trains the winner again by itself."""
    request = session.request.run_request(os.fspath(session.folder / PRESET), int(best.user_attrs[PROPOSAL]["seed"]))
    return replace(request, out=None).command


# ---- the winner ------------------------------------------------------------------------------------------------------
def export_winner(session: TuneSession) -> Outcome:
    """Make the best trial a finished run in the study's folder; test rows are looked at here, for it alone."""
    folder, best = session.folder, session.study.best(session.total)
    if best is None:
        reasons = [str(trial.user_attrs.get(REASON, "")) for trial in session.study.finished(session.total)]
        raise InputError(
            f"a study needs a trial that ends well, however: all {len(reasons)} failed, the first of: {reasons[0]}; "
            "choose another --space, or look at the table"
        )
    states = [STATES[trial.state.name] for trial in session.study.finished(session.total)]
    finished = {
        "trials": session.total,
        "states": {state: states.count(state) for state in STATES.values()},
        "best": best.number,
        "value": best.value,
        "seed": int(best.user_attrs[PROPOSAL]["seed"]),
        "parameters": dict(best.params),
        "again": _again(session, best),
    }
    with exclusive(folder / WORKERS / "export.guard"):
        record = STUDY.read(folder) or {}
        if record.get("finished") == finished and (folder / PAGE).exists() and find_finished(folder):
            return _outcome(session.request, session.space, record, already=False)
        for name in (TUNE_RECORD, TABLE, PRESET, PAGE):
            sweep(folder, name)  # what a killed process was writing
        write_table(session)
        with writable_folder(folder):
            write_json_atomic(folder / PRESET, best.user_attrs[PROPOSAL]["preset"])
        _run_stages(session, best)
        write_page(session)
        record["finished"] = finished
        write_tune_record(folder, record)
        return _outcome(session.request, session.space, record, already=False)


def _run_stages(session: TuneSession, best: Any) -> None:
    """Do the stages of a run with the winner's settings; its model is there already."""
    folder, seed = session.folder, int(best.user_attrs[PROPOSAL]["seed"])
    request = session.request.run_request(os.fspath(folder / PRESET), seed)
    settings = {
        **configuration(request),
        "preset": f"trial {best.number} of {session.total}, space {Path(session.space.name).name}",
        "preset content": file_hash(folder / PRESET),
    }

    def adopt(work: stages.RunWork) -> None:
        source = folder / TRIALS / str(best.number) / MODEL
        if not source.is_dir() or is_damaged_model(source):
            fact = "is damaged" if source.is_dir() else "is elsewhere"
            session.say(f"  the model of trial {best.number} {fact}; the same training is done again here")
            stages.model_stage(work)
            return
        with atomic_path(work.folder / "model", folder=True) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        stages.write_measures(work)

    if find_finished(folder, settings) is not None:
        return
    there = read_record(folder)
    other = there is None or there["configuration_hash"] != configuration_hash(settings)
    if there is None:
        with writable_folder(folder):
            RUN.clear(folder)  # of a run without its record; the folder is known for ours by the study's
    session.say(f"the best is trial {best.number}; it becomes a run in {folder}")
    with open_run(folder, settings, command=session.request.command, overwrite=other) as run:
        if run.lost is not None:
            session.say(lost_line(run.lost))
        notes = {f"note: {note}" for note in session.inputs.notes}
        work = stages.RunWork(request, session.inputs, run, lambda line: None if line in notes else session.say(line))
        for name, stage in {**stages.STAGE_WORK, "model": adopt}.items():
            if name in run.finished_stages:
                continue
            with run.stage(name):
                stage(work)
            session.say(f"  {name} took {run.record['stages'][name]['seconds']:.1f} s")


# ---- the summary -----------------------------------------------------------------------------------------------------
def finished_outcome(request: TuneRequest, identity: Mapping[str, Any], space: Space) -> Outcome | None:
    """Return the summary of a study that is finished already, else None. Writes nothing."""
    folder = request.folder
    record = STUDY.read(folder)
    if record is None or record["identity_hash"] != configuration_hash(identity):
        return None
    finished = record.get("finished")
    with believed(folder):
        total = space.trials_for(str(_metrics(folder).get("task"))) if request.trials is None else request.trials
        if finished is None or finished["trials"] < total:
            return None
        written = all((folder / name).exists() for name in (TABLE, PAGE, PRESET))
        return _outcome(request, space, record, already=True) if written and find_finished(folder) else None


def _outcome(request: TuneRequest, space: Space, record: Mapping[str, Any], *, already: bool) -> Outcome:
    """Say which trial won, with which settings, and what its run found."""
    folder, finished = request.folder, record["finished"]
    run = summarise(folder)
    facts = {
        "folder": os.fspath(folder),
        "page": os.fspath(folder / PAGE),
        "table": os.fspath(folder / TABLE),
        "preset": os.fspath(folder / PRESET),
        "already_finished": already,
        "study": record["study"],
        "space": space.name,
        **{name: finished[name] for name in ("trials", "states", "again")},
        "best": {name: finished[name] for name in ("best", "value", "seed", "parameters")},
        "run": run.facts,
    }
    states = ", ".join(f"{count} {state}" for state, count in finished["states"].items() if count)
    lines = [f"This study is finished already; nothing was changed. ({folder})"] if already else []
    lines += [f"{finished['trials']} trials: {states}."]
    lines += [f"Best: trial {finished['best']}, validation loss {finished['value']:.5g}"]
    lines += [
        f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}"
        for name, value in finished["parameters"].items()
    ]
    lines += [
        run.text,
        f"Study: {folder / PAGE}",
        f"Settings: {folder / PRESET}",
        f"The winner again: {finished['again']}",
    ]
    return Outcome(facts, "\n".join(lines))
