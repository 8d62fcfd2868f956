"""``permgrad tune``: search for the best settings for a table, and make the best trial
a finished run.

The study's folder holds ``tune.json``, Optuna's database, the trials, their table, the
page, and the winner as a run. ``.workers`` holds the locks of the processes at work.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.assess.budget import Say
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import EnvironmentProblem, InputError, by_count, one_line
from permgrad.base.files import (
    made_folder,
    plain,
    remove,
    sweep,
    write_json_atomic,
    write_text_atomic,
    writing,
)
from permgrad.base.folders import (
    FolderKind,
    believed,
    changed_files,
    configuration_hash,
)
from permgrad.base.locks import exclusive
from permgrad.base.progress import Progress, readable
from permgrad.base.stored import read_json
from permgrad.data.types.findings import told_of_columns
from permgrad.evaluation.baselines.fitting import baselines, check_settings
from permgrad.evaluation.metrics import scores_of
from permgrad.models.estimators.settings import choose_device
from permgrad.pages.alarms import alarm_sentences
from permgrad.pages.tuning import tuning_page
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import DATABASE, Outcome, TuneRequest
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.run import headline, run_table
from permgrad.runs.run.run_alarms import alarms_of
from permgrad.runs.run.run_inputs import Inputs, load_inputs
from permgrad.runs.run.run_summary import read_summary
from permgrad.runs.run.run_training import fit_encoder, make_estimator
from permgrad.runs.run_documents import METRICS
from permgrad.runs.run_folder import RUN, refuse_input
from permgrad.tuning import get_space
from permgrad.tuning.model_spaces import Settings, get_model_space
from permgrad.tuning.spaces import Space, check_preset
from permgrad.tuning.study import (
    BEST_EPOCH,
    EPOCHS,
    LOSS,
    REASON,
    SECONDS,
    STATES,
    at_work,
    best_of,
    chosen,
    claim,
    end_interrupted,
    finished,
    free_place,
    importances,
    need_optuna,
    open_study,
    quiet_optuna,
    seed_of,
    set_pruner,
    set_sampler,
    storage_file,
)

_PAUSE = 1.0
HISTORY = "history.csv"
#: A trial's smallest validation loss, facts about it, and whether it was pruned.
_Trained = tuple[float, dict[str, Any], bool]
#: Errors of a trial that do not end the study: settings that diverge, or are too large
#: for the machine.
_TRIAL_FAULTS = (InputError, RuntimeError, ValueError, ArithmeticError, MemoryError)
_COLUMNS = ("trial", "state", "validation_loss", "epochs", "best_epoch", "seed")
TUNE_RECORD = "tune.json"
WORKERS = ".workers"
GUARD = "study.guard"
TRIALS = "trials"
TABLE = "trials.csv"
PRESET = "preset.json"
PAGE = "tuning.html"
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
    """What a process needs to work on a study of ``total`` trials, and how many
    ``other_workers`` work on it here.
    """

    request: TuneRequest
    inputs: Inputs
    space: Space
    total: int
    folder: Path
    study: Any
    other_workers: Callable[[], int]
    say: Say

    @property
    def finished(self) -> dict[int, Any]:
        """The finished trials by place."""
        return finished(self.study, self.total)


def tune_table(request: TuneRequest, *, say: Say = print) -> Outcome:
    """Do a study, or the part of it that is not finished, and export its best trial as
    a run.

    ``say`` takes lines on the progress.
    """
    request.check()
    need_optuna()
    if request.model == "network":
        space = get_space(request.space)
    else:
        space = get_model_space(request.model, request.space)
    # What the results of trials depend on. The preset that a space is around may be a
    # file, too.
    identity = configuration(request) | {
        "space content": configuration_hash(space.content)
    }
    folder = request.folder
    refuse_input(folder, request.files, names=STUDY.names)
    study_facts = {"storage": request.shown_storage, "study": request.study}
    there = STUDY.find(folder, identity, overwrite=request.overwrite, **study_facts)
    if (
        there is not None
        and (finished_result := finished_outcome(request, identity, space)) is not None
    ):
        return finished_result
    choose_device(request.device)
    use_threads(request.threads)
    inputs = load_inputs(request.run_request(space.base_name))
    say(headline(inputs))
    with quiet_optuna(), _opened(request, identity) as (study, count_others):
        if request.trials is not None:
            wanted_trials = request.trials
        else:
            wanted_trials = space.trials_for(inputs.task)
        # A study that already has more trials is not shortened.
        before = finished(study)
        total = max([wanted_trials, *(trial_number + 1 for trial_number in before)])
        session = TuneSession(
            request, inputs, space, total, folder, study, count_others, say
        )
        counts = f"{total} trials" + (
            f", {len(before)} of them finished before" if before else ""
        )
        say(f"study {request.study!r}, space {space.name}: {space.text}; {counts}")
        for input_note in inputs.notes:
            say(f"note: {input_note}")
        for sentence in alarm_sentences(inputs.target, alarms_of(inputs)):
            say(f"ALARM: {sentence}")
        try:
            with told_of_columns():
                _work_through(session)
        except KeyboardInterrupt:
            _end_interrupted(session)  # also a trial that Optuna was about to begin
            count = len(session.finished)
            if count:
                write_page(session)
            raise KeyboardInterrupt(
                f"Interrupted after {count} of {total} trials. Run the same command to "
                "resume."
            ) from None
        return export_winner(session)


@contextlib.contextmanager
def _opened(
    request: TuneRequest, identity: dict[str, Any]
) -> Iterator[tuple[Any, Callable[[], int]]]:
    """Open the folder and the storage. A folder that stays empty is removed again."""
    optuna = need_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    folder = request.folder
    with made_folder(folder):
        workers = _workers(request)
        try:
            with at_work(workers) as count_others:
                if request.overwrite and (count := count_others()):
                    problem = (
                        f"{count} other process{by_count(count, ' is', 'es are')} at "
                        f"work in {folder}, so the study cannot be replaced"
                    )
                    raise InputError(
                        problem, hint="Wait, or choose another --out.", code="PG054"
                    )
                guard = workers / GUARD
                opened = open_study(
                    request.url,
                    request.study,
                    identity,
                    guard,
                    overwrite=request.overwrite,
                )
                with opened as study, writing(folder):
                    if request.overwrite:
                        STUDY.clear(folder)
                    if STUDY.read(folder) is None:
                        study_facts = {
                            "storage": request.shown_storage,
                            "study": request.study,
                        }
                        record = STUDY.new_record(
                            identity, request.command, **study_facts, finished=None
                        )
                        write_json_atomic(folder / TUNE_RECORD, record)
                    yield study, count_others
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            problem = f"The study's storage failed: {str(error).splitlines()[0]}"
            problem_hint = "Correct this, then run the same command to resume."
            raise EnvironmentProblem(
                problem, hint=problem_hint, code="PG062"
            ) from error
        finally:
            if not (folder / TUNE_RECORD).exists():
                for left_guard in workers.glob("*.guard"):
                    left_guard.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    workers.rmdir()


def _workers(request: TuneRequest) -> Path:
    """Return the folder for the locks of the processes at work: beside the database, if
    that is a file.
    """
    database_file = storage_file(request.url)
    if database_file is not None and not database_file.parent.is_dir():
        problem = (
            f"The folder {database_file.parent} of --storage {request.url} does "
            "not exist"
        )
        raise EnvironmentProblem(
            problem, hint="Make it, or choose another storage.", code="PG062"
        )
    return (request.folder if database_file is None else database_file.parent) / WORKERS


# ---- trials --------------------------------------------------------------------------
def _work_through(session: TuneSession) -> None:
    """Do trials until all are finished, by this or other processes."""
    optuna = need_optuna()
    study = session.study
    waiting = False
    begun = list[int]()
    guard = _workers(session.request) / GUARD
    while True:
        _end_interrupted(session)
        if len(session.finished) >= session.total:
            return
        if free_place(study, session.total) is not None:
            waiting = False
            # Another process may have given this one up, for example of a machine that
            # slept, and repeated its trial.
            with contextlib.suppress(
                ValueError, optuna.exceptions.UpdateFinishedTrialError
            ):
                study.optimize(
                    lambda trial: _do_trial(session, trial, guard, begun),
                    1,
                    catch=_TRIAL_FAULTS,
                )
            while begun:
                _tell_of(session, begun.pop())
                write_table(session)
            continue
        if not waiting:
            session.say(
                "other processes work on the last trials; waiting (Ctrl-C ends only "
                "this process)"
            )
        waiting = True
        time.sleep(_PAUSE)


def _end_interrupted(session: TuneSession) -> None:
    """End trials of processes that stopped: all that run, if no other process is at
    work on this machine's file.
    """
    has_file = storage_file(session.request.url) is not None
    end_interrupted(session.study, alone=has_file and not session.other_workers())


def _do_trial(session: TuneSession, trial: Any, guard: Path, begun: list[int]) -> float:
    """Choose a trial's settings, train it, and return its loss.

    Add its place to ``begun``.
    """
    trial_number = claim(session.study, trial, session.total, guard)
    begun.append(trial_number)
    folder = session.folder / TRIALS / str(trial_number)
    train = _train if session.request.model == "network" else _train_other
    set_sampler(
        session.study,
        session.space,
        seed=session.request.seed,
        trial_place=trial_number,
    )
    try:
        preset = plain(chosen(session.space, trial_number, trial))
        with writing(session.folder):
            remove(
                [folder]
            )  # of an interrupted trial, or of an older study in this folder
            folder.mkdir(parents=True)
            write_json_atomic(folder / PRESET, preset)
        value, facts, is_pruned = train(session, trial, preset, trial_number)
        if math.isnan(value):
            raise ArithmeticError("the validation loss is not a number")
    except _TRIAL_FAULTS as error:
        reason = one_line(error)
        trial.set_user_attr(
            REASON,
            reason
            if isinstance(error, InputError)
            else f"{type(error).__name__}: {reason}",
        )
        raise
    for fact_name, trial_fact in {LOSS: value, **facts}.items():
        trial.set_user_attr(fact_name, trial_fact)
    if is_pruned:
        raise need_optuna().TrialPruned
    return value


def _tell_of(session: TuneSession, trial_number: int) -> None:
    """Say how a trial ended, which is the best, and how long the rest may take."""
    finished_trials = session.finished
    if trial_number not in finished_trials:
        return
    trial = finished_trials[trial_number]
    facts = finished_trials[trial_number].user_attrs
    trial_line = f"[{len(finished_trials)}/{session.total}] trial {trial_number}: "
    if REASON in facts:
        trial_line += f"failed: {facts[REASON]}"
    else:
        trial_line += f"{facts[LOSS]:.5g}" + (
            f", {facts[EPOCHS]} epochs" if EPOCHS in facts else ""
        )
        if trial.state.name == "PRUNED":
            trial_line += ", pruned"
    if (best_trial := best_of(finished_trials)) is not None:
        trial_line += (
            f"; best so far {finished_trials[best_trial].value:.5g}, trial {best_trial}"
        )
    times = []
    for finished_trial in finished_trials.values():
        if SECONDS in finished_trial.user_attrs:
            times.append(float(finished_trial.user_attrs[SECONDS]))
    trials_left = session.total - len(finished_trials)
    if times and trials_left:
        mean_seconds = sum(times) / len(times)
        seconds_left = mean_seconds * trials_left / (1 + session.other_workers())
        trial_line += f"; about {readable(seconds_left)} left"
    session.say(trial_line)


def _train(
    session: TuneSession, trial: Any, content: Mapping[str, Any], trial_number: int
) -> _Trained:
    """Train a trial's network. Write its epochs into the trial's folder."""
    preset = check_preset(content)
    folder = session.folder / TRIALS / str(trial_number)
    request = session.request.run_request(
        session.space.base_name, seed=seed_of(session.request.seed, trial_number)
    )
    inputs = session.inputs
    epochs = int(preset.training["max_epochs"])
    prunes = session.space.pruning
    pruned = False
    set_pruner(session.study, epochs)
    rows_by_part = inputs.parts
    learned_mask = inputs.learned
    model = make_estimator(request, inputs, preset=preset)
    encoded_rows = fit_encoder(model, inputs)
    model.set_params(progress=False)
    finished_trials = session.finished
    losses = list[float]()
    best_trial = best_of(finished_trials)
    with Progress(
        epochs, f"trial {trial_number + 1} of {session.total}", lines=False
    ) as progress_bar:

        def watch(record: Any) -> bool:
            nonlocal pruned
            losses.append(float(record["validation_loss"]))
            trial.report(losses[-1], int(record["epoch"]))
            progress_bar.advance()
            progress_bar.note(
                f"{min(losses):.4g}"
                + (
                    ""
                    if best_trial is None
                    else f", best so far {finished_trials[best_trial].value:.4g}"
                )
            )
            pruned = prunes and bool(trial.should_prune())
            return pruned

        eval_set = (
            rows_by_part["validation"].frame[learned_mask],
            rows_by_part["validation"].y[learned_mask],
        )
        model.train(
            model.prepare(encoded_rows, rows_by_part["train"].y, eval_set=eval_set),
            on_epoch=watch,
        )
    with writing(session.folder):
        write_csv(model.history_.drop(columns="seconds"), folder / HISTORY)
    facts = {
        EPOCHS: len(model.history_),
        BEST_EPOCH: int(model.best_epoch_),
        SECONDS: round(float(model.history_["seconds"].sum()), 3),
    }
    return (
        float(model.history_["validation_loss"].iloc[model.best_epoch_ - 1]),
        facts,
        pruned,
    )


def _train_other(
    session: TuneSession, _trial: Any, content: Mapping[str, Any], trial_number: int
) -> _Trained:
    """Do the same with a model of another library: log loss or RMSE on validation rows,
    which also end boosting.
    """
    inputs = session.inputs
    chosen_model = session.request.model
    request = session.request.run_request(
        session.space.base_name, seed=seed_of(session.request.seed, trial_number)
    )
    model = make_estimator(
        request,
        inputs,
        preset=Settings(chosen_model, check_settings(content, chosen_model, PRESET)),
    )
    learned_mask = inputs.learned
    held_out_rows = inputs.parts["validation"]
    X = held_out_rows.frame[learned_mask]
    y = held_out_rows.y[learned_mask]
    model.fit(fit_encoder(model, inputs), inputs.parts["train"].y, (X, y))
    value = scores_of(
        inputs.task,
        y,
        model.predict_parts(X)[inputs.task.scored],
        classes=getattr(model, "classes_", ()),
    )[inputs.task.proper_metric]
    return float(value), {SECONDS: round(model.fitted_.seconds, 3)}, False


# ---- the table and the page ----------------------------------------------------------
def trial_table(session: TuneSession) -> pd.DataFrame:
    """Return one line per finished trial: number, state, loss, epochs, seed,
    parameters, reason of a failure.

    Nothing in it depends on the clock: an interrupted and resumed study has the same
    table.
    """
    trials = session.finished
    names = list(
        dict.fromkeys(
            parameter_name
            for trial in trials.values()
            for parameter_name in trial.params
        )
    )
    trial_rows = []
    for trial_number, trial in trials.items():
        trial_rows.append(
            [
                trial_number,
                STATES[trial.state.name],
                *map(trial.user_attrs.get, (LOSS, EPOCHS, BEST_EPOCH)),
                seed_of(session.request.seed, trial_number),
                *map(trial.params.get, names),
                trial.user_attrs.get(REASON),
            ]
        )
    return pd.DataFrame(trial_rows, columns=[*_COLUMNS, *names, "reason"], dtype=object)


def write_table(session: TuneSession) -> None:
    """Write ``trials.csv``."""
    with writing(session.folder):
        write_csv(trial_table(session), session.folder / TABLE)


def write_page(session: TuneSession) -> None:
    """Write ``tuning.html``."""
    trials = session.finished
    best_trial = best_of(trials)
    curves = {}
    for trial_number, finished_trial in trials.items():
        curves[trial_number] = [
            epoch_loss
            for _, epoch_loss in sorted(finished_trial.intermediate_values.items())
        ]
    ranges = {}
    for trial in trials.values():
        for parameter_name, range_ in trial.distributions.items():
            ranges[parameter_name] = range_
    record = STUDY.read(session.folder) or {}
    metrics = session.folder / METRICS
    model = session.request.model
    base_preset = session.space.base_name
    if model == "network":
        first = f"preset {base_preset}"
    else:
        first = f"usual {baselines.get(model).label}"
    facts = {
        "table": session.inputs.name,
        "target": session.inputs.target,
        "task": session.inputs.task,
        "space": session.space.name,
        "space_text": session.space.text,
        "starts_with": None if session.space.base is None else first,  # what trial 0 is
        "total": session.total,
        "best": best_trial,
        "importances": importances(list(trials.values())),
        "curves": {
            trial_number: losses for trial_number, losses in curves.items() if losses
        },
        "seconds": {
            trial_number: trial.user_attrs.get(SECONDS)
            for trial_number, trial in trials.items()
        },
        "log_scales": [
            parameter_name
            for parameter_name, range_ in ranges.items()
            if getattr(range_, "log", False)
        ],
        "command": record.get("command", session.request.command),
        "again": _again(session, best_trial) if best_trial is not None else "",
        "study": session.request.study,
        "seed": session.request.seed,
        "split": session.inputs.split,
        "test": read_json(metrics)["test"] if metrics.is_file() else {},
        "has_report": (session.folder / "report.html").exists(),
    }
    with writing(session.folder):
        write_text_atomic(
            session.folder / PAGE, tuning_page(trial_table(session), facts)
        )


def _again(session: TuneSession, best: int) -> str:
    preset = os.fspath(session.folder / PRESET)
    trial_seed = seed_of(session.request.seed, best)
    return session.request.run_request(preset, seed=trial_seed, out=None).command


# ---- the winner ----------------------------------------------------------------------
def export_winner(session: TuneSession) -> Outcome:
    """Run the best settings in the study's folder.

    Test rows are used here, for these only.
    """
    folder = session.folder
    trials = session.finished
    best_trial = best_of(trials)
    if best_trial is None:
        problem = (
            f"All {len(trials)} trials failed, the first with: "
            f"{trials[0].user_attrs[REASON]}"
        )
        raise InputError(
            problem, hint="Choose another --space, or look at the table.", code="PG041"
        )
    states = [STATES[trial.state.name] for trial in trials.values()]
    winner_facts = {
        "trials": session.total,
        "states": {state: states.count(state) for state in STATES.values()},
        "best": best_trial,
        "value": trials[best_trial].value,
        "seed": seed_of(session.request.seed, best_trial),
        "parameters": dict(trials[best_trial].params),
        "again": _again(session, best_trial),
    }
    with exclusive(folder / WORKERS / "export.guard"):
        record = STUDY.read(folder) or {}
        if (
            record.get("finished") != winner_facts
            or changed_files(folder, record)
            or not RUN.finished(folder)
        ):
            sweep(
                folder, TUNE_RECORD, TABLE, PRESET, PAGE
            )  # unfinished files of an interrupted process
            write_table(session)
            with writing(folder):
                write_json_atomic(
                    folder / PRESET,
                    plain(chosen(session.space, best_trial, trials[best_trial])),
                )
            _run(session, best_trial)
            write_page(session)
            with writing(folder):
                STUDY.finish(folder, record, winner_facts, (TABLE, PRESET, PAGE))
        return _outcome(session.request, session.space, record, already=False)


def _run(session: TuneSession, best: int) -> None:
    """Run the best settings, as the command of ``again`` does.

    A run of other settings in the folder is replaced.
    """
    folder = session.folder
    trial_seed = seed_of(session.request.seed, best)
    request = session.request.run_request(
        os.fspath(folder / PRESET), seed=trial_seed, out=folder
    )
    there = RUN.read(folder)
    if there is None:
        with writing(folder):
            RUN.clear(
                folder
                # of a run without its record. The study's record shows that the folder
                # is ours
            )
    if not RUN.is_of(there, configuration(request) | session.inputs.images):
        request = replace(request, overwrite=True)
    session.say(f"the best is trial {best}; it becomes a run in {folder}")
    known_lines = {
        headline(session.inputs),
        *(f"note: {input_note}" for input_note in session.inputs.notes),
    }
    run_table(
        request, say=lambda line: None if line in known_lines else session.say(line)
    )


# ---- the summary ---------------------------------------------------------------------
def finished_outcome(
    request: TuneRequest, identity: Mapping[str, Any], space: Space
) -> Outcome | None:
    """Return the summary of a finished study, else None. Writes nothing."""
    folder = request.folder
    record = STUDY.finished(folder, identity)
    if record is None:
        return None
    with believed(folder):
        if RUN.finished(folder) is None:
            return None
        task_name = read_json(folder / METRICS)["task"]
        if request.trials is None:
            total = space.trials_for(task_name)
        else:
            total = request.trials
        if record["finished"]["trials"] >= total:
            return _outcome(request, space, record, already=True)
        return None


def _outcome(
    request: TuneRequest, space: Space, record: Mapping[str, Any], *, already: bool
) -> Outcome:
    """Return which trial won, with which settings, and the results of its run."""
    folder = request.folder
    finished = record["finished"]
    run_summary = read_summary(folder)
    facts = {
        "folder": os.fspath(folder),
        "page": os.fspath(folder / PAGE),
        "table": os.fspath(folder / TABLE),
        "preset": os.fspath(folder / PRESET),
        "already_finished": already,
        "study": record["study"],
        "space": space.name,
        **{
            fact_name: finished[fact_name]
            for fact_name in ("trials", "states", "again")
        },
        "best": {
            fact_name: finished[fact_name]
            for fact_name in ("best", "value", "seed", "parameters")
        },
        "run": run_summary.facts,
    }
    states = ", ".join(
        f"{count} {state}" for state, count in finished["states"].items() if count
    )
    parameters = finished["parameters"].items()
    lines = [
        *(
            [f"This study is already finished ({folder}). Nothing was changed."]
            if already
            else []
        ),
        f"{finished['trials']} trials: {states}.",
        f"Best: trial {finished['best']}, validation loss {finished['value']:.5g}",
        *(
            f"  {parameter_name} = {value:.4g}"
            if isinstance(value, float)
            else f"  {parameter_name} = {value}"
            for parameter_name, value in parameters
        ),
        run_summary.text,
        f"Study: {folder / PAGE}",
        f"Settings: {folder / PRESET}",
        f"Train the winner again: {finished['again']}",
    ]
    return Outcome(facts, "\n".join(lines))
