"""The engine for many processes and machines: Ray actors that hold the model, each with one task at a time.

An actor reads its part of the files itself. One that dies is replaced, and its task is given to another; those that a
cluster has no room for yet get tasks when it has. What Ray changes in a process that starts it is put back.
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

from permgrad import __version__
from permgrad.attribution.parts.engines.base import check_workers, engines
from permgrad.base.checks import check_whole, is_number
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, shown, warn_user
from permgrad.base.startup import interrupts_wait

T = TypeVar("T")
R = TypeVar("R")

#: How often one task may cost a worker its life before it is given up: a task that needs too much memory kills each.
_ATTEMPTS = 4
#: Seconds to wait for a cluster's head to answer; Ray itself waits for two minutes, and then ends the process.
_PATIENCE = 5.0
#: Least shared memory for results on their way; Ray would take a third of the machine's memory.
_STORE_BYTES = 256 * 2**20
#: Longest name of a folder in which Ray can still make its sockets.
_LONGEST_FOLDER = 32


@engines.register("ray")
class RayEngine:
    """Runs tasks on the workers of a Ray cluster, or in processes of this machine.

    The Ray session that this process has is used and left as it is. Without one, ``address`` (or the environment's
    ``RAY_ADDRESS``) names a cluster; without that, a session is started here for the time of the work.

    Args:
        workers: actors that work at a time; None: one for each accelerator, or each processor where there is none.
        address: ``"auto"`` or ``"host:port"`` of the cluster's head.
        cpus: processors of each worker; it computes with as many threads.
        gpus: accelerators of each worker; ``"auto"``: one where there are enough, else none.

    Source: Ray (Moritz et al. 2018); docs/cluster.md says how to run it.

    Examples:
        >>> RayEngine(workers=2).facts
        {'engine': 'ray', 'workers': 2}
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
        if address is not None and not isinstance(address, str):
            raise InputError(
                f"address must be 'auto' or 'host:port', however: address={shown(address)}; pass one of them, or leave "
                "it out"
            )
        self.address = address
        self.cpus = check_whole("cpus", cpus, "pass for example 1")
        if not (isinstance(gpus, str) and gpus == "auto") and not (is_number(gpus) and 0 <= gpus < math.inf):
            raise InputError(
                f"gpus must be 'auto' or a number of at least 0, however: gpus={shown(gpus)}; pass for example 0"
            )
        self.gpus = gpus
        self._restarted = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation's ``meta`` says of the engine."""
        died = {"workers_restarted": self._restarted} if self._restarted else {}
        return {"engine": "ray", "workers": self.workers, **died}

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield each task's result once, as they come; raise what ``work`` raises.

        ``InputError``: more workers than processors; ``EnvironmentProblem``: Ray is missing, does not start or answer;
        workers cannot load the work, or keep dying.
        """
        if not tasks:
            return
        ray = import_ray()
        processors = None if self.workers is None else self.workers * self.cpus
        store_bytes = int(getattr(work, "store_bytes", 0))
        with session(workers=processors, address=self.address, store_bytes=store_bytes) as resources:
            count, gpus = self._plan(resources, len(tasks))
            actor = ray.remote(num_cpus=self.cpus, num_gpus=gpus)(_Worker)
            # The reference keeps the work in shared memory until the last worker that may have to be started is done.
            reference = _share(ray, work)
            pool = _Pool(
                ray, tasks, lambda: actor.remote(__version__, self.cpus, [reference]), is_shared=resources.shared
            )
            try:
                yield from pool.run(count)
            finally:
                pool.end()
                self._restarted += pool.died
        if pool.died:
            warn_user(
                f"{'a worker' if pool.died == 1 else f'{pool.died} workers'} died and had to be started again; what "
                "they were at was computed again, nothing is lost or counted twice"
            )

    def _plan(self, resources: RaySession, tasks: int) -> tuple[int, float]:
        """Return how many workers are started, and how many accelerators each of them has."""
        room = int(resources.cpus // self.cpus)
        wanted = self.workers or max(1, int(resources.gpus) or room)
        if room < 1 or (wanted > room and not resources.shared):
            raise InputError(
                f"workers must not outnumber the processors of the Ray session, however: workers={wanted} of "
                f"{self.cpus} processors each and it has {resources.cpus:g}; take fewer"
            )
        if wanted > room:
            warn_user(
                f"the Ray cluster has room for {room} of {wanted} workers; the others join when it has grown, "
                "if it grows"
            )
        gpus = self.gpus if self.gpus != "auto" else float(resources.gpus >= wanted)
        if gpus * min(wanted, room) > resources.gpus and not resources.shared:
            raise InputError(
                f"each worker must get its accelerators, however: gpus={gpus:g} for each of {wanted} workers, and the "
                f"Ray session has {resources.gpus:g}; take fewer workers, or gpus='auto'"
            )
        self.workers = wanted
        return min(wanted, tasks), float(gpus)


class _Pool:
    """Hands tasks to workers that are free, and replaces those that die; ``start`` starts a worker."""

    def __init__(self, ray: ModuleType, tasks: Sequence[Any], start: Callable[[], Any], *, is_shared: bool) -> None:
        self.ray, self.tasks, self.start, self.is_shared = ray, tasks, start, is_shared
        self.waiting = list(range(len(tasks)))[::-1]
        self.attempts = Counter[int | None]()
        #: What is under way: the worker, and the number of its task (None: it opens the work).
        self.running: dict[Any, tuple[Any, int | None]] = {}
        self.workers: list[Any] = []
        self.died = 0

    def run(self, workers: int) -> Iterator[Any]:
        """Yield the tasks' results as they come."""
        done = 0
        for _ in range(workers):
            self._open()
        while done < len(self.tasks):
            (ready,), _ = self.ray.wait(list(self.running), num_returns=1)
            worker, number = self.running.pop(ready)
            try:
                result, met = pickle.loads(self.ray.get(ready))  # noqa: S301 — written by a worker of ours
            except self.ray.exceptions.RayError as error:
                self._replace(number, done, error)
                continue
            if met is not None:
                raise _blame(*met, opened=number is not None, is_shared=self.is_shared)
            if self.waiting:
                further = self.waiting.pop()
                self.running[worker.do.remote(pickle.dumps(self.tasks[further]))] = worker, further
            if number is not None:
                done += 1
                yield result

    def _open(self) -> None:
        """Start a worker; its first task follows when it has opened the work: there may be no room for it yet."""
        worker = self.start()
        self.workers.append(worker)
        self.running[worker.open.remote()] = worker, None

    def _replace(self, number: int | None, done: int, error: Exception) -> None:
        """Start a worker in the place of one that died; give up a task that has cost too many their lives."""
        self.attempts[number] += 1
        if number is None and self.attempts[None] >= _ATTEMPTS:
            text = " ".join(str(error).split())
            raise EnvironmentProblem(
                f"workers must stay alive, however: after {done} of {len(self.tasks)} parts {type(error).__name__}: "
                f"{text[:200]}; check the cluster, then the same command goes on with the parts that are missing"
            ) from error
        if self.attempts[number] >= _ATTEMPTS:
            raise EnvironmentProblem(
                f"workers must survive every part, however: {_ATTEMPTS} of them died while they computed the same one; "
                "if memory ran out take fewer workers or smaller parts, then the same command goes on with the parts "
                "that are missing"
            ) from error
        if number is not None:
            self.waiting.append(number)
        self.died += 1
        self._open()

    def end(self) -> None:
        """End all workers, also those that the traceback of an error would keep alive."""
        for worker in self.workers:
            self.ray.kill(worker)


class _Worker:
    """An actor: it opens the work once, then does one task after the other; errors travel as answers."""

    def __init__(self, version: str, threads: int, reference: list[Any]) -> None:
        self.version, self.threads, self.reference = version, threads, reference
        self.work: Any = None

    def open(self) -> bytes:
        """Fetch the work, which may load a model."""
        return _answered(self._open)

    def do(self, task: bytes) -> bytes:
        """Do one task."""
        return _answered(lambda: self.work(pickle.loads(task)))  # noqa: S301 — from our driver

    def _open(self) -> None:
        if __version__ != self.version:
            raise EnvironmentProblem(
                f"all machines must have the same permgrad, however: {self.version} asks and a worker has "
                f"{__version__}; install the same"
            )
        self.work = import_ray().get(self.reference[0])
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)


def _answered(work: Callable[[], Any]) -> bytes:
    """Return what a worker says of one task: the result and None, or None and the error, its host and its trace."""
    try:
        return pickle.dumps((work(), None))
    except Exception as error:  # noqa: BLE001 — the driver raises it again
        met: tuple[Exception, str, str] = (error, socket.gethostname(), traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(met))  # noqa: S301 — our own, just written
        except Exception:  # noqa: BLE001 — whatever its class does wrong
            met = (RuntimeError(f"{type(error).__name__}: {error}"), *met[1:])
        return pickle.dumps((None, met))


def _share(ray: ModuleType, work: Any) -> Any:
    """Put the work into shared memory, once for all workers of a machine."""
    try:
        return ray.put(work)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"a model must be one that can be sent to workers, however: {text[:300]}; define its classes and functions "
            "in a module, or explain it with engine='local'"
        ) from error


def _blame(error: Exception, host: str, trace: str, *, opened: bool, is_shared: bool) -> Exception:
    """Return the error that a worker met, as the caller should see it."""
    blamed, where = error, f"on the worker at {host}"
    if not opened and not isinstance(error, PermgradError):
        text = (str(error).strip().splitlines() or [""])[0]
        blamed = EnvironmentProblem(
            f"every worker must be able to load the model, however: {where}: {type(error).__name__}: {text}; "
            "install the same packages there as here"
        )
    elif is_shared and isinstance(error, (PermgradError, OSError)):
        kind = type(error) if isinstance(error, PermgradError) else EnvironmentProblem
        blamed = kind(f"{error} ({where}; a table and a folder must lie on storage that all machines share)")
    blamed.__cause__ = RuntimeError(f"\n{trace}")
    return blamed


# ---- sessions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RaySession:
    """Logical processors and accelerators that Ray may give away, and whether other machines take part."""

    cpus: float
    gpus: float
    shared: bool


def import_ray() -> ModuleType:
    """Import Ray; ``EnvironmentProblem``: it is not installed."""
    hook = sys.excepthook
    try:
        import ray
    except ImportError as error:
        raise EnvironmentProblem(
            f"engine='ray' needs Ray, however: it cannot be imported ({error}); pip install 'permgrad[ray]'"
        ) from None
    finally:
        sys.excepthook = hook
    module: ModuleType = ray
    return module


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def session(*, workers: int | None, address: str | None, store_bytes: int = 0) -> Iterator[RaySession]:
    """Give a Ray session: the one this process has, the cluster at ``address``, or a new one on this machine.

    A new one has ``workers`` logical processors (None: all there are) and shared memory for ``store_bytes``.
    """
    ray = import_ray()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if ray.is_initialized():
        _check_same(ray, address)
        yield _look(ray, shared=len(ray.nodes()) > 1)
        return
    options: dict[str, Any] = {}
    folder: str | None = None
    if address != "local":
        _check_address(address)
    elif workers is not None and workers > cores():
        raise InputError(
            f"workers must not outnumber the {cores()} processors of this machine, however: workers={workers}; "
            "take fewer, or name a cluster with --ray-address"
        )
    else:
        folder = tempfile.mkdtemp(prefix="pg-ray-")
        options = {"num_cpus": workers or cores(), "include_dashboard": False}
        options["object_store_memory"] = _STORE_BYTES + 2 * store_bytes
        options |= {"_temp_dir": folder} if len(folder) <= _LONGEST_FOLDER else {}
    with _restored(ray):
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            _start(ray, address=address, log_to_driver=False, configure_logging=False, **options)
            yield _look(ray, shared=address != "local")
        finally:
            with interrupts_wait():
                ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _start(ray: ModuleType, **options: Any) -> None:
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        with interrupts_wait():
            ray.init(**options)
        # Ray's handler ends the process in an orderly way, so that no worker stays behind; the user's own comes first.
        if main and callable(handler):
            signal.signal(signal.SIGTERM, handler)
    except (OSError, ValueError, RuntimeError, SystemExit) as error:
        raise _refused(options["address"], error) from error


def _refused(address: str, error: BaseException) -> EnvironmentProblem:
    """Return the error for a session that could not be had."""
    text, cause = " ".join(str(error).split()), error.__cause__
    if "Authentication" in f"{text} {cause}":
        return EnvironmentProblem(
            f"a Ray cluster that asks for a token must be given its own, however: {address} refused this process; set "
            "RAY_AUTH_MODE=token, and have the cluster's token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
        )
    what = "start on this machine" if address == "local" else f"connect to {address}"
    mend = "free memory or disk, or leave engine='ray' out" if address == "local" else "check --ray-address"
    return EnvironmentProblem(f"Ray must be able to {what}, however: {type(error).__name__}: {text[:300]}; {mend}")


def _look(ray: ModuleType, *, shared: bool) -> RaySession:
    resources = ray.cluster_resources()
    return RaySession(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), shared)


def _check_same(ray: ModuleType, address: str) -> None:
    """Refuse another cluster than the one that this process is connected to."""
    if address in ("auto", "local"):
        return
    present = str(ray.get_runtime_context().gcs_address)
    if present != address:
        raise InputError(
            f"a process can use one Ray session at a time, however: it is connected to {present} and the address asked "
            f"for is {address}; leave the address out, or call ray.shutdown() first"
        )


def _check_address(address: str) -> None:
    """Refuse what has not the form of an address, and one where nobody answers."""
    if address == "auto":
        return
    host, sign, port = address.rpartition(":")
    if "://" in address or not sign or not host or not port.isdecimal():
        raise InputError(
            f"the address of a cluster must be 'auto' or host:port, however: {address!r}; start the command on a "
            "machine of the cluster, for example with `ray job submit`, and take --ray-address auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EnvironmentProblem(
            f"a Ray cluster must answer at its address, however: {address}: {getattr(error, 'strerror', None) or error}"
            "; check --ray-address, or start the cluster's head with `ray start --head`"
        ) from error


@contextmanager
def _restored(ray: ModuleType) -> Iterator[None]:
    """Put back what Ray changes: the environment, the hook of uncaught errors, the handler of SIGTERM, its logger.

    Its driver shows on stdout what happens to workers, for which there is a private switch alone.
    """
    environment, hook, logger = dict(os.environ), sys.excepthook, logging.getLogger("ray")
    main, level = threading.current_thread() is threading.main_thread(), logger.level
    handler = signal.getsignal(signal.SIGTERM) if main else None
    worker: Any = getattr(getattr(ray, "_private", None), "worker", None)
    prints = getattr(worker, "_worker_logs_enabled", None)
    logger.setLevel(logging.CRITICAL)
    if prints is not None:
        worker._worker_logs_enabled = False  # noqa: SLF001 — see above
    try:
        yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        sys.excepthook = hook
        logger.setLevel(level)
        if prints is not None:
            worker._worker_logs_enabled = prints  # noqa: SLF001
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)
