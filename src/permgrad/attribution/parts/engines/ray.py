"""The engine for many processes and machines: Ray actors that hold the model, each with
one task at a time.

An actor reads its part of the files itself. One that dies is replaced, and its task is
passed to another. Actors for which a cluster has no room yet get tasks when it has.
Ray's changes to the process that starts it are reverted.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeVar

from permgrad.attribution.parts.engines.engine import check_workers, engines
from permgrad.base import __version__
from permgrad.base.checks import check_kind, check_whole, is_number
from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    PermgradError,
    by_count,
    shown,
    two_sentences,
    warn_user,
)
from permgrad.base.processors import processors

T = TypeVar("T")
R = TypeVar("R")

#: How often one task may cost a worker its life before it is given up: a task that
#: needs too much memory kills each.
_ATTEMPTS = 4
#: Seconds to wait for a cluster's head to answer. Ray itself waits for two minutes, and
#: then ends the process.
_PATIENCE = 5.0
#: Least shared memory for results in transit. Ray would take a third of the machine's
#: memory.
_STORE_BYTES = 256 * 2**20
#: Longest name of a folder in which Ray can still make its sockets.
_LONGEST_FOLDER = 32


@engines.register("ray")
class RayEngine:
    """Runs tasks on the workers of a Ray cluster, or in processes of this machine.

    The Ray session that this process has is used and left as it is. Without one,
    ``address`` (or the environment's ``RAY_ADDRESS``) names a cluster. Without that, a
    session is started here for the time of the work.

    Args:
        workers: actors that work at a time (default: one for each accelerator, or each
            processor without accelerators).
        address: ``"auto"`` or ``"host:port"`` of the cluster's head.
        cpus: processors of each worker, which computes with as many threads.
        gpus: accelerators of each worker. ``"auto"``: one if there are enough, else
            none.

    Source: Ray (Moritz et al. 2018). docs/large-tables.md shows how to run it.

    Examples:
        >>> RayEngine(workers=2).facts
        {'engine': 'ray', 'workers': 2}
        >>> list(RayEngine(workers=2).run([], abs))  # starts Ray only for tasks
        []
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        address: str | None = None,
        cpus: int = 1,
        gpus: float | Literal["auto"] = "auto",
    ) -> None:
        self.workers = check_workers(workers)
        check_kind(
            "address",
            address,
            str | None,
            "'auto' or 'host:port'",
            "Pass one of them, or leave it out",
        )
        self.address = address
        self.cpus = check_whole("cpus", cpus, "pass for example 1")
        if not (isinstance(gpus, str) and gpus == "auto") and not (
            is_number(gpus) and 0 <= gpus < math.inf
        ):
            problem = (
                f"gpus must be 'auto' or a number of at least 0, got {shown(gpus)}"
            )
            raise InputError(problem, hint="Pass for example 0", code="PG002")
        self.gpus = gpus
        self._restarted = 0

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for an explanation's ``meta``."""
        if self._restarted:
            restart_facts = {"workers_restarted": self._restarted}
        else:
            restart_facts = {}
        return {"engine": "ray", "workers": self.workers, **restart_facts}

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield each task's result once, in order of completion.

        Errors of ``work`` are raised.

        ``InputError``: more workers than processors. ``EnvironmentProblem``: Ray is
        missing, does not start or answer, or workers cannot load the work, or keep
        dying.

        Args:
            tasks: What is worked on.
            work: Returns the result of a task.
        """
        if not tasks:
            return
        ray = import_ray()
        if self.workers is None:
            needed = None
        else:
            needed = self.workers * self.cpus
        store_bytes = int(getattr(work, "store_bytes", 0))
        with session(
            workers=needed, address=self.address, store_bytes=store_bytes
        ) as resources:
            count, gpus_per_worker = self._plan(resources, len(tasks))
            actor = ray.remote(num_cpus=self.cpus, num_gpus=gpus_per_worker)(_Worker)
            # The reference keeps the work in shared memory until the last worker that
            # may have to be started is done.
            reference = _share(ray, work)
            worker_pool = _Pool(
                ray,
                tasks,
                lambda: actor.remote(__version__, self.cpus, [reference]),
                is_shared=resources.shared,
            )
            try:
                yield from worker_pool.run(count)
            finally:
                worker_pool.end()
                self._restarted += worker_pool.died
        if worker_pool.died:
            crash_text = by_count(
                worker_pool.died,
                "A worker crashed and was",
                f"{worker_pool.died} workers crashed and were",
            )
            parts_text = by_count(worker_pool.died, "Its part was", "Their parts were")
            warn_user(
                f"{crash_text} started again. {parts_text} computed again, so results "
                "do not change."
            )

    def _plan(self, resources: RaySession, tasks: int) -> tuple[int, float]:
        """Return how many workers are started, and how many accelerators each of them
        has.
        """
        worker_room = int(resources.cpus // self.cpus)
        requested_workers = self.workers or max(1, int(resources.gpus) or worker_room)
        if worker_room < 1 or (
            requested_workers > worker_room and not resources.shared
        ):
            problem = (
                f"workers={requested_workers} of {self.cpus} processors each "
                f"exceed the {resources.cpus:g} processors"
            )
            raise InputError(
                f"{problem} of the Ray session", hint="Use fewer workers", code="PG002"
            )
        if requested_workers > worker_room:
            warn_user(
                f"The Ray cluster has room for {worker_room} of {requested_workers} "
                "workers. The others join if the cluster grows."
            )
        if self.gpus != "auto":
            gpus_per_worker = self.gpus
        else:
            gpus_per_worker = float(resources.gpus >= requested_workers)
        if (
            gpus_per_worker * min(requested_workers, worker_room) > resources.gpus
            and not resources.shared
        ):
            problem = (
                f"gpus={gpus_per_worker:g} for each of {requested_workers} "
                f"workers exceed the {resources.gpus:g} accelerators"
            )
            raise InputError(
                f"{problem} of the Ray session",
                hint="Use fewer workers, or gpus='auto'",
                code="PG002",
            )
        self.workers = requested_workers
        return min(requested_workers, tasks), float(gpus_per_worker)


class _Pool:
    """Hands tasks to workers that are free, and replaces those that die.

    ``start`` starts a worker.
    """

    def __init__(
        self,
        ray: ModuleType,
        tasks: Sequence[Any],
        start: Callable[[], Any],
        *,
        is_shared: bool,
    ) -> None:
        self.ray = ray
        self.tasks = tasks
        self.start = start
        self.is_shared = is_shared
        self.waiting = list(range(len(tasks)))[::-1]
        self.attempts = Counter[int | None]()
        #: What is under way: the worker, and the number of its task (None: it opens the
        #: work).
        self.running: dict[Any, tuple[Any, int | None]] = {}
        self.workers: list[Any] = []
        self.died = 0

    def run(self, workers: int) -> Iterator[Any]:
        """Yield the tasks' results as they come."""
        finished_tasks = 0
        for _ in range(workers):
            self._open()
        while finished_tasks < len(self.tasks):
            (ready,), _ = self.ray.wait(list(self.running), num_returns=1)
            worker, number = self.running.pop(ready)
            try:
                result, worker_error = pickle.loads(self.ray.get(ready))  # noqa: S301 — written by a worker of ours
            except self.ray.exceptions.RayError as error:
                self._start_again(number, finished_tasks, error)
                continue
            if worker_error is not None:
                raise _blame(
                    *worker_error, opened=number is not None, is_shared=self.is_shared
                )
            if self.waiting:
                further = self.waiting.pop()
                self.running[worker.do.remote(pickle.dumps(self.tasks[further]))] = (
                    worker,
                    further,
                )
            if number is not None:
                finished_tasks += 1
                yield result

    def _open(self) -> None:
        """Start a worker.

        It gets its first task when it has opened the work, since it may have to wait
        for room.
        """
        worker = self.start()
        self.workers.append(worker)
        self.running[worker.open.remote()] = worker, None

    def _start_again(self, number: int | None, done: int, error: Exception) -> None:
        """Start a worker in the place of one that died.

        Give up a task on which too many died.
        """
        self.attempts[number] += 1
        if self.attempts[number] >= _ATTEMPTS:
            problem = f"{_ATTEMPTS} workers crashed on the same part"
            hint = "If memory ran out, use fewer workers or smaller parts"
            if number is None:
                error_text = (
                    f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                )
                problem = (
                    f"Workers keep crashing after {done} of {len(self.tasks)} "
                    f"parts ({error_text})"
                )
                hint = "Check the cluster"
            hint += ", then run the same command to compute the missing parts"
            raise EnvironmentProblem(problem, hint=hint, code="PG065") from error
        if number is not None:
            self.waiting.append(number)
        self.died += 1
        self._open()

    def end(self) -> None:
        """End all workers, also those that the traceback of an error would keep
        alive.
        """
        for worker in self.workers:
            self.ray.kill(worker)


class _Worker:
    """An actor: it opens the work once, then does one task after the other.

    Errors are sent as answers.
    """

    def __init__(self, version: str, threads: int, reference: list[Any]) -> None:
        self.version = version
        self.threads = threads
        self.reference = reference
        self.work: Any = None

    def open(self) -> bytes:
        """Fetch the work, which may load a model."""
        return _answered(self._open)

    def do(self, task: bytes) -> bytes:
        """Do one task."""
        return _answered(lambda: self.work(pickle.loads(task)))  # noqa: S301 — from our driver

    def _open(self) -> None:
        if __version__ != self.version:
            problem = (
                f"A worker has permgrad {__version__}, and this process has "
                f"{self.version}"
            )
            raise EnvironmentProblem(
                problem, hint="Install the same version on all machines", code="PG060"
            )
        self.work = import_ray().get(self.reference[0])
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)


def _answered(work: Callable[[], Any]) -> bytes:
    """Return a worker's answer to one task: the result and None, or None and the error,
    its host and its trace.
    """
    try:
        return pickle.dumps((work(), None))
    except Exception as error:  # noqa: BLE001 — the driver raises it again
        error_facts: tuple[Exception, str, str] = (
            error,
            socket.gethostname(),
            traceback.format_exc(),
        )
        try:
            pickle.loads(pickle.dumps(error_facts))  # noqa: S301 — our own, just written
        except Exception:  # noqa: BLE001 — whatever its class does wrong
            error_facts = (
                RuntimeError(f"{type(error).__name__}: {error}"),
                *error_facts[1:],
            )
        return pickle.dumps((None, error_facts))


def _share(ray: ModuleType, work: Any) -> Any:
    """Put the work into shared memory, once for all workers of a machine."""
    try:
        return ray.put(work)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        error_text = " ".join(str(error).split())
        hint = (
            "Define its classes and functions in a module, or explain it in this "
            "process, without engine='ray'"
        )
        raise InputError(
            f"The model cannot be sent to workers: {error_text[:300]}",
            hint=hint,
            code="PG031",
        ) from error


def _blame(
    error: Exception, host: str, trace: str, *, opened: bool, is_shared: bool
) -> Exception:
    """Return the error of a worker, in the form for the caller."""
    blamed = error
    where = f"on the worker at {host}"
    if not opened and not isinstance(error, PermgradError):
        error_text = (str(error).strip().splitlines() or [""])[0]
        blamed = EnvironmentProblem(
            f"The worker at {host} cannot load the model: {type(error).__name__}: "
            f"{error_text}",
            hint="Install the same packages there as here",
            code="PG065",
        )
    elif is_shared and isinstance(error, (PermgradError, OSError)):
        shared = (
            error
            if isinstance(error, PermgradError)
            else EnvironmentProblem(str(error), code="PG062")
        )
        error_class = (
            InputError if isinstance(error, InputError) else EnvironmentProblem
        )
        hint = "Put tables and folders on storage that all machines share"
        hint = two_sentences(shared.hint, hint) if shared.hint else hint
        blamed = error_class(
            f"{shared.problem.rstrip('.')} ({where})", hint=hint, code=shared.code
        )
    blamed.__cause__ = RuntimeError(f"\n{trace}")
    return blamed


# ---- sessions ------------------------------------------------------------------------
@dataclass(frozen=True)
class RaySession:
    """Logical processors and accelerators that Ray may give away, and whether other
    machines take part.
    """

    cpus: float
    gpus: float
    shared: bool


def import_ray() -> ModuleType:
    """Return the module of Ray. ``EnvironmentProblem``: it is not installed."""
    exception_hook = sys.excepthook
    try:
        import ray
    except ImportError as error:
        problem = f"engine='ray' needs Ray, which cannot be imported ({error})"
        raise EnvironmentProblem(
            problem, hint="Run pip install 'permgrad[scale]'", code="PG060"
        ) from None
    finally:
        sys.excepthook = exception_hook
    return ray


@contextmanager
def session(
    *, workers: int | None, address: str | None, store_bytes: int = 0
) -> Iterator[RaySession]:
    """Yield a Ray session: the one of this process, the cluster at ``address``, or a
    new one on this machine.

    A new one has ``workers`` logical processors (None: all there are) and shared memory
    for ``store_bytes``.
    """
    ray = import_ray()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if ray.is_initialized():
        if address in ("auto", "local"):
            present = address
        else:
            present = str(ray.get_runtime_context().gcs_address)
        if present != address:
            problem = (
                f"This process is connected to the Ray session {present}, and "
                f"address is {address}"
            )
            raise InputError(
                problem,
                hint="Leave the address out, or call ray.shutdown() first",
                code="PG006",
            )
        yield _look(ray, shared=len(ray.nodes()) > 1)
        return
    options: dict[str, Any] = {}
    folder: str | None = None
    if address != "local":
        _check_address(address)
    elif workers is not None and workers > processors():
        problem = (
            f"workers={workers} exceeds the {processors()} processors of this machine"
        )
        raise InputError(
            problem,
            hint="Use fewer workers, or name a cluster with --ray-address",
            code="PG002",
        )
    else:
        folder = tempfile.mkdtemp(prefix="pg-ray-")
        options = {"num_cpus": workers or processors(), "include_dashboard": False}
        options["object_store_memory"] = _STORE_BYTES + 2 * store_bytes
        if len(folder) <= _LONGEST_FOLDER:
            options |= {"_temp_dir": folder}
    with _restored(ray):
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            _start(
                ray,
                address=address,
                log_to_driver=False,
                configure_logging=False,
                **options,
            )
            yield _look(ray, shared=address != "local")
        finally:
            ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _start(ray: ModuleType, **options: Any) -> None:
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_main_thread:
        handler = signal.getsignal(signal.SIGTERM)
    else:
        handler = None
    try:
        ray.init(**options)
        # Ray's handler ends the process in order, so that no worker is left. The user's
        # own handler comes first.
        if is_main_thread and callable(handler):
            signal.signal(signal.SIGTERM, handler)
    except (OSError, ValueError, RuntimeError, SystemExit) as error:
        raise _refused(options["address"], error) from error


def _refused(address: str, error: BaseException) -> EnvironmentProblem:
    error_text = " ".join(str(error).split())
    cause = error.__cause__
    if "Authentication" in f"{error_text} {cause}":
        problem = (
            f"The Ray cluster at {address} requires its token and refused this process"
        )
        hint = (
            "Set RAY_AUTH_MODE=token, and put the cluster's token into "
            "~/.ray/auth_token or RAY_AUTH_TOKEN"
        )
        return EnvironmentProblem(problem, hint=hint, code="PG065")
    if address == "local":
        failed_action = "start on this machine"
    else:
        failed_action = f"connect to {address}"
    if address == "local":
        hint = "Free memory or disk, or leave engine='ray' out"
    else:
        hint = "Check --ray-address"
    return EnvironmentProblem(
        f"Ray cannot {failed_action}: {type(error).__name__}: {error_text[:300]}",
        hint=hint,
        code="PG065",
    )


def _look(ray: ModuleType, *, shared: bool) -> RaySession:
    resources = ray.cluster_resources()
    return RaySession(
        float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), shared
    )


def _check_address(address: str) -> None:
    """Refuse a malformed address, and one where no cluster answers."""
    if address == "auto":
        return
    host_name, separator, port_number = address.rpartition(":")
    if (
        "://" in address
        or not separator
        or not host_name
        or not port_number.isdecimal()
    ):
        raise InputError(
            f"The address of a cluster must be 'auto' or host:port, got {address!r}",
            hint="Start the command on a machine of the cluster, for example with `ray "
            "job submit`, and pass --ray-address auto",
            code="PG001",
        )
    try:
        socket.create_connection(
            (host_name.strip("[]"), int(port_number)), timeout=_PATIENCE
        ).close()
    except (OSError, OverflowError) as error:
        problem = (
            f"No Ray cluster answers at {address}: "
            f"{getattr(error, 'strerror', None) or error}"
        )
        hint = (
            "Check --ray-address, or start the cluster's head with `ray start --head`"
        )
        raise EnvironmentProblem(problem, hint=hint, code="PG065") from error


@contextmanager
def _restored(ray: ModuleType) -> Iterator[None]:
    """Restore what Ray changes: the environment, the hook of uncaught errors, the
    handler of SIGTERM, its logger.

    Its driver shows on stdout what happens to workers, for which there is a private
    switch alone.
    """
    environment = dict(os.environ)
    exception_hook = sys.excepthook
    logger = logging.getLogger("ray")
    is_main_thread = threading.current_thread() is threading.main_thread()
    level = logger.level
    if is_main_thread:
        handler = signal.getsignal(signal.SIGTERM)
    else:
        handler = None
    worker: Any = getattr(getattr(ray, "_private", None), "worker", None)
    prints = getattr(worker, "_worker_logs_enabled", None)
    logger.setLevel(logging.CRITICAL)
    if prints is not None:
        worker._worker_logs_enabled = False  # noqa: SLF001 — see above
    try:
        yield
    finally:
        for variable_name in set(os.environ) - set(environment):
            del os.environ[variable_name]
        os.environ.update(environment)
        sys.excepthook = exception_hook
        logger.setLevel(level)
        if prints is not None:
            worker._worker_logs_enabled = prints  # noqa: SLF001
        if is_main_thread and handler is not None:
            signal.signal(signal.SIGTERM, handler)
