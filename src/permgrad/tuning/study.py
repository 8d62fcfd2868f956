"""A study in a storage of Optuna.

One or many processes work on it, and each may stop at any moment.

Optuna numbers every trial that begins. A study of N trials has the **places** 0 … N -
1, and a trial that begins takes the first one that is neither finished nor being tried:
that of a process that stopped is tried again. The sampler and the training of a trial
take their seeds from its place, so a resumed study of one process is that of an
uninterrupted one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from permgrad.base.errors import (
    EnvironmentProblem,
    Fault,
    InputError,
    differences,
    refusing,
)
from permgrad.base.files import plain
from permgrad.base.late import optional
from permgrad.base.locks import exclusive, release, take
from permgrad.base.random import derive_seed
from permgrad.tuning.spaces import Space

#: The study's attribute with what was tuned.
IDENTITY = "permgrad"
#: Attributes of trials: the place, what was found, and why one failed.
PLACE = "place"
LOSS = "loss"
EPOCHS = "epochs"
BEST_EPOCH = "best_epoch"
SECONDS = "seconds"
REASON = "reason"
#: Seconds between two of Optuna's heartbeats, and after which it counts a silent
#: process as dead.
BEAT_SECONDS = 15
SILENT_SECONDS = 120
#: Optuna's names of how a trial ended, and ours.
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
#: Number of random trials before the sampler models the results.
RANDOM_TRIALS = 10
#: No trial is pruned before this many are complete, nor in the first quarter of the
#: epochs, at most this many.
LEAST_COMPLETE = 5
LONGEST_WARM_UP = 10
_SQLITE = "sqlite:///"


def need_optuna() -> Any:
    """Return the module."""
    return optional("optuna", "permgrad[tune]")


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log only errors in the body.

    Its level and the user's filters are restored afterwards.
    """
    optuna = need_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A Ctrl-C during a query would show a traceback of the database's cursor.
    pool = logging.getLogger("sqlalchemy.pool")
    level = pool.level
    pool.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=optuna.exceptions.ExperimentalWarning
            )
            warnings.filterwarnings("ignore", module=r"optuna(\..*)?")
            yield
    finally:
        optuna.logging.set_verbosity(before)
        pool.setLevel(level)


# ---- the storage ---------------------------------------------------------------------
def storage_file(url: str) -> Path | None:
    """Return the file of a storage, or None if it is a server.

    Refuse what is no storage that stays.
    """
    if "://" not in url:
        problem = f"--storage must be a URL, got {url}"
        raise InputError(
            problem, hint="For example: --storage sqlite:///study.db.", code="PG001"
        )
    if url in ("sqlite://", _SQLITE) or ":memory:" in url:
        problem = f"--storage {url} is in memory, so the study would be lost"
        raise InputError(
            problem, hint="For example: --storage sqlite:///study.db.", code="PG001"
        )
    if not url.startswith(_SQLITE):
        return None
    return Path(url.removeprefix(_SQLITE).partition("?")[0])


def open_storage(url: str) -> Any:
    """Return the storage at a URL."""
    optuna = need_optuna()
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    file = storage_file(url)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        # How long a process waits while another one writes.
        options = {"connect_args": {"timeout": 120}}
    try:
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=BEAT_SECONDS,
            grace_period=SILENT_SECONDS,
        )
    except ImportError as error:
        problem = (
            f"The database driver for --storage {without_password(url)} is not "
            "installed"
        )
        hint = (
            "Install it (for PostgreSQL for example psycopg2-binary), or leave "
            "--storage out."
        )
        raise EnvironmentProblem(problem, hint=hint, code="PG060") from error
    except (ArgumentError, ValueError) as error:
        problem = (
            f"Optuna cannot use --storage {without_password(url)}: "
            f"{str(error).splitlines()[0]}"
        )
        raise InputError(
            problem,
            hint="Correct the URL, or install the database's driver.",
            code="PG001",
        ) from error
    except (
        SQLAlchemyError,
        OSError,
        RuntimeError,
        optuna.exceptions.StorageInternalError,
    ) as error:
        fix = "Check that the folder or server exists and that you may write there."
        cause: BaseException | None = getattr(error, "orig", None) or error.__cause__
        # SQLite's errors of use, such as a folder without write permission, are of
        # subclasses of this one.
        if (
            file is not None
            and type(getattr(cause, "orig", cause)) is sqlite3.DatabaseError
        ):
            fix = (
                "Delete that file to start again, or choose another --out (or "
                "--storage, if you passed it)."
            )
        problem = (
            f"Cannot open --storage {without_password(url)}: "
            f"{str(error).splitlines()[0]}"
        )
        raise EnvironmentProblem(problem, hint=fix, code="PG062") from error


def without_password(url: str) -> str:
    """Return a URL in the form that may be shown and stored."""
    head, separator, tail = url.rpartition("@")
    if not separator:
        return url
    scheme, _, login = head.partition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}{':…' if colon else ''}@{tail}"


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[Callable[[], int]]:
    """Hold a lock file of this process in a folder.

    Yield what counts the other processes that hold one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock_path = folder / f"{os.getpid()}-{secrets.token_hex(6)}.lock"
    lock = take(lock_path)

    def others() -> int:
        count = 0
        for path in folder.glob("*.lock"):
            if path != lock_path and (left := take(path)) is not None:
                release(left)
            elif path != lock_path:
                count += 1
        return count

    try:
        yield others
    finally:
        if lock is not None:
            release(lock)


@contextlib.contextmanager
def open_study(
    url: str,
    name: str,
    identity: Mapping[str, Any],
    guard: Path,
    *,
    overwrite: bool = False,
) -> Iterator[Any]:
    """Open or make a study.

    An existing one must have the same identity: everything that its results depend on.

    ``guard``: the file that a process locks while it does so, and that ``claim`` locks.
    """
    optuna = need_optuna()
    storage = None
    try:
        with exclusive(guard):
            storage = open_storage(url)
            if overwrite and name in {
                summary.study_name for summary in storage.get_all_studies()
            }:
                optuna.delete_study(study_name=name, storage=storage)
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="minimize",
                load_if_exists=True,
            )
            _check_identity(study, identity, url)
        yield study
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


@refusing
def _check_identity(
    study: Any, identity: Mapping[str, Any], url: str
) -> Iterator[Fault]:
    """Refuse a study that tunes something else. Sign a new one."""
    expected_identity = plain(dict(identity))
    there = study.user_attrs.get(IDENTITY)
    if there is None:
        if not study.get_trials(deepcopy=False):
            study.set_user_attr(IDENTITY, expected_identity)
            return
        problem = (
            f"Study {study.study_name!r} in {without_password(url)} holds trials of "
            "another program"
        )
        yield problem, "Choose another --storage or --seed.", "PG051"
    if there != expected_identity:
        yield (
            (
                f"Study {study.study_name!r} in {without_password(url)} was started "
                f"with other settings: {differences(there, expected_identity)}"
            ),
            (
                "Choose another --storage, --seed or --out, or start again with "
                "--overwrite."
            ),
            "PG051",
        )


# ---- trials --------------------------------------------------------------------------
def is_finished(trial: Any) -> bool:
    """Whether a trial has a result: complete, pruned, or failed for a reason of its
    own.
    """
    return trial.state.is_finished() and (
        trial.state.name != "FAIL" or REASON in trial.user_attrs
    )


def finished(study: Any, total: int | None = None) -> dict[int, Any]:
    """Return the finished trials by place, in order, all or those of the first
    ``total`` places.
    """
    finished_trials: dict[int, Any] = {}
    for trial in sorted(
        study.get_trials(deepcopy=False), key=lambda trial: trial.number
    ):
        trial_place = trial.user_attrs.get(PLACE)
        if (
            trial_place is not None
            and is_finished(trial)
            and (total is None or trial_place < total)
        ):
            finished_trials.setdefault(trial_place, trial)
    return dict(sorted(finished_trials.items()))


def best_of(trials: Mapping[int, Any]) -> int | None:
    """Return the place of the complete trial with the smallest loss, the first of equal
    ones, or None.
    """
    losses = {}
    for trial_place, trial in trials.items():
        if trial.state.name == "COMPLETE":
            losses[trial_place] = trial.value
    return min(
        losses, key=lambda best_place: (losses[best_place], best_place), default=None
    )


def free_place(study: Any, total: int) -> int | None:
    """Return the first of ``total`` places that is neither finished nor being tried.

    None: there is none.
    """
    trials = study.get_trials(deepcopy=False)
    used_places = set()
    for trial in trials:
        if is_finished(trial) or trial.state.name == "RUNNING":
            used_places.add(trial.user_attrs.get(PLACE))
    return next(
        (trial_place for trial_place in range(total) if trial_place not in used_places),
        None,
    )


def claim(study: Any, trial: Any, total: int, guard: Path) -> int:
    """Give a trial that begins the first free place."""
    with exclusive(guard):
        trial_place = free_place(study, total)
        if trial_place is None:
            raise RuntimeError("other processes try all that is left")
        trial.set_user_attr(PLACE, trial_place)
    return trial_place


def end_interrupted(study: Any, *, alone: bool) -> None:
    """End trials whose process stopped, so that their places are free.

    If this process is ``alone``, these are all that run. If not, they are those without
    a heartbeat of Optuna.
    """
    optuna = need_optuna()
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False) if alone else ():
        if trial.state.name == "RUNNING":
            study.tell(
                trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True
            )


def seed_of(seed: int, trial_place: int) -> int:
    """Return the seed of network and training.

    Place 0 has the study's seed, as ``permgrad run`` would.
    """
    if trial_place == 0:
        return seed
    return derive_seed(seed, "trial", trial_place) % 2**31


def chosen(space: Space, trial_place: int, trial: Any) -> dict[str, Any]:
    """Return the settings of a trial, a running or a stored one.

    Place 0 is the space's base.
    """
    if trial_place or space.base is None:
        return space.build(trial)
    for parameter in space.parameters:
        if parameter.name in space.start:
            parameter.suggest(trial)
    settings: dict[str, Any] = space.base.to_dict()
    return settings


def set_sampler(study: Any, space: Space, *, seed: int, trial_place: int) -> None:
    """Let tree-structured Parzen estimators choose (Bergstra et al. 2011; Optuna's
    TPESampler), by a place's seed.
    """
    samplers = need_optuna().samplers
    study.sampler = samplers.TPESampler(
        seed=derive_seed(seed, "sampler", trial_place) % 2**32,
        multivariate=True,
        constant_liar=True,
        n_startup_trials=RANDOM_TRIALS,
    )
    if trial_place == 0 and space.base is not None:
        study.sampler = samplers.PartialFixedSampler(dict(space.start), study.sampler)


def set_pruner(study: Any, epochs: int) -> None:
    """End trials of so many epochs whose smallest loss is above the median of complete
    ones at that epoch.
    """
    warm_up = min(max(epochs // 4, 1), LONGEST_WARM_UP)
    # Optuna counts steps from 0, epochs count from 1.
    study.pruner = need_optuna().pruners.MedianPruner(
        n_startup_trials=LEAST_COMPLETE, n_warmup_steps=warm_up + 1
    )


def importances(trials: Sequence[Any]) -> dict[str, float]:
    """Return each parameter's share in what separates good trials from others, largest
    first. They sum to 1.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) on complete trials. Empty if
    these are too few or too alike.
    """
    optuna = need_optuna()
    complete = []
    for trial in trials:
        if trial.state == optuna.trial.TrialState.COMPLETE:
            complete.append(trial)
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    study = optuna.create_study(direction="minimize")
    study.add_trials(complete)
    quantile = max(0.1, 2.0 / len(complete))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    try:
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}  # too few different trials
    return {
        name: float(value) for name, value in shares.items() if not math.isnan(value)
    }
