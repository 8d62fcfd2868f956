"""A study in a storage that Optuna knows, worked on by one process or many, each killed at any moment.

What number means: trials 0 … N − 1 are entered as waiting before any is claimed, and a trial keeps its number, its
parameters and its seed for good. Who works on it may change: a trial whose process was killed is claimed again, under
the same number, and goes on from its training's checkpoint. So no trial is lost and none is done twice, and a study in
one process does the same work in the same order however often it was killed.

Claiming is guarded by a lock of the operating system where the processes share a machine, and by the storage's own
compare-and-set from waiting to running where a database server is shared by machines.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.files import plain
from permgrad.tuning.locks import Worker, exclusive
from permgrad.tuning.optuna_tools import Proposal, need_optuna, propose
from permgrad.tuning.spaces import Space

#: The study's attribute that says what was tuned.
IDENTITY = "permgrad"
OWNER, BEAT, PROPOSAL, REASON = "owner", "heartbeat", "proposal", "reason"
EPOCHS, BEST_EPOCH, SECONDS = "epochs", "best_epoch", "seconds"
#: Seconds between two signs of life, and how long a worker of another folder may be silent before it counts as dead.
BEAT_SECONDS, SILENT_SECONDS = 15.0, 120.0
_SQLITE = "sqlite:///"
_WAIT_FOR_LOCK = 120
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Claim:
    """A trial that this process is to do.

    Attributes:
        identifier: the storage's name of the trial.
        number: its number.
        proposal: what it tries.
        history: frozen trials of smaller number that were finished when it was claimed, for pruning.
        resumed: whether somebody began it before.
    """

    identifier: int
    number: int
    proposal: Proposal
    history: Sequence[Any]
    resumed: bool


def storage_file(url: str) -> Path | None:
    """Return the file of a storage that is one, else None.

    Examples:
        >>> storage_file("sqlite:///runs/study.db").as_posix()
        'runs/study.db'
    """
    if not url.startswith(_SQLITE):
        return None
    return Path(url.removeprefix(_SQLITE).partition("?")[0])


def open_storage(url: str) -> Any:
    """Return the storage at a URL.

    Raises:
        InputError: The URL is none that Optuna knows.
        EnvironmentProblem: The driver is not installed, or the database cannot be opened.
    """
    optuna = need_optuna()
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if "://" not in url:
        raise InputError(
            f"a storage must be a URL, however: --storage {url}; give for example --storage sqlite:///study.db"
        )
    if url in ("sqlite://", _SQLITE) or ":memory:" in url:
        raise InputError(
            f"a storage must outlive the process, however: --storage {url} is in memory; "
            "give for example --storage sqlite:///study.db"
        )
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        # How long a process waits while another one writes.
        options = {"connect_args": {"timeout": _WAIT_FOR_LOCK}}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise EnvironmentProblem(
            f"a storage needs its database's driver, however: that of --storage {without_password(url)} is not "
            "installed; install it (for PostgreSQL for example psycopg2-binary), or leave --storage out"
        ) from error
    except (ArgumentError, ValueError) as error:
        raise InputError(
            f"a storage must be a URL of a database that Optuna knows, however: --storage {without_password(url)}: "
            f"{str(error).splitlines()[0]}; correct the URL, or install the database's driver"
        ) from error
    except (SQLAlchemyError, OSError, RuntimeError, optuna.exceptions.StorageInternalError) as error:
        raise EnvironmentProblem(
            f"the study's storage must open, however: --storage {without_password(url)}: {str(error).splitlines()[0]}; "
            f"{_mending(url, error)}"
        ) from error


def _mending(url: str, error: BaseException) -> str:
    """Return how a storage that does not open is mended."""
    cause: BaseException | None = getattr(error, "orig", None) or error.__cause__
    # SQLite's errors of use, such as a folder that may not be written, are of kinds below this one.
    if storage_file(url) is not None and type(getattr(cause, "orig", cause)) is sqlite3.DatabaseError:
        return "delete that file to begin anew, or name another --out (another --storage, where you gave it)"
    return "check that the folder or server exists and that you may write there"


def without_password(url: str) -> str:
    """Return a URL as it may be shown and written down.

    Examples:
        >>> without_password("postgresql://anna:secret@db.example.org/studies")
        'postgresql://anna:…@db.example.org/studies'
    """
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, _, login = head.partition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}{':…' if colon else ''}@{tail}"


class Study:
    """One study, as a worker sees it. Made by :func:`open_study`.

    Attributes:
        worker: this process.
        url: where the storage is.
        name: the study's name there.
    """

    def __init__(self, storage: Any, study: Any, url: str, worker: Worker, guard: Path) -> None:
        self._storage = storage
        self._study = study
        self._guard = guard
        self._states = need_optuna().trial.TrialState
        self._seen: dict[int, tuple[Any, float]] = {}
        self.url = url
        self.name: str = study.study_name
        self.worker = worker

    # ---- looking -----------------------------------------------------------------------------------------------------

    def trials(self, total: int | None = None) -> list[Any]:
        """Return the frozen trials in order of number, all or the first ``total``."""
        found: list[Any] = sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)
        return found if total is None else found[:total]

    def finished(self, total: int | None = None) -> list[Any]:
        """Return the trials that ended: complete, pruned or failed."""
        return [trial for trial in self.trials(total) if trial.state.is_finished()]

    def best(self, total: int | None = None) -> Any | None:
        """Return the complete trial of the smallest loss, the first of equals; None if there is none."""
        complete = [trial for trial in self.trials(total) if trial.state == self._states.COMPLETE]
        return min(complete, key=lambda trial: (trial.value, trial.number), default=None)

    # ---- claiming ----------------------------------------------------------------------------------------------------

    def enter(self, total: int) -> None:
        """Make sure that trials 0 … total − 1 exist; those that nobody has done wait."""
        optuna = need_optuna()
        with exclusive(self._guard):
            for _ in range(len(self.trials()), total):
                self._study.add_trial(optuna.trial.create_trial(state=self._states.WAITING))

    def claim(self, total: int, space: Space, task: str, seed: int) -> Claim | None:
        """Take the first trial that waits or whose worker is dead; None if there is none at this moment.

        What the trial tries is chosen once, from what is finished then, and kept with the trial.
        """
        with exclusive(self._guard):
            trials = self.trials(total)
            for trial in trials:
                if trial.state.is_finished() or not (self._waits(trial) or self._is_orphan(trial)):
                    continue
                if not self._take(trial):
                    continue
                history = [other for other in trials if other.number < trial.number and other.state.is_finished()]
                running = [other for other in trials if other.state == self._states.RUNNING and other.params]
                shown = sorted(
                    {own.number: own for own in (*history, *running) if own.number != trial.number}.values(),
                    key=lambda own: own.number,
                )
                proposal, resumed = self._proposal(trial, space, task, seed, shown)
                return Claim(trial._trial_id, trial.number, proposal, history, resumed)  # noqa: SLF001 — Optuna's storage API needs it
        return None

    def _waits(self, trial: Any) -> bool:
        return bool(trial.state == self._states.WAITING)

    def _is_orphan(self, trial: Any) -> bool:
        """Whether the worker of a running trial is dead."""
        owner = trial.user_attrs.get(OWNER)
        if owner is None:
            return self._is_silent(trial)
        gone = self.worker.is_gone(owner["token"])
        here = owner["host"] == self.worker.host and owner["folder"] == os.fspath(self.worker.folder.resolve())
        if gone is None and here:
            return True
        return self._is_silent(trial) if gone is None else gone

    def _is_silent(self, trial: Any) -> bool:
        """Whether a worker that cannot be asked has given no sign of life for long, by this process's own clock."""
        beat = trial.user_attrs.get(BEAT)
        before = self._seen.get(trial.number)
        if before is None or before[0] != beat:
            self._seen[trial.number] = (beat, time.monotonic())
            return False
        return time.monotonic() - before[1] > SILENT_SECONDS

    def _take(self, trial: Any) -> bool:
        """Set a trial from waiting to running for this worker; False if another machine was faster."""
        identifier = trial._trial_id  # noqa: SLF001 — as above
        owner = {
            "token": self.worker.token,
            "host": self.worker.host,
            "folder": os.fspath(self.worker.folder.resolve()),
        }
        try:
            self._storage.set_trial_user_attr(identifier, OWNER, owner)
            if trial.state == self._states.RUNNING:
                self._storage.set_trial_state_values(identifier, self._states.WAITING)
            taken = bool(self._storage.set_trial_state_values(identifier, self._states.RUNNING))
            if taken:
                self._storage.set_trial_user_attr(identifier, OWNER, owner)
        except need_optuna().exceptions.UpdateFinishedTrialError:
            return False
        return taken

    def _proposal(self, trial: Any, space: Space, task: str, seed: int, shown: Sequence[Any]) -> tuple[Proposal, bool]:
        """Return what a trial tries: as it was chosen when it was first claimed, or chosen now."""
        identifier = trial._trial_id  # noqa: SLF001 — as above
        chosen = trial.user_attrs.get(PROPOSAL)
        resumed = chosen is not None
        if chosen is None:
            # One write, so that a process killed in between leaves the whole choice or none.
            chosen = _packed(propose(space, task, shown, seed=seed, number=trial.number))
            self._storage.set_trial_user_attr(identifier, PROPOSAL, chosen)
        proposal = _unpacked(chosen)
        for name, distribution in proposal.distributions.items():
            if name not in trial.params:
                value = distribution.to_internal_repr(proposal.parameters[name])
                self._storage.set_trial_param(identifier, name, value, distribution)
        return proposal, resumed

    # ---- working -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self, claim: Claim) -> Iterator[None]:
        """Give signs of life for a trial while the body runs."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                with contextlib.suppress(Exception):
                    self._storage.set_trial_user_attr(claim.identifier, BEAT, time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def report(self, claim: Claim, epoch: int, loss: float) -> None:
        """Keep a trial's validation loss after an epoch."""
        with contextlib.suppress(need_optuna().exceptions.UpdateFinishedTrialError):
            self._storage.set_trial_intermediate_value(claim.identifier, epoch, loss)

    def finish(self, claim: Claim, state: str, value: float | None, facts: Mapping[str, Any]) -> None:
        """End a trial as ``"complete"``, ``"pruned"`` or ``"failed"``; what was ended before stays as it is."""
        states = {"complete": self._states.COMPLETE, "pruned": self._states.PRUNED, "failed": self._states.FAIL}
        with contextlib.suppress(need_optuna().exceptions.UpdateFinishedTrialError):
            for name, fact in facts.items():
                self._storage.set_trial_user_attr(claim.identifier, name, plain(fact))
            values = None if value is None else [float(value)]
            self._storage.set_trial_state_values(claim.identifier, states[state], values)

    def release(self, claim: Claim) -> None:
        """Let a trial wait again, with what it was to try."""
        with contextlib.suppress(Exception):
            self._storage.set_trial_state_values(claim.identifier, self._states.WAITING)


def _packed(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal as JSON knows it."""
    write = need_optuna().distributions.distribution_to_json
    content: dict[str, Any] = plain(
        {
            "parameters": dict(proposal.parameters),
            "distributions": {name: write(own) for name, own in proposal.distributions.items()},
            "preset": dict(proposal.preset),
            "seed": proposal.seed,
        }
    )
    return content


def _unpacked(content: Mapping[str, Any]) -> Proposal:
    read = need_optuna().distributions.json_to_distribution
    distributions = {name: read(own) for name, own in content["distributions"].items()}
    return Proposal(content["parameters"], distributions, content["preset"], int(content["seed"]))


@contextlib.contextmanager
def open_study(
    url: str, name: str, identity: Mapping[str, Any], folder: Path, worker: Worker, *, overwrite: bool = False
) -> Iterator[Study]:
    """Open a study, or make it.

    Args:
        url: the storage.
        name: the study's name there.
        identity: everything that its trials' results depend on; a study of that name must be of the same.
        folder: where this worker keeps what it makes.
        worker: this process.
        overwrite: remove a study of that name first.

    Raises:
        InputError: The storage holds a study of that name that tunes something else; the message says what differs.
        EnvironmentProblem: The storage cannot be opened.
    """
    optuna = need_optuna()
    guard = _guard(url, folder)
    with contextlib.ExitStack() as to_close:
        with exclusive(guard):
            storage = to_close.enter_context(_opened(url))
            if overwrite and name in {own.study_name for own in storage.get_all_studies()}:
                optuna.delete_study(study_name=name, storage=storage)
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
            _check_identity(study, identity, url)
        yield Study(storage, study, url, worker, guard)


def check_storage(url: str, folder: Path) -> None:
    """Refuse a storage that does not open, before anything is removed for the sake of a study in it.

    Args:
        url: the storage.
        folder: where this worker keeps what it makes.

    Raises:
        EnvironmentProblem: The storage cannot be opened.
    """
    with exclusive(_guard(url, folder)), _opened(url) as storage:
        storage.get_all_studies()


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Any]:
    """Open a storage for the body, and close what it holds afterwards."""
    storage = open_storage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _guard(url: str, folder: Path) -> Path:
    """Return the file that one worker at a time holds while it changes a storage."""
    file = storage_file(url)
    if file is None:
        return folder / "claim.guard"
    if not file.parent.is_dir():
        raise EnvironmentProblem(
            f"the study's storage must open, however: the folder {file.parent} of --storage {url} does not exist; "
            "make it, or choose another storage"
        )
    return file.with_name(f"{file.name}.guard")


def _check_identity(study: Any, identity: Mapping[str, Any], url: str) -> None:
    """Refuse a study that tunes something else; sign one that is new."""
    wanted = plain(dict(identity))
    there = study.user_attrs.get(IDENTITY)
    if there is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(IDENTITY, wanted)
        return
    if there is None:
        raise InputError(
            f"a study must be one that permgrad made, however: study {study.study_name!r} in {without_password(url)} "
            "holds trials of another program; choose another name with --study, or another --storage"
        )
    if there != wanted:
        raise InputError(
            f"a study goes on with what it began with, however: study {study.study_name!r} in {without_password(url)} "
            f"differs in {differences(there, wanted)}; choose another name with --study, another --storage or --out, "
            "or begin anew with --overwrite"
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say which settings differ, with both values where they are short; those of files' contents say nothing.

    Examples:
        >>> differences({"seed": 1, "table": "0f" * 32}, {"seed": 2, "table": "1e" * 32})
        'seed (1 there, 2 now), table'
    """
    words = []
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) == new.get(name):
            continue
        before, now = (_worded(side.get(name)) for side in (old, new))
        words.append(name if max(len(before), len(now)) > _LONGEST_SHOWN else f"{name} ({before} there, {now} now)")
    return ", ".join(words)


def _worded(value: Any) -> str:
    return "none" if value is None or value == [] else str(value)
