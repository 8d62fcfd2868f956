"""The protocol of an engine, the registry in which engines are found, and the engine that needs nothing."""

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

    A class that is registered is made with ``workers=`` (how many work at a time; None: as many as there is room for)
    and ``address=`` (where they are; None: here).
    """

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation's ``meta`` says of the engine: its name, and how many worked."""
        ...

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield each task's result once, in any order; raise what ``work`` raises.

        Tasks are small descriptions of what is to be done; they and ``work``, which is the same for all of them and
        holds or loads a model once, can be pickled.
        """
        ...


engines: Registry[Callable[..., Engine]] = Registry("engine")


@engines.register("local")
class LocalEngine:
    """Runs tasks in this process, in their order; memory holds one of them."""

    def __init__(self, *, workers: int | None = None, address: str | None = None) -> None:
        if address is not None:
            raise InputError(
                f"an address is that of a Ray cluster, however: engine='local' and the address is {shown(address)}; "
                "add engine='ray' (--engine ray), or leave the address out"
            )
        if workers not in (None, 1):
            raise InputError(
                f"engine='local' works in this process alone, however: workers={workers}; "
                "add engine='ray' (--engine ray) to let several processes work, or leave workers out"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation's ``meta`` says of the engine."""
        return {"engine": "local", "workers": 1}

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield the tasks' results in the tasks' order."""
        return map(work, tasks)


def make_engine(engine: str | Engine, *, workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine of that name, or the engine itself; ``InputError``: an option does not go with it."""
    if isinstance(engine, str):
        return engines.get(engine)(workers=check_workers(workers), address=address)
    if not isinstance(engine, Engine) or isinstance(engine, type):
        raise InputError(
            f"engine must be one of {', '.join(map(repr, engines))}, or an object with run(tasks, work), "
            f"however: it is {shown(engine)}; pass engine='local'"
        )
    if workers is not None or address is not None:
        raise InputError(
            "workers and the address of a cluster go with an engine's name, however: engine is an object; "
            "give them to it where you make it"
        )
    return engine


def check_workers(workers: Any) -> int | None:
    """Refuse a number of workers that is none."""
    return None if workers is None else check_whole("workers", workers, "pass for example 2")


def settle_model(model: Any) -> None:
    """Bring a model, which is sent without an accelerator, to this worker's if there is one that it may use."""
    wanted = getattr(model, "device", "auto")
    model.module_.to(choose_device("cpu" if str(wanted) == "cpu" else "auto"))
