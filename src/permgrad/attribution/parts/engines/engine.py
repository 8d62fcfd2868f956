"""The protocol of an engine, the registry of engines, and the engine that works in this
process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.registry import Registry
from permgrad.models.estimators.settings import choose_device

T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class Engine(Protocol):
    """Runs one function over many tasks, somewhere.

    A registered class is made with ``workers=`` (number that work at a time, None for
    as many as there is room for) and ``address=`` (where they are, None for this
    machine).
    """

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for an explanation's ``meta``: the engine's name and its number of
        workers.
        """
        ...

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield each task's result once, in any order. Errors of ``work`` are raised.

        Args:
            tasks: Small descriptions, which can be pickled.
            work: The same for all of them. It can be pickled, and holds or loads a
                model once.
        """
        ...


engines: Registry[Callable[..., Engine]] = Registry("engine")


@engines.register("local")
class LocalEngine:
    """Runs tasks in this process, in their order, with one in memory at a time."""

    def __init__(
        self, *, workers: int | None = None, address: str | None = None
    ) -> None:
        if address is not None:
            problem = (
                f"The address {shown(address)} of a Ray cluster does not go with "
                "engine='local'"
            )
            raise InputError(
                problem,
                hint="Add engine='ray' (--engine ray), or leave the address out",
                code="PG006",
            )
        if workers not in (None, 1):
            hint = (
                "Add engine='ray' (--engine ray) for several processes, or leave "
                "workers out"
            )
            raise InputError(
                f"engine='local' uses one process, got workers={workers}",
                hint=hint,
                code="PG006",
            )

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for an explanation's ``meta``."""
        return {"engine": "local", "workers": 1}

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield the tasks' results in the tasks' order."""
        return map(work, tasks)


def make_engine(
    engine: str | Engine, *, workers: int | None = None, address: str | None = None
) -> Engine:
    """Return the engine of that name, or the engine itself.

    ``InputError``: an option does not go with it.
    """
    if isinstance(engine, str):
        return engines.get(engine)(workers=check_workers(workers), address=address)
    if not isinstance(engine, Engine) or isinstance(engine, type):
        problem = (
            f"engine must be one of {', '.join(map(repr, engines))}, or an object with "
            f"run(tasks, work), got {shown(engine)}"
        )
        raise InputError(
            problem, hint="Leave it out, or pass engine='ray'", code="PG003"
        )
    if workers is not None or address is not None:
        problem = (
            "workers and address go with the name of an engine, and engine is an object"
        )
        raise InputError(problem, hint="Pass them to the engine's class", code="PG006")
    return engine


def check_workers(workers: Any) -> int | None:
    """Refuse an invalid number of workers."""
    if workers is None:
        return None
    return check_whole("workers", workers, "pass for example 2")


def settle_model(model: Any) -> None:
    """Bring a model, which is sent without an accelerator, to this worker's if there is
    one that it may use.
    """
    if hasattr(model, "module_"):
        requested_device = getattr(model, "device", "auto")
        model.module_.to(
            choose_device("cpu" if str(requested_device) == "cpu" else "auto")
        )
