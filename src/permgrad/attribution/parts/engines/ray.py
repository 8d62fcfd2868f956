"""The engine for many processes and machines: Ray Data streams tasks through actors that hold the model.

The data set that Ray Data streams is the list of tasks, not the rows: an actor reads its part of the Parquet files
itself. A part knows the number of its first row, which donors are drawn by; a row that had come through Ray's own
reader would have lost it. A part is also what is retried, so that it is read, computed and reported as one, and no row
travels through shared memory. What Ray Data adds to bare actors: a pool that grows with the cluster, work that is
handed out as workers get free, back pressure, and workers that are started again when they die.

A worker that dies (out of memory, ``kill -9``, a machine that goes) is replaced, and its task is computed again. A
result is counted by the number of its task: where a worker died between the result and its delivery, the second copy,
which is equal, is dropped.
"""

from __future__ import annotations

import math
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeVar

from permgrad.attribution.parts.engines.base import check_workers, engines
from permgrad.attribution.parts.engines.ray_session import Session, import_ray, session
from permgrad.base.checks import check_whole, is_number
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, shown, warn_user

T = TypeVar("T")
R = TypeVar("R")

#: How often one task may cost a worker its life before it is given up: a task that needs too much memory kills each.
_ATTEMPTS = 4


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

    Source: Ray (Moritz et al. 2018), Ray Data; docs/cluster.md says how to run it.

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
        self.gpus = _accelerators(gpus)
        self._restarted: set[tuple[str, int]] = set()

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation's ``meta`` says of the engine."""
        died = {"workers_restarted": len(self._restarted)} if self._restarted else {}
        return {"engine": "ray", "workers": self.workers, **died}

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield each task's result once, as they come.

        Raises:
            InputError: more workers are asked for than the session has processors, or what ``work`` raises.
            EnvironmentProblem: Ray is missing, does not start or answer; workers cannot load the work, or keep dying.
        """
        if not tasks:
            return
        ray = import_ray()
        asked = None if self.workers is None else self.workers * self.cpus
        with session(workers=asked, address=self.address, store_bytes=_size(work)) as found:
            plan = self._plan(found, len(tasks))
            yield from self._stream(ray, plan, tasks, work)
        if self._restarted:
            died = len(self._restarted)
            warn_user(
                f"{'a worker' if died == 1 else f'{died} workers'} died and had to be started again; what they were at "
                "was computed again, nothing is lost or counted twice"
            )

    def _plan(self, found: Session, tasks: int) -> _Plan:
        """Decide how many workers there are and what each of them has."""
        room = int(found.cpus // self.cpus)
        wanted = self.workers or max(1, int(found.gpus) or room)
        if room < 1 or (wanted > room and not found.shared):
            raise InputError(
                f"workers must not outnumber the processors of the Ray session, however: workers={wanted} of "
                f"{self.cpus} processors each and it has {found.cpus:g}; take fewer"
            )
        if wanted > room:
            warn_user(
                f"the Ray cluster has room for {room} of {wanted} workers; the others join when it has grown, "
                "if it grows"
            )
        if found.free < self.cpus:
            warn_user(
                f"a worker needs {self.cpus} processors and the Ray session has {found.free:g} free ones: the work "
                "begins when others are done"
            )
        gpus = self.gpus if self.gpus != "auto" else float(found.gpus >= wanted)
        if gpus * min(wanted, room) > found.gpus and not found.shared:
            raise InputError(
                f"each worker must get its accelerators, however: gpus={gpus:g} for each of {wanted} workers, and the "
                f"Ray session has {found.gpus:g}; take fewer workers, or gpus='auto'"
            )
        most = min(wanted, tasks)
        self.workers = wanted
        return _Plan(least=min(most, room), most=most, cpus=self.cpus, gpus=float(gpus), shared=found.shared)

    def _stream(self, ray: ModuleType, plan: _Plan, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        seen: set[int] = set()
        # The reference keeps the work in shared memory until the last worker that may have to be started is done.
        reference = _share(ray, work)
        rows = iter(_pipeline(ray, plan, tasks, reference).iter_rows())
        try:
            while (row := _next(ray, rows, len(tasks), len(seen))) is not None:
                answer: _Answer = pickle.loads(row["answer"])  # noqa: S301 — written by a worker of ours
                if answer.restarted:
                    self._restarted.add((answer.host, answer.process))
                if answer.error is not None:
                    raise _blame(answer, plan)
                if answer.number not in seen:
                    seen.add(answer.number)
                    yield answer.result
        finally:
            # Threads of Ray Data that outlived the session would start another one.
            rows.close()
            del reference
        if len(seen) != len(tasks):
            raise EnvironmentProblem(
                f"every part must come back, however: {len(tasks) - len(seen)} of {len(tasks)} did not; "
                "the same command goes on with the parts that are missing"
            )


def _accelerators(gpus: Any) -> float | Literal["auto"]:
    """Return how many accelerators a worker has, a part of one too; refuse what is no number."""
    if isinstance(gpus, str) and gpus == "auto":
        return "auto"
    if not is_number(gpus) or not 0 <= gpus < math.inf:
        raise InputError(
            f"gpus must be 'auto' or a number of at least 0, however: gpus={shown(gpus)}; pass for example 0"
        )
    return float(gpus)


@dataclass(frozen=True)
class _Plan:
    least: int
    most: int
    cpus: int
    gpus: float
    shared: bool


@dataclass(frozen=True)
class _Answer:
    """What a worker says of one task."""

    number: int
    host: str
    process: int
    restarted: bool
    result: Any = None
    error: BaseException | None = None
    trace: str = ""
    opened: bool = True


class _WorkerTrace(Exception):  # noqa: N818 — the cause that is shown above an error which a worker raised
    """Where in a worker an error was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _pipeline(ray: ModuleType, plan: _Plan, tasks: Sequence[Any], reference: Any) -> Any:
    """Return the data set of answers: one block for each task, so that a task is what is handed out and retried."""
    from permgrad import __version__

    context = ray.data.DataContext.get_current()
    shown = context.enable_progress_bars, context.print_on_execution_start
    # A data set keeps the settings under which it is made.
    context.enable_progress_bars, context.print_on_execution_start = False, False
    try:
        items = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
        return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "reference": [reference],
                "begun": _counter(ray),
                "threads": plan.cpus,
                "version": __version__,
            },
            batch_size=1,
            batch_format="numpy",
            # One task at a time: a second one waiting at a worker would be missed by another that is free at the end.
            compute=ray.data.ActorPoolStrategy(
                min_size=plan.least, max_size=plan.most, max_tasks_in_flight_per_actor=1
            ),
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
        )
    finally:
        context.enable_progress_bars, context.print_on_execution_start = shown


def _counter(ray: ModuleType) -> Any:
    """Start the actor that counts, on the driver's machine: it must outlive every other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(**options)(_Begun).remote()


class _Begun:
    """An actor that needs no processor: it counts how often each task was begun, which a worker that dies cannot."""

    def __init__(self) -> None:
        self.times: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Count a task that is about to be done, and return how often it was begun."""
        self.times[number] = self.times.get(number, 0) + 1
        return self.times[number]


class _Worker:
    """An actor: it loads the work once, then does one task after the other."""

    def __init__(self, reference: list[Any], begun: Any, threads: int, version: str) -> None:
        self.reference = reference
        self.begun = begun
        self.threads = threads
        self.version = version
        self.work: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the one task of a batch; errors travel as answers, so that Ray neither retries nor rewords them."""
        import ray

        number = int(batch["number"][0])
        facts: dict[str, Any] = {
            "number": number,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "restarted": bool(ray.get_runtime_context().was_current_actor_reconstructed),
        }
        try:
            _give_up_after(ray.get(self.begun.begin.remote(number)))
            if self.work is None:
                self.work = self._open(ray)
            answer = _Answer(**facts, result=self.work(pickle.loads(batch["task"][0])))  # noqa: S301 — from our driver
            packed = pickle.dumps(answer)
        except Exception as error:  # noqa: BLE001 — the driver raises it again
            trace = traceback.format_exc()
            opened = self.work is not None or isinstance(error, PermgradError)
            packed = pickle.dumps(_Answer(**facts, error=_portable(error), trace=trace, opened=opened))
        return {"answer": [packed]}

    def _open(self, ray: ModuleType) -> Callable[[Any], Any]:
        from permgrad import __version__

        if __version__ != self.version:
            raise EnvironmentProblem(
                f"all machines must have the same permgrad, however: {self.version} asks and a worker has "
                f"{__version__}; install the same"
            )
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)
        work: Callable[[Any], Any] = ray.get(self.reference[0])
        if "torch" in sys.modules:
            # Loading the model may just have imported it.
            sys.modules["torch"].set_num_threads(self.threads)
        return work


def _give_up_after(times: int) -> None:
    """Refuse a task that has cost too many workers their lives; Ray itself would go on for ever."""
    if times > _ATTEMPTS:
        raise EnvironmentProblem(
            f"workers must survive every part, however: {_ATTEMPTS} of them died while they computed the same one; if "
            "memory ran out take fewer workers or smaller parts, then the same command goes on with the parts that are "
            "missing"
        )


def _portable(error: Exception) -> Exception:
    """Return the error itself, or its text where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 — our own, just written
    except Exception:  # noqa: BLE001 — whatever its class does wrong
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


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


def _size(work: Any) -> int:
    """Return how many bytes an in-memory table takes that the work holds."""
    return int(getattr(work, "store_bytes", 0))


def _blame(answer: _Answer, plan: _Plan) -> BaseException:
    """Return the error that a worker met, as the caller should see it."""
    error = answer.error
    assert error is not None
    where = f"on the worker at {answer.host}"
    if not answer.opened:
        text = (str(error).strip().splitlines() or [""])[0]
        told: BaseException = EnvironmentProblem(
            f"every worker must be able to load the model, however: {where}: {type(error).__name__}: {text}; "
            "install the same packages there as here"
        )
    elif plan.shared and isinstance(error, (PermgradError, OSError)):
        kind = type(error) if isinstance(error, PermgradError) else EnvironmentProblem
        told = kind(f"{error} ({where}; a table and a folder must lie on storage that all machines share)")
    else:
        told = error
    told.__cause__ = _WorkerTrace(answer.trace)
    return told


def _next(ray: ModuleType, rows: Iterator[dict[str, Any]], tasks: int, done: int) -> dict[str, Any] | None:
    """Return the next answer; None after the last.

    Raises:
        EnvironmentProblem: Ray could not keep workers alive.
    """
    try:
        return next(rows, None)
    except ray.exceptions.RayError as error:
        text = " ".join(str(error).split())
        raise EnvironmentProblem(
            f"workers must stay alive, however: after {done} of {tasks} parts {type(error).__name__}: {text[:200]}; "
            "check the cluster, then the same command goes on with the parts that are missing"
        ) from error
