"""``permgrad tune``: a table in; a study of many trials, and the best of them as a finished run, out."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import EnvironmentProblem, InputError, by_count
from permgrad.base.files import atomic_path, plain, sweep, write_json_atomic
from permgrad.base.progress import Progress, readable
from permgrad.base.stored import parse_json
from permgrad.data.types.column_notes import told_of_columns
from permgrad.imaging import StoredLayout, layout_to_dict
from permgrad.models.estimators.settings import device_faults
from permgrad.runs.folder.folder import configuration_hash, made_folder, read_record, refuse_input, writable_folder
from permgrad.runs.requests import Outcome, TuneRequest
from permgrad.runs.run import stages
from permgrad.runs.run.inputs import configuration, load_inputs
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.run import headline
from permgrad.runs.tune.export import (
    MODEL,
    PRESET,
    STUDY,
    TRIALS,
    TUNE_RECORD,
    WORKERS,
    TuneSession,
    check_study_folder,
    export_winner,
    finished_outcome,
    new_record,
    write_page,
    write_table,
    write_tune_record,
)
from permgrad.tuning import get_space
from permgrad.tuning.spaces import Space, check_preset
from permgrad.tuning.study import (
    BEST_EPOCH,
    EPOCHS,
    REASON,
    SECONDS,
    Claim,
    Pruner,
    Study,
    Worker,
    need_optuna,
    open_study,
    quiet_optuna,
)

__all__ = ["TuneRequest", "tune_table"]

Say = Callable[[str], None]

#: Nothing is pruned before so many trials are complete, nor in the first quarter of the epochs, at most this many.
LEAST_COMPLETE, LONGEST_WARM_UP = 5, 10
_PAUSE = 1.0
HISTORY, CHECKPOINT = "history.csv", ".checkpoint"
#: What a trial may fail of without the study failing: settings that diverge, or are too large for the machine.
_TRIAL_FAULTS = (InputError, RuntimeError, ValueError, ArithmeticError, MemoryError)


def tune_table(request: TuneRequest, *, say: Say = print) -> Outcome:
    """Do a study, or the part of it that is not done yet, and export its best trial as a run.

    Args:
        request: What is asked.
        say: Takes lines that tell how it goes.
    """
    request.check()
    need_optuna()
    space = get_space(request.space)
    identity = identity_of(request, space)
    folder = request.folder
    space_file = Path(request.space) if request.space.endswith(".json") else None
    refuse_input(folder, {**request.files, "space": space_file}, names=STUDY.names)
    if not request.overwrite:
        check_study_folder(folder, identity, request.shown_storage, request.study)
        done = finished_outcome(request, identity, space)
        if done is not None:
            return done
    if faults := device_faults(request.device):
        raise InputError(faults[0])
    use_threads(request.threads)
    inputs = load_inputs(request.run_request(space.base_name))
    stages.validation_rows(inputs)
    say(headline(inputs))
    with quiet_optuna(), _opened(request, identity) as study:
        wanted = request.trials if request.trials is not None else space.trials_for(inputs.task)
        # A study that has more already is not cut.
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
                f"interrupted after {count} of {total} trials; the same command goes on with the rest"
            ) from None
        return export_winner(session)


def identity_of(request: TuneRequest, space: Space) -> dict[str, Any]:
    """Return everything that the results of a study's trials depend on."""
    content = configuration(request.run_request("default"))
    for name in ("preset", "baselines"):
        content.pop(name, None)
    rule = {"least_complete": LEAST_COMPLETE, "longest_warm_up": LONGEST_WARM_UP}
    pruning = rule if request.pruning and space.pruning else None
    space_name = Path(space.name).name
    return content | {"space": space_name, "space content": configuration_hash(space.content), "pruning": pruning}


@contextlib.contextmanager
def _opened(request: TuneRequest, identity: dict[str, Any]) -> Iterator[Study]:
    """Take the folder and the storage; a folder in which nothing came about goes again."""
    optuna = need_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    folder = request.folder
    with made_folder(folder):
        try:
            with Worker(folder / WORKERS) as worker:
                if request.overwrite:
                    if count := worker.others():
                        raise InputError(
                            f"a study is only replaced when nobody works on it, however: {count} other process"
                            f"{by_count(count, ' is', 'es are')} at work in {folder}; wait, or choose another --out"
                        )
                    if STUDY.read(folder) is None and read_record(folder) is None:
                        STUDY.refuse_taken(folder)
                opened = open_study(request.url, request.study, identity, worker, overwrite=request.overwrite)
                with opened as study, writable_folder(folder):
                    if request.overwrite:
                        STUDY.clear(folder)
                    if STUDY.read(folder) is None:
                        record = new_record(identity, request.shown_storage, request.study, request.command)
                        write_tune_record(folder, record)
                    yield study
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise EnvironmentProblem(
                f"the study's storage must stay reachable, however: {str(error).splitlines()[0]}; "
                "mend this, then the same command goes on"
            ) from error
        finally:
            if not (folder / TUNE_RECORD).exists():
                for guard in (folder / WORKERS).glob("*.guard"):
                    guard.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    (folder / WORKERS).rmdir()


# ---- trials ----------------------------------------------------------------------------------------------------------
def _work_through(session: TuneSession) -> None:
    """Do trials until all are finished, whoever finishes them."""
    study = session.study
    for trial in study.finished():  # of a process that was killed right after a trial's end
        shutil.rmtree(session.folder / TRIALS / str(trial.number) / CHECKPOINT, ignore_errors=True)
    try:
        _claim_and_do(session)
    finally:
        # Also what Ctrl-C met while it was being claimed or ended; a full disk says nothing of a trial either.
        study.let_go()


def _claim_and_do(session: TuneSession) -> None:
    study, total, waiting = session.study, session.total, False
    while True:
        claim = study.claim(total, session.space, session.inputs.task, session.request.seed)
        if claim is not None:
            waiting = False
            _do_trial(session, claim)
            write_table(session)
        elif len(study.finished(total)) >= total:
            return
        else:
            if not waiting:
                session.say("other processes are at work on the last trials; waiting (Ctrl-C leaves it to them)")
            waiting = True
            time.sleep(_PAUSE)


def _do_trial(session: TuneSession, claim: Claim) -> None:
    """Train one trial, keep its model, and tell the study."""
    place = session.folder / TRIALS / str(claim.number)
    stored = None
    with contextlib.suppress(OSError, ValueError):
        stored = parse_json((place / PRESET).read_bytes())
    if place.exists() and not (claim.resumed and stored == claim.proposal["preset"]):
        shutil.rmtree(place)  # of an older study in this folder
    sweep(place)
    with writable_folder(session.folder):
        (place / CHECKPOINT).mkdir(parents=True, exist_ok=True)
        write_json_atomic(place / PRESET, claim.proposal["preset"])
    try:
        with session.study.at_work(claim):
            state, value, facts = _train(session, claim, place)
    except _TRIAL_FAULTS as error:
        reason = " ".join(f"{error}".split()) or type(error).__name__
        reason = reason if isinstance(error, InputError) else f"{type(error).__name__}: {reason}"
        state, value, facts = "failed", None, {REASON: reason}
    session.study.finish(claim, state, value, facts)
    shutil.rmtree(place / CHECKPOINT, ignore_errors=True)
    session.say(_trial_line(session, claim.number, state, value, facts))


def _train(session: TuneSession, claim: Claim, place: Path) -> tuple[str, float, dict[str, Any]]:
    """Return how a trial ended, its smallest validation loss, and facts about it; its model is in its folder."""
    preset = check_preset(claim.proposal["preset"])
    request = session.request.run_request(session.space.base_name, claim.proposal["seed"])
    inputs, epochs = session.inputs, int(preset.training["max_epochs"])
    pruner = None
    if session.request.pruning and session.space.pruning:
        warm_up = min(max(epochs // 4, 1), LONGEST_WARM_UP)
        pruner = Pruner(claim.history, warm_up=warm_up, least=LEAST_COMPLETE)
    encoded = stages.fit_encoder(stages.make_estimator(request, inputs, None, preset=preset), inputs)
    layout, _ = stages.place_columns(*encoded, preset, request.seed)
    # As it comes back from a run's folder, so that a run of the same preset and seed is the same to the last bit.
    stored = StoredLayout.from_dict(plain(layout_to_dict(layout)))
    model = stages.make_estimator(request, inputs, stored, preset=preset)
    model.set_params(progress=False)
    train, losses, pruned = inputs.parts["train"], dict[int, float](), False
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

        model._fit(  # noqa: SLF001 — see docs/architecture.md
            train.X,
            train.y,
            eval_set=stages.validation_rows(inputs),
            checkpoint_folder=place / CHECKPOINT,
            on_epoch=watch,
        )
    model.save(place / MODEL, overwrite=True)
    with writable_folder(session.folder), atomic_path(place / HISTORY) as temporary:
        write_csv(model.history_, temporary)
    value = float(model.history_["validation_loss"].iloc[model.best_epoch_ - 1])
    facts = {
        EPOCHS: len(model.history_),
        BEST_EPOCH: int(model.best_epoch_),
        SECONDS: round(float(model.history_["seconds"].sum()), 3),
    }
    return ("pruned" if pruned else "complete"), value, facts


def _trial_line(session: TuneSession, number: int, state: str, value: float | None, facts: dict[str, Any]) -> str:
    finished = session.study.finished(session.total)
    best = session.study.best(session.total)
    line = f"[{len(finished)}/{session.total}] trial {number}: "
    if state == "failed":
        line += f"failed: {facts[REASON]}"
    else:
        line += f"{value:.5g}, {facts[EPOCHS]} epochs" + (", pruned" if state == "pruned" else "")
    if best is not None:
        line += f"; best so far {best.value:.5g}, trial {best.number}"
    times = [float(trial.user_attrs[SECONDS]) for trial in finished if SECONDS in trial.user_attrs]
    left = session.total - len(finished)
    if times and left:
        workers = 1 + session.study.worker.others()
        line += f"; about {readable(sum(times) / len(times) * left / workers)} left"
    return line
