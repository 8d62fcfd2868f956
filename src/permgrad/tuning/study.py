"""A study in a storage of Optuna. One or many processes work on it, and each may stop at any moment.

Trials 0 … N - 1 wait in Optuna's queue before any is claimed. A trial keeps its number, its parameters and its seed. If
its process stops, it is claimed again under the same number and resumes from its training's checkpoint. Optuna's retry
would start again under another number. Claiming is guarded by a lock of the operating system for processes on one
machine, and by the storage's compare-and-set for machines that share a database server.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import socket
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from permgrad.base.errors import EnvironmentProblem, InputError, differences
from permgrad.base.files import plain
from permgrad.base.locks import exclusive, release, take
from permgrad.base.optional import optional
from permgrad.base.random import derive_seed
from permgrad.tuning.spaces import Space

#: The study's attribute with what was tuned.
IDENTITY = "permgrad"
OWNER, PROPOSAL, REASON = "owner", "proposal", "reason"
EPOCHS, BEST_EPOCH, SECONDS = "epochs", "best_epoch", "seconds"
#: Seconds between two heartbeats, and after which a silent worker of another folder counts as dead.
BEAT_SECONDS, SILENT_SECONDS = 15, 120
#: Optuna's names of how a trial ended, and ours.
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
_SQLITE = "sqlite:///"


class Worker:
    """This process as a worker of a study: it holds a lock file in the study's folder while the body runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.owner = {"token": self.token, "host": socket.gethostname(), "folder": os.fspath(folder.resolve())}
        self._lock = FileLock(self._path(self.token))

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        release(self._lock)

    def _path(self, token: str) -> Path:
        return self.folder / f"{token}.lock"

    def is_gone(self, owner: Mapping[str, str]) -> bool | None:
        """Return whether a trial's owner has ended, and remove its file. None if this machine cannot tell."""
        path = self._path(owner["token"])
        if owner["token"] == self.token:
            return False
        if not path.exists():
            # A worker of this folder that has ended.
            return True if all(owner[name] == self.owner[name] for name in ("host", "folder")) else None
        lock = take(path)
        if lock is None:
            return False
        release(lock)
        return True

    def others(self) -> int:
        """Return how many other workers are alive."""
        tokens = [path.stem for path in self.folder.glob("*.lock")]
        return sum(self.is_gone({**self.owner, "token": token}) is False for token in tokens if token != self.token)


@dataclass(frozen=True)
class Claim:
    """A trial that this process works on: its name in the storage, its number, and its proposal, see ``propose``.

    ``history``: trials of smaller number that were finished when it was claimed. ``resumed``: another process began it.
    """

    identifier: int
    number: int
    proposal: Mapping[str, Any]
    history: Sequence[Any]
    resumed: bool


def storage_file(url: str) -> Path | None:
    """Return the file of a storage, or None if it is a server."""
    if not url.startswith(_SQLITE):
        return None
    return Path(url.removeprefix(_SQLITE).partition("?")[0])


def open_storage(url: str) -> Any:
    """Return the storage at a URL."""
    optuna = need_optuna()
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if "://" not in url:
        problem = f"--storage must be a URL, got {url}"
        raise InputError(problem, hint="For example: --storage sqlite:///study.db.", code="PG001")
    if url in ("sqlite://", _SQLITE) or ":memory:" in url:
        problem = f"--storage {url} is in memory, so the study would be lost"
        raise InputError(problem, hint="For example: --storage sqlite:///study.db.", code="PG001")
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        # How long a process waits while another one writes.
        options = {"connect_args": {"timeout": 120}}
    try:
        return optuna.storages.RDBStorage(
            url, engine_kwargs=options, heartbeat_interval=BEAT_SECONDS, grace_period=SILENT_SECONDS
        )
    except ImportError as error:
        problem = f"The database driver for --storage {without_password(url)} is not installed"
        hint = "Install it (for PostgreSQL for example psycopg2-binary), or leave --storage out."
        raise EnvironmentProblem(problem, hint=hint, code="PG060") from error
    except (ArgumentError, ValueError) as error:
        problem = f"Optuna cannot use --storage {without_password(url)}: {str(error).splitlines()[0]}"
        raise InputError(problem, hint="Correct the URL, or install the database's driver.", code="PG001") from error
    except (SQLAlchemyError, OSError, RuntimeError, optuna.exceptions.StorageInternalError) as error:
        fix = "Check that the folder or server exists and that you may write there."
        cause: BaseException | None = getattr(error, "orig", None) or error.__cause__
        # SQLite's errors of use, such as a folder without write permission, are of subclasses of this one.
        if storage_file(url) is not None and type(getattr(cause, "orig", cause)) is sqlite3.DatabaseError:
            fix = "Delete that file to start again, or choose another --out (or --storage, if you passed it)."
        problem = f"Cannot open --storage {without_password(url)}: {str(error).splitlines()[0]}"
        raise EnvironmentProblem(problem, hint=fix, code="PG062") from error


def without_password(url: str) -> str:
    """Return a URL in the form that may be shown and stored."""
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, _, login = head.partition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}{':…' if colon else ''}@{tail}"


class Study:
    """A study, as seen by a worker. Made by :func:`open_study`."""

    def __init__(self, storage: Any, study: Any, worker: Worker, guard: Path) -> None:
        self._storage = storage
        self._study = study
        self._guard = guard
        self._states = need_optuna().trial.TrialState
        self.name: str = study.study_name
        self.worker = worker

    # ---- looking -----------------------------------------------------------------------------------------------------

    def trials(self, total: int | None = None) -> list[Any]:
        """Return the frozen trials in order of number, all or the first ``total``."""
        return sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)[:total]

    def finished(self, total: int | None = None) -> list[Any]:
        """Return the trials that ended: complete, pruned or failed."""
        return [trial for trial in self.trials(total) if trial.state.is_finished()]

    def best(self, total: int | None = None) -> Any | None:
        """Return the complete trial with the smallest loss, the first of equal ones, or None."""
        complete = [trial for trial in self.trials(total) if trial.state == self._states.COMPLETE]
        return min(complete, key=lambda trial: (trial.value, trial.number), default=None)

    # ---- claiming ----------------------------------------------------------------------------------------------------

    def enter(self, total: int) -> None:
        """Make sure that trials 0 … total - 1 exist. Those that are not done wait."""
        optuna = need_optuna()
        with exclusive(self._guard):
            for _ in range(len(self.trials()), total):
                self._study.add_trial(optuna.trial.create_trial(state=self._states.WAITING))

    def claim(self, total: int, space: Space, seed: int) -> Claim | None:
        """Take the first trial that waits or whose worker is dead, or None if there is none at present."""
        with exclusive(self._guard):
            trials = self.trials(total)
            running = [trial for trial in trials if trial.state == self._states.RUNNING]
            for trial in trials:
                if trial.state.is_finished() or (trial in running and not self._is_orphan(trial)):
                    continue
                if not self._take(trial):
                    continue
                history = [other for other in trials[: trial.number] if other.state.is_finished()]
                under_way = [other for other in running if other.params and other.number != trial.number]
                examples = sorted([*history, *under_way], key=lambda other: other.number)
                identifier = trial._trial_id  # noqa: SLF001 — Optuna's storage API needs it
                proposal = trial.user_attrs.get(PROPOSAL)
                resumed = proposal is not None
                if proposal is None:
                    # One write: after an interruption the complete proposal is stored, or none.
                    proposal = propose(space, examples, seed=seed, number=trial.number)
                    self._storage.set_trial_user_attr(identifier, PROPOSAL, proposal)
                for name, written in proposal["distributions"].items():
                    if name not in trial.params:
                        distribution = need_optuna().distributions.json_to_distribution(written)
                        value = distribution.to_internal_repr(proposal["parameters"][name])
                        self._storage.set_trial_param(identifier, name, value, distribution)
                return Claim(identifier, trial.number, proposal, history, resumed)
        return None

    def _is_orphan(self, trial: Any) -> bool:
        """Whether the worker of a running trial is dead: by its lock, or by its heartbeats on another machine."""
        owner = trial.user_attrs.get(OWNER)
        gone = None if owner is None else self.worker.is_gone(owner)
        if gone is not None:
            return gone
        # Optuna's public function would mark them as failed.
        return trial._trial_id in self._storage._get_stale_trial_ids(self._study._study_id)  # noqa: SLF001

    def _take(self, trial: Any) -> bool:
        """Set a trial from waiting to running for this worker. False if another machine was faster."""
        identifier = trial._trial_id  # noqa: SLF001 — as above
        try:
            self._storage.set_trial_user_attr(identifier, OWNER, self.worker.owner)
            self._storage.record_heartbeat(identifier)
            if trial.state == self._states.RUNNING:
                self._storage.set_trial_state_values(identifier, self._states.WAITING)
            taken = bool(self._storage.set_trial_state_values(identifier, self._states.RUNNING))
            if taken:
                self._storage.set_trial_user_attr(identifier, OWNER, self.worker.owner)
        except need_optuna().exceptions.UpdateFinishedTrialError:
            return False
        return taken

    # ---- working -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self, claim: Claim) -> Iterator[None]:
        """Send heartbeats of a trial while the body runs. A failed heartbeat does not end the trial."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                with contextlib.suppress(Exception):
                    self._storage.record_heartbeat(claim.identifier)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def report(self, claim: Claim, epoch: int, loss: float) -> None:
        """Store a trial's validation loss after an epoch."""
        with contextlib.suppress(need_optuna().exceptions.UpdateFinishedTrialError):
            self._storage.set_trial_intermediate_value(claim.identifier, epoch, loss)

    def finish(self, claim: Claim, state: str, value: float | None, facts: Mapping[str, Any]) -> None:
        """End a trial as ``"complete"``, ``"pruned"`` or ``"failed"``. A trial that has ended does not change."""
        states = {word: self._states[name] for name, word in STATES.items()}
        with contextlib.suppress(need_optuna().exceptions.UpdateFinishedTrialError):
            for name, fact in facts.items():
                self._storage.set_trial_user_attr(claim.identifier, name, plain(fact))
            values = None if value is None else [float(value)]
            self._storage.set_trial_state_values(claim.identifier, states[state], values)

    def let_go(self) -> None:
        """Let the trials of this worker wait again, with their proposals."""
        with contextlib.suppress(Exception):
            for trial in self.trials():
                if trial.state == self._states.RUNNING and trial.user_attrs.get(OWNER) == self.worker.owner:
                    self._storage.set_trial_state_values(trial._trial_id, self._states.WAITING)  # noqa: SLF001 — as above


@contextlib.contextmanager
def open_study(
    url: str, name: str, identity: Mapping[str, Any], worker: Worker, *, overwrite: bool = False
) -> Iterator[Study]:
    """Open or make a study. An existing one must have the same identity: everything that its results depend on."""
    optuna = need_optuna()
    # One worker at a time holds this file while it changes the storage.
    file, guard, storage = storage_file(url), worker.folder / "claim.guard", None
    if file is not None:
        guard = file.with_name(f"{file.name}.guard")
        if not file.parent.is_dir():
            problem = f"The folder {file.parent} of --storage {url} does not exist"
            raise EnvironmentProblem(problem, hint="Make it, or choose another storage.", code="PG062")
    try:
        with exclusive(guard):
            storage = open_storage(url)
            if overwrite and name in {summary.study_name for summary in storage.get_all_studies()}:
                optuna.delete_study(study_name=name, storage=storage)
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
            _check_identity(study, identity, url)
        yield Study(storage, study, worker, guard)
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _check_identity(study: Any, identity: Mapping[str, Any], url: str) -> None:
    """Refuse a study that tunes something else. Sign a new one."""
    wanted = plain(dict(identity))
    there = study.user_attrs.get(IDENTITY)
    if there is None:
        if not study.get_trials(deepcopy=False):
            study.set_user_attr(IDENTITY, wanted)
            return
        problem = f"Study {study.study_name!r} in {without_password(url)} holds trials of another program"
        raise InputError(problem, hint="Choose another name with --study, or another --storage.", code="PG051")
    if there != wanted:
        raise InputError(
            f"Study {study.study_name!r} in {without_password(url)} was started with other settings: "
            f"{differences(there, wanted)}",
            hint="Choose another --study, --storage or --out, or start again with --overwrite.",
            code="PG051",
        )


#: Number of random trials before the sampler models the results.
RANDOM_TRIALS = 10


def need_optuna() -> Any:
    """Return the module."""
    return optional("optuna", "permgrad[tune]")


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log only errors in the body. Its level and the user's filters are restored afterwards."""
    optuna = need_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A Ctrl-C during a query would show a traceback of the database's cursor.
    pool = logging.getLogger("sqlalchemy.pool")
    level = pool.level
    pool.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module=r"optuna(\..*)?")
            yield
    finally:
        optuna.logging.set_verbosity(before)
        pool.setLevel(level)


def propose(space: Space, history: Sequence[Any], *, seed: int, number: int) -> dict[str, Any]:
    """Choose the settings of a trial, by tree-structured Parzen estimators (Bergstra et al. 2011; Optuna's TPESampler).

    The result is JSON: ``parameters`` by name as Optuna stores them, their ``distributions``, the ``preset`` that they
    make, and the ``seed`` of network and training. Trial 0 has the study's seed, as ``permgrad run`` would.
    """
    optuna = need_optuna()
    sampler = optuna.samplers.TPESampler(
        seed=derive_seed(seed, "sampler", number) % 2**32,
        multivariate=True,
        constant_liar=True,
        n_startup_trials=RANDOM_TRIALS,
    )
    study = _study_of(history, sampler=sampler)
    base = space.base if number == 0 else None
    if base is not None:
        study.enqueue_trial(dict(space.start))
    trial = study.ask()
    preset = space.build(trial)
    names = [name for name in trial.params if base is None or name in space.start]
    write = optuna.distributions.distribution_to_json
    proposal: dict[str, Any] = plain(
        {
            "parameters": {name: trial.params[name] for name in names},
            "distributions": {name: write(trial.distributions[name]) for name in names},
            "preset": preset if base is None else base.to_dict(),
            "seed": seed if number == 0 else derive_seed(seed, "trial", number) % 2**31,
        }
    )
    return proposal


class Pruner:
    """Ends trials whose smallest loss is above the median of complete ones at that epoch (MedianPruner)."""

    def __init__(self, history: Sequence[Any], *, warm_up: int, least: int) -> None:
        optuna = need_optuna()
        states = optuna.trial.TrialState
        self._study = _study_of([trial for trial in history if trial.state == states.COMPLETE])
        # Optuna counts steps from 0, epochs count from 1.
        self._pruner = optuna.pruners.MedianPruner(n_startup_trials=least, n_warmup_steps=warm_up + 1)
        self._make = optuna.trial.create_trial
        self._running = states.RUNNING

    def ends(self, losses: Mapping[int, float]) -> bool:
        """Whether to end a trial with these validation losses by epoch now."""
        return bool(self._pruner.prune(self._study, self._make(state=self._running, intermediate_values=dict(losses))))


def _study_of(history: Sequence[Any], **options: Any) -> Any:
    optuna = need_optuna()
    study = optuna.create_study(direction="minimize", **options)
    study.add_trials(list(history))
    return study


def importances(trials: Sequence[Any]) -> dict[str, float]:
    """Return each parameter's share in what separates good trials from others, largest first. They sum to 1.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) on complete trials. Empty if these are too few or too alike.
    """
    optuna = need_optuna()
    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    study = _study_of(complete)
    quantile = max(0.1, 2.0 / len(complete))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    try:
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}  # too few different trials
    return {name: float(value) for name, value in shares.items() if not math.isnan(value)}
