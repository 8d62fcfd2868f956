"""A Ray session for one piece of work: the user's own if there is one, a cluster by its address, or one of ours.

What Ray changes in a process that starts it (environment variables, the handler of SIGTERM, loggers, what is printed)
is put back. A session of the user's is used and left as it is.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.interrupts import interrupts_wait

#: Seconds to wait for a cluster's head to answer; Ray itself waits for two minutes, and then ends the process.
_PATIENCE = 5.0
#: Least shared memory for results on their way; Ray would take a third of the machine's memory.
_STORE_BYTES = 256 * 2**20
#: What lets Ray's C++ part speak of nothing less than its end; it writes on stderr otherwise.
_BACKEND = ("RAY_BACKEND_LOG_LEVEL", "fatal")
#: A line that it writes all the same.
_BACKEND_LINE = re.compile(rb"^\[\d{4}-\d\d-\d\d [^]]*\] \w+\.(cc|h):\d+: ")
#: Longest name of a folder in which Ray can still make its sockets.
_LONGEST_FOLDER = 32


@dataclass(frozen=True)
class Session:
    """Where the work is done.

    Attributes:
        cpus: logical processors that Ray may give away.
        gpus: accelerators that Ray may give away.
        free: processors that nobody has at the moment.
        shared: whether other machines may take part, so that files must lie where all can read them.
        ours: whether it was started here, and ends with the work.
    """

    cpus: float
    gpus: float
    free: float
    shared: bool
    ours: bool


def import_ray() -> ModuleType:
    """Import Ray with its data streams.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    hook = sys.excepthook
    try:
        import ray
        import ray.data
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
def session(*, workers: int | None, address: str | None, store_bytes: int = 0) -> Iterator[Session]:
    """Give a Ray session: the one this process has, the cluster at ``address``, or a new one on this machine.

    Args:
        workers: processes wanted; a new session has as many logical processors (None: one for each real one).
        address: ``"auto"`` or ``"host:port"`` of a cluster's head; None: the environment's ``RAY_ADDRESS``, else a new
            session on this machine.
        store_bytes: what the work puts into shared memory.

    Raises:
        EnvironmentProblem: Ray is not installed, cannot start, or does not answer.
        InputError: the address is none, another than that of the session at hand, or more workers are asked for than
            there are processors.
    """
    ray = import_ray()
    address = address or os.environ.get("RAY_ADDRESS") or None
    if ray.is_initialized():
        _check_same(ray, address)
        with _quiet(("ray.data",), logging.ERROR):
            yield _look(ray, ours=False, shared=len(ray.nodes()) > 1)
        return
    if address in (None, "local"):
        _check_room(workers)
        with _own(ray, workers or cores(), store_bytes):
            yield _look(ray, ours=True, shared=False)
        return
    _check_address(str(address))
    with _restored(), _quiet(("ray", "ray.data"), logging.CRITICAL), _silent(ray):
        os.environ.setdefault(*_BACKEND)
        try:
            _start(ray, address=address, log_to_driver=False, configure_logging=False)
            yield _look(ray, ours=True, shared=True)
        finally:
            _end(ray)


@contextmanager
def _own(ray: ModuleType, processors: int, store_bytes: int) -> Iterator[None]:
    """Start Ray on this machine for the body: no dashboard, no report of usage to its makers, nothing printed."""
    folder = tempfile.mkdtemp(prefix="pg-ray-")
    options: dict[str, Any] = {"_temp_dir": folder} if len(folder) <= _LONGEST_FOLDER else {}
    with _restored(), _quiet(("ray", "ray.data"), logging.CRITICAL), _silent(ray):
        try:
            for name, value in (_BACKEND, ("RAY_USAGE_STATS_ENABLED", "0")):
                os.environ.setdefault(name, value)
            _start(
                ray,
                address="local",
                num_cpus=processors,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=_STORE_BYTES + 2 * store_bytes,
                **options,
            )
            yield
        finally:
            _end(ray)
            shutil.rmtree(folder, ignore_errors=True)


def _start(ray: ModuleType, **options: Any) -> None:
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        with _held_back(), interrupts_wait():
            ray.init(**options)
        # Ray's handler ends the process in an orderly way, so that no worker stays behind; the user's own comes first.
        if main and callable(handler):
            signal.signal(signal.SIGTERM, handler)
    except (OSError, ValueError, RuntimeError, SystemExit) as error:
        raise _refused(options["address"], error) from error


def _end(ray: ModuleType) -> None:
    with interrupts_wait():
        ray.shutdown()


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


def _look(ray: ModuleType, *, ours: bool, shared: bool) -> Session:
    found, free, asked = ray.cluster_resources(), 0.0, time.monotonic()
    # Workers of work that has just ended are still on their way out.
    while not free and time.monotonic() - asked < _PATIENCE:
        free = float(ray.available_resources().get("CPU", 0))
        time.sleep(0 if free else 0.2)
    return Session(float(found.get("CPU", 0)), float(found.get("GPU", 0)), free, shared=shared, ours=ours)


# ---- what can be wrong -----------------------------------------------------------------------------------------------


def _check_room(workers: int | None) -> None:
    if workers is not None and workers > cores():
        raise InputError(
            f"workers must not outnumber the {cores()} processors of this machine, however: workers={workers}; "
            "take fewer, or name a cluster with --ray-address"
        )


def _check_same(ray: ModuleType, address: str | None) -> None:
    """Refuse another cluster than the one that this process is connected to."""
    if address in (None, "auto", "local"):
        return
    present = str(ray.get_runtime_context().gcs_address)
    if present != address:
        raise InputError(
            f"a process can use one Ray session at a time, however: it is connected to {present} and the address asked "
            f"for is {address}; leave the address out, or call ray.shutdown() first"
        )


def _check_address(address: str) -> None:
    """Refuse what is no address, and one where nobody answers.

    Raises:
        InputError: it has not the form of an address.
        EnvironmentProblem: nobody answers there.
    """
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


# ---- what is put back ------------------------------------------------------------------------------------------------


@contextmanager
def _restored() -> Iterator[None]:
    """Put back the environment, the hook of uncaught errors and the handler of SIGTERM, all of which Ray replaces."""
    environment, hook = dict(os.environ), sys.excepthook
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        sys.excepthook = hook
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _quiet(names: tuple[str, ...], level: int) -> Iterator[None]:
    """Let the loggers of that name say nothing below a level."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(level, logger.level))
    try:
        yield
    finally:
        for logger, old in zip(loggers, levels, strict=True):
            logger.setLevel(old)


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what is written on stderr, and then write all of it but the log lines of Ray's C++ part."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            written.seek(0)
            lines = [line for line in written if not _BACKEND_LINE.match(line)]
            with suppress(OSError):
                os.write(2, b"".join(lines))


@contextmanager
def _silent(ray: ModuleType) -> Iterator[None]:
    """Keep a session of ours from printing: the driver shows what happens to workers on stdout, whatever is asked for.

    There is no public switch for it; where Ray has moved its private one, it prints.
    """
    module = getattr(getattr(ray, "_private", None), "worker", None)
    shown = getattr(module, "_worker_logs_enabled", None)
    if module is not None and shown is not None:
        module._worker_logs_enabled = False  # noqa: SLF001 — see above
    try:
        yield
    finally:
        if module is not None and shown is not None:
            module._worker_logs_enabled = shown  # noqa: SLF001
