"""``permgrad tune``: search for the best settings for a table, and make the best trial a finished run.

The study's folder holds ``tune.json``, the trials, their table, the page, and the winner as a run. ``.workers`` holds
the locks of the processes at work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.assess.budget import Say
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, by_count, one_line
from permgrad.base.files import (
    atomic_path,
    file_hash,
    made_folder,
    remove,
    sweep,
    write_json_atomic,
    write_text_atomic,
    writing,
)
from permgrad.base.folders import FolderKind, believed, changed_files, configuration_hash, empty_files
from permgrad.base.locks import exclusive
from permgrad.base.progress import Progress, readable
from permgrad.base.stored import read_json
from permgrad.data.types.column_notes import told_of_columns
from permgrad.evaluation.baselines.fitting import baselines
from permgrad.evaluation.baselines.settings import check_settings
from permgrad.evaluation.metrics import scores_of
from permgrad.models.estimators.settings import choose_device
from permgrad.models.save.saving import load
from permgrad.pages.tuning import tuning_page
from permgrad.runs.folder import folder as folders
from permgrad.runs.folder.documents import METRICS
from permgrad.runs.folder.folder import RUN, find_finished
from permgrad.runs.requests import DATABASE, Outcome, TuneRequest
from permgrad.runs.run import stages
from permgrad.runs.run.inputs import Inputs, configuration, load_inputs
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.run import headline
from permgrad.runs.run.summary import read_summary
from permgrad.runs.run.training import fit_encoder, make_estimator
from permgrad.tuning import get_space
from permgrad.tuning.model_spaces import Settings, get_model_space
from permgrad.tuning.spaces import Space, check_preset
from permgrad.tuning.study import (
    BEST_EPOCH,
    EPOCHS,
    PROPOSAL,
    REASON,
    SECONDS,
    STATES,
    Claim,
    Pruner,
    Study,
    Worker,
    importances,
    need_optuna,
    open_study,
    quiet_optuna,
)

#: No trial is pruned before this many are complete, nor in the first quarter of the epochs, at most this many.
LEAST_COMPLETE, LONGEST_WARM_UP = 5, 10
_PAUSE = 1.0
HISTORY, CHECKPOINT = "history.csv", ".checkpoint"
#: Errors of a trial that do not end the study: settings that diverge, or are too large for the machine.
_TRIAL_FAULTS = (InputError, RuntimeError, ValueError, ArithmeticError, MemoryError)
_COLUMNS = ("trial", "state", "validation_loss", "epochs", "best_epoch", "seed")
TUNE_RECORD, WORKERS, TRIALS, TABLE = "tune.json", ".workers", "trials", "trials.csv"
PRESET, PAGE, MODEL = "preset.json", "tuning.html", "model"
STUDY = FolderKind(
    "study",
    (TUNE_RECORD, *RUN.names, TRIALS, TABLE, PRESET, PAGE),
    same="study",
    key="identity",
    holds={"started": str, "study": str},
    leftovers=(WORKERS, DATABASE),
)


@dataclass
class TuneSession:
    """What a process needs to work on a study of ``total`` trials."""

    request: TuneRequest
    inputs: Inputs
    space: Space
    total: int
    folder: Path
    study: Study
    say: Say


def tune_table(request: TuneRequest, *, say: Say = print) -> Outcome:
    """Do a study, or the part of it that is not finished, and export its best trial as a run.

    ``say`` takes lines on the progress.
    """
    request.check()
    need_optuna()
    space = get_space(request.space) if request.model == "network" else get_model_space(request.model, request.space)
    identity = identity_of(request, space)
    folder = request.folder
    space_file = Path(request.space) if request.space.endswith(".json") else None
    folders.refuse_input(folder, {**request.files, "space": space_file}, names=STUDY.names)
    if not request.overwrite:
        STUDY.find(folder, identity, storage=request.shown_storage, study=request.study)
        done = finished_outcome(request, identity, space)
        if done is not None:
            return done
    choose_device(request.device)
    use_threads(request.threads)
    inputs = load_inputs(request.run_request(space.base_name))
    say(headline(inputs))
    with quiet_optuna(), _opened(request, identity) as study:
        wanted = request.trials if request.trials is not None else space.trials_for(inputs.task)
        # A study that already has more trials is not shortened.
        total = max([wanted, *(trial.number + 1 for trial in study.finished())])
        session = TuneSession(request, inputs, space, total, folder, study, say)
        before = len(study.finished(total))
        counts = f"{total} trials" + (f", {before} of them finished before" if before else "")
        say(f"study {study.name!r}, space {space.name}: {space.text}; {counts}")
        study.enter(total)
        for note in inputs.notes:
            say(f"note: {note}")
        try:
            with told_of_columns():
                _work_through(session)
        except KeyboardInterrupt:
            count = len(study.finished(total))
            if count:
                write_page(session)
            raise KeyboardInterrupt(
                f"Interrupted after {count} of {total} trials. Run the same command to resume."
            ) from None
        return export_winner(session)


def identity_of(request: TuneRequest, space: Space) -> dict[str, Any]:
    """Return everything that the results of a study's trials depend on."""
    content = configuration(request.run_request())
    for name in ("preset", "baselines"):
        content.pop(name, None)
    rule = {"least_complete": LEAST_COMPLETE, "longest_warm_up": LONGEST_WARM_UP}
    pruning = rule if request.pruning and space.pruning else None
    space_name = Path(space.name).name
    return content | {"space": space_name, "space content": configuration_hash(space.content), "pruning": pruning}


@contextlib.contextmanager
def _opened(request: TuneRequest, identity: dict[str, Any]) -> Iterator[Study]:
    """Open the folder and the storage. A folder that stays empty is removed again."""
    optuna = need_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    folder = request.folder
    with made_folder(folder):
        try:
            with Worker(folder / WORKERS) as worker:
                if request.overwrite:
                    if count := worker.others():
                        problem = (
                            f"{count} other process{by_count(count, ' is', 'es are')} at work in {folder}, so the "
                            "study cannot be replaced"
                        )
                        raise InputError(problem, hint="Wait, or choose another --out.", code="PG054")
                    if STUDY.read(folder) is None and RUN.read(folder) is None:
                        STUDY.refuse_taken(folder)
                opened = open_study(request.url, request.study, identity, worker, overwrite=request.overwrite)
                with opened as study, writing(folder):
                    if request.overwrite:
                        STUDY.clear(folder)
                    remove(folder / name for name in empty_files(folder, STUDY.names))
                    if STUDY.read(folder) is None:
                        beside = {"storage": request.shown_storage, "study": request.study}
                        record = STUDY.new_record(identity, request.command, **beside, finished=None)
                        write_json_atomic(folder / TUNE_RECORD, record)
                    yield study
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            problem = f"The study's storage failed: {str(error).splitlines()[0]}"
            hint = "Correct this, then run the same command to resume."
            raise EnvironmentProblem(problem, hint=hint, code="PG062") from error
        finally:
            if not (folder / TUNE_RECORD).exists():
                for guard in (folder / WORKERS).glob("*.guard"):
                    guard.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    (folder / WORKERS).rmdir()


# ---- trials ----------------------------------------------------------------------------------------------------------
def _work_through(session: TuneSession) -> None:
    """Do trials until all are finished, by this or other processes."""
    study, total, waiting = session.study, session.total, False
    for trial in study.finished():  # of a process that stopped right after a trial's end
        shutil.rmtree(session.folder / TRIALS / str(trial.number) / CHECKPOINT, ignore_errors=True)
    try:
        while True:
            claim = study.claim(total, session.space, session.request.seed)
            if claim is not None:
                waiting = False
                _do_trial(session, claim)
                write_table(session)
            elif len(study.finished(total)) >= total:
                return
            else:
                if not waiting:
                    session.say("other processes work on the last trials; waiting (Ctrl-C ends only this process)")
                waiting = True
                time.sleep(_PAUSE)
    finally:
        # Also after Ctrl-C while a trial was being claimed or ended. A full disk is not a fault of a trial either.
        study.let_go()


def _do_trial(session: TuneSession, claim: Claim) -> None:
    """Train one trial, save its model, and record the result in the study."""
    place = session.folder / TRIALS / str(claim.number)
    stored = None
    with contextlib.suppress(OSError, ValueError):
        stored = read_json(place / PRESET)
    if place.exists() and not (claim.resumed and stored == claim.proposal["preset"]):
        shutil.rmtree(place)  # of an older study in this folder
    sweep(place)
    with writing(session.folder):
        (place / CHECKPOINT).mkdir(parents=True, exist_ok=True)
        write_json_atomic(place / PRESET, claim.proposal["preset"])
    try:
        with session.study.at_work(claim):
            state, value, facts = _train(session, claim, place)
    except _TRIAL_FAULTS as error:
        reason = one_line(error)
        reason = reason if isinstance(error, InputError) else f"{type(error).__name__}: {reason}"
        state, value, facts = "failed", None, {REASON: reason}
    session.study.finish(claim, state, value, facts)
    shutil.rmtree(place / CHECKPOINT, ignore_errors=True)
    finished = session.study.finished(session.total)
    best = session.study.best(session.total)
    line = f"[{len(finished)}/{session.total}] trial {claim.number}: "
    if state == "failed":
        line += f"failed: {facts[REASON]}"
    else:
        line += f"{value:.5g}" + (f", {facts[EPOCHS]} epochs" if EPOCHS in facts else "")
        line += ", pruned" if state == "pruned" else ""
    if best is not None:
        line += f"; best so far {best.value:.5g}, trial {best.number}"
    times = [float(trial.user_attrs[SECONDS]) for trial in finished if SECONDS in trial.user_attrs]
    left = session.total - len(finished)
    if times and left:
        workers = 1 + session.study.worker.others()
        line += f"; about {readable(sum(times) / len(times) * left / workers)} left"
    session.say(line)


def _train(session: TuneSession, claim: Claim, place: Path) -> tuple[str, float, dict[str, Any]]:
    """Return how a trial ended, its smallest validation loss, and facts about it. Its model is in its folder."""
    if session.request.model != "network":
        return _train_other(session, claim, place)
    preset = check_preset(claim.proposal["preset"])
    request = session.request.run_request(session.space.base_name, seed=claim.proposal["seed"])
    inputs, epochs = session.inputs, int(preset.training["max_epochs"])
    pruner = None
    if session.request.pruning and session.space.pruning:
        warm_up = min(max(epochs // 4, 1), LONGEST_WARM_UP)
        pruner = Pruner(claim.history, warm_up=warm_up, least=LEAST_COMPLETE)
    parts, known = inputs.parts, inputs.learned
    model = make_estimator(request, inputs, preset=preset)
    rows = fit_encoder(model, inputs)
    model.set_params(progress=False)
    losses, pruned = dict[int, float](), False
    best = session.study.best()
    with Progress(epochs, f"trial {claim.number + 1} of {session.total}", lines=False) as bar:

        def watch(record: Any) -> bool:
            nonlocal pruned
            epoch = int(record["epoch"])
            losses[epoch] = float(record["validation_loss"])
            session.study.report(claim, epoch, losses[epoch])
            bar.advance()
            bar.note(f"{min(losses.values()):.4g}" + ("" if best is None else f", best so far {best.value:.4g}"))
            pruned = pruner is not None and pruner.ends(losses)
            return pruned

        eval_set = parts["validation"].frame[known], parts["validation"].y[known]
        prepared = model.prepare(rows, parts["train"].y, eval_set=eval_set)
        model.train(prepared, checkpoint_folder=place / CHECKPOINT, on_epoch=watch)
    model.save(place / MODEL, overwrite=True, keep_rows=request.keep_rows)
    with writing(session.folder):
        write_csv(model.history_.drop(columns="seconds"), place / HISTORY)
    value = float(model.history_["validation_loss"].iloc[model.best_epoch_ - 1])
    facts = {
        EPOCHS: len(model.history_),
        BEST_EPOCH: int(model.best_epoch_),
        SECONDS: round(float(model.history_["seconds"].sum()), 3),
    }
    return ("pruned" if pruned else "complete"), value, facts


def _train_other(session: TuneSession, claim: Claim, place: Path) -> tuple[str, float, dict[str, Any]]:
    """Do the same with a model of another library: log loss or RMSE on validation rows, which also end boosting."""
    proposal, inputs = claim.proposal, session.inputs
    request = session.request.run_request(session.space.base_name, seed=proposal["seed"])
    settings = check_settings(proposal["preset"], request.model, PRESET)
    model = make_estimator(request, inputs, preset=Settings(request.model, settings))
    known, held = inputs.learned, inputs.parts["validation"]
    X, y = held.frame[known], held.y[known]
    model.fit(fit_encoder(model, inputs), inputs.parts["train"].y, (X, y))
    model.save(place / MODEL, overwrite=True, keep_rows=request.keep_rows)
    part, score = ("prediction", "rmse") if inputs.task == "regression" else ("probabilities", "log_loss")
    value = scores_of(inputs.task, y, model.predict_parts(X)[part], classes=getattr(model, "classes_", ()))[score]
    return "complete", float(value), {SECONDS: round(model.fitted_.seconds, 3)}


# ---- the table and the page ------------------------------------------------------------------------------------------
def trial_table(session: TuneSession) -> pd.DataFrame:
    """Return one line per finished trial: number, state, loss, epochs, seed, parameters, reason of a failure.

    Nothing in it depends on the clock: an interrupted and resumed study has the same table.
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
    """Write ``trials.csv``, only one process at a time."""
    with exclusive(session.folder / WORKERS / "table.guard"), writing(session.folder):
        write_csv(trial_table(session), session.folder / TABLE)


def write_page(session: TuneSession) -> None:
    """Write ``tuning.html``."""
    finished = session.study.finished(session.total)
    best = session.study.best(session.total)
    curves = {trial.number: [loss for _, loss in sorted(trial.intermediate_values.items())] for trial in finished}
    ranges = {name: range_ for trial in finished for name, range_ in trial.distributions.items()}
    record, metrics = STUDY.read(session.folder) or {}, session.folder / METRICS
    model, base = session.request.model, session.space.base_name
    first = f"preset {base}" if model == "network" else f"usual {baselines.get(model).label}"
    facts = {
        "table": session.inputs.name,
        "target": session.inputs.target,
        "task": session.inputs.task,
        "space": session.space.name,
        "space_text": session.space.text,
        "starts_with": None if session.space.base is None else first,  # what trial 0 is
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
        "test": read_json(metrics)["test"] if metrics.is_file() else {},
        "has_report": (session.folder / "report.html").exists(),
    }
    with writing(session.folder):
        write_text_atomic(session.folder / PAGE, tuning_page(trial_table(session), facts))


def _again(session: TuneSession, best: Any) -> str:
    preset, seed = os.fspath(session.folder / PRESET), int(best.user_attrs[PROPOSAL]["seed"])
    return session.request.run_request(preset, seed=seed, out=None).command


# ---- the winner ------------------------------------------------------------------------------------------------------
def export_winner(session: TuneSession) -> Outcome:
    """Make the best trial a finished run in the study's folder. Test rows are used here, for this trial only."""
    folder, best = session.folder, session.study.best(session.total)
    if best is None:
        reasons = [str(trial.user_attrs.get(REASON, "")) for trial in session.study.finished(session.total)]
        problem = f"All {len(reasons)} trials failed, the first with: {reasons[0]}"
        raise InputError(problem, hint="Choose another --space, or look at the table.", code="PG041")
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
        if record.get("finished") != finished or changed_files(folder, record) or not find_finished(folder):
            sweep(folder, TUNE_RECORD, TABLE, PRESET, PAGE)  # unfinished files of an interrupted process
            write_table(session)
            with writing(folder):
                write_json_atomic(folder / PRESET, best.user_attrs[PROPOSAL]["preset"])
            _run_stages(session, best)
            write_page(session)
            with writing(folder):
                STUDY.finish(folder, record, finished, (TABLE, PRESET, PAGE))
        return _outcome(session.request, session.space, record, already=False)


def _run_stages(session: TuneSession, best: Any) -> None:
    """Do the stages of a run with the winner's settings, using its trained model."""
    folder, seed = session.folder, int(best.user_attrs[PROPOSAL]["seed"])
    request = session.request.run_request(os.fspath(folder / PRESET), seed=seed, out=folder)
    settings = {
        **configuration(request),
        "preset": f"trial {best.number} of {session.total}, space {Path(session.space.name).name}",
        "preset content": file_hash(folder / PRESET),
    }

    def adopt(work: stages.RunWork) -> None:
        source = folder / TRIALS / str(best.number) / MODEL
        try:
            load(source, device="cpu")
        except PermgradError:
            fact = "is damaged" if source.is_dir() else "is on another machine"
            session.say(f"  the model of trial {best.number} {fact}; it is trained again here")
            stages.model_stage(work)
            return
        with atomic_path(folder / "model", folder=True) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        stages.write_measures(work)

    if find_finished(folder, settings) is not None:
        return
    there = RUN.read(folder)
    if there is None:
        with writing(folder):
            RUN.clear(folder)  # of a run without its record. The study's record shows that the folder is ours
    session.say(f"the best is trial {best.number}; it becomes a run in {folder}")
    with folders.open_run(
        folder, settings, command=session.request.command, overwrite=not RUN.is_of(there, settings)
    ) as run:
        if run.lost:
            session.say(run.lost)
        notes = {f"note: {note}" for note in session.inputs.notes}
        work = stages.RunWork(request, session.inputs, run, lambda line: None if line in notes else session.say(line))
        with contextlib.closing(work.clock.whole):
            stages.do_stages(work, model=adopt)


# ---- the summary -----------------------------------------------------------------------------------------------------
def finished_outcome(request: TuneRequest, identity: Mapping[str, Any], space: Space) -> Outcome | None:
    """Return the summary of a finished study, else None. Writes nothing."""
    folder = request.folder
    record = STUDY.finished(folder, identity, (TABLE, PAGE, PRESET))
    if record is None:
        return None
    with believed(folder):
        if find_finished(folder) is None:
            return None
        task = read_json(folder / METRICS)["task"]
        total = space.trials_for(task) if request.trials is None else request.trials
        return _outcome(request, space, record, already=True) if record["finished"]["trials"] >= total else None


def _outcome(request: TuneRequest, space: Space, record: Mapping[str, Any], *, already: bool) -> Outcome:
    """Return which trial won, with which settings, and the results of its run."""
    folder, finished = request.folder, record["finished"]
    run = read_summary(folder)
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
    parameters = finished["parameters"].items()
    lines = [
        *([f"This study is already finished ({folder}). Nothing was changed."] if already else []),
        f"{finished['trials']} trials: {states}.",
        f"Best: trial {finished['best']}, validation loss {finished['value']:.5g}",
        *(
            f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}"
            for name, value in parameters
        ),
        run.text,
        f"Study: {folder / PAGE}",
        f"Settings: {folder / PRESET}",
        f"Train the winner again: {finished['again']}",
    ]
    return Outcome(facts, "\n".join(lines))
