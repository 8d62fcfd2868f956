"""A Ray session for one piece of work: the user's own if there is one, a cluster by its address, or one of ours.

What Ray changes in a process that starts it (environment variables, the handler of SIGTERM, loggers, what is printed)
is put back. A session of the user's is used and left as it is.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.startup import interrupts_wait

#: Seconds to wait for a cluster's head to answer; Ray itself waits for two minutes, and then ends the process.
_PATIENCE = 5.0
#: Least shared memory for results on their way; Ray would take a third of the machine's memory.
_STORE_BYTES = 256 * 2**20
#: Longest name of a folder in which Ray can still make its sockets.
_LONGEST_FOLDER = 32


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

    ``address`` None: the environment's ``RAY_ADDRESS``, else a new session, with ``workers`` logical processors (None:
    as many as there are) and shared memory for ``store_bytes``. ``EnvironmentProblem``: Ray is not installed, cannot
    start, or does not answer; ``InputError``: no address, another than that of the session at hand, too many workers.
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
    with _restored(), _silent(ray):
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


# ---- what is put back ------------------------------------------------------------------------------------------------


@contextmanager
def _restored() -> Iterator[None]:
    """Put back the environment, the hook of uncaught errors, the handler of SIGTERM and the logger of Ray."""
    environment, hook, logger = dict(os.environ), sys.excepthook, logging.getLogger("ray")
    main, level = threading.current_thread() is threading.main_thread(), logger.level
    handler = signal.getsignal(signal.SIGTERM) if main else None
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        sys.excepthook = hook
        logger.setLevel(level)
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


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
